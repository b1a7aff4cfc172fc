//! The rules' forms filled with values: a comparison as AQL, or nothing where the form has no safe
//! words for the value.

mod cut;
mod text;
mod types;

use crate::date;
use crate::expr::{Cmp, Expr, Path, Value};
use crate::letters::{self, Case};
use crate::like;
use crate::pred::{Class, Column, Kind, Leaf, Literal, Op, Operand, Part};
use crate::range::{Bounds, one_by_one, range};
use crate::rules::Form;

use cut::{may_end_with_blanks, of_cut_text};
use text::{
    all_in_capitals, all_plain, any_contains, any_same, case_of, contains_text, list_of, pattern_text,
    plain_start, prefix_text, text_equal, text_folded, to_the_letter,
};
pub(crate) use text::{is_one_text, same};
pub(crate) use types::asked_types;
use types::type_names;

/// Most values of a list that are compared one by one.
pub(crate) const ONE_BY_ONE: usize = 20;

/// Longest `not in`: it cannot be cut into several queries.
const NEGATED_LIST: usize = 200;

/// The condition in a given form; none where the form has no safe words for the value.
pub fn build(leaf: &Leaf, form: Form) -> Option<Expr> {
    if form == Form::TypeNames {
        return type_names(leaf);
    }
    let path = match (path(&leaf.subject.column), leaf.op) {
        // Whether there is a reference is the attribute's to say: a dotted path walks into the other object,
        // which may be hidden or gone.
        (Path::KeyOf(name), Op::IsNull | Op::IsNotNull) => Path::Attribute(name),
        (path, _) => path,
    };
    let aql = match &leaf.operand {
        Operand::Param(n) => return Some(with_param(form, leaf.op, path, *n)),
        Operand::None => with_value(form, leaf.op, path, &Literal::Null),
        Operand::Value(value) => match leaf.subject.class {
            Class::Varchar(length) if may_end_with_blanks(&leaf.subject.column) => {
                of_cut_text(form, leaf, path, value, length as usize)
            }
            _ => with_value(form, leaf.op, path, value),
        },
    };
    aql.filter(|aql| knows_parts(&leaf.subject.column) || !aql.asks_for_part())
}

/// Whether `like`, `startswith` and `endswith` find what SQL finds. They are documented of texts only; on a status
/// `like` finds nothing, whatever its name (assets-api.md 4.3, 13).
fn knows_parts(column: &Column) -> bool {
    matches!(column, Column::Attribute { kind: Kind::Text | Kind::Rich, part: Part::Value, .. })
}

fn path(column: &Column) -> Path {
    match column {
        Column::Id => Path::Keyword("objectId"),
        Column::Key => Path::Keyword("Key"),
        Column::Created => Path::Keyword("Created"),
        Column::Updated => Path::Keyword("Updated"),
        Column::ObjectType { .. } => Path::Keyword("objectType"),
        Column::Attribute { name, part: Part::Key, .. } => Path::KeyOf(name.clone()),
        Column::Attribute { name, .. } => Path::Attribute(name.clone()),
    }
}

/// The text for EXPLAIN while the value is not known yet.
fn with_param(form: Form, op: Op, path: Path, n: usize) -> Expr {
    let cmp = match form {
        Form::OneOf | Form::KeyOneOf | Form::SameOneOf | Form::PlainOneOf => return Expr::InParam(path, n),
        Form::DoubleRange | Form::DayRange | Form::InstantRange | Form::Days | Form::Instants
            if op == Op::In =>
        {
            return Expr::InParam(path, n);
        }
        Form::NoId => return Expr::NotInParam(path, n),
        Form::Differs | Form::NoneOf => {
            let there = Expr::IsNotEmpty(path.clone());
            let differs = match op {
                Op::NotIn => Expr::NotInParam(path, n),
                _ => Expr::Compare(path, Cmp::Ne, Value::Param(n)),
            };
            return Expr::And(vec![differs, there]);
        }
        Form::NotSame => {
            let same = match op {
                Op::NotIn => Expr::InParam(path.clone(), n),
                _ => Expr::Compare(path.clone(), Cmp::Same, Value::Param(n)),
            };
            return Expr::And(vec![Expr::Not(Box::new(same)), Expr::IsNotEmpty(path)]);
        }
        Form::Same => Cmp::Same,
        Form::Pattern | Form::Contains => Cmp::Like,
        Form::Prefix | Form::PlainStart => Cmp::StartsWith,
        _ => comparison(op),
    };
    Expr::Compare(path, cmp, Value::Param(n))
}

/// Strict comparisons are asked as `>=` and `<=` everywhere but on plain numbers: the strict
/// ones are unproven on ids, and the ranges are widened anyway.
fn comparison(op: Op) -> Cmp {
    match op {
        Op::Ne => Cmp::Ne,
        Op::Lt => Cmp::Lt,
        Op::Le => Cmp::Le,
        Op::Gt => Cmp::Gt,
        Op::Ge => Cmp::Ge,
        _ => Cmp::Eq,
    }
}

fn with_value(form: Form, op: Op, path: Path, value: &Literal) -> Option<Expr> {
    let text = || match value {
        Literal::Text(text) => Some(text.as_str()),
        _ => None,
    };
    match form {
        Form::Empty => Some(Expr::IsEmpty(path)),
        Form::NotEmpty => Some(Expr::IsNotEmpty(path)),
        Form::EmptyOrBlank => Some(Expr::Or(vec![
            Expr::IsEmpty(path.clone()),
            Expr::Compare(path, Cmp::Eq, Value::Text(String::new())),
        ])),
        Form::Plain => plain(op, path, value),
        Form::TextEqual => text_equal(path, value),
        Form::TextFolded => text_folded(path, text()?),
        Form::KeyFolded => {
            // As all keys are written; letters beyond ASCII are in none.
            let text = text()?;
            text.is_ascii().then(|| text_equal(path, &Literal::Text(text.to_ascii_uppercase())))?
        }
        Form::PlainEqual => all_plain(value).then(|| text_equal(path, value))?,
        Form::PlainOneOf => all_plain(value).then(|| list_of(path, value))?,
        Form::PlainFolded => {
            let text = text()?;
            letters::is_plain(text).then(|| text_folded(path, text))?
        }
        Form::PlainStart => plain_start(op, path, value),
        Form::OneOf => list_of(path, value),
        Form::Differs => {
            let differs = Expr::Compare(path.clone(), Cmp::Ne, number(value)?);
            Some(Expr::And(vec![differs, Expr::IsNotEmpty(path)]))
        }
        Form::NoneOf => {
            let none = none_of(path.clone(), value)?;
            Some(Expr::And(vec![none, Expr::IsNotEmpty(path)]))
        }
        Form::NoId => none_of(path, value),
        Form::KeyEqual => all_in_capitals(value).then(|| text_equal(path, value))?,
        Form::KeyOneOf => all_in_capitals(value).then(|| list_of(path, value))?,
        Form::Same => Some(Expr::Compare(path, Cmp::Same, to_the_letter(value)?)),
        Form::SameOneOf => any_same(path, value),
        Form::NotSame => {
            // Under NOT, a wildcard would lose objects instead of finding too many.
            if any_contains(value, '_') {
                return None;
            }
            let same = any_same(path.clone(), value)?;
            Some(Expr::And(vec![Expr::Not(Box::new(same)), Expr::IsNotEmpty(path)]))
        }
        // Built from the names, by `type_names`.
        Form::TypeNames => None,
        Form::AllOf => {
            let Literal::List(list) = value else { return None };
            let parts: Option<Vec<Expr>> = list.iter().map(|v| text_equal(path.clone(), v)).collect();
            and(parts?)
        }
        Form::Pattern => pattern_text(path, &like::parse(text()?)?, case_of(op)),
        Form::Prefix => prefix_text(path, text()?, Case::Kept),
        Form::Contains => contains_text(path, text()?, Case::Kept),
        Form::DoubleRange => range(op, path, value, |v, side| {
            let Literal::Double(x) = v else { return None };
            double_bound(*x, side).map(Value::Double)
        }),
        Form::DayRange => range(op, path, value, |v, side| {
            let (day, widen) = match v {
                Literal::Date(day) => (i64::from(*day), date::WIDEN_DAYS),
                // What is no midnight lies between a day and the next: on the safe side of both.
                Literal::Timestamp(us) => (date::day_of(*us), date::WIDEN_DAYS),
                Literal::Zoned(us) => (date::day_of(*us), date::WIDEN_DAYS + date::WIDEN_ZONE_DAYS),
                _ => return None,
            };
            date::day_text(day + i64::from(widen) * side).map(Value::Text)
        }),
        Form::InstantRange => range(op, path, value, |v, side| {
            let (us, widen) = match v {
                Literal::Timestamp(us) => (*us, date::WIDEN_INSTANT_US),
                Literal::Zoned(us) => (*us, date::WIDEN_INSTANT_US + date::WIDEN_ZONE_US),
                _ => return None,
            };
            date::instant_text(us.checked_add(widen * side)?).map(Value::Text)
        }),
        Form::Days => one_by_one(op, path, value, |v| {
            let (floor, ceil) = match v {
                Literal::Date(day) => (i64::from(*day), i64::from(*day)),
                Literal::Timestamp(us) => (date::day_of(*us), date::day_of(us.checked_sub(1)?) + 1),
                _ => return None,
            };
            Some(Bounds { below: ceil - 1, up_to: floor, from: ceil, above: floor + 1 })
        })
        .and_then(|points| points.written(|day| date::day_text(day).map(Value::Text))),
        Form::Instants => one_by_one(op, path, value, |v| {
            // What the session's zone has a say in is only ever widened.
            let Literal::Timestamp(us) = v else { return None };
            let (floor, ceil) =
                (us.div_euclid(1000), us.div_euclid(1000) + i64::from(us.rem_euclid(1000) != 0));
            Some(Bounds { below: ceil - 1, up_to: floor, from: ceil, above: floor + 1 })
        })
        .and_then(|points| points.written(|ms| date::instant_text(ms.checked_mul(1000)?).map(Value::Text))),
    }
}

fn plain(op: Op, path: Path, value: &Literal) -> Option<Expr> {
    // Only `=`, `>=` and `<=` are proven on ids (assets-api.md 13).
    if let (Path::Keyword(_), Literal::Int(n)) = (&path, value) {
        let (op, n) = match op {
            Op::Lt => (Op::Le, n.checked_sub(1)?),
            Op::Gt => (Op::Ge, n.checked_add(1)?),
            op => (op, *n),
        };
        return Some(Expr::Compare(path, comparison(op), Value::Int(n)));
    }
    match (op, value) {
        (_, Literal::Int(n)) => Some(Expr::Compare(path, comparison(op), Value::Int(*n))),
        (Op::Ne, Literal::Bool(b)) => Some(Expr::Compare(path, Cmp::Eq, Value::Bool(!b))),
        (_, Literal::Bool(b)) => Some(Expr::Compare(path, Cmp::Eq, Value::Bool(*b))),
        _ => None,
    }
}

/// A number as it is written; none for those that plain decimal notation cannot hold.
fn number(value: &Literal) -> Option<Value> {
    match value {
        Literal::Int(n) => Some(Value::Int(*n)),
        Literal::Double(x) => {
            double_bound(*x, 0)?;
            Some(Value::Double(x + 0.0))
        }
        _ => None,
    }
}

/// `not in`, of one value or a list of whole numbers.
fn none_of(path: Path, value: &Literal) -> Option<Expr> {
    let values = match value {
        Literal::Int(n) => vec![Value::Int(*n)],
        Literal::List(list) if !list.is_empty() && list.len() <= NEGATED_LIST => list
            .iter()
            .map(|item| match item {
                Literal::Int(n) => Some(Value::Int(*n)),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()?,
        _ => return None,
    };
    Some(Expr::NotIn(path, values))
}

pub(crate) fn and(mut parts: Vec<Expr>) -> Option<Expr> {
    match parts.len() {
        0 => None,
        1 => parts.pop(),
        _ => Some(Expr::And(parts)),
    }
}

/// One step outwards, so that another spelling of the same double is not lost. Numbers that plain
/// decimal notation cannot hold in a few digits stay at home, as do NaN and the infinities.
fn double_bound(x: f64, side: i64) -> Option<f64> {
    if !x.is_finite() || (x != 0.0 && !(1e-6..1e15).contains(&x.abs())) {
        return None;
    }
    if side == 0 {
        return Some(x);
    }
    let moved = if side < 0 { x.next_down() } else { x.next_up() };
    // Around zero the next double has hundreds of digits: any small number serves as a bound.
    Some(if x == 0.0 { 1e-6 * side as f64 } else { moved })
}
