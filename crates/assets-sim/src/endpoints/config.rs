//! Statuses, kinds of references, icons and usage (assets-api.md section 2.6).

use super::{list, not_found, with_render};
use crate::clock;
use crate::http::Reply;
use crate::render;
use crate::service::{Call, Service};

/// `GET config/statustype`: without a schema the global ones, with one only its own.
pub(crate) fn statuses(service: &Service, call: &Call<'_>) -> Reply {
    with_render(service, call, false, |render| {
        let wanted: Option<u32> = call.request.parameter("objectSchemaId").and_then(|s| s.parse().ok());
        let all = render.view.catalog.statuses.iter().filter(|s| s.schema_id == wanted);
        let all = all.filter(|s| s.schema_id.is_none_or(|id| render.view.sees_schema(id)));
        Reply::json(
            200,
            list(all.map(|s| {
                let mut out = String::new();
                render::status(&mut out, render.switches, render.place, s);
                out
            })),
        )
    })
}

/// `GET config/statustype/{id}`.
pub(crate) fn status(service: &Service, call: &Call<'_>) -> Reply {
    with_render(service, call, false, |render| {
        let found = call.routed.id.parse().ok().and_then(|id| render.view.catalog.status(id));
        match found.filter(|s| s.schema_id.is_none_or(|id| render.view.sees_schema(id))) {
            Some(status) => {
                let mut out = String::new();
                render::status(&mut out, render.switches, render.place, status);
                Reply::json(200, out)
            }
            None => not_found("status type", &call.routed.id),
        }
    })
}

/// `GET config/referencetype`: global ones, and a schema's own with `objectSchemaId`; all with `includeAll`.
pub(crate) fn reference_types(service: &Service, call: &Call<'_>) -> Reply {
    with_render(service, call, false, |render| {
        let wanted: Option<u32> = call.request.parameter("objectSchemaId").and_then(|s| s.parse().ok());
        let all = call.request.flag("includeAll");
        let kinds = render.view.catalog.reference_types.iter();
        let kinds = kinds.filter(|r| all || r.schema_id.is_none() || r.schema_id == wanted);
        Reply::json(
            200,
            list(kinds.map(|r| {
                let mut out = String::new();
                render::reference_type(&mut out, render.switches, render.place, r, true);
                out
            })),
        )
    })
}

/// `GET icon/{id}` and `icon/global`: each type has an icon of its own id and name.
pub(crate) fn icons(service: &Service, call: &Call<'_>) -> Reply {
    with_render(service, call, false, |render| {
        let one = |id: u32, name: &str| {
            let mut out = String::new();
            render::icon(&mut out, render.switches, render.place, id, name);
            out
        };
        let types = &render.view.catalog.types;
        if call.routed.id.is_empty() {
            return Reply::json(200, list(types.values().map(|t| one(t.id, &t.name))));
        }
        match call.routed.id.parse().ok().and_then(|id: u32| types.get(&id)) {
            Some(this) => Reply::json(200, one(this.id, &this.name)),
            None => not_found("icon", &call.routed.id),
        }
    })
}

/// Every picture: one grey pixel.
pub(crate) fn image() -> Reply {
    const PIXEL: [u8; 67] = [
        0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52, 0x00,
        0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x08, 0x00, 0x00, 0x00, 0x00, 0x3a, 0x7e, 0x9b, 0x55, 0x00,
        0x00, 0x00, 0x0a, 0x49, 0x44, 0x41, 0x54, 0x78, 0xda, 0x63, 0x68, 0x02, 0x00, 0x00, 0x84, 0x00, 0x83,
        0x7d, 0x0e, 0xb4, 0xae, 0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
    ];
    let mut reply = Reply::empty(200).with("Content-Type", "image/png");
    reply.body = PIXEL.to_vec();
    reply
}

/// `GET usage`: counts of each schema.
pub(crate) fn usage(service: &Service, call: &Call<'_>) -> Reply {
    with_render(service, call, false, |render| {
        let view = render.view;
        let schemas = view.catalog.schemas.iter().filter(|s| view.sees_schema(s.id));
        let all: Vec<serde_json::Value> = schemas
            .map(|s| {
                serde_json::json!({
                    "schemaId": s.id,
                    "schemaName": s.name,
                    "schemaCreatedAt": clock::iso_instant(s.created),
                    "objectCount": view.count_in_schema(s.id),
                })
            })
            .collect();
        let total: u64 = view.catalog.schemas.iter().map(|s| view.count_in_schema(s.id)).sum();
        Reply::json(
            200,
            serde_json::json!({ "totalObjectsCount": total, "perSchemaUsageInfo": all }).to_string(),
        )
    })
}
