//! What users are promised, tried on a real server through a real client.

#![forbid(unsafe_code)]

mod differential;
mod golden;
mod harness;
mod install;
mod live;
mod scans;
mod tables;
