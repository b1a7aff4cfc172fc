//! From object types to tables: which columns an object type gets, what they are called, of which
//! SQL type they are, the statements that create them (interface.md 2), and those that let tables follow
//! types that changed since (section 5). Pure: types and attributes in, text out.
#![forbid(unsafe_code)]

pub mod ddl;
pub mod drift;
pub mod known;
pub mod layout;
pub mod listed;
pub mod naming;
