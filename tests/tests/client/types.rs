//! Columns of the types that people write by hand: whatever is asked of the service about them, rows, orders,
//! extremes and counts are those of a local copy, with and without proofs.

use assets_fdw_tests::assets_sim::{Kind, Options, Profile};

use crate::live::{Live, one};

/// The columns: a name, a type, what it shows, whether values can be compared with `<`.
const COLUMNS: &[(&str, &str, &str, bool)] = &[
    ("ram2", "smallint", "attribute 'RAM'", true),
    ("ram4", "integer", "attribute 'RAM'", true),
    ("ram8", "bigint", "attribute 'RAM'", true),
    ("ramn", "numeric", "attribute 'RAM'", true),
    ("ramr", "numeric(5,-2)", "attribute 'RAM'", true),
    ("ramf4", "real", "attribute 'RAM'", true),
    ("ramf8", "double precision", "attribute 'RAM'", true),
    ("ramt", "text", "attribute 'RAM'", true),
    ("ramv", "varchar(4)", "attribute 'RAM'", true),
    ("ramd", "gigabytes", "attribute 'RAM'", true),
    ("ramx", "text", "attribute 'RAM', part 'email'", true),
    ("ramk", "integer", "attribute 'RAM', part 'key'", true),
    ("weight8", "double precision", "attribute 'Weight'", true),
    ("weight4", "real", "attribute 'Weight'", true),
    ("weightn", "numeric(10,1)", "attribute 'Weight'", true),
    ("weightt", "text", "attribute 'Weight'", true),
    ("made", "date", "attribute 'Made'", true),
    ("madet", "text", "attribute 'Made'", true),
    ("mades", "timestamp", "attribute 'Made'", true),
    ("maded", "working_day", "attribute 'Made'", true),
    ("seen", "timestamptz", "attribute 'Seen'", true),
    ("seen0", "timestamptz(0)", "attribute 'Seen'", true),
    ("seen2", "timestamptz(2)", "attribute 'Seen'", true),
    ("seen3", "timestamptz(3)", "attribute 'Seen'", true),
    ("seens", "timestamp(0)", "attribute 'Seen'", true),
    ("seend", "date", "attribute 'Seen'", true),
    ("seenm", "moment", "attribute 'Seen'", true),
    ("opens", "time", "attribute 'Opens'", true),
    ("opens0", "time(0)", "attribute 'Opens'", true),
    ("code", "text", "attribute 'Code'", true),
    ("codev", "varchar", "attribute 'Code'", true),
    ("code3", "varchar(3)", "attribute 'Code'", true),
    ("codec", "char(5)", "attribute 'Code'", true),
    ("on_off", "boolean", "attribute 'On'", false),
    ("on_offt", "text", "attribute 'On'", true),
    ("created0", "timestamptz(0)", "field 'created'", true),
    ("updated1", "timestamptz(1)", "field 'updated'", true),
    ("updateds", "timestamp", "field 'updated'", true),
    ("id4", "integer", "field 'id'", true),
    ("idn", "numeric", "field 'id'", true),
];

const SENSITIVE: &[&str] = &[
    "ram2", "ram4", "ramn", "ramk", "weight8", "made", "seen0", "seen2", "code3", "on_off", "created0", "id4",
];

/// What is asked of each column `c`; `v` stands for one of its values, `w` for another.
const QUESTIONS: &[&str] = &[
    "SELECT c FROM t ORDER BY c LIMIT 5",
    "SELECT c FROM t ORDER BY c DESC NULLS LAST LIMIT 5",
    "SELECT c FROM t ORDER BY c DESC LIMIT 9",
    "SELECT c FROM t WHERE c IS NOT NULL ORDER BY c OFFSET 3 FETCH FIRST 2 ROWS WITH TIES",
    "SELECT c FROM t ORDER BY c DESC NULLS LAST FETCH FIRST 3 ROWS WITH TIES",
    "SELECT min(c) FROM t",
    "SELECT max(c) FROM t",
    "SELECT count(*) FROM t WHERE c IS NULL",
    "SELECT count(*) FROM t WHERE c IS NOT NULL",
];

const COMPARISONS: &[&str] = &["c = v", "c <> v", "c IN (v, w)", "c < v", "c <= v", "c > v", "c >= v"];

/// A type whose values are easily told apart, and easily confused.
fn gauges(live: &Live) {
    let kinds = [
        ("RAM", Kind::Integer),
        ("Weight", Kind::Double),
        ("Made", Kind::Date),
        ("Seen", Kind::DateTime),
        ("Opens", Kind::Time),
        ("Code", Kind::Text),
        ("On", Kind::Boolean),
    ];
    live.sim.add_type("ITSM", "Gauge", None).unwrap();
    for (name, kind) in kinds {
        live.sim.add_attribute("Gauge", name, kind, false).unwrap();
    }
    let ram = [16, 512, 9, 64, 128, 1, 32, 8];
    let codes = ["abc", "abc   ", "ab", "ab ", "ABC", "x", "xyz  ", "é  "];
    for n in 0..64_usize {
        let values = [
            ("RAM", ram[n % 8].to_string()),
            ("Weight", format!("{}.{}5", (n * 7) % 11, n % 10)),
            ("Made", format!("20{:02}-03-{:02}", 10 + n % 5, 1 + n % 9)),
            (
                "Seen",
                format!("2024-05-{:02}T10:00:0{}.{}Z", 1 + n % 3, n % 7, ["499", "500", "600", "005"][n % 4]),
            ),
            ("Opens", format!("{:02}:30", n % 24)),
            ("Code", codes[n % 8].to_owned()),
            ("On", (n % 3 == 0).to_string()),
        ];
        // Each attribute is missing of some objects, of others than the next.
        let there = values.iter().enumerate().filter(|(i, _)| (n + i) % 9 != 0);
        let values: Vec<(&str, &str)> = there.map(|(_, (name, value))| (*name, value.as_str())).collect();
        live.sim.create("Gauge", &format!("gauge {n}"), &values).unwrap();
    }
}

fn rows(client: &mut postgres::Client, sql: &str) -> String {
    one(client, &format!("SELECT coalesce(string_agg(coalesce(q::text, 'NULL'), ' '), '') FROM ({sql}) q"))
}

#[test]
fn hand_written_types_order_compare_and_count_as_a_local_copy_does() {
    for profile in [Profile::Documented, Profile::Hostile] {
        let live = Live::start(Options { profile, objects: 30, ..Options::default() });
        gauges(&live);
        let mut client = live.connect();
        let columns: Vec<String> =
            COLUMNS.iter().map(|(name, sql, shows, _)| format!("{name} {sql} OPTIONS ({shows})")).collect();
        client
            .batch_execute(&format!(
                "SET timezone = 'UTC';
                 CREATE DOMAIN gigabytes AS integer CHECK (VALUE > 0);
                 CREATE DOMAIN working_day AS date;
                 CREATE DOMAIN moment AS timestamptz(0);
                 CREATE FOREIGN TABLE gauge (key text, {}) SERVER assets
                     OPTIONS (object_schema 'ITSM', object_type 'Gauge');
                 SET assets_fdw.enable_pushdown = off;
                 CREATE TABLE copy AS SELECT * FROM gauge;
                 RESET assets_fdw.enable_pushdown",
                columns.join(", ")
            ))
            .unwrap();
        assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM copy"), 64);
        // What is shown is what the type makes of the value.
        for (column, made) in [
            ("seen0", "seen::timestamptz(0)"),
            ("seen2", "seen::timestamptz(2)"),
            ("seens", "seen::timestamp(0)"),
            ("opens0", "opens::time(0)"),
            ("ram2", "ram8::smallint"),
            ("ramr", "ram8::numeric(5,-2)"),
            ("code3", "code::varchar(3)"),
            ("weightn", "weightt::numeric(10,1)"),
            ("ramx", "NULL"),
        ] {
            let differ = format!("SELECT count(*) FROM copy WHERE {column} IS DISTINCT FROM {made}");
            assert_eq!(one::<i64>(&mut client, &differ), 0, "{profile:?}: {column} is not {made}");
        }
        assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM copy WHERE code3 = 'abc'"), 14);
        for proven in [false, true] {
            if !proven && profile == Profile::Hostile {
                continue;
            }
            if proven {
                client.batch_execute("SELECT FROM assets_fdw.verify_pushdown('assets')").unwrap();
            }
            // Whichever way the service behaves, only some of them may be asked for differently.
            let few = |name: &str| profile == Profile::Documented || SENSITIVE.contains(&name);
            for (column, sql_type, _, ordered) in COLUMNS.iter().filter(|column| few(column.0)) {
                for question in questions(&mut client, column, sql_type, *ordered) {
                    let asked = |table| question.replace(" FROM t", &format!(" FROM {table}"));
                    let expected = rows(&mut client, &asked("copy"));
                    let found = rows(&mut client, &asked("gauge"));
                    assert_eq!(found, expected, "{profile:?} proven {proven}: {}", asked("gauge"));
                }
            }
        }
    }
}

fn questions(client: &mut postgres::Client, column: &str, sql_type: &str, ordered: bool) -> Vec<String> {
    let mut all: Vec<String> = QUESTIONS
        .iter()
        .filter(|q| ordered || !(q.contains("min(") || q.contains("max(")))
        .map(|q| q.replace("(c)", &format!("({column})")).replace(" c ", &format!(" {column} ")))
        .collect();
    let values: Vec<String> = client
        .query(
            &format!(
                "SELECT quote_literal(v) || '::{sql_type}' FROM
                 (SELECT DISTINCT {column} AS v FROM copy WHERE {column} IS NOT NULL ORDER BY 1) q"
            ),
            &[],
        )
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    let Some(last) = values.len().checked_sub(1) else { return all };
    for (n, comparison) in COMPARISONS.iter().enumerate() {
        // Another value each time.
        let (v, w) = match (n + column.len()) % 3 {
            0 => (last / 2, last),
            1 => (last / 3, last / 2),
            _ => (last, 0),
        };
        for what in ["count(*)", "key"] {
            let comparison = comparison
                .replace('v', &values[v])
                .replace(", w", &format!(", {}", values[w]))
                .replacen('c', column, 1);
            let order = if what == "key" { " ORDER BY key" } else { "" };
            all.push(format!("SELECT {what} FROM t WHERE {comparison}{order}"));
        }
    }
    all
}

#[test]
fn the_greatest_of_whole_numbers_is_found_in_columns_of_every_width() {
    let live = Live::start(Options { profile: Profile::Documented, objects: 300, ..Options::default() });
    gauges(&live);
    let mut client = live.connect();
    client
        .batch_execute(
            "CREATE FOREIGN TABLE gauge (key text, ram2 smallint OPTIONS (attribute 'RAM'), ram integer)
                 SERVER assets OPTIONS (object_schema 'ITSM', object_type 'Gauge');
             SELECT FROM assets_fdw.verify_pushdown('assets')",
        )
        .unwrap();
    for column in ["ram", "ram2"] {
        let found: String = one(&mut client, &format!("SELECT max({column})::text FROM gauge"));
        assert_eq!(found, "512");
        let sql = format!("SELECT max({column}) FROM gauge");
        assert_eq!(live.requests(&mut client, &sql), 1, "and by one request");
    }
    // A value that the type cannot hold is an error, as ever.
    let key = live.sim.create("Gauge", "great", &[("RAM", "70000")]).unwrap();
    let error = crate::live::refused(&mut client, "SELECT count(ram2) FROM gauge");
    assert_eq!(error.code, "HV024");
    assert!(error.message.contains(&key) && error.message.contains("out of range"), "{}", error.message);
    assert_eq!(one::<i32>(&mut client, "SELECT max(ram) FROM gauge"), 70_000);
}
