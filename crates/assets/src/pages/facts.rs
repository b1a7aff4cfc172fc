//! What a service does, as far as one client has learnt it.

use std::cmp::Ordering;

/// What may be ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OrderBy {
    Id,
    Key,
}

/// How rows of an ordered scan were found to be sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SortBy {
    Id,
    /// By the key's prefix as text, then its number.
    KeyNumber,
    KeyText,
}

impl SortBy {
    /// What an order may turn out to be. Only pages can tell: `HR-10`, `HR-11` is sorted by both.
    pub(super) fn candidates(order: OrderBy) -> Vec<SortBy> {
        match order {
            OrderBy::Id => vec![SortBy::Id],
            OrderBy::Key => vec![SortBy::KeyNumber, SortBy::KeyText],
        }
    }

    pub(super) fn compare(self, a: (i64, &str), b: (i64, &str)) -> Ordering {
        match self {
            SortBy::Id => a.0.cmp(&b.0),
            SortBy::KeyText => a.1.cmp(b.1),
            SortBy::KeyNumber => split_key(a.1).cmp(&split_key(b.1)),
        }
    }
}

/// `ITSM-88` into its prefix and number.
fn split_key(key: &str) -> (&str, u64) {
    match key.rsplit_once('-') {
        Some((prefix, number)) => (prefix, number.parse().unwrap_or(u64::MAX)),
        None => (key, 0),
    }
}

/// Whether the service does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Verdict {
    #[default]
    Unknown,
    Works,
    Fails,
}

/// What one client has learnt of its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Facts {
    pub(crate) by_id: Verdict,
    pub(crate) by_key: Verdict,
    /// `objectId >= a AND objectId <= b`.
    pub(crate) ranges: Verdict,
    /// The longest page seen that was not the last.
    pub(crate) page: Option<usize>,
    /// How many objects it was asked for with: more than it has, and the service cuts its pages there.
    pub(crate) asked: usize,
}

impl Facts {
    pub(super) fn order_mut(&mut self, order: OrderBy) -> &mut Verdict {
        match order {
            OrderBy::Id => &mut self.by_id,
            OrderBy::Key => &mut self.by_key,
        }
    }

    /// Takes in how long a page was that was not the last.
    pub(super) fn learn_page(&mut self, rows: usize, asked: u32) {
        let (asked, page) = (asked as usize, self.page.unwrap_or(0));
        if rows > page || (rows == page && asked > self.asked) {
            (self.page, self.asked) = (Some(rows), asked);
        }
    }

    /// Pages turned out to be shorter than expected.
    pub(super) fn expect(&mut self, rows: usize) {
        (self.page, self.asked) = (Some(rows), self.asked.max(rows + 1));
    }

    /// Where the service cuts its pages, as far as it does.
    pub(super) fn cap(&self) -> Option<usize> {
        self.page.filter(|page| *page < self.asked)
    }

    pub(super) fn next_order(&self) -> Option<OrderBy> {
        // A verdict of another query is where to begin, never a proof: each page is verified.
        match (self.by_id, self.by_key) {
            (Verdict::Works | Verdict::Unknown, _) => Some(OrderBy::Id),
            (Verdict::Fails, Verdict::Works | Verdict::Unknown) => Some(OrderBy::Key),
            (Verdict::Fails, Verdict::Fails) => None,
        }
    }
}
