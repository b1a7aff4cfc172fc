//! What a replica tells the planner about its foreign table: how many rows, and their statistics, without a request
//! and without an ANALYZE of the foreign table's own. Estimates only; what is asked rests on none of it.
#![allow(unsafe_code)] // the planner's hook and system caches

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::fdw::pg;
use crate::fdw::plan::{self, PlanState};

/// Columns of `assets_fdw.replica_job` that are read: target, source.
const COLUMNS: usize = 2;

static mut PREVIOUS: pg_sys::get_relation_stats_hook_type = None;

/// Puts the hook before the one that is there; once, from `_PG_init`.
pub fn install() {
    // SAFETY: from `_PG_init`, on the process's only thread of PostgreSQL's.
    unsafe {
        PREVIOUS = pg_sys::get_relation_stats_hook;
        pg_sys::get_relation_stats_hook = Some(relation_stats);
    }
}

/// The replica of a foreign table, with the number of its rows by its last ANALYZE or VACUUM; of several, the largest.
pub fn of(source: pg_sys::Oid) -> Option<(pg_sys::Oid, f64)> {
    let table = pg::own_table(c"replica_job")?;
    let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
    // Who has it locked (ALTER EXTENSION, VACUUM FULL) holds up no planning: an estimate is not worth that.
    // SAFETY: does not wait; given back below.
    if !unsafe { pg_sys::ConditionalLockRelationOid(table, lock) } {
        return None;
    }
    let mut found: Option<(pg_sys::Oid, f64)> = None;
    // SAFETY: the extension's own table, whose first columns are of type regclass.
    unsafe {
        pg::read_table(table, COLUMNS, |row| {
            let (Some(target), Some(of)) = (row.oid(0), row.oid(1)) else { return };
            let rows = if of == source { rows_by_statistics(target) } else { None };
            if let Some(rows) = rows.filter(|rows| found.is_none_or(|(_, most)| *rows > most)) {
                found = Some((target, rows));
            }
        });
        pg_sys::UnlockRelationOid(table, lock);
    }
    found
}

/// Statistics of a column of a foreign table that has none of its own and a replica with such a column.
#[pg_guard]
unsafe extern "C-unwind" fn relation_stats(
    root: *mut pg_sys::PlannerInfo,
    rte: *mut pg_sys::RangeTblEntry,
    attnum: i16,
    data: *mut pg_sys::VariableStatData,
) -> bool {
    // SAFETY: called by the planner with live nodes.
    unsafe {
        if let Some(previous) = PREVIOUS
            && pg_sys::ffi::pg_guard_ffi_boundary(|| previous(root, rte, attnum, data))
        {
            return true;
        }
        let rel = (*data).rel;
        if rel.is_null() || !plan::is_ours(rel) || (*rel).fdw_private.is_null() {
            return false;
        }
        let Some(replica) = (*(*rel).fdw_private.cast::<PlanState>()).replica else { return false };
        if let Some(own) = statistics((*rte).relid, attnum) {
            pg_sys::ReleaseSysCache(own);
            return false;
        }
        let name = pg_sys::get_attname((*rte).relid, attnum, true);
        if name.is_null() {
            return false;
        }
        let column = pg_sys::get_attnum(replica, name);
        if column <= 0 || pg_sys::get_atttype(replica, column) != pg_sys::get_atttype((*rte).relid, attnum) {
            return false;
        }
        let Some(found) = statistics(replica, column) else { return false };
        (*data).statsTuple = found;
        (*data).freefunc = Some(release);
        // Who may not read the replica hears nothing of its values by the way of operators that tell what they see.
        (*data).acl_ok =
            pg_sys::pg_class_aclcheck(replica, pg_sys::GetUserId(), pg_sys::ACL_SELECT as pg_sys::AclMode)
                == pg_sys::AclResult::ACLCHECK_OK
                && pg_sys::check_enable_rls(replica, pg_sys::InvalidOid, true) as u32
                    != pg_sys::CheckEnableRlsResult::RLS_ENABLED;
        true
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn release(tuple: pg_sys::HeapTuple) {
    // SAFETY: what `statistics` found, given back once.
    unsafe { pg_sys::ReleaseSysCache(tuple) }
}

/// How many rows a table has, as far as `pg_class` knows; none where it does not, or holds none.
unsafe fn rows_by_statistics(table: pg_sys::Oid) -> Option<f64> {
    // SAFETY: a look-up in a system cache, whose rows are of that type.
    unsafe {
        let found = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::RELOID as i32, table.into());
        if found.is_null() {
            return None;
        }
        let rows = (*pg_sys::GETSTRUCT(found).cast::<pg_sys::FormData_pg_class>()).reltuples;
        pg_sys::ReleaseSysCache(found);
        (rows >= 1.0).then_some(f64::from(rows))
    }
}

/// The row of `pg_statistic` of a column, to be released.
unsafe fn statistics(relation: pg_sys::Oid, attnum: i16) -> Option<pg_sys::HeapTuple> {
    // SAFETY: a look-up in a system cache.
    let found = unsafe {
        pg_sys::SearchSysCache3(
            pg_sys::SysCacheIdentifier::STATRELATTINH as i32,
            relation.into(),
            attnum.into(),
            false.into(),
        )
    };
    (!found.is_null()).then_some(found)
}
