//! Who takes part in the refresh of a group, and what is known of each.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use super::super::member::Member;
use super::super::refresh;
use super::super::source::{self, Bound};
use super::changes::COMMON;
use super::{Group, Left, Party};
use crate::gucs;
use crate::replica::kept::history::{self, Figures, Mode, Run};
use crate::replica::kept::jobs::{self, Job};
use crate::replica::kept::standing;
use crate::replica::process::locks::{self, GroupLock};
use crate::replica::process::worker;
use crate::session::Connection;
use crate::sql::failure;
use crate::sql::txn::{make_durable, transaction};
use delta::since::{Manner, Moment};

/// Who takes part in the refresh of changes of the run's replica. `Err` says why it has to be compared in
/// full instead.
pub(super) fn gather(party: &Party<'_>, lock: Option<GroupLock>) -> Result<Group, String> {
    let found = look_up(party, lock.as_ref());
    if let (Err(_), Some(lock)) = (&found, lock) {
        lock.release();
    }
    let (leader, connection, manner) = found?;
    Ok(gather_around(party, leader, connection, manner, lock))
}

type Leader = (Member, Rc<Connection>, Manner);

fn look_up(party: &Party<'_>, lock: Option<&GroupLock>) -> Result<Leader, String> {
    let unknown = || "nothing is kept of it that changes could be asked for by".to_owned();
    let (lock, standing) = (lock.ok_or_else(unknown)?, transaction(|| standing::read(party.job.target)));
    let standing = standing.filter(|standing| standing.since.is_some()).ok_or_else(unknown)?;
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

/// What a job's source means, where that is known without asking much.
fn bound(job: &Job) -> Option<(Bound, Rc<Connection>)> {
    let (definition, known) = transaction(|| {
        let definition = source::define(job);
        let fingerprint = standing::definition(job.source, job.target, &definition.connection);
        let known = standing::remember(job.target, &fingerprint, &definition.connection);
        (definition, known)
    });
    let connection = definition.connection.clone();
    known.then(|| (definition.bind(job), connection))
}

/// A group of one.
pub(super) fn alone(leader: Member, connection: Rc<Connection>, manner: Manner) -> Group {
    Group {
        schema: leader.bound.schema_id,
        since: leader.standing.since.unwrap_or(Moment { here: 0, there: None }),
        members: vec![leader],
        lock: None,
        left: Left::default(),
        connection,
        manner,
        columns: Arc::from([]),
        changed: HashMap::new(),
        seen: HashMap::new(),
        gone: HashSet::new(),
        unsettled: false,
    }
}

/// The replica that the run is for, the others of its group, and those that fail by themselves but whose
/// references may have to be put right. Each is locked, and noted as under way if its rows are refreshed.
/// Nobody is waited for.
pub(super) fn gather_around(
    party: &Party<'_>,
    leader: Member,
    connection: Rc<Connection>,
    manner: Manner,
    lock: Option<GroupLock>,
) -> Group {
    let mut group = alone(leader, connection, manner);
    if let Some(lock) = &lock {
        let others = transaction(|| match jobs::usable(party.job.target) {
            Some(_) => jobs::group_of(party.job, lock.server, lock.group, party.scheduled),
            None => Vec::new(),
        });
        let held = match worker::awaited_by().filter(|_| !party.scheduled) {
            Some(pid) => transaction(|| jobs::locked_by(pid)),
            None => Vec::new(),
        };
        for (job, along) in others {
            if held.contains(&job.target) {
                group.left.add(&job, "the session that asked holds a lock on it");
            } else if !locks::try_lock(job.target) {
                // It is being compared in full; the end of that brings the whole group along.
                group.left.add(&job, "another refresh of it is under way");
            } else {
                match join(party, &job, along, &group) {
                    Ok(Some(member)) => group.members.push(member),
                    Ok(None) => locks::unlock(job.target),
                    Err(why) => {
                        group.left.add(&job, &why);
                        locks::unlock(job.target);
                    }
                }
            }
        }
    }
    group.lock = lock;
    let mut columns = COMMON.to_vec();
    for member in &mut group.members {
        let from = columns.len();
        if member.run.is_some() {
            columns.extend(&member.bound.specs);
        }
        member.slice = from..columns.len();
    }
    group.columns = columns.into();
    group
}

/// Takes another one of the group along, whose lock this process has. None where it cannot be; `Err` says
/// what has become of its run.
fn join(party: &Party<'_>, job: &Job, along: bool, group: &Group) -> Result<Option<Member>, String> {
    let begun = transaction(|| {
        let standing = standing::read(job.target)?;
        let usable = standing.schema == Some(group.schema) && standing.manner == Some(group.manner);
        if !usable || standing.since.is_none() {
            return None;
        }
        let run = along.then(|| Run {
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
        Some((run, standing))
    });
    let Some((run, standing)) = begun else { return Ok(None) };
    match (failure::catch(|| bound(job)), run) {
        (Ok(Some((bound, _))), run) if bound.schema_id == group.schema => {
            let neighbour = party.neighbours && transaction(|| jobs::are_neighbours(job, party.job));
            let share = if neighbour { party.share } else { gucs::MAX_DELETE_SHARE.get() };
            Ok(Some(Member::new(job.clone(), run, share, standing, bound)))
        }
        (Ok(_), Some(run)) => {
            let why = "its definition, or what it shows, has changed";
            transaction(|| {
                history::put_off(job, &run, why);
                standing::want_full(job.target);
            });
            Err(why.to_owned())
        }
        (Err(failure), Some(run)) => {
            refresh::failed(job, &run, &Figures::default(), &failure);
            Err(failure.message)
        }
        (_, None) => Ok(None),
    }
}
