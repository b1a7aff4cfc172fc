//! The ground truth for tests: objects as typed values, not as the API's JSON.

use serde::Serialize;

use super::model::Value;
use super::view::{Entry, View};

/// An object as it is, whatever the API makes of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DumpObject {
    /// Its id.
    pub id: u64,
    /// Its key.
    pub key: String,
    /// Its label.
    pub label: String,
    /// Its type's id.
    pub type_id: u32,
    /// Its type's name.
    pub type_name: String,
    /// Epoch ms, UTC.
    pub created: i64,
    /// Epoch ms, UTC.
    pub updated: i64,
    /// Every attribute of the type in order, also those without a value and hidden ones.
    pub attributes: Vec<DumpAttribute>,
}

impl DumpObject {
    /// The values of an attribute by name, empty if there are none.
    pub fn values(&self, name: &str) -> &[DumpValue] {
        self.attributes.iter().find(|a| a.name == name).map_or(&[], |a| &a.values)
    }
}

/// An attribute of a [`DumpObject`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DumpAttribute {
    /// The attribute's id.
    pub attribute_id: u32,
    /// Its name.
    pub name: String,
    /// Its values in order; empty means none.
    pub values: Vec<DumpValue>,
}

/// A value of a [`DumpAttribute`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DumpValue {
    /// Text, Textarea, URL, Email, Select, IP Address, unknown kinds; may be empty.
    Text {
        /// The text.
        value: String,
    },
    /// A whole number.
    Integer {
        /// The number.
        value: i64,
    },
    /// A number.
    Double {
        /// The number.
        value: f64,
    },
    /// True or false.
    Boolean {
        /// The truth.
        value: bool,
    },
    /// A date.
    Date {
        /// Days since 1970-01-01.
        value: i64,
    },
    /// A time of day.
    Time {
        /// Seconds since midnight.
        value: u32,
    },
    /// An instant.
    DateTime {
        /// Epoch ms, UTC.
        value: i64,
    },
    /// A reference.
    Object {
        /// The other object's id.
        id: u64,
        /// Its key.
        key: String,
        /// Its label.
        label: String,
    },
    /// A person.
    User {
        /// Account id.
        account_id: String,
        /// Name shown.
        display_name: String,
        /// Address, which the API may hide.
        email: String,
    },
    /// A group.
    Group {
        /// Its name.
        name: String,
    },
    /// A status.
    Status {
        /// Its id.
        id: u32,
        /// Its name.
        name: String,
        /// 0 inactive, 1 active, 2 pending.
        category: u8,
    },
}

/// Every object of a type itself (not of its children), ascending by id.
pub fn of_type(view: View<'_>, type_id: u32) -> Vec<DumpObject> {
    let mut ids = Vec::new();
    view.ids_of(type_id, 0, u64::MAX, &mut ids);
    ids.into_iter().filter_map(|id| view.object(id)).map(|entry| object(view, &entry)).collect()
}

/// One object.
pub fn object(view: View<'_>, entry: &Entry<'_>) -> DumpObject {
    let type_id = entry.type_id();
    let attributes = view.catalog.effective(type_id).into_iter().map(|attribute| {
        let mut values = Vec::new();
        view.values(entry, attribute, &mut values);
        let values = values.iter().filter_map(|v| value(view, v)).collect();
        DumpAttribute { attribute_id: attribute.id, name: attribute.name.clone(), values }
    });
    DumpObject {
        id: entry.id(),
        key: view.key(entry),
        label: view.label(entry),
        type_id,
        type_name: view.catalog.types[&type_id].name.clone(),
        created: view.created(entry),
        updated: view.updated(entry),
        attributes: attributes.collect(),
    }
}

fn value(view: View<'_>, value: &Value) -> Option<DumpValue> {
    Some(match value {
        Value::Text(text) => DumpValue::Text { value: text.clone() },
        Value::Integer(n) => DumpValue::Integer { value: *n },
        Value::Double(x) => DumpValue::Double { value: *x },
        Value::Boolean(b) => DumpValue::Boolean { value: *b },
        Value::Date(day) => DumpValue::Date { value: *day },
        Value::Time(seconds) => DumpValue::Time { value: *seconds },
        Value::DateTime(ms) => DumpValue::DateTime { value: *ms },
        Value::Object(id) => {
            let entry = view.object(*id)?;
            DumpValue::Object { id: *id, key: view.key(&entry), label: view.label(&entry) }
        }
        Value::User(user) => {
            let user = view.catalog.users.get(*user)?;
            DumpValue::User {
                account_id: user.account_id.clone(),
                display_name: user.display_name.clone(),
                email: user.email.clone(),
            }
        }
        Value::Group(group) => DumpValue::Group { name: (*view.catalog.groups.get(*group)?).to_owned() },
        Value::Status(id) => {
            let status = view.catalog.status(*id)?;
            DumpValue::Status { id: *id, name: status.name.to_owned(), category: status.category }
        }
    })
}
