//! SQL functions over a server: `check`, `aql`, `count` (interface.md 3).
#![allow(unsafe_code)] // settings

use std::ffi::CStr;
use std::sync::Arc;

use assets::check::Status;
use assets::stats::ScanStats;
use assets::value::{ColumnSpec, Decode, Field, Invalid, Page, Row, ScanSpec, Source, Value};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use pgrx::{JsonB, pg_sys};

use crate::runtime::PageStream;
use crate::{error, runtime, session};

type Step = (String, String, String, Option<String>);

/// What to do about a failed step that does not say it better.
const FAILED: &str = "Check that the server's options name the right host and that nothing between here and there (proxy, \
    firewall) answers instead; if the service has trouble of its own, try again later.";

/// `assets_fdw.check(server name)`: every step of the way to the service. Raises only where there
/// is no such server or the caller may not use it.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn check(
    server: &CStr,
) -> TableIterator<
    'static,
    (name!(step, String), name!(status, String), name!(detail, String), name!(hint, Option<String>)),
> {
    let (server, user) = session::server_by_name(server);
    let mut steps: Vec<Step> = Vec::new();
    if session::find_mapping(server, user).is_none() {
        let (message, hint) = session::missing_mapping(server, user);
        steps.push(("user mapping".into(), "fail".into(), message, Some(hint)));
    } else if let Err(refusal) = session::allowed(server) {
        let hint = refusal.hint().unwrap_or(FAILED).to_owned();
        steps.push(("connection".into(), "fail".into(), refusal.message().into(), Some(hint)));
    } else {
        match connect_or_report(server, user) {
            Ok(connection) => {
                let client = connection.client.clone();
                let found = runtime::wait(async move { client.check().await });
                steps.extend(found.into_iter().map(|s| {
                    let hint = s.hint.or_else(|| (s.status == Status::Fail).then(|| FAILED.to_owned()));
                    (s.step, s.status.as_str().to_owned(), s.detail, hint)
                }));
            }
            Err((message, hint)) => {
                steps.push((
                    "options".into(),
                    "fail".into(),
                    message,
                    Some(hint.unwrap_or_else(|| {
                        "Correct the options of the server or of the user mapping.".into()
                    })),
                ))
            }
        }
    }
    steps.push(preload_step());
    TableIterator::new(steps)
}

/// A client that cannot even be made (an unreadable file, a contradiction) is a failed step.
fn connect_or_report(
    server: pg_sys::Oid,
    user: pg_sys::Oid,
) -> Result<std::rc::Rc<session::Connection>, (String, Option<String>)> {
    PgTryBuilder::new(|| Ok(session::connect_to_check(server, user)))
        .catch_others(|caught| match caught {
            pg_sys::panic::CaughtError::ErrorReport(report)
                if report.sql_error_code() != PgSqlErrorCode::ERRCODE_QUERY_CANCELED =>
            {
                Err((report.message().to_owned(), report.hint().map(str::to_owned)))
            }
            other => other.rethrow(),
        })
        .execute()
}

fn preload_step() -> Step {
    // SAFETY: the setting is a C string or null, fixed once the server has started.
    let preloaded = unsafe {
        let libraries = pg_sys::shared_preload_libraries_string;
        !libraries.is_null()
            && CStr::from_ptr(libraries)
                .to_string_lossy()
                .split(',')
                .any(|library| library.trim().trim_matches('"').rsplit('/').next() == Some("assets_fdw"))
    };
    if preloaded {
        return ("preload".into(), Status::Ok.as_str().into(), "the library is preloaded".into(), None);
    }
    (
        "preload".into(),
        Status::Warn.as_str().into(),
        "the library is not in shared_preload_libraries: replicas are not refreshed on a schedule, and each \
         backend keeps its own request budget"
            .into(),
        Some("Add assets_fdw to shared_preload_libraries in postgresql.conf and restart the server.".into()),
    )
}

/// `assets_fdw.count(server name, query text)`: how many objects match an AQL query.
#[pg_extern(sql = false)]
fn count(server: &CStr, query: String) -> i64 {
    let client = session::connect_by_name(server).client.clone();
    let counted = runtime::wait(async move { client.total_count(&query).await });
    i64::try_from(error::or_raise(counted)).unwrap_or(i64::MAX)
}

/// `assets_fdw.aql(server name, query text)`: the objects that match an AQL query, streamed.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn aql(
    server: &CStr,
    query: String,
) -> TableIterator<
    'static,
    (
        name!(id, i64),
        name!(key, String),
        name!(label, Option<String>),
        name!(object_type, Option<String>),
        name!(created, Option<TimestampWithTimeZone>),
        name!(updated, Option<TimestampWithTimeZone>),
        name!(attributes, Option<JsonB>),
    ),
> {
    let column = |field, decode| ColumnSpec { source: Source::Field(field), decode, array: false };
    // Ranges of ids are put beside it.
    if let Err(why) = aql::own::query(&query) {
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_FDW_UNABLE_TO_CREATE_EXECUTION,
            format!("this is no AQL query that could stand in parentheses: {why}"),
            "Quotes and parentheses must have their ends; names and values with signs in them stand in double quotes.",
        );
    }
    let spec = ScanSpec {
        filter: query,
        columns: Arc::from([
            column(Field::Label, Decode::Text),
            column(Field::ObjectType, Decode::Text),
            column(Field::Created, Decode::Timestamp),
            column(Field::Updated, Decode::Timestamp),
            column(Field::Attributes, Decode::Json),
        ]),
        limit: None,
        most: None,
        expected: None,
    };
    let client = session::connect_by_name(server).client.clone();
    let mut rows = Rows {
        stream: Some(PageStream::start(client, spec, Arc::new(ScanStats::default()))),
        page: Page::default().rows.into_iter(),
    };
    TableIterator::new(std::iter::from_fn(move || {
        let row = rows.next()?;
        let key = row.key.into_string();
        let Ok([label, object_type, created, updated, attributes]) = <[Value; 5]>::try_from(row.values)
        else {
            error::raise(
                PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
                "a row has other columns than were asked for",
            )
        };
        let label = text(&key, "label", &label);
        let object_type = text(&key, "object_type", &object_type);
        let (created, updated) = (instant(&key, "created", &created), instant(&key, "updated", &updated));
        let attributes =
            text(&key, "attributes", &attributes).map(|json| match serde_json::from_str(&json) {
                Ok(json) => JsonB(json),
                Err(e) => does_not_fit(&key, "attributes", &json, &e.to_string()),
            });
        Some((row.id, key, label, object_type, created, updated, attributes))
    }))
}

struct Rows {
    stream: Option<PageStream>,
    page: std::vec::IntoIter<Row>,
}

impl Rows {
    fn next(&mut self) -> Option<Row> {
        loop {
            if let Some(row) = self.page.next() {
                return Some(row);
            }
            match error::or_raise(self.stream.as_mut()?.next()) {
                Some(page) => self.page = page.rows.into_iter(),
                None => self.stream = None,
            }
        }
    }
}

fn text(key: &str, field: &str, value: &Value) -> Option<String> {
    match value {
        Value::Text(text) | Value::Json(text) => Some(text.to_string()),
        Value::Null => None,
        Value::Invalid(invalid) => unshown(key, field, invalid),
        other => misfit(key, field, other),
    }
}

fn instant(key: &str, field: &str, value: &Value) -> Option<TimestampWithTimeZone> {
    const EPOCH_US: i64 = 946_684_800_000_000;
    match value {
        Value::Timestamp(us) => match TimestampWithTimeZone::try_from(us - EPOCH_US) {
            Ok(instant) => Some(instant),
            Err(_) => does_not_fit(key, field, &us.to_string(), "is beyond what a timestamptz holds"),
        },
        Value::Null => None,
        Value::Invalid(invalid) => unshown(key, field, invalid),
        other => misfit(key, field, other),
    }
}

/// One odd value is in nobody's way: the function has no columns to leave out, and no `on_invalid`.
fn unshown<T>(key: &str, field: &str, invalid: &Invalid) -> Option<T> {
    error::report(
        PgSqlErrorCode::ERRCODE_WARNING,
        format!("value \"{}\" of {field} of object {key} {}: shown as NULL", invalid.text, invalid.why),
    )
    .report(PgLogLevel::WARNING);
    None
}

/// A value that is there and cannot be shown is an error, never a NULL.
fn misfit(key: &str, field: &str, value: &Value) -> ! {
    match value {
        Value::Invalid(invalid) => does_not_fit(key, field, &invalid.text, &invalid.why),
        _ => does_not_fit(key, field, "", "is of another kind than was asked for"),
    }
}

fn does_not_fit(key: &str, field: &str, value: &str, why: &str) -> ! {
    error::raise_hint(
        PgSqlErrorCode::ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE,
        format!("value \"{value}\" of {field} of object {key} {why}"),
        "Correct the object in Assets, or leave it out of the query.",
    )
}
