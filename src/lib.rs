//! assets_fdw: Atlassian Assets as PostgreSQL foreign tables, and replicas that stay fresh.
//!
//! This crate is the thin shell around PostgreSQL; ARCHITECTURE.md maps the rooms. The logic lives
//! in crates/: `aql` (conditions), `assets` (the service), `tables` (object types as tables).
#![deny(unsafe_code)]

use pgrx::prelude::*;

mod catalog;
mod drift;
mod error;
mod facts;
mod fdw;
mod functions;
mod gucs;
mod import;
mod installed;
mod options;
mod origins;
mod pg_compat;
mod replica;
mod ruling;
mod runtime;
mod session;
mod shared;
mod sql;
mod stats;
mod verify;

pgrx::pg_module_magic!();

// The same files, in the same order, are what `make install` concatenates.
pgrx::extension_sql_file!("../sql/00-schema.sql", name = "schema", bootstrap);
pgrx::extension_sql_file!("../sql/10-fdw.sql", name = "fdw", requires = ["schema"]);
pgrx::extension_sql_file!("../sql/15-origins.sql", name = "origins", requires = ["fdw"]);
pgrx::extension_sql_file!("../sql/20-functions.sql", name = "functions", requires = ["origins"]);
pgrx::extension_sql_file!("../sql/30-replica.sql", name = "replica", requires = ["functions"]);
pgrx::extension_sql_file!("../sql/35-schema.sql", name = "schemas", requires = ["replica"]);
pgrx::extension_sql_file!("../sql/40-facts.sql", name = "facts", requires = ["schemas"]);
pgrx::extension_sql_file!("../sql/50-stats.sql", name = "stats", requires = ["facts"]);

/// Runs when the library is loaded: in the postmaster under `shared_preload_libraries`, else in
/// each backend that first uses it. No threads here (toolchain: the postmaster forks).
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    error::keep_backtraces_out();
    gucs::define();
    shared::init();
    replica::init();
    fdw::init();
}
