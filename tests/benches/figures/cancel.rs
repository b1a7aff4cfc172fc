//! How long a query goes on after it was cancelled, at random moments of a scan.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use assets_fdw_tests::assets_sim::Options;

use crate::{Bench, TABLE, line};

const CANCELS: usize = 1000;

/// From the call of `pg_cancel_backend` until the client has the ERROR; then the session has to answer the next query.
pub fn latency() {
    let sim = Options { latency: Duration::from_millis(20), page_cap: 100, ..Bench::laptops(20_000) };
    let bench = Bench::start(sim, "ADD max_in_flight '4'");
    let mut watch = bench.connect();
    let mut client = bench.connect();
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get(0);
    let (begin, begun) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let asking = thread::spawn(move || {
        while begun.recv().is_ok() {
            let cancelled = client.batch_execute(&format!("SELECT count(l) FROM {TABLE} l")).is_err();
            tell.send((cancelled, Instant::now())).expect("the other thread waits");
            client.batch_execute("SELECT 1").expect("the session goes on");
        }
    });
    let mut times = Vec::new();
    let mut dice = 1_u64;
    while times.len() < CANCELS {
        begin.send(()).expect("the other thread waits");
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        thread::sleep(Duration::from_micros((dice >> 33) % 150_000));
        let sent = Instant::now();
        watch.execute("SELECT pg_cancel_backend($1)", &[&pid]).expect("a cancel can be sent");
        let (cancelled, ended) = told.recv().expect("an end");
        if cancelled {
            times.push(ended.saturating_duration_since(sent));
        }
    }
    drop(begin);
    asking.join().expect("the other thread");
    times.sort();
    println!("  {CANCELS} cancels at random moments of a scan, 20 ms a response, 4 in flight");
    line("median", format!("{:.1?}", times[CANCELS / 2]), "");
    line("p99", format!("{:.1?}", times[CANCELS * 99 / 100]), "at most 100 ms");
    line("longest", format!("{:.1?}", times[CANCELS - 1]), "");
}
