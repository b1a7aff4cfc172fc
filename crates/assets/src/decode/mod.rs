//! From the bytes of a page of `object/aql` to rows (assets-api.md 2.1, 3.1, 3.4).
//!
//! One pass over the bytes, values straight into the columns that are wanted, strings borrowed
//! until they are kept; what no column asks for is skipped without being read. A row costs one
//! allocation for its values, one for its key, and one for each text it keeps. A second pass, over
//! `objectTypeAttributes` alone, runs only when a column wants JSON, because the definitions stand
//! behind the values.

mod attribute;
pub(crate) mod member;
mod object;
pub(crate) mod scalar;
mod whole;

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use self::scalar::Scalar;
use crate::model::Kind;
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
}

/// The columns over one attribute.
struct WantedAttribute {
    id: i64,
    columns: Vec<(usize, Part)>,
}

impl Layout {
    pub(crate) fn new(columns: Arc<[ColumnSpec]>, site: Option<&str>) -> Self {
        let mut fields = Vec::new();
        let mut attributes: Vec<WantedAttribute> = Vec::new();
        for (i, column) in columns.iter().enumerate() {
            match column.source {
                Source::Field(field) => fields.push((i, field)),
                Source::Attribute { id, part } => match attributes.iter_mut().find(|w| w.id == id) {
                    Some(wanted) => wanted.columns.push((i, part)),
                    None => attributes.push(WantedAttribute { id, columns: vec![(i, part)] }),
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
        }
    }

    /// Whether the service must send attributes at all (`includeAttributes`).
    pub(crate) fn needs_attributes(&self) -> bool {
        self.whole || !self.attributes.is_empty()
    }

    fn wants(&self, field: Field) -> bool {
        self.fields.iter().any(|(_, wanted)| *wanted == field)
    }
}

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
    let mut own = None;
    if layout.wants_definitions {
        own = definitions(bytes, &at).map_err(|e| at.unreadable(&e))?;
    }
    let cx = object::Context {
        layout,
        at: &at,
        page: own.as_ref(),
        known,
        seen: std::cell::RefCell::new(Vec::new()),
    };
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let answer = PageSeed(&cx).deserialize(&mut reader).map_err(|e| at.unreadable(&e))?;
    at.outside();
    reader.end().map_err(|e| at.unreadable(&e))?;
    Ok(answer)
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

    fn unreadable(&self, error: &serde_json::Error) -> Unreadable {
        use serde_json::error::Category;
        let mut place = String::new();
        if let Some(index) = self.object.get() {
            place = format!("values[{index}]");
        }
        let member = self.member.get();
        if !member.is_empty() {
            if !place.is_empty() {
                place.push('.');
            }
            place.push_str(member);
        }
        Unreadable::new(
            matches!(error.classify(), Category::Eof | Category::Syntax | Category::Io),
            &place,
            error,
        )
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum PageMember {
    Values,
    IsLast,
    Last,
    HasMoreResults,
    Total,
    #[serde(other)]
    Other,
}

struct PageSeed<'c, 'a>(&'c object::Context<'a>);

impl<'de> DeserializeSeed<'de> for PageSeed<'_, '_> {
    type Value = Answer;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Answer, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for PageSeed<'_, '_> {
    type Value = Answer;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the list `values`")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Answer, A::Error> {
        let at = self.0.at;
        let mut answer = Answer::default();
        let mut values = false;
        while let Some(member) = map.next_key()? {
            match member {
                PageMember::Values => {
                    at.member("values");
                    if std::mem::replace(&mut values, true) {
                        return Err(A::Error::custom("stands there twice"));
                    }
                    (answer.rows, answer.heap) = map.next_value_seed(RowsSeed(self.0))?;
                }
                PageMember::IsLast => flag(&mut map, at, "isLast", &mut answer.is_last)?,
                PageMember::Last => flag(&mut map, at, "last", &mut answer.last)?,
                PageMember::HasMoreResults => flag(&mut map, at, "hasMoreResults", &mut answer.has_more)?,
                PageMember::Total => {
                    at.member("total");
                    answer.total = match map.next_value::<Scalar<'_>>()?.int() {
                        Some(total) => u64::try_from(total).ok(),
                        None => None,
                    };
                }
                PageMember::Other => {
                    at.outside();
                    map.next_value::<IgnoredAny>()?;
                }
            }
            at.outside();
        }
        if !values {
            return Err(A::Error::missing_field("values"));
        }
        Ok(answer)
    }
}

/// A boolean that may be written as a string (assets-api.md 2.1, `isLast`).
fn flag<'de, A: MapAccess<'de>>(
    map: &mut A,
    at: &Place,
    name: &'static str,
    into: &mut Option<bool>,
) -> Result<(), A::Error> {
    at.member(name);
    let scalar = map.next_value::<Scalar<'_>>()?;
    let value = scalar.bool();
    if value.is_none() && !scalar.is_none() {
        return Err(A::Error::custom(format_args!("neither true nor false: {}", scalar.brief())));
    }
    if let (Some(before), Some(now)) = (*into, value)
        && before != now
    {
        return Err(A::Error::custom("stands there twice with different values"));
    }
    *into = value.or(*into);
    Ok(())
}

struct RowsSeed<'c, 'a>(&'c object::Context<'a>);

impl<'de> DeserializeSeed<'de> for RowsSeed<'_, '_> {
    type Value = (Vec<Row>, usize);
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for RowsSeed<'_, '_> {
    type Value = (Vec<Row>, usize);
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let (mut rows, mut heap) = (Vec::new(), 0);
        let mut scratch = Vec::new();
        loop {
            self.0.at.object(rows.len());
            let seed = object::ObjectSeed { cx: self.0, scratch: &mut scratch };
            let Some((row, bytes)) = seq.next_element_seed(seed)? else { break };
            heap += bytes;
            rows.push(row);
        }
        self.0.at.outside();
        Ok((rows, heap))
    }
}

/// `objectTypeAttributes` of a page, where it has them.
fn definitions(bytes: &[u8], at: &Place) -> Result<Option<Definitions>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Envelope {
        #[serde(rename = "objectTypeAttributes", default)]
        definitions: Option<Vec<crate::wire::Attribute>>,
    }
    at.member("objectTypeAttributes");
    let envelope: Envelope = serde_json::from_slice(bytes)?;
    at.outside();
    Ok(envelope.definitions.map(|list| {
        list.into_iter()
            .map(|wire| {
                let attribute = wire.into_model();
                let definition =
                    Definition { name: attribute.name.into(), kind: attribute.kind, multi: attribute.multi };
                (attribute.id, definition)
            })
            .collect()
    }))
}

#[cfg(test)]
mod tests;
