//! Calling what may refuse a value: input functions, and the checks of domains. Where such a refusal is to be
//! a NULL, the statement goes on after an ERROR, and nothing of what ran may be left behind: no pin, no snapshot,
//! no frame of SPI.
#![allow(unsafe_code)] // subtransactions

use std::panic::AssertUnwindSafe;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;

use crate::pg_compat;

/// What an ERROR of a call leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Another ERROR, which ends the statement and cleans up.
    Raise,
    /// A NULL: a call that reports refusals without an ERROR. One that is raised all the same ends the statement.
    Soft,
    /// A NULL: the call runs in a subtransaction.
    Subtransaction,
}

/// Why a call gave nothing.
#[derive(Debug)]
pub enum Refused {
    /// The value was refused, and everything is as it was before.
    Cleanly(String),
    /// The value was refused by an ERROR, which must go on to the end of the statement.
    Raised(String),
}

impl Guard {
    /// How a value of `type_oid` is tried whose refusal is a NULL. `checked`: a domain's constraints run, which
    /// may be any SQL.
    pub fn for_null(type_oid: pg_sys::Oid, checked: bool) -> Self {
        // PostgreSQL's own types report refusals softly, from 16 on.
        let own = type_oid.to_u32() < pg_sys::FirstNormalObjectId;
        if own && !checked && pg_compat::HAS_SOFT_ERRORS {
            return Guard::Soft;
        }
        // In the leader of a parallel plan there are no subtransactions before 17. Input functions are written in
        // C, and leave little behind; a check is SQL, and leaves pins.
        if pg_compat::may_begin_subtransaction() {
            Guard::Subtransaction
        } else if checked || !pg_compat::HAS_SOFT_ERRORS {
            Guard::Raise
        } else {
            Guard::Soft
        }
    }

    /// Runs `call`. Failures that are about the value are told; anything else (a cancelled query, a lack of memory)
    /// stays an ERROR.
    pub fn run<T>(self, call: impl FnOnce() -> T) -> Result<T, Refused> {
        match self {
            Guard::Subtransaction => in_subtransaction(call).map_err(Refused::Cleanly),
            Guard::Raise | Guard::Soft => match caught(call) {
                Ok(value) => Ok(value),
                Err(error) => about_the_value(error)
                    .map_or_else(|error| error.rethrow(), |why| Err(Refused::Raised(why))),
            },
        }
    }
}

fn caught<T>(call: impl FnOnce() -> T) -> Result<T, Box<CaughtError>> {
    PgTryBuilder::new(AssertUnwindSafe(|| Ok(call())))
        .catch_others(|error| Err(Box::new(error)))
        .catch_rust_panic(|error| Err(Box::new(error)))
        .execute()
}

/// The same as PL/pgSQL does for a block with exceptions.
fn in_subtransaction<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    // SAFETY: begun and ended here, whatever the call does; the memory and the resource owner that were current
    // are so again before anything else runs. The call's result is made in that memory, which outlives the
    // subtransaction.
    unsafe {
        let memory = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(memory);
        let done = caught(call);
        pg_sys::MemoryContextSwitchTo(memory);
        match &done {
            Ok(_) => pg_sys::ReleaseCurrentSubTransaction(),
            Err(_) => pg_sys::RollbackAndReleaseCurrentSubTransaction(),
        }
        pg_sys::MemoryContextSwitchTo(memory);
        pg_sys::CurrentResourceOwner = owner;
        done.or_else(|error| about_the_value(error).map_or_else(|error| error.rethrow(), Err))
    }
}

/// What an ERROR says of a value; itself where it is about something else.
fn about_the_value(error: Box<CaughtError>) -> Result<String, Box<CaughtError>> {
    match &*error {
        CaughtError::PostgresError(report) if is_about_the_value(report.sql_error_code()) => {
            Ok(report.message().to_owned())
        }
        _ => Err(error),
    }
}

/// Classes 22 (data exception), 23 (a constraint), 54 (a limit, such as nesting) and P0 (raised by a function of a
/// check); a syntax error, which is what `tsvector`, `ltree` and `hstore` raise, and an internal one, which is
/// what types of other extensions raise.
fn is_about_the_value(code: PgSqlErrorCode) -> bool {
    // SQLSTATEs are packed six bits a character, first character lowest.
    let first_two = (code as i32) & 0xFFF;
    let class = |a: u8, b: u8| i32::from(a - b'0') | (i32::from(b - b'0') << 6);
    [class(b'2', b'2'), class(b'2', b'3'), class(b'5', b'4'), class(b'P', b'0')].contains(&first_two)
        || matches!(
            code,
            PgSqlErrorCode::ERRCODE_SYNTAX_ERROR
                | PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT
                | PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED
                | PgSqlErrorCode::ERRCODE_INTERNAL_ERROR
        )
}
