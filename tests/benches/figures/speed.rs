//! Scans against a bare concurrent download of the same pages, and against what latency allows.

use std::time::Duration;

use assets_fdw_tests::assets_sim::{Endpoint, LogEntry, Options};
use postgres::Client;

use crate::bare::Requests;
use crate::{Bench, TABLE, line, median, timed};

const OBJECTS: u64 = 100_000;

/// Every column is decoded and made a datum; nothing is sent to the client.
fn scan(client: &mut Client) -> u64 {
    let sql = format!("SELECT count(l) FROM {TABLE} l");
    client.query_one(&sql, &[]).expect("a scan").get::<_, i64>(0) as u64
}

fn searches(bench: &Bench) -> Vec<LogEntry> {
    bench.sim.log().into_iter().filter(|entry| entry.endpoint == Endpoint::ObjectAql).collect()
}

/// Wall time of a scan over that of a bare download of the same pages with as many in flight.
pub fn throughput() {
    const RUNS: usize = 5;
    for in_flight in [8, 16] {
        let sim = Options { page_cap: 500, ..Bench::laptops(OBJECTS) };
        let bench = Bench::start(sim, &format!("ADD max_in_flight '{in_flight}'"));
        let mut client = bench.connect();
        let objects = scan(&mut client);
        bench.sim.clear_log();
        scan(&mut client);
        let requests = Requests::of(&bench.sim, &searches(&bench));
        let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get(0);
        let (mut scans, mut downloads, mut bytes) = (Vec::new(), Vec::new(), 0);
        let before = cpu(pid);
        for _ in 0..RUNS {
            scans.push(timed(|| assert_eq!(scan(&mut client), objects)));
            downloads.push(timed(|| bytes = requests.download(in_flight)));
        }
        let spent = (cpu(pid) - before) / RUNS as f64;
        let (scan, download) = (median(&mut scans), median(&mut downloads));
        println!(
            "  {objects} objects, all columns, {} pages of 500, {} MB, no latency, {in_flight} in flight: median of {RUNS}",
            requests.len(),
            bytes >> 20
        );
        line("scan", format!("{scan:.2?}"), "");
        line("bare concurrent download of the same pages", format!("{download:.2?}"), "");
        line("ratio", format!("{:.2}", scan.as_secs_f64() / download.as_secs_f64()), "at most 1.3");
        line("processor time of the backend, both of its threads", format!("{spent:.2}s"), "");
    }
}

/// Wall time of a scan over the ideal, pages ÷ in flight × latency, and over a bare download of the same pages, which
/// has the simulator's work in it too. Of whole objects, and of what comes without attributes.
pub fn latency() {
    const RUNS: usize = 5;
    const LATENCY: Duration = Duration::from_millis(100);
    const IN_FLIGHT: usize = 16;
    let sim = Options { page_cap: 100, latency: LATENCY, ..Bench::laptops(OBJECTS) };
    let bench = Bench::start(sim, "ADD max_in_flight '16', ADD page_size '100'");
    let mut client = bench.connect();
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get(0);
    for (what, counted) in [("all columns", "l"), ("no attributes", "updated")] {
        let sql = format!("SELECT count({counted}) FROM {TABLE} l");
        let mut objects = 0;
        let mut scan = || objects = client.query_one(&sql, &[]).expect("a scan").get::<_, i64>(0) as u64;
        scan();
        bench.sim.clear_log();
        scan();
        let log = searches(&bench);
        let requests = Requests::of(&bench.sim, &log);
        let (mut scans, mut downloads, mut bytes) = (Vec::new(), Vec::new(), 0);
        let before = cpu(pid);
        for _ in 0..RUNS {
            scans.push(timed(&mut scan));
            downloads.push(timed(|| bytes = requests.download(IN_FLIGHT)));
        }
        let spent = (cpu(pid) - before) / RUNS as f64;
        let (scan, download) = (median(&mut scans), median(&mut downloads));
        let pages = objects.div_ceil(100);
        let ideal = LATENCY.mul_f64(pages as f64 / IN_FLIGHT as f64);
        let over = |time: Duration| format!("{:.3}", scan.as_secs_f64() / time.as_secs_f64());
        println!(
            "  {objects} objects, {what}, {} MB, 100 ms a response, 100 a page, {IN_FLIGHT} in flight: median of {RUNS}",
            bytes >> 20
        );
        line("scan", format!("{scan:.2?}"), "");
        line(&format!("ideal: {pages} pages ÷ {IN_FLIGHT} × 100 ms"), format!("{ideal:.2?}"), "");
        line("ratio", over(ideal), "at most 1.15");
        line(&format!("bare download of the same {} pages", requests.len()), format!("{download:.2?}"), "");
        line("ratio", over(download), "");
        line("processor time of the backend", format!("{spent:.2}s"), "");
        under_way(&log, IN_FLIGHT);
    }
}

/// Where the time of a scan goes: how long answers take, how many are under way, and from when on all that may be.
fn under_way(log: &[LogEntry], in_flight: usize) {
    let took =
        |entry: &LogEntry| entry.finished.map_or(Duration::ZERO, |at| at.duration_since(entry.started));
    let total: Duration = log.iter().map(took).sum();
    let (Some(first), Some(last)) = (log.first(), log.iter().filter_map(|entry| entry.finished).max()) else {
        return;
    };
    let full = log.iter().find(|entry| entry.in_flight >= in_flight).map_or(last, |entry| entry.started);
    let length = last.duration_since(first.started).as_secs_f64();
    line("an answer takes, on average", format!("{:.1?}", total / log.len() as u32), "");
    line("under way, on average", format!("{:.1}", total.as_secs_f64() / length), "");
    line("as many as may be after", format!("{:.2?}", full.duration_since(first.started)), "");
}

/// Seconds of processor time that a process has taken.
fn cpu(pid: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the backend's status");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("ticks") + fields[12].parse::<u64>().expect("ticks");
    ticks as f64 / 100.0
}
