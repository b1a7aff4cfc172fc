//! Who asks: credentials, the routes they are good for, and what they see (assets-api.md sections 1.1 to 1.3).

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::data::view::Visibility;
use crate::http::{Reply, Request, form};
use crate::routes::Route;
use crate::switches::Switches;

/// What kind of credential an identity has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A classic API token, Basic only: routes A, B, C, D and the site.
    Classic,
    /// A scoped API token, Basic only: route B.
    Scoped,
    /// A service account's API token, Basic or bearer: route B.
    ServiceToken,
    /// Client credentials: a bearer token from `/oauth/token`: route B.
    Client,
}

/// Somebody who may ask.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The e-mail address, or the client id.
    pub name: &'static str,
    /// The token, or the client secret.
    pub secret: &'static str,
    /// What kind of credential it is.
    pub credential: Credential,
    /// Who it is: an index into the catalog's users.
    pub user: usize,
    /// What it sees.
    pub sees: Visibility,
}

/// Every scope that the simulator knows.
pub const SCOPES: [&str; 9] = [
    "read:cmdb-object:jira",
    "write:cmdb-object:jira",
    "delete:cmdb-object:jira",
    "read:cmdb-schema:jira",
    "read:cmdb-type:jira",
    "read:cmdb-attribute:jira",
    "read:cmdb-icon:jira",
    "read:cmdb-config:jira",
    "read:servicedesk-request",
];

/// The identities of the simulator.
pub fn all() -> Vec<Identity> {
    let identity = |name, secret, credential, user| Identity {
        name,
        secret,
        credential,
        user,
        sees: Visibility::default(),
    };
    vec![
        identity("reader@example.com", "classic-token", Credential::Classic, 0),
        Identity {
            sees: Visibility { schemas: Some(vec![1]), restricted: true, ..Visibility::default() },
            ..identity("limited@example.com", "limited-token", Credential::Classic, 1)
        },
        identity("scoped@example.com", "scoped-token", Credential::Scoped, 2),
        identity("robot@serviceaccount.example.com", "service-token", Credential::ServiceToken, 3),
        identity("sim-client", "sim-secret", Credential::Client, 4),
        Identity {
            sees: Visibility { hidden_types: vec![16, 42], restricted: true, ..Visibility::default() },
            ..identity("partial@example.com", "partial-token", Credential::Classic, 5)
        },
    ]
}

/// Access tokens that were handed out, and until when they are good.
#[derive(Debug, Default)]
pub struct Tokens {
    issued: Mutex<HashMap<String, Instant>>,
    count: std::sync::atomic::AtomicU64,
}

impl Tokens {
    fn issue(&self, lifetime: Duration) -> String {
        let n = self.count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let token = format!("sim-access-token-{n}");
        self.issued.lock().expect("tokens").insert(token.clone(), Instant::now() + lifetime);
        token
    }

    fn good(&self, token: &str) -> bool {
        self.issued.lock().expect("tokens").get(token).is_some_and(|until| *until > Instant::now())
    }

    /// Makes every token handed out so far useless.
    pub fn expire(&self) {
        self.issued.lock().expect("tokens").clear();
    }
}

/// Finds who asks by a route; the error is the answer to give.
pub fn authenticate<'i>(
    identities: &'i [Identity],
    tokens: &Tokens,
    route: Route,
    request: &Request,
) -> Result<&'i Identity, Box<Reply>> {
    let refused = || Box::new(Reply::gateway(401, "Unauthorized"));
    let (scheme, rest) =
        request.header("authorization").and_then(|h| h.split_once(' ')).ok_or_else(refused)?;
    let found = if scheme.eq_ignore_ascii_case("basic") {
        let (name, secret) = basic(rest).ok_or_else(refused)?;
        let known =
            |i: &&Identity| i.credential != Credential::Client && i.name == name && i.secret == secret;
        identities.iter().find(known)
    } else if scheme.eq_ignore_ascii_case("bearer") {
        let token = rest.trim();
        identities.iter().find(|i| match i.credential {
            Credential::ServiceToken => i.secret == token,
            Credential::Client => tokens.good(token),
            _ => false,
        })
    } else {
        None
    };
    let found = found.ok_or_else(refused)?;
    let good_here = match route {
        Route::Cloud => true,
        _ => found.credential == Credential::Classic,
    };
    if good_here { Ok(found) } else { Err(refused()) }
}

fn basic(encoded: &str) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    text.split_once(':').map(|(a, b)| (a.to_owned(), b.to_owned()))
}

/// Answers `POST /oauth/token` in each of the forms of assets-api.md sections 1.2 and 13 that the switches allow.
pub fn token(identities: &[Identity], tokens: &Tokens, switches: &Switches, request: &Request) -> Reply {
    let denied = |status: u16, error: &str, text: &str| {
        Reply::json(status, serde_json::json!({ "error": error, "error_description": text }).to_string())
    };
    let kind = request.header("content-type").unwrap_or_default().to_ascii_lowercase();
    let from_header = request.header("authorization").and_then(|h| h.strip_prefix("Basic ")).and_then(basic);
    let (fields, is_json) = if kind.starts_with("application/json") {
        let Some(serde_json::Value::Object(body)) = request.json() else {
            return denied(400, "invalid_request", "The body is not a JSON object");
        };
        let text = |v: serde_json::Value| v.as_str().unwrap_or_default().to_owned();
        (body.into_iter().map(|(k, v)| (k, text(v))).collect(), true)
    } else if kind.starts_with("application/x-www-form-urlencoded") {
        (form(&String::from_utf8_lossy(&request.body)), false)
    } else {
        return denied(400, "invalid_request", "Unsupported content type");
    };
    let field = |name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    let in_body = field("client_id").zip(field("client_secret"));
    let accepted = match (is_json, &in_body, &from_header) {
        (true, Some(_), _) => switches.token_json,
        (false, Some(_), _) => switches.token_form_body,
        (false, None, Some(_)) => switches.token_form_basic,
        _ => false,
    };
    if field("grant_type").as_deref() != Some("client_credentials") {
        return denied(403, "unsupported_grant_type", "Unsupported grant type");
    }
    if switches.token_audience && field("audience").as_deref() != Some("api.atlassian.com") {
        return denied(
            403,
            "access_denied",
            "Non-global clients are not allowed access to APIs without an audience",
        );
    }
    let known = in_body.or(from_header).filter(|(id, secret)| {
        identities.iter().any(|i| i.credential == Credential::Client && i.name == id && i.secret == secret)
    });
    if !accepted || known.is_none() {
        return denied(401, "access_denied", "Unauthorized");
    }
    let lifetime = Duration::from_millis(switches.token_lifetime_ms);
    let scopes = switches.scopes.clone().unwrap_or_else(|| SCOPES.iter().map(|s| (*s).to_owned()).collect());
    let body = serde_json::json!({
        "access_token": tokens.issue(lifetime),
        "expires_in": lifetime.as_millis().div_ceil(1000) as u64,
        "token_type": "Bearer",
        "scope": scopes.join(" "),
    });
    Reply::json(200, body.to_string())
}
