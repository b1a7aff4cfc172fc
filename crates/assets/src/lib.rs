//! The client of Atlassian Assets: discovery, credentials, retries, the request budget, pages,
//! and values. Knows nothing of PostgreSQL.
#![forbid(unsafe_code)]

pub mod budget;
pub mod check;
pub mod client;
pub mod config;
pub mod error;
pub mod model;
pub mod scan;
pub mod stats;
pub mod value;
