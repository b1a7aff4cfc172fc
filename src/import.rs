//! IMPORT FOREIGN SCHEMA: one table an object type.
//!
//! IMPORT may only create tables, so comments from Assets' descriptions are kept in this backend
//! until the event trigger at the end of the command takes them.
#![allow(unsafe_code)] // the statement's nodes

use std::cell::RefCell;
use std::collections::HashSet;

use assets::error::Error;
use pgrx::pg_sys;
use pgrx::prelude::*;
use tables::ddl;
use tables::layout::{self, Children, Options, References, Table};

use crate::fdw::pg;
use crate::{catalog, error, options, runtime, session};

thread_local! {
    /// Comments of the tables that the IMPORT under way makes: their local schema, and the tables.
    static PENDING: RefCell<Vec<(String, Table)>> = const { RefCell::new(Vec::new()) };
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
        let connection = session::connect(server, pg_sys::GetUserId());
        let tables = error::or_raise(runtime::wait(tables(connection.client.clone(), wanted, keep, options)));
        let mut list = std::ptr::null_mut();
        for table in &tables {
            let statement = ddl::create_foreign_table(table, &server_name);
            list = pg_sys::lappend(list, pg::to_server(&statement).cast());
        }
        PENDING.with_borrow_mut(|pending| {
            pending.clear();
            pending.extend(tables.into_iter().map(|table| (local_schema.clone(), table)));
        });
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

/// Asks the service for the object schema's types and their attributes; only for those wanted.
async fn tables(
    client: std::sync::Arc<assets::client::Client>,
    wanted: String,
    keep: Keep,
    options: Options,
) -> Result<Vec<Table>, Error> {
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
            tables.push(layout::table(schema, object_type, name, &attributes, &options));
        }
    }
    Ok(tables)
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
        let flag = || options::boolean(value).unwrap_or_else(|| refuse("a boolean"));
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
    let pending = PENDING.with_borrow_mut(std::mem::take);
    let mut statements = Vec::new();
    for (schema, table) in pending {
        let qualified = format!("{}.{}", ddl::ident(&schema), ddl::ident(&table.name));
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
