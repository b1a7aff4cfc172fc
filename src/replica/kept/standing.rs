//! What a replica goes on from: since when changes are to be asked for and how, what was found out
//! about its types, and when everything was last compared. Written by the run that found it out, with
//! the rows that it is true of.

use delta::since::{Manner, Moment};
use pgrx::pg_sys;
use schedule::Micros;

use crate::session::Connection;
use crate::sql::spi::{as_extension, execute, over_catalogues, query, query_one};

/// What is kept of a replica between runs.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The object schema of its source.
    pub schema: Option<i64>,
    /// When its changes were last asked for.
    pub since: Option<Moment>,
    /// How changes are asked for; none: they cannot be.
    pub manner: Option<Manner>,
    /// Why they cannot be.
    pub obstacle: Option<String>,
    /// When everything was last compared.
    pub full_at: Option<Micros>,
    /// How often everything is to be compared.
    pub full_every: Micros,
    /// The table that keeps former versions of its rows.
    pub history: Option<pg_sys::Oid>,
    /// How many rows it holds; none where somebody else may have written to it since they were counted.
    pub rows: Option<i64>,
    /// By what it is noticed that somebody else writes to it.
    pub written: Option<Written>,
    /// Where its rows come from.
    pub origin: Origin,
}

/// What a table's statistics say of all that was ever written to it, and which file it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Rows inserted, less rows deleted.
    pub balance: i64,
    /// Its file, which TRUNCATE changes.
    pub file: pg_sys::Oid,
}

/// Where a replica's rows come from, as far as that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The workspace of Assets.
    pub workspace: Option<String>,
    /// Whose credential it was, without telling it.
    pub account: Option<String>,
}

/// Reads it; inside a transaction.
pub fn read(target: pg_sys::Oid) -> Option<Standing> {
    read_all(&[target]).into_iter().next().map(|(_, standing)| standing)
}

/// Reads what is kept of several; inside a transaction.
pub fn read_all(targets: &[pg_sys::Oid]) -> Vec<(pg_sys::Oid, Standing)> {
    let sql = "
        SELECT s.object_schema, (extract(epoch FROM s.since_here) * 1000000)::bigint,
               (extract(epoch FROM s.since_there) * 1000000)::bigint, s.manner, s.obstacle,
               (extract(epoch FROM s.full_at) * 1000000)::bigint,
               (extract(epoch FROM j.full_every) * 1000000)::bigint, c.oid, s.workspace, s.account,
               s.rows, s.written_balance, s.written_file,
               CASE WHEN t.relkind = 'r' THEN pg_stat_get_tuples_inserted(t.oid) - pg_stat_get_tuples_deleted(t.oid) END,
               t.relfilenode, j.target::oid
        FROM assets_fdw.replica_job AS j
        LEFT JOIN pg_class AS t ON t.oid = j.target::oid
        LEFT JOIN assets_fdw.replica_state AS s ON s.target = j.target
        LEFT JOIN pg_class AS c ON j.history AND c.oid = j.history_table::oid
        WHERE j.target = ANY ($1)";
    as_extension(|| {
        let written = |balance: Option<i64>, file: Option<pg_sys::Oid>| {
            Some(Written { balance: balance?, file: file? })
        };
        query(sql, &[targets.to_vec().into()], |row| {
            let (then, now) = (written(row.get(12), row.get(13)), written(row.get(14), row.get(15)));
            let standing = Standing {
                schema: row.get(1),
                since: row.get(2).map(|here| Moment { here, there: row.get(3) }),
                manner: row.get::<String>(4).and_then(|name| Manner::from_name(&name)),
                obstacle: row.get(5),
                full_at: row.get(6),
                full_every: row.must(7),
                history: row.get(8),
                rows: row.get(11).filter(|_| now.is_some() && then == now),
                written: now,
                origin: Origin { workspace: row.get(9), account: row.get(10) },
            };
            (row.must(16), standing)
        })
    })
}

/// What an incremental refresh may go on from, as a full comparison found it.
#[derive(Debug, Clone)]
pub struct Ground {
    /// The object schema.
    pub schema: i64,
    /// How changes can be asked for, or why they cannot.
    pub manner: Result<Manner, String>,
    /// Where it has read from.
    pub origin: Origin,
    /// When that began.
    pub began: Micros,
}

/// Notes since when changes are to be asked for from now on, and, after a full comparison, on what
/// ground; in the transaction that writes the rows.
pub fn keep(target: pg_sys::Oid, since: Moment, ground: Option<&Ground>) {
    as_extension(|| {
        let sql = "
            UPDATE assets_fdw.replica_state SET
                since_here = 'epoch'::timestamptz + $2 * interval '1 microsecond',
                since_there = 'epoch'::timestamptz + $3 * interval '1 microsecond'
            WHERE target = $1";
        execute(sql, &[target.into(), since.here.into(), since.there.into()]);
        if let Some(ground) = ground {
            let sql = "
                UPDATE assets_fdw.replica_state SET
                    object_schema = $2, manner = $3, obstacle = $4, workspace = $5, account = $6,
                    -- What became known while it read is another comparison's.
                    full_at = CASE WHEN full_wanted > 'epoch'::timestamptz + $7 * interval '1 microsecond' THEN NULL
                                   ELSE clock_timestamp() END
                WHERE target = $1";
            let manner = ground.manner.as_ref().ok().map(|manner| manner.name());
            let obstacle = ground.manner.as_ref().err().map(String::as_str);
            let Origin { workspace, account } = &ground.origin;
            let args = [
                target.into(),
                ground.schema.into(),
                manner.into(),
                obstacle.into(),
                workspace.as_deref().into(),
                account.as_deref().into(),
                ground.began.into(),
            ];
            execute(sql, &args);
        }
    });
}

/// Notes by what it will be noticed that somebody else wrote to a replica, of which this run changed the number
/// of rows by `more`; in the transaction that does.
pub fn count(target: pg_sys::Oid, written: Option<Written>, more: i64) {
    let sql = "UPDATE assets_fdw.replica_state SET written_balance = $2, written_file = $3
               WHERE target = $1 AND (written_balance, written_file) IS DISTINCT FROM ($2, $3)";
    let balance = written.map(|written| written.balance + more);
    let file = written.map(|written| written.file);
    as_extension(|| execute(sql, &[target.into(), balance.into(), file.into()]));
}

/// Has everything compared at the next opportunity.
pub fn want_full(target: pg_sys::Oid) {
    let sql = "UPDATE assets_fdw.replica_state SET full_at = NULL, full_wanted = clock_timestamp() WHERE target = $1";
    as_extension(|| execute(sql, &[target.into()]));
}

/// The replicas of a server, owner and object schema that have been loaded, whether they are enabled or not.
pub fn loaded_of(server: u32, owner: pg_sys::Oid, schema: i64) -> Vec<pg_sys::Oid> {
    let sql = "
        SELECT s.target::oid FROM assets_fdw.replica_state AS s
        JOIN assets_fdw.replica_job AS j ON j.target = s.target
        JOIN pg_foreign_table AS f ON f.ftrelid = j.source::oid
        WHERE s.object_schema = $3 AND s.since_here IS NOT NULL AND j.owner::oid = $2 AND f.ftserver = $1
        ORDER BY 1";
    let args = [pg_sys::Oid::from(server).into(), owner.into(), schema.into()];
    as_extension(|| query(sql, &args, |row| row.must(1)))
}

/// What source and replica look like to the run that compares them: where it differs from what was
/// kept, nothing that was kept is of use. It tells of another owner or account, never of a secret.
pub fn definition(source: pg_sys::Oid, target: pg_sys::Oid, connection: &Connection) -> String {
    let sql = "
        SELECT hashtextextended(concat_ws(E'\\n', f.ftoptions::text, $3, session_user,
            (SELECT string_agg(concat_ws(' ', a.attrelid, a.attname, a.atttypid, a.atttypmod, a.attfdwoptions::text),
                               E'\\n' ORDER BY a.attrelid, a.attnum)
             FROM pg_attribute AS a WHERE a.attrelid IN ($1, $2) AND a.attnum > 0 AND NOT a.attisdropped),
            (SELECT string_agg(concat_ws(' ', m.oid, o.option_name, o.option_value), E'\\n' ORDER BY m.oid, o.option_name)
             FROM pg_user_mapping AS m, pg_options_to_table(m.umoptions) AS o
             WHERE m.umserver = f.ftserver AND o.option_name IN ('email', 'client_id'))), 0)::text
        FROM pg_foreign_table AS f WHERE f.ftrelid = $1";
    over_catalogues(|| {
        let args = [source.into(), target.into(), connection.service.as_str().into()];
        query_one(sql, &args, |row| row.must(1)).unwrap_or_default()
    })
}

/// Lets the connection know what was found out for this definition; false where nothing was.
pub fn remember(target: pg_sys::Oid, definition: &str, connection: &Connection) -> bool {
    let sql = "SELECT memory FROM assets_fdw.replica_memory WHERE target = $1 AND definition = $2";
    let found =
        as_extension(|| query_one(sql, &[target.into(), definition.into()], |row| row.must::<String>(1)));
    found.is_some_and(|memory| connection.client.remember(&memory))
}

/// Keeps what the connection has found out, and by which options of the foreign table the rows were chosen that the
/// replica holds now; not `whole`: rows of former options are among them.
pub fn memorize(target: pg_sys::Oid, definition: &str, memory: &str, whole: bool) {
    let sql = format!("
        INSERT INTO assets_fdw.replica_memory (target, definition, memory, options)
        SELECT $1, $2, $3, CASE WHEN $4 THEN {OPTIONS} END FROM assets_fdw.replica_job AS j WHERE j.target = $1
        ON CONFLICT (target) DO UPDATE
        SET definition = excluded.definition, memory = excluded.memory,
            options = CASE WHEN $4 THEN excluded.options ELSE replica_memory.options END
        WHERE (replica_memory.definition, replica_memory.memory, replica_memory.options)
            IS DISTINCT FROM (excluded.definition, excluded.memory, excluded.options)");
    as_extension(|| execute(&sql, &[target.into(), definition.into(), memory.into(), whole.into()]));
}

/// The options of the foreign table of a job `j`.
const OPTIONS: &str = "(SELECT coalesce(jsonb_object_agg(o.option_name, o.option_value), '{}')
     FROM pg_foreign_table AS f, pg_options_to_table(f.ftoptions) AS o WHERE f.ftrelid = j.source::oid)";

/// Which options of its foreign table are others than when the replica held what they choose, and nothing else.
pub fn changed_options(target: pg_sys::Oid) -> Vec<String> {
    let sql = format!(
        "
        SELECT o.name FROM assets_fdw.replica_job AS j
        JOIN assets_fdw.replica_memory AS m ON m.target = j.target
        CROSS JOIN LATERAL (
            SELECT coalesce(held.key, given.key) AS name FROM jsonb_each_text(m.options) AS held
            FULL JOIN jsonb_each_text({OPTIONS}) AS given ON held.key = given.key
            WHERE held.value IS DISTINCT FROM given.value) AS o
        WHERE j.target = $1 AND m.options IS NOT NULL ORDER BY 1"
    );
    as_extension(|| query(&sql, &[target.into()], |row| row.must(1)))
}
