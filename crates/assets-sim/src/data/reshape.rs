//! Changes to the set of object types, and to descriptions.

use super::generator::Source;
use super::model::{Attribute, Kind, ObjectType};
use super::view::Visibility;
use super::world::{Lag, World};

/// A new type at the end of a schema, with the attributes that every type has; inherited ones come with the parent.
pub(super) fn add_type(
    world: &mut World,
    schema: &str,
    name: &str,
    parent: Option<&str>,
) -> Result<u32, String> {
    let same = |s: &&super::model::Schema| s.key == schema || s.name == schema || s.id.to_string() == schema;
    let schema_id =
        world.catalog.schemas.iter().find(same).ok_or_else(|| format!("there is no schema {schema:?}"))?.id;
    let parent = match parent {
        Some(parent) => Some(super::change::type_id(world, parent)?),
        None => None,
    };
    let inherits = parent.is_some_and(|p| world.catalog.types.get(&p).is_some_and(|p| p.inherited));
    let id = world.catalog.types.keys().next_back().map_or(1, |last| last + 1);
    let position = world.catalog.types.values().filter(|t| t.schema_id == schema_id).count() as u32;
    let now = world.write_time();
    let made = ObjectType {
        id,
        schema_id,
        name: name.into(),
        description: String::new(),
        parent,
        inherited: false,
        abstract_type: false,
        position,
        created: now,
        updated: now,
        attributes: Vec::new(),
    };
    world.catalog.types.insert(id, made);
    let own =
        [("Key", Kind::Text), ("Name", Kind::Text), ("Created", Kind::DateTime), ("Updated", Kind::DateTime)];
    for (name, kind) in own.into_iter().filter(|_| !inherits) {
        let label = name == "Name";
        world.catalog.add_attribute(Attribute {
            minimum: 1,
            label,
            system: !label,
            ..attribute(id, name, kind, false)
        });
    }
    world.catalog_changed();
    Ok(id)
}

/// An attribute without values, to be added.
pub(super) fn attribute(type_id: u32, name: &str, kind: Kind, multiple: bool) -> Attribute {
    Attribute {
        id: 0,
        type_id,
        name: name.into(),
        description: String::new(),
        kind,
        minimum: 0,
        maximum: if multiple { -1 } else { 1 },
        label: false,
        system: false,
        hidden: false,
        unique: false,
        options: Vec::new(),
        target_type: (kind == Kind::Object).then_some(type_id),
        reference_type: 4,
        position: 0,
        source: Source::None,
        fill: 0,
    }
}

/// Removes a type with its objects; not one with children, and not while AQL lags behind.
pub(super) fn remove_type(world: &mut World, name: &str) -> Result<(), String> {
    let id = super::change::type_id(world, name)?;
    if world.catalog.types.values().any(|t| t.parent == Some(id)) {
        return Err(format!("{name} has children"));
    }
    if world.lagging() {
        return Err("the index lags behind".into());
    }
    let mut objects = Vec::new();
    world.live(&Visibility::default()).ids_of(id, 0, u64::MAX, &mut objects);
    for object in objects {
        super::change::delete(world, object, Lag::default());
    }
    world.catalog.types.remove(&id);
    world.catalog.attributes.retain(|_, a| a.type_id != id);
    for attribute in world.catalog.attributes.values_mut().filter(|a| a.target_type == Some(id)) {
        attribute.target_type = None;
    }
    world.catalog_changed();
    Ok(())
}

/// Gives a type another parent; not one below it.
pub(super) fn move_type(world: &mut World, name: &str, parent: Option<&str>) -> Result<(), String> {
    let id = super::change::type_id(world, name)?;
    let parent = parent.map(|parent| super::change::type_id(world, parent)).transpose()?;
    if parent.is_some_and(|parent| parent == id || world.catalog.descendants(id).contains(&parent)) {
        return Err(format!("{name} would be below itself"));
    }
    world.catalog.types.get_mut(&id).ok_or("the type is gone")?.parent = parent;
    world.catalog_changed();
    Ok(())
}

/// Changes the description of a type, or of an attribute.
pub(super) fn describe(
    world: &mut World,
    object_type: &str,
    attribute: Option<&str>,
    text: &str,
) -> Result<(), String> {
    let type_id = super::change::type_id(world, object_type)?;
    match attribute {
        None => {
            let this = world.catalog.types.get_mut(&type_id).ok_or("the type is gone")?;
            this.description = text.into();
        }
        Some(name) => {
            let found =
                world.catalog.attribute(type_id, name).ok_or_else(|| format!("there is no {name:?}"))?.id;
            let this = world.catalog.attributes.get_mut(&found).ok_or("the attribute is gone")?;
            this.description = text.into();
        }
    }
    world.catalog_changed();
    Ok(())
}
