//! Cancel, timeouts and termination act at once while a backend waits for the network, in every state of it.
//!
//! The bounds are generous, because the machine may be busy; the times are printed (`--nocapture`), and measured by
//! `make bench`.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use assets_fdw_tests::assets_sim::{Endpoint, Fault, FaultKind, Options};
use assets_fdw_tests::{Server, wait_until};
use postgres::Client;

use crate::live::{Live, Refusal, one, refused};

/// The goal is 100 ms.
pub const AT_ONCE: Duration = Duration::from_secs(2);
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a backend may be waiting for.
#[derive(Clone, Copy, Debug)]
enum Wait {
    Headers,
    Body,
    Retry,
    OurLimit,
    Metadata,
    Discovery,
}

const WAITS: [Wait; 6] =
    [Wait::Headers, Wait::Body, Wait::Retry, Wait::OurLimit, Wait::Metadata, Wait::Discovery];

const COUNT: &str = "SELECT count(name) FROM itsm.server";

fn start() -> Live {
    let live = Live::start(Options { objects: 1500, ..Options::default() });
    live.import();
    live
}

impl Wait {
    /// Makes the next queries wait so.
    fn begin(self, live: &Live) {
        let stall = FaultKind::StallBefore { ms: 60_000 };
        let fault = match self {
            Wait::Headers => Fault::new(stall).on(Endpoint::ObjectAql),
            Wait::Body => Fault::new(FaultKind::StallInBody { ms: 60_000 }).on(Endpoint::ObjectAql),
            Wait::Retry => {
                Fault::new(FaultKind::TooMany { retry_after: Some("2".into()) }).on(Endpoint::ObjectAql)
            }
            Wait::OurLimit => {
                live.connect()
                    .batch_execute("ALTER SERVER assets OPTIONS (SET requests_per_minute '1')")
                    .unwrap();
                return;
            }
            Wait::Metadata => Fault::new(stall).on(Endpoint::TypeGet),
            Wait::Discovery => Fault::new(stall).on(Endpoint::Workspace),
        };
        live.sim.fault(fault);
    }

    fn end(self, live: &Live) {
        live.sim.clear_faults();
        if let Wait::OurLimit = self {
            live.connect()
                .batch_execute("ALTER SERVER assets OPTIONS (SET requests_per_minute '0')")
                .unwrap();
        }
    }
}

/// The process of a session.
pub fn pid(client: &mut Client) -> i32 {
    one(client, "SELECT pg_backend_pid()")
}

/// Returns once a backend waits for the network, and has done so for a moment.
pub fn wait_for_waiting(watch: &mut Client, pid: i32) {
    wait_until("the backend waits for the network", PATIENCE, || {
        let row = watch
            .query_one(
                "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND state = 'active'
                    AND wait_event_type = 'Extension' AND query_start < clock_timestamp() - interval '150 ms'",
                &[&pid],
            )
            .unwrap();
        row.get::<_, i64>(0) == 1
    });
}

#[test]
fn a_cancel_acts_at_once_in_every_state_and_the_session_goes_on() {
    let live = start();
    let servers = live.sim.count(live.sim.type_id("Server").unwrap()) as i64;
    let mut watch = live.connect();
    for wait in WAITS {
        let mut client = live.connect();
        let pid = pid(&mut client);
        wait.begin(&live);
        let asking = thread::spawn(move || {
            let error = client.batch_execute(COUNT).unwrap_err();
            (client, Refusal::of(&error), Instant::now())
        });
        wait_for_waiting(&mut watch, pid);
        let sent = Instant::now();
        // Not through a cancel request: the postmaster answers it with two signals, to the process and to its group, and
        // the second one may hit the next query.
        watch.execute("SELECT pg_cancel_backend($1)", &[&pid]).unwrap();
        let (mut client, refusal, ended) = asking.join().unwrap();
        let took = ended.duration_since(sent);
        println!("cancel while waiting for {wait:?}: {took:?}");
        assert_eq!(refusal.code, "57014", "{wait:?} {refusal:?}");
        assert!(took < AT_ONCE, "{wait:?}: {took:?}");
        wait.end(&live);
        assert_eq!(one::<i64>(&mut client, COUNT), servers, "after {wait:?}");
    }
}

#[test]
fn statement_timeout_acts_in_time_in_every_state_and_everywhere() {
    let live = start();
    let mut client = live.connect();
    let asked = [
        COUNT,
        "SELECT * FROM assets_fdw.aql('assets', '')",
        "SELECT assets_fdw.count('assets', '')",
        "SELECT * FROM assets_fdw.check('assets')",
        "EXPLAIN ANALYZE SELECT name FROM itsm.server",
        "DROP SCHEMA IF EXISTS again CASCADE; CREATE SCHEMA again; IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER assets INTO again",
    ];
    let mut tried = 0;
    for wait in WAITS {
        wait.begin(&live);
        for sql in asked {
            // A session that knows nothing meets every state; not every statement does.
            let mut fresh = live.connect();
            fresh.batch_execute("SET statement_timeout = '200ms'").unwrap();
            let started = Instant::now();
            let Err(error) = fresh.batch_execute(sql) else { continue };
            let over = started.elapsed().saturating_sub(Duration::from_millis(200));
            println!("statement_timeout while waiting for {wait:?}: {over:?} late: {sql}");
            assert_eq!(Refusal::of(&error).code, "57014", "{wait:?} {sql}");
            assert!(over < AT_ONCE, "{wait:?}: {over:?} late: {sql}");
            tried += 1;
        }
        wait.end(&live);
    }
    assert!(tried > 12, "{tried}");
    one::<i64>(&mut client, COUNT);
}

#[test]
fn a_terminated_backend_is_gone_at_once() {
    let live = start();
    let mut watch = live.connect();
    for wait in WAITS {
        let mut client = live.connect();
        let pid = pid(&mut client);
        wait.begin(&live);
        let asking = thread::spawn(move || client.batch_execute(COUNT).unwrap_err());
        wait_for_waiting(&mut watch, pid);
        let sent = Instant::now();
        watch.execute("SELECT pg_terminate_backend($1)", &[&pid]).unwrap();
        wait_until("the backend is gone", PATIENCE, || !fs::exists(format!("/proc/{pid}")).unwrap());
        let took = sent.elapsed();
        println!("terminate while waiting for {wait:?}: {took:?}");
        assert!(took < AT_ONCE, "{wait:?}: {took:?}");
        asking.join().unwrap();
        wait.end(&live);
    }
    assert_eq!(Server::shared().crashes(), Vec::<String>::new());
}

#[test]
fn a_waiting_backend_holds_up_nobody_else() {
    let live = start();
    let mut watch = live.connect();
    watch.batch_execute("CREATE TABLE held (n int)").unwrap();
    let mut client = live.connect();
    let pid = pid(&mut client);
    Wait::Headers.begin(&live);
    let asking = thread::spawn(move || {
        let error = client.batch_execute(&format!("BEGIN; LOCK TABLE held; {COUNT}")).unwrap_err();
        assert_eq!(Refusal::of(&error).code, "57014");
        client.batch_execute("ROLLBACK").unwrap();
    });
    wait_for_waiting(&mut watch, pid);
    // Dropping a database asks every backend for a sign that it has let go of it.
    let other = format!("{}_other", live.database.name());
    watch.batch_execute(&format!("CREATE DATABASE {other}")).unwrap();
    let started = Instant::now();
    watch.batch_execute(&format!("DROP DATABASE {other}")).unwrap();
    println!("DROP DATABASE elsewhere: {:?}", started.elapsed());
    assert!(started.elapsed() < AT_ONCE + Duration::from_secs(3), "{:?}", started.elapsed());
    // Who waits for its lock gives up in time, or has it as soon as the wait is cancelled.
    watch.batch_execute("SET lock_timeout = '100ms'").unwrap();
    assert_eq!(refused(&mut watch, "SELECT count(*) FROM held").code, "55P03");
    watch.batch_execute("SET lock_timeout = '20s'").unwrap();
    watch.execute("SELECT pg_cancel_backend($1)", &[&pid]).unwrap();
    watch.batch_execute("SELECT count(*) FROM held").unwrap();
    asking.join().unwrap();
    live.sim.clear_faults();
}

/// Descriptors that a process holds.
pub fn open_files(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Threads of a process.
pub fn threads(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

#[test]
fn a_hundred_cancelled_queries_leave_nothing_open() {
    let live = start();
    let servers = live.sim.count(live.sim.type_id("Server").unwrap()) as i64;
    let mut client = live.connect();
    let pid = pid(&mut client);
    let mut before = (0, 0);
    for round in 0..100 {
        // The first ones make what a session keeps: the network's thread, connections to the service.
        if round == 10 {
            live.sim.clear_faults();
            assert_eq!(one::<i64>(&mut client, COUNT), servers);
            before = (open_files(pid), threads(pid));
        }
        let wait = [Wait::Headers, Wait::Body][round % 2];
        live.sim.clear_faults();
        wait.begin(&live);
        client.batch_execute("SET statement_timeout = '15ms'").unwrap();
        let error = client.batch_execute("SELECT name FROM itsm.server").unwrap_err();
        assert_eq!(Refusal::of(&error).code, "57014");
        client.batch_execute("RESET statement_timeout").unwrap();
    }
    live.sim.clear_faults();
    assert_eq!(one::<i64>(&mut client, COUNT), servers);
    // Connections close on the network's thread, in their own time.
    wait_until("nothing more is open than before", PATIENCE, || {
        open_files(pid) <= before.0 + 2 && threads(pid) <= before.1
    });
    println!("before {before:?}, after {:?}", (open_files(pid), threads(pid)));
}
