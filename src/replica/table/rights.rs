//! Whose code a run executes. A run is a process of the job's owner, and whatever its statements touch on the way
//! (triggers, CHECKs, defaults, index expressions, casts, what a foreign key or a rule leads to) has that role's
//! rights. So nothing is read or written before this is certain: the tables are of roles that the owner acts for,
//! and every function is one of those roles', or a superuser's. It is looked at in the transaction that uses the
//! tables, under locks that keep others from adding to them.
//!
//! Code belongs to whom its function belongs: what a trusted function does is its owner's decision. So the search
//! ends at functions. Most tables have no code at all, and that is seen in the relation cache, without a statement.
#![allow(unsafe_code)] // locks, and a look into the relation cache

use std::cell::RefCell;
use std::collections::HashSet;

use pgrx::PgRelation;
use pgrx::pg_sys;
use pgrx::prelude::*;
use tables::ddl::ident;

use super::triggers;
use crate::error;
use crate::replica::kept::jobs::{self, Job};
use crate::sql::roles::acts_for;
use crate::sql::spi::{over_catalogues, query, query_now};

/// What a run reads and writes.
pub struct Tables<'a> {
    /// Whom it runs as.
    pub owner: pg_sys::Oid,
    /// The replica.
    pub target: pg_sys::Oid,
    /// The replica's name, for messages.
    pub name: &'a str,
    /// The table of former versions.
    pub history: Option<pg_sys::Oid>,
}

/// What is done to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// They are only read: nobody but their owners could add what is executed then.
    Read,
    /// They are written.
    Write,
}

/// The job as it is now, kept, its tables locked for writing to the end of the transaction; none where it is gone. An
/// ERROR where the run would execute others' code.
pub fn hold(job: &Job) -> Option<Job> {
    lock(job.target, pg_sys::RowExclusiveLock);
    let job = jobs::find_and_keep(job.target)?;
    if let Some(history) = job.history {
        lock(history, pg_sys::RowExclusiveLock);
    }
    require(&Tables::of(&job), Use::Write);
    if job.owner != user() {
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("{} was taken over by another role meanwhile", job.name),
            "The next refresh is that role's.",
        );
    }
    // Names are read after what keeps them was locked.
    Some(Job { name: job.name_now(), ..job })
}

/// The replica's name at this moment, for statements that read it; inside a transaction. An ERROR where the table
/// is gone, or where reading it would execute others' code (the planner computes what is constant).
pub fn readable(job: &Job) -> String {
    lock(job.target, pg_sys::AccessShareLock);
    // Gone: says so.
    job.name_now();
    if let Some(history) = job.history {
        lock(history, pg_sys::AccessShareLock);
    }
    require(&Tables::of(job), Use::Read);
    job.name_now()
}

/// For statements over any table of `owner`'s by its name, which stays: an ERROR where it is another one's by now, or
/// where they would execute others' code.
pub fn hold_named(owner: pg_sys::Oid, relation: pg_sys::Oid, name: &str) {
    lock(relation, pg_sys::AccessShareLock);
    require(&Tables { owner, target: relation, name, history: None }, Use::Write);
    if jobs::name_of(relation).as_deref() != Some(name) {
        error::raise(
            PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
            format!("{name} was renamed or removed meanwhile"),
        );
    }
}

/// Locks a relation to the end of the transaction; waits interruptibly. One that is gone is found out next.
pub fn lock(relation: pg_sys::Oid, mode: u32) {
    // SAFETY: inside a transaction.
    unsafe { pg_sys::LockRelationOid(relation, mode as pg_sys::LOCKMODE) };
}

/// Whose rights this process has.
fn user() -> pg_sys::Oid {
    // SAFETY: no preconditions.
    unsafe { pg_sys::GetUserId() }
}

impl<'a> Tables<'a> {
    fn of(job: &'a Job) -> Self {
        Self { owner: user(), target: job.target, name: &job.name, history: job.history }
    }
}

/// An ERROR where values of a foreign table go through types of roles that `owner` does not act for. The caller has
/// locked it.
pub fn require_source(source: pg_sys::Oid, owner: pg_sys::Oid, name: &str) {
    if !look(source).is_some_and(|look| look.own_types_only) {
        let columns = "SELECT 'pg_class'::regclass::oid, oid FROM unnest($1::oid[]) AS source(oid)";
        refuse_foreign_code(name, owner, &[source], columns);
    }
}

/// An ERROR where a run over these tables would execute code of a role that its owner does not act for. The caller
/// has locked them; what writing to them leads to is locked here.
pub fn require(tables: &Tables<'_>, how: Use) {
    let own: Vec<pg_sys::Oid> = [Some(tables.target), tables.history].into_iter().flatten().collect();
    let looks: Vec<Option<Look>> = own.iter().map(|oid| look(*oid)).collect();
    let is_secured = |look: &Option<Look>| look.as_ref().is_some_and(|look| look.secured);
    own.iter().zip(&looks).filter(|(_, look)| is_secured(look)).for_each(|(oid, _)| refuse_hidden(*oid));
    let plain = looks.iter().all(|look| {
        look.as_ref().is_some_and(|look| look.owner == tables.owner && look.plain && look.own_types_only)
    });
    if !plain || !own.iter().all(|oid| keeps_its_name(*oid, tables.owner)) {
        keep_names(tables.owner, &own);
    }
    let known =
        || own.iter().map(|oid| Some((*oid, look(*oid).filter(|look| !look.heirs)?.owner, tables.owner)));
    // Only its owner gives a table what reading executes, and executes it then.
    let seen = |table| SEEN.with_borrow(|seen| seen.contains(&table));
    if plain || how == Use::Read && known().all(|table| table.is_some_and(seen)) {
        return;
    }
    if how == Use::Write {
        lock_along(tables.owner, &own);
    }
    refuse_foreign_tables(tables, &own);
    if how == Use::Write {
        triggers::require(tables.name, &own);
    }
    refuse_foreign_code(tables.name, tables.owner, &own, PARTS);
    SEEN.with_borrow_mut(|seen| seen.extend(known().flatten()));
}

thread_local! {
    /// Tables without heirs that were looked at in this process: whose each was, and for whom.
    static SEEN: RefCell<HashSet<(pg_sys::Oid, pg_sys::Oid, pg_sys::Oid)>> = RefCell::default();
}

/// What the relation cache knows of a table.
struct Look {
    owner: pg_sys::Oid,
    /// Others inherit from it, or did.
    heirs: bool,
    /// Nothing but columns and indexes over them.
    plain: bool,
    /// It has row-level security, for whomever that holds.
    secured: bool,
    /// No column's type, and no index' way of comparing, is anybody's but the system's.
    own_types_only: bool,
}

fn is_the_systems(oid: pg_sys::Oid) -> bool {
    oid.to_u32() < pg_sys::FirstNormalObjectId
}

/// None where there is no such relation. The caller has locked it.
fn look(relation: pg_sys::Oid) -> Option<Look> {
    // SAFETY: inside a transaction, under a lock; the cache's entry is released at the end, and its list of
    // statistics is a copy in the current memory context.
    unsafe {
        if pg_sys::get_rel_relkind(relation) == 0 {
            return None;
        }
        let cached = PgRelation::open(relation);
        let row = &*cached.rd_rel;
        let made =
            (*cached.rd_att).constr.as_ref().is_some_and(|made| made.num_defval > 0 || made.num_check > 0);
        let alone = !row.relhasrules && !row.relhassubclass && !row.relispartition;
        let statistics = pg_sys::RelationGetStatExtList(cached.as_ptr());
        Some(Look {
            owner: row.relowner,
            heirs: row.relhassubclass,
            secured: row.relrowsecurity,
            plain: row.relkind as u8 == pg_sys::RELKIND_RELATION
                && alone
                && !made
                && triggers_are_plain(&cached)
                && (statistics.is_null() || (*statistics).length == 0)
                && indexes_are_plain(&cached),
            own_types_only: cached.tuple_desc().iter().all(|column| is_the_systems(column.atttypid)),
        })
    }
}

/// Whether every trigger is PostgreSQL's own for a unique constraint that may be deferred, as keys have one: it looks into
/// the constraint's index, and at nothing else.
fn triggers_are_plain(table: &PgRelation) -> bool {
    // SAFETY: an open table, whose entry in the cache keeps as many triggers as it says.
    unsafe {
        let kept = (*table.as_ptr()).trigdesc;
        let count = if kept.is_null() { 0 } else { usize::try_from((*kept).numtriggers).unwrap_or_default() };
        (0..count).map(|n| &*(*kept).triggers.add(n)).all(|trigger| {
            trigger.tgisinternal
                && trigger.tgfoid.to_u32() == pg_sys::F_UNIQUE_KEY_RECHECK
                && trigger.tgqual.is_null()
        })
    }
}

/// Whether every index is of columns alone, compared in the system's ways.
fn indexes_are_plain(table: &PgRelation) -> bool {
    // SAFETY: an open table, whose list of indexes is a copy in the current memory context; of an open index the
    // cache holds row and families of operators.
    unsafe {
        let list = pg_sys::RelationGetIndexList(table.as_ptr());
        let count = if list.is_null() { 0 } else { usize::try_from((*list).length).unwrap_or_default() };
        (0..count).all(|n| {
            let index = (*(*list).elements.add(n)).oid_value;
            let index = PgRelation::with_lock(index, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
            let nothing_in = |column: u32| {
                pg_sys::heap_attisnull(index.rd_indextuple, column as i32, std::ptr::null_mut())
            };
            let keys = usize::try_from((*index.rd_index).indnkeyatts).unwrap_or_default();
            nothing_in(pg_sys::Anum_pg_index_indexprs)
                && nothing_in(pg_sys::Anum_pg_index_indpred)
                && (0..keys).all(|n| is_the_systems(*index.rd_opfamily.add(n)))
        })
    }
}

/// Whether the schema that a table is in belongs to the owner or a superuser: nobody else can rename it.
fn keeps_its_name(relation: pg_sys::Oid, owner: pg_sys::Oid) -> bool {
    // SAFETY: catalogue look-ups inside a transaction; the row is read before it is released.
    unsafe {
        let schema = pg_sys::get_rel_namespace(relation);
        let row = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::NAMESPACEOID as i32, schema.into());
        if row.is_null() {
            return false;
        }
        let of = (*pg_sys::GETSTRUCT(row).cast::<pg_sys::FormData_pg_namespace>()).nspowner;
        pg_sys::ReleaseSysCache(row);
        of == owner || pg_sys::superuser_arg(of)
    }
}

/// Statements name tables and types. A table that is locked keeps its name, its schema does not: whose it is could
/// rename it between two of them and put a table of that name in its place. Such a schema's row is locked.
fn keep_names(owner: pg_sys::Oid, tables: &[pg_sys::Oid]) {
    let sql = format!(
        "SELECT n.oid FROM pg_namespace AS n JOIN pg_roles AS r ON r.oid = n.nspowner
         WHERE NOT r.rolsuper AND NOT {}
           AND n.oid IN (SELECT c.relnamespace FROM pg_class AS c WHERE c.oid = ANY ($1)
                         UNION SELECT t.typnamespace FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
                         WHERE a.attrelid = ANY ($1))
         ORDER BY n.oid FOR KEY SHARE OF n",
        acts_for("$2", "r.oid")
    );
    over_catalogues(|| query(&sql, &[tables.to_vec().into(), owner.into()], |_| ()));
}

/// An ERROR where row-level security holds for this process, as PostgreSQL's own logical replication has it: policies
/// hide rows, so that they would be taken for missing and written twice, or never be deleted, and are code besides. Our
/// workers read with `row_security` off, which only says that something is hidden; a session may have it on.
fn refuse_hidden(table: pg_sys::Oid) {
    // SAFETY: a look into the catalogue inside a transaction, for the current user; raises nothing.
    let holds = unsafe { pg_sys::check_enable_rls(table, pg_sys::InvalidOid, true) };
    if holds != pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32 {
        return;
    }
    let name = jobs::relation_name(table);
    let (sql, me) = ("SELECT pg_get_userbyid($1)::text", user());
    let user = over_catalogues(|| query(sql, &[me.into()], |row| row.must::<String>(1))).concat();
    error::raise_hint(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!(
            "{name} cannot be refreshed: its row-level security holds for \"{user}\", whom a refresh runs as"
        ),
        "Policies are for readers; a refresh has to see every row. ALTER TABLE … NO FORCE ROW LEVEL SECURITY exempts the \
         table's owner; or give the role BYPASSRLS.",
    );
}

/// The tables themselves, and those that inherit from them, are of roles that the owner acts for.
fn refuse_foreign_tables(tables: &Tables<'_>, own: &[pg_sys::Oid]) {
    let sql = format!(
        "WITH RECURSIVE mine(oid) AS (
             SELECT unnest($1::oid[])
             UNION SELECT i.inhrelid FROM mine JOIN pg_inherits AS i ON i.inhparent = mine.oid)
         SELECT c.oid, format('%I.%I', n.nspname, c.relname), pg_get_userbyid(c.relowner)::text,
                pg_get_userbyid($2)::text
         FROM mine JOIN pg_class AS c ON c.oid = mine.oid JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE NOT {} ORDER BY c.oid <> ALL ($1), 2 LIMIT 1",
        acts_for("$2", "c.relowner")
    );
    let found = over_catalogues(|| {
        query_now(&sql, &[own.to_vec().into(), tables.owner.into()], |row| {
            (row.must::<pg_sys::Oid>(1), row.must::<String>(2), row.must::<String>(3), row.must::<String>(4))
        })
    });
    let Some((_, table, theirs, owner)) = found.into_iter().next() else { return };
    error::raise_hint(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        jobs::belongs_to(&table, &theirs, &owner),
        jobs::takes_over(&table, tables.name, &theirs, &owner),
    );
}

/// What writing to the tables `$1` leads to: those that inherit from them, what their rules name, what a foreign key
/// has changed along.
pub(super) const WRITTEN: &str = "
    written(oid) AS (
        SELECT unnest($1::oid[])
        UNION
        SELECT more.oid FROM written AS w CROSS JOIN LATERAL (
            SELECT i.inhrelid AS oid FROM pg_inherits AS i WHERE i.inhparent = w.oid
            UNION ALL
            SELECT k.conrelid FROM pg_constraint AS k
            WHERE k.contype = 'f' AND k.confrelid = w.oid
              AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))
            UNION ALL
            SELECT d.refobjid FROM pg_rewrite AS r
            JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
            WHERE r.ev_class = w.oid AND d.refclassid = 'pg_class'::regclass) AS more)";

/// What is only looked at meanwhile: the other end of a foreign key.
const READ: &str = "
    seen(oid) AS (
        SELECT oid FROM written
        UNION
        SELECT more.oid FROM seen AS s CROSS JOIN LATERAL (
            SELECT CASE WHEN k.conrelid = s.oid THEN k.confrelid ELSE k.conrelid END AS oid
            FROM pg_constraint AS k
            WHERE k.contype = 'f' AND s.oid IN (k.conrelid, k.confrelid) AND s.oid IN (SELECT w.oid FROM written AS w)
            UNION ALL
            SELECT i.inhrelid FROM pg_inherits AS i WHERE i.inhparent = s.oid) AS more)";

/// Locks what writing leads to: tables that are written along, and those of others that are looked at. What is not in
/// them now must not come while they are used.
fn lock_along(owner: pg_sys::Oid, own: &[pg_sys::Oid]) {
    let sql = format!(
        "WITH RECURSIVE {WRITTEN}, {READ}
         SELECT c.oid FROM seen JOIN pg_class AS c ON c.oid = seen.oid
         WHERE c.oid IN (SELECT w.oid FROM written AS w) OR NOT {} ORDER BY c.oid",
        acts_for("$2", "c.relowner")
    );
    let mut locked = own.to_vec();
    loop {
        let args = [own.to_vec().into(), owner.into()];
        let along: Vec<pg_sys::Oid> = over_catalogues(|| query_now(&sql, &args, |row| row.must(1)));
        let new: Vec<pg_sys::Oid> = along.into_iter().filter(|oid| !locked.contains(oid)).collect();
        if new.is_empty() {
            return;
        }
        for relation in new {
            lock(relation, pg_sys::RowExclusiveLock);
            locked.push(relation);
        }
    }
}

/// What of those tables has code, or leads to some: (class, object). With the tables themselves and the partitioned
/// ones above them come their columns' types and how they are partitioned.
const PARTS: &str = "
    SELECT 'pg_trigger'::regclass::oid, t.oid FROM pg_trigger AS t JOIN written AS w ON w.oid = t.tgrelid
        WHERE t.tgenabled <> 'D'
    UNION SELECT 'pg_constraint'::regclass, k.oid FROM pg_constraint AS k JOIN written AS w ON w.oid IN (k.conrelid, k.confrelid)
    UNION SELECT 'pg_attrdef'::regclass, d.oid FROM pg_attrdef AS d JOIN written AS w ON w.oid = d.adrelid
    UNION SELECT 'pg_rewrite'::regclass, r.oid FROM pg_rewrite AS r JOIN written AS w ON w.oid = r.ev_class
    UNION SELECT 'pg_class'::regclass, w.oid FROM written AS w
    UNION SELECT 'pg_class'::regclass, a.relid::oid FROM written AS w, pg_partition_ancestors(w.oid) AS a(relid)
    UNION SELECT 'pg_class'::regclass, i.indexrelid FROM pg_index AS i JOIN seen AS s ON s.oid = i.indrelid
    UNION SELECT 'pg_statistic_ext'::regclass, e.oid FROM pg_statistic_ext AS e JOIN seen AS s ON s.oid = e.stxrelid";

/// An ERROR that names something of a role whom `owner` does not act for, and that is no superuser's, among what
/// `parts` of the tables depend on.
fn refuse_foreign_code(name: &str, owner: pg_sys::Oid, own: &[pg_sys::Oid], parts: &str) {
    let sql = format!(
        "WITH RECURSIVE {WRITTEN}, {READ}, part(classid, objid) AS ({parts}),
         used(classid, objid) AS (
             SELECT classid, objid FROM part
             UNION
             SELECT more.classid, more.objid FROM used AS u CROSS JOIN LATERAL (
                 SELECT d.refclassid AS classid, d.refobjid AS objid FROM pg_depend AS d
                 WHERE d.classid = u.classid AND d.objid = u.objid AND u.classid <> 'pg_proc'::regclass
                   AND d.refclassid IN ('pg_proc'::regclass, 'pg_type'::regclass, 'pg_operator'::regclass,
                                        'pg_opclass'::regclass, 'pg_opfamily'::regclass)
                 -- What depends on a type and comes with it: a domain's CHECKs, a row's columns, its casts.
                 UNION ALL
                 SELECT 'pg_constraint'::regclass, k.oid FROM pg_constraint AS k
                 WHERE u.classid = 'pg_type'::regclass AND k.contypid = u.objid
                 UNION ALL
                 SELECT 'pg_class'::regclass, t.typrelid FROM pg_type AS t
                 WHERE u.classid = 'pg_type'::regclass AND t.oid = u.objid AND t.typrelid <> 0
                 UNION ALL
                 SELECT 'pg_proc'::regclass, c.castfunc FROM pg_cast AS c
                 WHERE u.classid = 'pg_type'::regclass AND u.objid IN (c.castsource, c.casttarget) AND c.castfunc <> 0
                   AND u.objid >= {user_defined}::oid
                 UNION ALL
                 SELECT 'pg_proc'::regclass, p.amproc FROM pg_amproc AS p
                 WHERE u.classid = 'pg_opfamily'::regclass AND p.amprocfamily = u.objid
                 UNION ALL
                 SELECT 'pg_operator'::regclass, o.amopopr FROM pg_amop AS o
                 WHERE u.classid = 'pg_opfamily'::regclass AND o.amopfamily = u.objid) AS more)
         SELECT pg_describe_object(u.classid, u.objid, 0), r.rolname::text, pg_get_userbyid($2)::text
         FROM used AS u
         -- What belongs to the role that the cluster began with stands in no list of owners.
         JOIN pg_shdepend AS s ON s.classid = u.classid AND s.objid = u.objid AND s.objsubid = 0 AND s.deptype = 'o'
             AND s.dbid = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
         JOIN pg_roles AS r ON r.oid = s.refobjid
         WHERE NOT r.rolsuper AND NOT {acts_for} AND (u.classid, u.objid) NOT IN (SELECT classid, objid FROM part)
         ORDER BY u.classid <> 'pg_proc'::regclass, 1 LIMIT 1",
        user_defined = pg_sys::FirstNormalObjectId,
        acts_for = acts_for("$2", "r.oid"),
    );
    let found = over_catalogues(|| {
        query_now(&sql, &[own.to_vec().into(), owner.into()], |row| {
            (row.get::<String>(1).unwrap_or_default(), row.must::<String>(2), row.must::<String>(3))
        })
    });
    let Some((what, theirs, mine)) = found.into_iter().next() else { return };
    error::raise_hint(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("a refresh of {name} would run code of role \"{theirs}\" as \"{mine}\": {what}"),
        format!(
            "A refresh runs as the replica's owner, and only code of roles that the owner acts for (a superuser for \
             superusers only), or of superusers. Have it belong to {}, or take it away from the tables that are \
             written.",
            ident(&mine)
        ),
    );
}
