//! Reading rows: asks a [`Question`], decodes, hands rows on, starts again on a rescan.
#![allow(unsafe_code)] // the executor's nodes and slots

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use assets::IdLog;
use assets::error::{Error, Kind};
use assets::stats::ScanStats;
use assets::value::{ColumnSpec, Row, ScanSpec};
use pgrx::pg_sys;

use crate::catalog::{ForeignTable, Resolved};
use crate::error;
use crate::fdw::generated::Generated;
use crate::fdw::kept::Kept;
use crate::fdw::output::Output;
use crate::fdw::question::{Query, Question};
use crate::fdw::refusal::{Look, Second};
use crate::runtime::PageStream;

/// A scan's state.
pub struct Scan {
    /// What is asked.
    pub question: Question,
    specs: Arc<[ColumnSpec]>,
    outputs: Vec<Output>,
    /// The columns that are computed here.
    pub generated: Option<Generated>,
    limit: Option<u64>,
    /// What is asked.
    asked: Vec<Query>,
    /// Those of them that are still to be asked.
    queue: VecDeque<Query>,
    stream: Option<PageStream>,
    rows: std::vec::IntoIter<Row>,
    /// Where several conditions are asked, the objects given so far: one with several values, or one
    /// that the service compares more loosely than was foreseen, may match two of them.
    seen: Option<HashSet<i64>>,
    /// The objects given so far where conditions are pushed that may have to be taken back in the middle.
    given: IdLog,
    /// The query that is being asked.
    asking: String,
    /// What failed and may have been the conditions' fault, once: it is not asked a third time.
    doubt: Option<Doubt>,
    begun: bool,
    delivered: bool,
    rescanned: bool,
    /// The rows given so far, where a rescan is to be expected.
    kept: Option<Kept>,
    /// What the scan cost so far, over all its rescans.
    pub stats: Arc<ScanStats>,
}

/// A failure that was looked into.
struct Doubt {
    error: Error,
    /// The conditions that were taken back.
    taken_back: Vec<String>,
}

impl Scan {
    /// A scan of the columns `wanted`; sends nothing yet. `limit` is how many rows the query is
    /// expected to take at most: it sizes the first page, and ends nothing.
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
            generated: None,
            limit,
            asked: Vec::new(),
            queue: VecDeque::new(),
            stream: None,
            rows: Vec::new().into_iter(),
            seen: None,
            given: IdLog::default(),
            asking: String::new(),
            doubt: None,
            begun: false,
            delivered: false,
            rescanned: false,
            kept: None,
            stats: Arc::default(),
        }
    }

    /// What is decoded, column by column.
    pub fn specs(&self) -> Arc<[ColumnSpec]> {
        self.specs.clone()
    }

    /// Whether the service answers without any condition at this moment.
    pub fn answers(&self) -> bool {
        self.question.answers(self.specs.clone(), self.stats.clone())
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
            // SAFETY: the caller's node.
            let asked = unsafe { self.question.ask(node) };
            self.begin(asked);
        }
        loop {
            if let Some(row) = self.rows.next() {
                if self.seen.as_mut().is_some_and(|seen| !seen.insert(row.id)) {
                    continue;
                }
                if self.seen.is_none() && !self.question.pushed.is_empty() {
                    self.given.push(row.id);
                }
                self.delivered = true;
                return Some(row);
            }
            let stream = match &mut self.stream {
                Some(stream) => stream,
                None if self.queue.is_empty() => {
                    if !self.delivered && !self.question.know_after_nothing() {
                        // SAFETY: the caller's node.
                        let asked = unsafe { self.question.ask(node) };
                        self.begin(asked);
                        continue;
                    }
                    return None;
                }
                None => {
                    let Query { text: filter, most } = self.queue.pop_front()?;
                    self.asking.clone_from(&filter);
                    let spec = ScanSpec { filter, columns: self.specs.clone(), limit: self.limit, most };
                    let client = self.question.connection.client.clone();
                    self.stream.insert(PageStream::start(client, spec, self.stats.clone()))
                }
            };
            let next = stream.next();
            if let (Ok(_), Some(doubt)) = (&next, &mut self.doubt) {
                // Without the conditions it is answered.
                doubt.taken_back.clear();
            }
            match next {
                Ok(Some(page)) => self.rows = page.rows.into_iter(),
                Ok(None) => self.stream = None,
                Err(e) => {
                    self.stream = None;
                    self.take_back(e);
                    // SAFETY: the caller's node.
                    let asked = unsafe { self.question.ask(node) };
                    self.begin(asked);
                }
            }
        }
    }

    /// What is asked has failed: returns where it is to be asked again, without the conditions that are to blame;
    /// else the failure is raised.
    fn take_back(&mut self, failure: Error) {
        if failure.kind() == Kind::AqlRejected {
            if !self.question.take_back() {
                self.question.own_refused(failure);
            }
            return;
        }
        if !failure.is_doubtful() {
            error::service(&failure);
        }
        let again = match self.doubt.take() {
            Some(doubt) if !doubt.taken_back.is_empty() => {
                self.question.give_back(&doubt.taken_back);
                error::service(&doubt.error)
            }
            before => before.is_some(),
        };
        let look = Look {
            failed: self.asking.clone(),
            columns: self.specs.clone(),
            stats: self.stats.clone(),
            again,
        };
        let taken_back = match self.question.doubt(look, &failure) {
            Second::Fails => error::service(&failure),
            Second::Passed => Vec::new(),
            Second::TakenBack(conditions) => conditions,
        };
        self.doubt = Some(Doubt { error: failure, taken_back });
    }

    /// Keeps the rows from now on, for rescans.
    ///
    /// # Safety
    /// `node` is the executor's, the one that the scan was made for; it has read nothing yet.
    pub unsafe fn keep(&mut self, node: *mut pg_sys::ForeignScanState) {
        // SAFETY: the caller's promise.
        self.kept = Some(unsafe { Kept::new(node) });
    }

    /// Fills the empty slot with the next row; leaves it empty after the last.
    ///
    /// # Safety
    /// `node` is the executor's, the one that the scan was made for, and `slot` its scan slot.
    pub unsafe fn fill(&mut self, node: *mut pg_sys::ForeignScanState, slot: *mut pg_sys::TupleTableSlot) {
        // SAFETY: the caller's promise.
        unsafe {
            if self.rescanned {
                self.rescanned = false;
                self.resume(node);
            }
            if self.kept.as_ref().is_some_and(|kept| kept.next(slot)) {
                return;
            }
            let Some(row) = self.next(node) else { return };
            self.store(&row, slot);
            self.question.recheck(node, slot, &row.key);
            if let Some(kept) = &self.kept {
                kept.put(slot);
            }
        }
    }

    /// Back to the first row, with the parameters' values of then.
    pub fn again(&mut self) {
        self.rescanned = true;
    }

    /// Begins again, or goes through the rows kept where the same would be asked: what was read need
    /// not be read again, and what follows it is read on from there.
    ///
    /// # Safety
    /// As for [`Scan::fill`].
    unsafe fn resume(&mut self, node: *mut pg_sys::ForeignScanState) {
        if !self.begun {
            return;
        }
        // SAFETY: the caller's promise.
        unsafe {
            let asked = self.question.ask(node);
            match &self.kept {
                Some(kept) if self.asked == asked => kept.again(),
                _ => {
                    self.restart();
                    // One rescan is rarely the only one.
                    self.keep(node);
                    self.begin(asked);
                }
            }
        }
    }

    /// What was given before, since it was last started, is not given again.
    fn begin(&mut self, asked: Vec<Query>) {
        self.begun = true;
        let given = std::mem::take(&mut self.given);
        let seen = self.seen.get_or_insert_with(|| given.ids().collect());
        if seen.is_empty() && asked.len() < 2 {
            self.seen = None;
        }
        self.queue = asked.clone().into();
        self.asked = asked;
    }

    /// Starts again, with the parameters' values of then.
    pub fn restart(&mut self) {
        if let Some(kept) = self.kept.take() {
            // SAFETY: scans are driven by their query alone, while it runs.
            unsafe { kept.end() };
        }
        self.stream = None;
        self.rows = Vec::new().into_iter();
        self.queue.clear();
        self.seen = None;
        self.given = IdLog::default();
        self.begun = false;
        self.delivered = false;
    }

    /// The end of the query: says how many values did not fit.
    pub fn end(&mut self) {
        self.restart();
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
            if let Some(generated) = &self.generated {
                generated.fill(slot);
            }
        }
    }
}
