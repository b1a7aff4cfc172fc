//! The replica's table, and what is written to it.
//!
//! | file | subject |
//! |---|---|
//! | target | the table that `materialize()` makes, or takes over |
//! | rights | whose code a run over it executes |
//! | triggers | what of them is whoever's that may put triggers on it |
//! | fit | values whose column has another type in the replica |
//! | staging | rows that were brought |
//! | apply | the difference between them and the table |
//! | theirs | statements that run code of the owner's |
//! | versions | former versions of its rows |

pub mod apply;
mod fit;
pub mod rights;
pub mod staging;
pub mod target;
pub mod theirs;
mod triggers;
pub mod versions;
