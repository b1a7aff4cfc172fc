//! Planning: how many rows, at what cost, which columns.
//!
//! No request is made while planning when the object type's attributes and its count are cached;
//! an estimate that fails is a default, never an ERROR.
#![allow(unsafe_code)] // the planner's nodes

use std::sync::Arc;

use aql::{Lowered, Pred};
use pgrx::prelude::*;
use pgrx::{PgMemoryContexts, pg_sys};

use crate::catalog::ForeignTable;
use crate::fdw::clause::Walker;
use crate::fdw::pg;
use crate::fdw::private::Private;
use crate::{gucs, pg_compat, runtime, session};

/// The number of objects of a type that the service does not tell.
const DEFAULT_ROWS: f64 = 1000.0;
/// What a request costs, in the planner's unit of one sequential page: some 50 ms of waiting, and
/// a thousandth of a minute's budget.
const REQUEST_COST: f64 = 200.0;
/// Objects on one page, as most services give them.
const PAGE_ROWS: f64 = 100.0;
/// What decoding one object costs.
const OBJECT_COST: f64 = 0.05;

/// What planning found out about a relation; lives as long as the planner's memory context.
struct PlanState {
    columns: Vec<i16>,
    /// Objects that come over the network, before the local recheck.
    fetched: f64,
}

#[pg_guard]
pub unsafe extern "C-unwind" fn get_foreign_rel_size(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    relid: pg_sys::Oid,
) {
    // SAFETY: called by the planner with live nodes; the state is dropped with its memory context.
    unsafe {
        let columns = used_columns(rel, relid);
        let (total, fetched) = estimate(root, rel, relid, &columns).unwrap_or((DEFAULT_ROWS, DEFAULT_ROWS));
        (*rel).tuples = total;
        pg_sys::set_baserel_size_estimates(root, rel);
        // An object is found by its key or id, not by chance.
        (*rel).rows = (*rel).rows.min(fetched).max(1.0);
        let state = PlanState { columns, fetched: fetched.max((*rel).rows) };
        (*rel).fdw_private = PgMemoryContexts::CurrentMemoryContext.leak_and_drop_on_delete(state).cast();
    }
}

/// The attribute numbers that the query needs of the relation, of its live columns.
unsafe fn used_columns(rel: *mut pg_sys::RelOptInfo, relid: pg_sys::Oid) -> Vec<i16> {
    // SAFETY: the planner's nodes.
    unsafe {
        let mut used: *mut pg_sys::Bitmapset = std::ptr::null_mut();
        pg_sys::pull_varattnos((*(*rel).reltarget).exprs.cast(), (*rel).relid, &mut used);
        for info in pg::nodes::<pg_sys::RestrictInfo>((*rel).baserestrictinfo) {
            pg_sys::pull_varattnos((*info).clause.cast(), (*rel).relid, &mut used);
        }
        let mut members = Vec::new();
        let mut member = -1;
        loop {
            member = pg_sys::bms_next_member(used, member);
            if member < 0 {
                break;
            }
            members.push(member + pg_sys::FirstLowInvalidHeapAttributeNumber);
        }
        let whole_row = members.contains(&0);
        let table = ForeignTable::load(relid);
        let live = table.columns.iter().map(|c| c.attnum);
        live.filter(|attnum| whole_row || members.contains(&i32::from(*attnum))).collect()
    }
}

/// Objects in the table, and objects that the pushed condition leaves. None where the service
/// would not say.
unsafe fn estimate(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    relid: pg_sys::Oid,
    columns: &[i16],
) -> Option<(f64, f64)> {
    // SAFETY: the planner's nodes.
    unsafe {
        let user = pg_compat::planned_user(root, rel);
        let table = ForeignTable::load(relid);
        let connection = session::connect(table.server, user);
        let client = connection.client.clone();
        let resolver = table.resolver(columns);
        let resolved = runtime::wait(resolver.resolve(client.clone())).ok()?;
        let total = if connection.remote_estimate {
            match client.cached_count(&resolved.filter) {
                Some(count) => count as f64,
                None => {
                    let filter = resolved.filter.clone();
                    let client = Arc::clone(&client);
                    runtime::wait(async move { client.total_count(&filter).await }).ok()? as f64
                }
            }
        } else {
            DEFAULT_ROWS
        };
        let mut fetched = total;
        if gucs::ENABLE_PUSHDOWN.get() {
            let mut walker = Walker { relid: (*rel).relid, columns: &resolved.columns, operands: Vec::new() };
            for info in pg::nodes::<pg_sys::RestrictInfo>((*rel).baserestrictinfo) {
                let pred = walker.pred((*info).clause.cast());
                if matches!(aql::lower(&pred), Lowered::Pushed(..)) {
                    let share = pg_sys::clause_selectivity(
                        root,
                        info.cast(),
                        0,
                        pg_sys::JoinType::JOIN_INNER,
                        std::ptr::null_mut(),
                    );
                    fetched *= share;
                    fetched = fetched.min(most_objects(&pred));
                }
            }
        }
        Some((total.max(1.0), fetched.max(1.0)))
    }
}

/// How many objects a condition can select at most, where its form says so: an id and a key are
/// one object's.
fn most_objects(pred: &Pred) -> f64 {
    let Pred::Leaf(leaf) = pred else { return f64::INFINITY };
    if !matches!(leaf.subject.column, aql::Column::Id | aql::Column::Key) {
        return f64::INFINITY;
    }
    match (&leaf.op, &leaf.operand) {
        (aql::Op::Eq | aql::Op::EqFolded, _) => 1.0,
        (aql::Op::In, aql::Operand::Value(aql::Literal::List(list))) => list.len().max(1) as f64,
        (aql::Op::In, _) => 10.0,
        _ => f64::INFINITY,
    }
}

#[pg_guard]
pub unsafe extern "C-unwind" fn get_foreign_paths(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    _relid: pg_sys::Oid,
) {
    // SAFETY: `fdw_private` is what get_foreign_rel_size left.
    unsafe {
        let state = &*(*rel).fdw_private.cast::<PlanState>();
        let requests = (state.fetched / PAGE_ROWS).ceil().max(1.0);
        let recheck = pg_sys::cpu_tuple_cost + (*rel).baserestrictcost.per_tuple;
        let startup = REQUEST_COST + (*rel).baserestrictcost.startup;
        let run = (requests - 1.0) * REQUEST_COST + state.fetched * (OBJECT_COST + recheck);
        let path = pg_compat::foreignscan_path(
            root,
            rel,
            (*rel).rows,
            startup,
            startup + run,
            (*rel).lateral_relids,
        );
        pg_sys::add_path(rel, path);
    }
}

#[pg_guard]
pub unsafe extern "C-unwind" fn get_foreign_plan(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    _relid: pg_sys::Oid,
    _path: *mut pg_sys::ForeignPath,
    target_list: *mut pg_sys::List,
    clauses: *mut pg_sys::List,
    outer_plan: *mut pg_sys::Plan,
) -> *mut pg_sys::ForeignScan {
    // SAFETY: the planner's nodes; `fdw_private` is what get_foreign_rel_size left.
    unsafe {
        let state = &*(*rel).fdw_private.cast::<PlanState>();
        let private = Private { columns: state.columns.clone(), limit: limit(root, rel) };
        // Every clause stays in the plan and is checked again on what comes back.
        let quals = pg_sys::extract_actual_clauses(clauses, false);
        let none = std::ptr::null_mut();
        pg_sys::make_foreignscan(
            target_list,
            quals,
            (*rel).relid,
            none,
            private.to_list(),
            none,
            none,
            outer_plan,
        )
    }
}

/// How many rows the query takes, where nothing between the scan and its LIMIT needs more: a
/// hint for the size of the first page.
unsafe fn limit(root: *mut pg_sys::PlannerInfo, rel: *mut pg_sys::RelOptInfo) -> Option<u64> {
    // SAFETY: the planner's nodes.
    unsafe {
        let query = (*root).parse;
        let alone = pg_sys::bms_equal((*root).all_baserels, (*rel).relids);
        let plain = (*query).sortClause.is_null()
            && (*query).groupClause.is_null()
            && (*query).distinctClause.is_null()
            && (*query).setOperations.is_null()
            && !(*query).hasAggs
            && !(*query).hasWindowFuncs
            && !(*query).hasTargetSRFs;
        let tuples = (*root).limit_tuples;
        (alone && plain && tuples >= 1.0 && tuples < 1e9).then_some(tuples as u64)
    }
}
