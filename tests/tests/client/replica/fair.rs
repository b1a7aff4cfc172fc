//! Nobody is starved and nobody storms: whatever is asked for, fails, or is looked at, by lateness and with back-off;
//! and a database that was out of reach for a while is looked after again.

use std::sync::atomic::{AtomicBool, Ordering};

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::{Endpoint, Fault, FaultKind};

use super::*;

const OK_RUNS: &str = "SELECT count(*) FROM assets_fdw.refresh_history WHERE outcome = 'ok'";

/// Ends a storm, also where the test fails: its thread is waited for.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn requests_without_end_hold_up_no_schedule_and_failures_of_ones_own_back_off_whatever_others_do() {
    let (sim, server) = (small(), preloaded(&[("assets_fdw.max_workers", "1")]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    let identity = &sim.identities()[0];
    // Two groups: of two owners.
    client
        .batch_execute(&format!(
            "SELECT assets_fdw.materialize('itsm.server', every => '1 day');
             SELECT assets_fdw.materialize('itsm.laptop', every => '1 day');
             CREATE ROLE keeper LOGIN; GRANT USAGE ON SCHEMA itsm TO keeper; GRANT SELECT ON itsm.server TO keeper;
             GRANT CREATE ON DATABASE {} TO keeper;
             CREATE USER MAPPING FOR keeper SERVER assets OPTIONS (email '{}', api_token '{}')",
            database.name(),
            identity.name,
            identity.secret
        ))
        .unwrap();
    let mut keeper = database.connect_as("keeper");
    keeper
        .batch_execute("SELECT assets_fdw.materialize('itsm.server', 'kept.server', every => '2 seconds')")
        .unwrap();
    wait_for(
        &mut client,
        "the first loads",
        "SELECT bool_and(last_success IS NOT NULL) FROM assets_fdw.materializations",
    );
    // Each run takes longer than it takes until the next request comes.
    sim.fault(Fault::new(FaultKind::StallBefore { ms: 200 }).on(Endpoint::ObjectAql));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = Over(&done);
        scope.spawn(|| {
            let mut storm = database.connect();
            while !done.load(Ordering::Relaxed) {
                storm.batch_execute("SELECT assets_fdw.request_refresh('itsm_replica.server')").unwrap();
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let of = |target: &str, more: &str| {
            format!("SELECT count(*) FROM assets_fdw.refresh_history WHERE target = '{target}' AND {more}")
        };
        let scheduled = of("kept.server", "reason = 'schedule' AND outcome = 'ok'");
        let before = number(&mut keeper, &scheduled);
        wait_for(&mut keeper, "the schedule is kept", &format!("SELECT ({scheduled}) > {before} + 2"));
        let asked = of("itsm_replica.server", "reason = 'request' AND outcome = 'ok'");
        assert!(number(&mut client, &asked) > 0);

        // What it raises is what a service's limit is raised with; its neighbours and its group go on.
        sim.clear_faults();
        client
            .batch_execute(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
                     BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '53400'; END $$;
                 CREATE TRIGGER refuse BEFORE UPDATE ON itsm_replica.server FOR EACH ROW EXECUTE FUNCTION refuse();
                 SELECT assets_fdw.alter_materialization('itsm_replica.laptop', every => '1 second')",
            )
            .unwrap();
        let key = text(&mut client, "SELECT key FROM itsm_replica.server ORDER BY id LIMIT 1");
        sim.update(&key, "Operating System", &["Plan 9"]).unwrap();
        let failed = of("itsm_replica.server", "outcome = 'failed'");
        wait_for(&mut client, "it fails", &format!("SELECT ({failed}) > 1"));
        let laptop = of("itsm_replica.laptop", "outcome = 'ok'");
        let before = number(&mut client, &laptop);
        wait_for(&mut client, "its neighbour goes on", &format!("SELECT ({laptop}) > {before} + 8"));
        // Within some ten seconds: pauses of one, ten and twenty, and one request in each.
        let failures = number(&mut client, &failed);
        assert!(failures <= 6, "{failures} failures: {}", history(&mut client));
    });
    assert_eq!(server.crashes(), Vec::<String>::new());
}

#[test]
fn a_full_comparison_holds_up_neither_another_group_nor_for_long_its_own() {
    let (sim, server) = (small(), preloaded(&[("assets_fdw.max_workers", "1")]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    let identity = &sim.identities()[0];
    for table in ["server", "laptop", "employee"] {
        client
            .batch_execute(&format!("SELECT assets_fdw.materialize('itsm.{table}', every => '1 second')"))
            .unwrap();
    }
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
    let mut keeper = database.connect_as("keeper");
    keeper
        .batch_execute("SELECT assets_fdw.materialize('itsm.server', 'kept.server', every => '1 second')")
        .unwrap();
    wait_for(
        &mut client,
        "the first loads",
        "SELECT bool_and(last_success IS NOT NULL) FROM assets_fdw.materializations",
    );
    let laptops = type_of(&mut client, "laptop");
    sim.fault(
        Fault::new(FaultKind::StallBefore { ms: 120_000 })
            .on(Endpoint::ObjectAql)
            .about(&format!("objectTypeId = {laptops}")),
    );
    let mut by_hand = database.connect();
    let token = by_hand.cancel_token();
    let work = std::thread::spawn(move || {
        by_hand.batch_execute("SELECT assets_fdw.refresh('itsm_replica.laptop', 'full')").is_err()
    });
    wait_for(
        &mut client,
        "it is compared",
        "SELECT count(*) = 1 FROM assets_fdw.refresh_progress AS p JOIN assets_fdw.refresh_history AS h ON h.id = p.run
         WHERE p.target = 'itsm_replica.laptop'::regclass AND h.mode = 'full' AND p.phase = 'fetching'",
    );
    // Nobody waits in the only worker.
    let runs =
        "SELECT count(*) FROM assets_fdw.refresh_history WHERE target = 'kept.server' AND outcome = 'ok'";
    let before = number(&mut keeper, runs);
    wait_for(&mut keeper, "another group goes on", &format!("SELECT ({runs}) > {before} + 7"));
    let key = text(&mut client, "SELECT key FROM itsm_replica.server ORDER BY id LIMIT 1");
    sim.update(&key, "Operating System", &["Plan 9"]).unwrap();
    let there = format!("SELECT operating_system = 'Plan 9' FROM itsm_replica.server WHERE key = '{key}'");
    wait_for(&mut client, "its own group goes on, too", &there);
    let said = "SELECT bool_or(note LIKE 'without itsm_replica.laptop (another refresh%') FROM assets_fdw.refresh_history
                WHERE outcome = 'ok' AND id > (SELECT max(id) FROM assets_fdw.refresh_history WHERE mode = 'full')";
    wait_for(&mut client, "and says so", said);
    sim.clear_faults();
    token.cancel_query(postgres::NoTls).unwrap();
    assert!(work.join().unwrap());
    wait_for(
        &mut client,
        "it comes along again",
        "SELECT note IS NULL FROM assets_fdw.refresh_history WHERE outcome = 'ok' AND target LIKE 'itsm%' ORDER BY id DESC LIMIT 1",
    );
}

/// The id of a type, as the query of its foreign table has it.
fn type_of(client: &mut Client, table: &str) -> String {
    let plan = client.query(&format!("EXPLAIN (VERBOSE) SELECT id FROM itsm.{table}"), &[]).unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    let id = plan.iter().find_map(|line| line.split_once("objectTypeId = ")).expect("its type").1;
    id.chars().take_while(char::is_ascii_digit).collect()
}

/// What a run was started for is not always what it does.
#[test]
fn a_run_that_turns_into_a_comparison_of_everything_counts_as_one() {
    let (sim, server) = (small(), preloaded(&[("assets_fdw.max_workers", "2")]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    client.batch_execute("SELECT assets_fdw.materialize('itsm.laptop', every => '1 second')").unwrap();
    let identity = &sim.identities()[0];
    for (role, table) in [("one", "server"), ("other", "employee")] {
        client
            .batch_execute(&format!(
                "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA itsm TO {role}; GRANT SELECT ON itsm.{table} TO {role};
                 GRANT CREATE ON DATABASE {} TO {role};
                 CREATE USER MAPPING FOR {role} SERVER assets OPTIONS (email '{}', api_token '{}')",
                database.name(),
                identity.name,
                identity.secret
            ))
            .unwrap();
        let make =
            format!("SELECT assets_fdw.materialize('itsm.{table}', '{role}.{table}', every => '1 second')");
        database.connect_as(role).batch_execute(&make).unwrap();
    }
    let loaded =
        "SELECT bool_and(last_success IS NOT NULL) AND count(*) = 3 FROM assets_fdw.materializations";
    wait_for(&mut client, "the first loads", loaded);
    for table in ["laptop", "server"] {
        let asked = format!("objectTypeId = {}", type_of(&mut client, table));
        sim.fault(Fault::new(FaultKind::StallBefore { ms: 120_000 }).on(Endpoint::ObjectAql).about(&asked));
    }
    // Nothing is known any more that it could be asked for changes by; a run under way may know it once more.
    wait_for(
        &mut client,
        "it is compared",
        "WITH unknown AS (
             UPDATE assets_fdw.replica_state SET since_here = NULL
             WHERE target = 'itsm_replica.laptop'::regclass AND since_here IS NOT NULL)
         SELECT count(*) > 0 FROM assets_fdw.refresh_history
         WHERE target = 'itsm_replica.laptop' AND outcome = 'running' AND mode = 'full'",
    );
    let runs = |target: &str| {
        format!(
            "SELECT count(*) FROM assets_fdw.refresh_history WHERE target = '{target}' AND outcome = 'ok'"
        )
    };
    database
        .connect_as("one")
        .batch_execute("SELECT assets_fdw.alter_materialization('one.server', full_every => '1 second')")
        .unwrap();
    for target in ["one.server", "other.employee"] {
        let before = number(&mut client, &runs(target));
        wait_for(&mut client, target, &format!("SELECT ({}) > {before} + 3", runs(target)));
    }
}

/// A process that makes statistics is done with what it was started for.
#[test]
fn statistics_that_take_long_hold_up_no_refresh_of_their_group() {
    let (sim, server) = (small(), preloaded(&[("assets_fdw.max_workers", "2")]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    for table in ["server", "employee"] {
        client
            .batch_execute(&format!("SELECT assets_fdw.materialize('itsm.{table}', every => '1 second')"))
            .unwrap();
    }
    let loaded = "SELECT bool_and(last_success IS NOT NULL) FROM assets_fdw.materializations";
    wait_for(&mut client, "the first loads", loaded);
    let mut other = database.connect();
    other.batch_execute("SELECT pg_advisory_lock(42)").unwrap();
    client
        .batch_execute(
            "CREATE FUNCTION itsm_replica.slowly(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
                 LOOP EXIT WHEN pg_try_advisory_xact_lock_shared(42); PERFORM pg_sleep(0.05); END LOOP;
                 RETURN $1; END $$;
             CREATE STATISTICS itsm_replica.slow ON (itsm_replica.slowly(key)) FROM itsm_replica.server;
             DELETE FROM itsm_replica.server; SELECT assets_fdw.request_refresh('itsm_replica.server')",
        )
        .unwrap();
    // Asked for by hand, since a request may come while the deletion is unknown.
    let mut waiting = database.connect();
    let work = std::thread::spawn(move || {
        waiting.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server', 'full')")
    });
    wait_for(
        &mut client,
        "statistics are made",
        "SELECT count(*) > 0 FROM pg_stat_progress_analyze WHERE relid = 'itsm_replica.server'::regclass",
    );
    for n in 0..2 {
        let value = format!("round {n}");
        for table in ["server", "employee"] {
            let key = text(&mut client, &format!("SELECT key FROM itsm_replica.{table} ORDER BY id LIMIT 1"));
            sim.update(&key, "Name", &[&value]).unwrap();
        }
        let there = format!(
            "SELECT (SELECT count(*) FROM itsm_replica.server WHERE label = '{value}')
                  + (SELECT count(*) FROM itsm_replica.employee WHERE label = '{value}') = 2"
        );
        wait_for(&mut client, "the group goes on", &there);
        client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.employee', 'incremental')").unwrap();
    }
    other.batch_execute("SELECT pg_advisory_unlock(42)").unwrap();
    work.join().unwrap().unwrap();
}

/// Waits until more runs have succeeded.
#[track_caller]
fn goes_on(client: &mut Client, what: &str) {
    let runs = number(client, OK_RUNS);
    wait_for(client, what, &format!("SELECT ({OK_RUNS}) > {runs} + 1"));
}

/// Whether no process of ours is in a database.
fn nobody_is_in(database: &str) -> String {
    format!(
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = '{database}' AND backend_type LIKE 'assets_fdw%'"
    )
}

/// The launcher sees neither that a database is closed nor that it is not named, only that it was: what happens to its
/// scheduler meanwhile has to reach it some other way.
#[test]
fn a_database_that_was_closed_or_not_named_for_a_moment_is_looked_after_although_the_launcher_saw_nothing() {
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let name = database.name();
    let mut outside = server.connect("postgres", "postgres");
    let mut client = import(&database, &sim);
    loaded(&mut client, "1 second");
    let left = nobody_is_in(name);
    let launcher = "SELECT pid::bigint FROM pg_stat_activity WHERE backend_type = 'assets_fdw launcher'";
    let launcher = u32::try_from(number(&mut outside, launcher)).unwrap();
    let (close, open) = ("ALLOW_CONNECTIONS false", "ALLOW_CONNECTIONS true");
    let [close, open] = [close, open].map(|what| vec![format!("ALTER DATABASE {name} {what}")]);
    let reload = || "SELECT pg_reload_conf()".to_owned();
    let unname = vec!["ALTER SYSTEM SET assets_fdw.databases = 'none_such'".to_owned(), reload()];
    let rename = vec!["ALTER SYSTEM RESET assets_fdw.databases".to_owned(), reload()];
    for (what, away, back) in [("closed", close, open), ("not named", unname, rename)] {
        server.halt(launcher, true);
        away.iter().for_each(|sql| outside.batch_execute(sql).unwrap());
        wait_for(&mut outside, &format!("nothing runs in a database that is {what}"), &left);
        back.iter().for_each(|sql| outside.batch_execute(sql).unwrap());
        server.halt(launcher, false);
        goes_on(&mut client, &format!("after it was {what}"));
    }
    assert_eq!(server.crashes(), Vec::<String>::new());
}

#[test]
fn a_database_that_was_closed_or_a_template_or_had_another_name_is_looked_after_again() {
    let (sim, server) = (small(), preloaded(&[("max_prepared_transactions", "5")]));
    let database = server.create_database();
    let name = database.name();
    let mut outside = server.connect("postgres", "postgres");
    let mut client = import(&database, &sim);
    loaded(&mut client, "1 second");
    let left = nobody_is_in(name);
    outside.batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).unwrap();
    wait_for(&mut outside, "nothing runs in a closed database", &left);
    outside.batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).unwrap();
    goes_on(&mut client, "after it was closed");
    assert_eq!(number(&mut client, "SELECT max(failures)::bigint FROM assets_fdw.materializations"), 0);

    outside.batch_execute(&format!("ALTER DATABASE {name} IS_TEMPLATE true")).unwrap();
    let end = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE datname = '{name}' AND backend_type = 'assets_fdw scheduler'"
    );
    assert_eq!(number(&mut outside, &end), 1);
    wait_for(&mut outside, "the scheduler has ended", &left);
    // It is not started again, which nothing shows.
    std::thread::sleep(Duration::from_millis(1200));
    outside.batch_execute(&format!("ALTER DATABASE {name} IS_TEMPLATE false")).unwrap();
    goes_on(&mut client, "after it was a template");

    // A list names the name that it gets.
    outside.batch_execute("ALTER SYSTEM SET assets_fdw.databases = 'later'").unwrap();
    outside.batch_execute("SELECT pg_reload_conf()").unwrap();
    wait_for(&mut outside, "nothing runs in a database that is not named", &left);
    drop(client);
    outside.batch_execute(&format!("ALTER DATABASE {name} RENAME TO later")).unwrap();
    let mut client = server.connect("later", "postgres");
    goes_on(&mut client, "under its new name");
    drop(client);
    outside.batch_execute(&format!("ALTER DATABASE later RENAME TO {name}")).unwrap();

    // The first job of a database comes with a commit in two phases.
    outside.batch_execute("ALTER SYSTEM RESET assets_fdw.databases").unwrap();
    outside.batch_execute("SELECT pg_reload_conf()").unwrap();
    let second = server.create_database();
    let mut client = import(&second, &sim);
    let looked = format!(
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = '{}' AND backend_type = 'assets_fdw scheduler'",
        second.name()
    );
    // The launcher has had it looked at by now.
    std::thread::sleep(Duration::from_millis(500));
    wait_for(&mut outside, "there is nothing to do", &looked);
    client
        .batch_execute(
            "BEGIN; SELECT assets_fdw.materialize('itsm.server', every => '1 hour'); PREPARE TRANSACTION 'first'",
        )
        .unwrap();
    let mut other = second.connect();
    other.batch_execute("COMMIT PREPARED 'first'").unwrap();
    wait_for(
        &mut client,
        "the first load",
        "SELECT last_success IS NOT NULL FROM assets_fdw.materializations",
    );
    assert_eq!(server.crashes(), Vec::<String>::new());
}

#[test]
fn a_replica_that_waits_for_a_process_says_so() {
    // One is logical replication's launcher, one is ours: none is left for a scheduler, or one, and none for a run.
    for processes in ["2", "3"] {
        let (sim, server) = (small(), preloaded(&[("max_worker_processes", processes)]));
        let database = server.create_database();
        let mut client = import(&database, &sim);
        client.batch_execute("SELECT assets_fdw.materialize('itsm.server')").unwrap();
        wait_for(
            &mut client,
            processes,
            "SELECT state <> 'waiting' AND failures = 0 AND last_error LIKE '%no background worker to spare%max_worker_processes%'
             FROM assets_fdw.materializations",
        );
    }
}

#[test]
fn the_next_run_is_when_the_scheduler_has_it_also_where_a_day_has_23_hours() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = super::incremental::group(&database, &sim, &["server"]);
    client
        .batch_execute(
            "SELECT assets_fdw.alter_materialization('itsm_replica.server', every => '1 day');
             UPDATE assets_fdw.replica_state SET base = '2026-03-28 12:00+00'",
        )
        .unwrap();
    for zone in ["UTC", "Europe/Berlin", "America/New_York"] {
        client.batch_execute(&format!("SET timezone = '{zone}'")).unwrap();
        let sql = "SELECT (next_run AT TIME ZONE 'UTC')::text FROM assets_fdw.materializations";
        assert_eq!(text(&mut client, sql), "2026-03-29 12:00:00", "{zone}");
    }
    client
        .batch_execute("SELECT assets_fdw.alter_materialization('itsm_replica.server', every => '1 month')")
        .unwrap();
    let sql = "SELECT (next_run AT TIME ZONE 'UTC')::text FROM assets_fdw.materializations";
    assert_eq!(text(&mut client, sql), "2026-04-27 12:00:00");
}

#[test]
fn drift_is_looked_at_whichever_schema_of_the_group_is_refreshed_and_whatever_the_clock_said() {
    let (sim, server) = (small(), preloaded(&[("assets_fdw.drift_interval", "300ms")]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    // The other schema's replica is always the one that a run is for.
    client
        .batch_execute(
            "CREATE SCHEMA quick; IMPORT FOREIGN SCHEMA \"ITSM\" LIMIT TO (server) FROM SERVER assets INTO quick;
             SELECT assets_fdw.materialize('quick.server', every => '1 second');
             SELECT assets_fdw.materialize_schema('itsm', every => '1 day', drift => 'apply')",
        )
        .unwrap();
    wait_for(
        &mut client,
        "the first loads",
        "SELECT bool_and(last_success IS NOT NULL) FROM assets_fdw.materializations",
    );
    wait_for(&mut client, "a look", "SELECT state = 'in step' FROM assets_fdw.materialized_schemas");
    // The clock was set back since.
    client
        .batch_execute(
            "UPDATE assets_fdw.replica_schema SET looked = now() + interval '1 day', compared = now() + interval '1 day'",
        )
        .unwrap();
    sim.add_type("ITSM", "Rack", None).unwrap();
    let there = "SELECT to_regclass('itsm_replica.rack') IS NOT NULL";
    wait_for(&mut client, "the new type's replica", there);
    let led = "SELECT count(*) FROM assets_fdw.refresh_history
               WHERE target LIKE 'itsm_replica.%' AND with_run IS NULL AND reason <> 'first load'";
    assert_eq!(number(&mut client, led), 0, "{}", history(&mut client));
}

#[test]
fn a_run_that_did_not_begin_holds_up_nobody_while_its_process_ends() {
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    loaded(&mut client, "1 second");
    client
        .batch_execute(
            "CREATE SCHEMA fac; IMPORT FOREIGN SCHEMA \"FAC\" LIMIT TO (city) FROM SERVER assets INTO fac;
             SELECT assets_fdw.materialize('fac.city', every => '1 day')",
        )
        .unwrap();
    let loaded = "SELECT bool_and(last_success IS NOT NULL) FROM assets_fdw.materializations";
    wait_for(&mut client, "both are loaded", loaded);
    // What a run begins with is kept from it, while there is none.
    let mut holder = database.connect();
    loop {
        holder
            .batch_execute(
                "BEGIN; SELECT FROM assets_fdw.replica_state WHERE target = 'itsm_replica.server'::regclass FOR UPDATE",
            )
            .unwrap();
        let state =
            "SELECT state FROM assets_fdw.materializations WHERE target = 'itsm_replica.server'::regclass";
        if text(&mut client, state) != "running" {
            break;
        }
        holder.batch_execute("ROLLBACK").unwrap();
    }
    let waiting =
        "FROM pg_stat_activity WHERE backend_type = 'assets_fdw refresh' AND wait_event_type = 'Lock'";
    wait_for(&mut client, "a run waits", &format!("SELECT EXISTS (SELECT {waiting})"));
    client.batch_execute(&format!("SELECT pg_cancel_backend(pid) {waiting}")).unwrap();
    // Its note goes in; whatever it writes after that waits.
    let mut second = database.connect();
    let pid = number(&mut second, "SELECT pg_backend_pid()::bigint");
    let lock = std::thread::spawn(move || {
        second.batch_execute("BEGIN; LOCK TABLE assets_fdw.replica_run IN SHARE MODE").unwrap();
        second
    });
    let queued = format!("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = {pid}");
    wait_for(&mut client, "the lock is waited for", &queued);
    holder.batch_execute("ROLLBACK").unwrap();
    let mut second = lock.join().unwrap();
    client.batch_execute("SELECT assets_fdw.request_refresh('fac_replica.city')").unwrap();
    wait_for(&mut client, "another replica's run was started", &format!("SELECT count(*) >= 2 {waiting}"));
    second.batch_execute("ROLLBACK").unwrap();
    wait_for(
        &mut client,
        "both go on",
        "SELECT count(DISTINCT target) = 2 FROM assets_fdw.refresh_history AS h WHERE outcome = 'ok'
             AND id > (SELECT max(id) FROM assets_fdw.refresh_history WHERE mode IS NULL)",
    );
}
