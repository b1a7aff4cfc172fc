//! The company in the simulator: what exists (catalog), how objects are computed (generator), what was changed.

pub(crate) mod builder;
pub mod catalog;
pub mod change;
pub mod company;
pub mod dump;
pub mod generator;
pub mod model;
mod reshape;
pub mod view;
pub mod words;
pub mod world;
