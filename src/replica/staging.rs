//! Where the pages of a run are kept until all of them are there: a temporary table of the worker's.
//!
//! A temporary table costs no WAL and needs no right but TEMPORARY on the database, which everyone has
//! unless it was taken away; nobody else sees it, and it vanishes with the process, however that ends
//! (after a crash of the server too). Memory stays at one page. Each page is a short transaction.
#![allow(unsafe_code)] // a prepared statement that takes datums as they are

use std::ffi::{CString, c_char};

use assets::value::Row;
use pgrx::prelude::*;
use pgrx::{PgMemoryContexts, pg_sys};
use tables::ddl::ident;

use super::spi::execute;
use crate::error;
use crate::fdw::output::Output;

/// The staging table, as statements name it.
pub const TABLE: &str = "pg_temp.assets_fdw_staging";

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

/// A staging table that takes rows.
pub struct Staging {
    insert: pg_sys::SPIPlanPtr,
    outputs: Vec<Output>,
}

impl Staging {
    /// Makes the table, inside a transaction. `outputs` are the columns in their order.
    pub fn create(columns: &[Column], outputs: Vec<Output>) -> Self {
        let declared: Vec<String> =
            columns.iter().map(|c| format!("{} {}", ident(&c.name), c.source_type)).collect();
        execute(&format!("CREATE TEMPORARY TABLE assets_fdw_staging ({})", declared.join(", ")), &[]);
        let parameters: Vec<String> = (1..=columns.len()).map(|n| format!("${n}")).collect();
        let sql = format!("INSERT INTO {TABLE} VALUES ({})", parameters.join(", "));
        let types = columns.iter().map(|c| c.source_oid).collect();
        Self { insert: prepare(&sql, types), outputs }
    }

    /// Adds rows, inside a transaction.
    pub fn add(&mut self, rows: &[Row]) {
        Spi::connect_mut(|_| {
            let mut memory = PgMemoryContexts::new("assets_fdw staging row");
            for row in rows {
                // SAFETY: datums are made in a context of their own, which is emptied after each row,
                // by which time the row has been stored.
                unsafe { memory.switch_to(|_| self.add_one(row)) };
                // SAFETY: nothing made in there is used any more.
                unsafe { memory.reset() };
            }
        });
    }

    fn add_one(&mut self, row: &Row) {
        let mut values = Vec::with_capacity(self.outputs.len());
        let mut nulls: Vec<c_char> = Vec::with_capacity(self.outputs.len());
        for (output, value) in self.outputs.iter_mut().zip(&row.values) {
            let datum = output.datum(&row.key, value);
            nulls.push(if datum.is_some() { b' ' } else { b'n' } as c_char);
            values.push(datum.unwrap_or(pg_sys::Datum::null()));
        }
        // SAFETY: as many values as the statement has parameters, of their types; SPI is connected.
        let status =
            unsafe { pg_sys::SPI_execute_plan(self.insert, values.as_mut_ptr(), nulls.as_ptr(), false, 0) };
        if status != pg_sys::SPI_OK_INSERT as i32 {
            broken(status);
        }
    }

    /// Says how many values did not fit and were read as NULL.
    pub fn warn(&self) {
        self.outputs.iter().for_each(Output::warn);
    }
}

fn prepare(sql: &str, mut types: Vec<pg_sys::Oid>) -> pg_sys::SPIPlanPtr {
    let sql = CString::new(sql).unwrap_or_default();
    Spi::connect_mut(|_| {
        // SAFETY: SPI is connected, text and types outlive the call. A kept plan outlives transactions;
        // it goes with the process.
        unsafe {
            let plan = pg_sys::SPI_prepare(sql.as_ptr(), types.len() as i32, types.as_mut_ptr());
            if plan.is_null() {
                broken(pg_sys::SPI_result);
            }
            let status = pg_sys::SPI_keepplan(plan);
            if status != 0 {
                broken(status);
            }
            plan
        }
    })
}

fn broken(status: i32) -> ! {
    error::raise(
        PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
        format!("a statement over the staging table returned {status}"),
    )
}
