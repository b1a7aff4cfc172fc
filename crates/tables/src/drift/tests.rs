//! Random histories: what the changes do to a model of the tables is what IMPORT would have made, people's choices
//! stay, and compared again nothing is left but what was blocked.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use assets::model::{Attribute, Kind as Holds, ObjectSchema, ObjectType};

use super::*;
use crate::layout::{self, Options, References};

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

const KINDS: [Holds; 8] = [
    Holds::Text,
    Holds::Integer,
    Holds::Double,
    Holds::Boolean,
    Holds::DateTime,
    Holds::Object,
    Holds::User,
    Holds::IpAddress,
];

const NAMES: [&str; 8] =
    ["Owner", "owner", "Owner Key", "URL", "Xmin", "\"; DROP TABLE x; --", "?", "IP Address"];

fn attribute(id: i64, name: &str, kind: Holds, multi: bool) -> Attribute {
    Attribute {
        id,
        name: name.into(),
        description: String::new(),
        kind,
        multi,
        label: false,
        system: false,
        hidden: false,
        unique: false,
        position: id,
        reference_type_id: None,
        reference_schema_id: None,
        options: vec![],
        statuses: Vec::new(),
    }
}

fn object_type(id: i64, name: &str) -> ObjectType {
    ObjectType {
        id,
        name: name.into(),
        description: String::new(),
        schema_id: 1,
        parent_id: None,
        is_abstract: false,
        position: id,
        object_count: None,
    }
}

/// The service and the tables made of it.
struct World {
    remote: Remote,
    tables: Vec<LocalTable>,
    growth: Growth,
    next: i64,
}

fn world() -> World {
    let schema = ObjectSchema {
        id: 1,
        key: "IT".into(),
        name: "IT things".into(),
        description: "".into(),
        object_count: None,
    };
    let types: Vec<ObjectType> = vec![object_type(1, "Server"), object_type(2, "Employee")];
    let attributes = HashMap::from([
        (
            1,
            Arc::from([
                attribute(10, "Name", Holds::Text, false),
                attribute(11, "Owner", Holds::Object, false),
            ]),
        ),
        (2, Arc::from([attribute(20, "Name", Holds::Text, false)])),
    ]);
    let remote = Remote { schema, types: types.into(), attributes };
    let mut world = World {
        remote,
        tables: vec![],
        growth: Growth {
            options: Options::default(),
            types: vec![],
            server: "acme".into(),
            follow: Some(Follow {
                into: "r".into(),
                every: "5 minutes".into(),
                full_every: "1 day".into(),
                history: false,
                grants: vec![Grant {
                    privilege: "SELECT".into(),
                    role: Some("report".into()),
                    grantable: false,
                }],
            }),
        },
        next: 100,
    };
    world.sync(&mut |_| false);
    world
}

impl World {
    fn compare(&self) -> Vec<Change> {
        let taken = self.tables.iter().map(|t| t.relation.name.clone()).collect();
        compare("it", &self.tables, Some(&self.growth), &taken, &self.remote)
    }

    /// Does what is found, but for what `blocks`; gives the statements that were not done.
    fn sync(&mut self, blocks: &mut dyn FnMut(&Change) -> bool) -> Vec<String> {
        let mut changes = self.compare();
        for change in &mut changes {
            if change.disturbs().is_some() && blocks(change) {
                change.blocked.get_or_insert("a view depends on it".into());
            }
        }
        block_groups(&mut changes);
        for change in changes.iter().filter(|c| c.blocked.is_none()) {
            self.apply(change);
        }
        self.growth.types = self.remote.types.iter().map(|t| t.id).collect();
        for change in
            changes.iter().filter(|c| c.blocked.is_some() && matches!(c.action, Action::CreateTable { .. }))
        {
            self.growth.types.retain(|id| *id != change.object_type);
        }
        for table in &mut self.tables {
            let Some(object_type) = table.type_id().and_then(|id| self.remote.object_type(id)) else {
                continue;
            };
            let attributes = self.remote.attributes(object_type.id);
            let before =
                table.known.clone().unwrap_or_else(|| Known::of(object_type, &[], &self.growth.options));
            let now = Known::of(object_type, attributes, &before.options);
            let mine: Vec<Change> =
                changes.iter().filter(|c| c.object_type == object_type.id).cloned().collect();
            let exist: HashSet<i64> = attributes.iter().map(|a| a.id).collect();
            // A table made just now has been made of what there is.
            let fresh = mine.iter().any(|c| c.kind == Kind::NewType);
            table.known = Some(if fresh { now } else { settle(&before, now, &mine, &exist) });
        }
        changes.iter().filter(|c| c.blocked.is_some()).map(Change::statement).collect()
    }

    fn apply(&mut self, change: &Change) {
        let on = change.on.clone();
        if let Action::CreateTable { table, .. } = &change.action {
            assert!(self.tables.iter().all(|t| t.relation != on), "made twice: {}", change.statement());
            let owned = |list: &[(&'static str, String)]| -> Vec<(String, String)> {
                list.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect()
            };
            let column = |c: &layout::Column| LocalColumn {
                name: c.name.clone(),
                sql_type: canonical(&c.sql_type),
                options: owned(&c.options),
                comment: None,
            };
            self.tables.push(LocalTable {
                relation: on,
                options: owned(&table.options),
                comment: None,
                slots: table.columns.len(),
                columns: table.columns.iter().map(column).collect(),
                known: None,
                replicas: vec![],
            });
            return;
        }
        if change.foreign {
            let at = self.tables.iter().position(|t| t.relation == on).expect("a foreign table");
            match &change.action {
                Action::DropTable => {
                    assert!(self.tables[at].replicas.is_empty(), "a replica follows it");
                    self.tables.remove(at);
                    return;
                }
                Action::Materialize { into, .. } => {
                    let table = &mut self.tables[at];
                    let column = |c: &LocalColumn| ReplicaColumn {
                        name: c.name.clone(),
                        shows: None,
                        sql_type: c.sql_type.clone(),
                        comment: c.comment.clone(),
                        indexes: match c.part() {
                            "key" => vec![Relation::new("r", format!("{}_idx", c.name))],
                            _ => vec![],
                        },
                    };
                    table.replicas.push(Replica {
                        relation: into.clone(),
                        belongs_to: None,
                        history: false,
                        slots: table.columns.len(),
                        comment: table.comment.clone(),
                        columns: table.columns.iter().map(column).collect(),
                    });
                    return;
                }
                _ => {}
            }
            let table = &mut self.tables[at];
            let set = |options: &mut Vec<(String, String)>, name: &str, value: &str, add: bool| {
                assert_eq!(options.iter().all(|(n, _)| n != name), add, "option {name}");
                options.retain(|(n, _)| n != name);
                options.push((name.to_owned(), value.to_owned()));
            };
            match &change.action {
                Action::SetOption { name, value, add } => set(&mut table.options, name, value, *add),
                Action::DropOption { name } => table.options.retain(|(n, _)| n != name),
                Action::AddColumn { name, sql_type, options } => {
                    assert!(!table.has_column(name), "{}", change.statement());
                    table.slots += 1;
                    table.columns.push(LocalColumn {
                        name: name.clone(),
                        sql_type: canonical(sql_type),
                        options: options.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect(),
                        comment: None,
                    });
                }
                Action::DropColumn { name } => {
                    assert!(table.has_column(name), "{}", change.statement());
                    table.columns.retain(|c| c.name != *name);
                }
                Action::Retype { name, to, .. } => {
                    let column = table.columns.iter_mut().find(|c| c.name == *name).expect("a column");
                    column.sql_type = canonical(to);
                }
                Action::SetColumnOption { column, name, value } => {
                    let column = table.columns.iter_mut().find(|c| c.name == *column).expect("a column");
                    set(&mut column.options, name, value, false);
                }
                Action::Comment { column: None, text } => table.comment = text.clone(),
                Action::Comment { column: Some(name), text } => {
                    let column = table.columns.iter_mut().find(|c| c.name == *name).expect("a column");
                    column.comment = text.clone();
                }
                other => panic!("on a foreign table: {other:?}"),
            }
            return;
        }
        let table =
            self.tables.iter_mut().find(|t| t.replicas.iter().any(|r| r.relation == on)).expect("a replica");
        if change.action == Action::Dematerialize {
            return table.replicas.retain(|r| r.relation != on);
        }
        let replica = table.replicas.iter_mut().find(|r| r.relation == on).expect("a replica");
        match &change.action {
            Action::AddColumn { name, sql_type, .. } => {
                assert!(column(replica, name).is_none(), "{}", change.statement());
                replica.slots += 1;
                replica.columns.push(ReplicaColumn {
                    name: name.clone(),
                    shows: None,
                    sql_type: canonical(sql_type),
                    comment: None,
                    indexes: vec![],
                });
            }
            Action::DropColumn { name } => {
                assert!(column(replica, name).is_some(), "{}", change.statement());
                replica.columns.retain(|c| c.name != *name);
            }
            Action::Retype { name, from, to } => {
                let column = column(replica, name).expect("a column");
                assert_eq!(column.sql_type, canonical(from));
                assert!(
                    column.indexes.is_empty() || from.ends_with("[]") == to.ends_with("[]"),
                    "an index is in the way"
                );
                column.sql_type = canonical(to);
            }
            Action::Grant(_) => assert!(change.statement().ends_with(" TO \"report\"")),
            Action::RenameColumn { name, to } => {
                assert!(column(replica, to).is_none(), "{}", change.statement());
                column(replica, name).expect("a column").name = to.clone();
            }
            Action::Fill { name, from, .. } => {
                assert!(column(replica, name).is_some() && column(replica, from).is_some());
            }
            Action::Comment { column: None, text } => replica.comment = text.clone(),
            Action::Comment { column: Some(name), text } => {
                column(replica, name).expect("a column").comment = text.clone();
            }
            Action::CreateIndex { column: name, .. } => {
                let index = Relation::new("r", format!("{name}_idx"));
                column(replica, name).expect("a column").indexes.push(index);
            }
            Action::DropIndex { index } => {
                replica.columns.iter_mut().for_each(|c| c.indexes.retain(|i| i != index));
            }
            other => panic!("on a replica: {other:?}"),
        }
    }

    fn change_service(&mut self, random: &mut Random) {
        let mut types = self.remote.types.to_vec();
        let at = random.below(types.len());
        let id = types[at].id;
        let mut attributes = self.remote.attributes(id).to_vec();
        self.next += 1;
        match random.below(10) {
            0 => {
                types.push(object_type(self.next, NAMES[random.below(NAMES.len())]));
                self.remote
                    .attributes
                    .insert(self.next, Arc::from([attribute(self.next * 100, "Name", Holds::Text, false)]));
            }
            1 => types[at].name = NAMES[random.below(NAMES.len())].into(),
            2 if types.len() > 1 => {
                types.remove(at);
            }
            3 => types[at].is_abstract = !types[at].is_abstract,
            4 => types[at].description = format!("type of {}", self.next),
            5 | 6 => {
                let kind = KINDS[random.below(KINDS.len())];
                let name = NAMES[random.below(NAMES.len())];
                attributes.push(attribute(self.next, name, kind, random.chance(30)));
            }
            _ if attributes.is_empty() => {}
            n => {
                let at = random.below(attributes.len());
                match (n, random.below(3)) {
                    (7, 0) => {
                        attributes.remove(at);
                    }
                    (7, _) => attributes[at].name = NAMES[random.below(NAMES.len())].into(),
                    (8, _) => attributes[at].kind = KINDS[random.below(KINDS.len())],
                    (_, 0) => attributes[at].hidden = !attributes[at].hidden,
                    (_, 1) => attributes[at].description = format!("attribute of {}", self.next),
                    _ => attributes[at].multi = !attributes[at].multi,
                }
            }
        }
        self.remote.types = types.into();
        self.remote.attributes.insert(id, attributes.into());
    }

    /// What people do to imported tables.
    fn change_tables(&mut self, random: &mut Random) {
        self.next += 1;
        let name = format!("mine_{}", self.next);
        let at = random.below(self.tables.len());
        let Some(table) = self.tables.get_mut(at) else { return };
        let at = random.below(table.columns.len());
        match random.below(6) {
            0 => table.columns[at].name = name,
            1 if table.columns[at].attribute_id().is_some() => {
                table.columns.remove(at);
            }
            2 => table.columns[at].sql_type = "citext".into(),
            3 => table.columns[at].comment = Some("a note of mine".into()),
            4 => {
                for replica in &mut table.replicas {
                    replica.columns.push(ReplicaColumn {
                        name: name.clone(),
                        shows: None,
                        sql_type: "text".into(),
                        comment: None,
                        indexes: vec![],
                    });
                }
            }
            _ => table.columns.push(LocalColumn {
                name,
                sql_type: "text".into(),
                options: vec![],
                comment: None,
            }),
        }
    }
}

fn column<'a>(replica: &'a mut Replica, name: &str) -> Option<&'a mut ReplicaColumn> {
    replica.columns.iter_mut().find(|c| c.name == name)
}

type Shown = BTreeSet<(String, String, String, String)>;

/// Attribute, its name, part, and type of each column.
fn shown(columns: impl Iterator<Item = (Vec<(String, String)>, String)>) -> Shown {
    columns
        .filter_map(|(options, sql_type)| {
            let get = |name: &str| option(&options, name).unwrap_or("").to_owned();
            let id = get("attribute_id");
            (!id.is_empty()).then(|| (id, get("attribute"), get("part"), canonical(&sql_type)))
        })
        .collect()
}

#[test]
fn what_is_synced_is_what_import_would_make_and_nothing_is_left() {
    for seed in 1..150 {
        let mut random = Random(seed * 0x9E37_79B9);
        let mut world = world();
        for _ in 0..30 {
            for _ in 0..=random.below(4) {
                world.change_service(&mut random);
            }
            assert_eq!(world.sync(&mut |_| false), Vec::<String>::new(), "seed {seed}");
            let left: Vec<String> = world.compare().iter().map(Change::statement).collect();
            assert_eq!(left, Vec::<String>::new(), "seed {seed}");
            assert_eq!(world.tables.len(), world.remote.types.len(), "seed {seed}");
            for table in &world.tables {
                let object_type =
                    table.type_id().and_then(|id| world.remote.object_type(id)).expect("its type");
                let attributes = world.remote.attributes(object_type.id);
                let options = Options { include_hidden: true, ..Options::default() };
                let import = layout::table(&world.remote.schema, object_type, "x", attributes, &options);
                let wanted =
                    shown(import.columns.into_iter().map(|c| {
                        (c.options.into_iter().map(|(n, v)| (n.to_owned(), v)).collect(), c.sql_type)
                    }));
                let there = shown(table.columns.iter().map(|c| (c.options.clone(), c.sql_type.clone())));
                // What was hidden when it came has no column, and what changed while hidden waits for its return.
                let hidden: BTreeSet<String> =
                    attributes.iter().filter(|a| a.hidden).map(|a| a.id.to_string()).collect();
                let visible =
                    |list: Shown| -> Shown { list.into_iter().filter(|c| !hidden.contains(&c.0)).collect() };
                assert_eq!(visible(there), visible(wanted), "seed {seed}");
                assert_eq!(option(&table.options, "object_type"), Some(object_type.name.as_str()));
                assert_eq!(option(&table.options, "children") == Some("include"), object_type.is_abstract);
                for replica in &table.replicas {
                    let names = |n: usize| format!("{seed}: {n} columns");
                    assert_eq!(names(replica.columns.len()), names(table.columns.len()));
                    for c in &table.columns {
                        let held =
                            replica.columns.iter().find(|r| r.name == c.name).expect("the same column");
                        assert_eq!((&held.sql_type, &held.comment), (&c.sql_type, &c.comment), "seed {seed}");
                    }
                }
            }
        }
    }
}

/// A type that became abstract gets a column for the types of its objects, whatever people have called theirs.
#[test]
fn a_column_of_somebodys_that_is_called_object_type_stops_nothing() {
    let own = |name: &str| ReplicaColumn {
        name: name.into(),
        shows: None,
        sql_type: "text".into(),
        comment: None,
        indexes: vec![],
    };
    for (in_table, in_replica) in [(false, true), (true, false), (true, true)] {
        let mut world = world();
        let mut types = world.remote.types.to_vec();
        types[0].is_abstract = true;
        world.remote.types = types.into();
        let table = world.tables.iter_mut().find(|t| t.type_id() == Some(1)).expect("its table");
        if in_table {
            // An attribute, say, that somebody shows under that name.
            table.columns.push(LocalColumn {
                name: "object_type".into(),
                sql_type: "text".into(),
                comment: None,
                options: vec![("attribute_id".into(), "10".into())],
            });
        }
        let replica = &mut table.replicas[0];
        if in_table || in_replica {
            replica.columns.push(own("object_type"));
        }
        world.sync(&mut |_| false);
        let table = world.tables.iter().find(|t| t.type_id() == Some(1)).expect("its table");
        let is_it = |c: &&LocalColumn| option(&c.options, "field") == Some("object_type");
        let shown = table.columns.iter().find(is_it).expect("a column for the type");
        assert_eq!(shown.name, "object_type_1");
        assert!(table.replicas[0].columns.iter().any(|c| c.name == "object_type_1"));
    }
}

#[test]
fn with_peoples_changes_and_blocked_statements_exactly_those_are_left() {
    for seed in 1..150 {
        let mut random = Random(seed * 0x9E37_79B9 + 7);
        let mut world = world();
        for _ in 0..30 {
            for _ in 0..=random.below(4) {
                world.change_service(&mut random);
            }
            if random.chance(50) && !world.tables.is_empty() {
                world.change_tables(&mut random);
            }
            let mut chance = Random(random.0);
            let blocked = world.sync(&mut |_| chance.chance(30));
            let left: BTreeSet<String> = world.compare().iter().map(Change::statement).collect();
            assert_eq!(left, blocked.into_iter().collect(), "seed {seed}");
        }
    }
}

#[test]
fn what_people_chose_stays() {
    let mut world = world();
    let table = &mut world.tables[0];
    let at = |table: &LocalTable, name: &str| table.columns.iter().position(|c| c.name == name).expect("it");
    let (owner, key) = (at(table, "owner"), at(table, "owner_key"));
    table.columns[owner].name = "keeper".into();
    table.columns[owner].sql_type = "citext".into();
    table.columns.remove(key);
    world.remote.attributes.insert(
        1,
        Arc::from([attribute(10, "Name", Holds::Text, false), attribute(11, "Owner", Holds::Object, true)]),
    );
    let statements: Vec<String> = world.compare().iter().map(Change::statement).collect();
    assert_eq!(statements, Vec::<String>::new());
}

#[test]
fn a_table_made_by_hand_is_corrected_but_neither_grows_nor_shrinks() {
    let mut world = world();
    world.tables[0].known = None;
    world.remote.attributes.insert(
        1,
        Arc::from([attribute(10, "Called", Holds::Text, true), attribute(12, "New", Holds::Text, false)]),
    );
    let changes = world.compare();
    let done: Vec<String> = changes.iter().filter(|c| c.blocked.is_none()).map(Change::statement).collect();
    assert_eq!(
        done,
        [r#"ALTER FOREIGN TABLE "it"."server" ALTER COLUMN "name" OPTIONS (SET attribute 'Called')"#]
    );
    assert!(changes.iter().any(|c| c.kind == Kind::RemovedAttribute && c.blocked.is_some()));
    assert!(changes.iter().all(|c| c.kind != Kind::NewAttribute && c.kind != Kind::ChangedAttribute));
}

#[test]
fn statements_hold_whatever_assets_names() {
    let mut world = world();
    let evil = "a\"; DROP TABLE x; --'\\";
    world.remote.attributes.insert(
        1,
        Arc::from([
            attribute(10, "Name", Holds::Text, false),
            attribute(11, evil, Holds::Object, false),
            attribute(12, evil, Holds::Object, true),
            attribute(13, "Xmin", Holds::Integer, false),
            attribute(14, &"ü".repeat(90), Holds::User, false),
        ]),
    );
    let changes = world.compare();
    let statements: Vec<String> = changes.iter().map(Change::statement).collect();
    assert!(statements.contains(
        &r#"ALTER FOREIGN TABLE "it"."server" ALTER COLUMN "owner" OPTIONS (SET attribute E'a"; DROP TABLE x; --''\\')"#
            .to_owned()
    ));
    assert!(statements.iter().any(|s| s.contains(r#"ADD COLUMN "xmin_13" bigint"#)), "{statements:#?}");
    for change in &changes {
        if let Action::AddColumn { name, .. } = &change.action {
            assert!(name.len() <= crate::naming::MAX_BYTES, "{name}");
        }
    }
    world.sync(&mut |_| false);
    assert_eq!(world.compare(), vec![]);
}

#[test]
fn a_list_keeps_its_values_in_either_direction() {
    assert_eq!(
        convert::using("\"c\"", "text", "text[]"),
        "CASE WHEN (\"c\") IS NOT NULL THEN ARRAY[\"c\"] END"
    );
    assert_eq!(convert::using("\"c\"", "text[]", "text"), "(\"c\")[1]");
    assert_eq!(convert::using("\"c\"", "bigint[]", "text[]"), "\"c\"::text[]");
    assert_eq!(convert::using("\"c\"", "timestamptz", "inet"), "NULL::inet");
    assert_eq!(
        convert::using("\"c\"", "bigint", "text[]"),
        "CASE WHEN (\"c\"::text) IS NOT NULL THEN ARRAY[\"c\"::text] END"
    );
}

#[test]
fn a_full_table_takes_no_more_columns_and_says_so() {
    let mut world = world();
    world.tables[0].slots = layout::MAX_COLUMNS;
    let mut list = world.remote.attributes(1).to_vec();
    list.push(attribute(12, "One more", Holds::Text, false));
    world.remote.attributes.insert(1, list.into());
    let blocked = world.sync(&mut |_| false);
    assert_eq!(blocked.len(), 1, "{blocked:?}");
    assert_eq!(world.compare().len(), 1, "it is found again");
}

#[test]
fn another_roles_replica_is_left_alone() {
    let mut world = world();
    world.tables[0].replicas[0].belongs_to = Some("bob".into());
    world.remote.attributes.insert(1, Arc::from([attribute(10, "Name", Holds::Text, true)]));
    let blocked = world.sync(&mut |_| false);
    assert!(blocked.iter().all(|s| s.starts_with("ALTER TABLE \"r\".")), "{blocked:?}");
    assert_eq!(world.tables[0].replicas[0].columns.len(), 9);
}

#[test]
fn keys_alone_stay_keys_alone() {
    let mut world = world();
    world.growth.options.references = References::Key;
    world.remote.types = [world.remote.types.to_vec(), vec![object_type(3, "Rack")]].concat().into();
    world.remote.attributes.insert(3, Arc::from([attribute(30, "Owner", Holds::Object, false)]));
    world.sync(&mut |_| false);
    let mut list = world.remote.attributes(3).to_vec();
    list.push(attribute(31, "Room", Holds::Object, true));
    world.remote.attributes.insert(3, list.into());
    world.sync(&mut |_| false);
    let names: Vec<&str> = world.tables[2].columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["id", "key", "label", "owner_key", "created", "updated", "url", "room_key"]);
}

/// A world whose first table has a replica with a history.
fn with_history() -> World {
    let mut world = world();
    let table = &mut world.tables[0];
    let columns = table.replicas[0].columns.iter().cloned().map(|c| ReplicaColumn { indexes: vec![], ..c });
    let time = |name: &str| ReplicaColumn {
        name: name.into(),
        shows: None,
        sql_type: "timestamp with time zone".into(),
        comment: None,
        indexes: vec![],
    };
    let history = Replica {
        relation: Relation::new("r", "server_history"),
        belongs_to: None,
        history: true,
        slots: 11,
        comment: None,
        columns: columns.chain([time("valid_from"), time("valid_to")]).collect(),
    };
    table.replicas.push(history);
    world
}

#[test]
fn a_history_gets_what_the_replica_gets_and_loses_nothing() {
    let mut world = with_history();
    world.remote.attributes.insert(
        1,
        Arc::from([
            attribute(10, "Name", Holds::Text, true),
            attribute(12, "Valid From", Holds::Date, false),
            attribute(13, "Owner", Holds::Text, false),
        ]),
    );
    assert_eq!(world.sync(&mut |_| false), Vec::<String>::new());
    let replicas = &world.tables[0].replicas;
    let names = |r: &Replica| -> BTreeSet<String> {
        r.columns.iter().map(|c| format!("{} {}", c.name, c.sql_type)).collect()
    };
    let only_history: Vec<String> = names(&replicas[1]).difference(&names(&replicas[0])).cloned().collect();
    assert_eq!(
        only_history,
        [
            "owner text",
            "owner_key text",
            "valid_from timestamp with time zone",
            "valid_to timestamp with time zone"
        ]
    );
    assert!(
        names(&replicas[0]).contains("name text[]") && names(&replicas[0]).contains("valid_from_12 date")
    );
    assert!(names(&replicas[0]).is_subset(&names(&replicas[1])));
    assert_eq!(world.compare(), vec![]);
}

#[test]
fn values_of_a_history_that_do_not_fit_another_kind_stay_in_a_column_of_their_own() {
    let mut world = with_history();
    let turn = |world: &mut World, kind, multi| {
        world.remote.attributes.insert(1, Arc::from([attribute(10, "Name", kind, multi)]));
        assert_eq!(world.sync(&mut |_| false), Vec::<String>::new());
        assert_eq!(world.compare(), vec![]);
        let [replica, history] = &world.tables[0].replicas[..] else { panic!("a replica and its history") };
        let of = |r: &Replica| -> Vec<String> {
            let named = r.columns.iter().filter(|c| c.name.starts_with("name"));
            named.map(|c| format!("{} {}", c.name, c.sql_type)).collect()
        };
        (of(replica), of(history))
    };
    // From text to a number, to a list of numbers and back, to text, to one of several texts.
    assert_eq!(turn(&mut world, Holds::Integer, false).1, ["name_text text", "name bigint"]);
    assert_eq!(turn(&mut world, Holds::Integer, true).1, ["name_text text", "name bigint[]"]);
    assert_eq!(
        turn(&mut world, Holds::Integer, false).1,
        ["name_text text", "name_bigint_list bigint[]", "name bigint"]
    );
    let (replica, history) = turn(&mut world, Holds::Text, false);
    assert_eq!(replica, ["name text"]);
    assert_eq!(history, ["name_text text", "name_bigint_list bigint[]", "name text"]);
    assert_eq!(
        turn(&mut world, Holds::DateTime, false).1,
        ["name_text text", "name_bigint_list bigint[]", "name_text_2 text", "name timestamp with time zone"]
    );
}

#[test]
fn a_change_of_type_is_exact_where_every_value_can_be_had_again() {
    for (from, to) in [
        ("text", "text[]"),
        ("bigint", "text"),
        ("bigint[]", "text[]"),
        ("boolean", "text[]"),
        ("inet", "text"),
    ] {
        assert!(convert::is_exact(from, to), "{from} {to}");
    }
    for (from, to) in [
        ("text[]", "text"),
        ("bigint[]", "text"),
        ("text", "bigint"),
        ("bigint", "double precision"),
        ("double precision", "bigint"),
        ("date", "text"),
        ("timestamptz", "date"),
        ("date", "timestamptz"),
        ("time", "text"),
    ] {
        assert!(!convert::is_exact(from, to), "{from} {to}");
    }
}

#[test]
fn a_renamed_column_of_a_replica_is_followed_under_its_name() {
    let mut world = world();
    let replica = &mut world.tables[0].replicas[0];
    let shown = column(replica, "name").expect("a column");
    (shown.name, shown.shows) = ("host".into(), Some("name".into()));
    // A column of the user's own that has taken its name is none of ours.
    let own = ReplicaColumn {
        name: "name".into(),
        shows: None,
        sql_type: "text".into(),
        comment: None,
        indexes: vec![],
    };
    replica.columns.push(own);
    world.remote.attributes.insert(1, Arc::from([attribute(10, "Name", Holds::Text, true)]));
    let of = |world: &World| -> Vec<String> {
        let named =
            world.tables[0].replicas[0].columns.iter().filter(|c| c.name == "host" || c.name == "name");
        named.map(|c| format!("{} {}", c.name, c.sql_type)).collect()
    };
    assert_eq!(world.sync(&mut |_| false), Vec::<String>::new());
    assert_eq!(of(&world), ["host text[]", "name text"]);
    world.remote.attributes.insert(1, Arc::from([attribute(12, "Other", Holds::Text, false)]));
    assert_eq!(world.sync(&mut |_| false), Vec::<String>::new());
    assert_eq!(of(&world), ["name text"]);
    assert_eq!(world.compare(), vec![]);
}

#[test]
fn what_was_not_asked_about_is_neither_gone_nor_new() {
    let mut world = world();
    world.remote.attributes.remove(&1);
    world.remote.types = [world.remote.types.to_vec(), vec![object_type(3, "Rack")]].concat().into();
    assert_eq!(world.compare(), vec![]);
}
