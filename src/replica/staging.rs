//! Where the pages of a run are kept until all of them are there: a tuple store of the worker's, in
//! memory up to `work_mem` and in a temporary file beyond, that SQL reads as a table, the way triggers
//! read their transition tables.
//!
//! It costs no WAL, no transaction id, no row in the catalogues and no right of the owner's; it is in
//! nobody's way (a temporary table would be: DROP ROLE and REASSIGN OWNED trip over it), and vanishes
//! with the process, however that ends.
#![allow(unsafe_code)] // the tuple store

use std::ffi::CString;
use std::mem::ManuallyDrop;

use assets::value::{Row, Value};
use pgrx::prelude::*;
use pgrx::{PgMemoryContexts, pg_sys};
use tables::ddl::ident;

use super::proof::Witness;
use super::spi::Connected;
use crate::error;
use crate::fdw::output::Output;

/// The staged rows, as statements name them.
pub const TABLE: &str = "assets_fdw_staging";

/// A column that source and replica share.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its number in the source.
    pub attnum: i16,
    /// Its name in both, and in the staging table.
    pub name: String,
    /// Its type in the source, as SQL names it.
    pub source_type: String,
    /// The same as an OID.
    pub source_oid: pg_sys::Oid,
    /// The type's modifier.
    pub source_typmod: i32,
    /// Its type in the replica, as SQL names it.
    pub target_type: String,
}

impl Column {
    /// The staged value, as the replica wants it.
    pub fn staged(&self) -> String {
        let name = ident(&self.name);
        if self.source_type == self.target_type {
            format!("s.{name}")
        } else {
            format!("s.{name}::{}", self.target_type)
        }
    }
}

/// Rows that wait for the last one. Lives as long as the process.
pub struct Staging {
    store: *mut pg_sys::Tuplestorestate,
    shape: pg_sys::TupleDesc,
    /// Where the datums of one row are made. Never dropped: it is current when an ERROR unwinds.
    memory: ManuallyDrop<PgMemoryContexts>,
    outputs: Vec<Output>,
    rows: u64,
    witness: Option<Witness>,
}

impl Staging {
    /// An empty one, inside a transaction. `outputs` are the columns in their order.
    pub fn create(columns: &[Column], outputs: Vec<Output>) -> Self {
        // SAFETY: everything is made in the memory context that lasts as long as the process. The
        // store's files outlive transactions, so no transaction's resource owner may hold them.
        unsafe {
            PgMemoryContexts::TopMemoryContext.switch_to(|_| {
                let shape = pg_sys::CreateTemplateTupleDesc(columns.len() as i32);
                for (n, column) in (1..).zip(columns) {
                    let name = CString::new(column.name.as_str()).unwrap_or_default();
                    pg_sys::TupleDescInitEntry(
                        shape,
                        n,
                        name.as_ptr(),
                        column.source_oid,
                        column.source_typmod,
                        0,
                    );
                }
                let owner = pg_sys::CurrentResourceOwner;
                pg_sys::CurrentResourceOwner = std::ptr::null_mut();
                let store = pg_sys::tuplestore_begin_heap(true, true, pg_sys::work_mem);
                pg_sys::CurrentResourceOwner = owner;
                let memory = ManuallyDrop::new(PgMemoryContexts::new("assets_fdw staging row"));
                Self { store, shape, memory, outputs, rows: 0, witness: None }
            })
        }
    }

    /// Adds rows, inside a transaction: input functions may need one.
    pub fn add(&mut self, rows: &[Row]) {
        for row in rows {
            // SAFETY: switched back before anything else runs; an ERROR ends the run.
            let before = unsafe { self.memory.set_as_current().value() };
            self.add_one(row);
            // SAFETY: the context that was current before; what was made for the row has been copied.
            unsafe {
                pg_sys::MemoryContextSwitchTo(before);
                self.memory.reset();
            }
        }
    }

    /// The object that has not been changed for longest, for asking with.
    pub fn witness(&self) -> Option<Witness> {
        self.witness
    }

    /// `row` may hold one value more than there are columns: when it was last changed.
    fn add_one(&mut self, row: &Row) {
        if let Some(Value::Timestamp(updated)) = row.values.get(self.outputs.len())
            && self.witness.is_none_or(|known| known.updated > *updated)
        {
            self.witness = Some(Witness { id: row.id, updated: *updated });
        }
        let mut values = Vec::with_capacity(self.outputs.len());
        let mut nulls = Vec::with_capacity(self.outputs.len());
        for (output, value) in self.outputs.iter_mut().zip(&row.values) {
            let datum = output.datum(&row.key, value);
            nulls.push(datum.is_none());
            values.push(datum.unwrap_or(pg_sys::Datum::null()));
        }
        // SAFETY: as many values as the shape has columns, of their types; the store copies them.
        unsafe {
            pg_sys::tuplestore_putvalues(self.store, self.shape, values.as_mut_ptr(), nulls.as_mut_ptr());
        }
        self.rows += 1;
    }

    /// Lets statements of this connection read the rows, as [`TABLE`].
    pub fn attach(&self, _connection: &Connected) {
        let name = CString::new(TABLE).unwrap_or_default();
        // SAFETY: SPI is connected; it keeps the pointer until it is disconnected, and the memory it
        // is connected in lasts as long.
        let status = unsafe {
            let relation = pg_sys::palloc0(size_of::<pg_sys::EphemeralNamedRelationData>())
                .cast::<pg_sys::EphemeralNamedRelationData>();
            (*relation).md.name = pg_sys::pstrdup(name.as_ptr());
            (*relation).md.reliddesc = pg_sys::InvalidOid;
            (*relation).md.tupdesc = self.shape;
            (*relation).md.enrtype = pg_sys::EphemeralNameRelationType::ENR_NAMED_TUPLESTORE;
            (*relation).md.enrtuples = self.rows as f64;
            (*relation).reldata = self.store.cast();
            pg_sys::SPI_register_relation(relation)
        };
        if status != pg_sys::SPI_OK_REL_REGISTER as i32 {
            error::raise(
                PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
                format!("the staged rows cannot be read: {status}"),
            );
        }
    }

    /// Says how many values did not fit and were read as NULL.
    pub fn warn(&self) {
        self.outputs.iter().for_each(Output::warn);
    }
}
