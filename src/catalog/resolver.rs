//! Asking the service what a table and its columns are.
#![deny(unsafe_code)]

use std::collections::HashMap;
use std::sync::Arc;

use assets::client::Client;
use assets::error::{Error, Kind as ErrorKind};
use assets::expected::{Expected, Tree};
use assets::model::{Attribute, ObjectSchema, ObjectType, descendants};
use assets::sight::Seen;
use assets::value::Field;
use tokio::time::Instant;

use super::filter::{below_filter, type_filter, with_own};
use super::wanted::{ObjectTypes, Wanted};
use super::{MOMENT, Resolved};
use crate::options::Options;

impl Resolved {
    /// Whether the service is asked for the types below the table's own.
    pub fn asks_below(&self) -> bool {
        self.expected.tree.as_ref().is_some_and(|tree| tree.asked)
    }

    /// The service refused the filter. Whether it was for taking in the types below the table's own, which is
    /// noted then.
    pub async fn refused(&self, client: &Arc<Client>) -> Result<bool, Error> {
        let Some(tree) = self.expected.tree.as_ref().filter(|tree| tree.asked) else { return Ok(false) };
        // By id, of this moment; a type that is gone is found to be so.
        client.object_type(tree.root).await?;
        let kinds = type_filter(&descendants(&client.types(tree.schema_id).await?, tree.root));
        let filter = with_own(kinds, self.own.as_deref());
        match client.any(&filter).await {
            Ok(_) => {
                client.keep_tree_refused(true);
                Ok(true)
            }
            Err(e) if e.kind() == ErrorKind::AqlRejected => Ok(false),
            Err(e) => Err(e),
        }
    }
}

/// The part of a foreign table that [`Resolver::resolve`] needs on the network's thread.
#[derive(Clone)]
pub struct Resolver {
    pub(super) table: String,
    pub(super) options: Options,
    pub(super) columns: Vec<Wanted>,
    /// When the statement began that this is for.
    pub(super) moment: Instant,
    pub(super) current_types: bool,
}

impl Resolver {
    /// For a query that names an object type which is not known: the types are asked for unless they were
    /// since the statement began.
    pub fn with_current_types(self) -> Self {
        Self { current_types: true, ..self }
    }

    /// Finds out of these columns, too, whether the credential sees what they refer to: without, it is not known.
    pub fn comparing(mut self, compared: &[i16]) -> Self {
        self.columns.iter_mut().for_each(|c| c.compared = compared.contains(&c.attnum));
        self
    }

    /// Asks the service what the table and its columns are. What is remembered may be older than the
    /// table's definition, so that whatever is missing is asked for once more.
    pub async fn resolve(self, client: Arc<Client>) -> Result<Resolved, Error> {
        match self.look_up(&client).await {
            // A type that is not there may be one below the table's, which was known.
            Err(e) if matches!(e.kind(), ErrorKind::AttributeNotFound | ErrorKind::NotFound) => {
                client.forget_metadata();
                self.look_up(&client).await
            }
            other => other,
        }
    }

    /// The same, and makes sure that the service understands how the table takes in the types below its own.
    /// Found out by a count, which is kept like any other; once for a connection.
    pub async fn resolve_surely(self, client: Arc<Client>) -> Result<Resolved, Error> {
        let resolved = self.clone().resolve(client.clone()).await?;
        if !resolved.asks_below() || client.takes_types_below().is_some() {
            return Ok(resolved);
        }
        match client.any(&resolved.filter).await {
            Err(e) if e.kind() == ErrorKind::AqlRejected => {}
            other => {
                if other.is_ok() {
                    client.keep_tree_refused(false);
                }
                return Ok(resolved);
            }
        }
        if resolved.refused(&client).await? { self.resolve(client).await } else { Ok(resolved) }
    }

    async fn look_up(&self, client: &Arc<Client>) -> Result<Resolved, Error> {
        let root = self.object_type(client).await?;
        let include = self.options.get("children") == Some("include");
        let asks = include && client.takes_types_below() != Some(false);
        let known = match include {
            false => Arc::from([]),
            // Types by id are those of this moment: a new one would be left out.
            true if !asks || self.current_types => client.types_as_of(root.schema_id, self.moment).await?,
            true => client.types(root.schema_id).await?,
        };
        let types = if include { descendants(&known, root.id) } else { vec![root.id] };
        let kinds = if asks { below_filter(&known, root.id) } else { type_filter(&types) };
        let own = self.options.get("aql").map(|own| self.own_condition(own)).transpose()?;
        let filter = with_own(kinds.clone(), own);
        let by_name = self.options.id("object_type_id").is_none();
        let schema = (include || by_name).then_some(root.schema_id);
        let of_this_moment = client.known_since(schema, &[]).is_some_and(|since| since >= self.moment);
        let names = ObjectTypes {
            names: known.iter().filter(|t| types.contains(&t.id)).map(|t| t.name.clone()).collect(),
            are_all: include && of_this_moment,
        };
        let mut columns = HashMap::new();
        let (mut shown, mut seen) = (Vec::new(), Vec::new());
        // Attributes are asked for only where a column shows one (or the label, whose attribute
        // AQL is asked by).
        let needs_attributes = self.columns.iter().any(|c| match c.field() {
            Some(field) => field == Field::Label,
            None => true,
        });
        // Of every type that the table takes in: AQL knows attributes by name, whichever type's.
        let needed = if needs_attributes { &types[..] } else { &[] };
        let lists = client.attributes_of(needed).await?;
        let root_attributes = lists.first().cloned().unwrap_or_else(|| Arc::from([]));
        for column in &self.columns {
            let resolution = match column.field() {
                Some(field) => {
                    let resolution = column.of_field(field, &root_attributes, include, &names);
                    if field == Field::Label
                        && let Some(attribute) = root_attributes.iter().find(|a| a.label)
                    {
                        shown.push(column.shown(attribute, &resolution));
                    }
                    resolution
                }
                None => match lists.iter().find_map(|list| column.find(list)) {
                    Some(attribute) => {
                        let own = root.schema_id;
                        let sees = column.compared && client.sees_target(own, attribute, None).await;
                        if sees {
                            seen.push(Seen { own, attribute: attribute.clone() });
                        }
                        let resolution = column.of_attribute(attribute, &lists, sees);
                        shown.push(column.shown(attribute, &resolution));
                        resolution
                    }
                    None => return Err(self.missing(column, &root, &root_attributes)),
                },
            };
            columns.insert(column.attnum, resolution);
        }
        let read_at = client.known_since(schema, needed);
        let tree = match schema {
            Some(schema_id) => Some(Tree {
                schema_id,
                root: root.id,
                by_name,
                asked: asks,
                types: client.types(schema_id).await?,
                within: types.clone(),
            }),
            None => None,
        };
        let lists = needed.iter().copied().zip(lists).collect();
        // What is not known any more may be as old as anything.
        let long_ago = || self.moment.checked_sub(MOMENT).unwrap_or(self.moment);
        let seen_since = client.seen_since(&seen).unwrap_or_else(long_ago);
        let expected = Expected::new(lists, shown, tree, read_at.unwrap_or_else(long_ago));
        let expected = expected.seeing(seen, seen_since);
        Ok(Resolved {
            filter,
            kinds,
            types,
            own: own.map(str::to_owned),
            schema_id: root.schema_id,
            known: include.then(|| known.clone()),
            columns,
            expected,
            facts: aql::Facts::default(),
        })
    }

    /// The table's own filter. Checked when it is set; a table may be older than the check.
    fn own_condition<'a>(&self, own: &'a str) -> Result<&'a str, Error> {
        aql::own::condition(own).map_err(|why| {
            let message = format!("the option aql of foreign table \"{}\" cannot be used: {why}", self.table);
            let hint = format!("Set it anew or drop it: {}.", crate::options::OWN_CONDITION);
            Error::new(ErrorKind::Config, message).with_detail(format!("It is: {own}")).with_hint(hint)
        })?;
        Ok(own)
    }

    async fn object_type(&self, client: &Client) -> Result<ObjectType, Error> {
        if let Some(id) = self.options.id("object_type_id") {
            return client.object_type(id).await.map_err(|e| match e.kind() {
                ErrorKind::NotFound => Error::new(
                    ErrorKind::NotFound,
                    format!(
                        "the object type {id} of foreign table \"{}\" is not there (any more)",
                        self.table
                    ),
                )
                .with_hint(
                    "It was removed in Assets, or the credential's account may not see its object schema.",
                ),
                _ => e,
            });
        }
        let Some(name) = self.options.get("object_type") else {
            return Err(Error::new(
                ErrorKind::Config,
                format!("foreign table \"{}\" names no object type", self.table),
            )
            .with_hint("Set the option object_type_id, or object_schema and object_type."));
        };
        let schema = self.schema(client).await?;
        // Which type has the name, too: else a page of the type that had it would look as it should.
        let types = match self.current_types {
            true => client.types_as_of(schema.id, self.moment).await?,
            false => client.types(schema.id).await?,
        };
        let exact: Vec<&ObjectType> = types.iter().filter(|t| t.name == name).collect();
        let folded: Vec<&ObjectType> =
            types.iter().filter(|t| t.name.to_lowercase() == name.to_lowercase()).collect();
        match (exact.as_slice(), folded.as_slice()) {
            ([one], _) | ([], [one]) => Ok((*one).clone()),
            ([], []) => Err(Error::new(
                ErrorKind::NotFound,
                format!("object schema \"{}\" has no object type \"{name}\"", schema.key),
            )),
            _ => Err(Error::new(
                ErrorKind::Config,
                format!("object schema \"{}\" has several object types called \"{name}\"", schema.key),
            )
            .with_hint("Set the option object_type_id.")),
        }
    }

    async fn schema(&self, client: &Client) -> Result<ObjectSchema, Error> {
        let schemas = client.schemas().await?;
        if let Some(id) = self.options.id("object_schema_id") {
            return schemas
                .iter()
                .find(|s| s.id == id)
                .cloned()
                .ok_or_else(|| no_schema(&id.to_string(), &schemas));
        }
        let Some(name) = self.options.get("object_schema") else {
            return Err(Error::new(
                ErrorKind::Config,
                format!("foreign table \"{}\" names no object schema", self.table),
            )
            .with_hint("Set the option object_schema, or object_type_id."));
        };
        find_schema(&schemas, name).cloned().ok_or_else(|| no_schema(name, &schemas))
    }

    fn missing(&self, column: &Wanted, root: &ObjectType, attributes: &[Attribute]) -> Error {
        let (name, id) = (column.options.get("attribute"), column.options.id("attribute_id"));
        let wanted = match (name, id) {
            (Some(name), Some(id)) => format!("\"{name}\" (id {id})"),
            (Some(name), None) => format!("\"{name}\""),
            (None, Some(id)) => format!("with id {id}"),
            (None, None) => format!("for the column name \"{}\"", column.name),
        };
        let names: Vec<&str> = attributes.iter().take(100).map(|a| a.name.as_str()).collect();
        let there = match names.as_slice() {
            [] => "It has none that this credential sees.".to_owned(),
            names => format!("It has: {}.", names.join(", ")),
        };
        let hint = match (name, id) {
            // Nothing is known of what it showed before.
            (None, None) => format!(
                "A column without the options attribute and field shows what its own name says. If the column was renamed, \
                 say what it shows: ALTER FOREIGN TABLE … ALTER COLUMN {} OPTIONS (ADD attribute '…'), or field. {there}",
                tables::ddl::ident(&column.name)
            ),
            (Some(_), None) => format!(
                "The column's option attribute names none of its attributes: it is misspelt, or the attribute was renamed or \
                 removed in Assets. Alter the option or drop the column. {there}"
            ),
            (_, Some(_)) => format!(
                "It was removed in Assets, or belongs to another object type, or the credential may not see it: alter or drop \
                 the column, or import the table again. {there}"
            ),
        };
        Error::new(
            ErrorKind::AttributeNotFound,
            format!(
                "object type \"{}\" has no attribute {wanted}, which column \"{}\" of foreign table \"{}\" shows",
                root.name, column.name, self.table
            ),
        )
        .with_hint(hint)
    }
}

/// An object schema by its key, or by its name; exact first, then ignoring case.
pub fn find_schema<'a>(schemas: &'a [ObjectSchema], wanted: &str) -> Option<&'a ObjectSchema> {
    let lower = wanted.to_lowercase();
    schemas
        .iter()
        .find(|s| s.key == wanted)
        .or_else(|| schemas.iter().find(|s| s.name == wanted))
        .or_else(|| schemas.iter().find(|s| s.key.to_lowercase() == lower))
        .or_else(|| schemas.iter().find(|s| s.name.to_lowercase() == lower))
}

/// The failure to find an object schema, with those that are visible.
pub fn no_schema(wanted: &str, schemas: &[ObjectSchema]) -> Error {
    let known: Vec<String> = schemas.iter().map(|s| format!("{} ({})", s.key, s.name)).collect();
    let hint = if known.is_empty() {
        "The credential's account sees no object schema: give it a role in one, in Assets under the schema's \
         configuration, Roles."
            .to_owned()
    } else {
        format!("Visible to this credential are: {}.", known.join(", "))
    };
    Error::new(ErrorKind::NotFound, format!("there is no object schema \"{wanted}\"")).with_hint(hint)
}
