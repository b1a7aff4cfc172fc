//! The harness of the tests that need a PostgreSQL server.
//!
//! - [`Server`]: a private PostgreSQL with its own data folder, reached over a unix socket only. It is gone when it is
//!   dropped, and when the test process ends in whatever way.
//! - [`Database`]: a fresh database of such a server, with the extension in it.
//! - [`assets_sim`]: the service, in this process; `Database::create_assets_server` connects the two.
//! - [`golden`]: SQL files whose output is compared with a file.
//! - [`wait_until`]: waits for a condition instead of for a time.
//!
//! The servers' programs come from the private copy that `tools/pg` makes. `make test` says in
//! `ASSETS_FDW_TEST_PREFIX` where it is; without that variable it is the copy of PostgreSQL 15.

#![forbid(unsafe_code)]

pub mod golden;
mod prefix;
mod server;
mod wait;
mod workdir;

pub use assets_sim;
pub use prefix::{library, major, oldest, share_folder};
pub use server::{Database, Server, Stop};
pub use wait::{is_running, wait_until};
