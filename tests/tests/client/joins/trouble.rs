//! Batches in trouble: faults, refusals, cancels, other sessions' updates.

use std::thread;
use std::time::Instant;

use assets_fdw_tests::assets_sim::{Endpoint, Fault, FaultKind, Options, Profile};
use assets_fdw_tests::wait_until;

use super::{batches, plan};
use crate::cancel::{AT_ONCE, PATIENCE, pid, wait_for_waiting};
use crate::live::{Live, one};

const JOIN: &str = "SELECT k.n, s.name FROM k LEFT JOIN itsm.server s USING (key)";

fn start(objects: u64) -> (Live, postgres::Client) {
    let live = Live::imported(Profile::Documented, objects);
    let mut client = live.connect();
    client
        .batch_execute(
            "CREATE TABLE k AS SELECT key, row_number() OVER (ORDER BY id)::int AS n, 0 AS seen FROM itsm.server;
             ALTER TABLE k ADD PRIMARY KEY (n); ANALYZE k; SET enable_hashjoin = off; SET enable_mergejoin = off",
        )
        .unwrap();
    (live, client)
}

#[test]
fn a_batch_that_fails_is_an_error_and_never_rows_without_a_match() {
    let (live, mut client) = start(4_000);
    let all: i64 = one(&mut client, "SELECT count(*) FROM k");
    assert!(all > 300);
    let unmatched = format!("SELECT count(*) FROM ({JOIN}) q WHERE name IS NULL");
    let of_server = one::<i64>(&mut client, "SELECT count(*) FROM itsm.server WHERE name IS NULL");
    assert_eq!(one::<i64>(&mut client, &unmatched), of_server);
    client.batch_execute("ALTER SERVER assets OPTIONS (ADD retry_timeout '1s')").unwrap();
    use FaultKind::*;
    let mut failed = 0;
    for kind in [
        Status { status: 500 },
        ResetInBody,
        TruncatedJson,
        InvalidJson,
        EmptyBody,
        WrongTypes,
        DuplicatedObject,
        ShiftedPage,
        EmptyPage,
        LostTail,
        EndlessPage,
    ] {
        for skip in [0, 1, 3] {
            live.sim.fault(Fault::new(kind.clone()).on(Endpoint::ObjectAql).after(skip));
            let found = client.query(&unmatched, &[]);
            live.sim.clear_faults();
            match found {
                Ok(rows) => assert_eq!(rows[0].get::<_, i64>(0), of_server, "{kind:?} after {skip}"),
                Err(_) => failed += 1,
            }
            assert_eq!(one::<i64>(&mut client, &unmatched), of_server, "after {kind:?}");
        }
    }
    assert!(failed > 10, "{failed}");
}

#[test]
fn a_cancel_in_a_batch_acts_at_once_and_leaves_no_request() {
    let (live, mut client) = start(1_500);
    let id = pid(&mut client);
    live.sim.fault(Fault::new(FaultKind::StallBefore { ms: 60_000 }).on(Endpoint::ObjectAql));
    let running = thread::spawn(move || {
        let failed = client.query(JOIN, &[]).is_err();
        (client, failed, Instant::now())
    });
    let mut watch = live.connect();
    wait_for_waiting(&mut watch, id);
    let asked = Instant::now();
    // Not by the client's own way: the postmaster sends that signal twice, and the second may meet the next statement.
    watch.execute("SELECT pg_cancel_backend($1)", &[&id]).unwrap();
    let (mut client, failed, ended) = running.join().unwrap();
    assert!(failed && ended - asked < AT_ONCE, "{:?}", ended - asked);
    live.sim.clear_faults();
    assert_eq!(
        one::<i64>(&mut client, &format!("SELECT count(*) FROM ({JOIN}) q")),
        one::<i64>(&mut client, "SELECT count(*) FROM k")
    );
}

#[test]
fn an_update_beside_a_batched_join_sees_what_it_would_see_without() {
    let (live, mut client) = start(800);
    for (off, sql) in [
        (
            "on",
            "UPDATE k SET seen = k.seen + 1 FROM itsm.server s WHERE s.key = k.key AND k.seen < 5 RETURNING k.n, s.key",
        ),
        (
            "on",
            "SELECT k.n, s.key, k.seen FROM k JOIN itsm.server s USING (key) WHERE k.seen < 5 FOR UPDATE OF k",
        ),
        (
            "off",
            "UPDATE k SET seen = k.seen + 1 FROM itsm.server s WHERE s.key = k.key AND k.seen < 5 RETURNING k.n, s.key",
        ),
    ] {
        client
            .batch_execute(&format!("UPDATE k SET seen = 0; SET assets_fdw.enable_batched_joins = {off}"))
            .unwrap();
        assert_eq!(batches(&plan(&mut client, &format!("EXPLAIN {sql}"))), off == "on", "{sql}");
        // Another session has changed rows, one so that it fits no more, when the statement comes to them.
        let mut other = live.connect();
        other
            .batch_execute("BEGIN; UPDATE k SET seen = 9 WHERE n = 3; UPDATE k SET seen = 2 WHERE n = 100")
            .unwrap();
        let id = pid(&mut client);
        let running = thread::spawn(move || (client.query(sql, &[]), client));
        let mut watch = live.connect();
        wait_until("the statement waits for the row", PATIENCE, || {
            one(&mut watch, &format!("SELECT count(*) = 1 FROM pg_locks WHERE pid = {id} AND NOT granted"))
        });
        other.batch_execute("COMMIT").unwrap();
        let (rows, back) = running.join().unwrap();
        client = back;
        let rows = rows.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        let numbers: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        let all: i64 = one(&mut client, "SELECT count(*) FROM k");
        assert!(!numbers.contains(&3) && numbers.contains(&100), "{sql}");
        assert_eq!(numbers.len() as i64, all - 1, "{sql}");
        if sql.starts_with("UPDATE") {
            assert_eq!(one::<i32>(&mut client, "SELECT seen FROM k WHERE n = 100"), 3, "{sql}");
        }
    }
}

#[test]
fn one_key_with_more_objects_than_memory_holds_is_read_alone() {
    let live = Live::start(Options { profile: Profile::Documented, objects: 6_000, ..Options::default() });
    live.import();
    let mut client = live.connect();
    client
        .batch_execute(
            "CREATE TABLE os AS SELECT DISTINCT operating_system AS wanted FROM itsm.server; ANALYZE os;
             SET enable_hashjoin = off; SET enable_mergejoin = off; SET work_mem = '64kB'; SET hash_mem_multiplier = 1",
        )
        .unwrap();
    let sql = "SELECT os.wanted, s.key FROM os JOIN itsm.server s ON s.operating_system = os.wanted";
    let found = one::<i64>(&mut client, &format!("SELECT count(*) FROM ({sql}) q"));
    let expected = one::<i64>(&mut client, "SELECT count(operating_system) FROM itsm.server");
    assert_eq!(found, expected);
    let shown = plan(&mut client, &format!("EXPLAIN (ANALYZE, COSTS off) {sql}"));
    assert!(batches(&shown), "{shown}");
}

#[test]
fn a_refused_clause_is_one_warning_and_right_rows() {
    let (live, mut client) = start(1_000);
    let all: i64 = one(&mut client, "SELECT count(*) FROM k");
    live.sim.switches(|s| s.in_list_limit = Some(3));
    let matched = format!("SELECT count(name) FROM ({JOIN}) q");
    let found: i64 = one(&mut client, &matched);
    assert_eq!(found, all);
}

#[test]
fn a_service_that_takes_shorter_lists_is_asked_with_shorter_ones_and_of_everything_only_below_ten() {
    let (live, mut client) = start(4_000);
    let all: i64 = one(&mut client, "SELECT count(*) FROM k");
    let joined = format!("SELECT count(name) FROM ({JOIN}) q");
    let listed = "SELECT count(name) FROM itsm.server WHERE key = ANY (ARRAY(SELECT key FROM k))";
    let counted = "SELECT count(*) FROM itsm.server WHERE key = ANY (ARRAY(SELECT key FROM k))";
    for limit in [40, 12] {
        live.sim.switches(|s| s.in_list_limit = Some(limit));
        for sql in [joined.as_str(), listed, counted] {
            // A session that does not know it yet; it says nothing of it, and then nothing is refused any more.
            let (mut client, heard) = live.connect_listening();
            assert_eq!(one::<i64>(&mut client, sql), all, "{limit}: {sql}");
            live.clear_log();
            assert_eq!(one::<i64>(&mut client, sql), all, "{limit}: {sql}");
            let log = live.sim.log();
            let searches = || log.iter().filter(|entry| entry.endpoint == Endpoint::ObjectAql);
            assert!(searches().all(|entry| entry.status == 200), "{limit}: {sql}");
            assert!(
                searches().all(|entry| entry.aql.as_deref().is_some_and(|aql| aql.contains(" in ("))),
                "{sql}"
            );
            assert_eq!(*heard.lock().unwrap(), Vec::<String>::new(), "{limit}: {sql}");
        }
    }
    live.sim.switches(|s| s.in_list_limit = Some(5));
    let (mut client, heard) = live.connect_listening();
    assert_eq!(one::<i64>(&mut client, listed), all);
    assert!(heard.lock().unwrap().iter().any(|notice| notice.contains("refused")));
}

#[test]
fn keys_that_find_nothing_are_counted_as_memory_too() {
    let (_live, mut client) = start(2_500);
    client
        .batch_execute(
            "CREATE TABLE many AS SELECT 'ITSM-9' || lpad(g::text, 60, '0') AS key, g AS n FROM generate_series(1, 4000) g;
             ANALYZE many; SET work_mem = '64kB'; SET hash_mem_multiplier = 1",
        )
        .unwrap();
    let joined = |rows: &str| {
        format!(
            "SELECT m.n, s.name FROM ({rows}) m LEFT JOIN LATERAL
                 (SELECT name FROM itsm.server s WHERE s.key = m.key OFFSET 0) s ON true"
        )
    };
    let once = plan(&mut client, &format!("EXPLAIN (ANALYZE, COSTS off) {}", joined("TABLE many")));
    assert!(batches(&once), "{once}");
    // What is known is bounded: the same keys again are asked for again.
    let count = |shown: &str| -> u64 {
        let line = shown.lines().find(|line| line.contains("Batches: ")).expect("batches");
        line.split(": ").nth(1).and_then(|n| n.trim().parse().ok()).expect("a number")
    };
    let rows = "TABLE many UNION ALL TABLE many";
    let twice = plan(&mut client, &format!("EXPLAIN (ANALYZE, COSTS off) {}", joined(rows)));
    assert!(count(&twice) + 2 >= 2 * count(&once), "{once}\n{twice}");
}
