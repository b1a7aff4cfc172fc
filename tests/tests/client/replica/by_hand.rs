//! `refresh()` on a server without the library preloaded: everything but the schedule.

use std::time::{Duration, Instant};

use assets_fdw_tests::assets_sim::{Change, Endpoint, Fault, FaultKind};
use assets_fdw_tests::{Server, wait_until};

use super::*;

fn materialized(database: &Database, sim: &Sim) -> Client {
    let mut client = import(database, sim);
    client.batch_execute("SELECT assets_fdw.materialize('itsm.server')").unwrap();
    client
}

fn refresh(client: &mut Client) -> (i64, i64, i64, i64, i64) {
    let row = client
        .query_one(
            "SELECT seen, inserted, updated, deleted, unchanged FROM assets_fdw.refresh('itsm_replica.server', 'full')",
            &[],
        )
        .unwrap_or_else(|error| panic!("{error:?}"));
    (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4))
}

#[test]
fn a_refresh_by_hand_brings_creates_updates_and_deletes_and_touches_no_other_row() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = materialized(&database, &sim);
    let rows = number(&mut client, "SELECT count(*) FROM itsm.server");
    assert_eq!(refresh(&mut client), (rows, rows, 0, 0, 0));
    assert_eq!(differences(&mut client), 0);

    let versions =
        "SELECT string_agg(id || ':' || xmin::text || ctid::text, '|' ORDER BY id) FROM itsm_replica.server";
    let before = text(&mut client, versions);
    assert_eq!(refresh(&mut client), (rows, 0, 0, 0, rows));
    assert_eq!(text(&mut client, versions), before, "rows were written although nothing changed");

    let keys: Vec<String> = client
        .query(
            // No other server refers to them: its row would change as well.
            "SELECT key FROM itsm.server
             WHERE key NOT IN (SELECT unnest(depends_on_key) FROM itsm.server) ORDER BY id LIMIT 2",
            &[],
        )
        .unwrap()
        .iter()
        .map(|r| r.get(0))
        .collect();
    sim.update(&keys[0], "Operating System", &["Plan 9"]).unwrap();
    sim.delete(&keys[1]).unwrap();
    sim.create("Server", "srv-new", &[]).unwrap();
    // The look that ends it brings those that changed once more.
    assert_eq!(refresh(&mut client), (rows + 2, 1, 1, 1, rows - 2));
    assert_eq!(differences(&mut client), 0);
    let untouched = format!(
        "SELECT count(*) FROM unnest(string_to_array('{before}', '|')) AS v
         WHERE v IN (SELECT id || ':' || xmin::text || ctid::text FROM itsm_replica.server)"
    );
    assert_eq!(number(&mut client, &untouched), rows - 2, "only the changed rows are written");
    let outcomes = text(
        &mut client,
        "SELECT string_agg(outcome || ' ' || reason, ', ') FROM assets_fdw.refresh_history",
    );
    assert_eq!(outcomes, "ok refresh(), ok refresh(), ok refresh()");
}

#[test]
fn a_replica_is_an_ordinary_table_with_keys_indexes_and_comments() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = import(&database, &sim);
    client
        .batch_execute(
            "COMMENT ON FOREIGN TABLE itsm.server IS 'machines'; COMMENT ON COLUMN itsm.server.owner IS 'whose';
             SELECT assets_fdw.materialize('itsm.server', 'public.\"My Servers\"', indexes => '{status, \"owner, name\"}')",
        )
        .unwrap();
    let indexes = text(
        &mut client,
        "SELECT string_agg(replace(pg_get_indexdef(indexrelid), 'public.\"My Servers\" ', ''), E'\\n' ORDER BY indexrelid)
         FROM pg_index WHERE indrelid = '\"My Servers\"'::regclass",
    );
    for wanted in [
        "(id)",
        "(key)",
        "(updated)",
        "(owner_key)",
        "(location_key)",
        "gin (depends_on_key)",
        "(status)",
        "(owner, name)",
    ] {
        assert!(indexes.contains(wanted), "{wanted} is not among\n{indexes}");
    }
    let facts = text(
        &mut client,
        "SELECT obj_description('\"My Servers\"'::regclass) || ' ' || col_description('\"My Servers\"'::regclass, attnum) || ' '
                || (SELECT condeferrable::text FROM pg_constraint WHERE contype = 'u' AND conrelid = '\"My Servers\"'::regclass)
         FROM pg_attribute WHERE attrelid = '\"My Servers\"'::regclass AND attname = 'owner'",
    );
    assert_eq!(facts, "machines whose true");
}

#[test]
fn views_triggers_grants_and_own_columns_survive_refreshes() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = materialized(&database, &sim);
    client
        .batch_execute(
            "CREATE VIEW names AS SELECT name FROM itsm_replica.server;
             ALTER TABLE itsm_replica.server ADD COLUMN note text DEFAULT 'none';
             GRANT SELECT ON itsm_replica.server TO PUBLIC;
             CREATE TABLE heard (op text, who text);
             CREATE FUNCTION hear() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN INSERT INTO public.heard VALUES (tg_op, session_user); RETURN NULL; END $$;
             CREATE TRIGGER hear AFTER INSERT OR UPDATE OR DELETE ON itsm_replica.server
                 FOR EACH ROW EXECUTE FUNCTION hear()",
        )
        .unwrap();
    refresh(&mut client);
    client.batch_execute("UPDATE itsm_replica.server SET note = 'mine'; TRUNCATE heard").unwrap();
    let key = text(&mut client, "SELECT key FROM itsm.server LIMIT 1");
    sim.update(&key, "Operating System", &["Plan 9"]).unwrap();
    refresh(&mut client);
    assert_eq!(text(&mut client, "SELECT string_agg(op || ' ' || who, ',') FROM heard"), "UPDATE postgres");
    assert_eq!(number(&mut client, "SELECT count(*) FROM itsm_replica.server WHERE note <> 'mine'"), 0);
    assert_eq!(
        number(&mut client, "SELECT count(*) FROM names"),
        number(&mut client, "SELECT count(*) FROM itsm.server")
    );
}

#[test]
fn a_partitioned_table_made_beforehand_is_taken_over_and_followed() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = import(&database, &sim);
    client
        .batch_execute(
            "CREATE TABLE parts (id bigint, key text, status text, updated timestamptz, PRIMARY KEY (id)) PARTITION BY HASH (id);
             CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
             CREATE TABLE parts_1 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
             SELECT assets_fdw.materialize('itsm.server', 'parts')",
        )
        .unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('parts')").unwrap();
    let sql =
        "SELECT count(*) FROM (SELECT id, key, status, updated FROM itsm.server EXCEPT TABLE parts) AS d";
    assert_eq!(number(&mut client, sql), 0);
    let key = text(&mut client, "SELECT key FROM parts LIMIT 1");
    sim.delete(&key).unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('parts')").unwrap();
    assert_eq!(number(&mut client, &format!("SELECT count(*) FROM parts WHERE key = '{key}'")), 0);
    client
        .batch_execute("CREATE TABLE full_one (id bigint PRIMARY KEY); INSERT INTO full_one VALUES (1)")
        .unwrap();
    let (state, message) = error_of(&mut client, "SELECT assets_fdw.materialize('itsm.server', 'full_one')");
    assert!(state == "42P07" && message.contains("holds rows"), "{state} {message}");
}

#[test]
fn a_failure_in_the_middle_leaves_the_replica_as_it_was_and_is_raised_with_its_own_sqlstate() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = materialized(&database, &sim);
    refresh(&mut client);
    client.batch_execute("ALTER SERVER assets OPTIONS (ADD retry_timeout '1s')").unwrap();
    let key = text(&mut client, "SELECT key FROM itsm.server LIMIT 1");
    sim.update(&key, "Operating System", &["Plan 9"]).unwrap();
    let sql = "SELECT md5(string_agg(s::text, '|' ORDER BY id)) FROM itsm_replica.server AS s";
    let before = text(&mut client, sql);
    sim.fault(Fault::new(FaultKind::Status { status: 503 }).on(Endpoint::ObjectAql).after(1));
    let (state, message) = error_of(&mut client, "SELECT assets_fdw.refresh('itsm_replica.server', 'full')");
    assert!(state == "HV00N" && message.contains("itsm_replica.server"), "{state} {message}");
    assert_eq!(text(&mut client, sql), before);
    sim.clear_faults();
    let (_, _, updated, ..) = refresh(&mut client);
    assert_eq!(updated, 1);
    let last = text(
        &mut client,
        "SELECT string_agg(outcome || ' ' || attempt || ' ' || coalesce(sqlstate, '-'), ', ' ORDER BY id) FROM assets_fdw.refresh_history",
    );
    assert_eq!(last, "ok 1 -, failed 1 HV00N, ok 2 -");
}

#[test]
fn a_value_that_does_not_fit_stops_the_refresh_unless_the_column_says_null() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = materialized(&database, &sim);
    refresh(&mut client);
    let key = text(&mut client, "SELECT key FROM itsm.server LIMIT 1");
    sim.update(&key, "Memory GB", &["plenty"]).unwrap();
    let (state, message) = error_of(&mut client, "SELECT assets_fdw.refresh('itsm_replica.server')");
    assert!(state == "HV004" || state == "HV024" || state.starts_with("HV"), "{state}");
    assert!(
        message.contains(&key) && message.contains("plenty") && message.contains("on_invalid"),
        "{message}"
    );
    client
        .batch_execute(
            "ALTER FOREIGN TABLE itsm.server ALTER COLUMN memory_gb OPTIONS (ADD on_invalid 'null')",
        )
        .unwrap();
    refresh(&mut client);
    let sql = format!("SELECT count(*) FROM itsm_replica.server WHERE key = '{key}' AND memory_gb IS NULL");
    assert_eq!(number(&mut client, &sql), 1);
}

#[test]
fn more_deletes_than_the_share_allows_stop_the_refresh_and_a_raised_share_lets_them_through() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = materialized(&database, &sim);
    refresh(&mut client);
    let rows = number(&mut client, "SELECT count(*) FROM itsm_replica.server");
    let keys = client.query("SELECT key FROM itsm.server ORDER BY id LIMIT $1", &[&(rows / 3)]).unwrap();
    for row in &keys {
        sim.delete(row.get(0)).unwrap();
    }
    let (state, message) = error_of(&mut client, "SELECT assets_fdw.refresh('itsm_replica.server')");
    assert_eq!(state, "55000");
    let expected = format!("would delete {} of {rows} rows", rows / 3);
    assert!(message.contains(&expected) && message.contains("credential may see less"), "{message}");
    assert_eq!(number(&mut client, "SELECT count(*) FROM itsm_replica.server"), rows);
    client.batch_execute("SET assets_fdw.max_delete_share = 1").unwrap();
    let (_, _, _, deleted, _) = refresh(&mut client);
    assert_eq!(deleted, rows / 3);
    // What the foreign table itself leaves out now is no fault of the credential's, however often it is tried.
    client
        .batch_execute(
            "RESET assets_fdw.max_delete_share;
             ALTER FOREIGN TABLE itsm.server OPTIONS (ADD aql '\"Memory GB\" > 1000000')",
        )
        .unwrap();
    for _ in 0..2 {
        let (_, message) = error_of(&mut client, "SELECT assets_fdw.refresh('itsm_replica.server')");
        assert!(message.contains("option aql has changed") && !message.contains("credential"), "{message}");
    }
    client.batch_execute("SET assets_fdw.max_delete_share = 1").unwrap();
    refresh(&mut client);
    assert_eq!(number(&mut client, "SELECT count(*) FROM itsm_replica.server"), 0);
}

#[test]
fn keys_that_swap_between_objects_are_written_in_one_refresh() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = materialized(&database, &sim);
    refresh(&mut client);
    // The same as if Assets had swapped them: the replica holds them the other way round.
    client
        .batch_execute(
            "WITH two AS (SELECT id, key, lead(key) OVER w AS next, lag(key) OVER w AS previous FROM
                 (SELECT id, key FROM itsm_replica.server ORDER BY id LIMIT 2) AS t WINDOW w AS (ORDER BY id))
             UPDATE itsm_replica.server AS s SET key = coalesce(two.next, two.previous) FROM two WHERE two.id = s.id",
        )
        .unwrap();
    assert_eq!(differences(&mut client), 4);
    let (_, inserted, updated, deleted, _) = refresh(&mut client);
    assert_eq!((inserted, updated, deleted), (0, 2, 0));
    assert_eq!(differences(&mut client), 0);
}

#[test]
fn readers_see_the_state_before_or_after_a_refresh_and_never_wait() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = materialized(&database, &sim);
    refresh(&mut client);
    let keys = client.query("SELECT key FROM itsm.server", &[]).unwrap();
    let rows = i64::try_from(keys.len()).unwrap();
    for row in &keys {
        sim.update(row.get(0), "Operating System", &["Plan 9"]).unwrap();
    }
    let mut reader = database.connect();
    let mut writer = database.connect();
    let work =
        std::thread::spawn(move || writer.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')"));
    let mut seen = Vec::new();
    while seen.last() != Some(&rows) {
        let began = Instant::now();
        seen.push(number(
            &mut reader,
            "SELECT count(*) FILTER (WHERE operating_system = 'Plan 9') FROM itsm_replica.server",
        ));
        assert!(began.elapsed() < Duration::from_secs(5), "a reader waited");
        assert!(began.elapsed() < PATIENCE);
    }
    work.join().unwrap().unwrap();
    assert!(seen.iter().all(|n| *n == 0 || *n == rows), "{seen:?}");
}

#[test]
fn a_refresh_in_the_transaction_that_made_or_changed_the_replica_is_an_error_that_helps() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = import(&database, &sim);
    for sql in [
        "BEGIN; SELECT assets_fdw.materialize('itsm.server'); SELECT assets_fdw.refresh('itsm_replica.server')",
        "SELECT assets_fdw.materialize('itsm.server')",
        "BEGIN; LOCK TABLE itsm_replica.server IN SHARE MODE; SELECT assets_fdw.refresh('itsm_replica.server')",
    ] {
        if sql.starts_with("BEGIN") {
            let (state, message) = error_of(&mut client, sql);
            assert!(state == "55006" && message.contains("commit first"), "{state} {message}");
            client.batch_execute("ROLLBACK").unwrap();
        } else {
            client.batch_execute(sql).unwrap();
        }
    }
    // A lock that only the worker meets is found out while waiting.
    client.batch_execute("CREATE TABLE ledger (n int); INSERT INTO ledger VALUES (0)").unwrap();
    client
        .batch_execute(
            "CREATE FUNCTION count_up() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN UPDATE public.ledger SET n = n + 1; RETURN NULL; END $$;
             CREATE TRIGGER count_up AFTER INSERT ON itsm_replica.server EXECUTE FUNCTION count_up()",
        )
        .unwrap();
    let sql = "BEGIN; UPDATE ledger SET n = 5; SELECT assets_fdw.refresh('itsm_replica.server')";
    let (state, message) = error_of(&mut client, sql);
    assert!(state == "55006" && message.contains("commit first"), "{state} {message}");
    client.batch_execute("ROLLBACK").unwrap();
    refresh(&mut client);
    assert_eq!(number(&mut client, "SELECT n::bigint FROM ledger"), 1);
}

#[test]
fn a_refresh_that_is_cancelled_stops_its_worker_at_once_and_says_so_in_the_history() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = materialized(&database, &sim);
    sim.fault(Fault::new(FaultKind::StallBefore { ms: 60_000 }).on(Endpoint::ObjectAql));
    let mut other = database.connect();
    let token = client.cancel_token();
    let waiting = std::thread::spawn(move || {
        let error = client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap_err();
        (error.code().map(|c| c.code().to_owned()), Instant::now())
    });
    wait_for(&mut other, "the run is fetching", "SELECT phase = 'fetching' FROM assets_fdw.refresh_progress");
    let cancelled = Instant::now();
    token.cancel_query(postgres::NoTls).unwrap();
    let (code, at) = waiting.join().unwrap();
    assert_eq!(code.as_deref(), Some("57014"));
    assert!(at - cancelled < Duration::from_secs(1));
    wait_until("the worker is gone", PATIENCE, || worker_pid(&mut other).is_none());
    let row = "SELECT outcome || ' ' || sqlstate FROM assets_fdw.refresh_history";
    assert_eq!(text(&mut other, row), "failed 57014");
}

#[test]
fn a_refresh_that_is_cancelled_before_its_turn_and_one_that_nothing_may_be_written_for_say_so() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = materialized(&database, &sim);
    let mut other = database.connect();
    let row = "SELECT format('%s %s %s', outcome, sqlstate, mode IS NULL) FROM assets_fdw.refresh_history
               ORDER BY id DESC LIMIT 1";
    let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'assets_fdw refresh'
                     AND datname = current_database() AND wait_event_type = 'Lock')";
    // Whoever is cancelled, the session or its worker; or the worker is terminated.
    let token = client.cancel_token();
    for (stop, state) in [("", "57014"), ("pg_cancel_backend", "57014"), ("pg_terminate_backend", "57P01")] {
        let mut holder = database.connect();
        holder.batch_execute("BEGIN; LOCK TABLE itsm_replica.server IN SHARE MODE").unwrap();
        let (cancelled, back) = std::thread::scope(|scope| {
            let waiting =
                scope.spawn(|| error_of(&mut client, "SELECT assets_fdw.refresh('itsm_replica.server')"));
            wait_for(&mut other, "the run waits", waits);
            match stop {
                "" => token.cancel_query(postgres::NoTls).unwrap(),
                _ => {
                    let pid = worker_pid(&mut other).expect("a worker");
                    other.batch_execute(&format!("SELECT {stop}({pid})")).unwrap();
                }
            }
            let said = waiting.join().unwrap();
            wait_until("the worker is gone", PATIENCE, || worker_pid(&mut other).is_none());
            (said, text(&mut other, row))
        });
        let noted = format!("failed {state} t");
        assert_eq!((cancelled.0.as_str(), back.as_str()), (state, noted.as_str()), "{stop}: {cancelled:?}");
    }
    assert_eq!(number(&mut other, "SELECT sum(failures)::bigint FROM assets_fdw.materializations"), 0);

    let calls = [
        "refresh('itsm_replica.server')",
        "request_refresh('itsm_replica.server')",
        "alter_materialization('itsm_replica.server', enabled => false)",
        "dematerialize('itsm_replica.server')",
        "materialize('itsm.laptop')",
        "sync_schema('itsm', dry_run => false)",
        "trust_server('assets')",
        "materialize_schema('itsm', 'elsewhere')",
    ];
    for call in calls {
        let sql = format!("BEGIN READ ONLY; SELECT assets_fdw.{call}");
        let (state, said) = error_of(&mut client, &sql);
        client.batch_execute("ROLLBACK").unwrap();
        let function = call.split('(').next().unwrap();
        let wanted = format!("cannot execute assets_fdw.{function}() in a read-only transaction");
        assert_eq!((state.as_str(), said.trim()), ("25006", wanted.as_str()));
    }
    refresh(&mut client);
}

#[test]
fn a_terminated_session_takes_its_refresh_along() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = materialized(&database, &sim);
    sim.fault(Fault::new(FaultKind::StallBefore { ms: 60_000 }).on(Endpoint::ObjectAql));
    let mut other = database.connect();
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    let waiting = std::thread::spawn(move || {
        client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").is_err()
    });
    wait_for(&mut other, "the run is fetching", "SELECT phase = 'fetching' FROM assets_fdw.refresh_progress");
    other.execute("SELECT pg_terminate_backend($1)", &[&pid]).unwrap();
    assert!(waiting.join().unwrap());
    wait_until("the worker is gone", PATIENCE, || worker_pid(&mut other).is_none());
}

#[test]
fn two_refreshes_of_one_replica_take_turns() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = materialized(&database, &sim);
    sim.fault(Fault::new(FaultKind::StallBefore { ms: 300 }).on(Endpoint::ObjectAql));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let mut client = database.connect();
            std::thread::spawn(move || {
                client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')")
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap().unwrap();
    }
    let overlaps = "SELECT count(*) FROM assets_fdw.refresh_history AS a JOIN assets_fdw.refresh_history AS b
                    ON a.id < b.id AND a.started < b.finished AND b.started < a.finished";
    assert_eq!(number(&mut client, overlaps), 0);
    assert_eq!(
        number(&mut client, "SELECT count(*) FROM assets_fdw.refresh_history WHERE outcome = 'ok'"),
        3
    );
}

#[test]
fn progress_moves_towards_the_total() {
    let (sim, database) = (sim(4000), Server::shared().create_database());
    let mut client = materialized(&database, &sim);
    client.batch_execute("ALTER SERVER assets OPTIONS (ADD max_in_flight '1')").unwrap();
    sim.fault(Fault::new(FaultKind::StallBefore { ms: 150 }).on(Endpoint::ObjectAql));
    let mut other = database.connect();
    let waiting =
        std::thread::spawn(move || client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')"));
    let mut seen: Vec<i64> = Vec::new();
    wait_until("progress was seen three times", PATIENCE, || {
        let sql = "SELECT objects_done, objects_total, time_left > '0' AND time_left < '1 minute'
             FROM assets_fdw.refresh_progress WHERE phase = 'fetching'";
        if let Some(row) = other.query_opt(sql, &[]).unwrap() {
            let (done, total): (i64, Option<i64>) = (row.get(0), row.get(1));
            assert!(total.is_some_and(|total| total >= done && total > 300), "{done} of {total:?}");
            // An estimate, as soon as there is something to go by.
            let left: Option<bool> = row.get(2);
            assert_eq!(left, (done > 0 && total != Some(done)).then_some(true), "{done} of {total:?}");
            if seen.last() != Some(&done) {
                seen.push(done);
            }
        }
        seen.len() >= 3
    });
    assert!(seen.is_sorted(), "{seen:?}");
    waiting.join().unwrap().unwrap();
    assert_eq!(number(&mut other, "SELECT count(*) FROM assets_fdw.refresh_progress"), 0);
}

#[test]
fn refresh_also_answers_inside_a_repeatable_read_transaction() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = materialized(&database, &sim);
    client
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM itsm_replica.server")
        .unwrap();
    let (seen, inserted, ..) = refresh(&mut client);
    assert!(seen > 0 && seen == inserted);
    assert_eq!(number(&mut client, "SELECT count(*) FROM itsm_replica.server"), 0, "the snapshot stays");
    client.batch_execute("COMMIT").unwrap();
    assert_eq!(number(&mut client, "SELECT count(*) FROM itsm_replica.server"), seen);
}

#[test]
fn a_notification_tells_of_a_refresh_that_changed_rows_and_only_of_such() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = materialized(&database, &sim);
    client.batch_execute("LISTEN assets_fdw").unwrap();
    refresh(&mut client);
    refresh(&mut client);
    client.batch_execute("SELECT 1").unwrap();
    let mut heard = Vec::new();
    while let Some(note) = {
        use postgres::fallible_iterator::FallibleIterator;
        client.notifications().iter().next().unwrap()
    } {
        heard.push(note.payload().to_owned());
    }
    assert_eq!(heard.len(), 1, "{heard:?}");
    // Everybody hears it, so it tells no more than where those who may know find the rest.
    let run = text(&mut client, "SELECT min(id)::text FROM assets_fdw.refresh_history");
    assert_eq!(heard[0], format!("{{\"run\":{run}}}"));
}

#[test]
fn what_is_not_built_or_not_valid_is_refused_by_name() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = materialized(&database, &sim);
    client.batch_execute("CREATE TABLE plain (id bigint)").unwrap();
    for (sql, state, word) in [
        ("SELECT assets_fdw.refresh('itsm_replica.server', 'quick')", "22023", "auto, incremental, full"),
        ("SELECT assets_fdw.refresh('plain')", "42809", "is not a replica"),
        ("SELECT assets_fdw.materialize('plain')", "42809", "not a foreign table of assets_fdw"),
        ("SELECT assets_fdw.materialize('itsm.server', 't', every => '1 ms')", "22023", "between 1 second"),
        ("SELECT assets_fdw.materialize('itsm.server', 'a.b.c')", "42601", "schema.table"),
        ("SELECT assets_fdw.materialize('itsm.server', 't', indexes => '{nope}')", "42703", "nope"),
        ("SELECT assets_fdw.materialize('itsm.server')", "42710", "is a replica already"),
    ] {
        let (got, message) = error_of(&mut client, sql);
        assert!(got == state && message.contains(word), "{sql}: {got} {message}");
    }
}

#[test]
fn dematerialize_drops_the_table_or_leaves_an_ordinary_one() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = materialized(&database, &sim);
    refresh(&mut client);
    client
        .batch_execute("SELECT assets_fdw.dematerialize('itsm_replica.server', drop_table => false)")
        .unwrap();
    assert_eq!(number(&mut client, "SELECT count(*) FROM assets_fdw.materializations"), 0);
    assert!(number(&mut client, "SELECT count(*) FROM itsm_replica.server") > 0);
    client
        .batch_execute("DROP TABLE itsm_replica.server; SELECT assets_fdw.materialize('itsm.server')")
        .unwrap();
    client.batch_execute("SELECT assets_fdw.dematerialize('itsm_replica.server')").unwrap();
    assert_eq!(
        number(&mut client, "SELECT count(*) FROM pg_class WHERE oid = to_regclass('itsm_replica.server')"),
        0
    );
    assert!(number(&mut client, "SELECT count(*) FROM assets_fdw.refresh_history") > 0, "the history stays");
}

#[test]
fn without_preload_materialize_says_once_that_nothing_happens_by_itself() {
    let (sim, database) = (small(), Server::shared().create_database());
    import(&database, &sim);
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let ear = heard.clone();
    let mut config = Server::shared().config(database.name(), "postgres");
    config.notice_callback(move |notice| {
        ear.lock().unwrap().push((notice.message().to_owned(), notice.hint().map(str::to_owned)));
    });
    let mut client = config.connect(postgres::NoTls).unwrap();
    client
        .batch_execute(
            "SELECT assets_fdw.materialize('itsm.server'); SELECT assets_fdw.materialize('itsm.server', 'again');
             SELECT assets_fdw.request_refresh('again')",
        )
        .unwrap();
    let heard = heard.lock().unwrap();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(heard[0].0.contains("shared_preload_libraries") && heard[0].1.is_some());
}

#[test]
fn an_object_that_changes_between_two_pages_never_leaves_the_replica_short() {
    let (sim, database) = (sim(4000), Server::shared().create_database());
    let mut client = materialized(&database, &sim);
    let key = text(&mut client, "SELECT key FROM itsm.server ORDER BY id LIMIT 1");
    sim.between_pages(1, Change::Delete { key });
    refresh(&mut client);
    refresh(&mut client);
    assert_eq!(differences(&mut client), 0);
}
