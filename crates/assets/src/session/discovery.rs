//! Finding the site's cloud id and its workspace (assets-api.md 1.4).

use std::sync::Arc;

use reqwest::Url;
use serde::Deserialize;

use super::{Exchange, Session, json, parse};
use crate::budget::Endpoint;
use crate::complaint;
use crate::error::{Error, Kind};
use crate::option::is_plain_id;
use crate::route::Route;
use crate::stats::Meter;

impl Session {
    /// Where the paths of Assets begin on a route.
    pub(super) async fn base(&self, route: Route, meter: Meter<'_>) -> Result<String, Error> {
        let workspace = self.workspace(meter).await?;
        Ok(match route {
            Route::Workspace => format!("{}/jsm/assets/workspace/{workspace}/v1", self.config.api_url),
            Route::Cloud => {
                let cloud = self.cloud(meter).await?;
                format!("{}/ex/jira/{cloud}/jsm/assets/workspace/{workspace}/v1", self.config.api_url)
            }
            Route::Site => {
                let site = self.config.site.as_deref().unwrap_or(&self.config.api_url);
                format!("{site}/gateway/api/jsm/assets/workspace/{workspace}/v1")
            }
        })
    }

    /// The cloud id (assets-api.md 1.4): unauthenticated, from the site.
    pub(crate) async fn cloud(&self, meter: Meter<'_>) -> Result<Arc<str>, Error> {
        if let Some(cloud) = self.known().cloud.clone() {
            return Ok(cloud);
        }
        #[derive(Deserialize)]
        struct Tenant {
            #[serde(rename = "cloudId")]
            cloud: String,
        }
        let Some(site) = &self.config.site else {
            return Err(Error::new(Kind::Config, "the cloud id cannot be found without site")
                .with_hint("Set the server option cloud_id or site."));
        };
        let exchange = Exchange {
            what: "the site's cloud id",
            url: parse(&format!("{site}/_edge/tenant_info"))?,
            way: "the site",
            body: None,
            endpoint: Endpoint::Other,
            authorized: false,
            meter,
            part: None,
            once: false,
        };
        let tenant: Tenant = self.exchange(exchange, &json).await?;
        let cloud = self.plain_id(tenant.cloud, "the cloud id")?;
        self.known().cloud = Some(cloud.clone());
        Ok(cloud)
    }

    /// The workspace (assets-api.md 1.4), from the site, or through the cloud gateway for
    /// credentials that the site does not take.
    pub(crate) async fn workspace(&self, meter: Meter<'_>) -> Result<Arc<str>, Error> {
        if let Some(workspace) = self.known().workspace.clone() {
            return Ok(workspace);
        }
        const PATH: &str = "rest/servicedeskapi/assets/workspace";
        let mut refusal = None;
        if self.auth.is_basic()
            && let Some(site) = &self.config.site
        {
            let url = parse(&format!("{site}/{PATH}"))?;
            match self.discover(url, "the site", meter).await {
                Err(error) if matches!(error.kind(), Kind::Unauthorized | Kind::Forbidden) => {
                    refusal = Some(error);
                }
                result => return result,
            }
        }
        let cloud = match self.cloud(meter).await {
            Ok(cloud) => cloud,
            Err(error) => return Err(refusal.unwrap_or(error)),
        };
        let url = parse(&format!("{}/ex/jira/{cloud}/{PATH}", self.config.api_url))?;
        let result = self.discover(url, "the cloud gateway", meter).await;
        match (result, refusal) {
            (Ok(workspace), Some(_)) => {
                self.known().scoped = true;
                Ok(workspace)
            }
            (Err(second), Some(first))
                if second.kind() == Kind::Unauthorized && !complaint::names_a_scope(&second) =>
            {
                Err(first)
            }
            (result, _) => result,
        }
    }

    async fn discover(&self, url: Url, way: &str, meter: Meter<'_>) -> Result<Arc<str>, Error> {
        #[derive(Deserialize)]
        struct Workspaces {
            values: Vec<Workspace>,
        }
        #[derive(Deserialize)]
        struct Workspace {
            #[serde(rename = "workspaceId")]
            id: String,
        }
        let exchange = Exchange {
            what: "the site's Assets workspace",
            url,
            way,
            body: None,
            endpoint: Endpoint::Other,
            authorized: true,
            meter,
            part: None,
            once: false,
        };
        let none = |detail: Option<&str>| {
            let cloud = match self.config.cloud_id {
                Some(_) => {
                    "Check the server option cloud_id: the path /_edge/tenant_info of the site shows it. If it is right: "
                }
                None => "",
            };
            let error = Error::new(Kind::NoWorkspace, "the site has no Assets workspace").with_hint(format!(
                "{cloud}Assets needs Jira Service Management Premium or Enterprise on this site; an administrator sees \
                 the plan under Atlassian Administration, Billing. The account must also have access to the product."
            ));
            match detail {
                Some(detail) => error.with_detail(detail),
                None => error,
            }
        };
        match self.exchange(exchange, &json::<Workspaces>).await {
            Ok(found) => {
                let mut ids: Vec<String> = found.values.into_iter().map(|workspace| workspace.id).collect();
                ids.sort_unstable();
                ids.dedup();
                if ids.len() > 1 {
                    return Err(several(&self.auth.clean(&ids.join(", "))));
                }
                let workspace = self.plain_id(ids.pop().ok_or_else(|| none(None))?, "the workspace id")?;
                self.known().workspace = Some(workspace.clone());
                self.lore.of(Some(workspace.clone()));
                Ok(workspace)
            }
            Err(error) if error.kind() == Kind::NotFound => Err(none(error.detail())),
            Err(error) => Err(error),
        }
    }

    /// An id goes into paths: anything else than an id must not.
    fn plain_id(&self, id: String, what: &str) -> Result<Arc<str>, Error> {
        if is_plain_id(&id) {
            return Ok(id.into());
        }
        Err(Error::new(Kind::Protocol, format!("{what} that the service gave is not an id"))
            .with_detail(self.auth.clean(&id)))
    }
}

/// In which order they are listed is not documented: none of them is taken on a guess.
fn several(ids: &str) -> Error {
    Error::new(Kind::Config, "the site has several Assets workspaces")
        .with_detail(format!("They are {ids}."))
        .with_hint("Say which one is meant by the server option workspace_id.")
}
