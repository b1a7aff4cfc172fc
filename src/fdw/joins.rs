//! Parameterised paths: a scan that asks only for what one outer row needs, for joins by key, by
//! a reference's key, or by whatever else goes out as AQL.
#![allow(unsafe_code)] // the planner's nodes

use std::ffi::c_void;

use aql::Lowered;
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::fdw::clause::{Unknown, Walker};
use crate::fdw::failing;
use crate::fdw::keyed::{self, Keyed};
use crate::fdw::pg;
use crate::fdw::plan::{self, PlanState};
use crate::{gucs, pg_compat};

/// Keys a request, of a column whose values several objects may share.
const SHARED_KEYS: f64 = 300.0;

/// Adds a path for each set of outer relations whose columns a pushable join clause compares with.
///
/// # Safety
/// `root` and `rel` are the planner's, while it asks for the paths of `rel`.
pub unsafe fn add_paths(root: *mut pg_sys::PlannerInfo, rel: *mut pg_sys::RelOptInfo, state: &PlanState) {
    let Some(resolved) = &state.resolved else { return };
    // SAFETY: the caller's promise.
    unsafe {
        let mut infos: Vec<*mut pg_sys::ParamPathInfo> = Vec::new();
        let mut consider = |clause: *mut pg_sys::RestrictInfo| {
            if !pg_sys::join_clause_is_movable_to(clause, rel) || !is_pushed(rel, state, clause) {
                return;
            }
            let outer = pg_sys::bms_union((*clause).clause_relids, (*rel).lateral_relids);
            let outer = pg_sys::bms_del_member(outer, (*rel).relid as i32);
            if pg_sys::bms_num_members(outer) == 0 {
                return;
            }
            let info = pg_sys::get_baserel_parampathinfo(root, rel, outer);
            if !infos.contains(&info) {
                infos.push(info);
            }
        };
        for clause in pg::nodes::<pg_sys::RestrictInfo>((*rel).joininfo) {
            consider(clause);
        }
        if (*rel).has_eclass_joins {
            for (attnum, _) in resolved.columns.iter().filter(|(_, r)| r.subject.is_some()) {
                let mut wanted = Wanted { relid: (*rel).relid, attnum: *attnum };
                let clauses = pg_sys::generate_implied_equalities_for_column(
                    root,
                    rel,
                    Some(is_column),
                    (&raw mut wanted).cast(),
                    (*rel).lateral_referencers,
                );
                for clause in pg::nodes::<pg_sys::RestrictInfo>(clauses) {
                    consider(clause);
                }
            }
        }
        for info in infos {
            let mut fetched = state.fetched;
            for clause in pg::nodes::<pg_sys::RestrictInfo>((*info).ppi_clauses) {
                fetched = plan::narrowed(root, rel, state, clause, fetched);
            }
            let rows = (*info).ppi_rows.min(fetched).max(1.0);
            (*info).ppi_rows = rows;
            let alone = plan::cost(rel, fetched.max(rows));
            let (startup, total) = batched(root, rel, state, info).unwrap_or(alone);
            let path = pg_compat::foreignscan_path(root, rel, rows, startup, total, (*info).ppi_req_outer);
            pg_sys::add_path(rel, path);
        }
    }
}

/// What one look-up costs where keys of many outer rows are asked for together: a share of their requests. None where
/// they are not, because of the keys or because they cannot be worked out early. What does not fit into the memory for rows
/// is asked for again. How many outer rows there will be is taken as PostgreSQL's own index scans take it.
unsafe fn batched(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    state: &PlanState,
    info: *mut pg_sys::ParamPathInfo,
) -> Option<(f64, f64)> {
    if !gucs::ENABLE_BATCHED_JOINS.get() || gucs::JOIN_BATCH_SIZE.get() == 1 {
        return None;
    }
    let resolved = state.resolved.as_ref()?;
    // SAFETY: the planner's nodes; outer joins have numbers and no relation of their own.
    unsafe {
        let mut walker = Walker::new((*rel).relid, &resolved.columns);
        let clauses: Vec<_> = pg::nodes::<pg_sys::RestrictInfo>((*info).ppi_clauses).collect();
        let (mut preds, mut operands) = (Vec::new(), Vec::new());
        for clause in &clauses {
            let first = walker.operands.len();
            preds.push(walker.pred((**clause).clause.cast()));
            operands.push(first..walker.operands.len());
        }
        let keys = aql::batch::keys(preds.iter(), &vec![true; walker.operands.len()]);
        let listed = keys.iter().filter(|key| aql::batch::can_list(key, &preds, &resolved.facts));
        let key = listed.max_by_key(|key| key.unique)?;
        if !walker.operands.iter().all(|operand| failing::cannot_fail(operand.expr.cast())) {
            return None;
        }
        let outer = pg::members((*info).ppi_req_outer).into_iter();
        if pg::members((*info).ppi_req_outer).into_iter().any(|n| is_no_outer_side(root, n)) {
            return None;
        }
        let relations = outer.filter_map(|n| (*(*root).simple_rel_array.add(n)).as_ref());
        let loops = relations.map(|outer| outer.rows).fold(f64::INFINITY, f64::min);
        let loops = if loops.is_finite() { loops.max(1.0) } else { 1.0 };
        let distinct = |of: &[Unknown]| {
            let none = std::ptr::null_mut();
            let list = of.iter().fold(none, |list, operand| pg_sys::lappend(list, operand.expr.cast()));
            pg_sys::estimate_num_groups(root, list, loops, none.cast(), none.cast()).clamp(1.0, loops)
        };
        let (keys, vectors) =
            (distinct(&walker.operands[key.operand..=key.operand]), distinct(&walker.operands));
        // What else changes with the outer row is not asked for, and tells the rows of one key apart.
        let by_key = clauses.iter().zip(&operands).filter(|(_, of)| of.contains(&key.operand));
        let each =
            by_key.fold(state.fetched, |rows, (clause, _)| plan::narrowed(root, rel, state, *clause, rows));
        let memory = Keyed::kept() as f64;
        let bytes = each.max(1.0) * keyed::ROW_BYTES;
        let asked = if keys * bytes <= memory { vectors } else { loops };
        let most = if key.unique { plan::PAGE_ROWS } else { SHARED_KEYS };
        let together = (memory / 2.0 / bytes).clamp(1.0, most).min(asked);
        let batches = (asked / together).ceil();
        let objects = batches * keys.min(together) * each;
        let more = if key.unique { 0.0 } else { (objects / plan::PAGE_ROWS).floor() };
        let requests = batches + more;
        let rows = (*info).ppi_rows.max(1e-3);
        let recheck = pg_sys::cpu_tuple_cost + (*rel).baserestrictcost.per_tuple;
        // Somewhat less than for one row alone: with one, as many are asked for.
        let startup = 0.98 * requests * plan::REQUEST_COST / loops;
        Some((startup, startup + objects / loops * plan::OBJECT_COST + rows * recheck))
    }
}

/// Whether a relation, or what is asked of it, has something volatile or locks rows, or something that may fail over rows that
/// are not reached: then they are not read early (`ahead/wrap` decides; this is what it will find, as far as that is known).
unsafe fn is_no_outer_side(root: *mut pg_sys::PlannerInfo, relation: usize) -> bool {
    // SAFETY: the planner's nodes; outer joins have numbers and no relation of their own.
    unsafe {
        let Some(rel) = (*(*root).simple_rel_array.add(relation)).as_ref() else { return false };
        let entry = pg_sys::planner_rt_fetch(relation as pg_sys::Index, root);
        let none: *mut pg_sys::List = std::ptr::null_mut();
        let query = (*entry).subquery;
        if query.as_ref().is_some_and(|query| !query.rowMarks.is_null() || query.hasModifyingCTE) {
            return true;
        }
        let (is_with, all) = ((*entry).rtekind == pg_sys::RTEKind::RTE_CTE, &*(*root).parse);
        if is_with && all.hasModifyingCTE {
            return true;
        }
        let with = if is_with { all.cteList } else { none };
        let of: [*mut pg_sys::Node; 6] = [
            query.cast(),
            (*entry).functions.cast(),
            (*entry).values_lists.cast(),
            rel.baserestrictinfo.cast(),
            rel.joininfo.cast(),
            with.cast(),
        ];
        if of.into_iter().any(|node| !node.is_null() && pg_sys::contain_volatile_functions(node)) {
            return true;
        }
        // Nor where whoever reads may stop before something fails.
        let own = pg_sys::extract_actual_clauses(rel.baserestrictinfo, false);
        let mut worked_out: Vec<*mut pg_sys::Node> = vec![of[1], of[2], own.cast()];
        if let Some(query) = query.as_ref() {
            worked_out.push(query.targetList.cast());
            worked_out.extend(query.jointree.as_ref().map(|from| from.quals));
        }
        plan::stops_early(root) && worked_out.into_iter().any(|node| failing::may_fail(node))
    }
}

/// Whether a join clause would go out, were the other side known.
unsafe fn is_pushed(
    rel: *mut pg_sys::RelOptInfo,
    state: &PlanState,
    clause: *mut pg_sys::RestrictInfo,
) -> bool {
    let Some(resolved) = &state.resolved else { return false };
    // SAFETY: the planner's nodes.
    unsafe {
        let mut walker = Walker::new((*rel).relid, &resolved.columns);
        matches!(aql::lower_with(&walker.pred((*clause).clause.cast()), &resolved.facts), Lowered::Pushed(..))
    }
}

/// The column that [`is_column`] looks for.
struct Wanted {
    relid: pg_sys::Index,
    attnum: i16,
}

/// Whether a member of an equivalence class is the wanted column itself.
#[pg_guard]
unsafe extern "C-unwind" fn is_column(
    _root: *mut pg_sys::PlannerInfo,
    _rel: *mut pg_sys::RelOptInfo,
    _class: *mut pg_sys::EquivalenceClass,
    member: *mut pg_sys::EquivalenceMember,
    arg: *mut c_void,
) -> bool {
    // SAFETY: `arg` is the `Wanted` of the call under way; the member is the planner's.
    unsafe {
        let wanted = &*arg.cast::<Wanted>();
        let mut expr: *mut pg_sys::Node = (*member).em_expr.cast();
        while pg::is_a(expr, pg_sys::NodeTag::T_RelabelType) {
            expr = (*expr.cast::<pg_sys::RelabelType>()).arg.cast();
        }
        if !pg::is_a(expr, pg_sys::NodeTag::T_Var) {
            return false;
        }
        let var = expr.cast::<pg_sys::Var>();
        (*var).varno as pg_sys::Index == wanted.relid && (*var).varattno == wanted.attnum
    }
}
