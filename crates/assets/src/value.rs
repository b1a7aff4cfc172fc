//! What a column asks of an object, and what it gets: the border between the service's JSON and
//! whoever stores the values (a tuple slot, a replica's row). No PostgreSQL here.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::decode::{self, Layout};
use crate::error::{Error, Kind as ErrorKind};
use crate::expected::Expected;
use crate::model::Kind;

/// A fixed part of every object, beside its attributes (assets-api.md 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field {
    /// `id`, a decimal number in a string on Cloud.
    Id,
    /// `objectKey`.
    Key,
    /// `label`.
    Label,
    /// `objectType.name`.
    ObjectType,
    /// `objectType.id`.
    ObjectTypeId,
    /// `created`.
    Created,
    /// `updated`.
    Updated,
    /// A link for people to the object on the site; null when the server has no `site`.
    Url,
    /// Every attribute, as one JSON object keyed by attribute name.
    Attributes,
}

/// Which part of a value a column shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The value itself: the plain value, a reference's label, a user's display name, a group's
    /// or a status's name.
    Value,
    /// A reference's label.
    Label,
    /// A reference's object key.
    Key,
    /// A reference's object id, or a status's id.
    Id,
    /// A user's display name, a group's or a status's name.
    Name,
    /// A user's account id.
    AccountId,
    /// A user's e-mail address, where the service shows it.
    Email,
    /// A status's category: 0 inactive, 1 active, 2 pending.
    Category,
}

/// Where a column's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// A fixed part of the object.
    Field(Field),
    /// An attribute, by the id of its definition (`objectTypeAttributeId`).
    Attribute {
        /// `objectTypeAttributeId`.
        id: i64,
        /// Which part of its values.
        part: Part,
        /// What its values are, as far as the metadata tells: a value need not say it itself.
        kind: Kind,
    },
}

/// The form a column wants its value in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decode {
    /// The service's own text.
    Text,
    /// A whole number that fits 64 bits.
    Int,
    /// A finite double.
    Double,
    /// `true` or `false`.
    Bool,
    /// A calendar day.
    Date,
    /// A time of day.
    Time,
    /// An instant.
    Timestamp,
    /// JSON text: a scalar, or a list where the attribute has several values.
    Json,
}

/// One column of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ColumnSpec {
    /// Where the value comes from.
    pub source: Source,
    /// The form it is wanted in.
    pub decode: Decode,
    /// Whether the column holds a list. A single-valued column over an attribute with several
    /// values gets [`Value::Invalid`].
    pub array: bool,
}

/// A decoded value. No value, an empty list and an empty string are all [`Value::Null`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// Nothing there.
    Null,
    /// Text.
    Text(Box<str>),
    /// A whole number.
    Int(i64),
    /// A double.
    Double(#[serde(with = "bits")] f64),
    /// A boolean.
    Bool(bool),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since midnight, 0 to 86,400,000,000.
    Time(i64),
    /// Microseconds since 1970-01-01T00:00:00Z.
    Timestamp(i64),
    /// JSON text.
    Json(Box<str>),
    /// A non-empty list, never nested. A null inside stands for a value that lacks the part that is shown (a
    /// person without an e-mail address), so that lists of several parts go together.
    Array(Vec<Value>),
    /// A value that does not fit what the column asked for.
    Invalid(Box<Invalid>),
}

/// Doubles are written by their bits, so that none changes on the way.
mod bits {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_u64(value.to_bits())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        u64::deserialize(from).map(f64::from_bits)
    }
}

/// Why a value does not fit its column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invalid {
    /// The value as the service sent it (at most 200 characters of it).
    pub text: String,
    /// What was wrong, a clause without capital or full stop: `is not a whole number`.
    pub why: String,
}

/// The text of a date or an instant in the words of PostgreSQL's input functions, where it has others for the
/// same; none where they read it as it is.
pub fn moment_for_input(text: &str) -> Option<String> {
    crate::temporal::for_input(text)
}

impl Invalid {
    /// What is wrong with a list in a column of one value.
    pub const SEVERAL: &'static str = "has several values, and the column takes one";
}

/// One object of a page. `values` are in the order of the scan's columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The object's id.
    pub id: i64,
    /// The object's key.
    pub key: Box<str>,
    /// One value a column.
    pub values: Vec<Value>,
}

/// Rows that arrived together, in scan order, every object at most once in a scan.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    /// The rows.
    pub rows: Vec<Row>,
    /// A lower bound of the heap the rows hold, for bounding what is in flight.
    pub bytes: usize,
}

impl Page {
    /// Reads one answer of `object/aql` (assets-api.md 2.1) as a scan does: what is measured when
    /// decoding is measured. Attributes wanted as JSON are named as the page itself names them.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`] for an answer that cannot be read.
    pub fn read(bytes: &[u8], columns: &Arc<[ColumnSpec]>) -> Result<Page, Error> {
        let layout = Layout::new(columns.clone(), None);
        let answer = decode::page(bytes, &layout, &decode::Definitions::new())
            .map_err(|unreadable| Error::new(ErrorKind::Protocol, unreadable.what))?;
        Ok(Page { rows: answer.rows, bytes: answer.heap })
    }
}

/// What a scan asks for.
#[derive(Debug, Clone)]
pub struct ScanSpec {
    /// An AQL condition without ORDER BY. Empty: everything visible to the credential.
    pub filter: String,
    /// The columns to decode. Attributes are asked of the service only when a column needs one.
    pub columns: Arc<[ColumnSpec]>,
    /// How many rows the caller expects to take before it stops, where it knows: makes the first
    /// page small. Never a promise, the scan goes on if it is asked to.
    pub limit: Option<u64>,
    /// No more objects than this can match, whatever the service holds: as many as a list of keys or
    /// ids has values. When so many have come, the scan is complete.
    pub most: Option<u64>,
    /// What its conditions and columns rest on, which every page is held against.
    pub expected: Option<Arc<Expected>>,
}
