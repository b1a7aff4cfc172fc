//! Attributes as JSON: one of them, and all of an object as one.

use super::member::Member;
use super::object::Context;
use super::scalar;
use crate::model::Kind;
use crate::value::Value;

/// All values of an attribute as JSON: a list where it may have, or has, several. `Err` holds the
/// value that PostgreSQL could not hold.
pub(super) fn write_members(
    members: &[Member<'_>],
    kind: Option<Kind>,
    multi: bool,
) -> Option<Result<String, Value>> {
    let mut written = Vec::new();
    for member in members {
        let mut json = String::new();
        match member.write_json(kind, &mut json) {
            None => {}
            Some(Ok(())) => written.push(json),
            Some(Err(bad)) => return Some(Err(bad)),
        }
    }
    together(written, multi).map(Ok)
}

fn together(mut written: Vec<String>, multi: bool) -> Option<String> {
    match written.len() {
        0 => None,
        1 if !multi => written.pop(),
        _ => Some(format!("[{}]", written.join(","))),
    }
}

/// Every attribute of an object, as one JSON object keyed by attribute name.
///
/// No value may be in the way of the others: what PostgreSQL's `jsonb` cannot hold is replaced (a NUL and half a
/// surrogate pair by U+FFFD, a number beyond it by its text). A column over the one attribute says what is wrong.
pub(super) struct Whole<'c> {
    cx: &'c Context<'c>,
    entries: Vec<Entry>,
}

struct Entry {
    /// None: the service does not say which attribute it is.
    id: Option<i64>,
    name: String,
    json: Option<String>,
}

impl<'c> Whole<'c> {
    pub(super) fn new(cx: &'c Context<'c>) -> Self {
        Self { cx, entries: Vec::new() }
    }

    /// The values of an attribute, in place of what was added of it before.
    pub(super) fn add(&mut self, id: Option<i64>, members: &[Member<'_>]) {
        let definition = id.and_then(|id| self.cx.definition(id));
        let kind = definition.map(|d| d.kind);
        let mut written = Vec::new();
        for member in members {
            let mut json = String::new();
            if member.write_json_anyhow(kind, &mut json) {
                written.push(json);
            }
        }
        let json = together(written, definition.is_some_and(|d| d.multi));
        let before = self.entries.iter_mut().find(|entry| id.is_some() && entry.id == id);
        if let Some(before) = before {
            before.json = json;
            return;
        }
        let mut name = match (id, definition) {
            (_, Some(definition)) => definition.name.to_string(),
            (Some(id), None) => id.to_string(),
            (None, None) => "(unknown)".to_owned(),
        };
        if json.is_some() && self.entries.iter().any(|entry| entry.json.is_some() && entry.name == name) {
            // Two attributes of one name: both are kept.
            let which = id.map_or_else(|| self.entries.len().to_string(), |id| id.to_string());
            name = format!("{name} ({which})");
        }
        self.entries.push(Entry { id, name, json });
    }

    pub(super) fn finish(self) -> Value {
        let mut json = String::from("{");
        for Entry { name, json: value, .. } in &self.entries {
            let Some(value) = value else { continue };
            if json.len() > 1 {
                json.push(',');
            }
            scalar::write_json_text_anyhow(name, &mut json);
            json.push(':');
            json.push_str(value);
        }
        json.push('}');
        Value::Json(json.into_boxed_str())
    }
}
