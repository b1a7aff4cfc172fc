//! Jobs, as `assets_fdw.replica_job` and `assets_fdw.replica_state` hold them.

use std::cell::OnceCell;
use std::collections::HashMap;

use crate::installed::{self, Installed, installed};
use crate::sql::clock;
use pgrx::pg_sys;
use pgrx::prelude::*;
use schedule::{Facts, Group, Micros};
use tables::ddl::ident;

use super::{histories, history};
use crate::error;
use crate::fdw::pg;
use crate::sql::roles::acts_for;
use crate::sql::spi::{Row, as_extension, execute, query, query_one};

/// A job's definition.
#[derive(Debug, Clone)]
pub struct Job {
    /// The replica's table.
    pub target: pg_sys::Oid,
    /// The foreign table it follows.
    pub source: pg_sys::Oid,
    /// Whose rights and user mapping its runs use.
    pub owner: pg_sys::Oid,
    /// Whether that role is still there.
    pub owner_exists: bool,
    /// How often it is refreshed.
    pub every: Micros,
    /// The replica's name, qualified and quoted.
    pub name: String,
    /// The table that keeps former versions of its rows.
    pub history: Option<pg_sys::Oid>,
}

impl Job {
    /// The replica's name at this moment, which may have changed since the job was read; inside a
    /// transaction. An ERROR where the table is gone.
    pub fn name_now(&self) -> String {
        name_of(self.target).unwrap_or_else(|| {
            error::raise(PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT, "the replica was removed meanwhile")
        })
    }
}

/// A relation's name, qualified and quoted; inside a transaction. None where it is gone.
#[allow(unsafe_code)] // catalogue look-ups
pub fn name_of(relation: pg_sys::Oid) -> Option<String> {
    // SAFETY: look-ups in the server's caches; both give null for what is not there, else a string.
    unsafe {
        let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(relation));
        let table = pg_sys::get_rel_name(relation);
        (!schema.is_null() && !table.is_null())
            .then(|| format!("{}.{}", ident(&pg::text(schema)), ident(&pg::text(table))))
    }
}

const JOB: &str = "
    SELECT j.target::oid, j.source::oid, j.owner::oid,
           EXISTS (SELECT FROM pg_roles AS r WHERE r.oid = j.owner::oid),
           (extract(epoch FROM j.every) * 1000000)::bigint,
           format('%I.%I', n.nspname, c.relname),
           (SELECT h.oid FROM pg_class AS h WHERE j.history AND h.oid = j.history_table::oid)
    FROM assets_fdw.replica_job AS j
    JOIN pg_class AS c ON c.oid = j.target::oid JOIN pg_namespace AS n ON n.oid = c.relnamespace";

fn read_job(row: &Row) -> Job {
    Job {
        target: row.must(1),
        source: row.must(2),
        owner: row.must(3),
        owner_exists: row.must(4),
        every: row.must(5),
        name: row.must(6),
        history: row.get(7),
    }
}

/// The job of a table, if it has one.
pub fn find(target: pg_sys::Oid) -> Option<Job> {
    as_extension(|| query_one(&format!("{JOB} WHERE j.target = $1"), &[target.into()], read_job))
}

/// The job of a table, kept from being removed until the transaction ends.
pub fn find_and_keep(target: pg_sys::Oid) -> Option<Job> {
    let sql = format!("{JOB} WHERE j.target = $1 FOR KEY SHARE OF j");
    as_extension(|| query_one(&sql, &[target.into()], read_job))
}

/// The job, unless it, its table or the whole extension is gone by now, or the extension is another one.
pub fn usable(target: pg_sys::Oid) -> Option<Job> {
    if installed::usable() { find(target) } else { None }
}

/// The job as it is now, kept from being removed until the transaction ends; an ERROR where it is gone.
pub fn still_there(job: &Job) -> Job {
    let found = match installed() {
        Installed::Known => find_and_keep(job.target),
        Installed::Absent => None,
        Installed::Unfit(unfit) => unfit.raise(),
    };
    found.unwrap_or_else(|| {
        error::raise(PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT, "the replica was removed meanwhile")
    })
}

/// The job of a table that the current user may command: its owner, a member of that role, or, where the role is
/// gone or does not act for the table's owner, the table's owner. Anything else is an ERROR.
pub fn find_mine(target: pg_sys::Oid) -> Job {
    let Some(job) = find(target) else {
        let name = relation_name(target);
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            format!("\"{name}\" is not a replica"),
            "assets_fdw.materializations lists the replicas; assets_fdw.materialize() makes one.",
        );
    };
    if !may_command(&job) {
        error::raise(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("must be owner of replica {}", job.name),
        );
    }
    job
}

fn may_command(job: &Job) -> bool {
    let sql = "SELECT CASE WHEN $1 THEN pg_catalog.pg_has_role($2, 'MEMBER') ELSE false END
                      OR $3 AND (SELECT pg_catalog.pg_has_role(c.relowner, 'MEMBER')
                                 FROM pg_catalog.pg_class AS c WHERE c.oid OPERATOR(pg_catalog.=) $4)";
    let args = [job.owner_exists.into(), job.owner.into(), is_anothers(job).into(), job.target.into()];
    query_one(sql, &args, |row| row.get(1)).flatten().unwrap_or(false)
}

/// Whether the table is of a role that the job's owner does not act for.
fn is_anothers(job: &Job) -> bool {
    !job.owner_exists || !acts_for_table(job.owner, job.target)
}

fn acts_for_table(role: pg_sys::Oid, table: pg_sys::Oid) -> bool {
    let sql = format!("SELECT {} FROM pg_class AS c WHERE c.oid = $2", acts_for("$1", "c.relowner"));
    as_extension(|| query_one(&sql, &[role.into(), table.into()], |row| row.get(1)))
        .flatten()
        .unwrap_or(false)
}

/// What is wrong where a table of the replica belongs to a role that the job's owner does not act for.
pub fn belongs_to(table: &str, theirs: &str, owner: &str) -> String {
    format!("{table} belongs to role \"{theirs}\", for whom the replica's owner, \"{owner}\", does not act")
}

/// What to do about that.
pub fn takes_over(table: &str, replica: &str, theirs: &str, owner: &str) -> String {
    let back = format!("ALTER TABLE {table} OWNER TO {}", ident(owner));
    if table != replica {
        return format!("{back}: a refresh runs as the replica's owner, and so would that role's triggers.");
    }
    format!(
        "{back}; or have its refreshes run as \"{theirs}\", who then needs a user mapping and SELECT on the source: \
         SELECT assets_fdw.alter_materialization('{replica}', enabled => true), called by that role or a superuser."
    )
}

/// The name of a relation for messages, or its number where it has none (any more).
pub fn relation_name(relation: pg_sys::Oid) -> String {
    query_one("SELECT $1::pg_catalog.regclass::pg_catalog.text", &[relation.into()], |row| row.must(1))
        .unwrap_or_else(|| relation.to_u32().to_string())
}

thread_local! {
    /// What [`home`] has found: a process stays where it is.
    static HOME: OnceCell<String> = const { OnceCell::new() };
}

/// Which cluster and database this is: what tells a restored or copied job from one made here.
pub fn home() -> String {
    let find = || {
        let sql = "SELECT (SELECT system_identifier FROM pg_control_system())::text || '/' || d.oid::text
                   FROM pg_database AS d WHERE d.datname = current_database()";
        as_extension(|| query_one(sql, &[], |row| row.must::<String>(1)).unwrap_or_default())
    };
    HOME.with(|home| {
        home.get().cloned().unwrap_or_else(|| {
            let found = find();
            let _ = home.set(found.clone());
            found
        })
    })
}

#[pg_extern(sql = false)]
fn replica_home() -> String {
    home()
}

/// What a job is made of.
pub struct New<'a> {
    /// The replica's table.
    pub target: pg_sys::Oid,
    /// The foreign table.
    pub source: pg_sys::Oid,
    /// The owner.
    pub owner: pg_sys::Oid,
    /// How often it is refreshed.
    pub every: &'a pgrx::datum::Interval,
    /// How often everything is compared.
    pub full_every: &'a pgrx::datum::Interval,
    /// The table of former versions, where they are kept.
    pub history: Option<pg_sys::Oid>,
}

/// Adds a job.
pub fn add(new: &New) {
    let home = home();
    as_extension(|| {
        let sql = "INSERT INTO assets_fdw.replica_job (target, source, owner, every, full_every, home, history, history_table)
                   VALUES ($1, $2, $3, $4, $5, $6, $7::oid IS NOT NULL, $7)";
        execute(
            sql,
            &[
                new.target.into(),
                new.source.into(),
                new.owner.into(),
                (*new.every).into(),
                (*new.full_every).into(),
                home.into(),
                new.history.into(),
            ],
        )
    });
}

/// Changes a job's schedule; what is none stays. Enabling one also takes it over: from where it was
/// restored from, and from an owner that is gone or does not act for the table's owner: for the user, or, where that
/// one does not either, for the table's owner.
pub fn alter(
    job: &Job,
    every: Option<pgrx::datum::Interval>,
    full_every: Option<pgrx::datum::Interval>,
    enabled: Option<bool>,
    user: pg_sys::Oid,
) {
    let home = home();
    // A former owner does not have others' rights used.
    if enabled == Some(true) && is_anothers(job) {
        let sql = "SELECT pg_catalog.pg_has_role(c.relowner, 'MEMBER') FROM pg_catalog.pg_class AS c
                   WHERE c.oid OPERATOR(pg_catalog.=) $1";
        if query_one(sql, &[job.target.into()], |row| row.get(1)).flatten() != Some(true) {
            error::raise(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                format!("must be owner of table {}", job.name),
            );
        }
    }
    let owner = if is_anothers(job) && acts_for_table(user, job.target) {
        Some(user)
    } else if is_anothers(job) {
        None
    } else {
        Some(job.owner)
    };
    as_extension(|| {
        let sql = "UPDATE assets_fdw.replica_job SET
                       every = coalesce($2, every), full_every = coalesce($3, full_every),
                       enabled = coalesce($4, enabled),
                       home = CASE WHEN $4 THEN $5 ELSE home END,
                       owner = CASE WHEN $4 THEN coalesce($6, (SELECT c.relowner FROM pg_class AS c WHERE c.oid = $1))::regrole
                                    ELSE owner END
                   WHERE target = $1";
        execute(
            sql,
            &[job.target.into(), every.into(), full_every.into(), enabled.into(), home.into(), owner.into()],
        );
        if enabled == Some(true) {
            // Not the state, which is the workers': a request is what a session may add.
            execute("INSERT INTO assets_fdw.replica_request (target) VALUES ($1)", &[job.target.into()]);
        }
    });
}

/// Removes a job; its history stays.
pub fn remove(target: pg_sys::Oid) {
    histories::leave(target);
    let run = history::under_way(target);
    as_extension(|| execute("DELETE FROM assets_fdw.replica_job WHERE target = $1", &[target.into()]));
    history::end_of_removed(target, run);
}

/// The replicas of a foreign table that belong to a role.
pub fn of_source(source: pg_sys::Oid, owner: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    let sql = "SELECT j.target::oid FROM assets_fdw.replica_job AS j
               WHERE j.source::oid = $1 AND j.owner::oid = $2 ORDER BY 1";
    as_extension(|| query(sql, &[source.into(), owner.into()], |row| row.must(1)))
}

/// Asks for a refresh.
pub fn request(target: pg_sys::Oid) {
    let sql = "INSERT INTO assets_fdw.replica_request (target) VALUES ($1)";
    as_extension(|| execute(sql, &[target.into()]));
}

/// Forgets requests that nothing will ever serve: of replicas that are disabled, paused or gone. Enabling one
/// asks for a refresh anyway.
pub fn forget_requests() {
    let home = home();
    let sql = "DELETE FROM assets_fdw.replica_request AS q WHERE NOT EXISTS (
                   SELECT FROM assets_fdw.replica_job AS j
                   WHERE j.target::oid = q.target AND j.enabled AND j.home = $1)";
    as_extension(|| execute(sql, &[home.into()]));
}

/// Stops a job that cannot go on. Leaves one alone that a session is changing at the moment; it
/// comes up again. Returns whether it was stopped.
pub fn disable(target: pg_sys::Oid) -> bool {
    let sql = "UPDATE assets_fdw.replica_job SET enabled = false
               WHERE target IN (SELECT target FROM assets_fdw.replica_job WHERE target = $1
                                FOR NO KEY UPDATE SKIP LOCKED)";
    as_extension(|| execute(sql, &[target.into()])) > 0
}

/// A job as the scheduler sees it.
pub struct Scheduled {
    /// What decides when it runs.
    pub facts: Facts,
    /// The replica's table.
    pub target: pg_sys::Oid,
    /// The owner.
    pub owner: pg_sys::Oid,
    /// The run that is noted as under way.
    pub run: Option<i64>,
    /// Why it cannot run at all.
    pub obstacle: Option<Obstacle>,
}

/// Why a job cannot run.
pub struct Obstacle {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: String,
    /// Whether the job is stopped over it; else it is tried again.
    pub disables: bool,
}

/// Every job of this database that is enabled and was made here.
pub fn scheduled() -> Vec<Scheduled> {
    let home = home();
    let now = clock::now();
    let sql = format!(
        "
        SELECT j.target::oid, j.owner::oid, (extract(epoch FROM j.every) * 1000000)::bigint,
               s.run, (extract(epoch FROM s.base) * 1000000)::bigint,
               (extract(epoch FROM s.retry_at) * 1000000)::bigint, coalesce(s.failures, 0),
               (extract(epoch FROM j.created) * 1000000)::bigint,
               (extract(epoch FROM s.service_failed) * 1000000)::bigint,
               (extract(epoch FROM q.asked) * 1000000)::bigint,
               coalesce(f.ftserver, 0::oid), j.source::oid,
               r.rolname::text, coalesce(r.rolcanlogin, false),
               coalesce(has_database_privilege(r.oid, d.oid, 'CONNECT'), false), d.datname::text,
               CASE WHEN s.manner IS NOT NULL THEN s.object_schema END,
               (extract(epoch FROM s.full_at) * 1000000)::bigint,
               (extract(epoch FROM j.full_every) * 1000000)::bigint,
               (extract(epoch FROM s.recovered) * 1000000)::bigint, coalesce(s.patient, false), s.object_schema,
               CASE WHEN NOT {} THEN pg_get_userbyid(c.relowner)::text END, format('%I.%I', n.nspname, c.relname)
        FROM assets_fdw.replica_job AS j
        JOIN pg_class AS c ON c.oid = j.target::oid JOIN pg_namespace AS n ON n.oid = c.relnamespace
        JOIN pg_database AS d ON d.datname = current_database()
        LEFT JOIN assets_fdw.replica_state AS s ON s.target = j.target
        LEFT JOIN (SELECT target, min(asked) AS asked FROM assets_fdw.replica_request GROUP BY target) AS q
            ON q.target = j.target::oid
        LEFT JOIN pg_foreign_table AS f ON f.ftrelid = j.source::oid
        LEFT JOIN pg_roles AS r ON r.oid = j.owner::oid
        WHERE j.enabled AND j.home = $1",
        acts_for("r.oid", "c.relowner")
    );
    as_extension(|| {
        query(&sql, &[home.into()], |row| {
            let target: pg_sys::Oid = row.must(1);
            let server: pg_sys::Oid = row.must(11);
            let failures: i32 = row.must(7);
            Scheduled {
                facts: Facts {
                    id: target.to_u32(),
                    server: server.to_u32(),
                    every: row.must(3),
                    base: row.get(5),
                    retry_at: row.get(6),
                    failures: failures.unsigned_abs(),
                    made: row.must(8),
                    service_failed: row.get(9),
                    recovered: row.get(20),
                    patient: row.must(21),
                    requested: row.get(10),
                    schema: row.get(22),
                    group: row
                        .get::<i64>(17)
                        .map(|schema| Group { owner: row.must::<pg_sys::Oid>(2).to_u32(), schema }),
                    full: full_due(row, target, now),
                },
                target,
                owner: row.must(2),
                run: row.get(4),
                obstacle: obstacle(row, server),
            }
        })
    })
}

/// Also where nothing else can be done.
fn full_due(row: &Row, target: pg_sys::Oid, now: Micros) -> bool {
    row.get::<i64>(17).is_none()
        || schedule::full_due(row.get(18), row.must(19), u64::from(target.to_u32()), now)
}

/// Whether sessions of this database begin read-only, by what is set for it or for all roles; not by what is set for
/// one role.
pub fn is_read_only() -> bool {
    let sql = "
        SELECT split_part(c.line, '=', 2)::boolean
        FROM pg_database AS d JOIN pg_db_role_setting AS s ON s.setrole = 0 AND s.setdatabase IN (0, d.oid)
        CROSS JOIN LATERAL unnest(s.setconfig) AS c(line)
        WHERE d.datname = current_database() AND split_part(c.line, '=', 1) = 'default_transaction_read_only'
        ORDER BY s.setdatabase DESC LIMIT 1";
    as_extension(|| query_one(sql, &[], |row| row.get(1))).flatten().unwrap_or(false)
}

/// The foreign server that a job is fed from; 0 where its source is gone.
pub fn server_of(job: &Job) -> u32 {
    let sql = "SELECT ftserver FROM pg_foreign_table WHERE ftrelid = $1";
    let server = as_extension(|| query_one(sql, &[job.source.into()], |row| row.must::<pg_sys::Oid>(1)));
    server.unwrap_or(pg_sys::InvalidOid).to_u32()
}

/// The relations on which a session holds a lock that a refresh may have to wait for.
pub fn locked_by(pid: i32) -> Vec<pg_sys::Oid> {
    let sql = "SELECT relation FROM pg_locks WHERE pid = $1 AND locktype = 'relation' AND granted
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND mode <> 'AccessShareLock'";
    as_extension(|| query(sql, &[pid.into()], |row| row.must(1)))
}

/// Whether another replica of the same server and owner waits for its first load, and has not failed.
pub fn loads_wait(job: &Job) -> bool {
    let first = |other: &Scheduled| other.facts.base.is_none() && other.facts.failures == 0;
    let server = server_of(job);
    scheduled().iter().any(|other| {
        other.target != job.target
            && other.owner == job.owner
            && other.facts.server == server
            && other.obstacle.is_none()
            && first(other)
    })
}

/// Why a run does not take a replica of its group along.
pub type Apart = &'static str;

/// The others of a replica's group whose schedule is on.
#[derive(Default)]
pub struct Others {
    /// By their OIDs, and why a run of the replica does not take each along: those that fail by themselves, and a
    /// scheduled run of such a one takes nobody.
    pub able: Vec<(Job, Option<Apart>)>,
    /// Those that cannot run at all, by OID and name, and why.
    pub hindered: Vec<(pg_sys::Oid, String, String)>,
}

/// The others of a replica's group.
pub fn group_of(job: &Job, server: u32, group: Group, scheduled_run: bool) -> Others {
    let all = scheduled();
    // One whose first load this is has no group yet, and is in good health all the same.
    let healthy = all
        .iter()
        .find(|other| other.target == job.target)
        .is_none_or(|mine| schedule::is_healthy(&mine.facts));
    let others = all
        .iter()
        .filter(|other| other.target != job.target)
        .filter(|other| other.facts.server == server && other.facts.group == Some(group));
    let hindered = others.clone().filter_map(|other| {
        let why = other.obstacle.as_ref()?.message.clone();
        Some((other.target, as_extension(|| relation_name(other.target)), why))
    });
    let hindered = hindered.collect();
    let along: HashMap<u32, Option<Apart>> = others
        .filter(|other| other.obstacle.is_none())
        .map(|other| {
            let apart = if !schedule::joins(&other.facts) {
                Some("it fails by itself")
            } else if scheduled_run && !healthy {
                Some("the one that was refreshed fails by itself")
            } else {
                None
            };
            (other.target.to_u32(), apart)
        })
        .collect();
    let targets: Vec<i64> = along.keys().copied().map(i64::from).collect();
    let sql = format!("{JOB} WHERE j.target::oid = ANY ($1::bigint[]::oid[])");
    let jobs = as_extension(|| query(&sql, &[targets.into()], read_job));
    let mut able: Vec<(Job, Option<Apart>)> = jobs
        .into_iter()
        .filter_map(|job| along.get(&job.target.to_u32()).map(|apart| (job, *apart)))
        .collect();
    able.sort_by_key(|(job, apart)| (apart.is_some(), job.target.to_u32()));
    Others { able, hindered }
}

/// Whether a job is still there; it stays until the transaction ends. Whoever is removing it is waited for.
pub fn keep(target: pg_sys::Oid) -> bool {
    let sql = "SELECT 1 FROM assets_fdw.replica_job WHERE target = $1 FOR KEY SHARE";
    as_extension(|| query_one(sql, &[target.into()], |_| ())).is_some()
}

/// Whether two replicas are in one schema; inside a transaction.
pub fn are_neighbours(one: &Job, other: &Job) -> bool {
    let sql = "SELECT count(DISTINCT relnamespace) = 1 FROM pg_class WHERE oid IN ($1, $2)";
    as_extension(|| query_one(sql, &[one.target.into(), other.target.into()], |row| row.must(1)))
        .unwrap_or(false)
}

fn obstacle(row: &Row, server: pg_sys::Oid) -> Option<Obstacle> {
    let (source, owner): (pg_sys::Oid, pg_sys::Oid) = (row.must(12), row.must(2));
    if server == pg_sys::InvalidOid {
        return Some(Obstacle {
            message: format!("the source, foreign table {}, is gone", source.to_u32()),
            hint:
                "The table keeps its rows. dematerialize(…, drop_table => false) makes it an ordinary table; \
                   a new foreign table needs a new materialize()."
                    .into(),
            disables: true,
        });
    }
    let Some(role) = row.get::<String>(13) else {
        return Some(Obstacle {
            message: format!("the replica's owner, role {}, is gone", owner.to_u32()),
            hint: "alter_materialization(…, enabled => true), called by the table's owner, takes the replica over."
                .into(),
            disables: true,
        });
    };
    if let Some(theirs) = row.get::<String>(23) {
        let table: String = row.must(24);
        return Some(Obstacle {
            message: belongs_to(&table, &theirs, &role),
            hint: takes_over(&table, &table, &theirs, &role),
            disables: false,
        });
    }
    let may = |disallowed: bool, message: String, hint: String| {
        disallowed.then_some(Obstacle { message, hint, disables: false })
    };
    let quoted = ident(&role);
    may(
        !row.must::<bool>(14),
        format!("the replica's owner, role \"{role}\", may not log in"),
        format!("Its refreshes run as that role: ALTER ROLE {quoted} LOGIN; it needs no password for that."),
    )
    .or_else(|| {
        let database = row.must::<String>(16);
        may(
            !row.must::<bool>(15),
            format!("the replica's owner, role \"{role}\", may not connect to database \"{database}\""),
            format!("GRANT CONNECT ON DATABASE {} TO {quoted}.", ident(&database)),
        )
    })
}
