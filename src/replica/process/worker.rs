//! Processes: how each begins, and how a run's worker is started.
#![allow(unsafe_code)] // signals and connections of a process of our own

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder, DynamicBackgroundWorker};
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::shared;
use crate::pg_compat;
use crate::replica::kept::history::Mode;
use crate::sql::failure::{self, Failure};

unsafe extern "C-unwind" {
    /// The server's own handler of SIGTERM: sets ProcDiePending, served by the next check for
    /// interrupts, also in the middle of a lock wait. pgrx's handler sets a flag that nothing there
    /// looks at.
    fn die(signal: c_int);
    /// The server's own handler of SIGINT: the statement fails with 57014.
    fn StatementCancelHandler(signal: c_int);
    /// The server's own handler of SIGHUP.
    fn SignalHandlerForConfigReload(signal: c_int);
}

/// Has the statement fail with 57014, and remembers that it was from outside: a trigger may pass on an error of the
/// same SQLSTATE from somewhere else.
unsafe extern "C-unwind" fn cancel(signal: c_int) {
    failure::note_cancel();
    // SAFETY: the server's own handler, called as a handler.
    unsafe { StatementCancelHandler(signal) };
}

/// Whether this process was told to end while it could still note so ([`until_terminated`]).
static TERMINATED: AtomicBool = AtomicBool::new(false);

/// A statement that fails can be noted; a process that ends at once notes nothing.
unsafe extern "C-unwind" fn terminate(signal: c_int) {
    TERMINATED.store(true, Ordering::Relaxed);
    // SAFETY: a handler that is called as one.
    unsafe { cancel(signal) };
}

/// Does something that ends as if it were cancelled where the process is told to end meanwhile, so that this can be
/// noted: says whether it was. A second signal ends the process.
pub fn until_terminated<T>(body: impl FnOnce() -> T) -> (T, bool) {
    // SAFETY: handlers of this process; both serve the signal at the next check for interrupts.
    unsafe { pg_compat::on_signal(libc::SIGTERM, terminate) };
    let value = body();
    // SAFETY: as above.
    unsafe { pg_compat::on_signal(libc::SIGTERM, die) };
    (value, TERMINATED.load(Ordering::Relaxed))
}

/// Sets the signal handlers; the first thing in every process.
pub fn handle_signals() {
    // SAFETY: at the begin of a process, before signals are let in; the handlers are the server's.
    unsafe {
        pg_compat::on_signal(libc::SIGTERM, die);
        pg_compat::on_signal(libc::SIGINT, cancel);
        pg_compat::on_signal(libc::SIGHUP, SignalHandlerForConfigReload);
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// Serves a reload of the configuration, where one is pending.
pub fn serve_reload() -> bool {
    // SAFETY: a flag of this process, set by its signal handler; the main loop is where the server
    // itself reads the files.
    unsafe {
        if pg_sys::ConfigReloadPending == 0 {
            return false;
        }
        pg_sys::ConfigReloadPending = 0;
        pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
    }
    true
}

/// Connects to a database as a role; InvalidOid: as the bootstrap superuser. What roles and
/// databases may set is then set to what our statements rely on, as logical replication does. Whether a database is
/// to be written to at all is the scheduler's to know: it alone leaves `default_transaction_read_only` as it is.
pub fn connect(database: pg_sys::Oid, role: pg_sys::Oid, name: &std::ffi::CStr) {
    BackgroundWorker::connect_worker_to_spi_by_oid(Some(database), Some(role));
    let settings = [
        (c"search_path", c""),
        (c"row_security", c"off"),
        (c"default_transaction_isolation", c"read committed"),
        (c"default_transaction_read_only", c"off"),
        (c"default_transaction_deferrable", c"off"),
        (c"statement_timeout", c"0"),
        (c"lock_timeout", c"0"),
        // From PostgreSQL 17 on.
        (c"transaction_timeout", c"0"),
        // Texts of values are compared with what Assets gave; the order of days and months is the owner's.
        (c"datestyle", c"ISO"),
        (c"intervalstyle", c"postgres"),
        (c"extra_float_digits", c"1"),
        (c"application_name", name),
    ];
    let reads = role == pg_sys::InvalidOid;
    for (setting, value) in
        settings.into_iter().filter(|(s, _)| !reads || *s != c"default_transaction_read_only")
    {
        // SAFETY: both are C strings; the process has read its roles' settings by now. What is not a setting reads as null.
        unsafe {
            if pg_sys::GetConfigOption(setting.as_ptr(), true, false).is_null() {
                continue;
            }
            pg_sys::SetConfigOption(
                setting.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
            );
        }
    }
}

/// What a run's worker is told. 128 bytes of text are all that can be told it.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// The database.
    pub database: pg_sys::Oid,
    /// The job's owner, whom the worker runs as.
    pub owner: pg_sys::Oid,
    /// The replica.
    pub target: pg_sys::Oid,
    /// The run's number in the history.
    pub run: i64,
    /// `assets_fdw.max_delete_share` of whoever asked; none: the worker's own.
    pub max_delete_share: Option<f64>,
    /// Whether a scheduler started it; else someone waits for it.
    pub scheduled: bool,
    /// Whether it was waited already for those of its group that somebody compares in full.
    pub waited: bool,
    /// Whether the replicas of its group beside it in its schema come along, due or not.
    pub neighbours: bool,
    /// How it is to compare; none: as is best.
    pub mode: Option<Mode>,
    /// Why it runs.
    pub reason: String,
}

impl Task {
    fn to_text(&self) -> String {
        format!(
            "{} {} {} {} {} {} {} {} {}",
            self.database.to_u32(),
            self.owner.to_u32(),
            self.target.to_u32(),
            self.run,
            self.max_delete_share.map_or_else(|| "-".to_owned(), |share| share.to_string()),
            u8::from(self.scheduled) + u8::from(self.scheduled && self.waited),
            u8::from(self.neighbours),
            self.mode.map_or("auto", Mode::as_str),
            self.reason
        )
    }

    fn from_text(text: &str) -> Option<Self> {
        let mut words = text.splitn(9, ' ');
        let oid = |word: Option<&str>| word?.parse::<u32>().ok().map(pg_sys::Oid::from);
        let (database, owner, target) = (oid(words.next())?, oid(words.next())?, oid(words.next())?);
        let (run, share, scheduled) = (words.next()?, words.next()?, words.next()?);
        Some(Self {
            database,
            owner,
            target,
            run: run.parse().ok()?,
            max_delete_share: share.parse().ok(),
            scheduled: scheduled != "0",
            waited: scheduled == "2",
            neighbours: words.next()? == "1",
            mode: match words.next()? {
                "full" => Some(Mode::Full),
                "incremental" => Some(Mode::Incremental),
                _ => None,
            },
            reason: words.next()?.to_owned(),
        })
    }
}

/// Starts a run's worker; the calling process is told when it begins and ends. None where the server
/// has no worker to spare (`max_worker_processes`).
pub fn start(task: &Task, name: &str) -> Option<DynamicBackgroundWorker> {
    BackgroundWorkerBuilder::new(&format!("assets_fdw refresh of {}", fit(name)))
        .set_type("assets_fdw refresh")
        .set_library("assets_fdw")
        .set_function("assets_fdw_refresh_main")
        .enable_spi_access()
        // SAFETY: no preconditions.
        .set_notify_pid(unsafe { pg_sys::MyProcPid })
        .set_extra(&task.to_text())
        .load_dynamic()
        .ok()
}

/// Names of processes have 95 bytes.
fn fit(name: &str) -> &str {
    let mut end = name.len().min(70);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

static IS_RUN: AtomicBool = AtomicBool::new(false);

/// Whether this process does a run: what is called in it is called by a trigger, or something of the kind.
pub fn is_run() -> bool {
    IS_RUN.load(Ordering::Relaxed)
}

/// Begins a run's process. None where it has nothing to do.
pub fn begin() -> Option<Task> {
    IS_RUN.store(true, Ordering::Relaxed);
    handle_signals();
    let Some(task) = Task::from_text(BackgroundWorker::get_extra()) else {
        pgrx::log!("assets_fdw: a refresh worker was started without a task");
        return None;
    };
    // SAFETY: no preconditions.
    let me = unsafe { pg_sys::MyProcPid };
    if task.scheduled {
        shared::run_begins(task.database.to_u32(), me);
        // SAFETY: runs at the end of this process, before it leaves shared memory.
        unsafe { pg_sys::before_shmem_exit(Some(run_ends), pg_sys::Datum::from(0usize)) };
    }
    connect(task.database, task.owner, c"assets_fdw refresh");
    let held = task.scheduled && shared::is_held(task.database.to_u32());
    (!held).then_some(task)
}

#[pg_guard]
unsafe extern "C-unwind" fn run_ends(_code: c_int, _arg: pg_sys::Datum) {
    // SAFETY: no preconditions.
    shared::run_ends(unsafe { pg_sys::MyProcPid });
}

/// The session that waits for this worker; none for a scheduler's.
pub fn awaited_by() -> Option<i32> {
    // SAFETY: set by the server before a worker begins.
    let pid = unsafe { pg_sys::MyBgworkerEntry.as_ref() }.map(|entry| entry.bgw_notify_pid);
    pid.filter(|pid| *pid != 0)
}

/// Runs a process' work again and again until it says that it is done. A failure is logged and the
/// next look waits a little, so that one that lasts does not fill the log.
pub fn forever(what: &str, naptime: impl Fn() -> i64, mut step: impl FnMut() -> Next) {
    let mut failures: u32 = 0;
    loop {
        pgrx::check_for_interrupts!();
        let mut pause = naptime();
        match failure::catch(&mut step) {
            Ok(Next::Done) => return,
            Ok(Next::Again) => failures = 0,
            Ok(Next::After(milliseconds)) => (failures, pause) = (0, milliseconds),
            Err(failure) => {
                failures = failures.saturating_add(1);
                Failure::log(&failure, what);
                pause = pause.max(1000 * i64::from(failures.min(60)));
            }
        }
        shared::wait(pause);
    }
}

/// What a step of [`forever`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Look again after the pause, or when woken.
    Again,
    /// Look again after so many milliseconds, or when woken.
    After(i64),
    /// End the process.
    Done,
}
