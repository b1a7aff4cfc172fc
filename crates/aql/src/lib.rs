//! From a condition in SQL's terms to AQL text, with a word on how faithful the text is.
//!
//! ```text
//! Pred (what SQL asks)  →  lower (one table of rules)  →  Expr (what AQL can say)  →  text
//! ```
//!
//! A [`Pred`] is SQL's condition over one object: three-valued, exact. [`lower()`] finds the
//! strongest AQL condition that selects **at least** the objects for which the condition is true,
//! whichever way the service behaves where its documentation is silent. [`Fidelity`] says whether
//! it may select more. Rules live in [`rules`], each with the fact it rests on; [`facts`] are what has been
//! proven of one service, by [`probe`]s that are judged by [`eval`].
//!
//! No dependencies, no I/O, no `unsafe`.
#![forbid(unsafe_code)]

pub mod batch;
pub mod date;
pub mod eval;
pub mod expr;
pub mod facts;
pub mod form;
pub mod groups;
pub mod letters;
pub mod like;
pub mod lower;
pub mod name;
pub mod number;
pub mod order;
pub mod own;
pub mod pred;
pub mod probe;
mod range;
pub mod rules;

pub use expr::Expr;
pub use facts::Facts;
pub use lower::{Fidelity, Lowered, facts_used, lower, lower_with, names_unknown_type};
pub use pred::{Class, Column, Kind, Leaf, Literal, Op, Operand, Part, Pred, Stored, Subject};
