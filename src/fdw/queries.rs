//! The queries of one scan: several of them are under way at once, and what comes is handed on in their order.

use std::collections::VecDeque;
use std::sync::Arc;

use assets::client::Client;
use assets::error::Error;
use assets::expected::Expected;
use assets::stats::ScanStats;
use assets::together::{Requests, Together, Width};
use assets::value::{ColumnSpec, Page, ScanSpec};

use crate::fdw::question::Query;
use crate::runtime::{Caller, PageStream};

/// How they are asked.
pub struct Asking {
    /// Who is asked.
    pub client: Arc<Client>,
    /// What is decoded.
    pub columns: Arc<[ColumnSpec]>,
    /// What the conditions rest on.
    pub expected: Option<Arc<Expected>>,
    /// How many rows the reader takes at most, where that is known, and how many of them it has taken.
    pub limit: Option<u64>,
    /// See there.
    pub given: u64,
    /// What it costs.
    pub stats: Arc<ScanStats>,
}

/// What comes next.
pub enum Next {
    /// A page.
    Page(Page),
    /// The end of a query.
    Ended,
    /// The end of the last one.
    Over,
    /// It is not known yet; the caller will ring.
    Later,
    /// A query failed: the failure, and which one. The others are stopped.
    Failed(Error, String),
}

/// The queries of one scan.
pub struct Queries {
    /// Where it is one of several scans that are read side by side.
    caller: Option<Caller>,
    /// Those that are still to be sent.
    queue: VecDeque<Query>,
    under_way: VecDeque<UnderWay>,
    together: Arc<Together>,
    width: Width,
    /// The reader came back for more, after the last page or the empty end of a query.
    goes_on: bool,
    /// Something was answered: by what came it is known how much a page holds.
    answered: bool,
}

struct UnderWay {
    text: String,
    stream: PageStream,
    /// Whether rows of it came.
    gave: bool,
}

impl Queries {
    /// None yet. `in_flight` requests at most are under way for all of them.
    pub fn new(in_flight: u32) -> Self {
        Self {
            caller: None,
            queue: VecDeque::new(),
            under_way: VecDeque::new(),
            together: Arc::new(Together::new(in_flight)),
            width: Width::new(in_flight, false),
            goes_on: false,
            answered: false,
        }
    }

    /// Nothing has been asked yet: the scan is one of several that are read side by side from now on, for which so many
    /// requests at most are under way together.
    pub fn beside(&mut self, requests: Requests, caller: Caller) {
        self.together = Arc::new(Together::within(requests));
        self.caller = Some(caller);
    }

    /// Who rings when there is more, where it is one of several.
    pub fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }

    /// What is to be asked from now on. `all`: whoever reads takes all rows.
    pub fn begin(&mut self, asked: &[Query], in_flight: u32, all: bool) {
        self.clear();
        self.queue.extend(asked.iter().cloned());
        self.width = Width::new(in_flight, all);
    }

    /// Stops them.
    pub fn clear(&mut self) {
        self.queue.clear();
        self.under_way.clear();
        self.goes_on = false;
    }

    /// The next page. `waits`: if there is none yet, it is waited for.
    pub fn next(&mut self, asking: &Asking, waits: bool) -> Next {
        self.send(asking);
        let Some(query) = self.under_way.front_mut() else { return Next::Over };
        let next = if waits { Some(query.stream.next()) } else { query.stream.poll() };
        let Some(next) = next else { return Next::Later };
        self.answered = true;
        match next {
            Ok(Some(page)) => {
                (query.gave, self.goes_on) = (true, true);
                Next::Page(page)
            }
            Ok(None) => {
                self.goes_on |= self.under_way.pop_front().is_some_and(|query| !query.gave);
                Next::Ended
            }
            Err(error) => {
                let text = std::mem::take(&mut query.text);
                self.clear();
                Next::Failed(error, text)
            }
        }
    }

    /// Sends as many as are wanted by now.
    fn send(&mut self, asking: &Asking) {
        if std::mem::take(&mut self.goes_on) {
            self.width.went_on();
        }
        while let Some(most) = self.queue.front().map(|query| query.most.unwrap_or(u64::MAX)) {
            let known = asking.client.page_bytes(&asking.columns, most).max(self.together.largest());
            let page = known.max(usize::from(self.answered));
            let missing = asking.limit.and_then(|limit| limit.checked_sub(asking.given)).filter(|n| *n > 0);
            let enough = missing.map(|rows| usize::try_from(rows.div_ceil(most)).unwrap_or(usize::MAX));
            if self.under_way.len() >= self.width.queries(page, enough) {
                return;
            }
            let Some(Query { text, most, .. }) = self.queue.pop_front() else { return };
            let (columns, expected) = (asking.columns.clone(), asking.expected.clone());
            let spec = ScanSpec { filter: text.clone(), columns, limit: asking.limit, most, expected };
            let (client, stats) = (asking.client.clone(), asking.stats.clone());
            let stream = PageStream::beside(self.together.clone(), self.caller.as_ref(), client, spec, stats);
            self.under_way.push_back(UnderWay { text, stream, gave: false });
        }
    }
}
