//! A sample of the objects that match, for statistics: a few pages spread over all of them.
//!
//! Nothing is promised of it but that each object comes once: where objects come and go meanwhile, or the
//! service gives pages in no order, it is a sample of what was there all the same.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::client::Client;
use crate::error::{Error, Kind};
use crate::retry::jitter;
use crate::value::{ColumnSpec, Row};

/// Pages that a sample takes at most: a fiftieth of a minute's requests.
pub const PAGES: usize = 20;

/// Some of the objects that match.
#[derive(Debug)]
pub struct Sample {
    /// The objects.
    pub rows: Vec<Row>,
    /// How many match.
    pub total: u64,
}

impl Client {
    /// At most `most` objects that match, in at most [`PAGES`] requests for pages and one for the count
    /// (assets-api.md 2.1, 2.2). All of them where they fit.
    ///
    /// # Errors
    /// Every [`Kind`].
    pub async fn sample(
        self: &Arc<Self>,
        filter: &str,
        columns: Arc<[ColumnSpec]>,
        most: usize,
    ) -> Result<Sample, Error> {
        let total = self.total_count(filter).await?;
        if total == 0 {
            return Ok(Sample { rows: Vec::new(), total });
        }
        let size = self.config().page_size;
        let mut rows = self.glance(filter, 0, size, columns.clone()).await?.rows;
        let mut open = offsets(total, rows.len() as u64, most, jitter).into_iter();
        let mut under_way = JoinSet::new();
        loop {
            while under_way.len() < self.config().max_in_flight as usize
                && let Some(start) = open.next()
            {
                let (client, filter, columns) = (self.clone(), filter.to_owned(), columns.clone());
                under_way.spawn(async move { client.glance(&filter, start, size, columns).await });
            }
            match under_way.join_next().await {
                Some(Ok(page)) => rows.extend(page?.rows),
                Some(Err(_)) => {
                    return Err(Error::new(Kind::Protocol, "a page of a sample could not be decoded"));
                }
                None => break,
            }
        }
        let mut seen = HashSet::with_capacity(rows.len());
        rows.retain(|row| seen.insert(row.id));
        while rows.len() > most {
            let n = (jitter() * rows.len() as f64) as usize;
            rows.swap_remove(n.min(rows.len() - 1));
        }
        // Objects may have been created since they were counted.
        let total = total.max(rows.len() as u64);
        Ok(Sample { rows, total })
    }
}

/// Where the pages begin after the first, which held `page` objects: all that follow, where they are few;
/// else one somewhere in each of as many equal parts as there are pages to ask for. `random` gives numbers
/// from 0 to 1.
fn offsets(total: u64, page: u64, most: usize, mut random: impl FnMut() -> f64) -> Vec<u64> {
    if page == 0 || page >= total {
        return Vec::new();
    }
    let pages = (most as u64).div_ceil(page).clamp(1, PAGES as u64);
    if total.div_ceil(page) <= pages {
        return (1..total.div_ceil(page)).map(|n| n * page).collect();
    }
    let parts = pages - 1;
    let part = |n: u64| page + (total - page) * n / parts.max(1);
    (0..parts)
        .map(|n| {
            let (from, to) = (part(n), part(n + 1));
            from + (random() * (to - from).saturating_sub(page) as f64) as u64
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_objects_are_all_read_and_many_in_pages_that_do_not_overlap() {
        let half = || 0.5;
        assert_eq!(offsets(80, 80, 30_000, half), [0; 0]);
        assert_eq!(offsets(81, 80, 30_000, half), [80]);
        assert_eq!(offsets(300, 100, 30_000, half), [100, 200]);
        for random in [0.0, 0.3, 0.999_999] {
            for (total, page, most) in [(100_000, 100, 30_000), (2001, 100, 30_000), (1_000_000, 25, 300)] {
                let starts = offsets(total, page, most, || random);
                assert!(starts.len() < PAGES && starts.len() as u64 >= most as u64 / page / 60);
                assert!(starts.first().is_none_or(|start| *start >= page));
                assert!(starts.windows(2).all(|pair| pair[0] + page <= pair[1]), "{starts:?}");
                assert!(starts.last().is_none_or(|start| *start < total));
            }
        }
    }

    #[test]
    fn a_small_sample_is_one_page() {
        assert_eq!(offsets(100_000, 300, 300, || 0.5), [0; 0]);
        assert_eq!(offsets(100_000, 0, 300, || 0.5), [0; 0]);
    }
}
