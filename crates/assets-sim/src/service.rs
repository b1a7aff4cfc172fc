//! One request to one answer: log, faults, credentials, limits, then the endpoint.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use crate::CLOUD_ID;
use crate::data::change::{self, Change, How};
use crate::data::view::Visibility;
use crate::data::world::{Lag, World};
use crate::endpoints;
use crate::faults::{self, FaultKind, Faults};
use crate::http::{Reply, Request};
use crate::identity::{self, Credential, Identity, Tokens};
use crate::log::{Log, LogEntry, Place as LogPlace};
use crate::render::{Fragments, Place};
use crate::routes::{self, Endpoint, Route, Routed};
use crate::switches::{LimitBody, Switches};

/// Everything a running simulator holds.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) world: RwLock<World>,
    pub(crate) switches: RwLock<Switched>,
    pub(crate) faults: Mutex<Faults>,
    pub(crate) log: Mutex<Log>,
    pub(crate) identities: Vec<Identity>,
    pub(crate) tokens: Tokens,
    pub(crate) place: Place,
    pub(crate) object_bytes: Option<u32>,
    /// Changes to come after so many answers of object/aql.
    pub(crate) between: Mutex<Vec<(u32, Change)>>,
    pub(crate) hooks: Mutex<Hooks>,
    pub(crate) results: Mutex<endpoints::search::Results>,
    pub(crate) salt: AtomicU64,
    fragments: Mutex<Option<(Versions, Arc<Fragments>)>>,
    limits: Mutex<HashMap<(usize, Endpoint), VecDeque<Instant>>>,
    /// Searches under way.
    searching: AtomicUsize,
}

/// While a search is under way.
pub(crate) struct Searching<'a>(&'a AtomicUsize);

impl Drop for Searching<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Of the catalog and of the switches.
type Versions = (u64, u64);

/// What does several changes at one moment.
pub(crate) type Together = Box<dyn FnOnce(&mut dyn FnMut(&Change) -> Result<String, String>) + Send>;

/// What is to be done after so many further answers to searches and counts.
#[derive(Default)]
pub(crate) struct Hooks(pub(crate) Vec<(u32, Together)>);

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(left, _)| left)).finish()
    }
}

/// The switches and how often they were changed.
#[derive(Debug)]
pub(crate) struct Switched {
    pub(crate) version: u64,
    pub(crate) switches: Arc<Switches>,
}

/// A request with all that its endpoint needs.
pub(crate) struct Call<'a> {
    pub(crate) request: &'a Request,
    pub(crate) routed: &'a Routed,
    pub(crate) identity: &'a Identity,
    pub(crate) switches: Arc<Switches>,
    pub(crate) switches_version: u64,
    /// A fault that concerns pages, left to the search.
    pub(crate) page_fault: Option<FaultKind>,
}

impl Service {
    pub(crate) fn new(world: World, switches: Switches, place: Place, object_bytes: Option<u32>) -> Service {
        Service {
            world: RwLock::new(world),
            switches: RwLock::new(Switched { version: 0, switches: Arc::new(switches) }),
            faults: Mutex::default(),
            log: Mutex::default(),
            identities: identity::all(),
            tokens: Tokens::default(),
            place,
            object_bytes,
            between: Mutex::default(),
            hooks: Mutex::default(),
            results: Mutex::default(),
            salt: AtomicU64::new(1),
            fragments: Mutex::default(),
            limits: Mutex::default(),
            searching: AtomicUsize::new(0),
        }
    }

    pub(crate) fn switched(&self) -> (u64, Arc<Switches>) {
        let switched = self.switches.read().expect("switches");
        (switched.version, switched.switches.clone())
    }

    /// Changes the switches; the error says what was wrong and that nothing changed.
    pub(crate) fn switch(
        &self,
        change: impl FnOnce(&mut Switches) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut switched = self.switches.write().expect("switches");
        let mut switches = (*switched.switches).clone();
        change(&mut switches)?;
        switched.version += 1;
        let clock = (switches.clock_offset_ms, switches.stamp_step_ms);
        switched.switches = Arc::new(switches);
        drop(switched);
        self.world.write().expect("world").set_clock(clock.0, clock.1);
        Ok(())
    }

    /// How a write is carried out under the present switches.
    pub(crate) fn how(&self) -> How {
        let (_, switches) = self.switched();
        How {
            lag: Lag {
                time: Duration::from_millis(switches.index_lag_ms),
                searches: switches.index_lag_searches,
            },
            touch_referrers: switches.rename_touches_referrers,
            silent_moves: switches.moves_unannounced,
        }
    }

    /// Applies a change at once.
    pub(crate) fn apply(&self, change: &Change) -> Result<String, String> {
        let how = self.how();
        change::apply(&mut self.world.write().expect("world"), change, how)
    }

    /// Applies several changes at one moment: no request sees some of them without the others.
    pub(crate) fn together<T>(
        &self,
        work: impl FnOnce(&mut dyn FnMut(&Change) -> Result<String, String>) -> T,
    ) -> T {
        let how = self.how();
        let mut world = self.world.write().expect("world");
        work(&mut |change| change::apply(&mut world, change, how))
    }

    /// Does what is due after an answer of object/aql or object/aql/totalcount.
    pub(crate) fn after_search(&self) {
        let mut due = Vec::new();
        let mut hooks = self.hooks.lock().expect("hooks");
        hooks.0.iter_mut().for_each(|(left, _)| *left = left.saturating_sub(1));
        while let Some(at) = hooks.0.iter().position(|(left, _)| *left == 0) {
            due.push(hooks.0.remove(at).1);
        }
        drop(hooks);
        for work in due {
            self.together(work);
        }
    }

    /// Applies the changes that are due after an answer of object/aql.
    pub(crate) fn after_page(&self) {
        let mut due = Vec::new();
        self.between.lock().expect("changes").retain_mut(|(left, change)| {
            *left = left.saturating_sub(1);
            if *left == 0 {
                due.push(change.clone());
            }
            *left > 0
        });
        for change in due {
            // A change that cannot be made (its object is gone) has no one to report to here.
            let _ = self.apply(&change);
        }
    }

    /// The parts of answers that only depend on catalog and switches.
    pub(crate) fn fragments(&self, world: &World, version: u64, switches: &Switches) -> Arc<Fragments> {
        let key = (world.catalog_version, version);
        let mut kept = self.fragments.lock().expect("fragments");
        if let Some((of, fragments)) = kept.as_ref()
            && *of == key
        {
            return fragments.clone();
        }
        let everyone = Visibility::default();
        let fragments = Arc::new(Fragments::new(world.live(&everyone), switches, &self.place));
        *kept = Some((key, fragments.clone()));
        fragments
    }

    /// Answers a request of the service's own API. The log's place is closed by the caller, once the answer is out.
    pub(crate) fn begin(&self, request: &Request) -> (Routed, LogPlace) {
        let routed = routes::route(&request.method, &request.path);
        let number = |name| request.parameter(name).and_then(|v| v.parse().ok());
        let place = self.log.lock().expect("log").begin(LogEntry {
            number: 0,
            method: request.method.clone(),
            path: request.path.clone(),
            route: routed.route,
            endpoint: routed.endpoint,
            aql: request.json().and_then(|b| b["qlQuery"].as_str().map(str::to_owned)),
            start_at: number("startAt"),
            max_results: number("maxResults"),
            include_attributes: request.boolean("includeAttributes"),
            identity: None,
            status: 0,
            bytes: 0,
            fault: None,
            started: Instant::now(),
            finished: None,
            in_flight: 0,
        });
        (routed, place)
    }

    /// A search begins; the answer where the service bears no more of them at once.
    pub(crate) fn search(
        &self,
        routed: &Routed,
        place: LogPlace,
    ) -> Result<Option<Searching<'_>>, Box<Reply>> {
        if routed.endpoint != Endpoint::ObjectAql {
            return Ok(None);
        }
        let bears = self.switched().1.bears_in_flight as usize;
        let searching = Searching(&self.searching);
        let others = self.searching.fetch_add(1, Ordering::Relaxed);
        if bears == 0 || others < bears {
            return Ok(Some(searching));
        }
        self.log.lock().expect("log").change(place, |entry| entry.status = 429);
        Err(Box::new(Reply::html(429)))
    }

    /// How long a request takes before it is answered.
    pub(crate) fn takes(&self, request: &Request, routed: &Routed) -> Duration {
        let switches = self.switched().1;
        let mut takes = Duration::from_millis(switches.latency_ms);
        if routed.endpoint == Endpoint::ObjectAql {
            let asked: u64 = request.parameter("maxResults").and_then(|size| size.parse().ok()).unwrap_or(25);
            let cap = if switches.page_cap == 0 { asked } else { u64::from(switches.page_cap) };
            takes += Duration::from_micros(switches.object_us.saturating_mul(asked.min(cap)));
        }
        takes
    }

    /// Answers a request that was begun.
    pub(crate) fn answer(&self, request: &Request, routed: &Routed, place: LogPlace) -> Reply {
        let json = request.json();
        let aql = json.as_ref().and_then(|body| body["qlQuery"].as_str());
        let size = request.parameter("maxResults").and_then(|size| size.parse().ok());
        let fault = self.faults.lock().expect("faults").strike(routed.endpoint, aql, size);
        let mut reply = match fault.as_ref().and_then(faults::instead) {
            Some(reply) => {
                if fault == Some(FaultKind::ExpireTokens) {
                    self.tokens.expire();
                }
                reply
            }
            None => self.serve(request, routed, place, fault.as_ref()),
        };
        if let Some(kind) = &fault {
            faults::spoil(kind, &mut reply);
        }
        let (_, switches) = self.switched();
        let now = crate::clock::now_ms() + switches.clock_offset_ms + switches.date_offset_ms;
        reply = reply.with("Date", crate::clock::http_date(now));
        let wants_gzip = request.header("accept-encoding").is_some_and(|a| a.contains("gzip"));
        if switches.byte_order_mark && !reply.body.is_empty() {
            reply.body.splice(..0, *b"\xef\xbb\xbf");
        }
        if switches.gzip && wants_gzip && !reply.body.is_empty() {
            reply = reply.gzip();
        }
        self.log.lock().expect("log").change(place, |entry| {
            entry.status = if reply.wire == crate::http::Wire::ResetBefore { 0 } else { reply.status };
            entry.bytes = reply.body.len() as u64;
            entry.fault = fault.as_ref().map(FaultKind::name);
        });
        reply
    }

    fn serve(&self, request: &Request, routed: &Routed, place: LogPlace, fault: Option<&FaultKind>) -> Reply {
        let (switches_version, switches) = self.switched();
        match routed.endpoint {
            Endpoint::TenantInfo => {
                return Reply::json(200, format!("{{\"cloudId\":\"{CLOUD_ID}\"}}"));
            }
            Endpoint::Token => return identity::token(&self.identities, &self.tokens, &switches, request),
            _ => {}
        }
        // Credentials for accessible-resources are those of the cloud route.
        let route =
            if routed.endpoint == Endpoint::AccessibleResources { Route::Cloud } else { routed.route };
        let identity = match identity::authenticate(&self.identities, &self.tokens, route, request) {
            Ok(identity) => identity,
            Err(reply) => return *reply,
        };
        self.log.lock().expect("log").change(place, |e| e.identity = Some(identity.name.to_owned()));
        let mut identity = identity.clone();
        identity.sees.withdrawn.clone_from(&switches.withdrawn_schemas);
        let identity = &identity;
        if !allowed(identity, &switches, routed.endpoint, request) {
            return Reply::gateway(401, "Unauthorized; scope does not match");
        }
        if routed.cloud.as_deref().is_some_and(|c| c != CLOUD_ID)
            || routed.workspace.as_deref().is_some_and(|w| w != switches.workspace())
        {
            return Reply::gateway(404, "Not Found");
        }
        let checked = switches.need_no_check && request.method == "POST";
        if checked && request.header("x-atlassian-token") != Some("no-check") {
            return Reply::html(403);
        }
        let identity_index = self.identities.iter().position(|i| i.name == identity.name).unwrap_or(0);
        let limit = match self.limit(identity_index, routed.endpoint, &switches) {
            Ok(limit) => limit,
            Err(reply) => return *reply,
        };
        let page_fault = fault.cloned();
        let call = Call { request, routed, identity, switches, switches_version, page_fault };
        let mut reply = endpoints::answer(self, &call);
        reply.headers.extend(limit);
        reply
    }

    /// Counts a request against its budget; gives the headers to send, or the 429.
    fn limit(
        &self,
        identity: usize,
        endpoint: Endpoint,
        switches: &Switches,
    ) -> Result<Vec<(String, String)>, Box<Reply>> {
        let budget = match endpoint {
            Endpoint::ObjectAql => switches.aql_per_window,
            Endpoint::TotalCount => switches.totalcount_per_window,
            _ => switches.other_per_window,
        };
        if budget == 0 {
            return Ok(Vec::new());
        }
        let window = Duration::from_millis(switches.rate_window_ms);
        let now = Instant::now();
        let mut limits = self.limits.lock().expect("limits");
        let recent = limits.entry((identity, endpoint)).or_default();
        while recent.front().is_some_and(|at| now.duration_since(*at) >= window) {
            recent.pop_front();
        }
        let wait = recent.front().map_or(window, |at| window.saturating_sub(now.duration_since(*at)));
        let allowed = recent.len() < budget as usize;
        if allowed {
            recent.push_back(now);
        }
        let mut headers = Vec::new();
        if switches.rate_headers {
            let left = u64::from(budget) - recent.len() as u64;
            let reset = crate::clock::iso_instant(crate::clock::now_ms() + wait.as_millis() as i64);
            headers.push(("X-RateLimit-Limit".to_owned(), budget.to_string()));
            headers.push(("X-RateLimit-Remaining".to_owned(), left.to_string()));
            headers.push(("X-RateLimit-Reset".to_owned(), reset));
        }
        if allowed {
            return Ok(headers);
        }
        let text = format!(
            "The request has been rate limited by the system. Every API key is allowed to perform {budget} requests \
             per minute to this endpoint."
        );
        let mut reply = match switches.limit_body {
            LimitBody::Json => Reply::errors(429, &[&text], &[]),
            LimitBody::Html => Reply::html(429),
            LimitBody::Empty => Reply::empty(429),
        };
        if switches.retry_after {
            reply = reply.with("Retry-After", wait.as_millis().div_ceil(1000).to_string());
        }
        reply.headers.extend(headers);
        Err(Box::new(reply))
    }
}

/// True if the credential's scopes cover the request (assets-api.md section 1.3).
fn allowed(identity: &Identity, switches: &Switches, endpoint: Endpoint, request: &Request) -> bool {
    let Some(scopes) = &switches.scopes else { return true };
    if identity.credential == Credential::Classic {
        return true;
    }
    let has = |scope: &str| scopes.iter().any(|s| s == scope);
    // A read with attributes needs the scope of attributes too (assets-api.md section 13).
    let with_attributes = match endpoint {
        Endpoint::ObjectAql => request.boolean("includeAttributes") != Some(false),
        Endpoint::ObjectGet | Endpoint::ObjectAttributes => true,
        _ => false,
    };
    endpoint.scope().is_none_or(has) && (!with_attributes || has("read:cmdb-attribute:jira"))
}

impl Service {
    /// A new number for orders that differ each time.
    pub(crate) fn salt(&self) -> u64 {
        self.salt.fetch_add(1, Ordering::Relaxed)
    }
}
