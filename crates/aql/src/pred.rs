//! A condition in SQL's terms: which column of an object, which comparison, which value.

/// The kind of an Assets attribute, as far as the rules tell kinds apart (assets-api.md 3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Text, URL, Email, Select: compared as text, ignoring case.
    Text,
    /// Textarea: text with markup, which may be indexed without it.
    Rich,
    /// Integer.
    Integer,
    /// Double.
    Double,
    /// Boolean.
    Boolean,
    /// Date.
    Date,
    /// DateTime.
    DateTime,
    /// IP Address.
    IpAddress,
    /// A reference to another object.
    Object,
    /// A user.
    User,
    /// A group.
    Group,
    /// A status.
    Status,
    /// Whatever no rule is known for: Time, Version, Project, Confluence, unknown kinds.
    Other,
}

/// Which part of a value the column shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The plain value; a reference's label; a user's display name; a group's or a status's name.
    Value,
    /// A reference's object key.
    Key,
    /// A user's account id.
    AccountId,
    /// Any other part: no rule.
    Other,
}

/// How PostgreSQL compares the column: its SQL type, as far as the rules tell types apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// `text` or `varchar` under a deterministic collation.
    Text,
    /// `varchar(n)`, likewise: what follows the first n characters of a value is cut off where it is
    /// blanks, so that a value of n characters may be stored with more.
    Varchar(u32),
    /// `smallint`, `integer`, `bigint`.
    Int,
    /// `double precision`.
    Double,
    /// `boolean`.
    Bool,
    /// `date`.
    Date,
    /// `timestamptz`.
    Timestamp,
    /// `timestamptz(0)` to `timestamptz(2)`: rounded more coarsely than the service tells instants. Rounding
    /// keeps the order; what is equal, and what lies within bounds, is another matter.
    Coarse,
    /// `inet`.
    Inet,
    /// Any other type: its values may compare in ways AQL's do not, so only emptiness is asked.
    Opaque,
}

impl Class {
    /// The class without what a type modifier does to its values.
    pub fn unmodified(self) -> Class {
        match self {
            Class::Varchar(_) => Class::Text,
            Class::Coarse => Class::Timestamp,
            other => other,
        }
    }
}

/// What AQL knows the column by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Column {
    /// The object's id: `objectId`.
    Id,
    /// The object's key: `Key`.
    Key,
    /// Creation time: `Created`.
    Created,
    /// Time of the last change: `Updated`.
    Updated,
    /// The object type's name, of a table that holds several.
    ObjectType {
        /// The names that are known.
        names: Vec<String>,
        /// Whether there are no others.
        are_all: bool,
    },
    /// An attribute.
    Attribute {
        /// Its name as AQL knows it.
        name: String,
        /// Its kind.
        kind: Kind,
        /// Which part of its values.
        part: Part,
    },
}

/// The left side of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    /// What AQL calls it.
    pub column: Column,
    /// How SQL compares it; of the elements, where the column is an array.
    pub class: Class,
    /// Whether the column is an array (or the attribute may hold several values).
    pub multi: bool,
    /// Whether a value that is there may read as NULL here (`on_invalid 'null'`, a type of the
    /// user's choice), so that NULL is more than "no value".
    pub null_is_vague: bool,
    /// Whether every object has a value here: a row without one is an ERROR.
    pub always: bool,
    /// How what is shown comes from what is stored.
    pub stored: Stored,
}

/// AQL looks at what is stored, and a row shows what this credential may see of it: what is known of the difference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Stored {
    /// The attribute's id, for what was proven of this attribute alone; none: nothing was.
    pub attribute: Option<i64>,
    /// Of a reference: whether the credential is known to see the object type that it refers to, with those
    /// below it.
    pub target_is_seen: bool,
}

impl Subject {
    /// A column that holds a single value, of which nothing else is known.
    pub fn new(column: Column, class: Class) -> Self {
        Self { column, class, multi: false, null_is_vague: false, always: false, stored: Stored::default() }
    }
}

/// A comparison. For array columns only the `Array…` forms and the emptiness tests exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// `=`
    Eq,
    /// `<>`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `IN (…)`, `= ANY (array)`; the operand is a list.
    In,
    /// `NOT IN (…)`, `<> ALL (array)`; the operand is a list.
    NotIn,
    /// `LIKE`; the operand is a pattern.
    Like,
    /// `ILIKE`; the operand is a pattern.
    ILike,
    /// `NOT LIKE`
    NotLike,
    /// `NOT ILIKE`
    NotILike,
    /// `starts_with(x, v)`, `x ^@ v`
    Prefix,
    /// `strpos(x, v) > 0`
    Contains,
    /// The negation of [`Op::Prefix`] or [`Op::Contains`].
    NotPart,
    /// `lower(x) = v`
    EqFolded,
    /// The negation of [`Op::EqFolded`].
    NeFolded,
    /// `v = ANY (x)` over an array column.
    ArrayHas,
    /// `x @> list`
    ArrayContains,
    /// `x && list`
    ArrayOverlaps,
    /// The negation of an array test.
    ArrayNot,
    /// `IS NOT DISTINCT FROM`: NULL is a value like any other; never null itself.
    Same,
    /// `IS DISTINCT FROM`
    Distinct,
    /// `IS NULL`; no operand.
    IsNull,
    /// `IS NOT NULL`; no operand.
    IsNotNull,
}

impl Op {
    /// Whether it is never true of a NULL on the left.
    pub fn is_strict(self) -> bool {
        // NOT IN over an empty list is true of everything.
        !matches!(self, Op::Same | Op::Distinct | Op::IsNull | Op::NotIn)
    }

    /// The comparison that is true exactly where this one is false, and null where it is null.
    pub fn negated(self) -> Op {
        match self {
            Op::Eq => Op::Ne,
            Op::Ne => Op::Eq,
            Op::Lt => Op::Ge,
            Op::Le => Op::Gt,
            Op::Gt => Op::Le,
            Op::Ge => Op::Lt,
            Op::In => Op::NotIn,
            Op::NotIn => Op::In,
            Op::Like => Op::NotLike,
            Op::ILike => Op::NotILike,
            Op::NotLike => Op::Like,
            Op::NotILike => Op::ILike,
            Op::EqFolded => Op::NeFolded,
            Op::NeFolded => Op::EqFolded,
            Op::Same => Op::Distinct,
            Op::Distinct => Op::Same,
            Op::IsNull => Op::IsNotNull,
            Op::IsNotNull => Op::IsNull,
            Op::Prefix | Op::Contains | Op::NotPart => Op::NotPart,
            Op::ArrayHas | Op::ArrayContains | Op::ArrayOverlaps | Op::ArrayNot => Op::ArrayNot,
        }
    }
}

/// A value that SQL compares with.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// SQL NULL.
    Null,
    /// Text, or the text form of an `inet`.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A double.
    Double(f64),
    /// A boolean.
    Bool(bool),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since 1970-01-01T00:00:00Z; beside a `date`, which is midnight then, of a clock without a zone.
    Timestamp(i64),
    /// The same, worked out in the session's time zone, which may be another one when rows are checked.
    Zoned(i64),
    /// A number between this whole one and the next, beside whole numbers.
    Between(i64),
    /// An array's elements.
    List(Vec<Literal>),
}

/// The right side of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// There is none (emptiness tests).
    None,
    /// A value known now.
    Value(Literal),
    /// The n-th value (from 0) that is known only when the query runs.
    Param(usize),
}

/// One comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaf {
    /// What is compared.
    pub subject: Subject,
    /// How.
    pub op: Op,
    /// With what.
    pub operand: Operand,
}

/// How deep conditions may be nested in one another. Whoever makes a [`Pred`] out of what users write gives up
/// beyond, so that nothing that walks over one, and nothing that drops one, can exhaust the stack.
pub const DEEPEST: usize = 100;

/// A condition, nested no deeper than [`DEEPEST`]. [`Pred::Local`] stands for whatever AQL has no words for.
#[derive(Debug, Clone, PartialEq)]
pub enum Pred {
    /// All are true.
    And(Vec<Pred>),
    /// One is true.
    Or(Vec<Pred>),
    /// SQL's three-valued NOT.
    Not(Box<Pred>),
    /// One comparison.
    Leaf(Leaf),
    /// Not expressible; why, for people.
    Local(String),
}

impl Pred {
    /// Moves every NOT down to the leaves, where SQL's three-valued logic allows it without
    /// loss: NOT over AND and OR by De Morgan, over a comparison by its opposite.
    pub fn normalized(self) -> Pred {
        self.normalize(false)
    }

    fn normalize(self, negate: bool) -> Pred {
        match (self, negate) {
            (Pred::And(list), false) => Pred::And(each(list, false)),
            (Pred::And(list), true) => Pred::Or(each(list, true)),
            (Pred::Or(list), false) => Pred::Or(each(list, false)),
            (Pred::Or(list), true) => Pred::And(each(list, true)),
            (Pred::Not(inner), negate) => inner.normalize(!negate),
            (Pred::Leaf(leaf), false) => Pred::Leaf(leaf),
            (Pred::Leaf(leaf), true) => Pred::Leaf(Leaf { op: leaf.op.negated(), ..leaf }),
            (Pred::Local(why), _) => Pred::Local(why),
        }
    }

    /// Whether something holds of one of its comparisons.
    pub fn any_leaf(&self, holds: impl Fn(&Leaf) -> bool + Copy) -> bool {
        match self {
            Pred::And(list) | Pred::Or(list) => list.iter().any(|pred| pred.any_leaf(holds)),
            Pred::Not(inner) => inner.any_leaf(holds),
            Pred::Leaf(leaf) => holds(leaf),
            Pred::Local(_) => false,
        }
    }

    /// Puts values in the place of parameters; `values[n]` for [`Operand::Param`]`(n)`. A
    /// parameter without a value stays one.
    pub fn bound(&self, values: &[Literal]) -> Pred {
        match self {
            Pred::And(list) => Pred::And(list.iter().map(|p| p.bound(values)).collect()),
            Pred::Or(list) => Pred::Or(list.iter().map(|p| p.bound(values)).collect()),
            Pred::Not(inner) => Pred::Not(Box::new(inner.bound(values))),
            Pred::Leaf(leaf) => {
                let operand = match &leaf.operand {
                    Operand::Param(n) => match values.get(*n) {
                        Some(value) => Operand::Value(value.clone()),
                        None => Operand::Param(*n),
                    },
                    other => other.clone(),
                };
                Pred::Leaf(Leaf { subject: leaf.subject.clone(), op: leaf.op, operand })
            }
            Pred::Local(why) => Pred::Local(why.clone()),
        }
    }
}

fn each(list: Vec<Pred>, negate: bool) -> Vec<Pred> {
    list.into_iter().map(|p| p.normalize(negate)).collect()
}
