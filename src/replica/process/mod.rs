//! Processes and what they share.
//!
//! | file | subject |
//! |---|---|
//! | launcher, scheduler | who starts runs when the library is preloaded |
//! | worker | how each process begins, and how a run's is started |
//! | locks | what makes a run the only one |
//! | shared | shared memory |
//! | hooks | stepping aside for DROP DATABASE |

pub mod hooks;
pub mod launcher;
pub mod locks;
pub mod scheduler;
pub mod shared;
pub mod worker;
