//! What EXPLAIN tells.
#![allow(unsafe_code)] // EXPLAIN's state

use std::ffi::CString;
use std::sync::atomic::Ordering;

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::fdw::exec::{self, State};
use crate::fdw::keyed::Keyed;
use crate::fdw::pg;

#[pg_guard]
pub unsafe extern "C-unwind" fn explain(node: *mut pg_sys::ForeignScanState, es: *mut pg_sys::ExplainState) {
    // SAFETY: called by EXPLAIN after `begin`.
    unsafe {
        let Some(state) = exec::state(node) else { return };
        let state: &State = state;
        let (scan, counts, order) = match state {
            State::Scan(scan) => (scan, false, None),
            State::Top(top) => (&top.scan, false, Some(&top.order)),
            State::Count(count) => (&count.scan, true, None),
            State::Served(served) => (&served.scan, false, None),
            State::Groups(groups) => (&groups.scan, false, None),
        };
        let question = &scan.question;
        if question.is_never() {
            text(es, c"AQL", "none: no object can satisfy the condition");
        } else {
            text(es, c"AQL", &question.shown_filter());
        }
        let mut facts = question.facts_used();
        if let State::Top(top) = state {
            facts.extend(top.fact.map(str::to_owned));
        }
        let groups = match state {
            State::Groups(groups) => Some((groups, groups.known())),
            _ => None,
        };
        if let Some((_, Ok(known))) = &groups {
            facts.extend(known.facts.iter().cloned());
            facts.sort_unstable();
            facts.dedup();
        }
        if !facts.is_empty() {
            text(es, c"Facts", &facts.join(", "));
        }
        if counts {
            text(es, c"Count", "asked of the service");
        }
        if let Some((groups, known)) = &groups {
            let said = match (&groups.read, known) {
                (None, Ok(known)) => {
                    let of = known.each.first().map_or_else(String::new, |(_, one)| format!(": {one}, …"));
                    let none = if known.none.is_some() { " and EMPTY" } else { "" };
                    format!("{} counts{none} asked of the service{of}", known.each.len())
                }
                (Some(why), _) | (None, Err(why)) => format!("read and grouped here: {why}"),
            };
            text(es, c"Groups", &said);
        }
        if let Some(order) = order {
            let direction = if order.descending { "DESC" } else { "ASC" };
            let by = order.by.as_deref().unwrap_or("not asked for any more");
            text(es, c"Order", &format!("{by} {direction}"));
        }
        let keyed = state.look_ups().filter(|keyed| keyed.is_fed() || (*es).analyze);
        if let Some(keyed) = keyed {
            looked_up(es, keyed);
        }
        if let Some(limit) = scan.limit() {
            number(es, c"Limit", limit);
        }
        if (*es).verbose {
            let plan = (*node).ss.ps.plan;
            let verify = verification(node, &question.connection.server_name);
            for (clause, why) in question.local_reasons() {
                let why = why.replace("assets_fdw.verify_pushdown()", &verify);
                text(es, c"Local", &format!("{} -- {why}", written(es, plan, clause)));
            }
        }
        if (*es).analyze {
            let stats = &scan.stats;
            number(es, c"Requests", stats.requests.load(Ordering::Relaxed));
            number(es, c"Pages", stats.pages.load(Ordering::Relaxed));
            number(es, c"Objects", stats.objects.load(Ordering::Relaxed));
            number(es, c"Retries", stats.retries.load(Ordering::Relaxed));
            let waited = stats.waited_us.load(Ordering::Relaxed) as f64 / 1000.0;
            pg_sys::ExplainPropertyFloat(c"Waited for rate limit".as_ptr(), c"ms".as_ptr(), waited, 3, es);
        }
    }
}

/// What is asked for many outer rows at once.
unsafe fn looked_up(es: *mut pg_sys::ExplainState, keyed: &Keyed) {
    // SAFETY: EXPLAIN's state.
    unsafe {
        if keyed.is_fed() {
            text(es, c"Batched By", &keyed.column());
            number(es, c"Keys a Batch", keyed.most() as u64);
        }
        if (*es).analyze {
            let counts = keyed.counts();
            if keyed.is_fed() {
                number(es, c"Batches", counts.batches);
                number(es, c"Keys Asked", counts.asked);
                number(es, c"Found Again", counts.repeated);
                number(es, c"Given Up", counts.given_up);
            }
            if keyed.is_fed() || keyed.was_read_whole() {
                number(es, c"Asked Alone", counts.alone);
            }
            if keyed.was_read_whole() {
                text(es, c"Look-ups", "answered from everything, read once");
            }
        }
    }
}

/// What proves rules on the scanned table.
unsafe fn verification(node: *mut pg_sys::ForeignScanState, server: &str) -> String {
    let literal = tables::ddl::literal;
    // SAFETY: the executor's node; its relation, where it has one, is open.
    unsafe {
        let relation = (*node).ss.ss_currentRelation;
        if relation.is_null() {
            return format!("assets_fdw.verify_pushdown({})", literal(server));
        }
        let row = (*relation).rd_rel;
        let schema = pg_sys::get_namespace_name((*row).relnamespace);
        let table = pg::text(pg_sys::quote_qualified_identifier(schema, (*row).relname.data.as_ptr()));
        format!("assets_fdw.verify_pushdown({}, {})", literal(server), literal(&table))
    }
}

/// A clause of a plan as EXPLAIN writes it, in one line.
unsafe fn written(
    es: *mut pg_sys::ExplainState,
    plan: *mut pg_sys::Plan,
    clause: *mut pg_sys::Node,
) -> String {
    // SAFETY: EXPLAIN's state holds the names of the plan's relations; the result is a C string.
    unsafe {
        let names = pg_sys::set_deparse_context_plan((*es).deparse_cxt, plan, std::ptr::null_mut());
        pg::text(pg_sys::deparse_expression(clause, names, (*es).verbose, false)).replace(['\n', '\r'], " ")
    }
}

unsafe fn text(es: *mut pg_sys::ExplainState, label: &std::ffi::CStr, value: &str) {
    let value = CString::new(value.replace('\0', "")).unwrap_or_default();
    // SAFETY: EXPLAIN's state and two C strings, which are copied.
    unsafe { pg_sys::ExplainPropertyText(label.as_ptr(), value.as_ptr(), es) };
}

/// A number with its label.
///
/// # Safety
/// `es` is EXPLAIN's.
pub unsafe fn number(es: *mut pg_sys::ExplainState, label: &std::ffi::CStr, value: u64) {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    // SAFETY: as above.
    unsafe { pg_sys::ExplainPropertyInteger(label.as_ptr(), std::ptr::null(), value, es) };
}
