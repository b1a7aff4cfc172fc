//! The attributes of one object into the columns that show them.

use super::json::{Read, Reader, wrong};
use super::member::Member;
use super::object::{Context, Scratch, once};
use super::scalar::{self, Scalar};
use super::whole::{Whole, write_members};
use crate::value::{Invalid, Value};

/// Where the attributes of an object go.
pub(super) struct Attributes<'o, 'c, 'de> {
    pub(super) cx: &'c Context<'c>,
    pub(super) scratch: &'o mut Scratch<'de>,
    pub(super) values: &'o mut [Value],
    pub(super) whole: Option<&'o mut Whole<'c>>,
}

impl<'de> Attributes<'_, '_, 'de> {
    /// Reads the list that is next.
    pub(super) fn read(&mut self, reader: &mut Reader<'de>) -> Read<()> {
        if reader.null()? {
            return Ok(());
        }
        reader.list("a list of attributes")?;
        while reader.element()? {
            self.one(reader)?;
        }
        Ok(())
    }

    fn one(&mut self, reader: &mut Reader<'de>) -> Read<()> {
        let at = self.cx.at;
        reader.object("an attribute with `objectTypeAttributeId`")?;
        let (mut id, mut inlined, mut later) = (None, None, None);
        let mut read = false;
        while let Some(name) = reader.member()? {
            match &*name {
                b"objectTypeAttributeId" => {
                    at.member("attributes[].objectTypeAttributeId");
                    let told = attribute_id(&reader.scalar()?)?;
                    once(&mut id, told)?;
                    if !self.is_wanted(told) {
                        return reader.leave();
                    }
                }
                b"objectTypeAttribute" => {
                    at.member("attributes[].objectTypeAttribute");
                    if let Some([definition]) = reader.fields(["id"])?
                        && !definition.is_none()
                    {
                        once(&mut inlined, attribute_id(&definition)?)?;
                    }
                }
                b"objectAttributeValues" => {
                    at.member("attributes[].objectAttributeValues");
                    if read || later.is_some() {
                        return Err(wrong("stands there twice"));
                    }
                    if id.is_some() {
                        members(reader, &mut self.scratch.members)?;
                        read = true;
                    } else {
                        // The id stands behind the values.
                        later = Some(reader.clone());
                        reader.skip()?;
                    }
                }
                _ => reader.skip()?,
            }
        }
        at.member("attributes[].objectTypeAttributeId");
        let id = id.or(inlined).ok_or_else(|| wrong("missing"))?;
        if !self.is_wanted(id) {
            return Ok(());
        }
        at.member("attributes[]");
        if self.scratch.seen.contains(&id) {
            return Err(wrong(format!("attribute {id} stands there twice")));
        }
        self.scratch.seen.push(id);
        if let Some(mut values) = later {
            at.member("attributes[].objectAttributeValues");
            members(&mut values, &mut self.scratch.members)?;
        } else if !read {
            self.scratch.members.clear();
        }
        self.place(id);
        at.member("attributes");
        Ok(())
    }

    fn is_wanted(&self, id: i64) -> bool {
        self.whole.is_some() || self.cx.layout.attributes.binary_search_by_key(&id, |w| w.id).is_ok()
    }

    /// The members just read into every column over this attribute.
    fn place(&mut self, id: i64) {
        let members: &[Member<'_>] = &self.scratch.members;
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

fn attribute_id(scalar: &Scalar<'_>) -> Read<i64> {
    scalar.id().ok_or_else(|| wrong(format!("not an attribute id: {}", scalar.brief())))
}

/// Reads `objectAttributeValues`, which is next, in place of what was in `into`.
fn members<'de>(reader: &mut Reader<'de>, into: &mut Vec<Member<'de>>) -> Read<()> {
    into.clear();
    if reader.null()? {
        return Ok(());
    }
    reader.list("a list of values")?;
    while reader.element()? {
        into.extend(Member::read(reader)?);
    }
    Ok(())
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
            scalar::invalid(&texts.join(", "), Invalid::SEVERAL)
        }
    }
}
