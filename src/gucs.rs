//! Settings.

use std::ffi::CString;

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

/// `assets_fdw.enable_pushdown`
pub static ENABLE_PUSHDOWN: GucSetting<bool> = GucSetting::<bool>::new(true);

/// `assets_fdw.enable_batched_joins`
pub static ENABLE_BATCHED_JOINS: GucSetting<bool> = GucSetting::<bool>::new(true);
/// `assets_fdw.join_batch_size`; 0: as many as fill a page
pub static JOIN_BATCH_SIZE: GucSetting<i32> = GucSetting::<i32>::new(0);
/// `assets_fdw.enable_group_counts`
pub static ENABLE_GROUP_COUNTS: GucSetting<bool> = GucSetting::<bool>::new(true);

/// `assets_fdw.enable_async`
pub static ENABLE_ASYNC: GucSetting<bool> = GucSetting::<bool>::new(true);

/// `assets_fdw.databases`
pub static DATABASES: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"*"));
/// `assets_fdw.max_workers`
pub static MAX_WORKERS: GucSetting<i32> = GucSetting::<i32>::new(2);
/// `assets_fdw.naptime`, in milliseconds
pub static NAPTIME: GucSetting<i32> = GucSetting::<i32>::new(1000);
/// `assets_fdw.history_retention`, in minutes; 0: for ever
pub static HISTORY_RETENTION: GucSetting<i32> = GucSetting::<i32>::new(30 * 24 * 60);
/// `assets_fdw.max_delete_share`
pub static MAX_DELETE_SHARE: GucSetting<f64> = GucSetting::<f64>::new(0.2);

/// `assets_fdw.allowed_hosts`
pub static ALLOWED_HOSTS: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(assets::hosts::DEFAULT));

/// `assets_fdw.drift_interval`, in milliseconds
pub static DRIFT_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(10 * 60 * 1000);

/// Defines the settings; called once, from `_PG_init`.
pub fn define() {
    GucRegistry::define_bool_guc(
        c"assets_fdw.enable_pushdown",
        c"Sends WHERE clauses to Assets as AQL.",
        c"Off, only the object type and the table's own aql option are sent, for comparing results.",
        &ENABLE_PUSHDOWN,
        GucContext::Userset,
        GucFlags::EXPLAIN,
    );
    GucRegistry::define_bool_guc(
        c"assets_fdw.enable_batched_joins",
        c"Asks for the keys of many outer rows of a join in one request.",
        c"Off, a nested loop asks for each outer row by itself.",
        &ENABLE_BATCHED_JOINS,
        GucContext::Userset,
        GucFlags::EXPLAIN,
    );
    GucRegistry::define_int_guc(
        c"assets_fdw.join_batch_size",
        c"Keys that a join asks for in one request.",
        c"0 takes as many as fill a page; 1 asks for each by itself.",
        &JOIN_BATCH_SIZE,
        0,
        1000,
        GucContext::Userset,
        GucFlags::EXPLAIN,
    );
    GucRegistry::define_bool_guc(
        c"assets_fdw.enable_group_counts",
        c"Asks for the number of objects in each group, where the groups are few and known.",
        c"Off, the rows are read and grouped by PostgreSQL.",
        &ENABLE_GROUP_COUNTS,
        GucContext::Userset,
        GucFlags::EXPLAIN,
    );
    GucRegistry::define_bool_guc(
        c"assets_fdw.enable_async",
        c"Reads several foreign tables below an Append at the same time.",
        c"Off, they are read one after the other, as with PostgreSQL's enable_async_append off.",
        &ENABLE_ASYNC,
        GucContext::Userset,
        GucFlags::EXPLAIN,
    );
    GucRegistry::define_string_guc(
        c"assets_fdw.allowed_hosts",
        c"Hosts that servers of assets_fdw may lead to.",
        c"A list of host names, addresses, *.domain, or * for all. This machine itself is also allowed to servers \
          that belong to a superuser.",
        &ALLOWED_HOSTS,
        GucContext::Suset,
        GucFlags::default(),
    );
    replicas();
}

fn replicas() {
    GucRegistry::define_string_guc(
        c"assets_fdw.databases",
        c"Databases in which replicas are refreshed on their schedule.",
        c"A list of names, or * for every database that takes connections and is no template.",
        &DATABASES,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"assets_fdw.max_workers",
        c"Scheduled refreshes that run at once in one database.",
        c"Each is a background worker, and counts against max_worker_processes.",
        &MAX_WORKERS,
        1,
        64,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"assets_fdw.naptime",
        c"Time between two looks at a replica that is due and cannot be refreshed yet.",
        c"With none due, nothing is looked at until one is, a session asks, or 30 times as long has passed.",
        &NAPTIME,
        10,
        60 * 60 * 1000,
        GucContext::Sighup,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_int_guc(
        c"assets_fdw.history_retention",
        c"How long the history of refreshes is kept.",
        c"0 keeps it for ever.",
        &HISTORY_RETENTION,
        0,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_MIN,
    );
    GucRegistry::define_float_guc(
        c"assets_fdw.max_delete_share",
        c"Share of a replica's rows that one refresh may delete.",
        c"A refresh that would delete more stops instead: it may be the credential that sees less.",
        &MAX_DELETE_SHARE,
        0.0,
        1.0,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"assets_fdw.drift_interval",
        c"Time between two looks at whether materialized schemas still follow Assets.",
        c"A look comes before a scheduled refresh and takes two requests as long as nothing changed.",
        &DRIFT_INTERVAL,
        100,
        24 * 60 * 60 * 1000,
        GucContext::Sighup,
        GucFlags::UNIT_MS,
    );
}
