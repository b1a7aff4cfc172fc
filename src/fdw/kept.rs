//! Rows kept for a rescan that changes nothing, so that they are not asked for again: the executor
//! rescans the inner side of a nested loop for every outer row. In memory up to `work_mem`, in a
//! temporary file beyond, as a Materialize node would keep them.
#![allow(unsafe_code)] // the tuple store and the executor's slots

use pgrx::{PgMemoryContexts, pg_sys};

/// The rows that were read so far, in their order.
pub struct Kept {
    store: *mut pg_sys::Tuplestorestate,
    /// What the store fills; the scan's own slot is a virtual one.
    slot: *mut pg_sys::TupleTableSlot,
}

impl Kept {
    /// None yet, of the scanned table's row type.
    ///
    /// # Safety
    /// `node` is the executor's, live; what is made lives as long as its query.
    pub unsafe fn new(node: *mut pg_sys::ForeignScanState) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            PgMemoryContexts::For((*(*node).ss.ps.state).es_query_cxt).switch_to(|_| {
                let shape = pg_sys::CreateTupleDescCopy((*(*node).ss.ss_ScanTupleSlot).tts_tupleDescriptor);
                let store = pg_sys::tuplestore_begin_heap(false, false, pg_sys::work_mem);
                pg_sys::tuplestore_set_eflags(store, pg_sys::EXEC_FLAG_REWIND as i32);
                let slot = pg_sys::MakeSingleTupleTableSlot(shape, &raw const pg_sys::TTSOpsMinimalTuple);
                Self { store, slot }
            })
        }
    }

    /// Fills `into` with the next row kept. False after the last: then another may be [`Kept::put`].
    ///
    /// # Safety
    /// `into` is the slot of the node that this was made for, and the query still runs.
    pub unsafe fn next(&self, into: *mut pg_sys::TupleTableSlot) -> bool {
        // SAFETY: the caller's promise; every kind of slot knows how to copy another.
        unsafe {
            // A row from the file is made in the current memory, which is the row's that is under way
            // now; it is freed when the next one comes.
            let mut lasting = PgMemoryContexts::For((*self.slot).tts_mcxt);
            if !lasting.switch_to(|_| pg_sys::tuplestore_gettupleslot(self.store, true, false, self.slot)) {
                return false;
            }
            if let Some(copy) = (*(*into).tts_ops).copyslot {
                copy(into, self.slot);
            }
            true
        }
    }

    /// Keeps a row. It is not given by [`Kept::next`] before the next [`Kept::again`].
    ///
    /// # Safety
    /// As for [`Kept::next`], which has just given nothing.
    pub unsafe fn put(&self, slot: *mut pg_sys::TupleTableSlot) {
        // SAFETY: the caller's promise; at its end, the store's place moves over what is appended.
        unsafe { pg_sys::tuplestore_puttupleslot(self.store, slot) }
    }

    /// Back to the first row.
    ///
    /// # Safety
    /// The query still runs.
    pub unsafe fn again(&self) {
        // SAFETY: the caller's promise.
        unsafe { pg_sys::tuplestore_rescan(self.store) }
    }

    /// Lets go of the rows, and of the file.
    ///
    /// # Safety
    /// The query still runs.
    pub unsafe fn end(self) {
        // SAFETY: the caller's promise; nobody uses the store or the slot afterwards.
        unsafe {
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            pg_sys::tuplestore_end(self.store);
        }
    }
}
