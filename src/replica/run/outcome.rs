//! How a run ends for a replica, as it is noted.

use course::{Becomes, Blame, Due};
use pgrx::PgSqlErrorCode;

use super::incremental::Party;
use crate::installed;
use crate::replica::kept::history::{self, Figures, Run};
use crate::replica::kept::jobs::{self, Job};
use crate::replica::process::worker::Task;
use crate::sql::failure::{self, Failure};
use crate::sql::txn::transaction;

/// What a failure is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The run was cancelled, or the server shuts down.
    Stopped,
    /// A lock of another session was waited for too long.
    Locked,
    /// The service.
    Service,
    /// The replica: its definition, its values, its constraints.
    Own,
}

impl Cause {
    /// Of a failure that was met while one replica was worked on.
    pub fn of(failure: &Failure) -> Self {
        if failure.is_interruption() {
            Cause::Stopped
        } else if failure.is_lock_timeout() {
            Cause::Locked
        } else if failure.is_of_service() {
            Cause::Service
        } else {
            Cause::Own
        }
    }
}

impl From<Cause> for Becomes {
    /// What a run becomes that ends over it.
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Stopped => Becomes::Failed(Blame::Nobody),
            Cause::Locked => Becomes::PutOff(Due::WhenFree),
            Cause::Service => Becomes::Failed(Blame::Service),
            Cause::Own => Becomes::Failed(Blame::Own),
        }
    }
}

/// What is said of a replica that another session has locked.
pub fn locked() -> Failure {
    Failure::new(PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE, "another session has locked it")
        .with_hint("pg_locks shows which. The refresh is tried again as soon as it is free.")
}

/// What is said of one that is gone.
pub fn removed() -> Failure {
    Failure::new(PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT, "the replica was removed meanwhile")
}

/// What is said of one that is put off.
pub fn put_off_over(why: &str) -> Failure {
    Failure::new(PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, why)
}

/// Notes what became of a run; inside a transaction. `retried`: whether its replica is due again by itself after
/// a run that was stopped; else somebody waits for it, and the schedule is as it was.
pub fn note(job: &Job, run: &Run, figures: &Figures, becomes: Becomes, failure: &Failure, retried: bool) {
    if jobs::usable(job.target).is_none() {
        return history::removed(run, &failure.message);
    }
    match becomes {
        Becomes::Failed(blame) => history::failed(job, run, figures, failure, blame, retried),
        Becomes::PutOff(due) => history::put_off(job, run, &failure.message, due),
        Becomes::Released => history::put_off(job, run, &failure.message, Due::AsScheduled),
        // The first is noted with the rows, the other goes on.
        Becomes::Refreshed | Becomes::Turned => {}
    }
}

/// What is said of a run whose worker was told to end before it began.
pub fn terminated() -> Failure {
    Failure::new(
        PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN,
        "the worker was terminated while it waited for its turn, or the server stops",
    )
}

/// A run did not begin: it was cancelled while it waited for its turn, or could not be noted as under way.
pub fn not_begun(task: &Task, job: &Job, failure: &Failure) {
    failure.log(&format!("the refresh of {} could not begin", job.name));
    let blame = match Becomes::from(Cause::of(failure)) {
        Becomes::Failed(blame) => blame,
        _ => Blame::Nobody,
    };
    let noted = failure::catch(|| {
        transaction(|| {
            if installed::usable() && jobs::usable(job.target).is_some() {
                let blame = task.scheduled.then_some(blame);
                history::not_begun(job, task.run, &task.reason, failure, blame);
            }
        });
    });
    if let Err(failure) = noted {
        failure.log(&format!("the failure of {} could not be noted", job.name));
    }
}

/// A run of one replica failed as a whole.
pub fn broken(party: &Party<'_>, figures: &Figures, failure: &Failure) {
    let (job, run) = (party.job, party.run);
    let becomes = Becomes::from(Cause::of(failure));
    failure.log(&format!("the refresh of {} failed", job.name));
    let noted = failure::catch(|| {
        transaction(|| {
            if installed::usable() {
                note(job, run, figures, becomes, failure, party.scheduled);
            }
        });
    });
    if let Err(failure) = noted {
        failure.log(&format!("the failure of {} could not be noted", job.name));
    }
}
