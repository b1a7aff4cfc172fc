//! Replicas: ordinary tables that follow foreign tables (interface.md section 5).
//!
//! ```text
//!  launcher ──▶ scheduler, one a database ──▶ worker, one a run ◀── refresh(), which waits for it
//!  (hooks: steps aside        (reads jobs,            (jobs: "running" is committed; refresh: definition,
//!   for DROP DATABASE)         decides: crates/        pages → staging; apply: the difference, with the
//!                              schedule)               run's result, in one transaction)
//! ```
//!
//! | file | subject |
//! |---|---|
//! | api, target | the SQL functions; the table that `materialize()` makes |
//! | jobs, history | what is kept about jobs and runs (sql/30-replica.sql), written with the extension's rights |
//! | refresh, staging, apply | one run |
//! | worker, locks | processes: how they begin and are started; what makes a run the only one |
//! | scheduler, launcher, shared, hooks | who starts them when the library is preloaded |
//! | txn, spi, failure | transactions that may fail, SQL, and failures as data |
//!
//! No transaction is open while the network is waited for, and none that waits for another session for
//! more than a second holds anything that a third one needs: sessions only ever add to `replica_request`, or change the
//! definition in `replica_job`; the state is the workers' own.

pub mod api;
mod apply;
pub mod failure;
mod full;
mod history;
mod hooks;
mod incremental;
pub mod jobs;
mod launcher;
mod load;
mod locks;
mod member;
mod proof;
mod references;
mod refresh;
mod scheduler;
pub mod shared;
mod source;
pub mod spi;
mod staging;
mod standing;
mod target;
pub mod txn;
mod versions;
pub mod worker;

/// Called from `_PG_init`. Under `shared_preload_libraries` that is the postmaster: the launcher, the
/// shared memory and the hook exist only then.
pub fn init() {
    if shared::init() {
        launcher::register();
        hooks::install();
    }
}
