//! What keeping a replica fresh costs: time, requests and WAL of a first load, of a full comparison, and of
//! incremental refreshes, of one replica and of a schema of two hundred types, beside a materialized view over the same foreign table that is refreshed CONCURRENTLY on a
//! schedule. `make bench` runs it with an optimised library.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::{Options, Sim};
use postgres::Client;

/// Objects of all types of the simulated company; 18 of 100 are servers.
const OBJECTS: u64 = 60_000;

fn main() {
    println!("{:<30} {:>8} {:>9} {:>9} {:>9} {:>12}", "case", "latency", "time", "requests", "rows", "WAL");
    for latency in [Duration::ZERO, Duration::from_millis(40)] {
        measure(latency);
    }
    println!();
    schema();
}

/// A schema of two hundred object types, of which twenty have all the objects, as one group.
fn schema() {
    let latency = Duration::from_millis(40);
    let sim = Sim::start(Options { objects: 125_000, latency, ..Options::default() }).expect("a simulator");
    for n in 0..180 {
        sim.add_type("ITSM", &format!("Kind {n}"), None).expect("a type");
    }
    let database = Server::shared().create_database();
    database.create_assets_server(&sim);
    let mut client = database.connect();
    let made = "CREATE SCHEMA itsm; IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER assets INTO itsm";
    client.batch_execute(made).expect("foreign tables");
    let refresh = "SELECT assets_fdw.refresh_schema('itsm_replica')";
    let mut case = |name: &str, sql: &str| run(&sim, &mut client, name, latency, sql);
    case("200 types: made", "SELECT assets_fdw.materialize_schema('itsm')");
    case("200 types: first loads", refresh);
    case("200 types: nothing changed", refresh);
    let objects: Vec<_> = ["Server", "Laptop", "Employee", "Phone"]
        .iter()
        .flat_map(|name| sim.dump(sim.type_id(name).expect("a type")))
        .collect();
    println!("({} objects of four types)", objects.len());
    sim.delete(&objects[objects.len() / 3].key).expect("a change");
    case("200 types: one deleted", refresh);
    for object in objects.iter().step_by(100).skip(1) {
        let _ = sim.update(&object.key, "Name", &[&format!("new {}", object.key)]);
    }
    case("200 types: 1 % changed", refresh);
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
    // What rows and indexes of this kind cost by themselves.
    case(
        "the same rows by INSERT",
        "CREATE TABLE same (LIKE itsm_replica.server INCLUDING ALL); INSERT INTO same TABLE itsm_replica.server",
    );
    case("the same without indexes", "CREATE TABLE bare AS TABLE itsm_replica.server");
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
    let rows_before = rows(client);
    let (before, started) = (wal(client), Instant::now());
    client.batch_execute(sql).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let (took, written) = (started.elapsed(), wal(client) - before);
    let requests = sim.log().len();
    let rows = rows(client) - rows_before;
    println!("{name:<30} {latency:>8?} {took:>9.1?} {requests:>9} {rows:>9} {:>9} kB", written / 1024);
}

/// Row versions written so far to the replica and to the materialized view.
fn rows(client: &mut Client) -> i64 {
    // What other processes have counted is there when they are gone; our own has to be asked for.
    client.batch_execute("SELECT pg_stat_force_next_flush()").expect("statistics");
    let sql = "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint FROM pg_stat_all_tables
               WHERE schemaname = 'itsm_replica' OR relname = 'copy'";
    client.query_one(sql, &[]).expect("statistics").get(0)
}
