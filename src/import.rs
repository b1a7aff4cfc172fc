//! IMPORT FOREIGN SCHEMA: one table an object type.
//!
//! IMPORT may only create tables, so comments from Assets' descriptions are kept in this backend
//! until the event trigger at the end of the command takes them.
#![allow(unsafe_code)] // the statement's nodes

use std::cell::RefCell;
use std::collections::HashSet;

use assets::error::{Error, Kind};
use assets::model::ObjectType;
use assets::option;
use pgrx::pg_sys;
use pgrx::prelude::*;
use tables::ddl;
use tables::drift::Growth;
use tables::known::Known;
use tables::layout::{self, Children, MAX_COLUMNS, Options, References, Table};

use crate::fdw::pg;
use crate::{catalog, error, options, runtime, session};

thread_local! {
    /// The IMPORT under way, or one that failed.
    static PENDING: RefCell<Option<Import>> = const { RefCell::new(None) };
}

/// What an IMPORT makes.
pub struct Import {
    /// Where its tables go.
    pub local_schema: String,
    /// The object schema.
    pub schema_id: i64,
    /// Whether all types are wanted but for those named, or only those named.
    pub whole: bool,
    /// The IMPORT's options, and all types of the object schema.
    pub growth: Growth,
    /// The tables, and what they are made of.
    pub tables: Vec<(Table, Known)>,
}

/// The IMPORT under way, for the event trigger at its end.
pub fn with_pending(body: impl FnOnce(&Import)) {
    // Not borrowed while SQL runs, which may raise an ERROR.
    let taken = PENDING.take();
    if let Some(import) = &taken {
        body(import);
    }
    PENDING.set(taken);
}

#[pg_guard]
pub unsafe extern "C-unwind" fn import_foreign_schema(
    stmt: *mut pg_sys::ImportForeignSchemaStmt,
    server: pg_sys::Oid,
) -> *mut pg_sys::List {
    // SAFETY: called by the IMPORT statement with its own node; the list and its strings live in
    // the statement's memory context.
    unsafe {
        let options = read_options(&session::read_options((*stmt).options));
        let wanted = pg::text((*stmt).remote_schema);
        let local_schema = pg::text((*stmt).local_schema);
        let server_name = pg::text((*stmt).server_name);
        let listed: HashSet<String> = pg::nodes::<pg_sys::RangeVar>((*stmt).table_list)
            .map(|range| pg::text((*range).relname))
            .collect();
        use pg_sys::ImportForeignSchemaType::*;
        let keep = match (*stmt).list_type {
            FDW_IMPORT_SCHEMA_LIMIT_TO => Keep::Only(listed),
            FDW_IMPORT_SCHEMA_EXCEPT => Keep::AllBut(listed),
            _ => Keep::All,
        };
        let whole = !matches!(keep, Keep::Only(_));
        let connection = session::connect(server, pg_sys::GetUserId());
        let made = tables(connection.client.clone(), wanted, keep, options.clone());
        let Made { schema_id, types, tables } = error::or_raise(runtime::wait(made));
        let mut list = std::ptr::null_mut();
        for (table, _) in &tables {
            let statement = ddl::create_foreign_table(table, &server_name);
            list = pg_sys::lappend(list, pg::to_server(&statement).cast());
        }
        let growth = Growth { options, types, server: server_name, follow: None };
        PENDING.set(Some(Import { local_schema, schema_id, whole, growth, tables }));
        list
    }
}

/// Which tables the statement wants, by name.
enum Keep {
    All,
    Only(HashSet<String>),
    AllBut(HashSet<String>),
}

impl Keep {
    fn wants(&self, name: &str) -> bool {
        match self {
            Keep::All => true,
            Keep::Only(names) => names.contains(name),
            Keep::AllBut(names) => !names.contains(name),
        }
    }
}

/// What the service has for an IMPORT.
struct Made {
    schema_id: i64,
    /// All types of the object schema.
    types: Vec<i64>,
    tables: Vec<(Table, Known)>,
}

/// Asks the service for the object schema's types and their attributes; only for those wanted.
async fn tables(
    client: std::sync::Arc<assets::client::Client>,
    wanted: String,
    keep: Keep,
    options: Options,
) -> Result<Made, Error> {
    // An import shows the service as it is now, whatever was known of it before.
    client.forget_metadata();
    let schemas = client.schemas().await?;
    let schema =
        catalog::find_schema(&schemas, &wanted).ok_or_else(|| catalog::no_schema(&wanted, &schemas))?;
    let types = client.types(schema.id).await?;
    let names = layout::table_names(&types);
    let mut ordered: Vec<_> = types.iter().collect();
    ordered.sort_by_key(|t| (t.position, t.id));
    let mut tables = Vec::new();
    for object_type in ordered {
        let Some((_, name)) = names.iter().find(|(id, _)| *id == object_type.id) else { continue };
        if keep.wants(name) {
            let attributes = client.attributes(object_type.id).await?;
            let table = layout::table(schema, object_type, name, &attributes, &options);
            if table.columns.len() > MAX_COLUMNS {
                return Err(too_wide(&table, object_type));
            }
            tables.push((table, Known::of(object_type, &attributes, &options)));
        }
    }
    Ok(Made { schema_id: schema.id, types: types.iter().map(|t| t.id).collect(), tables })
}

fn too_wide(table: &Table, object_type: &ObjectType) -> Error {
    let message = format!(
        "the table of object type \"{}\" would have {} columns, more than PostgreSQL's {MAX_COLUMNS}",
        object_type.name,
        table.columns.len()
    );
    Error::new(Kind::NotBuilt, message).with_hint(format!(
        "Leave it out with EXCEPT ({}), and write a CREATE FOREIGN TABLE with the columns that are wanted; \
         references 'key' needs fewer.",
        ddl::ident(&table.name)
    ))
}

fn read_options(given: &options::Options) -> Options {
    let mut read = Options::default();
    for (name, value) in given.iter() {
        let refuse = |expected: &str| -> ! {
            error::raise_hint(
                PgSqlErrorCode::ERRCODE_FDW_INVALID_OPTION_NAME,
                format!("invalid value for import option \"{name}\": \"{value}\""),
                format!("It must be {expected}."),
            )
        };
        let flag = || option::boolean(value).unwrap_or_else(|| refuse("a boolean"));
        match name {
            "children" => {
                read.children = match value {
                    "auto" => Children::Auto,
                    "include" => Children::Include,
                    "exclude" => Children::Exclude,
                    _ => refuse("one of: auto, include, exclude"),
                }
            }
            "references" => {
                read.references = match value {
                    "both" => References::Both,
                    "key" => References::Key,
                    "label" => References::Label,
                    _ => refuse("one of: both, key, label"),
                }
            }
            "raw" => read.raw = flag(),
            "include_hidden" => read.include_hidden = flag(),
            _ => error::raise_hint(
                PgSqlErrorCode::ERRCODE_FDW_INVALID_OPTION_NAME,
                format!("invalid import option \"{name}\""),
                "Valid options are: children, references, raw, include_hidden.",
            ),
        }
    }
    read
}

/// Called by the event trigger at the end of IMPORT FOREIGN SCHEMA: for each table, the statements
/// that set its comments. An IMPORT that failed may have left some behind: the caller runs only
/// those of tables that the command at hand made.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn import_comments() -> TableIterator<'static, (name!(foreign_table, String), name!(statement, String))> {
    let mut statements = Vec::new();
    let Some(import) = PENDING.take() else { return TableIterator::new(statements) };
    for (table, _) in import.tables {
        let qualified = format!("{}.{}", ddl::ident(&import.local_schema), ddl::ident(&table.name));
        if let Some(comment) = &table.comment {
            let statement = format!("COMMENT ON FOREIGN TABLE {qualified} IS {}", ddl::literal(comment));
            statements.push((qualified.clone(), statement));
        }
        for column in &table.columns {
            if let Some(comment) = &column.comment {
                let name = ddl::ident(&column.name);
                let statement = format!("COMMENT ON COLUMN {qualified}.{name} IS {}", ddl::literal(comment));
                statements.push((qualified.clone(), statement));
            }
        }
    }
    TableIterator::new(statements)
}
