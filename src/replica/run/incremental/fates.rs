//! What befalls a member, and what is noted of it: crates/course decides, here it is done.

use course::{Becomes, Befell, Verdict};

use super::super::full;
use super::super::member::Member;
use super::super::outcome::{self, Cause};
use super::{Group, Stop};
use crate::installed;
use crate::replica::kept::{history, jobs, standing};
use crate::replica::process::locks;
use crate::sql::failure::{self, Failure};
use crate::sql::spi::lock_timeout;
use crate::sql::txn::transaction;

/// So long a run waits for locks of other sessions on one of its replicas, in milliseconds.
pub const PATIENCE: i64 = 1000;

/// What a run says that found no calm.
const RESTLESS: &str =
    "objects changed all the time while they were read: rows may be of moments some seconds apart";

impl Group {
    /// Does something of one member's in a transaction of its own, which may be begun anew. None where that fails: it
    /// is out then, and the others go on.
    ///
    /// Another session's lock on the one that somebody waits for parts it from the others: it waits with nothing
    /// held that they need, and is done once it is free.
    pub(super) fn with<T>(&mut self, n: usize, mut body: impl FnMut(&mut Member) -> T) -> Option<T> {
        while self.course.goes(n) {
            let patient = self.by_itself();
            let member = &mut self.members[n];
            let done = failure::catch(|| {
                transaction(|| {
                    lock_timeout(if patient { 0 } else { PATIENCE });
                    body(member)
                })
            });
            match done {
                Ok(value) => return Some(value),
                Err(failure) => self.met(n, &failure),
            }
        }
        None
    }

    /// Whether the run goes on with nobody but the one that somebody waits for. Its group's lock is given back then:
    /// the others have their own runs meanwhile.
    pub(super) fn by_itself(&mut self) -> bool {
        let patient = self.course.writing().is_some_and(|writing| writing.patient);
        if let Some(lock) = self.lock.take_if(|_| patient) {
            lock.release();
        }
        patient
    }

    /// A failure in what is one member's.
    pub(super) fn met(&mut self, n: usize, failure: &Failure) {
        match Cause::of(failure) {
            Cause::Stopped => failure.clone().raise(None),
            Cause::Locked => self.befell(n, Befell::Locked, &outcome::locked()),
            Cause::Service | Cause::Own => self.befell(n, Befell::Own, failure),
        }
    }

    pub(super) fn befell(&mut self, n: usize, what: Befell, failure: &Failure) {
        let verdicts = self.course.befell(n, what, &failure.message);
        self.give(verdicts, failure);
    }

    /// A member is gone.
    pub(super) fn lost(&mut self, n: usize) -> Result<(), Stop> {
        self.befell(n, Befell::Gone, &outcome::removed());
        if self.course.writing().is_none() { Err(Stop::Over) } else { Ok(()) }
    }

    /// What is known of a member is outdated: everything of it is to be compared.
    pub(super) fn outdated(&mut self, n: usize, why: &str) -> Result<(), Stop> {
        if let Some(whole) = &mut self.members[n].whole {
            // It came while everything was read.
            whole.again = true;
        }
        self.why_full.get_or_insert_with(|| why.to_owned());
        self.befell(n, Befell::Outdated, &outcome::put_off_over(why));
        if self.course.writing().is_none() { Err(Stop::Over) } else { Ok(()) }
    }

    /// Notes what becomes of each. A note that fails is logged: the next run finds a run that is under way although
    /// nobody does it.
    pub(super) fn give(&mut self, verdicts: Vec<Verdict>, failure: &Failure) {
        for verdict in verdicts {
            let member = &mut self.members[verdict.member];
            if let (Becomes::Failed(_), Some(whole)) = (verdict.becomes, &mut member.whole) {
                full::broken_off(&member.job, Some(&mut whole.load), failure);
            }
            if let Becomes::Failed(course::Blame::Own) = verdict.becomes {
                failure.log(&format!("the refresh of {} failed", member.job.name));
            }
            let by_hand = self.by_hand && verdict.member == 0;
            let noted = failure::catch(|| {
                transaction(|| {
                    // Whoever is removing it is not waited for.
                    lock_timeout(PATIENCE);
                    if !installed::usable() {
                        return;
                    }
                    if let Some(run) = &member.run {
                        let said = match verdict.becomes {
                            Becomes::PutOff(_) => &outcome::put_off_over(self.course.why(verdict.member)),
                            _ => failure,
                        };
                        outcome::note(&member.job, run, &member.figures, verdict.becomes, said, !by_hand);
                    }
                    if verdict.in_full {
                        standing::want_full(member.job.target);
                    }
                })
            });
            if let Err(failure) = noted {
                failure.log(&format!("what became of the refresh of {} could not be noted", member.job.name));
            }
            let over = matches!(verdict.becomes, Becomes::PutOff(_) | Becomes::Released | Becomes::Failed(_));
            if over && verdict.member > 0 {
                locks::unlock(member.job.target);
            }
        }
    }

    /// That objects are gone is found once. Whoever was not written cannot put its references to them right
    /// later, and compares everything.
    pub(super) fn owe(&self) {
        if self.gone.is_empty() {
            return;
        }
        self.owe_absent();
        let members = self.course.untold().into_iter().map(|n| self.members[n].job.target);
        let outside = self.course.untold_outside().iter().map(|id| pgrx::pg_sys::Oid::from(*id));
        members.chain(outside).for_each(owe_one);
    }

    /// The same for whoever of the group is not there at all, be it that it is disabled or that this is a first load
    /// by itself. Asked for before anything is written, too: a crash must not forget it.
    pub(super) fn owe_absent(&self) {
        if self.gone.is_empty() {
            return;
        }
        let job = &self.leader().job;
        let loaded = failure::catch(|| {
            transaction(|| standing::loaded_of(jobs::server_of(job), job.owner, self.schema))
        });
        let there = |target: &pgrx::pg_sys::Oid| self.members.iter().any(|m| m.job.target == *target);
        loaded.unwrap_or_default().into_iter().filter(|target| !there(target)).for_each(owe_one);
    }

    /// Note of those that the run goes on without, and of what is not of one moment; in the transaction that ends it.
    pub(super) fn say_without(&self) {
        let Some(run) = self.due().into_iter().find_map(|n| self.members[n].run.as_ref()) else { return };
        if self.restless {
            history::add_note(run, RESTLESS);
        }
        if let Some(without) = self.course.without() {
            history::add_note(run, &format!("{}{without}", history::WITHOUT));
        }
    }
}

fn owe_one(target: pgrx::pg_sys::Oid) {
    if let Err(failure) = failure::catch(|| {
        transaction(|| {
            lock_timeout(PATIENCE);
            standing::want_full(target);
        })
    }) {
        failure.log("a full comparison could not be asked for");
    }
}
