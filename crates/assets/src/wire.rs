//! Metadata as the service sends it (assets-api.md 2.5, 3.2, 3.3), into the project's nouns.
//! Ids may be strings or numbers, lists bare or under `entries` or `values`.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::decode::scalar::Scalar;
use crate::model::{self, Kind};

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let scalar = Scalar::deserialize(deserializer)?;
    scalar.id().ok_or_else(|| serde::de::Error::custom(format_args!("not an id: {}", scalar.brief())))
}

fn optional_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Ok(Scalar::deserialize(deserializer)?.id())
}

fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let scalar = Scalar::deserialize(deserializer)?;
    match scalar.int() {
        None if !scalar.is_none() => {
            Err(serde::de::Error::custom(format_args!("not a whole number: {}", scalar.brief())))
        }
        number => Ok(number),
    }
}

fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Scalar::deserialize(deserializer)?.bool().unwrap_or(false))
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Scalar::deserialize(deserializer)?.text().replace('\0', "\u{fffd}"))
}

/// A page of `/objectschema/list`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SchemaPage {
    #[serde(alias = "objectschemas")]
    pub(crate) values: Vec<Schema>,
    #[serde(default)]
    is_last: serde_json::Value,
    #[serde(default)]
    last: serde_json::Value,
}

impl SchemaPage {
    pub(crate) fn says_last(&self) -> bool {
        [&self.is_last, &self.last].iter().any(|v| **v == true || **v == "true")
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Schema {
    #[serde(deserialize_with = "id")]
    id: i64,
    #[serde(default, deserialize_with = "text")]
    object_schema_key: String,
    #[serde(default, deserialize_with = "text")]
    name: String,
    #[serde(default, deserialize_with = "text")]
    description: String,
    #[serde(default, deserialize_with = "integer")]
    object_count: Option<i64>,
}

impl Schema {
    pub(crate) fn into_model(self) -> model::ObjectSchema {
        model::ObjectSchema {
            id: self.id,
            key: self.object_schema_key,
            name: self.name,
            description: self.description,
            object_count: self.object_count.and_then(|n| u64::try_from(n).ok()),
        }
    }
}

/// A list that some versions wrap (assets-api.md 13, last paragraph but one).
pub(crate) struct List<T>(Vec<T>);

impl<T> List<T> {
    pub(crate) fn into_vec(self) -> Vec<T> {
        self.0
    }
}

/// By hand, because an untagged enum would not say what is wrong inside the list.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = List<T>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list, bare or under `entries` or `values`")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element()? {
            list.push(item);
        }
        Ok(List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut list = None;
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            match &*name {
                "entries" | "values" if list.is_some() => {
                    return Err(A::Error::custom("the list stands there twice"));
                }
                "entries" | "values" => list = Some(map.next_value()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        list.map(List).ok_or_else(|| A::Error::missing_field("values"))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Type {
    #[serde(deserialize_with = "id")]
    id: i64,
    #[serde(default, deserialize_with = "text")]
    name: String,
    #[serde(default, deserialize_with = "text")]
    description: String,
    #[serde(deserialize_with = "id")]
    object_schema_id: i64,
    #[serde(default, deserialize_with = "optional_id")]
    parent_object_type_id: Option<i64>,
    #[serde(default, deserialize_with = "flag")]
    abstract_object_type: bool,
    #[serde(default, deserialize_with = "integer")]
    position: Option<i64>,
    #[serde(default, deserialize_with = "integer")]
    object_count: Option<i64>,
}

impl Type {
    /// `counted`: the request asked for counts; without, the service says 0.
    pub(crate) fn into_model(self, counted: bool) -> model::ObjectType {
        model::ObjectType {
            id: self.id,
            name: self.name,
            description: self.description,
            schema_id: self.object_schema_id,
            parent_id: self.parent_object_type_id,
            is_abstract: self.abstract_object_type,
            position: self.position.unwrap_or(0),
            object_count: self.object_count.filter(|_| counted).and_then(|n| u64::try_from(n).ok()),
        }
    }
}

/// A number that may be missing, or something else where nothing depends on it.
fn loose<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Ok(Scalar::deserialize(deserializer)?.int())
}

/// A type code. Another form than a number is a code that is not known.
fn code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let scalar = Scalar::deserialize(deserializer)?;
    Ok(if scalar.is_none() { None } else { Some(scalar.int().unwrap_or(UNKNOWN_CODE)) })
}

const UNKNOWN_CODE: i64 = i64::MAX;

/// `defaultType.id`, in whatever it stands.
fn default_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let said = serde_json::Value::deserialize(deserializer)?;
    if said.is_null() {
        return Ok(None);
    }
    let id = said.get("id").and_then(|id| match id {
        serde_json::Value::String(text) => text.trim().parse().ok(),
        other => other.as_i64(),
    });
    Ok(Some(id.unwrap_or(UNKNOWN_CODE)))
}

/// One definition that says of itself what nobody expected must not be in the way of the others: only its id has
/// to be one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Attribute {
    #[serde(deserialize_with = "id")]
    id: i64,
    #[serde(default, deserialize_with = "text")]
    name: String,
    #[serde(default, deserialize_with = "text")]
    description: String,
    #[serde(rename = "type", default, deserialize_with = "code")]
    code: Option<i64>,
    #[serde(default, deserialize_with = "default_type")]
    default_type: Option<i64>,
    #[serde(default, deserialize_with = "loose")]
    maximum_cardinality: Option<i64>,
    #[serde(default, deserialize_with = "flag")]
    label: bool,
    #[serde(default, deserialize_with = "flag")]
    system: bool,
    #[serde(default, deserialize_with = "flag")]
    hidden: bool,
    #[serde(default, deserialize_with = "flag")]
    unique_attribute: bool,
    #[serde(default, deserialize_with = "loose")]
    position: Option<i64>,
    #[serde(default, deserialize_with = "optional_id")]
    reference_object_type_id: Option<i64>,
    #[serde(default)]
    reference_object_type: serde_json::Value,
    #[serde(default, deserialize_with = "text")]
    options: String,
    #[serde(default)]
    type_value_multi: serde_json::Value,
}

impl Attribute {
    pub(crate) fn into_model(self) -> model::Attribute {
        let kind = kind(self.code, self.default_type);
        model::Attribute {
            id: self.id,
            name: self.name,
            description: self.description,
            kind,
            multi: self.maximum_cardinality.unwrap_or(1) != 1,
            label: self.label,
            system: self.system,
            hidden: self.hidden,
            unique: self.unique_attribute,
            position: self.position.unwrap_or(0),
            reference_type_id: self.reference_object_type_id,
            reference_schema_id: number(&self.reference_object_type["objectSchemaId"]),
            options: self
                .options
                .split(',')
                .map(str::trim)
                .filter(|o| !o.is_empty())
                .map(str::to_owned)
                .collect(),
            statuses: match (kind, self.type_value_multi) {
                (Kind::Status, serde_json::Value::Array(ids)) => ids.iter().filter_map(number).collect(),
                _ => Vec::new(),
            },
        }
    }
}

/// A status.
#[derive(Deserialize)]
pub(crate) struct Status {
    #[serde(deserialize_with = "id")]
    id: i64,
    #[serde(default, deserialize_with = "text")]
    name: String,
}

impl Status {
    pub(crate) fn into_model(self) -> model::Status {
        model::Status { id: self.id, name: self.name }
    }
}

/// An id in something whose shape does not matter otherwise.
fn number(value: &serde_json::Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// `type` and `defaultType.id` (assets-api.md 3.3); `type` may be missing on the plain kinds.
fn kind(code: Option<i64>, default: Option<i64>) -> Kind {
    match (code.unwrap_or(0), default) {
        (0, None | Some(-1 | 0)) => Kind::Text,
        (0, Some(1)) => Kind::Integer,
        (0, Some(2)) => Kind::Boolean,
        (0, Some(3)) => Kind::Double,
        (0, Some(4)) => Kind::Date,
        (0, Some(5)) => Kind::Time,
        (0, Some(6)) => Kind::DateTime,
        (0, Some(7)) => Kind::Url,
        (0, Some(8)) => Kind::Email,
        (0, Some(9)) => Kind::Textarea,
        (0, Some(10)) => Kind::Select,
        (0, Some(11)) => Kind::IpAddress,
        (1, _) => Kind::Object,
        (2, _) => Kind::User,
        (3, _) => Kind::Confluence,
        (4, _) => Kind::Group,
        (5, _) => Kind::Version,
        (6, _) => Kind::Project,
        (7, _) => Kind::Status,
        _ => Kind::Unknown,
    }
}
