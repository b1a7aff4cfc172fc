//! What errors advise is true: each cause of a status has advice of its own, whoever answers is quoted, and what is set
//! in vain, or cannot be what it seems to be, is said when it is set.

use assets_fdw_tests::assets_sim::{Endpoint, Fault, FaultKind, Options, Profile, Sim};
use assets_fdw_tests::{Database, Server};
use postgres::Client;

use crate::live::{Live, Refusal, one, refused};

const SERVERS: &str = "SELECT name FROM itsm.server";

fn answer(status: u16, body: &str) -> FaultKind {
    FaultKind::Answer { status, body: body.to_owned() }
}

/// What a statement of a new session is refused with while an endpoint answers so.
#[track_caller]
fn told(live: &Live, endpoint: Endpoint, status: u16, body: &str, sql: &str) -> Refusal {
    live.sim.fault(Fault::new(answer(status, body)).on(endpoint));
    let refusal = refused(&mut live.connect(), sql);
    live.sim.clear_faults();
    refusal
}

const LOGIN: &str = "<!DOCTYPE html><html><head><title>Log in - Example SSO</title><script>var a = 1;</script></head>\
                     <body><h1>Welcome to the intranet</h1></body></html>";
const BLOCKED: &str =
    "<html><body>Request blocked by the web application firewall. Incident 4711</body></html>";

#[test]
fn each_refusal_has_advice_that_fits_its_cause() {
    let live = Live::imported(Profile::Documented, 300);
    let role = "role (Object schema users)";
    type Case<'a> = (u16, &'a str, &'a str, &'a [&'a str], &'a [&'a str]);
    let table: [Case; 9] = [
        (
            403,
            r#"{"errorMessages":["Authenticated user is missing permission to access this resource"],"errors":{}}"#,
            "28000",
            &["missing permission", role],
            &["allowlist", "proxy"],
        ),
        (
            403,
            r#"{"errorMessages":["The IP address 198.51.100.7 is not on this organization's allowlist"],"errors":{}}"#,
            "28000",
            &["198.51.100.7", "IP allowlist does not hold"],
            &[role],
        ),
        (403, BLOCKED, "28000", &["Incident 4711", "proxy, a firewall"], &[role, "<body>"]),
        (403, "", "28000", &[role, "IP allowlist", "proxy"], &[]),
        (401, LOGIN, "28000", &["Welcome to the intranet", "proxy"], &["id.atlassian.com", "var a"]),
        (404, BLOCKED, "HV00R", &["Incident 4711", "proxy"], &["It was removed"]),
        (407, "<html>Proxy login</html>", "HV000", &["Proxy login", "proxy"], &[]),
        (200, LOGIN, "HV000", &["Welcome to the intranet", "log in", "site"], &["var a"]),
        (
            200,
            r#"{"errorMessages":["The index is being rebuilt"],"errors":{}}"#,
            "HV000",
            &["index is being rebuilt"],
            &[],
        ),
    ];
    for (status, body, code, has, has_not) in table {
        let refusal = told(&live, Endpoint::ObjectAql, status, body, SERVERS);
        assert_eq!(refusal.code, code, "{status} {body}: {refusal:?}");
        for part in has {
            assert!(refusal.text().contains(part), "{status} {body}: no {part:?} in {refusal:?}");
        }
        for part in has_not {
            assert!(!refusal.text().contains(part), "{status} {body}: {part:?} in {refusal:?}");
        }
    }
}

#[test]
fn an_answer_of_success_that_says_it_failed_is_an_error_wherever_it_comes() {
    let live = Live::imported(Profile::Documented, 300);
    let says = r#"{"errorMessages":["Not all shards answered"],"values":[],"entries":[],"totalCount":0,"isLast":true}"#;
    for (endpoint, sql) in [
        (Endpoint::ObjectAql, SERVERS),
        (Endpoint::ObjectAql, "SELECT count(*) FROM assets_fdw.aql('assets', '')"),
        (Endpoint::TotalCount, "SELECT assets_fdw.count('assets', '')"),
        (Endpoint::SchemaList, "IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER assets INTO public"),
    ] {
        let refusal = told(&live, endpoint, 200, says, sql);
        assert_eq!(refusal.code, "HV000", "{sql}: {refusal:?}");
        assert!(refusal.detail.contains("Not all shards answered"), "{sql}: {refusal:?}");
    }
    // Members that are there and say nothing.
    live.sim.fault(
        Fault::new(answer(200, r#"{"errorMessages":[],"errors":{},"totalCount":7}"#))
            .on(Endpoint::TotalCount),
    );
    assert_eq!(one::<i64>(&mut live.connect(), "SELECT assets_fdw.count('assets', '')"), 7);
}

#[test]
fn errors_of_the_service_desk_are_quoted() {
    let live = Live::imported(Profile::Documented, 100);
    let body = r#"{"errorMessage":"Only licensed users may","i18nErrorMessage":{"i18nKey":"sd.licence.required","parameters":[]}}"#;
    let refusal = told(&live, Endpoint::Workspace, 403, body, SERVERS);
    assert!(
        refusal.detail.contains("Only licensed users may") && refusal.detail.contains("sd.licence"),
        "{refusal:?}"
    );
    assert!(!refusal.text().contains("i18nErrorMessage"), "{refusal:?}");
}

#[test]
fn check_does_not_blame_a_scope_where_no_object_schema_is_visible() {
    let live = Live::start(Options { objects: 50, ..Options::default() });
    for (status, body) in [
        (
            403,
            r#"{"errorMessages":["Authenticated user is missing permission to access this resource"],"errors":{}}"#,
        ),
        (400, r#"{"errorMessages":["No matching attribute for AQL clause (Key is not EMPTY)"],"errors":{}}"#),
        (200, r#"{"totalCount":0}"#),
    ] {
        live.sim.fault(
            Fault::new(answer(200, r#"{"startAt":0,"maxResults":100,"total":0,"values":[],"isLast":true}"#))
                .on(Endpoint::SchemaList),
        );
        live.sim.fault(Fault::new(answer(status, body)).on(Endpoint::TotalCount));
        let mut client = live.connect();
        let steps =
            client.query("SELECT step, status, detail, hint FROM assets_fdw.check('assets')", &[]).unwrap();
        let status_of = |step: &str| {
            let row =
                steps.iter().find(|row| row.get::<_, &str>(0) == step).unwrap_or_else(|| panic!("no {step}"));
            (row.get::<_, String>(1), row.get::<_, Option<String>>(3).unwrap_or_default())
        };
        assert_ne!(status_of("scope read:cmdb-object:jira").0, "fail", "{status}: {steps:?}");
        let (visible, hint) = status_of("visible schemas");
        assert!(visible == "warn" && hint.contains("role Object schema users"), "{status}: {steps:?}");
        live.sim.clear_faults();
    }
}

#[test]
fn a_column_that_was_renamed_here_is_not_said_to_be_gone_there() {
    let live = Live::imported(Profile::Documented, 300);
    let mut client = live.connect();
    client
        .batch_execute(
            "CREATE FOREIGN TABLE hand (key text, name text, created timestamptz) SERVER assets
                 OPTIONS (object_schema 'ITSM', object_type 'Server');
             ALTER FOREIGN TABLE hand RENAME COLUMN name TO \"Called\"",
        )
        .unwrap();
    let refusal = refused(&mut client, "SELECT \"Called\" FROM hand");
    assert_eq!(refusal.code, "HV005", "{refusal:?}");
    assert!(!refusal.hint.contains("in Assets"), "{refusal:?}");
    for part in ["renamed", "ALTER COLUMN \"Called\" OPTIONS (ADD attribute", "It has: "] {
        assert!(refusal.hint.contains(part), "no {part}: {refusal:?}");
    }
    client
        .batch_execute("ALTER FOREIGN TABLE hand ALTER COLUMN \"Called\" OPTIONS (ADD attribute 'Name')")
        .unwrap();
    client.query("SELECT \"Called\" FROM hand", &[]).expect("as the hint says");
    // A fixed field is of the kind.
    client.batch_execute("ALTER FOREIGN TABLE hand RENAME COLUMN created TO born").unwrap();
    assert!(refused(&mut client, "SELECT born FROM hand").hint.contains("or field"));
    // A name that was never one.
    client
        .batch_execute("ALTER FOREIGN TABLE hand ALTER COLUMN \"Called\" OPTIONS (SET attribute 'Nme')")
        .unwrap();
    let refusal = refused(&mut client, "SELECT \"Called\" FROM hand");
    assert!(refusal.hint.contains("misspelt"), "{refusal:?}");
    // One that is really gone.
    let column: String = one(
        &mut client,
        "SELECT attname::text FROM pg_attribute WHERE attrelid = 'itsm.server'::regclass
            AND 'attribute=Serial Number' = ANY (attfdwoptions)",
    );
    live.sim.remove_attribute("Server", "Serial Number").unwrap();
    let refusal = refused(&mut live.connect(), &format!("SELECT {column} FROM itsm.server"));
    assert!(refusal.hint.contains("removed in Assets"), "{refusal:?}");
}

/// The warnings of a statement.
fn warnings(live: &Live, sql: &str) -> Vec<String> {
    let (mut client, heard) = live.connect_listening();
    client.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    drop(client);
    let heard = heard.lock().unwrap();
    heard.iter().filter(|line| line.starts_with("WARNING")).cloned().collect()
}

#[test]
fn an_option_that_another_rules_is_not_taken_silently() {
    let live = Live::imported(Profile::Documented, 300);
    for (sql, ruler) in [
        ("ALTER FOREIGN TABLE itsm.server OPTIONS (SET object_type 'Laptop')", "object_type_id"),
        ("ALTER FOREIGN TABLE itsm.server OPTIONS (SET object_schema_id '2')", "object_type_id"),
        (
            "ALTER FOREIGN TABLE itsm.server ALTER COLUMN name OPTIONS (SET attribute 'Serial')",
            "attribute_id",
        ),
        (
            "ALTER SERVER assets OPTIONS (ADD workspace_id 'w-1'); ALTER SERVER assets OPTIONS (SET site 'http://127.0.0.1:1')",
            "workspace_id",
        ),
    ] {
        let said = warnings(&live, sql);
        assert!(said.len() == 1 && said[0].contains(&format!("\"{ruler}\"")), "{sql}: {said:?}");
    }
    for sql in [
        "ALTER FOREIGN TABLE itsm.server OPTIONS (SET object_type 'Laptop', DROP object_type_id, DROP object_schema_id)",
        "ALTER FOREIGN TABLE itsm.server OPTIONS (SET object_type 'Server')",
        "ALTER FOREIGN TABLE itsm.server OPTIONS (ADD aql 'Name is not EMPTY')",
        "ALTER FOREIGN TABLE itsm.server ALTER COLUMN name OPTIONS (ADD on_invalid 'null')",
        "ALTER FOREIGN TABLE itsm.server OPTIONS (DROP object_type)",
        "ALTER SERVER assets OPTIONS (ADD page_size '50')",
    ] {
        assert_eq!(warnings(&live, sql), Vec::<String>::new(), "{sql}");
    }
}

#[test]
fn what_follows_a_renaming_in_assets_is_set_without_a_word() {
    let live = Live::imported(Profile::Documented, 300);
    live.sim.rename_type("Server", "Machine").unwrap();
    live.sim.rename_attribute("Laptop", "Name", "Called").unwrap();
    let said = warnings(&live, "SELECT * FROM assets_fdw.sync_schema('itsm')");
    assert!(!said.iter().any(|line| line.contains("rules")), "{said:?}");
}

/// With the library loaded by the first statement, and by the postmaster.
#[test]
fn no_backtrace_reaches_a_client() {
    for settings in [&[][..], &[("shared_preload_libraries", "assets_fdw")]] {
        let environment = [("RUST_BACKTRACE", "full"), ("RUST_LIB_BACKTRACE", "1")];
        let server = Server::start_in(&environment, settings);
        let database = server.create_database();
        let sim = Sim::start(Options { objects: 50, ..Options::default() }).unwrap();
        database.create_assets_server(&sim);
        let mut client = database.connect();
        sim.fault(Fault::new(answer(403, "")).on(Endpoint::TotalCount));
        for sql in [
            // Our own, PostgreSQL's through Rust, an option's, a panic's way out.
            "SELECT assets_fdw.count('assets', '')",
            "SELECT assets_fdw.count('nowhere', '')",
            "ALTER SERVER assets OPTIONS (ADD connect_timeout 'soon')",
            "SELECT assets_fdw.materialize('pg_class', 'x.y')",
        ] {
            let refusal = refused(&mut client, sql);
            let text = refusal.text();
            assert!(
                !text.contains("::") && !text.contains(" at ") && text.len() < 1500,
                "{sql}: {refusal:?}"
            );
        }
        assert_eq!(server.crashes(), Vec::<String>::new());
    }
}

/// Puts an option into the catalogue as it may have been set before it was checked.
fn smuggle(client: &mut Client, own: &str) {
    let sql = format!(
        "UPDATE pg_foreign_table SET ftoptions =
             (SELECT array_agg(o) FROM unnest(ftoptions) AS o WHERE o NOT LIKE 'aql=%') || $${}$$::text
         WHERE ftrelid = 'itsm.server'::regclass",
        format_args!("aql={own}")
    );
    client.batch_execute(&format!("SET allow_system_table_mods = on; {sql}")).unwrap();
}

#[test]
fn a_tables_own_condition_cannot_leave_its_parentheses() {
    let live = Live::imported(Profile::Lenient, 300);
    let mut client = live.connect();
    let all: i64 = one(&mut client, "SELECT count(*) FROM itsm.server");
    for bad in [
        "Name = \"x\") OR (Name is not EMPTY",
        "Name = \"x\") OR (\"Name\" is not EMPTY) OR (Key = \"X-1\"",
        "Name = \"x",
        "Name = \"x\\\"",
        "Name = x\\",
        "(Name = x",
        "Name = 'x) OR (Name = y'",
        "Name is not EMPTY ORDER BY Name",
        " \t ",
    ] {
        let sql = format!("ALTER FOREIGN TABLE itsm.server OPTIONS (ADD aql $${bad}$$)").replace("$$", "'");
        let sql = match bad.contains('\'') {
            true => {
                format!("ALTER FOREIGN TABLE itsm.server OPTIONS (ADD aql '{}')", bad.replace('\'', "''"))
            }
            false => sql,
        };
        let refusal = refused(&mut client, &sql);
        assert_eq!(refusal.code, "HV00D", "{bad}: {refusal:?}");
        assert!(
            refusal.message.contains("\"aql\"") && refusal.hint.contains("parentheses"),
            "{bad}: {refusal:?}"
        );
        // Set under 0.1.0, it is an error at use, not a wider result.
        smuggle(&mut client, bad);
        let mut later = live.connect();
        for sql in ["SELECT key FROM itsm.server", "SELECT count(*) FROM itsm.server"] {
            let refusal = refused(&mut later, sql);
            assert_eq!(refusal.code, "HV00D", "{bad}: {refusal:?}");
            assert!(refusal.message.contains("option aql of foreign table \"server\""), "{bad}: {refusal:?}");
        }
        client.batch_execute("ALTER FOREIGN TABLE itsm.server OPTIONS (DROP aql)").unwrap();
    }
    for good in [
        "(Name = \"x\") OR (Name is not EMPTY)",
        "Name = \"a) OR (b\" OR Name is not EMPTY",
        "Name is not EMPTY\n",
    ] {
        client.batch_execute(&format!("ALTER FOREIGN TABLE itsm.server OPTIONS (ADD aql '{good}')")).unwrap();
        assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM itsm.server"), all, "{good}");
        client.batch_execute("ALTER FOREIGN TABLE itsm.server OPTIONS (DROP aql)").unwrap();
    }
    // The argument of aql() goes into parentheses as well.
    let refusal = refused(
        &mut client,
        "SELECT key FROM assets_fdw.aql('assets', 'Name = \"x\") OR (Name is not EMPTY')",
    );
    assert!(refusal.message.contains("parentheses"), "{refusal:?}");
    assert!(one::<i64>(&mut client, "SELECT count(*) FROM assets_fdw.aql('assets', ' ')") >= all);
}

fn client_mapping(database: &Database<'_>, sim: &Sim) {
    let identity = &sim.identities()[4];
    let sql = format!(
        "DROP USER MAPPING FOR postgres SERVER assets;
         CREATE USER MAPPING FOR postgres SERVER assets OPTIONS (client_id '{}', client_secret '{}')",
        identity.name, identity.secret
    );
    database.connect().batch_execute(&sql).unwrap();
}

fn token_requests(sim: &Sim) -> usize {
    sim.log().iter().filter(|entry| entry.endpoint == Endpoint::Token).count()
}

#[test]
fn a_refusal_over_a_scope_takes_nobodys_token_away() {
    for settings in [&[("shared_preload_libraries", "assets_fdw")][..], &[]] {
        let server = Server::start(settings);
        let database = server.create_database();
        let sim = Sim::start(Options { objects: 100, ..Options::default() }).unwrap();
        database.create_assets_server(&sim);
        database
            .connect()
            .batch_execute("CREATE SCHEMA itsm; IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER assets INTO itsm")
            .unwrap();
        client_mapping(&database, &sim);
        let all = [
            "read:cmdb-schema:jira",
            "read:cmdb-type:jira",
            "read:cmdb-attribute:jira",
            "read:servicedesk-request",
        ];
        sim.switches(|s| s.scopes = Some(all.map(str::to_owned).to_vec()));
        let mut sessions = [database.connect(), database.connect()];
        for turn in 0..6 {
            let client = &mut sessions[turn % 2];
            let refusal = refused(client, "SELECT name FROM itsm.server");
            assert!(refusal.code == "28000" && refusal.text().contains("scope"), "{refusal:?}");
        }
        let most = if settings.is_empty() { 2 } else { 1 };
        assert!(token_requests(&sim) <= most, "{} token requests", token_requests(&sim));
    }
}

#[test]
fn a_part_of_the_interface_that_refuses_every_token_costs_two_for_all_sessions() {
    let server = Server::start(&[("shared_preload_libraries", "assets_fdw")]);
    let database = server.create_database();
    let sim = Sim::start(Options { objects: 100, ..Options::default() }).unwrap();
    database.create_assets_server(&sim);
    client_mapping(&database, &sim);
    let mut sessions = [database.connect(), database.connect(), database.connect()];
    let count = "SELECT assets_fdw.count('assets', '')";
    let all: i64 = one(&mut sessions[0], count);
    // Whatever a 401 says, or nothing.
    sim.fault(Fault::new(FaultKind::Unauthorized).on(Endpoint::ObjectAql));
    for turn in 0..9 {
        let refusal = refused(&mut sessions[turn % 3], "SELECT key FROM assets_fdw.aql('assets', '')");
        assert_eq!(refusal.code, "28000", "{refusal:?}");
        // The others are served all the while, by tokens that are there.
        assert_eq!(one::<i64>(&mut sessions[(turn + 1) % 3], count), all);
    }
    assert!(token_requests(&sim) <= 2, "{} token requests", token_requests(&sim));
    // It heals at once, and a token that ends later is renewed.
    sim.clear_faults();
    assert_eq!(one::<i64>(&mut sessions[1], "SELECT count(*) FROM assets_fdw.aql('assets', '')"), all);
    sim.clear_log();
    sim.expire_tokens();
    for client in &mut sessions {
        assert_eq!(one::<i64>(client, "SELECT count(*) FROM assets_fdw.aql('assets', '')"), all);
        assert_eq!(one::<i64>(client, count), all);
    }
    assert_eq!(token_requests(&sim), 1, "one for all sessions");
}
