//! `count(*)` as one `totalcount` request.
//!
//! Only where every clause is exact with the values at hand: otherwise, and where the service refuses
//! a clause, the rows are read and counted here.
#![allow(unsafe_code)] // the executor's nodes and slots

use std::sync::atomic::Ordering;

use assets::error::Kind;
use pgrx::{PgMemoryContexts, PgRelation, pg_sys};

use crate::fdw::pg;
use crate::fdw::scan::Scan;
use crate::{error, runtime};

/// The state of a count.
pub struct Count {
    /// For reading the rows where the service cannot be asked; it holds the question.
    pub scan: Scan,
    quals: *mut pg_sys::List,
    relation: pg_sys::Oid,
    given: bool,
    /// For rows that have to be read: their slot, and the compiled quals.
    local: Option<(*mut pg_sys::TupleTableSlot, *mut pg_sys::ExprState)>,
}

impl Count {
    /// A count over `scan`, whose rows are checked with `quals` where they have to be read.
    ///
    /// # Safety
    /// `quals` is a List of expressions over the scanned relation, alive as long as the query.
    pub unsafe fn new(scan: Scan, quals: *mut pg_sys::List, relation: pg_sys::Oid) -> Self {
        Self { scan, quals, relation, given: false, local: None }
    }

    /// The count, once.
    ///
    /// # Safety
    /// `node` is the executor's, the one that the count was made for.
    pub unsafe fn next(&mut self, node: *mut pg_sys::ForeignScanState) -> Option<i64> {
        if std::mem::replace(&mut self.given, true) {
            return None;
        }
        // SAFETY: the caller's promise.
        let asked = unsafe { self.scan.question.exact(node) };
        let text = match asked {
            Some(None) => return Some(0),
            Some(Some(text)) => text,
            // SAFETY: the caller's promise.
            None => return Some(unsafe { self.read(node) }),
        };
        let client = self.scan.question.connection.client.clone();
        self.scan.stats.requests.fetch_add(1, Ordering::Relaxed);
        match runtime::wait(async move { client.total_count(&text).await }) {
            Ok(count) => Some(i64::try_from(count).unwrap_or(i64::MAX)),
            Err(e) if e.kind() == Kind::AqlRejected => {
                if !self.scan.question.take_back() {
                    self.scan.question.own_refused(e);
                }
                // SAFETY: the caller's promise.
                Some(unsafe { self.read(node) })
            }
            Err(e) => error::service(&e),
        }
    }

    /// Reads the rows and counts those that satisfy every clause.
    unsafe fn read(&mut self, node: *mut pg_sys::ForeignScanState) -> i64 {
        // SAFETY: the caller's node; the slot is of the scanned relation's row type, which the quals
        // are over, and lives as long as the query.
        unsafe {
            let (slot, checks) = *self.local.get_or_insert_with(|| {
                PgMemoryContexts::For((*(*node).ss.ps.state).es_query_cxt).switch_to(|_| {
                    let relation = PgRelation::open(self.relation);
                    let row_type = pg_sys::CreateTupleDescCopy((*relation.as_ptr()).rd_att);
                    let slot = pg_sys::MakeSingleTupleTableSlot(row_type, &raw const pg_sys::TTSOpsVirtual);
                    (slot, pg_sys::ExecInitQual(self.quals, &raw mut (*node).ss.ps))
                })
            });
            let context = (*node).ss.ps.ps_ExprContext;
            let before = (*context).ecxt_scantuple;
            let mut count = 0;
            while let Some(row) = self.scan.next(node) {
                pg_sys::MemoryContextReset((*context).ecxt_per_tuple_memory);
                let mut inside = PgMemoryContexts::For((*context).ecxt_per_tuple_memory);
                let matches = inside.switch_to(|_| {
                    pg::clear_slot(slot);
                    self.scan.store(&row, slot);
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

    /// Starts again.
    pub fn restart(&mut self) {
        self.scan.restart();
        self.given = false;
    }

    /// The end of the query.
    pub fn end(&mut self) {
        self.scan.restart();
        self.scan.warn();
    }
}
