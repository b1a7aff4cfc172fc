//! `count(*)` as one `totalcount` request.
//!
//! Only where every clause is exact with the values at hand: otherwise, and where the service refuses
//! a clause or does not count for us, the rows are read and counted here.
#![allow(unsafe_code)] // the executor's nodes

use std::sync::atomic::Ordering;

use assets::error::Kind;
use pgrx::pg_sys;

use crate::fdw::keyed::Keyed;
use crate::fdw::local::Local;
use crate::fdw::scan::Scan;
use crate::{error, runtime};

/// The state of a count.
pub struct Count {
    /// For reading the rows where the service cannot be asked; it holds the question.
    pub scan: Scan,
    local: Local,
    /// Where it is repeated with other parameters: rows by key, where counting those costs fewer requests.
    pub keyed: Option<Keyed>,
    /// The count, once it is known.
    count: Option<i64>,
    given: bool,
}

impl Count {
    /// A count over `scan`, whose rows are checked with `local` where they have to be read.
    pub fn new(scan: Scan, local: Local, keyed: Option<Keyed>) -> Self {
        Self { scan, local, keyed, count: None, given: false }
    }

    /// The count, once.
    ///
    /// # Safety
    /// `node` is the executor's, the one that the count was made for.
    pub unsafe fn next(&mut self, node: *mut pg_sys::ForeignScanState) -> Option<i64> {
        if std::mem::replace(&mut self.given, true) {
            return None;
        }
        if self.count.is_none() {
            // SAFETY: the caller's promise.
            self.count = Some(unsafe { self.ask(node) });
        }
        self.count
    }

    unsafe fn ask(&mut self, node: *mut pg_sys::ForeignScanState) -> i64 {
        if let Some(keyed) = &mut self.keyed {
            // SAFETY: the caller's promise.
            let found = unsafe { keyed.look(node) };
            if let Some(rows) = found {
                // SAFETY: the caller's promise.
                return unsafe { self.local.count(node, rows) };
            }
        }
        // SAFETY: the caller's promise.
        let asked = unsafe { self.scan.exact(node) };
        let text = match asked {
            Some(None) => return 0,
            Some(Some(text)) => text,
            // SAFETY: the caller's promise.
            None => return unsafe { self.read(node) },
        };
        let client = self.scan.question.connection.client.clone();
        if client.counts_refused() {
            // SAFETY: the caller's promise.
            return unsafe { self.read(node) };
        }
        self.scan.stats.requests.fetch_add(1, Ordering::Relaxed);
        // No page proves a count: what its condition rests on is made sure of, at the same time.
        let unsure = self.scan.unsure();
        let (count, still) = runtime::wait(async move {
            let still = async {
                match &unsure {
                    Some(expected) => client.still(expected).await,
                    None => Ok(true),
                }
            };
            tokio::join!(client.total_count(&text), still)
        });
        match count {
            Ok(count) => {
                self.scan.sure();
                if !error::or_raise(still) {
                    // SAFETY: the caller's promise; nothing has been given.
                    return unsafe {
                        self.scan.renew(node, false);
                        self.ask(node)
                    };
                }
                if count == 0 && !self.scan.question.know_after_nothing() {
                    // SAFETY: the caller's promise.
                    return unsafe { self.read(node) };
                }
                i64::try_from(count).unwrap_or(i64::MAX)
            }
            // SAFETY: the caller's promise; nothing has been given.
            Err(e) if e.kind() == Kind::AqlRejected => unsafe {
                self.scan.refused(node, e);
                self.read(node)
            },
            // SAFETY: the caller's promise.
            Err(e) if e.kind().refuses_counts() => unsafe { self.read(node) },
            // It may be too much to count, or the conditions' fault, which reading finds out.
            // SAFETY: the caller's promise.
            Err(e) if e.is_doubtful() && self.scan.answers() => unsafe { self.read(node) },
            Err(e) => error::service(&e),
        }
    }

    /// Reads the rows and counts those that satisfy every clause.
    unsafe fn read(&mut self, node: *mut pg_sys::ForeignScanState) -> i64 {
        let mut count = 0;
        self.scan.wants_all();
        // SAFETY: the caller's node.
        while unsafe { self.local.next(&mut self.scan, node, &mut |_, _| {}) }.is_some() {
            count += 1;
        }
        count
    }

    /// The end of the query.
    pub fn end(&mut self) {
        self.scan.end();
        if let Some(keyed) = &mut self.keyed {
            keyed.end();
        }
    }

    /// To be given again. `same` says that every parameter has the value that it had.
    pub fn again(&mut self, same: bool) {
        self.given = false;
        if !same {
            self.scan.restart();
            self.count = None;
        }
    }
}
