//! What the service will not answer: conditions that it refuses, and attributes that AQL does not know
//! by their name. Both are taken back and checked locally.
//!
//! A name that AQL does not know at all is refused. One that it knows of other types only, as may be in a
//! schema of services (assets-api.md 13), is answered with nothing: so where nothing comes back, one
//! count shows whether any object has an attribute of that name, set or not. A match proves the names in
//! it, but for those beside something else in an OR, which are made sure of before.

use std::collections::BTreeSet;

use aql::expr::Expr;
use assets::error::{Error, Kind};
use pgrx::prelude::*;

use crate::fdw::question::{Question, with_base};
use crate::{error, runtime};

impl Question {
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
            // The table's own filter is never taken back.
            client.any(&base).await.map_err(|e| about_filter(e, &base))?;
            let mut refused = Vec::new();
            for pushed in &candidates {
                match client.any(&pushed.alone).await {
                    Err(e) if e.kind() == Kind::AqlRejected => refused.push(pushed.shape.clone()),
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
        error::report(
            PgSqlErrorCode::ERRCODE_WARNING,
            format!(
                "Assets refused a pushed condition, which is checked locally instead: {}",
                refused.join("; ")
            ),
        )
        .report(PgLogLevel::WARNING);
        self.connection.refused.borrow_mut().extend(refused);
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
        let unmet = error::or_raise(runtime::wait(async move { client.unmet(&base, &conditions).await }));
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
