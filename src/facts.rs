//! What was proven of a service (`assets_fdw.service_facts`), as the planner uses it: read once,
//! kept until the table changes, never longer than the facts last.
//!
//! A row that contradicts a proven fact is an ERROR, and takes back with it whatever the transaction
//! has done. So the fact is marked in this backend's memory, which no rollback reaches, and a
//! background worker, whose transaction is its own, writes the revocation for everybody else: of these facts
//! as they were used here, of this server, and of no others, which it is told by numbers. Where the server
//! has no worker to spare, and on a standby, which writes nothing, each backend that meets a contradiction
//! forgets for itself. So it does where the evidence may be made up: a foreign table says what its columns
//! show, and a role that may use the server could have one say anything. Only a table and a role that may
//! act for the server's owner speak for everybody.
#![allow(unsafe_code)] // catalogue and table access, user ids, a worker's entry point

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use aql::Facts;
use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder, SignalWakeFlags};
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::error;
use crate::fdw::pg;

/// One fact as the table holds it.
struct Fact {
    server: String,
    service: Option<String>,
    name: String,
    holds: bool,
    learned_at: i64,
    expires_at: i64,
}

/// Columns of the table (sql/40-facts.sql), from 0.
const SERVER: usize = 0;
const FACT: usize = 1;
const HOLDS: usize = 2;
const LEARNED_AT: usize = 4;
const EXPIRES_AT: usize = 5;
const SERVICE: usize = 6;
const COLUMNS: usize = 7;

thread_local! {
    /// What the table held when it was last read.
    static TABLE: RefCell<Option<Rc<[Fact]>>> = const { RefCell::new(None) };
    static RELATION: Cell<pg_sys::Oid> = const { Cell::new(pg_sys::InvalidOid) };
    static WATCHING: Cell<bool> = const { Cell::new(false) };
    /// Facts that a row contradicted, by server and name, with the time when they had been learned.
    static REVOKED: RefCell<HashMap<(String, String), i64>> = RefCell::default();
}

/// What is known of the service behind a server: facts that have not expired, that were not revoked,
/// and that were learned of the same site; what depends on what an account sees, with the same account.
pub fn of(server: &str, service: &str, account: Option<&str>) -> Facts {
    let mut known = Facts::default();
    // SAFETY: no preconditions.
    let now = unsafe { pg_sys::GetCurrentTimestamp() };
    for fact in table().iter() {
        let void = fact.server != server
            || fact
                .service
                .as_deref()
                .is_some_and(|of| Some(of) != learned_of(&fact.name, service, account).as_deref())
            || fact.expires_at <= now
            || is_revoked(fact);
        if !void {
            known.learn(&fact.name, fact.holds);
        }
    }
    known
}

/// What a fact is kept by: the site, and the account where it is one account's. None where no account is known.
fn learned_of(name: &str, service: &str, account: Option<&str>) -> Option<String> {
    match aql::facts::is_one_accounts(name) {
        true => account.map(|account| format!("{service} as {account}")),
        false => Some(service.to_owned()),
    }
}

fn is_revoked(fact: &Fact) -> bool {
    REVOKED.with_borrow(|revoked| {
        !revoked.is_empty()
            && revoked
                .get(&(fact.server.clone(), fact.name.clone()))
                .is_some_and(|learned_at| fact.learned_at <= *learned_at)
    })
}

/// Has cached plans made anew when the facts change: to be called while planning.
///
/// # Safety
/// `root` is the planner's.
pub unsafe fn depend(root: *mut pg_sys::PlannerInfo) {
    if let Some(relation) = relation() {
        // SAFETY: the caller's promise; the list lives in the planner's memory context, as its own.
        unsafe {
            let glob = (*root).glob;
            if !pg_sys::list_member_oid((*glob).relationOids, relation) {
                (*glob).relationOids = pg_sys::lappend_oid((*glob).relationOids, relation);
            }
        }
    }
}

fn relation() -> Option<pg_sys::Oid> {
    let found = pg::own_table(c"service_facts");
    RELATION.set(found.unwrap_or(pg_sys::InvalidOid));
    found
}

fn table() -> Rc<[Fact]> {
    if !WATCHING.replace(true) {
        // SAFETY: registered once a backend; the callback only forgets what was read.
        unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(changed), pg_sys::Datum::from(0usize)) };
    }
    if let Some(known) = TABLE.with_borrow(Clone::clone) {
        return known;
    }
    // SAFETY: the relation was just found.
    let read: Rc<[Fact]> = relation().map(|found| unsafe { read(found) }).unwrap_or_default().into();
    TABLE.set(Some(read.clone()));
    read
}

#[pg_guard]
unsafe extern "C-unwind" fn changed(_arg: pg_sys::Datum, relation: pg_sys::Oid) {
    if relation == pg_sys::InvalidOid || relation == RELATION.get() || RELATION.get() == pg_sys::InvalidOid {
        // Never borrowed already: nothing of PostgreSQL runs while it is.
        TABLE.set(None);
    }
}

/// # Safety
/// `relation` is the table of sql/40-facts.sql.
unsafe fn read(relation: pg_sys::Oid) -> Vec<Fact> {
    let mut facts = Vec::new();
    // SAFETY: the caller's promise.
    unsafe {
        pg::read_table(relation, COLUMNS, |row| {
            facts.push(Fact {
                server: row.name(SERVER).unwrap_or_default(),
                service: row.text(SERVICE),
                name: row.text(FACT).unwrap_or_default(),
                holds: row.boolean(HOLDS).unwrap_or_default(),
                learned_at: row.timestamp(LEARNED_AT).unwrap_or_default(),
                expires_at: row.timestamp(EXPIRES_AT).unwrap_or_default(),
            });
        });
    }
    facts
}

/// `assets_fdw.forget_facts()`: has every session read the table again, from the commit on.
#[pg_extern(sql = false)]
fn forget_facts() {
    if let Some(relation) = relation() {
        // SAFETY: the relation exists; the message is sent when the transaction commits.
        unsafe { pg_sys::CacheInvalidateRelcacheByRelid(relation) };
    }
}

/// What was learned, for [`record`].
pub struct Learned {
    /// A fact's or a rule's name.
    pub name: String,
    /// Whether it holds.
    pub holds: bool,
    /// On what grounds.
    pub detail: String,
}

/// Whether the current user may record facts of a server: as its owner.
pub fn may_record(server: pg_sys::Oid) -> bool {
    // SAFETY: catalogue look-ups inside a transaction.
    unsafe {
        let owner = (*pg_sys::GetForeignServer(server)).owner;
        !pg_sys::XactReadOnly && pg_sys::has_privs_of_role(pg_sys::GetUserId(), owner)
    }
}

/// Writes what was learned, with the extension's rights. The caller has asked [`may_record`].
pub fn record(server: &str, service: &str, account: Option<&str>, learned: &[Learned]) {
    let _elevated = Elevated::new();
    for fact in learned {
        let Some(service) = learned_of(&fact.name, service, account) else { continue };
        run(
            "INSERT INTO assets_fdw.service_facts (server, service, fact, holds, detail, learned_at)
             VALUES ($1::pg_catalog.name, $2, $3, $4, $5, pg_catalog.clock_timestamp())
             ON CONFLICT (server, fact) DO UPDATE
                SET service = excluded.service, holds = excluded.holds, detail = excluded.detail,
                    learned_at = excluded.learned_at, expires_at = excluded.expires_at",
            &[
                server.into(),
                service.as_str().into(),
                fact.name.as_str().into(),
                fact.holds.into(),
                fact.detail.as_str().into(),
            ],
        );
    }
}

fn run(sql: &str, args: &[pgrx::datum::DatumWithOid]) {
    if let Err(e) = Spi::run_with_args(sql, args) {
        error::raise(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, format!("service_facts: {e}"));
    }
}

/// The rights of the bootstrap superuser, for statements of our own, fully qualified.
struct Elevated {
    user: pg_sys::Oid,
    context: i32,
}

impl Elevated {
    fn new() -> Self {
        let (mut user, mut context) = (pg_sys::InvalidOid, 0);
        // SAFETY: reads and sets this backend's user id; an ERROR that unwinds past the guard ends the
        // transaction, which puts it back too.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
            pg_sys::SetUserIdAndSecContext(
                pg_sys::Oid::from(pg_sys::BOOTSTRAP_SUPERUSERID),
                context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32,
            );
        }
        Self { user, context }
    }
}

impl Drop for Elevated {
    fn drop(&mut self) {
        // SAFETY: what `new` found.
        unsafe { pg_sys::SetUserIdAndSecContext(self.user, self.context) };
    }
}

/// What comes of [`revoke`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// A worker writes it for everybody.
    ForAll,
    /// This session relies on it no more.
    Here,
}

impl Revoked {
    /// For a hint, about a server.
    pub fn text(self, server: &str) -> String {
        let again = format!("assets_fdw.verify_pushdown({})", tables::ddl::literal(server));
        match self {
            Revoked::ForAll => format!("The proof is revoked; {again} makes a new one."),
            Revoked::Here => format!(
                "This session relies on the proof no more, others do: the server's owner can have {again} look again."
            ),
        }
    }
}

/// Takes facts back, for a reason in a few words: at once in this backend, and for everybody by a
/// worker of its own, whatever becomes of the transaction under way. `table_owner` owns the foreign table
/// that the evidence is of.
pub fn revoke(server: &str, table_owner: pg_sys::Oid, names: &[impl AsRef<str>], why: &str) -> Revoked {
    let table = table();
    let mut used = Vec::new();
    for name in names.iter().map(AsRef::as_ref) {
        let fact = table.iter().find(|f| f.server == server && f.name == name);
        let learned_at = fact.map_or(i64::MAX, |f| f.learned_at);
        let before = REVOKED
            .with_borrow_mut(|revoked| revoked.insert((server.to_owned(), name.to_owned()), learned_at));
        // Once is enough, whatever statements that began before it meet.
        if fact.is_some() && before != Some(learned_at) {
            used.push(Mark { learned_at, name: mark(name) });
        }
    }
    match found(server).filter(|server| may_revoke(*server, table_owner)) {
        Some(server) => {
            // Two fit into what a worker can be told, with a reason.
            used.chunks(2).for_each(|marks| start(server, marks, why));
            Revoked::ForAll
        }
        None => Revoked::Here,
    }
}

fn found(server: &str) -> Option<pg_sys::Oid> {
    // SAFETY: a catalogue look-up inside a transaction; the name is in the database's encoding.
    let found = unsafe { pg_sys::get_foreign_server_oid(pg::to_server(server), true) };
    (found != pg_sys::InvalidOid).then_some(found)
}

fn may_revoke(server: pg_sys::Oid, table_owner: pg_sys::Oid) -> bool {
    // SAFETY: catalogue look-ups inside a transaction.
    unsafe {
        // On a standby a worker would wait, in a slot that others need, until it is promoted.
        if pg_sys::RecoveryInProgress() || table_owner == pg_sys::InvalidOid {
            return false;
        }
        let owner = (*pg_sys::GetForeignServer(server)).owner;
        [pg_sys::GetUserId(), table_owner].iter().all(|role| pg_sys::has_privs_of_role(*role, owner))
    }
}

/// Which fact of a server is meant: one that was learned then. Names are longer than what a worker can be
/// told, and may hold anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    learned_at: i64,
    name: u64,
}

/// FNV-1a: the same in every process and every version, and no more than that is asked of it.
pub fn mark(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn start(server: pg_sys::Oid, marks: &[Mark], why: &str) {
    // SAFETY: no preconditions.
    let database = unsafe { pg_sys::MyDatabaseId }.to_u32();
    let marks: Vec<String> = marks.iter().map(|m| format!("{:x}.{:x}", m.learned_at, m.name)).collect();
    // Encodings differ between databases, and what is cut may be cut anywhere.
    let why: String = why.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect();
    let mut told = format!("{database:x} {:x} {} {why}", server.to_u32(), marks.join(","));
    told.truncate(127);
    let _ = BackgroundWorkerBuilder::new("assets_fdw revocation of a fact")
        .set_type("assets_fdw revocation")
        .set_library("assets_fdw")
        .set_function("assets_fdw_revoke_main")
        .enable_spi_access()
        .set_extra(&told)
        .load_dynamic();
}

/// What [`start`] told: database, server, facts, reason.
fn understood(told: &str) -> Option<(u32, u32, Vec<Mark>, &str)> {
    let mut words = told.splitn(4, ' ');
    let mut number = || u32::from_str_radix(words.next()?, 16).ok();
    let (database, server) = (number()?, number()?);
    let marks = words.next()?.split(',').map(|mark| {
        let (learned_at, name) = mark.split_once('.')?;
        let learned_at = i64::from_str_radix(learned_at, 16).ok()?;
        Some(Mark { learned_at, name: u64::from_str_radix(name, 16).ok()? })
    });
    Some((database, server, marks.collect::<Option<_>>()?, words.next().unwrap_or_default()))
}

/// The worker that writes one revocation.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn assets_fdw_revoke_main(_arg: pg_sys::Datum) {
    BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGTERM);
    let told = BackgroundWorker::get_extra().to_owned();
    let Some((database, server, marks, why)) = understood(&told) else { return };
    BackgroundWorker::connect_worker_to_spi_by_oid(Some(pg_sys::Oid::from(database)), None);
    BackgroundWorker::transaction(|| {
        // SAFETY: a catalogue look-up inside a transaction.
        let server = unsafe {
            let found = pg_sys::GetForeignServerExtended(server.into(), pg_sys::FSV_MISSING_OK as _);
            (!found.is_null()).then(|| pg::text((*found).servername))
        };
        let Some(server) = server else { return };
        let detail = format!("revoked: {why}");
        // As the table is now: what has been proven anew since stays.
        for fact in table().iter().filter(|fact| fact.holds && fact.server == server) {
            if !marks.contains(&Mark { learned_at: fact.learned_at, name: mark(&fact.name) }) {
                continue;
            }
            run(
                "UPDATE assets_fdw.service_facts SET holds = false, detail = $3,
                        learned_at = pg_catalog.clock_timestamp(), expires_at = DEFAULT
                 WHERE server OPERATOR(pg_catalog.=) $1::pg_catalog.name AND fact OPERATOR(pg_catalog.=) $2 AND holds",
                &[server.as_str().into(), fact.name.as_str().into(), detail.as_str().into()],
            );
        }
    });
}
