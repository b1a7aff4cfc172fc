//! What joins ask of the service, in batches and without, at several distances.

use std::time::Duration;

use assets_fdw_tests::assets_sim::{Endpoint, Options};
use postgres::Client;

use crate::memory::kilobytes;
use crate::{Bench, line, timed};

const QUERIES: [(&str, &str); 14] = [
    ("10,000 local keys, by key, INNER", "SELECT w.n, s.name FROM wanted w JOIN itsm.server s USING (key)"),
    ("… LEFT", "SELECT w.n, s.name FROM wanted w LEFT JOIN itsm.server s USING (key)"),
    ("… SEMI", "SELECT w.n FROM wanted w WHERE EXISTS (SELECT FROM itsm.server s WHERE s.key = w.key)"),
    ("… ANTI", "SELECT w.n FROM wanted w WHERE NOT EXISTS (SELECT FROM itsm.server s WHERE s.key = w.key)"),
    ("… by id", "SELECT w.n, s.name FROM wanted w JOIN itsm.server s USING (id)"),
    ("… by reference key", "SELECT w.n, s.name FROM wanted w JOIN itsm.server s ON s.owner_key = w.owner_key AND s.id = w.id"),
    ("… every tenth missing", "SELECT m.n, s.name FROM missing m LEFT JOIN itsm.server s USING (key)"),
    ("15 local keys", "SELECT w.n, s.name FROM few w JOIN itsm.server s USING (key)"),
    ("20 rows with one relation", "SELECT s.key, x.j FROM (SELECT * FROM itsm.server LIMIT 20) s LEFT JOIN LATERAL
         (SELECT json_build_object('name', e.name) j FROM itsm.employee e WHERE e.key = s.owner_key) x ON true"),
    ("a join of two tables, LIMIT 5", "SELECT s.name, e.name FROM itsm.server s JOIN itsm.employee e ON e.key = s.owner_key LIMIT 5"),
    ("unnest(keys) joined", "SELECT s.name FROM unnest(ARRAY(SELECT key FROM wanted WHERE n <= 3147)) k JOIN itsm.server s ON s.key = k"),
    ("count for each of 993 rows", "SELECT e.key, (SELECT count(*) FROM itsm.phone s WHERE s.used_by_key = e.key) FROM hosts e"),
    ("LATERAL … LIMIT 1 for each", "SELECT e.key, x.name FROM hosts e, LATERAL (SELECT name FROM itsm.server s WHERE s.owner_key = e.key LIMIT 1) x"),
    ("a join with a table never analyzed", "SELECT w.n, s.name FROM fresh w JOIN itsm.server s USING (key)"),
];

/// Requests and time of each, in batches and without.
pub fn requests() {
    let sim = Options { objects: 55_600, ..Options::default() };
    let bench = Bench::start(sim, "ADD max_in_flight '8'");
    let mut client = bench.connect();
    client
        .batch_execute(
            "CREATE TABLE wanted AS SELECT key, id, owner_key, row_number() OVER (ORDER BY id)::int AS n FROM itsm.server LIMIT 10000;
             CREATE TABLE few AS SELECT * FROM wanted WHERE n <= 15;
             CREATE TABLE missing AS SELECT CASE WHEN n % 10 = 0 THEN 'ITSM-9' || n || '000' ELSE key END AS key, n FROM wanted;
             CREATE TABLE hosts AS SELECT key FROM itsm.employee LIMIT 993;
             ANALYZE; CREATE TABLE fresh AS TABLE few;
             SELECT count(*) FROM itsm.server; SELECT count(*) FROM itsm.employee; SELECT count(*) FROM itsm.phone",
        )
        .expect("tables can be made");
    let servers = bench.sim.count(bench.sim.type_id("Server").expect("servers"));
    println!(
        "  {servers} servers, 100 a page, 8 in flight; requests (most at once) and time, then the same without batches"
    );
    println!(
        "  {:<36} {:>16} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "statement", "requests", "0 ms", "40 ms", "100 ms", "without", "0 ms"
    );
    for (what, sql) in QUERIES {
        let mut times = Vec::new();
        let mut asked = (0, 0);
        for ms in [0, 40, 100] {
            bench.sim.switches(|s| s.latency_ms = ms);
            let (requests, most, time) = measured(&bench, &mut client, sql);
            (asked, times) = ((requests, most), [times, vec![format!("{time:.1?}")]].concat());
        }
        bench.sim.switches(|s| s.latency_ms = 0);
        client.batch_execute("SET assets_fdw.enable_batched_joins = off").expect("a setting");
        let (without, _, time) = measured(&bench, &mut client, sql);
        client.batch_execute("RESET assets_fdw.enable_batched_joins").expect("a setting");
        println!(
            "  {what:<36} {:>11} ({:>2}) {:>10} {:>10} {:>10} {without:>10} {:>10}",
            asked.0,
            asked.1,
            times[0],
            times[1],
            times[2],
            format!("{time:.1?}")
        );
    }
}

fn measured(bench: &Bench, client: &mut Client, sql: &str) -> (usize, usize, Duration) {
    bench.sim.clear_log();
    let time = timed(|| drop(client.query(sql, &[]).unwrap_or_else(|e| panic!("{sql}: {e}"))));
    let log = bench.sim.log();
    let of = |e: &Endpoint| matches!(e, Endpoint::ObjectAql | Endpoint::TotalCount);
    let most = log.iter().map(|entry| entry.in_flight).max().unwrap_or(0);
    (log.iter().filter(|entry| of(&entry.endpoint)).count(), most, time)
}

/// The peak of a backend's resident memory in a join of 100,000 outer rows, over what it holds when idle.
pub fn memory() {
    let bench = Bench::start(Options { objects: 55_600, ..Options::default() }, "ADD max_in_flight '8'");
    let mut client = bench.connect();
    client
        .batch_execute(
            "CREATE TABLE wanted AS SELECT s.key, repeat('x', 200) AS padding, g AS n FROM generate_series(1, 10) g,
                 (SELECT key FROM itsm.server LIMIT 10000) s; ANALYZE wanted; SELECT count(*) FROM itsm.server",
        )
        .expect("tables can be made");
    for method in ["nested loop", "as planned"] {
        let mut client = bench.connect();
        let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get(0);
        client.batch_execute("SELECT key FROM itsm.server LIMIT 1").expect("a row");
        let idle = kilobytes(pid, "VmRSS:");
        if method == "nested loop" {
            client.batch_execute("SET enable_hashjoin = off; SET enable_mergejoin = off").expect("settings");
        }
        let sql = "SELECT count(s), count(padding) FROM wanted w JOIN itsm.server s USING (key)";
        let joined: i64 = client.query_one(sql, &[]).expect("rows").get(0);
        let peak = kilobytes(pid, "VmHWM:");
        line(
            &format!("{joined} rows, {method}: peak {} MB over {} MB when idle", peak >> 10, idle >> 10),
            format!("{} MB", (peak - idle) >> 10),
            "at most 48 MB",
        );
    }
}
