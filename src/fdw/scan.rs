//! Reading rows: asks a [`Question`], decodes, hands rows on, starts again on a rescan.
#![allow(unsafe_code)] // the executor's nodes and slots

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use assets::IdLog;
use assets::error::{Error, Kind};
use assets::expected::Expected;
use assets::stats::ScanStats;
use assets::together::Requests;
use assets::value::{ColumnSpec, Row, Value};
use pgrx::prelude::*;
use pgrx::{PgMemoryContexts, pg_sys};

use crate::catalog::{ForeignTable, Resolved, statement_began};
use crate::fdw::generated::Generated;
use crate::fdw::kept::Kept;
use crate::fdw::output::Output;
use crate::fdw::pg;
use crate::fdw::queries::{Asking, Next, Queries};
use crate::fdw::question::{Query, Question};
use crate::fdw::refusal::{Look, Second};
use crate::runtime::Caller;
use crate::session::Connection;
use crate::{error, runtime};

/// So often a scan begins anew because what it rested on has changed; a service that says something else
/// each time is no reason to go on for ever.
const RENEWALS: u32 = 4;

/// What a scan is made of.
pub struct Made {
    /// The foreign table.
    pub table: ForeignTable,
    /// The columns that it reads, by attribute number.
    pub columns: Vec<i16>,
    /// The plan's clauses, a List of expressions that lives as long as the query.
    pub quals: *mut pg_sys::List,
    /// The table's number in the range table.
    pub relid: pg_sys::Index,
    /// How many rows the query takes at most, where the planner knows.
    pub limit: Option<u64>,
}

impl Made {
    /// Finds out what the table and its columns mean. `types`: an object type is named that is not known.
    ///
    /// # Safety
    /// The quals are of the plan that runs.
    pub unsafe fn resolve(&self, connection: &Connection, types: bool) -> Resolved {
        // SAFETY: the caller's promise.
        let compared = unsafe { pg::columns_in(self.quals.cast(), self.relid) };
        let mut resolver = self.table.resolver(&self.columns).comparing(&compared);
        if types {
            resolver = resolver.with_current_types();
        }
        let mut resolved = error::or_raise(runtime::wait(resolver.resolve(connection.client.clone())));
        resolved.facts = connection.facts();
        resolved
    }
}

/// A scan's state.
pub struct Scan {
    /// What is asked.
    pub question: Question,
    /// What the table and its columns mean to the service.
    pub resolved: Resolved,
    made: Made,
    /// What the conditions that were asked last rest on.
    expected: Option<Arc<Expected>>,
    /// Whether it was made sure of in this statement.
    is_sure: bool,
    /// The column that the rows are asked for in the order of.
    sorted_by: Option<i16>,
    renewals: u32,
    specs: Arc<[ColumnSpec]>,
    outputs: Vec<Output>,
    /// The columns that are computed here.
    pub generated: Option<Generated>,
    limit: Option<u64>,
    /// What is asked.
    asked: Vec<Query>,
    queries: Queries,
    /// Whether whoever reads takes all rows.
    wants_all: bool,
    /// How many rows were given.
    given_rows: u64,
    rows: std::vec::IntoIter<Row>,
    /// Where several conditions are asked, the objects given so far: one with several values, or one
    /// that the service compares more loosely than was foreseen, may match two of them.
    seen: Option<HashSet<i64>>,
    /// The objects given so far where conditions are pushed that may have to be taken back in the middle.
    given: IdLog,
    /// What failed and may have been the conditions' fault, once: it is not asked a third time.
    doubt: Option<Doubt>,
    begun: bool,
    delivered: bool,
    rescanned: bool,
    /// The rows given so far, where a rescan is to be expected.
    kept: Option<Kept>,
    /// Whether it waits for what has not come yet; else [`Scan::next`] gives nothing then.
    waits: bool,
    /// It gave nothing, since nothing has come yet.
    is_waiting: bool,
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
    /// A scan; sends nothing yet.
    ///
    /// # Safety
    /// `node` is the executor's; `made` holds the clauses of its plan, over the relation of that number.
    pub unsafe fn new(
        connection: Rc<Connection>,
        resolved: Resolved,
        made: Made,
        node: *mut pg_sys::ForeignScanState,
    ) -> Self {
        // SAFETY: the caller's promise.
        let question = unsafe { Question::new(connection, &resolved, made.quals, made.relid, node) };
        let in_flight = question.connection.client.config().max_in_flight;
        let mut scan = Self {
            question,
            resolved,
            made,
            expected: None,
            is_sure: false,
            sorted_by: None,
            renewals: 0,
            specs: Arc::from([]),
            outputs: Vec::new(),
            generated: None,
            limit: None,
            asked: Vec::new(),
            queries: Queries::new(in_flight),
            wants_all: false,
            given_rows: 0,
            rows: Vec::new().into_iter(),
            seen: None,
            given: IdLog::default(),
            doubt: None,
            begun: false,
            delivered: false,
            rescanned: false,
            kept: None,
            waits: true,
            is_waiting: false,
            stats: Arc::default(),
        };
        scan.lay_out();
        scan
    }

    /// What is decoded for which column.
    fn lay_out(&mut self) {
        let (mut specs, mut outputs) = (Vec::new(), Vec::new());
        for attnum in &self.made.columns {
            let column = self.made.table.column(*attnum);
            if let (Some(column), Some(resolution)) = (column, self.resolved.columns.get(attnum)) {
                specs.push(resolution.spec);
                outputs.push(Output::new(column, resolution));
            }
        }
        (self.specs, self.outputs) = (specs.into(), outputs);
        // A clause that is checked locally may need more rows than the query takes.
        self.limit = self.made.limit.filter(|_| self.question.is_whole());
    }

    /// Finds out anew what the table and its columns mean, and begins from there. `types`: an object type is
    /// named that is not known.
    ///
    /// # Safety
    /// `node` is the executor's, the one that the scan was made for; no row has been given since it began.
    pub unsafe fn renew(&mut self, node: *mut pg_sys::ForeignScanState, types: bool) {
        self.renewals += 1;
        let connection = self.question.connection.clone();
        // SAFETY: the quals are the plan's.
        self.resolved = unsafe { self.made.resolve(&connection, types) };
        // SAFETY: the caller's promise; what is made of the clauses lives as long as the query.
        let question = unsafe {
            PgMemoryContexts::For((*(*node).ss.ps.state).es_query_cxt).switch_to(|_| {
                Question::new(connection, &self.resolved, self.made.quals, self.made.relid, node)
            })
        };
        let before = std::mem::replace(&mut self.question, question);
        if before.together.is_some() && !before.has_operands_of(&self.question) {
            error::raise_hint(
                PgSqlErrorCode::ERRCODE_FDW_ERROR,
                "a column that a join compares with means something else in Assets now than when the query began",
                "Run the query again.",
            );
        }
        self.question.together = before.together;
        self.outputs.iter().for_each(Output::warn);
        self.lay_out();
        self.restart();
    }

    /// What is asked, with the parameters' values of the moment.
    ///
    /// # Safety
    /// As for [`Question::ask`].
    unsafe fn ask(&mut self, node: *mut pg_sys::ForeignScanState) -> Vec<Query> {
        // SAFETY: the caller's promise.
        unsafe {
            if self.question.names_unknown_type(node) {
                self.renew(node, true);
            }
            let asked = self.question.ask(node);
            self.expect();
            if self.sees_still(node) { asked } else { self.ask(node) }
        }
    }

    /// Rows that come back show that what is referred to is seen where every one of them rests on it; where some do not,
    /// it is made sure of beforehand. False where it is seen no more: then something else is to be asked.
    ///
    /// # Safety
    /// As for [`Scan::renew`].
    unsafe fn sees_still(&mut self, node: *mut pg_sys::ForeignScanState) -> bool {
        let names = self.question.names_unseen();
        let Some(expected) = self.unsure().filter(|expected| expected.walks_by(&names)) else { return true };
        let client = self.question.connection.client.clone();
        let still = runtime::wait(async move { client.still(&expected).await });
        self.is_sure = true;
        self.expect();
        if error::or_raise(still) {
            return true;
        }
        // SAFETY: the caller's promise.
        unsafe { self.renew(node, false) };
        false
    }

    /// The condition of [`Question::exact`].
    ///
    /// # Safety
    /// As for [`Question::exact`].
    pub unsafe fn exact(&mut self, node: *mut pg_sys::ForeignScanState) -> Option<Option<String>> {
        // SAFETY: the caller's promise.
        let exact = unsafe { self.question.exact(node) };
        self.expect();
        // SAFETY: the caller's promise.
        unsafe { if self.sees_still(node) { exact } else { self.exact(node) } }
    }

    fn expect(&mut self) {
        let mut names = self.question.names_asked();
        let sorted = self.sorted_by.and_then(|attnum| self.resolved.columns.get(&attnum));
        if let Some(aql::Column::Attribute { name, .. }) =
            sorted.and_then(|column| column.subject.as_ref()).map(|subject| &subject.column)
        {
            names.insert(name.clone());
        }
        // Made sure of once, it is for the whole statement: a join asks for many values.
        let moment = if self.is_sure { self.resolved.expected.read_at } else { statement_began() };
        self.expected = Some(self.resolved.expected.asking(names, moment));
    }

    /// What the conditions that were asked last rest on: pages are held against it.
    pub fn expected(&self) -> Option<Arc<Expected>> {
        self.expected.clone()
    }

    /// What may lose objects without a word, where it was not made sure of since the statement began:
    /// neither nothing nor a count is believed then.
    pub fn unsure(&self) -> Option<Arc<Expected>> {
        self.expected.clone().filter(|expected| expected.may_lose() && !expected.is_sure())
    }

    /// Rows are asked for in the order of a column.
    pub fn sort_by(&mut self, attnum: i16) {
        self.sorted_by = Some(attnum);
    }

    /// Notes that it was made sure of.
    pub fn sure(&mut self) {
        self.is_sure = true;
    }

    /// Nothing came back: whether that can be believed. Else something else is to be asked, with what is
    /// known now.
    ///
    /// # Safety
    /// As for [`Scan::renew`].
    pub unsafe fn believes_nothing(&mut self, node: *mut pg_sys::ForeignScanState) -> bool {
        if let Some(expected) = self.unsure() {
            let client = self.question.connection.client.clone();
            let still = runtime::wait(async move { client.still(&expected).await });
            self.is_sure = true;
            if !error::or_raise(still) {
                // SAFETY: the caller's promise.
                unsafe { self.renew(node, false) };
                return false;
            }
        }
        self.question.know_after_nothing()
    }

    /// The service refused the query `failed`: finds out why, and what to ask instead. Raises what cannot be helped.
    ///
    /// # Safety
    /// As for [`Scan::renew`].
    unsafe fn refused(&mut self, node: *mut pg_sys::ForeignScanState, refusal: Error, failed: &str) {
        // A name that is no longer one.
        if !self.delivered && self.unsure().is_some() {
            self.is_sure = true;
            let before = self.asked_for();
            // SAFETY: the caller's promise.
            unsafe { self.renew(node, false) };
            if self.asked_for() != before {
                return;
            }
            // The question was made anew: what it pushes is to be known again.
            // SAFETY: the caller's promise.
            unsafe { self.question.ask(node) };
        }
        let listed = self.asked.iter().find(|query| query.text == failed).map_or(0, |query| query.listed);
        // SAFETY: the caller's promise.
        if unsafe { self.question.shorten(node, listed) } {
            return;
        }
        // What was asked is what a shorter one asked for beside it.
        if listed > 0 {
            // SAFETY: the caller's promise.
            unsafe { self.question.ask(node) };
        }
        if self.question.take_back() {
            return;
        }
        let (client, resolved) = (self.question.connection.client.clone(), self.resolved.clone());
        let refused = runtime::wait(async move { resolved.refused(&client).await });
        if error::or_raise(refused) && !self.delivered {
            // SAFETY: the caller's promise.
            return unsafe { self.renew(node, false) };
        }
        self.question.own_refused(refusal);
    }

    fn asked_for(&self) -> String {
        self.question.shown_filter()
    }

    /// What the scan rested on has changed. An ERROR where that cannot be put right any more.
    ///
    /// # Safety
    /// As for [`Scan::renew`].
    pub unsafe fn outdated(&mut self, node: *mut pg_sys::ForeignScanState, why: &Error) {
        if self.delivered || self.renewals >= RENEWALS {
            error::service(why);
        }
        self.is_sure = true;
        // SAFETY: the caller's promise.
        unsafe { self.renew(node, false) };
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
        loop {
            if !self.begun {
                // SAFETY: the caller's node.
                let asked = unsafe { self.ask(node) };
                self.begin(asked);
            }
            if let Some(row) = self.rows.next() {
                if self.seen.as_mut().is_some_and(|seen| !seen.insert(row.id)) {
                    continue;
                }
                if self.seen.is_none() && !self.question.pushed.is_empty() {
                    self.given.push(row.id);
                }
                self.delivered = true;
                self.given_rows += 1;
                return Some(row);
            }
            let asking = self.asking();
            let next = self.queries.next(&asking, self.waits);
            if let (Next::Page(_) | Next::Ended, Some(doubt)) = (&next, &mut self.doubt) {
                // Without the conditions it is answered.
                doubt.taken_back.clear();
            }
            match next {
                Next::Page(page) => self.rows = page.rows.into_iter(),
                Next::Ended => {}
                Next::Over => {
                    // SAFETY: the caller's node.
                    if !self.delivered && !unsafe { self.believes_nothing(node) } {
                        self.begun = false;
                        continue;
                    }
                    return None;
                }
                Next::Later => {
                    self.is_waiting = true;
                    return None;
                }
                Next::Failed(e, failed) => {
                    // SAFETY: the caller's node.
                    unsafe { self.take_back(node, e, failed) };
                    self.begun = false;
                }
            }
        }
    }

    fn asking(&self) -> Asking {
        Asking {
            client: self.question.connection.client.clone(),
            columns: self.specs.clone(),
            expected: self.expected.clone(),
            limit: self.limit,
            given: self.given_rows,
            stats: self.stats.clone(),
        }
    }

    /// Has the scan read side by side with others: see [`Queries::beside`]. No-one has read from it yet.
    pub fn beside(&mut self, requests: Requests, caller: Caller) {
        self.queries.beside(requests, caller);
    }

    /// Who rings when there is more, where it is read side by side with others.
    pub fn caller(&self) -> Option<&Caller> {
        self.queries.caller()
    }

    /// Whether the scan has begun to ask.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether it waits for what has not come yet; else [`Scan::next`] gives nothing then, and
    /// [`Scan::is_waiting`] says that this is not the end.
    pub fn waits(&mut self, waits: bool) {
        (self.waits, self.is_waiting) = (waits, false);
    }

    /// See [`Scan::waits`].
    pub fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Whoever reads takes all rows: the queries are sent at once, as many as may be under way.
    pub fn wants_all(&mut self) {
        self.wants_all = true;
    }

    /// What is asked has failed: returns where it is to be asked again, without the conditions that are to blame;
    /// else the failure is raised.
    ///
    /// # Safety
    /// As for [`Scan::next`].
    unsafe fn take_back(&mut self, node: *mut pg_sys::ForeignScanState, failure: Error, failed: String) {
        // SAFETY: the caller's promise.
        match failure.kind() {
            Kind::AqlRejected => return unsafe { self.refused(node, failure, &failed) },
            Kind::Outdated => return unsafe { self.outdated(node, &failure) },
            _ => {}
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
        let look = Look { failed, columns: self.specs.clone(), stats: self.stats.clone(), again };
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
            let asked = self.ask(node);
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
        let in_flight = self.question.connection.client.config().max_in_flight;
        self.queries.begin(&asked, in_flight, self.wants_all);
        self.asked = asked;
    }

    /// Starts again, with the parameters' values of then.
    pub fn restart(&mut self) {
        if let Some(kept) = self.kept.take() {
            // SAFETY: scans are driven by their query alone, while it runs.
            unsafe { kept.end() };
        }
        self.queries.clear();
        self.rows = Vec::new().into_iter();
        self.given_rows = 0;
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
        // SAFETY: the caller's promise.
        unsafe {
            self.fill_with(row, slot, |output, value| Ok(output.datum(&row.key, value)));
            if let Some(generated) = &self.generated {
                generated.fill(slot);
            }
        }
    }

    /// The same for a row that nobody may want: false where one of its values would be an ERROR, or might be.
    ///
    /// # Safety
    /// As for [`Scan::store`].
    pub unsafe fn store_if_it_fits(&mut self, row: &Row, slot: *mut pg_sys::TupleTableSlot) -> bool {
        // What a generated column is computed by may fail, too.
        // SAFETY: the caller's promise.
        unsafe { self.fill_with(row, slot, Output::try_datum) && self.generated.is_none() }
    }

    /// Fills the slot with what `datum` makes of each value; false, with the slot still empty, where it
    /// makes nothing of one.
    ///
    /// # Safety
    /// As for [`Scan::store`].
    unsafe fn fill_with(
        &mut self,
        row: &Row,
        slot: *mut pg_sys::TupleTableSlot,
        datum: impl Fn(&mut Output, &Value) -> Result<Option<pg_sys::Datum>, ()>,
    ) -> bool {
        // SAFETY: the caller's promise: as many values as columns.
        unsafe {
            let count = (*(*slot).tts_tupleDescriptor).natts as usize;
            let values = std::slice::from_raw_parts_mut((*slot).tts_values, count);
            let nulls = std::slice::from_raw_parts_mut((*slot).tts_isnull, count);
            nulls.fill(true);
            for (output, value) in self.outputs.iter_mut().zip(&row.values) {
                let n = output.attnum as usize - 1;
                match datum(output, value) {
                    Ok(None) => {}
                    Ok(Some(datum)) => (values[n], nulls[n]) = (datum, false),
                    Err(()) => return false,
                }
            }
            pg_sys::ExecStoreVirtualTuple(slot);
            true
        }
    }
}
