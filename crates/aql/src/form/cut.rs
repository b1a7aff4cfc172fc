//! Texts of `varchar(n)`, which are shown without the blanks that may be stored behind them.

use super::text::{case_of, list_of, pattern_text, prefix_text, text_equal};
use super::{ONE_BY_ONE, and, with_value};
use crate::expr::{Expr, Path};
use crate::letters::Case;
use crate::like;
use crate::pred::{Column, Leaf, Literal, Op, Part};
use crate::rules::Form;

/// Keys and account ids do not.
pub(super) fn may_end_with_blanks(column: &Column) -> bool {
    matches!(column, Column::Attribute { part, .. } if !matches!(part, Part::Key | Part::AccountId))
}

/// The condition over values that are cut to `length` characters where blanks follow: a value that long is
/// asked for as the beginning of what may be stored, and nothing is told of how that ends.
pub(super) fn of_cut_text(
    form: Form,
    leaf: &Leaf,
    path: Path,
    value: &Literal,
    length: usize,
) -> Option<Expr> {
    let op = leaf.op;
    // In another case a text may have another length.
    let folded = matches!(op, Op::EqFolded | Op::ILike);
    let may_be_cut = |v: &Literal| matches!(v, Literal::Text(t) if t.chars().count() == length || (folded && !t.is_ascii()));
    let one = |path: Path, value: &Literal| match value {
        Literal::Text(text) if may_be_cut(value) => prefix_text(path, text, case_of(op)),
        _ => text_equal(path, value),
    };
    let any = match value {
        Literal::List(list) => list.iter().any(may_be_cut),
        one => may_be_cut(one),
    };
    match (form, value) {
        (Form::Pattern, Literal::Text(pattern)) => {
            let mut pattern = like::parse(pattern)?;
            if pattern.is_plain() {
                let text = Literal::Text(pattern.runs.remove(0));
                return match case_of(op) {
                    Case::Ignored if !may_be_cut(&text) => with_value(Form::TextFolded, op, path, &text),
                    _ => one(path, &text),
                };
            }
            pattern.anchored_end = false;
            pattern_text(path, &pattern, case_of(op))
        }
        _ if !any => with_value(form, op, path, value),
        (Form::TextEqual | Form::TextFolded, _) => one(path, value),
        (Form::AllOf, Literal::List(list)) => {
            and(list.iter().map(|v| one(path.clone(), v)).collect::<Option<Vec<_>>>()?)
        }
        (Form::OneOf, Literal::List(list)) => {
            let known = list.iter().filter(|v| **v != Literal::Null);
            let (cut, rest): (Vec<&Literal>, Vec<&Literal>) = known.partition(|v| may_be_cut(v));
            if cut.len() > ONE_BY_ONE {
                return None;
            }
            let mut parts = cut.iter().map(|v| one(path.clone(), v)).collect::<Option<Vec<_>>>()?;
            if !rest.is_empty() {
                parts.push(list_of(path, &Literal::List(rest.into_iter().cloned().collect()))?);
            }
            Some(if parts.len() == 1 { parts.remove(0) } else { Expr::Or(parts) })
        }
        // To the letter, and without its markup, only the stored text can be compared.
        (Form::Same | Form::SameOneOf | Form::PlainEqual | Form::PlainOneOf | Form::PlainFolded, _) => None,
        _ => with_value(form, op, path, value),
    }
}
