//! What a column's type makes of a value must not decide whether its object is found: rounded instants, texts
//! that are cut, parts that a kind of value lacks.
#![allow(missing_docs)]

use aql::facts;
use aql::{
    Class, Column, Facts, Fidelity, Kind, Leaf, Literal, Lowered, Op, Operand, Part, Pred, Stored, Subject,
    lower_with,
};

fn everything() -> Facts {
    let mut all = Facts::default();
    facts::KNOWN.iter().for_each(|name| all.learn(name, true));
    all
}

fn leaf(column: Column, class: Class, op: Op, operand: Operand) -> Pred {
    let stored = Stored { target_is_seen: true, ..Stored::default() };
    let subject = Subject { stored, ..Subject::new(column, class) };
    Pred::Leaf(Leaf { subject, op, operand })
}

fn attribute(kind: Kind, part: Part) -> Column {
    Column::Attribute { name: "A".into(), kind, part }
}

fn text(text: &str) -> Literal {
    Literal::Text(text.into())
}

fn pushed(pred: &Pred) -> (String, Fidelity) {
    match lower_with(pred, &everything()) {
        Lowered::Pushed(expr, fidelity) => (expr.to_string(), fidelity),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rounded_instant_is_asked_for_in_a_range_whatever_is_proven() {
    for column in [Column::Updated, Column::Created, attribute(Kind::DateTime, Part::Value)] {
        for op in [Op::Eq, Op::Lt, Op::Le, Op::Gt, Op::Ge] {
            let compare = |class| {
                leaf(column.clone(), class, op, Operand::Value(Literal::Timestamp(1_700_000_001_000_000)))
            };
            assert_eq!(pushed(&compare(Class::Timestamp)).1, Fidelity::Exact);
            let coarse = compare(Class::Coarse);
            assert_eq!(pushed(&coarse).1, Fidelity::Inexact, "{op:?}");
            let unproven = match lower_with(&compare(Class::Timestamp), &facts::NONE) {
                Lowered::Pushed(expr, _) => expr.to_string(),
                other => panic!("{other:?}"),
            };
            assert_eq!(pushed(&coarse).0, unproven, "{op:?}");
        }
    }
    // Whether there is one at all is not rounded.
    let there = leaf(attribute(Kind::DateTime, Part::Value), Class::Coarse, Op::IsNotNull, Operand::None);
    assert_eq!(pushed(&there).1, Fidelity::Exact);
}

#[test]
fn a_text_as_long_as_its_column_may_be_stored_with_blanks_behind_it() {
    let compare = |op, value| leaf(attribute(Kind::Text, Part::Value), Class::Varchar(3), op, value);
    let sent = |op, value| pushed(&compare(op, Operand::Value(value)));
    let list = |all: &[&str]| Literal::List(all.iter().map(|t| text(t)).collect());
    assert_eq!(sent(Op::Eq, text("ab")), ("\"A\" == \"ab\"".into(), Fidelity::Exact));
    assert_eq!(sent(Op::Eq, text("abc")), ("\"A\" startswith \"abc\"".into(), Fidelity::Inexact));
    assert_eq!(sent(Op::EqFolded, text("abc")).0, "\"A\" startswith \"abc\"");
    assert_eq!(
        sent(Op::In, list(&["ab", "abc", "x", "xyz"])),
        (
            "\"A\" startswith \"abc\" OR \"A\" startswith \"xyz\" OR \"A\" in (\"ab\", \"x\")".into(),
            Fidelity::Inexact
        )
    );
    assert_eq!(sent(Op::In, list(&["ab", "x"])).1, Fidelity::Exact);
    assert_eq!(sent(Op::Like, text("abc")).0, "\"A\" startswith \"abc\"");
    assert_eq!(sent(Op::Like, text("a%c")).0, "\"A\" startswith \"a\" AND \"A\" like \"c\"");
    assert_eq!(sent(Op::Like, text("%bc")).0, "\"A\" like \"bc\"");
    assert_eq!(sent(Op::Like, text("ab%")).0, "\"A\" startswith \"ab\"");
    assert_eq!(sent(Op::ILike, text("ü")).0, "\"A\" is not EMPTY", "another case, another length");
}

#[test]
fn a_name_as_long_as_its_column_stays_at_home_and_a_key_does_not() {
    let three = Operand::Value(text("abc"));
    for kind in [Kind::Status, Kind::Object, Kind::IpAddress] {
        let compare = leaf(attribute(kind, Part::Value), Class::Varchar(3), Op::Eq, three.clone());
        assert!(matches!(lower_with(&compare, &everything()), Lowered::Local(_)), "{kind:?}");
        let shorter = Operand::Value(text("ab"));
        let compare = leaf(attribute(kind, Part::Value), Class::Varchar(3), Op::Eq, shorter);
        assert_eq!(pushed(&compare).0, "\"A\" = \"ab\"");
    }
    let key = leaf(Column::Key, Class::Varchar(3), Op::Eq, Operand::Value(text("A-1")));
    assert_eq!(pushed(&key).0, "Key = \"A-1\"");
}

#[test]
fn a_part_that_a_kind_lacks_is_null_where_the_attribute_is_not_empty() {
    let kinds = [Kind::Integer, Kind::Double, Kind::Boolean, Kind::Date, Kind::DateTime, Kind::Text];
    for kind in kinds {
        for class in [Class::Text, Class::Int, Class::Opaque] {
            let there = leaf(attribute(kind, Part::Other), class, Op::IsNotNull, Operand::None);
            assert_eq!(pushed(&there).1, Fidelity::Inexact, "{kind:?}");
            let missing = leaf(attribute(kind, Part::Other), class, Op::IsNull, Operand::None);
            assert!(matches!(lower_with(&missing, &everything()), Lowered::Local(_)), "{kind:?}");
        }
    }
}
