//! The table that `materialize()` makes, or takes over: an ordinary table with the source's columns.
#![allow(unsafe_code)] // the current user

use pgrx::pg_sys;
use pgrx::prelude::*;
use tables::ddl::{ident, literal};

use super::fit;
use super::rights::{self, Tables, Use};
use crate::error;
use crate::replica::kept::histories;
use crate::replica::kept::jobs;
use crate::sql::roles::acts_for;
use crate::sql::spi::{Row, current_schema, execute, query, query_now, query_one};

/// A column of the source.
struct Column {
    name: String,
    declaration: String,
    /// What the column shows, where that is a fixed field.
    field: Option<String>,
    /// Whether it holds keys of other objects, and whether that is a list.
    reference: bool,
    array: bool,
    comment: Option<String>,
}

/// The foreign table as the replica's table needs it.
pub struct Source {
    relation: pg_sys::Oid,
    schema: String,
    name: String,
    comment: Option<String>,
    columns: Vec<Column>,
    /// The foreign server.
    pub server: pg_sys::Oid,
}

/// Where the replica is to be.
pub struct Place {
    schema: String,
    name: String,
}

impl Place {
    /// As statements name it.
    pub fn qualified(&self) -> String {
        format!("{}.{}", ident(&self.schema), ident(&self.name))
    }
}

impl Source {
    /// Reads a foreign table of this wrapper that the current user may read; anything else is an ERROR.
    pub fn load(relation: pg_sys::Oid) -> Self {
        let sql = "
            SELECT n.nspname::text, c.relname::text, pg_catalog.obj_description(c.oid, 'pg_class'),
                   coalesce(h.proname = 'assets_fdw_handler', false), coalesce(f.ftserver, 0::pg_catalog.oid),
                   pg_catalog.has_table_privilege(c.oid, 'SELECT')
            FROM pg_catalog.pg_class AS c
            JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
            LEFT JOIN pg_catalog.pg_foreign_table AS f ON f.ftrelid = c.oid
            LEFT JOIN pg_catalog.pg_foreign_server AS s ON s.oid = f.ftserver
            LEFT JOIN pg_catalog.pg_foreign_data_wrapper AS w ON w.oid = s.srvfdw
            LEFT JOIN pg_catalog.pg_proc AS h ON h.oid = w.fdwhandler
            WHERE c.oid = $1";
        let found = query_one(sql, &[relation.into()], |row| {
            let source = Source {
                relation,
                schema: row.must(1),
                name: row.must(2),
                comment: row.get(3),
                columns: Vec::new(),
                server: row.must(5),
            };
            (source, row.must::<bool>(4), row.must::<bool>(6))
        });
        let Some((mut source, ours, readable)) = found else {
            error::raise(
                PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
                format!("relation with OID {} does not exist", relation.to_u32()),
            );
        };
        if !ours {
            error::raise(
                PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
                format!("\"{}\" is not a foreign table of assets_fdw", source.name),
            );
        }
        if !readable {
            error::raise(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                format!("permission denied for foreign table {}", source.name),
            );
        }
        source.columns = columns(relation);
        source
    }

    fn id(&self) -> &Column {
        self.field("id").unwrap_or_else(|| {
            error::raise_hint(
                PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
                format!("foreign table {} has no column with the object's id", self.name),
                "A replica needs one: ALTER FOREIGN TABLE … ADD COLUMN id bigint OPTIONS (field 'id').",
            )
        })
    }

    fn field(&self, field: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.field.as_deref() == Some(field))
    }

    /// Where the replica goes: what was asked for, or `<schema>_replica.<table>`.
    pub fn place(&self, into_table: Option<&str>) -> Place {
        let Some(given) = into_table else {
            return Place { schema: suffixed(&self.schema), name: self.name.clone() };
        };
        let parts = query_one("SELECT pg_catalog.parse_ident($1)", &[given.into()], |row| {
            row.must::<Vec<Option<String>>>(1)
        });
        let mut parts: Vec<String> = parts.unwrap_or_default().into_iter().flatten().collect();
        match (parts.pop(), parts.pop(), parts.is_empty()) {
            (Some(name), Some(schema), true) => Place { schema, name },
            (Some(name), None, _) => {
                let Some(schema) = current_schema() else {
                    error::raise(
                        PgSqlErrorCode::ERRCODE_INVALID_SCHEMA_NAME,
                        "no schema has been selected to create in",
                    );
                };
                Place { schema, name }
            }
            _ => error::raise(
                PgSqlErrorCode::ERRCODE_SYNTAX_ERROR,
                format!("\"{given}\" is not the name of a table, schema.table or table"),
            ),
        }
    }

    /// Makes the table, with its schema where that is missing, or takes over one that was made
    /// beforehand. Everything with the current user's rights.
    pub fn make(&self, place: &Place, indexes: &[String]) -> pg_sys::Oid {
        let id = self.id();
        let schema_exists = query_one(
            "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1",
            &[place.schema.as_str().into()],
            |_| (),
        );
        if schema_exists.is_none() {
            execute(&format!("CREATE SCHEMA {}", ident(&place.schema)), &[]);
        }
        if let Some(existing) = relation(place) {
            self.take_over(existing, place, id);
            self.add_indexes(&place.qualified(), indexes);
            return existing;
        }
        let target = place.qualified();
        let mut parts: Vec<String> = self.columns.iter().map(|c| c.declaration.clone()).collect();
        parts.push(format!("PRIMARY KEY ({})", ident(&id.name)));
        if let Some(key) = self.field("key") {
            // Keys may swap within one refresh.
            parts.push(format!("UNIQUE ({}) DEFERRABLE", ident(&key.name)));
        }
        execute(&format!("CREATE TABLE {target} ({})", parts.join(", ")), &[]);
        if let Some(updated) = self.field("updated") {
            execute(&format!("CREATE INDEX ON {target} ({})", ident(&updated.name)), &[]);
        }
        for column in self.columns.iter().filter(|c| c.reference) {
            let method = if column.array { "gin" } else { "btree" };
            execute(&format!("CREATE INDEX ON {target} USING {method} ({})", ident(&column.name)), &[]);
        }
        self.add_indexes(&target, indexes);
        if let Some(comment) = &self.comment {
            execute(&format!("COMMENT ON TABLE {target} IS {}", literal(comment)), &[]);
        }
        for column in &self.columns {
            if let Some(comment) = &column.comment {
                let name = ident(&column.name);
                execute(&format!("COMMENT ON COLUMN {target}.{name} IS {}", literal(comment)), &[]);
            }
        }
        relation(place).unwrap_or(pg_sys::InvalidOid)
    }

    /// Makes the table of former versions beside the replica at `place`.
    pub fn make_history(&self, place: &Place, target: pg_sys::Oid) -> pg_sys::Oid {
        let columns: Vec<&str> = self.columns.iter().map(|c| c.name.as_str()).collect();
        let (schema, name, id) = (place.schema.as_str(), place.name.as_str(), self.id().name.as_str());
        super::versions::make(&super::versions::Of { schema, name, target, columns: &columns, id })
    }

    /// Each of `indexes` is a list of columns, separated by commas.
    fn add_indexes(&self, target: &str, indexes: &[String]) {
        for list in indexes {
            let names: Vec<String> = list
                .split(',')
                .map(|word| {
                    let word = word.trim();
                    let bare = word.strip_prefix('"').and_then(|w| w.strip_suffix('"')).unwrap_or(word);
                    if !self.columns.iter().any(|c| c.name == bare) {
                        error::raise_hint(
                            PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
                            format!("indexes names a column \"{bare}\", which {} does not have", self.name),
                            "Each element is a column, or several separated by commas. Any other index can be made \
                             with CREATE INDEX; it survives every refresh.",
                        );
                    }
                    ident(bare)
                })
                .collect();
            execute(&format!("CREATE INDEX ON {target} ({})", names.join(", ")), &[]);
        }
    }

    /// A table made beforehand (partitioned, say): the owner's own, empty, with a unique index that
    /// contains the id.
    fn take_over(&self, table: pg_sys::Oid, place: &Place, id: &Column) {
        let target = place.qualified();
        if jobs::find(table).is_some() {
            error::raise_hint(
                PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
                format!("{target} is a replica already"),
                "assets_fdw.alter_materialization() changes its schedule.",
            );
        }
        if let histories::Use::Kept(replica) | histories::Use::Left(replica) = histories::use_of(table) {
            error::raise_hint(
                PgSqlErrorCode::ERRCODE_DUPLICATE_TABLE,
                format!("{target} is the history of replica {replica}"),
                "Have the replica made under another name (into_table).",
            );
        }
        // SAFETY: no preconditions.
        let user = unsafe { pg_sys::GetUserId() };
        let sql = format!("
            SELECT c.relkind IN ('r', 'p') AND c.relpersistence <> 't', {},
                   EXISTS (SELECT FROM pg_catalog.pg_index AS i
                           JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
                           WHERE i.indrelid = c.oid AND i.indisunique AND i.indpred IS NULL AND a.attname = $2)
            FROM pg_catalog.pg_class AS c WHERE c.oid = $1", acts_for("$3", "c.relowner"));
        let args = [table.into(), id.name.as_str().into(), user.into()];
        let look = |row: &Row| (row.must::<bool>(1), row.must::<bool>(2), row.must::<bool>(3));
        let (table_kind, mine, unique) = query_now(&sql, &args, look).pop().unwrap_or_default();
        let refuse = |code, why: String| -> ! {
            error::raise_hint(
                code,
                format!("{target} exists already and {why}"),
                "materialize() takes over an empty table of one's own with a unique index that contains the id, and \
                 makes one where there is none.",
            )
        };
        if !table_kind {
            refuse(PgSqlErrorCode::ERRCODE_DUPLICATE_TABLE, "is no ordinary table".into());
        }
        if !mine {
            refuse(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, "belongs to another role".into());
        }
        rights::lock(table, pg_sys::RowExclusiveLock);
        if relation(place) != Some(table) {
            refuse(PgSqlErrorCode::ERRCODE_OBJECT_IN_USE, "was replaced at this moment".into());
        }
        // Before anything is asked of it: even that may run its owner's code.
        rights::require(&Tables { owner: user, target: table, name: &target, history: None }, Use::Write);
        if !unique {
            refuse(
                PgSqlErrorCode::ERRCODE_DUPLICATE_TABLE,
                format!("has no unique index that contains column \"{}\"", id.name),
            );
        }
        if !query_now(&format!("SELECT 1 FROM {target} LIMIT 1"), &[], |_| ()).is_empty() {
            refuse(PgSqlErrorCode::ERRCODE_DUPLICATE_TABLE, "holds rows".into());
        }
        let shared = super::apply::shared_columns(self.relation, table);
        if shared.iter().all(|c| c.name != id.name) {
            refuse(PgSqlErrorCode::ERRCODE_DUPLICATE_TABLE, format!("has no column \"{}\"", id.name));
        }
        shared.iter().for_each(fit::require_possible);
        if let Some((why, hint)) = self.unwritable(table, &id.name) {
            let message = format!("{target} cannot be a replica of {}: {why}", self.name);
            error::raise_hint(PgSqlErrorCode::ERRCODE_INVALID_TABLE_DEFINITION, message, hint);
        }
    }

    /// Why rows could never be written to a table that was made beforehand, or would not be what Assets says, and what
    /// to do about it. A column of the user's own may have a default, be generated, or be an identity; one that shows
    /// something of Assets holds that and nothing else.
    fn unwritable(&self, table: pg_sys::Oid, id: &str) -> Option<(String, String)> {
        let sql = "
            SELECT t.attname::pg_catalog.text, s.attname IS NOT NULL, t.attnotnull AND NOT coalesce(s.attnotnull, false),
                   t.atthasdef, t.attidentity::pg_catalog.text, t.attgenerated <> '', coalesce(s.attgenerated, '') <> ''
            FROM pg_catalog.pg_attribute AS t
            LEFT JOIN pg_catalog.pg_attribute AS s
              ON s.attrelid = $2 AND s.attname = t.attname AND s.attnum > 0 AND NOT s.attisdropped
            WHERE t.attrelid = $1 AND t.attnum > 0 AND NOT t.attisdropped ORDER BY t.attnum";
        let found = query(sql, &[table.into(), self.relation.into()], |row| {
            let name: String = row.must(1);
            let (shared, required, default, identity) =
                (row.must::<bool>(2), row.must::<bool>(3), row.must::<bool>(4), row.must::<String>(5));
            let (computes, computed) = (row.must::<bool>(6), row.must::<bool>(7));
            let column = ident(&name);
            let but = |what: &str| format!("column \"{name}\" {what}");
            let (why, undo) = match shared {
                true if computed && !computes => {
                    (but("is generated in the foreign table and not here"), "DROP COLUMN")
                }
                true if computes && !computed => {
                    (but("is generated and would not show what Assets has"), "RENAME COLUMN TO …")
                }
                // The id is written once and never changed.
                true if identity == "a" && name != id => {
                    (but("is an identity, and would not show what Assets has"), "ALTER COLUMN DROP IDENTITY")
                }
                true if required && default && !computes => (
                    but("is NOT NULL, and a value that Assets lacks is NULL, not its default"),
                    "ALTER COLUMN DROP NOT NULL",
                ),
                false if required && !default && identity.is_empty() && !computes => (
                    but("is NOT NULL without a default, and Assets has nothing for it"),
                    "ALTER COLUMN SET DEFAULT …",
                ),
                _ => return None,
            };
            Some((
                why,
                format!("ALTER TABLE … {} mends it.", undo.replace("COLUMN", &format!("COLUMN {column}"))),
            ))
        });
        found.into_iter().flatten().next()
    }
}

fn relation(place: &Place) -> Option<pg_sys::Oid> {
    let sql = "
        SELECT c.oid FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relname = $2";
    query_one(sql, &[place.schema.as_str().into(), place.name.as_str().into()], |row| row.must(1))
}

fn columns(relation: pg_sys::Oid) -> Vec<Column> {
    let sql = "
        SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod),
               CASE WHEN a.attcollation <> t.typcollation
                    THEN (SELECT pg_catalog.format('%I.%I', n.nspname, l.collname)
                          FROM pg_catalog.pg_collation AS l
                          JOIN pg_catalog.pg_namespace AS n ON n.oid = l.collnamespace
                          WHERE l.oid = a.attcollation) END,
               coalesce(o.field, CASE WHEN o.attribute IS NULL THEN a.attname::text END),
               coalesce(a.attname ~ '_key$' OR o.part = 'key', false)
                   AND a.atttypid IN ('text'::pg_catalog.regtype, 'varchar'::pg_catalog.regtype,
                                      'text[]'::pg_catalog.regtype, 'varchar[]'::pg_catalog.regtype),
               t.typcategory = 'A', pg_catalog.col_description(a.attrelid, a.attnum::int),
               CASE WHEN a.attgenerated <> ''
                    THEN (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef AS d
                          WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum) END,
               -- Every object has a key; what else the foreign table promises of fields is made sure of as rows
               -- come. Of attributes and of what is computed nothing is.
               a.attgenerated = ''
                   AND f.name IN ('id', 'key', 'label', 'object_type', 'created', 'updated', 'url', 'attributes')
                   AND (a.attnotnull OR f.name = 'key' AND o.on_invalid IS NULL)
        FROM pg_catalog.pg_attribute AS a
        JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
        CROSS JOIN LATERAL (
            SELECT max(option_value) FILTER (WHERE option_name = 'field') AS field,
                   max(option_value) FILTER (WHERE option_name IN ('attribute', 'attribute_id')) AS attribute,
                   max(option_value) FILTER (WHERE option_name = 'part') AS part,
                   max(option_value) FILTER (WHERE option_name = 'on_invalid') AS on_invalid
            FROM pg_catalog.pg_options_to_table(a.attfdwoptions)) AS o
        CROSS JOIN LATERAL (
            SELECT coalesce(o.field, CASE WHEN o.attribute IS NULL THEN a.attname::text END) AS name) AS f
        WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY a.attnum";
    query(sql, &[relation.into()], |row| {
        let name: String = row.must(1);
        let collate = row.get::<String>(3).map(|c| format!(" COLLATE {c}")).unwrap_or_default();
        // What the source computes of its columns, the replica does.
        let generated = row
            .get::<String>(8)
            .map(|made| format!(" GENERATED ALWAYS AS ({made}) STORED"))
            .unwrap_or_default();
        let not_null = if row.get(9).unwrap_or(false) { " NOT NULL" } else { "" };
        Column {
            declaration: format!("{} {}{collate}{generated}{not_null}", ident(&name), row.must::<String>(2)),
            field: row.get(4),
            reference: row.must(5),
            array: row.must(6),
            comment: row.get(7),
            name,
        }
    })
}

/// `<schema>_replica`, cut to the length of a name.
fn suffixed(schema: &str) -> String {
    tables::naming::fit(schema, "_replica")
}
