//! The first page: in which order the service lists objects, and whether that page is all.

use super::common::Common;
use super::facts::{OrderBy, SortBy, Verdict};
use super::signs::{ascending, check_distinct, says_end, says_more};
use super::{Ask, DOUBTS, Mode, Reply, Step, What, ordered, plain, protocol, windows};
use crate::decode::Answer;
use crate::error::Error;

/// The first page, which shows what the service does.
pub(super) struct Probe {
    /// None: without ORDER BY.
    order: Option<OrderBy>,
    /// The refusal that the bare filter is now to confirm or to refute.
    refused: Option<OrderBy>,
    ticket: Option<u64>,
    size: u32,
    /// Empty answers that did not show that nothing is there; the next request counts what is.
    empties: u32,
    counting: bool,
    /// The empty page said that something follows.
    open: bool,
    /// An earlier page, in another order, had objects.
    had_rows: bool,
    /// A page that says it is all there is, until a count agrees.
    held: Option<Answer>,
    /// Times that the page was asked for again.
    doubts: u32,
}

impl Probe {
    pub(super) fn new(order: Option<OrderBy>, size: u32) -> Self {
        Self {
            order,
            refused: None,
            ticket: None,
            size,
            empties: 0,
            counting: false,
            open: false,
            had_rows: false,
            held: None,
            doubts: 0,
        }
    }

    pub(super) fn next(&mut self, common: &mut Common) -> Option<Ask> {
        if self.ticket.is_some() {
            return None;
        }
        let ask = if self.counting {
            let aql = common.aql((None, None), None);
            common.ask(aql, What::Count)
        } else {
            let aql = common.aql((None, None), self.order);
            common.ask(aql, What::Page { start: 0, size: self.size })
        };
        self.ticket = Some(ask.ticket);
        Some(ask)
    }

    fn again(&mut self, order: Option<OrderBy>) {
        self.order = order;
        self.ticket = None;
    }

    /// Something says that there is more, and the service does not count: the page once more, then no more.
    fn doubt(&mut self, common: &mut Common) -> Result<Option<Mode>, Error> {
        self.doubts += 1;
        if self.doubts > DOUBTS {
            return Err(match common.told_of() {
                Some(told) => protocol(format!(
                    "the pages of a scan do not add up: {} objects were returned, {told} were told of, and the \
                     service does not count",
                    common.delivered
                )),
                None if self.had_rows => protocol(
                    "a page of a scan is empty, the one before was not, and the service does not count"
                        .to_owned(),
                ),
                None => protocol(
                    "a page of a scan is empty and says that more follows, and the service does not count"
                        .to_owned(),
                ),
            });
        }
        self.counting = false;
        self.again(self.order);
        Ok(None)
    }

    /// The mode to go on in, or none to go on probing.
    pub(super) fn reply(&mut self, common: &mut Common, reply: Reply) -> Result<Option<Mode>, Error> {
        let answer = match reply {
            Reply::Page(answer, _) => answer,
            less @ (Reply::TooLong(_) | Reply::TooMuch(..)) => {
                common.cut(self.size, &less);
                self.size = common.size();
                self.again(self.order);
                return Ok(None);
            }
            Reply::Refused(error) => {
                let Some(order) = self.order else { return Err(error) };
                // Our ORDER BY, or the filter itself? The bare filter tells.
                self.refused = Some(order);
                self.again(None);
                return Ok(None);
            }
            Reply::Count(count) if self.held.is_some() => {
                self.counting = false;
                let Some(answer) = self.held.take() else { return Ok(None) };
                let rows = answer.rows.len() as u64;
                if count.is_none_or(|count| count == rows) {
                    common.deliver(answer.rows, answer.heap);
                    return match common.compare(count) {
                        Step::Done => Ok(Some(Mode::Done)),
                        _ => {
                            common.start_over();
                            self.doubt(common)
                        }
                    };
                }
                if let Some(count) = count {
                    common.told(count);
                }
                return self.incomplete(common, answer);
            }
            // The service does not count: an empty page is the end where nothing says otherwise.
            Reply::Count(None)
                if self.open || self.had_rows || common.told_of().is_some_and(|told| told > 0) =>
            {
                return self.doubt(common);
            }
            Reply::Count(None | Some(0)) => return Ok(Some(Mode::Done)),
            Reply::Count(Some(count)) => {
                if self.empties > 2 {
                    return Err(protocol(format!("the first page is empty, but {count} objects match")));
                }
                self.counting = false;
                self.again(self.order);
                return Ok(None);
            }
        };
        if let Some(order) = self.refused.take() {
            *common.facts.order_mut(order) = Verdict::Fails;
        }
        if answer.rows.is_empty() {
            self.open = says_more(&answer, 0);
            let told = answer.total.is_some() && common.told_of().is_none_or(|told| told == 0);
            if told && !self.open && !self.had_rows {
                return Ok(Some(Mode::Done));
            }
            self.empties += 1;
            self.counting = true;
            self.again(self.order);
            return Ok(None);
        }
        self.had_rows = true;
        common.learn_total(&answer);
        let by_id = ascending(&answer.rows, SortBy::Id);
        let complete = says_end(&answer, 0) && !common.looks_full(answer.rows.len(), self.size);
        if complete {
            check_distinct(&answer.rows)?;
            if let Some(order) = self.order
                && answer.rows.len() > 1
                && by_id
            {
                *common.facts.order_mut(order) = Verdict::Works;
            }
            let rows = answer.rows.len() as u64;
            // A page and its total may be short together; what was counted before tells.
            let doubtful = common.estimate.is_some_and(|count| count > rows);
            if (answer.total != Some(rows) || doubtful) && common.counted != Some(rows) {
                self.held = Some(answer);
                self.counting = true;
                self.again(self.order);
                return Ok(None);
            }
            common.deliver(answer.rows, answer.heap);
            return Ok(Some(Mode::Done));
        }
        self.incomplete(common, answer)
    }

    /// There is more than this page: in which mode to go on, or none to try another order.
    fn incomplete(&mut self, common: &mut Common, answer: Answer) -> Result<Option<Mode>, Error> {
        if let Some(order) = self.order {
            let mut sorts = SortBy::candidates(order);
            sorts.retain(|sort| ascending(&answer.rows, *sort));
            if !sorts.is_empty() {
                if answer.rows.len() > 1 {
                    *common.facts.order_mut(order) = Verdict::Works;
                }
                let mut ordered = ordered::Ordered::new(order, sorts);
                return Ok(match ordered.first(common, answer, self.size)? {
                    Step::Done => Some(Mode::Done),
                    _ => Some(Mode::Ordered(ordered)),
                });
            }
            *common.facts.order_mut(order) = Verdict::Fails;
        }
        if let Some(order) = common.facts.next_order() {
            self.size = common.size();
            self.again(Some(order));
            return Ok(None);
        }
        common.facts.learn_page(answer.rows.len(), self.size);
        Ok(Some(if common.facts.ranges == Verdict::Fails {
            Mode::Plain(plain::Plain::new())
        } else {
            Mode::Windows(windows::Windows::new(Some(answer)))
        }))
    }
}
