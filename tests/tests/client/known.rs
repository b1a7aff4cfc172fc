//! Sessions of a preloaded server begin with what the others know.

use assets_fdw_tests::assets_sim::{Credential, Kind, Options, Sim};
use assets_fdw_tests::{Database, Server};

const STATEMENTS: [&str; 3] = [
    "SELECT name FROM itsm.server WHERE key = (SELECT min(key) FROM known)",
    "SELECT count(*) FROM itsm.server",
    "SELECT s.name, e.name FROM itsm.server s JOIN itsm.employee e ON s.owner_key = e.key LIMIT 5",
];

fn preloaded() -> Server {
    Server::start(&[("shared_preload_libraries", "assets_fdw")])
}

fn import<'a>(server: &'a Server, sim: &Sim) -> Database<'a> {
    let database = server.create_database();
    database.create_assets_server(sim);
    let sql = "CREATE SCHEMA itsm; IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER assets INTO itsm";
    database.connect().batch_execute(sql).expect("the schema can be imported");
    database
}

fn simulator() -> Sim {
    Sim::start(Options { objects: 300, ..Options::default() }).expect("a simulator")
}

#[test]
fn a_new_session_asks_for_rows_and_for_nothing_that_another_one_of_its_identity_knows() {
    let (sim, server) = (simulator(), preloaded());
    let database = import(&server, &sim);
    let mut client = database.connect();
    client.batch_execute("CREATE TABLE known AS SELECT key FROM itsm.server LIMIT 3").unwrap();
    for sql in STATEMENTS {
        client.batch_execute(sql).unwrap();
    }
    let asked_by_a_new_session = |sql: &str| {
        let mut session = database.connect();
        sim.clear_log();
        session.batch_execute(sql).unwrap();
        sim.log().len()
    };
    assert_eq!(STATEMENTS.map(asked_by_a_new_session), [1, 1, 2], "by key, a count, a join");
    // A backend that is killed takes everybody's memory along; ours is not PostgreSQL's.
    let mut victim = database.connect();
    let pid: i32 = victim.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    server.kill9(u32::try_from(pid).unwrap());
    assets_fdw_tests::wait_until("the server is back", std::time::Duration::from_secs(30), || {
        server.try_connect(database.name(), "postgres").is_ok()
    });
    assert_eq!(asked_by_a_new_session(STATEMENTS[1]), 1);
    // Somebody else is not told.
    let other = &sim.identities()[1];
    assert_ne!(other.credential, Credential::Client);
    let sql = format!(
        "ALTER USER MAPPING FOR postgres SERVER assets OPTIONS (SET email '{}', SET api_token '{}')",
        other.name, other.secret
    );
    database.connect().batch_execute(&sql).unwrap();
    assert!(asked_by_a_new_session(STATEMENTS[1]) > 3);
}

#[test]
fn what_others_knew_before_it_changed_loses_no_row() {
    let server = preloaded();
    for sql in [
        "SELECT string_agg(key, ' ' ORDER BY id) FROM itsm.server WHERE memory_gb >= 128",
        "SELECT count(*)::text FROM itsm.server WHERE memory_gb >= 128",
        "SELECT string_agg(s.key, ' ' ORDER BY s.id) FROM (VALUES (64), (128), (256)) v(g)
             JOIN itsm.server s ON memory_gb = g",
        "SELECT string_agg(key, ' ' ORDER BY id) FROM itsm.server WHERE memory_gb IS NULL",
    ] {
        for value in ["7", "512"] {
            let sim = simulator();
            let database = import(&server, &sim);
            let ask = || database.connect().query_one(sql, &[]).unwrap().get::<_, Option<String>>(0);
            let before = ask();
            sim.rename_attribute("Server", "Memory GB", "RAM").unwrap();
            sim.add_attribute("Server", "Memory GB", Kind::Integer, false).unwrap();
            let changed = sim.dump(sim.type_id("Server").unwrap())[0].key.clone();
            sim.update(&changed, "Memory GB", &[value]).unwrap();
            assert_eq!(ask(), before, "{value}: {sql}");
        }
    }
}
