//! Connections to Assets, one for each server and user mapping a backend uses. They live across
//! queries, with their tokens and what they know of object types, and are dropped when the server
//! or the mapping changes. Never shared across identities.
#![allow(unsafe_code)] // catalogue look-ups and invalidation callbacks

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use assets::client::Client;
use assets::config::{Config, Credential, Deployment, Secret, SecretSource};
use assets::error::Error;
use pgrx::pg_sys;
use pgrx::prelude::*;
use zeroize::{Zeroize, Zeroizing};

use crate::fdw::pg::text;
use crate::options::Options;
use crate::origins::{self, Origins};
use crate::shared::Member;
use crate::{error, installed, pg_compat, runtime};

/// A connection: a client of the service, and what of the server's options is not the client's.
pub struct Connection {
    /// The client.
    pub client: Arc<Client>,
    /// The foreign server's name, which facts about its service are kept by.
    pub server_name: String,
    /// Conditions that the service refused in this session, by their text.
    pub refused: RefCell<HashSet<String>>,
    /// How many values of a list the service was found to take in one query, in this session.
    pub listed: Cell<usize>,
    /// Attributes that AQL does not know by their names, each with the condition that selects the objects.
    pub unknown: RefCell<HashSet<(String, String)>>,
    /// `use_remote_estimate`
    pub remote_estimate: bool,
    /// Which site it is, as facts about its service are kept by.
    pub service: String,
    /// A mark of whose account asks, where the credential says so; facts about what an account sees are kept by it.
    pub account: Option<String>,
}

impl Connection {
    /// What has been proven of the service, as of now.
    pub fn facts(&self) -> aql::Facts {
        crate::facts::of(&self.server_name, &self.service, self.account.as_deref())
    }
}

struct Entry {
    connection: Rc<Connection>,
    /// Where it leads, and who owns the server: both may be allowed no more at the next use.
    origins: Origins,
    owner: pg_sys::Oid,
    server_hash: u32,
    mapping_hash: u32,
    /// The catalogue rows that it was made from: the server's and the mapping's.
    rows: [CatalogRow; 2],
    /// Whether they have to be looked at before the next use: this backend missed messages about
    /// what changed, as happens when others do much DDL. They say nothing of this server.
    suspect: bool,
}

/// Which version of a catalogue row it is: its place, and the transaction that wrote it.
type CatalogRow = Option<(u32, u16, pg_sys::TransactionId)>;

thread_local! {
    static ENTRIES: RefCell<HashMap<(pg_sys::Oid, pg_sys::Oid), Entry>> = RefCell::new(HashMap::new());
    static WATCHING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// The connection of `user` to `server`; makes it on first use, without sending anything. One to
/// where the administrator lets it not lead, or the mapping's secret was not set for, is an ERROR.
pub fn connect(server: pg_sys::Oid, user: pg_sys::Oid) -> Rc<Connection> {
    watch();
    let mapping = mapping_of(server, user);
    let key = (server, mapping);
    let known = ENTRIES.with_borrow(|entries| {
        entries.get(&key).map(|e| (e.connection.clone(), e.suspect, e.origins.clone(), e.owner))
    });
    if let Some((found, suspect, origins, owner)) = known {
        error::or_raise(origins.allowed_to(owner));
        if !suspect {
            return found;
        }
        let rows = catalog_rows(server, mapping);
        let kept = ENTRIES.with_borrow_mut(|entries| {
            let entry = entries.get_mut(&key).filter(|entry| entry.rows == rows);
            entry.map(|entry| entry.suspect = false).is_some()
        });
        if kept {
            return found;
        }
    }
    let entry = make(server, user, mapping, None);
    let connection = entry.connection.clone();
    ENTRIES.with_borrow_mut(|entries| entries.insert(key, entry));
    connection
}

/// The connection of the current user to the server called `name`, for SQL functions: checks
/// USAGE on the server.
pub fn connect_by_name(name: &CStr) -> Rc<Connection> {
    let (server, user) = server_by_name(name);
    connect(server, user)
}

/// The server called `name` and the current user, who may use it; a server of another wrapper is
/// an ERROR.
pub fn server_by_name(name: &CStr) -> (pg_sys::Oid, pg_sys::Oid) {
    installed::require_utf8();
    // SAFETY: catalogue look-up inside a transaction; raises an ERROR for an unknown server.
    let server = unsafe { pg_sys::get_foreign_server_oid(name.as_ptr(), false) };
    // SAFETY: no preconditions.
    let user = unsafe { pg_sys::GetUserId() };
    require_ours(server);
    require_usage(server, user);
    (server, user)
}

/// An ERROR where a role may not use a server.
pub fn require_usage(server: pg_sys::Oid, user: pg_sys::Oid) {
    if !pg_compat::may_use_server(server, user) {
        // SAFETY: a catalogue look-up inside a transaction.
        let name = unsafe { text((*pg_sys::GetForeignServer(server)).servername) };
        error::raise(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("permission denied for foreign server {name}"),
        );
    }
}

/// The connection for `check()`. Where the mapping's secret was set for elsewhere, it is one without
/// a credential, which is not kept: whatever needs none can still be tried.
pub fn connect_to_check(server: pg_sys::Oid, user: pg_sys::Oid) -> Rc<Connection> {
    let mapping = mapping_of(server, user);
    let found = Server::find(server);
    match origins::made_for(mapping, &found.name, &found.origins) {
        Ok(()) => connect(server, user),
        Err(why) => make(server, user, mapping, Some(why)).connection,
    }
}

/// Whether a server may lead to where it leads.
pub fn allowed(server: pg_sys::Oid) -> Result<(), Error> {
    let found = Server::find(server);
    found.origins.allowed_to(found.owner)
}

/// A foreign server, as the catalogue has it now.
struct Server {
    name: String,
    owner: pg_sys::Oid,
    options: Options,
    origins: Origins,
}

impl Server {
    fn find(server: pg_sys::Oid) -> Server {
        // SAFETY: a catalogue look-up inside a transaction, an ERROR where nothing is found; the
        // result lives in the current memory context.
        let (name, owner, options) = unsafe {
            let found = pg_sys::GetForeignServer(server);
            (text((*found).servername), (*found).owner, read_options((*found).options))
        };
        let origins = Origins::of(&options);
        Server { name, owner, options, origins }
    }
}

/// Whether a server is one of this wrapper's.
pub fn is_ours(server: pg_sys::Oid) -> bool {
    // SAFETY: catalogue look-ups inside a transaction; the results live in this memory context.
    unsafe {
        let wrapper = pg_sys::GetForeignDataWrapper((*pg_sys::GetForeignServer(server)).fdwid);
        let handler = pg_sys::get_func_name((*wrapper).fdwhandler);
        !handler.is_null() && CStr::from_ptr(handler) == c"assets_fdw_handler"
    }
}

/// Whether there is such a foreign server.
pub fn is_server(server: pg_sys::Oid) -> bool {
    // SAFETY: a catalogue look-up inside a transaction.
    !unsafe { pg_sys::GetForeignServerExtended(server, pg_sys::FSV_MISSING_OK as u16) }.is_null()
}

/// A server of another wrapper has other options: nothing here would make sense.
fn require_ours(server: pg_sys::Oid) {
    if !is_ours(server) {
        // SAFETY: as above.
        let server_name = unsafe { text((*pg_sys::GetForeignServer(server)).servername) };
        error::raise(
            PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            format!("\"{server_name}\" is not a server of assets_fdw"),
        );
    }
}

/// Whose account a credential is, where it says so, without telling it to who may read the facts kept by it.
fn account_of(credential: &Credential) -> Option<String> {
    let name = match credential {
        Credential::Basic { email, .. } => email,
        Credential::ClientCredentials { id, .. } => id,
        Credential::Bearer(_) | Credential::Withheld(_) => return None,
    };
    Some(format!("{:016x}", crate::facts::mark(name)))
}

/// `withheld`: why the mapping's secret must not be used; where there is no reason, it still has to have
/// been set for where the server leads.
fn make(server: pg_sys::Oid, user: pg_sys::Oid, mapping: pg_sys::Oid, withheld: Option<Error>) -> Entry {
    let Server { name: server_name, owner, options: server_options, origins } = Server::find(server);
    error::or_raise(origins.allowed_to(owner));
    let credential = match withheld {
        Some(why) => Credential::Withheld(why),
        None => {
            error::or_raise(origins::made_for(mapping, &server_name, &origins));
            // SAFETY: a catalogue look-up inside a transaction, an ERROR where nothing is found; the
            // result is a copy of our own in the current memory context.
            unsafe {
                let options = (*pg_sys::GetUserMapping(user, server)).options;
                let credential = credential(&read_options(options));
                wipe(options);
                credential
            }
        }
    };
    let account = account_of(&credential);
    let config = config(&server_options, &origins);
    let parts = [config.site.as_deref(), Some(config.api_url.as_str()), config.workspace_id.as_deref()];
    let service = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let shared = Arc::new(Member::of(server));
    let client = {
        let _inside = runtime::enter();
        error::or_raise(Client::new(config, credential, shared))
    };
    let connection = Rc::new(Connection {
        client: Arc::new(client),
        server_name,
        refused: RefCell::default(),
        listed: Cell::new(usize::MAX),
        unknown: RefCell::default(),
        remote_estimate: server_options.flag("use_remote_estimate", true),
        service,
        account,
    });
    let hash = |cache: u32, oid: pg_sys::Oid| {
        let none = pg_sys::Datum::from(0usize);
        // SAFETY: both caches have one key, an OID.
        unsafe { pg_sys::GetSysCacheHashValue(cache as i32, oid.into(), none, none, none) }
    };
    Entry {
        connection,
        origins,
        owner,
        server_hash: hash(pg_sys::SysCacheIdentifier::FOREIGNSERVEROID, server),
        mapping_hash: hash(pg_sys::SysCacheIdentifier::USERMAPPINGOID, mapping),
        rows: catalog_rows(server, mapping),
        suspect: false,
    }
}

fn catalog_rows(server: pg_sys::Oid, mapping: pg_sys::Oid) -> [CatalogRow; 2] {
    let row = |cache: u32, oid: pg_sys::Oid| {
        // SAFETY: both caches have one key, an OID; a row that was found is valid until released.
        unsafe {
            let found = pg_sys::SearchSysCache1(cache as i32, oid.into());
            let row = found.as_ref()?;
            let place = (row.t_self.ip_blkid, row.t_self.ip_posid);
            let block = u32::from(place.0.bi_hi) << 16 | u32::from(place.0.bi_lo);
            let written_by = (*row.t_data).t_choice.t_heap.t_xmin;
            pg_sys::ReleaseSysCache(found);
            Some((block, place.1, written_by))
        }
    };
    [
        row(pg_sys::SysCacheIdentifier::FOREIGNSERVEROID, server),
        row(pg_sys::SysCacheIdentifier::USERMAPPINGOID, mapping),
    ]
}

/// The mapping that `user` has for `server`: its own, or PUBLIC's.
pub fn find_mapping(server: pg_sys::Oid, user: pg_sys::Oid) -> Option<pg_sys::Oid> {
    let none = pg_sys::Datum::from(0usize);
    [user, pg_sys::InvalidOid].into_iter().find_map(|owner| {
        // SAFETY: the cache's keys are the user's and the server's OIDs; column 1 of the catalogue
        // is the mapping's OID.
        let oid = unsafe {
            pg_sys::GetSysCacheOid(
                pg_sys::SysCacheIdentifier::USERMAPPINGUSERSERVER as i32,
                pg_sys::Anum_pg_user_mapping_oid as pg_sys::AttrNumber,
                owner.into(),
                server.into(),
                none,
                none,
            )
        };
        (oid != pg_sys::InvalidOid).then_some(oid)
    })
}

/// The mapping, or an ERROR that names the statement that is missing.
fn mapping_of(server: pg_sys::Oid, user: pg_sys::Oid) -> pg_sys::Oid {
    if let Some(found) = find_mapping(server, user) {
        return found;
    }
    let (message, hint) = missing_mapping(server, user);
    error::raise_hint(PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT, message, hint)
}

/// What to say, and what to write, where a role has no user mapping.
pub fn missing_mapping(server: pg_sys::Oid, user: pg_sys::Oid) -> (String, String) {
    // SAFETY: catalogue look-ups; the names live in the current memory context.
    let (server_name, user_name) = unsafe {
        (text((*pg_sys::GetForeignServer(server)).servername), text(pg_sys::GetUserNameFromId(user, false)))
    };
    let (server_ident, user_ident) = (tables::ddl::ident(&server_name), tables::ddl::ident(&user_name));
    (
        format!("role \"{user_name}\" has no user mapping for server \"{server_name}\""),
        format!(
            "CREATE USER MAPPING FOR {user_ident} SERVER {server_ident} OPTIONS (email '…', api_token '…'); \
             or FOR PUBLIC, for every role that has none of its own."
        ),
    )
}

fn config(options: &Options, origins: &Origins) -> Config {
    let Origins { site, api_url, auth_url } = origins.clone();
    Config {
        site,
        api_url,
        auth_url,
        workspace_id: options.get("workspace_id").map(str::to_owned),
        cloud_id: options.get("cloud_id").map(str::to_owned),
        ca_pem: options.get("ca_file").map(read_ca_file),
        deployment: match options.get("deployment") {
            Some("datacenter") => Deployment::DataCenter,
            _ => Deployment::Cloud,
        },
        page_size: options.whole("page_size", 500) as u32,
        max_in_flight: options.whole("max_in_flight", 8) as u32,
        requests_per_minute: options.whole("requests_per_minute", 1000) as u32,
        connect_timeout: options.interval("connect_timeout", Duration::from_secs(10)),
        request_timeout: options.interval("request_timeout", Duration::from_secs(60)),
        retry_timeout: options.interval("retry_timeout", Duration::from_secs(120)),
        max_response_bytes: options.bytes("max_response_bytes", 64 << 20),
    }
}

fn read_ca_file(path: &str) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| {
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_UNDEFINED_FILE,
            format!("could not read ca_file \"{path}\": {e}"),
            "The file that the server option ca_file names must be readable by the database server's operating system user.",
        )
    })
}

fn credential(options: &Options) -> Credential {
    let secret = |name: &str| {
        let inline = options.get(name).map(|v| SecretSource::Inline(Secret::new(v.to_owned())));
        let file = || options.get(&format!("{name}_file")).map(|p| SecretSource::File(p.into()));
        inline.or_else(file)
    };
    let word = |name: &str| options.get(name).unwrap_or_default().to_owned();
    if let Some(token) = secret("api_token") {
        return Credential::Basic { email: word("email"), token };
    }
    if let Some(secret) = secret("client_secret") {
        return Credential::ClientCredentials { id: word("client_id"), secret };
    }
    if let Some(token) = secret("access_token") {
        return Credential::Bearer(token);
    }
    error::raise_hint(
        PgSqlErrorCode::ERRCODE_FDW_OPTION_NAME_NOT_FOUND,
        "the user mapping holds no credential",
        "ALTER USER MAPPING … OPTIONS (ADD email '…', ADD api_token '…').",
    )
}

/// Reads a list of options as the catalogues hold it.
///
/// # Safety
/// `list` is null or a List of DefElem nodes.
pub unsafe fn read_options(list: *mut pg_sys::List) -> Options {
    installed::require_utf8();
    // SAFETY: the caller's promise; defGetString gives a C string for each.
    unsafe {
        crate::fdw::pg::nodes::<pg_sys::DefElem>(list)
            .map(|def| (text((*def).defname), Zeroizing::new(text(pg_sys::defGetString(def)))))
            .collect()
    }
}

/// Zeroes the values of a list of options that nobody reads any more.
///
/// # Safety
/// `list` is null or a List of DefElem nodes with String values, of our own.
unsafe fn wipe(list: *mut pg_sys::List) {
    // SAFETY: the caller's promise; the text of a String node is what defGetString gives.
    unsafe {
        for def in crate::fdw::pg::nodes::<pg_sys::DefElem>(list) {
            let value = pg_sys::defGetString(def);
            let length = CStr::from_ptr(value).to_bytes().len();
            std::slice::from_raw_parts_mut(value.cast::<u8>(), length).zeroize();
        }
    }
}

fn watch() {
    if WATCHING.replace(true) {
        return;
    }
    let none = pg_sys::Datum::from(0usize);
    // SAFETY: registered once a backend; the callback only marks entries of this thread.
    unsafe {
        pg_sys::CacheRegisterSyscacheCallback(
            pg_sys::SysCacheIdentifier::FOREIGNSERVEROID as i32,
            Some(server_changed),
            none,
        );
        pg_sys::CacheRegisterSyscacheCallback(
            pg_sys::SysCacheIdentifier::USERMAPPINGOID as i32,
            Some(mapping_changed),
            none,
        );
    }
}

/// Scans under way keep their client through their own reference.
#[pg_guard]
unsafe extern "C-unwind" fn server_changed(_arg: pg_sys::Datum, _cache: i32, hash: u32) {
    forget(hash, |entry| entry.server_hash);
}

#[pg_guard]
unsafe extern "C-unwind" fn mapping_changed(_arg: pg_sys::Datum, _cache: i32, hash: u32) {
    forget(hash, |entry| entry.mapping_hash);
}

/// A hash of 0 stands for every row.
fn forget(hash: u32, of: impl Fn(&Entry) -> u32) {
    ENTRIES.with(|entries| {
        // Never borrowed already: nothing of PostgreSQL runs while the map is read or written.
        let mut entries = entries.borrow_mut();
        if hash == 0 {
            entries.values_mut().for_each(|entry| entry.suspect = true);
        } else {
            entries.retain(|_, entry| of(entry) != hash);
        }
    });
}
