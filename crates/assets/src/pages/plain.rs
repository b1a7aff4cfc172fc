//! Where neither an order nor ranges hold: plain pages one after the other, each beginning with
//! the object that the one before ended with. A pass whose pages all join, and which found as many
//! objects as the service counts, is complete; another one is begun otherwise.

use std::collections::HashSet;

use super::common::Common;
use super::signs::{check_distinct, says_end};
use super::{Ask, Reply, Step, What, protocol};
use crate::decode::Answer;
use crate::error::{Error, Kind};

/// Passes before the scan gives up.
const PASSES: u32 = 4;

/// How far the end has been made sure of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tail {
    Open,
    /// Nothing new came: ask for what follows the last object.
    Beyond,
    /// Nothing followed: ask for the last object again, to see that it has not moved.
    Again,
}

pub(super) struct Plain {
    pass: u32,
    offset: u64,
    last: Option<i64>,
    /// Ids of this pass.
    found: HashSet<i64>,
    asked: bool,
    counting: bool,
    tail: Tail,
    /// A page that said it was the last was not.
    deceived: bool,
    size: u32,
}

impl Plain {
    pub(super) fn new() -> Self {
        Self {
            pass: 1,
            offset: 0,
            last: None,
            found: HashSet::new(),
            asked: false,
            counting: false,
            tail: Tail::Open,
            deceived: false,
            size: 0,
        }
    }

    pub(super) fn next(&mut self, common: &mut Common) -> Option<Ask> {
        if self.asked || !common.has_room(0, 0) {
            return None;
        }
        self.asked = true;
        self.size = common.size();
        let aql = common.aql((None, None), None);
        let what = if self.counting {
            What::Count
        } else {
            What::Page { start: self.offset + u64::from(self.tail == Tail::Beyond), size: self.size }
        };
        Some(common.ask(aql, what))
    }

    pub(super) fn reply(&mut self, common: &mut Common, reply: Reply) -> Result<Step, Error> {
        self.asked = false;
        match reply {
            Reply::Refused(error) => Err(error),
            Reply::Count(Some(count)) if count == self.found.len() as u64 => Ok(Step::Done),
            Reply::Count(Some(count)) if count > self.found.len() as u64 && !self.deceived => {
                // The sign of the end was wrong: from now on only an empty page is one.
                self.deceived = true;
                self.counting = false;
                self.tail = Tail::Open;
                Ok(Step::Go)
            }
            Reply::Count(Some(count)) => {
                self.another_pass(common, format!("{} objects were returned, {count} match", self.found.len()))
            }
            Reply::Count(None) if common.counted == Some(self.found.len() as u64) => Ok(Step::Done),
            Reply::Count(None) => Err(protocol(
                "the service keeps no order, takes no id ranges and does not count: a scan cannot be shown to be complete"
                    .to_owned(),
            )),
            less @ (Reply::TooLong(_) | Reply::TooMuch(..)) => {
                common.cut(self.size, &less);
                Ok(Step::Go)
            }
            Reply::Page(answer, _) => self.page(common, answer),
        }
    }

    fn page(&mut self, common: &mut Common, answer: Answer) -> Result<Step, Error> {
        check_distinct(&answer.rows)?;
        let rows = answer.rows.len();
        let start = self.offset;
        match (self.tail, rows) {
            (Tail::Beyond, 0) => {
                self.tail = Tail::Again;
                return Ok(Step::Go);
            }
            (Tail::Beyond, _) => {
                // More follows, but a page that does not overlap proves nothing: overlap again.
                common.fruitless()?;
                self.tail = Tail::Open;
                return Ok(Step::Go);
            }
            (_, 0) if self.last.is_none() => {
                self.counting = true;
                return Ok(Step::Go);
            }
            (_, 0) => return self.another_pass(common, "a page ended before its beginning".to_owned()),
            _ => {}
        }
        if self.last.is_some_and(|last| answer.rows[0].id != last) {
            return self.another_pass(common, "two pages do not join".to_owned());
        }
        if self.tail == Tail::Again && rows == 1 {
            self.counting = true;
            return Ok(Step::Go);
        }
        if start == 0 {
            common.learn_total(&answer);
        }
        let end = !self.deceived && says_end(&answer, start) && !common.looks_full(rows, self.size);
        if !end {
            common.facts.learn_page(rows, self.size);
        }
        self.last = answer.rows.last().map(|row| row.id);
        self.offset = start + rows as u64 - 1;
        let mut fresh = answer.rows;
        fresh.retain(|row| self.found.insert(row.id));
        let none = fresh.is_empty();
        // What an earlier pass handed on is not handed on again.
        if let Some(before) = &common.before {
            fresh.retain(|row| !before.contains(&row.id));
        }
        if none {
            common.fruitless()?;
        } else {
            common.fruitless = 0;
        }
        let heap = answer.heap / rows * fresh.len();
        common.deliver(fresh, heap);
        if self.found.len() as u64 > 2 * common.estimate.unwrap_or(u64::MAX / 4) + 10_000 {
            self.counting = true;
            return Ok(Step::Go);
        }
        self.counting = end;
        self.tail = if none { Tail::Beyond } else { Tail::Open };
        Ok(Step::Go)
    }

    fn another_pass(&mut self, common: &mut Common, why: String) -> Result<Step, Error> {
        if self.pass == PASSES {
            return Err(Error::new(
                Kind::Protocol,
                format!("the pages of a scan do not add up after {PASSES} passes: {why}"),
            )
            .with_hint("Objects may be changing faster than they can be read; try again later."));
        }
        common.start_over();
        common.untold();
        *self = Self { pass: self.pass + 1, deceived: self.deceived, ..Self::new() };
        Ok(Step::Go)
    }
}
