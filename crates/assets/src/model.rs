//! Assets' own nouns, as this project needs them: object schemas, object types, attributes
//! (assets-api.md 3). Ids are numbers here, whatever JSON type the service sent.

use serde::{Deserialize, Serialize};

/// An object schema (`/objectschema/list`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectSchema {
    /// `id`.
    pub id: i64,
    /// `objectSchemaKey`.
    pub key: String,
    /// `name`.
    pub name: String,
    /// `description`, empty when absent.
    pub description: String,
    /// `objectCount`, only where counts were asked for.
    pub object_count: Option<u64>,
}

/// An object type (`/objectschema/{id}/objecttypes/flat`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectType {
    /// `id`.
    pub id: i64,
    /// `name`; not unique within a schema.
    pub name: String,
    /// `description`, empty when absent.
    pub description: String,
    /// `objectSchemaId`.
    pub schema_id: i64,
    /// `parentObjectTypeId`; none at the root.
    pub parent_id: Option<i64>,
    /// `abstractObjectType`: has no objects of its own.
    pub is_abstract: bool,
    /// `position`.
    pub position: i64,
    /// `objectCount`, its own objects, only where counts were asked for.
    pub object_count: Option<u64>,
}

/// A type and everything below it, by id.
pub fn descendants(types: &[ObjectType], root: i64) -> Vec<i64> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        for child in types.iter().filter(|t| t.parent_id == Some(parent)) {
            if !found.contains(&child.id) {
                found.push(child.id);
            }
        }
    }
    found
}

/// What kind of value an attribute holds: `type`, and for type 0 `defaultType.id`
/// (assets-api.md 3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Kind {
    Text,
    Integer,
    Boolean,
    Double,
    Date,
    Time,
    DateTime,
    Url,
    Email,
    Textarea,
    Select,
    IpAddress,
    Object,
    User,
    Confluence,
    Group,
    Version,
    Project,
    Status,
    /// A type code this project does not know; its values read as text.
    Unknown,
}

/// The definition of an attribute on an object type (`/objecttype/{id}/attributes`, which
/// includes inherited ones).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Attribute {
    /// `id`, what values refer to as `objectTypeAttributeId`.
    pub id: i64,
    /// `name`.
    pub name: String,
    /// `description`, empty when absent.
    pub description: String,
    /// The kind of its values.
    pub kind: Kind,
    /// Whether `maximumCardinality` is other than 1 (-1 is unlimited).
    pub multi: bool,
    /// `label`: this attribute is the object's label.
    pub label: bool,
    /// `system`: Key, Created, Updated.
    pub system: bool,
    /// `hidden`.
    pub hidden: bool,
    /// `uniqueAttribute`.
    pub unique: bool,
    /// `position`.
    pub position: i64,
    /// `referenceObjectTypeId` of an Object attribute.
    pub reference_type_id: Option<i64>,
    /// `objectSchemaId` of that type, where the answer describes it (`referenceObjectType`).
    #[serde(default)]
    pub reference_schema_id: Option<i64>,
    /// `options` of a Select attribute.
    pub options: Vec<String>,
    /// `typeValueMulti` of a Status attribute: the statuses that it may take, by id; none named: any.
    #[serde(default)]
    pub statuses: Vec<i64>,
}

/// A status (`/config/statustype`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// `id`.
    pub id: i64,
    /// `name`; not unique.
    pub name: String,
}
