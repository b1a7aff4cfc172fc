//! Changes as statements.

use super::convert::using;
use super::{Action, Change};
use crate::ddl::{self, ident, literal};

impl Change {
    /// The statement, without its semicolon; every name in it is qualified and quoted.
    pub fn statement(&self) -> String {
        let on = self.on.quoted();
        let table = if self.foreign { "FOREIGN TABLE" } else { "TABLE" };
        let alter = format!("ALTER {table} {on}");
        match &self.action {
            Action::CreateTable { table, server } => {
                ddl::create_foreign_table_in(Some(&self.on.schema), table, server)
            }
            Action::DropTable => format!("DROP {table} {on}"),
            Action::SetOption { name, value, add } => {
                let verb = if *add { "ADD" } else { "SET" };
                format!("{alter} OPTIONS ({verb} {name} {})", literal(value))
            }
            Action::DropOption { name } => format!("{alter} OPTIONS (DROP {name})"),
            Action::AddColumn { name, sql_type, options } => {
                let options = match options.as_slice() {
                    [] => String::new(),
                    list => format!(" {}", ddl::options(list)),
                };
                format!("{alter} ADD COLUMN {} {sql_type}{options}", ident(name))
            }
            Action::DropColumn { name } => format!("{alter} DROP COLUMN {}", ident(name)),
            Action::Retype { name, from, to } => {
                let name = ident(name);
                // A foreign table holds no values.
                let using =
                    if self.foreign { String::new() } else { format!(" USING {}", using(&name, from, to)) };
                format!("{alter} ALTER COLUMN {name} TYPE {to}{using}")
            }
            Action::RenameColumn { name, to } => {
                format!("{alter} RENAME COLUMN {} TO {}", ident(name), ident(to))
            }
            Action::Fill { name, to, from, was } => {
                let (name, from) = (ident(name), ident(from));
                format!("UPDATE {on} SET {name} = {} WHERE {from} IS NOT NULL", using(&from, was, to))
            }
            Action::SetColumnOption { column, name, value } => {
                format!("{alter} ALTER COLUMN {} OPTIONS (SET {name} {})", ident(column), literal(value))
            }
            Action::Comment { column, text } => {
                let text = text.as_deref().map_or_else(|| "NULL".to_owned(), literal);
                match column {
                    Some(column) => format!("COMMENT ON COLUMN {on}.{} IS {text}", ident(column)),
                    None => format!("COMMENT ON {table} {on} IS {text}"),
                }
            }
            Action::CreateIndex { column, list } => {
                let method = if *list { "gin" } else { "btree" };
                format!("CREATE INDEX ON {on} USING {method} ({})", ident(column))
            }
            Action::DropIndex { index } => format!("DROP INDEX {}", index.quoted()),
            Action::Materialize { into, every, full_every, history } => {
                let history = if *history { ", history => true" } else { "" };
                format!(
                    "SELECT assets_fdw.materialize({}, into_table => {}, every => {}, full_every => {}{history})",
                    literal(&on),
                    literal(&into.quoted()),
                    literal(every),
                    literal(full_every)
                )
            }
            Action::Grant(grant) => {
                let to = grant.role.as_deref().map_or_else(|| "PUBLIC".to_owned(), ident);
                let option = if grant.grantable { " WITH GRANT OPTION" } else { "" };
                format!("GRANT {} ON {on} TO {to}{option}", grant.privilege)
            }
            Action::Dematerialize => {
                format!("SELECT assets_fdw.dematerialize({}, drop_table => false)", literal(&on))
            }
        }
    }
}
