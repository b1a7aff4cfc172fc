//! What keeping a replica fresh costs: time, requests and WAL of a first load, of a full comparison, and of
//! incremental refreshes, beside a materialized view over the same foreign table that is refreshed CONCURRENTLY on a
//! schedule. `make bench` runs it with an optimised library.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::{Options, Sim};
use postgres::Client;

/// Objects of all types of the simulated company; 18 of 100 are servers.
const OBJECTS: u64 = 60_000;

fn main() {
    println!("{:<34} {:>9} {:>10} {:>9} {:>11}", "case", "latency", "time", "requests", "WAL");
    for latency in [Duration::ZERO, Duration::from_millis(40)] {
        measure(latency);
    }
}

fn measure(latency: Duration) {
    let sim = Sim::start(Options { objects: OBJECTS, latency, ..Options::default() }).expect("a simulator");
    let database = Server::shared().create_database();
    database.create_assets_server(&sim);
    let mut client = database.connect();
    let made = "CREATE SCHEMA itsm; IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER assets INTO itsm;
                SELECT assets_fdw.materialize('itsm.server')";
    client.batch_execute(made).expect("a replica");
    let refresh = |mode: &str| format!("SELECT assets_fdw.refresh('itsm_replica.server', '{mode}')");
    let view = "REFRESH MATERIALIZED VIEW CONCURRENTLY copy";
    let mut case = |name: &str, sql: &str| run(&sim, &mut client, name, latency, sql);

    case("replica: first load", &refresh("auto"));
    case("view: first load", "CREATE MATERIALIZED VIEW copy AS TABLE itsm.server");
    case("view: index", "CREATE UNIQUE INDEX ON copy (id)");
    case("replica: nothing changed", &refresh("incremental"));
    case("replica: everything compared", &refresh("full"));
    case("view: nothing changed", view);

    let servers = sim.dump(sim.type_id("Server").expect("the company has servers"));
    println!("({} servers)", servers.len());
    for server in servers.iter().step_by(100) {
        sim.update(&server.key, "Operating System", &["Plan 9"]).expect("a change");
    }
    case("replica: 1 % changed", &refresh("incremental"));
    case("view: 1 % changed", view);
    sim.delete(&servers[servers.len() / 2].key).expect("a change");
    case("replica: one deleted", &refresh("incremental"));
    case("view: one deleted", view);
}

fn run(sim: &Sim, client: &mut Client, name: &str, latency: Duration, sql: &str) {
    let wal = |client: &mut Client| -> i64 {
        let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint";
        client.query_one(sql, &[]).expect("a position").get(0)
    };
    sim.clear_log();
    let (before, started) = (wal(client), Instant::now());
    client.batch_execute(sql).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let (took, written) = (started.elapsed(), wal(client) - before);
    let requests = sim.log().len();
    println!("{name:<34} {latency:>9?} {took:>10.1?} {requests:>9} {:>8} kB", written / 1024);
}
