//! Whatever is asked for together, the rows are those of a join that asks for one key after the other.

use assets_fdw_tests::assets_sim::Profile;
use postgres::Client;

use super::{batches, plan};
use crate::live::{Live, PROFILES};

/// Copies of what is joined, and a local table of keys: repeated, NULL, missing, and such as AQL has no words for.
const TABLES: &str = r#"
CREATE SCHEMA local;
SET assets_fdw.enable_pushdown = off;
CREATE TABLE local.server AS TABLE itsm.server;
CREATE TABLE local.employee AS TABLE itsm.employee;
CREATE TABLE local.department AS TABLE itsm.department;
CREATE TABLE local.database AS TABLE itsm.database;
RESET assets_fdw.enable_pushdown;
CREATE TABLE k AS
    SELECT row_number() OVER (ORDER BY id)::int AS n, key, id, owner_key AS ref, lower(key) AS small, ip_address AS ip,
           memory_gb AS gb, created AS at, purchased AS day, price, name
    FROM local.server
    UNION ALL SELECT 1000 + n::int, key, n, key, key, NULL, n, NULL, NULL, n, key
    FROM unnest(ARRAY['ITSM-1', NULL, 'ITSM-999999', '', ' ', E'a\tb', 'itsm-2', 'no"quote', E'back\\slash', 'ß',
                      repeat('x', 3000), 'ITSM-1 ']) WITH ORDINALITY x(key, n);
INSERT INTO k SELECT n + 2000, key, id, ref, small, ip, gb, at, day, price, name FROM k WHERE n % 3 = 0;
ANALYZE k, local.server, local.employee, local.department, local.database;
"#;

const QUERIES: &[&str] = &[
    "SELECT k.n, s.key, s.name FROM k JOIN {s}server s ON s.key = k.key",
    "SELECT k.n, s.key, s.name FROM k LEFT JOIN {s}server s ON s.key = k.key AND s.virtual",
    "SELECT k.n, s.key FROM k LEFT JOIN {s}server s ON s.id = k.id AND s.memory_gb < k.gb + 10",
    "SELECT k.n, s.key FROM k RIGHT JOIN {s}server s ON s.key = k.key",
    "SELECT k.n, s.key FROM k FULL JOIN {s}server s ON s.key = k.key",
    "SELECT k.n FROM k WHERE EXISTS (SELECT FROM {s}server s WHERE s.key = k.key)",
    "SELECT k.n FROM k WHERE NOT EXISTS (SELECT FROM {s}server s WHERE s.key = k.key AND s.memory_gb > 8)",
    "SELECT k.n FROM k WHERE k.key IN (SELECT s.key FROM {s}server s)",
    "SELECT k.n FROM k WHERE k.key NOT IN (SELECT s.key FROM {s}server s)",
    "SELECT s.key FROM {s}server s WHERE s.key IN (SELECT key FROM k)",
    "SELECT k.n, e.key, e.name FROM k JOIN {s}employee e ON e.key = k.ref",
    "SELECT k.n, s.key FROM k JOIN {s}server s ON s.owner_key = k.ref AND s.key <> k.key",
    "SELECT k.n, s.key FROM k JOIN {s}server s ON s.owner_key = k.ref AND s.id = k.id",
    "SELECT k.n, s.key FROM k JOIN {s}server s ON s.ip_address = k.ip",
    "SELECT k.n, s.key FROM k JOIN {s}server s ON s.memory_gb = k.gb AND s.purchased = k.day",
    "SELECT k.n, s.key FROM k JOIN {s}server s ON s.purchased = k.day AND s.created >= k.at",
    "SELECT k.n, s.key FROM k JOIN {s}server s ON s.price = k.price",
    "SELECT k.n, s.key FROM k JOIN {s}server s ON lower(s.key) = k.small",
    "SELECT k.n, s.key FROM k JOIN {s}server s ON s.key = upper(k.small)",
    "SELECT k.n, s.key FROM k JOIN {s}server s ON s.name = k.name AND s.created = k.at",
    "SELECT k.n, b.key FROM k JOIN {s}database b ON k.key = ANY (b.runs_on_key)",
    "SELECT k.n, s.key FROM k JOIN {s}server s ON s.key = k.key OR s.key = k.ref",
    "SELECT k.n, s.key FROM k JOIN {s}server s ON s.key = k.key AND NOT s.owner_key = k.ref",
    "SELECT k.n, s.key FROM k JOIN {s}server s ON s.key IS NOT DISTINCT FROM k.key",
    // A filter of the join, and sub-selects in it, see their own outer row.
    "SELECT k.n, s.key FROM k LEFT JOIN {s}server s ON s.key = k.key AND k.n % 2 = 0",
    "SELECT k.n, s.key FROM k JOIN {s}server s ON s.key = k.key
         AND s.memory_gb > (SELECT count(*) FROM k i WHERE i.ref = k.ref)",
    "SELECT k.n, s.key FROM k LEFT JOIN {s}server s ON s.key = k.key
         AND EXISTS (SELECT FROM k i WHERE i.key = s.key AND i.n = k.n)",
    "SELECT k.n, (SELECT count(*) FROM {s}server s WHERE s.owner_key = k.ref) FROM k",
    "SELECT k.n, (SELECT s.name FROM {s}server s WHERE s.key = k.key AND s.memory_gb > k.gb - 1) FROM k",
    // Joins over joins, and to the side.
    "SELECT k.n, s.key, e.key, d.key FROM k JOIN {s}server s ON s.key = k.key LEFT JOIN {s}employee e ON e.key = s.owner_key
         LEFT JOIN {s}department d ON d.key = e.department_key",
    "SELECT k.n, s.key, e.key, d.key FROM k LEFT JOIN {s}server s ON s.key = k.key LEFT JOIN {s}employee e
         ON e.key = coalesce(s.owner_key, k.ref) LEFT JOIN {s}department d ON d.key = e.department_key AND d.head_key = e.key",
    "SELECT k.n, x.key, x.e FROM k, LATERAL (SELECT s.key, (SELECT count(*) FROM {s}employee e WHERE e.key = s.owner_key) e
         FROM {s}server s WHERE s.key = k.key) x",
    "SELECT k.n, x.key FROM k LEFT JOIN LATERAL (SELECT s.key FROM {s}server s WHERE s.owner_key = k.ref
         ORDER BY s.id LIMIT 2) x ON true",
    "SELECT k.n, x.c FROM k, LATERAL (SELECT count(*) c FROM {s}server s WHERE s.owner_key = k.ref AND s.memory_gb >= 8) x",
    "SELECT a.n, b.n, s.key FROM k a JOIN k b ON b.n = a.n + 1 JOIN {s}server s ON s.key = a.key AND s.owner_key = b.ref",
    "SELECT k.n, x.key FROM k, LATERAL (SELECT s.key FROM {s}employee e JOIN {s}server s ON s.owner_key = e.key
         AND s.memory_gb >= k.gb WHERE e.key = k.ref) x",
    "SELECT e.key, count(s.key), max(s.memory_gb) FROM {s}employee e LEFT JOIN {s}server s ON s.owner_key = e.key GROUP BY 1",
    "SELECT u.key, s.name FROM (SELECT key FROM k WHERE n < 40 UNION SELECT ref FROM k) u JOIN {s}server s USING (key)",
    "SELECT k.n, s.* FROM k JOIN {s}server s USING (key)",
    "SELECT k.n, s FROM k LEFT JOIN {s}server s ON s.key = k.key",
];

fn rows(client: &mut Client, sql: &str, schema: &str) -> Vec<String> {
    let sql = format!("SELECT q::text FROM ({}) q ORDER BY 1", sql.replace("{s}", schema));
    let found = client.query(&sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    found.iter().map(|row| row.get(0)).collect()
}

#[test]
fn joins_give_the_rows_of_local_copies_by_every_method_with_every_kind_of_key() {
    for profile in PROFILES {
        let live = Live::imported(profile, 300);
        let mut client = live.connect();
        client.batch_execute(TABLES).unwrap();
        let mut read_ahead = 0;
        for (n, sql) in QUERIES.iter().enumerate() {
            let expected = rows(&mut client, sql, "local.");
            // All of them where the service is as documented, else one after the other.
            let all = [
                "",
                "SET enable_hashjoin = off; SET enable_mergejoin = off",
                "SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_memoize = off; SET enable_material = off;
                 SET assets_fdw.join_batch_size = 7",
                // What is kept does not fit: batches are given up, keys asked for alone.
                "SET enable_hashjoin = off; SET enable_mergejoin = off; SET work_mem = '64kB'; SET hash_mem_multiplier = 1",
            ];
            let some = if profile == Profile::Documented { 0..4 } else { 1 + n % 3..2 + n % 3 };
            for settings in &all[some] {
                client.batch_execute(settings).unwrap();
                let found = rows(&mut client, sql, "itsm.");
                let shown =
                    plan(&mut client, &format!("EXPLAIN (COSTS off) {}", sql.replace("{s}", "itsm.")));
                assert_eq!(found, expected, "{profile:?} {settings}\n{sql}\n{shown}");
                read_ahead += i32::from(batches(&shown));
                client.batch_execute("RESET ALL").unwrap();
            }
        }
        assert!(read_ahead > 20, "only {read_ahead} plans read ahead");
    }
}

#[test]
fn the_order_of_the_outer_side_is_kept_and_a_limit_above_takes_its_first_rows() {
    let live = Live::imported(Profile::Documented, 1_000);
    let mut client = live.connect();
    client.batch_execute(TABLES).unwrap();
    client
        .batch_execute(
            "CREATE INDEX ON k (n); ANALYZE k; SET enable_hashjoin = off; SET enable_mergejoin = off",
        )
        .unwrap();
    for join in ["JOIN", "LEFT JOIN"] {
        for tail in [
            "ORDER BY k.n LIMIT 10",
            "ORDER BY k.n OFFSET 20 LIMIT 40",
            "ORDER BY k.n DESC FETCH FIRST 7 ROWS WITH TIES",
        ] {
            let sql = format!("SELECT k.n, s.key FROM k {join} {{s}}server s ON s.key = k.key {tail}");
            let list = |client: &mut Client, schema: &str| -> Vec<String> {
                let sql = format!("SELECT q::text FROM ({}) q", sql.replace("{s}", schema));
                client.query(&sql, &[]).unwrap().iter().map(|row| row.get(0)).collect()
            };
            assert_eq!(list(&mut client, "itsm."), list(&mut client, "local."), "{sql}");
        }
    }
}

#[test]
fn prepared_statements_loops_and_cursors_follow_their_parameters() {
    let live = Live::imported(Profile::Documented, 600);
    let mut client = live.connect();
    client.batch_execute(TABLES).unwrap();
    client
        .batch_execute(
            "SET plan_cache_mode = force_generic_plan; SET enable_hashjoin = off; SET enable_mergejoin = off;
             CREATE FUNCTION found(low int, high int) RETURNS bigint LANGUAGE plpgsql AS $$
             DECLARE r record; sum bigint := 0;
             BEGIN
                 FOR r IN SELECT s.id FROM k JOIN itsm.server s ON s.key = k.key AND s.memory_gb >= low WHERE k.n < high LOOP
                     sum := sum + r.id;
                 END LOOP;
                 RETURN sum;
             END $$;
             PREPARE p(int, int) AS SELECT coalesce(sum(s.id), 0)::bigint FROM k JOIN itsm.server s ON s.key = k.key AND s.memory_gb >= $1
                 WHERE k.n < $2",
        )
        .unwrap();
    for round in 0..8 {
        let (low, high) = (round * 20, 400 - round * 45);
        let of = |client: &mut Client, sql: String| -> i64 { client.query_one(&sql, &[]).unwrap().get(0) };
        let expected = of(
            &mut client,
            format!(
                "SELECT coalesce(sum(s.id), 0)::bigint FROM k JOIN local.server s ON s.key = k.key AND s.memory_gb >= {low} WHERE k.n < {high}"
            ),
        );
        assert_eq!(of(&mut client, format!("SELECT found({low}, {high})")), expected, "{low} {high}");
        assert_eq!(of(&mut client, format!("EXECUTE p({low}, {high})")), expected, "{low} {high}");
    }
    // A cursor in both directions.
    let sql = "SELECT k.n, s.key FROM k JOIN itsm.server s ON s.key = k.key ORDER BY k.n";
    let all: Vec<i32> = client.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    client.batch_execute(&format!("BEGIN; DECLARE c SCROLL CURSOR FOR {sql}")).unwrap();
    let mut fetched =
        |sql: &str| -> Vec<i32> { client.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect() };
    assert_eq!(fetched("FETCH 30 FROM c"), all[..30]);
    assert_eq!(fetched("FETCH BACKWARD 5 FROM c"), all[24..29].iter().rev().copied().collect::<Vec<_>>());
    assert_eq!(fetched("FETCH ALL FROM c"), all[25..]);
}
