//! From object types to tables: which columns an object type gets, what they are called, of which
//! SQL type they are, and the statements that create them (interface.md 2). Pure: types and
//! attributes in, text out.
#![forbid(unsafe_code)]

pub mod ddl;
pub mod layout;
pub mod naming;
