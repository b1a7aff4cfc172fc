//! The oracle: random queries over imported and hand-made tables give the same rows with pushdown, without it, and on a
//! local copy, on every profile and in every way of running a statement.
//!
//! `make oracle CASES=100000` runs many (in all, over the profiles, from `FROM=1` on); a short run is part of
//! `make test`. A failing case is made smaller and printed with its seed and a script; `SEED=n SERVICE=hostile` runs it
//! alone.

mod query;
mod world;

use std::env;
use std::fmt::Write;

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::{Endpoint, Profile};
use postgres::{Client, SimpleQueryMessage};

use query::{Author, Compare, Manner, Query};
use world::Stage;

/// Cases in each profile when nobody says how many.
const SHORT: u64 = 50;
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
    pushed: u64,
    failed: u64,
}

fn run(profile: Profile, name: &str) {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    if env::var("SERVICE").is_ok_and(|wanted| wanted != name) {
        return;
    }
    let cases = number("CASES").map_or(SHORT, |all| all.div_ceil(3));
    let only = number("SEED");
    let from = only.unwrap_or_else(|| number("FROM").unwrap_or(1));
    let count = if only.is_some() { 1 } else { cases };
    let stage = Stage::new(profile, COMPANY);
    let mut client = connect(&stage);
    let mut tally = Tally::default();
    let mut report = String::new();
    for (n, seed) in (from..from + count).enumerate() {
        if n as u64 % SESSION == SESSION - 1 {
            client = connect(&stage);
        }
        let query = Author::query(&stage, seed);
        if only.is_some() {
            println!("{}", script(&query, name, seed));
        }
        stage.live.sim.clear_log();
        let outcome = check(&mut client, &query);
        tally.cases += 1;
        let asked_more = |aql: &str| aql.contains(" AND ");
        let log = stage.live.sim.log();
        let searches =
            log.iter().filter(|e| matches!(e.endpoint, Endpoint::ObjectAql | Endpoint::TotalCount));
        tally.pushed += u64::from(searches.filter_map(|e| e.aql.as_deref()).any(asked_more));
        match outcome {
            Outcome::Agree(rows) => tally.with_rows += u64::from(rows > 0),
            Outcome::SameError => tally.same_error += 1,
            Outcome::TooLong => tally.too_long += 1,
            Outcome::Differ(_) => {
                tally.failed += 1;
                let small = shrink(&mut client, query);
                let why = match check(&mut client, &small) {
                    Outcome::Differ(why) => why,
                    other => format!("-- not again the second time: {other:?}\n"),
                };
                let found = format!("{}{why}\n", script(&small, name, seed));
                print!("{found}");
                report.push_str(&found);
                if client.is_closed() || client.simple_query("SELECT 1").is_err() {
                    client = connect(&stage);
                }
            }
        }
        if tally.failed >= 20 {
            break;
        }
    }
    println!("oracle, {name}: {tally:?}");
    assert!(report.is_empty(), "{} of {} cases differ\n{report}", tally.failed, tally.cases);
    assert_eq!(Server::shared().crashes(), Vec::<String>::new());
    // A generator that selects nothing, pushes nothing or fails each time proves nothing.
    if count >= SHORT {
        assert!(tally.with_rows > count / 4 && tally.pushed > count / 3, "{tally:?}");
        assert!(tally.same_error < count / 4 && tally.too_long <= count / 50, "{tally:?}");
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
    Differ(String),
}

type Rows = Result<Vec<String>, (String, String)>;

fn check(client: &mut Client, query: &Query) -> Outcome {
    let settings: String = query.settings.iter().map(|s| format!("SET {s}; ")).collect();
    if let Err(e) = client.batch_execute(&settings) {
        return Outcome::Differ(format!("-- {settings}: {e:?}\n"));
    }
    let copied = rows(client, query, "copy_", true, "on");
    let pushed = rows(client, query, "", true, "on");
    let local = rows(client, query, "", true, "off");
    let every = match query.compare {
        Compare::Some { .. } => Some(rows(client, query, "copy_", false, "on")),
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
    // tried, and which rows they are tried on is the planner's choice.
    let tried = |rows: &Rows| matches!(code(rows).as_deref(), Some("0A000" | "22025"));
    if [&copied, &pushed, &local].into_iter().chain(&every).any(tried) {
        return Outcome::SameError;
    }
    let mut why = String::new();
    for (what, found) in [("pushed", &pushed), ("not pushed", &local)] {
        match (&copied, found) {
            (Err((wanted, _)), Err((found, _))) if wanted == found => {}
            (Ok(wanted), Ok(found)) => {
                why.push_str(&difference(what, query.compare, wanted, found, every.as_ref()))
            }
            (wanted, found) => {
                let _ = writeln!(why, "-- {what}: {found:.300?} instead of {wanted:.300?}");
            }
        }
    }
    match copied {
        _ if !why.is_empty() => Outcome::Differ(why),
        Ok(rows) => Outcome::Agree(rows.len()),
        Err(_) => Outcome::SameError,
    }
}

fn difference(
    what: &str,
    compare: Compare,
    wanted: &[String],
    found: &[String],
    every: Option<&Rows>,
) -> String {
    let sorted = |rows: &[String]| {
        let mut rows = rows.to_vec();
        rows.sort();
        rows
    };
    let (mut wanted, mut found) = (wanted.to_vec(), found.to_vec());
    match (compare, every) {
        (Compare::Ordered, _) => {}
        (Compare::Bag, _) => (wanted, found) = (sorted(&wanted), sorted(&found)),
        (Compare::Some { limit, offset }, Some(Ok(every))) => {
            let mut left = sorted(every);
            let expected = limit.min((left.len() as u64).saturating_sub(offset));
            let stray = found.iter().find(|row| match left.iter().position(|r| r == *row) {
                Some(n) => {
                    left.remove(n);
                    false
                }
                None => true,
            });
            return match stray {
                Some(row) => format!("-- {what}: {row} is not in the result\n"),
                None if found.len() as u64 != expected => {
                    format!("-- {what}: {} rows instead of {expected}\n", found.len())
                }
                None => String::new(),
            };
        }
        (Compare::Some { .. }, other) => return format!("-- without LIMIT: {other:?}\n"),
    }
    if wanted == found {
        return String::new();
    }
    let lost: Vec<&String> = wanted.iter().filter(|row| !found.contains(row)).take(4).collect();
    let added: Vec<&String> = found.iter().filter(|row| !wanted.contains(row)).take(4).collect();
    format!(
        "-- {what}: {} rows instead of {}, lost {lost:.400?}, added {added:.400?}\n",
        found.len(),
        wanted.len()
    )
}

/// The statements of one run, of which the last set of rows counts.
fn statements(query: &Query, prefix: &str, limited: bool) -> String {
    let sql = query.sql(prefix, limited);
    match query.manner {
        Manner::Plain => sql,
        Manner::Cursor => format!(
            "BEGIN; DECLARE c CURSOR FOR {sql}; FETCH 1 FROM c; FETCH 3 FROM c; FETCH ALL FROM c; COMMIT"
        ),
        Manner::Prepared(_, times) => {
            let types: Vec<&str> = query.params.iter().map(|(_, t)| t.as_str()).collect();
            let values: Vec<&str> = query.params.iter().map(|(v, _)| v.as_str()).collect();
            let (types, values) = match query.params.is_empty() {
                true => (String::new(), String::new()),
                false => (format!("({})", types.join(", ")), format!("({})", values.join(", "))),
            };
            let execute = vec![format!("EXECUTE p{values}"); times].join("; ");
            format!("PREPARE p{types} AS {sql}; {execute}; DEALLOCATE p")
        }
    }
}

fn rows(client: &mut Client, query: &Query, prefix: &str, limited: bool, pushdown: &str) -> Rows {
    let mode = match query.manner {
        Manner::Prepared(mode, _) => mode,
        _ => "auto",
    };
    let failed = |e: postgres::Error| match e.as_db_error() {
        Some(e) => (e.code().code().to_owned(), e.message().to_owned()),
        None => ("no server".to_owned(), format!("{e:?}")),
    };
    client
        .batch_execute(&format!("SET assets_fdw.enable_pushdown = {pushdown}; SET plan_cache_mode = {mode}"))
        .map_err(failed)?;
    let messages = client.simple_query(&statements(query, prefix, limited)).map_err(|e| {
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
    // A cursor's fetches are one result; executions of one statement give the same each time.
    if query.manner == Manner::Cursor {
        return Ok(sets.concat());
    }
    if let Manner::Prepared(_, times) = query.manner {
        let executions = &sets[1..=times];
        let sorted = |set: &Vec<String>| {
            let mut set = set.clone();
            set.sort();
            set
        };
        if query.compare == Compare::Bag && executions.iter().any(|set| sorted(set) != sorted(&executions[0]))
        {
            return Err(("differs".to_owned(), "one execution gives other rows than another".to_owned()));
        }
        return Ok(executions[times - 1].clone());
    }
    Ok(sets.swap_remove(0))
}

/// The same failure with less in it.
fn shrink(client: &mut Client, mut query: Query) -> Query {
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
        if query.manner != Manner::Plain && query.params.is_empty() {
            candidates.push(Query { manner: Manner::Plain, ..query.clone() });
        }
        for less in candidates {
            tries += 1;
            if tries > 150 || client.is_closed() {
                break 'again;
            }
            if let Outcome::Differ(why) = check(client, &less)
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

/// What to type to see it by hand, beside a simulator of that profile with the tables of `oracle/world.rs`.
fn script(query: &Query, profile: &str, seed: u64) -> String {
    let mut text =
        format!("-- SERVICE={profile} SEED={seed}: make oracle with these two runs this case alone.\n");
    for setting in &query.settings {
        let _ = writeln!(text, "SET {setting};");
    }
    if let Manner::Prepared(mode, _) = query.manner {
        let _ = writeln!(text, "SET plan_cache_mode = {mode};");
    }
    for (prefix, pushdown, what) in
        [("", "on", "pushed"), ("", "off", "not pushed"), ("copy_", "on", "copied")]
    {
        let _ = writeln!(text, "SET assets_fdw.enable_pushdown = {pushdown}; -- {what}");
        let _ = writeln!(text, "{};", statements(query, prefix, true));
    }
    text
}
