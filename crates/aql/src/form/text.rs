//! Texts: which of their letters can be sent, as what.

use super::path;
use crate::expr::{Cmp, Expr, Path, Value};
use crate::letters::{self, Case};
use crate::like;
use crate::name;
use crate::pred::{Column, Literal, Op};

use super::{ONE_BY_ONE, and};

/// Equality on text. White space at the ends may be trimmed on either side, so such a value is
/// asked for as a substring.
pub(super) fn text_equal(path: Path, value: &Literal) -> Option<Expr> {
    let Literal::Text(text) = value else { return None };
    sendable(text)?;
    if text.trim() != text {
        return match path {
            Path::Attribute(_) => contains_text(path, text, Case::Kept),
            _ => None,
        };
    }
    Some(Expr::Compare(path, Cmp::Eq, Value::Text(text.clone())))
}

/// A text that `==` can only mean to the letter: of the kind that the proof was made with, with
/// nothing at its ends that may be trimmed, nothing that may stand for something else, and no letters
/// that can be written in two ways.
pub(super) fn to_the_letter(value: &Literal) -> Option<Value> {
    let Literal::Text(text) = value else { return None };
    (is_one_text(text) && text.is_ascii()).then(|| Value::Text(text.clone()))
}

/// A text with nothing at its ends that may be trimmed, and nothing that may stand for something else.
pub(crate) fn is_one_text(text: &str) -> bool {
    is_whole(text) && !text.contains(['\\', '*', '?', '%'])
}

/// `==` some text, whatever it is: to find out what else it finds.
pub(crate) fn same(column: &Column, text: &str) -> Expr {
    Expr::Compare(path(column), Cmp::Same, Value::Text(text.to_owned()))
}

pub(super) fn any_contains(value: &Literal, c: char) -> bool {
    match value {
        Literal::Text(text) => text.contains(c),
        Literal::List(list) => list.iter().any(|item| any_contains(item, c)),
        _ => false,
    }
}

/// `==` one of a few texts.
pub(super) fn any_same(path: Path, value: &Literal) -> Option<Expr> {
    let list = match value {
        Literal::List(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    let known: Vec<&Literal> = list.iter().filter(|v| **v != Literal::Null).collect();
    if known.is_empty() || known.len() > ONE_BY_ONE {
        return None;
    }
    let mut parts = known
        .into_iter()
        .map(|v| Some(Expr::Compare(path.clone(), Cmp::Same, to_the_letter(v)?)))
        .collect::<Option<Vec<_>>>()?;
    Some(if parts.len() == 1 { parts.remove(0) } else { Expr::Or(parts) })
}

/// Whether keys are written as all keys are: then ignoring case changes nothing.
pub(super) fn all_in_capitals(value: &Literal) -> bool {
    let capital = |b: u8| b.is_ascii_graphic() && !b.is_ascii_lowercase();
    every_text(value, |key| !key.is_empty() && key.bytes().all(capital))
}

/// Whether something holds of a text, or of each of a list.
fn every_text(value: &Literal, holds: impl Fn(&str) -> bool + Copy) -> bool {
    match value {
        Literal::Text(text) => holds(text),
        Literal::List(list) => list.iter().all(|v| *v == Literal::Null || every_text(v, holds)),
        _ => false,
    }
}

pub(super) fn list_of(path: Path, value: &Literal) -> Option<Expr> {
    let Literal::List(list) = value else { return None };
    let mut values: Vec<Value> = Vec::with_capacity(list.len());
    let mut seen = std::collections::HashSet::new();
    for item in list {
        match item {
            Literal::Null => {}
            Literal::Int(n) => {
                if seen.insert(n.to_string()) {
                    values.push(Value::Int(*n));
                }
            }
            Literal::Text(text) => {
                if !is_whole(text) {
                    return None;
                }
                // Two spellings are two texts: how `in` ignores case beyond ASCII is not known.
                if seen.insert(text.clone()) {
                    values.push(Value::Text(text.clone()));
                }
            }
            _ => return None,
        }
    }
    one_of(path, values)
}

/// `=` of one value, `in` of several; none of none.
pub(super) fn one_of(path: Path, mut values: Vec<Value>) -> Option<Expr> {
    match values.len() {
        0 => None,
        1 => Some(Expr::Compare(path, Cmp::Eq, values.remove(0))),
        _ => Some(Expr::In(path, values)),
    }
}

/// Equality in lower case: `=` where every spelling of the text is one to every service, else by what is certain
/// at its ends.
pub(super) fn text_folded(path: Path, text: &str) -> Option<Expr> {
    if letters::is_wholly_certain(text, Case::Ignored) && text.trim() == text {
        return text_equal(path, &Literal::Text(text.to_owned()));
    }
    if !matches!(path, Path::Attribute(_)) {
        return None;
    }
    let ends =
        [prefix_text(path.clone(), text, Case::Ignored), suffix_text(path.clone(), text, Case::Ignored)];
    let known: Vec<Expr> = ends.into_iter().flatten().filter(|e| !matches!(e, Expr::IsNotEmpty(_))).collect();
    match known.is_empty() {
        true => contains_text(path, text, Case::Ignored),
        false => and(known),
    }
}

pub(super) fn case_of(op: Op) -> Case {
    if matches!(op, Op::ILike | Op::EqFolded) { Case::Ignored } else { Case::Kept }
}

pub(super) fn all_plain(value: &Literal) -> bool {
    every_text(value, letters::is_plain)
}

/// The beginning of rich text, as far as no markup can be in it.
pub(super) fn plain_start(op: Op, path: Path, value: &Literal) -> Option<Expr> {
    let Literal::Text(text) = value else { return None };
    let first = match op {
        Op::Like | Op::ILike => {
            let pattern = like::parse(text)?;
            if !pattern.anchored_start {
                return None;
            }
            pattern.runs.into_iter().next()?
        }
        _ => text.clone(),
    };
    let run = letters::start(letters::plain_start(&first), case_of(op));
    (!run.is_empty()).then(|| prefix_text(path, run, case_of(op)))?
}

/// What the text at hand may be cut down to: something that can be sent as it is.
fn sendable(run: &str) -> Option<&str> {
    (name::is_sendable(run) && !name::may_be_computed(run)).then_some(run)
}

/// Whether a text can be sent as it is, with nothing at its ends that may be trimmed.
pub(super) fn is_whole(text: &str) -> bool {
    sendable(text).is_some() && text.trim() == text
}

pub(super) fn prefix_text(path: Path, text: &str, case: Case) -> Option<Expr> {
    // An empty prefix selects everything that is there.
    if text.is_empty() {
        return Some(Expr::IsNotEmpty(path));
    }
    if text.trim_start() != text {
        return contains_text(path, text, case);
    }
    if !name::is_sendable(text) {
        return None;
    }
    let run = letters::start(text, case);
    if run.is_empty() {
        return Some(Expr::IsNotEmpty(path));
    }
    Some(Expr::Compare(path, Cmp::StartsWith, Value::Text(sendable(run)?.to_owned())))
}

fn suffix_text(path: Path, text: &str, case: Case) -> Option<Expr> {
    if text.trim_end() != text || !name::is_sendable(text) {
        return contains_text(path, text, case);
    }
    let run = letters::end(text, case);
    if run.is_empty() {
        return Some(Expr::IsNotEmpty(path));
    }
    match sendable(run) {
        Some(run) => Some(Expr::Compare(path, Cmp::EndsWith, Value::Text(run.to_owned()))),
        None => contains_text(path, text, case),
    }
}

/// The longest run that is a substring however `like` treats backslashes, white space and letters.
pub(super) fn contains_text(path: Path, text: &str, case: Case) -> Option<Expr> {
    if text.is_empty() {
        return Some(Expr::IsNotEmpty(path));
    }
    let run = text
        .split(|c: char| c == '\\' || c.is_control())
        .flat_map(|part| letters::runs(part, case))
        .map(str::trim)
        .filter_map(sendable)
        .max_by_key(|run| run.len())?;
    Some(Expr::Compare(path, Cmp::Like, Value::Text(run.to_owned())))
}

pub(super) fn pattern_text(path: Path, pattern: &like::Pattern, case: Case) -> Option<Expr> {
    if pattern.is_plain() {
        return match case {
            Case::Kept => text_equal(path, &Literal::Text(pattern.runs[0].clone())),
            Case::Ignored => text_folded(path, &pattern.runs[0]),
        };
    }
    let last = pattern.runs.len().checked_sub(1)?;
    let mut parts: Vec<Expr> = Vec::new();
    for (i, run) in pattern.runs.iter().enumerate() {
        let part = if i == 0 && pattern.anchored_start {
            prefix_text(path.clone(), run, case)
        } else if i == last && pattern.anchored_end {
            suffix_text(path.clone(), run, case)
        } else {
            contains_text(path.clone(), run, case)
        };
        parts.extend(part);
    }
    // What is there at all is said by whatever else is known of it.
    let tells = |part: &Expr| !matches!(part, Expr::IsNotEmpty(_));
    match parts.iter().any(tells) {
        true => parts.retain(tells),
        false => parts.truncate(1),
    }
    and(parts)
}
