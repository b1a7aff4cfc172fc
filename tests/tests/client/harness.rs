//! The harness itself: a test is worth nothing if its server is not what it seems, or stays behind.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use assets_fdw_tests::{Server, Stop, is_running, major, wait_until};

#[test]
fn a_server_listens_on_its_socket_only_and_runs_the_private_copy() {
    let mut client = Server::shared().connect("postgres", "postgres");
    let row = client
        .query_one(
            "SELECT current_setting('listen_addresses'), current_setting('server_version_num')::int / 10000,
                    (SELECT setting FROM pg_config WHERE name = 'PKGLIBDIR')",
            &[],
        )
        .unwrap();
    assert_eq!(row.get::<_, String>(0), "");
    assert_eq!(row.get::<_, i32>(1), i32::try_from(major()).unwrap());
    let library = Path::new(row.get::<_, &str>(2)).join("assets_fdw.so");
    assert!(library.exists(), "{} is missing", library.display());
    assert!(!library.starts_with("/usr"), "{} is the system's", library.display());
}

#[test]
fn committed_rows_survive_a_restart_and_a_killed_postmaster() {
    let server = Server::start(&[]);
    let count = |expected: i64| {
        let mut client = server.connect("postgres", "postgres");
        assert_eq!(client.query_one("SELECT count(*) FROM kept", &[]).unwrap().get::<_, i64>(0), expected);
        client.batch_execute("INSERT INTO kept DEFAULT VALUES").unwrap();
    };
    server.connect("postgres", "postgres").batch_execute("CREATE TABLE kept (n serial)").unwrap();
    count(0);
    server.restart();
    count(1);
    server.kill9(server.postmaster_pid());
    server.start_again();
    // synchronous_commit is off: the last row may be lost with the killed server, the table may not.
    let mut client = server.connect("postgres", "postgres");
    assert!(client.query_one("SELECT count(*) FROM kept", &[]).unwrap().get::<_, i64>(0) >= 1);
}

#[test]
fn a_killed_backend_is_seen_as_a_crash_and_the_server_recovers() {
    let server = Server::start(&[]);
    let mut client = server.connect("postgres", "postgres");
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    assert_eq!(server.crashes(), Vec::<String>::new());
    server.kill9(u32::try_from(pid).unwrap());
    wait_until("the server takes connections again", Duration::from_secs(30), || {
        server.crashes().len() == 1 && server.try_connect("postgres", "postgres").is_ok()
    });
}

#[test]
fn a_stopped_server_ends_without_an_error_and_a_dropped_one_leaves_no_folder() {
    let server = Server::start(&[]);
    let folder = server.socket_folder().to_owned();
    assert!(server.stop(Stop::Fast).success());
    assert!(server.try_connect("postgres", "postgres").is_err());
    server.start_again();
    let pid = server.postmaster_pid();
    drop(server);
    assert!(!folder.exists());
    assert!(!is_running(pid));
}

#[test]
fn a_killed_test_process_leaves_neither_server_nor_folder() {
    let mut holder = Command::new(env!("CARGO_BIN_EXE_hold-server"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    let pid: u32 = lines.next().unwrap().unwrap().parse().unwrap();
    let psql = lines.next().unwrap().unwrap();
    let folder = Path::new(psql.split(' ').nth(2).unwrap());
    assert!(folder.exists() && is_running(pid));
    holder.kill().unwrap();
    holder.wait().unwrap();
    wait_until("server and folder are gone", Duration::from_secs(30), || {
        !folder.exists() && !is_running(pid)
    });
}

#[test]
#[should_panic(expected = "still waiting after 10ms: pigs fly")]
fn waiting_in_vain_says_what_for() {
    wait_until("pigs fly", Duration::from_millis(10), || false);
}
