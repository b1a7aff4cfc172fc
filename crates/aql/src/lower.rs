//! From a [`Pred`] to an [`Expr`]: the rules' forms filled with values, and the composition of
//! fidelities.

use crate::date;
use crate::eval;
use crate::expr::{Cmp, Expr, Path, Value};
use crate::facts::{self, Facts};
use crate::like;
use crate::name;
use crate::pred::{Column, Leaf, Literal, Op, Operand, Part, Pred};
use crate::rules::{self, Form, Found};

/// How the objects that an AQL condition selects relate to those SQL wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fidelity {
    /// The same.
    Exact,
    /// At least those; the condition is checked again on what comes back.
    Inexact,
}

use Fidelity::{Exact, Inexact};

/// What became of a condition.
#[derive(Debug, Clone, PartialEq)]
pub enum Lowered {
    /// It goes out.
    Pushed(Expr, Fidelity),
    /// No object can satisfy it: nothing needs to be asked.
    Never,
    /// It stays at home, and why.
    Local(String),
}

/// Longest list in one `in (…)`: 50 ids a clause, several clauses a query, are in production use
/// (assets-api.md 13).
const LIST_CLAUSE: usize = 50;

/// Most values of a list that are compared one by one.
const ONE_BY_ONE: usize = 20;

/// Longest `not in`: it cannot be cut into several queries.
const NEGATED_LIST: usize = 200;

/// Lowers a condition by what holds of every service. NOT is moved to the leaves first; AND keeps
/// what it can; OR goes out only if every branch does.
pub fn lower(pred: &Pred) -> Lowered {
    lower_with(pred, &facts::NONE)
}

/// Lowers a condition by what has been proven of the service that will be asked, too.
pub fn lower_with(pred: &Pred, facts: &Facts) -> Lowered {
    lower_normal(&pred.clone().normalized(), facts)
}

/// The facts without which a condition would have been lowered otherwise.
pub fn facts_used(pred: &Pred, facts: &Facts) -> Vec<&'static str> {
    let lowered = lower_with(pred, facts);
    let changes = |rest: &Facts| lower_with(pred, rest) != lowered;
    facts.each_left_out().filter(|(_, rest)| changes(rest)).map(|(name, _)| name).collect()
}

fn lower_normal(pred: &Pred, facts: &Facts) -> Lowered {
    match pred {
        Pred::And(list) => all_of(list.iter().map(|p| lower_normal(p, facts))),
        Pred::Or(list) => one_of(list.iter().map(|p| lower_normal(p, facts))),
        Pred::Not(_) => Lowered::Local("NOT over something AQL has no words for".into()),
        Pred::Leaf(leaf) => lower_leaf(leaf, facts),
        Pred::Local(why) => Lowered::Local(why.clone()),
    }
}

/// AND: what cannot go out only makes the rest inexact.
pub fn all_of(parts: impl Iterator<Item = Lowered>) -> Lowered {
    let mut exprs = Vec::new();
    let mut fidelity = Exact;
    let mut why = None;
    for part in parts {
        match part {
            Lowered::Never => return Lowered::Never,
            Lowered::Pushed(expr, f) => {
                if f == Inexact {
                    fidelity = Inexact;
                }
                exprs.push(expr);
            }
            Lowered::Local(reason) => {
                fidelity = Inexact;
                why.get_or_insert(reason);
            }
        }
    }
    match (exprs.len(), why) {
        (0, why) => Lowered::Local(why.unwrap_or_else(|| "nothing is asked".into())),
        (1, _) => Lowered::Pushed(exprs.remove(0), fidelity),
        _ => Lowered::Pushed(Expr::And(exprs), fidelity),
    }
}

fn one_of(parts: impl Iterator<Item = Lowered>) -> Lowered {
    let mut exprs = Vec::new();
    let mut fidelity = Exact;
    for part in parts {
        match part {
            Lowered::Never => {}
            Lowered::Pushed(expr, f) => {
                if f == Inexact {
                    fidelity = Inexact;
                }
                exprs.push(expr);
            }
            Lowered::Local(why) => return Lowered::Local(why),
        }
    }
    match exprs.len() {
        0 => Lowered::Never,
        1 => Lowered::Pushed(exprs.remove(0), fidelity),
        _ => Lowered::Pushed(Expr::Or(exprs), fidelity),
    }
}

fn lower_leaf(leaf: &Leaf, facts: &Facts) -> Lowered {
    let other = |op, operand| Leaf { subject: leaf.subject.clone(), op, operand };
    match (leaf.op, &leaf.operand) {
        (Op::Same, Operand::Value(Literal::Null)) => {
            return lower_leaf(&other(Op::IsNull, Operand::None), facts);
        }
        (Op::Same, operand) => return lower_leaf(&other(Op::Eq, operand.clone()), facts),
        (Op::Distinct, Operand::Value(Literal::Null)) => {
            return lower_leaf(&other(Op::IsNotNull, Operand::None), facts);
        }
        (Op::Distinct, operand) => {
            let parts = [other(Op::Ne, operand.clone()), other(Op::IsNull, Operand::None)];
            return one_of(parts.iter().map(|part| lower_leaf(part, facts)));
        }
        _ => {}
    }
    // A comparison with NULL is never true, whatever its rule.
    if let Operand::Value(value) = &leaf.operand
        && never_true(leaf.op, value)
    {
        return Lowered::Never;
    }
    if let Column::Attribute { name, .. } = &leaf.subject.column
        && !name::is_safe(name)
    {
        return Lowered::Local(format!("the attribute name \"{name}\" could be misread in AQL"));
    }
    let found = match rules::find(&leaf.subject, leaf.op, facts) {
        Ok(found) => found,
        Err(why) => return Lowered::Local(why),
    };
    match build(leaf, found.form) {
        Some(expr) => Lowered::Pushed(expr, found.fidelity),
        None => unproven(leaf, &found),
    }
}

/// A value that the proven form cannot vouch for goes out as on any other service.
fn unproven(leaf: &Leaf, found: &Found) -> Lowered {
    match found.unproven {
        Some(fidelity) if found.form != found.rule.form => match build(leaf, found.rule.form) {
            Some(expr) => Lowered::Pushed(expr, fidelity),
            None => misread(),
        },
        _ => misread(),
    }
}

fn misread() -> Lowered {
    Lowered::Local("the value could be misread in AQL".into())
}

/// The condition in a given form; none where the form has no safe words for the value.
pub(crate) fn build(leaf: &Leaf, form: Form) -> Option<Expr> {
    if form == Form::TypeIds {
        return type_ids(leaf);
    }
    let path = path(&leaf.subject.column);
    match &leaf.operand {
        Operand::Param(n) => Some(with_param(form, leaf.op, path, *n)),
        Operand::None => with_value(form, leaf.op, path, &Literal::Null),
        Operand::Value(value) => with_value(form, leaf.op, path, value),
    }
}

/// The object types whose names satisfy the comparison, by id. Where none does, a name may be newer
/// than what is known here, so nothing is asked.
fn type_ids(leaf: &Leaf) -> Option<Expr> {
    let Column::ObjectType(types) = &leaf.subject.column else { return None };
    let path = path(&leaf.subject.column);
    let value = match &leaf.operand {
        Operand::Param(n) => return Some(Expr::InParam(path, *n)),
        Operand::None => return None,
        Operand::Value(value) => value,
    };
    let picked = types.iter().filter(|(_, name)| eval::holds(leaf.op, &Literal::Text(name.clone()), value));
    let mut ids: Vec<Value> = picked.map(|(id, _)| Value::Int(*id)).collect();
    match ids.len() {
        0 => None,
        1 => Some(Expr::Compare(path, Cmp::Eq, ids.remove(0))),
        _ => Some(Expr::In(path, ids)),
    }
}

fn never_true(op: Op, value: &Literal) -> bool {
    match (op, value) {
        (_, Literal::Null) => true,
        // IN over no value at all, and NOT IN over a list with a NULL, are never true.
        (Op::In | Op::ArrayOverlaps, Literal::List(list)) => list.iter().all(|v| *v == Literal::Null),
        (Op::NotIn, Literal::List(list)) => list.contains(&Literal::Null),
        (Op::ArrayContains, Literal::List(list)) => list.contains(&Literal::Null),
        _ => false,
    }
}

fn path(column: &Column) -> Path {
    match column {
        Column::Id => Path::Keyword("objectId"),
        Column::Key => Path::Keyword("Key"),
        Column::Created => Path::Keyword("Created"),
        Column::Updated => Path::Keyword("Updated"),
        Column::ObjectType(_) => Path::Keyword("objectTypeId"),
        Column::Attribute { name, part: Part::Key, .. } => Path::KeyOf(name.clone()),
        Column::Attribute { name, .. } => Path::Attribute(name.clone()),
    }
}

/// The text for EXPLAIN while the value is not known yet.
fn with_param(form: Form, op: Op, path: Path, n: usize) -> Expr {
    let cmp = match form {
        Form::OneOf | Form::KeyOneOf | Form::SameOneOf => return Expr::InParam(path, n),
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
        Form::Prefix | Form::Ipv4 => Cmp::StartsWith,
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
    match form {
        Form::Empty => Some(Expr::IsEmpty(path)),
        Form::NotEmpty => Some(Expr::IsNotEmpty(path)),
        Form::EmptyOrBlank => Some(Expr::Or(vec![
            Expr::IsEmpty(path.clone()),
            Expr::Compare(path, Cmp::Eq, Value::Text(String::new())),
        ])),
        Form::Plain => plain(op, path, value),
        Form::TextEqual => text_equal(path, value),
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
        // Built from the names, by `type_ids`.
        Form::TypeIds => None,
        Form::AllOf => {
            let Literal::List(list) = value else { return None };
            let parts: Option<Vec<Expr>> = list.iter().map(|v| text_equal(path.clone(), v)).collect();
            and(parts?)
        }
        Form::Pattern => {
            let Literal::Text(pattern) = value else { return None };
            pattern_text(path, &like::parse(pattern)?)
        }
        Form::Prefix => {
            let Literal::Text(text) = value else { return None };
            prefix_text(path, text)
        }
        Form::Contains => {
            let Literal::Text(text) = value else { return None };
            contains_text(path, text)
        }
        Form::DoubleRange => range(op, path, value, |v, side| {
            let Literal::Double(x) = v else { return None };
            double_bound(*x, side).map(Value::Double)
        }),
        Form::DayRange => range(op, path, value, |v, side| {
            let Literal::Date(day) = v else { return None };
            date::day_text(i64::from(*day) + i64::from(date::WIDEN_DAYS) * side).map(Value::Text)
        }),
        Form::InstantRange => range(op, path, value, |v, side| {
            let us = match v {
                Literal::Timestamp(us) => *us,
                Literal::Date(day) => date::day_start(*day),
                _ => return None,
            };
            date::instant_text(us.checked_add(date::WIDEN_INSTANT_US * side)?).map(Value::Text)
        }),
        Form::Days => one_by_one(op, path, value, |v| {
            let Literal::Date(day) = v else { return None };
            let day = i64::from(*day);
            Some(Bounds { below: day - 1, up_to: day, from: day, above: day + 1 })
        })
        .and_then(|points| points.written(|day| date::day_text(day).map(Value::Text))),
        Form::Instants => one_by_one(op, path, value, |v| {
            // A day begins in the session's zone, not in the service's: only the widened form fits.
            let Literal::Timestamp(us) = v else { return None };
            let (floor, ceil) =
                (us.div_euclid(1000), us.div_euclid(1000) + i64::from(us.rem_euclid(1000) != 0));
            Some(Bounds { below: ceil - 1, up_to: floor, from: ceil, above: floor + 1 })
        })
        .and_then(|points| points.written(|ms| date::instant_text(ms.checked_mul(1000)?).map(Value::Text))),
        Form::Ipv4 => {
            let Literal::Text(text) = value else { return None };
            let address = text.strip_suffix("/32").unwrap_or(text);
            let parsed: std::net::Ipv4Addr = address.parse().ok()?;
            Some(Expr::Compare(path, Cmp::StartsWith, Value::Text(parsed.to_string())))
        }
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

/// Equality on text. White space at the ends may be trimmed on either side, so such a value is
/// asked for as a substring.
fn text_equal(path: Path, value: &Literal) -> Option<Expr> {
    let Literal::Text(text) = value else { return None };
    if !name::is_sendable(text) || name::has_placeholder(text) {
        return None;
    }
    if text.trim() != text {
        return match path {
            Path::Attribute(_) => contains_text(path, text),
            _ => None,
        };
    }
    Some(Expr::Compare(path, Cmp::Eq, Value::Text(text.clone())))
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

/// A text that `==` can only mean to the letter: of the kind that the proof was made with, with
/// nothing at its ends that may be trimmed, nothing that may stand for something else, and no letters
/// that can be written in two ways.
fn to_the_letter(value: &Literal) -> Option<Value> {
    let Literal::Text(text) = value else { return None };
    let plain = name::is_sendable(text)
        && !name::has_placeholder(text)
        && text.trim() == text
        && text.is_ascii()
        && !text.contains(['\\', '*', '?', '%']);
    plain.then(|| Value::Text(text.clone()))
}

fn any_contains(value: &Literal, c: char) -> bool {
    match value {
        Literal::Text(text) => text.contains(c),
        Literal::List(list) => list.iter().any(|item| any_contains(item, c)),
        _ => false,
    }
}

/// `==` one of a few texts.
fn any_same(path: Path, value: &Literal) -> Option<Expr> {
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
fn all_in_capitals(value: &Literal) -> bool {
    match value {
        Literal::Text(key) => {
            !key.is_empty() && key.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_lowercase())
        }
        Literal::List(list) => list.iter().all(|v| *v == Literal::Null || all_in_capitals(v)),
        _ => false,
    }
}

fn list_of(path: Path, value: &Literal) -> Option<Expr> {
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
                if !name::is_sendable(text) || name::has_placeholder(text) || text.trim() != text {
                    return None;
                }
                // `in` ignores case: one spelling is enough.
                if seen.insert(text.to_lowercase()) {
                    values.push(Value::Text(text.clone()));
                }
            }
            _ => return None,
        }
    }
    if values.len() == 1 {
        return Some(Expr::Compare(path, Cmp::Eq, values.remove(0)));
    }
    (!values.is_empty()).then_some(Expr::In(path, values))
}

fn prefix_text(path: Path, text: &str) -> Option<Expr> {
    // An empty prefix selects everything that is there.
    if text.is_empty() {
        return Some(Expr::IsNotEmpty(path));
    }
    if !name::is_sendable(text) || name::has_placeholder(text) {
        return None;
    }
    if text.trim_start() != text {
        return contains_text(path, text);
    }
    Some(Expr::Compare(path, Cmp::StartsWith, Value::Text(text.to_owned())))
}

fn suffix_text(path: Path, text: &str) -> Option<Expr> {
    if text.trim_end() != text || !name::is_sendable(text) || name::has_placeholder(text) {
        return contains_text(path, text);
    }
    Some(Expr::Compare(path, Cmp::EndsWith, Value::Text(text.to_owned())))
}

/// The longest run that is a substring however `like` treats backslashes and white space.
fn contains_text(path: Path, text: &str) -> Option<Expr> {
    if text.is_empty() {
        return Some(Expr::IsNotEmpty(path));
    }
    let run = text
        .split(|c: char| c == '\\' || c.is_control())
        .map(str::trim)
        .filter(|run| name::is_sendable(run) && !name::has_placeholder(run))
        .max_by_key(|run| run.len())?;
    Some(Expr::Compare(path, Cmp::Like, Value::Text(run.to_owned())))
}

fn pattern_text(path: Path, pattern: &like::Pattern) -> Option<Expr> {
    if pattern.is_plain() {
        return text_equal(path, &Literal::Text(pattern.runs[0].clone()));
    }
    let last = pattern.runs.len().checked_sub(1)?;
    let mut parts = Vec::new();
    for (i, run) in pattern.runs.iter().enumerate() {
        let part = if i == 0 && pattern.anchored_start {
            prefix_text(path.clone(), run)
        } else if i == last && pattern.anchored_end {
            suffix_text(path.clone(), run)
        } else {
            contains_text(path.clone(), run)
        };
        parts.extend(part);
    }
    and(parts)
}

fn and(mut parts: Vec<Expr>) -> Option<Expr> {
    match parts.len() {
        0 => None,
        1 => parts.pop(),
        _ => Some(Expr::And(parts)),
    }
}

/// A range: `bound(value, -1)` is a lower bound moved down, `bound(value, 1)` an upper one moved
/// up. IN asks for the range from its least to its greatest element.
fn range(
    op: Op,
    path: Path,
    value: &Literal,
    bound: impl Fn(&Literal, i64) -> Option<Value>,
) -> Option<Expr> {
    let lower = |v: &Literal| Some(Expr::Compare(path.clone(), Cmp::Ge, bound(v, -1)?));
    let upper = |v: &Literal| Some(Expr::Compare(path.clone(), Cmp::Le, bound(v, 1)?));
    match op {
        Op::Lt | Op::Le => upper(value),
        Op::Gt | Op::Ge => lower(value),
        Op::Eq => Some(Expr::And(vec![lower(value)?, upper(value)?])),
        Op::In => {
            let Literal::List(list) = value else { return None };
            let mut known: Vec<&Literal> = list.iter().filter(|v| **v != Literal::Null).collect();
            known.sort_by(|a, b| order(a).total_cmp(&order(b)));
            Some(Expr::And(vec![lower(known.first()?)?, upper(known.last()?)?]))
        }
        _ => None,
    }
}

/// The whole steps next to a value: the last below it, the last up to it, the first from it on, the
/// first above it.
struct Bounds {
    below: i64,
    up_to: i64,
    from: i64,
    above: i64,
}

/// Ranges between whole steps, ORed.
struct Points {
    path: Path,
    ranges: Vec<(Option<i64>, Option<i64>)>,
}

impl Points {
    fn written(self, text: impl Fn(i64) -> Option<Value>) -> Option<Expr> {
        let mut parts = Vec::new();
        for (from, to) in self.ranges {
            let mut ends = Vec::new();
            if let Some(from) = from {
                ends.push(Expr::Compare(self.path.clone(), Cmp::Ge, text(from)?));
            }
            if let Some(to) = to {
                ends.push(Expr::Compare(self.path.clone(), Cmp::Le, text(to)?));
            }
            parts.push(and(ends)?);
        }
        Some(if parts.len() == 1 { parts.remove(0) } else { Expr::Or(parts) })
    }
}

/// A comparison as ranges that hold exactly the values it is true for, closed at both ends: only
/// `>=` and `<=` are proven. None for lists that are too long to be compared one by one.
fn one_by_one(
    op: Op,
    path: Path,
    value: &Literal,
    bounds: impl Fn(&Literal) -> Option<Bounds>,
) -> Option<Points> {
    let list = match (op, value) {
        (Op::In, Literal::List(list)) => list.as_slice(),
        (Op::In, _) => return None,
        (_, one) => std::slice::from_ref(one),
    };
    let known: Vec<&Literal> = list.iter().filter(|v| **v != Literal::Null).collect();
    if known.is_empty() || known.len() > ONE_BY_ONE {
        return None;
    }
    let mut ranges = Vec::new();
    for v in known {
        let at = bounds(v)?;
        ranges.push(match op {
            Op::Lt => (None, Some(at.below)),
            Op::Le => (None, Some(at.up_to)),
            Op::Gt => (Some(at.above), None),
            Op::Ge => (Some(at.from), None),
            Op::Eq | Op::In => (Some(at.from), Some(at.up_to)),
            _ => return None,
        });
    }
    Some(Points { path, ranges })
}

fn order(value: &Literal) -> f64 {
    match value {
        Literal::Double(x) => *x,
        Literal::Date(day) => f64::from(*day) * 86_400e6,
        Literal::Timestamp(us) => *us as f64,
        _ => f64::NAN,
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

/// Splits a condition whose text would be longer than `max_bytes` into several whose results are
/// disjoint and together the same: the longest `in (…)` that every object must satisfy is cut.
/// A condition that cannot be cut is returned as it is.
pub fn split(expr: Expr, max_bytes: usize) -> Vec<Expr> {
    let (parts, index) = match expr {
        Expr::And(parts) => {
            let index = parts
                .iter()
                .enumerate()
                .filter(|(_, p)| matches!(p, Expr::In(..)))
                .max_by_key(|(_, p)| p.to_string().len())
                .map(|(i, _)| i);
            (parts, index)
        }
        Expr::In(..) => (vec![expr], Some(0)),
        other => return vec![other],
    };
    let total = parts.iter().map(|p| p.to_string().len() + 7).sum::<usize>();
    let whole = |mut parts: Vec<Expr>| if parts.len() == 1 { parts.remove(0) } else { Expr::And(parts) };
    let (Some(index), true) = (index, total > max_bytes) else { return vec![whole(parts)] };
    let Expr::In(path, values) = &parts[index] else { return vec![whole(parts)] };
    let rest = total - parts[index].to_string().len();
    let room = max_bytes.saturating_sub(rest).max(200);
    let mut chunks: Vec<Vec<Value>> = vec![Vec::new()];
    let mut used = 0;
    for value in values {
        let size = value.to_string().len() + 2;
        if used + size > room && !chunks[chunks.len() - 1].is_empty() {
            chunks.push(Vec::new());
            used = 0;
        }
        used += size;
        let last = chunks.len() - 1;
        chunks[last].push(value.clone());
    }
    chunks
        .into_iter()
        .map(|chunk| {
            let mut parts = parts.clone();
            parts[index] = Expr::In(path.clone(), chunk);
            whole(parts)
        })
        .collect()
}

/// Writes long lists as several clauses of at most fifty values, the form that is in production use.
pub fn in_clauses(expr: Expr) -> Expr {
    match expr {
        Expr::In(path, values) if values.len() > LIST_CLAUSE => {
            Expr::Or(values.chunks(LIST_CLAUSE).map(|chunk| Expr::In(path.clone(), chunk.to_vec())).collect())
        }
        Expr::NotIn(path, values) if values.len() > LIST_CLAUSE => Expr::And(
            values.chunks(LIST_CLAUSE).map(|chunk| Expr::NotIn(path.clone(), chunk.to_vec())).collect(),
        ),
        Expr::And(list) => Expr::And(list.into_iter().map(in_clauses).collect()),
        Expr::Or(list) => Expr::Or(list.into_iter().map(in_clauses).collect()),
        other => other,
    }
}
