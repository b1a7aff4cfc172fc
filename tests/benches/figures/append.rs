//! Several sites below one Append: as slow as one of them, or as all of them together.

use std::time::Duration;

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::{Options, Sim};

use crate::timed;

/// How far away each site is.
const LATENCY: u64 = 300;

/// The time of one site, of three at once, and of three one after the other; of rows and of counts.
pub fn sites() {
    let database = Server::shared().create_database();
    let mut client = database.connect();
    client.batch_execute("SET jit = off").expect("a setting");
    let mut sims = Vec::new();
    for n in 1..=3 {
        let sim = Sim::start(Options { objects: 3000, ..Options::default() }).expect("a simulator");
        let sql = format!(
            "CREATE SERVER site{n} FOREIGN DATA WRAPPER assets_fdw OPTIONS (site '{}', requests_per_minute '0');
             CREATE USER MAPPING FOR CURRENT_USER SERVER site{n} OPTIONS (email '{}', api_token '{}');
             CREATE SCHEMA site{n};
             IMPORT FOREIGN SCHEMA \"ITSM\" LIMIT TO (server) FROM SERVER site{n} INTO site{n}",
            sim.url(),
            sim.identities()[0].name,
            sim.identities()[0].secret,
        );
        client.batch_execute(&sql).expect("a site");
        client.batch_execute(&format!("SELECT count(name) FROM site{n}.server")).expect("a scan");
        sim.switches(|switches| switches.latency_ms = LATENCY);
        sims.push(sim);
    }
    println!("  three sites, {LATENCY} ms a response, 540 servers each, 100 a page; median of 5");
    println!("  {:<24} {:>10} {:>12} {:>20}", "", "one site", "three", "one after the other");
    let rows = |n: u32| format!("SELECT key, name FROM site{n}.server");
    let counts = |n: u32| format!("SELECT count(*) FROM site{n}.server");
    for (what, one, all) in [
        ("rows", rows(1), (1..=3).map(rows).collect::<Vec<_>>().join(" UNION ALL ")),
        ("counts", counts(1), (1..=3).map(counts).collect::<Vec<_>>().join(" UNION ALL ")),
    ] {
        let mut times = [const { Vec::<Duration>::new() }; 3];
        for _ in 0..5 {
            for (place, (setting, sql)) in [("on", &one), ("on", &all), ("off", &all)].into_iter().enumerate()
            {
                client.batch_execute(&format!("SET enable_async_append = {setting}")).expect("a setting");
                times[place].push(timed(|| drop(client.query(sql, &[]).expect("rows"))));
            }
        }
        let [one, three, turns] = times.map(|mut times| {
            times.sort();
            times[times.len() / 2]
        });
        println!("  {what:<24} {one:>10.0?} {three:>12.0?} {turns:>20.0?}");
    }
}
