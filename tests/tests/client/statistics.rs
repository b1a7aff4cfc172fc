//! ANALYZE of foreign tables: statistics from few requests.

use assets_fdw_tests::assets_sim::{Endpoint, Fault, FaultKind, Profile};

use crate::live::{Live, PROFILES, one, refused};

/// The planner's estimate of a query's rows.
fn estimate(client: &mut postgres::Client, sql: &str) -> f64 {
    let plan: String = client.query(&format!("EXPLAIN {sql}"), &[]).expect("a plan")[0].get(0);
    let rows = plan.split("rows=").nth(1).and_then(|rest| rest.split(' ').next());
    rows.and_then(|rows| rows.parse().ok()).unwrap_or_else(|| panic!("no estimate: {plan}"))
}

#[test]
fn analyze_takes_a_few_pages_and_the_estimates_follow_the_objects() {
    let live = Live::imported(Profile::Documented, 100_000);
    let mut client = live.connect();
    let objects: i64 = one(&mut client, "SELECT count(*) FROM itsm.server");
    let asked = live.requests(&mut client, "ANALYZE itsm.server");
    assert!(asked <= 22, "{asked} requests");
    let known: f32 = one(&mut client, "SELECT reltuples FROM pg_class WHERE oid = 'itsm.server'::regclass");
    assert_eq!(known as i64, objects);
    let columns: i64 =
        one(&mut client, "SELECT count(*) FROM pg_stats WHERE schemaname = 'itsm' AND tablename = 'server'");
    assert!(columns > 10, "{columns}");
    for condition in ["memory_gb >= 64", "virtual", "last_backup IS NULL", "name > 'm'"] {
        let rows: i64 = one(&mut client, &format!("SELECT count(*) FROM itsm.server WHERE {condition}"));
        let guess = estimate(&mut client, &format!("SELECT * FROM itsm.server WHERE {condition}"));
        let rows = rows as f64;
        assert!(rows / 2.0 - 100.0 < guess && guess < rows * 2.0 + 100.0, "{condition}: {guess} for {rows}");
    }
    let asked = live.requests(&mut client, "SET default_statistics_target = 1; ANALYZE itsm.server (key)");
    assert!(asked <= 6, "{asked} requests for a small sample");
}

#[test]
fn a_table_with_a_replica_is_planned_from_the_replicas_rows_and_statistics_without_a_request() {
    let live = Live::imported(Profile::Documented, 3_000);
    let mut client = live.connect();
    client
        .batch_execute("CREATE SCHEMA replica; SELECT assets_fdw.materialize('itsm.server', 'replica.server', every => '1 day')")
        .unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('replica.server'); ANALYZE replica.server").unwrap();
    let conditions = [
        "true",
        "memory_gb >= 64",
        "operating_system = 'Debian 12'",
        "virtual",
        "name > 'm'",
        "last_backup IS NULL",
    ];
    let of = |client: &mut postgres::Client, table: &str| -> Vec<f64> {
        let guess = |condition| estimate(client, &format!("SELECT key FROM {table} WHERE {condition}"));
        conditions.map(guess).to_vec()
    };
    let known = of(&mut client, "replica.server");
    assert!(
        known.iter().all(|rows| *rows > 10.0) && known[1..].iter().all(|rows| *rows < known[0]),
        "{known:?}"
    );
    // Who may not read the replica hears of the number of its rows, as of any table's, and nothing of its values: another
    // account may see more.
    client
        .batch_execute(
            "CREATE ROLE planner LOGIN; GRANT USAGE ON SCHEMA itsm TO planner; GRANT SELECT ON itsm.server TO planner;
             GRANT USAGE ON FOREIGN SERVER assets TO planner;
             CREATE USER MAPPING FOR planner SERVER assets OPTIONS (email 'reader@example.com', api_token 'classic-token')",
        )
        .unwrap();
    for user in ["postgres", "planner"] {
        let mut client = live.database.connect_as(user);
        live.clear_log();
        let found = of(&mut client, "itsm.server");
        let asked = [Endpoint::TotalCount, Endpoint::ObjectAql];
        let log = live.sim.log();
        assert!(!log.iter().any(|entry| asked.contains(&entry.endpoint)), "{user}: {log:?}");
        for (n, ((found, known), condition)) in found.iter().zip(&known).zip(conditions).enumerate() {
            let same = (found - known).abs() <= 1.0 + known / 50.0;
            assert!(same == (user == "postgres" || n == 0), "{user}: {condition}: {found} for {known}");
        }
    }
    // Columns of the replica go by what they show, whatever they are called; and somebody else's replica says nothing.
    client
        .batch_execute(
            "ALTER TABLE replica.server RENAME name TO passing; ALTER TABLE replica.server RENAME operating_system TO name;
             ALTER TABLE replica.server RENAME passing TO operating_system;
             CREATE SCHEMA evil AUTHORIZATION planner; SET ROLE planner;
             SELECT assets_fdw.materialize('itsm.server', 'evil.server', every => '1 day');
             INSERT INTO evil.server (id, key, created, updated)
                 SELECT 10000000 + i, 'K-' || i, now(), now() FROM generate_series(1, 20000) i;
             ANALYZE evil.server; RESET ROLE",
        )
        .unwrap();
    for (found, known) in of(&mut client, "itsm.server").iter().zip(&known) {
        assert!((found - known).abs() <= 1.0 + known / 50.0, "{found} for {known}");
    }
    // Whoever has the list of replicas locked holds up no query.
    let mut other = live.connect();
    other.batch_execute("BEGIN; LOCK TABLE assets_fdw.replica_job").unwrap();
    let planned = "SET statement_timeout = '20s'; EXPLAIN SELECT * FROM itsm.server; RESET statement_timeout";
    client.batch_execute(planned).unwrap();
    other.batch_execute("ROLLBACK").unwrap();
    client.batch_execute("SELECT assets_fdw.dematerialize('replica.server')").unwrap();
    assert!(live.requests(&mut live.connect(), "EXPLAIN SELECT key FROM itsm.server") <= 1);
    client.batch_execute("DROP OWNED BY planner; DROP ROLE planner").unwrap();
}

#[test]
fn small_and_empty_tables_are_analyzed_whole_in_every_profile() {
    for profile in PROFILES {
        let live = Live::imported(profile, 300);
        let (mut client, heard) = live.connect_listening();
        client.batch_execute("ANALYZE VERBOSE itsm.server, itsm.hardware, itsm.room").unwrap();
        for table in ["server", "room"] {
            let rows: i64 = one(&mut client, &format!("SELECT count(key) FROM itsm.{table}"));
            let heard = heard.lock().unwrap();
            let says = format!("\"{table}\": foreign table has {rows} objects; {rows} in sample");
            assert!(heard.iter().any(|said| said.contains(&says)), "{profile:?}: {heard:?}");
        }
        client
            .batch_execute(
                "CREATE FOREIGN TABLE nothing (id bigint, name text OPTIONS (attribute 'Name')) SERVER assets
                 OPTIONS (object_type_id '11', aql 'Key = \"ITSM-0\"'); ANALYZE nothing",
            )
            .unwrap();
        assert_eq!(estimate(&mut client, "SELECT * FROM nothing"), 1.0);
    }
}

#[test]
fn analyze_fails_as_a_query_would_and_leaves_the_statistics_alone() {
    let live = Live::imported(Profile::Documented, 300);
    let mut client = live.connect();
    client.batch_execute("ANALYZE itsm.server").unwrap();
    live.sim.fault(Fault::new(FaultKind::Unauthorized));
    assert_eq!(refused(&mut client, "ANALYZE itsm.server").code, "28000");
    live.sim.clear_faults();
    let known: f32 = one(&mut client, "SELECT reltuples FROM pg_class WHERE oid = 'itsm.server'::regclass");
    assert!(known > 0.0);
    client
        .batch_execute("CREATE ROLE nobody_known LOGIN; GRANT CREATE ON SCHEMA itsm TO nobody_known")
        .unwrap();
    client.batch_execute("ALTER FOREIGN TABLE itsm.room OWNER TO nobody_known").unwrap();
    let missing = refused(&mut client, "ANALYZE itsm.room");
    assert!(missing.text().contains("CREATE USER MAPPING FOR \"nobody_known\""), "{missing:?}");
}
