//! An incremental refresh of a group: replicas of one server, object schema and owner, refreshed
//! together and committed together, so that joins between them see one state.
//!
//! ```text
//!  one AQL: what changed in the object schema      pages with attributes
//!  for replicas with a condition: which pass       pages of ids
//!  one count of the group                          differs? ranges, halves, pages of ids
//!  objects that appeared unannounced               by id
//!  what became of those that are gone              by id, for references to them
//!  difference, references, results                 one short transaction
//! ```
//!
//! What is decided is in crates/delta; here it is asked, and written down.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use assets::error::{Error, Kind};
use assets::stats::ScanStats;
use assets::value::{ColumnSpec, Decode, Field, Page, Row, ScanSpec, Source, Value};
use delta::search::{Ask, Purpose, Range, Search};
use delta::sift::{Fate, Unit, units};
use delta::since::{Manner, Moment, Since};
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::failure::{self, Failure};
use super::full::requests;
use super::history::{self, Figures, Mode, Run};
use super::jobs::{self, Job};
use super::member::Member;
use super::references::Referenced;
use super::refresh::{self, find};
use super::source;
use super::standing::{self, Standing};
use super::txn::{make_durable, transaction};
use super::worker;
use crate::catalog::type_filter;
use crate::runtime::PageStream;
use crate::session::Connection;
use crate::{error, gucs, runtime};

/// About so many ids are on a page, at least.
const PAGE: u64 = 100;
/// Ids named in one query (assets-api.md 13).
const IDS: usize = 50;
/// More objects than these that nothing announced are left to a full comparison, and so are references to
/// more that are gone.
const UNANNOUNCED: usize = 2000;

/// Columns that are read of every object, before those of the members.
const COMMON: [ColumnSpec; 2] = [
    ColumnSpec { source: Source::Field(Field::ObjectTypeId), decode: Decode::Int, array: false },
    ColumnSpec { source: Source::Field(Field::Label), decode: Decode::Text, array: false },
];

/// Who is refreshed.
pub struct Party<'a> {
    /// The replica that the run is for.
    pub job: &'a Job,
    /// Its run, noted as under way.
    pub run: &'a Run,
    /// The share of its rows that may be deleted.
    pub share: f64,
    /// Whether others of its group that are due come along.
    pub others: bool,
    /// Whether those beside it in its schema do, due or not.
    pub neighbours: bool,
}

/// Everything has to be compared instead, for this reason.
struct Full(String);

/// Refreshes a group. What becomes of each replica is noted; `Err` says why the one that the run is for
/// has to be compared in full instead, its run still under way.
pub fn run(party: &Party<'_>) -> Result<(), String> {
    let began = Instant::now();
    let mut group = match failure::catch(|| gather(party)) {
        Ok(Ok(group)) => group,
        Ok(Err(why)) => return Err(why),
        Err(failure) => {
            refresh::failed(party.job, party.run, &Figures::default(), &failure);
            return Ok(());
        }
    };
    let outcome = failure::catch(|| group.work(began));
    match outcome {
        Ok(Ok(())) => {
            for member in group.members.iter().filter(|m| m.is_due()) {
                refresh::analyze(&member.job, &member.figures);
            }
            Ok(())
        }
        Ok(Err(Full(why))) => {
            group.put_off(&why);
            if group.leader().failed { Ok(()) } else { Err(why) }
        }
        Err(failure) => {
            group.fail_all(&failure);
            Ok(())
        }
    }
}

struct Group {
    /// The one that the run is for comes first.
    members: Vec<Member>,
    connection: Rc<Connection>,
    schema: i64,
    manner: Manner,
    columns: Arc<[ColumnSpec]>,
    /// An object that changed, by id: its key and label now.
    changed: HashMap<i64, (String, Option<String>)>,
    gone: HashSet<i64>,
    since: Moment,
}

/// Who takes part: the replica itself, others of its group that are due, and those that are not but
/// whose references may have to be put right. Each is locked, and noted as under way if it is due.
fn gather(party: &Party<'_>) -> Result<Group, String> {
    let others =
        transaction(|| if find(party.job.target).is_some() { jobs::group_of(party.job) } else { Vec::new() });
    let Some(standing) = transaction(|| standing::read(party.job.target)) else {
        return Err("nothing is kept of it".to_owned());
    };
    let (Some(schema), Some(manner), Some(_)) = (standing.schema, standing.manner, standing.since) else {
        return Err("nothing is kept of it that changes could be asked for by".to_owned());
    };
    let mut candidates = vec![(party.job.clone(), Some(party.run.clone()), party.share, standing)];
    let share = gucs::MAX_DELETE_SHARE.get();
    for (job, due) in others {
        // Another run's: it sees for itself.
        if !worker::try_lock(job.target) {
            continue;
        }
        let begun = transaction(|| {
            let standing = standing::read(job.target)?;
            let usable = standing.schema == Some(schema) && standing.manner == Some(manner);
            if !usable || standing.since.is_none() {
                return None;
            }
            let beside = party.neighbours && jobs::are_neighbours(&job, party.job);
            let run = (due && party.others || beside).then(|| Run {
                id: history::next_run(),
                reason: party.run.reason.clone(),
                mode: Mode::Incremental,
                with_run: Some(party.run.id),
                note: None,
                began: party.run.began,
            });
            if let Some(run) = &run {
                history::begin(&job, run);
                make_durable();
            }
            Some((run, standing))
        });
        match begun {
            Some((run, standing)) => {
                let share = if party.neighbours { party.share } else { share };
                candidates.push((job, run, share, standing));
            }
            None => worker::unlock(job.target),
        }
    }
    bind(candidates, schema, manner)
}

type Candidate = (Job, Option<Run>, f64, Standing);

/// Joins each candidate with what its source means.
fn bind(candidates: Vec<Candidate>, schema: i64, manner: Manner) -> Result<Group, String> {
    let mut members: Vec<Member> = Vec::new();
    let mut connection = None;
    let mut forgotten = None;
    for (n, (job, run, share, standing)) in candidates.into_iter().enumerate() {
        let bound = failure::catch(|| {
            let (definition, known) = transaction(|| {
                let definition = source::define(&job);
                let connection = &definition.connection;
                let fingerprint = standing::definition(job.source, job.target, connection);
                let known = standing::remember(job.target, &fingerprint, connection);
                (definition, known)
            });
            connection.get_or_insert_with(|| definition.connection.clone());
            known.then(|| definition.bind(&job))
        });
        let problem = match bound {
            Ok(Some(bound)) if bound.schema_id == schema => {
                members.push(Member::new(job, run, share, standing, bound));
                continue;
            }
            Ok(_) => Ok("its definition, or what it shows, has changed"),
            Err(failure) => Err(failure),
        };
        match (n, problem, run) {
            (0, Ok(why), _) => forgotten = Some(why.to_owned()),
            (0, Err(failure), _) => failure.raise(None),
            (_, Ok(why), Some(run)) => transaction(|| {
                history::put_off(&job, &run, why);
                standing::want_full(job.target);
            }),
            (_, Err(failure), Some(run)) => refresh::failed(&job, &run, &Figures::default(), &failure),
            (_, _, None) => {}
        }
        if forgotten.is_none() {
            worker::unlock(job.target);
        }
    }
    if let Some(why) = forgotten {
        // The others are due still.
        for member in members {
            transaction(|| {
                if let Some(run) = &member.run {
                    history::put_off(&member.job, run, &why);
                }
            });
            worker::unlock(member.job.target);
        }
        return Err(why);
    }
    let Some(connection) = connection else { return Err("nothing is known of its source".to_owned()) };
    let mut columns = COMMON.to_vec();
    for member in &mut members {
        let from = columns.len();
        if member.run.is_some() {
            columns.extend(&member.bound.specs);
        }
        member.slice = from..columns.len();
    }
    Ok(Group {
        members,
        connection,
        schema,
        manner,
        columns: columns.into(),
        changed: HashMap::new(),
        gone: HashSet::new(),
        since: Moment { here: 0, there: None },
    })
}

impl Group {
    fn leader(&self) -> &Member {
        &self.members[0]
    }

    fn work(&mut self, began: Instant) -> Result<(), Full> {
        self.changes()?;
        self.verdicts()?;
        self.leave_behind();
        for unit in self.units() {
            self.compare(&unit)?;
        }
        let referenced = self.referenced()?;
        let fetched = began.elapsed().as_secs_f64();
        let sent = requests(&self.connection);
        for (n, member) in self.members.iter_mut().enumerate() {
            member.figures.fetch_seconds = fetched;
            // All requests are the group's; they are shown once.
            member.figures.requests = if n == 0 { sent } else { 0 };
        }
        self.write(&referenced);
        Ok(())
    }

    fn due(&mut self) -> impl Iterator<Item = &mut Member> {
        self.members.iter_mut().filter(|m| m.is_due())
    }

    /// What changed since the success that lies furthest back, for all members at once.
    fn changes(&mut self) -> Result<(), Full> {
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
    fn sift(&mut self, page: &Page) -> Result<(), Full> {
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
    fn expect_known_types(&mut self, n: usize, page: &Page) -> Result<(), Full> {
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

    fn stage(&mut self, n: usize, rows: &[&Row]) {
        let member = &mut self.members[n];
        if !member.is_due() || rows.is_empty() {
            return;
        }
        if let Err(failure) = member.stage(rows) {
            self.fail(n, &failure);
        }
    }

    /// Of objects that were brought for a replica with a condition of its own: which pass it.
    fn verdicts(&mut self) -> Result<(), Full> {
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
    fn standing_since(&mut self) -> Option<Since> {
        let manner = self.manner;
        let now = Moment { here: worker::now(), there: self.connection.client.service_time() };
        let lasts: Vec<Moment> = self.due().filter_map(|m| m.standing.since).collect();
        let last = lasts.into_iter().min_by_key(|last| last.there.unwrap_or(last.here))?;
        Since::after(manner, last, now)
    }

    /// Changed objects that a replica holds although they are no longer of its types.
    fn leave_behind(&mut self) {
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

    fn units(&self) -> Vec<Unit> {
        let due: Vec<usize> = (0..self.members.len()).filter(|n| self.members[*n].is_due()).collect();
        let takes: Vec<_> = due.iter().map(|n| self.members[*n].takes.clone()).collect();
        let mut units = units(&takes);
        for unit in &mut units {
            unit.members.iter_mut().for_each(|n| *n = due[*n]);
        }
        units
    }

    /// Compares how many objects there are with how many there will be, and finds the difference.
    fn compare(&mut self, unit: &Unit) -> Result<(), Full> {
        let first = &self.members[unit.members[0]];
        let filter = match &first.bound.own {
            Some(_) => format!("({})", first.bound.filter),
            None => type_filter(&unit.types),
        };
        let after: u64 = transaction(|| unit.members.iter().map(|n| self.members[*n].rows_after()).sum());
        let count = self.count(filter.clone())?;
        if count == after {
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
    fn bring(&mut self, unit: &Unit, filter: &str, ids: &[i64]) -> Result<(), Full> {
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
    fn referenced(&mut self) -> Result<Vec<Referenced>, Full> {
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

    /// Writes everything in one transaction. A member that cannot be written is left out of it.
    fn write(&mut self, referenced: &[Referenced]) {
        self.progress("applying");
        loop {
            let applying = Instant::now();
            let mut at = 0;
            let written = failure::catch(|| transaction(|| self.write_all(referenced, &mut at, applying)));
            match written {
                Ok(()) => return,
                // Stopped from outside: nobody's own fault.
                Err(failure) if failure.is_interruption() => failure.raise(None),
                Err(failure) => {
                    self.fail(at, &failure);
                    if self.due().next().is_none() {
                        return;
                    }
                }
            }
        }
    }

    fn write_all(&mut self, referenced: &[Referenced], at: &mut usize, applying: Instant) {
        // Always in the same order, so that two runs never wait for each other in a circle.
        let mut order: Vec<usize> = (0..self.members.len()).filter(|n| !self.members[*n].failed).collect();
        order.sort_by_key(|n| self.members[*n].job.target.to_u32());
        for n in order {
            *at = n;
            let member = &mut self.members[n];
            if member.run.is_none() && (referenced.is_empty() || member.bound.references.is_empty()) {
                continue;
            }
            source::lock_relation(member.job.target, pg_sys::RowExclusiveLock);
            member.job = refresh::still_there(&member.job);
            member.apply(referenced);
        }
        *at = 0;
        let leader = &self.members[0];
        let base = match &leader.run {
            Some(run) => history::next_base(&leader.job, run),
            None => worker::now(),
        };
        for (n, member) in self.members.iter_mut().enumerate() {
            *at = n;
            if member.failed {
                continue;
            }
            let Some(run) = &member.run else { continue };
            member.warn();
            member.figures.apply_seconds = applying.elapsed().as_secs_f64();
            refresh::notify(&member.job, run, &member.figures);
            history::succeeded(&member.job, run, base, &member.figures);
            standing::keep(member.job.target, self.since, None);
        }
    }

    /// One member's own failure.
    fn fail(&mut self, n: usize, failure: &Failure) {
        let member = &mut self.members[n];
        member.failed = true;
        if let Some(run) = &member.run {
            refresh::failed(&member.job, run, &member.figures, failure);
        }
    }

    /// Everybody's.
    fn fail_all(&mut self, failure: &Failure) {
        let sent = requests(&self.connection);
        for n in 0..self.members.len() {
            if !self.members[n].failed {
                self.members[n].figures.requests = if n == 0 { sent } else { 0 };
                self.fail(n, failure);
            }
        }
    }

    /// Ends the runs of all but the one that the run is for.
    fn put_off(&mut self, why: &str) {
        for member in self.members.iter().skip(1).filter(|m| m.is_due()) {
            let noted = failure::catch(|| {
                transaction(|| {
                    if let Some(run) = &member.run {
                        history::put_off(&member.job, run, why);
                        standing::want_full(member.job.target);
                    }
                });
            });
            if let Err(failure) = noted {
                failure.log(&format!("the refresh of {} could not be put off", member.job.name));
            }
        }
        self.members.iter().skip(1).for_each(|member| worker::unlock(member.job.target));
    }

    fn progress(&self, phase: &str) {
        transaction(|| {
            // Also stops a run whose extension is gone.
            refresh::still_there(&self.leader().job);
            for member in self.members.iter().filter(|m| m.is_due()) {
                if let Some(run) = &member.run {
                    history::progress(member.job.target, run, phase, member.figures.seen, None);
                }
            }
        });
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
