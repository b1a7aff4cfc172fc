//! What is gone, and what appeared unannounced: found by counts, and by complete lists of ids where they
//! differ. Nothing is deleted on the word of a count.

use assets::value::Row;
use delta::search::{Ask, Purpose, Range, Search};
use delta::sift::{Takes, Unit, parts, units};

use super::changes::{Seen, Window, one_of, refused_or_raise, stamp_of, type_of};
use super::{Group, Stop};
use crate::catalog::{any_of, type_filter};

/// About so many ids are on a page, at least.
const PAGE: u64 = 100;
/// More objects than these that nothing announced are left to a full comparison, and so are references to
/// more that are gone.
pub(super) const UNANNOUNCED: usize = 2000;
/// Ids named in one query (assets-api.md 13).
pub(super) const IDS: usize = 50;

impl Group {
    /// Compares each unit of the group, with a part of each where asked for. What is wrong with one is not the
    /// others'.
    pub(super) fn compare_all(&mut self, in_parts: bool) -> Result<(), Stop> {
        for unit in self.units() {
            let compared = if in_parts {
                self.compare_in_parts(&unit)
            } else {
                self.compare(&unit, &unit.members).map(|_| ())
            };
            match compared {
                Ok(()) => {}
                Err(Stop::Over) => return Err(Stop::Over),
                Err(Stop::Unaskable { refused: true, .. })
                    if self.members[unit.members[0]].bound.own.is_some() =>
                {
                    self.condition_refused(unit.members[0]);
                }
                Err(Stop::Unaskable { why, .. }) => {
                    for n in unit.members {
                        self.outdated(n, &why)?;
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn units(&mut self) -> Vec<Unit> {
        let mut rows = Vec::new();
        let mut due = Vec::new();
        for n in self.due() {
            if let Some(after) = self.with(n, |member| member.rows_after()) {
                due.push(n);
                rows.push(after);
            }
        }
        let takes: Vec<_> = due.iter().map(|n| self.members[*n].takes.clone()).collect();
        let mut units = units(&takes, &rows);
        for unit in &mut units {
            unit.members.iter_mut().for_each(|n| *n = due[*n]);
            unit.apart.iter_mut().for_each(|(n, _)| *n = due[*n]);
        }
        units
    }

    /// The condition that selects what the replicas of a unit hold together, none of which has a condition of
    /// its own. Objects of a type that is not known yet are counted, too, where one takes it in.
    fn kinds_of(&self, unit: &Unit) -> String {
        let bounds = || unit.members.iter().map(|n| &self.members[*n].bound);
        if bounds().all(|bound| !bound.asks_below) {
            return type_filter(&unit.types);
        }
        let mut types: Vec<i64> =
            bounds().filter(|b| !b.asks_below).flat_map(|b| b.types.iter().copied()).collect();
        types.sort_unstable();
        types.dedup();
        let mut parts: Vec<String> =
            bounds().filter(|bound| bound.asks_below).map(|bound| bound.kinds.clone()).collect();
        parts.sort_unstable();
        parts.dedup();
        if !types.is_empty() {
            parts.push(type_filter(&types));
        }
        any_of(&parts)
    }

    /// The same for one unit. Where the sum agrees, a part of it may not: `Updated` need not tell that an object was
    /// moved from one type to another (assets-api.md does not say). One part is counted in each run, another one
    /// each time.
    fn compare_in_parts(&mut self, unit: &Unit) -> Result<(), Stop> {
        let seed = self.leader().run.as_ref().map_or(0, |run| run.id.unsigned_abs());
        let takes: Vec<Takes> = self.members.iter().map(|member| member.takes.clone()).collect();
        if self.compare(unit, &unit.members)?
            && let Some((one, other)) = parts(unit, &takes, seed)
            && !self.compare(&one, &unit.members)?
        {
            self.compare(&other, &unit.members)?;
        }
        Ok(())
    }

    /// The condition that selects what a unit holds.
    pub(super) fn filter_of(&self, unit: &Unit) -> String {
        let first = &self.members[unit.members[0]];
        match &first.bound.own {
            Some(_) => format!("({})", first.bound.filter),
            None => self.kinds_of(unit),
        }
    }

    /// Compares how many objects there are with how many there will be, and finds the difference; `others` get what
    /// is new to it as well. Whether there was none.
    fn compare(&mut self, unit: &Unit, others: &[usize]) -> Result<bool, Stop> {
        let filter = self.filter_of(unit);
        let count = self.count(filter.clone())?;
        if count == unit.rows {
            return Ok(true);
        }
        self.progress("searching")?;
        let mut held = Vec::new();
        for n in &unit.members {
            match self.with(*n, |member| member.ids_after()) {
                Some(ids) => held.extend(ids),
                // The count is of one that is out now: the next run's.
                None => return Ok(true),
            }
        }
        let mut search = Search::new(Purpose::Differences, held, count, PAGE);
        while let Some(ask) = search.ask() {
            match ask {
                Ask::Count(range) => search.counted(self.count(format!("{filter}{}", range.and()))?),
                Ask::List(range) => {
                    let ids = self.ids(format!("{filter}{}", range.and()))?;
                    if ids.iter().any(|id| !within(range, *id)) {
                        return Err(Stop::unaskable("the service ignores ranges of ids"));
                    }
                    search.listed(&ids);
                }
            }
        }
        self.unsettled |= !search.gone().is_empty();
        self.gone.extend(search.gone());
        for n in &unit.members {
            self.members[*n].pending.out.extend(search.gone());
        }
        if search.new_ids().len() > UNANNOUNCED {
            let why = format!("{} objects are new that no change announced", search.new_ids().len());
            return Err(Stop::unaskable(why));
        }
        for ids in search.new_ids().chunks(IDS) {
            self.bring(others, &filter, ids)?;
        }
        Ok(false)
    }

    /// Brings objects that nothing announced. Those that changed after the changes were asked for are the
    /// next look's, or the next run's: as they are now, they belong to a later moment than the others.
    fn bring(&mut self, members: &[usize], filter: &str, ids: &[i64]) -> Result<(), Stop> {
        let later = self.since.there.filter(|_| self.bound(Window::Again(self.since)).is_some());
        let mut pages = self.pages(format!("{filter} AND {}", one_of(ids)), self.columns.clone());
        while let Some(page) = pages.next().map_err(refused_or_raise)? {
            self.unsettled |= !page.rows.is_empty();
            for n in members.iter().copied() {
                self.expect_known_types(n, &page)?;
            }
            // Counted with those below a type, and not known to be: the type was moved there.
            let is_nobodys =
                |row: &Row| !members.iter().any(|n| self.members[*n].takes.types.contains(&type_of(row)));
            if page.rows.iter().any(is_nobodys) {
                let below = |n: &usize| self.members[*n].bound.asks_below && self.course.is_due(*n);
                for n in members.iter().copied().filter(below).collect::<Vec<_>>() {
                    self.outdated(n, "an object type is below another one now")?;
                }
            }
            let (_, rows): (Vec<&Row>, Vec<&Row>) =
                page.rows.iter().partition(|row| later.is_some_and(|at| stamp_of(row) >= Some(at)));
            for row in &rows {
                self.seen.insert(row.id, Seen::of(row));
            }
            for n in members {
                let takes = self.members[*n].takes.clone();
                let mine: Vec<&Row> =
                    rows.iter().copied().filter(|row| takes.types.contains(&type_of(row))).collect();
                self.stage(*n, &mine);
            }
        }
        Ok(())
    }
}

fn within(range: Range, id: i64) -> bool {
    range.low.is_none_or(|low| id >= low) && range.high.is_none_or(|high| id <= high)
}
