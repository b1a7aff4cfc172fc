//! Options that others rule: a table shows the object type of `object_type_id` whatever `object_type` says, which is
//! there for people. Whoever sets one that is ruled hears of it. The validator sees options only, not which of them a
//! statement sets, so an event trigger looks.
#![allow(unsafe_code)] // parse trees, an event trigger's calling convention

use std::cell::Cell;

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::fdw::pg;
use crate::options::Options;
use crate::{error, session};

/// An option, those that rule it, and what is the matter.
type Ruled = (&'static str, &'static [&'static str]);

const TABLE: &[Ruled] = &[
    ("object_type", &["object_type_id"]),
    ("object_schema", &["object_type_id", "object_schema_id"]),
    ("object_schema_id", &["object_type_id"]),
];
const COLUMN: &[Ruled] = &[("attribute", &["attribute_id"])];
const SERVER: &[Ruled] = &[("site", &["workspace_id", "cloud_id"])];

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, nothing is said: statements of our own set names after ids.
pub struct Quiet(bool);

impl Quiet {
    /// From now on.
    pub fn new() -> Self {
        Self(QUIET.replace(true))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        QUIET.set(self.0);
    }
}

/// Version-1 calling convention for [`assets_fdw_options_altered`], whose result pgrx cannot name.
#[unsafe(no_mangle)]
#[doc(hidden)]
pub extern "C" fn pg_finfo_assets_fdw_options_altered() -> &'static pg_sys::Pg_finfo_record {
    const V1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
    &V1
}

/// The event trigger on ALTER FOREIGN TABLE and ALTER SERVER.
///
/// # Safety
/// Called by PostgreSQL, at the end of a statement.
#[unsafe(no_mangle)]
#[pg_guard]
pub unsafe extern "C-unwind" fn assets_fdw_options_altered(
    fcinfo: pg_sys::FunctionCallInfo,
) -> pg_sys::Datum {
    // SAFETY: the context of an event trigger's call is its data, and the statement a parse tree.
    unsafe {
        let statement = pg::event_trigger_statement(fcinfo, "options_altered");
        if !QUIET.get() {
            look(statement);
        }
    }
    pg_sys::Datum::from(0usize)
}

unsafe fn look(statement: *mut pg_sys::Node) {
    // SAFETY: the caller's statement, which has just run; nodes are what their tags say. Catalogue look-ups.
    unsafe {
        if pg::is_a(statement, pg_sys::NodeTag::T_AlterForeignServerStmt) {
            let statement = statement.cast::<pg_sys::AlterForeignServerStmt>();
            let server = pg_sys::get_foreign_server_oid((*statement).servername, true);
            if server != pg_sys::InvalidOid && session::is_ours(server) {
                let options = session::read_options((*pg_sys::GetForeignServer(server)).options);
                tell("server", &pg::text((*statement).servername), SERVER, (*statement).options, &options);
            }
        } else if pg::is_a(statement, pg_sys::NodeTag::T_AlterTableStmt) {
            let statement = statement.cast::<pg_sys::AlterTableStmt>();
            let flags = pg_sys::RVROption::RVR_MISSING_OK;
            let table = pg_sys::RangeVarGetRelidExtended(
                (*statement).relation,
                pg_sys::NoLock as i32,
                flags,
                None,
                std::ptr::null_mut(),
            );
            let is_foreign = |table| {
                pg_sys::get_rel_relkind(table) == pg_sys::RELKIND_FOREIGN_TABLE as std::ffi::c_char
                    && session::is_ours((*pg_sys::GetForeignTable(table)).serverid)
            };
            if table == pg_sys::InvalidOid || !is_foreign(table) {
                return;
            }
            for command in pg::nodes::<pg_sys::AlterTableCmd>((*statement).cmds) {
                let set = (*command).def.cast::<pg_sys::List>();
                match (*command).subtype {
                    pg_sys::AlterTableType::AT_GenericOptions => {
                        let options = session::read_options((*pg_sys::GetForeignTable(table)).options);
                        let name = pg::text((*(*statement).relation).relname);
                        tell("foreign table", &name, TABLE, set, &options);
                    }
                    pg_sys::AlterTableType::AT_AlterColumnGenericOptions => {
                        let number = pg_sys::get_attnum(table, (*command).name);
                        if number > 0 {
                            let options =
                                session::read_options(pg_sys::GetForeignColumnOptions(table, number));
                            tell("column", &pg::text((*command).name), COLUMN, set, &options);
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Warns of each option that a statement sets while another, which it leaves as it is, rules.
unsafe fn tell(what: &str, name: &str, ruled: &[Ruled], set: *mut pg_sys::List, options: &Options) {
    // SAFETY: a list of option nodes, as the grammar makes it.
    let changed: Vec<(String, bool)> = unsafe {
        pg::nodes::<pg_sys::DefElem>(set)
            .map(|option| {
                (pg::text((*option).defname), (*option).defaction == pg_sys::DefElemAction::DEFELEM_DROP)
            })
            .collect()
    };
    for (option, rulers) in ruled {
        if !changed.iter().any(|(changed, dropped)| changed == option && !dropped) {
            continue;
        }
        let ruler = rulers.iter().find_map(|ruler| Some((*ruler, options.get(ruler)?)));
        let Some((ruler, value)) = ruler.filter(|(ruler, _)| !changed.iter().any(|(c, _)| c == ruler)) else {
            continue;
        };
        error::report(
            PgSqlErrorCode::ERRCODE_WARNING,
            format!("option \"{option}\" of {what} \"{name}\" changes nothing: \"{ruler}\" ({value}) rules"),
        )
        .set_hint(format!("Change \"{ruler}\" with it, or drop it in the same statement: DROP {ruler}."))
        .report(PgLogLevel::WARNING);
    }
}
