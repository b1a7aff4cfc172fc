//! From a decoded value to a datum of the column's type.
//!
//! The types that import chooses are made directly; any other type a user declares gets the
//! value's text through its input function.
#![allow(unsafe_code)] // datums, arrays and input functions

use assets::model::Kind;
use assets::value::{Decode, Invalid, Value};
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::fdw::pg;

/// Days from 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
const EPOCH_US: i64 = EPOCH_DAYS as i64 * 86_400_000_000;

/// How the values of a column become datums.
#[derive(Clone)]
pub struct Conversion {
    /// The type of one value: the array's elements, or the column itself.
    element: pg_sys::Oid,
    typmod: i32,
    array: Option<Elements>,
    input: pg_sys::Oid,
    input_param: pg_sys::Oid,
}

#[derive(Clone, Copy)]
struct Elements {
    len: i16,
    byval: bool,
    align: std::ffi::c_char,
}

impl Conversion {
    /// Looks a column's type up.
    pub fn new(column_type: pg_sys::Oid, typmod: i32) -> Self {
        // SAFETY: type look-ups inside a transaction.
        unsafe {
            let element = pg_sys::get_element_type(column_type);
            let (element, array) = if element == pg_sys::InvalidOid {
                (column_type, None)
            } else {
                let mut elements = Elements { len: 0, byval: false, align: 0 };
                pg_sys::get_typlenbyvalalign(
                    element,
                    &mut elements.len,
                    &mut elements.byval,
                    &mut elements.align,
                );
                (element, Some(elements))
            };
            let mut input = pg_sys::InvalidOid;
            let mut input_param = pg_sys::InvalidOid;
            pg_sys::getTypeInputInfo(element, &mut input, &mut input_param);
            Self { element, typmod, array, input, input_param }
        }
    }

    /// Whether the column is an array.
    pub fn is_array(&self) -> bool {
        self.array.is_some()
    }

    /// How PostgreSQL compares the column's values, as far as pushdown tells types apart.
    pub fn class(&self, collation: pg_sys::Oid) -> aql::Class {
        match self.element {
            pg_sys::TEXTOID | pg_sys::VARCHAROID => {
                // SAFETY: a catalogue look-up inside a transaction.
                if collation == pg_sys::InvalidOid
                    || unsafe { pg_sys::get_collation_isdeterministic(collation) }
                {
                    match u32::try_from(self.typmod - pg_sys::VARHDRSZ as i32) {
                        Ok(length) if self.element == pg_sys::VARCHAROID => aql::Class::Varchar(length),
                        _ => aql::Class::Text,
                    }
                } else {
                    aql::Class::Opaque
                }
            }
            pg_sys::INT2OID | pg_sys::INT4OID | pg_sys::INT8OID => aql::Class::Int,
            pg_sys::FLOAT8OID => aql::Class::Double,
            pg_sys::BOOLOID => aql::Class::Bool,
            pg_sys::DATEOID => aql::Class::Date,
            // The service tells milliseconds.
            pg_sys::TIMESTAMPTZOID if (0..3).contains(&self.typmod) => aql::Class::Coarse,
            pg_sys::TIMESTAMPTZOID => aql::Class::Timestamp,
            pg_sys::INETOID => aql::Class::Inet,
            _ => aql::Class::Opaque,
        }
    }

    /// The form in which a value of an attribute of this kind is wanted: its own where the type is
    /// the one import would choose, JSON for a JSON column, else the text for the input function.
    pub fn natural(&self, kind: Kind) -> Decode {
        match (self.element, kind) {
            (pg_sys::JSONOID | pg_sys::JSONBOID, _) => Decode::Json,
            (pg_sys::INT2OID | pg_sys::INT4OID | pg_sys::INT8OID, Kind::Integer) => Decode::Int,
            (pg_sys::FLOAT8OID, Kind::Double) => Decode::Double,
            (pg_sys::BOOLOID, Kind::Boolean) => Decode::Bool,
            (pg_sys::DATEOID, Kind::Date) => Decode::Date,
            (pg_sys::TIMEOID, Kind::Time) => Decode::Time,
            (pg_sys::TIMESTAMPTZOID, Kind::DateTime) => Decode::Timestamp,
            _ => Decode::Text,
        }
    }

    /// The datum of a value; none for NULL.
    pub fn datum(&self, value: &Value) -> Result<Option<pg_sys::Datum>, Invalid> {
        match (value, self.array) {
            (Value::Null, _) => Ok(None),
            (Value::Invalid(invalid), _) => Err((**invalid).clone()),
            (Value::Array(items), Some(elements)) => self.array(items, elements).map(Some),
            (Value::Array(_), None) => {
                Err(Invalid { text: String::new(), why: "holds several values".into() })
            }
            // A JSON array column never splits a list: the whole value is one element.
            (one, Some(elements)) => self.array(std::slice::from_ref(one), elements).map(Some),
            (one, None) => self.scalar(one).map(Some),
        }
    }

    fn array(&self, items: &[Value], elements: Elements) -> Result<pg_sys::Datum, Invalid> {
        let mut datums = items.iter().map(|item| self.scalar(item)).collect::<Result<Vec<_>, _>>()?;
        // SAFETY: `datums` are values of the element type, whose layout was looked up.
        unsafe {
            Ok(pg_sys::construct_array(
                datums.as_mut_ptr(),
                datums.len() as i32,
                self.element,
                i32::from(elements.len),
                elements.byval,
                elements.align,
            )
            .into())
        }
    }

    fn scalar(&self, value: &Value) -> Result<pg_sys::Datum, Invalid> {
        Ok(match value {
            Value::Int(n) => self.whole(*n)?,
            Value::Double(x) => pg_sys::Datum::from(x.to_bits()),
            Value::Bool(b) => (*b).into(),
            Value::Date(days) => (*days - EPOCH_DAYS).into(),
            Value::Time(us) => rounded(*us, self.typmod).into(),
            Value::Timestamp(us) => rounded(*us - EPOCH_US, self.typmod).into(),
            Value::Text(text) => match self.element {
                pg_sys::TEXTOID => pg::text_datum(text),
                pg_sys::VARCHAROID if self.typmod < 0 => pg::text_datum(text),
                _ => self.through_input(text)?,
            },
            Value::Json(text) => self.through_input(text)?,
            Value::Null | Value::Array(_) => {
                return Err(Invalid { text: String::new(), why: "is not a single value".into() });
            }
            Value::Invalid(invalid) => return Err((**invalid).clone()),
        })
    }

    fn whole(&self, n: i64) -> Result<pg_sys::Datum, Invalid> {
        let beyond = |name| Invalid {
            text: n.to_string(),
            why: format!("does not fit: value \"{n}\" is out of range for type {name}"),
        };
        Ok(match self.element {
            pg_sys::INT2OID => i16::try_from(n).map_err(|_| beyond("smallint"))?.into(),
            pg_sys::INT4OID => i32::try_from(n).map_err(|_| beyond("integer"))?.into(),
            _ => n.into(),
        })
    }

    /// Calls the type's input function. Failures that are about the value become [`Invalid`];
    /// anything else (out of memory, a cancelled query) stays an ERROR.
    fn through_input(&self, text: &str) -> Result<pg_sys::Datum, Invalid> {
        let invalid = |why: String| Invalid { text: text.chars().take(200).collect(), why };
        PgTryBuilder::new(|| {
            // SAFETY: the input function takes a C string, its type parameter and the typmod.
            Ok(unsafe {
                pg_sys::OidInputFunctionCall(self.input, pg::to_server(text), self.input_param, self.typmod)
            })
        })
        .catch_others(|caught| match caught {
            pg_sys::panic::CaughtError::PostgresError(ref report)
                if is_about_the_value(report.sql_error_code()) =>
            {
                Err(invalid(format!("does not fit: {}", report.message())))
            }
            other => other.rethrow(),
        })
        .execute()
    }
}

/// Microseconds with as many digits behind the point as the column has, halves away from zero, as
/// PostgreSQL rounds them.
fn rounded(us: i64, typmod: i32) -> i64 {
    let Ok(digits @ 0..6) = u32::try_from(typmod) else { return us };
    let step = 10_i64.pow(6 - digits);
    let up = us.unsigned_abs().saturating_add(step as u64 / 2) / step as u64;
    i64::try_from(up).ok().and_then(|n| n.checked_mul(step)).map_or(us, |n| n * us.signum())
}

/// Classes 22 (data exception) and 23 (a domain's constraint).
fn is_about_the_value(code: PgSqlErrorCode) -> bool {
    // SQLSTATEs are packed six bits a character, first character lowest.
    let first_two = (code as i32) & 0xFFF;
    let class = |a: u8, b: u8| i32::from(a - b'0') | (i32::from(b - b'0') << 6);
    first_two == class(b'2', b'2') || first_two == class(b'2', b'3')
}

/// The literal that a datum is, as far as AQL has words for it. None for values that cannot be
/// compared with (infinite dates) and types nobody asks about.
pub fn literal(datum: pg_sys::Datum, type_oid: pg_sys::Oid) -> Option<aql::Literal> {
    use aql::Literal;
    // SAFETY: `datum` is a non-null value of `type_oid`.
    unsafe {
        Some(match type_oid {
            pg_sys::TEXTOID | pg_sys::VARCHAROID => {
                let varlena = pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr());
                let bytes = std::slice::from_raw_parts(
                    pgrx::vardata_any(varlena).cast::<u8>(),
                    pgrx::varsize_any_exhdr(varlena),
                );
                Literal::Text(pg::from_server(bytes))
            }
            pg_sys::INT2OID => Literal::Int(i64::from(datum.value() as i16)),
            pg_sys::INT4OID => Literal::Int(i64::from(datum.value() as i32)),
            pg_sys::INT8OID => Literal::Int(datum.value() as i64),
            pg_sys::FLOAT8OID => Literal::Double(f64::from_bits(datum.value() as u64)),
            pg_sys::BOOLOID => Literal::Bool(datum.value() as u8 != 0),
            pg_sys::DATEOID => Literal::Date((datum.value() as i32).checked_add(EPOCH_DAYS)?),
            pg_sys::TIMESTAMPTZOID => match datum.value() as i64 {
                i64::MIN | i64::MAX => return None,
                us => Literal::Timestamp(us.checked_add(EPOCH_US)?),
            },
            pg_sys::INETOID => {
                let mut output = pg_sys::InvalidOid;
                let mut varlena = false;
                pg_sys::getTypeOutputInfo(type_oid, &mut output, &mut varlena);
                Literal::Text(pg::text(pg_sys::OidOutputFunctionCall(output, datum)))
            }
            _ => return list(datum, type_oid),
        })
    }
}

fn list(datum: pg_sys::Datum, type_oid: pg_sys::Oid) -> Option<aql::Literal> {
    // SAFETY: `datum` is a non-null array whose element type was just looked up; the arrays that
    // deconstruct_array makes hold `count` entries.
    unsafe {
        let element = pg_sys::get_element_type(type_oid);
        if element == pg_sys::InvalidOid {
            return None;
        }
        let (mut len, mut byval, mut align) = (0i16, false, 0 as std::ffi::c_char);
        pg_sys::get_typlenbyvalalign(element, &mut len, &mut byval, &mut align);
        let array = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
        let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
        pg_sys::deconstruct_array(
            array,
            element,
            i32::from(len),
            byval,
            align,
            &mut values,
            &mut nulls,
            &mut count,
        );
        (0..count as usize)
            .map(|n| if *nulls.add(n) { Some(aql::Literal::Null) } else { literal(*values.add(n), element) })
            .collect::<Option<Vec<_>>>()
            .map(aql::Literal::List)
    }
}
