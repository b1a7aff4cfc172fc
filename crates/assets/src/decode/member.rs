//! One entry of `objectAttributeValues` (assets-api.md 3.4), and the parts of it that columns
//! show.

use super::json::{Members, Read, Reader, told};
use super::scalar::{self, Scalar};
use crate::model::Kind;
use crate::value::{Decode, Part, Value};

/// One value of an attribute. Whatever is not named here (avatars, links, icons) is skipped
/// without being read.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Member<'a> {
    value: Scalar<'a>,
    display_value: Scalar<'a>,
    search_value: Scalar<'a>,
    referenced_type: Scalar<'a>,
    referenced_object: Option<Reference<'a>>,
    user: Option<User<'a>>,
    group: Option<Group<'a>>,
    status: Option<Status<'a>>,
    /// What stands where one of the sub-objects should: shown where nothing else is there.
    odd: Scalar<'a>,
    /// Set where the value contradicts itself: no part of it can be told.
    torn: Option<Scalar<'a>>,
}

#[derive(Debug, PartialEq)]
struct Reference<'a> {
    id: Scalar<'a>,
    label: Scalar<'a>,
    object_key: Scalar<'a>,
}

#[derive(Debug, PartialEq)]
struct User<'a> {
    display_name: Scalar<'a>,
    name: Scalar<'a>,
    key: Scalar<'a>,
    account_id: Scalar<'a>,
    email_address: Scalar<'a>,
}

#[derive(Debug, PartialEq)]
struct Group<'a> {
    name: Scalar<'a>,
}

#[derive(Debug, PartialEq)]
struct Status<'a> {
    id: Scalar<'a>,
    name: Scalar<'a>,
    category: Scalar<'a>,
}

/// The members that are read.
const NAMES: [&str; 8] =
    ["value", "displayValue", "searchValue", "referencedType", "referencedObject", "user", "group", "status"];

static NOTHING: Scalar<'static> = Scalar::Null;
static NO_NAME: Scalar<'static> =
    Scalar::Untold("is an id alone: the service does not tell the name of the status");

/// Whether values of this kind are things with an identity of their own, of which a column shows a part.
///
/// Of such a value the specification's examples have a typed sub-object (assets-api.md 3.4), and what one client
/// saw live has none (14, go-atlassian issue 406). Then `displayValue` is the name or the label (13: a status's is
/// set; 14: a reference's label) and comes before `value` and `searchValue`, which hold ids: a status's (13), a
/// user's account id (3.4, 13), an object's key in `searchValue` and its id in `value` (14). A plain value is the
/// other way round: `value` is what is stored, and `displayValue` is formatted for the reader (8).
fn is_thing(kind: Option<Kind>) -> bool {
    matches!(
        kind,
        Some(
            Kind::Object
                | Kind::User
                | Kind::Group
                | Kind::Status
                | Kind::Project
                | Kind::Version
                | Kind::Confluence
        )
    )
}

impl<'a> Member<'a> {
    /// Reads the entry that is next; `None` for null.
    pub(super) fn read(reader: &mut Reader<'a>) -> Read<Option<Self>> {
        if reader.null()? {
            return Ok(None);
        }
        let mut member = Self::default();
        if !reader.is_object()? {
            member.value = reader.any()?;
            return Ok(Some(member));
        }
        reader.object("an object")?;
        let mut met: [Option<Scalar<'a>>; 4] = Default::default();
        while let Some(name) = reader.member()? {
            let Some(which) = NAMES.iter().position(|known| known.as_bytes() == &*name) else {
                reader.skip()?;
                continue;
            };
            match NAMES[which] {
                "value" | "displayValue" | "searchValue" | "referencedType" => {
                    told(&mut met[which], reader.any()?);
                }
                "referencedObject" => {
                    let found = member.part_of(reader.fields(["id", "label", "objectKey"])?);
                    let found = found.map(|[id, label, object_key]| Reference { id, label, object_key });
                    let before = member.referenced_object.take();
                    member.referenced_object = member.once(before, found);
                }
                "user" => {
                    let names = ["displayName", "name", "key", "accountId", "emailAddress"];
                    let found = member.part_of(reader.fields(names)?);
                    let found = found.map(|[display_name, name, key, account_id, email_address]| User {
                        display_name,
                        name,
                        key,
                        account_id,
                        email_address,
                    });
                    let before = member.user.take();
                    member.user = member.once(before, found);
                }
                "group" => {
                    let found = member.part_of(reader.fields(["name"])?).map(|[name]| Group { name });
                    let before = member.group.take();
                    member.group = member.once(before, found);
                }
                _ => {
                    let found = member.part_of(reader.fields(["id", "name", "category"])?);
                    let found = found.map(|[id, name, category]| Status { id, name, category });
                    let before = member.status.take();
                    member.status = member.once(before, found);
                }
            }
        }
        let [value, display, search, referenced] = met.map(Option::unwrap_or_default);
        member.value = value;
        member.display_value = display;
        member.search_value = search;
        member.referenced_type = referenced;
        Ok(Some(member))
    }

    /// The members of a sub-object. Another shape in its place says what it says.
    fn part_of<const N: usize>(&mut self, members: Members<'a, N>) -> Option<[Scalar<'a>; N]> {
        match members {
            Members::Null => None,
            Members::Read(members) => Some(members),
            Members::Other(other) => {
                if !matches!(other, Scalar::Shape("[]")) {
                    self.odd = other;
                }
                None
            }
        }
    }

    /// A sub-object that stands there twice and says two things makes the value one that cannot be told.
    fn once<T: PartialEq>(&mut self, before: Option<T>, now: Option<T>) -> Option<T> {
        if before.is_some() && before != now {
            let text = self.display_value.text().into_owned();
            self.torn = Some(Scalar::Bad(Box::new((text, "stands there twice, with two meanings"))));
        }
        now.or(before)
    }

    /// The column's value of this member.
    pub(super) fn decode(&self, part: Part, decode: Decode, kind: Option<Kind>) -> Value {
        match decode {
            Decode::Json if part == Part::Value => self.json(kind),
            Decode::Text | Decode::Json => self.part(part, kind).decode(decode),
            _ => self.typed(part, decode, kind),
        }
    }

    /// Numbers, booleans and moments are never read from `displayValue`, which is for people and
    /// formatted for the token's owner.
    fn typed(&self, part: Part, decode: Decode, kind: Option<Kind>) -> Value {
        if part != Part::Value || self.has_object() || self.torn.is_some() {
            return self.part(part, kind).decode(decode);
        }
        match first([&self.value, &self.search_value]) {
            Some(scalar) => scalar.decode(decode),
            None => match self.display_value.some() {
                Some(shown) => scalar::invalid(&shown.text(), "is only a display value, which is not parsed"),
                None => self.odd.decode(decode),
            },
        }
    }

    fn has_object(&self) -> bool {
        self.referenced_object.is_some()
            || self.user.is_some()
            || self.group.is_some()
            || self.status.is_some()
    }

    fn is_reference(&self, kind: Option<Kind>) -> bool {
        self.referenced_object.is_some()
            || self.referenced_type.bool() == Some(true)
            || (kind == Some(Kind::Object) && !self.has_object())
    }

    /// Whether it is a thing of which parts are shown, even where none of them is told.
    pub(super) fn is_thing(&self, kind: Option<Kind>) -> bool {
        is_thing(kind) || self.has_object() || self.is_reference(kind)
    }

    /// Whether there is anything at all: an attribute without a value may have one that is empty.
    pub(super) fn is_there(&self) -> bool {
        self.has_object()
            || self.torn.is_some()
            || self.referenced_type.bool() == Some(true)
            || first([&self.value, &self.search_value, &self.display_value, &self.odd]).is_some()
    }

    /// A part as the service wrote it, in the order typed sub-object, `value`, `searchValue`,
    /// `displayValue` (assets-api.md 3.4); of things as [`is_thing`] says.
    pub(super) fn part(&self, part: Part, kind: Option<Kind>) -> &Scalar<'a> {
        if let Some(torn) = &self.torn {
            return torn;
        }
        let plain = || first([&self.value, &self.search_value, &self.display_value, &self.odd]);
        let name = || self.typed_name().or_else(|| self.display_value.some());
        let found = match part {
            Part::Value | Part::Name | Part::Label if self.is_thing(kind) => {
                name().or_else(|| self.unnamed(kind))
            }
            Part::Value | Part::Label => self.typed_name().or_else(plain),
            Part::Name => name().or_else(plain),
            Part::Key => {
                let key = self.referenced_object.as_ref().and_then(|object| object.object_key.some());
                key.or_else(|| self.ids().find(|id| is_key(id))).or_else(|| self.ids().next())
            }
            Part::Id => {
                if let Some(object) = &self.referenced_object {
                    object.id.some().or_else(|| self.numbers().next())
                } else if let Some(status) = &self.status {
                    status.id.some().or_else(|| self.numbers().next())
                } else if self.is_reference(kind) || kind == Some(Kind::Status) {
                    self.numbers().next()
                } else {
                    None
                }
            }
            Part::AccountId => {
                let id = self.user.as_ref().and_then(|user| first([&user.key, &user.account_id]));
                // A name is no account id, unless there is nothing else: a deleted person's may be shown as one.
                let other = || self.plain_ids().find(|id| **id != self.display_value);
                id.or_else(other).or_else(|| self.plain_ids().next())
            }
            Part::Email => self.user.as_ref().and_then(|user| user.email_address.some()),
            Part::Category => self.status.as_ref().and_then(|status| status.category.some()),
        };
        found.unwrap_or(&NOTHING)
    }

    /// What stands for the name of a thing whose name is not told. The id of a status does not: a condition by name
    /// finds the object, and would then be checked against the id.
    fn unnamed(&self, kind: Option<Kind>) -> Option<&Scalar<'a>> {
        let status = self.status.is_some() || kind == Some(Kind::Status);
        let found = first([&self.value, &self.search_value, &self.odd]);
        match found {
            Some(id) if status && id.id().is_some() => Some(&NO_NAME),
            None if self.status.as_ref().is_some_and(|status| !status.id.is_none()) => Some(&NO_NAME),
            found => found,
        }
    }

    /// What may hold an object's key: documented, then seen (assets-api.md 3.4, 14).
    fn ids(&self) -> impl Iterator<Item = &Scalar<'a>> {
        [&self.search_value, &self.value].into_iter().filter(|scalar| !scalar.is_none())
    }

    /// What may hold an account id.
    fn plain_ids(&self) -> impl Iterator<Item = &Scalar<'a>> {
        [&self.value, &self.search_value].into_iter().filter(|scalar| !scalar.is_none())
    }

    fn numbers(&self) -> impl Iterator<Item = &Scalar<'a>> {
        self.ids().filter(|scalar| scalar.id().is_some())
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
            Some(Ok(())) => Value::Json(out.into_boxed_str()),
            Some(Err(bad)) => bad,
            None => Value::Null,
        }
    }

    /// Writes it as JSON: `None` when there is nothing, an error with the value that PostgreSQL could not hold.
    /// Never an avatar, a media token or an icon: only what is named here.
    pub(super) fn write_json(&self, kind: Option<Kind>, out: &mut String) -> Option<Result<(), Value>> {
        match self.parts(kind)? {
            Parts::Several(members) => Some(self.write_parts(kind, members, out)),
            Parts::Plain(plain) => Some(match plain.decode(Decode::Json) {
                bad @ Value::Invalid(_) => Err(bad),
                _ => {
                    if !write_typed(plain, kind, out) {
                        plain.write_json(out);
                    }
                    Ok(())
                }
            }),
        }
    }

    /// The same in any case: what PostgreSQL cannot hold is replaced (docs: `attributes`). False when there is
    /// nothing.
    pub(super) fn write_json_anyhow(&self, kind: Option<Kind>, out: &mut String) -> bool {
        match self.parts(kind) {
            None => return false,
            Some(Parts::Several(members)) => {
                write_object(&members.map(|(name, part)| (name, self.part(part, kind))), out)
            }
            Some(Parts::Plain(plain)) => {
                if !write_typed(plain, kind, out) {
                    plain.write_json_anyhow(out);
                }
            }
        }
        true
    }

    /// What it is as JSON.
    fn parts(&self, kind: Option<Kind>) -> Option<Parts<'_, 'a>> {
        if !self.is_there() {
            return None;
        }
        let typed = self.has_object();
        Some(if self.is_reference(kind) {
            Parts::Several([("id", Part::Id), ("key", Part::Key), ("label", Part::Label)])
        } else if self.user.is_some() || (!typed && kind == Some(Kind::User)) {
            Parts::Several([("account_id", Part::AccountId), ("name", Part::Name), ("email", Part::Email)])
        } else if self.status.is_some() || (!typed && kind == Some(Kind::Status)) {
            Parts::Several([("id", Part::Id), ("name", Part::Name), ("category", Part::Category)])
        } else if self.group.is_some() || (!typed && kind == Some(Kind::Group)) {
            Parts::Several([("name", Part::Name), ("", Part::Name), ("", Part::Name)])
        } else {
            Parts::Plain(self.part(Part::Value, kind).some()?)
        })
    }

    fn write_parts(
        &self,
        kind: Option<Kind>,
        members: [(&str, Part); 3],
        out: &mut String,
    ) -> Result<(), Value> {
        for (name, part) in members {
            let scalar = self.part(part, kind);
            // A name that is not told is no reason to keep the id back.
            if !name.is_empty()
                && !matches!(scalar, Scalar::Untold(_))
                && let bad @ Value::Invalid(_) = scalar.decode(Decode::Json)
            {
                return Err(bad);
            }
        }
        write_object(&members.map(|(name, part)| (name, self.part(part, kind))), out);
        Ok(())
    }
}

/// How a value is written as JSON.
enum Parts<'m, 'a> {
    /// An object with these members; no name: none.
    Several([(&'static str, Part); 3]),
    /// Itself.
    Plain(&'m Scalar<'a>),
}

/// Writes a number or a boolean as one, where its attribute is of such a kind and it is one.
fn write_typed(plain: &Scalar<'_>, kind: Option<Kind>, out: &mut String) -> bool {
    match kind {
        Some(Kind::Integer) if plain.int().is_some() => push_int(plain, out),
        Some(Kind::Double) if plain.double().is_some() => {
            scalar::push_json_double(plain.double().unwrap_or_default(), out);
        }
        Some(Kind::Boolean) if plain.bool().is_some() => {
            out.push_str(if plain.bool() == Some(true) { "true" } else { "false" });
        }
        _ => return false,
    }
    true
}

/// Whether a text has the form of an object's key.
fn is_key(scalar: &Scalar<'_>) -> bool {
    let text = scalar.text();
    let Some((prefix, number)) = text.rsplit_once('-') else { return false };
    let plain = |text: &str, fits: fn(&u8) -> bool| !text.is_empty() && text.as_bytes().iter().all(fits);
    plain(number, u8::is_ascii_digit) && plain(prefix, |b| b.is_ascii_alphanumeric() || *b == b'_')
}

fn push_int(plain: &Scalar<'_>, out: &mut String) {
    out.push_str(&plain.int().unwrap_or_default().to_string());
}

/// Ids and categories become numbers where they are, so that they join with `id` columns.
fn write_object(members: &[(&str, &Scalar<'_>)], out: &mut String) {
    out.push('{');
    for (name, scalar) in members.iter().filter(|(name, _)| !name.is_empty()) {
        if !out.ends_with('{') {
            out.push(',');
        }
        out.push('"');
        out.push_str(name);
        out.push_str("\":");
        match (*name, scalar.int()) {
            ("id" | "category", Some(_)) => push_int(scalar, out),
            _ if scalar.is_none() || matches!(scalar, Scalar::Untold(_)) => out.push_str("null"),
            _ => scalar::write_json_text_anyhow(&scalar.text(), out),
        }
    }
    out.push('}');
}

fn first<'s, 'a, const N: usize>(candidates: [&'s Scalar<'a>; N]) -> Option<&'s Scalar<'a>> {
    candidates.into_iter().find(|scalar| !scalar.is_none())
}
