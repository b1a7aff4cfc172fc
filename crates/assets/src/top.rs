//! The first few objects in an order, in one request where the answer proves itself.
//!
//! Whether ORDER BY an attribute is honoured, and how precisely, is not documented well enough to
//! be trusted (assets-api.md 13, still open). So a little more is asked for than is wanted, and the
//! page has to show that it is sorted; where it cannot, the caller reads everything and sorts.

use std::sync::Arc;

use crate::client::Client;
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
const COARSE_US: i64 = 60_000_000;

/// An instant to order by, which every object has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instant {
    /// `Created`
    Created,
    /// `Updated`
    Updated,
}

/// How rows are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// By what.
    pub by: Instant,
    /// Latest first.
    pub descending: bool,
    /// Where an object without the instant belongs, which no service should send.
    pub nulls_first: bool,
    /// The position of the instant among the scan's columns, decoded as a timestamp.
    pub column: usize,
}

/// Asks for the first `limit` objects in an order, in one `object/aql` request. None where the
/// answer does not prove that these are the ones; then nothing is known.
pub async fn top(
    client: Arc<Client>,
    spec: ScanSpec,
    order: Order,
    limit: u32,
    stats: Arc<ScanStats>,
) -> Result<Option<Vec<Row>>, Error> {
    let layout = Layout::new(spec.columns.clone(), client.config().site.as_deref());
    let keyword = match order.by {
        Instant::Created => "Created",
        Instant::Updated => "Updated",
    };
    let direction = if order.descending { "DESC" } else { "ASC" };
    let condition = match spec.filter.trim() {
        "" => "Key is not EMPTY".to_owned(),
        filter => format!("({filter})"),
    };
    let aql = format!("{condition} ORDER BY {keyword} {direction}");
    let size = limit.saturating_add(EXTRA).min(client.config().page_size.max(limit));
    match client.page(&aql, 0, size, &layout, &stats).await? {
        // Our ORDER BY or the filter itself: the scan that follows tells.
        Reply::Refused(_) | Reply::Count(_) => Ok(None),
        Reply::Page(answer, _) => {
            add(&stats.pages, 1);
            let whole = says_all(&answer, size);
            let rows = proven(answer.rows, whole, order, limit as usize);
            add(&stats.objects, rows.as_ref().map_or(0, Vec::len) as u64);
            Ok(rows)
        }
    }
}

/// The first `limit` of a page's rows in order, if they are surely the first of all.
fn proven(mut rows: Vec<Row>, whole: bool, order: Order, limit: usize) -> Option<Vec<Row>> {
    let instants: Vec<i64> = rows.iter().map(|row| instant(row, order.column)).collect::<Option<_>>()?;
    if whole {
        // Everything there is: the order is ours to make.
        keep_first(&mut rows, order, limit);
        return Some(rows);
    }
    let sign = if order.descending { -1 } else { 1 };
    let sorted = instants.windows(2).all(|pair| sign * pair[0] <= sign * pair[1]);
    let different = 1 + instants.windows(2).filter(|pair| pair[0] != pair[1]).count();
    let (last_wanted, last) = (instants.get(limit.checked_sub(1)?)?, instants.last()?);
    let apart = (last - last_wanted).abs() > COARSE_US;
    if !(sorted && different >= WITNESSES && apart) {
        return None;
    }
    rows.truncate(limit);
    Some(rows)
}

/// Keeps the first `limit` rows in an order, for a caller that reads everything. Rows of the same
/// instant stand by id, so that the result is the same each time.
pub fn keep_first(rows: &mut Vec<Row>, order: Order, limit: usize) {
    rows.sort_by_key(|row| {
        let at = instant(row, order.column).map(i128::from);
        let at = if order.descending { at.map(|us| -us) } else { at };
        (at.is_none() != order.nulls_first, at, row.id)
    });
    rows.truncate(limit);
}

fn instant(row: &Row, column: usize) -> Option<i64> {
    match row.values.get(column) {
        Some(Value::Timestamp(us)) => Some(*us),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATEST: Order = Order { by: Instant::Updated, descending: true, nulls_first: true, column: 0 };
    const EARLIEST: Order = Order { descending: false, ..LATEST };

    fn rows(minutes: &[i64]) -> Vec<Row> {
        let row = |(id, minute): (usize, &i64)| Row {
            id: id as i64,
            key: format!("K-{id}").into(),
            values: vec![Value::Timestamp(minute * 60_000_000)],
        };
        minutes.iter().enumerate().map(row).collect()
    }

    fn ids(rows: Option<Vec<Row>>) -> Option<Vec<i64>> {
        rows.map(|rows| rows.iter().map(|row| row.id).collect())
    }

    #[test]
    fn a_page_that_is_sorted_and_long_enough_proves_its_first_rows() {
        let page = rows(&[100, 99, 95, 90, 80, 70, 60, 50, 40]);
        assert_eq!(ids(proven(page, false, LATEST, 3)), Some(vec![0, 1, 2]));
    }

    #[test]
    fn a_page_in_any_other_order_proves_nothing() {
        assert_eq!(proven(rows(&[100, 99, 95, 90, 80, 70, 60, 50, 51]), false, LATEST, 3), None);
        assert_eq!(proven(rows(&[1, 2, 3, 4, 5, 6, 7, 8, 9]), false, LATEST, 3), None);
    }

    #[test]
    fn a_few_values_or_equal_ones_prove_nothing() {
        assert_eq!(proven(rows(&[100, 99, 98]), false, LATEST, 2), None);
        assert_eq!(proven(rows(&[100; 50]), false, LATEST, 2), None);
    }

    #[test]
    fn a_coarse_sort_could_hide_a_neighbour_beyond_the_page() {
        let mut page = rows(&[100, 99, 95, 90, 80, 70, 60, 50, 50]);
        assert_eq!(ids(proven(page.clone(), false, LATEST, 7)), Some((0..7).collect()));
        page[8].values[0] = Value::Timestamp(50 * 60_000_000 - 1);
        assert_eq!(proven(page, false, LATEST, 8), None);
    }

    #[test]
    fn a_complete_page_needs_no_order_of_the_service() {
        assert_eq!(ids(proven(rows(&[5, 9, 7]), true, LATEST, 2)), Some(vec![1, 2]));
        assert_eq!(ids(proven(rows(&[5, 9, 7]), true, EARLIEST, 2)), Some(vec![0, 2]));
        assert_eq!(ids(proven(rows(&[]), true, EARLIEST, 2)), Some(vec![]));
    }

    #[test]
    fn what_is_kept_of_everything_is_in_order_with_nulls_where_they_belong() {
        let mut all = rows(&[5, 9, 7]);
        all[0].values[0] = Value::Null;
        let mut last = all.clone();
        keep_first(&mut all, LATEST, 2);
        assert_eq!(ids(Some(all)), Some(vec![0, 1]));
        keep_first(&mut last, Order { nulls_first: false, ..LATEST }, 3);
        assert_eq!(ids(Some(last)), Some(vec![1, 2, 0]));
    }

    #[test]
    fn an_object_without_the_instant_proves_nothing() {
        let mut page = rows(&[100, 99, 95]);
        page[1].values[0] = Value::Null;
        assert_eq!(proven(page, true, LATEST, 2), None);
    }
}
