//! Where the service is and who asks.

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

/// A secret. `Debug` shows none of it, it has no `Display`, and its memory is zeroed on drop.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where a secret is read from.
#[derive(Debug)]
pub enum SecretSource {
    /// Given in the user mapping.
    Inline(Secret),
    /// A file on the server, read at use, so that rotation needs no DDL.
    File(std::path::PathBuf),
}

/// Who asks (interface.md 1, USER MAPPING options).
#[derive(Debug)]
pub enum Credential {
    /// `email` and `api_token`: HTTP Basic.
    Basic {
        /// The account's e-mail address.
        email: String,
        /// Its API token.
        token: SecretSource,
    },
    /// `client_id` and `client_secret`: OAuth 2.0 client credentials.
    ClientCredentials {
        /// The client id.
        id: String,
        /// The client secret.
        secret: SecretSource,
    },
    /// `access_token`: a ready bearer token.
    Bearer(SecretSource),
    /// One that may not be sent, and why: only what needs none can be asked, as
    /// [`crate::client::Client::check`] does.
    Withheld(crate::error::Error),
}

/// Which product answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deployment {
    /// Jira Service Management Cloud.
    Cloud,
    /// Jira Service Management Data Center.
    DataCenter,
}

/// A server's options with the defaults of interface.md section 1 filled in. Origins have no
/// trailing slash and no path.
#[derive(Debug, Clone)]
pub struct Config {
    /// `site`: `https://acme.atlassian.net`.
    pub site: Option<String>,
    /// `workspace_id`, where discovery is to be skipped.
    pub workspace_id: Option<String>,
    /// `cloud_id`, likewise.
    pub cloud_id: Option<String>,
    /// `api_url`, the gateway's origin.
    pub api_url: String,
    /// `auth_url`, the OAuth token endpoint's origin.
    pub auth_url: String,
    /// The PEM text of `ca_file`, instead of the system's roots.
    pub ca_pem: Option<Vec<u8>>,
    /// `deployment`.
    pub deployment: Deployment,
    /// `page_size`, 1 to 999.
    pub page_size: u32,
    /// `max_in_flight`, 1 to 64.
    pub max_in_flight: u32,
    /// `requests_per_minute` of `object/aql`; 0: no limit of ours.
    pub requests_per_minute: u32,
    /// `connect_timeout`.
    pub connect_timeout: Duration,
    /// `request_timeout`.
    pub request_timeout: Duration,
    /// `retry_timeout`.
    pub retry_timeout: Duration,
    /// `max_response_bytes`.
    pub max_response_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_a_secret_shows_none_of_it() {
        let inline = || SecretSource::Inline(Secret::new("canary".to_owned()));
        for credential in [
            Credential::Basic { email: "a@b.example".to_owned(), token: inline() },
            Credential::ClientCredentials { id: "id".to_owned(), secret: inline() },
            Credential::Bearer(inline()),
        ] {
            let shown = format!("{credential:?} {credential:#?}");
            assert!(shown.contains("Secret(") && !shown.contains("canary"), "{shown}");
        }
    }
}
