//! Objects, types and attributes as the API's JSON (assets-api.md section 3), written straight into a string.

use std::collections::HashMap;
use std::fmt::Write;

use crate::clock;
use crate::data::model::{Attribute, Kind, ReferenceType, Status, Value};
use crate::data::view::{Entry, View, double_text, text_of};
use crate::switches::{DateForm, Empty, Ids, Switches};

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

/// What objects are rendered with.
#[derive(Clone, Copy, Debug)]
pub struct Render<'a> {
    /// Where values come from.
    pub view: View<'a>,
    /// How they look.
    pub switches: &'a Switches,
    /// Where links point.
    pub place: &'a Place,
    /// Parts made before.
    pub fragments: &'a Fragments,
    /// Pads objects to so many bytes.
    pub object_bytes: Option<u32>,
}

/// How much of an object is rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Without attributes.
    Bare,
    /// With attributes.
    Attributes,
    /// With attributes that carry their definitions.
    Definitions,
}

impl Render<'_> {
    /// An object (section 3.1).
    pub fn object(&self, out: &mut String, entry: &Entry<'_>, depth: Depth) {
        let (id, type_id) = (entry.id(), entry.type_id());
        let (start, view) = (out.len(), self.view);
        let label = view.label(entry);
        head(out, self.switches, self.place, id);
        out.push_str(",\"label\":");
        string(out, &label);
        let _ = write!(out, ",\"objectKey\":\"{}-{id}\",\"avatar\":", view.catalog.key_prefix(type_id));
        out.push_str(&self.fragments.avatars[&type_id]);
        number(out, self.switches.ids, id);
        let mut token = None;
        if self.switches.media_client_config || self.object_bytes.is_some() {
            out.push_str(
                ",\"mediaClientConfig\":{\"clientId\":\"9b0c4a6e-media\",\"mediaBaseUrl\":\
                 \"https://api.media.atlassian.com\",\"fileId\":\"",
            );
            let _ = write!(out, "{id:032x}\",\"mediaJwtToken\":\"secret-media-token-{id}");
            token = Some(out.len());
            out.push_str("\"}");
        }
        out.push_str("},\"objectType\":");
        out.push_str(&self.fragments.types[&type_id]);
        let (created, updated) = (view.created(entry), view.updated(entry));
        let _ = write!(
            out,
            ",\"created\":\"{}\",\"updated\":\"{}\",\"hasAvatar\":false,\"timestamp\":{updated}",
            clock::iso_instant(created),
            clock::iso_instant(updated)
        );
        if depth != Depth::Bare {
            out.push_str(",\"attributes\":");
            self.attributes(out, entry, depth == Depth::Definitions);
        }
        let Place { origin, workspace } = self.place;
        let _ = write!(
            out,
            ",\"_links\":{{\"self\":\"{origin}/jsm/assets/workspace/{workspace}/v1/object/{id}\"}},\"name\":"
        );
        string(out, &label);
        out.push('}');
        if let (Some(bytes), Some(token), false) = (self.object_bytes, token, depth == Depth::Bare) {
            let missing = (bytes as usize).saturating_sub(out.len() - start);
            out.insert_str(token, &"x".repeat(missing));
        }
    }

    /// The attributes of an object (section 3.4).
    pub fn attributes(&self, out: &mut String, entry: &Entry<'_>, definitions: bool) {
        let mut values = Vec::new();
        let mut first = true;
        out.push('[');
        for attribute in self.view.catalog.effective(entry.type_id()) {
            values.clear();
            self.view.values(entry, attribute, &mut values);
            if values.is_empty() && self.switches.empty_attributes == Empty::Omitted {
                continue;
            }
            if !std::mem::take(&mut first) {
                out.push(',');
            }
            head(out, self.switches, self.place, entry.id() * 1000 + u64::from(attribute.id));
            if definitions {
                let _ = write!(
                    out,
                    ",\"objectTypeAttribute\":{}",
                    self.fragments.definition(attribute.id, false)
                );
            }
            out.push_str(",\"objectTypeAttributeId\":");
            number(out, self.switches.ids, u64::from(attribute.id));
            out.push_str(",\"objectAttributeValues\":[");
            for (i, value) in values.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                self.value(out, value);
            }
            out.push_str("],\"objectId\":");
            number(out, self.switches.ids, entry.id());
            out.push('}');
        }
        out.push(']');
    }

    fn value(&self, out: &mut String, value: &Value) {
        let mut search = None;
        let mut references = false;
        out.push('{');
        match value {
            Value::Object(id) => {
                if let Some(other) = self.view.object(*id) {
                    out.push_str("\"referencedObject\":");
                    self.object(out, &other, Depth::Bare);
                    out.push(',');
                    search = Some(self.view.key(&other));
                }
                references = true;
            }
            Value::User(user) => {
                out.push_str("\"user\":");
                self.user(out, *user);
                out.push(',');
                search = Some(self.view.catalog.users[*user].account_id.clone());
            }
            Value::Group(group) => {
                let name = self.view.catalog.groups[*group];
                let _ = write!(out, "\"group\":{{\"avatarUrl\":\"{AVATAR}\",\"name\":");
                string(out, name);
                out.push_str("},");
                search = Some(name.to_owned());
            }
            Value::Status(id) => {
                if let Some(status) = self.view.catalog.status(*id) {
                    let _ = write!(out, "\"status\":{{\"id\":\"{id}\",\"name\":");
                    string(out, status.name);
                    let _ = write!(out, ",\"category\":{}", status.category);
                    if let Some(schema) = status.schema_id {
                        let _ = write!(out, ",\"objectSchemaId\":\"{schema}\"");
                    }
                    out.push_str("},");
                }
                search = Some(id.to_string());
            }
            plain => {
                let text = self.plain(plain);
                let bare = !self.switches.values_as_strings
                    && matches!(plain, Value::Integer(_) | Value::Double(_) | Value::Boolean(_));
                for name in ["\"value\":", "\"searchValue\":"] {
                    out.push_str(name);
                    if bare {
                        out.push_str(&text);
                    } else {
                        string(out, &text);
                    }
                    out.push(',');
                }
            }
        }
        if let Some(search) = search {
            out.push_str("\"searchValue\":");
            string(out, &search);
            out.push(',');
        }
        out.push_str("\"displayValue\":");
        string(out, &self.view.display(value));
        let _ = write!(out, ",\"referencedType\":{references}}}");
    }

    fn plain(&self, value: &Value) -> String {
        match value {
            Value::Date(day) if self.switches.date_form == DateForm::Instant => {
                format!("{}T00:00:00.000Z", clock::iso_day(*day))
            }
            Value::Time(seconds) if self.switches.time_with_seconds => {
                format!("{}:{:02}", text_of(value), seconds % 60)
            }
            Value::Double(x) => double_text(*x),
            plain => text_of(plain),
        }
    }

    /// A person, as attributes and history entries show one.
    pub fn user(&self, out: &mut String, user: usize) {
        let user = &self.view.catalog.users[user];
        let _ = write!(out, "{{\"avatarUrl\":\"{AVATAR}\",\"displayName\":");
        string(out, &user.display_name);
        out.push_str(",\"name\":");
        string(out, &user.display_name);
        let _ = write!(out, ",\"key\":\"{}\"", user.account_id);
        if !self.switches.hide_email {
            out.push_str(",\"emailAddress\":");
            string(out, &user.email);
        }
        out.push_str(",\"isDeleted\":false}");
    }
}
