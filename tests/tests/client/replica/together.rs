//! One group, one moment: replicas of one object schema are refreshed and committed together, whoever asks
//! for it, and a run that has to go on without one of them says so.

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::{Endpoint, Fault, FaultKind};

use super::incremental::{group, same};
use super::*;

pub(super) const GROUP: [&str; 3] = ["server", "employee", "laptop"];

/// Changes one object of each table; gives the text that a read of each then shows.
fn change_each(sim: &Sim, client: &mut Client, value: &str) {
    for table in GROUP {
        let key = text(client, &format!("SELECT key FROM itsm_replica.{table} ORDER BY id LIMIT 1"));
        sim.update(&key, "Name", &[value]).unwrap();
    }
}

/// In which tables a read shows the change.
pub(super) fn seen(client: &mut Client, value: &str) -> String {
    let parts: Vec<String> = GROUP
        .iter()
        .map(|t| format!("SELECT '{t}' AS t FROM itsm_replica.{t} WHERE label = '{value}'"))
        .collect();
    let sql = format!("SELECT coalesce(string_agg(t, ' '), '') FROM ({}) AS u", parts.join(" UNION ALL "));
    text(client, &sql)
}

fn note(client: &mut Client) -> String {
    text(
        client,
        "SELECT coalesce(note, '') FROM assets_fdw.refresh_history WHERE with_run IS NULL ORDER BY id DESC LIMIT 1",
    )
}

#[test]
fn a_refresh_by_hand_brings_its_whole_group_in_one_transaction_for_the_requests_of_one() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = group(&database, &sim, &GROUP);
    change_each(&sim, &mut client, "first");
    sim.clear_log();
    let row = client
        .query_one(
            "SELECT mode, seen, updated > 0 FROM assets_fdw.refresh('itsm_replica.server', 'incremental')",
            &[],
        )
        .unwrap();
    // The figures are those of the replica that was named.
    assert_eq!(
        (row.get::<_, String>(0), row.get::<_, i64>(1), row.get::<_, bool>(2)),
        ("incremental".into(), 1, true)
    );
    let asked = sim.log().len();
    assert!(asked <= 4, "{asked} requests");
    assert_eq!(seen(&mut client, "first"), "server employee laptop");
    let moments = "SELECT count(DISTINCT xmin::text) FROM assets_fdw.replica_state";
    assert_eq!(number(&mut client, moments), 1);
    let along = "SELECT string_agg(target || ' ' || outcome || ' ' || (with_run = (SELECT max(id) FROM assets_fdw.refresh_history
                     WHERE with_run IS NULL)), ', ' ORDER BY target)
                 FROM (SELECT * FROM assets_fdw.refresh_history ORDER BY id DESC LIMIT 3) AS r WHERE with_run IS NOT NULL";
    assert_eq!(text(&mut client, along), "itsm_replica.employee ok true, itsm_replica.laptop ok true");
    assert_eq!(note(&mut client), "");
    // In refresh_schema() as well, and each replica is listed once.
    change_each(&sim, &mut client, "second");
    let sql = "SELECT count(*) * 10 + count(DISTINCT target) FROM assets_fdw.refresh_schema('itsm_replica')";
    assert_eq!(number(&mut client, sql), 33);
    assert_eq!(seen(&mut client, "second"), "server employee laptop");
}

#[test]
fn replicas_of_other_paces_come_along_and_disabled_ones_and_other_owners_ones_do_not() {
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    let identity = &sim.identities()[0];
    client
        .batch_execute(&format!(
            "SELECT assets_fdw.materialize('itsm.server', every => '1 second');
             SELECT assets_fdw.materialize('itsm.employee', every => '300 days');
             SELECT assets_fdw.materialize('itsm.laptop', every => '1 second');
             CREATE ROLE keeper LOGIN; GRANT USAGE ON SCHEMA itsm TO keeper; GRANT SELECT ON itsm.server TO keeper;
             GRANT CREATE ON DATABASE {} TO keeper;
             CREATE USER MAPPING FOR keeper SERVER assets OPTIONS (email '{}', api_token '{}')",
            database.name(),
            identity.name,
            identity.secret
        ))
        .unwrap();
    database
        .connect_as("keeper")
        .batch_execute("SELECT assets_fdw.materialize('itsm.server', 'kept.server', every => '300 days')")
        .unwrap();
    wait_for(
        &mut client,
        "the first loads",
        "SELECT bool_and(last_success IS NOT NULL) FROM assets_fdw.materializations",
    );
    client
        .batch_execute("SELECT assets_fdw.alter_materialization('itsm_replica.laptop', enabled => false)")
        .unwrap();
    wait_for(
        &mut client,
        "nothing is under way",
        "SELECT count(*) = 0 FROM assets_fdw.refresh_progress WHERE target = 'itsm_replica.laptop'::regclass",
    );
    change_each(&sim, &mut client, "first");
    let sql = "SELECT label = 'first' FROM itsm_replica.employee ORDER BY id LIMIT 1";
    wait_for(&mut client, "the one that is due in 300 days", sql);
    assert_eq!(seen(&mut client, "first"), "server employee");
    let sql = "SELECT count(*) FROM kept.server WHERE label = 'first'";
    assert_eq!(number(&mut client, sql), 0);
}

#[test]
fn a_replica_that_somebody_has_locked_is_left_out_and_keeps_neither_the_others_nor_a_caller_waiting() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = group(&database, &sim, &GROUP);
    // By another session, as a table and as a row.
    let mut other = database.connect();
    other
        .batch_execute(
            "BEGIN; LOCK TABLE itsm_replica.laptop IN SHARE MODE;
             SELECT FROM (SELECT id FROM itsm_replica.employee ORDER BY id LIMIT 1) AS f, itsm_replica.employee AS e
             WHERE e.id = f.id FOR UPDATE OF e",
        )
        .unwrap();
    change_each(&sim, &mut client, "first");
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    assert_eq!(seen(&mut client, "first"), "server");
    let said = note(&mut client);
    assert!(
        said.starts_with("without ")
            && said.contains("itsm_replica.laptop")
            && said.contains("itsm_replica.employee"),
        "{said}"
    );
    let skipped =
        "SELECT count(*) FROM assets_fdw.refresh_history WHERE outcome = 'skipped' AND error LIKE '%locked%'";
    assert_eq!(number(&mut client, skipped), 2);
    other.batch_execute("ROLLBACK").unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    assert_eq!(seen(&mut client, "first"), "server employee laptop");
    assert_eq!(note(&mut client), "");

    // By the session that asks.
    change_each(&sim, &mut client, "second");
    client
        .batch_execute(
            "BEGIN; LOCK TABLE itsm_replica.laptop IN ROW SHARE MODE;
             SELECT assets_fdw.refresh('itsm_replica.server'); COMMIT",
        )
        .unwrap();
    assert_eq!(seen(&mut client, "second"), "server employee");
    assert!(
        note(&mut client).contains("itsm_replica.laptop (the session that asked"),
        "{}",
        note(&mut client)
    );

    // The one that is asked for is waited for, and the others are free meanwhile: whether it was locked before the
    // refresh, against writing or against everybody, or is while that asks the service.
    let waits =
        "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 'itsm_replica.server'::regclass";
    for (value, mode, meanwhile) in [
        ("third", "SHARE", false),
        ("fourth", "ACCESS EXCLUSIVE", false),
        ("fifth", "ACCESS EXCLUSIVE", true),
    ] {
        change_each(&sim, &mut client, value);
        let lock = format!("BEGIN; LOCK TABLE itsm_replica.server IN {mode} MODE");
        if meanwhile {
            sim.fault(Fault::new(FaultKind::StallBefore { ms: 1000 }).on(Endpoint::ObjectAql).times(1));
        } else {
            other.batch_execute(&lock).unwrap();
        }
        let mut waiting = database.connect();
        let work = std::thread::spawn(move || {
            waiting.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')")
        });
        if meanwhile {
            let asks = "SELECT count(*) > 0 FROM assets_fdw.refresh_progress WHERE phase = 'fetching'";
            wait_for(&mut client, "the run asks", asks);
            other.batch_execute(&lock).unwrap();
        }
        wait_for(&mut client, "the run waits", waits);
        if meanwhile {
            let parted = "SELECT count(*) = 2 FROM assets_fdw.refresh_history
                          WHERE outcome = 'skipped' AND error LIKE '%is waited for%'";
            wait_for(&mut client, "the run parts with the others", parted);
        }
        client
            .batch_execute(
                "SET statement_timeout = '25s'; SELECT assets_fdw.refresh('itsm_replica.employee'); RESET statement_timeout",
            )
            .unwrap_or_else(|error| panic!("{mode}: {error:?}\n{}", history(&mut client)));
        let said = note(&mut client);
        assert!(said.contains("itsm_replica.server (another "), "{mode}: {said}");
        other.batch_execute("COMMIT").unwrap();
        work.join().unwrap().unwrap();
        assert_eq!(seen(&mut client, value), "server employee laptop", "{mode}");
    }
    GROUP.iter().for_each(|table| same(&mut client, table));
}

#[test]
fn references_to_what_is_gone_go_also_where_a_full_comparison_found_it_and_where_a_replica_was_locked() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = group(&database, &sim, &GROUP);
    let owners = "SELECT owner_key FROM itsm_replica.server WHERE owner_key IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1";
    let owners: Vec<String> = client.query(owners, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    // A full comparison finds it.
    sim.delete(&owners[0]).unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.employee', 'full')").unwrap();
    GROUP.iter().for_each(|table| same(&mut client, table));
    // Those that refer to it are locked when it is found.
    let mut other = database.connect();
    other.batch_execute("BEGIN; LOCK TABLE itsm_replica.server IN SHARE MODE").unwrap();
    sim.delete(&owners[1]).unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.employee')").unwrap();
    other.batch_execute("COMMIT").unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    GROUP.iter().for_each(|table| same(&mut client, table));
    // The one that is asked for waits, and the others find out by themselves.
    sim.fault(Fault::new(FaultKind::StallBefore { ms: 1000 }).on(Endpoint::ObjectAql).times(1));
    sim.delete(&owners[2]).unwrap();
    let mut waiting = database.connect();
    let work = std::thread::spawn(move || {
        waiting.batch_execute("SELECT assets_fdw.refresh('itsm_replica.employee')")
    });
    let asks = "SELECT count(*) > 0 FROM assets_fdw.refresh_progress WHERE phase = 'fetching'";
    wait_for(&mut client, "the run asks", asks);
    other.batch_execute("BEGIN; LOCK TABLE itsm_replica.employee IN SHARE MODE").unwrap();
    wait_for(
        &mut client,
        "the run parts with the others",
        "SELECT count(*) = 2 FROM assets_fdw.refresh_history WHERE outcome = 'skipped' AND error LIKE '%is waited for%'",
    );
    other.batch_execute("COMMIT").unwrap();
    work.join().unwrap().unwrap();
    client.batch_execute("SELECT assets_fdw.refresh_schema('itsm_replica')").unwrap();
    GROUP.iter().for_each(|table| same(&mut client, table));
    // A value that does not fit keeps it from being written.
    let key = text(&mut client, "SELECT key FROM itsm_replica.server ORDER BY id LIMIT 1");
    sim.update(&key, "Memory GB", &["plenty"]).unwrap();
    sim.delete(&owners[3]).unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.employee')").unwrap();
    assert!(note(&mut client).contains("itsm_replica.server (it failed: value"), "{}", note(&mut client));
    sim.update(&key, "Memory GB", &["64"]).unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    GROUP.iter().for_each(|table| same(&mut client, table));
}

/// A refresh that waited for somebody's lock sees what that one has done.
#[test]
fn what_is_read_of_a_replica_after_its_lock_was_waited_for_is_as_it_is_then() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = group(&database, &sim, &["server", "employee"]);
    let owner = "SELECT owner_key FROM itsm_replica.server WHERE owner_key IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1";
    let owner = text(&mut client, owner);
    // Somebody takes it out, and puts it back while a comparison of everything waits to see what there is.
    client
        .batch_execute(&format!(
            "CREATE TABLE aside AS SELECT * FROM itsm_replica.employee WHERE key = '{owner}';
             DELETE FROM itsm_replica.employee WHERE key = '{owner}'"
        ))
        .unwrap();
    sim.delete(&owner).unwrap();
    sim.fault(Fault::new(FaultKind::StallBefore { ms: 1000 }).on(Endpoint::ObjectAql).times(1));
    let mut waiting = database.connect();
    let work = std::thread::spawn(move || {
        waiting.batch_execute("SELECT assets_fdw.refresh('itsm_replica.employee', 'full')")
    });
    let asks = "SELECT count(*) > 0 FROM assets_fdw.refresh_progress WHERE phase = 'fetching'";
    wait_for(&mut client, "the run asks", asks);
    let mut other = database.connect();
    other
        .batch_execute(
            "BEGIN; LOCK TABLE itsm_replica.employee; INSERT INTO itsm_replica.employee SELECT * FROM aside",
        )
        .unwrap();
    let waits = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 'itsm_replica.employee'::regclass";
    wait_for(&mut client, "the run waits", waits);
    other.batch_execute("COMMIT").unwrap();
    work.join().unwrap().unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    same(&mut client, "employee");
    same(&mut client, "server");
}

#[test]
fn a_scheduled_run_goes_on_without_a_replica_that_is_locked_and_gets_it_when_it_is_free() {
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    for table in GROUP {
        let sql = format!("SELECT assets_fdw.materialize('itsm.{table}', every => '1 second')");
        client.batch_execute(&sql).unwrap();
    }
    wait_for(
        &mut client,
        "the first loads",
        "SELECT bool_and(last_success IS NOT NULL) FROM assets_fdw.materializations",
    );
    // The last of them brought the others to one moment with it: nothing keeps them apart.
    // Nor was whoever made them, and had them locked until that was committed, anybody to wait for.
    let apart = "SELECT count(*) FROM assets_fdw.refresh_history WHERE note LIKE '%by itself%' OR outcome = 'skipped'";
    assert_eq!(number(&mut client, apart), 0, "{}", history(&mut client));
    let mut other = database.connect();
    other.batch_execute("BEGIN; LOCK TABLE itsm_replica.server IN SHARE MODE").unwrap();
    change_each(&sim, &mut client, "first");
    let others = "SELECT (SELECT count(*) FROM itsm_replica.employee WHERE label = 'first')
                       + (SELECT count(*) FROM itsm_replica.laptop WHERE label = 'first') = 2";
    wait_for(&mut client, "the others go on", others);
    let why = "SELECT last_error LIKE '%locked%' FROM assets_fdw.materializations WHERE target = 'itsm_replica.server'::regclass";
    wait_for(&mut client, "it says why", why);
    other.batch_execute("COMMIT").unwrap();
    wait_for(
        &mut client,
        "it has it too",
        "SELECT count(*) = 1 FROM itsm_replica.server WHERE label = 'first'",
    );
    let healthy = "SELECT max(failures) = 0 FROM assets_fdw.materializations";
    wait_for(&mut client, "all is well", healthy);
}

#[test]
fn two_refreshes_of_one_group_at_once_take_turns_and_both_succeed() {
    let (sim, server) = (small(), Server::start(&[("max_worker_processes", "20")]));
    let database = server.create_database();
    let mut client = group(&database, &sim, &GROUP);
    for n in 0..4 {
        change_each(&sim, &mut client, &format!("round-{n}"));
        sim.fault(Fault::new(FaultKind::StallBefore { ms: 50 }).on(Endpoint::ObjectAql));
        let work: Vec<_> = GROUP
            .iter()
            .chain(&GROUP)
            .map(|table| {
                let mut session = database.connect();
                let sql = format!("SELECT assets_fdw.refresh('itsm_replica.{table}')");
                std::thread::spawn(move || session.batch_execute(&sql))
            })
            .collect();
        for thread in work {
            thread.join().unwrap().unwrap_or_else(|error| panic!("{error:?}"));
        }
        sim.clear_faults();
        assert_eq!(seen(&mut client, &format!("round-{n}")), "server employee laptop");
    }
    let failed = "SELECT count(*) FROM assets_fdw.refresh_history WHERE outcome NOT IN ('ok')";
    assert_eq!(number(&mut client, failed), 0, "{}", history(&mut client));
}
