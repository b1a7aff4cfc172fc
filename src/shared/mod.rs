//! What the sessions of a server share about a service, where the library is preloaded; otherwise
//! the same for this backend alone. The arithmetic is `crates/commons`'.
//!
//! | file | subject |
//! |---|---|
//! | block | the memory, and the lock on it |
//! | member | one connection's part in it |

mod block;
mod member;

pub use block::{block, init, is_everybodys};
pub use member::{Member, identity, wall_clock};
