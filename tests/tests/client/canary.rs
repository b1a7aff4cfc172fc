//! Marked secrets are sent to services that repeat them in every way, with the server's log at its most talkative; the
//! marks turn up nowhere.

use std::io::Write;
use std::sync::{Arc, Mutex};

use assets_fdw_tests::assets_sim::{Options, Profile, Sim};
use assets_fdw_tests::{Database, Server};
use postgres::{Client, NoTls};

use crate::live::{literal, one};
use crate::peer::{Peer, Request, reply};

/// Everything that a server can be told to log.
const TALKATIVE: &[(&str, &str)] = &[
    ("log_min_messages", "debug5"),
    ("log_min_error_statement", "debug5"),
    ("log_error_verbosity", "verbose"),
    ("log_statement", "all"),
    ("log_min_duration_statement", "0"),
    ("log_parameter_max_length_on_error", "-1"),
    ("debug_print_parse", "on"),
    ("debug_print_rewritten", "on"),
    ("debug_print_plan", "on"),
    ("log_replication_commands", "on"),
    ("shared_preload_libraries", "assets_fdw"),
    ("assets_fdw.databases", "none"),
];

/// In which a statement with a secret in it leaves no trace.
const QUIET: &str = "-c log_min_messages=panic -c log_min_error_statement=panic -c log_statement=none \
     -c log_min_duration_statement=-1 -c debug_print_parse=off -c debug_print_rewritten=off -c debug_print_plan=off";

fn quiet(database: &Database<'_>) -> Client {
    database.server().config(database.name(), "postgres").options(QUIET).connect(NoTls).expect("a session")
}

/// A session that collects everything that it is told.
fn listening(database: &Database<'_>) -> (Client, Arc<Mutex<String>>) {
    let heard = Arc::new(Mutex::new(String::new()));
    let ear = heard.clone();
    let mut config = database.server().config(database.name(), "postgres");
    config.options("-c client_min_messages=debug5").notice_callback(move |notice| {
        ear.lock().unwrap().push_str(&format!("{notice:?}\n"));
    });
    (config.connect(NoTls).expect("a session"), heard)
}

/// Standard Base64.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let n = three.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - three.len()));
        for i in 0..4 {
            let digit = DIGITS[(n >> (18 - 6 * i) & 63) as usize] as char;
            out.push(if i <= three.len() { digit } else { '=' });
        }
    }
    out
}

fn percent(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._*".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// The forms of every mark that must not turn up, in lower case.
fn traces(secrets: &[(String, String)]) -> Vec<String> {
    let mut traces = Vec::new();
    for (name, secret) in secrets {
        let basic = base64(format!("{name}:{secret}").as_bytes());
        traces.extend([secret.clone(), percent(secret), basic.trim_end_matches('=').to_owned()]);
    }
    traces.iter_mut().for_each(|trace| trace.make_ascii_lowercase());
    traces.sort();
    traces.dedup();
    traces
}

#[track_caller]
fn assert_without(what: &str, text: &str, traces: &[String]) {
    let lower = text.to_ascii_lowercase();
    for trace in traces {
        if let Some(at) = lower.find(trace.as_str()) {
            let from = (0..=at.saturating_sub(300)).rev().find(|n| text.is_char_boundary(*n)).unwrap_or(0);
            let to = (at + 200..=text.len()).find(|n| text.is_char_boundary(*n)).unwrap_or(text.len());
            panic!("{what} has {trace}: …{}…", &text[from..to]);
        }
    }
}

/// Every row of every table and view but the user mappings themselves.
#[track_caller]
fn assert_catalogs_without(database: &Database<'_>, traces: &[String]) {
    let mut client = quiet(database);
    let relations = client
        .query(
            "SELECT c.oid::regclass::text FROM pg_class AS c
             WHERE c.relkind IN ('r', 'm', 'v', 'p') AND c.relname !~ 'user_mapping'
               AND NOT (c.relnamespace = 'pg_catalog'::regnamespace AND (c.relname IN ('pg_statistic', 'pg_largeobject') OR c.relname ~ '_numa$'))
             ORDER BY 1",
            &[],
        )
        .unwrap();
    assert!(relations.len() > 200, "{}", relations.len());
    let mut text = String::new();
    for relation in relations {
        let relation: String = relation.get(0);
        let sql = format!("SELECT COALESCE(string_agg(t::text, E'\\n'), '') FROM {relation} AS t");
        text += &one::<String>(&mut client, &sql);
    }
    assert!(text.contains("assets_fdw"));
    assert_without("a catalogue, table or view", &text, traces);
}

/// How a parrot repeats what it was sent.
const MANNERS: &[&str] = &[
    "400",
    "401",
    "403",
    "404",
    "418",
    "500",
    "401 html",
    "400 long",
    "no json",
    "wrong types",
    "ids",
    "redirect",
    "cut",
    "no token",
];

/// A service that repeats the request's secrets in its answers.
fn parrot() -> (Peer, Arc<Mutex<&'static str>>) {
    let manner = Arc::new(Mutex::new(MANNERS[0]));
    let current = manner.clone();
    let peer = Peer::start(move |request: &Request, connection| {
        let manner = *current.lock().unwrap();
        let said = format!("{} {} {}", request.authorization, request.body, request.line);
        let quoted = format!("\"{}\"", said.replace('\\', "\\\\").replace('"', "\\\""));
        let token = request.is("/oauth/token");
        if token && manner != "no token" && !manner.starts_with("40") {
            let answer =
                "{\"access_token\":\"iSSued-mark/1+2=3\",\"token_type\":\"Bearer\",\"expires_in\":3600}";
            return reply(connection, 200, "", answer.as_bytes());
        }
        if request.is("tenant_info") {
            return reply(connection, 200, "", b"{\"cloudId\":\"c1\"}");
        }
        if request.is("servicedeskapi") && manner != "ids" {
            return reply(connection, 200, "", b"{\"values\":[{\"workspaceId\":\"w1\"}]}");
        }
        let json = match manner {
            "401 html" => format!("<html><b>{said}</b></html>"),
            "400 long" => format!("{{\"errorMessages\":[{}]}}", format!("{quoted},").repeat(50) + &quoted),
            "no json" => said.clone(),
            "wrong types" => format!("{{\"values\":{quoted},\"total\":{quoted},\"totalCount\":{quoted}}}"),
            "ids" => format!(
                "{{\"workspaceId\":{0},\"values\":[{{\"workspaceId\":{0},\"id\":{0},\"objectKey\":{0}}}],\"totalCount\":{0}}}",
                quoted
            ),
            "no token" if token => format!("{{\"access_token\":{{\"x\":{quoted}}}}}"),
            _ => {
                format!("{{\"errorMessages\":[{quoted}],\"errors\":{{\"a\":{quoted}}},\"message\":{quoted}}}")
            }
        };
        match manner {
            "redirect" => {
                let word: String =
                    request.authorization.chars().filter(char::is_ascii_alphanumeric).collect();
                let location =
                    format!("Location: https://{word}.example/{}\r\n", percent(&request.authorization));
                reply(connection, 302, &location, b"");
            }
            "cut" => {
                let _ = write!(connection, "HTTP/1.1 200 X\r\nContent-Length: 100000\r\n\r\n{json}");
            }
            "401 html" => reply(connection, 401, "", json.as_bytes()),
            status => {
                let status = status.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(200);
                reply(connection, status, "WWW-Authenticate: Bearer\r\n", json.as_bytes());
            }
        }
    });
    (peer, manner)
}

/// Whatever a person may do with a server; most of it fails.
const ATTEMPTS: &[&str] = &[
    "SELECT * FROM assets_fdw.check('parrot')",
    "SELECT assets_fdw.count('parrot', 'Name = \"x\"')",
    "SELECT * FROM assets_fdw.aql('parrot', '')",
    "SELECT * FROM parroted WHERE name = 'x'",
    "EXPLAIN (VERBOSE) SELECT * FROM parroted WHERE name = 'x'",
    "EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM parroted",
    "SELECT count(*) FROM parroted",
    "IMPORT FOREIGN SCHEMA \"X\" FROM SERVER parrot INTO public",
    "SELECT * FROM assets_fdw.verify_pushdown('parrot')",
    "SELECT assets_fdw.refresh('public.replica')",
];

#[test]
fn a_secret_that_a_service_repeats_turns_up_nowhere() {
    let server = Server::start(TALKATIVE);
    let database = server.create_database();
    let (peer, manner) = parrot();
    let mut still = quiet(&database);
    still
        .batch_execute(&format!(
            "CREATE SERVER parrot FOREIGN DATA WRAPPER assets_fdw
                 OPTIONS (site '{}', retry_timeout '1ms', request_timeout '10s');
             CREATE FOREIGN TABLE parroted (id bigint OPTIONS (field 'id'), name text OPTIONS (attribute_id '7'))
                 SERVER parrot OPTIONS (object_type_id '1', object_schema_id '1');
             CREATE USER MAPPING FOR postgres SERVER parrot OPTIONS (email 'e@x.example', api_token 'temporary-mark');
             SELECT assets_fdw.materialize('parroted', 'public.replica', every => '1 year')",
            peer.url()
        ))
        .unwrap();
    let file = |name: &str, secret: &str| {
        let path = server.socket_folder().join(name);
        std::fs::write(&path, secret).unwrap();
        path.display().to_string()
    };
    // Each in its own words, with what URLs and JSON write otherwise.
    let secrets: Vec<(String, String)> = [
        ("e@x.example", "aPi/mark+one=\"1\""),
        ("client-1", "cLient/mark+two=2"),
        ("", "bEarer/mark+three=3"),
        ("e@x.example", "aPi-fIle/mark+four=4"),
        ("client-1", "cLient-fIle/mark+five=5"),
        ("", "bEarer-fIle-mark.six_6"),
        ("", "iSSued-mark/1+2=3"),
        ("e@x.example", "temporary-mark"),
    ]
    .map(|(name, secret)| (name.to_owned(), secret.to_owned()))
    .to_vec();
    let secret = |n: usize| literal(&secrets[n].1);
    let mappings = [
        format!("email 'e@x.example', api_token {}", secret(0)),
        format!("client_id 'client-1', client_secret {}", secret(1)),
        format!("access_token {}", secret(2)),
        format!("email 'e@x.example', api_token_file '{}'", file("api", &secrets[3].1)),
        format!("client_id 'client-1', client_secret_file '{}'", file("client", &secrets[4].1)),
        format!("access_token_file '{}'", file("bearer", &secrets[5].1)),
    ];
    let traces = traces(&secrets);
    let mut told = String::new();
    for mapping in &mappings {
        let remake = format!(
            "DROP USER MAPPING FOR postgres SERVER parrot; CREATE USER MAPPING FOR postgres SERVER parrot OPTIONS ({mapping})"
        );
        // The file forms may be set in full view.
        let (mut loud, heard) = listening(&database);
        let session = if mapping.contains("_file") { &mut loud } else { &mut still };
        session.batch_execute(&remake).unwrap();
        // pg_stat_activity shows a session's last statement.
        session.batch_execute("SELECT 1").unwrap();
        // Where a secret was read from makes no difference to what is done with it.
        for next in MANNERS.iter().step_by(if mapping.contains("_file") { 5 } else { 1 }) {
            *manner.lock().unwrap() = next;
            // A worker's start takes long with such a log.
            let attempts = if next.contains(' ') { ATTEMPTS } else { &ATTEMPTS[..ATTEMPTS.len() - 1] };
            for sql in attempts {
                match loud.simple_query(sql) {
                    Ok(rows) => told += &format!("{rows:?}\n"),
                    Err(error) => told += &format!("{:?}\n", error.as_db_error().expect("an ERROR")),
                }
            }
        }
        told += &heard.lock().unwrap();
    }
    let asked = peer.requests();
    let sent =
        asked.iter().map(|r| format!("{} {}\n", r.authorization, r.body)).collect::<String>().to_lowercase();
    for (n, (name, secret)) in secrets[..7].iter().enumerate() {
        let basic = base64(format!("{name}:{secret}").as_bytes());
        let forms = [secret.clone(), percent(secret), basic].map(|form| form.to_lowercase());
        assert!(forms.iter().any(|form| sent.contains(form.as_str())), "{n} was never sent");
    }
    assert!(told.contains("***"), "nothing had to be hidden");
    assert_without("what the client was told", &told, &traces);
    assert_catalogs_without(&database, &traces);
    assert_without("the server's log", &server.log_text(), &traces);
    assert_eq!(server.crashes(), Vec::<String>::new());
    // That the search would have found something: PostgreSQL itself logs statements, secrets and all.
    let mut loud = database.connect();
    loud.batch_execute("ALTER USER MAPPING FOR postgres SERVER parrot OPTIONS (DROP access_token_file, ADD access_token 'seen-MARK')")
        .unwrap();
    assert!(server.log_text().contains("seen-MARK"));
}

#[test]
fn the_media_tokens_of_avatars_reach_neither_a_table_nor_the_log() {
    let server = Server::start(TALKATIVE);
    let sim =
        Sim::start(Options { profile: Profile::Documented, objects: 300, ..Options::default() }).unwrap();
    let database = server.create_database();
    database.create_assets_server(&sim);
    let (mut client, heard) = listening(&database);
    client.batch_execute("SET client_min_messages = notice").unwrap();
    let mut told = String::new();
    for sql in [
        "CREATE SCHEMA itsm; IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER assets INTO itsm OPTIONS (raw 'true')",
        "SELECT * FROM assets_fdw.aql('assets', 'objectType = Server')",
        "SELECT t::text FROM itsm.server AS t",
        "SELECT t::text FROM itsm.employee AS t",
        "CREATE TABLE copy AS SELECT * FROM itsm.server",
        "SELECT assets_fdw.materialize('itsm.employee', 'public.people')",
        "SELECT assets_fdw.refresh('public.people')",
        "SELECT assets_fdw.materialize('itsm.server', 'public.servers')",
        "SELECT assets_fdw.refresh('public.servers')",
        "SELECT * FROM assets_fdw.verify_pushdown('assets')",
        "EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM itsm.server",
    ] {
        let rows = client.simple_query(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        told += &format!("{rows:?}\n");
    }
    assert!(sim.log().len() > 10);
    told += &heard.lock().unwrap();
    let traces = ["secret-media-token".to_owned(), "mediajwttoken".to_owned(), "avatarurl".to_owned()];
    assert_without("what the client was told", &told, &traces);
    assert_without("the server's log", &server.log_text(), &traces);
    assert!(one::<i64>(&mut client, "SELECT count(*) FROM servers") > 0);
    assert_catalogs_without(&database, &traces);
}
