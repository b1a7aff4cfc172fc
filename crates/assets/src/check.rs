//! Every step of the way to the service, with what to change where one fails. Works while things
//! are broken: no step raises an error, and a step whose precondition failed is skipped.

use std::time::{Duration, SystemTime};

use commons::SECOND;
use commons::limits::Leave;

use crate::budget::Endpoint;
use crate::client::Client;
use crate::complaint::{failed, names_a_scope};
use crate::error::{Error, Kind};
use crate::http::Failure;
use crate::retry::Trouble;

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// As it should be.
    Ok,
    /// Works, with something to know.
    Warn,
    /// Does not work.
    Fail,
    /// Not tried, because an earlier step failed or it does not apply.
    Skip,
}

impl Status {
    /// `ok`, `warn`, `fail`, `skip`.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "fail",
            Status::Skip => "skip",
        }
    }
}

/// One step of [`crate::client::Client::check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckStep {
    /// Its name.
    pub step: String,
    /// How it went.
    pub status: Status,
    /// What was found.
    pub detail: String,
    /// What to change, where it is not ok.
    pub hint: Option<String>,
}

/// A clock that is further off than this makes tokens seem expired or not yet valid.
const CLOCK: Duration = Duration::from_secs(30);

struct Report(Vec<CheckStep>);

impl Report {
    /// Without what a service may have repeated of our secrets.
    fn masked(self, client: &Client) -> Vec<CheckStep> {
        let mask = |text: String| client.session.auth.mask(text);
        let masked =
            |step: CheckStep| CheckStep { detail: mask(step.detail), hint: step.hint.map(mask), ..step };
        self.0.into_iter().map(masked).collect()
    }
}

impl Report {
    fn add(&mut self, step: &str, status: Status, detail: impl Into<String>) {
        self.0.push(CheckStep { step: step.to_owned(), status, detail: detail.into(), hint: None });
    }

    fn hint(&mut self, hint: impl Into<String>) {
        if let Some(last) = self.0.last_mut() {
            last.hint = Some(hint.into());
        }
    }

    fn fail(&mut self, step: &str, error: &Error) {
        let detail = match error.detail() {
            Some(detail) => format!("{}: {detail}", error.message()),
            None => error.message().to_owned(),
        };
        self.add(step, Status::Fail, detail);
        if let Some(hint) = error.hint() {
            self.hint(hint);
        }
    }

    fn skip(&mut self, steps: &[&str], why: &str) {
        for step in steps {
            self.add(step, Status::Skip, why);
        }
    }
}

const AFTER_CONNECT: [&str; 12] = [
    "cloud id",
    "credential",
    "workspace",
    "route",
    "scope read:cmdb-schema:jira",
    "scope read:cmdb-type:jira",
    "scope read:cmdb-attribute:jira",
    "scope read:cmdb-object:jira",
    "visible schemas",
    "visible objects",
    "clock",
    "rate limit",
];

pub(crate) async fn run(client: &Client) -> Vec<CheckStep> {
    let mut report = Report(Vec::new());
    client.session.forget_hearsay();
    options(client, &mut report);
    let Some(date) = connect(client, &mut report).await else {
        report.skip(&AFTER_CONNECT, "no connection");
        return report.masked(client);
    };
    let session = &client.session;
    let meter = session.meter();
    match session.cloud(meter).await {
        Ok(cloud) => report.add("cloud id", Status::Ok, &*cloud),
        // Needed on the cloud gateway only; where it is needed, the workspace or route fails too.
        Err(error) if session.auth.is_basic() => {
            report.add("cloud id", Status::Warn, error.message());
            report.hint("Set the server option cloud_id; scoped tokens cannot be used without.");
        }
        Err(error) => report.fail("cloud id", &error),
    }
    match session.auth.header(&session.http, session.meter(), None).await {
        Ok(_) => {
            report.add("credential", Status::Ok, session.auth.name());
            if workspace(client, &mut report).await {
                scopes(client, &mut report).await;
            }
        }
        Err(error) => {
            report.fail("credential", &error);
            report.skip(&AFTER_CONNECT[2..10], "the credential cannot be used");
        }
    }
    clock(date, &mut report);
    rate(client, &mut report);
    report.masked(client)
}

fn options(client: &Client, report: &mut Report) {
    let config = client.config();
    let place = config.site.as_deref().unwrap_or(&config.api_url);
    let detail = format!(
        "{place}, gateway {}, page_size {}, max_in_flight {}",
        config.api_url, config.page_size, config.max_in_flight
    );
    match config.site {
        Some(_) => report.add("options", Status::Ok, detail),
        None => {
            report.add("options", Status::Warn, format!("{detail}; no site: objects have no links"));
            report.hint("Set the server option site, as in 'https://acme.atlassian.net'.");
        }
    }
}

/// Name lookup, connection and TLS; the service's clock where it tells it. None: no way there.
async fn connect(client: &Client, report: &mut Report) -> Option<Option<SystemTime>> {
    let (host, result) = client.session.knock().await;
    let tls = client.config().site.as_deref().unwrap_or(&client.config().api_url).starts_with("https:");
    let tls_ok = |report: &mut Report| match tls {
        true => report.add("tls", Status::Ok, "the certificate is trusted"),
        false => report.add("tls", Status::Skip, "http to this machine"),
    };
    match result {
        Ok(incoming) => {
            report.add("name lookup", Status::Ok, &*host);
            report.add("connection", Status::Ok, format!("{host} answered {}", incoming.status));
            tls_ok(report);
            Some(incoming.date())
        }
        Err(failure @ Failure::Redirect(_)) => {
            report.add("name lookup", Status::Ok, &*host);
            report.fail("connection", &failed(failure, &host, "the tenant info"));
            tls_ok(report);
            None
        }
        Err(failure) => {
            let is_tls = matches!(failure, Failure::Tls(_));
            let is_lookup = matches!(&failure, Failure::Passing(Trouble::Connect, text)
                if text.contains("dns") || text.contains("lookup"));
            let error = failed(failure, &host, "the tenant info");
            if is_lookup {
                report.fail("name lookup", &error);
                report.skip(&["connection", "tls"], "no address");
            } else if is_tls {
                report.add("name lookup", Status::Ok, &*host);
                report.add("connection", Status::Ok, &*host);
                report.fail("tls", &error);
            } else {
                report.add("name lookup", Status::Ok, &*host);
                report.fail("connection", &error);
                report.skip(&["tls"], "no connection");
            }
            None
        }
    }
}

async fn workspace(client: &Client, report: &mut Report) -> bool {
    match client.session.workspace(client.session.meter()).await {
        Ok(workspace) => {
            report.add("workspace", Status::Ok, &*workspace);
            true
        }
        Err(error) => {
            if error.kind() == Kind::Unauthorized
                && let Some(last) = report.0.iter_mut().find(|step| step.step == "credential")
            {
                last.status = Status::Warn;
                last.detail = format!("{} was refused", client.session.auth.name());
            }
            report.fail("workspace", &error);
            report.skip(&AFTER_CONNECT[3..10], "no workspace");
            false
        }
    }
}

/// One harmless request for each scope; the first one finds the route.
async fn scopes(client: &Client, report: &mut Report) {
    client.forget_metadata();
    let schemas = client.schemas().await;
    let objects = client.total_count("Key is not EMPTY").await;
    match client.session.route() {
        Some(route) => report.add("route", Status::Ok, route.name()),
        None => match objects.as_ref().err().or(schemas.as_ref().err()) {
            Some(error) => report.fail("route", error),
            None => report.add("route", Status::Ok, "found"),
        },
    }
    let scope = |report: &mut Report, scope: &str, result: Result<String, &Error>| match result {
        Ok(detail) => report.add(&format!("scope {scope}"), Status::Ok, detail),
        Err(error) => report.fail(&format!("scope {scope}"), error),
    };
    scope(report, "read:cmdb-schema:jira", schemas.as_ref().map(|s| format!("{} object schemas", s.len())));

    let mut schema = None;
    if let Ok(list) = &schemas {
        schema = list.iter().max_by_key(|s| s.object_count).map(|s| s.id);
    }
    let mut object_type = None;
    match schema {
        None => report.skip(&["scope read:cmdb-type:jira"], "no object schema to try it on"),
        Some(schema) => {
            let types = client.types(schema).await;
            if let Ok(list) = &types {
                object_type = list.iter().find(|t| !t.is_abstract).map(|t| t.id);
            }
            let detail = types.as_ref().map(|t| format!("{} object types in schema {schema}", t.len()));
            scope(report, "read:cmdb-type:jira", detail);
        }
    }
    match object_type {
        None => report.skip(&["scope read:cmdb-attribute:jira"], "no object type to try it on"),
        Some(object_type) => {
            let attributes = client.attributes(object_type).await;
            let detail =
                attributes.as_ref().map(|a| format!("{} attributes of object type {object_type}", a.len()));
            scope(report, "read:cmdb-attribute:jira", detail);
        }
    }
    let no_schema = schemas.as_ref().is_ok_and(|list| list.is_empty());
    match &objects {
        // A credential that sees no object schema is refused for want of a role, not of a scope; so says 403 at any
        // time (assets-api.md 1.5), unless it is not the service that says it.
        Err(error) if no_schema && error.kind() != Kind::Unauthorized && !names_a_scope(error) => {
            report.skip(&["scope read:cmdb-object:jira"], "no object schema to try it on");
        }
        Err(error) if error.kind() == Kind::Forbidden => {
            let detail = match error.detail() {
                Some(words) => format!("objects are not counted for this credential: {words}"),
                None => "objects are not counted for this credential".to_owned(),
            };
            report.add("scope read:cmdb-object:jira", Status::Warn, detail);
            if let Some(hint) = error.hint() {
                report.hint(hint);
            }
        }
        _ => {
            let counted = objects.as_ref().map(|_| "objects can be counted".to_owned());
            scope(report, "read:cmdb-object:jira", counted);
        }
    }

    match &schemas {
        Ok(list) if list.is_empty() => {
            report.add("visible schemas", Status::Warn, "none");
            report.hint(
                "Give the account the role Object schema users in the object schema's configuration, under Roles.",
            );
        }
        Ok(list) => {
            let shown: Vec<String> = list
                .iter()
                .take(20)
                .map(|s| match s.object_count {
                    Some(count) => format!("{} ({count})", s.key),
                    None => s.key.clone(),
                })
                .collect();
            let more = if list.len() > 20 { ", …" } else { "" };
            report.add("visible schemas", Status::Ok, format!("{}{more}", shown.join(", ")));
        }
        Err(_) => report.skip(&["visible schemas"], "schemas cannot be read"),
    }
    match &objects {
        Ok(0) => {
            report.add("visible objects", Status::Warn, "0");
            report.hint("Objects in schemas without a role for this account are simply absent.");
        }
        Ok(count) => report.add("visible objects", Status::Ok, count.to_string()),
        Err(_) => report.skip(&["visible objects"], "objects are not counted"),
    }
}

fn clock(date: Option<SystemTime>, report: &mut Report) {
    let Some(date) = date else {
        report.skip(&["clock"], "the service did not tell the time");
        return;
    };
    let now = SystemTime::now();
    let off = now.duration_since(date).unwrap_or_else(|e| e.duration());
    if off > CLOCK {
        report.add("clock", Status::Warn, format!("differs from the service's by {} s", off.as_secs()));
        report.hint(
            "Keep the database server's clock right (NTP): tokens and incremental refreshes rest on it.",
        );
    } else {
        report.add("clock", Status::Ok, format!("within {} s of the service's", off.as_secs().max(1)));
    }
}

fn rate(client: &Client, report: &mut Report) {
    let limit = client.config().requests_per_minute;
    let throttled = client.stats().throttled.load(std::sync::atomic::Ordering::Relaxed);
    let shown = match limit {
        0 => "no limit of ours".to_owned(),
        limit => format!("{limit} requests a minute"),
    };
    if let Leave::WaitFor(wait) = client.session.ask_budget(Endpoint::Other) {
        report.add("rate limit", Status::Warn, format!("{shown}; used up for {} s", wait / SECOND + 1));
        report.hint("Wait, or lower requests_per_minute so that the service does not answer 429.");
    } else if throttled > 0 {
        report.add(
            "rate limit",
            Status::Warn,
            format!("{shown}; the service answered 429 {throttled} times"),
        );
        report.hint("Lower requests_per_minute or max_in_flight: others use the same limit.");
    } else {
        report.add("rate limit", Status::Ok, shown);
    }
}
