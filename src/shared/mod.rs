//! What the sessions of a server share about a service, where the library is preloaded; otherwise
//! the same for this backend alone. The arithmetic is `crates/commons`'.
//!
//! | file | subject |
//! |---|---|
//! | memory | memory that processes share, and a lock |
//! | block | budgets, tokens, counters |
//! | shelf | what sessions have found out of their services |
//! | member | one connection's part in it |

mod block;
mod member;
mod memory;
mod shelf;

pub use block::{block, init, is_everybodys};
pub use member::{Member, identity, wall_clock};
