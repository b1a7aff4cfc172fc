//! The control API under `/_sim`: what [`crate::Sim`] can do, as JSON over HTTP. See the crate's README.

use serde::Deserialize;
use serde_json::json;

use crate::data::change::Change;
use crate::data::dump;
use crate::data::view::Visibility;
use crate::faults::Fault;
use crate::http::{Reply, Request};
use crate::service::Service;
use crate::switches::{Profile, Switches};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Between {
    after: u32,
    change: Change,
}

/// Answers a control request.
pub(crate) fn answer(service: &Service, request: &Request) -> Reply {
    let result = match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/_sim/log") => log(service, request),
        ("GET", "/_sim/max_in_flight") => {
            Ok(json!({ "max_in_flight": service.log.lock().expect("log").max_in_flight() }).to_string())
        }
        ("POST" | "DELETE", "/_sim/clear" | "/_sim/log") => {
            service.log.lock().expect("log").clear();
            Ok("{}".to_owned())
        }
        ("GET", "/_sim/switches") => serde_json::to_string(&*service.switched().1).map_err(|e| e.to_string()),
        ("POST", "/_sim/switches") => body(request).and_then(|changes: serde_json::Value| {
            service.switch(|switches| switches.merge(&changes))?;
            Ok("{}".to_owned())
        }),
        ("POST", "/_sim/profile") => body(request).and_then(|profile: Profile| {
            service.switch(|switches| {
                *switches = Switches::of(profile);
                Ok(())
            })?;
            Ok("{}".to_owned())
        }),
        ("POST", "/_sim/fault") => body(request).map(|fault: Fault| {
            service.faults.lock().expect("faults").add(fault);
            "{}".to_owned()
        }),
        ("DELETE", "/_sim/fault") | ("POST", "/_sim/clear_faults") => {
            service.faults.lock().expect("faults").clear();
            Ok("{}".to_owned())
        }
        ("POST", "/_sim/change") => body(request).and_then(|change: Change| {
            let key = service.apply(&change)?;
            Ok(json!({ "changed": key }).to_string())
        }),
        ("POST", "/_sim/between_pages") => body(request).map(|between: Between| {
            service.between.lock().expect("changes").push((between.after.max(1), between.change));
            "{}".to_owned()
        }),
        ("POST", "/_sim/expire_tokens") => {
            service.tokens.expire();
            Ok("{}".to_owned())
        }
        ("GET", "/_sim/dump") => dump_types(service, request),
        ("GET", "/_sim/catalog") => {
            let world = service.world.read().expect("world");
            let catalog = &world.catalog;
            Ok(json!({
                "workspace_id": crate::WORKSPACE_ID,
                "cloud_id": crate::CLOUD_ID,
                "schemas": catalog.schemas,
                "types": catalog.types.values().collect::<Vec<_>>(),
                "attributes": catalog.attributes.values().collect::<Vec<_>>(),
                "statuses": catalog.statuses,
                "users": catalog.users,
                "groups": catalog.groups,
            })
            .to_string())
        }
        _ => {
            return Reply::json(
                404,
                json!({ "error": "there is no such control; see the README" }).to_string(),
            );
        }
    };
    match result {
        Ok(body) => Reply::json(200, body),
        Err(why) => Reply::json(400, json!({ "error": why }).to_string()),
    }
}

fn body<T: serde::de::DeserializeOwned>(request: &Request) -> Result<T, String> {
    serde_json::from_slice(&request.body).map_err(|e| e.to_string())
}

/// The log, optionally of one endpoint, as a JSON list.
fn log(service: &Service, request: &Request) -> Result<String, String> {
    let mut entries = service.log.lock().expect("log").entries();
    if let Some(endpoint) = request.parameter("endpoint") {
        let wanted = serde_json::from_value(json!(endpoint)).map_err(|e| e.to_string())?;
        entries.retain(|e| e.endpoint == wanted);
    }
    serde_json::to_string(&entries).map_err(|e| e.to_string())
}

/// JSON lines of a type (name or id), or of all types; `identity` gives the part that one sees.
fn dump_types(service: &Service, request: &Request) -> Result<String, String> {
    let sees = match request.parameter("identity") {
        None => Visibility::default(),
        Some(name) => {
            let found = service.identities.iter().find(|i| i.name == name);
            found.ok_or_else(|| format!("there is no identity {name:?}"))?.sees.clone()
        }
    };
    let world = service.world.read().expect("world");
    let types = match request.parameter("type") {
        None => world.catalog.types.keys().copied().collect(),
        Some(name) => {
            vec![world.catalog.find_type(name).ok_or_else(|| format!("there is no object type {name:?}"))?.id]
        }
    };
    let mut out = String::new();
    for type_id in types {
        for object in dump::of_type(world.live(&sees), type_id) {
            out.push_str(&serde_json::to_string(&object).map_err(|e| e.to_string())?);
            out.push('\n');
        }
    }
    Ok(out)
}
