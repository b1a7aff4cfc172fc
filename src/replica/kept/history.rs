//! The state of jobs and the history of runs: "running, attempt n" is committed before a run, its
//! result with what it wrote, so that a death is deduced from what was committed (timescaledb's
//! `job_stat.c`): running, although nobody holds the replica's lock.

use course::{Blame, Due};
use pgrx::pg_sys;
use schedule::Micros;

use super::jobs::Job;
use crate::gucs;
use crate::sql::failure::Failure;
use crate::sql::spi::{Connected, as_extension, connected, execute, query, query_one, with_latest_snapshot};

/// What a run did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// Requests sent, retries included.
    pub requests: i64,
    /// Objects that the service returned.
    pub seen: i64,
    /// Rows inserted.
    pub inserted: i64,
    /// Rows updated.
    pub updated: i64,
    /// Rows deleted.
    pub deleted: i64,
    /// Rows that were looked at and were right already.
    pub unchanged: i64,
    /// Rows that the replica holds afterwards.
    pub rows: i64,
    /// Seconds from the run's begin to the last page.
    pub fetch_seconds: f64,
    /// Seconds that the difference took.
    pub apply_seconds: f64,
}

impl Figures {
    /// Rows that changed.
    pub fn changed(&self) -> i64 {
        self.inserted + self.updated + self.deleted
    }
}

/// A run.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its number in the history.
    pub id: i64,
    /// Why it began.
    pub reason: String,
    /// How it compares.
    pub mode: Mode,
    /// The run whose requests bring this one's changes as well.
    pub with_run: Option<i64>,
    /// Why it is not done as asked for.
    pub note: Option<String>,
    /// When it began, in microseconds since 1970.
    pub began: Micros,
}

/// How a run compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything.
    Full,
    /// What changed.
    Incremental,
}

impl Mode {
    /// As the history shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Full => "full",
            Mode::Incremental => "incremental",
        }
    }
}

/// What the history says of a run that ended without a word.
fn death() -> Failure {
    Failure::new(
        pgrx::PgSqlErrorCode::ERRCODE_CRASH_SHUTDOWN,
        "the worker died: it was killed, or the server stopped",
    )
    .with_hint("The server's log says what happened. The replica is as it was before.")
}

/// A number for a run, before anything is written about it.
pub fn next_run() -> i64 {
    as_extension(|| query_one("SELECT nextval('assets_fdw.replica_run_id')", &[], |row| row.must(1)))
        .unwrap_or_default()
}

/// Notes that a run begins. The caller holds the replica's lock, so a run noted as under way is dead.
pub fn begin(job: &Job, run: &Run) {
    as_extension(|| {
        let sql = "INSERT INTO assets_fdw.replica_state (target) VALUES ($1) ON CONFLICT (target) DO NOTHING";
        execute(sql, &[job.target.into()]);
        died_if_running(job);
        let sql = "
            INSERT INTO assets_fdw.replica_run
                (id, target, target_name, owner, reason, mode, attempt, outcome, pid, started, with_run, note)
            SELECT $1, $2, $3, $4, $5, $6, s.failures + 1, 'running', pg_backend_pid(), clock_timestamp(), $7, $8
            FROM assets_fdw.replica_state AS s WHERE s.target = $2";
        execute(
            sql,
            &[
                run.id.into(),
                job.target.into(),
                job.name.as_str().into(),
                job.owner.into(),
                run.reason.as_str().into(),
                run.mode.as_str().into(),
                run.with_run.into(),
                run.note.as_deref().into(),
            ],
        );
        let args = [job.target.into(), run.id.into()];
        execute("UPDATE assets_fdw.replica_state SET run = $2 WHERE target = $1", &args);
        let sql = "
            INSERT INTO assets_fdw.replica_progress (target, run, phase, done, total)
            SELECT $1, $2, 'starting', 0, s.rows FROM assets_fdw.replica_state AS s WHERE s.target = $1
            ON CONFLICT (target) DO UPDATE
                SET run = excluded.run, phase = excluded.phase, done = 0, total = excluded.total, kept = 0";
        execute(sql, &args);
        // What is asked for from here on is asked of the next run.
        execute("DELETE FROM assets_fdw.replica_request WHERE target = $1", &[job.target.into()]);
    });
}

/// Notes where a run is.
pub fn progress(target: pg_sys::Oid, run: &Run, phase: &str, done: i64, total: Option<i64>) {
    let sql = "UPDATE assets_fdw.replica_progress SET phase = $3, done = $4, total = coalesce($5, total)
               WHERE target = $1 AND run = $2";
    let args = [target.into(), run.id.into(), phase.into(), done.into(), total.into()];
    as_extension(|| execute(sql, &args));
}

/// The same for several runs at once: of which replica, which run, and how far it is.
pub fn progress_of(runs: &[(pg_sys::Oid, i64, i64)], phase: &str) {
    let sql = "
        UPDATE assets_fdw.replica_progress AS p SET phase = $1, done = m.done
        FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS m(target, run, done)
        WHERE p.target = m.target::oid AND p.run = m.run AND (p.phase, p.done) IS DISTINCT FROM ($1, m.done)
          -- Whoever is removing one of them is not waited for.
          AND p.target IN (SELECT q.target FROM assets_fdw.replica_progress AS q
                           WHERE q.target = ANY ($2::bigint[]::oid[]) FOR NO KEY UPDATE SKIP LOCKED)";
    let targets: Vec<i64> = runs.iter().map(|(target, ..)| i64::from(target.to_u32())).collect();
    let numbers: Vec<i64> = runs.iter().map(|(_, run, _)| *run).collect();
    let done: Vec<i64> = runs.iter().map(|(.., done)| *done).collect();
    as_extension(|| execute(sql, &[phase.into(), targets.into(), numbers.into(), done.into()]));
}

/// Notes how many objects a run has taken over from one before it.
pub fn resumed(target: pg_sys::Oid, run: &Run, kept: i64) {
    let sql = "UPDATE assets_fdw.replica_progress SET done = $3, kept = $3 WHERE target = $1 AND run = $2";
    as_extension(|| execute(sql, &[target.into(), run.id.into(), kept.into()]));
}

/// Notes that a run compares in another way than it meant to, and why.
pub fn turned(run: &Run) {
    let sql = "UPDATE assets_fdw.replica_run SET mode = $2, note = $3 WHERE id = $1";
    let args = [run.id.into(), run.mode.as_str().into(), run.note.as_deref().into()];
    as_extension(|| execute(sql, &args));
}

/// What some runs have noted of themselves, by number: whether each compares everything, and whether it has ended. One
/// that has not begun has noted nothing.
pub fn notes_of(runs: &[i64]) -> Vec<(i64, bool, bool)> {
    let sql = "SELECT id, mode IS NOT DISTINCT FROM 'full', outcome <> 'running' FROM assets_fdw.replica_run WHERE id = ANY ($1)";
    as_extension(|| query(sql, &[runs.to_vec().into()], |row| (row.must(1), row.must(2), row.must(3))))
}

/// What a note begins with that names replicas of the group that a run went on without.
pub const WITHOUT: &str = "without ";

/// Adds to what a run says of itself; in the transaction that ends it.
pub fn add_note(run: &Run, note: &str) {
    let sql = "UPDATE assets_fdw.replica_run SET note = concat_ws('; ', note, $2) WHERE id = $1";
    as_extension(|| execute(sql, &[run.id.into(), note.into()]));
}

/// The point of the schedule that a job's last success stood for.
pub fn base(job: &Job) -> Option<Micros> {
    let sql =
        "SELECT (extract(epoch FROM base) * 1000000)::bigint FROM assets_fdw.replica_state WHERE target = $1";
    as_extension(|| query_one(sql, &[job.target.into()], |row| row.get::<i64>(1))).flatten()
}

/// The point of the schedule that a run of a job stands for.
pub fn next_base(job: &Job, run: &Run) -> Micros {
    schedule::next_base(base(job), job.every, run.began)
}

/// Notes that a run succeeded, and for which point of the schedule; in the transaction that writes its
/// rows.
pub fn succeeded(job: &Job, run: &Run, base: Micros, figures: &Figures) {
    as_extension(|| {
        let sql = "
            UPDATE assets_fdw.replica_state SET run = NULL, retry_at = NULL, failures = 0, stopped = 0, patient = false,
                recovered = CASE WHEN service_failed IS NULL THEN recovered ELSE clock_timestamp() END,
                service_failed = NULL, last_error = NULL, last_success = clock_timestamp(), rows = $2,
                base = 'epoch'::timestamptz + $3 * interval '1 microsecond'
            WHERE target = $1";
        execute(sql, &[job.target.into(), figures.rows.into(), base.into()]);
        end(job, run, "ok", figures, None);
    });
}

/// Notes that a run has written what changed, but for rows that it may not delete: what the replica shows is
/// not what the service has. It goes on with its schedule and its group, where it fails in the same way until
/// somebody decides.
pub fn held_back(job: &Job, run: &Run, base: Micros, figures: &Figures, failure: &Failure) {
    as_extension(|| {
        let sql = "
            UPDATE assets_fdw.replica_state SET run = NULL, retry_at = NULL, failures = 1, stopped = 0, patient = false,
                recovered = CASE WHEN service_failed IS NULL THEN recovered ELSE clock_timestamp() END,
                service_failed = NULL, last_error = $4, last_failure = clock_timestamp(), rows = $2,
                base = 'epoch'::timestamptz + $3 * interval '1 microsecond'
            WHERE target = $1";
        let message = failure.message.as_str();
        execute(sql, &[job.target.into(), figures.rows.into(), base.into(), message.into()]);
        end(job, run, "failed", figures, Some(failure));
    });
}

/// Notes that a run failed, and whose fault it is. `retried`: whether its replica is due again by itself where that is
/// nobody's; else its schedule is as it was.
pub fn failed(job: &Job, run: &Run, figures: &Figures, failure: &Failure, blame: Blame, retried: bool) {
    as_extension(|| {
        note_failure(job, &run.reason, failure, blame, retried);
        // A failed run wrote nothing, whatever it counted on the way.
        let figures = Figures { inserted: 0, updated: 0, deleted: 0, ..*figures };
        end(job, run, "failed", &figures, Some(failure));
    });
}

/// Notes that a run which had begun is not done, and when its replica is due.
pub fn put_off(job: &Job, run: &Run, why: &str, due: Due) {
    as_extension(|| {
        skip(run, why);
        let (pause, again) = match due {
            Due::AsScheduled => (None, 0),
            Due::AtOnce => (Some(0), 0),
            Due::WhenFree => {
                let sql = "SELECT stopped FROM assets_fdw.replica_state WHERE target = $1";
                let before = query_one(sql, &[job.target.into()], |row| row.must::<i32>(1)).unwrap_or(0);
                (Some(schedule::lock_pause(before.unsigned_abs())), 1)
            }
        };
        let sql = "
            UPDATE assets_fdw.replica_state SET run = NULL,
                stopped = CASE WHEN $3 > 0 THEN greatest(stopped, least(stopped + 1, 6)) ELSE stopped END,
                last_error = CASE WHEN $3 > 0 THEN $4 ELSE last_error END,
                retry_at = coalesce(clock_timestamp() + $2 * interval '1 microsecond', retry_at)
            WHERE target = $1";
        execute(sql, &[job.target.into(), pause.into(), again.into(), why.into()]);
        execute("DELETE FROM assets_fdw.replica_progress WHERE target = $1", &[job.target.into()]);
    });
}

/// Notes what holds up a job that is due.
pub fn held_up(job: &Job, why: &str) {
    let sql = "UPDATE assets_fdw.replica_state SET last_error = $2
               WHERE target IN (SELECT target FROM assets_fdw.replica_state WHERE target = $1
                                FOR NO KEY UPDATE SKIP LOCKED)";
    as_extension(|| execute(sql, &[job.target.into(), why.into()]));
}

/// Notes that the replica of a run is gone.
pub fn removed(run: &Run, why: &str) {
    as_extension(|| skip(run, why));
}

fn skip(run: &Run, why: &str) {
    let sql =
        "UPDATE assets_fdw.replica_run SET outcome = 'skipped', finished = clock_timestamp(), error = $2
               WHERE id = $1 AND outcome = 'running'";
    execute(sql, &[run.id.into(), why.into()]);
}

/// Notes a run that was due and did not happen.
pub fn skipped(job: &Job, run: i64, reason: &str, message: &str, hint: Option<&str>) {
    let sql = "
        INSERT INTO assets_fdw.replica_run
            (id, target, target_name, owner, reason, attempt, outcome, started, finished, error, hint)
        VALUES ($1, $2, $3, $4, $5, 0, 'skipped', clock_timestamp(), clock_timestamp(), $6, $7)";
    as_extension(|| {
        execute(
            sql,
            &[
                run.into(),
                job.target.into(),
                job.name.as_str().into(),
                job.owner.into(),
                reason.into(),
                message.into(),
                hint.into(),
            ],
        )
    });
}

/// Notes why a job that is due does not begin, which is nothing of its own and passes: no failure, and nothing that is
/// known of it already is overwritten.
pub fn waits(job: &Job, why: &str) {
    as_extension(|| {
        let sql = "INSERT INTO assets_fdw.replica_state (target) VALUES ($1) ON CONFLICT (target) DO NOTHING";
        execute(sql, &[job.target.into()]);
        let sql =
            "UPDATE assets_fdw.replica_state SET last_error = $2 WHERE target = $1 AND last_error IS NULL";
        execute(sql, &[job.target.into(), why.into()]);
    });
}

/// Notes that a job which was due for `reason` cannot run, why, and when to look again.
pub fn obstructed(job: &Job, reason: &str, failure: &Failure, blame: Blame) {
    as_extension(|| {
        let sql = "INSERT INTO assets_fdw.replica_state (target) VALUES ($1) ON CONFLICT (target) DO NOTHING";
        execute(sql, &[job.target.into()]);
        note_failure(job, reason, failure, blame, true);
        execute("DELETE FROM assets_fdw.replica_request WHERE target = $1", &[job.target.into()]);
    });
}

/// Notes the death of a run that is noted as under way. The caller holds the replica's lock.
pub fn died_if_running(job: &Job) {
    as_extension(|| {
        let sql = "SELECT run FROM assets_fdw.replica_state WHERE target = $1 AND run IS NOT NULL FOR UPDATE";
        let Some(run) = query_one(sql, &[job.target.into()], |row| row.must::<i64>(1)) else { return };
        let death = death();
        let sql = "SELECT reason FROM assets_fdw.replica_run WHERE id = $1";
        let reason = query_one(sql, &[run.into()], |row| row.must::<String>(1)).unwrap_or_default();
        note_failure(job, &reason, &death, Blame::Nobody, true);
        let sql = "
            UPDATE assets_fdw.replica_run SET outcome = 'failed', finished = clock_timestamp(),
                sqlstate = $2, error = $3, hint = $4
            WHERE id = $1 AND outcome = 'running'";
        execute(sql, &[run.into(), death.sqlstate.into(), death.message.into(), death.hint.into()]);
    });
}

/// Notes a worker that ended before it could note anything itself. False where it did.
pub fn never_began(job: &Job, run: i64, reason: &str) -> bool {
    let failure = Failure::new(
        pgrx::PgSqlErrorCode::ERRCODE_CONNECTION_FAILURE,
        "the worker ended before the refresh began",
    )
    .with_hint("The server's log says why; the role may have reached its connection limit, for one.");
    as_extension(|| {
        let known = "SELECT 1 FROM assets_fdw.replica_run WHERE id = $1";
        if query_one(known, &[run.into()], |_| ()).is_some() {
            return false;
        }
        not_begun(job, run, reason, &failure, Some(Blame::Nobody));
        true
    })
}

/// Notes a run that failed before it compared anything. `blame`: whose fault that is, where the replica is due again by
/// itself; none where somebody waits for the run: the schedule is as it was.
pub fn not_begun(job: &Job, run: i64, reason: &str, failure: &Failure, blame: Option<Blame>) {
    as_extension(|| {
        let sql = "
            INSERT INTO assets_fdw.replica_run (id, target, target_name, owner, reason, attempt, outcome,
                started, finished, sqlstate, error, detail, hint)
            VALUES ($1, $2, $3, $4, $5, 0, 'failed', clock_timestamp(), clock_timestamp(), $6, $7, $8, $9)";
        execute(
            sql,
            &[
                run.into(),
                job.target.into(),
                job.name.as_str().into(),
                job.owner.into(),
                reason.into(),
                failure.sqlstate.as_str().into(),
                failure.message.as_str().into(),
                failure.detail.as_deref().into(),
                failure.hint.as_deref().into(),
            ],
        );
        if let Some(blame) = blame {
            obstructed(job, reason, failure, blame);
        }
    });
}

/// `failures` are the replica's own and the service's. What is nobody's has its own count, so that whoever is killed
/// again and again is not kept apart from its group over it, and does not come back at once either. `reason`: why the run
/// was due. One that was brought forward before its pause was over, and failed as well, has the next one wait.
fn note_failure(job: &Job, reason: &str, failure: &Failure, blame: Blame, retried: bool) {
    let sql = "SELECT failures, stopped FROM assets_fdw.replica_state WHERE target = $1";
    let before = query_one(sql, &[job.target.into()], |row| (row.must::<i32>(1), row.must::<i32>(2)));
    let (mut failures, mut stopped) = before.unwrap_or((0, 0));
    match blame {
        Blame::Nobody if retried => stopped += 1,
        Blame::Nobody => {}
        Blame::Own | Blame::Service => (failures, stopped) = (failures + 1, 0),
    }
    let again = retried || blame != Blame::Nobody;
    let pause = again.then(|| {
        let attempts = (failures + stopped).unsigned_abs();
        schedule::pause(job.every, attempts, u64::from(job.target.to_u32()))
    });
    let sql = "
        UPDATE assets_fdw.replica_state SET run = NULL, failures = $2, stopped = $6, last_error = $3,
            last_failure = clock_timestamp(),
            retry_at = coalesce(clock_timestamp() + $4 * interval '1 microsecond', retry_at),
            service_failed = CASE WHEN $5 THEN clock_timestamp() WHEN $7 THEN NULL ELSE service_failed END,
            patient = $8
        WHERE target = $1";
    let args = [
        job.target.into(),
        failures.into(),
        failure.message.as_str().into(),
        pause.into(),
        (blame == Blame::Service).into(),
        stopped.into(),
        (blame == Blame::Own).into(),
        (again && schedule::brought_forward(reason)).into(),
    ];
    execute(sql, &args);
}

fn end(job: &Job, run: &Run, outcome: &str, figures: &Figures, failure: Option<&Failure>) {
    let sql = "
        UPDATE assets_fdw.replica_run SET outcome = $2, finished = clock_timestamp(), requests = $3, seen = $4,
            inserted = $5, updated = $6, deleted = $7, unchanged = $8,
            seconds = extract(epoch FROM clock_timestamp() - started),
            fetch_seconds = $9, apply_seconds = $10, sqlstate = $11, error = $12, detail = $13, hint = $14
        WHERE id = $1";
    let unchanged = if failure.is_none() { Some(figures.unchanged) } else { None };
    execute(
        sql,
        &[
            run.id.into(),
            outcome.into(),
            figures.requests.into(),
            figures.seen.into(),
            figures.inserted.into(),
            figures.updated.into(),
            figures.deleted.into(),
            unchanged.into(),
            figures.fetch_seconds.into(),
            figures.apply_seconds.into(),
            failure.map(|f| f.sqlstate.as_str()).into(),
            failure.map(|f| f.message.as_str()).into(),
            failure.and_then(|f| f.detail.as_deref()).into(),
            failure.and_then(|f| f.hint.as_deref()).into(),
        ],
    );
    execute("DELETE FROM assets_fdw.replica_progress WHERE target = $1", &[job.target.into()]);
}

/// So many runs are forgotten at a time, and so many times in a row.
const OLDEST: u64 = 100;
const ROUNDS: u64 = 50;

/// Forgets runs that are older than is to be kept, whoever's they are: also those of replicas that were
/// removed. Runs are numbered as they begin, so the oldest are the first of the primary key, and what is kept
/// costs nothing. Two processes that do this at once share the work; neither waits.
pub fn forget() {
    let minutes = gucs::HISTORY_RETENTION.get();
    let sql = "
        DELETE FROM assets_fdw.replica_run WHERE id = ANY (ARRAY(
            SELECT id FROM assets_fdw.replica_run
            WHERE id = ANY (ARRAY(SELECT id FROM assets_fdw.replica_run ORDER BY id LIMIT $2))
              AND finished < clock_timestamp() - $1 * interval '1 minute'
            FOR UPDATE SKIP LOCKED))";
    let args = [minutes.into(), OLDEST.cast_signed().into()];
    let forget = || as_extension(|| execute(sql, &args));
    let _all = minutes <= 0 || (0..ROUNDS).all(|_| forget() == OLDEST);
}

/// The run of a replica that is under way, if any.
pub fn under_way(target: pg_sys::Oid) -> Option<i64> {
    let sql = "SELECT run FROM assets_fdw.replica_state WHERE target = $1";
    as_extension(|| query_one(sql, &[target.into()], |row| row.get::<i64>(1))).flatten()
}

/// What the history says of a run whose replica was removed meanwhile; in the transaction that removed it, and
/// after that, since the run keeps its job before it notes anything. sql/30-replica.sql has the same for a
/// table that is dropped.
pub fn end_of_removed(target: pg_sys::Oid, run: Option<i64>) {
    let sql = "
        UPDATE assets_fdw.replica_run SET outcome = 'skipped', finished = clock_timestamp(),
            sqlstate = '42704', error = 'the replica was removed meanwhile'
        WHERE id = $1 AND outcome = 'running'";
    as_extension(|| {
        execute(sql, &[run.into()]);
        execute("DELETE FROM assets_fdw.replica_progress WHERE target = $1", &[target.into()]);
    });
}

/// A run's row, for whoever waits for it.
pub struct Ended {
    /// `ok`, `failed`, `skipped`, or `running` where it died.
    pub outcome: String,
    /// How it compared; empty where it did not begin.
    pub mode: String,
    /// What it did.
    pub figures: Figures,
    /// How long it took.
    pub seconds: f64,
    /// Why it failed or was skipped.
    pub failure: Option<Failure>,
    /// Why it was not done as asked for.
    pub note: Option<String>,
}

/// How a run ended, as committed by now; none where it never began.
pub fn ended(run: i64) -> Option<Ended> {
    select_ended("id = $1", run).into_iter().next().map(|(_, ended)| ended)
}

/// The replicas that a run took along, and how that ended for each.
pub fn ended_along(run: i64) -> Vec<(pg_sys::Oid, Ended)> {
    // Numbered after it, which is what there is an index for.
    select_ended("with_run = $1 AND id > $1", run)
}

fn select_ended(which: &str, run: i64) -> Vec<(pg_sys::Oid, Ended)> {
    let sql = format!(
        "SELECT outcome, mode, requests, seen, inserted, updated, deleted, seconds, sqlstate, error, detail, hint,
                coalesce(unchanged, 0), note, target
         FROM assets_fdw.replica_run WHERE {which} ORDER BY id"
    );
    let read = |connection: &Connected| {
        connection.query_with_active_snapshot(&sql, &[run.into()], |row| {
            (
                row.must(15),
                Ended {
                    outcome: row.must(1),
                    mode: row.get(2).unwrap_or_default(),
                    figures: Figures {
                        requests: row.get(3).unwrap_or(0),
                        seen: row.get(4).unwrap_or(0),
                        inserted: row.get(5).unwrap_or(0),
                        updated: row.get(6).unwrap_or(0),
                        deleted: row.get(7).unwrap_or(0),
                        unchanged: row.must(13),
                        ..Figures::default()
                    },
                    seconds: row.get(8).unwrap_or(0.0),
                    failure: row.get::<String>(10).map(|message| {
                        let sqlstate = row.get(9).unwrap_or_else(|| "XX000".into());
                        Failure::kept(sqlstate, message, row.get(11), row.get(12))
                    }),
                    note: row.get(14),
                },
            )
        })
    };
    as_extension(|| with_latest_snapshot(|| connected(read)))
}
