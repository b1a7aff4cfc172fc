//! The table of rules: which comparison of which column becomes which AQL, and what that rests on.
//!
//! A row says what holds of every service, and what a [`Proof`] on the user's own site turns it
//! into. A row without a fidelity is off until it is proven; a row that was disproven is off too.
//! Exact without proof are only rows that rest on documented facts.
//!
//! A comparison that no row covers stays at home. Rows that are missing on purpose:
//! - `<`, `>` on text and keys: the order is a collation's (assets-api.md 4.6).
//! - NOT LIKE on text: AQL ignores case, so rows that differ only in case would be lost (4.3); any
//!   negation on arrays: whether any or all values must differ is undocumented (10.5).
//! - LIKE and prefixes on Key: the service answers 400 (13); on a status: finds nothing (8.7).
//! - `lower(x) = v` as `==`: it is about letters of another case.
//! - Double as exact: another spelling of the same double may be stored, which no sample can exclude.
//! - `lower(x) = v` on users and groups: they may be compared to the letter (14).
//! - `=` on an `inet` column: `010.0.0.7`, `10.0.0.7/32` and `10.0.0.7` are one address here and three texts
//!   there, and an IPv6 address has more spellings than can be asked for. A text column over the same attribute
//!   shows what is stored.
//! - `IS NULL` of users and groups: one without an account, or that is not shown, is not EMPTY.
//! - an attribute of one kind under a column of another class (`bigint` over a Text attribute):
//!   `007` is 7 here and not there.

//!
//! **What is stored is not what is shown.** AQL looks at what is stored. Two columns of the table decide where
//! that matters: `Rule::sight` says whether a row walks into another object (labels and keys of references), or
//! takes what reads as NULL for EMPTY; and whether the credential must see the type that is referred to. A fact
//! that such a row rests on is one attribute's ([`facts::PER_ATTRIBUTE`]).

use crate::facts::{self, Facts};
use crate::lower::Fidelity::{self, Exact, Inexact};
use crate::pred::{Class, Column, Kind, Op, Part, Stored, Subject};

/// What a rule is about: a keyword or a kind of attribute, and the part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// `objectId`
    Id,
    /// `Key`
    Key,
    /// `Created`, `Updated`
    Stamp,
    /// One of several object types by name.
    ObjectType,
    /// An attribute.
    Attribute(Kind, Part),
    /// An attribute, whatever part of it the column shows (but NULL tests ask only of parts that a
    /// value always has).
    Whole(Kind),
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
    /// `path != value AND path is not EMPTY`, whichever way `!=` treats EMPTY.
    Differs,
    /// `path not in (…) AND path is not EMPTY`, the same for lists.
    NoneOf,
    /// `objectId not in (…)`; every object has an id.
    NoId,
    /// `path = "text"`.
    TextEqual,
    /// The same in lower case: `=`, or what is certain of the text whatever letters fold to.
    TextFolded,
    /// `path = "KEY"`, in capitals.
    KeyFolded,
    /// [`Form::TextEqual`] for text that cannot be markup.
    PlainEqual,
    /// [`Form::OneOf`] for such texts.
    PlainOneOf,
    /// [`Form::TextFolded`] for such text.
    PlainFolded,
    /// `startswith` the part of a text or pattern that cannot be markup.
    PlainStart,
    /// `path == "text"`, to the letter.
    Same,
    /// `path = "KEY"`: exact for keys in capitals, as all are.
    KeyEqual,
    /// `path in ("KEY", …)`, the same.
    KeyOneOf,
    /// `path == "text"` for each of a short list, ORed.
    SameOneOf,
    /// `NOT (path == "text") AND path is not EMPTY`, for one value or each of a short list.
    NotSame,
    /// The object types of a table by name.
    TypeNames,
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
    /// A range of days to the day.
    Days,
    /// A range of instants to the millisecond, which is as fine as the service shows them.
    Instants,
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
    /// How faithful it is on every service; none: the rule is off without proof.
    pub fidelity: Option<Fidelity>,
    /// What a proof on the user's own site turns it into.
    pub proof: Option<Proof>,
    /// What the credential must see for it.
    pub sight: Sight,
    /// The fact it rests on, by section of assets-api.md.
    pub rests_on: &'static str,
    /// Whether Atlassian documents the fact.
    pub documented: bool,
}

/// What a credential must see for a rule to select every object that it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Nothing but the object itself.
    Own,
    /// The object that is referred to, or [`facts::UNSEEN`]: the rule walks into it.
    Walks,
    /// The object that is referred to: what is hidden from the credential reads as NULL and is there.
    Whole,
}

/// What a rule becomes where a fact has been proven.
#[derive(Debug, Clone, Copy)]
pub struct Proof {
    /// The fact, one of [`facts::KNOWN`].
    pub fact: &'static str,
    /// How the text is built then.
    pub form: Form,
    /// How faithful it is then.
    pub fidelity: Fidelity,
}

const RANGE: &[Op] = &[Op::Eq, Op::Lt, Op::Le, Op::Gt, Op::Ge, Op::In];

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
    Rule {
        name,
        target,
        class,
        arity,
        ops,
        form,
        fidelity: Some(fidelity),
        proof: None,
        sight: Sight::Own,
        rests_on,
        documented,
    }
}

/// A row that is off without proof.
const fn off(
    name: &'static str,
    target: Target,
    class: Option<Class>,
    arity: Arity,
    ops: &'static [Op],
    proof: Proof,
    rests_on: &'static str,
) -> Rule {
    let form = proof.form;
    Rule {
        name,
        target,
        class,
        arity,
        ops,
        form,
        fidelity: None,
        proof: Some(proof),
        sight: Sight::Own,
        rests_on,
        documented: false,
    }
}

const fn proof(fact: &'static str, form: Form, fidelity: Fidelity) -> Proof {
    Proof { fact, form, fidelity }
}

impl Rule {
    /// What the row becomes where `fact` has been proven.
    const fn proven(mut self, fact: &'static str, form: Form, fidelity: Fidelity) -> Self {
        self.proof = Some(proof(fact, form, fidelity));
        self
    }

    /// The row needs more than the object itself to be seen.
    const fn sight(mut self, sight: Sight) -> Self {
        self.sight = sight;
        self
    }
}

use Arity::{Any, Many, One};
use Class::{Bool, Date, Double, Int, Text, Timestamp};
use Sight::{Walks, Whole};

const REFERENCE_KEY: Target = Target::Attribute(Kind::Object, Part::Key);
const ACCOUNT: Target = Target::Attribute(Kind::User, Part::AccountId);

/// The table. The first row that fits is used.
#[rustfmt::skip]
pub const RULES: &[Rule] = &[
    // Object id and key.
    rule("id =", Target::Id, Some(Int), One, &[Op::Eq], Form::Plain, Exact, "4.2 objectId with =", true),
    rule("id in", Target::Id, Some(Int), One, &[Op::In], Form::OneOf, Exact, "4.2 in (1, 2) works for ids", true),
    rule("id range", Target::Id, Some(Int), One, &[Op::Lt, Op::Le, Op::Gt, Op::Ge], Form::Plain, Inexact, "13 id ranges, >= and <= only", false)
        .proven(facts::ID_RANGE, Form::Plain, Exact),
    rule("id not in", Target::Id, Some(Int), One, &[Op::Ne, Op::NotIn], Form::NoId, Inexact, "13 objectId NOT IN with 50 ids a clause", false)
        .proven(facts::ID_NOT_IN, Form::NoId, Exact),
    rule("key =", Target::Key, Some(Text), One, &[Op::Eq], Form::TextEqual, Inexact, "13 exact Key = is the supported form; 4.3 ignores case", true),
    rule("key folded =", Target::Key, Some(Text), One, &[Op::EqFolded], Form::KeyFolded, Inexact, "13 exact Key = is the supported form; keys are in capitals", true),
    rule("key in", Target::Key, Some(Text), One, &[Op::In], Form::OneOf, Inexact, "4.3 in as =", true),
    rule("key is not null", Target::Key, None, One, &[Op::IsNotNull], Form::NotEmpty, Inexact, "13 Key is not EMPTY selects everything", false),
    // The object type, where a table takes its children in.
    rule("object type", Target::ObjectType, Some(Text), One, &[Op::Eq, Op::In, Op::EqFolded], Form::TypeNames, Inexact, "4.2 objectType; 4.3 = ignores case", true),
    // Created and Updated: always there.
    rule("stamp range", Target::Stamp, Some(Timestamp), One, RANGE, Form::InstantRange, Inexact, "4.3 < > on dates; 10.6 zone and precision unknown, widened", true)
        .proven(facts::STAMP, Form::Instants, Exact),
    // Text.
    rule("text =", attr(Kind::Text), Some(Text), One, &[Op::Eq], Form::TextEqual, Inexact, "4.3 = ignores case", true)
        .proven(facts::SAME, Form::Same, Exact),
    rule("text in", attr(Kind::Text), Some(Text), One, &[Op::In], Form::OneOf, Inexact, "4.3 in as =", true)
        .proven(facts::SAME, Form::SameOneOf, Exact),
    rule("text folded =", attr(Kind::Text), Some(Text), One, &[Op::EqFolded], Form::TextFolded, Inexact, "4.3 = ignores case", true),
    off("text <>", attr(Kind::Text), Some(Text), One, &[Op::Ne, Op::NotIn], proof(facts::NOT_SAME, Form::NotSame, Inexact), "4.3 ==; 4.1 NOT before a group is not documented; an empty text may not be EMPTY"),
    rule("text like", attr(Kind::Text), Some(Text), One, &[Op::Like, Op::ILike], Form::Pattern, Inexact, "4.3 like, startswith, endswith ignore case", true),
    rule("text prefix", attr(Kind::Text), Some(Text), One, &[Op::Prefix], Form::Prefix, Inexact, "4.3 startswith", true),
    rule("text contains", attr(Kind::Text), Some(Text), One, &[Op::Contains], Form::Contains, Inexact, "4.3 like is contains", true),
    rule("texts has", attr(Kind::Text), Some(Text), Many, &[Op::ArrayHas], Form::TextEqual, Inexact, "4.3 = matches if any value equals", false),
    rule("texts overlap", attr(Kind::Text), Some(Text), Many, &[Op::ArrayOverlaps], Form::OneOf, Inexact, "4.3 = matches if any value equals", false),
    rule("texts contain", attr(Kind::Text), Some(Text), Many, &[Op::ArrayContains], Form::AllOf, Inexact, "4.3 = matches if any value equals", false),
    rule("text is null", attr(Kind::Text), Some(Text), Any, &[Op::IsNull], Form::EmptyOrBlank, Inexact, "4.3 is EMPTY; an empty text is NULL here", true),
    // Text with markup, which may be indexed without it: then only what cannot be markup is where it stands.
    rule("rich text =", attr(Kind::Rich), Some(Text), One, &[Op::Eq], Form::PlainEqual, Inexact, "4.3 = ignores case; 14 a rich editor", true)
        .proven(facts::RICH_TEXT, Form::TextEqual, Inexact),
    rule("rich text in", attr(Kind::Rich), Some(Text), One, &[Op::In], Form::PlainOneOf, Inexact, "4.3 in as =; 14 a rich editor", true)
        .proven(facts::RICH_TEXT, Form::OneOf, Inexact),
    rule("rich text folded =", attr(Kind::Rich), Some(Text), One, &[Op::EqFolded], Form::PlainFolded, Inexact, "4.3 = ignores case; 14 a rich editor", true)
        .proven(facts::RICH_TEXT, Form::TextFolded, Inexact),
    rule("rich text like", attr(Kind::Rich), Some(Text), One, &[Op::Like, Op::ILike], Form::PlainStart, Inexact, "4.3 startswith; 14 a rich editor", true)
        .proven(facts::RICH_TEXT, Form::Pattern, Inexact),
    rule("rich text prefix", attr(Kind::Rich), Some(Text), One, &[Op::Prefix], Form::PlainStart, Inexact, "4.3 startswith; 14 a rich editor", true)
        .proven(facts::RICH_TEXT, Form::Prefix, Inexact),
    off("rich text contains", attr(Kind::Rich), Some(Text), One, &[Op::Contains], proof(facts::RICH_TEXT, Form::Contains, Inexact), "14 a rich editor: any letter may be a tag's"),
    rule("rich texts has", attr(Kind::Rich), Some(Text), Many, &[Op::ArrayHas], Form::PlainEqual, Inexact, "4.3 = matches if any value equals; 14 a rich editor", false)
        .proven(facts::RICH_TEXT, Form::TextEqual, Inexact),
    rule("rich texts overlap", attr(Kind::Rich), Some(Text), Many, &[Op::ArrayOverlaps], Form::PlainOneOf, Inexact, "4.3 = matches if any value equals; 14 a rich editor", false)
        .proven(facts::RICH_TEXT, Form::OneOf, Inexact),
    rule("rich text is null", attr(Kind::Rich), Some(Text), Any, &[Op::IsNull], Form::EmptyOrBlank, Inexact, "4.3 is EMPTY; an empty text is NULL here", true),
    // Numbers and booleans.
    rule("integer compare", attr(Kind::Integer), Some(Int), One, &[Op::Eq, Op::Lt, Op::Le, Op::Gt, Op::Ge], Form::Plain, Exact, "4.3 = < > on numbers", true),
    rule("integer in", attr(Kind::Integer), Some(Int), One, &[Op::In], Form::OneOf, Exact, "4.3 in as =", true),
    rule("integer <>", attr(Kind::Integer), Some(Int), One, &[Op::Ne], Form::Differs, Exact, "4.3 != is inequality; EMPTY, which is open, is excluded by is not EMPTY", true),
    rule("integer not in", attr(Kind::Integer), Some(Int), One, &[Op::NotIn], Form::NoneOf, Exact, "4.3 not in as !=; EMPTY is excluded", true),
    rule("integers has", attr(Kind::Integer), Some(Int), Many, &[Op::ArrayHas], Form::Plain, Inexact, "4.3 = matches if any value equals", false)
        .proven(facts::ANY_INTEGER, Form::Plain, Exact),
    rule("integers overlap", attr(Kind::Integer), Some(Int), Many, &[Op::ArrayOverlaps], Form::OneOf, Inexact, "4.3 = matches if any value equals", false)
        .proven(facts::ANY_INTEGER, Form::OneOf, Exact),
    rule("double range", attr(Kind::Double), Some(Double), One, RANGE, Form::DoubleRange, Inexact, "4.3 < > on numbers; one step wider for other spellings of the same double", true),
    rule("double <>", attr(Kind::Double), Some(Double), One, &[Op::Ne], Form::Differs, Inexact, "4.3 != is inequality; another double is another number", true),
    rule("boolean =", attr(Kind::Boolean), Some(Bool), One, &[Op::Eq, Op::Ne], Form::Plain, Inexact, "4.4 Active = true", false)
        .proven(facts::BOOLEAN, Form::Plain, Exact),
    // Dates.
    rule("date range", attr(Kind::Date), Some(Date), One, RANGE, Form::DayRange, Inexact, "13 date-only literals with >= and <=; widened", true)
        .proven(facts::DAY, Form::Days, Exact),
    rule("datetime range", attr(Kind::DateTime), Some(Timestamp), One, RANGE, Form::InstantRange, Inexact, "4.3 < > on dates; 10.6 zone and precision unknown, widened", true)
        .proven(facts::DATETIME, Form::Instants, Exact),
    // Addresses, as they are stored.
    rule("ip text =", attr(Kind::IpAddress), Some(Text), One, &[Op::Eq], Form::TextEqual, Inexact, "4.3 = ignores case", true),
    rule("ip text folded =", attr(Kind::IpAddress), Some(Text), One, &[Op::EqFolded], Form::TextFolded, Inexact, "4.3 = ignores case", true),
    // References: by label, and by key through the dotted path. Both are the other object's.
    rule("reference =", attr(Kind::Object), Some(Text), One, &[Op::Eq], Form::TextEqual, Inexact, "4.3 compares with the label", true).sight(Walks),
    rule("reference folded =", attr(Kind::Object), Some(Text), One, &[Op::EqFolded], Form::TextFolded, Inexact, "4.3 compares with the label", true).sight(Walks),
    rule("reference in", attr(Kind::Object), Some(Text), One, &[Op::In], Form::OneOf, Inexact, "4.3 in as =", true).sight(Walks),
    rule("references has", attr(Kind::Object), Some(Text), Many, &[Op::ArrayHas], Form::TextEqual, Inexact, "4.3 = matches if any value equals", false).sight(Walks),
    rule("references overlap", attr(Kind::Object), Some(Text), Many, &[Op::ArrayOverlaps], Form::OneOf, Inexact, "4.3 = matches if any value equals", false).sight(Walks),
    rule("reference key =", REFERENCE_KEY, Some(Text), One, &[Op::Eq], Form::TextEqual, Inexact, "4.3 \"City\".Key = …", true)
        .proven(facts::REFERENCE_KEY, Form::KeyEqual, Exact).sight(Walks),
    rule("reference key in", REFERENCE_KEY, Some(Text), One, &[Op::In], Form::OneOf, Inexact, "4.3 \"City\".Key; in as =", true)
        .proven(facts::REFERENCE_KEY, Form::KeyOneOf, Exact).sight(Walks),
    rule("reference key folded =", REFERENCE_KEY, Some(Text), One, &[Op::EqFolded], Form::KeyFolded, Inexact, "4.3 \"City\".Key = …", true).sight(Walks),
    rule("reference keys has", REFERENCE_KEY, Some(Text), Many, &[Op::ArrayHas], Form::TextEqual, Inexact, "4.3 \"City\".Key = …", false).sight(Walks),
    rule("reference keys overlap", REFERENCE_KEY, Some(Text), Many, &[Op::ArrayOverlaps], Form::OneOf, Inexact, "4.3 \"City\".Key; in as =", false).sight(Walks),
    // Users by account id, and by name where that is proven; groups by name; statuses by name.
    rule("user account =", ACCOUNT, Some(Text), One, &[Op::Eq], Form::TextEqual, Inexact, "13 a User attribute compares by account id", false),
    rule("user account in", ACCOUNT, Some(Text), One, &[Op::In], Form::OneOf, Inexact, "13 a User attribute compares by account id", false),
    rule("user accounts has", ACCOUNT, Some(Text), Many, &[Op::ArrayHas], Form::TextEqual, Inexact, "13 a User attribute compares by account id", false),
    rule("user accounts overlap", ACCOUNT, Some(Text), Many, &[Op::ArrayOverlaps], Form::OneOf, Inexact, "13 a User attribute compares by account id", false),
    off("user name =", attr(Kind::User), Some(Text), One, &[Op::Eq], proof(facts::USER_NAME, Form::TextEqual, Inexact), "4.3 display name example; 13 unproven"),
    off("user name in", attr(Kind::User), Some(Text), One, &[Op::In], proof(facts::USER_NAME, Form::OneOf, Inexact), "4.3 display name example; 13 unproven"),
    off("user names has", attr(Kind::User), Some(Text), Many, &[Op::ArrayHas], proof(facts::USER_NAME, Form::TextEqual, Inexact), "4.3 display name example; 13 unproven"),
    off("group =", attr(Kind::Group), Some(Text), One, &[Op::Eq], proof(facts::GROUP_NAME, Form::TextEqual, Inexact), "3.4 a group is its name; 4.3 says nothing of ="),
    off("group in", attr(Kind::Group), Some(Text), One, &[Op::In], proof(facts::GROUP_NAME, Form::OneOf, Inexact), "3.4 a group is its name; 4.3 says nothing of in"),
    off("groups has", attr(Kind::Group), Some(Text), Many, &[Op::ArrayHas], proof(facts::GROUP_NAME, Form::TextEqual, Inexact), "3.4 a group is its name; 4.3 says nothing of ="),
    rule("status =", attr(Kind::Status), Some(Text), One, &[Op::Eq], Form::TextEqual, Inexact, "4.3 Status = \"Running\"", true)
        .proven(facts::STATUS_SAME, Form::Same, Exact),
    rule("status folded =", attr(Kind::Status), Some(Text), One, &[Op::EqFolded], Form::TextFolded, Inexact, "4.3 = ignores case", true),
    rule("status in", attr(Kind::Status), Some(Text), One, &[Op::In], Form::OneOf, Inexact, "4.3 in as =", true)
        .proven(facts::STATUS_SAME, Form::SameOneOf, Exact),
    // Emptiness, whatever the column's class: a value that is there is not EMPTY, and one that is
    // not there is.
    rule("integer is null", Target::Whole(Kind::Integer), None, Any, &[Op::IsNull], Form::Empty, Exact, "4.3 is EMPTY", true),
    rule("double is null", Target::Whole(Kind::Double), None, Any, &[Op::IsNull], Form::Empty, Exact, "4.3 is EMPTY", true),
    rule("boolean is null", Target::Whole(Kind::Boolean), None, Any, &[Op::IsNull], Form::Empty, Exact, "4.3 is EMPTY", true),
    rule("date is null", Target::Whole(Kind::Date), None, Any, &[Op::IsNull], Form::Empty, Exact, "4.3 is EMPTY", true),
    rule("datetime is null", Target::Whole(Kind::DateTime), None, Any, &[Op::IsNull], Form::Empty, Exact, "4.3 is EMPTY", true),
    rule("ip is null", Target::Whole(Kind::IpAddress), None, Any, &[Op::IsNull], Form::EmptyOrBlank, Inexact, "4.3 is EMPTY; an empty text is NULL here", true),
    off("reference is null", Target::Whole(Kind::Object), None, Any, &[Op::IsNull], proof(facts::REFERENCE_NULL, Form::Empty, Inexact), "4.3 is EMPTY; 14 what an object that was deleted leaves behind is not known").sight(Whole),
    off("status is null", Target::Whole(Kind::Status), None, Any, &[Op::IsNull], proof(facts::STATUS_NULL, Form::Empty, Inexact), "4.3 is EMPTY; 3.4 answers were seen without their statuses"),
    rule("text is not null", Target::Whole(Kind::Text), None, Any, &[Op::IsNotNull], Form::NotEmpty, Inexact, "4.3 is not EMPTY", true),
    off("rich text is not null", Target::Whole(Kind::Rich), None, Any, &[Op::IsNotNull], proof(facts::RICH_TEXT, Form::NotEmpty, Inexact), "14 a rich editor: text of tags alone may be indexed as EMPTY"),
    rule("integer is not null", Target::Whole(Kind::Integer), None, Any, &[Op::IsNotNull], Form::NotEmpty, Exact, "4.3 is not EMPTY", true),
    rule("double is not null", Target::Whole(Kind::Double), None, Any, &[Op::IsNotNull], Form::NotEmpty, Exact, "4.3 is not EMPTY", true),
    rule("boolean is not null", Target::Whole(Kind::Boolean), None, Any, &[Op::IsNotNull], Form::NotEmpty, Exact, "4.3 is not EMPTY", true),
    rule("date is not null", Target::Whole(Kind::Date), None, Any, &[Op::IsNotNull], Form::NotEmpty, Exact, "4.3 is not EMPTY", true),
    rule("datetime is not null", Target::Whole(Kind::DateTime), None, Any, &[Op::IsNotNull], Form::NotEmpty, Exact, "4.3 is not EMPTY", true),
    rule("ip is not null", Target::Whole(Kind::IpAddress), None, Any, &[Op::IsNotNull], Form::NotEmpty, Inexact, "4.3 is not EMPTY", true),
    rule("reference is not null", Target::Whole(Kind::Object), None, Any, &[Op::IsNotNull], Form::NotEmpty, Inexact, "4.3 is not EMPTY", true),
    rule("user is not null", Target::Whole(Kind::User), None, Any, &[Op::IsNotNull], Form::NotEmpty, Inexact, "4.3 is not EMPTY", true),
    rule("group is not null", Target::Whole(Kind::Group), None, Any, &[Op::IsNotNull], Form::NotEmpty, Inexact, "4.3 is not EMPTY", true),
    rule("status is not null", Target::Whole(Kind::Status), None, Any, &[Op::IsNotNull], Form::NotEmpty, Inexact, "4.3 is not EMPTY", true),
    rule("other is not null", Target::Whole(Kind::Other), None, Any, &[Op::IsNotNull], Form::NotEmpty, Inexact, "4.3 is not EMPTY", true),
];

/// A row as it applies to a comparison.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// The row.
    pub rule: &'static Rule,
    /// How the text is built.
    pub form: Form,
    /// How faithful it is.
    pub fidelity: Fidelity,
    /// What to fall back to for a value that the proven form cannot vouch for; none: the rule is off
    /// without proof.
    pub unproven: Option<Fidelity>,
}

impl Rule {
    /// Whether the row is about a comparison.
    pub fn covers(&self, subject: &Subject, op: Op) -> bool {
        let target = match (&subject.column, self.target) {
            (Column::Id, Target::Id)
            | (Column::Key, Target::Key)
            | (Column::Created | Column::Updated, Target::Stamp)
            | (Column::ObjectType { .. }, Target::ObjectType) => true,
            (Column::Attribute { kind, part, .. }, Target::Attribute(k, p)) => *kind == k && *part == p,
            (Column::Attribute { kind, part, .. }, Target::Whole(k)) => {
                *kind == k && (op == Op::IsNotNull || *part != Part::Other)
            }
            _ => false,
        };
        let arity = match self.arity {
            Any => true,
            One => !subject.multi,
            Many => subject.multi,
        };
        let class = subject.class.unmodified();
        target && arity && self.class.is_none_or(|c| c == class) && self.ops.contains(&op)
    }
}

/// The row for a comparison, as it applies where `facts` are known, or why there is none.
pub fn find(subject: &Subject, op: Op, facts: &Facts) -> Result<Found, String> {
    if op == Op::IsNull && subject.null_is_vague {
        return Err("a value that does not fit also reads as NULL here".into());
    }
    let Some(rule) = RULES.iter().find(|r| r.covers(subject, op)) else { return Err(why_not(subject, op)) };
    if facts.breaks(rule.name) {
        return Err(format!("this service was found to lose objects by it: {}", rule.name));
    }
    let Stored { attribute, target_is_seen, .. } = subject.stored;
    match rule.sight {
        Sight::Walks if !target_is_seen && !facts.holds_of(facts::UNSEEN, attribute) => {
            return Err(format!(
                "the credential is not known to see the object type that this refers to, and AQL may not reach what it \
                 does not see; {MAY_PROVE}"
            ));
        }
        Sight::Whole if !target_is_seen => {
            return Err("the credential is not known to see the object type that this refers to, and a reference that \
                        is hidden from it reads as NULL and is not EMPTY"
                .into());
        }
        _ => {}
    }
    // What was proven of references is about those that are seen.
    let reaches = rule.sight == Sight::Own || target_is_seen;
    // What is rounded here is not what the service compares.
    let compared = rule.class.is_some() && subject.class == Class::Coarse;
    let proof = rule.proof.filter(|proof| reaches && facts.holds_of(proof.fact, attribute) && !compared);
    // A key that AQL finds is the row's only where no reference is hidden: who asks names the key, and no sample
    // holds one that its account does not see.
    let shown = rule.sight == Sight::Own || facts.holds_of(facts::REFERENCE_NULL, attribute);
    let proof = proof.filter(|proof| shown || proof.fact != facts::REFERENCE_KEY);
    // The same of a status that the answers may leave out.
    let told = facts.holds_of(facts::STATUS_NULL, attribute);
    let proof = proof.filter(|proof| told || proof.fact != facts::STATUS_SAME);
    let (form, fidelity) = match (proof, rule.fidelity) {
        (Some(proof), _) => (proof.form, proof.fidelity),
        (None, Some(fidelity)) => (rule.form, fidelity),
        (None, None) => return Err(why_unproven(subject, op, rule.name)),
    };
    // NULL here may be a value there, of which the part is missing; several values are one NULL test's, but
    // open in the rest.
    let part = matches!(subject.column, Column::Attribute { part: Part::Other, .. });
    let several = subject.multi && matches!(op, Op::IsNull | Op::IsNotNull);
    let vague = subject.null_is_vague || part || several;
    let weaken = |fidelity| if vague { Inexact } else { fidelity };
    Ok(Found { rule, form, fidelity: weaken(fidelity), unproven: rule.fidelity.map(weaken) })
}

/// Said of what a proof would let out; who shows it knows of which server and table.
pub const MAY_PROVE: &str = "assets_fdw.verify_pushdown() may prove otherwise";

fn why_unproven(subject: &Subject, op: Op, rule: &str) -> String {
    let kind = match &subject.column {
        Column::Attribute { kind, .. } => *kind,
        _ => Kind::Other,
    };
    let why = match (kind, op) {
        (Kind::Object, Op::IsNull) => {
            "a reference to an object that is hidden or was deleted reads as NULL and is not EMPTY"
        }
        (Kind::Status, Op::IsNull) => "a status that the answer leaves out reads as NULL and is not EMPTY",
        (Kind::Rich, _) => "rich text may be indexed without its markup",
        _ => return format!("{}; it is unproven: {rule}", why_not(subject, op)),
    };
    format!("{why}; {MAY_PROVE}")
}

fn why_not(subject: &Subject, op: Op) -> String {
    match op {
        Op::IsNull if matches!(subject.column, Column::Attribute { kind: Kind::User | Kind::Group, .. }) => {
            "a person or group that is not shown reads as NULL and is not EMPTY".into()
        }
        Op::Eq | Op::In if subject.class == Class::Inet => {
            "one address has many spellings, and AQL compares what is written".into()
        }
        Op::NotLike | Op::NotILike | Op::NotPart | Op::NeFolded => {
            "AQL ignores case, so a negation would lose rows".into()
        }
        Op::Ne | Op::NotIn if subject.class.unmodified() == Text => {
            "AQL ignores case, so a negation would lose rows".into()
        }
        Op::ArrayNot | Op::Ne | Op::NotIn => {
            "how AQL negates over empty and several values is not documented".into()
        }
        Op::Lt | Op::Le | Op::Gt | Op::Ge if subject.class.unmodified() == Text => {
            "the order of text is a collation's".into()
        }
        Op::Like | Op::ILike | Op::Prefix | Op::Contains if subject.column == Column::Key => {
            "the service refuses this on Key".into()
        }
        _ => "no AQL that is known to select every such object".into(),
    }
}
