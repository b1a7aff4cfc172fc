//! A service in a bad mood: conditions that it cannot bear, pages that it cannot give, and 429 now and then.

use assets_fdw_tests::assets_sim::{Endpoint, Fault, FaultKind, LogEntry, Options, Profile};
use postgres::Client;

use crate::live::{Live, Refusal, explain, one, refused};

/// A database whose foreign server is patient for a short while, with small pages.
fn start(profile: Profile, options: &str) -> Live {
    let live = Live::start(Options { profile, objects: 1500, page_cap: 25, ..Options::default() });
    live.import();
    live.connect().batch_execute(&format!("ALTER SERVER assets OPTIONS ({options})")).unwrap();
    live
}

fn text(client: &mut Client, sql: &str) -> String {
    one::<Option<String>>(client, sql).unwrap_or_default()
}

const PLAIN: &str = "SELECT string_agg(key, ',' ORDER BY id) FROM itsm.server WHERE memory_gb >= 64";

fn with_condition(entry: &LogEntry) -> bool {
    entry.aql.as_deref().is_some_and(|aql| aql.contains("Memory GB"))
}

#[test]
fn a_condition_that_the_service_cannot_bear_is_taken_back_whatever_it_answers() {
    use FaultKind::*;
    let live = start(Profile::Documented, "ADD retry_timeout '1s'");
    let truth = text(&mut live.connect(), PLAIN);
    assert!(!truth.is_empty());
    let statuses = [500, 502, 503, 504, 403, 406, 413, 414, 422];
    let kinds = statuses.map(|status| Status { status }).into_iter().chain([ResetBefore, InvalidJson]);
    for kind in kinds {
        let (mut client, heard) = live.connect_listening();
        live.sim.fault(Fault::new(kind.clone()).about("\"Memory GB\""));
        assert_eq!(text(&mut client, PLAIN), truth, "{kind:?}");
        let warnings: Vec<String> = std::mem::take(&mut *heard.lock().unwrap());
        let warned = warnings.iter().filter(|w| w.contains("Assets refused a pushed condition")).count();
        assert_eq!(warned, 1, "{kind:?}: {warnings:?}");
        let plan = explain(&mut client, PLAIN);
        assert!(!plan.contains("Memory GB"), "{kind:?}: {plan}");
        // Remembered: neither asked nor said again.
        let searches = live.searches_of(&mut client, PLAIN);
        assert!(!searches.iter().any(with_condition), "{kind:?}");
        assert_eq!(heard.lock().unwrap().len(), 0, "{kind:?}");
        live.sim.clear_faults();
    }
}

#[test]
fn a_condition_is_taken_back_in_the_middle_of_its_rows_and_none_comes_twice() {
    let names = "SELECT array_agg(name) FROM (SELECT name FROM itsm.server ORDER BY id LIMIT 240) s";
    for profile in [Profile::Documented, Profile::Hostile] {
        let live = start(profile, "ADD retry_timeout '1s'");
        let mut client = live.connect();
        // Too long for one query, so that it is cut in several.
        let names: Vec<String> = one(&mut client, names);
        let names = names.iter().map(|name| name.replace('\'', "''"));
        let list = names.map(|name| format!("'{name}{}', '{name}'", "x".repeat(60)));
        let list = format!("name IN ({})", list.collect::<Vec<_>>().join(", "));
        let several = format!("SELECT string_agg(key, ',' ORDER BY id) FROM itsm.server WHERE {list}");
        let truth = [text(&mut client, PLAIN), text(&mut client, &several)];
        for (sql, truth, about) in [(PLAIN, &truth[0], "Memory GB"), (&several, &truth[1], "Name")] {
            for status in [500, 403] {
                for pages in [1, 2, 4] {
                    let mut client = live.connect();
                    let fault = Fault::new(FaultKind::Status { status });
                    live.sim.fault(fault.on(Endpoint::ObjectAql).about(about).after(pages));
                    assert_eq!(&text(&mut client, sql), truth, "{profile:?} {status} after {pages}");
                    live.sim.clear_faults();
                }
            }
        }
    }
}

#[test]
fn every_kind_of_node_does_without_a_condition_that_the_service_cannot_bear() {
    let live = start(Profile::Documented, "ADD retry_timeout '1s'");
    let join = "SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off; SET enable_memoize = off";
    let prepare = "SET plan_cache_mode = force_generic_plan;
                   PREPARE q(int) AS SELECT count(id + 0)::text FROM itsm.server WHERE memory_gb >= $1";
    let questions = [
        ("counted", "", "SELECT count(*)::text FROM itsm.server WHERE memory_gb >= 64", "Memory GB"),
        (
            "ordered",
            "",
            "SELECT string_agg(key, ',') FROM (
                 SELECT key FROM itsm.server WHERE memory_gb >= 64 ORDER BY updated DESC LIMIT 5) s",
            "Memory GB",
        ),
        (
            "an order",
            "",
            "SELECT string_agg(key, ',') FROM (SELECT key FROM itsm.server ORDER BY updated DESC LIMIT 5) s",
            "ORDER BY Updated",
        ),
        (
            "joined",
            join,
            "SELECT count(*) || md5(string_agg(d.key || e::text, ',' ORDER BY d.id, e.id))
               FROM itsm.department d CROSS JOIN LATERAL (SELECT * FROM itsm.employee e WHERE e.key = d.head_key) e",
            "Key =",
        ),
        ("prepared", prepare, "EXECUTE q(64)", "Memory GB"),
        (
            "either",
            "",
            "SELECT string_agg(key, ',' ORDER BY id) FROM itsm.server WHERE memory_gb >= 64 OR name LIKE 'a%'",
            "Memory GB",
        ),
        ("nothing", "", "SELECT count(id)::text FROM itsm.server WHERE name = 'no such server'", "Name"),
    ];
    for (what, before, sql, about) in questions {
        let mut client = live.connect();
        client.batch_execute(before).unwrap();
        let truth = text(&mut client, sql);
        for status in [500, 403, 503] {
            let mut client = live.connect();
            client.batch_execute(before).unwrap();
            live.sim.fault(Fault::new(FaultKind::Status { status }).about(about));
            assert_eq!(text(&mut client, sql), truth, "{what} {status}");
            assert_eq!(text(&mut client, sql), truth, "{what} {status} again");
            live.sim.clear_faults();
            assert_eq!(text(&mut client, sql), truth, "{what} {status} afterwards");
        }
    }
}

#[test]
fn of_several_conditions_only_those_are_taken_back_that_are_to_blame() {
    let live = start(Profile::Documented, "ADD retry_timeout '1s'");
    let sql = "SELECT string_agg(key, ',' ORDER BY id) FROM itsm.server WHERE memory_gb >= 64 AND operating_system = 'Debian 12'";
    let truth = text(&mut live.connect(), sql);
    let mut client = live.connect();
    live.sim.fault(Fault::new(FaultKind::Status { status: 500 }).about("Memory GB"));
    assert_eq!(text(&mut client, sql), truth);
    let plan = explain(&mut client, sql);
    assert!(plan.contains("Operating System") && !plan.contains("Memory GB"), "{plan}");
}

#[test]
fn an_outage_is_an_error_after_one_more_request_and_takes_no_condition_back() {
    let live = start(Profile::Documented, "ADD retry_timeout '1s'");
    for (status, code) in [(500, "HV00N"), (403, "28000")] {
        let mut client = live.connect();
        let truth = text(&mut client, PLAIN);
        live.sim.fault(Fault::new(FaultKind::Status { status }));
        live.clear_log();
        let refusal: Refusal = refused(&mut client, PLAIN);
        assert_eq!(refusal.code, code, "{refusal:?}");
        let log = live.sim.log();
        let searches = log.iter().filter(|entry| entry.endpoint == Endpoint::ObjectAql);
        let without = searches.filter(|entry| !with_condition(entry)).count();
        assert_eq!(without, 1, "{status}: {log:#?}");
        live.sim.clear_faults();
        assert!(explain(&mut client, PLAIN).contains("Memory GB"), "{status}");
        assert_eq!(text(&mut client, PLAIN), truth, "{status}");
    }
}

#[test]
fn a_trouble_that_passes_takes_no_condition_back() {
    let live = start(Profile::Documented, "ADD retry_timeout '20s'");
    let (mut client, heard) = live.connect_listening();
    let truth = text(&mut client, PLAIN);
    // As often as one request is sent, and no more.
    live.sim.fault(
        Fault::new(FaultKind::Status { status: 500 })
            .on(Endpoint::ObjectAql)
            .about("Memory GB")
            .after(2)
            .times(6),
    );
    assert_eq!(text(&mut client, PLAIN), truth);
    assert_eq!(*heard.lock().unwrap(), Vec::<String>::new());
    live.sim.clear_faults();
    assert!(explain(&mut client, PLAIN).contains("Memory GB"));
}

const ALL: &str = "SELECT count(*) || md5(string_agg(s::text, ',' ORDER BY id)) FROM itsm.server s";

#[test]
fn a_page_that_the_service_cannot_give_is_asked_for_with_fewer_objects() {
    use FaultKind::*;
    for (profile, kinds) in [
        (Profile::Documented, vec![Status { status: 413 }, Status { status: 504 }, Status { status: 500 }]),
        (Profile::Hostile, vec![Status { status: 413 }, TruncatedJson, ShortBody, Status { status: 502 }]),
    ] {
        for kind in kinds {
            let live = Live::start(Options { profile, objects: 1500, ..Options::default() });
            live.import();
            let mut client = live.connect();
            client.batch_execute("ALTER SERVER assets OPTIONS (ADD retry_timeout '60s')").unwrap();
            let truth = text(&mut client, ALL);
            live.sim.fault(Fault::new(kind.clone()).on(Endpoint::ObjectAql).from_size(40));
            assert_eq!(text(&mut client, ALL), truth, "{profile:?} {kind:?}");
            // What is given is known now.
            let searches = live.searches_of(&mut client, ALL);
            let first = searches[0].max_results.unwrap();
            assert!(first < 100, "{profile:?} {kind:?}: {first}");
        }
    }
}

#[test]
fn a_condition_that_no_page_is_given_for_says_nothing_of_how_long_pages_may_be() {
    let live = start(Profile::Documented, "ADD retry_timeout '5s'");
    let mut client = live.connect();
    let all = "SELECT count(memory_gb) FROM itsm.server";
    let before = live.searches_of(&mut client, all).len();
    live.sim.fault(Fault::new(FaultKind::Status { status: 413 }).on(Endpoint::ObjectAql).about("Memory GB"));
    assert!(one::<i64>(&mut client, "SELECT count(memory_gb) FROM itsm.server WHERE memory_gb >= 1") > 0);
    live.sim.clear_faults();
    assert_eq!(live.searches_of(&mut client, all).len(), before);
}

#[test]
fn a_page_that_takes_too_long_is_asked_for_with_fewer_objects() {
    let live = Live::start(Options { objects: 1500, ..Options::default() });
    live.import();
    let mut client = live.connect();
    let truth = text(&mut client, ALL);
    client
        .batch_execute("ALTER SERVER assets OPTIONS (ADD retry_timeout '20s', ADD request_timeout '1s')")
        .unwrap();
    // A page of 500 takes 10 seconds.
    live.sim.switches(|s| s.object_us = 20_000);
    assert_eq!(text(&mut client, ALL), truth);
    let log = live.sim.log();
    assert!(log.iter().any(|entry| entry.max_results == Some(500)));
    let searches = live.searches_of(&mut client, ALL);
    assert!(searches.iter().all(|entry| entry.max_results.unwrap() < 50), "{searches:#?}");
}

#[test]
fn a_service_that_answers_429_now_and_then_is_read_to_the_end() {
    for profile in [Profile::Documented, Profile::Hostile] {
        let live = start(profile, "SET requests_per_minute '0'");
        let mut client = live.connect();
        let truth = text(&mut client, ALL);
        live.sim.switches(|s| s.page_cap = 5);
        for (share, seed) in [(0.05, 1), (0.2, 2)] {
            let fault = Fault::new(FaultKind::TooMany { retry_after: None });
            live.sim.fault(fault.on(Endpoint::ObjectAql).sometimes(share, seed));
            live.clear_log();
            assert_eq!(text(&mut client, ALL), truth, "{profile:?} {share}");
            let refused = live.sim.log().iter().filter(|entry| entry.status == 429).count();
            assert!(refused > 0, "{profile:?} {share}: never refused");
            live.sim.clear_faults();
        }
    }
}

#[test]
fn a_service_that_bears_few_at_once_is_read_with_about_as_many() {
    let live = start(Profile::Documented, "SET requests_per_minute '0'");
    let mut client = live.connect();
    let truth = text(&mut client, ALL);
    live.sim.switches(|s| {
        s.bears_in_flight = 4;
        s.latency_ms = 20;
        s.page_cap = 5;
    });
    live.clear_log();
    assert_eq!(text(&mut client, ALL), truth);
    let searches = live.searches();
    let refused = searches.iter().filter(|entry| entry.status == 429).count();
    assert!(refused > 0 && refused * 6 < searches.len(), "{refused} of {}", searches.len());
}
