//! Rows sorted here, by PostgreSQL's own sort: in memory up to `work_mem`, in temporary files beyond.
#![allow(unsafe_code)] // the server's sort, slots and comparison functions

use pgrx::{PgMemoryContexts, pg_sys};

/// A column to sort by, as the plan has it.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The column's number. Its type is passed by value: a number, a date or an instant.
    pub attnum: i16,
    /// The type's own `<` or `>`.
    pub operator: pg_sys::Oid,
    /// NULLS FIRST.
    pub nulls_first: bool,
}

impl Key {
    /// The value in a row; none for NULL.
    ///
    /// # Safety
    /// `slot` holds a row of the table, all of its columns.
    pub unsafe fn of(&self, slot: *mut pg_sys::TupleTableSlot) -> Option<pg_sys::Datum> {
        // SAFETY: the caller's promise.
        unsafe {
            let n = self.attnum as usize - 1;
            (!*(*slot).tts_isnull.add(n)).then(|| *(*slot).tts_values.add(n))
        }
    }

    /// Whether a value stands before another in the order.
    ///
    /// # Safety
    /// Both are of the column.
    pub unsafe fn precedes(&self, value: Option<pg_sys::Datum>, other: Option<pg_sys::Datum>) -> bool {
        match (value, other) {
            (None, None) => false,
            (None, Some(_)) => self.nulls_first,
            (Some(_), None) => !self.nulls_first,
            // SAFETY: the operator is the type's own, of two such values.
            (Some(a), Some(b)) => unsafe {
                let function = pg_sys::get_opcode(self.operator);
                pg_sys::OidFunctionCall2Coll(function, pg_sys::InvalidOid, a, b).value() as u8 != 0
            },
        }
    }
}

/// Rows under way to being sorted, then sorted.
pub struct Sorter {
    state: *mut pg_sys::Tuplesortstate,
    /// What the sort fills; the scan's own slot is a virtual one.
    slot: *mut pg_sys::TupleTableSlot,
}

impl Sorter {
    /// None yet, of the scanned table's row type.
    ///
    /// # Safety
    /// `node` is the executor's, live; what is made lives as long as its query.
    pub unsafe fn new(node: *mut pg_sys::ForeignScanState, key: &Key) -> Self {
        // SAFETY: the caller's promise; the sort copies what describes its one key.
        unsafe {
            PgMemoryContexts::For((*(*node).ss.ps.state).es_query_cxt).switch_to(|_| {
                let shape = pg_sys::CreateTupleDescCopy((*(*node).ss.ss_ScanTupleSlot).tts_tupleDescriptor);
                let (mut attnum, mut operator) = (key.attnum, key.operator);
                let (mut collation, mut nulls_first) = (pg_sys::InvalidOid, key.nulls_first);
                let state = pg_sys::tuplesort_begin_heap(
                    shape,
                    1,
                    &mut attnum,
                    &mut operator,
                    &mut collation,
                    &mut nulls_first,
                    pg_sys::work_mem,
                    std::ptr::null_mut(),
                    pg_sys::TUPLESORT_RANDOMACCESS as i32,
                );
                let slot = pg_sys::MakeSingleTupleTableSlot(shape, &raw const pg_sys::TTSOpsMinimalTuple);
                Self { state, slot }
            })
        }
    }

    /// Takes a row.
    ///
    /// # Safety
    /// `slot` holds a row of the table; nothing has been sorted yet.
    pub unsafe fn put(&self, slot: *mut pg_sys::TupleTableSlot) {
        // SAFETY: the caller's promise.
        unsafe { pg_sys::tuplesort_puttupleslot(self.state, slot) }
    }

    /// Sorts what was put.
    ///
    /// # Safety
    /// Once, while the query runs.
    pub unsafe fn sort(&self) {
        // SAFETY: the caller's promise.
        unsafe { pg_sys::tuplesort_performsort(self.state) }
    }

    /// Fills `into` with the next row; leaves it as it is after the last.
    ///
    /// # Safety
    /// `into` is the slot of the node that this was made for; all is sorted.
    pub unsafe fn next(&self, into: *mut pg_sys::TupleTableSlot) {
        // SAFETY: the caller's promise; every kind of slot knows how to copy another. A row is made in the
        // slot's own memory, which outlives the row under way.
        unsafe {
            let mut lasting = PgMemoryContexts::For((*self.slot).tts_mcxt);
            let none = std::ptr::null_mut();
            if lasting.switch_to(|_| pg_sys::tuplesort_gettupleslot(self.state, true, false, self.slot, none))
                && let Some(copy) = (*(*into).tts_ops).copyslot
            {
                copy(into, self.slot);
            }
        }
    }

    /// Back to the first row.
    ///
    /// # Safety
    /// All is sorted, and the query still runs.
    pub unsafe fn again(&self) {
        // SAFETY: the caller's promise.
        unsafe { pg_sys::tuplesort_rescan(self.state) }
    }

    /// Lets go of the rows, and of the files.
    ///
    /// # Safety
    /// The query still runs.
    pub unsafe fn end(self) {
        // SAFETY: the caller's promise; nobody uses the sort or the slot afterwards.
        unsafe {
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            pg_sys::tuplesort_end(self.state);
        }
    }
}
