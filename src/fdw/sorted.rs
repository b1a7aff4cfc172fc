//! Planning `ORDER BY created | updated … LIMIT n`: a path that gives the first rows in order.
#![allow(unsafe_code)] // the planner's nodes

use assets::top::{Instant, Order};
use pgrx::pg_sys;
use serde::{Deserialize, Serialize};

use crate::fdw::pg;
use crate::fdw::plan::{self, PlanState};
use crate::fdw::upper;
use crate::pg_compat;

/// The most rows that are worth asking for in order.
const MOST: f64 = 900.0;

/// What the plan carries of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct TopOf {
    /// The sorted column.
    pub attnum: i16,
    /// `Updated`, else `Created`.
    pub updated: bool,
    /// Latest first.
    pub descending: bool,
    /// NULLS FIRST.
    pub nulls_first: bool,
    /// How many rows.
    pub limit: u32,
}

impl TopOf {
    /// The order, given where the column stands among those that are decoded.
    pub fn order(&self, column: usize) -> Order {
        let by = if self.updated { Instant::Updated } else { Instant::Created };
        Order { by, descending: self.descending, nulls_first: self.nulls_first, column }
    }
}

/// Adds the path, if the query is of that form and every clause goes out exactly.
///
/// # Safety
/// `root` and `rel` are the planner's, while it asks for the paths of `rel`.
pub unsafe fn add_path(root: *mut pg_sys::PlannerInfo, rel: *mut pg_sys::RelOptInfo, state: &PlanState) {
    // SAFETY: the caller's promise.
    unsafe {
        if top_of(root, rel, state).is_none() || !upper::is_exact(rel, state) {
            return;
        }
        let rows = (*root).limit_tuples.min((*rel).rows);
        let (startup, total) = plan::cost(rel, rows);
        let path = pg_compat::sorted_path(root, rel, rows, startup, total, (*root).query_pathkeys);
        pg_sys::add_path(rel, path);
    }
}

/// The order and the limit of a query that wants the first rows of this relation alone by an
/// instant that every object has.
///
/// # Safety
/// As for [`add_path`].
pub unsafe fn top_of(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    state: &PlanState,
) -> Option<TopOf> {
    // SAFETY: the caller's promise; casts follow the nodes' tags.
    unsafe {
        let query = (*root).parse;
        let limit = (*root).limit_tuples;
        let plain = (*query).groupClause.is_null()
            && (*query).distinctClause.is_null()
            && (*query).setOperations.is_null()
            && !(*query).hasAggs
            && !(*query).hasWindowFuncs
            && !(*query).hasTargetSRFs;
        let alone = pg_sys::bms_equal((*root).all_baserels, (*rel).relids);
        if !(plain && alone && (1.0..=MOST).contains(&limit)) {
            return None;
        }
        let mut keys = pg::nodes::<pg_sys::PathKey>((*root).query_pathkeys);
        let (key, None) = (keys.next()?, keys.next()) else { return None };
        let resolved = state.resolved.as_ref()?;
        pg::nodes::<pg_sys::EquivalenceMember>((*(*key).pk_eclass).ec_members).find_map(|member| {
            let expr: *mut pg_sys::Node = (*member).em_expr.cast();
            if !pg::is_a(expr, pg_sys::NodeTag::T_Var) {
                return None;
            }
            let var = expr.cast::<pg_sys::Var>();
            if (*var).varno as pg_sys::Index != (*rel).relid || (*var).vartype != pg_sys::TIMESTAMPTZOID {
                return None;
            }
            let subject = resolved.columns.get(&(*var).varattno)?.subject.as_ref()?;
            let updated = match subject.column {
                aql::Column::Updated => true,
                aql::Column::Created => false,
                _ => return None,
            };
            Some(TopOf {
                attnum: (*var).varattno,
                updated,
                descending: pg_compat::is_descending(key),
                nulls_first: (*key).pk_nulls_first,
                limit: limit as u32,
            })
        })
    }
}
