//! System columns of rows that no table of this server holds: what other wrappers give for them, which is zero for
//! `xmin`, `xmax`, `cmin` and `cmax`, and no place for `ctid`. `tableoid` is the executor's.
#![allow(unsafe_code)] // tuples and slots

use pgrx::pg_sys;

use crate::fdw::pg;

/// Whether expressions over a relation use a system column.
///
/// # Safety
/// `expressions` is null or a node over the relation `relid` of its range table.
pub unsafe fn is_used(expressions: *mut pg_sys::Node, relid: u32) -> bool {
    // SAFETY: the caller's promise.
    unsafe { pg::columns_in(expressions, relid) }.into_iter().any(|attnum| attnum < 0)
}

/// Gives the row in a slot system columns.
///
/// # Safety
/// `slot` holds a row, and is one of heap tuples.
pub unsafe fn fill(slot: *mut pg_sys::TupleTableSlot) {
    // SAFETY: the caller's promise: the slot makes its tuple, which is its own then. A tuple is made as a datum, with
    // length and type where a stored one says who wrote it.
    unsafe {
        if (*(*slot).tts_ops).get_heap_tuple.is_none()
            || !std::ptr::eq((*slot).tts_ops, &raw const pg_sys::TTSOpsHeapTuple)
        {
            return;
        }
        let Some(materialize) = (*(*slot).tts_ops).materialize else { return };
        materialize(slot);
        let tuple = (*slot.cast::<pg_sys::HeapTupleTableSlot>()).tuple;
        if let Some(tuple) = tuple.as_ref() {
            (*tuple.t_data).t_choice.t_heap = std::mem::zeroed();
        }
    }
}
