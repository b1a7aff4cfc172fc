//! The table of rules: which comparison of which column becomes which AQL, and what that rests on.
//!
//! A comparison that no row covers stays at home. Rows that are missing on purpose:
//! - `<`, `>` on text and keys: the order is a collation's (assets-api.md 4.6).
//! - `<>`, NOT IN, NOT LIKE on text: AQL ignores case, so rows that differ only in case would be
//!   lost (4.3); on arrays: whether any or all values must differ is undocumented (10.5).
//! - LIKE and prefixes on Key: the service answers 400 (13); on a status: finds nothing (8.7).
//! - a user's display name, a group: comparison by them is unproven (13).
//! - an attribute of one kind under a column of another class (`bigint` over a Text attribute):
//!   `007` is 7 here and not there.

use crate::lower::Fidelity::{self, Exact, Inexact};
use crate::pred::{Class, Column, Kind, Op, Part, Subject};

/// What a rule is about: a keyword or a kind of attribute, and the part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// `objectId`
    Id,
    /// `Key`
    Key,
    /// `Created`, `Updated`
    Stamp,
    /// An attribute.
    Attribute(Kind, Part),
}

/// Single-valued, multi-valued, or no matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// A scalar column over a single-valued attribute.
    One,
    /// An array column.
    Many,
    /// Either.
    Any,
}

/// How the AQL is built from the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `path op value`, the operator as it is; numbers and booleans.
    Plain,
    /// `path = "text"`.
    TextEqual,
    /// `path in ("…", …)`, or `in (1, 2)`.
    OneOf,
    /// Every element with `path = "text"`, ANDed.
    AllOf,
    /// LIKE's certain runs, as startswith, endswith and like.
    Pattern,
    /// `startswith "text"`
    Prefix,
    /// `like "text"`
    Contains,
    /// A range around a double, one step wider on each open side.
    DoubleRange,
    /// A range of days, widened.
    DayRange,
    /// A range of instants, widened.
    InstantRange,
    /// `startswith` a dotted IPv4 address, whatever mask the stored text carries.
    Ipv4,
    /// `is EMPTY`
    Empty,
    /// `is EMPTY`, or an empty text, which is NULL here.
    EmptyOrBlank,
    /// `is not EMPTY`
    NotEmpty,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// A short name for reports.
    pub name: &'static str,
    /// What is compared.
    pub target: Target,
    /// How SQL compares it; none: any class.
    pub class: Option<Class>,
    /// Scalar or array.
    pub arity: Arity,
    /// The comparisons.
    pub ops: &'static [Op],
    /// How the text is built.
    pub form: Form,
    /// How faithful it is.
    pub fidelity: Fidelity,
    /// The fact it rests on, by section of assets-api.md.
    pub rests_on: &'static str,
    /// Whether Atlassian documents the fact.
    pub documented: bool,
}

const RANGE: &[Op] = &[Op::Eq, Op::Lt, Op::Le, Op::Gt, Op::Ge, Op::In];
const EQ: &[Op] = &[Op::Eq, Op::EqFolded];

const fn attr(kind: Kind) -> Target {
    Target::Attribute(kind, Part::Value)
}

#[allow(clippy::too_many_arguments)]
const fn rule(
    name: &'static str,
    target: Target,
    class: Option<Class>,
    arity: Arity,
    ops: &'static [Op],
    form: Form,
    fidelity: Fidelity,
    rests_on: &'static str,
    documented: bool,
) -> Rule {
    Rule { name, target, class, arity, ops, form, fidelity, rests_on, documented }
}

use Arity::{Any, Many, One};
use Class::{Bool, Date, Double, Inet, Int, Text, Timestamp};

/// The table. The first row that fits is used.
#[rustfmt::skip]
pub const RULES: &[Rule] = &[
    // Object id and key.
    rule("id =", Target::Id, Some(Int), One, &[Op::Eq], Form::Plain, Exact, "4.2 objectId with =", true),
    rule("id in", Target::Id, Some(Int), One, &[Op::In], Form::OneOf, Exact, "4.2 in (1, 2) works for ids", true),
    rule("id range", Target::Id, Some(Int), One, &[Op::Lt, Op::Le, Op::Gt, Op::Ge], Form::Plain, Inexact, "13 id ranges, >= and <= only", false),
    rule("key =", Target::Key, Some(Text), One, EQ, Form::TextEqual, Inexact, "13 exact Key = is the supported form; 4.3 ignores case", true),
    rule("key in", Target::Key, Some(Text), One, &[Op::In], Form::OneOf, Inexact, "4.3 in as =", true),
    rule("key is null", Target::Key, None, One, &[Op::IsNotNull], Form::NotEmpty, Inexact, "13 Key is not EMPTY selects everything", false),
    // Created and Updated: always there.
    rule("stamp range", Target::Stamp, Some(Timestamp), One, RANGE, Form::InstantRange, Inexact, "4.3 < > on dates; 10.6 zone and precision unknown, widened", true),
    // Text.
    rule("text =", attr(Kind::Text), Some(Text), One, EQ, Form::TextEqual, Inexact, "4.3 = ignores case", true),
    rule("text in", attr(Kind::Text), Some(Text), One, &[Op::In], Form::OneOf, Inexact, "4.3 in as =", true),
    rule("text like", attr(Kind::Text), Some(Text), One, &[Op::Like, Op::ILike], Form::Pattern, Inexact, "4.3 like, startswith, endswith ignore case", true),
    rule("text prefix", attr(Kind::Text), Some(Text), One, &[Op::Prefix], Form::Prefix, Inexact, "4.3 startswith", true),
    rule("text contains", attr(Kind::Text), Some(Text), One, &[Op::Contains], Form::Contains, Inexact, "4.3 like is contains", true),
    rule("texts has", attr(Kind::Text), Some(Text), Many, &[Op::ArrayHas], Form::TextEqual, Inexact, "4.3 = matches if any value equals", false),
    rule("texts overlap", attr(Kind::Text), Some(Text), Many, &[Op::ArrayOverlaps], Form::OneOf, Inexact, "4.3 = matches if any value equals", false),
    rule("texts contain", attr(Kind::Text), Some(Text), Many, &[Op::ArrayContains], Form::AllOf, Inexact, "4.3 = matches if any value equals", false),
    rule("text is null", attr(Kind::Text), Some(Text), Any, &[Op::IsNull], Form::EmptyOrBlank, Inexact, "4.3 is EMPTY; an empty text is NULL here", true),
    // Numbers and booleans.
    rule("integer compare", attr(Kind::Integer), Some(Int), One, &[Op::Eq, Op::Lt, Op::Le, Op::Gt, Op::Ge], Form::Plain, Exact, "4.3 = < > on numbers", true),
    rule("integer in", attr(Kind::Integer), Some(Int), One, &[Op::In], Form::OneOf, Exact, "4.3 in as =", true),
    rule("integers has", attr(Kind::Integer), Some(Int), Many, &[Op::ArrayHas], Form::Plain, Inexact, "4.3 = matches if any value equals", false),
    rule("integers overlap", attr(Kind::Integer), Some(Int), Many, &[Op::ArrayOverlaps], Form::OneOf, Inexact, "4.3 = matches if any value equals", false),
    rule("double range", attr(Kind::Double), Some(Double), One, RANGE, Form::DoubleRange, Inexact, "4.3 < > on numbers; one step wider for other spellings of the same double", true),
    rule("boolean =", attr(Kind::Boolean), Some(Bool), One, &[Op::Eq, Op::Ne], Form::Plain, Inexact, "4.4 Active = true", false),
    // Dates.
    rule("date range", attr(Kind::Date), Some(Date), One, RANGE, Form::DayRange, Inexact, "13 date-only literals with >= and <=; widened", true),
    rule("datetime range", attr(Kind::DateTime), Some(Timestamp), One, RANGE, Form::InstantRange, Inexact, "4.3 < > on dates; 10.6 zone and precision unknown, widened", true),
    // Addresses.
    rule("ip =", attr(Kind::IpAddress), Some(Inet), One, &[Op::Eq], Form::Ipv4, Inexact, "4.3 startswith", true),
    rule("ip text =", attr(Kind::IpAddress), Some(Text), One, EQ, Form::TextEqual, Inexact, "4.3 = ignores case", true),
    // References: by label, and by key through the dotted path.
    rule("reference =", attr(Kind::Object), Some(Text), One, EQ, Form::TextEqual, Inexact, "4.3 compares with the label", true),
    rule("reference in", attr(Kind::Object), Some(Text), One, &[Op::In], Form::OneOf, Inexact, "4.3 in as =", true),
    rule("references has", attr(Kind::Object), Some(Text), Many, &[Op::ArrayHas], Form::TextEqual, Inexact, "4.3 = matches if any value equals", false),
    rule("reference key =", Target::Attribute(Kind::Object, Part::Key), Some(Text), One, EQ, Form::TextEqual, Inexact, "4.3 \"City\".Key = …", true),
    rule("reference key in", Target::Attribute(Kind::Object, Part::Key), Some(Text), One, &[Op::In], Form::OneOf, Inexact, "4.3 \"City\".Key; in as =", true),
    rule("reference keys has", Target::Attribute(Kind::Object, Part::Key), Some(Text), Many, &[Op::ArrayHas], Form::TextEqual, Inexact, "4.3 \"City\".Key = …", false),
    rule("reference keys overlap", Target::Attribute(Kind::Object, Part::Key), Some(Text), Many, &[Op::ArrayOverlaps], Form::OneOf, Inexact, "4.3 \"City\".Key; in as =", false),
    // Users by account id, statuses by name.
    rule("user account =", Target::Attribute(Kind::User, Part::AccountId), Some(Text), One, EQ, Form::TextEqual, Inexact, "13 a User attribute compares by account id", false),
    rule("user account in", Target::Attribute(Kind::User, Part::AccountId), Some(Text), One, &[Op::In], Form::OneOf, Inexact, "13 a User attribute compares by account id", false),
    rule("user accounts has", Target::Attribute(Kind::User, Part::AccountId), Some(Text), Many, &[Op::ArrayHas], Form::TextEqual, Inexact, "13 a User attribute compares by account id", false),
    rule("status =", attr(Kind::Status), Some(Text), One, EQ, Form::TextEqual, Inexact, "4.3 Status = \"Running\"", true),
    rule("status in", attr(Kind::Status), Some(Text), One, &[Op::In], Form::OneOf, Inexact, "4.3 in as =", true),
];

/// Rules on emptiness that hold for a kind whatever the column's class: a value that is there is
/// not EMPTY, and one that is not there is.
#[rustfmt::skip]
pub const EMPTINESS: &[(Kind, Op, Form, Fidelity, &str)] = &[
    (Kind::Integer, Op::IsNull, Form::Empty, Exact, "4.3 is EMPTY"),
    (Kind::Double, Op::IsNull, Form::Empty, Exact, "4.3 is EMPTY"),
    (Kind::Boolean, Op::IsNull, Form::Empty, Exact, "4.3 is EMPTY"),
    (Kind::Date, Op::IsNull, Form::Empty, Exact, "4.3 is EMPTY"),
    (Kind::DateTime, Op::IsNull, Form::Empty, Exact, "4.3 is EMPTY"),
    (Kind::IpAddress, Op::IsNull, Form::EmptyOrBlank, Inexact, "4.3 is EMPTY; an empty text is NULL here"),
    (Kind::Object, Op::IsNull, Form::Empty, Inexact, "4.3 is EMPTY"),
    (Kind::Status, Op::IsNull, Form::Empty, Inexact, "4.3 is EMPTY"),
    (Kind::Text, Op::IsNotNull, Form::NotEmpty, Inexact, "4.3 is not EMPTY"),
    (Kind::Integer, Op::IsNotNull, Form::NotEmpty, Exact, "4.3 is not EMPTY"),
    (Kind::Double, Op::IsNotNull, Form::NotEmpty, Exact, "4.3 is not EMPTY"),
    (Kind::Boolean, Op::IsNotNull, Form::NotEmpty, Exact, "4.3 is not EMPTY"),
    (Kind::Date, Op::IsNotNull, Form::NotEmpty, Exact, "4.3 is not EMPTY"),
    (Kind::DateTime, Op::IsNotNull, Form::NotEmpty, Exact, "4.3 is not EMPTY"),
    (Kind::IpAddress, Op::IsNotNull, Form::NotEmpty, Inexact, "4.3 is not EMPTY"),
    (Kind::Object, Op::IsNotNull, Form::NotEmpty, Inexact, "4.3 is not EMPTY"),
    (Kind::User, Op::IsNotNull, Form::NotEmpty, Inexact, "4.3 is not EMPTY"),
    (Kind::Status, Op::IsNotNull, Form::NotEmpty, Inexact, "4.3 is not EMPTY"),
    (Kind::Other, Op::IsNotNull, Form::NotEmpty, Inexact, "4.3 is not EMPTY"),
];

/// The rule's form and fidelity for a comparison, or why there is none.
pub fn find(subject: &Subject, op: Op) -> Result<(Form, Fidelity), String> {
    let target = match &subject.column {
        Column::Id => Target::Id,
        Column::Key => Target::Key,
        Column::Created | Column::Updated => Target::Stamp,
        Column::Attribute { kind, part, .. } => Target::Attribute(*kind, *part),
    };
    let arity = if subject.multi { Many } else { One };
    let row = RULES.iter().find(|r| {
        r.target == target
            && r.class.is_none_or(|class| class == subject.class)
            && (r.arity == Any || r.arity == arity)
            && r.ops.contains(&op)
    });
    if op == Op::IsNull && subject.null_is_vague {
        return Err("a value that does not fit also reads as NULL here".into());
    }
    if let Some(row) = row {
        return Ok((row.form, row.fidelity));
    }
    if let Column::Attribute { kind, part, .. } = &subject.column {
        let known_part = matches!(part, Part::Value | Part::Key | Part::AccountId);
        let row = EMPTINESS.iter().find(|r| r.0 == *kind && r.1 == op);
        if let Some((_, _, form, fidelity, _)) = row
            && (op == Op::IsNotNull || known_part)
        {
            let exact = *fidelity == Exact && !subject.null_is_vague && !subject.multi;
            return Ok((*form, if exact { Exact } else { Inexact }));
        }
    }
    Err(match op {
        Op::NotLike | Op::NotILike | Op::NotPart | Op::NeFolded => {
            "AQL ignores case, so a negation would lose rows".into()
        }
        Op::Ne | Op::NotIn if subject.class == Text => {
            "AQL ignores case, so a negation would lose rows".into()
        }
        Op::ArrayNot | Op::Ne | Op::NotIn => {
            "how AQL negates over empty and several values is not documented".into()
        }
        Op::Lt | Op::Le | Op::Gt | Op::Ge if subject.class == Text => {
            "the order of text is a collation's".into()
        }
        Op::Like | Op::ILike | Op::Prefix | Op::Contains if subject.column == Column::Key => {
            "the service refuses this on Key".into()
        }
        _ => "no AQL that is known to select every such object".into(),
    })
}
