//! Random queries give the same result whether conditions are pushed, are not pushed, or are asked of a local copy.
//!
//! `CASES=5000 cargo test -p assets-fdw-tests -- differential` runs more of them (in each profile, from the seed 1 on
//! or from `FROM=…`); `SEED=4711` runs one again and says what it is.

#[path = "oracle/mod.rs"]
mod oracle;

use std::env;
use std::fmt::Write;

use assets_fdw_tests::assets_sim::Profile;
use postgres::{Client, SimpleQueryMessage};

use crate::live::{Live, SCHEMAS, columns, literal, quoted, tables};

#[test]
fn pushed_local_and_copied_agree_with_a_documented_service() {
    run(Profile::Documented);
}

#[test]
fn pushed_local_and_copied_agree_with_a_lenient_service() {
    run(Profile::Lenient);
}

#[test]
fn pushed_local_and_copied_agree_with_a_hostile_service() {
    run(Profile::Hostile);
}

/// Cases in each profile when nobody says how many.
const CASES: u64 = 100;

fn run(profile: Profile) {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let live = Live::imported(profile, 600);
    let mut client = live.connect();
    if live.sim.current_switches().services_prefix {
        name_attributes_of_services(&mut client);
    }
    let world = World::copy(&mut client);
    let from = number("FROM").unwrap_or(1);
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => from..from + number("CASES").unwrap_or(CASES),
    };
    let verbose = number("SEED").is_some();
    let mut found = 0;
    let mut failures = String::new();
    for seed in seeds {
        let case = Case::new(seed, &world);
        if verbose {
            println!("{profile:?} {seed}: {}", case.statement("itsm"));
        }
        match case.check(&mut client) {
            Ok(rows) => found += usize::from(rows > 0),
            Err(why) => {
                let _ = writeln!(failures, "{profile:?} SEED={seed}\n{why}");
            }
        }
    }
    assert!(failures.is_empty(), "{failures}");
    // A generator whose conditions never select anything proves nothing.
    assert!(verbose || found > 15, "{found}");
}

/// In AQL, attributes of schemas of services may have a prefix that REST does not tell (assets-api.md section 13): users
/// name them by the option `aql_name`.
fn name_attributes_of_services(client: &mut Client) {
    for column in columns(client, "svc.service") {
        let attribute = match column.options.get("field").map(String::as_str) {
            None => column.options["attribute"].as_str(),
            Some("label") => "Name",
            Some(_) => continue,
        };
        let name = literal(&format!("a_{attribute}"));
        let alter = format!(
            "ALTER FOREIGN TABLE svc.service ALTER {} OPTIONS (ADD aql_name {name})",
            quoted(&column.name)
        );
        client.batch_execute(&alter).unwrap();
    }
}

/// Pseudo random numbers (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// True so often in a hundred.
    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }
}

/// What conditions are made of: the tables, their columns, and values that are there.
struct World {
    tables: Vec<Table>,
}

struct Table {
    /// Schema and name.
    schema: String,
    name: String,
    columns: Vec<Field>,
}

struct Field {
    name: String,
    /// Of one value, for arrays.
    sql_type: String,
    array: bool,
    values: Vec<String>,
}

/// A fifth of the queries is about the table that has every kind of attribute.
const SPECIMEN: usize = 20;

impl World {
    /// Copies every table into the schema that is called like its own with `copy_` in front.
    fn copy(client: &mut Client) -> World {
        client.batch_execute("SET assets_fdw.enable_pushdown = off").unwrap();
        let mut world = World { tables: Vec::new() };
        for (_, schema) in SCHEMAS {
            client.batch_execute(&format!("CREATE SCHEMA copy_{schema}")).unwrap();
            for name in tables(client, schema) {
                let copy = format!("copy_{schema}.{name}");
                client
                    .batch_execute(&format!("CREATE TABLE {copy} AS SELECT * FROM {schema}.{name}"))
                    .unwrap();
                let fields = columns(client, &copy).into_iter().map(|column| {
                    let array = column.sql_type.ends_with("[]");
                    let from = quoted(&column.name);
                    let from = if array { format!("unnest({from})") } else { from };
                    let sql = format!(
                        "SELECT v::text FROM (SELECT {from} AS v FROM {copy}) s WHERE v IS NOT NULL
                                        GROUP BY 1 ORDER BY md5(v::text) LIMIT 60"
                    );
                    // URLs hold the simulator's port, which is another one each time.
                    let values = match column.name.as_str() {
                        "url" => Vec::new(),
                        _ => client.query(&sql, &[]).unwrap().iter().map(|row| row.get(0)).collect(),
                    };
                    let sql_type = column.sql_type.trim_end_matches("[]").to_owned();
                    Field { name: column.name, sql_type, array, values }
                });
                let fields = fields.collect();
                world.tables.push(Table { schema: schema.to_owned(), name, columns: fields });
            }
        }
        client.batch_execute("RESET assets_fdw.enable_pushdown; ANALYZE").unwrap();
        world
    }

    fn table(&self, dice: &mut Dice) -> &Table {
        if dice.chance(SPECIMEN) {
            return self.tables.iter().find(|t| t.name == "specimen").expect("specimen");
        }
        &self.tables[dice.below(self.tables.len())]
    }

    fn find(&self, name: &str) -> &Table {
        self.tables.iter().find(|t| t.name == name).expect("a table")
    }
}

/// A query, with `{}` where the prefix of its schemas belongs, and how to run it.
struct Case {
    query: String,
    zone: &'static str,
    /// Parameters as literals; none: literals stand in the text.
    params: Option<Vec<(String, String)>>,
    /// Whether the order of the rows is part of the result.
    ordered: bool,
    /// Whether joins may be nested loops: a request or more for each row of the outer side.
    loops: bool,
}

struct Maker<'a> {
    dice: Dice,
    params: Option<Vec<(String, String)>>,
    world: &'a World,
}

impl Case {
    fn new(seed: u64, world: &World) -> Case {
        let mut dice = Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let params = dice.chance(30).then(Vec::new);
        let zone = dice.pick(&["UTC", "UTC", "America/Los_Angeles", "Pacific/Kiritimati", "Asia/Kathmandu"]);
        let mut maker = Maker { dice, params, world };
        let (query, ordered) = maker.query();
        let loops = maker.dice.chance(20);
        Case { query, zone, params: maker.params, ordered, loops }
    }

    fn text(&self, prefix: &str) -> String {
        self.query.replace("{}", prefix)
    }

    /// What to type to run it by hand.
    fn statement(&self, prefix: &str) -> String {
        let prefix = if prefix == "itsm" { "" } else { prefix };
        match &self.params {
            Some(params) if !params.is_empty() => {
                let types: Vec<&str> = params.iter().map(|(_, t)| t.as_str()).collect();
                let values: Vec<&str> = params.iter().map(|(v, _)| v.as_str()).collect();
                format!(
                    "PREPARE p({}) AS {};\nEXECUTE p({})",
                    types.join(", "),
                    self.text(prefix),
                    values.join(", ")
                )
            }
            _ => self.text(prefix),
        }
    }

    /// Runs it in three ways; gives the number of rows, or what differs.
    fn check(&self, client: &mut Client) -> Result<usize, String> {
        client.batch_execute(&format!("SET TimeZone = '{}'", self.zone)).map_err(|e| format!("{e:?}"))?;
        let copied = self.rows(client, "copy_", "on");
        let pushed = self.rows(client, "", "on");
        let local = self.rows(client, "", "off");
        if copied == pushed && copied == local && copied.is_ok() {
            return Ok(copied.map_or(0, |rows| rows.len()));
        }
        let plan = match &self.params {
            Some(params) if !params.is_empty() => String::new(),
            _ => explain(client, &self.text("")),
        };
        let _ = client.batch_execute("DEALLOCATE ALL; RESET ALL");
        Err(format!(
            "SET TimeZone = '{}';\n{};\n{}{}{plan}\n",
            self.zone,
            self.statement(""),
            difference("pushed", &copied, &pushed),
            difference("local", &copied, &local)
        ))
    }

    fn rows(&self, client: &mut Client, prefix: &str, pushdown: &str) -> Result<Vec<String>, String> {
        let setting = format!(
            "SET assets_fdw.enable_pushdown = {pushdown}; SET plan_cache_mode = force_generic_plan;
             SET enable_nestloop = {}",
            self.loops
        );
        client.batch_execute(&setting).map_err(|e| format!("{e:?}"))?;
        let messages = client.simple_query(&self.statement(prefix)).map_err(|e| {
            e.as_db_error().map_or(format!("{e:?}"), |e| format!("{}: {}", e.code().code(), e.message()))
        })?;
        client.batch_execute("DEALLOCATE ALL").map_err(|e| format!("{e:?}"))?;
        let mut rows = Vec::new();
        for message in messages {
            if let SimpleQueryMessage::Row(row) = message {
                let cells: Vec<String> =
                    (0..row.len()).map(|i| row.get(i).map_or("∅".to_owned(), |v| format!("{v:?}"))).collect();
                rows.push(cells.join(" | "));
            }
        }
        if !self.ordered {
            rows.sort();
        }
        Ok(rows)
    }
}

fn explain(client: &mut Client, sql: &str) -> String {
    let _ = client.batch_execute("SET assets_fdw.enable_pushdown = on");
    match client.query(&format!("EXPLAIN (VERBOSE, COSTS OFF) {sql}"), &[]) {
        Ok(rows) => rows.iter().map(|row| row.get::<_, String>(0) + "\n").collect(),
        Err(error) => format!("{error:?}"),
    }
}

type Outcome = Result<Vec<String>, String>;

fn difference(what: &str, wanted: &Outcome, found: &Outcome) -> String {
    match (wanted, found) {
        (Ok(wanted), Ok(found)) if wanted == found => String::new(),
        (Ok(wanted), Ok(found)) => {
            let lost: Vec<&String> = wanted.iter().filter(|row| !found.contains(row)).take(5).collect();
            let added: Vec<&String> = found.iter().filter(|row| !wanted.contains(row)).take(5).collect();
            let counts = format!("{} rows instead of {}", found.len(), wanted.len());
            format!("-- {what}: {counts}, lost {lost:?}, added {added:?}\n")
        }
        (wanted, found) => {
            let short = |outcome: &Outcome| format!("{outcome:?}").chars().take(300).collect::<String>();
            format!("-- {what}: {} instead of {}\n", short(found), short(wanted))
        }
    }
}

impl Maker<'_> {
    fn query(&mut self) -> (String, bool) {
        if self.dice.chance(15) {
            return (self.join(), false);
        }
        let world = self.world;
        let table = world.table(&mut self.dice);
        let from = format!("{{}}{}.{} t", table.schema, table.name);
        let condition = self.condition(table, "t", 4);
        let field = &table.columns[self.dice.below(table.columns.len())];
        let column = format!("t.{}", quoted(&field.name));
        match self.dice.below(10) {
            0 => {
                (format!("SELECT count(*), count({column}), min(t.id) FROM {from} WHERE {condition}"), false)
            }
            1 => (format!("SELECT {column}, count(*) FROM {from} WHERE {condition} GROUP BY 1"), false),
            2 => {
                let limit = 1 + self.dice.below(12);
                let offset = self.dice.below(4);
                let order = self.dice.pick(&["id", "key", "created, id", "updated DESC, id", "label, id"]);
                let sql = format!(
                    "SELECT t.key FROM {from} WHERE {condition} ORDER BY {order} LIMIT {limit} OFFSET {offset}"
                );
                (sql, true)
            }
            3 => (format!("SELECT DISTINCT {column} FROM {from} WHERE {condition}"), false),
            4 => {
                let other = self.condition(table, "t", 2);
                (
                    format!(
                        "SELECT key FROM {from} WHERE {condition} UNION ALL SELECT key FROM {from} WHERE {other}"
                    ),
                    false,
                )
            }
            _ => (format!("SELECT t.key, {column} FROM {from} WHERE {condition}"), false),
        }
    }

    fn join(&mut self) -> String {
        // The outer ones are small, for the sake of nested loops.
        let (left, condition, right) = match self.dice.below(7) {
            0 => ("database", "b.key = ANY (a.runs_on_key)", "server"),
            1 => ("department", "b.key = a.head_key", "employee"),
            2 => ("department", "b.department_key = a.key", "employee"),
            3 => ("contract", "b.label = a.vendor", "vendor"),
            4 => ("router", "b.location_key = a.location_key AND b.id <> a.id", "hardware"),
            5 => ("router", "b.id = a.id", "hardware"),
            _ => ("office", "b.office_key = a.key", "employee"),
        };
        let (left, right) = (self.world.find(left), self.world.find(right));
        let (one, two) = (self.condition(left, "a", 2), self.condition(right, "b", 2));
        let from = |t: &Table, alias: &str| format!("{{}}{}.{} {alias}", t.schema, t.name);
        let (a, b) = (from(left, "a"), from(right, "b"));
        match self.dice.below(5) {
            0 => format!("SELECT a.key FROM {a} WHERE {one} AND EXISTS (SELECT 1 FROM {b} WHERE {condition} AND {two})"),
            1 => format!(
                "SELECT a.key FROM {a} WHERE {one} AND NOT EXISTS (SELECT 1 FROM {b} WHERE {condition} AND {two})"
            ),
            2 => format!("SELECT a.key, b.key FROM {a} LEFT JOIN {b} ON {condition} AND {two} WHERE {one}"),
            3 => format!(
                "SELECT a.key, l.n FROM {a}, LATERAL (SELECT count(*) AS n FROM {b} WHERE {condition} AND {two}) l
                  WHERE {one}"
            ),
            _ => format!("SELECT a.key, b.key FROM {a} JOIN {b} ON {condition} WHERE {one} AND {two}"),
        }
    }

    fn condition(&mut self, table: &Table, alias: &str, depth: usize) -> String {
        if depth == 0 || self.dice.chance(35) {
            return self.leaf(table, alias);
        }
        match self.dice.below(5) {
            0 => format!("NOT ({})", self.condition(table, alias, depth - 1)),
            n => {
                let word = if n < 3 { " AND " } else { " OR " };
                let count = 2 + self.dice.below(2);
                let parts: Vec<String> =
                    (0..count).map(|_| self.condition(table, alias, depth - 1)).collect();
                format!("({})", parts.join(word))
            }
        }
    }

    fn leaf(&mut self, table: &Table, alias: &str) -> String {
        let field = &table.columns[self.dice.below(table.columns.len())];
        let column = format!("{alias}.{}", quoted(&field.name));
        if self.dice.chance(10) {
            let not = self.dice.pick(&["", "NOT "]);
            return format!("{column} IS {not}NULL");
        }
        if field.array {
            return self.array_leaf(field, &column);
        }
        match field.sql_type.as_str() {
            "text" => self.text_leaf(table, field, alias, &column),
            "boolean" => self.boolean_leaf(&column),
            _ => self.ordered_leaf(field, &column),
        }
    }

    fn text_leaf(&mut self, table: &Table, field: &Field, alias: &str, column: &str) -> String {
        let value = self.value(field);
        match self.dice.below(19) {
            0..=3 => format!("{column} = {}", self.given(&value, "text")),
            4 => format!("{} = {column}", self.given(&value, "text")),
            5 => format!("{column} <> {}", self.given(&value, "text")),
            6 => format!("{column} {}IN ({})", self.not(), self.list(field, 5)),
            7 => format!("{column} {}", self.any_of(field, "text")),
            8..=10 => {
                let pattern = self.pattern(&value);
                let like = self.dice.pick(&["LIKE", "ILIKE", "NOT LIKE", "NOT ILIKE", "LIKE"]);
                format!("{column} {like} {}", self.given(&pattern, "text"))
            }
            11 => {
                let part = self.part(&value);
                format!("starts_with({column}, {})", self.given(&part, "text"))
            }
            12 => {
                let part = self.part(&value);
                format!("{column} ^@ {}", self.given(&part, "text"))
            }
            13 => {
                let function = self.dice.pick(&["lower", "upper"]);
                let op = self.dice.pick(&["=", "=", "<>"]);
                let folded = if function == "lower" { value.to_lowercase() } else { value.to_uppercase() };
                format!("{function}({column}) {op} {}", self.given(&folded, "text"))
            }
            14 => {
                let part = self.part(&value);
                let op = self.dice.pick(&["> 0", "<> 0", "= 0", ">= 0"]);
                format!("strpos({column}, {}) {op}", self.given(&part, "text"))
            }
            15 => {
                let op = self.dice.pick(&["<", "<=", ">", ">="]);
                format!("{column} {op} {}", self.given(&value, "text"))
            }
            16 => {
                let not = self.not();
                format!("{column} IS {not}DISTINCT FROM {}", self.given(&value, "text"))
            }
            17 => {
                let others: Vec<&Field> =
                    table.columns.iter().filter(|c| c.sql_type == "text" && !c.array).collect();
                let other = others[self.dice.below(others.len())];
                format!("{column} = {alias}.{}", quoted(&other.name))
            }
            _ => format!("length({column}) = {}", value.chars().count()),
        }
    }

    fn boolean_leaf(&mut self, column: &str) -> String {
        let word = self.dice.pick(&["TRUE", "FALSE", "UNKNOWN", "NOT TRUE", "NOT FALSE", "NOT UNKNOWN"]);
        match self.dice.below(6) {
            0 => column.to_owned(),
            1 => format!("NOT {column}"),
            2 => {
                let op = self.dice.pick(&["=", "<>", "<", ">="]);
                let value = self.dice.pick(&["true", "false"]);
                format!("{column} {op} {}", self.given(value, "boolean"))
            }
            3 => format!("{column} IS DISTINCT FROM true"),
            _ => format!("{column} IS {word}"),
        }
    }

    /// Numbers, dates and times, addresses.
    fn ordered_leaf(&mut self, field: &Field, column: &str) -> String {
        let value = self.value(field);
        let mut sql_type = field.sql_type.as_str();
        let mut value = self.near(&value, sql_type);
        // Another type on the other side, as far as every value fits it.
        match sql_type {
            "bigint" if self.dice.chance(15) => sql_type = self.dice.pick(&["numeric", "double precision"]),
            "bigint" if self.dice.chance(10) && value.parse::<i16>().is_ok() => sql_type = "smallint",
            "double precision" if self.dice.chance(10) => sql_type = "numeric",
            "integer" | "smallint" | "few" if self.dice.chance(30) => {
                sql_type = self.dice.pick(&["bigint", "integer", "numeric", "double precision"]);
            }
            "real" if self.dice.chance(30) => sql_type = self.dice.pick(&["double precision", "numeric"]),
            "timestamp(0) with time zone" if self.dice.chance(40) => {
                sql_type = self.dice.pick(&["timestamptz", "date", "timestamp"]);
            }
            number if number.starts_with("numeric(") && self.dice.chance(30) => {
                sql_type = self.dice.pick(&["numeric", "double precision", "bigint"]);
            }
            "timestamp with time zone" if self.dice.chance(15) => {
                value = value.chars().take(10).collect();
                sql_type = "date";
            }
            "timestamp with time zone" if self.dice.chance(10) => sql_type = "timestamp without time zone",
            "date" if self.dice.chance(15) => sql_type = self.dice.pick(&["timestamptz", "timestamp"]),
            _ => {}
        }
        let op = self.dice.pick(&["=", "=", "<", "<=", ">", ">=", "<>"]);
        match self.dice.below(12) {
            0 => format!("{column} {}IN ({})", self.not(), self.list(field, 4)),
            1 => format!("{column} {}", self.any_of(field, &field.sql_type)),
            2 => {
                let (low, high) = (self.value(field), self.value(field));
                let (low, high) = (self.given(&low, &field.sql_type), self.given(&high, &field.sql_type));
                format!("{column} {}BETWEEN {low} AND {high}", self.not())
            }
            3 => {
                let not = self.not();
                format!("{column} IS {not}DISTINCT FROM {}", self.given(&value, sql_type))
            }
            4 => format!("{} {op} {column}", self.given(&value, sql_type)),
            5 if field.sql_type == "inet" => format!("{column} <<= '10.0.0.0/9'::inet"),
            _ => format!("{column} {op} {}", self.given(&value, sql_type)),
        }
    }

    fn array_leaf(&mut self, field: &Field, column: &str) -> String {
        let value = self.value(field);
        let list = format!("ARRAY[{}]::{}[]", self.list(field, 3), field.sql_type);
        match self.dice.below(10) {
            0..=2 => format!("{} = ANY ({column})", self.given(&value, &field.sql_type)),
            3 => format!("NOT ({} = ANY ({column}))", self.given(&value, &field.sql_type)),
            4 => format!(
                "{} {} ALL ({column})",
                self.given(&value, &field.sql_type),
                self.dice.pick(&["=", "<>"])
            ),
            5 => format!("{column} @> {list}"),
            6 => format!("{column} && {list}"),
            7 => format!("{column} <@ {list}"),
            8 => format!("{list} {} {column}", self.dice.pick(&["<@", "&&", "=", "@>"])),
            _ => format!("cardinality({column}) > 1"),
        }
    }

    fn not(&mut self) -> &'static str {
        self.dice.pick(&["", "", "NOT "])
    }

    /// A literal, or a parameter.
    fn given(&mut self, value: &str, sql_type: &str) -> String {
        let text = format!("{}::{sql_type}", literal(value));
        match &mut self.params {
            // A constant among parameters now and then.
            Some(params) if self.dice.below(5) > 0 => {
                params.push((text, sql_type.to_owned()));
                format!("${}", params.len())
            }
            _ => text,
        }
    }

    fn list(&mut self, field: &Field, most: usize) -> String {
        let count = 1 + self.dice.below(most);
        let mut list: Vec<String> = Vec::new();
        for _ in 0..count {
            let value = self.value(field);
            list.push(self.given(&value, &field.sql_type));
        }
        if self.dice.chance(8) {
            list.push("NULL".to_owned());
        }
        list.join(", ")
    }

    fn any_of(&mut self, field: &Field, sql_type: &str) -> String {
        let count = self.dice.below(6);
        let mut list: Vec<String> = (0..count).map(|_| literal(&self.value(field))).collect();
        if self.dice.chance(10) {
            list.push("NULL".to_owned());
        }
        let array = format!("ARRAY[{}]::{sql_type}[]", list.join(", "));
        let array = match &mut self.params {
            Some(params) => {
                params.push((array, format!("{sql_type}[]")));
                format!("${}", params.len())
            }
            None => array,
        };
        match self.dice.below(3) {
            0 => format!("<> ALL ({array})"),
            _ => format!("= ANY ({array})"),
        }
    }

    /// A value that is there, or one much like it.
    fn value(&mut self, field: &Field) -> String {
        let here = !field.values.is_empty();
        if field.sql_type != "text" {
            return match (here, field.sql_type.as_str()) {
                (true, _) => field.values[self.dice.below(field.values.len())].clone(),
                (false, "bigint" | "double precision" | "integer" | "smallint" | "real" | "few") => {
                    "1".to_owned()
                }
                (false, number) if number.starts_with("numeric") => "1".to_owned(),
                (false, text) if text.starts_with("character") || text == "brief" => "x".to_owned(),
                (false, "boolean") => "true".to_owned(),
                (false, "inet") => "10.0.0.1".to_owned(),
                (false, "time without time zone") => "12:00".to_owned(),
                _ => "2020-01-01".to_owned(),
            };
        }
        const STRANGE: &[&str] = &[
            "", " ", "%", "_", "\\", "\"", "'", "${now}", "()", "Ünï", "ß", "İ", "ſ", "\u{212a}", "a\u{301}",
            "*", "?",
        ];
        let value = match here {
            true => field.values[self.dice.below(field.values.len())].clone(),
            false => self.dice.pick(STRANGE).to_owned(),
        };
        match self.dice.below(16) {
            0 => value.to_uppercase(),
            1 => value.to_lowercase(),
            2 => format!(" {value}"),
            3 => format!("{value} "),
            4 => value.trim().to_owned(),
            5 => self.part(&value),
            6 => self.dice.pick(STRANGE).to_owned(),
            7 => format!("{value}{}", self.dice.pick(STRANGE)),
            _ => value,
        }
    }

    /// A run of characters out of a text.
    fn part(&mut self, value: &str) -> String {
        let chars: Vec<char> = value.chars().collect();
        let start = match self.dice.chance(60) {
            true => 0,
            false => self.dice.below(chars.len()),
        };
        let length = self.dice.below(chars.len() - start.min(chars.len()) + 1);
        chars[start..(start + length).min(chars.len())].iter().collect()
    }

    fn pattern(&mut self, value: &str) -> String {
        let mut pattern = String::new();
        for c in self.part(value).chars() {
            match c {
                '%' | '_' | '\\' if self.dice.chance(80) => {
                    pattern.push('\\');
                    pattern.push(c);
                }
                // A pattern must not end with an escape.
                '\\' => pattern.push('_'),
                c => match self.dice.below(12) {
                    0 => pattern.push('_'),
                    1 => pattern.push('%'),
                    2 => pattern.extend(c.to_uppercase()),
                    _ => pattern.push(c),
                },
            }
        }
        match self.dice.below(5) {
            0 => pattern,
            1 => format!("%{pattern}"),
            2 => format!("%{pattern}%"),
            _ => format!("{pattern}%"),
        }
    }

    /// A value of an ordered type, or one close to it.
    fn near(&mut self, value: &str, sql_type: &str) -> String {
        if !self.dice.chance(30) {
            return value.to_owned();
        }
        match sql_type {
            "bigint" => value.parse::<i64>().map_or(value.to_owned(), |n| n.saturating_add(1).to_string()),
            "double precision" => value.parse::<f64>().map_or(value.to_owned(), |x| x.next_up().to_string()),
            "timestamp with time zone" if value.contains('.') => value.replace("+00", "0007+00"),
            _ => value.to_owned(),
        }
    }
}
