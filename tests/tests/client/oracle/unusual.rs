//! Conditions that stand beside plain comparisons: every text function on every column that shows text, casts of either
//! side, collations, guards (`$1 = '' OR …`), rows, CASE, COALESCE and NULLIF, patterns that are put together, lists
//! that are sub-selects, arrays with NULLs, dates and times that are computed, numbers of other types, long lists.
//!
//! Cases of their own among the seeds: what the others mean stays as it was.

use super::super::{Dice, Field, Table};
use super::author::Author;
use crate::live::{literal, quoted};

/// Whether a case has such conditions.
pub fn is_unusual(seed: u64) -> bool {
    Dice(seed ^ 0x0dd_ba11).chance(50)
}

/// What a column's type is to those who write conditions.
#[derive(Clone, Copy, PartialEq)]
enum Family {
    Text,
    Whole,
    Number,
    Bool,
    Day,
    Moment,
    Other,
}

fn family(field: &Field) -> Family {
    match field.sql_type.as_str() {
        "text" => Family::Text,
        varchar if varchar.starts_with("character varying") => Family::Text,
        "bigint" | "integer" | "smallint" => Family::Whole,
        "double precision" | "real" => Family::Number,
        number if number.starts_with("numeric") => Family::Number,
        "boolean" => Family::Bool,
        "date" => Family::Day,
        moment if moment.starts_with("timestamp") => Family::Moment,
        _ => Family::Other,
    }
}

impl Author<'_> {
    pub(super) fn unusual_leaf(&mut self, table: &Table, alias: &str) -> String {
        let named = match self.dice().below(12) {
            0 => "key",
            1 => "id",
            _ => "",
        };
        let field = table.columns.iter().find(|f| f.name == named);
        let field = match field {
            Some(field) => field,
            None => &table.columns[self.dice().below(table.columns.len())],
        };
        let column = format!("{alias}.{}", quoted(&field.name));
        if field.array {
            return self.unusual_array(field, &column);
        }
        if self.dice().chance(22) && !matches!(&*field.sql_type, "json" | "tier") {
            return self.of_any_type(table, field, alias, &column);
        }
        match family(field) {
            Family::Text => self.unusual_text(field, &column),
            Family::Whole => self.unusual_whole(field, &column),
            Family::Number => self.unusual_number(field, &column),
            Family::Bool => self.unusual_truth(&column),
            Family::Day | Family::Moment => self.unusual_moment(field, &column),
            Family::Other => self.as_text(field, &column),
        }
    }

    /// A value of the column, of its own type.
    fn own(&mut self, field: &Field) -> String {
        let value = self.maker.value(field);
        self.maker.given(&value, &field.sql_type)
    }

    fn text_of(&mut self, field: &Field) -> String {
        let value = self.maker.value(field);
        self.given(&value)
    }

    /// A text that is cast: in every execution one that can be. What stands beside a column is worked out before any row
    /// is seen, as for an index.
    fn cast(&mut self, value: &str, sql_type: &str) -> String {
        let text = self.given(value);
        self.only(&text, vec![literal(value)]);
        format!("{text}::{sql_type}")
    }

    /// A list of the column's values as an array, of at most so many, with a NULL now and then.
    fn array_of(&mut self, field: &Field, most: usize) -> String {
        let mut list: Vec<String> = Vec::new();
        for _ in 0..self.dice().below(most + 1) {
            list.push(literal(&self.maker.value(field)));
        }
        if self.dice().chance(25) {
            list.push("NULL".to_owned());
        }
        let sql_type = format!("{}[]", field.sql_type);
        self.given_as(&format!("ARRAY[{}]::{sql_type}", list.join(", ")), &sql_type)
    }

    fn word(&mut self, list: &[&'static str]) -> &'static str {
        self.maker.dice.pick(list)
    }

    /// What can be written of a column of any type.
    fn of_any_type(&mut self, table: &Table, field: &Field, alias: &str, column: &str) -> String {
        let not = self.maker.not();
        let sql_type = &field.sql_type;
        match self.dice().below(20) {
            0 => format!("coalesce({column}, {}) = {}", self.own(field), self.own(field)),
            1 => format!("nullif({column}, {}) IS {not}NULL", self.own(field)),
            2 => format!("{column} = coalesce({}, {})", self.own(field), self.own(field)),
            3 => format!(
                "({column} = {}) IS {}",
                self.own(field),
                self.word(&["TRUE", "NOT TRUE", "FALSE", "NOT FALSE", "UNKNOWN", "NOT UNKNOWN"])
            ),
            4 => format!("({column} = {}) = {}", self.own(field), self.word(&["true", "false", "NULL"])),
            5 => format!("{column} BETWEEN SYMMETRIC {} AND {}", self.own(field), self.own(field)),
            6 => format!("{column} {not}IN (VALUES ({}), ({}))", self.own(field), self.own(field)),
            7 => format!("{column} NOT IN (VALUES ({}), (NULL))", self.own(field)),
            8 => format!("{column} = ANY (SELECT unnest({}))", self.array_of(field, 4)),
            9 => format!(
                "{column} {not}IN (SELECT x FROM unnest({}) x WHERE x IS NOT NULL)",
                self.array_of(field, 4)
            ),
            10 => format!(
                "{column} {} ({})",
                self.word(&["<> ANY", "= ALL", "<= ALL", "> ANY", "<> ALL"]),
                self.array_of(field, 3)
            ),
            11 => format!(
                "CASE {column} WHEN {} THEN true WHEN {} THEN NULL ELSE false END",
                self.own(field),
                self.own(field)
            ),
            12 => format!(
                "CASE WHEN {column} IS NULL THEN {} ELSE {column} END = {}",
                self.own(field),
                self.own(field)
            ),
            // Guards: what stands behind them is not to be looked at where they hold.
            13 => {
                let value = self.maker.value(field);
                let value = if self.dice().chance(50) { String::new() } else { value };
                match self.maker.params.is_some() {
                    true => {
                        let one = self.given_as(&literal(&value), "text");
                        let other = self.maker.value(field);
                        self.only(&one, vec![literal(""), literal(&other)]);
                        let op = self.word(&["=", "=", "<>"]);
                        format!("{one} = '' OR {column} {op} {one}::{sql_type}")
                    }
                    false => format!("{column} = {}", self.own(field)),
                }
            }
            14 => {
                let one = self.own(field);
                format!("{one} IS NULL OR {column} = {one}")
            }
            15 => {
                let second = &table.columns[self.dice().below(table.columns.len())];
                if second.array || matches!(&*second.sql_type, "json" | "jsonb") || sql_type == "jsonb" {
                    return format!("{column} IS NOT DISTINCT FROM {}", self.own(field));
                }
                let pair = format!("{column}, {alias}.{}", quoted(&second.name));
                let (a, b) = (self.own(field), self.own(second));
                match self.dice().below(6) {
                    0 => format!("({pair}) IN (({a}, {b}), ({}, {}))", self.own(field), self.own(second)),
                    1 => format!("ROW({pair}) IS {not}DISTINCT FROM ROW({a}, {b})"),
                    2 => format!("ROW({pair}) IS {not}NULL"),
                    3 => format!("({pair}) {} ({a}, {b})", self.word(&["<", ">=", "<>"])),
                    4 => format!("NOT (({pair}) = ({a}, {b}))"),
                    _ => format!("({pair}) = ({a}, {b})"),
                }
            }
            16 => format!("{column} {} {column}", self.word(&["=", "<>", ">="])),
            17 => format!("{column} IS {not}DISTINCT FROM NULL::{sql_type}"),
            18 => format!(
                "EXISTS (SELECT FROM unnest({}) x WHERE x IS {not}DISTINCT FROM {column})",
                self.array_of(field, 3)
            ),
            _ => self.as_text(field, column),
        }
    }

    /// The column as a text.
    fn as_text(&mut self, field: &Field, column: &str) -> String {
        if field.array {
            return format!("{column}::text <> ''");
        }
        let column = format!("{column}::text");
        match self.dice().below(6) {
            0 => format!("{column} = {}", self.text_of(field)),
            1 => format!("{column} = ANY (ARRAY[{}, {}])", self.text_of(field), self.text_of(field)),
            2 => format!("lower({column}) = lower({})", self.text_of(field)),
            3 => format!("coalesce({column}, '') <> {}", self.text_of(field)),
            4 => format!("{column}::varchar(9) = {}", self.text_of(field)),
            _ => {
                let value = self.maker.value(field);
                let pattern = self.maker.pattern(&value);
                format!("{column} LIKE {}", self.given(&pattern))
            }
        }
    }

    /// Text functions, on whatever shows text: statuses, references, people, addresses.
    fn unusual_text(&mut self, field: &Field, column: &str) -> String {
        let not = self.maker.not();
        let value = self.maker.value(field);
        let other = self.maker.value(field);
        let part = self.maker.part(&value);
        // Not the wildcards of a pattern by chance.
        let plain: String = part.chars().filter(|c| !"%_\\!".contains(*c)).collect();
        match self.dice().below(30) {
            0 => format!(
                "lower({column}) {} {}",
                self.word(&["=", "=", "<>"]),
                self.given(&value.to_lowercase())
            ),
            1 => format!("upper({column}) = {}", self.given(&value.to_uppercase())),
            2 => format!(
                "lower({column}) {not}IN ({}, {})",
                literal(&value.to_lowercase()),
                literal(&other.to_lowercase())
            ),
            3 => {
                let list =
                    format!("ARRAY[{}, {}]", literal(&value.to_lowercase()), literal(&other.to_lowercase()));
                format!("lower({column}) = ANY ({})", self.given_as(&list, "text[]"))
            }
            4 => format!("lower({column}) = lower({})", self.given(&value)),
            5 => format!("{column} {not}ILIKE {}", self.given(&value.replace('\\', "_"))),
            6 => format!("{column} ILIKE '%' || {} || '%'", self.given(&plain)),
            7 => format!("{column} LIKE {} || '%'", self.given(&plain)),
            8 => format!("{column} {not}LIKE '%' || {}", self.given(&plain)),
            9 => format!("{column} LIKE {} ESCAPE '!'", self.given(&format!("{plain}!%%"))),
            10 => format!(
                "{column} {} (ARRAY[{}, {}])",
                self.word(&["LIKE ANY", "ILIKE ANY", "LIKE ALL", "NOT LIKE ALL", "NOT ILIKE ANY"]),
                self.given(&format!("{plain}%")),
                self.given(&format!("%{}", other.replace('\\', "_")))
            ),
            11 => format!("starts_with({column}, {})", self.given(&part)),
            12 => format!("left({column}, {}) = {}", part.chars().count(), self.given(&part)),
            13 => format!("right({column}, {}) = {}", part.chars().count(), self.given(&part)),
            14 => format!("substr({column}, 1, {}) = {}", part.chars().count(), self.given(&part)),
            15 => format!("strpos({column}, {}) {}", self.given(&part), self.word(&["> 0", "<> 0", "= 1"])),
            16 => format!("strpos(lower({column}), {}) > 0", self.given(&part.to_lowercase())),
            17 => format!("trim({column}) = {}", self.given(value.trim())),
            18 => format!("{column} || '' = {}", self.given(&value)),
            19 => {
                format!("{column} COLLATE \"C\" {} {}", self.word(&["=", "=", "<", ">="]), self.given(&value))
            }
            20 => format!("{column} {not}LIKE {} COLLATE \"C\"", self.given(&format!("{plain}%"))),
            21 => format!("lower({column} COLLATE \"C\") = {}", self.given(&value.to_ascii_lowercase())),
            22 => format!("{column}::char({}) = {}", 1 + value.chars().count(), self.given(&value)),
            23 => format!("{column}::varchar({}) = {}", 1 + part.chars().count(), self.given(&part)),
            24 => format!("{column} = {}::varchar", self.given(&value)),
            25 => format!("{column} = {}::varchar({})", self.given(&value), 1 + part.chars().count()),
            26 => format!("{column} = {}::char(30)", self.given(&value)),
            27 => format!(
                "{column} {} {}",
                self.word(&["~", "~*", "!~"]),
                self.word(&["'^[a-m]'", "'[0-9]$'", "'in'", "'^$'"])
            ),
            28 => {
                // Longer than one query may be.
                let mut list: Vec<String> = (0..40 + self.dice().below(300))
                    .map(|n| literal(&format!("{n} of none that is there")))
                    .collect();
                list.push(literal(&value));
                list.insert(0, literal(&other));
                let list = format!("ARRAY[{}]::text[]", list.join(", "));
                format!("{column} = ANY ({})", self.given_as(&list, "text[]"))
            }
            _ => format!("coalesce({column}, '') {} {}", self.word(&["=", "<>"]), self.given(&value)),
        }
    }

    /// A number as a value of another type that it fits.
    fn number(&mut self, value: &str) -> String {
        let whole: f64 = value.parse().unwrap_or(1.0);
        let small = whole.abs() < 30_000.0;
        let rounded = if small { whole.round().to_string() } else { "7".to_owned() };
        match self.dice().below(8) {
            0 => self.maker.given(&rounded, "smallint"),
            1 => self.maker.given(&rounded, "integer"),
            2 => self.maker.given(&format!("{rounded}.5"), "numeric"),
            3 => self.maker.given(&format!("{rounded}.0"), "numeric"),
            4 => self.maker.given(&format!("{rounded}.5"), "double precision"),
            5 => self.maker.given(&rounded, "real"),
            6 => format!("({} + 1)", self.maker.given(&rounded, "bigint")),
            _ => self.cast(&rounded, "bigint"),
        }
    }

    fn unusual_whole(&mut self, field: &Field, column: &str) -> String {
        let not = self.maker.not();
        let value = self.maker.value(field);
        let op = self.word(&["=", "=", "<>", "<", "<=", ">", ">="]);
        match self.dice().below(15) {
            0 => format!("{column} % 7 = {}", self.dice().below(7)),
            1 => format!("{column} + 0 {op} {}", self.own(field)),
            2 => format!("-{column}::bigint {op} {}", self.number(&value)),
            3 => format!("{column} {not}IN ({}, {})", self.number(&value), self.number(&value)),
            4 => format!("{column} {not}BETWEEN {} AND {}", self.number(&value), self.number(&value)),
            5 => format!(
                "{column} {op} {}",
                self.word(&[
                    "9223372036854775807",
                    "-9223372036854775808",
                    "0",
                    "-1",
                    "1e3",
                    "2.5",
                    "'NaN'::float8",
                    "'Infinity'::float8",
                    "99999999999999999999"
                ])
            ),
            6 => format!(
                "{column} {} ({}::bigint[])",
                self.word(&["= ANY", "<> ALL"]),
                self.word(&["'{1,2,NULL}'", "'{}'", "'{NULL}'", "'{8,16,32,64}'"])
            ),
            7 => format!("{column} = ANY ({})", self.array_of(field, 200)),
            8 => format!("{column}::numeric {op} {}", self.number(&value)),
            9 => format!("{column} IS {not}DISTINCT FROM {}", self.number(&value)),
            10 => format!("{column}::text LIKE {}", self.given(&format!("{}%", &value[..1]))),
            11 => {
                let of = self.word(&["numeric[]", "double precision[]", "real[]"]);
                let list = format!("ARRAY[{value}, {value}.5, NULL]::{of}");
                format!("{not}({column} {} ({}))", self.word(&["= ANY", "<> ALL"]), self.given_as(&list, of))
            }
            _ => format!("{column} {op} {}", self.number(&value)),
        }
    }

    fn unusual_number(&mut self, field: &Field, column: &str) -> String {
        let value = self.maker.value(field);
        let op = self.word(&["=", "=", "<>", "<", "<=", ">", ">="]);
        match self.dice().below(8) {
            0 => format!(
                "{column} {op} {}",
                self.word(&[
                    "'NaN'::float8",
                    "'Infinity'::float8",
                    "-0.0::float8",
                    "1e-300::float8",
                    "1e300::float8",
                    "0"
                ])
            ),
            1 => format!("{column}::numeric {op} {}", self.number(&value)),
            2 => format!("{column} {op} {}", self.cast(&value, "numeric")),
            3 => format!("{column} {op} {}", self.cast(&value, "double precision")),
            4 => format!("{column} = ANY ('{{0,NULL,NaN,{value}}}'::double precision[])"),
            5 => format!("abs({column}::numeric) {op} {}", self.number(&value)),
            _ => format!("{column} {op} {}", self.number(&value)),
        }
    }

    fn unusual_truth(&mut self, column: &str) -> String {
        let not = self.maker.not();
        let value = self.word(&["true", "false"]);
        match self.dice().below(10) {
            0 => format!("coalesce({column}, {value})"),
            1 => format!("NOT coalesce({column}, {value})"),
            2 => format!("{column} = (1 = {})", self.maker.given("1", "integer")),
            3 => format!("{column}::int = 1"),
            4 => format!("{column}::text = '{value}'"),
            5 => format!("{column} {not}IN ({})", self.maker.given(value, "boolean")),
            6 => format!("{column} = ANY ({})", self.given_as("'{t,NULL}'::boolean[]", "boolean[]")),
            7 => format!(
                "{column} {} {}",
                self.word(&["<", ">", "<=", ">=", "<>"]),
                self.maker.given(value, "boolean")
            ),
            8 => format!("({column} IS NOT TRUE) = {}", self.maker.given(value, "boolean")),
            _ => format!(
                "{column} IS {not}DISTINCT FROM {}",
                self.given_as(&format!("{value}::boolean"), "boolean")
            ),
        }
    }

    fn unusual_moment(&mut self, field: &Field, column: &str) -> String {
        let not = self.maker.not();
        let value = self.maker.value(field);
        let day: String = value.chars().take(10).collect();
        let op = self.word(&["=", "<", "<=", ">", ">=", ">=", "<>"]);
        let hours = self.dice().below(40);
        match self.dice().below(21) {
            0 => format!("{column} + interval '1 day' {op} {}", self.own(field)),
            1 => format!(
                "{column} {op} {} - interval '{hours} hours'",
                self.maker.given(&value, "timestamptz")
            ),
            2 => format!("{column} {op} {} + time '23:30'", self.cast(&day, "date")),
            3 => format!("{column}::date {op} {}", self.maker.given(&day, "date")),
            4 => format!(
                "date_trunc('{}', {column}) = date_trunc('month', {})",
                self.word(&["month", "day"]),
                self.cast(&day, "timestamptz")
            ),
            5 => format!("extract(year FROM {column}) {op} {}", self.number(&day[..4])),
            6 => format!(
                "{column}::timestamptz AT TIME ZONE '{}' {op} {}",
                self.word(&["UTC", "Asia/Tokyo"]),
                self.maker.given(&value, "timestamp")
            ),
            7 => format!(
                "{column} {op} {} AT TIME ZONE '{}'",
                self.cast(&day, "timestamp"),
                self.word(&["UTC", "Asia/Tokyo", "America/New_York"])
            ),
            8 => format!("{column}::timestamp {op} {}", self.maker.given(&value, "timestamp")),
            9 => format!(
                "{column} {op} '{}'::{}",
                self.word(&[
                    "infinity",
                    "-infinity",
                    "0044-03-15 BC",
                    "9999-12-31",
                    "epoch",
                    "0001-01-01",
                    "12024-01-01"
                ]),
                self.word(&["date", "timestamptz", "timestamp"])
            ),
            10 => format!(
                "{column} {not}BETWEEN {} AND {}",
                self.maker.given(&day, "date"),
                self.maker.given("2025-01-01", "timestamptz")
            ),
            11 => format!("{column} {op} make_date({}, 2, 28)", self.maker.given(&day[..4], "integer")),
            12 => {
                format!("{column} {op} to_timestamp({})", self.maker.given("1700000000", "double precision"))
            }
            13 => format!("{column} {op} '{day}'"),
            14 => format!("{column} {not}IN ({}, NULL, {})", self.own(field), self.own(field)),
            15 => format!("{column} = ANY ({})", self.array_of(field, 30)),
            16 => format!(
                "({column}, {column}) OVERLAPS ({}, interval '{hours} days')",
                self.cast(&day, "timestamp")
            ),
            17 => format!("{column} {op} {}", {
                let of = self.word(&["date", "timestamptz", "timestamp"]);
                self.cast(&day, of)
            }),
            18 => format!("{column} IS {not}DISTINCT FROM {}", self.maker.given(&day, "date")),
            19 => {
                let of = self.word(&["timestamp[]", "date[]", "timestamptz[]"]);
                let list = format!("ARRAY['{value}', NULL, '{day}']::{of}");
                format!("{not}({column} {} ({}))", self.word(&["= ANY", "<> ALL"]), self.given_as(&list, of))
            }
            _ => format!("{column} {op} {}", self.maker.given(&value, "timestamptz")),
        }
    }

    fn unusual_array(&mut self, field: &Field, column: &str) -> String {
        let not = self.maker.not();
        let of = &field.sql_type;
        match self.dice().below(20) {
            0 => format!("{column} && ARRAY[{}, NULL]::{of}[]", self.own(field)),
            1 => format!("{column} @> ARRAY[{}, NULL]::{of}[]", self.own(field)),
            2 => format!("{column} {} '{{}}'::{of}[]", self.word(&["@>", "&&", "<@", "=", "<>"])),
            3 => format!("({column} && {}) IS {not}TRUE", self.array_of(field, 3)),
            4 => format!("NOT ({column} {} {})", self.word(&["&&", "@>", "<@"]), self.array_of(field, 3)),
            5 => format!("{} IN (SELECT unnest({column}))", self.own(field)),
            6 => format!("EXISTS (SELECT FROM unnest({column}) x WHERE x = {})", self.own(field)),
            7 => format!("array_position({column}, {}) IS {not}NULL", self.own(field)),
            8 => format!("{column}[1] = {}", self.own(field)),
            9 => format!("{} {} ALL ({column})", self.own(field), self.word(&["=", "<>", ">="])),
            10 => format!("{} {} ANY ({column})", self.own(field), self.word(&["<>", "<", ">="])),
            11 => format!("{column} IS {not}DISTINCT FROM {}", self.array_of(field, 2)),
            12 => format!("coalesce({column}, '{{}}') && {}", self.array_of(field, 2)),
            13 => format!("cardinality({column}) = {}", self.dice().below(3)),
            14 => format!("{column} || ARRAY[{}] @> {}", self.own(field), self.array_of(field, 2)),
            15 => format!("{column} && {}", self.array_of(field, 120)),
            16 => format!("{} = ANY ({column}) IS {not}TRUE", self.own(field)),
            17 => format!("NULL::{of} = ANY ({column})"),
            18 => {
                let one = self.own(field);
                format!("{one} IS NULL OR {one} = ANY ({column})")
            }
            _ => format!("{column} @> ARRAY(SELECT x FROM unnest({}) x)", self.array_of(field, 2)),
        }
    }
}
