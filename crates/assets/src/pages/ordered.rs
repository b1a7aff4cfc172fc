//! Pages in an order that never changes.
//!
//! Page `k + 1` begins with the object that page `k` ended with. Let `last` be the last object
//! handed on. A page whose first object is not beyond `last` shows everything that followed `last`
//! up to the page's end, at the moment it was read: what is not beyond `last` is dropped, the rest
//! is handed on. A page that begins beyond `last` does not join: the service sent fewer objects
//! than asked before it, or something before it was deleted. Then what follows `last` is read by
//! id (`objectId >= last`, offset 0, where there is nothing before that could shift), or, where
//! ranges cannot be used, from further back. The page that did not join waits for that.
//!
//! So an object that matched throughout is on one of the pages, wherever others come and go. The
//! end is a page that joins and says so in every way it can, or an empty answer at offset 0 of an
//! id range beyond `last`. One that says that more follows needs a count that agrees.

use std::collections::VecDeque;

use super::common::Common;
use super::facts::{OrderBy, SortBy, Verdict};
use super::signs::{ascending, check_distinct, says_end, says_more};
use super::{Ask, DOUBTS, Reply, Step, What, protocol};
use crate::decode::Answer;
use crate::error::Error;
use crate::value::Row;

pub(super) struct Ordered {
    order: OrderBy,
    /// What the order may be, after all rows so far; the first is gone by.
    sorts: Vec<SortBy>,
    /// Offsets count within the objects from this id on.
    base: Option<i64>,
    /// Objects handed on before the base began.
    base_delivered: u64,
    last: Option<(i64, Box<str>)>,
    /// The offset of the last row of the last page that joined: nothing beyond `last` is before it.
    last_offset: u64,
    next_offset: u64,
    pages: u32,
    queue: VecDeque<Slot>,
    count_ticket: Option<u64>,
    /// The pages say that this is all; one count decides.
    ended: bool,
    /// But for the last one, which says that more follows.
    open: bool,
    /// Times that such a page was asked for again since an object came.
    doubts: u32,
    /// Steps back since a page last joined.
    steps_back: u32,
    tail: Tail,
    /// Ranges gave a doubtful answer in this scan.
    distrust_ranges: bool,
}

struct Slot {
    ticket: Option<u64>,
    base: Option<i64>,
    offset: u64,
    size: u32,
    answer: Option<Answer>,
}

/// How far the end has been made sure of without ranges.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tail {
    Open,
    /// Asked for what follows the last object.
    Beyond,
    /// Nothing followed; asked for the last object again, to see that it has not moved.
    Again,
}

/// What a page without news showed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// It was empty, at this offset.
    Nothing(u64),
    /// It ended before the last object.
    Earlier,
    /// It ended with the last object.
    Last,
}

impl Ordered {
    pub(super) fn new(order: OrderBy, sorts: Vec<SortBy>) -> Self {
        Self {
            order,
            sorts,
            base: None,
            base_delivered: 0,
            last: None,
            last_offset: 0,
            next_offset: 0,
            pages: 0,
            queue: VecDeque::new(),
            count_ticket: None,
            ended: false,
            open: false,
            doubts: 0,
            steps_back: 0,
            tail: Tail::Open,
            distrust_ranges: false,
        }
    }

    pub(super) fn order(&self) -> OrderBy {
        self.order
    }

    /// Takes the probe's page as the first one.
    pub(super) fn first(&mut self, common: &mut Common, answer: Answer, size: u32) -> Result<Step, Error> {
        let slot = Slot { ticket: None, base: None, offset: 0, size, answer: Some(answer) };
        self.queue.push_back(slot);
        self.settle(common)
    }

    pub(super) fn next(&mut self, common: &mut Common) -> Option<Ask> {
        if self.ended {
            if self.count_ticket.is_some() {
                return None;
            }
            let aql = common.aql((None, None), None);
            let ask = common.ask(aql, What::Count);
            self.count_ticket = Some(ask.ticket);
            return Some(ask);
        }
        if let Some(i) = self.queue.iter().position(|slot| slot.ticket.is_none() && slot.answer.is_none()) {
            let (base, offset, size) = (self.queue[i].base, self.queue[i].offset, self.queue[i].size);
            let aql = common.aql((base, None), Some(self.order));
            let ask = common.ask(aql, What::Page { start: offset, size });
            self.queue[i].ticket = Some(ask.ticket);
            return Some(ask);
        }
        // How many there are bounds what is asked ahead, and proves the end; a short scan may find out without.
        if self.pages >= 2 && common.counted.is_none() && !common.count_asked {
            common.count_asked = true;
            let aql = common.aql((None, None), None);
            let ask = common.ask(aql, What::Count);
            self.count_ticket = Some(ask.ticket);
            return Some(ask);
        }
        if !self.may_ask_ahead(common) {
            return None;
        }
        let slot = Slot {
            ticket: None,
            base: self.base,
            offset: self.next_offset,
            size: common.size(),
            answer: None,
        };
        self.queue.push_back(slot);
        self.next_offset += (common.step() as u64).saturating_sub(1).max(1);
        self.next(common)
    }

    fn may_ask_ahead(&self, common: &Common) -> bool {
        // A page that has come and waits for one before it holds memory, not the service.
        let under_way = self.queue.iter().filter(|slot| slot.answer.is_none()).count();
        let waiting = self.queue.len() - under_way;
        if !common.has_room(under_way, waiting) {
            return false;
        }
        if self.queue.is_empty() {
            return true;
        }
        // Where one page ends is where the next begins.
        if self.tail != Tail::Open || waiting >= common.start.max_in_flight as usize || !common.knows_step() {
            return false;
        }
        // A caller that means to stop is not overtaken.
        let limit = common.start.limit.filter(|limit| common.delivered < *limit);
        let begins = self.base_delivered + self.next_offset + 1;
        // That it means to go on says nothing of where the objects end.
        if limit.is_some_and(|limit| begins >= limit) {
            return false;
        }
        match common.estimate {
            Some(bound) => begins < bound,
            // Not knowing the end, one page beyond the current one.
            None => common.at_least.is_some_and(|bound| begins < bound) || self.queue.len() < 2,
        }
    }

    pub(super) fn reply(&mut self, common: &mut Common, ticket: u64, reply: Reply) -> Result<Step, Error> {
        if self.count_ticket == Some(ticket) {
            self.count_ticket = None;
            let count = match reply {
                Reply::Count(count) => count,
                _ => None,
            };
            if self.ended {
                return match count {
                    None if self.open => self.doubt(common),
                    _ => Ok(common.compare(count)),
                };
            }
            if let Some(count) = count {
                common.told(count);
                check_plausible(common, count)?;
            }
            return Ok(Step::Go);
        }
        let Some(i) = self.queue.iter().position(|slot| slot.ticket == Some(ticket)) else {
            return Ok(Step::Go);
        };
        match reply {
            Reply::Page(answer, _) => {
                self.queue[i].answer = Some(answer);
                self.settle(common)
            }
            less @ (Reply::TooLong(_) | Reply::TooMuch(..)) => {
                // What follows was asked for further on than the shorter page will reach.
                common.cut(self.queue[i].size, &less);
                for slot in self.queue.drain(i + 1..) {
                    common.forget(slot.ticket);
                }
                let slot = &mut self.queue[i];
                (slot.ticket, slot.size) = (None, common.size());
                self.next_offset = match slot.base == self.base {
                    true => slot.offset + common.step() as u64 - 1,
                    false => self.last_offset,
                };
                Ok(Step::Go)
            }
            Reply::Refused(error) => {
                if self.queue[i].base.is_none() || common.facts.ranges == Verdict::Works {
                    // What it answered before it now refuses: the filter's own names changed.
                    return Err(error);
                }
                common.facts.ranges = Verdict::Fails;
                self.queue.remove(i);
                self.leave_range(common);
                self.settle(common)
            }
            Reply::Count(_) => Ok(Step::Go),
        }
    }

    /// Takes the answers at the head of the queue, in order.
    fn settle(&mut self, common: &mut Common) -> Result<Step, Error> {
        while !self.ended
            && let Some(answer) = self.queue.front_mut().and_then(|slot| slot.answer.take())
        {
            match self.page(common, answer)? {
                Step::Go => {}
                step => return Ok(step),
            }
        }
        Ok(Step::Go)
    }

    fn page(&mut self, common: &mut Common, mut answer: Answer) -> Result<Step, Error> {
        let Some(slot) = self.queue.pop_front() else { return Ok(Step::Go) };
        self.sorts.retain(|sort| ascending(&answer.rows, *sort));
        if self.sorts.is_empty() {
            check_distinct(&answer.rows)?;
            return Ok(Step::OrderFails);
        }
        if let Some(from) = slot.base
            && !self.range_holds(common, from, &answer.rows)
        {
            return Ok(Step::Go);
        }
        let rows = answer.rows.len();
        let Some(first) = answer.rows.first() else {
            let more = says_more(&answer, slot.offset);
            return if slot.offset == 0 {
                Ok(self.end(common, more))
            } else {
                self.make_sure_of_end(common, Seen::Nothing(slot.offset), more)
            };
        };
        if slot.offset > 0 && self.may_be_beyond_last(first) {
            common.fruitless()?;
            self.fill(common, slot, answer);
            return Ok(Step::Go);
        }

        // It joins.
        self.pages += 1;
        self.steps_back = 0;
        let full = common.looks_full(rows, slot.size);
        let end = says_end(&answer, slot.offset) && !full;
        let more = says_more(&answer, slot.offset);
        if !end {
            common.facts.learn_page(rows, slot.size);
        }
        let beyond = answer.rows.iter().position(|row| self.is_beyond_last(row)).unwrap_or(rows);
        let heap = answer.heap / rows * (rows - beyond);
        let fresh = answer.rows.split_off(beyond);
        let ends_with_last = fresh.is_empty()
            && answer.rows.last().is_some_and(|row| self.last.as_ref().is_some_and(|last| last.0 == row.id));
        let news = fresh.last().map(|row| (row.id, row.key.clone()));
        if slot.base == self.base {
            self.last_offset = slot.offset + rows as u64 - 1;
            self.next_offset = self.next_offset.max(self.last_offset);
        }
        if let Some(last) = news {
            self.keep_sorts(&fresh);
            self.last = Some(last);
            self.tail = Tail::Open;
            self.doubts = 0;
            common.deliver(fresh, heap);
            if common.estimate.is_some_and(|estimate| common.delivered > 2 * estimate + 10_000) {
                // More than there can be, as far as we know: count again.
                (common.estimate, common.counted) = (None, None);
                common.count_asked = false;
            }
        } else {
            common.fruitless()?;
        }
        if end {
            return Ok(self.end(common, false));
        }
        if !self.queue.is_empty() {
            return Ok(Step::Go);
        }
        if beyond == rows {
            return self.make_sure_of_end(
                common,
                if ends_with_last { Seen::Last } else { Seen::Earlier },
                more,
            );
        }
        // Nothing is under way: an id range needs no overlap and cannot shift. Without proof of
        // ranges the overlapping page is the next one.
        let short = rows < common.step() || slot.base != self.base;
        if self.may_range(common) && common.facts.ranges == Verdict::Works && short {
            self.rebase(common);
        } else {
            self.next_offset = self.last_offset;
        }
        Ok(Step::Go)
    }

    /// Drops orders that the step from the last object to these rows contradicts.
    fn keep_sorts(&mut self, fresh: &[Row]) {
        if let (Some((id, key)), Some(row)) = (&self.last, fresh.first()) {
            let active = self.sorts[0];
            self.sorts.retain(|sort| *sort == active || sort.compare((*id, key), (row.id, &row.key)).is_lt());
        }
    }

    fn is_beyond_last(&self, row: &Row) -> bool {
        self.last
            .as_ref()
            .is_none_or(|(id, key)| self.sorts[0].compare((*id, key), (row.id, &row.key)).is_lt())
    }

    /// Beyond in one of the orders that it may be: then what is between decides which it is.
    fn may_be_beyond_last(&self, row: &Row) -> bool {
        let beyond = |sort: &SortBy, id: i64, key: &str| sort.compare((id, key), (row.id, &row.key)).is_lt();
        self.last.as_ref().is_none_or(|(id, key)| self.sorts.iter().any(|sort| beyond(sort, *id, key)))
    }

    /// Ranges help only where the order is that of ids.
    fn may_range(&self, common: &Common) -> bool {
        self.order == OrderBy::Id
            && common.facts.ranges != Verdict::Fails
            && !self.distrust_ranges
            && self.last.is_some()
    }

    /// Where a range begins: beyond the last object once ranges have proved themselves, else with
    /// it, so that they can.
    fn range_start(&self, common: &Common) -> Option<i64> {
        let last = self.last.as_ref()?.0;
        Some(if common.facts.ranges == Verdict::Works { last.saturating_add(1) } else { last })
    }

    /// Whether a range's answer can be what the range asked for. One that is ignored would begin
    /// at the first object; one that matches nothing would look like the end.
    fn range_holds(&mut self, common: &mut Common, from: i64, rows: &[Row]) -> bool {
        let inside = rows.first().is_none_or(|row| row.id >= from);
        if common.facts.ranges == Verdict::Works && inside {
            return true;
        }
        if inside && rows.first().is_some_and(|row| row.id == from) {
            common.facts.ranges = Verdict::Works;
            return true;
        }
        if inside {
            // The object the range began with is gone, or ranges find nothing: not to be told.
            self.distrust_ranges = true;
        } else {
            common.facts.ranges = Verdict::Fails;
        }
        self.leave_range(common);
        false
    }

    /// Goes on without a range: from the whole list, at an offset that is surely not too late.
    fn leave_range(&mut self, common: &Common) {
        if self.base.is_some() {
            let offset = self.base_delivered + self.last_offset;
            self.base = None;
            self.base_delivered = 0;
            self.queue.retain(|slot| slot.base.is_none());
            self.last_offset = offset.saturating_sub(common.step() as u64);
            self.next_offset = self.last_offset;
        }
        if self.queue.is_empty() {
            self.push_front(common, None, self.last_offset);
        }
    }

    fn push_front(&mut self, common: &Common, base: Option<i64>, offset: u64) {
        self.queue.push_front(Slot { ticket: None, base, offset, size: common.size(), answer: None });
    }

    /// Something between the last object and this page is missing: ask for it first.
    fn fill(&mut self, common: &mut Common, slot: Slot, answer: Answer) {
        if slot.offset > self.last_offset && slot.base == self.base && self.steps_back == 0 {
            // The page before was shorter than expected: expect less.
            let shorter = (common.step() * 3 / 4).max(2);
            common.facts.expect(shorter);
        }
        self.queue.push_front(Slot { answer: Some(answer), ..slot });
        if self.may_range(common) {
            let from = self.range_start(common);
            self.push_front(common, from, 0);
            return;
        }
        let back = (common.step() as u64).saturating_mul((1 << self.steps_back.min(40)) - 1);
        self.steps_back += 1;
        self.push_front(common, self.base, self.last_offset.saturating_sub(back));
    }

    /// Offsets from here on count from the last object.
    fn rebase(&mut self, common: &mut Common) {
        self.drop_queue(common);
        self.base = self.range_start(common);
        self.base_delivered = common.delivered;
        self.last_offset = 0;
        self.next_offset = 0;
    }

    /// The pages end here, `open` where the last one says that more follows. As many as expected: done; else
    /// one count is asked for.
    fn end(&mut self, common: &mut Common, open: bool) -> Step {
        if common.is_all() {
            return Step::Done;
        }
        self.drop_queue(common);
        // A count that is still under way will do.
        (self.ended, self.open) = (true, open);
        Step::Go
    }

    /// What says that more follows is not the end, and the service does not count: the page once more.
    fn doubt(&mut self, common: &mut Common) -> Result<Step, Error> {
        self.doubts += 1;
        if self.doubts > DOUBTS {
            return Err(protocol(format!(
                "after {} objects of a scan, nothing comes where the service says that more follows, and it does \
                 not count",
                common.delivered
            )));
        }
        common.fruitless()?;
        (self.ended, self.tail) = (false, Tail::Open);
        self.push_front(common, self.base, self.last_offset);
        Ok(Step::Go)
    }

    fn drop_queue(&mut self, common: &mut Common) {
        for slot in self.queue.drain(..) {
            common.forget(slot.ticket);
        }
    }

    /// Nothing new came, and nothing said clearly that this is the end.
    fn make_sure_of_end(&mut self, common: &mut Common, seen: Seen, more: bool) -> Result<Step, Error> {
        common.fruitless()?;
        if self.may_range(common) {
            self.rebase(common);
            return Ok(Step::Go);
        }
        self.drop_queue(common);
        let (tail, offset) = match (self.tail, seen) {
            (Tail::Again, Seen::Last) => return Ok(self.end(common, more)),
            (_, Seen::Last) => (Tail::Beyond, self.last_offset + 1),
            (Tail::Beyond, Seen::Nothing(_)) => (Tail::Again, self.last_offset),
            (_, Seen::Earlier) => (Tail::Open, self.last_offset),
            (_, Seen::Nothing(offset)) if offset > self.last_offset => (Tail::Open, self.last_offset),
            (_, Seen::Nothing(_)) => {
                let back = (common.step() as u64).saturating_mul(1 << self.steps_back.min(40));
                self.steps_back += 1;
                (Tail::Open, self.last_offset.saturating_sub(back))
            }
        };
        self.tail = tail;
        self.push_front(common, self.base, offset);
        Ok(Step::Go)
    }
}

fn check_plausible(common: &Common, count: u64) -> Result<(), Error> {
    if common.delivered > 2 * count + 10_000 {
        return Err(protocol(format!(
            "the pages of a scan do not end: {} objects were returned, {count} match",
            common.delivered
        )));
    }
    Ok(())
}
