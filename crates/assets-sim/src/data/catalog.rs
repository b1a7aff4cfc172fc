//! Schemas, types, attributes, statuses, people: everything but the objects, and the look-ups over it.

use std::collections::BTreeMap;

use super::model::{Attribute, ObjectType, ReferenceType, Schema, Status, User};

/// What the workspace knows besides its objects.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Object schemas in the order of their ids.
    pub schemas: Vec<Schema>,
    /// Types by id.
    pub types: BTreeMap<u32, ObjectType>,
    /// Attributes by id.
    pub attributes: BTreeMap<u32, Attribute>,
    /// Statuses, global ones first.
    pub statuses: Vec<Status>,
    /// People.
    pub users: Vec<User>,
    /// Names of groups.
    pub groups: Vec<&'static str>,
    /// Kinds of references.
    pub reference_types: Vec<ReferenceType>,
}

impl Catalog {
    /// The schema with an id.
    pub fn schema(&self, id: u32) -> Option<&Schema> {
        self.schemas.iter().find(|s| s.id == id)
    }

    /// The status with an id.
    pub fn status(&self, id: u32) -> Option<&Status> {
        self.statuses.iter().find(|s| s.id == id)
    }

    /// A type by id, or by name (any case; the lowest id if the name is used twice).
    pub fn find_type(&self, name_or_id: &str) -> Option<&ObjectType> {
        let by_id = name_or_id.parse().ok().and_then(|id: u32| self.types.get(&id));
        by_id.or_else(|| self.types.values().find(|t| t.name == name_or_id)).or_else(|| {
            let wanted = name_or_id.to_lowercase();
            self.types.values().find(|t| t.name.to_lowercase() == wanted)
        })
    }

    /// The key's first part for objects of a type.
    pub fn key_prefix(&self, type_id: u32) -> &str {
        self.types.get(&type_id).and_then(|t| self.schema(t.schema_id)).map_or("", |s| s.key.as_str())
    }

    /// Attributes of a type: inherited ones first (with the parent's ids), in their order.
    pub fn effective(&self, type_id: u32) -> Vec<&Attribute> {
        let mut lineage = Vec::new();
        let mut at = self.types.get(&type_id);
        while let Some(this) = at {
            lineage.push(this);
            at = this.parent.and_then(|p| self.types.get(&p)).filter(|p| p.inherited);
        }
        let own = |t: &ObjectType| t.attributes.clone();
        lineage.into_iter().rev().flat_map(own).filter_map(|id| self.attributes.get(&id)).collect()
    }

    /// An attribute of a type by name, exactly or else in any case, or by id.
    pub fn attribute(&self, type_id: u32, name: &str) -> Option<&Attribute> {
        let all = self.effective(type_id);
        let lower = name.to_lowercase();
        let named = |a: &&&Attribute| a.name == name;
        let alike = |a: &&&Attribute| a.name.to_lowercase() == lower;
        let found = all.iter().find(named).or_else(|| all.iter().find(alike));
        found.or_else(|| all.iter().find(|a| a.id.to_string() == name)).copied()
    }

    /// The attribute that labels objects of a type.
    pub fn label_attribute(&self, type_id: u32) -> Option<&Attribute> {
        self.effective(type_id).into_iter().find(|a| a.label)
    }

    /// Children, their children and so on, in the order of their ids, without the type itself.
    pub fn descendants(&self, type_id: u32) -> Vec<u32> {
        let mut found = vec![type_id];
        let mut next = 0;
        while next < found.len() {
            let parent = Some(found[next]);
            found.extend(self.types.values().filter(|t| t.parent == parent).map(|t| t.id));
            next += 1;
        }
        found.remove(0);
        found.sort_unstable();
        found
    }

    /// True if attributes of the type's parent are shown on it.
    pub fn inherits(&self, type_id: u32) -> bool {
        let parent = self.types.get(&type_id).and_then(|t| t.parent).and_then(|p| self.types.get(&p));
        parent.is_some_and(|p| p.inherited)
    }

    /// Adds an attribute at the end of a type's own ones and gives its id.
    pub fn add_attribute(&mut self, mut attribute: Attribute) -> u32 {
        let id = self.attributes.keys().next_back().map_or(101, |last| last + 1);
        attribute.id = id;
        if let Some(owner) = self.types.get_mut(&attribute.type_id) {
            attribute.position = owner.attributes.len() as u32;
            owner.attributes.push(id);
        }
        self.attributes.insert(id, attribute);
        id
    }

    /// A user by account id, or by display name or address in any case.
    pub fn find_user(&self, text: &str) -> Option<usize> {
        let lower = text.to_lowercase();
        self.users.iter().position(|u| u.account_id == text).or_else(|| {
            self.users.iter().position(|u| u.display_name.to_lowercase() == lower || u.email == lower)
        })
    }
}
