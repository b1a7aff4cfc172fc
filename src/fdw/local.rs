//! Rows that have to be read and checked here, for nodes that normally ask the service for less: a
//! count, the first rows in an order.
#![allow(unsafe_code)] // the executor's slots and expressions

use assets::value::Row;
use pgrx::{PgMemoryContexts, PgRelation, pg_sys};

use crate::fdw::keyed::Candidates;
use crate::fdw::pg;
use crate::fdw::scan::Scan;
use crate::fdw::system;

/// The plan's clauses, compiled for rows of the scanned table.
pub struct Local {
    quals: *mut pg_sys::List,
    relation: pg_sys::Oid,
    /// Whether the clauses look at system columns.
    system: bool,
    made: Option<(*mut pg_sys::TupleTableSlot, *mut pg_sys::ExprState)>,
}

impl Local {
    /// Clauses over the foreign table `relation`: a List of expressions that lives as long as the
    /// query. Compiled when they are first needed.
    ///
    /// # Safety
    /// They are over the relation `relid` of the range table.
    pub unsafe fn new(quals: *mut pg_sys::List, relation: pg_sys::Oid, relid: u32) -> Self {
        // SAFETY: the caller's promise.
        let system = unsafe { system::is_used(quals.cast(), relid) };
        Self { quals, relation, system, made: None }
    }

    /// The slot that clauses look at, and the clauses.
    unsafe fn compiled(
        &mut self,
        node: *mut pg_sys::ForeignScanState,
    ) -> (*mut pg_sys::TupleTableSlot, *mut pg_sys::ExprState) {
        // SAFETY: the caller's node; what is made lives as long as its query.
        unsafe {
            *self.made.get_or_insert_with(|| {
                PgMemoryContexts::For((*(*node).ss.ps.state).es_query_cxt).switch_to(|_| {
                    let relation = PgRelation::open(self.relation);
                    let row_type = pg_sys::CreateTupleDescCopy((*relation.as_ptr()).rd_att);
                    let slot = pg_sys::MakeSingleTupleTableSlot(row_type, &raw const pg_sys::TTSOpsHeapTuple);
                    (slot, pg_sys::ExecInitQual(self.quals, &raw mut (*node).ss.ps))
                })
            })
        }
    }

    /// How many of these rows satisfy every clause.
    ///
    /// # Safety
    /// `node` is the executor's, the one that the clauses were made for; the rows are of the scanned table.
    pub unsafe fn count(&mut self, node: *mut pg_sys::ForeignScanState, mut rows: Candidates) -> i64 {
        // SAFETY: as for `next`.
        unsafe {
            let (slot, checks) = self.compiled(node);
            let context = (*node).ss.ps.ps_ExprContext;
            let before = (*context).ecxt_scantuple;
            let mut count = 0;
            while let Some(row) = rows.next() {
                pg_sys::MemoryContextReset((*context).ecxt_per_tuple_memory);
                let mut inside = PgMemoryContexts::For((*context).ecxt_per_tuple_memory);
                let matches = inside.switch_to(|_| {
                    pg::clear_slot(slot);
                    row.fill(slot);
                    if self.system {
                        system::fill(slot);
                    }
                    (*context).ecxt_scantuple = slot;
                    pg::satisfied(checks, context)
                });
                count += i64::from(matches);
            }
            pg::clear_slot(slot);
            (*context).ecxt_scantuple = before;
            count
        }
    }

    /// The scan's next row that satisfies every clause, and `take` of it with a slot that holds it, in
    /// memory that lasts no longer than the row.
    ///
    /// # Safety
    /// `node` is the executor's, the one that `scan` and the clauses were made for.
    pub unsafe fn next(
        &mut self,
        scan: &mut Scan,
        node: *mut pg_sys::ForeignScanState,
        take: &mut impl FnMut(&Row, *mut pg_sys::TupleTableSlot),
    ) -> Option<Row> {
        // SAFETY: the caller's promise; the slot is of the scanned table's row type, which the clauses
        // are over, and lives as long as the query.
        unsafe {
            let (slot, checks) = self.compiled(node);
            let context = (*node).ss.ps.ps_ExprContext;
            let before = (*context).ecxt_scantuple;
            let mut found = None;
            while let Some(row) = scan.next(node) {
                pg_sys::MemoryContextReset((*context).ecxt_per_tuple_memory);
                let mut inside = PgMemoryContexts::For((*context).ecxt_per_tuple_memory);
                let matches = inside.switch_to(|_| {
                    pg::clear_slot(slot);
                    scan.store(&row, slot);
                    if self.system {
                        system::fill(slot);
                    }
                    (*context).ecxt_scantuple = slot;
                    let matches = pg::satisfied(checks, context);
                    if matches {
                        take(&row, slot);
                    }
                    matches
                });
                if matches {
                    found = Some(row);
                    break;
                }
            }
            pg::clear_slot(slot);
            (*context).ecxt_scantuple = before;
            found
        }
    }
}
