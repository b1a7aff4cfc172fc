//! Who may do what: nothing of the extension's is open that need not be, and nothing that it runs is bent by what stands in
//! front of a search path.

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::Profile;

use crate::live::{Live, one, refused};

#[test]
fn tables_are_closed_and_definers_rights_are_for_triggers_only() {
    let database = Server::shared().create_database();
    let mut client = database.connect();
    let mut offenders = |what: &str, sql: &str| {
        let rows = client.query(sql, &[]).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert!(names.is_empty(), "{what}: {names:?}");
    };
    let ours = "pronamespace = 'assets_fdw'::regnamespace";
    offenders(
        "with the definer's rights, and no event trigger with a pinned search_path",
        &format!(
            "SELECT p.oid::regprocedure::text FROM pg_proc AS p WHERE {ours} AND prosecdef
             AND NOT (prorettype = 'event_trigger'::regtype AND 'search_path=pg_catalog, pg_temp' = ANY (proconfig))"
        ),
    );
    offenders(
        "with an SQL text, and no pinned search_path",
        &format!(
            "SELECT p.oid::regprocedure::text FROM pg_proc AS p JOIN pg_language AS l ON l.oid = prolang WHERE {ours}
             AND lanname <> 'c' AND 'search_path=pg_catalog, pg_temp' <> ALL (COALESCE(proconfig, '{{}}'))"
        ),
    );
    offenders(
        "tables that somebody else than their owner may touch, without row security",
        "SELECT c.oid::regclass::text FROM pg_class AS c, LATERAL aclexplode(c.relacl) AS a
         WHERE relnamespace = 'assets_fdw'::regnamespace AND relkind IN ('r', 'p', 'S') AND a.grantee <> c.relowner
           AND NOT (c.relrowsecurity AND a.privilege_type = 'SELECT')",
    );
    offenders(
        "views that show rows, and may be bent by functions in a WHERE",
        "SELECT c.oid::regclass::text FROM pg_class AS c
         WHERE relnamespace = 'assets_fdw'::regnamespace AND relkind = 'v' AND relacl IS NOT NULL
           AND 'security_barrier=true' <> ALL (COALESCE(reloptions, '{}'))",
    );
    offenders(
        "objects that are not the extension's",
        "SELECT p.oid::regprocedure::text FROM pg_proc AS p WHERE pronamespace = 'assets_fdw'::regnamespace
         AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e')",
    );
}

#[test]
fn a_role_without_rights_gets_nowhere() {
    let live = Live::imported(Profile::Documented, 300);
    let role = format!("{}_nobody", live.database.name());
    let mut admin = live.connect();
    admin.batch_execute(&format!("CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA itsm TO {role}")).unwrap();
    let mut nobody = live.database.connect_as(&role);
    live.sim.clear_log();
    for sql in [
        "SELECT * FROM assets_fdw.check('assets')",
        "SELECT * FROM assets_fdw.aql('assets', '')",
        "SELECT assets_fdw.count('assets', '')",
        "SELECT * FROM assets_fdw.verify_pushdown('assets')",
        "SELECT assets_fdw.materialize('itsm.server', 'public.mine')",
        "CREATE USER MAPPING FOR CURRENT_USER SERVER assets OPTIONS (access_token 'x')",
        "SELECT assets_fdw.trust_server('assets')",
        "SELECT assets_fdw.forget_facts()",
        "SET assets_fdw.allowed_hosts = '*'",
        "CREATE TABLE assets_fdw.mine ()",
        "CREATE FUNCTION assets_fdw.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "DROP EVENT TRIGGER assets_fdw_mapping_made",
    ] {
        assert_eq!(refused(&mut nobody, sql).code, "42501", "{sql}");
    }
    assert_eq!(refused(&mut nobody, "SELECT * FROM itsm.server").code, "42501");
    assert_eq!(one::<i64>(&mut nobody, "SELECT count(*) FROM assets_fdw.service_facts"), 0);
    assert_eq!(live.sim.log().len(), 0);
    // With everything but CREATE where the replica would stand.
    let identity = &live.sim.identities()[0];
    admin
        .batch_execute(&format!(
            "GRANT USAGE ON FOREIGN SERVER assets TO {role}; GRANT SELECT ON itsm.server TO {role};
             CREATE USER MAPPING FOR {role} SERVER assets OPTIONS (email '{}', api_token '{}');
             CREATE SCHEMA closed; GRANT USAGE ON SCHEMA closed TO {role}",
            identity.name, identity.secret
        ))
        .unwrap();
    for target in ["closed.mine", "assets_fdw.mine", "pg_catalog.mine", "another.mine"] {
        let sql = format!("SELECT assets_fdw.materialize('itsm.server', '{target}')");
        assert_eq!(refused(&mut nobody, &sql).code, "42501", "{sql}");
    }
    admin.batch_execute(&format!("GRANT CREATE ON SCHEMA closed TO {role}")).unwrap();
    nobody.batch_execute("SELECT assets_fdw.materialize('itsm.server', 'closed.mine')").unwrap();
}

#[test]
fn nothing_in_front_of_a_search_path_is_run() {
    let live = Live::imported(Profile::Documented, 300);
    let mut client = live.connect();
    client
        .batch_execute(
            "CREATE SCHEMA trap; CREATE SCHEMA mine;
             CREATE FUNCTION trap.sprung(name, text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE ''sprung''; END';
             CREATE OPERATOR trap.= (LEFTARG = name, RIGHTARG = text, FUNCTION = trap.sprung);
             CREATE FUNCTION trap.sprung(oid, oid) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE ''sprung''; END';
             CREATE OPERATOR trap.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = trap.sprung);
             CREATE FUNCTION trap.sprung(\"char\", \"char\") RETURNS boolean LANGUAGE plpgsql
                 AS 'BEGIN RAISE ''sprung''; END';
             CREATE OPERATOR trap.= (LEFTARG = \"char\", RIGHTARG = \"char\", FUNCTION = trap.sprung);
             CREATE FUNCTION trap.format_type(oid, integer) RETURNS text LANGUAGE plpgsql
                 AS 'BEGIN RAISE ''sprung''; END';
             CREATE TYPE trap.text AS ENUM ('sprung');
             SET search_path = mine, trap, pg_catalog",
        )
        .unwrap();
    // The trap is one.
    assert!(
        refused(&mut client, "SELECT FROM pg_class WHERE relname = 'x'::pg_catalog.text")
            .message
            .contains("sprung")
    );
    let statements = [
        "SELECT assets_fdw.materialize('itsm.server', 'replica')",
        "SELECT assets_fdw.refresh('mine.replica')",
        "SELECT assets_fdw.alter_materialization('mine.replica', every => '1 hour')",
        "SELECT assets_fdw.request_refresh('mine.replica')",
        "SELECT * FROM assets_fdw.materializations",
        "SELECT * FROM assets_fdw.refresh_history",
        "SELECT assets_fdw.materialize_schema('fac', 'fac_copy')",
        "SELECT * FROM assets_fdw.sync_schema('fac')",
        "SELECT * FROM assets_fdw.verify_pushdown('assets')",
        "SELECT assets_fdw.trust_server('assets')",
        "ALTER USER MAPPING FOR postgres SERVER assets OPTIONS (SET api_token 'other')",
        "CREATE SCHEMA again",
        "ALTER SERVER assets VERSION '2'",
        "SELECT assets_fdw.dematerialize('mine.replica')",
        "DROP SERVER assets CASCADE",
    ];
    for sql in statements {
        client.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
}
