//! The executor's callbacks: they make the state of a plan node and drive it.
#![allow(unsafe_code)] // the executor's nodes and slots

use pgrx::prelude::*;
use pgrx::{PgMemoryContexts, pg_sys};

use crate::catalog::{ForeignTable, Resolved};
use crate::fdw::append::Beside;
use crate::fdw::count::Count;
use crate::fdw::generated::Generated;
use crate::fdw::groups::Groups;
use crate::fdw::keyed::Keyed;
use crate::fdw::local::Local;
use crate::fdw::pg;
use crate::fdw::private::Private;
use crate::fdw::scan::{Made, Scan};
use crate::fdw::served::Served;
use crate::fdw::system;
use crate::fdw::top::Top;
use crate::{pg_compat, session};

/// What a plan node does; dropped with the query's memory context, also when the query fails.
pub enum State {
    /// Reads rows.
    Scan(Scan),
    /// Reads the first rows in an order.
    Top(Top),
    /// Counts objects.
    Count(Count),
    /// Reads rows by key, again and again.
    Served(Served),
    /// Counts the objects of each group.
    Groups(Groups),
}

impl State {
    /// The scan, or the count, where it can be read side by side with others.
    pub fn beside(&mut self) -> Option<&mut dyn Beside> {
        match self {
            State::Scan(scan) => Some(scan),
            State::Count(count) => Some(count),
            State::Top(_) | State::Served(_) | State::Groups(_) => None,
        }
    }

    /// The look-ups by key, to be told of.
    pub fn look_ups(&self) -> Option<&Keyed> {
        match self {
            State::Served(served) => Some(&served.keyed),
            State::Count(count) => count.keyed.as_ref(),
            State::Scan(_) | State::Top(_) | State::Groups(_) => None,
        }
    }

    /// The look-ups by key, where there are any.
    pub fn keyed(&mut self) -> Option<&mut Keyed> {
        match self {
            State::Served(served) => Some(&mut served.keyed),
            State::Count(count) => count.keyed.as_mut(),
            State::Scan(_) | State::Top(_) | State::Groups(_) => None,
        }
    }
}

/// Whether a plan's foreign scan is one of ours.
///
/// # Safety
/// `scan` is a finished plan's node.
pub unsafe fn is_ours(scan: *mut pg_sys::ForeignScan) -> bool {
    // SAFETY: the caller's promise; catalogue look-ups. Other wrappers leave what they do not have empty.
    unsafe {
        let ours: unsafe extern "C-unwind" fn(*mut pg_sys::ForeignScanState, i32) = begin;
        let routine = pg_sys::GetFdwRoutineByServerId((*scan).fs_server);
        (*routine).BeginForeignScan.is_some_and(|begins| std::ptr::fn_addr_eq(begins, ours))
    }
}

/// The node's state, once `begin` made it.
///
/// # Safety
/// `node` is the executor's, live; nobody else holds the state meanwhile.
pub unsafe fn state<'a>(node: *mut pg_sys::ForeignScanState) -> Option<&'a mut State> {
    // SAFETY: the caller's promise; `fdw_state` is null or what `begin` put there.
    unsafe { (*node).fdw_state.cast::<State>().as_mut() }
}

#[pg_guard]
pub unsafe extern "C-unwind" fn begin(node: *mut pg_sys::ForeignScanState, flags: i32) {
    // SAFETY: called by the executor; the state is dropped with the query's memory context, which
    // also happens when the query fails and `end` is never called.
    unsafe {
        let plan = (*node).ss.ps.plan.cast::<pg_sys::ForeignScan>();
        let private = Private::from_list((*plan).fdw_private);
        let counted = private.count.as_ref();
        let is_count = counted.is_some();
        let grouped_by = counted.and_then(|count| count.grouped_by);
        let (relation, relid, user) = match counted {
            Some(count) => {
                let user = count.user.map_or_else(|| pg_sys::GetUserId(), pg_sys::Oid::from);
                (pg_sys::Oid::from(count.relation), count.relid, user)
            }
            None => (
                (*(*node).ss.ss_currentRelation).rd_id,
                (*plan).scan.scanrelid,
                pg_compat::scan_user(node, plan),
            ),
        };
        let quals = match counted {
            Some(count) => pg_sys::stringToNode(pg::to_server(&count.quals)).cast(),
            None => (*plan).scan.plan.qual,
        };
        let table = ForeignTable::load(relation);
        let connection = session::connect(table.server, user);
        let Private { columns, limit, top, generated, lookups, .. } = private;
        let place = top.as_ref().and_then(|top| columns.iter().position(|attnum| *attnum == top.attnum));
        let scan_of = |table, limit, resolved: Option<Resolved>| {
            let made = Made { table, columns: columns.clone(), quals, relid, limit };
            let resolved = resolved.unwrap_or_else(|| made.resolve(&connection, false));
            let mut scan = Scan::new(connection.clone(), resolved, made, node);
            scan.generated = Generated::new((*node).ss.ps.state, relation, &generated);
            scan
        };
        let mut scan = scan_of(table, limit, None);
        let keyed = match &top {
            Some(_) => None,
            None if grouped_by.is_some() => None,
            None => Keyed::new(node, relation, &scan.question, &lookups, || {
                let mut together = scan_of(ForeignTable::load(relation), None, Some(scan.resolved.clone()));
                together.stats = scan.stats.clone();
                together
            }),
        };
        let local = Local::new(quals, relation, relid);
        let made = match (grouped_by, is_count, top.zip(place), keyed) {
            (Some(attnum), ..) => State::Groups(Groups::new(scan, local, relation, attnum)),
            (None, true, _, keyed) => State::Count(Count::new(scan, local, keyed)),
            (None, false, Some((top, column)), _) => State::Top(Top::new(scan, local, top, column)),
            (None, false, None, Some(keyed)) => State::Served(Served::new(scan, keyed)),
            (None, false, None, None) => {
                if flags as u32 & pg_sys::EXEC_FLAG_REWIND != 0 {
                    scan.keep(node);
                }
                State::Scan(scan)
            }
        };
        let context = (*(*node).ss.ps.state).es_query_cxt;
        (*node).fdw_state = PgMemoryContexts::For(context).leak_and_drop_on_delete(made).cast();
    }
}

#[pg_guard]
pub unsafe extern "C-unwind" fn iterate(node: *mut pg_sys::ForeignScanState) -> *mut pg_sys::TupleTableSlot {
    // SAFETY: called by the executor between `begin` and `end`.
    unsafe {
        let slot = (*node).ss.ss_ScanTupleSlot;
        pg::clear_slot(slot);
        match state(node) {
            Some(State::Scan(scan)) => scan.fill(node, slot),
            Some(State::Top(top)) => top.fill(node, slot),
            Some(State::Served(served)) => served.fill(node, slot),
            Some(State::Count(count)) => {
                if let Some(counted) = count.next(node) {
                    pg::store_in_all(slot, counted);
                }
            }
            Some(State::Groups(groups)) => groups.fill(node, slot),
            None => {}
        }
        if (*(*node).ss.ps.plan.cast::<pg_sys::ForeignScan>()).fsSystemCol
            && (*slot).tts_flags & pg_sys::TTS_FLAG_EMPTY as u16 == 0
        {
            system::fill(slot);
        }
        slot
    }
}

#[pg_guard]
pub unsafe extern "C-unwind" fn rescan(node: *mut pg_sys::ForeignScanState) {
    // SAFETY: as for `iterate`. The executor tells by `chgParam` whether a parameter that the node
    // depends on may have another value now.
    unsafe {
        let same = (*node).ss.ps.chgParam.is_null();
        match state(node) {
            Some(State::Scan(scan)) => scan.again(),
            Some(State::Top(top)) => top.again(same),
            Some(State::Served(served)) => served.again(),
            Some(State::Count(count)) => count.again(same),
            Some(State::Groups(groups)) => groups.again(same),
            None => {}
        }
    }
}

#[pg_guard]
pub unsafe extern "C-unwind" fn end(node: *mut pg_sys::ForeignScanState) {
    // SAFETY: as for `iterate`; the state itself goes with its memory context.
    unsafe {
        match state(node) {
            Some(State::Scan(scan)) => scan.end(),
            Some(State::Top(top)) => top.end(),
            Some(State::Count(count)) => count.end(),
            Some(State::Served(served)) => served.end(),
            Some(State::Groups(groups)) => groups.scan.end(),
            None => {}
        }
    }
}
