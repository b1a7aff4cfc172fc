//! Descriptions as comments.

use assets::model::{Attribute, ObjectType};

use super::schema::said;
use super::table::{Comparison, column_of};
use super::{Action, Kind, LocalTable};
use crate::known::{Known, KnownAttribute};
use crate::layout;

impl Comparison<'_> {
    /// Comments that are the ones of before; another was written by somebody.
    pub(super) fn table_comment(&mut self, table: &LocalTable, known: &Known, object_type: &ObjectType) {
        let now = layout::text(&object_type.description);
        if now == known.comment {
            return;
        }
        self.begin(Kind::Description, object_type.id, None);
        let reason = format!("object type {} is described anew", said(&object_type.name, object_type.id));
        let action = || Action::Comment { column: None, text: now.clone() };
        if table.comment == known.comment {
            self.push(&table.relation, true, action(), reason.clone(), None);
        }
        for replica in table.replicas.iter().filter(|r| r.belongs_to.is_none() && !r.history) {
            if replica.comment == known.comment {
                self.push_replica(replica, action(), &reason, None);
            }
        }
    }

    pub(super) fn column_comments(
        &mut self,
        table: &LocalTable,
        attribute: &Attribute,
        before: &KnownAttribute,
    ) {
        let now = layout::text(&attribute.description);
        if now == before.comment {
            return;
        }
        let reason = format!("attribute {} is described anew", said(&attribute.name, attribute.id));
        for column in table.columns.iter().filter(|c| c.attribute_id() == Some(attribute.id)) {
            self.begin(Kind::Description, table.type_id().unwrap_or(0), Some(attribute.id));
            let action = || Action::Comment { column: Some(column.name.clone()), text: now.clone() };
            if column.comment == before.comment {
                self.push(&table.relation, true, action(), reason.clone(), None);
            }
            for replica in table.replicas.iter().filter(|r| r.belongs_to.is_none() && !r.history) {
                let held = column_of(replica, &column.name).filter(|c| c.comment == before.comment);
                if let Some(held) = held {
                    let (column, text) = (Some(held.name.clone()), now.clone());
                    self.push_replica(replica, Action::Comment { column, text }, &reason, None);
                }
            }
        }
    }
}
