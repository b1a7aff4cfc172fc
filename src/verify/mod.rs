//! `assets_fdw.verify_pushdown`: tries the pushdown rules on the live service (interface.md 3).
//!
//! ```text
//! foreign tables → a page of each → a few objects of it → probes (crates/aql) → verdicts → facts
//! ```
//!
//! Every question is about the sampled objects alone (`objectId in (…)`), so that the answer is one
//! page and can be held against what SQL says of the same objects. Read-only, a few hundred requests
//! at most, all under the request budget; interruptible like any other waiting.
//!
//! A proof is by sample. An object that comes back and contradicts it is seen (`question.rs`), one that
//! a service leaves out is not: that is why a rule that no documentation covers needs a proof first.
//! A verdict of `wrong` on a rule that is on without proof keeps it at home until a better one. Who is
//! not the server's owner gets verdicts and records nothing.
//!
//! | file | subject |
//! |---|---|
//! | sample | which tables and objects are asked about |
//! | ask | questions about the sampled objects, several under way at once |
//! | orders | ORDER BY |
//! | manners | how the service behaves where no rule depends on it: page size, zone, EMPTY |
#![allow(unsafe_code)] // catalogue look-ups

mod ask;
mod manners;
mod orders;
mod sample;

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::rc::Rc;

use aql::Fidelity;
use aql::facts::KNOWN;
use aql::probe::{Probe, Verdict, judge, probes};
use aql::rules::RULES;
use pgrx::pg_sys;
use pgrx::prelude::*;

use self::ask::Asker;
use self::sample::Sample;
use crate::facts::Learned;
use crate::session::Connection;
use crate::{error, facts, session};

/// How many columns a row is tried on while the service refuses it.
const TRIES: usize = 3;

/// A row of the result.
struct Line {
    rule: String,
    aql: Option<String>,
    verdict: &'static str,
    detail: String,
}

impl Line {
    fn untested(rule: &str, detail: impl Into<String>) -> Self {
        Self { rule: rule.to_owned(), aql: None, verdict: "untested", detail: detail.into() }
    }
}

/// What a part of the verification found.
#[derive(Default)]
struct Findings {
    lines: Vec<Line>,
    learned: Vec<Learned>,
}

impl Findings {
    fn learn(&mut self, name: &str, holds: bool, detail: &str) {
        self.learned.push(Learned { name: name.to_owned(), holds, detail: detail.to_owned() });
    }
}

/// `assets_fdw.verify_pushdown(server name, source regclass)`
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn verify_pushdown(
    server: Option<&CStr>,
    source: Option<pg_sys::Oid>,
) -> TableIterator<
    'static,
    (name!(rule, String), name!(aql, Option<String>), name!(verdict, String), name!(detail, String)),
> {
    let Some(server) = server else {
        error::raise(PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED, "verify_pushdown: which server?");
    };
    let (server, user) = session::server_by_name(server);
    let connection = session::connect(server, user);
    let samples = sample::take(&connection, server, user, source);
    let mut asker = Asker::new(&connection);
    let mut found = rules(&mut asker, &samples);
    found.append(orders::verify(&mut asker, &samples));
    found.append(manners::verify(&mut asker, &samples));
    found = unless_changed(&connection, &samples, found);
    if facts::may_record(server) {
        facts::record(&connection.server_name, &connection.service, &found.learned);
    } else {
        error::report(
            PgSqlErrorCode::ERRCODE_WARNING,
            "nothing is recorded: only the server's owner, in a transaction that may write, changes what the planner \
             relies on",
        )
        .report(PgLogLevel::NOTICE);
    }
    TableIterator::new(
        found.lines.into_iter().map(|line| (line.rule, line.aql, line.verdict.to_owned(), line.detail)),
    )
}

impl Findings {
    fn append(&mut self, other: Findings) {
        self.lines.extend(other.lines);
        self.learned.extend(other.learned);
    }
}

/// Objects that changed meanwhile prove nothing.
fn unless_changed(connection: &Rc<Connection>, samples: &[Sample], found: Findings) -> Findings {
    if samples.iter().all(|sample| sample.is_unchanged(connection)) {
        return found;
    }
    let changed = |line: Line| Line {
        verdict: "untested",
        detail: "sampled objects changed meanwhile; try again".to_owned(),
        ..line
    };
    Findings { lines: found.lines.into_iter().map(changed).collect(), learned: Vec::new() }
}

/// The questions about one row of the rule table in one of its forms, on the column that tells most.
struct Trial<'a> {
    sample: &'a Sample,
    column: &'a str,
    probes: Vec<Probe>,
}

impl Trial<'_> {
    /// How much an answer can show: nothing without an object to be found, and, where the row claims to
    /// be exact, one to be left out.
    fn power(&self) -> usize {
        let count =
            |wanted: bool| self.probes.iter().flat_map(|p| &p.wanted).filter(|w| **w == wanted).count();
        let (found, left_out) = (count(true), count(false));
        let exact = self.probes.iter().any(|probe| probe.claims == Fidelity::Exact);
        if exact && left_out == 0 { 0 } else { found.min(1 + left_out) }
    }
}

/// Tries every row of the rule table, as it is and as its proof would make it.
fn rules(asker: &mut Asker, samples: &[Sample]) -> Findings {
    let mut trials: BTreeMap<(&'static str, Option<&'static str>), Vec<Trial>> = BTreeMap::new();
    for sample in samples {
        for column in &sample.columns {
            let mut by_row: BTreeMap<(&'static str, Option<&'static str>), Vec<Probe>> = BTreeMap::new();
            for probe in probes(&column.subject, &column.values) {
                by_row.entry((probe.rule.name, probe.fact)).or_default().push(probe);
            }
            for (row, probes) in by_row {
                let trial = Trial { sample, column: &column.name, probes };
                if trial.power() > 0 {
                    trials.entry(row).or_default().push(trial);
                }
            }
        }
    }
    for trials in trials.values_mut() {
        trials.sort_by_key(|trial| std::cmp::Reverse(trial.power()));
        trials.truncate(TRIES);
    }
    let mut found = Findings::default();
    // A fact holds if every row that rests on it does; each row adds its word.
    let mut words: BTreeMap<&'static str, (bool, String)> = BTreeMap::new();
    for rule in RULES {
        for fact in
            [rule.fidelity.map(|_| None), rule.proof.map(|proof| Some(proof.fact))].into_iter().flatten()
        {
            let name = match fact {
                Some(fact) => format!("{} ({fact})", rule.name),
                None => rule.name.to_owned(),
            };
            // A refusal may be the attribute's: another one may be understood.
            let mut outcome = None;
            for trial in trials.get(&(rule.name, fact)).into_iter().flatten() {
                let (verdict, aql) = worst(asker, trial);
                outcome = Some((trial, verdict, aql));
                if verdict != Verdict::Refused {
                    break;
                }
            }
            let Some((trial, verdict, aql)) = outcome else {
                found.lines.push(Line::untested(&name, "no sampled attribute has values that would tell"));
                continue;
            };
            let keeps = trial.probes.iter().all(|probe| verdict.keeps(probe.claims));
            let detail = format!(
                "{} queries on column \"{}\" of {}, {} objects",
                trial.probes.len(),
                trial.column,
                trial.sample.table,
                trial.sample.ids.len()
            );
            match fact {
                Some(fact) => {
                    let word = words.entry(fact).or_insert((true, detail.clone()));
                    if !keeps && word.0 {
                        *word = (false, detail.clone());
                    }
                }
                // A refusal is taken back by the query that meets it; only lost objects disprove a rule.
                None if verdict != Verdict::Refused => found.learn(rule.name, keeps, &detail),
                None => {}
            }
            found.lines.push(Line { rule: name, aql: Some(aql), verdict: verdict.as_str(), detail });
        }
    }
    for fact in KNOWN {
        if let Some((holds, detail)) = words.get(fact) {
            found.learn(fact, *holds, detail);
        }
    }
    found
}

/// The worst verdict of a trial's questions, and the question that showed it.
fn worst(asker: &mut Asker, trial: &Trial) -> (Verdict, String) {
    let conditions: Vec<String> = trial.probes.iter().map(|probe| probe.aql.to_string()).collect();
    let answers = asker.ask(trial.sample, &conditions);
    let judged = trial.probes.iter().zip(&answers).zip(conditions).map(|((probe, answer), aql)| {
        let verdict = match answer {
            Some(found) => judge(&probe.wanted, &trial.sample.marked(found)),
            None => Verdict::Refused,
        };
        (verdict, aql)
    });
    judged.max_by(|a, b| a.0.cmp(&b.0)).unwrap_or((Verdict::Refused, String::new()))
}
