//! Columns that PostgreSQL computes from others of their row (`GENERATED ALWAYS AS (…) STORED`). Of a foreign table they
//! are expected from the wrapper, and Assets knows nothing of them: they are computed when a row is read. Virtual
//! ones the planner itself replaces by what they are made of.
#![allow(unsafe_code)] // relations, expressions and slots

use pgrx::{PgMemoryContexts, PgRelation, pg_sys};

use crate::fdw::pg;

/// The columns that a row is completed by.
pub struct Generated {
    relation: pg_sys::Oid,
    columns: Vec<(i16, *mut pg_sys::ExprState)>,
    context: *mut pg_sys::ExprContext,
}

/// Which columns of the relation a generated one is made of.
pub fn inputs(relid: pg_sys::Oid, attnum: i16) -> Vec<i16> {
    // SAFETY: the statement under way has locked the relation; its expressions are over itself, as the first of the
    // range table.
    unsafe {
        let relation = PgRelation::open(relid);
        pg::columns_in(pg_sys::build_column_default(relation.as_ptr(), i32::from(attnum)), 1)
    }
}

impl Generated {
    /// Compiles the columns `wanted` of a relation, for the query of `state`.
    ///
    /// # Safety
    /// `state` is the executor's, live.
    pub unsafe fn new(state: *mut pg_sys::EState, relid: pg_sys::Oid, wanted: &[i16]) -> Option<Self> {
        if wanted.is_empty() {
            return None;
        }
        // SAFETY: the caller's promise; the query has locked the relation, and what is made lives as long as it.
        unsafe {
            let relation = PgRelation::open(relid);
            PgMemoryContexts::For((*state).es_query_cxt).switch_to(|_| {
                let compile = |attnum: &i16| {
                    let expression = pg_sys::build_column_default(relation.as_ptr(), i32::from(*attnum));
                    let planned = pg_sys::expression_planner(expression.cast());
                    (*attnum, pg_sys::ExecInitExpr(planned, std::ptr::null_mut()))
                };
                let columns = wanted.iter().map(compile).collect();
                Some(Self { relation: relid, columns, context: pg_sys::CreateExprContext(state) })
            })
        }
    }

    /// Computes them from what else is in a row. Memory for the values is the current one.
    ///
    /// # Safety
    /// `slot` holds a row of the relation, as values.
    pub unsafe fn fill(&self, slot: *mut pg_sys::TupleTableSlot) {
        // SAFETY: the caller's promise.
        unsafe {
            (*slot).tts_tableOid = self.relation;
            (*self.context).ecxt_scantuple = slot;
            for (attnum, state) in &self.columns {
                let value = pg::value_of(*state, self.context);
                let n = *attnum as usize - 1;
                *(*slot).tts_values.add(n) = value.unwrap_or(pg_sys::Datum::null());
                *(*slot).tts_isnull.add(n) = value.is_none();
            }
            (*self.context).ecxt_scantuple = std::ptr::null_mut();
        }
    }
}
