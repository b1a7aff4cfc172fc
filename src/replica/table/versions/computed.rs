//! Columns that a history computes. Where one that they are computed from was put aside, they would go on with that, which
//! later versions have nothing for: what they hold is kept, as values, and what the replica computes now takes their
//! place.

use std::collections::HashSet;

use pgrx::pg_sys;
use tables::ddl::ident;

use crate::sql::spi::{execute, query};

/// A computed column of a history.
struct Computed {
    name: String,
    of_type: String,
    required: bool,
    stored: bool,
    /// What the replica computes under this name, and its type; none where its history lacks what that is made of.
    now: Option<(String, String, String)>,
}

/// `left`: the columns that were put aside, by number.
pub fn follow(history: pg_sys::Oid, name: &str, target: pg_sys::Oid, left: &[i16]) {
    let left: Vec<i32> = left.iter().map(|n| i32::from(*n)).collect();
    let sql = "
        SELECT h.attname::pg_catalog.text, pg_catalog.format_type(h.atttypid, h.atttypmod), h.attnotnull,
               h.attgenerated = 's', pg_catalog.format_type(t.atttypid, t.atttypmod),
               CASE WHEN t.attgenerated = 's' THEN 'STORED' ELSE 'VIRTUAL' END,
               (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef AS d
                WHERE d.adrelid = t.attrelid AND d.adnum = t.attnum
                  AND NOT EXISTS (
                      SELECT FROM pg_catalog.pg_depend AS p
                      JOIN pg_catalog.pg_attribute AS used ON used.attrelid = p.refobjid AND used.attnum = p.refobjsubid
                      WHERE p.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND p.objid = d.oid
                        AND p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                        AND p.refobjid = $2 AND p.refobjsubid <> t.attnum
                        AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute AS there
                                        WHERE there.attrelid = $1 AND there.attname = used.attname
                                          AND NOT there.attisdropped)))
        FROM pg_catalog.pg_attribute AS h
        LEFT JOIN pg_catalog.pg_attribute AS t
          ON t.attrelid = $2 AND t.attname = h.attname AND t.attgenerated <> '' AND NOT t.attisdropped
        WHERE h.attrelid = $1 AND h.attgenerated <> '' AND NOT h.attisdropped
          AND EXISTS (SELECT FROM pg_catalog.pg_attrdef AS d
                      JOIN pg_catalog.pg_depend AS p ON p.objid = d.oid
                      WHERE d.adrelid = $1 AND d.adnum = h.attnum
                        AND p.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
                        AND p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                        AND p.refobjid = $1 AND p.refobjsubid = ANY ($3))
        ORDER BY h.attnum";
    let found = query(sql, &[history.into(), target.into(), left.into()], |row| Computed {
        name: row.must(1),
        of_type: row.must(2),
        required: row.must(3),
        stored: row.must(4),
        now: row.get(7).map(|made| (row.must(5), made, row.must(6))),
    });
    let sql = "SELECT attname::pg_catalog.text FROM pg_catalog.pg_attribute WHERE attrelid = $1";
    let mut taken: HashSet<String> = query(sql, &[history.into()], |row| row.must(1)).into_iter().collect();
    for column in found {
        let alter = |what: String| execute(&format!("ALTER TABLE {name} {what}"), &[]);
        let quoted = ident(&column.name);
        // What is computed as it is read goes on with what was put aside: it is right for the versions that have that.
        if column.stored {
            alter(format!("ALTER COLUMN {quoted} DROP EXPRESSION"));
        }
        if column.required {
            alter(format!("ALTER COLUMN {quoted} DROP NOT NULL"));
        }
        let Some((of_type, made, how)) = column.now else { continue };
        let aside = tables::naming::aside(&column.name, &column.of_type, |name| taken.contains(name));
        alter(format!("RENAME COLUMN {quoted} TO {}", ident(&aside)));
        alter(format!("ADD COLUMN {quoted} {of_type} GENERATED ALWAYS AS ({made}) {how}"));
        taken.insert(aside);
    }
}
