//! Runs a scan: asks for pages, hands rows on, until everything that matches has been returned
//! exactly once.

use std::future::Future;
use std::sync::Arc;

use crate::client::Client;
use crate::error::{Error, Kind};
use crate::stats::ScanStats;
use crate::value::{Page, ScanSpec};

/// The reader went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// Who takes the rows. [`PageSink::send`] returns when there is room for more.
pub trait PageSink: Send {
    /// Takes one page. [`Closed`] stops the scan quietly.
    fn send(&mut self, page: Page) -> impl Future<Output = Result<(), Closed>> + Send;
}

/// Reads every object that matches `spec` into `sink`, or fails.
///
/// Every object that matched from the scan's begin to its end is handed on exactly once.
pub async fn scan(
    client: Arc<Client>,
    spec: ScanSpec,
    stats: Arc<ScanStats>,
    sink: impl PageSink,
) -> Result<(), Error> {
    drop((client, spec, stats, sink));
    Err(Error::new(Kind::Config, "scans are not built yet"))
}
