//! Groups are asked for only where every condition selects exactly its own, and believed only where they add up.

use aql::groups::{Counted, by_type, by_value};
use aql::{Class, Column, Facts, Kind, Literal, Part, Stored, Subject, facts};

fn subject(kind: Kind, class: Class) -> Subject {
    let column = Column::Attribute { name: "State".into(), kind, part: Part::Value };
    let stored = Stored { attribute: Some(7), target_is_seen: false };
    Subject { stored, ..Subject::new(column, class) }
}

fn texts(of: &[&str]) -> Vec<Literal> {
    of.iter().map(|text| Literal::Text((*text).to_owned())).collect()
}

fn proven(names: &[&str]) -> Facts {
    let mut facts = Facts::default();
    names.iter().for_each(|name| facts.learn(name, true));
    facts
}

#[test]
fn nothing_is_asked_of_values_that_no_fact_makes_exact() {
    let booleans = [Literal::Bool(true), Literal::Bool(false)];
    let status_null = facts::of_attribute(facts::STATUS_NULL, 7);
    let cases: [(Kind, Class, Vec<Literal>, Vec<&str>); 3] = [
        (Kind::Boolean, Class::Bool, booleans.to_vec(), vec![facts::BOOLEAN]),
        (Kind::Text, Class::Text, texts(&["Dell", "HP"]), vec![facts::SAME]),
        (
            Kind::Status,
            Class::Text,
            texts(&["Running", "Été \"là\""]),
            vec![facts::STATUS_SAME, &status_null],
        ),
    ];
    for (kind, class, values, needed) in cases {
        let subject = subject(kind, class);
        let groups = by_value(&subject, &values, &proven(&needed)).unwrap();
        assert_eq!(groups.each.len(), 2);
        let mut facts = groups.facts.clone();
        facts.sort();
        let mut wanted: Vec<String> = needed.iter().map(|name| (*name).to_owned()).collect();
        wanted.sort();
        assert_eq!(facts, wanted);
        for missing in &needed {
            let rest: Vec<&str> = needed.iter().copied().filter(|name| name != missing).collect();
            assert!(by_value(&subject, &values, &proven(&rest)).is_err(), "{kind:?} without {missing}");
        }
        for odd in [
            Subject { multi: true, ..subject.clone() },
            Subject { null_is_vague: true, ..subject.clone() },
            Subject { class: Class::Opaque, ..subject.clone() },
            Subject { class: Class::Varchar(3), ..subject.clone() },
        ] {
            assert!(by_value(&odd, &values, &proven(&needed)).is_err(), "{odd:?}");
        }
        assert!(by_value(&subject, &[], &proven(&needed)).is_err());
    }
}

#[test]
fn values_that_may_be_taken_for_each_other_or_for_something_else_are_not_asked_for() {
    let text = subject(Kind::Text, Class::Text);
    for values in
        [&["Tier 1", "tier 1"][..], &["50%"], &["a*"], &["currentUser()"], &[" x"], &["", "y"], &["é"]]
    {
        assert!(by_value(&text, &texts(values), &proven(&[facts::SAME])).is_err(), "{values:?}");
    }
}

#[test]
fn what_is_asked_is_each_value_none_and_any_two_of_them() {
    let text = subject(Kind::Text, Class::Text);
    let groups = by_value(&text, &texts(&["Dell", "HP"]), &proven(&[facts::SAME])).unwrap();
    assert_eq!(groups.each[1].1.to_string(), "\"State\" == \"HP\"");
    assert_eq!(groups.none.as_ref().unwrap().to_string(), "\"State\" is EMPTY");
    let shared = groups.shared.as_ref().unwrap().to_string();
    let (dell, hp, none) = ("\"State\" == \"Dell\"", "\"State\" == \"HP\"", "\"State\" is EMPTY");
    assert_eq!(shared, format!("(({dell} OR {none}) AND {hp}) OR (({dell} OR {hp}) AND {none})"));
    // Two groups, those without a value, and what proves them.
    assert_eq!(groups.requests(), 3 + 3);
    let types = by_type([(3, "Laptop".to_owned()), (4, "Phone".to_owned())]);
    assert_eq!(types.each[0].1.to_string(), "objectTypeId = 3");
    assert_eq!(types.requests(), 2 + 2);
}

#[test]
fn groups_are_believed_only_where_they_add_up_to_all_objects_before_and_after() {
    let whole = Counted { before: 10, groups: vec![4, 5, 1], shared: 0, after: 10 };
    assert!(whole.is_whole());
    for wrong in [
        Counted { before: 11, after: 11, ..whole.clone() },
        Counted { before: 9, after: 9, ..whole.clone() },
        Counted { after: 11, ..whole.clone() },
        Counted { before: 9, ..whole.clone() },
        Counted { shared: 1, ..whole.clone() },
        Counted { groups: vec![u64::MAX, 11], ..whole.clone() },
    ] {
        assert!(!wrong.is_whole(), "{wrong:?}");
        assert_eq!(wrong.is_unrest(), wrong.before != wrong.after);
    }
}
