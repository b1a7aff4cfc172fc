//! The foreign tables hold what the service holds, value by value, whichever way it behaves.

use assets_fdw_tests::assets_sim::{Kind, Options, Profile, Sim};

use crate::live::{
    Column, Live, PROFILES, Refusal, SCHEMAS, columns, compare_table, one, refused, table_options, tables,
    unpushed,
};

fn small() -> Options {
    Options { objects: 300, ..Options::default() }
}

#[test]
fn every_column_of_every_row_is_what_the_service_holds_in_every_profile() {
    for profile in PROFILES {
        let live = Live::imported(profile, 1500);
        let mut client = live.connect();
        let mut total = 0;
        for (_, schema) in SCHEMAS {
            for table in tables(&mut client, schema) {
                total += compare_table(&live, &mut client, &format!("{schema}.{table}"));
            }
        }
        // The abstract type's table holds its children's objects once more.
        let hardware: i64 = one(&mut client, "SELECT count(*) FROM itsm.hardware");
        assert_eq!(total as i64 - hardware, 1500, "{profile:?}");
    }
}

/// Lower snake case, as interface.md section 2 describes it.
fn snake(name: &str) -> String {
    let words: Vec<String> = name
        .to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    words.join("_")
}

fn scalar(kind: Kind) -> &'static str {
    match kind {
        Kind::Integer => "bigint",
        Kind::Double => "double precision",
        Kind::Boolean => "boolean",
        Kind::Date => "date",
        Kind::Time => "time without time zone",
        Kind::DateTime => "timestamp with time zone",
        Kind::IpAddress => "inet",
        _ => "text",
    }
}

/// The columns that a type's table should have: name and type. Attributes whose names collide with each other are left
/// to the golden file `import`.
fn expected_columns(sim: &Sim, type_id: u32, children: bool, references: &str) -> Vec<(String, String)> {
    let mut expected = vec![("id".to_owned(), "bigint".to_owned())];
    let mut push = |name: &str, sql_type: &str| expected.push((name.to_owned(), sql_type.to_owned()));
    push("key", "text");
    push("label", "text");
    if children {
        push("object_type", "text");
    }
    for attribute in sim.attributes(type_id).iter().filter(|a| !a.system && !a.hidden) {
        let mut name = snake(&attribute.name);
        if ["id", "key", "label", "object_type", "created", "updated", "url"].contains(&&*name) {
            name = format!("{name}_{}", attribute.id);
        }
        let sql_type = format!("{}{}", scalar(attribute.kind), if attribute.multiple() { "[]" } else { "" });
        if attribute.kind != Kind::Object || references != "key" {
            push(&name, &sql_type);
        }
        match attribute.kind {
            Kind::Object if references != "label" => push(&format!("{name}_key"), &sql_type),
            Kind::User => push(&format!("{name}_account_id"), &sql_type),
            _ => {}
        }
    }
    push("created", "timestamp with time zone");
    push("updated", "timestamp with time zone");
    push("url", "text");
    expected
}

fn shapes(columns: &[Column]) -> Vec<(String, String)> {
    let mut shapes: Vec<(String, String)> =
        columns.iter().map(|c| (c.name.clone(), c.sql_type.clone())).collect();
    shapes.sort();
    shapes
}

#[test]
fn columns_have_the_names_and_types_of_their_attributes() {
    let live = Live::start(small());
    live.import();
    let mut client = live.connect();
    // Not Specimen, whose names collide on purpose.
    for (schema, table, type_name, children) in [
        ("itsm", "server", "Server", false),
        ("itsm", "hardware", "Hardware", true),
        ("itsm", "employee", "Employee", false),
        ("itsm", "department", "Department", false),
        ("itsm", "web_application", "Web Application", false),
        ("itsm", "contract", "Contract", false),
        ("fac", "office", "Office", false),
        ("svc", "service", "Service", false),
    ] {
        let type_id = live.sim.type_id(type_name).unwrap();
        let found = columns(&mut client, &format!("{schema}.{table}"));
        let mut expected = expected_columns(&live.sim, type_id, children, "both");
        let last: Vec<&str> = found.iter().rev().take(3).map(|c| c.name.as_str()).collect();
        assert_eq!(last, ["url", "updated", "created"], "{table}");
        assert_eq!(found[0].name, "id", "{table}");
        expected.sort();
        assert_eq!(shapes(&found), expected, "{table}");
        let options = table_options(&mut client, &format!("{schema}.{table}"));
        assert_eq!(options["object_type_id"], type_id.to_string());
        assert_eq!(options["object_type"], type_name);
        assert_eq!(options.contains_key("children"), children);
        for column in found {
            let is_field = column.options.contains_key("field");
            let is_attribute =
                column.options.contains_key("attribute") && column.options.contains_key("attribute_id");
            assert!(is_field != is_attribute, "{table}.{}: {:?}", column.name, column.options);
        }
    }
}

#[test]
fn names_are_the_same_at_every_import_whatever_its_options() {
    let live = Live::start(small());
    let mut client = live.connect();
    let mut by_attribute: Vec<Vec<(String, String)>> = Vec::new();
    for options in [
        "",
        "OPTIONS (children 'include', references 'key')",
        "OPTIONS (references 'label', raw 'true')",
        "OPTIONS (include_hidden 'true')",
    ] {
        client.batch_execute("DROP SCHEMA IF EXISTS s CASCADE; CREATE SCHEMA s").unwrap();
        client
            .batch_execute(&format!("IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER assets INTO s {options}"))
            .unwrap();
        let plain = columns(&mut client, "s.specimen").into_iter().filter(|c| {
            let hidden = c.options.get("attribute").is_some_and(|a| a == "Secret");
            !hidden && c.options.contains_key("attribute_id") && !c.name.contains("_object")
        });
        let mut names: Vec<(String, String)> =
            plain.map(|c| (c.options["attribute_id"].clone(), c.name)).collect();
        names.sort();
        assert!(names.len() > 40);
        by_attribute.push(names);
    }
    for names in &by_attribute[1..] {
        assert_eq!(names, &by_attribute[0]);
    }
}

#[test]
fn import_takes_children_in_or_leaves_them_out() {
    let live = Live::start(small());
    let mut client = live.connect();
    client
        .batch_execute(
            "CREATE SCHEMA inc; CREATE SCHEMA exc;
             IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER assets INTO inc OPTIONS (children 'include');
             IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER assets INTO exc OPTIONS (children 'exclude')",
        )
        .unwrap();
    for table in tables(&mut client, "inc") {
        compare_table(&live, &mut client, &format!("inc.{table}"));
        compare_table(&live, &mut client, &format!("exc.{table}"));
    }
    let own = live.sim.count(live.sim.type_id("Network Device").unwrap());
    let routers = live.sim.count(live.sim.type_id("Router").unwrap());
    assert!(own > 0 && routers > 0);
    let count = |client: &mut postgres::Client, sql: &str| one::<i64>(client, sql) as u64;
    assert_eq!(count(&mut client, "SELECT count(*) FROM inc.network_device"), own + routers);
    let by_type = "SELECT count(*) FROM inc.network_device WHERE object_type = 'Router'";
    assert_eq!(count(&mut client, by_type), routers);
    assert_eq!(count(&mut client, "SELECT count(*) FROM exc.network_device"), own);
    assert_eq!(count(&mut client, "SELECT count(*) FROM exc.hardware"), 0);
}

#[test]
fn import_chooses_the_columns_of_references_and_adds_raw_and_hidden_ones() {
    let live = Live::start(small());
    let mut client = live.connect();
    client
        .batch_execute(
            "CREATE SCHEMA keys; CREATE SCHEMA labels; CREATE SCHEMA everything;
             IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER assets INTO keys OPTIONS (references 'key');
             IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER assets INTO labels OPTIONS (references 'label');
             IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER assets INTO everything
                 OPTIONS (references 'both', raw 'true', include_hidden 'on')",
        )
        .unwrap();
    let server = live.sim.type_id("Server").unwrap();
    for (schema, references) in [("keys", "key"), ("labels", "label")] {
        let mut expected = expected_columns(&live.sim, server, false, references);
        expected.sort();
        assert_eq!(shapes(&columns(&mut client, &format!("{schema}.server"))), expected);
    }
    for schema in ["keys", "labels", "everything"] {
        for table in ["server", "specimen", "hardware"] {
            compare_table(&live, &mut client, &format!("{schema}.{table}"));
        }
    }
    let all = columns(&mut client, "everything.server");
    assert_eq!(all.last().unwrap().name, "attributes");
    assert_eq!(all.last().unwrap().sql_type, "jsonb");
    assert!(all.iter().any(|c| c.name == "internal_note"));
    // The raw column says by name what the others say by themselves.
    let differing: i64 = one(
        &mut client,
        "SELECT count(*) FROM everything.server WHERE attributes->>'Name' IS DISTINCT FROM name
             OR (attributes->>'Memory GB')::bigint IS DISTINCT FROM memory_gb",
    );
    assert_eq!(differing, 0);
}

#[test]
fn limit_to_and_except_choose_tables_and_ask_only_for_those() {
    let live = Live::start(small());
    let mut client = live.connect();
    client.batch_execute("CREATE SCHEMA a; CREATE SCHEMA b; CREATE SCHEMA c").unwrap();
    live.sim.clear_log();
    client
        .batch_execute(
            "IMPORT FOREIGN SCHEMA \"ITSM\" LIMIT TO (server, web_application) FROM SERVER assets INTO a",
        )
        .unwrap();
    let requests = live.sim.log().len();
    assert!(requests <= 8, "{requests} requests for two tables");
    assert_eq!(tables(&mut client, "a"), ["server", "web_application"]);
    client.batch_execute("IMPORT FOREIGN SCHEMA \"ITSM\" EXCEPT (server) FROM SERVER assets INTO b").unwrap();
    let all = live.sim.types().iter().filter(|t| t.schema_id == 1).count();
    let rest = tables(&mut client, "b");
    assert_eq!(rest.len(), all - 1);
    assert!(!rest.contains(&"server".to_owned()));
    // By name instead of by key.
    client.batch_execute("IMPORT FOREIGN SCHEMA \"Facilities\" FROM SERVER assets INTO c").unwrap();
    assert_eq!(tables(&mut client, "c"), ["city", "country", "office", "room"]);
    compare_table(&live, &mut client, "c.room");
}

#[test]
fn a_schema_that_is_not_there_is_an_error_that_lists_those_that_are() {
    let live = Live::start(small());
    let mut client = live.connect();
    let refusal = refused(&mut client, "IMPORT FOREIGN SCHEMA \"NOPE\" FROM SERVER assets INTO public");
    assert_eq!(refusal.code, "HV00R", "{refusal:?}");
    assert!(refusal.message.contains("NOPE"), "{refusal:?}");
    for known in ["ITSM", "FAC", "Facilities"] {
        assert!(refusal.hint.contains(known), "{refusal:?}");
    }
}

#[test]
fn a_bad_import_option_is_refused_before_anything_is_asked() {
    let live = Live::start(small());
    let mut client = live.connect();
    for (options, named) in [
        ("children 'some'", "children"),
        ("references 'none'", "references"),
        ("raw 'perhaps'", "raw"),
        ("include_hidden '2'", "include_hidden"),
        ("colour 'red'", "colour"),
    ] {
        let sql =
            format!("IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER assets INTO public OPTIONS ({options})");
        let refusal = refused(&mut client, &sql);
        assert_eq!(refusal.code, "HV00D", "{refusal:?}");
        assert!(refusal.message.contains(named) && !refusal.hint.is_empty(), "{refusal:?}");
    }
    assert_eq!(live.sim.log().len(), 0);
}

#[test]
fn comments_come_from_the_descriptions() {
    let live = Live::start(small());
    let mut client = live.connect();
    // Comments reach the right tables whatever their schema is called.
    client
        .batch_execute(
            "CREATE SCHEMA \"My \"\"Schema\"\"\";
             IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER assets INTO \"My \"\"Schema\"\"\"",
        )
        .unwrap();
    let types = live.sim.types();
    let rows = client
        .query(
            "SELECT c.relname::text, obj_description(c.oid, 'pg_class'), a.attfdwoptions,
                    col_description(c.oid, a.attnum)
               FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
              WHERE c.relnamespace = '\"My \"\"Schema\"\"\"'::regnamespace",
            &[],
        )
        .unwrap();
    let mut described = 0;
    for row in &rows {
        let table: &str = row.get(0);
        let of = types.iter().find(|t| t.schema_id == 1 && snake(&t.name) == table).unwrap();
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        assert_eq!(row.get::<_, Option<String>>(1), given(&of.description), "{table}");
        let options: Vec<String> = row.get(2);
        let attribute = options.iter().find_map(|o| o.strip_prefix("attribute_id="));
        let attributes = live.sim.attributes(of.id);
        let attribute = attribute.and_then(|id| attributes.iter().find(|a| a.id.to_string() == id));
        let description = attribute.and_then(|a| given(&a.description));
        described += usize::from(description.is_some());
        assert_eq!(row.get::<_, Option<String>>(3), description, "{table} {options:?}");
    }
    assert!(described > 20);
}

/// A table over Specimen with columns of the user's own choice.
fn own_table(client: &mut postgres::Client, columns: &str) {
    client
        .batch_execute(&format!(
            "DROP FOREIGN TABLE IF EXISTS own;
             CREATE FOREIGN TABLE own (id bigint, key text, {columns}) SERVER assets
                 OPTIONS (object_schema 'ITSM', object_type 'Specimen')"
        ))
        .unwrap();
}

#[test]
fn a_user_may_choose_any_type_that_reads_the_value() {
    for profile in PROFILES {
        let live = Live::start(Options { profile, objects: 1500, ..Options::default() });
        live.import();
        let mut client = live.connect();
        client
            .batch_execute(
                "CREATE EXTENSION citext;
                 CREATE TYPE tier AS ENUM ('Tier 1', 'tier 1', 'Tier 2', 'Tier 3');
                 CREATE DOMAIN big AS numeric(40, 0) CHECK (VALUE IS NOT NULL)",
            )
            .unwrap();
        own_table(
            &mut client,
            "one_text citext, one_integer numeric, i2 big OPTIONS (attribute 'One Integer'),
             one_double numeric, one_select tier, many_select tier[], one_date timestamp,
             i_text text OPTIONS (attribute 'One Integer'), b_text text OPTIONS (attribute 'One Boolean'),
             dt_text text OPTIONS (attribute 'One DateTime'),
             many jsonb OPTIONS (attribute 'Many Text'), many_integer jsonb, one_textarea varchar,
             one_object jsonb, link json OPTIONS (attribute 'One Link'), one_ip text, many_ip inet[],
             five varchar(5) OPTIONS (attribute 'One Status', on_invalid 'null'),
             chars bpchar OPTIONS (attribute 'One Group'), many_object text[] OPTIONS (part 'key')",
        );
        let differing = client
            .query(
                "SELECT o.key, (o.one_text::text IS NOT DISTINCT FROM s.one_text) AS one_text,
                   o.one_integer IS NOT DISTINCT FROM s.one_integer::numeric AS one_integer,
                   o.i2 IS NOT DISTINCT FROM s.one_integer::numeric AS i2,
                   o.one_double::float8 IS NOT DISTINCT FROM s.one_double AS one_double,
                   o.one_select::text IS NOT DISTINCT FROM s.one_select AS one_select,
                   o.many_select::text[] IS NOT DISTINCT FROM s.many_select AS many_select,
                   o.one_date IS NOT DISTINCT FROM s.one_date::timestamp AS one_date,
                   o.i_text IS NOT DISTINCT FROM s.one_integer::text AS i_text,
                   o.b_text IS NOT DISTINCT FROM s.one_boolean::text AS b_text,
                   o.dt_text::timestamptz IS NOT DISTINCT FROM s.one_datetime AS dt_text,
                   (SELECT array_agg(v) FROM jsonb_array_elements_text(o.many) v WHERE v <> '')
                       IS NOT DISTINCT FROM s.many_text AS many,
                   (SELECT array_agg(v::text::bigint) FROM jsonb_array_elements_text(o.many_integer) v)
                       IS NOT DISTINCT FROM s.many_integer AS many_integer,
                   o.one_textarea IS NOT DISTINCT FROM s.one_textarea AS one_textarea,
                   (o.one_object IS NULL) = (s.one_object_key IS NULL)
                       AND coalesce(strpos(o.one_object::text, s.one_object_key) > 0, true) AS one_object,
                   o.link #>> '{}' IS NOT DISTINCT FROM s.one_link AS link,
                   o.one_ip::inet IS NOT DISTINCT FROM s.one_ip AS one_ip,
                   o.many_ip IS NOT DISTINCT FROM s.many_ip AS many_ip,
                   o.chars::text IS NOT DISTINCT FROM s.one_group AS chars,
                   o.many_object IS NOT DISTINCT FROM s.many_object_key AS many_object
              FROM own o JOIN itsm.specimen s ON s.id = o.id",
                &[],
            )
            .unwrap();
        assert_eq!(differing.len() as u64, live.sim.count(live.sim.type_id("Specimen").unwrap()));
        for row in &differing {
            for (i, column) in row.columns().iter().enumerate().skip(1) {
                let key: &str = row.get(0);
                assert!(row.get::<_, bool>(i), "{profile:?}: {} of {key}", column.name());
            }
        }
    }
}

#[test]
fn a_value_that_does_not_fit_names_object_attribute_value_and_option() {
    let live = Live::start(small());
    let mut client = live.connect();
    let key = live.sim.dump(live.sim.type_id("Specimen").unwrap())[0].key.clone();
    for (attribute, value, columns) in [
        ("One Integer", "seventeen", "n bigint OPTIONS (attribute 'One Integer')"),
        ("One Double", "1,5", "n double precision OPTIONS (attribute 'One Double')"),
        ("One Date", "31/Feb/24", "n date OPTIONS (attribute 'One Date')"),
        ("One Boolean", "maybe", "n boolean OPTIONS (attribute 'One Boolean')"),
        ("One DateTime", "yesterday", "n timestamptz OPTIONS (attribute 'One DateTime')"),
        ("One Time", "25:99", "n time OPTIONS (attribute 'One Time')"),
        ("One IP", "300.1.1.1", "n inet OPTIONS (attribute 'One IP')"),
        ("One Text", "abc", "n numeric OPTIONS (attribute 'One Text')"),
        ("One Text", "far too long", "n varchar(3) OPTIONS (attribute 'One Text')"),
        ("Many Integer", "nine", "n bigint[] OPTIONS (attribute 'Many Integer')"),
    ] {
        live.sim.update(&key, attribute, &[value]).unwrap();
        own_table(&mut client, columns);
        let refusal = refused(&mut client, &format!("SELECT n FROM own WHERE key = '{key}'"));
        assert_eq!(refusal.code, "HV024", "{refusal:?}");
        for part in [key.as_str(), attribute, value] {
            assert!(refusal.message.contains(part), "{part}: {refusal:?}");
        }
        assert!(refusal.hint.contains("on_invalid"), "{refusal:?}");
        // The other columns can be read all the same.
        assert_eq!(one::<String>(&mut client, &format!("SELECT key FROM own WHERE key = '{key}'")), key);
        // And the value is NULL if told so.
        client.batch_execute("ALTER FOREIGN TABLE own ALTER n OPTIONS (ADD on_invalid 'null')").unwrap();
        assert!(
            one::<bool>(&mut client, &format!("SELECT n IS NULL FROM own WHERE key = '{key}'")),
            "{value}"
        );
        live.sim.update(&key, attribute, &[]).unwrap();
    }
}

#[test]
fn values_read_as_null_are_counted_in_one_warning_a_scan() {
    let live = Live::start(small());
    let (mut client, heard) = live.connect_listening();
    let objects = live.sim.dump(live.sim.type_id("Specimen").unwrap());
    for object in &objects {
        live.sim.update(&object.key, "One Integer", &["x"]).unwrap();
    }
    own_table(&mut client, "n bigint OPTIONS (attribute 'One Integer', on_invalid 'null')");
    assert!(objects.len() > 3);
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM own WHERE n IS NULL"), objects.len() as i64);
    let mut heard = heard.lock().unwrap().clone();
    heard.retain(|notice| notice.starts_with("WARNING"));
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(heard[0].contains(&objects.len().to_string()), "{heard:?}");
    assert!(heard[0].contains("One Integer"), "{heard:?}");
}

#[test]
fn several_values_do_not_fit_a_single_one() {
    let live = Live::start(small());
    let mut client = live.connect();
    let key = live.sim.dump(live.sim.type_id("Specimen").unwrap())[0].key.clone();
    live.sim.update(&key, "Many Text", &["one", "two"]).unwrap();
    own_table(&mut client, "n text OPTIONS (attribute 'Many Text')");
    let refusal = refused(&mut client, &format!("SELECT n FROM own WHERE key = '{key}'"));
    assert_eq!(refusal.code, "HV024", "{refusal:?}");
    live.sim.update(&key, "Many Text", &["one"]).unwrap();
    assert_eq!(one::<String>(&mut client, &format!("SELECT n FROM own WHERE key = '{key}'")), "one");
}

#[test]
fn a_renamed_type_or_attribute_is_still_the_same_for_imported_tables() {
    let live = Live::imported(Profile::Documented, 300);
    let mut client = live.connect();
    live.sim.rename_type("Server", "Host").unwrap();
    live.sim.rename_attribute("Host", "Memory GB", "RAM").unwrap();
    live.sim.rename_attribute("Employee", "Email", "E-mail \"work\"").unwrap();
    // In the session that knows the old names, and in a new one.
    for _ in 0..2 {
        compare_table(&live, &mut client, "itsm.server");
        compare_table(&live, &mut client, "itsm.employee");
        client = live.connect();
    }
    let conditions = ["memory_gb = 64", "memory_gb > 200", "memory_gb IS NULL"];
    for condition in conditions {
        let sql = format!("SELECT count(*) FROM itsm.server WHERE {condition}");
        let pushed: i64 = one(&mut client, &sql);
        assert_eq!(pushed, unpushed(&mut client, |client| one::<i64>(client, &sql)), "{condition}");
    }
}

#[test]
fn a_session_that_knew_the_old_name_of_an_attribute_still_finds_every_object() {
    let live = Live::imported(Profile::Documented, 300);
    let mut client = live.connect();
    let sql = "SELECT count(*) FROM itsm.server WHERE operating_system = 'Debian 12'";
    let before: i64 = one(&mut client, sql);
    assert!(before > 0);
    live.sim.rename_attribute("Server", "Operating System", "OS").unwrap();
    assert_eq!(one::<i64>(&mut client, sql), before);
}

#[test]
fn an_attribute_that_is_gone_is_an_error_only_for_who_asks_for_it() {
    let live = Live::imported(Profile::Documented, 300);
    let mut client = live.connect();
    live.sim.remove_attribute("Server", "Memory GB").unwrap();
    let mut fresh = live.connect();
    for sql in ["SELECT max(memory_gb) FROM itsm.server", "SELECT 1 FROM itsm.server WHERE memory_gb > 1"] {
        let refusal = refused(&mut fresh, sql);
        assert_eq!(refusal.code, "HV005", "{refusal:?}");
        assert!(refusal.message.contains("Memory GB") && !refusal.hint.is_empty(), "{refusal:?}");
    }
    let servers = live.sim.count(live.sim.type_id("Server").unwrap()) as i64;
    assert_eq!(one::<i64>(&mut fresh, "SELECT count(name) FROM itsm.server"), servers);
    assert_eq!(one::<i64>(&mut client, "SELECT count(name) FROM itsm.server"), servers);
}

#[test]
fn a_type_that_is_gone_is_an_error() {
    let live = Live::imported(Profile::Documented, 300);
    let mut client = live.connect();
    client.batch_execute("ALTER FOREIGN TABLE itsm.server OPTIONS (SET object_type_id '4711')").unwrap();
    let refusal = refused(&mut client, "SELECT name FROM itsm.server");
    assert_eq!(refusal.code, "HV00R", "{refusal:?}");
    assert!(refusal.message.contains("server") && !refusal.hint.is_empty(), "{refusal:?}");
    client
        .batch_execute(
            "CREATE FOREIGN TABLE t (key text) SERVER assets OPTIONS (object_schema 'ITSM', object_type 'Sevrer');
             CREATE FOREIGN TABLE u (key text) SERVER assets OPTIONS (object_schema 'ITMS', object_type 'Server')",
        )
        .unwrap();
    for (table, named) in [("t", "Sevrer"), ("u", "ITMS")] {
        let refusal = refused(&mut client, &format!("SELECT * FROM {table}"));
        assert_eq!(refusal.code, "HV00R", "{refusal:?}");
        assert!(refusal.message.contains(named), "{refusal:?}");
    }
}

#[test]
fn a_table_of_ones_own_needs_no_options_on_its_columns() {
    let live = Live::imported(Profile::Documented, 300);
    let mut client = live.connect();
    client
        .batch_execute(
            "CREATE FOREIGN TABLE s (name text, memory_gb integer, owner_key text OPTIONS (attribute 'owner', part 'key'),
                 contact text OPTIONS (attribute 'Assignee', part 'email'), id bigint, url text,
                 state text OPTIONS (attribute 'Status', part 'category'))
             SERVER assets OPTIONS (object_schema 'itsm', object_type 'server', aql '\"Memory GB\" > 100 OR Virtual = true')",
        )
        .unwrap();
    let counts = "count(name), sum(memory_gb)::bigint, count(owner_key)";
    let own =
        client.query_one(&format!("SELECT {counts}, count(contact), count(state) FROM s"), &[]).unwrap();
    let imported = client
        .query_one(
            &format!(
                "SELECT {counts}, count(assignee), count(status) FROM itsm.server
                       WHERE memory_gb > 100 OR virtual"
            ),
            &[],
        )
        .unwrap();
    for i in 0..5 {
        assert_eq!(own.get::<_, i64>(i), imported.get::<_, i64>(i), "column {i}");
    }
    // The table's own filter is one condition, whatever is added.
    let narrow: i64 = one(&mut client, "SELECT count(*) FROM s WHERE name = 'nobody'");
    assert_eq!(narrow, 0);
}

#[test]
fn a_filter_of_the_table_that_the_service_refuses_is_an_error() {
    let live = Live::imported(Profile::Documented, 300);
    let mut client = live.connect();
    client.batch_execute("ALTER FOREIGN TABLE itsm.server OPTIONS (ADD aql 'Nonsense = = 1')").unwrap();
    let error = client.batch_execute("SELECT name FROM itsm.server WHERE name = 'x'").unwrap_err();
    let refusal = Refusal::of(&error);
    assert!(refusal.code.starts_with("HV"), "{refusal:?}");
    assert!(refusal.text().contains("Nonsense"), "{refusal:?}");
}
