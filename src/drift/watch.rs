//! What `materialize_schema()` was asked for, and the look at drift before a scheduled refresh.
//!
//! A look happens in the worker of whichever refresh comes first when one is due
//! (`assets_fdw.drift_interval`), as the owner, before that refresh begins. It costs two requests as long
//! as nothing changed; then, and once every `full_every`, each type is compared. So it is before the very
//! next refresh where something was blocked and what stands in the way has changed here: that is seen
//! without a request. No transaction is open while the service is waited for. What becomes of a look is
//! noted; the refresh goes on whatever it is.

use pgrx::datum::Interval;
use pgrx::pg_sys;
use pgrx::prelude::*;
use tables::drift::{Change, Follow, Grant};

use super::sync::{self, Asked, Plan};
use super::{ask, gather};
use crate::installed;
use crate::replica::kept::jobs::{self, Job};
use crate::replica::kept::{origin, standing};
use crate::sql::failure;
use crate::sql::spi::{as_extension, execute, query, query_one};
use crate::sql::txn::transaction;
use crate::{error, gucs, runtime};

/// How long a look waits for others' locks: behind an ALTER that waits for readers, other readers queue.
const LOCK_TIMEOUT: &str = "3s";

/// What is asked for.
pub struct Wanted<'a> {
    /// The foreign tables' schema.
    pub source: &'a str,
    /// The replicas' schema.
    pub into: &'a str,
    /// `every`
    pub every: Interval,
    /// `full_every`
    pub full_every: Interval,
    /// `history`
    pub history: bool,
    /// `report` or `apply`
    pub drift: &'a str,
}

/// Notes what is asked for; the next scheduled refresh looks at drift.
pub fn want(wanted: &Wanted, user: pg_sys::Oid) {
    let home = jobs::home();
    let sql = "
        INSERT INTO assets_fdw.replica_schema
            (source_schema, schema_id, owner, into_schema, every, full_every, history, drift, home)
        SELECT n.nspname, n.oid, $2::regrole, $3::name, $4, $5, $6, $7, $8
        FROM pg_namespace AS n WHERE n.nspname = $1
        ON CONFLICT (source_schema, owner) DO UPDATE SET into_schema = excluded.into_schema,
            every = excluded.every, full_every = excluded.full_every, history = excluded.history,
            drift = excluded.drift, home = excluded.home, looked = NULL, compared = NULL, error = NULL";
    let args = [
        wanted.source.into(),
        user.into(),
        wanted.into.into(),
        wanted.every.into(),
        wanted.full_every.into(),
        wanted.history.into(),
        wanted.drift.into(),
        home.into(),
    ];
    as_extension(|| execute(sql, &args));
}

/// How new tables of a schema are replicated, where a role asked for that.
pub fn follow(schema: &str, user: pg_sys::Oid) -> Option<Follow> {
    let sql = "
        SELECT s.into_schema::text, s.every::text, s.full_every::text, s.history
        FROM assets_fdw.replica_schema AS s WHERE s.source_schema = $1 AND s.owner::oid = $2";
    let found = as_extension(|| {
        query_one(sql, &[schema.into(), user.into()], |row| Follow {
            into: row.must(1),
            every: row.must(2),
            full_every: row.must(3),
            history: row.must(4),
            grants: vec![],
        })
    })?;
    Some(Follow { grants: common_grants(schema, &found.into, user), ..found })
}

/// What all replicas of a schema's tables grant alike, as far as `user` owns them and they are in one schema.
fn common_grants(schema: &str, into: &str, user: pg_sys::Oid) -> Vec<Grant> {
    let sql = "
        WITH siblings AS (
            SELECT c.oid, c.relacl, c.relowner FROM assets_fdw.replica_job AS j
            JOIN pg_class AS c ON c.oid = j.target::oid JOIN pg_namespace AS i ON i.oid = c.relnamespace
            JOIN pg_class AS f ON f.oid = j.source::oid JOIN pg_namespace AS n ON n.oid = f.relnamespace
            WHERE n.nspname = $1 AND i.nspname = $2 AND j.owner::oid = $3)
        SELECT a.privilege_type, r.rolname::text, bool_and(a.is_grantable)
        FROM siblings AS s CROSS JOIN LATERAL aclexplode(s.relacl) AS a
        LEFT JOIN pg_roles AS r ON r.oid = a.grantee
        WHERE a.grantee <> s.relowner AND (a.grantee = 0 OR r.oid IS NOT NULL)
        GROUP BY 1, 2 HAVING count(DISTINCT s.oid) = (SELECT count(*) FROM siblings) ORDER BY 2, 1";
    as_extension(|| {
        query(sql, &[schema.into(), into.into(), user.into()], |row| Grant {
            privilege: row.must(1),
            role: row.get(2),
            grantable: row.must(3),
        })
    })
}

/// A sync by hand leaves only what was blocked.
pub fn synced(schema: &str, user: pg_sys::Oid, plan: &Plan) {
    let left = plan.changes.iter().filter(|c| c.blocked.is_some());
    note_drift(schema, user, left);
    let sql = format!(
        "UPDATE assets_fdw.replica_schema AS s SET obstacles = {OBSTACLES}
         WHERE s.source_schema = $1 AND s.owner::oid = $2"
    );
    as_extension(|| execute(&sql, &[schema.into(), user.into()]));
}

fn note_drift<'a>(schema: &str, user: pg_sys::Oid, left: impl Iterator<Item = &'a Change>) {
    as_extension(|| {
        let sql = "
            DELETE FROM assets_fdw.replica_drift AS d WHERE d.source_schema = $1 AND d.owner::oid = $2";
        execute(sql, &[schema.into(), user.into()]);
        let sql = "
            INSERT INTO assets_fdw.replica_drift
                (source_schema, owner, n, statement, kind, reason, blocked_by, found)
            SELECT s.source_schema, s.owner, $3, $4, $5, $6, $7, clock_timestamp()
            FROM assets_fdw.replica_schema AS s WHERE s.source_schema = $1 AND s.owner::oid = $2";
        for (n, change) in (1_i32..).zip(left) {
            let args = [
                schema.into(),
                user.into(),
                n.into(),
                change.statement().into(),
                change.kind.as_str().into(),
                change.reason.as_str().into(),
                change.blocked.as_deref().into(),
            ];
            execute(sql, &args);
        }
    });
}

/// Of all that may stand in the way of changes to a schema `s`: what depends on its tables and their replicas,
/// whose those are, and which names are taken.
const OBSTACLES: &str = "
    (WITH relations AS (
         SELECT c.oid, c.relowner, c.reltype FROM pg_class AS c
         JOIN pg_namespace AS i ON i.oid = c.relnamespace AND i.nspname IN (s.source_schema, s.into_schema)
         UNION SELECT c.oid, c.relowner, c.reltype FROM assets_fdw.replica_job AS j
             JOIN pg_class AS f ON f.oid = j.source::oid
             JOIN pg_namespace AS i ON i.oid = f.relnamespace AND i.nspname = s.source_schema
             JOIN pg_class AS c ON c.oid IN (j.target::oid, j.history_table::oid))
     SELECT md5(string_agg(line, ',' ORDER BY line)) FROM (
         SELECT concat_ws(' ', r.oid, r.relowner) AS line FROM relations AS r
         UNION ALL SELECT concat_ws(' ', d.classid, d.objid, d.objsubid, d.refobjid, d.refobjsubid, d.deptype)
             FROM relations AS r JOIN pg_depend AS d ON
                 d.refclassid = 'pg_class'::regclass AND d.refobjid = r.oid
                 OR d.refclassid = 'pg_type'::regclass AND d.refobjid = r.reltype) AS lines)";

/// A look that is due.
struct Look {
    schema: String,
    apply: bool,
    /// Every type is compared, whatever the glance says.
    complete: bool,
    seen: Option<String>,
}

/// Looks at the drift of every schema of the owner's that is fed by the same server, where that was asked for and is
/// due: replicas of several schemas may be one group, whose runs are always for the same one. Called by a worker of the
/// owner's before a scheduled refresh, outside of transactions.
pub fn before_refresh(job: &Job) {
    let mut done: Vec<String> = Vec::new();
    loop {
        let look = match failure::catch(|| hasty(|| claim(job, &done))) {
            Ok(Some(look)) => look,
            Ok(None) => return,
            Err(failure) => return failure.log("a look at drift could not begin"),
        };
        done.push(look.schema.clone());
        let outcome = failure::catch(|| look.take(job));
        let message = outcome.as_ref().err().map(|failure| failure.message.clone());
        if let Err(failure) = &outcome {
            failure.log(&format!("the look at drift of schema \"{}\" failed", look.schema));
        }
        let noted = failure::catch(|| hasty(|| look.note(job.owner, message.as_deref())));
        if let Err(failure) = noted {
            return failure.log("a look at drift could not be noted");
        }
        if message.is_some() {
            // The same may hold for the next one, and the refresh has waited long enough; that one comes first next time.
            return;
        }
    }
}

/// A transaction of a look: a session that holds what it needs holds up no refresh.
fn hasty<T>(body: impl FnOnce() -> T) -> T {
    transaction(|| {
        let sql = format!("SELECT pg_catalog.set_config('lock_timeout', '{LOCK_TIMEOUT}', true)");
        execute(&sql, &[]);
        body()
    })
}

/// Takes the look that is due, or was due first, so that no other worker does; none of `done`. What was noted by a clock
/// that has been set back since lies in the future and says nothing.
fn claim(job: &Job, done: &[String]) -> Option<Look> {
    if !installed::usable() {
        return None;
    }
    let home = jobs::home();
    let sql = format!(
        "
        WITH due AS (
            SELECT s.source_schema, s.owner, o.free, o.obstacles FROM assets_fdw.replica_schema AS s
            JOIN pg_namespace AS n ON n.nspname = s.source_schema
            CROSS JOIN LATERAL (
                SELECT o.obstacles, o.obstacles IS DISTINCT FROM s.obstacles AS free
                FROM (SELECT CASE WHEN EXISTS (
                          SELECT FROM assets_fdw.replica_drift AS d
                          WHERE d.source_schema = s.source_schema AND d.owner = s.owner AND d.blocked_by IS NOT NULL)
                      THEN {OBSTACLES} ELSE s.obstacles END AS obstacles) AS o) AS o
            WHERE s.owner::oid = $2 AND s.home = $3 AND s.source_schema <> ALL ($5::text[]::name[])
              AND EXISTS (SELECT FROM pg_class AS c JOIN pg_foreign_table AS f ON f.ftrelid = c.oid
                          WHERE c.relnamespace = n.oid
                            AND f.ftserver = (SELECT ftserver FROM pg_foreign_table WHERE ftrelid = $1))
              AND (o.free OR s.looked IS NULL OR s.looked > clock_timestamp()
                   OR s.looked < clock_timestamp() - $4 * interval '1 millisecond')
            ORDER BY s.looked NULLS FIRST LIMIT 1
            FOR NO KEY UPDATE OF s SKIP LOCKED)
        UPDATE assets_fdw.replica_schema AS s SET looked = clock_timestamp(), obstacles = due.obstacles
        FROM due WHERE s.source_schema = due.source_schema AND s.owner = due.owner
        RETURNING s.source_schema::text, s.drift = 'apply',
                  due.free OR s.compared IS NULL OR s.compared > clock_timestamp()
                  OR extract(epoch FROM clock_timestamp() - s.compared) > extract(epoch FROM s.full_every), s.seen"
    );
    let args = [
        job.source.into(),
        job.owner.into(),
        home.into(),
        gucs::DRIFT_INTERVAL.get().into(),
        done.to_vec().into(),
    ];
    as_extension(|| {
        query_one(&sql, &args, |row| Look {
            schema: row.must(1),
            apply: row.must(2),
            complete: row.must(3),
            seen: row.get(4),
        })
    })
}

impl Look {
    fn take(&self, job: &Job) {
        let user = job.owner;
        let (server, standing) = transaction(|| (jobs::server_of(job), standing::read(job.target)));
        let asked = hasty(|| sync::questions(&self.schema, &gather::gather(&self.schema, user), user));
        let mut glances = Vec::new();
        for Asked { client, question, server: of } in &asked {
            // What another workspace shows is no change of this one.
            if let Some(standing) = standing.as_ref().filter(|_| of.to_u32() == server) {
                origin::check(job, standing, client);
            }
            let glance = ask::glance(client.clone(), question.schema_id);
            glances.push(error::or_raise(runtime::wait(glance)));
        }
        let seen = glances.join(" ");
        if !self.complete && self.seen.as_ref() == Some(&seen) {
            return;
        }
        let answers = asked.into_iter().map(sync::ask).collect();
        hasty(|| {
            if self.apply {
                sync::lock(&self.schema);
            }
            let follow = follow(&self.schema, user);
            let plan = sync::plan(&self.schema, answers, follow.as_ref(), user);
            if self.apply {
                guard(&self.schema, &plan);
                plan.run(&self.schema, user);
            }
            let left = plan.changes.iter().filter(|c| !self.apply || c.blocked.is_some());
            note_drift(&self.schema, user, left);
            self.compared(user, &seen);
        });
    }

    /// Notes what the service showed when everything was compared.
    fn compared(&self, user: pg_sys::Oid, seen: &str) {
        let sql = format!(
            "UPDATE assets_fdw.replica_schema AS s
             SET compared = clock_timestamp(), seen = $3, obstacles = {OBSTACLES}
             WHERE s.source_schema = $1 AND s.owner::oid = $2"
        );
        as_extension(|| execute(&sql, &[self.schema.as_str().into(), user.into(), seen.into()]));
    }

    fn note(&self, user: pg_sys::Oid, failure: Option<&str>) {
        let sql = "
            UPDATE assets_fdw.replica_schema AS s
            SET error = $3, compared = CASE WHEN $3 IS NULL THEN s.compared END
            WHERE s.source_schema = $1 AND s.owner::oid = $2
              AND s.error IS DISTINCT FROM $3";
        as_extension(|| execute(sql, &[self.schema.as_str().into(), user.into(), failure.into()]));
    }
}

/// A credential that sees less than it did must not take tables along by itself.
fn guard(schema: &str, plan: &Plan) {
    let (removed, all) = plan.removed_types();
    let share = gucs::MAX_DELETE_SHARE.get();
    if removed > 1 && removed as f64 > share * all as f64 {
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!(
                "{removed} of the {all} object types of schema \"{schema}\" are gone, more than \
                 assets_fdw.max_delete_share ({share}) allows"
            ),
            "The credential may see less than it did: compare with Assets. If they are gone indeed, call \
             assets_fdw.sync_schema(…, dry_run => false).",
        );
    }
}
