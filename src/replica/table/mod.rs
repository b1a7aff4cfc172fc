//! The replica's table, and what is written to it.
//!
//! | file | subject |
//! |---|---|
//! | target | the table that `materialize()` makes, or takes over |
//! | staging | rows that were brought |
//! | apply | the difference between them and the table |
//! | versions | former versions of its rows |

pub mod apply;
pub mod staging;
pub mod target;
pub mod versions;
