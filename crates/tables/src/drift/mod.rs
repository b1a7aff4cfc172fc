//! Drift: what has to change so that tables follow object types that changed since they were made.
//!
//! Compared are a foreign table as it is, what IMPORT saw when it made it ([`Known`]), and what
//! IMPORT would see now. Only what changed in between is followed; what people chose stays:
//!
//! - **Names stay.** A type or an attribute that is renamed in Assets keeps its table and its column;
//!   only the option that names it for people follows. Ids rule what is read, views follow columns by
//!   number, but dashboards and scripts name them: a rename would break those and help nobody.
//! - A column that somebody dropped does not come back, one that somebody renamed keeps that name, a
//!   type or a comment that is not the imported one was chosen and stays.
//! - A history loses nothing: a column whose values do not all fit another type goes on under the name of its old one,
//!   and a new column takes its place.
//! - Columns that go, go where nothing depends on them; a dependent view blocks and is reported.
//!   A type that is gone takes its foreign table along; its replica keeps its rows as an ordinary table.
//! - Tables that IMPORT did not make get their option names corrected; nothing is added to them, and
//!   what is gone is reported, theirs to change. Without ids in their options they are left alone.
//!
//! Applied and compared again, nothing is left but what was blocked (`tests`).

mod comments;
mod convert;
mod print;
mod retype;
mod schema;
mod settle;
mod table;
#[cfg(test)]
mod tests;

pub use convert::canonical;
pub use schema::{Follow, Grant, Growth, Remote, compare};
pub use settle::settle;

use crate::ddl::ident;
use crate::known::Known;
use crate::layout::Table;

/// A relation's qualified name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Relation {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
}

impl Relation {
    /// A relation's name.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }

    /// As statements write it.
    pub fn quoted(&self) -> String {
        format!("{}.{}", ident(&self.schema), ident(&self.name))
    }
}

/// A foreign table as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalTable {
    /// Its name.
    pub relation: Relation,
    /// Its options.
    pub options: Vec<(String, String)>,
    /// Its comment.
    pub comment: Option<String>,
    /// How many columns it has ever had: dropped ones count towards PostgreSQL's limit.
    pub slots: usize,
    /// Its columns, in order.
    pub columns: Vec<LocalColumn>,
    /// What was made of its type; none where IMPORT did not make it.
    pub known: Option<Known>,
    /// The replicas that follow it.
    pub replicas: Vec<Replica>,
}

impl LocalTable {
    /// `object_type_id`
    pub fn type_id(&self) -> Option<i64> {
        option(&self.options, "object_type_id")?.parse().ok()
    }

    fn has_column(&self, name: &str) -> bool {
        self.columns.iter().any(|c| c.name == name)
    }
}

/// A column of a foreign table.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalColumn {
    /// Its name.
    pub name: String,
    /// Its type, as `format_type` says it.
    pub sql_type: String,
    /// Its options.
    pub options: Vec<(String, String)>,
    /// Its comment.
    pub comment: Option<String>,
}

impl LocalColumn {
    fn attribute_id(&self) -> Option<i64> {
        option(&self.options, "attribute_id")?.parse().ok()
    }

    fn part(&self) -> &str {
        option(&self.options, "part").unwrap_or("")
    }
}

/// A replica of a foreign table, or a replica's history.
#[derive(Debug, Clone, PartialEq)]
pub struct Replica {
    /// Its name.
    pub relation: Relation,
    /// The role that it belongs to, where that is not the one who syncs.
    pub belongs_to: Option<String>,
    /// Whether it is the history of one: it gets columns and types as the replica does, so that versions can
    /// be compared with rows, and loses neither columns nor values.
    pub history: bool,
    /// As [`LocalTable::slots`].
    pub slots: usize,
    /// Its comment.
    pub comment: Option<String>,
    /// Its columns.
    pub columns: Vec<ReplicaColumn>,
}

/// A column of a replica.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplicaColumn {
    /// Its name.
    pub name: String,
    /// The column of the foreign table that it shows, where that is known; else the one of its name.
    pub shows: Option<String>,
    /// Its type, as `format_type` says it.
    pub sql_type: String,
    /// Its comment.
    pub comment: Option<String>,
    /// Plain indexes of this column alone, which a change between one value and a list has to make anew.
    pub indexes: Vec<Relation>,
}

fn option<'a>(options: &'a [(String, String)], name: &str) -> Option<&'a str> {
    options.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// What happened in Assets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    NewType,
    RenamedType,
    ChangedType,
    RemovedType,
    NewAttribute,
    RenamedAttribute,
    ChangedAttribute,
    RemovedAttribute,
    Description,
}

impl Kind {
    /// As the SQL functions say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::NewType => "new type",
            Kind::RenamedType => "renamed type",
            Kind::ChangedType => "changed type",
            Kind::RemovedType => "removed type",
            Kind::NewAttribute => "new attribute",
            Kind::RenamedAttribute => "renamed attribute",
            Kind::ChangedAttribute => "changed attribute",
            Kind::RemovedAttribute => "removed attribute",
            Kind::Description => "description",
        }
    }
}

/// What to do about it; [`Change::statement`] prints it.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Action {
    /// A foreign table is made.
    CreateTable { table: Table, server: String },
    /// A foreign table goes.
    DropTable,
    /// An option of a foreign table. `add`: it had none of that name.
    SetOption { name: &'static str, value: String, add: bool },
    /// An option of a foreign table goes.
    DropOption { name: &'static str },
    /// A column comes. `options` only in foreign tables.
    AddColumn { name: String, sql_type: String, options: Vec<(&'static str, String)> },
    /// A column goes.
    DropColumn { name: String },
    /// A column gets another type.
    Retype { name: String, from: String, to: String },
    /// A column of a history goes on under another name, with its values.
    RenameColumn { name: String, to: String },
    /// What fits of a column's values, in another column.
    Fill { name: String, to: String, from: String, was: String },
    /// An option of a column that has it.
    SetColumnOption { column: String, name: &'static str, value: String },
    /// A comment; on the table where `column` is none.
    Comment { column: Option<String>, text: Option<String> },
    /// An index of one column. `list`: it holds several values.
    CreateIndex { column: String, list: bool },
    /// An index goes.
    DropIndex { index: Relation },
    /// A replica is made of a new foreign table.
    Materialize { into: Relation, every: String, full_every: String, history: bool },
    /// A replica that was made just now gets a right that all others have.
    Grant(Grant),
    /// A replica becomes an ordinary table.
    Dematerialize,
}

/// One statement and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What happened in Assets.
    pub kind: Kind,
    /// The table that the statement changes.
    pub on: Relation,
    /// Whether that is a foreign table; else it is a replica.
    pub foreign: bool,
    /// What to do.
    pub action: Action,
    /// What happened, in words.
    pub reason: String,
    /// Changes of one group are done together or not at all.
    pub group: usize,
    /// The object type concerned.
    pub object_type: i64,
    /// The attribute concerned.
    pub attribute: Option<i64>,
    /// Why it cannot be done.
    pub blocked: Option<String>,
    /// It would change another role's replica.
    pub others: bool,
}

/// What a change takes away from those that depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbs<'a> {
    /// The table.
    Table,
    /// A column.
    Column(&'a str),
    /// A column's type.
    Type(&'a str),
}

impl Change {
    /// What the change takes away; none where nothing can depend on it.
    pub fn disturbs(&self) -> Option<Disturbs<'_>> {
        match &self.action {
            Action::DropTable => Some(Disturbs::Table),
            Action::DropColumn { name } => Some(Disturbs::Column(name)),
            Action::Retype { name, .. } => Some(Disturbs::Type(name)),
            _ => None,
        }
    }
}

/// Blocks whatever belongs together with something that is blocked.
pub fn block_groups(changes: &mut [Change]) {
    let blocked: Vec<(usize, String)> =
        changes.iter().filter_map(|c| Some((c.group, c.blocked.clone()?))).collect();
    for change in changes.iter_mut().filter(|c| c.blocked.is_none()) {
        change.blocked = blocked.iter().find(|(group, _)| *group == change.group).map(|(_, why)| why.clone());
    }
}
