//! AQL, read and evaluated over assets-api.md sections 4 and 13. Shares nothing with the code that writes AQL.

#[allow(missing_docs)] // the grammar's own words
pub mod ast;
mod compile;
mod dates;
mod eval;
mod fields;
mod fold;
mod lexer;
mod literals;
mod order;
mod parser;
mod search;

pub use parser::parse;
pub use search::{Context, Found, count, find, validate};

/// Why a query is answered with 400.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The text for `errorMessages` and `errors.iql`.
    pub message: String,
}

impl Invalid {
    pub(crate) fn new(message: impl Into<String>) -> Invalid {
        Invalid { message: message.into() }
    }
}
