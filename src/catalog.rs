//! A foreign table as the catalogues hold it, and what its columns mean to Assets: the one place
//! that joins PostgreSQL's view of a table with the service's.
#![allow(unsafe_code)] // relation and type look-ups

mod filter;
mod resolver;
mod wanted;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use assets::expected::Expected;
use assets::model::ObjectType;
use assets::value::ColumnSpec;
use pgrx::{PgRelation, pg_sys};
use tokio::time::Instant;

use crate::fdw::datum::Conversion;
use crate::fdw::pg;
use crate::options::Options;
use crate::session;

pub use filter::{any_of, type_filter};
pub use resolver::{Resolver, find_schema, no_schema};
use wanted::Wanted;

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
    /// The values that objects may have here, as far as they are few and known.
    pub values: Values,
}

/// The values that a column may show.
#[derive(Clone)]
pub enum Values {
    /// Whatever it may be.
    Any,
    /// True and false.
    Booleans,
    /// A Select's options.
    Options(Vec<String>),
    /// The names of statuses with these ids; of all, where there are none.
    Statuses(Vec<i64>),
    /// The names of the table's object types.
    Types,
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
            not_null: c.not_null,
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

impl Column {
    /// `on_invalid 'null'`
    pub fn null_if_invalid(&self) -> bool {
        self.options.get("on_invalid") == Some("null")
    }
}
