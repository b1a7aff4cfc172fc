//! The read-ahead: hands the outer rows of a nested loop on as they are, some of them read early, so that the scans
//! on its inner side see which keys will be asked for next.
//!
//! For a row that is read early, the loop's parameters are set for as long as the scans look at their own operands, and
//! put back. A row waits as a copy of its own; what is handed on stays until the next one is.
#![allow(unsafe_code)] // the executor's nodes, slots and parameters

use std::collections::VecDeque;

use pgrx::prelude::*;
use pgrx::{PgMemoryContexts, pg_sys};

use crate::fdw::exec::{self, State};
use crate::fdw::keyed::Keyed;
use crate::fdw::stored::Stored;
use crate::fdw::{ahead, explain, pg};
use crate::pg_compat;

/// A method table: PostgreSQL keeps its address, and nobody writes to it.
struct Fixed<T>(T);
// SAFETY: constants that hold pointers to constants and functions only.
unsafe impl<T> Sync for Fixed<T> {}

static PLANNED: Fixed<pg_sys::CustomScanMethods> = Fixed(pg_sys::CustomScanMethods {
    CustomName: c"AssetsReadAhead".as_ptr(),
    CreateCustomScanState: Some(create),
});

static EXECUTED: Fixed<pg_sys::CustomExecMethods> = Fixed(pg_sys::CustomExecMethods {
    CustomName: c"AssetsReadAhead".as_ptr(),
    BeginCustomScan: Some(begin),
    ExecCustomScan: Some(next),
    EndCustomScan: Some(end),
    ReScanCustomScan: Some(rescan),
    MarkPosCustomScan: None,
    RestrPosCustomScan: None,
    EstimateDSMCustomScan: None,
    InitializeDSMCustomScan: None,
    ReInitializeDSMCustomScan: None,
    InitializeWorkerCustomScan: None,
    ShutdownCustomScan: None,
    ExplainCustomScan: Some(shown),
});

/// So many rows are read for each new key that is wanted, where keys are known already.
const ROWS_A_KEY: usize = 8;

/// Makes the node known by its name.
pub fn register() {
    // SAFETY: the table lives as long as the library.
    unsafe { pg_sys::RegisterCustomScanMethods(&raw const PLANNED.0) };
}

/// The node over the outer side of a nested loop that gives `params`.
///
/// # Safety
/// `outer` is a finished plan; `link` the Integer by which the scans know the node.
pub unsafe fn plan(
    outer: *mut pg_sys::Plan,
    params: *mut pg_sys::List,
    link: *mut pg_sys::Node,
    number: i32,
) -> *mut pg_sys::Plan {
    // SAFETY: the caller's promise; what is made lives in the plan's memory.
    unsafe {
        let made = pg_sys::palloc0(size_of::<pg_sys::CustomScan>()).cast::<pg_sys::CustomScan>();
        let scan = &mut (*made).scan.plan;
        scan.type_ = pg_sys::NodeTag::T_CustomScan;
        scan.startup_cost = (*outer).startup_cost;
        scan.total_cost = (*outer).total_cost;
        scan.plan_rows = (*outer).plan_rows;
        scan.plan_width = (*outer).plan_width;
        scan.plan_node_id = number;
        scan.extParam = pg_sys::bms_copy((*outer).extParam);
        scan.allParam = pg_sys::bms_copy((*outer).allParam);
        scan.lefttree = outer;
        pg_compat::disabled_as(scan, outer);
        let mut given = std::ptr::null_mut();
        for entry in pg::nodes::<pg_sys::TargetEntry>((*outer).targetlist) {
            let of = |place: i32| {
                let copy = pg_sys::flatCopyTargetEntry(entry);
                (*copy).expr = pg_sys::makeVarFromTargetEntry(place, entry).cast();
                copy.cast()
            };
            scan.targetlist = pg_sys::lappend(scan.targetlist, of(pg_sys::INDEX_VAR));
            given = pg_sys::lappend(given, of(pg_sys::OUTER_VAR));
        }
        (*made).custom_scan_tlist = given;
        let mut pairs = std::ptr::null_mut();
        for param in pg::nodes::<pg_sys::NestLoopParam>(params) {
            pairs = pg_sys::lappend_int(pairs, (*param).paramno);
            pairs = pg_sys::lappend_int(pairs, i32::from((*(*param).paramval).varattno));
        }
        (*made).custom_private = pg_sys::lappend(std::ptr::null_mut(), link.cast());
        (*made).custom_private = pg_sys::lappend((*made).custom_private, pairs.cast());
        (*made).methods = &raw const PLANNED.0;
        made.cast()
    }
}

/// The executor's node with ours behind it.
#[repr(C)]
struct Node {
    custom: pg_sys::CustomScanState,
    ahead: *mut ReadAhead,
}

/// What the node has read.
pub struct ReadAhead {
    child: *mut pg_sys::PlanState,
    /// The loop's parameters: number, and the outer row's column.
    params: Vec<(usize, i32)>,
    /// The scans that look at the keys; they stand on the inner side, and begin after this node.
    scans: Vec<*mut pg_sys::ForeignScanState>,
    waiting: VecDeque<Stored>,
    /// Bytes of the rows that wait.
    bytes: usize,
    /// The row that was handed on last.
    given: Option<Stored>,
    at_end: bool,
    early: u64,
}

impl ReadAhead {
    /// The numbers of the parameters that the loop gives.
    pub fn numbers(&self) -> Vec<usize> {
        self.params.iter().map(|(number, _)| *number).collect()
    }

    /// A scan that wants to look at keys.
    pub fn feeds(&mut self, scan: *mut pg_sys::ForeignScanState) {
        self.scans.push(scan);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn create(_plan: *mut pg_sys::CustomScan) -> *mut pg_sys::Node {
    // SAFETY: a node of our own size, zeroed, which the executor fills.
    unsafe {
        let node = pg_sys::palloc0(size_of::<Node>()).cast::<Node>();
        (*node).custom.ss.ps.type_ = pg_sys::NodeTag::T_CustomScanState;
        (*node).custom.methods = &raw const EXECUTED.0;
        node.cast()
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn begin(
    node: *mut pg_sys::CustomScanState,
    estate: *mut pg_sys::EState,
    flags: i32,
) {
    // SAFETY: called by the executor with a node that `create` made; the state is dropped with the query's memory.
    unsafe {
        let plan = (*node).ss.ps.plan.cast::<pg_sys::CustomScan>();
        let child = pg_sys::ExecInitNode((*plan).scan.plan.lefttree, estate, flags);
        (*node).ss.ps.lefttree = child;
        let pairs = pg::nodes::<pg_sys::List>((*plan).custom_private).nth(1);
        let numbers = pairs.map(|pairs| pg::integers(pairs)).unwrap_or_default();
        let params = numbers.chunks_exact(2).map(|pair| (pair[0] as usize, pair[1])).collect();
        let ahead = ReadAhead {
            child,
            params,
            scans: Vec::new(),
            waiting: VecDeque::new(),
            bytes: 0,
            given: None,
            at_end: false,
            early: 0,
        };
        let ahead = PgMemoryContexts::For((*estate).es_query_cxt).leak_and_drop_on_delete(ahead);
        (*node.cast::<Node>()).ahead = ahead;
        // Rows that are checked once more, after somebody else's update, come one at a time.
        if let (true, Some(link)) =
            ((*estate).es_epq_active.is_null(), ahead::numbers_in((*plan).custom_private).first())
        {
            (*(*estate).es_param_exec_vals.add(*link)).value = pg_sys::Datum::from(ahead);
        }
    }
}

/// The read-ahead that feeds a scan of a plan that runs; none where there is none, or rows are only checked once more.
///
/// # Safety
/// `node` is the executor's, while it begins.
pub unsafe fn feeding<'a>(node: *mut pg_sys::ForeignScanState) -> Option<&'a mut ReadAhead> {
    // SAFETY: the caller's promise; the slot holds what `begin` of the other node has put there: it began before.
    unsafe {
        let estate = (*node).ss.ps.state;
        let plan = (*node).ss.ps.plan.cast::<pg_sys::ForeignScan>();
        let numbers = ahead::numbers_in((*plan).fdw_private);
        let link = numbers.first().filter(|_| (*estate).es_epq_active.is_null())?;
        (*(*estate).es_param_exec_vals.add(*link)).value.cast_mut_ptr::<ReadAhead>().as_mut()
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn next(node: *mut pg_sys::CustomScanState) -> *mut pg_sys::TupleTableSlot {
    // SAFETY: called by the executor between `begin` and `end`; nobody else holds the state meanwhile.
    unsafe {
        let slot = (*node).ss.ss_ScanTupleSlot;
        let ahead = &mut *(*node.cast::<Node>()).ahead;
        pg::clear_slot(slot);
        if ahead.scans.is_empty() {
            pass(pg::next_of(ahead.child), slot);
        } else {
            if ahead.waiting.is_empty() && !ahead.at_end {
                ahead.read(node);
            }
            ahead.given = ahead.waiting.pop_front();
            if let Some(row) = &ahead.given {
                ahead.bytes -= row.bytes();
                row.fill(slot);
            }
        }
        // The target list is the child's, column by column: nothing is projected.
        slot
    }
}

/// A row as the child has it.
unsafe fn pass(from: *mut pg_sys::TupleTableSlot, to: *mut pg_sys::TupleTableSlot) {
    // SAFETY: slots of the same columns; what the values point to stays until the child is asked again.
    unsafe {
        if pg::is_empty(from) {
            return;
        }
        let count = (*(*to).tts_tupleDescriptor).natts as usize;
        pg::deform(from, count as i32);
        std::ptr::copy_nonoverlapping((*from).tts_values, (*to).tts_values, count);
        std::ptr::copy_nonoverlapping((*from).tts_isnull, (*to).tts_isnull, count);
        pg_sys::ExecStoreVirtualTuple(to);
    }
}

impl ReadAhead {
    /// Reads rows until the scans know as many new keys as they can ask for together.
    unsafe fn read(&mut self, node: *mut pg_sys::CustomScanState) {
        // SAFETY: the caller's node; the scans are of the same query, and begun.
        unsafe {
            let keyed = |scan: &*mut pg_sys::ForeignScanState| exec::state(*scan).and_then(State::keyed);
            let wanted = self.scans.iter().filter_map(keyed).map(|keyed| keyed.wanted()).max().unwrap_or(0);
            let room = Keyed::budget() / 4;
            let memory = (*(*node).ss.ps.ps_ExprContext).ecxt_per_tuple_memory;
            loop {
                let slot = pg::next_of(self.child);
                if pg::is_empty(slot) {
                    self.at_end = true;
                    self.early += (self.waiting.len() as u64).saturating_sub(1);
                    return;
                }
                pg_sys::MemoryContextReset(memory);
                let row = PgMemoryContexts::For(memory).switch_to(|_| {
                    self.offer(node, slot);
                    Stored::of(slot)
                });
                self.bytes += row.bytes();
                self.waiting.push_back(row);
                let rows = self.waiting.len();
                let known = |scan: &*mut pg_sys::ForeignScanState| keyed(scan).is_none_or(|k| k.has_enough());
                if rows >= wanted.max(1) * ROWS_A_KEY || self.bytes >= room || self.scans.iter().all(known) {
                    self.early += rows as u64 - 1;
                    return;
                }
                pgrx::check_for_interrupts!();
            }
        }
    }

    /// Lets the scans look at a row's keys.
    unsafe fn offer(&mut self, node: *mut pg_sys::CustomScanState, slot: *mut pg_sys::TupleTableSlot) {
        // SAFETY: the caller's slot holds a row; the parameters are the loop's, which sets them for each row that it takes.
        unsafe {
            let estate = (*node).ss.ps.state;
            let _before = Parameters::set((*estate).es_param_exec_vals, &self.params, slot);
            for scan in &self.scans {
                if let Some(keyed) = exec::state(*scan).and_then(State::keyed) {
                    keyed.offer(*scan);
                }
            }
        }
    }
}

/// The loop's parameters as they were; put back when this is dropped, be it by an ERROR.
struct Parameters {
    all: *mut pg_sys::ParamExecData,
    before: Vec<(usize, pg_sys::ParamExecData)>,
}

impl Parameters {
    unsafe fn set(
        all: *mut pg_sys::ParamExecData,
        params: &[(usize, i32)],
        slot: *mut pg_sys::TupleTableSlot,
    ) -> Self {
        // SAFETY: the caller's array has a place for each parameter of the plan, the slot a column for each.
        unsafe {
            let mut before = Vec::with_capacity(params.len());
            for (number, column) in params {
                let param = all.add(*number);
                before.push((*number, *param));
                pg::deform(slot, *column);
                let n = *column as usize - 1;
                (*param).value = *(*slot).tts_values.add(n);
                (*param).isnull = *(*slot).tts_isnull.add(n);
            }
            Self { all, before }
        }
    }
}

impl Drop for Parameters {
    fn drop(&mut self) {
        for (number, param) in self.before.drain(..) {
            // SAFETY: as for `set`; the query still runs.
            unsafe { *self.all.add(number) = param };
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn rescan(node: *mut pg_sys::CustomScanState) {
    // SAFETY: as for `next`. PostgreSQL has told the child which parameters changed.
    unsafe {
        let ahead = &mut *(*node.cast::<Node>()).ahead;
        ahead.waiting.clear();
        ahead.bytes = 0;
        ahead.at_end = false;
        for scan in &ahead.scans {
            if let Some(keyed) = exec::state(*scan).and_then(State::keyed) {
                keyed.outer_begins_again();
            }
        }
        if (*ahead.child).chgParam.is_null() {
            pg_sys::ExecReScan(ahead.child);
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn end(node: *mut pg_sys::CustomScanState) {
    // SAFETY: as for `next`; the state itself goes with its memory context.
    unsafe { pg_sys::ExecEndNode((*node).ss.ps.lefttree) }
}

#[pg_guard]
unsafe extern "C-unwind" fn shown(
    node: *mut pg_sys::CustomScanState,
    _ancestors: *mut pg_sys::List,
    es: *mut pg_sys::ExplainState,
) {
    // SAFETY: called by EXPLAIN after `begin`.
    unsafe {
        let ahead = &*(*node.cast::<Node>()).ahead;
        if (*es).analyze {
            explain::number(es, c"Rows Read Ahead", ahead.early);
        }
    }
}
