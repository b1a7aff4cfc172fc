//! The scheduler of one database: looks at its jobs when woken and when the next of them is due, and starts
//! workers for those that are; every `assets_fdw.naptime` while something is due that cannot be started. It has
//! rights over the extension's tables only to read jobs and to note what no worker can note: a death, a job that
//! cannot run. It leaves when there is no job, so that a database without replicas has no resident process.
#![allow(unsafe_code)] // the entry point of a process

use crate::installed;
use crate::sql::clock;
use std::collections::HashSet;

use course::Blame;
use pgrx::bgworkers::{BackgroundWorkerStatus, DynamicBackgroundWorker};
use pgrx::pg_sys;
use pgrx::prelude::*;
use schedule::{Begun, Busy, Start, Turns};

use super::locks::{self, Held};
use super::worker::{self, Next, Task};
use super::{launcher, shared};
use crate::gucs;
use crate::installed::{Installed, Unfit, installed};
use crate::replica::kept::history::{self, Mode};
use crate::replica::kept::jobs::{self, Obstacle, Scheduled};
use crate::sql::failure::{self, Failure};
use crate::sql::spi::lock_timeout;
use crate::sql::txn::transaction;

/// So many naps a scheduler sleeps at most, and so many milliseconds, whatever it expects: roles, databases and
/// clocks change without anybody waking it.
const NAPS: i64 = 30;
const LONGEST: i64 = 60_000;

/// So often, and after so many milliseconds, it is looked whether a lock on a table was only somebody's who was
/// committing.
const LOOKS: usize = 5;
const A_MOMENT: i64 = 10;

struct Launched {
    target: pg_sys::Oid,
    run: i64,
    reason: &'static str,
    /// It compares everything: as far as the run itself has noted, else as it was meant.
    full: bool,
    /// It has ended, and its process has not.
    over: bool,
    handle: DynamicBackgroundWorker,
}

impl Launched {
    fn has_ended(&self) -> bool {
        matches!(
            self.handle.pid(),
            Err(BackgroundWorkerStatus::Stopped | BackgroundWorkerStatus::PostmasterDied)
        )
    }
}

#[derive(Default)]
struct Scheduler {
    database: u32,
    launched: Vec<Launched>,
    /// Jobs that were due and found no worker; noted once, until they run.
    starved: HashSet<u32>,
    /// Jobs that are due and that other sessions have locked.
    locked: HashSet<u32>,
    turns: Turns,
    /// Full comparisons that others of their groups wait for, by replica and run, and since when.
    compared: Vec<((u32, i64), i64)>,
    /// What was last said to be wrong with the extension here.
    unknown: Option<Unfit>,
}

/// The scheduler's process. Its argument is the database's OID.
#[unsafe(no_mangle)]
#[pg_guard]
pub extern "C-unwind" fn assets_fdw_scheduler_main(argument: pg_sys::Datum) {
    worker::handle_signals();
    let database = pg_sys::Oid::from(argument.value() as u32);
    // SAFETY: no preconditions.
    if !shared::scheduler_begins(database.to_u32(), unsafe { pg_sys::MyProcPid }) {
        return;
    }
    worker::connect(database, pg_sys::InvalidOid, c"assets_fdw scheduler");
    let mut scheduler = Scheduler { database: database.to_u32(), ..Scheduler::default() };
    worker::forever("the scheduler", || i64::from(gucs::NAPTIME.get()), || scheduler.look());
}

impl Scheduler {
    fn look(&mut self) -> Next {
        worker::serve_reload();
        if shared::is_held(self.database) {
            // Whoever holds the database has it looked after again.
            return Next::Done;
        }
        // Nothing is to be written here. The process that follows this one learns of what is set by then.
        // SAFETY: a setting of this process.
        if unsafe { pg_sys::DefaultXactReadOnly } {
            pgrx::log!("assets_fdw: nothing is refreshed: default_transaction_read_only is on");
            return Next::Done;
        }
        let asked = shared::asked(self.database);
        // First: a run that ends after the jobs were read counts as under way, or it would be done twice.
        self.reap();
        if !self.knows_the_extension() {
            return Next::Again;
        }
        self.see_how_they_go();
        let Some(mut jobs) = transaction(jobs_here) else { return self.leave() };
        transaction(jobs::forget_requests);
        self.find_dead(&jobs);
        let now = clock::now();
        let all: Vec<schedule::Facts> = jobs.iter().map(|job| job.facts).collect();
        let others_run = jobs.iter().any(|job| job.run.is_some() && !self.is_launched(job.target));
        jobs.retain(|job| match &job.obstacle {
            Some(obstacle) => {
                self.report(job, obstacle, now);
                false
            }
            None => true,
        });
        if !self.start(&jobs, now) {
            return Next::Done;
        }
        shared::scheduler_works(self.database);
        if all.is_empty() && self.launched.is_empty() {
            return self.leave();
        }
        if shared::asked(self.database) != asked || self.launched.iter().any(Launched::has_ended) {
            return Next::After(0);
        }
        if others_run { Next::Again } else { self.sleep(&all, now) }
    }

    /// Until the first is due that is not under way; where one is already, something keeps it from being started.
    fn sleep(&self, jobs: &[schedule::Facts], now: i64) -> Next {
        let resting: Vec<schedule::Facts> =
            jobs.iter().filter(|facts| !self.is_launched(facts.id.into())).copied().collect();
        let nap = i64::from(gucs::NAPTIME.get());
        match schedule::next_due(&resting, now) {
            Some(at) if at <= now => Next::Again,
            // To the end of that millisecond.
            Some(at) => Next::After(((at - now) / 1000 + 1).min(LONGEST.min(nap * NAPS).max(nap))),
            None => Next::After(LONGEST.min(nap * NAPS).max(nap)),
        }
    }

    /// Whether a run that we have started is at a replica.
    fn is_launched(&self, target: pg_sys::Oid) -> bool {
        self.launched.iter().any(|launched| !launched.over && launched.target == target)
    }

    /// What runs do turns out when they begin, and may change; a process that is left with statistics to make is in
    /// nobody's way.
    fn see_how_they_go(&mut self) {
        let runs: Vec<i64> = self.launched.iter().map(|launched| launched.run).collect();
        if runs.is_empty() {
            return;
        }
        let notes = || if installed::usable() { history::notes_of(&runs) } else { Vec::new() };
        for (run, full, over) in transaction(notes) {
            if let Some(launched) = self.launched.iter_mut().find(|launched| launched.run == run) {
                (launched.full, launched.over) = (full, over);
            }
        }
    }

    /// Whether the extension, if it is there, is the one that this library is made for. If not, nothing is
    /// read or written until it is: an update comes without anybody waking us.
    fn knows_the_extension(&mut self) -> bool {
        match transaction(installed) {
            Installed::Unfit(unfit) => {
                if self.unknown.as_ref() != Some(&unfit) {
                    pgrx::log!("assets_fdw: nothing is refreshed: {}. {}", unfit.message, unfit.hint);
                    self.unknown = Some(unfit);
                }
                false
            }
            Installed::Known | Installed::Absent => {
                self.unknown = None;
                true
            }
        }
    }

    /// Says that nobody schedules here any more and then looks once more, so that a job that came
    /// just now is seen: by us, or by the scheduler that whoever made it asked for.
    fn leave(&self) -> Next {
        if !transaction(is_looked_after) {
            // Not for lack of jobs: the launcher, which may see it only when that is over, is to have a word in it.
            shared::scheduler_sent_away(self.database);
            return Next::Done;
        }
        shared::scheduler_leaves(self.database);
        let work = transaction(|| jobs_here().is_some_and(|jobs| !jobs.is_empty()));
        // SAFETY: no preconditions.
        if work && shared::scheduler_begins(self.database, unsafe { pg_sys::MyProcPid }) {
            return Next::Again;
        }
        Next::Done
    }

    /// Takes note of workers that have ended.
    fn reap(&mut self) {
        let ended: Vec<Launched> = self.launched.extract_if(.., |launched| launched.has_ended()).collect();
        for launched in ended {
            if locks::try_lock(launched.target) {
                note(|| {
                    if let Some(job) = jobs::usable(launched.target)
                        && !shared::is_held(self.database)
                        && !history::never_began(&job, launched.run, launched.reason)
                    {
                        history::died_if_running(&job);
                    }
                });
                locks::unlock(launched.target);
            }
        }
    }

    /// Takes note of runs that are noted as under way although no process does them: the server was
    /// restarted, or the worker was killed while somebody else waited for it.
    fn find_dead(&self, jobs: &[Scheduled]) {
        for job in jobs.iter().filter(|job| job.run.is_some() && !self.is_launched(job.target)) {
            if locks::try_lock(job.target) {
                note(|| {
                    if let Some(job) = jobs::find(job.target) {
                        history::died_if_running(&job);
                    }
                });
                locks::unlock(job.target);
            }
        }
    }

    /// A job that cannot run is noted when it is due, and stopped where that will not change by itself.
    fn report(&self, scheduled: &Scheduled, obstacle: &Obstacle, now: i64) {
        let (at, reason) = schedule::due(&scheduled.facts, None, now);
        if at > now || scheduled.run.is_some() || self.is_launched(scheduled.target) {
            return;
        }
        note(|| {
            let Some(job) = jobs::find(scheduled.target) else { return };
            if obstacle.disables && !jobs::disable(job.target) {
                return;
            }
            let failure = Failure::new(PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT, obstacle.message.as_str());
            history::skipped(
                &job,
                history::next_run(),
                reason.as_str(),
                &obstacle.message,
                Some(&obstacle.hint),
            );
            // Whoever has it enabled again is not to wait.
            let reason = if obstacle.disables { "" } else { reason.as_str() };
            history::obstructed(&job, reason, &failure, Blame::Own);
        });
    }

    /// Starts what is due. False where the database has become one that nothing is to be written to.
    fn start(&mut self, jobs: &[Scheduled], now: i64) -> bool {
        let facts: Vec<schedule::Facts> = self.free(jobs, now).iter().map(|job| job.facts).collect();
        let busy: Vec<Busy> = self
            .launched
            .iter()
            .map(|l| Busy { id: l.target.to_u32(), full: l.full, over: l.over })
            .collect();
        let most = usize::try_from(gucs::MAX_WORKERS.get()).unwrap_or(1);
        let mut turns = std::mem::take(&mut self.turns);
        let (mut held, mut read_only) = (None, None);
        schedule::choose(&facts, &busy, most, now, &mut turns, |start| {
            if *read_only.get_or_insert_with(|| transaction(jobs::is_read_only)) {
                return Begun::Taken;
            }
            let Some(job) = jobs.iter().find(|job| job.facts.id == start.id) else { return Begun::Taken };
            let held = held.get_or_insert_with(|| transaction(locks::held));
            match self.is_free(job, start.full, jobs, held, now) {
                Some(waited) => self.begin(job, start, waited),
                None => Begun::Taken,
            }
        });
        self.turns = turns;
        read_only != Some(true)
    }

    /// Whether nobody else is at a job, or at its group. Somebody's full comparison of another one of the group is
    /// waited for, here, where that takes up no worker: its end brings the whole group to one moment. Gives whether
    /// that takes too long; a second comparison of the group waits on.
    fn is_free(
        &mut self,
        job: &Scheduled,
        full: bool,
        jobs: &[Scheduled],
        held: &Held,
        now: i64,
    ) -> Option<bool> {
        if held.replica(job.target) {
            return None;
        }
        let Some(group) = job.facts.group else { return Some(false) };
        if held.group(job.facts.server, group) {
            return None;
        }
        // Another comparison is waited for anew.
        self.compared.retain(|((id, run), _)| {
            jobs.iter().any(|other| other.facts.id == *id && other.run == Some(*run))
        });
        let patience = i64::try_from(locks::PATIENCE.as_micros()).unwrap_or(i64::MAX);
        let (mut compared, mut long) = (false, true);
        for other in jobs.iter().filter(|other| other.target != job.target) {
            let of_group = (other.facts.server, other.facts.group) == (job.facts.server, Some(group));
            // One of ours may not have begun yet.
            let begun = held.replica(other.target);
            let ours = self.is_launched(other.target);
            if !(of_group && schedule::joins(&other.facts) && (begun || ours)) {
                continue;
            }
            compared = true;
            let Some(run) = other.run.filter(|_| begun) else {
                long = false;
                continue;
            };
            let key = (other.facts.id, run);
            let since = match self.compared.iter().find(|(known, _)| *known == key) {
                Some((_, since)) => *since,
                None => {
                    self.compared.push((key, now));
                    now
                }
            };
            long &= !(since..since + patience).contains(&now);
        }
        match compared {
            false => Some(false),
            true => (!full && long).then_some(true),
        }
    }

    fn begin(&mut self, job: &Scheduled, start: Start, waited: bool) -> Begun {
        let found = transaction(|| jobs::find(job.target).map(|found| (history::next_run(), found.name)));
        let Some((run, name)) = found else { return Begun::Taken };
        let task = Task {
            database: pg_sys::Oid::from(self.database),
            owner: job.owner,
            target: job.target,
            run,
            max_delete_share: None,
            scheduled: true,
            waited,
            neighbours: false,
            // What is to be compared some time may have to wait until there is room for that.
            mode: (!start.full).then_some(Mode::Incremental),
            reason: start.reason.as_str().to_owned(),
        };
        match worker::start(&task, &name) {
            Some(handle) => {
                self.starved.remove(&start.id);
                let (target, reason, full) = (job.target, start.reason.as_str(), start.full);
                self.launched.push(Launched { target, run, reason, full, over: false, handle });
                Begun::Yes
            }
            None => {
                self.starve(job, start.reason.as_str());
                Begun::NoWorker
            }
        }
    }

    /// The jobs without those that are due and whose table another session has locked: a run would wait and ask for
    /// nothing. Each is due until it is free, and the history says so once.
    fn free<'a>(&mut self, jobs: &'a [Scheduled], now: i64) -> Vec<&'a Scheduled> {
        let is_due = |job: &Scheduled| {
            !self.is_launched(job.target)
                && job.run.is_none()
                && schedule::due(&job.facts, None, now).0 <= now
        };
        let due: Vec<&Scheduled> = jobs.iter().filter(|job| is_due(job)).collect();
        let look = || -> Vec<&Scheduled> {
            match due.is_empty() {
                true => Vec::new(),
                false => transaction(|| {
                    due.iter().copied().filter(|job| !locks::table_is_free(job.target)).collect()
                }),
            }
        };
        let mut locked = look();
        // Whoever commits is heard a moment before its locks are given back, and makes its replicas so.
        for _ in 0..LOOKS {
            if locked.iter().all(|job| self.locked.contains(&job.facts.id)) {
                break;
            }
            shared::wait(A_MOMENT);
            locked = look();
        }
        self.locked.retain(|id| locked.iter().any(|job| job.facts.id == *id));
        for job in &locked {
            if self.locked.insert(job.facts.id) && locks::try_lock(job.target) {
                note(|| {
                    if let Some(found) = jobs::find(job.target) {
                        let what = "another session has locked it";
                        history::held_up(&found, what);
                        let (_, reason) = schedule::due(&job.facts, None, now);
                        let hint = Some("pg_locks shows which. It is refreshed as soon as it is free.");
                        history::skipped(&found, history::next_run(), reason.as_str(), what, hint);
                    }
                });
                locks::unlock(job.target);
            }
        }
        jobs.iter().filter(|job| !self.locked.contains(&job.facts.id)).collect()
    }

    fn starve(&mut self, job: &Scheduled, reason: &str) {
        if self.starved.insert(job.facts.id) {
            note(|| {
                if let Some(job) = jobs::find(job.target) {
                    let hint = "Raise max_worker_processes; the refresh is tried again and again meanwhile.";
                    let what = "the server has no background worker to spare";
                    history::skipped(&job, history::next_run(), reason, what, Some(hint));
                    history::waits(&job, &format!("{what}; raise max_worker_processes"));
                }
            });
        }
    }
}

/// Notes something on a job. A session that is removing it is not waited for: it comes up again.
fn note(body: impl FnOnce()) {
    let noted = failure::catch(|| {
        transaction(|| {
            lock_timeout(1000);
            body();
        });
    });
    if let Err(failure) = noted {
        failure.log("what became of a replica could not be noted");
    }
}

/// The jobs; none where nothing is scheduled at all: no extension, or a database that is not looked after.
fn jobs_here() -> Option<Vec<Scheduled>> {
    (is_looked_after() && installed::usable()).then(jobs::scheduled)
}

/// Whether `assets_fdw.databases` names this database, and it takes connections, without which no worker could begin.
fn is_looked_after() -> bool {
    database_name().is_some_and(|name| shared::is_listed(&name)) && launcher::is_connectable()
}

fn database_name() -> Option<String> {
    // SAFETY: a catalogue look-up inside a transaction; the name is palloc'd.
    unsafe {
        let name = pg_sys::get_database_name(pg_sys::MyDatabaseId);
        (!name.is_null()).then(|| crate::fdw::pg::text(name))
    }
}
