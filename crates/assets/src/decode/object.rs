//! One object of a page into one row.

use std::cell::RefCell;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::attribute::AttributesSeed;
use super::member::{self, Member};
use super::scalar::Scalar;
use super::whole::Whole;
use super::{Definition, Definitions, Layout, Place};
use crate::value::{Field, Row, Value};

/// What reading an object needs to know.
pub(super) struct Context<'a> {
    pub(super) layout: &'a Layout,
    pub(super) at: &'a Place,
    pub(super) page: Option<&'a Definitions>,
    pub(super) known: &'a Definitions,
    /// Attribute ids met in the object that is being read.
    pub(super) seen: RefCell<Vec<i64>>,
}

impl Context<'_> {
    pub(super) fn definition(&self, id: i64) -> Option<&Definition> {
        self.page.and_then(|page| page.get(&id)).or_else(|| self.known.get(&id))
    }
}

/// Values of one attribute, reused from object to object.
pub(super) type Scratch<'de> = Vec<Member<'de>>;

pub(super) struct ObjectSeed<'c, 'a, 's, 'de> {
    pub(super) cx: &'c Context<'a>,
    pub(super) scratch: &'s mut Scratch<'de>,
}

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_, '_, '_, 'de> {
    type Value = (Row, usize);
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum ObjectMember {
    Id,
    ObjectKey,
    Label,
    ObjectType,
    Created,
    Updated,
    Attributes,
    #[serde(other)]
    Other,
}

#[derive(Default, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct TypeName<'a> {
    #[serde(default, borrow)]
    id: Scalar<'a>,
    #[serde(default, borrow)]
    name: Scalar<'a>,
}

/// A wrapper so that a type may be given as an object only.
#[derive(Deserialize)]
#[serde(transparent, bound(deserialize = "'de: 'a"))]
struct TypeMember<'a>(#[serde(borrow, deserialize_with = "member::object")] Option<TypeName<'a>>);

#[derive(Default)]
struct Fixed<'de> {
    id: Option<i64>,
    key: Option<Scalar<'de>>,
    label: Option<Scalar<'de>>,
    object_type: Option<Scalar<'de>>,
    object_type_id: Option<Scalar<'de>>,
    created: Option<Scalar<'de>>,
    updated: Option<Scalar<'de>>,
}

impl<'de> Visitor<'de> for ObjectSeed<'_, '_, '_, 'de> {
    type Value = (Row, usize);
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `id` and `objectKey`")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let cx = self.cx;
        let mut fixed = Fixed::default();
        let mut values = vec![Value::Null; cx.layout.columns.len()];
        let mut whole = cx.layout.whole.then(|| Whole::new(cx));
        let mut attributes = false;
        cx.seen.borrow_mut().clear();
        while let Some(name) = map.next_key()? {
            match name {
                ObjectMember::Id => {
                    cx.at.member("id");
                    let scalar = map.next_value::<Scalar<'_>>()?;
                    let id = scalar.id().ok_or_else(|| {
                        A::Error::custom(format_args!("not an object id: {}", scalar.brief()))
                    })?;
                    once::<_, A::Error>(&mut fixed.id, id)?;
                }
                ObjectMember::ObjectKey => {
                    cx.at.member("objectKey");
                    once(&mut fixed.key, map.next_value()?)?;
                }
                ObjectMember::Label if cx.layout.wants(Field::Label) => {
                    cx.at.member("label");
                    once(&mut fixed.label, map.next_value()?)?;
                }
                ObjectMember::ObjectType
                    if cx.layout.wants(Field::ObjectType) || cx.layout.wants(Field::ObjectTypeId) =>
                {
                    cx.at.member("objectType");
                    let named = map.next_value::<TypeMember<'_>>()?.0.unwrap_or_default();
                    once(&mut fixed.object_type, named.name)?;
                    fixed.object_type_id = Some(named.id);
                }
                ObjectMember::Created if cx.layout.wants(Field::Created) => {
                    cx.at.member("created");
                    once(&mut fixed.created, map.next_value()?)?;
                }
                ObjectMember::Updated if cx.layout.wants(Field::Updated) => {
                    cx.at.member("updated");
                    once(&mut fixed.updated, map.next_value()?)?;
                }
                ObjectMember::Attributes if cx.layout.needs_attributes() => {
                    cx.at.member("attributes");
                    if std::mem::replace(&mut attributes, true) {
                        return Err(A::Error::custom("stands there twice"));
                    }
                    map.next_value_seed(AttributesSeed {
                        cx,
                        scratch: &mut *self.scratch,
                        values: &mut values,
                        whole: whole.as_mut(),
                    })?;
                }
                _ => {
                    cx.at.member("");
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        cx.at.member("");
        let id = fixed.id.ok_or_else(|| A::Error::missing_field("id"))?;
        cx.at.member("objectKey");
        let key = match &fixed.key {
            Some(Scalar::Text(text)) if !text.is_empty() => text,
            _ => return Err(A::Error::custom("missing, or not text")),
        };
        if key.bytes().any(|b| b < 0x20) {
            return Err(A::Error::custom("holds a control character"));
        }
        let key: Box<str> = key.as_ref().into();
        if cx.layout.needs_attributes() && !attributes {
            cx.at.member("attributes");
            return Err(A::Error::custom("missing, although attributes were asked for"));
        }
        cx.at.member("");
        fixed.place(cx, id, &key, whole, &mut values);
        let heap = key.len() + values.len() * size_of::<Value>() + values.iter().map(heap_of).sum::<usize>();
        Ok((Row { id, key, values }, heap + size_of::<Row>()))
    }
}

pub(super) fn once<T, E: serde::de::Error>(slot: &mut Option<T>, value: T) -> Result<(), E> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::custom("stands there twice")),
    }
}

impl Fixed<'_> {
    /// The fixed parts into their columns.
    fn place(&self, cx: &Context<'_>, id: i64, key: &str, whole: Option<Whole<'_>>, values: &mut [Value]) {
        let mut whole = whole.map(Whole::finish);
        let read = |scalar: &Option<Scalar<'_>>, decode| match scalar {
            Some(scalar) => scalar.decode(decode),
            None => Value::Null,
        };
        for (i, field) in &cx.layout.fields {
            let column = &cx.layout.columns[*i];
            let value = match field {
                Field::Id => Scalar::Int(id).decode(column.decode),
                Field::Key => Scalar::Text(key.into()).decode(column.decode),
                Field::Label => read(&self.label, column.decode),
                Field::ObjectType => read(&self.object_type, column.decode),
                Field::ObjectTypeId => match self.object_type_id.as_ref().and_then(Scalar::id) {
                    Some(id) => Value::Int(id),
                    None => Value::Null,
                },
                Field::Created => read(&self.created, column.decode),
                Field::Updated => read(&self.updated, column.decode),
                Field::Url => match &cx.layout.site {
                    Some(site) => Scalar::Text(format!("{site}/jira/servicedesk/assets/object/{id}").into())
                        .decode(column.decode),
                    None => Value::Null,
                },
                Field::Attributes => whole.clone().unwrap_or(Value::Null),
            };
            values[*i] = if column.array { listed(value) } else { value };
        }
        whole.take();
    }
}

fn listed(value: Value) -> Value {
    match value {
        Value::Null | Value::Invalid(_) => value,
        one => Value::Array(vec![one]),
    }
}

fn heap_of(value: &Value) -> usize {
    match value {
        Value::Text(text) | Value::Json(text) => text.len(),
        Value::Array(list) => list.len() * size_of::<Value>() + list.iter().map(heap_of).sum::<usize>(),
        Value::Invalid(invalid) => invalid.text.len() + invalid.why.len(),
        _ => 0,
    }
}
