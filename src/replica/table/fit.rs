//! A value of the foreign table as the replica's column holds it, where that has another type: a table that somebody
//! made beforehand, or altered. A cast may lose: an integer rounds, `varchar(5)` cuts, `real` has seven digits. So what
//! was cast is cast back, and a value that does not come back is one that does not fit, as in the foreign table itself.
//!
//! This happens as rows are put by, where the object is still known by its key, with PostgreSQL's own casts.
#![allow(unsafe_code)] // expressions, and values of any type

use assets::value::Invalid;
use pgrx::prelude::*;
use pgrx::{PgMemoryContexts, pg_sys};

use super::staging::Column;
use crate::error;
use crate::fdw::datum::Misfit;
use crate::fdw::input::{Guard, Refused};
use crate::fdw::pg;

/// A type with its modifier.
type Typed = (pg_sys::Oid, i32);

/// How the values of one column become the replica's, for as long as a transaction lasts.
pub struct Fit {
    column: String,
    source_name: String,
    type_name: String,
    there: *mut pg_sys::ExprState,
    /// None where no cast leads back.
    back: Option<*mut pg_sys::ExprState>,
    context: *mut pg_sys::ExprContext,
    source: Typed,
    target: Typed,
}

impl Fit {
    /// None where source and replica have the same type; an ERROR where no cast leads from one to the other.
    pub fn compile(column: &Column) -> Option<Self> {
        let source = (column.source_oid, column.source_typmod);
        let target = (column.target_oid, column.target_typmod);
        if source == target {
            return None;
        }
        // SAFETY: inside a transaction, in whose memory the expressions are.
        unsafe {
            PgMemoryContexts::For(pg_sys::CurTransactionContext).switch_to(|_| {
                let Some(there) = cast(source, target) else { impossible(column) };
                Some(Self {
                    column: column.name.clone(),
                    source_name: column.source_name.clone(),
                    type_name: column.target_type.clone(),
                    there: expression(there),
                    back: cast(target, source).map(|node| expression(node)),
                    context: pg_sys::CreateStandaloneExprContext(),
                    source,
                    target,
                })
            })
        }
    }

    /// The replica's value, in the current memory. `or_null`: one that does not fit reads as NULL, and the run goes on.
    pub fn apply(&self, value: pg_sys::Datum, or_null: bool) -> Result<pg_sys::Datum, Misfit> {
        // A domain's check is SQL, and a cast may be.
        let guard = if or_null { Guard::for_null(pg_sys::InvalidOid, true) } else { Guard::Raise };
        let narrow = |why: &str, raised| {
            Err(Misfit::Narrow { invalid: self.invalid(value, why), advice: self.advice(), raised })
        };
        match guard.run(|| self.cast(value)) {
            Ok(Some(cast)) => Ok(cast),
            Ok(None) => narrow(&format!("the replica's column is {}", self.type_name), false),
            Err(Refused::Cleanly(why)) => narrow(&why, false),
            Err(Refused::Raised(why)) => narrow(&why, true),
        }
    }

    /// None where something of the value is lost.
    fn cast(&self, value: pg_sys::Datum) -> Option<pg_sys::Datum> {
        let cast = self.evaluate(self.there, value)?;
        // Text keeps to what it says, whatever else a cast back would write of it (`10.0.0.1/32`); JSON keeps what
        // its text means.
        if is_string(self.source.0) {
            let base = base_type(self.target.0);
            if base == pg_sys::JSONBOID || output(cast, self.target.0) == output(value, self.source.0) {
                return Some(cast);
            }
        }
        let back = self.evaluate(self.back?, cast)?;
        same(value, back, self.source.0).then_some(cast)
    }

    fn evaluate(&self, state: *mut pg_sys::ExprState, value: pg_sys::Datum) -> Option<pg_sys::Datum> {
        // SAFETY: compiled for a value of this type; the context lives as long as the expression.
        unsafe {
            (*self.context).caseValue_datum = value;
            (*self.context).caseValue_isNull = false;
            pg::value_of(state, self.context)
        }
    }

    fn invalid(&self, value: pg_sys::Datum, why: &str) -> Invalid {
        let text = output(value, self.source.0).chars().take(200).collect();
        Invalid { text, why: format!("does not fit column \"{}\" of the replica: {why}", self.column) }
    }

    fn advice(&self) -> String {
        let (column, theirs) = (tables::ddl::ident(&self.column), tables::ddl::ident(&self.source_name));
        format!(
            "ALTER TABLE … ALTER COLUMN {column} TYPE {} lets the replica hold what its foreign table shows; ALTER \
             FOREIGN TABLE … ALTER COLUMN {theirs} TYPE {} lets both show it as that; ALTER FOREIGN TABLE … ALTER \
             COLUMN {theirs} OPTIONS (ADD on_invalid 'null') lets such values read as NULL.",
            named(self.source),
            self.type_name
        )
    }
}

/// An ERROR where no value of the foreign table's column can ever be one of the replica's.
pub fn require_possible(column: &Column) {
    let target = (column.target_oid, column.target_typmod);
    // SAFETY: a look-up inside a transaction.
    if unsafe { cast((column.source_oid, column.source_typmod), target).is_none() } {
        impossible(column);
    }
}

fn impossible(column: &Column) -> ! {
    error::raise_hint(
        PgSqlErrorCode::ERRCODE_CANNOT_COERCE,
        format!(
            "column \"{}\" of the replica is {}, and no value of the foreign table's {} can be that",
            column.name, column.target_type, column.source_type
        ),
        format!(
            "ALTER TABLE … ALTER COLUMN {} TYPE gives it a type that fits.",
            tables::ddl::ident(&column.name)
        ),
    )
}

/// The cast of a value that the expression's context gives.
///
/// # Safety
/// Inside a transaction; the node is in the current memory.
unsafe fn cast(from: Typed, to: Typed) -> Option<*mut pg_sys::Node> {
    // SAFETY: the caller's promise; types of columns that exist.
    unsafe {
        let given: *mut pg_sys::CaseTestExpr =
            pg_sys::palloc0(size_of::<pg_sys::CaseTestExpr>()).cast::<pg_sys::CaseTestExpr>();
        (*given).xpr.type_ = pg_sys::NodeTag::T_CaseTestExpr;
        (*given).typeId = from.0;
        (*given).typeMod = from.1;
        (*given).collation = pg_sys::get_typcollation(from.0);
        let node = pg_sys::coerce_to_target_type(
            std::ptr::null_mut(),
            given.cast(),
            from.0,
            to.0,
            to.1,
            pg_sys::CoercionContext::COERCION_EXPLICIT,
            pg_sys::CoercionForm::COERCE_EXPLICIT_CAST,
            -1,
        );
        (!node.is_null()).then_some(node)
    }
}

/// # Safety
/// As [`cast`].
unsafe fn expression(node: *mut pg_sys::Node) -> *mut pg_sys::ExprState {
    // SAFETY: the caller's promise.
    unsafe {
        pg_sys::assign_expr_collations(std::ptr::null_mut(), node);
        pg_sys::ExecInitExpr(pg_sys::expression_planner(node.cast()), std::ptr::null_mut())
    }
}

fn base_type(of: pg_sys::Oid) -> pg_sys::Oid {
    // SAFETY: a look-up inside a transaction.
    unsafe { pg_sys::getBaseType(of) }
}

fn is_string(of: pg_sys::Oid) -> bool {
    matches!(base_type(of), pg_sys::TEXTOID | pg_sys::VARCHAROID)
}

fn named((of, typmod): Typed) -> String {
    // SAFETY: a look-up inside a transaction.
    unsafe { pg::text(pg_sys::format_type_with_typemod(of, typmod)) }
}

fn output(value: pg_sys::Datum, of: pg_sys::Oid) -> String {
    // SAFETY: a value of the type.
    unsafe {
        let (mut function, mut varlena) = (pg_sys::InvalidOid, false);
        pg_sys::getTypeOutputInfo(of, &mut function, &mut varlena);
        pg::text(pg_sys::OidOutputFunctionCall(function, value))
    }
}

/// Whether two values are one: the same bytes, but for numbers with other zeros behind the point.
fn same(one: pg_sys::Datum, other: pg_sys::Datum, of: pg_sys::Oid) -> bool {
    // SAFETY: values of the type; equality is looked up for it.
    unsafe {
        let (mut length, mut by_value) = (0i16, false);
        pg_sys::get_typlenbyval(of, &mut length, &mut by_value);
        let alike = match length {
            _ if by_value => one.value() == other.value(),
            -1 => bytes(one) == bytes(other),
            -2 => return output(one, of) == output(other, of),
            n => {
                let n = usize::try_from(n).unwrap_or_default();
                let of = |value: pg_sys::Datum| std::slice::from_raw_parts(value.cast_mut_ptr::<u8>(), n);
                of(one) == of(other)
            }
        };
        let base = base_type(of);
        if base == pg_sys::FLOAT8OID {
            // Zero has two signs.
            return alike || f64::from_bits(one.value() as u64) == f64::from_bits(other.value() as u64);
        }
        if alike || !matches!(base, pg_sys::NUMERICOID | pg_sys::NUMERICARRAYOID) {
            return alike;
        }
        let known = pg_sys::lookup_type_cache(base, pg_sys::TYPECACHE_EQ_OPR_FINFO as i32);
        let equal = &raw mut (*known).eq_opr_finfo;
        pg_sys::FunctionCall2Coll(equal, pg_sys::InvalidOid, one, other).value() as u8 != 0
    }
}

/// # Safety
/// A value of variable length.
unsafe fn bytes<'a>(value: pg_sys::Datum) -> &'a [u8] {
    // SAFETY: the caller's promise.
    unsafe {
        let varlena = pg_sys::pg_detoast_datum_packed(value.cast_mut_ptr());
        std::slice::from_raw_parts(pgrx::vardata_any(varlena).cast::<u8>(), pgrx::varsize_any_exhdr(varlena))
    }
}
