//! The client of Atlassian Assets: discovery, credentials, retries, the request budget, pages,
//! and values. Knows nothing of PostgreSQL.
#![forbid(unsafe_code)]

mod auth;
pub mod budget;
mod buffers;
pub mod check;
pub mod client;
mod complaint;
pub mod config;
mod decode;
pub mod error;
pub mod expected;
pub mod fuzzing;
pub mod glance;
pub mod hosts;
mod http;
mod lists;
mod lore;
mod mask;
mod memory;
mod metadata;
pub mod model;
mod names;
pub mod option;
mod pages;
pub use pages::IdLog;
mod retry;
mod route;
pub mod sample;
pub mod scan;
mod session;
pub mod shared;
pub mod sight;
mod sizes;
pub mod stats;
mod temporal;
pub mod together;
pub mod top;
pub mod value;
mod wire;
