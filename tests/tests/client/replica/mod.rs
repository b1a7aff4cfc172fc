//! Replicas: real servers, real workers, a service that changes. Every wait is for a condition.

mod altered;
mod beforehand;
mod by_hand;
mod clocks;
mod course;
mod death;
mod elsewhere;
mod fair;
mod gone;
mod incremental;
mod kills;
mod moments;
mod random;
mod resume;
mod rights;
mod scheduled;
mod schemas;
mod sync;
mod sync_hostile;
mod together;
mod trust;
mod update;
mod values;
mod versions;
mod weather;
mod wide;

use std::time::Duration;

use assets_fdw_tests::assets_sim::{Options, Sim};
use assets_fdw_tests::{Database, Server, wait_until};
use postgres::Client;

/// How long a condition may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A server with the library preloaded that looks at its jobs ten times a second.
fn preloaded(settings: &[(&str, &str)]) -> Server {
    let own = [
        ("shared_preload_libraries", "assets_fdw"),
        ("assets_fdw.naptime", "100ms"),
        ("max_worker_processes", "20"),
    ];
    Server::start(&[&own, settings].concat())
}

fn small() -> Sim {
    sim(600)
}

fn sim(objects: u64) -> Sim {
    Sim::start(Options { objects, ..Options::default() }).expect("a simulator")
}

/// Connects the database with the simulator and imports the ITSM schema as `itsm`.
fn import(database: &Database, sim: &Sim) -> Client {
    database.create_assets_server(sim);
    let mut client = database.connect();
    client
        .batch_execute("CREATE SCHEMA itsm; IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER assets INTO itsm")
        .expect("the schema can be imported");
    client
}

/// Makes a replica of itsm.server and waits for its first load.
fn loaded(client: &mut Client, every: &str) {
    client
        .batch_execute(&format!("SELECT assets_fdw.materialize('itsm.server', every => '{every}')"))
        .expect("a replica can be made");
    wait_for(client, "the first load", "SELECT last_success IS NOT NULL FROM assets_fdw.materializations");
}

/// Waits until a query gives true.
#[track_caller]
fn wait_for(client: &mut Client, what: &str, sql: &str) {
    let mut last = None;
    let deadline = std::time::Instant::now() + PATIENCE;
    wait_until(what, PATIENCE + Duration::from_secs(5), || {
        last = client.query_opt(sql, &[]).expect(sql).and_then(|row| row.get::<_, Option<bool>>(0));
        if last != Some(true) && std::time::Instant::now() > deadline {
            panic!("still waiting: {what}; history:\n{}", history(client));
        }
        last == Some(true)
    });
}

/// Waits until a query gives true on connections that may break.
#[track_caller]
fn wait_for_anew(server: &Server, database: &str, what: &str, sql: &str) {
    wait_until(what, PATIENCE, || {
        let Ok(mut client) = server.try_connect(database, "postgres") else { return false };
        matches!(client.query_opt(sql, &[]), Ok(Some(row)) if row.get::<_, Option<bool>>(0) == Some(true))
    });
}

/// The history, for messages.
fn history(client: &mut Client) -> String {
    let sql = "SELECT format('%s %s %s %s attempt %s: seen %s +%s ~%s -%s %s', id, target, reason, outcome, attempt,
                             seen, inserted, updated, deleted, error)
               FROM assets_fdw.refresh_history ORDER BY id";
    let rows = client.query(sql, &[]).unwrap_or_default();
    rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n")
}

/// Runs statements one by one, each in a transaction of its own; what stands in one batch shares one.
#[track_caller]
fn steps(client: &mut Client, sql: &str) {
    for statement in sql.split(';') {
        client.batch_execute(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
}

fn number(client: &mut Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
}

fn text(client: &mut Client, sql: &str) -> String {
    client.query_one(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
}

/// How many rows replica and foreign table do not have in common.
fn differences(client: &mut Client) -> i64 {
    number(
        client,
        "SELECT (SELECT count(*) FROM (TABLE itsm.server EXCEPT TABLE itsm_replica.server) AS a)
              + (SELECT count(*) FROM (TABLE itsm_replica.server EXCEPT TABLE itsm.server) AS b)",
    )
}

/// The SQLSTATE and message of the ERROR that a statement raises.
#[track_caller]
fn error_of(client: &mut Client, sql: &str) -> (String, String) {
    let error = client.batch_execute(sql).expect_err(sql);
    let db = error.as_db_error().unwrap_or_else(|| panic!("{sql}: {error:?}"));
    let text = format!("{} {} {}", db.message(), db.detail().unwrap_or(""), db.hint().unwrap_or(""));
    (db.code().code().to_owned(), text)
}

/// The process of a run that is under way.
fn worker_pid(client: &mut Client) -> Option<u32> {
    let sql = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'assets_fdw refresh' AND datname = current_database()";
    let row = client.query_opt(sql, &[]).expect(sql)?;
    u32::try_from(row.get::<_, i32>(0)).ok()
}
