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
//! or by one count while it runs or at its end; what was counted before it began proves nothing. Where it counts more, [`windows`] find by
//! counting halves where the missing ones are, and read those ranges again. Where the service does not
//! count for the credential, the pages are all there is: an end that a page's own signs, a `total` seen
//! or an earlier count contradict is read again, and then an error. Where `total` is
//! told, as documented, looking up a key is one request; a service that leaves it out is asked to
//! count even for a page of no object that says it is the last.
//!
//! What is under way at once is bounded in pages by `max_in_flight` and in bytes by [`pace`]. It begins
//! with one page and grows by one with each page that the reader takes, so that a reader who stops early
//! has not been read ahead of; what is ready and not yet taken counts as if it were under way.
//!
//! Offsets are not cut into id windows from the start, because windows would have to be sized by
//! counting, which costs requests, while an overlap costs one object a page.

mod common;
mod facts;
mod ids;
mod ordered;
mod pace;
mod plain;
mod probe;
mod signs;
#[cfg(test)]
mod tests;
mod windows;

use crate::decode::Answer;
use crate::error::{Error, Kind};
use crate::retry::Smaller;
use crate::session::Strain;
use crate::value::Page;

use common::Common;
pub(crate) use facts::Facts;
use facts::Verdict;
pub use ids::IdLog;
pub(crate) use pace::{Given, Pace, SMALLEST_PAGE};
pub(crate) use signs::{says_all, says_more};

/// Requests without a new object, one after the other, before the scan gives up.
const PATIENCE: u32 = 24;
/// Times that an empty page is asked for again which says that more follows, and that a scan is begun again
/// which ended with fewer objects than were told of, where the service does not count.
const DOUBTS: u32 = 2;
/// Times that an audit may find something missing. One that does so again and again reads pages
/// that lose objects.
const AUDITS: u32 = 4;

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
    /// There was no room for a page of so many bytes or more, which can be asked for with fewer objects.
    TooLong(usize),
    /// The service did not give the page, and is to be asked for fewer objects; what went before.
    TooMuch(Smaller, Option<Strain>),
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
    /// A count from before, to bound speculation; never a proof.
    pub(crate) count: Option<u64>,
    /// How large an object was in an earlier scan, or 0.
    pub(crate) object: usize,
    /// How many objects the service gave on a page then.
    pub(crate) given: Given,
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
    /// The mode came to its end, but so many were told of before, and the service does not count now.
    Short(u64),
}

impl Walk {
    pub(crate) fn new(start: Start) -> Self {
        let common = Common::new(start);
        let limit = common.start.limit.map_or(u32::MAX, |limit| u32::try_from(limit).unwrap_or(u32::MAX));
        let first = common.size().min(common.start.page_size).min(limit).max(1);
        let mode = Mode::Probe(probe::Probe::new(common.facts.next_order(), first));
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
            common.pace.learn(answer.rows.len(), answer.heap.max(*bytes));
        }
        if let Reply::TooLong(_) | Reply::TooMuch(..) = &reply {
            // Each time half as many objects are asked for: it ends, but not quickly where others come between.
            common.fruitless()?;
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
            Step::Short(told) => {
                common.missing += 1;
                if common.missing > DOUBTS {
                    return Err(protocol(format!(
                        "the pages of a scan do not add up: {} objects were returned, {told} were told of, and the \
                         service does not count",
                        common.delivered
                    )));
                }
                common.start_over();
                common.untold();
                let size = common.size();
                self.mode = Mode::Probe(probe::Probe::new(common.facts.next_order(), size));
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

    /// Rows that are ready to be handed on, in order. Each time, one more page may be under way.
    pub(crate) fn rows(&mut self) -> Option<Page> {
        let page = self.common.out.pop_front()?;
        self.common.widen();
        Some(page)
    }

    /// The reader goes on, who has taken so many pages of this query and of others before it: so many more may be
    /// under way at once.
    pub(crate) fn goes_on(&mut self, taken: usize) {
        self.common.widen_to(taken.saturating_add(1));
    }

    /// Whether there are such rows.
    pub(crate) fn has_rows(&self) -> bool {
        !self.common.out.is_empty()
    }

    /// Whether everything has been read (and [`Walk::rows`] holds the rest).
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.mode, Mode::Done)
    }

    pub(crate) fn facts(&self) -> Facts {
        self.common.facts
    }

    /// How many objects the service gives on a page.
    pub(crate) fn given(&self) -> Given {
        self.common.pace.given()
    }

    /// How large an object is, as far as pages have told.
    pub(crate) fn object_size(&self) -> Option<usize> {
        self.common.pace.object()
    }
}

fn protocol(message: String) -> Error {
    Error::new(Kind::Protocol, message)
}
