//! Joins: two to four relations, foreign tables and local ones whose keys are repeated, NULL, missing or such as AQL has no
//! words for; every type of join, sub-selects in join conditions and select lists, to the side, and aggregates above.

use std::env;

use super::super::Dice;
use super::query::{Compare, Manner, Query, Service, Tree};
use super::relations::{ALIKE, Column, LOCALS, OFTEN, Of, Relation, local_columns};
use super::world::Stage;
use crate::live::quoted;

/// Every so many-th case is a join; all are with `JOINS=1`.
pub const EVERY: u64 = 4;

pub fn is_join(seed: u64) -> bool {
    env::var("JOINS").is_ok() || seed.is_multiple_of(EVERY)
}

struct Maker<'a> {
    stage: &'a Stage,
    dice: Dice,
    aliases: usize,
    trees: Vec<Tree>,
    /// Whether conditions may hold `$1`, a number.
    given: bool,
}

pub fn query(stage: &Stage, seed: u64) -> Query {
    let mut dice = Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x4a01_0b5e);
    let given = dice.chance(30);
    let mut maker = Maker { stage, dice, aliases: 0, trees: Vec::new(), given };
    let (text, tail, compare, bounds) = maker.statement();
    let dice = &mut maker.dice;
    let mut settings = vec!["TimeZone = 'UTC'".to_owned()];
    match dice.below(10) {
        0..5 => settings.extend(["enable_hashjoin = off".to_owned(), "enable_mergejoin = off".to_owned()]),
        5 => settings.push("enable_nestloop = off".to_owned()),
        6 => settings.push("enable_hashjoin = off".to_owned()),
        7 => settings.push("enable_mergejoin = off".to_owned()),
        _ => {}
    }
    for (often, setting) in [
        (25, "enable_memoize = off"),
        (25, "enable_material = off"),
        (30, "join_collapse_limit = 1"),
        (15, "from_collapse_limit = 1"),
        (10, "enable_seqscan = off"),
        (10, "enable_sort = off"),
        (10, "enable_hashagg = off"),
        (10, "assets_fdw.enable_batched_joins = off"),
        (10, "assets_fdw.join_batch_size = 1"),
        (20, "assets_fdw.join_batch_size = 7"),
        (10, "assets_fdw.join_batch_size = 2"),
        (15, "work_mem = '64kB'"),
        (10, "hash_mem_multiplier = 1"),
    ] {
        if dice.chance(often) {
            settings.push(setting.to_owned());
        }
    }
    let mut run = || if given { vec![(dice.below(260) as i64 - 20).to_string()] } else { Vec::new() };
    let runs = vec![run(), run(), run()];
    let (manner, runs) = match (given, maker.dice.below(10)) {
        (true, 0..7) => (Manner::Prepared("force_generic_plan"), runs),
        (true, _) => (Manner::Prepared("force_custom_plan"), runs[..2].to_vec()),
        (false, 0) => (Manner::Cursor, runs[..1].to_vec()),
        (false, 1) => (Manner::Prepared("force_generic_plan"), runs[..2].to_vec()),
        (false, _) => (Manner::Plain, runs[..1].to_vec()),
    };
    let bounds = bounds.map_or_else(Vec::new, |bound| vec![bound; runs.len()]);
    let types = if given { vec!["bigint".to_owned()] } else { Vec::new() };
    let service = Service::of(seed);
    Query {
        text,
        tail,
        trees: maker.trees,
        compare,
        settings,
        manner,
        types,
        runs,
        bounds,
        service,
        is_join: true,
    }
}

impl Maker<'_> {
    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("r{}", self.aliases)
    }

    fn local(&mut self) -> Relation {
        let alias = self.alias();
        let from = format!("loc.{}", self.dice.pick(&LOCALS));
        Relation { from, alias, columns: local_columns(), is_local: true, table: None }
    }

    fn foreign(&mut self) -> Relation {
        let alias = self.alias();
        let tables = &self.stage.world.tables;
        let has_key = |n: &usize| tables[*n].columns.iter().any(|field| field.name == "key");
        let name = self.dice.pick(&OFTEN);
        let often: Vec<usize> = (0..tables.len()).filter(|n| tables[*n].name == name).collect();
        let all: Vec<usize> = (0..tables.len()).filter(has_key).collect();
        let from = if self.dice.chance(70) && !often.is_empty() { &often } else { &all };
        let n = from[self.dice.below(from.len())];
        let column = |field: &super::super::Field| {
            let of = Of::named(&field.sql_type).filter(|_| field.name != "url")?;
            Some(Column { name: quoted(&field.name), of, array: field.array })
        };
        let columns = tables[n].columns.iter().filter_map(column).collect();
        let from = format!("{{}}{}.{}", tables[n].schema, quoted(&tables[n].name));
        Relation { from, alias, columns, is_local: false, table: Some(n) }
    }

    fn relation(&mut self) -> Relation {
        if self.dice.chance(45) { self.local() } else { self.foreign() }
    }

    fn column(&mut self, relation: &Relation, fits: impl Fn(&Column) -> bool) -> Option<Column> {
        let fitting: Vec<&Column> = relation.columns.iter().filter(|column| fits(column)).collect();
        (!fitting.is_empty()).then(|| fitting[self.dice.below(fitting.len())].clone())
    }

    /// Keys of `b`, and what holds some of them in `a`.
    fn by_key(&mut self, a: &Relation, b: &Relation) -> Option<String> {
        let named = |relation: &Relation, name: &str| {
            relation.columns.iter().find(|c| c.name.trim_matches('"') == name && !c.array).cloned()
        };
        let holds = |relation: &Relation, of: Option<usize>| -> Vec<Column> {
            match relation.table {
                None => relation
                    .columns
                    .iter()
                    .filter(|c| ["k", "ref", "ks"].contains(&c.name.as_str()))
                    .cloned()
                    .collect(),
                Some(n) => {
                    let fields = self.stage.world.tables[n].columns.iter().zip(&self.stage.targets[n]);
                    let refers = fields.filter(|(_, targets)| of.is_some_and(|of| targets.contains(&of)));
                    let names: Vec<String> = refers.map(|(field, _)| quoted(&field.name)).collect();
                    relation
                        .columns
                        .iter()
                        .filter(|c| names.contains(&c.name) || c.name == "\"key\"")
                        .cloned()
                        .collect()
                }
            }
        };
        let pairs = [(a, b, holds(a, b.table)), (b, a, holds(b, a.table))];
        let (from, to, columns) = &pairs[self.dice.below(2)];
        let key = match to.is_local {
            true => self.column(to, |c| ["k", "ref"].contains(&c.name.as_str()))?,
            false if self.dice.chance(20) && from.is_local => {
                let id = named(to, "id").filter(|id| id.of == Of::Whole)?;
                return Some(format!("{} = {}.id", to.path(&id), from.alias));
            }
            false => named(to, "key")?,
        };
        let column = columns.get(self.dice.below(columns.len()))?;
        Some(match column.array {
            true => format!("{} = ANY ({})", to.path(&key), from.path(column)),
            false => format!("{} = {}", to.path(&key), from.path(column)),
        })
    }

    fn equality(&mut self, a: &Relation, b: &Relation) -> Option<String> {
        if self.dice.chance(60)
            && let Some(by_key) = self.by_key(a, b)
        {
            return Some(by_key);
        }
        let (mut left, mut right) = (None, None);
        if a.is_local != b.is_local && self.dice.chance(85) {
            let (near, far) = if a.is_local { (a, b) } else { (b, a) };
            for _ in 0..8 {
                let (name, others) = ALIKE[self.dice.below(ALIKE.len())];
                let other = self.column(far, |c| others.contains(&c.name.trim_matches('"')));
                let one = self.column(near, |c| c.name == name);
                if let (Some(one), Some(other)) = (one, other)
                    && one.of.compares(other.of)
                    && !(one.array && other.array)
                {
                    (left, right) =
                        if a.is_local { (Some(one), Some(other)) } else { (Some(other), Some(one)) };
                    break;
                }
            }
        }
        let left = match left {
            Some(left) => left,
            None => self.column(a, |_| true)?,
        };
        let right = match right {
            Some(right) => right,
            None => self.column(b, |c| c.of.compares(left.of) && (!c.array || !left.array))?,
        };
        let (x, y) = (a.path(&left), b.path(&right));
        Some(match (left.array, right.array) {
            (false, false) => match self.dice.below(12) {
                0 if left.of == Of::Text => format!("lower({x}) = lower({y})"),
                1 => format!("{x} IS NOT DISTINCT FROM {y}"),
                2 if left.of == Of::Text => format!("{x} = upper({y})"),
                _ => format!("{x} = {y}"),
            },
            (true, _) => format!("{y} = ANY ({x})"),
            (_, true) => format!("{x} = ANY ({y})"),
        })
    }

    /// Something else beside an equality.
    fn extra(&mut self, a: &Relation, b: &Relation, depth: usize) -> Option<Tree> {
        let leaf = |text: String| Some(Tree::Leaf(text));
        let one = if self.dice.chance(50) { a } else { b };
        match self.dice.below(14) {
            0..3 => {
                let left = self.column(a, |c| !c.array && c.of != Of::Text)?;
                let right = self.column(b, |c| !c.array && c.of.compares(left.of))?;
                let op = self.dice.pick(&["<", "<=", ">", ">=", "<>", "="]);
                leaf(format!("{} {op} {}", a.path(&left), b.path(&right)))
            }
            3 => {
                let left = self.column(a, |c| !c.array && c.of == Of::Text)?;
                let right = self.column(b, |c| !c.array && c.of == Of::Text)?;
                let (x, y) = (a.path(&left), b.path(&right));
                let text = match self.dice.below(4) {
                    0 => format!("{x} <> {y}"),
                    1 => format!("{x} LIKE left({y}, 3) || '%'"),
                    2 => format!("NOT {x} = {y}"),
                    _ => format!("strpos({x}, {y}) > 0"),
                };
                leaf(text)
            }
            4 => {
                let column = self.column(one, |_| true)?;
                let not = self.dice.pick(&["", "NOT "]);
                leaf(format!("{} IS {not}NULL", one.path(&column)))
            }
            5..7 => {
                let column = self.column(one, |c| c.of == Of::Whole && !c.array)?;
                let op = self.dice.pick(&["<", ">", "<>", "="]);
                let value = if self.given && self.dice.chance(70) {
                    "$1".into()
                } else {
                    self.dice.below(130).to_string()
                };
                leaf(format!("{} {op} {value}", one.path(&column)))
            }
            7 => {
                let first = Tree::Leaf(self.equality(a, b)?);
                let second = Tree::Leaf(self.equality(a, b)?);
                Some(Tree::Or(vec![first, second]))
            }
            8 => Some(Tree::Not(Box::new(Tree::Leaf(self.equality(a, b)?)))),
            9 => leaf(self.equality(a, b)?),
            10..12 if depth > 0 => {
                let inner = self.relation();
                let by = self.condition(one, &inner, depth - 1);
                let (not, from) = (self.dice.pick(&["", "NOT "]), format!("{} {}", inner.from, inner.alias));
                let text = match self.dice.below(3) {
                    0 => format!("{not}EXISTS (SELECT FROM {from} WHERE {by})"),
                    1 => format!(
                        "(SELECT count(*) FROM {from} WHERE {by}) {} 1",
                        self.dice.pick(&["<", ">", "="])
                    ),
                    _ => {
                        let column = self.column(one, |c| !c.array)?;
                        let of = column.of;
                        let shown = self.column(&inner, |c| c.of == of && !c.array)?;
                        format!(
                            "{} {not}IN (SELECT {} FROM {from} WHERE {by})",
                            one.path(&column),
                            inner.path(&shown)
                        )
                    }
                };
                leaf(text)
            }
            _ => {
                let column = self.column(one, |c| c.of == Of::Flag && !c.array)?;
                leaf(one.path(&column))
            }
        }
    }

    /// The condition by which two relations are joined, as a mark in the text.
    fn condition(&mut self, a: &Relation, b: &Relation, depth: usize) -> String {
        let mut parts = Vec::new();
        for _ in 0..1 + self.dice.below(6) / 5 {
            parts.extend(self.equality(a, b).map(Tree::Leaf));
        }
        for _ in 0..[0, 0, 0, 1, 1, 2][self.dice.below(6)] {
            parts.extend(self.extra(a, b, depth));
        }
        self.mark(parts)
    }

    fn mark(&mut self, parts: Vec<Tree>) -> String {
        let parts = if parts.is_empty() { vec![Tree::Leaf("true".into())] } else { parts };
        self.trees.push(Tree::And(parts));
        format!("\u{1}{}\u{1}", self.trees.len() - 1)
    }

    fn statement(&mut self) -> (String, String, Compare, Option<(u64, u64)>) {
        let mut relations = vec![self.relation()];
        let mut text = format!("{} {}", relations[0].from, relations[0].alias);
        let mut shown = vec![relations[0].shown()];
        // One or more of them is foreign.
        for n in 0..1 + self.dice.below(3) {
            let before = relations[self.dice.below(relations.len())].clone();
            let next = match before.is_local {
                true if n == 0 || self.dice.chance(80) => self.foreign(),
                false if self.dice.chance(50) => self.local(),
                _ => self.relation(),
            };
            match self.dice.below(14) {
                0 | 1 => {
                    // To the side.
                    let by = self.condition(&before, &next, 1);
                    let (alias, inner) = (self.alias(), next.shown());
                    let from = format!("FROM {} {} WHERE {by}", next.from, next.alias);
                    let lateral = match self.dice.below(4) {
                        0 => format!("SELECT count(*) AS v {from}"),
                        1 => format!("SELECT max({inner}) AS v {from}"),
                        2 => {
                            format!("SELECT {inner} AS v {from} ORDER BY 1 LIMIT {}", 1 + self.dice.below(3))
                        }
                        _ => format!("SELECT {inner} AS v {from}"),
                    };
                    let join = self.dice.pick(&["CROSS JOIN LATERAL", "LEFT JOIN LATERAL"]);
                    let on = if join.starts_with("LEFT") { " ON true" } else { "" };
                    text = format!("{text} {join} ({lateral}) {alias}{on}");
                    shown.push(format!("{alias}.v"));
                    continue;
                }
                2 if self.dice.chance(60) => {
                    let left =
                        before.columns.iter().find(|c| ["k", "key"].contains(&c.name.trim_matches('"')));
                    let right =
                        next.columns.iter().find(|c| ["k", "key"].contains(&c.name.trim_matches('"')));
                    if let (Some(left), Some(right)) = (left, right)
                        && left.of == right.of
                    {
                        let on = format!("{} = {}", before.path(left), next.path(right));
                        text = format!("{text} FULL JOIN {} {} ON {on}", next.from, next.alias);
                    } else {
                        let by = self.condition(&before, &next, 1);
                        text = format!("{text} JOIN {} {} ON {by}", next.from, next.alias);
                    }
                }
                kind => {
                    let by = self.condition(&before, &next, 1);
                    let join = match kind {
                        3..8 => "LEFT JOIN",
                        8 => "RIGHT JOIN",
                        _ => "JOIN",
                    };
                    text = format!("{text} {join} {} {} ON {by}", next.from, next.alias);
                }
            }
            shown.push(next.shown());
            relations.push(next);
        }
        let mut conditions = Vec::new();
        for _ in 0..[0, 0, 0, 1, 1, 2][self.dice.below(6)] {
            let inner = self.relation();
            let outer = relations[self.dice.below(relations.len())].clone();
            let by = self.condition(&outer, &inner, 1);
            let (not, from) = (self.dice.pick(&["", "NOT "]), format!("{} {}", inner.from, inner.alias));
            let (x, y) = (outer.shown(), inner.shown());
            conditions.push(match self.dice.below(5) {
                0 | 1 => format!("{not}EXISTS (SELECT FROM {from} WHERE {by})"),
                2 if outer.is_local == inner.is_local => format!("{x} {not}IN (SELECT {y} FROM {from})"),
                2 if outer.is_local => format!("{}.k {not}IN (SELECT {y} FROM {from})", outer.alias),
                3 if !outer.is_local && inner.is_local => {
                    format!(
                        "{x} {not}IN (SELECT {}.k FROM {from} WHERE {}.k IS NOT NULL)",
                        inner.alias, inner.alias
                    )
                }
                _ => format!("{not}EXISTS (SELECT FROM {from} WHERE {by})"),
            });
        }
        let filter = relations[self.dice.below(relations.len())].clone();
        if self.dice.chance(30)
            && let Some(column) = self.column(&filter, |c| c.of == Of::Whole && !c.array)
        {
            let value = if self.given { "$1" } else { "40" };
            conditions.push(format!(
                "{} {} {value}",
                filter.path(&column),
                self.dice.pick(&["<", ">=", "<>"])
            ));
        }
        if self.dice.chance(25) {
            let inner = self.relation();
            let outer = relations[self.dice.below(relations.len())].clone();
            let by = self.condition(&outer, &inner, 0);
            let what =
                if self.dice.chance(50) { "count(*)".into() } else { format!("min({})", inner.shown()) };
            shown.push(format!("(SELECT {what} FROM {} {} WHERE {by})", inner.from, inner.alias));
        }
        let conditions: Vec<Tree> = conditions.into_iter().map(Tree::Leaf).collect();
        let filter = match conditions.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", self.mark(conditions)),
        };
        // A parameter that nothing uses has to be named all the same.
        let given = if self.given { ", $1" } else { "" };
        if self.dice.chance(15) && shown.len() > 1 {
            let (by, of) = (shown[0].clone(), shown[1].clone());
            let text = format!(
                "SELECT {by}, count({of}), min({of}), count(*){given} FROM {text}{filter} GROUP BY 1"
            );
            return (text, String::new(), Compare::Bag, None);
        }
        let text = format!("SELECT {}{given} FROM {text}{filter}", shown.join(", "));
        match self.dice.below(10) {
            0 | 1 => {
                let (limit, offset) = (1 + self.dice.below(12) as u64, self.dice.below(4) as u64);
                (text, format!(" LIMIT {limit} OFFSET {offset}"), Compare::Some, Some((limit, offset)))
            }
            2 => {
                let columns: Vec<String> = (1..=shown.len()).map(|n| n.to_string()).collect();
                let tail = format!(" ORDER BY {} LIMIT {}", columns.join(", "), 1 + self.dice.below(30));
                (text, tail, Compare::Ordered, None)
            }
            _ => (text, String::new(), Compare::Bag, None),
        }
    }
}
