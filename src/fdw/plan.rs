//! Planning: how many rows, at what cost, which columns.
//!
//! No request is made while planning when the object type's attributes and its count are cached;
//! an estimate that fails is a default, never an ERROR.
#![allow(unsafe_code)] // the planner's nodes

use std::sync::Arc;
use std::time::Duration;

use aql::{Lowered, Pred};
use assets::error::Error;
use pgrx::prelude::*;
use pgrx::{PgMemoryContexts, pg_sys};

use crate::catalog::{ForeignTable, Resolved};
use crate::fdw::clause::Walker;
use crate::fdw::private::{Lookups, Private};
use crate::fdw::{generated, joins, pg, sorted, stand_in, upper};
use crate::{facts, gucs, pg_compat, runtime, session};

/// The number of objects of a type that the service does not tell.
const DEFAULT_ROWS: f64 = 1000.0;
/// How long planning waits for the service, for each of two questions at most.
const PLANNING_PATIENCE: Duration = Duration::from_secs(5);
/// What a request costs, in the planner's unit of one sequential page: some 50 ms of waiting, and
/// a thousandth of a minute's budget.
pub const REQUEST_COST: f64 = 200.0;
/// Objects on one page, as most services give them.
pub const PAGE_ROWS: f64 = 100.0;
/// What decoding one object costs.
pub const OBJECT_COST: f64 = 0.05;

/// What planning found out about a relation; lives as long as the planner's memory context.
pub struct PlanState {
    /// The columns that the query uses, by attribute number.
    pub columns: Vec<i16>,
    /// The generated columns that it uses beside them; what they are made of is among the others.
    pub generated: Vec<i16>,
    /// What the table and its columns mean; none where the service would not say.
    pub resolved: Option<Resolved>,
    /// Objects that come over the network, before the local recheck.
    pub fetched: f64,
    /// Those that come where nothing is asked for that changes from one execution of a sub-select to the next.
    pub whole: f64,
    /// Whether the query may stop before it has read all of them.
    pub stops_early: bool,
    /// The table's replica, whose statistics are taken for its own where it has none.
    pub replica: Option<stand_in::StandIn>,
}

#[pg_guard]
pub unsafe extern "C-unwind" fn get_foreign_rel_size(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    relid: pg_sys::Oid,
) {
    // SAFETY: called by the planner with live nodes; the state is dropped with its memory context.
    unsafe {
        let (columns, generated) = used_columns(rel, relid);
        let replica = stand_in::of(relid);
        let known = resolve(root, rel, relid, &columns, replica.as_ref().map(|replica| replica.rows));
        let total = known.as_ref().map_or(DEFAULT_ROWS, |(_, total)| total.max(1.0));
        let state = PlanState {
            columns,
            generated,
            resolved: known.map(|(resolved, _)| resolved),
            fetched: total,
            whole: total,
            stops_early: stops_early(root),
            replica,
        };
        let state = PgMemoryContexts::CurrentMemoryContext.leak_and_drop_on_delete(state);
        // Statistics are looked for by way of it.
        (*rel).fdw_private = state.cast();
        (*rel).tuples = total;
        pg_sys::set_baserel_size_estimates(root, rel);
        let (mut fetched, mut whole) = (total, total);
        for clause in pg::nodes::<pg_sys::RestrictInfo>((*rel).baserestrictinfo) {
            fetched = narrowed(root, rel, &*state, clause, fetched);
            if pg_sys::pull_paramids((*clause).clause).is_null() {
                whole = narrowed(root, rel, &*state, clause, whole);
            }
        }
        // An object is found by its key or id, not by chance.
        (*rel).rows = (*rel).rows.min(fetched).max(1.0);
        ((*state).fetched, (*state).whole) = (fetched.max((*rel).rows), whole);
    }
}

/// The attribute numbers that the query needs of the relation, of its live columns; and of generated ones.
unsafe fn used_columns(rel: *mut pg_sys::RelOptInfo, relid: pg_sys::Oid) -> (Vec<i16>, Vec<i16>) {
    // SAFETY: the planner's nodes.
    unsafe {
        let mut members = pg::columns_in((*(*rel).reltarget).exprs.cast(), (*rel).relid);
        members.extend(columns_of_clauses(rel));
        let whole_row = members.contains(&0);
        let table = ForeignTable::load(relid);
        let used = |attnum: &i16| whole_row || members.contains(attnum);
        let generated: Vec<i16> = table.generated.iter().copied().filter(used).collect();
        let made_of: Vec<i16> =
            generated.iter().flat_map(|attnum| generated::inputs(relid, *attnum)).collect();
        let live = table.columns.iter().map(|c| c.attnum);
        (live.filter(|attnum| used(attnum) || made_of.contains(attnum)).collect(), generated)
    }
}

/// What the table means, and how many objects are in it. None where the service would not say, and where
/// the query is one that will not be run: no request, of nobody's budget, for who may not select.
unsafe fn resolve(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    relid: pg_sys::Oid,
    columns: &[i16],
    replica: Option<f64>,
) -> Option<(Resolved, f64)> {
    // SAFETY: the planner's nodes.
    let user = unsafe {
        if !pg_compat::may_run(root) {
            return None;
        }
        pg_compat::checked_as(root, rel).unwrap_or_else(|| pg_sys::GetUserId())
    };
    let table = ForeignTable::load(relid);
    let connection = session::connect(table.server, user);
    let client = connection.client.clone();
    // SAFETY: the planner's nodes.
    let compared = unsafe { compared_columns(rel, columns) };
    let resolver = table.resolver(columns).comparing(&compared);
    let counts = connection.remote_estimate && replica.is_none();
    let mut resolved = runtime::wait(in_time(async move {
        // What is counted for the estimate tells by the way whether the service understands the filter.
        if counts { resolver.resolve_surely(client).await } else { resolver.resolve(client).await }
    }))?;
    let client = connection.client.clone();
    resolved.facts = connection.facts();
    // SAFETY: the planner's nodes.
    unsafe { facts::depend(root) };
    if !connection.remote_estimate {
        return Some((resolved, replica.unwrap_or(DEFAULT_ROWS)));
    }
    let total = match client.cached_count(&resolved.filter) {
        Some(count) => count as f64,
        None if replica.is_some() => replica?,
        None if client.counts_refused() => DEFAULT_ROWS,
        None => {
            let filter = resolved.filter.clone();
            let client = Arc::clone(&client);
            let count = runtime::wait(in_time(async move { client.total_count(&filter).await }));
            count.map_or(DEFAULT_ROWS, |n| n as f64)
        }
    };
    Some((resolved, total))
}

/// Whether a relation is a foreign table of ours.
///
/// # Safety
/// `rel` is the planner's.
pub unsafe fn is_ours(rel: *mut pg_sys::RelOptInfo) -> bool {
    let ours: unsafe extern "C-unwind" fn(*mut pg_sys::PlannerInfo, *mut pg_sys::RelOptInfo, pg_sys::Oid) =
        get_foreign_rel_size;
    // SAFETY: the caller's promise; other relations have no callbacks, or others.
    unsafe {
        let routine = (*rel).fdwroutine.as_ref();
        let size = routine.and_then(|routine| routine.GetForeignRelSize);
        (*rel).reloptkind != pg_sys::RelOptKind::RELOPT_UPPER_REL
            && size.is_some_and(|size| std::ptr::fn_addr_eq(size, ours))
    }
}

/// The columns that clauses may compare: those in the relation's own, and, where it may be joined, all.
unsafe fn compared_columns(rel: *mut pg_sys::RelOptInfo, columns: &[i16]) -> Vec<i16> {
    // SAFETY: the planner's nodes.
    unsafe {
        if !(*rel).joininfo.is_null() || (*rel).has_eclass_joins {
            return columns.to_vec();
        }
        columns_of_clauses(rel)
    }
}

/// The columns in the relation's own clauses.
unsafe fn columns_of_clauses(rel: *mut pg_sys::RelOptInfo) -> Vec<i16> {
    // SAFETY: the planner's nodes.
    unsafe {
        let clauses = pg::nodes::<pg_sys::RestrictInfo>((*rel).baserestrictinfo);
        clauses.flat_map(|info| pg::columns_in((*info).clause.cast(), (*rel).relid)).collect()
    }
}

/// What planning asks of the service, unless it takes too long: then the estimate is a default, and
/// the execution will say what is wrong.
pub async fn in_time<T>(work: impl Future<Output = Result<T, Error>>) -> Option<T> {
    tokio::time::timeout(PLANNING_PATIENCE, work).await.ok()?.ok()
}

/// How many of `fetched` objects a clause leaves, if it is pushed.
///
/// # Safety
/// `root`, `rel` and `clause` are the planner's.
pub unsafe fn narrowed(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    state: &PlanState,
    clause: *mut pg_sys::RestrictInfo,
    fetched: f64,
) -> f64 {
    let Some(resolved) = &state.resolved else { return fetched };
    if !gucs::ENABLE_PUSHDOWN.get() {
        return fetched;
    }
    // SAFETY: the caller's promise.
    unsafe {
        let mut walker = Walker::new((*rel).relid, &resolved.columns);
        let pred = walker.pred((*clause).clause.cast());
        if !matches!(aql::lower_with(&pred, &resolved.facts), Lowered::Pushed(..)) {
            return fetched;
        }
        let none = std::ptr::null_mut();
        let join = pg_sys::JoinType::JOIN_INNER;
        // As for a clause of this relation alone: the outer side is one row's.
        let share = pg_sys::clause_selectivity(root, clause.cast(), (*rel).relid as i32, join, none);
        (fetched * share).min(most_objects(&pred)).max(1.0)
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
        let (startup, total) = cost(rel, state.fetched);
        let path = pg_compat::foreignscan_path(root, rel, (*rel).rows, startup, total, (*rel).lateral_relids);
        pg_sys::add_path(rel, path);
        if gucs::ENABLE_PUSHDOWN.get() {
            joins::add_paths(root, rel, state);
            sorted::add_path(root, rel, state);
        }
    }
}

/// What it costs to read so many objects: until the first row, and in all.
///
/// # Safety
/// `rel` is the planner's.
pub unsafe fn cost(rel: *mut pg_sys::RelOptInfo, fetched: f64) -> (f64, f64) {
    // SAFETY: the caller's promise; the setting is a plain number.
    unsafe {
        let requests = (fetched / PAGE_ROWS).ceil().max(1.0);
        let recheck = pg_sys::cpu_tuple_cost + (*rel).baserestrictcost.per_tuple;
        let startup = REQUEST_COST + (*rel).baserestrictcost.startup;
        (startup, startup + (requests - 1.0) * REQUEST_COST + fetched * (OBJECT_COST + recheck))
    }
}

#[pg_guard]
pub unsafe extern "C-unwind" fn get_foreign_plan(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    _relid: pg_sys::Oid,
    path: *mut pg_sys::ForeignPath,
    target_list: *mut pg_sys::List,
    clauses: *mut pg_sys::List,
    outer_plan: *mut pg_sys::Plan,
) -> *mut pg_sys::ForeignScan {
    // SAFETY: the planner's nodes; `fdw_private` is what get_foreign_rel_size left.
    unsafe {
        if (*rel).reloptkind == pg_sys::RelOptKind::RELOPT_UPPER_REL {
            let input = upper::input(root, path);
            return upper::count_plan(root, rel, input, path, target_list);
        }
        let state = &*(*rel).fdw_private.cast::<PlanState>();
        // The only paths of ours with an order are those of `sorted`.
        let ordered = !(*path).path.pathkeys.is_null();
        let top = if ordered { sorted::top_of(root, rel, state) } else { None };
        let (columns, generated) = (state.columns.clone(), state.generated.clone());
        let lookups = lookups(root, state, (*path).path.rows);
        let private = Private { columns, generated, limit: limit(root, rel), lookups, top, count: None };
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

/// What to expect where the scan is repeated with other parameters, and `rows` come each time.
///
/// # Safety
/// `root` is the planner's.
pub unsafe fn lookups(root: *mut pg_sys::PlannerInfo, state: &PlanState, rows: f64) -> Lookups {
    // SAFETY: the caller's promise.
    let fraction = unsafe { (*root).tuple_fraction };
    // A cursor's: whatever else stops is seen in the plan.
    let paced = fraction > 0.0 && fraction < 1.0;
    Lookups { rows, whole: state.resolved.is_some().then_some(state.whole), paced }
}

/// Whether a query may stop before it has read all rows of its tables: one with a LIMIT, a cursor, EXISTS. With something
/// above that needs all of them it does not.
///
/// # Safety
/// `root` is the planner's.
pub unsafe fn stops_early(root: *mut pg_sys::PlannerInfo) -> bool {
    // SAFETY: the planner's nodes.
    unsafe {
        let query = (*root).parse;
        let takes_all = !(*query).sortClause.is_null()
            || !(*query).groupClause.is_null()
            || !(*query).distinctClause.is_null()
            || (*query).hasAggs
            || (*query).hasWindowFuncs;
        !takes_all && ((*root).limit_tuples >= 0.0 || (*root).tuple_fraction > 0.0)
    }
}

/// How many rows the query takes, where nothing between the scan and its LIMIT needs more: a
/// hint for the size of the first page, and no more than that, since it is an estimate where the LIMIT is not
/// a constant.
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
        // Of a LIMIT; else of EXISTS, which says by an absolute fraction that one row will do.
        let tuples = if (*root).limit_tuples >= 1.0 { (*root).limit_tuples } else { (*root).tuple_fraction };
        (alone && plain && (1.0..1e9).contains(&tuples)).then_some(tuples as u64)
    }
}
