//! Columns whose attribute has another kind by now, in a foreign table, its replicas and their histories.

use super::convert::{canonical, is_exact, is_list, using};
use super::table::{Comparison, FULL, column_of};
use super::{Action, LocalColumn, LocalTable, Replica};
use crate::layout::MAX_COLUMNS;
use crate::naming;

impl Comparison<'_> {
    /// Only of columns that have the imported type: another was chosen by somebody.
    pub(super) fn retype(
        &mut self,
        table: &LocalTable,
        column: &LocalColumn,
        from: &str,
        to: &str,
        reason: &str,
    ) {
        let old = canonical(from);
        let action =
            |name: &str| Action::Retype { name: name.to_owned(), from: from.to_owned(), to: to.to_owned() };
        let foreign = canonical(&column.sql_type) == old;
        if foreign {
            self.push(&table.relation, true, action(&column.name), reason.to_owned(), None);
        }
        for replica in &table.replicas {
            let Some(held) = column_of(replica, &column.name).filter(|c| canonical(&c.sql_type) == old)
            else {
                continue;
            };
            // Values of a foreign table that kept its type still fit into the replica.
            if !foreign {
                continue;
            }
            if replica.belongs_to.is_some() {
                let group = self.group;
                self.group = usize::MAX - self.changes.len();
                self.push_replica(replica, action(&held.name), reason, None);
                self.group = group;
                continue;
            }
            if replica.history && !is_exact(from, to) {
                self.set_aside(replica, &held.name, from, to, reason);
                continue;
            }
            let anew = is_list(from) != is_list(to);
            for index in held.indexes.iter().filter(|_| anew) {
                self.push_replica(replica, Action::DropIndex { index: index.clone() }, reason, None);
            }
            self.push_replica(replica, action(&held.name), reason, None);
            for _ in held.indexes.iter().filter(|_| anew) {
                let index = Action::CreateIndex { column: held.name.clone(), list: is_list(to) };
                self.push_replica(replica, index, reason, None);
            }
        }
    }

    /// The column of a history whose values do not all fit the type that it is to have.
    fn set_aside(&mut self, history: &Replica, column: &str, from: &str, to: &str, reason: &str) {
        let aside =
            naming::aside(column, &canonical(from), |name| history.columns.iter().any(|c| c.name == name));
        let full = (history.slots >= MAX_COLUMNS).then(|| FULL.to_owned());
        let reason = format!("{reason}; what the history holds stays as column \"{aside}\"");
        let (name, to) = (column.to_owned(), to.to_owned());
        let rename = Action::RenameColumn { name: name.clone(), to: aside.clone() };
        self.push_replica(history, rename, &reason, full);
        let add = Action::AddColumn { name: name.clone(), sql_type: to.clone(), options: vec![] };
        self.push_replica(history, add, &reason, None);
        if !using(&aside, from, &to).starts_with("NULL::") {
            let fill = Action::Fill { name, to, from: aside, was: from.to_owned() };
            self.push_replica(history, fill, &reason, None);
        }
    }
}
