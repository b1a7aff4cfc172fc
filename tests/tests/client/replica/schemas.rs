//! materialize_schema(), refresh_schema(), and schemas that follow Assets by themselves.

use assets_fdw_tests::assets_sim::{Endpoint, Kind};

use super::sync::{shape, sync};
use super::*;

fn count_of(client: &mut Client, schema: &str, kind: char) -> i64 {
    number(
        client,
        &format!(
            "SELECT count(*) FROM pg_class WHERE relkind = '{kind}' AND relnamespace = '{schema}'::regnamespace"
        ),
    )
}

#[test]
fn every_foreign_table_gets_a_replica_and_those_there_are_kept() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = import(&database, &sim);
    client
        .batch_execute(
            "SELECT assets_fdw.materialize('itsm.server', into_table => 'elsewhere.machines', every => '7 minutes');
             CREATE TABLE itsm.own (id int);
             CREATE FOREIGN TABLE itsm.keyless (key text) SERVER assets OPTIONS (object_type_id '11')",
        )
        .unwrap();
    let tables = count_of(&mut client, "itsm", 'f');
    let made = "SELECT count(*) FROM assets_fdw.materialize_schema('itsm', every => '9 minutes')";
    assert_eq!(number(&mut client, made), tables - 1, "all but the one without an id");
    assert_eq!(count_of(&mut client, "itsm_replica", 'r'), tables - 2);
    let schedule =
        "SELECT string_agg(DISTINCT every::text, ' ' ORDER BY every::text) FROM assets_fdw.materializations";
    assert_eq!(text(&mut client, schedule), "00:07:00 00:09:00");
    assert_eq!(number(&mut client, made), tables - 1, "again, and nothing is new");
    assert_eq!(text(&mut client, "SELECT state FROM assets_fdw.materialized_schemas"), "new");

    let rows = client
        .query("SELECT target::text, mode, seen, inserted, unchanged FROM assets_fdw.refresh_schema('itsm_replica')", &[])
        .unwrap();
    assert_eq!(rows.len() as i64, tables - 2);
    for row in &rows {
        let (target, seen, inserted): (String, i64, i64) = (row.get(0), row.get(2), row.get(3));
        assert_eq!(number(&mut client, &format!("SELECT count(*) FROM {target}")), seen);
        assert_eq!(seen, inserted);
    }
    assert!(rows.iter().any(|row| row.get::<_, i64>(2) > 0));

    // From then on together, for the requests of one.
    let servers = number(&mut client, "SELECT count(*) FROM itsm_replica.vendor");
    sim.create("Vendor", "Another", &[]).unwrap();
    sim.clear_log();
    let sql = "SELECT count(*), count(DISTINCT target), sum(inserted)::bigint, count(*) FILTER (WHERE mode = 'incremental')
               FROM assets_fdw.refresh_schema('itsm_replica')";
    let row = client.query_one(sql, &[]).unwrap();
    let figures: Vec<i64> = (0..4).map(|n| row.get(n)).collect();
    assert_eq!(figures, [tables - 2, tables - 2, 1, tables - 2], "{}", history(&mut client));
    assert_eq!(number(&mut client, "SELECT count(*) FROM itsm_replica.vendor"), servers + 1);
    let searches =
        sim.log().iter().filter(|e| matches!(e.endpoint, Endpoint::ObjectAql | Endpoint::TotalCount)).count();
    assert!(searches <= 6, "{searches} searches for {tables} replicas");
}

#[test]
fn one_replica_that_fails_keeps_no_other_from_being_refreshed() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = import(&database, &sim);
    client.batch_execute("SELECT assets_fdw.materialize_schema('itsm')").unwrap();
    client.batch_execute("ALTER FOREIGN TABLE itsm.contract OPTIONS (SET object_type_id '987654')").unwrap();
    let (state, message) = error_of(&mut client, "SELECT assets_fdw.refresh_schema('itsm_replica')");
    assert!(
        state == "HV00R" && message.contains("1 of the replicas") && message.contains("contract:"),
        "{message}"
    );
    let fresh = "SELECT count(*) FROM assets_fdw.materializations WHERE last_success IS NULL";
    assert_eq!(number(&mut client, fresh), 1);
    let (state, message) = error_of(&mut client, "SELECT assets_fdw.refresh_schema('itsm_replica', 'quick')");
    assert!(state == "22023" && message.contains("auto, incremental, full"), "{message}");
}

#[test]
fn types_and_attributes_come_and_go_by_themselves_where_drift_is_applied() {
    let (sim, server) = (small(), preloaded(&[("assets_fdw.drift_interval", "200ms")]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    client
        .batch_execute("SELECT assets_fdw.materialize_schema('itsm', every => '1 second', drift => 'apply')")
        .unwrap();
    wait_for(
        &mut client,
        "the first loads",
        "SELECT bool_and(last_success IS NOT NULL) FROM assets_fdw.materializations",
    );
    client.batch_execute("CREATE VIEW public.dashboard AS SELECT virtual FROM itsm_replica.server").unwrap();
    sim.add_type("ITSM", "Rack", None).unwrap();
    let key = sim.create("Rack", "R1", &[]).unwrap();
    sim.add_attribute("Vendor", "Colour", Kind::Text, false).unwrap();
    sim.remove_attribute("Server", "Virtual").unwrap();
    sim.remove_type("Phone").unwrap();
    let there = format!("SELECT EXISTS (SELECT FROM itsm_replica.rack WHERE key = '{key}')");
    wait_for(&mut client, "the new type's replica", "SELECT to_regclass('itsm_replica.rack') IS NOT NULL");
    wait_for(&mut client, "the new type's object", &there);
    assert!(shape(&mut client, "itsm_replica.vendor").contains(&"colour text".to_owned()));
    assert!(!shape(&mut client, "itsm.server").contains(&"virtual boolean".to_owned()));
    assert_eq!(
        number(
            &mut client,
            "SELECT count(*) FROM pg_foreign_table WHERE ftrelid = to_regclass('itsm.phone')"
        ),
        0
    );
    assert!(number(&mut client, "SELECT count(*) FROM itsm_replica.phone") > 0, "the rows stay");
    let blocked = text(
        &mut client,
        "SELECT string_agg(statement || ' ' || blocked_by, '; ') FROM assets_fdw.schema_drift",
    );
    assert_eq!(
        blocked,
        "ALTER TABLE \"itsm_replica\".\"server\" DROP COLUMN \"virtual\" view public.dashboard depends on it"
    );
    assert_eq!(text(&mut client, "SELECT state FROM assets_fdw.materialized_schemas"), "drifted");
    // Nothing changes in Assets any more; that nothing is in the way is seen here.
    client.batch_execute("DROP VIEW public.dashboard").unwrap();
    wait_for(&mut client, "nothing is left", "SELECT state = 'in step' FROM assets_fdw.materialized_schemas");
    assert!(!shape(&mut client, "itsm_replica.server").contains(&"virtual boolean".to_owned()));
    assert_eq!(server.crashes(), Vec::<String>::new());
}

#[test]
fn a_report_shows_drift_and_changes_nothing_and_a_quiet_schema_costs_two_requests_a_look() {
    let (sim, server) = (small(), preloaded(&[("assets_fdw.drift_interval", "300ms")]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    client.batch_execute("SELECT assets_fdw.materialize_schema('itsm', every => '1 second')").unwrap();
    wait_for(&mut client, "a look", "SELECT state = 'in step' FROM assets_fdw.materialized_schemas");
    sim.clear_log();
    let looked = "SELECT last_look::text FROM assets_fdw.materialized_schemas";
    for _ in 0..2 {
        let last = text(&mut client, looked);
        wait_for(&mut client, "another look", &format!("SELECT ({looked}) <> '{last}'"));
    }
    let log = sim.log();
    let of = |endpoint: Endpoint| log.iter().filter(|e| e.endpoint == endpoint).count();
    let glances = of(Endpoint::SchemaAttributes);
    assert!(glances >= 1 && of(Endpoint::SchemaTypes) <= glances + 2, "{glances}");

    sim.add_type("ITSM", "Rack", None).unwrap();
    sim.rename_attribute("Server", "Virtual", "Is virtual").unwrap();
    wait_for(&mut client, "the report", "SELECT count(*) >= 2 FROM assets_fdw.schema_drift");
    let kinds = "SELECT string_agg(DISTINCT kind, ', ' ORDER BY kind) FROM assets_fdw.schema_drift";
    assert_eq!(text(&mut client, kinds), "new type, renamed attribute");
    assert_eq!(number(&mut client, "SELECT count(*) FROM pg_class WHERE relname = 'rack'"), 0);
    let told = sync(&mut client, "itsm", false);
    assert!(told.iter().any(|line| line.contains("assets_fdw.materialize(")), "{told:#?}");
    assert_eq!(number(&mut client, "SELECT count(*) FROM assets_fdw.schema_drift"), 0);
    assert_eq!(count_of(&mut client, "itsm", 'f'), count_of(&mut client, "itsm_replica", 'r'));
}

#[test]
fn what_was_blocked_is_done_before_the_next_refresh_after_the_view_is_gone_and_costs_nothing_until_then() {
    // The next look at the service would be in an hour.
    let (sim, server) = (small(), preloaded(&[("assets_fdw.drift_interval", "1h")]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    client.batch_execute("SELECT assets_fdw.materialize('itsm.server', every => '1 second')").unwrap();
    wait_for(
        &mut client,
        "the first load",
        "SELECT bool_and(last_success IS NOT NULL) FROM assets_fdw.materializations",
    );
    client
        .batch_execute(
            "CREATE VIEW public.dashboard AS SELECT rack_unit FROM itsm_replica.server;
             CREATE VIEW public.other AS SELECT key FROM itsm_replica.server",
        )
        .unwrap();
    sim.change_kind("Server", "Rack.Unit", Kind::Text, true).unwrap();
    client
        .batch_execute("SELECT assets_fdw.materialize_schema('itsm', every => '1 second', drift => 'apply')")
        .unwrap();
    wait_for(
        &mut client,
        "it is blocked",
        "SELECT count(*) > 0 FROM assets_fdw.schema_drift WHERE blocked_by LIKE '%dashboard%'",
    );
    // A value that the column cannot hold meanwhile: the replica says what to do, and keeps its rows.
    let key = text(&mut client, "SELECT key FROM itsm_replica.server ORDER BY id LIMIT 1");
    sim.update(&key, "Rack.Unit", &["1", "2"]).unwrap();
    wait_for(&mut client, "it fails", "SELECT max(failures) > 0 FROM assets_fdw.materializations");
    let hint = "SELECT hint FROM assets_fdw.refresh_history WHERE error LIKE '%several values%' ORDER BY id DESC LIMIT 1";
    let hint = text(&mut client, hint);
    assert!(
        hint.contains("sync_schema") && hint.contains("blocked_by") && hint.contains("on_invalid"),
        "{hint}"
    );
    sim.clear_log();
    let runs = number(&mut client, "SELECT max(id) FROM assets_fdw.refresh_history");
    let more =
        format!("SELECT count(*) > 20 FROM assets_fdw.refresh_history WHERE id > {runs} AND outcome = 'ok'");
    wait_for(&mut client, "refreshes go on", &more);
    let looks = |sim: &Sim| sim.log().iter().filter(|e| e.endpoint == Endpoint::SchemaAttributes).count();
    assert_eq!(looks(&sim), 0);
    client.batch_execute("DROP VIEW public.dashboard").unwrap();
    let done = "SELECT format_type(atttypid, atttypmod) = 'text[]' FROM pg_attribute
                WHERE attrelid = 'itsm_replica.server'::regclass AND attname = 'rack_unit'";
    wait_for(&mut client, "it is done", done);
    let healthy = format!("SELECT rack_unit = '{{1,2}}' FROM itsm_replica.server WHERE key = '{key}'");
    wait_for(&mut client, "both values", &healthy);
    assert_eq!(text(&mut client, "SELECT state FROM assets_fdw.materialized_schemas"), "in step");
}

#[test]
fn a_credential_that_sees_less_takes_no_tables_along() {
    let (sim, server) = (small(), preloaded(&[("assets_fdw.drift_interval", "200ms")]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    client
        .batch_execute("SELECT assets_fdw.materialize_schema('itsm', every => '1 second', drift => 'apply')")
        .unwrap();
    wait_for(&mut client, "a look", "SELECT last_look IS NOT NULL FROM assets_fdw.materialized_schemas");
    let tables = count_of(&mut client, "itsm", 'f');
    for name in ["Phone", "Laptop", "Contract", "Vendor", "Software License", "Subnet", "Room"] {
        sim.remove_type(name).unwrap();
    }
    wait_for(
        &mut client,
        "the guard",
        "SELECT state = 'failing' AND last_error LIKE '%max_delete_share%' FROM assets_fdw.materialized_schemas",
    );
    assert_eq!(count_of(&mut client, "itsm", 'f'), tables);
}

#[test]
fn a_type_that_was_gone_for_a_while_gets_its_table_again_and_the_old_rows_are_not_touched() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = import(&database, &sim);
    client.batch_execute("SELECT assets_fdw.materialize_schema('itsm')").unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.phone')").unwrap();
    let rows = number(&mut client, "SELECT count(*) FROM itsm_replica.phone");
    assert!(rows > 0);
    sim.remove_type("Phone").unwrap();
    sync(&mut client, "itsm", false);
    sim.add_type("ITSM", "Phone", None).unwrap();
    let told = sync(&mut client, "itsm", false);
    assert!(told.iter().any(|l| l.ends_with("table \"itsm_replica\".\"phone\" exists already")), "{told:#?}");
    assert_eq!(number(&mut client, "SELECT count(*) FROM itsm.phone"), 0);
    assert_eq!(number(&mut client, "SELECT count(*) FROM itsm_replica.phone"), rows);
    assert_eq!(sync(&mut client, "itsm", false), Vec::<String>::new());
}

#[test]
fn a_session_in_the_way_holds_up_the_look_and_not_the_refresh() {
    let (sim, server) = (small(), preloaded(&[("assets_fdw.drift_interval", "200ms")]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    client
        .batch_execute("SELECT assets_fdw.materialize_schema('itsm', every => '1 second', drift => 'apply')")
        .unwrap();
    wait_for(&mut client, "a look", "SELECT state = 'in step' FROM assets_fdw.materialized_schemas");
    let mut reader = database.connect();
    reader.batch_execute("BEGIN; SELECT count(*) FROM itsm_replica.vendor").unwrap();
    sim.add_attribute("Vendor", "Colour", Kind::Text, false).unwrap();
    let failing =
        "SELECT state = 'failing' AND last_error LIKE '%lock%' FROM assets_fdw.materialized_schemas";
    wait_for(&mut client, "the look gives up", failing);
    let runs = "SELECT count(*) FROM assets_fdw.refresh_history WHERE outcome = 'ok'";
    let before = number(&mut client, runs);
    wait_for(&mut client, "refreshes go on", &format!("SELECT ({runs}) > {before} + 2"));
    assert!(!shape(&mut client, "itsm.vendor").contains(&"colour text".to_owned()), "all or nothing");
    reader.batch_execute("COMMIT").unwrap();
    wait_for(&mut client, "the look after", "SELECT state = 'in step' FROM assets_fdw.materialized_schemas");
    assert!(shape(&mut client, "itsm_replica.vendor").contains(&"colour text".to_owned()));
}

#[test]
fn a_role_that_may_only_read_has_its_replicas_and_no_say_in_the_tables() {
    let (sim, server) = (small(), preloaded(&[("assets_fdw.drift_interval", "200ms")]));
    let database = server.create_database();
    let mut admin = import(&database, &sim);
    let identity = &sim.identities()[0];
    admin
        .batch_execute(&format!(
            "CREATE ROLE alice LOGIN; GRANT CREATE ON DATABASE {} TO alice; GRANT USAGE ON SCHEMA itsm TO alice;
             GRANT SELECT ON ALL TABLES IN SCHEMA itsm TO alice;
             CREATE USER MAPPING FOR alice SERVER assets OPTIONS (email '{}', api_token '{}')",
            database.name(),
            identity.name,
            identity.secret
        ))
        .unwrap();
    let mut alice = database.connect_as("alice");
    alice
        .batch_execute("SELECT assets_fdw.materialize_schema('itsm', every => '1 second', drift => 'apply')")
        .unwrap();
    wait_for(&mut alice, "a look", "SELECT state = 'in step' FROM assets_fdw.materialized_schemas");
    assert_eq!(number(&mut admin, "SELECT count(*) FROM assets_fdw.materialized_schemas"), 1);
    assert_eq!(error_of(&mut alice, "SELECT assets_fdw.sync_schema('itsm')").0, "42501");
    // What the owner of the tables does, alice's replicas are not changed by.
    let mut bob = database.connect();
    bob.batch_execute("CREATE ROLE bob LOGIN; GRANT ALL ON SCHEMA itsm TO bob").unwrap();
    let mut bob = database.connect_as("bob");
    assert_eq!(number(&mut bob, "SELECT count(*) FROM assets_fdw.materialized_schemas"), 0);
    assert_eq!(number(&mut bob, "SELECT count(*) FROM assets_fdw.schema_drift"), 0);
}

#[test]
fn a_dump_brings_back_what_is_known_and_a_renamed_server_is_followed() {
    let (sim, server) = (small(), Server::shared());
    let database = server.create_database();
    let mut client = import(&database, &sim);
    client
        .batch_execute(
            "SELECT assets_fdw.materialize_schema('itsm', drift => 'apply');
             ALTER FOREIGN TABLE itsm.server DROP COLUMN notes; DROP FOREIGN TABLE itsm.contract",
        )
        .unwrap();
    let dump = server.command("pg_dump").args(["-d", database.name()]).output().expect("pg_dump runs");
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let restored = server.create_empty_database();
    let mut psql = server
        .psql_command()
        .args(["-q", "-v", "ON_ERROR_STOP=1", "-d", restored.name()])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("psql runs");
    std::io::Write::write_all(&mut psql.stdin.take().expect("a pipe"), &dump.stdout)
        .expect("the dump is read");
    assert!(psql.wait().expect("psql ends").success());

    let mut client = restored.connect();
    assert_eq!(text(&mut client, "SELECT state FROM assets_fdw.materialized_schemas"), "paused");
    assert_eq!(sync(&mut client, "itsm", true), Vec::<String>::new());
    client.batch_execute("ALTER SERVER assets RENAME TO atlas").unwrap();
    sim.add_type("ITSM", "Rack", None).unwrap();
    sim.add_attribute("Server", "Colour", Kind::Text, false).unwrap();
    let told = sync(&mut client, "itsm", false);
    let has = |what: &str| assert!(told.iter().any(|l| l.contains(what)), "{what}: {told:#?}");
    has("CREATE FOREIGN TABLE \"itsm\".\"rack\"");
    has("ALTER FOREIGN TABLE \"itsm\".\"server\" ADD COLUMN \"colour\"");
    has("ALTER TABLE \"itsm_replica\".\"server\" ADD COLUMN \"colour\"");
    assert!(told.iter().all(|l| !l.contains("notes") && !l.contains("contract")), "{told:#?}");
    assert_eq!(sync(&mut client, "itsm", true), Vec::<String>::new());
}

#[test]
fn a_history_follows_its_replica_and_keeps_what_is_gone() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = import(&database, &sim);
    client.batch_execute("SELECT assets_fdw.materialize('itsm.server', history => true)").unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    sim.add_attribute("Server", "Valid From", Kind::Text, false).unwrap();
    sim.change_kind("Server", "Rack.Unit", Kind::Text, true).unwrap();
    sim.remove_attribute("Server", "Virtual").unwrap();
    sync(&mut client, "itsm", false);
    assert_eq!(sync(&mut client, "itsm", true), Vec::<String>::new());
    let key = text(&mut client, "SELECT key FROM itsm_replica.server ORDER BY id LIMIT 1");
    sim.update(&key, "Valid From", &["today"]).unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    let column = shape(&mut client, "itsm.server").into_iter().find(|c| c.starts_with("valid_from"));
    let column = column.and_then(|c| c.split(' ').next().map(str::to_owned)).expect("the new column");
    let now = format!(
        "SELECT count(*) FROM itsm_replica.server_history WHERE valid_to IS NULL AND key = '{key}' AND {column} = 'today'"
    );
    assert_eq!(number(&mut client, &now), 1);
    assert!(shape(&mut client, "itsm_replica.server_history").contains(&"rack_unit text[]".to_owned()));
    assert!(number(&mut client, "SELECT count(virtual) FROM itsm_replica.server_history") > 0, "kept");
    let servers = number(&mut client, "SELECT count(*) FROM itsm_replica.server");
    let open = "SELECT count(*) FROM itsm_replica.server_history WHERE valid_to IS NULL";
    assert_eq!(number(&mut client, open), servers);
}

/// A list that is one value now, a text that is a number: what the versions held is there afterwards.
#[test]
fn a_changed_kind_takes_no_value_out_of_a_history() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = import(&database, &sim);
    client.batch_execute("SELECT assets_fdw.materialize('itsm.server', history => true)").unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    let of = |client: &mut Client, column: &str| {
        let sql = format!(
            "SELECT coalesce(string_agg({column}::text, '|' ORDER BY id, valid_from) FILTER (WHERE {column} IS NOT NULL), '') FROM itsm_replica.server_history"
        );
        text(client, &sql)
    };
    let columns = ["serial_number", "tags", "memory_gb", "operating_system"];
    let before: Vec<String> = columns.iter().map(|column| of(&mut client, column)).collect();
    assert!(before.iter().all(|values| values.contains('|')), "{before:#?}");
    // A history of 0.1.0 has no key, and what is published and has none takes no UPDATE.
    client
        .batch_execute(
            "ALTER TABLE itsm_replica.server_history DROP CONSTRAINT server_history_pkey;
             CREATE PUBLICATION everything FOR ALL TABLES",
        )
        .unwrap();
    sim.change_kind("Server", "Serial Number", Kind::Integer, false).unwrap();
    sim.change_kind("Server", "Tags", Kind::Text, false).unwrap();
    sim.change_kind("Server", "Memory GB", Kind::Text, false).unwrap();
    sim.change_kind("Server", "Operating System", Kind::Boolean, true).unwrap();
    let told = sync(&mut client, "itsm", true);
    assert_eq!(sync(&mut client, "itsm", false), told);
    assert_eq!(sync(&mut client, "itsm", true), Vec::<String>::new());
    let kept = ["serial_number_text", "tags_text_list", "memory_gb", "operating_system_text"];
    let after: Vec<String> = kept.iter().map(|column| of(&mut client, column)).collect();
    assert_eq!(after, before);
    // What fits is where it was looked for before.
    assert!(of(&mut client, "tags").contains('|'));
    // Once more: the column that was a number is one again.
    sim.change_kind("Server", "Memory GB", Kind::Integer, false).unwrap();
    sync(&mut client, "itsm", false);
    assert_eq!(of(&mut client, "memory_gb"), before[2]);
    assert_eq!(of(&mut client, "memory_gb_text"), before[2]);
    for (column, values) in kept.iter().zip(&before).take(2) {
        assert_eq!(&of(&mut client, column), values);
    }
}

/// What operators have made around replicas: a name for their schema, rights, indexes, statistics.
#[test]
fn new_replicas_go_where_the_others_are_with_their_rights_and_what_people_made_of_a_column_keeps_it() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = import(&database, &sim);
    client
        .batch_execute(
            "SELECT assets_fdw.materialize_schema('itsm');
             GRANT SELECT ON ALL TABLES IN SCHEMA itsm_replica TO pg_monitor;
             GRANT SELECT ON itsm_replica.server TO PUBLIC;
             ALTER SCHEMA itsm_replica RENAME TO mirror;
             CREATE INDEX by_virtual ON mirror.server (virtual, memory_gb);
             CREATE STATISTICS mirror.together ON notes, memory_gb FROM mirror.server;
             CREATE INDEX by_owner ON mirror.server (owner_key);
             ALTER TABLE mirror.server ADD COLUMN loud text GENERATED ALWAYS AS (upper(serial_number)) STORED;
             CREATE INDEX by_place ON mirror.server (lower(rack_unit))",
        )
        .unwrap();
    sim.add_type("ITSM", "Rack", None).unwrap();
    for gone in ["Virtual", "Notes", "Owner", "Serial Number"] {
        sim.remove_attribute("Server", gone).unwrap();
    }
    sim.change_kind("Server", "Rack.Unit", Kind::Text, true).unwrap();
    let told = sync(&mut client, "itsm", false);
    let has = |what: &str, why: &str| {
        assert!(
            told.iter().any(|line| line.contains(what) && line.contains(why)),
            "{what}, {why}: {told:#?}"
        );
    };
    has("\"mirror\".\"server\" DROP COLUMN \"virtual\"", "index mirror.by_virtual depends on it");
    has("\"mirror\".\"server\" DROP COLUMN \"notes\"", "statistics object mirror.together depends on it");
    has(
        "\"mirror\".\"server\" DROP COLUMN \"serial_number\"",
        "column loud of table mirror.server depends on it",
    );
    has("\"mirror\".\"server\" DROP COLUMN \"owner_key\"", "index mirror.by_owner depends on it");
    has(
        "\"mirror\".\"server\" ALTER COLUMN \"rack_unit\" TYPE text[]",
        "index mirror.by_place depends on it",
    );
    let rights = "SELECT concat_ws(' ', has_table_privilege('pg_monitor', 'mirror.rack', 'SELECT'),
                      (SELECT count(*) FROM pg_class AS c, aclexplode(c.relacl) AS a
                       WHERE c.oid = 'mirror.rack'::regclass AND a.grantee = 0))";
    assert_eq!(text(&mut client, rights), "t 0");
    client
        .batch_execute(
            "DROP INDEX mirror.by_virtual, mirror.by_owner, mirror.by_place; DROP STATISTICS mirror.together;
             ALTER TABLE mirror.server DROP COLUMN loud",
        )
        .unwrap();
    sync(&mut client, "itsm", false);
    assert_eq!(sync(&mut client, "itsm", true), Vec::<String>::new());
    let shape = shape(&mut client, "mirror.server").join(" ");
    assert!(
        shape.contains("rack_unit text[]") && !shape.contains("owner") && !shape.contains("notes"),
        "{shape}"
    );
}
