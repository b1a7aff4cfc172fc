//! What was asked, for tests that count requests and read AQL.

use std::collections::VecDeque;
use std::time::Instant;

use serde::Serialize;

use crate::routes::{Endpoint, Route};

/// How many entries are kept; older ones are forgotten.
const KEPT: usize = 200_000;

/// One request and its answer. `/_sim` requests are not logged.
#[derive(Clone, Debug, Serialize)]
pub struct LogEntry {
    /// Counts from 0 since the start or the last clearing.
    pub number: u64,
    /// The HTTP method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The way it came.
    pub route: Route,
    /// What was asked for.
    pub endpoint: Endpoint,
    /// The AQL text, if the body held one.
    pub aql: Option<String>,
    /// `startAt` of the URL.
    pub start_at: Option<u64>,
    /// `maxResults` of the URL.
    pub max_results: Option<u64>,
    /// `includeAttributes` of the URL.
    pub include_attributes: Option<bool>,
    /// The identity's name, once it is known.
    pub identity: Option<String>,
    /// The HTTP status; 0 while it is not answered or if the connection was reset before.
    pub status: u16,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// The fault that struck, by its name.
    pub fault: Option<String>,
    /// When it had arrived.
    #[serde(skip)]
    pub started: Instant,
    /// When its answer was written.
    #[serde(skip)]
    pub finished: Option<Instant>,
    /// How many requests were under way when it arrived, itself included.
    pub in_flight: usize,
}

/// The log.
#[derive(Debug, Default)]
pub struct Log {
    entries: VecDeque<LogEntry>,
    next: u64,
    in_flight: usize,
    most: usize,
    /// Grows when the log is cleared, so that answers to older requests are not mistaken for newer ones.
    era: u64,
}

/// Where a request stands in the log.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    era: u64,
    number: u64,
}

impl Log {
    /// Adds a request that arrived.
    pub fn begin(&mut self, mut entry: LogEntry) -> Place {
        self.in_flight += 1;
        self.most = self.most.max(self.in_flight);
        entry.number = self.next;
        entry.in_flight = self.in_flight;
        self.next += 1;
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
        Place { era: self.era, number: self.next - 1 }
    }

    /// Changes the entry of a request, if it is still kept.
    pub fn change(&mut self, place: Place, change: impl FnOnce(&mut LogEntry)) {
        let first = self.entries.front().map_or(0, |e| e.number);
        if place.era == self.era
            && let Some(entry) =
                place.number.checked_sub(first).and_then(|i| self.entries.get_mut(i as usize))
        {
            change(entry);
        }
    }

    /// Says that a request's answer is out, or its client gone.
    pub fn end(&mut self, place: Place) {
        self.in_flight -= 1;
        self.change(place, |e| e.finished = Some(Instant::now()));
    }

    /// Everything kept, oldest first.
    pub fn entries(&self) -> Vec<LogEntry> {
        self.entries.iter().cloned().collect()
    }

    /// The largest number of requests that were under way at once since the last clearing.
    pub fn max_in_flight(&self) -> usize {
        self.most
    }

    /// Forgets everything but what is under way.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.next = 0;
        self.era += 1;
        self.most = self.in_flight;
    }
}
