//! Several queries of one scan: what they share, and how many of them are asked at once.
//!
//! Rows come in the order of the queries: the first is read from, and each of the others waits with its first page for its
//! turn. So no more is asked than is going to be read, unless the reader stops before.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::buffers::Room;

/// What the first pages of queries that wait for their turn may hold together.
const WAITING: usize = 6 << 20;

/// How many requests may be under way for all who hold it.
#[derive(Clone)]
pub struct Requests(Arc<Semaphore>);

impl Requests {
    /// So many at most.
    pub fn new(max_in_flight: u32) -> Self {
        Self(Arc::new(Semaphore::new(max_in_flight.max(1) as usize)))
    }

    /// Held while a request is under way.
    pub async fn one(&self) -> Option<OwnedSemaphorePermit> {
        self.0.clone().acquire_owned().await.ok()
    }

    /// Whether nobody else holds it.
    pub fn is_alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

/// What the queries of one scan share: no more requests than `max_in_flight` are under way for all of them, counts and
/// pages alike, and what their bodies hold is bounded.
pub struct Together {
    requests: Requests,
    pub(crate) room: Arc<Room>,
    /// Pages that the reader has taken, and the bytes of the largest.
    taken: AtomicUsize,
    largest: AtomicUsize,
}

impl Together {
    /// Nothing has been asked yet.
    pub fn new(max_in_flight: u32) -> Self {
        Self::within(Requests::new(max_in_flight))
    }

    /// The same beside other scans, which no more requests than these may be under way for.
    pub fn within(requests: Requests) -> Self {
        Self { requests, room: Arc::default(), taken: AtomicUsize::new(0), largest: AtomicUsize::new(0) }
    }

    /// The requests that may be under way.
    pub fn requests(&self) -> Requests {
        self.requests.clone()
    }

    /// The reader has taken a page of so many bytes.
    pub fn took(&self, bytes: usize) {
        self.taken.fetch_add(1, Ordering::Relaxed);
        self.largest.fetch_max(bytes, Ordering::Relaxed);
    }

    /// How many pages the reader has taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// The bytes of the largest of them, or 0.
    pub fn largest(&self) -> usize {
        self.largest.load(Ordering::Relaxed)
    }
}

/// How many queries of one scan are asked at once.
///
/// A reader that wants all of their rows gets as many as may be under way. Of any other it is not known where it stops: it
/// begins with one, and each page that was read to its end doubles them.
#[derive(Debug, Clone, Copy)]
pub struct Width {
    most: usize,
    now: usize,
}

impl Width {
    /// The beginning of a scan; `all`: its reader does not stop before the end.
    pub fn new(max_in_flight: u32, all: bool) -> Self {
        let most = max_in_flight.max(1) as usize;
        Self { most, now: if all { most } else { 1 } }
    }

    /// The reader has read a page to its end, and goes on.
    pub fn went_on(&mut self) {
        self.now = (self.now * 2).min(self.most);
    }

    /// How many queries to have under way, where a page is expected to hold `page` bytes (0: nobody knows), and those
    /// that give so many rows each are enough for a reader who means to stop.
    pub fn queries(&self, page: usize, enough: Option<usize>) -> usize {
        let waiting = match page {
            // The first page will tell.
            0 => 0,
            page => WAITING / page,
        };
        match enough {
            Some(enough) => enough.min(self.most),
            None => self.now,
        }
        .min(1 + waiting)
        .max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_who_may_stop_is_not_read_ahead_of_and_one_who_goes_on_is() {
        let mut width = Width::new(8, false);
        let mut seen = vec![width.queries(1, None)];
        for _ in 0..5 {
            width.went_on();
            seen.push(width.queries(1, None));
        }
        assert_eq!(seen, [1, 2, 4, 8, 8, 8]);
        assert_eq!(Width::new(8, true).queries(1, None), 8);
        assert_eq!(Width::new(0, true).queries(1, None), 1);
    }

    #[test]
    fn a_reader_who_means_to_stop_gets_as_many_as_it_needs() {
        let width = Width::new(8, false);
        for (enough, queries) in [(0, 1), (1, 1), (3, 3), (50, 8)] {
            assert_eq!(width.queries(1, Some(enough)), queries);
        }
    }

    #[test]
    fn pages_that_wait_hold_no_more_than_they_may_and_of_unknown_ones_there_is_one() {
        let width = Width::new(64, true);
        for page in [0, 1, 1 << 10, 1 << 20, 3 << 20, WAITING, 2 * WAITING, usize::MAX] {
            let queries = width.queries(page, None);
            assert!((1..=64).contains(&queries) && (queries - 1) * page <= WAITING, "{page} {queries}");
            assert!(page > 0 || queries == 1);
        }
        assert_eq!(width.queries(1 << 20, None), 7);
    }
}
