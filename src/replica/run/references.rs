//! Labels and keys of referenced objects, in the rows that refer to them: Assets does not touch an
//! object's `Updated` when something that it refers to is renamed, moved or deleted
//! (assets-api.md 7, 13), so its row is put right here.
//!
//! The reference is followed by its key. Lists of keys, labels and ids stand in the same order; where
//! their lengths differ (an object without a label), the row is left to the next full comparison.

use std::collections::HashSet;

use delta::since::Moment;
use pgrx::pg_sys;
use pgrx::prelude::*;
use tables::ddl::ident;

use super::source::Reference;
use crate::error;
use crate::replica::table::staging::Column;
use crate::replica::table::theirs;
use crate::sql::spi::{Row, by_index, query, query_one};

/// An object that rows may refer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referenced {
    /// The key that rows hold.
    pub held_key: String,
    /// Its key now; none: the object is gone, and so are references to it.
    pub key: Option<String>,
    /// Its label.
    pub label: Option<String>,
    /// Key and label are what a replica of the group held of it, which was refreshed then: what else was
    /// refreshed then refers to it so.
    pub same_since: Option<Moment>,
}

/// Whose references are put right.
pub struct Referring<'a> {
    /// The replica's name, qualified and quoted.
    pub target: &'a str,
    /// The column of ids.
    pub id: &'a Column,
    /// Its references.
    pub references: &'a [Reference],
    /// When it was refreshed last; none where everything of it was read since.
    pub since: Option<Moment>,
    /// The rows that this run brings.
    pub brought: &'a HashSet<i64>,
}

impl Referring<'_> {
    /// Puts right every row that refers to one of the objects. Returns the ids of the rows that were written.
    /// Inside a transaction.
    ///
    /// Most objects that change keep their key and label. Who refers to such a one need not be looked for: only
    /// rows that were read during this run, in which it may have had another label for a moment, can be wrong.
    pub fn follow(&self, objects: &[Referenced]) -> Vec<i64> {
        let same = |object: &&Referenced| self.since.is_some() && object.same_since == self.since;
        let (same, other): (Vec<&Referenced>, Vec<&Referenced>) = objects.iter().partition(same);
        let mut written = self.write(&other, None);
        if !self.brought.is_empty() {
            let brought = self.brought.iter().copied().collect();
            written.extend(self.write(&same, Some(brought)));
        }
        written
    }

    fn write(&self, objects: &[&Referenced], within: Option<Vec<i64>>) -> Vec<i64> {
        if objects.is_empty() {
            return Vec::new();
        }
        let of = |get: fn(&Referenced) -> Option<String>| -> Vec<Option<String>> {
            objects.iter().map(|object| get(object)).collect()
        };
        let held: Vec<String> = objects.iter().map(|object| object.held_key.clone()).collect();
        let (keys, labels) = (of(|o| o.key.clone()), of(|o| o.label.clone()));
        let mut written = Vec::new();
        for reference in self.references {
            require_fit(self.target, reference, &held, &keys, &labels);
            let (sql, rows) = if reference.array {
                let rows = within.clone().unwrap_or_else(|| self.with_any(&reference.key, &held));
                if rows.is_empty() {
                    continue;
                }
                (lists(self.target, self.id, reference), Some(rows))
            } else {
                (single(self.target, self.id, reference, within.is_some()), within.clone())
            };
            let mut args = vec![held.clone().into(), keys.clone().into(), labels.clone().into()];
            args.extend(rows.map(Into::into));
            written.extend(theirs::run(|| query(&sql, &args, |row| row.must::<i64>(1))));
        }
        written
    }

    /// The rows whose list in `column` holds any of some keys.
    ///
    /// Compared with a long list, every row costs as much as the list is long; an index costs a look for each
    /// key, and so does a join with the elements of all rows where there is none.
    fn with_any(&self, column: &Column, keys: &[String]) -> Vec<i64> {
        let index = "
            SELECT c.oid, c.relkind = 'i' AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
            FROM pg_catalog.pg_index AS i
            JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
            JOIN pg_catalog.pg_am AS m ON m.oid = c.relam
            JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
            WHERE i.indrelid = $1::pg_catalog.regclass AND m.amname = 'gin' AND i.indisvalid
              AND i.indpred IS NULL AND a.attname = $2";
        let args = [self.target.into(), column.name.as_str().into()];
        let (id, list, target) = (ident(&self.id.name), ident(&column.name), self.target);
        let read = |row: &Row| row.must::<i64>(1);
        let found = query_one(index, &args, |row| (row.must::<pg_sys::Oid>(1), row.must::<bool>(2)));
        if let Some((index, ours)) = found {
            if ours && keys.len() > LOOKS {
                // What was added to such an index a moment ago, every look reads from its begin to its end.
                query("SELECT pg_catalog.gin_clean_pending_list($1)", &[index.into()], |_| ());
            }
            let sql = format!(
                "SELECT t.{id}::pg_catalog.int8 FROM {target} AS t WHERE t.{list} && $1::{}",
                column.target_type
            );
            // The planner takes such a look for dearer than it is, and the comparison of lists for cheaper.
            let some = |keys: &[String]| by_index(|| query(&sql, &[keys.to_vec().into()], read));
            let found: HashSet<i64> = keys.chunks(LOOKS).flat_map(some).collect();
            return found.into_iter().collect();
        }
        let sql = format!(
            "SELECT DISTINCT t.{id}::pg_catalog.int8 FROM {target} AS t
             CROSS JOIN LATERAL pg_catalog.unnest(t.{list}) AS x(key)
             JOIN pg_catalog.unnest($1::pg_catalog.text[]) AS m(key) ON m.key = x.key::pg_catalog.text"
        );
        query(&sql, &[keys.to_vec().into()], read)
    }
}

/// So many keys are looked for in an index at once, each of which costs something for every row that is found.
const LOOKS: usize = 100;

/// An ERROR where a key or a label that rows are to hold does not fit their column: a cast would cut it.
fn require_fit(
    target: &str,
    reference: &Reference,
    held: &[String],
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

/// `within`: only rows of the ids `$4`.
fn single(target: &str, id: &Column, reference: &Reference, within: bool) -> String {
    let which = if within { format!(" AND {}", among(id)) } else { String::new() };
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
         WHERE t.{} = m.held{which} AND pg_catalog.record_image_ne(ROW({}), ROW({}))
         RETURNING t.{}::pg_catalog.int8",
        assign.join(", "),
        ident(&key.name),
        before.join(", "),
        after.join(", "),
        ident(&id.name)
    )
}

/// The row's id is one of `$4`.
fn among(id: &Column) -> String {
    format!("t.{} = ANY ($4::pg_catalog.int8[]::{}[])", ident(&id.name), id.target_type)
}

/// For the rows of the ids `$4`. Their elements are put by and joined with the objects all at once: row by row, each
/// would be compared with each.
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
    let (id, among) = (ident(&id.name), among(id));
    format!(
        "UPDATE {target} AS t SET {set}
         FROM (WITH x AS MATERIALIZED (
                   SELECT t.{id} AS row_id, e.* FROM {target} AS t
                   CROSS JOIN LATERAL unnest({names}) WITH ORDINALITY AS e({elements}, n)
                   WHERE {among}{same_length})
               SELECT x.row_id, {aggregates} FROM x
               LEFT JOIN {OBJECTS} ON m.held = x.c0
               GROUP BY x.row_id) AS w
         WHERE t.{id} = w.row_id AND pg_catalog.record_image_ne(ROW({names}), ROW({after}))
         RETURNING t.{id}::pg_catalog.int8",
        set = set.join(", "),
        aggregates = aggregates.join(", "),
        names = names.join(", "),
        elements = elements.join(", "),
        same_length = same_length.concat(),
        after = after.join(", "),
    )
}

/// What a replica holds of an object.
pub struct Held {
    /// Its id.
    pub id: i64,
    /// Its key.
    pub key: Option<String>,
    /// Its label, where the replica has a column for it.
    pub label: Option<Option<String>>,
}

/// The keys and labels that a replica holds for objects; inside a transaction.
pub fn held(target: &str, id: &Column, key: &Column, label: Option<&Column>, ids: &[i64]) -> Vec<Held> {
    let shown = label.map_or("NULL".to_owned(), |label| format!("t.{}", ident(&label.name)));
    let sql = format!(
        "SELECT t.{0}::pg_catalog.int8, t.{1}::pg_catalog.text, {shown}::pg_catalog.text FROM {target} AS t
         WHERE t.{0} = ANY ($1::pg_catalog.int8[]::{2}[])",
        ident(&id.name),
        ident(&key.name),
        id.target_type
    );
    let read = |row: &Row| Held { id: row.must(1), key: row.get(2), label: label.map(|_| row.get(3)) };
    query(&sql, &[ids.to_vec().into()], read)
}
