//! Paths into endpoints: the base routes of assets-api.md section 1.1 and what is below them.

use serde::{Deserialize, Serialize};

/// The way a request came (assets-api.md section 1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// A: `/jsm/assets/workspace/{workspaceId}/v1`.
    Gateway,
    /// B: `/ex/jira/{cloudId}/jsm/assets/workspace/{workspaceId}/v1`, and `/ex/jira/{cloudId}/rest/…`.
    Cloud,
    /// C: `/gateway/api/jsm/assets/workspace/{workspaceId}/v1`.
    SiteGateway,
    /// D: `/jsm/insight/workspace/{workspaceId}/v1`, the old name of A.
    OldGateway,
    /// The site itself: `/rest/…`, `/_edge/…`.
    Site,
    /// `/oauth/token`.
    Auth,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // each is the endpoint of its name in assets-api.md sections 1.4 and 2
pub enum Endpoint {
    ObjectAql,
    TotalCount,
    Validate,
    ObjectGet,
    ObjectAttributes,
    ObjectHistory,
    ReferenceInfo,
    ConnectedTickets,
    ObjectCreate,
    ObjectUpdate,
    ObjectDelete,
    SchemaList,
    SchemaGet,
    SchemaTypes,
    SchemaTypesFlat,
    SchemaAttributes,
    TypeGet,
    TypeAttributes,
    TypeIcon,
    StatusTypes,
    StatusType,
    ReferenceTypes,
    IconGet,
    IconGlobal,
    IconImage,
    Usage,
    Deprecated,
    Workspace,
    TenantInfo,
    Token,
    AccessibleResources,
    Unknown,
}

impl Endpoint {
    /// The scope that a scoped credential needs (assets-api.md section 1.3).
    pub fn scope(self) -> Option<&'static str> {
        use Endpoint::*;
        Some(match self {
            ObjectAql | TotalCount | Validate | ObjectGet | ObjectAttributes | ObjectHistory
            | ReferenceInfo | ConnectedTickets => "read:cmdb-object:jira",
            ObjectCreate | ObjectUpdate => "write:cmdb-object:jira",
            ObjectDelete => "delete:cmdb-object:jira",
            SchemaList | SchemaGet => "read:cmdb-schema:jira",
            SchemaTypes | SchemaTypesFlat | TypeGet => "read:cmdb-type:jira",
            SchemaAttributes | TypeAttributes => "read:cmdb-attribute:jira",
            StatusTypes | StatusType | ReferenceTypes | Usage => "read:cmdb-config:jira",
            IconGet | IconGlobal | IconImage | TypeIcon => "read:cmdb-icon:jira",
            Workspace => "read:servicedesk-request",
            TenantInfo | Token | AccessibleResources | Deprecated | Unknown => return None,
        })
    }
}

/// A request's endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Routed {
    /// The way it came.
    pub route: Route,
    /// What is asked for.
    pub endpoint: Endpoint,
    /// The id in the path.
    pub id: String,
    /// The workspace id in the path.
    pub workspace: Option<String>,
    /// The cloud id in the path.
    pub cloud: Option<String>,
}

/// Finds the endpoint of a path.
pub fn route(method: &str, path: &str) -> Routed {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let mut found = Routed {
        route: Route::Site,
        endpoint: Endpoint::Unknown,
        id: String::new(),
        workspace: None,
        cloud: None,
    };
    let mut rest = parts.as_slice();
    match rest {
        ["ex", "jira", cloud, more @ ..] => {
            found.route = Route::Cloud;
            found.cloud = Some((*cloud).to_owned());
            rest = more;
        }
        ["gateway", "api", more @ ..] => {
            found.route = Route::SiteGateway;
            rest = more;
        }
        _ => {}
    }
    match rest {
        ["jsm", name @ ("assets" | "insight"), "workspace", workspace, "v1", below @ ..] => {
            if found.route == Route::Site {
                found.route = if *name == "assets" { Route::Gateway } else { Route::OldGateway };
            }
            found.workspace = Some((*workspace).to_owned());
            // Some clients send a doubled slash after /v1 (assets-api.md section 13).
            let below = if below.first() == Some(&"") { &below[1..] } else { below };
            (found.endpoint, found.id) = service(method, below);
        }
        ["rest", "servicedeskapi", "assets" | "insight", "workspace"]
            if found.route != Route::SiteGateway =>
        {
            found.endpoint = Endpoint::Workspace;
        }
        ["_edge", "tenant_info"] if found.route == Route::Site => found.endpoint = Endpoint::TenantInfo,
        ["oauth", "token"] if found.route == Route::Site && method == "POST" => {
            (found.route, found.endpoint) = (Route::Auth, Endpoint::Token);
        }
        ["oauth", "token", "accessible-resources"] if found.route == Route::Site => {
            (found.route, found.endpoint) = (Route::Auth, Endpoint::AccessibleResources);
        }
        _ => {}
    }
    found
}

fn service(method: &str, below: &[&str]) -> (Endpoint, String) {
    use Endpoint::*;
    let (endpoint, id) = match (method, below) {
        ("POST", ["object", "aql"]) => (ObjectAql, ""),
        ("POST", ["object", "aql", "totalcount"]) => (TotalCount, ""),
        ("POST", ["aql", "validate"]) => (Validate, ""),
        ("GET", ["aql" | "iql", "objects"]) | ("POST", ["object", "navlist", "aql" | "iql"]) => {
            (Deprecated, "")
        }
        ("POST", ["object", "create"]) => (ObjectCreate, ""),
        ("GET", ["object", id]) => (ObjectGet, *id),
        ("PUT", ["object", id]) => (ObjectUpdate, *id),
        ("DELETE", ["object", id]) => (ObjectDelete, *id),
        ("GET", ["object", id, "attributes"]) => (ObjectAttributes, *id),
        ("GET", ["object", id, "history"]) => (ObjectHistory, *id),
        ("GET", ["object", id, "referenceinfo"]) => (ReferenceInfo, *id),
        ("GET", ["objectconnectedtickets", id, "tickets"]) => (ConnectedTickets, *id),
        ("GET", ["objectschema", "list"]) => (SchemaList, ""),
        ("GET", ["objectschema", id]) => (SchemaGet, *id),
        ("GET", ["objectschema", id, "objecttypes"]) => (SchemaTypes, *id),
        ("GET", ["objectschema", id, "objecttypes", "flat"]) => (SchemaTypesFlat, *id),
        ("GET", ["objectschema", id, "attributes"]) => (SchemaAttributes, *id),
        ("GET", ["objecttype", id]) => (TypeGet, *id),
        ("GET", ["objecttype", id, "attributes"]) => (TypeAttributes, *id),
        ("GET", ["objecttype", id, "icon.png"]) => (TypeIcon, *id),
        ("GET", ["config", "statustype"]) => (StatusTypes, ""),
        ("GET", ["config", "statustype", id]) => (StatusType, *id),
        ("GET", ["config", "referencetype"]) => (ReferenceTypes, ""),
        ("GET", ["icon", "global"]) => (IconGlobal, ""),
        ("GET", ["icon", id]) => (IconGet, *id),
        ("GET", ["icon", id, "icon.png"]) => (IconImage, *id),
        ("GET", ["usage"]) => (Usage, ""),
        _ => (Unknown, ""),
    };
    (endpoint, id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_base_route_leads_to_the_same_endpoints() {
        let tail = "jsm/assets/workspace/W/v1";
        for (base, expected) in [
            (format!("/{tail}"), Route::Gateway),
            (format!("/ex/jira/C/{tail}"), Route::Cloud),
            (format!("/gateway/api/{tail}"), Route::SiteGateway),
            ("/jsm/insight/workspace/W/v1".to_owned(), Route::OldGateway),
        ] {
            for slash in ["/", "//"] {
                let found = route("POST", &format!("{base}{slash}object/aql"));
                assert_eq!((found.route, found.endpoint), (expected, Endpoint::ObjectAql));
                assert_eq!(found.workspace.as_deref(), Some("W"));
            }
            assert_eq!(route("GET", &format!("{base}///usage")).endpoint, Endpoint::Unknown);
        }
        assert_eq!(
            route("GET", "/ex/jira/C/rest/servicedeskapi/assets/workspace").endpoint,
            Endpoint::Workspace
        );
        assert_eq!(route("GET", "/rest/servicedeskapi/assets/workspace").route, Route::Site);
    }
}
