//! Numbers of other types than the column's: what whole numbers are compared with as `numeric` or as `double precision`.

use crate::pred::{Leaf, Literal, Op, Operand};

/// From here on some whole numbers are one as a double: what is equal there need not be equal.
const ONE_BY_ONE_UP_TO: f64 = 9_007_199_254_740_992.0;

/// What whole numbers are compared with, given in decimal notation. None for what is no number (`NaN`, the
/// infinities), and beyond the whole numbers there are.
pub fn decimal(text: &str) -> Option<Literal> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let n: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    if fraction.bytes().all(|digit| digit == b'0') {
        return Some(Literal::Int(n));
    }
    Some(Literal::Between(if whole.starts_with('-') { n.checked_sub(1)? } else { n }))
}

/// The same of a double, with which whole numbers are compared as doubles. None where several of them are one.
pub fn double(x: f64) -> Option<Literal> {
    if !x.is_finite() || x.abs() >= ONE_BY_ONE_UP_TO {
        return None;
    }
    let below = x.floor();
    Some(if below == x { Literal::Int(below as i64) } else { Literal::Between(below as i64) })
}

/// A comparison of whole numbers with what lies between two of them.
pub(crate) enum AmongWhole {
    /// It compares with whole numbers.
    As(Leaf),
    /// It is never true.
    Never,
}

/// A comparison with numbers between whole ones as one with whole ones. None where there are no such numbers in it.
pub(crate) fn among_whole(leaf: &Leaf) -> Option<AmongWhole> {
    let other = |op, operand| Some(AmongWhole::As(Leaf { subject: leaf.subject.clone(), op, operand }));
    match (&leaf.operand, leaf.op) {
        (Operand::Value(Literal::Between(n)), op) => match op {
            Op::Gt | Op::Ge => other(Op::Gt, Operand::Value(Literal::Int(*n))),
            Op::Lt | Op::Le => other(Op::Le, Operand::Value(Literal::Int(*n))),
            Op::Eq | Op::ArrayHas => Some(AmongWhole::Never),
            Op::Ne => other(Op::IsNotNull, Operand::None),
            _ => None,
        },
        (Operand::Value(Literal::List(list)), op @ (Op::In | Op::NotIn)) => {
            let is_whole = |item: &&Literal| !matches!(item, Literal::Between(_));
            let whole: Vec<Literal> = list.iter().filter(is_whole).cloned().collect();
            match (whole.len() == list.len(), whole.is_empty(), op) {
                (true, ..) => None,
                (_, true, Op::In) => Some(AmongWhole::Never),
                (_, true, _) => other(Op::IsNotNull, Operand::None),
                _ => other(op, Operand::Value(Literal::List(whole))),
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_whole_or_between_two_that_are() {
        for (text, wanted) in [
            ("64", Some(Literal::Int(64))),
            ("64.000", Some(Literal::Int(64))),
            ("-0.00", Some(Literal::Int(0))),
            ("64.5", Some(Literal::Between(64))),
            ("-64.5", Some(Literal::Between(-65))),
            ("-0.5", Some(Literal::Between(-1))),
            ("9223372036854775807", Some(Literal::Int(i64::MAX))),
            ("9223372036854775807.1", Some(Literal::Between(i64::MAX))),
            ("-9223372036854775808", Some(Literal::Int(i64::MIN))),
            ("-9223372036854775808.1", None),
            ("9223372036854775808", None),
            ("NaN", None),
            ("-Infinity", None),
            ("", None),
        ] {
            assert_eq!(decimal(text), wanted, "{text}");
        }
    }

    #[test]
    fn doubles_are_whole_or_between_where_each_whole_number_is_a_double_of_its_own() {
        for (x, wanted) in [
            (64.0, Some(Literal::Int(64))),
            (-0.0, Some(Literal::Int(0))),
            (-0.5, Some(Literal::Between(-1))),
            (9_007_199_254_740_991.0, Some(Literal::Int(9_007_199_254_740_991))),
            (9_007_199_254_740_992.0, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
        ] {
            assert_eq!(double(x), wanted, "{x}");
        }
    }
}
