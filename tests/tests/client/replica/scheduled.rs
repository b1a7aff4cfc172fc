//! What happens by itself, on a server with the library preloaded.

use std::time::Instant;

use assets_fdw_tests::assets_sim::{Endpoint, Fault, FaultKind};

use super::*;

const OK_RUNS: &str = "SELECT count(*) FROM assets_fdw.refresh_history WHERE outcome = 'ok'";

#[test]
fn materialize_returns_at_once_and_the_first_load_starts_at_commit() {
    let (sim, server) = (small(), preloaded(&[("assets_fdw.naptime", "1h")]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    client.batch_execute("BEGIN; SELECT assets_fdw.materialize('itsm.server', every => '1 hour')").unwrap();
    sim.clear_log();
    let mut other = database.connect();
    assert_eq!(number(&mut other, "SELECT count(*) FROM assets_fdw.materializations"), 0);
    client.batch_execute("COMMIT").unwrap();
    let committed = Instant::now();
    // With a naptime of an hour: it is the commit that wakes the launcher, and it the scheduler.
    wait_for(
        &mut client,
        "the first load",
        "SELECT last_success IS NOT NULL FROM assets_fdw.materializations",
    );
    assert!(committed.elapsed() < Duration::from_secs(10));
    assert_eq!(differences(&mut client), 0);
    let run = text(&mut client, "SELECT reason || ' ' || outcome FROM assets_fdw.refresh_history");
    assert_eq!(run, "first load ok");
    assert_eq!(server.crashes(), Vec::<String>::new());
}

#[test]
fn a_rolled_back_materialize_leaves_nothing_and_starts_nothing() {
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    client.batch_execute("BEGIN; SELECT assets_fdw.materialize('itsm.server'); ROLLBACK").unwrap();
    assert_eq!(number(&mut client, "SELECT count(*) FROM pg_namespace WHERE nspname = 'itsm_replica'"), 0);
    assert_eq!(number(&mut client, "SELECT count(*) FROM assets_fdw.materializations"), 0);
}

#[test]
fn changes_arrive_by_themselves_and_a_request_brings_them_at_once() {
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    loaded(&mut client, "1 second");
    let keys = client.query("SELECT key FROM itsm.server ORDER BY id LIMIT 2", &[]).unwrap();
    let (changed, gone): (String, String) = (keys[0].get(0), keys[1].get(0));
    sim.update(&changed, "Operating System", &["Plan 9"]).unwrap();
    sim.delete(&gone).unwrap();
    let sql = format!(
        "SELECT (SELECT operating_system FROM itsm_replica.server WHERE key = '{changed}') = 'Plan 9'
                AND NOT EXISTS (SELECT FROM itsm_replica.server WHERE key = '{gone}')"
    );
    wait_for(&mut client, "the changes", &sql);

    client
        .batch_execute("SELECT assets_fdw.alter_materialization('itsm_replica.server', every => '1 day')")
        .unwrap();
    wait_for(
        &mut client,
        "the last run of the old schedule is over",
        "SELECT state = 'waiting' FROM assets_fdw.materializations",
    );
    sim.update(&changed, "Operating System", &["Inferno"]).unwrap();
    client.batch_execute("SELECT assets_fdw.request_refresh('itsm_replica.server')").unwrap();
    let sql = format!("SELECT operating_system = 'Inferno' FROM itsm_replica.server WHERE key = '{changed}'");
    wait_for(&mut client, "what was asked for", &sql);
    let reasons =
        text(&mut client, "SELECT string_agg(DISTINCT reason, ', ') FROM assets_fdw.refresh_history");
    assert_eq!(reasons, "first load, request, schedule");
    assert_eq!(differences(&mut client), 0);
}

#[test]
fn a_request_takes_effect_within_a_second_of_its_commit_and_not_before() {
    let (sim, server) = (small(), preloaded(&[("assets_fdw.naptime", "1h")]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    loaded(&mut client, "1 day");
    // As an automation rule would by an HTTP gateway: somebody inserts a row, and its trigger asks.
    client
        .batch_execute(
            "CREATE TABLE asked (at timestamptz);
             CREATE FUNCTION ask() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN PERFORM assets_fdw.request_refresh('itsm_replica.server'); RETURN NULL; END $$;
             CREATE TRIGGER ask AFTER INSERT ON asked EXECUTE FUNCTION ask()",
        )
        .unwrap();
    let mut fastest = f64::MAX;
    for _ in 0..5 {
        let runs = number(&mut client, OK_RUNS);
        client.batch_execute("BEGIN; INSERT INTO asked VALUES (clock_timestamp())").unwrap();
        let mut other = database.connect();
        assert_eq!(number(&mut other, "SELECT count(*) FROM assets_fdw.replica_request"), 0);
        client.batch_execute("COMMIT").unwrap();
        wait_for(&mut client, "the run", &format!("SELECT ({OK_RUNS}) > {runs}"));
        let waited = "SELECT extract(epoch FROM max(started) - (SELECT max(at) FROM asked))::float8
                      FROM assets_fdw.refresh_history";
        fastest = fastest.min(client.query_one(waited, &[]).unwrap().get(0));
    }
    // The fastest of five: the machine may be busy.
    assert!(fastest < 1.0, "{fastest} s");
}

#[test]
fn a_gateways_role_may_ask_for_a_refresh_and_do_nothing_else() {
    let (sim, server) = (small(), preloaded(&[("assets_fdw.naptime", "1h")]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    loaded(&mut client, "1 day");
    // As the README has it.
    client
        .batch_execute(
            "CREATE ROLE authenticator LOGIN NOINHERIT; CREATE ROLE automation NOLOGIN; GRANT automation TO authenticator;
             CREATE SCHEMA api; GRANT USAGE ON SCHEMA api TO automation;
             CREATE FUNCTION api.refresh_servers() RETURNS void LANGUAGE sql SECURITY DEFINER
                 SET search_path = pg_catalog, pg_temp
                 AS $$ SELECT assets_fdw.request_refresh('itsm_replica.server') $$;
             REVOKE ALL ON FUNCTION api.refresh_servers() FROM PUBLIC;
             GRANT EXECUTE ON FUNCTION api.refresh_servers() TO automation",
        )
        .unwrap();
    let mut gateway = database.connect_as("authenticator");
    let mut fastest = f64::MAX;
    for _ in 0..3 {
        let runs = number(&mut client, OK_RUNS);
        // A gateway's request is a transaction in the role that its token names.
        gateway
            .batch_execute("BEGIN; SET LOCAL ROLE automation; SELECT api.refresh_servers(); COMMIT")
            .unwrap();
        let committed = text(&mut client, "SELECT clock_timestamp()::text");
        wait_for(&mut client, "the run", &format!("SELECT ({OK_RUNS}) > {runs}"));
        let waited = format!(
            "SELECT extract(epoch FROM max(started) - '{committed}'::timestamptz)::float8 FROM assets_fdw.refresh_history"
        );
        fastest = fastest.min(client.query_one(&waited, &[]).unwrap().get(0));
    }
    assert!(fastest < 1.0, "{fastest} s");
    for sql in [
        "SELECT assets_fdw.request_refresh('itsm_replica.server')",
        "SELECT assets_fdw.refresh('itsm_replica.server')",
        "SELECT count(*) FROM itsm_replica.server",
        "SELECT count(*) FROM itsm.server",
    ] {
        let (state, message) = error_of(&mut gateway, &format!("BEGIN; SET LOCAL ROLE automation; {sql}"));
        assert_eq!(state, "42501", "{sql}: {message}");
        gateway.batch_execute("ROLLBACK").unwrap();
    }
    let (state, _) = error_of(&mut gateway, "SELECT api.refresh_servers()");
    assert_eq!(state, "42501", "without the role");
}

#[test]
fn what_was_missed_while_the_server_was_down_is_one_run() {
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    loaded(&mut client, "2 seconds");
    drop(client);
    server.stop(assets_fdw_tests::Stop::Fast);
    std::thread::sleep(Duration::from_secs(7));
    server.start_again();
    let mut client = database.connect();
    let since = text(&mut client, "SELECT pg_postmaster_start_time()::text");
    let runs = format!(
        "SELECT count(*) FROM assets_fdw.refresh_history WHERE outcome = 'ok' AND started > '{since}'"
    );
    wait_for(&mut client, "three runs", &format!("SELECT ({runs}) >= 3"));
    let gap = format!(
        "SELECT extract(epoch FROM max(started) - min(started))::float8 FROM (
             SELECT started FROM assets_fdw.refresh_history WHERE started > '{since}' ORDER BY id LIMIT 3) AS r"
    );
    let gap: f64 = client.query_one(&gap, &[]).unwrap().get(0);
    assert!(gap > 2.0, "three runs within {gap} s: what was missed was made up for more than once");
}

#[test]
fn a_disabled_replica_is_left_alone_until_it_is_enabled() {
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    loaded(&mut client, "1 second");
    client
        .batch_execute("SELECT assets_fdw.alter_materialization('itsm_replica.server', enabled => false)")
        .unwrap();
    wait_for(&mut client, "nothing runs", "SELECT state = 'disabled' FROM assets_fdw.materializations");
    // What is asked for in vain is not kept for ever.
    client.batch_execute("SELECT assets_fdw.request_refresh('itsm_replica.server')").unwrap();
    wait_for(&mut client, "the request is gone", "SELECT count(*) = 0 FROM assets_fdw.replica_request");
    // The scheduler leaves a database in which nothing is to be done.
    wait_for(
        &mut client,
        "the scheduler has left",
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'assets_fdw scheduler'",
    );
    let before = number(&mut client, OK_RUNS);
    client
        .batch_execute("SELECT assets_fdw.alter_materialization('itsm_replica.server', enabled => true)")
        .unwrap();
    wait_for(&mut client, "it goes on", &format!("SELECT ({OK_RUNS}) > {before}"));
}

#[test]
fn failures_back_off_say_why_and_end_when_the_service_recovers() {
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    client.batch_execute("ALTER SERVER assets OPTIONS (ADD retry_timeout '100ms')").unwrap();
    loaded(&mut client, "1 second");
    sim.fault(Fault::new(FaultKind::Status { status: 503 }).on(Endpoint::ObjectAql));
    wait_for(
        &mut client,
        "two failures",
        "SELECT state = 'failing' AND failures >= 2 AND last_error IS NOT NULL AND next_run > now()
         FROM assets_fdw.materializations",
    );
    let sql =
        "SELECT string_agg(DISTINCT sqlstate, ',') FROM assets_fdw.refresh_history WHERE outcome = 'failed'";
    assert_eq!(text(&mut client, sql), "HV00N");
    sim.clear_faults();
    wait_for(
        &mut client,
        "it recovers",
        "SELECT state = 'waiting' AND failures = 0 AND last_error IS NULL FROM assets_fdw.materializations",
    );
    let attempts = "SELECT max(attempt)::bigint FROM assets_fdw.refresh_history WHERE outcome = 'ok'";
    assert!(number(&mut client, attempts) >= 3);
    assert_eq!(differences(&mut client), 0);
}

#[test]
fn a_replica_that_always_fails_holds_up_no_other() {
    let (sim, server) = (small(), preloaded(&[("assets_fdw.max_workers", "1")]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    client
        .batch_execute(
            "CREATE FOREIGN TABLE broken (id bigint OPTIONS (field 'id'), x text OPTIONS (attribute 'No Such Thing'))
                 SERVER assets OPTIONS (object_schema 'ITSM', object_type 'Server');
             SELECT assets_fdw.materialize('broken', 'broken_replica', every => '1 second')",
        )
        .unwrap();
    client.batch_execute("SELECT assets_fdw.materialize('itsm.server', every => '1 second')").unwrap();
    wait_for(&mut client, "three good runs", &format!("SELECT ({OK_RUNS}) >= 3"));
    let sql = "SELECT failures > 0 AND last_error LIKE '%No Such Thing%' FROM assets_fdw.materializations
               WHERE target = 'broken_replica'::regclass";
    wait_for(&mut client, "the broken one says why", sql);
}

#[test]
fn max_workers_bounds_what_runs_at_once() {
    let (sim, server) = (small(), preloaded(&[("assets_fdw.max_workers", "2")]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    sim.fault(Fault::new(FaultKind::StallBefore { ms: 200 }).on(Endpoint::ObjectAql));
    client
        .batch_execute("SELECT assets_fdw.materialize('itsm.server', 'r' || n, every => '1 hour') FROM generate_series(1, 5) AS n")
        .unwrap();
    wait_for(
        &mut client,
        "all are loaded",
        "SELECT count(*) = 5 FROM assets_fdw.materializations WHERE last_success IS NOT NULL",
    );
    // Those that a run takes along have no process of their own.
    let most = "SELECT max(n) FROM (SELECT count(*) AS n FROM assets_fdw.refresh_history AS a JOIN assets_fdw.refresh_history AS b
                ON a.started >= b.started AND a.started < b.finished AND a.with_run IS NULL AND b.with_run IS NULL GROUP BY a.id) AS t";
    assert!(number(&mut client, most) <= 2, "{}", history(&mut client));
}

#[test]
fn a_reload_changes_which_databases_are_looked_after() {
    let (sim, server) = (small(), preloaded(&[("assets_fdw.databases", "elsewhere")]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    client.batch_execute("SELECT assets_fdw.materialize('itsm.server', every => '1 second')").unwrap();
    client
        .batch_execute(&format!("ALTER SYSTEM SET assets_fdw.databases = 'elsewhere,{}'", database.name()))
        .unwrap();
    client.batch_execute("SELECT pg_reload_conf()").unwrap();
    wait_for(
        &mut client,
        "the first load",
        "SELECT last_success IS NOT NULL FROM assets_fdw.materializations",
    );
    client.batch_execute("ALTER SYSTEM SET assets_fdw.databases = ''").unwrap();
    client.batch_execute("SELECT pg_reload_conf()").unwrap();
    wait_for(
        &mut client,
        "the scheduler has left",
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'assets_fdw scheduler'",
    );
}

#[test]
fn a_server_without_a_worker_to_spare_says_so_and_goes_on_when_there_is_one() {
    // One is logical replication's launcher, one is ours, one the scheduler: one is left for runs.
    let (sim, server) =
        (small(), preloaded(&[("max_worker_processes", "4"), ("assets_fdw.max_workers", "2")]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    client
        .batch_execute("SELECT assets_fdw.materialize('itsm.server', 'r' || n, every => '1 second') FROM generate_series(1, 3) AS n")
        .unwrap();
    wait_for(
        &mut client,
        "all are loaded, one after the other",
        "SELECT count(*) = 3 FROM assets_fdw.materializations WHERE last_success IS NOT NULL",
    );
    wait_for(
        &mut client,
        "a skipped run is in the history",
        "SELECT bool_or(outcome = 'skipped' AND mode IS NULL AND error LIKE '%no background worker to spare%') FROM assets_fdw.refresh_history",
    );
}

#[test]
fn a_scheduler_that_only_looks_uses_up_no_transaction_ids() {
    let (sim, server) = (small(), preloaded(&[("autovacuum", "off")]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    loaded(&mut client, "1 hour");
    wait_for(
        &mut client,
        "nothing runs",
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'assets_fdw refresh'",
    );
    let next = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
    let before = number(&mut client, next);
    let began = text(&mut client, "SELECT clock_timestamp()::text");
    let looked = format!(
        "SELECT state_change > '{began}'::timestamptz + '1 second' FROM pg_stat_activity
         WHERE backend_type = 'assets_fdw scheduler'"
    );
    wait_for(&mut client, "it has looked ten times", &looked);
    assert_eq!(number(&mut client, next), before);
}

#[test]
fn the_history_is_kept_for_as_long_as_is_set() {
    let (sim, server) = (small(), preloaded(&[("assets_fdw.history_retention", "1h")]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    loaded(&mut client, "1 day");
    let idle = "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'assets_fdw refresh'";
    wait_for(&mut client, "the first load is over", idle);
    let older = "UPDATE assets_fdw.replica_run SET finished = finished - interval '2 hours'";
    client.batch_execute(older).unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    assert_eq!(
        text(&mut client, "SELECT string_agg(reason, ', ') FROM assets_fdw.refresh_history"),
        "refresh()"
    );
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    assert_eq!(number(&mut client, "SELECT count(*) FROM assets_fdw.refresh_history"), 2);
    // Also that of replicas that were removed, and however much of it there is.
    client
        .batch_execute(
            "INSERT INTO assets_fdw.replica_run (id, target, target_name, owner, reason, mode, attempt, outcome, started,
                                                 finished)
                 SELECT -n, 1, 'removed', 10, 'schedule', 'full', 1, 'ok', now(), now() - interval '2 hours'
                 FROM generate_series(1, 450) AS n",
        )
        .unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    assert_eq!(number(&mut client, "SELECT count(*) FROM assets_fdw.refresh_history"), 3);
}

/// With nothing due the scheduler sleeps; a request, a change of the schedule and a reload wake it.
#[test]
fn an_idle_scheduler_does_not_poll() {
    let (sim, server) = (small(), preloaded(&[("assets_fdw.naptime", "1s")]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    loaded(&mut client, "1 day");
    wait_for(
        &mut client,
        "nothing runs",
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'assets_fdw refresh'",
    );
    let asleep = "SELECT wait_event = 'Extension' AND state_change < clock_timestamp() - interval '4 seconds'
                  FROM pg_stat_activity WHERE backend_type = 'assets_fdw scheduler'";
    wait_for(&mut client, "it sleeps for longer than it naps", asleep);
    let ok = number(&mut client, OK_RUNS);
    client.batch_execute("SELECT assets_fdw.request_refresh('itsm_replica.server')").unwrap();
    wait_for(&mut client, "the request wakes it", &format!("SELECT ({OK_RUNS}) > {ok}"));
    client
        .batch_execute("SELECT assets_fdw.alter_materialization('itsm_replica.server', every => '1 second')")
        .unwrap();
    let ok = number(&mut client, OK_RUNS);
    wait_for(
        &mut client,
        "the new schedule wakes it, and it keeps to it",
        &format!("SELECT ({OK_RUNS}) > {ok} + 2"),
    );
}
