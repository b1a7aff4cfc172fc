//! Which tables and objects are asked about: few of either, that have something to tell.
#![allow(unsafe_code)] // catalogue look-ups

use std::collections::{BTreeSet, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use aql::rules::RULES;
use aql::{Class, Literal, Subject};
use assets::value::{ColumnSpec, Decode, Field, Row, Source, Value};
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::catalog::{ForeignTable, Resolved};
use crate::session::Connection;
use crate::{error, runtime};

/// Most tables that are sampled.
const TABLES: usize = 6;
/// Most tables that are looked at for being sampled.
const CANDIDATES: usize = 40;
/// Most objects of one table; a list of fifty ids is in production use (assets-api.md 13).
const OBJECTS: usize = 40;
/// Objects with a value that each column should have in the sample.
const WITH_VALUE: usize = 4;

/// Some objects of one table.
pub struct Sample {
    /// The table, for people.
    pub table: String,
    /// The object types, and the table's own filter.
    pub filter: String,
    /// The objects.
    pub ids: Vec<i64>,
    /// When each was last changed, to see whether it was changed meanwhile.
    updated: Vec<Value>,
    /// Its columns that AQL knows.
    pub columns: Vec<Sampled>,
    /// The most objects that a page held.
    pub full_page: usize,
    /// How many objects were asked for, and came, on the first page.
    pub page: (u32, usize),
}

/// A column's values on the sampled objects.
pub struct Sampled {
    /// Its name.
    pub name: String,
    /// What AQL knows it by.
    pub subject: Subject,
    /// How its values are read.
    pub spec: ColumnSpec,
    /// One value an object.
    pub values: Vec<Literal>,
}

impl Sample {
    /// A query for those of the objects that satisfy a condition, which may begin with ORDER BY.
    pub fn asked(&self, condition: &str) -> String {
        let ids: Vec<String> = self.ids.iter().map(i64::to_string).collect();
        let base = format!("{} AND objectId in ({})", self.filter, ids.join(", "));
        match condition {
            order if order.starts_with("order by ") => format!("{base} {order}"),
            condition => format!("{base} AND ({condition})"),
        }
    }

    /// Which of the objects are among those found.
    pub fn marked(&self, found: &[i64]) -> Vec<bool> {
        let found: HashSet<i64> = found.iter().copied().collect();
        self.ids.iter().map(|id| found.contains(id)).collect()
    }

    /// Reads the objects again, and tells whether they are what they were.
    pub fn is_unchanged(&self, connection: &Connection) -> bool {
        let client = connection.client.clone();
        let ids: Vec<String> = self.ids.iter().map(i64::to_string).collect();
        let aql = format!("{} AND objectId in ({})", self.filter, ids.join(", "));
        let mut now: Vec<Row> = Vec::new();
        loop {
            let (client, aql, start) = (client.clone(), aql.clone(), now.len() as u64);
            let read = runtime::wait(async move { client.glance(&aql, start, 100, updated_only()).await });
            let page = error::or_raise(read);
            let came = page.rows.len();
            now.extend(page.rows);
            if came == 0 || now.len() >= self.ids.len() {
                break;
            }
        }
        now.len() == self.ids.len()
            && self.ids.iter().zip(&self.updated).all(|(id, updated)| {
                now.iter().any(|row| row.id == *id && row.values.first() == Some(updated))
            })
    }
}

fn updated_only() -> Arc<[ColumnSpec]> {
    let source = Source::Field(Field::Updated);
    Arc::from([ColumnSpec { source, decode: Decode::Timestamp, array: false }])
}

/// Samples `source`, or those foreign tables of the server that the user may read and that together
/// try most rules.
pub fn take(
    connection: &Rc<Connection>,
    server: pg_sys::Oid,
    user: pg_sys::Oid,
    source: Option<pg_sys::Oid>,
) -> Vec<Sample> {
    let candidates = match source {
        Some(source) => vec![checked(source, server, user)],
        None => tables_of(server, user),
    };
    let mut looked: Vec<(ForeignTable, Resolved)> = Vec::new();
    for relation in candidates.into_iter().take(CANDIDATES) {
        let table = ForeignTable::load(relation);
        let all: Vec<i16> = table.columns.iter().map(|c| c.attnum).collect();
        let (resolver, client) = (table.resolver(&all).comparing(&all), connection.client.clone());
        match runtime::wait(resolver.resolve_surely(client)) {
            Ok(resolved) => looked.push((table, resolved)),
            Err(e) if source.is_some() => error::service(&e),
            // One table whose type is gone says nothing about the rules.
            Err(_) => {}
        }
    }
    let mut covered = BTreeSet::new();
    let mut samples = Vec::new();
    while samples.len() < TABLES && !looked.is_empty() {
        let gain = |(_, resolved): &(ForeignTable, Resolved)| rows_of(resolved).difference(&covered).count();
        let Some((best, most)) =
            looked.iter().map(gain).enumerate().max_by_key(|(n, gain)| (*gain, usize::MAX - n))
        else {
            break;
        };
        if most == 0 {
            break;
        }
        let (table, resolved) = looked.swap_remove(best);
        if let Some(sample) = read(connection, &table, &resolved) {
            covered.extend(rows_of(&resolved));
            samples.push(sample);
        }
    }
    samples
}

/// The rows of the rule table that a table's columns can try.
fn rows_of(resolved: &Resolved) -> BTreeSet<usize> {
    let subjects = || resolved.columns.values().filter_map(|r| r.subject.as_ref());
    let tried = |n: &usize| subjects().any(|s| RULES[*n].ops.iter().any(|op| RULES[*n].covers(s, *op)));
    (0..RULES.len()).filter(tried).collect()
}

fn checked(source: pg_sys::Oid, server: pg_sys::Oid, user: pg_sys::Oid) -> pg_sys::Oid {
    // SAFETY: catalogue look-ups inside a transaction; GetForeignTable raises where it is none.
    unsafe {
        let (select, ok) = (pg_sys::ACL_SELECT as pg_sys::AclMode, pg_sys::AclResult::ACLCHECK_OK);
        if pg_sys::get_rel_relkind(source) as u8 != pg_sys::RELKIND_FOREIGN_TABLE
            || (*pg_sys::GetForeignTable(source)).serverid != server
        {
            error::raise(
                PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
                "source is not a foreign table of that server",
            );
        }
        if pg_sys::pg_class_aclcheck(source, user, select) != ok {
            error::raise(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                "permission denied for the source table",
            );
        }
    }
    source
}

fn tables_of(server: pg_sys::Oid, user: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    let found = Spi::connect(|client| {
        let rows = client.select(
            "SELECT ftrelid FROM pg_catalog.pg_foreign_table
              WHERE ftserver OPERATOR(pg_catalog.=) $1 AND pg_catalog.has_table_privilege($2, ftrelid, 'SELECT')
              ORDER BY ftrelid",
            None,
            &[server.into(), user.into()],
        )?;
        rows.map(|row| row.get::<pg_sys::Oid>(1)).collect::<Result<Vec<_>, _>>()
    });
    match found {
        Ok(oids) => oids.into_iter().flatten().collect(),
        Err(e) => error::raise(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, format!("pg_foreign_table: {e}")),
    }
}

/// Reads one page and chooses among its objects. None where there are none.
fn read(connection: &Rc<Connection>, table: &ForeignTable, resolved: &Resolved) -> Option<Sample> {
    let mut named: Vec<(String, Subject, ColumnSpec)> = Vec::new();
    for column in &table.columns {
        if let Some(resolution) = resolved.columns.get(&column.attnum)
            && let Some(subject) = &resolution.subject
        {
            named.push((column.name.clone(), subject.clone(), resolution.spec));
        }
    }
    let mut specs: Vec<ColumnSpec> = updated_only().to_vec();
    specs.extend(named.iter().map(|(_, _, spec)| *spec));
    let (client, filter, size) =
        (connection.client.clone(), resolved.filter.clone(), connection.client.config().page_size);
    let specs: Arc<[ColumnSpec]> = specs.into();
    let page = error::or_raise(runtime::wait(async move { client.glance(&filter, 0, size, specs).await }));
    let came = page.rows.len();
    if came == 0 {
        return None;
    }
    let chosen = choose(&page.rows);
    let value = |row: &Row, n: usize| row.values.get(n).cloned().unwrap_or(Value::Null);
    let columns = named
        .into_iter()
        .enumerate()
        .filter_map(|(n, (name, subject, spec))| {
            let literals = chosen.iter().map(|row| literal(&value(row, n + 1), subject.class));
            let values = literals.collect::<Option<Vec<_>>>()?;
            Some(Sampled { name, subject, spec, values })
        })
        .collect();
    Some(Sample {
        table: table.name.clone(),
        filter: resolved.filter.clone(),
        ids: chosen.iter().map(|row| row.id).collect(),
        updated: chosen.iter().map(|row| value(row, 0)).collect(),
        columns,
        full_page: came,
        page: (size, came),
    })
}

/// Objects such that each column has some with a value and one without, then any, spread evenly.
fn choose(rows: &[Row]) -> Vec<&Row> {
    let mut chosen: BTreeSet<usize> = BTreeSet::new();
    let columns = rows.first().map_or(0, |row| row.values.len());
    for column in 0..columns {
        let is_null = |n: &usize| matches!(rows[*n].values.get(column), None | Some(Value::Null));
        let mut missing = WITH_VALUE.saturating_sub(chosen.iter().filter(|n| !is_null(n)).count());
        let mut null_missing = !chosen.iter().any(is_null);
        for n in 0..rows.len() {
            if chosen.len() >= OBJECTS {
                break;
            }
            if is_null(&n) {
                if std::mem::take(&mut null_missing) {
                    chosen.insert(n);
                }
            } else if missing > 0 && chosen.insert(n) {
                missing -= 1;
            }
        }
    }
    let step = (rows.len() / OBJECTS).max(1);
    for n in (0..rows.len()).step_by(step) {
        if chosen.len() >= OBJECTS {
            break;
        }
        chosen.insert(n);
    }
    chosen.into_iter().map(|n| &rows[n]).collect()
}

/// A value in the terms of the rules; none where it does not fit.
fn literal(value: &Value, class: Class) -> Option<Literal> {
    Some(match (value, class) {
        (Value::Null, _) => Literal::Null,
        (Value::Text(text), Class::Int) => Literal::Int(text.parse().ok()?),
        (Value::Text(text), Class::Double) => Literal::Double(text.parse().ok()?),
        (Value::Text(text), Class::Text | Class::Varchar(_) | Class::Inet) => Literal::Text(text.to_string()),
        (Value::Int(n), Class::Int) => Literal::Int(*n),
        (Value::Double(x), Class::Double) => Literal::Double(*x),
        (Value::Bool(b), Class::Bool) => Literal::Bool(*b),
        (Value::Date(day), Class::Date) => Literal::Date(*day),
        (Value::Timestamp(us), Class::Timestamp | Class::Coarse) => Literal::Timestamp(*us),
        (Value::Array(items), _) => {
            Literal::List(items.iter().map(|item| literal(item, class)).collect::<Option<Vec<_>>>()?)
        }
        _ => return None,
    })
}
