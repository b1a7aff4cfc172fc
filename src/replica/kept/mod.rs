//! What is kept of replicas and runs (sql/30-replica.sql), written with the extension's rights.
//!
//! | file | subject |
//! |---|---|
//! | jobs | what each replica is |
//! | columns | which column of a replica shows which one of its source |
//! | histories | whose each history table is |
//! | history | runs, and the state of jobs |
//! | many | the same for many at once |
//! | standing | what the next run goes on from |
//! | origin | the workspace and account that a replica's rows come from |
//! | load | a full comparison that was broken off |

pub mod columns;
pub mod histories;
pub mod history;
pub mod jobs;
pub mod load;
pub mod many;
pub mod origin;
pub mod standing;
