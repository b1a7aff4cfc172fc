//! What is asked of the service for a group: what changed, what is gone, and what became of that.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use assets::error::{Error, Kind};
use assets::stats::ScanStats;
use assets::value::{ColumnSpec, Decode, Field, Page, Row, ScanSpec, Source, Value};
use delta::search::{Ask, Purpose, Range, Search};
use delta::sift::{Fate, Unit, units};
use delta::since::{Moment, Since};
use pgrx::prelude::*;

use super::super::failure::{self, Failure};
use super::super::history;
use super::super::member::Member;
use super::super::references::Referenced;
use super::super::standing;
use super::super::txn::transaction;
use super::super::worker;
use super::{Full, Group};
use crate::catalog::type_filter;
use crate::runtime::PageStream;
use crate::{error, runtime};

/// About so many ids are on a page, at least.
const PAGE: u64 = 100;
/// Ids named in one query (assets-api.md 13).
const IDS: usize = 50;
/// More objects than these that nothing announced are left to a full comparison, and so are references to
/// more that are gone.
const UNANNOUNCED: usize = 2000;

/// Columns that are read of every object, before those of the members.
pub(super) const COMMON: [ColumnSpec; 2] = [
    ColumnSpec { source: Source::Field(Field::ObjectTypeId), decode: Decode::Int, array: false },
    ColumnSpec { source: Source::Field(Field::Label), decode: Decode::Text, array: false },
];

impl Group {
    /// What changed since the success that lies furthest back, for all members at once.
    pub(super) fn changes(&mut self) -> Result<(), Full> {
        self.progress("fetching");
        let client = self.connection.client.clone();
        let lasts: Vec<Moment> = self.due().filter_map(|m| m.standing.since).collect();
        let Some(last) = lasts.into_iter().min_by_key(|last| last.there.unwrap_or(last.here)) else {
            return Ok(());
        };
        let now = Moment { here: worker::now(), there: client.service_time() };
        let Some(mut since) = Since::after(self.manner, last, now) else {
            return Err(Full("the clock was set back".to_owned()));
        };
        loop {
            let aql = format!("objectSchemaId = {} AND {since}", self.schema);
            let mut pages = self.pages(aql, self.columns.clone());
            let mut first = true;
            loop {
                let page = pages.next().map_err(refused_or_raise)?;
                if std::mem::replace(&mut first, false) {
                    self.since = Moment { here: now.here, there: client.service_time() };
                    if let Some(more) = since.too_late(last, self.since.there) {
                        since = more;
                        break;
                    }
                }
                match page {
                    Some(page) => self.sift(&page)?,
                    None => return Ok(()),
                }
            }
        }
    }

    /// Deals the objects of a page out to the members whose types they are of.
    pub(super) fn sift(&mut self, page: &Page) -> Result<(), Full> {
        for row in &page.rows {
            self.changed.insert(row.id, (row.key.to_string(), label_of(row)));
        }
        for n in 0..self.members.len() {
            self.expect_known_types(n, page)?;
            let member = &self.members[n];
            let rows: Vec<&Row> =
                page.rows.iter().filter(|row| member.takes.fate(type_of(row)) != Fate::Away).collect();
            self.stage(n, &rows);
        }
        self.progress("fetching");
        Ok(())
    }

    /// An object of a type that was not there when the source was last looked at may belong to a source
    /// that takes descendants in: such a replica compares everything.
    pub(super) fn expect_known_types(&mut self, n: usize, page: &Page) -> Result<(), Full> {
        let member = &self.members[n];
        let Some(known) = member.bound.known.as_ref().filter(|_| member.is_due()) else { return Ok(()) };
        if page.rows.iter().all(|row| known.contains(&type_of(row))) {
            return Ok(());
        }
        let why = "there is a new object type, which it may take in";
        if n == 0 {
            return Err(Full(why.to_owned()));
        }
        transaction(|| {
            if let Some(run) = &member.run {
                history::put_off(&member.job, run, why);
                standing::want_full(member.job.target);
            }
        });
        // Not due any more, as far as this run is concerned.
        self.members[n].run = None;
        Ok(())
    }

    pub(super) fn stage(&mut self, n: usize, rows: &[&Row]) {
        let member = &mut self.members[n];
        if !member.is_due() || rows.is_empty() {
            return;
        }
        if let Err(failure) = member.stage(rows) {
            self.fail(n, &failure);
        }
    }

    /// Of objects that were brought for a replica with a condition of its own: which pass it.
    pub(super) fn verdicts(&mut self) -> Result<(), Full> {
        for n in 0..self.members.len() {
            let member = &self.members[n];
            if !member.is_due() || !member.takes.filtered || member.pending.brought.is_empty() {
                continue;
            }
            let filter = member.bound.filter.clone();
            let Some(since) = self.standing_since() else { return Ok(()) };
            let aql = format!("{filter} AND {since}");
            match failure::catch(|| self.ids(aql)) {
                Ok(Ok(passed)) => {
                    let pending = &mut self.members[n].pending;
                    let failed: Vec<i64> = pending.brought.difference(&passed).copied().collect();
                    pending.brought.retain(|id| passed.contains(id));
                    pending.out.extend(failed);
                }
                // The condition is this replica's own.
                Ok(Err(Full(_))) => {
                    let failure = Failure::new(
                        PgSqlErrorCode::ERRCODE_FDW_UNABLE_TO_CREATE_EXECUTION,
                        format!("the service refuses the condition of {}", self.members[n].job.name),
                    )
                    .with_hint("Correct the option aql of the foreign table.");
                    self.fail(n, &failure);
                }
                Err(failure) if failure.is_of_service() => failure.raise(None),
                Err(failure) => self.fail(n, &failure),
            }
        }
        Ok(())
    }

    /// A bound no later than the one that the changes were asked for by.
    pub(super) fn standing_since(&mut self) -> Option<Since> {
        let manner = self.manner;
        let now = Moment { here: worker::now(), there: self.connection.client.service_time() };
        let lasts: Vec<Moment> = self.due().filter_map(|m| m.standing.since).collect();
        let last = lasts.into_iter().min_by_key(|last| last.there.unwrap_or(last.here))?;
        Since::after(manner, last, now)
    }

    /// Changed objects that a replica holds although they are no longer of its types.
    pub(super) fn leave_behind(&mut self) {
        if self.changed.is_empty() {
            return;
        }
        let ids: Vec<i64> = self.changed.keys().copied().collect();
        for n in 0..self.members.len() {
            if !self.members[n].is_due() {
                continue;
            }
            let left = failure::catch(|| {
                transaction(|| {
                    let member = &self.members[n];
                    let known =
                        |id: &i64| member.pending.brought.contains(id) || member.pending.out.contains(id);
                    let away: Vec<i64> = ids.iter().copied().filter(|id| !known(id)).collect();
                    member.held(&away)
                })
            });
            match left {
                Ok(left) => self.members[n].pending.out.extend(left),
                Err(failure) => self.fail(n, &failure),
            }
        }
    }

    pub(super) fn units(&self) -> Vec<Unit> {
        let due: Vec<usize> = (0..self.members.len()).filter(|n| self.members[*n].is_due()).collect();
        let takes: Vec<_> = due.iter().map(|n| self.members[*n].takes.clone()).collect();
        let rows: Vec<u64> = transaction(|| due.iter().map(|n| self.members[*n].rows_after()).collect());
        let mut units = units(&takes, &rows);
        for unit in &mut units {
            unit.members.iter_mut().for_each(|n| *n = due[*n]);
        }
        units
    }

    /// Compares how many objects there are with how many there will be, and finds the difference.
    pub(super) fn compare(&mut self, unit: &Unit) -> Result<(), Full> {
        let first = &self.members[unit.members[0]];
        let filter = match &first.bound.own {
            Some(_) => format!("({})", first.bound.filter),
            None => type_filter(&unit.types),
        };
        let count = self.count(filter.clone())?;
        if count == unit.rows {
            return Ok(());
        }
        self.progress("searching");
        let held: HashSet<i64> =
            transaction(|| unit.members.iter().flat_map(|n| self.members[*n].ids_after()).collect());
        let mut search = Search::new(Purpose::Differences, held, count, PAGE);
        while let Some(ask) = search.ask() {
            match ask {
                Ask::Count(range) => search.counted(self.count(format!("{filter}{}", range.and()))?),
                Ask::List(range) => {
                    let ids = self.ids(format!("{filter}{}", range.and()))?;
                    if ids.iter().any(|id| !within(range, *id)) {
                        return Err(Full("the service ignores ranges of ids".to_owned()));
                    }
                    search.listed(&ids);
                }
            }
        }
        self.gone.extend(search.gone());
        for n in &unit.members {
            self.members[*n].pending.out.extend(search.gone());
        }
        if search.new_ids().len() > UNANNOUNCED {
            return Err(Full(format!("{} objects are new that no change announced", search.new_ids().len())));
        }
        for ids in search.new_ids().chunks(IDS) {
            self.bring(unit, &filter, ids)?;
        }
        Ok(())
    }

    /// Brings objects that nothing announced.
    pub(super) fn bring(&mut self, unit: &Unit, filter: &str, ids: &[i64]) -> Result<(), Full> {
        let mut pages = self.pages(format!("{filter} AND {}", one_of(ids)), self.columns.clone());
        while let Some(page) = pages.next().map_err(refused_or_raise)? {
            for n in &unit.members {
                let takes = self.members[*n].takes.clone();
                let rows: Vec<&Row> =
                    page.rows.iter().filter(|row| takes.types.contains(&type_of(row))).collect();
                self.stage(*n, &rows);
            }
        }
        Ok(())
    }

    /// Objects that rows may refer to by a key or label that is no longer theirs.
    pub(super) fn referenced(&mut self) -> Result<Vec<Referenced>, Full> {
        let refer = self.members.iter().any(|m| !m.failed && !m.bound.references.is_empty());
        if !refer || (self.changed.is_empty() && self.gone.is_empty()) {
            return Ok(Vec::new());
        }
        let ids: Vec<i64> = self.changed.keys().chain(&self.gone).copied().collect();
        let held: HashMap<i64, String> = transaction(|| {
            let keys = self.members.iter().filter(|m| !m.failed).flat_map(|m| m.held_keys(&ids));
            keys.filter_map(|(id, key)| Some((id, key?))).collect()
        });
        let mut now = self.changed.clone();
        let gone: Vec<i64> = self.gone.iter().copied().collect();
        gone.iter().for_each(|id| drop(now.remove(id)));
        if gone.len() > UNANNOUNCED {
            transaction(|| {
                self.members.iter().filter(|m| !m.bound.references.is_empty()).for_each(Member::want_full)
            });
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
            let held_key = held.get(id).cloned().or_else(|| found.as_ref().map(|(key, _)| key.clone()))?;
            let (key, label) = found.map_or((None, None), |(key, label)| (Some(key), label));
            Some(Referenced { held_key, key, label })
        };
        Ok(self.changed.keys().chain(&self.gone).collect::<HashSet<_>>().into_iter().filter_map(of).collect())
    }

    fn pages(&self, filter: String, columns: Arc<[ColumnSpec]>) -> PageStream {
        let spec = ScanSpec { filter, columns, limit: None, most: None };
        PageStream::start(self.connection.client.clone(), spec, Arc::new(ScanStats::default()))
    }

    /// The complete list of ids that match.
    fn ids(&self, filter: String) -> Result<HashSet<i64>, Full> {
        let mut pages = self.pages(filter, Arc::from([]));
        let mut ids = HashSet::new();
        while let Some(page) = pages.next().map_err(refused_or_raise)? {
            ids.extend(page.rows.iter().map(|row| row.id));
        }
        Ok(ids)
    }

    fn count(&self, filter: String) -> Result<u64, Full> {
        let client = self.connection.client.clone();
        runtime::wait(async move { client.total_count(&filter).await }).map_err(refused_or_raise)
    }
}

/// A refusal of the text means that changes cannot be asked for so; anything else is an ERROR.
fn refused_or_raise(error: Error) -> Full {
    if error.kind() == Kind::AqlRejected {
        return Full(format!("the service refuses what changes are asked for by: {}", error.message()));
    }
    error::service(&error)
}

fn type_of(row: &Row) -> i64 {
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
        Some(Value::Text(label)) => Some(label.to_string()),
        _ => None,
    }
}

fn one_of(ids: &[i64]) -> String {
    let list: Vec<String> = ids.iter().map(i64::to_string).collect();
    format!("objectId in ({})", list.join(", "))
}

fn within(range: Range, id: i64) -> bool {
    range.low.is_none_or(|low| id >= low) && range.high.is_none_or(|high| id <= high)
}
