//! kill -9 of everything, and restarts.

use assets_fdw_tests::Stop;
use assets_fdw_tests::assets_sim::{Endpoint, Fault, FaultKind};

use super::*;

const DIED: &str =
    "SELECT bool_or(outcome = 'failed' AND error LIKE 'the worker died%') FROM assets_fdw.refresh_history";
const RECOVERED: &str =
    "SELECT max(id) FILTER (WHERE outcome = 'ok') > max(id) FILTER (WHERE outcome = 'failed')
                         FROM assets_fdw.refresh_history";

fn stalled(sim: &Sim) {
    sim.fault(Fault::new(FaultKind::StallBefore { ms: 60_000 }).on(Endpoint::ObjectAql));
}

fn checksum(client: &mut Client) -> String {
    text(client, "SELECT md5(string_agg(s::text, '|' ORDER BY id)) FROM itsm_replica.server AS s")
}

/// A loaded replica whose next run hangs in the middle; returns the worker's process.
fn in_the_middle(client: &mut Client, sim: &Sim) -> u32 {
    loaded(client, "1 second");
    let key = text(client, "SELECT key FROM itsm.server LIMIT 1");
    stalled(sim);
    sim.update(&key, "Operating System", &["Plan 9"]).unwrap();
    wait_for(
        client,
        "a run hangs",
        "SELECT p.phase = 'fetching' AND p.running_for > '300 ms' FROM assets_fdw.refresh_progress AS p",
    );
    worker_pid(client).expect("the worker runs")
}

#[test]
fn a_killed_worker_ends_as_failed_in_the_history_and_the_next_run_goes_on() {
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    let worker = in_the_middle(&mut client, &sim);
    let before = checksum(&mut client);
    server.kill9(worker);
    sim.clear_faults();
    wait_for_anew(&server, database.name(), "the death is in the history", DIED);
    let mut client = database.connect();
    wait_for(&mut client, "the next run succeeds", RECOVERED);
    assert_ne!(checksum(&mut client), before);
    assert_eq!(differences(&mut client), 0);
}

#[test]
fn a_killed_postmaster_and_a_restart_end_the_run_and_nothing_else() {
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    in_the_middle(&mut client, &sim);
    server.kill9(server.postmaster_pid());
    drop(client);
    server.start_again();
    sim.clear_faults();
    wait_for_anew(&server, database.name(), "the death is in the history", DIED);
    wait_for_anew(&server, database.name(), "the next run succeeds", RECOVERED);

    let mut client = database.connect();
    stalled(&sim);
    wait_for(
        &mut client,
        "another run hangs",
        "SELECT count(*) > 0 FROM assets_fdw.refresh_progress WHERE phase = 'fetching' AND running_for > '300 ms'",
    );
    drop(client);
    assert!(server.stop(Stop::Fast).success(), "a run under way does not hold up a shutdown");
    sim.clear_faults();
    server.start_again();
    wait_for_anew(&server, database.name(), "the next run succeeds", RECOVERED);
    assert_eq!(differences(&mut database.connect()), 0);
}

#[test]
fn a_killed_session_that_waits_for_a_refresh_does_no_harm() {
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    loaded(&mut client, "1 hour");
    stalled(&sim);
    let mut waiting = database.connect();
    let pid: i32 = waiting.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    let thread = std::thread::spawn(move || {
        waiting.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").is_err()
    });
    wait_for(
        &mut client,
        "it runs",
        "SELECT count(*) > 0 FROM assets_fdw.refresh_progress WHERE phase = 'fetching'",
    );
    server.kill9(u32::try_from(pid).unwrap());
    assert!(thread.join().unwrap());
    sim.clear_faults();
    wait_for_anew(&server, database.name(), "the death is in the history", DIED);
    wait_for_anew(&server, database.name(), "the next run succeeds", RECOVERED);
}

#[test]
fn a_terminated_scheduler_launcher_or_worker_comes_back() {
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    loaded(&mut client, "1 second");
    for kind in ["assets_fdw scheduler", "assets_fdw launcher", "assets_fdw scheduler"] {
        let sql = format!("SELECT pid::bigint FROM pg_stat_activity WHERE backend_type = '{kind}'");
        wait_for(
            &mut client,
            kind,
            &format!("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = '{kind}'"),
        );
        let pid = number(&mut client, &sql);
        client.batch_execute(&format!("SELECT pg_terminate_backend({pid})")).unwrap();
        let back = format!(
            "SELECT count(*) = 1 AND bool_and(pid <> {pid}) FROM pg_stat_activity WHERE backend_type = '{kind}'"
        );
        wait_for(&mut client, &format!("another {kind}"), &back);
        let runs =
            number(&mut client, "SELECT count(*) FROM assets_fdw.refresh_history WHERE outcome = 'ok'");
        let more = format!("SELECT count(*) > {runs} FROM assets_fdw.refresh_history WHERE outcome = 'ok'");
        wait_for(&mut client, "refreshes go on", &more);
    }
    stalled(&sim);
    wait_for(&mut client, "a run hangs", "SELECT running_for > '300 ms' FROM assets_fdw.refresh_progress");
    let worker = worker_pid(&mut client).expect("the worker runs");
    client.batch_execute(&format!("SELECT pg_terminate_backend({worker})")).unwrap();
    sim.clear_faults();
    wait_for(&mut client, "its death is in the history", DIED);
    wait_for(&mut client, "the next run succeeds", RECOVERED);
    assert_eq!(server.crashes(), Vec::<String>::new());
}
