//! From a decoded value to a datum of the column's type.
//!
//! The types that import chooses are made directly; any other type a user declares gets the
//! value's text through its input function. A domain is its base type, checked.
#![allow(unsafe_code)] // datums, arrays and input functions

use std::cell::Cell;

use assets::model::Kind;
use assets::value::{Decode, Invalid, Value, moment_for_input};
use pgrx::pg_sys;

use crate::fdw::input::{Guard, Refused};
use crate::fdw::pg;
use crate::pg_compat;

/// Days from 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
pub const EPOCH_US: i64 = EPOCH_DAYS as i64 * 86_400_000_000;

/// How the values of a column become datums.
#[derive(Clone)]
pub struct Conversion {
    /// The column's type, where it is a domain: its constraints are checked on what is made.
    domain: Option<pg_sys::Oid>,
    array: Option<Elements>,
    /// The type of one value: the array's elements, or the column itself; the base type where it is a domain.
    element: pg_sys::Oid,
    /// The domain that the elements of an array are of.
    element_domain: Option<pg_sys::Oid>,
    typmod: i32,
    input: pg_sys::Oid,
    input_param: pg_sys::Oid,
}

#[derive(Clone, Copy)]
struct Elements {
    of: pg_sys::Oid,
    len: i16,
    byval: bool,
    align: std::ffi::c_char,
}

/// Why there is no datum.
#[derive(Debug)]
pub enum Misfit {
    /// The value does not fit.
    Value(Invalid),
    /// The same, found by an ERROR after which the statement cannot go on.
    Raised(Invalid),
    /// The value fits its column, but not the one that it goes on to; what to do about that.
    Narrow { invalid: Invalid, advice: String, raised: bool },
}

impl Misfit {
    /// Whether an ERROR was raised, after which the statement cannot go on.
    pub fn was_raised(&self) -> bool {
        matches!(self, Misfit::Raised(_) | Misfit::Narrow { raised: true, .. })
    }
}

impl Conversion {
    /// Looks a column's type up.
    pub fn new(column_type: pg_sys::Oid, mut typmod: i32) -> Self {
        // SAFETY: type look-ups inside a transaction. A type modifier belongs to a domain's base type, an array's to
        // its elements.
        unsafe {
            let base = |declared: pg_sys::Oid, typmod: &mut i32| {
                let base = pg_sys::getBaseTypeAndTypmod(declared, typmod);
                (base, (base != declared).then_some(declared))
            };
            let (base_type, domain) = base(column_type, &mut typmod);
            let of = pg_sys::get_element_type(base_type);
            let (element, element_domain, array) = if of == pg_sys::InvalidOid {
                (base_type, None, None)
            } else {
                let mut elements = Elements { of, len: 0, byval: false, align: 0 };
                pg_sys::get_typlenbyvalalign(of, &mut elements.len, &mut elements.byval, &mut elements.align);
                let (element, element_domain) = base(of, &mut typmod);
                (element, element_domain, Some(elements))
            };
            let mut input = pg_sys::InvalidOid;
            let mut input_param = pg_sys::InvalidOid;
            pg_sys::getTypeInputInfo(element, &mut input, &mut input_param);
            Self { domain, array, element, element_domain, typmod, input, input_param }
        }
    }

    /// Whether the column is an array.
    pub fn is_array(&self) -> bool {
        self.array.is_some()
    }

    /// How PostgreSQL compares the column's values, as far as pushdown tells types apart.
    pub fn class(&self, collation: pg_sys::Oid) -> aql::Class {
        match self.element {
            _ if self.domain.is_some() || self.element_domain.is_some() => aql::Class::Opaque,
            pg_sys::TEXTOID | pg_sys::VARCHAROID => {
                if pg::is_deterministic(collation) {
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

    /// The datum of a value; none for NULL. `or_null`: what does not fit reads as NULL, and the statement goes on.
    pub fn datum(&self, value: &Value, or_null: bool) -> Result<Option<pg_sys::Datum>, Misfit> {
        match value {
            Value::Null => return Ok(None),
            Value::Invalid(invalid) => return Err(Misfit::Value((**invalid).clone())),
            _ => {}
        }
        let items = match (value, self.array) {
            (Value::Array(_), None) => return Err(misfit("holds several values")),
            (Value::Array(items), Some(_)) => &items[..],
            // A JSON array column never splits a list: the whole value is one element.
            (one, _) => std::slice::from_ref(one),
        };
        let checked = self.domain.is_some() || self.element_domain.is_some();
        if !checked && !items.iter().any(|item| self.is_read(item)) {
            return self.make(items, Guard::Raise, &Cell::new(None)).map(Some);
        }
        let guard = if or_null { Guard::for_null(self.element, checked) } else { Guard::Raise };
        // What was tried last is what was refused.
        let tried = Cell::new(None);
        match guard.run(|| self.make(items, guard, &tried)) {
            Ok(made) => made.map(Some),
            Err(Refused::Cleanly(why)) => Err(Misfit::Value(refused(tried.get(), &why))),
            Err(Refused::Raised(why)) => Err(Misfit::Raised(refused(tried.get(), &why))),
        }
    }

    /// Whether a value goes through the type's input function.
    fn is_read(&self, value: &Value) -> bool {
        match value {
            Value::Text(_) => {
                !(self.element == pg_sys::TEXTOID || (self.element == pg_sys::VARCHAROID && self.typmod < 0))
            }
            Value::Json(_) => true,
            _ => false,
        }
    }

    fn make<'v>(
        &self,
        items: &'v [Value],
        guard: Guard,
        tried: &Cell<Option<&'v Value>>,
    ) -> Result<pg_sys::Datum, Misfit> {
        let datum = match self.array {
            None => self.element(&items[0], guard, tried)?,
            Some(elements) => self.list(items, elements, guard, tried)?,
        };
        if let Some(domain) = self.domain {
            check(datum, domain);
        }
        Ok(datum)
    }

    fn list<'v>(
        &self,
        items: &'v [Value],
        elements: Elements,
        guard: Guard,
        tried: &Cell<Option<&'v Value>>,
    ) -> Result<pg_sys::Datum, Misfit> {
        let mut nulls: Vec<bool> = items.iter().map(|item| *item == Value::Null).collect();
        let datum = |item: &'v Value| match item {
            Value::Null => Ok(pg_sys::Datum::null()),
            item => self.element(item, guard, tried),
        };
        let mut datums = items.iter().map(datum).collect::<Result<Vec<_>, _>>()?;
        let (mut length, mut lowest) = (datums.len() as i32, 1);
        // SAFETY: one dimension of values of the element type, whose layout was looked up.
        unsafe {
            Ok(pg_sys::construct_md_array(
                datums.as_mut_ptr(),
                nulls.as_mut_ptr(),
                1,
                &mut length,
                &mut lowest,
                elements.of,
                i32::from(elements.len),
                elements.byval,
                elements.align,
            )
            .into())
        }
    }

    fn element<'v>(
        &self,
        value: &'v Value,
        guard: Guard,
        tried: &Cell<Option<&'v Value>>,
    ) -> Result<pg_sys::Datum, Misfit> {
        tried.set(Some(value));
        let datum = match value {
            Value::Int(n) => self.whole(*n)?,
            Value::Double(x) => pg_sys::Datum::from(x.to_bits()),
            Value::Bool(b) => (*b).into(),
            Value::Date(days) => (*days - EPOCH_DAYS).into(),
            Value::Time(us) => rounded(*us, self.typmod).into(),
            Value::Timestamp(us) => rounded(*us - EPOCH_US, self.typmod).into(),
            Value::Text(text) | Value::Json(text) => {
                if self.is_read(value) {
                    self.through_input(text, guard)?
                } else {
                    pg::text_datum(text)
                }
            }
            Value::Null | Value::Array(_) => return Err(misfit("is not a single value")),
            Value::Invalid(invalid) => return Err(Misfit::Value((**invalid).clone())),
        };
        if let Some(domain) = self.element_domain {
            check(datum, domain);
        }
        Ok(datum)
    }

    fn whole(&self, n: i64) -> Result<pg_sys::Datum, Misfit> {
        let beyond = |name| {
            let why = format!("value \"{n}\" is out of range for type {name}");
            Misfit::Value(refused_text(&n.to_string(), &why))
        };
        Ok(match self.element {
            pg_sys::INT2OID => i16::try_from(n).map_err(|_| beyond("smallint"))?.into(),
            pg_sys::INT4OID => i32::try_from(n).map_err(|_| beyond("integer"))?.into(),
            _ => n.into(),
        })
    }

    fn through_input(&self, text: &str, guard: Guard) -> Result<pg_sys::Datum, Misfit> {
        let moment = matches!(self.element, pg_sys::DATEOID | pg_sys::TIMESTAMPOID | pg_sys::TIMESTAMPTZOID);
        let words = if moment { moment_for_input(text) } else { None };
        let words = pg::to_server(words.as_deref().unwrap_or(text));
        // SAFETY: the input function takes a C string, its type parameter and the typmod.
        unsafe {
            if guard == Guard::Soft {
                return pg_compat::input_softly(self.input, words, self.input_param, self.typmod)
                    .map_err(|why| Misfit::Value(refused_text(text, &why)));
            }
            Ok(pg_sys::OidInputFunctionCall(self.input, words, self.input_param, self.typmod))
        }
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

/// Raises an ERROR where a value does not satisfy a domain.
fn check(datum: pg_sys::Datum, domain: pg_sys::Oid) {
    // SAFETY: a value of the domain's base type; nothing is kept from call to call.
    unsafe { pg_sys::domain_check(datum, false, domain, std::ptr::null_mut(), pg_sys::CurrentMemoryContext) }
}

fn misfit(why: &str) -> Misfit {
    Misfit::Value(Invalid { text: String::new(), why: why.to_owned() })
}

fn refused(value: Option<&Value>, why: &str) -> Invalid {
    let text = match value {
        Some(Value::Text(text) | Value::Json(text)) => text.to_string(),
        Some(Value::Int(n)) => n.to_string(),
        Some(Value::Double(x)) => x.to_string(),
        Some(Value::Bool(b)) => b.to_string(),
        _ => "…".to_owned(),
    };
    refused_text(&text, why)
}

fn refused_text(text: &str, why: &str) -> Invalid {
    Invalid { text: text.chars().take(200).collect(), why: format!("does not fit: {why}") }
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
            pg_sys::INETOID => Literal::Text(shown(datum, type_oid)),
            _ => {
                let (element, items) = items(datum, type_oid)?;
                let one = |item: Option<pg_sys::Datum>| match item {
                    Some(item) => literal(item, element),
                    None => Some(Literal::Null),
                };
                return items.into_iter().map(one).collect::<Option<Vec<_>>>().map(Literal::List);
            }
        })
    }
}

/// The text that a type's output function writes.
pub fn shown(datum: pg_sys::Datum, type_oid: pg_sys::Oid) -> String {
    let (mut output, mut varlena) = (pg_sys::InvalidOid, false);
    // SAFETY: `datum` is a non-null value of `type_oid`.
    unsafe {
        pg_sys::getTypeOutputInfo(type_oid, &mut output, &mut varlena);
        pg::text(pg_sys::OidOutputFunctionCall(output, datum))
    }
}

/// The type of an array's elements, and the elements, none for a NULL. None for what is no array.
pub fn items(
    datum: pg_sys::Datum,
    type_oid: pg_sys::Oid,
) -> Option<(pg_sys::Oid, Vec<Option<pg_sys::Datum>>)> {
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
        let item = |n| if *nulls.add(n) { None } else { Some(*values.add(n)) };
        Some((element, (0..count as usize).map(item).collect()))
    }
}
