//! What `verify_pushdown` finds out is how the service behaves, and the planner relies on it just so far.

use std::collections::BTreeMap;
use std::time::Duration;

use assets_fdw_tests::assets_sim::{Options, OrderBy, Precision, Profile, Quantifier, Switches};
use assets_fdw_tests::wait_until;
use postgres::Client;

use crate::live::{Live, PROFILES, explain, one, refused};

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
        assert!(requests < 400, "{profile:?}: {requests} requests");
        let facts = recorded(&mut client);
        let switches = Switches::of(profile);
        let honoured = |order| order == OrderBy::Honoured;
        let exact_instants = switches.literal_offset && switches.precision == Precision::Milliseconds;
        let all = switches.negation == Quantifier::All;
        for (fact, expected) in [
            ("text ==", switches.double_equal),
            ("NOT (text ==)", switches.double_equal && switches.not_before_group),
            ("created and updated to the millisecond", exact_instants),
            ("date-times to the millisecond", exact_instants),
            ("dates by the day", true),
            ("objectId ranges", switches.object_id_ranges),
            ("objectId not in", true),
            ("objectId < and >", switches.strict_object_id),
            ("booleans by value", true),
            ("any integer", true),
            ("reference key", true),
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
            client.batch_execute("SET assets_fdw.enable_pushdown = off").unwrap();
            let without = ask(&mut client);
            client.batch_execute("RESET assets_fdw.enable_pushdown").unwrap();
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
