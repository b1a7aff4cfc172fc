//! `ALTER EXTENSION … UPDATE` under a running worker.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use assets_fdw_tests::assets_sim::{Endpoint, Fault, FaultKind};

use super::*;

/// Scripts of versions that there are not, in the private PostgreSQL as long as this lives.
struct Scripts(Vec<PathBuf>);

impl Scripts {
    fn new(scripts: &[(&str, &str, &str)]) -> Self {
        let share = assets_fdw_tests::share_folder().join("extension");
        let written = scripts.iter().map(|(from, to, sql)| {
            let path = share.join(format!("assets_fdw--{from}--{to}.sql"));
            fs::write(&path, sql).expect("the private PostgreSQL's folder can be written to");
            path
        });
        Self(written.collect())
    }
}

impl Drop for Scripts {
    fn drop(&mut self) {
        self.0.iter().for_each(|path| drop(fs::remove_file(path)));
    }
}

const THIS: &str = env!("CARGO_PKG_VERSION");
const RUNS: &str = "SELECT count(*) FROM assets_fdw.replica_run WHERE outcome = 'ok'";

/// A replica whose refresh hangs in the middle.
fn in_the_middle(client: &mut Client, sim: &Sim) {
    loaded(client, "1 second");
    sim.fault(Fault::new(FaultKind::StallBefore { ms: 1500 }).on(Endpoint::ObjectAql));
    wait_for(
        client,
        "a run is under way",
        "SELECT count(*) > 0 FROM assets_fdw.refresh_progress WHERE phase = 'fetching'",
    );
}

#[test]
fn an_update_with_the_same_tables_disturbs_no_run() {
    let next = &*format!("{}.4711", THIS.rsplit_once('.').unwrap().0);
    let _scripts = Scripts::new(&[(
        THIS,
        next,
        "CREATE FUNCTION assets_fdw.newer() RETURNS int LANGUAGE sql AS 'SELECT 1';
         ALTER TABLE assets_fdw.replica_state ADD COLUMN newer int",
    )]);
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    in_the_middle(&mut client, &sim);
    let run = number(&mut client, "SELECT max(run) FROM assets_fdw.refresh_progress");
    let began = Instant::now();
    client.batch_execute(&format!("ALTER EXTENSION assets_fdw UPDATE TO '{next}'")).unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    sim.clear_faults();
    let ended = format!("SELECT outcome = 'ok' FROM assets_fdw.refresh_history WHERE id = {run}");
    wait_for(&mut client, "the run under way", &ended);
    let more = format!("SELECT ({RUNS}) > {}", number(&mut client, RUNS));
    wait_for(&mut client, "and the next", &more);
    assert_eq!(differences(&mut client), 0);
    assert_eq!(server.crashes(), Vec::<String>::new());
}

#[test]
fn an_update_to_a_version_that_the_library_does_not_know_stops_everything_until_it_does() {
    let other = "47.11.0";
    let _scripts = Scripts::new(&[
        (THIS, other, "ALTER TABLE assets_fdw.replica_state RENAME COLUMN failures TO attempts"),
        (other, THIS, "ALTER TABLE assets_fdw.replica_state RENAME COLUMN attempts TO failures"),
    ]);
    let (sim, server) = (small(), preloaded(&[]));
    let database = server.create_database();
    let mut client = import(&database, &sim);
    in_the_middle(&mut client, &sim);
    let mut waiting = database.connect();
    let began = Instant::now();
    client.batch_execute(&format!("ALTER EXTENSION assets_fdw UPDATE TO '{other}'")).unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    sim.clear_faults();
    let said =
        format!("the extension assets_fdw is of version {other} in this database, its library of {THIS}");
    for sql in [
        "SELECT assets_fdw.refresh('itsm_replica.server')",
        "SELECT assets_fdw.request_refresh('itsm_replica.server')",
        "SELECT assets_fdw.materialize('itsm.employee')",
        "SELECT assets_fdw.sync_schema('itsm')",
    ] {
        let (state, message) = error_of(&mut waiting, sql);
        assert!(
            state == "55000" && message.contains(&said) && message.contains("ALTER EXTENSION"),
            "{state} {message}"
        );
    }
    wait_for(
        &mut client,
        "the run under way has given up",
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'assets_fdw refresh'",
    );
    wait_until("the log says so", PATIENCE, || {
        server.log_text().contains(&format!("nothing is refreshed: {said}"))
    });
    let runs = number(&mut client, RUNS);
    let scheduler = "SELECT pid::bigint FROM pg_stat_activity WHERE backend_type = 'assets_fdw scheduler'";
    let pid = number(&mut client, scheduler);
    // It has looked several times.
    let looked = format!(
        "SELECT state_change > '{}'::timestamptz + '1 second' FROM pg_stat_activity WHERE pid = {pid}",
        text(&mut client, "SELECT clock_timestamp()::text")
    );
    wait_for(&mut client, "it looks on", &looked);
    assert_eq!(number(&mut client, RUNS), runs);
    assert_eq!(server.log_text().matches("nothing is refreshed").count(), 1, "said once");
    assert!(!server.log_text().contains("does not exist"), "no table was used that may be another one");

    client.batch_execute(&format!("ALTER EXTENSION assets_fdw UPDATE TO '{THIS}'")).unwrap();
    wait_for(&mut client, "refreshes go on by themselves", &format!("SELECT ({RUNS}) > {runs}"));
    assert_eq!(differences(&mut client), 0);
    assert_eq!(server.crashes(), Vec::<String>::new());
}
