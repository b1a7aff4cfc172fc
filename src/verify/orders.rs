//! ORDER BY: whether the service keeps to it, both ways, with missing values first when ascending.

use std::cmp::Ordering;

use aql::facts::{
    ORDER_CREATED, ORDER_DATE, ORDER_DATETIME, ORDER_DOUBLE, ORDER_ID, ORDER_INTEGER, ORDER_UPDATED,
};
use aql::order::Sort;
use aql::{Literal, Op};

use super::ask::Asker;
use super::sample::{Sample, Sampled};
use super::{Findings, Line};

/// Different values that it takes to tell an order from an accident.
const DIFFERENT: usize = 4;

/// Tries each order on the column with most different values.
pub fn verify(asker: &mut Asker, samples: &[Sample]) -> Findings {
    let mut found = Findings::default();
    let facts =
        [ORDER_ID, ORDER_CREATED, ORDER_UPDATED, ORDER_INTEGER, ORDER_DOUBLE, ORDER_DATE, ORDER_DATETIME];
    for fact in facts {
        let columns = samples.iter().flat_map(|s| s.columns.iter().map(move |c| (s, c)));
        let fit = columns.filter(|(_, column)| sort_of(column).is_some_and(|sort| sort.fact == fact));
        let best = fit.map(|(s, c)| (different(&c.values), s, c)).max_by_key(|(different, _, _)| *different);
        let Some((_, sample, column)) = best.filter(|(different, _, _)| *different >= DIFFERENT) else {
            found.lines.push(Line::untested(fact, "too few different values"));
            continue;
        };
        let Some(sort) = sort_of(column) else { continue };
        let orders = [format!("order by {} asc", sort.by), format!("order by {} desc", sort.by)];
        let answers = asker.ask(sample, &orders);
        let verdict = match answers.as_slice() {
            [Some(up), Some(down)] => {
                let down: Vec<i64> = down.iter().rev().copied().collect();
                if is_sorted(sample, column, up) && is_sorted(sample, column, &down) {
                    "exact"
                } else {
                    "wrong"
                }
            }
            _ => "refused",
        };
        let detail = format!(
            "both ways on column \"{}\" of {}, {} objects",
            column.name,
            sample.table,
            sample.ids.len()
        );
        found.learn(fact, verdict == "exact", &detail);
        found.lines.push(Line { rule: fact.to_owned(), aql: Some(orders[0].clone()), verdict, detail });
    }
    found
}

/// A column whose values may read as NULL can be ordered by all the same: missing values are looked at.
fn sort_of(column: &Sampled) -> Option<Sort> {
    Sort::new(&aql::Subject { null_is_vague: false, ..column.subject.clone() })
}

fn order(a: &Literal, b: &Literal) -> Ordering {
    match (a, b) {
        (Literal::Null, Literal::Null) => Ordering::Equal,
        (Literal::Null, _) => Ordering::Less,
        (_, Literal::Null) => Ordering::Greater,
        _ if aql::eval::holds(Op::Lt, a, b) => Ordering::Less,
        _ if aql::eval::holds(Op::Gt, a, b) => Ordering::Greater,
        _ => Ordering::Equal,
    }
}

fn different(values: &[Literal]) -> usize {
    let mut sorted: Vec<&Literal> = values.iter().collect();
    sorted.sort_by(|a, b| order(a, b));
    sorted.dedup();
    sorted.len()
}

fn is_sorted(sample: &Sample, column: &Sampled, ids: &[i64]) -> bool {
    let value = |id: &i64| sample.ids.iter().position(|known| known == id).map(|n| &column.values[n]);
    let values: Option<Vec<&Literal>> = ids.iter().map(value).collect();
    values.is_some_and(|values| {
        values.len() == sample.ids.len() && values.is_sorted_by(|a, b| order(a, b) != Ordering::Greater)
    })
}
