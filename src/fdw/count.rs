//! `count(*)` as one `totalcount` request.
//!
//! Only where every clause is exact with the values at hand: otherwise, and where the service refuses
//! a clause or does not count for us, the rows are read and counted here.
#![allow(unsafe_code)] // the executor's nodes

use std::sync::atomic::Ordering;

use assets::error::{Error, Kind};
use assets::together::Requests;
use pgrx::pg_sys;

use crate::error;
use crate::fdw::keyed::Keyed;
use crate::fdw::local::Local;
use crate::fdw::scan::Scan;
use crate::runtime::{Caller, Started};

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
    /// What was asked and is not answered yet: the count, and whether what it rests on is so still.
    asked: Option<Started<Answer>>,
    /// Where it is one of several that are asked side by side.
    beside: Option<(Requests, Caller)>,
    waits: bool,
    is_waiting: bool,
}

type Answer = (Result<u64, Error>, Result<bool, Error>);

impl Count {
    /// A count over `scan`, whose rows are checked with `local` where they have to be read.
    pub fn new(scan: Scan, local: Local, keyed: Option<Keyed>) -> Self {
        Self {
            scan,
            local,
            keyed,
            count: None,
            given: false,
            asked: None,
            beside: None,
            waits: true,
            is_waiting: false,
        }
    }

    /// The count, once. None after it, and as long as it is not known ([`Count::is_waiting`]).
    ///
    /// # Safety
    /// `node` is the executor's, the one that the count was made for.
    pub unsafe fn next(&mut self, node: *mut pg_sys::ForeignScanState) -> Option<i64> {
        if self.given {
            return None;
        }
        if self.count.is_none() {
            // SAFETY: the caller's promise.
            self.count = unsafe { self.ask(node) };
            self.is_waiting = self.count.is_none();
        }
        self.given = self.count.is_some();
        self.count
    }

    unsafe fn ask(&mut self, node: *mut pg_sys::ForeignScanState) -> Option<i64> {
        let asked = match self.asked.take() {
            Some(asked) => asked,
            // SAFETY: the caller's promise.
            None => match unsafe { self.begin(node) } {
                Ok(asked) => asked,
                Err(known) => return Some(known),
            },
        };
        if !self.waits {
            let Some(answer) = asked.poll() else {
                self.asked = Some(asked);
                return None;
            };
            // SAFETY: the caller's promise.
            return Some(unsafe { self.take(node, answer) });
        }
        // SAFETY: the caller's promise.
        Some(unsafe { self.take(node, asked.wait()) })
    }

    /// Asks; `Err` where the count is known without, or has to be found by reading.
    unsafe fn begin(&mut self, node: *mut pg_sys::ForeignScanState) -> Result<Started<Answer>, i64> {
        if let Some(keyed) = &mut self.keyed {
            // SAFETY: the caller's promise.
            let found = unsafe { keyed.look(node) };
            if let Some(rows) = found {
                // SAFETY: the caller's promise.
                return Err(unsafe { self.local.count(node, rows) });
            }
        }
        // SAFETY: the caller's promise.
        let asked = unsafe { self.scan.exact(node) };
        let text = match asked {
            Some(None) => return Err(0),
            Some(Some(text)) => text,
            // SAFETY: the caller's promise.
            None => return Err(unsafe { self.read(node) }),
        };
        let client = self.scan.question.connection.client.clone();
        if client.counts_refused() {
            // SAFETY: the caller's promise.
            return Err(unsafe { self.read(node) });
        }
        self.scan.stats.requests.fetch_add(1, Ordering::Relaxed);
        // No page proves a count: what its condition rests on is made sure of, at the same time.
        let unsure = self.scan.unsure();
        let requests = match &self.beside {
            Some((requests, _)) => requests.clone(),
            None => Requests::new(client.config().max_in_flight),
        };
        let work = async move {
            let still = async {
                match &unsure {
                    Some(expected) => {
                        let _one = requests.one().await;
                        client.still(expected).await
                    }
                    None => Ok(true),
                }
            };
            let count = async {
                let _one = requests.one().await;
                client.total_count(&text).await
            };
            tokio::join!(count, still)
        };
        Ok(Started::new(work, self.caller()))
    }

    /// Makes a count of what was answered.
    unsafe fn take(&mut self, node: *mut pg_sys::ForeignScanState, (count, still): Answer) -> i64 {
        match count {
            Ok(count) => {
                self.scan.sure();
                if !error::or_raise(still) {
                    // SAFETY: the caller's promise; nothing has been given.
                    return unsafe {
                        self.scan.renew(node, false);
                        match self.begin(node) {
                            Ok(asked) => self.take(node, asked.wait()),
                            Err(known) => known,
                        }
                    };
                }
                if count == 0 && !self.scan.question.know_after_nothing() {
                    // SAFETY: the caller's promise.
                    return unsafe { self.read(node) };
                }
                i64::try_from(count).unwrap_or(i64::MAX)
            }
            // Whether it is the condition that is refused, and which, is found by reading.
            // SAFETY: the caller's promise; nothing has been given.
            Err(e) if e.kind().refuses_counts() || e.kind() == Kind::AqlRejected => unsafe {
                self.read(node)
            },
            // It may be too much to count, or the conditions' fault, which reading finds out.
            // SAFETY: the caller's promise.
            Err(e) if e.is_doubtful() && self.scan.answers() => unsafe { self.read(node) },
            Err(e) => error::service(&e),
        }
    }

    /// Who rings when the count has come, where it is asked side by side with others.
    pub fn caller(&self) -> Option<&Caller> {
        self.beside.as_ref().map(|(_, caller)| caller)
    }

    /// Has it asked side by side with others, unless rows by key answer it: those are found at once.
    pub fn beside(&mut self, requests: Requests, caller: Caller) {
        self.beside = Some((requests, caller));
    }

    /// Whether it waits for what has not come yet; else [`Count::next`] gives nothing then.
    pub fn waits(&mut self, waits: bool) {
        (self.waits, self.is_waiting) = (waits, false);
    }

    /// See [`Count::waits`].
    pub fn is_waiting(&self) -> bool {
        self.is_waiting
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
            (self.count, self.asked) = (None, None);
        }
    }
}
