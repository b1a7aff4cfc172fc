//! Credentials: secrets and where they are read from, the OAuth token, the authorization header
//! (assets-api.md 1.2, 13 "Authentication").

use std::borrow::Cow;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::header::HeaderValue;
use reqwest::{Method, Url};
use serde::Deserialize;
use tokio::time::Instant;
use zeroize::Zeroize;

use crate::config::{Credential, Secret, SecretSource};
use crate::error::{Error, Kind};
use crate::http::{Body, Http, Incoming, Outgoing};
use crate::mask::mask;

/// A secret file larger than this is not one.
const SECRET_FILE: u64 = 64 << 10;

pub(crate) struct Auth {
    who: Who,
    token_url: Url,
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
    modified: Option<SystemTime>,
    length: u64,
    secret: Arc<Secret>,
}

#[derive(Default)]
struct TokenState {
    token: Option<Token>,
    generation: u64,
    /// The body form that worked.
    form: Option<Form>,
    /// The secret that the token was got with.
    secret: Option<Arc<Secret>>,
}

struct Token {
    header: HeaderValue,
    renew_at: Instant,
}

/// The body forms of a token request, in the order of assets-api.md 13.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    UrlencodedBasic,
    Json,
    Urlencoded,
}

const FORMS: [Form; 3] = [Form::UrlencodedBasic, Form::Json, Form::Urlencoded];

/// An authorization header, and which one it was, for saying that it did not work.
pub(crate) struct Header {
    pub(crate) value: HeaderValue,
    pub(crate) generation: u64,
}

impl Auth {
    pub(crate) fn new(credential: Credential, auth_url: &str) -> Result<Self, Error> {
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
        let token_url = Url::parse(&format!("{auth_url}/oauth/token"))
            .map_err(|e| Error::new(Kind::Config, format!("auth_url is not a URL: {e}")))?;
        Ok(Self { who, token_url, token: Default::default(), hidden: Default::default() })
    }

    /// Whether it is an e-mail address and API token, which work on more than one route.
    pub(crate) fn is_basic(&self) -> bool {
        matches!(self.who, Who::Basic { .. })
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

    /// The header to send now. Client credentials are exchanged for a token first, by one task
    /// while the others wait.
    pub(crate) async fn header(&self, http: &Http) -> Result<Header, Error> {
        match &self.who {
            Who::Basic { email, token } => {
                let secret = self.read(token)?;
                let value = http.basic(email, secret.expose())?;
                self.hide_header(&value);
                Ok(Header { value, generation: 0 })
            }
            Who::Bearer(token) => {
                let secret = self.read(token)?;
                Ok(Header { value: http.bearer(secret.expose())?, generation: 0 })
            }
            Who::Withheld(why) => Err(why.clone()),
            Who::Client { id, secret } => {
                let mut state = self.token.lock().await;
                let secret = self.read(secret)?;
                let same = state.secret.as_ref().is_some_and(|known| known.expose() == secret.expose());
                if let Some(token) = &state.token
                    && same
                    && Instant::now() < token.renew_at
                {
                    return Ok(Header { value: token.header.clone(), generation: state.generation });
                }
                let token = self.fetch(http, id, &secret, &mut state.form).await?;
                let value = token.header.clone();
                state.token = Some(token);
                state.generation += 1;
                state.secret = Some(secret);
                Ok(Header { value, generation: state.generation })
            }
        }
    }

    /// The service said 401 to `header`. Whether another one is worth a try: a token that can be
    /// renewed, or a secret file that has changed meanwhile.
    pub(crate) async fn renew(&self, http: &Http, header: &Header) -> bool {
        if let Who::Client { .. } = self.who {
            let mut state = self.token.lock().await;
            // Several requests may have been refused; only the first drops the token.
            if state.generation == header.generation {
                state.token = None;
            }
            return true;
        }
        self.header(http).await.is_ok_and(|now| now.value != header.value)
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
        id: &str,
        secret: &Secret,
        known: &mut Option<Form>,
    ) -> Result<Token, Error> {
        let forms = known.map_or_else(|| FORMS.to_vec(), |form| vec![form]);
        let mut refusal = None;
        for form in forms {
            let mut incoming = self.request_token(http, id, secret, form).await?;
            if incoming.is_success() {
                let token = self.token_from(http, &incoming);
                incoming.body.zeroize();
                *known = Some(form);
                return token;
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

    fn token_from(&self, http: &Http, incoming: &Incoming) -> Result<Token, Error> {
        #[derive(Deserialize)]
        struct Answer {
            access_token: String,
            #[serde(default)]
            expires_in: Option<f64>,
        }
        let answer: Answer = serde_json::from_slice(&incoming.body).map_err(|_| {
            // The message of serde could quote the token.
            Error::new(
                Kind::Protocol,
                format!("the token endpoint {} did not answer with a token", self.host()),
            )
        })?;
        let secret = Arc::new(Secret::new(answer.access_token));
        self.hide(&secret);
        let life = answer.expires_in.filter(|s| s.is_finite() && *s > 0.0).unwrap_or(3600.0).min(86_400.0);
        // A minute early, or a tenth of a short life.
        let early = (life / 10.0).min(60.0);
        Ok(Token {
            header: http.bearer(secret.expose())?,
            renew_at: Instant::now() + Duration::from_secs_f64(life - early),
        })
    }

    async fn request_token(
        &self,
        http: &Http,
        id: &str,
        secret: &Secret,
        form: Form,
    ) -> Result<Incoming, Error> {
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
        let outgoing =
            Outgoing { method: Method::POST, url: self.token_url.clone(), authorization, body: Some(body) };
        let mut failures = 0;
        loop {
            let (trouble, what) = match http.send(&outgoing).await {
                Ok(incoming) if matches!(incoming.status, 429 | 500..=599) && failures < 3 => {
                    (incoming.asked_to_wait(SystemTime::now()), None)
                }
                Ok(incoming) => return Ok(incoming),
                Err(failure) => (None, Some(failure)),
            };
            failures += 1;
            if let Some(failure) = what {
                use crate::http::Failure;
                let passing = matches!(failure, Failure::Passing(..));
                if !passing || failures > 3 {
                    let error = crate::complaint::failed(failure, &self.host(), "the token endpoint");
                    return Err(error.map_texts(|text| self.mask(text)));
                }
            }
            let wait = trouble.unwrap_or(Duration::from_millis(250 << failures)).min(Duration::from_secs(20));
            tokio::time::sleep(wait.mul_f64(0.75 + crate::retry::jitter() / 4.0)).await;
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

impl Holder {
    fn new(source: SecretSource, option: &'static str) -> Self {
        match source {
            SecretSource::Inline(secret) => Holder::Inline(Arc::new(secret)),
            SecretSource::File(path) => Holder::File { path, option, cache: Mutex::new(None) },
        }
    }

    /// The secret; a file is read again when its time or length has changed.
    fn read(&self) -> Result<Arc<Secret>, Error> {
        let (path, option, cache) = match self {
            Holder::Inline(secret) => return Ok(secret.clone()),
            Holder::File { path, option, cache } => (path, option, cache),
        };
        let bad = |why: String| {
            Error::new(Kind::Config, format!("{option} \"{}\" {why}", path.display()))
                .with_hint("The file must be readable by the database server's operating system user.")
        };
        let meta = fs::metadata(path).map_err(|e| bad(format!("cannot be read: {e}")))?;
        let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = &*cache
            && cached.length == meta.len()
            && cached.modified == meta.modified().ok()
        {
            return Ok(cached.secret.clone());
        }
        if !meta.is_file() || meta.len() > SECRET_FILE {
            return Err(bad("is not a small regular file".to_owned()));
        }
        let text = fs::read_to_string(path).map_err(|e| bad(format!("cannot be read: {e}")))?;
        let text = zeroize::Zeroizing::new(text);
        let trimmed = text.strip_suffix('\n').unwrap_or(&text);
        let trimmed = trimmed.strip_suffix('\r').unwrap_or(trimmed);
        if trimmed.is_empty() {
            return Err(bad("is empty".to_owned()));
        }
        let secret = Arc::new(Secret::new(trimmed.to_owned()));
        *cache = Some(Cached { modified: meta.modified().ok(), length: meta.len(), secret: secret.clone() });
        Ok(secret)
    }
}
