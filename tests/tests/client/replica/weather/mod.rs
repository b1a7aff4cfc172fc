//! The weather: by seed, whatever surrounds replicas (deaths, cancels, locks, triggers, constraints, refusals, an object
//! schema that is out of order, storms of requests, refreshes by hand, renames, owners, drift, a database that is closed)
//! falls upon some of them while objects change in Assets. Each round a few events begin, runs go on under them, and they
//! end; then the sky clears. What holds all the time, and what holds then, is in `truth`; what may happen, in `sky`.
//!
//! `make weather COUNT=1000 SEED=n` makes it many more rounds.

mod sky;
mod truth;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use assets_fdw_tests::Server;

use super::kills::set;
use super::moments::{Pairs, paired};
use super::random::{self, Dice};
use super::*;

/// A replica: its table, its foreign table, the type whose objects it holds.
#[derive(Debug)]
struct Member {
    table: &'static str,
    source: &'static str,
    type_name: &'static str,
    /// It keeps former versions.
    history: bool,
}

const fn member(table: &'static str, source: &'static str, type_name: &'static str) -> Member {
    Member { table, source, type_name, history: false }
}

/// Those that the weather falls upon: one group. The last one has a condition.
const GROUP: [Member; 6] = [
    Member { history: true, ..member("itsm_replica.server", "itsm.server", "Server") },
    Member { history: true, ..member("itsm_replica.employee", "itsm.employee", "Employee") },
    member("itsm_replica.laptop", "itsm.laptop", "Laptop"),
    member("itsm_replica.application", "itsm.application", "Application"),
    member("itsm_replica.contract", "itsm.contract", "Contract"),
    member("itsm_replica.big", "itsm.big", "Server"),
];
/// A schema that follows Assets, drift included.
const FOLLOWING: [Member; 1] = [member("fac_replica.city", "fac.city", "City")];
/// Somebody else's: nothing befalls it but what befalls the server.
const CALM: Member = member("kept.country", "calm.country", "Country");

fn members() -> impl Iterator<Item = &'static Member> {
    GROUP.iter().chain(&FOLLOWING).chain([&CALM])
}

/// So many rounds pass until the sky is clear.
const SPELL: u64 = 6;

/// A server, its replicas, and what has happened so far.
struct World<'a> {
    server: &'a Server,
    database: &'a Database<'a>,
    sim: &'a Sim,
    pairs: Arc<Mutex<Pairs>>,
    began: Instant,
    /// The members' numbers: their names change.
    numbers: BTreeMap<&'static str, i64>,
    /// Tables that something of their own has befallen, by number.
    befallen: Mutex<BTreeSet<i64>>,
    /// What has happened lately, in order.
    told: Mutex<Vec<String>>,
    /// What should not be.
    wrong: Mutex<Vec<String>>,
}

impl World<'_> {
    fn tell(&self, what: impl AsRef<str>) {
        let line = format!("{:8.3} {}", self.began.elapsed().as_secs_f64(), what.as_ref());
        if std::env::var_os("TELL").is_some() {
            eprintln!("{line}");
        }
        self.told.lock().unwrap().push(line);
    }

    fn wrong(&self, what: String) {
        self.tell(format!("WRONG: {what}"));
        self.wrong.lock().unwrap().push(what);
    }

    /// A session; a server that ends its processes over a death, or a database that is closed, is waited for.
    fn session(&self) -> Client {
        let mut session = None;
        wait_until("a session", PATIENCE, || {
            session = self.server.try_connect(self.database.name(), "postgres").ok();
            session.as_mut().is_some_and(|client| client.batch_execute("SET lock_timeout = '2s'").is_ok())
        });
        session.expect("connected")
    }

    /// Does something that has to be done, whatever it takes; nothing of the weather is in its way for long.
    fn must(&self, sql: &str) {
        let mut last = String::new();
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.session().batch_execute(sql) {
            last = format!("{error:?}");
            assert!(Instant::now() < deadline, "{sql}: {last}");
        }
        if !last.is_empty() {
            self.tell(format!("{sql} only now: {last}"));
        }
    }

    /// A number, on a session of its own.
    fn number(&self, sql: &str) -> i64 {
        number(&mut self.session(), sql)
    }

    /// Something of its own befalls a replica: it may fail until it has succeeded under a clear sky.
    fn befalls(&self, member: &Member) {
        self.befallen.lock().unwrap().insert(self.numbers[member.table]);
    }
}

/// Makes the replicas and waits until they are loaded.
fn settle_in(server: &Server, database: &Database, sim: &Sim) {
    let mut client = import(database, sim);
    let identity = &sim.identities()[0];
    let name = database.name();
    steps(
        &mut client,
        &format!(
            "ALTER SERVER assets OPTIONS (ADD retry_timeout '50ms');
             CREATE SCHEMA fac;
             CREATE SCHEMA calm;
             IMPORT FOREIGN SCHEMA \"Facilities\" LIMIT TO (city) FROM SERVER assets INTO fac;
             IMPORT FOREIGN SCHEMA \"Facilities\" LIMIT TO (country) FROM SERVER assets INTO calm;
             CREATE FOREIGN TABLE itsm.big (id bigint, key text, label text) SERVER assets
                 OPTIONS (object_schema 'ITSM', object_type 'Server', aql '\"Memory GB\" > 256');
             CREATE ROLE keeper LOGIN;
             GRANT CREATE ON DATABASE {name} TO keeper;
             GRANT USAGE ON SCHEMA calm, itsm TO keeper;
             GRANT SELECT ON ALL TABLES IN SCHEMA calm, itsm TO keeper;
             CREATE USER MAPPING FOR keeper SERVER assets OPTIONS (email '{}', api_token '{}')",
            identity.name, identity.secret
        ),
    );
    client
        .batch_execute(
            "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE EXCEPTION 'bad weather' USING ERRCODE = TG_ARGV[0]; END $$",
        )
        .unwrap();
    for member in &GROUP {
        let sql = format!(
            "SELECT assets_fdw.materialize('{}', '{}', every => '3 seconds', history => {})",
            member.source, member.table, member.history
        );
        client.batch_execute(&sql).unwrap();
    }
    client
        .batch_execute("SELECT assets_fdw.materialize_schema('fac', every => '4 seconds', drift => 'apply')")
        .unwrap();
    server
        .connect(name, "keeper")
        .batch_execute(&format!(
            "SELECT assets_fdw.materialize('{}', '{}', every => '2 seconds')",
            CALM.source, CALM.table
        ))
        .unwrap();
    let loaded = "SELECT bool_and(last_success IS NOT NULL) FROM assets_fdw.materializations";
    wait_for(&mut client, "the first loads", loaded);
}

/// Objects change until it is over.
fn changing(world: &World, seed: u64, over: &AtomicBool) {
    let mut dice = Dice(seed);
    let mut n = 0;
    while !over.load(Ordering::Relaxed) {
        n += 1;
        world.sim.together(|apply| world.pairs.lock().unwrap().change(&mut dice, apply));
        if dice.roll(2) == 0 {
            random::change(world.sim, &mut dice, n);
        }
        for name in ["Contract", "City", "Country"] {
            // It may have another name just now.
            let objects = world.sim.type_id(name).map(|id| world.sim.dump(id)).unwrap_or_default();
            if dice.roll(6) == 0 && !objects.is_empty() {
                let key = &objects[dice.roll(objects.len())].key;
                world.sim.update(key, "Name", &[&format!("{name} {n}")]).expect("an update");
            }
        }
        std::thread::sleep(Duration::from_millis(30 + dice.roll(200) as u64));
    }
}

#[test]
fn in_any_weather_nobody_is_stopped_starved_mixed_up_or_blamed_and_afterwards_all_is_true() {
    let (count, seed) = (set("COUNT", 30), set("SEED", 1));
    let latency = Duration::from_millis(2);
    let sim = Sim::start(Options { objects: 300, latency, ..Options::default() }).expect("a simulator");
    let pairs = paired(&sim);
    // What is committed has to be on disk, or a killed server may go back behind it.
    let server = preloaded(&[
        ("synchronous_commit", "on"),
        ("assets_fdw.max_delete_share", "1"),
        ("assets_fdw.drift_interval", "200ms"),
    ]);
    let database = server.create_database();
    settle_in(&server, &database, &sim);
    let mut client = database.connect();
    let mut number_of = |table| number(&mut client, &format!("SELECT '{table}'::regclass::oid::bigint"));
    let world = World {
        server: &server,
        database: &database,
        sim: &sim,
        pairs,
        began: Instant::now(),
        numbers: members().map(|member| (member.table, number_of(member.table))).collect(),
        befallen: Mutex::default(),
        told: Mutex::default(),
        wrong: Mutex::default(),
    };
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Also where a round fails: the thread is waited for.
        let _over = truth::Over(&over);
        scope.spawn(|| truth::look_all_the_time(&world, &over));
        let mut account = truth::Account::open(&world);
        let mut spells: [(usize, i64); 2] = [(0, 0); 2];
        for round in 1..=count {
            if round % SPELL == 1 {
                // What happened in the spell before this one is kept.
                let mut told = world.told.lock().unwrap();
                told.drain(..spells[1].0);
                spells = [(0, spells[1].1), (told.len(), account.before)];
            }
            world.tell(format!("-- round {round} of seed {seed}"));
            // A round is the same whichever were before it.
            let mut dice = Dice(seed.wrapping_mul(1_000_003).wrapping_add(round));
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let over = AtomicBool::new(false);
                std::thread::scope(|scope| {
                    let _over = truth::Over(&over);
                    let own = dice.roll(1 << 30) as u64;
                    let (world, over) = (&world, &over);
                    scope.spawn(move || changing(world, own, over));
                    sky::weather(world, &mut dice, over);
                });
                if round % SPELL == 0 || round == count {
                    truth::clear(&world, &mut account, dice.roll(4) > 0);
                }
            }));
            let mut wrong = std::mem::take(&mut *world.wrong.lock().unwrap());
            if let Err(cause) = done {
                let text = cause.downcast_ref::<String>().cloned();
                wrong
                    .push(text.or(cause.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default());
            }
            assert!(
                wrong.is_empty(),
                "seed {seed}, round {round}:\n{}\nwhat happened:\n{}\nhistory:\n{}",
                wrong.join("\n"),
                world.told.lock().unwrap().join("\n"),
                truth::history_since(&world, spells[0].1)
            );
            if count > 100 && round % 25 == 0 {
                println!("{round} of {count}, seed {seed}, {:.0} s", world.began.elapsed().as_secs_f64());
            }
        }
        if std::env::var_os("TELL").is_some() {
            println!("{}", truth::history_since(&world, 0));
        }
        account.close();
    });
}
