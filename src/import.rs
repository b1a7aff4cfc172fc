//! IMPORT FOREIGN SCHEMA: one table an object type.
//!
//! IMPORT may only create tables, so comments from Assets' descriptions are kept in this backend
//! until the event trigger at the end of the command takes them. They are kept no longer than the
//! transaction, and no longer than the part of it that the command ran in.
#![allow(unsafe_code)] // the statement's nodes, transaction callbacks

use std::cell::{Cell, RefCell};
use std::ffi::c_void;

use assets::error::{Error, Kind};
use assets::model::ObjectType;
use assets::option;
use pgrx::pg_sys;
use pgrx::prelude::*;
use tables::ddl;
use tables::drift::Growth;
use tables::known::Known;
use tables::layout::{self, Children, MAX_COLUMNS, Options, References, Table};
use tables::listed::{self, Listed};

use crate::fdw::pg;
use crate::{catalog, error, options, runtime, session};

thread_local! {
    /// The IMPORTs of this transaction whose tables have not been seen to be made, each with the
    /// subtransaction that it ran in. More than one where an event trigger imports something, too, or
    /// where none is run.
    static PENDING: RefCell<Vec<(pg_sys::SubTransactionId, Import)>> = const { RefCell::new(Vec::new()) };
    /// The comments of the tables that were seen to be made, until the event trigger sets them: each
    /// with its table's name.
    static COMMENTS: RefCell<Vec<(String, String)>> = const { RefCell::new(Vec::new()) };
    static WATCHING: Cell<bool> = const { Cell::new(false) };
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

/// Keeps what an IMPORT makes, for the event trigger at its end.
fn keep(import: Import) {
    if !WATCHING.replace(true) {
        // SAFETY: registered once a backend; the callbacks only drop what this thread keeps.
        unsafe {
            pg_sys::RegisterXactCallback(Some(transaction_ended), std::ptr::null_mut());
            pg_sys::RegisterSubXactCallback(Some(subtransaction_ended), std::ptr::null_mut());
        }
    }
    // SAFETY: no preconditions.
    let within = unsafe { pg_sys::GetCurrentSubTransactionId() };
    PENDING.with_borrow_mut(|pending| pending.push((within, import)));
}

#[pg_guard]
unsafe extern "C-unwind" fn transaction_ended(_event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    PENDING.take();
    COMMENTS.take();
}

/// What was begun since a subtransaction began is part of it, and has the higher numbers.
#[pg_guard]
unsafe extern "C-unwind" fn subtransaction_ended(
    event: pg_sys::SubXactEvent::Type,
    ended: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _arg: *mut c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        PENDING.with_borrow_mut(|pending| pending.retain(|(within, _)| *within < ended));
        COMMENTS.take();
    }
}

/// The IMPORTs that wait for their tables, the last one first: `made` gives those that were made. An IMPORT
/// of which there are any is done with.
pub fn finish(mut made: impl for<'a> FnMut(&'a Import) -> Vec<&'a Table>) {
    // Not borrowed while SQL runs, which may raise an ERROR.
    let taken = PENDING.take();
    let (mut left, mut said) = (Vec::new(), Vec::new());
    for (within, import) in taken.into_iter().rev() {
        let tables = made(&import);
        said.extend(tables.iter().flat_map(|table| comments(&import.local_schema, table)));
        if tables.is_empty() {
            left.push((within, import));
        }
    }
    left.reverse();
    PENDING.set(left);
    COMMENTS.set(said);
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
        let listed: Vec<String> = pg::nodes::<pg_sys::RangeVar>((*stmt).table_list)
            .map(|range| pg::text((*range).relname))
            .collect();
        use pg_sys::ImportForeignSchemaType::*;
        let (keep_only, clause) = match (*stmt).list_type {
            FDW_IMPORT_SCHEMA_LIMIT_TO => (Keep::Only(listed), "LIMIT TO"),
            FDW_IMPORT_SCHEMA_EXCEPT => (Keep::AllBut(listed), "EXCEPT"),
            _ => (Keep::All, ""),
        };
        let whole = !matches!(keep_only, Keep::Only(_));
        let connection = session::connect(server, pg_sys::GetUserId());
        let made = tables(connection.client.clone(), wanted.clone(), keep_only, options.clone());
        let Made { schema_id, types, tables, unfit } = error::or_raise(runtime::wait(made));
        for name in unfit {
            say_unfit(clause, &name, &wanted);
        }
        if !whole {
            // PostgreSQL drops what is not listed by the name of its table. The statement is a copy of its
            // own for this execution (ProcessUtility copies one that is kept in a plan).
            for (table, _) in &tables {
                let named = pg_sys::makeRangeVar(std::ptr::null_mut(), pg::to_server(&table.name), -1);
                (*stmt).table_list = pg_sys::lappend((*stmt).table_list, named.cast());
            }
        }
        let mut list = std::ptr::null_mut();
        for (table, _) in &tables {
            let statement = ddl::create_foreign_table(table, &server_name);
            list = pg_sys::lappend(list, pg::to_server(&statement).cast());
        }
        let growth = Growth { options, types, server: server_name, follow: None };
        keep(Import { local_schema, schema_id, whole, growth, tables });
        list
    }
}

/// Which types the statement wants, by their names or those of their tables.
enum Keep {
    All,
    Only(Vec<String>),
    AllBut(Vec<String>),
}

/// A name that means nothing was misspelt, or what it meant is gone.
fn say_unfit(clause: &str, name: &str, schema: &str) {
    error::report(
        PgSqlErrorCode::ERRCODE_WARNING,
        format!("{clause} names \"{name}\", which no object type of object schema \"{schema}\" fits"),
    )
    .set_hint("A name is that of the table that IMPORT makes, or that of the object type in Assets.")
    .report(PgLogLevel::WARNING);
}

/// What the service has for an IMPORT.
struct Made {
    schema_id: i64,
    /// All types of the object schema.
    types: Vec<i64>,
    tables: Vec<(Table, Known)>,
    /// Names of the statement that fit no type.
    unfit: Vec<String>,
}

/// Asks the service for the object schema's types and their attributes; only for those wanted, several
/// at once.
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
    let listed = |list: &[String]| listed::find(list.iter().map(String::as_str), &types, &names);
    let (wants, listed): (fn(bool) -> bool, Listed) = match &keep {
        Keep::All => (|_| true, Listed::default()),
        Keep::Only(list) => (|listed| listed, listed(list)),
        Keep::AllBut(list) => (|listed| !listed, listed(list)),
    };
    let mut ordered: Vec<_> = types.iter().filter(|t| wants(listed.types.contains(&t.id))).collect();
    ordered.sort_by_key(|t| (t.position, t.id));
    let ids: Vec<i64> = ordered.iter().map(|t| t.id).collect();
    let mut tables = Vec::new();
    for (object_type, attributes) in ordered.into_iter().zip(client.attributes_of(&ids).await?) {
        let Some((_, name)) = names.iter().find(|(id, _)| *id == object_type.id) else { continue };
        let table = layout::table(schema, object_type, name, &attributes, &options);
        if table.columns.len() > MAX_COLUMNS {
            return Err(too_wide(&table, object_type));
        }
        tables.push((table, Known::of(object_type, &attributes, &options)));
    }
    let types = types.iter().map(|t| t.id).collect();
    Ok(Made { schema_id: schema.id, types, tables, unfit: listed.unfit })
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

/// Called by the event trigger next: for each table that was made, the statements that set its comments.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn import_comments() -> TableIterator<'static, (name!(foreign_table, String), name!(statement, String))> {
    TableIterator::new(COMMENTS.take())
}

/// The statements that set the comments of a table, each with its name.
fn comments(schema: &str, table: &Table) -> Vec<(String, String)> {
    let qualified = format!("{}.{}", ddl::ident(schema), ddl::ident(&table.name));
    let mut statements = Vec::new();
    if let Some(comment) = &table.comment {
        statements.push(format!("COMMENT ON FOREIGN TABLE {qualified} IS {}", ddl::literal(comment)));
    }
    for column in &table.columns {
        if let Some(comment) = &column.comment {
            let name = ddl::ident(&column.name);
            statements.push(format!("COMMENT ON COLUMN {qualified}.{name} IS {}", ddl::literal(comment)));
        }
    }
    statements.into_iter().map(|statement| (qualified.clone(), statement)).collect()
}
