//! A scan that takes several queries has them under way together: no more than the server's `max_in_flight`, and none that
//! nobody wants.

use std::thread;
use std::time::Duration;

use assets_fdw_tests::assets_sim::{Endpoint, Fault, FaultKind, Profile};
use assets_fdw_tests::wait_until;
use postgres::Client;

use crate::cancel::{PATIENCE, pid, wait_for_waiting};
use crate::live::{Live, Refusal, one};

/// A table of all servers' keys, and no more than three requests at once.
fn start() -> (Live, Client, usize) {
    let live = Live::imported(Profile::Documented, 12_000);
    let mut client = live.connect();
    client
        .batch_execute(
            "ALTER SERVER assets OPTIONS (ADD max_in_flight '3');
             CREATE TABLE wanted AS SELECT key, row_number() OVER (ORDER BY id) AS n FROM itsm.server;
             ANALYZE wanted; SELECT count(name) FROM itsm.server",
        )
        .unwrap();
    let servers: i64 = one(&mut client, "SELECT count(*) FROM wanted");
    (live, client, servers as usize)
}

const LISTED: &str = "key = ANY (ARRAY(SELECT key FROM wanted ORDER BY n))";

#[test]
fn long_lists_are_asked_for_several_at_once_and_nothing_ahead_of_who_stops() {
    let (live, mut client, servers) = start();
    live.sim.switches(|switches| switches.latency_ms = 10);
    let pages = servers.div_ceil(100);
    assert!(pages > 10, "{pages}");
    let list = format!("FROM itsm.server WHERE {LISTED}");
    for (requests, together, sql) in [
        (pages, 3, format!("SELECT key, name {list}")),
        (pages, 3, format!("SELECT count(name) {list} AND name || '' <> ''")),
        (pages, 3, "SELECT w.n, s.name FROM wanted w JOIN itsm.server s USING (key)".to_owned()),
        // The count that proves the end is one of them.
        (usize::MAX, 3, "SELECT key, name FROM itsm.server".to_owned()),
        (1, 1, format!("SELECT key, name {list} LIMIT 5")),
        (2, 2, format!("SELECT key, name {list} LIMIT 150")),
        (1, 1, format!("SELECT EXISTS (SELECT {list})")),
        (
            1,
            1,
            format!(
                "BEGIN; DECLARE c CURSOR FOR SELECT name {list}; FETCH 20 FROM c; SELECT pg_sleep(0.1); COMMIT"
            ),
        ),
    ] {
        let asked = live.searches_of(&mut client, &sql).len();
        let at_once = live.sim.log().iter().map(|entry| entry.in_flight).max().unwrap_or(0);
        assert!(asked == requests || requests == usize::MAX, "{asked} requests, not {requests}: {sql}");
        assert_eq!(at_once, together, "{sql}");
    }
    let rows = client.query(&format!("SELECT DISTINCT key {list}"), &[]).unwrap().len();
    assert_eq!(
        (rows, one::<i64>(&mut client, &format!("SELECT count(*) FROM (SELECT key, name {list}) s"))),
        (servers, servers as i64)
    );
}

#[test]
fn a_query_that_fails_while_others_are_under_way_loses_and_repeats_nothing() {
    let (live, mut client, servers) = start();
    let key: String = one(&mut client, "SELECT key FROM wanted WHERE n = 450");
    let all = "SELECT count(*), count(DISTINCT key) FROM (SELECT key, name FROM itsm.server
               WHERE key = ANY (ARRAY(SELECT key FROM wanted ORDER BY n)) OFFSET 0) s";
    for (status, times) in [(400, None), (500, Some(1)), (503, Some(2))] {
        let answer = FaultKind::Answer { status, body: String::new() };
        let fault = Fault::new(answer).on(Endpoint::ObjectAql).about(&format!("\"{key}\""));
        live.sim.fault(Fault { times, ..fault });
        let mut client = live.connect();
        let row = client.query_one(all, &[]).unwrap();
        assert_eq!(
            (row.get::<_, i64>(0), row.get::<_, i64>(1)),
            (servers as i64, servers as i64),
            "{status}"
        );
        live.sim.clear_faults();
    }
    // All are stopped at once.
    live.sim.fault(Fault::new(FaultKind::StallBefore { ms: 60_000 }).on(Endpoint::ObjectAql).after(2));
    let (mut watch, mut asking) = (live.connect(), live.connect());
    let pid = pid(&mut asking);
    let waiting = thread::spawn(move || Refusal::of(&asking.batch_execute(all).unwrap_err()));
    wait_for_waiting(&mut watch, pid);
    watch.execute("SELECT pg_cancel_backend($1)", &[&pid]).unwrap();
    assert_eq!(waiting.join().unwrap().code, "57014");
    wait_until("no request is under way", Duration::min(PATIENCE, Duration::from_secs(5)), || {
        live.sim.log().iter().all(|entry| entry.finished.is_some())
    });
    live.sim.clear_faults();
}
