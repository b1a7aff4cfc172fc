//! Who takes part in the refresh of a group, and what is known of each.

use std::collections::HashMap;
use std::rc::Rc;

use assets::value::ColumnSpec;

use super::super::member::Member;
use super::super::outcome::{self, Cause};
use super::super::source::{self, Bound};
use super::changes::COMMON;
use super::fates::PATIENCE;
use super::{Group, Party};
use crate::gucs;
use crate::replica::kept::history::{self, Figures, Mode, Run};
use crate::replica::kept::jobs::{self, Apart, Job, Others};
use crate::replica::kept::standing::{self, Standing};
use crate::replica::process::locks::{self, GroupLock};
use crate::replica::process::worker;
use crate::session::Connection;
use crate::sql::failure::{self, Failure};
use crate::sql::spi::lock_timeout;
use crate::sql::txn::{make_durable, transaction};
use course::{Becomes, Blame, Due};
use delta::since::Manner;

/// The replica that the run is for, to be refreshed by what changed. `Err` says why it has to be compared in full
/// instead.
pub(super) fn look_up(party: &Party<'_>, mut lock: Option<GroupLock>) -> Result<Group, String> {
    loop {
        match failure::catch(|| leader(party, lock.as_ref())) {
            Ok(Ok((leader, connection, manner))) => {
                return Ok(Group::alone(party, leader, connection, manner, lock));
            }
            found => {
                if let Some(lock) = lock {
                    lock.release();
                }
                match found {
                    // Somebody waits for this one; its group does not.
                    Err(failure) if !party.scheduled && Cause::of(&failure) == Cause::Locked => {
                        locks::wait_for_tables(party.job);
                        // What else it may be: names of schemas, rows of the catalogue.
                        transaction(|| {
                            lock_timeout(0);
                            source::define(party.job);
                        });
                        lock = lock.map(|lock| GroupLock::take(lock.server, lock.group));
                    }
                    Err(failure) => failure.raise(None),
                    Ok(found) => return Err(found.err().unwrap_or_default()),
                }
            }
        }
    }
}

type Leader = (Member, Rc<Connection>, Manner);

fn leader(party: &Party<'_>, lock: Option<&GroupLock>) -> Result<Leader, String> {
    let unknown = || "nothing is kept of it that changes could be asked for by".to_owned();
    let (lock, standing) = (lock.ok_or_else(unknown)?, transaction(|| standing::read(party.job.target)));
    let standing = standing.filter(|standing| standing.since.is_some()).ok_or_else(unknown)?;
    let standing = trusted(party, standing);
    let manner = standing.manner.ok_or_else(unknown)?;
    match bound(party.job) {
        Some((bound, connection))
            if bound.schema_id == lock.group.schema && standing.schema == Some(bound.schema_id) =>
        {
            let (job, run) = (party.job.clone(), Some(party.run.clone()));
            Ok((Member::new(job, run, party.share, standing, bound), connection, manner))
        }
        _ => Err("its definition, or what it shows, has changed".to_owned()),
    }
}

/// Whoever asks by hand may have written to the replica a moment ago, and the statistics know of it later.
fn trusted(party: &Party<'_>, standing: Standing) -> Standing {
    Standing { rows: standing.rows.filter(|_| party.scheduled), ..standing }
}

/// What a job's source means, where that is known without asking much.
fn bound(job: &Job) -> Option<(Bound, Rc<Connection>)> {
    let (definition, known) = transaction(|| {
        lock_timeout(PATIENCE);
        let definition = source::define(job);
        let fingerprint = standing::definition(job.source, job.target, &definition.connection);
        let known = standing::remember(job.target, &fingerprint, &definition.connection);
        (definition, known)
    });
    let connection = definition.connection.clone();
    known.then(|| (definition.bind(job), connection))
}

/// The others of the group of the run's replica, and those that fail by themselves but whose references may have to
/// be put right. Each is locked, and noted as under way if its rows are refreshed. Nobody is waited for.
pub(super) fn gather_around(party: &Party<'_>, group: &mut Group) {
    if let Some(lock) = group.lock {
        let others = transaction(|| match jobs::usable(party.job.target) {
            Some(_) => jobs::group_of(party.job, lock.server, lock.group, party.scheduled),
            None => Others::default(),
        });
        for (target, name, why) in others.hindered {
            group.course.outsider(target.to_u32(), &name, &why);
        }
        let held = match worker::awaited_by().filter(|_| !party.scheduled) {
            Some(pid) => transaction(|| jobs::locked_by(pid)),
            None => Vec::new(),
        };
        for (job, apart) in others.able {
            let id = job.target.to_u32();
            if held.contains(&job.target) {
                group.course.outsider(id, &job.name, "the session that asked holds a lock on it");
            } else if !locks::try_lock(job.target) {
                // It is being compared in full; the end of that brings the whole group along.
                group.course.outsider(id, &job.name, "another refresh of it is under way");
            } else if let Err(why) = join(party, &job, apart, group) {
                group.course.outsider(id, &job.name, &why);
                locks::unlock(job.target);
            }
        }
    }
    // What several show is read once.
    let mut columns = COMMON.to_vec();
    let mut places: HashMap<ColumnSpec, usize> = columns.iter().copied().zip(0..).collect();
    for member in group.members.iter_mut().filter(|member| member.run.is_some()) {
        let place = |spec: &ColumnSpec| {
            *places.entry(*spec).or_insert_with(|| {
                columns.push(*spec);
                columns.len() - 1
            })
        };
        member.places = member.bound.specs.iter().map(place).collect();
    }
    group.columns = columns.into();
}

const IN_FULL: &str = "it is to be compared in full";

/// Takes another one of the group along, whose lock this process has. `Err` says why it cannot be; what becomes of
/// its run is noted then.
fn join(party: &Party<'_>, job: &Job, apart: Option<Apart>, group: &mut Group) -> Result<(), String> {
    let begun = failure::catch(|| {
        transaction(|| {
            // Whoever is removing it is not waited for.
            lock_timeout(PATIENCE);
            if !jobs::keep(job.target) {
                return Err("it was removed");
            }
            let Some(standing) = standing::read(job.target) else { return Err(IN_FULL) };
            let usable = standing.schema == Some(group.schema) && standing.manner == Some(group.manner);
            if !usable || standing.since.is_none() {
                return Err(IN_FULL);
            }
            let run = apart.is_none().then(|| Run {
                id: history::next_run(),
                reason: party.run.reason.clone(),
                mode: Mode::Incremental,
                with_run: Some(party.run.id),
                note: None,
                began: party.run.began,
            });
            if let Some(run) = &run {
                history::begin(job, run);
                make_durable();
            }
            Ok((run, standing))
        })
    });
    let (run, standing) = match begun {
        Ok(begun) => begun?,
        Err(failure) if Cause::of(&failure) == Cause::Locked => return Err(outcome::locked().message),
        Err(failure) => failure.raise(None),
    };
    match failure::catch(|| bound(job)) {
        Ok(Some((bound, _))) if bound.schema_id == group.schema => {
            let refers = !bound.references.is_empty();
            let neighbour = party.neighbours && transaction(|| jobs::are_neighbours(job, party.job));
            let share = if neighbour { party.share } else { gucs::MAX_DELETE_SHARE.get() };
            match apart {
                None => group.course.join(&job.name, refers),
                Some(why) => group.course.accompany(&job.name, why),
            };
            group.members.push(Member::new(job.clone(), run, share, trusted(party, standing), bound));
            Ok(())
        }
        Ok(_) => {
            let why = "its definition, or what it shows, has changed";
            let failure = outcome::put_off_over(why);
            transaction(|| {
                note(job, run.as_ref(), Becomes::PutOff(Due::AtOnce), &failure);
                standing::want_full(job.target);
            });
            Err(why.to_owned())
        }
        Err(failure) => {
            let cause = Cause::of(&failure);
            let (becomes, failure) =
                (cause.into(), if cause == Cause::Locked { outcome::locked() } else { failure });
            transaction(|| note(job, run.as_ref(), becomes, &failure));
            if becomes == Becomes::Failed(Blame::Nobody) {
                failure.raise(None);
            }
            Err(failure.message)
        }
    }
}

fn note(job: &Job, run: Option<&Run>, becomes: Becomes, failure: &Failure) {
    if let Some(run) = run {
        outcome::note(job, run, &Figures::default(), becomes, failure, true);
    }
}
