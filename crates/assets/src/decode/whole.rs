//! Attributes as JSON: one of them, and all of an object as one.

use super::Definition;
use super::member::Member;
use super::object::Context;
use super::scalar;
use crate::value::Value;

/// All values of an attribute as JSON: a list where it may have, or has, several. `Err` holds the
/// text that PostgreSQL could not hold.
pub(super) fn write_members(
    members: &[Member<'_>],
    definition: Option<&Definition>,
) -> Option<Result<String, String>> {
    let kind = definition.map(|d| d.kind);
    let mut written = Vec::new();
    for member in members {
        let mut json = String::new();
        match member.write_json(kind, &mut json) {
            None => {}
            Some(true) => written.push(json),
            Some(false) => return Some(Err(member.part(crate::value::Part::Value).text().into_owned())),
        }
    }
    let multi = definition.is_some_and(|d| d.multi);
    match written.len() {
        0 => None,
        1 if !multi => written.pop().map(Ok),
        _ => Some(Ok(format!("[{}]", written.join(",")))),
    }
}

/// Every attribute of an object, as one JSON object keyed by attribute name.
pub(super) struct Whole<'c> {
    cx: &'c Context<'c>,
    json: String,
    names: Vec<String>,
    bad: Option<String>,
}

impl<'c> Whole<'c> {
    pub(super) fn new(cx: &'c Context<'c>) -> Self {
        Self { cx, json: String::from("{"), names: Vec::new(), bad: None }
    }

    pub(super) fn add(&mut self, id: i64, members: &[Member<'_>]) {
        let definition = self.cx.definition(id);
        let json = match write_members(members, definition) {
            None => return,
            Some(Ok(json)) => json,
            Some(Err(text)) => {
                self.bad = Some(text);
                return;
            }
        };
        let mut name = definition.map_or_else(|| id.to_string(), |d| d.name.to_string());
        if self.names.contains(&name) {
            // Two attributes of one name: both are kept.
            name = format!("{name} ({id})");
        }
        if self.json.len() > 1 {
            self.json.push(',');
        }
        if !scalar::write_json_text(&name, &mut self.json) {
            self.bad = Some(name.clone());
        }
        self.json.push(':');
        self.json.push_str(&json);
        self.names.push(name);
    }

    pub(super) fn finish(mut self) -> Value {
        if let Some(text) = self.bad {
            return scalar::invalid(&text, scalar::HAS_NUL);
        }
        self.json.push('}');
        Value::Json(self.json.into_boxed_str())
    }
}
