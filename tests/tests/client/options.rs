//! Options are checked when they are set, and secrets stay secret.

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::Options;
use postgres::Client;

use crate::live::{Live, one, refused};

/// Where options are set: the words of a statement that adds or sets one.
const PLACES: [(&str, &str); 5] = [
    ("server", "ALTER SERVER s OPTIONS "),
    ("mapping", "CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS "),
    ("table", "ALTER FOREIGN TABLE t OPTIONS "),
    ("column", "ALTER FOREIGN TABLE t ALTER c OPTIONS "),
    ("wrapper", "ALTER FOREIGN DATA WRAPPER assets_fdw OPTIONS "),
];

/// Every option of interface.md section 1 that is built: where, its name, values that are good, and values that are not.
const OPTIONS: &[(&str, &str, &[&str], &[&str])] = &[
    (
        "server",
        "site",
        &[
            "https://acme.atlassian.net",
            "https://acme.atlassian.net/",
            "http://127.0.0.1:8080",
            "http://localhost",
            "http://[::1]:90",
        ],
        &[
            "",
            "acme",
            "http://acme.atlassian.net",
            "ftp://acme.example",
            "https://",
            "https://a/b",
            "https://u:p@acme.example",
            "https://a b",
            "https://a?x",
            "https://acme:port",
            "http://127.0.0.1.evil.example",
        ],
    ),
    ("server", "workspace_id", &["f1668d0c-828c-470c-b7d1-8c4f48cd345a"], &[""]),
    ("server", "cloud_id", &["11223344-a1b2-4b33-8c44-def123456789"], &[""]),
    (
        "server",
        "api_url",
        &["https://api.atlassian.com", "http://127.0.0.1:1"],
        &["http://api.atlassian.com", "api", ""],
    ),
    ("server", "auth_url", &["https://auth.atlassian.com"], &["http://auth.atlassian.com", ""]),
    ("server", "ca_file", &["/etc/ssl/ca.pem"], &["ca.pem", ""]),
    ("server", "deployment", &["cloud", "datacenter"], &["Cloud", "server", ""]),
    ("server", "page_size", &["1", "500", "999"], &["0", "1000", "-5", "ten", "1.5", ""]),
    ("server", "max_in_flight", &["1", "64"], &["0", "65", "x"]),
    ("server", "requests_per_minute", &["0", "1000"], &["-1", "many", "1e3"]),
    (
        "server",
        "connect_timeout",
        &["10s", "1 minute", "500ms", "00:00:05"],
        &["0", "-1s", "soon", "1 month", ""],
    ),
    ("server", "request_timeout", &["1min"], &["0s", "1 year", "x"]),
    ("server", "retry_timeout", &["2 minutes"], &["0s", "never"]),
    (
        "server",
        "max_response_bytes",
        &["64MB", "1GB", "2048"],
        &["0", "10", "64 megs", "-1MB", "", "99999999999999999999GB"],
    ),
    ("server", "updatable", &["true", "off", "1"], &["perhaps", ""]),
    ("server", "use_remote_estimate", &["false", "yes"], &["2", "maybe"]),
    ("table", "object_schema", &["ITSM", "My Schema"], &[""]),
    ("table", "object_schema_id", &["1"], &["x", "0", "-1", "1.5"]),
    ("table", "object_type", &["Server"], &[""]),
    ("table", "object_type_id", &["11"], &["", "eleven", "0"]),
    ("table", "children", &["include", "exclude"], &["auto", "yes"]),
    ("table", "aql", &["Name = \"x\""], &[""]),
    ("table", "updatable", &["true"], &["x"]),
    ("column", "attribute", &["Name"], &[""]),
    ("column", "attribute_id", &["101"], &["x", "-3"]),
    ("column", "aql_name", &["a_Name"], &[""]),
    (
        "column",
        "field",
        &["id", "key", "label", "object_type", "created", "updated", "url", "attributes"],
        &["name", ""],
    ),
    ("column", "part", &["label", "key", "id", "name", "account_id", "email", "category"], &["value", ""]),
    ("column", "on_invalid", &["error", "null"], &["ignore", ""]),
];

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

pub(crate) fn start() -> (assets_fdw_tests::Database<'static>, Client) {
    let database = Server::shared().create_database();
    let mut client = database.connect();
    client
        .batch_execute(
            "CREATE SERVER s FOREIGN DATA WRAPPER assets_fdw OPTIONS (workspace_id 'w');
             CREATE FOREIGN TABLE t (c text) SERVER s",
        )
        .unwrap();
    (database, client)
}

#[test]
fn every_option_is_checked_when_it_is_set() {
    let (_database, mut client) = start();
    for (place, name, good, bad) in OPTIONS {
        let statement = PLACES.iter().find(|(p, _)| p == place).unwrap().1;
        for value in *good {
            let set = if (*place, *name) == ("server", "workspace_id") { "SET" } else { "ADD" };
            let sql = format!("BEGIN; {statement}({set} {name} {}); ROLLBACK", quote(value));
            client.batch_execute(&sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        }
        for value in *bad {
            let set = if (*place, *name) == ("server", "workspace_id") { "SET" } else { "ADD" };
            let refusal = refused(&mut client, &format!("{statement}({set} {name} {})", quote(value)));
            assert_eq!(refusal.code, "HV00D", "{name} {value:?}: {refusal:?}");
            assert!(refusal.message.contains(name), "{refusal:?}");
            assert!(refusal.hint.starts_with("It must be"), "{refusal:?}");
        }
        // The same option elsewhere is refused with the place where it belongs, or with those that are valid.
        for (elsewhere, statement) in PLACES.iter().filter(|(p, _)| p != place) {
            if OPTIONS.iter().any(|(p, n, ..)| p == elsewhere && n == name) {
                continue;
            }
            let add = if *elsewhere == "mapping" { "" } else { "ADD " };
            let refusal = refused(&mut client, &format!("{statement}({add}{name} {})", quote(good[0])));
            assert_eq!(refusal.code, "HV00D", "{refusal:?}");
            assert!(refusal.message.contains(name) && !refusal.hint.is_empty(), "{refusal:?}");
        }
    }
    for (place, statement) in PLACES {
        let add = if place == "mapping" { "" } else { "ADD " };
        let refusal = refused(&mut client, &format!("{statement}({add}colour 'red')"));
        assert_eq!(refusal.code, "HV00D", "{refusal:?}");
        assert!(refusal.message.contains("colour"), "{refusal:?}");
        for (_, name, ..) in OPTIONS.iter().filter(|(p, ..)| *p == place) {
            assert!(refusal.hint.contains(name), "{name}: {refusal:?}");
        }
    }
}

#[test]
fn a_server_needs_to_know_where_to_ask() {
    let (_database, mut client) = start();
    let refusal = refused(&mut client, "CREATE SERVER x FOREIGN DATA WRAPPER assets_fdw");
    assert!(refusal.code.starts_with("HV") && refusal.hint.contains("site"), "{refusal:?}");
}

#[test]
fn a_user_mapping_is_one_whole_credential_and_its_secrets_are_never_shown() {
    let (_database, mut client) = start();
    let good = [
        "email 'a@example.com', api_token 'sEcReT-1'",
        "client_id 'c', client_secret 'sEcReT-1'",
        "access_token 'sEcReT-1'",
        "email 'a@example.com', api_token_file '/run/secret'",
        "client_id 'c', client_secret_file '/run/secret'",
        "access_token_file '/run/secret'",
    ];
    for options in good {
        let sql = format!("BEGIN; CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS ({options}); ROLLBACK");
        client.batch_execute(&sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
    let bad = [
        "email 'a@example.com'",
        "api_token 'sEcReT-1'",
        "client_id 'c', api_token 'sEcReT-1'",
        "email 'a@example.com', api_token 'sEcReT-1', access_token 'sEcReT-1'",
        "email 'a@example.com', api_token 'sEcReT-1', api_token_file '/run/sEcReT-1'",
        "client_id 'c', client_secret 'sEcReT-1', email 'a@example.com'",
        "email '', api_token 'sEcReT-1'",
        "email 'a@example.com', api_token ''",
        "email 'a@example.com', api_tokne 'sEcReT-1'",
        "email 'a@example.com', api_token 'sEcReT-1', password 'sEcReT-1'",
        "user 'a', password 'sEcReT-1'",
    ];
    for options in bad {
        let refusal =
            refused(&mut client, &format!("CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS ({options})"));
        assert!(refusal.code.starts_with("HV"), "{options}: {refusal:?}");
        assert!(!refusal.text().contains("sEcReT"), "{options}: {refusal:?}");
    }
    for sql in [
        "ALTER SERVER s OPTIONS (ADD api_token 'sEcReT-1')",
        "ALTER SERVER s OPTIONS (ADD client_secret 'sEcReT-1')",
        "ALTER FOREIGN TABLE t OPTIONS (ADD access_token 'sEcReT-1')",
        "ALTER FOREIGN TABLE t ALTER c OPTIONS (ADD api_token 'sEcReT-1')",
        "CREATE SERVER x FOREIGN DATA WRAPPER assets_fdw OPTIONS (site 'https://a.example', password 'sEcReT-1')",
    ] {
        let refusal = refused(&mut client, sql);
        assert_eq!(refusal.code, "HV00D", "{refusal:?}");
        assert!(!refusal.text().contains("sEcReT"), "{refusal:?}");
    }
}

#[test]
fn other_roles_never_see_a_secret() {
    let (database, mut client) = start();
    let role = format!("{}_peeper", database.name());
    client
        .batch_execute(&format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON FOREIGN SERVER s TO {role};
             CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (access_token 'sEcReT-2');
             CREATE USER MAPPING FOR postgres SERVER s OPTIONS (access_token 'sEcReT-3')"
        ))
        .unwrap();
    let mut theirs = database.connect_as(&role);
    let seen = "SELECT count(*) FROM pg_user_mappings WHERE umoptions::text LIKE '%sEcReT%'";
    assert_eq!(one::<i64>(&mut theirs, seen), 0);
    assert_eq!(refused(&mut theirs, "SELECT umoptions FROM pg_user_mapping").code, "42501");
}

#[test]
fn files_of_the_server_are_for_those_who_may_read_them() {
    let (database, mut client) = start();
    let role = format!("{}_owner", database.name());
    client
        .batch_execute(&format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON FOREIGN DATA WRAPPER assets_fdw TO {role};
             GRANT CREATE ON SCHEMA public TO {role}"
        ))
        .unwrap();
    let mut theirs = database.connect_as(&role);
    theirs
        .batch_execute(
            "CREATE SERVER mine FOREIGN DATA WRAPPER assets_fdw OPTIONS (site 'https://acme.atlassian.net')",
        )
        .unwrap();
    let statements = [
        "ALTER SERVER mine OPTIONS (ADD ca_file '/etc/ssl/ca.pem')",
        "CREATE USER MAPPING FOR CURRENT_USER SERVER mine OPTIONS (access_token_file '/etc/passwd')",
        "CREATE USER MAPPING FOR CURRENT_USER SERVER mine OPTIONS (email 'a', api_token_file '/etc/passwd')",
        "CREATE USER MAPPING FOR CURRENT_USER SERVER mine OPTIONS (client_id 'a', client_secret_file '/etc/passwd')",
    ];
    for sql in statements {
        assert_eq!(refused(&mut theirs, sql).code, "42501", "{sql}");
    }
    client.batch_execute(&format!("GRANT pg_read_server_files TO {role}")).unwrap();
    for sql in statements {
        theirs
            .batch_execute(&format!("BEGIN; {sql}; ROLLBACK"))
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
}

#[test]
fn a_secret_in_a_file_is_read_at_use() {
    let live = Live::start(Options { objects: 300, ..Options::default() });
    let identity = &live.sim.identities()[0];
    // The server's own folder is the one place that both this process and the server reach.
    let file = Server::shared().socket_folder().join(format!("{}.token", live.database.name()));
    let mut client = live.connect();
    client
        .batch_execute(&format!(
            "DROP USER MAPPING FOR postgres SERVER assets;
             CREATE USER MAPPING FOR postgres SERVER assets OPTIONS (email '{}', api_token_file '{}')",
            identity.name,
            file.display()
        ))
        .unwrap();
    let count = "SELECT assets_fdw.count('assets', '')";
    let missing = refused(&mut client, count);
    assert!(missing.text().contains(&file.display().to_string()), "{missing:?}");
    assert!(
        missing.code.starts_with("HV") || missing.code.starts_with("58") || missing.code == "28000",
        "{missing:?}"
    );
    std::fs::write(&file, "not-the-token").unwrap();
    let wrong = refused(&mut client, count);
    assert_eq!(wrong.code, "28000", "{wrong:?}");
    assert!(!wrong.text().contains("not-the-token"), "{wrong:?}");
    // With the line break that editors leave.
    std::fs::write(&file, format!("{}\n", identity.secret)).unwrap();
    assert_eq!(one::<i64>(&mut client, count), 300);
    std::fs::remove_file(&file).unwrap();
}
