//! Which version of the extension's SQL objects this database has, and whether this library is made for
//! it. The two come apart between the installation of a package and `ALTER EXTENSION assets_fdw UPDATE`,
//! and where a server goes on with the library that it has preloaded. Then nobody reads or writes the
//! extension's tables: their layout may be another one.
#![allow(unsafe_code)] // the time at which the transaction began, and the database's encoding

use std::cell::Cell;

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::error;
use crate::sql::spi::query_one;

/// What a database has of the extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installed {
    /// Nothing.
    Absent,
    /// SQL objects that this library is made for.
    Known,
    /// Something that this library cannot be used with.
    Unfit(Unfit),
}

/// What is wrong with the extension in a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    code: PgSqlErrorCode,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: &'static str,
}

impl Unfit {
    /// Raises it as an ERROR.
    pub fn raise(self) -> ! {
        error::raise_hint(self.code, self.message, self.hint)
    }
}

/// Looks; inside a transaction.
pub fn installed() -> Installed {
    let sql = "SELECT e.extversion FROM pg_catalog.pg_extension AS e
               WHERE e.extname OPERATOR(pg_catalog.=) 'assets_fdw'";
    match query_one(sql, &[], |row| row.must::<String>(1)) {
        None => Installed::Absent,
        Some(version) => match encoding() {
            Some(unfit) => Installed::Unfit(unfit),
            None if series(&version) == series(env!("CARGO_PKG_VERSION")) => Installed::Known,
            None => Installed::Unfit(mismatch(&version)),
        },
    }
}

/// Whether the extension is (still) in the database, as this library knows it; inside a transaction.
pub fn usable() -> bool {
    installed() == Installed::Known
}

/// What is wrong with the database's encoding, if anything. Assets holds text of every language, and the library
/// holds text as UTF-8: in another encoding, options, names and messages would be other ones than were written.
fn encoding() -> Option<Unfit> {
    // SAFETY: no preconditions; the name is a constant of the server's.
    unsafe {
        let encoding = pg_sys::GetDatabaseEncoding();
        (encoding != pg_sys::pg_enc::PG_UTF8 as i32).then(|| {
            let name = std::ffi::CStr::from_ptr(pg_sys::GetDatabaseEncodingName()).to_string_lossy();
            Unfit {
                code: PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                message: format!("assets_fdw needs a database whose encoding is UTF8, and this one's is {name}"),
                hint: "Use a database made with CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0. Clients may use \
                       any encoding.",
            }
        })
    }
}

/// Raises an ERROR in a database of another encoding, where CREATE EXTENSION refuses by itself: one that was made
/// with version 0.1.0. Whatever reads or writes text of the server comes by here first.
pub fn require_utf8() {
    if let Some(unfit) = encoding() {
        unfit.raise();
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
    require_utf8();
    if let Installed::Unfit(unfit) = installed() {
        unfit.raise();
    }
    LOOKED.set(transaction);
}

fn mismatch(version: &str) -> Unfit {
    let library = env!("CARGO_PKG_VERSION");
    Unfit {
        code: PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        message: format!(
            "the extension assets_fdw is of version {version} in this database, its library of {library}"
        ),
        hint: "After an update of the package: restart the server, then run ALTER EXTENSION assets_fdw UPDATE in each \
               database.",
    }
}
