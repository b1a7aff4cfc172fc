//! What all sessions of a server share about a service: the request budget, OAuth tokens, counters, and what they
//! have found out.
//!
//! Everything here is plain numbers of a fixed size, without heap and without pointers, and all
//! zeroes are the empty state, so that it may live in memory that processes share. Nothing here
//! locks, waits or asks for the time: whoever owns the memory calls [`State`]'s methods one at a time
//! and says what time it is, in microseconds of a clock that is the same for all of them and never
//! goes back. A process that died in the middle of a call leaves numbers that are at worst a little
//! off for a minute: every index is computed and every time is bounded, not believed.
#![no_std]
#![forbid(unsafe_code)]

mod bears;
pub mod counters;
mod flight;
pub mod limits;
mod share;
pub mod shelf;
#[cfg(test)]
mod tests;
pub mod tokens;
mod window;

pub use window::WINDOW;

/// Microseconds of the common clock.
pub type Moment = u64;

/// One second of the common clock.
pub const SECOND: Moment = 1_000_000;

/// What things are kept by: a keyed hash of who asks whom, so that neither names nor secrets are
/// kept. All zeroes stand for nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Key(pub [u8; 16]);

impl Key {
    const NONE: Key = Key([0; 16]);

    /// Another key for each number, for what is kept apart under one key.
    pub fn part(self, number: u8) -> Key {
        let mut bytes = self.0;
        bytes[0] ^= number;
        Key(bytes)
    }
}

/// Everything that is shared under one lock.
#[derive(Clone)]
pub struct State {
    /// The request budgets.
    pub limits: limits::Limits,
    /// The OAuth tokens.
    pub tokens: tokens::Tokens,
}

impl State {
    /// The empty state, which is all zeroes.
    pub const EMPTY: State = State { limits: limits::Limits::EMPTY, tokens: tokens::Tokens::EMPTY };
}
