//! Tables, partitions and sites below one Append are read at the same time, and give what they give one after the other.

use std::thread;

use assets_fdw_tests::assets_sim::{Endpoint, Fault, FaultKind, Options, Profile, Sim};
use assets_fdw_tests::wait_until;
use postgres::Client;

use crate::cancel::{PATIENCE, pid};
use crate::live::{Live, Refusal, one, refused};

const ALL: &str = "
    CREATE VIEW everything AS
        SELECT 'server' AS of, id, key, name, updated FROM itsm.server
        UNION ALL SELECT 'laptop', id, key, name, updated FROM itsm.laptop
        UNION ALL SELECT 'employee', id, key, name, updated FROM itsm.employee;
    CREATE VIEW counts AS
        SELECT 'server' AS of, count(*) FROM itsm.server
        UNION ALL SELECT 'laptop', count(*) FROM itsm.laptop
        UNION ALL SELECT 'employee', count(*) FROM itsm.employee";

fn start(profile: Profile, objects: u64) -> (Live, Client) {
    let live = Live::imported(profile, objects);
    let mut client = live.connect();
    client.batch_execute(ALL).unwrap();
    (live, client)
}

fn plan(client: &mut Client, sql: &str) -> String {
    let lines = client.query(&format!("EXPLAIN (COSTS OFF) {sql}"), &[]).unwrap();
    lines.iter().map(|row| row.get::<_, String>(0) + "\n").collect()
}

fn rows(client: &mut Client, sql: &str) -> Vec<String> {
    let rows = client.query(&format!("SELECT t::text FROM ({sql}) t ORDER BY 1"), &[]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn tables_below_an_append_are_asked_at_once_within_one_limit_and_a_query_that_may_stop_asks_one() {
    let (live, mut client) = start(Profile::Documented, 1500);
    client.batch_execute("ALTER SERVER assets OPTIONS (ADD max_in_flight '2')").unwrap();
    client.batch_execute("SELECT count(name) FROM everything; SELECT * FROM counts").unwrap();
    live.sim.switches(|switches| switches.latency_ms = 30);
    for (together, sql) in [
        (2, "SELECT count(name) FROM everything"),
        (2, "SELECT name FROM everything ORDER BY name LIMIT 1"),
        (2, "SELECT name FROM everything WHERE key LIKE 'ITSM-1%'"),
        (2, "SELECT * FROM counts"),
    ] {
        assert!(plan(&mut client, sql).contains("Async Foreign Scan"), "{sql}");
        let asked = live.requests(&mut client, sql);
        let at_once = live.sim.log().iter().map(|entry| entry.in_flight).max();
        assert_eq!(at_once, Some(together), "{sql}");
        for off in ["enable_async_append", "assets_fdw.enable_async"] {
            client.batch_execute(&format!("SET {off} = off")).unwrap();
            assert!(!plan(&mut client, sql).contains("Async"), "{off}: {sql}");
            assert_eq!(live.requests(&mut client, sql), asked, "{off}: {sql}");
            client.batch_execute(&format!("RESET {off}")).unwrap();
        }
    }
    for sql in [
        "SELECT name FROM everything LIMIT 1",
        "SELECT EXISTS (SELECT FROM everything WHERE name <> '')",
        "BEGIN; DECLARE c CURSOR FOR SELECT name FROM everything; FETCH 5 FROM c; COMMIT",
    ] {
        assert_eq!(live.requests(&mut client, sql), 1, "{sql}");
    }
    // More of them than there are descriptors for.
    live.sim.switches(|switches| switches.latency_ms = 0);
    let many = vec!["SELECT key FROM itsm.vendor"; 400].join(" UNION ALL ");
    let all: i64 = one(&mut client, &format!("SELECT count(*) FROM ({many}) q"));
    assert_eq!(all, 400 * one::<i64>(&mut client, "SELECT count(*) FROM itsm.vendor"));
}

#[test]
fn several_sites_are_waited_for_together_and_a_cancel_ends_all_of_it() {
    let (live, mut client) = start(Profile::Documented, 1500);
    let other = Sim::start(Options { objects: 800, ..Options::default() }).unwrap();
    client
        .batch_execute(&format!(
            "CREATE SERVER other FOREIGN DATA WRAPPER assets_fdw OPTIONS (site '{}', requests_per_minute '0');
             CREATE USER MAPPING FOR CURRENT_USER SERVER other
                 OPTIONS (email 'reader@example.com', api_token 'classic-token');
             CREATE SCHEMA other; IMPORT FOREIGN SCHEMA \"ITSM\" LIMIT TO (server) FROM SERVER other INTO other;
             CREATE VIEW sites AS SELECT 1 AS site, key, name FROM itsm.server UNION ALL SELECT 2, key, name FROM other.server",
            other.url()
        ))
        .unwrap();
    let count = "SELECT count(name) FROM sites";
    let all: i64 = one(&mut client, count);
    let parts: i64 = one(
        &mut client,
        "SELECT (SELECT count(name) FROM itsm.server) + (SELECT count(name) FROM other.server)",
    );
    assert_eq!(all, parts);
    let stall = || Fault::new(FaultKind::StallBefore { ms: 60_000 }).on(Endpoint::ObjectAql);
    for end in ["pg_cancel_backend", "pg_terminate_backend"] {
        live.clear_log();
        other.clear_log();
        live.sim.fault(stall());
        other.fault(stall());
        let mut asking = live.connect();
        let pid = pid(&mut asking);
        let waiting = thread::spawn(move || asking.batch_execute(count).unwrap_err());
        // Neither has answered anything when the other is asked.
        wait_until("both are asked", PATIENCE, || {
            let asked = |sim: &Sim| sim.log().iter().any(|entry| entry.endpoint == Endpoint::ObjectAql);
            asked(&live.sim) && asked(&other)
        });
        client.execute(&format!("SELECT {end}($1)"), &[&pid]).unwrap();
        let error = waiting.join().unwrap();
        if end == "pg_cancel_backend" {
            assert_eq!(Refusal::of(&error).code, "57014");
        }
        live.sim.clear_faults();
        other.clear_faults();
        wait_until("no request is under way", PATIENCE, || {
            live.sim.log().iter().chain(&other.log()).all(|entry| entry.finished.is_some())
        });
        assert_eq!(one::<i64>(&mut client, count), all);
    }
    // One that fails fails the query, whatever the other gives.
    other.fault(Fault::new(FaultKind::Answer { status: 401, body: String::new() }).on(Endpoint::ObjectAql));
    assert_eq!(refused(&mut client, count).code, "28000");
    other.clear_faults();
    assert_eq!(one::<i64>(&mut client, count), all);
}

#[test]
fn scans_side_by_side_give_the_rows_that_they_give_one_after_the_other() {
    for profile in crate::live::PROFILES {
        let (live, mut client) = start(profile, 400);
        client
            .batch_execute(
                "SET jit = off;
                 CREATE TABLE wanted AS SELECT key, of FROM everything WHERE id % 7 = 0;
                 INSERT INTO wanted VALUES ('NO-1', 'server'), (NULL, NULL); ANALYZE wanted;
                 CREATE TABLE parted (status text, id bigint, key text, name text) PARTITION BY RANGE (id);
                 CREATE FOREIGN TABLE low PARTITION OF parted
                     FOR VALUES FROM (MINVALUE) TO (1000000000) SERVER assets OPTIONS (object_schema 'ITSM', object_type 'Server');
                 CREATE TABLE high PARTITION OF parted FOR VALUES FROM (1000000000) TO (MAXVALUE);
                 INSERT INTO high VALUES ('x', 1000000001, 'K', 'n'), ('y', 1000000002, 'L', NULL)",
            )
            .unwrap();
        let few = client.query_one("SELECT key, name FROM itsm.laptop ORDER BY id LIMIT 1", &[]).unwrap();
        let (key, name): (String, String) = (few.get(0), few.get(1));
        let queries = [
            "SELECT * FROM everything".to_owned(),
            format!("SELECT * FROM everything WHERE key = '{key}'"),
            format!("SELECT * FROM everything WHERE name || '' = '{}'", name.replace('\'', "''")),
            "SELECT * FROM everything WHERE name = 'nobody has it'".to_owned(),
            "SELECT * FROM counts".to_owned(),
            "SELECT w.*, e.id FROM wanted w LEFT JOIN everything e USING (key)".to_owned(),
            "SELECT w.key, (SELECT max(e.updated) FROM everything e WHERE e.of = w.of AND e.key < w.key) AS m FROM wanted w
                 WHERE key < 'ITSM-13'"
                .to_owned(),
            "SELECT a.key FROM everything a JOIN everything b ON a.id = b.id AND a.name = b.name".to_owned(),
            "SELECT of, count(*), min(name) FROM everything GROUP BY of".to_owned(),
            "(SELECT key FROM everything EXCEPT SELECT key FROM wanted) UNION ALL SELECT key FROM itsm.laptop".to_owned(),
            "SELECT * FROM parted".to_owned(),
            "SELECT count(*), count(name) FROM parted WHERE id > 5".to_owned(),
            "SELECT v, (SELECT count(*) FROM everything WHERE name > v) FROM (VALUES ('A'), ('m'), (NULL)) l(v)".to_owned(),
        ];
        for sql in &queries {
            for method in
                ["", "SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off"]
            {
                client.batch_execute(method).unwrap();
                client.batch_execute("SET assets_fdw.enable_async = on").unwrap();
                let together = rows(&mut client, sql);
                client.batch_execute("SET assets_fdw.enable_async = off").unwrap();
                assert_eq!(together, rows(&mut client, sql), "{profile:?} {method} {sql}");
                client
                    .batch_execute("RESET enable_hashjoin; RESET enable_mergejoin; RESET enable_material")
                    .unwrap();
            }
        }
        // A condition that is refused, and a count that is, while others are under way.
        for (endpoint, status, sql) in [
            (Endpoint::ObjectAql, 400, "SELECT * FROM everything WHERE name LIKE 'A%'"),
            (Endpoint::TotalCount, 403, "SELECT * FROM counts"),
            (Endpoint::ObjectAql, 503, "SELECT * FROM everything"),
        ] {
            let expected = rows(&mut client, sql);
            let fault = Fault::new(FaultKind::Answer { status, body: String::new() }).on(endpoint);
            let fault =
                if status == 503 { fault.times(2) } else { fault.about("objectTypeId = 12 AND").times(1) };
            live.sim.fault(fault);
            let mut client = live.connect();
            assert_eq!(rows(&mut client, sql), expected, "{profile:?} {status} {sql}");
            live.sim.clear_faults();
        }
    }
}
