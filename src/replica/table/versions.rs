//! `materialize(…, history => true)`: a table beside the replica that keeps every version of every row,
//! with the time from which and until which the replica showed it. The version that it shows now has
//! no end.
//!
//! It is written in the transaction that changes the replica, as the owner, from what the replica then
//! holds: versions that are no longer shown are closed, those that are shown and not open are added.

use pgrx::pg_sys;
use pgrx::prelude::*;
use tables::ddl::ident;

use super::staging::Column;
use crate::error;
use crate::sql::spi::{execute, query, query_one};

/// Makes the history table of a replica, or goes on with one of an earlier replica. With the current
/// user's rights; gives its OID.
pub fn make(schema: &str, replica: &str, columns: &[&str], id: &str) -> pg_sys::Oid {
    let name = tables::naming::fit(replica, "_history");
    let table = format!("{}.{}", ident(schema), ident(&name));
    if let Some(taken) = columns.iter().find(|n| **n == "valid_from" || **n == "valid_to") {
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_DUPLICATE_COLUMN,
            format!("a history cannot be kept: the source has a column \"{taken}\" of its own"),
            "ALTER FOREIGN TABLE … RENAME COLUMN gives it another name.",
        );
    }
    let find = || {
        query_one(
            "SELECT c.oid, c.relkind IN ('r', 'p') AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
                    AND (SELECT pg_catalog.count(*) = 3 FROM pg_catalog.pg_attribute AS a
                         WHERE a.attrelid = c.oid AND NOT a.attisdropped AND a.attname IN ($3, 'valid_from', 'valid_to'))
             FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
             WHERE n.nspname = $1 AND c.relname = $2",
            &[schema.into(), name.as_str().into(), id.into()],
            |row| (row.must::<pg_sys::Oid>(1), row.must::<bool>(2)),
        )
    };
    match find() {
        Some((found, true)) => return found,
        Some(_) => error::raise_hint(
            PgSqlErrorCode::ERRCODE_DUPLICATE_TABLE,
            format!("{table} exists already and is no history of this replica"),
            "A history table has the replica's columns, valid_from and valid_to, and belongs to the same role.",
        ),
        None => {}
    }
    let (of, instant) = (format!("{}.{}", ident(schema), ident(replica)), "pg_catalog.timestamptz");
    // What the replica computes of its columns, its history does: both are written without those.
    let sql = format!(
        "CREATE TABLE {table} (LIKE {of} INCLUDING GENERATED, valid_from {instant} NOT NULL, valid_to {instant})"
    );
    execute(&sql, &[]);
    let id = ident(id);
    execute(&format!("CREATE UNIQUE INDEX ON {table} ({id}) WHERE valid_to IS NULL"), &[]);
    execute(&format!("CREATE INDEX ON {table} ({id}, valid_from)"), &[]);
    let comment = format!("Every version of the rows of {replica}; the one without valid_to is shown now");
    execute(&format!("COMMENT ON TABLE {table} IS {}", tables::ddl::literal(&comment)), &[]);
    find().map_or(pg_sys::InvalidOid, |(oid, _)| oid)
}

/// Brings the history up to date with the replica: for the rows `touched`, or, without, for all.
/// Inside the transaction that changed them.
pub fn note(history: pg_sys::Oid, target: &str, columns: &[Column], id: &Column, touched: Option<&[i64]>) {
    let Some((table, columns)) = shared(history, columns) else { return };
    if touched.is_some_and(<[i64]>::is_empty) {
        return;
    }
    let list = |prefix: &str| columns.iter().map(|c| format!("{prefix}{c}")).collect::<Vec<_>>().join(", ");
    let of = |alias: &str| match touched {
        Some(_) => {
            format!(" AND {alias}.{} = ANY ($1::pg_catalog.int8[]::{}[])", ident(&id.name), id.target_type)
        }
        None => " AND $1::pg_catalog.int8[] IS NULL".to_owned(),
    };
    let args = || [touched.map(<[i64]>::to_vec).into()];
    let id = ident(&id.name);
    // The time is the transaction's, so that what is committed together became valid together.
    let same = format!("pg_catalog.record_image_eq(ROW({}), ROW({}))", list("t."), list("h."));
    execute(
        &format!(
            "UPDATE {table} AS h SET valid_to = pg_catalog.now() WHERE h.valid_to IS NULL{}
             AND NOT EXISTS (SELECT FROM {target} AS t WHERE t.{id} = h.{id} AND {same})",
            of("h")
        ),
        &args(),
    );
    execute(
        &format!(
            "INSERT INTO {table} ({}, valid_from) SELECT {}, pg_catalog.now() FROM {target} AS t
             WHERE NOT EXISTS (SELECT FROM {table} AS h WHERE h.{id} = t.{id} AND h.valid_to IS NULL){}",
            list(""),
            list("t."),
            of("t")
        ),
        &args(),
    );
}

/// The table's name, and the columns that it shares with the replica, quoted. None where it is gone.
fn shared(history: pg_sys::Oid, columns: &[Column]) -> Option<(String, Vec<String>)> {
    let sql = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
               FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
               WHERE c.oid = $1";
    let table = query_one(sql, &[history.into()], |row| row.must::<String>(1))?;
    let sql = "SELECT attname::pg_catalog.text FROM pg_catalog.pg_attribute
               WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped";
    let there: Vec<String> = query(sql, &[history.into()], |row| row.must(1));
    let shared = columns.iter().filter(|c| there.contains(&c.name)).map(|c| ident(&c.name));
    Some((table, shared.collect()))
}
