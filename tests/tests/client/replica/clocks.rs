//! Clocks, zones, precisions and lags: changes arrive whatever the service's are, and a full comparison
//! catches what nothing announces.

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::{Precision, Profile, Switches};

use super::incremental::{group, incremental, same};
use super::*;

const MINUTE: i64 = 60_000;

/// Creates, updates, deletes and moves something; then refreshes by what changed until the replicas are
/// right, and never by comparing everything.
#[track_caller]
fn follow(client: &mut Client, sim: &Sim, n: usize, lag: bool) {
    let key = |client: &mut Client, at: usize| {
        text(client, &format!("SELECT key FROM itsm_replica.server ORDER BY id OFFSET {at} LIMIT 1"))
    };
    let keys: Vec<String> = (0..3).map(|at| key(client, at)).collect();
    sim.update(&keys[0], "Operating System", &[&format!("OS {n}")]).unwrap();
    sim.delete(&keys[1]).unwrap();
    sim.move_object(&keys[2], "Laptop").unwrap();
    let created = sim.create("Server", &format!("srv-{n}"), &[]).unwrap();
    let right = format!(
        "SELECT (SELECT operating_system = 'OS {n}' FROM itsm_replica.server WHERE key = '{0}')
            AND NOT EXISTS (SELECT FROM itsm_replica.server WHERE key IN ('{1}', '{2}'))
            AND EXISTS (SELECT FROM itsm_replica.laptop WHERE key = '{2}')
            AND EXISTS (SELECT FROM itsm_replica.server WHERE key = '{created}')",
        keys[0], keys[1], keys[2]
    );
    incremental(client, "itsm_replica.server");
    if lag {
        wait_until("the index has caught up, and the replica", PATIENCE, || {
            incremental(client, "itsm_replica.server");
            client.query_one(&right, &[]).unwrap().get::<_, Option<bool>>(0) == Some(true)
        });
    }
    assert_eq!(client.query_one(&right, &[]).unwrap().get::<_, Option<bool>>(0), Some(true), "{n}");
    same(client, "server");
    same(client, "laptop");
}

#[test]
fn changes_arrive_whatever_the_services_clock_zone_precision_and_lag() {
    type Set = fn(&mut Switches);
    let services: [(&str, bool, Set); 9] = [
        ("ten minutes ahead", false, |s| s.clock_offset_ms = 10 * MINUTE),
        ("ten minutes behind", false, |s| s.clock_offset_ms = -10 * MINUTE),
        ("answers dated ten minutes ahead", false, |s| s.date_offset_ms = 10 * MINUTE),
        ("answers dated ten minutes behind", false, |s| s.date_offset_ms = -10 * MINUTE),
        ("stamps cut down to the minute", false, |s| s.stamp_step_ms = MINUTE),
        ("dates compare to the minute", false, |s| s.precision = Precision::Minutes),
        ("stamps in another zone", false, |s| s.stamp_zone_minutes = 330),
        ("literals in another zone, offsets ignored", false, |s| {
            (s.literal_zone_minutes, s.literal_offset, s.function_zone_minutes) = (-480, false, 600);
        }),
        ("an index that lags by time", true, |s| s.index_lag_ms = 1500),
    ];
    for (name, lag, set) in services {
        for profile in [Profile::Documented, Profile::Hostile] {
            eprintln!("{name}, {profile:?}");
            let sim = Sim::start(Options { objects: 600, profile, ..Options::default() }).unwrap();
            sim.switches(set);
            let database = Server::shared().create_database();
            let mut client = group(&database, &sim, &["server", "laptop"]);
            for n in 0..3 {
                follow(&mut client, &sim, n, lag || profile == Profile::Hostile);
            }
        }
    }
}

#[test]
fn a_service_whose_clock_jumps_is_followed_whichever_way_it_jumps() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = group(&database, &sim, &["server", "laptop"]);
    for (n, minutes) in [(0, 60), (1, 57), (2, 24 * 60)] {
        sim.switches(|s| s.clock_offset_ms = minutes * MINUTE);
        follow(&mut client, &sim, n, false);
    }
    // Far back: what was changed before it bears later dates than any bound, what is changed after it is as
    // long ago as this machine says.
    let key = text(&mut client, "SELECT key FROM itsm_replica.server ORDER BY id LIMIT 1");
    sim.update(&key, "Operating System", &["Plan 9"]).unwrap();
    sim.switches(|s| s.clock_offset_ms = 0);
    follow(&mut client, &sim, 3, false);
    follow(&mut client, &sim, 4, false);
}

#[test]
fn what_is_renamed_in_another_object_schema_reaches_references_with_a_full_comparison() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = group(&database, &sim, &["employee"]);
    let sql = "SELECT office_key FROM itsm_replica.employee WHERE office_key IS NOT NULL ORDER BY id LIMIT 1";
    let office = text(&mut client, sql);
    sim.update(&office, "Name", &["Elsewhere"]).unwrap();
    let shown = format!(
        "SELECT count(*) FILTER (WHERE office <> 'Elsewhere') FROM itsm_replica.employee WHERE office_key = '{office}'"
    );
    incremental(&mut client, "itsm_replica.employee");
    assert!(number(&mut client, &shown) > 0, "nothing announces it, which the documentation says");
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.employee', 'full')").unwrap();
    assert_eq!(number(&mut client, &shown), 0);
    same(&mut client, "employee");
}

#[test]
fn keys_that_swap_and_objects_that_come_back_are_written_by_a_refresh_of_changes() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = group(&database, &sim, &["server", "laptop"]);
    // As if Assets had swapped them: the replica holds them the other way round, and both changed.
    // Nothing refers to them: what refers to an object follows its key.
    let sql = "SELECT key FROM itsm_replica.server
               WHERE key NOT IN (SELECT unnest(depends_on_key) FROM itsm_replica.server WHERE depends_on_key IS NOT NULL)
               ORDER BY id LIMIT 3";
    let rows = client.query(sql, &[]).unwrap();
    let keys: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    client
        .batch_execute(&format!(
            "UPDATE itsm_replica.server AS s SET key = CASE key WHEN '{0}' THEN '{1}' ELSE '{0}' END
             WHERE key IN ('{0}', '{1}')",
            keys[0], keys[1]
        ))
        .unwrap();
    for key in &keys[..2] {
        sim.update(key, "Operating System", &["Plan 9"]).unwrap();
    }
    incremental(&mut client, "itsm_replica.server");
    same(&mut client, "server");
    // Away and back again between two refreshes, and across one.
    sim.move_object(&keys[2], "Laptop").unwrap();
    sim.move_object(&keys[2], "Server").unwrap();
    incremental(&mut client, "itsm_replica.laptop");
    same(&mut client, "server");
    sim.move_object(&keys[2], "Laptop").unwrap();
    incremental(&mut client, "itsm_replica.laptop");
    same(&mut client, "laptop");
    sim.move_object(&keys[2], "Server").unwrap();
    incremental(&mut client, "itsm_replica.laptop");
    ["server", "laptop"].iter().for_each(|table| same(&mut client, table));
}
