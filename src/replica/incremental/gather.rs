//! Who takes part in the refresh of a group, and what is known of each.

use std::collections::{HashMap, HashSet};

use super::super::failure::{self};
use super::super::history::{self, Figures, Mode, Run};
use super::super::jobs::{self, Job};
use super::super::member::Member;
use super::super::refresh::{self, find};
use super::super::source;
use super::super::standing::{self, Standing};
use super::super::txn::{make_durable, transaction};
use super::super::worker;
use super::changes::COMMON;
use super::{Group, GroupLock, Left, Party};
use crate::gucs;
use delta::since::{Manner, Moment};

/// Who takes part: the replica itself, the others of its group, and those that fail by themselves but
/// whose references may have to be put right. Each is locked, and noted as under way if its rows are
/// refreshed. Nobody is waited for but another run of the whole group.
pub(super) fn gather(party: &Party<'_>) -> Result<Group, String> {
    let Some(standing) = transaction(|| standing::read(party.job.target)) else {
        return Err("nothing is kept of it".to_owned());
    };
    let (Some(schema), Some(manner), Some(_)) = (standing.schema, standing.manner, standing.since) else {
        return Err("nothing is kept of it that changes could be asked for by".to_owned());
    };
    let server = transaction(|| jobs::server_of(party.job));
    let key = schedule::Group { owner: party.job.owner.to_u32(), schema };
    worker::lock_group(server, key);
    // What was kept may be another run's by now.
    let standing = transaction(|| standing::read(party.job.target)).unwrap_or(standing);
    let others = transaction(|| match find(party.job.target) {
        Some(_) => jobs::group_of(party.job, server, key, party.scheduled),
        None => Vec::new(),
    });
    let held = match worker::awaited_by().filter(|_| !party.scheduled) {
        Some(pid) => transaction(|| jobs::locked_by(pid)),
        None => Vec::new(),
    };
    let mut left = Left::default();
    let mut candidates = vec![(party.job.clone(), Some(party.run.clone()), party.share, standing)];
    let share = gucs::MAX_DELETE_SHARE.get();
    for (job, along) in others {
        if held.contains(&job.target) {
            left.add(&job, "the session that asked holds a lock on it");
            continue;
        }
        if !worker::try_lock(job.target) {
            // It is being compared in full; the end of that brings the whole group along.
            left.add(&job, "another refresh of it is under way");
            continue;
        }
        let begun = transaction(|| {
            let standing = standing::read(job.target)?;
            let usable = standing.schema == Some(schema) && standing.manner == Some(manner);
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
                history::begin(&job, run);
                make_durable();
            }
            Some((run, standing))
        });
        match begun {
            Some((run, standing)) => {
                let neighbour = party.neighbours && transaction(|| jobs::are_neighbours(&job, party.job));
                candidates.push((job, run, if neighbour { party.share } else { share }, standing));
            }
            None => worker::unlock(job.target),
        }
    }
    let lock = GroupLock { server, key };
    bind(candidates, schema, manner, lock, left)
}

type Candidate = (Job, Option<Run>, f64, Standing);

/// Joins each candidate with what its source means.
fn bind(
    candidates: Vec<Candidate>,
    schema: i64,
    manner: Manner,
    lock: GroupLock,
    mut left: Left,
) -> Result<Group, String> {
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
            (_, Ok(why), Some(run)) => {
                left.add(&job, why);
                transaction(|| {
                    history::put_off(&job, &run, why);
                    standing::want_full(job.target);
                });
            }
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
        lock.release();
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
        lock: Some(lock),
        left,
        connection,
        schema,
        manner,
        columns: columns.into(),
        changed: HashMap::new(),
        gone: HashSet::new(),
        since: Moment { here: 0, there: None },
    })
}
