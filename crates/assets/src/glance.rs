//! A few objects, in the order in which the service gives them: for looking at how it behaves, not
//! for reading tables, which is [`crate::scan`]'s work.

use std::sync::Arc;

use crate::client::{Client, Wanted};
use crate::decode::Layout;
use crate::error::{Error, Kind};
use crate::pages::{Pace, Reply, says_more};
use crate::stats::ScanStats;
use crate::value::{ColumnSpec, Row};

/// More pages than this are not worth a look.
const MOST_PAGES: usize = 12;

/// What one request for a page gave.
#[derive(Debug)]
pub struct Glance {
    /// Its objects, as they came.
    pub rows: Vec<Row>,
    /// Whether the service says that nothing follows.
    pub says_last: bool,
    /// Whether it says that more follows, or should have been there.
    pub says_more: bool,
}

impl Client {
    /// One page of `object/aql` (assets-api.md 2.1) from `start` on, asked for with `size`, or with less
    /// where objects are large. `aql` may carry an ORDER BY.
    ///
    /// # Errors
    /// Every [`Kind`]; [`Kind::AqlRejected`] where the service refuses the query.
    pub async fn glance(
        self: &Arc<Self>,
        aql: &str,
        start: u64,
        size: u32,
        columns: Arc<[ColumnSpec]>,
    ) -> Result<Glance, Error> {
        let layout = Layout::new(columns.clone(), self.config().site.as_deref());
        let mut pace = Pace::new(size, self.object_size(&columns), self.given(&columns));
        let mut strain = None;
        loop {
            let size = pace.size();
            let (stats, room) = (ScanStats::default(), Arc::default());
            let wanted = Wanted { strain, ..Wanted::new(aql, start, size) };
            match self.page(wanted, &layout, &stats, &room).await? {
                Reply::Page(answer, bytes) => {
                    pace.learn(answer.rows.len(), bytes);
                    self.keep_object_size(&columns, pace.object(), pace.given());
                    let says_last = answer.is_last == Some(true) && answer.has_more != Some(true);
                    let says_more = says_more(&answer, start);
                    return Ok(Glance { rows: answer.rows, says_last, says_more });
                }
                Reply::TooLong(bytes) => pace.cut(size, bytes),
                Reply::TooMuch(smaller, before) => {
                    pace.fail(size, smaller.by, !smaller.sure);
                    strain = before;
                }
                Reply::Refused(error) => return Err(error),
                Reply::Count(_) => {
                    return Err(Error::new(Kind::Protocol, "a count came where a page was asked for"));
                }
            }
        }
    }

    /// The ids of the objects that match, in the order in which they come; for conditions that a few
    /// objects can match. A page of `full` objects or more is never taken for the last.
    ///
    /// # Errors
    /// As [`Client::glance`]; [`Kind::Protocol`] where the pages do not end.
    pub async fn few_ids(self: &Arc<Self>, aql: &str, full: usize) -> Result<Vec<i64>, Error> {
        let mut ids: Vec<i64> = Vec::new();
        // Times that an empty page which says that more follows is asked for again.
        let mut doubts = 2;
        for _ in 0..MOST_PAGES {
            let page = self.glance(aql, ids.len() as u64, 100, Arc::from([])).await?;
            let came = page.rows.len();
            ids.extend(page.rows.iter().map(|row| row.id));
            if came == 0 && page.says_more && doubts > 0 {
                doubts -= 1;
                continue;
            }
            if came == 0 || (page.says_last && came < full) {
                return Ok(ids);
            }
        }
        Err(Error::new(Kind::Protocol, "pages of a few objects do not end"))
    }
}
