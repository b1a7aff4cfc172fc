//! A stored secret goes nowhere but where it was set for, and a connection nowhere but where the administrator lets it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use assets_fdw_tests::assets_sim::{Identity, Options, Sim};
use assets_fdw_tests::{Database, Server, wait_until};
use postgres::Client;

use crate::live::{Live, Refusal, one, refused};

const COUNT: &str = "SELECT assets_fdw.count('assets', '')";

/// A server of the role `…_mallory` that leads to a simulator, and `…_alice`, who has a mapping.
struct Town<'a> {
    sim: Sim,
    database: Database<'a>,
    alice: String,
    mallory: String,
}

fn mapping(verb: &str, role: &str, identity: &Identity) -> String {
    format!(
        "{verb} USER MAPPING FOR {role} SERVER assets OPTIONS (email '{}', api_token '{}')",
        identity.name, identity.secret
    )
}

impl<'a> Town<'a> {
    fn new(server: &'a Server) -> Town<'a> {
        let sim = Sim::start(Options { objects: 300, ..Options::default() }).expect("a simulator");
        let database = server.create_database();
        let name = database.name().to_owned();
        let (alice, mallory) = (format!("{name}_alice"), format!("{name}_mallory"));
        database
            .connect()
            .batch_execute(&format!(
                "CREATE ROLE {alice} LOGIN; CREATE ROLE {mallory} LOGIN;
                 GRANT USAGE ON FOREIGN DATA WRAPPER assets_fdw TO {mallory};
                 ALTER DATABASE {name} SET assets_fdw.allowed_hosts = '127.0.0.1, *.atlassian.com'"
            ))
            .unwrap();
        let town = Town { sim, database, alice, mallory };
        town.mallory()
            .batch_execute(&format!(
                "CREATE SERVER assets FOREIGN DATA WRAPPER assets_fdw OPTIONS (site '{}');
                 GRANT USAGE ON FOREIGN SERVER assets TO {}",
                town.sim.url(),
                town.alice
            ))
            .unwrap();
        let set = mapping("CREATE", &town.alice, &town.sim.identities()[0]);
        town.alice().batch_execute(&set).unwrap();
        town
    }

    fn alice(&self) -> Client {
        self.database.connect_as(&self.alice)
    }

    fn mallory(&self) -> Client {
        self.database.connect_as(&self.mallory)
    }
}

/// Somebody who writes down whatever is sent, and answers nothing useful.
struct Listener {
    url: String,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Listener {
    fn start() -> Listener {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = heard.clone();
        std::thread::spawn(move || {
            for mut connection in listener.incoming().flatten() {
                let mut bytes = [0; 8192];
                let length = connection.read(&mut bytes).unwrap_or(0);
                ear.lock().unwrap().extend_from_slice(&bytes[..length]);
                let _ = connection
                    .write_all(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        Listener { url, heard }
    }

    fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().unwrap()).into_owned()
    }
}

#[track_caller]
fn refused_elsewhere(client: &mut Client, server: &str) -> Refusal {
    let refusal = refused(client, &format!("SELECT assets_fdw.count('{server}', '')"));
    assert_eq!(refusal.code, "28000", "{refusal:?}");
    assert!(refusal.message.contains("was not set for where"), "{refusal:?}");
    assert!(refusal.hint.contains("ALTER USER MAPPING"), "{refusal:?}");
    refusal
}

#[test]
fn a_server_that_leads_elsewhere_takes_nobodys_secret_along() {
    let town = Town::new(Server::shared());
    let evil = Listener::start();
    let (mut alice, mut mallory) = (town.alice(), town.mallory());
    assert_eq!(one::<i64>(&mut alice, COUNT), 300);
    for (change, back) in [
        ("SET site '@'", format!("SET site '{}'", town.sim.url())),
        ("ADD api_url '@'", "DROP api_url".to_owned()),
        ("ADD auth_url '@'", "DROP auth_url".to_owned()),
        ("ADD workspace_id 'w', DROP site, ADD api_url '@'", {
            format!("DROP workspace_id, ADD site '{}', DROP api_url", town.sim.url())
        }),
    ] {
        let change = change.replace('@', &evil.url);
        mallory.batch_execute(&format!("ALTER SERVER assets OPTIONS ({change})")).unwrap();
        for client in [&mut alice, &mut town.alice()] {
            let refusal = refused_elsewhere(client, "assets");
            assert!(refusal.detail.contains(&town.sim.url()), "{refusal:?}");
            assert!(refusal.detail.contains(&evil.url), "{refusal:?}");
        }
        mallory.batch_execute(&format!("ALTER SERVER assets OPTIONS ({back})")).unwrap();
        assert_eq!(one::<i64>(&mut alice, COUNT), 300, "{back}");
    }
    assert_eq!(evil.heard(), "");
}

#[test]
fn whoever_owns_the_server_cannot_renew_the_trust_in_anothers_secret() {
    let town = Town::new(Server::shared());
    let evil = Listener::start();
    let (mut alice, mut mallory) = (town.alice(), town.mallory());
    let role = &town.alice;
    let lead_astray = format!("ALTER SERVER assets OPTIONS (SET site '{}')", evil.url);
    mallory.batch_execute(&lead_astray).unwrap();
    // The owner may alter everybody's mapping; the secret in it is still Alice's.
    for sql in [
        format!("ALTER USER MAPPING FOR {role} SERVER assets OPTIONS (SET email 'another@example.com')"),
        format!("CREATE USER MAPPING IF NOT EXISTS FOR {role} SERVER assets OPTIONS (access_token 'mine')"),
        "GRANT USAGE ON FOREIGN SERVER assets TO PUBLIC".to_owned(),
        "ALTER SERVER assets VERSION '2'".to_owned(),
    ] {
        mallory.batch_execute(&sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        refused_elsewhere(&mut alice, "assets");
    }
    // Another server, made for elsewhere from the start, and the two change their names.
    mallory
        .batch_execute(&format!(
            "CREATE SERVER other FOREIGN DATA WRAPPER assets_fdw OPTIONS (site '{}');
             GRANT USAGE ON FOREIGN SERVER other TO PUBLIC;
             CREATE USER MAPPING FOR {role} SERVER other OPTIONS (access_token 'mine');
             ALTER SERVER assets RENAME TO once; ALTER SERVER other RENAME TO assets;
             ALTER SERVER assets RENAME TO other; ALTER SERVER once RENAME TO assets",
            evil.url
        ))
        .unwrap();
    refused_elsewhere(&mut alice, "assets");
    for sql in [
        "SELECT assets_fdw.trust_server('assets')",
        "SELECT * FROM assets_fdw.mapping_origin",
        "DELETE FROM assets_fdw.mapping_origin",
        "INSERT INTO assets_fdw.mapping_origin VALUES ('assets', 0, 'public', 0, 'a', 'b', 'c')",
        "SELECT assets_fdw.mapping_made()",
        "ALTER EVENT TRIGGER assets_fdw_mapping_made DISABLE",
    ] {
        let refusal = refused(&mut mallory, sql);
        assert!(["42501", "0A000"].contains(&refusal.code.as_str()), "{sql}: {refusal:?}");
    }
    assert_eq!(evil.heard(), "");
}

#[test]
fn a_secret_that_is_set_again_is_trusted_where_the_server_leads_now() {
    let town = Town::new(Server::shared());
    let moved = Sim::start(Options { objects: 40, ..Options::default() }).expect("a simulator");
    let (mut alice, mut mallory) = (town.alice(), town.mallory());
    mallory.batch_execute(&format!("ALTER SERVER assets OPTIONS (SET site '{}')", moved.url())).unwrap();
    refused_elsewhere(&mut alice, "assets");
    let secret = town.sim.identities()[0].secret;
    let again =
        format!("ALTER USER MAPPING FOR {} SERVER assets OPTIONS (SET api_token '{secret}')", town.alice);
    alice.batch_execute(&again).unwrap();
    assert_eq!(one::<i64>(&mut alice, COUNT), 40);
    // From here on it is the old place that is another.
    mallory.batch_execute(&format!("ALTER SERVER assets OPTIONS (SET site '{}')", town.sim.url())).unwrap();
    refused_elsewhere(&mut alice, "assets");
    // A statement that is rolled back has set nothing.
    alice.batch_execute(&format!("BEGIN; {again}; ROLLBACK")).unwrap();
    refused_elsewhere(&mut alice, "assets");
    // Dropped and made anew is set again too; and a superuser can say it for all.
    let anew = mapping("CREATE", &town.alice, &town.sim.identities()[0]);
    alice.batch_execute(&format!("DROP USER MAPPING FOR {} SERVER assets; {anew}", town.alice)).unwrap();
    assert_eq!(one::<i64>(&mut alice, COUNT), 300);
    mallory.batch_execute(&format!("ALTER SERVER assets OPTIONS (SET site '{}')", moved.url())).unwrap();
    refused_elsewhere(&mut alice, "assets");
    assert_eq!(one::<i64>(&mut town.database.connect(), "SELECT assets_fdw.trust_server('assets')"), 1);
    assert_eq!(one::<i64>(&mut alice, COUNT), 40);
    // Nothing is kept of what is gone.
    let kept = "SELECT count(*) FROM assets_fdw.mapping_origin";
    assert_eq!(one::<i64>(&mut town.database.connect(), kept), 1);
    mallory.batch_execute("DROP SERVER assets CASCADE").unwrap();
    assert_eq!(one::<i64>(&mut town.database.connect(), kept), 0);
}

#[test]
fn a_superusers_own_mapping_and_a_mapping_for_public_are_no_exception() {
    let live = Live::start(Options { objects: 300, ..Options::default() });
    let evil = Listener::start();
    let mut client = live.connect();
    let role = format!("{}_guest", live.database.name());
    let public = mapping("CREATE", "PUBLIC", &live.sim.identities()[0]);
    client
        .batch_execute(&format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON FOREIGN SERVER assets TO {role}; {public}"
        ))
        .unwrap();
    let mut guest = live.database.connect_as(&role);
    assert_eq!(one::<i64>(&mut guest, COUNT), 300);
    client.batch_execute(&format!("ALTER SERVER assets OPTIONS (SET site '{}')", evil.url)).unwrap();
    refused_elsewhere(&mut client, "assets");
    refused_elsewhere(&mut guest, "assets");
    assert_eq!(evil.heard(), "");
}

#[test]
fn without_a_record_nothing_is_sent() {
    let live = Live::start(Options { objects: 300, ..Options::default() });
    let mut client = live.connect();
    assert_eq!(one::<i64>(&mut client, COUNT), 300);
    // A mapping from before the table, or one that was made while somebody had the event trigger disabled.
    client.batch_execute("DELETE FROM assets_fdw.mapping_origin").unwrap();
    live.sim.clear_log();
    let refusal = refused_elsewhere(&mut live.connect(), "assets");
    assert!(refusal.detail.contains("Nothing tells"), "{refusal:?}");
    let remake = format!(
        "DROP USER MAPPING FOR postgres SERVER assets; {}",
        mapping("CREATE", "postgres", &live.sim.identities()[0])
    );
    client.batch_execute(&format!("ALTER EVENT TRIGGER assets_fdw_mapping_made DISABLE; {remake}")).unwrap();
    refused_elsewhere(&mut client, "assets");
    assert_eq!(live.sim.log().len(), 0);
    client.batch_execute(&format!("ALTER EVENT TRIGGER assets_fdw_mapping_made ENABLE; {remake}")).unwrap();
    assert_eq!(one::<i64>(&mut client, COUNT), 300);
}

#[test]
fn check_says_that_a_secret_is_withheld_and_sends_none() {
    let live = Live::start(Options { objects: 300, ..Options::default() });
    let evil = Listener::start();
    let mut client = live.connect();
    client.batch_execute(&format!("ALTER SERVER assets OPTIONS (SET site '{}')", evil.url)).unwrap();
    let steps =
        client.query("SELECT step, status, detail, hint FROM assets_fdw.check('assets')", &[]).unwrap();
    let credential = steps.iter().find(|row| row.get::<_, &str>(0) == "credential").expect("the step");
    assert_eq!(credential.get::<_, &str>(1), "fail");
    assert!(credential.get::<_, &str>(3).contains("ALTER USER MAPPING"), "{credential:?}");
    let heard = evil.heard();
    assert!(
        heard.contains("GET /_edge/tenant_info") && !heard.to_lowercase().contains("authorization"),
        "{heard}"
    );
}

#[test]
fn another_wrappers_mappings_are_left_alone() {
    let database = Server::shared().create_database();
    let mut client = database.connect();
    client
        .batch_execute(
            "CREATE FOREIGN DATA WRAPPER other; CREATE SERVER theirs FOREIGN DATA WRAPPER other;
             CREATE USER MAPPING FOR PUBLIC SERVER theirs OPTIONS (password 'x');
             ALTER USER MAPPING FOR PUBLIC SERVER theirs OPTIONS (SET password 'y');
             ALTER SERVER theirs VERSION '2'; DROP SERVER theirs CASCADE",
        )
        .unwrap();
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM assets_fdw.mapping_origin"), 0);
}

#[test]
fn a_dump_takes_along_where_secrets_were_set_for() {
    let server = Server::shared();
    let live = Live::start(Options { objects: 300, ..Options::default() });
    let evil = Listener::start();
    let mut client = live.connect();
    client
        .batch_execute(&format!(
            "CREATE SERVER moved FOREIGN DATA WRAPPER assets_fdw OPTIONS (site '{}', requests_per_minute '0');
             {};
             ALTER SERVER moved OPTIONS (SET site '{}'); ALTER SERVER moved RENAME TO astray",
            live.sim.url(),
            mapping("CREATE", "postgres", &live.sim.identities()[0]).replace("SERVER assets", "SERVER moved"),
            evil.url
        ))
        .unwrap();
    refused_elsewhere(&mut client, "astray");
    let copy = server.create_empty_database();
    let dump = server.command("pg_dump").args(["-d", live.database.name()]).output().expect("pg_dump");
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let mut psql = server.psql_command();
    let mut restore = psql
        .args(["-q", "-v", "ON_ERROR_STOP=1", "-d", copy.name()])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("psql");
    restore.stdin.take().expect("a pipe").write_all(&dump.stdout).unwrap();
    assert!(restore.wait().unwrap().success());
    let mut restored = copy.connect();
    assert_eq!(one::<i64>(&mut restored, COUNT), 300);
    refused_elsewhere(&mut restored, "astray");
    assert_eq!(evil.heard(), "");
}

#[test]
fn after_pg_upgrade_secrets_go_where_they_were_set_for_and_nowhere_else() {
    let settings = [("shared_preload_libraries", "assets_fdw"), ("assets_fdw.naptime", "100ms")];
    let server = Server::start(&settings);
    let town = Town::new(&server);
    let evil = Listener::start();
    let mut mallory = town.mallory();
    // Servers of Mallory's: one that leads elsewhere by now, one that was renamed, and one that takes PUBLIC along.
    for name in ["astray", "renamed", "open"] {
        mallory
            .batch_execute(&format!(
                "CREATE SERVER {name} FOREIGN DATA WRAPPER assets_fdw OPTIONS (site '{}');
                 GRANT USAGE ON FOREIGN SERVER {name} TO {}",
                town.sim.url(),
                town.alice
            ))
            .unwrap();
        let role = if name == "open" { "PUBLIC" } else { &town.alice };
        let set = mapping("CREATE", role, &town.sim.identities()[0]).replace("assets", name);
        if name == "open" { mallory.batch_execute(&set) } else { town.alice().batch_execute(&set) }.unwrap();
    }
    mallory
        .batch_execute(&format!(
            "ALTER SERVER astray OPTIONS (SET site '{}'); ALTER SERVER renamed RENAME TO other",
            evil.url
        ))
        .unwrap();
    // A role may be called otherwise by then; and there is a job, whose worker leaves the upgrade alone.
    let (name, carol) = (town.database.name(), format!("{}_carol", town.database.name()));
    let mut admin = town.database.connect();
    admin
        .batch_execute(&format!(
            "ALTER ROLE {} RENAME TO {carol}; CREATE SCHEMA s AUTHORIZATION {carol};
             GRANT CREATE ON DATABASE {name} TO {carol}; SET SESSION AUTHORIZATION {carol};
             IMPORT FOREIGN SCHEMA \"ITSM\" LIMIT TO (vendor) FROM SERVER assets INTO s;
             SELECT assets_fdw.materialize('s.vendor', 's.copy', every => '1 second');
             CREATE SCHEMA fac; IMPORT FOREIGN SCHEMA \"FAC\" FROM SERVER assets INTO fac;
             SELECT assets_fdw.materialize_schema('fac', 'copies', every => '1 year')",
            town.alice
        ))
        .unwrap();
    let loads = "SELECT count(*) FROM assets_fdw.refresh_history WHERE outcome = 'ok'";
    wait_until("the replica is loaded", Duration::from_secs(60), || one::<i64>(&mut admin, loads) > 0);
    drop((admin, mallory));
    let Some(new) = server.upgraded(&settings) else {
        return println!("NOT TRIED: this PostgreSQL lacks pg_upgrade");
    };
    let mut carols = new.connect(name, &carol);
    let count = |name: &str| COUNT.replace("assets'", &format!("{name}'"));
    for name in ["assets", "other", "open"] {
        assert_eq!(one::<i64>(&mut carols, &count(name)), 300, "{name}");
    }
    refused_elsewhere(&mut carols, "astray");
    let mut mallorys = new.connect(name, &town.mallory);
    assert_eq!(one::<i64>(&mut mallorys, &count("open")), 300);
    // What was kept goes on following its servers: names change places, and the one that leads astray stays refused.
    mallorys
        .batch_execute("ALTER SERVER astray RENAME TO x; ALTER SERVER other RENAME TO astray; ALTER SERVER x RENAME TO other")
        .unwrap();
    assert_eq!(one::<i64>(&mut carols, &count("astray")), 300);
    refused_elsewhere(&mut carols, "other");
    let mut admin = new.connect(name, "postgres");
    let state = "SELECT state FROM assets_fdw.materializations WHERE target = 's.copy'::regclass";
    assert_eq!(
        one::<String>(&mut admin, state),
        "paused",
        "another cluster: the old one may still be running"
    );
    carols.batch_execute("SELECT assets_fdw.alter_materialization('s.copy', enabled => true)").unwrap();
    let before = one::<i64>(&mut admin, loads);
    wait_until("the job goes on", Duration::from_secs(60), || one::<i64>(&mut admin, loads) > before);
    // A schema that was imported as a whole is one still, also under another name.
    town.sim.add_type("FAC", "Fountain", None).unwrap();
    carols.batch_execute("ALTER SCHEMA fac RENAME TO premises").unwrap();
    let made = carols.query("SELECT statement FROM assets_fdw.sync_schema('premises', false)", &[]).unwrap();
    let made: Vec<String> = made.iter().map(|row| row.get(0)).collect();
    assert!(made.len() == 2 && made[0].contains("\"premises\".\"fountain\""), "{made:#?}");
    assert!(made[1].contains("copies"), "{made:#?}");
    let schemas =
        "SELECT string_agg(source_schema::text || ' ' || state, ',') FROM assets_fdw.materialized_schemas";
    assert_eq!(one::<String>(&mut carols, schemas), "premises paused");
    mallorys.batch_execute("DROP SERVER open CASCADE").unwrap();
    assert_eq!(one::<i64>(&mut admin, "SELECT count(*) FROM assets_fdw.mapping_origin"), 3);
    assert_eq!(evil.heard(), "");
    assert_eq!(new.crashes(), Vec::<String>::new());
}

#[test]
fn a_standby_sends_secrets_where_they_were_set_for_and_nowhere_else() {
    let server = Server::start(&[]);
    let town = Town::new(&server);
    let evil = Listener::start();
    let standby = server.standby();
    let mut alice = standby.connect(town.database.name(), &town.alice);
    assert!(one::<bool>(&mut alice, "SELECT pg_is_in_recovery()"));
    assert_eq!(one::<i64>(&mut alice, COUNT), 300);
    town.mallory().batch_execute(&format!("ALTER SERVER assets OPTIONS (SET site '{}')", evil.url)).unwrap();
    let mut admin = standby.connect(town.database.name(), "postgres");
    wait_until("the standby has the change", Duration::from_secs(60), || {
        let sql = format!("SELECT srvoptions::text LIKE '%{}%' FROM pg_foreign_server", evil.url);
        one::<bool>(&mut admin, &sql)
    });
    refused_elsewhere(&mut alice, "assets");
    refused_elsewhere(&mut standby.connect(town.database.name(), &town.alice), "assets");
    assert_eq!(evil.heard(), "");
}

#[test]
fn a_server_leads_to_allowed_hosts_only() {
    let database = Server::shared().create_database();
    let mut admin = database.connect();
    let role = format!("{}_owner", database.name());
    admin
        .batch_execute(&format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON FOREIGN DATA WRAPPER assets_fdw TO {role}"
        ))
        .unwrap();
    let create =
        |site: &str| format!("CREATE SERVER s FOREIGN DATA WRAPPER assets_fdw OPTIONS (site '{site}')");
    let mut theirs = database.connect_as(&role);
    for site in [
        "https://evil.example",
        "https://atlassian.net.evil.example",
        "https://evilatlassian.net",
        "https://169.254.169.254",
        "https://localhost",
        "http://127.0.0.1:8080",
        "http://127.0.0.2:8080",
        "http://[::1]:8080",
    ] {
        let refusal = refused(&mut theirs, &create(site));
        assert_eq!(refusal.code, "42501", "{refusal:?}");
        assert!(refusal.message.contains("assets_fdw.allowed_hosts"), "{refusal:?}");
    }
    theirs.batch_execute(&create("https://acme.atlassian.net")).unwrap();
    for option in ["SET site", "ADD api_url", "ADD auth_url"] {
        for origin in ["https://evil.example", "http://localhost:1"] {
            let refusal = refused(&mut theirs, &format!("ALTER SERVER s OPTIONS ({option} '{origin}')"));
            assert_eq!(refusal.code, "42501", "{refusal:?}");
        }
    }
    assert_eq!(refused(&mut theirs, "SET assets_fdw.allowed_hosts = '*'").code, "42501");
    // Before the library is there, the setting is a mere name that anybody may set; it counts for nothing.
    let mut sly = database.connect_as(&role);
    sly.batch_execute("SET assets_fdw.allowed_hosts = '*'").unwrap();
    let refusal = refused(&mut sly, "ALTER SERVER s OPTIONS (SET site 'https://evil.example')");
    assert_eq!(refusal.code, "42501", "{refusal:?}");
}

#[test]
fn at_connect_the_allowed_hosts_of_the_moment_count() {
    let live = Live::start(Options { objects: 300, ..Options::default() });
    let mut client = live.connect();
    assert_eq!(one::<i64>(&mut client, COUNT), 300);
    // Somebody else's server does not lead to this machine, however it got there.
    let role = format!("{}_owner", live.database.name());
    client
        .batch_execute(&format!(
            "CREATE ROLE {role}; GRANT USAGE ON FOREIGN DATA WRAPPER assets_fdw TO {role};
             ALTER SERVER assets OWNER TO {role}"
        ))
        .unwrap();
    live.sim.clear_log();
    let refusal = refused(&mut client, COUNT);
    assert!(refusal.code == "42501" && refusal.message.contains("assets_fdw.allowed_hosts"), "{refusal:?}");
    let step = client.query_one(
        "SELECT detail, hint FROM assets_fdw.check('assets') WHERE step = 'connection' AND status = 'fail'",
        &[],
    );
    assert!(step.unwrap().get::<_, &str>(0).contains("assets_fdw.allowed_hosts"));
    assert_eq!(live.sim.log().len(), 0);
    // Named, it is allowed; not any more, a connection that is open already is not used either.
    client.batch_execute("SET assets_fdw.allowed_hosts = 'x.example, 127.0.0.1'").unwrap();
    assert_eq!(one::<i64>(&mut client, COUNT), 300);
    client.batch_execute("RESET assets_fdw.allowed_hosts").unwrap();
    assert_eq!(refused(&mut client, COUNT).code, "42501");
    // A superuser may name any host, with a warning, so that a restore does not stop; it is not connected to.
    client.batch_execute(&format!("ALTER SERVER assets OWNER TO postgres; DROP OWNED BY {role}")).unwrap();
    client.batch_execute("ALTER SERVER assets OPTIONS (SET site 'https://evil.example')").unwrap();
    let refusal = refused(&mut client, COUNT);
    assert!(refusal.code == "42501" && refusal.message.contains("evil.example"), "{refusal:?}");
}

#[test]
fn the_schema_is_refused_where_somebody_else_made_it() {
    let database = Server::shared().create_empty_database();
    let mut client = database.connect();
    let role = format!("{}_early", database.name());
    client.batch_execute(&format!("CREATE ROLE {role}")).unwrap();
    for (sql, says) in [
        (format!("CREATE SCHEMA assets_fdw AUTHORIZATION {role}"), format!("belongs to {role}")),
        (
            format!("CREATE SCHEMA assets_fdw; GRANT CREATE ON SCHEMA assets_fdw TO {role}"),
            format!("lets {role} create"),
        ),
        (
            "CREATE SCHEMA assets_fdw; GRANT CREATE ON SCHEMA assets_fdw TO PUBLIC".into(),
            "lets PUBLIC create".into(),
        ),
        ("CREATE SCHEMA assets_fdw; CREATE TABLE assets_fdw.service_facts ()".into(), "service_facts".into()),
        (
            "CREATE SCHEMA assets_fdw;
             CREATE FUNCTION assets_fdw.f(regclass, oid) RETURNS boolean LANGUAGE sql AS 'SELECT true'"
                .into(),
            "holds function".into(),
        ),
    ] {
        client.batch_execute(&format!("BEGIN; {sql}")).unwrap();
        let refusal = refused(&mut client, "CREATE EXTENSION assets_fdw");
        assert_eq!(refusal.code, "42P06", "{sql}: {refusal:?}");
        assert!(refusal.message.contains(&says), "{sql}: {refusal:?}");
        assert!(refusal.hint.contains("CREATE EXTENSION"), "{refusal:?}");
        client.batch_execute("ROLLBACK").unwrap();
    }
    // As a restore makes it.
    client.batch_execute("CREATE SCHEMA assets_fdw; CREATE EXTENSION assets_fdw SCHEMA assets_fdw").unwrap();
}
