//! Rows kept as copies of their own, in memory of Rust's: it is counted, and goes when they do.
#![allow(unsafe_code)] // tuples and slots

use pgrx::pg_sys;

use crate::pg_compat;

/// A row's minimal tuple, at an address that is aligned as PostgreSQL's own are.
pub struct Stored(Box<[u64]>);

impl Stored {
    /// A copy of the row in a slot.
    ///
    /// # Safety
    /// `slot` holds a row. The current memory takes one copy of it, for as long as it lasts.
    pub unsafe fn of(slot: *mut pg_sys::TupleTableSlot) -> Self {
        // SAFETY: the caller's promise: every kind of slot can copy its row; the tuple says how long it is.
        unsafe {
            let tuple = pg_compat::minimal_tuple(slot);
            let bytes = (*tuple).t_len as usize;
            let mut copy = vec![0_u64; bytes.div_ceil(8)].into_boxed_slice();
            std::ptr::copy_nonoverlapping(tuple.cast::<u8>(), copy.as_mut_ptr().cast::<u8>(), bytes);
            pg_sys::heap_free_minimal_tuple(tuple);
            Self(copy)
        }
    }

    /// What it takes, with what surrounds it.
    pub fn bytes(&self) -> usize {
        self.0.len() * 8 + 48
    }

    /// Puts the row into an empty slot, whose values point into it then.
    ///
    /// # Safety
    /// `slot` is of the row's columns, and not read after the row is gone.
    pub unsafe fn fill(&self, slot: *mut pg_sys::TupleTableSlot) {
        // SAFETY: the caller's promise; the slot does not own the tuple, and nobody writes to it.
        unsafe { pg_sys::ExecForceStoreMinimalTuple(self.0.as_ptr().cast_mut().cast(), slot, false) };
    }
}
