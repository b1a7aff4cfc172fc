//! What a replica tells the planner about its foreign table: how many rows, and their statistics, without a request
//! and without an ANALYZE of the foreign table's own. Estimates only; what is asked rests on none of it.
#![allow(unsafe_code)] // the planner's hook and system caches

use std::cell::OnceCell;

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::fdw::pg;
use crate::fdw::plan::{self, PlanState};

/// Columns of `assets_fdw.replica_job` that are read: target, source.
const JOB: usize = 2;
/// Columns of `assets_fdw.replica_column` that are read: target, attnum, name, source_attnum.
const COLUMN: usize = 4;

static mut PREVIOUS: pg_sys::get_relation_stats_hook_type = None;

/// Puts the hook before the one that is there; once, from `_PG_init`.
pub fn install() {
    // SAFETY: from `_PG_init`, on the process's only thread of PostgreSQL's.
    unsafe {
        PREVIOUS = pg_sys::get_relation_stats_hook;
        pg_sys::get_relation_stats_hook = Some(relation_stats);
    }
}

/// A replica, as the planner knows it.
pub struct StandIn {
    /// Its table.
    pub table: pg_sys::Oid,
    /// Its rows by its last ANALYZE or VACUUM.
    pub rows: f64,
    /// Which of its columns shows which one of the foreign table, by number: that one, and its own. Read when it is asked for.
    columns: OnceCell<Vec<(i16, i16)>>,
}

impl StandIn {
    /// The column that shows a column of the foreign table.
    fn column(&self, of: i16) -> Option<i16> {
        let columns = self.columns.get_or_init(|| {
            let mut found = Vec::new();
            // SAFETY: the extension's own table, whose first columns are of these types.
            let read = |table| unsafe {
                pg::read_table(table, COLUMN, |row| {
                    if row.oid(0) == Some(self.table) {
                        found.extend(row.small(3).zip(row.small(1)));
                    }
                });
            };
            pg::own_table(c"replica_column").filter(|table| is_free(*table)).into_iter().for_each(read);
            found
        });
        columns.iter().find(|(shown, _)| *shown == of).map(|(_, column)| *column)
    }
}

/// Whether nobody has a table locked against reading, who would hold up planning (ALTER EXTENSION, VACUUM FULL): an
/// estimate is not worth that.
fn is_free(table: pg_sys::Oid) -> bool {
    let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
    // SAFETY: does not wait; given back at once.
    unsafe {
        let free = pg_sys::ConditionalLockRelationOid(table, lock);
        if free {
            pg_sys::UnlockRelationOid(table, lock);
        }
        free
    }
}

/// Whether a role's replica says something of a foreign table to whoever plans: the table owner's, a superuser's, one's
/// own. Anybody else may write into theirs what they like.
unsafe fn is_trusted(owner: pg_sys::Oid, source: pg_sys::Oid) -> bool {
    // SAFETY: catalogue look-ups inside a transaction.
    unsafe {
        pg_sys::superuser_arg(owner)
            || class_of(source, |class| class.relowner) == Some(owner)
            || pg_sys::is_member_of_role_nosuper(pg_sys::GetUserId(), owner)
    }
}

/// The replica of a foreign table; of several, the largest.
pub fn of(source: pg_sys::Oid) -> Option<StandIn> {
    let table = pg::own_table(c"replica_job").filter(|table| is_free(*table))?;
    let mut found: Option<(pg_sys::Oid, f64)> = None;
    // SAFETY: the extension's own table, whose first columns are of type regclass.
    unsafe {
        pg::read_table(table, JOB, |row| {
            let (Some(target), Some(of)) = (row.oid(0), row.oid(1)) else { return };
            let known = || class_of(target, |class| (class.relowner, f64::from(class.reltuples)));
            let rows = known().filter(|(owner, rows)| *rows >= 1.0 && is_trusted(*owner, source));
            let rows = rows.map(|(_, rows)| rows).filter(|_| of == source);
            if let Some(rows) = rows.filter(|rows| found.is_none_or(|(_, most)| *rows > most)) {
                found = Some((target, rows));
            }
        });
    }
    found.map(|(table, rows)| StandIn { table, rows, columns: OnceCell::new() })
}

/// Statistics of a column of a foreign table that has none of its own and a replica with such a column.
#[pg_guard]
unsafe extern "C-unwind" fn relation_stats(
    root: *mut pg_sys::PlannerInfo,
    rte: *mut pg_sys::RangeTblEntry,
    attnum: i16,
    data: *mut pg_sys::VariableStatData,
) -> bool {
    // SAFETY: called by the planner with live nodes.
    unsafe {
        if let Some(previous) = PREVIOUS
            && pg_sys::ffi::pg_guard_ffi_boundary(|| previous(root, rte, attnum, data))
        {
            return true;
        }
        let rel = (*data).rel;
        if rel.is_null() || !plan::is_ours(rel) || (*rel).fdw_private.is_null() {
            return false;
        }
        let state = &*(*rel).fdw_private.cast::<PlanState>();
        let Some(StandIn { table: replica, .. }) = &state.replica else { return false };
        let replica = *replica;
        if let Some(own) = statistics((*rte).relid, attnum) {
            pg_sys::ReleaseSysCache(own);
            return false;
        }
        let Some(column) = state.replica.as_ref().and_then(|replica| replica.column(attnum)) else {
            return false;
        };
        if pg_sys::get_atttype(replica, column) != pg_sys::get_atttype((*rte).relid, attnum) {
            return false;
        }
        // The replica may hold what another account sees: who may not read it hears nothing of its values, neither by
        // operators that tell what they see nor by estimates.
        let user = pg_sys::GetUserId();
        let select = pg_sys::ACL_SELECT as pg_sys::AclMode;
        if pg_sys::pg_class_aclcheck(replica, user, select) != pg_sys::AclResult::ACLCHECK_OK
            || pg_sys::check_enable_rls(replica, pg_sys::InvalidOid, true) as u32
                == pg_sys::CheckEnableRlsResult::RLS_ENABLED
        {
            return false;
        }
        let Some(found) = statistics(replica, column) else { return false };
        (*data).statsTuple = found;
        (*data).freefunc = Some(release);
        (*data).acl_ok = true;
        true
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn release(tuple: pg_sys::HeapTuple) {
    // SAFETY: what `statistics` found, given back once.
    unsafe { pg_sys::ReleaseSysCache(tuple) }
}

/// Something of a table's row in `pg_class`.
unsafe fn class_of<T>(table: pg_sys::Oid, read: impl FnOnce(&pg_sys::FormData_pg_class) -> T) -> Option<T> {
    // SAFETY: a look-up in a system cache, whose rows are of that type.
    unsafe {
        let found = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::RELOID as i32, table.into());
        if found.is_null() {
            return None;
        }
        let value = read(&*pg_sys::GETSTRUCT(found).cast::<pg_sys::FormData_pg_class>());
        pg_sys::ReleaseSysCache(found);
        Some(value)
    }
}

/// The row of `pg_statistic` of a column, to be released.
unsafe fn statistics(relation: pg_sys::Oid, attnum: i16) -> Option<pg_sys::HeapTuple> {
    // SAFETY: a look-up in a system cache.
    let found = unsafe {
        pg_sys::SearchSysCache3(
            pg_sys::SysCacheIdentifier::STATRELATTINH as i32,
            relation.into(),
            attnum.into(),
            false.into(),
        )
    };
    (!found.is_null()).then_some(found)
}
