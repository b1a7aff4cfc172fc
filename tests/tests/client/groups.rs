//! `GROUP BY` and `DISTINCT` by a column of few, known values: as few requests as there are groups, and the groups of
//! the rows whatever the objects hold.

use assets_fdw_tests::assets_sim::{Endpoint, Fault, FaultKind, Profile};
use postgres::Client;

use crate::live::{Live, PROFILES, explain, one, refused, unpushed};

/// The rows of a query in any order, as one text.
fn rows(client: &mut Client, sql: &str) -> String {
    one(client, &format!("SELECT coalesce(string_agg(q::text, E'\\n' ORDER BY q::text), '') FROM ({sql}) q"))
}

fn analyzed(client: &mut Client, sql: &str) -> String {
    let sql = format!("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) {sql}");
    let lines = client.query(&sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    lines.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n")
}

fn verify(client: &mut Client) {
    client.batch_execute("SELECT * FROM assets_fdw.verify_pushdown('assets', 'itsm.server')").unwrap();
}

/// Statements with the requests that they take at most once the service is known: groups, those without a value, and
/// three.
const COUNTED: &[(&str, usize)] = &[
    ("SELECT status, count(*) FROM itsm.server GROUP BY status", 10),
    ("SELECT DISTINCT status FROM itsm.server", 10),
    ("SELECT DISTINCT operating_system FROM itsm.server", 10),
    ("SELECT virtual, count(*) FROM itsm.server GROUP BY virtual", 6),
    (
        "SELECT count(*) AS n, count(id)::int + 1 FROM itsm.server GROUP BY virtual HAVING count(*) > 5 ORDER BY n LIMIT 2",
        6,
    ),
    ("SELECT object_type, count(*) FROM itsm.hardware GROUP BY object_type", 10),
    ("SELECT DISTINCT object_type FROM itsm.hardware", 10),
    ("SELECT status FROM itsm.server GROUP BY 1 ORDER BY 1 DESC", 10),
    ("SELECT coalesce(status, 'none') AS s, count(1), count(s) FROM itsm.server s GROUP BY status", 10),
    ("SELECT status, count(*) FROM itsm.server WHERE memory_gb >= 8 GROUP BY status", 10),
    ("SELECT count(*), min(q) FROM (SELECT DISTINCT operating_system AS q FROM itsm.server) q", 10),
    (
        "SELECT virtual, count(*) FROM itsm.server WHERE virtual IS NOT NULL GROUP BY virtual HAVING count(*) < (SELECT 10000)",
        11,
    ),
    ("SELECT virtual FROM itsm.server WHERE memory_gb > (SELECT 100) GROUP BY virtual", 6),
];

/// What is read and grouped by PostgreSQL.
const READ: &[&str] = &[
    "SELECT name, count(*) FROM itsm.server GROUP BY name",
    "SELECT tags, count(*) FROM itsm.server GROUP BY tags",
    "SELECT assignee, count(*) FROM itsm.server GROUP BY assignee",
    "SELECT memory_gb, count(*) FROM itsm.server GROUP BY memory_gb",
    "SELECT lower(status), count(*) FROM itsm.server GROUP BY lower(status)",
    "SELECT status COLLATE \"C\", count(*) FROM itsm.server GROUP BY status COLLATE \"C\"",
    "SELECT status, virtual FROM itsm.server GROUP BY status, virtual",
    "SELECT DISTINCT status, virtual FROM itsm.server",
    "SELECT DISTINCT ON (status) status, key FROM itsm.server ORDER BY status, key",
    "SELECT status, count(*) FROM itsm.server GROUP BY ROLLUP (status)",
    "SELECT status, count(DISTINCT virtual) FROM itsm.server GROUP BY status",
    "SELECT status, count(*) FILTER (WHERE virtual) FROM itsm.server GROUP BY status",
    "SELECT status, max(id) FROM itsm.server GROUP BY status",
    "SELECT status, count(memory_gb) FROM itsm.server GROUP BY status",
    "SELECT status, count(*) FROM itsm.server WHERE name LIKE 's%' GROUP BY status",
    "SELECT status, count(*) OVER () FROM itsm.server GROUP BY status",
    "SELECT DISTINCT status, generate_series(1, 2) FROM itsm.server",
    "SELECT DISTINCT s.status FROM itsm.server s JOIN (VALUES ('Active')) v(n) ON v.n = s.status",
];

#[test]
fn few_known_groups_are_counted_one_by_one_and_all_others_are_read() {
    let live = Live::imported(Profile::Documented, 9000);
    let mut client = live.connect();
    let servers: i64 = one(&mut client, "SELECT count(*) FROM itsm.server");
    assert!(servers > 1200, "{servers}");
    // Nothing but the object type is known to be exact.
    for (sql, _) in COUNTED.iter().filter(|(sql, _)| !sql.contains("object_type")) {
        let plan = explain(&mut client, sql);
        assert!(!plan.contains("Groups: "), "{sql}: {plan}");
    }
    verify(&mut client);
    client.batch_execute("ANALYZE itsm.server").unwrap();
    for (sql, most) in COUNTED {
        let plan = explain(&mut client, sql);
        assert!(plan.contains("Groups: ") && plan.contains(" asked of the service"), "{sql}: {plan}");
        let asked = live.requests(&mut client, sql);
        assert!(asked <= *most, "{sql}: {asked} requests: {:#?}", live.sim.log());
        assert_eq!(live.searches().len(), 0, "{sql}");
        let counted = rows(&mut client, sql);
        assert_eq!(counted, unpushed(&mut client, |client| rows(client, sql)), "{sql}");
        assert!(!counted.is_empty(), "{sql}");
    }
    for sql in READ {
        let plan = explain(&mut client, sql);
        assert!(!plan.contains("Groups: "), "{sql}: {plan}");
    }
    let (status, _) = COUNTED[0];
    let plan = analyzed(&mut client, status);
    assert!(plan.contains("Groups: 6 counts and EMPTY asked of the service: \"Status\" == "), "{plan}");
    assert!(plan.contains("status ==") && plan.contains("Requests: 10"), "{plan}");
    // The same again in a rescan, with other values, and in a plan that is kept.
    let kept =
        "PREPARE kept(int) AS SELECT status, count(*) FROM itsm.server WHERE memory_gb >= $1 GROUP BY status;
                SET plan_cache_mode = force_generic_plan";
    client.batch_execute(kept).unwrap();
    for least in [1, 4, 8] {
        let sql = format!(
            "SELECT status, count(*) FROM itsm.server WHERE memory_gb >= {least} GROUP BY status ORDER BY 1"
        );
        let found = client.query(&format!("EXECUTE kept({least})"), &[]).unwrap();
        let sum: i64 = found.iter().map(|row| row.get::<_, i64>(1)).sum();
        let wanted: i64 =
            unpushed(&mut client, |client| one(client, &format!("SELECT sum(count)::bigint FROM ({sql}) q")));
        assert_eq!(sum, wanted, "{least}");
    }
    let lateral = "SELECT v.m, q.status, q.n FROM (VALUES (1), (8), (1), (4)) v(m),
                   LATERAL (SELECT status, count(*) AS n FROM itsm.server WHERE memory_gb >= v.m GROUP BY status OFFSET 0) q";
    assert_eq!(rows(&mut client, lateral), unpushed(&mut client, |client| rows(client, lateral)));
    // As many at once as the server bears, whatever they are for.
    client.batch_execute("ALTER SERVER assets OPTIONS (ADD max_in_flight '1')").unwrap();
    live.sim.switches(|switches| switches.latency_ms = 10);
    for sql in [status, "SELECT count(*) FROM itsm.server WHERE virtual"] {
        live.requests(&mut client, sql);
        assert_eq!(live.sim.log().iter().map(|entry| entry.in_flight).max(), Some(1), "{sql}");
    }
    live.sim.switches(|switches| switches.latency_ms = 0);
    // Off, while planning and in a plan that was made before.
    client.batch_execute("SET assets_fdw.enable_group_counts = off").unwrap();
    assert!(!explain(&mut client, status).contains("Groups: "));
    live.clear_log();
    client.batch_execute("EXECUTE kept(1)").unwrap();
    assert!(live.searches().len() > 5);
    let settings: String = one(
        &mut client,
        "SELECT string_agg(name, ' ') FROM pg_settings WHERE name = 'assets_fdw.enable_group_counts' AND context = 'user'",
    );
    assert_eq!(settings, "assets_fdw.enable_group_counts");
}

#[test]
fn a_value_that_nothing_names_any_more_is_never_lost_nor_a_group_that_cannot_be_counted() {
    let live = Live::imported(Profile::Documented, 9000);
    verify(&mut live.connect());
    let systems = "SELECT operating_system, count(*) FROM itsm.server GROUP BY operating_system";
    let statuses = "SELECT status, count(*) FROM itsm.server GROUP BY status";
    let types = "SELECT object_type, count(*) FROM itsm.hardware GROUP BY object_type";
    let keys: Vec<String> = live
        .connect()
        .query("SELECT key FROM itsm.server WHERE operating_system = 'Debian 12' LIMIT 3", &[])
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    let same = |sql: &str, read: bool| {
        let mut client = live.connect();
        let counted = rows(&mut client, sql);
        assert_eq!(counted, unpushed(&mut client, |client| rows(client, sql)), "{sql}");
        // In a session that does not know yet.
        let plan = analyzed(&mut live.connect(), sql);
        assert_eq!(plan.contains("Groups: read and grouped here: "), read, "{sql}: {plan}");
        counted
    };
    same(systems, false);
    same(types, false);
    // An option was taken away, or is spelt differently now; and objects still have it.
    live.sim.update(&keys[0], "Operating System", &["Plan 9"]).unwrap();
    assert!(same(systems, true).contains("Plan 9"));
    live.sim.update(&keys[0], "Operating System", &["debian 12"]).unwrap();
    assert!(same(systems, true).contains("debian 12"));
    // A session tries once.
    let mut client = live.connect();
    client.batch_execute(systems).unwrap();
    assert!(!explain(&mut client, systems).contains("Groups: "));
    live.sim.update(&keys[0], "Operating System", &["Debian 12"]).unwrap();
    same(systems, false);
    // Types are called as they are now, and new ones are counted.
    let mut client = live.connect();
    client.batch_execute(types).unwrap();
    live.sim.rename_type("Server", "Machine").unwrap();
    assert!(rows(&mut client, types).contains("Machine"));
    live.sim.add_type("ITSM", "Abacus", Some("Hardware")).unwrap();
    live.sim.create("Abacus", "abacus 1", &[]).unwrap();
    assert!(rows(&mut client, types).contains("Abacus"));
    assert_eq!(rows(&mut client, types), unpushed(&mut client, |client| rows(client, types)));
    // Statuses that answers leave out read as NULL here.
    let table = "SELECT status, count(*) FROM itsm.server GROUP BY status";
    assert!(!explain(&mut client, table).contains("is not EMPTY"));
    // A service that counts all and refuses groups, one that says nothing of statuses, and one that does not count.
    for (endpoint, status) in
        [(Endpoint::StatusTypes, 403), (Endpoint::TotalCount, 403), (Endpoint::TotalCount, 400)]
    {
        let fault = FaultKind::Status { status };
        live.sim.fault(Fault::new(fault).on(endpoint));
        let mut client = live.connect();
        let found = rows(&mut client, statuses);
        live.sim.clear_faults();
        assert_eq!(found, unpushed(&mut client, |client| rows(client, statuses)), "{endpoint:?}");
    }
    // An object with two values beside one with a value that is none of the groups': the sum is right, and reading
    // says what is wrong.
    let booleans = "SELECT virtual, count(*) FROM itsm.server GROUP BY virtual";
    for (sql, attribute, two, none) in [
        (systems, "Operating System", ["Debian 12", "RHEL 9"], "debian 12"),
        (booleans, "Virtual", ["true", "false"], "maybe"),
    ] {
        live.sim.update(&keys[0], attribute, &two).unwrap();
        live.sim.update(&keys[1], attribute, &[none]).unwrap();
        assert_eq!(refused(&mut live.connect(), sql).code, "HV024", "{sql}");
        live.sim.update(&keys[0], attribute, &[two[0]]).unwrap();
        live.sim.update(&keys[1], attribute, &[two[1]]).unwrap();
    }
}

#[test]
fn statuses_are_grouped_by_name_only_where_that_was_proven_and_by_whatever_account() {
    for profile in PROFILES {
        let live = Live::imported(profile, 1500);
        if profile == Profile::Lenient {
            live.sim.switches(|s| s.status_same_folds = true);
        }
        let mut client = live.connect();
        verify(&mut client);
        let counted = live.sim.current_switches().double_equal && profile != Profile::Lenient;
        for sql in [
            "SELECT status, count(*) FROM itsm.server GROUP BY status",
            "SELECT count(*) FROM itsm.server WHERE status = 'Running'",
        ] {
            let plan = explain(&mut client, sql);
            // So few objects are grouped faster than counted.
            let counted = counted && sql.contains("WHERE");
            assert_eq!(plan.contains("status =="), counted, "{profile:?}: {plan}");
            let found = rows(&mut client, sql);
            assert_eq!(found, unpushed(&mut client, |client| rows(client, sql)), "{profile:?}: {sql}");
        }
    }
}
