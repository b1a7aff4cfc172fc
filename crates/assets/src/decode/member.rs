//! One entry of `objectAttributeValues` (assets-api.md 3.4), and the parts of it that columns
//! show.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::scalar::{self, Scalar};
use crate::model::Kind;
use crate::value::{Decode, Part, Value};

/// One value of an attribute. Whatever is not named here (avatars, links, icons) is skipped
/// without being read.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(crate) struct Member<'a> {
    #[serde(default, borrow)]
    value: Scalar<'a>,
    #[serde(default, borrow)]
    display_value: Scalar<'a>,
    #[serde(default, borrow)]
    search_value: Scalar<'a>,
    #[serde(default, borrow)]
    referenced_type: Scalar<'a>,
    #[serde(default, borrow, deserialize_with = "object")]
    referenced_object: Option<Reference<'a>>,
    #[serde(default, borrow, deserialize_with = "object")]
    user: Option<User<'a>>,
    #[serde(default, borrow, deserialize_with = "object")]
    group: Option<Group<'a>>,
    #[serde(default, borrow, deserialize_with = "object")]
    status: Option<Status<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct Reference<'a> {
    #[serde(default, borrow)]
    id: Scalar<'a>,
    #[serde(default, borrow)]
    label: Scalar<'a>,
    #[serde(default, borrow)]
    object_key: Scalar<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct User<'a> {
    #[serde(default, borrow)]
    display_name: Scalar<'a>,
    #[serde(default, borrow)]
    name: Scalar<'a>,
    #[serde(default, borrow)]
    key: Scalar<'a>,
    #[serde(default, borrow)]
    account_id: Scalar<'a>,
    #[serde(default, borrow)]
    email_address: Scalar<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct Group<'a> {
    #[serde(default, borrow)]
    name: Scalar<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct Status<'a> {
    #[serde(default, borrow)]
    id: Scalar<'a>,
    #[serde(default, borrow)]
    name: Scalar<'a>,
    #[serde(default, borrow)]
    category: Scalar<'a>,
}

static NOTHING: Scalar<'static> = Scalar::Null;

impl<'a> Member<'a> {
    /// The column's value of this member.
    pub(crate) fn decode(&self, part: Part, decode: Decode, kind: Option<Kind>) -> Value {
        match decode {
            Decode::Json if part == Part::Value => self.json(kind),
            Decode::Text | Decode::Json => self.part(part).decode(decode),
            _ => self.typed(part, decode),
        }
    }

    /// Numbers, booleans and moments are never read from `displayValue`, which is for people and
    /// formatted for the token's owner.
    fn typed(&self, part: Part, decode: Decode) -> Value {
        if part != Part::Value || self.has_object() {
            return self.part(part).decode(decode);
        }
        match first([&self.value, &self.search_value]) {
            Some(scalar) => scalar.decode(decode),
            None => match self.display_value.some() {
                Some(shown) => scalar::invalid(&shown.text(), "is only a display value, which is not parsed"),
                None => Value::Null,
            },
        }
    }

    fn has_object(&self) -> bool {
        self.referenced_object.is_some()
            || self.user.is_some()
            || self.group.is_some()
            || self.status.is_some()
    }

    fn is_reference(&self) -> bool {
        self.referenced_object.is_some() || self.referenced_type.bool() == Some(true)
    }

    /// A part as the service wrote it, in the order typed sub-object, `value`, `searchValue`,
    /// `displayValue` (assets-api.md 3.4). A reference without its object shows its label in
    /// `displayValue` and its key in `searchValue`.
    pub(crate) fn part(&self, part: Part) -> &Scalar<'a> {
        let plain = || first([&self.value, &self.search_value, &self.display_value]);
        let found = match part {
            Part::Value => self.typed_name().or_else(|| {
                if self.is_reference() { self.display_value.some().or_else(plain) } else { plain() }
            }),
            Part::Label => {
                let label = self.referenced_object.as_ref().and_then(|object| object.label.some());
                label.or_else(|| {
                    if self.is_reference() {
                        self.display_value.some()
                    } else {
                        self.typed_name().or_else(plain)
                    }
                })
            }
            Part::Key => {
                let key = self.referenced_object.as_ref().and_then(|object| object.object_key.some());
                key.or_else(|| first([&self.search_value, &self.value]))
            }
            Part::Id => {
                if let Some(object) = &self.referenced_object {
                    object.id.some()
                } else if let Some(status) = &self.status {
                    status.id.some().or_else(|| self.search_value.some())
                } else {
                    None
                }
            }
            Part::Name => self.typed_name().or_else(|| first([&self.display_value, &self.value])),
            Part::AccountId => {
                let id = self.user.as_ref().and_then(|user| first([&user.key, &user.account_id]));
                id.or_else(|| first([&self.value, &self.search_value]))
            }
            Part::Email => self.user.as_ref().and_then(|user| user.email_address.some()),
            Part::Category => self.status.as_ref().and_then(|status| status.category.some()),
        };
        found.unwrap_or(&NOTHING)
    }

    fn typed_name(&self) -> Option<&Scalar<'a>> {
        if let Some(object) = &self.referenced_object {
            return object.label.some();
        }
        if let Some(user) = &self.user {
            return first([&user.display_name, &user.name]);
        }
        if let Some(group) = &self.group {
            return group.name.some();
        }
        self.status.as_ref().and_then(|status| status.name.some())
    }

    fn json(&self, kind: Option<Kind>) -> Value {
        let mut out = String::new();
        match self.write_json(kind, &mut out) {
            Some(true) => Value::Json(out.into_boxed_str()),
            Some(false) => scalar::invalid(&self.part(Part::Value).text(), scalar::HAS_NUL),
            None => Value::Null,
        }
    }

    /// Writes it as JSON: `None` when there is nothing, `Some(false)` when PostgreSQL could not
    /// hold it. Never an avatar, a media token or an icon: only what is named here.
    pub(crate) fn write_json(&self, kind: Option<Kind>, out: &mut String) -> Option<bool> {
        if self.is_reference() {
            let id = self.part(Part::Id);
            return Some(write_object(
                &[("id", id), ("key", self.part(Part::Key)), ("label", self.part(Part::Label))],
                out,
            ));
        }
        if self.user.is_some() {
            return Some(write_object(
                &[
                    ("account_id", self.part(Part::AccountId)),
                    ("name", self.part(Part::Name)),
                    ("email", self.part(Part::Email)),
                ],
                out,
            ));
        }
        if self.status.is_some() {
            return Some(write_object(
                &[
                    ("id", self.part(Part::Id)),
                    ("name", self.part(Part::Name)),
                    ("category", self.part(Part::Category)),
                ],
                out,
            ));
        }
        if self.group.is_some() {
            return Some(write_object(&[("name", self.part(Part::Name))], out));
        }
        let plain = self.part(Part::Value).some()?;
        Some(match kind {
            Some(Kind::Integer) if plain.int().is_some() => {
                push_int(plain, out);
                true
            }
            Some(Kind::Double) if plain.double().is_some() => {
                scalar::push_json_double(plain.double().unwrap_or_default(), out);
                true
            }
            Some(Kind::Boolean) if plain.bool().is_some() => {
                out.push_str(if plain.bool() == Some(true) { "true" } else { "false" });
                true
            }
            _ => plain.write_json(out),
        })
    }
}

fn push_int(plain: &Scalar<'_>, out: &mut String) {
    out.push_str(&plain.int().unwrap_or_default().to_string());
}

/// Ids and categories become numbers where they are, so that they join with `id` columns.
fn write_object(members: &[(&str, &Scalar<'_>)], out: &mut String) -> bool {
    let mut whole = true;
    for (i, (name, scalar)) in members.iter().enumerate() {
        out.push(if i == 0 { '{' } else { ',' });
        out.push('"');
        out.push_str(name);
        out.push_str("\":");
        whole &= match (*name, scalar.int()) {
            ("id" | "category", Some(_)) => {
                push_int(scalar, out);
                true
            }
            _ if scalar.is_none() => Scalar::Null.write_json(out),
            _ => scalar::write_json_text(&scalar.text(), out),
        };
    }
    out.push('}');
    whole
}

fn first<'s, 'a, const N: usize>(candidates: [&'s Scalar<'a>; N]) -> Option<&'s Scalar<'a>> {
    candidates.into_iter().find(|scalar| !scalar.is_none())
}

/// Reads a JSON object or null. What serde derives would also take a list for a struct, which
/// would read a wrong shape as an empty one.
pub(crate) fn object<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct ObjectVisitor<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
        type Value = Option<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object or null")
        }
        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }
    deserializer.deserialize_any(ObjectVisitor(PhantomData))
}
