//! Runs a scan: sends what `pages` asks for, several at once, and hands the rows on in
//! order as the reader takes them.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use tokio::task::{AbortHandle, JoinError, JoinSet};

use crate::client::{Client, Wanted};
use crate::decode::Layout;
use crate::error::{Error, Kind};
use crate::pages::{Ask, Reply, Start, Walk, What};
use crate::session::Strain;
use crate::stats::{ScanStats, add};
use crate::together::Together;
use crate::value::{ColumnSpec, Page, ScanSpec};

/// The reader went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// Who takes the rows.
pub trait PageSink: Send {
    /// Takes one page, waiting for room if need be. [`Closed`] stops the scan quietly.
    fn send(&mut self, page: Page) -> impl Future<Output = Result<(), Closed>> + Send;

    /// Returns when [`PageSink::send`] would not have to wait. May be dropped before.
    fn room(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Returns when the reader has taken all that was sent and wants more. Asked where the scan's limit has
    /// been reached, or its first page sent, so that nothing is read ahead for a reader that stops there.
    fn wanted(&mut self) -> impl Future<Output = Result<(), Closed>> + Send {
        async { Ok(()) }
    }
}

/// Reads every object that matches `spec` into `sink`, or fails.
///
/// Every object that matched from the scan's begin to its end is handed on exactly once; there is
/// no short result. Pages are read and decoded on the runtime's threads, at most
/// `max_in_flight` requests at once, whatever they are for, and of so many bytes as `pages` says: memory is
/// bounded by those. While the reader is busy pages go on coming in, until as many are ready. Dropping the
/// future stops every request. `together` is what it shares with other queries of the same scan.
///
/// # Errors
/// Every [`Kind`]; [`Kind::Protocol`] where the pages cannot be shown to be complete.
pub async fn scan(
    client: Arc<Client>,
    spec: ScanSpec,
    stats: Arc<ScanStats>,
    together: Arc<Together>,
    sink: impl PageSink,
) -> Result<(), Error> {
    let config = client.config();
    let layout = Layout::new(spec.columns.clone(), config.site.as_deref()).expecting(spec.expected.clone());
    let layout = Arc::new(layout);
    let walk = Walk::new(Start {
        filter: spec.filter.clone(),
        page_size: config.page_size,
        limit: spec.limit,
        most: spec.most,
        max_in_flight: config.max_in_flight,
        facts: client.facts(),
        count: client.cached_count(&spec.filter),
        object: client.object_size(&spec.columns),
        given: client.given(&spec.columns),
    });
    let _buffers = client.session.http.keep_buffers();
    let driver = Driver {
        client,
        filter: spec.filter.trim().into(),
        together,
        columns: spec.columns,
        layout,
        stats,
        walk,
        strain: None,
        tasks: JoinSet::new(),
        under_way: HashMap::new(),
    };
    driver.run(spec.limit, sink).await
}

type Outcome = (u64, Result<Reply, Error>);

struct Driver {
    client: Arc<Client>,
    filter: Arc<str>,
    together: Arc<Together>,
    columns: Arc<[ColumnSpec]>,
    layout: Arc<Layout>,
    stats: Arc<ScanStats>,
    walk: Walk,
    /// Failures of the page that is asked for with fewer and fewer objects.
    strain: Option<Strain>,
    tasks: JoinSet<Outcome>,
    under_way: HashMap<u64, AbortHandle>,
}

impl Driver {
    async fn run(mut self, limit: Option<u64>, mut sink: impl PageSink) -> Result<(), Error> {
        let mut handed_on = 0;
        // A reader that means to stop gets its rows before anything else is asked; and any reader its first
        // page, since a cursor or a semi-join may stop there without having said so.
        let limit = limit.unwrap_or(1);
        let mut may_stop = true;
        loop {
            if !may_stop {
                self.send_asks();
            }
            if self.walk.has_rows() {
                // While the reader is busy, a page that comes makes way for the next request.
                let joined = tokio::select! {
                    biased;
                    () = sink.room() => None,
                    Some(joined) = self.tasks.join_next() => Some(joined),
                };
                let Some(joined) = joined else {
                    match self.hand_on(&mut sink).await {
                        Ok(rows) => handed_on += rows,
                        Err(Closed) => return Ok(()),
                    }
                    continue;
                };
                if let Err(error) = self.join(joined) {
                    // What came before it is the reader's all the same.
                    while self.walk.has_rows() && self.hand_on(&mut sink).await.is_ok() {}
                    return Err(error);
                }
                continue;
            }
            if self.walk.is_done() {
                return Ok(());
            }
            if may_stop && handed_on >= limit {
                if sink.wanted().await.is_err() {
                    return Ok(());
                }
                may_stop = false;
                self.walk.goes_on(self.together.taken());
            }
            self.send_asks();
            let Some(joined) = self.tasks.join_next().await else {
                return Err(Error::new(Kind::Protocol, "a scan came to rest before its end"));
            };
            self.join(joined)?;
        }
    }

    async fn hand_on(&mut self, sink: &mut impl PageSink) -> Result<u64, Closed> {
        let Some(page) = self.walk.rows() else { return Ok(0) };
        let rows = page.rows.len() as u64;
        self.client.session.meter_of(&self.stats).objects(rows);
        sink.send(page).await?;
        Ok(rows)
    }

    fn join(&mut self, joined: Result<Outcome, JoinError>) -> Result<(), Error> {
        match joined {
            Ok((ticket, result)) => {
                self.under_way.remove(&ticket);
                self.take(ticket, result)
            }
            Err(error) if error.is_cancelled() => Ok(()),
            Err(_) => Err(Error::new(Kind::Protocol, "a page could not be read: the reader failed")),
        }
    }

    fn take(&mut self, ticket: u64, result: Result<Reply, Error>) -> Result<(), Error> {
        if !self.walk.is_live(ticket) {
            return Ok(());
        }
        let reply = result?;
        match &reply {
            Reply::Page(..) => {
                add(&self.stats.pages, 1);
                self.strain = None;
            }
            Reply::TooMuch(_, strain) => self.strain = *strain,
            Reply::TooLong(_) | Reply::Refused(_) | Reply::Count(_) => {}
        }
        let before = self.walk.facts();
        let came = matches!(reply, Reply::Page(..));
        let result = self.walk.reply(ticket, reply);
        // A length that was not given is to blame only where a shorter page came: else it may be the condition.
        let given = if came { self.walk.given() } else { self.client.given(&self.columns) };
        self.client.keep_object_size(&self.columns, self.walk.object_size(), given);
        let after = self.walk.facts();
        if after != before {
            self.client.learn(after);
        }
        let walk = &self.walk;
        if result.is_err() {
            // What was learnt on the way to an error may be wrong.
            self.client.learn(crate::pages::Facts::default());
            self.client.forget_count(&self.filter);
        }
        self.under_way.retain(|ticket, task| {
            let live = walk.is_live(*ticket);
            if !live {
                task.abort();
            }
            live
        });
        result
    }

    fn send_asks(&mut self) {
        while let Some(Ask { ticket, aql, what }) = self.walk.next() {
            let client = self.client.clone();
            let layout = self.layout.clone();
            let stats = self.stats.clone();
            let filter = self.filter.clone();
            let (room, requests) = (self.together.room.clone(), self.together.requests());
            let strain = self.strain;
            let task = self.tasks.spawn(async move {
                let _one = requests.one().await;
                let result = match what {
                    What::Page { start, size } => {
                        let wanted = Wanted { strain, ..Wanted::new(&aql, start, size) };
                        client.page(wanted, &layout, &stats, &room).await
                    }
                    What::Count if client.counts_refused() => Ok(Reply::Count(None)),
                    What::Count => {
                        let meter = client.session.meter_of(&stats);
                        match client.count(&aql, meter).await {
                            Ok(count) => {
                                if aql == *filter {
                                    client.keep_count(&aql, count);
                                }
                                Ok(Reply::Count(Some(count)))
                            }
                            // A service that does not count is read all the same.
                            Err(error)
                                if error.kind().refuses_counts() || error.kind() == Kind::AqlRejected =>
                            {
                                Ok(Reply::Count(None))
                            }
                            Err(error) => Err(error),
                        }
                    }
                };
                (ticket, result)
            });
            self.under_way.insert(ticket, task);
        }
    }
}
