//! What fuzzers and tests of hostile input call, with whatever bytes come to mind. Each function
//! panics where a promise about such input does not hold; it is no part of the client.

use std::collections::HashMap;
use std::sync::Arc;

use crate::decode::scalar::Scalar;
use crate::decode::{self, Layout};
use crate::mask;
use crate::model::Kind;
use crate::value::{ColumnSpec, Decode, Field, Part, Source, Value};
use crate::{option, session, temporal, wire};

const DECODES: [Decode; 8] = [
    Decode::Text,
    Decode::Int,
    Decode::Double,
    Decode::Bool,
    Decode::Date,
    Decode::Time,
    Decode::Timestamp,
    Decode::Json,
];
const PARTS: [Part; 8] =
    [Part::Value, Part::Label, Part::Key, Part::Id, Part::Name, Part::AccountId, Part::Email, Part::Category];
const FIELDS: [Field; 8] = [
    Field::Id,
    Field::Key,
    Field::Label,
    Field::ObjectType,
    Field::Created,
    Field::Updated,
    Field::Url,
    Field::Attributes,
];

/// Every field, and every part of these attributes, in every form.
fn columns(attributes: &[i64]) -> Arc<[ColumnSpec]> {
    let mut columns = Vec::new();
    for field in FIELDS {
        // The attributes together are JSON and nothing else.
        let decodes = if field == Field::Attributes { &[Decode::Json][..] } else { &DECODES };
        let column =
            |decode: &Decode| ColumnSpec { source: Source::Field(field), decode: *decode, array: false };
        columns.extend(decodes.iter().map(column));
    }
    for id in attributes {
        for part in PARTS {
            for decode in DECODES {
                for kind in [Kind::Text, Kind::Object, Kind::User, Kind::Status] {
                    let source = Source::Attribute { id: *id, part, kind };
                    columns.extend([false, true].map(|array| ColumnSpec { source, decode, array }));
                }
            }
        }
    }
    columns.into()
}

/// Reads a page of `object/aql` (assets-api.md 2.1) into every field and into every form of every
/// part of `attributes`.
///
/// # Errors
/// What was wrong and where, never an empty text.
pub fn page(bytes: &[u8], attributes: &[i64]) -> Result<usize, String> {
    let columns = columns(attributes);
    let layout = Layout::new(columns.clone(), Some("https://acme.example"));
    match decode::page(bytes, &layout, &HashMap::new()) {
        Ok(answer) => {
            for row in &answer.rows {
                assert!(row.id > 0 && !row.key.is_empty(), "an object without id or key");
                assert!(!row.key.chars().any(|c| c < ' '), "a control character in a key");
                assert_eq!(row.values.len(), columns.len(), "a row of another width");
                columns.iter().zip(&row.values).for_each(|(column, value)| promised(column, value));
            }
            Ok(answer.rows.len())
        }
        Err(unreadable) => {
            assert!(!unreadable.what.is_empty(), "an error that says nothing");
            Err(unreadable.what)
        }
    }
}

/// A value is nothing, of the form that was asked for, or invalid with the reason.
fn promised(column: &ColumnSpec, value: &Value) {
    match value {
        Value::Null => {}
        Value::Invalid(invalid) => {
            assert!(!invalid.why.is_empty() && !invalid.text.contains('\0'), "{invalid:?}");
            assert!(invalid.text.chars().count() <= 200, "an endless complaint");
        }
        Value::Array(list) => {
            assert!(column.array && !list.is_empty(), "a list where none was asked for");
            list.iter()
                .filter(|value| **value != Value::Null)
                .for_each(|value| of_form(column.decode, value));
        }
        value => {
            assert!(!column.array, "no list where one was asked for");
            of_form(column.decode, value);
        }
    }
}

fn of_form(decode: Decode, value: &Value) {
    match (decode, value) {
        (Decode::Text, Value::Text(text)) => assert!(!text.contains('\0'), "a NUL in a text"),
        (Decode::Json, Value::Json(json)) => {
            let read = serde_json::from_str(json).unwrap_or_else(|e| panic!("no JSON: {e}: {json}"));
            assert!(!holds_nul(&read), "a NUL in JSON, which jsonb cannot hold");
        }
        (Decode::Double, Value::Double(number)) => assert!(number.is_finite(), "no number"),
        (Decode::Time, Value::Time(micros)) => {
            assert!((0..=86_400_000_000).contains(micros), "no time of day")
        }
        (Decode::Timestamp, Value::Timestamp(micros)) => {
            // From 1970 to 2000, as PostgreSQL counts.
            assert!(micros.checked_sub(946_684_800_000_000).is_some(), "beyond a timestamp");
        }
        // Beyond what microseconds from 1970 hold, and not beyond PostgreSQL.
        (Decode::Timestamp, Value::Text(text)) => assert!(text.starts_with("2942"), "{text}"),
        (Decode::Date, Value::Date(days)) => assert!(days.checked_sub(10_957).is_some(), "beyond a date"),
        (Decode::Int, Value::Int(_)) | (Decode::Bool, Value::Bool(_)) => {}
        other => panic!("another form than was asked for: {other:?}"),
    }
}

fn holds_nul(json: &serde_json::Value) -> bool {
    use serde_json::Value;
    match json {
        Value::String(text) => text.contains('\0'),
        Value::Array(list) => list.iter().any(holds_nul),
        Value::Object(map) => map.iter().any(|(name, value)| name.contains('\0') || holds_nul(value)),
        _ => false,
    }
}

/// Reads one kind of metadata (assets-api.md 2.5, 3.2, 3.3): `0` a list of object schemas, `1` of
/// types, `2` of attributes, `3` one type.
///
/// # Errors
/// What was wrong and where.
pub fn metadata(kind: u8, bytes: &[u8]) -> Result<(), String> {
    let read = match kind % 4 {
        0 => session::json::<wire::SchemaPage>(bytes).map(|page| {
            let _ = page.says_last();
            page.values.into_iter().map(wire::Schema::into_model).for_each(drop);
        }),
        1 => session::json::<wire::List<wire::Type>>(bytes)
            .map(|list| list.into_vec().into_iter().map(|t| t.into_model(true)).for_each(drop)),
        2 => session::json::<wire::List<wire::Attribute>>(bytes)
            .map(|list| list.into_vec().into_iter().map(wire::Attribute::into_model).for_each(drop)),
        _ => session::json::<wire::Type>(bytes).map(|t| drop(t.into_model(false))),
    };
    read.map_err(|unreadable| {
        assert!(!unreadable.what.is_empty(), "an error that says nothing");
        unreadable.what
    })
}

/// Converts one scalar, the bytes as JSON or else as text, to every form (assets-api.md 13,
/// "Values").
pub fn value(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let scalars = [serde_json::from_slice::<Scalar<'_>>(bytes).ok(), Some(Scalar::Text(text.clone()))];
    for scalar in scalars.into_iter().flatten() {
        for decode in DECODES {
            let column = ColumnSpec { source: Source::Field(Field::Label), decode, array: false };
            promised(&column, &scalar.decode(decode));
        }
        assert!(scalar.id().is_none_or(|id| id > 0), "an id that is none");
    }
    let _ = temporal::http_date(&text);
}

/// Reads the text of an option of every form.
pub fn option(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(origin) = option::origin(&text) {
        assert_eq!(option::origin(&origin).as_deref(), Ok(&*origin), "normalising twice differs");
        let host = option::host(&origin);
        assert!(!host.is_empty() && !host.contains(['/', '@', '?', '#']), "{origin} has the host {host}");
        // Where the client takes it at all, it goes to that host and to nobody else.
        if let Ok(url) = reqwest::Url::parse(&origin) {
            assert!(url.username().is_empty() && url.password().is_none() && url.path() == "/", "{origin}");
            let local = option::is_loopback(host);
            assert!(url.scheme() == "https" || local, "{origin} is sent in the clear");
            let asked = url.host_str().unwrap_or_default();
            assert!(!local || option::is_loopback(asked), "{origin} leads to {asked}");
            assert!(
                asked == host || asked.parse::<std::net::Ipv4Addr>().is_ok() || asked.starts_with('['),
                "{origin} leads to {asked}"
            );
        }
    }
    let _ = (option::boolean(&text), option::bytes(&text));
}

/// Masks a secret in a text; the text is cut in two anywhere, the first half is the secret.
pub fn masked(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let at = text.char_indices().map(|(at, _)| at).nth(text.chars().count() / 3).unwrap_or(0);
    let (secret, rest) = text.split_at(at);
    let said = format!("{rest}{secret}{rest}{}", secret.to_ascii_uppercase());
    let masked = mask::mask(&said, secret).to_ascii_lowercase();
    // `***` itself may be part of the secret.
    if !secret.is_empty() && !secret.contains('*') {
        assert!(!masked.contains(&secret.to_ascii_lowercase()), "{secret:?} in {masked:?}");
    }
}
