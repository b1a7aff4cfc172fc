//! Foreign tables of a local schema, and their replicas, as the catalogues hold them.

use std::collections::HashSet;

use pgrx::pg_sys;
use pgrx::prelude::*;
use tables::drift::{LocalColumn, LocalTable, Relation, Replica, ReplicaColumn};

use super::memory;
use crate::error;
use crate::replica::kept::jobs;
use crate::sql::roles::acts_for;
use crate::sql::spi::{Row, as_extension, query, query_one};

/// A foreign table of this wrapper.
pub struct Table {
    /// Its OID.
    pub oid: pg_sys::Oid,
    /// Its server.
    pub server: pg_sys::Oid,
    /// The server's name.
    pub server_name: String,
    /// What is compared.
    pub local: LocalTable,
    /// The OIDs of replicas and histories, in their order.
    pub replicas: Vec<pg_sys::Oid>,
}

/// A local schema.
pub struct Gathered {
    /// The tables of it that `user` may alter.
    pub tables: Vec<Table>,
    /// Whether there are others, of other roles.
    pub others: bool,
    /// The names of everything in it.
    pub taken: HashSet<String>,
}

/// The schema's OID; an ERROR where there is none.
pub fn schema_oid(schema: &str) -> pg_sys::Oid {
    let sql = "SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = $1";
    query_one(sql, &[schema.into()], |row| row.must(1)).unwrap_or_else(|| {
        error::raise(
            PgSqlErrorCode::ERRCODE_INVALID_SCHEMA_NAME,
            format!("schema \"{schema}\" does not exist"),
        )
    })
}

/// Reads a local schema for a role.
pub fn gather(schema: &str, user: pg_sys::Oid) -> Gathered {
    let namespace = schema_oid(schema);
    let mine = acts_for("$2", "c.relowner");
    let sql = format!(
        "
        SELECT c.oid, c.relname::text, obj_description(c.oid, 'pg_class'), f.ftserver, s.srvname::text,
               c.relnatts::int4,
               ARRAY(SELECT o.option_name FROM pg_options_to_table(f.ftoptions) AS o ORDER BY 1),
               ARRAY(SELECT o.option_value FROM pg_options_to_table(f.ftoptions) AS o ORDER BY o.option_name),
               {mine}
        FROM pg_class AS c
        JOIN pg_foreign_table AS f ON f.ftrelid = c.oid
        JOIN pg_foreign_server AS s ON s.oid = f.ftserver
        JOIN pg_foreign_data_wrapper AS w ON w.oid = s.srvfdw
        JOIN pg_proc AS h ON h.oid = w.fdwhandler AND h.proname = 'assets_fdw_handler'
        WHERE c.relnamespace = $1 ORDER BY c.relname"
    );
    let args = [namespace.into(), user.into()];
    let found = as_extension(|| {
        query(&sql, &args, |row| {
            let local = LocalTable {
                relation: Relation::new(schema, row.must::<String>(2)),
                options: pairs(row, 7),
                comment: row.get(3),
                slots: usize::try_from(row.must::<i32>(6)).unwrap_or_default(),
                columns: vec![],
                known: None,
                replicas: vec![],
            };
            let table = Table {
                oid: row.must(1),
                server: row.must(4),
                server_name: row.must(5),
                local,
                replicas: vec![],
            };
            (table, row.must::<bool>(9))
        })
    });
    let others = found.iter().any(|(_, mine)| !mine);
    let mut tables: Vec<Table> =
        found.into_iter().filter(|(_, mine)| *mine).map(|(table, _)| table).collect();
    for table in &mut tables {
        table.local.columns = columns(table.oid);
        table.local.known = memory::known(table.oid);
        (table.replicas, table.local.replicas) = replicas(table.oid, user).into_iter().unzip();
    }
    // A table's name is also that of its row type.
    let sql = "SELECT relname::text FROM pg_class WHERE relnamespace = $1
               UNION SELECT typname::text FROM pg_type WHERE typnamespace = $1";
    let taken = as_extension(|| query(sql, &[namespace.into()], |row| row.must(1)));
    Gathered { tables, others, taken: taken.into_iter().collect() }
}

/// Names in one column, values in the next.
fn pairs(row: &Row, at: usize) -> Vec<(String, String)> {
    let list = |n| row.must::<Vec<Option<String>>>(n).into_iter().flatten();
    list(at).zip(list(at + 1)).collect()
}

fn columns(relation: pg_sys::Oid) -> Vec<LocalColumn> {
    let sql = "
        SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), col_description(a.attrelid, a.attnum),
               ARRAY(SELECT o.option_name FROM pg_options_to_table(a.attfdwoptions) AS o ORDER BY 1),
               ARRAY(SELECT o.option_value FROM pg_options_to_table(a.attfdwoptions) AS o ORDER BY o.option_name)
        FROM pg_attribute AS a
        WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum";
    as_extension(|| {
        query(sql, &[relation.into()], |row| LocalColumn {
            name: row.must(1),
            sql_type: row.must(2),
            comment: row.get(3),
            options: pairs(row, 4),
        })
    })
}

fn replicas(source: pg_sys::Oid, user: pg_sys::Oid) -> Vec<(pg_sys::Oid, Replica)> {
    // The table is altered, and the job may end: both have to be the user's.
    let (table, job) = (acts_for("$2", "c.relowner"), acts_for("$2", "j.owner::oid"));
    let sql = format!(
        "
        SELECT c.oid, n.nspname::text, c.relname::text, c.relnatts::int4, obj_description(c.oid, 'pg_class'),
               c.oid = j.history_table::oid, j.target::oid,
               CASE WHEN NOT {table} THEN pg_get_userbyid(c.relowner)::text
                    WHEN {job} IS NOT TRUE THEN pg_get_userbyid(j.owner::oid)::text END
        FROM assets_fdw.replica_job AS j
        JOIN pg_class AS c ON c.oid IN (j.target::oid, j.history_table::oid)
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE j.source::oid = $1 ORDER BY 2, 3"
    );
    let found = as_extension(|| {
        query(&sql, &[source.into(), user.into()], |row| {
            let replica = Replica {
                relation: Relation::new(row.must::<String>(2), row.must::<String>(3)),
                history: row.get(6).unwrap_or(false),
                belongs_to: row.get(8),
                slots: usize::try_from(row.must::<i32>(4)).unwrap_or_default(),
                comment: row.get(5),
                columns: vec![],
            };
            (row.must::<pg_sys::Oid>(1), row.must::<pg_sys::Oid>(7), replica)
        })
    });
    let home = jobs::home();
    found
        .into_iter()
        .map(|(oid, target, replica)| {
            (oid, Replica { columns: replica_columns(oid, source, target, &home), ..replica })
        })
        .collect()
}

/// The columns of `relation`, which is `target` or its history.
fn replica_columns(
    relation: pg_sys::Oid,
    source: pg_sys::Oid,
    target: pg_sys::Oid,
    home: &str,
) -> Vec<ReplicaColumn> {
    let plain = "
        FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid JOIN pg_am AS m ON m.oid = x.relam
        JOIN pg_namespace AS n ON n.oid = x.relnamespace
        WHERE i.indrelid = a.attrelid AND i.indnatts = 1 AND i.indkey[0] = a.attnum AND i.indpred IS NULL
          AND NOT i.indisunique AND m.amname IN ('btree', 'gin')
        ORDER BY x.oid";
    let sql = format!(
        "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), col_description(a.attrelid, a.attnum),
                ARRAY(SELECT n.nspname::text {plain}), ARRAY(SELECT x.relname::text {plain}),
                (SELECT s.attname::text FROM assets_fdw.replica_column AS p
                 JOIN pg_attribute AS t ON t.attrelid = p.target::oid AND t.attnum = p.attnum
                 JOIN pg_attribute AS s ON s.attrelid = $2 AND s.attnum = p.source_attnum AND NOT s.attisdropped
                 WHERE p.target::oid = $3 AND t.attname = a.attname AND p.home = $4)
         FROM pg_attribute AS a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
    );
    as_extension(|| {
        query(&sql, &[relation.into(), source.into(), target.into(), home.into()], |row| ReplicaColumn {
            name: row.must(1),
            shows: row.get(6),
            sql_type: row.must(2),
            comment: row.get(3),
            indexes: pairs(row, 4).into_iter().map(|(schema, name)| Relation::new(schema, name)).collect(),
        })
    })
}
