//! Transactions of a worker. What pgrx offers has no way back after an ERROR; here the ERROR unwinds,
//! and [`crate::sql::failure::catch`] around it rolls back.
#![allow(unsafe_code)] // transaction commands

use pgrx::pg_sys;

/// Runs `body` in a transaction of its own and commits it.
pub fn transaction<T>(body: impl FnOnce() -> T) -> T {
    // SAFETY: a worker's main thread, outside any transaction; an ERROR unwinds to `catch`.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, std::ptr::null());
    }
    let value = body();
    // SAFETY: as above.
    unsafe {
        pg_sys::PopActiveSnapshot();
        pg_sys::CommitTransactionCommand();
        pg_sys::pgstat_report_stat(false);
        pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_IDLE, std::ptr::null());
    }
    value
}

/// Has the transaction under way on disk before it counts as committed, also where
/// `synchronous_commit` is off.
pub fn make_durable() {
    // SAFETY: sets a flag of the transaction.
    unsafe { pg_sys::ForceSyncCommit() };
}
