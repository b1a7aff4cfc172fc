//! A copy of a table in PostgreSQL: made through a foreign table, and by a script of the kind people write.

use std::process::Command;
use std::time::Duration;

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::Options;

use crate::{Bench, TABLE, line, median, timed};

const OBJECTS: u64 = 30_000;
const RUNS: usize = 3;

/// The same objects, at the same latency, with the same page size; the script takes pages one after the other.
pub fn compared() {
    let sim = Options { page_cap: 100, latency: Duration::from_millis(100), ..Bench::laptops(OBJECTS) };
    let bench = Bench::start(sim, "ADD max_in_flight '16', ADD page_size '100'");
    let mut client = bench.connect();
    client
        .batch_execute(&format!(
            "CREATE TABLE copy (LIKE {TABLE}); CREATE TABLE pages (key text, object jsonb)"
        ))
        .expect("tables can be made");
    let sql = format!("TRUNCATE copy; INSERT INTO copy SELECT * FROM {TABLE}");
    let mut ours: Vec<Duration> =
        (0..RUNS).map(|_| timed(|| client.batch_execute(&sql).expect("a copy"))).collect();
    let ours = median(&mut ours);
    let theirs = timed(|| script(&bench));
    let count = |client: &mut postgres::Client, table: &str| -> i64 {
        client.query_one(&format!("SELECT count(*) FROM {table}"), &[]).expect("a count").get(0)
    };
    let (copied, fetched) = (count(&mut client, "copy"), count(&mut client, "pages"));
    assert_eq!(copied, fetched, "the script lost some, or we did");
    println!(
        "  {copied} objects into a table, 100 ms a response, 100 a page; the foreign table with 16 in flight"
    );
    line(&format!("INSERT … SELECT from the foreign table, median of {RUNS}"), format!("{ours:.2?}"), "");
    line("Python, sequential pages over one kept connection, COPY", format!("{theirs:.2?}"), "");
    line(
        "the script takes longer",
        format!("{:.1} ×", theirs.as_secs_f64() / ours.as_secs_f64()),
        "at least 10",
    );
}

fn script(bench: &Bench) {
    let identity = &bench.sim.identities()[0];
    let type_id = bench.sim.type_id("Laptop").expect("laptops");
    let done = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/figures/script.py"))
        .args([bench.sim.gateway(), identity.name.to_owned(), identity.secret.to_owned()])
        .args([format!("objectTypeId = {type_id}"), bench.database.name().to_owned()])
        .env("PGHOST", Server::shared().socket_folder())
        .env("PGUSER", "postgres")
        .status()
        .expect("python3 can be run");
    assert!(done.success(), "the script failed");
}
