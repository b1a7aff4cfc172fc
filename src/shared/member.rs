//! One connection's part in the shared memory.
#![allow(unsafe_code)] // asks the system whether a process runs

use std::time::{SystemTime, UNIX_EPOCH};

use assets::shared::Shared;
use commons::counters::Counter;
use commons::shelf::Shelf;
use commons::{Moment, State};
use pgrx::pg_sys;

use super::block::{Block, block};
use super::shelf;
use crate::runtime;

/// A connection to a server, for whose client it is.
pub struct Member {
    block: &'static Block,
    /// The server, for its counters.
    server: u64,
}

impl Member {
    /// For a connection of this session to a foreign server.
    pub fn of(server: pg_sys::Oid) -> Self {
        Self { block: block(), server: identity(server) }
    }
}

/// A foreign server of this database among those of all databases; never 0.
pub fn identity(server: pg_sys::Oid) -> u64 {
    // SAFETY: no preconditions.
    let database = unsafe { pg_sys::MyDatabaseId };
    u64::from(database.to_u32()) << 32 | u64::from(server.to_u32())
}

/// Now, in microseconds since 1970.
pub fn wall_clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

impl Shared for Member {
    fn enter(&self, work: &mut dyn FnMut(&mut State, Moment)) {
        self.block.enter(work);
    }

    fn shelf(&self, work: &mut dyn FnMut(&mut Shelf<'_>, Moment)) {
        shelf::enter(work);
    }

    fn secret(&self) -> &[u8; 32] {
        self.block.secret()
    }

    fn process(&self) -> u32 {
        std::process::id()
    }

    fn is_alive(&self, process: u32) -> bool {
        let Ok(pid) = libc::pid_t::try_from(process) else { return false };
        // SAFETY: signal 0 is not sent, only asked whether it could be; every sharer is of one user.
        pid > 0 && unsafe { libc::kill(pid, 0) } == 0
    }

    fn count(&self, counter: Counter, count: u64) {
        let (counters, now) = (&self.block.counters, wall_clock());
        if !counters.add(self.server, counter, count, now) {
            self.block.enter(|_, _| counters.begin(self.server, now));
            counters.add(self.server, counter, count, now);
        }
    }

    fn held_back(&self, begins: bool) {
        runtime::held_back(begins);
    }
}
