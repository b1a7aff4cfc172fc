//! IMPORT FOREIGN SCHEMA beyond its tables: how it asks, what LIMIT TO and EXCEPT take, its comments, and what it
//! declares NOT NULL.

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::{Endpoint, Options, Sim};
use postgres::Client;

use crate::live::{Live, one, refused, tables};

fn small() -> Options {
    Options { objects: 300, ..Options::default() }
}

/// How many requests the service has had under way at once since the log was cleared.
fn at_once(live: &Live, client: &mut Client, sql: &str) -> usize {
    live.clear_log();
    client.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    live.sim.max_in_flight()
}

#[test]
fn types_are_read_several_at_once_and_never_more_than_are_allowed() {
    let live = Live::start(small());
    // Long enough for the next request to be there before the answer is.
    live.sim.switches(|s| s.latency_ms = 20);
    let mut client = live.connect();
    client.batch_execute("CREATE SCHEMA a; CREATE SCHEMA b").unwrap();
    let import = |into: &str| format!("IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER assets INTO {into}");
    let sync = "SELECT * FROM assets_fdw.sync_schema('a')";
    let most = at_once(&live, &mut client, &import("a"));
    assert!((4..=8).contains(&most), "{most} at once");
    let most = at_once(&live, &mut client, sync);
    assert!((4..=8).contains(&most), "{most} at once");
    client.batch_execute("ALTER SERVER assets OPTIONS (ADD max_in_flight '2')").unwrap();
    assert_eq!(at_once(&live, &mut client, &import("b")), 2);
    assert_eq!(at_once(&live, &mut client, sync), 2);
    client.batch_execute("ALTER SERVER assets OPTIONS (SET max_in_flight '1')").unwrap();
    assert_eq!(at_once(&live, &mut client, sync), 1);
    // In the same order, whichever answer came first.
    let made =
        "SELECT string_agg(relname, ' ' ORDER BY oid) FROM pg_class WHERE relkind = 'f' AND relnamespace =";
    let order = |client: &mut Client, schema: &str| -> String {
        one(client, &format!("{made} '{schema}'::regnamespace"))
    };
    assert_eq!(order(&mut client, "a"), order(&mut client, "b"));
    let asked = live.sim.log().iter().filter(|e| e.endpoint == Endpoint::ObjectAql).count();
    assert_eq!(asked, 0);
}

#[test]
fn limit_to_and_except_take_the_names_of_assets_and_say_what_fits_nothing() {
    let live = Live::start(small());
    let (mut client, heard) = live.connect_listening();
    let said = || std::mem::take(&mut *heard.lock().unwrap());
    let mut import = |into: &str, clause: &str| {
        let sql = format!(
            "CREATE SCHEMA {into}; IMPORT FOREIGN SCHEMA \"ITSM\" {clause} FROM SERVER assets INTO {into}"
        );
        client.batch_execute(&sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        tables(&mut client, into)
    };
    assert_eq!(
        import("a", "LIMIT TO (\"Web Application\", \"network device\", server)"),
        ["network_device", "server", "web_application"]
    );
    assert_eq!(said(), Vec::<String>::new());
    assert_eq!(import("b", "LIMIT TO (\"Web Aplication\", server, nothing)"), ["server"]);
    let heard = said();
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(heard[0].starts_with("WARNING") && heard[0].contains("\"Web Aplication\""), "{heard:?}");
    assert!(heard[1].contains("LIMIT TO") && heard[1].contains("\"nothing\""), "{heard:?}");
    assert_eq!(import("c", "LIMIT TO (\"Nothing\")"), Vec::<String>::new());
    assert_eq!(said().len(), 1);
    let all = import("d", "");
    let but = import("e", "EXCEPT (\"Web Application\", server, typo)");
    let heard = said();
    assert!(heard.len() == 1 && heard[0].contains("EXCEPT") && heard[0].contains("\"typo\""), "{heard:?}");
    assert_eq!(but.len(), all.len() - 2);
    assert!(!but.contains(&"web_application".to_owned()) && !but.contains(&"server".to_owned()));
    // From a function, whose statement is kept in a plan.
    let (mut client, _) = live.connect_listening();
    client
        .batch_execute(
            "CREATE SCHEMA f;
             CREATE FUNCTION import() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
                 IMPORT FOREIGN SCHEMA \"ITSM\" LIMIT TO (\"Web Application\") FROM SERVER assets INTO f;
             END $$",
        )
        .unwrap();
    for _ in 0..3 {
        client.batch_execute("SELECT import()").unwrap();
        assert_eq!(tables(&mut client, "f"), ["web_application"]);
        client.batch_execute("DROP FOREIGN TABLE f.web_application").unwrap();
    }
}

#[test]
fn each_comment_is_set_once() {
    let live = Live::start(small());
    let mut client = live.connect();
    client
        .batch_execute(
            "CREATE TABLE said (what text);
             CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
                 INSERT INTO public.said SELECT object_identity FROM pg_event_trigger_ddl_commands();
             END $$;
             CREATE EVENT TRIGGER note ON ddl_command_end WHEN TAG IN ('COMMENT') EXECUTE FUNCTION note();
             CREATE SCHEMA itsm; IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER assets INTO itsm",
        )
        .unwrap();
    let set: i64 = one(
        &mut client,
        "SELECT count(*) FROM pg_description WHERE classoid = 'pg_class'::regclass
        AND objoid IN (SELECT oid FROM pg_class WHERE relnamespace = 'itsm'::regnamespace)",
    );
    let said: i64 = one(&mut client, "SELECT count(*) FROM said");
    assert!(set > 20, "{set}");
    assert_eq!(said, set);
}

#[test]
fn what_an_import_that_failed_wanted_is_forgotten_with_it() {
    let live = Live::start(small());
    let other = Sim::start(small()).unwrap();
    for table in other.types() {
        other.describe(&table.id.to_string(), None, "").unwrap();
        for attribute in other.attributes(table.id).iter().filter(|a| !a.system) {
            let _ = other.describe(&table.id.to_string(), Some(&attribute.name), "");
        }
    }
    let mut client = live.connect();
    let identity = &other.identities()[0];
    client
        .batch_execute(&format!(
            "CREATE SERVER other FOREIGN DATA WRAPPER assets_fdw OPTIONS (site '{}', requests_per_minute '0');
             CREATE USER MAPPING FOR CURRENT_USER SERVER other OPTIONS (email '{}', api_token '{}');
             CREATE SCHEMA itsm",
            other.url(),
            identity.name,
            identity.secret,
        ))
        .unwrap();
    let described = "SELECT count(*) FROM pg_description WHERE classoid = 'pg_class'::regclass
        AND objoid IN (SELECT oid FROM pg_class WHERE relnamespace = 'itsm'::regnamespace)";
    let import = |server: &str| {
        format!("IMPORT FOREIGN SCHEMA \"ITSM\" LIMIT TO (server, specimen) FROM SERVER {server} INTO itsm")
    };
    // Fails at its second table, whose name is taken.
    client.batch_execute("CREATE TABLE itsm.specimen ()").unwrap();
    let refusal = refused(&mut client, &import("assets"));
    assert_eq!(refusal.code, "42P07", "{refusal:?}");
    client.batch_execute("DROP TABLE itsm.specimen").unwrap();
    client.batch_execute(&import("other")).unwrap();
    assert_eq!(one::<i64>(&mut client, described), 0);
    client.batch_execute("DROP FOREIGN TABLE itsm.server, itsm.specimen").unwrap();
    // In one transaction, whose part is rolled back; and where the trigger did not run.
    client.batch_execute("CREATE TABLE itsm.specimen (); BEGIN; SAVEPOINT s").unwrap();
    refused(&mut client, &import("assets"));
    client.batch_execute("ROLLBACK TO s; DROP TABLE itsm.specimen; SAVEPOINT t").unwrap();
    client
        .batch_execute(&format!(
            "ALTER EVENT TRIGGER assets_fdw_comment_imported DISABLE; {}",
            import("assets")
        ))
        .unwrap();
    assert_eq!(one::<i64>(&mut client, described), 0);
    client
        .batch_execute(
            "DROP FOREIGN TABLE itsm.server, itsm.specimen; ALTER EVENT TRIGGER assets_fdw_comment_imported ENABLE",
        )
        .unwrap();
    client.batch_execute(&import("other")).unwrap();
    assert_eq!(one::<i64>(&mut client, described), 0);
    client.batch_execute("ROLLBACK").unwrap();
    // An event trigger that imports something itself, before ours.
    client
        .batch_execute(
            "CREATE SCHEMA fac;
             CREATE FUNCTION more() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF to_regclass('fac.room') IS NULL THEN
                     IMPORT FOREIGN SCHEMA \"FAC\" FROM SERVER assets INTO fac;
                 END IF;
             END $$;
             CREATE EVENT TRIGGER a_more ON ddl_command_end WHEN TAG IN ('IMPORT FOREIGN SCHEMA')
                 EXECUTE FUNCTION more()",
        )
        .unwrap();
    client.batch_execute(&import("assets")).unwrap();
    let outer: i64 = one(&mut client, described);
    client.batch_execute("DROP FOREIGN TABLE itsm.server, itsm.specimen; DROP EVENT TRIGGER a_more").unwrap();
    client.batch_execute(&import("assets")).unwrap();
    assert!(outer > 3);
    assert_eq!(one::<i64>(&mut client, described), outer);
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM assets_fdw.sync_schema('itsm')"), 0);
}

#[test]
fn what_every_object_has_is_not_null_and_a_null_all_the_same_is_an_error() {
    let live = Live::start(small());
    live.import();
    let mut client = live.connect();
    let not_null = |client: &mut Client, table: &str| -> String {
        one(
            client,
            &format!(
                "SELECT string_agg(attname, ' ' ORDER BY attname) FROM pg_attribute
                 WHERE attrelid = '{table}'::regclass AND attnum > 0 AND attnotnull"
            ),
        )
    };
    assert_eq!(not_null(&mut client, "itsm.server"), "created id key updated");
    assert_eq!(not_null(&mut client, "itsm.hardware"), "created id key updated");
    client.batch_execute("SELECT assets_fdw.materialize('itsm.server', history => true)").unwrap();
    assert_eq!(not_null(&mut client, "itsm_replica.server"), "created id key updated");
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM assets_fdw.sync_schema('itsm')"), 0);
    // One that an earlier version imported.
    client
        .batch_execute(
            "ALTER FOREIGN TABLE itsm.laptop ALTER id DROP NOT NULL, ALTER key DROP NOT NULL, ALTER created DROP NOT NULL,
                 ALTER updated DROP NOT NULL;
             SELECT assets_fdw.materialize('itsm.laptop')",
        )
        .unwrap();
    assert_eq!(not_null(&mut client, "itsm_replica.laptop"), "id key");
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM assets_fdw.sync_schema('itsm')"), 0);
    assert!(one::<i64>(&mut client, "SELECT count(name) FROM itsm.laptop") > 0);
    // Without a site there are no links.
    let identity = &live.sim.identities()[0];
    client
        .batch_execute(&format!(
            "CREATE SERVER nowhere FOREIGN DATA WRAPPER assets_fdw
                 OPTIONS (api_url '{}', workspace_id '{}', requests_per_minute '0');
             CREATE USER MAPPING FOR CURRENT_USER SERVER nowhere OPTIONS (email '{}', api_token '{}');
             CREATE FOREIGN TABLE linked (key text, url text NOT NULL) SERVER nowhere
                 OPTIONS (object_schema 'ITSM', object_type 'Server')",
            live.sim.url(),
            live.sim.workspace_id(),
            identity.name,
            identity.secret,
        ))
        .unwrap();
    assert!(one::<i64>(&mut client, "SELECT count(key) FROM linked") > 0);
    let refusal = refused(&mut client, "SELECT url FROM linked");
    assert_eq!(refusal.code, "HV024", "{refusal:?}");
    assert!(refusal.message.contains("object ITSM-") && refusal.message.contains("\"url\""), "{refusal:?}");
    client
        .batch_execute("ALTER FOREIGN TABLE linked ALTER url DROP NOT NULL; SELECT url FROM linked")
        .unwrap();
    assert_eq!(Server::shared().crashes(), Vec::<String>::new());
}
