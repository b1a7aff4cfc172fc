//! A foreign table as the catalogues hold it, and what its columns mean to Assets: the one place
//! that joins PostgreSQL's view of a table with the service's.
#![allow(unsafe_code)] // relation and type look-ups

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use assets::client::Client;
use assets::error::{Error, Kind as ErrorKind};
use assets::expected::{Expected, Shown, Tree};
use assets::model::{Attribute, Kind, ObjectSchema, ObjectType, descendants};
use assets::value::{ColumnSpec, Decode, Field, Part, Source};
use pgrx::{PgRelation, pg_sys};
use tokio::time::Instant;

use crate::fdw::datum::Conversion;
use crate::fdw::pg;
use crate::options::Options;
use crate::session;

/// A foreign table's definition, read from the catalogues; no request.
pub struct ForeignTable {
    /// The foreign server.
    pub server: pg_sys::Oid,
    /// The table's name, for messages.
    pub name: String,
    options: Options,
    /// Its columns, without dropped ones, in order.
    pub columns: Vec<Column>,
    /// Columns that PostgreSQL computes from those, by number; virtual ones not among them.
    pub generated: Vec<i16>,
}

/// A column of a foreign table.
pub struct Column {
    /// Its number, from 1.
    pub attnum: i16,
    /// Its name.
    pub name: String,
    /// How its values become datums.
    pub conversion: Conversion,
    /// NOT NULL, which PostgreSQL believes from version 17 on.
    pub not_null: bool,
    collation: pg_sys::Oid,
    options: Options,
}

/// What a foreign table means to the service.
#[derive(Clone)]
pub struct Resolved {
    /// The AQL that selects the table's objects: object types by id, and the table's own filter.
    pub filter: String,
    /// Its part about object types.
    pub kinds: String,
    /// The object types by themselves; the service may know of others below the table's by now.
    pub types: Vec<i64>,
    /// The table's own filter by itself.
    pub own: Option<String>,
    /// The object schema of its object type.
    pub schema_id: i64,
    /// Every object type of the schema, where the table takes descendants in.
    pub known: Option<Arc<[ObjectType]>>,
    /// The columns that a query uses, by attribute number.
    pub columns: HashMap<i16, Resolution>,
    /// What all of this rests on.
    pub expected: Expected,
    /// What has been proven of the service; the resolver leaves it empty.
    pub facts: aql::Facts,
}

/// What a column means to the service.
#[derive(Clone)]
pub struct Resolution {
    /// What to decode.
    pub spec: ColumnSpec,
    /// What AQL may be asked about it; none: nothing.
    pub subject: Option<aql::Subject>,
    /// The attribute's or the field's name, for messages.
    pub source_name: String,
}

/// The object types of a table that takes those below its own in.
struct ObjectTypes {
    names: Vec<String>,
    /// Whether there are no others: they were asked for since the statement began.
    are_all: bool,
}

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
        let mut filter = type_filter(&descendants(&client.types(tree.schema_id).await?, tree.root));
        if let Some(own) = &self.own {
            filter = format!("{filter} AND ({own})");
        }
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

impl ForeignTable {
    /// Reads a foreign table's definition.
    pub fn load(relid: pg_sys::Oid) -> Self {
        // SAFETY: the relation is locked by the statement under way; look-ups inside a
        // transaction, results in the current memory context.
        unsafe {
            let table = pg_sys::GetForeignTable(relid);
            let relation = PgRelation::open(relid);
            let (mut columns, mut generated) = (Vec::new(), Vec::new());
            for attribute in relation.tuple_desc().iter().filter(|a| !a.attisdropped) {
                match attribute.attgenerated as u8 {
                    0 => {}
                    b's' => {
                        generated.push(attribute.attnum);
                        continue;
                    }
                    _ => continue,
                }
                let list = pg_sys::GetForeignColumnOptions(relid, attribute.attnum);
                columns.push(Column {
                    attnum: attribute.attnum,
                    name: pg::text(attribute.attname.data.as_ptr()),
                    conversion: Conversion::new(attribute.atttypid, attribute.atttypmod),
                    not_null: attribute.attnotnull,
                    collation: attribute.attcollation,
                    options: session::read_options(list),
                });
            }
            Self {
                server: (*table).serverid,
                name: relation.name().to_owned(),
                options: session::read_options((*table).options),
                columns,
                generated,
            }
        }
    }

    /// A column by its number.
    pub fn column(&self, attnum: i16) -> Option<&Column> {
        self.columns.iter().find(|c| c.attnum == attnum)
    }

    /// Finds out what the columns `wanted` mean, asking the service for what is not cached. A
    /// column that nobody uses may have lost its attribute without harm.
    pub fn resolver(&self, wanted: &[i16]) -> Resolver {
        let columns = self.columns.iter().filter(|c| wanted.contains(&c.attnum)).map(|c| Wanted {
            attnum: c.attnum,
            name: c.name.clone(),
            options: c.options.clone(),
            conversion: c.conversion.clone(),
            class: c.conversion.class(c.collation),
            compared: false,
        });
        Resolver {
            table: self.name.clone(),
            options: self.options.clone(),
            columns: columns.collect(),
            moment: statement_began(),
            current_types: false,
        }
    }
}

/// What is known of the service for longer than this is not of this moment, even where a statement has
/// run all the while: a function, say, that asks again and again.
const MOMENT: Duration = Duration::from_secs(10);

/// When the statement under way began. What is known from before may have changed since.
pub fn statement_began() -> Instant {
    // SAFETY: no preconditions.
    let passed = unsafe { pg_sys::GetCurrentTimestamp() - pg_sys::GetCurrentStatementStartTimestamp() };
    let passed = Duration::from_micros(u64::try_from(passed).unwrap_or_default()).min(MOMENT);
    let now = Instant::now();
    now.checked_sub(passed).unwrap_or(now)
}

/// The part of a foreign table that [`Resolver::resolve`] needs on the network's thread.
#[derive(Clone)]
pub struct Resolver {
    table: String,
    options: Options,
    columns: Vec<Wanted>,
    /// When the statement began that this is for.
    moment: Instant,
    current_types: bool,
}

#[derive(Clone)]
struct Wanted {
    attnum: i16,
    name: String,
    options: Options,
    conversion: Conversion,
    class: aql::Class,
    /// Whether the query compares it, so that it is worth asking what a reference refers to.
    compared: bool,
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
        let filter = match self.options.get("aql") {
            Some(own) => format!("{kinds} AND ({})", self.own_condition(own)?),
            None => kinds.clone(),
        };
        let by_name = self.options.id("object_type_id").is_none();
        let schema = (include || by_name).then_some(root.schema_id);
        let of_this_moment = client.known_since(schema, &[]).is_some_and(|since| since >= self.moment);
        let names = ObjectTypes {
            names: known.iter().filter(|t| types.contains(&t.id)).map(|t| t.name.clone()).collect(),
            are_all: include && of_this_moment,
        };
        let mut columns = HashMap::new();
        let mut shown = Vec::new();
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
                        let sees = column.compared && sees_target(client, root.schema_id, attribute).await;
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
        let expected = Expected::new(lists, shown, tree, read_at.unwrap_or_else(long_ago));
        Ok(Resolved {
            filter,
            kinds,
            types,
            own: self.options.get("aql").map(str::to_owned),
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

/// Whether the credential is known to see the objects that an attribute refers to: their type is in a list of the
/// types of a schema that it sees, which has the types below it, too. Whatever the service will not say is not
/// known. The table's own schema it sees, and its list is asked for once a session; another's with the list of
/// schemas.
async fn sees_target(client: &Client, own: i64, attribute: &Attribute) -> bool {
    if attribute.kind != Kind::Object {
        return false;
    }
    let Some(target) = attribute.reference_type_id else { return false };
    let lists = async |schema| client.types(schema).await.is_ok_and(|all| all.iter().any(|t| t.id == target));
    let elsewhere = match attribute.reference_schema_id {
        Some(schema) if schema != own => schema,
        Some(_) => return lists(own).await,
        None if lists(own).await => return true,
        None => match client.object_type(target).await {
            Ok(found) if found.schema_id != own => found.schema_id,
            _ => return false,
        },
    };
    let schemas = client.schemas().await;
    schemas.is_ok_and(|all| all.iter().any(|s| s.id == elsewhere)) && lists(elsewhere).await
}

/// A type with those below it. Whether what is documented as "children" is all that is below is not said,
/// so that each type with children is named. Which types these are may have changed; the type itself
/// has not, and what is below it now is for the service to say.
fn below_filter(types: &[ObjectType], root: i64) -> String {
    let has_children = |id: &i64| *id == root || types.iter().any(|t| t.parent_id == Some(*id));
    let parents = descendants(types, root).into_iter().filter(has_children);
    let clauses: Vec<String> =
        parents.map(|id| format!("objectType in objectTypeAndChildren({id})")).collect();
    match clauses.as_slice() {
        [one] => one.clone(),
        many => format!("({})", many.join(" OR ")),
    }
}

/// Object types by id, never by name: names change and are not unique.
pub fn type_filter(types: &[i64]) -> String {
    let clause = |ids: &[i64]| match ids {
        [one] => format!("objectTypeId = {one}"),
        many => {
            let list: Vec<String> = many.iter().map(i64::to_string).collect();
            format!("objectTypeId in ({})", list.join(", "))
        }
    };
    let clauses: Vec<String> = types.chunks(50).map(clause).collect();
    match clauses.as_slice() {
        [one] => one.clone(),
        many => format!("({})", many.join(" OR ")),
    }
}

impl Wanted {
    /// The fixed field that the column shows: by its option, or by its name where it has no
    /// option at all.
    fn field(&self) -> Option<Field> {
        let plain = self.options.get("attribute").is_none() && self.options.get("attribute_id").is_none();
        let word = self.options.get("field").or_else(|| plain.then_some(self.name.as_str()))?;
        Some(match word {
            "id" => Field::Id,
            "key" => Field::Key,
            "label" => Field::Label,
            "object_type" => Field::ObjectType,
            "created" => Field::Created,
            "updated" => Field::Updated,
            "url" => Field::Url,
            "attributes" => Field::Attributes,
            _ => return None,
        })
    }

    /// The attribute that the column shows: by id, by name, or by the name that import would
    /// give its column.
    fn find<'a>(&self, attributes: &'a [Attribute]) -> Option<&'a Attribute> {
        if let Some(id) = self.options.id("attribute_id") {
            return attributes.iter().find(|a| a.id == id);
        }
        if let Some(name) = self.options.get("attribute") {
            return attributes.iter().find(|a| a.name == name).or_else(|| {
                let lower = name.to_lowercase();
                attributes.iter().find(|a| a.name.to_lowercase() == lower)
            });
        }
        let names = tables::layout::column_names(attributes);
        let (id, _) = names.iter().find(|(_, name)| *name == self.name)?;
        attributes.iter().find(|a| a.id == *id)
    }

    fn of_field(
        &self,
        field: Field,
        attributes: &[Attribute],
        include: bool,
        types: &ObjectTypes,
    ) -> Resolution {
        let decode = match field {
            Field::Id | Field::ObjectTypeId => self.conversion.natural(Kind::Integer),
            Field::Created | Field::Updated => self.conversion.natural(Kind::DateTime),
            Field::Attributes => Decode::Json,
            Field::Key | Field::Label | Field::ObjectType | Field::Url => self.conversion.natural(Kind::Text),
        };
        let column = match field {
            Field::Id => Some(aql::Column::Id),
            Field::Key => Some(aql::Column::Key),
            Field::Created => Some(aql::Column::Created),
            Field::Updated => Some(aql::Column::Updated),
            Field::ObjectType if include => {
                Some(aql::Column::ObjectType { names: types.names.clone(), are_all: types.are_all })
            }
            // Another type's label may be another attribute.
            Field::Label if !include => {
                attributes.iter().find(|a| a.label && !a.multi && kind(a) == aql::Kind::Text).and_then(|a| {
                    let aql_name = self.options.get("aql_name");
                    (aql_name.is_some() || unambiguous(a, attributes.iter())).then(|| {
                        aql::Column::Attribute {
                            name: aql_name.unwrap_or(&a.name).to_owned(),
                            kind: aql::Kind::Text,
                            part: aql::Part::Value,
                        }
                    })
                })
            }
            _ => None,
        };
        self.resolution(Source::Field(field), decode, column, false, format!("{field:?}").to_lowercase())
    }

    fn of_attribute(
        &self,
        attribute: &Attribute,
        lists: &[Arc<[Attribute]>],
        target_is_seen: bool,
    ) -> Resolution {
        let part = match self.options.get("part") {
            None => Part::Value,
            Some("label") => Part::Label,
            Some("key") => Part::Key,
            Some("id") => Part::Id,
            Some("name") => Part::Name,
            Some("account_id") => Part::AccountId,
            Some("email") => Part::Email,
            Some(_) => Part::Category,
        };
        let kind = kind(attribute);
        let asked = match (kind, part) {
            (_, Part::Value) => aql::Part::Value,
            (aql::Kind::Object, Part::Label) => aql::Part::Value,
            (aql::Kind::Status | aql::Kind::User | aql::Kind::Group, Part::Name) => aql::Part::Value,
            (aql::Kind::Object, Part::Key) => aql::Part::Key,
            (aql::Kind::User, Part::AccountId) => aql::Part::AccountId,
            _ => aql::Part::Other,
        };
        let aql_name = self.options.get("aql_name");
        let all = lists.iter().flat_map(|list| list.iter());
        let column = (aql_name.is_some() || unambiguous(attribute, all)).then(|| aql::Column::Attribute {
            name: aql_name.unwrap_or(&attribute.name).to_owned(),
            kind,
            part: asked,
        });
        let natural = match part {
            Part::Value => self.conversion.natural(attribute.kind),
            Part::Id | Part::Category => self.conversion.natural(Kind::Integer),
            _ => self.conversion.natural(Kind::Text),
        };
        let mut resolution = self.resolution(
            Source::Attribute { id: attribute.id, part, kind: attribute.kind },
            natural,
            column,
            attribute.multi,
            attribute.name.clone(),
        );
        // Objects of a type without the attribute match no condition on it, not even `is EMPTY`
        // (assets-api.md 4.7), and are NULL here.
        if let Some(subject) = &mut resolution.subject {
            subject.stored.attribute = Some(attribute.id);
            subject.stored.target_is_seen = target_is_seen;
            subject.null_is_vague |= !lists.iter().all(|list| list.iter().any(|a| a.id == attribute.id));
        }
        resolution
    }

    /// What the column rests on.
    fn shown(&self, attribute: &Attribute, resolution: &Resolution) -> Shown {
        let asked_as = match resolution.subject.as_ref().map(|subject| &subject.column) {
            Some(aql::Column::Attribute { name, .. }) => Some(name.clone()),
            _ => None,
        };
        let as_label = self.field() == Some(Field::Label);
        let by_name = !as_label && self.options.id("attribute_id").is_none();
        Shown { id: attribute.id, asked_as, by_name, as_label }
    }

    fn resolution(
        &self,
        source: Source,
        decode: Decode,
        column: Option<aql::Column>,
        multi: bool,
        source_name: String,
    ) -> Resolution {
        let array = self.conversion.is_array();
        let subject = column.map(|column| aql::Subject {
            column,
            class: self.class,
            multi: multi || array,
            null_is_vague: self.options.get("on_invalid") == Some("null"),
            stored: aql::Stored::default(),
        });
        Resolution { spec: ColumnSpec { source, decode, array }, subject, source_name }
    }
}

impl Column {
    /// `on_invalid 'null'`
    pub fn null_if_invalid(&self) -> bool {
        self.options.get("on_invalid") == Some("null")
    }
}

/// Whether AQL can only mean this attribute by its name: names are matched ignoring case
/// (assets-api.md 4.3), and a hierarchy may use one name twice.
fn unambiguous<'a>(attribute: &Attribute, mut all: impl Iterator<Item = &'a Attribute>) -> bool {
    let folded = aql::name::folded(&attribute.name);
    all.all(|a| a.id == attribute.id || aql::name::folded(&a.name) != folded)
}

fn kind(attribute: &Attribute) -> aql::Kind {
    match attribute.kind {
        Kind::Text | Kind::Url | Kind::Email | Kind::Select => aql::Kind::Text,
        Kind::Textarea => aql::Kind::Rich,
        Kind::Integer => aql::Kind::Integer,
        Kind::Double => aql::Kind::Double,
        Kind::Boolean => aql::Kind::Boolean,
        Kind::Date => aql::Kind::Date,
        Kind::DateTime => aql::Kind::DateTime,
        Kind::IpAddress => aql::Kind::IpAddress,
        Kind::Object => aql::Kind::Object,
        Kind::User => aql::Kind::User,
        Kind::Group => aql::Kind::Group,
        Kind::Status => aql::Kind::Status,
        _ => aql::Kind::Other,
    }
}
