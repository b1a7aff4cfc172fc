//! Joins between replicas of one group see a moment that the service had, while pairs of objects in two
//! types are changed, created, deleted and given new references together, between any two requests of
//! whatever refresh: incremental, full, by hand, scheduled, killed.
//!
//! `ASSETS_FDW_RANDOM=100` makes it many more seeds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::{Change, Profile};

use super::incremental::same;
use super::random::{Dice, rounds};
use super::*;

const TABLES: [&str; 2] = ["server", "employee"];

/// Does a change and gives the key of what it concerned.
pub(super) type Apply<'a> = &'a mut dyn FnMut(&Change) -> Result<String, String>;

#[derive(Clone)]
struct Pair {
    server: String,
    employee: String,
    generation: usize,
}

/// The pairs as they are, and every state that they were in.
#[derive(Default)]
pub(super) struct Pairs {
    now: BTreeMap<usize, Pair>,
    next: usize,
    generation: usize,
    pub(super) states: Vec<String>,
}

/// What a reader is shown of a state.
pub(super) const SHOWN: &str = "
    SELECT coalesce(string_agg(line, E'\\n' ORDER BY line), '') FROM (
        SELECT format('%s %s|%s|%s', s.label, s.operating_system, s.owner, e.label) AS line
        FROM (SELECT * FROM itsm_replica.server WHERE label LIKE 'pair-%') AS s
        FULL JOIN (SELECT * FROM itsm_replica.employee WHERE label LIKE 'pair-%') AS e ON e.key = s.owner_key) AS l";

/// Whether what was committed last is of several moments, by its own word: it found no calm, or went on without one.
pub(super) const RESTLESS: &str = "
    SELECT coalesce(bool_or(h.note LIKE '%changed all the time%' OR h.note LIKE '%without %'), false) FROM assets_fdw.refresh_history AS h
    WHERE h.outcome = 'ok' AND coalesce(h.with_run, h.id) = (
        SELECT coalesce(l.with_run, l.id) FROM assets_fdw.refresh_history AS l
        WHERE l.outcome = 'ok' AND l.target LIKE 'itsm_replica.%'
        ORDER BY l.finished DESC LIMIT 1)";

impl Pairs {
    fn note(&mut self) {
        let mut lines: Vec<String> = self
            .now
            .iter()
            .map(|(n, p)| format!("pair-{n} g{0}|pair-{n} g{0}|pair-{n} g{0}", p.generation))
            .collect();
        lines.sort();
        self.states.push(lines.join("\n"));
    }

    fn create(&mut self, apply: Apply) {
        self.generation += 1;
        let (n, generation) = (self.next, self.generation);
        self.next += 1;
        let employee = apply(&Change::Create {
            object_type: "Employee".into(),
            name: format!("pair-{n} g{generation}"),
            values: Vec::new(),
        });
        let employee = employee.expect("an employee");
        let server = apply(&Change::Create {
            object_type: "Server".into(),
            name: format!("pair-{n}"),
            values: vec![
                ("Operating System".into(), format!("g{generation}")),
                ("Owner".into(), employee.clone()),
            ],
        });
        self.now.insert(n, Pair { server: server.expect("a server"), employee, generation });
    }

    fn update(&mut self, n: usize, apply: Apply) {
        self.generation += 1;
        let generation = self.generation;
        let Some(pair) = self.now.get_mut(&n) else { return };
        pair.generation = generation;
        let update = |key: &str, attribute: &str, value: String| Change::Update {
            key: key.into(),
            attribute: attribute.into(),
            values: vec![value],
        };
        apply(&update(&pair.server, "Operating System", format!("g{generation}"))).expect("an update");
        apply(&update(&pair.employee, "Name", format!("pair-{n} g{generation}"))).expect("an update");
    }

    fn delete(&mut self, n: usize, apply: Apply) {
        let Some(pair) = self.now.remove(&n) else { return };
        apply(&Change::Delete { key: pair.server }).expect("a delete");
        apply(&Change::Delete { key: pair.employee }).expect("a delete");
    }

    /// Another employee takes the place of the one of a pair.
    fn replace(&mut self, n: usize, apply: Apply) {
        self.generation += 1;
        let generation = self.generation;
        let Some(pair) = self.now.get_mut(&n) else { return };
        pair.generation = generation;
        let name = format!("pair-{n} g{generation}");
        let employee = apply(&Change::Create { object_type: "Employee".into(), name, values: Vec::new() });
        let before = std::mem::replace(&mut pair.employee, employee.expect("an employee"));
        for (attribute, value) in
            [("Owner", pair.employee.clone()), ("Operating System", format!("g{generation}"))]
        {
            apply(&Change::Update {
                key: pair.server.clone(),
                attribute: attribute.into(),
                values: vec![value],
            })
            .expect("an update");
        }
        apply(&Change::Delete { key: before }).expect("a delete");
    }

    /// One change of a pair, as the dice fall.
    pub(super) fn change(&mut self, dice: &mut Dice, apply: Apply) {
        let numbers: Vec<usize> = self.now.keys().copied().collect();
        let n = numbers[dice.roll(numbers.len())];
        match dice.roll(10) {
            0 if numbers.len() < 30 => self.create(apply),
            1 if numbers.len() > 4 => self.delete(n, apply),
            2 | 3 => self.replace(n, apply),
            _ => self.update(n, apply),
        }
        self.note();
    }
}

/// A company with some pairs in it.
pub(super) fn paired(sim: &Sim) -> Arc<Mutex<Pairs>> {
    let mut pairs = Pairs::default();
    sim.together(|apply| {
        for _ in 0..12 {
            pairs.create(apply);
        }
    });
    pairs.note();
    Arc::new(Mutex::new(pairs))
}

/// Checks that what is shown is a state that the service was in, at or after the state number `from`.
/// Gives its number.
#[track_caller]
fn check(pairs: &Mutex<Pairs>, shown: &str, from: usize, what: &str) -> usize {
    find(pairs, shown, from).unwrap_or_else(|odd| panic!("{what}: {odd}"))
}

/// The same, or what is odd about it.
pub(super) fn find(pairs: &Mutex<Pairs>, shown: &str, from: usize) -> Result<usize, String> {
    let pairs = pairs.lock().unwrap();
    if let Some(at) = pairs.states[from..].iter().position(|state| state == shown) {
        return Ok(from + at);
    }
    let before = pairs.states[..from].iter().rposition(|state| state == shown);
    // The state that has most in common with it.
    let lines: Vec<&str> = shown.lines().collect();
    let common = |state: &String| state.lines().filter(|line| lines.contains(line)).count();
    let near = (0..pairs.states.len()).max_by_key(|n| common(&pairs.states[*n])).unwrap_or(0);
    let wanted: Vec<&str> = pairs.states[near].lines().collect();
    let odd: Vec<&&str> = lines.iter().filter(|line| !wanted.contains(line)).collect();
    let missing: Vec<&&str> = wanted.iter().filter(|line| !lines.contains(line)).collect();
    Err(format!(
        "no state of the service from {from} on (before: {before:?}, last: {}); beside state {near}: has {odd:#?} \
         instead of {missing:#?}",
        pairs.states.len() - 1
    ))
}

#[test]
fn a_join_sees_one_moment_whichever_refresh_was_last_and_whatever_changed_while_it_ran() {
    for seed in 0..rounds(3) as u64 {
        let profile = [Profile::Documented, Profile::Lenient][seed as usize % 2];
        let sim = Sim::start(Options { objects: 900, profile, ..Options::default() }).unwrap();
        if seed % 3 == 2 {
            // Stamps that tell no two changes of a minute apart, by a clock that is ten minutes slow.
            sim.switches(|s| (s.stamp_step_ms, s.clock_offset_ms) = (60_000, -600_000));
        }
        let pairs = paired(&sim);
        let database = Server::shared().create_database();
        let mut client = import(&database, &sim);
        client.batch_execute("SET assets_fdw.max_delete_share = 1").unwrap();
        for table in TABLES {
            client.batch_execute(&format!("SELECT assets_fdw.materialize('itsm.{table}')")).unwrap();
        }
        let mut dice = Dice(seed);
        let mut at = 0;
        for round in 0..40 {
            // Changes between the requests that are to come.
            for n in 0..dice.roll(5) {
                let (pairs, mut own) = (pairs.clone(), Dice(seed * 1_000_003 + round * 101 + n as u64));
                let after = 1 + dice.roll(6) as u32;
                sim.after_searches(after, move |apply| pairs.lock().unwrap().change(&mut own, apply));
            }
            let table = TABLES[dice.roll(2)];
            let what = match (round, dice.roll(12)) {
                (0, _) => "SELECT assets_fdw.refresh_schema('itsm_replica')".to_owned(),
                (_, 0) => "SELECT assets_fdw.refresh_schema('itsm_replica', 'full')".to_owned(),
                // Joins a group that is there already.
                (_, 1) => format!(
                    "SELECT assets_fdw.dematerialize('itsm_replica.{table}');
                     SELECT assets_fdw.materialize('itsm.{table}');
                     SELECT assets_fdw.refresh('itsm_replica.{table}')"
                ),
                (_, 2..=4) => format!("SELECT assets_fdw.refresh('itsm_replica.{table}', 'full')"),
                _ => format!("SELECT assets_fdw.refresh('itsm_replica.{table}')"),
            };
            for statement in what.split(';') {
                let done = client.batch_execute(statement);
                done.unwrap_or_else(|error| panic!("seed {seed}, {round}, {statement}: {error:?}"));
            }
            let shown = text(&mut client, SHOWN);
            at = check(&pairs, &shown, at, &format!("seed {seed}, round {round}, {what}"));
        }
        // What was to come between requests that were not sent is not left over.
        sim.clear_after_searches();
        client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
        let last = pairs.lock().unwrap().states.len() - 1;
        assert_eq!(check(&pairs, &text(&mut client, SHOWN), at, "in the end"), last);
        TABLES.iter().for_each(|table| same(&mut client, table));
    }
}

#[test]
fn a_reader_sees_one_moment_after_another_while_runs_are_scheduled_asked_for_by_hand_and_killed() {
    let sim = sim(900);
    let pairs = paired(&sim);
    let server = preloaded(&[("assets_fdw.max_delete_share", "1")]);
    let database = server.create_database();
    let mut client = import(&database, &sim);
    for table in TABLES {
        let sql = format!(
            "SELECT assets_fdw.materialize('itsm.{table}', every => '1 second', full_every => '2 seconds')"
        );
        client.batch_execute(&sql).unwrap();
    }
    let in_step = "SELECT count(*) > 3 FROM assets_fdw.refresh_history WHERE outcome = 'ok'";
    wait_for(&mut client, "the first loads", in_step);
    let done = Arc::new(AtomicBool::new(false));
    let changing = {
        let (pairs, done) = (pairs.clone(), done.clone());
        move |sim: &Sim| {
            let mut dice = Dice(11);
            while !done.load(Ordering::Relaxed) {
                sim.together(|apply| pairs.lock().unwrap().change(&mut dice, apply));
                std::thread::sleep(Duration::from_millis(dice.roll(150) as u64));
            }
        }
    };
    let reading = {
        let (pairs, done) = (pairs.clone(), done.clone());
        let mut reader = database.connect();
        std::thread::spawn(move || {
            let (mut at, mut moments) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                // A run that is not of one moment says so.
                let row = reader.query_one(&format!("SELECT ({SHOWN}), ({RESTLESS})"), &[]).unwrap();
                if row.get(1) {
                    continue;
                }
                // The same at once, and in a transaction that keeps to its snapshot.
                let seen = check(&pairs, row.get(0), at, "read committed");
                let mut transaction = reader
                    .build_transaction()
                    .isolation_level(postgres::IsolationLevel::RepeatableRead)
                    .start()
                    .unwrap();
                let row = transaction.query_one(&format!("SELECT ({SHOWN}), ({RESTLESS})"), &[]).unwrap();
                let first: String = row.get(0);
                std::thread::sleep(Duration::from_millis(20));
                let second: String = transaction.query_one(SHOWN, &[]).unwrap().get(0);
                assert_eq!(first, second);
                moments += usize::from(seen != at);
                if row.get(1) {
                    at = seen;
                    continue;
                }
                at = check(&pairs, &second, seen, "repeatable read");
            }
            moments
        })
    };
    std::thread::scope(|scope| {
        let sim = &sim;
        scope.spawn(move || changing(sim));
        let mut dice = Dice(5);
        for _ in 0..rounds(30) {
            std::thread::sleep(Duration::from_millis(dice.roll(400) as u64));
            let table = TABLES[dice.roll(2)];
            match dice.roll(6) {
                0 | 1 => {
                    if let Some(worker) = worker_pid(&mut client) {
                        let _ = client.batch_execute(&format!("SELECT pg_terminate_backend({worker})"));
                    }
                }
                // Killed, by whoever is killed with it, or behind another: no matter.
                2 => drop(
                    client
                        .batch_execute(&format!("SELECT assets_fdw.refresh('itsm_replica.{table}', 'full')")),
                ),
                _ => {
                    drop(client.batch_execute(&format!("SELECT assets_fdw.refresh('itsm_replica.{table}')")))
                }
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    let moments = reading.join().unwrap();
    assert!(moments > 5, "{moments} moments were seen");
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    let last = pairs.lock().unwrap().states.len() - 1;
    assert_eq!(check(&pairs, &text(&mut client, SHOWN), 0, "in the end"), last);
}
