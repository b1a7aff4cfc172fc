//! Whole schemas that follow Assets: `sync_schema()`, `materialize_schema()`, and the look at drift
//! before scheduled refreshes (interface.md section 5). What has to change is decided in
//! `crates/tables` (its `drift` says what is followed and what stays); here is what that rests on.
//!
//! ```text
//!  IMPORT ─▶ memory: what was seen of each type
//!  gather: tables, replicas ─┐
//!  ask: types, attributes  ──┴▶ tables::drift::compare ─▶ sync: who depends? run the rest, remember
//! ```
//!
//! | file | subject |
//! |---|---|
//! | api | the SQL functions |
//! | memory | what is kept (sql/35-schema.sql), written with the extension's rights |
//! | gather, ask | tables and replicas as they are; the service as it is |
//! | sync | compare, find who depends on what would go, run, remember |
//! | watch | what a scheduled refresh does before it begins |

mod api;
mod ask;
mod gather;
pub mod memory;
mod sync;
pub mod watch;
