//! Schemas, types and attributes (assets-api.md section 2.5).

use std::fmt::Write;

use super::{list, not_found, with_render};
use crate::clock;
use crate::data::model::{Attribute, Schema};
use crate::data::view::View;
use crate::http::Reply;
use crate::render;
use crate::render::object::Render;
use crate::service::{Call, Service};

/// `query` as a filter: the documented defaults `""` and `false` mean none (assets-api.md section 13).
fn query_filter(call: &Call<'_>) -> Option<String> {
    let query = call.request.parameter("query")?.trim();
    let none = query.is_empty() || query == "\"\"" || query == "false";
    (!none).then(|| query.to_lowercase())
}

fn schema(render: Render<'_>, this: &Schema, counts: bool) -> String {
    let view = render.view;
    let mut out = String::new();
    render::head(&mut out, render.switches, render.place, u64::from(this.id));
    out.push_str(",\"name\":");
    render::string(&mut out, &this.name);
    out.push_str(",\"objectSchemaKey\":");
    render::string(&mut out, &this.key);
    out.push_str(",\"status\":\"Ok\",\"description\":");
    render::string(&mut out, &this.description);
    let types =
        view.catalog.types.values().filter(|t| t.schema_id == this.id && view.sees_type(t.id)).count();
    let _ = write!(
        out,
        ",\"created\":\"{}\",\"updated\":\"{}\",\"objectCount\":{},\"objectTypeCount\":{},\"canManage\":{}}}",
        clock::iso_instant(this.created),
        clock::iso_instant(this.updated),
        if counts { view.count_in_schema(this.id) } else { 0 },
        if counts { types } else { 0 },
        !this.services
    );
    out
}

fn visible(view: View<'_>, id: &str) -> Option<u32> {
    let id = id.parse().ok()?;
    view.catalog.schema(id).filter(|s| view.sees_schema(s.id)).map(|s| s.id)
}

/// `GET objectschema/list`: paged, its total is exact.
fn list_page(render: Render<'_>, call: &Call<'_>) -> Reply {
    let number = |name: &str, default: usize| call.request.parameter(name).map_or(Ok(default), str::parse);
    let (Ok(start), Ok(size)) = (number("startAt", 0), number("maxResults", 25)) else {
        return Reply::errors(400, &["startAt and maxResults have to be numbers"], &[]);
    };
    let filter = query_filter(call);
    let all = render.view.catalog.schemas.iter().filter(|s| render.view.sees_schema(s.id));
    let all: Vec<&Schema> =
        all.filter(|s| filter.as_ref().is_none_or(|q| s.name.to_lowercase().contains(q))).collect();
    let counts = call.request.flag("includeCounts");
    let page = list(all.iter().skip(start).take(size).map(|s| schema(render, s, counts)));
    let last = start.saturating_add(size) >= all.len();
    let total = all.len();
    Reply::json(
        200,
        format!(
            "{{\"startAt\":{start},\"maxResults\":{size},\"total\":{total},\"isLast\":{last},\"last\":{last},\
             \"values\":{page}}}"
        ),
    )
}

/// `GET objectschema/list`.
pub(crate) fn list_schemas(service: &Service, call: &Call<'_>) -> Reply {
    with_render(service, call, false, |render| list_page(render, call))
}

/// `GET objectschema/{id}`.
pub(crate) fn get(service: &Service, call: &Call<'_>) -> Reply {
    with_render(service, call, false, |render| match visible(render.view, &call.routed.id) {
        Some(id) => {
            let this = render.view.catalog.schema(id).map(|s| schema(render, s, true));
            Reply::json(200, this.unwrap_or_default())
        }
        None => not_found("object schema", &call.routed.id),
    })
}

/// `GET objectschema/{id}/objecttypes` and `…/flat`: a bare list.
pub(crate) fn types(service: &Service, call: &Call<'_>) -> Reply {
    with_render(service, call, false, |render| {
        let Some(schema) = visible(render.view, &call.routed.id) else {
            return not_found("object schema", &call.routed.id);
        };
        let view = render.view;
        let counts = call.request.flag("includeObjectCounts");
        let filter = query_filter(call);
        let all = view.catalog.types.values().filter(|t| t.schema_id == schema && view.sees_type(t.id));
        let all = all.filter(|t| !(call.request.flag("excludeAbstract") && t.abstract_type));
        let all = all.filter(|t| filter.as_ref().is_none_or(|q| t.name.to_lowercase().contains(q)));
        Reply::json(
            200,
            list(all.map(|t| {
                let mut out = String::new();
                let count = if counts { view.count_of(t.id) } else { 0 };
                render::object_type(&mut out, view, render.switches, render.place, t.id, count);
                out
            })),
        )
    })
}

fn filtered<'a>(call: &Call<'_>, all: Vec<&'a Attribute>) -> Vec<&'a Attribute> {
    let filter = query_filter(call);
    let editable = call.request.flag("onlyValueEditable");
    let wanted = |a: &&Attribute| {
        !(editable && a.system) && filter.as_ref().is_none_or(|q| a.name.to_lowercase().contains(q))
    };
    all.into_iter().filter(wanted).collect()
}

/// `GET objectschema/{id}/attributes`: those of all its types; `extended=true` adds their types.
pub(crate) fn attributes(service: &Service, call: &Call<'_>) -> Reply {
    with_render(service, call, false, |render| {
        let Some(schema) = visible(render.view, &call.routed.id) else {
            return not_found("object schema", &call.routed.id);
        };
        let (view, catalog) = (render.view, render.view.catalog);
        let all = catalog
            .types
            .values()
            .filter(|t| t.schema_id == schema && view.sees_type(t.id))
            .flat_map(|t| &t.attributes);
        let all = filtered(call, all.filter_map(|id| catalog.attributes.get(id)).collect());
        let extended = call.request.flag("extended");
        Reply::json(
            200,
            list(all.into_iter().map(|a| render.fragments.definition(a.id, extended).to_owned())),
        )
    })
}

/// `GET objecttype/{id}`.
pub(crate) fn type_get(service: &Service, call: &Call<'_>) -> Reply {
    with_render(service, call, false, |render| match call.routed.id.parse() {
        Ok(id) if render.view.sees_type(id) => {
            let mut out = String::new();
            render::object_type(&mut out, render.view, render.switches, render.place, id, 0);
            Reply::json(200, out)
        }
        _ => not_found("object type", &call.routed.id),
    })
}

/// `GET objecttype/{id}/attributes`: inherited ones first, with the parent's ids.
pub(crate) fn type_attributes(service: &Service, call: &Call<'_>) -> Reply {
    with_render(service, call, false, |render| {
        let view = render.view;
        let Some(id) = call.routed.id.parse().ok().filter(|id| view.sees_type(*id)) else {
            return not_found("object type", &call.routed.id);
        };
        let mut all = view.catalog.effective(id);
        if call.request.flag("excludeParentAttributes") {
            all.retain(|a| a.type_id == id);
        }
        if call.request.flag("includeChildren") {
            for child in view.catalog.descendants(id) {
                let own = view.catalog.effective(child).into_iter().filter(|a| a.type_id == child);
                all.extend(own);
            }
        }
        let mut all = filtered(call, all);
        if call.request.flag("orderByName") {
            all.sort_by_key(|a| a.name.to_lowercase());
        }
        if call.request.flag("orderByRequired") {
            all.sort_by_key(|a| a.minimum == 0);
        }
        Reply::json(200, list(all.into_iter().map(|a| render.fragments.definition(a.id, true).to_owned())))
    })
}
