//! The difference between what was staged and what the replica holds, written down: deletes before
//! updates before inserts, so that a key may move from one object to another; only rows that differ.
//! Values are of the replica's types by now (`fit`). Plain SQL into an ordinary table: its grants, views, indexes,
//! triggers, partitions and publications are none of our business and survive.

use delta::share::Share;
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::prelude::*;
use tables::ddl::ident;

use super::staging::{Column, Staged, Staging};
use super::theirs;
use crate::error;
use crate::replica::kept::columns::{self, Pair};
use crate::replica::kept::history::Figures;
use crate::sql::spi::{Connected, Row, connected, over_catalogues, query};

/// A replica and what it is compared by.
pub struct Diff<'a> {
    /// The replica's name, qualified and quoted.
    pub target: &'a str,
    /// The columns that are compared and written.
    pub columns: &'a [Column],
    /// The column that holds the object's id.
    pub id: &'a Column,
}

/// Rows that were kept although the service no longer shows their objects.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    /// How many.
    pub gone: i64,
    /// Of how many.
    pub rows: i64,
}

impl Diff<'_> {
    /// Writes the difference, inside the transaction that makes it visible. Counts into `figures`.
    ///
    /// What is staged is everything there is, `there` objects.
    ///
    /// Where more rows would be deleted than may be, none is, and what is said of it is given; all else is
    /// written.
    pub fn everything(
        &self,
        staging: &Staging,
        there: i64,
        may: Share,
        figures: &mut Figures,
    ) -> Option<Kept> {
        let (target, same) = (self.target, self.same());
        run_connected(|connection| {
            self.require_shape();
            let staged = staging.attach(connection, self.id);
            let args = arguments(&[], &staged);
            let gone = format!("NOT EXISTS (SELECT FROM {} AS s WHERE {same})", staged.table);
            let kept = self.guard(connection, &gone, &args, may);
            if kept.is_none() {
                let delete = format!("DELETE FROM {target} AS t WHERE {gone}");
                figures.deleted = count(connection.execute(&delete, &args));
            }
            figures.updated = count(connection.execute(&self.update(&staged.table), &args));
            figures.inserted = count(connection.execute(&self.insert(&staged.table), &args));
            figures.unchanged = there - figures.updated - figures.inserted;
            kept
        })
    }

    /// The same for changes: the rows `out` have to leave, those that are staged are as they are now, and
    /// nothing is said of the others.
    pub fn changes(
        &self,
        staging: Option<&Staging>,
        out: &[i64],
        may: Share,
        figures: &mut Figures,
    ) -> Option<Kept> {
        let target = self.target;
        run_connected(|connection| {
            self.require_shape();
            let mut kept = None;
            if !out.is_empty() {
                let args = [out.to_vec().into()];
                let ids = format!("($1::pg_catalog.int8[]::{}[])", self.id.target_type);
                let leaving = format!("t.{} = ANY {ids}", ident(&self.id.name));
                kept = self.guard(connection, &leaving, &args, may);
                if kept.is_none() {
                    let sql = format!("DELETE FROM {target} AS t WHERE {leaving}");
                    figures.deleted = count(connection.execute(&sql, &args));
                }
            }
            if let Some(staging) = staging {
                let staged = staging.attach(connection, self.id);
                let args = arguments(out, &staged);
                figures.updated = count(connection.execute(&self.update(&staged.table), &args));
                figures.inserted = count(connection.execute(&self.insert(&staged.table), &args));
                let sql = format!("SELECT pg_catalog.count(*) FROM {} AS s", staged.table);
                let staged = connection.query_with(&sql, &args, |row| row.must::<i64>(1));
                figures.unchanged = staged.first().map_or(0, |n| n - figures.updated - figures.inserted);
            }
            kept
        })
    }

    /// An ERROR where the columns are others by now than the rows were put by for: another one has a column's name, or
    /// it got another type. The lock on the replica keeps them as they are from here on.
    pub fn require_shape(&self) {
        let sql = "SELECT attname::pg_catalog.text, attnum, atttypid, atttypmod, attrelid FROM pg_catalog.pg_attribute
                   WHERE attrelid = $1::pg_catalog.text::pg_catalog.regclass AND attnum > 0 AND NOT attisdropped";
        let now = query(sql, &[self.target.into()], |row| {
            let of = (row.must::<pg_sys::Oid>(3), row.must::<i32>(4));
            (row.must::<String>(1), row.must::<i16>(2), of, row.must::<pg_sys::Oid>(5))
        });
        for column in self.columns {
            let found = now.iter().find(|(name, ..)| *name == column.name);
            let what = match found {
                Some((_, number, of, _)) if *number == column.target_attnum => {
                    if *of == (column.target_oid, column.target_typmod) {
                        continue;
                    }
                    "got another type"
                }
                _ => "was renamed or removed",
            };
            error::raise_hint(
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("column \"{}\" of {} {what} meanwhile", column.name, self.target),
                "The next refresh goes by how it is now.",
            );
        }
        if let Some((.., target)) = now.first() {
            keep_columns(*target, self.columns);
        }
    }

    /// `t.id = s.id`, in the replica's type.
    fn same(&self) -> String {
        format!("t.{} = {}", ident(&self.id.name), self.id.staged())
    }

    /// What may not go of the rows that would, if they are too many.
    fn guard(&self, connection: &Connected, gone: &str, args: &[DatumWithOid], may: Share) -> Option<Kept> {
        let target = self.target;
        let sql = format!("SELECT pg_catalog.count(*) FROM {target} AS t WHERE {gone}");
        let leaving = connection.query_with(&sql, args, |row| row.must::<i64>(1)).first().copied();
        let gone = leaving.filter(|gone| *gone > 0)?;
        // Only then is the table read to be counted.
        let sql = format!("SELECT pg_catalog.count(*) FROM {target}");
        let rows = connection.query(&sql, |row| row.must::<i64>(1)).first().copied().unwrap_or(0);
        (!may.allows(gone.unsigned_abs(), rows.unsigned_abs())).then_some(Kept { gone, rows })
    }

    /// Rows are compared by their image, which every type has, also those without an equality
    /// (json), or with one that overlooks differences (citext, numeric's scale).
    fn update(&self, staged: &str) -> String {
        let others = || self.columns.iter().filter(|c| c.name != self.id.name);
        if others().next().is_none() {
            // Nothing but ids: no row can differ.
            return format!("UPDATE {} AS t SET {1} = t.{1} WHERE false", self.target, ident(&self.id.name));
        }
        let set: Vec<String> = others().map(|c| format!("{} = {}", ident(&c.name), c.staged())).collect();
        let held: Vec<String> = others().map(|c| format!("t.{}", ident(&c.name))).collect();
        let values: Vec<String> = others().map(Column::staged).collect();
        format!(
            "UPDATE {} AS t SET {} FROM {staged} AS s WHERE {} AND pg_catalog.record_image_ne(ROW({}), ROW({}))",
            self.target,
            set.join(", "),
            self.same(),
            held.join(", "),
            values.join(", ")
        )
    }

    fn insert(&self, staged: &str) -> String {
        let names: Vec<String> = self.columns.iter().map(|c| ident(&c.name)).collect();
        let values: Vec<String> = self.columns.iter().map(Column::staged).collect();
        format!(
            "INSERT INTO {0} ({1}) OVERRIDING SYSTEM VALUE SELECT {2} FROM {staged} AS s WHERE NOT EXISTS (SELECT FROM {0} AS t WHERE {3})",
            self.target,
            names.join(", "),
            values.join(", "),
            self.same()
        )
    }
}

fn run_connected<T>(statements: impl FnOnce(&Connected) -> T) -> T {
    theirs::run(|| connected(statements))
}

/// `$1`, and what the staged rows need behind it.
fn arguments(first: &[i64], staged: &Staged) -> Vec<DatumWithOid<'static>> {
    let hidden = staged.hidden.iter().map(|ids| ids.clone().into());
    std::iter::once(first.to_vec().into()).chain(hidden).collect()
}

fn count(rows: u64) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// A column as the catalogue has it.
struct Attribute {
    attnum: i16,
    name: String,
    type_name: String,
    oid: pg_sys::Oid,
    typmod: i32,
}

fn attributes(relation: pg_sys::Oid) -> Vec<Attribute> {
    let sql = "
        SELECT attnum, attname::text, pg_catalog.format_type(atttypid, atttypmod), atttypid, atttypmod
        FROM pg_catalog.pg_attribute
        WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum";
    let read = |row: &Row| Attribute {
        attnum: row.must(1),
        name: row.must(2),
        type_name: row.must(3),
        oid: row.must(4),
        typmod: row.must(5),
    };
    over_catalogues(|| query(sql, &[relation.into()], read))
}

/// The columns that a foreign table and its replica share; inside a transaction. Those that were found by name before
/// are known by number; a column that only the replica has is left alone, one that only the source has is not in the
/// replica.
pub fn shared_columns(source: pg_sys::Oid, target: pg_sys::Oid) -> Vec<Column> {
    let (known, here) = columns::read(target);
    let (mut theirs, mut ours) = (attributes(source), attributes(target));
    let mut shared = Vec::new();
    let mut pair =
        |theirs: &mut Vec<Attribute>, ours: &mut Vec<Attribute>, s: usize, t: usize, was: Option<&str>| {
            let (s, t) = (theirs.remove(s), ours.remove(t));
            shared.push(Column {
                attnum: s.attnum,
                source_name: s.name,
                source_type: s.type_name,
                source_oid: s.oid,
                source_typmod: s.typmod,
                target_attnum: t.attnum,
                target_type: t.type_name,
                target_oid: t.oid,
                target_typmod: t.typmod,
                was: was.filter(|was| *was != t.name).map(str::to_owned),
                // Where nothing is known of the replica yet, nothing is new.
                new: was.is_none() && !known.is_empty(),
                name: t.name,
            });
        };
    for k in &known {
        let is =
            |a: &Attribute, attnum: i16, name: &str| if here { a.attnum == attnum } else { a.name == name };
        let s = theirs.iter().position(|a| is(a, k.source_attnum, &k.source_name));
        let t = ours.iter().position(|a| is(a, k.attnum, &k.name));
        if let (Some(s), Some(t)) = (s, t) {
            pair(&mut theirs, &mut ours, s, t, Some(&k.name));
        }
    }
    while let Some((s, t)) =
        (0..theirs.len()).find_map(|s| Some((s, ours.iter().position(|a| a.name == theirs[s].name)?)))
    {
        pair(&mut theirs, &mut ours, s, t, None);
    }
    shared.sort_by_key(|column| column.attnum);
    shared
}

/// Keeps which column shows which, for when one is renamed.
pub fn keep_columns(target: pg_sys::Oid, shared: &[Column]) {
    let pairs: Vec<Pair> = shared
        .iter()
        .map(|c| Pair {
            attnum: c.target_attnum,
            name: c.name.clone(),
            source_attnum: c.attnum,
            source_name: c.source_name.clone(),
        })
        .collect();
    columns::keep(target, &pairs);
}
