//! AQL that is printed, and what an independent parser reads in it.

use aql::Expr;
use aql::expr::{Cmp, Path, Value};
use assets_sim::ast;

/// Makes a condition out of the bytes, prints it, has the simulator's parser read it, and compares
/// the two; then has the parser read the bytes themselves.
pub fn printed_aql_is_read_as_it_was_meant(bytes: &[u8]) {
    let mut source = Source(bytes);
    let meant = source.expr(4);
    let text = meant.to_string();
    let read = assets_sim::parse(&text).unwrap_or_else(|error| panic!("{text}: {}", error.message));
    assert_eq!(read.order, None, "{text}");
    assert_eq!(read.filter, Some(expected(&meant)), "{text}");
    // The parser itself meets hostile input in tests of the simulator's users.
    let _ = assets_sim::parse(&String::from_utf8_lossy(bytes));
}

/// Bytes that are used up.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn text(&mut self, sendable: fn(&str) -> bool) -> String {
        let length = usize::from(self.byte() % 32).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        let text = String::from_utf8_lossy(taken).into_owned();
        // What must not be sent never reaches the printer.
        if sendable(&text) { text } else { "x".to_owned() }
    }

    fn path(&mut self) -> Path {
        match self.byte() % 6 {
            0 => Path::Keyword("objectId"),
            1 => Path::Keyword("Key"),
            2 => Path::KeyOf(self.text(aql::name::is_safe)),
            _ => Path::Attribute(self.text(aql::name::is_safe)),
        }
    }

    fn value(&mut self) -> Value {
        let mut eight = [0; 8];
        match self.byte() % 6 {
            0 => {
                eight.fill_with(|| self.byte());
                Value::Int(i64::from_le_bytes(eight))
            }
            1 => {
                eight.fill_with(|| self.byte());
                let number = f64::from_le_bytes(eight);
                Value::Double(if number.is_finite() { number } else { 0.5 })
            }
            2 => Value::Bool(self.byte().is_multiple_of(2)),
            _ => Value::Text(self.text(aql::name::is_sendable)),
        }
    }

    fn values(&mut self) -> Vec<Value> {
        (0..=self.byte() % 4).map(|_| self.value()).collect()
    }

    fn exprs(&mut self, depth: u32) -> Vec<Expr> {
        (0..=self.byte() % 3).map(|_| self.expr(depth)).collect()
    }

    fn expr(&mut self, depth: u32) -> Expr {
        const CMPS: [Cmp; 10] = [
            Cmp::Eq,
            Cmp::Same,
            Cmp::Ne,
            Cmp::Lt,
            Cmp::Le,
            Cmp::Gt,
            Cmp::Ge,
            Cmp::Like,
            Cmp::StartsWith,
            Cmp::EndsWith,
        ];
        match self.byte() % 10 {
            0 if depth > 0 => Expr::And(self.exprs(depth - 1)),
            1 if depth > 0 => Expr::Or(self.exprs(depth - 1)),
            2 if depth > 0 => Expr::Not(Box::new(self.expr(depth - 1))),
            3 => Expr::In(self.path(), self.values()),
            4 => Expr::NotIn(self.path(), self.values()),
            5 => Expr::IsEmpty(self.path()),
            6 => Expr::IsNotEmpty(self.path()),
            _ => Expr::Compare(self.path(), CMPS[usize::from(self.byte()) % CMPS.len()], self.value()),
        }
    }
}

fn expected(expr: &Expr) -> ast::Expr {
    let condition =
        |path: &Path, test| ast::Expr::Condition(ast::Condition { path: expected_path(path), test });
    let list = |values: &[Value]| values.iter().map(operand).collect();
    match expr {
        Expr::And(all) if all.len() == 1 => expected(&all[0]),
        Expr::Or(all) if all.len() == 1 => expected(&all[0]),
        Expr::And(all) => ast::Expr::And(all.iter().map(expected).collect()),
        Expr::Or(all) => ast::Expr::Or(all.iter().map(expected).collect()),
        Expr::Not(inner) => ast::Expr::Not(Box::new(expected(inner))),
        Expr::In(path, values) => condition(path, ast::Test::In { negated: false, list: list(values) }),
        Expr::NotIn(path, values) => condition(path, ast::Test::In { negated: true, list: list(values) }),
        Expr::IsEmpty(path) => condition(path, ast::Test::Empty { negated: false }),
        Expr::IsNotEmpty(path) => condition(path, ast::Test::Empty { negated: true }),
        Expr::Compare(path, cmp, value) => condition(path, compared(*cmp, operand(value))),
        Expr::InParam(..) | Expr::NotInParam(..) | Expr::Verbatim(_) => unreachable!("none is made"),
    }
}

fn compared(cmp: Cmp, operand: ast::Operand) -> ast::Test {
    use ast::Operator::*;
    let compare = |operator| ast::Test::Compare(operator, operand.clone());
    let text = |part| ast::Test::Text { negated: false, part, operand: operand.clone() };
    match cmp {
        Cmp::Eq => compare(Equal),
        Cmp::Same => compare(Same),
        Cmp::Ne => compare(NotEqual),
        Cmp::Lt => compare(Less),
        Cmp::Le => compare(AtMost),
        Cmp::Gt => compare(Greater),
        Cmp::Ge => compare(AtLeast),
        Cmp::Like => text(ast::Part::Anywhere),
        Cmp::StartsWith => text(ast::Part::Start),
        Cmp::EndsWith => text(ast::Part::End),
    }
}

fn expected_path(path: &Path) -> ast::Path {
    let name = |text: &str, quoted| ast::Name { text: text.to_owned(), quoted };
    ast::Path {
        names: match path {
            Path::Keyword(word) => vec![name(word, false)],
            Path::Attribute(attribute) => vec![name(attribute, true)],
            Path::KeyOf(attribute) => vec![name(attribute, true), name("Key", false)],
        },
    }
}

fn operand(value: &Value) -> ast::Operand {
    let (text, quoted) = match value {
        Value::Text(text) => (text.clone(), true),
        Value::Int(number) => (number.to_string(), false),
        Value::Double(number) => {
            let text = number.to_string();
            let read: f64 = text.parse().expect("a number");
            assert_eq!(read.to_bits(), number.to_bits(), "{text} is another number");
            (text, false)
        }
        Value::Bool(value) => (value.to_string(), false),
        Value::Param(_) => unreachable!("none is made"),
    };
    ast::Operand::Literal(ast::Literal { text, quoted })
}
