//! What was known of object types ten minutes ago: attributes renamed, with others made under their names, types
//! renamed, made and moved, while a session goes on. Rows are complete, or there is an ERROR.

use assets_fdw_tests::assets_sim::{Change, Definitions, Endpoint, Kind, Options, Profile, Sim, Unknown};
use postgres::Client;

use crate::live::{Live, PROFILES, explain, one, refused};

/// Keys, in order.
fn keys(client: &mut Client, from: &str) -> Vec<String> {
    let sql = format!("SELECT key FROM {from} ORDER BY id");
    client.query(&sql, &[]).unwrap_or_else(|e| panic!("{sql}: {e:?}")).iter().map(|row| row.get(0)).collect()
}

/// The same without pushdown, in a session of its own.
fn truth(live: &Live, from: &str) -> Vec<String> {
    let mut client = live.connect();
    client.batch_execute("SET assets_fdw.enable_pushdown = off").unwrap();
    keys(&mut client, from)
}

/// Renames an attribute of servers, and makes another under its name, of which some server has a value.
fn swap(sim: &Sim, attribute: &str, kind: Kind, value: &str) {
    sim.rename_attribute("Server", attribute, &format!("{attribute} (old)")).unwrap();
    sim.add_attribute("Server", attribute, kind, false).unwrap();
    let server = sim.dump(sim.type_id("Server").unwrap())[0].key.clone();
    sim.update(&server, attribute, &[value]).unwrap();
}

#[test]
fn an_attribute_that_was_renamed_is_asked_by_its_name_of_now() {
    for profile in PROFILES {
        for value in [None, Some("7"), Some("512")] {
            let live = Live::imported(profile, 600);
            let mut client = live.connect();
            let from = "itsm.server WHERE memory_gb >= 128";
            let before = keys(&mut client, from);
            client
                .batch_execute(
                    "PREPARE few(bigint) AS SELECT count(name) FROM itsm.server WHERE memory_gb >= $1",
                )
                .unwrap();
            for _ in 0..7 {
                client.batch_execute("EXECUTE few(128)").unwrap();
            }
            assert!(before.len() > 3, "{profile:?}");
            match value {
                // Nothing has a value of the new one; or one has, which the condition finds or not.
                None => {
                    live.sim.rename_attribute("Server", "Memory GB", "RAM").unwrap();
                    live.sim.add_attribute("Server", "Memory GB", Kind::Integer, false).unwrap();
                }
                Some(value) => swap(&live.sim, "Memory GB", Kind::Integer, value),
            }
            let row = client.query_one("EXECUTE few(128)", &[]).unwrap();
            assert_eq!(row.get::<_, i64>(0), before.len() as i64, "{profile:?} {value:?}: prepared");
            assert_eq!(keys(&mut client, from), before, "{profile:?} {value:?}");
        }
    }
}

#[test]
fn whatever_asks_by_an_attribute_follows_its_name() {
    let queries = [
        "SELECT count(*) FROM itsm.server WHERE memory_gb >= 128",
        "SELECT count(*) FROM itsm.server WHERE memory_gb = 256",
        "SELECT string_agg(key, ' ' ORDER BY key) FROM (
             SELECT key FROM itsm.server WHERE memory_gb >= 128 ORDER BY updated DESC LIMIT 3) s",
        "SELECT EXISTS (SELECT FROM itsm.server WHERE memory_gb >= 128)::text",
        "SELECT count(*) FROM generate_series(64, 300) g JOIN itsm.server s ON s.memory_gb = g",
        "SELECT count(s.key) FROM (VALUES (64), (128), (256)) v(g)
             CROSS JOIN LATERAL (SELECT key FROM itsm.server WHERE memory_gb = g OFFSET 0) s",
        "SELECT count(name) FROM itsm.server WHERE memory_gb <> 64",
        "SELECT count(name) FROM itsm.server WHERE memory_gb IS NULL",
        "SELECT count(name) FROM itsm.server WHERE memory_gb IN (64, 128) OR id < 10",
    ];
    for value in ["7", "128", "512"] {
        for sql in queries {
            let live = Live::imported(Profile::Documented, 600);
            let mut client = live.connect();
            let text = format!("SELECT ({sql})::text");
            let before: Option<String> = one(&mut client, &text);
            swap(&live.sim, "Memory GB", Kind::Integer, value);
            let after: Option<String> = one(&mut client, &text);
            if sql.contains("updated DESC") {
                // One server was changed: as a session of now has it.
                let now: Option<String> = one(&mut live.connect(), &text);
                assert_eq!(after, now, "{value}: {sql}");
            } else {
                assert_eq!(after, before, "{value}: {sql}");
            }
        }
    }
}

#[test]
fn a_change_behind_rows_that_were_given_is_an_error_and_the_next_statement_is_right() {
    let live = Live::imported(Profile::Documented, 3000);
    let mut client = live.connect();
    let from = "itsm.server WHERE memory_gb >= 0";
    let all = keys(&mut client, from);
    assert!(all.len() > 300);
    client
        .batch_execute(&format!("BEGIN; DECLARE c CURSOR FOR SELECT key FROM {from}; FETCH 1 FROM c"))
        .unwrap();
    swap(&live.sim, "Memory GB", Kind::Integer, "7");
    let refusal = refused(&mut client, "FETCH ALL FROM c");
    assert_eq!(refusal.code, "HV000", "{refusal:?}");
    assert!(refusal.hint.contains("Run the statement again"), "{refusal:?}");
    client.batch_execute("ROLLBACK").unwrap();
    assert_eq!(keys(&mut client, from), all);
    // Between the pages of one statement.
    let live = Live::imported(Profile::Documented, 3000);
    let mut client = live.connect();
    keys(&mut client, from);
    let renamed = Change::RenameAttribute {
        object_type: "Server".into(),
        attribute: "Memory GB".into(),
        to: "RAM".into(),
    };
    live.sim.between_pages(2, renamed);
    match client.query(&format!("SELECT key FROM {from} ORDER BY id"), &[]) {
        Ok(rows) => assert_eq!(rows.len(), all.len()),
        Err(error) => assert!(error.as_db_error().is_some(), "{error:?}"),
    }
    assert_eq!(keys(&mut client, from).len(), all.len());
}

#[test]
fn an_attribute_that_changed_its_kind_or_is_gone_is_not_read_as_before() {
    for (kind, multiple) in [(Kind::Text, false), (Kind::Integer, true), (Kind::Text, true)] {
        let live = Live::imported(Profile::Documented, 600);
        let mut client = live.connect();
        let from = "itsm.server WHERE memory_gb >= 128";
        let before = keys(&mut client, from);
        live.sim.change_kind("Server", "Memory GB", kind, multiple).unwrap();
        let all = format!("SELECT key FROM {from}");
        if multiple {
            // Several values, which the column does not take.
            for sql in [all, format!("SELECT count(*) FROM {from}")] {
                assert_eq!(refused(&mut client, &sql).code, "HV024", "{kind:?}: {sql}");
            }
            continue;
        }
        assert_eq!(keys(&mut client, from), before, "{kind:?} {multiple}");
        let counted: i64 = one(&mut client, &format!("SELECT count(*) FROM {from}"));
        assert_eq!(counted, before.len() as i64, "{kind:?} {multiple}");
    }
    // Removed, and made again under its name: another one, of which the column shows nothing.
    for again in [false, true] {
        for sql in [
            "SELECT count(memory_gb) FROM itsm.server",
            "SELECT key FROM itsm.server WHERE memory_gb = 1",
            "SELECT count(*) FROM itsm.server WHERE memory_gb >= 0",
        ] {
            let live = Live::imported(Profile::Documented, 300);
            let mut client = live.connect();
            client.batch_execute(sql).unwrap();
            live.sim.remove_attribute("Server", "Memory GB").unwrap();
            if again {
                live.sim.add_attribute("Server", "Memory GB", Kind::Integer, false).unwrap();
            }
            let refusal = refused(&mut client, sql);
            assert_eq!(refusal.code, "HV005", "{again} {sql}: {refusal:?}");
        }
    }
}

#[test]
fn pages_that_say_less_of_their_attributes_are_believed() {
    for how in [Definitions::Used, Definitions::Empty, Definitions::Absent] {
        let live = Live::start(Options { objects: 600, ..Options::default() });
        live.sim.switches(|s| s.definitions_with_attributes = how);
        live.import();
        let mut client = live.connect();
        for from in ["itsm.server WHERE memory_gb >= 128", "itsm.hardware WHERE price > 10", "itsm.specimen"]
        {
            let sql = format!("SELECT * FROM {from}");
            assert!(!client.query(&sql, &[]).unwrap().is_empty(), "{how:?}");
            live.clear_log();
            assert_eq!(keys(&mut client, from), truth(&live, from), "{how:?} {from}");
        }
        // What a page leaves out is asked for once.
        live.clear_log();
        client.batch_execute("SELECT * FROM itsm.server WHERE memory_gb >= 128").unwrap();
        let other = |e: &&_| !matches!(endpoint(e), Endpoint::ObjectAql | Endpoint::TotalCount);
        // A page that says nothing of them cannot prove anything.
        let looks = usize::from(how != Definitions::Used);
        assert_eq!(live.sim.log().iter().filter(other).count(), looks, "{how:?}");
        // Nothing is lost where nothing comes back, nor where something does.
        for value in ["7", "512"] {
            swap(&live.sim, "Memory GB", Kind::Integer, value);
            let from = "itsm.server WHERE memory_gb >= 128";
            assert_eq!(keys(&mut client, from), truth(&live, from), "{how:?}");
            live.sim.remove_attribute("Server", "Memory GB").unwrap();
            live.sim.rename_attribute("Server", "Memory GB (old)", "Memory GB").unwrap();
        }
    }
}

#[test]
fn the_first_in_an_order_are_those_of_the_attribute_that_is_shown() {
    let live = Live::imported(Profile::Lenient, 600);
    let mut client = live.connect();
    client.batch_execute("SELECT * FROM assets_fdw.verify_pushdown('assets', 'itsm.server')").unwrap();
    for order in ["memory_gb DESC NULLS LAST", "memory_gb"] {
        let sql = format!("SELECT key FROM (SELECT key, id FROM itsm.server ORDER BY {order}, id LIMIT 5) s");
        let first = |client: &mut Client| -> Vec<i64> {
            let sql = format!(
                "SELECT memory_gb FROM itsm.server WHERE memory_gb IS NOT NULL ORDER BY {order} LIMIT 5"
            );
            client
                .query(&sql, &[])
                .unwrap_or_else(|e| panic!("{sql}: {e:?}"))
                .iter()
                .map(|row| row.get(0))
                .collect()
        };
        client.batch_execute(&sql).unwrap();
        let before = first(&mut client);
        assert_eq!(before.len(), 5);
        swap(&live.sim, "Memory GB", Kind::Integer, "512");
        for (n, object) in live.sim.dump(live.sim.type_id("Server").unwrap()).iter().take(12).enumerate() {
            live.sim.update(&object.key, "Memory GB", &[&(n + 1).to_string()]).unwrap();
        }
        assert_eq!(first(&mut client), before, "{order}");
        live.sim.remove_attribute("Server", "Memory GB").unwrap();
        live.sim.rename_attribute("Server", "Memory GB (old)", "Memory GB").unwrap();
    }
}

fn endpoint(entry: &assets_fdw_tests::assets_sim::LogEntry) -> Endpoint {
    entry.endpoint
}

/// Requests of any kind that a statement makes.
fn requests(live: &Live, client: &mut Client, sql: &str) -> usize {
    live.clear_log();
    client.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    live.sim.log().len()
}

#[test]
fn looking_again_costs_nothing_where_something_is_found_and_one_request_a_statement_where_nothing_is() {
    let live = Live::imported(Profile::Documented, 600);
    let mut client = live.connect();
    client
        .batch_execute(
            "SELECT count(name) FROM itsm.server WHERE memory_gb >= 0; SELECT count(name) FROM itsm.hardware
                 WHERE price > 10 AND object_type = 'Server';
             CREATE TABLE nothing AS SELECT 7000 + n AS gb FROM generate_series(1, 10) n; ANALYZE nothing",
        )
        .unwrap();
    let key = keys(&mut client, "itsm.server")[0].clone();
    for sql in [
        format!("SELECT memory_gb FROM itsm.server WHERE key = '{key}'"),
        format!("SELECT price FROM itsm.hardware WHERE key = '{key}' AND object_type = 'Server'"),
        "SELECT key FROM itsm.server WHERE memory_gb >= 8 LIMIT 5".to_owned(),
        "SELECT key FROM itsm.server WHERE memory_gb >= 0 ORDER BY updated DESC LIMIT 5".to_owned(),
        "SELECT count(*) FROM itsm.server".to_owned(),
        // Nothing rests on a name.
        "SELECT key FROM itsm.server WHERE key = 'ITSM-1'".to_owned(),
        "SELECT key FROM itsm.hardware WHERE id = 1".to_owned(),
    ] {
        client.batch_execute(&sql).unwrap();
        assert_eq!(requests(&live, &mut client, &sql), 1, "{sql}");
    }
    // A search, whether AQL knows the name (kept afterwards), and a look at the attributes.
    let sql = "SELECT key FROM itsm.server WHERE memory_gb > 7000";
    client.batch_execute(sql).unwrap();
    assert_eq!(requests(&live, &mut client, sql), 2);
    let sql = "SELECT key FROM itsm.hardware WHERE price > 10000000";
    client.batch_execute(sql).unwrap();
    assert_eq!(requests(&live, &mut client, sql), 2);
    assert_eq!(requests(&live, &mut client, "SELECT count(*) FROM itsm.server WHERE memory_gb > 7000"), 2);
    // A count that finds something is proven by no page.
    assert_eq!(requests(&live, &mut client, "SELECT count(*) FROM itsm.server WHERE memory_gb > 8"), 2);
    client.batch_execute("SET enable_hashjoin = off; SET enable_mergejoin = off").unwrap();
    let sql = "SELECT n.gb, s.key FROM nothing n LEFT JOIN LATERAL (
                   SELECT key FROM itsm.server WHERE memory_gb = n.gb OFFSET 0) s ON true";
    client.batch_execute(sql).unwrap();
    assert_eq!(requests(&live, &mut client, sql), 1 + 1, "once a statement");
    client.batch_execute("SET assets_fdw.enable_batched_joins = off").unwrap();
    assert_eq!(requests(&live, &mut client, sql), 10 + 1, "once a statement");
}

/// Whatever a table with descendants is asked, it holds the object.
fn hardware_has(live: &Live, client: &mut Client, key: &str, type_name: &str, how: &str) {
    for condition in [
        format!("key = '{key}'"),
        format!("object_type = '{type_name}'"),
        format!("object_type IN ('{type_name}', 'Laptop')"),
        format!("lower(object_type) = lower('{type_name}')"),
        "serial_number IS NOT NULL OR key IS NOT NULL".to_owned(),
    ] {
        let from = format!("itsm.hardware WHERE {condition}");
        let found = keys(client, &from);
        assert!(found.contains(&key.to_owned()), "{how}: {condition}");
        assert_eq!(found, truth(live, &from), "{how}: {condition}");
    }
    let all = keys(client, "itsm.hardware");
    assert_eq!(one::<i64>(client, "SELECT count(*) FROM itsm.hardware"), all.len() as i64, "{how}");
    let joined = format!("SELECT count(*) FROM (VALUES ('{key}')) v(k) JOIN itsm.hardware h ON h.key = v.k");
    assert_eq!(one::<i64>(client, &joined), 1, "{how}");
    client.batch_execute("ANALYZE itsm.hardware").unwrap();
    let rows: f32 = one(client, "SELECT reltuples FROM pg_class WHERE oid = 'itsm.hardware'::regclass");
    assert_eq!(rows as usize, all.len(), "{how}");
}

#[test]
fn an_object_that_moves_into_a_new_type_below_stays_in_the_table() {
    for profile in PROFILES {
        for known in [true, false] {
            let live = Live::start(Options { profile, objects: 600, ..Options::default() });
            live.sim.switches(|s| s.types_below = known);
            live.import();
            let mut client = live.connect();
            assert!(keys(&mut client, "itsm.hardware WHERE object_type = 'Laptop'").len() > 3);
            let key = live.sim.dump(live.sim.type_id("Laptop").unwrap())[0].key.clone();
            live.sim.add_type("ITSM", "Tablet", Some("Hardware")).unwrap();
            live.sim.move_object(&key, "Tablet").unwrap();
            hardware_has(&live, &mut client, &key, "Tablet", &format!("{profile:?} {known}"));
            // Two levels below, where those are not what the service calls children.
            let router = live.sim.dump(live.sim.type_id("Router").unwrap())[0].key.clone();
            assert!(keys(&mut client, "itsm.hardware").contains(&router), "{profile:?} {known}");
        }
    }
}

#[test]
fn types_below_are_asked_for_by_the_service_where_it_knows_how_and_by_id_where_it_does_not() {
    let live = Live::imported(Profile::Documented, 300);
    let mut client = live.connect();
    let plan = explain(&mut client, "SELECT key FROM itsm.hardware");
    assert!(plan.contains("objectType in objectTypeAndChildren(10)"), "{plan}");
    live.sim.switches(|s| s.types_below = false);
    let all = truth(&live, "itsm.hardware");
    // This session has seen it work.
    let _ = client.query("SELECT key FROM itsm.hardware", &[]);
    assert_eq!(keys(&mut client, "itsm.hardware"), all);
    let plan = explain(&mut client, "SELECT key FROM itsm.hardware");
    assert!(plan.contains("objectTypeId in (10, 11, 12, 13, 14, 15)"), "{plan}");
    assert_eq!(live.requests(&mut client, "SELECT key FROM itsm.hardware WHERE id = 1"), 1);
    // One that has not, without an estimate.
    let mut client = live.connect();
    client.batch_execute("ALTER SERVER assets OPTIONS (ADD use_remote_estimate 'off')").unwrap();
    assert_eq!(keys(&mut client, "itsm.hardware"), all);
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM itsm.hardware"), all.len() as i64);
    // A type that leaves the table takes its objects along.
    live.sim.switches(|s| s.types_below = true);
    let mut client = live.connect();
    keys(&mut client, "itsm.hardware");
    live.sim.move_type("Phone", None).unwrap();
    let left = keys(&mut client, "itsm.hardware");
    assert_eq!(left, truth(&live, "itsm.hardware"));
    assert!(left.len() < all.len());
}

#[test]
fn object_types_are_found_by_the_names_that_they_have_now() {
    for unknown in [Unknown::Error, Unknown::Nothing] {
        let live = Live::start(Options { objects: 600, ..Options::default() });
        live.sim.switches(|s| s.unknown_type = unknown);
        live.import();
        let (mut client, heard) = live.connect_listening();
        let laptops = keys(&mut client, "itsm.hardware WHERE object_type = 'Laptop'");
        let phones = keys(&mut client, "itsm.hardware WHERE object_type = 'Phone'");
        assert!(laptops.len() > 3 && phones.len() > 3 && laptops != phones);
        client
            .batch_execute(
                "PREPARE of(text[]) AS SELECT count(name) FROM itsm.hardware WHERE object_type = ANY ($1)",
            )
            .unwrap();
        let prepared = |client: &mut Client, names: &str| -> usize {
            client.query_one(&format!("EXECUTE of('{names}')"), &[]).unwrap().get::<_, i64>(0) as usize
        };
        for _ in 0..7 {
            assert_eq!(prepared(&mut client, "{Laptop}"), laptops.len());
        }
        // Renamed, in part.
        live.sim.rename_type("Laptop", "Notebook").unwrap();
        for condition in [
            "object_type IN ('Laptop', 'Notebook')",
            "object_type = 'Notebook'",
            "lower(object_type) = 'notebook'",
        ] {
            assert_eq!(
                keys(&mut client, &format!("itsm.hardware WHERE {condition}")),
                laptops,
                "{unknown:?} {condition}"
            );
        }
        assert_eq!(prepared(&mut client, "{Notebook,Laptop}"), laptops.len());
        assert_eq!(keys(&mut client, "itsm.hardware WHERE object_type = 'Laptop'").len(), 0);
        // Exchanged.
        live.sim.rename_type("Notebook", "Something").unwrap();
        live.sim.rename_type("Phone", "Notebook").unwrap();
        live.sim.rename_type("Something", "Phone").unwrap();
        assert_eq!(keys(&mut client, "itsm.hardware WHERE object_type = 'Phone'"), laptops, "{unknown:?}");
        assert_eq!(prepared(&mut client, "{Notebook}"), phones.len(), "{unknown:?}");
        // A new one under a name that is asked for.
        live.sim.add_type("ITSM", "Tablet", Some("Hardware")).unwrap();
        live.sim.move_object(&laptops[0], "Tablet").unwrap();
        assert_eq!(prepared(&mut client, "{Tablet,Abacus}"), 1, "{unknown:?}");
        let none = live.requests(&mut client, "SELECT key FROM itsm.hardware WHERE object_type = 'Abacus'");
        assert_eq!(none, 0, "there is no such type");
        assert_eq!(*heard.lock().unwrap(), Vec::<String>::new(), "{unknown:?}");
    }
}

#[test]
fn a_table_of_a_type_by_name_follows_the_name() {
    for empty in [false, true] {
        let live = Live::imported(Profile::Documented, 600);
        let mut client = live.connect();
        client
            .batch_execute(
                "CREATE FOREIGN TABLE phone (id bigint, key text, name text) SERVER assets
                     OPTIONS (object_schema 'ITSM', object_type 'Phone')",
            )
            .unwrap();
        let (phones, laptops) = (keys(&mut client, "phone"), keys(&mut client, "itsm.laptop"));
        if empty {
            for key in &phones {
                live.sim.delete(key).unwrap();
            }
        }
        live.sim.rename_type("Phone", "Mobile").unwrap();
        live.sim.rename_type("Laptop", "Phone").unwrap();
        assert_eq!(keys(&mut client, "phone"), laptops, "{empty}");
    }
}
