//! Reading rows: asks a [`Question`], decodes, hands rows on, starts again on a rescan.
#![allow(unsafe_code)] // the executor's nodes and slots

use std::collections::VecDeque;
use std::sync::Arc;

use assets::error::Kind;
use assets::stats::ScanStats;
use assets::value::{ColumnSpec, Row, ScanSpec};
use pgrx::pg_sys;

use crate::catalog::{ForeignTable, Resolved};
use crate::error;
use crate::fdw::output::Output;
use crate::fdw::question::Question;
use crate::runtime::PageStream;

/// A scan's state.
pub struct Scan {
    /// What is asked.
    pub question: Question,
    specs: Arc<[ColumnSpec]>,
    outputs: Vec<Output>,
    limit: Option<u64>,
    /// What is still to be asked: conditions whose results are disjoint.
    queue: VecDeque<String>,
    stream: Option<PageStream>,
    rows: std::vec::IntoIter<Row>,
    begun: bool,
    delivered: bool,
    /// What the scan cost so far, over all its rescans.
    pub stats: Arc<ScanStats>,
}

impl Scan {
    /// A scan of the columns `wanted`; sends nothing yet. `limit` is how many rows the query takes
    /// at most, where the planner knows.
    pub fn new(
        question: Question,
        table: &ForeignTable,
        resolved: &Resolved,
        wanted: &[i16],
        limit: Option<u64>,
    ) -> Self {
        let mut specs = Vec::new();
        let mut outputs = Vec::new();
        for attnum in wanted {
            if let (Some(column), Some(resolution)) = (table.column(*attnum), resolved.columns.get(attnum)) {
                specs.push(resolution.spec);
                outputs.push(Output::new(column, resolution));
            }
        }
        // A clause that is checked locally may need more rows than the query takes.
        let limit = limit.filter(|_| question.is_whole());
        Self {
            question,
            specs: specs.into(),
            outputs,
            limit,
            queue: VecDeque::new(),
            stream: None,
            rows: Vec::new().into_iter(),
            begun: false,
            delivered: false,
            stats: Arc::default(),
        }
    }

    /// What is decoded, column by column.
    pub fn specs(&self) -> Arc<[ColumnSpec]> {
        self.specs.clone()
    }

    /// The page-size hint, where it is in use.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// The next row, or none at the end.
    ///
    /// # Safety
    /// `node` is the executor's, the one that the scan was made for.
    pub unsafe fn next(&mut self, node: *mut pg_sys::ForeignScanState) -> Option<Row> {
        if !self.begun {
            self.begun = true;
            // SAFETY: the caller's node.
            self.queue = unsafe { self.question.ask(node) }.into();
        }
        loop {
            if let Some(row) = self.rows.next() {
                self.delivered = true;
                return Some(row);
            }
            let stream = match &mut self.stream {
                Some(stream) => stream,
                None => {
                    let filter = self.queue.pop_front()?;
                    let spec = ScanSpec { filter, columns: self.specs.clone(), limit: self.limit };
                    let client = self.question.connection.client.clone();
                    self.stream.insert(PageStream::start(client, spec, self.stats.clone()))
                }
            };
            match stream.next() {
                Ok(Some(page)) => self.rows = page.rows.into_iter(),
                Ok(None) => self.stream = None,
                Err(e) if e.kind() == Kind::AqlRejected && !self.delivered => {
                    self.stream = None;
                    if !self.question.take_back() {
                        self.question.own_refused(e);
                    }
                    // SAFETY: the caller's node.
                    self.queue = unsafe { self.question.ask(node) }.into();
                }
                Err(e) => {
                    self.stream = None;
                    error::service(&e)
                }
            }
        }
    }

    /// Starts again.
    pub fn restart(&mut self) {
        self.stream = None;
        self.rows = Vec::new().into_iter();
        self.queue.clear();
        self.begun = false;
        self.delivered = false;
    }

    /// Says at the end how many values did not fit.
    pub fn warn(&self) {
        self.outputs.iter().for_each(Output::warn);
    }

    /// Fills the slot. Memory for the datums is the per-tuple context, which the executor resets.
    ///
    /// # Safety
    /// `slot` is virtual, of the scanned table's row type.
    pub unsafe fn store(&mut self, row: &Row, slot: *mut pg_sys::TupleTableSlot) {
        // SAFETY: the caller's promise: as many values as columns.
        unsafe {
            let count = (*(*slot).tts_tupleDescriptor).natts as usize;
            let values = std::slice::from_raw_parts_mut((*slot).tts_values, count);
            let nulls = std::slice::from_raw_parts_mut((*slot).tts_isnull, count);
            nulls.fill(true);
            for (output, value) in self.outputs.iter_mut().zip(&row.values) {
                let n = output.attnum as usize - 1;
                if let Some(datum) = output.datum(&row.key, value) {
                    values[n] = datum;
                    nulls[n] = false;
                }
            }
            pg_sys::ExecStoreVirtualTuple(slot);
        }
    }
}
