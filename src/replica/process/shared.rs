//! What the launcher, the schedulers, the workers and the sessions share, when the library is
//! preloaded: which databases have a scheduler, who wants one, and who wants it out of the way. A
//! fixed table of plain numbers under one lock; no pointers (pg_net #276), nothing that must survive.
#![allow(unsafe_code)] // shared memory, latches and signals of other processes
#![allow(unexpected_cfgs)] // pg_shmem_init! asks for majors that this crate has no feature for

use std::cell::Cell;

use pgrx::lwlock::PgLwLock;
use pgrx::prelude::*;
use pgrx::shmem::PGRXSharedMemory;
use pgrx::{PgXactCallbackEvent, pg_sys};

use crate::gucs;

/// So many databases can have a scheduler, or want one, at a time.
pub const DATABASES: usize = 256;
const RUNS: usize = 128;

/// What a database has.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Scheduler {
    /// None, and nothing to do for one.
    #[default]
    Idle,
    /// None yet.
    Wanted,
    /// It was started, and may not have begun.
    Started,
}

/// One database.
#[derive(Clone, Copy, Default)]
pub struct Database {
    /// Its OID; 0: a free entry.
    pub oid: u32,
    /// Its scheduler.
    pub scheduler: Scheduler,
    /// The scheduler's process, once it has begun.
    pub pid: i32,
    /// When the scheduler was last started, in microseconds since 1970.
    pub started: i64,
    /// Starts since it last left of its own accord.
    pub starts: u32,
    /// The session that wants no worker in the database for the moment.
    pub holder: i32,
    /// The server had no process to spare for it.
    pub no_worker: bool,
    /// Jobs or requests were prepared in it for a commit in two phases.
    pub prepared: bool,
    /// How often its jobs were to be looked at: a latch that is set may be reset by whatever waits for something
    /// else.
    pub asked: u32,
}

#[derive(Clone, Copy, Default)]
struct Run {
    database: u32,
    pid: i32,
}

#[derive(Clone, Copy)]
struct State {
    launcher: i32,
    /// A database could not be remembered.
    crowded: bool,
    databases: [Database; DATABASES],
    /// Workers that a scheduler started.
    runs: [Run; RUNS],
}

impl Default for State {
    fn default() -> Self {
        Self {
            launcher: 0,
            crowded: false,
            databases: [Database::default(); DATABASES],
            runs: [Run::default(); RUNS],
        }
    }
}

// SAFETY: plain numbers, no pointers.
unsafe impl PGRXSharedMemory for State {}

// SAFETY: the name is used once.
static STATE: PgLwLock<State> = unsafe { PgLwLock::new(c"assets_fdw replicas") };

thread_local! {
    static PRELOADED: Cell<bool> = const { Cell::new(false) };
}

/// Asks for the shared memory. False where the library is not being preloaded: there is none then.
pub fn init() -> bool {
    // SAFETY: set by the server while it reads shared_preload_libraries, in the postmaster.
    if !unsafe { pg_sys::process_shared_preload_libraries_in_progress } {
        return false;
    }
    pgrx::pg_shmem_init!(STATE);
    PRELOADED.set(true);
    true
}

/// Whether the library was preloaded; without that there is no schedule.
pub fn is_preloaded() -> bool {
    PRELOADED.get()
}

/// Whether `assets_fdw.databases` names a database.
pub fn is_listed(name: &str) -> bool {
    let setting = gucs::DATABASES.get();
    let list = setting.as_deref().map(|list| list.to_string_lossy()).unwrap_or_default();
    list.split(',').map(|item| item.trim().trim_matches('"')).any(|item| item == "*" || item == name)
}

/// Wakes a process that waits on its latch; no harm if it is gone.
fn wake_process(pid: i32) {
    if pid == 0 {
        return;
    }
    // SAFETY: the entry, if there is one, lives in shared memory for as long as the server does; at
    // worst another process' latch is set, which looks and waits on.
    unsafe {
        let process = pg_sys::BackendPidGetProc(pid);
        if !process.is_null() {
            pg_sys::SetLatch(&raw mut (*process).procLatch);
        }
    }
}

/// Whether a process of that number is connected to the server.
pub fn is_alive(pid: i32) -> bool {
    // SAFETY: looks through the server's own list of processes.
    pid != 0 && unsafe { !pg_sys::BackendPidGetProc(pid).is_null() }
}

impl State {
    fn find(&mut self, oid: u32) -> Option<&mut Database> {
        self.databases.iter_mut().find(|d| d.oid == oid)
    }

    /// The entry of a database; a new one if need be, in the place of one that has nothing to do if need be.
    fn entry(&mut self, oid: u32) -> Option<&mut Database> {
        let all = &self.databases;
        let n = all.iter().position(|d| d.oid == oid);
        let n = n.or_else(|| all.iter().position(|d| d.oid == 0));
        let n = n.or_else(|| all.iter().position(|d| d.scheduler == Scheduler::Idle && d.holder == 0));
        self.crowded |= n.is_none();
        let entry = &mut self.databases[n?];
        if entry.oid != oid {
            *entry = Database { oid, ..Database::default() };
        }
        Some(entry)
    }
}

/// Whether a database could not be remembered since the last time that this was asked.
pub fn was_crowded() -> bool {
    std::mem::take(&mut STATE.exclusive().crowded)
}

/// Has the scheduler of a database look at its jobs now, and starts it if there is none. False where
/// there is no room to remember the database.
pub fn wake(database: pg_sys::Oid) -> bool {
    if !is_preloaded() {
        return false;
    }
    let pid = {
        let mut state = STATE.exclusive();
        let launcher = state.launcher;
        let Some(entry) = state.entry(database.to_u32()) else { return false };
        entry.asked = entry.asked.wrapping_add(1);
        if entry.scheduler == Scheduler::Idle {
            entry.scheduler = Scheduler::Wanted;
        }
        if entry.scheduler == Scheduler::Started && entry.pid != 0 { entry.pid } else { launcher }
    };
    wake_process(pid);
    true
}

/// Has the scheduler of a database, if it has one, look at its jobs now.
pub fn nudge(database: pg_sys::Oid) {
    if is_preloaded() {
        let pid = STATE.exclusive().find(database.to_u32()).map_or(0, |entry| {
            entry.asked = entry.asked.wrapping_add(1);
            entry.pid
        });
        wake_process(pid);
    }
}

/// How often a database's jobs were to be looked at; what is different after a look came in the middle of it.
pub fn asked(oid: u32) -> u32 {
    STATE.exclusive().find(oid).map_or(0, |entry| entry.asked)
}

/// Calls [`wake`] for this database once the transaction has committed.
pub fn wake_at_commit() {
    at_commit(|database| {
        wake(database);
    });
}

/// Calls [`nudge`] for this database once the transaction has committed.
pub fn nudge_at_commit() {
    at_commit(nudge);
}

/// Nothing in `body` may raise an ERROR, which would be fatal this late.
fn at_commit(body: impl FnOnce(pg_sys::Oid) + std::panic::UnwindSafe + std::panic::RefUnwindSafe + 'static) {
    if is_preloaded() {
        // SAFETY: no preconditions.
        let database = unsafe { pg_sys::MyDatabaseId };
        pgrx::register_xact_callback(PgXactCallbackEvent::Commit, move || body(database));
        pgrx::register_xact_callback(PgXactCallbackEvent::Prepare, move || prepared(database));
    }
}

/// Something was prepared in this database that may be a job, or a request: what commits it is to wake the scheduler.
fn prepared(database: pg_sys::Oid) {
    if let Some(entry) = STATE.exclusive().entry(database.to_u32()) {
        entry.prepared = true;
    }
}

/// What was prepared for a commit in two phases has been committed: it may have been the database's first job.
/// Nothing where somebody looks after the database, and nothing of ours was ever prepared.
pub fn wake_if_prepared(database: pg_sys::Oid) {
    let at_rest = |d: &Database| d.oid == database.to_u32() && d.scheduler != Scheduler::Idle && !d.prepared;
    if is_preloaded() && !STATE.share().databases.iter().any(at_rest) {
        wake(database);
    }
}

/// The launcher says where it is.
pub fn set_launcher(pid: i32) {
    STATE.exclusive().launcher = pid;
}

/// A copy of every database's entry, for the launcher.
pub fn databases() -> Vec<Database> {
    STATE.share().databases.iter().filter(|d| d.oid != 0).copied().collect()
}

/// The launcher is about to start a scheduler.
pub fn starting(oid: u32, now: i64) {
    if let Some(entry) = STATE.exclusive().find(oid) {
        (entry.scheduler, entry.pid, entry.started) = (Scheduler::Started, 0, now);
        entry.starts = entry.starts.saturating_add(1);
    }
}

/// The scheduler of a database is gone although nobody sent it away, or could not be started.
pub fn lost(oid: u32) {
    if let Some(entry) = STATE.exclusive().find(oid) {
        (entry.scheduler, entry.pid) = (Scheduler::Wanted, 0);
    }
}

/// There was no process for the scheduler of a database.
pub fn no_worker(oid: u32) {
    if let Some(entry) = STATE.exclusive().find(oid) {
        (entry.scheduler, entry.pid, entry.no_worker) = (Scheduler::Wanted, 0, true);
    }
}

/// Why nobody looks after this database, where that is not by its settings.
#[pg_extern(sql = false)]
fn replica_unscheduled() -> Option<&'static str> {
    if !is_preloaded() {
        return None;
    }
    // SAFETY: no preconditions.
    let database = unsafe { pg_sys::MyDatabaseId }.to_u32();
    let state = STATE.share();
    match state.databases.iter().find(|d| d.oid == database) {
        Some(entry) => entry.no_worker.then_some(
            "the server has no background worker to spare for this database's scheduler; raise max_worker_processes",
        ),
        None => state
            .databases
            .iter()
            .all(|d| d.oid != 0 && d.scheduler != Scheduler::Idle)
            .then_some("the server looks after as many databases as it can, and this is not one of them"),
    }
}

/// The database is gone.
pub fn forget(oid: u32) {
    if let Some(entry) = STATE.exclusive().find(oid) {
        *entry = Database::default();
    }
}

/// A scheduler begins. False where another one is at work.
pub fn scheduler_begins(oid: u32, pid: i32) -> bool {
    let other = STATE.exclusive().entry(oid).map(|entry| entry.pid);
    if other.is_some_and(|other| other != pid && is_alive(other)) {
        return false;
    }
    match STATE.exclusive().entry(oid) {
        Some(entry) => {
            (entry.scheduler, entry.pid, entry.no_worker) = (Scheduler::Started, pid, false);
            true
        }
        None => false,
    }
}

/// A scheduler has looked at its jobs: what made earlier ones end is over.
pub fn scheduler_works(oid: u32) {
    if let Some(entry) = STATE.exclusive().find(oid) {
        entry.starts = 0;
    }
}

/// A scheduler leaves because there is nothing for it to do.
pub fn scheduler_leaves(oid: u32) {
    if let Some(entry) = STATE.exclusive().find(oid) {
        (entry.scheduler, entry.pid, entry.starts) = (Scheduler::Idle, 0, 0);
    }
}

/// A scheduler leaves because its database takes no connections, or is not named, at this moment. The launcher starts
/// another one or forgets the database, as it sees it then; not at once where they see it differently.
pub fn scheduler_sent_away(oid: u32) {
    let launcher = {
        let mut state = STATE.exclusive();
        if let Some(entry) = state.find(oid) {
            (entry.scheduler, entry.pid) = (Scheduler::Wanted, 0);
        }
        state.launcher
    };
    wake_process(launcher);
}

/// A run that the schedule started begins.
pub fn run_begins(database: u32, pid: i32) {
    if is_preloaded() {
        let mut state = STATE.exclusive();
        if let Some(run) = state.runs.iter_mut().find(|run| run.pid == 0) {
            *run = Run { database, pid };
        }
    }
}

/// A run ends.
pub fn run_ends(pid: i32) {
    if is_preloaded() {
        STATE.exclusive().runs.iter_mut().filter(|run| run.pid == pid).for_each(|run| *run = Run::default());
    }
}

/// Whether some session wants no worker in the database for the moment.
pub fn is_held(oid: u32) -> bool {
    let holder = STATE.exclusive().find(oid).map_or(0, |entry| entry.holder);
    is_alive(holder)
}

/// Keeps workers out of a database while it lives; lets them back in when it is dropped.
pub struct Hold {
    oid: u32,
}

/// Sends a database's workers away and returns when they are gone (at most ten seconds). None where
/// there are none to come back.
pub fn hold(oid: pg_sys::Oid) -> Option<Hold> {
    let oid = oid.to_u32();
    // SAFETY: no preconditions.
    let me = unsafe { pg_sys::MyProcPid };
    {
        let mut state = STATE.exclusive();
        let entry = state.find(oid)?;
        entry.holder = me;
    }
    let hold = Hold { oid };
    for _ in 0..1000 {
        let pids: Vec<i32> = {
            let mut state = STATE.exclusive();
            let scheduler = state.find(oid).map_or(0, |entry| entry.pid);
            let runs = state.runs.iter().filter(|run| run.database == oid).map(|run| run.pid);
            runs.chain([scheduler]).filter(|pid| *pid != 0).collect()
        };
        let alive: Vec<i32> = pids.into_iter().filter(|pid| is_alive(*pid)).collect();
        if alive.is_empty() {
            break;
        }
        for pid in alive {
            // SAFETY: a process of this server, seen alive a moment ago and of our own making.
            unsafe { libc::kill(pid, libc::SIGTERM) };
        }
        wait(10);
    }
    Some(hold)
}

impl Drop for Hold {
    fn drop(&mut self) {
        let launcher = {
            let mut state = STATE.exclusive();
            // SAFETY: no preconditions.
            let me = unsafe { pg_sys::MyProcPid };
            if let Some(entry) = state.find(self.oid)
                && entry.holder == me
            {
                entry.holder = 0;
                (entry.scheduler, entry.pid, entry.starts) = (Scheduler::Wanted, 0, 0);
            }
            state.launcher
        };
        wake_process(launcher);
    }
}

/// Waits for the latch or for so many milliseconds, then serves interrupts.
pub fn wait(milliseconds: i64) {
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    // SAFETY: this process' own latch, on its main thread.
    unsafe {
        pg_sys::WaitLatch(pg_sys::MyLatch, events as i32, milliseconds as _, pg_sys::PG_WAIT_EXTENSION);
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    pgrx::check_for_interrupts!();
}
