//! What a column is compared with: of which types, as which literal, and through which casts of the column.
//!
//! PostgreSQL compares some types as they are (`bigint = smallint`, `date < timestamp`), and else casts the column
//! (`memory_gb::numeric > 64.5`). Where such a cast keeps the order, the comparison is one of the column with another
//! value, which is worked out here.
#![allow(unsafe_code)] // datums and expression nodes

use aql::{Class, Literal, number};
use pgrx::{direct_function_call, pg_sys};

use crate::fdw::datum::{self, EPOCH_US};
use crate::fdw::pg;

/// The instants that AQL has words for, and somewhat more: from 4713 BC on, where every clock can tell them.
const NEAR: std::ops::Range<i64> = -200_000_000_000_000_000..260_000_000_000_000_000;

/// What is cast, and to which type, if a node is a cast that keeps the order of a column's values, and which of them
/// are equal.
///
/// Of whole numbers beyond 2^53 several are one double: [`number::double`] says nothing of those.
///
/// # Safety
/// `node` is a live expression.
pub unsafe fn cast_of(node: *mut pg_sys::Node) -> Option<(*mut pg_sys::Node, pg_sys::Oid)> {
    // SAFETY: the caller's promise; the cast follows the node's own tag.
    unsafe {
        if !pg::is_a(node, pg_sys::NodeTag::T_FuncExpr) {
            return None;
        }
        let call = node.cast::<pg_sys::FuncExpr>();
        let keeps_order = matches!(
            (*call).funcid.to_u32(),
            pg_sys::F_INT4_INT2
                | pg_sys::F_INT8_INT2
                | pg_sys::F_INT8_INT4
                | pg_sys::F_NUMERIC_INT2
                | pg_sys::F_NUMERIC_INT4
                | pg_sys::F_NUMERIC_INT8
                | pg_sys::F_FLOAT8_INT2
                | pg_sys::F_FLOAT8_INT4
                | pg_sys::F_FLOAT8_INT8
                | pg_sys::F_TIMESTAMP_DATE
                | pg_sys::F_TIMESTAMPTZ_DATE
        );
        let arg = pg::nodes::<pg_sys::Node>((*call).args).next()?;
        keeps_order.then_some((arg, (*call).funcresulttype))
    }
}

/// Whether a value of `type_oid` compares with a column of `class`, cast to a type or as it is, in the way the rules
/// assume.
pub fn compares(class: Class, cast_to: Option<pg_sys::Oid>, type_oid: pg_sys::Oid) -> bool {
    let is_whole = |oid| matches!(oid, pg_sys::INT2OID | pg_sys::INT4OID | pg_sys::INT8OID);
    match (class, cast_to) {
        (Class::Text | Class::Varchar(_), None) => matches!(type_oid, pg_sys::TEXTOID | pg_sys::VARCHAROID),
        (Class::Int, None) => is_whole(type_oid),
        (Class::Int, Some(pg_sys::FLOAT8OID)) => matches!(type_oid, pg_sys::FLOAT8OID | pg_sys::FLOAT4OID),
        (Class::Int, Some(to)) => type_oid == to || (is_whole(to) && is_whole(type_oid)),
        (Class::Double, None) => matches!(type_oid, pg_sys::FLOAT8OID | pg_sys::FLOAT4OID),
        (Class::Bool, None) => type_oid == pg_sys::BOOLOID,
        (Class::Date | Class::Timestamp | Class::Coarse, None) => {
            matches!(type_oid, pg_sys::DATEOID | pg_sys::TIMESTAMPOID | pg_sys::TIMESTAMPTZOID)
        }
        (Class::Date, Some(to)) => type_oid == to,
        (Class::Inet, None) => type_oid == pg_sys::INETOID,
        _ => false,
    }
}

/// The literal that a datum is beside a column of `class`. None for values that no literal stands for.
pub fn literal(class: Class, datum: pg_sys::Datum, type_oid: pg_sys::Oid) -> Option<Literal> {
    if let Some(items) = datum::items(datum, type_oid) {
        let (element, items) = items;
        let one = |item: Option<pg_sys::Datum>| match item {
            Some(item) => literal(class, item, element),
            None => Some(Literal::Null),
        };
        return items.into_iter().map(one).collect::<Option<Vec<_>>>().map(Literal::List);
    }
    match (class.unmodified(), type_oid) {
        (Class::Int, pg_sys::NUMERICOID) => number::decimal(&datum::shown(datum, type_oid)),
        (Class::Int, pg_sys::FLOAT8OID) => number::double(f64::from_bits(datum.value() as u64)),
        (Class::Int, pg_sys::FLOAT4OID) => number::double(single(datum)),
        (Class::Double, pg_sys::FLOAT4OID) => Some(Literal::Double(single(datum))),
        (Class::Timestamp, pg_sys::DATEOID) => {
            let mut beyond = 0;
            // SAFETY: a plain value; what is beyond the instants there are is told, not raised.
            let at = unsafe { pg_sys::date2timestamptz_opt_overflow(datum.value() as i32, &mut beyond) };
            (beyond == 0).then(|| zoned(at))?
        }
        (Class::Timestamp, pg_sys::TIMESTAMPOID) => {
            let mut beyond = 0;
            // SAFETY: as above.
            let at = unsafe { pg_sys::timestamp2timestamptz_opt_overflow(datum.value() as i64, &mut beyond) };
            (beyond == 0).then(|| zoned(at))?
        }
        // A day is its midnight on the same clock.
        (Class::Date, pg_sys::TIMESTAMPOID) => datum::literal(datum, pg_sys::TIMESTAMPTZOID),
        (Class::Date, pg_sys::TIMESTAMPTZOID) => {
            if !NEAR.contains(&(datum.value() as i64)) {
                return None;
            }
            // SAFETY: a plain value, so far from the ends that no zone moves it beyond.
            zoned(unsafe { direct_function_call::<i64>(pg_sys::timestamptz_timestamp, &[Some(datum)]) }?)
        }
        _ => datum::literal(datum, type_oid),
    }
}

/// Microseconds since 2000-01-01 in which the session's zone has a say.
fn zoned(us: i64) -> Option<Literal> {
    NEAR.contains(&us).then(|| Literal::Zoned(us + EPOCH_US))
}

fn single(datum: pg_sys::Datum) -> f64 {
    f64::from(f32::from_bits(datum.value() as u32))
}
