//! Statements over a replica run code of its owner's: triggers, CHECKs, defaults, index expressions. It has no schema but
//! the system's in its search path, as it has under logical replication, VACUUM and REINDEX: what is looked up there
//! could be anybody's. Code that relies on more fails, and the ERROR says what it lacks.

use std::panic::AssertUnwindSafe;

use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;

use crate::sql::failure::Failure;

const HINT: &str = "A refresh has nothing but pg_catalog in its search_path: triggers, CHECKs and other code of the \
                    replica's name what they use with its schema, or their functions have it set (ALTER FUNCTION … SET \
                    search_path = …).";

/// Runs statements that may run such code.
pub fn run<T>(statements: impl FnOnce() -> T) -> T {
    PgTryBuilder::new(AssertUnwindSafe(statements)).catch_others(|caught| explained(caught)).execute()
}

fn explained(caught: CaughtError) -> ! {
    let names_nothing = match &caught {
        CaughtError::PostgresError(report) => matches!(
            report.sql_error_code(),
            PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE
                | PgSqlErrorCode::ERRCODE_UNDEFINED_FUNCTION
                | PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT
                | PgSqlErrorCode::ERRCODE_INVALID_SCHEMA_NAME
        ),
        _ => false,
    };
    if names_nothing { Failure::from(caught).with_hint(HINT).raise(None) } else { caught.rethrow() }
}
