//! What a proof on the user's own site loosens, and what it must not: each test fails if a rule is
//! loosened without its fact, or further than the fact carries.
#![allow(missing_docs)]

use std::collections::HashSet;

use aql::facts;
use aql::probe::{Verdict, judge, probes};
use aql::rules::RULES;
use aql::{
    Class, Column, Facts, Fidelity, Kind, Leaf, Literal, Lowered, Op, Operand, Part, Pred, Stored, Subject,
    facts_used, lower_with, names_unknown_type,
};

fn attribute(name: &str, kind: Kind, part: Part, class: Class) -> Subject {
    let column = Column::Attribute { name: name.into(), kind, part };
    let stored = Stored { attribute: Some(ATTRIBUTE), target_is_seen: true };
    Subject { stored, ..Subject::new(column, class) }
}

/// The attribute that facts are proven of here.
const ATTRIBUTE: i64 = 135;

/// A fact's full name.
fn full(fact: &str) -> String {
    match facts::PER_ATTRIBUTE.contains(&fact) {
        true => facts::of_attribute(fact, ATTRIBUTE),
        false => fact.to_owned(),
    }
}

fn text() -> Subject {
    attribute("Name", Kind::Text, Part::Value, Class::Text)
}

fn keyword(column: Column, class: Class) -> Subject {
    Subject::new(column, class)
}

fn leaf(subject: Subject, op: Op, value: Literal) -> Pred {
    Pred::Leaf(Leaf { subject, op, operand: Operand::Value(value) })
}

fn str(s: &str) -> Literal {
    Literal::Text(s.into())
}

fn proven(names: &[&str]) -> Facts {
    let mut facts = Facts::default();
    names.iter().for_each(|name| facts.learn(&full(name), true));
    facts
}

fn asked(pred: &Pred, facts: &Facts) -> (String, Fidelity) {
    match lower_with(pred, facts) {
        Lowered::Pushed(expr, fidelity) => (expr.to_string(), fidelity),
        other => panic!("not pushed: {other:?}"),
    }
}

/// Without the fact as `before` (none: at home), with it as `after`.
#[track_caller]
fn turns(pred: &Pred, fact: &str, before: Option<(&str, Fidelity)>, after: (&str, Fidelity)) {
    match (before, lower_with(pred, &facts::NONE)) {
        (Some((text, fidelity)), Lowered::Pushed(expr, f)) => {
            assert_eq!((expr.to_string().as_str(), f), (text, fidelity));
        }
        (None, Lowered::Local(_)) => {}
        (_, other) => panic!("without proof: {other:?}"),
    }
    let every_other: Vec<&str> = facts::KNOWN.iter().copied().filter(|known| *known != fact).collect();
    assert_eq!(
        lower_with(pred, &proven(&every_other)),
        lower_with(pred, &facts::NONE),
        "another fact loosens it"
    );
    let (text, fidelity) = asked(pred, &proven(&[fact]));
    assert_eq!((text.as_str(), fidelity), after);
    assert_eq!(facts_used(pred, &proven(facts::KNOWN)), [full(fact)]);
}

use Fidelity::{Exact, Inexact};

#[test]
fn the_table_is_consistent() {
    let names: HashSet<&str> = RULES.iter().map(|r| r.name).collect();
    assert_eq!(names.len(), RULES.len(), "names are unique");
    for rule in RULES {
        assert!(rule.fidelity != Some(Exact) || rule.documented, "{} is exact without proof", rule.name);
        assert!(!rule.rests_on.is_empty());
        assert!(rule.fidelity.is_some() || rule.proof.is_some(), "{} can never be used", rule.name);
        if let Some(proof) = rule.proof {
            assert!(facts::KNOWN.contains(&proof.fact), "{}", rule.name);
            assert!(!names.contains(proof.fact), "a fact is not called like a rule: {}", proof.fact);
        }
    }
}

#[test]
fn text_equality_is_exact_where_double_equal_is_proven_and_only_for_values_it_can_vouch_for() {
    turns(
        &leaf(text(), Op::Eq, str("web")),
        facts::SAME,
        Some(("\"Name\" = \"web\"", Inexact)),
        ("\"Name\" == \"web\"", Exact),
    );
    let list = |items: &[&str]| Literal::List(items.iter().map(|s| str(s)).collect());
    turns(
        &leaf(text(), Op::In, list(&["a", "b"])),
        facts::SAME,
        Some(("\"Name\" in (\"a\", \"b\")", Inexact)),
        ("\"Name\" == \"a\" OR \"Name\" == \"b\"", Exact),
    );
    let known = proven(&[facts::SAME]);
    // What may be trimmed, and lists too long to be compared one by one, go out as without proof.
    assert_eq!(asked(&leaf(text(), Op::Eq, str(" web")), &known), ("\"Name\" like \"web\"".into(), Inexact));
    // Nor what can be written in two ways or may stand for something else: no sample was like that.
    for odd in ["café", "a*", "a?", "50%", "a\\b"] {
        assert_eq!(asked(&leaf(text(), Op::Eq, str(odd)), &known).1, Inexact, "{odd}");
    }
    let long: Vec<String> = (0..40).map(|n| format!("v{n}")).collect();
    let long = list(&long.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(asked(&leaf(text(), Op::In, long), &known).1, Inexact);
    // lower(x) = v is about another case; a sample says nothing of arrays.
    assert_eq!(
        asked(&leaf(text(), Op::EqFolded, str("web")), &known),
        ("\"Name\" = \"web\"".into(), Inexact)
    );
    let tags = Subject { multi: true, ..text() };
    assert_eq!(asked(&leaf(tags, Op::ArrayHas, str("a")), &known), ("\"Name\" = \"a\"".into(), Inexact));
    let vague = Subject { null_is_vague: true, ..text() };
    assert_eq!(asked(&leaf(vague, Op::Eq, str("web")), &known).1, Inexact);
}

#[test]
fn text_inequality_goes_out_only_where_not_same_is_proven_and_is_never_exact() {
    turns(
        &leaf(text(), Op::Ne, str("web")),
        facts::NOT_SAME,
        None,
        ("NOT (\"Name\" == \"web\") AND \"Name\" is not EMPTY", Inexact),
    );
    let known = proven(&[facts::NOT_SAME]);
    for odd in ["web ", "café", "a*", "a_b", ""] {
        assert!(matches!(lower_with(&leaf(text(), Op::Ne, str(odd)), &known), Lowered::Local(_)), "{odd}");
    }
    let both = Literal::List(vec![str("a"), str("b")]);
    assert_eq!(
        asked(&leaf(text(), Op::NotIn, both), &known).0,
        "NOT (\"Name\" == \"a\" OR \"Name\" == \"b\") AND \"Name\" is not EMPTY"
    );
    let negated = Pred::Not(Box::new(leaf(text(), Op::Like, str("a%"))));
    assert!(matches!(lower_with(&negated, &proven(facts::KNOWN)), Lowered::Local(_)));
}

#[test]
fn instants_are_exact_to_the_millisecond_and_days_only_widened() {
    let updated = || keyword(Column::Updated, Class::Timestamp);
    // 2024-02-29T00:00:00.123456Z
    let t = 1_709_164_800_123_456;
    let at = |op| leaf(updated(), op, Literal::Timestamp(t));
    turns(
        &at(Op::Gt),
        facts::STAMP,
        Some(("Updated >= \"2024-02-27T00:00:00.123Z\"", Inexact)),
        ("Updated >= \"2024-02-29T00:00:00.124Z\"", Exact),
    );
    let known = proven(&[facts::STAMP]);
    assert_eq!(asked(&at(Op::Ge), &known).0, "Updated >= \"2024-02-29T00:00:00.124Z\"");
    assert_eq!(asked(&at(Op::Lt), &known).0, "Updated <= \"2024-02-29T00:00:00.123Z\"");
    assert_eq!(asked(&at(Op::Le), &known).0, "Updated <= \"2024-02-29T00:00:00.123Z\"");
    let whole = |op| asked(&leaf(updated(), op, Literal::Timestamp(t - 456)), &known).0;
    assert_eq!(whole(Op::Gt), "Updated >= \"2024-02-29T00:00:00.124Z\"");
    assert_eq!(whole(Op::Ge), "Updated >= \"2024-02-29T00:00:00.123Z\"");
    assert_eq!(whole(Op::Lt), "Updated <= \"2024-02-29T00:00:00.122Z\"");
    assert_eq!(whole(Op::Le), "Updated <= \"2024-02-29T00:00:00.123Z\"");
    // A day begins in the session's zone.
    let (text, fidelity) = asked(&leaf(updated(), Op::Gt, Literal::Zoned(19_782 * 86_400_000_000)), &known);
    assert_eq!((text.as_str(), fidelity), ("Updated >= \"2024-02-25T00:00:00.000Z\"", Inexact));
    turns(
        &leaf(
            attribute("At", Kind::DateTime, Part::Value, Class::Timestamp),
            Op::Eq,
            Literal::Timestamp(t - 456),
        ),
        facts::DATETIME,
        Some(("\"At\" >= \"2024-02-27T00:00:00.123Z\" AND \"At\" <= \"2024-03-02T00:00:00.123Z\"", Inexact)),
        ("\"At\" >= \"2024-02-29T00:00:00.123Z\" AND \"At\" <= \"2024-02-29T00:00:00.123Z\"", Exact),
    );
}

#[test]
fn days_are_exact_where_proven_and_a_list_names_each() {
    let day = |op, value| leaf(attribute("D", Kind::Date, Part::Value, Class::Date), op, value);
    turns(
        &day(Op::Lt, Literal::Date(19_782)),
        facts::DAY,
        Some(("\"D\" <= \"2024-03-01\"", Inexact)),
        ("\"D\" <= \"2024-02-28\"", Exact),
    );
    let known = proven(&[facts::DAY]);
    let list = Literal::List(vec![Literal::Date(19_782), Literal::Null, Literal::Date(19_790)]);
    assert_eq!(
        asked(&day(Op::In, list), &known).0,
        "(\"D\" >= \"2024-02-29\" AND \"D\" <= \"2024-02-29\") OR (\"D\" >= \"2024-03-08\" AND \"D\" <= \"2024-03-08\")"
    );
    let long = Literal::List((0..30).map(|n| Literal::Date(19_782 + n)).collect());
    assert_eq!(asked(&day(Op::In, long), &known).1, Inexact);
}

#[test]
fn ids_booleans_arrays_and_keys_become_exact_by_their_own_fact() {
    let id = || keyword(Column::Id, Class::Int);
    turns(
        &leaf(id(), Op::Gt, Literal::Int(7)),
        facts::ID_RANGE,
        Some(("objectId >= 8", Inexact)),
        ("objectId >= 8", Exact),
    );
    turns(
        &leaf(id(), Op::Ne, Literal::Int(7)),
        facts::ID_NOT_IN,
        Some(("objectId not in (7)", Inexact)),
        ("objectId not in (7)", Exact),
    );
    turns(
        &leaf(attribute("B", Kind::Boolean, Part::Value, Class::Bool), Op::Ne, Literal::Bool(true)),
        facts::BOOLEAN,
        Some(("\"B\" = false", Inexact)),
        ("\"B\" = false", Exact),
    );
    let ports = Subject { multi: true, ..attribute("P", Kind::Integer, Part::Value, Class::Int) };
    turns(
        &leaf(ports.clone(), Op::ArrayHas, Literal::Int(80)),
        facts::ANY_INTEGER,
        Some(("\"P\" = 80", Inexact)),
        ("\"P\" = 80", Exact),
    );
    let negated = Pred::Not(Box::new(leaf(ports, Op::ArrayHas, Literal::Int(80))));
    assert!(matches!(lower_with(&negated, &proven(facts::KNOWN)), Lowered::Local(_)));
    let owner = || attribute("Owner", Kind::Object, Part::Key, Class::Text);
    // A key is the row's only where no reference is hidden, too.
    let key = leaf(owner(), Op::Eq, str("HR-1"));
    for (facts, fidelity) in [
        (&[facts::REFERENCE_KEY][..], Inexact),
        (&[facts::REFERENCE_NULL], Inexact),
        (&[facts::REFERENCE_KEY, facts::REFERENCE_NULL], Exact),
    ] {
        assert_eq!(
            asked(&key, &proven(facts)),
            ("\"Owner\".Key = \"HR-1\"".to_owned(), fidelity),
            "{facts:?}"
        );
    }
    let known = proven(&[facts::REFERENCE_KEY, facts::REFERENCE_NULL]);
    assert_eq!(asked(&leaf(owner(), Op::Eq, str("hr-1")), &known).1, Inexact, "the case is ignored there");
}

#[test]
fn users_and_groups_go_out_by_name_only_where_that_is_proven() {
    turns(
        &leaf(attribute("U", Kind::User, Part::Value, Class::Text), Op::Eq, str("Ann Lee")),
        facts::USER_NAME,
        None,
        ("\"U\" = \"Ann Lee\"", Inexact),
    );
    turns(
        &leaf(attribute("G", Kind::Group, Part::Value, Class::Text), Op::Eq, str("admins")),
        facts::GROUP_NAME,
        None,
        ("\"G\" = \"admins\"", Inexact),
    );
}

#[test]
fn a_rule_that_loses_objects_here_stays_at_home() {
    let mut facts = Facts::default();
    facts.learn("user account =", false);
    let account = attribute("U", Kind::User, Part::AccountId, Class::Text);
    let pred = leaf(account, Op::Eq, str("5b10"));
    assert!(matches!(lower_with(&pred, &facts), Lowered::Local(_)));
    assert_eq!(facts_used(&pred, &facts), ["user account ="]);
    facts.learn("no such rule", false);
    facts.learn("no such fact", true);
    assert!(!facts.has("no such fact") && !facts.breaks("no such rule"));
    facts.learn(facts::SAME, true);
    facts.learn(facts::SAME, false);
    assert!(!facts.has(facts::SAME), "a fact that does not hold any more is gone");
}

#[test]
fn unequal_numbers_go_out_whichever_way_the_service_treats_empty() {
    let n = || attribute("N", Kind::Integer, Part::Value, Class::Int);
    let none = &facts::NONE;
    assert_eq!(
        asked(&leaf(n(), Op::Ne, Literal::Int(5)), none),
        ("\"N\" != 5 AND \"N\" is not EMPTY".into(), Exact)
    );
    let list = Literal::List(vec![Literal::Int(1), Literal::Int(2)]);
    assert_eq!(
        asked(&Pred::Not(Box::new(leaf(n(), Op::In, list))), none),
        ("\"N\" not in (1, 2) AND \"N\" is not EMPTY".into(), Exact)
    );
    let with_null = Literal::List(vec![Literal::Int(1), Literal::Null]);
    assert_eq!(lower_with(&leaf(n(), Op::NotIn, with_null), none), Lowered::Never);
    let several = Subject { multi: true, ..n() };
    assert!(matches!(lower_with(&leaf(several, Op::Ne, Literal::Int(5)), none), Lowered::Local(_)));
    let x = || attribute("X", Kind::Double, Part::Value, Class::Double);
    assert_eq!(
        asked(&leaf(x(), Op::Ne, Literal::Double(0.5)), none),
        ("\"X\" != 0.5 AND \"X\" is not EMPTY".into(), Inexact)
    );
    assert!(matches!(lower_with(&leaf(x(), Op::Ne, Literal::Double(f64::NAN)), none), Lowered::Local(_)));
}

#[test]
fn a_number_that_may_be_there_but_read_as_null_is_never_exact() {
    let n = Subject { null_is_vague: true, ..attribute("N", Kind::Integer, Part::Value, Class::Int) };
    assert_eq!(asked(&leaf(n, Op::Gt, Literal::Int(5)), &proven(facts::KNOWN)).1, Inexact);
}

#[test]
fn not_distinct_from_a_value_of_the_moment_is_equality_or_emptiness() {
    let n = || attribute("N", Kind::Integer, Part::Value, Class::Int);
    let same = Pred::Leaf(Leaf { subject: n(), op: Op::Same, operand: Operand::Param(0) });
    assert_eq!(asked(&same, &facts::NONE).0, "\"N\" = $1");
    assert_eq!(asked(&same.bound(&[Literal::Int(5)]), &facts::NONE).0, "\"N\" = 5");
    assert_eq!(asked(&same.bound(&[Literal::Null]), &facts::NONE).0, "\"N\" is EMPTY");
    let distinct = Pred::Not(Box::new(same));
    assert_eq!(
        asked(&distinct.bound(&[Literal::Int(5)]), &facts::NONE).0,
        "(\"N\" != 5 AND \"N\" is not EMPTY) OR \"N\" is EMPTY"
    );
    assert_eq!(asked(&distinct.bound(&[Literal::Null]), &facts::NONE).0, "\"N\" is not EMPTY");
    let name = leaf(text(), Op::Distinct, str("a"));
    assert!(matches!(lower_with(&name, &facts::NONE), Lowered::Local(_)));
}

#[test]
fn an_object_type_is_asked_for_by_the_name_that_it_has_then() {
    let names = vec!["Router".to_owned(), "Switch".to_owned(), "router".to_owned(), "42".to_owned()];
    let subject = |are_all| keyword(Column::ObjectType { names: names.clone(), are_all }, Class::Text);
    let none = &facts::NONE;
    for are_all in [true, false] {
        let of = |op, value| leaf(subject(are_all), op, value);
        assert_eq!(asked(&of(Op::Eq, str("Router")), none).0, "objectType = \"Router\"");
        let list = Literal::List(vec![str("Router"), Literal::Null, str("Switch"), str("Router")]);
        assert_eq!(asked(&of(Op::In, list.clone()), none).0, "objectType in (\"Router\", \"Switch\")");
        assert!(!names_unknown_type(&of(Op::In, list)));
        assert_eq!(asked(&of(Op::EqFolded, str("router")), none).0, "objectType in (\"Router\", \"router\")");
        // Could be an id; and what AQL has no words for.
        assert!(matches!(lower_with(&of(Op::Eq, str("42")), none), Lowered::Local(_)));
        assert!(matches!(lower_with(&of(Op::Lt, str("S")), none), Lowered::Local(_)));
        assert!(matches!(lower_with(&of(Op::Ne, str("Router")), none), Lowered::Local(_)));
    }
    // A name that is not known is that of a new type, unless all types are known.
    let list = || Literal::List(vec![str("Hub"), str("Switch")]);
    let of = |op, value| leaf(subject(false), op, value);
    assert_eq!(asked(&of(Op::In, list()), none).0, "objectType in (\"Hub\", \"Switch\")");
    assert_eq!(asked(&of(Op::EqFolded, str("hub")), none).0, "objectType = \"hub\"");
    assert!(names_unknown_type(&of(Op::In, list())) && names_unknown_type(&of(Op::Eq, str("ROUTER"))));
    assert!(names_unknown_type(&Pred::Not(Box::new(of(Op::Eq, str("Hub"))))));
    assert!(!names_unknown_type(&of(Op::Ne, str("Hub"))));
    let of = |op, value| leaf(subject(true), op, value);
    assert_eq!(asked(&of(Op::In, list()), none).0, "objectType = \"Switch\"");
    assert_eq!(lower_with(&of(Op::Eq, str("Hub")), none), Lowered::Never);
    assert_eq!(lower_with(&of(Op::EqFolded, str("hub")), none), Lowered::Never);
    assert!(!names_unknown_type(&of(Op::In, list())));
}

#[test]
fn probes_ask_for_values_that_are_there_and_know_who_has_them() {
    let values = [str("Alpha one"), str("Beta two"), Literal::Null, str("Gamma three")];
    let asked = probes(&text(), &values);
    let same: Vec<_> =
        asked.iter().filter(|p| p.fact == Some(facts::SAME) && p.rule.name == "text =").collect();
    let wanted = |aql: &str| {
        let found = same.iter().find(|p| p.aql.to_string() == aql);
        found.unwrap_or_else(|| panic!("{aql} is not asked: {same:#?}")).wanted.clone()
    };
    assert_eq!(wanted("\"Name\" == \"Beta two\""), [false, true, false, false]);
    assert_eq!(wanted("\"Name\" == \"bETA TWO\""), [false; 4], "a letter of another case is another text");
    assert_eq!(wanted("\"Name\" == \"Bétá twó\""), [false; 4], "nor is an accent nothing");
    assert!(asked.iter().any(|p| p.rule.name == "text is null" && p.wanted == [false, false, true, false]));
    // A value at the bound, and the same instant written in another zone.
    let updated = keyword(Column::Updated, Class::Timestamp);
    let stamps: Vec<Literal> =
        (0..4).map(|n| Literal::Timestamp(1_700_000_000_000_000 + n * 1_000)).collect();
    let asked = probes(&updated, &stamps);
    let proof: Vec<String> =
        asked.iter().filter(|p| p.fact == Some(facts::STAMP)).map(|p| p.aql.to_string()).collect();
    assert!(proof.contains(&"Updated >= \"2023-11-14T22:13:20.002Z\"".to_owned()), "{proof:#?}");
    assert!(proof.contains(&"Updated >= \"2023-11-15T11:13:20.002+13:00\"".to_owned()), "{proof:#?}");
}

#[test]
fn a_verdict_is_the_worst_that_the_objects_show() {
    assert_eq!(judge(&[true, false], &[true, false]), Verdict::Exact);
    assert_eq!(judge(&[true, false], &[true, true]), Verdict::Superset);
    assert_eq!(judge(&[true, false], &[false, true]), Verdict::Wrong);
    assert!(Verdict::Superset.keeps(Inexact) && !Verdict::Superset.keeps(Exact));
    assert!(!Verdict::Refused.keeps(Inexact) && !Verdict::Wrong.keeps(Inexact));
}

#[test]
fn what_was_proven_of_one_attribute_holds_for_that_one_alone() {
    let null = |id, target_is_seen, kind, part| {
        let stored = Stored { attribute: Some(id), target_is_seen };
        let subject = Subject { stored, ..attribute("X", kind, part, Class::Text) };
        Pred::Leaf(Leaf { subject, op: Op::IsNull, operand: Operand::None })
    };
    for (fact, kind) in [(facts::REFERENCE_NULL, Kind::Object), (facts::STATUS_NULL, Kind::Status)] {
        let mut known = Facts::default();
        known.learn(&facts::of_attribute(fact, 1), true);
        assert_eq!(asked(&null(1, true, kind, Part::Value), &known), ("\"X\" is EMPTY".into(), Inexact));
        let Lowered::Local(why) = lower_with(&null(2, true, kind, Part::Value), &known) else { panic!() };
        assert!(why.contains("verify_pushdown()"), "{why}");
        // What 0.1.0 recorded of the whole server is not believed.
        known = Facts::default();
        known.learn(fact, true);
        assert!(known.is_empty() && !known.has(fact));
    }
    let mut known = Facts::default();
    known.learn(&facts::of_attribute(facts::REFERENCE_NULL, 1), true);
    assert_eq!(asked(&null(1, true, Kind::Object, Part::Key), &known).0, "\"X\" is EMPTY");
    // Another credential may not see what the one saw that it was proven with.
    assert!(matches!(lower_with(&null(1, false, Kind::Object, Part::Key), &known), Lowered::Local(_)));
    assert!(known.has("reference EMPTY where NULL (attribute 1)"));
    assert!(!known.has("reference EMPTY where NULL (attribute 11)"));
    known.learn("text == (attribute 1)", true);
    assert!(!known.has("text ==") && !known.has("text == (attribute 1)"), "this one is of no attribute");
}

#[test]
fn keys_of_unseen_objects_go_out_where_they_were_found_all_the_same_and_are_never_exact() {
    let key = |id| {
        let stored = Stored { attribute: Some(id), ..Stored::default() };
        Subject { stored, ..attribute("Owner", Kind::Object, Part::Key, Class::Text) }
    };
    let mut known = Facts::default();
    known.learn(&facts::of_attribute(facts::UNSEEN, 1), true);
    known.learn(&facts::of_attribute(facts::REFERENCE_KEY, 1), true);
    let pred = |id| leaf(key(id), Op::Eq, str("HR-1"));
    assert_eq!(asked(&pred(1), &known), ("\"Owner\".Key = \"HR-1\"".into(), Inexact));
    assert_eq!(facts_used(&pred(1), &known), [facts::of_attribute(facts::UNSEEN, 1)]);
    assert!(matches!(lower_with(&pred(2), &known), Lowered::Local(_)));
    // Where the type is not seen, that is what is tried, and nothing else.
    let values = [str("HR-1"), str("HR-2"), Literal::Null];
    let tried = probes(&key(1), &values);
    let facts: HashSet<_> = tried.iter().filter(|p| p.rule.ops != [Op::IsNotNull]).map(|p| p.fact).collect();
    assert_eq!(facts, HashSet::from([Some(facts::UNSEEN)]));
}

#[test]
fn to_the_letter_is_tried_with_letters_that_some_services_take_for_others() {
    let asked = probes(&text(), &[str("Alpha one"), str("Kiosk six"), str("Zeta")]);
    let of = |fact| -> Vec<String> {
        asked.iter().filter(|p| p.fact == Some(fact)).map(|p| p.aql.to_string()).collect()
    };
    for lookalike in [
        "Kíósk síx",
        "\u{212a}io\u{17f}\u{212a} \u{17f}ix",
        "Kıosk sıx",
        "Ｋｉｏｓｋ ｓｉｘ",
        "K\u{200d}iosk six",
    ] {
        assert!(of(facts::SAME).contains(&format!("\"Name\" == \"{lookalike}\"")), "{lookalike}");
        assert!(of(facts::NOT_SAME).contains(&format!("NOT (\"Name\" == \"{lookalike}\")")), "{lookalike}");
    }
    // Digits have no case: nothing is proven by them.
    let digits = probes(&text(), &[str("100"), str("200"), str("300")]);
    assert!(digits.iter().all(|p| p.fact.is_none()), "{digits:#?}");
}

#[test]
fn rich_text_is_proven_by_its_markup_alone() {
    let notes = || attribute("Notes", Kind::Rich, Part::Value, Class::Text);
    let plain = probes(&notes(), &[str("Oslo"), str("Bergen"), Literal::Null]);
    assert!(plain.iter().all(|p| p.fact.is_none()), "{plain:#?}");
    let marked = probes(&notes(), &[str("<p class=\"a\">Oslo</p>"), str("Bergen"), Literal::Null]);
    let proof: Vec<String> =
        marked.iter().filter(|p| p.fact == Some(facts::RICH_TEXT)).map(|p| p.aql.to_string()).collect();
    assert!(proof.contains(&r#""Notes" like "<p class=\"a\">""#.to_owned()), "{proof:#?}");
    assert!(proof.contains(&"\"Notes\" is not EMPTY".to_owned()), "{proof:#?}");
    turns(
        &leaf(notes(), Op::Contains, str("Oslo")),
        facts::RICH_TEXT,
        None,
        ("\"Notes\" like \"Oslo\"", Inexact),
    );
}

#[test]
fn an_object_type_whose_lower_case_is_a_collations_is_asked_for() {
    let names = ["İstanbul", "Rack", "Straße"].map(str::to_owned).to_vec();
    let subject = || keyword(Column::ObjectType { names: names.clone(), are_all: true }, Class::Text);
    let folded = |value: &str| asked(&leaf(subject(), Op::EqFolded, str(value)), &facts::NONE).0;
    assert_eq!(folded("istanbul"), "objectType in (\"İstanbul\", \"Straße\")");
    assert_eq!(folded("rack"), "objectType in (\"İstanbul\", \"Rack\", \"Straße\")");
}
