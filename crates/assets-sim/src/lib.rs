//! A stand-in for the Atlassian Assets cloud service, over real HTTP on loopback.
//!
//! It serves every endpoint that a reader or writer of objects needs, evaluates AQL by its own means, and can be
//! told to behave in every way that the documentation leaves open ([`Switches`]), to fail on demand ([`Fault`]) and
//! to change its data ([`Change`]). [`Sim`] is the handle; the binary `assets-sim` is the same as a process.
//!
//! ```
//! let sim = assets_sim::Sim::start(assets_sim::Options { objects: 200, ..Default::default() }).unwrap();
//! let servers = sim.dump(sim.type_id("Server").unwrap());
//! assert_eq!(servers.len() as u64, sim.count(sim.type_id("Server").unwrap()));
//! ```
#![forbid(unsafe_code)]

mod aql;
mod clock;
mod control;
mod data;
mod endpoints;
mod faults;
mod http;
mod identity;
mod log;
mod profiles;
mod render;
mod routes;
mod server;
mod service;
mod sim;
mod switches;
mod tickets;

pub use aql::{Invalid, ast, parse};
pub use data::change::Change;
pub use data::dump::{DumpAttribute, DumpObject, DumpValue};
pub use data::model::{Attribute, Kind, ObjectType, Schema};
pub use data::view::Visibility;
pub use faults::{Fault, FaultKind};
pub use identity::{Credential, Identity, SCOPES};
pub use log::LogEntry;
pub use routes::{Endpoint, Route};
pub use sim::{Options, Sim};
pub use switches::{
    DateForm, Definitions, Echo, Empty, Flag, Fold, Ids, KeyOrder, Like, LimitBody, OrderBy, Precision,
    Profile, Quantifier, QuotedDot, Stamps, SubObjects, Switches, Total, Unknown, Unreadable,
};

/// The workspace id of every simulator.
pub const WORKSPACE_ID: &str = "f1668d0c-828c-470c-b7d1-8c4f48cd345a";
/// The workspace id after the switch `restored`.
pub const RESTORED_ID: &str = "0b7d5f1e-3c52-4f0e-9c1d-6f2a90b8e7d4";
/// The cloud id of every simulator.
pub const CLOUD_ID: &str = "11223344-a1b2-4b33-8c44-def123456789";
