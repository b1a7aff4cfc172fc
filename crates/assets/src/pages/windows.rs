//! Where no order holds: id ranges, each small enough to be one complete page.
//!
//! An id never changes, so a range cannot shift; one page that is complete is what its range held
//! at one moment. A range whose page is not complete is cut at ids seen on it.
//!
//! The same machine audits a scan that ended with fewer objects than the service counts: halves
//! are counted against what was handed on, and those that miss something are read again.

use std::collections::{HashMap, HashSet};

use super::common::Common;
use super::facts::Verdict;
use super::signs::{check_distinct, says_end, says_more};
use super::{Ask, Reply, Step, What};
use crate::decode::Answer;
use crate::error::Error;
use crate::value::Row;

#[derive(Debug, Clone, Copy)]
struct Range {
    low: Option<i64>,
    high: Option<i64>,
    /// An id known to be in it, which proves that the service understands ranges.
    witness: Option<i64>,
}

enum Pending {
    Page(Range, u32),
    /// A page that did not say it was the last; the count of its range decides.
    Count(Range, Box<Answer>),
    /// How many are in the lower half of a range that holds more than was handed on.
    Half(Suspect, i64),
    /// How many there are, after all ranges were read.
    Final,
}

/// A range in which more objects were counted than handed on.
#[derive(Debug, Clone, Copy)]
struct Suspect {
    low: Option<i64>,
    high: Option<i64>,
    count: u64,
}

pub(super) struct Windows {
    todo: Vec<Range>,
    counts: Vec<(Range, Box<Answer>)>,
    pending: HashMap<u64, Pending>,
    /// What an audit compares counts with: every id handed on before, ascending.
    ids: Vec<i64>,
    suspects: Vec<Suspect>,
    counted: bool,
}

impl Windows {
    /// Begins with the incomplete page of the whole, where there is one.
    pub(super) fn new(root: Option<Answer>) -> Self {
        let whole = Range { low: None, high: None, witness: None };
        let mut windows = Self {
            todo: vec![whole],
            counts: Vec::new(),
            pending: HashMap::new(),
            ids: Vec::new(),
            suspects: Vec::new(),
            counted: false,
        };
        if let Some(answer) = root {
            windows.todo.clear();
            windows.cut(whole, &answer, answer.rows.len());
        }
        windows
    }

    /// Finds what `ids` lack of the `count` objects that there are.
    pub(super) fn audit(ids: Vec<i64>, count: u64) -> Self {
        let suspects = vec![Suspect { low: None, high: None, count }];
        Self { todo: Vec::new(), ids, suspects, ..Self::new(None) }
    }

    fn between(&self, low: Option<i64>, high: Option<i64>) -> &[i64] {
        let from = low.map_or(0, |low| self.ids.partition_point(|id| *id < low));
        let to = high.map_or(self.ids.len(), |high| self.ids.partition_point(|id| *id <= high));
        &self.ids[from..to.max(from)]
    }

    /// A suspect range: read it if it fits a page, else count its lower half.
    fn suspect(&mut self, common: &mut Common, suspect: Suspect) -> Option<Ask> {
        let inside = self.between(suspect.low, suspect.high);
        if inside.len() < 2 || suspect.count * 10 <= common.step() as u64 * 9 {
            let witness = inside.first().copied();
            self.todo.push(Range { low: suspect.low, high: suspect.high, witness });
            return None;
        }
        let middle = inside[(inside.len() - 1) / 2];
        let aql = common.aql((suspect.low, Some(middle)), None);
        let ask = common.ask(aql, What::Count);
        self.pending.insert(ask.ticket, Pending::Half(suspect, middle));
        Some(ask)
    }

    /// The halves of a suspect range, of which the lower one has been counted.
    fn halve(&mut self, suspect: Suspect, middle: i64, count: u64) {
        let lower = Suspect { low: suspect.low, high: Some(middle), count };
        let upper = Suspect {
            low: Some(middle.saturating_add(1)),
            high: suspect.high,
            count: suspect.count.saturating_sub(count),
        };
        for half in [lower, upper] {
            if half.count > self.between(half.low, half.high).len() as u64 {
                self.suspects.push(half);
            }
        }
    }

    pub(super) fn next(&mut self, common: &mut Common) -> Option<Ask> {
        if !common.has_room(self.pending.len(), 0) {
            return None;
        }
        if let Some((range, answer)) = self.counts.pop() {
            let aql = common.aql((range.low, range.high), None);
            let ask = common.ask(aql, What::Count);
            self.pending.insert(ask.ticket, Pending::Count(range, answer));
            return Some(ask);
        }
        while let Some(suspect) = self.suspects.pop() {
            if let Some(ask) = self.suspect(common, suspect) {
                return Some(ask);
            }
        }
        let Some(range) = self.todo.pop() else {
            // Every range is read.
            if !self.pending.is_empty() || self.counted {
                return None;
            }
            self.counted = true;
            let aql = common.aql((None, None), None);
            let ask = common.ask(aql, What::Count);
            self.pending.insert(ask.ticket, Pending::Final);
            return Some(ask);
        };
        let aql = common.aql((range.low, range.high), None);
        let size = common.size();
        let ask = common.ask(aql, What::Page { start: 0, size });
        self.pending.insert(ask.ticket, Pending::Page(range, size));
        Some(ask)
    }

    pub(super) fn reply(&mut self, common: &mut Common, ticket: u64, reply: Reply) -> Result<Step, Error> {
        match (self.pending.remove(&ticket), reply) {
            (Some(Pending::Page(range, size)), Reply::Page(answer, _)) => {
                return self.page(common, range, size, answer);
            }
            (Some(Pending::Page(range, size)), less @ (Reply::TooLong(_) | Reply::TooMuch(..))) => {
                common.cut(size, &less);
                self.todo.push(range);
            }
            (Some(Pending::Page(range, _)), Reply::Refused(error)) => {
                let plain = range.low.is_none() && range.high.is_none();
                return if plain || common.facts.ranges == Verdict::Works {
                    Err(error)
                } else {
                    Ok(Step::RangesFail)
                };
            }
            (Some(Pending::Count(range, answer)), Reply::Count(count)) => {
                if count == Some(answer.rows.len() as u64) {
                    common.deliver(answer.rows, answer.heap);
                } else {
                    common.fruitless()?;
                    self.cut(range, &answer, common.step());
                }
            }
            (Some(Pending::Half(suspect, middle)), Reply::Count(Some(count))) => {
                self.halve(suspect, middle, count);
            }
            (Some(Pending::Half(..)), _) => return Ok(Step::RangesFail),
            (Some(Pending::Final), Reply::Count(count)) => return Ok(common.compare(count)),
            (_, Reply::Refused(error)) => return Err(error),
            _ => {}
        }
        Ok(self.step(common))
    }

    fn step(&self, common: &Common) -> Step {
        let idle = self.todo.is_empty() && self.counts.is_empty() && self.suspects.is_empty();
        if idle && self.pending.is_empty() && common.is_all() { Step::Done } else { Step::Go }
    }

    fn page(&mut self, common: &mut Common, range: Range, size: u32, answer: Answer) -> Result<Step, Error> {
        check_distinct(&answer.rows)?;
        let outside = |row: &Row| {
            range.low.is_some_and(|low| row.id < low) || range.high.is_some_and(|high| row.id > high)
        };
        if answer.rows.iter().any(outside) {
            return Ok(Step::RangesFail);
        }
        let rows = answer.rows.len();
        // Nothing at all, where something is known to be or is said to follow: the count of the range decides.
        let doubtful = rows == 0 && (says_more(&answer, 0) || range.witness.is_some());
        let single = rows > 0 && range.low.is_some() && range.low == range.high;
        let complete = single || (says_end(&answer, 0) && !common.looks_full(rows, size));
        if !complete && rows > 0 {
            common.facts.learn_page(rows, size);
        }
        if common.facts.ranges != Verdict::Works
            && (range.low.is_some() || range.high.is_some())
            && let Some(witness) = range.witness
        {
            if answer.rows.iter().any(|row| row.id == witness) {
                common.facts.ranges = Verdict::Works;
            } else if complete || rows == 0 {
                // The known object is gone, or ranges find nothing: not to be told.
                return Ok(Step::RangesFail);
            }
        }
        if (complete || rows == 0) && !doubtful {
            common.deliver(answer.rows, answer.heap);
        } else if rows < common.step() && !common.looks_full(rows, size) {
            self.counts.push((range, Box::new(answer)));
        } else {
            common.widen();
            self.cut(range, &answer, common.step());
        }
        Ok(self.step(common))
    }

    /// Cuts a range so that its parts are likely to fit a page each.
    fn cut(&mut self, range: Range, answer: &Answer, page: usize) {
        let mut ids: Vec<i64> = answer.rows.iter().map(|row| row.id).collect();
        ids.sort_unstable();
        let expected = answer.total.unwrap_or(0).max(ids.len() as u64 * 2);
        let room = (page as u64 * 7 / 10).max(1);
        let parts = usize::try_from(expected.div_ceil(room)).unwrap_or(usize::MAX);
        let parts = parts.clamp(2, ids.len().max(2));
        let mut highs: Vec<i64> = (1..parts)
            .filter_map(|i| ids.get((i * ids.len() / parts).saturating_sub(1)).copied())
            .filter(|id| range.high.is_none_or(|high| *id < high))
            .collect();
        highs.dedup();
        if highs.is_empty()
            && let Some(&id) = ids.first()
        {
            // One object, at the range's end: what is before it stands alone.
            highs.push(if range.high == Some(id) { id - 1 } else { id });
        }
        let known: HashSet<i64> = ids.iter().copied().collect();
        let mut low = range.low;
        for high in highs {
            self.todo.push(Range {
                low,
                high: Some(high),
                witness: Some(high).filter(|h| known.contains(h)),
            });
            low = Some(high.saturating_add(1));
        }
        let witness = ids.last().copied().filter(|id| low.is_none_or(|low| *id >= low));
        self.todo.push(Range { low, high: range.high, witness });
    }
}
