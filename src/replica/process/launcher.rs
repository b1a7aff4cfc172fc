//! The launcher: one process a server, started with it, that starts the scheduler of every database
//! that has, or may have, jobs. It is connected to no database. Of every database that it has not seen yet, or not as
//! one to be looked after (it took no connections, was a template, had another name), it has a scheduler look once;
//! from then on sessions that make a job tell it so (`shared`).
#![allow(unsafe_code)] // the entry point of a process, and a look through pg_database

use std::collections::HashSet;
use std::time::Duration;

use pgrx::bgworkers::{BackgroundWorkerBuilder, BgWorkerStartTime};
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::shared::{self, Database, Scheduler};
use super::worker::{self, Next};
use crate::gucs;
use crate::sql::clock;
use crate::sql::txn::transaction;

/// How many schedulers may be about to look whether they have anything to do, so that a server with
/// many databases does not spend all of its worker processes on the question.
const AT_ONCE: usize = 2;
/// A scheduler that has not begun after so long never will.
const TO_BEGIN: i64 = 10_000_000;

/// So long databases may wait for others that turn out to have nothing to do, before that is said.
const TO_MAKE_ROOM: i64 = 60_000_000;

/// Databases that cannot be remembered.
#[derive(Default)]
struct Crowded {
    since: Option<i64>,
    said: bool,
}

/// Registers the launcher; while the library is preloaded. Not in a server that pg_upgrade starts, whose
/// databases are half made.
pub fn register() {
    // SAFETY: set when the server starts, before it loads libraries.
    if unsafe { pg_sys::IsBinaryUpgrade } {
        return;
    }
    BackgroundWorkerBuilder::new("assets_fdw launcher")
        .set_type("assets_fdw launcher")
        .set_library("assets_fdw")
        .set_function("assets_fdw_launcher_main")
        .enable_spi_access()
        // Not on a standby; a promoted one starts it then.
        .set_start_time(BgWorkerStartTime::RecoveryFinished)
        // However it ends, it ends with exit code 1 and is started again (pg_cron #99).
        .set_restart_time(Some(Duration::from_secs(1)))
        .load();
}

/// The launcher's process.
#[unsafe(no_mangle)]
#[pg_guard]
pub extern "C-unwind" fn assets_fdw_launcher_main(_argument: pg_sys::Datum) {
    worker::handle_signals();
    // SAFETY: no database, no role: only the shared catalogues can be read.
    unsafe { pg_sys::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0) };
    // SAFETY: no preconditions.
    shared::set_launcher(unsafe { pg_sys::MyProcPid });
    let mut asked = HashSet::new();
    let mut crowded = Crowded::default();
    let mut unlucky = false;
    worker::forever("the launcher", naptime, || {
        worker::serve_reload();
        let known = connectable();
        want_new(&known, &mut asked, &mut crowded);
        serve(&known, &mut unlucky);
        Next::Again
    });
    // Exit code 0 would keep it from being started again.
    // SAFETY: ends the process in the server's own way.
    unsafe { pg_sys::proc_exit(1) };
}

fn naptime() -> i64 {
    i64::from(gucs::NAPTIME.get())
}

struct Known {
    oid: u32,
    name: String,
}

/// Whether this process' database takes connections; inside a transaction.
pub fn is_connectable() -> bool {
    // SAFETY: a look-up in the server's cache; the row is read before it is released.
    unsafe {
        let id = pg_sys::MyDatabaseId;
        let row = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::DATABASEOID as i32, id.into());
        if row.is_null() {
            return false;
        }
        let is = (*pg_sys::GETSTRUCT(row).cast::<pg_sys::FormData_pg_database>()).datallowconn;
        pg_sys::ReleaseSysCache(row);
        is
    }
}

/// Databases that take connections and are no templates.
fn connectable() -> Vec<Known> {
    // SAFETY: pg_database is a shared catalogue, readable without a database, as autovacuum's
    // launcher does; the tuples are used while the scan holds them.
    transaction(|| unsafe {
        let mut found = Vec::new();
        let relation = pg_sys::table_open(pg_sys::DatabaseRelationId, pg_sys::AccessShareLock as i32);
        let scan = pg_sys::table_beginscan_catalog(relation, 0, std::ptr::null_mut());
        loop {
            let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
            if tuple.is_null() {
                break;
            }
            let row = pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_database>(tuple);
            if (*row).datallowconn && !(*row).datistemplate {
                found.push(Known {
                    oid: (*row).oid.to_u32(),
                    name: crate::fdw::pg::text((*row).datname.data.as_ptr()),
                });
            }
        }
        pg_compat_endscan(scan);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
        found
    })
}

unsafe fn pg_compat_endscan(scan: pg_sys::TableScanDesc) {
    // SAFETY: the caller's scan, ended once; what the inline function table_endscan does.
    unsafe {
        if let Some(end) = (*(*(*scan).rs_rd).rd_tableam).scan_end {
            end(scan);
        }
    }
}

/// Has a scheduler look at every database that is to be looked after and was not before. `asked`: those that were.
fn want_new(known: &[Known], asked: &mut HashSet<u32>, crowded: &mut Crowded) {
    if shared::was_crowded() {
        // Nobody knows which one could not be remembered.
        asked.clear();
    }
    let listed: Vec<&Known> = known.iter().filter(|known| shared::is_listed(&known.name)).collect();
    asked.retain(|oid| listed.iter().any(|known| known.oid == *oid));
    let new: Vec<&&Known> = listed.iter().filter(|known| !asked.contains(&known.oid)).collect();
    let refused: Vec<&&&Known> = new
        .iter()
        .filter(|known| {
            let remembered = shared::wake(pg_sys::Oid::from(known.oid));
            if remembered {
                asked.insert(known.oid);
            }
            !remembered
        })
        .collect();
    // They are asked for again and again: there is room when another one turns out to have nothing to do.
    let Some(first) = refused.first() else {
        *crowded = Crowded::default();
        return;
    };
    let since = *crowded.since.get_or_insert(clock::now());
    if clock::now() - since > TO_MAKE_ROOM && !std::mem::replace(&mut crowded.said, true) {
        pgrx::warning!(
            "assets_fdw: {} databases are looked after, and no more can be: replicas of database \"{}\" and of {} \
             more are not refreshed on their schedule",
            shared::DATABASES,
            first.name,
            refused.len() - 1
        );
    }
}

/// Starts the schedulers that are wanted.
fn serve(known: &[Known], unlucky: &mut bool) {
    let now = clock::now();
    let entries = shared::databases();
    for entry in entries.iter().filter(|entry| is_lost(entry, now)) {
        shared::lost(entry.oid);
    }
    let entries = shared::databases();
    let wanted: Vec<&Database> = entries
        .iter()
        .filter(|entry| entry.scheduler == Scheduler::Wanted && now >= entry.started + pause(entry))
        .filter(|entry| !shared::is_held(entry.oid))
        .collect();
    let beginning = entries.iter().filter(|e| e.scheduler == Scheduler::Started && e.pid == 0).count();
    let mut room = AT_ONCE.saturating_sub(beginning);
    for entry in wanted {
        let Some(database) = known.iter().find(|known| known.oid == entry.oid) else {
            shared::forget(entry.oid);
            continue;
        };
        if !shared::is_listed(&database.name) {
            shared::scheduler_leaves(entry.oid);
            continue;
        }
        if room == 0 {
            return;
        }
        room -= 1;
        shared::starting(entry.oid, now);
        let started = BackgroundWorkerBuilder::new(&format!("assets_fdw scheduler for {}", database.name))
            .set_type("assets_fdw scheduler")
            .set_library("assets_fdw")
            .set_function("assets_fdw_scheduler_main")
            .enable_spi_access()
            .set_argument(Some(pg_sys::Datum::from(entry.oid)))
            // SAFETY: no preconditions.
            .set_notify_pid(unsafe { pg_sys::MyProcPid })
            .load_dynamic();
        match started {
            Ok(_) => *unlucky = false,
            Err(_) => {
                shared::no_worker(entry.oid);
                if !std::mem::replace(unlucky, true) {
                    pgrx::warning!(
                        "assets_fdw: no background worker to spare for the scheduler of database \"{}\"; raise \
                         max_worker_processes",
                        database.name
                    );
                }
            }
        }
    }
}

/// Whether a scheduler ended without leaving word, or never began.
fn is_lost(entry: &Database, now: i64) -> bool {
    entry.scheduler == Scheduler::Started
        && if entry.pid == 0 { now > entry.started + TO_BEGIN } else { !shared::is_alive(entry.pid) }
}

/// How long to wait before a scheduler that was lost is started again: from half a second, doubling
/// to a minute.
fn pause(entry: &Database) -> i64 {
    match entry.starts {
        0 => 0,
        n => (500_000_i64 << (n - 1).min(7)).min(60_000_000),
    }
}
