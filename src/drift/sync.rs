//! A local schema against the service: what has to change, what stands in its way, and doing it.
#![allow(unsafe_code)] // the lock on the schema

use std::collections::HashSet;

use assets::client::Client;
use pgrx::pg_sys;
use pgrx::prelude::*;
use tables::ddl::ident;
use tables::drift::{Action, Change, Disturbs, Follow, Growth, Kind, Relation, Remote};
use tables::drift::{LocalColumn, ReplicaColumn};
use tables::drift::{block_groups, compare, settle};
use tables::known::Known;

use super::ask::{self, Question};
use super::gather::{Gathered, Table, gather, schema_oid};
use super::memory;
use crate::replica::kept::jobs;
use crate::replica::process::shared;
use crate::replica::table::{rights, versions};
use crate::sql::spi::{as_extension, execute, query, query_one};
use crate::{error, runtime, session};

/// One object schema that a local schema shows.
pub struct Asked {
    /// The foreign server.
    pub server: pg_sys::Oid,
    /// Its connection.
    pub client: std::sync::Arc<Client>,
    /// What to ask.
    pub question: Question,
}

/// The answer.
pub struct Answer {
    /// The foreign server.
    pub server: pg_sys::Oid,
    /// The types that were asked about.
    pub types: Vec<(i64, bool)>,
    /// What the service shows.
    pub remote: Remote,
}

impl Answer {
    /// Whether the answer is about a table; one that was made meanwhile would look as if it were gone.
    fn is_about(&self, table: &Table) -> bool {
        table.server == self.server
            && schema_id(table) == Some(self.remote.schema.id)
            && self.types.iter().any(|(id, _)| table.local.type_id() == Some(*id))
    }
}

/// Asks about an object schema; one request a type. Inside or outside of transactions.
pub fn ask(asked: Asked) -> Answer {
    let types = asked.question.types.clone();
    let remote = error::or_raise(runtime::wait(ask::remote(asked.client, asked.question)));
    Answer { server: asked.server, types, remote }
}

/// What has to be asked about a local schema, as `user`.
pub fn questions(schema: &str, gathered: &Gathered, user: pg_sys::Oid) -> Vec<Asked> {
    let mut found: Vec<(pg_sys::Oid, Question)> = Vec::new();
    let mut entry = |server: pg_sys::Oid, server_name: &str, schema_id: i64| -> usize {
        let same = |(s, q): &(pg_sys::Oid, Question)| *s == server && q.schema_id == schema_id;
        found.iter().position(same).unwrap_or_else(|| {
            let seen = memory::growth(schema, server_name, schema_id, user).map(|growth| growth.types);
            found.push((server, Question { schema_id, types: vec![], seen }));
            found.len() - 1
        })
    };
    let mut shown = Vec::new();
    for table in &gathered.tables {
        if let (Some(schema_id), Some(type_id)) = (schema_id(table), table.local.type_id()) {
            let at = entry(table.server, &table.server_name, schema_id);
            shown.push((at, type_id, option(table, "children") == Some("include")));
        }
    }
    for (server_name, schema_id) in memory::imports(schema, user) {
        let sql = "SELECT oid FROM pg_catalog.pg_foreign_server WHERE srvname = $1";
        if let Some(server) = query_one(sql, &[server_name.as_str().into()], |row| row.must(1)) {
            entry(server, &server_name, schema_id);
        }
    }
    for (at, type_id, below) in shown {
        found[at].1.types.push((type_id, below));
    }
    found
        .into_iter()
        .map(|(server, question)| {
            session::require_usage(server, user);
            Asked { server, client: session::connect(server, user).client.clone(), question }
        })
        .collect()
}

fn option<'a>(table: &'a Table, name: &str) -> Option<&'a str> {
    table.local.options.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn schema_id(table: &Table) -> Option<i64> {
    option(table, "object_schema_id")?.parse().ok()
}

/// What has to change, and what was gathered to find out.
pub struct Plan {
    /// The changes, in the order in which they are done.
    pub changes: Vec<Change>,
    parts: Vec<Part>,
    gathered: Gathered,
}

/// One object schema's part of it.
struct Part {
    remote: Remote,
    /// Its tables, by their place in `gathered`.
    tables: Vec<usize>,
    growth: Option<Growth>,
    changes: std::ops::Range<usize>,
}

/// Compares a local schema with what the service showed.
pub fn plan(schema: &str, answers: Vec<Answer>, follow: Option<&Follow>, user: pg_sys::Oid) -> Plan {
    let mut gathered = gather(schema, user);
    let mut changes = Vec::new();
    let mut parts = Vec::new();
    for answer in answers {
        let about = |n: &usize| answer.is_about(&gathered.tables[*n]);
        let tables: Vec<usize> = (0..gathered.tables.len()).filter(about).collect();
        let locals: Vec<_> = tables.iter().map(|n| gathered.tables[*n].local.clone()).collect();
        let Answer { server, remote, .. } = answer;
        let server_name = server_name(server);
        let growth = memory::growth(schema, &server_name, remote.schema.id, user)
            .map(|growth| Growth { follow: follow.cloned(), ..growth });
        let mut found = compare(schema, &locals, growth.as_ref(), &gathered.taken, &remote);
        for change in &mut found {
            if change.blocked.is_none() {
                change.blocked = dependents(&gathered, change);
            }
        }
        block_groups(&mut found);
        gathered.taken.extend(found.iter().filter(|c| c.kind == Kind::NewType).map(|c| c.on.name.clone()));
        let begin = changes.len();
        changes.extend(found);
        parts.push(Part { remote, tables, growth, changes: begin..changes.len() });
    }
    Plan { changes, parts, gathered }
}

fn server_name(server: pg_sys::Oid) -> String {
    let sql = "SELECT srvname::text FROM pg_catalog.pg_foreign_server WHERE oid = $1";
    query_one(sql, &[server.into()], |row| row.must(1)).unwrap_or_default()
}

/// What is in the way of a change, in words: what depends on what it would take away, or a name that is
/// taken.
fn dependents(gathered: &Gathered, change: &Change) -> Option<String> {
    if let Action::Materialize { into, .. } = &change.action {
        // The table of a type that was gone for a while, for one.
        return relation_oid(into).map(|_| format!("table {} exists already", into.quoted()));
    }
    let oid = oid_of(gathered, &change.on)?;
    let (column, wanted) = match change.disturbs()? {
        Disturbs::Table => (
            None,
            "d.deptype = 'n' AND (d.refclassid = 'pg_class'::regclass AND d.refobjid = $1
                 OR d.refclassid = 'pg_type'::regclass
                    AND d.refobjid = (SELECT c.reltype FROM pg_class AS c WHERE c.oid = $1))",
        ),
        // A default goes along, and the index that materialize() makes of a reference's keys. What somebody made of
        // the column (an index, statistics, a CHECK, a generated column) PostgreSQL would drop along without a word.
        Disturbs::Column(name) => (
            Some(name),
            "d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 AND d.refobjsubid = a.n
             AND (d.deptype = 'n' OR d.classid IN ('pg_statistic_ext'::regclass, 'pg_trigger'::regclass)
                  OR d.classid = 'pg_class'::regclass AND d.objid = $1 AND d.objsubid > 0
                  OR d.classid = 'pg_constraint'::regclass
                     AND (SELECT o.contype <> 'n' FROM pg_constraint AS o WHERE o.oid = d.objid)
                  OR d.classid = 'pg_class'::regclass AND d.objid IS DISTINCT FROM (
                         SELECT i.indexrelid FROM pg_index AS i
                         JOIN pg_class AS x ON x.oid = i.indexrelid JOIN pg_am AS m ON m.oid = x.relam
                         WHERE i.indrelid = $1 AND i.indnatts = 1 AND i.indkey[0] = a.n AND i.indpred IS NULL
                           AND NOT i.indisunique AND m.amname IN ('btree', 'gin') AND $2 ~ '_key$'
                         ORDER BY i.indexrelid LIMIT 1)
                     AND EXISTS (SELECT FROM pg_index AS i WHERE i.indexrelid = d.objid))",
        ),
        // What PostgreSQL makes anew (a plain index, statistics) stands in nobody's way; an expression may not be one
        // of the new type.
        Disturbs::Type(name) => (
            Some(name),
            "d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 AND d.refobjsubid = a.n
             AND (d.classid IN ('pg_rewrite'::regclass, 'pg_proc'::regclass, 'pg_trigger'::regclass,
                                'pg_policy'::regclass, 'pg_publication_rel'::regclass)
                  OR d.classid = 'pg_class'::regclass AND d.objid = $1 AND d.objsubid > 0
                  OR d.classid = 'pg_constraint'::regclass
                     AND (SELECT o.contype = 'c' FROM pg_constraint AS o WHERE o.oid = d.objid)
                  OR d.classid = 'pg_class'::regclass
                     AND EXISTS (SELECT FROM pg_index AS i WHERE i.indexrelid = d.objid
                                 AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL))
                  OR d.classid = 'pg_statistic_ext'::regclass
                     AND (SELECT s.stxexprs IS NOT NULL FROM pg_statistic_ext AS s WHERE s.oid = d.objid))",
        ),
    };
    let sql = format!(
        "SELECT DISTINCT CASE WHEN w.ev_class IS NOT NULL
                              THEN pg_describe_object('pg_class'::regclass, w.ev_class, 0)
                              ELSE pg_describe_object(d.classid, d.objid, d.objsubid) END
         FROM pg_depend AS d
         LEFT JOIN pg_rewrite AS w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
         CROSS JOIN (SELECT (SELECT attnum::int4 FROM pg_attribute
                             WHERE attrelid = $1 AND attname = $2 AND NOT attisdropped) AS n) AS a
         WHERE {wanted} ORDER BY 1"
    );
    let found: Vec<String> = as_extension(|| query(&sql, &[oid.into(), column.into()], |row| row.get(1)))
        .into_iter()
        .flatten()
        .collect();
    match found.as_slice() {
        [] => None,
        [one] => Some(format!("{one} depends on it")),
        many => Some(format!("{} depend on it", many.join(", "))),
    }
}

fn oid_of(gathered: &Gathered, relation: &Relation) -> Option<pg_sys::Oid> {
    gathered.tables.iter().find_map(|table| {
        if table.local.relation == *relation {
            return Some(table.oid);
        }
        let at = table.local.replicas.iter().position(|r| r.relation == *relation)?;
        table.replicas.get(at).copied()
    })
}

/// The column of ids of a replica or a history.
fn id_of<'a>(gathered: &'a Gathered, relation: &Relation) -> Option<&'a str> {
    let local = gathered.tables.iter().map(|table| &table.local);
    let (local, replica) =
        local.flat_map(|l| l.replicas.iter().map(move |r| (l, r))).find(|(_, r)| r.relation == *relation)?;
    let is_id = |c: &&LocalColumn| c.options.iter().any(|(name, value)| name == "field" && value == "id");
    let id = local.columns.iter().find(is_id).map_or("id", |c| &c.name);
    let shows = |c: &&ReplicaColumn| c.shows.as_deref() == Some(id);
    let found = replica.columns.iter().find(shows).or_else(|| replica.columns.iter().find(|c| c.name == id));
    found.map(|c| c.name.as_str())
}

/// Lets no other sync of the schema run until the transaction ends. Who reads, writes or makes tables
/// is not in its way.
pub fn lock(schema: &str) {
    let namespace = schema_oid(schema);
    // SAFETY: inside a transaction; waits interruptibly.
    unsafe {
        pg_sys::LockDatabaseObject(
            pg_sys::NamespaceRelationId,
            namespace,
            0,
            pg_sys::ShareUpdateExclusiveLock as pg_sys::LOCKMODE,
        );
    }
}

impl Plan {
    /// Types whose tables would go, and tables in all.
    pub fn removed_types(&self) -> (usize, usize) {
        let removed = |c: &&Change| c.action == Action::DropTable && c.blocked.is_none();
        (self.changes.iter().filter(removed).count(), self.gathered.tables.len())
    }

    /// Runs what is not blocked, with the current user's rights, and remembers what was seen. Replicas
    /// that got columns are asked to refresh.
    pub fn run(&self, schema: &str, user: pg_sys::Oid) {
        for change in self.changes.iter().filter(|c| c.blocked.is_none()) {
            if let Some(oid) = oid_of(&self.gathered, &change.on) {
                rights::hold_named(user, oid, &change.on.quoted());
                if let (Action::Fill { .. }, Some(id)) = (&change.action, id_of(&self.gathered, &change.on)) {
                    versions::identify(oid, &change.on.quoted(), &ident(id));
                }
            }
            let _quiet = crate::ruling::Quiet::new();
            execute(&change.statement(), &[]);
        }
        for part in &self.parts {
            self.remember(part, schema, user);
        }
        let mut refreshed = HashSet::new();
        for change in self.changes.iter().filter(|c| c.blocked.is_none() && !c.foreign) {
            let filled = matches!(change.action, Action::AddColumn { .. } | Action::Retype { .. });
            let target = oid_of(&self.gathered, &change.on).filter(|_| filled);
            // A history is filled along with its replica.
            let target = target.filter(|target| refreshed.insert(*target) && jobs::find(*target).is_some());
            if let Some(target) = target {
                jobs::request(target);
                shared::wake_at_commit();
            }
        }
    }

    fn remember(&self, part: &Part, schema: &str, user: pg_sys::Oid) {
        let changes = &self.changes[part.changes.clone()];
        for table in part.tables.iter().map(|n| &self.gathered.tables[*n]) {
            let (Some(before), Some(type_id)) = (&table.local.known, table.local.type_id()) else { continue };
            let Some(object_type) = part.remote.object_type(type_id) else { continue };
            let own = part.remote.attributes.get(&type_id).map_or(&[][..], |list| list);
            let now = Known::of(object_type, own, &before.options);
            let about = |c: &&Change| {
                c.on == table.local.relation || table.local.replicas.iter().any(|r| r.relation == c.on)
            };
            let mine: Vec<Change> = changes.iter().filter(about).cloned().collect();
            let everywhere = part.remote.with_descendants(type_id);
            let exist = part.remote.attributes.iter().filter(|(id, _)| everywhere.contains(id));
            let exist = exist.flat_map(|(_, list)| list.iter().map(|a| a.id)).collect();
            memory::remember_table(table.oid, &settle(before, now, &mine, &exist));
        }
        let Some(growth) = &part.growth else { return };
        let exists = |id: &i64| part.remote.object_type(*id).is_some();
        let mut types: Vec<i64> = growth.types.iter().copied().filter(exists).collect();
        for change in changes.iter().filter(|c| c.blocked.is_none()) {
            let Action::CreateTable { .. } = &change.action else { continue };
            types.push(change.object_type);
            let (Some(object_type), Some(attributes)) = (
                part.remote.object_type(change.object_type),
                part.remote.attributes.get(&change.object_type),
            ) else {
                continue;
            };
            if let Some(oid) = relation_oid(&change.on) {
                memory::remember_table(oid, &Known::of(object_type, attributes, &growth.options));
            }
        }
        if types != growth.types {
            memory::remember_schema(schema, part.remote.schema.id, &Growth { types, ..growth.clone() }, user);
        }
    }
}

fn relation_oid(relation: &Relation) -> Option<pg_sys::Oid> {
    let sql = "SELECT c.oid FROM pg_catalog.pg_class AS c
               JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
               WHERE n.nspname = $1 AND c.relname = $2";
    query_one(sql, &[relation.schema.as_str().into(), relation.name.as_str().into()], |row| row.must(1))
}

/// An ERROR where a schema shows nothing of Assets that the user may alter.
pub fn require_some(schema: &str, gathered: &Gathered, asked: &[Asked]) {
    if gathered.tables.is_empty() && gathered.others {
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("must be owner of the foreign tables of schema \"{schema}\""),
            "A superuser does it as their owner, after SET ROLE: statements over somebody's tables may run that \
             role's code.",
        );
    }
    if asked.is_empty() {
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
            format!(
                "schema \"{schema}\" has no foreign table of yours that was made of an object type by its id"
            ),
            "IMPORT FOREIGN SCHEMA makes such tables.",
        );
    }
}
