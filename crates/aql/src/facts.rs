//! What has been proven of a service on a user's own site.
//!
//! The documentation leaves open how a service behaves in many ways; a rule that rests on one of
//! them is a superset, or is off. A proof by `assets_fdw.verify_pushdown` makes such a rule exact,
//! or switches it on; a disproof switches off a rule that is on without proof. Nothing is known by
//! default.
//!
//! What a proof rests on is shared by whom it holds for. How an operator, a literal or an order works is the
//! service's own: one fact for all attributes of the kind. Whether what is shown is what is stored, and whether
//! it is reached through a reference, depends on the attribute, its objects and what it refers to: such a fact
//! ([`PER_ATTRIBUTE`]) carries the id of the attribute that it was proven of, and holds for that one alone. What an
//! account sees is its own, too: who keeps facts keeps those of [`PER_ACCOUNT`] by the account.

use std::collections::BTreeSet;

/// `objectId >=` and `<=` select exactly the ids of the range (assets-api.md 13: relied on, strict
/// forms unproven).
pub const ID_RANGE: &str = "objectId ranges";
/// `objectId not in (…)` selects every other object (13).
pub const ID_NOT_IN: &str = "objectId not in";
/// Created and Updated compare with literals that carry an offset to the millisecond (10.6).
pub const STAMP: &str = "created and updated to the millisecond";
/// The same of DateTime attributes.
pub const DATETIME: &str = "date-times to the millisecond";
/// Date attributes compare with date-only literals by the day (10.6, 13).
pub const DAY: &str = "dates by the day";
/// `==` compares text to the letter (4.3).
pub const SAME: &str = "text ==";
/// `==` compares a status with its name to the letter (4.3).
pub const STATUS_SAME: &str = "status ==";
/// `NOT (… == …)` is understood (4.1).
pub const NOT_SAME: &str = "NOT (text ==)";
/// `=` on a Boolean attribute selects exactly its value (4.4).
pub const BOOLEAN: &str = "booleans by value";
/// `=` on an Integer attribute with several values matches if any of them is equal (4.3).
pub const ANY_INTEGER: &str = "any integer";
/// `"Reference".Key = …` matches exactly the key that is shown (4.3).
pub const REFERENCE_KEY: &str = "reference key";
/// A reference that reads as NULL is EMPTY: none is hidden, or left behind by an object that was deleted.
pub const REFERENCE_NULL: &str = "reference EMPTY where NULL";
/// The same of a status: the answer leaves none out.
pub const STATUS_NULL: &str = "status EMPTY where NULL";
/// Labels and keys of objects that the credential does not see are found through a reference all the same.
pub const UNSEEN: &str = "unseen references reached";
/// Rich text is compared with its markup.
pub const RICH_TEXT: &str = "rich text with its markup";
/// A user attribute compares by display name (13).
pub const USER_NAME: &str = "user by name";
/// A group attribute compares by the group's name (3.4).
pub const GROUP_NAME: &str = "group by name";
/// ORDER BY objectId is honoured (10.7).
pub const ORDER_ID: &str = "order by objectId";
/// ORDER BY Created is honoured.
pub const ORDER_CREATED: &str = "order by Created";
/// ORDER BY Updated is honoured.
pub const ORDER_UPDATED: &str = "order by Updated";
/// ORDER BY an Integer attribute is honoured, missing values first when ascending.
pub const ORDER_INTEGER: &str = "order by integer";
/// ORDER BY a Double attribute is honoured, missing values first when ascending.
pub const ORDER_DOUBLE: &str = "order by double";
/// ORDER BY a Date attribute is honoured, missing values first when ascending.
pub const ORDER_DATE: &str = "order by date";
/// ORDER BY a DateTime attribute is honoured, missing values first when ascending.
pub const ORDER_DATETIME: &str = "order by date-time";

/// The facts that a rule or the planner can rest on.
pub const KNOWN: &[&str] = &[
    ID_RANGE,
    ID_NOT_IN,
    STAMP,
    DATETIME,
    DAY,
    SAME,
    STATUS_SAME,
    NOT_SAME,
    BOOLEAN,
    ANY_INTEGER,
    REFERENCE_KEY,
    REFERENCE_NULL,
    STATUS_NULL,
    UNSEEN,
    RICH_TEXT,
    USER_NAME,
    GROUP_NAME,
    ORDER_ID,
    ORDER_CREATED,
    ORDER_UPDATED,
    ORDER_INTEGER,
    ORDER_DOUBLE,
    ORDER_DATE,
    ORDER_DATETIME,
];

/// Those of them that are proven of one attribute and hold for that one alone.
pub const PER_ATTRIBUTE: &[&str] = &[REFERENCE_KEY, REFERENCE_NULL, STATUS_NULL, UNSEEN, RICH_TEXT];

/// Those of them that depend on what the account may see that they were proven with, and hold for that account alone.
pub const PER_ACCOUNT: &[&str] = &[REFERENCE_NULL, STATUS_NULL, UNSEEN];

/// Whether a full name is one of [`PER_ACCOUNT`].
pub fn is_one_accounts(name: &str) -> bool {
    named(name).is_some_and(|(fact, _)| PER_ACCOUNT.contains(&fact))
}

/// A fact about an attribute, by its full name.
pub fn of_attribute(fact: &str, attribute: i64) -> String {
    format!("{fact} (attribute {attribute})")
}

/// A fact, and the attribute that it is about.
type Known = (&'static str, Option<i64>);

/// What a full name stands for. A name without an attribute says nothing of a fact that is one attribute's.
fn named(name: &str) -> Option<Known> {
    let known = |fact: &str| KNOWN.iter().copied().find(|known| *known == fact);
    let of_one = name.strip_suffix(')').and_then(|name| name.rsplit_once(" (attribute "));
    let found = match of_one {
        Some((fact, id)) => (known(fact)?, Some(id.parse().ok()?)),
        None => (known(name)?, None),
    };
    (PER_ATTRIBUTE.contains(&found.0) == found.1.is_some()).then_some(found)
}

fn full_name((fact, attribute): Known) -> String {
    attribute.map_or_else(|| fact.to_owned(), |id| of_attribute(fact, id))
}

/// What is known of one service: facts that hold, and rules that were found to lose objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    holds: BTreeSet<Known>,
    broken: BTreeSet<&'static str>,
}

/// Nothing is known.
pub static NONE: Facts = Facts { holds: BTreeSet::new(), broken: BTreeSet::new() };

impl Facts {
    /// Learns that a fact holds, or that it does not. A name that is neither a fact's nor, with
    /// `holds` false, a rule's, changes nothing.
    pub fn learn(&mut self, name: &str, holds: bool) {
        if let Some(fact) = named(name) {
            if holds {
                self.holds.insert(fact);
            } else {
                self.holds.remove(&fact);
            }
        } else if let (Some(rule), false) = (crate::rules::RULES.iter().find(|r| r.name == name), holds) {
            self.broken.insert(rule.name);
        }
    }

    /// Whether a fact has been proven, by its full name.
    pub fn has(&self, name: &str) -> bool {
        named(name).is_some_and(|fact| self.holds.contains(&fact))
    }

    /// Whether a fact has been proven, of this attribute where it is one attribute's.
    pub fn holds_of(&self, fact: &'static str, attribute: Option<i64>) -> bool {
        match PER_ATTRIBUTE.contains(&fact) {
            true => attribute.is_some() && self.holds.contains(&(fact, attribute)),
            false => self.holds.contains(&(fact, None)),
        }
    }

    /// Whether a rule was found to lose objects here, or to be refused.
    pub fn breaks(&self, rule: &str) -> bool {
        self.broken.contains(rule)
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.holds.is_empty() && self.broken.is_empty()
    }

    /// Every full name in it, and the same facts without that one.
    pub fn each_left_out(&self) -> impl Iterator<Item = (String, Facts)> + '_ {
        let facts = self.holds.iter().map(|fact| {
            let mut rest = self.clone();
            rest.holds.remove(fact);
            (full_name(*fact), rest)
        });
        let rules = self.broken.iter().map(|rule| {
            let mut rest = self.clone();
            rest.broken.remove(rule);
            ((*rule).to_owned(), rest)
        });
        facts.chain(rules)
    }
}
