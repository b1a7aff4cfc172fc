//! What went wrong, in words: which credential, which route, what to change; never a secret.

use crate::budget::Endpoint;
use crate::decode::Unreadable;
use crate::error::{Error, Kind};
use crate::http::{Failure, Incoming};
use crate::retry::Trouble;
use crate::route::Route;
use crate::session::{Exchange, Session};

impl Session {
    /// An answer of success that is not what was asked for: what was wrong with it, and what it says.
    pub(crate) fn unreadable(
        &self,
        exchange: &Exchange<'_>,
        unreadable: &Unreadable,
        incoming: &Incoming,
    ) -> Error {
        let what = exchange.what;
        let host = exchange.url.host_str().unwrap_or("?");
        let wrong = self.auth.clean(&unreadable.what);
        if let Some(page) = html_text(&incoming.body) {
            return Error::new(Kind::Protocol, format!("{host} answered a web page to {what}"))
                .with_detail(self.detail(&page, &wrong))
                .with_hint(format!(
                    "A page for people, such as one to log in, is no answer of Assets. {BETWEEN} The server options site \
                     and api_url must name the service itself."
                ));
        }
        let said = words(&incoming.body).map(|said| self.auth.clean(&said));
        let error = Error::new(Kind::Protocol, format!("cannot read the service's answer to {what}"));
        match said {
            Some(said) => error.with_detail(self.detail(&said, &wrong)),
            None => error.with_detail(wrong),
        }
    }

    /// What it says comes first; what is wrong with it, for whoever wants to know.
    fn detail(&self, said: &str, wrong: &str) -> String {
        format!("It says: {} ({wrong})", self.auth.clean(said))
    }

    /// What a status other than success means.
    pub(crate) fn refused(&self, exchange: &Exchange<'_>, incoming: &Incoming) -> Error {
        let page = html_text(&incoming.body);
        let said = match (&page, words(&incoming.body)) {
            (Some(page), _) => self.auth.clean(page),
            (None, Some(words)) => self.auth.clean(&words),
            (None, None) => self.auth.clean(&String::from_utf8_lossy(&incoming.body)),
        };
        let what = exchange.what;
        let host = exchange.url.host_str().unwrap_or("?");
        let error = match incoming.status {
            400 if exchange.endpoint != Endpoint::Other => {
                let reason = if said.is_empty() { "no reason given" } else { &said };
                // The message says it all already.
                let error = Error::new(Kind::AqlRejected, format!("the service refused the AQL query: {reason}"));
                return if page.is_some() { error.with_hint(BETWEEN) } else { error };
            }
            401 => {
                let way = if exchange.authorized { exchange.way } else { "the site" };
                let error = Error::new(
                    Kind::Unauthorized,
                    format!("{host} does not accept {} for {what} on {way}", self.auth.name()),
                );
                error.with_hint(self.unauthorized_hint(&said, page.is_some(), exchange))
            }
            403 => Error::new(Kind::Forbidden, format!("{} may not read {what}", self.auth.name()))
                .with_hint(forbidden_hint(&said, page.is_some())),
            404 => {
                let error = Error::new(Kind::NotFound, format!("{what}: not found"));
                // Pages and searches are there wherever Assets is.
                let of_the_way = page.is_some() || exchange.endpoint != Endpoint::Other;
                match self.config.workspace_id {
                    Some(_) if exchange.authorized => error.with_hint(
                        "It was removed in Assets, or the credential's account may not see it; where nothing at all is \
                         found, the server option workspace_id is not the site's (without it, the workspace is looked up).",
                    ),
                    _ if of_the_way => error.with_hint(format!(
                        "What answered does not know this part of Assets. The server options site, api_url and cloud_id \
                         must be those of the service. {BETWEEN}"
                    )),
                    _ => error,
                }
            }
            407 => Error::new(Kind::Protocol, format!("a proxy asks for a login before {what}")).with_hint(BETWEEN),
            429 => Error::new(Kind::RateLimited, format!("the service's rate limit was hit by {what}")).with_hint(
                "Lower requests_per_minute or max_in_flight, raise retry_timeout, or materialize the table.",
            ),
            500..=599 => Error::new(
                Kind::Server,
                format!("the service answered {} to {what}", incoming.status),
            ),
            status => {
                let error = Error::new(Kind::Protocol, format!("the service answered {status} to {what}"));
                if page.is_some() { error.with_hint(BETWEEN) } else { error }
            }
        };
        if said.is_empty() { error } else { error.with_detail(said) }
    }

    fn unauthorized_hint(&self, said: &str, page: bool, exchange: &Exchange<'_>) -> String {
        if page {
            return format!("The service itself answers no web page to a wrong credential. {BETWEEN}");
        }
        if said.to_ascii_lowercase().contains("scope") {
            return format!(
                "The token is valid but lacks the scope {}. Make a token with that scope (API token: \
                 id.atlassian.com, Security, API tokens; service account: Atlassian Administration, Directory, Service \
                 accounts) and set it with ALTER USER MAPPING.{}",
                scope(exchange.url.path()),
                if self.auth.is_exchanged() {
                    " A scope that is given to the same client counts within five minutes."
                } else {
                    ""
                }
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
}

/// Where an answer is not the service's.
const BETWEEN: &str = "Something between the database server and Assets (a proxy, a firewall, a single sign-on, a gateway) \
                       answers in its place: DETAIL has its words; ask whoever runs it.";

/// Why an account that is known may not read, in the order of assets-api.md 1.5, 13 and 14: each has other words.
fn forbidden_hint(said: &str, page: bool) -> String {
    const ROLE: &str = "Give the account access to Jira Service Management and a role (Object schema users) in the \
                        object schema's configuration.";
    const LIST: &str = "An IP allowlist does not hold the database server's address: an administrator adds it, under \
                        Atlassian Administration, Security, IP allowlists.";
    let said = said.to_ascii_lowercase();
    let has_word = |word: &str| said.split(|c: char| !c.is_ascii_alphanumeric()).any(|w| w == word);
    if ["allowlist", "allow list", "allow-list", "whitelist"].iter().any(|word| said.contains(word))
        || has_word("ip")
    {
        return LIST.to_owned();
    }
    if said.contains("xsrf") || said.contains("csrf") {
        return format!("The request's header X-Atlassian-Token did not arrive. {BETWEEN}");
    }
    if page {
        return BETWEEN.to_owned();
    }
    if said.is_empty() {
        return format!("If it is the service that answers: {ROLE} Or: {LIST} Or else: {BETWEEN}");
    }
    if ["permission", "role", "forbidden", "not allowed", "access"].iter().any(|word| said.contains(word)) {
        return ROLE.to_owned();
    }
    format!(
        "The detail has the reason. Where it is one of rights: {ROLE} Where it is one of the network: {LIST}"
    )
}

/// The words of an answer that is JSON: `errorMessages` and the values of `errors`, else `message`, else what
/// servicedeskapi has (assets-api.md 1.5, 13 "Errors", 14).
fn words(body: &[u8]) -> Option<String> {
    let json = serde_json::from_slice::<serde_json::Value>(body).ok()?;
    let mut parts: Vec<&str> = Vec::new();
    parts.extend(json["errorMessages"].as_array().into_iter().flatten().filter_map(|m| m.as_str()));
    parts.extend(json["errorMessages"].as_str());
    parts.extend(json["errors"].as_object().into_iter().flatten().filter_map(|(_, m)| m.as_str()));
    if parts.is_empty() {
        let keys = ["errorMessage", "message", "error_description", "error"];
        parts.extend(keys.iter().find_map(|key| json[*key].as_str().filter(|text| !text.is_empty())));
        // The translated text is that of `errorMessage` again where nothing translates it.
        let i18n = &json["i18nErrorMessage"];
        parts.extend(i18n.as_str().or_else(|| i18n["i18nKey"].as_str()).filter(|text| !text.is_empty()));
    }
    parts.retain(|part| !part.is_empty());
    parts.dedup();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Whether an answer of success says that it is none: it holds `errorMessages`.
pub(crate) fn denies(body: &[u8]) -> bool {
    // Rows may hold the words too: only a member of the answer itself counts, and few answers have them.
    const NAME: &[u8] = b"\"errorMessages\"";
    if !body.windows(NAME.len()).any(|part| part == NAME) {
        return false;
    }
    #[derive(serde::Deserialize)]
    struct Answer {
        #[serde(rename = "errorMessages", default)]
        messages: serde_json::Value,
    }
    match serde_json::from_slice::<Answer>(body).map(|answer| answer.messages) {
        Ok(serde_json::Value::Array(messages)) => !messages.is_empty(),
        Ok(serde_json::Value::String(message)) => !message.is_empty(),
        _ => false,
    }
}

/// The text of a web page; none where a body is none.
fn html_text(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let start = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']).to_ascii_lowercase();
    let is_page = ["<!doctype html", "<html", "<head", "<body", "<title", "<!--"]
        .iter()
        .any(|tag| start.starts_with(tag));
    if !is_page {
        return None;
    }
    let mut shown = String::new();
    let mut rest: &str = &text;
    while let Some(open) = rest.find('<') {
        shown.push_str(&rest[..open]);
        shown.push(' ');
        let tag = &rest[open..];
        let lower = tag.get(..8).unwrap_or(tag).to_ascii_lowercase();
        // What is not for people goes with its tags.
        let end =
            ["script", "style"].iter().find(|name| lower.get(1..).is_some_and(|l| l.starts_with(**name)));
        let past = match end {
            _ if tag.starts_with("<!--") => tag.find("-->").map(|at| at + 3),
            Some(name) => tag
                .to_ascii_lowercase()
                .find(&format!("</{name}"))
                .and_then(|at| tag[at..].find('>').map(|close| at + close + 1)),
            None => tag.find('>').map(|at| at + 1),
        };
        rest = past.map_or("", |past| &tag[past..]);
    }
    shown.push_str(rest);
    let shown =
        [("&nbsp;", " "), ("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")]
            .iter()
            .fold(shown, |text, (entity, sign)| text.replace(entity, sign));
    let words = shown.replace('\u{feff}', " ").split_whitespace().collect::<Vec<_>>().join(" ");
    Some(if words.is_empty() { "a web page without text".to_owned() } else { words })
}

/// Whether a 401 says that it is for want of a scope.
pub(crate) fn is_of_scope(incoming: &Incoming) -> bool {
    words(&incoming.body).is_some_and(|said| said.to_ascii_lowercase().contains("scope"))
}

/// The part of the interface that a request is to, which has rights of its own: a number below
/// [`commons::tokens::DOORS`].
pub(crate) fn door(exchange: &Exchange<'_>) -> usize {
    let path = exchange.url.path();
    match exchange.endpoint {
        Endpoint::TotalCount => return 0,
        // A read with attributes needs another scope besides (assets-api.md 13).
        Endpoint::ObjectAql if exchange.url.query().is_some_and(|q| q.contains("includeAttributes=true")) => {
            return 1;
        }
        Endpoint::ObjectAql => return 2,
        Endpoint::Other => {}
    }
    3 + SCOPES.iter().position(|name| *name == scope(path)).unwrap_or(SCOPES.len())
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

const SCOPES: [&str; 6] = [
    "read:servicedesk-request",
    "read:cmdb-config:jira",
    "read:cmdb-attribute:jira",
    "read:cmdb-type:jira",
    "read:cmdb-schema:jira",
    "read:cmdb-object:jira (with attributes also read:cmdb-attribute:jira)",
];

/// The scope that a path needs (assets-api.md 1.3).
fn scope(path: &str) -> &'static str {
    let which = if path.contains("/servicedeskapi/") {
        0
    } else if path.contains("/config/") || path.ends_with("/usage") {
        1
    } else if path.ends_with("/attributes") && !path.contains("/object/") {
        2
    } else if path.contains("/objecttype") || path.contains("/objecttypes") {
        3
    } else if path.contains("/objectschema/") {
        4
    } else {
        5
    };
    SCOPES[which]
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

    #[test]
    fn each_kind_of_403_has_its_own_advice() {
        let role = |hint: &str| hint.contains("role (Object schema users)");
        let list = |hint: &str| hint.contains("IP allowlist");
        let between = |hint: &str| hint.contains("proxy");
        let table = [
            ("Authenticated user is missing permission to access this resource", false, [true, false, false]),
            ("The IP address 198.51.100.7 is not on this site's allowlist", false, [false, true, false]),
            ("Your IP is blocked", false, [false, true, false]),
            ("Request blocked by the web application firewall. Incident 4711", true, [false, false, true]),
            ("Access denied", true, [false, false, true]),
            ("XSRF check failed", false, [false, false, true]),
            ("", false, [true, true, true]),
            ("Nope", false, [true, true, false]),
            // No word of its own.
            ("The user must be a participant", false, [true, true, false]),
        ];
        for (said, page, wanted) in table {
            let hint = forbidden_hint(said, page);
            assert_eq!([role(&hint), list(&hint), between(&hint)], wanted, "{said}: {hint}");
        }
    }

    #[test]
    fn what_answers_say_is_found_wherever_they_say_it() {
        let table = [
            (r#"{"errorMessages":["one","two"],"errors":{}}"#, Some("one; two")),
            (r#"{"errorMessages":[],"errors":{"iql":"three"}}"#, Some("three")),
            (r#"{"errorMessages":["x"],"errors":{"iql":"y"}}"#, Some("x; y")),
            (
                r#"{"code":401,"message":"Unauthorized; scope does not match"}"#,
                Some("Unauthorized; scope does not match"),
            ),
            (
                r#"{"errorMessage":"You are not a customer","i18nErrorMessage":{"i18nKey":"sd.denied","parameters":[]}}"#,
                Some("You are not a customer; sd.denied"),
            ),
            (r#"{"errorMessage":"No","i18nErrorMessage":"No"}"#, Some("No")),
            (r#"{"i18nErrorMessage":"Nein"}"#, Some("Nein")),
            (r#"{"values":[]}"#, None),
            ("[]", None),
            ("no JSON", None),
        ];
        for (body, wanted) in table {
            assert_eq!(words(body.as_bytes()).as_deref(), wanted, "{body}");
        }
    }

    #[test]
    fn an_answer_of_success_may_say_that_it_is_none() {
        for (body, wanted) in [
            (r#"{"errorMessages":["index not ready"],"values":[],"isLast":true}"#, true),
            (r#"{"values":[],"errorMessages":"x"}"#, true),
            (r#"{"errorMessages":[],"errors":{},"values":[]}"#, false),
            (r#"{"errorMessages":null,"values":[]}"#, false),
            (r#"{"values":[{"label":"\"errorMessages\""}]}"#, false),
            (r#"{"values":[{"errorMessages":["of an object"]}]}"#, false),
            (r#"[{"errorMessages":["of an element"]}]"#, false),
        ] {
            assert_eq!(denies(body.as_bytes()), wanted, "{body}");
        }
    }

    #[test]
    fn a_web_page_is_told_by_its_beginning_and_read_as_people_read_it() {
        let page = "\u{feff}\n<!DOCTYPE html><html><head><title>Log in</title><script>let a = '<b>';</script>\
                    <style>b { color: red }</style></head><body><!-- <p>no</p> --><h1>Please&nbsp;log in</h1>\
                    &lt;here&gt;</body></html>";
        assert_eq!(html_text(page.as_bytes()).as_deref(), Some("Log in Please log in <here>"));
        assert_eq!(html_text(b"<HTML><BODY>blocked").as_deref(), Some("blocked"));
        assert_eq!(html_text(b"<html><script>never closed").as_deref(), Some("a web page without text"));
        assert_eq!(html_text(b"<html \xc3").as_deref(), Some("a web page without text"));
        assert_eq!(html_text("<html>é<ü".as_bytes()).as_deref(), Some("é"));
        for none in ["", "{}", "text <html>", "<?xml version='1.0'?><status/>"] {
            assert_eq!(html_text(none.as_bytes()), None, "{none}");
        }
    }
}
