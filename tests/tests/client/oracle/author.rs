//! Random queries over the tables: joins, sub-selects and conditions. What is selected of them is in `select.rs`, letters
//! are in `letters.rs`, what stands beside plain comparisons is in `unusual.rs`.

use super::super::{Dice, Field, Maker, Table};
use super::query::{Compare, Manner, Query, Service, Tree};
use super::unusual;
use super::world::Stage;
use crate::live::quoted;

/// Whether a column shows texts with letters beyond ASCII.
fn is_lettered(field: &Field) -> bool {
    field.sql_type == "text" && field.values.iter().any(|v| !v.is_ascii())
}

const SETTINGS: &[&str] = &[
    "enable_hashjoin = off",
    "enable_mergejoin = off",
    "enable_nestloop = off",
    "enable_material = off",
    "enable_memoize = off",
    "enable_sort = off",
    "enable_hashagg = off",
    "join_collapse_limit = 1",
    "from_collapse_limit = 1",
    "work_mem = '64kB'",
    "enable_incremental_sort = off",
    "geqo_threshold = 2",
    "constraint_exclusion = on",
    "DateStyle = 'German, DMY'",
    "cursor_tuple_fraction = 1.0",
];

/// Makes queries.
pub struct Author<'a> {
    pub stage: &'a Stage,
    pub(super) maker: Maker<'a>,
    trees: Vec<Tree>,
    alias: usize,
    /// Tables that the query names.
    used: Vec<usize>,
    /// Parameters that are a LIMIT, an OFFSET or the like.
    amounts: Vec<usize>,
    /// Parameters that have one of these values in every execution.
    only: Vec<(String, Vec<String>)>,
    theme: Theme,
    /// Whether conditions stand beside plain comparisons; see `unusual.rs`.
    is_unusual: bool,
    /// LIMIT and OFFSET of [`Compare::Some`].
    pub(super) bounds: Option<(Amount, Amount)>,
}

/// What a query is mostly about: what lost rows is rare among everything else.
#[derive(Clone, Copy, PartialEq)]
enum Theme {
    Anything,
    /// Letters beyond ASCII.
    Letters,
    /// References to what may not be read or is gone.
    References,
    /// Columns of types that users write by hand.
    Types,
}

/// How many rows: as the text says, or as a parameter says.
#[derive(Clone, Copy)]
pub enum Amount {
    Fixed(u64),
    Given(usize),
}

impl Amount {
    fn of(self, values: &[String]) -> u64 {
        match self {
            Amount::Fixed(n) => n,
            Amount::Given(n) => values[n].parse().expect("an amount"),
        }
    }
}

pub type Source<'a> = (&'a Table, usize, String);

impl<'a> Author<'a> {
    pub fn query(stage: &'a Stage, seed: u64) -> Query {
        let mut dice = Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x00ac1e);
        let params = dice.chance(35).then(Vec::new);
        let theme = match dice.below(10) {
            0..2 => Theme::Letters,
            2..5 => Theme::References,
            5 => Theme::Types,
            _ => Theme::Anything,
        };
        let maker = Maker { dice, params, world: &stage.world };
        let mut author = Author {
            stage,
            maker,
            trees: Vec::new(),
            alias: 0,
            used: vec![],
            amounts: vec![],
            only: vec![],
            theme,
            is_unusual: unusual::is_unusual(seed),
            bounds: None,
        };
        let (text, tail, compare) = author.statement();
        let mut settings = vec![format!(
            "TimeZone = '{}'",
            author.maker.dice.pick(&[
                "UTC",
                "UTC",
                "America/Los_Angeles",
                "Pacific/Kiritimati",
                "Asia/Kathmandu"
            ])
        )];
        // A day in a column of instants begins when it does in the session's zone; the copies were made in UTC.
        let of_days = |n: &usize| stage.world.tables[*n].columns.iter().any(|f| f.name == "bought");
        if author.used.iter().any(of_days) {
            settings[0] = "TimeZone = 'UTC'".to_owned();
        }
        // Nested loops, and so scans with parameters, more often than the planner would.
        if text.matches("{}").count() > 1 && author.maker.dice.chance(50) {
            settings.extend(SETTINGS[..2].iter().map(|s| (*s).to_owned()));
        }
        for _ in 0..author.maker.dice.below(4) {
            settings.push(author.maker.dice.pick(SETTINGS).to_owned());
        }
        let params = author.maker.params.take().unwrap_or_default();
        let first: Vec<String> = params.iter().map(|(value, _)| value.clone()).collect();
        let others = |author: &mut Author<'_>| {
            (0..params.len()).map(|n| author.another(&params, n)).collect::<Vec<String>>()
        };
        let (manner, runs) = match (params.is_empty(), author.dice().below(10)) {
            (true, 0) => (Manner::Cursor, vec![first]),
            (true, 1) => (Manner::Prepared("force_generic_plan"), vec![first; 2]),
            (true, _) => (Manner::Plain, vec![first]),
            // The plan of the first values is the plan of the second ones.
            (false, 0..6) => {
                let (second, third) = (others(&mut author), others(&mut author));
                (Manner::Prepared("force_generic_plan"), vec![first, second, third])
            }
            (false, 6..8) => {
                let second = others(&mut author);
                (Manner::Prepared("force_custom_plan"), vec![first, second])
            }
            (false, _) => {
                let mut runs = vec![first; 6];
                runs.push(others(&mut author));
                (Manner::Prepared("auto"), runs)
            }
        };
        let bounds = match author.bounds {
            Some((limit, offset)) => runs.iter().map(|run| (limit.of(run), offset.of(run))).collect(),
            None => Vec::new(),
        };
        let types = params.into_iter().map(|(_, of)| of).collect();
        let service = Service::of(seed);
        Query {
            text,
            tail,
            trees: author.trees,
            compare,
            settings,
            manner,
            types,
            runs,
            bounds,
            service,
            is_join: false,
        }
    }

    /// Another value for a parameter, or the same.
    fn another(&mut self, params: &[(String, String)], n: usize) -> String {
        let (value, sql_type) = &params[n];
        if self.amounts.contains(&n) {
            return self.dice().below(15).to_string();
        }
        let name = format!("${}", n + 1);
        if let Some(at) = self.only.iter().position(|(of, _)| *of == name) {
            let values = self.only[at].1.clone();
            return values[self.dice().below(values.len())].clone();
        }
        match self.dice().below(12) {
            0..4 => value.clone(),
            4..6 => {
                let same: Vec<&String> =
                    params.iter().filter(|(_, of)| of == sql_type).map(|(v, _)| v).collect();
                same[self.dice().below(same.len())].clone()
            }
            6 => format!("NULL::{sql_type}"),
            _ => {
                let one = sql_type.trim_end_matches("[]");
                let stage = self.stage;
                let columns = self.used.iter().flat_map(|n| &stage.world.tables[*n].columns);
                let fitting: Vec<&Field> =
                    columns.filter(|f| f.sql_type == one && !f.values.is_empty()).collect();
                if fitting.is_empty() {
                    return value.clone();
                }
                let count = if one == sql_type { 1 } else { 1 + self.dice().below(3) };
                let mut list = Vec::new();
                for _ in 0..count {
                    let field = fitting[self.maker.dice.below(fitting.len())];
                    list.push(format!("{}::{one}", crate::live::literal(&self.maker.value(field))));
                }
                if one == sql_type { list.remove(0) } else { format!("ARRAY[{}]", list.join(", ")) }
            }
        }
    }

    /// A number of rows, as a constant or as a parameter.
    pub(super) fn amount(&mut self, below: usize) -> (String, Amount) {
        let n = self.dice().below(below);
        let given = self.dice().chance(70);
        match &mut self.maker.params {
            Some(params) if given => {
                params.push((n.to_string(), "bigint".to_owned()));
                self.amounts.push(params.len() - 1);
                (format!("${}", params.len()), Amount::Given(params.len() - 1))
            }
            _ => (n.to_string(), Amount::Fixed(n as u64)),
        }
    }

    pub(super) fn dice(&mut self) -> &mut Dice {
        &mut self.maker.dice
    }

    fn source(&mut self) -> Source<'a> {
        let stage = self.stage;
        let tables = &stage.world.tables;
        let any = self.dice().chance(25);
        let fitting: Vec<usize> = match self.theme {
            _ if any => Vec::new(),
            Theme::Anything => Vec::new(),
            Theme::Letters => {
                (0..tables.len()).filter(|n| tables[*n].columns.iter().any(is_lettered)).collect()
            }
            Theme::References => {
                let refers = |t: &Table| t.columns.iter().any(|f| f.name.ends_with("_key"));
                let restricted = |t: &Table| matches!(&*t.schema, "lim" | "part");
                (0..tables.len()).filter(|n| refers(&tables[*n]) && restricted(&tables[*n])).collect()
            }
            Theme::Types => {
                let by_hand = |t: &Table| matches!(&*t.name, "narrow" | "numbers" | "odd" | "vague");
                (0..tables.len()).filter(|n| by_hand(&tables[*n])).collect()
            }
        };
        if !fitting.is_empty() {
            let n = fitting[self.dice().below(fitting.len())];
            return self.named(n);
        }
        let n = match self.dice().below(10) {
            0..2 => tables.iter().position(|t| t.name == "specimen").expect("specimen"),
            2..6 => {
                let own: Vec<usize> = (0..tables.len())
                    .filter(|n| matches!(&*tables[*n].schema, "own" | "lim" | "part"))
                    .collect();
                own[self.dice().below(own.len())]
            }
            _ => self.dice().below(tables.len()),
        };
        self.named(n)
    }

    fn named(&mut self, n: usize) -> Source<'a> {
        self.alias += 1;
        self.used.push(n);
        (&self.stage.world.tables[n], n, format!("t{}", self.alias))
    }

    /// A mark for a new tree.
    fn tree(&mut self, table: &Table, alias: &str, depth: usize) -> String {
        let tree = self.grow(table, alias, depth);
        self.trees.push(tree);
        format!("\u{1}{}\u{1}", self.trees.len() - 1)
    }

    fn grow(&mut self, table: &Table, alias: &str, depth: usize) -> Tree {
        if depth == 0 || self.dice().chance(30) {
            return Tree::Leaf(self.leaf(table, alias));
        }
        match self.dice().below(6) {
            0 => Tree::Not(Box::new(self.grow(table, alias, depth - 1))),
            n => {
                let count = 2 + self.dice().below(2);
                let list = (0..count).map(|_| self.grow(table, alias, depth - 1)).collect();
                if n < 4 { Tree::And(list) } else { Tree::Or(list) }
            }
        }
    }

    fn leaf(&mut self, table: &Table, alias: &str) -> String {
        if self.is_unusual && self.dice().chance(60) {
            return self.unusual_leaf(table, alias);
        }
        if matches!(self.theme, Theme::Letters | Theme::References) && self.dice().chance(65) {
            return self.letters_or_references(table, alias);
        }
        if self.dice().chance(60) {
            return self.maker.leaf(table, alias);
        }
        let field = &table.columns[self.dice().below(table.columns.len())];
        let column = format!("{alias}.{}", quoted(&field.name));
        let value = self.maker.value(field);
        let stable = field.sql_type == "timestamp with time zone";
        match self.dice().below(20) {
            16 if !field.array => {
                let not = self.maker.not();
                let pattern = self.maker.pattern(&value.to_lowercase());
                format!("lower({column}::text) {not}LIKE {}", self.given(&pattern))
            }
            17 if field.sql_type == "text" && !field.array => {
                let part = self.maker.part(&value);
                let length = part.chars().count() + usize::from(self.dice().chance(20));
                format!("left({column}, {length}) = {}", self.given(&part))
            }
            18 if field.sql_type == "text" && !field.array => {
                let not = self.maker.not();
                let other = self.maker.value(field).to_lowercase();
                format!(
                    "lower({column}) {not}IN ({}, {})",
                    crate::live::literal(&value.to_lowercase()),
                    crate::live::literal(&other)
                )
            }
            19 if field.sql_type == "text" && !field.array => {
                let part = self.maker.part(&value);
                let op = self.maker.dice.pick(&["> 0", "<> 0", "= 0", "> 1"]);
                format!("position({} in {column}) {op}", self.given(&part))
            }
            0 => format!(
                "({}) IS {}",
                self.maker.leaf(table, alias),
                self.maker.dice.pick(&["TRUE", "NOT TRUE", "FALSE", "NOT FALSE", "UNKNOWN", "NOT UNKNOWN"])
            ),
            1 if !field.array => format!("coalesce({column}::text, 'x') = {}", self.given(&value)),
            2 if !field.array => format!("{column} = {} OR {column} IS NULL", self.typed(&value, field)),
            3 if !field.array => format!("{column}::text LIKE {}", self.given(&value)),
            4 => format!(
                "CASE WHEN {} THEN {} ELSE {} END",
                self.maker.leaf(table, alias),
                self.maker.leaf(table, alias),
                self.maker.leaf(table, alias)
            ),
            5 if stable => format!("{column} > now() - interval '{} days'", self.dice().below(3000)),
            6 if stable => format!("{column} >= current_date - {}", self.dice().below(3000)),
            7 if field.sql_type == "date" && !field.array => {
                format!("{column} <= current_date - {}", self.dice().below(4000))
            }
            8 if !field.array => {
                let (other, _, name) = self.source();
                let inner = self.tree(other, &name, 1);
                let same: Vec<&Field> = other
                    .columns
                    .iter()
                    .filter(|f| f.sql_type == field.sql_type && f.array == field.array)
                    .collect();
                if same.is_empty() {
                    return format!("{column} IS NULL");
                }
                let theirs = format!("{name}.{}", quoted(&same[self.maker.dice.below(same.len())].name));
                let from = format!("FROM {{}}{}.{} {name} WHERE {inner}", other.schema, other.name);
                match self.dice().below(5) {
                    0 => format!("{column} NOT IN (SELECT {theirs} {from})"),
                    1 => format!("{column} = ANY (ARRAY(SELECT {theirs} {from}))"),
                    2 => format!("{column} = (SELECT {theirs} {from} ORDER BY {name}.id LIMIT 1)"),
                    3 => {
                        format!("{column} <> ALL (ARRAY(SELECT {theirs} {from} ORDER BY {name}.id LIMIT 5))")
                    }
                    _ => format!("{column} IN (SELECT {theirs} {from})"),
                }
            }
            9 if !field.array => {
                let second = &table.columns[self.dice().below(table.columns.len())];
                if second.array {
                    return format!("{column} IS NOT NULL");
                }
                let theirs = self.maker.value(second);
                let mine = self.typed(&value, field);
                let theirs = self.typed(&theirs, second);
                format!("({column}, {alias}.{}) = ({mine}, {theirs})", quoted(&second.name))
            }
            10 if !field.array => {
                format!("{column} = nullif({}, {})", self.typed(&value, field), self.typed(&value, field))
            }
            11 => format!("{alias}.id = {}", self.dice().below(1000) + 990),
            12 => {
                let ids: Vec<String> =
                    (0..self.dice().below(90)).map(|_| (self.dice().below(1000) + 990).to_string()).collect();
                format!(
                    "{alias}.id {}IN (0, {})",
                    self.maker.not(),
                    [ids, vec!["-1".into()]].concat().join(", ")
                )
            }
            13 => {
                let schema = if table.schema == "fac" { "FAC" } else { "ITSM" };
                let keys: Vec<String> = (0..1 + self.dice().below(90))
                    .map(|_| format!("'{schema}-{}'", self.dice().below(1000) + 990))
                    .collect();
                format!("{alias}.key = ANY (ARRAY[{}])", keys.join(", "))
            }
            14 if matches!(&*field.sql_type, "citext" | "character varying" | "character")
                || field.sql_type.starts_with("character varying(") =>
            {
                self.maker.text_leaf(table, field, alias, &column)
            }
            _ if field.array => {
                format!("{column} = ARRAY[{}]::{}[]", self.typed(&value, field), field.sql_type)
            }
            _ => {
                let op = self.maker.dice.pick(&["=", "=", "<>", "<", ">="]);
                format!("{column} {op} {}", self.typed(&value, field))
            }
        }
    }

    pub(super) fn is_about_types(&self) -> bool {
        self.theme == Theme::Types
    }

    /// What has gone wrong most often: letters beyond ASCII, and references to what may not be read or is gone.
    fn letters_or_references(&mut self, table: &Table, alias: &str) -> String {
        let texts: Vec<&Field> = table.columns.iter().filter(|f| is_lettered(f)).collect();
        let keys: Vec<&Field> = table.columns.iter().filter(|f| f.name.ends_with("_key")).collect();
        if !keys.is_empty() && (texts.is_empty() || self.theme == Theme::References) {
            let field = keys[self.dice().below(keys.len())];
            // The key and the label of one reference.
            let label = field.name.trim_end_matches("_key");
            let either = table.columns.iter().find(|f| f.name == label && self.maker.dice.chance(40));
            return self.reference(either.unwrap_or(field), alias);
        }
        if texts.is_empty() {
            return self.maker.leaf(table, alias);
        }
        let field = texts[self.dice().below(texts.len())];
        self.letters(field, &format!("{alias}.{}", quoted(&field.name)))
    }

    /// A condition on the key or the label of a reference.
    fn reference(&mut self, field: &Field, alias: &str) -> String {
        let column = format!("{alias}.{}", quoted(&field.name));
        let value = match field.values.as_slice() {
            [] => "FAC-1001".to_owned(),
            values => values[self.maker.dice.below(values.len())].clone(),
        };
        let not = self.maker.dice.pick(&["", "NOT "]);
        match (self.dice().below(7), field.array) {
            (0 | 1, _) => format!("{column} IS {not}NULL"),
            (2, false) => format!("{column} IN ({}, 'ITSM-1001')", self.given(&value)),
            (3, false) => format!("{column} IS {not}DISTINCT FROM {}", self.given(&value)),
            (4, false) => format!("{column} = {} OR {column} IS NULL", self.given(&value)),
            (2, true) => format!("{column} && ARRAY[{}, 'ITSM-1001']", self.given(&value)),
            (3, true) => format!("{column} @> ARRAY[{}]", self.given(&value)),
            (_, true) => format!("{} = ANY ({column})", self.given(&value)),
            (_, false) => format!("{column} = {}", self.given(&value)),
        }
    }

    pub(super) fn given(&mut self, value: &str) -> String {
        self.maker.given(value, "text")
    }

    /// An expression as it is, or as a parameter of the type.
    pub(super) fn given_as(&mut self, expression: &str, sql_type: &str) -> String {
        match &mut self.maker.params {
            Some(params) => {
                params.push((expression.to_owned(), sql_type.to_owned()));
                format!("${}", params.len())
            }
            None => expression.to_owned(),
        }
    }

    /// What is given as this parameter has one of these values in every execution.
    pub(super) fn only(&mut self, given: &str, values: Vec<String>) {
        if given.starts_with('$') {
            self.only.push((given.to_owned(), values));
        }
    }

    fn typed(&mut self, value: &str, field: &Field) -> String {
        if self.maker.dice.chance(4) {
            return format!("NULL::{}", field.sql_type);
        }
        self.maker.given(value, &field.sql_type)
    }

    /// What joins two tables: a key and a reference to it where there is one.
    fn join_condition(&mut self, a: &Source<'a>, b: &Source<'a>) -> String {
        let stage = self.stage;
        for (one, two) in [(a, b), (b, a)] {
            let refs: Vec<&Field> = one
                .0
                .columns
                .iter()
                .zip(&stage.targets[one.1])
                .filter(|(_, targets)| targets.contains(&two.1))
                .map(|(field, _)| field)
                .collect();
            if !refs.is_empty() && self.dice().chance(70) {
                let field = refs[self.dice().below(refs.len())];
                let (column, key) = (format!("{}.{}", one.2, quoted(&field.name)), format!("{}.key", two.2));
                return match (field.array, self.dice().below(4)) {
                    (true, 0) => format!("{column} @> ARRAY[{key}]"),
                    (true, 1) => format!("{column} && ARRAY[{key}, 'ITSM-1001']"),
                    (true, _) => format!("{key} = ANY ({column})"),
                    (false, 0) => format!("{key} = {column}"),
                    (false, 1) => format!("{key} IN ({column}, 'ITSM-1001')"),
                    (false, _) => format!("{column} = {key}"),
                };
            }
        }
        let pairs: Vec<(&Field, &Field)> =
            a.0.columns
                .iter()
                .flat_map(|x| b.0.columns.iter().map(move |y| (x, y)))
                .filter(|(x, y)| x.sql_type == y.sql_type && !x.array && !y.array && x.sql_type != "jsonb")
                .collect();
        if pairs.is_empty() || self.dice().chance(15) {
            return format!("{}.id = {}.id", a.2, b.2);
        }
        let (x, y) = pairs[self.dice().below(pairs.len())];
        let (l, r) = (format!("{}.{}", a.2, quoted(&x.name)), format!("{}.{}", b.2, quoted(&y.name)));
        match self.dice().below(10) {
            0 if x.sql_type == "text" => format!("{l} LIKE left({r}, 4) || '%'"),
            1 if x.sql_type == "text" => format!("lower({l}) = lower({r})"),
            2 if x.sql_type == "text" => format!("starts_with({l}, left({r}, 5))"),
            3 => format!("{l} IS NOT DISTINCT FROM {r} AND {}.id < {}.id", a.2, b.2),
            4 => format!("({l} = {r} OR {}.id = {}.id + 1)", a.2, b.2),
            5 if x.sql_type == "bigint" => format!("{l} BETWEEN {r} - 3 AND {r} + 3"),
            6 => format!("{l} >= {r} AND {}.id BETWEEN {}.id - 9 AND {}.id", a.2, b.2, b.2),
            _ => format!("{l} = {r}"),
        }
    }

    /// A few of a table's rows, so that a forced nested loop is not thousands of requests.
    fn few(&mut self, source: &Source<'a>) -> String {
        let modulus = 3 + self.dice().below(12);
        format!("{}.id::bigint % {modulus} = {}", source.2, self.maker.dice.below(modulus))
    }

    fn statement(&mut self) -> (String, String, Compare) {
        let from = |s: &Source<'_>| format!("{{}}{}.{} {}", s.0.schema, s.0.name, s.2);
        let a = self.source();
        let kind =
            if self.theme != Theme::Anything && self.dice().chance(60) { 0 } else { self.dice().below(20) };
        if kind < 9 {
            // One table.
            let depth =
                if self.theme == Theme::Anything { self.dice().below(6) } else { self.dice().below(3) };
            let condition = self.tree(a.0, &a.2, depth);
            let where_clause =
                if self.dice().chance(8) { String::new() } else { format!(" WHERE {condition}") };
            return self.over(&[&a], format!(" FROM {}{where_clause}", from(&a)));
        }
        if kind < 11 {
            let condition = self.tree(a.0, &a.2, 3);
            let b = (a.0, a.1, a.2.clone());
            let other = self.tree(b.0, &b.2, 3);
            let word = self.maker.dice.pick(&["UNION ALL", "UNION", "INTERSECT", "EXCEPT", "EXCEPT ALL"]);
            let one = format!("SELECT {0}.key FROM {1} WHERE {condition}", a.2, from(&a));
            let two = format!("SELECT {0}.key FROM {1} WHERE {other}", b.2, from(&b));
            return (format!("{one} {word} {two}"), String::new(), Compare::Bag);
        }
        // Joins; the second table mostly one that the first refers to.
        let related: Vec<usize> = self.stage.targets[a.1].iter().flatten().copied().collect();
        let b = match !related.is_empty() && self.dice().chance(75) {
            true => {
                let n = related[self.dice().below(related.len())];
                self.named(n)
            }
            false => self.source(),
        };
        let on = self.join_condition(&a, &b);
        let depth = self.dice().below(3);
        let (one, two, few) = (self.tree(a.0, &a.2, depth), self.tree(b.0, &b.2, depth), self.few(&a));
        let word = self.maker.dice.pick(&["JOIN", "JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN"]);
        match kind {
            11 => {
                let not = self.maker.not();
                let inner = format!("SELECT 1 FROM {} WHERE {on} AND {two}", from(&b));
                self.over(
                    &[&a],
                    format!(" FROM {} WHERE {few} AND {one} AND {not}EXISTS ({inner})", from(&a)),
                )
            }
            12 => {
                let limit = 1 + self.dice().below(3);
                let inner = format!(
                    "SELECT {0}.id AS i FROM {1} WHERE {on} AND {two} ORDER BY {0}.id LIMIT {limit}",
                    b.2,
                    from(&b)
                );
                let word = self.maker.dice.pick(&["CROSS JOIN", "LEFT JOIN"]);
                let on = if word == "LEFT JOIN" { " ON true" } else { "" };
                let text = format!(
                    "SELECT {0}.key, l.i FROM {1} {word} LATERAL ({inner}) l{on} WHERE {few} AND {one}",
                    a.2,
                    from(&a)
                );
                (text, String::new(), Compare::Bag)
            }
            13 => {
                let inner = format!("SELECT count(*) FROM {} WHERE {on} AND {two}", from(&b));
                let text =
                    format!("SELECT {0}.key, ({inner}) AS n FROM {1} WHERE {few} AND {one}", a.2, from(&a));
                (text, String::new(), Compare::Bag)
            }
            14 => {
                let c = self.source();
                let (also, three) = (self.join_condition(&b, &c), self.tree(c.0, &c.2, 1));
                let second = self.maker.dice.pick(&["JOIN", "LEFT JOIN"]);
                let text = format!(
                    " FROM {} {word} {} ON {on} {second} {} ON {also} AND {three} WHERE {few} AND {one}",
                    from(&a),
                    from(&b),
                    from(&c)
                );
                self.over(&[&a, &b, &c], text)
            }
            15 => {
                let cte = format!(
                    "WITH w AS MATERIALIZED (SELECT {0}.* FROM {1} WHERE {few} AND {one})",
                    a.2,
                    from(&a)
                );
                let text = format!(
                    "{cte} SELECT {0}.key, {1}.key FROM w {0} {word} {2} ON {on} AND {two}",
                    a.2,
                    b.2,
                    from(&b)
                );
                (text, String::new(), Compare::Bag)
            }
            _ => {
                let place = if self.dice().chance(50) {
                    format!("ON {on} AND {two} WHERE {one}")
                } else {
                    format!("ON {on} WHERE {one} AND {two}")
                };
                self.over(&[&a, &b], format!(" FROM {} {word} {} {place} AND {few}", from(&a), from(&b)))
            }
        }
    }
}
