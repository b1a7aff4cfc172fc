//! What a page says of itself.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::facts::SortBy;
use super::protocol;
use crate::decode::Answer;
use crate::error::Error;
use crate::value::Row;

/// Whether everything on the page says that nothing follows: at least one sign, and none against
/// (assets-api.md 12.1).
pub(super) fn says_end(answer: &Answer, start: u64) -> bool {
    let signs = [answer.is_last, answer.last, answer.has_more.map(|more| !more)];
    let positive = answer.is_last == Some(true) || answer.last == Some(true);
    let seen = start + answer.rows.len() as u64;
    positive && !signs.contains(&Some(false)) && answer.total.is_none_or(|total| total <= seen)
}

/// Whether a page from the start is surely everything: it says so, tells how many objects there
/// are, and is not so long that it may have been cut.
pub(crate) fn says_all(answer: &Answer, asked: u32) -> bool {
    let rows = answer.rows.len();
    let counted = answer.total == Some(rows as u64);
    counted && says_end(answer, 0) && !is_round(rows) && rows < asked as usize
}

/// A length at which a service may cut its pages.
pub(super) fn is_round(rows: usize) -> bool {
    rows > 0 && (rows.is_multiple_of(10) || rows.is_multiple_of(25))
}

/// Whether anything on the page says that objects follow it, or should have been on it.
pub(crate) fn says_more(answer: &Answer, start: u64) -> bool {
    let seen = start + answer.rows.len() as u64;
    answer.is_last == Some(false)
        || answer.last == Some(false)
        || answer.has_more == Some(true)
        || answer.total.is_some_and(|total| total > seen)
}

pub(super) fn ascending(rows: &[Row], sort: SortBy) -> bool {
    rows.windows(2)
        .all(|pair| sort.compare((pair[0].id, &pair[0].key), (pair[1].id, &pair[1].key)) == Ordering::Less)
}

/// Every object at most once on a page.
pub(super) fn check_distinct(rows: &[Row]) -> Result<(), Error> {
    let mut seen = HashSet::with_capacity(rows.len());
    match rows.iter().find(|row| !seen.insert(row.id)) {
        None => Ok(()),
        Some(row) => Err(protocol(format!("object {} stands twice on one page", row.key))),
    }
}
