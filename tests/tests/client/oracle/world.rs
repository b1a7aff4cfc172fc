//! The tables that the oracle asks: what import makes, what users make by hand, and data that is hard to get right.

use std::collections::HashSet;

use assets_fdw_tests::assets_sim::{Kind, Options, Profile, Sim, Unreadable};
use postgres::Client;

use super::super::{Field, Table, World};
use super::letters;
use crate::live::{Live, SCHEMAS, columns, quoted, tables, with_icu_or_without};

/// How many objects the company has. Enough for several pages of the larger types.
const OBJECTS: u64 = 800;

/// A database with every table, and a local copy of each.
pub struct Stage {
    pub live: Live,
    pub world: World,
    /// For each table and column that holds keys of other objects: the tables that hold those.
    pub targets: Vec<Vec<Vec<usize>>>,
}

/// Tables with columns of other types than import would choose, and with other options.
const OWN: &str = r#"
CREATE EXTENSION citext;
CREATE TYPE tier AS ENUM ('Tier 3', 'tier 1', 'Tier 1', 'Tier 2');
CREATE DOMAIN big AS numeric(40, 0) CHECK (VALUE IS NOT NULL);
CREATE DOMAIN word AS text;
CREATE COLLATION anycase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE SCHEMA own;
CREATE FOREIGN TABLE own.odd (
    id numeric, key citext, label varchar, ident text OPTIONS (field 'id'), created date, updated timestamp,
    t citext OPTIONS (attribute 'One Text'), w word OPTIONS (attribute 'One Text'),
    v varchar(400) OPTIONS (attribute 'One Text'), n numeric OPTIONS (attribute 'One Integer'),
    b big OPTIONS (attribute 'One Integer'), d numeric OPTIONS (attribute 'One Double'),
    s tier OPTIONS (attribute 'One Select'), ss tier[] OPTIONS (attribute 'Many Select'),
    day timestamp OPTIONS (attribute 'One Date'), i text OPTIONS (attribute 'One Integer'),
    flag text OPTIONS (attribute 'One Boolean'), moment text OPTIONS (attribute 'One DateTime'),
    many jsonb OPTIONS (attribute 'Many Text'), ip text OPTIONS (attribute 'One IP'),
    ips inet[] OPTIONS (attribute 'Many IP'), g bpchar OPTIONS (attribute 'One Group'),
    ci text OPTIONS (attribute 'One Text') COLLATE anycase, tr text OPTIONS (attribute 'One Text') COLLATE "tr-x-icu",
    de text OPTIONS (attribute 'Straße') COLLATE "de-x-icu", st varchar OPTIONS (attribute 'One Status'),
    stars text[] OPTIONS (attribute 'One Text'), flags boolean[] OPTIONS (attribute 'One Boolean'),
    o integer OPTIONS (attribute 'Order'), ref_key varchar OPTIONS (attribute 'One Object', part 'key'),
    ref_id bigint OPTIONS (attribute 'One Object', part 'id'), st_cat integer OPTIONS (attribute 'One Status', part 'category')
) SERVER assets OPTIONS (object_schema 'ITSM', object_type 'Specimen');
CREATE FOREIGN TABLE own.vague (
    id integer, key varchar(40),
    n bigint OPTIONS (attribute 'One Text', on_invalid 'null'),
    x double precision OPTIONS (attribute 'One Text', on_invalid 'null'),
    f boolean OPTIONS (attribute 'One Text', on_invalid 'null'),
    d date OPTIONS (attribute 'One DateTime', on_invalid 'null'),
    m timestamp OPTIONS (attribute 'One Date', on_invalid 'null'),
    small smallint OPTIONS (attribute 'One Integer', on_invalid 'null'),
    ints bigint[] OPTIONS (attribute 'Many Integer', on_invalid 'null'),
    r real OPTIONS (attribute 'One Double', on_invalid 'null'),
    five varchar(5) OPTIONS (attribute 'One Status', on_invalid 'null'),
    short varchar(6) OPTIONS (attribute 'One Text', on_invalid 'null'),
    ip inet OPTIONS (attribute 'One IP', on_invalid 'null'),
    nid bigint OPTIONS (attribute '2024'), spec text OPTIONS (attribute 'Dot.ted.Name')
) SERVER assets OPTIONS (object_schema 'ITSM', object_type 'Specimen');
CREATE FOREIGN TABLE own.busy_server (
    id bigint, key text, label text, name text, memory_gb bigint, virtual boolean, status text, tags text[],
    owner_key text OPTIONS (attribute 'Owner', part 'key'), owner text OPTIONS (attribute 'Owner'),
    last_backup timestamptz, purchased date, updated timestamptz
) SERVER assets OPTIONS (object_schema 'ITSM', object_type 'Server', aql '"Memory GB" > 100 OR Virtual = true');
CREATE FOREIGN TABLE own.everything (
    id bigint, key text, label text, object_type text, name text, status text, price double precision,
    used_by text OPTIONS (attribute 'Used By'), used_by_key text OPTIONS (attribute 'Used By', part 'key'),
    ports bigint OPTIONS (attribute 'Ports'), encrypted boolean OPTIONS (attribute 'Encrypted'), created timestamptz
) SERVER assets OPTIONS (object_schema 'ITSM', object_type 'Hardware', children 'include');
CREATE FOREIGN TABLE own.app (
    id bigint, key text, object_type text, name text, version text OPTIONS (attribute 'Version'),
    ports bigint[] OPTIONS (attribute 'Ports'), runs_on_key text[] OPTIONS (attribute 'Runs On', part 'key'),
    runs_on text[] OPTIONS (attribute 'Runs On'), owners_account_id text[] OPTIONS (attribute 'Owners', part 'account_id')
) SERVER assets OPTIONS (object_schema 'ITSM', object_type 'Application', children 'include');
CREATE FOREIGN TABLE own.service (
    id bigint, key text, tier text OPTIONS (attribute 'Tier', aql_name 'a_Tier'),
    service_id text OPTIONS (attribute 'Service ID')
) SERVER assets OPTIONS (object_schema 'SVC', object_type 'Service');
CREATE DOMAIN few AS smallint CHECK (VALUE BETWEEN 0 AND 64);
CREATE DOMAIN brief AS varchar(8) CHECK (VALUE <> 'Plain');
CREATE FOREIGN TABLE own.narrow (
    id integer, key varchar(20), label text,
    name12 varchar(12) OPTIONS (attribute 'Name', on_invalid 'null'), n2 smallint OPTIONS (attribute 'Memory GB'),
    n4 integer OPTIONS (attribute 'Memory GB'), n8 bigint OPTIONS (attribute 'Memory GB'),
    n30 numeric(3,0) OPTIONS (attribute 'Memory GB'), n21 numeric(3,1) OPTIONS (attribute 'Memory GB', on_invalid 'null'),
    nf real OPTIONS (attribute 'Memory GB'), nd double precision OPTIONS (attribute 'Memory GB'),
    nt text OPTIONS (attribute 'Memory GB'), nfew few OPTIONS (attribute 'Memory GB', on_invalid 'null'),
    n2s smallint[] OPTIONS (attribute 'Memory GB'), price numeric(8,1) OPTIONS (attribute 'Price'),
    pf real OPTIONS (attribute 'Price'), p4 integer OPTIONS (attribute 'Price', on_invalid 'null'),
    pt text OPTIONS (attribute 'Price'), ip text OPTIONS (attribute 'IP Address'), net inet OPTIONS (attribute 'IP Address'),
    cidr cidr OPTIONS (attribute 'IP Address', on_invalid 'null'), tags3 varchar(4)[] OPTIONS (attribute 'Tags', on_invalid 'null'),
    backup timestamptz(0) OPTIONS (attribute 'Last Backup'), backup3 timestamptz(3) OPTIONS (attribute 'Last Backup'),
    backup_day date OPTIONS (attribute 'Last Backup'), backup_at timestamp(0) OPTIONS (attribute 'Last Backup'),
    bought timestamptz OPTIONS (attribute 'Purchased'), bought_t text OPTIONS (attribute 'Purchased'),
    bought_at timestamp(0) OPTIONS (attribute 'Purchased'), window0 time(0) OPTIONS (attribute 'Maintenance Window'),
    virtual text OPTIONS (attribute 'Virtual'), state brief OPTIONS (attribute 'Status', on_invalid 'null'),
    state3 char(9) OPTIONS (attribute 'Status', on_invalid 'null'),
    created timestamptz(0), updated timestamp(0), owner_id integer OPTIONS (attribute 'Owner', part 'id'),
    owner_key varchar(12) OPTIONS (attribute 'Owner', part 'key'), owner text OPTIONS (attribute 'Owner'),
    location_key text OPTIONS (attribute 'Location', part 'key')
) SERVER assets OPTIONS (object_schema 'ITSM', object_type 'Server');
CREATE FOREIGN TABLE own.numbers (
    id bigint, key text,
    i2 smallint OPTIONS (attribute 'One Integer', on_invalid 'null'), i4 integer OPTIONS (attribute 'One Integer', on_invalid 'null'),
    i8 bigint OPTIONS (attribute 'One Integer'), in5 numeric(5,2) OPTIONS (attribute 'One Integer', on_invalid 'null'),
    if4 real OPTIONS (attribute 'One Integer'), if8 double precision OPTIONS (attribute 'One Integer'),
    i2s smallint[] OPTIONS (attribute 'Many Integer', on_invalid 'null'), i4s integer[] OPTIONS (attribute 'Many Integer', on_invalid 'null'),
    ins numeric(6,0)[] OPTIONS (attribute 'Many Integer', on_invalid 'null'), ifs real[] OPTIONS (attribute 'Many Integer'),
    its text[] OPTIONS (attribute 'Many Integer'), d2 integer OPTIONS (attribute 'One Double', on_invalid 'null'),
    dn numeric(10,3) OPTIONS (attribute 'One Double', on_invalid 'null'), df real OPTIONS (attribute 'One Double', on_invalid 'null'),
    dt text OPTIONS (attribute 'One Double'), ti integer OPTIONS (attribute 'One Text', on_invalid 'null'),
    tn numeric OPTIONS (attribute 'One Text', on_invalid 'null'), td date OPTIONS (attribute 'One Text', on_invalid 'null'),
    tts inet[] OPTIONS (attribute 'Many Text', on_invalid 'null'), t8 brief OPTIONS (attribute 'One Text', on_invalid 'null'),
    v3s varchar(3)[] OPTIONS (attribute 'Many Text', on_invalid 'null'), m0 timestamptz(0) OPTIONS (attribute 'One DateTime', on_invalid 'null'),
    md date OPTIONS (attribute 'One DateTime', on_invalid 'null'), mds date[] OPTIONS (attribute 'Many DateTime', on_invalid 'null'),
    m0s timestamptz(0)[] OPTIONS (attribute 'Many DateTime', on_invalid 'null'), ipt text OPTIONS (attribute 'One IP'),
    ips text[] OPTIONS (attribute 'Many IP'), letters text OPTIONS (attribute '名前'), notes text OPTIONS (attribute 'Notes'),
    sharp text OPTIONS (attribute 'Straße'), g text OPTIONS (attribute 'Größe İ'), gs text[] OPTIONS (attribute 'Σίγμας')
) SERVER assets OPTIONS (object_schema 'ITSM', object_type 'Specimen');
CREATE SERVER limited FOREIGN DATA WRAPPER assets_fdw OPTIONS (site '@SITE@', requests_per_minute '0');
CREATE USER MAPPING FOR CURRENT_USER SERVER limited OPTIONS (email 'limited@example.com', api_token 'limited-token');
CREATE SCHEMA lim;
IMPORT FOREIGN SCHEMA "ITSM" LIMIT TO (server, employee, specimen, hardware, subnet) FROM SERVER limited INTO lim;
CREATE FOREIGN TABLE lim.every (
    id bigint, key text, object_type text, name text, price numeric OPTIONS (attribute 'Price'),
    used_by text OPTIONS (attribute 'Used By'), used_by_key text OPTIONS (attribute 'Used By', part 'key'),
    location text OPTIONS (attribute 'Location'), location_key text OPTIONS (attribute 'Location', part 'key'),
    location_id bigint OPTIONS (attribute 'Location', part 'id')
) SERVER limited OPTIONS (object_schema 'ITSM', object_type 'Hardware', children 'include');
CREATE SERVER partial FOREIGN DATA WRAPPER assets_fdw OPTIONS (site '@SITE@', requests_per_minute '0');
CREATE USER MAPPING FOR CURRENT_USER SERVER partial OPTIONS (email 'partial@example.com', api_token 'partial-token');
CREATE SCHEMA part;
IMPORT FOREIGN SCHEMA "ITSM" LIMIT TO (server, laptop, department, specimen, application) FROM SERVER partial INTO part;
IMPORT FOREIGN SCHEMA "FAC" LIMIT TO (city, room) FROM SERVER partial INTO part;
"#;

impl Stage {
    pub fn new(profile: Profile, seed: u64) -> Stage {
        let live = Live::start(Options { profile, objects: OBJECTS, seed, ..Options::default() });
        complicate(&live.sim);
        // What an account may not read shows in its rows in one way or the other.
        let (of_type, of_object, gone) = match profile {
            Profile::Documented => (Unreadable::Shown, Unreadable::Bare, Unreadable::Bare),
            Profile::Lenient => (Unreadable::Bare, Unreadable::Shown, Unreadable::Omitted),
            Profile::Hostile => (Unreadable::Shown, Unreadable::Omitted, Unreadable::Bare),
        };
        live.sim
            .switches(|s| (s.unreadable_type, s.unreadable_object, s.dangling) = (of_type, of_object, gone));
        live.import();
        let mut client = live.connect();
        let own = with_icu_or_without(&mut client, &OWN.replace("@SITE@", &live.sim.url()));
        client.batch_execute(&own).unwrap_or_else(|e| panic!("{e:?}"));
        if live.sim.current_switches().services_prefix {
            super::super::name_attributes_of_services(&mut client);
            let other =
                "ALTER FOREIGN TABLE own.service ALTER service_id OPTIONS (ADD aql_name 'a_Service ID')";
            client.batch_execute(other).unwrap();
        } else {
            client
                .batch_execute("ALTER FOREIGN TABLE own.service ALTER tier OPTIONS (DROP aql_name)")
                .unwrap();
        }
        let mut world = World::copy(&mut client);
        client.batch_execute("SET assets_fdw.enable_pushdown = off").unwrap();
        for schema in ["own", "lim", "part"] {
            client.batch_execute(&format!("CREATE SCHEMA copy_{schema}")).unwrap();
            for name in tables(&mut client, schema) {
                world.tables.push(Table::copy(&mut client, schema, &name));
                client.batch_execute(&format!("ANALYZE {schema}.{name}, copy_{schema}.{name}")).unwrap();
            }
        }
        client.batch_execute(super::relations::TABLES).unwrap_or_else(|e| panic!("{e:?}"));
        let targets = targets(&mut client, &world);
        assert!(world.tables.len() > 25 && SCHEMAS.len() == 3);
        Stage { live, world, targets }
    }
}

/// Objects and attributes that make the easy answer a wrong one.
fn complicate(sim: &Sim) {
    // Searches see all of it at once, and much of it was updated at the same moment.
    sim.switches(|s| (s.index_lag_searches, s.stamp_step_ms) = (0, 900_000));
    // Names that a hierarchy uses twice, in the same and in another case.
    sim.add_attribute("Server", "status", Kind::Text, false).expect("an attribute");
    sim.add_attribute("Laptop", "PRICE", Kind::Text, false).expect("an attribute");
    sim.add_attribute("Router", "Encrypted", Kind::Text, false).expect("an attribute");
    let of = |name: &str| sim.dump(sim.type_id(name).expect("a type"));
    let set = |key: &str, attribute: &str, values: &[&str]| {
        sim.update(key, attribute, values).unwrap_or_else(|e| panic!("{key} {attribute}: {e}"));
    };
    for (n, object) in of("Server").iter().enumerate() {
        match n % 9 {
            0 => set(&object.key, "Status", &[]),
            1 => set(&object.key, "Tags", &["", "prod"]),
            2 => set(&object.key, "Tags", &[""]),
            3 => set(&object.key, "IP Address", &["010.0.0.7"]),
            _ => {}
        }
        if n % 3 == 0 {
            set(&object.key, "status", &["Running"]);
        }
    }
    for (n, object) in of("Laptop").iter().enumerate().filter(|(n, _)| n % 4 == 0) {
        set(&object.key, "Price", &[]);
        set(&object.key, "PRICE", &[if n % 8 == 0 { "12" } else { "much" }]);
    }
    for object in of("Router") {
        set(&object.key, "Encrypted", &["true"]);
    }
    // Referenced objects whose label is empty.
    for object in of("Employee").iter().step_by(10) {
        set(&object.key, "Name", &[""]);
    }
    let texts = [
        "İstanbul",
        "istanbul",
        "ISTANBUL",
        "ıstanbul",
        "straße",
        "STRASSE",
        "Kelvin",
        "kelvin",
        "ſtop",
        "STOP",
        "ς",
        "Σ",
        "σ",
        "\u{fb01}n",
        "FIN",
        "007",
        "7",
        "+7",
        "1e3",
        "1000.0",
        "true",
        "TRUE",
        "yes",
        "2024-02-29",
        "a*b",
        "a?b",
        "a%b",
        "a_b",
        "${x}",
        "\u{a0}nbsp\u{a0}",
        "\u{200b}zero",
        "e\u{301}",
        "é",
    ];
    for (n, object) in of("Specimen").iter().enumerate() {
        set(&object.key, "One Text", &[texts[n % texts.len()]]);
        set(&object.key, "Straße", &[texts[(n * 7 + 3) % texts.len()]]);
        if n % 3 == 0 {
            set(&object.key, "Many Text", &[texts[(n + 5) % texts.len()], ""]);
        }
    }
    letters_everywhere(sim);
    // What others refer to goes last: a write would take the reference to it away.
    for object in of("Employee").iter().skip(3).step_by(17) {
        sim.delete(&object.key).expect("an employee");
    }
    for object in of("Office").iter().skip(2).step_by(11) {
        sim.delete(&object.key).expect("an office");
    }
}

/// Letters beyond ASCII in values, in labels of what is referred to, and in names of attributes.
fn letters_everywhere(sim: &Sim) {
    sim.add_attribute("Specimen", "Größe İ", Kind::Text, false).expect("an attribute");
    sim.add_attribute("Specimen", "Σίγμας", Kind::Text, true).expect("an attribute");
    let of = |name: &str| sim.dump(sim.type_id(name).expect("a type"));
    let text = |n: usize| letters::TEXTS[n % letters::TEXTS.len()];
    let set = |key: &str, attribute: &str, values: &[&str]| {
        sim.update(key, attribute, values).unwrap_or_else(|e| panic!("{key} {attribute}: {e}"));
    };
    for (n, object) in of("Specimen").iter().enumerate() {
        set(&object.key, "名前", &[text(n)]);
        set(&object.key, "Notes", &[text(n * 5 + 2)]);
        set(&object.key, "Größe İ", &[text(n * 3 + 1)]);
        set(&object.key, "Σίγμας", &[text(n * 2), text(n * 7 + 3)]);
    }
    for (n, object) in of("Server").iter().enumerate() {
        if n % 2 == 0 {
            set(&object.key, "Notes", &[text(n)]);
        }
        if n % 5 == 0 {
            set(&object.key, "Name", &[text(n / 5)]);
        }
    }
    for (n, object) in of("Employee").iter().enumerate().filter(|(n, _)| n % 3 == 1) {
        set(&object.key, "Name", &[text(n / 3)]);
    }
    for (n, object) in of("Office").iter().enumerate().filter(|(n, _)| n % 2 == 1) {
        set(&object.key, "Name", &[text(n * 3)]);
    }
}

/// Which tables the keys in a column are keys of.
fn targets(client: &mut Client, world: &World) -> Vec<Vec<Vec<usize>>> {
    let keys = |table: &Table, client: &mut Client| -> HashSet<String> {
        let sql = format!("SELECT key::text FROM copy_{}.{}", table.schema, table.name);
        let rows = client.query(&sql, &[]).unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        rows.iter().filter_map(|row| row.get(0)).collect()
    };
    let keys: Vec<HashSet<String>> = world.tables.iter().map(|table| keys(table, client)).collect();
    let of_field = |field: &Field| {
        let refers =
            |n: &usize| field.name.ends_with("_key") && field.values.iter().any(|v| keys[*n].contains(v));
        (0..keys.len()).filter(refers).collect()
    };
    world.tables.iter().map(|table| table.columns.iter().map(of_field).collect()).collect()
}

impl Table {
    /// Copies a foreign table into the schema called like its own with `copy_` in front.
    fn copy(client: &mut Client, schema: &str, name: &str) -> Table {
        let copy = format!("copy_{schema}.{name}");
        client
            .batch_execute(&format!("CREATE TABLE {copy} AS SELECT * FROM {schema}.{name}"))
            .unwrap_or_else(|e| panic!("{schema}.{name}: {e:?}"));
        let fields = columns(client, &copy).into_iter().map(|column| {
            let array = column.sql_type.ends_with("[]");
            let from = quoted(&column.name);
            let from = if array { format!("unnest({from})") } else { from };
            // What is another in every run, so that a seed means the same query: the simulator's port, and the moment
            // when an object was made hard to get right.
            let steady = match column.name.as_str() {
                "url" => "v !~ '^http://127'",
                "created" | "updated" => "v < '2026'",
                _ => "true",
            };
            let sql = format!(
                "SELECT v FROM (SELECT {from}::text COLLATE \"C\" AS v FROM {copy}) s WHERE v IS NOT NULL AND {steady}
                  GROUP BY 1 ORDER BY md5(v) LIMIT 60"
            );
            let rows = client.query(&sql, &[]).unwrap_or_else(|e| panic!("{sql}: {e:?}"));
            let values = rows.iter().map(|row| row.get(0)).collect();
            let sql_type = column.sql_type.trim_end_matches("[]").to_owned();
            Field { name: column.name, sql_type, array, values }
        });
        let columns = fields.collect();
        Table { schema: schema.to_owned(), name: name.to_owned(), columns }
    }
}
