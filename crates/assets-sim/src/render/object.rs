//! Objects and their values as the API's JSON (assets-api.md sections 3.1 and 3.4), written straight into a string.

use std::fmt::Write;

use super::{AVATAR, Fragments, Place, head, number, string};
use crate::clock;
use crate::data::model::{Kind, Value};
use crate::data::view::{Entry, View, double_text, text_of};
use crate::switches::{DateForm, Empty, Stamps, SubObjects, Switches};

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
            ",\"created\":{},\"updated\":{},\"hasAvatar\":false,\"timestamp\":{updated}",
            self.stamp(created),
            self.stamp(updated)
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

    fn stamp(&self, ms: i64) -> String {
        match self.switches.stamps {
            Stamps::Text => format!("\"{}\"", clock::iso_instant_in(ms, self.switches.stamp_zone_minutes)),
            Stamps::Millis => ms.to_string(),
            Stamps::MillisText => format!("\"{ms}\""),
        }
    }

    /// What stands in place of an attribute's values.
    fn shape(&self, entry: &Entry<'_>, attribute: &str) -> Option<&str> {
        let shapes = &self.switches.value_shapes;
        if shapes.is_empty() {
            return None;
        }
        let one = shapes.get(&format!("{}/{attribute}", self.view.key(entry)));
        one.or_else(|| shapes.get(attribute)).map(String::as_str)
    }

    /// The attributes of an object (section 3.4).
    pub fn attributes(&self, out: &mut String, entry: &Entry<'_>, definitions: bool) {
        let mut values = Vec::new();
        let mut first = true;
        out.push('[');
        for attribute in self.view.catalog.effective(entry.type_id()) {
            values.clear();
            self.view.values(entry, attribute, &mut values);
            if attribute.kind == Kind::Status && self.switches.statuses_left_out {
                values.clear();
            }
            let shape = self.shape(entry, &attribute.name);
            if values.is_empty() && shape.is_none() && self.switches.empty_attributes == Empty::Omitted {
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
            out.push_str(",\"objectAttributeValues\":");
            if let Some(shape) = shape {
                out.push_str(shape);
            } else {
                out.push('[');
                for (i, value) in values.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    self.value(out, value);
                }
                out.push(']');
            }
            out.push_str(",\"objectId\":");
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
            Value::Object(_) | Value::User(_) | Value::Group(_) | Value::Status(_)
                if self.switches.sub_objects != SubObjects::Given =>
            {
                search = Some(self.bare(out, value));
                references = matches!(value, Value::Object(_));
            }
            Value::Object(id) => {
                if let Some(other) = self.view.referenced(*id) {
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
                let account = self.view.catalog.users[*user].account_id.clone();
                search = (!self.switches.accounts_left_out).then_some(account);
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

    /// A thing without its sub-object; gives its `searchValue`.
    fn bare(&self, out: &mut String, value: &Value) -> String {
        let catalog = self.view.catalog;
        let (name, id, search) = match value {
            Value::Object(id) => {
                let key = self.view.referenced(*id).map_or_else(String::new, |other| self.view.key(&other));
                ("referencedObject", id.to_string(), key)
            }
            Value::User(user) => {
                let account = &catalog.users[*user].account_id;
                ("user", account.clone(), account.clone())
            }
            Value::Group(group) => {
                ("group", catalog.groups[*group].to_owned(), catalog.groups[*group].to_owned())
            }
            Value::Status(id) => ("status", id.to_string(), id.to_string()),
            _ => return String::new(),
        };
        match self.switches.sub_objects {
            SubObjects::Null => {
                let _ = write!(out, "\"{name}\":null,\"value\":null,");
            }
            SubObjects::Ids => {
                out.push_str("\"value\":");
                string(out, &id);
                out.push(',');
            }
            SubObjects::Absent | SubObjects::Given => {}
        }
        search
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
        if !self.switches.accounts_left_out {
            let _ = write!(out, ",\"key\":\"{}\"", user.account_id);
        }
        if !self.switches.hide_email {
            out.push_str(",\"emailAddress\":");
            string(out, &user.email);
        }
        out.push_str(",\"isDeleted\":false}");
    }
}
