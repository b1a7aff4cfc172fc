//! The columns of an object type's table.

use assets::model::{Attribute, Kind, ObjectSchema, ObjectType};
use serde::{Deserialize, Serialize};

use crate::naming;

/// Names that the fixed columns keep, present or not, so that a name never depends on options.
pub const FIXED: [&str; 8] = ["id", "key", "label", "object_type", "created", "updated", "url", "attributes"];

/// Those of them that no object lacks (assets-api.md 3.1).
pub const NEVER_NULL: [&str; 4] = ["id", "key", "created", "updated"];

/// Columns that every table of PostgreSQL has without showing them.
pub const SYSTEM: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// PostgreSQL's limit for the columns of a table, dropped ones included (MaxHeapAttributeNumber).
pub const MAX_COLUMNS: usize = 1600;

/// Which columns a reference gets (IMPORT option `references`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum References {
    /// Label and key.
    #[default]
    Both,
    /// The key alone.
    Key,
    /// The label alone.
    Label,
}

/// Whether a type's table holds its descendants' objects too (IMPORT option `children`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Children {
    /// An abstract type takes its descendants in, any other stands for itself.
    #[default]
    Auto,
    /// Always.
    Include,
    /// Never.
    Exclude,
}

/// Options of IMPORT FOREIGN SCHEMA.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Options {
    /// `children`
    pub children: Children,
    /// `references`
    pub references: References,
    /// `raw`: adds `attributes jsonb`.
    pub raw: bool,
    /// `include_hidden`
    pub include_hidden: bool,
}

/// A column of a table to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its SQL type.
    pub sql_type: String,
    /// Its options, in order.
    pub options: Vec<(&'static str, String)>,
    /// Its comment, from the attribute's description.
    pub comment: Option<String>,
}

impl Column {
    /// The part of the attribute that it shows (`key`, say), "" for the attribute itself.
    pub fn part(&self) -> &str {
        self.options.iter().find(|(name, _)| *name == "part").map_or("", |(_, value)| value)
    }

    /// Whether every object has a value there, so that the column is declared NOT NULL. A scan makes an
    /// object that has none all the same an error: PostgreSQL relies on the declaration.
    pub fn is_never_null(&self) -> bool {
        let of = |name: &str| NEVER_NULL.contains(&name);
        self.options.iter().any(|(name, value)| *name == "field" && of(value))
    }
}

/// A table to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its options, in order.
    pub options: Vec<(&'static str, String)>,
    /// Its columns, in order.
    pub columns: Vec<Column>,
    /// Its comment, from the object type's description.
    pub comment: Option<String>,
}

/// The SQL type of one value of an attribute (interface.md 2).
pub fn scalar_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Integer => "bigint",
        Kind::Double => "double precision",
        Kind::Boolean => "boolean",
        Kind::Date => "date",
        Kind::Time => "time",
        Kind::DateTime => "timestamptz",
        Kind::IpAddress => "inet",
        _ => "text",
    }
}

fn endings(kind: Kind, references: References) -> &'static [&'static str] {
    match (kind, references) {
        (Kind::Object, References::Both | References::Key) => &["_key"],
        (Kind::User, _) => &["_account_id"],
        _ => &[],
    }
}

/// Whether an attribute is one of the fixed columns already.
fn is_fixed(attribute: &Attribute) -> bool {
    attribute.system && matches!(attribute.name.to_lowercase().as_str(), "key" | "created" | "updated")
}

/// The names of the tables of a schema's object types, by type id.
pub fn table_names(types: &[ObjectType]) -> Vec<(i64, String)> {
    const NONE: &[&str] = &[];
    naming::assign(types.iter().map(|t| (t.id, t.name.as_str(), NONE)), &[], "object_type")
}

/// The names of the columns of an object type's attributes, by attribute id.
pub fn column_names(attributes: &[Attribute]) -> Vec<(i64, String)> {
    let named = attributes.iter().filter(|a| !is_fixed(a));
    // Companions are set aside whether they are imported or not: a name never depends on options.
    naming::assign(
        named.map(|a| (a.id, a.name.as_str(), endings(a.kind, References::Both))),
        &[&FIXED[..], &SYSTEM].concat(),
        "attribute",
    )
}

/// The attributes that get columns, in order.
pub fn shown<'a>(attributes: &'a [Attribute], options: &Options) -> Vec<&'a Attribute> {
    let mut ordered: Vec<&Attribute> =
        attributes.iter().filter(|a| !is_fixed(a) && (options.include_hidden || !a.hidden)).collect();
    ordered.sort_by_key(|a| (a.position, a.id));
    ordered
}

/// Whether a type's table takes its descendants in.
pub fn includes_children(object_type: &ObjectType, options: &Options) -> bool {
    match options.children {
        Children::Auto => object_type.is_abstract,
        Children::Include => true,
        Children::Exclude => false,
    }
}

/// The table of an object type. `attributes` are those of the type, inherited ones included.
pub fn table(
    schema: &ObjectSchema,
    object_type: &ObjectType,
    name: &str,
    attributes: &[Attribute],
    options: &Options,
) -> Table {
    let children = includes_children(object_type, options);
    let mut columns = vec![fixed("id", "bigint"), fixed("key", "text"), fixed("label", "text")];
    if children {
        columns.push(fixed("object_type", "text"));
    }
    let names = column_names(attributes);
    for attribute in shown(attributes, options) {
        let Some((_, base)) = names.iter().find(|(id, _)| *id == attribute.id) else { continue };
        columns.extend(attribute_columns(attribute, base, options.references));
    }
    columns.extend([fixed("created", "timestamptz"), fixed("updated", "timestamptz"), fixed("url", "text")]);
    if options.raw {
        columns.push(fixed("attributes", "jsonb"));
    }
    let mut table_options = vec![
        ("object_schema", schema.key.clone()),
        ("object_schema_id", schema.id.to_string()),
        ("object_type", object_type.name.clone()),
        ("object_type_id", object_type.id.to_string()),
    ];
    if children {
        table_options.push(("children", "include".to_owned()));
    }
    Table { name: name.to_owned(), options: table_options, columns, comment: text(&object_type.description) }
}

/// The columns of an attribute, named after `base`.
pub fn attribute_columns(attribute: &Attribute, base: &str, references: References) -> Vec<Column> {
    let array = if attribute.multi { "[]" } else { "" };
    let column = |name: String, part: Option<&str>| {
        let mut options =
            vec![("attribute", attribute.name.clone()), ("attribute_id", attribute.id.to_string())];
        if let Some(part) = part {
            options.push(("part", part.to_owned()));
        }
        let sql_type = format!("{}{array}", scalar_type(attribute.kind));
        Column { name, sql_type, options, comment: text(&attribute.description) }
    };
    let plain = || column(base.to_owned(), None);
    match attribute.kind {
        Kind::Object => {
            let key = || column(format!("{base}_key"), Some("key"));
            match references {
                References::Both => vec![plain(), key()],
                References::Key => vec![key()],
                References::Label => vec![plain()],
            }
        }
        Kind::User => vec![plain(), column(format!("{base}_account_id"), Some("account_id"))],
        _ => vec![plain()],
    }
}

/// A fixed column.
pub fn fixed(name: &'static str, sql_type: &str) -> Column {
    Column {
        name: name.to_owned(),
        sql_type: sql_type.to_owned(),
        options: vec![("field", name.to_owned())],
        comment: None,
    }
}

/// A description as a comment; none where it is empty.
pub fn text(description: &str) -> Option<String> {
    let trimmed = description.trim();
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}
