//! One object against a filter.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::ast::{Operator, Part};
use super::compile::{Field, Filter, Lit, ValueTest};
use super::fold::fold;
use super::search::{Context, targets};
use crate::clock::DAY_MS;
use crate::data::model::{Kind, Value};
use crate::data::view::{Entry, text_of};
use crate::switches::{Like, Precision, Quantifier};

impl Context<'_> {
    /// True if the object passes the filter.
    pub(super) fn passes(&self, filter: &Filter<'_>, entry: &Entry<'_>) -> bool {
        match filter {
            Filter::Everything => true,
            Filter::Nothing => false,
            Filter::And(all) => all.iter().all(|f| self.passes(f, entry)),
            Filter::Or(all) => all.iter().any(|f| self.passes(f, entry)),
            Filter::Not(inner) => !self.passes(inner, entry),
            Filter::Types(types) => types.contains(&entry.type_id()),
            Filter::Ids(ids) => ids.contains(&entry.id()),
            Filter::IdRange(low, high) => (*low..=*high).contains(&entry.id()),
            Filter::Values { field, test } => {
                self.values(field, entry).is_some_and(|values| self.test(test, &values))
            }
            Filter::Through { field, inner, unreached } => match self.values(field, entry) {
                None => false,
                Some(values) => {
                    let ids = values
                        .iter()
                        .filter_map(|v| if let Value::Object(id) = v { Some(*id) } else { None });
                    let mut reached = ids.filter_map(|id| self.reach(id)).peekable();
                    if reached.peek().is_none() {
                        *unreached
                    } else {
                        reached.any(|o| self.passes(inner, &o))
                    }
                }
            },
            Filter::RefersTo { targets: wanted, kinds } => {
                let found = targets(self.view, entry, kinds.as_ref());
                found.iter().any(|id| wanted.as_ref().is_none_or(|w: &HashSet<u64>| w.contains(id)))
            }
            Filter::Tickets(jql) => crate::tickets::of(entry.id()).iter().any(|t| jql.matches(t)),
        }
    }

    /// Values of what a name means on the object; `None` if its type has no such attribute.
    pub(super) fn values(&self, field: &Field<'_>, entry: &Entry<'_>) -> Option<Vec<Value>> {
        let mut values = Vec::new();
        for attribute in field.by_type.get(&entry.type_id())? {
            let from = values.len();
            self.view.values(entry, attribute, &mut values);
            if attribute.kind == Kind::Textarea && self.switches.rich_text_without_markup {
                values[from..].iter_mut().for_each(strip);
            }
        }
        if self.switches.empty_text_is_empty {
            values.retain(|v| !matches!(v, Value::Text(t) if t.is_empty()));
        }
        Some(values)
    }

    /// The object that a dotted path comes to.
    pub(super) fn reach(&self, id: u64) -> Option<Entry<'_>> {
        if self.switches.unreadable_path { self.view.any_object(id) } else { self.view.object(id) }
    }

    /// The object that a reference compares by.
    fn compared(&self, id: u64) -> Option<Entry<'_>> {
        if self.switches.unreadable_value { self.view.any_object(id) } else { self.view.object(id) }
    }

    fn test(&self, test: &ValueTest, values: &[Value]) -> bool {
        match test {
            ValueTest::Compare(Operator::NotEqual, lit) => {
                self.negated(values, self.switches.not_equal_finds_empty, |v| self.equal(v, lit, false))
            }
            ValueTest::Compare(operator, lit) => values.iter().any(|value| match operator {
                Operator::Equal => self.equal(value, lit, false),
                Operator::Same => self.equal(value, lit, true),
                _ => self.order(value, lit).is_some_and(|order| match operator {
                    Operator::Less => order == Ordering::Less,
                    Operator::Greater => order == Ordering::Greater,
                    Operator::AtMost => order != Ordering::Greater,
                    _ => order != Ordering::Less,
                }),
            }),
            ValueTest::In { negated, list } => {
                let listed = |v: &Value| list.iter().any(|lit| self.equal(v, lit, false));
                if *negated {
                    self.negated(values, self.switches.not_in_finds_empty, listed)
                } else {
                    values.iter().any(listed)
                }
            }
            ValueTest::Text { negated, part, lower } => {
                // LIKE on a Status silently finds nothing, whichever way round (assets-api.md section 4.3).
                if values.iter().any(|v| matches!(v, Value::Status(_))) {
                    return false;
                }
                let is_text = |v: &Value| matches!(v, Value::Text(_));
                if self.switches.parts_of_texts_only && !values.iter().all(is_text) {
                    return false;
                }
                let matches = |v: &Value| {
                    let text = fold(&self.shown(v), self.switches.fold);
                    match part {
                        Part::Start => text.starts_with(lower.as_str()),
                        Part::End => text.ends_with(lower.as_str()),
                        Part::Anywhere => self.contains(&text, lower),
                    }
                };
                if *negated {
                    self.negated(values, self.switches.not_like_finds_empty, matches)
                } else {
                    values.iter().any(matches)
                }
            }
            ValueTest::Empty { negated } => values.is_empty() != *negated,
            ValueTest::Users { negated, users } => {
                let member = |v: &Value| matches!(v, Value::User(u) if users.contains(u));
                if *negated {
                    self.negated(values, self.switches.not_in_finds_empty, member)
                } else {
                    values.iter().any(member)
                }
            }
        }
    }

    fn negated(&self, values: &[Value], finds_empty: bool, matches: impl Fn(&Value) -> bool) -> bool {
        match (values.is_empty(), self.switches.negation) {
            (true, _) => finds_empty,
            (false, Quantifier::Any) => values.iter().any(|v| !matches(v)),
            (false, Quantifier::All) => values.iter().all(|v| !matches(v)),
        }
    }

    /// The text that LIKE and comparisons of texts look at.
    fn shown(&self, value: &Value) -> String {
        match value {
            Value::Object(id) => self.compared(*id).map_or_else(String::new, |o| self.view.label(&o)),
            Value::User(_) | Value::Group(_) | Value::Status(_) => self.view.display(value),
            plain => text_of(plain),
        }
    }

    fn contains(&self, text: &str, pattern: &str) -> bool {
        match self.switches.like {
            Like::Literal => text.contains(pattern),
            Like::Sql => glob(text, pattern, '%', '_'),
            Like::Star => glob(text, pattern, '*', '?'),
        }
    }

    fn equal(&self, value: &Value, lit: &Lit, exact: bool) -> bool {
        let exact = exact && !(self.switches.status_same_folds && matches!(value, Value::Status(_)));
        let same =
            |text: &str| if exact { text == lit.text } else { fold(text, self.switches.fold) == lit.lower };
        match value {
            Value::Text(text) => same(text),
            Value::Boolean(b) => lit.text.eq_ignore_ascii_case(if *b { "true" } else { "false" }),
            Value::Object(id) => self.compared(*id).is_some_and(|o| {
                let key = self.switches.reference_by_key && self.view.key(&o).eq_ignore_ascii_case(&lit.text);
                key || same(&self.view.label(&o))
            }),
            Value::User(user) => {
                let user = &self.view.catalog.users[*user];
                let email = self.switches.user_by_email && same(&user.email);
                user.account_id == lit.text || same(&user.display_name) || email
            }
            Value::Group(_) | Value::Status(_) => same(&self.view.display(value)),
            ordered => self.order(ordered, lit) == Some(Ordering::Equal),
        }
    }

    /// How a value compares with a literal; `None` if the literal is not of its kind.
    fn order(&self, value: &Value, lit: &Lit) -> Option<Ordering> {
        match value {
            Value::Integer(n) => match lit.integer {
                Some(m) => Some(n.cmp(&m)),
                None => (*n as f64).partial_cmp(&lit.number?),
            },
            Value::Double(x) => x.partial_cmp(&lit.number?),
            Value::Date(day) => Some((day * DAY_MS).cmp(&lit.local?)),
            Value::DateTime(ms) => Some(self.cut(*ms).cmp(&self.cut(lit.instant?))),
            Value::Time(seconds) => Some(seconds.cmp(&lit.time?)),
            Value::Boolean(b) => Some(b.cmp(&lit.text.to_ascii_lowercase().parse().ok()?)),
            text => Some(fold(&self.shown(text), self.switches.fold).cmp(&lit.lower)),
        }
    }

    fn cut(&self, ms: i64) -> i64 {
        let unit = match self.switches.precision {
            Precision::Milliseconds => return ms,
            Precision::Seconds => 1000,
            Precision::Minutes => 60_000,
            Precision::Days => DAY_MS,
        };
        let zone = i64::from(self.switches.literal_zone_minutes) * 60_000;
        (ms + zone).div_euclid(unit)
    }
}

/// Takes out whatever stands between `<` and `>`.
fn strip(value: &mut Value) {
    let Value::Text(text) = value else { return };
    while let Some(begin) = text.find('<') {
        let Some(length) = text[begin..].find('>') else { break };
        text.replace_range(begin..=begin + length, "");
    }
}

/// True if the text contains a match of the pattern, with `many` for any characters and `one` for one.
fn glob(text: &str, pattern: &str, many: char, one: char) -> bool {
    let text: Vec<char> = text.chars().collect();
    let mut pattern: Vec<char> = pattern.chars().collect();
    pattern.insert(0, many);
    pattern.push(many);
    let (mut t, mut p) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == many {
            back = Some((p, t));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == text[t] || pattern[p] == one) {
            p += 1;
            t += 1;
        } else if let Some((star, from)) = back {
            p = star + 1;
            t = from + 1;
            back = Some((star, t));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == many)
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn wildcards_match_anywhere() {
        assert!(glob("web server 01", "web*01", '*', '?'));
        assert!(glob("a web server", "w?b", '*', '?'));
        assert!(glob("100%", "100%", '*', '?'));
        assert!(!glob("web", "we%c", '%', '_'));
        assert!(glob("", "", '*', '?'));
        assert!(!glob("", "a", '*', '?'));
    }
}
