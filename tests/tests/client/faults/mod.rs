//! Whatever goes wrong between here and the service: a complete result, or an ERROR that helps. Never a short result,
//! never a crash, never a secret in a message.

use std::io::Read;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::{Endpoint, Fault, FaultKind, Options, Profile};
use postgres::Client;

mod credentials;
mod limits;
mod matrix;

use crate::live::{Live, PROFILES, Refusal, one};

/// Everything that a fault can be, with the SQLSTATEs that it may have when it does not go away (interface.md 3).
fn every_fault() -> Vec<(FaultKind, &'static [&'static str])> {
    const NETWORK: &[&str] = &["HV00N"];
    const ANSWER: &[&str] = &["HV000"];
    const EITHER: &[&str] = &["HV00N", "HV000"];
    const REFUSED: &[&str] = &["28000"];
    use FaultKind::*;
    let elsewhere = "https://evil.example.net/jsm".to_owned();
    let mut all: Vec<(FaultKind, &[&str])> =
        [500, 502, 503, 504].map(|status| (Status { status }, NETWORK)).to_vec();
    all.extend([
        (Status { status: 400 }, &["HV00L", "HV00N", "HV000"] as &[&str]),
        (Status { status: 403 }, REFUSED),
        (Status { status: 404 }, &["HV00R", "HV00N"]),
        (Status { status: 418 }, EITHER),
        (TooMany { retry_after: None }, &["53400"]),
        (TooMany { retry_after: Some("3600".into()) }, &["53400"]),
        (TooMany { retry_after: Some("soon".into()) }, &["53400"]),
        (Unauthorized, REFUSED),
        (ExpireTokens, REFUSED),
        (Redirect { location: elsewhere }, EITHER),
        (ResetBefore, NETWORK),
        (ResetAfterHeaders, EITHER),
        (ResetInBody, EITHER),
        (ShortBody, EITHER),
        (StallBefore { ms: 60_000 }, NETWORK),
        (StallInBody { ms: 60_000 }, NETWORK),
        (Drip { bytes: 1, ms: 40 }, NETWORK),
        (TruncatedJson, ANSWER),
        (InvalidJson, ANSWER),
        (EmptyBody, ANSWER),
        (Oversized { bytes: 9 << 20 }, ANSWER),
        (DeepJson { depth: 100_000 }, ANSWER),
        (WrongTypes, ANSWER),
        (InvalidUtf8, ANSWER),
        (NulBytes, &["HV000", "HV024"]),
        (DuplicateKeys, ANSWER),
        (EndlessPage, ANSWER),
        (DuplicatedObject, ANSWER),
        (ShiftedPage, ANSWER),
        (EmptyPage, ANSWER),
        (LostTail, ANSWER),
    ]);
    all
}

/// What is tried under each fault: statements to go before, and a query that gives one text.
const ACTIONS: [(&str, &str, &str); 5] = [
    (
        "a scan",
        "",
        "SELECT count(*) || md5(string_agg(s::text, ',' ORDER BY id)) FROM itsm.server s",
    ),
    (
        "rescans with parameters",
        "SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off",
        "SELECT count(*) || md5(string_agg(d.key || e::text, ',' ORDER BY d.id, e.id))
           FROM itsm.department d CROSS JOIN LATERAL (SELECT * FROM itsm.employee e WHERE e.key = d.head_key) e",
    ),
    (
        "aql()",
        "",
        "SELECT count(*) || md5(string_agg(a::text, ',' ORDER BY id))
           FROM assets_fdw.aql('assets', 'objectType = Server') a",
    ),
    ("count()", "", "SELECT assets_fdw.count('assets', 'objectType = Server')::text"),
    (
        "an import",
        "BEGIN; DROP SCHEMA IF EXISTS again CASCADE; CREATE SCHEMA again;
         IMPORT FOREIGN SCHEMA \"ITSM\" LIMIT TO (server, specimen) FROM SERVER assets INTO again; COMMIT",
        "SELECT count(*) || md5(string_agg(a::text, ',' ORDER BY a::text)) FROM (
             SELECT relname, attname, atttypid, attfdwoptions, col_description(c.oid, attnum)
               FROM pg_class c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0
              WHERE relnamespace = 'again'::regnamespace) a",
    ),
];

fn attempt(client: &mut Client, before: &str, query: &str) -> Result<String, postgres::Error> {
    // Going on for ever is neither a result nor an error: the SQLSTATE of a timeout is allowed nowhere.
    client.batch_execute("SET statement_timeout = '30s'")?;
    client.batch_execute(before)?;
    Ok(client.query_one(query, &[])?.get::<_, Option<String>>(0).unwrap_or("nothing".into()))
}

/// A database whose foreign server gives up soon, and what the actions give while nothing is wrong.
fn start(profile: Profile, timeout: &str, retry: &str) -> (Live, Vec<String>) {
    // Small pages, so that there are several.
    let live = Live::start(Options { profile, objects: 400, page_cap: 25, ..Options::default() });
    live.import();
    let mut client = live.connect();
    client
        .batch_execute(&format!(
            "ALTER SERVER assets OPTIONS (ADD retry_timeout '{retry}', ADD request_timeout '{timeout}',
                 ADD connect_timeout '1s', ADD max_response_bytes '8MB')"
        ))
        .unwrap();
    let truth = ACTIONS.iter().map(|(_, before, query)| attempt(&mut live.connect(), before, query).unwrap());
    let truth = truth.collect();
    (live, truth)
}

/// No credential in a text, neither plain nor as it goes over the wire.
#[track_caller]
fn assert_no_secret(text: &str) {
    // The last one is `reader@example.com:classic-token` in base 64.
    let secrets =
        ["classic-token", "sim-secret", "service-token", "sim-access-token", "cmVhZGVyQGV4YW1wbGUuY29t"];
    for secret in secrets {
        assert!(!text.contains(secret), "{secret} in: {text}");
    }
}

fn every_action_under_every_fault(profile: Profile) {
    let (live, truth) = start(profile, "1s", "100ms");
    let mut witness = live.connect();
    let mut warm = live.connect();
    for ((_, before, query), truth) in ACTIONS.iter().zip(&truth) {
        assert_eq!(&attempt(&mut warm, before, query).unwrap(), truth);
    }
    let mut wrong = String::new();
    for (kind, allowed) in every_fault() {
        for ((what, before, query), truth) in ACTIONS.iter().zip(&truth) {
            // From the first request of a session on, and in the middle of what a session is used to.
            for skip in [0, 2] {
                // Each of these takes the whole of request_timeout.
                let slow = matches!(
                    kind,
                    FaultKind::StallBefore { .. } | FaultKind::StallInBody { .. } | FaultKind::Drip { .. }
                );
                if slow && (skip, *what) != (0, "an import") && (skip, *what) != (2, "a scan") {
                    continue;
                }
                // What a session knows makes a difference to scans only.
                let repeats = skip > 0 && ["count()", "an import"].contains(what);
                if repeats {
                    continue;
                }
                live.sim.fault(Fault::new(kind.clone()).after(skip));
                let mut fresh = live.connect();
                let client = if skip == 0 { &mut fresh } else { &mut warm };
                let started = Instant::now();
                let outcome = attempt(client, before, query);
                let took = started.elapsed();
                if took.as_millis() > 300 {
                    println!("SLOW {kind:?} {what} {skip} {took:?}");
                }
                live.sim.clear_faults();
                let how = format!("{profile:?} {kind:?} {what} after {skip}");
                if took > Duration::from_secs(10) {
                    wrong += &format!("{how}: took {took:?}\n");
                }
                match outcome {
                    Ok(found) if found == *truth => {}
                    // A value that no text holds is NULL in aql(), with a WARNING, and stops no other.
                    Ok(found)
                        if (&kind, *what) == (&FaultKind::NulBytes, "aql()")
                            && found.len() == truth.len()
                            && found[..found.len() - 32] == truth[..truth.len() - 32] => {}
                    Ok(found) => wrong += &format!("{how}: {found} instead of {truth}\n"),
                    Err(error) => {
                        let Some(_) = error.as_db_error() else { panic!("{how}: {error:?}") };
                        let refusal = Refusal::of(&error);
                        assert_no_secret(&refusal.text());
                        if !allowed.contains(&refusal.code.as_str()) || refusal.hint.is_empty() {
                            wrong += &format!("{how}: {refusal:?}\n");
                        }
                        client.batch_execute("ROLLBACK").unwrap();
                    }
                }
            }
        }
        // The session that met them all goes on.
        let (_, before, query) = ACTIONS[0];
        assert_eq!(attempt(&mut warm, before, query).unwrap(), truth[0], "{profile:?} after {kind:?}");
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!(one::<i32>(&mut witness, "SELECT 1"), 1);
    assert_eq!(Server::shared().crashes(), Vec::<String>::new());
}

#[test]
fn a_fault_that_stays_is_an_error_that_helps_with_a_documented_service() {
    every_action_under_every_fault(Profile::Documented);
}

#[test]
fn a_fault_that_stays_is_an_error_that_helps_with_a_lenient_service() {
    every_action_under_every_fault(Profile::Lenient);
}

#[test]
fn a_fault_that_stays_is_an_error_that_helps_with_a_hostile_service() {
    every_action_under_every_fault(Profile::Hostile);
}

#[test]
fn a_fault_that_passes_does_not_show() {
    use FaultKind::*;
    let passing = [
        Status { status: 502 },
        Status { status: 503 },
        TooMany { retry_after: Some("0".into()) },
        ResetBefore,
        ResetAfterHeaders,
        ResetInBody,
        ShortBody,
        StallBefore { ms: 5_000 },
        StallInBody { ms: 5_000 },
        TruncatedJson,
        InvalidJson,
        EmptyBody,
    ];
    for profile in PROFILES {
        let (live, truth) = start(profile, "2s", "20s");
        let mut client = live.connect();
        for (i, kind) in passing.iter().enumerate() {
            // Each in one of the profiles: the waits between the attempts add up.
            if i % PROFILES.len() != profile as usize {
                continue;
            }
            let action = i / PROFILES.len() % 2 * 2;
            let ((what, before, query), truth) = (ACTIONS[action], &truth[action]);
            live.sim.fault(Fault::new(kind.clone()).on(Endpoint::ObjectAql).after(1).times(1));
            let found = attempt(&mut client, before, query);
            live.sim.clear_faults();
            assert_eq!(found.as_ref().ok(), Some(truth), "{profile:?} {kind:?} {what}: {found:?}");
        }
    }
}

#[test]
fn faults_here_and_there_never_make_a_result_short() {
    use FaultKind::*;
    let kinds = [
        ResetInBody,
        InvalidJson,
        ShortBody,
        EmptyPage,
        DuplicatedObject,
        ShiftedPage,
        LostTail,
        EndlessPage,
    ];
    for profile in PROFILES {
        let (live, truth) = start(profile, "2s", "20s");
        let mut client = live.connect();
        let mut complete = 0;
        for seed in [profile as u64] {
            for kind in &kinds {
                live.sim.fault(Fault::new(kind.clone()).on(Endpoint::ObjectAql).sometimes(0.3, seed));
                for action in 0..3 {
                    let (what, before, query) = ACTIONS[action];
                    match attempt(&mut client, before, query) {
                        Ok(found) => {
                            complete += 1;
                            assert_eq!(found, truth[action], "{profile:?} {kind:?} {what} seed {seed}");
                        }
                        Err(error) => {
                            let refusal = Refusal::of(&error);
                            assert!(["HV000", "HV00N"].contains(&refusal.code.as_str()), "{refusal:?}");
                        }
                    }
                }
                live.sim.clear_faults();
            }
        }
        println!("{profile:?}: {complete} of {} complete", 3 * kinds.len());
        assert!(complete > 8, "{profile:?}: {complete}");
    }
}

#[test]
fn a_search_that_is_redirected_within_the_service_is_an_error_and_not_sent_again() {
    let (live, _) = start(Profile::Documented, "5s", "100ms");
    let location = format!("{}/elsewhere", live.sim.url());
    live.sim.fault(Fault::new(FaultKind::Redirect { location }).on(Endpoint::ObjectAql));
    live.sim.clear_log();
    let error = attempt(&mut live.connect(), "", ACTIONS[0].2).unwrap_err();
    assert_eq!(Refusal::of(&error).code, "HV000", "{error:?}");
    let log = live.sim.log();
    assert!(log.iter().all(|entry| !entry.path.contains("elsewhere")), "{log:?}");
    assert_eq!(log.iter().filter(|entry| entry.endpoint == Endpoint::ObjectAql).count(), 1);
}

#[test]
fn a_redirect_to_another_host_is_never_followed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let elsewhere = listener.local_addr().unwrap();
    let heard = std::thread::spawn(move || {
        // Ended by the connection below.
        let (mut connection, _) = listener.accept().unwrap();
        let mut text = String::new();
        connection.read_to_string(&mut text).unwrap();
        text
    });
    let (live, _) = start(Profile::Documented, "5s", "100ms");
    let location = format!("http://{elsewhere}/jsm/assets/workspace/x/v1/object/aql");
    live.sim.fault(Fault::new(FaultKind::Redirect { location }));
    for (_, before, query) in ACTIONS {
        let error = attempt(&mut live.connect(), before, query).unwrap_err();
        let refusal = Refusal::of(&error);
        assert!(refusal.text().contains(&elsewhere.to_string()), "{refusal:?}");
        assert_no_secret(&refusal.text());
    }
    use std::io::Write;
    std::net::TcpStream::connect(elsewhere).unwrap().write_all(b"only me").unwrap();
    assert_eq!(heard.join().unwrap(), "only me");
}
