//! Counters, in atomics so that they can be read while a scan runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use commons::counters::Counter;

use crate::shared::Shared;

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
    /// Microseconds in which the limit held requests back.
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
    /// Microseconds in which the limit held the scan's requests back: of those that wait behind each
    /// other only the first counts, so it is time that passed.
    pub waited_us: AtomicU64,
    /// Bytes of answers, decompressed.
    pub bytes: AtomicU64,
}

/// Counts one request's doings for the client, for its server over all sessions, and, where there is
/// one, for its scan.
#[derive(Clone, Copy)]
pub(crate) struct Meter<'a> {
    pub(crate) client: &'a Stats,
    pub(crate) shared: &'a dyn Shared,
    pub(crate) scan: Option<&'a ScanStats>,
}

impl Meter<'_> {
    pub(crate) fn request(self, retry: bool) {
        self.count(Counter::Requests, 1);
        add(&self.client.requests, 1);
        if let Some(scan) = self.scan {
            add(&scan.requests, 1);
        }
        if retry {
            self.count(Counter::Retries, 1);
            add(&self.client.retries, 1);
            if let Some(scan) = self.scan {
                add(&scan.retries, 1);
            }
        }
    }

    pub(crate) fn bytes(self, count: usize) {
        self.count(Counter::Bytes, count as u64);
        add(&self.client.bytes, count as u64);
        if let Some(scan) = self.scan {
            add(&scan.bytes, count as u64);
        }
    }

    pub(crate) fn objects(self, count: u64) {
        self.count(Counter::Objects, count);
        add(&self.client.objects, count);
        if let Some(scan) = self.scan {
            add(&scan.objects, count);
        }
    }

    pub(crate) fn throttled(self) {
        self.count(Counter::Throttled, 1);
        add(&self.client.throttled, 1);
    }

    pub(crate) fn waited(self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.count(Counter::Waited, micros);
        add(&self.client.waited, micros);
        if let Some(scan) = self.scan {
            add(&scan.waited_us, micros);
        }
    }

    fn count(self, counter: Counter, count: u64) {
        self.shared.count(counter, count);
    }
}

pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
