//! Changes to the data: by tests, by the control API and by the API's own writes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::model::{Attribute, Kind, Object, Value};
use super::reshape;
use super::view::Visibility;
use super::world::{History, Lag, World};
use crate::clock;

/// Something that happens to the data. Names match in any case; ids work wherever a name does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// A new object. `values` holds attribute name and value pairs; a multi-valued one may be repeated.
    Create {
        /// Type name or id.
        object_type: String,
        /// The label.
        name: String,
        /// Other attributes.
        #[serde(default)]
        values: Vec<(String, String)>,
    },
    /// Replaces all values of one attribute; no value clears it. A text that does not fit the attribute's kind is
    /// stored as it is, so that tests can serve values that do not fit.
    Update {
        /// Object key or id.
        key: String,
        /// Attribute name or id.
        attribute: String,
        /// The new values.
        values: Vec<String>,
    },
    /// Removes an object.
    Delete {
        /// Object key or id.
        key: String,
    },
    /// Changes an attribute's name.
    RenameAttribute {
        /// Type name or id.
        object_type: String,
        /// Its name now.
        attribute: String,
        /// Its name from now on.
        to: String,
    },
    /// Changes a type's name.
    RenameType {
        /// Type name or id.
        object_type: String,
        /// Its name from now on.
        to: String,
    },
    /// Adds a type without objects; it has a key, a name, and when it was created and updated.
    AddType {
        /// Schema key, name or id.
        schema: String,
        /// Its name.
        name: String,
        /// Its parent, a type's name or id.
        #[serde(default)]
        parent: Option<String>,
    },
    /// Removes a type with its objects; not one that has children.
    RemoveType {
        /// Type name or id.
        object_type: String,
    },
    /// Gives a type another parent, or none.
    MoveType {
        /// Type name or id.
        object_type: String,
        /// Its parent from now on, a type's name or id.
        #[serde(default)]
        parent: Option<String>,
    },
    /// Changes a description.
    Describe {
        /// Type name or id.
        object_type: String,
        /// The attribute's name; none: the type itself.
        #[serde(default)]
        attribute: Option<String>,
        /// The description from now on.
        text: String,
    },
    /// Adds an attribute without values.
    AddAttribute {
        /// Type name or id.
        object_type: String,
        /// Its name.
        name: String,
        /// What it holds.
        kind: Kind,
        /// It may hold several values.
        #[serde(default)]
        multiple: bool,
    },
    /// Removes an attribute from its type.
    RemoveAttribute {
        /// Type name or id.
        object_type: String,
        /// Its name.
        attribute: String,
    },
    /// Changes what an attribute holds; values stay as they are.
    ChangeKind {
        /// Type name or id.
        object_type: String,
        /// Its name.
        attribute: String,
        /// What it holds from now on.
        kind: Kind,
        /// It may hold several values.
        #[serde(default)]
        multiple: bool,
    },
    /// Gives an object another type; values stay where the new type has an attribute of the same name.
    MoveObject {
        /// Object key or id.
        key: String,
        /// Type name or id.
        to_type: String,
    },
}

/// How a change is carried out.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// How late AQL sees it.
    pub lag: Lag,
    /// A new label of an object also touches `Updated` of those that refer to it.
    pub touch_referrers: bool,
    /// `Updated` of what is moved into another type stays as it is.
    pub silent_moves: bool,
}

/// Applies a change and gives the key of the object concerned, or else the name of what was changed.
pub fn apply(world: &mut World, change: &Change, how: How) -> Result<String, String> {
    match change {
        Change::Create { object_type, name, values } => create(world, object_type, name, values, how),
        Change::Update { key, attribute, values } => update(world, key, attribute, values, how),
        Change::Delete { key } => {
            let object = find(world, key)?;
            let key = key_of(world, &object);
            delete(world, object.id, how.lag);
            Ok(key)
        }
        Change::RenameAttribute { object_type, attribute, to } => {
            change_attribute(world, object_type, attribute, |a| a.name.clone_from(to))
        }
        Change::RenameType { object_type, to } => {
            let id = type_id(world, object_type)?;
            let now = world.write_time();
            let this = world.catalog.types.get_mut(&id).ok_or("the type is gone")?;
            this.name.clone_from(to);
            this.updated = now;
            world.catalog_changed();
            Ok(to.clone())
        }
        Change::AddType { schema, name, parent } => {
            reshape::add_type(world, schema, name, parent.as_deref()).map(|id| id.to_string())
        }
        Change::RemoveType { object_type } => {
            reshape::remove_type(world, object_type).map(|()| object_type.clone())
        }
        Change::MoveType { object_type, parent } => {
            reshape::move_type(world, object_type, parent.as_deref()).map(|()| object_type.clone())
        }
        Change::Describe { object_type, attribute, text } => {
            reshape::describe(world, object_type, attribute.as_deref(), text).map(|()| object_type.clone())
        }
        Change::AddAttribute { object_type, name, kind, multiple } => {
            let type_id = type_id(world, object_type)?;
            world.catalog.add_attribute(reshape::attribute(type_id, name, *kind, *multiple));
            world.catalog_changed();
            Ok(name.clone())
        }
        Change::RemoveAttribute { object_type, attribute } => {
            let name = change_attribute(world, object_type, attribute, |_| {})?;
            let found =
                world.catalog.attribute(type_id(world, object_type)?, attribute).ok_or("it is gone")?;
            let (id, owner) = (found.id, found.type_id);
            if found.label {
                return Err(format!("{name} is the label"));
            }
            world.catalog.attributes.remove(&id);
            if let Some(owner) = world.catalog.types.get_mut(&owner) {
                owner.attributes.retain(|a| *a != id);
            }
            Ok(name)
        }
        Change::ChangeKind { object_type, attribute, kind, multiple } => {
            change_attribute(world, object_type, attribute, |a| {
                a.kind = *kind;
                a.maximum = if *multiple { -1 } else { 1 };
            })
        }
        Change::MoveObject { key, to_type } => move_object(world, key, to_type, how),
    }
}

/// Reads a text as a value of an attribute; `Err` says what is wrong with it (assets-api.md sections 2.7 and 13).
pub fn parse_value(world: &World, attribute: &Attribute, text: &str) -> Result<Value, String> {
    let invalid = |what: &str| format!("{text} is not valid{what}");
    let everyone = Visibility::default();
    Ok(match attribute.kind {
        Kind::Integer => Value::Integer(text.trim().parse().map_err(|_| invalid(" (Integer)"))?),
        Kind::Double => Value::Double(text.trim().parse().map_err(|_| invalid(" (Double)"))?),
        Kind::Boolean => match text.trim().to_ascii_lowercase().as_str() {
            "true" => Value::Boolean(true),
            "false" => Value::Boolean(false),
            _ => return Err(invalid(" (Boolean)")),
        },
        Kind::Date => {
            let day = text.get(..10).and_then(clock::parse_day).ok_or_else(|| invalid(" (Date)"))?;
            Value::Date(day)
        }
        Kind::Time => Value::Time(clock::parse_time(text.trim()).ok_or_else(|| invalid(" (Time)"))?),
        Kind::DateTime => {
            Value::DateTime(clock::parse_instant(text.trim(), 0, true).ok_or_else(|| invalid(" (DateTime)"))?)
        }
        Kind::Object => {
            let view = world.live(&everyone);
            let by_id = || text.parse().ok().and_then(|id| view.object(id));
            let entry = view.object_by_key(text).or_else(by_id);
            Value::Object(entry.ok_or_else(|| invalid(" Object id or key"))?.id())
        }
        Kind::User => {
            Value::User(world.catalog.find_user(text).ok_or_else(|| format!("{text} not found in Jira"))?)
        }
        Kind::Group => {
            let at = world.catalog.groups.iter().position(|g| g.eq_ignore_ascii_case(text));
            Value::Group(at.ok_or("Invalid Group(s)")?)
        }
        Kind::Status => {
            let known = &world.catalog.statuses;
            let by_id = known.iter().find(|s| s.id.to_string() == text);
            let found = by_id.or_else(|| known.iter().find(|s| s.name.eq_ignore_ascii_case(text)));
            Value::Status(found.ok_or_else(|| invalid(" (Status)"))?.id)
        }
        Kind::Select if !attribute.options.is_empty() && !attribute.options.iter().any(|o| o == text) => {
            return Err("value provided is invalid".into());
        }
        _ => Value::Text(text.to_owned()),
    })
}

/// Stores a new or changed object with the history of what differs.
pub fn store(world: &mut World, mut object: Object, old: Option<&Object>, how: How) {
    let now = world.write_time();
    let moved = |old: &&Object| how.silent_moves && old.type_id != object.type_id;
    object.updated = old.filter(moved).map_or(now, |old| old.updated);
    if old.is_none() {
        object.created = object.updated;
    }
    let everyone = Visibility::default();
    let view = world.live(&everyone);
    let show = |values: &[Value]| values.iter().map(|v| view.display(v)).collect::<Vec<_>>().join(", ");
    let mut entries = Vec::new();
    let mut relabelled = false;
    for attribute in view.catalog.effective(object.type_id) {
        let (before, after) = (old.map_or(&[][..], |o| o.get(attribute.id)), object.get(attribute.id));
        if old.is_some() && before != after {
            entries.push((Some(attribute.name.clone()), show(before), show(after)));
            relabelled |= attribute.label;
        }
    }
    if old.is_none() {
        entries.push((None, String::new(), String::new()));
    }
    let (id, created) = (object.id, object.updated);
    let log = world.history.entry(id).or_default();
    for (attribute, old, new) in entries {
        let number = id * 1000 + 500 + log.len() as u64;
        log.push(History { id: number, created, actor: (id % 60) as usize, attribute, old, new });
    }
    world.put(id, Some(Arc::new(object)), how.lag);
    if relabelled && how.touch_referrers {
        touch_referrers(world, id, how.lag);
    }
}

/// Removes an object; references to it are gone with it.
pub fn delete(world: &mut World, id: u64, lag: Lag) {
    world.put(id, None, lag);
}

fn touch_referrers(world: &mut World, target: u64, lag: Lag) {
    let everyone = Visibility::default();
    let view = world.live(&everyone);
    let mut touched = Vec::new();
    for type_id in view.catalog.types.keys() {
        let mut attributes = view.catalog.effective(*type_id);
        attributes.retain(|a| a.kind == Kind::Object);
        let mut ids = Vec::new();
        if !attributes.is_empty() {
            view.ids_of(*type_id, 0, u64::MAX, &mut ids);
        }
        for entry in ids.into_iter().filter_map(|id| view.object(id)) {
            let mut values = Vec::new();
            attributes.iter().for_each(|a| view.values(&entry, a, &mut values));
            if values.contains(&Value::Object(target)) {
                touched.push(view.to_object(&entry));
            }
        }
    }
    for mut object in touched {
        object.updated = world.write_time();
        world.put(object.id, Some(Arc::new(object)), lag);
    }
}

pub(super) fn type_id(world: &World, name: &str) -> Result<u32, String> {
    world.catalog.find_type(name).map(|t| t.id).ok_or_else(|| format!("there is no object type {name:?}"))
}

fn find(world: &World, key: &str) -> Result<Object, String> {
    let everyone = Visibility::default();
    let view = world.live(&everyone);
    let by_id = || key.parse().ok().and_then(|id| view.object(id));
    let entry =
        view.object_by_key(key).or_else(by_id).ok_or_else(|| format!("there is no object {key:?}"))?;
    Ok(view.to_object(&entry))
}

fn key_of(world: &World, object: &Object) -> String {
    format!("{}-{}", world.catalog.key_prefix(object.type_id), object.id)
}

fn lenient(world: &World, attribute: &Attribute, text: &str) -> Value {
    parse_value(world, attribute, text).unwrap_or_else(|_| Value::Text(text.to_owned()))
}

fn named(world: &World, type_id: u32, name: &str) -> Result<Attribute, String> {
    let found = world.catalog.attribute(type_id, name).cloned();
    let found = found.ok_or_else(|| format!("type {type_id} has no attribute {name:?}"))?;
    if found.system { Err(format!("{name} is kept by the system")) } else { Ok(found) }
}

fn create(
    world: &mut World,
    object_type: &str,
    name: &str,
    values: &[(String, String)],
    how: How,
) -> Result<String, String> {
    let type_id = type_id(world, object_type)?;
    if world.catalog.types[&type_id].abstract_type {
        return Err(format!("{object_type} is abstract and has no objects of its own"));
    }
    let mut object = Object { id: 0, type_id, created: 0, updated: 0, values: Vec::new() };
    let label = world.catalog.label_attribute(type_id).ok_or("the type has no label")?.id;
    object.set(label, vec![Value::Text(name.to_owned())]);
    for (attribute, text) in values {
        let attribute = named(world, type_id, attribute)?;
        let mut all = object.get(attribute.id).to_vec();
        all.push(lenient(world, &attribute, text));
        object.set(attribute.id, all);
    }
    object.id = world.take_id();
    let key = key_of(world, &object);
    store(world, object, None, how);
    Ok(key)
}

fn update(
    world: &mut World,
    key: &str,
    attribute: &str,
    values: &[String],
    how: How,
) -> Result<String, String> {
    let old = find(world, key)?;
    let attribute = named(world, old.type_id, attribute)?;
    let mut object = old.clone();
    object.set(attribute.id, values.iter().map(|v| lenient(world, &attribute, v)).collect());
    let key = key_of(world, &object);
    store(world, object, Some(&old), how);
    Ok(key)
}

fn change_attribute(
    world: &mut World,
    object_type: &str,
    attribute: &str,
    change: impl FnOnce(&mut Attribute),
) -> Result<String, String> {
    let id = named(world, type_id(world, object_type)?, attribute)?.id;
    let this = world.catalog.attributes.get_mut(&id).ok_or("the attribute is gone")?;
    change(this);
    let name = this.name.clone();
    world.catalog_changed();
    Ok(name)
}

fn move_object(world: &mut World, key: &str, to_type: &str, how: How) -> Result<String, String> {
    let old = find(world, key)?;
    let to = type_id(world, to_type)?;
    let mut object = Object { type_id: to, values: Vec::new(), ..old.clone() };
    for (id, values) in &old.values {
        let name = world.catalog.attributes.get(id).map(|a| a.name.clone());
        if let Some(target) = name.and_then(|n| world.catalog.attribute(to, &n)) {
            object.set(target.id, values.clone());
        }
    }
    let key = key_of(world, &object);
    store(world, object, Some(&old), how);
    Ok(key)
}
