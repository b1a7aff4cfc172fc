//! What whoever may put a trigger on a table writes of it: its condition and its arguments. PostgreSQL does not keep who
//! that was, and the right can be granted; a refresh has its owner's rights all the same. The trigger's function is
//! looked at with all other code ([`super::rights`]).

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::rights::WRITTEN;
use crate::error;
use crate::sql::spi::{over_catalogues, query_now};

/// An ERROR where writing to these tables would do what is written in a trigger instead of in its function.
pub fn require(name: &str, own: &[pg_sys::Oid]) {
    refuse_conditions(name, own);
    refuse_arguments(name, own);
}

/// An ERROR where a trigger's condition calls what is not immutable. Whoever may put a trigger on a table writes its
/// condition, and calls of the system's own functions stand in no pg_depend: some of them run SQL that they are given
/// (query_to_xml, ts_rewrite), or change settings.
fn refuse_conditions(name: &str, own: &[pg_sys::Oid]) {
    let calls =
        "CROSS JOIN LATERAL regexp_matches(t.tgqual::text, ':(?:op)?funcid ([0-9]+)', 'g') AS called(f)
         JOIN pg_proc AS p ON p.oid = called.f[1]::oid
         WHERE t.tgqual IS NOT NULL AND p.provolatile <> 'i' AND p.oid <> 'now()'::regprocedure";
    if let Some((trigger, function)) = trigger_and_function(own, calls) {
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!(
                "{name} cannot be refreshed: the condition of {trigger} calls {function}, which is not immutable"
            ),
            "Whoever may make triggers on a table writes their conditions, and a refresh would evaluate them with its \
             owner's rights. Put the call into the trigger's function.",
        );
    }
}

/// An ERROR where a trigger's function is one of PostgreSQL's modules that do what they are given as arguments, with the
/// rights of whoever writes: refint makes SQL of them, lo unlinks what a column of any name holds, autoinc takes from
/// any sequence. What else takes arguments (moddatetime, tcn, tsvector_update_trigger) touches nothing but the row.
fn refuse_arguments(name: &str, own: &[pg_sys::Oid]) {
    let calls = "JOIN pg_proc AS p ON p.oid = t.tgfoid
         WHERE p.probin ~ '(^|/)(refint|lo|autoinc)([.][a-z]+)?$'";
    if let Some((trigger, function)) = trigger_and_function(own, calls) {
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!(
                "{name} cannot be refreshed: {trigger} calls {function}, which does what its arguments say"
            ),
            "Whoever may make triggers on a table writes their arguments, and a refresh would act on them with its \
             owner's rights. Use a foreign key, or a function of your own.",
        );
    }
}

/// One trigger `t` of the tables that writing to these reaches, and the function `p` that it calls, by what joins them.
fn trigger_and_function(own: &[pg_sys::Oid], calls: &str) -> Option<(String, String)> {
    let sql = format!(
        "WITH RECURSIVE {WRITTEN}
         SELECT pg_describe_object('pg_trigger'::regclass, t.oid, 0), p.oid::regprocedure::text
         FROM written AS w JOIN pg_trigger AS t ON t.tgrelid = w.oid AND t.tgenabled <> 'D'
         {calls} LIMIT 1"
    );
    let found = over_catalogues(|| query_now(&sql, &[own.to_vec().into()], |row| (row.must(1), row.must(2))));
    found.into_iter().next()
}
