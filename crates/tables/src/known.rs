//! What IMPORT saw when it made a table, or the last sync: without it nobody could tell a new
//! attribute from one whose column somebody dropped on purpose, or a changed kind from a type that
//! somebody chose.

use std::collections::BTreeMap;

use assets::model::{Attribute, ObjectType};
use serde::{Deserialize, Serialize};

use crate::layout::{self, Options};

/// What was made of an object type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The options of the IMPORT.
    pub options: Options,
    /// Whether the table takes descendants in.
    pub include: bool,
    /// The type's description.
    pub comment: Option<String>,
    /// The attributes that got columns, by id.
    pub attributes: BTreeMap<i64, KnownAttribute>,
}

/// What was made of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct KnownAttribute {
    /// The SQL type of each part's column; the attribute itself is the part "".
    pub parts: BTreeMap<String, String>,
    /// Its description.
    pub comment: Option<String>,
    /// Columns of replicas that had to stay when the attribute went, because something depends on them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
}

impl Known {
    /// What IMPORT makes of a type now. `attributes` are those of the type, inherited ones included.
    pub fn of(object_type: &ObjectType, attributes: &[Attribute], options: &Options) -> Self {
        let shown = layout::shown(attributes, options);
        let entry = |attribute: &Attribute| {
            let columns = layout::attribute_columns(attribute, "", options.references);
            let parts = columns.iter().map(|c| (c.part().to_owned(), c.sql_type.clone())).collect();
            (
                attribute.id,
                KnownAttribute { parts, comment: layout::text(&attribute.description), left: vec![] },
            )
        };
        Self {
            options: options.clone(),
            include: layout::includes_children(object_type, options),
            comment: layout::text(&object_type.description),
            attributes: shown.into_iter().map(entry).collect(),
        }
    }
}
