//! Values of other types than the column's: what goes out selects at least what PostgreSQL finds, and exactly that
//! where it says so.
#![allow(missing_docs)]

use aql::expr::{Cmp, Expr, Value};
use aql::{
    Class, Column, Facts, Fidelity, Kind, Leaf, Literal, Lowered, Op, Operand, Part, Pred, Subject, date,
    eval, facts, lower_with, number,
};

const DAY: i64 = 86_400_000_000;

/// xorshift64*: the same numbers on every machine.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn between(&mut self, from: i64, to: i64) -> i64 {
        from + (self.next() % (to - from + 1) as u64) as i64
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.next() as usize % of.len()]
    }
}

fn attribute(kind: Kind, class: Class) -> Subject {
    Subject::new(Column::Attribute { name: "X".into(), kind, part: Part::Value }, class)
}

fn pred(subject: &Subject, op: Op, value: Literal) -> Pred {
    Pred::Leaf(Leaf { subject: subject.clone(), op, operand: Operand::Value(value) })
}

/// Whether an object with this value, none for EMPTY, is selected. What is compared is written alike on both sides.
fn selects(expr: &Expr, stored: Option<&Value>) -> bool {
    match expr {
        Expr::And(list) => list.iter().all(|part| selects(part, stored)),
        Expr::Or(list) => list.iter().any(|part| selects(part, stored)),
        Expr::IsEmpty(_) => stored.is_none(),
        Expr::IsNotEmpty(_) => stored.is_some(),
        Expr::In(_, values) => stored.is_some_and(|stored| values.contains(stored)),
        Expr::NotIn(_, values) => stored.is_some_and(|stored| !values.contains(stored)),
        Expr::Compare(_, cmp, value) => stored.is_some_and(|stored| {
            let order = match (stored, value) {
                (Value::Int(a), Value::Int(b)) => a.cmp(b),
                (Value::Text(a), Value::Text(b)) => a.cmp(b),
                other => panic!("{other:?}"),
            };
            match cmp {
                Cmp::Eq => order.is_eq(),
                Cmp::Ne => order.is_ne(),
                Cmp::Lt => order.is_lt(),
                Cmp::Le => order.is_le(),
                Cmp::Gt => order.is_gt(),
                Cmp::Ge => order.is_ge(),
                other => panic!("{other:?}"),
            }
        }),
        other => panic!("{other:?}"),
    }
}

const OPS: &[Op] =
    &[Op::Eq, Op::Ne, Op::Lt, Op::Le, Op::Gt, Op::Ge, Op::Same, Op::Distinct, Op::In, Op::NotIn];

/// Holds what goes out against what SQL finds, for one object.
fn check(pred: &Pred, known: &Facts, stored: Option<&Value>, wanted: bool, what: &str) -> bool {
    match lower_with(pred, known) {
        Lowered::Never => {
            assert!(!wanted, "{what}: {pred:?} asks nothing");
            true
        }
        Lowered::Pushed(expr, fidelity) => {
            let found = selects(&expr, stored);
            assert!(found || !wanted, "{what}: {pred:?} loses a row by {expr}");
            assert!(
                found == wanted || fidelity == Fidelity::Inexact,
                "{what}: {pred:?} is not exactly {expr}"
            );
            true
        }
        Lowered::Local(_) | Lowered::Always => false,
    }
}

fn literal_of(value: Option<i64>, of: impl Fn(i64) -> Literal) -> Literal {
    value.map_or(Literal::Null, of)
}

#[test]
fn whole_numbers_are_compared_with_decimals_and_doubles_as_postgresql_does() {
    let mut dice = Dice(7);
    let (id, integer) = (Subject::new(Column::Id, Class::Int), attribute(Kind::Integer, Class::Int));
    let mut sent = 0;
    for _ in 0..20_000 {
        let near = dice.pick(&[0, 3, -3, 64, 1 << 53, -(1 << 53), i64::MAX - 4, i64::MIN + 4]);
        let value = near.saturating_add(dice.between(-4, 4));
        let is_empty = dice.next().is_multiple_of(8);
        let mut operand = || {
            let whole = near.saturating_add(dice.between(-4, 4));
            match dice.between(0, 2) {
                // As numeric: tenths are told apart from whole numbers, however long these are.
                0 => number::decimal(&format!("{whole}.{}", dice.pick(&["0", "00", "5", "001"]))),
                1 => number::decimal(&whole.to_string()),
                _ => {
                    let x = whole as f64 + dice.pick(&[0.0, 0.5, 0.25]);
                    let told = number::double(x);
                    // PostgreSQL compares the column as a double: the same order, or nothing is said.
                    if let Some(literal) = &told {
                        let ours = |op| eval::holds(op, &Literal::Int(value), literal);
                        assert_eq!(
                            (ours(Op::Lt), ours(Op::Eq)),
                            ((value as f64) < x, value as f64 == x),
                            "{value} {x}"
                        );
                    }
                    told
                }
            }
        };
        let (one, two) = (operand(), operand());
        let op = dice.pick(OPS);
        let operand = match op {
            Op::In | Op::NotIn => one.zip(two).map(|(a, b)| Literal::List(vec![a, b])),
            _ => one,
        };
        let Some(operand) = operand else { continue };
        for subject in [&id, &integer] {
            let shown = (!is_empty || subject.column == Column::Id).then_some(value);
            let wanted = eval::holds(op, &literal_of(shown, Literal::Int), &operand);
            let asked = pred(subject, op, operand.clone());
            sent +=
                usize::from(check(&asked, &facts::NONE, shown.map(Value::Int).as_ref(), wanted, "as it is"));
            // NOT of it, which is null where a value is missing and it is strict.
            let not =
                if matches!(op, Op::Same | Op::Distinct) { !wanted } else { !wanted && shown.is_some() };
            let asked = Pred::Not(Box::new(asked));
            check(&asked, &facts::NONE, shown.map(Value::Int).as_ref(), not, "negated");
        }
    }
    assert!(sent > 13_000, "{sent}");
}

#[test]
fn days_and_instants_are_compared_with_each_other_whatever_the_zone_and_its_change() {
    let mut dice = Dice(11);
    let mut days = Facts::default();
    [facts::DAY, facts::STAMP].iter().for_each(|fact| days.learn(fact, true));
    let day = attribute(Kind::Date, Class::Date);
    let stamp = Subject::new(Column::Updated, Class::Timestamp);
    let coarse = Subject::new(Column::Updated, Class::Coarse);
    let instant = |ms: i64| Value::Text(date::instant_text(ms * 1000).expect("a year"));
    let mut sent = 0;
    for _ in 0..20_000 {
        // Around midnight, and elsewhere.
        let near = dice.between(-3, 3) * DAY + dice.pick(&[0, 1, -1, 999, 1000, DAY / 2]) + 20_000 * DAY;
        let op = dice.pick(&[Op::Eq, Op::Lt, Op::Le, Op::Gt, Op::Ge, Op::In]);
        let made =
            |value: Literal| if op == Op::In { Literal::List(vec![Literal::Null, value]) } else { value };
        let known = if dice.next().is_multiple_of(2) { &days } else { &facts::NONE };
        // A day and a timestamp: one clock.
        let shown = 20_000 + dice.between(-4, 4);
        let wanted = eval::holds(op, &Literal::Date(shown as i32), &made(Literal::Timestamp(near)));
        let stored = Value::Text(date::day_text(shown).expect("a year"));
        let asked = pred(&day, op, made(Literal::Timestamp(near)));
        sent += usize::from(check(&asked, known, Some(&stored), wanted, "day"));
        // A day and an instant: the session's clock may stand a day elsewhere when rows are checked.
        let off = dice.between(-26, 26) * 3_600_000_000;
        let wanted = eval::holds(op, &Literal::Date(shown as i32), &made(Literal::Zoned(near + off)));
        let asked = pred(&day, op, made(Literal::Zoned(near)));
        sent += usize::from(check(&asked, known, Some(&stored), wanted, "day, zoned"));
        // An instant and a clock's time.
        let ms = near / 1000 + dice.between(-2, 2) * dice.pick(&[1, 1000, 3_600_000]);
        for subject in [&stamp, &coarse] {
            let wanted = eval::holds(op, &Literal::Timestamp(ms * 1000), &made(Literal::Zoned(near + off)));
            let asked = pred(subject, op, made(Literal::Zoned(near)));
            assert!(!matches!(lower_with(&asked, known), Lowered::Pushed(_, Fidelity::Exact)), "{asked:?}");
            sent += usize::from(check(&asked, known, Some(&instant(ms)), wanted, "instant"));
        }
    }
    assert!(sent > 65_000, "{sent}");
}
