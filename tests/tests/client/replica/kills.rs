//! Deaths at random points of a refresh: of its worker, of the session that waits for it, of the scheduler, of the
//! launcher, of the whole server. Readers see the state before or after it, the next run completes, nothing is lost.
//! `make kills COUNT=1000` makes it many more.

use std::thread::JoinHandle;
use std::time::Instant;

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::{Options, Sim};

use super::incremental::same;
use super::random::Dice;
use super::*;

/// A table, its type, and the attribute and the column by which a generation is told.
const MARKED: [(&str, &str, &str, &str); 2] =
    [("server", "Server", "Operating System", "operating_system"), ("employee", "Employee", "Name", "name")];

/// Each object's versions follow each other, and the last one is open as long as the object is there: how many do not.
pub(super) fn odd_versions(table: &str) -> String {
    format!(
        "SELECT abs((SELECT count(*) FROM itsm_replica.{table}) - (SELECT count(*) FROM itsm_replica.{table}_history
                    WHERE valid_to IS NULL))
              + (SELECT count(*) FROM (SELECT valid_to, lead(valid_from) OVER (PARTITION BY id ORDER BY valid_from)
                    AS next FROM itsm_replica.{table}_history) AS v WHERE valid_to > next OR valid_to IS NULL AND next IS NOT NULL)"
    )
}

pub(super) fn set(name: &str, or: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(or)
}

/// What a reader sees: the generations of the marked objects of both tables, in one statement.
struct Reader<'a> {
    server: &'a Server,
    database: &'a str,
    sql: String,
    client: Option<Client>,
}

impl<'a> Reader<'a> {
    fn new(server: &'a Server, database: &'a str, keys: &[Vec<String>]) -> Self {
        let of = |n: usize| {
            let (table, _, _, column) = MARKED[n];
            format!(
                "(SELECT coalesce(string_agg(DISTINCT coalesce({column}, 'none'), ' '), '') FROM itsm_replica.{table}
                  WHERE key IN ('{}'))",
                keys[n].join("', '")
            )
        };
        Self { server, database, sql: format!("SELECT {}, {}", of(0), of(1)), client: None }
    }

    /// None while the server is down.
    fn look(&mut self) -> Option<[String; 2]> {
        if self.client.as_ref().is_none_or(Client::is_closed) {
            self.client = self.server.try_connect(self.database, "postgres").ok();
        }
        let row = self.client.as_mut()?.query_one(&self.sql, &[]).ok()?;
        Some([row.get(0), row.get(1)])
    }

    fn ask(&mut self, sql: &str) {
        let _ = self.client.as_mut().map(|client| client.batch_execute(sql));
    }
}

/// Somebody's refresh by hand, who does not mind that it fails.
pub(super) fn by_hand(
    server: &Server,
    database: &str,
    table: &str,
    mode: &str,
) -> Option<(i32, JoinHandle<()>)> {
    let mut client = server.try_connect(database, "postgres").ok()?;
    let pid = client.query_one("SELECT pg_backend_pid()", &[]).ok()?.get(0);
    let sql = format!("SELECT assets_fdw.refresh('itsm_replica.{table}', '{mode}')");
    Some((pid, std::thread::spawn(move || drop(client.batch_execute(&sql)))))
}

/// Who dies.
const VICTIMS: [&str; 4] =
    ["assets_fdw refresh", "assets_fdw scheduler", "assets_fdw launcher", "client backend"];

/// Kills somebody, in some way; says whom.
fn kill(server: &Server, client: &mut Client, dice: &mut Dice, waiting: Option<i32>) -> &'static str {
    // Mostly the run itself; the whole server one time in twenty.
    let (victim, hard) = match dice.roll(20) {
        0 => {
            server.kill9(server.postmaster_pid());
            server.start_again();
            return "postmaster";
        }
        1 => (VICTIMS[1], dice.roll(2) == 0),
        2 => (VICTIMS[2], dice.roll(2) == 0),
        3..=5 if waiting.is_some() => (VICTIMS[3], dice.roll(3) == 0),
        // A process that is killed makes the server end all others and recover.
        6..=9 => (VICTIMS[0], true),
        _ => (VICTIMS[0], false),
    };
    let pid = match waiting.filter(|_| victim == VICTIMS[3]) {
        Some(pid) => Some(pid),
        None => {
            let sql = "SELECT pid FROM pg_stat_activity WHERE backend_type = $1 AND
                       (datname IS NULL OR datname = current_database()) LIMIT 1";
            client.query_opt(sql, &[&victim]).ok().flatten().map(|row| row.get(0))
        }
    };
    let Some(pid) = pid else { return "nobody" };
    if hard {
        server.kill9(u32::try_from(pid).expect("a process"));
    } else {
        let _ = client.batch_execute(&format!("SELECT pg_terminate_backend({pid})"));
    }
    victim
}

#[test]
fn a_refresh_that_is_killed_anywhere_shows_the_state_before_or_after_and_the_next_one_completes() {
    let (count, seed) = (set("COUNT", 30), set("SEED", 7));
    // A request takes a moment, so that there is a middle of a run to be killed in.
    let latency = Duration::from_millis(3);
    let sim = Sim::start(Options { objects: 600, latency, ..Options::default() }).expect("a simulator");
    // What is committed has to be on disk, or a killed server may go back behind it.
    let server = preloaded(&[("synchronous_commit", "on")]);
    let database = server.create_database();
    let mut client = import(&database, &sim);
    for (table, ..) in MARKED {
        let sql = format!("SELECT assets_fdw.materialize('itsm.{table}', every => '1 day', history => true)");
        client.batch_execute(&sql).unwrap();
    }
    let loaded = "SELECT bool_and(last_success IS NOT NULL) FROM assets_fdw.materializations";
    wait_for(&mut client, "the first loads", loaded);
    let keys: Vec<Vec<String>> = MARKED
        .iter()
        .map(|(_, name, ..)| {
            sim.dump(sim.type_id(name).unwrap()).into_iter().take(12).map(|o| o.key).collect()
        })
        .collect();
    let idle = "SELECT bool_and(state = 'waiting') AND NOT EXISTS (SELECT FROM assets_fdw.replica_request)
                FROM assets_fdw.materializations";
    let ask = "SELECT assets_fdw.request_refresh(target) FROM assets_fdw.materializations";
    let mark = |n: u64| {
        for ((_, _, attribute, _), keys) in MARKED.iter().zip(&keys) {
            keys.iter()
                .for_each(|key| drop(sim.update(key, attribute, &[&format!("generation-{n}")]).unwrap()));
        }
        format!("generation-{n}")
    };
    let mut before = mark(0);
    client.batch_execute(ask).unwrap();
    let mut reader = Reader::new(&server, database.name(), &keys);
    wait_until("the first generation", PATIENCE, || reader.look().is_some_and(|seen| seen == [&*before; 2]));

    let mut dice = Dice(seed);
    let mut deaths = std::collections::BTreeMap::<&str, u32>::new();
    let mut extra: Option<String> = None;
    for n in 1..=count {
        wait_for_anew(&server, database.name(), "nothing runs", idle);
        let after = mark(n);
        if let Some(key) = extra.replace(sim.create("Server", &format!("extra-{n}"), &[]).unwrap()) {
            sim.delete(&key).unwrap();
        }
        let mut client = None;
        // A server that still ends its processes over the death before may end this session too.
        wait_until("a session", PATIENCE, || {
            client = server.try_connect(database.name(), "postgres").ok();
            client.as_mut().is_some_and(|client| client.batch_execute("SELECT 1").is_ok())
        });
        let mut client = client.expect("connected");
        let hand = match dice.roll(3) {
            0 => {
                let mode = ["full", "auto", "incremental"][dice.roll(3)];
                by_hand(&server, database.name(), MARKED[dice.roll(2)].0, mode)
            }
            _ => None,
        };
        if hand.is_none() {
            wait_until("the request", PATIENCE, || {
                client.batch_execute(ask).is_ok()
                    || server.try_connect(database.name(), "postgres").is_ok_and(|other| {
                        client = other;
                        false
                    })
            });
        }
        let until = Instant::now() + Duration::from_millis(dice.roll(150) as u64);
        let together = hand.is_none();
        let check = |seen: Option<[String; 2]>| -> bool {
            let Some(seen) = seen else { return false };
            let whole = seen.iter().all(|state| *state == before || *state == after);
            assert!(
                whole && (!together || seen[0] == seen[1]),
                "seed {seed}, round {n}: between {before} and {after}: {seen:?}; history:\n{}",
                history(&mut database.connect())
            );
            seen == [&*after; 2]
        };
        while Instant::now() < until {
            check(reader.look());
        }
        let killed = kill(&server, &mut client, &mut dice, hand.as_ref().map(|(pid, _)| *pid));
        *deaths.entry(killed).or_default() += 1;
        // A death is followed by a pause; who asks does not wait for it.
        let again = match hand {
            Some(_) => ask.to_owned(),
            None => format!("{ask} WHERE state = 'failing'"),
        };
        let deadline = Instant::now() + PATIENCE;
        let mut asked = Instant::now();
        while !check(reader.look()) {
            assert!(
                Instant::now() < deadline,
                "seed {seed}, round {n}, {killed} killed: no {after}; history:\n{}",
                history(&mut database.connect())
            );
            if asked.elapsed() > Duration::from_millis(300) {
                asked = Instant::now();
                reader.ask(&again);
            }
        }
        if let Some((_, waiting)) = hand {
            waiting.join().expect("whoever waits gets an answer or an error");
        }
        if n % 25 == 0 || n == count {
            wait_for_anew(&server, database.name(), "nothing runs", idle);
            let mut client = database.connect();
            MARKED.iter().for_each(|(table, ..)| same(&mut client, table));
            if count > 100 {
                println!("{n} of {count}, seed {seed}: {deaths:?}");
            }
        }
        before = after;
    }
    assert!(deaths.get(VICTIMS[0]).is_some_and(|n| *n > 0), "{deaths:?}");

    wait_for_anew(&server, database.name(), "nothing runs", idle);
    let mut client = database.connect();
    for (table, ..) in MARKED {
        let sql = format!("SELECT assets_fdw.refresh('itsm_replica.{table}', 'full')");
        client.batch_execute(&sql).unwrap_or_else(|error| panic!("{error:?}"));
        same(&mut client, table);
        assert_eq!(number(&mut client, &odd_versions(table)), 0, "{table}");
    }
    let left = "SELECT (SELECT count(*) FROM assets_fdw.refresh_history WHERE outcome = 'running')
                     + (SELECT count(*) FROM assets_fdw.replica_page) + (SELECT count(*) FROM assets_fdw.replica_load)";
    assert_eq!(number(&mut client, left), 0, "{}", history(&mut client));
}
