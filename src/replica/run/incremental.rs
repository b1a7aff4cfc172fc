//! An incremental refresh of a group: replicas of one server, object schema and owner, refreshed
//! together and committed together, so that joins between them see one state.
//!
//! ```text
//!  one AQL: what changed in the object schema      pages with attributes
//!  for replicas with a condition: which pass       pages of ids
//!  one count of the group                          differs? ranges, halves, pages of ids
//!  objects that appeared unannounced               by id
//!  once more, if there was anything: what changed meanwhile
//!  what became of those that are gone              by id, for references to them
//!  difference, references, results                 one short transaction
//! ```
//!
//! A full comparison ends in the same way, for the replica whose objects were all read and the others of
//! its group.
//!
//! What is decided is in crates/delta; here it is asked, and written down.

mod changes;
mod counts;
mod gather;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use assets::value::ColumnSpec;
use delta::since::{Manner, Moment};
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::full::{self, requests};
use super::member::Member;
use super::references::Referenced;
use super::refresh;
use super::source;
use crate::replica::kept::history::{self, Figures, Run};
use crate::replica::kept::jobs::{self, Job};
use crate::replica::kept::load;
use crate::replica::kept::standing;
use crate::replica::process::locks::{self, GroupLock};
use crate::session::Connection;
use crate::sql::clock;
use crate::sql::failure::{self, Failure};
use crate::sql::spi::execute;
use crate::sql::txn::transaction;
use changes::Seen;

/// Who is refreshed.
pub struct Party<'a> {
    /// The replica that the run is for.
    pub job: &'a Job,
    /// Its run, noted as under way.
    pub run: &'a Run,
    /// The share of its rows that may be deleted.
    pub share: f64,
    /// Whether it is the scheduler's; else somebody waits for it.
    pub scheduled: bool,
    /// Whether that share holds for those beside it in its schema as well.
    pub neighbours: bool,
}

/// Members that a run goes on without: until their next refresh they show an earlier moment than the
/// others, so the run says so.
#[derive(Default)]
struct Left {
    targets: Vec<pg_sys::Oid>,
    named: Vec<String>,
    more: usize,
}

impl Left {
    fn add(&mut self, job: &Job, why: &str) {
        self.targets.push(job.target);
        if self.named.len() < 5 {
            self.named.push(format!("{} ({why})", job.name));
        } else {
            self.more += 1;
        }
    }

    fn note(&self) -> Option<String> {
        if self.named.is_empty() {
            return None;
        }
        let more = if self.more > 0 { format!(" and {} more", self.more) } else { String::new() };
        Some(format!("{}{}{more}", history::WITHOUT, self.named.join(", ")))
    }
}

/// So long a run waits for locks of other sessions on all of its replicas together.
const PATIENCE: Duration = Duration::from_millis(1000);

/// Everything has to be compared instead, for this reason.
struct Full(String);

/// Refreshes a group. What becomes of each replica is noted; `Err` says why the one that the run is for
/// has to be compared in full instead, its run still under way. `lock` is the group's, where the run has it.
pub fn run(party: &Party<'_>, lock: Option<GroupLock>) -> Result<(), String> {
    let began = Instant::now();
    let mut group = match failure::catch(|| gather::gather(party, lock)) {
        Ok(Ok(group)) => group,
        Ok(Err(why)) => return Err(why),
        Err(failure) => {
            refresh::failed(party.job, party.run, &Figures::default(), &failure);
            return Ok(());
        }
    };
    let outcome = failure::catch(|| group.work(began, party.scheduled));
    match outcome {
        Ok(Ok(())) => group.analyze(),
        Ok(Err(Full(why))) => {
            group.part(&why, true);
            return if group.leader().failed { Ok(()) } else { Err(why) };
        }
        Err(failure) => group.fail_all(&failure),
    }
    Ok(())
}

/// The end of a full comparison: the others of the replica's group are refreshed up to the same moment, and
/// all is written in one transaction. What becomes of each replica is noted.
///
/// A first load is written by itself while others of the group wait for theirs: nobody joins with what is
/// empty, and the last one brings them all to one moment.
pub fn finish(party: &Party<'_>, leader: Member, connection: Rc<Connection>, began: Instant) {
    let manner = leader.whole.as_ref().and_then(|whole| whole.ground.manner.as_ref().ok().copied());
    let first = leader.whole.as_ref().is_some_and(|whole| whole.first);
    let key = schedule::Group { owner: party.job.owner.to_u32(), schema: leader.bound.schema_id };
    let lock = manner.map(|_| GroupLock::take(transaction(|| jobs::server_of(party.job)), key));
    // With the lock: of two first loads that end at once, one comes after the other.
    let by_itself = first && transaction(|| jobs::loads_wait(party.job));
    let lock = lock.filter(|_| !by_itself);
    let manner = manner.unwrap_or(Manner::Relative);
    let mut group = gather::gather_around(party, leader, connection, manner, lock);
    let outcome = failure::catch(|| {
        if group.members.len() > 1 {
            let Err(Full(why)) = group.work(began, party.scheduled) else { return };
            // What was read is complete all the same, as of when that began.
            group.part(&why, true);
            group.since = group.leader().standing.since.unwrap_or(group.since);
        }
        if group.leader().is_due() {
            group.take_stock(began);
            group.write(&[], party.scheduled);
        }
    });
    match outcome {
        Ok(()) => group.analyze(),
        Err(failure) => group.fail_all(&failure),
    }
}

fn locked() -> Failure {
    Failure::new(PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE, "another session has locked the replica")
        .with_hint(
            "pg_locks shows which. The refresh is tried again; the others of its group go on meanwhile.",
        )
}

struct Group {
    /// The one that the run is for comes first.
    members: Vec<Member>,
    lock: Option<GroupLock>,
    left: Left,
    connection: Rc<Connection>,
    schema: i64,
    manner: Manner,
    columns: Arc<[ColumnSpec]>,
    /// An object that changed, by id: its key and label now.
    changed: HashMap<i64, (String, Option<String>)>,
    /// As it was read last, by id.
    seen: HashMap<i64, Seen>,
    gone: HashSet<i64>,
    /// When the service answered the last look at what changed.
    since: Moment,
    /// A look found objects of a moment after it.
    unsettled: bool,
}

impl Group {
    fn leader(&self) -> &Member {
        &self.members[0]
    }

    fn work(&mut self, began: Instant, scheduled: bool) -> Result<(), Full> {
        self.look()?;
        let referenced = self.referenced()?;
        self.take_stock(began);
        self.write(&referenced, scheduled);
        Ok(())
    }

    /// Nothing more is asked.
    fn take_stock(&mut self, began: Instant) {
        let fetched = began.elapsed().as_secs_f64();
        let sent = requests(&self.connection);
        for (n, member) in self.members.iter_mut().enumerate() {
            member.figures.fetch_seconds = fetched;
            // All requests are the group's; they are shown once.
            member.figures.requests = if n == 0 { sent } else { 0 };
        }
    }

    /// New statistics for those that changed much.
    fn analyze(&self) {
        for member in self.members.iter().filter(|m| m.is_due()) {
            refresh::analyze(&member.job, &member.figures);
        }
    }

    fn due(&mut self) -> impl Iterator<Item = &mut Member> {
        self.members.iter_mut().filter(|m| m.is_due())
    }

    /// Writes everything in one transaction. A member that cannot be written is left out of it, also one
    /// that another session has locked. For a replica that somebody waits for, the lock is waited for like
    /// any other, but by itself: the others go on with the next run.
    fn write(&mut self, referenced: &[Referenced], scheduled: bool) {
        self.progress("applying");
        // Alone, it keeps nobody waiting.
        let mut patience = (self.members.len() > 1).then(Instant::now);
        loop {
            let applying = Instant::now();
            let mut at = 0;
            let written =
                failure::catch(|| transaction(|| self.write_all(referenced, &mut at, applying, patience)));
            match written {
                Ok(()) => return self.owe(),
                // Stopped from outside: nobody's own fault.
                Err(failure) if failure.is_interruption() => failure.raise(None),
                Err(failure) if failure.is_lock_timeout() && at == 0 && !scheduled => {
                    let name = self.leader().job.name.clone();
                    self.part(&format!("{name} is waited for: another session has locked it"), false);
                    patience = None;
                }
                Err(failure) if failure.is_lock_timeout() && at != 0 && !scheduled => {
                    self.leave_out(at, "another session has locked it");
                }
                Err(failure) => {
                    let failure = if failure.is_lock_timeout() { locked() } else { failure };
                    self.fail(at, &failure);
                    if self.due().next().is_none() {
                        return;
                    }
                }
            }
        }
    }

    /// `patience`: since when locks of others are waited for; none: without an end.
    fn write_all(
        &mut self,
        referenced: &[Referenced],
        at: &mut usize,
        applying: Instant,
        patience: Option<Instant>,
    ) {
        // The run's own first: what is waited for longest is waited for with nothing held.
        for n in (0..self.members.len()).filter(|n| !self.members[*n].failed).collect::<Vec<_>>() {
            *at = n;
            let member = &mut self.members[n];
            if member.run.is_none() && (referenced.is_empty() || member.bound.references.is_empty()) {
                continue;
            }
            if let Some(since) = patience {
                let left = PATIENCE.saturating_sub(since.elapsed()).as_millis().max(10);
                let sql = format!("SELECT pg_catalog.set_config('lock_timeout', '{left}', true)");
                execute(&sql, &[]);
            }
            source::lock_relation(member.job.target, pg_sys::RowExclusiveLock);
            member.job = jobs::still_there(&member.job);
            member.apply(referenced);
        }
        *at = 0;
        let leader = &self.members[0];
        let base = match &leader.run {
            Some(run) => history::next_base(&leader.job, run),
            None => clock::now(),
        };
        if let (Some(run), Some(note)) = (&leader.run, self.left.note()) {
            history::add_note(run, &note);
        }
        for (n, member) in self.members.iter_mut().enumerate() {
            *at = n;
            if member.failed {
                continue;
            }
            let Some(run) = &member.run else { continue };
            member.warn();
            member.figures.apply_seconds = applying.elapsed().as_secs_f64();
            refresh::notify(&member.job, run, &member.figures);
            // One that is to be compared in full is as due for that as before.
            let kept = history::base(&member.job).filter(|_| n > 0 && member.wants_full());
            history::succeeded(&member.job, run, kept.unwrap_or(base), &member.figures);
            let Some(whole) = &member.whole else {
                standing::keep(member.job.target, self.since, None);
                continue;
            };
            standing::keep(member.job.target, self.since, Some(&whole.ground));
            standing::memorize(member.job.target, &whole.fingerprint, &whole.memory);
            load::close(member.job.target);
            if whole.again {
                standing::want_full(member.job.target);
            }
        }
    }

    /// One member's own failure.
    fn fail(&mut self, n: usize, failure: &Failure) {
        let member = &mut self.members[n];
        member.failed = true;
        if n > 0 && member.run.is_some() {
            self.left.add(&member.job, &format!("it failed: {}", failure.message));
        }
        if let Some(whole) = &mut member.whole {
            full::broken_off(&member.job, Some(&mut whole.load), failure);
        }
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

    /// That objects are gone is found once. Whoever was not written cannot put its references to them right
    /// later, and compares everything.
    fn owe(&self) {
        if self.gone.is_empty() {
            return;
        }
        let failed = self.members.iter().filter(|m| m.failed && !m.bound.references.is_empty());
        for target in failed.map(|m| m.job.target).chain(self.left.targets.iter().copied()) {
            if let Err(failure) = failure::catch(|| transaction(|| standing::want_full(target))) {
                failure.log("a full comparison could not be asked for");
            }
        }
    }

    /// Goes on without a member, which is due again at once.
    fn leave_out(&mut self, n: usize, why: &str) {
        let member = &mut self.members[n];
        member.failed = true;
        self.left.add(&member.job, why);
        let noted = failure::catch(|| {
            transaction(|| {
                if let Some(run) = &member.run {
                    history::put_off(&member.job, run, why);
                }
            });
        });
        if let Err(failure) = noted {
            failure.log(&format!("the refresh of {} could not be put off", member.job.name));
        }
        locks::unlock(member.job.target);
    }

    /// Parts with all but the one that the run is for. `full`: each of them is to be compared in full.
    fn part(&mut self, why: &str, full: bool) {
        for n in 1..self.members.len() {
            if self.members[n].is_due() {
                if full {
                    let target = self.members[n].job.target;
                    drop(failure::catch(|| transaction(|| standing::want_full(target))));
                }
                self.leave_out(n, why);
            } else if !self.members[n].failed {
                self.left.targets.push(self.members[n].job.target);
                locks::unlock(self.members[n].job.target);
            }
        }
        let failed = self.members.drain(1..).filter(|m| m.failed);
        self.left.targets.extend(failed.map(|m| m.job.target));
        if let Some(lock) = self.lock.take() {
            lock.release();
        }
    }

    fn progress(&self, phase: &str) {
        transaction(|| {
            // Also stops a run whose extension is gone.
            jobs::still_there(&self.leader().job);
            for member in self.members.iter().filter(|m| m.is_due()) {
                if let Some(run) = &member.run {
                    history::progress(member.job.target, run, phase, member.figures.seen, None);
                }
            }
        });
    }
}
