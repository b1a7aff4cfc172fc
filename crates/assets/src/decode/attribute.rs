//! The attributes of one object into the columns that show them.

use super::json::{Members, Read, Reader, told};
use super::member::Member;
use super::object::{Context, Scratch};
use super::scalar::{self, Scalar};
use super::whole::{Whole, write_members};
use crate::model::Kind;
use crate::value::{Decode, Invalid, Part, Value};

/// Where the attributes of an object go.
pub(super) struct Attributes<'o, 'c, 'de> {
    pub(super) cx: &'c Context<'c>,
    pub(super) scratch: &'o mut Scratch<'de>,
    pub(super) values: &'o mut [Value],
    pub(super) whole: Option<&'o mut Whole<'c>>,
}

impl<'de> Attributes<'_, '_, 'de> {
    /// Reads the list that is next. Every object has attributes, its key if nothing else: `null` is no list.
    pub(super) fn read(&mut self, reader: &mut Reader<'de>) -> Read<()> {
        reader.list("a list of attributes")?;
        while reader.element()? {
            self.one(reader)?;
        }
        Ok(())
    }

    fn one(&mut self, reader: &mut Reader<'de>) -> Read<()> {
        let at = self.cx.at;
        if reader.null()? {
            return Ok(());
        }
        if !reader.is_object()? {
            let entry = reader.any()?;
            self.unplaced(entry.brief(), &[]);
            return Ok(());
        }
        reader.object("an attribute with `objectTypeAttributeId`")?;
        let (mut id, mut inlined) = (None, None);
        let mut read = false;
        self.scratch.lists.clear();
        while let Some(name) = reader.member()? {
            match &*name {
                b"objectTypeAttributeId" => {
                    at.member("attributes[].objectTypeAttributeId");
                    told(&mut id, reader.any()?);
                    if let Some(Some(told)) = id.as_ref().map(Scalar::id)
                        && !self.is_wanted(told)
                    {
                        return reader.leave();
                    }
                }
                b"objectTypeAttribute" => {
                    at.member("attributes[].objectTypeAttribute");
                    if let Members::Read([definition]) = reader.fields(["id"])?
                        && !definition.is_none()
                    {
                        told(&mut inlined, definition);
                    }
                }
                b"objectAttributeValues" => {
                    at.member("attributes[].objectAttributeValues");
                    self.scratch.lists.push(reader.clone());
                    read = id.is_some() && self.scratch.lists.len() == 1;
                    if read {
                        members(reader, &mut self.scratch.members)?;
                    } else {
                        // The id stands behind the values.
                        reader.skip()?;
                    }
                }
                _ => reader.skip()?,
            }
        }
        let said = id.or(inlined).unwrap_or_default();
        let id = said.id();
        if id.is_some_and(|id| !self.is_wanted(id)) {
            return Ok(());
        }
        at.member("attributes[].objectAttributeValues");
        let seen = |(other, _): &&(i64, Reader<'de>)| Some(*other) == id;
        let before: Vec<Reader<'de>> =
            self.scratch.seen.iter().filter(seen).map(|(_, list)| list.clone()).collect();
        if !before.is_empty() || !read || self.scratch.lists.len() > 1 {
            // An attribute that is listed again: the same values are a repetition; others are further values, as
            // when each value is listed by itself. None is lost, and a column of one value says that there are more.
            let lists = before.iter().chain(&self.scratch.lists);
            gather(lists, &mut self.scratch.members)?;
        }
        let Some(id) = id else {
            let values = std::mem::take(&mut self.scratch.members);
            self.unplaced(said.brief(), &values);
            return Ok(());
        };
        self.scratch.met.push(id);
        self.scratch.seen.extend(self.scratch.lists.drain(..).map(|list| (id, list)));
        self.place(id);
        at.member("attributes");
        Ok(())
    }

    /// An entry that does not say which attribute it is: whatever column finds no attribute of its own in this object
    /// may be missing these values.
    fn unplaced(&mut self, what: String, values: &[Member<'_>]) {
        if let Some(whole) = self.whole.as_deref_mut() {
            whole.add(None, values);
        }
        self.scratch.unplaced.get_or_insert(what);
    }

    /// Columns whose attribute may be one that does not say which it is.
    pub(super) fn doubt(&mut self) {
        let Some(what) = self.scratch.unplaced.take() else { return };
        for wanted in &self.cx.layout.attributes {
            if !self.scratch.met.contains(&wanted.id) {
                for (i, ..) in &wanted.columns {
                    self.values[*i] = scalar::invalid(&what, UNPLACED);
                }
            }
        }
    }

    fn is_wanted(&self, id: i64) -> bool {
        self.whole.is_some() || self.cx.layout.attributes.binary_search_by_key(&id, |w| w.id).is_ok()
    }

    /// The members just read into every column over this attribute.
    fn place(&mut self, id: i64) {
        let members: &[Member<'_>] = &self.scratch.members;
        if let Some(whole) = self.whole.as_deref_mut() {
            whole.add(Some(id), members);
        }
        let layout = self.cx.layout;
        let Ok(found) = layout.attributes.binary_search_by_key(&id, |w| w.id) else { return };
        for (i, part, kind) in &layout.attributes[found].columns {
            let column = &layout.columns[*i];
            self.values[*i] = column_value(self.cx, id, column, *part, *kind, members);
        }
    }
}

const UNPLACED: &str = "stands for an attribute of the object whose id cannot be read: it may be this one";

/// Reads `objectAttributeValues`, which is next, in place of what was in `into`.
fn members<'de>(reader: &mut Reader<'de>, into: &mut Vec<Member<'de>>) -> Read<()> {
    into.clear();
    if reader.null()? {
        return Ok(());
    }
    if !reader.is_list()? {
        // One value where a list of them belongs.
        into.extend(Member::read(reader)?);
        return Ok(());
    }
    reader.list("a list of values")?;
    while reader.element()? {
        into.extend(Member::read(reader)?);
    }
    Ok(())
}

/// The values of several lists, each list once.
fn gather<'r, 'de: 'r>(
    lists: impl Iterator<Item = &'r Reader<'de>>,
    into: &mut Vec<Member<'de>>,
) -> Read<()> {
    let mut read: Vec<Vec<Member<'de>>> = Vec::new();
    for list in lists {
        let mut values = Vec::new();
        members(&mut list.clone(), &mut values)?;
        if !read.contains(&values) {
            read.push(values);
        }
    }
    into.clear();
    into.extend(read.into_iter().flatten());
    Ok(())
}

fn column_value(
    cx: &Context<'_>,
    id: i64,
    column: &crate::value::ColumnSpec,
    part: Part,
    kind: Kind,
    members: &[Member<'_>],
) -> Value {
    let definition = if column.decode == Decode::Json { cx.definition(id) } else { None };
    let kind = Some(definition.map_or(kind, |d| d.kind));
    if column.decode == Decode::Json && part == Part::Value && !column.array {
        return match write_members(members, kind, definition.is_some_and(|d| d.multi)) {
            Some(Ok(json)) => Value::Json(json.into_boxed_str()),
            Some(Err(bad)) => bad,
            None => Value::Null,
        };
    }
    // A part that a thing lacks is a null in its place; a plain value that is empty is none.
    let values = members.iter().filter(|member| member.is_there()).filter_map(|member| {
        let value = member.decode(part, column.decode, kind);
        (value != Value::Null || member.is_thing(kind)).then_some(value)
    });
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
    let mut values = values;
    match (values.next(), values.next()) {
        (None, _) => Value::Null,
        (Some(one), None) => one,
        (Some(_), Some(_)) => {
            let texts: Vec<_> = members.iter().map(|m| m.part(part, kind).text()).collect();
            scalar::invalid(&texts.join(", "), Invalid::SEVERAL)
        }
    }
}
