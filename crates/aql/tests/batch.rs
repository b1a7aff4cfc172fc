//! Conditions for many bindings at once: what a batch asks for holds wherever one of its bindings does.
#![allow(missing_docs)]

use std::collections::HashMap;

use aql::batch::{self, Canon, canonical, keys, together};
use aql::expr::Expr;
use aql::pred::DEEPEST;
use aql::{Class, Column, Kind, Leaf, Literal, Lowered, Op, Operand, Part, Pred, Subject, eval, lower};

/// xorshift64*: the same numbers on every machine.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

fn attribute(name: &str, kind: Kind, class: Class) -> Subject {
    Subject::new(Column::Attribute { name: name.into(), kind, part: Part::Value }, class)
}

fn columns() -> Vec<Subject> {
    let many = |subject| Subject { multi: true, ..subject };
    vec![
        Subject::new(Column::Id, Class::Int),
        Subject::new(Column::Key, Class::Text),
        attribute("Name", Kind::Text, Class::Text),
        attribute("Short", Kind::Text, Class::Varchar(3)),
        attribute("Cores", Kind::Integer, Class::Int),
        attribute("Price", Kind::Double, Class::Double),
        attribute("Active", Kind::Boolean, Class::Bool),
        attribute("Bought", Kind::Date, Class::Date),
        attribute("Seen", Kind::DateTime, Class::Timestamp),
        attribute("IP", Kind::IpAddress, Class::Text),
        many(attribute("Tags", Kind::Text, Class::Text)),
        many(attribute("Ports", Kind::Integer, Class::Int)),
        attribute("Opaque", Kind::Other, Class::Opaque),
    ]
}

/// A value of a class from so few that many are equal.
fn value(dice: &mut Dice, class: Class) -> Literal {
    match class.unmodified() {
        Class::Int => Literal::Int(dice.below(4) as i64),
        Class::Double => Literal::Double(dice.pick(&[-0.0, 0.0, 1.5, f64::NAN, f64::INFINITY])),
        Class::Bool => Literal::Bool(dice.one_in(2)),
        Class::Date => Literal::Date(dice.below(3) as i32),
        Class::Timestamp => Literal::Timestamp(dice.below(3) as i64 * 86_400_000_000),
        _ => Literal::Text(dice.pick(&["a", "A", "b", " a", "abc", "a\tb", "{x}"]).into()),
    }
}

/// What a column may be compared with, among it what AQL has no words for.
fn operand(dice: &mut Dice, class: Class) -> Literal {
    match dice.below(14) {
        0 => Literal::Null,
        1 => Literal::Text(String::new()),
        2 if class == Class::Int => Literal::Between(dice.below(3) as i64),
        3 if class == Class::Date => Literal::Timestamp(dice.below(3) as i64 * 43_200_000_000),
        4 if matches!(class, Class::Date | Class::Timestamp) => {
            Literal::Zoned(dice.below(3) as i64 * 86_400_000_000)
        }
        _ => value(dice, class),
    }
}

fn list(dice: &mut Dice, class: Class) -> Literal {
    if dice.one_in(10) {
        return Literal::Null;
    }
    Literal::List((0..dice.below(4)).map(|_| operand(dice, class)).collect())
}

struct World {
    columns: Vec<Subject>,
    /// Of each operand: its class, and whether it is a list.
    operands: Vec<(Class, bool)>,
}

impl World {
    fn pred(&mut self, dice: &mut Dice, depth: usize) -> Pred {
        if depth > 0 && dice.one_in(2) {
            let list = |world: &mut World, dice: &mut Dice| {
                (0..1 + dice.below(3)).map(|_| world.pred(dice, depth - 1)).collect()
            };
            return match dice.below(5) {
                0 | 1 => Pred::And(list(self, dice)),
                2 | 3 => Pred::Or(list(self, dice)),
                _ => Pred::Not(Box::new(self.pred(dice, depth - 1))),
            };
        }
        if dice.one_in(12) {
            return Pred::Local("of the test's".into());
        }
        let subject = dice.pick(&self.columns);
        let scalar = [Op::Eq, Op::Eq, Op::Eq, Op::Ne, Op::Lt, Op::Le, Op::Gt, Op::Ge, Op::In, Op::NotIn];
        let others = [Op::Same, Op::Distinct, Op::Like, Op::NotLike, Op::Prefix, Op::Contains, Op::EqFolded];
        let nulls = [Op::IsNull, Op::IsNotNull];
        let ops = match subject.multi {
            true => {
                [&[Op::ArrayHas, Op::ArrayHas, Op::ArrayOverlaps, Op::ArrayContains][..], &nulls].concat()
            }
            false => [&scalar[..], &others, &nulls].concat(),
        };
        let op = dice.pick(&ops);
        let is_list = matches!(op, Op::In | Op::NotIn | Op::ArrayOverlaps | Op::ArrayContains);
        let operand = match op {
            Op::IsNull | Op::IsNotNull => Operand::None,
            _ if dice.one_in(3) => Operand::Value(one(dice, (subject.class, is_list))),
            _ => {
                self.operands.push((subject.class, is_list));
                Operand::Param(self.operands.len() - 1)
            }
        };
        Pred::Leaf(Leaf { subject, op, operand })
    }

    fn binding(&self, dice: &mut Dice) -> Vec<Literal> {
        self.operands.iter().map(|of| one(dice, *of)).collect()
    }

    fn object(&self, dice: &mut Dice) -> HashMap<Column, Literal> {
        let shown = |dice: &mut Dice, subject: &Subject| match subject {
            _ if dice.one_in(6) => Literal::Null,
            Subject { multi: true, class, .. } => {
                Literal::List((0..dice.below(3)).map(|_| value(dice, *class)).collect())
            }
            Subject { class, .. } => value(dice, *class),
        };
        self.columns.iter().map(|subject| (subject.column.clone(), shown(dice, subject))).collect()
    }
}

fn one(dice: &mut Dice, (class, is_list): (Class, bool)) -> Literal {
    if is_list { list(dice, class) } else { operand(dice, class) }
}

/// SQL's answer: none is NULL. Of what is not true, [`eval`] tells NULL from false where it knows the opposite.
fn truth(pred: &Pred, object: &HashMap<Column, Literal>) -> Option<bool> {
    match pred {
        Pred::And(list) => {
            let parts: Vec<_> = list.iter().map(|part| truth(part, object)).collect();
            if parts.contains(&Some(false)) {
                Some(false)
            } else {
                parts.iter().all(Option::is_some).then_some(true)
            }
        }
        Pred::Or(list) => {
            let parts: Vec<_> = list.iter().map(|part| truth(part, object)).collect();
            if parts.contains(&Some(true)) {
                Some(true)
            } else {
                parts.iter().all(Option::is_some).then_some(false)
            }
        }
        Pred::Not(inner) => truth(inner, object).map(|holds| !holds),
        Pred::Leaf(Leaf { subject, op, operand }) => {
            let value = &object[&subject.column];
            let operand = match operand {
                Operand::Value(value) => value,
                Operand::None => &Literal::Null,
                Operand::Param(_) => panic!("unbound"),
            };
            if eval::holds(*op, value, operand) {
                return Some(true);
            }
            let opposite = match op {
                Op::Prefix | Op::Contains | Op::ArrayHas | Op::ArrayContains | Op::ArrayOverlaps => {
                    *value != Literal::Null && *operand != Literal::Null
                }
                _ => eval::holds(op.negated(), value, operand),
            };
            opposite.then_some(false)
        }
        // It might be anything: as true as can be.
        Pred::Local(_) => Some(true),
    }
}

/// Whether a condition without NOT may select an object.
fn may_select(pred: &Pred, object: &HashMap<Column, Literal>) -> bool {
    match pred {
        Pred::And(list) => list.iter().all(|part| may_select(part, object)),
        Pred::Or(list) => list.iter().any(|part| may_select(part, object)),
        Pred::Not(_) => panic!("not normalised"),
        Pred::Leaf(leaf) if matches!(leaf.op, Op::ArrayNot | Op::NotPart) => true,
        Pred::Leaf(_) => truth(pred, object) == Some(true),
        Pred::Local(_) => true,
    }
}

#[test]
fn a_batch_condition_holds_wherever_one_of_its_bindings_does() {
    let (mut held, mut told_apart) = (0, 0);
    for seed in 1..=5_000 {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let mut world = World { columns: columns(), operands: Vec::new() };
        let pred = world.pred(&mut dice, 4);
        let varying: Vec<bool> = world.operands.iter().map(|_| !dice.one_in(4)).collect();
        let values = world.binding(&mut dice);
        let bindings: Vec<Vec<Literal>> = (0..1 + dice.below(5))
            .map(|_| {
                let mut binding = world.binding(&mut dice);
                for (n, varies) in varying.iter().enumerate() {
                    if !varies {
                        binding[n] = values[n].clone();
                    }
                }
                binding
            })
            .collect();
        let all = together(&pred, &values, &varying, Some(&bindings));
        let anything = together(&pred, &values, &varying, None);
        assert!(!all.any_leaf(|leaf| matches!(leaf.operand, Operand::Param(_))), "seed {seed}");
        assert!(!anything.any_leaf(|leaf| matches!(leaf.operand, Operand::Param(_))), "seed {seed}");
        for _ in 0..8 {
            let object = world.object(&mut dice);
            let wanted = bindings.iter().find(|binding| truth(&pred.bound(binding), &object) == Some(true));
            told_apart += usize::from(wanted.is_none() && !may_select(&all, &object));
            let Some(binding) = wanted else { continue };
            held += 1;
            for (what, pred) in [("all", &all), ("anything", &anything)] {
                assert!(may_select(pred, &object), "seed {seed}: {what}: {pred:?}\n{binding:?}\n{object:?}");
                assert_ne!(
                    lower(pred),
                    Lowered::Never,
                    "seed {seed}: {what}: {pred:?}\n{binding:?}\n{object:?}"
                );
            }
        }
    }
    assert!(held > 4_000 && told_apart > 4_000, "{held} {told_apart}");
}

#[test]
fn what_sql_calls_equal_has_one_canonical_form() {
    let classes = [Class::Text, Class::Varchar(3), Class::Int, Class::Double, Class::Bool, Class::Date];
    let classes = [&classes[..], &[Class::Timestamp, Class::Coarse, Class::Inet]].concat();
    let mut dice = Dice(7);
    let mut pairs = 0;
    for _ in 0..20_000 {
        let class = dice.pick(&classes);
        let (row, key) = (value(&mut dice, class), operand(&mut dice, class));
        let both_nan = |a: &Literal, b: &Literal| matches!((a, b), (Literal::Double(a), Literal::Double(b)) if a.is_nan() && b.is_nan());
        let equal = eval::holds(Op::Eq, &row, &key) || both_nan(&row, &key);
        // A key without one is not looked up.
        let Some(form) = canonical(class, &key) else { continue };
        let is_candidate = canonical(class, &row).as_ref() == Some(&form);
        assert_eq!(is_candidate, equal, "{class:?} {row:?} {key:?}");
        pairs += usize::from(equal);
    }
    assert!(pairs > 3_000);
    for (class, odd) in [
        (Class::Int, Literal::Null),
        (Class::Int, Literal::Between(1)),
        (Class::Int, Literal::Text(String::new())),
        (Class::Text, Literal::Text(String::new())),
        (Class::Date, Literal::Timestamp(0)),
        (Class::Timestamp, Literal::Zoned(0)),
        (Class::Timestamp, Literal::Date(0)),
        (Class::Text, Literal::List(vec![])),
        (Class::Opaque, Literal::Text("a".into())),
    ] {
        assert_eq!(canonical(class, &odd), None, "{class:?} {odd:?}");
    }
    assert_eq!(
        canonical(Class::Double, &Literal::Double(-f64::NAN)),
        canonical(Class::Double, &Literal::Double(f64::NAN))
    );
    assert_eq!(
        canonical(Class::Inet, &Literal::Text("10.0.0.0/8".into())),
        Some(Canon::Text("10.0.0.0/8".into()))
    );
}

fn param(subject: Subject, op: Op, n: usize) -> Pred {
    Pred::Leaf(Leaf { subject, op, operand: Operand::Param(n) })
}

fn text(s: &str) -> Literal {
    Literal::Text(s.into())
}

/// A condition on operand 0 over some values, as AQL; or why it stays at home.
fn asked(pred: &Pred, values: &[Literal]) -> String {
    let each: Vec<Vec<Literal>> = values.iter().map(|value| vec![value.clone()]).collect();
    match lower(&together(pred, &[Literal::Null], &[true], Some(&each))) {
        Lowered::Pushed(expr, _) => expr.to_string(),
        Lowered::Never => "never".into(),
        Lowered::Always => "always".into(),
        Lowered::Local(why) => format!("local: {why}"),
    }
}

#[test]
fn equalities_become_lists_and_what_is_true_of_nothing_is_left_out() {
    let name = attribute("Name", Kind::Text, Class::Text);
    let equal = param(name.clone(), Op::Eq, 0);
    let (a, b) = (text("a"), text("b"));
    assert_eq!(asked(&equal, &[a.clone(), Literal::Null, b.clone(), a.clone()]), r#""Name" in ("a", "b")"#);
    assert_eq!(asked(&equal, &[a.clone(), Literal::Null]), r#""Name" = "a""#);
    assert_eq!(asked(&equal, &[Literal::Null]), "never");
    let listed = param(name.clone(), Op::In, 0);
    let list = |items: &[Literal]| Literal::List(items.to_vec());
    assert_eq!(
        asked(&listed, &[list(std::slice::from_ref(&a)), list(&[]), list(&[b.clone(), a.clone()])]),
        r#""Name" in ("a", "b")"#
    );
    let same = param(name.clone(), Op::Same, 0);
    assert_eq!(asked(&same, &[a.clone(), b.clone()]), r#""Name" in ("a", "b")"#);
    assert!(asked(&same, &[a.clone(), Literal::Null]).starts_with("local"));
    let tags = Subject { multi: true, ..name };
    let overlap = r#""Name" in ("a", "b")"#;
    assert_eq!(asked(&param(tags.clone(), Op::ArrayHas, 0), &[a.clone(), b.clone()]), overlap);
    assert_eq!(
        asked(
            &param(tags, Op::ArrayOverlaps, 0),
            &[list(std::slice::from_ref(&a)), list(std::slice::from_ref(&b))]
        ),
        overlap
    );
    let cores = param(attribute("Cores", Kind::Integer, Class::Int), Op::Eq, 0);
    assert_eq!(
        asked(&cores, &[Literal::Between(1), Literal::Int(2), Literal::Int(3)]),
        r#""Cores" in (2, 3)"#
    );
    // No rule for a list.
    let ip = param(attribute("IP", Kind::IpAddress, Class::Text), Op::Eq, 0);
    assert_eq!(asked(&ip, &[text("::1"), text("::2")]), r#""IP" = "::1" OR "IP" = "::2""#);
}

#[test]
fn a_value_without_words_keeps_the_whole_list_at_home() {
    for subject in columns() {
        let op = if subject.multi { Op::ArrayHas } else { Op::Eq };
        let known = value(&mut Dice(3), subject.class);
        let asked = asked(&param(subject.clone(), op, 0), &[known, text("")]);
        assert!(asked.starts_with("local"), "{subject:?}: {asked}");
    }
}

#[test]
fn what_cannot_be_asked_for_at_once_is_dropped_from_an_and_and_keeps_an_or_at_home() {
    let cores = attribute("Cores", Kind::Integer, Class::Int);
    let range = param(cores.clone(), Op::Lt, 0);
    let fixed = Pred::Leaf(Leaf { subject: cores, op: Op::Eq, operand: Operand::Value(Literal::Int(4)) });
    let values = [Literal::Int(1), Literal::Int(2)];
    assert_eq!(asked(&Pred::And(vec![range.clone(), fixed.clone()]), &values), r#""Cores" = 4"#);
    assert!(asked(&Pred::Or(vec![range.clone(), fixed.clone()]), &values).starts_with("local"));
    // NOT (x <> $1) is an equality, NOT (x = $1) is none.
    let name = attribute("Name", Kind::Text, Class::Text);
    let not = |op| Pred::Not(Box::new(param(name.clone(), op, 0)));
    assert_eq!(asked(&not(Op::Ne), &[text("a"), text("b")]), r#""Name" in ("a", "b")"#);
    assert!(asked(&not(Op::Eq), &[text("a"), text("b")]).starts_with("local"));
}

#[test]
fn keys_and_ids_are_cut_by_the_page() {
    for (column, class, make) in [
        (Column::Key, Class::Text, (|n| text(&format!("K-{n}"))) as fn(usize) -> Literal),
        (Column::Id, Class::Int, |n| Literal::Int(n as i64)),
    ] {
        let pred = param(Subject::new(column, class), Op::Eq, 0);
        let each: Vec<Vec<Literal>> = (0..250).map(|n| vec![make(n)]).collect();
        let Lowered::Pushed(expr, _) = lower(&together(&pred, &[Literal::Null], &[true], Some(&each))) else {
            panic!("stays at home")
        };
        let parts: Vec<Expr> = aql::lower::split(expr, 1 << 20, 100, usize::MAX);
        let most: Vec<_> = parts.iter().map(aql::lower::most).collect();
        assert_eq!(most, [Some(100), Some(100), Some(50)]);
    }
}

#[test]
fn keys_are_the_equalities_that_every_row_satisfies() {
    let key = Subject::new(Column::Key, Class::Text);
    let tags = Subject { multi: true, ..attribute("Tags", Kind::Text, Class::Text) };
    let opaque = attribute("Opaque", Kind::Other, Class::Opaque);
    let pred = Pred::And(vec![
        param(key.clone(), Op::Eq, 0),
        Pred::Not(Box::new(Pred::Or(vec![param(attribute("Cores", Kind::Integer, Class::Int), Op::Ne, 1)]))),
        param(tags.clone(), Op::ArrayHas, 2),
        Pred::Or(vec![param(key.clone(), Op::Eq, 3), param(key.clone(), Op::Eq, 4)]),
        param(opaque, Op::Eq, 5),
        param(key.clone(), Op::Lt, 6),
        param(key, Op::Eq, 7),
    ]);
    let varying = [true, true, true, true, true, true, true, false];
    let found: Vec<_> = keys([&pred].into_iter(), &varying)
        .into_iter()
        .map(|k| (k.operand, k.multi, k.unique, k.class))
        .collect();
    let wanted =
        [(0, false, true, Class::Text), (1, false, false, Class::Int), (2, true, false, Class::Text)];
    assert_eq!(found, wanted);
}

#[test]
fn conditions_as_deep_as_they_may_be_are_taken() {
    let mut pred = param(Subject::new(Column::Key, Class::Text), Op::Eq, 0);
    for n in 0..DEEPEST {
        pred = match n % 3 {
            0 => Pred::And(vec![pred]),
            1 => Pred::Not(Box::new(pred)),
            _ => Pred::Or(vec![pred]),
        };
    }
    let each = [vec![text("A")]];
    let all = batch::together(&pred, &[Literal::Null], &[true], Some(&each));
    assert!(matches!(lower(&all), Lowered::Pushed(..) | Lowered::Local(_)));
    keys([&pred].into_iter(), &[true]);
}

#[test]
fn only_what_is_asked_for_one_by_one_is_a_list() {
    use aql::{Class, Column, Facts, Kind, Leaf, Op, Operand, Part, Pred, Subject};
    let attribute = |kind| Column::Attribute { name: "A".into(), kind, part: Part::Value };
    for (column, class, listed) in [
        (Column::Key, Class::Text, true),
        (Column::Id, Class::Int, true),
        (attribute(Kind::Text), Class::Text, true),
        (attribute(Kind::Integer), Class::Int, true),
        (attribute(Kind::Boolean), Class::Bool, true),
        (attribute(Kind::Double), Class::Double, false),
        (attribute(Kind::Date), Class::Date, false),
        (attribute(Kind::DateTime), Class::Timestamp, false),
        (Column::Created, Class::Timestamp, false),
        (attribute(Kind::Other), Class::Text, false),
    ] {
        let subject = Subject::new(column, class);
        let preds = [Pred::Leaf(Leaf { subject: subject.clone(), op: Op::Eq, operand: Operand::Param(0) })];
        let key = aql::batch::keys(preds.iter(), &[true]).remove(0);
        assert_eq!(aql::batch::can_list(&key, &preds, &Facts::default()), listed, "{subject:?}");
    }
}
