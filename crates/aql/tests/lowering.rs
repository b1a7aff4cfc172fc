//! The promises of the rules: what goes out, what must not, and that nothing a value holds can
//! change a query's meaning.
#![allow(missing_docs)]

use aql::expr::{Cmp, Expr, Path, Value};
use aql::lower::{in_clauses, most, split};
use aql::{
    Class, Column, Fidelity, Kind, Leaf, Literal, Lowered, Op, Operand, Part, Pred, Stored, Subject, lower,
};

fn attribute(name: &str, kind: Kind, class: Class) -> Subject {
    let column = Column::Attribute { name: name.into(), kind, part: Part::Value };
    Subject::new(column, class)
}

fn text(name: &str) -> Subject {
    attribute(name, Kind::Text, Class::Text)
}

fn leaf(subject: Subject, op: Op, value: Literal) -> Pred {
    Pred::Leaf(Leaf { subject, op, operand: Operand::Value(value) })
}

fn bare(subject: Subject, op: Op) -> Pred {
    Pred::Leaf(Leaf { subject, op, operand: Operand::None })
}

fn str(s: &str) -> Literal {
    Literal::Text(s.into())
}

fn pushed(pred: &Pred) -> (String, Fidelity) {
    match lower(pred) {
        Lowered::Pushed(expr, fidelity) => (expr.to_string(), fidelity),
        other => panic!("not pushed: {other:?}"),
    }
}

fn aql_of(pred: &Pred) -> String {
    pushed(pred).0
}

fn is_local(pred: &Pred) -> bool {
    matches!(lower(pred), Lowered::Local(_))
}

fn negated(pred: Pred) -> Pred {
    Pred::Not(Box::new(pred))
}

#[test]
fn parts_of_texts_are_asked_for_of_texts_only() {
    let texts = ["in service", " ends", "ends\t", "Office", "Straße", "x", "kiosk ", "ıI", "a%", "Ubuntu  "];
    let ops = [Op::Eq, Op::EqFolded, Op::Like, Op::ILike, Op::Prefix, Op::Contains];
    let lists = [Op::In, Op::ArrayHas, Op::ArrayOverlaps, Op::ArrayContains];
    let mut sent = 0;
    for kind in [Kind::Status, Kind::Object, Kind::IpAddress, Kind::User, Kind::Group] {
        for part in [Part::Value, Part::Key, Part::AccountId] {
            for class in [Class::Text, Class::Varchar(7), Class::Varchar(200)] {
                for one in texts {
                    let column = Column::Attribute { name: "X".into(), kind, part };
                    let mut subject = Subject::new(column, class);
                    let mut ask = |subject: &Subject, op, value| {
                        if let Lowered::Pushed(aql, _) = lower(&leaf(subject.clone(), op, value)) {
                            sent += 1;
                            assert!(
                                !aql.asks_for_part(),
                                "{kind:?} {part:?} {class:?} {op:?} {one:?}: {aql}"
                            );
                        }
                    };
                    for op in ops {
                        ask(&subject, op, str(one));
                    }
                    subject.multi = true;
                    for op in lists {
                        let list = Literal::List(vec![str(one), str("other")]);
                        ask(&subject, op, if op == Op::ArrayHas { str(one) } else { list });
                    }
                }
            }
        }
    }
    assert!(sent > 50, "{sent}");
}

#[test]
fn text_equality_goes_out_as_a_superset_and_its_negation_never() {
    let eq = leaf(text("Name"), Op::Eq, str("web"));
    assert_eq!(pushed(&eq), ("\"Name\" = \"web\"".into(), Fidelity::Inexact));
    assert!(is_local(&negated(eq)));
    assert!(is_local(&leaf(text("Name"), Op::Ne, str("web"))));
    assert!(is_local(&leaf(text("Name"), Op::NotIn, Literal::List(vec![str("web")]))));
    assert!(is_local(&negated(leaf(text("Name"), Op::Like, str("web%")))));
}

#[test]
fn text_order_stays_at_home() {
    for op in [Op::Lt, Op::Le, Op::Gt, Op::Ge] {
        assert!(is_local(&leaf(text("Name"), op, str("m"))));
    }
}

#[test]
fn a_pattern_goes_out_as_its_certain_runs() {
    let like = |p: &str| aql_of(&leaf(text("Name"), Op::Like, str(p)));
    assert_eq!(like("web%"), "\"Name\" startswith \"web\"");
    assert_eq!(like("%web"), "\"Name\" endswith \"web\"");
    assert_eq!(like("%web%"), "\"Name\" like \"web\"");
    assert_eq!(
        like("a%b_c"),
        "\"Name\" startswith \"a\" AND \"Name\" like \"b\" AND \"Name\" endswith \"c\""
    );
    assert_eq!(like("100\\%"), "\"Name\" = \"100%\"");
    assert!(is_local(&leaf(text("Name"), Op::Like, str("%"))));
    assert!(is_local(&leaf(text("Name"), Op::Like, str("broken\\"))));
}

#[test]
fn white_space_at_the_ends_is_asked_for_as_a_substring_because_it_may_be_trimmed() {
    assert_eq!(aql_of(&leaf(text("Name"), Op::Eq, str(" web "))), "\"Name\" like \"web\"");
    assert_eq!(aql_of(&leaf(text("Name"), Op::Like, str(" web%"))), "\"Name\" like \"web\"");
    assert!(is_local(&leaf(text("Name"), Op::In, Literal::List(vec![str("a"), str(" b")]))));
}

#[test]
fn a_backslash_is_never_part_of_a_substring_because_it_may_escape() {
    assert_eq!(aql_of(&leaf(text("Name"), Op::Contains, str("ab\\cde"))), "\"Name\" like \"cde\"");
}

#[test]
fn values_with_control_characters_placeholders_and_calls_stay_at_home() {
    for value in ["a\nb", "a\u{7f}b", "${x}", "", "now()", "Now(-1d)", "currentUser()"] {
        assert!(is_local(&leaf(text("Name"), Op::Eq, str(value))), "{value:?}");
        assert!(
            is_local(&leaf(text("Name"), Op::In, Literal::List(vec![str(value), str("b")]))),
            "{value:?}"
        );
    }
}

#[test]
fn a_call_is_no_part_of_a_pattern_either() {
    for (op, value) in [
        (Op::Like, "now()%"),
        (Op::Like, "%now()"),
        (Op::Contains, " startOfDay(1d) "),
        (Op::Prefix, "now()"),
    ] {
        assert!(is_local(&leaf(text("Name"), op, str(value))), "{op:?} {value:?}");
    }
    assert_eq!(aql_of(&leaf(text("Name"), Op::Eq, str("Printer (old)"))), "\"Name\" = \"Printer (old)\"");
    assert_eq!(aql_of(&leaf(text("Name"), Op::Contains, str("(now)"))), "\"Name\" like \"(now)\"");
}

#[test]
fn names_that_could_be_misread_are_never_sent() {
    for name in ["123", "a.b", "a\"b", "a\\b", "Label", "objectType", "KEY", " a", "a\tb", ""] {
        assert!(is_local(&leaf(text(name), Op::Eq, str("x"))), "{name:?}");
        assert!(is_local(&bare(text(name), Op::IsNotNull)), "{name:?}");
    }
    // However a service ignores case, one of these could be taken for another.
    let folded = aql::name::folded;
    for (a, b) in [("Straße", "STRASSE"), ("STRAẞE", "Strasse"), ("ID", "ıd"), ("İd", "id"), ("ΟΣ", "ος")]
    {
        assert_eq!(folded(a), folded(b));
    }
    assert!(is_local(&leaf(text("\u{212a}EY"), Op::Eq, str("x"))), "the Kelvin sign is a K to some");
    assert_eq!(aql_of(&leaf(text("Größe (cm)"), Op::Eq, str("x"))), "\"Größe (cm)\" = \"x\"");
}

#[test]
fn quotes_and_backslashes_are_escaped() {
    assert_eq!(aql_of(&leaf(text("Name"), Op::Eq, str("15\" \\ x"))), "\"Name\" = \"15\\\" \\\\ x\"");
}

#[test]
fn a_comparison_with_null_asks_for_nothing() {
    assert_eq!(lower(&leaf(text("Name"), Op::Eq, Literal::Null)), Lowered::Never);
    assert_eq!(lower(&leaf(text("Name"), Op::In, Literal::List(vec![Literal::Null]))), Lowered::Never);
    let ids = Literal::List(vec![Literal::Int(1), Literal::Null]);
    let id = Subject::new(Column::Id, Class::Int);
    assert_eq!(lower(&leaf(id.clone(), Op::NotIn, ids.clone())), Lowered::Never);
    assert_eq!(aql_of(&leaf(id, Op::In, ids)), "objectId = 1");
}

#[test]
fn and_keeps_what_it_can_and_or_goes_out_only_whole() {
    let a = || leaf(text("A"), Op::Eq, str("x"));
    let number = || leaf(attribute("N", Kind::Integer, Class::Int), Op::Ge, Literal::Int(5));
    let home = || Pred::Local("f(x)".into());
    assert_eq!(
        pushed(&Pred::And(vec![number(), home()])),
        ("\"N\" >= 5".into(), Fidelity::Inexact),
        "dropping a part of an AND makes the rest a superset"
    );
    assert_eq!(pushed(&number()).1, Fidelity::Exact);
    assert!(is_local(&Pred::Or(vec![number(), home()])));
    assert_eq!(aql_of(&Pred::Or(vec![a(), number()])), "\"A\" = \"x\" OR \"N\" >= 5");
    // NOT (a AND local) = NOT a OR NOT local: the branch that stays at home takes the other along.
    assert!(is_local(&negated(Pred::And(vec![number(), home()]))));
    assert_eq!(
        aql_of(&negated(Pred::Or(vec![number(), home()]))),
        "\"N\" < 5",
        "NOT (a OR local) = NOT a AND NOT local"
    );
}

#[test]
fn an_or_with_an_impossible_branch_is_the_rest_of_it() {
    let a = leaf(text("A"), Op::Eq, str("x"));
    let never = leaf(text("A"), Op::Eq, Literal::Null);
    assert_eq!(aql_of(&Pred::Or(vec![a.clone(), never.clone()])), "\"A\" = \"x\"");
    assert_eq!(lower(&Pred::And(vec![a, never])), Lowered::Never);
}

#[test]
fn groups_stand_in_parentheses() {
    let n = |v| leaf(attribute("N", Kind::Integer, Class::Int), Op::Eq, Literal::Int(v));
    let tree = Pred::And(vec![Pred::Or(vec![n(1), n(2)]), Pred::Or(vec![n(3), Pred::And(vec![n(4), n(5)])])]);
    assert_eq!(aql_of(&tree), "(\"N\" = 1 OR \"N\" = 2) AND (\"N\" = 3 OR (\"N\" = 4 AND \"N\" = 5))");
}

#[test]
fn null_tests_know_that_an_empty_text_is_null_and_that_a_misfit_may_be() {
    assert_eq!(aql_of(&bare(text("A"), Op::IsNull)), "\"A\" is EMPTY OR \"A\" = \"\"");
    assert_eq!(aql_of(&bare(text("A"), Op::IsNotNull)), "\"A\" is not EMPTY");
    let number = attribute("N", Kind::Integer, Class::Int);
    assert_eq!(pushed(&bare(number.clone(), Op::IsNull)), ("\"N\" is EMPTY".into(), Fidelity::Exact));
    let vague = Subject { null_is_vague: true, ..number };
    assert!(is_local(&bare(vague.clone(), Op::IsNull)));
    assert_eq!(pushed(&bare(vague, Op::IsNotNull)).1, Fidelity::Inexact);
}

#[test]
fn a_type_that_compares_otherwise_than_the_attribute_stays_at_home() {
    // bigint over Text: '007' is 7 here and not there. text over Integer: '7' is not '07'.
    assert!(is_local(&leaf(attribute("A", Kind::Text, Class::Int), Op::Eq, Literal::Int(7))));
    assert!(is_local(&leaf(attribute("A", Kind::Integer, Class::Text), Op::Eq, str("7"))));
    assert!(is_local(&leaf(attribute("A", Kind::Text, Class::Opaque), Op::Eq, str("7"))));
    assert!(is_local(&bare(attribute("A", Kind::Text, Class::Opaque), Op::IsNull)));
}

#[test]
fn key_takes_equality_and_lists_and_nothing_that_the_service_refuses() {
    let key = || Subject::new(Column::Key, Class::Text);
    assert_eq!(aql_of(&leaf(key(), Op::Eq, str("ITSM-1"))), "Key = \"ITSM-1\"");
    assert_eq!(
        aql_of(&leaf(key(), Op::In, Literal::List(vec![str("ITSM-1"), str("itsm-1"), str("ITSM-2")]))),
        "Key in (\"ITSM-1\", \"itsm-1\", \"ITSM-2\")"
    );
    for op in [Op::Like, Op::ILike, Op::Prefix, Op::Contains, Op::Lt] {
        assert!(is_local(&leaf(key(), op, str("ITSM-%"))));
    }
}

#[test]
fn ids_are_compared_by_the_proven_operators_only() {
    let id = || Subject::new(Column::Id, Class::Int);
    assert_eq!(aql_of(&leaf(id(), Op::Gt, Literal::Int(7))), "objectId >= 8");
    assert_eq!(aql_of(&leaf(id(), Op::Lt, Literal::Int(7))), "objectId <= 6");
    assert!(is_local(&leaf(id(), Op::Gt, Literal::Int(i64::MAX))));
}

#[test]
fn dates_are_asked_for_with_room_for_any_zone_and_precision() {
    let day = attribute("D", Kind::Date, Class::Date);
    // 2024-02-29 is day 19782.
    assert_eq!(
        aql_of(&leaf(day, Op::Eq, Literal::Date(19_782))),
        "\"D\" >= \"2024-02-28\" AND \"D\" <= \"2024-03-01\""
    );
    let updated = Subject::new(Column::Updated, Class::Timestamp);
    assert_eq!(
        aql_of(&leaf(updated.clone(), Op::Gt, Literal::Timestamp(1_709_164_800_123_456))),
        "Updated >= \"2024-02-27T00:00:00.123Z\""
    );
    assert!(is_local(&leaf(updated, Op::Gt, Literal::Timestamp(i64::MAX))));
}

#[test]
fn doubles_are_asked_for_one_step_wider_and_odd_ones_stay_at_home() {
    let x = || attribute("X", Kind::Double, Class::Double);
    let (text, fidelity) = pushed(&leaf(x(), Op::Eq, Literal::Double(0.1)));
    assert_eq!(text, format!("\"X\" >= {} AND \"X\" <= {}", 0.1f64.next_down(), 0.1f64.next_up()));
    assert_eq!(fidelity, Fidelity::Inexact);
    for odd in [f64::NAN, f64::INFINITY, 1e300, 1e-300] {
        assert!(is_local(&leaf(x(), Op::Eq, Literal::Double(odd))));
    }
}

#[test]
fn statuses_take_equality_but_not_patterns_and_users_only_their_account() {
    let status = || attribute("Status", Kind::Status, Class::Text);
    assert_eq!(aql_of(&leaf(status(), Op::Eq, str("Active"))), "\"Status\" = \"Active\"");
    assert!(is_local(&leaf(status(), Op::Like, str("Act%"))));
    assert!(is_local(&leaf(attribute("U", Kind::User, Class::Text), Op::Eq, str("Somebody"))));
}

/// A reference: the label or the key, to a type that the credential sees or does not.
fn reference(part: Part, target_is_seen: bool) -> Subject {
    let column = Column::Attribute { name: "Owner".into(), kind: Kind::Object, part };
    let stored = Stored { attribute: Some(7), target_is_seen };
    Subject { stored, ..Subject::new(column, Class::Text) }
}

#[test]
fn references_are_asked_for_by_label_or_by_the_dotted_key() {
    let owner = |part| reference(part, true);
    assert_eq!(aql_of(&leaf(owner(Part::Value), Op::Eq, str("A B"))), "\"Owner\" = \"A B\"");
    assert_eq!(aql_of(&leaf(owner(Part::Key), Op::Eq, str("HR-1"))), "\"Owner\".Key = \"HR-1\"");
    assert_eq!(aql_of(&leaf(owner(Part::Key), Op::EqFolded, str("hr-1"))), "\"Owner\".Key = \"HR-1\"");
}

#[test]
fn what_a_reference_shows_of_an_object_that_is_not_seen_is_not_asked_for() {
    let list = || Literal::List(vec![str("HR-1"), str("HR-2")]);
    for part in [Part::Value, Part::Key] {
        let one = || reference(part, false);
        let many = || Subject { multi: true, ..one() };
        for pred in [
            leaf(one(), Op::Eq, str("HR-1")),
            leaf(one(), Op::Same, str("HR-1")),
            leaf(one(), Op::EqFolded, str("hr-1")),
            leaf(one(), Op::In, list()),
            leaf(many(), Op::ArrayHas, str("HR-1")),
            leaf(many(), Op::ArrayOverlaps, list()),
            Pred::Leaf(Leaf { subject: one(), op: Op::Eq, operand: Operand::Param(0) }),
            Pred::Or(vec![leaf(text("Name"), Op::Eq, str("x")), leaf(one(), Op::Eq, str("HR-1"))]),
        ] {
            let Lowered::Local(why) = lower(&pred) else { panic!("{pred:?} goes out") };
            assert!(why.contains("does not see") && why.contains("verify_pushdown()"), "{why}");
        }
        // That something is shown says that something is there, wherever it leads.
        assert_eq!(aql_of(&bare(one(), Op::IsNotNull)), "\"Owner\" is not EMPTY");
        assert_eq!(aql_of(&bare(many(), Op::IsNotNull)), "\"Owner\" is not EMPTY");
    }
}

#[test]
fn a_reference_status_or_person_that_reads_as_null_may_be_there() {
    let status = attribute("Status", Kind::Status, Class::Text);
    let person = |part| {
        Subject::new(Column::Attribute { name: "Assignee".into(), kind: Kind::User, part }, Class::Text)
    };
    for subject in [
        reference(Part::Value, true),
        reference(Part::Key, true),
        reference(Part::Key, false),
        status,
        person(Part::Value),
        person(Part::AccountId),
        attribute("Team", Kind::Group, Class::Text),
    ] {
        let null = || bare(subject.clone(), Op::IsNull);
        assert!(is_local(&null()), "{subject:?}");
        assert!(is_local(&leaf(subject.clone(), Op::Same, Literal::Null)), "{subject:?}");
        assert!(is_local(&leaf(subject.clone(), Op::Distinct, str("x"))), "{subject:?}");
        assert!(is_local(&negated(bare(subject.clone(), Op::IsNotNull))), "{subject:?}");
        assert!(is_local(&Pred::Or(vec![leaf(text("Name"), Op::Eq, str("x")), null()])), "{subject:?}");
        let and = Pred::And(vec![leaf(text("Name"), Op::Eq, str("x")), null()]);
        assert_eq!(pushed(&and), ("\"Name\" = \"x\"".into(), Fidelity::Inexact));
        let multi = Subject { multi: true, ..subject };
        assert!(is_local(&bare(multi, Op::IsNull)));
    }
}

#[test]
fn lists_keep_every_spelling_because_how_letters_fold_is_not_known() {
    let list = |items: &[&str]| Literal::List(items.iter().map(|s| str(s)).collect());
    let name = |items| aql_of(&leaf(text("Name"), Op::In, list(items)));
    assert_eq!(name(&["\u{c5}", "\u{212b}", "\u{c5}"]), "\"Name\" in (\"\u{c5}\", \"\u{212b}\")");
    assert_eq!(name(&["web", "WEB"]), "\"Name\" in (\"web\", \"WEB\")");
    assert_eq!(name(&["x", "x"]), "\"Name\" = \"x\"");
}

#[test]
fn only_letters_that_every_folding_puts_together_are_sent_where_case_is_ignored() {
    let of = |op, value: &str| aql_of(&leaf(text("Name"), op, str(value)));
    assert_eq!(of(Op::Like, "ΑΣ%"), "\"Name\" startswith \"Α\"");
    assert_eq!(of(Op::Like, "büro%"), "\"Name\" startswith \"büro\"");
    assert_eq!(of(Op::Eq, "ΛΟΓΟΣ"), "\"Name\" = \"ΛΟΓΟΣ\"");
    assert_eq!(of(Op::ILike, "büro%"), "\"Name\" startswith \"b\"");
    assert_eq!(of(Op::ILike, "web-0%"), "\"Name\" startswith \"web-0\"");
    assert_eq!(of(Op::ILike, "%primary%"), "\"Name\" like \"mary\"");
    assert_eq!(of(Op::ILike, "istanbul"), "\"Name\" endswith \"stanbul\"");
    assert_eq!(of(Op::EqFolded, "straße 1"), "\"Name\" startswith \"stra\" AND \"Name\" endswith \"e 1\"");
    assert_eq!(of(Op::EqFolded, "web"), "\"Name\" = \"web\"");
    assert_eq!(of(Op::ILike, "ü%"), "\"Name\" is not EMPTY");
    assert_eq!(of(Op::ILike, "ü%o_x"), "\"Name\" like \"o\" AND \"Name\" endswith \"x\"");
    // A user or group may be compared to the letter, and lower(x) may be of any spelling.
    for kind in [Kind::User, Kind::Group] {
        for part in [Part::Value, Part::AccountId] {
            let column = Column::Attribute { name: "U".into(), kind, part };
            assert!(is_local(&leaf(Subject::new(column, Class::Text), Op::EqFolded, str("ab"))));
        }
    }
}

#[test]
fn one_address_has_many_spellings_and_none_is_asked_for() {
    let address = |class| attribute("IP", Kind::IpAddress, class);
    for value in ["10.0.0.7", "10.0.0.7/32", "::ffff:10.0.0.7", "2001:db8::1"] {
        assert!(is_local(&leaf(address(Class::Inet), Op::Eq, str(value))), "{value}");
        assert!(is_local(&leaf(address(Class::Inet), Op::In, Literal::List(vec![str(value)]))), "{value}");
    }
    assert_eq!(aql_of(&leaf(address(Class::Text), Op::Eq, str("010.0.0.7"))), "\"IP\" = \"010.0.0.7\"");
    assert_eq!(aql_of(&bare(address(Class::Inet), Op::IsNotNull)), "\"IP\" is not EMPTY");
}

#[test]
fn rich_text_may_be_indexed_without_its_markup() {
    let notes = || attribute("Notes", Kind::Rich, Class::Text);
    let of = |op, value: &str| lower(&leaf(notes(), op, str(value)));
    let sent = |op, value: &str| aql_of(&leaf(notes(), op, str(value)));
    assert_eq!(sent(Op::Eq, "Oslo office"), "\"Notes\" = \"Oslo office\"");
    assert_eq!(sent(Op::Like, "Oslo%"), "\"Notes\" startswith \"Oslo\"");
    assert_eq!(sent(Op::Like, "Oslo <b>x%"), "\"Notes\" startswith \"Oslo\"");
    assert_eq!(sent(Op::Prefix, "Oslo & co"), "\"Notes\" startswith \"Oslo\"");
    assert_eq!(sent(Op::EqFolded, "oslo"), "\"Notes\" startswith \"oslo\"".replace("startswith", "="));
    // `b` may be a tag's, and so may be any other letter inside.
    for (op, value) in [
        (Op::Like, "%Oslo%"),
        (Op::Like, "%Oslo"),
        (Op::Contains, "b"),
        (Op::Eq, "<b>Oslo</b>"),
        (Op::Eq, "h1. Oslo"),
        (Op::Like, "h1%"),
        (Op::Like, "<p>%"),
    ] {
        assert!(matches!(of(op, value), Lowered::Local(_)), "{op:?} {value}");
    }
    assert!(is_local(&leaf(notes(), Op::In, Literal::List(vec![str("a"), str("<b>")]))));
    assert!(is_local(&bare(notes(), Op::IsNotNull)), "text of tags alone may be EMPTY there");
    assert_eq!(aql_of(&bare(notes(), Op::IsNull)), "\"Notes\" is EMPTY OR \"Notes\" = \"\"");
}

#[test]
fn arrays_ask_for_elements_and_never_for_their_absence() {
    let tags = || Subject { multi: true, ..text("Tags") };
    let list = || Literal::List(vec![str("a"), str("b")]);
    assert_eq!(aql_of(&leaf(tags(), Op::ArrayHas, str("a"))), "\"Tags\" = \"a\"");
    assert_eq!(aql_of(&leaf(tags(), Op::ArrayOverlaps, list())), "\"Tags\" in (\"a\", \"b\")");
    assert_eq!(aql_of(&leaf(tags(), Op::ArrayContains, list())), "\"Tags\" = \"a\" AND \"Tags\" = \"b\"");
    assert!(is_local(&leaf(tags(), Op::Eq, list())));
    for op in [Op::ArrayHas, Op::ArrayOverlaps, Op::ArrayContains] {
        assert!(is_local(&negated(leaf(tags(), op, list()))));
    }
    assert_eq!(
        lower(&leaf(tags(), Op::ArrayContains, Literal::List(vec![]))),
        Lowered::Local("the value could be misread in AQL".into()),
        "every list contains the empty one"
    );
}

#[test]
fn a_parameter_shows_as_dollar_n_and_binds_to_its_value() {
    let pred = Pred::Leaf(Leaf { subject: text("Name"), op: Op::Eq, operand: Operand::Param(1) });
    assert_eq!(aql_of(&pred), "\"Name\" = $2");
    assert_eq!(aql_of(&pred.bound(&[Literal::Null, str("x")])), "\"Name\" = \"x\"");
    assert_eq!(lower(&pred.bound(&[Literal::Null, Literal::Null])), Lowered::Never);
}

#[test]
fn a_list_too_long_for_one_query_is_cut_into_disjoint_ones() {
    let values: Vec<Value> = (0..1000).map(|n| Value::Text(format!("ITSM-{n}"))).collect();
    let list = Expr::In(Path::Keyword("Key"), values.clone());
    let other = Expr::IsNotEmpty(Path::Attribute("A".into()));
    let parts = split(Expr::And(vec![other.clone(), list]), 2000, 1000, usize::MAX);
    let mut seen = Vec::new();
    for part in &parts {
        assert!(part.to_string().len() <= 2000);
        let Expr::And(inner) = part else { panic!() };
        assert_eq!(inner[0], other);
        let Expr::In(_, chunk) = &inner[1] else { panic!() };
        seen.extend(chunk.clone());
    }
    assert_eq!(seen, values);
    let written = in_clauses(parts[0].clone()).to_string();
    assert!(written.contains(" OR Key in ("), "fifty values a clause: {written}");
}

#[test]
fn a_list_of_keys_or_ids_is_cut_where_a_page_ends_and_no_other() {
    let values: Vec<Value> = (0..250).map(Value::Int).collect();
    for (path, expected) in [
        (Path::Keyword("Key"), vec![100, 100, 50]),
        (Path::Keyword("objectId"), vec![100, 100, 50]),
        (Path::Attribute("Memory".into()), vec![250]),
        (Path::KeyOf("Owner".into()), vec![250]),
    ] {
        let parts = split(Expr::In(path, values.clone()), 6000, 100, usize::MAX);
        let lengths: Vec<usize> =
            parts.iter().map(|p| if let Expr::In(_, list) = p { list.len() } else { 0 }).collect();
        assert_eq!(lengths, expected);
    }
    // A list as long as a page stays whole.
    assert_eq!(split(Expr::In(Path::Keyword("Key"), values), 6000, 250, usize::MAX).len(), 1);
}

#[test]
fn a_list_of_keys_or_ids_bounds_how_many_objects_can_match() {
    let keys = Expr::In(Path::Keyword("Key"), vec![Value::Int(1), Value::Int(2), Value::Int(3)]);
    let id = Expr::Compare(Path::Keyword("objectId"), Cmp::Eq, Value::Int(7));
    let name = Expr::Compare(Path::Attribute("Key".into()), Cmp::Eq, Value::Int(7));
    let at_least = Expr::Compare(Path::Keyword("objectId"), Cmp::Ge, Value::Int(7));
    assert_eq!(most(&keys), Some(3));
    assert_eq!(most(&Expr::And(vec![name.clone(), keys.clone(), id.clone()])), Some(1));
    assert_eq!(most(&Expr::Or(vec![keys, id])), None);
    assert_eq!((most(&name), most(&at_least)), (None, None));
}

/// Nothing that comes back shows what else should have.
#[test]
fn a_match_shows_what_is_seen_where_every_row_rests_on_it() {
    let path = |name: &str| Path::KeyOf(name.to_owned());
    let is = |name: &str| Expr::Compare(path(name), Cmp::Eq, Value::Text("A-1".into()));
    let unseen = |expr: Expr| expr.unseen_by_a_match().into_iter().map(str::to_owned).collect::<Vec<_>>();
    assert!(unseen(is("Site")).is_empty());
    assert!(unseen(Expr::And(vec![is("Site"), is("Owner")])).is_empty());
    assert!(unseen(Expr::Or(vec![is("Site"), is("Site")])).is_empty());
    assert_eq!(unseen(Expr::Or(vec![is("Site"), is("Owner")])), ["Owner", "Site"]);
    let empty = Expr::IsEmpty(Path::Attribute("Site".into()));
    assert_eq!(unseen(Expr::And(vec![empty, is("Owner")])), ["Site"]);
}

#[test]
fn a_match_proves_the_names_that_it_rests_on_and_no_others() {
    let equals = |name: &str| Expr::Compare(Path::Attribute(name.into()), Cmp::Eq, Value::Int(1));
    let key = Expr::Compare(Path::Keyword("Key"), Cmp::Eq, Value::Int(1));
    let names = |expr: Expr| expr.unproven_by_a_match().into_iter().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(names(Expr::And(vec![equals("A"), equals("B"), key.clone()])), [""; 0]);
    assert_eq!(names(Expr::Or(vec![equals("A"), equals("B")])), ["A", "B"]);
    assert_eq!(names(Expr::Or(vec![equals("A"), key.clone()])), ["A"]);
    assert_eq!(names(Expr::Or(vec![equals("A"), Expr::IsEmpty(Path::KeyOf("A".into()))])), [""; 0]);
    assert_eq!(names(Expr::Or(vec![equals("A"), Expr::And(vec![equals("A"), key])])), [""; 0]);
    assert_eq!(names(Expr::And(vec![equals("A"), Expr::Not(Box::new(equals("B")))])), ["B"]);
    assert_eq!(Expr::knows("A \"b\"").to_string(), r#""A \"b\"" is EMPTY OR "A \"b\"" is not EMPTY"#);
}

#[test]
fn an_or_is_never_cut() {
    let list = Expr::In(Path::Keyword("Key"), (0..1000).map(Value::Int).collect());
    let or = Expr::Or(vec![list, Expr::IsEmpty(Path::Attribute("A".into()))]);
    assert_eq!(split(or.clone(), 100, 10, usize::MAX), vec![or]);
}

#[test]
fn what_every_object_has_needs_no_words_and_is_exact() {
    let always = |column, class| Subject { always: true, ..Subject::new(column, class) };
    let there = |subject: &Subject| bare(subject.clone(), Op::IsNotNull);
    let (id, updated) = (always(Column::Id, Class::Int), always(Column::Updated, Class::Timestamp));
    assert_eq!(lower(&there(&id)), Lowered::Always);
    assert_eq!(lower(&negated(there(&updated))), Lowered::Never);
    assert_eq!(lower(&bare(updated.clone(), Op::IsNull)), Lowered::Never);
    assert_eq!(lower(&Pred::And(vec![there(&id), there(&updated)])), Lowered::Always);
    let one = leaf(id.clone(), Op::Eq, Literal::Int(7));
    let both = Pred::And(vec![there(&updated), one.clone()]);
    assert_eq!(pushed(&both), ("objectId = 7".into(), Fidelity::Exact));
    assert_eq!(lower(&Pred::Or(vec![one, there(&updated)])), Lowered::Always);
    let half = Pred::And(vec![there(&id), Pred::Local("an expression".into())]);
    assert!(is_local(&half) && is_local(&negated(half)));
    // Not NULL is something else: it says nothing of what a value is.
    assert_eq!(lower(&leaf(id.clone(), Op::Distinct, Literal::Null)), Lowered::Always);
    assert_eq!(lower(&leaf(id, Op::Same, Literal::Null)), Lowered::Never);
    assert!(is_local(&there(&Subject::new(Column::Updated, Class::Timestamp))));
}
