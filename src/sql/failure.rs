//! Failures as data: caught in a worker, kept in the history, raised again where someone waits.
#![allow(unsafe_code)] // ends the failed transaction

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;

use crate::error;

/// The SQLSTATE of a statement that was cancelled.
const CANCELLED: &str = "57014";
/// Whether this process was told to cancel what it does.
static CANCEL: AtomicBool = AtomicBool::new(false);

/// Called by the handler of the signal that cancels.
pub fn note_cancel() {
    CANCEL.store(true, Ordering::Relaxed);
}

/// What went wrong, as a person is told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The SQLSTATE, five characters.
    pub sqlstate: String,
    /// The message.
    pub message: String,
    /// DETAIL.
    pub detail: Option<String>,
    /// HINT.
    pub hint: Option<String>,
    /// Whether it is the answer to a signal that this process got; an ERROR of the same SQLSTATE may be anybody's.
    pub stopped: bool,
    /// The service's client raised it ([`error::service`]), and it came here straight.
    service: bool,
}

impl Failure {
    /// A failure of our own.
    pub fn new(code: PgSqlErrorCode, message: impl Into<String>) -> Self {
        Self {
            sqlstate: sqlstate(code),
            message: message.into(),
            detail: None,
            hint: None,
            stopped: false,
            service: false,
        }
    }

    /// Adds what to do about it.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A failure that the history holds.
    pub fn kept(sqlstate: String, message: String, detail: Option<String>, hint: Option<String>) -> Self {
        Self { sqlstate, message, detail, hint, stopped: false, service: false }
    }

    /// Whether it is the service's, so that all that ask it the same share it: no connection, no valid credential, no
    /// room in the request budget. By where it was raised, since a user's trigger can raise any SQLSTATE.
    pub fn is_of_service(&self) -> bool {
        self.service
    }

    /// Whether the service refused what it was asked.
    pub fn is_refused_aql(&self) -> bool {
        self.sqlstate == "HV00L"
    }

    /// Whether the run was stopped from outside. A shutdown ends the process, so what is left is a cancel.
    pub fn is_interruption(&self) -> bool {
        self.stopped
    }

    /// Whether a lock of another session's was waited for too long.
    pub fn is_lock_timeout(&self) -> bool {
        self.sqlstate == "55P03"
    }

    /// Raises it as an ERROR, with its own SQLSTATE; `extra` goes in front of the DETAIL.
    pub fn raise(self, extra: Option<String>) -> ! {
        if self.stopped {
            // Caught again, it is still that.
            note_cancel();
        }
        let code = PgSqlErrorCode::from(packed(&self.sqlstate));
        let mut report = match self.service {
            true => error::report_of_service(code, self.message),
            false => error::report(code, self.message),
        };
        let detail: Vec<String> = extra.into_iter().chain(self.detail).collect();
        if !detail.is_empty() {
            report = report.set_detail(detail.join("\n"));
        }
        if let Some(hint) = self.hint {
            report = report.set_hint(hint);
        }
        report.report(PgLogLevel::ERROR);
        unreachable!("an ERROR does not return")
    }

    /// Writes it to the server's log.
    pub fn log(&self, what: &str) {
        let hint = self.hint.as_deref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        pgrx::log!("assets_fdw: {what}: {}{hint}", self.message);
    }
}

impl From<CaughtError> for Failure {
    fn from(caught: CaughtError) -> Self {
        // What has passed through PostgreSQL was raised by a statement: a trigger that reads a foreign table, say.
        let straight = matches!(caught, CaughtError::ErrorReport(_));
        let report = match caught {
            CaughtError::PostgresError(report)
            | CaughtError::ErrorReport(report)
            | CaughtError::RustPanic { ereport: report, .. } => report,
        };
        Self {
            sqlstate: sqlstate(report.sql_error_code()),
            message: report.message().to_owned(),
            detail: report.detail().map(str::to_owned),
            hint: report.hint().map(str::to_owned),
            stopped: false,
            service: straight && error::is_of_service(&report),
        }
    }
}

/// Six bits a character, the first character lowest (PostgreSQL's MAKE_SQLSTATE).
fn sqlstate(code: PgSqlErrorCode) -> String {
    (0..5).map(|n| char::from(b'0' + ((code as i32 >> (6 * n)) & 0x3F) as u8)).collect()
}

fn packed(sqlstate: &str) -> i32 {
    let digits = sqlstate.bytes().enumerate().take(5);
    digits.fold(0, |sum, (n, byte)| sum | (i32::from(byte.wrapping_sub(b'0') & 0x3F) << (6 * n)))
}

/// Runs `body` in a process that has no transaction of a client's: an ERROR ends whatever transaction
/// is open and becomes a [`Failure`]. FATAL, such as termination, still ends the process.
pub fn catch<T>(body: impl FnOnce() -> T) -> Result<T, Failure> {
    let result = PgTryBuilder::new(AssertUnwindSafe(|| Ok(body())))
        .catch_others(|caught| Err(Failure::from(caught)))
        .execute()
        .map_err(|failure| {
            // The server's own timer of lock_timeout sends this process the same signal.
            let told = (failure.sqlstate == CANCELLED || failure.is_lock_timeout())
                && CANCEL.swap(false, Ordering::Relaxed);
            let cancelled = told && failure.sqlstate == CANCELLED;
            Failure { stopped: failure.stopped || cancelled, ..failure }
        });
    if result.is_err() {
        // SAFETY: rolls back and cleans up whatever is open, in whatever state; no client is waiting.
        unsafe { pg_sys::AbortOutOfAnyTransaction() };
    }
    result
}
