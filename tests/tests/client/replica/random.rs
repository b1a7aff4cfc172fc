//! Random changes and faults: in the end a replica is what the service has. `ASSETS_FDW_RANDOM=150` makes it many
//! more, 50 of each profile, from SEED=0 on.

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::{Endpoint, Fault, FaultKind, Profile};

use super::incremental::same;
use super::*;

/// splitmix64
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }
}

/// How many rounds; `few` unless more are asked for.
pub(super) fn rounds(few: usize) -> usize {
    std::env::var("ASSETS_FDW_RANDOM").ok().and_then(|n| n.parse().ok()).unwrap_or(few)
}

const TABLES: [&str; 4] = ["server", "employee", "application", "laptop"];
const TYPES: [&str; 4] = ["Server", "Employee", "Application", "Laptop"];

/// Something happens to the company, but not to the pairs that moments.rs looks at.
pub(super) fn change(sim: &Sim, dice: &mut Dice, n: usize) {
    let there = |name: &str| {
        let mut objects = sim.dump(sim.type_id(name).expect("a type"));
        objects.retain(|object| !object.label.starts_with("pair-"));
        objects
    };
    let type_name = TYPES[dice.roll(TYPES.len())];
    let objects = there(type_name);
    let Some(object) = objects.get(dice.roll(objects.len().max(1))) else { return };
    let done = match dice.roll(7) {
        0 => sim.create(type_name, &format!("new-{n}"), &[]),
        1 => sim.delete(&object.key),
        2 => sim.update(&object.key, "Name", &[&format!("renamed-{n}")]),
        3 => {
            let servers = there("Server");
            let other = &servers[dice.roll(servers.len())].key;
            let server = &servers[dice.roll(servers.len())].key;
            sim.update(server, "Depends On", &[other])
        }
        4 => sim.move_object(&object.key, TYPES[dice.roll(TYPES.len())]),
        5 => {
            let created = sim.create(type_name, &format!("twin-{n}"), &[]);
            sim.delete(&object.key).and(created)
        }
        _ => {
            let servers = there("Server");
            let server = &servers[dice.roll(servers.len())].key;
            sim.update(server, "Operating System", &[&format!("OS {n}")])
        }
    };
    done.unwrap_or_else(|error| panic!("change {n}: {error}"));
}

#[test]
fn after_random_changes_and_faults_every_replica_is_what_the_service_has() {
    // One of each profile.
    let runs = rounds(3);
    let first = std::env::var("SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    for seed in first..first + runs as u64 {
        let profile = [Profile::Documented, Profile::Hostile, Profile::Lenient][seed as usize % 3];
        let sim = Sim::start(Options { objects: 900, profile, ..Options::default() }).unwrap();
        let database = Server::shared().create_database();
        let mut client = import(&database, &sim);
        client.batch_execute("ALTER SERVER assets OPTIONS (ADD retry_timeout '50ms')").unwrap();
        client.batch_execute("SET assets_fdw.max_delete_share = 1").unwrap();
        for table in TABLES {
            client.batch_execute(&format!("SELECT assets_fdw.materialize('itsm.{table}')")).unwrap();
            client.batch_execute(&format!("SELECT assets_fdw.refresh('itsm_replica.{table}')")).unwrap();
        }
        let mut dice = Dice(seed);
        let mut failures = 0;
        for n in 0..30 {
            for _ in 0..dice.roll(4) {
                change(&sim, &mut dice, n);
            }
            let broken = [
                FaultKind::Status { status: 503 },
                FaultKind::ResetInBody,
                FaultKind::TruncatedJson,
                FaultKind::LostTail,
            ];
            if dice.roll(3) == 0 {
                let kind = broken[dice.roll(broken.len())].clone();
                let endpoint = [Endpoint::ObjectAql, Endpoint::TotalCount][dice.roll(2)];
                sim.fault(Fault::new(kind).on(endpoint).after(dice.roll(3) as u32));
            }
            let mode = ["auto", "incremental", "incremental", "full"][dice.roll(4)];
            let table = TABLES[dice.roll(TABLES.len())];
            let sql = format!("SELECT assets_fdw.refresh('itsm_replica.{table}', '{mode}')");
            failures += usize::from(client.batch_execute(&sql).is_err());
            sim.clear_faults();
        }
        // Twice, for an index that lags.
        for _ in 0..2 {
            for table in TABLES {
                let sql = format!("SELECT assets_fdw.refresh('itsm_replica.{table}', 'incremental')");
                client.batch_execute(&sql).unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
            }
        }
        for (table, type_name) in TABLES.into_iter().zip(TYPES) {
            same(&mut client, table);
            let rows = number(&mut client, &format!("SELECT count(*) FROM itsm_replica.{table}"));
            let there = sim.count(sim.type_id(type_name).unwrap());
            assert_eq!(rows as u64, there, "seed {seed}, {failures} failures, {table}");
        }
        if runs > 10 {
            println!("seed {seed} of {first} + {runs}: {failures} refreshes failed");
        }
    }
}
