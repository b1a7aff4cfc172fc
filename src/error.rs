//! From every kind of failure to its SQLSTATE, message, DETAIL and HINT. One place, so that the
//! table of interface.md section 3 can be read off here.

#![allow(unsafe_code)] // the environment, before there are threads

use assets::error::{Error, Kind};
use pgrx::pg_sys::panic::{ErrorReport, ErrorReportWithLevel};
use pgrx::prelude::*;

/// With RUST_BACKTRACE or RUST_LIB_BACKTRACE in the server's environment every ERROR that passes Rust code would
/// show the server's stack to its client, as DETAIL. Whether backtraces are taken is decided at the first one, for
/// good and for this library alone; so the first one is taken here, without the variables.
pub fn keep_backtraces_out() {
    const NAMES: [&str; 2] = ["RUST_BACKTRACE", "RUST_LIB_BACKTRACE"];
    let set = NAMES.map(|name| (name, std::env::var_os(name)));
    if set.iter().all(|(_, value)| value.is_none()) {
        return;
    }
    // SAFETY: while a library is loaded a process of PostgreSQL has its main thread only.
    unsafe {
        NAMES.iter().for_each(|name| std::env::remove_var(name));
        let taken = std::backtrace::Backtrace::capture();
        debug_assert_eq!(taken.status(), std::backtrace::BacktraceStatus::Disabled);
        for (name, value) in set {
            value.into_iter().for_each(|value| std::env::set_var(name, value));
        }
    }
}

/// The SQLSTATE of a kind of failure (interface.md 3).
fn sqlstate(kind: Kind) -> PgSqlErrorCode {
    use PgSqlErrorCode::*;
    match kind {
        Kind::Config => ERRCODE_FDW_INVALID_OPTION_NAME,
        Kind::Connect | Kind::Timeout | Kind::Server | Kind::NoWorkspace => {
            ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION
        }
        Kind::Unauthorized | Kind::Forbidden => ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
        Kind::NotAllowed => ERRCODE_INSUFFICIENT_PRIVILEGE,
        Kind::RateLimited => ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
        Kind::AqlRejected => ERRCODE_FDW_UNABLE_TO_CREATE_EXECUTION,
        Kind::NotFound => ERRCODE_FDW_TABLE_NOT_FOUND,
        Kind::AttributeNotFound => ERRCODE_FDW_COLUMN_NAME_NOT_FOUND,
        Kind::Protocol | Kind::TooLarge | Kind::Outdated => ERRCODE_FDW_ERROR,
        Kind::NotBuilt => ERRCODE_FEATURE_NOT_SUPPORTED,
    }
}

/// What to do about a kind of failure, where the failure itself does not say it better.
fn usual_hint(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Connect => {
            "Check that the database server reaches this host (name, port, proxy, firewall); assets_fdw.check() goes \
             through every step."
        }
        Kind::Timeout => {
            "Try again; if the service is slow for long, raise the server's options request_timeout and retry_timeout."
        }
        Kind::Server => {
            "The service, or a gateway or proxy before it, has trouble of its own: try again later, or raise the \
             server's option retry_timeout to wait longer. status.atlassian.com tells of outages."
        }
        Kind::RateLimited => {
            "Run fewer queries at once, raise the server's option retry_timeout, or materialize the table."
        }
        Kind::AqlRejected => {
            "Correct the AQL; names and values with blanks or special characters need double quotes."
        }
        Kind::NotFound => "It was removed in Assets, or the credential's account may not see it.",
        Kind::Protocol => {
            "No result is better than a wrong one: try again. If it stays so, a proxy may be changing answers, or the \
             service itself has changed."
        }
        Kind::Config
        | Kind::Unauthorized
        | Kind::Forbidden
        | Kind::NoWorkspace
        | Kind::NotAllowed
        | Kind::AttributeNotFound
        | Kind::NotBuilt
        | Kind::Outdated
        | Kind::TooLarge => return None,
    })
}

/// A report that is not yet raised.
pub fn report(code: PgSqlErrorCode, message: impl Into<String>) -> ErrorReport {
    ErrorReport::new(code, message.into(), "assets_fdw")
}

/// Raises an ERROR.
pub fn raise(code: PgSqlErrorCode, message: impl Into<String>) -> ! {
    throw(report(code, message))
}

/// Raises an ERROR with a hint.
pub fn raise_hint(code: PgSqlErrorCode, message: impl Into<String>, hint: impl Into<String>) -> ! {
    throw(report(code, message).set_hint(hint))
}

/// What the reports of failures name that everybody shares who asks the service the same: the place they come from.
const SERVICE: &str = "assets_fdw, of the service";

/// The same of a failure that everybody shares who asks the service the same.
pub fn report_of_service(code: PgSqlErrorCode, message: impl Into<String>) -> ErrorReport {
    ErrorReport::new(code, message.into(), SERVICE)
}

/// Whether a report is of such a failure.
pub fn is_of_service(report: &ErrorReportWithLevel) -> bool {
    report.function_name() == Some(SERVICE)
}

/// Whether a failure may be over as soon as the service is in order again, whoever asks.
fn is_shared(kind: Kind) -> bool {
    match kind {
        Kind::Connect
        | Kind::Timeout
        | Kind::Server
        | Kind::NoWorkspace
        | Kind::Unauthorized
        | Kind::Forbidden
        | Kind::RateLimited => true,
        Kind::Config
        | Kind::NotAllowed
        | Kind::AqlRejected
        | Kind::NotFound
        | Kind::AttributeNotFound
        | Kind::Protocol
        | Kind::TooLarge
        | Kind::Outdated
        | Kind::NotBuilt => false,
    }
}

/// Raises a failure of the service's client.
pub fn service(error: &Error) -> ! {
    let (code, message) = (sqlstate(error.kind()), error.message().to_owned());
    let mut report =
        if is_shared(error.kind()) { report_of_service(code, message) } else { report(code, message) };
    if let Some(detail) = error.detail() {
        report = report.set_detail(detail);
    }
    if let Some(hint) = error.hint().or_else(|| usual_hint(error.kind())) {
        report = report.set_hint(hint);
    }
    throw(report)
}

/// Tells of a failure that stops nothing.
pub fn warn(error: &Error) {
    let report = report(PgSqlErrorCode::ERRCODE_WARNING, error.message());
    let report = match error.hint() {
        Some(hint) => report.set_hint(hint),
        None => report,
    };
    report.report(PgLogLevel::WARNING);
}

fn throw(report: ErrorReport) -> ! {
    report.report(PgLogLevel::ERROR);
    unreachable!("an ERROR does not return")
}

/// Unwraps what the service's client gave, or raises its failure.
pub fn or_raise<T>(result: Result<T, Error>) -> T {
    result.unwrap_or_else(|error| service(&error))
}
