//! Planning above the scan: `count(*)` over a table becomes one `totalcount` request, where every
//! clause is exact.
#![allow(unsafe_code)] // the planner's nodes

use aql::{Fidelity, Lowered};
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::fdw::clause::Walker;
use crate::fdw::pg;
use crate::fdw::plan::{self, PlanState};
use crate::{gucs, pg_compat};

#[pg_guard]
pub unsafe extern "C-unwind" fn get_foreign_upper_paths(
    root: *mut pg_sys::PlannerInfo,
    stage: pg_sys::UpperRelationKind::Type,
    input: *mut pg_sys::RelOptInfo,
    output: *mut pg_sys::RelOptInfo,
    _extra: *mut std::ffi::c_void,
) {
    // SAFETY: called by the planner with live nodes; `fdw_private` of a base relation of ours is what
    // get_foreign_rel_size left.
    unsafe {
        if stage != pg_sys::UpperRelationKind::UPPERREL_GROUP_AGG
            || !gucs::ENABLE_PUSHDOWN.get()
            || (*input).reloptkind != pg_sys::RelOptKind::RELOPT_BASEREL
            || (*input).fdw_private.is_null()
            || !counts_rows(root, output)
        {
            return;
        }
        let state = &*(*input).fdw_private.cast::<PlanState>();
        if !is_exact(input, state) {
            return;
        }
        let cost = plan::REQUEST_COST;
        // The path remembers the relation it counts: `find_base_rel` by its number gives it back.
        let relid = pg_sys::lappend_int(std::ptr::null_mut(), (*input).relid as i32);
        let path = pg_compat::foreign_upper_path(root, output, 1.0, cost, cost, relid);
        pg_sys::add_path(output, path);
    }
}

/// Whether the query's only aggregate is `count(*)`, over the whole result.
unsafe fn counts_rows(root: *mut pg_sys::PlannerInfo, output: *mut pg_sys::RelOptInfo) -> bool {
    // SAFETY: the planner's nodes.
    unsafe {
        let query = (*root).parse;
        if !(*query).groupClause.is_null()
            || !(*query).groupingSets.is_null()
            || !(*query).havingQual.is_null()
            || (*query).hasTargetSRFs
            || (*query).commandType != pg_sys::CmdType::CMD_SELECT
        {
            return false;
        }
        let targets: Vec<*mut pg_sys::Node> = pg::nodes((*(*output).reltarget).exprs).collect();
        let [only] = targets[..] else { return false };
        if !pg::is_a(only, pg_sys::NodeTag::T_Aggref) {
            return false;
        }
        let aggregate = only.cast::<pg_sys::Aggref>();
        (*aggregate).aggfnoid.to_u32() == pg_sys::F_COUNT_
            && (*aggregate).aggfilter.is_null()
            && (*aggregate).aggdistinct.is_null()
            && (*aggregate).aggorder.is_null()
            && (*aggregate).agglevelsup == 0
            && (*aggregate).aggsplit == pg_sys::AggSplit::AGGSPLIT_SIMPLE
    }
}

/// Whether every clause goes out exactly.
///
/// # Safety
/// `rel` is the planner's.
pub unsafe fn is_exact(rel: *mut pg_sys::RelOptInfo, state: &PlanState) -> bool {
    let Some(resolved) = &state.resolved else { return false };
    // SAFETY: the planner's nodes.
    unsafe {
        let mut walker = Walker::new((*rel).relid, &resolved.columns);
        (*rel).lateral_relids.is_null()
            && pg::nodes::<pg_sys::RestrictInfo>((*rel).baserestrictinfo).all(|info| {
                let pred = walker.pred((*info).clause.cast());
                !(*info).pseudoconstant
                    && matches!(aql::lower_with(&pred, &resolved.facts), Lowered::Pushed(_, Fidelity::Exact))
            })
    }
}

/// The relation that a path of [`get_foreign_upper_paths`] counts.
///
/// # Safety
/// `path` is such a path of `root`.
pub unsafe fn input(
    root: *mut pg_sys::PlannerInfo,
    path: *mut pg_sys::ForeignPath,
) -> *mut pg_sys::RelOptInfo {
    // SAFETY: the caller's promise: a list of one number.
    unsafe { pg_sys::find_base_rel(root, (*(*(*path).fdw_private).elements).int_value) }
}

/// The plan of a count: the quals travel as text, because nothing of the scanned relation may stand
/// in an upper node's expressions, and once more as the bare operands, so that the executor knows
/// which parameters the node depends on.
///
/// # Safety
/// `root` and `input` are the planner's, the path the one that [`get_foreign_upper_paths`] made.
pub unsafe fn count_plan(
    root: *mut pg_sys::PlannerInfo,
    input: *mut pg_sys::RelOptInfo,
    target_list: *mut pg_sys::List,
) -> *mut pg_sys::ForeignScan {
    use crate::fdw::private::{CountOf, Private};
    // SAFETY: the caller's promise.
    unsafe {
        let state = &*(*input).fdw_private.cast::<PlanState>();
        let quals = pg_sys::extract_actual_clauses((*input).baserestrictinfo, false);
        let operands = match &state.resolved {
            Some(resolved) => {
                let mut walker = Walker::new((*input).relid, &resolved.columns);
                for qual in pg::nodes::<pg_sys::Node>(quals) {
                    walker.pred(qual);
                }
                walker.operands
            }
            None => Vec::new(),
        };
        let mut exprs = std::ptr::null_mut();
        for operand in operands {
            exprs = pg_sys::lappend(exprs, operand.expr.cast());
        }
        let rte = pg_sys::planner_rt_fetch((*input).relid, root);
        let private = Private {
            columns: state.columns.clone(),
            generated: state.generated.clone(),
            limit: None,
            top: None,
            count: Some(CountOf {
                relation: (*rte).relid.to_u32(),
                relid: (*input).relid,
                user: pg_compat::checked_as(root, input).map(|role| role.to_u32()),
                quals: pg::text(pg_sys::nodeToString(quals.cast())),
            }),
        };
        let none = std::ptr::null_mut();
        let scan_list = pg_sys::copyObjectImpl(target_list.cast()).cast();
        pg_sys::make_foreignscan(target_list, none, 0, exprs, private.to_list(), scan_list, none, none.cast())
    }
}
