//! Every fault × every kind of scan × every profile: the rows of an undisturbed run, or an ERROR with its SQLSTATE.
//!
//! `make test` takes a sample, another one for each `SEED`; `make soak MINUTES=60` goes on with new samples for so long
//! and watches that the sessions grow neither in memory nor in descriptors nor in threads.

use std::env;
use std::fs;
use std::time::{Duration, Instant};

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::{Endpoint, Fault, FaultKind, Profile};
use postgres::Client;

use super::{assert_no_secret, attempt, every_fault, start};
use crate::live::{Live, PROFILES, Refusal, one};

/// What is tried: a name, statements to go before, a query that gives one text.
const SCANS: [(&str, &str, &str); 7] = [
    ("plain", "", "SELECT count(*) || md5(string_agg(s::text, ',' ORDER BY id)) FROM itsm.server s"),
    (
        "parameterised",
        "SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off",
        "SELECT count(*) || md5(string_agg(d.key || e::text, ',' ORDER BY d.id, e.id))
           FROM itsm.department d CROSS JOIN LATERAL (SELECT * FROM itsm.employee e WHERE e.key = d.head_key) e",
    ),
    ("counted", "", "SELECT count(*)::text FROM itsm.server"),
    ("filtered", "", "SELECT string_agg(key, ',' ORDER BY id) FROM itsm.server WHERE operating_system = 'Debian 12'"),
    (
        "ordered",
        "",
        "SELECT string_agg(key, ',') FROM (SELECT key FROM itsm.server ORDER BY updated DESC LIMIT 10) s",
    ),
    (
        "refresh",
        // What a complete refresh has to bring back, and a failed one has to leave as it is.
        "DELETE FROM itsm_replica.server WHERE id % 3 = 0; UPDATE itsm_replica.server SET name = 'x' WHERE id % 3 = 1",
        "SELECT seen::text FROM assets_fdw.refresh('itsm_replica.server', 'full')",
    ),
    (
        "side by side",
        "",
        "SELECT count(*) || md5(string_agg(u::text, ',' ORDER BY id)) FROM (
             SELECT id, key, name, updated FROM itsm.server UNION ALL SELECT id, key, name, updated FROM itsm.laptop) u",
    ),
];
const REFRESH: usize = 5;
const REPLICA: &str =
    "SELECT count(*) || md5(string_agg(s::text, ',' ORDER BY id)) FROM itsm_replica.server s";

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// One profile's service and a session that meets all faults.
struct Place {
    profile: Profile,
    live: Live,
    client: Client,
    pid: i32,
    truth: Vec<String>,
    replica: String,
}

impl Place {
    fn new(profile: Profile) -> Place {
        let (live, _) = start(profile, "700ms", "100ms");
        let mut client = live.connect();
        client.batch_execute("SET jit = off; SELECT assets_fdw.materialize('itsm.server')").unwrap();
        let truth = SCANS.iter().map(|(_, before, query)| attempt(&mut client, before, query).unwrap());
        let truth = truth.collect();
        let replica = one(&mut client, REPLICA);
        let pid = one(&mut client, "SELECT pg_backend_pid()");
        Place { profile, live, client, pid, truth, replica }
    }

    /// Runs a scan under a fault; none, or what is wrong about what came of it.
    fn meet(&mut self, scan: usize, fault: &Fault, allowed: &[&str]) -> Option<String> {
        let (name, before, query) = SCANS[scan];
        let how = format!("{:?} {name} {fault:?}", self.profile);
        let client = &mut self.client;
        client.batch_execute(before).unwrap();
        let old: String = if scan == REFRESH { one(client, REPLICA) } else { String::new() };
        self.live.sim.fault(fault.clone());
        let begun = Instant::now();
        let outcome = attempt(client, "", query);
        self.live.sim.clear_faults();
        if begun.elapsed() > Duration::from_secs(15) {
            return Some(format!("{how}: took {:?}", begun.elapsed()));
        }
        let now: String = if scan == REFRESH { one(client, REPLICA) } else { String::new() };
        match outcome {
            Ok(found) if found != self.truth[scan] => {
                Some(format!("{how}: {found} instead of {}", self.truth[scan]))
            }
            Ok(_) if scan == REFRESH && now != self.replica => Some(format!("{how}: the replica is another")),
            Ok(_) => None,
            Err(error) => {
                let refusal = Refusal::of(&error);
                assert_no_secret(&refusal.text());
                if scan == REFRESH && now != old {
                    return Some(format!("{how}: a refresh that failed has changed the replica"));
                }
                (!allowed.contains(&refusal.code.as_str())).then(|| format!("{how}: {refusal:?}"))
            }
        }
    }

    /// A fault of the sample: at some moment, for once or for good, here and there, on one endpoint or on all.
    fn fault(dice: &mut Dice, kind: FaultKind) -> Fault {
        let mut fault = Fault::new(kind).after(dice.below(4) as u32);
        if dice.below(2) == 0 {
            fault = fault.on(Endpoint::ObjectAql);
        }
        match dice.below(3) {
            0 => fault.times(1 + dice.below(2) as u32),
            1 => fault.sometimes(0.3, dice.below(1000)),
            _ => fault,
        }
    }

    fn round(&mut self, dice: &mut Dice, cases: usize) -> Vec<String> {
        let kinds = every_fault();
        let mut wrong = Vec::new();
        for _ in 0..cases {
            let (kind, allowed) = &kinds[dice.below(kinds.len() as u64) as usize];
            let scan = dice.below(SCANS.len() as u64) as usize;
            if !can_be_told(scan, kind) {
                continue;
            }
            let mut fault = Place::fault(dice, kind.clone());
            if takes_request_timeout(kind) && fault.times.is_none() {
                // For good it takes the timeout of every request that a scan of many makes.
                fault = fault.times(1);
            }
            wrong.extend(self.meet(scan, &fault, allowed));
        }
        // The session that met them goes on.
        for ((name, before, query), truth) in SCANS.iter().zip(&self.truth) {
            let found = attempt(&mut self.client, before, query);
            if found.as_ref().ok() != Some(truth) {
                wrong.push(format!("{:?} {name} afterwards: {found:?} instead of {truth}", self.profile));
            }
        }
        wrong
    }
}

/// A page that begins one object late, asked for in an order that only its own rows prove, looks like any other: the
/// order is trusted because the page is sorted (`crates/assets/src/top.rs`).
fn can_be_told(scan: usize, kind: &FaultKind) -> bool {
    !(SCANS[scan].0 == "ordered" && *kind == FaultKind::ShiftedPage)
}

fn takes_request_timeout(kind: &FaultKind) -> bool {
    matches!(kind, FaultKind::StallBefore { .. } | FaultKind::StallInBody { .. } | FaultKind::Drip { .. })
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn sample(profile: Profile) {
    let seed = number("SEED", 1);
    let mut place = Place::new(profile);
    let wrong = place.round(&mut Dice(seed * 3 + profile as u64), 60);
    assert!(wrong.is_empty(), "SEED={seed}\n{}", wrong.join("\n"));
    assert_eq!(Server::shared().crashes(), Vec::<String>::new());
}

#[test]
fn a_sample_of_the_matrix_with_a_documented_service() {
    sample(Profile::Documented);
}

#[test]
fn a_sample_of_the_matrix_with_a_lenient_service() {
    sample(Profile::Lenient);
}

#[test]
fn a_sample_of_the_matrix_with_a_hostile_service() {
    sample(Profile::Hostile);
}

/// What may not grow.
#[derive(Debug, Clone, Copy)]
struct Held {
    kilobytes: u64,
    /// Those in use in PostgreSQL's memory contexts: what it has taken for them doubles now and then.
    contexts: i64,
    sockets: usize,
    threads: usize,
}

impl Held {
    fn most(&self, other: &Held) -> Held {
        Held {
            kilobytes: self.kilobytes.max(other.kilobytes),
            contexts: self.contexts.max(other.contexts),
            sockets: self.sockets.max(other.sockets),
            threads: self.threads.max(other.threads),
        }
    }

    fn by(client: &mut Client, pid: i32) -> Held {
        let contexts = "SELECT (sum(used_bytes) / 1024)::bigint FROM pg_backend_memory_contexts";
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the backend's status");
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("a line of memory");
        let entries = |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).expect("a process").flatten();
        // Sockets, events and pipes: PostgreSQL opens and closes the files of its tables as it likes.
        let is_no_file =
            |entry: &fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|target| !target.starts_with("/"));
        Held {
            kilobytes: line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("kilobytes"),
            contexts: one(client, contexts),
            sockets: entries("fd").filter(is_no_file).count(),
            threads: entries("task").count(),
        }
    }
}

/// `make soak MINUTES=…`; without minutes it takes one short turn.
#[test]
fn sessions_that_meet_faults_for_long_do_not_grow() {
    let length = Duration::from_secs(60 * number("MINUTES", 0));
    let begun = Instant::now();
    let mut dice = Dice(number("SEED", 1).wrapping_mul(7919));
    let mut places: Vec<Place> = PROFILES.map(Place::new).into();
    let turn = if length.is_zero() { 8 } else { 60 };
    let mut wrong = Vec::new();
    // What a session keeps depends on what it has met, and the largest answers are rare: the first quarter of the
    // time shows how much that is.
    let mut before: Vec<Held> = Vec::new();
    for turns in 0.. {
        for place in &mut places {
            wrong.extend(place.round(&mut dice, turn));
        }
        let held: Vec<Held> = places.iter_mut().map(|place| Held::by(&mut place.client, place.pid)).collect();
        println!("{:>6.0?} {held:?}", begun.elapsed());
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        if turns < 2 || begun.elapsed() < length / 4 {
            before = match before.is_empty() {
                true => held,
                false => before.iter().zip(&held).map(|(before, now)| before.most(now)).collect(),
            };
        } else {
            for (before, now) in before.iter().zip(&held) {
                assert!(now.kilobytes < before.kilobytes + 8192, "memory: {before:?}, then {now:?}");
                assert!(now.contexts <= before.contexts + 1024, "contexts: {before:?}, then {now:?}");
                assert!(now.sockets <= before.sockets + 12, "descriptors: {before:?}, then {now:?}");
                // Look-ups of names come and go, never more than two at once.
                assert!(now.threads <= before.threads + 2, "threads: {before:?}, then {now:?}");
            }
        }
        if begun.elapsed() >= length && turns >= 2 {
            break;
        }
    }
    assert_eq!(Server::shared().crashes(), Vec::<String>::new());
}
