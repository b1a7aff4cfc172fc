//! SQL by the extension's own code: statements with the caller's or the extension's rights, transactions of a
//! process of our own, and failures as data.
//!
//! | file | subject |
//! |---|---|
//! | spi | statements and their rows |
//! | txn, failure | transactions that may fail, and what they failed over |
//! | roles | whose code somebody may run |
//! | clock | the time on this machine |

pub mod clock;
pub mod failure;
pub mod roles;
pub mod spi;
pub mod txn;
