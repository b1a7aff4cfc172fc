//! Full comparisons that are broken off go on where they were.

use assets_fdw_tests::assets_sim::{Endpoint, Fault, FaultKind};
use assets_fdw_tests::{Server, wait_until};

use super::*;

/// A replica of 18 pages of servers, each of which takes its time.
fn slow(database: &Database, sim: &Sim) -> Client {
    let mut client = import(database, sim);
    client
        .batch_execute("ALTER SERVER assets OPTIONS (ADD max_in_flight '1', ADD retry_timeout '1s')")
        .unwrap();
    sim.fault(Fault::new(FaultKind::StallBefore { ms: 300 }).on(Endpoint::ObjectAql));
    client
}

fn searches(sim: &Sim) -> usize {
    sim.log().iter().filter(|entry| entry.endpoint == Endpoint::ObjectAql).count()
}

const HALF_WAY: &str = "SELECT count(*) > 0 FROM assets_fdw.replica_page";

#[test]
fn a_first_load_whose_worker_is_killed_goes_on_where_it_was_and_shows_no_half_state() {
    let (sim, server) = (sim(10_000), preloaded(&[]));
    let database = server.create_database();
    let mut client = slow(&database, &sim);
    client.batch_execute("SELECT assets_fdw.materialize('itsm.server', every => '1 day')").unwrap();
    wait_for(
        &mut client,
        "half of it",
        "SELECT coalesce(max(objects_done) > 1200, false) FROM assets_fdw.refresh_progress",
    );
    wait_for(&mut client, "it is kept", HALF_WAY);
    assert_eq!(number(&mut client, "SELECT count(*) FROM itsm_replica.server"), 0);
    let worker = worker_pid(&mut client).expect("the worker runs");
    // An object that was read already goes away, another one comes, a third is changed.
    let servers = sim.dump(sim.type_id("Server").unwrap());
    sim.delete(&servers[0].key).unwrap();
    sim.update(&servers[1].key, "Operating System", &["Plan 9"]).unwrap();
    sim.create("Server", "srv-new", &[]).unwrap();
    server.kill9(worker);
    sim.clear_log();
    wait_for_anew(
        &server,
        database.name(),
        "the first load",
        "SELECT last_success IS NOT NULL FROM assets_fdw.materializations",
    );
    let asked = searches(&sim);
    assert!(asked <= 14, "{asked} pages were read after half had been kept");
    let mut client = database.connect();
    assert_eq!(
        number(&mut client, "SELECT count(*) FROM assets_fdw.replica_page"),
        0,
        "nothing is left over"
    );
    // What was changed after it had been read is there: the load ended with a look at what changed since the
    // first run began.
    sim.clear_faults();
    assert_eq!(differences(&mut client), 0, "old rows were shown as fresh");
}

#[test]
fn a_resumed_comparison_shows_what_changed_since_its_first_page_also_where_changes_cannot_be_asked_for() {
    for ranges in [true, false] {
        let (sim, database) = (sim(10_000), Server::shared().create_database());
        sim.switches(|switches| switches.object_id_ranges = ranges);
        let mut client = slow(&database, &sim);
        client.batch_execute("SELECT assets_fdw.materialize('itsm.server', 'itsm_replica.server')").unwrap();
        let mut other = database.connect();
        let token = client.cancel_token();
        let waiting = std::thread::spawn(move || {
            client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap_err();
            client
        });
        wait_for(
            &mut other,
            "half of it",
            "SELECT coalesce(max(objects_done) > 1200, false) FROM assets_fdw.refresh_progress",
        );
        token.cancel_query(postgres::NoTls).unwrap();
        let mut client = waiting.join().unwrap();
        wait_until("the worker is gone", PATIENCE, || worker_pid(&mut other).is_none());
        assert!(number(&mut other, "SELECT count(*) FROM assets_fdw.replica_page") > 0);
        sim.clear_faults();
        let servers = sim.dump(sim.type_id("Server").unwrap());
        for server in &servers[..20] {
            sim.update(&server.key, "Operating System", &["Plan 9"]).unwrap();
        }
        sim.delete(&servers[20].key).unwrap();
        client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
        assert_eq!(differences(&mut client), 0, "ranges: {ranges}");
    }
}

#[test]
fn a_cancelled_and_a_failed_comparison_go_on_too_and_one_over_a_bad_value_is_read_anew() {
    let (sim, database) = (sim(10_000), Server::shared().create_database());
    let mut client = slow(&database, &sim);
    client.batch_execute("SELECT assets_fdw.materialize('itsm.server', 'r')").unwrap();
    let mut other = database.connect();
    let token = client.cancel_token();
    let waiting = std::thread::spawn(move || {
        let code = client.batch_execute("SELECT assets_fdw.refresh('r')").unwrap_err().code().cloned();
        (client, code)
    });
    wait_for(
        &mut other,
        "half of it",
        "SELECT coalesce(max(objects_done) > 1200, false) FROM assets_fdw.refresh_progress",
    );
    token.cancel_query(postgres::NoTls).unwrap();
    let (mut client, code) = waiting.join().unwrap();
    assert_eq!(code.map(|c| c.code().to_owned()).as_deref(), Some("57014"));
    wait_until("the worker is gone", PATIENCE, || worker_pid(&mut other).is_none());
    let kept = number(&mut other, "SELECT count(*) FROM assets_fdw.replica_page");
    assert!(kept > 0);

    // The service fails in the middle of the rest.
    sim.clear_faults();
    sim.fault(Fault::new(FaultKind::Status { status: 503 }).on(Endpoint::ObjectAql).after(3));
    assert_eq!(error_of(&mut client, "SELECT assets_fdw.refresh('r')").0, "HV00N");
    sim.clear_faults();
    sim.clear_log();
    let row = client.query_one("SELECT seen, inserted, mode FROM assets_fdw.refresh('r')", &[]).unwrap();
    let rows = number(&mut client, "SELECT count(*) FROM itsm.server");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (rows, rows));

    // A value that does not fit has to be corrected in Assets: what was read is of no use then.
    let key = text(&mut client, "SELECT key FROM itsm.server ORDER BY id DESC LIMIT 1");
    sim.update(&key, "Memory GB", &["plenty"]).unwrap();
    sim.fault(Fault::new(FaultKind::StallBefore { ms: 100 }).on(Endpoint::ObjectAql));
    assert_eq!(error_of(&mut client, "SELECT assets_fdw.refresh('r', 'full')").0, "HV024");
    assert_eq!(number(&mut client, "SELECT count(*) FROM assets_fdw.replica_page"), 0);
    sim.clear_faults();
    sim.update(&key, "Memory GB", &["64"]).unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('r', 'full')").unwrap();
    let sql = format!("SELECT memory_gb::bigint FROM r WHERE key = '{key}'");
    assert_eq!(number(&mut client, &sql), 64);
}

#[test]
fn what_a_broken_off_comparison_has_brought_undoes_nothing_that_came_after_it() {
    let (sim, database) = (sim(10_000), Server::shared().create_database());
    let mut client = slow(&database, &sim);
    sim.clear_faults();
    client.batch_execute("SELECT assets_fdw.materialize('itsm.server', 'r')").unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('r')").unwrap();
    sim.fault(Fault::new(FaultKind::StallBefore { ms: 300 }).on(Endpoint::ObjectAql));
    let mut other = database.connect();
    let token = client.cancel_token();
    let waiting = std::thread::spawn(move || {
        client.batch_execute("SELECT assets_fdw.refresh('r', 'full')").unwrap_err();
        client
    });
    wait_for(
        &mut other,
        "half of it",
        "SELECT coalesce(max(objects_done) > 1200, false) FROM assets_fdw.refresh_progress",
    );
    token.cancel_query(postgres::NoTls).unwrap();
    let mut client = waiting.join().unwrap();
    wait_until("the worker is gone", PATIENCE, || worker_pid(&mut other).is_none());
    assert!(number(&mut client, "SELECT count(*) FROM assets_fdw.replica_page") > 0);
    sim.clear_faults();
    // Objects that are among the pages are changed, and the changes arrive.
    let keys = client.query("SELECT key FROM r ORDER BY id LIMIT 20", &[]).unwrap();
    keys.iter().for_each(|row| drop(sim.update(row.get(0), "Operating System", &["Plan 9"]).unwrap()));
    client.batch_execute("SELECT assets_fdw.refresh('r', 'incremental')").unwrap();
    let arrived = "SELECT count(*) FROM r WHERE operating_system = 'Plan 9'";
    assert_eq!(number(&mut client, arrived), 20);
    client.batch_execute("SELECT assets_fdw.refresh('r', 'full')").unwrap();
    assert_eq!(number(&mut client, arrived), 20, "the replica went back to what had been read before");
}
