//! What a run knows of its replica's source: its definition, read with the owner's rights, and what
//! that means to the service.
#![allow(unsafe_code)] // rights

use std::collections::HashSet;
use std::rc::Rc;

use assets::value::{ColumnSpec, Decode, Field, Part, Source};
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::catalog::{ForeignTable, Resolved, Resolver};
use crate::fdw::output::Output;
use crate::replica::kept::jobs::{self, Job};
use crate::replica::table::apply;
use crate::replica::table::rights;
use crate::replica::table::staging::Column;
use crate::session::Connection;
use crate::{error, runtime, session};

/// A source's definition; no request has been sent for it.
pub struct Definition {
    table: ForeignTable,
    /// The owner's connection to the service.
    pub connection: Rc<Connection>,
    /// What finds out what the columns mean; made while catalogues may be read, used without.
    resolver: Resolver,
    columns: Vec<Column>,
}

/// A definition joined with what the service says of it.
pub struct Bound {
    /// The AQL that selects the source's objects.
    pub filter: String,
    /// Its part about object types.
    pub kinds: String,
    /// Whether that asks for the types below the source's own, whichever they are by then.
    pub asks_below: bool,
    /// The object types that it takes in, as far as they are known.
    pub types: Vec<i64>,
    /// The table's own condition.
    pub own: Option<String>,
    /// The object schema.
    pub schema_id: i64,
    /// Every type of the schema, by id, where new ones may belong to the source.
    pub known: Option<HashSet<i64>>,
    /// The columns that source and replica share.
    pub columns: Vec<Column>,
    /// What to decode for each of them.
    pub specs: Vec<ColumnSpec>,
    /// How each is stored.
    pub outputs: Vec<Output>,
    /// The column of ids, one of `columns`.
    pub id: Column,
    /// The column of keys, where there is one.
    pub key: Option<Column>,
    /// The column of labels, where there is one.
    pub label: Option<Column>,
    /// The references among the columns.
    pub references: Vec<Reference>,
}

/// The columns over one attribute that refers to other objects.
#[derive(Debug, Clone)]
pub struct Reference {
    /// Holds keys: what a reference is followed by.
    pub key: Column,
    /// Hold labels.
    pub labels: Vec<Column>,
    /// Hold ids.
    pub ids: Vec<Column>,
    /// Whether they hold lists.
    pub array: bool,
}

/// Reads a job's source; inside a transaction.
pub fn define(job: &Job) -> Definition {
    rights::lock(job.source, pg_sys::AccessShareLock);
    // SAFETY: a catalogue look-up inside a transaction.
    if unsafe { pg_sys::get_rel_relkind(job.source) } as u8 != pg_sys::RELKIND_FOREIGN_TABLE {
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
            format!("the source of {}, foreign table {}, is gone", job.name, job.source.to_u32()),
            "The table keeps its rows. dematerialize(…, drop_table => false) makes it an ordinary table; a new foreign \
             table needs a new materialize().",
        );
    }
    // SAFETY: as above; the table is locked, and there.
    let rights = unsafe {
        let user = pg_sys::GetUserId();
        pg_sys::pg_class_aclcheck(job.source, user, pg_sys::ACL_SELECT as pg_sys::AclMode)
    };
    if rights != pg_sys::AclResult::ACLCHECK_OK {
        error::raise_hint(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("permission denied for foreign table {}", jobs::relation_name(job.source)),
            "The replica's owner needs SELECT on it.",
        );
    }
    // SAFETY: no preconditions.
    let user = unsafe { pg_sys::GetUserId() };
    rights::require_source(job.source, user, &job.name);
    rights::readable(job);
    let table = ForeignTable::load(job.source);
    let connection = session::connect(table.server, user);
    let columns = apply::shared_columns(job.source, job.target);
    let attnums: Vec<i16> = columns.iter().map(|c| c.attnum).collect();
    Definition { resolver: table.resolver(&attnums), table, connection, columns }
}

impl Definition {
    /// Asks the service what the definition means, where that is not known already; outside transactions.
    pub fn bind(self, job: &Job) -> Bound {
        let Definition { table, connection, resolver, columns } = self;
        let resolved = error::or_raise(runtime::wait(resolver.resolve_surely(connection.client.clone())));
        let asks_below = resolved.asks_below();
        let Resolved { filter, kinds, types, own, schema_id, known, columns: resolutions, .. } = resolved;
        let known = known.map(|types| types.iter().map(|t| t.id).collect());
        let (mut specs, mut outputs) = (Vec::new(), Vec::new());
        for column in &columns {
            let (Some(defined), Some(resolution)) =
                (table.column(column.attnum), resolutions.get(&column.attnum))
            else {
                error::raise(
                    PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
                    format!("column \"{}\" of the source was not resolved", column.name),
                );
            };
            specs.push(resolution.spec);
            outputs.push(Output::new(defined, resolution));
        }
        let of = |field| {
            let found = specs.iter().position(|spec| spec.source == Source::Field(field));
            found.map(|n| columns[n].clone())
        };
        let Some(id) = of(Field::Id) else {
            error::raise_hint(
                PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
                format!("{} and its source share no column with the object's id", job.name),
                "Both need one, bigint, of the same name; in the foreign table with OPTIONS (field 'id').",
            );
        };
        let (key, label, references) = (of(Field::Key), of(Field::Label), references(&columns, &specs));
        Bound {
            filter,
            kinds,
            asks_below,
            types,
            own,
            schema_id,
            known,
            columns,
            specs,
            outputs,
            id,
            key,
            label,
            references,
        }
    }
}

/// Attributes of which a column shows keys; only references have any.
fn references(columns: &[Column], specs: &[ColumnSpec]) -> Vec<Reference> {
    let part_of = |spec: &ColumnSpec| match spec.source {
        Source::Attribute { id, part, .. } => Some((id, part)),
        Source::Field(_) => None,
    };
    let mut found = Vec::new();
    for (column, spec) in columns.iter().zip(specs) {
        let Some((attribute, Part::Key)) = part_of(spec) else { continue };
        let others = |wanted: &[Part]| -> Vec<Column> {
            columns
                .iter()
                .zip(specs)
                .filter(|(_, other)| other.array == spec.array && other.decode == Decode::Text)
                .filter(|(_, other)| {
                    part_of(other).is_some_and(|(id, part)| id == attribute && wanted.contains(&part))
                })
                .map(|(column, _)| column.clone())
                .collect()
        };
        found.push(Reference {
            key: column.clone(),
            labels: others(&[Part::Value, Part::Label, Part::Name]),
            ids: others(&[Part::Id]),
            array: spec.array,
        });
    }
    found
}
