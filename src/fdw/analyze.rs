//! ANALYZE of a foreign table: statistics from a sample of its objects.
#![allow(unsafe_code)] // relations and tuples of the server

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::catalog::{ForeignTable, Resolved};
use crate::fdw::output::Output;
use crate::session::Connection;
use crate::{error, runtime, session};

/// Objects that stand for one block of a table, where PostgreSQL counts blocks.
const OBJECTS_A_BLOCK: u64 = 20;

/// A foreign table and whom its owner's mapping asks about it. ANALYZE runs as the table's owner.
///
/// # Safety
/// `relation` is open.
unsafe fn table_of(relation: pg_sys::Relation) -> (ForeignTable, std::rc::Rc<Connection>, Resolved) {
    // SAFETY: the caller's promise.
    let (relid, owner) = unsafe { ((*relation).rd_id, (*(*relation).rd_rel).relowner) };
    let table = ForeignTable::load(relid);
    let connection = session::connect(table.server, owner);
    let all: Vec<i16> = table.columns.iter().map(|column| column.attnum).collect();
    let resolved =
        error::or_raise(runtime::wait(table.resolver(&all).resolve_surely(connection.client.clone())));
    (table, connection, resolved)
}

/// Whether the table can be analyzed (it can), and how large it is.
#[pg_guard]
pub unsafe extern "C-unwind" fn analyze_foreign_table(
    relation: pg_sys::Relation,
    func: *mut pg_sys::AcquireSampleRowsFunc,
    total_pages: *mut pg_sys::BlockNumber,
) -> bool {
    // SAFETY: called by ANALYZE with an open relation and two places to fill.
    unsafe {
        let (_, connection, resolved) = table_of(relation);
        let client = connection.client.clone();
        let objects = match client.cached_count(&resolved.filter) {
            Some(count) => count,
            None => {
                let filter = resolved.filter.clone();
                error::or_raise(runtime::wait(async move { client.total_count(&filter).await }))
            }
        };
        let blocks = objects.div_ceil(OBJECTS_A_BLOCK).max(1);
        *total_pages = u32::try_from(blocks).unwrap_or(pg_sys::InvalidBlockNumber - 1);
        *func = Some(acquire_sample_rows);
    }
    true
}

/// Fills `rows` with a sample of at most `wanted` rows.
#[pg_guard]
unsafe extern "C-unwind" fn acquire_sample_rows(
    relation: pg_sys::Relation,
    level: i32,
    rows: *mut pg_sys::HeapTuple,
    wanted: i32,
    total_rows: *mut f64,
    dead_rows: *mut f64,
) -> i32 {
    // SAFETY: called by ANALYZE with an open relation, room for `wanted` tuples, and two places to fill;
    // the tuples are made in the memory that is current, which is ANALYZE's.
    unsafe {
        let (table, connection, resolved) = table_of(relation);
        let mut specs = Vec::new();
        let mut outputs = Vec::new();
        for column in &table.columns {
            if let Some(resolution) = resolved.columns.get(&column.attnum) {
                specs.push(resolution.spec);
                outputs.push(Output::new(column, resolution));
            }
        }
        let (client, filter, most) = (connection.client.clone(), resolved.filter, wanted.max(0) as usize);
        let sample = runtime::wait(async move { client.sample(&filter, specs.into(), most).await });
        let sample = error::or_raise(sample);
        let shape = (*relation).rd_att;
        for (n, row) in sample.rows.iter().enumerate() {
            pg_sys::check_for_interrupts!();
            let columns = (*shape).natts as usize;
            let mut values = vec![pg_sys::Datum::null(); columns];
            let mut nulls = vec![true; columns];
            for (output, value) in outputs.iter_mut().zip(&row.values) {
                if let Some(datum) = output.datum(&row.key, value) {
                    values[output.attnum as usize - 1] = datum;
                    nulls[output.attnum as usize - 1] = false;
                }
            }
            *rows.add(n) = pg_sys::heap_form_tuple(shape, values.as_mut_ptr(), nulls.as_mut_ptr());
        }
        outputs.iter().for_each(Output::warn);
        *total_rows = sample.total as f64;
        *dead_rows = 0.0;
        error::report(
            PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
            format!(
                "\"{}\": foreign table has {} objects; {} in sample",
                table.name,
                sample.total,
                sample.rows.len()
            ),
        )
        .report(PgLogLevel::from(level));
        sample.rows.len() as i32
    }
}
