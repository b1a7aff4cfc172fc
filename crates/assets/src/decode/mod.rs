//! From the bytes of a page of `object/aql` to rows (assets-api.md 2.1, 3.1, 3.4).
//!
//! One pass over the bytes, values straight into the columns that are wanted, strings borrowed
//! until they are kept; what no column asks for is passed over without being read. A row costs one
//! allocation for its values, one for its key, and one for each text it keeps. A second pass, which
//! looks for `objectTypeAttributes`, runs only when a column wants JSON, because the definitions
//! stand behind the values.

mod attribute;
mod json;
mod member;
mod object;
pub(crate) mod scalar;
mod skip;
mod whole;

use std::cell::Cell;
use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use self::json::{Read, Reader, wrong};
use crate::expected::Expected;
use crate::model::{Attribute, Kind};
use crate::value::{ColumnSpec, Decode, Field, Part, Row, Source};

/// What is known of an attribute when its values are written as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Definition {
    pub(crate) name: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) multi: bool,
}

/// Definitions by `objectTypeAttributeId`.
pub(crate) type Definitions = HashMap<i64, Definition>;

/// The columns of a scan, sorted by what they are read from.
pub(crate) struct Layout {
    columns: Arc<[ColumnSpec]>,
    fields: Vec<(usize, Field)>,
    attributes: Vec<WantedAttribute>,
    site: Option<String>,
    whole: bool,
    wants_definitions: bool,
    expected: Option<Arc<Expected>>,
    /// Definitions and types, hashed, that agreed with what is expected: they come on page after page.
    agreed: Mutex<HashSet<u64>>,
}

/// The columns over one attribute.
struct WantedAttribute {
    id: i64,
    columns: Vec<(usize, Part, Kind)>,
}

impl Layout {
    pub(crate) fn new(columns: Arc<[ColumnSpec]>, site: Option<&str>) -> Self {
        let mut fields = Vec::new();
        let mut attributes: Vec<WantedAttribute> = Vec::new();
        for (i, column) in columns.iter().enumerate() {
            match column.source {
                Source::Field(field) => fields.push((i, field)),
                Source::Attribute { id, part, kind } => match attributes.iter_mut().find(|w| w.id == id) {
                    Some(wanted) => wanted.columns.push((i, part, kind)),
                    None => attributes.push(WantedAttribute { id, columns: vec![(i, part, kind)] }),
                },
            }
        }
        attributes.sort_by_key(|wanted| wanted.id);
        let whole = fields.iter().any(|(_, field)| *field == Field::Attributes);
        let json = columns.iter().any(|c| {
            c.decode == Decode::Json && matches!(c.source, Source::Attribute { part: Part::Value, .. })
        });
        Self {
            columns,
            fields,
            attributes,
            site: site.map(str::to_owned),
            whole,
            wants_definitions: whole || json,
            expected: None,
            agreed: Mutex::default(),
        }
    }

    /// The same for pages that are held against what is expected of them.
    pub(crate) fn expecting(mut self, expected: Option<Arc<Expected>>) -> Self {
        self.expected = expected.filter(|expected| expected.says_anything());
        self
    }

    /// What is expected of pages.
    pub(crate) fn expected(&self) -> Option<&Expected> {
        self.expected.as_deref()
    }

    fn watches_types(&self) -> bool {
        self.expected.as_ref().is_some_and(|expected| expected.watches_types())
    }

    /// How a page differs from what is expected. `list` is its `objectTypeAttributes`, where it has one:
    /// one that cannot be read says nothing.
    fn differences(&self, list: Option<&[u8]>, types: &[(i64, Box<str>)]) -> Vec<u64> {
        let Some(expected) = self.expected() else { return Vec::new() };
        let mut hasher = DefaultHasher::new();
        (list, types).hash(&mut hasher);
        let page = hasher.finish();
        let mut agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner);
        if agreed.contains(&page) {
            return Vec::new();
        }
        let wire = list.and_then(|list| {
            crate::session::json::<Option<Vec<crate::wire::Attribute>>>(list).ok().flatten()
        });
        let definitions: Option<Vec<Attribute>> =
            wire.map(|list| list.into_iter().map(crate::wire::Attribute::into_model).collect());
        let differences = expected.differences(definitions.as_deref(), types);
        if differences.is_empty() && agreed.len() < MOST_AGREED {
            agreed.insert(page);
        }
        differences
    }

    /// Whether the service must send attributes at all (`includeAttributes`).
    pub(crate) fn needs_attributes(&self) -> bool {
        self.whole || !self.attributes.is_empty()
    }

    /// Whether the types of objects are read.
    fn reads_types(&self) -> bool {
        self.wants(Field::ObjectType) || self.wants(Field::ObjectTypeId) || self.watches_types()
    }

    fn wants(&self, field: Field) -> bool {
        self.fields.iter().any(|(_, wanted)| *wanted == field)
    }
}

/// `null`, or a list with nothing in it.
const EMPTY_LIST: usize = 4;
/// So many different lists of definitions are remembered in one scan.
const MOST_AGREED: usize = 256;

/// One answer of `object/aql`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) rows: Vec<Row>,
    /// A lower bound of the heap the rows hold.
    pub(crate) heap: usize,
    pub(crate) is_last: Option<bool>,
    pub(crate) last: Option<bool>,
    pub(crate) has_more: Option<bool>,
    pub(crate) total: Option<u64>,
    /// How it differs from what is expected, a number for each difference.
    pub(crate) differences: Vec<u64>,
    /// Whether it brings no definitions although attributes were asked for.
    pub(crate) is_silent: bool,
    /// The types of its objects, where they were looked at.
    pub(crate) types: Vec<(i64, Box<str>)>,
}

/// Why an answer cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// Not JSON, or cut off: a second try may get it whole.
    pub(crate) broken: bool,
    /// What was wrong and where.
    pub(crate) what: String,
}

impl Unreadable {
    /// `place` may be empty. serde repeats what it does not expect, however long: it is cut.
    pub(crate) fn new(broken: bool, place: &str, error: &dyn fmt::Display) -> Self {
        let what = if place.is_empty() { error.to_string() } else { format!("{place}: {error}") };
        match what.char_indices().nth(400) {
            Some((end, _)) => Self { broken, what: format!("{}…", &what[..end]) },
            None => Self { broken, what },
        }
    }
}

/// Reads a page.
pub(crate) fn page(bytes: &[u8], layout: &Layout, known: &Definitions) -> Result<Answer, Unreadable> {
    let at = Place::default();
    let read = || {
        let mut own = None;
        if layout.wants_definitions {
            own = definitions(bytes, &at)?;
        }
        let cx = object::Context { layout, at: &at, page: own.as_ref(), known };
        let mut reader = Reader::new(bytes);
        let (mut answer, list) = envelope(&mut reader, &cx)?;
        reader.end()?;
        if !answer.rows.is_empty() {
            answer.differences = layout.differences(list, &answer.types);
            answer.is_silent = layout.needs_attributes() && list.is_none_or(|list| list.len() <= EMPTY_LIST);
        }
        Ok(answer)
    };
    read().map_err(|error: Box<Unreadable>| Unreadable::new(error.broken, &at.text(), &error.what))
}

/// Where the reader is, for the message when it stops.
#[derive(Default)]
pub(crate) struct Place {
    object: Cell<Option<usize>>,
    member: Cell<&'static str>,
}

impl Place {
    pub(crate) fn member(&self, name: &'static str) {
        self.member.set(name);
    }

    fn object(&self, index: usize) {
        self.object.set(Some(index));
        self.member.set("");
    }

    fn outside(&self) {
        self.object.set(None);
        self.member.set("");
    }

    fn text(&self) -> String {
        let member = self.member.get();
        match self.object.get() {
            Some(index) if member.is_empty() => format!("values[{index}]"),
            Some(index) => format!("values[{index}].{member}"),
            None => member.to_owned(),
        }
    }
}

/// The answer, and the text of its `objectTypeAttributes` where it is looked at.
fn envelope<'de>(reader: &mut Reader<'de>, cx: &object::Context<'_>) -> Read<(Answer, Option<&'de [u8]>)> {
    let at = cx.at;
    let mut answer = Answer::default();
    let (mut values, mut null, mut list) = (false, false, None);
    reader.object("an object with the list `values`")?;
    while let Some(name) = reader.member()? {
        match &*name {
            b"values" => {
                at.member("values");
                if std::mem::replace(&mut values, true) {
                    return Err(wrong("stands there twice"));
                }
                null = reader.null()?;
                if !null {
                    (answer.rows, answer.heap, answer.types) = rows(reader, cx)?;
                }
            }
            b"objectTypeAttributes" if cx.layout.expected.is_some() => list = Some(reader.raw()?),
            b"isLast" => flag(reader, at, "isLast", &mut answer.is_last)?,
            b"last" => flag(reader, at, "last", &mut answer.last)?,
            b"hasMoreResults" => flag(reader, at, "hasMoreResults", &mut answer.has_more)?,
            b"total" => {
                at.member("total");
                answer.total = reader.scalar()?.int().and_then(|total| u64::try_from(total).ok());
            }
            // A partial answer, or none: whatever rows it has are not all of them.
            b"errorMessages" => {
                at.member("errorMessages");
                let said: Vec<u8> =
                    reader.raw()?.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
                if !matches!(&*said, b"[]" | b"null" | b"\"\"") {
                    return Err(wrong("the answer says that it failed"));
                }
            }
            _ => reader.skip()?,
        }
        at.outside();
    }
    if !values {
        return Err(wrong("missing field `values`"));
    }
    // Some write an empty list so. That it is one, and no list that got lost, the page has to say.
    let says_end = answer.is_last.or(answer.last) == Some(true) || answer.total == Some(0);
    if null && (!says_end || answer.has_more == Some(true)) {
        at.member("values");
        return Err(wrong(
            "invalid type: null, expected a list of objects: the page does not say that it is the last",
        ));
    }
    Ok((answer, list))
}

/// A boolean that may be written as a string (assets-api.md 2.1, `isLast`).
fn flag(reader: &mut Reader<'_>, at: &Place, name: &'static str, into: &mut Option<bool>) -> Read<()> {
    at.member(name);
    let scalar = reader.scalar()?;
    let value = scalar.bool();
    if value.is_none() && !scalar.is_none() {
        return Err(wrong(format!("neither true nor false: {}", scalar.brief())));
    }
    if let (Some(before), Some(now)) = (*into, value)
        && before != now
    {
        return Err(wrong("stands there twice with different values"));
    }
    *into = value.or(*into);
    Ok(())
}

type Rows = (Vec<Row>, usize, Vec<(i64, Box<str>)>);

fn rows<'de>(reader: &mut Reader<'de>, cx: &object::Context<'_>) -> Read<Rows> {
    let (mut rows, mut heap) = (Vec::new(), 0);
    let mut scratch = object::Scratch::default();
    reader.list("a list of objects")?;
    while reader.element()? {
        cx.at.object(rows.len());
        let here = reader.clone();
        let (row, bytes) = object::read(reader, cx, &mut scratch).map_err(|mut unreadable| {
            if let Some(name) = object::name(here) {
                unreadable.what = format!("{} ({name})", unreadable.what);
            }
            unreadable
        })?;
        heap += bytes;
        rows.push(row);
    }
    Ok((rows, heap, scratch.types))
}

/// `objectTypeAttributes` of a page, where it has them.
fn definitions(bytes: &[u8], at: &Place) -> Read<Option<Definitions>> {
    let mut reader = Reader::new(bytes);
    let mut found = None;
    reader.object("an object with the list `values`")?;
    while let Some(name) = reader.member()? {
        if &*name == b"objectTypeAttributes" {
            at.member("objectTypeAttributes");
            let list = reader.raw()?;
            found = Some(list);
            at.outside();
        } else {
            reader.skip()?;
        }
    }
    let Some(list) = found else { return Ok(None) };
    // They only name what is shown: one that cannot be read is not there.
    let mut definitions = Definitions::new();
    let mut reader = Reader::new(list);
    if !reader.is_list()? {
        return Ok(None);
    }
    reader.list("a list of attributes")?;
    while reader.element()? {
        if let Ok(wire) = crate::session::json::<crate::wire::Attribute>(reader.raw()?) {
            let attribute = wire.into_model();
            let definition =
                Definition { name: attribute.name.into(), kind: attribute.kind, multi: attribute.multi };
            definitions.insert(attribute.id, definition);
        }
    }
    Ok(Some(definitions))
}

#[cfg(test)]
mod tests;
