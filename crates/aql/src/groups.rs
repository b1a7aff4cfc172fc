//! How many objects each group has, asked group by group: which conditions select which group, and what proves that no
//! object is in none of them.
//!
//! What is known of the groups (the options of a Select, the names of statuses) may be older than the objects, and an
//! object may have a value that nothing names any more, or several where the attribute allows one. So the groups are
//! believed only where they add up to the number of all objects, counted before and after them, and no two of them
//! share an object, which is counted as well: every condition selects exactly its group, and so what is missing shows.

use crate::expr::{Cmp, Expr, Path, Value};
use crate::facts::Facts;
use crate::form::{is_one_text, same};
use crate::lower::{Fidelity, Lowered, facts_used, lower_with};
use crate::pred::{Class, Column, Kind, Leaf, Literal, Op, Operand, Part, Pred, Subject};
use crate::rules::{self, Form};

/// The groups of a column.
#[derive(Debug, Clone, PartialEq)]
pub struct Groups {
    /// Each value with the condition that selects exactly the objects that have it. Types of one name are one value of
    /// several conditions.
    pub each: Vec<(Literal, Expr)>,
    /// The objects without a value; none where every object has one.
    pub none: Option<Expr>,
    /// The objects that are in two of these; none where there cannot be one.
    pub shared: Option<Expr>,
    /// The facts without which it would not be asked so.
    pub facts: Vec<String>,
}

impl Groups {
    /// How many requests the answer takes: the groups, and what proves them.
    pub fn requests(&self) -> usize {
        self.each.len() + usize::from(self.none.is_some()) + usize::from(self.shared.is_some()) + 2
    }
}

/// What was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// All objects, before the groups were counted.
    pub before: u64,
    /// The objects of each group, those without a value among them.
    pub groups: Vec<u64>,
    /// Those in two groups.
    pub shared: u64,
    /// All objects, after the groups.
    pub after: u64,
}

impl Counted {
    /// Whether every object is in one of the groups, and in no other.
    pub fn is_whole(&self) -> bool {
        let sum = self.groups.iter().try_fold(0_u64, |sum, count| sum.checked_add(*count));
        self.shared == 0 && self.before == self.after && sum == Some(self.before)
    }

    /// Whether that is so because objects came or went meanwhile, and may be otherwise next time.
    pub fn is_unrest(&self) -> bool {
        self.before != self.after
    }
}

/// The groups of an attribute whose values are among these, or why they cannot be asked for.
pub fn by_value(subject: &Subject, values: &[Literal], facts: &Facts) -> Result<Groups, String> {
    let Column::Attribute { name, kind, part: Part::Value } = &subject.column else {
        return Err("only an attribute's own values are known".into());
    };
    let class = match kind {
        Kind::Boolean => Class::Bool,
        Kind::Text | Kind::Status => Class::Text,
        _ => return Err("its values are not known".into()),
    };
    if subject.multi || subject.class != class || subject.null_is_vague {
        return Err("what is shown is not what is stored".into());
    }
    if values.is_empty() {
        return Err("its values are not known".into());
    }
    let folded = |value: &Literal| match value {
        Literal::Text(text) => text.to_lowercase(),
        other => format!("{other:?}"),
    };
    let mut known: Vec<String> = values.iter().map(folded).collect();
    known.sort_unstable();
    if known.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("two of its values differ only in case".into());
    }
    let (mut each, mut used) = (Vec::new(), Vec::new());
    for value in values {
        let leaf = Leaf { subject: subject.clone(), op: Op::Eq, operand: Operand::Value(value.clone()) };
        let expr = exactly(&leaf, facts)
            .ok_or_else(|| format!("= is not known to select exactly its value; {}", rules::MAY_PROVE))?;
        used.extend(facts_used(&Pred::Leaf(leaf), facts));
        each.push((value.clone(), expr));
    }
    used.sort_unstable();
    used.dedup();
    let path = || Path::Attribute(name.clone());
    let none = Expr::IsEmpty(path());
    let all: Vec<&Expr> = each.iter().map(|(_, condition)| condition).chain([&none]).collect();
    let shared = Some(in_two(&all));
    Ok(Groups { each, none: Some(none), shared, facts: used })
}

/// What selects the objects that satisfy two of these conditions. Two numbers that differ do so in some binary digit: so
/// for each digit those with 0 there against those with 1, and not each against each.
fn in_two(conditions: &[&Expr]) -> Expr {
    let digits = usize::BITS - conditions.len().saturating_sub(1).leading_zeros();
    let with = |digit: u32, set: bool| {
        let chosen = conditions.iter().enumerate().filter(|(n, _)| (n >> digit & 1 == 1) == set);
        let mut chosen: Vec<Expr> = chosen.map(|(_, condition)| (*condition).clone()).collect();
        if chosen.len() == 1 { chosen.remove(0) } else { Expr::Or(chosen) }
    };
    let mut digits: Vec<Expr> =
        (0..digits).map(|digit| Expr::And(vec![with(digit, false), with(digit, true)])).collect();
    if digits.len() == 1 { digits.remove(0) } else { Expr::Or(digits) }
}

/// The condition that selects exactly the objects with a value.
fn exactly(leaf: &Leaf, facts: &Facts) -> Option<Expr> {
    if let Lowered::Pushed(expr, Fidelity::Exact) = lower_with(&Pred::Leaf(leaf.clone()), facts) {
        return Some(expr);
    }
    // A status is stored by its id: what objects show is its name, letter by letter, in whatever letters.
    let found = rules::find(&leaf.subject, leaf.op, facts).ok()?;
    match (&leaf.subject.column, &leaf.operand) {
        (column @ Column::Attribute { kind: Kind::Status, .. }, Operand::Value(Literal::Text(text)))
            if found.form == Form::Same && found.fidelity == Fidelity::Exact && is_one_text(text) =>
        {
            Some(same(column, text))
        }
        _ => None,
    }
}

/// The groups of objects by the names of their types; every object has one.
pub fn by_type(types: impl IntoIterator<Item = (i64, String)>) -> Groups {
    let one = |id| Expr::Compare(Path::Keyword("objectTypeId"), Cmp::Eq, Value::Int(id));
    let each = types.into_iter().map(|(id, name)| (Literal::Text(name), one(id))).collect();
    Groups { each, none: None, shared: None, facts: Vec::new() }
}
