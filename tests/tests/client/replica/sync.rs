//! sync_schema(): foreign tables and replicas follow object types that changed.

use assets_fdw_tests::assets_sim::{Endpoint, Fault, FaultKind, Kind};

use super::*;

/// What sync_schema() says: `kind | statement | what is in the way`.
pub(super) fn sync(client: &mut Client, schema: &str, dry_run: bool) -> Vec<String> {
    let sql = "SELECT concat_ws(' | ', kind, statement, blocked_by) FROM assets_fdw.sync_schema($1::text::name, $2)";
    let rows = client.query(sql, &[&schema, &dry_run]).unwrap_or_else(|error| panic!("{error:?}"));
    rows.iter().map(|row| row.get(0)).collect()
}

/// The columns of a table as `name type`.
pub(super) fn shape(client: &mut Client, table: &str) -> Vec<String> {
    let sql = "SELECT attname || ' ' || format_type(atttypid, atttypmod) FROM pg_attribute
               WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
    client.query(sql, &[&table]).expect(table).iter().map(|row| row.get(0)).collect()
}

fn with_replica(sim: &Sim) -> (Database<'static>, Client) {
    let database = Server::shared().create_database();
    let mut client = import(&database, sim);
    client.batch_execute("SELECT assets_fdw.materialize('itsm.server')").unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    (database, client)
}

/// One of everything that can happen to a type.
fn change_everything(sim: &Sim) {
    sim.rename_attribute("Server", "Memory GB", "RAM").unwrap();
    sim.remove_attribute("Server", "Virtual").unwrap();
    sim.change_kind("Server", "Rack.Unit", Kind::Text, true).unwrap();
    sim.add_attribute("Server", "Cost Centre", Kind::Integer, false).unwrap();
    sim.add_attribute("Server", "Backup Of", Kind::Object, true).unwrap();
    sim.describe("Server", Some("Cost Centre"), "It's who pays").unwrap();
    sim.rename_type("Phone", "Telephone").unwrap();
    sim.remove_type("Software License").unwrap();
    sim.add_type("ITSM", "Rack", None).unwrap();
}

/// The statements for that, in which ids are `N`.
const EVERYTHING: &str = r#"
new type | CREATE FOREIGN TABLE "itsm"."rack" (
renamed attribute | ALTER FOREIGN TABLE "itsm"."server" ALTER COLUMN "memory_gb" OPTIONS (SET attribute 'RAM')
removed attribute | ALTER TABLE "itsm_replica"."server" DROP COLUMN "virtual"
removed attribute | ALTER FOREIGN TABLE "itsm"."server" DROP COLUMN "virtual"
changed attribute | ALTER FOREIGN TABLE "itsm"."server" ALTER COLUMN "rack_unit" TYPE text[]
changed attribute | ALTER TABLE "itsm_replica"."server" ALTER COLUMN "rack_unit" TYPE text[] USING CASE WHEN ("rack_unit") IS NOT NULL THEN ARRAY["rack_unit"] END
new attribute | ALTER FOREIGN TABLE "itsm"."server" ADD COLUMN "cost_centre" bigint OPTIONS (attribute 'Cost Centre', attribute_id 'N')
new attribute | COMMENT ON COLUMN "itsm"."server"."cost_centre" IS 'It''s who pays'
new attribute | ALTER TABLE "itsm_replica"."server" ADD COLUMN "cost_centre" bigint
new attribute | COMMENT ON COLUMN "itsm_replica"."server"."cost_centre" IS 'It''s who pays'
new attribute | ALTER FOREIGN TABLE "itsm"."server" ADD COLUMN "backup_of" text[] OPTIONS (attribute 'Backup Of', attribute_id 'N')
new attribute | ALTER TABLE "itsm_replica"."server" ADD COLUMN "backup_of" text[]
new attribute | ALTER FOREIGN TABLE "itsm"."server" ADD COLUMN "backup_of_key" text[] OPTIONS (attribute 'Backup Of', attribute_id 'N', part 'key')
new attribute | ALTER TABLE "itsm_replica"."server" ADD COLUMN "backup_of_key" text[]
new attribute | CREATE INDEX ON "itsm_replica"."server" USING gin ("backup_of_key")
removed type | DROP FOREIGN TABLE "itsm"."software_license"
renamed type | ALTER FOREIGN TABLE "itsm"."phone" OPTIONS (SET object_type 'Telephone')
"#;

#[test]
fn a_dry_run_shows_the_statements_and_changes_nothing_and_applied_nothing_is_left() {
    let sim = small();
    let (_database, mut client) = with_replica(&sim);
    assert_eq!(sync(&mut client, "itsm", true), Vec::<String>::new());
    change_everything(&sim);
    let before = (shape(&mut client, "itsm.server"), shape(&mut client, "itsm_replica.server"));

    let told = sync(&mut client, "itsm", true);
    let bare = |line: &String| -> String {
        // Only the first line of CREATE, and no ids.
        let mut out = String::new();
        let line = line.lines().next().unwrap_or_default();
        for (n, part) in line.split("attribute_id '").enumerate() {
            match n {
                0 => out.push_str(part),
                _ => {
                    out.push_str("attribute_id 'N");
                    out.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
                }
            }
        }
        out
    };
    let mut found: Vec<String> = told.iter().map(bare).collect();
    let mut wanted: Vec<&str> = EVERYTHING.trim().lines().collect();
    let order = |list: &[String]| -> Vec<usize> {
        // Within a table, the order is what counts.
        list.iter().filter(|l| l.contains("server")).map(|l| l.len()).collect()
    };
    let wanted_list: Vec<String> = wanted.iter().map(|l| (*l).to_owned()).collect();
    assert_eq!(order(&found), order(&wanted_list), "{found:#?}");
    found.sort();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
    assert_eq!((shape(&mut client, "itsm.server"), shape(&mut client, "itsm_replica.server")), before);

    assert_eq!(sync(&mut client, "itsm", false), told, "what is done is what was shown");
    assert_eq!(sync(&mut client, "itsm", true), Vec::<String>::new());
    // Data was kept where it can be: before any refresh.
    let kept = "SELECT count(*) FROM itsm_replica.server WHERE cardinality(rack_unit) = 1 AND rack_unit[1] IS NOT NULL";
    assert!(number(&mut client, kept) > 0);
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server', 'full')").unwrap();
    let servers = number(&mut client, "SELECT count(*) FROM itsm_replica.server");
    assert!(servers > 0);
    let key = text(&mut client, "SELECT key FROM itsm_replica.server ORDER BY id LIMIT 1");
    let other = text(&mut client, "SELECT key FROM itsm_replica.server ORDER BY id DESC LIMIT 1");
    sim.update(&key, "Cost Centre", &["4711"]).unwrap();
    sim.update(&key, "Backup Of", &[&other]).unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    let row = format!(
        "SELECT count(*) FROM itsm_replica.server
         WHERE cost_centre = 4711 AND backup_of_key = ARRAY['{other}'] AND key = '{key}'"
    );
    assert_eq!(number(&mut client, &row), 1);
    assert_eq!(differences_by_name(&mut client, "server"), 0);
    // The new table works, and its description came along.
    assert_eq!(number(&mut client, "SELECT count(*) FROM itsm.rack"), 0);
    assert_eq!(number(&mut client, "SELECT count(*) FROM pg_class WHERE relname = 'software_license'"), 0);
}

/// Rows that foreign table and replica do not have in common, whatever the order of their columns.
fn differences_by_name(client: &mut Client, table: &str) -> i64 {
    let row = |schema: &str| {
        format!(
            "SELECT (SELECT jsonb_object_agg(e.key, e.value) FROM jsonb_each(to_jsonb(t)) AS e) FROM {schema}.{table} AS t"
        )
    };
    let (a, b) = (row("itsm"), row("itsm_replica"));
    number(
        client,
        &format!("SELECT count(*) FROM (({a} EXCEPT ALL {b}) UNION ALL ({b} EXCEPT ALL {a})) AS d"),
    )
}

#[test]
fn a_session_that_knew_the_old_attributes_reads_the_new_column_at_once() {
    let sim = small();
    let (database, mut client) = with_replica(&sim);
    let mut other = database.connect();
    let seen = number(&mut other, "SELECT count(memory_gb) FROM itsm.server");
    sim.add_attribute("Server", "Cost Centre", Kind::Integer, false).unwrap();
    sync(&mut client, "itsm", false);
    assert!(seen > 0);
    assert_eq!(number(&mut other, "SELECT count(cost_centre) FROM itsm.server"), 0);
}

#[test]
fn a_view_in_the_way_is_reported_and_stays_and_the_rest_is_done() {
    let sim = small();
    let (_database, mut client) = with_replica(&sim);
    client
        .batch_execute(
            "CREATE VIEW public.dashboard AS SELECT key, virtual FROM itsm_replica.server;
             CREATE VIEW public.windows AS SELECT maintenance_window FROM itsm.server;
             CREATE VIEW public.licenses AS SELECT count(*) FROM itsm.software_license;
             CREATE VIEW public.memory AS SELECT memory_gb FROM itsm_replica.server",
        )
        .unwrap();
    change_everything(&sim);
    sim.change_kind("Server", "Maintenance Window", Kind::Text, false).unwrap();
    let told = sync(&mut client, "itsm", false);
    let blocked: Vec<&String> = told.iter().filter(|line| line.contains("depends on it")).collect();
    let has = |statement: &str, view: &str| {
        let found = blocked
            .iter()
            .any(|l| l.contains(statement) && l.contains(&format!("view {view} depends on it")));
        assert!(found, "{statement} {view}: {told:#?}");
    };
    has("\"itsm_replica\".\"server\" DROP COLUMN \"virtual\"", "public.dashboard");
    has("\"itsm\".\"server\" ALTER COLUMN \"maintenance_window\" TYPE text", "public.windows");
    // The replica keeps its type as long as its source does.
    has("\"itsm_replica\".\"server\" ALTER COLUMN \"maintenance_window\" TYPE text", "public.windows");
    has("DROP FOREIGN TABLE \"itsm\".\"software_license\"", "public.licenses");
    assert_eq!(blocked.len(), 4, "{told:#?}");
    assert!(shape(&mut client, "itsm.server").contains(&"cost_centre bigint".to_owned()));
    assert!(!shape(&mut client, "itsm.server").contains(&"virtual boolean".to_owned()));

    // Nobody is hurt meanwhile: the replica is refreshed, the views answer.
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    for view in ["dashboard", "windows", "memory"] {
        assert!(number(&mut client, &format!("SELECT count(*) FROM public.{view}")) > 0, "{view}");
    }
    let again: Vec<String> = sync(&mut client, "itsm", true);
    assert_eq!(again.iter().collect::<Vec<_>>(), blocked, "what was not done is found again");

    client.batch_execute("DROP VIEW public.dashboard, public.windows, public.licenses").unwrap();
    assert_eq!(sync(&mut client, "itsm", false).len(), 4);
    assert_eq!(sync(&mut client, "itsm", true), Vec::<String>::new());
    assert!(shape(&mut client, "itsm_replica.server").contains(&"maintenance_window text".to_owned()));
    assert!(!shape(&mut client, "itsm_replica.server").contains(&"virtual boolean".to_owned()));
}

#[test]
fn what_people_chose_stays() {
    let sim = small();
    let (_database, mut client) = with_replica(&sim);
    client
        .batch_execute(
            "ALTER FOREIGN TABLE itsm.server RENAME COLUMN rack_unit TO place;
             ALTER FOREIGN TABLE itsm.server DROP COLUMN notes;
             ALTER FOREIGN TABLE itsm.server ALTER COLUMN memory_gb TYPE numeric;
             ALTER FOREIGN TABLE itsm.server ALTER COLUMN tags OPTIONS (ADD on_invalid 'null');
             COMMENT ON COLUMN itsm.server.owner IS 'ours';
             ALTER FOREIGN TABLE itsm.laptop RENAME TO notebooks;
             DROP FOREIGN TABLE itsm.contract;
             CREATE TABLE itsm.own (id int);
             CREATE FOREIGN TABLE itsm.by_hand (id bigint, key text) SERVER assets
                 OPTIONS (object_schema 'ITSM', object_type 'Server')",
        )
        .unwrap();
    assert_eq!(sync(&mut client, "itsm", false), Vec::<String>::new());
    sim.describe("Server", Some("Owner"), "somebody else").unwrap();
    sim.change_kind("Server", "Memory GB", Kind::Double, false).unwrap();
    sim.change_kind("Server", "Rack.Unit", Kind::Text, true).unwrap();
    sim.rename_type("Laptop", "Portable").unwrap();
    let told = sync(&mut client, "itsm", false);
    let has = |what: &str| assert!(told.iter().any(|line| line.contains(what)), "{what}: {told:#?}");
    has("ALTER FOREIGN TABLE \"itsm\".\"server\" ALTER COLUMN \"place\" TYPE text[]");
    has("ALTER FOREIGN TABLE \"itsm\".\"notebooks\" OPTIONS (SET object_type 'Portable')");
    has("COMMENT ON COLUMN \"itsm\".\"server\".\"owner_key\" IS 'somebody else'");
    assert!(told.iter().all(|line| !line.contains("memory_gb") && !line.contains("by_hand")), "{told:#?}");
    assert!(
        told.iter().all(|line| !line.contains("\"server\".\"owner\" IS") || line.contains("replica")),
        "{told:#?}"
    );
    assert_eq!(sync(&mut client, "itsm", true), Vec::<String>::new());
    let options = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'itsm.server'::regclass
                   AND 'on_invalid=null' = ANY (attfdwoptions)";
    assert_eq!(number(&mut client, options), 1);
    for gone in ["contract", "laptop"] {
        let sql = format!("SELECT count(*) FROM pg_class WHERE relname = '{gone}' AND relkind = 'f'");
        assert_eq!(number(&mut client, &sql), 0, "{gone} did not come back");
    }
}

#[test]
fn an_import_of_some_tables_does_not_grow_and_its_options_are_remembered() {
    let (sim, database) = (small(), Server::shared().create_database());
    database.create_assets_server(&sim);
    let mut client = database.connect();
    client
        .batch_execute(
            "CREATE SCHEMA few; CREATE SCHEMA most;
             IMPORT FOREIGN SCHEMA \"ITSM\" LIMIT TO (vendor) FROM SERVER assets INTO few OPTIONS (references 'key');
             IMPORT FOREIGN SCHEMA \"ITSM\" EXCEPT (server) FROM SERVER assets INTO most",
        )
        .unwrap();
    sim.add_type("ITSM", "Rack", None).unwrap();
    sim.add_attribute("Vendor", "Boss", Kind::Object, false).unwrap();
    sync(&mut client, "few", false);
    sync(&mut client, "most", false);
    let tables = |client: &mut Client, schema: &str| {
        text(
            client,
            &format!(
                "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relnamespace = '{schema}'::regnamespace AND relkind = 'f'"
            ),
        )
    };
    assert_eq!(tables(&mut client, "few"), "vendor");
    let most = tables(&mut client, "most");
    assert!(most.contains("rack") && most.split(' ').all(|name| name != "server"), "{most}");
    let columns = shape(&mut client, "few.vendor").join(",");
    assert!(columns.contains("boss_key text") && !columns.contains("boss text"), "{columns}");
    assert!(shape(&mut client, "most.vendor").contains(&"boss text".to_owned()));
    // A failed import is not remembered, nor does a dropped schema leave anything behind.
    client
        .batch_execute("IMPORT FOREIGN SCHEMA \"ITSM\" LIMIT TO (vendor) FROM SERVER assets INTO few")
        .unwrap_err();
    client.batch_execute("SET client_min_messages = error; DROP SCHEMA few, most CASCADE").unwrap();
    let left = "SELECT (SELECT count(*) FROM assets_fdw.imported_table) + (SELECT count(*) FROM assets_fdw.imported_schema)";
    assert_eq!(number(&mut client, left), 0);
}

#[test]
fn all_is_done_or_nothing() {
    let sim = small();
    let (_database, mut client) = with_replica(&sim);
    change_everything(&sim);
    // The last of the tables cannot be made: an event trigger of somebody's forbids it.
    client
        .batch_execute(
            "CREATE FUNCTION public.forbid() RETURNS event_trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE EXCEPTION 'not on my watch'; END $$;
             CREATE EVENT TRIGGER forbid ON ddl_command_end WHEN TAG IN ('CREATE FOREIGN TABLE')
                 EXECUTE FUNCTION public.forbid()",
        )
        .unwrap();
    let before = (shape(&mut client, "itsm.server"), shape(&mut client, "itsm_replica.server"));
    let (_, message) = error_of(&mut client, "SELECT assets_fdw.sync_schema('itsm', false)");
    assert!(message.contains("not on my watch"), "{message}");
    assert_eq!((shape(&mut client, "itsm.server"), shape(&mut client, "itsm_replica.server")), before);
    client.batch_execute("DROP EVENT TRIGGER forbid").unwrap();
    assert!(sync(&mut client, "itsm", false).len() > 10);
    assert_eq!(sync(&mut client, "itsm", true), Vec::<String>::new());
}

#[test]
fn nothing_is_concluded_where_the_service_shows_nothing() {
    let sim = small();
    let (_database, mut client) = with_replica(&sim);
    client
        .batch_execute("CREATE SCHEMA fac; IMPORT FOREIGN SCHEMA \"FAC\" FROM SERVER assets INTO fac")
        .unwrap();
    let tables = number(&mut client, "SELECT count(*) FROM pg_foreign_table");
    // An account that has lost its role in the object schema.
    let limited =
        sim.identities().iter().find(|i| i.name.starts_with("limited")).expect("an account").clone();
    let sql = format!(
        "ALTER USER MAPPING FOR CURRENT_USER SERVER assets OPTIONS (SET email '{}', SET api_token '{}')",
        limited.name, limited.secret
    );
    client.batch_execute(&sql).unwrap();
    let (state, message) = error_of(&mut client, "SELECT assets_fdw.sync_schema('fac', false)");
    assert!(state == "HV00R" && message.contains("no object schema"), "{state} {message}");
    // A service that is broken in the middle.
    for (kind, endpoint) in [
        (FaultKind::Status { status: 404 }, Endpoint::TypeAttributes),
        (FaultKind::Status { status: 403 }, Endpoint::TypeAttributes),
        (FaultKind::TruncatedJson, Endpoint::SchemaTypesFlat),
        (FaultKind::EmptyBody, Endpoint::SchemaTypesFlat),
    ] {
        sim.fault(Fault::new(kind.clone()).on(endpoint));
        error_of(&mut client, "SELECT assets_fdw.sync_schema('itsm', false)");
        sim.clear_faults();
    }
    assert_eq!(number(&mut client, "SELECT count(*) FROM pg_foreign_table"), tables);
}

#[test]
fn a_schema_without_anything_of_assets_is_named() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = import(&database, &sim);
    for (sql, state, word) in [
        ("SELECT assets_fdw.sync_schema('nope')", "3F000", "does not exist"),
        ("SELECT assets_fdw.sync_schema('public')", "42P01", "no foreign table"),
        ("SELECT assets_fdw.materialize_schema('public')", "42P01", "no foreign table"),
        ("SELECT assets_fdw.materialize_schema('nope')", "3F000", "does not exist"),
        ("SELECT assets_fdw.materialize_schema(NULL)", "22004", "source_schema"),
        ("SELECT assets_fdw.materialize_schema('itsm', drift => 'ignore')", "22023", "report, apply"),
        ("SELECT assets_fdw.materialize_schema('itsm', every => '1 ms')", "22023", "between 1 second"),
        ("SELECT assets_fdw.refresh_schema('nope')", "3F000", "does not exist"),
        ("SELECT assets_fdw.refresh_schema('itsm')", "42P01", "no replica"),
    ] {
        let (got, message) = error_of(&mut client, sql);
        assert!(got == state && message.contains(word), "{sql}: {got} {message}");
    }
}
