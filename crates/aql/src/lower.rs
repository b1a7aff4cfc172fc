//! From a [`Pred`] to an [`Expr`]: which rule, in which form, and the composition of fidelities.

use crate::expr::{Cmp, Expr, Path, Value};
use crate::facts::{self, Facts};
use crate::form::{asked_types, build};
use crate::name;
use crate::number::{AmongWhole, among_whole};
use crate::pred::{Column, Leaf, Literal, Op, Operand, Pred};
use crate::rules::{self, Found};

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
    /// Every object satisfies it: it needs no words.
    Always,
    /// It stays at home, and why.
    Local(String),
}

/// Longest list in one `in (…)`: 50 ids a clause, several clauses a query, are in production use
/// (assets-api.md 13).
const LIST_CLAUSE: usize = 50;

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
pub fn facts_used(pred: &Pred, facts: &Facts) -> Vec<String> {
    let lowered = lower_with(pred, facts);
    let changes = |rest: &Facts| lower_with(pred, rest) != lowered;
    facts.each_left_out().filter(|(_, rest)| changes(rest)).map(|(name, _)| name).collect()
}

/// Whether a condition, its values known, names an object type that is not known and may be there.
pub fn names_unknown_type(pred: &Pred) -> bool {
    pred.any_leaf(|leaf| asked_types(leaf).is_some_and(|asked| asked.is_unknown))
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
    let mut is_asked = false;
    for part in parts {
        match part {
            Lowered::Never => return Lowered::Never,
            Lowered::Always => is_asked = true,
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
        (0, None) if is_asked => Lowered::Always,
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
            Lowered::Always => return Lowered::Always,
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
    match leaf.op {
        Op::IsNotNull if leaf.subject.always => return Lowered::Always,
        Op::IsNull if leaf.subject.always => return Lowered::Never,
        _ => {}
    }
    match among_whole(leaf) {
        Some(AmongWhole::As(leaf)) => return lower_leaf(&leaf, facts),
        Some(AmongWhole::Never) => return Lowered::Never,
        None => {}
    }
    // A comparison with NULL is never true, whatever its rule.
    if let Operand::Value(value) = &leaf.operand
        && never_true(leaf.op, value)
    {
        return Lowered::Never;
    }
    // No object type of these names is there.
    if asked_types(leaf).is_some_and(|asked| asked.names.is_empty()) {
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

/// Splits a condition into several whose results together are the same, where its text would be longer than `max_bytes`, where a
/// list of keys or ids is longer than `page`, the number of objects that one request gives (then each part is one request,
/// with no next page to look for), or where any list is longer than `listed`, as many values as the service takes.
/// An object with several values may match several parts.
///
/// What is cut is the longest `in (…)` that every object must satisfy. A condition that has none is
/// returned as it is.
pub fn split(expr: Expr, max_bytes: usize, page: usize, listed: usize) -> Vec<Expr> {
    let mut parts = match expr {
        Expr::And(parts) => parts,
        other => vec![other],
    };
    let whole = |mut parts: Vec<Expr>| if parts.len() == 1 { parts.remove(0) } else { Expr::And(parts) };
    let sizes: Vec<usize> = parts.iter().map(|part| part.to_string().len() + AND).collect();
    let lists = parts.iter().enumerate().filter(|(_, part)| matches!(part, Expr::In(..)));
    let Some(index) = lists.map(|(n, _)| n).max_by_key(|n| sizes[*n]) else { return vec![whole(parts)] };
    let placeholder = Expr::Or(Vec::new());
    let Expr::In(path, values) = std::mem::replace(&mut parts[index], placeholder) else { return Vec::new() };
    let total = sizes.iter().sum::<usize>();
    let room = match total > max_bytes {
        true => max_bytes.saturating_sub(total - sizes[index] + AND).max(200),
        false => usize::MAX,
    };
    let most = if is_unique(&path) { page.min(listed) } else { listed }.max(1);
    chunks(values, room, most)
        .into_iter()
        .map(|chunk| {
            let mut parts = parts.clone();
            parts[index] = Expr::In(path.clone(), chunk);
            whole(parts)
        })
        .collect()
}

/// How many objects can satisfy a condition at most, where it says so by a list of keys or ids: no two
/// objects share one.
pub fn most(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::And(parts) => parts.iter().filter_map(most).min(),
        Expr::In(path, values) if is_unique(path) => Some(values.len()),
        Expr::Compare(path, Cmp::Eq, _) if is_unique(path) => Some(1),
        _ => None,
    }
}

/// How many values the longest list has of those that [`split`] cuts; 0 without one.
pub fn listed(expr: &Expr) -> usize {
    match expr {
        Expr::And(parts) => parts.iter().map(listed).max().unwrap_or(0),
        Expr::In(_, values) => values.len(),
        _ => 0,
    }
}

/// The bytes of " AND ", and of parentheses.
const AND: usize = 7;

/// Whether no two objects have the same value.
fn is_unique(path: &Path) -> bool {
    matches!(path, Path::Keyword("Key" | "objectId"))
}

/// Cuts a list into pieces of at most so many bytes and so many values, in their order.
fn chunks(values: Vec<Value>, room: usize, most: usize) -> Vec<Vec<Value>> {
    let mut chunks: Vec<Vec<Value>> = vec![Vec::new()];
    let mut used = 0;
    for value in values {
        let size = value.to_string().len() + 2;
        let last = chunks.len() - 1;
        if chunks[last].len() == most || (used + size > room && !chunks[last].is_empty()) {
            chunks.push(vec![value]);
            used = size;
        } else {
            chunks[last].push(value);
            used += size;
        }
    }
    chunks
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
