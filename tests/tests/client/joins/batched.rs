//! Keys of many outer rows are asked for together, and nowhere where that would show.

use assets_fdw_tests::assets_sim::{Options, Profile};
use postgres::Client;

use super::{batches, plan};
use crate::live::{Live, one, refused};

/// A table of keys: of each server, and every tenth that no server has.
fn with_keys(objects: u64) -> (Live, Client, i64) {
    let live = Live::imported(Profile::Documented, objects);
    let mut client = live.connect();
    client
        .batch_execute(
            "CREATE TABLE wanted AS SELECT key, id, owner_key, row_number() OVER (ORDER BY id) AS n FROM itsm.server;
             CREATE TABLE few AS SELECT * FROM wanted WHERE n <= 15;
             CREATE TABLE missing AS SELECT key, id, n FROM wanted
                 UNION ALL SELECT 'ITSM-' || 900000 + n, 90000000 + n, n FROM wanted WHERE n % 10 = 0;
             ANALYZE wanted; ANALYZE few; ANALYZE missing; SELECT count(name) FROM itsm.employee",
        )
        .unwrap();
    let servers = one(&mut client, "SELECT count(*) FROM wanted");
    (live, client, servers)
}

#[test]
fn keys_of_many_rows_are_asked_for_as_many_at_once_as_fill_a_page() {
    let (live, mut client, servers) = with_keys(12_000);
    let pages = (servers as usize).div_ceil(100);
    let s = "itsm.server s";
    for (most, sql) in [
        (pages, format!("SELECT w.n, s.name FROM wanted w JOIN {s} USING (key)")),
        (pages, format!("SELECT w.n, s.name FROM wanted w LEFT JOIN {s} USING (key)")),
        (pages, format!("SELECT w.n, s.name FROM wanted w JOIN {s} USING (id)")),
        (pages, format!("SELECT w.n FROM wanted w WHERE EXISTS (SELECT FROM {s} WHERE s.key = w.key)")),
        (pages, format!("SELECT w.n FROM wanted w WHERE NOT EXISTS (SELECT FROM {s} WHERE s.key = w.key)")),
        (pages + 1, format!("SELECT w.n FROM wanted w WHERE w.key NOT IN (SELECT key FROM {s})")),
        // A key that no object has makes its batch's end be proven by a count at most.
        (3 * pages, format!("SELECT w.n, s.name FROM missing w LEFT JOIN {s} USING (key)")),
        (1, format!("SELECT w.n, s.name FROM few w JOIN {s} USING (key)")),
        (1, format!("SELECT w.n, s.name FROM few w LEFT JOIN {s} USING (id)")),
        // Two scans of one loop's rows, and two loops.
        (2, format!("SELECT w.n, s.name, e.name FROM few w JOIN {s} USING (key) JOIN itsm.employee e ON e.key = w.owner_key")),
        // Hasura's twenty rows with one relation.
        (
            2,
            "SELECT json_agg(j) FROM (SELECT s.key FROM itsm.server s ORDER BY s.key LIMIT 20) s
             LEFT JOIN LATERAL (SELECT json_build_object('n', w.n) j FROM wanted w WHERE w.key = s.key) w ON true"
                .replace("ORDER BY s.key ", ""),
        ),
        (
            1,
            format!(
                "SELECT w.n, x.j FROM few w LEFT JOIN LATERAL
                     (SELECT json_build_object('name', s.name) j FROM {s} WHERE s.key = w.key LIMIT 1) x ON true"
            ),
        ),
        (1, format!("SELECT w.n, x.c FROM few w, LATERAL (SELECT count(*) c FROM {s} WHERE s.key = w.key) x")),
        (1, format!("WITH x AS MATERIALIZED (SELECT w.key, s.name FROM wanted w JOIN {s} ON s.key = w.key) SELECT * FROM x LIMIT 1")),
        // Whoever stops early has asked for no more than that.
        (1, format!("SELECT w.n, s.name FROM wanted w JOIN {s} USING (key) LIMIT 5")),
        (1, format!("SELECT EXISTS (SELECT FROM wanted w JOIN {s} USING (key))")),
        (
            2,
            format!("BEGIN; DECLARE c CURSOR FOR SELECT w.n, s.name FROM wanted w JOIN {s} USING (key); FETCH 2 FROM c; COMMIT"),
        ),
    ] {
        let asked = live.requests(&mut client, &sql);
        let log: Vec<_> = live.sim.log().into_iter().map(|e| e.aql).collect();
        assert!(asked <= most, "{asked} requests, not {most}: {sql}\n{log:.300?}\n{}", plan(&mut client, &sql));
    }
}

#[test]
fn keys_that_cannot_be_known_early_are_planned_as_if_there_were_no_batches() {
    let (live, mut client, servers) = with_keys(12_000);
    let pages = (servers as usize).div_ceil(100);
    client
        .batch_execute(
            "CREATE TABLE numbered AS SELECT key, id, n, substr(key, 6)::bigint AS number FROM wanted WHERE n <= 1500;
             ANALYZE numbered; CREATE TABLE written (n int); CREATE INDEX ON numbered (n)",
        )
        .unwrap();
    let join = |on: &str| format!("SELECT d.n, s FROM numbered d JOIN itsm.server s ON {on}");
    for (early, sql) in [
        (false, join("s.id = d.id::int")),
        (false, join("s.key = substr(d.key, 1)")),
        (false, join("s.key = d.key AND s.id > d.n + 0")),
        (
            false,
            join("s.key = d.key AND r < 2")
                .replace("numbered d", "(SELECT *, random() AS r FROM numbered) d"),
        ),
        (false, join("s.key = d.key").replace("numbered d", "(SELECT * FROM numbered FOR UPDATE) d")),
        (true, join("s.key = d.key")),
        (true, format!("WITH a AS MATERIALIZED (TABLE numbered), d AS MATERIALIZED (TABLE a) {}", join("s.key = d.key")).replace("FROM numbered d", "FROM d")),
        (true, format!("WITH RECURSIVE d(n, key) AS (SELECT n, key FROM numbered WHERE n = 1 UNION ALL SELECT m.n, m.key
             FROM d JOIN numbered m ON m.n = d.n + 1 WHERE m.n < 600) {}", join("s.key = d.key")).replace("FROM numbered d", "FROM d")),
        (false, format!("WITH d AS MATERIALIZED (TABLE numbered), w AS (INSERT INTO written VALUES (1) RETURNING 1) {}",
             join("s.key = d.key")).replace("FROM numbered d", "FROM d")),
        (true, join("s.key = 'ITSM-' || d.number")),
        (true, join("s.key = coalesce(d.key, 'x')")),
        (true, join("s.key = CASE WHEN d.n > 0 THEN d.key END")),
        (true, join("s.key = CASE d.n WHEN 3 THEN 'x' ELSE upper(d.key) END")),
    ] {
        let asked = live.requests(&mut client, &sql);
        client.batch_execute("SET assets_fdw.enable_batched_joins = off").unwrap();
        let before = live.requests(&mut client, &sql);
        client.batch_execute("RESET assets_fdw.enable_batched_joins").unwrap();
        assert!(asked <= before + 1, "{asked} requests, and {before} without: {sql}");
        assert!(before > pages || !early, "{before}: {sql}");
        assert_eq!(asked <= 15, early, "{asked} requests: {sql}\n{}", plan(&mut client, &sql));
    }
    // Few keys with many objects each, and something beside them that changes with each row: not a batch of all of those
    // objects for each row.
    client.batch_execute("CREATE TABLE os AS SELECT n, key, (SELECT operating_system FROM itsm.server s WHERE s.key = w.key) AS k
             FROM wanted w WHERE n <= 300; ANALYZE os").unwrap();
    let sql = "SELECT d.n FROM os d WHERE EXISTS (SELECT FROM itsm.server s WHERE s.operating_system = d.k AND s.name < d.key)";
    let asked = live.requests(&mut client, sql);
    assert!(asked <= pages + 8, "{asked} requests: {}", plan(&mut client, sql));
    // What does not fit into memory is asked for again: then everything is read once.
    client.batch_execute("SET work_mem = '64kB'; SET hash_mem_multiplier = 1").unwrap();
    let sql = "SELECT d.n FROM numbered d WHERE EXISTS (SELECT FROM itsm.server s WHERE s.operating_system = d.key AND s.id > d.n)";
    let asked = live.requests(&mut client, sql);
    assert!(asked <= pages + 3, "{asked} requests: {}", plan(&mut client, sql));
}

#[test]
fn what_is_looked_up_again_and_again_is_read_once() {
    let (live, mut client, servers) = with_keys(6_000);
    let pages = (servers as usize).div_ceil(100);
    // NaN is the same as it was before, also where it does not change with the rows.
    client
        .batch_execute(
            "SET plan_cache_mode = force_generic_plan; SET enable_hashjoin = off; SET enable_mergejoin = off;
             PREPARE dear(float8) AS SELECT count(s.name) FROM wanted w LEFT JOIN itsm.server s
                 ON s.key = w.key AND s.price < $1",
        )
        .unwrap();
    let asked = live.requests(&mut client, "EXECUTE dear('NaN')");
    assert!(
        asked <= 2 * pages + 3,
        "{asked} requests for {pages} pages: {}",
        plan(&mut client, "EXPLAIN (ANALYZE, COSTS off) EXECUTE dear('NaN')")
    );
    client.batch_execute("RESET ALL").unwrap();
    let employees: i64 = one(&mut client, "SELECT count(*) FROM itsm.employee");
    assert!(employees > 400);
    for sql in [
        // Where every clause is a number's, the service would be asked for a count each.
        "SELECT e.key, (SELECT count(*) FROM itsm.server s WHERE s.owner_key = e.key) FROM local_employee e",
        "SELECT e.key, (SELECT max(s.memory_gb) FROM itsm.server s WHERE s.owner_key = e.key AND s.virtual) FROM local_employee e",
        "SELECT e.key FROM local_employee e WHERE (SELECT s.name FROM itsm.server s WHERE s.key = e.key) IS NULL",
        "SELECT e.key, (SELECT count(*) FROM itsm.server s WHERE s.id = e.id) FROM local_employee e",
    ] {
        client
            .batch_execute("CREATE TABLE IF NOT EXISTS local_employee AS SELECT * FROM itsm.employee; ANALYZE local_employee")
            .unwrap();
        let asked = live.requests(&mut client, sql);
        assert!(asked <= 2 * pages + 3, "{asked} requests for {pages} pages: {sql}");
        let mut rows = |sql: &str| -> String {
            one(&mut client, &format!("SELECT string_agg(q::text, ' ' ORDER BY q::text) FROM ({sql}) q"))
        };
        let found = rows(sql);
        let copy = rows(&sql.replace("itsm.server", "(TABLE itsm.server)"));
        assert_eq!(found, copy, "{sql}");
    }
}

#[test]
fn a_value_that_cannot_be_read_stops_nobody_who_has_not_asked_for_it() {
    let (live, mut client, _) = with_keys(1_500);
    let key: String = one(&mut client, "SELECT key FROM wanted WHERE n = 200");
    let prices = |rows: &str| {
        format!("SELECT sum((SELECT s.price FROM itsm.server s WHERE s.key = w.key))::text FROM ({rows}) w")
    };
    let others = prices("SELECT * FROM wanted WHERE n <= 60");
    let expected: String = one(&mut client, &others);
    live.sim.update(&key, "Price", &["abc"]).unwrap();
    assert_eq!(one::<String>(&mut client, &others), expected);
    // In a batch, that key is asked for alone: whoever takes its row is told, and who stops before is not.
    let joined =
        "SELECT w.n, s.price FROM (SELECT * FROM wanted ORDER BY n) w LEFT JOIN itsm.server s USING (key)";
    client.batch_execute("SET enable_hashjoin = off; SET enable_mergejoin = off").unwrap();
    assert_eq!(client.query(&format!("{joined} LIMIT 199"), &[]).unwrap().len(), 199);
    for sql in [prices("SELECT * FROM wanted"), joined.to_owned()] {
        assert_eq!(refused(&mut client, &sql).code, "HV024", "{sql}");
    }
}

#[test]
fn nothing_is_read_ahead_where_that_would_show() {
    let (live, mut client, _) = with_keys(1_500);
    client
        .batch_execute(
            "CREATE SEQUENCE drawn; CREATE TABLE queue AS SELECT key, n FROM wanted WHERE n <= 50; ANALYZE queue;
             CREATE FUNCTION noisy(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'seen'; RETURN $1; END $$",
        )
        .unwrap();
    let join = "JOIN itsm.server s ON s.key = q.key LIMIT 1";
    for sql in [
        format!("SELECT q.key, s.name FROM (SELECT key, nextval('drawn') FROM queue OFFSET 0) q {join}"),
        format!("SELECT q.key, s.name FROM (SELECT noisy(key) AS key FROM queue OFFSET 0) q {join}"),
        format!("SELECT q.key, s.name FROM (SELECT key FROM queue FOR UPDATE SKIP LOCKED) q {join}"),
        format!(
            "WITH q AS MATERIALIZED (SELECT key, nextval('drawn') FROM queue) SELECT q.key, s.name FROM q {join}"
        ),
        format!("WITH q AS (UPDATE queue SET n = n RETURNING key) SELECT q.key, s.name FROM q {join}"),
        // Beside a query of its own that is harmless, and in one.
        "SELECT v.key, s.name FROM (VALUES ('ITSM-1', nextval('drawn')), ('ITSM-2', nextval('drawn'))) v(key, x)
             JOIN itsm.server s ON s.key = v.key WHERE s.id > (SELECT 0 FROM few LIMIT 1) LIMIT 1".to_owned(),
        format!(
            "SELECT q.key, s.name FROM (SELECT key, CASE WHEN n > 3 THEN (SELECT nextval('drawn')) END x FROM queue
                 ORDER BY n OFFSET 0) q {join}"
        ),
        // An ERROR over a row that is not reached.
        format!("SELECT q.key, q.x FROM (SELECT key, 10 / (3 - n) AS x FROM queue ORDER BY n OFFSET 0) q {join}"),
        "SELECT EXISTS (SELECT FROM (SELECT key, 10 / (3 - n) AS x FROM queue ORDER BY n OFFSET 0) q
             JOIN itsm.server s ON s.key = q.key AND s.name <> q.x::text)".to_owned(),
    ] {
        let shown = plan(&mut client, &format!("SET LOCAL enable_hashjoin = off; EXPLAIN (COSTS off) {sql}"));
        assert!(!batches(&shown), "{sql}\n{shown}");
    }
    // Its own switches, and the one of pushdown, also for plans made before.
    client
        .batch_execute(
            "SET plan_cache_mode = force_generic_plan;
             PREPARE joined AS SELECT w.n, s.name FROM few w JOIN itsm.server s USING (key)",
        )
        .unwrap();
    let sql = "EXECUTE joined";
    assert_eq!(live.requests(&mut client, sql), 1);
    let shown = plan(&mut client, &format!("EXPLAIN (ANALYZE) {sql}"));
    assert!(batches(&shown) && shown.contains("Rows Read Ahead: 14"), "{shown}");
    for (asked, off) in [
        (15, "assets_fdw.enable_batched_joins = off"),
        (15, "assets_fdw.join_batch_size = 1"),
        (3, "assets_fdw.join_batch_size = 5"),
        (1, "assets_fdw.join_batch_size = 0"),
    ] {
        client.batch_execute(&format!("SET {off}")).unwrap();
        assert_eq!(live.requests(&mut client, sql), asked, "{off}");
        client
            .batch_execute("RESET assets_fdw.enable_batched_joins; RESET assets_fdw.join_batch_size")
            .unwrap();
    }
    // A change of the server between two executions.
    client.batch_execute("ALTER SERVER assets OPTIONS (ADD page_size '50')").unwrap();
    assert_eq!(client.query(sql, &[]).unwrap().len(), 15);
    client.batch_execute("SET assets_fdw.enable_pushdown = off").unwrap();
    assert_eq!(client.query(sql, &[]).unwrap().len(), 15);
    let shown = plan(&mut client, &format!("EXPLAIN {sql}"));
    assert!(!batches(&shown), "{shown}");
}

#[test]
fn a_plan_without_foreign_tables_of_ours_is_as_it_was() {
    let live = Live::start(Options { objects: 50, ..Options::default() });
    let mut client = live.connect();
    client
        .batch_execute(
            "CREATE TABLE a AS SELECT n FROM generate_series(1, 10) n; CREATE TABLE b AS SELECT n FROM generate_series(1, 10000) n;
             CREATE INDEX ON b (n); ANALYZE a; ANALYZE b; SET enable_hashjoin = off;
             SET enable_mergejoin = off; SELECT assets_fdw.count('assets', 'objectType = Server')",
        )
        .unwrap();
    let shown = plan(&mut client, "EXPLAIN SELECT * FROM a JOIN b USING (n)");
    assert!(shown.contains("Nested Loop") && !batches(&shown), "{shown}");
}
