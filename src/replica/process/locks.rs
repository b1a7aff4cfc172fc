//! The locks that make a run the only one of its replica, and the only one that refreshes its group.
//!
//! Advisory locks of a kind that SQL cannot name (`pg_advisory_lock` uses 1 and 2 as the fourth field),
//! held by the process, not by a transaction. A run that compares everything keeps its replica's lock from
//! its begin to its end, and has the group's to begin with and to end with; a run that asks for changes
//! keeps both. Nobody waits for a lock while it holds another but the end of a full comparison, which
//! waits for the group's; whoever has that waits for no replica's. So nobody waits in a circle. Locks of other
//! sessions on a replica's tables are waited for with neither held, or for a moment.
#![allow(unsafe_code)] // locks of a process of our own

use std::collections::HashSet;
use std::time::{Duration, Instant};

use pgrx::pg_sys;
use schedule::Group;

use super::shared;
use crate::replica::kept::jobs::{self, Job};
use crate::replica::kept::standing;
use crate::replica::table::rights;
use crate::sql::spi::{Row, as_extension, query};
use crate::sql::txn::transaction;

/// How long a run waits until none of its group is being compared in full by another: the end of that brings
/// the whole group to one moment, and a run that went on before it would part them. For a scheduled run it is the
/// scheduler that waits, so that no worker is taken up by it.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long a scheduled run waits for one that is at its replica.
const A_MOMENT: Duration = Duration::from_millis(200);
/// The kinds of these locks: the fourth field of their tags.
const REPLICA: u16 = 0xA55E;
const GROUP: u16 = 0xA55F;
/// Between two looks whether a lock is free, in milliseconds.
const PAUSE: i64 = 20;

fn tag(field2: u32, field3: u32, field4: u16) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        // SAFETY: no preconditions.
        locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field2: field2,
        locktag_field3: field3,
        locktag_field4: field4,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    }
}

fn acquire(tag: &pg_sys::LOCKTAG) -> bool {
    // SAFETY: a session lock of this process; does not wait.
    let got = unsafe { pg_sys::LockAcquire(tag, pg_sys::ExclusiveLock as i32, true, true) };
    got != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}

fn release(tag: &pg_sys::LOCKTAG) {
    // SAFETY: as taken by `acquire`.
    unsafe { pg_sys::LockRelease(tag, pg_sys::ExclusiveLock as i32, true) };
}

/// Takes the lock of a replica for this process, outside of transactions. False where a run holds it.
pub fn try_lock(target: pg_sys::Oid) -> bool {
    acquire(&tag(0, target.to_u32(), REPLICA))
}

/// Gives the lock back; a process that ends does so anyway.
pub fn unlock(target: pg_sys::Oid) {
    release(&tag(0, target.to_u32(), REPLICA));
}

/// The lock of a group, which this process has. Two groups that happen to have the same tag wait for each
/// other for nothing.
#[derive(Debug, Clone, Copy)]
pub struct GroupLock {
    /// The foreign server.
    pub server: u32,
    /// Owner and object schema.
    pub group: Group,
}

impl GroupLock {
    fn tag(server: u32, group: Group) -> pg_sys::LOCKTAG {
        let mixed = (group.schema as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
            ^ u64::from(group.owner).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        tag(server ^ (mixed >> 32) as u32, mixed as u32, GROUP)
    }

    /// Takes it, if no other run has it.
    pub fn try_take(server: u32, group: Group) -> Option<Self> {
        acquire(&Self::tag(server, group)).then_some(Self { server, group })
    }

    /// Waits for it.
    pub fn take(server: u32, group: Group) -> Self {
        loop {
            if let Some(lock) = Self::try_take(server, group) {
                return lock;
            }
            shared::wait(PAUSE);
        }
    }

    /// Gives it back; a process that ends does so anyway.
    pub fn release(self) {
        release(&Self::tag(self.server, self.group));
    }
}

/// Which locks of replicas and groups are held in this database. Seen without taking any, as [`try_lock`] does, which
/// whoever gathers a group at this moment would take for a run.
pub struct Held(HashSet<(u32, u32, u16)>);

/// Looks which are held; inside a transaction.
pub fn held() -> Held {
    let sql = "SELECT classid, objid, objsubid FROM pg_locks
               WHERE locktype = 'advisory' AND granted AND objsubid = ANY ($1::int2[])
                     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let kinds: Vec<i16> = vec![REPLICA as i16, GROUP as i16];
    let read = |row: &Row| {
        let (field2, field3): (pg_sys::Oid, pg_sys::Oid) = (row.must(1), row.must(2));
        (field2.to_u32(), field3.to_u32(), row.must::<i16>(3) as u16)
    };
    Held(as_extension(|| query(sql, &[kinds.into()], read)).into_iter().collect())
}

impl Held {
    fn has(&self, tag: &pg_sys::LOCKTAG) -> bool {
        self.0.contains(&(tag.locktag_field2, tag.locktag_field3, tag.locktag_field4))
    }

    /// Whether a run is at a replica.
    pub fn replica(&self, target: pg_sys::Oid) -> bool {
        self.has(&tag(0, target.to_u32(), REPLICA))
    }

    /// Whether a run is at a group.
    pub fn group(&self, server: u32, group: Group) -> bool {
        self.has(&GroupLock::tag(server, group))
    }
}

/// Waits until it is a run's turn: takes the lock of its replica and, where its group is known, of that, when
/// no other of the group is being compared in full, or that takes too long. None for a scheduled run of a
/// replica that another run is at. `waited`: for those that are compared in full it has been waited already.
///
/// A run by hand has its replica's tables waited for as well, however long that takes.
pub fn turn(job: &Job, scheduled: bool, waited: bool) -> Option<Option<GroupLock>> {
    let began = Instant::now();
    let patience = if waited { A_MOMENT } else { PATIENCE };
    loop {
        if !scheduled {
            wait_for_tables(job);
        }
        if !try_lock(job.target) {
            // Not at once: whoever looks whether a replica is free has its lock for a moment.
            if scheduled && began.elapsed() > A_MOMENT {
                return None;
            }
            shared::wait(PAUSE);
            continue;
        }
        let known = transaction(|| {
            let schema = standing::read(job.target)?.schema?;
            Some((jobs::server_of(job), Group { owner: job.owner.to_u32(), schema }))
        });
        let Some((server, group)) = known else { return Some(None) };
        if let Some(lock) = GroupLock::try_take(server, group) {
            let others = transaction(|| jobs::group_of(job, server, group, scheduled));
            let along =
                others.able.iter().filter(|(_, apart)| apart.is_none()).map(|(other, _)| other.target);
            let ready = scheduled || transaction(|| tables_are_free(job));
            if ready && (began.elapsed() > patience || along.into_iter().all(is_free)) {
                return Some(Some(lock));
            }
            lock.release();
        }
        unlock(job.target);
        shared::wait(PAUSE);
    }
}

/// Whether no other session keeps a replica's table from being written at this moment; inside a transaction. What
/// keeps a row of it is not seen.
pub fn table_is_free(target: pg_sys::Oid) -> bool {
    is_to_be_had(target, pg_sys::RowExclusiveLock)
}

fn is_to_be_had(relation: pg_sys::Oid, mode: u32) -> bool {
    let mode = mode as pg_sys::LOCKMODE;
    // SAFETY: does not wait; given back at once.
    unsafe {
        let free = pg_sys::ConditionalLockRelationOid(relation, mode);
        if free {
            pg_sys::UnlockRelationOid(relation, mode);
        }
        free
    }
}

/// What a run of a replica locks, and how.
fn tables(job: &Job) -> impl Iterator<Item = (pg_sys::Oid, u32)> {
    let written = [Some(job.target), job.history].into_iter().flatten();
    std::iter::once((job.source, pg_sys::AccessShareLock))
        .chain(written.map(|t| (t, pg_sys::RowExclusiveLock)))
}

fn tables_are_free(job: &Job) -> bool {
    tables(job).all(|(relation, mode)| is_to_be_had(relation, mode))
}

/// Waits until no other session keeps a run from any of its tables, without an end and with nothing held, so that
/// nobody waits for who waits here: neither the others of its group nor whoever wants one of these tables.
pub fn wait_for_tables(job: &Job) {
    tables(job).for_each(|(relation, mode)| transaction(|| rights::lock(relation, mode)));
}

fn is_free(target: pg_sys::Oid) -> bool {
    let free = try_lock(target);
    if free {
        unlock(target);
    }
    free
}
