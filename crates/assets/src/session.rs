//! From a wanted path to an answer: the route, the budget, the authorization, retries, and what went
//! wrong in words.

mod discovery;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use commons::Key;
use commons::limits::Leave;
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::auth::{Auth, Refusal};
use crate::budget::{Budget, Endpoint, Sent, TooLong};
use crate::buffers::Room;
use crate::complaint;
use crate::config::{Config, Credential, Deployment};
use crate::decode::Unreadable;
use crate::error::{Error, Kind};
use crate::http::{Body, Failure, Http, Incoming, Outgoing};
use crate::lore::{Lore, Subject};
use crate::retry::{self, Situation, Smaller, Trouble};
use crate::route::{self, Route};
use crate::shared::{Hasher, Shared};
use crate::stats::{Meter, ScanStats, Stats};

/// No longer pause is taken from an answer that is not a 429: its headers may be about another limit.
const MINUTE: Duration = Duration::from_secs(60);
/// So long what another session has found out of the way to the service is tried.
const BELIEVED: Duration = Duration::from_secs(600);
/// A shorter wait than this that the service asks for is none.
const SECOND: Duration = Duration::from_secs(1);

pub(crate) struct Session {
    pub(crate) config: Config,
    pub(crate) auth: Arc<Auth>,
    /// What sessions of this identity have found out.
    pub(crate) lore: Arc<Lore>,
    pub(crate) http: Http,
    pub(crate) stats: Stats,
    budget: Budget,
    shared: Arc<dyn Shared>,
    known: Mutex<Known>,
    /// The last `Date` of an answer, in microseconds since 1970; 0: none yet.
    date: AtomicI64,
}

/// What has been found out about the way to the workspace.
#[derive(Default, Clone)]
struct Known {
    cloud: Option<Arc<str>>,
    workspace: Option<Arc<str>>,
    route: Option<Route>,
    /// Discovery worked only through the cloud gateway: the token is a scoped one.
    scoped: bool,
    /// Another session found it out, and nothing has worked with it yet in this one.
    hearsay: bool,
    /// It is where this client is to read from, wherever the site leads by now: others find out for themselves.
    bound: bool,
}

impl Known {
    /// What the options say.
    fn told(config: &Config) -> Self {
        Self {
            cloud: config.cloud_id.as_deref().map(Arc::from),
            workspace: config.workspace_id.as_deref().map(Arc::from),
            ..Self::default()
        }
    }

    /// What the options say, and what another session has found out.
    fn recalled(config: &Config, lore: &Lore) -> Self {
        let mut known = Self::told(config);
        if let Some((way, _)) = lore.recall::<Way>(Subject::Way, 0, BELIEVED) {
            known.take_over(way.whereabouts);
            (known.route, known.hearsay) = (Some(way.route), true);
        }
        known
    }

    fn take_over(&mut self, there: Whereabouts) {
        let plain = |id: Option<String>| id.filter(|id| crate::option::is_plain_id(id)).map(Arc::from);
        self.workspace = self.workspace.take().or_else(|| plain(there.workspace));
        self.cloud = self.cloud.take().or_else(|| plain(there.cloud));
        self.scoped |= there.scoped;
    }
}

/// What of it is worth keeping beyond the process.
#[derive(Serialize, Deserialize)]
pub(crate) struct Whereabouts {
    workspace: Option<String>,
    cloud: Option<String>,
    scoped: bool,
}

/// All that another session needs to send its first request at once.
#[derive(Serialize, Deserialize)]
struct Way {
    whereabouts: Whereabouts,
    route: Route,
}

/// One request below the workspace's base, or, with `absolute`, elsewhere.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    /// What it is for, as in "cannot read {what}".
    pub(crate) what: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a [(&'a str, &'a str)],
    /// A POST with this JSON body; else a GET.
    pub(crate) body: Option<&'a [u8]>,
    pub(crate) endpoint: Endpoint,
    pub(crate) meter: Meter<'a>,
    pub(crate) part: Option<Part<'a>>,
    /// Not sent again where it fails; but for what is only a matter of waiting.
    pub(crate) once: bool,
}

/// Where less can be asked for.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    /// The room for the answer.
    pub(crate) room: &'a Arc<Room>,
    /// What went before, with more objects.
    pub(crate) strain: Option<Strain>,
    /// Gets why less is to be asked for.
    pub(crate) less: &'a OnceLock<Less>,
}

/// Why less is to be asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Less {
    /// The answer is so many bytes long, or longer: no room.
    NoRoom(usize),
    /// The service did not give it.
    TooMuch(Smaller, Strain),
}

/// Failures of a page, while it gets smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Strain {
    begun: Instant,
    failures: u32,
}

/// A request with everything resolved but the authorization.
pub(crate) struct Exchange<'a> {
    pub(crate) what: &'a str,
    pub(crate) url: Url,
    /// For messages.
    pub(crate) way: &'a str,
    body: Option<&'a [u8]>,
    pub(crate) endpoint: Endpoint,
    pub(crate) authorized: bool,
    meter: Meter<'a>,
    part: Option<Part<'a>>,
    once: bool,
}

impl Session {
    pub(crate) fn new(
        config: Config,
        credential: Credential,
        shared: Arc<dyn Shared>,
    ) -> Result<Self, Error> {
        if config.deployment == Deployment::DataCenter {
            return Err(Error::new(Kind::Config, "deployment 'datacenter' is not built yet"));
        }
        if let Some(site) = &config.site {
            check_origin("site", site)?;
        }
        check_origin("api_url", &config.api_url)?;
        check_origin("auth_url", &config.auth_url)?;
        for (option, id) in [("workspace_id", &config.workspace_id), ("cloud_id", &config.cloud_id)] {
            if let Some(id) = id
                && !crate::option::is_plain_id(id)
            {
                return Err(Error::new(
                    Kind::Config,
                    format!("{option} must consist of letters, digits and hyphens"),
                ));
            }
        }
        if config.site.is_none() && config.workspace_id.is_none() {
            return Err(Error::new(Kind::Config, "neither site nor workspace_id is set")
                .with_hint("Set the server option site, as in 'https://acme.atlassian.net'."));
        }
        let auth = Arc::new(Auth::new(credential, &config, shared.clone())?);
        if !auth.is_basic() && !auth.is_withheld() && config.site.is_none() && config.cloud_id.is_none() {
            return Err(Error::new(
                Kind::Config,
                "this kind of credential needs the cloud id: neither site nor cloud_id is set",
            )
            .with_hint("Set the server option site, or cloud_id as well as workspace_id."));
        }
        let http = Http::new(&config)?;
        let lore = Arc::new(Lore::new(&config, auth.clone(), shared.clone()));
        let known = Known::recalled(&config, &lore);
        lore.of(known.workspace.clone());
        // Redirects are followed, and a token may have to be fetched first.
        let takes = config.request_timeout.saturating_mul(4).saturating_add(MINUTE);
        let budget = Budget::new(shared.clone(), config.requests_per_minute, config.retry_timeout, takes);
        Ok(Self {
            config,
            auth,
            lore,
            http,
            stats: Stats::default(),
            budget,
            shared,
            known: Mutex::new(known),
            date: AtomicI64::new(0),
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Workspace and cloud id, as far as they are known.
    pub(crate) fn whereabouts(&self) -> Whereabouts {
        let known = self.known();
        Whereabouts {
            workspace: known.workspace.as_deref().map(str::to_owned),
            cloud: known.cloud.as_deref().map(str::to_owned),
            scoped: known.scoped,
        }
    }

    /// What [`Session::whereabouts`] said in another process, which holds whatever other sessions have found out since.
    /// What the options say, and what was found out here, comes first.
    pub(crate) fn is_at(&self, there: Whereabouts) {
        let mut known = self.known();
        if known.hearsay {
            *known = Known::told(&self.config);
        }
        known.bound |= known.workspace.is_none();
        known.take_over(there);
        self.lore.of(known.workspace.clone());
    }

    pub(crate) fn forget_whereabouts(&self) {
        self.lore.forget(Subject::Way, 0);
        let known = Known::told(&self.config);
        self.lore.of(known.workspace.clone());
        *self.known() = known;
    }

    /// Has everything found out here that another session has only told.
    pub(crate) fn forget_hearsay(&self) {
        if self.known().hearsay {
            self.forget_whereabouts();
        }
    }

    /// Whether what another session told of the way may be why a call failed.
    fn was_misled(&self, error: &Error) -> bool {
        let astray = matches!(error.kind(), Kind::NotFound | Kind::Unauthorized | Kind::Forbidden);
        astray && self.known().hearsay
    }

    fn found(&self, route: Route) {
        self.known().route = Some(route);
        if self.known().bound {
            return;
        }
        let way = Way { whereabouts: self.whereabouts(), route };
        self.lore.tell(Subject::Way, 0, &way, Instant::now());
    }

    pub(crate) fn service_time(&self) -> Option<i64> {
        Some(self.date.load(Ordering::Relaxed)).filter(|date| *date != 0)
    }

    pub(crate) fn meter(&self) -> Meter<'_> {
        Meter { client: &self.stats, shared: &*self.shared, scan: None }
    }

    /// The meter of one scan.
    pub(crate) fn meter_of<'a>(&'a self, scan: &'a ScanStats) -> Meter<'a> {
        Meter { scan: Some(scan), ..self.meter() }
    }

    /// Asks the site once for its tenant info, or, without a site, the gateway for anything: shows
    /// whether there is a way there at all, and the service's clock.
    pub(crate) async fn knock(&self) -> (String, Result<Incoming, Failure>) {
        let (origin, path) = match &self.config.site {
            Some(site) => (site, "/_edge/tenant_info"),
            None => (&self.config.api_url, "/"),
        };
        let Ok(url) = parse(&format!("{origin}{path}")) else {
            return (origin.clone(), Err(Failure::Redirect("nowhere".to_owned())));
        };
        let host = url.host_str().unwrap_or("?").to_owned();
        let outgoing = Outgoing { method: Method::GET, url, authorization: None, body: None, room: None };
        self.meter().request(false);
        (host, self.http.send(&outgoing).await)
    }

    /// Whether the limit holds requests back now, and for how long.
    pub(crate) fn ask_budget(&self, endpoint: Endpoint) -> Leave {
        match self.who(true) {
            Ok(who) => self.budget.ask(who, endpoint),
            Err(_) => Leave::Granted,
        }
    }

    /// Whom the service counts requests for (assets-api.md 5: "per API key"): the gateway, the
    /// workspace, or the site while that is unknown, and the credential as it is now.
    fn who(&self, authorized: bool) -> Result<Key, Error> {
        let mut hasher = Hasher::new(&*self.shared, "budget");
        hasher.add(&self.config.api_url);
        match self.known().workspace.as_deref() {
            Some(workspace) => hasher.add(workspace),
            None => hasher.add(self.config.site.as_deref().unwrap_or_default()),
        }
        if authorized {
            self.auth.identify(&mut hasher)?;
        }
        Ok(hasher.key())
    }

    /// The route that works, where one is known.
    pub(crate) fn route(&self) -> Option<Route> {
        self.known().route
    }

    /// Sends a call over the route that works, finding it first, and reads the answer.
    pub(crate) async fn call<T>(
        &self,
        call: Call<'_>,
        read: impl Fn(&[u8]) -> Result<T, Unreadable>,
    ) -> Result<T, Error> {
        if let Some(route) = self.route() {
            match self.call_on(route, call, &read).await {
                Ok(value) => {
                    self.known().hearsay = false;
                    return Ok(value);
                }
                Err(error) if self.was_misled(&error) => self.forget_whereabouts(),
                Err(error) => {
                    if error.kind() == Kind::Unauthorized {
                        // Tokens are exchanged for others; the next call looks for its route anew.
                        self.known().route = None;
                    }
                    return Err(error);
                }
            }
        }
        // Discovery tells scoped tokens apart, so it comes before the choice.
        self.workspace(call.meter).await?;
        let (scoped, cloud_known) = {
            let known = self.known();
            (known.scoped, known.scoped || self.config.cloud_id.is_some())
        };
        let routes = route::candidates(self.auth.is_basic(), cloud_known, self.config.site.is_some());
        let mut refusals: Vec<(Route, Error)> = Vec::new();
        for route in routes {
            match self.call_on(route, call, &read).await {
                // 404: a gateway that does not know the way at all.
                Err(error) if matches!(error.kind(), Kind::Unauthorized) => refusals.push((route, error)),
                Err(error)
                    if route != Route::Workspace
                        && !refusals.is_empty()
                        && error.kind() != Kind::Forbidden =>
                {
                    // A fallback that fails otherwise says less than the first refusal.
                    if matches!(error.kind(), Kind::AqlRejected | Kind::NotFound) {
                        return Err(error);
                    }
                    refusals.push((route, error));
                }
                result => {
                    if result.is_ok() {
                        self.found(route);
                    } else if !scoped {
                        self.known().route = Some(route);
                    }
                    return result;
                }
            }
        }
        Err(complaint::worst(refusals))
    }

    async fn call_on<T>(
        &self,
        route: Route,
        call: Call<'_>,
        read: &impl Fn(&[u8]) -> Result<T, Unreadable>,
    ) -> Result<T, Error> {
        let base = self.base(route, call.meter).await?;
        let mut url = parse(&format!("{base}/{}", call.path))?;
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(call.query);
        }
        let exchange = Exchange {
            what: call.what,
            url,
            way: route.name(),
            body: call.body,
            endpoint: call.endpoint,
            authorized: true,
            meter: call.meter,
            part: call.part,
            once: call.once,
        };
        self.exchange(exchange, read).await
    }

    fn note_date(&self, incoming: &Incoming) {
        let since = incoming.date().and_then(|date| date.duration_since(SystemTime::UNIX_EPOCH).ok());
        if let Some(micros) = since.and_then(|since| i64::try_from(since.as_micros()).ok()) {
            self.date.store(micros, Ordering::Relaxed);
        }
    }

    /// Sends until there is an answer or no more sense in it.
    async fn exchange<T>(
        &self,
        exchange: Exchange<'_>,
        read: &impl Fn(&[u8]) -> Result<T, Unreadable>,
    ) -> Result<T, Error> {
        let strain = exchange.part.and_then(|part| part.strain);
        let (begun, mut failures) = strain.map_or((Instant::now(), 0), |s| (s.begun, s.failures));
        let (mut renewed, mut last, mut behind) = (false, None, Duration::ZERO);
        let (mut spurned, door) = (None, complaint::door(&exchange));
        loop {
            let who = self.who(exchange.authorized)?;
            let since = if last.is_none() { Instant::now() } else { begun + behind };
            // What the service said before says more than that time is up.
            let sent = self.leave(who, &exchange, since).await.map_err(|e| last.take().unwrap_or(e))?;
            behind += sent.behind();
            let header = match exchange.authorized {
                true => Some(self.auth.header(&self.http, exchange.meter, spurned).await?),
                false => None,
            };
            let outgoing = Outgoing {
                method: if exchange.body.is_some() { Method::POST } else { Method::GET },
                url: exchange.url.clone(),
                authorization: header.as_ref().map(|header| header.value.clone()),
                body: exchange.body.map(Body::Json),
                room: exchange.part.map(|part| part.room),
            };
            exchange.meter.request(failures > 0 || renewed);
            let began = Instant::now();
            let result = self.http.send(&outgoing).await;
            let took = began.elapsed();
            // A refusal for the sake of load counts where the request is sent again.
            let mut refused = None;
            match &result {
                Ok(incoming) if matches!(incoming.status, 429 | 503) => refused = Some(sent),
                // What broke on the way tells nothing of how much is borne.
                Ok(incoming) if incoming.status < 500 => sent.answered(),
                _ => drop(sent),
            }
            let (trouble, asked, error) = match result {
                Ok(incoming) => {
                    if let Some(pause) = incoming.spent(SystemTime::now()) {
                        self.budget.pause(who, exchange.endpoint, pause.min(MINUTE));
                    }
                    exchange.meter.bytes(incoming.body.len());
                    if incoming.is_success() {
                        self.note_date(&incoming);
                        if let Some(header) = &header {
                            self.auth.taken(header, door).await;
                        }
                        // The reader of pages looks for itself, in its one pass.
                        let is_page = exchange.endpoint == Endpoint::ObjectAql;
                        let denies = || match !is_page && complaint::denies(&incoming.body) {
                            true => Err(Unreadable { broken: false, what: "errorMessages".to_owned() }),
                            false => Ok(()),
                        };
                        match read(&incoming.body).and_then(|value| denies().map(|()| value)) {
                            Ok(value) => return Ok(value),
                            Err(unreadable) => {
                                let error = self.unreadable(&exchange, &unreadable, &incoming);
                                if !unreadable.broken {
                                    return Err(error);
                                }
                                (Trouble::Unreadable, None, error)
                            }
                        }
                    } else {
                        if incoming.status == 401
                            && let Some(header) = &header
                        {
                            let refusal = Refusal { door, scope: complaint::is_of_scope(&incoming) };
                            if renewed {
                                self.auth.refused_again(header, door).await;
                            } else if self.auth.renew(&self.http, exchange.meter, header, refusal).await {
                                (renewed, spurned) = (true, header.token());
                                continue;
                            }
                        }
                        if incoming.status == 429 {
                            exchange.meter.throttled();
                        }
                        let asked = incoming.asked_to_wait(SystemTime::now());
                        (Trouble::Status(incoming.status), asked, self.refused(&exchange, &incoming))
                    }
                }
                Err(failure) => {
                    if let (Failure::NoRoom(length), Some(part)) = (&failure, exchange.part) {
                        let _ = part.less.set(Less::NoRoom(*length));
                    }
                    let trouble = match &failure {
                        Failure::Passing(trouble, _) => Some(*trouble),
                        _ => None,
                    };
                    let host = exchange.url.host_str().unwrap_or("?");
                    let error = complaint::failed(failure, host, exchange.what);
                    let error = error.map_texts(|text| self.auth.mask(text));
                    match trouble {
                        Some(trouble) => (trouble, None, error),
                        None => return Err(error),
                    }
                }
            };
            failures += 1;
            let error = error.doubtful(trouble.may_be_the_query());
            let situation = Situation {
                trouble,
                failures,
                elapsed: begun.elapsed().saturating_sub(behind),
                limit: self.config.retry_timeout,
                asked,
                jitter: retry::jitter(),
            };
            if let Some(part) = exchange.part
                && let Some(smaller) = retry::smaller(&situation, took)
            {
                drop(refused);
                tokio::time::sleep(smaller.wait).await;
                let _ = part.less.set(Less::TooMuch(smaller, Strain { begun, failures }));
                return Err(error);
            }
            let wait =
                retry::decide(&situation).filter(|_| !exchange.once || trouble == Trouble::Status(429));
            let Some(wait) = wait else { return Err(error) };
            if let Some(sent) = refused {
                match (trouble, asked) {
                    (Trouble::Status(429), _) => sent.refused(asked),
                    // An outage says so too, and for long; it is not for as long that others are to wait.
                    (_, Some(asked)) if asked >= SECOND => sent.refused(Some(asked.min(MINUTE))),
                    _ => sent.strained(),
                }
            }
            // A pause that the service asks for by 429 is everybody's, and the limit's to wait for.
            if !(trouble == Trouble::Status(429) && asked.is_some()) {
                tokio::time::sleep(wait).await;
            }
            last = Some(error);
        }
    }

    /// Waits for the budget.
    async fn leave(&self, who: Key, exchange: &Exchange<'_>, begun: Instant) -> Result<Sent<'_>, Error> {
        let until = begun + self.config.retry_timeout;
        let waited = |time| exchange.meter.waited(time);
        self.budget.leave(who, exchange.endpoint, until, waited).await.map_err(|TooLong| {
            let what = exchange.what;
            Error::new(
                Kind::RateLimited,
                format!("the request limit leaves no room for {what} within retry_timeout"),
            )
            .with_hint(
                "Other scans use up requests_per_minute, or the service asked for a pause; raise retry_timeout, run \
                 fewer at once, or materialize the table.",
            )
        })
    }
}

/// Reads JSON, telling broken from unexpected, and where.
pub(crate) fn json<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, Unreadable> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|e| {
        let place = e.path().iter().next().map(|_| e.path().to_string());
        Unreadable::new(!e.inner().is_data(), &place.unwrap_or_default(), e.inner())
    })?;
    reader.end().map_err(|e| Unreadable::new(!e.is_data(), "", &e))?;
    Ok(value)
}

fn parse(url: &str) -> Result<Url, Error> {
    Url::parse(url).map_err(|e| Error::new(Kind::Config, format!("not a URL: {e}")))
}

/// `https`, or `http` to this very machine; no path, no user, so that the credential goes where
/// the option says and nowhere else.
fn check_origin(option: &str, text: &str) -> Result<(), Error> {
    let bad = |why: &str| Err(Error::new(Kind::Config, format!("{option} {why}")));
    let Ok(url) = Url::parse(text) else { return bad("is not a URL such as 'https://acme.atlassian.net'") };
    if !url.username().is_empty() || url.password().is_some() {
        return bad("must not hold a user name or password");
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return bad("must be an origin, without a path");
    }
    let loopback = match url.host_str() {
        None | Some("") => return bad("names no host"),
        Some(host) => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        }
    };
    match url.scheme() {
        "https" => Ok(()),
        "http" if loopback => Ok(()),
        "http" => bad("must begin with https:// (http:// is for loopback addresses only)"),
        _ => bad("must begin with https://"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_https_or_loopback() {
        for good in
            ["https://acme.atlassian.net", "http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:9"]
        {
            assert_eq!(check_origin("site", good), Ok(()), "{good}");
        }
        for bad in [
            "http://acme.atlassian.net",
            "http://127.0.0.1.evil.example",
            "http://localhost.evil.example",
            "https://u:p@acme.atlassian.net",
            "https://acme.atlassian.net/x",
            "https://acme.atlassian.net?x",
            "ftp://acme.atlassian.net",
            "acme.atlassian.net",
            "",
        ] {
            assert_eq!(check_origin("site", bad).map_err(|e| e.kind()), Err(Kind::Config), "{bad}");
        }
    }
}
