//! The rules' forms filled with values: a comparison as AQL, or nothing where the form has no safe
//! words for the value.

use crate::date;
use crate::eval;
use crate::expr::{Cmp, Expr, Path, Value};
use crate::letters::{self, Case};
use crate::like;
use crate::name;
use crate::pred::{Class, Column, Kind, Leaf, Literal, Op, Operand, Part};
use crate::range::{Bounds, one_by_one, range};
use crate::rules::Form;

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
    match &leaf.operand {
        Operand::Param(n) => Some(with_param(form, leaf.op, path, *n)),
        Operand::None => with_value(form, leaf.op, path, &Literal::Null),
        Operand::Value(value) => match leaf.subject.class {
            Class::Varchar(length) if may_end_with_blanks(&leaf.subject.column) => {
                of_cut_text(form, leaf, path, value, length as usize)
            }
            _ => with_value(form, leaf.op, path, value),
        },
    }
}

/// What becomes of the names that a comparison of object types is with.
pub(crate) struct TypeNames {
    /// Those that are known, and those that may be there all the same.
    pub(crate) names: Vec<String>,
    /// Whether one of them is not known, and may be there.
    pub(crate) is_unknown: bool,
}

/// The names of object types that a comparison asks for, its value known. Where not all types are known, a
/// name that is not may be that of a new one, or of one that was renamed.
pub(crate) fn asked_types(leaf: &Leaf) -> Option<TypeNames> {
    let (Column::ObjectType { names, are_all }, Operand::Value(value)) =
        (&leaf.subject.column, &leaf.operand)
    else {
        return None;
    };
    if !matches!(leaf.op, Op::Eq | Op::In | Op::EqFolded | Op::Same) {
        return None;
    }
    let asked: Vec<&String> = match value {
        Literal::Text(text) => vec![text],
        Literal::List(list) => list
            .iter()
            .filter_map(|item| match item {
                Literal::Text(text) => Some(text),
                _ => None,
            })
            .collect(),
        _ => return None,
    };
    let mut found = TypeNames { names: Vec::new(), is_unknown: false };
    for text in asked {
        // `lower(x) = v` may mean several.
        let one = Literal::Text(text.clone());
        let op = if leaf.op == Op::EqFolded { Op::EqFolded } else { Op::Eq };
        let is_meant = |name: &&String| eval::holds(op, &Literal::Text((*name).clone()), &one);
        // What lower() makes of letters beyond ASCII is the collation's: such a name may be meant.
        let may_be = |name: &&String| op == Op::EqFolded && !name.is_ascii();
        let mut meant: Vec<String> =
            names.iter().filter(|name| may_be(name) || is_meant(name)).cloned().collect();
        if !names.iter().any(|name| is_meant(&name)) && !are_all {
            found.is_unknown = true;
            meant.push(text.clone());
        }
        meant.retain(|name| !found.names.contains(name));
        found.names.extend(meant);
    }
    Some(found)
}

/// By name, whoever has it when it is asked: types are renamed, and others get their names. `=` ignores case
/// (assets-api.md 4.3), and a name is equal to itself however that is meant.
fn type_names(leaf: &Leaf) -> Option<Expr> {
    let path = path(&leaf.subject.column);
    if let Operand::Param(n) = &leaf.operand {
        return Some(match leaf.op {
            Op::In => Expr::InParam(path, *n),
            _ => Expr::Compare(path, Cmp::Eq, Value::Param(*n)),
        });
    }
    let names = asked_types(leaf)?.names;
    // A new type's name may be another spelling of the one that is asked for.
    if let (Op::EqFolded, Column::ObjectType { are_all: false, .. }, Operand::Value(Literal::Text(text))) =
        (leaf.op, &leaf.subject.column, &leaf.operand)
        && !letters::is_wholly_certain(text, Case::Ignored)
    {
        return None;
    }
    let sendable = |text: &String| {
        name::is_sendable(text)
            && !name::may_be_computed(text)
            && text.trim() == text
            // Could be meant as an id.
            && !text.chars().all(char::is_numeric)
    };
    if !names.iter().all(sendable) {
        return None;
    }
    let mut values: Vec<Value> = names.into_iter().map(Value::Text).collect();
    match values.len() {
        0 => None,
        1 => Some(Expr::Compare(path, Cmp::Eq, values.remove(0))),
        _ => Some(Expr::In(path, values)),
    }
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
    match form {
        Form::Empty => Some(Expr::IsEmpty(path)),
        Form::NotEmpty => Some(Expr::IsNotEmpty(path)),
        Form::EmptyOrBlank => Some(Expr::Or(vec![
            Expr::IsEmpty(path.clone()),
            Expr::Compare(path, Cmp::Eq, Value::Text(String::new())),
        ])),
        Form::Plain => plain(op, path, value),
        Form::TextEqual => text_equal(path, value),
        Form::TextFolded => {
            let Literal::Text(text) = value else { return None };
            text_folded(path, text)
        }
        Form::KeyFolded => {
            let Literal::Text(text) = value else { return None };
            // As all keys are written; letters beyond ASCII are in none.
            text.is_ascii().then(|| text_equal(path, &Literal::Text(text.to_ascii_uppercase())))?
        }
        Form::PlainEqual => all_plain(value).then(|| text_equal(path, value))?,
        Form::PlainOneOf => all_plain(value).then(|| list_of(path, value))?,
        Form::PlainFolded => {
            let Literal::Text(text) = value else { return None };
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
        Form::Pattern => {
            let Literal::Text(pattern) = value else { return None };
            pattern_text(path, &like::parse(pattern)?, case_of(op))
        }
        Form::Prefix => {
            let Literal::Text(text) = value else { return None };
            prefix_text(path, text, Case::Kept)
        }
        Form::Contains => {
            let Literal::Text(text) = value else { return None };
            contains_text(path, text, Case::Kept)
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
    }
}

/// Keys and account ids do not.
fn may_end_with_blanks(column: &Column) -> bool {
    matches!(column, Column::Attribute { part, .. } if !matches!(part, Part::Key | Part::AccountId))
}

/// The condition over values that are cut to `length` characters where blanks follow: a value that long is
/// asked for as the beginning of what may be stored, and nothing is told of how that ends. Of texts only:
/// what `startswith` makes of a status or a reference is not known.
fn of_cut_text(form: Form, leaf: &Leaf, path: Path, value: &Literal, length: usize) -> Option<Expr> {
    let op = leaf.op;
    let plain = matches!(leaf.subject.column, Column::Attribute { kind: Kind::Text, .. });
    // In another case a text may have another length.
    let folded = matches!(op, Op::EqFolded | Op::ILike);
    let may_be_cut = |v: &Literal| matches!(v, Literal::Text(t) if t.chars().count() == length || (folded && !t.is_ascii()));
    let one = |path: Path, value: &Literal| match value {
        Literal::Text(text) if may_be_cut(value) => plain.then(|| prefix_text(path, text, case_of(op)))?,
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
    if !name::is_sendable(text) || name::may_be_computed(text) {
        return None;
    }
    if text.trim() != text {
        return match path {
            Path::Attribute(_) => contains_text(path, text, Case::Kept),
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
        && !name::may_be_computed(text)
        && text.trim() == text
        && text.is_ascii()
        && !text.contains(['\\', '*', '?', '%']);
    plain.then(|| Value::Text(text.clone()))
}

/// `==` some text, whatever it is: to find out what else it finds.
pub(crate) fn same(column: &Column, text: &str) -> Expr {
    Expr::Compare(path(column), Cmp::Same, Value::Text(text.to_owned()))
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
                if !name::is_sendable(text) || name::may_be_computed(text) || text.trim() != text {
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
    if values.len() == 1 {
        return Some(Expr::Compare(path, Cmp::Eq, values.remove(0)));
    }
    (!values.is_empty()).then_some(Expr::In(path, values))
}

/// Equality in lower case: `=` where every spelling of the text is one to every service, else by what is certain
/// at its ends.
fn text_folded(path: Path, text: &str) -> Option<Expr> {
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

fn case_of(op: Op) -> Case {
    if matches!(op, Op::ILike | Op::EqFolded) { Case::Ignored } else { Case::Kept }
}

fn all_plain(value: &Literal) -> bool {
    match value {
        Literal::Text(text) => letters::is_plain(text),
        Literal::List(list) => list.iter().all(|v| *v == Literal::Null || all_plain(v)),
        _ => false,
    }
}

/// The beginning of rich text, as far as no markup can be in it.
fn plain_start(op: Op, path: Path, value: &Literal) -> Option<Expr> {
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

fn prefix_text(path: Path, text: &str, case: Case) -> Option<Expr> {
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
fn contains_text(path: Path, text: &str, case: Case) -> Option<Expr> {
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

fn pattern_text(path: Path, pattern: &like::Pattern, case: Case) -> Option<Expr> {
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
