//! What is asked of the service instead of rows: counts, and the first rows in an order.

use std::time::Duration;

use assets_fdw_tests::assets_sim::{Endpoint, Fault, FaultKind, Options, OrderBy, Profile};
use assets_fdw_tests::wait_until;

use crate::live::{Live, PROFILES, explain, one, unpushed};

/// The rows of a query as one text.
fn rows(client: &mut postgres::Client, sql: &str) -> String {
    one(client, &format!("SELECT coalesce(string_agg(q::text, E'\\n'), '') FROM ({sql}) q"))
}

const COUNTS: &[&str] = &[
    "SELECT count(*) FROM itsm.server",
    "SELECT count(*) FROM itsm.server WHERE memory_gb >= 64",
    "SELECT count(*) FROM itsm.server WHERE memory_gb >= 64 AND last_backup IS NOT NULL",
    "SELECT count(*) FROM itsm.hardware WHERE id = 1001",
    "SELECT count(*) FROM itsm.server WHERE memory_gb > (SELECT 100)",
    "SELECT count(*) FROM itsm.server WHERE memory_gb IS NULL",
    "SELECT count(*) FROM itsm.server WHERE memory_gb = NULL",
    "SELECT count(1) FROM itsm.server",
    "SELECT count('x'), count(*) FROM itsm.server WHERE memory_gb > 64.5",
    "SELECT count(id) FROM itsm.server",
    "SELECT count(key), count(updated) AS n FROM itsm.hardware WHERE created IS NOT NULL",
    "SELECT count(s) FROM itsm.server s",
    "SELECT count(*)::int FROM itsm.server",
    "SELECT 'servers' AS what, count(*), now() IS NULL AS no FROM itsm.server",
    "SELECT json_build_object('n', count(*), 'half', count(*) / 2.0) FROM itsm.server",
    "SELECT CASE WHEN count(*) > 5 THEN 'many' ELSE 'few' END FROM itsm.server",
    "SELECT count(*) FROM itsm.server HAVING count(*) > 5",
    "SELECT 'none' AS what FROM itsm.server HAVING count(id) < 5",
    "SELECT count(*) FROM itsm.server HAVING count(1) > (SELECT 5)",
    "SELECT (SELECT count(*) FROM itsm.server) > 1 AS more",
    "SELECT DISTINCT count(*) FROM itsm.server ORDER BY count(*) LIMIT 1",
    "SELECT count(*) FROM itsm.server WHERE id IS NOT NULL AND key IS NOT NULL AND updated IS NOT NULL",
];

/// The last change and its like, as who asks whether data are fresh wants them.
const EXTREMES: &[&str] = &[
    "SELECT max(updated) FROM itsm.server",
    "SELECT min(created) FROM itsm.hardware",
    "SELECT max(updated)::date AS day FROM itsm.server WHERE memory_gb >= 64",
    "SELECT updated FROM itsm.server WHERE updated IS NOT NULL ORDER BY updated DESC LIMIT 1",
];

const FIRST: &[&str] = &[
    "SELECT key, updated FROM itsm.server ORDER BY updated DESC LIMIT 10",
    "SELECT updated, key FROM itsm.server ORDER BY updated LIMIT 3 OFFSET 4",
    "SELECT created FROM itsm.hardware ORDER BY created DESC NULLS LAST LIMIT 1",
    "SELECT updated FROM itsm.server WHERE memory_gb >= 64 ORDER BY updated DESC LIMIT 5",
    "SELECT key, updated FROM itsm.server ORDER BY updated DESC, id LIMIT 10",
    "SELECT id FROM itsm.server ORDER BY updated DESC, id DESC LIMIT 10 OFFSET 20",
    "SELECT key FROM itsm.hardware ORDER BY created, lower(name) NULLS FIRST, id LIMIT 5",
    "SELECT key FROM itsm.server ORDER BY updated, id FETCH FIRST 4 ROWS WITH TIES",
];

#[test]
fn counts_and_first_rows_are_those_of_a_query_without_pushdown() {
    for profile in PROFILES {
        let live = Live::imported(profile, 600);
        let mut client = live.connect();
        for sql in COUNTS.iter().chain(FIRST).chain(EXTREMES) {
            let plain = unpushed(&mut client, |client| rows(client, sql));
            assert_eq!(rows(&mut client, sql), plain, "{profile:?}: {sql}");
        }
    }
}

#[test]
fn a_count_is_one_request_and_so_are_the_first_rows_in_an_order() {
    let live = Live::imported(Profile::Documented, 5000);
    let mut client = live.connect();
    client
        .batch_execute("SELECT count(name) FROM itsm.server; SELECT count(name) FROM itsm.hardware")
        .unwrap();
    for sql in COUNTS {
        let asked = live.requests(&mut client, sql);
        assert!(asked <= 1, "{sql}: {:#?}", live.sim.log());
        if !sql.contains("= NULL") {
            assert!(explain(&mut client, sql).contains("Count: "), "{sql}");
        }
    }
    for (sql, wanted) in [
        ("SELECT 'a', count(*) FROM itsm.server UNION ALL SELECT 'b', count(1) FROM itsm.hardware", 2),
        ("SELECT max(updated), min(created) FROM itsm.server", 2),
    ] {
        assert_eq!(live.requests(&mut client, sql), wanted, "{sql}");
    }
    for sql in FIRST.iter().chain(EXTREMES) {
        assert_eq!(live.requests(&mut client, sql), 1, "{sql}");
        assert!(explain(&mut client, sql).contains("Order: "), "{sql}");
    }
}

/// PostgreSQL tells a session that fell behind others' DDL only that anything may have changed.
#[test]
fn what_a_session_knows_survives_much_ddl_of_others_but_not_a_change_of_its_server() {
    let live = Live::imported(Profile::Documented, 300);
    let (mut client, mut other) = (live.connect(), live.connect());
    let sql = "SELECT count(*) FROM itsm.server";
    client.batch_execute(sql).unwrap();
    let much = "DO $$ BEGIN FOR i IN 1..400 LOOP
                    EXECUTE 'CREATE TABLE much (a int, b text, c int, d text, e int, f text, g int, h text)';
                    DROP TABLE much;
                END LOOP; END $$";
    // In the middle of a transaction nothing is heard of others until the next statement.
    for change in ["", "ALTER SERVER assets OPTIONS (ADD page_size '50')"] {
        client.batch_execute("BEGIN").unwrap();
        other.batch_execute(&format!("BEGIN; {much}; {change}; COMMIT")).unwrap();
        live.sim.clear_log();
        client.batch_execute(&format!("{sql}; COMMIT")).unwrap();
        let asked = live.sim.log().len();
        assert!((asked == 1) == change.is_empty(), "{change}: {:#?}", live.sim.log());
    }
}

#[test]
fn what_is_not_exact_is_neither_counted_nor_ordered_by_the_service() {
    let live = Live::imported(Profile::Documented, 300);
    let mut client = live.connect();
    for sql in [
        "SELECT count(*) FROM itsm.server WHERE name = 'x'",
        "SELECT count(*) FROM itsm.server WHERE memory_gb + 1 > 5",
        "SELECT count(*) FROM itsm.server WHERE memory_gb > 5 OR name = 'x'",
        "SELECT count(*) FILTER (WHERE virtual) FROM itsm.server",
        "SELECT count(memory_gb) FROM itsm.server",
        "SELECT count(DISTINCT memory_gb) FROM itsm.server",
        "SELECT count(*), max(id) FROM itsm.server",
        "SELECT virtual, count(*) FROM itsm.server GROUP BY virtual",
        "SELECT count(NULL) FROM itsm.server",
        "SELECT count(nullif(1, 1)), count(purchased) FROM itsm.server",
        "SELECT count(DISTINCT id), count(*) FROM itsm.server",
        "SELECT count(id) FILTER (WHERE virtual) FROM itsm.server",
        "SELECT count(id ORDER BY key) FROM itsm.server",
        "SELECT count(*) OVER () FROM itsm.server",
        "SELECT count(*), count(*) OVER () FROM itsm.server",
        "SELECT count(*), generate_series(1, 2) FROM itsm.server",
        "SELECT count(*) FROM itsm.server GROUP BY ROLLUP (virtual)",
        "SELECT count(*) FROM itsm.server HAVING max(id) > 1",
        "SELECT count(*) FROM itsm.server HAVING false",
        "SELECT count(random()) FROM itsm.server",
        "SELECT max(name), min(tags) FROM itsm.server",
        "SELECT max(id) FROM itsm.server",
        "SELECT max(updated) FROM itsm.server WHERE name LIKE 'a%'",
        "SELECT max(updated) FILTER (WHERE virtual) FROM itsm.server",
        "SELECT count(*) FROM itsm.server a JOIN itsm.room b ON true",
        "SELECT name FROM itsm.server ORDER BY name LIMIT 3",
        "SELECT name FROM itsm.server ORDER BY purchased LIMIT 3",
        "SELECT name FROM itsm.server ORDER BY name, updated LIMIT 3",
        "SELECT name FROM itsm.server ORDER BY updated, name",
        "SELECT name FROM itsm.server ORDER BY updated",
        "SELECT name FROM itsm.server WHERE name LIKE 'a%' ORDER BY updated LIMIT 3",
        "SELECT max(updated) FROM itsm.server GROUP BY virtual ORDER BY 1 LIMIT 3",
    ] {
        let plan = explain(&mut client, sql);
        assert!(!plan.contains("Count: ") && !plan.contains("Order: "), "{sql}\n{plan}");
    }
    // What is not declared NOT NULL, and what may read as NULL, is looked at.
    client
        .batch_execute(
            "ALTER FOREIGN TABLE itsm.server ALTER updated DROP NOT NULL, ALTER id DROP NOT NULL,
                ALTER key DROP NOT NULL, ALTER key OPTIONS (ADD on_invalid 'null')",
        )
        .unwrap();
    for (column, counted) in [("updated", false), ("key", false), ("id", true)] {
        let plan = explain(&mut client, &format!("SELECT count({column}) FROM itsm.server"));
        assert_eq!(plan.contains("Count: "), counted, "{column}: {plan}");
    }
    assert!(!explain(&mut client, "SELECT max(updated) FROM itsm.server").contains("Order: "));
}

#[test]
fn a_prepared_count_follows_its_parameters_and_the_switch() {
    let live = Live::imported(Profile::Documented, 800);
    let mut client = live.connect();
    client
        .batch_execute(
            "SET plan_cache_mode = force_generic_plan;
             PREPARE q(bigint) AS SELECT count(*) FROM itsm.server WHERE memory_gb >= $1",
        )
        .unwrap();
    let count = |client: &mut postgres::Client, n: i64| -> i64 {
        client.query_one(&format!("EXECUTE q({n})"), &[]).unwrap().get(0)
    };
    let asked: Vec<i64> = (0..9).map(|n| count(&mut client, n * 60)).collect();
    client.batch_execute("SET assets_fdw.enable_pushdown = off").unwrap();
    let read: Vec<i64> = (0..9).map(|n| count(&mut client, n * 60)).collect();
    assert_eq!(asked, read);
    assert!(asked.windows(2).all(|pair| pair[0] >= pair[1]) && asked[0] > asked[8]);
    let correlated = "SELECT string_agg(n::text, ' ') FROM (SELECT (SELECT count(*) FROM itsm.server \
                      WHERE memory_gb >= d) n FROM generate_series(0, 480, 60) d) q";
    let expected = read.iter().map(i64::to_string).collect::<Vec<_>>().join(" ");
    assert_eq!(one::<String>(&mut client, correlated), expected);
    client.batch_execute("RESET assets_fdw.enable_pushdown").unwrap();
    assert_eq!(one::<String>(&mut client, correlated), expected);
}

#[test]
fn a_refused_condition_makes_a_count_read_its_rows() {
    let live = Live::imported(Profile::Documented, 400);
    let mut client = live.connect();
    // Known here by its name, refused by the service from now on.
    let sql = "SELECT count(*) FROM itsm.server WHERE memory_gb >= 64";
    let expected: i64 = one(&mut client, sql);
    live.sim.rename_attribute("Server", "Memory GB", "RAM").unwrap();
    assert_eq!(one::<i64>(&mut client, sql), expected);
    assert_eq!(one::<i64>(&mut client, sql), expected);
}

#[test]
fn a_service_that_does_not_count_is_read_and_not_asked_again_and_again() {
    let live = Live::imported(Profile::Documented, 400);
    let questions = [
        "SELECT count(*) FROM itsm.server",
        "SELECT count(*) FROM itsm.server WHERE memory_gb >= 64",
        // Nothing comes back: whether AQL knows the names has to be found out in another way.
        "SELECT count(id) FROM itsm.server WHERE name = 'no such server'",
        "SELECT count(id) FROM itsm.server WHERE memory_gb > 10 OR name = 'no such server'",
    ];
    let mut client = live.connect();
    let expected: Vec<i64> = questions.iter().map(|sql| one(&mut client, sql)).collect();
    for status in [403, 404] {
        live.sim.fault(Fault::new(FaultKind::Status { status }).on(Endpoint::TotalCount));
        let mut client = live.connect();
        live.clear_log();
        for (sql, expected) in questions.iter().zip(&expected) {
            assert_eq!(one::<i64>(&mut client, sql), *expected, "{status}: {sql}");
        }
        let log = live.sim.log();
        let asked = |endpoint| log.iter().filter(|entry| entry.endpoint == endpoint).count();
        assert_eq!(asked(Endpoint::TotalCount), 1, "{status}");
        assert_eq!(asked(Endpoint::TypeGet), 1, "{status}: what is known of the type is kept");
        // A condition that is refused is found all the same.
        live.sim.rename_attribute("Server", "Memory GB", "RAM").unwrap();
        assert_eq!(one::<i64>(&mut client, questions[1]), expected[1], "{status}");
        live.sim.rename_attribute("Server", "RAM", "Memory GB").unwrap();
        live.sim.clear_faults();
    }
}

#[test]
fn an_order_that_the_service_ignores_is_made_here() {
    let live = Live::start(Options { objects: 1500, profile: Profile::Hostile, ..Options::default() });
    live.import();
    let mut client = live.connect();
    let key = &live.sim.dump(live.sim.type_id("Server").unwrap())[17].key;
    live.sim.update(key, "Notes", &["touched just now"]).unwrap();
    for _ in 0..3 {
        // The index may lag by a search.
        client.batch_execute("SELECT count(name) FROM itsm.server").unwrap();
    }
    let first: String = one(&mut client, "SELECT key FROM itsm.server ORDER BY updated DESC LIMIT 1");
    assert_eq!(&first, key);
}

/// What is equal by the column that the service orders by is wanted by the other one, however much of it there is.
#[test]
fn rows_that_tie_are_all_looked_at_before_the_first_of_them_is_shown() {
    let live = Live::imported(Profile::Documented, 300);
    let mut client = live.connect();
    let keys: Vec<String> =
        live.sim.dump(live.sim.type_id("Server").unwrap()).iter().map(|object| object.key.clone()).collect();
    let sql = "SELECT id, updated FROM itsm.server ORDER BY updated DESC, id LIMIT";
    for changed in [15, 70] {
        if changed == 70 {
            client
                .batch_execute("ALTER FOREIGN TABLE itsm.server ALTER updated TYPE timestamptz(0)")
                .unwrap();
        }
        for key in keys.iter().rev().take(changed) {
            live.sim.update(key, "Notes", &["touched at once"]).unwrap();
        }
        let limits = ["5", "10 OFFSET 2", "10 OFFSET 60"];
        let all = |client: &mut postgres::Client| limits.map(|limit| rows(client, &format!("{sql} {limit}")));
        let plain = unpushed(&mut client, all);
        assert_eq!(all(&mut client), plain, "{changed}");
        if changed == 70 {
            client.batch_execute("SET enable_incremental_sort = off").unwrap();
            assert_eq!(all(&mut client), plain, "sorted as a whole");
        }
    }
}

/// Each with whether an order that is proven sends it out.
const PROVEN: &[(bool, &str)] = &[
    (true, "SELECT id, key FROM itsm.server ORDER BY id DESC LIMIT 5"),
    (true, "SELECT memory_gb FROM itsm.server ORDER BY memory_gb LIMIT 10"),
    (true, "SELECT memory_gb FROM itsm.server ORDER BY memory_gb DESC NULLS LAST LIMIT 10 OFFSET 3"),
    (true, "SELECT memory_gb FROM itsm.server WHERE memory_gb IS NOT NULL ORDER BY memory_gb DESC LIMIT 10"),
    (true, "SELECT memory_gb FROM itsm.server WHERE memory_gb < 100 ORDER BY memory_gb DESC LIMIT 10"),
    (true, "SELECT purchased FROM itsm.server ORDER BY purchased LIMIT 7"),
    (true, "SELECT last_backup FROM itsm.server ORDER BY last_backup DESC NULLS LAST LIMIT 3"),
    (true, "SELECT max(id) FROM itsm.server"),
    (true, "SELECT id, memory_gb FROM itsm.server ORDER BY id DESC, memory_gb LIMIT 5"),
    (true, "SELECT max(memory_gb) FROM itsm.server"),
    (true, "SELECT min(purchased) FROM itsm.server WHERE memory_gb > 64.5"),
    // Where AQL puts missing values is not known.
    (false, "SELECT memory_gb FROM itsm.server ORDER BY memory_gb DESC LIMIT 10"),
    (false, "SELECT memory_gb FROM itsm.server ORDER BY memory_gb NULLS FIRST LIMIT 10"),
    (false, "SELECT memory_gb FROM itsm.server ORDER BY memory_gb DESC, id LIMIT 3"),
    (false, "SELECT name FROM itsm.server ORDER BY name LIMIT 3"),
];

#[test]
fn an_order_that_was_proven_goes_out_and_one_that_was_not_stays() {
    for profile in PROFILES {
        let live = Live::imported(profile, 1500);
        let mut client = live.connect();
        let plain: Vec<String> =
            unpushed(&mut client, |client| PROVEN.iter().map(|(_, sql)| rows(client, sql)).collect());
        for (_, sql) in PROVEN {
            assert!(!explain(&mut client, sql).contains("Order: "), "unproven: {sql}");
        }
        client.batch_execute("SELECT FROM assets_fdw.verify_pushdown('assets')").unwrap();
        let proven: i64 = one(
            &mut client,
            "SELECT count(*) FROM assets_fdw.service_facts WHERE fact LIKE 'order by %' AND holds",
        );
        for ((sent, sql), plain) in PROVEN.iter().zip(&plain) {
            assert_eq!(&rows(&mut client, sql), plain, "{profile:?}: {sql}");
            let plan = explain(&mut client, sql);
            if !sent || proven == 7 {
                assert_eq!(plan.contains("Order: "), *sent, "{sql}\n{plan}");
                assert_eq!(plan.contains("order by "), *sent, "the fact is shown: {sql}\n{plan}");
            }
            if *sent && proven == 7 {
                assert_eq!(live.requests(&mut client, sql), 1, "{sql}");
            }
        }
        assert!(profile != Profile::Documented || proven == 7, "{proven}");
    }
}

#[test]
fn too_few_values_are_no_reason_for_a_short_result() {
    let live = Live::imported(Profile::Documented, 300);
    let mut client = live.connect();
    client.batch_execute("SELECT FROM assets_fdw.verify_pushdown('assets')").unwrap();
    let objects: i64 = one(&mut client, "SELECT count(*) FROM itsm.server");
    let sql = format!("SELECT memory_gb FROM itsm.server ORDER BY memory_gb LIMIT {}", objects + 5);
    assert!(explain(&mut client, &sql).contains("Order: "));
    let found = client.query(&sql, &[]).unwrap();
    assert_eq!(found.len() as i64, objects, "missing values too");
    assert!(found.last().unwrap().get::<_, Option<i64>>(0).is_none(), "and last");
}

#[test]
fn an_order_that_stops_being_kept_is_noticed_and_revoked_and_the_rows_are_right() {
    let live = Live::imported(Profile::Documented, 1500);
    let (mut client, heard) = live.connect_listening();
    client.batch_execute("SELECT FROM assets_fdw.verify_pushdown('assets')").unwrap();
    let sql = "SELECT memory_gb FROM itsm.server ORDER BY memory_gb LIMIT 10";
    let before = rows(&mut client, sql);
    live.sim.switches(|switches| switches.order_by_attribute = OrderBy::Ignored);
    assert_eq!(rows(&mut client, sql), before);
    let warned = heard.lock().unwrap().iter().filter(|said| said.contains("out of order")).count();
    assert_eq!(warned, 1, "{:?}", heard.lock().unwrap());
    assert!(!explain(&mut client, sql).contains("Order: "));
    wait_until("the revocation", Duration::from_secs(30), || {
        !one::<bool>(
            &mut live.connect(),
            "SELECT holds FROM assets_fdw.service_facts WHERE fact = 'order by integer'",
        )
    });
}
