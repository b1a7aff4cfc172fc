//! Names that are SQL, too long, invisible or nearly the same, of types, attributes, schemas, servers and tables: each comes
//! through every statement of the extension's as the name that it is.

use std::collections::BTreeSet;
use std::time::Duration;

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::{Kind, Options, Sim};
use postgres::Client;
use postgres::fallible_iterator::FallibleIterator;

use crate::live::{literal, one, quoted, tables};

/// As Assets may have them.
fn hostile() -> Vec<String> {
    let mut names: Vec<String> = [
        "x\"; DROP SCHEMA public CASCADE; --",
        "x'); DROP SCHEMA public CASCADE; --",
        "two\nlines\tand \\ a 'quote'",
        "$$ $1 %s %I {} /* -- */",
        "zero\u{200b}width",
        "\u{202e}right to left",
        "caf\u{e9}",
        "cafe\u{301}",
        "🦀 and 🦞",
        "!!!",
        "SELECT",
        "Id",
        "attributes",
        "Über Größe",
        "über größe",
        "ctid",
    ]
    .map(str::to_owned)
    .to_vec();
    // Equal after 63 bytes, the cut within a letter; and far beyond.
    names.extend([format!("a{}x", "é".repeat(40)), format!("a{}y", "é".repeat(40)), "長".repeat(3000)]);
    names
}

fn strings(client: &mut Client, sql: &str) -> Vec<String> {
    let rows = client.query(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    rows.iter().map(|row| row.get::<_, Option<String>>(0).unwrap_or_default()).collect()
}

#[test]
fn hostile_names_come_through_every_statement_as_names() {
    let sim = Sim::start(Options { objects: 60, ..Options::default() }).expect("a simulator");
    for name in hostile() {
        sim.add_type("ITSM", &name, None).unwrap();
        sim.add_attribute("Vendor", &name, Kind::Text, false).unwrap();
        sim.add_attribute("Vendor", &name, Kind::Object, false).unwrap();
    }
    let vendor = sim.dump(sim.type_id("Vendor").unwrap())[0].key.clone();
    for name in hostile() {
        sim.update(&vendor, &name, &["it's \\ \"quoted\""]).unwrap();
    }
    let server = Server::shared();
    let database = server.create_database();
    let mut client = database.connect();
    // Names of this side: 63 bytes of what hurts.
    let foreign = format!("s\"; DROP SCHEMA public; --'\\ {}", "é".repeat(16));
    let (local, copies) = (format!("l\"';\n--{}", "é".repeat(28)), format!("r\"'\\;{}", "\u{1}".repeat(57)));
    assert!([&foreign, &local, &copies].iter().all(|name| name.len() <= 63));
    let identity = &sim.identities()[0];
    let (q_foreign, q_local) = (quoted(&foreign), quoted(&local));
    client
        .batch_execute(&format!(
            "CREATE SCHEMA {q_local}; CREATE SCHEMA again;
             CREATE SERVER {q_foreign} FOREIGN DATA WRAPPER assets_fdw OPTIONS (site '{}', requests_per_minute '0');
             CREATE USER MAPPING FOR postgres SERVER {q_foreign} OPTIONS (email '{}', api_token '{}');
             IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER {q_foreign} INTO {q_local}",
            sim.url(),
            identity.name,
            identity.secret
        ))
        .unwrap();
    let made = tables(&mut client, &local);
    assert!(made.len() > hostile().len() && made.iter().all(|name| name.len() <= 63), "{made:#?}");
    let list = made.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    let import = |how: &str| {
        format!("IMPORT FOREIGN SCHEMA \"ITSM\" {how} ({list}) FROM SERVER {q_foreign} INTO again")
    };
    client.batch_execute(&import("EXCEPT")).unwrap();
    assert_eq!(tables(&mut client, "again"), Vec::<String>::new());
    client.batch_execute(&import("LIMIT TO")).unwrap();
    assert_eq!(tables(&mut client, "again"), made);

    // Every column is found by what it was imported from, and its value is the object's.
    let columns = strings(
        &mut client,
        &format!(
            "SELECT attname::text FROM pg_attribute WHERE attrelid = {}::regclass AND attnum > 0 ORDER BY attnum",
            literal(&format!("{q_local}.vendor"))
        ),
    );
    assert_eq!(columns.iter().collect::<BTreeSet<_>>().len(), columns.len());
    let mut values = 0;
    for column in &columns {
        let sql = format!(
            "SELECT count({0}) FROM {q_local}.vendor WHERE {0} = E'it''s \\\\ \"quoted\"'",
            quoted(column)
        );
        if let Ok(row) = client.query_one(&sql, &[]) {
            values += row.get::<_, i64>(0);
        }
    }
    assert!(values as usize >= hostile().len() - 1, "{values}");

    client.batch_execute("LISTEN assets_fdw").unwrap();
    let materialize = format!(
        "SELECT assets_fdw.materialize_schema({}, {}, every => '1 year', history => true)::text",
        literal(&local),
        literal(&copies)
    );
    // A history is called by the first 55 bytes of its replica's name, and belongs to one.
    let refused = client.query(&materialize, &[]).unwrap_err();
    assert_eq!(refused.code().map(|code| code.code()), Some("42P07"), "{refused:?}");
    let mut begins = BTreeSet::new();
    for (n, name) in made.iter().enumerate() {
        if !begins.insert(&name[..name.floor_char_boundary(55)]) {
            let sql = format!("ALTER FOREIGN TABLE {q_local}.{} RENAME TO \"twin {n}\"", quoted(name));
            client.batch_execute(&sql).unwrap();
        }
    }
    let replicas = strings(&mut client, &materialize);
    assert_eq!(replicas.len(), made.len());
    let refreshed = format!("SELECT target::text FROM assets_fdw.refresh_schema({})", literal(&copies));
    assert_eq!(strings(&mut client, &refreshed).len(), made.len());
    let mut told = Vec::new();
    let mut notifications = client.notifications();
    let mut heard = notifications.timeout_iter(Duration::from_secs(2));
    while let Some(notification) = heard.next().unwrap() {
        told.push(notification.payload().to_owned());
    }
    drop(heard);
    drop(notifications);
    for payload in &mut told {
        *payload = client
            .query_one(
                "SELECT target FROM assets_fdw.refresh_history WHERE id = ($1::text::jsonb ->> 'run')::bigint",
                &[payload],
            )
            .unwrap()
            .get(0);
    }
    assert!(!told.is_empty() && told.iter().all(|target| replicas.contains(target)), "{told:#?}");

    for sql in [
        format!(
            "SELECT string_agg(step || status || detail, '') FROM assets_fdw.check({})",
            literal(&foreign)
        ),
        format!(
            "SELECT verdict FROM assets_fdw.verify_pushdown({}, {})",
            literal(&foreign),
            literal(&format!("{q_local}.vendor"))
        ),
        format!("SELECT statement FROM assets_fdw.sync_schema({}, false)", literal(&local)),
        "SELECT string_agg(target, '') FROM assets_fdw.refresh_history WHERE outcome = 'ok'".to_owned(),
        format!("EXPLAIN (VERBOSE) SELECT * FROM {q_local}.vendor WHERE key = 'X-1'"),
        format!("SELECT assets_fdw.dematerialize({})", literal(&replicas[0]))
            .replace("SELECT assets", "SELECT NULL::text FROM assets"),
    ] {
        strings(&mut client, &sql);
    }
    let failed = "SELECT count(*) FROM assets_fdw.refresh_history WHERE outcome = 'failed'";
    assert_eq!(one::<i64>(&mut client, failed), 0);
    // Nobody's text was run.
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM pg_namespace WHERE nspname = 'public'"), 1);
    client.batch_execute(&format!("DROP SERVER {q_foreign} CASCADE")).unwrap();
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM assets_fdw.mapping_origin"), 0);
    assert_eq!(server.crashes(), Vec::<String>::new());
}
