//! Where a decoded value goes: a column, with its type and its rule for values that do not fit. Scans
//! and replicas share it, so that both hold the same values and fail over the same ones.
#![allow(unsafe_code)] // datums are raw values of the server

use assets::value::{Invalid, Source, Value};
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::catalog::{Column, Resolution};
use crate::error;
use crate::fdw::datum::{Conversion, Misfit};

/// One column that a scan fills.
pub struct Output {
    /// The column's number, from 1.
    pub attnum: i16,
    column: String,
    source: String,
    conversion: Conversion,
    null_if_invalid: bool,
    /// Shows what every object has, and is declared NOT NULL, as IMPORT does: PostgreSQL relies on it.
    required: bool,
    /// Values that read as NULL because they did not fit.
    invalid: u64,
}

impl Output {
    /// A column, and what it means to the service.
    pub fn new(column: &Column, resolution: &Resolution) -> Self {
        Self {
            attnum: column.attnum,
            column: column.name.clone(),
            source: resolution.source_name.clone(),
            conversion: column.conversion.clone(),
            null_if_invalid: column.null_if_invalid(),
            required: column.not_null && matches!(resolution.spec.source, Source::Field(_)),
            invalid: 0,
        }
    }

    /// The datum of a value of the object `key`, in the current memory context; none for NULL.
    /// Raises HV024 for a value that does not fit, unless the column reads such values as NULL.
    pub fn datum(&mut self, key: &str, value: &Value) -> Option<pg_sys::Datum> {
        self.fitted(key, value, |datum, _| Ok(datum))
    }

    /// The same, and `Err` where it would raise: for rows that nobody may want.
    pub fn try_datum(&mut self, value: &Value) -> Result<Option<pg_sys::Datum>, ()> {
        match self.conversion.datum(value, true) {
            Ok(None) if self.required => Err(()),
            Ok(datum) => Ok(datum),
            Err(misfit) if self.null_if_invalid && !self.required && !misfit.was_raised() => {
                self.invalid += 1;
                Ok(None)
            }
            Err(_) => Err(()),
        }
    }

    /// The same with a step behind it that may refuse the datum; it is told whether that is a NULL then.
    pub fn fitted(
        &mut self,
        key: &str,
        value: &Value,
        fit: impl FnOnce(pg_sys::Datum, bool) -> Result<pg_sys::Datum, Misfit>,
    ) -> Option<pg_sys::Datum> {
        let made = self.conversion.datum(value, self.null_if_invalid);
        match made.and_then(|made| made.map(|datum| fit(datum, self.null_if_invalid)).transpose()) {
            Ok(None) if self.required => self.missing(key),
            Ok(datum) => datum,
            Err(misfit) if self.null_if_invalid && !misfit.was_raised() => {
                if self.required {
                    self.missing(key);
                }
                self.invalid += 1;
                None
            }
            Err(Misfit::Value(invalid) | Misfit::Raised(invalid)) => {
                self.refuse(key, &invalid, self.advice(&invalid))
            }
            Err(Misfit::Narrow { invalid, advice, .. }) => self.refuse(key, &invalid, advice),
        }
    }

    fn refuse(&self, key: &str, Invalid { text, why }: &Invalid, advice: String) -> ! {
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE,
            format!("value \"{text}\" of attribute \"{}\" of object {key} {why}", self.source),
            advice,
        )
    }

    fn missing(&self, key: &str) -> ! {
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE,
            format!(
                "object {key} has no value for \"{}\", and column \"{}\" is NOT NULL",
                self.source, self.column
            ),
            format!(
                "ALTER FOREIGN TABLE … ALTER COLUMN {} DROP NOT NULL lets it read as NULL; in a replica, too.",
                tables::ddl::ident(&self.column)
            ),
        )
    }

    fn advice(&self, invalid: &Invalid) -> String {
        let column = tables::ddl::ident(&self.column);
        let null = format!("ALTER FOREIGN TABLE … ALTER COLUMN {column} OPTIONS (ADD on_invalid 'null')");
        if invalid.why != Invalid::SEVERAL {
            return format!("Correct the object in Assets, or let such values read as NULL: {null}.");
        }
        format!(
            "The attribute takes several values now. SELECT * FROM assets_fdw.sync_schema(…) shows the statements that \
             make column {column} a list, in replicas too; run it with dry_run => false. Where blocked_by names a \
             view, drop that before and make it anew after. To keep the column as it is, let such values read as \
             NULL: {null}."
        )
    }

    /// One WARNING a scan that counts the values that were read as NULL, if there were any.
    pub fn warn(&self) {
        if self.invalid == 0 {
            return;
        }
        error::report(
            PgSqlErrorCode::ERRCODE_WARNING,
            format!(
                "{} values of attribute \"{}\" did not fit column \"{}\" and were read as NULL",
                self.invalid, self.source, self.column
            ),
        )
        .report(PgLogLevel::WARNING);
    }
}
