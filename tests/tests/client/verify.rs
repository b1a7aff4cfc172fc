//! What `verify_pushdown` finds out is how the service behaves, and the planner relies on it just so far.

use std::collections::BTreeMap;
use std::time::Duration;

use assets_fdw_tests::assets_sim::{Options, OrderBy, Precision, Profile, Quantifier, Sim, Switches};
use assets_fdw_tests::{Server, wait_until};
use postgres::Client;

use crate::live::{Live, PROFILES, explain, one, refused, unpushed};

/// The verdicts of the server `assets`: rule, then verdict and detail.
fn verify(client: &mut Client) -> BTreeMap<String, (String, String)> {
    let rows = client.query("SELECT rule, verdict, detail FROM assets_fdw.verify_pushdown('assets')", &[]);
    let rows = rows.unwrap_or_else(|error| panic!("{error:?}"));
    rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect()
}

/// The facts on record.
fn recorded(client: &mut Client) -> BTreeMap<String, (bool, String)> {
    let rows = client.query("SELECT fact, holds, detail FROM assets_fdw.service_facts", &[]).expect("facts");
    rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect()
}

#[test]
fn the_facts_learned_are_the_simulators_switches_in_every_profile() {
    for profile in PROFILES {
        let live = Live::imported(profile, 1500);
        let mut client = live.connect();
        live.sim.clear_log();
        let verdicts = verify(&mut client);
        let requests = live.sim.log().len();
        assert!(requests < 420, "{profile:?}: {requests} requests");
        let facts = recorded(&mut client);
        let switches = Switches::of(profile);
        let honoured = |order| order == OrderBy::Honoured;
        let exact_instants = switches.literal_offset && switches.precision == Precision::Milliseconds;
        let all = switches.negation == Quantifier::All;
        for (fact, expected) in [
            ("text ==", switches.double_equal),
            ("status ==", switches.double_equal),
            ("NOT (text ==)", switches.double_equal && switches.not_before_group),
            ("created and updated to the millisecond", exact_instants),
            ("date-times to the millisecond", exact_instants),
            ("dates by the day", true),
            ("objectId ranges", switches.object_id_ranges),
            ("objectId not in", true),
            ("objectId < and >", switches.strict_object_id),
            ("booleans by value", true),
            ("any integer", true),
            ("user by name", true),
            ("group by name", true),
            ("!= finds EMPTY", switches.not_equal_finds_empty),
            ("not in finds EMPTY", switches.not_in_finds_empty),
            ("!= looks at all values", all),
            ("order by objectId", honoured(switches.order_by_object_id)),
            ("order by Created", honoured(switches.order_by_created)),
            ("order by Updated", honoured(switches.order_by_updated)),
            ("order by integer", honoured(switches.order_by_attribute)),
            ("order by double", honoured(switches.order_by_attribute)),
            ("order by date", honoured(switches.order_by_attribute)),
            ("order by date-time", honoured(switches.order_by_attribute)),
            ("literal zone", switches.literal_offset && switches.literal_zone_minutes == 0),
        ] {
            let found = facts.get(fact).map(|(holds, _)| *holds);
            assert_eq!(found, Some(expected), "{profile:?}: {fact}; {verdicts:#?}");
        }
        // What is one attribute's is said of each that the sample can tell of, and of no server.
        for (fact, expected) in [
            ("reference key", true),
            ("reference EMPTY where NULL", true),
            ("status EMPTY where NULL", true),
            ("rich text with its markup", !switches.rich_text_without_markup),
        ] {
            let of = |name: &&String| name.starts_with(&format!("{fact} (attribute "));
            let found: Vec<&String> = facts.keys().filter(of).collect();
            assert!(!found.is_empty(), "{profile:?}: {fact}; {verdicts:#?}");
            assert!(
                found.iter().all(|name| facts[*name].0 == expected),
                "{profile:?}: {found:?}; {facts:#?}"
            );
            assert!(!facts.contains_key(fact), "{fact}");
        }
        let zone = &facts["literal zone"].1;
        if profile == Profile::Hostile {
            assert_eq!(zone, "literals are read 480 minutes west of UTC");
        }
        // Hostile pages hold fewer objects than they could.
        if profile != Profile::Hostile {
            assert_eq!(facts["page size"].1, "100 objects came where 500 were asked for", "{profile:?}");
        }
        // No rule that is on without proof may lose objects, whichever way the service behaves.
        let wrong: Vec<_> = verdicts
            .iter()
            .filter(|(rule, (verdict, _))| is_on(rule) && verdict != "exact" && verdict != "superset")
            .collect();
        assert!(wrong.iter().all(|(_, (verdict, _))| verdict == "untested"), "{profile:?}: {wrong:#?}");
        let untested = wrong.len();
        assert!(untested <= 12, "{profile:?}: {untested} rules are untested: {wrong:#?}");
    }
}

/// Whether a line is about a rule as it is without proof.
fn is_on(rule: &str) -> bool {
    const MANNERS: [&str; 6] = [
        "!= finds EMPTY",
        "not in finds EMPTY",
        "!= looks at all values",
        "objectId < and >",
        "literal zone",
        "page size",
    ];
    !rule.contains(" (") && !rule.starts_with("order by ") && !MANNERS.contains(&rule)
}

fn facts_line(client: &mut Client, sql: &str) -> Option<String> {
    let plan = explain(client, sql);
    plan.lines().find_map(|line| line.trim().strip_prefix("Facts: ").map(str::to_owned))
}

#[test]
fn a_proven_fact_changes_what_is_asked_and_explain_says_which() {
    let live = Live::imported(Profile::Documented, 600);
    let mut client = live.connect();
    let sql = "SELECT count(*) FROM itsm.server WHERE name = 'nobody'";
    let before = explain(&mut client, sql);
    assert!(before.contains("\"Name\" = \"nobody\""), "{before}");
    assert_eq!(facts_line(&mut client, sql), None);
    client.batch_execute("PREPARE q AS SELECT count(*) FROM itsm.server WHERE name = 'nobody'").unwrap();
    for _ in 0..7 {
        client.batch_execute("EXECUTE q").unwrap();
    }
    let mut other = live.connect();
    assert_eq!(facts_line(&mut other, sql), None);
    verify(&mut client);
    let after = explain(&mut client, sql);
    assert!(after.contains("\"Name\" == \"nobody\""), "{after}");
    assert_eq!(facts_line(&mut client, sql).as_deref(), Some("text =="));
    assert_eq!(
        facts_line(&mut client, "EXECUTE q").as_deref(),
        Some("text =="),
        "a prepared statement follows"
    );
    assert_eq!(facts_line(&mut other, sql).as_deref(), Some("text =="), "another session follows");
    // One request counts, where the rows had to be read before.
    let name: String = one(&mut client, "SELECT name FROM itsm.server WHERE name IS NOT NULL LIMIT 1");
    let sql = format!("SELECT count(*) FROM itsm.server WHERE name = {}", crate::live::literal(&name));
    assert_eq!(live.searches_of(&mut client, &sql).len(), 0, "no rows are read");
    assert_eq!(one::<i64>(&mut client, &sql), 1);
    // Expired, it is as if nothing were known.
    client.batch_execute("UPDATE assets_fdw.service_facts SET expires_at = now()").unwrap();
    assert_eq!(facts_line(&mut client, &sql), None);
    assert_eq!(facts_line(&mut other, &sql), None);
}

#[test]
fn results_are_the_same_with_all_facts_as_without_pushdown() {
    for profile in PROFILES {
        let live = Live::imported(profile, 1000);
        let mut client = live.connect();
        verify(&mut client);
        let middle: String = one(
            &mut client,
            "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY updated)::text FROM itsm.server",
        );
        let owner: Option<String> =
            one(&mut client, "SELECT max(owner_key) FROM itsm.server WHERE owner_key IS NOT NULL");
        let owner = owner.expect("a server with an owner");
        for condition in [
            format!("updated > '{middle}'"),
            format!("updated >= '{middle}'"),
            format!("updated < '{middle}'"),
            format!("updated = '{middle}'"),
            format!("created <= '{middle}'::timestamptz + interval '1.5 ms'"),
            format!("owner_key = '{owner}'"),
            format!("NOT (owner_key = '{owner}')"),
            "name = (SELECT min(name) FROM itsm.server)".to_owned(),
            "name <> 'x' AND name NOT IN ('a', 'b')".to_owned(),
            "upper(name) = name".to_owned(),
            "memory_gb <> 64".to_owned(),
            "memory_gb NOT IN (32, 64)".to_owned(),
            "memory_gb IS DISTINCT FROM 64".to_owned(),
            "id > 100 AND id <> 1001".to_owned(),
        ] {
            let sql = format!(
                "SELECT count(*), md5(string_agg(key, ',' ORDER BY id)) FROM itsm.server WHERE {condition}"
            );
            let ask = |client: &mut Client| -> (i64, Option<String>) {
                let row = client.query_one(&sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
                (row.get(0), row.get(1))
            };
            let with = ask(&mut client);
            let counted: i64 =
                one(&mut client, &format!("SELECT count(*) FROM itsm.server WHERE {condition}"));
            let without = unpushed(&mut client, ask);
            assert_eq!(with, without, "{profile:?}: {condition}");
            assert_eq!(counted, without.0, "{profile:?}: {condition}");
        }
    }
}

#[test]
fn a_row_that_contradicts_a_fact_is_an_error_that_revokes_it_for_everybody() {
    // The service ignores offsets in literals; somebody claims that it was proven otherwise.
    let live = Live::imported(Profile::Hostile, 400);
    let mut client = live.connect();
    let mut other = live.connect();
    client
        .batch_execute(
            "INSERT INTO assets_fdw.service_facts (server, fact, holds)
             VALUES ('assets', 'created and updated to the millisecond', true)",
        )
        .unwrap();
    let middle: String = one(
        &mut client,
        "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY updated)::text FROM itsm.server",
    );
    let sql = format!("SELECT key FROM itsm.server WHERE updated < '{middle}'");
    // A literal that is read eight hours later than it says lets the object in that was changed just then.
    let told = refused(&mut client, &sql);
    assert_eq!(told.code, "HV000");
    assert!(told.message.contains("created and updated to the millisecond"), "{told:?}");
    assert!(told.hint.contains("verify_pushdown('assets')"), "{told:?}");
    // At once in this session, and soon in every other one.
    assert_eq!(facts_line(&mut client, &sql), None);
    client.query(&sql, &[]).expect("the widened condition, rechecked");
    wait_until("the revocation is on record", Duration::from_secs(20), || {
        !one::<bool>(&mut other, "SELECT holds FROM assets_fdw.service_facts")
    });
    let detail: String = one(&mut other, "SELECT detail FROM assets_fdw.service_facts");
    assert!(detail.starts_with("revoked: object "), "{detail}");
    assert_eq!(facts_line(&mut other, &sql), None);
}

#[test]
fn facts_of_another_site_or_of_a_dropped_server_mean_nothing() {
    let live = Live::imported(Profile::Documented, 300);
    let mut client = live.connect();
    verify(&mut client);
    let sql = "SELECT key FROM itsm.server WHERE name = 'x'";
    assert_eq!(facts_line(&mut client, sql).as_deref(), Some("text =="));
    client
        .batch_execute("UPDATE assets_fdw.service_facts SET service = 'https://elsewhere.example'")
        .unwrap();
    assert_eq!(facts_line(&mut client, sql), None);
    client.batch_execute("DROP SERVER assets CASCADE").unwrap();
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM assets_fdw.service_facts"), 0);
}

#[test]
fn only_the_servers_owner_changes_what_the_planner_relies_on() {
    let live = Live::imported(Profile::Documented, 300);
    let mut admin = live.connect();
    let role = format!("verifier_{}", std::process::id());
    admin
        .batch_execute(&format!(
            "CREATE ROLE {role} LOGIN; CREATE ROLE {role}_stranger;
             CREATE USER MAPPING FOR {role} SERVER assets OPTIONS (email 'reader@example.com', api_token 'classic-token');
             GRANT USAGE ON FOREIGN SERVER assets TO {role};
             GRANT USAGE ON SCHEMA itsm TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA itsm TO {role};
             SET ROLE {role}"
        ))
        .unwrap();
    assert_eq!(verify(&mut admin)["id ="].0, "exact");
    assert_eq!(
        one::<i64>(&mut admin, "SELECT count(*) FROM assets_fdw.service_facts"),
        0,
        "nothing is recorded"
    );
    for write in [
        "INSERT INTO assets_fdw.service_facts (server, fact, holds) VALUES ('assets', 'text ==', true)",
        "UPDATE assets_fdw.service_facts SET holds = true",
        "DELETE FROM assets_fdw.service_facts",
    ] {
        assert_eq!(refused(&mut admin, write).code, "42501", "{write}");
    }
    admin.batch_execute("RESET ROLE").unwrap();
    verify(&mut admin);
    admin.batch_execute(&format!("SET ROLE {role}")).unwrap();
    assert!(
        one::<i64>(&mut admin, "SELECT count(*) FROM assets_fdw.service_facts") > 40,
        "users of the server see them"
    );
    admin.batch_execute(&format!("RESET ROLE; SET ROLE {role}_stranger")).unwrap();
    assert_eq!(one::<i64>(&mut admin, "SELECT count(*) FROM assets_fdw.service_facts"), 0);
    let told = refused(&mut admin, "SELECT * FROM assets_fdw.verify_pushdown('assets')");
    assert_eq!(told.code, "42501");
    admin
        .batch_execute(&format!(
            "RESET ROLE; DROP OWNED BY {role}; DROP USER MAPPING IF EXISTS FOR {role} SERVER assets;
             DROP ROLE {role}; DROP ROLE {role}_stranger"
        ))
        .unwrap();
}

#[test]
fn a_source_of_another_server_or_kind_is_refused_and_nothing_to_sample_is_untested() {
    let live = Live::start(Options { objects: 100, ..Options::default() });
    let mut client = live.connect();
    let verdicts = verify(&mut client);
    assert!(verdicts.values().all(|(verdict, _)| verdict == "untested"), "{verdicts:?}");
    client.batch_execute("CREATE TABLE plain (n int)").unwrap();
    let told = refused(&mut client, "SELECT * FROM assets_fdw.verify_pushdown('assets', 'plain')");
    assert_eq!(told.code, "42809");
    live.import();
    let count: i64 = one(
        &mut client,
        "SELECT count(*) FROM assets_fdw.verify_pushdown('assets', 'itsm.server') WHERE verdict <> 'untested'",
    );
    assert!(count > 20);
}

const MILLISECOND: &str = "created and updated to the millisecond";

/// Claims of a server what is not so on the hostile profile, which ignores offsets in literals.
fn claim(client: &mut Client, server: &str) {
    let sql = "INSERT INTO assets_fdw.service_facts (server, fact, holds) VALUES ($1::text::name, $2, true)";
    client.execute(sql, &[&server, &MILLISECOND]).unwrap();
}

/// A condition on `updated` that lets an object in that does not satisfy it, on the hostile profile.
fn contradicted(client: &mut Client) -> String {
    let middle: String =
        one(client, "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY updated)::text FROM itsm.server");
    format!("updated < '{middle}'")
}

fn holds(client: &mut Client, server: &str) -> bool {
    let sql = "SELECT holds FROM assets_fdw.service_facts WHERE server = $1::text::name AND fact = $2";
    client.query_one(sql, &[&server, &MILLISECOND]).unwrap().get(0)
}

/// What it would take for a role to have everybody's queries slow, or to hide a table that lies.
#[test]
fn a_role_that_may_only_use_a_server_revokes_for_itself_alone() {
    let live = Live::imported(Profile::Hostile, 400);
    let mut admin = live.connect();
    let role = format!("revoker_{}", std::process::id());
    admin
        .batch_execute(&format!(
            "CREATE ROLE {role} LOGIN;
             CREATE USER MAPPING FOR {role} SERVER assets OPTIONS (email 'reader@example.com', api_token 'classic-token');
             GRANT USAGE ON FOREIGN SERVER assets TO {role};
             GRANT USAGE ON SCHEMA itsm TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA itsm TO {role};
             CREATE SCHEMA low AUTHORIZATION {role}"
        ))
        .unwrap();
    let condition = contradicted(&mut admin);
    claim(&mut admin, "assets");
    let mut low = live.database.connect_as(&role);
    low.batch_execute(
        "CREATE FOREIGN TABLE low.mine (key text, updated timestamptz) SERVER assets
             OPTIONS (object_schema 'ITSM', object_type 'Server')",
    )
    .unwrap();
    // Of a table of one's own, of somebody else's, and a table of one's own that a superuser reads.
    let honest = format!("SELECT key FROM itsm.server WHERE {condition}");
    let own = format!("SELECT key FROM low.mine WHERE {condition}");
    let mut third = live.database.connect_as(&role);
    let mut reader = live.connect();
    for (client, sql) in [(&mut low, &own), (&mut third, &honest), (&mut reader, &own)] {
        let told = refused(client, sql);
        assert_eq!(told.code, "HV000", "{told:?}");
        assert!(told.hint.contains("others do") && told.hint.contains("owner"), "{told:?}");
        // Its own queries are right from now on.
        client.query(sql, &[]).expect("the widened condition, rechecked");
    }
    assert!(holds(&mut admin, "assets"));
    // Who may act for the server's owner speaks for everybody. What was started before would have been done by then.
    let mut fresh = live.connect();
    assert!(refused(&mut fresh, &honest).hint.contains("The proof is revoked"));
    wait_until("the revocation is on record", Duration::from_secs(20), || !holds(&mut admin, "assets"));
    let detail: String = one(&mut admin, "SELECT detail FROM assets_fdw.service_facts WHERE NOT holds");
    assert!(detail.starts_with("revoked: object ") && detail.ends_with("contradicts it"), "{detail}");
    low.batch_execute("DROP SCHEMA low CASCADE").unwrap();
    drop((low, third));
    admin.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).unwrap();
}

#[test]
fn a_revocation_is_of_the_server_that_was_meant_whatever_it_is_called() {
    let live = Live::imported(Profile::Hostile, 400);
    let mut client = live.connect();
    let condition = contradicted(&mut client);
    let long = format!("{}\u{fc}\"'\\ x", "n".repeat(55));
    for name in [format!("assets\n{MILLISECOND}"), long, "1 2 3.4".to_owned()] {
        let quoted = name.replace('"', "\"\"");
        client
            .batch_execute(&format!(
                "CREATE SERVER \"{quoted}\" FOREIGN DATA WRAPPER assets_fdw OPTIONS (site '{}');
                 CREATE USER MAPPING FOR postgres SERVER \"{quoted}\" OPTIONS (email 'reader@example.com', api_token 'classic-token');
                 CREATE FOREIGN TABLE odd (key text, updated timestamptz) SERVER \"{quoted}\"
                     OPTIONS (object_schema 'ITSM', object_type 'Server')",
                live.sim.url()
            ))
            .unwrap();
        client.batch_execute("DELETE FROM assets_fdw.service_facts").unwrap();
        claim(&mut client, "assets");
        claim(&mut client, &name);
        let told = refused(&mut live.connect(), &format!("SELECT key FROM odd WHERE {condition}"));
        assert_eq!(told.code, "HV000", "{name}: {told:?}");
        wait_until("the revocation is on record", Duration::from_secs(20), || !holds(&mut client, &name));
        assert!(holds(&mut client, "assets"), "{name}");
        client.batch_execute(&format!("DROP SERVER \"{quoted}\" CASCADE")).unwrap();
    }
}

/// How often a worker was asked for.
fn workers(server: &Server) -> usize {
    server.log_text().matches("DEBUG:  registering background worker \"assets_fdw revocation").count()
}

#[test]
fn revocations_do_not_pile_up_and_none_waits_on_a_standby() {
    let settings = [
        ("log_min_messages", "debug1"),
        ("wal_level", "replica"),
        ("max_wal_senders", "4"),
        ("hot_standby", "on"),
    ];
    let server = Server::start(&settings);
    let database = server.create_database();
    let sim = Sim::start(Options { profile: Profile::Hostile, objects: 400, ..Options::default() }).unwrap();
    database.create_assets_server(&sim);
    let mut client = database.connect();
    client
        .batch_execute("CREATE SCHEMA itsm; IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER assets INTO itsm")
        .unwrap();
    let condition = contradicted(&mut client);
    claim(&mut client, "assets");
    let sql = format!("SELECT key FROM itsm.server WHERE {condition}");

    let standby = server.start_standby();
    let mut there = standby.connect(database.name(), "postgres");
    let told = refused(&mut there, &sql);
    assert!(told.code == "HV000" && told.hint.contains("This session"), "{told:?}");
    there.query(&sql, &[]).expect("right from now on");
    assert_eq!(workers(&standby), 0, "nothing waits for the promotion");

    // A plan that goes on over it meets it again and again.
    client
        .batch_execute(&format!(
            "DO $do$ BEGIN FOR n IN 1..20 LOOP BEGIN PERFORM max(key) FROM ({sql}) AS s;
             EXCEPTION WHEN fdw_error THEN NULL; END; END LOOP; END $do$"
        ))
        .unwrap();
    wait_until("the revocation is on record", Duration::from_secs(20), || !holds(&mut client, "assets"));
    assert_eq!(workers(&server), 1);
}
