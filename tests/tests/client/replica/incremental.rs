//! Incremental refreshes: what changed arrives, in few requests, whatever the service is like.

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::{Endpoint, Fault, FaultKind, LogEntry, Profile};

use super::*;

/// Replicas of some tables, loaded by hand.
pub(super) fn group(database: &Database, sim: &Sim, tables: &[&str]) -> Client {
    let mut client = import(database, sim);
    for table in tables {
        client.batch_execute(&format!("SELECT assets_fdw.materialize('itsm.{table}')")).unwrap();
        client.batch_execute(&format!("SELECT assets_fdw.refresh('itsm_replica.{table}')")).unwrap();
    }
    client
}

/// Refreshes one incrementally; gives (seen, inserted, updated, deleted).
#[track_caller]
pub(super) fn incremental(client: &mut Client, table: &str) -> (i64, i64, i64, i64) {
    let sql = format!(
        "SELECT mode, seen, inserted, updated, deleted FROM assets_fdw.refresh('{table}', 'incremental')"
    );
    let row = client.query_one(&sql, &[]).unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(row.get::<_, String>(0), "incremental", "{}", history(client));
    (row.get(1), row.get(2), row.get(3), row.get(4))
}

#[track_caller]
pub(super) fn same(client: &mut Client, table: &str) {
    let sql = format!(
        "SELECT (SELECT count(*) FROM (TABLE itsm.{table} EXCEPT TABLE itsm_replica.{table}) AS a)
              + (SELECT count(*) FROM (TABLE itsm_replica.{table} EXCEPT TABLE itsm.{table}) AS b)"
    );
    assert_eq!(number(client, &sql), 0, "{table} differs");
}

#[test]
fn an_incremental_refresh_brings_creates_updates_deletes_and_moves_in_every_profile() {
    for profile in [Profile::Documented, Profile::Lenient, Profile::Hostile] {
        let sim = Sim::start(Options { objects: 600, profile, ..Options::default() }).unwrap();
        let database = Server::shared().create_database();
        let mut client = group(&database, &sim, &["server"]);
        let keys: Vec<String> = client
            .query("SELECT key FROM itsm.server ORDER BY id LIMIT 4", &[])
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect();
        assert_eq!(incremental(&mut client, "itsm_replica.server"), (0, 0, 0, 0), "{profile:?}");
        sim.update(&keys[0], "Operating System", &["Plan 9"]).unwrap();
        sim.delete(&keys[1]).unwrap();
        sim.create("Server", "srv-new", &[]).unwrap();
        sim.move_object(&keys[2], "Laptop").unwrap();
        // An index that lags shows it to the second of two searches.
        incremental(&mut client, "itsm_replica.server");
        incremental(&mut client, "itsm_replica.server");
        same(&mut client, "server");
        let runs = text(
            &mut client,
            "SELECT string_agg(mode || ' +' || inserted || ' ~' || updated || ' -' || deleted, ', ' ORDER BY id)
             FROM assets_fdw.refresh_history WHERE mode = 'incremental'",
        );
        assert!(runs.contains("+1") && runs.contains("-2"), "{profile:?}: {runs}");
    }
}

/// What the simulator was asked while `work` ran.
fn asked(sim: &Sim, work: impl FnOnce()) -> Vec<LogEntry> {
    sim.clear_log();
    work();
    sim.log()
}

/// A server on which the tables' replicas are refreshed together, at once after their first loads.
fn scheduled(server: &Server, sim: &Sim, tables: &[&str]) -> (String, Client) {
    let database = server.create_database();
    let name = database.name().to_owned();
    let mut client = import(&database, sim);
    // It stays until the server goes.
    std::mem::forget(database);
    for table in tables {
        let sql = format!("SELECT assets_fdw.materialize('itsm.{table}', every => '1 day')");
        client.batch_execute(&sql).unwrap();
    }
    let sql =
        "SELECT bool_and(last_success IS NOT NULL AND state = 'waiting') FROM assets_fdw.materializations";
    wait_for(&mut client, "the first loads", sql);
    (name, client)
}

/// Has all replicas refreshed by one run, and waits for it.
fn refresh_group(client: &mut Client) {
    let before = number(client, "SELECT max(id) FROM assets_fdw.refresh_history");
    client
        .batch_execute("SELECT assets_fdw.request_refresh(target) FROM assets_fdw.materializations")
        .unwrap();
    let sql = format!(
        "SELECT count(*) = (SELECT count(*) FROM assets_fdw.materializations) FROM assets_fdw.refresh_history
         WHERE id > {before} AND outcome = 'ok'"
    );
    wait_for(client, "the group's refresh", &sql);
}

const GROUP: [&str; 4] = ["server", "employee", "application", "laptop"];

#[test]
fn a_group_is_refreshed_by_one_run_and_a_quiet_one_costs_three_requests_at_most() {
    let (sim, server) = (small(), preloaded(&[]));
    let (_, mut client) = scheduled(&server, &sim, &GROUP);
    refresh_group(&mut client);
    let log = asked(&sim, || refresh_group(&mut client));
    assert!(log.len() <= 3, "{log:#?}");
    let last = "SELECT string_agg(mode || ' ' || requests || ' ' || (with_run IS NULL), ', ' ORDER BY id)
                FROM (SELECT * FROM assets_fdw.refresh_history ORDER BY id DESC LIMIT 4) AS r";
    let expected = format!(
        "incremental {} true, incremental 0 false, incremental 0 false, incremental 0 false",
        log.len()
    );
    assert_eq!(text(&mut client, last), expected);
    // All of them became true in one transaction.
    let moments = "SELECT count(DISTINCT xmin::text) FROM assets_fdw.replica_state";
    assert_eq!(number(&mut client, moments), 1);
}

#[test]
fn one_changed_object_in_a_hundred_costs_their_pages_and_no_more_than_ten_requests() {
    let (sim, server) = (sim(20_000), preloaded(&[]));
    let (_, mut client) = scheduled(&server, &sim, &GROUP);
    let keys = client.query("SELECT key FROM itsm_replica.server WHERE id % 17 = 0", &[]).unwrap();
    assert!(keys.len() > 150, "{}", keys.len());
    for row in &keys {
        sim.update(row.get(0), "Operating System", &["Plan 9"]).unwrap();
    }
    let log = asked(&sim, || refresh_group(&mut client));
    assert!(log.len() <= keys.len().div_ceil(100) + 10, "{} requests: {log:#?}", log.len());
    let sql = "SELECT sum(updated)::bigint FROM (SELECT * FROM assets_fdw.refresh_history ORDER BY id DESC LIMIT 4) AS r";
    assert_eq!(number(&mut client, sql), keys.len() as i64);
    GROUP.iter().for_each(|table| same(&mut client, table));
}

#[test]
fn one_deleted_object_among_a_hundred_thousand_is_found_in_forty_requests() {
    // 18 of 100 objects are servers; every type of the group counts.
    let (sim, database) = (sim(100_000), Server::shared().create_database());
    let mut client = import(&database, &sim);
    client
        .batch_execute(
            "CREATE FOREIGN TABLE everything (id bigint OPTIONS (field 'id'), key text OPTIONS (field 'key'),
                 label text OPTIONS (field 'label'), updated timestamptz OPTIONS (field 'updated'))
                 SERVER assets OPTIONS (object_schema 'ITSM', object_type 'Employee');
             SELECT assets_fdw.materialize('everything', 'all_of_them');
             SELECT assets_fdw.materialize('itsm.server')",
        )
        .unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('all_of_them')").unwrap();
    let rows = number(&mut client, "SELECT count(*) FROM all_of_them");
    assert!(rows > 20_000, "{rows}");
    let key = text(&mut client, "SELECT key FROM all_of_them ORDER BY id OFFSET 12345 LIMIT 1");
    sim.delete(&key).unwrap();
    let log = asked(&sim, || {
        assert_eq!(incremental(&mut client, "all_of_them"), (0, 0, 0, 1));
    });
    assert!(log.len() <= 40, "{}", log.len());
    assert_eq!(number(&mut client, "SELECT count(*) FROM all_of_them"), rows - 1);
}

#[test]
fn a_create_and_a_delete_that_cancel_each_other_in_the_count_are_both_found() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = group(&database, &sim, &["server"]);
    let key = text(&mut client, "SELECT key FROM itsm.server ORDER BY id LIMIT 1");
    sim.create("Server", "srv-new", &[]).unwrap();
    sim.delete(&key).unwrap();
    let (_, inserted, _, deleted) = incremental(&mut client, "itsm_replica.server");
    assert_eq!((inserted, deleted), (1, 1));
    same(&mut client, "server");
}

#[test]
fn labels_of_referenced_objects_follow_although_nothing_touches_those_that_refer_to_them() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = group(&database, &sim, &["server", "application"]);
    let sql = "SELECT s.owner_key, a.key FROM itsm_replica.server AS s, itsm_replica.server AS a
               WHERE s.owner_key IS NOT NULL AND a.key = ANY (SELECT unnest(depends_on_key) FROM itsm_replica.server)
               ORDER BY s.id, a.id LIMIT 1";
    let row = client.query_one(sql, &[]).unwrap();
    let (owner, needed): (String, String) = (row.get(0), row.get(1));
    sim.update(&owner, "Name", &["A New Name"]).unwrap();
    sim.update(&needed, "Name", &["renamed-server"]).unwrap();
    let log = asked(&sim, || {
        incremental(&mut client, "itsm_replica.server");
    });
    assert!(log.len() <= 4, "{log:#?}");
    same(&mut client, "server");
    let sql = "SELECT count(*) FROM itsm_replica.server WHERE owner = 'A New Name' OR 'renamed-server' = ANY (depends_on)";
    assert!(number(&mut client, sql) >= 2);
    // One without a label is shown as the foreign table shows it.
    sim.update(&owner, "Name", &[]).unwrap();
    incremental(&mut client, "itsm_replica.server");
    same(&mut client, "server");
    // What is gone is no longer referred to, and what was moved to another schema is, by its new key.
    sim.delete(&owner).unwrap();
    sim.move_object(&needed, "Office").unwrap();
    incremental(&mut client, "itsm_replica.server");
    incremental(&mut client, "itsm_replica.application");
    let (full, ..) = incremental(&mut client, "itsm_replica.server");
    assert!(full < 10);
    let dangling =
        format!("SELECT count(*) FROM itsm_replica.server WHERE '{needed}' = ANY (depends_on_key)");
    assert_eq!(number(&mut client, &dangling), 0);
}

#[test]
fn what_a_full_comparison_finds_gone_is_no_longer_referred_to_by_other_replicas() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = group(&database, &sim, &["employee", "server"]);
    let owner = |client: &mut Client| text(client, "SELECT min(owner_key) FROM itsm_replica.server");
    let first = owner(&mut client);
    sim.delete(&first).unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.employee', 'full')").unwrap();
    assert_ne!(owner(&mut client), first);
    same(&mut client, "server");
    same(&mut client, "employee");
    // Rows that cannot be written do not hold it back, and are left to a full comparison.
    client
        .batch_execute(
            "CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''not now''; END';
             CREATE TRIGGER never BEFORE UPDATE ON itsm_replica.server EXECUTE FUNCTION never()",
        )
        .unwrap();
    let second = owner(&mut client);
    sim.delete(&second).unwrap();
    let sql = "SELECT deleted FROM assets_fdw.refresh('itsm_replica.employee', 'full')";
    assert_eq!(number(&mut client, sql), 1);
    assert_eq!(owner(&mut client), second);
    client.batch_execute("DROP TRIGGER never ON itsm_replica.server").unwrap();
    assert_eq!(text(&mut client, "SELECT mode FROM assets_fdw.refresh('itsm_replica.server')"), "full");
    same(&mut client, "server");
}

#[test]
fn what_is_gone_is_no_longer_referred_to_by_a_replica_that_was_disabled_or_read_meanwhile() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = group(&database, &sim, &["employee", "server"]);
    let owner = text(&mut client, "SELECT min(owner_key) FROM itsm_replica.server");
    let enable = |client: &mut Client, enabled: bool| {
        let sql =
            format!("SELECT assets_fdw.alter_materialization('itsm_replica.server', enabled => {enabled})");
        client.batch_execute(&sql).unwrap();
    };
    enable(&mut client, false);
    sim.delete(&owner).unwrap();
    assert_eq!(incremental(&mut client, "itsm_replica.employee").3, 1);
    enable(&mut client, true);
    assert_eq!(text(&mut client, "SELECT mode FROM assets_fdw.refresh('itsm_replica.server')"), "full");
    same(&mut client, "server");

    // What is asked for while everything is read is not done with that.
    sim.fault(Fault::new(FaultKind::StallBefore { ms: 1500 }).on(Endpoint::ObjectAql));
    let mut other = database.connect();
    let reading = std::thread::spawn(move || {
        client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server', 'full')").unwrap();
        client
    });
    wait_for(
        &mut other,
        "it is read",
        "SELECT count(*) > 0 FROM assets_fdw.refresh_progress WHERE phase = 'fetching'",
    );
    other
        .batch_execute(
            "UPDATE assets_fdw.replica_state SET full_at = NULL, full_wanted = clock_timestamp()
             WHERE target = 'itsm_replica.server'::regclass",
        )
        .unwrap();
    sim.clear_faults();
    let mut client = reading.join().unwrap();
    assert_eq!(text(&mut client, "SELECT mode FROM assets_fdw.refresh('itsm_replica.server')"), "full");
    assert_eq!(
        text(&mut client, "SELECT mode FROM assets_fdw.refresh('itsm_replica.server')"),
        "incremental"
    );
}

#[test]
fn an_object_that_leaves_or_enters_the_condition_of_a_source_leaves_or_enters_its_replica() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = import(&database, &sim);
    client
        .batch_execute(
            "ALTER FOREIGN TABLE itsm.server OPTIONS (ADD aql '\"Memory GB\" >= 64');
             SELECT assets_fdw.materialize('itsm.server');",
        )
        .unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    let inside = text(&mut client, "SELECT key FROM itsm_replica.server ORDER BY id LIMIT 1");
    sim.update(&inside, "Memory GB", &["1"]).unwrap();
    let outside = sim.create("Server", "srv-new", &[("Memory GB", "8")]).unwrap();
    assert_eq!(incremental(&mut client, "itsm_replica.server"), (2, 0, 0, 1));
    same(&mut client, "server");
    sim.update(&outside, "Memory GB", &["512"]).unwrap();
    assert_eq!(incremental(&mut client, "itsm_replica.server").1, 1);
    same(&mut client, "server");
}

#[test]
fn more_incremental_deletes_than_the_share_allows_stop_the_refresh() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = group(&database, &sim, &["server"]);
    let rows = number(&mut client, "SELECT count(*) FROM itsm_replica.server");
    let keys = client.query("SELECT key FROM itsm.server ORDER BY id LIMIT $1", &[&(rows / 2)]).unwrap();
    keys.iter().for_each(|row| drop(sim.delete(row.get(0)).unwrap()));
    let last = text(&mut client, "SELECT key FROM itsm.server ORDER BY id DESC LIMIT 1");
    // The others are refreshed all the same, also by the run after that.
    for (os, mode) in [("Plan 9", "incremental"), ("Inferno", "full"), ("Oberon", "incremental")] {
        sim.update(&last, "Operating System", &[os]).unwrap();
        let sql = format!("SELECT assets_fdw.refresh('itsm_replica.server', '{mode}')");
        let (state, message) = error_of(&mut client, &sql);
        assert!(state == "55000" && message.contains("max_delete_share"), "{state} {message}");
        assert_eq!(number(&mut client, "SELECT count(*) FROM itsm_replica.server"), rows);
        let shown = format!("SELECT operating_system FROM itsm_replica.server WHERE key = '{last}'");
        assert_eq!(text(&mut client, &shown), os, "{mode}");
        let state = "SELECT state || ' ' || failures FROM assets_fdw.materializations";
        assert_eq!(text(&mut client, state), "failing 1");
    }
    client.batch_execute("SET assets_fdw.max_delete_share = 1").unwrap();
    assert_eq!(incremental(&mut client, "itsm_replica.server").3, rows / 2);
    same(&mut client, "server");
}

#[test]
fn a_few_deleted_objects_always_leave_a_small_replica_unless_none_may() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = import(&database, &sim);
    let four: Vec<i64> = client
        .query("SELECT id FROM itsm.server ORDER BY id LIMIT 4", &[])
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    let list = four.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
    client
        .batch_execute(&format!(
            "ALTER FOREIGN TABLE itsm.server OPTIONS (ADD aql 'objectId in ({list})');
             SELECT assets_fdw.materialize('itsm.server');
             SET assets_fdw.max_delete_share = 0"
        ))
        .unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    assert_eq!(number(&mut client, "SELECT count(*) FROM itsm_replica.server"), 4);
    sim.delete(&four[0].to_string()).unwrap();
    let incremental_now = "SELECT assets_fdw.refresh('itsm_replica.server', 'incremental')";
    assert_eq!(error_of(&mut client, incremental_now).0, "55000");
    client.batch_execute("RESET assets_fdw.max_delete_share").unwrap();
    assert_eq!(incremental(&mut client, "itsm_replica.server").3, 1);
    sim.delete(&four[1].to_string()).unwrap();
    let sql = "SELECT deleted FROM assets_fdw.refresh('itsm_replica.server', 'full')";
    assert_eq!(number(&mut client, sql), 1);
}

#[test]
fn an_object_that_moves_to_another_type_without_a_word_is_found_within_a_few_runs() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = group(&database, &sim, &["server", "laptop", "employee"]);
    sim.switches(|switches| switches.moves_unannounced = true);
    let key = text(&mut client, "SELECT key FROM itsm_replica.server ORDER BY id LIMIT 1");
    sim.move_object(&key, "Laptop").unwrap();
    let there = format!("SELECT count(*) FROM itsm_replica.laptop WHERE key = '{key}'");
    let mut runs = 0;
    while number(&mut client, &there) == 0 && runs < 30 {
        incremental(&mut client, "itsm_replica.employee");
        runs += 1;
    }
    assert!(runs < 30, "it was not found");
    ["server", "laptop", "employee"].iter().for_each(|table| same(&mut client, table));
}

#[test]
fn another_account_that_sees_less_takes_no_row_along_until_somebody_says_so_and_one_that_sees_more_fills_it()
{
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = group(&database, &sim, &["server"]);
    let rows = number(&mut client, "SELECT count(*) FROM itsm_replica.server");
    // The limited identity sees ten of eleven objects.
    let (limited, full) = (&sim.identities()[1], &sim.identities()[0]);
    let turn = |to: &assets_fdw_tests::assets_sim::Identity| {
        format!(
            "ALTER USER MAPPING FOR CURRENT_USER SERVER assets OPTIONS (SET email '{}', SET api_token '{}')",
            to.name, to.secret
        )
    };
    client.batch_execute(&turn(limited)).unwrap();
    for _ in 0..2 {
        let (state, message) = error_of(&mut client, "SELECT assets_fdw.refresh('itsm_replica.server')");
        assert!(state == "55000" && message.contains("another account"), "{state} {message}");
        assert_eq!(number(&mut client, "SELECT count(*) FROM itsm_replica.server"), rows);
    }
    client.batch_execute("SET assets_fdw.max_delete_share = 1").unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    client.batch_execute("RESET assets_fdw.max_delete_share").unwrap();
    let fewer = number(&mut client, "SELECT count(*) FROM itsm_replica.server");
    assert!(fewer < rows);
    same(&mut client, "server");
    let mode = "SELECT mode || ': ' || note FROM assets_fdw.refresh_history ORDER BY id DESC LIMIT 1";
    assert!(text(&mut client, mode).starts_with("full: its definition"), "{}", text(&mut client, mode));
    client.batch_execute(&turn(full)).unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    assert_eq!(number(&mut client, "SELECT count(*) FROM itsm_replica.server"), rows);
}

#[test]
fn where_dates_or_ranges_are_not_understood_everything_is_compared_and_the_history_says_so() {
    let (sim, database) = (sim(4000), Server::shared().create_database());
    sim.switches(|switches| switches.object_id_ranges = false);
    let mut client = group(&database, &sim, &["server"]);
    let key = text(&mut client, "SELECT key FROM itsm.server ORDER BY id LIMIT 1");
    sim.delete(&key).unwrap();
    let row = client
        .query_one("SELECT mode, deleted FROM assets_fdw.refresh('itsm_replica.server', 'incremental')", &[])
        .unwrap();
    assert_eq!((row.get::<_, String>(0), row.get::<_, i64>(1)), ("full".into(), 1));
    let why = text(&mut client, "SELECT why_full FROM assets_fdw.materializations");
    let note = text(&mut client, "SELECT note FROM assets_fdw.refresh_history ORDER BY id DESC LIMIT 1");
    assert!(why.contains("range of ids") && note == why, "{why} / {note}");
    // As soon as it is, changes are asked for again.
    sim.switches(|switches| switches.object_id_ranges = true);
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    incremental(&mut client, "itsm_replica.server");
    // And where it no longer is in the middle of a life.
    sim.switches(|switches| switches.object_id_ranges = false);
    let key = text(&mut client, "SELECT key FROM itsm.server ORDER BY id LIMIT 1");
    sim.delete(&key).unwrap();
    let row = client
        .query_one("SELECT mode, deleted FROM assets_fdw.refresh('itsm_replica.server', 'incremental')", &[])
        .unwrap();
    assert_eq!(
        (row.get::<_, String>(0), row.get::<_, i64>(1)),
        ("full".into(), 1),
        "{}",
        history(&mut client)
    );
}

#[test]
fn a_value_that_does_not_fit_stops_its_own_replica_and_no_other_of_the_group() {
    let (sim, server) = (small(), preloaded(&[]));
    let (_, mut client) = scheduled(&server, &sim, &GROUP);
    let (bad, good) = (
        text(&mut client, "SELECT key FROM itsm_replica.server ORDER BY id LIMIT 1"),
        text(&mut client, "SELECT key FROM itsm_replica.employee ORDER BY id LIMIT 1"),
    );
    sim.update(&bad, "Memory GB", &["plenty"]).unwrap();
    sim.update(&good, "Name", &["A New Name"]).unwrap();
    client
        .batch_execute("SELECT assets_fdw.request_refresh(target) FROM assets_fdw.materializations")
        .unwrap();
    let sql = format!("SELECT label = 'A New Name' FROM itsm_replica.employee WHERE key = '{good}'");
    wait_for(&mut client, "the good one", &sql);
    let sql = "SELECT bool_or(failures > 0 AND target = 'itsm_replica.server'::regclass AND last_error LIKE '%plenty%')
                      AND count(*) FILTER (WHERE failures > 0) = 1 FROM assets_fdw.materializations";
    wait_for(&mut client, "only the bad one has failed", sql);
    // So does a trigger that refuses, in the middle of the group's transaction.
    sim.update(&bad, "Memory GB", &["64"]).unwrap();
    wait_for(&mut client, "it recovers", "SELECT max(failures) = 0 FROM assets_fdw.materializations");
    client
        .batch_execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$;
             CREATE TRIGGER refuse BEFORE UPDATE ON itsm_replica.server FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .unwrap();
    sim.update(&bad, "Memory GB", &["128"]).unwrap();
    sim.update(&good, "Name", &["Another Name"]).unwrap();
    client
        .batch_execute("SELECT assets_fdw.request_refresh(target) FROM assets_fdw.materializations")
        .unwrap();
    let sql = format!("SELECT label = 'Another Name' FROM itsm_replica.employee WHERE key = '{good}'");
    wait_for(&mut client, "the good one again", &sql);
    let sql = "SELECT last_error = 'not this one' FROM assets_fdw.materializations WHERE target = 'itsm_replica.server'::regclass";
    wait_for(&mut client, "the bad one says why", sql);
}

#[test]
fn objects_of_a_type_that_is_new_below_a_source_with_descendants_arrive() {
    let (sim, server) = (small(), preloaded(&[]));
    let (_, mut client) = scheduled(&server, &sim, &["server", "hardware", "employee"]);
    number(&mut client, "SELECT count(name) FROM itsm.hardware");
    sim.add_type("ITSM", "Blade", Some("Hardware")).unwrap();
    let key = sim.create("Blade", "blade-1", &[]).unwrap();
    client
        .batch_execute("SELECT assets_fdw.request_refresh(target) FROM assets_fdw.materializations")
        .unwrap();
    let sql = format!("SELECT count(*) = 1 FROM itsm_replica.hardware WHERE key = '{key}'");
    wait_for(&mut client, "the blade", &sql);
    refresh_group(&mut client);
    same(&mut client, "hardware");
}

#[test]
fn objects_follow_their_type_below_a_source_with_descendants_and_away_from_it() {
    // Whether the service is asked for the types below, or they are named by id.
    for known in [true, false] {
        let sim = Sim::start(Options { objects: 300, ..Options::default() }).unwrap();
        sim.switches(|s| s.types_below = known);
        let database = Server::shared().create_database();
        let mut client = group(&database, &sim, &["hardware"]);
        let phones = "SELECT count(*) FROM itsm_replica.hardware WHERE object_type = 'Phone'";
        let all = number(&mut client, phones);
        assert!(all > 3);
        sim.update(&sim.dump(sim.type_id("Server").unwrap())[0].key, "Notes", &["changed"]).unwrap();
        assert_eq!(incremental(&mut client, "itsm_replica.hardware"), (1, 0, 1, 0), "{known}");
        for parent in [None, Some("Hardware")] {
            // Nothing announces it: no object changes.
            sim.move_type("Phone", parent).unwrap();
            let mode = if known { "auto" } else { "full" };
            client
                .batch_execute(&format!("SELECT assets_fdw.refresh('itsm_replica.hardware', '{mode}')"))
                .unwrap();
            let now = if parent.is_some() { all } else { 0 };
            assert_eq!(number(&mut client, phones), now, "{known} {parent:?}: {}", history(&mut client));
            same(&mut client, "hardware");
        }
    }
}

#[test]
fn an_outage_fails_the_group_and_brings_it_back_as_a_group() {
    let (sim, server) = (small(), preloaded(&[]));
    let (_, mut client) = scheduled(&server, &sim, &GROUP);
    client.batch_execute("ALTER SERVER assets OPTIONS (ADD retry_timeout '100ms')").unwrap();
    sim.fault(Fault::new(FaultKind::Status { status: 503 }).on(Endpoint::ObjectAql));
    client
        .batch_execute("SELECT assets_fdw.request_refresh(target) FROM assets_fdw.materializations")
        .unwrap();
    wait_for(&mut client, "all fail", "SELECT min(failures) > 0 FROM assets_fdw.materializations");
    sim.clear_faults();
    wait_for(&mut client, "all are back", "SELECT max(failures) = 0 FROM assets_fdw.materializations");
    let alone = "SELECT count(*) FROM assets_fdw.refresh_history WHERE outcome = 'ok' AND mode = 'incremental' AND with_run IS NULL";
    assert!(number(&mut client, alone) <= 2, "{}", history(&mut client));
}

/// A refresh of changes does not count the rows of a replica that nobody else writes to; where somebody did, what
/// is missing comes back.
#[test]
fn rows_that_somebody_else_deletes_come_back_with_the_next_refresh() {
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    loaded(&mut client, "1 day");
    let again = "SELECT assets_fdw.refresh('itsm_replica.server', 'incremental')";
    client.batch_execute(again).unwrap();
    client.batch_execute("DELETE FROM itsm_replica.server WHERE id % 7 = 0").unwrap();
    client.batch_execute(again).unwrap();
    assert_eq!(differences(&mut client), 0, "by hand, at once: {}", history(&mut client));
    for how in ["DELETE FROM itsm_replica.server WHERE id % 5 = 0", "TRUNCATE itsm_replica.server"] {
        client.batch_execute(&format!("SELECT pg_stat_force_next_flush(); {how}")).unwrap();
        client.batch_execute("SELECT pg_stat_force_next_flush()").unwrap();
        let before = number(&mut client, "SELECT max(id) FROM assets_fdw.refresh_history");
        client.batch_execute("SELECT assets_fdw.request_refresh('itsm_replica.server')").unwrap();
        let after =
            format!("SELECT bool_and(outcome = 'ok') FROM assets_fdw.refresh_history WHERE id > {before}");
        wait_for(&mut client, how, &after);
        assert_eq!(differences(&mut client), 0, "{how}: {}", history(&mut client));
    }
    // Then it is not counted again, and shows the same.
    client.batch_execute("SELECT assets_fdw.request_refresh('itsm_replica.server')").unwrap();
    wait_for(
        &mut client,
        "a quiet refresh",
        "SELECT (SELECT rows FROM assets_fdw.materializations) = (SELECT count(*) FROM itsm_replica.server)
            AND (SELECT outcome = 'ok' FROM assets_fdw.refresh_history ORDER BY id DESC LIMIT 1)",
    );
}
