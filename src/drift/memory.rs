//! What is kept of imports: written at the end of IMPORT FOREIGN SCHEMA and after a sync.
#![allow(unsafe_code)] // the current user

use std::collections::HashSet;

use pgrx::pg_sys;
use pgrx::prelude::*;
use tables::drift::Growth;
use tables::known::Known;
use tables::layout::{Options, Table};

use crate::error;
use crate::import::{self, Import};
use crate::sql::spi::{as_extension, execute, query, query_one};

/// Called by the event trigger at the end of IMPORT FOREIGN SCHEMA with the relations that the command
/// made: notes of which types they were made. Whoever calls it by hand has made nothing.
#[pg_extern(sql = false)]
fn remember_import(made: Vec<Option<pg_sys::Oid>>) {
    let mut left: HashSet<pg_sys::Oid> = made.into_iter().flatten().collect();
    import::finish(|import| note(import, &mut left));
}

/// Notes of which types the relations `made` were made by an IMPORT, and takes them out. Gives their tables.
fn note<'a>(import: &'a Import, made: &mut HashSet<pg_sys::Oid>) -> Vec<&'a Table> {
    // SAFETY: no preconditions.
    let user = unsafe { pg_sys::GetUserId() };
    let mut tables = Vec::new();
    for (table, known) in &import.tables {
        // One of the same name may be another wrapper's.
        let relation = owned_relation(import, &table.name, user);
        let Some(relation) = relation.filter(|oid| made.remove(oid)) else { continue };
        tables.push(table);
        remember_table(relation, known);
    }
    // LIMIT TO wants those tables and no others, ever.
    if !tables.is_empty() && import.whole {
        remember_schema(&import.local_schema, import.schema_id, &import.growth, user);
    }
    tables
}

fn owned_relation(import: &Import, name: &str, user: pg_sys::Oid) -> Option<pg_sys::Oid> {
    let sql = "SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
               JOIN pg_foreign_table AS f ON f.ftrelid = c.oid JOIN pg_foreign_server AS s ON s.oid = f.ftserver
               WHERE n.nspname = $1 AND c.relname = $2 AND s.srvname = $3 AND pg_has_role($4, c.relowner, 'USAGE')";
    let args =
        [import.local_schema.as_str().into(), name.into(), import.growth.server.as_str().into(), user.into()];
    as_extension(|| query_one(sql, &args, |row| row.must(1)))
}

fn to_json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|failure| broken(&failure))
}

fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_else(|failure| broken(&failure))
}

fn broken(failure: &serde_json::Error) -> ! {
    error::raise(
        PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
        format!("what is known of an imported table cannot be read: {failure}"),
    )
}

/// Notes what is known of a table's type.
pub fn remember_table(relation: pg_sys::Oid, known: &Known) {
    let sql = "INSERT INTO assets_fdw.imported_table (relation, known) VALUES ($1, $2::text::jsonb)
               ON CONFLICT (relation) DO UPDATE SET known = excluded.known
               WHERE imported_table.known <> excluded.known";
    as_extension(|| execute(sql, &[relation.into(), to_json(known).into()]));
}

/// What is known of a table's type.
pub fn known(relation: pg_sys::Oid) -> Option<Known> {
    let sql = "SELECT known::text FROM assets_fdw.imported_table WHERE relation = $1";
    let text = as_extension(|| query_one(sql, &[relation.into()], |row| row.must::<String>(1)));
    text.map(|text| from_json(&text))
}

/// Notes an import of a whole object schema, or what a sync has seen of it since.
pub fn remember_schema(local: &str, schema_id: i64, growth: &Growth, owner: pg_sys::Oid) {
    let sql = "
        INSERT INTO assets_fdw.imported_schema
            (local_schema, schema_id, server, object_schema_id, owner, options, types)
        SELECT n.nspname, n.oid, $2::name, $3, $4::regrole, $5::text::jsonb, $6::text::bigint[]
        FROM pg_namespace AS n WHERE n.nspname = $1
        ON CONFLICT (local_schema, server, object_schema_id) DO UPDATE
            SET owner = excluded.owner, options = excluded.options, types = excluded.types
            WHERE NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.oid = imported_schema.owner::oid)
               OR pg_has_role($4, imported_schema.owner::oid, 'USAGE')";
    let types: Vec<String> = growth.types.iter().map(i64::to_string).collect();
    let args = [
        local.into(),
        growth.server.as_str().into(),
        schema_id.into(),
        owner.into(),
        to_json(&growth.options).into(),
        format!("{{{}}}", types.join(",")).into(),
    ];
    as_extension(|| execute(sql, &args));
}

/// The import of a whole object schema into a local one, by somebody that `user` may act as. Under
/// the server's name of then: a server that is renamed is followed through the tables of the schema.
pub fn growth(local: &str, server: &str, schema_id: i64, user: pg_sys::Oid) -> Option<Growth> {
    let sql = "
        SELECT s.options::text, s.types FROM assets_fdw.imported_schema AS s
        WHERE s.local_schema = $1 AND s.object_schema_id = $3 AND pg_has_role($4, s.owner::oid, 'USAGE')
          AND (s.server = $2 OR NOT EXISTS (SELECT FROM pg_foreign_server AS f WHERE f.srvname = s.server))
        ORDER BY s.server = $2 DESC LIMIT 1";
    let args = [local.into(), server.into(), schema_id.into(), user.into()];
    let found = as_extension(|| {
        query_one(sql, &args, |row| (row.must::<String>(1), row.must::<Vec<Option<i64>>>(2)))
    });
    let (options, types) = found?;
    let options: Options = from_json(&options);
    let types = types.into_iter().flatten().collect();
    Some(Growth { options, types, server: server.to_owned(), follow: None })
}

/// The object schemas that were imported as a whole into a local one: server and id.
pub fn imports(local: &str, user: pg_sys::Oid) -> Vec<(String, i64)> {
    let sql = "
        SELECT s.server::text, s.object_schema_id FROM assets_fdw.imported_schema AS s
        WHERE s.local_schema = $1 AND pg_has_role($2, s.owner::oid, 'USAGE')
          AND EXISTS (SELECT FROM pg_foreign_server AS f WHERE f.srvname = s.server)
        ORDER BY 1, 2";
    as_extension(|| query(sql, &[local.into(), user.into()], |row| (row.must(1), row.must(2))))
}
