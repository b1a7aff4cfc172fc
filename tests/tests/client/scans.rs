//! Scans as the executor runs them: again and again, only in part, interrupted; and what each of
//! them asks of the service.

use std::fs;

use assets_fdw_tests::assets_sim::{Options, Profile};
use postgres::Client;

use crate::live::{Live, PROFILES, Refusal, compare_table, one, refused};

fn texts(client: &mut Client, sql: &str) -> Vec<String> {
    let rows = client.query(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    rows.iter().map(|row| row.get::<_, Option<String>>(0).unwrap_or_default()).collect()
}

/// Copies of the tables named, in the schema `local`, made without pushdown.
fn copies(client: &mut Client, tables: &[&str]) {
    client.batch_execute("CREATE SCHEMA local; SET assets_fdw.enable_pushdown = off").unwrap();
    for table in tables {
        let (_, name) = table.split_once('.').unwrap();
        client.batch_execute(&format!("CREATE TABLE local.{name} AS SELECT * FROM {table}")).unwrap();
    }
    client.batch_execute("RESET assets_fdw.enable_pushdown; ANALYZE").unwrap();
}

#[test]
fn every_join_method_gives_the_same_rows() {
    for profile in PROFILES {
        let live = Live::imported(profile, 300);
        let mut client = live.connect();
        copies(&mut client, &["itsm.department", "itsm.employee", "itsm.database", "itsm.server"]);
        let queries = [
            "SELECT d.key || e.key FROM {s}department d JOIN {s}employee e ON e.department_key = d.key ORDER BY 1",
            "SELECT d.key || coalesce(e.key, '') FROM {s}department d LEFT JOIN {s}employee e
                 ON e.key = d.head_key AND e.active ORDER BY 1",
            "SELECT coalesce(d.key, '') || coalesce(e.key, '') FROM {s}department d FULL JOIN {s}employee e
                 ON e.key = d.head_key ORDER BY 1",
            "SELECT d.key FROM {s}department d WHERE EXISTS
                 (SELECT 1 FROM {s}employee e WHERE e.department_key = d.key AND NOT e.active) ORDER BY 1",
            "SELECT d.key FROM {s}department d WHERE NOT EXISTS
                 (SELECT 1 FROM {s}employee e WHERE e.department_key = d.key AND NOT e.active) ORDER BY 1",
            "SELECT b.key || s.key FROM {s}database b JOIN {s}server s ON s.key = ANY (b.runs_on_key) ORDER BY 1",
            "SELECT d.key || e.key || m.key FROM {s}department d JOIN {s}employee e ON e.key = d.head_key
                 JOIN {s}employee m ON m.key = e.manager_key ORDER BY 1",
            "SELECT d.key || l.k FROM {s}department d CROSS JOIN LATERAL
                 (SELECT e.key AS k FROM {s}employee e WHERE e.department_key = d.key ORDER BY e.id LIMIT 2) l ORDER BY 1",
            "SELECT d.key || (SELECT count(*) FROM {s}employee e WHERE e.department_key = d.key AND e.hired > '2020-01-01')
                 FROM {s}department d ORDER BY 1",
            "SELECT e.key FROM {s}employee e WHERE e.department_key = (SELECT min(key) FROM {s}department) ORDER BY 1",
        ];
        for query in queries {
            let expected = texts(&mut client, &query.replace("{s}", "local."));
            for (nested, hash, merge) in [(true, false, false), (false, true, false), (false, false, true)] {
                for again in [true, false] {
                    client
                        .batch_execute(&format!(
                            "SET enable_nestloop = {nested}; SET enable_hashjoin = {hash}; SET enable_mergejoin = {merge};
                             SET enable_material = {again}; SET enable_memoize = {again}"
                        ))
                        .unwrap();
                    let found = texts(&mut client, &query.replace("{s}", "itsm."));
                    let how = format!("{profile:?} {nested} {hash} {merge} {again}: {query}");
                    assert_eq!(found, expected, "{how}");
                }
            }
        }
    }
}

#[test]
fn a_prepared_statement_and_a_function_follow_their_parameters_beyond_six_executions() {
    let live = Live::imported(Profile::Documented, 600);
    let mut client = live.connect();
    copies(&mut client, &["itsm.server"]);
    client
        .batch_execute(
            "CREATE FUNCTION asked(low bigint, system text, names text[]) RETURNS text LANGUAGE plpgsql AS $$
             DECLARE r record; keys text := '';
             BEGIN
                 FOR r IN SELECT key FROM itsm.server WHERE memory_gb >= low
                           AND (operating_system = system OR owner = ANY (names)) ORDER BY id LOOP
                     keys := keys || ' ' || r.key;
                 END LOOP;
                 RETURN keys;
             END $$",
        )
        .unwrap();
    let condition = "memory_gb >= $1 AND (operating_system = $2 OR owner = ANY ($3))";
    let live_one =
        client.prepare(&format!("SELECT key FROM itsm.server WHERE {condition} ORDER BY id")).unwrap();
    let copy_one =
        client.prepare(&format!("SELECT key FROM local.server WHERE {condition} ORDER BY id")).unwrap();
    let owners =
        texts(&mut client, "SELECT DISTINCT owner FROM local.server WHERE owner IS NOT NULL ORDER BY 1");
    let systems = [Some("Debian 12"), Some("debian 12"), None, Some("RHEL 9"), Some("nothing"), Some("")];
    let mut found = 0;
    for round in 0..14_i64 {
        let low = if round == 9 { None } else { Some(round * 37) };
        let system = systems[round as usize % systems.len()];
        let names: Vec<&String> = owners.iter().skip(round as usize * 3).take(round as usize % 4).collect();
        let keys = |rows: Vec<postgres::Row>| rows.iter().map(|r| r.get::<_, String>(0)).collect::<Vec<_>>();
        let expected = keys(client.query(&copy_one, &[&low, &system, &names]).unwrap());
        assert_eq!(
            keys(client.query(&live_one, &[&low, &system, &names]).unwrap()),
            expected,
            "round {round}"
        );
        let row = client.query_one("SELECT asked($1, $2, $3)", &[&low, &system, &names]).unwrap();
        let by_function: Vec<String> = row.get::<_, &str>(0).split_whitespace().map(str::to_owned).collect();
        assert_eq!(by_function, expected, "round {round}");
        found += expected.len();
    }
    assert!(found > 30, "{found}");
}

#[test]
fn what_stands_behind_a_guard_is_not_worked_out_where_the_guard_holds() {
    let live = Live::imported(Profile::Documented, 200);
    let mut client = live.connect();
    copies(&mut client, &["itsm.server"]);
    client.batch_execute("SET plan_cache_mode = force_generic_plan").unwrap();
    // What people write where a filter may be left out: the text is no timestamp then, the number no divisor.
    let statements = [
        ("text", "$1 = '' OR created > $1::timestamptz", ["''", "'2000-01-01'", "'2100-01-01'"]),
        (
            "text",
            "($1 <> '' AND created > $1::timestamptz) OR memory_gb = 64",
            ["''", "'2000-01-01'", "NULL"],
        ),
        ("text", "NOT ($1 = '' OR NOT (memory_gb = nullif($1, '')::int))", ["''", "'64'", "'1'"]),
        ("int", "$1 = 0 OR memory_gb = 64 / $1", ["0", "1", "4"]),
        ("int", "memory_gb > 0 AND ($1 = 0 OR memory_gb IN (64 / $1, 32 / $1))", ["0", "1", "4"]),
        ("text", "$1 IS NULL OR status = $1", ["NULL", "'Active'", "''"]),
    ];
    for (of, condition, values) in statements {
        for value in values {
            let answer = |client: &mut Client, table: &str| {
                let prepare =
                    format!("PREPARE p({of}) AS SELECT key FROM {table} WHERE {condition} ORDER BY 1");
                client.batch_execute(&prepare).unwrap();
                let found = client.simple_query(&format!("EXECUTE p({value})"));
                client.batch_execute("DEALLOCATE p").unwrap();
                let messages = found.unwrap_or_else(|e| panic!("{condition} with {value}: {e:?}"));
                let rows = messages.iter().filter_map(|message| match message {
                    postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("").to_owned()),
                    _ => None,
                });
                rows.collect::<Vec<String>>()
            };
            let wanted = answer(&mut client, "local.server");
            assert_eq!(answer(&mut client, "itsm.server"), wanted, "{condition} with {value}");
        }
    }
}

#[test]
fn a_generic_plan_follows_changes_of_the_table() {
    let live = Live::imported(Profile::Documented, 300);
    let mut client = live.connect();
    client
        .batch_execute(
            "SET plan_cache_mode = force_generic_plan;
             PREPARE p(text) AS SELECT count(*) FROM itsm.server WHERE operating_system = $1",
        )
        .unwrap();
    let before: i64 = one(&mut client, "EXECUTE p('Debian 12')");
    assert!(before > 0);
    client.batch_execute("ALTER FOREIGN TABLE itsm.server OPTIONS (ADD aql 'Virtual = true')").unwrap();
    let narrower: i64 = one(&mut client, "EXECUTE p('Debian 12')");
    let direct = "SELECT count(*) FROM itsm.server WHERE operating_system = 'Debian 12' AND virtual";
    assert_eq!(narrower, one::<i64>(&mut client, direct));
    assert!(narrower < before);
    client.batch_execute("ALTER FOREIGN TABLE itsm.server DROP COLUMN serial_number").unwrap();
    assert_eq!(one::<i64>(&mut client, "EXECUTE p('Debian 12')"), narrower);
}

#[test]
fn cursors_may_be_closed_early_held_scrolled_and_read_in_turns() {
    let live = Live::imported(Profile::Documented, 2000);
    let mut client = live.connect();
    let all = texts(&mut client, "SELECT key FROM itsm.server ORDER BY id");
    assert!(all.len() > 300);
    for _ in 0..3 {
        client
            .batch_execute(
                "BEGIN; DECLARE c CURSOR FOR SELECT key FROM itsm.server; FETCH 5 FROM c; CLOSE c; COMMIT",
            )
            .unwrap();
    }
    // Never fetched, or closed by the end of the transaction.
    client
        .batch_execute(
            "BEGIN; DECLARE c CURSOR FOR SELECT key FROM itsm.server; COMMIT;
             BEGIN; DECLARE c CURSOR FOR SELECT key FROM itsm.server; FETCH 5 FROM c; ROLLBACK",
        )
        .unwrap();
    client
        .batch_execute(
            "BEGIN; DECLARE h CURSOR WITH HOLD FOR SELECT key FROM itsm.server ORDER BY id; FETCH 3 FROM h; COMMIT",
        )
        .unwrap();
    let mut held = all[..3].to_vec();
    held.extend(texts(&mut client, "FETCH ALL FROM h"));
    assert_eq!(held, all);
    client.batch_execute("CLOSE h; BEGIN").unwrap();
    client.batch_execute("DECLARE s SCROLL CURSOR FOR SELECT key FROM itsm.server").unwrap();
    let first = texts(&mut client, "FETCH 150 FROM s");
    let mut back = texts(&mut client, "FETCH BACKWARD 149 FROM s");
    back.reverse();
    assert_eq!(back, first[..149]);
    assert_eq!(texts(&mut client, "FETCH ABSOLUTE 120 FROM s"), first[119..120]);
    client
        .batch_execute(
            "DECLARE a CURSOR FOR SELECT key FROM itsm.server; DECLARE b CURSOR FOR SELECT key FROM itsm.employee",
        )
        .unwrap();
    let employees = live.sim.count(live.sim.type_id("Employee").unwrap()) as usize;
    let (mut servers, mut people) = (Vec::new(), Vec::new());
    loop {
        let (a, b) = (texts(&mut client, "FETCH 70 FROM a"), texts(&mut client, "FETCH 90 FROM b"));
        if a.is_empty() && b.is_empty() {
            break;
        }
        servers.extend(a);
        people.extend(b);
    }
    client.batch_execute("COMMIT").unwrap();
    servers.sort();
    servers.dedup();
    people.sort();
    people.dedup();
    assert_eq!((servers.len(), people.len()), (all.len(), employees));
}

#[test]
fn a_subtransaction_that_rolls_back_leaves_the_scan_around_it_alone() {
    let live = Live::imported(Profile::Documented, 2000);
    let mut client = live.connect();
    let all = texts(&mut client, "SELECT key FROM itsm.server ORDER BY key");
    client.batch_execute("BEGIN; DECLARE c CURSOR FOR SELECT key FROM itsm.server; SAVEPOINT a").unwrap();
    let mut seen = texts(&mut client, "FETCH 30 FROM c");
    client
        .batch_execute(
            "DECLARE gone CURSOR FOR SELECT key FROM itsm.employee; FETCH 3 FROM gone; ROLLBACK TO a",
        )
        .unwrap();
    seen.extend(texts(&mut client, "FETCH 120 FROM c"));
    assert_eq!(refused(&mut client, "SELECT 1/0").code, "22012");
    client.batch_execute("ROLLBACK TO a").unwrap();
    seen.extend(texts(&mut client, "FETCH ALL FROM c"));
    client.batch_execute("COMMIT").unwrap();
    seen.sort();
    assert_eq!(seen, all);
    // The same from a function: a block that fails for every row, with a live query of its own inside.
    client
        .batch_execute(
            "CREATE FUNCTION loops() RETURNS bigint LANGUAGE plpgsql AS $$
             DECLARE r record; n bigint := 0;
             BEGIN
                 FOR r IN SELECT id, owner_key FROM itsm.server LOOP
                     BEGIN
                         n := n + 1;
                         IF n % 100 = 1 THEN PERFORM name FROM itsm.employee WHERE key = r.owner_key; END IF;
                         RAISE EXCEPTION 'no';
                     EXCEPTION WHEN raise_exception THEN NULL;
                     END;
                 END LOOP;
                 RETURN n;
             END $$",
        )
        .unwrap();
    assert_eq!(one::<i64>(&mut client, "SELECT loops()"), all.len() as i64);
}

#[test]
fn after_an_error_in_the_middle_of_a_scan_the_next_query_is_complete() {
    let live = Live::imported(Profile::Documented, 2000);
    let mut client = live.connect();
    let servers = live.sim.dump(live.sim.type_id("Server").unwrap());
    let bad = &servers[servers.len() / 2].key;
    live.sim.update(bad, "Memory GB", &["lots"]).unwrap();
    for _ in 0..8 {
        let refusal = refused(&mut client, "SELECT sum(memory_gb) FROM itsm.server");
        assert!(refusal.message.contains(bad.as_str()), "{refusal:?}");
        let error = refused(&mut client, "SELECT 1 / (length(name) - length(name)) FROM itsm.server");
        assert_eq!(error.code, "22012");
        assert_eq!(one::<i64>(&mut client, "SELECT count(name) FROM itsm.server"), servers.len() as i64);
    }
}

#[test]
fn a_scan_stops_asking_when_the_executor_stops() {
    let live = Live::imported(Profile::Documented, 5000);
    let mut client = live.connect();
    let pages = live.sim.count(live.sim.type_id("Server").unwrap()) / 100;
    assert!(pages >= 8);
    // Once before, so that what a type is has been learnt.
    client.batch_execute("SELECT count(*) FROM itsm.server").unwrap();
    for (sql, most) in [
        ("SELECT name FROM itsm.server LIMIT 1", 1),
        ("SELECT name FROM itsm.server LIMIT 10", 1),
        ("SELECT name FROM itsm.server WHERE virtual LIMIT 10", 2),
        ("SELECT EXISTS (SELECT 1 FROM itsm.server WHERE virtual)", 3),
        ("SELECT 1 WHERE EXISTS (SELECT 1 FROM itsm.server)", 3),
        ("BEGIN; DECLARE c CURSOR FOR SELECT name FROM itsm.server; FETCH 1 FROM c; CLOSE c; COMMIT", 4),
        ("SELECT name FROM itsm.server LIMIT 0", 0),
    ] {
        let searches = live.searches_of(&mut client, sql);
        assert!(searches.len() <= most, "{} searches instead of {most}: {sql}", searches.len());
    }
}

#[test]
fn a_condition_that_can_never_be_true_asks_nothing() {
    let live = Live::imported(Profile::Documented, 300);
    let mut client = live.connect();
    client.batch_execute("SELECT count(name) FROM itsm.server").unwrap();
    client
        .batch_execute(
            "SET plan_cache_mode = force_generic_plan;
             PREPARE one(text) AS SELECT * FROM itsm.server WHERE name = $1;
             PREPARE many(text[]) AS SELECT * FROM itsm.server WHERE key = ANY ($1)",
        )
        .unwrap();
    for sql in [
        "SELECT * FROM itsm.server WHERE false",
        "SELECT * FROM itsm.server WHERE name = NULL",
        "SELECT * FROM itsm.server WHERE id = ANY ('{}')",
        "SELECT * FROM itsm.server WHERE key IN (NULL) AND virtual",
        "SELECT * FROM itsm.server WHERE name = (SELECT NULL::text)",
        "SELECT * FROM itsm.server WHERE (name = NULL OR memory_gb = NULL) AND virtual",
        "EXECUTE one(NULL)",
        "EXECUTE many('{}')",
        "EXECUTE many(NULL)",
    ] {
        let searches = live.searches_of(&mut client, sql);
        assert_eq!(searches.len(), 0, "{sql}: {:?}", searches[0].aql);
    }
}

#[test]
fn attributes_are_asked_for_only_where_one_is_used() {
    for profile in PROFILES {
        let live = Live::imported(profile, 600);
        let mut client = live.connect();
        for (sql, wanted) in [
            ("SELECT max(key) FROM itsm.server", false),
            ("SELECT id, key, label, created, updated, url FROM itsm.server", false),
            ("SELECT object_type, count(*) FROM itsm.hardware GROUP BY 1", false),
            ("SELECT key FROM itsm.server WHERE updated > '2021-01-01' AND id > 1500", false),
            ("SELECT memory_gb FROM itsm.server", true),
            ("SELECT key FROM itsm.server WHERE memory_gb > 3", true),
            ("SELECT s FROM itsm.server s", true),
        ] {
            let searches = live.searches_of(&mut client, sql);
            assert!(!searches.is_empty());
            for search in searches {
                assert_eq!(search.include_attributes, Some(wanted), "{profile:?} {sql}");
            }
        }
    }
}

#[test]
fn several_live_tables_in_one_query_do_not_disturb_each_other() {
    let live = Live::imported(Profile::Documented, 900);
    let mut client = live.connect();
    copies(&mut client, &["itsm.server", "itsm.employee", "itsm.laptop", "fac.office"]);
    client
        .batch_execute(
            "CREATE VIEW itsm.v AS SELECT s.key, s.name, e.name AS owner, s.memory_gb
                 FROM itsm.server s LEFT JOIN itsm.employee e ON e.key = s.owner_key;
             CREATE VIEW local.v AS SELECT s.key, s.name, e.name AS owner, s.memory_gb
                 FROM local.server s LEFT JOIN local.employee e ON e.key = s.owner_key;
             CREATE VIEW itsm.office AS SELECT * FROM fac.office",
        )
        .unwrap();
    for query in [
        "SELECT name FROM {s}server UNION ALL SELECT name FROM {s}laptop UNION ALL SELECT name FROM {s}server ORDER BY 1",
        "SELECT a.key || b.key FROM {s}server a JOIN {s}server b ON b.key = ANY (a.depends_on_key) ORDER BY 1",
        "SELECT key || coalesce(owner, '') FROM {s}v WHERE memory_gb > 100 ORDER BY 1",
        "SELECT s.key || l.key || o.key FROM {s}server s JOIN {s}laptop l ON l.location_key = s.location_key
             JOIN {s}office o ON o.key = s.location_key ORDER BY 1",
        "WITH RECURSIVE up(key, boss, n) AS (
             SELECT key, manager_key, 0 FROM {s}employee WHERE department IS NOT NULL AND key LIKE '%1'
             UNION ALL SELECT e.key, e.manager_key, n + 1 FROM up JOIN {s}employee e ON e.key = up.boss WHERE n < 3)
         SELECT key || n FROM up ORDER BY 1",
        "SELECT name FROM {s}server EXCEPT SELECT name FROM {s}server WHERE virtual ORDER BY 1",
    ] {
        let expected = texts(&mut client, &query.replace("{s}", "local."));
        assert!(!expected.is_empty(), "{query}");
        assert_eq!(texts(&mut client, &query.replace("{s}", "itsm.")), expected, "{query}");
    }
}

#[test]
fn objects_that_come_and_go_between_pages_never_hide_one_that_stays() {
    use assets_fdw_tests::assets_sim::Change;
    for profile in PROFILES {
        let live = Live::imported(profile, 2000);
        let mut client = live.connect();
        let servers = live.sim.dump(live.sim.type_id("Server").unwrap());
        for after in 1..4 {
            for n in 0..4 {
                live.sim.between_pages(
                    after,
                    Change::Delete { key: servers[after as usize * 7 + n * 31].key.clone() },
                );
                live.sim.between_pages(
                    after,
                    Change::Create {
                        object_type: "Server".into(),
                        name: format!("aaa {after} {n}"),
                        values: vec![],
                    },
                );
            }
        }
        let found = texts(&mut client, "SELECT key FROM itsm.server");
        let mut distinct = found.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(found.len(), distinct.len(), "{profile:?}: an object twice");
        for server in servers.iter().filter(|s| live.sim.object(&s.key).is_some()) {
            assert!(distinct.binary_search(&server.key).is_ok(), "{profile:?}: {} is missing", server.key);
        }
        compare_table(&live, &mut client, "itsm.server");
    }
}

#[test]
fn any_aql_can_be_asked_and_counted() {
    for profile in PROFILES {
        let live = Live::imported(profile, 500);
        let mut client = live.connect();
        let servers = live.sim.count(live.sim.type_id("Server").unwrap()) as i64;
        let by_type = "objectType = Server";
        assert_eq!(
            one::<i64>(&mut client, &format!("SELECT assets_fdw.count('assets', '{by_type}')")),
            servers
        );
        let differing: i64 = one(
            &mut client,
            &format!(
                "SELECT count(*) FROM assets_fdw.aql('assets', '{by_type}') a FULL JOIN itsm.server s USING (id)
                  WHERE a.key IS DISTINCT FROM s.key OR a.label IS DISTINCT FROM s.label
                     OR a.created IS DISTINCT FROM s.created OR a.updated IS DISTINCT FROM s.updated
                     OR a.object_type <> 'Server' OR a.attributes->>'Name' IS DISTINCT FROM s.name"
            ),
        );
        assert_eq!(differing, 0, "{profile:?}");
        let everything: i64 = one(&mut client, "SELECT count(*) FROM assets_fdw.aql('assets', '')");
        assert_eq!(everything, 500);
        let few: i64 =
            one(&mut client, "SELECT count(*) FROM (SELECT * FROM assets_fdw.aql('assets', '') LIMIT 7) s");
        assert_eq!(few, 7);
        let error = client.batch_execute("SELECT * FROM assets_fdw.aql('assets', 'Name = = 3')").unwrap_err();
        assert!(Refusal::of(&error).code.starts_with("HV"), "{error:?}");
        assert_eq!(one::<i64>(&mut client, "SELECT assets_fdw.count('assets', 'Name = \"no such\"')"), 0);
    }
}

/// A line of `/proc/PID/status`, in kB.
fn memory(pid: i32, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the backend's status");
    let line = status.lines().find(|l| l.starts_with(line)).expect("a line of memory");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("kilobytes")
}

/// `OBJECTS=460000` scans 200,000 of them, as many as fast machines and patient people have.
#[test]
fn a_scan_of_many_objects_needs_no_more_memory_than_one_of_few() {
    let objects = std::env::var("OBJECTS").ok().and_then(|text| text.parse().ok()).unwrap_or(60_000);
    let live = Live::start(Options { objects, page_cap: 500, ..Options::default() });
    live.import();
    let mut client = live.connect();
    let pid: i32 = one(&mut client, "SELECT pg_backend_pid()");
    let scan = |client: &mut Client, condition: &str| -> i64 {
        one(client, &format!("SELECT count(name) FROM itsm.hardware WHERE {condition}"))
    };
    // The window of pages under way is full after some thousands of objects.
    let few = scan(&mut client, "id < 30000");
    let before = memory(pid, "VmHWM");
    live.sim.clear_log();
    let all = scan(&mut client, "true");
    let after = memory(pid, "VmHWM");
    println!("{few} objects: {before} kB; {all} objects: {after} kB");
    assert!(few > 10_000 && all as u64 == objects * 44 / 100, "{few} {all}");
    assert!(after < before + 16_384, "{few} objects: {before} kB; {all} objects: {after} kB");
    let pages = objects * 44 / 100 / 499;
    assert!(
        live.searches().len() as u64 <= pages + 10,
        "{} searches for {pages} pages",
        live.searches().len()
    );
}

#[test]
fn foreign_tables_take_part_in_the_statements_of_ordinary_tables() {
    let live = Live::imported(Profile::Documented, 600);
    let mut client = live.connect();
    copies(&mut client, &["itsm.server"]);
    let servers = live.sim.count(live.sim.type_id("Server").unwrap()) as i64;
    let same = |client: &mut Client, live: &str, local: &str| {
        assert_eq!(one::<i64>(client, live), one::<i64>(client, local), "{live}");
    };
    client
        .batch_execute(
            "CREATE MATERIALIZED VIEW names AS SELECT id, name FROM itsm.server;
             CREATE UNIQUE INDEX ON names (id);
             REFRESH MATERIALIZED VIEW CONCURRENTLY names;
             CREATE TABLE mine (key text PRIMARY KEY, memory bigint);
             INSERT INTO mine SELECT key, 0 FROM itsm.server WHERE virtual;
             UPDATE mine SET memory = s.memory_gb FROM itsm.server s WHERE s.key = mine.key;
             DELETE FROM mine USING itsm.server s WHERE s.key = mine.key AND s.memory_gb < 100;
             INSERT INTO mine SELECT key, memory_gb FROM itsm.server ON CONFLICT (key) DO NOTHING;
             MERGE INTO mine USING itsm.server s ON s.key = mine.key WHEN MATCHED AND s.virtual THEN DELETE",
        )
        .unwrap();
    same(
        &mut client,
        "SELECT count(*) FROM mine",
        "SELECT count(*) FROM local.server WHERE virtual IS NOT TRUE",
    );
    same(&mut client, "SELECT count(*) FROM names", "SELECT count(*) FROM local.server");
    // Locks of rows mean nothing to the service, and are allowed as for any foreign table.
    assert_eq!(texts(&mut client, "SELECT key FROM itsm.server FOR UPDATE").len() as i64, servers);
    let of: String = one(&mut client, "SELECT DISTINCT tableoid::regclass::text FROM itsm.server");
    assert_eq!(of, "itsm.server");
    // A partition, and a child.
    client
        .batch_execute(
            "CREATE TABLE parted (kind text, key text, name text) PARTITION BY LIST (kind);
             CREATE TABLE parted_here PARTITION OF parted FOR VALUES IN ('here');
             INSERT INTO parted VALUES ('here', 'X-1', 'x');
             CREATE TABLE parent (key text, name text);
             CREATE FOREIGN TABLE child () INHERITS (parent) SERVER assets
                 OPTIONS (object_schema 'ITSM', object_type 'Server')",
        )
        .unwrap();
    same(
        &mut client,
        "SELECT count(name) FROM parent WHERE name LIKE 'srv%'",
        "SELECT count(name) FROM local.server WHERE name LIKE 'srv%'",
    );
    // Statistics are the service's; nothing can be written.
    client.batch_execute("ANALYZE; ANALYZE itsm.server").unwrap();
    for sql in [
        "INSERT INTO itsm.server (name) VALUES ('x')",
        "UPDATE itsm.server SET name = 'x'",
        "DELETE FROM itsm.server",
        "TRUNCATE itsm.server",
    ] {
        assert!(["55000", "0A000", "42809"].contains(&refused(&mut client, sql).code.as_str()), "{sql}");
    }
    let text: String = one(
        &mut client,
        "SELECT string_agg(t, ' ') FROM (SELECT s::text AS t FROM itsm.server s ORDER BY id) x",
    );
    assert_eq!(
        text,
        one::<String>(
            &mut client,
            "SELECT string_agg(t, ' ') FROM (SELECT s::text AS t FROM local.server s ORDER BY id) x"
        )
    );
    let mut copied = Vec::new();
    std::io::Read::read_to_end(
        &mut client.copy_out("COPY (SELECT key FROM itsm.server) TO STDOUT").unwrap(),
        &mut copied,
    )
    .unwrap();
    assert_eq!(copied.iter().filter(|byte| **byte == b'\n').count() as i64, servers);
}

#[test]
fn a_materialized_inner_side_is_asked_for_once() {
    let live = Live::imported(Profile::Documented, 600);
    let mut client = live.connect();
    client
        .batch_execute(
            "SELECT count(*) FROM itsm.employee; SET enable_hashjoin = off; SET enable_mergejoin = off",
        )
        .unwrap();
    // No condition of the join can go out, so every rescan of the inner side would be the whole table again.
    let sql =
        "SELECT count(*) FROM itsm.department d JOIN itsm.employee e ON length(e.name) = length(d.name)";
    let searches = live.searches_of(&mut client, sql).len();
    let pages = live.sim.count(live.sim.type_id("Employee").unwrap()) as usize / 99 + 1;
    assert!(searches <= pages + 2, "{searches} searches for {pages} pages and one more");
}
