//! What has been proven of a service on a user's own site.
//!
//! The documentation leaves open how a service behaves in many ways; a rule that rests on one of
//! them is a superset, or is off. A proof by `assets_fdw.verify_pushdown` makes such a rule exact,
//! or switches it on; a disproof switches off a rule that is on without proof. Nothing is known by
//! default.

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
/// `NOT (… == …)` is understood (4.1).
pub const NOT_SAME: &str = "NOT (text ==)";
/// `=` on a Boolean attribute selects exactly its value (4.4).
pub const BOOLEAN: &str = "booleans by value";
/// `=` on an Integer attribute with several values matches if any of them is equal (4.3).
pub const ANY_INTEGER: &str = "any integer";
/// `"Reference".Key = …` matches exactly the object's key (4.3).
pub const REFERENCE_KEY: &str = "reference key";
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
    NOT_SAME,
    BOOLEAN,
    ANY_INTEGER,
    REFERENCE_KEY,
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

/// What is known of one service: facts that hold, and rules that were found to lose objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    holds: BTreeSet<&'static str>,
    broken: BTreeSet<&'static str>,
}

/// Nothing is known.
pub static NONE: Facts = Facts { holds: BTreeSet::new(), broken: BTreeSet::new() };

impl Facts {
    /// Learns that a fact holds, or that it does not. A name that is neither a fact's nor, with
    /// `holds` false, a rule's, changes nothing.
    pub fn learn(&mut self, name: &str, holds: bool) {
        if let Some(fact) = KNOWN.iter().find(|known| **known == name) {
            if holds {
                self.holds.insert(fact);
            } else {
                self.holds.remove(fact);
            }
        } else if let (Some(rule), false) = (crate::rules::RULES.iter().find(|r| r.name == name), holds) {
            self.broken.insert(rule.name);
        }
    }

    /// Whether a fact has been proven.
    pub fn has(&self, fact: &str) -> bool {
        self.holds.contains(fact)
    }

    /// Whether a rule was found to lose objects here, or to be refused.
    pub fn breaks(&self, rule: &str) -> bool {
        self.broken.contains(rule)
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.holds.is_empty() && self.broken.is_empty()
    }

    /// Every name in it, and the same facts without that one.
    pub fn each_left_out(&self) -> impl Iterator<Item = (&'static str, Facts)> + '_ {
        self.holds.iter().chain(&self.broken).map(|name| {
            let mut rest = self.clone();
            rest.holds.remove(name);
            rest.broken.remove(name);
            (*name, rest)
        })
    }
}
