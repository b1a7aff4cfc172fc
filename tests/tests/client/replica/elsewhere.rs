//! Replicas on a standby, after its promotion, and after pg_dump and restore.

use std::process::Stdio;

use assets_fdw_tests::{Server, Stop};

use super::*;

#[test]
fn a_standby_shows_the_replica_and_refreshes_nothing_and_a_promoted_one_goes_on() {
    let (sim, primary) = (small(), preloaded(&[("wal_level", "replica"), ("max_wal_senders", "4")]));
    let database = primary.create_database();
    let mut client = import(&database, &sim);
    loaded(&mut client, "1 second");
    let standby = primary.start_standby();
    let mut there = standby.connect(database.name(), "postgres");
    assert!(number(&mut there, "SELECT count(*) FROM itsm_replica.server") > 0);
    let workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'assets_fdw%'";
    assert_eq!(number(&mut there, workers), 0);
    let (state, message) = error_of(&mut there, "SELECT assets_fdw.refresh('itsm_replica.server')");
    assert!(state == "25006" && message.contains("standby"), "{state} {message}");
    // It follows the primary.
    let key = text(&mut client, "SELECT key FROM itsm_replica.server ORDER BY id LIMIT 1");
    let of = |system: &str| {
        format!("SELECT operating_system = '{system}' FROM itsm_replica.server WHERE key = '{key}'")
    };
    sim.update(&key, "Operating System", &["Plan 9"]).unwrap();
    wait_for(&mut there, "the change comes by replication", &of("Plan 9"));

    let name = database.name().to_owned();
    drop(client);
    primary.stop(Stop::Immediate);
    standby.connect("postgres", "postgres").batch_execute("SELECT pg_promote()").unwrap();
    sim.update(&key, "Operating System", &["Inferno"]).unwrap();
    let mut there = standby.connect(&name, "postgres");
    wait_for(&mut there, "the promoted one refreshes by itself", &of("Inferno"));
    assert_eq!(differences(&mut there), 0);
    assert_eq!(standby.crashes(), Vec::<String>::new());
}

#[test]
fn a_dump_brings_jobs_back_paused_and_enabling_one_goes_on_with_its_rows() {
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    client
        .batch_execute("SELECT assets_fdw.materialize('itsm.server', every => '1 second', history => true)")
        .unwrap();
    wait_for(
        &mut client,
        "the first load",
        "SELECT last_success IS NOT NULL FROM assets_fdw.materializations",
    );
    let dump = server.dump(database.name());
    let copy = server.create_empty_database();
    let mut psql = server.psql_command();
    let mut restore = psql
        .args(["-q", "-v", "ON_ERROR_STOP=1", "-d", copy.name()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("psql can be run");
    std::io::Write::write_all(&mut restore.stdin.take().expect("a pipe"), &dump).expect("psql reads");
    assert!(restore.wait().expect("psql ends").success());

    let mut there = copy.connect();
    let state = "SELECT state || ' ' || history || ' ' || history_table FROM assets_fdw.materializations";
    assert_eq!(text(&mut there, state), "paused true itsm_replica.server_history");
    let rows = number(&mut there, "SELECT count(*) FROM itsm_replica.server");
    assert!(rows > 0);
    assert_eq!(number(&mut there, "SELECT count(*) FROM assets_fdw.refresh_history"), 0);
    there
        .batch_execute("SELECT assets_fdw.alter_materialization('itsm_replica.server', enabled => true)")
        .unwrap();
    let first = "SELECT count(*) > 0 FROM assets_fdw.refresh_history WHERE outcome = 'ok'";
    wait_for(&mut there, "it goes on", first);
    let wrote = "SELECT inserted + updated + deleted FROM assets_fdw.refresh_history WHERE outcome = 'ok' ORDER BY id LIMIT 1";
    assert_eq!(number(&mut there, wrote), 0, "the rows were there");
    assert_eq!(number(&mut there, "SELECT count(*) FROM itsm_replica.server_history"), rows);
}

#[test]
fn a_site_that_was_restored_is_another_workspace_and_deletes_nothing_until_somebody_says_so() {
    restored(Server::shared(), false);
    // Where sessions tell each other the way to the service, and nothing is scheduled.
    let telling = [("shared_preload_libraries", "assets_fdw"), ("assets_fdw.databases", "nowhere")];
    let telling = Server::start(&telling);
    restored(&telling, false);
    restored(&telling, true);
}

/// `found`: another session has found the new workspace before.
fn restored(server: &Server, found: bool) {
    let (sim, database) = (small(), server.create_database());
    let mut client = super::incremental::group(&database, &sim, &["server", "employee"]);
    let rows = number(&mut client, "SELECT count(*) FROM itsm_replica.server");
    sim.switches(|switches| switches.restored = true);
    let servers = sim.dump(sim.type_id("Server").unwrap());
    servers[..2].iter().for_each(|server| drop(sim.delete(&server.key).unwrap()));
    if found {
        database.connect().batch_execute("SELECT name FROM itsm.server").unwrap();
    }
    for mode in ["incremental", "auto", "full", "incremental"] {
        let sql = format!("SELECT assets_fdw.refresh('itsm_replica.server', '{mode}')");
        let (state, message) = error_of(&mut client, &sql);
        assert!(
            state == "55000"
                && message.contains("leads to workspace")
                && message.contains("max_delete_share"),
            "{state} {message}"
        );
        assert_eq!(number(&mut client, "SELECT count(*) FROM itsm_replica.server"), rows);
    }
    client.batch_execute("SET assets_fdw.max_delete_share = 1").unwrap();
    for table in ["server", "employee"] {
        client.batch_execute(&format!("SELECT assets_fdw.refresh('itsm_replica.{table}')")).unwrap();
    }
    client.batch_execute("RESET assets_fdw.max_delete_share").unwrap();
    assert_eq!(number(&mut client, "SELECT count(*) FROM itsm_replica.server"), rows - 2);
    sim.create("Server", "srv-new", &[]).unwrap();
    assert_eq!(super::incremental::incremental(&mut client, "itsm_replica.server").1, 1);
    // Not of a session that knows the way to the former workspace.
    super::incremental::same(&mut database.connect(), "server");
}

#[test]
fn a_subscriber_of_a_publication_follows_every_kind_of_refresh() {
    let (sim, here) = (small(), Server::start(&[("wal_level", "logical"), ("max_wal_senders", "4")]));
    let there = Server::start(&[]);
    let (database, other) = (here.create_database(), there.create_empty_database());
    let mut client = super::incremental::group(&database, &sim, &["server", "employee"]);
    client
        .batch_execute("CREATE PUBLICATION cmdb FOR TABLE itsm_replica.server, itsm_replica.employee")
        .unwrap();
    let dump = here.command("pg_dump").args(["-s", "-n", "itsm_replica", "-d", database.name()]).output();
    let dump = dump.expect("pg_dump runs").stdout;
    let mut psql = there
        .psql_command()
        .args(["-q", "-v", "ON_ERROR_STOP=1", "-d", other.name()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("psql runs");
    std::io::Write::write_all(&mut psql.stdin.take().expect("a pipe"), &dump).expect("the dump is read");
    assert!(psql.wait().expect("psql ends").success());
    let mut subscriber = other.connect();
    subscriber
        .batch_execute(&format!(
            "CREATE SUBSCRIPTION cmdb CONNECTION 'host={} port=5432 user=postgres dbname={}' PUBLICATION cmdb",
            here.socket_folder().display(),
            database.name()
        ))
        .unwrap();
    let shown = "SELECT concat_ws(' ', (SELECT md5(string_agg(s::text, '|' ORDER BY id)) FROM itsm_replica.server AS s),
                                       (SELECT md5(string_agg(e::text, '|' ORDER BY id)) FROM itsm_replica.employee AS e))";
    let mut arrives = |client: &mut Client, what: &str| {
        let wanted = text(client, shown);
        wait_until(what, PATIENCE, || text(&mut subscriber, shown) == wanted);
    };
    arrives(&mut client, "the rows there were");
    for mode in ["incremental", "full", "incremental"] {
        let rows = client.query(
            "SELECT key, owner_key FROM itsm_replica.server WHERE owner_key IS NOT NULL ORDER BY id LIMIT 3",
            &[],
        );
        let rows: Vec<(String, String)> = rows.unwrap().iter().map(|r| (r.get(0), r.get(1))).collect();
        sim.update(&rows[0].0, "Operating System", &[&format!("OS {mode}")]).unwrap();
        sim.delete(&rows[1].0).unwrap();
        sim.update(&rows[2].1, "Name", &[&format!("Somebody {mode}")]).unwrap();
        sim.create("Server", &format!("srv-{mode}"), &[]).unwrap();
        let sql = format!("SELECT assets_fdw.refresh('itsm_replica.server', '{mode}')");
        client.batch_execute(&sql).unwrap();
        super::incremental::same(&mut client, "server");
        arrives(&mut client, mode);
    }
    subscriber.batch_execute("DROP SUBSCRIPTION cmdb").unwrap();
    assert_eq!((here.crashes(), there.crashes()), (vec![], vec![]));
}
