//! How much larger a backend gets while it scans large objects.

use assets_fdw_tests::assets_sim::{Endpoint, Options};
use postgres::Client;

use crate::{Bench, TABLE, line};

const OBJECTS: u64 = 200_000;

/// The peak of a backend's resident memory over what it holds when idle, after it has made its connections.
pub fn growth() {
    for (object_bytes, page_cap) in [(10_000, 500), (10_000, 100), (100_000, 500)] {
        let objects = OBJECTS * 10_000 / u64::from(object_bytes);
        let sim = Options { object_bytes: Some(object_bytes), page_cap, ..Bench::laptops(objects) };
        let bench = Bench::start(sim, "ADD max_in_flight '8'");
        let mut client = bench.connect();
        let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get(0);
        client.batch_execute(&format!("SELECT name FROM {TABLE} LIMIT 1")).expect("a row");
        let idle = kilobytes(pid, "VmRSS:");
        for columns in ["name", "l"] {
            bench.sim.clear_log();
            let (objects, requests) = scan(&bench, &mut client, columns);
            let peak = kilobytes(pid, "VmHWM:");
            println!(
                "  {objects} objects of {} kB, at most {page_cap} a page, 8 in flight, count({columns}): {requests} requests",
                object_bytes / 1000
            );
            line(
                &format!("peak {} MB over {} MB when idle", peak >> 10, idle >> 10),
                format!("{} MB", (peak - idle) >> 10),
                "at most 32 MB",
            );
        }
    }
}

fn scan(bench: &Bench, client: &mut Client, columns: &str) -> (i64, usize) {
    let sql = format!("SELECT count({columns}) FROM {TABLE} l");
    let objects = client.query_one(&sql, &[]).expect("a scan").get(0);
    let log = bench.sim.log();
    let asked = |endpoint| matches!(endpoint, Endpoint::ObjectAql | Endpoint::TotalCount);
    (objects, log.iter().filter(|entry| asked(entry.endpoint)).count())
}

/// A line of a process's status, in kB.
pub fn kilobytes(pid: i32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the backend's status");
    let line = status.lines().find(|line| line.starts_with(name)).expect("a line of memory");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("kilobytes")
}
