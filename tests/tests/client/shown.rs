//! What is stored is not what is shown: AQL looks at the one and a row shows the other, and the rows of a query are the
//! same with pushdown as without it, wherever the two differ.

use assets_fdw_tests::assets_sim::{Fold, Profile, Unreadable};
use postgres::Client;

use crate::live::{Live, explain, literal, one, unpushed};

#[track_caller]
fn keys(client: &mut Client, from: &str) -> Vec<String> {
    let sql = format!("SELECT t.key FROM {from} ORDER BY t.id");
    let rows = client.query(&sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    rows.iter().map(|row| row.get(0)).collect()
}

/// Keys that a condition selects, with pushdown and without.
#[track_caller]
fn selected(client: &mut Client, from: &str) -> (Vec<String>, Vec<String>) {
    (keys(client, from), unpushed(client, |client| keys(client, from)))
}

/// That a condition selects the same as without pushdown, and count(*) the same number; gives how many.
#[track_caller]
fn same(client: &mut Client, from: &str) -> usize {
    let (with, without) = selected(client, from);
    assert_eq!(with, without, "{from}");
    let counted = one::<i64>(client, &format!("SELECT count(*) FROM {from}"));
    assert_eq!(counted, without.len() as i64, "count(*) of {from}");
    with.len()
}

/// The plan with everything that EXPLAIN says.
fn verbose(client: &mut Client, sql: &str) -> String {
    let rows = client.query(&format!("EXPLAIN (VERBOSE, COSTS OFF) {sql}"), &[]).unwrap();
    rows.iter().map(|row| row.get::<_, String>(0) + "\n").collect()
}

fn aql(client: &mut Client, sql: &str) -> String {
    let plan = explain(client, sql);
    let line = plan.lines().find_map(|line| line.trim().strip_prefix("AQL: "));
    line.unwrap_or_else(|| panic!("{plan}")).to_owned()
}

/// Has the session's user mapping be that of another identity of the simulator.
fn become_identity(client: &mut Client, live: &Live, n: usize) {
    let identity = &live.sim.identities()[n];
    let sql = format!(
        "ALTER USER MAPPING FOR postgres SERVER assets OPTIONS (SET email '{}', SET api_token '{}')",
        identity.name, identity.secret
    );
    client.batch_execute(&sql).unwrap();
}

/// A table that shows the same reference in other ways, a scratch table of keys, and a key and a label to look for.
fn by_hand(client: &mut Client) -> (String, String) {
    client
        .batch_execute(
            "CREATE FOREIGN TABLE by_hand (id bigint, key text, location_keys text[] OPTIONS (attribute 'Location', part 'key'),
                 locations text[] OPTIONS (attribute 'Location'), location_id bigint OPTIONS (attribute 'Location', part 'id'))
                 SERVER assets OPTIONS (object_schema 'ITSM', object_type 'Server')",
        )
        .unwrap();
    let row = client
        .query_one(
            "SELECT location_key, location FROM itsm.server WHERE location_key IS NOT NULL LIMIT 1",
            &[],
        )
        .unwrap();
    let (key, label): (String, String) = (row.get(0), row.get(1));
    client.batch_execute(&format!("CREATE TABLE wanted AS SELECT {}::text AS key", literal(&key))).unwrap();
    (key, label)
}

/// A sample shows no hidden reference, nor does one page of many; who asks by its key names it.
#[test]
fn a_hidden_reference_that_no_sample_and_no_first_page_holds_is_not_proven_away() {
    let live = Live::imported(Profile::Documented, 600);
    let mut client = live.connect();
    let keys: Vec<String> = client
        .query("SELECT DISTINCT used_by_key FROM itsm.laptop WHERE used_by_key IS NOT NULL ORDER BY 1", &[])
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    live.sim.switches(|s| {
        s.unreadable_object = Unreadable::Bare;
        (s.unreadable_path, s.unreadable_value, s.page_cap) = (true, true, 2);
    });
    become_identity(&mut client, &live, 1);
    client.batch_execute("SELECT * FROM assets_fdw.verify_pushdown('assets', 'itsm.laptop')").unwrap();
    assert!(same(&mut client, "itsm.laptop AS t WHERE used_by IS NULL") > 0);
    let list = keys.iter().map(|key| literal(key)).collect::<Vec<_>>().join(", ");
    same(&mut client, &format!("itsm.laptop AS t WHERE used_by_key IN ({list})"));
    for key in &keys {
        let count = format!("SELECT count(*) FROM itsm.laptop WHERE used_by_key = {}", literal(key));
        let counted = one::<i64>(&mut client, &count);
        let shown = one::<i64>(&mut client, &count.replace("count(*)", "count(id + 0)"));
        assert_eq!(counted, shown, "{key}");
    }
}

#[test]
fn a_reference_into_a_schema_that_may_not_be_read_is_found_by_what_the_row_shows() {
    let live = Live::imported(Profile::Documented, 900);
    live.sim.switches(|s| s.unreadable_type = Unreadable::Shown);
    let mut client = live.connect();
    // Who sees everything asks as before, and who does not, in the same session and by the same plan, does not.
    let (key, label) = by_hand(&mut client);
    let (key, label, other) = (literal(&key), literal(&label), "'FAC-1'");
    client.batch_execute("SET plan_cache_mode = force_generic_plan").unwrap();
    client
        .batch_execute("PREPARE by_key (text) AS SELECT count(*) FROM itsm.server t WHERE location_key = $1")
        .unwrap();
    let conditions = [
        format!("itsm.server t WHERE location_key = {key}"),
        format!("itsm.server t WHERE location_key IN ({key}, {other})"),
        format!("itsm.server t WHERE location_key = ANY (ARRAY[{key}, {other}])"),
        "itsm.server t WHERE location_key = ANY (ARRAY(SELECT w.key FROM wanted w))".to_owned(),
        "itsm.server t WHERE location_key = (SELECT max(w.key) FROM wanted w)".to_owned(),
        format!("itsm.server t WHERE lower(location_key) = lower({key})"),
        format!("itsm.server t WHERE location_key IS NOT DISTINCT FROM {key}"),
        format!("itsm.server t WHERE name = 'x' OR location_key = {key}"),
        format!("itsm.server t WHERE location = {label}"),
        format!("itsm.server t WHERE location IN ({label}, 'nowhere')"),
        format!("itsm.server t WHERE lower(location) = lower({label})"),
        "itsm.server t WHERE location_key IS NOT NULL".to_owned(),
        "itsm.server t WHERE location IS NOT NULL".to_owned(),
        format!("by_hand t WHERE location_keys && ARRAY[{key}, {other}]"),
        format!("by_hand t WHERE {key} = ANY (location_keys)"),
        format!("by_hand t WHERE locations && ARRAY[{label}]"),
        "by_hand t WHERE location_keys IS NOT NULL".to_owned(),
        "by_hand t WHERE location_id IS NOT NULL".to_owned(),
        "itsm.server t JOIN wanted w ON w.key = t.location_key".to_owned(),
        "itsm.server t WHERE EXISTS (SELECT FROM wanted w WHERE w.key = t.location_key)".to_owned(),
        "wanted w LEFT JOIN itsm.server t ON t.location_key = w.key".to_owned(),
        format!("itsm.hardware t WHERE location_key = {key}"),
    ];
    for turn in 0..2 {
        become_identity(&mut client, &live, turn);
        let pushed = aql(&mut client, &format!("SELECT * FROM {}", conditions[0]));
        assert_eq!(pushed.contains("\"Location\".Key ="), turn == 0, "{pushed}");
        for from in &conditions {
            assert!(same(&mut client, from) > 0, "identity {turn}: {from} selects nothing");
        }
        let shown = one::<i64>(&mut client, &format!("EXECUTE by_key ({key})"));
        assert_eq!(shown as usize, same(&mut client, &conditions[0]), "identity {turn}");
        // Within the schema that is seen, keys go out for both.
        let pushed = aql(&mut client, "SELECT * FROM itsm.server WHERE owner_key = 'ITSM-1'");
        assert!(pushed.ends_with("\"Owner\".Key = \"ITSM-1\""), "{pushed}");
    }
    let plan = verbose(&mut client, &format!("SELECT * FROM {}", conditions[0]));
    let why = "verify_pushdown('assets', 'itsm.server') may prove otherwise";
    assert!(plan.contains("does not see") && plan.contains(why), "{plan}");
    // The joins that are planned for it do not look each row up.
    client.batch_execute("SET enable_hashjoin = off; SET enable_mergejoin = off").unwrap();
    assert!(same(&mut client, "itsm.server t JOIN wanted w ON w.key = t.location_key") > 0);
}

/// Roles are taken away while sessions go on, which know for ten minutes what they saw.
#[test]
fn a_reference_into_a_schema_that_may_be_read_no_more_is_found_by_what_the_row_shows() {
    let facilities = 2;
    for unreadable in [Unreadable::Shown, Unreadable::Bare] {
        let live = Live::imported(Profile::Documented, 600);
        live.sim.switches(|s| s.unreadable_type = unreadable);
        let mut client = live.connect();
        let (key, label) = by_hand(&mut client);
        let (key, label) = (literal(&key), literal(&label));
        client
            .batch_execute(&format!(
                "SELECT count(*) FROM assets_fdw.verify_pushdown('assets', 'itsm.server');
                 SET plan_cache_mode = force_generic_plan;
                 PREPARE by_key (text) AS SELECT count(*) FROM itsm.server t WHERE location_key = $1;
                 EXECUTE by_key ({key})"
            ))
            .unwrap();
        let conditions = [
            format!("itsm.server t WHERE location_key = {key}"),
            format!("itsm.server t WHERE location_key IN ({key}, 'FAC-1')"),
            format!("itsm.server t WHERE location = {label}"),
            // Some rows come back without it.
            format!("itsm.server t WHERE virtual OR location_key = {key}"),
            format!("itsm.server t WHERE location_key IS NOT DISTINCT FROM {key} OR memory_gb > 64"),
            "itsm.server t WHERE location IS NULL".to_owned(),
            "itsm.server t WHERE location_key IS NULL AND memory_gb > 0".to_owned(),
            format!("by_hand t WHERE location_keys && ARRAY[{key}, 'FAC-1']"),
            format!("itsm.hardware t WHERE location_key = {key}"),
            "itsm.server t JOIN wanted w ON w.key = t.location_key".to_owned(),
        ];
        for from in &conditions {
            let set = |may_read: bool| {
                let withdrawn = if may_read { vec![] } else { vec![facilities] };
                live.sim.switches(|s| s.withdrawn_schemas = withdrawn);
            };
            let (mut session, mut another) = (live.connect(), live.connect());
            let count = format!("SELECT count(*) FROM {from}");
            let before = keys(&mut session, from);
            assert_eq!(one::<i64>(&mut another, &count) as usize, before.len(), "{from}");
            set(false);
            let truth = unpushed(&mut live.connect(), |client| keys(client, from));
            assert_eq!(keys(&mut session, from), truth, "{unreadable:?}: {from}");
            assert_eq!(
                one::<i64>(&mut another, &count) as usize,
                truth.len(),
                "{unreadable:?}: count(*) of {from}"
            );
            assert!(before != truth || unreadable == Unreadable::Shown, "{from} shows nothing of it");
            set(true);
        }
        live.sim.switches(|s| s.withdrawn_schemas = vec![facilities]);
        let wanted = unpushed(&mut live.connect(), |client| keys(client, &conditions[0])).len();
        assert_eq!(
            one::<i64>(&mut client, &format!("EXECUTE by_key ({key})")) as usize,
            wanted,
            "{unreadable:?}"
        );
    }
}

#[test]
fn looking_what_a_reference_refers_to_costs_one_look_a_session_and_nothing_where_nothing_is_compared() {
    let live = Live::imported(Profile::Documented, 600);
    let mut client = live.connect();
    client.batch_execute("SELECT count(owner_key) FROM itsm.server").unwrap();
    let some = |client: &mut Client, column: &str| -> String {
        one(client, &format!("SELECT quote_literal(min({column})) FROM itsm.server"))
    };
    let (owner, location) = (some(&mut client, "owner_key"), some(&mut client, "location_key"));
    live.clear_log();
    client.batch_execute("SELECT count(owner_key) FROM itsm.server").unwrap();
    assert!(live.sim.log().iter().all(|entry| entry.path.contains("/object/aql")));
    // What is found shows by itself that what is referred to is seen.
    for _ in 0..3 {
        client.batch_execute(&format!("SELECT name FROM itsm.server WHERE owner_key = {owner}")).unwrap();
        client
            .batch_execute(&format!("SELECT name FROM itsm.server WHERE location_key = {location}"))
            .unwrap();
    }
    let looks: Vec<String> =
        live.sim.log().into_iter().map(|e| e.path).filter(|p| p.contains("objectschema")).collect();
    assert!(looks.len() <= 3, "{looks:#?}");
}

#[test]
fn what_reads_as_null_and_is_there_is_found_by_is_null() {
    let live = Live::imported(Profile::Documented, 900);
    live.sim.switches(|s| {
        s.unreadable_type = Unreadable::Bare;
        s.dangling = Unreadable::Bare;
        s.statuses_left_out = true;
        s.accounts_left_out = true;
    });
    let mut client = live.connect();
    let owners = client
        .query("SELECT DISTINCT owner_key FROM itsm.server WHERE owner_key IS NOT NULL LIMIT 3", &[])
        .unwrap();
    for owner in owners {
        live.sim.delete(&owner.get::<_, String>(0)).unwrap();
    }
    by_hand(&mut client);
    let conditions = [
        "itsm.server t WHERE owner IS NULL",
        "itsm.server t WHERE owner_key IS NULL",
        "itsm.server t WHERE NOT (owner_key IS NOT NULL)",
        "itsm.server t WHERE owner IS NULL AND memory_gb > 10",
        "itsm.server t WHERE owner IS NULL OR name = 'x'",
        "itsm.server t WHERE owner_key IS NOT DISTINCT FROM NULL",
        "itsm.server t WHERE owner_key IS DISTINCT FROM 'ITSM-1'",
        "itsm.server t WHERE coalesce(owner_key, 'none') = 'none'",
        "itsm.server t WHERE owner_key NOT IN ('ITSM-1') OR owner_key IS NULL",
        "itsm.server t WHERE location IS NULL",
        "by_hand t WHERE location_keys IS NULL",
        "by_hand t WHERE location_id IS NULL",
        "itsm.server t WHERE status IS NULL",
        "itsm.server t WHERE assignee_account_id IS NULL",
        "itsm.server t WHERE support_group IS NULL",
        "itsm.employee t WHERE account IS NULL OR account_account_id IS NULL",
        "itsm.server t LEFT JOIN itsm.employee e ON e.key = t.owner_key WHERE e.key IS NULL",
    ];
    for identity in [0, 1] {
        become_identity(&mut client, &live, identity);
        for from in conditions {
            assert!(same(&mut client, from) > 0, "{from} selects nothing");
        }
    }
    let plan = verbose(&mut client, "SELECT * FROM itsm.server WHERE owner IS NULL");
    assert!(plan.contains("deleted") && plan.contains("verify_pushdown('assets', 'itsm.server')"), "{plan}");
}

#[test]
fn what_is_proven_of_one_attribute_lets_out_that_one_and_what_the_sample_cannot_prove_nothing() {
    let live = Live::imported(Profile::Documented, 1200);
    live.sim.switches(|s| s.dangling = Unreadable::Bare);
    let mut client = live.connect();
    // What an older version recorded of the whole server says nothing of any attribute.
    client
        .batch_execute(
            "INSERT INTO assets_fdw.service_facts (server, fact, holds)
             VALUES ('assets', 'reference key', true), ('assets', 'reference is null', true)",
        )
        .unwrap();
    let key: String = one(
        &mut client,
        "SELECT owner_key FROM itsm.server WHERE owner_key IS NOT NULL ORDER BY id DESC LIMIT 1",
    );
    let plan = explain(&mut client, &format!("SELECT count(*) FROM itsm.server WHERE owner_key = '{key}'"));
    assert!(!plan.contains("Facts:") && !plan.contains("Count:"), "{plan}");
    // One owner in a hundred is gone: hardly a sample shows it.
    live.sim.delete(&key).unwrap();
    client.batch_execute("SELECT * FROM assets_fdw.verify_pushdown('assets', 'itsm.server')").unwrap();
    let known = |client: &mut Client, fact: &str, attribute: &str| -> Option<bool> {
        let id = live
            .sim
            .attributes(live.sim.type_id("Server").unwrap())
            .into_iter()
            .find(|a| a.name == attribute);
        let name = format!("{fact} (attribute {})", id.unwrap().id);
        let row =
            client.query_opt("SELECT holds FROM assets_fdw.service_facts WHERE fact = $1", &[&name]).unwrap();
        row.map(|row| row.get(0))
    };
    assert_eq!(known(&mut client, "reference EMPTY where NULL", "Owner"), Some(false));
    assert_eq!(known(&mut client, "reference EMPTY where NULL", "Location"), Some(true));
    assert_eq!(known(&mut client, "status EMPTY where NULL", "Status"), Some(true));
    assert_eq!(known(&mut client, "reference key", "Owner"), Some(true));
    let location = aql(&mut client, "SELECT key FROM itsm.server WHERE location_key IS NULL");
    assert!(location.ends_with("\"Location\" is EMPTY"), "{location}");
    assert!(same(&mut client, "itsm.server t WHERE owner IS NULL") > 0);
    assert!(same(&mut client, "itsm.server t WHERE location IS NULL AND status IS NULL") > 0);
    // Of a type below it the attribute is the same one; of another type it is another one.
    let employee = verbose(&mut client, "SELECT * FROM itsm.employee WHERE office IS NULL");
    assert!(employee.contains("verify_pushdown('assets', 'itsm.employee')"), "{employee}");
    // Nor is it believed of another account, which may not see what the first one sees.
    live.sim.switches(|s| s.unreadable_type = Unreadable::Bare);
    become_identity(&mut client, &live, 1);
    assert!(same(&mut client, "itsm.server t WHERE location_key IS NULL") > 0);
    let plan = verbose(&mut client, "SELECT * FROM itsm.server WHERE location_key IS NULL");
    assert!(plan.contains("hidden"), "{plan}");
    live.sim.switches(|s| s.unreadable_object = Unreadable::Bare);
    assert!(same(&mut client, "itsm.server t WHERE depends_on_key IS NULL") > 0);
    assert!(same(&mut client, "itsm.server t WHERE status IS NULL") > 0);
    become_identity(&mut client, &live, 0);
    let location = aql(&mut client, "SELECT key FROM itsm.server WHERE location_key IS NULL");
    assert!(location.ends_with("\"Location\" is EMPTY"), "{location}");
}

#[test]
fn a_service_that_finds_unseen_objects_by_their_keys_is_asked_for_them_once_that_is_proven() {
    let live = Live::imported(Profile::Documented, 900);
    live.sim.switches(|s| {
        s.unreadable_type = Unreadable::Shown;
        s.unreadable_path = true;
        s.unreadable_value = true;
    });
    let mut client = live.connect();
    become_identity(&mut client, &live, 1);
    let (key, _) = by_hand(&mut client);
    let from = format!("itsm.server t WHERE location_key = '{key}'");
    assert!(!aql(&mut client, &format!("SELECT * FROM {from}")).contains("Location"));
    client.batch_execute("SELECT * FROM assets_fdw.verify_pushdown('assets', 'itsm.server')").unwrap();
    let pushed = aql(&mut client, &format!("SELECT * FROM {from}"));
    assert!(pushed.ends_with(&format!("\"Location\".Key = \"{key}\"")), "{pushed}");
    assert!(same(&mut client, &from) > 0);
    // Where they are not found, nothing of the kind is recorded.
    client.batch_execute("DELETE FROM assets_fdw.service_facts").unwrap();
    live.sim.switches(|s| {
        s.unreadable_path = false;
        s.unreadable_value = false;
    });
    client.batch_execute("SELECT * FROM assets_fdw.verify_pushdown('assets', 'itsm.server')").unwrap();
    let proven = "SELECT count(*) FROM assets_fdw.service_facts WHERE fact LIKE 'unseen%' AND holds";
    assert_eq!(one::<i64>(&mut client, proven), 0);
    assert!(same(&mut client, &from) > 0);
}

/// Names that one folding or another takes for each other.
const NAMES: &[&str] = &[
    "ΛΟΓΟΣ",
    "λογος",
    "λογοσ",
    "ΑΣΦΑΛΕΙΑ",
    "ΑΣ.Φ",
    "İstanbul",
    "Istanbul",
    "istanbul",
    "ISTANBUL",
    "ıstanbul",
    "I\u{307}stanbul",
    "Büro 1",
    "BÜRO 1",
    "büro 1",
    "Straße",
    "STRASSE",
    "strasse",
    "\u{212a}elvin",
    "Kelvin",
    "kelvin",
    "Ångström",
    "\u{212b}ngström",
    "A\u{30a}ngstrom",
    "WIFI",
    "wifi",
    "名前",
];

#[test]
fn letters_are_compared_as_postgresql_does_however_the_service_folds_them() {
    let live = Live::imported(Profile::Documented, 300);
    for name in NAMES {
        live.sim.create("Vendor", name, &[]).unwrap();
    }
    let mut client = live.connect();
    let mut conditions = vec![
        "name LIKE 'ΑΣ%'".to_owned(),
        "name LIKE '%ΟΣ'".to_owned(),
        "name LIKE '%Σ%'".to_owned(),
        "name LIKE 'I%'".to_owned(),
        "name LIKE '%WI%'".to_owned(),
        "starts_with(name, 'ΛΟΓΟΣ')".to_owned(),
        "strpos(name, 'ΑΣ') > 0".to_owned(),
        "left(name, 2) = 'ΑΣ'".to_owned(),
        "name ILIKE 'büro%'".to_owned(),
        "name ILIKE '%ÜRO%'".to_owned(),
        "name ILIKE '%ss%'".to_owned(),
        "name ILIKE 'k%'".to_owned(),
        "lower(name) LIKE '%logos%' OR lower(name) LIKE 'λογο_'".to_owned(),
        format!("name IN ({})", NAMES.iter().map(|n| literal(n)).collect::<Vec<_>>().join(", ")),
        "name = ANY (ARRAY['\u{c5}ngström', '\u{212b}ngström'])".to_owned(),
        "lower(name) IN ('istanbul', 'büro 1', 'kelvin', 'wifi')".to_owned(),
        "name ILIKE 'istanbul' COLLATE \"C\"".to_owned(),
        "lower(name COLLATE \"C\") = 'kelvin'".to_owned(),
    ];
    for name in NAMES {
        conditions.push(format!("name = {}", literal(name)));
        conditions.push(format!("name ILIKE {}", literal(name)));
        conditions.push(format!("lower(name) = lower({})", literal(name)));
    }
    if crate::live::has_icu(&mut client) {
        for collation in ["und-x-icu", "tr-x-icu"] {
            conditions.push(format!("name ILIKE 'istanbul' COLLATE \"{collation}\""));
            conditions.push(format!("lower(name COLLATE \"{collation}\") = 'istanbul'"));
            conditions.push(format!("lower(name COLLATE \"{collation}\") LIKE '%ki%'"));
        }
    }
    for folding in [Fold::Lower, Fold::Full, Fold::Simple, Fold::Ascii, Fold::Turkish] {
        live.sim.switches(|s| s.fold = folding);
        for condition in &conditions {
            let (with, without) = selected(&mut client, &format!("itsm.vendor t WHERE {condition}"));
            assert_eq!(with, without, "{folding:?}: {condition}");
        }
    }
}

#[test]
fn an_object_type_is_picked_by_its_name_whatever_lower_case_makes_of_it() {
    let live = Live::start(Default::default());
    for name in ["İ-Rack", "Rack", "\u{212a}eller"] {
        live.sim.add_type("ITSM", name, Some("Hardware")).unwrap();
        live.sim.create(name, "one", &[]).unwrap();
    }
    live.import();
    let mut client = live.connect();
    for condition in [
        "lower(object_type) = 'i-rack'",
        "lower(object_type) = lower('İ-Rack')",
        "lower(object_type) = 'rack'",
        "lower(object_type) = 'keller'",
        "object_type = '\u{212a}eller'",
    ] {
        same(&mut client, &format!("itsm.hardware t WHERE {condition}"));
    }
}

#[test]
fn one_value_in_many_spellings_is_found_by_every_type_that_takes_them_for_one() {
    let live = Live::imported(Profile::Documented, 400);
    for (name, address) in [
        ("a", "10.0.0.7"),
        ("b", "10.0.0.7/32"),
        ("c", "2001:DB8::1"),
        ("d", "2001:db8:0:0::1"),
        ("e", "::ffff:10.0.0.7"),
    ] {
        live.sim
            .create("Server", name, &[("IP Address", address), ("Serial Number", &format!("{name}  "))])
            .unwrap();
    }
    let mut client = live.connect();
    client
        .batch_execute(
            "CREATE FOREIGN TABLE cut (id bigint, key text, name text, serial varchar(1) OPTIONS (attribute 'Serial Number'),
                 ip text OPTIONS (attribute 'IP Address')) SERVER assets OPTIONS (object_schema 'ITSM', object_type 'Server',
                 aql 'Name in (a, b, c, d, e)')",
        )
        .unwrap();
    for (from, wanted) in [
        ("itsm.server t WHERE ip_address = '10.0.0.7'", 2),
        ("itsm.server t WHERE ip_address = '2001:db8::1'", 2),
        ("itsm.server t WHERE ip_address = ANY ('{10.0.0.7,2001:db8::1}'::inet[])", 4),
        ("itsm.server t WHERE ip_address = '::ffff:10.0.0.7'", 1),
        ("cut t WHERE ip = '10.0.0.7/32'", 1),
        ("cut t WHERE serial = 'a'", 1),
        ("cut t WHERE serial IN ('a', 'b')", 2),
        ("cut t WHERE serial LIKE '%a'", 1),
        ("cut t WHERE serial LIKE 'a'", 1),
        ("cut t WHERE lower(serial) = 'a'", 1),
    ] {
        assert_eq!(same(&mut client, from), wanted, "{from}");
    }
}

#[test]
fn rich_text_is_found_by_its_markup_although_it_is_indexed_without() {
    let live = Live::imported(Profile::Documented, 400);
    for (name, bio) in [
        ("one", "<p>Oslo</p>"),
        ("two", "Oslo"),
        ("three", "<p></p>"),
        ("four", "Oslo <a href=\"https://bergen.example.com\">x</a>"),
        ("five", "<b>Os</b>lo"),
    ] {
        live.sim.create("Employee", name, &[("Bio", bio)]).unwrap();
    }
    let mut client = live.connect();
    for stripped in [false, true] {
        live.sim.switches(|s| s.rich_text_without_markup = stripped);
        client.batch_execute("DELETE FROM assets_fdw.service_facts").unwrap();
        for (condition, wanted) in [
            ("bio = '<p>Oslo</p>'", 1),
            ("bio = 'Oslo'", 1),
            ("bio LIKE '%bergen%'", 1),
            ("bio LIKE '%<b>Os%'", 1),
            ("bio LIKE 'Oslo%'", 2),
            ("bio ILIKE 'OSLO <A%'", 1),
            ("bio LIKE '%</p>'", 2),
            ("strpos(bio, 'href') > 0", 1),
            ("starts_with(bio, '<p>')", 2),
            ("lower(bio) = '<p>oslo</p>'", 1),
            ("bio = '<p></p>' AND bio IS NOT NULL", 1),
            ("bio IN ('Oslo', '<p></p>')", 2),
        ] {
            assert!(
                same(&mut client, &format!("itsm.employee t WHERE {condition}")) >= wanted,
                "{condition}"
            );
        }
        assert!(same(&mut client, "itsm.employee t WHERE bio IS NOT NULL") >= 5);
        same(&mut client, "itsm.employee t WHERE bio IS NULL");
        // What is proven of it is so.
        client.batch_execute("SELECT * FROM assets_fdw.verify_pushdown('assets', 'itsm.employee')").unwrap();
        let pushed = aql(&mut client, "SELECT key FROM itsm.employee WHERE bio LIKE '%bergen%'");
        assert_eq!(pushed.contains("like \"bergen\""), !stripped, "{pushed}");
    }
}

#[test]
fn conditions_nested_a_thousand_deep_are_checked_here_and_bring_nothing_down() {
    let live = Live::imported(Profile::Documented, 300);
    let mut client = live.connect();
    client.batch_execute("SET max_stack_depth = '7MB'").unwrap();
    for depth in [50, 1500] {
        let mut alternating = "memory_gb > 64".to_owned();
        let mut negated = "name = 'x'".to_owned();
        for n in 0..depth {
            let (word, number) = if n % 2 == 0 { ("AND", "<") } else { ("OR", ">") };
            alternating = format!("(memory_gb {number} {n} {word} {alternating})");
            negated = format!("NOT (virtual IS TRUE AND {negated})");
        }
        let sum = format!("memory_gb > {}1{}", "(".repeat(depth), " + 1)".repeat(depth));
        for condition in [&alternating, &negated, &sum] {
            same(&mut client, &format!("itsm.server t WHERE {condition}"));
        }
        // What is deeper than can be walked over safely is left to PostgreSQL; what is around it goes out.
        let pushed = aql(&mut client, &format!("SELECT * FROM itsm.server WHERE {alternating}"));
        assert!(pushed.matches('(').count() <= 101, "{depth}: {pushed}");
    }
}
