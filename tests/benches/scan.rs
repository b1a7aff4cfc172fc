//! How fast live tables are read: time and requests a query, against a simulator that answers at once and one as
//! far away as the real service. `make bench` runs it with an optimised library; `T=name` runs one of the cases.
//!
//! The figures are for comparing one commit with another on one machine; nothing fails when they are bad.

#![forbid(unsafe_code)]

use std::env;
use std::time::{Duration, Instant};

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::{Endpoint, Options, Sim};

/// Objects of all types of the simulated company.
const OBJECTS: u64 = 20_000;
/// Each case is run so often, and the fastest run counts.
const RUNS: usize = 3;

const CASES: &[(&str, &str)] = &[
    ("count", "SELECT count(*) FROM itsm.server"),
    ("one_column", "SELECT max(name) FROM itsm.server"),
    ("every_column", "SELECT count(s::text) FROM itsm.server s"),
    ("join", "SELECT count(*) FROM itsm.server s JOIN itsm.employee e ON e.key = s.owner_key"),
    ("limit", "SELECT count(*) FROM (SELECT key FROM itsm.server LIMIT 10) s"),
];

fn main() {
    let wanted = env::args().skip(1).find(|argument| !argument.starts_with("--"));
    println!("{:<14} {:>8} {:>8} {:>10} {:>9}", "case", "servers", "latency", "best", "requests");
    for latency in [Duration::ZERO, Duration::from_millis(40)] {
        measure(latency, wanted.as_deref());
    }
}

fn measure(latency: Duration, wanted: Option<&str>) {
    let sim = Sim::start(Options { objects: OBJECTS, latency, ..Options::default() }).expect("a simulator");
    let database = Server::shared().create_database();
    database.create_assets_server(&sim);
    let mut client = database.connect();
    client
        .batch_execute("CREATE SCHEMA itsm; IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER assets INTO itsm")
        .expect("the schema can be imported");
    let servers = sim.count(sim.type_id("Server").expect("the company has servers"));
    for (name, sql) in CASES.iter().filter(|(name, _)| wanted.is_none_or(|wanted| name.contains(wanted))) {
        let mut best = Duration::MAX;
        for _ in 0..RUNS {
            sim.clear_log();
            let started = Instant::now();
            client.query(*sql, &[]).unwrap_or_else(|error| panic!("{name}: {error}"));
            best = best.min(started.elapsed());
        }
        let requests = sim.log().iter().filter(|entry| entry.endpoint == Endpoint::ObjectAql).count();
        println!("{name:<14} {servers:>8} {latency:>8?} {best:>10.1?} {requests:>9}");
    }
}
