//! An object schema of two hundred types: what its replicas cost together.

use std::time::Instant;

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::LogEntry;

use super::*;

/// Types that are added to those of the company.
const MORE: usize = 180;

/// A company with two hundred object types in one schema, most of which have no object.
fn company(objects: u64) -> Sim {
    let sim = sim(objects);
    for n in 0..MORE {
        sim.add_type("ITSM", &format!("Kind {n}"), None).unwrap();
    }
    sim
}

/// Replicas of every type of the schema, loaded; and how many they are.
fn materialized<'a>(server: &'a Server, sim: &Sim) -> (Database<'a>, Client, i64) {
    let database = server.create_database();
    let mut client = import(&database, sim);
    let made = "SELECT count(*) FROM assets_fdw.materialize_schema('itsm', every => '1 day')";
    let made = number(&mut client, made);
    assert!(made >= 195, "{made}");
    let loaded =
        "SELECT bool_and(last_success IS NOT NULL AND state = 'waiting') FROM assets_fdw.materializations";
    let deadline = Instant::now() + 6 * PATIENCE;
    while client.query_one(loaded, &[]).unwrap().get::<_, Option<bool>>(0) != Some(true) {
        assert!(Instant::now() < deadline, "not loaded yet; history:\n{}", history(&mut client));
        std::thread::sleep(Duration::from_millis(50));
    }
    (database, client, made)
}

/// Has everything refreshed by one run; gives what was asked for it.
fn refresh_all(client: &mut Client, sim: &Sim) -> Vec<LogEntry> {
    let last = number(client, "SELECT max(id) FROM assets_fdw.refresh_history");
    sim.clear_log();
    let ask = "SELECT assets_fdw.request_refresh(target) FROM assets_fdw.materializations";
    client.batch_execute(ask).unwrap();
    let done = format!(
        "SELECT count(*) = (SELECT count(*) FROM assets_fdw.materializations) FROM assets_fdw.refresh_history
         WHERE id > {last} AND outcome = 'ok' AND mode = 'incremental'"
    );
    wait_for(client, "the group's refresh", &done);
    let leaders =
        format!("SELECT count(*) FROM assets_fdw.refresh_history WHERE id > {last} AND with_run IS NULL");
    assert_eq!(number(client, &leaders), 1, "{}", history(client));
    sim.log()
}

#[test]
fn two_hundred_types_cost_three_requests_when_quiet_and_their_pages_when_a_hundredth_changed() {
    let (sim, server) = (company(10_000), preloaded(&[]));
    let (_database, mut client, types) = materialized(&server, &sim);
    // One load each: what is loaded is not loaded again because its scheduler looked a moment before. The last of them
    // brings the others to its moment.
    let again = "SELECT coalesce(string_agg(h::text, E'\\n'), '') FROM assets_fdw.refresh_history AS h
                 WHERE outcome <> 'ok' OR reason <> 'first load' OR with_run IS NULL AND mode <> 'full'";
    assert_eq!(text(&mut client, again), "");

    let log = refresh_all(&mut client, &sim);
    assert!(log.len() <= 3, "{} requests for {types} quiet types: {log:#?}", log.len());
    // They became true together.
    let moments = "SELECT count(DISTINCT xmin::text) FROM assets_fdw.replica_state";
    assert_eq!(number(&mut client, moments), 1);

    let objects: Vec<String> = ["server", "laptop", "employee", "application"]
        .iter()
        .flat_map(|table| client.query(&format!("SELECT key FROM itsm_replica.{table}"), &[]).unwrap())
        .map(|row| row.get(0))
        .collect();
    let changed: Vec<&String> = objects.iter().step_by(objects.len() / 100).collect();
    for key in &changed {
        sim.update(key, "Name", &[&format!("new name of {key}")]).unwrap();
    }
    let key = sim.create("Kind 77", "the first of its kind", &[]).unwrap();
    sim.delete(changed[0]).unwrap();
    let log = refresh_all(&mut client, &sim);
    // Their pages and ten, and as many again for the search for the one that is gone.
    assert!(log.len() <= changed.len().div_ceil(100) + 20, "{} requests: {log:#?}", log.len());
    let sql = format!("SELECT count(*) FROM itsm_replica.kind_77 WHERE key = '{key}'");
    assert_eq!(number(&mut client, &sql), 1);
    for table in ["server", "laptop", "employee", "application", "hardware", "kind_77"] {
        super::incremental::same(&mut client, table);
    }
    assert_eq!(server.crashes(), Vec::<String>::new());
}

#[test]
fn one_object_gone_from_two_hundred_types_is_found_in_a_few_requests() {
    let (sim, server) = (company(20_000), preloaded(&[]));
    let (_database, mut client, _) = materialized(&server, &sim);
    let key = text(&mut client, "SELECT key FROM itsm_replica.laptop ORDER BY id OFFSET 1234 LIMIT 1");
    sim.delete(&key).unwrap();
    let log = refresh_all(&mut client, &sim);
    // Forty of a hundred thousand: each halving more is one count.
    assert!(log.len() <= 40, "{} requests: {log:#?}", log.len());
    let held = |table: &str| format!("SELECT count(*) FROM itsm_replica.{table} WHERE key = '{key}'");
    assert_eq!(number(&mut client, &held("laptop")), 0);
    assert_eq!(number(&mut client, &held("hardware")), 0, "a type that takes its descendants in");
}
