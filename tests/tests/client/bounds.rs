//! How many rows a query takes, and in which order, is the executor's to say: no estimate, no operator of a
//! user's and no page that a service spoils ends a result early.

use assets_fdw_tests::assets_sim::{Endpoint, Fault, FaultKind, Flag, Options, Profile, Total};

use crate::live::{Live, PROFILES, Refusal, explain, one, unpushed};

fn rows(client: &mut postgres::Client, sql: &str) -> Vec<String> {
    let all = client.query(&format!("SELECT q::text FROM ({sql}) q"), &[]);
    all.unwrap_or_else(|error| panic!("{sql}: {error:?}")).iter().map(|row| row.get(0)).collect()
}

/// A live database where many objects are as old as others, and orders are proven.
fn with_ties(profile: Profile) -> Live {
    let live = Live::start(Options { profile, objects: 1500, ..Options::default() });
    live.sim.switches(|switches| switches.stamp_step_ms = 60_000);
    live.import();
    let server = live.sim.type_id("Server").unwrap();
    for object in live.sim.dump(server).iter().take(12) {
        live.sim.update(&object.key, "Notes", &["touched at the same moment"]).unwrap();
        live.sim.update(&object.key, "Memory GB", &["513"]).unwrap();
    }
    live
}

#[test]
fn rows_that_tie_with_the_last_one_are_given_too() {
    for profile in PROFILES {
        let live = with_ties(profile);
        let mut client = live.connect();
        client.batch_execute("SELECT FROM assets_fdw.verify_pushdown('assets')").unwrap();
        for order in ["updated DESC", "updated", "memory_gb DESC NULLS LAST", "memory_gb", "created DESC"] {
            for fetch in [1, 3, 40, 300] {
                let column = order.split(' ').next().unwrap();
                let sql = format!(
                    "SELECT {column} FROM itsm.server ORDER BY {order} FETCH FIRST {fetch} ROWS WITH TIES"
                );
                let found = rows(&mut client, &sql);
                let expected = unpushed(&mut client, |client| rows(client, &sql));
                assert_eq!(found, expected, "{profile:?}: {sql}");
            }
        }
        let ties = "SELECT FROM itsm.server ORDER BY memory_gb DESC NULLS LAST FETCH FIRST 3 ROWS WITH TIES";
        assert_eq!(rows(&mut client, ties).len(), 12);
        if profile == Profile::Documented {
            assert!(explain(&mut client, ties).contains("Order: "));
            assert_eq!(live.requests(&mut client, ties), 1, "the ties are on the same page");
        }
    }
}

#[test]
fn a_limit_that_changes_between_executions_is_followed() {
    for profile in PROFILES {
        let live = Live::imported(profile, 1500);
        let mut client = live.connect();
        client
            .batch_execute(
                "SELECT FROM assets_fdw.verify_pushdown('assets');
                 CREATE FUNCTION most() RETURNS bigint STABLE LANGUAGE sql AS
                     $$ SELECT current_setting('test.most')::bigint $$;
                 SET plan_cache_mode = force_generic_plan; SET test.most = 3;
                 PREPARE ordered AS SELECT id FROM itsm.server ORDER BY id DESC LIMIT most();
                 PREPARE skipping AS SELECT id FROM itsm.server ORDER BY id OFFSET most() LIMIT 2;
                 PREPARE latest AS SELECT updated FROM itsm.server ORDER BY updated DESC LIMIT most();
                 PREPARE plain AS SELECT id FROM itsm.server LIMIT most();
                 PREPARE given(bigint, bigint) AS SELECT id FROM itsm.server ORDER BY id LIMIT $1 OFFSET $2",
            )
            .unwrap();
        let all: i64 = one(&mut client, "SELECT count(*) FROM itsm.server");
        for most in [3, 1, 5, 60, all - 1, all, all + 5, 2] {
            client.batch_execute(&format!("SET test.most = {most}")).unwrap();
            let count = |client: &mut postgres::Client, what: &str| {
                client.query(&format!("EXECUTE {what}"), &[]).unwrap().len() as i64
            };
            let what = format!("{profile:?} {most} of {all}");
            assert_eq!(count(&mut client, "ordered"), most.min(all), "{what}");
            assert_eq!(count(&mut client, "latest"), most.min(all), "{what}");
            assert_eq!(count(&mut client, "plain"), most.min(all), "{what}");
            assert_eq!(count(&mut client, "skipping"), (all - most).clamp(0, 2), "{what}");
            assert_eq!(count(&mut client, &format!("given({most}, 1)")), most.min(all - 1), "{what}");
            let got: Vec<i64> =
                client.query("EXECUTE ordered", &[]).unwrap().iter().map(|row| row.get(0)).collect();
            assert!(got.is_sorted_by(|a, b| a > b), "{what}: {got:?}");
        }
    }
}

#[test]
fn a_cursor_and_a_rescan_go_beyond_what_was_expected() {
    let live = Live::imported(Profile::Documented, 1500);
    let mut client = live.connect();
    client.batch_execute("SELECT FROM assets_fdw.verify_pushdown('assets')").unwrap();
    client
        .batch_execute(
            "CREATE FUNCTION few() RETURNS bigint STABLE LANGUAGE sql AS 'SELECT 90::bigint';
             BEGIN;
             DECLARE c SCROLL CURSOR FOR SELECT id FROM itsm.server ORDER BY id LIMIT few()",
        )
        .unwrap();
    let mut fetch = |what: &str| -> Vec<i64> {
        client.query(&format!("FETCH {what} FROM c"), &[]).unwrap().iter().map(|row| row.get(0)).collect()
    };
    let forward = fetch("FORWARD ALL");
    let mut backward = fetch("BACKWARD ALL");
    backward.reverse();
    assert_eq!(forward, backward);
    assert_eq!(fetch("FORWARD ALL"), forward);
    client.batch_execute("COMMIT").unwrap();
    // The same rows again for each outer row, past the page and into what is sorted here.
    let sql = "SELECT string_agg(n::text, ' ') FROM generate_series(1, 3) g, LATERAL (SELECT count(*) n FROM
                   (SELECT id FROM itsm.server WHERE id > g ORDER BY id FETCH FIRST 3 ROWS WITH TIES) q) x";
    assert_eq!(one::<String>(&mut client, sql), "3 3 3");
    let again = "SELECT count(*) FROM (VALUES (1), (2)) v(x) LEFT JOIN
                     (SELECT memory_gb FROM itsm.server ORDER BY memory_gb DESC NULLS LAST
                      FETCH FIRST 100 ROWS WITH TIES) q ON memory_gb > x";
    client.batch_execute("SET enable_hashjoin = off; SET enable_material = off").unwrap();
    let found: i64 = one(&mut client, again);
    assert_eq!(found, unpushed(&mut client, |client| one::<i64>(client, again)));
}

#[test]
fn limits_under_other_nodes_take_what_those_need() {
    let live = Live::imported(Profile::Documented, 1500);
    let mut client = live.connect();
    client.batch_execute("SELECT FROM assets_fdw.verify_pushdown('assets')").unwrap();
    for sql in [
        "SELECT generate_series(1, CASE WHEN memory_gb > 300 THEN 1 ELSE 0 END), id FROM itsm.server ORDER BY id LIMIT 9",
        "SELECT DISTINCT ON (memory_gb) memory_gb FROM itsm.server ORDER BY memory_gb LIMIT 9",
        "SELECT memory_gb, row_number() OVER (ORDER BY memory_gb) FROM itsm.server ORDER BY memory_gb LIMIT 3",
        "SELECT id FROM itsm.server ORDER BY id LIMIT 5 FOR UPDATE",
        "SELECT count(*) FROM (SELECT id FROM itsm.server ORDER BY id LIMIT 7) q",
        "SELECT * FROM (SELECT id FROM itsm.server ORDER BY id LIMIT 4) q ORDER BY id DESC",
        "(SELECT id FROM itsm.server ORDER BY id LIMIT 2) UNION ALL (SELECT id FROM itsm.server ORDER BY id DESC LIMIT 2)",
        "SELECT id FROM itsm.server UNION ALL SELECT id FROM itsm.laptop ORDER BY id LIMIT 6",
        "SELECT EXISTS (SELECT FROM itsm.server ORDER BY memory_gb LIMIT 1)",
        "SELECT id FROM itsm.server WHERE memory_gb % 2 = 0 ORDER BY id LIMIT 4",
        "SELECT max(memory_gb), min(memory_gb) FROM itsm.server",
        "SELECT id FROM itsm.server ORDER BY id LIMIT ALL OFFSET 5",
        "SELECT id FROM itsm.server ORDER BY id LIMIT NULL",
        "SELECT id FROM itsm.server ORDER BY id LIMIT 0",
    ] {
        let query = |client: &mut postgres::Client| -> Vec<String> {
            let all = client.simple_query(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            all.iter()
                .filter_map(|message| match message {
                    postgres::SimpleQueryMessage::Row(row) => {
                        Some((0..row.len()).map(|n| format!("{:?} ", row.get(n))).collect())
                    }
                    _ => None,
                })
                .collect()
        };
        let found = query(&mut client);
        assert_eq!(found, unpushed(&mut client, |client| query(client)), "{sql}");
    }
}

/// Whole numbers by their distance from 100: an order that no service has in mind.
const OTHER_ORDER: &str = "
    CREATE FUNCTION near(bigint, bigint) RETURNS integer IMMUTABLE LANGUAGE sql AS
        'SELECT sign(abs($1 - 100) - abs($2 - 100))::integer';
    CREATE FUNCTION nearer(bigint, bigint) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT near($1, $2) < 0';
    CREATE FUNCTION farther(bigint, bigint) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT near($1, $2) > 0';
    CREATE FUNCTION as_near(bigint, bigint) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT near($1, $2) = 0';
    CREATE FUNCTION no_farther(bigint, bigint) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT near($1, $2) <= 0';
    CREATE FUNCTION no_nearer(bigint, bigint) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT near($1, $2) >= 0';
    CREATE OPERATOR <| (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = nearer);
    CREATE OPERATOR |> (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = farther);
    CREATE OPERATOR =| (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = as_near);
    CREATE OPERATOR <=| (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = no_farther);
    CREATE OPERATOR |>= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = no_nearer);
    CREATE OPERATOR CLASS nearness FOR TYPE bigint USING btree AS OPERATOR 1 <|, OPERATOR 2 <=|, OPERATOR 3 =|,
        OPERATOR 4 |>=, OPERATOR 5 |>, FUNCTION 1 near(bigint, bigint);
    CREATE FUNCTION nearer_of(bigint, bigint) RETURNS bigint IMMUTABLE LANGUAGE sql AS
        'SELECT CASE WHEN near($1, $2) <= 0 THEN $1 ELSE $2 END';
    CREATE AGGREGATE nearest(bigint) (SFUNC = nearer_of, STYPE = bigint, SORTOP = <|)";

#[test]
fn an_order_of_another_operator_family_is_not_the_services() {
    let live = Live::imported(Profile::Documented, 1500);
    let mut client = live.connect();
    client.batch_execute("SELECT FROM assets_fdw.verify_pushdown('assets')").unwrap();
    client.batch_execute(OTHER_ORDER).unwrap();
    for sql in [
        "SELECT abs(memory_gb - 100) FROM itsm.server WHERE memory_gb > 0 ORDER BY memory_gb USING <| LIMIT 5",
        "SELECT abs(memory_gb - 100) FROM itsm.server WHERE memory_gb > 0 ORDER BY memory_gb USING |> LIMIT 5",
        "SELECT abs(nearest(memory_gb) - 100) FROM itsm.server WHERE memory_gb > 0",
    ] {
        let found = rows(&mut client, sql);
        let plan = explain(&mut client, sql);
        assert!(!plan.contains("Order: "), "{plan}");
        assert_eq!(found, unpushed(&mut client, |client| rows(client, sql)), "{sql}");
    }
    let usual = "SELECT id FROM itsm.server ORDER BY memory_gb USING < LIMIT 5";
    assert!(explain(&mut client, usual).contains("Order: "));
}

#[test]
fn an_order_whose_attribute_is_no_number_any_more_is_made_here() {
    use assets_fdw_tests::assets_sim::Kind;
    let live = Live::imported(Profile::Documented, 600);
    let mut client = live.connect();
    client
        .batch_execute(
            "SELECT FROM assets_fdw.verify_pushdown('assets');
             SET plan_cache_mode = force_generic_plan;
             PREPARE most AS SELECT memory_gb FROM itsm.server ORDER BY memory_gb DESC NULLS LAST LIMIT 4",
        )
        .unwrap();
    let most = |client: &mut postgres::Client| -> Vec<i64> {
        client.query("EXECUTE most", &[]).unwrap().iter().map(|row| row.get(0)).collect()
    };
    let before = most(&mut client);
    // Numbers in an attribute of texts: "9" stands after "10" there.
    live.sim.change_kind("Server", "Memory GB", Kind::Text, false).unwrap();
    let mut late = live.connect();
    late.batch_execute(
        "SET plan_cache_mode = force_generic_plan;
         PREPARE most AS SELECT memory_gb FROM itsm.server ORDER BY memory_gb DESC NULLS LAST LIMIT 4",
    )
    .unwrap();
    assert_eq!(most(&mut late), before);
    assert_eq!(most(&mut client), before);
}

/// Ways in which counts fail: always with a status, or once.
const UNCOUNTED: &[(u16, Option<u32>)] = &[(403, None), (404, None), (404, Some(1)), (403, Some(1))];

#[test]
fn an_empty_page_that_says_more_follows_ends_nothing_where_counts_are_refused() {
    for profile in PROFILES {
        let live = Live::start(Options { profile, objects: 2600, ..Options::default() });
        live.sim.switches(|switches| switches.page_cap = 50);
        live.connect()
            .batch_execute(
                "CREATE FOREIGN TABLE server (key text, name text) SERVER assets
                     OPTIONS (object_schema 'ITSM', object_type 'Server')",
            )
            .unwrap();
        let expected = live.sim.count(live.sim.type_id("Server").unwrap()) as usize;
        assert!(expected > 150);
        for (status, times) in UNCOUNTED {
            for (page, strikes) in [(0, Some(1)), (0, None), (1, Some(1)), (2, None), (3, Some(1)), (3, None)]
            {
                live.sim.clear_faults();
                let refuse = Fault::new(FaultKind::Status { status: *status }).on(Endpoint::TotalCount);
                live.sim.fault(Fault { times: *times, ..refuse });
                let empty = Fault::new(FaultKind::EmptyPage).on(Endpoint::ObjectAql).after(page);
                live.sim.fault(Fault { times: strikes, ..empty });
                let what = format!("{profile:?} {status} {times:?} page {page} {strikes:?}");
                // Nothing is known yet of the service.
                match live.connect().query("SELECT key FROM server", &[]) {
                    Ok(found) => assert_eq!(found.len(), expected, "{what}"),
                    Err(error) => {
                        assert_eq!(Refusal::of(&error).code, "HV000", "{what}: {error:?}");
                        assert!(strikes.is_none(), "{what}: one empty page is read again: {error:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn one_refusal_of_a_count_after_one_that_worked_is_none() {
    let live = Live::imported(Profile::Documented, 600);
    let mut client = live.connect();
    let sql = "SELECT count(*) FROM itsm.server";
    let expected: i64 = one(&mut client, sql);
    for status in [404, 403] {
        live.sim.fault(Fault::new(FaultKind::Status { status }).on(Endpoint::TotalCount).times(1));
        live.clear_log();
        assert_eq!(one::<i64>(&mut client, sql), expected);
        let asked: Vec<Endpoint> = live.sim.log().iter().map(|entry| entry.endpoint).collect();
        assert_eq!(asked, [Endpoint::TotalCount; 2], "{status}");
        assert_eq!(live.requests(&mut client, sql), 1, "and counts are asked for as before");
    }
    // Twice in a row is one.
    live.sim.switches(|switches| switches.refuse_counts = Some(403));
    assert_eq!(one::<i64>(&mut client, sql), expected);
    live.clear_log();
    assert_eq!(one::<i64>(&mut client, sql), expected);
    assert!(live.sim.log().iter().all(|entry| entry.endpoint != Endpoint::TotalCount));
}

#[test]
fn a_restricted_account_reads_what_a_good_service_has_in_no_more_requests() {
    for total in [Total::Exact, Total::Capped, Total::Absent] {
        let live = Live::start(Options { profile: Profile::Documented, objects: 3000, ..Options::default() });
        live.sim.switches(|switches| {
            (switches.total, switches.refuse_counts) = (total, Some(403));
            (switches.last, switches.has_more_results) = (Flag::Absent, Flag::Absent);
        });
        live.import();
        let mut client = live.connect();
        let expected = live.sim.count(live.sim.type_id("Server").unwrap());
        for sql in ["SELECT key FROM itsm.server", "SELECT key FROM itsm.server WHERE name = 'no such'"] {
            let asked = live.searches_of(&mut client, sql).len() as u64;
            let pages = if sql.contains("WHERE") { 1 } else { expected.div_ceil(100) };
            assert!(asked <= pages + 2, "{total:?}: {asked} for {pages}");
        }
        assert_eq!(rows(&mut client, "SELECT key FROM itsm.server").len() as u64, expected);
    }
}

/// A part of a value that the attribute's kind lacks is NULL in every row.
#[test]
fn a_part_that_the_kind_lacks_is_counted_as_it_is_shown() {
    const CONDITIONS: [&str; 5] =
        ["x IS NULL", "x IS NOT NULL", "x = 'a'", "NOT (x = 'a')", "x IS DISTINCT FROM 'a'"];
    let live = Live::start(Options { objects: 300, ..Options::default() });
    let mut client = live.connect();
    let parts = ["label", "key", "id", "name", "account_id", "email", "category"];
    let attributes = [
        "Memory GB",
        "Virtual",
        "Purchased",
        "Last Backup",
        "Price",
        "Notes",
        "Assignee",
        "Support Group",
        "Location",
        "IP Address",
        "Maintenance Window",
        "Operating System",
    ];
    for attribute in attributes {
        for part in parts {
            let made = client.batch_execute(&format!(
                "DROP FOREIGN TABLE IF EXISTS odd;
                 CREATE FOREIGN TABLE odd (key text, x text OPTIONS (attribute '{attribute}', part '{part}'))
                     SERVER assets OPTIONS (object_schema 'ITSM', object_type 'Server')"
            ));
            made.unwrap();
            // All at once, without pushdown: FILTER is PostgreSQL's.
            let filters = CONDITIONS.map(|c| format!("count(*) FILTER (WHERE {c})")).join(", ");
            let expected = client.query_one(&format!("SELECT {filters} FROM odd"), &[]);
            for (n, condition) in CONDITIONS.iter().enumerate() {
                let sql = format!("SELECT count(*) FROM odd WHERE {condition}");
                match (client.query_one(&sql, &[]), &expected) {
                    (Ok(found), Ok(expected)) => assert_eq!(
                        found.get::<_, i64>(0),
                        expected.get::<_, i64>(n),
                        "{attribute} {part}: {sql}"
                    ),
                    (found, expected) => assert!(found.is_err() && expected.is_err(), "{attribute} {part}"),
                }
            }
        }
    }
}
