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
//! | shown | whether what reads as NULL is EMPTY, among all objects |
//! | orders | ORDER BY |
//! | manners | how the service behaves where no rule depends on it: page size, zone, EMPTY |
#![allow(unsafe_code)] // catalogue look-ups

mod ask;
mod manners;
mod orders;
mod sample;
mod shown;

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::rc::Rc;

use aql::facts::{PER_ATTRIBUTE, UNSEEN, of_attribute};
use aql::probe::{Probe, Verdict, judge, probes};
use aql::rules::{RULES, Sight};
use aql::{Fidelity, Literal};

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
    shown::verify(&connection, &samples, &mut found);
    found.append(orders::verify(&mut asker, &samples));
    found.append(manners::verify(&mut asker, &samples));
    found = unless_changed(&connection, &samples, found);
    if facts::may_record(server) {
        let account = connection.account.as_deref();
        facts::record(&connection.server_name, &connection.service, account, &found.learned);
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
    /// How many different values the column has in the sample.
    different: usize,
}

/// A row of the rule table, the fact that its form rests on, and the attribute where the fact is one attribute's.
type Row = (&'static str, Option<&'static str>, Option<i64>);

impl Trial<'_> {
    /// How much an answer can show: nothing without an object to be found, and, where the row claims to
    /// be exact, or the fact is one attribute's, one to be left out; and no fact is proven by a single value.
    fn power(&self, row: &Row) -> usize {
        let count =
            |wanted: bool| self.probes.iter().flat_map(|p| &p.wanted).filter(|w| **w == wanted).count();
        let (found, left_out) = (count(true), count(false));
        let exact = self.probes.iter().any(|probe| probe.claims == Fidelity::Exact);
        let tells_nothing =
            ((exact || row.2.is_some()) && left_out == 0) || (exact && row.1.is_some() && self.different < 2);
        if tells_nothing { 0 } else { found.min(1 + left_out) }
    }
}

/// Tries every row of the rule table, as it is and as its proof would make it.
fn rules(asker: &mut Asker, samples: &[Sample]) -> Findings {
    let mut trials: BTreeMap<Row, Vec<Trial>> = BTreeMap::new();
    for sample in samples {
        for column in &sample.columns {
            let mut by_row: BTreeMap<Row, Vec<Probe>> = BTreeMap::new();
            for probe in probes(&column.subject, &column.values) {
                let one_attributes = probe.fact.is_some_and(|fact| PER_ATTRIBUTE.contains(&fact));
                let attribute = column.subject.stored.attribute.filter(|_| one_attributes);
                by_row.entry((probe.rule.name, probe.fact, attribute)).or_default().push(probe);
            }
            for (row, probes) in by_row {
                let trial =
                    Trial { sample, column: &column.name, probes, different: different(&column.values) };
                if trial.power(&row) > 0 {
                    trials.entry(row).or_default().push(trial);
                }
            }
        }
    }
    for (row, trials) in &mut trials {
        trials.sort_by_key(|trial| std::cmp::Reverse(trial.power(row)));
        // What is one attribute's has to hold in each of its columns.
        if row.2.is_none() {
            trials.truncate(TRIES);
        }
    }
    let mut found = Findings::default();
    // A fact holds if every row that rests on it does; each row adds its word.
    let mut words: BTreeMap<String, (bool, String)> = BTreeMap::new();
    for rule in RULES {
        let unseen = (rule.sight == Sight::Walks).then_some(Some(UNSEEN));
        let facts = [rule.fidelity.map(|_| None), rule.proof.map(|proof| Some(proof.fact)), unseen];
        for fact in facts.into_iter().flatten() {
            let rows: Vec<&Row> = trials.keys().filter(|row| (row.0, row.1) == (rule.name, fact)).collect();
            if rows.is_empty() && fact != Some(UNSEEN) {
                let name = fact.map_or(rule.name.to_owned(), |fact| format!("{} ({fact})", rule.name));
                found.lines.push(Line::untested(&name, "no sampled attribute has values that would tell"));
            }
            for row in rows {
                try_row(asker, row, &trials[row], &mut found, &mut words);
            }
        }
    }
    for (fact, (holds, detail)) in &words {
        found.learn(fact, *holds, detail);
    }
    found
}

/// Tries one row on the columns that tell most.
fn try_row(
    asker: &mut Asker,
    row: &Row,
    trials: &[Trial],
    found: &mut Findings,
    words: &mut BTreeMap<String, (bool, String)>,
) {
    let (rule, fact, attribute) = *row;
    let fact = fact.map(|fact| attribute.map_or(fact.to_owned(), |id| of_attribute(fact, id)));
    let name = fact.as_ref().map_or(rule.to_owned(), |fact| format!("{rule} ({fact})"));
    // A refusal may be the attribute's: another one may be understood.
    let mut outcome: Option<(&Trial, Verdict, String)> = None;
    for trial in trials {
        let (verdict, aql) = worst(asker, trial);
        let worse = outcome.as_ref().is_none_or(|(_, before, _)| match attribute {
            Some(_) => verdict > *before,
            None => true,
        });
        if worse {
            outcome = Some((trial, verdict, aql));
        }
        if attribute.is_none() && verdict != Verdict::Refused {
            break;
        }
    }
    let Some((trial, verdict, aql)) = outcome else { return };
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
        None if verdict != Verdict::Refused => found.learn(rule, keeps, &detail),
        None => {}
    }
    found.lines.push(Line { rule: name, aql: Some(aql), verdict: verdict.as_str(), detail });
}

/// How many different values there are, those of lists each by itself.
fn different(values: &[Literal]) -> usize {
    let mut unlike: Vec<&Literal> = Vec::new();
    for value in values {
        let items = match value {
            Literal::List(items) => items.as_slice(),
            one => std::slice::from_ref(one),
        };
        for item in items {
            if *item != Literal::Null && !unlike.contains(&item) {
                unlike.push(item);
            }
        }
    }
    unlike.len()
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
