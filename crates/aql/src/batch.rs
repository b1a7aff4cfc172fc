//! One condition for many bindings: what a batch asks for, and by what its rows are told apart.
//!
//! Both only ever widen. [`together`] holds wherever the condition holds with one of the bindings, and what SQL calls
//! equal has one [`canonical`] form: which row belongs to which binding is PostgreSQL's to say.

use std::collections::HashSet;
use std::sync::Arc;

use crate::expr::{Cmp, Expr};
use crate::facts::Facts;
use crate::lower::{Lowered, lower_with};
use crate::pred::{Class, Column, Leaf, Literal, Op, Operand, Pred, Subject};
use crate::rules::RULES;

/// The condition that holds of every object of which `pred` holds with one of the bindings, and of others perhaps.
///
/// `values[n]` is the value of operand n now, which is meant where it does not vary. `each[i][n]` is the one that it has
/// in binding i; without bindings, what varies may be anything.
pub fn together(pred: &Pred, values: &[Literal], varying: &[bool], each: Option<&[Vec<Literal>]>) -> Pred {
    // What is widened below a NOT would be narrowed: there is none afterwards.
    widened(pred.clone().normalized(), &Bindings { values, varying, each })
}

struct Bindings<'a> {
    values: &'a [Literal],
    varying: &'a [bool],
    each: Option<&'a [Vec<Literal>]>,
}

fn widened(pred: Pred, bindings: &Bindings) -> Pred {
    let each = |list: Vec<Pred>| list.into_iter().map(|part| widened(part, bindings)).collect();
    match pred {
        Pred::And(list) => Pred::And(each(list)),
        Pred::Or(list) => Pred::Or(each(list)),
        Pred::Leaf(leaf) => bindings.widen(leaf),
        Pred::Not(_) => local("NOT over something AQL has no words for"),
        Pred::Local(why) => Pred::Local(why),
    }
}

impl Bindings<'_> {
    fn widen(&self, leaf: Leaf) -> Pred {
        let Operand::Param(n) = leaf.operand else { return Pred::Leaf(leaf) };
        if !self.varies(n) {
            return match self.values.get(n) {
                Some(value) => Pred::Leaf(Leaf { operand: Operand::Value(value.clone()), ..leaf }),
                None => local("its value is not known"),
            };
        }
        let Some(each) = self.each else { return local("it has another value for each row of the join") };
        let values = each.iter().map(|binding| binding.get(n));
        let found = match (leaf.op, leaf.subject.multi) {
            (Op::Eq | Op::In, false) | (Op::ArrayHas | Op::ArrayOverlaps, true) => wanted(values, false),
            // NULL is a value like any other here, and an absent one has no place in a list.
            (Op::Same, false) if !values.clone().any(|value| value == Some(&Literal::Null)) => {
                wanted(values, false)
            }
            _ => None,
        };
        match found {
            Some(values) => any_of(leaf.subject, values),
            None => local("several values of it cannot be asked for at once"),
        }
    }

    /// One that nothing is known of does.
    fn varies(&self, n: usize) -> bool {
        self.varying.get(n).copied().unwrap_or(true)
    }
}

/// The values that something has to be equal to, each once: of lists, their elements. None where one of them stands for
/// something that cannot be said.
fn wanted<'a>(values: impl Iterator<Item = Option<&'a Literal>>, nested: bool) -> Option<Vec<Literal>> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for value in values {
        match value? {
            // True of nothing.
            Literal::Null | Literal::Between(_) => {}
            // What AQL has no words for stands as an empty text.
            Literal::Text(text) if text.is_empty() => return None,
            Literal::List(_) if nested => return None,
            Literal::List(list) => {
                for item in wanted(list.iter().map(Some), true)? {
                    if seen.insert(Spelling::of(&item)) {
                        found.push(item);
                    }
                }
            }
            one => {
                if seen.insert(Spelling::of(one)) {
                    found.push(one.clone());
                }
            }
        }
    }
    // Values of several kinds are widened by different steps: their range would not be the range of all.
    let kind = found.first().map(std::mem::discriminant);
    found.iter().all(|value| Some(std::mem::discriminant(value)) == kind).then_some(found)
}

/// A value to the bit: what differs here may be the same to SQL, and is asked for twice then.
#[derive(PartialEq, Eq, Hash)]
enum Spelling {
    Text(String),
    Whole(i64),
    Bits(u64),
}

impl Spelling {
    fn of(value: &Literal) -> Self {
        match value {
            Literal::Text(text) => Spelling::Text(text.clone()),
            Literal::Int(n) | Literal::Timestamp(n) | Literal::Zoned(n) | Literal::Between(n) => {
                Spelling::Whole(*n)
            }
            Literal::Double(x) => Spelling::Bits(x.to_bits()),
            Literal::Bool(b) => Spelling::Whole(i64::from(*b)),
            Literal::Date(day) => Spelling::Whole(i64::from(*day)),
            Literal::Null | Literal::List(_) => Spelling::Whole(0),
        }
    }
}

/// Equality with one of some values, or of an element with one of them: never true where there are none.
fn any_of(subject: Subject, mut values: Vec<Literal>) -> Pred {
    let (one, several) = if subject.multi { (Op::ArrayHas, Op::ArrayOverlaps) } else { (Op::Eq, Op::In) };
    let leaf = |subject, op, value| Pred::Leaf(Leaf { subject, op, operand: Operand::Value(value) });
    if values.len() == 1 {
        return leaf(subject, one, values.remove(0));
    }
    // Some columns have a rule for one value only.
    let covers = |op| RULES.iter().any(|rule| rule.covers(&subject, op));
    if values.is_empty() || covers(several) || !covers(one) {
        return leaf(subject, several, Literal::List(values));
    }
    Pred::Or(values.into_iter().map(|value| leaf(subject.clone(), one, value)).collect())
}

fn local(why: &str) -> Pred {
    Pred::Local(why.to_owned())
}

/// An operand by which the rows of a batch are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Which operand.
    pub operand: usize,
    /// The column that it is compared with.
    pub column: Column,
    /// Whether the column is an array, which has to hold the value.
    pub multi: bool,
    /// Whether no two objects have the same value.
    pub unique: bool,
    /// How SQL compares the column, or its elements.
    pub class: Class,
}

/// The operands that every row has to be equal to, among those that vary.
pub fn keys<'a>(preds: impl Iterator<Item = &'a Pred>, varying: &[bool]) -> Vec<Key> {
    let mut found = Vec::new();
    for pred in preds {
        equalities(&pred.clone().normalized(), varying, &mut found);
    }
    found
}

fn equalities(pred: &Pred, varying: &[bool], found: &mut Vec<Key>) {
    match pred {
        Pred::And(list) => list.iter().for_each(|part| equalities(part, varying, found)),
        Pred::Leaf(Leaf { subject, op, operand: Operand::Param(n) }) => {
            let equal = matches!((op, subject.multi), (Op::Eq, false) | (Op::ArrayHas, true));
            if equal && varying.get(*n) == Some(&true) && subject.class != Class::Opaque {
                found.push(Key {
                    operand: *n,
                    column: subject.column.clone(),
                    multi: subject.multi,
                    unique: !subject.multi && matches!(subject.column, Column::Id | Column::Key),
                    class: subject.class,
                });
            }
        }
        _ => {}
    }
}

/// Whether a condition names the values that it wants one by one. A range from the least of them to the greatest may select
/// everything between.
pub fn is_list(expr: &Expr) -> bool {
    match expr {
        Expr::In(..) | Expr::Or(_) => true,
        Expr::Compare(_, cmp, _) => matches!(cmp, Cmp::Eq | Cmp::Same),
        Expr::And(parts) => parts.iter().any(is_list),
        _ => false,
    }
}

/// Whether many values of a key are asked for one by one, as far as its kind says so.
pub fn can_list(key: &Key, preds: &[Pred], facts: &Facts) -> bool {
    let many: Vec<Vec<Literal>> = (1..=LIST)
        .map(|n| {
            let whole = n as i64;
            let value = match key.class.unmodified() {
                Class::Text => Literal::Text(format!("KEY-{n}")),
                Class::Inet => Literal::Text(format!("10.0.0.{n}")),
                Class::Int => Literal::Int(1_000 * whole),
                Class::Double => Literal::Double(1_000.5 * n as f64),
                Class::Bool => Literal::Bool(n % 2 == 0),
                Class::Date => Literal::Date(40 * n as i32),
                _ => Literal::Timestamp(1_000_000_000_000 * whole),
            };
            vec![value; key.operand + 1]
        })
        .collect();
    let mut varying = vec![false; key.operand + 1];
    varying[key.operand] = true;
    // The others' values are not looked at: a condition that has some is widened to what is wanted of the key.
    let uses = |leaf: &Leaf| leaf.operand == Operand::Param(key.operand);
    let values = many.first().cloned().unwrap_or_default();
    preds.iter().filter(|pred| pred.any_leaf(uses)).any(|pred| {
        matches!(
            lower_with(&together(pred, &values, &varying, Some(&many)), facts),
            Lowered::Pushed(expr, _) if is_list(&expr)
        )
    })
}

/// So many values are tried.
const LIST: usize = 100;

/// The one form of all values that are equal to SQL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Canon {
    /// Text, byte by byte; an address as it is written out.
    Text(Arc<str>),
    /// A whole number, a day, an instant.
    Whole(i64),
    /// A double's bits: -0 is 0, and NaN is NaN.
    Double(u64),
    /// A boolean.
    Bool(bool),
}

/// The form in which a value is looked up among others of a class. None where there is none: what is equal to NULL, what
/// lies between whole numbers, in which the session's zone has a say, and what stands for something that cannot be said.
pub fn canonical(class: Class, literal: &Literal) -> Option<Canon> {
    Some(match (class.unmodified(), literal) {
        (Class::Text | Class::Inet, Literal::Text(text)) if !text.is_empty() => {
            Canon::Text(text.as_str().into())
        }
        (Class::Int, Literal::Int(n)) | (Class::Timestamp, Literal::Timestamp(n)) => Canon::Whole(*n),
        (Class::Date, Literal::Date(day)) => Canon::Whole(i64::from(*day)),
        (Class::Double, Literal::Double(x)) if x.is_nan() => Canon::Double(f64::NAN.to_bits()),
        // Adding nothing makes -0 the 0 that it is equal to.
        (Class::Double, Literal::Double(x)) => Canon::Double((x + 0.0).to_bits()),
        (Class::Bool, Literal::Bool(b)) => Canon::Bool(*b),
        _ => return None,
    })
}
