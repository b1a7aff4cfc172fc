//! Labels and keys of referenced objects, in the rows that refer to them: Assets does not touch an
//! object's `Updated` when something that it refers to is renamed, moved or deleted
//! (assets-api.md 7, 13), so its row is put right here.
//!
//! The reference is followed by its key. Lists of keys, labels and ids stand in the same order; where
//! their lengths differ (an object without a label), the row is left to the next full comparison.

use pgrx::prelude::*;
use tables::ddl::ident;

use super::source::Reference;
use crate::error;
use crate::replica::table::staging::Column;
use crate::replica::table::theirs;
use crate::sql::spi::{query, query_one};

/// An object that rows may refer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referenced {
    /// The key that rows hold.
    pub held_key: String,
    /// Its key now; none: the object is gone, and so are references to it.
    pub key: Option<String>,
    /// Its label.
    pub label: Option<String>,
}

/// Puts right every row of `target` that refers to one of the objects. Returns the ids of the rows
/// that were written. Inside a transaction.
pub fn follow(target: &str, id: &Column, references: &[Reference], objects: &[Referenced]) -> Vec<i64> {
    if objects.is_empty() {
        return Vec::new();
    }
    let held: Vec<Option<String>> = objects.iter().map(|o| Some(o.held_key.clone())).collect();
    let keys: Vec<Option<String>> = objects.iter().map(|o| o.key.clone()).collect();
    let labels: Vec<Option<String>> = objects.iter().map(|o| o.label.clone()).collect();
    let mut written = Vec::new();
    for reference in references {
        require_fit(target, reference, &held, &keys, &labels);
        let sql = if reference.array { lists(target, id, reference) } else { single(target, id, reference) };
        let args = [held.clone().into(), keys.clone().into(), labels.clone().into()];
        written.extend(theirs::run(|| query(&sql, &args, |row| row.must::<i64>(1))));
    }
    written
}

/// An ERROR where a key or a label that rows are to hold does not fit their column: a cast would cut it.
fn require_fit(
    target: &str,
    reference: &Reference,
    held: &[Option<String>],
    keys: &[Option<String>],
    labels: &[Option<String>],
) {
    let key = ident(&reference.key.name);
    let refers =
        if reference.array { format!("m.held = ANY (t.{key})") } else { format!("t.{key} = m.held") };
    let labels_of = reference.labels.iter().map(|column| ("label", column));
    for (what, column) in std::iter::once(("key", &reference.key)).chain(labels_of) {
        if column.target_type == "text" || column.target_type == "text[]" {
            continue;
        }
        let one = column.target_type.strip_suffix("[]").unwrap_or(&column.target_type);
        let sql = format!(
            "SELECT m.{what}, m.held FROM {OBJECTS}
             WHERE m.{what}::{one}::pg_catalog.text <> m.{what} AND EXISTS (SELECT FROM {target} AS t WHERE {refers}) LIMIT 1"
        );
        let args = [held.to_vec().into(), keys.to_vec().into(), labels.to_vec().into()];
        if let Some((value, object)) =
            query_one(&sql, &args, |row| (row.must::<String>(1), row.must::<String>(2)))
        {
            let (name, of) = (&column.name, &column.target_type);
            error::raise_hint(
                PgSqlErrorCode::ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE,
                format!(
                    "value \"{value}\", the {what} of object {object}, does not fit column \"{name}\" of the replica: it is {of}"
                ),
                format!(
                    "ALTER TABLE … ALTER COLUMN {} TYPE text lets the replica hold what its foreign table shows.",
                    ident(name)
                ),
            );
        }
    }
}

const OBJECTS: &str = "unnest($1::pg_catalog.text[], $2::pg_catalog.text[], $3::pg_catalog.text[])
                       AS m(held, key, label)";

fn single(target: &str, id: &Column, reference: &Reference) -> String {
    let key = &reference.key;
    // The new values, by column: the key, each label, and ids only where the object is gone.
    let mut set = vec![(key, format!("m.key::{}", key.target_type))];
    set.extend(
        reference
            .labels
            .iter()
            .map(|c| (c, format!("CASE WHEN m.key IS NOT NULL THEN m.label::{} END", c.target_type))),
    );
    set.extend(
        reference
            .ids
            .iter()
            .map(|c| (c, format!("CASE WHEN m.key IS NOT NULL THEN t.{} END", ident(&c.name)))),
    );
    let assign: Vec<String> = set.iter().map(|(c, value)| format!("{} = {value}", ident(&c.name))).collect();
    let before: Vec<String> = set.iter().map(|(c, _)| format!("t.{}", ident(&c.name))).collect();
    let after: Vec<&str> = set.iter().map(|(_, value)| value.as_str()).collect();
    format!(
        "UPDATE {target} AS t SET {} FROM {OBJECTS}
         WHERE t.{} = m.held AND pg_catalog.record_image_ne(ROW({}), ROW({}))
         RETURNING t.{}::pg_catalog.int8",
        assign.join(", "),
        ident(&key.name),
        before.join(", "),
        after.join(", "),
        ident(&id.name)
    )
}

fn lists(target: &str, id: &Column, reference: &Reference) -> String {
    let key = &reference.key;
    let columns: Vec<&Column> = [key].into_iter().chain(&reference.labels).chain(&reference.ids).collect();
    let names: Vec<String> = columns.iter().map(|c| format!("t.{}", ident(&c.name))).collect();
    let elements: Vec<String> = (0..columns.len()).map(|n| format!("c{n}")).collect();
    let stays = "(m.held IS NULL OR m.key IS NOT NULL)";
    let aggregates: Vec<String> = (0..columns.len())
        .map(|n| {
            let value = match n {
                0 => "COALESCE(m.key, x.c0::pg_catalog.text)".to_owned(),
                n if n <= reference.labels.len() => format!("COALESCE(m.label, x.c{n}::pg_catalog.text)"),
                n => format!("x.c{n}::pg_catalog.text"),
            };
            format!("pg_catalog.array_agg({value} ORDER BY x.n) FILTER (WHERE {stays}) AS c{n}")
        })
        .collect();
    let same_length: Vec<String> = names
        .iter()
        .skip(1)
        .map(|name| format!(" AND pg_catalog.cardinality({name}) = pg_catalog.cardinality({})", names[0]))
        .collect();
    let set: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(n, c)| format!("{} = w.c{n}::{}", ident(&c.name), c.target_type))
        .collect();
    let after: Vec<String> =
        columns.iter().enumerate().map(|(n, c)| format!("w.c{n}::{}", c.target_type)).collect();
    let id = ident(&id.name);
    format!(
        "UPDATE {target} AS t SET {set}
         FROM (SELECT t.{id}, l.* FROM {target} AS t, LATERAL (
                   SELECT {aggregates}
                   FROM unnest({names}) WITH ORDINALITY AS x({elements}, n)
                   LEFT JOIN {OBJECTS} ON m.held = x.c0) AS l
               WHERE {key} && $1::{key_type}{same_length}) AS w
         WHERE t.{id} = w.{id} AND pg_catalog.record_image_ne(ROW({names}), ROW({after}))
         RETURNING t.{id}::pg_catalog.int8",
        set = set.join(", "),
        aggregates = aggregates.join(", "),
        names = names.join(", "),
        elements = elements.join(", "),
        key = names[0],
        key_type = key.target_type,
        same_length = same_length.concat(),
        after = after.join(", "),
    )
}

/// The keys that a replica holds for objects, where they differ from `now`: (id, held key).
pub fn held_keys(target: &str, id: &Column, key: &Column, ids: &[i64]) -> Vec<(i64, Option<String>)> {
    let sql = format!(
        "SELECT t.{0}::pg_catalog.int8, t.{1}::pg_catalog.text FROM {target} AS t
         WHERE t.{0} = ANY ($1::pg_catalog.int8[]::{2}[])",
        ident(&id.name),
        ident(&key.name),
        id.target_type
    );
    query(&sql, &[ids.to_vec().into()], |row| (row.must(1), row.get(2)))
}
