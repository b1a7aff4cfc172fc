//! Planning `ORDER BY … LIMIT n` by a column that AQL orders as SQL does, alone or before others: a path that gives
//! the first rows in its order.
#![allow(unsafe_code)] // the planner's nodes

use aql::order::Sort;
use aql::{Expr, Pred};
use assets::top::Order;
use assets::value::Decode;
use pgrx::pg_sys;
use serde::{Deserialize, Serialize};

use crate::catalog::{Resolution, Resolved};
use crate::fdw::clause::Walker;
use crate::fdw::pg;
use crate::fdw::plan::{self, PlanState};
use crate::fdw::sorter::Key;
use crate::fdw::upper;
use crate::pg_compat;

/// The most rows that are worth asking for in order.
const MOST: f64 = 900.0;

/// What the plan carries of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct TopOf {
    /// The sorted column.
    pub attnum: i16,
    /// Latest or largest first.
    pub descending: bool,
    /// NULLS FIRST.
    pub nulls_first: bool,
    /// Whether a wanted row may be NULL there.
    pub nullable: bool,
    /// The `<` or `>` that sorts.
    pub operator: u32,
    /// How many rows are expected to be wanted: an estimate (a function's value while planning, say), and not
    /// all with WITH TIES.
    pub limit: u32,
}

impl TopOf {
    /// The order, given what the columns mean now and where the sorted one stands among those that are
    /// decoded; and the fact that proves it, if there is one. Where the service cannot be asked for it (any
    /// more), everything is read.
    pub fn order(&self, resolved: &Resolved, column: usize) -> (Order, Option<&'static str>) {
        let sort = resolved
            .columns
            .get(&self.attnum)
            .and_then(sort_of)
            .filter(|sort| self.is_served_by(sort, &resolved.facts));
        let fact = sort.as_ref().map(|sort| sort.fact).filter(|fact| resolved.facts.has(fact));
        let order = Order {
            proven: fact.is_some(),
            present: sort
                .as_ref()
                .and_then(|s| s.present.as_ref())
                .filter(|_| self.nullable)
                .map(Expr::to_string),
            by: sort.map(|sort| sort.by),
            descending: self.descending,
            column,
        };
        (order, fact)
    }

    /// What to sort by here.
    pub fn key(&self) -> Key {
        Key { attnum: self.attnum, operator: pg_sys::Oid::from(self.operator), nulls_first: self.nulls_first }
    }

    /// Instants that every object has are tried without proof, since a page shows by itself whether it is
    /// sorted; any other order only when it is proven. Where AQL puts missing values is known of none: they
    /// are left out, so there must be enough of the others, and these must come first.
    fn is_served_by(&self, sort: &Sort, facts: &aql::Facts) -> bool {
        let instant = [aql::facts::ORDER_CREATED, aql::facts::ORDER_UPDATED].contains(&sort.fact);
        (instant || facts.has(sort.fact)) && (sort.present.is_none() || !self.nullable || !self.nulls_first)
    }
}

/// How AQL orders by a column whose values, as they are decoded, show whether it does.
fn sort_of(column: &Resolution) -> Option<Sort> {
    let shows = matches!(column.spec.decode, Decode::Int | Decode::Double | Decode::Date | Decode::Timestamp);
    column.subject.as_ref().filter(|_| shows).and_then(Sort::new)
}

/// The operator by which a path key sorts a column, where that is the order that every service has in mind:
/// the one of the column's own type.
unsafe fn operator(key: *mut pg_sys::PathKey, column_type: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: the planner's path key; catalogue look-ups.
    unsafe {
        let known = pg_sys::lookup_type_cache(column_type, pg_sys::TYPECACHE_BTREE_OPFAMILY as i32);
        if (*key).pk_opfamily != (*known).btree_opf || !(*known).typbyval {
            return None;
        }
        let strategy = match pg_compat::is_descending(key) {
            true => pg_sys::BTGreaterStrategyNumber,
            false => pg_sys::BTLessStrategyNumber,
        };
        let found = pg_sys::get_opfamily_member(
            (*key).pk_opfamily,
            column_type,
            column_type,
            strategy.try_into().ok()?,
        );
        (found != pg_sys::InvalidOid).then_some(found)
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
        let (startup, first) = plan::cost(rel, rows);
        let keys = (*root).query_pathkeys;
        let path = if (*keys).length == 1 {
            pg_compat::sorted_path(root, rel, rows, startup, first, keys)
        } else {
            // The rows that are equal by the first key are sorted by the others above, which needs all of them, but
            // not what follows: an Incremental Sort. Whatever wants everything gets it by reading everything then.
            let one = pg_sys::lappend(std::ptr::null_mut(), (*(*keys).elements).ptr_value);
            let everything = plan::cost(rel, state.fetched).1;
            pg_compat::sorted_path(root, rel, (*rel).rows, first, first + everything, one)
        };
        pg_sys::add_path(rel, path);
    }
}

/// The order of a query that wants the first rows of this relation alone by a column, and by others where that is
/// equal, and how many.
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
        // AQL orders by one attribute only (assets-api.md 4.6).
        let key = keys.next()?;
        let resolved = state.resolved.as_ref()?;
        let class = (*key).pk_eclass;
        if (*class).ec_has_volatile {
            return None;
        }
        pg::nodes::<pg_sys::EquivalenceMember>((*class).ec_members).find_map(|member| {
            let expr: *mut pg_sys::Node = (*member).em_expr.cast();
            if !pg::is_a(expr, pg_sys::NodeTag::T_Var) {
                return None;
            }
            let var = expr.cast::<pg_sys::Var>();
            let of_relation = (*var).varno as pg_sys::Index == (*rel).relid && (*var).varlevelsup == 0;
            if !of_relation || (*member).em_is_child || (*member).em_datatype != (*var).vartype {
                return None;
            }
            let sort = sort_of(resolved.columns.get(&(*var).varattno)?)?;
            let top = TopOf {
                attnum: (*var).varattno,
                descending: pg_compat::is_descending(key),
                nulls_first: (*key).pk_nulls_first,
                nullable: sort.present.is_some() && !is_required(rel, resolved, (*var).varattno),
                operator: operator(key, (*var).vartype)?.to_u32(),
                limit: limit as u32,
            };
            top.is_served_by(&sort, &resolved.facts).then_some(top)
        })
    }
}

/// Whether some clause is true of no row that is NULL in a column.
unsafe fn is_required(rel: *mut pg_sys::RelOptInfo, resolved: &Resolved, attnum: i16) -> bool {
    let Some(sorted) = resolved.columns.get(&attnum).and_then(|r| r.subject.as_ref()) else { return false };
    // SAFETY: the planner's relation.
    let mut walker = Walker::new(unsafe { (*rel).relid }, &resolved.columns);
    // SAFETY: the planner's nodes.
    unsafe {
        pg::nodes::<pg_sys::RestrictInfo>((*rel).baserestrictinfo).any(|clause| {
            match walker.pred((*clause).clause.cast()) {
                Pred::Leaf(leaf) => leaf.subject.column == sorted.column && leaf.op.is_strict(),
                _ => false,
            }
        })
    }
}
