//! A database connected with a simulator, and what tests of the foreign tables ask of both.

use std::collections::BTreeMap;
use std::time::Duration;

use assets_fdw_tests::assets_sim::{
    Attribute, DumpObject, DumpValue, Endpoint, Kind, LogEntry, Options, Profile, Sim,
};

use assets_fdw_tests::{Database, Server, wait_until};
use postgres::{Client, Row};

/// Every way in which the service may behave.
pub const PROFILES: [Profile; 3] = [Profile::Documented, Profile::Lenient, Profile::Hostile];

/// The object schemas of the simulated company, and where [`Live::import`] puts them.
pub const SCHEMAS: [(&str, &str); 3] = [("ITSM", "itsm"), ("FAC", "fac"), ("SVC", "svc")];

/// A database with the foreign server `assets`, which is the simulator beside it.
pub struct Live {
    pub sim: Sim,
    pub database: Database<'static>,
}

impl Live {
    /// Starts a simulator and connects a new database of the shared server with it.
    pub fn start(options: Options) -> Live {
        let sim = Sim::start(options).expect("a simulator");
        let database = Server::shared().create_database();
        database.create_assets_server(&sim);
        Live { sim, database }
    }

    /// The same with a profile and a number of objects, and everything imported.
    pub fn imported(profile: Profile, objects: u64) -> Live {
        let live = Live::start(Options { profile, objects, ..Options::default() });
        live.import();
        live
    }

    /// Imports every object schema.
    pub fn import(&self) {
        let mut client = self.connect();
        for (remote, local) in SCHEMAS {
            let sql = format!(
                "CREATE SCHEMA {local}; IMPORT FOREIGN SCHEMA \"{remote}\" FROM SERVER assets INTO {local}"
            );
            client.batch_execute(&sql).unwrap_or_else(|error| panic!("{remote}: {error:?}"));
        }
    }

    /// A session of the superuser.
    #[track_caller]
    pub fn connect(&self) -> Client {
        self.database.connect()
    }

    /// A session that collects its notices, as `SEVERITY: message`.
    pub fn connect_listening(&self) -> (Client, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
        let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let ear = heard.clone();
        let mut config = Server::shared().config(self.database.name(), "postgres");
        config.notice_callback(move |notice| {
            ear.lock().expect("notices").push(format!("{}: {}", notice.severity(), notice.message()));
        });
        (config.connect(postgres::NoTls).expect("a session"), heard)
    }

    /// The searches that the simulator was asked for.
    pub fn searches(&self) -> Vec<LogEntry> {
        self.sim.log().into_iter().filter(|entry| entry.endpoint == Endpoint::ObjectAql).collect()
    }

    /// Forgets the requests so far, once none has come for a while: a page that a scan asked for ahead and
    /// then did not need may arrive after its statement has ended.
    pub fn clear_log(&self) {
        let mut seen = usize::MAX;
        wait_until("no requests", Duration::from_secs(30), || {
            std::thread::sleep(Duration::from_millis(25));
            std::mem::replace(&mut seen, self.sim.log().len()) == self.sim.log().len()
        });
        self.sim.clear_log();
    }

    /// The requests of `object/aql` and `totalcount` that a statement makes.
    pub fn requests(&self, client: &mut Client, sql: &str) -> usize {
        self.clear_log();
        client.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let counted = [Endpoint::ObjectAql, Endpoint::TotalCount];
        self.sim.log().iter().filter(|entry| counted.contains(&entry.endpoint)).count()
    }

    /// The searches that a statement makes.
    pub fn searches_of(&self, client: &mut Client, sql: &str) -> Vec<LogEntry> {
        self.clear_log();
        client.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        self.searches()
    }
}

/// Statements that name collations of ICU, for a server that may have been built without it: then it says so,
/// and they name the collation "C" instead.
pub fn with_icu_or_without(client: &mut Client, sql: &str) -> String {
    if has_icu(client) {
        return sql.to_owned();
    }
    let lines = sql.lines().filter(|line| !line.contains("CREATE COLLATION"));
    let mut sql: String = lines.flat_map(|line| [line, "\n"]).collect();
    for collation in ["anycase", "\"tr-x-icu\"", "\"de-x-icu\""] {
        sql = sql.replace(&format!("COLLATE {collation}"), "COLLATE \"C\"");
    }
    sql
}

/// Whether the server has ICU; says so where it has not.
pub fn has_icu(client: &mut Client) -> bool {
    let has: bool = one(client, "SELECT EXISTS (SELECT FROM pg_collation WHERE collname = 'tr-x-icu')");
    if !has {
        eprintln!("NOT TRIED: this server has no ICU, so its collations are left out");
    }
    has
}

/// What an ERROR says.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    pub code: String,
    pub message: String,
    pub detail: String,
    pub hint: String,
}

impl Refusal {
    /// The ERROR in a failure; panics when it is something else, such as a connection that broke.
    #[track_caller]
    pub fn of(error: &postgres::Error) -> Refusal {
        let error = error.as_db_error().unwrap_or_else(|| panic!("no ERROR of the server: {error:?}"));
        Refusal {
            code: error.code().code().to_owned(),
            message: error.message().to_owned(),
            detail: error.detail().unwrap_or_default().to_owned(),
            hint: error.hint().unwrap_or_default().to_owned(),
        }
    }

    /// Everything it says, in one text.
    pub fn text(&self) -> String {
        format!("{} {} {} {}", self.code, self.message, self.detail, self.hint)
    }
}

/// Runs a statement that has to fail.
#[track_caller]
pub fn refused(client: &mut Client, sql: &str) -> Refusal {
    match client.batch_execute(sql) {
        Ok(()) => panic!("no ERROR: {sql}"),
        Err(error) => Refusal::of(&error),
    }
}

/// What comes of it where nothing but the object type is sent.
#[track_caller]
pub fn unpushed<T>(client: &mut Client, body: impl FnOnce(&mut Client) -> T) -> T {
    client.batch_execute("SET assets_fdw.enable_pushdown = off").unwrap();
    let found = body(client);
    client.batch_execute("RESET assets_fdw.enable_pushdown").unwrap();
    found
}

/// One value of a query.
#[track_caller]
pub fn one<T: for<'a> postgres::types::FromSql<'a>>(client: &mut Client, sql: &str) -> T {
    client.query_one(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
}

/// The lines of an EXPLAIN.
#[track_caller]
pub fn explain(client: &mut Client, sql: &str) -> String {
    let rows = client.query(&format!("EXPLAIN (COSTS OFF) {sql}"), &[]);
    let rows = rows.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n")
}

/// A column of a foreign table as PostgreSQL has it.
#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub sql_type: String,
    pub options: BTreeMap<String, String>,
}

/// The columns of a foreign table, in order.
pub fn columns(client: &mut Client, table: &str) -> Vec<Column> {
    let rows = client
        .query(
            "SELECT attname, format_type(atttypid, atttypmod), attfdwoptions FROM pg_attribute
              WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            &[&table],
        )
        .expect("the columns of a table");
    let column = |row: &Row| Column {
        name: row.get(0),
        sql_type: row.get(1),
        options: option_map(row.get::<_, Option<Vec<String>>>(2).unwrap_or_default()),
    };
    rows.iter().map(column).collect()
}

/// The options of a foreign table.
pub fn table_options(client: &mut Client, table: &str) -> BTreeMap<String, String> {
    let row = client
        .query_one("SELECT ftoptions FROM pg_foreign_table WHERE ftrelid = $1::text::regclass", &[&table])
        .expect("the options of a table");
    option_map(row.get(0))
}

fn option_map(options: Vec<String>) -> BTreeMap<String, String> {
    let split = |option: String| {
        let (name, value) = option.split_once('=').expect("name=value");
        (name.to_owned(), value.to_owned())
    };
    options.into_iter().map(split).collect()
}

/// The foreign tables of a local schema, by name.
pub fn tables(client: &mut Client, schema: &str) -> Vec<String> {
    let rows = client
        .query(
            "SELECT foreign_table_name::text FROM information_schema.foreign_tables
              WHERE foreign_table_schema = $1 ORDER BY 1",
            &[&schema],
        )
        .expect("the foreign tables");
    rows.iter().map(|row| row.get(0)).collect()
}

/// A value of a row as text: none for NULL, several for an array.
pub type Cell = Option<Vec<String>>;

/// Every row of a table, each column as text, ordered by id. Doubles as their bits.
pub fn rows(client: &mut Client, table: &str, columns: &[Column]) -> Vec<Vec<Cell>> {
    let list: Vec<String> = columns
        .iter()
        .map(|c| match c.sql_type.ends_with("[]") {
            true => format!("{}::text[]", quoted(&c.name)),
            false => format!("{}::text", quoted(&c.name)),
        })
        .collect();
    let sql = format!("SELECT {} FROM {table} ORDER BY id", list.join(", "));
    let rows = client.query(&sql, &[]).unwrap_or_else(|error| panic!("{table}: {error:?}"));
    let cell = |row: &Row, i: usize| -> Cell {
        let texts: Option<Vec<String>> = match columns[i].sql_type.ends_with("[]") {
            true => row.get(i),
            false => row.get::<_, Option<String>>(i).map(|text| vec![text]),
        };
        texts.map(|list| list.into_iter().map(|text| comparable(&columns[i].sql_type, text)).collect())
    };
    rows.iter().map(|row| (0..columns.len()).map(|i| cell(row, i)).collect()).collect()
}

/// The same rows as the simulator knows them.
pub fn true_rows(
    sim: &Sim,
    dump: &[DumpObject],
    attributes: &[Attribute],
    columns: &[Column],
) -> Vec<Vec<Cell>> {
    let mut objects: Vec<&DumpObject> = dump.iter().collect();
    objects.sort_by_key(|object| object.id);
    let row = |object: &&DumpObject| columns.iter().map(|c| true_cell(sim, object, attributes, c)).collect();
    objects.iter().map(row).collect()
}

fn true_cell(sim: &Sim, object: &DumpObject, attributes: &[Attribute], column: &Column) -> Cell {
    let texts = match column.options.get("field").map(String::as_str) {
        Some("id") => vec![object.id.to_string()],
        Some("key") => vec![object.key.clone()],
        Some("label") => vec![object.label.clone()],
        Some("object_type") => vec![object.type_name.clone()],
        Some("created") => vec![instant(object.created)],
        Some("updated") => vec![instant(object.updated)],
        Some("url") => vec![format!("{}/jira/servicedesk/assets/object/{}", sim.url(), object.id)],
        Some(field) => panic!("a column shows the field {field}"),
        None => {
            let id = &column.options["attribute_id"];
            let attribute = attributes.iter().find(|a| a.id.to_string() == *id).expect("a known attribute");
            let values = object.attributes.iter().find(|a| a.attribute_id == attribute.id);
            let part = column.options.get("part").map(String::as_str);
            let values = values.map_or(&[][..], |a| &a.values).iter();
            values.map(|value| true_text(value, attribute.kind, part)).collect()
        }
    };
    // An empty text is NULL.
    let texts: Vec<String> = texts.into_iter().filter(|text| !text.is_empty()).collect();
    (!texts.is_empty()).then_some(texts)
}

fn true_text(value: &DumpValue, kind: Kind, part: Option<&str>) -> String {
    match (value, part) {
        (DumpValue::Text { value }, _) if kind == Kind::IpAddress && !value.is_empty() => {
            let address: std::net::IpAddr = value.parse().expect("an address");
            format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
        }
        (DumpValue::Text { value }, _) => value.clone(),
        (DumpValue::Integer { value }, _) => value.to_string(),
        (DumpValue::Double { value }, _) => bits(*value),
        (DumpValue::Boolean { value }, _) => value.to_string(),
        (DumpValue::Date { value }, _) => day(*value),
        (DumpValue::Time { value }, _) => {
            format!("{:02}:{:02}:{:02}", value / 3600, value / 60 % 60, value % 60)
        }
        (DumpValue::DateTime { value }, _) => instant(*value),
        (DumpValue::Object { key, .. }, Some("key")) => key.clone(),
        (DumpValue::Object { label, .. }, None) => label.clone(),
        (DumpValue::User { account_id, .. }, Some("account_id")) => account_id.clone(),
        (DumpValue::User { display_name, .. }, None) => display_name.clone(),
        (DumpValue::Group { name }, None) | (DumpValue::Status { name, .. }, None) => name.clone(),
        (value, part) => panic!("a column shows the part {part:?} of {value:?}"),
    }
}

fn comparable(sql_type: &str, text: String) -> String {
    match sql_type.trim_end_matches("[]") {
        "double precision" => bits(text.parse().expect("a double")),
        // The two are one name in the two ways of casting.
        "boolean" if text == "t" => "true".to_owned(),
        "boolean" if text == "f" => "false".to_owned(),
        _ => text,
    }
}

/// A double so that two are equal only if they are the same; `-0` is `0`.
fn bits(value: f64) -> String {
    format!("{:016x} ({value})", (value + 0.0).to_bits())
}

/// `2024-02-29`, from days since 1970-01-01.
fn day(days: i64) -> String {
    let mut year = 1;
    let mut rest = days + 719_162;
    let length = |year: i64| if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) { 366 } else { 365 };
    while rest >= length(year) {
        rest -= length(year);
        year += 1;
    }
    let february = length(year) - 337;
    let mut month = 1;
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if rest < days {
            break;
        }
        rest -= days;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}", rest + 1)
}

/// `2024-02-29 23:59:59.999+00`, from milliseconds since 1970.
fn instant(ms: i64) -> String {
    let (days, rest) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let seconds = rest / 1000;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = match rest % 1000 {
        0 => String::new(),
        ms => format!(".{ms:03}").trim_end_matches('0').to_owned(),
    };
    format!("{} {hour:02}:{minute:02}:{second:02}{fraction}+00", day(days))
}

/// A type and everything below it.
pub fn with_descendants(sim: &Sim, type_id: u32) -> Vec<u32> {
    let types = sim.types();
    let mut found = vec![type_id];
    let mut next = 0;
    while next < found.len() {
        let parent = Some(found[next]);
        found.extend(types.iter().filter(|t| t.parent == parent).map(|t| t.id));
        next += 1;
    }
    found
}

/// Compares a foreign table with the simulator's own objects; panics with the first difference. Gives the rows' number.
#[track_caller]
pub fn compare_table(live: &Live, client: &mut Client, table: &str) -> usize {
    let options = table_options(client, table);
    let type_id: u32 = options["object_type_id"].parse().expect("an id");
    let types = match options.get("children").map(String::as_str) {
        Some("include") => with_descendants(&live.sim, type_id),
        _ => vec![type_id],
    };
    let dump: Vec<DumpObject> = types.iter().flat_map(|id| live.sim.dump(*id)).collect();
    let columns: Vec<Column> = columns(client, table).into_iter().filter(|c| c.sql_type != "jsonb").collect();
    let found = rows(client, table, &columns);
    let wanted = true_rows(&live.sim, &dump, &live.sim.attributes(type_id), &columns);
    for (found, wanted) in found.iter().zip(&wanted) {
        for (column, (found, wanted)) in columns.iter().zip(found.iter().zip(wanted)) {
            assert_eq!(found, wanted, "{table}.{} of {:?}", column.name, columns.len());
        }
    }
    assert_eq!(found.len(), wanted.len(), "rows of {table}");
    found.len()
}

/// A quoted identifier.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A quoted literal.
pub fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
