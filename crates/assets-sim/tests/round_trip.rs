//! Nothing that a value or a name contains can change what a query means: what `aql` writes is read back by the
//! parser of the simulator, which shares no code with it.
//!
//! Deterministic. `CASES=1000000` sets how many literals are tried, `SEED=n` where the sequence begins.
#![allow(missing_docs)]

use aql::expr::{Cmp, Expr, Path, Value};
use aql::{Class, Column, Kind, Leaf, Literal, Lowered, Op, Operand, Part, Pred, Stored, Subject, lower};
use assets_sim::ast::{self, Condition, Operator, Test};

/// A million in an optimised build, which takes seconds; a fifth of it in a debug build.
fn cases() -> u64 {
    let default = if cfg!(debug_assertions) { 200_000 } else { 1_000_000 };
    std::env::var("CASES").map_or(default, |n| n.parse().expect("CASES is a number"))
}

fn seed() -> u64 {
    std::env::var("SEED").map_or(1, |n| n.parse().expect("SEED is a number"))
}

/// splitmix64
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
    fn pick<T: Copy>(&mut self, pool: &[T]) -> T {
        pool[self.below(pool.len())]
    }
}

/// What breaks quoting, lexing, or the idea that a character is a byte.
const PIECES: &[&str] = &[
    "\"",
    "\"\"",
    "\\",
    "\\\\",
    "\\\"",
    "\"\\",
    "\\\\\"",
    "'",
    "''",
    "`",
    "(",
    ")",
    "((",
    "))",
    "[",
    "]",
    "{",
    "}",
    ",",
    ".",
    "..",
    ";",
    ":",
    "=",
    "==",
    "!=",
    "<",
    ">",
    "<=",
    ">=",
    "!",
    "?",
    "*",
    "%",
    "_",
    "$",
    "$1",
    "${",
    "${x}",
    "#",
    "&",
    "|",
    "/",
    "//",
    "/*",
    "*/",
    "--",
    "+",
    "-",
    "@",
    "~",
    "^",
    " ",
    "  ",
    "\u{a0}",
    "\u{3000}",
    "\u{2003}",
    "\u{2028}",
    "\u{2029}",
    "\u{85}",
    "\t",
    "\n",
    "\r",
    "\r\n",
    "\0",
    "\u{1}",
    "\u{7f}",
    "\u{80}",
    "\u{200b}",
    "\u{200c}",
    "\u{200d}",
    "\u{2060}",
    "\u{feff}",
    "\u{ad}",
    "\u{202e}",
    "\u{202a}",
    "\u{2066}",
    "\u{2069}",
    "\u{200f}",
    "שלום",
    "مرحبا",
    "e\u{301}",
    "\u{301}",
    "İ",
    "ı",
    "ß",
    "ẞ",
    "ſ",
    "K",
    "ς",
    "Σ",
    "名前",
    "🚀",
    "👩\u{200d}👩\u{200d}👧",
    "\u{d7ff}",
    "\u{e000}",
    "\u{fffd}",
    "\u{fffe}",
    "\u{ffff}",
    "\u{10000}",
    "\u{1f1e9}",
    "\u{10ffff}",
    "“",
    "”",
    "＂",
    "＼",
    "（",
    "and",
    "AND",
    "or",
    "OR",
    "not",
    "NOT",
    "in",
    "is",
    "empty",
    "EMPTY",
    "like",
    "startswith",
    "endswith",
    "having",
    "order by Key",
    "ORDER BY",
    "desc",
    "null",
    "true",
    "false",
    "objectTypeId",
    "objectId",
    "Key",
    "now()",
    "now(-1d)",
    "currentUser()",
    "a",
    "b",
    "x",
    "A",
    "Z",
    "0",
    "1",
    "9",
    "-1",
    "1e9",
    "3.14",
    "2024-01-31",
    "2024-01-31T10:00:00.000Z",
    "ITSM-1001",
    "\" or \"a\" = \"a",
    "\") or (\"x\" is EMPTY",
    "x\" OR objectId >= 0 OR \"",
    "\\\" or 1 = 1",
    "\" order by \"Key",
    "' or '1'='1",
    "name",
    "Name",
    "\u{d7}",
    "\u{130}",
];

fn text(rng: &mut Rng) -> String {
    let mut out = String::new();
    let pieces = match rng.below(1000) {
        0 => 2000, // very long
        1..50 => 40,
        _ => 1 + rng.below(8),
    };
    for _ in 0..pieces {
        match rng.below(10) {
            0 => out.extend(char::from_u32(rng.below(0x11_0000) as u32)),
            1 => out.extend(char::from_u32(rng.below(0x180) as u32)),
            _ => out.push_str(rng.pick(PIECES)),
        }
    }
    out
}

fn subject(column: Column, class: Class, multi: bool) -> Subject {
    let stored = Stored { target_is_seen: true, ..Stored::default() };
    Subject { multi, stored, ..Subject::new(column, class) }
}

fn attribute(name: &str, kind: Kind, part: Part) -> Column {
    Column::Attribute { name: name.into(), kind, part }
}

/// The condition beside the object type, as it is sent; panics when the query says anything else.
fn sent(expr: &Expr, origin: &dyn Fn() -> String) -> ast::Expr {
    let inner = match expr {
        Expr::Or(_) => format!("({expr})"),
        _ => expr.to_string(),
    };
    let query = format!("objectTypeId = 7 AND {inner} AND objectTypeId = 8");
    let read = assets_sim::parse(&query).unwrap_or_else(|e| panic!("{}: {}\n{query}", origin(), e.message));
    assert_eq!(read.order, None, "{}\n{query}", origin());
    let Some(ast::Expr::And(mut parts)) = read.filter else { panic!("{}: {query}", origin()) };
    let fence = |n: &str| {
        ast::Expr::Condition(Condition {
            path: ast::Path { names: vec![ast::Name { text: "objectTypeId".into(), quoted: false }] },
            test: Test::Compare(Operator::Equal, literal(n, false)),
        })
    };
    assert_eq!(parts.remove(0), fence("7"), "{}\n{query}", origin());
    assert_eq!(parts.pop(), Some(fence("8")), "{}\n{query}", origin());
    if parts.len() == 1 { parts.remove(0) } else { ast::Expr::And(parts) }
}

fn literal(text: &str, quoted: bool) -> ast::Operand {
    ast::Operand::Literal(ast::Literal { text: text.into(), quoted })
}

/// What the parser has to make of an expression: written down from the two grammars, not from either's code.
fn meant(expr: &Expr) -> ast::Expr {
    let path = |path: &Path| {
        let name = |text: &str, quoted| ast::Name { text: text.into(), quoted };
        ast::Path {
            names: match path {
                Path::Keyword(word) => vec![name(word, false)],
                Path::Attribute(text) => vec![name(text, true)],
                Path::KeyOf(text) => vec![name(text, true), name("Key", false)],
            },
        }
    };
    let value = |value: &Value| match value {
        Value::Text(text) => literal(text, true),
        Value::Int(n) => literal(&n.to_string(), false),
        Value::Double(x) => literal(&x.to_string(), false),
        Value::Bool(b) => literal(if *b { "true" } else { "false" }, false),
        Value::Param(n) => panic!("${n} is never sent"),
    };
    let condition = |p: &Path, test| ast::Expr::Condition(Condition { path: path(p), test });
    match expr {
        Expr::And(list) if list.len() > 1 => ast::Expr::And(list.iter().map(meant).collect()),
        Expr::Or(list) if list.len() > 1 => ast::Expr::Or(list.iter().map(meant).collect()),
        Expr::And(list) | Expr::Or(list) => meant(&list[0]),
        Expr::Compare(p, cmp, v) => {
            let operand = value(v);
            condition(
                p,
                match cmp {
                    Cmp::Eq => Test::Compare(Operator::Equal, operand),
                    Cmp::Same => Test::Compare(Operator::Same, operand),
                    Cmp::Ne => Test::Compare(Operator::NotEqual, operand),
                    Cmp::Lt => Test::Compare(Operator::Less, operand),
                    Cmp::Le => Test::Compare(Operator::AtMost, operand),
                    Cmp::Gt => Test::Compare(Operator::Greater, operand),
                    Cmp::Ge => Test::Compare(Operator::AtLeast, operand),
                    Cmp::Like => Test::Text { negated: false, part: ast::Part::Anywhere, operand },
                    Cmp::StartsWith => Test::Text { negated: false, part: ast::Part::Start, operand },
                    Cmp::EndsWith => Test::Text { negated: false, part: ast::Part::End, operand },
                },
            )
        }
        Expr::In(p, list) => {
            condition(p, Test::In { negated: false, list: list.iter().map(value).collect() })
        }
        Expr::NotIn(p, list) => {
            condition(p, Test::In { negated: true, list: list.iter().map(value).collect() })
        }
        Expr::Not(inner) => ast::Expr::Not(Box::new(meant(inner))),
        Expr::IsEmpty(p) => condition(p, Test::Empty { negated: false }),
        Expr::IsNotEmpty(p) => condition(p, Test::Empty { negated: true }),
        Expr::InParam(..) | Expr::NotInParam(..) | Expr::Verbatim(_) => {
            panic!("{expr:?} is not written from a value")
        }
    }
}

/// One level, so that `a AND (b AND c)` and `a AND b AND c` are the same.
fn flat(expr: ast::Expr) -> ast::Expr {
    let all = |list: Vec<ast::Expr>| list.into_iter().map(flat);
    match expr {
        ast::Expr::And(list) => ast::Expr::And(
            all(list).flat_map(|e| if let ast::Expr::And(inner) = e { inner } else { vec![e] }).collect(),
        ),
        ast::Expr::Or(list) => ast::Expr::Or(
            all(list).flat_map(|e| if let ast::Expr::Or(inner) = e { inner } else { vec![e] }).collect(),
        ),
        other => other,
    }
}

#[test]
fn every_text_is_read_back_as_itself_by_an_independent_parser() {
    let mut rng = Rng(seed());
    let operators =
        [Cmp::Eq, Cmp::Same, Cmp::Ne, Cmp::Lt, Cmp::Ge, Cmp::Like, Cmp::StartsWith, Cmp::EndsWith];
    for case in 0..cases() {
        // The printer by itself, with texts that no rule would send as well.
        let value = text(&mut rng);
        let expr = match rng.below(5) {
            3 => {
                let path = Path::Attribute("A b".into());
                Expr::NotIn(path, vec![Value::Text(value), Value::Text(text(&mut rng))])
            }
            4 => {
                let path = Path::Attribute("A b".into());
                Expr::Not(Box::new(Expr::Compare(path, rng.pick(&operators), Value::Text(value))))
            }
            0 => {
                Expr::In(Path::Attribute("A b".into()), vec![Value::Text(value), Value::Text(text(&mut rng))])
            }
            1 => Expr::Compare(Path::KeyOf("Ö".into()), rng.pick(&operators), Value::Text(value)),
            _ => Expr::Compare(Path::Keyword("Key"), rng.pick(&operators), Value::Text(value)),
        };
        assert_eq!(sent(&expr, &|| format!("case {case}")), meant(&expr), "case {case}");
    }
}

#[test]
fn a_pushed_comparison_compares_with_that_very_value_and_nothing_else() {
    let mut rng = Rng(seed() ^ 0xa5a5);
    let (mut pushed, mut whole, mut local) = (0u64, 0u64, 0u64);
    let rooms = [
        (subject(attribute("One Text", Kind::Text, Part::Value), Class::Text, false), "\"One Text\""),
        (subject(Column::Key, Class::Text, false), "Key"),
        (subject(attribute("Owner", Kind::Object, Part::Key), Class::Text, false), "\"Owner\".Key"),
        (subject(attribute("Owner", Kind::Object, Part::Value), Class::Text, false), "\"Owner\""),
        (subject(attribute("State", Kind::Status, Part::Value), Class::Text, false), "\"State\""),
        (subject(attribute("Boss", Kind::User, Part::AccountId), Class::Text, false), "\"Boss\""),
    ];
    let tags = subject(attribute("Tags", Kind::Text, Part::Value), Class::Text, true);
    for case in 0..cases() {
        let value = text(&mut rng);
        let origin = || format!("case {case}: {value:?}");
        let (subject, path) = &rooms[rng.below(rooms.len())];
        let is_text = *path == "\"One Text\"";
        let is_key = matches!(*path, "Key" | "\"Owner\".Key");
        let one = || Literal::Text(value.clone());
        let two = || Literal::List(vec![one(), Literal::Text("second".into()), Literal::Null]);
        let (subject, op, operand) = match rng.below(if is_text { 8 } else { 2 }) {
            0 => (subject.clone(), if rng.chance(90) { Op::Eq } else { Op::EqFolded }, one()),
            1 => (subject.clone(), Op::In, two()),
            2 => (subject.clone(), Op::Prefix, one()),
            3 => (subject.clone(), Op::Contains, one()),
            4 => (subject.clone(), rng.pick(&[Op::Like, Op::ILike]), one()),
            5 => (tags.clone(), Op::ArrayHas, one()),
            6 => (tags.clone(), Op::ArrayOverlaps, two()),
            _ => {
                (tags.clone(), Op::ArrayContains, Literal::List(vec![one(), Literal::Text("second".into())]))
            }
        };
        let path = if subject == tags { "\"Tags\"" } else { path };
        let pred = Pred::Leaf(Leaf { subject, op, operand: Operand::Value(operand) });
        let expr = match lower(&pred) {
            Lowered::Pushed(expr, _) => expr,
            Lowered::Local(_) => {
                local += 1;
                continue;
            }
            Lowered::Never | Lowered::Always => panic!("{}", origin()),
        };
        pushed += 1;
        let read = flat(sent(&expr, &origin));
        assert_eq!(read, flat(meant(&expr)), "{}", origin());
        // The texts that are asked for, each with the path it is asked of.
        let mut asked = Vec::new();
        texts(&read, &mut asked);
        // Keys are in capitals, whatever lower case is compared with.
        let folds_key = is_key && op == Op::EqFolded;
        let wanted = if folds_key { value.to_ascii_uppercase() } else { value.clone() };
        for (found_path, test, found) in &asked {
            let shown: Vec<String> = found_path
                .names
                .iter()
                .map(|n| if n.quoted { format!("\"{}\"", n.text) } else { n.text.clone() })
                .collect();
            assert_eq!(shown.join("."), path, "{}", origin());
            assert!(!found.contains("${") && !found.chars().any(char::is_control), "{}", origin());
            if op == Op::Like || op == Op::ILike {
                // Without its escapes a pattern holds every run.
                let plain = unescaped(&value);
                assert!(plain.contains(found.as_str()), "{}: {found:?}", origin());
            } else {
                let is_part = wanted.contains(found.as_str()) && !found.is_empty();
                assert!(is_part || found == "second", "{}: {found:?}", origin());
                // Equality is of the whole value; a part of it is asked for as a part.
                if *test == Asked::Equal {
                    assert!(*found == wanted || found == "second", "{}: {found:?}", origin());
                }
            }
            if is_key {
                assert_eq!(*test, Asked::Equal, "{}", origin());
            }
            whole += u64::from(*found == wanted);
        }
    }
    println!("{pushed} pushed, {whole} whole values among them, {local} at home");
    assert!(pushed > cases() / 4 && whole > cases() / 8 && local > cases() / 20);
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Asked {
    Equal,
    Part,
}

fn texts(expr: &ast::Expr, out: &mut Vec<(ast::Path, Asked, String)>) {
    match expr {
        ast::Expr::And(list) | ast::Expr::Or(list) => list.iter().for_each(|e| texts(e, out)),
        ast::Expr::Not(_) => panic!("a NOT that nobody wrote"),
        ast::Expr::Condition(condition) => {
            let mut push = |asked, operand: &ast::Operand| match operand {
                ast::Operand::Literal(l) => {
                    assert!(l.quoted, "{l:?}");
                    out.push((condition.path.clone(), asked, l.text.clone()));
                }
                other => panic!("{other:?}"),
            };
            match &condition.test {
                Test::Compare(Operator::Equal, operand) => push(Asked::Equal, operand),
                Test::In { negated: false, list } => list.iter().for_each(|o| push(Asked::Equal, o)),
                Test::Text { negated: false, operand, .. } => push(Asked::Part, operand),
                Test::Empty { negated: true } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// The pattern with `\` taken away where it escapes.
fn unescaped(pattern: &str) -> String {
    let mut out = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
}

#[test]
fn a_name_that_is_sent_is_read_as_that_one_name() {
    let mut rng = Rng(seed() ^ 0x0a3e);
    let mut safe = 0u64;
    for case in 0..cases() {
        // Names are shorter, and mostly made of what is safe.
        let mut name = String::new();
        for _ in 0..1 + rng.below(5) {
            match rng.below(8) {
                0 => name.extend(char::from_u32(rng.below(0x11_0000) as u32)),
                1..4 => name.push_str(rng.pick(PIECES)),
                _ => name.push_str(
                    rng.pick(&["Serial", "Number", " ", "ö", "Cost", "名前", "2024", "x", "%", "(inch)"]),
                ),
            }
        }
        let is_safe = aql::name::is_safe(&name);
        let part = rng.pick(&[Part::Value, Part::Key]);
        let subject = subject(attribute(&name, Kind::Object, part), Class::Text, false);
        let pred =
            Pred::Leaf(Leaf { subject, op: Op::Eq, operand: Operand::Value(Literal::Text("v".into())) });
        let lowered = lower(&pred);
        if !is_safe {
            assert!(matches!(lowered, Lowered::Local(_)), "case {case}: {name:?} goes out");
            continue;
        }
        safe += 1;
        let Lowered::Pushed(expr, _) = lowered else { panic!("case {case}: {name:?} stays at home") };
        let mut names = vec![ast::Name { text: name.clone(), quoted: true }];
        if part == Part::Key {
            names.push(ast::Name { text: "Key".into(), quoted: false });
        }
        let test = Test::Compare(Operator::Equal, literal("v", true));
        let wanted = ast::Expr::Condition(Condition { path: ast::Path { names }, test });
        assert_eq!(sent(&expr, &|| format!("case {case}: {name:?}")), wanted);
        // Nothing that a service could take for a path, an escape, a number or a placeholder.
        let odd = |c: char| matches!(c, '.' | '"' | '\\') || c.is_control();
        assert!(!name.contains(odd) && !name.bytes().all(|b| b.is_ascii_digit()), "case {case}: {name:?}");
    }
    println!("{safe} safe names");
    assert!(safe > cases() / 4);
}

#[test]
fn numbers_are_read_back_bit_by_bit() {
    let mut rng = Rng(seed() ^ 0x77);
    let path = || Path::Attribute("N".into());
    for case in 0..cases() / 4 {
        let x = match rng.below(3) {
            0 => f64::from_bits(rng.next()),
            1 => rng.next() as i64 as f64 / 1000.0,
            _ => rng.below(1_000_000) as f64 / 100.0 - 5000.0,
        };
        let n = rng.next() as i64 >> rng.below(64);
        let mut values = vec![Value::Int(n), Value::Int(i64::MIN), Value::Int(i64::MAX)];
        if x.is_finite() {
            values.push(Value::Double(x));
        }
        for value in values {
            let read = sent(&Expr::Compare(path(), Cmp::Ge, value.clone()), &|| format!("case {case}"));
            let ast::Expr::Condition(Condition { test: Test::Compare(Operator::AtLeast, operand), .. }) =
                read
            else {
                panic!("case {case}: {value:?}")
            };
            let ast::Operand::Literal(found) = operand else { panic!("case {case}") };
            match value {
                Value::Int(n) => assert_eq!(found.text.parse(), Ok(n), "case {case}"),
                Value::Double(x) => {
                    assert_eq!(found.text.parse::<f64>().map(f64::to_bits), Ok(x.to_bits()), "case {case}");
                    assert!(!found.text.contains(['e', 'E']), "plain decimals only: {}", found.text);
                }
                _ => unreachable!(),
            }
        }
    }
}

/// A random condition of conditions, each with a hostile text.
fn tree(rng: &mut Rng, depth: usize) -> Expr {
    match rng.below(if depth == 0 { 4 } else { 8 }) {
        0 => Expr::IsEmpty(Path::Attribute("E".into())),
        1 => Expr::IsNotEmpty(Path::KeyOf("Office".into())),
        2 => Expr::In(Path::Keyword("Key"), (0..1 + rng.below(3)).map(|_| Value::Text(text(rng))).collect()),
        3 => Expr::Compare(Path::Attribute("T".into()), Cmp::Like, Value::Text(text(rng))),
        4 | 5 => Expr::And((0..1 + rng.below(3)).map(|_| tree(rng, depth - 1)).collect()),
        _ => Expr::Or((0..1 + rng.below(3)).map(|_| tree(rng, depth - 1)).collect()),
    }
}

#[test]
fn and_and_or_are_read_back_in_the_structure_they_were_written_in() {
    let mut rng = Rng(seed() ^ 0x7ee);
    for case in 0..cases() / 20 {
        let expr = tree(&mut rng, 5);
        // Written beside the fences, an AND at the top is one with them.
        let meant = flat(meant(&expr));
        assert_eq!(flat(sent(&expr, &|| format!("case {case}"))), meant, "case {case}");
    }
}
