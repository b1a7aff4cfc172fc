//! What sessions share where the library is preloaded: the request budget, pauses, OAuth tokens, statistics.

use std::thread;
use std::time::{Duration, Instant};

use assets_fdw_tests::assets_sim::{Credential, Endpoint, Fault, FaultKind, LogEntry, Options, Sim};
use assets_fdw_tests::{Database, Server, major, wait_until};
use postgres::Client;

use crate::live::{Live, Refusal, one, refused};

const PATIENCE: Duration = Duration::from_secs(60);
const COUNT: &str = "SELECT count(name) FROM itsm.server";

fn preloaded() -> Server {
    let settings = [
        ("shared_preload_libraries", "assets_fdw"),
        ("assets_fdw.naptime", "100ms"),
        ("max_worker_processes", "20"),
    ];
    Server::start(&settings)
}

/// A simulator whose `itsm.server` takes a few dozen pages, imported on a server of its own.
fn start<'a>(server: &'a Server, options: &str) -> (Sim, Database<'a>) {
    let sim = Sim::start(Options { objects: 3000, page_cap: 25, ..Options::default() }).expect("a simulator");
    let database = server.create_database();
    database.create_assets_server(&sim);
    let sql = format!(
        "CREATE SCHEMA itsm; IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER assets INTO itsm;
         ALTER SERVER assets OPTIONS ({options})"
    );
    database.connect().batch_execute(&sql).expect("the schema can be imported");
    (sim, database)
}

fn servers(sim: &Sim) -> i64 {
    sim.count(sim.type_id("Server").expect("the company has servers")) as i64
}

fn searches(sim: &Sim) -> Vec<LogEntry> {
    sim.log().into_iter().filter(|entry| entry.endpoint == Endpoint::ObjectAql).collect()
}

fn token_requests(sim: &Sim) -> usize {
    sim.log().iter().filter(|entry| entry.endpoint == Endpoint::Token).count()
}

#[track_caller]
fn assert_never_more(sim: &Sim, allowed: usize) {
    let arrived: Vec<Instant> = searches(sim).iter().map(|entry| entry.started).collect();
    for window in arrived.windows(allowed + 1) {
        let time = window[allowed] - window[0];
        assert!(time >= Duration::from_secs(60), "{} searches within {time:?}", allowed + 1);
    }
}

/// Makes the superuser another identity of the simulator.
fn become_identity(sim: &Sim, client: &mut Client, index: usize) {
    let sql = format!(
        "DROP USER MAPPING FOR postgres SERVER assets;
         CREATE USER MAPPING FOR postgres SERVER assets OPTIONS ({})",
        identity(sim, index)
    );
    client.batch_execute(&sql).expect("a mapping can be made");
}

fn identity(sim: &Sim, index: usize) -> String {
    let identity = &sim.identities()[index];
    match identity.credential {
        Credential::Client => format!("client_id '{}', client_secret '{}'", identity.name, identity.secret),
        _ => format!("email '{}', api_token '{}'", identity.name, identity.secret),
    }
}

fn pid(client: &mut Client) -> u32 {
    one::<i32>(client, "SELECT pg_backend_pid()") as u32
}

/// Waits until the budget is spent and everybody is held back: no search for a second.
fn wait_for_rest(sim: &Sim, at_least: usize) {
    wait_until("the budget is spent", PATIENCE, || {
        let last = searches(sim).last().map(|entry| entry.started.elapsed());
        searches(sim).len() >= at_least && last.is_some_and(|ago| ago > Duration::from_secs(1))
    });
}

#[test]
fn sessions_share_one_budget_that_is_never_exceeded_and_a_killed_one_takes_nothing_along() {
    let server = preloaded();
    let (sim, database) = start(&server, "ADD retry_timeout '5min'");
    let truth = servers(&sim);
    sim.clear_log();
    assert_eq!(one::<i64>(&mut database.connect(), COUNT), truth);
    // Three want more than there is, and two do not.
    let budget = 2 * searches(&sim).len() + 4;
    let sql = format!("ALTER SERVER assets OPTIONS (SET requests_per_minute '{budget}')");
    database.connect().batch_execute(&sql).unwrap();
    // The first scan counts as well.
    let mut clients: Vec<Client> = (0..3).map(|_| database.connect()).collect();
    let victim = pid(&mut clients[0]);
    let scans: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            thread::spawn(move || {
                client.query_one(COUNT, &[]).map(|row| row.get::<_, i64>(0)).map_err(|e| e.to_string())
            })
        })
        .collect();
    wait_for_rest(&sim, budget - 4);
    let first = searches(&sim).len();
    assert!(first <= budget, "{first} of {budget}");

    // The service has not forgotten anything when a backend crashes, and neither have we.
    server.kill9(victim);
    scans
        .into_iter()
        .for_each(|scan| assert!(scan.join().unwrap().is_err(), "the server ended all sessions"));
    wait_until("the server is back", PATIENCE, || server.try_connect(database.name(), "postgres").is_ok());
    let scans: Vec<_> = (0..2)
        .map(|_| {
            let mut client = database.connect();
            thread::spawn(move || one::<i64>(&mut client, COUNT))
        })
        .collect();
    for scan in scans {
        assert_eq!(scan.join().unwrap(), truth);
    }
    assert!(searches(&sim).len() > budget, "the next minute has room again");
    assert_never_more(&sim, budget);
    assert!(sim.log().iter().all(|entry| entry.status != 429));
}

#[test]
fn budgets_of_different_credentials_are_separate() {
    let server = preloaded();
    let (sim, database) = start(&server, "SET requests_per_minute '5', ADD retry_timeout '1s'");
    let mut client = database.connect();
    let role = format!("{}_other", database.name());
    client
        .batch_execute(&format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON FOREIGN SERVER assets TO {role};
             GRANT USAGE ON SCHEMA itsm TO {role}; GRANT SELECT ON itsm.server TO {role};
             CREATE USER MAPPING FOR {role} SERVER assets OPTIONS ({})",
            identity(&sim, 1)
        ))
        .unwrap();
    sim.clear_log();
    // A search may be granted and not sent any more, where another one fails first.
    let of = |name: &str| searches(&sim).iter().filter(|e| e.identity.as_deref() == Some(name)).count();
    let names: Vec<&str> = sim.identities().iter().map(|identity| identity.name).collect();
    assert_eq!(refused(&mut client, COUNT).code, "53400");
    assert!((3..=5).contains(&of(names[0])), "{}", of(names[0]));
    assert_eq!(refused(&mut database.connect(), COUNT).code, "53400");
    // One that was on its way when the first failed may have come since.
    assert!(of(names[0]) <= 5, "two sessions of one identity share one budget: {}", of(names[0]));
    assert_eq!(of(names[1]), 0);
    assert_eq!(refused(&mut database.connect_as(&role), COUNT).code, "53400");
    assert!((3..=5).contains(&of(names[1])), "{}", of(names[1]));
    assert!(of(names[0]) <= 5, "{}", of(names[0]));
}

#[test]
fn a_pause_that_the_service_asks_of_one_session_holds_for_the_others() {
    let server = preloaded();
    let (sim, database) = start(&server, "ADD retry_timeout '2min'");
    let (mut first, mut second) = (database.connect(), database.connect());
    // Types and attributes are asked for before.
    for client in [&mut first, &mut second] {
        one::<i64>(client, COUNT);
    }
    sim.clear_log();
    sim.fault(
        Fault::new(FaultKind::TooMany { retry_after: Some("3".into()) }).on(Endpoint::ObjectAql).times(1),
    );
    let paused = thread::spawn(move || one::<i64>(&mut first, COUNT));
    wait_until("one is told to wait", PATIENCE, || searches(&sim).iter().any(|entry| entry.status == 429));
    let told = Instant::now();
    assert_eq!(one::<i64>(&mut second, COUNT), servers(&sim));
    assert_eq!(paused.join().unwrap(), servers(&sim));
    let pause = Duration::from_millis(2900);
    let early = searches(&sim).iter().filter(|e| e.started > told && e.started < told + pause).count();
    assert_eq!(early, 0, "others kept to it");
    let refused = searches(&sim).iter().filter(|entry| entry.status == 429).count();
    assert_eq!(refused, 1);
}

#[test]
fn explain_tells_how_long_the_limit_held_the_scan_back_and_no_longer_than_it_took() {
    let live = Live::start(Options { objects: 3000, page_cap: 25, ..Options::default() });
    live.import();
    let mut client = live.connect();
    one::<i64>(&mut client, COUNT);
    live.sim.fault(
        Fault::new(FaultKind::TooMany { retry_after: Some("2".into()) }).on(Endpoint::ObjectAql).times(1),
    );
    // Sixteen requests wait at once, and slowness of the service is not the limit.
    live.sim.switches(|switches| switches.latency_ms = 100);
    let started = Instant::now();
    let rows = client.query(&format!("EXPLAIN (ANALYZE, COSTS OFF) {COUNT}"), &[]).unwrap();
    let took = started.elapsed();
    let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let line = lines.iter().find_map(|line| line.trim().strip_prefix("Waited for rate limit: "));
    let waited: f64 =
        line.and_then(|text| text.strip_suffix(" ms")).expect("a time").parse().expect("a number");
    assert!(waited >= 1900.0 && waited <= took.as_secs_f64() * 1000.0, "{waited} ms of {took:?}");
}

#[test]
fn what_a_backend_waits_for_is_seen() {
    let live = Live::start(Options { objects: 1500, ..Options::default() });
    live.import();
    live.sim.fault(Fault::new(FaultKind::StallBefore { ms: 60_000 }).on(Endpoint::ObjectAql));
    let mut client = live.connect();
    let (mut watch, waiting) = (live.connect(), pid(&mut client));
    let cancel = client.cancel_token();
    // Runs a query that waits, until it is seen to wait for that, and cancels it.
    let mut waits_for = |mut client: Client, name: &str| {
        let query = thread::spawn(move || {
            let code = Refusal::of(&client.batch_execute(COUNT).unwrap_err()).code;
            (code, client)
        });
        let name = if major() >= 17 { name } else { "Extension" };
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = {waiting} AND state = 'active'
                AND wait_event_type = 'Extension' AND wait_event = '{name}'"
        );
        wait_until(name, PATIENCE, || one::<i64>(&mut watch, &sql) == 1);
        cancel.cancel_query(postgres::NoTls).unwrap();
        let (code, client) = query.join().unwrap();
        assert_eq!(code, "57014");
        client
    };
    let client = waits_for(client, "AssetsFdwService");
    live.sim.clear_faults();
    live.sim.fault(Fault::new(FaultKind::TooMany { retry_after: Some("60".into()) }).on(Endpoint::ObjectAql));
    waits_for(client, "AssetsFdwLimit");
}

#[test]
fn all_sessions_and_workers_use_one_token() {
    let server = preloaded();
    let (sim, database) = start(&server, "ADD retry_timeout '2min'");
    let mut client = database.connect();
    become_identity(&sim, &mut client, 4);
    sim.clear_log();
    let scans: Vec<_> = (0..4)
        .map(|_| {
            let mut client = database.connect();
            thread::spawn(move || one::<i64>(&mut client, COUNT))
        })
        .collect();
    for scan in scans {
        assert_eq!(scan.join().unwrap(), servers(&sim));
    }
    // The worker that the scheduler starts is yet another process.
    client.batch_execute("SELECT assets_fdw.materialize('itsm.server', every => '1 second')").unwrap();
    wait_until("the replica is loaded", PATIENCE, || {
        one::<i64>(&mut client, "SELECT count(*) FROM assets_fdw.refresh_history WHERE outcome = 'ok'") >= 2
    });
    assert_eq!(token_requests(&sim), 1);
}

#[test]
fn a_token_that_ends_in_the_middle_of_scans_is_renewed_once_for_all() {
    let server = preloaded();
    let (sim, database) = start(&server, "ADD retry_timeout '2min'");
    let mut clients: Vec<Client> = (0..8).map(|_| database.connect()).collect();
    become_identity(&sim, &mut clients[0], 4);
    for client in &mut clients {
        one::<i64>(client, COUNT);
    }
    assert_eq!(token_requests(&sim), 1);
    sim.clear_log();
    sim.switches(|switches| switches.latency_ms = 100);
    let scans: Vec<_> = clients
        .into_iter()
        .map(|mut client| thread::spawn(move || (one::<i64>(&mut client, COUNT), client)))
        .collect();
    wait_until("all are reading", PATIENCE, || searches(&sim).len() >= 8);
    sim.expire_tokens();
    let clients: Vec<Client> = scans
        .into_iter()
        .map(|scan| {
            let (count, client) = scan.join().unwrap();
            assert_eq!(count, servers(&sim));
            client
        })
        .collect();
    assert!(sim.log().iter().any(|entry| entry.status == 401), "it ended while it was used");
    assert_eq!(token_requests(&sim), 1);

    // Short lives: renewed before they end, so that nobody is ever refused.
    sim.switches(|switches| (switches.token_lifetime_ms, switches.latency_ms) = (4000, 20));
    sim.expire_tokens();
    sim.clear_log();
    let until = Instant::now() + Duration::from_secs(9);
    let scans = clients.into_iter().map(|mut client| {
        let truth = servers(&sim);
        thread::spawn(move || {
            while Instant::now() < until {
                assert_eq!(one::<i64>(&mut client, COUNT), truth);
            }
        })
    });
    scans.collect::<Vec<_>>().into_iter().for_each(|scan| scan.join().unwrap());
    let requests = token_requests(&sim);
    assert!((3..=5).contains(&requests), "{requests} tokens of four seconds in nine");
    // Those whose token was taken from them are refused, and, until one session has got another, those that were
    // sent meanwhile; none after that.
    let refused = sim.log().iter().filter(|entry| entry.status == 401).count();
    assert!(refused <= 2 * 8 * 8, "{refused}");
    // Never two renewals at once.
    let mut renewals: Vec<_> =
        sim.log().into_iter().filter(|entry| entry.endpoint == Endpoint::Token).collect();
    renewals.sort_by_key(|entry| entry.started);
    for pair in renewals.windows(2) {
        assert!(pair[0].finished.is_some_and(|end| end <= pair[1].started), "{pair:?}");
    }
}

#[test]
fn a_lease_of_a_session_that_was_killed_does_not_hold_up_the_others() {
    let server = preloaded();
    let (sim, database) = start(&server, "ADD retry_timeout '2min'");
    let mut client = database.connect();
    become_identity(&sim, &mut client, 4);
    sim.fault(Fault::new(FaultKind::StallBefore { ms: 120_000 }).on(Endpoint::Token).times(1));
    sim.clear_log();
    let mut victim = database.connect();
    let victim_pid = pid(&mut victim);
    let scan = thread::spawn(move || victim.batch_execute(COUNT).is_err());
    wait_until("it asks for a token", PATIENCE, || token_requests(&sim) == 1);
    client.batch_execute(&format!("SELECT pg_terminate_backend({victim_pid})")).unwrap();
    assert!(scan.join().unwrap());
    let started = Instant::now();
    assert_eq!(one::<i64>(&mut client, COUNT), servers(&sim));
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    assert_eq!(token_requests(&sim), 2);
}

#[test]
fn sessions_that_are_terminated_at_any_moment_jam_nothing() {
    let server = preloaded();
    // A budget that is always there, so that it is kept by every request, and one token for all.
    let (sim, database) = start(&server, "SET requests_per_minute '1000000', ADD retry_timeout '2min'");
    become_identity(&sim, &mut database.connect(), 4);
    let until = Instant::now() + Duration::from_secs(6);
    let sessions = (0..3).map(|_| {
        let config = server.config(database.name(), "postgres");
        thread::spawn(move || {
            let mut ended = 0;
            while Instant::now() < until {
                if let Ok(mut client) = config.connect(postgres::NoTls) {
                    while client.query_one(COUNT, &[]).is_ok() && Instant::now() < until {}
                    ended += 1;
                }
            }
            ended
        })
    });
    let sessions: Vec<_> = sessions.collect();
    let mut killer = database.connect();
    while Instant::now() < until {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active'
                      AND random() < 0.2";
        killer.query_one(sql, &[]).unwrap();
    }
    let ended: u32 = sessions.into_iter().map(|session| session.join().unwrap()).sum();
    assert!(ended > 10, "{ended} sessions were terminated");
    let started = Instant::now();
    assert_eq!(one::<i64>(&mut killer, COUNT), servers(&sim));
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(server.crashes(), Vec::<String>::new());
}

#[test]
fn a_restart_begins_with_a_fresh_budget_and_works() {
    let server = preloaded();
    let (sim, database) = start(&server, "SET requests_per_minute '5', ADD retry_timeout '1s'");
    assert_eq!(refused(&mut database.connect(), COUNT).code, "53400");
    server.restart();
    sim.clear_log();
    assert_eq!(refused(&mut database.connect(), COUNT).code, "53400");
    assert!((3..=5).contains(&searches(&sim).len()), "{}", searches(&sim).len());
    assert_eq!(server.crashes(), Vec::<String>::new());
}

/// What the view says of the server `assets`.
fn stats(client: &mut Client) -> Option<(i64, i64, i64, i64, i64, f64, bool)> {
    let sql = "SELECT requests, objects, bytes, retries, throttled, seconds_waited, all_sessions
                 FROM assets_fdw.server_stats WHERE server = 'assets'";
    let row = client.query_opt(sql, &[]).expect(sql)?;
    Some((row.get(0), row.get(1), row.get(2), row.get(3), row.get(4), row.get(5), row.get(6)))
}

#[test]
fn the_statistics_are_those_of_all_sessions_and_agree_with_the_service() {
    let server = preloaded();
    let (sim, database) = start(&server, "ADD retry_timeout '2min'");
    let mut watch = database.connect();
    watch.batch_execute("SELECT assets_fdw.reset_server_stats('assets')").unwrap();
    sim.clear_log();
    assert_eq!(stats(&mut watch), Some((0, 0, 0, 0, 0, 0.0, true)));
    for _ in 0..3 {
        one::<i64>(&mut database.connect(), COUNT);
    }
    sim.fault(
        Fault::new(FaultKind::TooMany { retry_after: Some("1".into()) }).on(Endpoint::ObjectAql).times(1),
    );
    one::<i64>(&mut database.connect(), COUNT);
    let (requests, objects, bytes, retries, throttled, waited, all) = stats(&mut watch).expect("a row");
    let log = sim.log();
    assert_eq!(requests, log.len() as i64);
    assert_eq!(objects, 4 * servers(&sim));
    assert_eq!(bytes, log.iter().map(|entry| entry.bytes as i64).sum::<i64>());
    assert_eq!((retries, throttled, all), (1, 1, true));
    assert!((0.9..60.0).contains(&waited), "{waited}");

    // Nothing is told of a server to those who may not use it, and only who may resets.
    let role = format!("{}_nobody", database.name());
    watch.batch_execute(&format!("CREATE ROLE {role} LOGIN")).unwrap();
    let mut nobody = database.connect_as(&role);
    assert_eq!(stats(&mut nobody), None);
    assert_eq!(refused(&mut nobody, "SELECT assets_fdw.reset_server_stats()").code, "42501");
    watch.batch_execute(&format!("GRANT USAGE ON FOREIGN SERVER assets TO {role}")).unwrap();
    assert_eq!(stats(&mut nobody).map(|row| row.0), Some(requests));
    watch.batch_execute("SELECT assets_fdw.reset_server_stats()").unwrap();
    assert_eq!(stats(&mut nobody), Some((0, 0, 0, 0, 0, 0.0, true)));
}

#[test]
fn without_preloading_the_statistics_are_the_sessions_own_and_say_so() {
    let live = Live::start(Options { objects: 600, ..Options::default() });
    live.import();
    let (mut one_session, mut other) = (live.connect(), live.connect());
    live.sim.clear_log();
    one::<i64>(&mut one_session, COUNT);
    let requests = live.sim.log().len() as i64;
    let own = stats(&mut one_session).expect("a row");
    assert_eq!((own.0, own.6), (requests, false));
    assert_eq!(stats(&mut other).map(|row| row.0), Some(0));
}

#[test]
fn a_secret_file_that_is_replaced_is_read_again_without_ddl() {
    let live = Live::start(Options { objects: 300, ..Options::default() });
    let folder = Server::shared().socket_folder();
    let file = folder.join(format!("{}.secret", live.database.name()));
    let other = folder.join(format!("{}.new", live.database.name()));
    for (index, option) in [(0, "api_token_file"), (3, "access_token_file"), (4, "client_secret_file")] {
        let identity = &live.sim.identities()[index];
        let name = match identity.credential {
            Credential::Client => format!("client_id '{}', ", identity.name),
            Credential::ServiceToken => String::new(),
            _ => format!("email '{}', ", identity.name),
        };
        std::fs::write(&file, identity.secret).unwrap();
        let mut client = live.connect();
        client
            .batch_execute(&format!(
                "DROP USER MAPPING FOR postgres SERVER assets;
                 CREATE USER MAPPING FOR postgres SERVER assets OPTIONS ({name}{option} '{}')",
                file.display()
            ))
            .unwrap();
        let count = "SELECT assets_fdw.count('assets', '')";
        assert_eq!(one::<i64>(&mut client, count), 300, "{option}");
        // Rotations as they are done: another file of the same length takes its place, or it is written to.
        let wrong = "x".repeat(identity.secret.len());
        std::fs::write(&other, &wrong).unwrap();
        std::fs::rename(&other, &file).unwrap();
        let refusal = refused(&mut client, count);
        assert_eq!(refusal.code, "28000", "{option}: {refusal:?}");
        assert!(!refusal.text().contains(&wrong), "{refusal:?}");
        std::fs::write(&file, identity.secret).unwrap();
        assert_eq!(one::<i64>(&mut client, count), 300, "{option}");
    }
    std::fs::remove_file(&file).unwrap();
}
