//! Planning `GROUP BY` one column with the number of each group's rows, and `SELECT DISTINCT` one column: where the
//! groups are few and known, each is counted by the service.
#![allow(unsafe_code)] // the planner's nodes

use std::sync::Arc;

use aql::groups::{self, Groups};
use aql::{Class, Literal};
use assets::client::Client;
use pgrx::pg_sys;

use crate::catalog::{Resolved, Values};
use crate::fdw::pg;
use crate::fdw::plan::{self, PlanState};
use crate::fdw::upper;
use crate::{gucs, pg_compat, runtime, session};

/// `=` of boolean, which has no name among the bindings.
const BOOLEAN_EQUAL: u32 = 91;

/// Whether a stage is one that groups: then the number of all rows is not what is wanted.
///
/// # Safety
/// `root` is the planner's.
pub unsafe fn is_grouping(root: *mut pg_sys::PlannerInfo, stage: pg_sys::UpperRelationKind::Type) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        stage == pg_sys::UpperRelationKind::UPPERREL_DISTINCT
            || (stage == pg_sys::UpperRelationKind::UPPERREL_GROUP_AGG
                && !(*(*root).parse).groupClause.is_null())
    }
}

/// The one column of a base relation that a query groups by, by its type's own equality.
///
/// # Safety
/// `root` and `input` are the planner's.
unsafe fn key(
    root: *mut pg_sys::PlannerInfo,
    stage: pg_sys::UpperRelationKind::Type,
    input: *mut pg_sys::RelOptInfo,
) -> Option<*mut pg_sys::Var> {
    // SAFETY: the caller's promise; casts follow the nodes' tags.
    unsafe {
        let query = (*root).parse;
        if !(*query).groupingSets.is_null()
            || (*query).hasTargetSRFs
            || (*query).hasWindowFuncs
            || (*query).commandType != pg_sys::CmdType::CMD_SELECT
        {
            return None;
        }
        let clauses = match stage {
            pg_sys::UpperRelationKind::UPPERREL_GROUP_AGG => (*query).groupClause,
            pg_sys::UpperRelationKind::UPPERREL_DISTINCT if !(*query).hasDistinctOn => {
                (*query).distinctClause
            }
            _ => return None,
        };
        let mut clauses = pg::nodes::<pg_sys::SortGroupClause>(clauses);
        let (Some(clause), None) = (clauses.next(), clauses.next()) else { return None };
        let entry = pg_sys::get_sortgroupclause_tle(clause, (*root).processed_tlist);
        let expr: *mut pg_sys::Node = (*entry).expr.cast();
        if !pg::is_a(expr, pg_sys::NodeTag::T_Var) {
            return None;
        }
        let var = expr.cast::<pg_sys::Var>();
        let equal = match (*var).vartype {
            pg_sys::TEXTOID | pg_sys::VARCHAROID => pg_sys::TextEqualOperator,
            pg_sys::BOOLOID => BOOLEAN_EQUAL,
            _ => return None,
        };
        let of_input = (*var).varno as pg_sys::Index == (*input).relid && (*var).varlevelsup == 0;
        (of_input && (*var).varattno > 0 && (*clause).eqop.to_u32() == equal).then_some(var)
    }
}

/// What a query makes of its groups: the column, and the counts that it wants of each.
///
/// # Safety
/// `root`, `input` and `output` are the planner's.
pub unsafe fn wanted(
    root: *mut pg_sys::PlannerInfo,
    stage: pg_sys::UpperRelationKind::Type,
    input: *mut pg_sys::RelOptInfo,
    output: *mut pg_sys::RelOptInfo,
    state: &PlanState,
) -> Option<(*mut pg_sys::Var, Vec<*mut pg_sys::Aggref>)> {
    // SAFETY: the caller's promise.
    unsafe {
        let key = key(root, stage, input)?;
        let target = target(root, stage, output);
        let counts = upper::counts_in((*target).exprs, root, input, state, Some(key))?;
        Some((key, counts))
    }
}

/// What the rows of a stage are made of. Of DISTINCT the relation does not say it itself.
unsafe fn target(
    root: *mut pg_sys::PlannerInfo,
    stage: pg_sys::UpperRelationKind::Type,
    output: *mut pg_sys::RelOptInfo,
) -> *mut pg_sys::PathTarget {
    // SAFETY: the planner's.
    unsafe {
        match stage {
            pg_sys::UpperRelationKind::UPPERREL_DISTINCT => (*root).upper_targets[stage as usize],
            _ => (*output).reltarget,
        }
    }
}

/// The stage of a path of [`add_path`].
///
/// # Safety
/// `root` is the planner's.
pub unsafe fn stage(root: *mut pg_sys::PlannerInfo) -> pg_sys::UpperRelationKind::Type {
    // SAFETY: the caller's promise.
    match unsafe { (*(*root).parse).groupClause.is_null() } {
        true => pg_sys::UpperRelationKind::UPPERREL_DISTINCT,
        false => pg_sys::UpperRelationKind::UPPERREL_GROUP_AGG,
    }
}

/// Adds the path, if the query is of that form, every clause goes out exactly, and the groups are known.
///
/// # Safety
/// `root`, `input` and `output` are the planner's, while it asks for the paths of that stage.
pub unsafe fn add_path(
    root: *mut pg_sys::PlannerInfo,
    stage: pg_sys::UpperRelationKind::Type,
    input: *mut pg_sys::RelOptInfo,
    output: *mut pg_sys::RelOptInfo,
    state: &PlanState,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let (true, Some(resolved)) = (gucs::ENABLE_GROUP_COUNTS.get(), &state.resolved) else { return };
        let Some((key, _)) = wanted(root, stage, input, output, state) else { return };
        if !upper::is_exact(input, state) {
            return;
        }
        let attnum = (*key).varattno;
        let user = pg_compat::checked_as(root, input).unwrap_or_else(|| pg_sys::GetUserId());
        let connection = session::connect((*input).serverid, user);
        let relation = (*pg_sys::planner_rt_fetch((*input).relid, root)).relid;
        let found_out = connection.refused.borrow().contains(&mark(relation, attnum));
        if found_out || connection.client.counts_refused() {
            return;
        }
        let client = connection.client.clone();
        let (of, names) = (resolved.clone(), client.clone());
        // A service that would not say is one whose rows are read.
        let _ = runtime::wait(plan::in_time(async move { learn(&names, &of, attnum).await }));
        let Ok(groups) = known(resolved, attnum, &client) else { return };
        let rows = groups.each.len() + usize::from(groups.none.is_some());
        let cost = plan::REQUEST_COST * groups.requests() as f64;
        let private = pg_sys::lappend_int(std::ptr::null_mut(), (*input).relid as i32);
        let private = pg_sys::lappend_int(private, attnum.into());
        let target = target(root, stage, output);
        let path = pg_compat::foreign_upper_path(root, output, target, rows as f64, cost, cost, private);
        pg_sys::add_path(output, path);
    }
}

/// The column that a path of [`add_path`] groups by; none of a plain count's.
///
/// # Safety
/// `path` is one of either.
pub unsafe fn grouped_by(path: *mut pg_sys::ForeignPath) -> Option<i16> {
    // SAFETY: the caller's promise: a list of one or two numbers.
    unsafe {
        let list = (*path).fdw_private;
        ((*list).length > 1).then(|| (*(*list).elements.add(1)).int_value as i16)
    }
}

/// What a session notes where the groups that are known turn out not to be all, or are not to be asked for.
pub fn mark(relation: pg_sys::Oid, attnum: i16) -> String {
    format!("the groups of column {attnum} of table {}", relation.to_u32())
}

/// Asks for what [`known`] needs and is not kept: the names of statuses, where they would be of use.
pub async fn learn(
    client: &Arc<Client>,
    resolved: &Resolved,
    attnum: i16,
) -> Result<(), assets::error::Error> {
    let values = resolved.columns.get(&attnum).map(|column| &column.values);
    if matches!(values, Some(Values::Statuses(_))) && resolved.facts.has(aql::facts::STATUS_SAME) {
        client.statuses(resolved.schema_id).await?;
    }
    Ok(())
}

/// The groups of a column, as far as they are known; or why they are not.
pub fn known(resolved: &Resolved, attnum: i16, client: &Client) -> Result<Groups, String> {
    let unknown = || "its values are not known".to_owned();
    let column = resolved.columns.get(&attnum).ok_or_else(unknown)?;
    let subject = column.subject.as_ref().ok_or_else(unknown)?;
    let facts = &resolved.facts;
    let texts = |names: Vec<String>| names.into_iter().map(Literal::Text).collect::<Vec<_>>();
    match &column.values {
        Values::Any => Err(unknown()),
        Values::Booleans => groups::by_value(subject, &[Literal::Bool(false), Literal::Bool(true)], facts),
        Values::Options(options) => groups::by_value(subject, &texts(options.clone()), facts),
        Values::Statuses(ids) => {
            let all = client.cached_statuses(resolved.schema_id).ok_or_else(unknown)?;
            let may_be = all.iter().filter(|status| ids.is_empty() || ids.contains(&status.id));
            let mut names: Vec<String> = may_be.map(|status| status.name.clone()).collect();
            names.sort_unstable();
            // Two statuses of one name are one group, and one condition selects both.
            names.dedup();
            groups::by_value(subject, &texts(names), facts)
        }
        Values::Types if subject.class == Class::Text => {
            let all = resolved.known.iter().flat_map(|types| types.iter());
            let own = all.filter(|t| resolved.types.contains(&t.id) && !t.is_abstract);
            Ok(groups::by_type(own.map(|t| (t.id, t.name.clone()))))
        }
        Values::Types => Err(unknown()),
    }
}
