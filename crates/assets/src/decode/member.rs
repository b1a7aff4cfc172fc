//! One entry of `objectAttributeValues` (assets-api.md 3.4), and the parts of it that columns
//! show.

use super::json::{Read, Reader, twice};
use super::scalar::{self, Scalar};
use crate::model::Kind;
use crate::value::{Decode, Part, Value};

/// One value of an attribute. Whatever is not named here (avatars, links, icons) is skipped
/// without being read.
#[derive(Debug, Default)]
pub(super) struct Member<'a> {
    value: Scalar<'a>,
    display_value: Scalar<'a>,
    search_value: Scalar<'a>,
    referenced_type: Scalar<'a>,
    referenced_object: Option<Reference<'a>>,
    user: Option<User<'a>>,
    group: Option<Group<'a>>,
    status: Option<Status<'a>>,
}

#[derive(Debug)]
struct Reference<'a> {
    id: Scalar<'a>,
    label: Scalar<'a>,
    object_key: Scalar<'a>,
}

#[derive(Debug)]
struct User<'a> {
    display_name: Scalar<'a>,
    name: Scalar<'a>,
    key: Scalar<'a>,
    account_id: Scalar<'a>,
    email_address: Scalar<'a>,
}

#[derive(Debug)]
struct Group<'a> {
    name: Scalar<'a>,
}

#[derive(Debug)]
struct Status<'a> {
    id: Scalar<'a>,
    name: Scalar<'a>,
    category: Scalar<'a>,
}

/// The members that are read.
const NAMES: [&str; 8] =
    ["value", "displayValue", "searchValue", "referencedType", "referencedObject", "user", "group", "status"];

static NOTHING: Scalar<'static> = Scalar::Null;

impl<'a> Member<'a> {
    /// Reads the entry that is next; `None` for null.
    pub(super) fn read(reader: &mut Reader<'a>) -> Read<Option<Self>> {
        if reader.null()? {
            return Ok(None);
        }
        reader.object("an object or null")?;
        let mut member = Self::default();
        let mut met = [false; NAMES.len()];
        while let Some(name) = reader.member()? {
            let Some(which) = NAMES.iter().position(|known| known.as_bytes() == &*name) else {
                reader.skip()?;
                continue;
            };
            if std::mem::replace(&mut met[which], true) {
                return Err(twice(NAMES[which]));
            }
            match NAMES[which] {
                "value" => member.value = reader.scalar()?,
                "displayValue" => member.display_value = reader.scalar()?,
                "searchValue" => member.search_value = reader.scalar()?,
                "referencedType" => member.referenced_type = reader.scalar()?,
                "referencedObject" => {
                    let found = reader.fields(["id", "label", "objectKey"])?;
                    member.referenced_object =
                        found.map(|[id, label, object_key]| Reference { id, label, object_key });
                }
                "user" => {
                    let names = ["displayName", "name", "key", "accountId", "emailAddress"];
                    let found = reader.fields(names)?;
                    member.user = found.map(|[display_name, name, key, account_id, email_address]| User {
                        display_name,
                        name,
                        key,
                        account_id,
                        email_address,
                    });
                }
                "group" => member.group = reader.fields(["name"])?.map(|[name]| Group { name }),
                _ => {
                    let found = reader.fields(["id", "name", "category"])?;
                    member.status = found.map(|[id, name, category]| Status { id, name, category });
                }
            }
        }
        Ok(Some(member))
    }

    /// The column's value of this member.
    pub(super) fn decode(&self, part: Part, decode: Decode, kind: Option<Kind>) -> Value {
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
    pub(super) fn part(&self, part: Part) -> &Scalar<'a> {
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
    pub(super) fn write_json(&self, kind: Option<Kind>, out: &mut String) -> Option<bool> {
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
