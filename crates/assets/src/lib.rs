//! The client of Atlassian Assets: discovery, credentials, retries, the request budget, pages,
//! and values. Knows nothing of PostgreSQL.
#![forbid(unsafe_code)]

pub mod config;
pub mod error;
pub mod model;
pub mod value;
