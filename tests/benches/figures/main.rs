//! The figures that the transport is to reach, each with the way it is measured. `make bench` runs them with an optimised
//! library; `T=name` one of them. Nothing fails when a figure is missed: a busy machine would fail all of them.
//!
//! Whatever is compared runs in turns within one run, against one simulator, on the same cores, and medians are
//! compared. The simulator answers on the same machine, so its own work is part of both sides of every ratio.

#![forbid(unsafe_code)]

mod append;
mod bare;
mod cancel;
mod everyday;
mod joins;
mod memory;
mod script;
mod speed;

use std::env;
use std::time::{Duration, Instant};

use assets_fdw_tests::assets_sim::{Options, Sim};
use assets_fdw_tests::{Database, Server};
use postgres::Client;

/// The type whose objects have ten attributes besides key, created and updated.
const TABLE: &str = "itsm.laptop";
/// Laptops among a thousand objects of the simulated company.
const LAPTOPS: u64 = 140;

const FIGURES: [(&str, fn()); 9] = [
    ("throughput", speed::throughput),
    ("latency", speed::latency),
    ("memory", memory::growth),
    ("cancel", cancel::latency),
    ("script", script::compared),
    ("everyday", everyday::requests),
    ("joins", joins::requests),
    ("joined", joins::memory),
    ("append", append::sites),
];

fn main() {
    let wanted = env::args().skip(1).find(|argument| !argument.starts_with("--"));
    for (name, measure) in FIGURES {
        if wanted.as_deref().is_none_or(|wanted| name.contains(wanted)) {
            println!("\n{name}");
            measure();
        }
    }
}

/// A database that has imported a simulator's ITSM schema.
struct Bench {
    sim: Sim,
    database: Database<'static>,
}

impl Bench {
    /// `options` are those of the foreign server, as `ADD name 'value'`.
    fn start(sim: Options, options: &str) -> Bench {
        let sim = Sim::start(sim).expect("a simulator");
        let database = Server::shared().create_database();
        database.create_assets_server(&sim);
        let mut client = database.connect();
        client
            .batch_execute(&format!(
                "ALTER SERVER assets OPTIONS ({options});
                 CREATE SCHEMA itsm; IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER assets INTO itsm"
            ))
            .expect("the schema can be imported");
        Bench { sim, database }
    }

    /// A session without JIT, whose compiler alone takes more memory and time than a scan.
    fn connect(&self) -> Client {
        let mut client = self.database.connect();
        client.batch_execute("SET jit = off").expect("a setting");
        client
    }

    /// Options of a simulator with so many laptops.
    fn laptops(count: u64) -> Options {
        Options { objects: count.div_ceil(LAPTOPS) * 1000, ..Options::default() }
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// One line: what, how much, and what is to be reached.
fn line(what: &str, value: impl std::fmt::Display, goal: &str) {
    println!("  {what:<76} {value:>12}  {goal}");
}
