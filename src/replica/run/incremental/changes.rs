//! What is asked of the service for a group: what changed, and what became of what changed or is gone.

use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use assets::error::{Error, Kind};
use assets::stats::ScanStats;
use assets::value::{ColumnSpec, Decode, Field, Page, Row, ScanSpec, Source, Value};
use delta::sift::Fate;
use delta::since::{AGAIN, Moment, Since};
use pgrx::prelude::*;

use super::super::member::Member;
use super::super::references::{Held, Referenced};
use super::super::refresh;
use super::counts::{IDS, UNANNOUNCED};
use super::{Group, Stop};
use crate::runtime::PageStream;
use crate::sql::clock;
use crate::sql::failure::Failure;
use crate::sql::txn::transaction;
use crate::{error, runtime};
use course::Befell;

/// So often the service is asked what changed before a run takes what it has: a service in which something
/// changes all the time may never be calm.
const LOOKS: usize = 16;
/// From this look on the questions follow each other at once.
const CLOSELY: usize = 2;
/// More changes than these within the last minutes are not asked for twice.
const YOUNG: usize = 400;

/// Columns that are read of every object, before those of the members.
pub(super) const COMMON: [ColumnSpec; 3] = [
    ColumnSpec { source: Source::Field(Field::ObjectTypeId), decode: Decode::Int, array: false },
    ColumnSpec { source: Source::Field(Field::Label), decode: Decode::Text, array: false },
    refresh::UPDATED,
];

/// An object as a run has read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    updated: Option<i64>,
    /// Of all its values: `Updated` may be too coarse to tell two changes apart.
    hash: u64,
}

impl Seen {
    pub(super) fn of(row: &Row) -> Self {
        let mut hasher = std::hash::DefaultHasher::new();
        row.key.hash(&mut hasher);
        // Most columns are those of other types.
        for (n, value) in row.values.iter().enumerate().filter(|(_, value)| **value != Value::Null) {
            (n, serde_json::to_vec(value).unwrap_or_default()).hash(&mut hasher);
        }
        Self { updated: stamp_of(row), hash: hasher.finish() }
    }
}

/// Which changes a look asks for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Window {
    /// Those since the success that lies furthest back.
    Since(Moment),
    /// Those since an answer of the look before.
    Again(Moment),
}

impl Group {
    /// Asks what changed and what is gone, until nothing changed while that was asked: then what was found
    /// is what the service had at one moment.
    ///
    /// The answers to one look come from different moments, so that an object may be read as it was before a
    /// change and another as it is after it. A second look brings whatever changed since the first; where
    /// it shows nothing new, there was nothing, and where it shows something, there are others, whose questions
    /// follow each other at once. A run that finds no calm in all of them says so.
    pub(super) fn look(&mut self) -> Result<(), Stop> {
        let lasts: Vec<Moment> =
            self.due().into_iter().filter_map(|n| self.members[n].standing.since).collect();
        let Some(last) = lasts.into_iter().min_by_key(|last| last.there.unwrap_or(last.here)) else {
            return Ok(());
        };
        let mut window = Window::Since(last);
        for round in 0..LOOKS {
            let settled = !std::mem::replace(&mut self.unsettled, false);
            let calm = match round {
                0 => self.look_once(window, None)?,
                n if n < CLOSELY => self.look_once(window, Some(settled))?,
                _ => self.look_closely(window)?,
            };
            if calm {
                return Ok(());
            }
            if self.young() > YOUNG {
                break;
            }
            window = Window::Again(self.since);
            if self.bound(window).is_none() {
                break;
            }
            self.members.iter_mut().for_each(Member::look_again);
        }
        self.restless = true;
        Ok(())
    }

    /// One look; says whether nothing can have happened meanwhile. `settled`: whether the one before it, if there was
    /// one, found all that is gone by one count: what was found by several requests may be half of what went together.
    fn look_once(&mut self, window: Window, settled: Option<bool>) -> Result<bool, Stop> {
        let seen = self.changes(window)?;
        if seen == 0 && settled == Some(true) {
            return Ok(true);
        }
        let asked = self.asked;
        self.verdicts(asked)?;
        self.leave_behind();
        self.compare_all(settled.is_none())?;
        Ok(seen == 0 && !self.unsettled)
    }

    /// One look at a service that changes a lot: what changed, how many there are, and what changed since, asked at
    /// once one after the other, and taken in afterwards. The time in which nothing may happen is as short as it
    /// can be then.
    fn look_closely(&mut self, window: Window) -> Result<bool, Stop> {
        self.progress("fetching")?;
        let units = self.units();
        let filters: Vec<String> = units.iter().map(|unit| self.filter_of(unit)).collect();
        let first = self.read(window)?;
        let asked = self.asked;
        // One that is refused is found out about by `compare_all`.
        let counts: Vec<Option<u64>> = filters.into_iter().map(|filter| self.count(filter).ok()).collect();
        let again = Window::Again(self.since);
        let second = self.read(again)?;
        let asked_again = self.asked;
        for page in &first {
            self.sift(page)?;
        }
        self.verdicts(asked)?;
        self.leave_behind();
        let mut now = self.units();
        let agreed = now.len() == counts.len()
            && now.iter().zip(&counts).all(|(unit, count)| Some(unit.rows) == *count);
        for (now, before) in now.iter_mut().zip(&units) {
            now.rows = before.rows;
            now.apart.clone_from(&before.apart);
        }
        let (agreed, mut later) = (agreed && now == units, 0);
        self.members.iter_mut().for_each(Member::look_again);
        for page in &second {
            later += self.sift(page)?;
        }
        if agreed && later == 0 {
            return Ok(true);
        }
        self.verdicts(asked_again)?;
        self.leave_behind();
        self.compare_all(false)?;
        Ok(false)
    }

    /// All pages of what changed, not taken in yet.
    fn read(&mut self, window: Window) -> Result<Vec<Page>, Stop> {
        let client = self.connection.client.clone();
        let now = Moment { here: clock::now(), there: client.service_time() };
        let Some(since) = self.bound(window) else {
            return Err(Stop::unaskable("the clock was set back"));
        };
        self.asked = Some((since, now.here));
        let mut pages =
            self.pages(format!("objectSchemaId = {} AND {since}", self.schema), self.columns.clone());
        let mut all = Vec::new();
        loop {
            let page = pages.next().map_err(refused_or_raise)?;
            if all.is_empty() {
                self.since = Moment { here: now.here, there: client.service_time() };
            }
            match page {
                Some(page) => all.push(page),
                None => return Ok(all),
            }
        }
    }

    /// How many objects a second look would bring although nothing happened to them.
    fn young(&self) -> usize {
        let from = self.since.there.unwrap_or(self.since.here) - 2 * AGAIN;
        self.seen.values().filter(|seen| seen.updated.is_none_or(|at| at >= from)).count()
    }

    pub(super) fn bound(&self, window: Window) -> Option<Since> {
        let now = Moment { here: clock::now(), there: self.connection.client.service_time() };
        match window {
            Window::Since(last) => Since::after(self.manner, last, now),
            Window::Again(answered) => Since::again(self.manner, answered, now),
        }
    }

    /// What changed, for all members at once. Returns how many objects that this run had not seen so.
    fn changes(&mut self, window: Window) -> Result<usize, Stop> {
        self.progress("fetching")?;
        let client = self.connection.client.clone();
        let now = Moment { here: clock::now(), there: client.service_time() };
        let Some(mut since) = self.bound(window) else {
            return Err(Stop::unaskable("the clock was set back"));
        };
        loop {
            self.asked = Some((since, now.here));
            let aql = format!("objectSchemaId = {} AND {since}", self.schema);
            let mut pages = self.pages(aql, self.columns.clone());
            let (mut first, mut seen) = (true, 0);
            loop {
                let page = pages.next().map_err(refused_or_raise)?;
                if std::mem::replace(&mut first, false) {
                    self.since = Moment { here: now.here, there: client.service_time() };
                    if let Window::Since(last) = window
                        && let Some(more) = since.too_late(last, self.since.there)
                    {
                        since = more;
                        break;
                    }
                }
                match page {
                    Some(page) => seen += self.sift(&page)?,
                    None => return Ok(seen),
                }
            }
        }
    }

    /// Deals the objects of a page out to the members whose types they are of. Returns how many there are
    /// that this run had not seen so.
    fn sift(&mut self, page: &Page) -> Result<usize, Stop> {
        let mut new: Vec<&Row> = Vec::new();
        for row in &page.rows {
            let seen = Seen::of(row);
            if self.seen.insert(row.id, seen) != Some(seen) {
                self.changed.insert(row.id, (row.key.to_string(), label_of(row)));
                self.gone.remove(&row.id);
                new.push(row);
            }
        }
        let ids: Vec<i64> = new.iter().map(|row| row.id).collect();
        for n in 0..self.members.len() {
            self.expect_known_types(n, page)?;
            let member = &mut self.members[n];
            member.supersede(&ids);
            let rows: Vec<&Row> =
                new.iter().copied().filter(|row| member.takes.fate(type_of(row)) != Fate::Away).collect();
            if member.takes.filtered && self.course.is_due(n) {
                member.undecided.extend(rows.iter().map(|row| row.id));
            }
            self.stage(n, &rows);
        }
        self.progress("fetching")?;
        Ok(new.len())
    }

    /// An object of a type that was not there when the source was last looked at may belong to a source
    /// that takes descendants in: such a replica compares everything.
    pub(super) fn expect_known_types(&mut self, n: usize, page: &Page) -> Result<(), Stop> {
        let due = self.course.is_due(n);
        let Some(known) = self.members[n].bound.known.as_ref().filter(|_| due) else { return Ok(()) };
        if page.rows.iter().all(|row| known.contains(&type_of(row))) {
            return Ok(());
        }
        self.outdated(n, "there is a new object type, which it may take in")
    }

    pub(super) fn stage(&mut self, n: usize, rows: &[&Row]) {
        if self.course.is_due(n) && !rows.is_empty() {
            self.with(n, |member| member.stage(rows));
        }
    }

    /// Of objects that were brought for a replica with a condition of its own: which pass it. `asked`: since when they
    /// were asked for, and when.
    fn verdicts(&mut self, asked: Option<(Since, i64)>) -> Result<(), Stop> {
        for n in self.due() {
            let undecided = std::mem::take(&mut self.members[n].undecided);
            if undecided.is_empty() {
                continue;
            }
            let filter = self.members[n].bound.filter.clone();
            // A bound that says how long ago moves with the time: it has to reach back as far as it did.
            let Some((since, at)) = asked else { continue };
            let since = since.later(clock::now() - at);
            let aql = format!("{filter} AND {since}");
            match self.ids(aql) {
                Ok(passed) => {
                    let refused: Vec<i64> = undecided.difference(&passed).copied().collect();
                    self.members[n].refuse(&refused);
                }
                Err(Stop::Unaskable { refused: true, .. }) => self.condition_refused(n),
                Err(stop) => return Err(stop),
            }
        }
        Ok(())
    }

    /// The condition is this replica's own.
    pub(super) fn condition_refused(&mut self, n: usize) {
        let failure = Failure::new(
            PgSqlErrorCode::ERRCODE_FDW_UNABLE_TO_CREATE_EXECUTION,
            format!("the service refuses the condition of {}", self.members[n].job.name),
        )
        .with_hint("Correct the option aql of the foreign table.");
        self.befell(n, Befell::Own, &failure);
    }

    /// Changed objects that a replica holds although they are no longer of its types.
    pub(super) fn leave_behind(&mut self) {
        if self.changed.is_empty() {
            return;
        }
        let ids: Vec<i64> = self.changed.keys().copied().collect();
        for n in self.due() {
            self.with(n, |member| {
                let known = |id: &i64| member.pending.brought.contains(id) || member.pending.out.contains(id);
                let away: Vec<i64> = ids.iter().copied().filter(|id| !known(id)).collect();
                let left = member.held(&away);
                member.pending.out.extend(left);
            });
        }
    }

    /// Objects that rows may refer to by a key or label that is no longer theirs.
    pub(super) fn referenced(&mut self) -> Result<Vec<Referenced>, Stop> {
        let going: Vec<usize> = (0..self.members.len()).filter(|n| self.course.goes(*n)).collect();
        let refer = going.iter().any(|n| !self.members[*n].bound.references.is_empty());
        self.not_found_again();
        if refer {
            self.keep_too_many();
        }
        if !refer || (self.changed.is_empty() && self.gone.is_empty()) {
            return Ok(Vec::new());
        }
        let ids: Vec<i64> = self.changed.keys().chain(&self.gone).copied().collect();
        // What each replica holds of them, and when it was refreshed last.
        let mut held: HashMap<i64, (Held, Option<Moment>)> = HashMap::new();
        for n in going {
            let names = self.with(n, |member| member.held_names(&ids)).unwrap_or_default();
            let member = &self.members[n];
            let since = member.standing.since.filter(|_| member.whole.is_none());
            let named = names.into_iter().filter(|held| held.key.is_some());
            held.extend(named.map(|held| (held.id, (held, since))));
        }
        let mut now = self.changed.clone();
        let gone: Vec<i64> = self.gone.iter().copied().collect();
        gone.iter().for_each(|id| drop(now.remove(id)));
        if gone.len() > UNANNOUNCED {
            transaction(|| {
                self.members.iter().filter(|m| !m.bound.references.is_empty()).for_each(Member::want_full)
            });
            // Those that are not there are not told in any other way, either.
            self.owe_absent();
            self.gone.clear();
        } else {
            // They may have been moved elsewhere rather than deleted.
            for ids in gone.chunks(IDS) {
                let mut pages = self.pages(one_of(ids), Arc::from(COMMON));
                while let Some(page) = pages.next().map_err(refused_or_raise)? {
                    now.extend(page.rows.iter().map(|row| (row.id, (row.key.to_string(), label_of(row)))));
                }
            }
        }
        let of = |id: &i64| {
            let found = now.get(id).cloned();
            let known = held.get(id);
            let held_key = known
                .and_then(|(held, _)| held.key.clone())
                .or_else(|| found.as_ref().map(|f| f.0.clone()))?;
            let (key, label) = found.map_or((None, None), |(key, label)| (Some(key), label));
            let same = |held: &Held| held.key == key && held.label.as_ref() == Some(&label);
            let same_since = known.filter(|(held, _)| same(held)).and_then(|(_, since)| *since);
            // A reference to an object without a label shows its key (assets::decode).
            let label = label.or_else(|| key.clone());
            Some(Referenced { held_key, key, label, same_since })
        };
        Ok(self.changed.keys().chain(&self.gone).collect::<HashSet<_>>().into_iter().filter_map(of).collect())
    }

    /// Objects that a full comparison did not find again are gone like those that a count shows, and nothing
    /// else will tell those that refer to them. Where they are more than the replica may lose, it loses none.
    pub(super) fn not_found_again(&mut self) {
        if !self.course.is_due(0) || self.leader().whole.is_none() {
            return;
        }
        let Some((held, after)) = self.with(0, |leader| (leader.held_ids(), leader.ids_after())) else {
            return;
        };
        let mut after = after;
        after.sort_unstable();
        let known = |id: &i64| after.binary_search(id).is_ok() || self.changed.contains_key(id);
        let lost: Vec<i64> = held.iter().copied().filter(|id| !known(id)).collect();
        if self.leader().may_lose().allows(lost.len() as u64, held.len() as u64) {
            self.gone.extend(lost);
        }
    }

    /// Objects that a replica keeps because they are too many to go are nobody's to be no longer referred to.
    fn keep_too_many(&mut self) {
        if self.gone.is_empty() {
            return;
        }
        let mut kept = HashSet::new();
        for n in self.due() {
            if self.members[n].whole.is_none() {
                kept.extend(self.with(n, |member| member.too_many()).unwrap_or_default());
            }
        }
        self.gone.retain(|id| !kept.contains(id));
    }

    pub(super) fn pages(&self, filter: String, columns: Arc<[ColumnSpec]>) -> PageStream {
        let spec = ScanSpec { filter, columns, limit: None, most: None, expected: None };
        PageStream::start(self.connection.client.clone(), spec, Arc::new(ScanStats::default()))
    }

    /// The complete list of ids that match.
    pub(super) fn ids(&self, filter: String) -> Result<HashSet<i64>, Stop> {
        let mut pages = self.pages(filter, Arc::from([]));
        let mut ids = HashSet::new();
        while let Some(page) = pages.next().map_err(refused_or_raise)? {
            ids.extend(page.rows.iter().map(|row| row.id));
        }
        Ok(ids)
    }

    pub(super) fn count(&self, filter: String) -> Result<u64, Stop> {
        let client = self.connection.client.clone();
        runtime::wait(async move { client.total_count(&filter).await }).map_err(|error| {
            if error.kind().refuses_counts() {
                return Stop::unaskable(error.message());
            }
            refused_or_raise(error)
        })
    }
}

/// A refusal of the text means that changes cannot be asked for so; anything else is an ERROR.
pub(super) fn refused_or_raise(error: Error) -> Stop {
    if error.kind() == Kind::NotFound {
        // What was known of the way there may be no more: a full comparison finds it anew.
        return Stop::unaskable(format!("the service is not where it was: {}", error.message()));
    }
    if error.kind() == Kind::AqlRejected {
        let why = format!("the service refuses what changes are asked for by: {}", error.message());
        return Stop::Unaskable { why, refused: true };
    }
    error::service(&error)
}

pub(super) fn type_of(row: &Row) -> i64 {
    match row.values.first() {
        Some(Value::Int(id)) => *id,
        _ => error::raise(
            PgSqlErrorCode::ERRCODE_FDW_ERROR,
            format!("the service did not say of which type object {} is", row.key),
        ),
    }
}

fn label_of(row: &Row) -> Option<String> {
    match row.values.get(1) {
        Some(Value::Text(label)) if !label.is_empty() => Some(label.to_string()),
        _ => None,
    }
}

/// When an object was last changed.
pub(super) fn stamp_of(row: &Row) -> Option<i64> {
    match row.values.get(2) {
        Some(Value::Timestamp(at)) => Some(*at),
        _ => None,
    }
}

pub(super) fn one_of(ids: &[i64]) -> String {
    let list: Vec<String> = ids.iter().map(i64::to_string).collect();
    format!("objectId in ({})", list.join(", "))
}
