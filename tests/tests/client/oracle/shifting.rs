//! Metadata that changes between two executions of a prepared statement in one session: the second gives the rows that a
//! new session gives without pushdown, or an ERROR.
//!
//! A table or a column that names a type or an attribute by name means what had that name when the session last looked at
//! the metadata, or what has it now: both are right, but not a mixture of both. What is told by an id means the same
//! before and after.

use std::fmt::Write;

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::{Kind, Options, Profile, Sim};
use postgres::{Client, SimpleQueryMessage};

use super::super::Dice;
use super::number;
use crate::live::{Live, literal};

/// Cases in each profile when nobody says how many: a twentieth of the others.
const SHORT: u64 = 16;
/// Gadgets, which are kinds of Hardware.
const GADGETS: usize = 30;

#[test]
fn what_changes_between_two_executions_is_seen_or_an_error_on_a_documented_service() {
    run(Profile::Documented, "documented");
}

#[test]
fn what_changes_between_two_executions_is_seen_or_an_error_on_a_lenient_service() {
    run(Profile::Lenient, "lenient");
}

#[test]
fn what_changes_between_two_executions_is_seen_or_an_error_on_a_hostile_service() {
    run(Profile::Hostile, "hostile");
}

const TABLES: &str = "
CREATE SCHEMA own;
CREATE FOREIGN TABLE own.gadget (
    id bigint, key text, object_type text, name text, colour text OPTIONS (attribute 'Colour'),
    shade text OPTIONS (attribute 'Shade'), weight bigint OPTIONS (attribute 'Weight', on_invalid 'null'),
    serial text OPTIONS (attribute 'Serial Number'), price double precision OPTIONS (attribute 'Price'),
    location_key text OPTIONS (attribute 'Location', part 'key')
) SERVER assets OPTIONS (object_schema 'ITSM', object_type 'Gadget', children 'include');
CREATE FOREIGN TABLE own.hardware (
    id bigint, key text, object_type text, name text, serial text OPTIONS (attribute 'Serial Number'),
    colour text OPTIONS (attribute 'Colour'), weight bigint OPTIONS (attribute 'Weight', on_invalid 'null'),
    price double precision OPTIONS (attribute 'Price'), location_key text OPTIONS (attribute 'Location', part 'key')
) SERVER assets OPTIONS (object_schema 'ITSM', object_type 'Hardware', children 'include');
CREATE FOREIGN TABLE own.gadgets_only (
    id bigint, key text, object_type text, name text, colour text OPTIONS (attribute 'Colour'),
    serial text OPTIONS (attribute 'Serial Number')
) SERVER assets OPTIONS (object_schema 'ITSM', object_type 'Gadget');
CREATE FOREIGN TABLE own.all_of_it (
    id bigint, key text, object_type text, label text
) SERVER assets OPTIONS (object_schema 'ITSM', aql 'objectType in objectTypeAndChildren(\"Hardware\")');
";

/// What happens to the metadata.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shift {
    /// An attribute gets another name, and another attribute its old one.
    Renamed,
    /// Two attributes change names.
    Swapped,
    /// The type gets another name.
    Type,
    /// The type gets another name, and another type its old one.
    TypeReplaced,
    /// Some objects move into a new type beside it.
    Moved,
    /// Some objects move into a new type below it.
    MovedBelow,
    /// Numbers become texts.
    Kind,
    /// An attribute of that name appears on a sister type.
    Sister,
    /// Nothing: the two executions see the same.
    Nothing,
}

const SHIFTS: [Shift; 9] = [
    Shift::Renamed,
    Shift::Swapped,
    Shift::Type,
    Shift::TypeReplaced,
    Shift::Moved,
    Shift::MovedBelow,
    Shift::Kind,
    Shift::Sister,
    Shift::Nothing,
];

/// Objects to be moved, by key.
struct Gadgets(Vec<String>);

impl Gadgets {
    fn make(sim: &Sim) -> Gadgets {
        sim.add_type("ITSM", "Gadget", Some("Hardware")).expect("a type");
        for (name, kind) in [("Colour", Kind::Text), ("Shade", Kind::Text), ("Weight", Kind::Integer)] {
            sim.add_attribute("Gadget", name, kind, false).expect("an attribute");
        }
        let offices = sim.dump(sim.type_id("Office").expect("offices"));
        let keys = (0..GADGETS).map(|n| {
            let (serial, weight, price) = (format!("G-{n:03}"), n.to_string(), (n * 10).to_string());
            let mut values = vec![
                ("Serial Number", serial.as_str()),
                ("Colour", ["red", "green", "blue"][n % 3]),
                ("Shade", ["red", "dark", "light", "pale"][n % 4]),
                ("Weight", weight.as_str()),
                ("Price", price.as_str()),
            ];
            if n % 5 > 0 {
                values.push(("Location", &offices[n % offices.len()].key));
            }
            sim.create("Gadget", &format!("gadget {n}"), &values).expect("a gadget")
        });
        Gadgets(keys.collect())
    }

    /// Changes the metadata, or changes it back. Objects are as before then, but for `Updated`.
    fn shift(&self, sim: &Sim, shift: Shift, back: bool) -> Result<(), String> {
        let rename = |from: &str, to: &str| sim.rename_attribute("Gadget", from, to).map(|_| ());
        let some = || self.0.iter().step_by(4);
        let moved = |parent: &str| {
            if back {
                some().try_for_each(|key| sim.move_object(key, "Gadget").map(|_| ()))?;
                return sim.remove_type("Novelty").map(|_| ());
            }
            sim.add_type("ITSM", "Novelty", Some(parent))?;
            some().try_for_each(|key| sim.move_object(key, "Novelty").map(|_| ()))
        };
        match (shift, back) {
            (Shift::Renamed, false) => {
                rename("Shade", "Tone")?;
                rename("Colour", "Shade")?;
                sim.add_attribute("Gadget", "Colour", Kind::Text, false)?;
                some().try_for_each(|key| sim.update(key, "Colour", &["blue"]).map(|_| ()))
            }
            (Shift::Renamed, true) => {
                sim.remove_attribute("Gadget", "Colour")?;
                rename("Shade", "Colour")?;
                rename("Tone", "Shade")
            }
            (Shift::Swapped, _) => {
                rename("Shade", "Tone")?;
                rename("Colour", "Shade")?;
                rename("Tone", "Colour")
            }
            (Shift::Type, false) => sim.rename_type("Gadget", "Widget").map(|_| ()),
            (Shift::Type, true) => sim.rename_type("Widget", "Gadget").map(|_| ()),
            (Shift::TypeReplaced, false) => {
                sim.rename_type("Gadget", "Widget")?;
                sim.rename_type("Phone", "Gadget").map(|_| ())
            }
            (Shift::TypeReplaced, true) => {
                sim.rename_type("Gadget", "Phone")?;
                sim.rename_type("Widget", "Gadget").map(|_| ())
            }
            (Shift::Moved, _) => moved("Hardware"),
            (Shift::MovedBelow, _) => moved("Gadget"),
            (Shift::Kind, false) => sim.change_kind("Gadget", "Weight", Kind::Text, false).map(|_| ()),
            (Shift::Kind, true) => sim.change_kind("Gadget", "Weight", Kind::Integer, false).map(|_| ()),
            (Shift::Sister, false) => {
                sim.add_attribute("Phone", "Colour", Kind::Text, false)?;
                let phones = sim.dump(sim.type_id("Phone").expect("phones"));
                phones.iter().try_for_each(|p| sim.update(&p.key, "Colour", &["green"]).map(|_| ()))
            }
            (Shift::Sister, true) => sim.remove_attribute("Phone", "Colour").map(|_| ()),
            (Shift::Nothing, _) => Ok(()),
        }
    }
}

/// A statement, prepared with one parameter, or none.
struct Case {
    shift: Shift,
    sql: String,
    /// The values of its parameter in the first and in the second execution.
    values: Option<(String, String)>,
    mode: &'static str,
    /// Left prepared, or sent as a text twice.
    prepared: bool,
}

impl Case {
    fn new(seed: u64) -> Case {
        let mut dice = Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x5417);
        let shift = SHIFTS[dice.below(SHIFTS.len())];
        let gadget = dice.pick(&["own.gadget", "itsm.gadget"]);
        let table = match shift {
            // A table of a name that is gone says so; that of its parent goes on.
            Shift::Type | Shift::TypeReplaced => {
                dice.pick(&["own.hardware", "itsm.hardware", "itsm.gadget", "own.gadget"])
            }
            Shift::Moved | Shift::MovedBelow => dice.pick(&[
                "own.hardware",
                "itsm.hardware",
                "own.gadget",
                "itsm.gadget",
                "own.gadgets_only",
                "own.all_of_it",
            ]),
            _ => dice.pick(&[gadget, gadget, "own.hardware", "own.gadgets_only"]),
        };
        let columns: &[&str] = match table {
            "own.gadget" | "itsm.gadget" => {
                &["colour", "shade", "weight", "serial", "price", "name", "object_type"]
            }
            "own.hardware" => &["colour", "weight", "serial", "price", "name", "object_type"],
            "itsm.hardware" => &["serial", "price", "name", "object_type"],
            "own.gadgets_only" => &["colour", "serial", "name", "object_type"],
            _ => &["object_type", "id"],
        };
        // An imported table of the type itself has its type in no column.
        let columns: Vec<&str> =
            columns.iter().copied().filter(|c| table != "itsm.gadget" || *c != "object_type").collect();
        let mut column = columns[dice.below(columns.len())];
        if matches!(shift, Shift::Type | Shift::TypeReplaced)
            && columns.contains(&"object_type")
            && dice.chance(60)
        {
            column = "object_type";
        }
        if matches!(shift, Shift::Renamed | Shift::Swapped) && columns.contains(&"colour") && dice.chance(60)
        {
            column = "colour";
        }
        let value = |dice: &mut Dice| match column {
            "colour" | "shade" => dice.pick(&["red", "green", "blue", "dark", "pale"]).to_owned(),
            "weight" => dice.below(GADGETS + 2).to_string(),
            "price" => (dice.below(GADGETS + 2) * 10).to_string(),
            "serial" => format!("G-{:03}", dice.below(GADGETS)),
            "name" => format!("gadget {}", dice.below(GADGETS)),
            "id" => (1000 + dice.below(600)).to_string(),
            _ => dice.pick(&["Gadget", "Widget", "Novelty", "Laptop", "Phone"]).to_owned(),
        };
        let (one, two, three) = (value(&mut dice), value(&mut dice), value(&mut dice));
        let of = match column {
            "weight" | "id" => "bigint",
            "price" => "double precision",
            _ => "text",
        };
        let typed = |v: &str| format!("{}::{of}", literal(v));
        let mut values = dice.chance(50).then(|| (typed(&one), typed(&one)));
        if let Some((_, second)) = &mut values
            && dice.chance(50)
        {
            *second = typed(&two);
        }
        let given = if values.is_some() { "$1".to_owned() } else { typed(&one) };
        let both = format!("({given}, {})", typed(&three));
        let condition = match (dice.below(9), of) {
            (0..3, _) => format!("{column} = {given}"),
            (3, _) => format!("{column} IN {both}"),
            (4, _) if values.is_none() => format!("{column} IS NULL"),
            (5, _) if values.is_none() => format!("{column} IS NOT NULL"),
            (6, "text") => format!("{column} LIKE left({given}, 2) || '%'"),
            (6 | 7, "bigint" | "double precision") => format!("{column} > {given}"),
            (7, _) => format!("{column} = ANY (ARRAY[{given}, {}])", typed(&three)),
            (8, _) => format!("{column} <> {given}"),
            _ => format!("{column} = {given}"),
        };
        // Every row, now and then.
        let filter = if values.is_none() && dice.chance(15) { "true".to_owned() } else { condition };
        let sql = match dice.below(6) {
            0 => format!("SELECT count(*) FROM {table} WHERE {filter}"),
            1 => format!("SELECT id, {column} FROM {table} WHERE {filter} ORDER BY id LIMIT 7"),
            2 => format!("SELECT max(id), count({column}) FROM {table} WHERE {filter}"),
            _ => format!("SELECT id, {column} FROM {table} WHERE {filter}"),
        };
        let mode = dice.pick(&["force_generic_plan", "force_generic_plan", "force_custom_plan", "auto"]);
        Case { shift, sql, values, mode, prepared: dice.chance(75) }
    }

    /// Whether the statement names, by a name, what the change gives another name.
    fn by_name(&self) -> bool {
        match self.shift {
            Shift::Renamed | Shift::Swapped | Shift::Kind | Shift::Sister => self.sql.contains(" own."),
            Shift::Type | Shift::TypeReplaced => self.sql.contains(" own.gadget"),
            Shift::Moved | Shift::MovedBelow | Shift::Nothing => false,
        }
    }

    /// How the statement is run: what prepares it, and its executions.
    fn texts(&self) -> (String, [String; 2]) {
        let of = |value: &str| value.rsplit("::").next().unwrap_or("text").to_owned();
        match (&self.values, self.prepared) {
            (None, false) => (String::new(), [self.sql.clone(), self.sql.clone()]),
            (Some((one, two)), false) => (String::new(), [one, two].map(|v| self.sql.replace("$1", v))),
            (None, true) => {
                (format!("PREPARE p AS {}", self.sql), ["EXECUTE p".to_owned(), "EXECUTE p".to_owned()])
            }
            (Some((one, two)), true) => (
                format!("PREPARE p({}) AS {}", of(one), self.sql),
                [one, two].map(|v| format!("EXECUTE p({v})")),
            ),
        }
    }
}

fn rows(client: &mut Client, sql: &str) -> Result<Vec<String>, String> {
    let messages = client.simple_query(sql).map_err(|e| match e.as_db_error() {
        Some(e) => format!("{}: {}", e.code().code(), e.message()),
        None => panic!("{sql}: {e:?}"),
    })?;
    let mut rows: Vec<String> = messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|i| row.get(i).unwrap_or("∅")).collect::<Vec<_>>().join(" | "))
            }
            _ => None,
        })
        .collect();
    rows.sort();
    Ok(rows)
}

/// What a new session gives.
fn fresh(live: &Live, pushdown: &str, prepare: &str, sql: &str) -> Result<Vec<String>, String> {
    let mut client = connect(live, pushdown);
    if !prepare.is_empty() {
        rows(&mut client, prepare)?;
    }
    rows(&mut client, sql)
}

fn connect(live: &Live, pushdown: &str) -> Client {
    let mut client = live.connect();
    let settings = format!("SET client_min_messages = error; SET assets_fdw.enable_pushdown = {pushdown}");
    client.batch_execute(&settings).expect("settings");
    client
}

#[derive(Default, Debug)]
struct Tally {
    cases: u64,
    with_rows: u64,
    /// The rows of the second execution are not those of the first.
    changed: u64,
    /// Rows by what names meant before.
    stale: u64,
    /// An ERROR where a new session has rows.
    refused: u64,
    /// An ERROR where a new session has one too.
    same_error: u64,
    failed: u64,
}

fn run(profile: Profile, name: &str) {
    let seeds = super::seeds(name, SHORT, 60);
    if seeds.is_empty() {
        return;
    }
    let (count, only) = (seeds.end - seeds.start, number("SEED").is_some());
    let live = Live::start(Options { profile, objects: 350, seed: 5, ..Options::default() });
    live.sim.switches(|s| s.index_lag_searches = 0);
    let gadgets = Gadgets::make(&live.sim);
    live.import();
    live.connect().batch_execute(TABLES).expect("tables");
    let (mut tally, mut report) = (Tally::default(), String::new());
    for seed in seeds {
        let case = Case::new(seed);
        let script = script(&case, name, seed);
        if only {
            println!("{script}");
        }
        tally.cases += 1;
        let (prepare, [first, second]) = case.texts();
        let mut pushed = connect(&live, "on");
        let mut unpushed = connect(&live, "off");
        let mode = format!("SET plan_cache_mode = {}; {prepare}", case.mode);
        let before = [&mut pushed, &mut unpushed].map(|client| {
            client.batch_execute(&mode).unwrap_or_else(|e| panic!("{script}{e:?}"));
            rows(client, &first)
        });
        // What the second execution gives while names mean what they did.
        let old = fresh(&live, "off", &prepare, &second);
        gadgets.shift(&live.sim, case.shift, false).unwrap_or_else(|e| panic!("{script}{e}"));
        let after = [rows(&mut pushed, &second), rows(&mut unpushed, &second)];
        let truth = fresh(&live, "off", &prepare, &second);
        let new = fresh(&live, "on", &prepare, &second);
        gadgets.shift(&live.sim, case.shift, true).unwrap_or_else(|e| panic!("{script}{e}"));
        let mut why = String::new();
        if before[0] != before[1] {
            let _ = writeln!(why, "-- before: {:.400?} instead of {:.400?}", before[0], before[1]);
        }
        match &truth {
            Err(_) => tally.same_error += 1,
            Ok(truth) => {
                tally.with_rows += u64::from(!truth.is_empty());
                tally.changed += u64::from(before[1].as_ref() != Ok(truth));
                // By its old type, a table shows what objects of that type are called now.
                let of_old_type = matches!(case.shift, Shift::Type | Shift::TypeReplaced) && case.by_name();
                let old = if of_old_type { &after[1] } else { &old };
                for (what, found) in [
                    ("pushed, afterwards", &after[0]),
                    ("not pushed, afterwards", &after[1]),
                    ("new session", &new),
                ] {
                    match found {
                        Ok(found) if found == truth => {}
                        Ok(found) if case.by_name() && what != "new session" && old.as_ref() == Ok(found) => {
                            tally.stale += 1;
                        }
                        Ok(found) => {
                            let lost: Vec<&String> =
                                truth.iter().filter(|r| !found.contains(r)).take(3).collect();
                            let added: Vec<&String> =
                                found.iter().filter(|r| !truth.contains(r)).take(3).collect();
                            let _ = writeln!(
                                why,
                                "-- {what}: {} rows instead of {}, lost {lost:?}, added {added:?}",
                                found.len(),
                                truth.len()
                            );
                        }
                        Err(error) if what.starts_with("new") => {
                            let _ = writeln!(why, "-- {what}: {error:.300}");
                        }
                        Err(error) => {
                            tally.refused += 1;
                            if only {
                                println!("-- {what}: {error}");
                            }
                        }
                    }
                }
            }
        }
        if !why.is_empty() {
            tally.failed += 1;
            let found = format!("{script}{why}\n");
            print!("{found}");
            report.push_str(&found);
        }
        if tally.failed >= number("FAILURES").unwrap_or(20) {
            break;
        }
    }
    println!("oracle, {name}, shifting: {tally:?}");
    assert!(report.is_empty(), "{} of {} cases differ\n{report}", tally.failed, tally.cases);
    assert_eq!(Server::shared().crashes(), Vec::<String>::new());
    // ERRORs alone prove nothing, nor does what stays as it was.
    if count >= SHORT {
        assert!(tally.with_rows > count / 3 && tally.changed > count / 10, "{tally:?}");
        assert!(tally.refused < count / 4 && tally.same_error < count / 3, "{tally:?}");
    }
}

/// What to type to see it by hand, in a session with the tables of this file; the change is between the executions.
fn script(case: &Case, profile: &str, seed: u64) -> String {
    let (prepare, [first, second]) = case.texts();
    let mut text =
        format!("-- SERVICE={profile} SEED={seed}, shifting: {:?} between the executions\n", case.shift);
    let _ = writeln!(text, "SET plan_cache_mode = {};", case.mode);
    for line in [prepare, first, second].iter().filter(|line| !line.is_empty()) {
        let _ = writeln!(text, "{line};");
    }
    text
}
