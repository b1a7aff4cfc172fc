//! Replicas: ordinary tables that follow foreign tables (interface.md section 5).
//!
//! ```text
//!  launcher ──▶ scheduler, one a database ──▶ worker, one a run ◀── refresh(), which waits for it
//!  (hooks: steps aside        (reads jobs,            (jobs: "running" is committed; refresh: definition,
//!   for DROP DATABASE)         decides: crates/        pages → staging; apply: the difference, with the
//!                              schedule)               run's result, in one transaction)
//! ```
//!
//! | room | subject |
//! |---|---|
//! | api | the SQL functions |
//! | run/ | one run |
//! | process/ | processes: how they begin, who starts them, what makes a run the only one |
//! | table/ | the replica's table, and what is written to it |
//! | kept/ | what is kept about jobs and runs |
//!
//! Each uses those below it, and src/sql; none above.
//!
//! No transaction is open while the network is waited for, and none that waits for another session for
//! more than a second holds anything that a third one needs: sessions only ever add to `replica_request`, or change the
//! definition in `replica_job`; the state is the workers' own.

pub mod api;
pub mod kept;
pub mod process;
mod run;
pub mod table;

use process::{hooks, launcher, shared};

/// Called from `_PG_init`. Under `shared_preload_libraries` that is the postmaster: the launcher, the
/// shared memory and the hook exist only then.
pub fn init() {
    if shared::init() {
        launcher::register();
        hooks::install();
    }
}
