//! `ALTER EXTENSION assets_fdw UPDATE`: a database that was updated has what a new one has.
//!
//! `tests/released` holds the scripts of the versions that were released, which the private copies of PostgreSQL get
//! beside the present one.

use std::fs;
use std::path::Path;

use assets_fdw_tests::{Database, Server};

/// What belongs to the extension, a line an object with all that a script can set of it: definitions, rights, comments,
/// columns with their defaults, constraints, indexes, triggers, policies.
const MEMBERS: &str = r#"
    WITH member AS (
        SELECT d.classid, d.objid FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid
        WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'assets_fdw'
    )
    SELECT concat_ws(' | ', 'function', p.oid::regprocedure, pg_get_functiondef(p.oid), p.proacl,
                     obj_description(p.oid, 'pg_proc'))
    FROM pg_proc AS p JOIN member AS m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
  UNION ALL
    SELECT concat_ws(' | ', 'relation', c.oid::regclass, c.relkind, c.relrowsecurity, c.relforcerowsecurity, c.relreplident, c.relacl,
                     c.reloptions, obj_description(c.oid, 'pg_class'), CASE c.relkind WHEN 'v' THEN pg_get_viewdef(c.oid) END,
                     c.oid = ANY (e.extconfig), e.extcondition[array_position(e.extconfig, c.oid)])
    FROM pg_class AS c JOIN member AS m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid, pg_extension AS e
    WHERE e.extname = 'assets_fdw'
  UNION ALL
    SELECT concat_ws(' | ', 'column', c.oid::regclass, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
                     pg_get_expr(d.adbin, d.adrelid), a.attacl, col_description(c.oid, a.attnum), a.attidentity, a.attgenerated)
    FROM pg_class AS c JOIN member AS m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
         JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
  UNION ALL
    SELECT concat_ws(' | ', 'constraint', o.conrelid::regclass, o.conname, pg_get_constraintdef(o.oid))
    FROM pg_constraint AS o JOIN member AS m ON m.classid = 'pg_class'::regclass AND m.objid = o.conrelid
  UNION ALL
    SELECT concat_ws(' | ', 'index', pg_get_indexdef(i.indexrelid))
    FROM pg_index AS i JOIN member AS m ON m.classid = 'pg_class'::regclass AND m.objid = i.indrelid
  UNION ALL
    SELECT concat_ws(' | ', 'trigger', pg_get_triggerdef(t.oid), t.tgenabled)
    FROM pg_trigger AS t JOIN member AS m ON m.classid = 'pg_class'::regclass AND m.objid = t.tgrelid
    WHERE NOT t.tgisinternal
  UNION ALL
    SELECT concat_ws(' | ', 'policy', p.polrelid::regclass, p.polname, p.polcmd, p.polroles::regrole[],
                     pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
    FROM pg_policy AS p JOIN member AS m ON m.classid = 'pg_class'::regclass AND m.objid = p.polrelid
  UNION ALL
    SELECT concat_ws(' | ', 'event trigger', t.evtname, t.evtevent, t.evttags, t.evtenabled, t.evtfoid::regprocedure)
    FROM pg_event_trigger AS t JOIN member AS m ON m.classid = 'pg_event_trigger'::regclass AND m.objid = t.oid
  UNION ALL
    SELECT concat_ws(' | ', 'other', pg_describe_object(m.classid, m.objid, 0))
    FROM member AS m WHERE m.classid NOT IN ('pg_proc'::regclass, 'pg_class'::regclass, 'pg_event_trigger'::regclass)
    ORDER BY 1"#;

fn members(database: &Database<'_>) -> Vec<String> {
    database.connect().query(MEMBERS, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

/// The versions in `tests/released`.
fn released() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("released");
    let names = fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let version = |name: String| Some(name.strip_prefix("assets_fdw--")?.strip_suffix(".sql")?.to_owned());
    names.filter_map(version).collect()
}

#[test]
fn an_updated_database_has_the_same_objects_as_a_new_one() {
    let server = Server::shared();
    let new = members(&server.create_database());
    assert!(new.len() > 100, "{} members", new.len());
    let versions = released();
    assert!(!versions.is_empty());
    for version in versions {
        let database = server.create_empty_database();
        // Functions of a released version that are no more: the library of that version had them.
        let sql = format!(
            "SET check_function_bodies = off; CREATE EXTENSION assets_fdw VERSION '{version}';
             ALTER EXTENSION assets_fdw UPDATE"
        );
        database.connect().batch_execute(&sql).unwrap();
        let updated = members(&database);
        let missing: Vec<_> = new.iter().filter(|line| !updated.contains(line)).collect();
        let left: Vec<_> = updated.iter().filter(|line| !new.contains(line)).collect();
        assert!(
            missing.is_empty() && left.is_empty(),
            "{version}: missing {missing:#?}, left over {left:#?}"
        );
    }
}
