//! Where the pages of a run are kept until all of them are there: a tuple store of the worker's, in
//! memory up to `work_mem` and in a temporary file beyond, that SQL reads as a table, the way triggers
//! read their transition tables.
//!
//! It costs no WAL, no transaction id, no row in the catalogues and no right of the owner's; it is in
//! nobody's way (a temporary table would be: DROP ROLE and REASSIGN OWNED trip over it), and vanishes
//! with the process, however that ends.
//!
//! What was read of an object may be read again, newer: rows are kept in layers, one for each time that
//! the service was asked, and a layer hides what those below it hold of the same objects.
#![allow(unsafe_code)] // the tuple store

use std::collections::HashSet;
use std::ffi::CString;
use std::mem::ManuallyDrop;

use assets::value::{Row, Value};
use pgrx::prelude::*;
use pgrx::{PgMemoryContexts, pg_sys};
use tables::ddl::ident;

use super::fit::Fit;
use crate::error;
use crate::fdw::output::Output;
use crate::sql::spi::Connected;
use delta::since::Witness;

/// The staged rows of a layer, as statements name them, with the layer's number.
const TABLE: &str = "assets_fdw_staging_";

/// A column that source and replica share.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its number in the source.
    pub attnum: i16,
    /// Its name there.
    pub source_name: String,
    /// Its name in the replica, and in the staging table.
    pub name: String,
    /// The name that it had there when it was last written to, where that is another.
    pub was: Option<String>,
    /// It was not there when the replica was last written to.
    pub new: bool,
    /// Its type in the source, as SQL names it.
    pub source_type: String,
    /// The same as an OID.
    pub source_oid: pg_sys::Oid,
    /// The type's modifier.
    pub source_typmod: i32,
    /// Its number in the replica.
    pub target_attnum: i16,
    /// Its type there, as SQL names it.
    pub target_type: String,
    /// The same as an OID.
    pub target_oid: pg_sys::Oid,
    /// The type's modifier.
    pub target_typmod: i32,
}

impl Column {
    /// The staged value, which is of the replica's type.
    pub fn staged(&self) -> String {
        format!("s.{}", ident(&self.name))
    }
}

/// Rows that wait for the last one. Lives as long as the process.
pub struct Staging {
    layers: Vec<Layer>,
    /// Rows are added to a layer of their own next.
    fresh: bool,
    /// Rows were being added and are not all there: an ERROR broke it off.
    broken_off: bool,
    shape: pg_sys::TupleDesc,
    /// Where the datums of one row are made. Never dropped: it is current when an ERROR unwinds.
    memory: ManuallyDrop<PgMemoryContexts>,
    columns: Vec<Column>,
    outputs: Vec<Output>,
    witness: Option<Witness>,
}

struct Layer {
    store: *mut pg_sys::Tuplestorestate,
    rows: u64,
    /// Objects whose rows here count no more.
    hidden: HashSet<i64>,
}

impl Layer {
    fn create() -> Self {
        // SAFETY: made in the memory context that lasts as long as the process. The store's files outlive
        // transactions, so no transaction's resource owner may hold them.
        let store = unsafe {
            PgMemoryContexts::TopMemoryContext.switch_to(|_| {
                let owner = pg_sys::CurrentResourceOwner;
                pg_sys::CurrentResourceOwner = std::ptr::null_mut();
                let store = pg_sys::tuplestore_begin_heap(true, true, pg_sys::work_mem);
                pg_sys::CurrentResourceOwner = owner;
                store
            })
        };
        Self { store, rows: 0, hidden: HashSet::new() }
    }
}

/// The staged rows as a statement reads them.
pub struct Staged {
    /// What stands behind FROM.
    pub table: String,
    /// Its arguments, from `$2` on.
    pub hidden: Vec<Vec<i64>>,
}

impl Staging {
    /// An empty one, inside a transaction. `outputs` are the columns in their order.
    pub fn create(columns: &[Column], outputs: Vec<Output>) -> Self {
        // SAFETY: made in the memory context that lasts as long as the process.
        let shape = unsafe {
            PgMemoryContexts::TopMemoryContext.switch_to(|_| {
                let shape = pg_sys::CreateTemplateTupleDesc(columns.len() as i32);
                for (n, column) in (1..).zip(columns) {
                    let name = CString::new(column.name.as_str()).unwrap_or_default();
                    pg_sys::TupleDescInitEntry(
                        shape,
                        n,
                        name.as_ptr(),
                        column.target_oid,
                        column.target_typmod,
                        0,
                    );
                }
                shape
            })
        };
        // SAFETY: as above.
        let memory = unsafe {
            PgMemoryContexts::TopMemoryContext
                .switch_to(|_| ManuallyDrop::new(PgMemoryContexts::new("assets_fdw staging row")))
        };
        let columns = columns.to_vec();
        Self {
            layers: Vec::new(),
            fresh: true,
            broken_off: false,
            shape,
            memory,
            columns,
            outputs,
            witness: None,
        }
    }

    /// From here on rows may be of objects that were added before.
    pub fn next_layer(&mut self) {
        self.fresh = true;
    }

    /// Something newer is known of these objects than what was added before [`Staging::next_layer`].
    pub fn supersede(&mut self, ids: &[i64]) {
        let below = self.layers.len() - usize::from(!self.fresh && !self.layers.is_empty());
        self.layers[..below].iter_mut().for_each(|layer| layer.hidden.extend(ids));
    }

    /// Whatever was added of these objects counts no more.
    pub fn hide(&mut self, ids: &[i64]) {
        self.layers.iter_mut().for_each(|layer| layer.hidden.extend(ids));
    }

    /// Adds rows, inside a transaction: input functions may need one. May be done again where an ERROR broke it off.
    pub fn add(&mut self, rows: &[Row]) {
        if std::mem::replace(&mut self.broken_off, true) {
            self.next_layer();
            self.hide(&rows.iter().map(|row| row.id).collect::<Vec<_>>());
        }
        if std::mem::take(&mut self.fresh) {
            self.layers.push(Layer::create());
        }
        let fits: Vec<Option<Fit>> = self.columns.iter().map(Fit::compile).collect();
        for row in rows {
            // SAFETY: switched back before anything else runs; an ERROR ends the run.
            let before = unsafe { self.memory.set_as_current().value() };
            self.add_one(row, &fits);
            // SAFETY: the context that was current before; what was made for the row has been copied.
            unsafe {
                pg_sys::MemoryContextSwitchTo(before);
                self.memory.reset();
            }
        }
        self.broken_off = false;
    }

    /// The object that has not been changed for longest, for asking with.
    pub fn witness(&self) -> Option<Witness> {
        self.witness
    }

    /// `row` may hold one value more than there are columns: when it was last changed.
    fn add_one(&mut self, row: &Row, fits: &[Option<Fit>]) {
        if let Some(Value::Timestamp(updated)) = row.values.get(self.outputs.len())
            && self.witness.is_none_or(|known| known.updated > *updated)
        {
            self.witness = Some(Witness { id: row.id, updated: *updated });
        }
        let mut values = Vec::with_capacity(self.outputs.len());
        let mut nulls = Vec::with_capacity(self.outputs.len());
        for ((output, value), fit) in self.outputs.iter_mut().zip(&row.values).zip(fits) {
            let datum = match fit {
                None => output.datum(&row.key, value),
                Some(fit) => output.fitted(&row.key, value, |datum, or_null| fit.apply(datum, or_null)),
            };
            nulls.push(datum.is_none());
            values.push(datum.unwrap_or(pg_sys::Datum::null()));
        }
        let Some(layer) = self.layers.last_mut() else { return };
        // SAFETY: as many values as the shape has columns, of their types; the store copies them.
        unsafe {
            pg_sys::tuplestore_putvalues(layer.store, self.shape, values.as_mut_ptr(), nulls.as_mut_ptr());
        }
        layer.rows += 1;
    }

    /// Lets statements of this connection read the rows.
    pub fn attach(&self, connection: &Connected, id: &Column) -> Staged {
        let mut staged = Staged { table: String::new(), hidden: Vec::new() };
        let mut parts = Vec::new();
        for (n, layer) in self.layers.iter().enumerate() {
            let table = format!("{TABLE}{n}");
            self.register(connection, &table, layer);
            if layer.hidden.is_empty() {
                parts.push(format!("SELECT * FROM {table} AS s"));
                continue;
            }
            staged.hidden.push(layer.hidden.iter().copied().collect());
            let which = staged.hidden.len() + 1;
            parts.push(format!(
                "SELECT * FROM {table} AS s WHERE {} <> ALL (${which}::pg_catalog.int8[]::{}[])",
                id.staged(),
                id.target_type
            ));
        }
        staged.table = match parts.len() {
            0 => {
                self.register(connection, &format!("{TABLE}0"), &Layer::create());
                format!("(SELECT * FROM {TABLE}0 AS s)")
            }
            _ => format!("({})", parts.join(" UNION ALL ")),
        };
        staged
    }

    fn register(&self, _connection: &Connected, name: &str, layer: &Layer) {
        let name = CString::new(name).unwrap_or_default();
        // SAFETY: SPI is connected; it keeps the pointer until it is disconnected, and the memory it
        // is connected in lasts as long.
        let status = unsafe {
            let relation = pg_sys::palloc0(size_of::<pg_sys::EphemeralNamedRelationData>())
                .cast::<pg_sys::EphemeralNamedRelationData>();
            (*relation).md.name = pg_sys::pstrdup(name.as_ptr());
            (*relation).md.reliddesc = pg_sys::InvalidOid;
            (*relation).md.tupdesc = self.shape;
            (*relation).md.enrtype = pg_sys::EphemeralNameRelationType::ENR_NAMED_TUPLESTORE;
            (*relation).md.enrtuples = layer.rows as f64;
            (*relation).reldata = layer.store.cast();
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
