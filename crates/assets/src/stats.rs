//! Counters, in atomics so that they can be read while a scan runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a client has done since it was made.
#[derive(Debug, Default)]
pub struct Stats {
    /// Requests sent, retries included.
    pub requests: AtomicU64,
    /// Objects handed on.
    pub objects: AtomicU64,
    /// Bytes of answers, decompressed.
    pub bytes: AtomicU64,
    /// Requests sent again after a failure.
    pub retries: AtomicU64,
    /// Answers with status 429.
    pub throttled: AtomicU64,
    /// Microseconds spent waiting for the budget or before a retry, added up over requests.
    pub waited: AtomicU64,
}

/// What one scan has done.
#[derive(Debug, Default)]
pub struct ScanStats {
    /// Requests sent, retries included.
    pub requests: AtomicU64,
    /// Pages received.
    pub pages: AtomicU64,
    /// Objects handed on.
    pub objects: AtomicU64,
    /// Requests sent again after a failure.
    pub retries: AtomicU64,
    /// Microseconds spent waiting for the budget or before a retry, added up over requests.
    pub waited_us: AtomicU64,
    /// Bytes of answers, decompressed.
    pub bytes: AtomicU64,
}

/// Counts one request's doings for the client and, where there is one, for its scan.
#[derive(Clone, Copy)]
pub(crate) struct Meter<'a> {
    pub(crate) client: &'a Stats,
    pub(crate) scan: Option<&'a ScanStats>,
}

impl Meter<'_> {
    pub(crate) fn request(self, retry: bool) {
        add(&self.client.requests, 1);
        add(&self.client.retries, u64::from(retry));
        if let Some(scan) = self.scan {
            add(&scan.requests, 1);
            add(&scan.retries, u64::from(retry));
        }
    }

    pub(crate) fn bytes(self, count: usize) {
        add(&self.client.bytes, count as u64);
        if let Some(scan) = self.scan {
            add(&scan.bytes, count as u64);
        }
    }

    pub(crate) fn throttled(self) {
        add(&self.client.throttled, 1);
    }

    pub(crate) fn waited(self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        add(&self.client.waited, micros);
        if let Some(scan) = self.scan {
            add(&scan.waited_us, micros);
        }
    }
}

pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
