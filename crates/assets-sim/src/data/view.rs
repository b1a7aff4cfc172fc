//! Reading objects: generated or changed alike, as one identity sees them.

use super::catalog::Catalog;
use super::generator::Generator;
use super::model::{Attribute, Kind, Object, Value};
use super::world::Layer;
use crate::clock;
use crate::switches::{Switches, Unreadable};

/// What an identity may see (Assets' roles, assets-api.md section 1.3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Visibility {
    /// Schemas it may read; `None` is all.
    pub schemas: Option<Vec<u32>>,
    /// Types of those schemas that it may not read, nor their objects.
    pub hidden_types: Vec<u32>,
    /// Schemas that it could read, and may no more.
    pub withdrawn: Vec<u32>,
    /// Some objects are hidden from it: those whose id divided by 11 leaves 5.
    pub restricted: bool,
}

/// What is shown of references that lead to nothing that the identity may read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct References {
    unreadable_type: Unreadable,
    unreadable_object: Unreadable,
    dangling: Unreadable,
}

impl References {
    pub(crate) fn of(switches: &Switches) -> References {
        References {
            unreadable_type: switches.unreadable_type,
            unreadable_object: switches.unreadable_object,
            dangling: switches.dangling,
        }
    }
}

/// An object, before any of its values is computed.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// As generated.
    Generated {
        /// The object's id.
        id: u64,
        /// Its index in the generator.
        index: u64,
        /// Its type.
        type_id: u32,
    },
    /// As stored by a change.
    Stored(&'a Object),
}

impl Entry<'_> {
    /// The object's id.
    pub fn id(&self) -> u64 {
        match self {
            Entry::Generated { id, .. } => *id,
            Entry::Stored(object) => object.id,
        }
    }

    /// Its type's id.
    pub fn type_id(&self) -> u32 {
        match self {
            Entry::Generated { type_id, .. } => *type_id,
            Entry::Stored(object) => object.type_id,
        }
    }
}

/// One layer of the world through the eyes of one identity.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Types and attributes.
    pub catalog: &'a Catalog,
    pub(crate) generator: &'a Generator,
    pub(crate) layer: &'a Layer,
    pub(crate) who: &'a Visibility,
    pub(crate) references: References,
}

impl<'a> View<'a> {
    /// True if the identity may read a schema.
    pub fn sees_schema(&self, schema_id: u32) -> bool {
        self.who.schemas.as_ref().is_none_or(|s| s.contains(&schema_id))
            && !self.who.withdrawn.contains(&schema_id)
    }

    /// True if the identity may read objects of a type.
    pub fn sees_type(&self, type_id: u32) -> bool {
        let sees = |schema| self.sees_schema(schema) && !self.who.hidden_types.contains(&type_id);
        self.catalog.types.get(&type_id).is_some_and(|t| sees(t.schema_id))
    }

    /// The object with an id, if it exists and is visible.
    pub fn object(&self, id: u64) -> Option<Entry<'a>> {
        if self.who.restricted && id % 11 == 5 {
            return None;
        }
        self.any_object(id).filter(|entry| self.sees_type(entry.type_id()))
    }

    /// The object with an id, if it exists, visible or not.
    pub(crate) fn any_object(&self, id: u64) -> Option<Entry<'a>> {
        let entry = match self.layer.changed.get(&id) {
            Some(None) => return None,
            Some(Some(object)) => Entry::Stored(object),
            None => {
                let index = self.generator.index(id)?;
                Entry::Generated { id, index, type_id: self.generator.place(index).0 }
            }
        };
        Some(entry)
    }

    /// What is shown of a reference to an object.
    pub(crate) fn shown(&self, id: u64) -> Unreadable {
        if self.object(id).is_some() {
            return Unreadable::Shown;
        }
        match self.any_object(id) {
            None if self.references.dangling == Unreadable::Omitted => Unreadable::Omitted,
            None => Unreadable::Bare,
            Some(entry) if !self.sees_type(entry.type_id()) => self.references.unreadable_type,
            Some(_) => self.references.unreadable_object,
        }
    }

    /// The object that a reference shows, with its label and key.
    pub(crate) fn referenced(&self, id: u64) -> Option<Entry<'a>> {
        if self.shown(id) == Unreadable::Shown { self.any_object(id) } else { None }
    }

    /// The object with a key in any case.
    pub fn object_by_key(&self, key: &str) -> Option<Entry<'a>> {
        self.any_object_by_key(key).filter(|entry| self.object(entry.id()).is_some())
    }

    /// The object with a key in any case, visible or not.
    pub(crate) fn any_object_by_key(&self, key: &str) -> Option<Entry<'a>> {
        let (prefix, number) = key.rsplit_once('-')?;
        if !number.bytes().all(|b| b.is_ascii_digit()) || number.starts_with('0') {
            return None;
        }
        let entry = self.any_object(number.parse().ok()?)?;
        self.catalog.key_prefix(entry.type_id()).eq_ignore_ascii_case(prefix).then_some(entry)
    }

    /// Ids of a type's own objects within an inclusive range, ascending, appended to `out`.
    pub fn ids_of(&self, type_id: u32, low: u64, high: u64, out: &mut Vec<u64>) {
        if !self.sees_type(type_id) || low > high {
            return;
        }
        let from = out.len();
        let end = self.generator.count_of(type_id);
        for ordinal in self.generator.ordinal_from(type_id, low)..end {
            let id = self.generator.id(type_id, ordinal);
            if id > high {
                break;
            }
            if self.layer.changed.is_empty() || !self.layer.changed.contains_key(&id) {
                out.push(id);
            }
        }
        if let Some(extra) = self.layer.extra.get(&type_id).filter(|e| !e.is_empty()) {
            out.extend(extra.range(low..=high));
            out[from..].sort_unstable();
        }
        if self.who.restricted {
            let mine = out.split_off(from);
            out.extend(mine.into_iter().filter(|id| id % 11 != 5));
        }
    }

    /// How many objects a type has of its own.
    pub fn count_of(&self, type_id: u32) -> u64 {
        if self.who.restricted {
            let mut ids = Vec::new();
            self.ids_of(type_id, 0, u64::MAX, &mut ids);
            return ids.len() as u64;
        }
        if !self.sees_type(type_id) {
            return 0;
        }
        let covered = self.layer.covered.get(&type_id).copied().unwrap_or(0);
        let extra = self.layer.extra.get(&type_id).map_or(0, |e| e.len() as u64);
        self.generator.count_of(type_id) - covered + extra
    }

    /// How many objects a schema has.
    pub fn count_in_schema(&self, schema_id: u32) -> u64 {
        self.catalog.types.values().filter(|t| t.schema_id == schema_id).map(|t| self.count_of(t.id)).sum()
    }

    /// The object key.
    pub fn key(&self, entry: &Entry<'_>) -> String {
        format!("{}-{}", self.catalog.key_prefix(entry.type_id()), entry.id())
    }

    /// When it was created, epoch ms.
    pub fn created(&self, entry: &Entry<'_>) -> i64 {
        match entry {
            Entry::Generated { index, .. } => self.generator.created(*index),
            Entry::Stored(object) => object.created,
        }
    }

    /// When it was last changed, epoch ms.
    pub fn updated(&self, entry: &Entry<'_>) -> i64 {
        match entry {
            Entry::Generated { index, .. } => self.generator.updated(*index),
            Entry::Stored(object) => object.updated,
        }
    }

    /// Appends the values of an attribute. References to what is gone or hidden are left out, or not, as told.
    pub fn values(&self, entry: &Entry<'_>, attribute: &Attribute, out: &mut Vec<Value>) {
        if attribute.system {
            out.push(match (attribute.kind, attribute.name.as_str()) {
                (Kind::DateTime, "Created") => Value::DateTime(self.created(entry)),
                (Kind::DateTime, _) => Value::DateTime(self.updated(entry)),
                _ => Value::Text(self.key(entry)),
            });
            return;
        }
        let from = out.len();
        match entry {
            Entry::Generated { index, .. } => self.generator.values(self.catalog, attribute, *index, out),
            Entry::Stored(object) => out.extend_from_slice(object.get(attribute.id)),
        }
        if out[from..].iter().any(|v| matches!(v, Value::Object(_))) {
            let mine = out.split_off(from);
            out.extend(mine.into_iter().filter(|v| match v {
                Value::Object(id) => self.shown(*id) != Unreadable::Omitted,
                _ => true,
            }));
        }
    }

    /// The label: the first value of the label attribute as shown.
    pub fn label(&self, entry: &Entry<'_>) -> String {
        let mut values = Vec::new();
        if let Some(attribute) = self.catalog.label_attribute(entry.type_id()) {
            self.values(entry, attribute, &mut values);
        }
        match values.into_iter().next() {
            Some(Value::Text(text)) => text,
            Some(other) => self.display(&other),
            None => String::new(),
        }
    }

    /// A value as Assets shows it to people (`displayValue`).
    pub fn display(&self, value: &Value) -> String {
        match value {
            Value::Date(day) => clock::display_day(*day),
            Value::DateTime(ms) => clock::display_instant(*ms),
            Value::Object(id) => self.referenced(*id).map_or_else(String::new, |o| self.label(&o)),
            Value::User(user) => self.catalog.users[*user].display_name.clone(),
            Value::Group(group) => self.catalog.groups[*group].to_owned(),
            Value::Status(id) => self.catalog.status(*id).map_or_else(String::new, |s| s.name.to_owned()),
            plain => text_of(plain),
        }
    }

    /// A generated or stored object as one that can be changed and stored.
    pub(crate) fn to_object(self, entry: &Entry<'_>) -> Object {
        if let Entry::Stored(object) = entry {
            return (*object).clone();
        }
        let mut object = Object {
            id: entry.id(),
            type_id: entry.type_id(),
            created: self.created(entry),
            updated: self.updated(entry),
            values: Vec::new(),
        };
        for attribute in self.catalog.effective(object.type_id).into_iter().filter(|a| !a.system) {
            let mut values = Vec::new();
            self.values(entry, attribute, &mut values);
            object.set(attribute.id, values);
        }
        object
    }
}

/// The stored text of a plain value (`value` in the API), before switches.
pub fn text_of(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Integer(n) => n.to_string(),
        Value::Double(x) => double_text(*x),
        Value::Boolean(b) => b.to_string(),
        Value::Date(day) => clock::iso_day(*day),
        Value::Time(seconds) => format!("{:02}:{:02}", seconds / 3600, seconds / 60 % 60),
        Value::DateTime(ms) => clock::iso_instant(*ms),
        Value::Object(id) => id.to_string(),
        Value::User(n) | Value::Group(n) => n.to_string(),
        Value::Status(id) => id.to_string(),
    }
}

/// A number as text that reads back as the same number.
pub fn double_text(x: f64) -> String {
    if x != 0.0 && (x.abs() >= 1e17 || x.abs() < 1e-5) { format!("{x:E}") } else { x.to_string() }
}
