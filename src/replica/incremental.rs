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

mod changes;
mod gather;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use assets::value::ColumnSpec;
use delta::since::{Manner, Moment};
use pgrx::pg_sys;

use super::failure::{self, Failure};
use super::full::requests;
use super::history::{self, Figures, Run};
use super::jobs::Job;
use super::member::Member;
use super::references::Referenced;
use super::refresh;
use super::source;
use super::standing;
use super::txn::transaction;
use super::worker;
use crate::session::Connection;

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
    let mut group = match failure::catch(|| gather::gather(party)) {
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
}
