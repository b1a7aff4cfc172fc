//! Which pages to ask for, and whether what came back is everything: a pure state machine. The
//! promise is that every object that matched throughout the scan is returned exactly once, or the
//! scan is an error.
//!
//! What can be relied on is not known beforehand (assets-api.md 2.1, 10, 13), so it is found out,
//! verified on every page, and remembered for the client in [`Facts`]:
//!
//! 1. [`ordered`]: pages in ascending order of something that never changes (`ORDER BY objectId`,
//!    else `ORDER BY Key`), overlapping by one object, several at once. Where a page does not
//!    join the one before, what is between is read again by id (`objectId >= last`), so that no
//!    insert or delete can hide an object.
//! 2. [`windows`]: where no order holds, id ranges small enough that each is one complete page.
//! 3. [`plain`]: where ranges are refused too, plain pages, each beginning with the object that
//!    the one before ended with, and a count at the end.
//!
//! A scan that can have at most n objects, such as a look-up of n keys, ends with the n-th. Any other
//! end is believed when what was handed on is as many as the service counts: by an exact `total`,
//! by a count from before, or by one count at the end. Where it counts more, [`windows`] find by
//! counting halves where the missing ones are, and read those ranges again. A page of one object or
//! none that says it is the last needs no second witness, so that looking up a key is one request.
//!
//! Offsets are not cut into id windows from the start, because windows would have to be sized by
//! counting, which costs requests, while an overlap costs one object a page.

mod ids;
mod ordered;
mod plain;
mod probe;
#[cfg(test)]
mod tests;
mod windows;

use std::cmp::Ordering;
use std::collections::{HashSet, VecDeque};

use crate::decode::Answer;
use crate::error::{Error, Kind};
use crate::value::{Page, Row};

/// Pages larger than this make the following ones half as long.
const LARGE_PAGE: usize = 8 << 20;
/// Requests without a new object, one after the other, before the scan gives up.
const PATIENCE: u32 = 24;
/// Times that an audit may find something missing. One that does so again and again reads pages
/// that lose objects.
const AUDITS: u32 = 4;
/// `total` stops here (assets-api.md 13).
const SATURATED: u64 = 1000;

/// What may be ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OrderBy {
    Id,
    Key,
}

/// How rows of an ordered scan were found to be sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SortBy {
    Id,
    /// By the key's prefix as text, then its number.
    KeyNumber,
    KeyText,
}

impl SortBy {
    /// What an order may turn out to be. Only pages can tell: `HR-10`, `HR-11` is sorted by both.
    fn candidates(order: OrderBy) -> Vec<SortBy> {
        match order {
            OrderBy::Id => vec![SortBy::Id],
            OrderBy::Key => vec![SortBy::KeyNumber, SortBy::KeyText],
        }
    }

    fn compare(self, a: (i64, &str), b: (i64, &str)) -> Ordering {
        match self {
            SortBy::Id => a.0.cmp(&b.0),
            SortBy::KeyText => a.1.cmp(b.1),
            SortBy::KeyNumber => split_key(a.1).cmp(&split_key(b.1)),
        }
    }
}

/// `ITSM-88` into its prefix and number.
fn split_key(key: &str) -> (&str, u64) {
    match key.rsplit_once('-') {
        Some((prefix, number)) => (prefix, number.parse().unwrap_or(u64::MAX)),
        None => (key, 0),
    }
}

/// Whether the service does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Verdict {
    #[default]
    Unknown,
    Works,
    Fails,
}

/// What one client has learnt of its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Facts {
    pub(crate) by_id: Verdict,
    pub(crate) by_key: Verdict,
    /// `objectId >= a AND objectId <= b`.
    pub(crate) ranges: Verdict,
    /// The longest page seen that was not the last.
    pub(crate) page: Option<usize>,
}

impl Facts {
    fn order_mut(&mut self, order: OrderBy) -> &mut Verdict {
        match order {
            OrderBy::Id => &mut self.by_id,
            OrderBy::Key => &mut self.by_key,
        }
    }

    fn next_order(&self) -> Option<OrderBy> {
        // A verdict of another query is where to begin, never a proof: each page is verified.
        match (self.by_id, self.by_key) {
            (Verdict::Works | Verdict::Unknown, _) => Some(OrderBy::Id),
            (Verdict::Fails, Verdict::Works | Verdict::Unknown) => Some(OrderBy::Key),
            (Verdict::Fails, Verdict::Fails) => None,
        }
    }
}

/// A request that the scan wants sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) ticket: u64,
    pub(crate) aql: String,
    pub(crate) what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// `object/aql` with `startAt` and `maxResults`.
    Page { start: u64, size: u32 },
    /// `object/aql/totalcount`.
    Count,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A page, and how many bytes it was.
    Page(Answer, usize),
    /// The service refused the AQL text (400).
    Refused(Error),
    /// A count; none where the service would not say.
    Count(Option<u64>),
}

/// What a scan starts from.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) filter: String,
    pub(crate) page_size: u32,
    pub(crate) limit: Option<u64>,
    /// So many objects can match at most.
    pub(crate) most: Option<u64>,
    pub(crate) max_in_flight: u32,
    pub(crate) facts: Facts,
    /// A count from before, to bound speculation.
    pub(crate) count: Option<u64>,
}

/// A scan under way.
pub(crate) struct Walk {
    common: Common,
    mode: Mode,
}

enum Mode {
    Probe(probe::Probe),
    Ordered(ordered::Ordered),
    Windows(windows::Windows),
    Plain(plain::Plain),
    Done,
}

/// What every mode needs.
struct Common {
    start: Start,
    facts: Facts,
    /// `maxResults` of the next request.
    size: u32,
    tickets: u64,
    live: HashSet<u64>,
    out: VecDeque<Page>,
    delivered: u64,
    log: ids::IdLog,
    /// Ids handed on before a mode was given up; later ones are checked against them.
    before: Option<HashSet<i64>>,
    /// How many objects to expect; only bounds speculation.
    estimate: Option<u64>,
    count_asked: bool,
    fruitless: u32,
    /// Ends that the service's count contradicted.
    missing: u32,
}

/// What a mode decides after a reply.
enum Step {
    Go,
    Done,
    /// Give this mode up: the order does not hold.
    OrderFails,
    /// Give this mode up: ranges are refused or ignored.
    RangesFail,
    /// The mode came to its end, but the service counts more.
    Missing(u64),
}

impl Walk {
    pub(crate) fn new(start: Start) -> Self {
        let size = start.page_size.max(2);
        let first = match start.limit {
            Some(limit) => u32::try_from(limit.max(1)).unwrap_or(u32::MAX).min(start.page_size),
            None => start.page_size,
        };
        let facts = start.facts;
        let estimate = start.count;
        let mode = Mode::Probe(probe::Probe::new(facts.next_order(), first.max(1)));
        let common = Common {
            start,
            facts,
            size,
            tickets: 0,
            live: HashSet::new(),
            out: VecDeque::new(),
            delivered: 0,
            log: ids::IdLog::default(),
            before: None,
            estimate,
            count_asked: false,
            fruitless: 0,
            missing: 0,
        };
        Self { common, mode }
    }

    /// The next request to send now; call until none.
    pub(crate) fn next(&mut self) -> Option<Ask> {
        let common = &mut self.common;
        match &mut self.mode {
            Mode::Probe(probe) => probe.next(common),
            Mode::Ordered(ordered) => ordered.next(common),
            Mode::Windows(windows) => windows.next(common),
            Mode::Plain(plain) => plain.next(common),
            Mode::Done => None,
        }
    }

    /// Whether the reply to a request is still of use.
    pub(crate) fn is_live(&self, ticket: u64) -> bool {
        self.common.live.contains(&ticket)
    }

    /// Takes in what came of a request.
    pub(crate) fn reply(&mut self, ticket: u64, reply: Reply) -> Result<(), Error> {
        let common = &mut self.common;
        if !common.live.remove(&ticket) {
            return Ok(());
        }
        if let Reply::Page(answer, bytes) = &reply {
            common.shrink(answer, *bytes);
        }
        let step = match &mut self.mode {
            Mode::Probe(probe) => {
                if let Some(mode) = probe.reply(common, reply)? {
                    self.mode = mode;
                }
                Step::Go
            }
            Mode::Ordered(ordered) => ordered.reply(common, ticket, reply)?,
            Mode::Windows(windows) => windows.reply(common, ticket, reply)?,
            Mode::Plain(plain) => plain.reply(common, reply)?,
            Mode::Done => Step::Go,
        };
        match step {
            Step::Go => {}
            Step::Done => self.mode = Mode::Done,
            Step::OrderFails => {
                if let Mode::Ordered(ordered) = &self.mode {
                    *common.facts.order_mut(ordered.order()) = Verdict::Fails;
                }
                common.start_over();
                self.mode = if common.facts.ranges == Verdict::Fails {
                    Mode::Plain(plain::Plain::new())
                } else {
                    Mode::Windows(windows::Windows::new(None))
                };
            }
            Step::Missing(count) => {
                common.missing += 1;
                if common.missing > AUDITS {
                    return Err(protocol(format!(
                        "the pages of a scan do not add up: {} objects were returned, {count} match",
                        common.delivered
                    ))
                    .with_hint("Objects may be changing faster than they can be read; try again later."));
                }
                let ids = common.handed_on();
                common.start_over();
                self.mode = if common.facts.ranges == Verdict::Fails {
                    Mode::Plain(plain::Plain::new())
                } else {
                    Mode::Windows(windows::Windows::audit(ids, count))
                };
            }
            Step::RangesFail => {
                common.facts.ranges = Verdict::Fails;
                common.start_over();
                self.mode = Mode::Plain(plain::Plain::new());
            }
        }
        if common.start.most.is_some_and(|most| common.delivered >= most) {
            self.mode = Mode::Done;
        }
        if matches!(self.mode, Mode::Done) {
            common.live.clear();
        }
        Ok(())
    }

    /// Rows that are ready to be handed on, in order.
    pub(crate) fn rows(&mut self) -> Option<Page> {
        self.common.out.pop_front()
    }

    /// Whether everything has been read (and [`Walk::rows`] holds the rest).
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.mode, Mode::Done)
    }

    pub(crate) fn facts(&self) -> Facts {
        self.common.facts
    }
}

impl Common {
    fn ask(&mut self, aql: String, what: What) -> Ask {
        self.tickets += 1;
        self.live.insert(self.tickets);
        Ask { ticket: self.tickets, aql, what }
    }

    /// The filter with an id range and an order.
    fn aql(&self, range: (Option<i64>, Option<i64>), order: Option<OrderBy>) -> String {
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

    /// How many rows a page is expected to hold.
    fn step(&self) -> usize {
        self.facts.page.map_or(self.size as usize, |page| page.min(self.size as usize)).max(1)
    }

    fn learn_page(&mut self, rows: usize) {
        if rows > self.facts.page.unwrap_or(0) {
            self.facts.page = Some(rows);
        }
    }

    /// Whether a page that says it is the last may have been cut: as long as asked, as long as
    /// the longest so far, or, before there was one, of a round length that a service may cut at.
    fn looks_full(&self, rows: usize, asked: u32) -> bool {
        rows >= asked as usize || self.facts.page.map_or_else(|| is_round(rows), |page| rows >= page)
    }

    fn shrink(&mut self, answer: &Answer, bytes: usize) {
        if bytes > LARGE_PAGE && answer.rows.len() > 1 {
            let half = u32::try_from(answer.rows.len() / 2).unwrap_or(u32::MAX).max(2);
            self.size = self.size.min(half);
        }
    }

    /// Hands rows on. Ids that an earlier mode handed on are dropped.
    fn deliver(&mut self, mut rows: Vec<Row>, heap: usize) {
        let all = rows.len();
        if all > 0 {
            self.fruitless = 0;
        }
        if let Some(before) = &self.before {
            rows.retain(|row| !before.contains(&row.id));
        }
        if rows.is_empty() {
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
    fn start_over(&mut self) {
        self.live.clear();
        let before = self.before.get_or_insert_default();
        before.extend(self.log.ids());
        self.log = ids::IdLog::default();
    }

    /// Every id handed on, ascending.
    fn handed_on(&self) -> Vec<i64> {
        let mut ids: Vec<i64> = self.log.ids().collect();
        ids.extend(self.before.iter().flatten());
        ids.sort_unstable();
        ids
    }

    /// Whether as many were handed on as were to be expected.
    fn is_all(&self) -> bool {
        self.estimate == Some(self.delivered)
    }

    /// What a count at the end of a mode means. Fewer than were handed on: some were deleted.
    fn compare(&mut self, count: Option<u64>) -> Step {
        match count {
            Some(count) if count > self.delivered => {
                self.estimate = Some(count);
                Step::Missing(count)
            }
            _ => Step::Done,
        }
    }

    /// Counts a request that brought nothing new.
    fn fruitless(&mut self) -> Result<(), Error> {
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
    fn learn_total(&mut self, answer: &Answer) {
        if self.estimate.is_none()
            && let Some(total) = answer.total
            && total != SATURATED
            && total > answer.rows.len() as u64
        {
            self.estimate = Some(total);
        }
    }
}

/// Whether everything on the page says that nothing follows: at least one sign, and none against
/// (assets-api.md 12.1).
fn says_end(answer: &Answer, start: u64) -> bool {
    let signs = [answer.is_last, answer.last, answer.has_more.map(|more| !more)];
    let positive = answer.is_last == Some(true) || answer.last == Some(true);
    let seen = start + answer.rows.len() as u64;
    positive && !signs.contains(&Some(false)) && answer.total.is_none_or(|total| total <= seen)
}

/// Whether a page from the start is surely everything: it says so, and is not so long that it may
/// have been cut.
pub(crate) fn says_all(answer: &Answer, asked: u32) -> bool {
    let rows = answer.rows.len();
    says_end(answer, 0) && !is_round(rows) && rows < asked as usize
}

/// A length at which a service may cut its pages.
fn is_round(rows: usize) -> bool {
    rows > 0 && (rows.is_multiple_of(10) || rows.is_multiple_of(25))
}

/// Whether anything on the page says that objects follow, or should have been there.
fn says_more(answer: &Answer) -> bool {
    answer.is_last == Some(false)
        || answer.last == Some(false)
        || answer.has_more == Some(true)
        || answer.total.is_some_and(|total| total > 0)
}

fn ascending(rows: &[Row], sort: SortBy) -> bool {
    rows.windows(2)
        .all(|pair| sort.compare((pair[0].id, &pair[0].key), (pair[1].id, &pair[1].key)) == Ordering::Less)
}

/// Every object at most once on a page.
fn check_distinct(rows: &[Row]) -> Result<(), Error> {
    let mut seen = HashSet::with_capacity(rows.len());
    match rows.iter().find(|row| !seen.insert(row.id)) {
        None => Ok(()),
        Some(row) => Err(protocol(format!("object {} stands twice on one page", row.key))),
    }
}

fn protocol(message: String) -> Error {
    Error::new(Kind::Protocol, message)
}
