//! SQL from Rust, through SPI: text and arguments in, rows out.
//!
//! Statements over the extension's own tables run with the extension's rights and with a search path
//! that nobody else can put anything into ([`as_extension`]); statements over a replica run as whoever
//! runs them.
#![allow(unsafe_code)] // user ids, settings and SPI itself

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char};

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

/// How long locks of other sessions are waited for in the rest of the transaction, in milliseconds; 0: without an end.
pub fn lock_timeout(milliseconds: i64) {
    let value = CString::new(milliseconds.to_string()).unwrap_or_default();
    // SAFETY: a setting that every role may change, for the rest of the transaction.
    unsafe {
        pg_sys::set_config_option(
            c"lock_timeout".as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_LOCAL,
            true,
            0,
            false,
        );
    }
}

/// Runs a query and reads its rows.
pub fn query<T>(sql: &str, args: &[DatumWithOid], read: impl FnMut(&Row) -> T) -> Vec<T> {
    connected(|connection| {
        connection.run(sql, args, false);
        rows(read)
    })
}

/// Runs a query that only reads, and sees everything that is committed by now, also in a transaction that keeps to the
/// snapshot of its first statement (REPEATABLE READ): for what is looked at under a lock that was just taken.
pub fn query_now<T>(sql: &str, args: &[DatumWithOid], read: impl FnMut(&Row) -> T) -> Vec<T> {
    // What this transaction has done itself is seen, too.
    // SAFETY: inside a transaction, between two of its statements.
    unsafe { pg_sys::CommandCounterIncrement() };
    with_latest_snapshot(|| connected(|connection| connection.query_with_active_snapshot(sql, args, read)))
}

/// Runs a query for at most one row.
pub fn query_one<T>(sql: &str, args: &[DatumWithOid], read: impl FnMut(&Row) -> T) -> Option<T> {
    query(sql, args, read).into_iter().next()
}

/// Runs `body` with the extension's rights and with nothing but the system's schema in the search
/// path. Only for statements of our own over our own tables; an ERROR where those are of another
/// version than this library.
pub fn as_extension<T>(body: impl FnOnce() -> T) -> T {
    let _elevated = Elevated::new(false);
    installed::require_known();
    body()
}

/// The same for statements that follow numbers through catalogues, which one plan is best for, whichever the numbers are.
/// PostgreSQL would plan them anew each time, as it expects few numbers to be cheaper; planning costs more than that.
pub fn over_catalogues<T>(body: impl FnOnce() -> T) -> T {
    let _elevated = Elevated::new(true);
    installed::require_known();
    body()
}

thread_local! {
    /// How deep this thread is in [`as_extension`].
    static OURS: Cell<u32> = const { Cell::new(0) };
    /// Whether plans that are made do not go by values ([`over_catalogues`]).
    static ANY_VALUES: Cell<bool> = const { Cell::new(false) };
    /// Plans of statements over the extension's own tables, with the types of their arguments. A run makes the
    /// same few for each replica of its group, and to parse and plan one costs more than to do it. PostgreSQL makes
    /// a plan anew when what it rests on has changed.
    static PLANS: RefCell<HashMap<String, (Vec<pg_sys::Oid>, pg_sys::SPIPlanPtr)>> = RefCell::new(HashMap::new());
}

/// So many plans are kept.
const PLANS_KEPT: usize = 200;

struct Elevated {
    user: pg_sys::Oid,
    context: i32,
    any_values: bool,
    // Undone in this order.
    _jit: Pinned,
    _path: Pinned,
}

impl Elevated {
    fn new(any_values: bool) -> Self {
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
        OURS.set(OURS.get() + 1);
        let path = Pinned::new();
        // What is asked of catalogues is soon answered, whatever the planner expects of it.
        let any_values = ANY_VALUES.replace(any_values);
        Self { user, context, any_values, _jit: Pinned::set(c"jit", c"off"), _path: path }
    }
}

impl Drop for Elevated {
    fn drop(&mut self) {
        OURS.set(OURS.get() - 1);
        ANY_VALUES.set(self.any_values);
        // SAFETY: puts back what `new` found.
        unsafe { pg_sys::SetUserIdAndSecContext(self.user, self.context) };
    }
}

/// A setting, for as long as it lives. As a rule nothing but the system's schema in the search path: what a
/// statement of ours names is the system's, whatever the session has in front of it.
struct Pinned {
    settings: i32,
}

impl Pinned {
    fn new() -> Self {
        Self::set(c"search_path", c"pg_catalog, pg_temp")
    }

    fn set(name: &CStr, value: &CStr) -> Self {
        // SAFETY: a setting of this backend; an ERROR that unwinds past the guard also ends the
        // transaction, which puts it back.
        unsafe {
            let settings = pg_sys::NewGUCNestLevel();
            pg_sys::set_config_option(
                name.as_ptr(),
                value.as_ptr(),
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

impl Drop for Pinned {
    fn drop(&mut self) {
        // While an ERROR unwinds, the settings are left to the end of the transaction, which is where
        // they were saved.
        if !std::thread::panicking() {
            // SAFETY: ends the level that `new` began.
            unsafe { pg_sys::AtEOXact_GUC(true, self.settings) };
        }
    }
}

/// Runs `body` with statements that read a table through an index wherever there is one.
pub fn by_index<T>(body: impl FnOnce() -> T) -> T {
    let _setting = Pinned::set(c"enable_seqscan", c"off");
    body()
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
    let _path = Pinned::new();
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
    pub fn query_with_active_snapshot<T>(
        &self,
        sql: &str,
        args: &[DatumWithOid],
        read: impl FnMut(&Row) -> T,
    ) -> Vec<T> {
        // "Read only" is what makes SPI use the active snapshot instead of one of its own.
        self.run(sql, args, true);
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
            match (OURS.get() > 0).then(|| kept_plan(sql, &text, &mut types)).flatten() {
                Some(plan) => {
                    pg_sys::SPI_execute_plan(plan, values.as_mut_ptr(), nulls.as_ptr(), read_only, 0)
                }
                None => pg_sys::SPI_execute_with_args(
                    text.as_ptr(),
                    args.len() as i32,
                    types.as_mut_ptr(),
                    values.as_mut_ptr(),
                    nulls.as_ptr(),
                    read_only,
                    0,
                ),
            }
        };
        if status < 0 {
            broken(&format!("SPI returned {status}"));
        }
    }
}

/// The plan of a statement, made once a process; none where there are too many already.
///
/// # Safety
///
/// SPI is connected.
unsafe fn kept_plan(sql: &str, text: &CStr, types: &mut [pg_sys::Oid]) -> Option<pg_sys::SPIPlanPtr> {
    let found = PLANS.with_borrow(|plans| plans.get(sql).map(|(of, plan)| (of.as_slice() == types, *plan)));
    match found {
        Some((true, plan)) => return Some(plan),
        Some((false, _)) => return None,
        None if PLANS.with_borrow(HashMap::len) >= PLANS_KEPT => return None,
        None => {}
    }
    // SAFETY: as many types as are said; a plan that is kept lasts as long as the process.
    unsafe {
        let options = if ANY_VALUES.get() { pg_sys::CURSOR_OPT_GENERIC_PLAN as i32 } else { 0 };
        let plan = pg_sys::SPI_prepare_cursor(text.as_ptr(), types.len() as i32, types.as_mut_ptr(), options);
        if plan.is_null() || pg_sys::SPI_keepplan(plan) != 0 {
            return None;
        }
        PLANS.with_borrow_mut(|plans| plans.insert(sql.to_owned(), (types.to_vec(), plan)));
        Some(plan)
    }
}

/// Runs a query and reads its rows one by one, of which there may be more than memory should hold at once. It sees what
/// was committed when it begins, like any other statement: not the transaction's begin, after which a lock may have been
/// waited for.
pub fn each_row(sql: &str, mut read: impl FnMut(&Row)) {
    const AT_ONCE: i64 = 5000;
    connected(|_| {
        let text = CString::new(sql).unwrap_or_default();
        // SAFETY: SPI is connected, which the cursor does not outlive; rows are read before they are freed.
        unsafe {
            let cursor = pg_sys::SPI_cursor_open_with_args(
                std::ptr::null(),
                text.as_ptr(),
                0,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                std::ptr::null(),
                // "Read only" would have SPI use the snapshot that is active already.
                false,
                0,
            );
            loop {
                pg_sys::SPI_cursor_fetch(cursor, true, AT_ONCE as _);
                rows(&mut read);
                let none = pg_sys::SPI_processed == 0;
                pg_sys::SPI_freetuptable(pg_sys::SPI_tuptable);
                if none {
                    break;
                }
            }
            pg_sys::SPI_cursor_close(cursor);
        }
    });
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

/// As PostgreSQL refuses a statement that writes, and not one of those that are ours.
pub fn refuse_read_only(function: &str) {
    // SAFETY: a setting of this session.
    if unsafe { pg_sys::XactReadOnly } {
        error::raise(
            PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            format!("cannot execute assets_fdw.{function} in a read-only transaction"),
        );
    }
}
