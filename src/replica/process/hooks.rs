//! DROP DATABASE, a database's rename or move, and CREATE DATABASE … TEMPLATE refuse to go on while
//! anybody is connected, and a resident scheduler is somebody. The hook sends the database's workers
//! away first; where the database stays, they come back after the statement.
//!
//! COMMIT PREPARED commits what another session has done, whose callbacks are gone by then: the hook wakes the
//! scheduler, if that session may have made a job.
#![allow(unsafe_code)] // the server's hook

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::shared;
use crate::fdw::pg;
use crate::pg_compat;

static mut PREVIOUS: pg_sys::ProcessUtility_hook_type = None;

/// Installs the hook; while the library is preloaded.
pub fn install() {
    // SAFETY: in the postmaster, before it has children.
    unsafe {
        PREVIOUS = pg_sys::ProcessUtility_hook;
        pg_sys::ProcessUtility_hook = Some(process_utility);
    }
}

#[pg_guard]
#[allow(clippy::too_many_arguments)]
unsafe extern "C-unwind" fn process_utility(
    statement: *mut pg_sys::PlannedStmt,
    text: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    params: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    destination: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: called with a utility statement; everything is handed on as it came.
    unsafe {
        let node = (*statement).utilityStmt;
        let alone = context == pg_sys::ProcessUtilityContext::PROCESS_UTILITY_TOPLEVEL
            && !pg_sys::IsTransactionBlock();
        let _hold = database_of(node, alone).and_then(shared::hold);
        let commits = commits_prepared(node);
        match PREVIOUS {
            Some(previous) => pgrx::pg_sys::ffi::pg_guard_ffi_boundary(|| {
                previous(
                    statement,
                    text,
                    read_only_tree,
                    context,
                    params,
                    environment,
                    destination,
                    completion,
                )
            }),
            None => pg_sys::standard_ProcessUtility(
                statement,
                text,
                read_only_tree,
                context,
                params,
                environment,
                destination,
                completion,
            ),
        }
        if commits && may_have_jobs() {
            shared::wake_if_prepared(pg_sys::MyDatabaseId);
        }
    }
}

unsafe fn commits_prepared(node: *mut pg_sys::Node) -> bool {
    // SAFETY: the caller's statement; nodes are what their tags say.
    unsafe {
        (*node).type_ == pg_sys::NodeTag::T_TransactionStmt
            && (*node.cast::<pg_sys::TransactionStmt>()).kind
                == pg_sys::TransactionStmtKind::TRANS_STMT_COMMIT_PREPARED
    }
}

/// Whether this database has, or ever had, a job: most have none, and where transactions are committed in two phases
/// it is many of them.
unsafe fn may_have_jobs() -> bool {
    // SAFETY: look-ups inside the transaction of the statement; the table is closed as it was opened.
    unsafe {
        if !pg_sys::IsTransactionState() {
            return false;
        }
        let schema = pg_sys::get_namespace_oid(c"assets_fdw".as_ptr(), true);
        let jobs = pg_sys::get_relname_relid(c"replica_job".as_ptr(), schema);
        if schema == pg_sys::InvalidOid || jobs == pg_sys::InvalidOid {
            return false;
        }
        let table = pg_sys::try_relation_open(jobs, pg_sys::AccessShareLock as i32);
        if table.is_null() {
            return false;
        }
        let pages = pg_sys::RelationGetNumberOfBlocksInFork(table, pg_sys::ForkNumber::MAIN_FORKNUM);
        pg_sys::relation_close(table, pg_sys::AccessShareLock as i32);
        pages > 0
    }
}

/// The database that a statement wants for itself, if PostgreSQL will let the current user have it, as far as rights
/// go: otherwise the statement fails anyway, and whoever repeats it would keep the workers away. `alone`: outside of
/// functions and transaction blocks, where most of these statements have to be.
unsafe fn database_of(node: *mut pg_sys::Node, alone: bool) -> Option<pg_sys::Oid> {
    // SAFETY: the caller's statement; nodes are what their tags say.
    unsafe {
        let (name, wants) = match (*node).type_ {
            pg_sys::NodeTag::T_DropdbStmt => {
                (CStr::from_ptr((*node.cast::<pg_sys::DropdbStmt>()).dbname).to_owned(), Wants::Drop)
            }
            pg_sys::NodeTag::T_RenameStmt => {
                let rename = node.cast::<pg_sys::RenameStmt>();
                if (*rename).renameType != pg_sys::ObjectType::OBJECT_DATABASE {
                    return None;
                }
                (CStr::from_ptr((*rename).subname).to_owned(), Wants::Rename)
            }
            pg_sys::NodeTag::T_AlterDatabaseStmt => {
                let alter = node.cast::<pg_sys::AlterDatabaseStmt>();
                option((*alter).options, "tablespace")?;
                (CStr::from_ptr((*alter).dbname).to_owned(), Wants::Move)
            }
            pg_sys::NodeTag::T_CreatedbStmt => {
                let create = node.cast::<pg_sys::CreatedbStmt>();
                (option((*create).options, "template")?, Wants::Copy)
            }
            _ => return None,
        };
        // Outside a transaction (there is none in an aborted one's ROLLBACK) nothing can be looked up.
        if !pg_sys::IsTransactionState() || !(alone || wants == Wants::Rename) {
            return None;
        }
        let database = pg_sys::get_database_oid(name.as_ptr(), true);
        if database == pg_sys::InvalidOid || database == pg_sys::MyDatabaseId {
            return None;
        }
        let user = pg_sys::GetUserId();
        let owns = || pg_compat::owns_database(database, user);
        let may = match wants {
            Wants::Drop => owns() && !is_template(database),
            Wants::Move => owns(),
            Wants::Rename => owns() && may_create_databases(user),
            Wants::Copy => may_create_databases(user) && (is_template(database) || owns()),
        };
        may.then_some(database)
    }
}

/// What for; each needs rights of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    Drop,
    Rename,
    Move,
    Copy,
}

/// Whether anybody who may create databases may copy this one.
unsafe fn is_template(database: pg_sys::Oid) -> bool {
    // SAFETY: a catalogue look-up inside a transaction; the row is read before it is released.
    unsafe {
        let row = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::DATABASEOID as i32, database.into());
        if row.is_null() {
            return false;
        }
        let template = (*pg_sys::GETSTRUCT(row).cast::<pg_sys::FormData_pg_database>()).datistemplate;
        pg_sys::ReleaseSysCache(row);
        template
    }
}

/// Whether a role may create databases. PostgreSQL's own function for it is exported by newer minors only.
unsafe fn may_create_databases(role: pg_sys::Oid) -> bool {
    // SAFETY: catalogue look-ups inside a transaction; the row is read before it is released.
    unsafe {
        if pg_sys::superuser_arg(role) {
            return true;
        }
        let row = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::AUTHOID as i32, role.into());
        if row.is_null() {
            return false;
        }
        let may = (*pg_sys::GETSTRUCT(row).cast::<pg_sys::FormData_pg_authid>()).rolcreatedb;
        pg_sys::ReleaseSysCache(row);
        may
    }
}

/// The value of an option of the statement.
unsafe fn option(list: *mut pg_sys::List, name: &str) -> Option<std::ffi::CString> {
    // SAFETY: a list of DefElem nodes, as the grammar makes for these statements.
    unsafe {
        for element in pg::nodes::<pg_sys::DefElem>(list) {
            if pg::text((*element).defname) == name && !(*element).arg.is_null() {
                return Some(CStr::from_ptr(pg_sys::defGetString(element)).to_owned());
            }
        }
    }
    None
}
