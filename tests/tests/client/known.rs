//! Sessions of a preloaded server begin with what the others know.

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::{Options, Sim};

const STATEMENTS: [&str; 3] = [
    "SELECT name FROM itsm.server WHERE key = (SELECT min(key) FROM known)",
    "SELECT count(*) FROM itsm.server",
    "SELECT s.name, o.name FROM itsm.server s JOIN itsm.office o ON s.location_key = o.key LIMIT 5",
];

#[test]
fn a_new_session_asks_for_rows_and_for_nothing_that_another_one_knows() {
    let sim = Sim::start(Options { objects: 600, ..Options::default() }).expect("a simulator");
    let server = Server::start(&[("shared_preload_libraries", "assets_fdw")]);
    let database = server.create_database();
    database.create_assets_server(&sim);
    let mut client = database.connect();
    client
        .batch_execute("CREATE SCHEMA itsm; IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER assets INTO itsm")
        .expect("the schema can be imported");
    client.batch_execute("CREATE TABLE known AS SELECT key FROM itsm.server LIMIT 3").unwrap();
    for sql in STATEMENTS {
        client.batch_execute(sql).unwrap();
    }
    let mut asked = Vec::new();
    for sql in STATEMENTS {
        let mut session = database.connect();
        sim.clear_log();
        session.batch_execute(sql).unwrap();
        asked.push(sim.log().len());
    }
    assert_eq!(asked, [1, 1, 2], "by key, a count, a join");
}
