//! One HTTP exchange: what goes out, how much may come back, and how it can fail. No retries here.

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Method, Url, redirect};

use crate::buffers::{Buffer, Buffers, Lease, Room};
use crate::config::Config;
use crate::error::{Error, Kind};
use crate::retry::Trouble;
use crate::temporal;

/// So much of an answer that is not a success is read.
const ERROR_BODY: u64 = 64 << 10;
/// Redirects followed within one origin.
const REDIRECTS: usize = 3;

pub(crate) struct Http {
    client: reqwest::Client,
    max_bytes: u64,
    buffers: Buffers,
}

/// What is sent.
pub(crate) struct Outgoing<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) body: Option<Body<'a>>,
    /// Where a smaller answer can be asked for: one for which there is no room is [`Failure::NoRoom`].
    pub(crate) room: Option<&'a Arc<Room>>,
}

pub(crate) enum Body<'a> {
    Json(&'a [u8]),
    Form(&'a [(&'a str, &'a str)]),
}

/// What came back.
pub(crate) struct Incoming {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Buffer,
}

/// Why nothing usable came back.
#[derive(Debug)]
pub(crate) enum Failure {
    /// May be tried again.
    Passing(Trouble, String),
    /// The certificate, or the way TLS was spoken.
    Tls(String),
    TooLarge(u64),
    /// The answer is so many bytes long, or longer, and there is no room for it beside those that are
    /// being received.
    NoRoom(usize),
    /// A redirect that is not followed; where to.
    Redirect(String),
}

impl Http {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        // One deployed app gets 403 on POST without it (assets-api.md 13).
        headers.insert("X-Atlassian-Token", HeaderValue::from_static("no-check"));
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("assets_fdw/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(config.connect_timeout)
            .timeout(config.request_timeout)
            .tcp_nodelay(true)
            .pool_idle_timeout(Duration::from_secs(90))
            // As many as one scan uses: a service that breaks connections would have a new one kept each time.
            .pool_max_idle_per_host(config.max_in_flight as usize);
        if let Some(pem) = &config.ca_pem {
            let roots = reqwest::Certificate::from_pem_bundle(pem)
                .ok()
                .filter(|roots| !roots.is_empty())
                .ok_or_else(|| {
                    Error::new(Kind::Config, "ca_file holds no PEM certificate").with_hint(
                        "The server option ca_file names a file of certificates in PEM form, of authorities.",
                    )
                })?;
            builder = builder.tls_built_in_root_certs(false);
            for root in roots {
                builder = builder.add_root_certificate(root);
            }
        }
        let client = builder
            .build()
            .map_err(|e| Error::new(Kind::Config, format!("cannot set up TLS: {}", chain(&e))))?;
        Ok(Self { client, max_bytes: config.max_response_bytes, buffers: Buffers::default() })
    }

    /// For whoever is about to read many large bodies.
    pub(crate) fn keep_buffers(&self) -> Lease {
        self.buffers.lease()
    }

    /// The value of a Basic authorization header.
    pub(crate) fn basic(&self, user: &str, password: &str) -> Result<HeaderValue, Error> {
        self.authorization(|request| request.basic_auth(user, Some(password)))
    }

    /// The value of a bearer authorization header.
    pub(crate) fn bearer(&self, token: &str) -> Result<HeaderValue, Error> {
        self.authorization(|request| request.bearer_auth(token))
    }

    fn authorization(
        &self,
        set: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Result<HeaderValue, Error> {
        // reqwest encodes and marks it as sensitive; the request itself is never sent.
        let request = set(self.client.get("http://localhost/")).build();
        request.ok().and_then(|mut request| request.headers_mut().remove(header::AUTHORIZATION)).ok_or_else(
            || {
                Error::new(Kind::Config, "the credential holds a character that no HTTP header can carry")
                    .with_hint(
                        "Set it again as Atlassian shows it, without line breaks and control characters.",
                    )
            },
        )
    }

    /// Sends once, follows redirects of a GET within its origin.
    pub(crate) async fn send(&self, outgoing: &Outgoing<'_>) -> Result<Incoming, Failure> {
        let mut url = outgoing.url.clone();
        for _ in 0..=REDIRECTS {
            let incoming = self.once(outgoing, url.clone()).await?;
            if !(300..400).contains(&incoming.status) {
                return Ok(incoming);
            }
            let target = incoming
                .headers
                .get(header::LOCATION)
                .and_then(|location| location.to_str().ok())
                .and_then(|location| url.join(location).ok());
            match target {
                Some(target) if outgoing.method == Method::GET && target.origin() == url.origin() => {
                    url = target
                }
                Some(target) => return Err(Failure::Redirect(target.origin().ascii_serialization())),
                None => return Err(Failure::Redirect("nowhere".to_owned())),
            }
        }
        Err(Failure::Redirect("itself, again and again".to_owned()))
    }

    async fn once(&self, outgoing: &Outgoing<'_>, url: Url) -> Result<Incoming, Failure> {
        let mut request = self.client.request(outgoing.method.clone(), url);
        if let Some(authorization) = &outgoing.authorization {
            request = request.header(header::AUTHORIZATION, authorization.clone());
        }
        request = match &outgoing.body {
            Some(Body::Json(json)) => {
                request.header(header::CONTENT_TYPE, "application/json").body(json.to_vec())
            }
            Some(Body::Form(form)) => request.form(form),
            None => request,
        };
        let mut response = request.send().await.map_err(|e| failure(&e))?;
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let success = (200..300).contains(&status);
        let most = if success { self.max_bytes } else { ERROR_BODY.min(self.max_bytes) };
        let told = response.content_length().unwrap_or(0);
        let room = outgoing.room.filter(|_| success);
        let length = usize::try_from(told).unwrap_or(usize::MAX);
        if room.is_some_and(|room| told > most || room.is_full_for(0, length)) {
            return Err(Failure::NoRoom(length));
        }
        if success && told > most {
            return Err(Failure::TooLarge(most));
        }
        let mut body = self.buffers.take(told.min(most) as usize, room);
        // The bytes counted here are decompressed ones, as they come.
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    let (have, left) = (body.len(), most.saturating_sub(body.len() as u64));
                    let too_much = chunk.len() as u64 > left;
                    if room.is_some_and(|room| too_much || room.is_full_for(have, have + chunk.len())) {
                        // Where its length is not told, there is as much again to come, for all we know.
                        return Err(Failure::NoRoom(length.max(2 * have).max(1)));
                    }
                    if too_much {
                        if success {
                            return Err(Failure::TooLarge(most));
                        }
                        body.extend(&chunk[..left as usize]);
                        break;
                    }
                    body.extend(&chunk);
                }
                Ok(None) => break,
                // The status of an error says enough without its body.
                Err(_) if !success => break,
                Err(e) => return Err(failure(&e)),
            }
        }
        body.drop_mark();
        Ok(Incoming { status, headers, body })
    }
}

impl Incoming {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok().map(str::trim)
    }

    /// How long the service asks to wait: `Retry-After` in seconds or as a date, else
    /// `X-RateLimit-Reset` (assets-api.md 5).
    pub(crate) fn asked_to_wait(&self, now: SystemTime) -> Option<Duration> {
        if let Some(value) = self.header("retry-after") {
            if let Ok(seconds) = value.parse::<f64>()
                && seconds.is_finite()
                && seconds >= 0.0
            {
                return Some(Duration::from_secs_f64(seconds.min(86_400.0)));
            }
            if let Some(at) = temporal::http_date(value) {
                return Some(until(at, now));
            }
        }
        self.reset(now)
    }

    /// How long until the service takes another request, where it says that this was the last one:
    /// `X-RateLimit-Remaining` is 0.
    pub(crate) fn spent(&self, now: SystemTime) -> Option<Duration> {
        let left: f64 = self.header("x-ratelimit-remaining")?.parse().ok()?;
        if left <= 0.0 { self.reset(now) } else { None }
    }

    fn reset(&self, now: SystemTime) -> Option<Duration> {
        let value = self.header("x-ratelimit-reset")?;
        let at = match value.parse::<i64>() {
            // No moment of this century: seconds from now.
            Ok(seconds @ 0..1_000_000_000) => return Some(Duration::from_secs(seconds.unsigned_abs())),
            Ok(seconds) => temporal::system_time(seconds.checked_mul(1_000_000)?)?,
            Err(_) => temporal::system_time(i64::try_from(temporal::instant(value)?).ok()?)?,
        };
        Some(until(at, now))
    }

    /// The service's clock.
    pub(crate) fn date(&self) -> Option<SystemTime> {
        temporal::http_date(self.header("date")?)
    }
}

fn until(at: SystemTime, now: SystemTime) -> Duration {
    at.duration_since(now).unwrap_or(Duration::ZERO)
}

fn failure(error: &reqwest::Error) -> Failure {
    let text = chain(error);
    let lower = text.to_ascii_lowercase();
    if error.is_connect() && (lower.contains("certificate") || lower.contains("tls")) {
        return Failure::Tls(text);
    }
    let trouble = if error.is_connect() {
        Trouble::Connect
    } else if error.is_timeout() {
        Trouble::Timeout
    } else {
        Trouble::Broken
    };
    Failure::Passing(trouble, text)
}

/// An error with its causes, without the URL (the message that holds it names the host).
fn chain(error: &reqwest::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        source = error.source();
    }
    if parts.is_empty() {
        let kind = if error.is_timeout() { "timed out" } else { "failed" };
        parts.push(kind.to_owned());
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Deployment;

    /// Sensitive: shown by no `Debug`, and never put into the table of a connection's headers.
    #[test]
    fn authorization_is_marked_as_sensitive() {
        let http = Http::new(&Config {
            site: None,
            workspace_id: None,
            cloud_id: None,
            api_url: "http://localhost".to_owned(),
            auth_url: "http://localhost".to_owned(),
            ca_pem: None,
            deployment: Deployment::Cloud,
            page_size: 1,
            max_in_flight: 1,
            requests_per_minute: 0,
            connect_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(1),
            retry_timeout: Duration::from_secs(1),
            max_response_bytes: 1,
        })
        .expect("a client");
        for value in [http.basic("a", "canary"), http.bearer("canary")] {
            let value = value.expect("a header");
            assert!(value.is_sensitive() && !format!("{value:?}").contains("canary"));
        }
        assert!(http.bearer("two\nlines").is_err());
    }

    fn answer(headers: &[(&'static str, &str)]) -> Incoming {
        let headers = headers.iter().map(|(name, value)| {
            (header::HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header"))
        });
        Incoming { status: 200, headers: headers.collect(), body: Buffers::default().take(0, None) }
    }

    #[test]
    fn what_is_left_and_until_when() {
        let now = temporal::system_time(1_700_000_000_000_000).expect("a moment");
        let (left, reset) = ("x-ratelimit-remaining", "x-ratelimit-reset");
        let table = [
            (&[(left, "0"), (reset, "2023-11-14T22:13:50Z")][..], Some(30)),
            (&[(left, "0"), (reset, "1700000030")], Some(30)),
            (&[(left, "0"), (reset, "30")], Some(30)),
            (&[(left, "0"), (reset, "2023-11-14T22:13:10Z")], Some(0)),
            (&[(left, "0"), (reset, "soon")], None),
            (&[(left, "0")], None),
            (&[(left, "1"), (reset, "30")], None),
            (&[(left, "none"), (reset, "30")], None),
            (&[(reset, "30")], None),
            (&[], None),
        ];
        for (headers, wanted) in table {
            assert_eq!(answer(headers).spent(now), wanted.map(Duration::from_secs), "{headers:?}");
        }
    }

    #[test]
    fn how_long_a_429_asks_to_wait() {
        let now = temporal::system_time(1_700_000_000_000_000).expect("a moment");
        let (after, reset) = ("retry-after", "x-ratelimit-reset");
        let table = [
            (&[(after, "7"), (reset, "30")][..], Some(7)),
            (&[(after, "Tue, 14 Nov 2023 22:13:50 GMT")], Some(30)),
            (&[(after, "Tue, 14 Nov 2023 22:13:10 GMT")], Some(0)),
            (&[(after, "soon"), (reset, "30")], Some(30)),
            (&[(after, "-1")], None),
            (&[(after, "NaN")], None),
            (&[(after, "1e300")], Some(86_400)),
            (&[(after, "")], None),
            (&[(reset, "30")], Some(30)),
            (&[], None),
        ];
        for (headers, wanted) in table {
            assert_eq!(answer(headers).asked_to_wait(now), wanted.map(Duration::from_secs), "{headers:?}");
        }
    }
}
