//! Which version of the extension's SQL objects this database has, and whether this library is made for
//! it. The two come apart between the installation of a package and `ALTER EXTENSION assets_fdw UPDATE`,
//! and where a server goes on with the library that it has preloaded. Then nobody reads or writes the
//! extension's tables: their layout may be another one.
#![allow(unsafe_code)] // the time at which the transaction began

use std::cell::Cell;

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::error;
use crate::replica::spi::query_one;

/// What a database has of the extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installed {
    /// Nothing.
    Absent,
    /// SQL objects that this library is made for.
    Known,
    /// Those of another version, which is this.
    Other(String),
}

/// Looks; inside a transaction.
pub fn installed() -> Installed {
    let sql = "SELECT e.extversion FROM pg_catalog.pg_extension AS e
               WHERE e.extname OPERATOR(pg_catalog.=) 'assets_fdw'";
    match query_one(sql, &[], |row| row.must::<String>(1)) {
        None => Installed::Absent,
        Some(version) if series(&version) == series(env!("CARGO_PKG_VERSION")) => Installed::Known,
        Some(version) => Installed::Other(version),
    }
}

/// Releases that differ in their last number only have the same tables and functions.
fn series(version: &str) -> &str {
    version.rsplit_once('.').map_or(version, |(series, _)| series)
}

/// Raises an ERROR where the SQL objects are of another version than this library; looks once a
/// transaction.
pub fn require_known() {
    thread_local! {
        static LOOKED: Cell<pg_sys::TimestampTz> = const { Cell::new(0) };
    }
    // SAFETY: no preconditions.
    let transaction = unsafe { pg_sys::GetCurrentTransactionStartTimestamp() };
    if LOOKED.get() == transaction {
        return;
    }
    if let Installed::Other(version) = installed() {
        let (message, hint) = mismatch(&version);
        error::raise_hint(PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message, hint);
    }
    LOOKED.set(transaction);
}

/// What is wrong where the SQL objects are of `version`, and what to do.
pub fn mismatch(version: &str) -> (String, &'static str) {
    let library = env!("CARGO_PKG_VERSION");
    (
        format!(
            "the extension assets_fdw is of version {version} in this database, its library of {library}"
        ),
        "After an update of the package: restart the server, then run ALTER EXTENSION assets_fdw UPDATE in each \
         database.",
    )
}
