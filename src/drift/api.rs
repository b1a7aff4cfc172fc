//! The SQL functions over whole schemas (interface.md section 5).
#![allow(unsafe_code)] // the current user

use pgrx::datum::Interval;
use pgrx::pg_sys;
use pgrx::prelude::*;
use tables::ddl::{ident, literal};

use super::sync::{self, Plan};
use super::{gather, watch};
use crate::error;
use crate::replica::api::{check_interval, required, say_if_unscheduled};
use crate::replica::kept::jobs;
use crate::sql::spi::{as_extension, query, query_one, refuse_read_only};

/// `assets_fdw.sync_schema(local_schema, dry_run)`
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn sync_schema(
    local_schema: &std::ffi::CStr,
    dry_run: bool,
) -> TableIterator<
    'static,
    (name!(statement, String), name!(kind, String), name!(reason, String), name!(blocked_by, Option<String>)),
> {
    if !dry_run {
        refuse_read_only("sync_schema()");
    }
    let schema = local_schema.to_string_lossy().into_owned();
    // SAFETY: no preconditions.
    let user = unsafe { pg_sys::GetUserId() };
    let gathered = gather::gather(&schema, user);
    let asked = sync::questions(&schema, &gathered, user);
    sync::require_some(&schema, &gathered, &asked);
    let answers = asked.into_iter().map(sync::ask).collect();
    if !dry_run {
        sync::lock(&schema);
    }
    let follow = watch::follow(&schema, user);
    let plan: Plan = sync::plan(&schema, answers, follow.as_ref(), user);
    if !dry_run {
        plan.run(&schema, user);
        watch::synced(&schema, user, &plan);
    }
    let rows: Vec<_> = plan
        .changes
        .into_iter()
        .map(|c| (c.statement(), c.kind.as_str().to_owned(), c.reason.clone(), c.blocked))
        .collect();
    TableIterator::new(rows)
}

/// `assets_fdw.materialize_schema(…)`
#[pg_extern(sql = false)]
fn materialize_schema(
    source_schema: Option<&std::ffi::CStr>,
    into_schema: Option<&std::ffi::CStr>,
    every: Option<Interval>,
    full_every: Option<Interval>,
    history: Option<bool>,
    drift: Option<&str>,
) -> SetOfIterator<'static, pg_sys::Oid> {
    refuse_read_only("materialize_schema()");
    let source = required(source_schema, "source_schema").to_string_lossy().into_owned();
    let into = into_schema
        .map_or_else(|| tables::naming::fit(&source, "_replica"), |name| name.to_string_lossy().into_owned());
    let every = required(every, "every");
    let full_every = required(full_every, "full_every");
    check_interval("every", &every);
    check_interval("full_every", &full_every);
    let history = required(history, "history");
    let drift = required(drift, "drift");
    if !matches!(drift, "report" | "apply") {
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("invalid value for drift: \"{drift}\""),
            "It must be one of: report, apply.",
        );
    }
    // SAFETY: no preconditions.
    let user = unsafe { pg_sys::GetUserId() };
    let tables = sources(&source);
    if tables.is_empty() {
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
            format!("schema \"{source}\" has no foreign table of assets_fdw"),
            "IMPORT FOREIGN SCHEMA makes them.",
        );
    }
    let mut targets = Vec::new();
    for table in tables {
        let kept = jobs::of_source(table.oid, user);
        if !kept.is_empty() {
            targets.extend(kept);
            continue;
        }
        if !table.has_id {
            let said = format!(
                "foreign table {} has no column with the object's id and gets no replica",
                table.name
            );
            error::report(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, said).report(PgLogLevel::NOTICE);
            continue;
        }
        let sql = format!(
            "SELECT assets_fdw.materialize({}, into_table => {}, every => $1, full_every => $2, history => $3)::oid",
            literal(&format!("{}.{}", ident(&source), ident(&table.name))),
            literal(&format!("{}.{}", ident(&into), ident(&table.name))),
        );
        let made = query_one(&sql, &[every.into(), full_every.into(), history.into()], |row| {
            row.must::<pg_sys::Oid>(1)
        });
        targets.extend(made);
    }
    let wanted = watch::Wanted { source: &source, into: &into, every, full_every, history, drift };
    watch::want(&wanted, user);
    say_if_unscheduled();
    SetOfIterator::new(targets)
}

/// A foreign table to be materialized.
struct Source {
    oid: pg_sys::Oid,
    name: String,
    has_id: bool,
}

fn sources(schema: &str) -> Vec<Source> {
    let namespace = gather::schema_oid(schema);
    let sql = "
        SELECT c.oid, c.relname::text,
               EXISTS (SELECT FROM pg_attribute AS a
                       LEFT JOIN LATERAL pg_options_to_table(a.attfdwoptions) AS o
                         ON o.option_name IN ('field', 'attribute', 'attribute_id')
                       WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                         AND (o.option_name = 'field' AND o.option_value = 'id'
                              OR o.option_name IS NULL AND a.attname = 'id'))
        FROM pg_class AS c
        JOIN pg_foreign_table AS f ON f.ftrelid = c.oid
        JOIN pg_foreign_server AS s ON s.oid = f.ftserver
        JOIN pg_foreign_data_wrapper AS w ON w.oid = s.srvfdw
        JOIN pg_proc AS h ON h.oid = w.fdwhandler AND h.proname = 'assets_fdw_handler'
        WHERE c.relnamespace = $1 ORDER BY c.relname";
    as_extension(|| {
        query(sql, &[namespace.into()], |row| Source {
            oid: row.must(1),
            name: row.must(2),
            has_id: row.must(3),
        })
    })
}
