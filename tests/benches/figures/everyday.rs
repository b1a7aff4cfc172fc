//! What everyday queries ask of the service, and how long they take as far away as the real one.

use std::time::Duration;

use assets_fdw_tests::assets_sim::{Endpoint, Options};

use crate::{Bench, timed};

const QUERIES: [(&str, &str); 13] = [
    ("one object by its key", "SELECT * FROM itsm.server WHERE key = (SELECT min(key) FROM keys)"),
    ("the same in a prepared statement", "EXECUTE by_key"),
    ("ten objects by their keys", "SELECT * FROM itsm.server WHERE key IN (SELECT key FROM keys LIMIT 10)"),
    ("all that match a text", "SELECT name FROM itsm.server WHERE operating_system = 'Debian 12'"),
    ("how many there are", "SELECT count(*) FROM itsm.server"),
    ("how many match", "SELECT count(*) FROM itsm.server WHERE operating_system = 'Debian 12'"),
    ("a first look", "SELECT * FROM itsm.server LIMIT 10"),
    ("what changed last", "SELECT name, updated FROM itsm.server ORDER BY updated DESC LIMIT 10"),
    ("is there any", "SELECT EXISTS (SELECT 1 FROM itsm.server WHERE operating_system = 'Debian 12')"),
    ("a report over everything", "SELECT operating_system, count(*) FROM itsm.server GROUP BY 1"),
    ("a join", "SELECT s.name, e.email FROM itsm.server s JOIN itsm.employee e ON e.key = s.owner_key"),
    (
        "a join of a few rows",
        "SELECT e.name FROM keys k JOIN itsm.server s USING (key) JOIN itsm.employee e ON e.key = s.owner_key",
    ),
    ("nothing to find", "SELECT * FROM itsm.server WHERE id = ANY ('{}')"),
];

/// Requests a query, once what a type is and how many objects it has is known to the session.
pub fn requests() {
    let sim = Options { objects: 20_000, latency: Duration::from_millis(40), ..Options::default() };
    let bench = Bench::start(sim, "ADD max_in_flight '8'");
    let mut client = bench.connect();
    client
        .batch_execute(
            "CREATE TABLE keys AS SELECT key FROM itsm.server WHERE owner_key IS NOT NULL ORDER BY id LIMIT 20;
             ANALYZE keys; SELECT count(*) FROM itsm.server; SELECT count(*) FROM itsm.employee",
        )
        .expect("tables can be made");
    let key: String = client.query_one("SELECT min(key) FROM keys", &[]).expect("a key").get(0);
    client
        .batch_execute(&format!("PREPARE by_key AS SELECT * FROM itsm.server WHERE key = '{key}'"))
        .expect("a statement");
    let servers = bench.sim.count(bench.sim.type_id("Server").expect("servers"));
    println!("  {servers} servers, 40 ms a response, 100 a page, 8 in flight");
    println!("  {:<36} {:>6} {:>9} {:>7} {:>10}", "query", "rows", "searches", "counts", "time");
    for (what, sql) in QUERIES {
        bench.sim.clear_log();
        let mut rows = 0;
        let time = timed(|| rows = client.query(sql, &[]).unwrap_or_else(|e| panic!("{sql}: {e}")).len());
        let log = bench.sim.log();
        let asked = |endpoint| log.iter().filter(|entry| entry.endpoint == endpoint).count();
        let (searches, counts) = (asked(Endpoint::ObjectAql), asked(Endpoint::TotalCount));
        println!("  {what:<36} {rows:>6} {searches:>9} {counts:>7} {time:>10.1?}");
    }
}
