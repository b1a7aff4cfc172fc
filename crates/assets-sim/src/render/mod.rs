//! Types, attributes and what else is not an object as the API's JSON (assets-api.md section 3), written straight into a string.

use std::collections::HashMap;
use std::fmt::Write;

use crate::clock;
use crate::data::model::{Attribute, Kind, ReferenceType, Status};
use crate::data::view::View;
use crate::switches::{Ids, Switches};

pub(crate) mod object;

/// The pictures of the service are not served from here; the addresses only have to look right.
const AVATAR: &str =
    "https://avatar-management--avatars.us-west-2.prod.public.atl-paas.net/default-avatar.png";

/// Where the links in answers point: the origin and the workspace.
#[derive(Clone, Debug)]
pub struct Place {
    /// `http://127.0.0.1:PORT`.
    pub origin: String,
    /// The workspace id.
    pub workspace: String,
}

/// Writes a JSON string.
pub fn string(out: &mut String, text: &str) {
    out.push('"');
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[from..at]);
        from = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            other => {
                let _ = write!(out, "\\u{other:04x}");
            }
        }
    }
    out.push_str(&text[from..]);
    out.push('"');
}

/// Parts of objects that are the same for every object of a type.
#[derive(Debug, Default)]
pub struct Fragments {
    types: HashMap<u32, String>,
    avatars: HashMap<u32, String>,
    definitions: HashMap<u32, String>,
    bare_definitions: HashMap<u32, String>,
}

impl Fragments {
    /// Renders them for a catalog and a set of switches.
    pub fn new(view: View<'_>, switches: &Switches, place: &Place) -> Fragments {
        let mut fragments = Fragments::default();
        for id in view.catalog.types.keys() {
            let mut out = String::new();
            object_type(&mut out, view, switches, place, *id, 0);
            fragments.types.insert(*id, out);
            fragments.avatars.insert(*id, avatar(place, *id));
        }
        for attribute in view.catalog.attributes.values() {
            for (with_type, all) in
                [(true, &mut fragments.definitions), (false, &mut fragments.bare_definitions)]
            {
                let mut out = String::new();
                definition(&mut out, view, switches, place, attribute, with_type, &fragments.types);
                all.insert(attribute.id, out);
            }
        }
        fragments
    }

    /// An attribute's definition, with its type or without.
    pub fn definition(&self, attribute: u32, with_type: bool) -> &str {
        let all = if with_type { &self.definitions } else { &self.bare_definitions };
        all.get(&attribute).map_or("{}", String::as_str)
    }
}

fn avatar(place: &Place, type_id: u32) -> String {
    let Place { origin, workspace } = place;
    let mut out = format!("{{\"workspaceId\":\"{workspace}\"");
    for size in [16, 48, 72, 144, 288] {
        let _ = write!(
            out,
            ",\"url{size}\":\"{origin}/jsm/assets/workspace/{workspace}/v1/objecttype/{type_id}/icon.png?size={size}\""
        );
    }
    out.push_str(",\"objectId\":");
    out
}

fn number(out: &mut String, ids: Ids, id: u64) {
    let _ = match ids {
        Ids::Strings => write!(out, "\"{id}\""),
        Ids::Numbers => write!(out, "{id}"),
    };
}

/// `workspaceId`, `globalId` and `id`, the beginning of most things.
pub fn head(out: &mut String, switches: &Switches, place: &Place, id: u64) {
    let _ = write!(out, "{{\"workspaceId\":\"{0}\",\"globalId\":\"{0}:{id}\",\"id\":", place.workspace);
    number(out, switches.ids, id);
}

/// An icon by its id; the simulator has one icon a type.
pub fn icon(out: &mut String, switches: &Switches, place: &Place, id: u32, name: &str) {
    out.push_str("{\"id\":");
    number(out, switches.ids, u64::from(id));
    out.push_str(",\"name\":");
    string(out, name);
    let Place { origin, workspace } = place;
    for size in [16, 48] {
        let _ = write!(
            out,
            ",\"url{size}\":\"{origin}/jsm/assets/workspace/{workspace}/v1/icon/{id}/icon.png?size={size}\""
        );
    }
    out.push('}');
}

/// An object type (section 3.2).
pub fn object_type(
    out: &mut String,
    view: View<'_>,
    switches: &Switches,
    place: &Place,
    id: u32,
    count: u64,
) {
    let this = &view.catalog.types[&id];
    head(out, switches, place, u64::from(id));
    out.push_str(",\"name\":");
    string(out, &this.name);
    out.push_str(",\"type\":0,\"description\":");
    string(out, &this.description);
    out.push_str(",\"icon\":");
    icon(out, switches, place, id, &this.name);
    let _ = write!(
        out,
        ",\"position\":{},\"created\":\"{}\",\"updated\":\"{}\",\"objectCount\":{count}",
        this.position,
        clock::iso_instant(this.created),
        clock::iso_instant(this.updated)
    );
    if let Some(parent) = this.parent {
        out.push_str(",\"parentObjectTypeId\":");
        number(out, switches.parent_id, u64::from(parent));
    }
    out.push_str(",\"objectSchemaId\":");
    number(out, switches.ids, u64::from(this.schema_id));
    let _ = write!(
        out,
        ",\"inherited\":{},\"abstractObjectType\":{},\"parentObjectTypeInherited\":{}}}",
        this.inherited,
        this.abstract_type,
        view.catalog.inherits(id)
    );
}

/// A kind of reference, as attributes and `config/referencetype` show it.
pub fn reference_type(
    out: &mut String,
    switches: &Switches,
    place: &Place,
    this: &ReferenceType,
    full: bool,
) {
    head(out, switches, place, u64::from(this.id));
    out.push_str(",\"name\":");
    string(out, this.name);
    let Place { origin, workspace } = place;
    let _ = write!(
        out,
        ",\"description\":\"{}\",\"color\":\"{}\",\"url16\":\"{origin}/jsm/assets/workspace/{workspace}/v1/config/\
         referencetype/{}/image.png?size=16\"",
        this.name, this.color, this.id
    );
    if full {
        let _ = write!(out, ",\"removable\":{}", this.schema_id.is_some());
    }
    match this.schema_id {
        Some(id) => {
            out.push_str(",\"objectSchemaId\":");
            number(out, switches.ids, u64::from(id));
        }
        None if full => out.push_str(",\"objectSchemaId\":null"),
        None => {}
    }
    out.push('}');
}

/// A status as `config/statustype` shows it.
pub fn status(out: &mut String, switches: &Switches, place: &Place, this: &Status) {
    head(out, switches, place, u64::from(this.id));
    out.push_str(",\"name\":");
    string(out, this.name);
    let _ = write!(out, ",\"description\":\"\",\"category\":{},\"objectSchemaId\":", this.category);
    match this.schema_id {
        Some(id) => number(out, switches.ids, u64::from(id)),
        None => out.push_str("null"),
    }
    out.push('}');
}

fn definition(
    out: &mut String,
    view: View<'_>,
    switches: &Switches,
    place: &Place,
    this: &Attribute,
    with_type: bool,
    types: &HashMap<u32, String>,
) {
    head(out, switches, place, u64::from(this.id));
    if with_type && let Some(object_type) = types.get(&this.type_id) {
        let _ = write!(out, ",\"objectType\":{object_type}");
    }
    out.push_str(",\"name\":");
    string(out, &this.name);
    let _ = write!(out, ",\"label\":{}", this.label);
    if this.kind.code() != 0 || switches.plain_type {
        let _ = write!(out, ",\"type\":{}", this.kind.code());
    }
    if !this.description.is_empty() {
        out.push_str(",\"description\":");
        string(out, &this.description);
    }
    if let Some((id, name)) = this.kind.default_type() {
        let _ = write!(out, ",\"defaultType\":{{\"id\":{id},\"name\":\"{name}\"}}");
    }
    let position = view.catalog.effective(this.type_id).iter().position(|a| a.id == this.id).unwrap_or(0);
    let summable = matches!(this.kind, Kind::Integer | Kind::Double);
    let _ = write!(
        out,
        ",\"editable\":{},\"system\":{},\"sortable\":true,\"summable\":{summable},\"indexed\":true,\
         \"minimumCardinality\":{},\"maximumCardinality\":{},\"removable\":{},\"hidden\":{},\
         \"includeChildObjectTypes\":{},\"uniqueAttribute\":{},\"position\":{position},\"options\":",
        !this.system,
        this.system,
        this.minimum,
        this.maximum,
        !this.system && !this.label,
        this.hidden,
        this.kind == Kind::Object,
        this.unique
    );
    string(out, &if this.kind == Kind::Select { this.options.join(",") } else { String::new() });
    match this.kind {
        Kind::Object => {
            if let Some(kind) = view.catalog.reference_types.iter().find(|r| r.id == this.reference_type) {
                out.push_str(",\"referenceType\":");
                reference_type(out, switches, place, kind, false);
            }
            if let Some(target) = this.target_type
                && let Some(target_json) = types.get(&target)
            {
                out.push_str(",\"referenceObjectTypeId\":");
                number(out, switches.ids, u64::from(target));
                let _ = write!(out, ",\"referenceObjectType\":{target_json}");
            }
        }
        Kind::Status => {
            let ids: Vec<String> = this.options.iter().map(|id| format!("\"{id}\"")).collect();
            let _ = write!(out, ",\"typeValueMulti\":[{}]", ids.join(","));
        }
        Kind::User => out.push_str(",\"additionalValue\":\"SHOW_PROFILE\""),
        Kind::Text if !this.system => out.push_str(",\"suffix\":\"\",\"regexValidation\":\"\""),
        _ => {}
    }
    out.push('}');
}
