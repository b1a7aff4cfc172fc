//! The foreign-data wrapper: one file a concern, called by the planner and the executor.
//!
//! ```text
//! plan, joins, sorted, upper, grouped (estimates, paths) → private (JSON in the plan) → exec (begin, iterate, rescan, end)
//!    └── clause (expressions → aql::Pred) ──────────────────── question ──┴── scan, top (sorter), count, groups ── output, datum
//! ```
#![allow(unsafe_code)] // the handler, called by PostgreSQL itself

use pgrx::pg_sys;
use pgrx::prelude::*;

mod ahead;
mod analyze;
mod append;
mod clause;
mod compared;
mod count;
pub mod datum;
mod exec;
mod explain;
mod failing;
mod generated;
mod grouped;
mod groups;
pub mod input;
mod joins;
mod kept;
mod keyed;
mod local;
pub mod output;
pub mod pg;
mod plan;
mod private;
mod queries;
mod question;
mod refusal;
mod scan;
mod served;
mod sorted;
mod sorter;
mod stand_in;
mod stored;
mod system;
mod top;
mod upper;

/// What has to be in place before a statement runs; once, from `_PG_init`.
pub fn init() {
    ahead::init();
    stand_in::install();
}

/// Version-1 calling convention for [`assets_fdw_handler`], whose result pgrx cannot name.
#[unsafe(no_mangle)]
#[doc(hidden)]
pub extern "C" fn pg_finfo_assets_fdw_handler() -> &'static pg_sys::Pg_finfo_record {
    const V1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
    &V1
}

/// The wrapper's handler function.
///
/// # Safety
/// Called by PostgreSQL.
#[unsafe(no_mangle)]
#[pg_guard]
pub unsafe extern "C-unwind" fn assets_fdw_handler(_fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    crate::installed::require_utf8();
    // SAFETY: a palloc'd node in the caller's memory context; the callbacks live as long as the
    // library.
    unsafe {
        let mut routine =
            PgBox::<pg_sys::FdwRoutine, AllocatedByRust>::alloc_node(pg_sys::NodeTag::T_FdwRoutine);
        routine.GetForeignRelSize = Some(plan::get_foreign_rel_size);
        routine.GetForeignPaths = Some(plan::get_foreign_paths);
        routine.GetForeignPlan = Some(plan::get_foreign_plan);
        routine.GetForeignUpperPaths = Some(upper::get_foreign_upper_paths);
        routine.BeginForeignScan = Some(exec::begin);
        routine.IterateForeignScan = Some(exec::iterate);
        routine.ReScanForeignScan = Some(exec::rescan);
        routine.EndForeignScan = Some(exec::end);
        routine.ExplainForeignScan = Some(explain::explain);
        routine.AnalyzeForeignTable = Some(analyze::analyze_foreign_table);
        routine.IsForeignPathAsyncCapable = Some(append::is_capable);
        routine.ForeignAsyncRequest = Some(append::request);
        routine.ForeignAsyncConfigureWait = Some(append::configure_wait);
        routine.ForeignAsyncNotify = Some(append::notify);
        routine.ImportForeignSchema = Some(crate::import::import_foreign_schema);
        pg_sys::Datum::from(routine.into_pg())
    }
}
