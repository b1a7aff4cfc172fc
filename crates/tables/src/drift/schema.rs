//! A whole local schema against an object schema.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use assets::model::{Attribute, ObjectSchema, ObjectType};

use super::table::Comparison;
use super::{Action, Change, Kind, LocalTable, Relation};
use crate::layout::{self, MAX_COLUMNS, Options};
use crate::naming;

/// An object schema as the service shows it now.
#[derive(Debug, Clone)]
pub struct Remote {
    /// The object schema.
    pub schema: ObjectSchema,
    /// All its object types.
    pub types: Arc<[ObjectType]>,
    /// Attributes by type, inherited ones included; of every type that a table shows or is to show.
    pub attributes: HashMap<i64, Arc<[Attribute]>>,
}

impl Remote {
    /// A type by its id.
    pub fn object_type(&self, id: i64) -> Option<&ObjectType> {
        self.types.iter().find(|t| t.id == id)
    }

    pub(super) fn attributes(&self, id: i64) -> &[Attribute] {
        self.attributes.get(&id).map_or(&[], |list| list)
    }

    /// A type and everything below it.
    pub fn with_descendants(&self, root: i64) -> Vec<i64> {
        let mut found = vec![root];
        let mut next = 0;
        while let Some(parent) = found.get(next).copied() {
            next += 1;
            for child in self.types.iter().filter(|t| t.parent_id == Some(parent)) {
                if !found.contains(&child.id) {
                    found.push(child.id);
                }
            }
        }
        found
    }
}

/// How a local schema grows: an IMPORT of a whole object schema wants types that come later, too.
#[derive(Debug, Clone, PartialEq)]
pub struct Growth {
    /// The options of that IMPORT.
    pub options: Options,
    /// The types that it, or a sync since, has seen.
    pub types: Vec<i64>,
    /// The foreign server.
    pub server: String,
    /// Where replicas of new tables go, if they are wanted.
    pub follow: Option<Follow>,
}

/// What `materialize_schema()` was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Follow {
    /// The replicas' schema.
    pub into: String,
    /// `every`
    pub every: String,
    /// `full_every`
    pub full_every: String,
    /// `history`
    pub history: bool,
    /// What all the replicas that are there grant alike.
    pub grants: Vec<Grant>,
}

/// A right on a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// `SELECT`, say.
    pub privilege: String,
    /// The role; none for PUBLIC.
    pub role: Option<String>,
    /// `WITH GRANT OPTION`
    pub grantable: bool,
}

/// What has to change. `tables` are those of one local schema that show types of this object schema;
/// `taken` are the names of everything in the local schema.
pub fn compare(
    local_schema: &str,
    tables: &[LocalTable],
    growth: Option<&Growth>,
    taken: &HashSet<String>,
    remote: &Remote,
) -> Vec<Change> {
    let mut found = Comparison::new(remote);
    for table in tables {
        found.table(table);
    }
    if let Some(growth) = growth {
        new_types(&mut found, local_schema, tables, growth, taken);
    }
    found.changes
}

fn new_types(
    found: &mut Comparison,
    local_schema: &str,
    tables: &[LocalTable],
    growth: &Growth,
    taken: &HashSet<String>,
) {
    let remote = found.remote;
    let shown: HashSet<i64> = tables.iter().filter_map(LocalTable::type_id).collect();
    let names = layout::table_names(&remote.types);
    let mut taken = taken.clone();
    let mut new: Vec<&ObjectType> =
        remote.types.iter().filter(|t| !growth.types.contains(&t.id) && !shown.contains(&t.id)).collect();
    new.sort_by_key(|t| (t.position, t.id));
    for object_type in new {
        let Some((_, name)) = names.iter().find(|(id, _)| *id == object_type.id) else { continue };
        let name = free_name(name, "", object_type.id, |name| taken.contains(name));
        taken.insert(name.clone());
        // One that nobody asked about is new the next time.
        let Some(attributes) = remote.attributes.get(&object_type.id) else { continue };
        let table = layout::table(&remote.schema, object_type, &name, attributes, &growth.options);
        found.begin(Kind::NewType, object_type.id, None);
        let why = format!("object type {} is new", said(&object_type.name, object_type.id));
        let on = Relation::new(local_schema, name);
        let blocked = (table.columns.len() > MAX_COLUMNS).then(|| {
            format!("it would have {} columns, more than PostgreSQL's {MAX_COLUMNS}", table.columns.len())
        });
        let comments = comments(&table);
        let timed = table.columns.iter().find(|c| matches!(c.name.as_str(), "valid_from" | "valid_to"));
        let timed =
            timed.map(|c| format!("a history cannot be kept of a table with a column \"{}\"", c.name));
        let refused = blocked.is_some();
        let create = Action::CreateTable { table, server: growth.server.clone() };
        found.push(&on, true, create, why.clone(), blocked);
        for comment in comments {
            found.push(&on, true, comment, why.clone(), None);
        }
        if let Some(follow) = growth.follow.as_ref().filter(|_| !refused) {
            // By itself: a table in its place need not keep the foreign table from being made.
            found.begin(Kind::NewType, object_type.id, None);
            let action = Action::Materialize {
                into: Relation::new(&follow.into, &on.name),
                every: follow.every.clone(),
                full_every: follow.full_every.clone(),
                history: follow.history,
            };
            let timed = timed.filter(|_| follow.history);
            found.push(&on, true, action, why.clone(), timed.clone());
            let into = Relation::new(&follow.into, &on.name);
            for grant in &follow.grants {
                let why = format!("{why}; the other replicas grant it, too");
                found.push(&into, false, Action::Grant(grant.clone()), why, timed.clone());
            }
        }
    }
}

fn comments(table: &layout::Table) -> Vec<Action> {
    let comment = |column: Option<&str>, text: &Option<String>| {
        let text = Some(text.clone()?);
        Some(Action::Comment { column: column.map(str::to_owned), text })
    };
    let columns = table.columns.iter().map(|c| comment(Some(&c.name), &c.comment));
    std::iter::once(comment(None, &table.comment)).chain(columns).flatten().collect()
}

/// `base` with `suffix`, or with the id in between where that name is taken.
pub(super) fn free_name(base: &str, suffix: &str, id: i64, taken: impl Fn(&str) -> bool) -> String {
    let mut between = String::new();
    loop {
        let name = naming::fit(base, &format!("{between}{suffix}"));
        if !taken(&name) {
            return name;
        }
        between.push_str(&format!("_{id}"));
    }
}

/// A name of Assets' in a sentence.
pub(super) fn said(name: &str, id: i64) -> String {
    format!("\"{name}\" (id {id})")
}
