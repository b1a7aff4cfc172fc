//! One foreign table, and its replicas, against its object type.

use std::collections::HashSet;

use assets::model::{Attribute, ObjectType};

use super::convert::{canonical, is_list};
use super::schema::{Remote, free_name, said};
use super::{Action, Change, Kind, LocalColumn, LocalTable, Relation, Replica, ReplicaColumn, option};
use crate::known::{Known, KnownAttribute};
use crate::layout::{self, MAX_COLUMNS};

pub(super) const FULL: &str =
    "the table would have more than PostgreSQL's 1600 columns, dropped ones included";
const BY_HAND: &str = "IMPORT did not make this table: yours to change";

/// What has been found so far, and the heading for what is found next.
pub(super) struct Comparison<'a> {
    pub(super) remote: &'a Remote,
    pub(super) changes: Vec<Change>,
    kind: Kind,
    object_type: i64,
    attribute: Option<i64>,
    pub(super) group: usize,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(remote: &'a Remote) -> Self {
        let changes = Vec::new();
        Self { remote, changes, kind: Kind::NewType, object_type: 0, attribute: None, group: 0 }
    }

    /// What is pushed from here on is one group, done together or not at all.
    pub(super) fn begin(&mut self, kind: Kind, object_type: i64, attribute: Option<i64>) {
        (self.kind, self.object_type, self.attribute) = (kind, object_type, attribute);
        self.group += 1;
    }

    pub(super) fn push(
        &mut self,
        on: &Relation,
        foreign: bool,
        action: Action,
        reason: String,
        blocked: Option<String>,
    ) {
        self.changes.push(Change {
            kind: self.kind,
            on: on.clone(),
            foreign,
            action,
            reason,
            group: self.group,
            object_type: self.object_type,
            attribute: self.attribute,
            blocked,
            others: false,
        });
    }

    /// The same on a replica, which may be another role's.
    pub(super) fn push_replica(
        &mut self,
        replica: &Replica,
        action: Action,
        reason: &str,
        blocked: Option<String>,
    ) {
        let others =
            replica.belongs_to.as_ref().map(|role| format!("the replica belongs to role \"{role}\""));
        self.push(&replica.relation, false, action, reason.to_owned(), others.clone().or(blocked));
        if let Some(last) = self.changes.last_mut() {
            last.others = others.is_some();
        }
    }

    pub(super) fn table(&mut self, table: &LocalTable) {
        let Some(id) = table.type_id() else { return };
        let Some(object_type) = self.remote.object_type(id) else { return self.removed_type(table, id) };
        self.names(table, object_type);
        if let Some(known) = &table.known {
            self.descendants(table, known, object_type);
            self.table_comment(table, known, object_type);
        }
        let own = self.remote.attributes(id);
        let include = option(&table.options, "children") == Some("include");
        let types = if include { self.remote.with_descendants(id) } else { vec![id] };
        let remote = self.remote;
        // What was not asked about (a table made meanwhile) is not gone.
        if types.iter().any(|id| !remote.attributes.contains_key(id)) {
            return;
        }
        let everywhere: Vec<&Attribute> = types.iter().flat_map(|id| remote.attributes(*id)).collect();
        self.renamed(table, id, &everywhere);
        self.removed(table, object_type, &everywhere);
        let Some(known) = &table.known else { return };
        let mut room = Room::of(table);
        let import = layout::column_names(own);
        for attribute in layout::shown(own, &known.options) {
            let base = import.iter().find(|(id, _)| *id == attribute.id).map_or("", |(_, name)| name);
            let before = known.attributes.get(&attribute.id);
            // First, while every column that has one is there.
            if let Some(before) = before {
                self.column_comments(table, attribute, before);
            }
            let none = KnownAttribute::default();
            let shown = Shown { table, known, object_type, attribute, base, before: before.unwrap_or(&none) };
            self.parts(&shown, &mut room);
        }
    }

    fn removed_type(&mut self, table: &LocalTable, id: i64) {
        self.begin(Kind::RemovedType, id, None);
        let name = option(&table.options, "object_type").unwrap_or("");
        let reason = format!("object type {} is gone, or may not be seen any more", said(name, id));
        let blocked = table.known.is_none().then(|| BY_HAND.to_owned());
        for replica in table.replicas.iter().filter(|r| r.belongs_to.is_none() && !r.history) {
            let kept = format!("{reason}; the replica keeps its rows as an ordinary table");
            self.push(&replica.relation, false, Action::Dematerialize, kept, blocked.clone());
        }
        self.push(&table.relation, true, Action::DropTable, reason, blocked);
    }

    /// The options that name things for people.
    fn names(&mut self, table: &LocalTable, object_type: &ObjectType) {
        let schema = &self.remote.schema;
        let wanted = [
            ("object_schema", schema.key.as_str(), "object schema", schema.id),
            ("object_type", object_type.name.as_str(), "object type", object_type.id),
        ];
        for (name, now, what, id) in wanted {
            match option(&table.options, name) {
                // An object schema may also be named by its name.
                Some(was) if was != now && !(name == "object_schema" && was == schema.name) => {
                    self.begin(Kind::RenamedType, object_type.id, None);
                    let reason =
                        format!("{what} {} is called \"{now}\" now; the table keeps its name", said(was, id));
                    let action = Action::SetOption { name, value: now.to_owned(), add: false };
                    self.push(&table.relation, true, action, reason, None);
                }
                _ => {}
            }
        }
    }

    /// A type that became abstract takes its descendants in, as IMPORT would have it; and back.
    fn descendants(&mut self, table: &LocalTable, known: &Known, object_type: &ObjectType) {
        let now = layout::includes_children(object_type, &known.options);
        let set = option(&table.options, "children");
        if now == known.include || (set == Some("include")) == now {
            return;
        }
        self.begin(Kind::ChangedType, object_type.id, None);
        let name = said(&object_type.name, object_type.id);
        if !now {
            let reason = format!("object type {name} is not abstract any more and stands for itself");
            return self.push(&table.relation, true, Action::DropOption { name: "children" }, reason, None);
        }
        let reason = format!("object type {name} is abstract now: the table takes in the types below it");
        let action = Action::SetOption { name: "children", value: "include".into(), add: set.is_none() };
        self.push(&table.relation, true, action, reason.clone(), None);
        let field = layout::fixed("object_type", "text");
        let shows = |c: &LocalColumn| match option(&c.options, "field") {
            Some(of) => of == field.name,
            None => c.name == field.name && c.options.is_empty(),
        };
        if table.columns.iter().any(shows) {
            return;
        }
        // Somebody may have a column of that name, in a replica or a history as well.
        let names = table.replicas.iter().flat_map(|r| r.columns.iter().map(|c| &c.name));
        let taken: HashSet<&String> = table.columns.iter().map(|c| &c.name).chain(names).collect();
        let name = free_name(&field.name, "", object_type.id, |name| taken.iter().any(|t| *t == name));
        let blocked = (table.slots >= MAX_COLUMNS).then(|| FULL.to_owned());
        let refused = blocked.is_some();
        let column =
            |options| Action::AddColumn { name: name.clone(), sql_type: field.sql_type.clone(), options };
        self.push(&table.relation, true, column(field.options.clone()), reason.clone(), blocked);
        if refused {
            return;
        }
        for replica in table.replicas.iter().filter(|r| complete(r, table)) {
            self.begin(Kind::ChangedType, object_type.id, None);
            let blocked = (replica.slots >= MAX_COLUMNS).then(|| FULL.to_owned());
            self.push_replica(replica, column(vec![]), &reason, blocked);
        }
    }

    fn renamed(&mut self, table: &LocalTable, type_id: i64, everywhere: &[&Attribute]) {
        for column in &table.columns {
            let Some(id) = column.attribute_id() else { continue };
            let Some(attribute) = everywhere.iter().find(|a| a.id == id) else { continue };
            match option(&column.options, "attribute") {
                Some(was) if was != attribute.name => {
                    self.begin(Kind::RenamedAttribute, type_id, Some(id));
                    let (was, now) = (said(was, id), &attribute.name);
                    let reason =
                        format!("attribute {was} is called \"{now}\" now; the column keeps its name");
                    let action = Action::SetColumnOption {
                        column: column.name.clone(),
                        name: "attribute",
                        value: now.clone(),
                    };
                    self.push(&table.relation, true, action, reason, None);
                }
                _ => {}
            }
        }
    }

    fn removed(&mut self, table: &LocalTable, object_type: &ObjectType, everywhere: &[&Attribute]) {
        let gone = |id: i64| everywhere.iter().all(|a| a.id != id);
        let of = said(&object_type.name, object_type.id);
        for column in &table.columns {
            let Some(id) = column.attribute_id().filter(|id| gone(*id)) else { continue };
            let name = option(&column.options, "attribute").unwrap_or(&column.name);
            let reason = format!("attribute {} of object type {of} is gone", said(name, id));
            let blocked = table.known.is_none().then(|| BY_HAND.to_owned());
            self.drop_column(table, column, object_type.id, id, &reason, blocked);
        }
        // What had to stay in a replica when its foreign table let go of it.
        let Some(known) = &table.known else { return };
        for (id, before) in &known.attributes {
            let reason = format!("what it showed of attribute (id {id}) of object type {of} is gone");
            for name in before.left.iter().filter(|name| !table.has_column(name)) {
                let held = |r: &&Replica| !r.history && r.columns.iter().any(|c| c.name == *name);
                for replica in table.replicas.iter().filter(held) {
                    self.begin(Kind::RemovedAttribute, object_type.id, Some(*id));
                    self.push_replica(replica, Action::DropColumn { name: name.clone() }, &reason, None);
                }
            }
        }
    }

    fn drop_column(
        &mut self,
        table: &LocalTable,
        column: &LocalColumn,
        type_id: i64,
        attribute: i64,
        reason: &str,
        blocked: Option<String>,
    ) {
        let kind = Kind::RemovedAttribute;
        let drop = |name: &str| Action::DropColumn { name: name.to_owned() };
        // Each by itself: a view on the one need not keep the other.
        for replica in table.replicas.iter().filter(|r| !r.history) {
            let Some(held) = column_of(replica, &column.name) else { continue };
            self.begin(kind, type_id, Some(attribute));
            self.push_replica(replica, drop(&held.name), reason, blocked.clone());
        }
        self.begin(kind, type_id, Some(attribute));
        self.push(&table.relation, true, drop(&column.name), reason.to_owned(), blocked);
    }

    /// The parts that an attribute has now against those that it had.
    fn parts(&mut self, shown: &Shown, room: &mut Room) {
        let Shown { table, known, object_type, attribute, base, before } = *shown;
        let now = layout::attribute_columns(attribute, "", known.options.references);
        let mine = || table.columns.iter().filter(|c| c.attribute_id() == Some(attribute.id));
        let is_new = before.parts.is_empty();
        let kind = if is_new { Kind::NewAttribute } else { Kind::ChangedAttribute };
        let of = said(&object_type.name, object_type.id);
        let what = said(&attribute.name, attribute.id);

        // Parts that it has no more: a reference that became a text has no key.
        for (part, _) in before.parts.iter().filter(|(part, _)| now.iter().all(|c| c.part() != part.as_str()))
        {
            for column in mine().filter(|c| c.part() == part.as_str()) {
                let reason = format!("attribute {what} of object type {of} has no part \"{part}\" any more");
                self.drop_column(table, column, object_type.id, attribute.id, &reason, None);
            }
        }
        for column in &now {
            let Some(was) = before.parts.get(column.part()) else { continue };
            if canonical(was) != canonical(&column.sql_type) {
                let reason = format!(
                    "attribute {what} of object type {of} makes {} now, not {}",
                    canonical(&column.sql_type),
                    canonical(was)
                );
                for local in mine().filter(|c| c.part() == column.part()) {
                    self.begin(kind, object_type.id, Some(attribute.id));
                    self.retype(table, local, was, &column.sql_type, &reason);
                }
            }
        }
        let missing: Vec<&layout::Column> = now
            .iter()
            .filter(|c| !before.parts.contains_key(c.part()) && mine().all(|m| m.part() != c.part()))
            .collect();
        if missing.is_empty() {
            return;
        }
        let reason = match is_new {
            true => format!("attribute {what} of object type {of} is new"),
            false => format!("attribute {what} of object type {of} has more parts now"),
        };
        let base = mine().find(|c| c.part().is_empty()).map_or(base, |c| c.name.as_str());
        for column in missing {
            let name = free_name(base, &column.name, attribute.id, |name| room.taken.contains(name));
            room.taken.insert(name.clone());
            self.add(shown, kind, column, name, &reason, room);
        }
    }

    fn add(
        &mut self,
        shown: &Shown,
        kind: Kind,
        column: &layout::Column,
        name: String,
        reason: &str,
        room: &mut Room,
    ) {
        let (table, type_id, attribute) = (shown.table, shown.object_type.id, shown.attribute.id);
        let add =
            |options| Action::AddColumn { name: name.clone(), sql_type: column.sql_type.clone(), options };
        let comment = column
            .comment
            .clone()
            .map(|text| Action::Comment { column: Some(name.clone()), text: Some(text) });
        let index = (column.part() == "key")
            .then(|| Action::CreateIndex { column: name.clone(), list: is_list(&column.sql_type) });
        room.foreign += 1;
        let full = |slots: usize| (slots > MAX_COLUMNS).then(|| FULL.to_owned());
        let blocked = full(room.foreign);
        let refused = blocked.is_some();
        self.begin(kind, type_id, Some(attribute));
        self.push(&table.relation, true, add(column.options.clone()), reason.to_owned(), blocked);
        if let Some(comment) = &comment {
            self.push(&table.relation, true, comment.clone(), reason.to_owned(), None);
        }
        if refused {
            return;
        }
        for (replica, slots) in table.replicas.iter().zip(&mut room.replicas) {
            if !complete(replica, table) {
                continue;
            }
            *slots += 1;
            self.begin(kind, type_id, Some(attribute));
            self.push_replica(replica, add(vec![]), reason, full(*slots));
            for action in comment.iter().chain(&index).filter(|_| !replica.history) {
                self.push_replica(replica, action.clone(), reason, None);
            }
        }
    }
}

/// An attribute and what a table shows of it.
#[derive(Clone, Copy)]
struct Shown<'a> {
    table: &'a LocalTable,
    known: &'a Known,
    object_type: &'a ObjectType,
    attribute: &'a Attribute,
    /// The name that IMPORT would give its column.
    base: &'a str,
    before: &'a KnownAttribute,
}

/// Names and places that are taken.
struct Room {
    taken: HashSet<String>,
    foreign: usize,
    replicas: Vec<usize>,
}

impl Room {
    fn of(table: &LocalTable) -> Self {
        let mut taken: HashSet<String> =
            layout::FIXED.iter().chain(&layout::SYSTEM).map(|name| (*name).to_owned()).collect();
        taken.extend(table.columns.iter().map(|c| c.name.clone()));
        taken.extend(table.replicas.iter().flat_map(|r| r.columns.iter().map(|c| c.name.clone())));
        let replicas = table.replicas.iter().map(|r| r.slots).collect();
        Self { taken, foreign: table.slots, replicas }
    }
}

/// Whether a replica has all the columns of its source; one that has not was made so by somebody.
fn complete(replica: &Replica, table: &LocalTable) -> bool {
    table.columns.iter().all(|c| column_of(replica, &c.name).is_some())
}

/// The column of a replica that shows one of its source.
pub(super) fn column_of<'a>(replica: &'a Replica, name: &str) -> Option<&'a ReplicaColumn> {
    let known = replica.columns.iter().find(|c| c.shows.as_deref() == Some(name));
    known.or_else(|| replica.columns.iter().find(|c| c.shows.is_none() && c.name == name))
}
