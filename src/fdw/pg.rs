//! Small safe-to-read wrappers over PostgreSQL's nodes, lists, text and tables.
#![allow(unsafe_code)] // raw nodes

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::error;

/// The elements of a List of pointers, cast to `T`.
///
/// # Safety
/// `list` is null or a List of pointers to `T`, alive while the iterator is used.
pub unsafe fn nodes<T>(list: *mut pg_sys::List) -> impl Iterator<Item = *mut T> {
    // SAFETY: the caller's promise.
    let length = unsafe { length(list) };
    // SAFETY: as above; `n` is below the list's length.
    (0..length).map(move |n| unsafe { (*(*list).elements.add(n)).ptr_value.cast() })
}

/// How many elements a List has.
///
/// # Safety
/// `list` is null or a live List.
pub unsafe fn length(list: *mut pg_sys::List) -> usize {
    // SAFETY: the caller's promise.
    if list.is_null() { 0 } else { unsafe { (*list).length as usize } }
}

/// The elements of a List of integers.
///
/// # Safety
/// `list` is null or such a List.
pub unsafe fn integers(list: *mut pg_sys::List) -> Vec<i32> {
    // SAFETY: the caller's promise; `n` is below the list's length.
    unsafe { (0..length(list)).map(|n| (*(*list).elements.add(n)).int_value).collect() }
}

/// The members of a set of numbers.
///
/// # Safety
/// `set` is null or live.
pub unsafe fn members(set: *const pg_sys::Bitmapset) -> Vec<usize> {
    let (mut members, mut member) = (Vec::new(), -1);
    loop {
        // SAFETY: the caller's promise; a set may be null.
        member = unsafe { pg_sys::bms_next_member(set.cast_mut(), member) };
        match usize::try_from(member) {
            Ok(member) => members.push(member),
            Err(_) => return members,
        }
    }
}

/// The next row of a plan node below; an empty slot, or none, at the end.
///
/// # Safety
/// `node` is the executor's, begun, and nobody else drives it at this moment.
pub unsafe fn next_of(node: *mut pg_sys::PlanState) -> *mut pg_sys::TupleTableSlot {
    // SAFETY: the caller's promise: as PostgreSQL's own ExecProcNode, whose function is behind a pointer.
    unsafe {
        if !(*node).chgParam.is_null() {
            pg_sys::ExecReScan(node);
        }
        let Some(next) = (*node).ExecProcNode else { return std::ptr::null_mut() };
        pg_sys::ffi::pg_guard_ffi_boundary(|| next(node))
    }
}

/// Makes a slot's first `count` columns readable.
///
/// # Safety
/// `slot` holds a row of as many columns at least.
pub unsafe fn deform(slot: *mut pg_sys::TupleTableSlot, count: i32) {
    // SAFETY: the caller's promise.
    unsafe {
        if i32::from((*slot).tts_nvalid) < count {
            pg_sys::slot_getsomeattrs_int(slot, count);
        }
    }
}

/// Whether a slot holds no row.
///
/// # Safety
/// `slot` is null or live.
pub unsafe fn is_empty(slot: *mut pg_sys::TupleTableSlot) -> bool {
    // SAFETY: the caller's promise.
    slot.is_null() || unsafe { (*slot).tts_flags & pg_sys::TTS_FLAG_EMPTY as u16 != 0 }
}

/// Whether a node is of a type.
///
/// # Safety
/// `node` points to a live node.
pub unsafe fn is_a<T>(node: *mut T, tag: pg_sys::NodeTag) -> bool {
    // SAFETY: every node begins with its tag.
    unsafe { (*node.cast::<pg_sys::Node>()).type_ == tag }
}

/// The numbers of the columns of a relation that an expression, or a List of them, names; 0 is the whole row, and
/// system columns have negative ones.
///
/// # Safety
/// `node` is null or a live expression of the query that `relid` belongs to.
pub unsafe fn columns_in(node: *mut pg_sys::Node, relid: pg_sys::Index) -> Vec<i16> {
    let mut used: *mut pg_sys::Bitmapset = std::ptr::null_mut();
    let mut members = Vec::new();
    // SAFETY: the caller's promise; the set is this call's own.
    unsafe {
        pg_sys::pull_varattnos(node, relid, &mut used);
        let mut member = -1;
        loop {
            member = pg_sys::bms_next_member(used, member);
            if member < 0 {
                break;
            }
            members.extend(i16::try_from(member + pg_sys::FirstLowInvalidHeapAttributeNumber));
        }
    }
    members
}

/// Whether texts are equal under a collation only where their bytes are: else other texts than those asked for may
/// be meant.
pub fn is_deterministic(collation: pg_sys::Oid) -> bool {
    // SAFETY: a catalogue look-up inside a transaction, of a collation that an expression or a column uses.
    collation == pg_sys::InvalidOid || unsafe { pg_sys::get_collation_isdeterministic(collation) }
}

/// A C string of the server, as Rust has text. The extension works in UTF-8 databases only
/// (`crate::installed`); names in shared catalogues may be in another encoding all the same.
///
/// # Safety
/// `pointer` is a live C string.
pub unsafe fn text(pointer: *const c_char) -> String {
    // SAFETY: the caller's promise.
    unsafe { from_server(CStr::from_ptr(pointer).to_bytes()) }
}

/// Text of the server.
pub fn from_server(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A palloc'd C string. `text` holds no zero byte: the decoder refuses them.
pub fn to_server(text: &str) -> *mut c_char {
    // SAFETY: copies `len` bytes into a palloc'd C string.
    unsafe { pg_sys::pnstrdup(text.as_ptr().cast(), text.len()) }
}

/// A `text` datum.
pub fn text_datum(text: &str) -> pg_sys::Datum {
    // SAFETY: copies the bytes into a palloc'd varlena.
    unsafe { pg_sys::cstring_to_text_with_len(text.as_ptr().cast(), text.len() as i32).into() }
}

/// The statement that an event trigger's function is called for. An ERROR where `name` is called otherwise.
///
/// # Safety
/// `fcinfo` is of the call under way.
pub unsafe fn event_trigger_statement(fcinfo: pg_sys::FunctionCallInfo, name: &str) -> *mut pg_sys::Node {
    // SAFETY: the caller's promise: the context of an event trigger's call is its data.
    unsafe {
        let context = (*fcinfo).context;
        if context.is_null() || !is_a(context, pg_sys::NodeTag::T_EventTriggerData) {
            error::raise(
                PgSqlErrorCode::ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED,
                format!("{name}() is an event trigger's"),
            );
        }
        (*context.cast::<pg_sys::EventTriggerData>()).parsetree
    }
}

/// Empties a slot.
///
/// # Safety
/// `slot` is live.
pub unsafe fn clear_slot(slot: *mut pg_sys::TupleTableSlot) {
    // SAFETY: the caller's promise; every kind of slot knows how to clear itself.
    unsafe {
        if let Some(clear) = (*(*slot).tts_ops).clear {
            clear(slot);
        }
    }
}

/// Fills every column of a slot of `bigint`s with one value.
///
/// # Safety
/// `slot` is virtual, empty, and of columns of that type.
pub unsafe fn store_in_all(slot: *mut pg_sys::TupleTableSlot, value: i64) {
    // SAFETY: the caller's promise.
    unsafe {
        for n in 0..(*(*slot).tts_tupleDescriptor).natts as usize {
            *(*slot).tts_values.add(n) = value.into();
            *(*slot).tts_isnull.add(n) = false;
        }
        pg_sys::ExecStoreVirtualTuple(slot);
    }
}

/// The value of a compiled expression in a context; none for NULL. An ERROR of the expression's unwinds from here: a
/// function behind a pointer is not guarded by itself, and would leave past the frames of this code.
///
/// # Safety
/// `state` is what `ExecInitExpr` made for the node that `context` belongs to, with what the expression reads in it.
pub unsafe fn value_of(
    state: *mut pg_sys::ExprState,
    context: *mut pg_sys::ExprContext,
) -> Option<pg_sys::Datum> {
    // SAFETY: the caller's promise.
    unsafe {
        let evaluate = (*state).evalfunc?;
        let mut is_null = false;
        let value = pg_sys::ffi::pg_guard_ffi_boundary(|| evaluate(state, context, &raw mut is_null));
        (!is_null).then_some(value)
    }
}

/// Whether compiled quals are all true in a context; no quals at all are.
///
/// # Safety
/// `quals` is null or what `ExecInitQual` made for the node that `context` belongs to.
pub unsafe fn satisfied(quals: *mut pg_sys::ExprState, context: *mut pg_sys::ExprContext) -> bool {
    // SAFETY: the caller's promise.
    unsafe { quals.is_null() || value_of(quals, context).is_some_and(|value| value.value() != 0) }
}

/// A row of a table, as [`read_table`] gives it; columns count from 0.
pub struct TableRow<'a> {
    values: &'a [pg_sys::Datum],
    nulls: &'a [bool],
}

impl TableRow<'_> {
    /// A column of type `text`; none for NULL.
    pub fn text(&self, n: usize) -> Option<String> {
        match super::datum::literal(self.value(n)?, pg_sys::TEXTOID) {
            Some(aql::Literal::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A column of type `name`.
    pub fn name(&self, n: usize) -> Option<String> {
        // SAFETY: such a value is a C string in a field of fixed length.
        self.value(n).map(|name| unsafe { text((*name.cast_mut_ptr::<pg_sys::NameData>()).data.as_ptr()) })
    }

    /// A column of type `oid`.
    pub fn oid(&self, n: usize) -> Option<pg_sys::Oid> {
        self.value(n).map(|oid| pg_sys::Oid::from(oid.value() as u32))
    }

    /// A column of type `smallint`.
    pub fn small(&self, n: usize) -> Option<i16> {
        self.value(n).map(|number| number.value() as i16)
    }

    /// A column of type `boolean`.
    pub fn boolean(&self, n: usize) -> Option<bool> {
        self.value(n).map(|boolean| boolean.value() as u8 != 0)
    }

    /// A column of type `timestamptz`, in PostgreSQL's own count.
    pub fn timestamp(&self, n: usize) -> Option<i64> {
        self.value(n).map(|timestamp| timestamp.value() as i64)
    }

    fn value(&self, n: usize) -> Option<pg_sys::Datum> {
        (!self.nulls[n]).then(|| self.values[n])
    }
}

/// A table of the extension's; none where the extension is not made (yet).
pub fn own_table(name: &CStr) -> Option<pg_sys::Oid> {
    // SAFETY: catalogue look-ups inside a transaction.
    let found = unsafe {
        let schema = pg_sys::get_namespace_oid(c"assets_fdw".as_ptr(), true);
        pg_sys::get_relname_relid(name.as_ptr(), schema)
    };
    (found != pg_sys::InvalidOid).then_some(found)
}

/// Reads a table as the system reads its own: what is committed by now, with nobody's rights, also on a
/// standby. Nothing, where it has fewer than `columns` columns: it is another version's.
///
/// # Safety
/// `relation` is a table, and its first `columns` columns are of the types that `read` takes them for.
pub unsafe fn read_table(relation: pg_sys::Oid, columns: usize, mut read: impl FnMut(&TableRow)) {
    // SAFETY: the caller's promise; the table is locked while it is read, and the arrays hold its columns.
    unsafe {
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let table = pg_sys::table_open(relation, lock);
        let description = (*table).rd_att;
        let count = (*description).natts as usize;
        if count >= columns {
            let none = std::ptr::null_mut();
            let scan = pg_sys::systable_beginscan(table, pg_sys::InvalidOid, false, none, 0, none.cast());
            let (mut values, mut nulls) = (vec![pg_sys::Datum::null(); count], vec![false; count]);
            while let Some(tuple) = pg_sys::systable_getnext(scan).as_mut() {
                pg_sys::heap_deform_tuple(tuple, description, values.as_mut_ptr(), nulls.as_mut_ptr());
                read(&TableRow { values: &values, nulls: &nulls });
            }
            pg_sys::systable_endscan(scan);
        }
        pg_sys::table_close(table, lock);
    }
}
