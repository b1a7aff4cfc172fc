//! SQL's side of a comparison, worked out here: what a probe's answer is judged by, and how object
//! types are picked by name.

use std::cmp::Ordering;

use crate::date;
use crate::pred::{Literal, Op};

/// Whether `value op operand` is true in SQL; null is not true. An array column's value is a list.
/// The operand of a NULL test is not looked at.
pub fn holds(op: Op, value: &Literal, operand: &Literal) -> bool {
    match op {
        Op::IsNull => return *value == Literal::Null,
        Op::IsNotNull => return *value != Literal::Null,
        Op::Same => return same(value, operand),
        Op::Distinct => return !same(value, operand),
        _ => {}
    }
    if *value == Literal::Null || *operand == Literal::Null {
        return false;
    }
    let ordered = |wanted: &[Ordering]| order(value, operand).is_some_and(|o| wanted.contains(&o));
    match op {
        Op::Eq => ordered(&[Ordering::Equal]),
        Op::Ne => ordered(&[Ordering::Less, Ordering::Greater]),
        Op::Lt => ordered(&[Ordering::Less]),
        Op::Le => ordered(&[Ordering::Less, Ordering::Equal]),
        Op::Gt => ordered(&[Ordering::Greater]),
        Op::Ge => ordered(&[Ordering::Greater, Ordering::Equal]),
        Op::In => items(operand).iter().any(|item| equal(value, item)),
        Op::NotIn => items(operand).iter().all(|item| *item != Literal::Null && !equal(value, item)),
        Op::ArrayHas => items(value).iter().any(|item| equal(item, operand)),
        Op::ArrayOverlaps => items(operand).iter().any(|v| items(value).iter().any(|item| equal(item, v))),
        Op::ArrayContains => items(operand).iter().all(|v| items(value).iter().any(|item| equal(item, v))),
        Op::Like | Op::NotLike => like(value, operand, false) == Some(op == Op::Like),
        Op::ILike | Op::NotILike => like(value, operand, true) == Some(op == Op::ILike),
        Op::Prefix => texts(value, operand).is_some_and(|(a, b)| a.starts_with(b)),
        Op::Contains => texts(value, operand).is_some_and(|(a, b)| a.contains(b)),
        Op::EqFolded => texts(value, operand).is_some_and(|(a, b)| a.to_lowercase() == b),
        Op::NeFolded => texts(value, operand).is_some_and(|(a, b)| a.to_lowercase() != b),
        // What it negates is not known here.
        Op::NotPart | Op::ArrayNot => false,
        Op::IsNull | Op::IsNotNull | Op::Same | Op::Distinct => false,
    }
}

fn same(a: &Literal, b: &Literal) -> bool {
    (*a == Literal::Null && *b == Literal::Null) || equal(a, b)
}

fn equal(a: &Literal, b: &Literal) -> bool {
    order(a, b) == Some(Ordering::Equal)
}

fn items(list: &Literal) -> &[Literal] {
    match list {
        Literal::List(items) => items,
        one => std::slice::from_ref(one),
    }
}

/// Text in the order of its bytes: probes never ask for the order of text.
fn order(a: &Literal, b: &Literal) -> Option<Ordering> {
    match (a, b) {
        (Literal::Text(a), Literal::Text(b)) => Some(a.cmp(b)),
        (Literal::Int(a), Literal::Int(b)) => Some(a.cmp(b)),
        (Literal::Double(a), Literal::Double(b)) => a.partial_cmp(b),
        (Literal::Bool(a), Literal::Bool(b)) => Some(a.cmp(b)),
        (Literal::Date(a), Literal::Date(b)) => Some(a.cmp(b)),
        (Literal::Timestamp(a), Literal::Timestamp(b) | Literal::Zoned(b)) => Some(a.cmp(b)),
        (Literal::Date(a), Literal::Timestamp(b) | Literal::Zoned(b)) => Some(date::day_start(*a).cmp(b)),
        // Of what lies between two whole numbers, the first is below and the second above.
        (Literal::Int(a), Literal::Between(b)) => Some(a.cmp(b).then(Ordering::Less)),
        _ => None,
    }
}

fn texts<'a>(value: &'a Literal, operand: &'a Literal) -> Option<(&'a str, &'a str)> {
    match (value, operand) {
        (Literal::Text(a), Literal::Text(b)) => Some((a, b)),
        _ => None,
    }
}

fn like(value: &Literal, pattern: &Literal, fold: bool) -> Option<bool> {
    let (text, pattern) = texts(value, pattern)?;
    let letters =
        |s: &str| -> Vec<char> { if fold { s.to_lowercase() } else { s.to_owned() }.chars().collect() };
    Some(matches(&letters(text), &letters(pattern)))
}

/// SQL's LIKE: `%` any run, `_` one character, `\` takes the next one to the letter.
fn matches(text: &[char], pattern: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['%', rest @ ..] => (0..=text.len()).any(|skip| matches(&text[skip..], rest)),
        ['_', rest @ ..] => !text.is_empty() && matches(&text[1..], rest),
        ['\\', c, rest @ ..] | [c, rest @ ..] => text.first() == Some(c) && matches(&text[1..], rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> Literal {
        Literal::Text(s.into())
    }

    #[test]
    fn null_is_never_true_but_is_the_same_as_null() {
        assert!(!holds(Op::Ne, &Literal::Null, &Literal::Int(1)));
        assert!(!holds(Op::NotIn, &Literal::Int(2), &Literal::List(vec![Literal::Int(1), Literal::Null])));
        assert!(holds(Op::Same, &Literal::Null, &Literal::Null));
        assert!(holds(Op::Distinct, &Literal::Null, &Literal::Int(1)));
    }

    #[test]
    fn like_knows_wildcards_escapes_and_case() {
        let like = |op, a: &str, b: &str| holds(op, &text(a), &text(b));
        assert!(like(Op::Like, "web-01", "w%-_1"));
        assert!(!like(Op::Like, "WEB", "w%"));
        assert!(like(Op::ILike, "WEB", "w%"));
        assert!(like(Op::Like, "100%", "100\\%"));
        assert!(!like(Op::Like, "1000", "100\\%"));
        assert!(holds(Op::NotLike, &text("a"), &text("b%")));
    }

    #[test]
    fn arrays_are_looked_through() {
        let tags = Literal::List(vec![text("a"), text("b")]);
        assert!(holds(Op::ArrayHas, &tags, &text("b")));
        assert!(!holds(Op::ArrayHas, &tags, &text("B")));
        assert!(holds(Op::ArrayOverlaps, &tags, &Literal::List(vec![text("z"), text("a")])));
        assert!(!holds(Op::ArrayContains, &tags, &Literal::List(vec![text("z"), text("a")])));
    }
}
