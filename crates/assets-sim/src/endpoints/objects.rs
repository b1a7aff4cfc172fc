//! Reads of one object (assets-api.md section 2.4).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write;

use super::{list, not_found, with_render};
use crate::clock;
use crate::data::model::{Kind, Value};
use crate::data::view::Entry;
use crate::http::Reply;
use crate::render;
use crate::render::object::{Depth, Render};
use crate::service::{Call, Service};
use crate::tickets;

/// Finds the object of the path and renders with it.
fn with_object(service: &Service, call: &Call<'_>, f: impl FnOnce(Render<'_>, Entry<'_>) -> String) -> Reply {
    let id = &call.routed.id;
    with_render(service, call, false, |render| {
        let by_key = || call.switches.object_by_key.then(|| render.view.object_by_key(id)).flatten();
        match id.parse().ok().and_then(|n| render.view.object(n)).or_else(by_key) {
            Some(entry) => Reply::json(200, f(render, entry)),
            None => not_found("object", id),
        }
    })
}

/// `GET object/{id}`: attributes come with their definitions.
pub(crate) fn get(service: &Service, call: &Call<'_>) -> Reply {
    with_object(service, call, |render, entry| {
        let mut out = String::new();
        render.object(&mut out, &entry, Depth::Definitions);
        out
    })
}

/// `GET object/{id}/attributes`.
pub(crate) fn attributes(service: &Service, call: &Call<'_>) -> Reply {
    with_object(service, call, |render, entry| {
        let mut out = String::new();
        render.attributes(&mut out, &entry, true);
        out
    })
}

/// `GET object/{id}/history`: newest first unless `asc=true`.
pub(crate) fn history(service: &Service, call: &Call<'_>) -> Reply {
    let changes = {
        let world = service.world.read().expect("world");
        call.routed.id.parse().ok().and_then(|id: u64| world.history.get(&id).cloned()).unwrap_or_default()
    };
    with_object(service, call, |render, entry| {
        let id = entry.id();
        let mut entries = Vec::new();
        let mut add = |number: u64, created: i64, actor: usize, change: Option<(&str, &str, &str)>| {
            let mut out = String::from("{\"actor\":");
            render.user(&mut out, actor);
            let _ = write!(out, ",\"id\":\"{number}\"");
            if let Some((attribute, old, new)) = change {
                for (name, text) in [("affectedAttribute", attribute), ("oldValue", old), ("newValue", new)] {
                    let _ = write!(out, ",\"{name}\":");
                    render::string(&mut out, text);
                }
            }
            let _ = write!(out, ",\"created\":\"{}\",\"objectId\":\"{id}\"}}", clock::iso_instant(created));
            entries.push(out);
        };
        // Objects of the generator were created before the start; later ones have it in their own history.
        let created_here = changes.first().is_some_and(|c| c.attribute.is_none());
        if !created_here {
            let user = (id % 60) as usize;
            add(id * 1000, render.view.created(&entry), user, None);
        }
        for change in &changes {
            let what = change.attribute.as_deref().map(|a| (a, change.old.as_str(), change.new.as_str()));
            add(change.id, change.created, change.actor, what);
        }
        if !call.request.flag("asc") {
            entries.reverse();
        }
        list(entries)
    })
}

/// `GET object/{id}/referenceinfo`: who refers to the object, by type.
pub(crate) fn reference_info(service: &Service, call: &Call<'_>) -> Reply {
    with_object(service, call, |render, entry| {
        let view = render.view;
        let lineage: HashSet<u32> = {
            let mut all = HashSet::from([entry.type_id()]);
            let mut at = view.catalog.types.get(&entry.type_id());
            while let Some(parent) = at.and_then(|t| t.parent) {
                all.insert(parent);
                at = view.catalog.types.get(&parent);
            }
            all
        };
        let mut found: BTreeMap<u32, (u64, BTreeSet<u32>)> = BTreeMap::new();
        for type_id in view.catalog.types.keys() {
            let mut referring = view.catalog.effective(*type_id);
            referring
                .retain(|a| a.kind == Kind::Object && a.target_type.is_some_and(|t| lineage.contains(&t)));
            let mut ids = Vec::new();
            if !referring.is_empty() {
                view.ids_of(*type_id, 0, u64::MAX, &mut ids);
            }
            for other in ids.into_iter().filter_map(|id| view.object(id)) {
                let mut kinds = BTreeSet::new();
                for attribute in &referring {
                    let mut values = Vec::new();
                    view.values(&other, attribute, &mut values);
                    if values.contains(&Value::Object(entry.id())) {
                        kinds.insert(attribute.reference_type);
                    }
                }
                if !kinds.is_empty() {
                    let (count, all) = found.entry(*type_id).or_default();
                    *count += 1;
                    all.extend(kinds);
                }
            }
        }
        let open = tickets::of(entry.id()).iter().any(|t| t.status.0 != "Done");
        list(found.into_iter().map(|(type_id, (count, kinds))| {
            let kinds = view.catalog.reference_types.iter().filter(|r| kinds.contains(&r.id)).map(|r| {
                let mut out = String::new();
                render::reference_type(&mut out, render.switches, render.place, r, false);
                out
            });
            let mut out = format!("{{\"referenceTypes\":{},\"objectType\":", list(kinds));
            render::object_type(&mut out, view, render.switches, render.place, type_id, 0);
            let _ = write!(out, ",\"numberOfReferencedObjects\":{count},\"openIssuesExists\":{open}}}");
            out
        }))
    })
}

/// `GET objectconnectedtickets/{id}/tickets`.
pub(crate) fn tickets(service: &Service, call: &Call<'_>) -> Reply {
    with_object(service, call, |render, entry| {
        let (origin, workspace) = (&render.place.origin, &render.place.workspace);
        let reporter = &render.view.catalog.users[(entry.id() % 60) as usize].account_id;
        let all: Vec<serde_json::Value> = tickets::of(entry.id())
            .into_iter()
            .map(|t| {
                serde_json::json!({
                    "workspaceId": workspace,
                    "globalId": format!("{workspace}:{}", t.id),
                    "key": t.key,
                    "id": t.id.to_string(),
                    "reporter": reporter,
                    "created": clock::iso_instant(t.created),
                    "updated": clock::iso_instant(t.created + 86_400_000),
                    "title": t.title,
                    "status": { "name": t.status.0, "description": "", "colorName": t.status.1 },
                    "type": { "name": t.kind, "description": "", "iconUrl": format!("{origin}/icon.png") },
                    "priority": { "name": t.priority, "iconUrl": format!("{origin}/priority.svg") },
                })
            })
            .collect();
        let jql = format!("issue in insightObject({})", entry.id());
        serde_json::json!({ "tickets": all, "allTicketsQuery": jql }).to_string()
    })
}
