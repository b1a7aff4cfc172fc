//! The oracle: random queries over imported and hand-made tables give the same rows with pushdown, without it, and on a
//! local copy: on every profile, in every way of running a statement, for accounts that see less than all, however the
//! service folds letters and whatever it makes of references to what an account may not read, before and after
//! `verify_pushdown()`.
//!
//! `make oracle CASES=100000` runs many (in all, over the profiles, from `FROM=1` on); a short run is part of
//! `make test`. A failing case is made smaller and printed with its seed and a script; `SEED=n SERVICE=hostile` runs it
//! alone. What changes between two executions is in `shifting.rs`.
//!
//! | file | subject |
//! |---|---|
//! | world | the tables, their copies, and data that is hard to get right |
//! | author select | random queries: sources and conditions; what is selected |
//! | joins relations | joins with local tables, of every type (`JOINS=1`: nothing else) |
//! | letters unusual | conditions on letters beyond ASCII; beside plain comparisons |
//! | query compare | a query as data; whether two ways of asking gave the same |
//! | shifting | metadata that changes between two executions of a prepared statement |

mod author;
mod compare;
mod joins;
mod letters;
mod query;
mod relations;
mod select;
mod shifting;
mod unusual;
mod world;

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write;
use std::time::{Duration, Instant};

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::{Endpoint, Profile, Unreadable};
use postgres::{Client, SimpleQueryMessage};

use author::Author;
use compare::{Rows, difference};
use query::{Compare, Manner, Query, Service};
use world::Stage;

/// Cases in each profile when nobody says how many.
const SHORT: u64 = 72;
/// A session's caches and refusals are forgotten after so many cases.
const SESSION: u64 = 150;
/// Objects of every simulator begin here; see [`Stage`].
const COMPANY: u64 = 11;

#[test]
fn any_query_gives_the_same_rows_pushed_unpushed_and_copied_on_a_documented_service() {
    run(Profile::Documented, "documented");
}

#[test]
fn any_query_gives_the_same_rows_pushed_unpushed_and_copied_on_a_lenient_service() {
    run(Profile::Lenient, "lenient");
}

#[test]
fn any_query_gives_the_same_rows_pushed_unpushed_and_copied_on_a_hostile_service() {
    run(Profile::Hostile, "hostile");
}

/// What became of the cases.
#[derive(Default, Debug)]
struct Tally {
    cases: u64,
    with_rows: u64,
    /// The same ERROR in all three.
    same_error: u64,
    /// One of the three took too long: nothing is said.
    too_long: u64,
    /// A row that contradicts a proof: an ERROR, and the proof is gone.
    contradicted: u64,
    pushed: u64,
    /// Joins in which several keys were asked for in one request.
    batched: u64,
    failed: u64,
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"))
}

/// The seeds to run: those of `SEED`, or so many of a short run, or a part of `CASES`; none for another `SERVICE`.
fn seeds(name: &str, short: u64, part: u64) -> std::ops::Range<u64> {
    if env::var("SERVICE").is_ok_and(|wanted| wanted != name) {
        return 0..0;
    }
    let only = number("SEED");
    let from = only.unwrap_or_else(|| number("FROM").unwrap_or(1));
    let count = match only {
        Some(_) => 1,
        None => number("CASES").map_or(short, |all| all.div_ceil(part)),
    };
    from..from + count
}

fn run(profile: Profile, name: &str) {
    let seeds = seeds(name, SHORT, 3);
    if seeds.is_empty() {
        return;
    }
    let (count, only) = (seeds.end - seeds.start, number("SEED").is_some());
    let started = Instant::now();
    let stage = Stage::new(profile, COMPANY);
    let mut session = Session::new(&stage);
    println!("oracle, {name}: tables and copies after {:?}", started.elapsed());
    let mut tally = Tally::default();
    let mut report = String::new();
    for (n, seed) in seeds.enumerate() {
        if n as u64 % SESSION == SESSION - 1 {
            session.client = connect(&stage);
        }
        let query =
            if joins::is_join(seed) { joins::query(&stage, seed) } else { Author::query(&stage, seed) };
        if only {
            println!("{}", script(&query, name, seed));
        }
        session.arrange(query.service);
        stage.live.sim.clear_log();
        let outcome = session.check(&query);
        tally.cases += 1;
        let asked_more = |aql: &str| aql.contains(" AND ");
        let log = stage.live.sim.log();
        let searches =
            log.iter().filter(|e| matches!(e.endpoint, Endpoint::ObjectAql | Endpoint::TotalCount));
        tally.pushed += u64::from(searches.clone().filter_map(|e| e.aql.as_deref()).any(asked_more));
        let several = |aql: &str| aql.contains("Key in (") || aql.contains("objectId in (");
        tally.batched +=
            u64::from(joins::is_join(seed) && searches.filter_map(|e| e.aql.as_deref()).any(several));
        match outcome {
            Outcome::Agree(rows) => tally.with_rows += u64::from(rows > 0),
            Outcome::SameError => tally.same_error += 1,
            Outcome::TooLong => tally.too_long += 1,
            Outcome::Contradicted(why) => {
                tally.contradicted += 1;
                if only {
                    println!("{why}");
                }
            }
            Outcome::Differ(_) => {
                tally.failed += 1;
                let small = session.shrink(query);
                let why = match session.check(&small) {
                    Outcome::Differ(why) => why,
                    other => format!("-- not again the second time: {other:?}\n"),
                };
                let plan = session.plan(&small);
                let found = format!("{}{why}{plan}\n", script(&small, name, seed));
                print!("{found}");
                report.push_str(&found);
            }
        }
        if session.client.is_closed() || session.client.simple_query("SELECT 1").is_err() {
            session.client = connect(&stage);
        }
        if tally.failed >= number("FAILURES").unwrap_or(20) {
            break;
        }
    }
    println!("oracle, {name}: {tally:?} in {:?}, of it proofs {:?}", started.elapsed(), session.proving);
    assert!(report.is_empty(), "{} of {} cases differ\n{report}", tally.failed, tally.cases);
    assert_eq!(Server::shared().crashes(), Vec::<String>::new());
    // A generator that selects nothing, pushes nothing or fails each time proves nothing.
    if count >= SHORT {
        assert!(tally.with_rows > count / 4 && tally.pushed > count / 4, "{tally:?}");
        assert!(tally.same_error < count / 4 && tally.too_long <= count / 50, "{tally:?}");
        assert!(tally.contradicted <= count / 20, "{tally:?}");
        assert!(tally.batched > count / joins::EVERY / 20, "{tally:?}");
    }
}

/// A session, and what the table of facts holds.
struct Session<'a> {
    stage: &'a Stage,
    client: Client,
    /// Houses that were verified, with their facts put by.
    verified: BTreeSet<usize>,
    /// Whose facts are in the table.
    proven: Option<usize>,
    /// What verifying took.
    proving: Duration,
}

impl<'a> Session<'a> {
    fn new(stage: &'a Stage) -> Session<'a> {
        let mut client = connect(stage);
        let kept = "CREATE TABLE kept_facts AS SELECT 0 AS house, * FROM assets_fdw.service_facts LIMIT 0";
        client.batch_execute(kept).expect("a table");
        Session { stage, client, verified: BTreeSet::new(), proven: None, proving: Duration::ZERO }
    }

    /// Has the service behave as a case wants it, with what is known of it.
    fn arrange(&mut self, service: Service) {
        let sim = &self.stage.live.sim;
        let s = sim.current_switches();
        // Nothing is known of rights on single objects (README): one that is shown is found by what is shown of it.
        let shown = s.unreadable_object == Unreadable::Shown;
        let (path, value) = (service.path || shown, service.value || shown);
        if (s.fold, s.unreadable_path, s.unreadable_value) != (service.fold, path, value) {
            sim.switches(|s| {
                (s.fold, s.unreadable_path, s.unreadable_value) = (service.fold, path, value);
            });
        }
        if let Some(house) = service.proven
            && self.verified.insert(house)
        {
            let started = Instant::now();
            let mut client = self.stage.live.connect();
            let verify = "DELETE FROM assets_fdw.service_facts;
                SELECT count(*) FROM pg_foreign_server s, LATERAL assets_fdw.verify_pushdown(s.srvname) v;";
            client.batch_execute(verify).expect("proofs");
            let keep = format!("INSERT INTO kept_facts SELECT {house}, f.* FROM assets_fdw.service_facts f");
            client.batch_execute(&keep).expect("facts are kept");
            self.proven = Some(house);
            self.proving += started.elapsed();
        }
        if self.proven == service.proven {
            return;
        }
        // As if learned just now: a contradiction of the past is past.
        let house = service.proven.map_or(-1, |house| house as i64);
        let facts = format!(
            "DELETE FROM assets_fdw.service_facts;
             INSERT INTO assets_fdw.service_facts (server, fact, holds, detail, service)
                 SELECT server, fact, holds, detail, service FROM kept_facts WHERE house = {house}"
        );
        self.client.batch_execute(&facts).expect("facts");
        self.proven = service.proven;
    }

    /// EXPLAIN of what was pushed.
    fn plan(&mut self, query: &Query) -> String {
        if !query.types.is_empty() {
            return String::new();
        }
        let _ = self.client.batch_execute("SET assets_fdw.enable_pushdown = on");
        match self.client.query(&format!("EXPLAIN (VERBOSE, COSTS OFF) {}", query.sql("", true)), &[]) {
            Ok(rows) => rows.iter().map(|row| format!("-- {}\n", row.get::<_, String>(0))).collect(),
            Err(error) => format!("-- {error:?}\n"),
        }
    }

    fn check(&mut self, query: &Query) -> Outcome {
        self.arrange(query.service);
        let client = &mut self.client;
        let settings: String = query.settings.iter().map(|s| format!("SET {s}; ")).collect();
        if let Err(e) = client.batch_execute(&settings) {
            return Outcome::Differ(format!("-- {settings}: {e:?}\n"));
        }
        let copied = rows(client, query, "copy_", true, "on");
        let pushed = rows(client, query, "", true, "on");
        // Joins of tables that are read whole are other tests'.
        let local = if query.is_join { copied.clone() } else { rows(client, query, "", true, "off") };
        let every = match query.compare {
            Compare::Some => Some(rows(client, query, "copy_", false, "on")),
            _ => None,
        };
        let reset: String =
            query.settings.iter().map(|s| format!("RESET {}; ", s.split(' ').next().unwrap_or(s))).collect();
        let _ = client.batch_execute(&format!("{reset}RESET plan_cache_mode; DEALLOCATE ALL"));
        let code = |rows: &Rows| rows.as_ref().err().map(|(code, _)| code.clone());
        if [&copied, &pushed, &local].iter().any(|rows| code(rows).as_deref() == Some("57014")) {
            return Outcome::TooLong;
        }
        // What a nondeterministic collation cannot do and a pattern that ends in an escape are ERRORs only where they are
        // tried, and which rows they are tried on is the planner's choice. So is an instant beyond all that PostgreSQL knows,
        // computed of a parameter: whoever looks for it, a scan of an index too, computes it once and before any row.
        let tried = |rows: &Rows| matches!(code(rows).as_deref(), Some("0A000" | "22025" | "22008"));
        if [&copied, &pushed, &local].into_iter().chain(&every).any(tried) {
            return Outcome::SameError;
        }
        if query.service.proven.is_some()
            && let (Ok(_), Err((_, text))) = (&copied, &pushed)
            && text.contains("was proven to select")
        {
            self.proven = Some(usize::MAX);
            return Outcome::Contradicted(text.clone());
        }
        let mut why = String::new();
        for (what, found) in [("pushed", &pushed), ("not pushed", &local)] {
            match (&copied, found) {
                (Err((wanted, _)), Err((found, _))) if wanted == found => {}
                (Ok(wanted), Ok(found)) => {
                    let every = every.as_ref().map(|every| (every, query.bounds.as_slice()));
                    why.push_str(&difference(what, query.compare, wanted, found, every))
                }
                (wanted, found) => {
                    let _ = writeln!(why, "-- {what}: {found:.300?} instead of {wanted:.300?}");
                }
            }
        }
        match copied {
            _ if !why.is_empty() => Outcome::Differ(why),
            Ok(rows) => Outcome::Agree(rows.iter().map(Vec::len).sum()),
            Err(_) => Outcome::SameError,
        }
    }

    /// The same failure with less in it.
    fn shrink(&mut self, mut query: Query) -> Query {
        let mut tries = 0;
        'again: while tries < 150 {
            let mut candidates = Vec::new();
            for (n, tree) in query.trees.iter().enumerate() {
                for smaller in tree.smaller() {
                    let mut less = query.clone();
                    less.trees[n] = smaller;
                    candidates.push(less);
                }
            }
            for n in 0..query.settings.len() {
                let mut less = query.clone();
                less.settings.remove(n);
                candidates.push(less);
            }
            if query.runs.len() > 1 {
                for n in 0..query.runs.len() {
                    let mut less = query.clone();
                    less.runs.remove(n);
                    if n < less.bounds.len() {
                        less.bounds.remove(n);
                    }
                    candidates.push(less);
                }
            }
            if query.manner != Manner::Plain && query.types.is_empty() {
                candidates.push(Query { manner: Manner::Plain, runs: vec![vec![]], ..query.clone() });
            }
            for less in candidates {
                tries += 1;
                if tries > 150 || self.client.is_closed() {
                    break 'again;
                }
                if let Outcome::Differ(why) = self.check(&less)
                    && !why.contains("42P")
                {
                    query = less;
                    continue 'again;
                }
            }
            break;
        }
        query
    }
}

fn connect(stage: &Stage) -> Client {
    let mut client = stage.live.connect();
    client
        .batch_execute("SET statement_timeout = '30s'; SET client_min_messages = error; SET jit = off")
        .expect("a session");
    client
}

#[derive(Debug)]
enum Outcome {
    Agree(usize),
    SameError,
    TooLong,
    Contradicted(String),
    Differ(String),
}

fn rows(client: &mut Client, query: &Query, prefix: &str, limited: bool, pushdown: &str) -> Rows {
    let mode = match query.manner {
        Manner::Prepared(mode) => mode,
        _ => "auto",
    };
    let failed = |e: postgres::Error| match e.as_db_error() {
        Some(e) => (e.code().code().to_owned(), e.message().to_owned()),
        None => ("no server".to_owned(), format!("{e:?}")),
    };
    client
        .batch_execute(&format!("SET assets_fdw.enable_pushdown = {pushdown}; SET plan_cache_mode = {mode}"))
        .map_err(failed)?;
    let messages = client.simple_query(&query.statements(prefix, limited)).map_err(|e| {
        let why = failed(e);
        let _ = client.batch_execute("ROLLBACK; DEALLOCATE ALL");
        why
    })?;
    let mut sets: Vec<Vec<String>> = vec![Vec::new()];
    for message in messages {
        match message {
            SimpleQueryMessage::Row(row) => {
                let cells = (0..row.len()).map(|i| row.get(i).map_or("∅".to_owned(), |v| format!("{v:?}")));
                let cells: Vec<String> = cells.collect();
                sets.last_mut().expect("a set").push(cells.join(" | "));
            }
            SimpleQueryMessage::CommandComplete(_) => sets.push(Vec::new()),
            _ => {}
        }
    }
    Ok(query.executions(sets))
}

/// What to type to see it by hand, beside a simulator of that profile with the tables of `oracle/world.rs`.
fn script(query: &Query, profile: &str, seed: u64) -> String {
    let joins = if query.is_join { " JOINS=1" } else { "" };
    let mut text =
        format!("-- SERVICE={profile} SEED={seed}{joins}: make oracle with these runs this case alone.\n");
    let _ = writeln!(text, "-- {:?}", query.service);
    for setting in &query.settings {
        let _ = writeln!(text, "SET {setting};");
    }
    if let Manner::Prepared(mode) = query.manner {
        let _ = writeln!(text, "SET plan_cache_mode = {mode};");
    }
    for (prefix, pushdown, what) in
        [("", "on", "pushed"), ("", "off", "not pushed"), ("copy_", "on", "copied")]
    {
        let _ = writeln!(text, "SET assets_fdw.enable_pushdown = {pushdown}; -- {what}");
        let _ = writeln!(text, "{};", query.statements(prefix, true));
    }
    text
}
