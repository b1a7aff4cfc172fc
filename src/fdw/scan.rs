//! Running a foreign scan: ask, decode, hand rows to the executor, start again on a rescan.
#![allow(unsafe_code)] // the executor's nodes and slots

use std::rc::Rc;
use std::sync::Arc;

use aql::expr::Expr;
use aql::lower;
use aql::{Literal, Lowered, Pred};
use assets::error::Kind;
use assets::stats::ScanStats;
use assets::value::{ColumnSpec, Row, ScanSpec};
use pgrx::prelude::*;
use pgrx::{PgMemoryContexts, pg_sys};

use crate::catalog::ForeignTable;
use crate::fdw::clause::Walker;
use crate::fdw::datum;
use crate::fdw::output::Output;
use crate::fdw::pg;
use crate::fdw::private::Private;
use crate::runtime::PageStream;
use crate::session::Connection;
use crate::{error, gucs, pg_compat, runtime, session};

/// The longest condition sent in one query (assets-api.md 4.7: keep it below 8 kB).
const MAX_QUERY_BYTES: usize = 6_000;

/// A scan's state; dropped with the query's memory context, also when the query fails.
pub struct Scan {
    connection: Rc<Connection>,
    /// Object types and the table's own filter.
    filter: String,
    /// The clauses, one a qual.
    clauses: Vec<Clause>,
    /// The right-hand sides known only at run time: their expressions and types.
    operands: Vec<(*mut pg_sys::ExprState, pg_sys::Oid)>,
    specs: Arc<[ColumnSpec]>,
    outputs: Vec<Output>,
    limit: Option<u64>,
    /// What was pushed this time: each clause's shape, and the condition that asks it alone.
    pushed: Vec<(String, String)>,
    /// What is still to be asked: conditions whose results are disjoint.
    queue: std::collections::VecDeque<String>,
    stream: Option<PageStream>,
    rows: std::vec::IntoIter<Row>,
    begun: bool,
    delivered: bool,
    /// What the scan cost so far, over all its rescans.
    pub stats: Arc<ScanStats>,
}

/// One qual of the plan.
pub struct Clause {
    /// As AQL could say it, parameters unbound.
    pred: Pred,
    /// What becomes of it.
    pub lowered: Lowered,
    /// The text by which it is remembered when the service refuses it.
    pub shape: String,
}

impl Scan {
    /// The condition as EXPLAIN shows it: with `$n` for what is known only when the query runs.
    pub fn shown_filter(&self) -> String {
        let parts: Vec<Expr> =
            self.clauses.iter().filter(|c| !self.is_refused(c)).filter_map(Clause::pushed).collect();
        with_base(&self.filter, parts)
    }

    /// Whether no object can satisfy the condition, whatever the parameters.
    pub fn is_never(&self) -> bool {
        self.clauses.iter().any(|c| c.lowered == Lowered::Never)
    }

    /// The clauses that stay at home, and why.
    pub fn local_reasons(&self) -> Vec<String> {
        self.clauses
            .iter()
            .filter_map(|c| match &c.lowered {
                Lowered::Local(why) => Some(why.clone()),
                _ if self.is_refused(c) => Some(format!("the service refused: {}", c.shape)),
                _ => None,
            })
            .collect()
    }

    /// The page-size hint, where it is in use.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    fn is_refused(&self, clause: &Clause) -> bool {
        self.connection.refused.borrow().contains(&clause.shape)
    }

    /// Evaluates the parameters and decides what to ask. Leaves an empty queue where no object
    /// can satisfy the condition.
    unsafe fn prepare(&mut self, node: *mut pg_sys::ForeignScanState) {
        // SAFETY: the caller's node; the expressions were made for it.
        let values = unsafe { self.evaluate(node) };
        self.queue.clear();
        self.pushed.clear();
        let mut parts = Vec::new();
        for clause in &self.clauses {
            let lowered = match &values {
                Some(values) => aql::lower(&clause.pred.bound(values)),
                None => clause.lowered.clone(),
            };
            match lowered {
                Lowered::Never => return,
                Lowered::Pushed(expr, _) if !self.is_refused(clause) => {
                    let alone = with_base(&self.filter, vec![lower::in_clauses(expr.clone())]);
                    self.pushed.push((clause.shape.clone(), alone));
                    parts.push(expr);
                }
                _ => {}
            }
        }
        let whole = match parts.len() {
            0 => {
                self.queue.push_back(self.filter.clone());
                return;
            }
            1 => parts.remove(0),
            _ => Expr::And(flattened(parts)),
        };
        for expr in lower::split(whole, MAX_QUERY_BYTES) {
            let expr = lower::in_clauses(expr);
            // A condition that is too long even so is dropped: the recheck does its work.
            let text = with_base(&self.filter, vec![expr]);
            if text.len() > 2 * MAX_QUERY_BYTES + self.filter.len() {
                self.queue.clear();
                self.queue.push_back(self.filter.clone());
                return;
            }
            self.queue.push_back(text);
        }
    }

    /// The parameters' values now. None where there are none to evaluate; a value that AQL has no
    /// words for is left a parameter's number beyond the list, and its clause stays at home.
    unsafe fn evaluate(&self, node: *mut pg_sys::ForeignScanState) -> Option<Vec<Literal>> {
        if self.operands.is_empty() {
            return None;
        }
        // SAFETY: the node's own expression context, with the executor's parameters in it.
        unsafe {
            let context = (*node).ss.ps.ps_ExprContext;
            let values = self.operands.iter().map(|(state, type_oid)| {
                let mut is_null = false;
                let evaluate = (**state).evalfunc?;
                let value = evaluate(*state, context, &mut is_null);
                if is_null { Some(Literal::Null) } else { datum::literal(value, *type_oid) }
            });
            // An unsendable value stands as an empty text, which no rule sends.
            Some(values.map(|v| v.unwrap_or_else(|| Literal::Text(String::new()))).collect())
        }
    }

    /// The next row, or none at the end.
    unsafe fn next(&mut self, node: *mut pg_sys::ForeignScanState) -> Option<Row> {
        if !self.begun {
            self.begun = true;
            // SAFETY: the caller's node.
            unsafe { self.prepare(node) };
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
                    let client = self.connection.client.clone();
                    self.stream.insert(PageStream::start(client, spec, self.stats.clone()))
                }
            };
            match stream.next() {
                Ok(Some(page)) => self.rows = page.rows.into_iter(),
                Ok(None) => self.stream = None,
                Err(e) if e.kind() == Kind::AqlRejected && !self.delivered => {
                    self.stream = None;
                    if !self.take_back() {
                        error::service(&about_filter(e, &self.filter));
                    }
                    // SAFETY: the caller's node.
                    unsafe { self.prepare(node) };
                }
                Err(e) => {
                    self.stream = None;
                    error::service(&e)
                }
            }
        }
    }

    /// The service refused the query: finds the clauses that it refuses each by itself, remembers
    /// them for the session and says so once. False when none of ours is to blame.
    fn take_back(&self) -> bool {
        let candidates = self.pushed.clone();
        if candidates.is_empty() {
            return false;
        }
        let client = self.connection.client.clone();
        let base = self.filter.clone();
        let found = runtime::wait(async move {
            // The table's own filter is never taken back.
            client.total_count(&base).await.map_err(|e| about_filter(e, &base))?;
            let mut refused = Vec::new();
            for (shape, text) in &candidates {
                match client.total_count(text).await {
                    Err(e) if e.kind() == Kind::AqlRejected => refused.push(shape.clone()),
                    Err(e) => return Err(e),
                    Ok(_) => {}
                }
            }
            if refused.is_empty() {
                refused = candidates.into_iter().map(|(shape, _)| shape).collect();
            }
            Ok(refused)
        });
        let refused = error::or_raise(found);
        error::report(
            PgSqlErrorCode::ERRCODE_WARNING,
            format!(
                "Assets refused a pushed condition, which is checked locally instead: {}",
                refused.join("; ")
            ),
        )
        .report(PgLogLevel::WARNING);
        self.connection.refused.borrow_mut().extend(refused);
        true
    }

    /// Starts again.
    fn restart(&mut self) {
        self.stream = None;
        self.rows = Vec::new().into_iter();
        self.queue.clear();
        self.begun = false;
        self.delivered = false;
    }

    /// Fills the slot. Memory for the datums is the per-tuple context, which the executor resets.
    unsafe fn store(&mut self, row: &Row, slot: *mut pg_sys::TupleTableSlot) {
        // SAFETY: a virtual slot of the table's row type: as many values as columns.
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

impl Clause {
    fn pushed(&self) -> Option<Expr> {
        match &self.lowered {
            Lowered::Pushed(expr, _) => Some(expr.clone()),
            _ => None,
        }
    }
}

/// Says which query it was when the service refused the table's own filter.
fn about_filter(error: assets::error::Error, filter: &str) -> assets::error::Error {
    match error.kind() {
        Kind::AqlRejected => error.with_hint(format!(
            "The table's own filter is: {filter}. Correct the foreign table's option aql."
        )),
        _ => error,
    }
}

/// The base is a chain of ANDs over conditions and parenthesised groups: nothing needs to be put
/// around it.
fn with_base(base: &str, parts: Vec<Expr>) -> String {
    let mut text = base.to_owned();
    for part in flattened(parts) {
        match part {
            Expr::Or(_) => text.push_str(&format!(" AND ({part})")),
            _ => text.push_str(&format!(" AND {part}")),
        }
    }
    text
}

/// One AND instead of AND inside AND.
fn flattened(parts: Vec<Expr>) -> Vec<Expr> {
    parts
        .into_iter()
        .flat_map(|part| match part {
            Expr::And(inner) => inner,
            other => vec![other],
        })
        .collect()
}

#[pg_guard]
pub unsafe extern "C-unwind" fn begin(node: *mut pg_sys::ForeignScanState, _flags: i32) {
    // SAFETY: called by the executor; the state is dropped with the query's memory context, which
    // also happens when the query fails and `end` is never called.
    unsafe {
        let plan = (*node).ss.ps.plan.cast::<pg_sys::ForeignScan>();
        let relation = (*node).ss.ss_currentRelation;
        let user = pg_compat::scan_user(node, plan);
        let table = ForeignTable::load((*relation).rd_id);
        let connection = session::connect(table.server, user);
        let private = Private::from_list((*plan).fdw_private);
        let resolver = table.resolver(&private.columns);
        let client = connection.client.clone();
        let resolved = error::or_raise(runtime::wait(resolver.resolve(client)));

        let mut walker =
            Walker { relid: (*plan).scan.scanrelid, columns: &resolved.columns, operands: Vec::new() };
        let mut clauses = Vec::new();
        if gucs::ENABLE_PUSHDOWN.get() {
            for qual in pg::nodes::<pg_sys::Node>((*plan).scan.plan.qual) {
                let pred = walker.pred(qual);
                let lowered = aql::lower(&pred);
                let shape = match &lowered {
                    Lowered::Pushed(expr, _) => expr.to_string(),
                    _ => String::new(),
                };
                clauses.push(Clause { pred, lowered, shape });
            }
        }
        let parent = &raw mut (*node).ss.ps;
        let operands = walker
            .operands
            .iter()
            .map(|expr| (pg_sys::ExecInitExpr(*expr, parent), pg_sys::exprType(expr.cast())))
            .collect();

        let mut specs = Vec::new();
        let mut outputs = Vec::new();
        for attnum in &private.columns {
            let (Some(column), Some(resolution)) = (table.column(*attnum), resolved.columns.get(attnum))
            else {
                continue;
            };
            specs.push(resolution.spec);
            outputs.push(Output::new(column, resolution));
        }
        // A clause that is checked locally may need more rows than the query takes.
        let limit = private.limit.filter(|_| clauses.iter().all(|c| c.pushed().is_some()));
        let scan = Scan {
            connection,
            filter: resolved.filter,
            clauses,
            operands,
            specs: specs.into(),
            outputs,
            limit,
            pushed: Vec::new(),
            queue: Default::default(),
            stream: None,
            rows: Vec::new().into_iter(),
            begun: false,
            delivered: false,
            stats: Arc::default(),
        };
        let context = (*(*node).ss.ps.state).es_query_cxt;
        (*node).fdw_state = PgMemoryContexts::For(context).leak_and_drop_on_delete(scan).cast();
    }
}

/// The scan's state, once `begin` made it.
///
/// # Safety
/// `node` is the executor's, live; nobody else holds the state meanwhile.
pub unsafe fn state<'a>(node: *mut pg_sys::ForeignScanState) -> Option<&'a mut Scan> {
    // SAFETY: the caller's promise; `fdw_state` is null or what `begin` put there.
    unsafe { (*node).fdw_state.cast::<Scan>().as_mut() }
}

#[pg_guard]
pub unsafe extern "C-unwind" fn iterate(node: *mut pg_sys::ForeignScanState) -> *mut pg_sys::TupleTableSlot {
    // SAFETY: called by the executor between `begin` and `end`.
    unsafe {
        let slot = (*node).ss.ss_ScanTupleSlot;
        if let Some(clear) = (*(*slot).tts_ops).clear {
            clear(slot);
        }
        if let Some(scan) = state(node)
            && let Some(row) = scan.next(node)
        {
            scan.store(&row, slot);
        }
        slot
    }
}

#[pg_guard]
pub unsafe extern "C-unwind" fn rescan(node: *mut pg_sys::ForeignScanState) {
    // SAFETY: as for `iterate`.
    if let Some(scan) = unsafe { state(node) } {
        scan.restart();
    }
}

#[pg_guard]
pub unsafe extern "C-unwind" fn end(node: *mut pg_sys::ForeignScanState) {
    // SAFETY: as for `iterate`; the state itself goes with its memory context.
    let Some(scan) = (unsafe { state(node) }) else { return };
    scan.restart();
    scan.outputs.iter().for_each(Output::warn);
}
