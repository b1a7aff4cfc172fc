//! What went wrong, in words: which credential, which route, what to change; never a secret.

use crate::budget::Endpoint;
use crate::decode::Unreadable;
use crate::error::{Error, Kind};
use crate::http::{Failure, Incoming};
use crate::retry::Trouble;
use crate::route::Route;
use crate::session::{Exchange, Session};

impl Session {
    pub(crate) fn unreadable(&self, exchange: &Exchange<'_>, unreadable: &Unreadable) -> Error {
        Error::new(Kind::Protocol, format!("cannot read the service's answer to {}", exchange.what))
            .with_detail(self.auth.clean(&unreadable.what))
    }

    /// What a status other than success means.
    pub(crate) fn refused(&self, exchange: &Exchange<'_>, incoming: &Incoming) -> Error {
        let said = self.said(&incoming.body);
        let what = exchange.what;
        let host = exchange.url.host_str().unwrap_or("?");
        let error = match incoming.status {
            400 if exchange.endpoint != Endpoint::Other => {
                let reason = if said.is_empty() { "no reason given" } else { &said };
                // The message says it all already.
                return Error::new(Kind::AqlRejected, format!("the service refused the AQL query: {reason}"));
            }
            401 => {
                let way = if exchange.authorized { exchange.way } else { "the site" };
                Error::new(
                    Kind::Unauthorized,
                    format!("{host} does not accept {} for {what} on {way}", self.auth.name()),
                )
                .with_hint(self.unauthorized_hint(&said, exchange))
            }
            403 => Error::new(Kind::Forbidden, format!("{} may not read {what}", self.auth.name())).with_hint(
                "Give the account access to Jira Service Management and a role (Object schema users) in the object \
                 schema's configuration.",
            ),
            404 => {
                let error = Error::new(Kind::NotFound, format!("{what}: not found"));
                match self.config.workspace_id {
                    Some(_) if exchange.authorized => error.with_hint(
                        "It was removed in Assets, or the credential's account may not see it; where nothing at all is \
                         found, the server option workspace_id is not the site's (without it, the workspace is looked up).",
                    ),
                    _ => error,
                }
            }
            429 => Error::new(Kind::RateLimited, format!("the service's rate limit was hit by {what}")).with_hint(
                "Lower requests_per_minute or max_in_flight, raise retry_timeout, or materialize the table.",
            ),
            500..=599 => Error::new(
                Kind::Server,
                format!("the service answered {} to {what}", incoming.status),
            ),
            status => Error::new(Kind::Protocol, format!("the service answered {status} to {what}")),
        };
        if said.is_empty() { error } else { error.with_detail(said) }
    }

    fn unauthorized_hint(&self, said: &str, exchange: &Exchange<'_>) -> String {
        if said.to_ascii_lowercase().contains("scope") {
            return format!(
                "The token is valid but lacks the scope {}. Make a token with that scope (API token: \
                 id.atlassian.com, Security, API tokens; service account: Atlassian Administration, Directory, Service \
                 accounts) and set it with ALTER USER MAPPING.",
                scope(exchange.url.path())
            );
        }
        if !self.auth.is_basic() {
            return "The token is wrong, expired or of another site, or its service account has no access to this \
                    site: see Atlassian Administration, Directory, Service accounts."
                .to_owned();
        }
        "The e-mail address or the API token is wrong or expired, or the account has no access to the site. A scoped \
         token works only on the cloud gateway, which needs site or cloud_id. See id.atlassian.com, Security, API tokens."
            .to_owned()
    }

    /// The service's own words: `errorMessages` and the values of `errors`, else `message`, else
    /// the first bytes (assets-api.md 1.5, 13 "Errors").
    fn said(&self, body: &[u8]) -> String {
        let text = String::from_utf8_lossy(body);
        let joined = serde_json::from_slice::<serde_json::Value>(body).ok().and_then(|json| {
            let mut parts: Vec<&str> = Vec::new();
            parts.extend(json["errorMessages"].as_array().into_iter().flatten().filter_map(|m| m.as_str()));
            parts.extend(json["errors"].as_object().into_iter().flatten().filter_map(|(_, m)| m.as_str()));
            if parts.is_empty() {
                parts.extend(
                    ["message", "error_description", "error"].iter().find_map(|key| json[*key].as_str()),
                );
            }
            parts.dedup();
            (!parts.is_empty()).then(|| parts.join("; "))
        });
        self.auth.clean(joined.as_deref().unwrap_or(&text))
    }
}

/// A failure without an answer, in words.
pub(crate) fn failed(failure: Failure, host: &str, what: &str) -> Error {
    match failure {
        Failure::Passing(Trouble::Timeout, text) => {
            Error::new(Kind::Timeout, format!("no answer from {host} to {what} within request_timeout"))
                .with_detail(text)
        }
        Failure::Passing(Trouble::Connect, text) if text.contains("dns") || text.contains("lookup") => {
            Error::new(Kind::Connect, format!("cannot look up the host name {host}"))
                .with_detail(text)
                .with_hint("Check the server option site and the database server's name resolution.")
        }
        Failure::Passing(Trouble::Connect, text) => {
            Error::new(Kind::Connect, format!("cannot connect to {host}")).with_detail(text).with_hint(
                "The database server itself must be able to reach the host; no proxy is taken from the environment.",
            )
        }
        Failure::Passing(_, text) => {
            Error::new(Kind::Connect, format!("the connection to {host} broke during {what}")).with_detail(text)
        }
        Failure::Tls(text) => {
            let hint = tls_hint(&text);
            Error::new(Kind::Connect, format!("no trusted TLS connection to {host}"))
                .with_detail(text)
                .with_hint(hint)
        }
        Failure::TooLarge(most) => {
            Error::new(Kind::TooLarge, format!("the answer to {what} is larger than {most} bytes"))
                .with_hint("Lower page_size or raise max_response_bytes.")
        }
        Failure::NoRoom(length) => {
            Error::new(Kind::TooLarge, format!("there is no room for the answer to {what}: {length} bytes"))
        }
        Failure::Redirect(target) => {
            Error::new(Kind::Protocol, format!("{host} redirects {what} to {target}, which is not followed"))
                .with_hint("Check site and api_url: the credential is sent to no other origin.")
        }
    }
}

/// What to change where a certificate is not trusted; the words are rustls's.
fn tls_hint(text: &str) -> &'static str {
    let text = text.to_ascii_lowercase();
    if text.contains("not valid for name") {
        "Another machine answers under this name: check the server options site, api_url and auth_url, and the database \
         server's name resolution."
    } else if text.contains("expired") || text.contains("not valid yet") || text.contains("notvalidyet") {
        "Whoever runs that host has to renew its certificate; or the clock of the database server is wrong."
    } else {
        "If a company's own authority signs its certificate, name its PEM file in the server option ca_file."
    }
}

/// Whether a refusal says that it is for want of a scope.
pub(crate) fn names_a_scope(error: &Error) -> bool {
    error.detail().is_some_and(|detail| detail.to_ascii_lowercase().contains("scope"))
}

/// The scope that a path needs (assets-api.md 1.3).
fn scope(path: &str) -> &'static str {
    if path.contains("/servicedeskapi/") {
        "read:servicedesk-request"
    } else if path.contains("/config/") || path.ends_with("/usage") {
        "read:cmdb-config:jira"
    } else if path.ends_with("/attributes") && !path.contains("/object/") {
        "read:cmdb-attribute:jira"
    } else if path.contains("/objecttype") || path.contains("/objecttypes") {
        "read:cmdb-type:jira"
    } else if path.contains("/objectschema/") {
        "read:cmdb-schema:jira"
    } else {
        "read:cmdb-object:jira (with attributes also read:cmdb-attribute:jira)"
    }
}

/// The refusal that says most: one that names a scope, else the first, with every route tried.
pub(crate) fn worst(mut refusals: Vec<(Route, Error)>) -> Error {
    let routes: Vec<_> = refusals.iter().map(|(route, _)| route.name()).collect();
    let tried = format!("Tried {}.", routes.join(", "));
    let best = refusals.iter().position(|(_, e)| names_a_scope(e)).unwrap_or(0);
    if refusals.is_empty() {
        return Error::new(Kind::Config, "no route to the workspace is possible");
    }
    let error = refusals.swap_remove(best).1;
    let detail = match error.detail() {
        Some(detail) => format!("{detail} {tried}"),
        None => tried,
    };
    error.with_detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_named_by_path() {
        let table = [
            ("/jsm/assets/workspace/w/v1/object/aql", "read:cmdb-object:jira"),
            ("/v1/objectschema/list", "read:cmdb-schema:jira"),
            ("/v1/objectschema/6/objecttypes/flat", "read:cmdb-type:jira"),
            ("/v1/objecttype/23/attributes", "read:cmdb-attribute:jira"),
            ("/v1/objecttype/23", "read:cmdb-type:jira"),
            ("/rest/servicedeskapi/assets/workspace", "read:servicedesk-request"),
        ];
        for (path, expected) in table {
            assert!(scope(path).starts_with(expected), "{path}: {}", scope(path));
        }
    }
}
