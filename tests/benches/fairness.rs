//! Eight sessions scan at once, on a budget of 600 searches a minute that the simulator enforces too: how long each
//! takes, and how often the service had to say 429. `make bench` runs it with an optimised, preloaded library; it takes
//! a good minute, since that is what the budget is about.

#![forbid(unsafe_code)]

use std::env;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::{Endpoint, Options, Sim};

const SESSIONS: usize = 8;
const BUDGET: u32 = 600;
const NAME: &str = "fairness";

fn main() {
    let wanted = env::args().skip(1).find(|argument| !argument.starts_with("--"));
    if wanted.is_some_and(|wanted| !NAME.contains(&wanted)) {
        return;
    }
    // About 110 pages a scan, so that eight of them want half as much again as there is in a minute.
    let sim =
        Sim::start(Options { objects: 14_000, page_cap: 25, ..Options::default() }).expect("a simulator");
    let server = Server::start(&[("shared_preload_libraries", "assets_fdw")]);
    let database = server.create_database();
    database.create_assets_server(&sim);
    let import = "CREATE SCHEMA itsm; IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER assets INTO itsm;
                  ALTER SERVER assets OPTIONS (SET requests_per_minute '600', ADD retry_timeout '5min')";
    database.connect().batch_execute(import).expect("the schema can be imported");
    sim.switches(|switches| (switches.aql_per_window, switches.latency_ms) = (BUDGET, 40));
    sim.clear_log();
    let barrier = Arc::new(Barrier::new(SESSIONS));
    let sessions: Vec<_> = (0..SESSIONS)
        .map(|_| {
            let (mut client, barrier) = (database.connect(), barrier.clone());
            thread::spawn(move || {
                barrier.wait();
                let started = Instant::now();
                client.query("SELECT count(name) FROM itsm.server", &[]).expect("a scan");
                started.elapsed()
            })
        })
        .collect();
    let took: Vec<Duration> =
        sessions.into_iter().map(|session| session.join().expect("a session")).collect();
    let (fastest, slowest) = (took.iter().min().expect("some"), took.iter().max().expect("some"));
    let log: Vec<_> = sim.log().into_iter().filter(|entry| entry.endpoint == Endpoint::ObjectAql).collect();
    let arrived: Vec<Instant> = log.iter().map(|entry| entry.started).collect();
    let minute = Duration::from_secs(60);
    let most = arrived
        .iter()
        .enumerate()
        .map(|(n, first)| arrived[n..].iter().take_while(|at| at.duration_since(*first) < minute).count());
    println!(
        "{NAME}: {SESSIONS} sessions, {} searches, {BUDGET} a minute: fastest {fastest:.1?}, slowest {slowest:.1?}, \
         ratio {:.2}; most in any 60 s {}; answers 429 {}",
        log.len(),
        slowest.as_secs_f64() / fastest.as_secs_f64(),
        most.max().unwrap_or_default(),
        log.iter().filter(|entry| entry.status == 429).count(),
    );
}
