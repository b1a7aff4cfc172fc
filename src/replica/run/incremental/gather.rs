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
use crate::replica::kept::many;
use crate::replica::kept::standing::{self, Standing};
use crate::replica::process::locks::{self, GroupLock};
use crate::replica::process::worker;
use crate::session::Connection;
use crate::sql::failure::{self, Failure};
use crate::sql::spi::lock_timeout;
use crate::sql::txn::{make_durable, transaction};
use course::{Becomes, Blame, Due};
use delta::since::Manner;
use pgrx::pg_sys;

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
        let mut there = Vec::new();
        for (job, apart) in others.able {
            let id = job.target.to_u32();
            if held.contains(&job.target) {
                group.course.outsider(id, &job.name, "the session that asked holds a lock on it");
            } else if !locks::try_lock(job.target) {
                // It is being compared in full; the end of that brings the whole group along.
                group.course.outsider(id, &job.name, "another refresh of it is under way");
            } else {
                there.push((job, apart));
            }
        }
        let mut begun = begin_all(party, &there, group);
        let mut rest = there.iter();
        while let Some((job, apart)) = rest.next() {
            let one = begun.remove(&job.target);
            match failure::catch(|| join(party, job, *apart, one, group)) {
                Ok(Ok(())) => {}
                Ok(Err(why)) => {
                    group.course.outsider(job.target.to_u32(), &job.name, &why);
                    locks::unlock(job.target);
                }
                Err(failure) => {
                    rest.for_each(|(job, _)| never_joined(job, begun.remove(&job.target), &failure));
                    failure.raise(None)
                }
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

/// A replica whose run is noted as under way, if it is to have one.
struct Begun {
    run: Option<Run>,
    standing: Standing,
    neighbour: bool,
}

/// What a run of a group's that comes along with the run's own is like.
fn along(party: &Party<'_>, id: i64) -> Run {
    Run {
        id,
        reason: party.run.reason.clone(),
        mode: Mode::Incremental,
        with_run: Some(party.run.id),
        note: None,
        began: party.run.began,
    }
}

fn is_usable(standing: &Standing, group: &Group) -> bool {
    let same = standing.schema == Some(group.schema) && standing.manner == Some(group.manner);
    same && standing.since.is_some()
}

/// Notes the runs of all as under way at once, where nothing is out of the ordinary with them. The others, or all where
/// that fails, are for [`join`] to begin.
fn begin_all(party: &Party<'_>, jobs: &[(Job, Option<Apart>)], group: &Group) -> HashMap<pg_sys::Oid, Begun> {
    if jobs.is_empty() {
        return HashMap::new();
    }
    let targets: Vec<pg_sys::Oid> = jobs.iter().map(|(job, _)| job.target).collect();
    let begin = || {
        lock_timeout(PATIENCE);
        let neighbours = if party.neighbours { many::neighbours_of(party.job, &targets) } else { Vec::new() };
        let mut standings: HashMap<pg_sys::Oid, Standing> = standing::read_all(&many::keep(&targets))
            .into_iter()
            .filter(|(_, standing)| is_usable(standing, group))
            .collect();
        let due: Vec<&Job> = jobs
            .iter()
            .filter(|(job, apart)| apart.is_none() && standings.contains_key(&job.target))
            .map(|(job, _)| job)
            .collect();
        let numbered: Vec<(&Job, i64)> = due.iter().copied().zip(many::next_runs(due.len())).collect();
        let begun = many::begin(&numbered, &along(party, 0));
        make_durable();
        let mut runs: HashMap<pg_sys::Oid, i64> =
            numbered.iter().map(|(job, id)| (job.target, *id)).collect();
        runs.retain(|target, _| begun.contains(target));
        let of = |(job, apart): &(Job, Option<Apart>)| {
            let run = runs.remove(&job.target).map(|id| along(party, id));
            let standing = standings.remove(&job.target)?;
            let begun = Begun { run, standing, neighbour: neighbours.contains(&job.target) };
            (begun.run.is_some() == apart.is_none()).then_some((job.target, begun))
        };
        jobs.iter().filter_map(of).collect()
    };
    match failure::catch(|| transaction(begin)) {
        Ok(begun) => begun,
        Err(failure) if Cause::of(&failure) == Cause::Stopped => failure.raise(None),
        Err(_) => HashMap::new(),
    }
}

/// The same for one. None where nothing is known of it that changes could be asked for by; `Err` says why it cannot.
fn begin(
    party: &Party<'_>,
    job: &Job,
    apart: Option<Apart>,
    group: &Group,
) -> Result<Option<Begun>, &'static str> {
    // Whoever is removing it is not waited for.
    lock_timeout(PATIENCE);
    if !jobs::keep(job.target) {
        return Err("it was removed");
    }
    let Some(standing) = standing::read(job.target).filter(|standing| is_usable(standing, group)) else {
        return Ok(None);
    };
    let run = apart.is_none().then(|| along(party, history::next_run()));
    if let Some(run) = &run {
        history::begin(job, run);
        make_durable();
    }
    Ok(Some(Begun { run, standing, neighbour: party.neighbours && jobs::are_neighbours(job, party.job) }))
}

/// The run ends before this one could join it.
fn never_joined(job: &Job, begun: Option<Begun>, failure: &Failure) {
    if let Some(run) = begun.and_then(|begun| begun.run) {
        let blame = if Cause::of(failure) == Cause::Service { Blame::Service } else { Blame::Nobody };
        let noted = failure::catch(|| {
            transaction(|| {
                lock_timeout(PATIENCE);
                note(job, Some(&run), Becomes::Failed(blame), failure);
            });
        });
        if let Err(failure) = noted {
            failure.log(&format!("what became of the refresh of {} could not be noted", job.name));
        }
    }
    locks::unlock(job.target);
}

/// Takes another one of the group along, whose lock this process has. `Err` says why it cannot be; what becomes of
/// its run is noted then. `begun`: where that is noted already.
fn join(
    party: &Party<'_>,
    job: &Job,
    apart: Option<Apart>,
    begun: Option<Begun>,
    group: &mut Group,
) -> Result<(), String> {
    let begun = match begun {
        Some(begun) => begun,
        None => match failure::catch(|| transaction(|| begin(party, job, apart, group))) {
            Ok(begun) => begun?.ok_or(IN_FULL)?,
            Err(failure) if Cause::of(&failure) == Cause::Locked => return Err(outcome::locked().message),
            Err(failure) => failure.raise(None),
        },
    };
    let Begun { run, standing, neighbour } = begun;
    match failure::catch(|| bound(job)) {
        Ok(Some((bound, _))) if bound.schema_id == group.schema => {
            let refers = !bound.references.is_empty();
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
