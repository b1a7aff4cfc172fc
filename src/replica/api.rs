//! The SQL functions of replicas (interface.md section 5).
#![allow(unsafe_code)] // locks held, and the worker that is waited for

use std::cell::Cell;
use std::ffi::c_int;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use pgrx::PgRelation;
use pgrx::bgworkers::{BackgroundWorkerStatus, DynamicBackgroundWorker};
use pgrx::datum::Interval;
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::replica::kept::history::{self, Ended, Mode};
use crate::replica::kept::jobs::{self, Job, New};
use crate::replica::process::shared;
use crate::replica::process::worker::{self, Task};
use crate::replica::table::apply;
use crate::replica::table::rights::{self, Tables, Use};
use crate::replica::table::target::Source;
use crate::sql::failure::Failure;
use crate::sql::spi::{execute, query_one, refuse_read_only};
use crate::{error, gucs, session};

/// `assets_fdw.materialize(…)`
#[pg_extern(sql = false)]
fn materialize(
    source: Option<pg_sys::Oid>,
    into_table: Option<&str>,
    every: Option<Interval>,
    full_every: Option<Interval>,
    history: Option<bool>,
    indexes: Option<Vec<Option<String>>>,
) -> pg_sys::Oid {
    let source = required(source, "source");
    let every = required(every, "every");
    let full_every = required(full_every, "full_every");
    check_interval("every", &every);
    check_interval("full_every", &full_every);
    refuse_read_only("materialize()");
    // SAFETY: no preconditions.
    let owner = unsafe { pg_sys::GetUserId() };
    // SAFETY: inside a transaction; waits interruptibly.
    unsafe { pg_sys::LockRelationOid(source, pg_sys::AccessShareLock as pg_sys::LOCKMODE) };
    let definition = Source::load(source);
    if session::find_mapping(definition.server, owner).is_none() {
        let (message, hint) = session::missing_mapping(definition.server, owner);
        error::raise_hint(PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT, message, hint);
    }
    let place = definition.place(into_table);
    let name = place.qualified();
    rights::require_source(source, owner, &name);
    let indexes: Vec<String> = indexes.unwrap_or_default().into_iter().flatten().collect();
    let target = definition.make(&place, &indexes);
    let history = (history == Some(true)).then(|| definition.make_history(&place, target));
    rights::require(&Tables { owner, target, name: &name, history }, Use::Write);
    jobs::add(&New { target, source, owner, every: &every, full_every: &full_every, history });
    apply::keep_columns(target, &apply::shared_columns(source, target));
    shared::wake_at_commit();
    say_if_unscheduled();
    target
}

/// `assets_fdw.request_refresh(target)`
#[pg_extern(sql = false)]
fn request_refresh(target: pg_sys::Oid) {
    let job = jobs::find_mine(target);
    refuse_read_only("request_refresh()");
    jobs::request(job.target);
    shared::wake_at_commit();
    say_if_unscheduled();
}

/// `assets_fdw.alter_materialization(…)`
#[pg_extern(sql = false)]
fn alter_materialization(
    target: Option<pg_sys::Oid>,
    every: Option<Interval>,
    full_every: Option<Interval>,
    enabled: Option<bool>,
) {
    let job = jobs::find_mine(required(target, "target"));
    refuse_read_only("alter_materialization()");
    if let Some(every) = &every {
        check_interval("every", every);
    }
    if let Some(full_every) = &full_every {
        check_interval("full_every", full_every);
    }
    // SAFETY: no preconditions.
    jobs::alter(&job, every, full_every, enabled, unsafe { pg_sys::GetUserId() });
    shared::wake_at_commit();
}

/// `assets_fdw.dematerialize(target, drop_table)`
#[pg_extern(sql = false)]
fn dematerialize(target: pg_sys::Oid, drop_table: bool) {
    let job = jobs::find_mine(target);
    refuse_read_only("dematerialize()");
    if drop_table {
        // First, so that a refresh under way and we take our locks in the same order.
        execute(&format!("DROP TABLE {}", job.name), &[]);
    }
    jobs::remove(target);
    // Where there is none any more, the scheduler leaves.
    shared::nudge_at_commit();
}

/// `assets_fdw.refresh_group(target, mode, schema_wide)`: a worker does the run, since a function cannot
/// commit; this waits for it, interruptibly. Gives the figures of the replica and of those of its group that
/// were refreshed along; one for which that failed is not among the rows.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn refresh_group(
    target: pg_sys::Oid,
    mode: &str,
    schema_wide: bool,
) -> TableIterator<
    'static,
    (
        name!(target, pg_sys::Oid),
        name!(mode, String),
        name!(requests, i64),
        name!(seen, i64),
        name!(inserted, i64),
        name!(updated, i64),
        name!(deleted, i64),
        name!(unchanged, i64),
        name!(seconds, f64),
    ),
> {
    let (run, ended) = refresh_now(target, mode, schema_wide);
    let along = history::ended_along(run).into_iter().filter(|(_, ended)| ended.outcome == "ok");
    let rows: Vec<_> = std::iter::once((target, ended))
        .chain(along)
        .map(|(target, Ended { mode, figures: f, seconds, .. })| {
            (target, mode, f.requests, f.seen, f.inserted, f.updated, f.deleted, f.unchanged, seconds)
        })
        .collect();
    TableIterator::new(rows)
}

/// Has a worker refresh a replica, waits for it, and gives the run's number and what became of it; a
/// failure is an ERROR.
fn refresh_now(target: pg_sys::Oid, mode: &str, neighbours: bool) -> (i64, Ended) {
    let how = match mode {
        "auto" => None,
        "full" => Some(Mode::Full),
        "incremental" => Some(Mode::Incremental),
        _ => error::raise_hint(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("invalid refresh mode \"{mode}\""),
            "It must be one of: auto, incremental, full.",
        ),
    };
    // SAFETY: no preconditions.
    if unsafe { pg_sys::RecoveryInProgress() } {
        error::raise(
            PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            "a replica cannot be refreshed on a standby",
        );
    }
    let job = jobs::find_mine(target);
    refuse_read_only("refresh()");
    if worker::is_run() {
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("{} cannot be refreshed by what a refresh calls", job.name),
            "The refresh under way would wait for it, and it for that. A trigger may call \
             assets_fdw.request_refresh(), which takes effect at commit.",
        );
    }
    refuse_if_locked(&job);
    // SAFETY: no preconditions.
    let database = unsafe { pg_sys::MyDatabaseId };
    let run = history::next_run();
    let task = Task {
        database,
        owner: job.owner,
        target,
        run,
        max_delete_share: Some(gucs::MAX_DELETE_SHARE.get()),
        scheduled: false,
        waited: false,
        neighbours,
        mode: how,
        reason: "refresh()".into(),
    };
    let Some(handle) = worker::start(&task, &job.name) else {
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
            "the server has no background worker to spare",
            "Raise max_worker_processes, or try again later.",
        );
    };
    Waiting(Some(handle)).until_it_ends(&job);
    let Some(ended) = history::ended(run) else {
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_CONNECTION_FAILURE,
            format!("the worker for {} ended before the refresh began", job.name),
            "The server's log says why; the replica's owner may not log in or connect, for one.",
        );
    };
    if ended.outcome != "ok" {
        ended.failure.unwrap_or_else(|| died(&job)).raise(Some(format!("Refreshing {}.", job.name)));
    }
    // What was not done as asked for; a first load, or a full comparison that was due, is no surprise.
    if let Some(note) = &ended.note {
        let say = |message: String| {
            error::report(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, message).report(PgLogLevel::NOTICE);
        };
        if how == Some(Mode::Incremental) && ended.mode != mode {
            say(format!("everything was compared: {note}"));
        } else if let Some(at) = note.find(history::WITHOUT) {
            say(format!("refreshed {}", &note[at..]));
        }
    }
    (run, ended)
}

fn died(job: &Job) -> Failure {
    Failure::new(
        PgSqlErrorCode::ERRCODE_OPERATOR_INTERVENTION,
        format!("the worker that refreshed {} was terminated", job.name),
    )
    .with_hint("The replica is as it was before.")
}

pub fn required<T>(value: Option<T>, name: &str) -> T {
    value.unwrap_or_else(|| {
        error::raise(PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED, format!("{name} must not be NULL"))
    })
}

pub fn check_interval(name: &str, interval: &Interval) {
    let sql = "SELECT $1 BETWEEN interval '1 second' AND interval '1 year'";
    if query_one(sql, &[(*interval).into()], |row| row.get(1)).flatten() != Some(true) {
        error::raise(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("{name} must be between 1 second and 1 year"),
        );
    }
}

/// Says once a session that nothing happens by itself.
pub fn say_if_unscheduled() {
    thread_local! {
        static SAID: Cell<bool> = const { Cell::new(false) };
    }
    let name =
        query_one("SELECT current_database()::text", &[], |row| row.must::<String>(1)).unwrap_or_default();
    let (message, hint) = if !shared::is_preloaded() {
        (
            "replicas are not refreshed by themselves: assets_fdw is not in shared_preload_libraries",
            "Add it there and restart the server; until then, and for the first load, call assets_fdw.refresh().",
        )
    } else if !shared::is_listed(&name) {
        (
            "replicas in this database are not refreshed by themselves: assets_fdw.databases does not name it",
            "Add it there and reload the configuration, or call assets_fdw.refresh().",
        )
    } else {
        return;
    };
    if !SAID.replace(true) {
        error::report(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, message)
            .set_hint(hint)
            .report(PgLogLevel::NOTICE);
    }
}

/// The worker needs what the calling transaction holds: it would wait for us, and we for it.
fn refuse_if_locked(job: &Job) {
    // ROW SHARE and whatever is stronger: even a row lock may hold the worker up.
    // SAFETY: opened under the lock that a look takes, and closed again by its guard.
    let locked = unsafe {
        let relation = PgRelation::with_lock(job.target, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        pg_sys::CheckRelationLockedByMe(relation.as_ptr(), pg_sys::RowShareLock as pg_sys::LOCKMODE, true)
    };
    if locked {
        held_up(job);
    }
}

fn held_up(job: &Job) -> ! {
    error::raise_hint(
        PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
        format!("cannot refresh {}: the calling transaction has created, changed or locked it", job.name),
        "A refresh is done by another process: commit first. In the same transaction request_refresh() may be \
         called, which takes effect at commit.",
    )
}

/// The process that this session waits for; 0: none.
static AWAITED: AtomicI32 = AtomicI32::new(0);

/// A worker that is waited for; cancelled when the waiting ends before it does.
struct Waiting(Option<DynamicBackgroundWorker>);

impl Waiting {
    fn until_it_ends(mut self, job: &Job) {
        cancel_at_exit();
        let mut looked = Instant::now();
        let mut held = 0;
        loop {
            let Some(handle) = &self.0 else { return };
            match handle.pid() {
                Ok(pid) => {
                    AWAITED.store(pid, Ordering::Relaxed);
                    // What neither of us can see alone: the worker waits for a lock of ours.
                    if looked.elapsed() > Duration::from_millis(500) {
                        looked = Instant::now();
                        let sql =
                            "SELECT pg_catalog.pg_backend_pid() = ANY (pg_catalog.pg_blocking_pids($1))";
                        let ours = query_one(sql, &[pid.into()], |row| row.get(1)).flatten() == Some(true);
                        held = if ours { held + 1 } else { 0 };
                        // One of its group that is held up is left out before long.
                        if held > 3 {
                            held_up(job);
                        }
                    }
                }
                Err(BackgroundWorkerStatus::Stopped | BackgroundWorkerStatus::PostmasterDied) => {
                    self.0 = None;
                    AWAITED.store(0, Ordering::Relaxed);
                    return;
                }
                Err(_) => {}
            }
            shared::wait(500);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        AWAITED.store(0, Ordering::Relaxed);
        let Some(handle) = self.0.take() else { return };
        match handle.pid() {
            // The run is cancelled, and says so in the history.
            // SAFETY: a process of our own making that has not ended.
            Ok(pid) => unsafe {
                libc::kill(pid, libc::SIGINT);
            },
            // It may not even have begun.
            Err(_) => {
                handle.terminate();
            }
        }
    }
}

/// A session that is terminated does not unwind: its worker is cancelled on the way out.
fn cancel_at_exit() {
    thread_local! {
        static DONE: Cell<bool> = const { Cell::new(false) };
    }
    if !DONE.replace(true) {
        // SAFETY: once a session; the function lives as long as the library.
        unsafe { pg_sys::before_shmem_exit(Some(cancel_awaited), pg_sys::Datum::from(0usize)) };
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn cancel_awaited(_code: c_int, _arg: pg_sys::Datum) {
    let pid = AWAITED.swap(0, Ordering::Relaxed);
    if shared::is_alive(pid) {
        // SAFETY: a process of our own making, alive a moment ago.
        unsafe { libc::kill(pid, libc::SIGINT) };
    }
}
