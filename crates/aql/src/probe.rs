//! What to ask a service to learn which rules hold there: for every row of the rule table, the row's
//! AQL over values that real objects have, and which of those objects SQL would pick.

use crate::date;
use crate::eval;
use crate::expr::{Expr, Value};
use crate::facts::{self, PER_ATTRIBUTE};
use crate::form::{build, same};
use crate::like;
use crate::lower::Fidelity;
use crate::name;
use crate::pred::{Column, Leaf, Literal, Op, Operand, Subject};
use crate::rules::{Form, RULES, Rule, Sight};

/// One question to the service.
#[derive(Debug, Clone)]
pub struct Probe {
    /// The row that is tried.
    pub rule: &'static Rule,
    /// The fact that the row's proven form rests on; none: the row as it is without proof.
    pub fact: Option<&'static str>,
    /// How faithful the row claims to be.
    pub claims: Fidelity,
    /// What to ask.
    pub aql: Expr,
    /// Which of the sampled objects SQL picks, in their order.
    pub wanted: Vec<bool>,
}

/// What an answer shows, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Exactly the wanted objects.
    Exact,
    /// All of them, and others.
    Superset,
    /// Some are missing.
    Wrong,
    /// The service refuses the query.
    Refused,
}

impl Verdict {
    /// The word for it (interface.md 3).
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Exact => "exact",
            Verdict::Superset => "superset",
            Verdict::Wrong => "wrong",
            Verdict::Refused => "refused",
        }
    }

    /// Whether a row that claims so much keeps its promise.
    pub fn keeps(self, claims: Fidelity) -> bool {
        match claims {
            Fidelity::Exact => self == Verdict::Exact,
            Fidelity::Inexact => self <= Verdict::Superset,
        }
    }
}

/// Compares what was found with what was wanted, object by object.
pub fn judge(wanted: &[bool], found: &[bool]) -> Verdict {
    let pairs = || wanted.iter().zip(found);
    if pairs().any(|(wanted, found)| *wanted && !found) {
        Verdict::Wrong
    } else if pairs().any(|(wanted, found)| !wanted && *found) {
        Verdict::Superset
    } else {
        Verdict::Exact
    }
}

/// The questions about one column. `values` are the column's values on the sampled objects: NULL
/// where there is none, a list where the attribute holds several.
pub fn probes(subject: &Subject, values: &[Literal]) -> Vec<Probe> {
    let mut found = Vec::new();
    // What is never asked has nothing to prove.
    if let Column::Attribute { name, .. } = &subject.column
        && !name::is_safe(name)
    {
        return found;
    }
    for rule in RULES {
        for op in rule.ops {
            let first = RULES.iter().find(|r| r.covers(subject, *op));
            if first.is_none_or(|first| first.name != rule.name) {
                continue;
            }
            let seen = rule.sight == Sight::Own || subject.stored.target_is_seen;
            for operand in operands(*op, values) {
                let leaf = Leaf { subject: subject.clone(), op: *op, operand };
                match rule.sight {
                    // Whether what is not seen is found all the same.
                    Sight::Walks if !seen => {
                        try_out(
                            &mut found,
                            rule,
                            Some(facts::UNSEEN),
                            Fidelity::Inexact,
                            rule.form,
                            &leaf,
                            values,
                        );
                        continue;
                    }
                    Sight::Whole if !seen => continue,
                    _ => {}
                }
                if let Some(claims) = rule.fidelity {
                    try_out(&mut found, rule, None, claims, rule.form, &leaf, values);
                }
                if let Some(proof) = rule.proof.filter(|proof| proof.fact != facts::RICH_TEXT) {
                    if [facts::SAME, facts::STATUS_SAME, facts::NOT_SAME].contains(&proof.fact) {
                        if !has_case(&leaf.operand) {
                            continue;
                        }
                        lookalikes(&mut found, rule, proof.fact, &leaf, values);
                    }
                    let fact = Some(proof.fact);
                    try_out(&mut found, rule, fact, proof.fidelity, proof.form, &leaf, values);
                }
            }
            if let Some(proof) = rule.proof.filter(|proof| proof.fact == facts::RICH_TEXT) {
                for operand in marked_up(*op, values, subject.multi) {
                    let leaf = Leaf { subject: subject.clone(), op: *op, operand };
                    let fact = Some(proof.fact);
                    try_out(&mut found, rule, fact, proof.fidelity, proof.form, &leaf, values);
                }
            }
        }
    }
    found
}

/// Adds the question that a row asks in one of its forms.
fn try_out(
    found: &mut Vec<Probe>,
    rule: &'static Rule,
    fact: Option<&'static str>,
    claims: Fidelity,
    form: Form,
    leaf: &Leaf,
    values: &[Literal],
) {
    if fact.is_some_and(|fact| PER_ATTRIBUTE.contains(&fact)) && leaf.subject.stored.attribute.is_none() {
        return;
    }
    let Some(aql) = build(leaf, form) else { return };
    let value = match &leaf.operand {
        Operand::Value(value) => value,
        _ => &Literal::Null,
    };
    let wanted: Vec<bool> = values.iter().map(|v| eval::holds(leaf.op, v, value)).collect();
    let elsewhere = (form == Form::Instants).then(|| in_another_zone(aql.clone()));
    found.push(Probe { rule, fact, claims, aql, wanted: wanted.clone() });
    if let Some(aql) = elsewhere {
        found.push(Probe { rule, fact, claims, aql, wanted });
    }
}

/// Texts that some way of comparing takes for the value: by letters that are folded together beyond ASCII, without
/// accents, by their width, without what is not seen. To the letter, nobody has them.
fn lookalikes(
    found: &mut Vec<Probe>,
    rule: &'static Rule,
    fact: &'static str,
    leaf: &Leaf,
    values: &[Literal],
) {
    let (Op::Eq | Op::Ne, Operand::Value(Literal::Text(text))) = (leaf.op, &leaf.operand) else { return };
    // Of a value that is there.
    if !values.contains(&Literal::Text(text.clone())) {
        return;
    }
    let replaced = |from: &str, to: &str| -> String {
        let to: Vec<char> = to.chars().collect();
        text.chars().map(|c| from.find(c).map_or(c, |n| to[n])).collect()
    };
    let wide = |c: char| char::from_u32(c as u32 + 0xfee0).filter(|_| c.is_ascii_alphanumeric()).unwrap_or(c);
    let mut joined: String = text.chars().take(1).chain(['\u{200d}']).collect();
    joined.extend(text.chars().skip(1));
    let all = [
        replaced("aceinouyACEINOUY", "áçéíñóúýÁÇÉÍÑÓÚÝ"),
        replaced("skK", "ſ\u{212a}\u{212a}"),
        replaced("iI", "ıİ"),
        text.chars().map(wide).collect(),
        joined,
    ];
    for other in all.into_iter().filter(|other| other != text) {
        let same = same(&leaf.subject.column, &other);
        let (aql, claims, wanted) = if leaf.op == Op::Eq {
            (same, Fidelity::Exact, vec![false; values.len()])
        } else {
            let there = values.iter().map(|v| *v != Literal::Null).collect();
            (Expr::Not(Box::new(same)), Fidelity::Inexact, there)
        };
        found.push(Probe { rule, fact: Some(fact), claims, aql, wanted });
    }
}

/// Whether a text, or every one of a list, has letters of another case.
fn has_case(operand: &Operand) -> bool {
    let of = |value: &Literal| matches!(value, Literal::Text(text) if swapped(text) != *text);
    match operand {
        Operand::Value(Literal::List(list)) => list.iter().all(of),
        Operand::Value(value) => of(value),
        _ => true,
    }
}

/// Right-hand sides that only text with its markup has; none where no sampled value can show it.
fn marked_up(op: Op, values: &[Literal], multi: bool) -> Vec<Operand> {
    let texts = || {
        values.iter().flat_map(|v| match v {
            Literal::List(items) => items.as_slice(),
            one => std::slice::from_ref(one),
        })
    };
    let tag_of = |value: &Literal| {
        let Literal::Text(text) = value else { return None };
        let begin = text.find('<')?;
        let length = text[begin..].find('>')? + 1;
        let tag = &text[begin..begin + length];
        (length < 100 && tells(&Literal::Text(format!("ab{tag}")))).then(|| tag.to_owned())
    };
    let whole = texts().find(|v| tag_of(v).is_some() && tells(v));
    let tag = texts().find_map(tag_of);
    let Some(tag) = tag.filter(|_| !multi || whole.is_some()) else { return Vec::new() };
    let value = match (op, whole) {
        (Op::IsNotNull, _) => return vec![Operand::None],
        (Op::Contains, _) => Literal::Text(tag),
        (Op::Like | Op::ILike, _) => Literal::Text(format!("%{}%", escaped(&tag))),
        (_, None) => return Vec::new(),
        (Op::In | Op::ArrayOverlaps, Some(whole)) => Literal::List(vec![whole.clone()]),
        (Op::EqFolded, Some(Literal::Text(text))) => Literal::Text(text.to_lowercase()),
        (Op::Prefix, Some(Literal::Text(text))) => Literal::Text(start(text)),
        (_, Some(whole)) => whole.clone(),
    };
    vec![Operand::Value(value)]
}

/// The same instants with another offset: a service that skips offsets, and whose zone happens to be
/// UTC at that time of the year, would look exact.
fn in_another_zone(expr: Expr) -> Expr {
    match expr {
        Expr::And(list) => Expr::And(list.into_iter().map(in_another_zone).collect()),
        Expr::Or(list) => Expr::Or(list.into_iter().map(in_another_zone).collect()),
        Expr::Compare(path, cmp, Value::Text(text)) => {
            let moved = date::in_another_zone(&text).unwrap_or(text);
            Expr::Compare(path, cmp, Value::Text(moved))
        }
        other => other,
    }
}

/// Right-hand sides that tell: values that are there, and their like that are not.
fn operands(op: Op, values: &[Literal]) -> Vec<Operand> {
    if matches!(op, Op::IsNull | Op::IsNotNull) {
        return vec![Operand::None];
    }
    let flat: Vec<&Literal> = values
        .iter()
        .flat_map(|v| match v {
            Literal::List(items) => items.as_slice(),
            one => std::slice::from_ref(one),
        })
        .filter(|v| tells(v))
        .collect();
    // From the middle: something on either side of it.
    let mut sorted = flat;
    sorted.sort_by(|a, b| {
        if eval::holds(Op::Lt, a, b) {
            std::cmp::Ordering::Less
        } else if eval::holds(Op::Gt, a, b) {
            std::cmp::Ordering::Greater
        } else {
            std::cmp::Ordering::Equal
        }
    });
    sorted.dedup();
    let Some(middle) = sorted.get(sorted.len() / 2).copied() else { return Vec::new() };
    let other = sorted.iter().find(|v| **v != middle).copied();
    let pair = || Literal::List([Some(middle), other].into_iter().flatten().cloned().collect());
    let found = match (op, middle) {
        (Op::In | Op::NotIn | Op::ArrayOverlaps, _) => vec![pair()],
        (Op::ArrayContains, _) => vec![Literal::List(vec![middle.clone()])],
        (Op::Like, Literal::Text(text)) => {
            vec![
                Literal::Text(format!("{}%", escaped(&start(text)))),
                Literal::Text(format!("%{}%", escaped(&inside(text)))),
            ]
        }
        (Op::ILike, Literal::Text(text)) => {
            vec![Literal::Text(format!("%{}", escaped(&swapped(&end(text)))))]
        }
        (Op::Prefix, Literal::Text(text)) => vec![Literal::Text(start(text))],
        (Op::Contains, Literal::Text(text)) => vec![Literal::Text(inside(text))],
        (Op::EqFolded, Literal::Text(text)) => vec![Literal::Text(text.to_lowercase())],
        (Op::Eq | Op::Ne | Op::ArrayHas, Literal::Text(text)) => {
            vec![middle.clone(), Literal::Text(swapped(text)), Literal::Text(start(text))]
        }
        (_, Literal::Bool(b)) => vec![Literal::Bool(*b), Literal::Bool(!b)],
        // One at each end too: the seasons differ in zones.
        (Op::Le | Op::Ge, _) if sorted.len() > 2 => {
            vec![sorted[0].clone(), middle.clone(), sorted[sorted.len() - 1].clone()]
        }
        _ => vec![middle.clone()],
    };
    found.into_iter().map(Operand::Value).collect()
}

/// Whether a value is of use: text that every form sends, with letters to change the case of.
fn tells(value: &Literal) -> bool {
    match value {
        Literal::Null => false,
        Literal::Text(text) => {
            let sent = name::is_sendable(text) && !name::may_be_computed(text) && text.trim() == text;
            // Beyond ASCII, what another case is depends on who is asked.
            sent && text.is_ascii()
                && text.chars().filter(|c| c.is_alphanumeric()).count() >= 2
                && !text.contains(['\\', '%', '*', '?'])
        }
        _ => true,
    }
}

fn swapped(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_ascii_uppercase() { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() })
        .collect()
}

fn start(text: &str) -> String {
    text.chars().take((text.len() / 2).max(1)).collect::<String>().trim().to_owned()
}

fn end(text: &str) -> String {
    text.chars().skip(text.len() / 2).collect::<String>().trim().to_owned()
}

fn inside(text: &str) -> String {
    let middle: String = text.chars().skip(1).take((text.len() / 2).max(1)).collect();
    middle.trim().to_owned()
}

fn escaped(text: &str) -> String {
    debug_assert!(like::parse(text).is_some());
    text.replace('_', "\\_")
}
