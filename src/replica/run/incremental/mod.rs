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
//! What is decided is in crates/delta, and who goes on after what in crates/course; here it is asked, and written
//! down.

mod changes;
mod counts;
mod fates;
mod gather;
mod write;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use assets::value::ColumnSpec;
use course::{Course, Ending};
use delta::since::{Manner, Moment, Since};

use super::full::{PROGRESS_EVERY, requests};
use super::member::Member;
use super::outcome::{self, Cause};
use super::refresh;
use crate::replica::kept::history::{self, Run};
use crate::replica::kept::jobs::{self, Job};
use crate::replica::process::locks::{self, GroupLock};
use crate::replica::process::shared;
use crate::session::Connection;
use crate::sql::failure::{self, Failure};
use crate::sql::txn::transaction;
use changes::Seen;
pub use fates::PATIENCE;

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

/// Why asking for changes ends early.
enum Stop {
    /// They cannot be asked for as was thought.
    Unaskable {
        /// What it was.
        why: String,
        /// Whether the service refuses the text of a condition.
        refused: bool,
    },
    /// Everybody has had their verdict.
    Over,
}

impl Stop {
    fn unaskable(why: impl Into<String>) -> Self {
        Stop::Unaskable { why: why.into(), refused: false }
    }
}

/// Refreshes a group. What becomes of each replica is noted; `Err` says why the one that the run is for
/// has to be compared in full instead, its run still under way. `lock` is the group's, where the run has it.
pub fn run(party: &Party<'_>, lock: Option<GroupLock>) -> Result<(), String> {
    let began = Instant::now();
    let mut group = match failure::catch(|| gather::look_up(party, lock)) {
        Ok(Ok(group)) => group,
        Ok(Err(why)) => return Err(why),
        Err(failure) => {
            outcome::broken(party, &Default::default(), &failure);
            return Ok(());
        }
    };
    group.take_course(|group| {
        gather::gather_around(party, group);
        group.work(began)
    });
    group.turned()
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
    let torn = manner.is_some() && leader.whole.as_ref().is_some_and(|whole| whole.is_torn(began, by_itself));
    let manner = manner.unwrap_or(Manner::Relative);
    let mut group = Group::alone(party, leader, connection, manner, lock);
    group.take_course(|group| {
        gather::gather_around(party, group);
        if torn || group.members.len() > 1 {
            return group.work(began);
        }
        group.take_stock(began);
        group.not_found_again();
        group.write(&[]);
        Ok(())
    });
}

struct Group {
    /// The one that the run is for comes first.
    members: Vec<Member>,
    course: Course,
    by_hand: bool,
    lock: Option<GroupLock>,
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
    /// Since when changes were asked for last, and when that was.
    asked: Option<(Since, i64)>,
    /// A look found objects of a moment after it.
    unsettled: bool,
    /// It did so in every look: what was found is of several moments.
    restless: bool,
    /// Why the run's own turns into a full comparison.
    why_full: Option<String>,
    /// What was noted last of where the runs are, and when.
    noted: (&'static str, Instant),
}

impl Group {
    /// A group of one.
    fn alone(
        party: &Party<'_>,
        leader: Member,
        connection: Rc<Connection>,
        manner: Manner,
        lock: Option<GroupLock>,
    ) -> Self {
        let refers = !leader.bound.references.is_empty();
        Group {
            course: Course::new(&leader.job.name, refers, !party.scheduled, leader.whole.is_some()),
            by_hand: !party.scheduled,
            schema: leader.bound.schema_id,
            since: leader.standing.since.unwrap_or(Moment { here: 0, there: None }),
            members: vec![leader],
            lock,
            connection,
            manner,
            columns: Arc::from([]),
            changed: HashMap::new(),
            seen: HashMap::new(),
            gone: HashSet::new(),
            asked: None,
            unsettled: false,
            restless: false,
            why_full: None,
            noted: ("", Instant::now()),
        }
    }

    fn leader(&self) -> &Member {
        &self.members[0]
    }

    /// Runs the course to its end: whatever is raised meanwhile ends it for everybody.
    fn take_course(&mut self, body: impl FnOnce(&mut Self) -> Result<(), Stop>) {
        match failure::catch(|| body(&mut *self)) {
            Ok(Ok(()) | Err(Stop::Over)) => {}
            Ok(Err(Stop::Unaskable { why, .. })) => {
                let verdicts = self.course.unaskable(&why);
                self.why_full = Some(why.clone());
                self.give(verdicts, &outcome::put_off_over(&why));
                // What was read as a whole is complete all the same, as of when that began.
                if self.course.goes(0) {
                    if let Some(whole) = self.members[0].whole.as_mut().filter(|whole| whole.resumed) {
                        // That was long ago.
                        whole.again = true;
                    }
                    self.since = self.leader().standing.since.unwrap_or(self.since);
                    if let Err(failure) = failure::catch(|| self.write(&[])) {
                        self.broken(&failure);
                    }
                }
            }
            Err(failure) => self.broken(&failure),
        }
        if let Some(lock) = self.lock.take() {
            lock.release();
        }
        self.analyze();
    }

    /// Something that concerns everybody failed.
    fn broken(&mut self, failure: &Failure) {
        let sent = requests(&self.connection);
        for (n, member) in self.members.iter_mut().enumerate() {
            member.figures.requests = if n == 0 { sent } else { 0 };
        }
        failure.log(&format!("the refresh of {} failed", self.leader().job.name));
        let ending = if Cause::of(failure) == Cause::Service { Ending::Service } else { Ending::Stopped };
        let verdicts = self.course.end(ending);
        self.give(verdicts, failure);
    }

    /// Why the run goes on as a full comparison, if it does.
    fn turned(self) -> Result<(), String> {
        match self.course.became(0) {
            Some(course::Becomes::Turned) => Err(self.why_full.unwrap_or_default()),
            _ => Ok(()),
        }
    }

    fn work(&mut self, began: Instant) -> Result<(), Stop> {
        self.look()?;
        let referenced = self.referenced()?;
        self.take_stock(began);
        self.write(&referenced);
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

    /// New statistics for those that changed much. That may take long, and nothing is held meanwhile: the group goes on.
    fn analyze(&self) {
        let refreshed = || {
            let members = self.members.iter().enumerate();
            members
                .filter(|(n, _)| self.course.became(*n) == Some(course::Becomes::Refreshed))
                .map(|(_, m)| m)
        };
        let changed = || refreshed().filter(|member| refresh::changed_much(&member.figures));
        if changed().next().is_none() {
            return;
        }
        refreshed().for_each(|member| locks::unlock(member.job.target));
        // SAFETY: no preconditions.
        #[allow(unsafe_code)]
        shared::nudge(unsafe { pgrx::pg_sys::MyDatabaseId });
        changed().for_each(|member| refresh::analyze(&member.job));
    }

    /// Those whose rows are refreshed.
    fn due(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|n| self.course.is_due(*n)).collect()
    }

    /// Says where the run is, not at every page. Stops it where its replica is gone.
    fn progress(&mut self, phase: &'static str) -> Result<(), Stop> {
        let (before, at) = self.noted;
        if before == phase && at.elapsed() < PROGRESS_EVERY {
            return Ok(());
        }
        self.noted = (phase, Instant::now());
        let due = self.due().into_iter().map(|n| &self.members[n]);
        let runs: Vec<_> =
            due.filter_map(|m| Some((m.job.target, m.run.as_ref()?.id, m.figures.seen))).collect();
        let there = transaction(|| {
            if jobs::usable(self.leader().job.target).is_none() {
                return false;
            }
            history::progress_of(&runs, phase);
            true
        });
        if there { Ok(()) } else { self.lost(0) }
    }
}
