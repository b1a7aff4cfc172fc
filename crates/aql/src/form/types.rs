//! Object types, by their names.

use super::path;
use super::text::{is_whole, one_of};
use crate::eval;
use crate::expr::{Cmp, Expr, Value};
use crate::letters::{self, Case};
use crate::pred::{Column, Leaf, Literal, Op, Operand};

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
pub(super) fn type_names(leaf: &Leaf) -> Option<Expr> {
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
    // Digits alone could be meant as an id.
    let can_be_sent = |text: &String| is_whole(text) && !text.chars().all(char::is_numeric);
    if !names.iter().all(can_be_sent) {
        return None;
    }
    one_of(path, names.into_iter().map(Value::Text).collect())
}
