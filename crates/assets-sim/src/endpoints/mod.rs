//! The endpoints of assets-api.md sections 1.4 and 2, one file a group.

pub(crate) mod config;
pub(crate) mod objects;
pub(crate) mod schemas;
pub(crate) mod search;
pub(crate) mod writes;

use crate::CLOUD_ID;
use crate::data::view::{References, View};
use crate::http::Reply;
use crate::render::object::Render;
use crate::routes::{Endpoint, Route};
use crate::service::{Call, Service};

/// Answers a call that passed credentials and limits.
pub(crate) fn answer(service: &Service, call: &Call<'_>) -> Reply {
    use Endpoint::*;
    match call.routed.endpoint {
        ObjectAql => search::page(service, call),
        TotalCount => search::total_count(service, call),
        Validate => search::validate(service, call),
        ObjectGet => objects::get(service, call),
        ObjectAttributes => objects::attributes(service, call),
        ObjectHistory => objects::history(service, call),
        ReferenceInfo => objects::reference_info(service, call),
        ConnectedTickets => objects::tickets(service, call),
        ObjectCreate => writes::create(service, call),
        ObjectUpdate => writes::update(service, call),
        ObjectDelete => writes::delete(service, call),
        SchemaList => schemas::list_schemas(service, call),
        SchemaGet => schemas::get(service, call),
        SchemaTypes | SchemaTypesFlat => schemas::types(service, call),
        SchemaAttributes => schemas::attributes(service, call),
        TypeGet => schemas::type_get(service, call),
        TypeAttributes => schemas::type_attributes(service, call),
        StatusTypes => config::statuses(service, call),
        StatusType => config::status(service, call),
        ReferenceTypes => config::reference_types(service, call),
        IconGet | IconGlobal => config::icons(service, call),
        IconImage | TypeIcon => config::image(),
        Usage => config::usage(service, call),
        Deprecated => Reply::errors(410, &["This endpoint has been removed. Use POST object/aql."], &[]),
        Workspace => workspace(service, call),
        AccessibleResources => resources(service, call),
        TenantInfo | Token | Unknown => Reply::gateway(404, "Not Found"),
    }
}

/// Runs `f` with everything that rendering needs, over what reads by id see or over what AQL sees.
pub(crate) fn with_render<T>(
    service: &Service,
    call: &Call<'_>,
    indexed: bool,
    f: impl FnOnce(Render<'_>) -> T,
) -> T {
    let world = service.world.read().expect("world");
    let fragments = service.fragments(&world, call.switches_version, &call.switches);
    let who = &call.identity.sees;
    let view = if indexed { world.indexed(who) } else { world.live(who) };
    f(Render {
        view: View { references: References::of(&call.switches), ..view },
        switches: &call.switches,
        place: &service.place,
        fragments: &fragments,
        object_bytes: service.object_bytes,
    })
}

pub(crate) fn not_found(what: &str, id: &str) -> Reply {
    Reply::errors(404, &[&format!("Could not find {what} with id: {id}")], &[])
}

/// A JSON list out of rendered items.
pub(crate) fn list(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    format!("[{}]", items.join(","))
}

fn workspace(service: &Service, call: &Call<'_>) -> Reply {
    let values = if call.switches.no_assets {
        String::new()
    } else {
        format!("{{\"workspaceId\":\"{}\"}}", call.switches.workspace())
    };
    let origin = &service.place.origin;
    let below =
        if call.routed.route == Route::Cloud { format!("/ex/jira/{CLOUD_ID}") } else { String::new() };
    let base = format!("{origin}{below}/rest/servicedeskapi");
    Reply::json(
        200,
        format!(
            "{{\"_expands\":[],\"size\":{},\"start\":0,\"limit\":50,\"isLastPage\":true,\"_links\":{{\"base\":\
             \"{base}\",\"context\":\"\",\"self\":\"{base}/assets/workspace\"}},\"values\":[{values}]}}",
            u8::from(!call.switches.no_assets)
        ),
    )
}

fn resources(service: &Service, call: &Call<'_>) -> Reply {
    let scopes = call.switches.scopes.clone();
    let scopes = scopes.unwrap_or_else(|| crate::identity::SCOPES.iter().map(|s| (*s).to_owned()).collect());
    let origin = &service.place.origin;
    let body = serde_json::json!([
        { "id": CLOUD_ID, "name": "sim", "url": origin, "scopes": scopes, "avatarUrl": format!("{origin}/avatar.png") }
    ]);
    Reply::json(200, body.to_string())
}
