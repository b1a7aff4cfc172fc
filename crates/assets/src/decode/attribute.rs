//! The attributes of one object into the columns that show them.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::member::{self, Member};
use super::object::{Context, Scratch, once};
use super::scalar::{self, Scalar};
use super::whole::{Whole, write_members};
use crate::value::Value;

pub(super) struct AttributesSeed<'c, 'a, 's, 'v, 'w, 'de> {
    pub(super) cx: &'c Context<'a>,
    pub(super) scratch: &'s mut Scratch<'de>,
    pub(super) values: &'v mut [Value],
    pub(super) whole: Option<&'w mut Whole<'c>>,
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
