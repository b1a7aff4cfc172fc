//! One against its group: what befalls one replica is its own, and the others go on; what befalls a run is nobody's.

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::{Change, Fault, FaultKind};

use super::incremental::{group, same};
use super::together::{GROUP, seen};
use super::*;

/// Changes one object of each table of the group.
fn change_each(sim: &Sim, client: &mut Client, value: &str) {
    change(sim, client, &GROUP, value);
}

fn change(sim: &Sim, client: &mut Client, tables: &[&str], value: &str) {
    for table in tables {
        let key = text(client, &format!("SELECT key FROM itsm_replica.{table} ORDER BY id DESC LIMIT 1"));
        sim.update(&key, "Name", &[value]).unwrap();
    }
}

/// Each replica with its failures, as `name n`.
fn failures(client: &mut Client) -> String {
    text(
        client,
        "SELECT string_agg(c.relname || ' ' || m.failures, ', ' ORDER BY c.relname)
         FROM assets_fdw.materializations AS m JOIN pg_class AS c ON c.oid = m.target",
    )
}

fn note(client: &mut Client) -> String {
    let sql = "SELECT coalesce(string_agg(note, '; '), '') FROM assets_fdw.refresh_history
               WHERE outcome = 'ok' AND id >= (SELECT max(id) FROM assets_fdw.refresh_history WHERE with_run IS NULL)";
    text(client, sql)
}

#[test]
fn what_fails_at_the_commit_is_its_members_failure_whichever_way_it_fails() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = group(&database, &sim, &GROUP);
    // A row of somebody's that refers to one that is to go, checked at the commit; and triggers of that kind, one
    // of which passes on what looks like a cancel.
    let ids = "SELECT id::text FROM itsm_replica.server ORDER BY id LIMIT 1";
    let (id, key) = (
        text(&mut client, ids),
        text(&mut client, "SELECT key FROM itsm_replica.server ORDER BY id LIMIT 1"),
    );
    client
        .batch_execute(&format!(
            "CREATE TABLE public.racks (server bigint REFERENCES itsm_replica.server DEFERRABLE INITIALLY DEFERRED);
             INSERT INTO public.racks VALUES ({id});
             CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE EXCEPTION 'not today' USING ERRCODE = TG_ARGV[0]; END $$;"
        ))
        .unwrap();
    sim.delete(&key).unwrap();
    change_each(&sim, &mut client, "first");
    let count = number(&mut client, "SELECT count(*) FROM assets_fdw.refresh_history");
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.employee')").unwrap();
    assert_eq!(seen(&mut client, "first"), "employee laptop");
    assert_eq!(failures(&mut client), "employee 0, laptop 0, server 1");
    let said = note(&mut client);
    assert!(said.starts_with("without itsm_replica.server (it failed: ") && said.contains("racks"), "{said}");
    // One run, and each once.
    assert_eq!(number(&mut client, "SELECT count(*) FROM assets_fdw.refresh_history") - count, 3);
    // For the one that is asked for it is an ERROR.
    let (code, _) = error_of(&mut client, "SELECT assets_fdw.refresh('itsm_replica.server')");
    assert_eq!(code, "23503");
    client.batch_execute("DROP TABLE public.racks").unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    GROUP.iter().for_each(|table| same(&mut client, table));
    assert_eq!(failures(&mut client), "employee 0, laptop 0, server 0");

    for (n, (when, code)) in [
        ("CONSTRAINT TRIGGER t AFTER UPDATE ON {} DEFERRABLE INITIALLY DEFERRED", "57014"),
        ("TRIGGER t BEFORE UPDATE ON {}", "57014"),
        ("TRIGGER t BEFORE UPDATE ON {}", "57P01"),
        ("TRIGGER t BEFORE UPDATE ON {}", "53400"),
        ("CONSTRAINT TRIGGER t AFTER UPDATE ON {} DEFERRABLE INITIALLY DEFERRED", "28000"),
    ]
    .into_iter()
    .enumerate()
    {
        let made = when.replace("{}", "itsm_replica.laptop");
        client
            .batch_execute(&format!("CREATE {made} FOR EACH ROW EXECUTE FUNCTION public.refuse('{code}')"))
            .unwrap();
        let value = format!("round {n}");
        change_each(&sim, &mut client, &value);
        client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.employee')").unwrap();
        let shown = seen(&mut client, &value);
        assert_eq!(shown, "server employee", "{when} {code}: {}", history(&mut client));
        assert_eq!(failures(&mut client), "employee 0, laptop 1, server 0", "{when} {code}");
        client.batch_execute("DROP TRIGGER t ON itsm_replica.laptop").unwrap();
        client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.laptop')").unwrap();
        assert_eq!(seen(&mut client, &value), "server employee laptop");
    }
    GROUP.iter().for_each(|table| same(&mut client, table));
}

#[test]
fn a_neighbours_new_row_is_there_when_deferred_constraints_are_checked_and_a_commit_that_nobody_is_to_blame_for_ends()
 {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = group(&database, &sim, &GROUP);
    // Every server has as many employees as there are: checked at the commit, over rows of both.
    client
        .batch_execute(
            "CREATE TABLE public.counted (n bigint, m bigint);
             INSERT INTO public.counted SELECT (SELECT count(*) FROM itsm_replica.server), (SELECT count(*) FROM itsm_replica.employee);
             CREATE FUNCTION public.balanced() RETURNS trigger LANGUAGE plpgsql AS $$
             DECLARE servers bigint; employees bigint;
             BEGIN
                 SELECT count(*) INTO servers FROM itsm_replica.server;
                 SELECT count(*) INTO employees FROM itsm_replica.employee;
                 IF (SELECT servers - c.n <> employees - c.m FROM public.counted AS c) THEN RAISE EXCEPTION 'out of balance'; END IF;
                 RETURN NULL;
             END $$;
             CREATE CONSTRAINT TRIGGER b AFTER INSERT ON itsm_replica.server DEFERRABLE INITIALLY DEFERRED
                 FOR EACH ROW EXECUTE FUNCTION public.balanced();
             CREATE CONSTRAINT TRIGGER b AFTER INSERT ON itsm_replica.employee DEFERRABLE INITIALLY DEFERRED
                 FOR EACH ROW EXECUTE FUNCTION public.balanced();",
        )
        .unwrap();
    sim.create("Server", "srv-balanced", &[]).unwrap();
    sim.create("Employee", "Balanced", &[]).unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.laptop')").unwrap();
    assert_eq!(note(&mut client), "", "{}", history(&mut client));
    GROUP.iter().for_each(|table| same(&mut client, table));
    // A constraint of a table that is no replica's, filled by a trigger of one: found out by going one by one.
    client
        .batch_execute(
            "CREATE TABLE public.log (n int); CREATE FUNCTION public.logged() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN INSERT INTO public.log VALUES (1); RETURN NULL; END $$;
             CREATE FUNCTION public.full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the log is full'; END $$;
             CREATE TRIGGER l AFTER UPDATE ON itsm_replica.laptop FOR EACH STATEMENT EXECUTE FUNCTION public.logged();
             CREATE CONSTRAINT TRIGGER f AFTER INSERT ON public.log DEFERRABLE INITIALLY DEFERRED
                 FOR EACH ROW EXECUTE FUNCTION public.full();",
        )
        .unwrap();
    change_each(&sim, &mut client, "logged");
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    assert_eq!(seen(&mut client, "logged"), "server employee");
    assert_eq!(failures(&mut client), "employee 0, laptop 1, server 0");
    assert!(note(&mut client).contains("laptop (it failed: the log is full)"), "{}", note(&mut client));
}

/// A table with a condition of its own.
const BIG: &str = "CREATE FOREIGN TABLE itsm.big (id bigint, key text, label text) SERVER assets
                       OPTIONS (object_schema 'ITSM', object_type 'Server', aql '\"Memory GB\" > 16')";

#[test]
fn a_condition_that_the_service_refuses_is_its_own_replicas_failure() {
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    client.batch_execute(BIG).unwrap();
    for table in ["big", "server", "employee"] {
        client
            .batch_execute(&format!("SELECT assets_fdw.materialize('itsm.{table}', every => '1 second')"))
            .unwrap();
    }
    let loaded = "SELECT bool_and(last_success IS NOT NULL) FROM assets_fdw.materializations";
    wait_for(&mut client, "the first loads", loaded);
    let no = FaultKind::Answer { status: 400, body: "{\"errorMessages\":[\"no\"]}".into() };
    sim.fault(Fault::new(no).about("Memory GB"));
    let failing =
        "SELECT failures > 1 FROM assets_fdw.materializations WHERE target = 'itsm_replica.big'::regclass";
    wait_for(&mut client, "it fails", failing);
    let since = number(&mut client, "SELECT coalesce(max(id), 0) FROM assets_fdw.refresh_history");
    let go_on = format!(
        "SELECT count(*) > 4 FROM assets_fdw.refresh_history WHERE id > {since} AND outcome = 'ok' AND target = 'itsm_replica.server'"
    );
    wait_for(&mut client, "the others go on", &go_on);
    let sql = format!(
        "SELECT count(*) FROM assets_fdw.refresh_history
         WHERE id > {since} AND mode = 'full' AND target <> 'itsm_replica.big'"
    );
    assert_eq!(number(&mut client, &sql), 0, "{}", history(&mut client));
    let own = "SELECT string_agg(c.relname, ' ') FROM assets_fdw.materializations AS m JOIN pg_class AS c ON c.oid = m.target
               WHERE m.failures > 0";
    assert_eq!(text(&mut client, own), "big");
    let said =
        "SELECT bool_and(note LIKE '%itsm_replica.big (%') FROM (SELECT note FROM assets_fdw.refresh_history
                WHERE outcome = 'ok' AND with_run IS NULL ORDER BY id DESC LIMIT 3) AS n";
    assert_eq!(text(&mut client, &format!("SELECT ({said})::text")), "true");
}

/// A condition is asked about in a request of its own, some time after the objects were read.
#[test]
fn what_passes_a_condition_is_there_once_however_often_it_changed_and_however_late_that_is_asked() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = import(&database, &sim);
    client.batch_execute(BIG).unwrap();
    for table in ["big", "server"] {
        steps(
            &mut client,
            &format!(
                "SELECT assets_fdw.materialize('itsm.{table}'); SELECT assets_fdw.refresh('itsm_replica.{table}')"
            ),
        );
    }
    let key = text(&mut client, "SELECT key FROM itsm_replica.big ORDER BY id LIMIT 1");
    // Changes are asked for since some minutes ago: what is that old when it is read is older when the condition is.
    client.batch_execute("SELECT pg_sleep(1.2)").unwrap();
    sim.switches(|s| s.clock_offset_ms = -(7 * 60_000 - 1500));
    sim.update(&key, "Operating System", &["Plan 9"]).unwrap();
    sim.switches(|s| s.clock_offset_ms = 0);
    sim.fault(Fault::new(FaultKind::StallBefore { ms: 3000 }).about("objectSchemaId").times(1));
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server', 'incremental')").unwrap();
    let there = format!("SELECT count(*) FROM itsm_replica.big WHERE key = '{key}'");
    assert_eq!(number(&mut client, &there), 1, "{}", history(&mut client));
    ["big", "server"].iter().for_each(|table| same(&mut client, table));
    // It passes when it is read, does not when that is asked, and passes again in another look.
    for (first, then) in [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)] {
        sim.update(&key, "Memory GB", &["1"]).unwrap();
        client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server', 'incremental')").unwrap();
        sim.update(&key, "Memory GB", &["300"]).unwrap();
        for (after, memory) in [(first, "1"), (first + then, "400")] {
            let key = key.clone();
            sim.after_searches(after, move |apply| {
                let (attribute, values) = ("Memory GB".into(), vec![memory.into()]);
                apply(&Change::Update { key: key.clone(), attribute, values }).expect("an update");
            });
        }
        let done = client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server', 'incremental')");
        done.unwrap_or_else(|error| panic!("{first}, {then}: {error:?}"));
        sim.clear_after_searches();
        assert_eq!(note(&mut client), "", "{first}, {then}: {}", history(&mut client));
        let there = format!("SELECT count(*) FROM itsm_replica.big WHERE key = '{key}'");
        assert_eq!(number(&mut client, &there), 1, "{first}, {then}");
        ["big", "server"].iter().for_each(|table| same(&mut client, table));
    }
}

#[test]
fn whoever_is_cancelled_again_and_again_stays_with_its_group() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = group(&database, &sim, &GROUP);
    for n in 0..3 {
        change_each(&sim, &mut client, &format!("cancelled {n}"));
        sim.fault(Fault { times: Some(1), ..Fault::new(FaultKind::StallBefore { ms: 60_000 }) });
        let mut other = database.connect();
        let cancel = other.cancel_token();
        let work = std::thread::spawn(move || {
            other.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')")
        });
        wait_for(
            &mut client,
            "it is under way",
            "SELECT count(*) = 3 FROM assets_fdw.refresh_history WHERE outcome = 'running'",
        );
        cancel.cancel_query(postgres::NoTls).unwrap();
        assert!(work.join().unwrap().is_err());
        wait_for(
            &mut client,
            "nobody is under way",
            "SELECT count(*) = 0 FROM assets_fdw.refresh_history WHERE outcome = 'running'",
        );
        sim.clear_faults();
    }
    assert_eq!(failures(&mut client), "employee 0, laptop 0, server 0");
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.laptop')").unwrap();
    assert_eq!(note(&mut client), "");
    assert_eq!(seen(&mut client, "cancelled 2"), "server employee laptop");
    let apart = "SELECT count(DISTINCT xmin::text) FROM assets_fdw.replica_state";
    assert_eq!(number(&mut client, apart), 1);
}

#[test]
fn a_table_that_is_locked_against_everybody_stops_neither_its_group_nor_the_scheduler() {
    let (sim, server) = (small(), preloaded(&[("assets_fdw.max_workers", "1")]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    for table in GROUP {
        let sql = format!("SELECT assets_fdw.materialize('itsm.{table}', every => '1 second')");
        client.batch_execute(&sql).unwrap();
    }
    let loaded = "SELECT bool_and(last_success IS NOT NULL) FROM assets_fdw.materializations";
    wait_for(&mut client, "the first loads", loaded);
    let mut other = database.connect();
    other.batch_execute("BEGIN; ALTER TABLE itsm_replica.server ADD note text").unwrap();
    change(&sim, &mut client, &["employee", "laptop"], "first");
    let others = "SELECT (SELECT count(*) FROM itsm_replica.employee WHERE label = 'first')
                       + (SELECT count(*) FROM itsm_replica.laptop WHERE label = 'first') = 2";
    wait_for(&mut client, "the others go on", others);
    other.batch_execute("ROLLBACK").unwrap();
    let healthy =
        "SELECT max(failures) = 0 AND bool_and(last_error IS NULL) FROM assets_fdw.materializations";
    wait_for(&mut client, "all is well", healthy);
    // All of them at once, so that no run has anything that it could do.
    other
        .batch_execute("BEGIN; LOCK TABLE itsm_replica.server, itsm_replica.employee, itsm_replica.laptop")
        .unwrap();
    let put_off = "SELECT bool_and(last_error LIKE '%locked%') FROM assets_fdw.materializations";
    wait_for(&mut client, "all are put off", put_off);
    let quiet = "SELECT count(*) = 0 FROM assets_fdw.refresh_history WHERE outcome = 'running'";
    wait_for(&mut client, "nobody waits", quiet);
    let before = number(&mut client, "SELECT max(id) FROM assets_fdw.refresh_history");
    let asked = sim.log().len();
    client.batch_execute("SELECT pg_sleep(3)").unwrap();
    // Whoever is locked is looked at, not tried: no requests, no rows of history without end.
    assert!(sim.log().len() - asked <= 4, "{}", sim.log().len() - asked);
    assert!(number(&mut client, "SELECT max(id) FROM assets_fdw.refresh_history") - before <= 6);
    other.batch_execute("COMMIT").unwrap();
    wait_for(&mut client, "all is well again", healthy);
}
