//! Everything that can go wrong between here and the service, as one opaque type with public
//! questions. The extension maps [`Kind`] to an SQLSTATE; the texts are ready for a person.

use std::fmt;

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A bad option or credential form, found before anything was sent.
    Config,
    /// No connection: name lookup, TCP, TLS, or a connection that broke beyond the retries.
    Connect,
    /// The service did not answer in time.
    Timeout,
    /// 401: the credential, its route or its scope.
    Unauthorized,
    /// 403: the credential is known and may not.
    Forbidden,
    /// The site has no Assets workspace.
    NoWorkspace,
    /// The database's administrator does not let a connection lead there.
    NotAllowed,
    /// 429 or our own limit, and the wait would outlast `retry_timeout`.
    RateLimited,
    /// 400: the service refused the AQL text.
    AqlRejected,
    /// 404: an object schema, type or object that is not there (any more).
    NotFound,
    /// An attribute that is not there (any more).
    AttributeNotFound,
    /// What was known of types or attributes, and was asked by, is no longer so.
    Outdated,
    /// A part of the interface that is not built yet.
    NotBuilt,
    /// Answers that cannot be a complete sequence of pages, or not what the interface documents.
    Protocol,
    /// An answer larger than `max_response_bytes`.
    TooLarge,
    /// 5xx beyond the retries.
    Server,
}

impl Kind {
    /// Whether an error of a count says that the service counts nothing for us: 403 is documented
    /// (assets-api.md 2.2), 404 is a service without such an endpoint.
    pub fn refuses_counts(self) -> bool {
        matches!(self, Kind::Forbidden | Kind::NotFound)
    }
}

/// An error of the service's client. Never contains a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    /// The query may be to blame for it, for all that was said.
    doubtful: bool,
}

impl Error {
    /// A new error; `message` names what failed, lower case, no full stop.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), detail: None, hint: None, doubtful: false }
    }

    /// Adds what the service said.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds what the reader can do about it: a sentence.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Marks it as one that may be the query's fault as well as anybody's.
    pub(crate) fn doubtful(mut self, doubtful: bool) -> Self {
        self.doubtful = doubtful;
        self
    }

    /// Whether it may be the query that the service, or something before it, could not bear, although neither
    /// says so: statuses such as 500, 403 or 413, no answer in time, or one that breaks each time. A query
    /// that is refused for what it is, is [`Kind::AqlRejected`] instead.
    pub fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// The same with every text passed through `change`.
    pub(crate) fn map_texts(self, change: impl Fn(String) -> String) -> Self {
        Self {
            kind: self.kind,
            message: change(self.message),
            detail: self.detail.map(&change),
            hint: self.hint.map(&change),
            doubtful: self.doubtful,
        }
    }

    /// What failed.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What the service said.
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// What to do.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
