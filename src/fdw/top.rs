//! `ORDER BY … LIMIT n`: the first rows in one request, where the answer proves
//! itself; else everything is read, and the first rows kept.
#![allow(unsafe_code)] // the executor's nodes

use assets::top::{self, Order, keep_first};
use assets::value::{Row, ScanSpec};
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::fdw::local::Local;
use crate::fdw::scan::Scan;
use crate::{error, facts, runtime};

/// The state of such a scan.
pub struct Top {
    /// For reading everything, and for filling slots; it holds the question.
    pub scan: Scan,
    /// The order that is asked for.
    pub order: Order,
    /// The fact that proves that the service keeps to it.
    pub fact: Option<&'static str>,
    limit: u32,
    local: Local,
    /// The first rows, once they are known.
    rows: Option<Vec<Row>>,
    given: usize,
}

impl Top {
    /// The first `limit` rows of `scan` in an order, checked with `local` where they have to be read.
    pub fn new(scan: Scan, local: Local, order: Order, fact: Option<&'static str>, limit: u32) -> Self {
        Self { scan, order, fact, limit, local, rows: None, given: 0 }
    }

    /// The next row, or none after the last.
    ///
    /// # Safety
    /// `node` is the executor's, the one that the scan was made for.
    pub unsafe fn next(&mut self, node: *mut pg_sys::ForeignScanState) -> Option<Row> {
        if self.rows.is_none() {
            // SAFETY: the caller's promise.
            self.rows = Some(unsafe { self.first(node) });
        }
        let row = self.rows.as_ref()?.get(self.given)?.clone();
        self.given += 1;
        Some(row)
    }

    unsafe fn first(&mut self, node: *mut pg_sys::ForeignScanState) -> Vec<Row> {
        // SAFETY: the caller's node.
        let asked = unsafe { self.scan.question.exact(node) };
        match asked {
            Some(None) => return Vec::new(),
            Some(Some(filter)) => {
                let client = self.scan.question.connection.client.clone();
                let spec = ScanSpec { filter, columns: self.scan.specs(), limit: None, most: None };
                let (order, limit, stats) = (self.order.clone(), self.limit, self.scan.stats.clone());
                let found = runtime::wait(async move { top::top(client, spec, order, limit, stats).await });
                match error::or_raise(found) {
                    top::Top::Rows(rows) if !rows.is_empty() || self.scan.question.know_after_nothing() => {
                        return rows;
                    }
                    // No row has been given yet: what follows is right whatever the service does.
                    top::Top::OutOfOrder => self.fact.into_iter().for_each(|fact| self.take_back(fact)),
                    _ => {}
                }
            }
            None => {}
        }
        // SAFETY: the caller's node.
        unsafe { self.read(node) }
    }

    fn take_back(&self, fact: &'static str) {
        let server = &self.scan.question.connection.server_name;
        facts::revoke(server, &[fact], "a page came in another order");
        error::report(
            PgSqlErrorCode::ERRCODE_WARNING,
            format!(
                "a page came out of order, although server \"{server}\" was proven to keep to it: \"{fact}\""
            ),
        )
        .set_hint("The proof is revoked; the rows are read and sorted here.")
        .report(PgLogLevel::WARNING);
    }

    /// Reads everything and keeps the first rows; memory stays at a few times the limit.
    unsafe fn read(&mut self, node: *mut pg_sys::ForeignScanState) -> Vec<Row> {
        let limit = self.limit as usize;
        let mut rows = Vec::new();
        // SAFETY: the caller's node.
        while let Some(row) = unsafe { self.local.next(&mut self.scan, node) } {
            rows.push(row);
            if rows.len() > 2 * limit + 1000 {
                keep_first(&mut rows, &self.order, limit);
            }
        }
        keep_first(&mut rows, &self.order, limit);
        rows
    }

    /// Back to the first row. `same` says that every parameter has the value that it had.
    pub fn again(&mut self, same: bool) {
        self.given = 0;
        if !same {
            self.scan.restart();
            self.rows = None;
        }
    }
}
