//! Comparisons as ranges: widened, or to the step.

use crate::expr::{Cmp, Expr, Path, Value};
use crate::form::{ONE_BY_ONE, and};
use crate::pred::{Literal, Op};

/// A range: `bound(value, -1)` is a lower bound moved down, `bound(value, 1)` an upper one moved
/// up. IN asks for the range from its least to its greatest element.
pub(crate) fn range(
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
pub(crate) struct Bounds {
    pub(crate) below: i64,
    pub(crate) up_to: i64,
    pub(crate) from: i64,
    pub(crate) above: i64,
}

/// Ranges between whole steps, ORed.
pub(crate) struct Points {
    path: Path,
    ranges: Vec<(Option<i64>, Option<i64>)>,
}

impl Points {
    pub(crate) fn written(self, text: impl Fn(i64) -> Option<Value>) -> Option<Expr> {
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
pub(crate) fn one_by_one(
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
        Literal::Timestamp(us) | Literal::Zoned(us) => *us as f64,
        _ => f64::NAN,
    }
}
