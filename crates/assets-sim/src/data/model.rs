//! Schemas, types, attributes and values as plain data.

use serde::{Deserialize, Serialize};

use super::generator::Source;

/// What an attribute holds: `type` and `defaultType.id` of assets-api.md section 3.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Default type 0.
    Text,
    /// Default type 1.
    Integer,
    /// Default type 2.
    Boolean,
    /// Default type 3.
    Double,
    /// Default type 4.
    Date,
    /// Default type 5.
    Time,
    /// Default type 6.
    DateTime,
    /// Default type 7.
    Url,
    /// Default type 8.
    Email,
    /// Default type 9.
    Textarea,
    /// Default type 10.
    Select,
    /// Default type 11.
    IpAddress,
    /// Type 1, a reference to an object.
    Object,
    /// Type 2.
    User,
    /// Type 4.
    Group,
    /// Type 7.
    Status,
    /// A type that the documentation does not name (8: Bitbucket repository).
    Unknown(u8),
}

impl Kind {
    /// The `type` field of an attribute definition.
    pub fn code(self) -> u8 {
        match self {
            Kind::Object => 1,
            Kind::User => 2,
            Kind::Group => 4,
            Kind::Status => 7,
            Kind::Unknown(code) => code,
            _ => 0,
        }
    }

    /// `defaultType`, for kinds whose code is 0.
    pub fn default_type(self) -> Option<(u8, &'static str)> {
        Some(match self {
            Kind::Text => (0, "Text"),
            Kind::Integer => (1, "Integer"),
            Kind::Boolean => (2, "Boolean"),
            Kind::Double => (3, "Double"),
            Kind::Date => (4, "Date"),
            Kind::Time => (5, "Time"),
            Kind::DateTime => (6, "DateTime"),
            Kind::Url => (7, "URL"),
            Kind::Email => (8, "Email"),
            Kind::Textarea => (9, "Textarea"),
            Kind::Select => (10, "Select"),
            Kind::IpAddress => (11, "IP Address"),
            _ => return None,
        })
    }
}

/// One value of an attribute. Its variant need not fit the attribute's kind: kinds can change under values.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text, Textarea, URL, Email, Select, IP Address, unknown kinds.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number.
    Double(f64),
    /// True or false.
    Boolean(bool),
    /// Days since 1970-01-01.
    Date(i64),
    /// Seconds since midnight.
    Time(u32),
    /// Milliseconds since 1970-01-01T00:00Z.
    DateTime(i64),
    /// The id of another object.
    Object(u64),
    /// An index into [`super::catalog::Catalog::users`].
    User(usize),
    /// An index into [`super::catalog::Catalog::groups`].
    Group(usize),
    /// The id of a status.
    Status(u32),
}

/// An object schema.
#[derive(Clone, Debug, Serialize)]
pub struct Schema {
    /// Its id.
    pub id: u32,
    /// `objectSchemaKey`, the first part of object keys.
    pub key: String,
    /// Its name, what AQL's `objectSchema` compares with.
    pub name: String,
    /// Its description.
    pub description: String,
    /// A schema of services: its own attributes may carry the prefix `a_` in AQL.
    pub services: bool,
    /// When it was made, epoch ms.
    pub created: i64,
    /// When it was last changed, epoch ms.
    pub updated: i64,
}

/// An object type.
#[derive(Clone, Debug, Serialize)]
pub struct ObjectType {
    /// Its id.
    pub id: u32,
    /// Its schema's id.
    pub schema_id: u32,
    /// Its name; not unique over schemas.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Its parent's id.
    pub parent: Option<u32>,
    /// Its children inherit its attributes.
    pub inherited: bool,
    /// It has no objects of its own.
    pub abstract_type: bool,
    /// Its position among the types of its schema.
    pub position: u32,
    /// When it was made, epoch ms.
    pub created: i64,
    /// When it was last changed, epoch ms.
    pub updated: i64,
    /// Attributes defined on it, without inherited ones.
    pub attributes: Vec<u32>,
}

/// An attribute of a type (and of its children, if the type's attributes are inherited).
#[derive(Clone, Debug, Serialize)]
pub struct Attribute {
    /// Its id.
    pub id: u32,
    /// The type that defines it.
    pub type_id: u32,
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: String,
    /// What it holds.
    pub kind: Kind,
    /// `minimumCardinality`.
    pub minimum: i32,
    /// `maximumCardinality`, -1 for no limit.
    pub maximum: i32,
    /// It is the label of its objects.
    pub label: bool,
    /// Key, Created, Updated.
    pub system: bool,
    /// Hidden from people.
    pub hidden: bool,
    /// No two objects may share a value.
    pub unique: bool,
    /// The choices of a Select, the ids of allowed statuses of a Status.
    pub options: Vec<String>,
    /// What a reference points at.
    pub target_type: Option<u32>,
    /// The kind of reference, an id of `config/referencetype`.
    pub reference_type: u32,
    /// Its position within its type.
    pub position: u32,
    /// How values of generated objects are computed.
    #[serde(skip)]
    pub(crate) source: Source,
    /// How many generated objects of a hundred have a value.
    #[serde(skip)]
    pub(crate) fill: u8,
}

impl Attribute {
    /// It may hold more than one value.
    pub fn multiple(&self) -> bool {
        self.maximum != 1
    }
}

/// A status that a Status attribute may take.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: &'static str,
    /// 0 inactive, 1 active, 2 pending.
    pub category: u8,
    /// The schema it belongs to; `None` is global.
    pub schema_id: Option<u32>,
}

/// A person of the site.
#[derive(Clone, Debug, Serialize)]
pub struct User {
    /// The Atlassian account id.
    pub account_id: String,
    /// The name shown.
    pub display_name: String,
    /// The address, which the service may hide.
    pub email: String,
    /// The groups the person is in, indexes into the catalog's groups.
    pub groups: Vec<usize>,
}

/// A kind of reference.
#[derive(Clone, Debug, Serialize)]
pub struct ReferenceType {
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: &'static str,
    /// Its colour, without `#`.
    pub color: &'static str,
    /// The schema it belongs to; `None` is global.
    pub schema_id: Option<u32>,
}

/// An object that was created or changed since the start.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its id.
    pub id: u64,
    /// Its type's id.
    pub type_id: u32,
    /// Epoch ms.
    pub created: i64,
    /// Epoch ms.
    pub updated: i64,
    /// Values by attribute id; an attribute without values is absent.
    pub values: Vec<(u32, Vec<Value>)>,
}

impl Object {
    /// The values of an attribute, empty when it has none.
    pub fn get(&self, attribute: u32) -> &[Value] {
        self.values.iter().find(|(id, _)| *id == attribute).map_or(&[], |(_, values)| values)
    }

    /// Replaces the values of an attribute.
    pub fn set(&mut self, attribute: u32, values: Vec<Value>) {
        self.values.retain(|(id, _)| *id != attribute);
        if !values.is_empty() {
            self.values.push((attribute, values));
        }
    }
}
