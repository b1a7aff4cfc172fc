//! The difference between what was staged and what the replica holds, written down: deletes before
//! updates before inserts, so that a key may move from one object to another; only rows that differ.
//! Plain SQL into an ordinary table: its grants, views, indexes, triggers, partitions and publications
//! are none of our business and survive.

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::prelude::*;
use tables::ddl::ident;

use super::staging::{Column, Staged, Staging};
use crate::error;
use crate::replica::kept::history::Figures;
use crate::sql::spi::{Connected, connected, query};

/// A replica and what it is compared by.
pub struct Diff<'a> {
    /// The replica's name, qualified and quoted.
    pub target: &'a str,
    /// The columns that are compared and written.
    pub columns: &'a [Column],
    /// The column that holds the object's id.
    pub id: &'a Column,
}

impl Diff<'_> {
    /// Writes the difference, inside the transaction that makes it visible. Counts into `figures`.
    ///
    /// What is staged is everything there is, `there` objects.
    ///
    /// Raises an ERROR if more than `max_delete_share` of the rows would be deleted.
    pub fn everything(&self, staging: &Staging, there: i64, max_delete_share: f64, figures: &mut Figures) {
        let (target, same) = (self.target, self.same());
        connected(|connection| {
            let staged = staging.attach(connection, self.id);
            let args = arguments(&[], &staged);
            let gone = format!("NOT EXISTS (SELECT FROM {} AS s WHERE {same})", staged.table);
            self.guard(connection, &gone, &args, max_delete_share);
            let delete = format!("DELETE FROM {target} AS t WHERE {gone}");
            figures.deleted = count(connection.execute(&delete, &args));
            figures.updated = count(connection.execute(&self.update(&staged.table), &args));
            figures.inserted = count(connection.execute(&self.insert(&staged.table), &args));
            figures.unchanged = there - figures.updated - figures.inserted;
            figures.rows = there;
        });
    }

    /// The same for changes: the rows `out` have to leave, those that are staged are as they are now, and
    /// nothing is said of the others.
    pub fn changes(
        &self,
        staging: Option<&Staging>,
        out: &[i64],
        max_delete_share: f64,
        figures: &mut Figures,
    ) {
        let target = self.target;
        connected(|connection| {
            if !out.is_empty() {
                let args = [out.to_vec().into()];
                let ids = format!("($1::pg_catalog.int8[]::{}[])", self.id.target_type);
                let leaving = format!("t.{} = ANY {ids}", ident(&self.id.name));
                self.guard(connection, &leaving, &args, max_delete_share);
                let sql = format!("DELETE FROM {target} AS t WHERE {leaving}");
                figures.deleted = count(connection.execute(&sql, &args));
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
        });
    }

    /// `t.id = s.id`, in the replica's type.
    fn same(&self) -> String {
        format!("t.{} = {}", ident(&self.id.name), self.id.staged())
    }

    fn guard(&self, connection: &Connected, gone: &str, args: &[DatumWithOid], max_delete_share: f64) {
        let target = self.target;
        let sql = format!("SELECT pg_catalog.count(*) FROM {target} AS t WHERE {gone}");
        let leaving = connection.query_with(&sql, args, |row| row.must::<i64>(1)).first().copied();
        // Only then is the table read to be counted.
        let sql =
            format!("SELECT pg_catalog.count(*), {}::pg_catalog.int8 FROM {target}", leaving.unwrap_or(0));
        let counted = match leaving {
            None | Some(0) => Vec::new(),
            Some(_) => connection.query(&sql, |row| (row.must::<i64>(1), row.must::<i64>(2))),
        };
        let (rows, gone) = counted.first().copied().unwrap_or((0, 0));
        if gone as f64 > max_delete_share * rows as f64 {
            error::raise_hint(
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!(
                    "the refresh of {target} would delete {gone} of {rows} rows, more than \
                     assets_fdw.max_delete_share ({max_delete_share}) allows"
                ),
                "The credential may see less than it did: compare with Assets. If the objects are gone indeed: SET \
                 assets_fdw.max_delete_share = 1, then call assets_fdw.refresh().",
            );
        }
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
            "INSERT INTO {0} ({1}) SELECT {2} FROM {staged} AS s WHERE NOT EXISTS (SELECT FROM {0} AS t WHERE {3})",
            self.target,
            names.join(", "),
            values.join(", "),
            self.same()
        )
    }
}

/// `$1`, and what the staged rows need behind it.
fn arguments(first: &[i64], staged: &Staged) -> Vec<DatumWithOid<'static>> {
    let hidden = staged.hidden.iter().map(|ids| ids.clone().into());
    std::iter::once(first.to_vec().into()).chain(hidden).collect()
}

fn count(rows: u64) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// The columns that a foreign table and its replica share, by name; inside a transaction. A column
/// that only the replica has is left alone; one that only the source has is not in the replica.
pub fn shared_columns(source: pg_sys::Oid, target: pg_sys::Oid) -> Vec<Column> {
    let sql = "
        SELECT s.attnum, s.attname::text, pg_catalog.format_type(s.atttypid, s.atttypmod), s.atttypid,
               s.atttypmod, pg_catalog.format_type(t.atttypid, t.atttypmod)
        FROM pg_catalog.pg_attribute AS s
        JOIN pg_catalog.pg_attribute AS t ON t.attname = s.attname
        WHERE s.attrelid = $1 AND t.attrelid = $2 AND s.attnum > 0 AND t.attnum > 0
          AND NOT s.attisdropped AND NOT t.attisdropped AND s.attgenerated = '' AND t.attgenerated = ''
        ORDER BY s.attnum";
    query(sql, &[source.into(), target.into()], |row| Column {
        attnum: row.must(1),
        name: row.must(2),
        source_type: row.must(3),
        source_oid: row.must(4),
        source_typmod: row.must(5),
        target_type: row.must(6),
    })
}
