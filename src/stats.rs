//! What was asked of each server: the functions below the view `assets_fdw.server_stats`
//! (interface.md 3, sql/50-stats.sql).
#![allow(unsafe_code)] // asks who the current user is

use std::ffi::CStr;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::{pg_compat, session, shared};

/// Microseconds from 1970 to 2000, where PostgreSQL counts from.
const EPOCH: i64 = 946_684_800_000_000;

/// `assets_fdw.server_counters(server oid)`: one row, or none where the caller may neither use the server nor read all
/// statistics.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn server_counters(
    server: pg_sys::Oid,
) -> TableIterator<
    'static,
    (
        name!(requests, i64),
        name!(objects, i64),
        name!(bytes, i64),
        name!(retries, i64),
        name!(throttled, i64),
        name!(seconds_waited, f64),
        name!(since, Option<TimestampWithTimeZone>),
        name!(all_sessions, bool),
    ),
> {
    // SAFETY: no preconditions.
    let user = unsafe { pg_sys::GetUserId() };
    // SAFETY: a look-up inside a transaction.
    let reads_all =
        unsafe { pg_sys::has_privs_of_role(user, pg_sys::Oid::from(pg_sys::ROLE_PG_READ_ALL_STATS)) };
    let may = session::is_server(server) && (reads_all || pg_compat::may_use_server(server, user));
    TableIterator::new(may.then(|| {
        let (counts, since) = match shared::block().counters.read(shared::identity(server)) {
            Some((counts, since)) => (counts, TimestampWithTimeZone::try_from(since - EPOCH).ok()),
            None => ([0; 6], None),
        };
        let count = |n: usize| i64::try_from(counts[n]).unwrap_or(i64::MAX);
        let waited = counts[5] as f64 / 1e6;
        (count(0), count(1), count(2), count(3), count(4), waited, since, shared::is_everybodys())
    }))
}

/// `assets_fdw.reset_server_stats(server name)`: begins to count anew, for every server of the
/// database where none is named.
#[pg_extern(sql = false)]
fn reset_server_stats(server: Option<&CStr>) {
    let one = server.map(|name| shared::identity(session::server_by_name(name).0));
    let database = shared::identity(pg_sys::Oid::INVALID) >> 32;
    let chosen = |id: u64| one.map_or(id >> 32 == database, |one| id == one);
    shared::block().counters.reset(chosen, shared::wall_clock());
}
