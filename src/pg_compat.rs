//! Where PostgreSQL's majors differ, 15 to 18. The only file that asks for the version.
#![allow(unsafe_code)] // raw planner and executor nodes

use pgrx::pg_sys;

/// `create_foreignscan_path` for a base relation.
///
/// # Safety
/// `root` and `rel` are the planner's own, of the call under way.
#[allow(clippy::too_many_arguments)]
pub unsafe fn foreignscan_path(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    rows: f64,
    startup_cost: f64,
    total_cost: f64,
    required_outer: pg_sys::Relids,
) -> *mut pg_sys::Path {
    let none: *mut pg_sys::List = std::ptr::null_mut();
    // SAFETY: the caller's promise; every list may be null.
    unsafe {
        pg_sys::create_foreignscan_path(
            root,
            rel,
            none.cast(),
            rows,
            #[cfg(feature = "pg18")]
            0,
            startup_cost,
            total_cost,
            none.cast(),
            required_outer,
            none.cast(),
            #[cfg(any(feature = "pg17", feature = "pg18"))]
            none.cast(),
            none.cast(),
        )
        .cast()
    }
}

/// [`foreignscan_path`] with an order, and nothing required of other relations.
///
/// # Safety
/// As there; `pathkeys` are the query's.
pub unsafe fn sorted_path(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    rows: f64,
    startup_cost: f64,
    total_cost: f64,
    pathkeys: *mut pg_sys::List,
) -> *mut pg_sys::Path {
    // SAFETY: the caller's promise.
    unsafe {
        let path = foreignscan_path(root, rel, rows, startup_cost, total_cost, (*rel).lateral_relids);
        (*path).pathkeys = pathkeys;
        path
    }
}

/// Whether a path key sorts from the greatest to the least.
///
/// # Safety
/// `key` is the planner's.
pub unsafe fn is_descending(key: *mut pg_sys::PathKey) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        {
            (*key).pk_strategy == pg_sys::BTGreaterStrategyNumber as i32
        }
        #[cfg(feature = "pg18")]
        {
            (*key).pk_cmptype == pg_sys::CompareType::COMPARE_GT
        }
    }
}

/// `create_foreign_upper_path`.
///
/// # Safety
/// `root` and `rel` are the planner's own, of the call under way.
pub unsafe fn foreign_upper_path(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    target: *mut pg_sys::PathTarget,
    rows: f64,
    startup_cost: f64,
    total_cost: f64,
    fdw_private: *mut pg_sys::List,
) -> *mut pg_sys::Path {
    let none: *mut pg_sys::List = std::ptr::null_mut();
    // SAFETY: the caller's promise; every list may be null.
    unsafe {
        pg_sys::create_foreign_upper_path(
            root,
            rel,
            target,
            rows,
            #[cfg(feature = "pg18")]
            0,
            startup_cost,
            total_cost,
            none.cast(),
            none.cast(),
            #[cfg(any(feature = "pg17", feature = "pg18"))]
            none.cast(),
            fdw_private,
        )
        .cast()
    }
}

/// The role whose rights and user mapping a scan uses: a view's owner, or the current user.
///
/// # Safety
/// `scan` is the plan node of `state`, both live.
pub unsafe fn scan_user(state: *mut pg_sys::ForeignScanState, scan: *mut pg_sys::ForeignScan) -> pg_sys::Oid {
    // SAFETY: the caller's promise; the range table holds the scanned relation.
    let named = unsafe {
        #[cfg(feature = "pg15")]
        {
            let rte = pg_sys::rt_fetch((*scan).scan.scanrelid, (*(*state).ss.ps.state).es_range_table);
            (*rte).checkAsUser
        }
        #[cfg(not(feature = "pg15"))]
        {
            let _ = state;
            (*scan).checkAsUser
        }
    };
    // SAFETY: no preconditions.
    if named == pg_sys::InvalidOid { unsafe { pg_sys::GetUserId() } } else { named }
}

/// Whose rights a relation is checked with, as planning has it: a view's owner; none for whoever runs the
/// plan, which is not always the role that it is made as.
///
/// # Safety
/// `root` and `rel` are the planner's own, of a base relation.
pub unsafe fn checked_as(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
) -> Option<pg_sys::Oid> {
    // SAFETY: the caller's promise.
    let named = unsafe {
        #[cfg(feature = "pg15")]
        {
            let rte = pg_sys::planner_rt_fetch((*rel).relid, root);
            (*rte).checkAsUser
        }
        #[cfg(not(feature = "pg15"))]
        {
            let _ = root;
            (*rel).userid
        }
    };
    (named != pg_sys::InvalidOid).then_some(named)
}

/// Whether the rights that a query being planned needs are there, so that it is no use asking anybody for
/// what it will not be given: those of this level and of the ones around it, whose views lead here.
/// PostgreSQL itself checks all of them, but only when it runs the plan.
///
/// # Safety
/// `root` is the planner's own.
pub unsafe fn may_run(root: *mut pg_sys::PlannerInfo) -> bool {
    // What listens to checks (an audit, say) hears of the executor's, once.
    struct Hook(pg_sys::ExecutorCheckPerms_hook_type);
    impl Drop for Hook {
        fn drop(&mut self) {
            // SAFETY: a variable of this thread's process, put back as it was.
            unsafe { pg_sys::ExecutorCheckPerms_hook = self.0 };
        }
    }
    // SAFETY: the caller's promise; the outer levels live while an inner one is planned. Catalogue look-ups.
    unsafe {
        let _hook = Hook(pg_sys::ExecutorCheckPerms_hook);
        pg_sys::ExecutorCheckPerms_hook = None;
        let mut level = root;
        while !level.is_null() {
            let query = (*level).parse;
            #[cfg(feature = "pg15")]
            let may = pg_sys::ExecCheckRTPerms((*query).rtable, false);
            #[cfg(not(feature = "pg15"))]
            let may = pg_sys::ExecCheckPermissions((*query).rtable, (*query).rteperminfos, false);
            if !may {
                return false;
            }
            level = (*level).parent_root;
        }
        true
    }
}

/// Whether a role may use a foreign server.
pub fn may_use_server(server: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    // SAFETY: catalogue look-ups inside a transaction.
    let result = unsafe {
        #[cfg(feature = "pg15")]
        {
            pg_sys::pg_foreign_server_aclcheck(server, role, pg_sys::ACL_USAGE as pg_sys::AclMode)
        }
        #[cfg(not(feature = "pg15"))]
        {
            pg_sys::object_aclcheck(
                pg_sys::ForeignServerRelationId,
                server,
                role,
                pg_sys::ACL_USAGE as pg_sys::AclMode,
            )
        }
    };
    result == pg_sys::AclResult::ACLCHECK_OK
}

/// A copy of the row in a slot, in the current memory.
///
/// # Safety
/// `slot` holds a row.
pub unsafe fn minimal_tuple(slot: *mut pg_sys::TupleTableSlot) -> pg_sys::MinimalTuple {
    // SAFETY: the caller's promise; every kind of slot has the function, which is behind a pointer.
    unsafe {
        let Some(copy) = (*(*slot).tts_ops).copy_minimal_tuple else { return std::ptr::null_mut() };
        #[cfg(not(feature = "pg18"))]
        {
            pg_sys::ffi::pg_guard_ffi_boundary(|| copy(slot))
        }
        #[cfg(feature = "pg18")]
        {
            pg_sys::ffi::pg_guard_ffi_boundary(|| copy(slot, 0))
        }
    }
}

/// Counts a plan node as disabled as often as another one is: from PostgreSQL 18 on that is no part of its cost.
///
/// # Safety
/// Both are live.
pub unsafe fn disabled_as(node: &mut pg_sys::Plan, other: *mut pg_sys::Plan) {
    #[cfg(feature = "pg18")]
    {
        // SAFETY: the caller's promise.
        node.disabled_nodes = unsafe { (*other).disabled_nodes };
    }
    #[cfg(not(feature = "pg18"))]
    let _ = (node, other);
}

/// Sets a signal handler.
///
/// # Safety
/// `handler` is safe to run at any moment in this process.
pub unsafe fn on_signal(signal: i32, handler: unsafe extern "C-unwind" fn(i32)) {
    // SAFETY: the caller's promise.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        pg_sys::pqsignal(signal, Some(handler));
        #[cfg(feature = "pg18")]
        pg_sys::pqsignal_be(signal, Some(handler));
    }
}

/// Whether a role owns a database.
pub fn owns_database(database: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    // SAFETY: a catalogue look-up inside a transaction.
    unsafe {
        #[cfg(feature = "pg15")]
        {
            pg_sys::pg_database_ownercheck(database, role)
        }
        #[cfg(not(feature = "pg15"))]
        {
            pg_sys::object_ownercheck(pg_sys::DatabaseRelationId, database, role)
        }
    }
}

/// What a backend waits for.
#[derive(Clone, Copy)]
pub enum WaitsFor {
    /// Answers of the service.
    Service,
    /// The request limit.
    Limit,
}

/// The wait event that pg_stat_activity shows: a name of its own from PostgreSQL 17 on, `Extension`
/// before. On the backend's main thread.
pub fn wait_event(what: WaitsFor) -> u32 {
    #[cfg(not(any(feature = "pg17", feature = "pg18")))]
    {
        let _ = what;
        pg_sys::PG_WAIT_EXTENSION
    }
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    {
        thread_local! {
            static EVENTS: std::cell::Cell<Option<[u32; 2]>> = const { std::cell::Cell::new(None) };
        }
        let events = EVENTS.get().unwrap_or_else(|| {
            // SAFETY: C strings, which are copied; the same name gives the same number in every backend.
            let events = [c"AssetsFdwService", c"AssetsFdwLimit"]
                .map(|name| unsafe { pg_sys::WaitEventExtensionNew(name.as_ptr()) });
            EVENTS.set(Some(events));
            events
        });
        events[what as usize]
    }
}

/// Whether input functions can report what they refuse without an ERROR.
pub const HAS_SOFT_ERRORS: bool = !cfg!(feature = "pg15");

/// Whether a subtransaction may begin now: in the leader of a parallel plan only from PostgreSQL 17 on.
pub fn may_begin_subtransaction() -> bool {
    // SAFETY: no preconditions.
    cfg!(any(feature = "pg17", feature = "pg18")) || !unsafe { pg_sys::IsInParallelMode() }
}

/// Calls an input function that reports a value that it refuses, instead of raising an ERROR, and gives its
/// message then. Where there is no such thing ([`HAS_SOFT_ERRORS`]) it raises.
///
/// # Safety
/// `input` is an input function, `text` a C string, `param` and `typmod` what the function takes.
pub unsafe fn input_softly(
    input: pg_sys::Oid,
    text: *mut std::ffi::c_char,
    param: pg_sys::Oid,
    typmod: i32,
) -> Result<pg_sys::Datum, String> {
    // SAFETY: the caller's promise; the context says of itself what it is, and both live through the call.
    unsafe {
        #[cfg(feature = "pg15")]
        {
            Ok(pg_sys::OidInputFunctionCall(input, text, param, typmod))
        }
        #[cfg(not(feature = "pg15"))]
        {
            let mut function = pg_sys::FmgrInfo::default();
            pg_sys::fmgr_info(input, &mut function);
            let mut context = pg_sys::ErrorSaveContext {
                type_: pg_sys::NodeTag::T_ErrorSaveContext,
                details_wanted: true,
                ..Default::default()
            };
            let mut datum = pg_sys::Datum::null();
            let escape = (&raw mut context).cast();
            if pg_sys::InputFunctionCallSafe(&mut function, text, param, typmod, escape, &mut datum) {
                return Ok(datum);
            }
            let said = context.error_data.as_ref().map(|error| error.message);
            Err(said
                .filter(|said| !said.is_null())
                .map_or_else(String::new, |said| crate::fdw::pg::text(said)))
        }
    }
}
