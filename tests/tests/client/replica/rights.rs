//! Who may do and see what.

use super::*;

/// A database in which `<name>_alice` may use the foreign tables and `<name>_bob` may not.
struct People<'a> {
    database: Database<'a>,
    alice: String,
    bob: String,
}

fn people<'a>(server: &'a Server, sim: &Sim) -> People<'a> {
    let database = server.create_database();
    let (alice, bob) = (format!("{}_alice", database.name()), format!("{}_bob", database.name()));
    let identity = &sim.identities()[0];
    let sql = format!(
        "CREATE ROLE {alice} LOGIN; CREATE ROLE {bob} LOGIN; GRANT CREATE ON DATABASE {} TO {alice}, {bob};
         GRANT USAGE ON SCHEMA itsm TO {alice}, {bob}; GRANT SELECT ON itsm.server TO {alice};
         CREATE USER MAPPING FOR {alice} SERVER assets OPTIONS (email '{}', api_token '{}')",
        database.name(),
        identity.name,
        identity.secret
    );
    import(&database, sim).batch_execute(&sql).unwrap();
    People { database, alice, bob }
}

#[test]
fn a_replica_belongs_to_whoever_made_it_and_others_neither_see_nor_command_it() {
    let sim = small();
    let people = people(Server::shared(), &sim);
    let mut alice = people.database.connect_as(&people.alice);
    let mut bob = people.database.connect_as(&people.bob);
    alice.batch_execute("SELECT assets_fdw.materialize('itsm.server')").unwrap();
    alice.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    alice.batch_execute("GRANT USAGE ON SCHEMA itsm_replica TO PUBLIC").unwrap();
    for view in ["materializations", "refresh_history"] {
        assert_eq!(number(&mut alice, &format!("SELECT count(*) FROM assets_fdw.{view}")), 1, "{view}");
        assert_eq!(number(&mut bob, &format!("SELECT count(*) FROM assets_fdw.{view}")), 0, "{view}");
    }
    for sql in [
        "SELECT assets_fdw.refresh('itsm_replica.server')",
        "SELECT assets_fdw.request_refresh('itsm_replica.server')",
        "SELECT assets_fdw.alter_materialization('itsm_replica.server', enabled => false)",
        "SELECT assets_fdw.dematerialize('itsm_replica.server')",
        "SELECT * FROM assets_fdw.replica_job",
        "SELECT assets_fdw.materialize('itsm.server')",
    ] {
        assert_eq!(error_of(&mut bob, sql).0, "42501", "{sql}");
    }
    for table in ["replica_job", "replica_state", "replica_run", "replica_request", "replica_progress"] {
        assert_eq!(error_of(&mut alice, &format!("DELETE FROM assets_fdw.{table}")).0, "42501", "{table}");
        assert_eq!(error_of(&mut alice, &format!("SELECT * FROM assets_fdw.{table}")).0, "42501", "{table}");
    }
    // A member of the owning role may.
    people.database.connect().batch_execute(&format!("GRANT {} TO {}", people.alice, people.bob)).unwrap();
    bob.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    drop((alice, bob));
    let sql = format!("DROP OWNED BY {0}, {1} CASCADE; DROP ROLE {0}, {1}", people.alice, people.bob);
    people.database.connect().batch_execute(&sql).unwrap();
}

#[test]
fn a_run_has_the_owners_rights_and_nothing_of_the_owners_settings_bends_it() {
    let sim = small();
    let people = people(Server::shared(), &sim);
    let mut admin = people.database.connect();
    let mut alice = people.database.connect_as(&people.alice);
    alice.batch_execute("SELECT assets_fdw.materialize('itsm.server')").unwrap();
    // An operator of one's own in front of the system's, and settings that would break the run.
    alice
        .batch_execute(&format!(
            "CREATE SCHEMA trap;
             CREATE FUNCTION trap.never(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT false';
             CREATE OPERATOR trap.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = trap.never);
             CREATE FUNCTION trap.never(oid, oid) RETURNS boolean LANGUAGE plpgsql AS
                 $$ BEGIN EXECUTE 'ALTER ROLE {0} SUPERUSER'; RETURN false; END $$;
             CREATE OPERATOR trap.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = trap.never);
             ALTER ROLE {0} SET search_path = trap, pg_catalog;
             ALTER ROLE {0} SET default_transaction_read_only = on;
             ALTER ROLE {0} SET default_transaction_isolation = 'serializable';
             ALTER ROLE {0} SET statement_timeout = '1ms';
             -- Of PostgreSQL 17 and later; a transaction of a run takes longer.
             DO $$ BEGIN IF current_setting('transaction_timeout', true) IS NOT NULL THEN
                 EXECUTE 'ALTER ROLE {0} SET transaction_timeout = ''200ms'''; END IF; END $$;
             CREATE FUNCTION trap.waits() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN PERFORM pg_catalog.pg_sleep(0.4); RETURN NULL; END $$;
             CREATE TRIGGER waits AFTER INSERT ON itsm_replica.server EXECUTE FUNCTION trap.waits()",
            people.alice
        ))
        .unwrap();
    alice.batch_execute("SET search_path = trap, pg_catalog; SET statement_timeout = 0").unwrap();
    for _ in 0..2 {
        alice.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server', 'full')").unwrap();
    }
    let sql = "SELECT string_agg((unchanged > 0)::text || (deleted > 0)::text, ',' ORDER BY id) FROM assets_fdw.refresh_history";
    assert_eq!(text(&mut admin, sql), "falsefalse,truefalse");
    let sql = format!("SELECT rolsuper::int::bigint FROM pg_roles WHERE rolname = '{}'", people.alice);
    assert_eq!(number(&mut admin, &sql), 0);

    admin.batch_execute(&format!("REVOKE SELECT ON itsm.server FROM {}", people.alice)).unwrap();
    let (state, message) = error_of(&mut alice, "SELECT assets_fdw.refresh('itsm_replica.server')");
    assert!(state == "42501" && message.contains("needs SELECT"), "{state} {message}");
    drop(alice);
    admin
        .batch_execute(&format!(
            "DROP OWNED BY {0}, {1} CASCADE; DROP ROLE {0}, {1}",
            people.alice, people.bob
        ))
        .unwrap();
}

#[test]
fn an_owner_that_may_not_log_in_is_named_with_what_to_do() {
    let (sim, server) = (small(), preloaded(&[]));
    let people = people(&server, &sim);
    let mut admin = people.database.connect();
    people
        .database
        .connect_as(&people.alice)
        .batch_execute("SELECT assets_fdw.materialize('itsm.server', every => '1 second')")
        .unwrap();
    wait_for(
        &mut admin,
        "the first load",
        "SELECT last_success IS NOT NULL FROM assets_fdw.materializations",
    );
    admin.batch_execute(&format!("ALTER ROLE {} NOLOGIN", people.alice)).unwrap();
    wait_for(
        &mut admin,
        "the history says why",
        "SELECT bool_or(outcome = 'skipped' AND error LIKE '%may not log in' AND hint LIKE '%LOGIN%')
         FROM assets_fdw.refresh_history",
    );
    admin.batch_execute(&format!("ALTER ROLE {} LOGIN", people.alice)).unwrap();
    wait_for(
        &mut admin,
        "it goes on by itself",
        "SELECT max(id) FILTER (WHERE outcome = 'ok') > max(id) FILTER (WHERE outcome = 'skipped')
         FROM assets_fdw.refresh_history",
    );
}

#[test]
fn a_dumped_job_is_restored_paused() {
    let sim = small();
    let database = Server::shared().create_database();
    let mut client = import(&database, &sim);
    client.batch_execute("SELECT assets_fdw.materialize('itsm.server', every => '7 minutes')").unwrap();
    let sql = "SELECT (SELECT extconfig FROM pg_extension WHERE extname = 'assets_fdw')
                      @> ARRAY['assets_fdw.replica_job'::regclass::oid]";
    assert!(client.query_one(sql, &[]).unwrap().get::<_, bool>(0));
    // What a restore does, another home included.
    client
        .batch_execute("UPDATE assets_fdw.replica_job SET home = '1/2'; TRUNCATE assets_fdw.replica_state")
        .unwrap();
    assert_eq!(text(&mut client, "SELECT state FROM assets_fdw.materializations"), "paused");
    client
        .batch_execute("SELECT assets_fdw.alter_materialization('itsm_replica.server', enabled => true)")
        .unwrap();
    assert_eq!(text(&mut client, "SELECT state FROM assets_fdw.materializations"), "new");
}
