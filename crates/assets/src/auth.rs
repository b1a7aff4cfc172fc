//! Credentials: secrets and where they are read from, the OAuth token, the authorization header
//! (assets-api.md 1.2, 13 "Authentication").

use std::borrow::Cow;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use commons::tokens::{Claim, Doors};
use commons::{Key, Moment};
use reqwest::header::HeaderValue;
use reqwest::{Method, Url};
use serde::Deserialize;
use tokio::time::Instant;
use zeroize::Zeroize;

use crate::config::{Config, Credential, Secret, SecretSource};
use crate::error::{Error, Kind};
use crate::http::{Body, Failure, Http, Incoming, Outgoing};
use crate::mask::mask;
use crate::shared::{Hasher, Shared, enter, micros};
use crate::stats::Meter;

/// A secret file larger than this is not one.
const SECRET_FILE: u64 = 64 << 10;
/// A token longer than this fits into no header that services take.
const LONGEST_TOKEN: usize = 32 << 10;

pub(crate) struct Auth {
    who: Who,
    token_url: Url,
    shared: Arc<dyn Shared>,
    /// How long a token request may take until its lease is extended: a pause and one try.
    lease: Duration,
    /// How long to wait for a token that another session is getting.
    patience: Duration,
    token: tokio::sync::Mutex<TokenState>,
    /// What must never show, the token included.
    hidden: Mutex<Vec<Arc<Secret>>>,
}

enum Who {
    Basic { email: String, token: Holder },
    Bearer(Holder),
    Client { id: String, secret: Holder },
    Withheld(Error),
}

enum Holder {
    Inline(Arc<Secret>),
    File { path: PathBuf, option: &'static str, cache: Mutex<Option<Cached>> },
}

struct Cached {
    version: Version,
    secret: Arc<Secret>,
}

/// Which version of a file it is: the file itself, when it was changed in whatever way, and its length.
#[derive(PartialEq)]
struct Version(u64, i64, i64, i64, i64, u64);

impl Version {
    fn of(meta: &fs::Metadata) -> Self {
        Self(meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec(), meta.len())
    }
}

#[derive(Default)]
struct TokenState {
    /// The shared token that was used last.
    shared: Option<(Key, u64, HeaderValue)>,
    /// A token that could not be shared, and where such ones are refused.
    own: Option<Own>,
    doors: Doors,
    /// The body form that worked.
    form: Option<Form>,
}

struct Own {
    key: Key,
    header: HeaderValue,
    kept_at: Instant,
    renew_at: Instant,
}

/// A token that the service has given.
struct Token {
    text: Arc<Secret>,
    /// When it was asked for, which is when its life began at the latest.
    asked_at: Instant,
    life: Duration,
}

impl Token {
    /// How long from now to its renewal, a minute or a tenth of a short life early, and to its end.
    fn left(&self) -> (Duration, Duration) {
        let life = self.life.saturating_sub(self.asked_at.elapsed());
        (life.saturating_sub((self.life / 10).min(Duration::from_secs(60))), life)
    }
}

/// The body forms of a token request, in the order of assets-api.md 13.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    UrlencodedBasic,
    Json,
    Urlencoded,
}

const FORMS: [Form; 3] = [Form::UrlencodedBasic, Form::Json, Form::Urlencoded];

impl Form {
    fn note(self) -> u8 {
        FORMS.iter().position(|form| *form == self).map_or(0, |at| at as u8 + 1)
    }

    fn of_note(note: u8) -> Option<Form> {
        FORMS.get(usize::from(note).checked_sub(1)?).copied()
    }
}

/// The longest pause without saying that the token is still being waited for.
const PAUSE: Duration = Duration::from_secs(20);
/// So often a token request is sent again.
const TRIES: u32 = 3;

/// An authorization header, and which token it holds, for saying that it did not work.
pub(crate) struct Header {
    pub(crate) value: HeaderValue,
    token: Option<Used>,
}

/// The token of a header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    key: Key,
    /// 0: one that is not shared.
    generation: u64,
    /// Some part of the interface refuses it.
    closed: bool,
}

/// Where a token was refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusal {
    /// The part of the interface, a number below [`commons::tokens::DOORS`].
    pub(crate) door: usize,
    /// The service says that a scope is missing.
    pub(crate) scope: bool,
}

impl Header {
    /// The token that it holds, for asking for another.
    pub(crate) fn token(&self) -> Option<Used> {
        self.token
    }
}

impl Auth {
    pub(crate) fn new(
        credential: Credential,
        config: &Config,
        shared: Arc<dyn Shared>,
    ) -> Result<Self, Error> {
        let who = match credential {
            Credential::Basic { email, token } => {
                if email.contains(':') {
                    return Err(Error::new(Kind::Config, "email must not contain a colon"));
                }
                Who::Basic { email, token: Holder::new(token, "api_token_file") }
            }
            Credential::Bearer(token) => Who::Bearer(Holder::new(token, "access_token_file")),
            Credential::ClientCredentials { id, secret } => {
                Who::Client { id, secret: Holder::new(secret, "client_secret_file") }
            }
            Credential::Withheld(why) => Who::Withheld(why),
        };
        let token_url = Url::parse(&format!("{}/oauth/token", config.auth_url))
            .map_err(|e| Error::new(Kind::Config, format!("auth_url is not a URL: {e}")))?;
        Ok(Self {
            who,
            token_url,
            shared,
            lease: config.request_timeout + PAUSE + Duration::from_secs(5),
            patience: config.retry_timeout,
            token: Default::default(),
            hidden: Default::default(),
        })
    }

    /// Whether it is an e-mail address and API token, which work on more than one route.
    pub(crate) fn is_basic(&self) -> bool {
        matches!(self.who, Who::Basic { .. })
    }

    /// Whether it is exchanged for tokens.
    pub(crate) fn is_exchanged(&self) -> bool {
        matches!(self.who, Who::Client { .. })
    }

    /// Whether it may not be sent at all.
    pub(crate) fn is_withheld(&self) -> bool {
        matches!(self.who, Who::Withheld(_))
    }

    /// Which credential, for messages.
    pub(crate) fn name(&self) -> String {
        match &self.who {
            Who::Basic { email, .. } => format!("the API token of {email}"),
            Who::Bearer(_) => "the access token".to_owned(),
            Who::Client { id, .. } => format!("the client credentials {id}"),
            Who::Withheld(_) => "no credential".to_owned(),
        }
    }

    /// Adds who it is, as the service sees it: the secret as it is now.
    pub(crate) fn identify(&self, hasher: &mut Hasher) -> Result<(), Error> {
        let (kind, name, secret) = match &self.who {
            Who::Basic { email, token } => ("basic", email.as_str(), token),
            Who::Bearer(token) => ("bearer", "", token),
            Who::Client { id, secret } => ("client", id.as_str(), secret),
            Who::Withheld(why) => return Err(why.clone()),
        };
        hasher.add(kind);
        hasher.add(name);
        hasher.add(self.read(secret)?.expose());
        Ok(())
    }

    /// The header to send now. Client credentials are exchanged for a token first, by one session
    /// while the others wait; it is another token than `spurned`.
    pub(crate) async fn header(
        &self,
        http: &Http,
        meter: Meter<'_>,
        spurned: Option<Used>,
    ) -> Result<Header, Error> {
        match &self.who {
            Who::Basic { email, token } => {
                let secret = self.read(token)?;
                let value = http.basic(email, secret.expose())?;
                self.hide_header(&value);
                Ok(Header { value, token: None })
            }
            Who::Bearer(token) => {
                let secret = self.read(token)?;
                Ok(Header { value: http.bearer(secret.expose())?, token: None })
            }
            Who::Withheld(why) => Err(why.clone()),
            Who::Client { id, secret } => {
                let mut state = self.token.lock().await;
                self.token_header(http, meter, (id, secret), spurned, &mut state).await
            }
        }
    }

    async fn token_header(
        &self,
        http: &Http,
        meter: Meter<'_>,
        (id, secret): (&str, &Holder),
        spurned: Option<Used>,
        state: &mut TokenState,
    ) -> Result<Header, Error> {
        let begun = Instant::now();
        let mut pause = Duration::from_millis(10);
        loop {
            let secret = self.read(secret)?;
            let mut hasher = Hasher::new(&*self.shared, "token");
            hasher.add(self.token_url.as_str());
            hasher.add(id);
            hasher.add(secret.expose());
            let key = hasher.key();
            if let Some(own) = &state.own
                && own.key == key
                && Instant::now() < own.renew_at
            {
                let closed = state.doors.any_closed(self.moment());
                return Ok(Header {
                    value: own.header.clone(),
                    token: Some(Used { key, generation: 0, closed }),
                });
            }
            let refused = spurned.filter(|used| used.key == key).map_or(0, |used| used.generation);
            let lease = match self.claim(key, refused) {
                Claimed::Token(text, generation, closed) => {
                    let value = match &state.shared {
                        Some((k, g, value)) if (*k, *g) == (key, generation) => value.clone(),
                        _ => {
                            let text = Arc::new(text);
                            self.hide(&text);
                            http.bearer(text.expose())?
                        }
                    };
                    state.shared = Some((key, generation, value.clone()));
                    return Ok(Header { value, token: Some(Used { key, generation, closed }) });
                }
                Claimed::Wait => {
                    if begun.elapsed() > self.patience {
                        return Err(Error::new(
                            Kind::Timeout,
                            format!(
                                "another session has been waiting for a token of {} for long",
                                self.host()
                            ),
                        ));
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(200));
                    continue;
                }
                Claimed::Lease(lease, note) => {
                    state.form = state.form.or(Form::of_note(note));
                    Some(lease)
                }
                Claimed::Alone => None,
            };
            let token = self.fetch(http, meter, id, &secret, &mut state.form, lease.as_ref()).await?;
            // None: the lease was lost, and another session has a token by now, or is getting one.
            let Some(token) = token else { continue };
            let value = http.bearer(token.text.expose())?;
            let note = state.form.map_or(0, Form::note);
            let kept = lease.and_then(|lease| lease.keep(&token, note));
            match kept {
                Some(generation) => state.shared = Some((key, generation, value.clone())),
                None => {
                    let kept_at = Instant::now();
                    let renew_at = kept_at + token.left().0;
                    state.own = Some(Own { key, header: value.clone(), kept_at, renew_at });
                }
            }
            // Whether a door is closed to it is seen at its next use.
            let used = Used { key, generation: kept.unwrap_or(0), closed: true };
            return Ok(Header { value, token: Some(used) });
        }
    }

    fn claim(&self, key: Key, spurned: u64) -> Claimed<'_> {
        let shared = &*self.shared;
        let (process, length) = (shared.process(), micros(self.lease));
        enter(shared, |state, now| {
            let is_alive = |process| shared.is_alive(process);
            match state.tokens.claim(key, spurned, (process, length), is_alive, now) {
                Claim::Token { text, generation, closed } => {
                    // It came in as a text, so it goes out as one.
                    let text = String::from_utf8_lossy(text).into_owned();
                    Claimed::Token(Secret::new(text), generation, closed)
                }
                Claim::Lease { lease, note } => Claimed::Lease(Lease { shared, key, lease, length }, note),
                Claim::Wait => Claimed::Wait,
                Claim::Alone => Claimed::Alone,
            }
        })
    }

    /// The service said 401 to `header`. Whether another one is worth a try: a token that can be
    /// renewed, or a secret file that has changed meanwhile. A 401 alone is no proof that a token is
    /// bad, and others use it: it stays until there is another.
    pub(crate) async fn renew(
        &self,
        http: &Http,
        meter: Meter<'_>,
        header: &Header,
        Refusal { door, scope }: Refusal,
    ) -> bool {
        let Some(Used { key, generation, .. }) = header.token else {
            return self.header(http, meter, None).await.is_ok_and(|now| now.value != header.value);
        };
        if generation != 0 {
            return enter(&*self.shared, |state, now| {
                state.tokens.refused(key, generation, door, scope, now)
            });
        }
        let mut state = self.token.lock().await;
        let doors = state.doors;
        match &state.own {
            Some(own) if own.header == header.value => {
                let wants = doors.wants_another(door, scope, micros(own.kept_at.elapsed()), self.moment());
                if wants {
                    state.own = None;
                }
                wants
            }
            _ => true,
        }
    }

    /// It said 401 to the token that was got because of that as well.
    pub(crate) async fn refused_again(&self, header: &Header, door: usize) {
        match header.token {
            None => {}
            Some(Used { generation: 0, .. }) => {
                let now = self.moment();
                self.token.lock().await.doors.close(door, now);
            }
            Some(Used { key, .. }) => {
                enter(&*self.shared, |state, now| state.tokens.refused_again(key, door, now));
            }
        }
    }

    /// It took `header`.
    pub(crate) async fn taken(&self, header: &Header, door: usize) {
        match header.token {
            Some(Used { generation: 0, closed: true, .. }) => self.token.lock().await.doors.open(door),
            Some(Used { key, closed: true, .. }) => {
                enter(&*self.shared, |state, _| state.tokens.taken(key, door));
            }
            _ => {}
        }
    }

    /// The time on the clock that sessions share.
    fn moment(&self) -> Moment {
        enter(&*self.shared, |_, now| now)
    }

    fn read(&self, holder: &Holder) -> Result<Arc<Secret>, Error> {
        let secret = holder.read()?;
        self.hide(&secret);
        Ok(secret)
    }

    fn hide(&self, secret: &Arc<Secret>) {
        let mut hidden = self.hidden.lock().unwrap_or_else(PoisonError::into_inner);
        if !hidden.iter().any(|known| known.expose() == secret.expose()) {
            // Only the latest few can still turn up in an answer.
            if hidden.len() >= 8 {
                hidden.remove(0);
            }
            hidden.push(secret.clone());
        }
    }

    fn hide_header(&self, value: &HeaderValue) {
        if let Some((_, encoded)) = value.to_str().ok().and_then(|text| text.split_once(' ')) {
            self.hide(&Arc::new(Secret::new(encoded.to_owned())));
        }
    }

    /// A text without our secrets.
    pub(crate) fn mask(&self, mut text: String) -> String {
        for secret in self.hidden.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Cow::Owned(masked) = mask(&text, secret.expose()) {
                text = masked;
            }
        }
        text
    }

    /// Text from outside without our secrets and control characters, cut at about 500 bytes.
    pub(crate) fn clean(&self, text: &str) -> String {
        let text = self.mask(text.to_owned());
        let mut clean = String::new();
        for c in text.chars() {
            if clean.len() >= 500 {
                clean.push('…');
                break;
            }
            clean.push(if c.is_control() { ' ' } else { c });
        }
        clean.trim().to_owned()
    }

    async fn fetch(
        &self,
        http: &Http,
        meter: Meter<'_>,
        id: &str,
        secret: &Secret,
        known: &mut Option<Form>,
        lease: Option<&Lease<'_>>,
    ) -> Result<Option<Token>, Error> {
        let forms = known.map_or_else(|| FORMS.to_vec(), |form| vec![form]);
        let mut refusal = None;
        for form in forms {
            let asked_at = Instant::now();
            let Some(mut incoming) = self.request_token(http, meter, id, secret, form, lease).await? else {
                return Ok(None);
            };
            if incoming.is_success() {
                let token = self.token_from(asked_at, &incoming);
                incoming.body.zeroize();
                *known = Some(form);
                return token.map(Some);
            }
            if !matches!(incoming.status, 400 | 401 | 403 | 415 | 422) {
                return Err(self.token_error(&incoming));
            }
            refusal.get_or_insert(incoming);
        }
        *known = None;
        Err(match refusal {
            Some(incoming) => self.token_error(&incoming),
            None => Error::new(Kind::Unauthorized, "no token was given"),
        })
    }

    fn token_from(&self, asked_at: Instant, incoming: &Incoming) -> Result<Token, Error> {
        #[derive(Deserialize)]
        struct Answer {
            access_token: String,
            #[serde(default)]
            expires_in: serde_json::Value,
        }
        // Without the message of serde, which could quote the token.
        let answer: Option<Answer> = serde_json::from_slice(&incoming.body).ok();
        let Some((text, life)) = answer.map(|a| (Secret::new(a.access_token), a.expires_in)) else {
            return Err(self.no_token(incoming));
        };
        let printable = text.expose().bytes().all(|byte| byte.is_ascii_graphic());
        if !printable || !(1..=LONGEST_TOKEN).contains(&text.expose().len()) {
            return Err(self.no_token(incoming));
        }
        let text = Arc::new(text);
        self.hide(&text);
        // Some write numbers as texts. What says nothing is taken for the documented hour: a 401 tells of the end.
        let said = life.as_f64().or_else(|| life.as_str()?.trim().parse().ok());
        let life = said.filter(|s| s.is_finite() && *s > 0.0).unwrap_or(3600.0).min(86_400.0);
        Ok(Token { text, asked_at, life: Duration::from_secs_f64(life) })
    }

    /// An answer of success without a token; with what it says, unless a token may be in it.
    fn no_token(&self, incoming: &Incoming) -> Error {
        let text = String::from_utf8_lossy(&incoming.body);
        let said = match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(json) => ["error", "error_description"]
                .iter()
                .filter_map(|name| json.get(name)?.as_str())
                .collect::<Vec<_>>()
                .join(": "),
            Err(_) if text.to_ascii_lowercase().contains("token") => String::new(),
            Err(_) => text.into_owned(),
        };
        let error = Error::new(
            Kind::Protocol,
            format!("the token endpoint {} did not answer with a token", self.host()),
        );
        match self.clean(&said) {
            said if said.is_empty() => error,
            said => error.with_detail(said),
        }
    }

    /// One answer of the token endpoint; none where the lease is lost.
    async fn request_token(
        &self,
        http: &Http,
        meter: Meter<'_>,
        id: &str,
        secret: &Secret,
        form: Form,
        lease: Option<&Lease<'_>>,
    ) -> Result<Option<Incoming>, Error> {
        let grant = ("grant_type", "client_credentials");
        let credentials = [grant, ("client_id", id), ("client_secret", secret.expose())];
        let json = zeroize::Zeroizing::new(
            serde_json::json!({
                "grant_type": "client_credentials",
                "client_id": id,
                "client_secret": secret.expose(),
                "audience": "api.atlassian.com",
            })
            .to_string(),
        );
        let (authorization, body) = match form {
            Form::UrlencodedBasic => (Some(http.basic(id, secret.expose())?), Body::Form(&credentials[..1])),
            Form::Json => (None, Body::Json(json.as_bytes())),
            Form::Urlencoded => (None, Body::Form(&credentials)),
        };
        if let Some(value) = &authorization {
            self.hide_header(value);
        }
        let outgoing = Outgoing {
            method: Method::POST,
            url: self.token_url.clone(),
            authorization,
            body: Some(body),
            room: None,
        };
        let (mut failures, begun) = (0, Instant::now());
        loop {
            if lease.is_some_and(|lease| !lease.extend()) {
                return Ok(None);
            }
            meter.request(failures > 0);
            let sent = http.send(&outgoing).await;
            failures += 1;
            let (passing, asked) = match &sent {
                Ok(incoming) => {
                    meter.bytes(incoming.body.len());
                    if incoming.status == 429 {
                        meter.throttled();
                    }
                    (matches!(incoming.status, 429 | 500..=599), incoming.asked_to_wait(SystemTime::now()))
                }
                Err(failure) => (matches!(failure, Failure::Passing(..)), None),
            };
            let jitter = crate::retry::jitter();
            let wait = match asked {
                Some(asked) => asked + Duration::from_secs_f64(jitter / 2.0),
                None => Duration::from_millis(250 << failures).mul_f64(0.75 + jitter / 4.0),
            };
            if !passing || failures > TRIES || begun.elapsed() + wait > self.patience {
                return sent.map(Some).map_err(|failure| {
                    let error = crate::complaint::failed(failure, &self.host(), "the token endpoint");
                    error.map_texts(|text| self.mask(text))
                });
            }
            let until = Instant::now() + wait;
            while Instant::now() < until {
                if lease.is_some_and(|lease| !lease.extend()) {
                    return Ok(None);
                }
                tokio::time::sleep_until(until.min(Instant::now() + PAUSE)).await;
            }
        }
    }

    fn host(&self) -> String {
        self.token_url.host_str().unwrap_or("?").to_owned()
    }

    fn token_error(&self, incoming: &Incoming) -> Error {
        let kind = match incoming.status {
            429 => Kind::RateLimited,
            500..=599 => Kind::Server,
            _ => Kind::Unauthorized,
        };
        let error = Error::new(
            kind,
            format!("the token endpoint {} answered {} to {}", self.host(), incoming.status, self.name()),
        )
        .with_detail(self.clean(&String::from_utf8_lossy(&incoming.body)));
        if kind != Kind::Unauthorized {
            return error;
        }
        error.with_hint(
            "Check client_id and client_secret in the user mapping against the service account's OAuth 2.0 credential \
             (Atlassian Administration, Directory, Service accounts); a secret is shown only once, when it is made.",
        )
    }
}

/// What there is for whoever needs a token, as [`Claim`] has it.
enum Claimed<'a> {
    Token(Secret, u64, bool),
    Lease(Lease<'a>, u8),
    Wait,
    Alone,
}

/// The right to get a token; given back when it is dropped, also with the task that holds it.
struct Lease<'a> {
    shared: &'a dyn Shared,
    key: Key,
    lease: u64,
    length: Moment,
}

impl Lease<'_> {
    /// False: it is lost.
    fn extend(&self) -> bool {
        enter(self.shared, |state, now| state.tokens.extend(self.key, self.lease, self.length, now))
    }

    /// Shares a token; its generation, where it could be kept.
    fn keep(self, token: &Token, note: u8) -> Option<u64> {
        let (renew_in, life) = token.left();
        let times = (micros(renew_in), micros(life));
        let text = token.text.expose().as_bytes();
        enter(self.shared, |state, now| state.tokens.keep(self.key, self.lease, text, times, note, now))
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        enter(self.shared, |state, _| state.tokens.release(self.key, self.lease));
    }
}

impl Holder {
    fn new(source: SecretSource, option: &'static str) -> Self {
        match source {
            SecretSource::Inline(secret) => Holder::Inline(Arc::new(secret)),
            SecretSource::File(path) => Holder::File { path, option, cache: Mutex::new(None) },
        }
    }

    /// The secret; a file is read again when it has changed or is another one.
    fn read(&self) -> Result<Arc<Secret>, Error> {
        let (path, option, cache) = match self {
            Holder::Inline(secret) => return Ok(secret.clone()),
            Holder::File { path, option, cache } => (path, option, cache),
        };
        let bad = |why: String| {
            Error::new(Kind::Config, format!("{option} \"{}\" {why}", path.display()))
                .with_hint(
                    "The file must hold the secret alone, on one line, and be readable by the database server's operating \
                     system user.",
                )
        };
        let meta = fs::metadata(path).map_err(|e| bad(format!("cannot be read: {e}")))?;
        let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = &*cache
            && cached.version == Version::of(&meta)
        {
            return Ok(cached.secret.clone());
        }
        if !meta.is_file() || meta.len() > SECRET_FILE {
            return Err(bad("is not a small regular file".to_owned()));
        }
        let text = fs::read_to_string(path).map_err(|e| bad(format!("cannot be read: {e}")))?;
        let text = zeroize::Zeroizing::new(text);
        // What editors leave around the one line. No credential begins or ends with it.
        let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\u{feff}');
        if trimmed.is_empty() {
            return Err(bad("is empty".to_owned()));
        }
        if trimmed.contains(['\r', '\n']) {
            return Err(bad("holds more than one line".to_owned()));
        }
        let secret = Arc::new(Secret::new(trimmed.to_owned()));
        *cache = Some(Cached { version: Version::of(&meta), secret: secret.clone() });
        Ok(secret)
    }
}
