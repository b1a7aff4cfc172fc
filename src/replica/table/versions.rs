//! `materialize(…, history => true)`: a table beside the replica that keeps every version of every row,
//! with the time from which and until which the replica showed it. The version that it shows now has
//! no end.
//!
//! It is written in the transaction that changes the replica, as the owner, from what the replica then
//! holds: versions that are no longer shown are closed, those that are shown and not open are added.
#![allow(unsafe_code)] // the current user, and a setting

mod computed;

use std::panic::AssertUnwindSafe;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;
use tables::ddl::ident;

use super::rights;
use super::staging::Column;
use super::theirs;
use crate::error;
use crate::replica::kept::histories::{self, Use};
use crate::replica::kept::jobs;
use crate::sql::failure::Failure;
use crate::sql::roles::acts_for;
use crate::sql::spi::{execute, lock_timeout, query, query_now, query_one};

/// So long a history's readers are waited for, in milliseconds.
const PATIENCE: i64 = 1000;

/// The replica that a history is made for.
pub struct Of<'a> {
    /// Its schema.
    pub schema: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its table.
    pub target: pg_sys::Oid,
    /// The source's columns.
    pub columns: &'a [&'a str],
    /// The column of ids.
    pub id: &'a str,
}

/// Makes the history table of a replica, or goes on with the one that an earlier replica of the same name has left.
/// With the current user's rights; gives its OID.
pub fn make(of: &Of) -> pg_sys::Oid {
    let name = tables::naming::fit(of.name, "_history");
    let table = format!("{}.{}", ident(of.schema), ident(&name));
    refuse_own(of.columns);
    let find = || {
        let sql = "SELECT c.oid FROM pg_catalog.pg_class AS c
                   JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
                   WHERE n.nspname = $1 AND c.relname = $2";
        query_one(sql, &[of.schema.into(), name.as_str().into()], |row| row.must::<pg_sys::Oid>(1))
    };
    let found = match find() {
        Some(found) => {
            take_over(found, &table, of);
            found
        }
        None => create(&table, of, find),
    };
    if !histories::claim(found, of.target) {
        refuse(&table, "is the history of another replica");
    }
    found
}

fn create(table: &str, of: &Of, find: impl Fn() -> Option<pg_sys::Oid>) -> pg_sys::Oid {
    let (replica, instant) = (format!("{}.{}", ident(of.schema), ident(of.name)), "pg_catalog.timestamptz");
    // What the replica computes of its columns, its history does: both are written without those.
    let sql = format!(
        "CREATE TABLE {table} (LIKE {replica} INCLUDING GENERATED, valid_from {instant} NOT NULL, valid_to {instant})"
    );
    execute(&sql, &[]);
    let found = find().unwrap_or(pg_sys::InvalidOid);
    // Columns of the user's own are in no version, whatever the replica demands of them; what is written is
    // what the replica has taken already.
    let sql = "SELECT attname::pg_catalog.text FROM pg_catalog.pg_attribute
               WHERE attrelid = $1 AND attnum > 0 AND attnotnull AND NOT attisdropped
                 AND attname NOT IN ($2, 'valid_from')";
    let loosened: Vec<String> = query(sql, &[found.into(), of.id.into()], |row| {
        format!("ALTER COLUMN {} DROP NOT NULL", ident(&row.must::<String>(1)))
    });
    if !loosened.is_empty() {
        execute(&format!("ALTER TABLE {table} {}", loosened.join(", ")), &[]);
    }
    let id = ident(of.id);
    execute(&format!("CREATE UNIQUE INDEX ON {table} ({id}) WHERE valid_to IS NULL"), &[]);
    // A version's key; a publication needs one to tell of a version that is closed.
    execute(&format!("ALTER TABLE {table} ADD PRIMARY KEY ({id}, valid_from)"), &[]);
    execute(&format!("COMMENT ON TABLE {table} IS {}", tables::ddl::literal(&comment(of.name))), &[]);
    found
}

fn comment(replica: &str) -> String {
    format!("Every version of the rows of {replica}; the one without valid_to is shown now")
}

fn refuse(table: &str, why: &str) -> ! {
    error::raise_hint(
        PgSqlErrorCode::ERRCODE_DUPLICATE_TABLE,
        format!("a history cannot be kept: {table} exists already and {why}"),
        "A history belongs to one replica, and its name is made of the first 55 bytes of the replica's: rename that \
         table, or have the replica made under another name (into_table).",
    )
}

/// A table of the history's name: what an earlier replica of this name has left, or a table made for it beforehand.
fn take_over(table: pg_sys::Oid, name: &str, of: &Of) {
    // SAFETY: no preconditions.
    let user = unsafe { pg_sys::GetUserId() };
    let sql = format!(
        "
        SELECT c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND NOT c.relispartition
                   AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid = c.oid),
               {},
               (SELECT pg_catalog.count(*) = 3 FROM pg_catalog.pg_attribute AS a
                WHERE a.attrelid = c.oid AND NOT a.attisdropped AND a.attname IN ($2, 'valid_from', 'valid_to')),
               pg_catalog.obj_description(c.oid, 'pg_class')
        FROM pg_catalog.pg_class AS c WHERE c.oid = $1",
        acts_for("$3", "c.relowner")
    );
    let look = || {
        let args = [table.into(), of.id.into(), user.into()];
        let found = query_now(&sql, &args, |row| {
            (row.must::<bool>(1), row.must::<bool>(2), row.must::<bool>(3), row.get::<String>(4))
        });
        let (plain, mine, shaped, said) = found.into_iter().next().unwrap_or_default();
        if !plain {
            refuse(name, "is no history: it is no table of its own");
        }
        if !mine {
            refuse(name, "belongs to another role");
        }
        (shaped, said)
    };
    look();
    // Of two that want it at once, the second sees what the first has made of it.
    rights::lock(table, pg_sys::ShareUpdateExclusiveLock);
    let (shaped, said) = look();
    // Before anything is asked of it: even that may run its owner's code.
    rights::require(&rights::Tables { owner: user, target: table, name, history: None }, rights::Use::Write);
    match histories::use_of(table) {
        Use::Replica => refuse(name, "is a replica"),
        Use::Kept(other) => refuse(name, &format!("is the history of {other}")),
        Use::Left(other) if other != of.name => {
            refuse(name, &format!("is the history that replica {} has left", ident(&other)))
        }
        _ if !shaped => {
            refuse(name, "is no history of this replica: it lacks the id, valid_from or valid_to")
        }
        Use::Left(_) => {}
        // Before 0.2.0 nothing but the comment told whose it was.
        Use::Free if said.as_deref() == Some(comment(of.name).as_str()) => {}
        Use::Free if query_now(&format!("SELECT 1 FROM {name} LIMIT 1"), &[], |_| ()).is_empty() => {}
        Use::Free => refuse(name, "holds rows that are no versions of this replica's"),
    }
    follow(table, name, of.target, of.columns, of.id, of.columns);
}

/// Lets a history hold what its replica does: a column whose type is not the replica's any more keeps its values under
/// another name, and a new one takes its place. What versions are told apart by gets the new type itself: without an
/// id, or a part of its key, there is no version. `missing`: those of the columns that are added where it has not got
/// them; others somebody has taken away from it.
fn follow(
    history: pg_sys::Oid,
    name: &str,
    target: pg_sys::Oid,
    columns: &[&str],
    id: &str,
    missing: &[&str],
) {
    let sql = "
        SELECT t.attname::pg_catalog.text, pg_catalog.format_type(t.atttypid, t.atttypmod),
               pg_catalog.format_type(h.atttypid, h.atttypmod), coalesce(h.attnotnull, false),
               t.attname = $4 OR EXISTS (SELECT FROM pg_catalog.pg_index AS i
                                         WHERE i.indrelid = $1 AND i.indisprimary AND h.attnum = ANY (i.indkey)),
               h.attnum
        FROM pg_catalog.pg_attribute AS t
        LEFT JOIN pg_catalog.pg_attribute AS h ON h.attrelid = $1 AND h.attname = t.attname AND NOT h.attisdropped
        WHERE t.attrelid = $2 AND t.attnum > 0 AND NOT t.attisdropped AND t.attgenerated = ''
          AND (h.atttypid, h.atttypmod) IS DISTINCT FROM (t.atttypid, t.atttypmod)
          AND (h.attnum IS NOT NULL OR t.attname = ANY ($3))
        ORDER BY t.attnum";
    let missing: Vec<String> = missing.iter().map(|name| (*name).to_owned()).collect();
    let differ = query(sql, &[history.into(), target.into(), missing.into(), id.into()], |row| {
        (
            row.must::<String>(1),
            row.must::<String>(2),
            row.get::<String>(3),
            row.must::<bool>(4),
            row.must::<bool>(5),
            row.get::<i16>(6),
        )
    });
    let mut left = Vec::new();
    for (column, wanted, held, required, key, attnum) in
        differ.iter().filter(|(column, ..)| columns.contains(&column.as_str()))
    {
        if let (Some(held), true) = (held, key) {
            retype(name, column, held, wanted);
            continue;
        }
        if let Some(held) = held {
            put_aside(history, name, column, held, *required);
        }
        execute(&format!("ALTER TABLE {name} ADD COLUMN {} {wanted}", ident(column)), &[]);
        left.extend(attnum);
    }
    if !left.is_empty() {
        computed::follow(history, name, target, &left);
    }
}

/// A column of a history keeps its values under another name; later versions have nothing for it.
fn put_aside(history: pg_sys::Oid, name: &str, column: &str, held: &str, required: bool) {
    let sql = "SELECT attname::pg_catalog.text FROM pg_catalog.pg_attribute WHERE attrelid = $1";
    let taken: Vec<String> = query(sql, &[history.into()], |row| row.must(1));
    let aside = ident(&tables::naming::aside(column, held, |name| taken.iter().any(|t| t == name)));
    execute(&format!("ALTER TABLE {name} RENAME COLUMN {} TO {aside}", ident(column)), &[]);
    if required {
        execute(&format!("ALTER TABLE {name} ALTER COLUMN {aside} DROP NOT NULL"), &[]);
    }
}

/// Gives a column of a history another type, where that holds every value of it.
fn retype(name: &str, column: &str, held: &str, wanted: &str) {
    let quoted = ident(column);
    let sql = format!(
        "SELECT 1 FROM {name} AS h
         WHERE h.{quoted}::{wanted}::{held}::pg_catalog.text IS DISTINCT FROM h.{quoted}::pg_catalog.text LIMIT 1"
    );
    if query_one(&sql, &[], |_| ()).is_some() {
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!(
                "column \"{column}\" of {name} holds values that {wanted}, its replica's type, cannot hold"
            ),
            "Versions are told apart by it, and none is lost: give the replica's column a type that holds them.",
        );
    }
    let sql = format!("ALTER TABLE {name} ALTER COLUMN {quoted} TYPE {wanted} USING {quoted}::{wanted}");
    let explained = |caught: CaughtError| -> u64 {
        let in_the_way = matches!(&caught, CaughtError::PostgresError(report) if matches!(
            report.sql_error_code(),
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED | PgSqlErrorCode::ERRCODE_INVALID_TABLE_DEFINITION
        ));
        if !in_the_way {
            caught.rethrow()
        }
        let mut failure = Failure::from(caught);
        failure.message = format!(
            "column \"{column}\" of {name} cannot get {wanted}, its replica's type: {}",
            failure.message
        );
        failure
            .with_hint(
                "Versions are told apart by it. Drop what uses the column (DETAIL names it), let the replica be refreshed \
                 once, and make it again; or give the replica's column its former type.",
            )
            .raise(None)
    };
    PgTryBuilder::new(AssertUnwindSafe(|| execute(&sql, &[]))).catch_others(explained).execute();
}

/// An ERROR where columns that are shown have the names of a history's own.
fn refuse_own(columns: &[&str]) {
    if let Some(taken) = columns.iter().find(|n| **n == "valid_from" || **n == "valid_to") {
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_DUPLICATE_COLUMN,
            format!("a history cannot be kept: the source has a column \"{taken}\" of its own"),
            "ALTER FOREIGN TABLE … RENAME COLUMN, and ALTER TABLE … of the replica where it has it, give it another name.",
        );
    }
}

/// Renamed columns of the replica are renamed here, also where they took each other's names.
fn renamed(history: pg_sys::Oid, name: &str, columns: &[Column]) {
    let sql = "SELECT attname::pg_catalog.text FROM pg_catalog.pg_attribute WHERE attrelid = $1 AND NOT attisdropped";
    let there: Vec<String> = query(sql, &[history.into()], |row| row.must(1));
    let mut pairs: Vec<(&String, &String)> = columns
        .iter()
        .filter_map(|column| Some((column.was.as_ref()?, &column.name)))
        .filter(|(was, column)| was != column && there.contains(was))
        .collect();
    // A name that is taken and stays so is not to be had, nor is then that of whoever waits for it.
    loop {
        let before = pairs.len();
        let leave: Vec<&String> = pairs.iter().map(|(was, _)| *was).collect();
        pairs.retain(|(_, column)| !there.contains(column) || leave.contains(column));
        if pairs.len() == before {
            break;
        }
    }
    let rename = |from: &str, to: &str| {
        execute(&format!("ALTER TABLE {name} RENAME COLUMN {} TO {}", ident(from), ident(to)), &[]);
    };
    let free = |n: usize| {
        let mut free = format!("assets_fdw_renamed_{n}");
        while there.contains(&free) {
            free.push('_');
        }
        free
    };
    pairs.iter().enumerate().for_each(|(n, (was, _))| rename(was, &free(n)));
    pairs.iter().enumerate().for_each(|(n, (_, column))| rename(&free(n), column));
}

/// Brings the history up to date with the replica: for the rows `touched`, or, without, for all.
/// Inside the transaction that changed them.
pub fn note(history: pg_sys::Oid, target: &str, columns: &[Column], id: &Column, touched: Option<&[i64]>) {
    if touched.is_some_and(<[i64]>::is_empty) {
        return;
    }
    let Some((table, columns)) = shared(history, target, columns, &id.name) else { return };
    let list = |prefix: &str| columns.iter().map(|c| format!("{prefix}{c}")).collect::<Vec<_>>().join(", ");
    let of = |alias: &str| match touched {
        Some(_) => {
            format!(" AND {alias}.{} = ANY ($1::pg_catalog.int8[]::{}[])", ident(&id.name), id.target_type)
        }
        None => " AND $1::pg_catalog.int8[] IS NULL".to_owned(),
    };
    let args = || [touched.map(<[i64]>::to_vec).into()];
    let id = ident(&id.name);
    identify(history, &table, &id);
    // The time is the transaction's, so that what is committed together became valid together.
    let same = format!("pg_catalog.record_image_eq(ROW({}), ROW({}))", list("t."), list("h."));
    theirs::run(|| {
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
    });
}

/// An ERROR where the history is another replica's: each would close the versions of the other.
fn require_own(history: pg_sys::Oid, target: pg_sys::Oid) {
    match histories::owner_of(history) {
        Some(owner) if owner == target => {}
        _ if histories::claim(history, target) => {}
        _ => error::raise_hint(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("the history table {} belongs to another replica", jobs::relation_name(history)),
            "Version 0.1.0 let two replicas share one. dematerialize() this one, then materialize() it under a name \
             whose first 55 bytes differ, or into another schema.",
        ),
    }
}

/// A history of 0.1.0 has no key, without which PostgreSQL lets nobody close a version in a published table: it
/// gets one where it is published. Where two versions are of one object and moment, the whole row is its key. `id` is
/// the column of ids, quoted.
pub fn identify(history: pg_sys::Oid, table: &str, id: &str) {
    let sql = "
        SELECT 1 FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.oid = $1 AND c.relreplident IN ('d', 'n')
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary)
          AND EXISTS (SELECT FROM pg_catalog.pg_publication_tables AS p
                      WHERE p.schemaname = n.nspname AND p.tablename = c.relname)";
    if query_one(sql, &[history.into()], |_| ()).is_none() {
        return;
    }
    let sql =
        format!("SELECT 1 FROM {table} GROUP BY {id}, valid_from HAVING pg_catalog.count(*) > 1 LIMIT 1");
    let key = match query_one(&sql, &[], |_| ()) {
        None => format!("ADD PRIMARY KEY ({id}, valid_from), REPLICA IDENTITY DEFAULT"),
        Some(()) => "REPLICA IDENTITY FULL".to_owned(),
    };
    execute(&format!("ALTER TABLE {table} {key}"), &[]);
}

/// Changes a history's columns, for which its readers are waited for: no longer than a run has patience, whoever waits for
/// the run, since all who come to read it meanwhile wait as well.
fn patiently(body: impl FnOnce()) {
    // SAFETY: a setting of this process.
    let before = i64::from(unsafe { pg_sys::LockTimeout });
    if before == 0 || before > PATIENCE {
        lock_timeout(PATIENCE);
    }
    body();
    lock_timeout(before);
}

/// The table's name, and the columns that it shares with the replica, quoted. None where it is gone.
fn shared(history: pg_sys::Oid, target: &str, columns: &[Column], id: &str) -> Option<(String, Vec<String>)> {
    let sql = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname),
                      $2::pg_catalog.text::pg_catalog.regclass::pg_catalog.oid
               FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
               WHERE c.oid = $1";
    let (table, target) = query_one(sql, &[history.into(), target.into()], |row| {
        (row.must::<String>(1), row.must::<pg_sys::Oid>(2))
    })?;
    require_own(history, target);
    let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
    refuse_own(&names);
    let new: Vec<&str> = columns.iter().filter(|c| c.new).map(|c| c.name.as_str()).collect();
    patiently(|| {
        renamed(history, &table, columns);
        follow(history, &table, target, &names, id, &new);
    });
    let sql = "SELECT attname::pg_catalog.text FROM pg_catalog.pg_attribute
               WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped AND attgenerated = ''";
    let there: Vec<String> = query(sql, &[history.into()], |row| row.must(1));
    let shared = columns.iter().filter(|c| there.contains(&c.name)).map(|c| ident(&c.name));
    Some((table, shared.collect()))
}
