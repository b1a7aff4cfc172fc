//! The tables that the oracle asks: what import makes, what users make by hand, and data that is hard to get right.

use assets_fdw_tests::assets_sim::{Kind, Options, Profile, Sim};
use postgres::Client;

use super::super::{Table, World};
use crate::live::{Live, SCHEMAS, columns, quoted, tables, with_icu_or_without};

/// How many objects the company has. Enough for several pages of the larger types.
const OBJECTS: u64 = 1100;

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
CREATE SERVER limited FOREIGN DATA WRAPPER assets_fdw OPTIONS (site '@SITE@', requests_per_minute '0');
CREATE USER MAPPING FOR CURRENT_USER SERVER limited OPTIONS (email 'limited@example.com', api_token 'limited-token');
CREATE SCHEMA lim;
IMPORT FOREIGN SCHEMA "ITSM" LIMIT TO (server, employee, specimen, hardware) FROM SERVER limited INTO lim;
"#;

impl Stage {
    pub fn new(profile: Profile, seed: u64) -> Stage {
        let live = Live::start(Options { profile, objects: OBJECTS, seed, ..Options::default() });
        complicate(&live.sim);
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
        for schema in ["own", "lim"] {
            client.batch_execute(&format!("CREATE SCHEMA copy_{schema}")).unwrap();
            for name in tables(&mut client, schema) {
                world.tables.push(Table::copy(&mut client, schema, &name));
            }
        }
        client.batch_execute("ANALYZE").unwrap();
        let targets = targets(&mut client, &world);
        assert!(world.tables.len() > 25 && SCHEMAS.len() == 3);
        Stage { live, world, targets }
    }
}

/// Objects and attributes that make the easy answer a wrong one.
fn complicate(sim: &Sim) {
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
}

/// Which tables the keys in a column are keys of.
fn targets(client: &mut Client, world: &World) -> Vec<Vec<Vec<usize>>> {
    let mut targets = Vec::new();
    for table in &world.tables {
        let mut of_table = Vec::new();
        for field in &table.columns {
            let mut of_field = Vec::new();
            if field.name.ends_with("_key") && !field.values.is_empty() {
                let list: Vec<String> = field.values.iter().map(|v| crate::live::literal(v)).collect();
                for (n, other) in world.tables.iter().enumerate() {
                    let sql = format!(
                        "SELECT 1 FROM copy_{}.{} WHERE key::text IN ({}) LIMIT 1",
                        other.schema,
                        other.name,
                        list.join(", ")
                    );
                    if client.query_opt(&sql, &[]).unwrap_or_else(|e| panic!("{sql}: {e:?}")).is_some() {
                        of_field.push(n);
                    }
                }
            }
            of_table.push(of_field);
        }
        targets.push(of_table);
    }
    targets
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
            let sql = format!(
                "SELECT v FROM (SELECT {from}::text COLLATE \"C\" AS v FROM {copy}) s WHERE v IS NOT NULL
                  GROUP BY 1 ORDER BY md5(v) LIMIT 60"
            );
            let rows = client.query(&sql, &[]).unwrap_or_else(|e| panic!("{sql}: {e:?}"));
            let values = rows.iter().map(|row| row.get(0)).collect();
            let sql_type = column.sql_type.trim_end_matches("[]").to_owned();
            super::super::Field { name: column.name, sql_type, array, values }
        });
        let columns = fields.collect();
        Table { schema: schema.to_owned(), name: name.to_owned(), columns }
    }
}
