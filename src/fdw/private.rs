//! What a plan carries from the planner to the executor: plain text in one String node, because
//! plans are copied and cached, and a pointer in one outlives what it points to.
#![allow(unsafe_code)] // plan nodes

use pgrx::pg_sys;
use serde::{Deserialize, Serialize};

use crate::fdw::pg;
use crate::fdw::sorted::TopOf;

/// The executor's share of a plan.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Private {
    /// The columns the query uses, by attribute number.
    pub columns: Vec<i16>,
    /// The generated columns among those the query uses.
    #[serde(default)]
    pub generated: Vec<i16>,
    /// How many rows the query is expected to take at most, where the planner has an idea; never an end.
    pub limit: Option<u64>,
    /// What the planner expects of look-ups by key.
    #[serde(default)]
    pub lookups: Lookups,
    /// For the first rows in an order: which.
    pub top: Option<TopOf>,
    /// For a `count(*)` that the service is asked for: of what.
    pub count: Option<CountOf>,
}

/// What the planner expects of a scan that is repeated with other parameters; hints, all of them.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Lookups {
    /// Rows of one look-up.
    pub rows: f64,
    /// Rows without what is looked up by; none where it is not known.
    pub whole: Option<f64>,
    /// A cursor that may stop anywhere.
    pub paced: bool,
}

/// The relation below an upper node, which the plan does not name elsewhere.
#[derive(Debug, Serialize, Deserialize)]
pub struct CountOf {
    /// The foreign table's OID.
    pub relation: u32,
    /// Its number in the range table, which the quals refer to.
    pub relid: u32,
    /// The role whose user mapping is used: a view's owner; else whoever runs the plan.
    pub user: Option<u32>,
    /// The quals, as `nodeToString` writes them.
    pub quals: String,
    /// The column whose groups are counted; none: all rows together.
    #[serde(default)]
    pub grouped_by: Option<i16>,
}

impl Private {
    /// Writes it as a List for `fdw_private`.
    pub fn to_list(&self) -> *mut pg_sys::List {
        let json = serde_json::to_string(self).unwrap_or_default();
        // SAFETY: palloc'd nodes in the planner's memory context.
        unsafe { pg_sys::lappend(std::ptr::null_mut(), pg_sys::makeString(pg::to_server(&json)).cast()) }
    }

    /// Reads it back.
    ///
    /// # Safety
    /// `list` is what [`Private::to_list`] made, or a copy of it.
    pub unsafe fn from_list(list: *mut pg_sys::List) -> Self {
        // SAFETY: the caller's promise: one String node.
        let json = unsafe {
            pg::nodes::<pg_sys::String>(list).next().map(|node| pg::text((*node).sval)).unwrap_or_default()
        };
        serde_json::from_str(&json).unwrap_or_default()
    }
}
