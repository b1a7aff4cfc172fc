//! How the service behaves where the documentation is silent and no rule depends on it: shown and
//! recorded for people, and for rules to come.

use aql::probe::{Verdict, judge};
use aql::{Class, Column, Kind, Literal, Part, date};

use super::ask::Asker;
use super::sample::{Sample, Sampled};
use super::{Findings, Line};

/// Zones are looked for in steps of a quarter of an hour, up to this many either way.
const QUARTERS: i64 = 60;
const QUARTER_US: i64 = 15 * 60 * 1_000_000;

/// Everything of the kind.
pub fn verify(asker: &mut Asker, samples: &[Sample]) -> Findings {
    let mut found = Findings::default();
    let mut tell = |name: &str, seen: Option<(bool, String, &'static str, String)>| match seen {
        Some((holds, aql, verdict, detail)) => {
            found.learn(name, holds, &detail);
            found.lines.push(Line { rule: name.to_owned(), aql: Some(aql), verdict, detail });
        }
        None => found.lines.push(Line::untested(name, "no sampled attribute has values that would tell")),
    };
    tell("!= finds EMPTY", finds_empty(asker, samples, false));
    tell("not in finds EMPTY", finds_empty(asker, samples, true));
    tell("!= looks at all values", looks_at_all(asker, samples));
    tell("objectId < and >", strict_ids(asker, samples));
    tell("literal zone", zone(asker, samples));
    if let Some(sample) = samples.iter().max_by_key(|sample| sample.page.1) {
        let (asked, came) = sample.page;
        let detail = format!("{came} objects came where {asked} were asked for");
        found.learn("page size", came == asked as usize, &detail);
        found.lines.push(Line { rule: "page size".into(), aql: None, verdict: "exact", detail });
    }
    found
}

type Seen = Option<(bool, String, &'static str, String)>;

fn columns(samples: &[Sample]) -> impl Iterator<Item = (&Sample, &Sampled)> {
    samples.iter().flat_map(|sample| sample.columns.iter().map(move |column| (sample, column)))
}

/// The name of an Integer attribute that can be written.
fn integer(column: &Sampled) -> Option<&str> {
    match &column.subject.column {
        Column::Attribute { name, kind: Kind::Integer, part: Part::Value }
            if column.subject.class == Class::Int && aql::name::is_safe(name) =>
        {
            Some(name)
        }
        _ => None,
    }
}

fn finds_empty(asker: &mut Asker, samples: &[Sample], list: bool) -> Seen {
    let (sample, column) = columns(samples).find(|(_, column)| {
        integer(column).is_some()
            && !column.subject.multi
            && column.values.contains(&Literal::Null)
            && column.values.iter().any(|v| matches!(v, Literal::Int(_)))
    })?;
    let name = integer(column)?;
    let value = column.values.iter().find_map(|v| if let Literal::Int(n) = v { Some(*n) } else { None })?;
    let aql = match list {
        false => format!("\"{name}\" != {value}"),
        true => format!("\"{name}\" not in ({value})"),
    };
    let Some(answer) = asker.one(sample, &aql) else {
        return Some((false, aql, Verdict::Refused.as_str(), "not understood".into()));
    };
    let wanted: Vec<bool> =
        column.values.iter().map(|v| *v != Literal::Null && *v != Literal::Int(value)).collect();
    let verdict = judge(&wanted, &sample.marked(&answer));
    let finds = verdict == Verdict::Superset;
    let detail =
        if finds { "objects without a value are found" } else { "objects without a value are not found" };
    Some((finds, aql, verdict.as_str(), detail.to_owned()))
}

/// `!=` on an attribute with several values: whether all have to differ, or one.
fn looks_at_all(asker: &mut Asker, samples: &[Sample]) -> Seen {
    let several = |column: &&Sampled| {
        column.values.iter().find_map(|v| match v {
            Literal::List(items) if items.len() > 1 && items[0] != items[1] => Some(items[0].clone()),
            _ => None,
        })
    };
    let (sample, column) =
        columns(samples).find(|(_, column)| integer(column).is_some() && several(column).is_some())?;
    let name = integer(column)?;
    let Literal::Int(value) = several(&column)? else { return None };
    let aql = format!("\"{name}\" != {value}");
    let Some(answer) = asker.one(sample, &aql) else {
        return Some((false, aql, Verdict::Refused.as_str(), "not understood".into()));
    };
    let marked = sample.marked(&answer);
    let mixed = |v: &Literal| match v {
        Literal::List(items) => {
            items.contains(&Literal::Int(value)) && items.iter().any(|i| *i != Literal::Int(value))
        }
        _ => false,
    };
    let found = column.values.iter().zip(marked).any(|(v, found)| found && mixed(v));
    let detail = if found { "one value that differs is enough" } else { "all values have to differ" };
    let verdict = if found { Verdict::Superset } else { Verdict::Exact };
    Some((!found, aql, verdict.as_str(), detail.to_owned()))
}

fn strict_ids(asker: &mut Asker, samples: &[Sample]) -> Seen {
    let sample = samples.iter().find(|sample| sample.ids.len() > 2)?;
    let mut ids = sample.ids.clone();
    ids.sort_unstable();
    let middle = ids[ids.len() / 2];
    let conditions = [format!("objectId > {middle}"), format!("objectId < {middle}")];
    let answers = asker.ask(sample, &conditions);
    let wanted = [
        sample.ids.iter().map(|id| *id > middle).collect::<Vec<_>>(),
        sample.ids.iter().map(|id| *id < middle).collect(),
    ];
    let verdicts = answers.iter().zip(&wanted).map(|(answer, wanted)| match answer {
        Some(found) => judge(wanted, &sample.marked(found)),
        None => Verdict::Refused,
    });
    let worst = verdicts.max()?;
    let detail = "strictly below and above the middle id of the sample".to_owned();
    Some((worst == Verdict::Exact, conditions[0].clone(), worst.as_str(), detail))
}

/// How far from UTC a literal in UTC is read: the latest literal that an object's `Updated` is not
/// before, by halving.
fn zone(asker: &mut Asker, samples: &[Sample]) -> Seen {
    let (sample, column) = columns(samples)
        .find(|(_, c)| c.subject.column == Column::Updated && c.subject.class == Class::Timestamp)?;
    let (n, us) = column
        .values
        .iter()
        .enumerate()
        .find_map(|(n, v)| if let Literal::Timestamp(us) = v { Some((n, *us)) } else { None })?;
    let id = sample.ids[n];
    let asked = |quarters: i64| {
        let text = date::instant_text(us + quarters * QUARTER_US)?;
        Some(format!("objectId = {id} AND Updated >= \"{text}\""))
    };
    let (mut low, mut high) = (-QUARTERS, QUARTERS);
    let mut found =
        |quarters: i64| -> Option<bool> { asker.one(sample, &asked(quarters)?).map(|ids| ids.contains(&id)) };
    if !found(low)? || found(high)? {
        let detail = "the comparison cannot be explained by a zone".to_owned();
        return Some((false, asked(0)?, Verdict::Wrong.as_str(), detail));
    }
    while high - low > 1 {
        let middle = (low + high).div_euclid(2);
        if found(middle)? { low = middle } else { high = middle }
    }
    let minutes = low * 15;
    let detail = match minutes {
        0 => "an offset in a literal counts".to_owned(),
        m => format!("literals are read {} minutes {} of UTC", m.abs(), if m < 0 { "west" } else { "east" }),
    };
    let verdict = if minutes == 0 { Verdict::Exact } else { Verdict::Wrong };
    Some((minutes == 0, asked(0)?, verdict.as_str(), detail))
}
