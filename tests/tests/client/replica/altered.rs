//! What is done to a replica, to its source or to its owner while a refresh is under way: no statement waits for
//! the network, the run ends well or says why, and the next one is right.

use std::time::Instant;

use assets_fdw_tests::assets_sim::{Endpoint, Fault, FaultKind};

use super::*;

/// A loaded replica of itsm.server whose next refresh, everything compared, takes its time; the run's number.
fn under_way(client: &mut Client, sim: &Sim) -> i64 {
    loaded(client, "1 day");
    let key = text(client, "SELECT key FROM itsm_replica.server ORDER BY id LIMIT 1");
    sim.update(&key, "Operating System", &["Plan 9"]).unwrap();
    slow_run(client, sim)
}

/// Has a run begin that takes a second for its first page.
fn slow_run(client: &mut Client, sim: &Sim) -> i64 {
    sim.fault(Fault::new(FaultKind::StallBefore { ms: 1200 }).on(Endpoint::ObjectAql));
    client
        .batch_execute("SELECT assets_fdw.request_refresh(target) FROM assets_fdw.materializations")
        .unwrap();
    wait_for(
        client,
        "a run is under way",
        "SELECT count(*) > 0 FROM assets_fdw.refresh_progress WHERE phase = 'fetching'",
    );
    number(client, "SELECT max(run) FROM assets_fdw.refresh_progress")
}

/// Runs statements that nothing may hold up.
#[track_caller]
fn at_once(client: &mut Client, sql: &str) {
    let began = Instant::now();
    client.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    assert!(began.elapsed() < Duration::from_secs(1), "{sql} took {:?}", began.elapsed());
}

/// Waits for the run to end; gives its outcome and error.
fn ended(client: &mut Client, run: i64) -> String {
    let sql = format!("SELECT outcome <> 'running' FROM assets_fdw.refresh_history WHERE id = {run}");
    wait_for(client, "the run ends", &sql);
    let sql = format!(
        "SELECT outcome || coalesce(': ' || error, '') FROM assets_fdw.refresh_history WHERE id = {run}"
    );
    text(client, &sql)
}

/// How many rows differ in the columns `id`, `key` and `operating_system`.
fn different(client: &mut Client, source: &str, target: &str) -> i64 {
    let columns = "SELECT id, key, operating_system FROM";
    number(
        client,
        &format!(
            "SELECT (SELECT count(*) FROM ({columns} {source} EXCEPT {columns} {target}) AS a)
                  + (SELECT count(*) FROM ({columns} {target} EXCEPT {columns} {source}) AS b)"
        ),
    )
}

#[test]
fn a_replica_that_is_renamed_moved_or_altered_while_it_is_refreshed_is_right_afterwards() {
    let server = preloaded(&[]);
    for (alter, target, fails) in [
        ("ALTER TABLE itsm_replica.server RENAME TO machines", "itsm_replica.machines", ""),
        ("ALTER TABLE itsm_replica.server SET SCHEMA public", "public.server", ""),
        ("ALTER SCHEMA itsm_replica RENAME TO elsewhere", "elsewhere.server", ""),
        ("ALTER TABLE itsm_replica.server ADD COLUMN noted text DEFAULT 'mine'", "itsm_replica.server", ""),
        ("ALTER TABLE itsm_replica.server DROP COLUMN memory_gb", "itsm_replica.server", "memory_gb"),
        (
            "ALTER TABLE itsm_replica.server RENAME COLUMN memory_gb TO memory",
            "itsm_replica.server",
            "memory_gb",
        ),
    ] {
        let (sim, database) = (small(), server.create_database());
        let mut client = import(&database, &sim);
        let run = under_way(&mut client, &sim);
        at_once(&mut client, alter);
        sim.clear_faults();
        let outcome = ended(&mut client, run);
        let well = if fails.is_empty() {
            outcome == "ok"
        } else {
            outcome.starts_with("failed") && outcome.contains(fails)
        };
        assert!(well, "{alter}: {outcome}");
        // Nobody has to do anything: a run that failed over it is done once more.
        let good = "SELECT failures = 0 AND state = 'waiting' FROM assets_fdw.materializations";
        wait_for(&mut client, "it is well", good);
        assert_eq!(different(&mut client, "itsm.server", target), 0, "{alter}");
        let shown = text(&mut client, "SELECT target::text FROM assets_fdw.materializations");
        assert_eq!(shown, target.replace("public.", ""), "{alter}");
        assert_eq!(server.crashes(), Vec::<String>::new());
    }
}

#[test]
fn a_source_that_is_renamed_moved_or_altered_while_its_replica_is_refreshed_is_followed() {
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    let run = under_way(&mut client, &sim);
    at_once(
        &mut client,
        "ALTER FOREIGN TABLE itsm.server RENAME TO machine; ALTER SCHEMA itsm RENAME TO cmdb;
         ALTER SERVER assets RENAME TO atlas",
    );
    sim.clear_faults();
    assert_eq!(ended(&mut client, run), "ok");
    assert_eq!(different(&mut client, "cmdb.machine", "itsm_replica.server"), 0);

    let run = slow_run(&mut client, &sim);
    at_once(&mut client, "ALTER FOREIGN TABLE cmdb.machine RENAME COLUMN operating_system TO os");
    sim.clear_faults();
    assert_eq!(ended(&mut client, run), "ok");
    // The replica's column keeps its name, and goes on.
    let key = text(&mut client, "SELECT key FROM itsm_replica.server ORDER BY id LIMIT 1");
    sim.update(&key, "Operating System", &["Inferno"]).unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    let shown = format!("SELECT operating_system FROM itsm_replica.server WHERE key = '{key}'");
    assert_eq!(text(&mut client, &shown), "Inferno");
    let mode = "SELECT mode FROM assets_fdw.refresh_history ORDER BY id DESC LIMIT 1";
    assert_eq!(text(&mut client, mode), "full", "another definition");
    assert_eq!(server.crashes(), Vec::<String>::new());
}

/// What was read for one column never comes to be in another that has its name by now.
#[test]
fn columns_that_change_places_while_a_refresh_is_under_way_keep_their_values() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = super::incremental::group(&database, &sim, &["server"]);
    let key = text(&mut client, "SELECT key FROM itsm_replica.server ORDER BY id LIMIT 1");
    let swap = "ALTER TABLE itsm_replica.server RENAME operating_system TO other;
                ALTER TABLE itsm_replica.server RENAME notes TO operating_system;
                ALTER TABLE itsm_replica.server RENAME other TO notes";
    let anew =
        "ALTER TABLE itsm_replica.server DROP rack_unit; ALTER TABLE itsm_replica.server ADD rack_unit text";
    for (mode, alter, value) in [("incremental", swap, "one"), ("full", swap, "two"), ("full", anew, "three")]
    {
        sim.update(&key, "Operating System", &[value]).unwrap();
        sim.fault(Fault::new(FaultKind::StallBefore { ms: 1000 }).on(Endpoint::ObjectAql).times(1));
        let mut other = database.connect();
        let sql = format!("SELECT assets_fdw.refresh('itsm_replica.server', '{mode}')");
        let work = std::thread::spawn(move || other.batch_execute(&sql));
        let asks = "SELECT count(*) > 0 FROM assets_fdw.refresh_progress WHERE phase = 'fetching'";
        wait_for(&mut client, "the run asks", asks);
        client.batch_execute(alter).unwrap();
        let error = work.join().unwrap().expect_err(alter);
        let said = error.as_db_error().map_or("", |e| e.message()).to_owned();
        assert!(said.contains("was renamed or removed meanwhile"), "{mode} {alter}: {said}");
        client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
        let swapped = text(
            &mut client,
            "SELECT (attname = 'notes')::text FROM pg_attribute AS a
            JOIN assets_fdw.replica_column AS c ON c.target::oid = a.attrelid AND c.attnum = a.attnum
            WHERE c.source_name = 'operating_system'",
        );
        let (os, notes) =
            if swapped == "true" { ("notes", "operating_system") } else { ("operating_system", "notes") };
        let differ = format!(
            "SELECT count(*) FROM itsm.server AS f FULL JOIN itsm_replica.server AS r USING (id)
             WHERE (f.operating_system, f.notes, f.rack_unit) IS DISTINCT FROM (r.{os}, r.{notes}, r.rack_unit)"
        );
        assert_eq!(number(&mut client, &differ), 0, "{mode} {alter}");
        assert_eq!(
            text(&mut client, &format!("SELECT {os} FROM itsm_replica.server WHERE key = '{key}'")),
            value
        );
    }
}

#[test]
fn a_server_that_is_dropped_while_a_run_is_under_way_ends_the_job_and_keeps_the_rows() {
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    under_way(&mut client, &sim);
    let rows = number(&mut client, "SELECT count(*) FROM itsm_replica.server");
    at_once(&mut client, "DROP SERVER assets CASCADE");
    sim.clear_faults();
    wait_for(&mut client, "the run ends", "SELECT count(*) = 0 FROM assets_fdw.refresh_progress");
    client.batch_execute("SELECT assets_fdw.request_refresh('itsm_replica.server')").unwrap();
    wait_for(&mut client, "the job stops", "SELECT state = 'disabled' FROM assets_fdw.materializations");
    assert_eq!(number(&mut client, "SELECT count(*) FROM itsm_replica.server"), rows);
    assert_eq!(server.crashes(), Vec::<String>::new());
}

#[test]
fn an_owner_whose_things_are_dropped_while_a_run_is_under_way_is_gone_at_once_and_nothing_goes_on() {
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let mut admin = import(&database, &sim);
    let identity = &sim.identities()[0];
    admin
        .batch_execute(&format!(
            "CREATE ROLE keeper LOGIN; GRANT CREATE ON DATABASE {} TO keeper; GRANT USAGE ON SCHEMA itsm TO keeper;
             GRANT SELECT ON itsm.server TO keeper;
             CREATE USER MAPPING FOR keeper SERVER assets OPTIONS (email '{}', api_token '{}')",
            database.name(),
            identity.name,
            identity.secret
        ))
        .unwrap();
    let mut keeper = database.connect_as("keeper");
    under_way(&mut keeper, &sim);
    drop(keeper);
    at_once(&mut admin, "DROP OWNED BY keeper CASCADE; DROP USER MAPPING IF EXISTS FOR keeper SERVER assets");
    assert_eq!(number(&mut admin, "SELECT count(*) FROM assets_fdw.replica_job"), 0);
    at_once(&mut admin, "DROP ROLE keeper");
    sim.clear_faults();
    wait_for(
        &mut admin,
        "nothing is at work",
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type IN ('assets_fdw refresh', 'assets_fdw scheduler')",
    );
    assert_eq!(server.crashes(), Vec::<String>::new());
}

/// Columns find each other by name, once.
#[test]
fn renamed_columns_of_either_side_go_on_and_a_history_follows() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = import(&database, &sim);
    steps(
        &mut client,
        "SELECT assets_fdw.materialize('itsm.server', history => true);
         SELECT assets_fdw.refresh('itsm_replica.server');
         ALTER TABLE itsm_replica.server RENAME COLUMN operating_system TO os;
         ALTER TABLE itsm_replica.server ADD COLUMN operating_system text DEFAULT 'mine';
         ALTER FOREIGN TABLE itsm.server RENAME COLUMN memory_gb TO ram",
    );
    let key = text(&mut client, "SELECT key FROM itsm_replica.server ORDER BY id LIMIT 1");
    for (n, mode) in ["auto", "incremental"].iter().enumerate() {
        sim.update(&key, "Operating System", &[&format!("Plan {n}")]).unwrap();
        sim.update(&key, "Memory GB", &[&format!("{}", 100 + n)]).unwrap();
        client.batch_execute(&format!("SELECT assets_fdw.refresh('itsm_replica.server', '{mode}')")).unwrap();
        let row = format!(
            "SELECT concat_ws(' ', s.os, s.memory_gb, s.operating_system, h.os, h.memory_gb)
             FROM itsm_replica.server AS s JOIN itsm_replica.server_history AS h USING (id)
             WHERE s.key = '{key}' AND h.valid_to IS NULL"
        );
        assert_eq!(text(&mut client, &row), format!("Plan {n} {0} mine Plan {n} {0}", 100 + n));
    }
    // What happens to the attribute happens to the column.
    sim.change_kind("Server", "Operating System", assets_fdw_tests::assets_sim::Kind::Text, true).unwrap();
    client.batch_execute("SELECT assets_fdw.sync_schema('itsm', false)").unwrap();
    let types = "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attname) FROM pg_attribute
                 WHERE attrelid = 'itsm_replica.server'::regclass AND attname IN ('os', 'operating_system')";
    assert_eq!(text(&mut client, types), "operating_system text, os text[]");
}
