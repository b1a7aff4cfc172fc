//! What the service will not answer: conditions that it refuses, and attributes that AQL does not know
//! by their name. Both are taken back and checked locally.
//!
//! A condition may also be too much for the service, or look like an attack to something before it, which
//! then answers 500, 403 or nothing at all: an outage looks the same. Without the condition the two are told
//! apart by one request, once a statement.
//!
//! A name that AQL does not know at all is refused. One that it knows of other types only, as may be in a
//! schema of services (assets-api.md 13), is answered with nothing: so where nothing comes back, one
//! count shows whether any object has an attribute of that name, set or not. A match proves the names in
//! it, but for those beside something else in an OR, which are made sure of before.
#![allow(unsafe_code)] // the executor's node, for the values of the moment

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use aql::expr::Expr;
use assets::client::Client;
use assets::error::{Error, Kind};
use assets::stats::ScanStats;
use assets::value::ColumnSpec;
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::fdw::question::{Question, with_base};
use crate::session::Connection;
use crate::{error, runtime};

/// Lists are of one value, until it is dropped, be it by an ERROR.
struct Listed {
    connection: Rc<Connection>,
    before: usize,
}

impl Listed {
    fn of_one(connection: Rc<Connection>) -> Self {
        let before = connection.listed.replace(1);
        Self { connection, before }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.connection.listed.set(self.before);
    }
}

/// A service that takes shorter lists than this is better asked for everything.
const LEAST_LISTED: usize = 10;

/// What asked once more without the conditions has shown of a query that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Second {
    /// It fails without them too: they are not to blame.
    Fails,
    /// It does not fail any more.
    Passed,
    /// They are to blame, or some of them, and taken back: these.
    TakenBack(Vec<String>),
}

/// How a query is asked once more.
pub struct Look {
    /// The query that failed.
    pub failed: String,
    /// What was to be read by it.
    pub columns: Arc<[ColumnSpec]>,
    /// What the requests count for.
    pub stats: Arc<ScanStats>,
    /// Whether it passed such a look before, and failed again.
    pub again: bool,
}

impl Look {
    async fn fails(&self, client: &Arc<Client>, aql: &str, size: u32) -> bool {
        client.tries(aql, size, self.columns.clone(), &self.stats).await.is_err()
    }
}

impl Question {
    /// The query failed for no reason that is known: whether the conditions are to blame. Those that are, are
    /// remembered for the session, which is said once.
    pub fn doubt(&self, look: Look, error: &Error) -> Second {
        let candidates = self.pushed.clone();
        if candidates.is_empty() {
            return Second::Fails;
        }
        let client = self.connection.client.clone();
        let base = self.filter.clone();
        // What took a minute to fail is not tried again, and what was refused outright will be again.
        let may_pass = !look.again && matches!(error.kind(), Kind::Server | Kind::Connect);
        let each = error.kind() != Kind::Timeout && candidates.len() > 1;
        let refused = runtime::wait(async move {
            let size = client.config().page_size;
            if look.fails(&client, &base, 1).await {
                return Err(Second::Fails);
            }
            if may_pass && !look.fails(&client, &look.failed, size).await {
                return Err(Second::Passed);
            }
            let mut refused = Vec::new();
            for pushed in candidates.iter().filter(|_| each) {
                if look.fails(&client, &pushed.alone, 1).await {
                    refused.push(pushed.shape.clone());
                }
            }
            if refused.is_empty() {
                refused = candidates.into_iter().map(|pushed| pushed.shape).collect();
            }
            Ok(refused)
        });
        match refused {
            Ok(refused) => {
                self.remember(refused.clone(), Some(error));
                Second::TakenBack(refused)
            }
            Err(second) => second,
        }
    }

    /// Whether the service answers the table's own filter at this moment: then it is more than an outage that
    /// something else failed.
    pub fn answers(&self, columns: Arc<[ColumnSpec]>, stats: Arc<ScanStats>) -> bool {
        let (client, base) = (self.connection.client.clone(), self.filter.clone());
        runtime::wait(async move { client.tries(&base, 1, columns, &stats).await.is_ok() })
    }

    /// Without the conditions it failed as well, later: they were not to blame.
    pub fn give_back(&self, shapes: &[String]) {
        self.connection.refused.borrow_mut().retain(|shape| !shapes.contains(shape));
    }

    /// Remembers conditions for the session as refused, and says so.
    fn remember(&self, refused: Vec<String>, error: Option<&Error>) {
        let report = error::report(
            PgSqlErrorCode::ERRCODE_WARNING,
            format!(
                "Assets refused a pushed condition, which is checked locally instead: {}",
                refused.join("; ")
            ),
        );
        match error {
            Some(error) => report.set_detail(format!("With it: {error}. Without it, the service answers.")),
            None => report,
        }
        .report(PgLogLevel::WARNING);
        self.connection.refused.borrow_mut().extend(refused);
    }

    /// The service refused a query with a list of `listed` values: whether it is their number that it refuses. Then lists are
    /// half as long from now on, in this session, and it is to be asked again. How many it takes is not documented.
    ///
    /// # Safety
    /// As for [`Question::ask`].
    pub unsafe fn shorten(&mut self, node: *mut pg_sys::ForeignScanState, listed: usize) -> bool {
        let half = listed / 2;
        if half < LEAST_LISTED {
            return false;
        }
        let short = {
            let _before = Listed::of_one(self.connection.clone());
            // SAFETY: the caller's promise.
            unsafe { self.ask(node) }.into_iter().next()
        };
        let client = self.connection.client.clone();
        let taken =
            short.is_some_and(|query| runtime::wait(async move { client.any(&query.text).await.is_ok() }));
        if taken {
            self.connection.listed.set(half);
        }
        taken
    }

    /// The service refused the query: finds the clauses that it refuses each by itself, remembers
    /// them for the session and says so once. False when none of ours is to blame.
    pub fn take_back(&self) -> bool {
        let candidates = self.pushed.clone();
        if candidates.is_empty() {
            return false;
        }
        let client = self.connection.client.clone();
        let base = self.filter.clone();
        let found = runtime::wait(async move {
            // The table's own filter is never taken back; but that it takes in the types below its own may be.
            match client.any(&base).await {
                Ok(_) => {}
                Err(e) if e.kind() == Kind::AqlRejected => return Ok(Vec::new()),
                Err(e) => return Err(e),
            }
            let mut refused = Vec::new();
            for pushed in &candidates {
                match client.any(&pushed.alone).await {
                    Err(e) if e.kind() == Kind::AqlRejected || e.is_doubtful() => {
                        refused.push(pushed.shape.clone());
                    }
                    Err(e) => return Err(e),
                    Ok(_) => {}
                }
            }
            if refused.is_empty() {
                refused = candidates.into_iter().map(|pushed| pushed.shape).collect();
            }
            Ok(refused)
        });
        let refused = error::or_raise(found);
        if refused.is_empty() {
            return false;
        }
        self.remember(refused, None);
        true
    }

    /// A refusal that none of the clauses is to blame for: the table's own filter.
    pub fn own_refused(&self, error: Error) -> ! {
        error::service(&about_filter(error, &self.filter))
    }

    /// Whether the service is known not to know one of these names for the objects of this table.
    pub fn names_unknown(&self, names: &BTreeSet<String>) -> bool {
        let unknown = self.connection.unknown.borrow();
        !unknown.is_empty() && names.iter().any(|name| unknown.contains(&(self.filter.clone(), name.clone())))
    }

    /// Makes sure of the names that a match would not prove. False when some are unknown: then
    /// something else is to be asked.
    pub fn know_beforehand(&self) -> bool {
        self.know(self.pushed.iter().flat_map(|pushed| &pushed.unproven).collect())
    }

    /// Nothing came back: makes sure that the service knows the names that were asked by. False when it
    /// does not: then something else is to be asked.
    pub fn know_after_nothing(&self) -> bool {
        self.know(self.pushed.iter().flat_map(|pushed| &pushed.names).collect())
    }

    fn know(&self, names: BTreeSet<&String>) -> bool {
        if names.is_empty() {
            return true;
        }
        let conditions: Vec<String> = names.iter().map(|name| format!("({})", Expr::knows(name))).collect();
        let (client, base) = (self.connection.client.clone(), with_base(&self.filter, Vec::new()));
        let unmet = runtime::wait(async move { client.unmet(&base, &conditions).await });
        let unmet = match unmet {
            // A question that it cannot bear leaves open whether it knows the names.
            Err(e) if e.is_doubtful() && self.answers(Arc::from([]), Arc::default()) => {
                (0..names.len()).collect()
            }
            unmet => error::or_raise(unmet),
        };
        if unmet.is_empty() {
            return true;
        }
        let all: Vec<&&String> = names.iter().collect();
        let unknown: Vec<&str> = unmet.iter().map(|n| all[*n].as_str()).collect();
        error::report(
            PgSqlErrorCode::ERRCODE_WARNING,
            format!(
                "AQL does not know \"{}\" as an attribute of these objects; conditions on it are checked locally",
                unknown.join("\", \"")
            ),
        )
        .set_hint("If it has another name in AQL, as in schemas of services, set the column's option aql_name.")
        .report(PgLogLevel::WARNING);
        let mut known = self.connection.unknown.borrow_mut();
        known.extend(unknown.into_iter().map(|name| (self.filter.clone(), name.to_owned())));
        false
    }
}

/// Says which query it was when the service refused the table's own filter.
fn about_filter(error: Error, filter: &str) -> Error {
    match error.kind() {
        Kind::AqlRejected => error.with_hint(format!(
            "The table's own filter is: {filter}. Correct the foreign table's option aql."
        )),
        _ => error,
    }
}
