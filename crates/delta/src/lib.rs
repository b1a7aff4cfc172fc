//! The decisions of an incremental refresh: pure, so that a model can test them in seconds.
//!
//! | file | subject |
//! |---|---|
//! | since | which changes to ask for: the window, its overlap, and how a date is written |
//! | sift | what a changed object means to each replica, and how many there must be afterwards |
//! | share | how many rows a refresh may delete |
//! | search | where a service's count and the held ids differ: ranges, halves, pages of ids |
//!
//! The order of things matters. The changes are taken in first, created objects among them; only
//! then is anything counted, so that a create and a delete never cancel each other out.
#![forbid(unsafe_code)]

pub mod search;
pub mod share;
pub mod sift;
pub mod since;

#[cfg(test)]
mod model;
