//! What is noted of many replicas of a group at once, in as few statements as of one: how a run begins for them, and that it
//! succeeded. Nobody is waited for: whoever's rows another session has, or of whom a run is still noted as under way,
//! is left to [`super::history`], one by one.

use pgrx::pg_sys;
use schedule::Micros;

use super::history::{Figures, Run};
use super::jobs::Job;
use crate::sql::spi::{as_extension, execute, query};
use delta::since::Moment;

/// Which of these jobs are there and stay until the transaction ends.
pub fn keep(targets: &[pg_sys::Oid]) -> Vec<pg_sys::Oid> {
    let sql =
        "SELECT target::oid FROM assets_fdw.replica_job WHERE target = ANY ($1) FOR KEY SHARE SKIP LOCKED";
    as_extension(|| query(sql, &[targets.to_vec().into()], |row| row.must(1)))
}

/// Which of these replicas are in one schema with a job's.
pub fn neighbours_of(job: &Job, targets: &[pg_sys::Oid]) -> Vec<pg_sys::Oid> {
    let sql = "SELECT c.oid FROM pg_class AS c JOIN pg_class AS mine ON mine.relnamespace = c.relnamespace
               WHERE mine.oid = $1 AND c.oid = ANY ($2)";
    as_extension(|| query(sql, &[job.target.into(), targets.to_vec().into()], |row| row.must(1)))
}

/// Numbers for runs, in their order.
pub fn next_runs(count: usize) -> Vec<i64> {
    let sql = "SELECT nextval('assets_fdw.replica_run_id') FROM generate_series(1, $1)";
    as_extension(|| query(sql, &[i64::try_from(count).unwrap_or(0).into()], |row| row.must(1)))
}

/// Notes that runs begin, each with a number of its own and else like `run`; gives those of whom it could be noted. The
/// caller holds the replicas' locks.
pub fn begin(jobs: &[(&Job, i64)], run: &Run) -> Vec<pg_sys::Oid> {
    let targets: Vec<pg_sys::Oid> = jobs.iter().map(|(job, _)| job.target).collect();
    as_extension(|| {
        let sql = "SELECT target::oid FROM assets_fdw.replica_state WHERE target = ANY ($1) AND run IS NULL
                   FOR UPDATE SKIP LOCKED";
        let free: Vec<pg_sys::Oid> = query(sql, &[targets.into()], |row| row.must(1));
        let jobs: Vec<&(&Job, i64)> = jobs.iter().filter(|(job, _)| free.contains(&job.target)).collect();
        let targets: Vec<pg_sys::Oid> = jobs.iter().map(|(job, _)| job.target).collect();
        let numbers: Vec<i64> = jobs.iter().map(|(_, number)| *number).collect();
        let names: Vec<String> = jobs.iter().map(|(job, _)| job.name.clone()).collect();
        let owners: Vec<pg_sys::Oid> = jobs.iter().map(|(job, _)| job.owner).collect();
        let sql = "
            INSERT INTO assets_fdw.replica_run
                (id, target, target_name, owner, reason, mode, attempt, outcome, pid, started, with_run, note)
            SELECT m.run, m.target, m.name, m.owner, $5, $6, s.failures + 1, 'running', pg_backend_pid(),
                   clock_timestamp(), $7, $8
            FROM unnest($1::oid[], $2::bigint[], $3::text[], $4::oid[]) AS m(target, run, name, owner)
            JOIN assets_fdw.replica_state AS s ON s.target = m.target";
        execute(
            sql,
            &[
                targets.clone().into(),
                numbers.clone().into(),
                names.into(),
                owners.into(),
                run.reason.as_str().into(),
                run.mode.as_str().into(),
                run.with_run.into(),
                run.note.as_deref().into(),
            ],
        );
        let args = [targets.clone().into(), numbers.into()];
        let sql = "UPDATE assets_fdw.replica_state AS s SET run = m.run
                   FROM unnest($1::oid[], $2::bigint[]) AS m(target, run) WHERE s.target = m.target";
        execute(sql, &args);
        let sql = "
            INSERT INTO assets_fdw.replica_progress (target, run, phase, done, total)
            SELECT m.target, m.run, 'starting', 0, s.rows FROM unnest($1::oid[], $2::bigint[]) AS m(target, run)
            JOIN assets_fdw.replica_state AS s ON s.target = m.target
            ON CONFLICT (target) DO UPDATE
                SET run = excluded.run, phase = excluded.phase, done = 0, total = excluded.total, kept = 0";
        execute(sql, &args);
        execute("DELETE FROM assets_fdw.replica_request WHERE target = ANY ($1)", &[targets.clone().into()]);
        targets
    })
}

/// A run that succeeded: its replica, its number, the point of the schedule that it stands for, and what it did.
pub type Success = (pg_sys::Oid, i64, Micros, Figures);

/// Notes that incremental runs succeeded, and since when changes are to be asked for from now on; in the transaction that
/// writes their rows.
pub fn succeeded(runs: &[Success], since: Moment) {
    let targets: Vec<pg_sys::Oid> = runs.iter().map(|(target, ..)| *target).collect();
    let numbers: Vec<i64> = runs.iter().map(|(_, run, ..)| *run).collect();
    let bases: Vec<i64> = runs.iter().map(|(.., base, _)| *base).collect();
    let of = |figure: fn(&Figures) -> i64| -> Vec<i64> { runs.iter().map(|(.., f)| figure(f)).collect() };
    let times = |figure: fn(&Figures) -> f64| -> Vec<f64> { runs.iter().map(|(.., f)| figure(f)).collect() };
    as_extension(|| {
        let sql = "
            UPDATE assets_fdw.replica_state AS s SET
                run = NULL, retry_at = NULL, failures = 0, stopped = 0, patient = false,
                recovered = CASE WHEN s.service_failed IS NULL THEN s.recovered ELSE clock_timestamp() END,
                service_failed = NULL, last_error = NULL, last_success = clock_timestamp(), rows = m.rows,
                base = 'epoch'::timestamptz + m.base * interval '1 microsecond',
                since_here = 'epoch'::timestamptz + $4 * interval '1 microsecond',
                since_there = 'epoch'::timestamptz + $5 * interval '1 microsecond'
            FROM unnest($1::oid[], $2::bigint[], $3::bigint[]) AS m(target, rows, base) WHERE s.target = m.target";
        execute(
            sql,
            &[
                targets.clone().into(),
                of(|f| f.rows).into(),
                bases.into(),
                since.here.into(),
                since.there.into(),
            ],
        );
        let sql = "
            UPDATE assets_fdw.replica_run AS r SET outcome = 'ok', finished = clock_timestamp(),
                requests = m.requests, seen = m.seen, inserted = m.inserted, updated = m.updated, deleted = m.deleted,
                unchanged = m.unchanged, seconds = extract(epoch FROM clock_timestamp() - r.started),
                fetch_seconds = m.fetching, apply_seconds = m.applying
            FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                        $7::bigint[], $8::float8[], $9::float8[])
                 AS m(run, requests, seen, inserted, updated, deleted, unchanged, fetching, applying)
            WHERE r.id = m.run";
        execute(
            sql,
            &[
                numbers.into(),
                of(|f| f.requests).into(),
                of(|f| f.seen).into(),
                of(|f| f.inserted).into(),
                of(|f| f.updated).into(),
                of(|f| f.deleted).into(),
                of(|f| f.unchanged).into(),
                times(|f| f.fetch_seconds).into(),
                times(|f| f.apply_seconds).into(),
            ],
        );
        execute("DELETE FROM assets_fdw.replica_progress WHERE target = ANY ($1)", &[targets.into()]);
    });
}
