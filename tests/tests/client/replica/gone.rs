//! What a replica needs goes away: tables, servers, roles, the extension, the database.

use std::time::Instant;

use assets_fdw_tests::assets_sim::{Endpoint, Fault, FaultKind};

use super::*;

fn database_is_free(server: &Server, name: &str) -> bool {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1";
    server.connect("postgres", "postgres").query_one(sql, &[&name]).unwrap().get::<_, i64>(0) == 0
}

#[test]
fn drop_database_succeeds_at_once_while_a_scheduler_and_a_run_are_at_work() {
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    loaded(&mut client, "1 second");
    sim.fault(Fault::new(FaultKind::StallBefore { ms: 60_000 }).on(Endpoint::ObjectAql));
    wait_for(&mut client, "a run is under way", "SELECT count(*) > 0 FROM assets_fdw.refresh_progress");
    drop(client);
    let began = Instant::now();
    let name = database.name();
    server.connect("postgres", "postgres").batch_execute(&format!("DROP DATABASE {name}")).unwrap();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(server.crashes(), Vec::<String>::new());
}

#[test]
fn a_database_can_be_copied_and_renamed_and_its_scheduler_comes_back() {
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    loaded(&mut client, "1 second");
    drop(client);
    let name = database.name();
    let mut outside = server.connect("postgres", "postgres");
    outside.batch_execute(&format!("CREATE DATABASE the_copy TEMPLATE {name}")).unwrap();
    outside
        .batch_execute(&format!(
            "ALTER DATABASE {name} RENAME TO renamed; ALTER DATABASE renamed RENAME TO {name}"
        ))
        .unwrap();
    let mut client = database.connect();
    let runs = number(&mut client, "SELECT count(*) FROM assets_fdw.refresh_history WHERE outcome = 'ok'");
    let more = format!("SELECT count(*) > {runs} FROM assets_fdw.refresh_history WHERE outcome = 'ok'");
    wait_for(&mut client, "refreshes go on", &more);
    // The copy's job is not run twice: it waits until somebody says so.
    let mut copy = server.connect("the_copy", "postgres");
    assert_eq!(text(&mut copy, "SELECT state FROM assets_fdw.materializations"), "paused");
    let runs = number(&mut copy, "SELECT count(*) FROM assets_fdw.refresh_history");
    copy.batch_execute("SELECT assets_fdw.alter_materialization('itsm_replica.server', enabled => true)")
        .unwrap();
    wait_for(
        &mut copy,
        "the copy follows too",
        &format!("SELECT count(*) > {runs} FROM assets_fdw.refresh_history WHERE outcome = 'ok'"),
    );
    assert_eq!(server.crashes(), Vec::<String>::new());
}

#[test]
fn whoever_may_not_drop_a_database_does_not_disturb_its_workers() {
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    loaded(&mut client, "1 hour");
    client.batch_execute("CREATE ROLE stranger LOGIN").unwrap();
    let sql = "SELECT pid::bigint FROM pg_stat_activity WHERE backend_type = 'assets_fdw scheduler'";
    let before = number(&mut client, sql);
    let mut stranger = server.connect("postgres", "stranger");
    let (state, _) = error_of(&mut stranger, &format!("DROP DATABASE {}", database.name()));
    assert_eq!(state, "42501");
    assert_eq!(number(&mut client, sql), before);
}

#[test]
fn drop_extension_does_not_wait_for_a_run_and_the_workers_leave() {
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    loaded(&mut client, "1 second");
    sim.fault(Fault::new(FaultKind::StallBefore { ms: 2_000 }).on(Endpoint::ObjectAql));
    wait_for(
        &mut client,
        "a run is under way",
        "SELECT count(*) > 0 FROM assets_fdw.refresh_progress WHERE phase = 'fetching'",
    );
    let began = Instant::now();
    client.batch_execute("DROP EXTENSION assets_fdw CASCADE").unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(number(&mut client, "SELECT count(*) FROM itsm_replica.server") > 0, "the table stays");
    drop(client);
    wait_until("the workers have left", PATIENCE, || database_is_free(&server, database.name()));
    // And all of it can be had again.
    sim.clear_faults();
    let mut client = database.connect();
    client
        .batch_execute(
            "CREATE EXTENSION assets_fdw; DROP SCHEMA itsm CASCADE; DROP SCHEMA itsm_replica CASCADE",
        )
        .unwrap();
    let mut client = import(&database, &sim);
    loaded(&mut client, "1 second");
    assert_eq!(server.crashes(), Vec::<String>::new());
}

#[test]
fn a_dropped_replica_takes_its_job_along_also_in_the_middle_of_a_run() {
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    loaded(&mut client, "1 second");
    sim.fault(Fault::new(FaultKind::StallBefore { ms: 1_000 }).on(Endpoint::ObjectAql));
    wait_for(
        &mut client,
        "a run is under way",
        "SELECT count(*) > 0 FROM assets_fdw.refresh_progress WHERE phase = 'fetching'",
    );
    client.batch_execute("DROP TABLE itsm_replica.server").unwrap();
    assert_eq!(number(&mut client, "SELECT count(*) FROM assets_fdw.replica_job"), 0);
    assert_eq!(number(&mut client, "SELECT count(*) FROM assets_fdw.replica_state"), 0);
    let nothing_left = "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type IN ('assets_fdw refresh', 'assets_fdw scheduler')";
    wait_for(&mut client, "nothing is left at work", nothing_left);
    let of_removed =
        "SELECT count(*) FROM assets_fdw.refresh_history WHERE outcome = 'running' OR finished IS NULL";
    assert_eq!(number(&mut client, of_removed), 0, "{}", history(&mut client));
    assert_eq!(number(&mut client, "SELECT count(*) FROM assets_fdw.replica_progress"), 0);
    // The same where the table stays.
    client.batch_execute("SELECT assets_fdw.materialize('itsm.server', every => '1 second')").unwrap();
    wait_for(
        &mut client,
        "another run is under way",
        "SELECT count(*) > 0 FROM assets_fdw.refresh_progress WHERE phase = 'fetching'",
    );
    client
        .batch_execute("SELECT assets_fdw.dematerialize('itsm_replica.server', drop_table => false)")
        .unwrap();
    wait_for(&mut client, "nothing is left at work again", nothing_left);
    assert_eq!(number(&mut client, of_removed), 0, "{}", history(&mut client));
    assert_eq!(server.crashes(), Vec::<String>::new());
}

#[test]
fn a_dropped_server_stops_the_job_and_keeps_the_rows() {
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    loaded(&mut client, "1 second");
    client.batch_execute("DROP SERVER assets CASCADE").unwrap();
    wait_for(&mut client, "the job stops", "SELECT state = 'disabled' FROM assets_fdw.materializations");
    let why = "SELECT error FROM assets_fdw.refresh_history ORDER BY id DESC LIMIT 1";
    assert!(text(&mut client, why).contains("is gone"), "{}", history(&mut client));
    assert!(number(&mut client, "SELECT count(*) FROM itsm_replica.server") > 0);
}

#[test]
fn a_dropped_owner_stops_the_job_with_a_reason_and_another_role_can_take_it_over() {
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    let identity = &sim.identities()[0];
    client
        .batch_execute(&format!(
            "CREATE ROLE keeper LOGIN; GRANT USAGE ON SCHEMA itsm TO keeper; GRANT SELECT ON itsm.server TO keeper;
             GRANT CREATE ON DATABASE {} TO keeper;
             CREATE USER MAPPING FOR keeper SERVER assets OPTIONS (email '{}', api_token '{}')",
            database.name(),
            identity.name,
            identity.secret
        ))
        .unwrap();
    database
        .connect_as("keeper")
        .batch_execute("SELECT assets_fdw.materialize('itsm.server', every => '1 second')")
        .unwrap();
    wait_for(
        &mut client,
        "the first load",
        "SELECT last_success IS NOT NULL FROM assets_fdw.materializations",
    );
    let sql = format!(
        "REASSIGN OWNED BY keeper TO postgres; DROP USER MAPPING FOR keeper SERVER assets;
         REVOKE ALL ON itsm.server FROM keeper; REVOKE ALL ON SCHEMA itsm FROM keeper;
         REVOKE ALL ON DATABASE {} FROM keeper; DROP ROLE keeper",
        database.name()
    );
    client.batch_execute(&sql).unwrap();
    wait_for(&mut client, "the job stops", "SELECT state = 'disabled' FROM assets_fdw.materializations");
    let last = "SELECT outcome || ': ' || error FROM assets_fdw.refresh_history ORDER BY id DESC LIMIT 1";
    let last = text(&mut client, last);
    assert!(last.starts_with("skipped: the replica's owner") && last.ends_with("is gone"), "{last}");
    let runs = number(&mut client, "SELECT count(*) FROM assets_fdw.refresh_history WHERE outcome = 'ok'");
    client
        .batch_execute("SELECT assets_fdw.alter_materialization('itsm_replica.server', enabled => true)")
        .unwrap();
    let more = format!("SELECT count(*) > {runs} FROM assets_fdw.refresh_history WHERE outcome = 'ok'");
    wait_for(&mut client, "refreshes go on", &more);
}
