//! The service as it is now: the object types and attributes that a local schema shows.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use assets::client::Client;
use assets::error::{Error, Kind};
use tables::drift::Remote;

use crate::catalog;

/// What is asked of one object schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The object schema.
    pub schema_id: i64,
    /// The types shown by tables; whether with those below.
    pub types: Vec<(i64, bool)>,
    /// The types seen so far; others are new, and wanted. None: only tables count.
    pub seen: Option<Vec<i64>>,
}

/// Asks for an object schema, its types, and the attributes of those that matter; one request a type, several
/// at once.
///
/// # Errors
/// The object schema is not visible, or a list that cannot be empty is: nothing may be concluded then.
pub async fn remote(client: Arc<Client>, question: Question) -> Result<Remote, Error> {
    client.forget_metadata();
    let schemas = client.schemas().await?;
    let Some(schema) = schemas.iter().find(|s| s.id == question.schema_id) else {
        return Err(catalog::no_schema(&question.schema_id.to_string(), &schemas));
    };
    let types = client.types(schema.id).await?;
    if types.is_empty() {
        return Err(nothing(format!("object schema \"{}\" shows no object type", schema.key)));
    }
    let mut found = Remote { schema: schema.clone(), types, attributes: HashMap::new() };
    let mut wanted: Vec<i64> = Vec::new();
    for (id, below) in &question.types {
        match below {
            true => wanted.extend(found.with_descendants(*id)),
            false => wanted.push(*id),
        }
    }
    if let Some(seen) = &question.seen {
        wanted.extend(found.types.iter().map(|t| t.id).filter(|id| !seen.contains(id)));
    }
    let mut asked: Vec<i64> = Vec::new();
    for id in wanted {
        if found.object_type(id).is_some() && !asked.contains(&id) {
            asked.push(id);
        }
    }
    for (id, attributes) in asked.iter().zip(client.attributes_of(&asked).await?) {
        // Each has its key, at the least.
        if attributes.is_empty() {
            return Err(nothing(format!("object type {id} shows no attribute")));
        }
        found.attributes.insert(*id, attributes);
    }
    Ok(found)
}

fn nothing(message: String) -> Error {
    Error::new(Kind::Protocol, message)
        .with_hint("The credential may see less than it did; nothing is concluded from this.")
}

/// A short text that changes when any type or attribute of an object schema changes; two requests.
/// Only ever compared with an earlier one, so it may rest on lists whose inheritance is not documented.
pub async fn glance(client: Arc<Client>, schema_id: i64) -> Result<String, Error> {
    client.forget_metadata();
    let mut types: Vec<_> = client.types(schema_id).await?.to_vec();
    types.sort_by_key(|t| t.id);
    let mut attributes = client.schema_attributes(schema_id).await?;
    attributes.sort_by_key(|a| a.id);
    let mut hasher = DefaultHasher::new();
    for t in &types {
        (t.id, &t.name, &t.description, t.parent_id, t.is_abstract).hash(&mut hasher);
    }
    for a in &attributes {
        (a.id, &a.name, &a.description, a.kind, a.multi, a.hidden).hash(&mut hasher);
    }
    Ok(format!("{schema_id}:{}:{}:{:016x}", types.len(), attributes.len(), hasher.finish()))
}
