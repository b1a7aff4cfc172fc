//! SQL from Rust, through SPI: text and arguments in, rows out.
//!
//! Statements over the extension's own tables run with the extension's rights and with a search path
//! that nobody else can put anything into ([`as_extension`]); statements over a replica run as whoever
//! runs them.
#![allow(unsafe_code)] // user ids, settings and SPI itself

use std::ffi::{CString, c_char};

use pgrx::datum::{DatumWithOid, FromDatum, IntoDatum};
use pgrx::pg_sys;
use pgrx::prelude::*;
use pgrx::spi::SpiHeapTupleData;

use crate::{error, installed};

/// One row of a result.
pub struct Row<'a>(SpiHeapTupleData<'a>);

impl Row<'_> {
    /// A column by its number, from 1; none for NULL. The statement casts it to the type wanted.
    pub fn get<T: FromDatum + IntoDatum>(&self, n: usize) -> Option<T> {
        self.0.get(n).unwrap_or_else(|e| broken(&e))
    }

    /// A column that is never NULL.
    pub fn must<T: FromDatum + IntoDatum>(&self, n: usize) -> T {
        self.get(n).unwrap_or_else(|| broken(&format!("column {n} of a row of our own is NULL")))
    }
}

fn broken(what: &dyn std::fmt::Display) -> ! {
    error::raise(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, format!("{what}"))
}

/// Runs a statement; returns how many rows it touched or gave.
pub fn execute(sql: &str, args: &[DatumWithOid]) -> u64 {
    connected(|connection| connection.execute(sql, args))
}

/// Runs a query and reads its rows.
pub fn query<T>(sql: &str, args: &[DatumWithOid], read: impl FnMut(&Row) -> T) -> Vec<T> {
    connected(|connection| {
        connection.run(sql, args, false);
        rows(read)
    })
}

/// Runs a query for at most one row.
pub fn query_one<T>(sql: &str, args: &[DatumWithOid], read: impl FnMut(&Row) -> T) -> Option<T> {
    query(sql, args, read).into_iter().next()
}

/// Runs `body` with the extension's rights and with nothing but the system's schema in the search
/// path. Only for statements of our own over our own tables; an ERROR where those are of another
/// version than this library.
pub fn as_extension<T>(body: impl FnOnce() -> T) -> T {
    let _elevated = Elevated::new();
    installed::require_known();
    body()
}

struct Elevated {
    user: pg_sys::Oid,
    context: i32,
    _path: PinnedPath,
}

impl Elevated {
    fn new() -> Self {
        let mut user = pg_sys::InvalidOid;
        let mut context = 0;
        // SAFETY: reads and sets the user id of this backend, as postgres' own maintenance commands
        // do; an ERROR that unwinds past the guard also ends the transaction, which puts it back.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
            pg_sys::SetUserIdAndSecContext(
                pg_sys::Oid::from(pg_sys::BOOTSTRAP_SUPERUSERID),
                context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32,
            );
        }
        Self { user, context, _path: PinnedPath::new() }
    }
}

impl Drop for Elevated {
    fn drop(&mut self) {
        // SAFETY: puts back what `new` found.
        unsafe { pg_sys::SetUserIdAndSecContext(self.user, self.context) };
    }
}

/// Nothing but the system's schema in the search path, for as long as it lives: what a statement of
/// ours names is the system's, whatever the session has in front of it.
struct PinnedPath {
    settings: i32,
}

impl PinnedPath {
    fn new() -> Self {
        // SAFETY: a setting of this backend; an ERROR that unwinds past the guard also ends the
        // transaction, which puts it back.
        unsafe {
            let settings = pg_sys::NewGUCNestLevel();
            pg_sys::set_config_option(
                c"search_path".as_ptr(),
                c"pg_catalog, pg_temp".as_ptr(),
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            );
            Self { settings }
        }
    }
}

impl Drop for PinnedPath {
    fn drop(&mut self) {
        // While an ERROR unwinds, the settings are left to the end of the transaction, which is where
        // they were saved.
        if !std::thread::panicking() {
            // SAFETY: ends the level that `new` began.
            unsafe { pg_sys::AtEOXact_GUC(true, self.settings) };
        }
    }
}

/// The schema in which the session makes what it names without one.
pub fn current_schema() -> Option<String> {
    // SAFETY: inside a transaction; list and name live in the current memory context.
    unsafe {
        let path = pg_sys::fetch_search_path(false);
        if path.is_null() || (*path).length == 0 {
            return None;
        }
        let name = pg_sys::get_namespace_name((*(*path).elements).oid_value);
        (!name.is_null()).then(|| crate::fdw::pg::text(name))
    }
}

/// Runs `body` with a snapshot that sees everything committed by now, also in a transaction that
/// otherwise keeps to the snapshot of its first statement.
pub fn with_latest_snapshot<T>(body: impl FnOnce() -> T) -> T {
    // SAFETY: pushed and popped in pairs; an ERROR in between ends the transaction, which pops it.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot()) };
    let value = body();
    // SAFETY: as above.
    unsafe { pg_sys::PopActiveSnapshot() };
    value
}

/// A connection to SPI that lasts for several statements.
///
/// Statements go to SPI itself: pgrx's `update` gives the transaction an id first, which a scheduler
/// that only looks would use up by the second, and which a standby cannot give.
pub struct Connected(());

/// Connects to SPI for as long as `body` runs, with nothing but the system's schema in the search path.
pub fn connected<T>(body: impl FnOnce(&Connected) -> T) -> T {
    let _path = PinnedPath::new();
    Spi::connect(|_| body(&Connected(())))
}

impl Connected {
    /// Runs a statement that gives no rows; returns how many it touched.
    pub fn execute(&self, sql: &str, args: &[DatumWithOid]) -> u64 {
        self.run(sql, args, false);
        // SAFETY: set by the statement that just ran.
        unsafe { pg_sys::SPI_processed }
    }

    /// Runs a query and reads its rows.
    pub fn query<T>(&self, sql: &str, read: impl FnMut(&Row) -> T) -> Vec<T> {
        self.run(sql, &[], false);
        rows(read)
    }

    /// The same with arguments.
    pub fn query_with<T>(&self, sql: &str, args: &[DatumWithOid], read: impl FnMut(&Row) -> T) -> Vec<T> {
        self.run(sql, args, false);
        rows(read)
    }

    /// The same with the active snapshot as it is; see [`with_latest_snapshot`].
    pub fn query_with_active_snapshot<T>(&self, sql: &str, read: impl FnMut(&Row) -> T) -> Vec<T> {
        // "Read only" is what makes SPI use the active snapshot instead of one of its own.
        self.run(sql, &[], true);
        rows(read)
    }

    fn run(&self, sql: &str, args: &[DatumWithOid], read_only: bool) {
        let text = CString::new(sql).unwrap_or_default();
        let mut types: Vec<pg_sys::Oid> = args.iter().map(DatumWithOid::oid).collect();
        let given = args.iter().map(|arg| arg.datum().map(|datum| datum.sans_lifetime()));
        let mut values: Vec<pg_sys::Datum> =
            given.clone().map(|d| d.unwrap_or(pg_sys::Datum::null())).collect();
        let nulls: Vec<c_char> = given.map(|d| if d.is_some() { b' ' } else { b'n' } as c_char).collect();
        // SAFETY: SPI is connected; text, types and values outlive the call and are of one length.
        let status = unsafe {
            pg_sys::SPI_execute_with_args(
                text.as_ptr(),
                args.len() as i32,
                types.as_mut_ptr(),
                values.as_mut_ptr(),
                nulls.as_ptr(),
                read_only,
                0,
            )
        };
        if status < 0 {
            broken(&format!("SPI_execute_with_args returned {status}"));
        }
    }
}

/// The rows of the query that just ran.
fn rows<T>(mut read: impl FnMut(&Row) -> T) -> Vec<T> {
    // SAFETY: a query's table holds as many rows as it says; rows are read before the next statement.
    unsafe {
        let table = pg_sys::SPI_tuptable;
        (0..(*table).numvals as usize)
            .filter_map(|n| SpiHeapTupleData::new((*table).tupdesc, *(*table).vals.add(n)).ok().flatten())
            .map(|tuple| read(&Row(tuple)))
            .collect()
    }
}
