//! The client: one identity at one workspace.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::Deserialize;
use tokio::time::Instant;

use crate::budget::Endpoint;
use crate::buffers::Room;
use crate::check::{self, CheckStep};
use crate::config::{Config, Credential};
use crate::decode::scalar::Scalar;
use crate::decode::{self, Layout, Unreadable};
use crate::error::{Error, Kind};
use crate::metadata::Metadata;
use crate::model::{Attribute, ObjectSchema, ObjectType, Status};
use crate::pages::{Facts, Pace, Reply, SMALLEST_PAGE};
use crate::session::{self, Call, Less, Part, Session, Strain};
use crate::shared::Shared;
use crate::sizes::Sizes;
use crate::stats::{Meter, ScanStats, Stats};
use crate::value::ColumnSpec;
use crate::wire;

/// Schemas asked for at once.
const SCHEMAS: usize = 100;
/// A workspace with more schemas than this does not exist; a list that does not end might.
const MOST_SCHEMAS: usize = 100_000;

/// A client of one workspace as one identity. Share it in an [`Arc`]: connections, the token, the
/// route, the metadata and what was learnt of the service and its objects live in it.
pub struct Client {
    pub(crate) session: Session,
    metadata: Metadata,
    facts: Mutex<Facts>,
    pub(crate) sizes: Sizes,
    /// How pages differ from what is known, where that means nothing.
    pub(crate) settled: tokio::sync::Mutex<HashSet<u64>>,
}

/// One page of a query.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) aql: &'a str,
    pub(crate) start: u64,
    pub(crate) size: u32,
    /// What went before, with more objects.
    pub(crate) strain: Option<Strain>,
    /// Not asked again where it fails.
    pub(crate) once: bool,
}

impl<'a> Wanted<'a> {
    pub(crate) fn new(aql: &'a str, start: u64, size: u32) -> Self {
        Self { aql, start, size, strain: None, once: false }
    }
}

/// Objects on a page, as deployed clients get them (assets-api.md 13).
const USUAL_PAGE: usize = 100;

impl Client {
    /// A client; sends nothing. Must be called inside a tokio runtime. `shared` is what it shares with
    /// other clients: budgets and tokens, kept apart by identity and service.
    ///
    /// # Errors
    /// [`Kind::Config`] for a bad origin, id or certificate, an unreachable combination of options
    /// and credential, and for Data Center, which is not built yet.
    pub fn new(config: Config, credential: Credential, shared: Arc<dyn Shared>) -> Result<Client, Error> {
        let session = Session::new(config, credential, shared)?;
        let metadata = Metadata::new(session.lore.clone());
        Ok(Client {
            session,
            metadata,
            facts: Mutex::default(),
            sizes: Sizes::default(),
            settled: tokio::sync::Mutex::default(),
        })
    }

    pub(crate) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &Config {
        &self.session.config
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        &self.session.stats
    }

    /// The object schemas visible to the credential, with counts; all pages, kept for ten minutes
    /// (assets-api.md 2.5).
    pub async fn schemas(&self) -> Result<Arc<[ObjectSchema]>, Error> {
        if let Some(schemas) = self.metadata.schemas() {
            return Ok(schemas);
        }
        let asked = Instant::now();
        let mut schemas: Vec<ObjectSchema> = Vec::new();
        let size = SCHEMAS.to_string();
        let mut start = 0;
        loop {
            let from = start.to_string();
            let query = [("startAt", from.as_str()), ("maxResults", &size), ("includeCounts", "true")];
            let page: wire::SchemaPage =
                self.get("the list of object schemas", "objectschema/list", &query).await?;
            let (received, last) = (page.values.len(), page.says_last());
            let before = schemas.len();
            for schema in page.values.into_iter().map(wire::Schema::into_model) {
                if !schemas.iter().any(|known| known.id == schema.id) {
                    schemas.push(schema);
                }
            }
            start += received;
            if received == 0 || last {
                break;
            }
            if schemas.len() == before || schemas.len() > MOST_SCHEMAS {
                return Err(Error::new(Kind::Protocol, "the list of object schemas does not end"));
            }
        }
        let schemas: Arc<[ObjectSchema]> = schemas.into();
        self.metadata.keep_schemas(schemas.clone(), asked);
        Ok(schemas)
    }

    /// The object types of a schema, flat, with counts, kept for ten minutes.
    pub async fn types(&self, schema_id: i64) -> Result<Arc<[ObjectType]>, Error> {
        if let Some(types) = self.metadata.types(schema_id) {
            return Ok(types);
        }
        let asked = Instant::now();
        let what = format!("the object types of schema {schema_id}");
        let path = format!("objectschema/{schema_id}/objecttypes/flat");
        let list: wire::List<wire::Type> = self.get(&what, &path, &[("includeObjectCounts", "true")]).await?;
        let types: Arc<[ObjectType]> = list.into_vec().into_iter().map(|t| t.into_model(true)).collect();
        self.metadata.keep_types(schema_id, types.clone(), asked);
        Ok(types)
    }

    /// The same, asked for now.
    pub async fn types_anew(&self, schema_id: i64) -> Result<Arc<[ObjectType]>, Error> {
        self.metadata.forget_types(schema_id);
        self.types(schema_id).await
    }

    /// The same, asked for at `moment` or later.
    pub async fn types_as_of(&self, schema_id: i64, moment: Instant) -> Result<Arc<[ObjectType]>, Error> {
        match self.metadata.types_since(schema_id) {
            Some((types, since)) if since >= moment => Ok(types),
            _ => self.types_anew(schema_id).await,
        }
    }

    /// When the oldest of these was asked for: the types of a schema, the attributes of types. None where
    /// something of it is not known.
    pub fn known_since(&self, schema_id: Option<i64>, types: &[i64]) -> Option<Instant> {
        self.metadata.oldest(schema_id, types)
    }

    /// Whether the service takes in the types below one when it is asked to (`objectTypeAndChildren`,
    /// documented: assets-api.md 3.2, 4.5), where that has been found out.
    pub fn takes_types_below(&self) -> Option<bool> {
        self.metadata.tree()
    }

    /// Notes whether the service refused to.
    pub fn keep_tree_refused(&self, refused: bool) {
        self.metadata.keep_tree(!refused);
    }

    /// The attributes of a type, inherited ones included, kept for ten minutes.
    pub async fn attributes(&self, type_id: i64) -> Result<Arc<[Attribute]>, Error> {
        if let Some(attributes) = self.metadata.attributes(type_id) {
            return Ok(attributes);
        }
        let asked = Instant::now();
        let what = format!("the attributes of object type {type_id}");
        let path = format!("objecttype/{type_id}/attributes");
        let list: wire::List<wire::Attribute> = self.get(&what, &path, &[]).await?;
        let attributes: Arc<[Attribute]> =
            list.into_vec().into_iter().map(wire::Attribute::into_model).collect();
        self.metadata.keep_attributes(type_id, attributes.clone(), asked);
        Ok(attributes)
    }

    /// The attributes of all types of a schema (assets-api.md 2.5), each once or more often; whether
    /// inherited ones are repeated is not documented. Always asks.
    pub async fn schema_attributes(&self, schema_id: i64) -> Result<Vec<Attribute>, Error> {
        let what = format!("the attributes of schema {schema_id}");
        let path = format!("objectschema/{schema_id}/attributes");
        let list: wire::List<wire::Attribute> = self.get(&what, &path, &[]).await?;
        Ok(list.into_vec().into_iter().map(wire::Attribute::into_model).collect())
    }

    /// One object type, without its count; kept for ten minutes.
    pub async fn object_type(&self, type_id: i64) -> Result<ObjectType, Error> {
        if let Some(found) = self.metadata.object_type(type_id) {
            return Ok(found);
        }
        let asked = Instant::now();
        let what = format!("object type {type_id}");
        let found: wire::Type = self.get(&what, &format!("objecttype/{type_id}"), &[]).await?;
        let found = found.into_model(false);
        self.metadata.keep_object_type(type_id, found.clone(), asked);
        Ok(found)
    }

    /// The statuses that objects of a schema may have: those of all schemas and its own (assets-api.md 2.6), kept for
    /// ten minutes. None where the credential may not read them.
    pub async fn statuses(&self, schema_id: i64) -> Result<Arc<[Status]>, Error> {
        if let Some(statuses) = self.metadata.statuses(schema_id) {
            return Ok(statuses);
        }
        let schema = schema_id.to_string();
        let mut found: Vec<Status> = Vec::new();
        for query in [&[][..], &[("objectSchemaId", schema.as_str())]] {
            let list: Result<wire::List<wire::Status>, Error> =
                self.get("the list of statuses", "config/statustype", query).await;
            match list {
                Ok(list) => found.extend(list.into_vec().into_iter().map(wire::Status::into_model)),
                Err(e) if e.kind() == Kind::Unauthorized || e.kind().refuses_counts() => {
                    found.clear();
                    break;
                }
                Err(e) => return Err(e),
            }
        }
        let statuses: Arc<[Status]> = found.into();
        self.metadata.keep_statuses(schema_id, statuses.clone());
        Ok(statuses)
    }

    /// What [`Client::statuses`] got in the last ten minutes, without a request.
    pub fn cached_statuses(&self, schema_id: i64) -> Option<Arc<[Status]>> {
        self.metadata.statuses(schema_id)
    }

    /// How many objects match; always asks (assets-api.md 2.2), and keeps the answer for
    /// [`Client::cached_count`].
    pub async fn total_count(&self, aql: &str) -> Result<u64, Error> {
        let count = self.count(aql, self.session.meter()).await?;
        self.keep_count(aql, count);
        Ok(count)
    }

    pub(crate) fn keep_count(&self, aql: &str, count: u64) {
        self.metadata.keep_count(aql, count);
    }

    pub(crate) fn forget_count(&self, aql: &str) {
        self.metadata.forget_count(aql);
    }

    /// What [`Client::types`] got in the last ten minutes, without a request.
    pub fn cached_types(&self, schema_id: i64) -> Option<Arc<[ObjectType]>> {
        self.metadata.types(schema_id)
    }

    /// What [`Client::attributes`] got in the last ten minutes, without a request.
    pub fn cached_attributes(&self, type_id: i64) -> Option<Arc<[Attribute]>> {
        self.metadata.attributes(type_id)
    }

    /// What [`Client::total_count`] got in the last ten minutes, without a request.
    pub fn cached_count(&self, aql: &str) -> Option<u64> {
        self.metadata.count(aql)
    }

    /// Whether the service refused to count for us in the last ten minutes, whatever was to be counted
    /// (403, or 404 where it has no such endpoint).
    pub fn counts_refused(&self) -> bool {
        self.metadata.counts_refused()
    }

    /// Has it found out anew whether the service takes in the types below one, where it did.
    pub fn doubt_types_below(&self) {
        self.metadata.doubt_tree();
    }

    /// Drops everything remembered about schemas, types, attributes and counts.
    pub fn forget_metadata(&self) {
        self.metadata.forget();
    }

    /// The workspace that the client reads from, found out where it is not known.
    ///
    /// # Errors
    /// Whatever finding it out meets.
    pub async fn workspace(&self) -> Result<Arc<str>, Error> {
        self.session.workspace(self.session.meter()).await
    }

    /// Has the way to the service found anew, as the options and the site say it: a site that was restored has
    /// another workspace.
    pub fn forget_whereabouts(&self) {
        self.session.forget_whereabouts();
    }

    /// Any JSON below the workspace's base, by GET; `path` has no leading slash and is a literal
    /// path, `query` is encoded.
    pub async fn get_json(&self, path: &str, query: &[(&str, &str)]) -> Result<serde_json::Value, Error> {
        self.get(path, path, query).await
    }

    /// Tries every step of the way to the service; never fails itself. Takes about ten requests.
    pub async fn check(&self) -> Vec<CheckStep> {
        check::run(self).await
    }

    async fn get<T: for<'de> Deserialize<'de>>(
        &self,
        what: &str,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, Error> {
        let call = Call {
            what,
            path,
            query,
            body: None,
            endpoint: Endpoint::Other,
            meter: self.session.meter(),
            part: None,
            once: false,
        };
        self.call(call, session::json).await
    }

    async fn call<T>(
        &self,
        call: Call<'_>,
        read: impl Fn(&[u8]) -> Result<T, Unreadable>,
    ) -> Result<T, Error> {
        let counting = call.endpoint == Endpoint::TotalCount;
        let mut result = self.session.call(call, &read).await;
        let refuses = |result: &Result<T, Error>| result.as_ref().is_err_and(|e| e.kind().refuses_counts());
        if counting && refuses(&result) && self.metadata.has_counted() {
            // The service does count for us: that may have been something in between.
            result = self.session.call(call, &read).await;
        }
        let refused = refuses(&result);
        if counting && (refused || result.is_ok()) {
            self.metadata.keep_counts_refused(refused);
        } else if result.as_ref().is_err_and(|e| matches!(e.kind(), Kind::NotFound | Kind::AqlRejected)) {
            // What was remembered may be what is gone or has another name now.
            self.forget_metadata();
            self.metadata.doubt_tree();
        }
        result
    }

    pub(crate) async fn count(&self, aql: &str, meter: Meter<'_>) -> Result<u64, Error> {
        #[derive(Deserialize)]
        struct Count<'a> {
            #[serde(rename = "totalCount", borrow)]
            total: Scalar<'a>,
        }
        let body = query_body(aql);
        let call = Call {
            what: "the count of objects",
            path: "object/aql/totalcount",
            query: &[],
            body: Some(&body),
            endpoint: Endpoint::TotalCount,
            meter,
            part: None,
            once: false,
        };
        self.call(call, |bytes| {
            let count: Count<'_> = serde_json::from_slice(bytes)
                .map_err(|e| Unreadable { broken: !e.is_data(), what: e.to_string() })?;
            count.total.int().and_then(|n| u64::try_from(n).ok()).ok_or_else(|| Unreadable {
                broken: false,
                what: format!("totalCount is {}", count.total.brief()),
            })
        })
        .await
    }

    /// One page of a scan. A 400 is an answer, not an error, and so is a page for which there is no room, or
    /// that the service did not give, where it can be asked for with fewer objects. `strain` is what went
    /// before with more.
    pub(crate) async fn page(
        self: &Arc<Self>,
        wanted: Wanted<'_>,
        layout: &Layout,
        stats: &ScanStats,
        room: &Arc<Room>,
    ) -> Result<Reply, Error> {
        let Wanted { aql, start, size, strain, once } = wanted;
        let divisible = size > SMALLEST_PAGE && !once;
        let less = OnceLock::new();
        let (start, size) = (start.to_string(), size.to_string());
        // In the URL: the same names in the body are ignored (assets-api.md 2.1).
        let query = [
            ("startAt", start.as_str()),
            ("maxResults", size.as_str()),
            ("includeAttributes", if layout.needs_attributes() { "true" } else { "false" }),
        ];
        let body = query_body(aql);
        let call = Call {
            what: "a page of objects",
            path: "object/aql",
            query: &query,
            body: Some(&body),
            endpoint: Endpoint::ObjectAql,
            meter: self.session.meter_of(stats),
            part: divisible.then_some(Part { room, strain, less: &less }),
            once,
        };
        let known = self.metadata.definitions();
        let read = |bytes: &[u8]| Ok((decode::page(bytes, layout, &known)?, bytes.len()));
        match self.call(call, read).await {
            Ok((answer, bytes)) => {
                if let Some(expected) = layout.expected().filter(|_| !answer.differences.is_empty()) {
                    self.settle(expected, &answer.differences, &answer.types).await?;
                }
                if let Some(expected) = layout.expected().filter(|_| answer.is_silent) {
                    self.vouch(expected).await?;
                }
                Ok(Reply::Page(answer, bytes))
            }
            Err(error) if error.kind() == Kind::AqlRejected => Ok(Reply::Refused(error)),
            Err(error) => match less.into_inner() {
                None => Err(error),
                Some(Less::NoRoom(length)) => Ok(Reply::TooLong(length)),
                Some(Less::TooMuch(smaller, strain)) => Ok(Reply::TooMuch(smaller, Some(strain))),
            },
        }
    }

    /// Whether the service answers a query at all: its first page of `size` objects, or fewer where it gives no
    /// more, asked for once. The answer is not kept.
    ///
    /// # Errors
    /// Whatever it fails with, a refusal of the query among it.
    pub async fn tries(
        self: &Arc<Self>,
        aql: &str,
        size: u32,
        columns: Arc<[ColumnSpec]>,
        stats: &ScanStats,
    ) -> Result<(), Error> {
        let layout = Layout::new(columns.clone(), self.config().site.as_deref());
        let pace = Pace::new(size, self.object_size(&columns), self.given(&columns));
        let wanted = Wanted { once: true, ..Wanted::new(aql, 0, size.min(pace.size())) };
        match self.page(wanted, &layout, stats, &Arc::default()).await {
            Ok(Reply::Refused(error)) => Err(error),
            Ok(Reply::Page(..) | Reply::TooLong(_) | Reply::TooMuch(..) | Reply::Count(_)) => Ok(()),
            // An answer, whatever is wrong with it.
            Err(error) if error.kind() == Kind::TooLarge => Ok(()),
            Err(error) if error.kind() == Kind::Protocol && !error.is_doubtful() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// How many objects one request gives, as far as is known: as many as one has given, and no fewer than
    /// what services are known to give (assets-api.md 13), since a page may have been asked for small.
    pub fn objects_a_request(&self) -> usize {
        let size = self.config().page_size as usize;
        self.facts().page.unwrap_or(0).max(USUAL_PAGE).min(size)
    }

    pub(crate) fn facts(&self) -> Facts {
        *self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn learn(&self, facts: Facts) {
        *self.facts.lock().unwrap_or_else(PoisonError::into_inner) = facts;
    }
}

fn query_body(aql: &str) -> Vec<u8> {
    serde_json::json!({ "qlQuery": aql }).to_string().into_bytes()
}
