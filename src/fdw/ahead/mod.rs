//! Joins in batches: a nested loop asks once for the keys of many outer rows.
//!
//! PostgreSQL's Nested Loop does all joining. When a plan starts, [`wrap`] puts a node above the outer side of each
//! nested loop that a scan of ours depends on: the read-ahead ([`node`]), which hands rows through unchanged, some of
//! them early, and lets the scan below the inner side look at the keys in them. The scan
//! (`fdw/keyed.rs`) asks for many keys together and serves each rescan from what came. What is asked together is a
//! superset; PostgreSQL's own clauses decide for each outer row, as they do where one row is asked for.
//!
//! ```text
//! ExecutorStart → wrap (a copy of the plan) → node: outer row → keyed: its operands' values → batch → rows by key
//! ```
//!
//! The two nodes find each other by a parameter's slot that belongs to no expression, as the scans of one CTE do.
//! Under EvalPlanQual both ignore it.

pub mod node;
mod wrap;

use pgrx::pg_sys;

/// Registers the node and puts the hook in place; once, from `_PG_init`.
pub fn init() {
    node::register();
    wrap::install();
}

/// The numbers in the private list of a plan node: first the slot that links it to its other half; then, of a scan, after
/// how many rows the join may stop, where it may.
///
/// # Safety
/// `private` is null or the private list of a plan node of ours.
#[allow(unsafe_code)] // plan nodes
pub unsafe fn numbers_in(private: *mut pg_sys::List) -> Vec<usize> {
    use crate::fdw::pg;
    // SAFETY: the caller's promise: a list of nodes.
    unsafe {
        pg::nodes::<pg_sys::Node>(private)
            .filter(|node| pg::is_a(*node, pg_sys::NodeTag::T_Integer))
            .filter_map(|node| usize::try_from((*node.cast::<pg_sys::Integer>()).ival).ok())
            .collect()
    }
}
