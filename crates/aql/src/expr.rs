//! What AQL can say, and how it is written down. Quoting happens here and nowhere else.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

/// A path to compare: a keyword of AQL, an attribute, or an attribute of a referenced object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// `objectId`, `Key`, `Created`, `Updated`: written bare.
    Keyword(&'static str),
    /// An attribute: written in double quotes.
    Attribute(String),
    /// The key of the object that an attribute refers to: `"City".Key` (S2, dotted paths).
    KeyOf(String),
}

/// A value in AQL.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Written in double quotes.
    Text(String),
    /// Written bare.
    Int(i64),
    /// Written bare, in plain decimal notation.
    Double(f64),
    /// `true` or `false`.
    Bool(bool),
    /// A value known only when the query runs, counted from 0: `$1`, for EXPLAIN only.
    Param(usize),
}

/// AQL's comparison operators, as far as this project sends them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Cmp {
    Eq,
    Same,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Like,
    StartsWith,
    EndsWith,
}

/// A condition in AQL.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// All of these; never empty.
    And(Vec<Expr>),
    /// One of these; never empty.
    Or(Vec<Expr>),
    /// A comparison.
    Compare(Path, Cmp, Value),
    /// `in (…)`; never empty.
    In(Path, Vec<Value>),
    /// `in (…)` with a list known only when the query runs.
    InParam(Path, usize),
    /// `not in (…)`; never empty.
    NotIn(Path, Vec<Value>),
    /// `not in (…)` with a list known only when the query runs.
    NotInParam(Path, usize),
    /// `NOT (…)`
    Not(Box<Expr>),
    /// `is EMPTY`
    IsEmpty(Path),
    /// `is not EMPTY`
    IsNotEmpty(Path),
    /// A text of the caller's: the object types, a table's own `aql` option.
    Verbatim(String),
}

impl Path {
    /// The attribute that it names.
    pub fn attribute(&self) -> Option<&str> {
        match self {
            Path::Keyword(_) => None,
            Path::Attribute(name) | Path::KeyOf(name) => Some(name),
        }
    }
}

impl Expr {
    /// Whether a part of a text is asked for.
    pub fn asks_for_part(&self) -> bool {
        match self {
            Expr::And(list) | Expr::Or(list) => list.iter().any(Expr::asks_for_part),
            Expr::Not(inner) => inner.asks_for_part(),
            Expr::Compare(_, cmp, _) => matches!(cmp, Cmp::Like | Cmp::StartsWith | Cmp::EndsWith),
            _ => false,
        }
    }

    /// The attributes that a condition names.
    pub fn attributes(&self) -> BTreeSet<&str> {
        match self {
            Expr::And(list) | Expr::Or(list) => list.iter().flat_map(Expr::attributes).collect(),
            Expr::Not(inner) => inner.attributes(),
            Expr::Verbatim(_) => BTreeSet::new(),
            Expr::Compare(path, ..)
            | Expr::In(path, _)
            | Expr::InParam(path, _)
            | Expr::NotIn(path, _)
            | Expr::NotInParam(path, _)
            | Expr::IsEmpty(path)
            | Expr::IsNotEmpty(path) => path.attribute().into_iter().collect(),
        }
    }

    /// The attributes whose names the service may not know although objects satisfy the condition: those
    /// beside something else in an OR, and those below a NOT. A condition on an unknown name is satisfied
    /// by no object (assets-api.md 4.7).
    pub fn unproven_by_a_match(&self) -> BTreeSet<&str> {
        match self {
            Expr::And(list) => list.iter().flat_map(Expr::unproven_by_a_match).collect(),
            Expr::Or(list) => {
                let all = self.attributes();
                let alone = all.len() == 1 && list.iter().all(|branch| branch.attributes() == all);
                let below = || list.iter().flat_map(Expr::unproven_by_a_match).collect();
                if alone { below() } else { all }
            }
            Expr::Not(inner) => inner.attributes(),
            _ => BTreeSet::new(),
        }
    }

    /// The attributes of which a match does not show that what they refer to is seen: those, and those that are asked to
    /// be EMPTY.
    pub fn unseen_by_a_match(&self) -> BTreeSet<&str> {
        let mut names = self.unproven_by_a_match();
        names.extend(self.emptied());
        names
    }

    fn emptied(&self) -> BTreeSet<&str> {
        match self {
            Expr::And(list) | Expr::Or(list) => list.iter().flat_map(Expr::emptied).collect(),
            Expr::Not(inner) => inner.emptied(),
            Expr::IsEmpty(_) => self.attributes(),
            _ => BTreeSet::new(),
        }
    }

    /// What every object satisfies whose type has an attribute that AQL knows by this name.
    pub fn knows(name: &str) -> Expr {
        let path = || Path::Attribute(name.to_owned());
        Expr::Or(vec![Expr::IsEmpty(path()), Expr::IsNotEmpty(path())])
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Keyword(word) => f.write_str(word),
            Path::Attribute(name) => quote(f, name),
            Path::KeyOf(name) => {
                quote(f, name)?;
                f.write_str(".Key")
            }
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => quote(f, text),
            Value::Int(n) => write!(f, "{n}"),
            Value::Double(n) => write!(f, "{n}"),
            Value::Bool(b) => write!(f, "{b}"),
            Value::Param(n) => write!(f, "${}", n + 1),
        }
    }
}

impl fmt::Display for Cmp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cmp::Eq => "=",
            Cmp::Same => "==",
            Cmp::Ne => "!=",
            Cmp::Lt => "<",
            Cmp::Le => "<=",
            Cmp::Gt => ">",
            Cmp::Ge => ">=",
            Cmp::Like => "like",
            Cmp::StartsWith => "startswith",
            Cmp::EndsWith => "endswith",
        })
    }
}

/// Precedence between AND and OR is only reported, not documented (assets-api.md 4.1, 13), so
/// every group stands in parentheses.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expr::And(list) => group(f, list, " AND "),
            Expr::Or(list) => group(f, list, " OR "),
            Expr::Compare(path, cmp, value) => write!(f, "{path} {cmp} {value}"),
            Expr::In(path, values) => list(f, path, "in", values),
            Expr::InParam(path, n) => write!(f, "{path} in (${})", n + 1),
            Expr::NotIn(path, values) => list(f, path, "not in", values),
            Expr::NotInParam(path, n) => write!(f, "{path} not in (${})", n + 1),
            Expr::Not(inner) => write!(f, "NOT ({inner})"),
            Expr::IsEmpty(path) => write!(f, "{path} is EMPTY"),
            Expr::IsNotEmpty(path) => write!(f, "{path} is not EMPTY"),
            Expr::Verbatim(text) => f.write_str(text),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, path: &Path, word: &str, values: &[Value]) -> fmt::Result {
    write!(f, "{path} {word} (")?;
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{value}")?;
    }
    f.write_char(')')
}

fn group(f: &mut fmt::Formatter<'_>, list: &[Expr], between: &str) -> fmt::Result {
    for (i, item) in list.iter().enumerate() {
        if i > 0 {
            f.write_str(between)?;
        }
        match item {
            Expr::And(_) | Expr::Or(_) | Expr::Verbatim(_) => write!(f, "({item})")?,
            _ => write!(f, "{item}")?,
        }
    }
    Ok(())
}

/// `\` and `"` are escaped with a backslash (assets-api.md 4.4); nothing else is special inside
/// double quotes. Control characters never get here: [`crate::name`] keeps them at home.
fn quote(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            f.write_char('\\')?;
        }
        f.write_char(c)?;
    }
    f.write_char('"')
}
