//! Several scans side by side below an Append: tables, partitions and sites answer at the same time.
//!
//! The protocol is PostgreSQL's (`nodeAppend.c`): it asks each scan for a row, and whoever has none yet says so, gives a
//! descriptor to wait on, and is told when that has something to say. A scan's pages come on the network's thread in any
//! case; here it only does not wait for them. Whatever is asked beside them (whether a name is still known, a condition
//! that is taken back) is waited for as ever: that is rare.
//!
//! All scans below one Append keep to the `max_in_flight` of their server together. A query that may stop early (LIMIT, a
//! cursor, EXISTS) reads them one after the other, since it would pay for pages that nobody reads; so does a scan that
//! is repeated for each row of a join.
#![allow(unsafe_code)] // the executor's and the planner's nodes

use std::cell::RefCell;
use std::sync::Arc;

use assets::client::Client;
use assets::together::Requests;
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::fdw::count::Count;
use crate::fdw::plan::PlanState;
use crate::fdw::scan::Scan;
use crate::fdw::{exec, grouped};
use crate::gucs;
use crate::runtime::Caller;

/// What can be read side by side with others.
pub trait Beside {
    /// Who is asked.
    fn client(&self) -> &Arc<Client>;
    /// Who rings when there is more, once it is read side by side with others.
    fn caller(&self) -> Option<&Caller>;
    /// Has it read so, with so many requests under way for all of them.
    fn begin_beside(&mut self, requests: Requests, caller: Caller);
    /// Whether something was asked already.
    fn has_begun(&self) -> bool;
    /// Whether it waits for what has not come yet; else it gives nothing then.
    fn waits(&mut self, waits: bool);
    /// It gave nothing, since nothing has come yet.
    fn is_waiting(&self) -> bool;
}

impl Beside for Scan {
    fn client(&self) -> &Arc<Client> {
        &self.question.connection.client
    }
    fn caller(&self) -> Option<&Caller> {
        Scan::caller(self)
    }
    fn begin_beside(&mut self, requests: Requests, caller: Caller) {
        self.beside(requests, caller);
    }
    fn has_begun(&self) -> bool {
        Scan::has_begun(self)
    }
    fn waits(&mut self, waits: bool) {
        Scan::waits(self, waits);
    }
    fn is_waiting(&self) -> bool {
        Scan::is_waiting(self)
    }
}

impl Beside for Count {
    fn client(&self) -> &Arc<Client> {
        &self.scan.question.connection.client
    }
    fn caller(&self) -> Option<&Caller> {
        Count::caller(self)
    }
    fn begin_beside(&mut self, requests: Requests, caller: Caller) {
        self.beside(requests, caller);
    }
    fn has_begun(&self) -> bool {
        false
    }
    fn waits(&mut self, waits: bool) {
        Count::waits(self, waits);
    }
    fn is_waiting(&self) -> bool {
        Count::is_waiting(self)
    }
}

/// Whether the scan of a path can be read beside others.
#[pg_guard]
pub unsafe extern "C-unwind" fn is_capable(foreign: *mut pg_sys::ForeignPath) -> bool {
    // SAFETY: a path of ours, of a plan that is being made: its relation has what `get_foreign_rel_size` left.
    unsafe {
        let (rel, path) = ((*foreign).path.parent, &(*foreign).path);
        if !gucs::ENABLE_ASYNC.get() || !path.param_info.is_null() || !path.pathkeys.is_null() {
            return false;
        }
        if (*rel).reloptkind == pg_sys::RelOptKind::RELOPT_UPPER_REL {
            // A count is one request; groups ask for several at once as it is.
            return grouped::grouped_by(foreign).is_none();
        }
        (*rel).fdw_private.cast::<PlanState>().as_ref().is_some_and(|state| !state.stops_early)
    }
}

/// A row is wanted.
#[pg_guard]
pub unsafe extern "C-unwind" fn request(wanted: *mut pg_sys::AsyncRequest) {
    // SAFETY: called by the executor between `begin` and `end` of the scan.
    unsafe {
        if let Some(scan) = beside((*wanted).requestee)
            && scan.caller().is_none()
            && !scan.has_begun()
            && let Some(caller) = Caller::new()
        {
            let requests = requests((*wanted).requestor, scan.client());
            scan.begin_beside(requests, caller);
        }
        produce(wanted);
    }
}

/// The descriptor to wait on is wanted.
#[pg_guard]
pub unsafe extern "C-unwind" fn configure_wait(wanted: *mut pg_sys::AsyncRequest) {
    // SAFETY: called by an Append for a scan that said that it has no row yet; the set is the Append's, of this moment.
    unsafe {
        let Some(caller) = beside((*wanted).requestee).and_then(|scan| scan.caller()) else { return };
        pg_sys::AddWaitEventToSet(
            (*(*wanted).requestor.cast::<pg_sys::AppendState>()).as_eventset,
            pg_sys::WL_SOCKET_READABLE,
            caller.descriptor(),
            std::ptr::null_mut(),
            wanted.cast(),
        );
    }
}

/// The descriptor has something to say.
#[pg_guard]
pub unsafe extern "C-unwind" fn notify(wanted: *mut pg_sys::AsyncRequest) {
    // SAFETY: called by an Append for a scan that it has waited for.
    unsafe {
        if let Some(caller) = beside((*wanted).requestee).and_then(|scan| scan.caller()) {
            caller.heard();
        }
        pgrx::check_for_interrupts!();
        produce(wanted);
    }
}

/// The next row, the end, or that neither is known yet.
unsafe fn produce(wanted: *mut pg_sys::AsyncRequest) {
    // SAFETY: the caller's promise: a scan of ours that runs. Its state is looked up anew after the scan itself has used it.
    unsafe {
        let node = (*wanted).requestee.cast::<pg_sys::ForeignScanState>();
        set_waiting((*wanted).requestee, false);
        // With the scan's own clauses and its select list, and without what counts rows: that is done by whoever asks.
        let run = (*node).ss.ps.ExecProcNodeReal.unwrap_or_else(|| pgrx::error!("a scan that cannot be run"));
        let slot = pg_sys::ffi::pg_guard_ffi_boundary(|| run(&raw mut (*node).ss.ps));
        let row = !slot.is_null() && (*slot).tts_flags & pg_sys::TTS_FLAG_EMPTY as u16 == 0;
        let later = !row && beside((*wanted).requestee).is_some_and(|scan| scan.is_waiting());
        set_waiting((*wanted).requestee, true);
        (*wanted).callback_pending = later;
        (*wanted).request_complete = !later;
        (*wanted).result = if later { std::ptr::null_mut() } else { slot };
    }
}

/// Has a scan wait for what has not come yet, or not; one without a caller always does.
unsafe fn set_waiting(node: *mut pg_sys::PlanState, waits: bool) {
    // SAFETY: the caller's promise.
    if let Some(scan) = unsafe { beside(node) } {
        let waits = waits || scan.caller().is_none();
        scan.waits(waits);
    }
}

/// What can be read side by side with others, of a scan of ours that runs.
unsafe fn beside<'a>(node: *mut pg_sys::PlanState) -> Option<&'a mut dyn Beside> {
    // SAFETY: the caller's promise.
    unsafe { exec::state(node.cast())?.beside() }
}

/// Whose requests are under way together.
struct Sharing {
    append: *mut pg_sys::PlanState,
    client: *const Client,
    requests: Requests,
}

/// The requests that may be under way for all scans of a server below one Append.
fn requests(append: *mut pg_sys::PlanState, client: &Arc<Client>) -> Requests {
    thread_local! {
        static SHARED: RefCell<Vec<Sharing>> = const { RefCell::new(Vec::new()) };
    }
    SHARED.with_borrow_mut(|shared| {
        // Of queries that are over nobody holds any: another may be at the same address.
        shared.retain(|one| !one.requests.is_alone());
        let is_theirs = |one: &&Sharing| one.append == append && one.client == Arc::as_ptr(client);
        if let Some(known) = shared.iter().find(is_theirs) {
            return known.requests.clone();
        }
        let requests = Requests::new(client.config().max_in_flight);
        shared.push(Sharing { append, client: Arc::as_ptr(client), requests: requests.clone() });
        requests
    })
}
