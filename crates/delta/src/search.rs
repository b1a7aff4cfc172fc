//! Where the service's objects and the held ids differ, found by counting ranges of ids.
//!
//! `objectId >= a AND objectId <= b` is relied on in production for counts and for pages
//! (assets-api.md 13). A range whose count differs from the ids held in it is halved; what is small
//! enough is listed. Nothing is concluded from a count alone: an object is gone when a complete list
//! of its range lacks it.

use std::collections::HashSet;

/// A range of ids, ends included; none is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The lowest.
    pub low: Option<i64>,
    /// The highest.
    pub high: Option<i64>,
}

impl Range {
    /// As a condition that follows another; empty where both ends are open.
    pub fn and(self) -> String {
        let low = self.low.map(|low| format!(" AND objectId >= {low}")).unwrap_or_default();
        let high = self.high.map(|high| format!(" AND objectId <= {high}")).unwrap_or_default();
        low + &high
    }
}

/// What to ask next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// How many objects are in a range.
    Count(Range),
    /// Which objects are in a range: a complete list.
    List(Range),
}

/// What the search is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A few objects that are gone, or new. Where many are, listing everything costs less than searching.
    Differences,
    /// The rest of what was begun: large parts are complete, others empty.
    Rest,
}

#[derive(Debug, Clone, Copy)]
struct Suspect {
    range: Range,
    count: u64,
}

/// A search under way.
pub struct Search {
    purpose: Purpose,
    /// Ascending.
    held: Vec<i64>,
    page: u64,
    todo: Vec<Suspect>,
    asked: Option<(Suspect, Option<i64>)>,
    asks: u64,
    gone: Vec<i64>,
    new: Vec<i64>,
}

impl Search {
    /// A search among `held` ids, where the service counts `count` in all and a page holds about `page`.
    pub fn new(purpose: Purpose, held: impl IntoIterator<Item = i64>, count: u64, page: u64) -> Self {
        let mut held: Vec<i64> = held.into_iter().collect();
        held.sort_unstable();
        held.dedup();
        let mut search = Self {
            purpose,
            held,
            page: page.max(1),
            todo: Vec::new(),
            asked: None,
            asks: 0,
            gone: Vec::new(),
            new: Vec::new(),
        };
        search.suspect(Suspect { range: Range { low: None, high: None }, count });
        search
    }

    fn between(&self, range: Range) -> &[i64] {
        let from = range.low.map_or(0, |low| self.held.partition_point(|id| *id < low));
        let to = range.high.map_or(self.held.len(), |high| self.held.partition_point(|id| *id <= high));
        &self.held[from..to.max(from)]
    }

    fn suspect(&mut self, suspect: Suspect) {
        if suspect.count != self.between(suspect.range).len() as u64 {
            self.todo.push(suspect);
        }
    }

    /// The next request; none when the search is over.
    pub fn ask(&mut self) -> Option<Ask> {
        let suspect = self.todo.pop()?;
        self.asks += 1;
        let inside = self.between(suspect.range);
        let middle = self.worth_halving(suspect, inside).then(|| inside[(inside.len() - 1) / 2]);
        self.asked = Some((suspect, middle));
        Some(match middle {
            Some(middle) => Ask::Count(Range { high: Some(middle), ..suspect.range }),
            None => Ask::List(suspect.range),
        })
    }

    fn worth_halving(&self, suspect: Suspect, inside: &[i64]) -> bool {
        let held = inside.len() as u64;
        if held < 2 || held <= self.page {
            return false;
        }
        let pages = suspect.count.max(held).div_ceil(self.page);
        let differ = suspect.count.abs_diff(held);
        match self.purpose {
            // Each difference costs a count for every halving.
            Purpose::Differences => differ.saturating_mul(u64::from(pages.ilog2()) + 1) < pages,
            Purpose::Rest => self.asks < pages.max(8),
        }
    }

    /// Takes in a count.
    pub fn counted(&mut self, count: u64) {
        let Some((suspect, Some(middle))) = self.asked.take() else { return };
        let lower = Range { high: Some(middle), ..suspect.range };
        let upper = Range { low: Some(middle.saturating_add(1)), ..suspect.range };
        self.suspect(Suspect { range: upper, count: suspect.count.saturating_sub(count) });
        self.suspect(Suspect { range: lower, count });
    }

    /// Takes in a complete list.
    pub fn listed(&mut self, ids: &HashSet<i64>) {
        let Some((suspect, None)) = self.asked.take() else { return };
        let inside = self.between(suspect.range);
        let gone: Vec<i64> = inside.iter().copied().filter(|id| !ids.contains(id)).collect();
        let known: HashSet<i64> = inside.iter().copied().collect();
        self.gone.extend(gone);
        self.new.extend(ids.iter().copied().filter(|id| !known.contains(id)));
    }

    /// Ids held that the service no longer has.
    pub fn gone(&self) -> &[i64] {
        &self.gone
    }

    /// Ids the service has that are not held.
    pub fn new_ids(&self) -> &[i64] {
        &self.new
    }
}
