//! One run, in a process of its own whose session user is the job's owner.
//!
//! ```text
//!  lock the replica · note "running"     short transaction
//!  what changed, or everything           no transaction while the network is waited for
//!  difference, result, NOTIFY            one short transaction
//!  ANALYZE                               one more, if enough changed, with no lock of a run held
//! ```
//!
//! [`super::full`] compares everything of one replica. [`super::incremental`] asks for what changed and
//! does so for the replica's whole group at once. An ERROR anywhere ends the run and is noted; the
//! replica is as it was before.

use assets::value::{ColumnSpec, Decode, Field, Source};
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::full;
use super::incremental::{self, Party};
use super::outcome;
use crate::drift::watch;
use crate::gucs;
use crate::installed;
use crate::replica::kept::history::{self, Figures, Mode, Run};
use crate::replica::kept::jobs::{self, Job};
use crate::replica::kept::standing;
use crate::replica::process::locks;
use crate::replica::process::shared;
use crate::replica::process::worker::{self, Task};
use crate::sql::clock;
use crate::sql::failure::{self, Failure};
use crate::sql::spi::{execute, lock_timeout};
use crate::sql::txn::{make_durable, transaction};

/// When an object was last changed.
pub const UPDATED: ColumnSpec =
    ColumnSpec { source: Source::Field(Field::Updated), decode: Decode::Timestamp, array: false };

/// A run's process.
#[allow(unsafe_code)] // the entry point of a process
#[unsafe(no_mangle)]
#[pg_guard]
pub extern "C-unwind" fn assets_fdw_refresh_main(_arg: pg_sys::Datum) {
    if let Some(task) = worker::begin() {
        run(&task);
        tidy();
        if !task.scheduled {
            // What succeeded by hand may bring others back, and what is due may have waited for this run.
            shared::nudge(task.database);
        }
    }
}

/// What is of no use any more goes.
fn tidy() {
    let tidied = failure::catch(|| {
        transaction(|| {
            if installed::usable() {
                history::forget();
                jobs::forget_requests();
            }
        });
    });
    if let Err(failure) = tidied {
        failure.log("what is of no use any more could not be forgotten");
    }
}

/// Does a task. What becomes of it is in the history; nothing is raised.
pub fn run(task: &Task) {
    let Some(job) = transaction(|| jobs::usable(task.target)) else { return };
    if task.scheduled {
        watch::before_refresh(&job);
    }
    let turn = || failure::catch(|| locks::turn(&job, task.scheduled, task.waited));
    // Of its own runs the scheduler notes how they ended.
    let (turn, terminated) = if task.scheduled { (turn(), false) } else { worker::until_terminated(turn) };
    let lock = match turn {
        _ if terminated => return outcome::not_begun(task, &job, &outcome::terminated()),
        Ok(Some(lock)) => lock,
        Ok(None) => {
            return transaction(|| {
                if jobs::usable(task.target).is_some() {
                    history::skipped(&job, task.run, &task.reason, "another refresh was under way", None);
                }
            });
        }
        Err(failure) => return outcome::not_begun(task, &job, &failure),
    };
    let begun = failure::catch(|| {
        // What a run before this one did is known by now.
        let (mode, note) = transaction(|| plan(task, &job));
        let run = Run {
            id: task.run,
            reason: task.reason.clone(),
            mode,
            with_run: None,
            note,
            began: clock::now(),
        };
        transaction(|| {
            let job = jobs::usable(task.target)?;
            history::begin(&job, &run);
            // A crash must not take the note along that tells of it.
            make_durable();
            Some(run)
        })
    });
    let mut run = match begun {
        Ok(Some(run)) => run,
        Ok(None) => return,
        Err(failure) => return outcome::not_begun(task, &job, &failure),
    };
    let mode = run.mode;
    let share = task.max_delete_share.unwrap_or_else(|| gucs::MAX_DELETE_SHARE.get());
    if run.mode == Mode::Incremental {
        let Err(why) = incremental::run(&party(task, &job, &run, share), lock) else { return };
        run.mode = Mode::Full;
        run.note = Some(why);
        let turned = failure::catch(|| transaction(|| history::turned(&run)));
        if let Err(failure) = turned {
            return outcome::broken(&party(task, &job, &run, share), &Figures::default(), &failure);
        }
    }
    if let (Mode::Full, Some(lock)) = (mode, lock) {
        // Whoever comes now sees that the replica is taken.
        lock.release();
    }
    let mut figures = Figures::default();
    let party = party(task, &job, &run, share);
    if let Err(failure) = failure::catch(|| full::run(&party, &mut figures)) {
        outcome::broken(&party, &figures, &failure);
    }
}

fn party<'a>(task: &Task, job: &'a Job, run: &'a Run, share: f64) -> Party<'a> {
    Party { job, run, share, scheduled: task.scheduled, neighbours: task.neighbours }
}

/// How a run compares, and why not as was asked for; inside a transaction.
fn plan(task: &Task, job: &Job) -> (Mode, Option<String>) {
    if task.mode == Some(Mode::Full) {
        return (Mode::Full, None);
    }
    let Some(standing) = standing::read(job.target) else { return (Mode::Full, None) };
    if standing.full_at.is_none() && standing.since.is_none() {
        return (Mode::Full, Some("it is the first load".to_owned()));
    }
    if let Some(obstacle) = standing.obstacle {
        return (Mode::Full, Some(obstacle));
    }
    let seed = u64::from(job.target.to_u32());
    if task.mode.is_none() && schedule::full_due(standing.full_at, standing.full_every, seed, clock::now()) {
        return (Mode::Full, Some("a full comparison is due".to_owned()));
    }
    (Mode::Incremental, None)
}

/// Tells whoever listens of a run that changed rows; heard when the transaction commits. Every role hears it, so it
/// says no more than the run's number: `refresh_history` tells those who may know.
pub fn notify(run: &Run, figures: &Figures) {
    if figures.changed() > 0 {
        let payload = serde_json::json!({ "run": run.id }).to_string();
        execute("SELECT pg_catalog.pg_notify('assets_fdw', $1)", &[payload.into()]);
    }
}

/// Whether so many rows changed, more than a tenth, that statistics are outdated.
pub fn changed_much(figures: &Figures) -> bool {
    figures.changed() > 0 && figures.changed() * 10 >= figures.rows
}

/// New statistics. The refresh has succeeded by then: a failure here is only logged, and whoever has the table locked
/// against it (VACUUM, for one) is not waited for.
pub fn analyze(job: &Job) {
    let analyzed = failure::catch(|| {
        transaction(|| {
            lock_timeout(incremental::PATIENCE);
            if let Some(job) = jobs::usable(job.target) {
                execute(&format!("ANALYZE {}", job.name), &[]);
            }
        });
    });
    if let Err(failure) = analyzed {
        Failure::log(&failure, &format!("ANALYZE of {} failed", job.name));
    }
}
