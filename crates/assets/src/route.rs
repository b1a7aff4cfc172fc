//! The ways to a workspace (assets-api.md 1.1) and which credential may use which.

use serde::{Deserialize, Serialize};

/// A base URL's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Route {
    /// `{api}/jsm/assets/workspace/{workspace}/v1`: an unscoped API token.
    Workspace,
    /// `{api}/ex/jira/{cloud}/jsm/assets/workspace/{workspace}/v1`: scoped tokens, OAuth.
    Cloud,
    /// `{site}/gateway/api/jsm/assets/workspace/{workspace}/v1`: a person's unscoped token.
    Site,
}

impl Route {
    /// For messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Route::Workspace => "the workspace gateway (route A)",
            Route::Cloud => "the cloud gateway (route B)",
            Route::Site => "the site's own gateway (route C)",
        }
    }
}

/// The routes to try, best first.
pub(crate) fn candidates(basic: bool, cloud_known: bool, has_site: bool) -> Vec<Route> {
    if !basic {
        return vec![Route::Cloud];
    }
    let mut routes = vec![Route::Workspace];
    if cloud_known {
        // Whoever gives a cloud id means the route that needs it; it takes unscoped tokens too.
        routes.insert(0, Route::Cloud);
    } else if has_site {
        routes.push(Route::Cloud);
    }
    if has_site {
        routes.push(Route::Site);
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_credential_has_its_routes() {
        use Route::*;
        assert_eq!(candidates(true, false, true), [Workspace, Cloud, Site]);
        assert_eq!(candidates(true, true, true), [Cloud, Workspace, Site]);
        assert_eq!(candidates(true, false, false), [Workspace]);
        assert_eq!(candidates(true, true, false), [Cloud, Workspace]);
        assert_eq!(candidates(false, false, true), [Cloud]);
    }
}
