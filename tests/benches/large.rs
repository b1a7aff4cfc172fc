//! A schema of a million objects in three hundred types, refreshed as one group: what each kind of run costs in
//! requests, time, processor time and memory of its process. `OBJECTS=100000 make bench T=large` for fewer.

#![forbid(unsafe_code)]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::{Options, Sim};
use postgres::Client;

/// The company has seventeen types in the schema; the others have no objects.
const EMPTY_TYPES: usize = 283;
/// Runs that are kept of one replica.
const RUNS: u64 = 1_000_000;

fn main() {
    if std::env::args().skip(1).any(|arg| !arg.starts_with('-') && !"large".contains(&arg)) {
        return;
    }
    let objects = std::env::var("OBJECTS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let sim = Sim::start(Options { objects, ..Options::default() }).expect("a simulator");
    for n in 0..EMPTY_TYPES {
        sim.add_type("ITSM", &format!("Kind {n}"), None).expect("a type");
    }
    let server = match std::env::var("PLANS") {
        // Every statement of a run with its plan, in the server's log.
        Ok(_) => Server::start(&[
            ("shared_preload_libraries", "auto_explain"),
            ("auto_explain.log_min_duration", "50ms"),
            ("auto_explain.log_analyze", "on"),
            ("auto_explain.log_nested_statements", "on"),
            ("max_wal_size", "4GB"),
        ]),
        Err(_) => Server::start(&[("max_wal_size", "4GB")]),
    };
    let database = server.create_database();
    database.create_assets_server(&sim);
    let mut client = database.connect();
    client
        .batch_execute(
            "CREATE SCHEMA itsm; IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER assets INTO itsm;
             SELECT assets_fdw.materialize_schema('itsm')",
        )
        .expect("replicas");
    println!(
        "{:<28} {:>8} {:>8} {:>9} {:>9} {:>9} {:>9}",
        "large", "time", "cpu", "writing", "requests", "rows", "memory"
    );
    let refresh = "SELECT assets_fdw.refresh_schema('itsm_replica')";
    let case = |client: &mut Client, name: &str, sql: &str| run(&sim, &server, client, name, sql);
    case(&mut client, "first loads", refresh);
    let rows: i64 = client
        .query_one("SELECT sum(rows)::bigint FROM assets_fdw.materializations", &[])
        .expect("rows")
        .get(0);
    println!("({rows} rows)");
    case(&mut client, "nothing changed", refresh);
    case(&mut client, "nothing changed, again", refresh);
    let old = format!(
        "INSERT INTO assets_fdw.replica_run (id, target, target_name, owner, reason, mode, attempt, outcome, started,
             finished)
         SELECT -n, 'itsm_replica.server'::regclass, 'itsm_replica.server', 10, 'schedule', 'incremental', 1, 'ok',
                now() - n * interval '1 second', now() - n * interval '1 second'
         FROM generate_series(1, {RUNS}) AS n;
         VACUUM ANALYZE assets_fdw.replica_run"
    );
    for statement in old.split(';') {
        client.batch_execute(statement).expect("a history");
    }
    case(&mut client, "after a million runs", refresh);
    case(&mut client, "after a million runs, again", refresh);
    let laptops = keys(&mut client, "laptop", 2_000);
    for key in &laptops {
        sim.update(key, "Serial Number", &[&format!("SN {key}")]).expect("a change");
    }
    case(&mut client, "2,000 changed", refresh);
    for key in &laptops {
        sim.update(key, "Name", &[&format!("new {key}")]).expect("a change");
    }
    case(&mut client, "2,000 renamed", refresh);
    for table in ["server", "laptop", "employee", "phone"] {
        let each = usize::try_from(objects / 400).expect("a few");
        for key in keys(&mut client, table, each) {
            let _ = sim.update(&key, "Name", &[&format!("newer {key}")]);
        }
    }
    case(&mut client, "1 % changed", refresh);
    sim.delete(&keys(&mut client, "server", 1)[0]).expect("a change");
    case(&mut client, "one deleted", refresh);
    for key in keys(&mut client, "employee", 3) {
        sim.delete(&key).expect("a change");
    }
    case(&mut client, "three employees deleted", refresh);
    case(
        &mut client,
        "everything of servers compared",
        "SELECT assets_fdw.refresh('itsm_replica.server', 'full')",
    );
    if std::env::var("PLANS").is_ok() {
        fs::write("/tmp/assets_fdw_plans", server.log_text()).expect("a file");
    }
}

fn keys(client: &mut Client, table: &str, most: usize) -> Vec<String> {
    let sql = format!("SELECT key FROM itsm_replica.{table} ORDER BY id LIMIT {most}");
    client.query(&sql, &[]).expect("keys").iter().map(|row| row.get(0)).collect()
}

fn run(sim: &Sim, server: &Server, client: &mut Client, name: &str, sql: &str) {
    sim.clear_log();
    let last = "SELECT coalesce(max(id), 0) FROM assets_fdw.refresh_history";
    let before: i64 = client.query_one(last, &[]).expect("the history").get(0);
    let (processor, started) = (processor_time(server), Instant::now());
    let memory = Watch::start(server.postmaster_pid());
    client.batch_execute(sql).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let took = started.elapsed();
    let memory = memory.stop();
    let processor = processor_time(server) - processor;
    let figures = "SELECT coalesce(sum(inserted + updated + deleted), 0)::bigint, max(apply_seconds)
                   FROM assets_fdw.refresh_history WHERE id > $1";
    let row = client.query_one(figures, &[&before]).expect("the history");
    let (rows, writing): (i64, Option<f64>) = (row.get(0), row.get(1));
    println!(
        "{name:<28} {took:>8.1?} {processor:>8.1?} {:>8.2}s {:>9} {rows:>9} {:>6} MB",
        writing.unwrap_or(0.0),
        sim.log().len(),
        memory >> 10
    );
}

/// Of all processes of the server that have ended, which workers have when their run is over.
fn processor_time(server: &Server) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.postmaster_pid())).expect("the postmaster");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // cutime and cstime, in hundredths of a second.
    let ticks: u64 = fields[13..15].iter().filter_map(|n| n.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Looks at what a run's process holds of its own, again and again.
struct Watch {
    most: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Watch {
    fn start(postmaster: u32) -> Self {
        let (most, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (most, over) = (most.clone(), over.clone());
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let held = workers(postmaster).map(anonymous).max().unwrap_or(0);
                    most.fetch_max(held, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(20));
                }
            })
        };
        Self { most, over, thread }
    }

    /// Kilobytes, at most.
    fn stop(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("the watch ends");
        self.most.load(Ordering::Relaxed)
    }
}

fn workers(postmaster: u32) -> impl Iterator<Item = u32> {
    let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children"));
    let pids: Vec<u32> =
        children.unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    pids.into_iter().filter(|pid| {
        let title = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        title.contains("assets_fdw refresh")
    })
}

fn anonymous(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}
