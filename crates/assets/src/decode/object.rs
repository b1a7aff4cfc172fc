//! One object of a page into one row.

use std::cell::RefCell;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::member::{self, Member};
use super::scalar::{self, Scalar};
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
    fn definition(&self, id: i64) -> Option<&Definition> {
        self.page.and_then(|page| page.get(&id)).or_else(|| self.known.get(&id))
    }
}

/// Values of one attribute, reused from object to object.
type Scratch<'de> = Vec<Member<'de>>;

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

fn once<T, E: serde::de::Error>(slot: &mut Option<T>, value: T) -> Result<(), E> {
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

struct AttributesSeed<'c, 'a, 's, 'v, 'w, 'de> {
    cx: &'c Context<'a>,
    scratch: &'s mut Scratch<'de>,
    values: &'v mut [Value],
    whole: Option<&'w mut Whole<'c>>,
}

impl<'de> DeserializeSeed<'de> for AttributesSeed<'_, '_, '_, '_, '_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AttributesSeed<'_, '_, '_, '_, '_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of attributes")
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        loop {
            let seed = AttributeSeed {
                cx: self.cx,
                scratch: &mut *self.scratch,
                values: &mut *self.values,
                whole: self.whole.as_deref_mut(),
            };
            if seq.next_element_seed(seed)?.is_none() {
                return Ok(());
            }
        }
    }
}

struct AttributeSeed<'c, 'a, 's, 'v, 'w, 'de> {
    cx: &'c Context<'a>,
    scratch: &'s mut Scratch<'de>,
    values: &'v mut [Value],
    whole: Option<&'w mut Whole<'c>>,
}

impl<'de> DeserializeSeed<'de> for AttributeSeed<'_, '_, '_, '_, '_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum AttributeMember {
    ObjectTypeAttributeId,
    ObjectTypeAttribute,
    ObjectAttributeValues,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct Inlined<'a> {
    #[serde(default, borrow)]
    id: Scalar<'a>,
}

#[derive(Deserialize)]
#[serde(transparent, bound(deserialize = "'de: 'a"))]
struct InlinedMember<'a>(#[serde(borrow, deserialize_with = "member::object")] Option<Inlined<'a>>);

impl<'de> Visitor<'de> for AttributeSeed<'_, '_, '_, '_, '_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an attribute with `objectTypeAttributeId`")
    }
    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let at = self.cx.at;
        let mut id = None;
        let mut inlined = None;
        let mut read = false;
        let mut later: Option<&'de RawValue> = None;
        while let Some(name) = map.next_key()? {
            match name {
                AttributeMember::ObjectTypeAttributeId => {
                    at.member("attributes[].objectTypeAttributeId");
                    once(&mut id, attribute_id(&map.next_value()?)?)?;
                }
                AttributeMember::ObjectTypeAttribute => {
                    at.member("attributes[].objectTypeAttribute");
                    if let Some(definition) = map.next_value::<InlinedMember<'_>>()?.0
                        && !definition.id.is_none()
                    {
                        once(&mut inlined, attribute_id(&definition.id)?)?;
                    }
                }
                AttributeMember::ObjectAttributeValues => {
                    at.member("attributes[].objectAttributeValues");
                    if read || later.is_some() {
                        return Err(A::Error::custom("stands there twice"));
                    }
                    match id {
                        Some(id) if self.is_wanted(id) => {
                            map.next_value_seed(MembersSeed(self.scratch))?;
                            read = true;
                        }
                        Some(_) => {
                            map.next_value::<IgnoredAny>()?;
                            read = true;
                        }
                        // The id may stand behind the values.
                        None => later = Some(map.next_value()?),
                    }
                }
                AttributeMember::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        at.member("attributes[].objectTypeAttributeId");
        let id = id.or(inlined).ok_or_else(|| A::Error::custom("missing"))?;
        at.member("attributes[]");
        if !self.is_wanted(id) {
            return Ok(());
        }
        let mut seen = self.cx.seen.borrow_mut();
        if seen.contains(&id) {
            return Err(A::Error::custom(format_args!("attribute {id} stands there twice")));
        }
        seen.push(id);
        drop(seen);
        if let Some(raw) = later {
            let mut reader = serde_json::Deserializer::from_str(raw.get());
            MembersSeed(self.scratch).deserialize(&mut reader).map_err(A::Error::custom)?;
        } else if !read {
            self.scratch.clear();
        }
        self.place(id);
        at.member("attributes");
        Ok(())
    }
}

fn attribute_id<E: serde::de::Error>(scalar: &Scalar<'_>) -> Result<i64, E> {
    scalar.id().ok_or_else(|| E::custom(format_args!("not an attribute id: {}", scalar.brief())))
}

impl AttributeSeed<'_, '_, '_, '_, '_, '_> {
    fn is_wanted(&self, id: i64) -> bool {
        self.whole.is_some() || self.cx.layout.attributes.binary_search_by_key(&id, |w| w.id).is_ok()
    }

    /// The members just read into every column over this attribute.
    fn place(&mut self, id: i64) {
        let members: &[Member<'_>] = self.scratch;
        if let Some(whole) = self.whole.as_deref_mut() {
            whole.add(id, members);
        }
        let layout = self.cx.layout;
        let Ok(found) = layout.attributes.binary_search_by_key(&id, |w| w.id) else { return };
        for (i, part) in &layout.attributes[found].columns {
            let column = &layout.columns[*i];
            self.values[*i] = column_value(self.cx, id, column, *part, members);
        }
    }
}

fn column_value(
    cx: &Context<'_>,
    id: i64,
    column: &crate::value::ColumnSpec,
    part: crate::value::Part,
    members: &[Member<'_>],
) -> Value {
    use crate::value::{Decode, Part};
    let definition = if column.decode == Decode::Json { cx.definition(id) } else { None };
    let kind = definition.map(|d| d.kind);
    if column.decode == Decode::Json && part == Part::Value && !column.array {
        return match write_members(members, definition) {
            Some(Ok(json)) => Value::Json(json.into_boxed_str()),
            Some(Err(text)) => scalar::invalid(&text, scalar::HAS_NUL),
            None => Value::Null,
        };
    }
    let mut values =
        members.iter().map(|m| m.decode(part, column.decode, kind)).filter(|v| *v != Value::Null);
    if column.array {
        let mut list = Vec::with_capacity(members.len());
        for value in values {
            match value {
                Value::Invalid(_) => return value,
                value => list.push(value),
            }
        }
        return if list.is_empty() { Value::Null } else { Value::Array(list) };
    }
    match (values.next(), values.next()) {
        (None, _) => Value::Null,
        (Some(one), None) => one,
        (Some(_), Some(_)) => {
            let texts: Vec<_> = members.iter().map(|m| m.part(part).text()).collect();
            scalar::invalid(&texts.join(", "), "has several values, and the column takes one")
        }
    }
}

/// All values of an attribute as JSON: a list where it may have, or has, several. `Err` holds the
/// text that PostgreSQL could not hold.
fn write_members(members: &[Member<'_>], definition: Option<&Definition>) -> Option<Result<String, String>> {
    let kind = definition.map(|d| d.kind);
    let mut written = Vec::new();
    for member in members {
        let mut json = String::new();
        match member.write_json(kind, &mut json) {
            None => {}
            Some(true) => written.push(json),
            Some(false) => return Some(Err(member.part(crate::value::Part::Value).text().into_owned())),
        }
    }
    let multi = definition.is_some_and(|d| d.multi);
    match written.len() {
        0 => None,
        1 if !multi => written.pop().map(Ok),
        _ => Some(Ok(format!("[{}]", written.join(",")))),
    }
}

struct MembersSeed<'s, 'de>(&'s mut Scratch<'de>);

impl<'de> DeserializeSeed<'de> for MembersSeed<'_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.clear();
        deserializer.deserialize_any(self)
    }
}

#[derive(Deserialize)]
#[serde(transparent, bound(deserialize = "'de: 'a"))]
struct ListedMember<'a>(#[serde(borrow, deserialize_with = "member::object")] Option<Member<'a>>);

impl<'de> Visitor<'de> for MembersSeed<'_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of values")
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(ListedMember(member)) = seq.next_element()? {
            self.0.extend(member);
        }
        Ok(())
    }
}

/// Every attribute of an object, as one JSON object keyed by attribute name.
struct Whole<'c> {
    cx: &'c Context<'c>,
    json: String,
    names: Vec<String>,
    bad: Option<String>,
}

impl<'c> Whole<'c> {
    fn new(cx: &'c Context<'c>) -> Self {
        Self { cx, json: String::from("{"), names: Vec::new(), bad: None }
    }

    fn add(&mut self, id: i64, members: &[Member<'_>]) {
        let definition = self.cx.definition(id);
        let json = match write_members(members, definition) {
            None => return,
            Some(Ok(json)) => json,
            Some(Err(text)) => {
                self.bad = Some(text);
                return;
            }
        };
        let mut name = definition.map_or_else(|| id.to_string(), |d| d.name.to_string());
        if self.names.contains(&name) {
            // Two attributes of one name: both are kept.
            name = format!("{name} ({id})");
        }
        if self.json.len() > 1 {
            self.json.push(',');
        }
        if !scalar::write_json_text(&name, &mut self.json) {
            self.bad = Some(name.clone());
        }
        self.json.push(':');
        self.json.push_str(&json);
        self.names.push(name);
    }

    fn finish(mut self) -> Value {
        if let Some(text) = self.bad {
            return scalar::invalid(&text, scalar::HAS_NUL);
        }
        self.json.push('}');
        Value::Json(self.json.into_boxed_str())
    }
}
