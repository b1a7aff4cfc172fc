//! What was asked of each server, counted without a lock.

use core::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// How many servers are counted apart.
pub const SERVERS: usize = 256;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Requests sent, retries included.
    Requests,
    /// Objects handed on.
    Objects,
    /// Bytes of answers, decompressed.
    Bytes,
    /// Requests sent again after a failure.
    Retries,
    /// Answers with status 429.
    Throttled,
    /// Microseconds in which the limit held requests back.
    Waited,
}

const COUNTERS: usize = 6;

/// The counters of one server.
pub struct Server {
    /// Who it is; 0: a free place.
    id: AtomicU64,
    counts: [AtomicU64; COUNTERS],
    /// When counting began, in microseconds since 1970.
    since: AtomicI64,
    /// When it was last counted, likewise.
    used: AtomicI64,
}

/// The counters of every server. All zeroes are the empty state.
pub struct Counters {
    servers: [Server; SERVERS],
}

impl Server {
    const fn free() -> Server {
        Server {
            id: AtomicU64::new(0),
            counts: [const { AtomicU64::new(0) }; COUNTERS],
            since: AtomicI64::new(0),
            used: AtomicI64::new(0),
        }
    }

    fn reset(&self, now: i64) {
        self.counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
        self.since.store(now, Ordering::Relaxed);
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::empty()
    }
}

impl Counters {
    /// Nothing counted.
    pub const fn empty() -> Counters {
        Counters { servers: [const { Server::free() }; SERVERS] }
    }

    /// Makes a place for `id`, which is not 0, if it has none; `now` in microseconds since 1970. Where
    /// none is free, that of the server that was counted longest ago is taken. Not to be called by two at
    /// once.
    pub fn begin(&self, id: u64, now: i64) {
        if self.find(id).is_some() {
            return;
        }
        let key = |server: &Server| match server.id.load(Ordering::Relaxed) {
            0 => i64::MIN,
            _ => server.used.load(Ordering::Relaxed),
        };
        if let Some(server) = self.servers.iter().min_by_key(|server| key(server)) {
            server.id.store(0, Ordering::Relaxed);
            server.reset(now);
            server.used.store(now, Ordering::Relaxed);
            server.id.store(id, Ordering::Relaxed);
        }
    }

    /// Counts for `id`. False where it has no place, or not any more.
    pub fn add(&self, id: u64, counter: Counter, count: u64, now: i64) -> bool {
        let Some(at) = self.find(id) else { return false };
        self.servers[at].counts[counter as usize].fetch_add(count, Ordering::Relaxed);
        self.servers[at].used.store(now, Ordering::Relaxed);
        true
    }

    /// The counts of a server, in the order of [`Counter`], and since when they are counted.
    pub fn read(&self, id: u64) -> Option<([u64; COUNTERS], i64)> {
        let server = &self.servers[self.find(id)?];
        let counts = core::array::from_fn(|n| server.counts[n].load(Ordering::Relaxed));
        Some((counts, server.since.load(Ordering::Relaxed)))
    }

    /// Begins anew for those servers.
    pub fn reset(&self, which: impl Fn(u64) -> bool, now: i64) {
        let chosen = self.servers.iter().filter(|server| which(server.id.load(Ordering::Relaxed)));
        chosen.for_each(|server| server.reset(now));
    }

    fn find(&self, id: u64) -> Option<usize> {
        self.servers.iter().position(|server| id != 0 && server.id.load(Ordering::Relaxed) == id)
    }
}
