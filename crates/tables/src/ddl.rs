//! Statements. Every name and every value passes through [`ident`] or [`literal`].

use std::fmt::Write;

use crate::layout::Table;

/// A quoted identifier. A zero byte, which no identifier can hold, is left out.
pub fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('\0', "").replace('"', "\"\""))
}

/// A quoted literal, safe whatever `standard_conforming_strings` says.
pub fn literal(text: &str) -> String {
    let text = text.replace('\0', "");
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// `OPTIONS (…)`.
pub fn options(list: &[(&'static str, String)]) -> String {
    let parts: Vec<String> = list.iter().map(|(name, value)| format!("{name} {}", literal(value))).collect();
    format!("OPTIONS ({})", parts.join(", "))
}

/// `CREATE FOREIGN TABLE` without a schema, as IMPORT FOREIGN SCHEMA wants it.
pub fn create_foreign_table(table: &Table, server: &str) -> String {
    create_foreign_table_in(None, table, server)
}

/// The same in a schema.
pub fn create_foreign_table_in(schema: Option<&str>, table: &Table, server: &str) -> String {
    let schema = schema.map(|schema| format!("{}.", ident(schema))).unwrap_or_default();
    let mut out = format!("CREATE FOREIGN TABLE {schema}{} (", ident(&table.name));
    for (i, column) in table.columns.iter().enumerate() {
        let comma = if i > 0 { "," } else { "" };
        let not_null = if column.is_never_null() { " NOT NULL" } else { "" };
        let _ = write!(
            out,
            "{comma}\n  {} {} {}{not_null}",
            ident(&column.name),
            column.sql_type,
            options(&column.options)
        );
    }
    let _ = write!(out, "\n) SERVER {} {}", ident(server), options(&table.options));
    out
}
