//! One run, in a process of its own whose session user is the job's owner.
//!
//! ```text
//!  lock the replica · note "running"     short transaction
//!  read the source's definition          short transaction
//!  ask the service what it means         no transaction
//!  page ─▶ staging                       no transaction while waiting, a short one a page
//!  difference, result, NOTIFY            one short transaction
//!  ANALYZE                               one more, if enough changed
//! ```
//!
//! An ERROR anywhere ends the run and is noted; the replica is as it was before.
#![allow(unsafe_code)] // locks on relations, and rights

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use assets::stats::ScanStats;
use assets::value::{Field, ScanSpec, Source};
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::apply::{self, Diff};
use super::failure::{self, Failure};
use super::history::{self, Figures, Run};
use super::jobs::{self, Job};
use super::shared;
use super::spi::execute;
use super::staging::{Column, Staging};
use super::txn::{make_durable, transaction};
use super::worker::{self, Task};
use crate::catalog::{ForeignTable, Resolver};
use crate::drift::watch;
use crate::fdw::output::Output;
use crate::runtime::PageStream;
use crate::session::Connection;
use crate::{error, gucs, runtime, session};

/// How often a run notes where it is, at most.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Does a task. What becomes of it is in the history; nothing is raised.
pub fn run(task: &Task) {
    let Some(job) = transaction(|| find(task.target)) else { return };
    if task.scheduled {
        watch::before_refresh(&job);
    }
    if !lock(task, &job) {
        return;
    }
    let run = Run { id: task.run, reason: task.reason.clone(), mode: "full", began: worker::now() };
    let mut figures = Figures::default();
    let begun = failure::catch(|| {
        transaction(|| match find(task.target) {
            Some(job) => {
                history::begin(&job, &run);
                // A crash must not take the note along that tells of it.
                make_durable();
                true
            }
            None => false,
        })
    });
    match begun {
        Ok(true) => {}
        Ok(false) => return,
        Err(failure) => return failure.log(&format!("the refresh of {} could not begin", job.name)),
    }
    let max_delete_share = task.max_delete_share.unwrap_or_else(|| gucs::MAX_DELETE_SHARE.get());
    match failure::catch(|| work(&job, &run, max_delete_share, &mut figures)) {
        Ok(()) => analyze(&job, &figures),
        Err(failure) => {
            failure.log(&format!("the refresh of {} failed", job.name));
            let noted = failure::catch(|| {
                transaction(|| {
                    if find(task.target).is_some() {
                        history::failed(&job, &run, &figures, &failure);
                    }
                });
            });
            if let Err(failure) = noted {
                failure.log(&format!("the failure of {} could not be noted", job.name));
            }
        }
    }
}

/// The job, unless it, its table or the whole extension is gone by now.
fn find(target: pg_sys::Oid) -> Option<Job> {
    if worker::extension_exists() { jobs::find(target) } else { None }
}

/// Becomes the only run of the replica. Where somebody waits for this one, it waits for another that
/// is under way; a scheduled one says that it was not needed.
fn lock(task: &Task, job: &Job) -> bool {
    while !worker::try_lock(task.target) {
        if task.scheduled {
            transaction(|| {
                if find(task.target).is_some() {
                    history::skipped(job, task.run, &task.reason, "another refresh was under way", None);
                }
            });
            return false;
        }
        shared::wait(20);
    }
    true
}

/// What a run knows of its source.
struct Definition {
    table: ForeignTable,
    connection: Rc<Connection>,
    /// What finds out what the columns mean; made while catalogues may be read, used without.
    resolver: Resolver,
    columns: Vec<Column>,
}

fn work(job: &Job, run: &Run, max_delete_share: f64, figures: &mut Figures) {
    let began = Instant::now();
    let definition = transaction(|| define(job));
    let client = definition.connection.client.clone();
    let stats = Arc::new(ScanStats::default());
    let result = failure::catch(|| fetch(job, run, definition, &stats, figures));
    figures.fetch_seconds = began.elapsed().as_secs_f64();
    figures.requests = i64::try_from(client.stats().requests.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
    let Fetched { staging, columns, id } = result.unwrap_or_else(|failure| failure.raise(None));
    staging.warn();
    let applying = Instant::now();
    transaction(|| {
        history::progress(job.target, run, "applying", figures.seen, Some(figures.seen));
    });
    transaction(|| {
        lock_relation(job.target, pg_sys::RowExclusiveLock);
        // Its name may have changed since; whether it is there at all decides the job.
        let Some(job) = (if worker::extension_exists() { jobs::find_and_keep(job.target) } else { None })
        else {
            error::raise(PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT, "the replica was removed meanwhile");
        };
        let diff = Diff { target: &job.name, columns: &columns, id: &id };
        diff.apply(&staging, max_delete_share, figures);
        figures.apply_seconds = applying.elapsed().as_secs_f64();
        if figures.changed() > 0 {
            notify(&job, run, figures);
        }
        history::succeeded(&job, run, figures);
    });
}

/// Reads the source's definition, with the owner's rights.
fn define(job: &Job) -> Definition {
    lock_relation(job.source, pg_sys::AccessShareLock);
    // SAFETY: catalogue look-ups inside a transaction.
    let (kind, rights) = unsafe {
        let user = pg_sys::GetUserId();
        (
            pg_sys::get_rel_relkind(job.source) as u8,
            pg_sys::pg_class_aclcheck(job.source, user, pg_sys::ACL_SELECT as pg_sys::AclMode),
        )
    };
    if kind != pg_sys::RELKIND_FOREIGN_TABLE {
        error::raise(
            PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
            format!("the source of {}, foreign table {}, is gone", job.name, job.source.to_u32()),
        );
    }
    if rights != pg_sys::AclResult::ACLCHECK_OK {
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("permission denied for foreign table {}", jobs::relation_name(job.source)),
            "The replica's owner needs SELECT on it.",
        );
    }
    let table = ForeignTable::load(job.source);
    // SAFETY: no preconditions.
    let connection = session::connect(table.server, unsafe { pg_sys::GetUserId() });
    let columns = apply::shared_columns(job.source, job.target);
    let attnums: Vec<i16> = columns.iter().map(|c| c.attnum).collect();
    Definition { resolver: table.resolver(&attnums), table, connection, columns }
}

fn lock_relation(relation: pg_sys::Oid, mode: u32) {
    // SAFETY: inside a transaction; waits interruptibly. A relation that is gone is found out next.
    unsafe { pg_sys::LockRelationOid(relation, mode as pg_sys::LOCKMODE) };
}

/// Everything the service returned.
struct Fetched {
    staging: Staging,
    columns: Vec<Column>,
    /// The column of ids, one of `columns`.
    id: Column,
}

/// Brings every object into a staging table; none is missing, or an ERROR is raised.
fn fetch(
    job: &Job,
    run: &Run,
    definition: Definition,
    stats: &Arc<ScanStats>,
    figures: &mut Figures,
) -> Fetched {
    let Definition { table, connection, resolver, columns } = definition;
    let client = connection.client.clone();
    let resolved = error::or_raise(runtime::wait(resolver.resolve(client.clone())));

    let mut specs = Vec::new();
    let mut outputs = Vec::new();
    let mut id = None;
    for column in &columns {
        let (Some(defined), Some(resolution)) =
            (table.column(column.attnum), resolved.columns.get(&column.attnum))
        else {
            error::raise(
                PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
                format!("column \"{}\" of the source was not resolved", column.name),
            );
        };
        if resolution.spec.source == Source::Field(Field::Id) {
            id.get_or_insert_with(|| column.clone());
        }
        specs.push(resolution.spec);
        outputs.push(Output::new(defined, resolution));
    }
    let Some(id) = id else {
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
            format!("{} and its source share no column with the object's id", job.name),
            "Both need one, bigint, of the same name; in the foreign table with OPTIONS (field 'id').",
        );
    };

    // An estimate for the progress view; the first load has nothing to go by and asks once.
    let known = transaction(|| {
        super::spi::as_extension(|| {
            let sql = "SELECT rows FROM assets_fdw.replica_state WHERE target = $1";
            super::spi::query_one(sql, &[job.target.into()], |row| row.get::<i64>(1)).flatten()
        })
    });
    let total = known.or_else(|| {
        let (client, filter) = (client.clone(), resolved.filter.clone());
        let counted = runtime::wait(async move { client.total_count(&filter).await });
        counted.ok().and_then(|total| i64::try_from(total).ok())
    });
    let mut staging = transaction(|| {
        history::progress(job.target, run, "fetching", 0, total);
        Staging::create(&columns, outputs)
    });
    let spec = ScanSpec { filter: resolved.filter, columns: specs.into(), limit: None, most: None };
    let mut pages = PageStream::start(client, spec, stats.clone());
    let mut noted = Instant::now();
    while let Some(page) = error::or_raise(pages.next()) {
        transaction(|| {
            staging.add(&page.rows);
            figures.seen += page.rows.len() as i64;
            if noted.elapsed() >= PROGRESS_EVERY {
                noted = Instant::now();
                // Also stops a run whose job, or whose extension, is gone.
                if find(job.target).is_none() {
                    error::raise(
                        PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
                        "the replica was removed meanwhile",
                    );
                }
                history::progress(job.target, run, "fetching", figures.seen, total);
            }
        });
    }
    Fetched { staging, columns, id }
}

fn notify(job: &Job, run: &Run, figures: &Figures) {
    let payload = serde_json::json!({
        "target": job.name,
        "run": run.id,
        "reason": run.reason,
        "mode": run.mode,
        "inserted": figures.inserted,
        "updated": figures.updated,
        "deleted": figures.deleted,
    });
    execute("SELECT pg_catalog.pg_notify('assets_fdw', $1)", &[payload.to_string().into()]);
}

/// New statistics where more than a tenth of the rows changed. The refresh has succeeded by then: a
/// failure here is only logged.
fn analyze(job: &Job, figures: &Figures) {
    if figures.changed() == 0 || figures.changed() * 10 < figures.seen {
        return;
    }
    let analyzed = failure::catch(|| {
        transaction(|| {
            if let Some(job) = find(job.target) {
                execute(&format!("ANALYZE {}", job.name), &[]);
            }
        });
    });
    if let Err(failure) = analyzed {
        Failure::log(&failure, &format!("ANALYZE of {} failed", job.name));
    }
}
