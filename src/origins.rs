//! Where a connection may lead: the hosts that the administrator allows, and the origins that a user
//! mapping's secret was set for (docs/security.md).
#![allow(unsafe_code)] // the event trigger's statement, catalogues

use std::ffi::CStr;

use assets::error::{Error, Kind};
use assets::{hosts, option};
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::fdw::pg;
use crate::options::{self, Options};
use crate::sql::spi;
use crate::{error, gucs, session};

/// Every origin that a connection sends to, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origins {
    /// `site`
    pub site: Option<String>,
    /// `api_url`
    pub api_url: String,
    /// `auth_url`
    pub auth_url: String,
}

impl Origins {
    /// Those of a server's options.
    pub fn of(options: &Options) -> Self {
        let origin = |name: &str| options.get(name).and_then(|v| option::origin(v).ok());
        let site = origin("site");
        // A simulator or a tunnel on this machine serves everything from one origin.
        let local = site.as_deref().filter(|s| option::is_loopback(option::host(s))).map(str::to_owned);
        let or_local = |name: &str, default: &str| {
            origin(name).or_else(|| local.clone()).unwrap_or_else(|| default.to_owned())
        };
        Origins {
            api_url: or_local("api_url", "https://api.atlassian.com"),
            auth_url: or_local("auth_url", "https://auth.atlassian.com"),
            site,
        }
    }

    fn each(&self) -> impl Iterator<Item = &str> {
        self.site.as_deref().into_iter().chain([self.api_url.as_str(), self.auth_url.as_str()])
    }

    /// Whether the administrator lets a server of `owner` lead there.
    ///
    /// # Errors
    /// [`Kind::NotAllowed`]: names the host and the setting.
    pub fn allowed_to(&self, owner: pg_sys::Oid) -> Result<(), Error> {
        // SAFETY: a catalogue look-up inside a transaction.
        let by_superuser = unsafe { pg_sys::superuser_arg(owner) };
        self.each().try_for_each(|origin| host_allowed(option::host(origin), by_superuser))
    }

    /// For a person: the origins in a row.
    fn shown(&self) -> String {
        let mut shown: Vec<&str> = self.each().collect();
        shown.dedup();
        shown.join(", ")
    }
}

/// Whether a server may lead to a host; `by_superuser`: the server belongs to a superuser.
///
/// # Errors
/// [`Kind::NotAllowed`]: names the host and the setting.
pub fn host_allowed(host: &str, by_superuser: bool) -> Result<(), Error> {
    let loopback = option::is_loopback(host);
    // The setting is a C string in the server's encoding; host names are ASCII.
    let list = gucs::ALLOWED_HOSTS.get().unwrap_or_default();
    if (loopback && by_superuser) || hosts::allows(&list.to_string_lossy(), host) {
        return Ok(());
    }
    let message = format!("host \"{host}\" is not one that assets_fdw.allowed_hosts names");
    Err(Error::new(Kind::NotAllowed, message).with_hint(match loopback {
        true => {
            "This machine itself is allowed to servers that belong to a superuser; a superuser can also add the host to \
             assets_fdw.allowed_hosts."
        }
        false => "A superuser can add the host to assets_fdw.allowed_hosts, in postgresql.conf or with ALTER SYSTEM.",
    }))
}

/// Whether the secret of a mapping was set for these origins.
///
/// # Errors
/// [`Kind::Unauthorized`]: says for which it was set, and what to write.
pub fn made_for(mapping: pg_sys::Oid, server_name: &str, origins: &Origins) -> Result<(), Error> {
    let found = recorded(server_name, role_of(mapping));
    if found.as_ref() == Some(origins) {
        return Ok(());
    }
    let detail = match &found {
        Some(others) => {
            format!("It was set for {}; the server leads to {} now.", others.shown(), origins.shown())
        }
        None => format!(
            "Nothing tells for which origins it was set; the server leads to {} now.",
            origins.shown()
        ),
    };
    Err(Error::new(
        Kind::Unauthorized,
        format!("the secret in the user mapping was not set for where server \"{server_name}\" leads now"),
    )
    .with_detail(detail)
    .with_hint(format!(
        "If it may be sent there, set it again: ALTER USER MAPPING FOR … SERVER {server} OPTIONS (SET api_token '…'), or \
         whichever secret the mapping has. A superuser can say so for every mapping of the server with SELECT \
         assets_fdw.trust_server({literal}).",
        server = tables::ddl::ident(server_name),
        literal = tables::ddl::literal(server_name),
    )))
}

/// Columns of the table (sql/15-origins.sql), from 0.
const SERVER: usize = 0;
const ROLE_ID: usize = 1;
const SITE: usize = 4;
const API_URL: usize = 5;
const AUTH_URL: usize = 6;
const COLUMNS: usize = 7;

/// What is kept about the mapping of a role (PUBLIC's: the invalid OID) for a server.
fn recorded(server_name: &str, role: pg_sys::Oid) -> Option<Origins> {
    let table = pg::own_table(c"mapping_origin")?;
    let mut found = None;
    // SAFETY: the extension's own table, of these columns.
    unsafe {
        pg::read_table(table, COLUMNS, |row| {
            if row.oid(ROLE_ID) == Some(role) && row.name(SERVER).as_deref() == Some(server_name) {
                found = row.text(API_URL).zip(row.text(AUTH_URL)).map(|(api_url, auth_url)| Origins {
                    site: row.text(SITE),
                    api_url,
                    auth_url,
                });
            }
        });
    }
    found
}

/// Whose mapping it is; PUBLIC's is the invalid OID's.
fn role_of(mapping: pg_sys::Oid) -> pg_sys::Oid {
    // SAFETY: a catalogue look-up; the row lives until it is released.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::USERMAPPINGOID as i32;
        let row = pg_sys::SearchSysCache1(cache, mapping.into());
        if row.is_null() {
            error::raise(PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT, "the user mapping was just dropped");
        }
        let role = (*pg_sys::GETSTRUCT(row).cast::<pg_sys::FormData_pg_user_mapping>()).umuser;
        pg_sys::ReleaseSysCache(row);
        role
    }
}

/// Keeps that the secret of a mapping was set for where its server leads now.
fn record(mapping: pg_sys::Oid, origins: &Origins) {
    // The table's trigger replaces what was known.
    spi::as_extension(|| {
        spi::execute(
            "INSERT INTO assets_fdw.mapping_origin (server, role_id, role, mapping, site, api_url, auth_url)
             SELECT m.srvname, m.umuser, m.usename, m.umid, $2, $3, $4
             FROM pg_catalog.pg_user_mappings AS m WHERE m.umid OPERATOR(pg_catalog.=) $1",
            &[
                mapping.into(),
                origins.site.as_deref().into(),
                origins.api_url.as_str().into(),
                origins.auth_url.as_str().into(),
            ],
        )
    });
}

/// Version-1 calling convention for [`assets_fdw_mapping_made`], whose result pgrx cannot name.
#[unsafe(no_mangle)]
#[doc(hidden)]
pub extern "C" fn pg_finfo_assets_fdw_mapping_made() -> &'static pg_sys::Pg_finfo_record {
    const V1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
    &V1
}

/// The event trigger on CREATE and ALTER USER MAPPING. Only a statement that sets the secret counts:
/// a server's owner may alter everybody's mapping, and must not renew another's trust by changing
/// the e-mail address beside a secret that is not the owner's.
///
/// # Safety
/// Called by PostgreSQL, at the end of a statement.
#[unsafe(no_mangle)]
#[pg_guard]
pub unsafe extern "C-unwind" fn assets_fdw_mapping_made(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the context of an event trigger's call is its data, and the statement a parse tree.
    unsafe {
        let statement = pg::event_trigger_statement(fcinfo, "mapping_made");
        if sets_a_secret(statement) {
            // With IF NOT EXISTS, none where nothing was made.
            let made = spi::as_extension(|| {
                spi::query(
                    "SELECT c.objid, m.srvid FROM pg_catalog.pg_event_trigger_ddl_commands() AS c
                     JOIN pg_catalog.pg_user_mappings AS m ON m.umid OPERATOR(pg_catalog.=) c.objid
                     WHERE c.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_user_mapping'::pg_catalog.regclass",
                    &[],
                    |row| (row.must::<pg_sys::Oid>(1), row.must::<pg_sys::Oid>(2)),
                )
            });
            for (mapping, server) in made {
                // Another wrapper's mappings are nobody's business here.
                if session::is_ours(server) {
                    record(mapping, &of_server(server));
                }
            }
        }
    }
    pg_sys::Datum::from(0usize)
}

unsafe fn sets_a_secret(statement: *mut pg_sys::Node) -> bool {
    // SAFETY: the caller's statement; nodes are what their tags say.
    unsafe {
        if pg::is_a(statement, pg_sys::NodeTag::T_CreateUserMappingStmt) {
            return true;
        }
        pg::is_a(statement, pg_sys::NodeTag::T_AlterUserMappingStmt)
            && pg::nodes::<pg_sys::DefElem>((*statement.cast::<pg_sys::AlterUserMappingStmt>()).options).any(
                |option| {
                    (*option).defaction != pg_sys::DefElemAction::DEFELEM_DROP
                        && options::is_secret(&pg::text((*option).defname))
                },
            )
    }
}

fn of_server(server: pg_sys::Oid) -> Origins {
    // SAFETY: a catalogue look-up; the result lives in this memory context.
    Origins::of(&unsafe { session::read_options((*pg_sys::GetForeignServer(server)).options) })
}

/// `assets_fdw.trust_server(server name)`: every mapping of the server may be used where it leads
/// now. For superusers; gives the number of mappings.
#[pg_extern(sql = false)]
fn trust_server(server: &CStr) -> i64 {
    spi::refuse_read_only("trust_server()");
    // SAFETY: no preconditions.
    if !unsafe { pg_sys::superuser() } {
        error::raise(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, "only a superuser may trust a server");
    }
    let (server, _) = session::server_by_name(server);
    let origins = of_server(server);
    let mappings: Vec<pg_sys::Oid> = spi::as_extension(|| {
        spi::query(
            "SELECT m.umid FROM pg_catalog.pg_user_mappings AS m WHERE m.srvid OPERATOR(pg_catalog.=) $1",
            &[server.into()],
            |row| row.must(1),
        )
    });
    mappings.iter().for_each(|mapping| record(*mapping, &origins));
    mappings.len() as i64
}

/// Checks what a statement gives for a server's origins. A superuser is only warned: a restore must not
/// stop over a setting, and no connection is made in any case.
pub fn check_when_set(origin: &str) {
    let Ok(origin) = option::origin(origin) else { return };
    // SAFETY: no preconditions.
    let superuser = unsafe { pg_sys::superuser() };
    let Err(refusal) = host_allowed(option::host(&origin), superuser) else { return };
    if !superuser {
        error::service(&refusal);
    }
    error::warn(&refusal);
}
