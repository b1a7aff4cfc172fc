//! `object/create`, `PUT` and `DELETE object/{id}` (assets-api.md section 2.7).

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{not_found, with_render};
use crate::data::change::{delete as remove, parse_value, store};
use crate::data::model::{Attribute, Kind, Object};
use crate::data::view::Visibility;
use crate::data::world::World;
use crate::http::Reply;
use crate::render::object::Depth;
use crate::service::{Call, Service};

/// Texts of this length and longer are refused (assets-api.md section 2.7).
const TEXT_LIMIT: usize = 255;

/// A number, string or boolean as the text it stands for.
fn text(json: &Json) -> Option<String> {
    match json {
        Json::String(text) => Some(text.clone()),
        Json::Number(n) => Some(n.to_string()),
        Json::Bool(b) => Some(b.to_string()),
        _ => None,
    }
}

/// Puts the listed attributes of a body into an object; the errors are by attribute, as the service words them.
fn fill(world: &World, object: &mut Object, body: &Json) -> Result<(), BTreeMap<String, String>> {
    let mut errors = BTreeMap::new();
    for listed in body["attributes"].as_array().map_or(&[][..], Vec::as_slice) {
        let id = text(&listed["objectTypeAttributeId"]).unwrap_or_default();
        let name = format!("rlabs-insight-attribute-{id}");
        let own = world.catalog.effective(object.type_id);
        let Some(attribute) = own.into_iter().find(|a| a.id.to_string() == id) else {
            errors.insert(name, format!("{id} is not an attribute of this object type"));
            continue;
        };
        match values(world, object.id, attribute, &listed["objectAttributeValues"]) {
            Ok(values) => object.set(attribute.id, values),
            Err(why) => {
                errors.insert(name, why);
            }
        }
    }
    for attribute in world.catalog.effective(object.type_id) {
        if !attribute.system && attribute.minimum > 0 && object.get(attribute.id).is_empty() {
            let name = format!("rlabs-insight-attribute-{}", attribute.id);
            errors.entry(name).or_insert_with(|| format!("{} is required", attribute.name));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn values(
    world: &World,
    object: u64,
    attribute: &Attribute,
    listed: &Json,
) -> Result<Vec<crate::data::model::Value>, String> {
    if attribute.system {
        return Err(format!("{} cannot be edited", attribute.name));
    }
    let mut values = Vec::new();
    for value in listed.as_array().map_or(&[][..], Vec::as_slice) {
        let text = text(&value["value"]).ok_or("value provided is invalid")?;
        if attribute.kind == Kind::Text && text.chars().count() >= TEXT_LIMIT {
            return Err(format!("{} must be less than {TEXT_LIMIT} characters", attribute.name));
        }
        values.push(parse_value(world, attribute, &text)?);
    }
    if attribute.maximum > 0 && values.len() > attribute.maximum as usize {
        return Err(format!("{} can only contain max {} values", attribute.name, attribute.maximum));
    }
    if attribute.unique && !values.is_empty() && taken(world, object, attribute, &values) {
        return Err(format!("{} has duplicated value", attribute.name));
    }
    Ok(values)
}

fn taken(world: &World, object: u64, attribute: &Attribute, values: &[crate::data::model::Value]) -> bool {
    let everyone = Visibility::default();
    let view = world.live(&everyone);
    let mut types = view.catalog.descendants(attribute.type_id);
    types.push(attribute.type_id);
    let mut ids = Vec::new();
    types.iter().for_each(|t| view.ids_of(*t, 0, u64::MAX, &mut ids));
    ids.into_iter().filter(|id| *id != object).filter_map(|id| view.object(id)).any(|entry| {
        let mut theirs = Vec::new();
        view.values(&entry, attribute, &mut theirs);
        theirs.iter().any(|v| values.contains(v))
    })
}

fn invalid(errors: BTreeMap<String, String>) -> Reply {
    Reply::errors(400, &[], &errors.into_iter().collect::<Vec<_>>())
}

/// Renders an object that was just written.
fn written(service: &Service, call: &Call<'_>, status: u16, id: u64, depth: Depth) -> Reply {
    with_render(service, call, false, |render| match render.view.object(id) {
        Some(entry) => {
            let mut out = String::new();
            render.object(&mut out, &entry, depth);
            Reply::json(status, out)
        }
        None => not_found("object", &id.to_string()),
    })
}

/// `POST object/create`: 201 and the object without attributes.
pub(crate) fn create(service: &Service, call: &Call<'_>) -> Reply {
    let Some(body) = call.request.json() else { return Reply::errors(400, &["The body is not JSON"], &[]) };
    let how = service.how();
    let id = {
        let mut world = service.world.write().expect("world");
        let wanted = text(&body["objectTypeId"]).unwrap_or_default();
        let known = wanted.parse().ok().and_then(|id: u32| world.catalog.types.get(&id));
        let Some(object_type) = known.filter(|t| world.live(&call.identity.sees).sees_type(t.id)) else {
            return not_found("object type", &wanted);
        };
        if object_type.abstract_type {
            return Reply::errors(400, &["Objects of an abstract object type cannot be created"], &[]);
        }
        let mut object =
            Object { id: 0, type_id: object_type.id, created: 0, updated: 0, values: Vec::new() };
        if let Err(errors) = fill(&world, &mut object, &body) {
            return invalid(errors);
        }
        object.id = world.take_id();
        let id = object.id;
        store(&mut world, object, None, how);
        id
    };
    written(service, call, 201, id, Depth::Bare)
}

/// `PUT object/{id}`: only the listed attributes change; 200 and the whole object.
pub(crate) fn update(service: &Service, call: &Call<'_>) -> Reply {
    let Some(body) = call.request.json() else { return Reply::errors(400, &["The body is not JSON"], &[]) };
    let how = service.how();
    let id = {
        let mut world = service.world.write().expect("world");
        let view = world.live(&call.identity.sees);
        let Some(entry) = call.routed.id.parse().ok().and_then(|id| view.object(id)) else {
            return not_found("object", &call.routed.id);
        };
        let old = view.to_object(&entry);
        let mut object = old.clone();
        if let Err(errors) = fill(&world, &mut object, &body) {
            return invalid(errors);
        }
        let id = object.id;
        store(&mut world, object, Some(&old), how);
        id
    };
    written(service, call, 200, id, Depth::Definitions)
}

/// `DELETE object/{id}`: 204 without a body, as observed.
pub(crate) fn delete(service: &Service, call: &Call<'_>) -> Reply {
    let how = service.how();
    let mut world = service.world.write().expect("world");
    let id = call.routed.id.parse().ok().filter(|id| world.live(&call.identity.sees).object(*id).is_some());
    match id {
        Some(id) => {
            remove(&mut world, id, how.lag);
            Reply::empty(204)
        }
        None => not_found("object", &call.routed.id),
    }
}
