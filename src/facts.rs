//! What was proven of a service (`assets_fdw.service_facts`), as the planner uses it: read once,
//! kept until the table changes, never longer than the facts last.
//!
//! A row that contradicts a proven fact is an ERROR, and takes back with it whatever the transaction
//! has done. So the fact is marked in this backend's memory, which no rollback reaches, and a
//! background worker, whose transaction is its own, writes the revocation for everybody else. Where
//! the server has no worker to spare, each backend that meets a contradiction forgets for itself.
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
/// and that were learned of the same site.
pub fn of(server: &str, service: &str) -> Facts {
    let mut known = Facts::default();
    // SAFETY: no preconditions.
    let now = unsafe { pg_sys::GetCurrentTimestamp() };
    for fact in table().iter() {
        let void = fact.server != server
            || fact.service.as_deref().is_some_and(|of| of != service)
            || fact.expires_at <= now
            || is_revoked(fact);
        if !void {
            known.learn(&fact.name, fact.holds);
        }
    }
    known
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
pub fn record(server: &str, service: &str, learned: &[Learned]) {
    let _elevated = Elevated::new();
    for fact in learned {
        run(
            "INSERT INTO assets_fdw.service_facts (server, service, fact, holds, detail, learned_at)
             VALUES ($1::pg_catalog.name, $2, $3, $4, $5, pg_catalog.clock_timestamp())
             ON CONFLICT (server, fact) DO UPDATE
                SET service = excluded.service, holds = excluded.holds, detail = excluded.detail,
                    learned_at = excluded.learned_at, expires_at = excluded.expires_at",
            &[
                server.into(),
                service.into(),
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

/// Takes facts back, for a reason in a few words: at once in this backend, and for everybody by a
/// worker of its own, whatever becomes of the transaction under way.
pub fn revoke(server: &str, names: &[&str], why: &str) {
    let table = table();
    for name in names {
        let fact = table.iter().find(|f| f.server == server && f.name == *name);
        let learned_at = fact.map_or(i64::MAX, |f| f.learned_at);
        REVOKED
            .with_borrow_mut(|revoked| revoked.insert((server.to_owned(), (*name).to_owned()), learned_at));
        // SAFETY: no preconditions.
        let database = unsafe { pg_sys::MyDatabaseId }.to_u32();
        // 127 bytes are all that a worker can be told; the reason is given as far as there is room.
        let told = format!("{database}\n{server}\n{name}\n{why}");
        let cut = (0..=told.len().min(127)).rev().find(|n| told.is_char_boundary(*n)).unwrap_or(0);
        let _ = BackgroundWorkerBuilder::new("assets_fdw revocation of a fact")
            .set_type("assets_fdw revocation")
            .set_library("assets_fdw")
            .set_function("assets_fdw_revoke_main")
            .enable_spi_access()
            .set_extra(&told[..cut])
            .load_dynamic();
    }
}

/// The worker that writes one revocation.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn assets_fdw_revoke_main(_arg: pg_sys::Datum) {
    BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGTERM);
    let told = BackgroundWorker::get_extra().to_owned();
    let mut words = told.split('\n');
    let database = words.next().and_then(|oid| oid.parse::<u32>().ok());
    let (Some(database), Some(server), Some(name)) = (database, words.next(), words.next()) else { return };
    let detail = format!("revoked: {}", words.next().unwrap_or_default());
    BackgroundWorker::connect_worker_to_spi_by_oid(Some(pg_sys::Oid::from(database)), None);
    BackgroundWorker::transaction(|| {
        run(
            "UPDATE assets_fdw.service_facts SET holds = false, detail = $3,
                    learned_at = pg_catalog.clock_timestamp(), expires_at = DEFAULT
             WHERE server OPERATOR(pg_catalog.=) $1::pg_catalog.name AND fact OPERATOR(pg_catalog.=) $2 AND holds",
            &[server.into(), name.into(), detail.as_str().into()],
        );
    });
}
