//! The first few objects in an order, in one request where the answer proves itself.
//!
//! Whether ORDER BY is honoured, and how precisely, is not documented well enough to be trusted
//! (assets-api.md 13, still open). So a little more is asked for than is wanted, and the page has to show
//! that it is sorted; where it cannot, the caller reads everything and sorts.
//! A sorted page that begins later than it should is not told from one that does not: an order has no
//! second witness that would not be a scan.
//!
//! How many rows are wanted is what a planner expects. All that the page proves is given, so that a reader who
//! wants a few more finds them; whoever wants more than that reads the rest and sorts it.

use std::cmp::Ordering;
use std::mem::discriminant;
use std::sync::Arc;

use crate::client::{Client, Wanted};
use crate::decode::Layout;
use crate::error::Error;
use crate::pages::{Reply, says_all};
use crate::stats::{ScanStats, add};
use crate::value::{Row, ScanSpec, Value};

/// Rows asked for beyond those wanted, so that a page has something to prove itself with.
const EXTRA: u32 = 40;
/// Different values that must stand in order before the order counts as honoured: the chance that
/// an arbitrary order looks so is one in 40,320.
const WITNESSES: usize = 8;
/// Sorting may be as coarse as this: the last wanted row must lie further than this from the page's
/// end, or an equally coarse neighbour beyond the page could belong before it. Microseconds.
const COARSE_US: u64 = 60_000_000;

/// How rows are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What stands behind ORDER BY, without a direction; none: the order cannot be asked for.
    pub by: Option<String>,
    /// Whether the order has been proven to be honoured: then a sorted page is enough.
    pub proven: bool,
    /// A condition that objects with a value satisfy, where some that are wanted may have none.
    pub present: Option<String>,
    /// Latest or largest first.
    pub descending: bool,
    /// The position of the value among the scan's columns, decoded as a number, a date or a timestamp.
    pub column: usize,
}

/// What came of asking in an order.
#[derive(Debug, PartialEq)]
pub enum Top {
    /// The wanted rows, in order, and those after them that are as sure.
    Rows {
        /// As many as are wanted at least, where there are.
        rows: Vec<Row>,
        /// Whether no other object matches.
        all: bool,
    },
    /// The page does not prove that these are the ones: nothing is known.
    Unproven,
    /// The page is not in the order that was asked for.
    OutOfOrder,
}

/// Asks for the first `limit` objects in an order, in one `object/aql` request.
///
/// # Errors
/// Every [`crate::error::Kind`] but a refusal of the query, after which nothing is known.
pub async fn top(
    client: Arc<Client>,
    spec: ScanSpec,
    order: Order,
    limit: u32,
    stats: Arc<ScanStats>,
) -> Result<Top, Error> {
    let Some(by) = &order.by else { return Ok(Top::Unproven) };
    let layout = Layout::new(spec.columns.clone(), client.config().site.as_deref());
    let layout = layout.expecting(spec.expected.clone());
    let direction = if order.descending { "DESC" } else { "ASC" };
    let condition = match (spec.filter.trim(), &order.present) {
        ("", None) => "Key is not EMPTY".to_owned(),
        ("", Some(present)) => present.clone(),
        (filter, None) => format!("({filter})"),
        (filter, Some(present)) => format!("({filter}) AND {present}"),
    };
    let aql = format!("{condition} ORDER BY {by} {direction}");
    let size = limit.saturating_add(EXTRA).min(client.config().page_size.max(limit));
    match client.page(Wanted::new(&aql, 0, size), &layout, &stats, &Arc::default()).await? {
        // Our ORDER BY or the filter itself: the scan that follows tells.
        // Or more than there is room for, or than is given: the scan asks for it in parts.
        Reply::Refused(_) | Reply::TooLong(_) | Reply::TooMuch(..) | Reply::Count(_) => Ok(Top::Unproven),
        Reply::Page(answer, _) => {
            add(&stats.pages, 1);
            // A page and its total may be short together; what was counted before tells.
            let count = client.cached_count(&spec.filter).filter(|_| order.present.is_none());
            let short = count.is_some_and(|count| count > answer.rows.len() as u64);
            let whole = says_all(&answer, size) && !short;
            let found = first(answer.rows, whole, &order, limit as usize);
            if let Top::Rows { rows, .. } = &found {
                client.session.meter_of(&stats).objects(rows.len().min(limit as usize) as u64);
            }
            Ok(found)
        }
    }
}

/// Those of a page's rows, in order, that are surely the first of all, if they are `limit` or more.
fn first(mut rows: Vec<Row>, whole: bool, order: &Order, limit: usize) -> Top {
    let values: Option<Vec<&Value>> = rows.iter().map(|row| sortable(row, order.column)).collect();
    let Some(values) = values else { return Top::Unproven };
    if values.windows(2).any(|pair| discriminant(pair[0]) != discriminant(pair[1])) {
        return Top::Unproven;
    }
    if whole {
        // Everything there is: the order is ours to make. Objects without a value are not among them.
        if order.present.is_some() && rows.len() < limit {
            return Top::Unproven;
        }
        sort(&mut rows, order);
        return Top::Rows { rows, all: order.present.is_none() };
    }
    let in_order = |pair: &[&Value]| {
        let ordering = compare(pair[0], pair[1]);
        (if order.descending { ordering.reverse() } else { ordering }) != Ordering::Greater
    };
    if !values.windows(2).all(in_order) {
        return Top::OutOfOrder;
    }
    let different = 1 + values.windows(2).filter(|pair| compare(pair[0], pair[1]).is_ne()).count();
    let Some(last) = values.last() else { return Top::Unproven };
    let is_sure = |value: &&Value| match (value, last) {
        (Value::Timestamp(a), Value::Timestamp(b)) => a.abs_diff(*b) > COARSE_US,
        // Exact values: one beyond the page is no better than the page's last.
        _ => true,
    };
    let sure = values.iter().copied().take_while(is_sure).count();
    if sure < limit.max(1) || !(order.proven || different >= WITNESSES) {
        return Top::Unproven;
    }
    rows.truncate(sure);
    Top::Rows { rows, all: false }
}

/// Rows of the same value stand by id, so that the result is the same each time.
fn sort(rows: &mut [Row], order: &Order) {
    rows.sort_by(|a, b| {
        let by_value = match (sortable(a, order.column), sortable(b, order.column)) {
            (Some(a), Some(b)) if order.descending => compare(b, a),
            (Some(a), Some(b)) => compare(a, b),
            _ => Ordering::Equal,
        };
        by_value.then(a.id.cmp(&b.id))
    });
}

/// Values of one column: of one variant.
fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Int(a) | Value::Timestamp(a), Value::Int(b) | Value::Timestamp(b)) => a.cmp(b),
        (Value::Date(a), Value::Date(b)) => a.cmp(b),
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
        _ => Ordering::Equal,
    }
}

fn sortable(row: &Row, column: usize) -> Option<&Value> {
    let value = row.values.get(column)?;
    matches!(value, Value::Int(_) | Value::Double(_) | Value::Date(_) | Value::Timestamp(_)).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latest() -> Order {
        Order { by: Some("Updated".to_owned()), proven: false, present: None, descending: true, column: 0 }
    }

    fn earliest() -> Order {
        Order { descending: false, ..latest() }
    }

    fn rows(minutes: &[i64]) -> Vec<Row> {
        let row = |(id, minute): (usize, &i64)| Row {
            id: id as i64,
            key: format!("K-{id}").into(),
            values: vec![Value::Timestamp(minute * 60_000_000)],
        };
        minutes.iter().enumerate().map(row).collect()
    }

    fn ids(top: Top) -> Option<Vec<i64>> {
        match top {
            Top::Rows { rows, .. } => Some(rows.iter().map(|row| row.id).collect()),
            _ => None,
        }
    }

    /// The first of them, where a page proves so many.
    fn some(n: usize, top: Top) -> Option<Vec<i64>> {
        ids(top).map(|ids| ids[..n].to_vec())
    }

    #[test]
    fn a_page_that_is_sorted_and_long_enough_proves_its_first_rows() {
        let page = rows(&[100, 99, 95, 90, 80, 70, 60, 50, 40]);
        assert_eq!(some(3, first(page, false, &latest(), 3)), Some(vec![0, 1, 2]));
    }

    #[test]
    fn how_many_are_wanted_is_a_guess_and_all_that_is_proven_is_given() {
        let page = rows(&[100, 99, 95, 90, 80, 70, 60, 50, 50, 50]);
        assert_eq!(
            ids(first(page, false, &latest(), 3)),
            Some((0..7).collect()),
            "up to the page's last value"
        );
        let Top::Rows { rows, all } = first(rows(&[5, 9, 7]), true, &latest(), 1) else { panic!() };
        assert_eq!((rows.len(), all), (3, true), "a complete page is everything");
    }

    #[test]
    fn a_page_in_any_other_order_proves_nothing() {
        let page = rows(&[100, 99, 95, 90, 80, 70, 60, 50, 51]);
        assert_eq!(first(page, false, &latest(), 3), Top::OutOfOrder);
        assert_eq!(first(rows(&[1, 2, 3, 4, 5, 6, 7, 8, 9]), false, &latest(), 3), Top::OutOfOrder);
    }

    #[test]
    fn a_few_values_or_equal_ones_prove_nothing_unless_the_order_is_proven() {
        assert_eq!(first(rows(&[100, 99, 98]), false, &latest(), 2), Top::Unproven);
        assert_eq!(first(rows(&[100; 50]), false, &latest(), 2), Top::Unproven);
        let proven = Order { proven: true, ..latest() };
        assert_eq!(some(1, first(rows(&[100, 99, 90]), false, &proven, 1)), Some(vec![0]));
        assert_eq!(first(rows(&[99, 100, 90]), false, &proven, 1), Top::OutOfOrder);
    }

    #[test]
    fn a_coarse_sort_could_hide_a_neighbour_beyond_the_page() {
        let mut page = rows(&[100, 99, 95, 90, 80, 70, 60, 50, 50]);
        assert_eq!(ids(first(page.clone(), false, &latest(), 7)), Some((0..7).collect()));
        page[8].values[0] = Value::Timestamp(50 * 60_000_000 - 1);
        assert_eq!(first(page, false, &latest(), 8), Top::Unproven);
    }

    #[test]
    fn numbers_are_exact_and_their_first_rows_may_reach_the_pages_end() {
        let mut page = rows(&[9; 9]);
        for (n, row) in page.iter_mut().enumerate() {
            row.values[0] = Value::Double(n as f64 / 2.0);
        }
        assert_eq!(ids(first(page, false, &earliest(), 9)), Some((0..9).collect()));
    }

    #[test]
    fn a_complete_page_needs_no_order_of_the_service() {
        assert_eq!(some(2, first(rows(&[5, 9, 7]), true, &latest(), 2)), Some(vec![1, 2]));
        assert_eq!(some(2, first(rows(&[5, 9, 7]), true, &earliest(), 2)), Some(vec![0, 2]));
        assert_eq!(ids(first(rows(&[]), true, &earliest(), 2)), Some(vec![]));
    }

    #[test]
    fn where_objects_without_a_value_are_left_out_too_few_rows_prove_nothing() {
        let present = Order { present: Some("\"A\" is not EMPTY".to_owned()), ..earliest() };
        assert_eq!(ids(first(rows(&[5, 9, 7]), true, &present, 3)), Some(vec![0, 2, 1]));
        assert_eq!(first(rows(&[5, 9, 7]), true, &present, 4), Top::Unproven);
    }

    #[test]
    fn an_object_without_a_value_that_sorts_proves_nothing() {
        for odd in [Value::Null, Value::Text("99".into()), Value::Int(99)] {
            let mut page = rows(&[100, 99, 95]);
            page[1].values[0] = odd;
            assert_eq!(first(page, true, &latest(), 2), Top::Unproven);
        }
    }
}
