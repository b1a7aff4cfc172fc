//! What every mode of a scan needs: the text of a query, what was handed on, what is expected.

use std::collections::{HashSet, VecDeque};

use super::facts::{Facts, OrderBy};
use super::ids::IdLog;
use super::pace::Pace;
use super::signs::is_round;
use super::{Ask, PATIENCE, Reply, Start, Step, What, protocol};
use crate::decode::Answer;
use crate::error::Error;
use crate::value::{Page, Row};

/// `total` stops here (assets-api.md 13).
const SATURATED: u64 = 1000;

/// What every mode needs.
pub(super) struct Common {
    pub(super) start: Start,
    pub(super) facts: Facts,
    pub(super) pace: Pace,
    pub(super) tickets: u64,
    pub(super) live: HashSet<u64>,
    pub(super) out: VecDeque<Page>,
    /// How many pages may be under way.
    window: usize,
    pub(super) delivered: u64,
    log: IdLog,
    /// Ids handed on before a mode was given up; later ones are checked against them.
    pub(super) before: Option<HashSet<i64>>,
    /// How many objects to expect; only bounds speculation.
    pub(super) estimate: Option<u64>,
    /// How many the service has told of since the scan began. What it told before proves nothing: objects
    /// created since then could make up for others that are missing.
    pub(super) counted: Option<u64>,
    /// So many there are, or more: bounds it while there is no estimate.
    pub(super) at_least: Option<u64>,
    pub(super) count_asked: bool,
    pub(super) fruitless: u32,
    /// Ends that the service's count contradicted.
    pub(super) missing: u32,
}

impl Common {
    pub(super) fn new(start: Start) -> Self {
        Self {
            facts: start.facts,
            pace: Pace::new(start.page_size, start.object, start.given),
            window: 1,
            at_least: None,
            tickets: 0,
            live: HashSet::new(),
            out: VecDeque::new(),
            delivered: 0,
            log: IdLog::default(),
            before: None,
            estimate: start.count,
            counted: None,
            count_asked: false,
            fruitless: 0,
            missing: 0,
            start,
        }
    }

    pub(super) fn ask(&mut self, aql: String, what: What) -> Ask {
        self.tickets += 1;
        self.live.insert(self.tickets);
        Ask { ticket: self.tickets, aql, what }
    }

    /// The reply to a request is of no use any more.
    pub(super) fn forget(&mut self, ticket: Option<u64>) {
        if let Some(ticket) = ticket {
            self.live.remove(&ticket);
        }
    }

    /// The filter with an id range and an order.
    pub(super) fn aql(&self, range: (Option<i64>, Option<i64>), order: Option<OrderBy>) -> String {
        let filter = self.start.filter.trim();
        let mut clauses = Vec::new();
        if let Some(low) = range.0 {
            clauses.push(format!("objectId >= {low}"));
        }
        if let Some(high) = range.1 {
            clauses.push(format!("objectId <= {high}"));
        }
        let mut aql = match (filter.is_empty(), clauses.is_empty()) {
            (true, true) if order.is_none() => String::new(),
            // Selects everything visible (assets-api.md 13); ORDER BY alone is not documented.
            (true, true) => "Key is not EMPTY".to_owned(),
            (true, false) => clauses.join(" AND "),
            (false, true) if order.is_none() => filter.to_owned(),
            (false, true) => format!("({filter})"),
            (false, false) => format!("({filter}) AND {}", clauses.join(" AND ")),
        };
        match order {
            Some(OrderBy::Id) => aql.push_str(" ORDER BY objectId ASC"),
            Some(OrderBy::Key) => aql.push_str(" ORDER BY Key ASC"),
            None => {}
        }
        aql
    }

    /// `maxResults` of the next request.
    pub(super) fn size(&self) -> u32 {
        self.pace.size()
    }

    /// Whether one more page may be under way besides `under_way`, and `waiting` for one of those:
    /// what the reader has yet to take counts too.
    pub(super) fn has_room(&self, under_way: usize, waiting: usize) -> bool {
        let ahead = under_way + self.out.len();
        ahead < self.window && ahead + waiting < self.pace.room(self.step())
    }

    /// One more page may be under way from now on.
    pub(super) fn widen(&mut self) {
        self.widen_to(self.window + 1);
    }

    /// So many pages may, or more.
    pub(super) fn widen_to(&mut self, window: usize) {
        self.window = self.window.max(window.min(self.start.max_in_flight.max(1) as usize));
    }

    /// How many rows a page is expected to hold.
    pub(super) fn step(&self) -> usize {
        let size = self.size() as usize;
        self.facts.cap().map_or(size, |cap| cap.min(size)).max(1)
    }

    /// A page that was asked for with `size` objects is asked for with fewer: there was no room for it, or it was
    /// not given.
    pub(super) fn cut(&mut self, size: u32, reply: &Reply) {
        let cap = self.facts.cap().and_then(|cap| u32::try_from(cap).ok());
        let size = cap.map_or(size, |cap| cap.min(size));
        match reply {
            Reply::TooLong(bytes) => self.pace.cut(size, *bytes),
            Reply::TooMuch(smaller, _) => self.pace.fail(size, smaller.by, !smaller.sure),
            Reply::Page(..) | Reply::Refused(_) | Reply::Count(_) => {}
        }
    }

    /// Whether that is more than a guess: a page as long as the next one has been asked for, or was cut.
    pub(super) fn knows_step(&self) -> bool {
        self.facts.cap().is_some() || self.size() as usize <= self.facts.asked
    }

    /// Whether a page that says it is the last may have been cut: as long as asked, as long as the
    /// service's pages are, or, before one was cut, of a round length that a service may cut at and
    /// longer than any so far.
    pub(super) fn looks_full(&self, rows: usize, asked: u32) -> bool {
        let longest = rows >= self.facts.page.unwrap_or(0);
        rows >= asked as usize || (longest && (self.facts.cap().is_some() || is_round(rows)))
    }

    /// Hands rows on. Ids that an earlier mode handed on are dropped.
    pub(super) fn deliver(&mut self, mut rows: Vec<Row>, heap: usize) {
        let all = rows.len();
        if all > 0 {
            self.fruitless = 0;
        }
        if let Some(before) = &self.before {
            rows.retain(|row| !before.contains(&row.id));
        }
        if rows.is_empty() {
            // Nothing for the reader, who takes what there is.
            self.widen();
            return;
        }
        self.delivered += rows.len() as u64;
        for row in &rows {
            self.log.push(row.id);
        }
        let bytes = heap / all.max(1) * rows.len();
        self.out.push_back(Page { rows, bytes });
    }

    /// Another mode begins from the start: what was handed on stays handed on.
    pub(super) fn start_over(&mut self) {
        self.live.clear();
        self.window = 1;
        let before = self.before.get_or_insert_default();
        before.extend(self.log.ids());
        self.log = IdLog::default();
    }

    /// Every id handed on, ascending.
    pub(super) fn handed_on(&self) -> Vec<i64> {
        let mut ids: Vec<i64> = self.log.ids().collect();
        ids.extend(self.before.iter().flatten());
        ids.sort_unstable();
        ids
    }

    /// Whether as many were handed on as were to be expected.
    pub(super) fn is_all(&self) -> bool {
        self.counted == Some(self.delivered)
    }

    /// The service says how many there are.
    pub(super) fn told(&mut self, count: u64) {
        (self.estimate, self.counted) = (Some(count), Some(count));
    }

    /// What a page's `total` told is to be told anew.
    pub(super) fn untold(&mut self) {
        (self.counted, self.at_least, self.estimate) = (None, None, self.start.count);
        self.count_asked = false;
    }

    /// What a count at the end of a mode means. Fewer than were handed on: some were deleted. None: then what
    /// was told before, by a page or by a count, is all there is to compare with.
    pub(super) fn compare(&mut self, count: Option<u64>) -> Step {
        match (count, self.told_of()) {
            (Some(count), _) if count > self.delivered => {
                self.told(count);
                Step::Missing(count)
            }
            (None, Some(told)) if told > self.delivered => Step::Short(told),
            _ => Step::Done,
        }
    }

    /// How many objects anybody has told of, rightly or not any more.
    pub(super) fn told_of(&self) -> Option<u64> {
        self.counted.max(self.at_least).max(self.estimate)
    }

    /// Counts a request that brought nothing new.
    pub(super) fn fruitless(&mut self) -> Result<(), Error> {
        self.fruitless += 1;
        if self.fruitless > PATIENCE {
            return Err(protocol(format!(
                "the pages of a scan do not add up: {PATIENCE} requests in a row brought no new object"
            ))
            .with_hint("Objects may be changing faster than they can be read; try again later."));
        }
        Ok(())
    }

    /// `total` where it is not saturated, and says more than the page itself shows: one that only
    /// counts up to the page's end tells nothing.
    pub(super) fn learn_total(&mut self, answer: &Answer) {
        match answer.total {
            Some(SATURATED) => self.at_least = Some(SATURATED),
            Some(total) if self.counted.is_none() && total > answer.rows.len() as u64 => self.told(total),
            _ => {}
        }
    }
}
