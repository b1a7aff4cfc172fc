//! `ORDER BY … LIMIT n`: the first rows in one request, where the answer proves
//! itself; else, and for whoever wants more, everything is read, and sorted here.
//!
//! The limit is what the planner expects, never an end: WITH TIES, a limit that a function gives, a row that
//! the executor drops all go beyond it.
#![allow(unsafe_code)] // the executor's nodes

use std::collections::HashSet;

use assets::error::Kind;
use assets::top::{self, Order};
use assets::value::{Row, ScanSpec};
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::fdw::local::Local;
use crate::fdw::scan::Scan;
use crate::fdw::sorted::TopOf;
use crate::fdw::sorter::{Key, Sorter};
use crate::{error, facts, runtime};

/// The state of such a scan.
pub struct Top {
    /// For reading everything, and for filling slots; it holds the question.
    pub scan: Scan,
    /// The order that is asked for.
    pub order: Order,
    /// The fact that proves that the service keeps to it.
    pub fact: Option<&'static str>,
    wanted: TopOf,
    /// Where the sorted column stands among those that are decoded.
    column: usize,
    key: Key,
    local: Local,
    /// The first rows, once they have been asked for.
    first: Option<First>,
    given: usize,
    /// The sorted column of the last of them that was given.
    last: Option<pg_sys::Datum>,
    /// What follows them.
    rest: Option<Sorter>,
}

/// The first rows, as far as a page proves them.
#[derive(Default)]
struct First {
    rows: Vec<Row>,
    /// Nothing follows them.
    all: bool,
}

impl Top {
    /// The rows of `scan` in the order `wanted`, by its column of number `column`, checked with `local` where
    /// they have to be read.
    pub fn new(mut scan: Scan, local: Local, wanted: TopOf, column: usize) -> Self {
        scan.sort_by(wanted.attnum);
        let (order, fact) = wanted.order(&scan.resolved, column);
        let key = wanted.key();
        Self { scan, order, fact, wanted, column, key, local, first: None, given: 0, last: None, rest: None }
    }

    /// Fills the empty slot with the next row; leaves it empty after the last.
    ///
    /// # Safety
    /// `node` is the executor's, the one that the scan was made for, and `slot` its scan slot.
    pub unsafe fn fill(&mut self, node: *mut pg_sys::ForeignScanState, slot: *mut pg_sys::TupleTableSlot) {
        // SAFETY: the caller's promise.
        unsafe {
            if self.first.is_none() {
                self.first = Some(self.ask(node));
            }
            let Some(first) = &self.first else { return };
            if let Some(row) = first.rows.get(self.given) {
                self.given += 1;
                self.scan.store(row, slot);
                self.scan.question.recheck(node, slot, &row.key);
                self.last = self.key.of(slot);
                return;
            }
            if first.all {
                return;
            }
            if self.rest.is_none() {
                self.rest = Some(self.read(node));
            }
            if let Some(rest) = &self.rest {
                rest.next(slot);
            }
        }
    }

    unsafe fn ask(&mut self, node: *mut pg_sys::ForeignScanState) -> First {
        // SAFETY: the caller's node.
        let asked = unsafe { self.scan.exact(node) };
        let filter = match asked {
            Some(Some(filter)) => filter,
            Some(None) => return First { rows: Vec::new(), all: true },
            None => return First::default(),
        };
        let client = self.scan.question.connection.client.clone();
        let (columns, expected) = (self.scan.specs(), self.scan.expected());
        let spec = ScanSpec { filter, columns, limit: None, most: None, expected };
        let (order, limit, stats) = (self.order.clone(), self.wanted.limit, self.scan.stats.clone());
        let found = runtime::wait(async move { top::top(client, spec, order, limit, stats).await });
        let found = match found {
            // The order, or the conditions: read without the one, which finds out about the others.
            Err(e) if e.is_doubtful() && self.scan.answers() => top::Top::Unproven,
            Err(e) if e.kind() == Kind::Outdated => {
                // SAFETY: the caller's node; nothing has been given.
                unsafe { self.scan.outdated(node, &e) };
                top::Top::Unproven
            }
            found => error::or_raise(found),
        };
        match found {
            // SAFETY: the caller's node; nothing has been given.
            top::Top::Rows { rows, all }
                if !rows.is_empty() || unsafe { self.scan.believes_nothing(node) } =>
            {
                First { rows, all }
            }
            // No row has been given yet: what follows is right whatever the service does.
            top::Top::OutOfOrder => {
                self.fact.into_iter().for_each(|fact| self.take_back(fact));
                First::default()
            }
            _ => {
                // What the column means may be known better by now.
                (self.order, self.fact) = self.wanted.order(&self.scan.resolved, self.column);
                First::default()
            }
        }
    }

    fn take_back(&self, fact: &'static str) {
        let server = &self.scan.question.connection.server_name;
        let owner = self.scan.question.table_owner;
        let revoked = facts::revoke(server, owner, &[fact], "a page came in another order");
        error::report(
            PgSqlErrorCode::ERRCODE_WARNING,
            format!(
                "a page came out of order, although server \"{server}\" was proven to keep to it: \"{fact}\""
            ),
        )
        .set_hint(format!("The rows are read and sorted here. {}", revoked.text(server)))
        .report(PgLogLevel::WARNING);
    }

    /// Reads everything but the rows that were given, and sorts it.
    unsafe fn read(&mut self, node: *mut pg_sys::ForeignScanState) -> Sorter {
        let rows = self.first.iter().flat_map(|first| &first.rows);
        let given: HashSet<i64> = rows.map(|row| row.id).collect();
        let (last, key) = (self.last, self.key);
        let mut misplaced = None;
        self.scan.wants_all();
        // SAFETY: the caller's node; slots hold rows of its table.
        let sorter = unsafe {
            let sorter = Sorter::new(node, &key);
            let mut take = |row: &Row, slot| {
                if given.contains(&row.id) {
                    return;
                }
                if !given.is_empty() && key.precedes(key.of(slot), last) {
                    misplaced.get_or_insert_with(|| row.key.clone());
                }
                sorter.put(slot);
            };
            while self.local.next(&mut self.scan, node, &mut take).is_some() {}
            sorter.sort();
            sorter
        };
        if let Some(object) = misplaced {
            self.out_of_place(&object);
        }
        sorter
    }

    /// An object belongs before rows that were given already.
    fn out_of_place(&self, object: &str) -> ! {
        let server = &self.scan.question.connection.server_name;
        if let Some(fact) = self.fact {
            let why = format!("object {object} was not on the page where it belongs");
            facts::revoke(server, self.scan.question.table_owner, &[fact], &why);
        }
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_FDW_ERROR,
            format!("object {object} belongs before rows that server \"{server}\" gave as the first ones"),
            "It changed while the rows were read, or the service does not keep to the order: run the query again.",
        );
    }

    /// Back to the first row. `same` says that every parameter has the value that it had.
    pub fn again(&mut self, same: bool) {
        self.given = 0;
        if same {
            // SAFETY: scans are driven by their query alone, while it runs.
            self.rest.iter().for_each(|rest| unsafe { rest.again() });
            return;
        }
        self.scan.restart();
        self.first = None;
        self.forget();
    }

    /// The end of the query.
    pub fn end(&mut self) {
        self.scan.end();
        self.forget();
    }

    fn forget(&mut self) {
        if let Some(rest) = self.rest.take() {
            // SAFETY: as for `again`.
            unsafe { rest.end() };
        }
    }
}
