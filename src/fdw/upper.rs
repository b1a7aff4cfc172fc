//! Planning above the scan: the number of a table's rows, in any dress, becomes one `totalcount` request, where
//! every clause is exact.
#![allow(unsafe_code)] // the planner's nodes

use aql::{Fidelity, Lowered};
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::fdw::clause::Walker;
use crate::fdw::plan::{self, PlanState};
use crate::fdw::{grouped, pg};
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
        if !gucs::ENABLE_PUSHDOWN.get()
            || (*input).reloptkind != pg_sys::RelOptKind::RELOPT_BASEREL
            || (*input).fdw_private.is_null()
        {
            return;
        }
        let state = &*(*input).fdw_private.cast::<PlanState>();
        if grouped::is_grouping(root, stage) {
            return grouped::add_path(root, stage, input, output, state);
        }
        if stage != pg_sys::UpperRelationKind::UPPERREL_GROUP_AGG
            || counts_of_rows(root, input, output, state).is_none()
            || !is_exact(input, state)
        {
            return;
        }
        let cost = plan::REQUEST_COST;
        // The path remembers the relation it counts: `find_base_rel` by its number gives it back.
        let relid = pg_sys::lappend_int(std::ptr::null_mut(), (*input).relid as i32);
        let path = pg_compat::foreign_upper_path(root, output, (*output).reltarget, 1.0, cost, cost, relid);
        pg_sys::add_path(output, path);
    }
}

/// The aggregates of a query that are all the number of its rows, over the whole result, whatever is made of
/// them: `count(*)`, `count(1)`, `count(id)`, in the target list and in HAVING. None where there is another one.
unsafe fn counts_of_rows(
    root: *mut pg_sys::PlannerInfo,
    input: *mut pg_sys::RelOptInfo,
    output: *mut pg_sys::RelOptInfo,
    state: &PlanState,
) -> Option<Vec<*mut pg_sys::Aggref>> {
    // SAFETY: the planner's nodes; casts follow the nodes' tags.
    unsafe {
        let query = (*root).parse;
        if !(*query).groupClause.is_null()
            || !(*query).groupingSets.is_null()
            || (*query).hasTargetSRFs
            || (*query).hasWindowFuncs
            || (*query).commandType != pg_sys::CmdType::CMD_SELECT
        {
            return None;
        }
        counts_in((*(*output).reltarget).exprs, root, input, state, None).filter(|counts| !counts.is_empty())
    }
}

/// The aggregates of expressions and of HAVING that are all the number of rows, each once. None where there is
/// another one, or a column that is not the one grouped by.
///
/// # Safety
/// `root` and `input` are the planner's, the expressions and `key` of its query.
pub unsafe fn counts_in(
    exprs: *mut pg_sys::List,
    root: *mut pg_sys::PlannerInfo,
    input: *mut pg_sys::RelOptInfo,
    state: &PlanState,
    key: Option<*mut pg_sys::Var>,
) -> Option<Vec<*mut pg_sys::Aggref>> {
    // SAFETY: the caller's promise; casts follow the nodes' tags.
    unsafe {
        let mut counts: Vec<*mut pg_sys::Aggref> = Vec::new();
        for of in [exprs.cast(), (*(*root).parse).havingQual] {
            if pg_sys::contain_subplans(of) {
                return None;
            }
            let flags = pg_sys::PVC_INCLUDE_AGGREGATES | pg_sys::PVC_INCLUDE_PLACEHOLDERS;
            for found in pg::nodes::<pg_sys::Node>(pg_sys::pull_var_clause(of, flags as i32)) {
                if key.is_some_and(|key| pg_sys::equal(key.cast(), found.cast())) {
                    continue;
                }
                if !pg::is_a(found, pg_sys::NodeTag::T_Aggref) || !counts_rows(found.cast(), input, state) {
                    return None;
                }
                if !counts.iter().any(|known| pg_sys::equal(known.cast(), found.cast())) {
                    counts.push(found.cast());
                }
            }
        }
        Some(counts)
    }
}

/// Whether an aggregate is the number of rows.
unsafe fn counts_rows(
    aggregate: *mut pg_sys::Aggref,
    input: *mut pg_sys::RelOptInfo,
    state: &PlanState,
) -> bool {
    // SAFETY: the planner's nodes.
    unsafe {
        let plain = (*aggregate).aggfilter.is_null()
            && (*aggregate).aggdistinct.is_null()
            && (*aggregate).aggorder.is_null()
            && (*aggregate).agglevelsup == 0
            && (*aggregate).aggsplit == pg_sys::AggSplit::AGGSPLIT_SIMPLE;
        if !plain {
            return false;
        }
        match (*aggregate).aggfnoid.to_u32() {
            pg_sys::F_COUNT_ => true,
            pg_sys::F_COUNT_ANY => pg::nodes::<pg_sys::TargetEntry>((*aggregate).args)
                .next()
                .is_some_and(|argument| is_never_null((*argument).expr.cast(), input, state)),
            _ => false,
        }
    }
}

/// Whether an expression has a value in each row of a relation.
unsafe fn is_never_null(expr: *mut pg_sys::Node, input: *mut pg_sys::RelOptInfo, state: &PlanState) -> bool {
    // SAFETY: the planner's nodes; casts follow the nodes' tags.
    unsafe {
        if pg::is_a(expr, pg_sys::NodeTag::T_Const) {
            return !(*expr.cast::<pg_sys::Const>()).constisnull;
        }
        if !pg::is_a(expr, pg_sys::NodeTag::T_Var) {
            return false;
        }
        let var = expr.cast::<pg_sys::Var>();
        if (*var).varno as pg_sys::Index != (*input).relid || (*var).varlevelsup != 0 {
            return false;
        }
        let always = |resolved: &crate::catalog::Resolved| {
            let column = resolved.columns.get(&(*var).varattno).and_then(|column| column.subject.as_ref());
            column.is_some_and(|subject| subject.always)
        };
        // A row is a value, whatever is in it.
        (*var).varattno == 0 || state.resolved.as_ref().is_some_and(always)
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
                let lowered = aql::lower_with(&pred, &resolved.facts);
                !(*info).pseudoconstant
                    && matches!(lowered, Lowered::Pushed(_, Fidelity::Exact) | Lowered::Always)
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

/// The plan of a count, or of groups with theirs. The node gives the column grouped by and the bare aggregates; PostgreSQL makes of them what the query wants, and checks
/// HAVING, as of any scan's row. The quals travel as text, because nothing of the scanned relation may stand
/// in an upper node's expressions, and once more as the bare operands, so that the executor knows
/// which parameters the node depends on.
///
/// # Safety
/// `root` and `input` are the planner's, the path the one that [`get_foreign_upper_paths`] made.
pub unsafe fn count_plan(
    root: *mut pg_sys::PlannerInfo,
    output: *mut pg_sys::RelOptInfo,
    input: *mut pg_sys::RelOptInfo,
    path: *mut pg_sys::ForeignPath,
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
            lookups: plan::lookups(root, state, (*input).rows),
            top: None,
            count: Some(CountOf {
                relation: (*rte).relid.to_u32(),
                relid: (*input).relid,
                user: pg_compat::checked_as(root, input).map(|role| role.to_u32()),
                quals: pg::text(pg_sys::nodeToString(quals.cast())),
                grouped_by: grouped::grouped_by(path),
            }),
        };
        let none = std::ptr::null_mut();
        let mut given = none;
        let mut exprs_given: Vec<*mut pg_sys::Expr> = Vec::new();
        let counts = match grouped::grouped_by(path) {
            Some(_) => {
                grouped::wanted(root, grouped::stage(root), input, output, state).map(|(key, counts)| {
                    exprs_given.push(key.cast());
                    counts
                })
            }
            None => counts_of_rows(root, input, output, state),
        };
        exprs_given.extend(counts.unwrap_or_default().into_iter().map(|count| count.cast::<pg_sys::Expr>()));
        for (n, expr) in exprs_given.into_iter().enumerate() {
            let expr = pg_sys::copyObjectImpl(expr.cast()).cast();
            let entry = pg_sys::makeTargetEntry(expr, n as i16 + 1, std::ptr::null_mut(), false);
            given = pg_sys::lappend(given, entry.cast());
        }
        let having = (*(*root).parse).havingQual.cast();
        pg_sys::make_foreignscan(target_list, having, 0, exprs, private.to_list(), given, none, none.cast())
    }
}
