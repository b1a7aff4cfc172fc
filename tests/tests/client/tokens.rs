//! Secrets in files, and tokens that client credentials are exchanged for: whatever the token endpoint says, whatever is
//! in the file, and whenever either changes.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use assets_fdw_tests::assets_sim::{Endpoint, Fault, FaultKind, Options, Sim};
use assets_fdw_tests::{Database, Server};
use postgres::Client;

use crate::hostile::good;
use crate::live::{Refusal, one, refused};
use crate::peer::{Peer, Request, reply};

const COUNT: &str = "SELECT assets_fdw.count('peer', '')";

/// A database with the foreign server `peer` and a user mapping of the superuser.
fn connect<'a>(server: &'a Server, url: &str, credential: &str) -> (Database<'a>, Client) {
    let database = server.create_database();
    let mut client = database.connect();
    client
        .batch_execute(&format!(
            "CREATE SERVER peer FOREIGN DATA WRAPPER assets_fdw OPTIONS (site '{url}', retry_timeout '1s',
                 request_timeout '5s', requests_per_minute '0');
             CREATE USER MAPPING FOR postgres SERVER peer OPTIONS ({credential})"
        ))
        .unwrap();
    (database, client)
}

const CREDENTIALS: &str = "client_id 'id', client_secret 'hidden/sEcret+1'";

/// A peer whose token endpoint answers with a text of the moment.
fn endpoint() -> (Peer, Arc<Mutex<String>>) {
    let answer = Arc::new(Mutex::new(String::new()));
    let now = answer.clone();
    let peer = Peer::start(move |request, connection| match request.is("oauth/token") {
        true => reply(connection, 200, "", now.lock().unwrap().as_bytes()),
        false => good(request, connection),
    });
    (peer, answer)
}

#[test]
fn a_token_is_used_whatever_is_said_of_its_life() {
    let (peer, answer) = endpoint();
    let (database, _) = connect(Server::shared(), peer.url(), CREDENTIALS);
    for life in
        ["", "3600", "0", "-5", "0.5", "1e300", "9223372036854775808", "\"3600\"", "\"long\"", "null", "[]"]
    {
        let member = if life.is_empty() { String::new() } else { format!(",\"expires_in\":{life}") };
        *answer.lock().unwrap() = format!("{{\"access_token\":\"t\",\"token_type\":\"Bearer\"{member}}}");
        let before = peer.requests().iter().filter(|r| r.is("oauth/token")).count();
        let mut client = database.connect();
        for _ in 0..3 {
            assert_eq!(one::<i64>(&mut client, COUNT), 1, "{life}");
        }
        let asked = peer.requests().iter().filter(|r| r.is("oauth/token")).count() - before;
        // A life of half a second may have to be renewed.
        let most = if life == "0.5" { 12 } else { 1 };
        assert!((1..=most).contains(&asked), "{life}: {asked} token requests");
    }
}

#[test]
fn what_is_no_token_is_an_error_that_says_so() {
    let (peer, answer) = endpoint();
    let (_database, mut client) = connect(Server::shared(), peer.url(), CREDENTIALS);
    let long = format!("{{\"access_token\":\"{}\"}}", "x".repeat(1 << 20));
    for (body, says) in [
        (
            "{\"error\":\"access_denied\",\"error_description\":\"Grant hidden/sEcret+1 is gone\"}",
            "access_denied: Grant *** is gone",
        ),
        ("<html><body>Please sign in</body></html>", "Please sign in"),
        ("", ""),
        ("null", ""),
        ("{\"access_token\":\"\"}", ""),
        ("{\"access_token\":\"  \"}", ""),
        ("{\"access_token\":null}", ""),
        ("{\"access_token\":\"a\\u0000b\"}", ""),
        ("{\"access_token\":\"a b\"}", ""),
        (long.as_str(), ""),
    ] {
        *answer.lock().unwrap() = body.to_owned();
        let refusal = refused(&mut client, COUNT);
        let shown = &body[..body.len().min(80)];
        assert_eq!(refusal.code, "HV000", "{shown}: {refusal:?}");
        assert!(refusal.message.contains("token endpoint 127.0.0.1"), "{shown}: {refusal:?}");
        assert!(refusal.text().contains(says) && !refusal.hint.is_empty(), "{shown}: {refusal:?}");
        assert!(!refusal.text().contains("sEcret") && refusal.text().len() < 2000, "{shown}: {refusal:?}");
    }
    *answer.lock().unwrap() = "{\"access_token\":\"t\"}".to_owned();
    assert_eq!(one::<i64>(&mut client, COUNT), 1);
}

/// The form of a token request: assets-api.md 13.
fn form(request: &Request) -> &'static str {
    match (request.authorization.starts_with("Basic "), request.body.starts_with('{')) {
        (true, false) => "basic",
        (false, true) => "json",
        _ => "body",
    }
}

#[test]
fn the_forms_of_a_token_request_are_tried_in_order_and_the_one_that_worked_is_remembered() {
    for (accepted, tried) in
        [("basic", vec!["basic"]), ("json", vec!["basic", "json"]), ("body", vec!["basic", "json", "body"])]
    {
        let issued = Arc::new(AtomicUsize::new(0));
        let latest = issued.clone();
        let peer = Peer::start(move |request, connection| {
            if request.is("oauth/token") {
                if form(request) != accepted {
                    return reply(connection, 401, "", b"{\"error\":\"invalid_client\"}");
                }
                let n = latest.fetch_add(1, Ordering::SeqCst) + 1;
                let body = format!("{{\"access_token\":\"t{n}\",\"expires_in\":3600}}");
                return reply(connection, 200, "", body.as_bytes());
            }
            // Every token is good for one count.
            let current = format!("Bearer t{}", latest.load(Ordering::SeqCst));
            if request.is("totalcount") && request.authorization == current {
                good(request, connection);
                latest.fetch_add(1000, Ordering::SeqCst);
            } else if request.is("totalcount") {
                reply(connection, 401, "", b"");
            } else {
                good(request, connection);
            }
        });
        let (_database, mut client) = connect(Server::shared(), peer.url(), CREDENTIALS);
        for _ in 0..3 {
            assert_eq!(one::<i64>(&mut client, COUNT), 1);
        }
        let forms: Vec<&str> = peer.requests().iter().filter(|r| r.is("oauth/token")).map(form).collect();
        let wanted: Vec<&str> = tried.iter().copied().chain([accepted; 2]).collect();
        assert_eq!(forms, wanted, "{accepted}");
    }
}

/// A file of the servers' folder, which both this process and the server reach; removed when dropped.
struct Secret(PathBuf);

impl Secret {
    fn new(database: &Database<'_>) -> Secret {
        Secret(Server::shared().socket_folder().join(format!("{}.file", database.name())))
    }

    fn clear(&self) {
        let _ = std::fs::remove_file(&self.0).or_else(|_| std::fs::remove_dir(&self.0));
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.clear();
    }
}

#[test]
fn a_secret_file_is_its_one_line_whatever_editor_wrote_it_and_anything_else_is_named() {
    let peer = Peer::start(|request, connection| match request.authorization.as_str() {
        "Bearer ToKen-1" => good(request, connection),
        _ if request.is("tenant_info") => good(request, connection),
        _ => reply(connection, 401, "", b""),
    });
    let (database, mut client) = connect(Server::shared(), peer.url(), "access_token 'x'");
    let file = Secret::new(&database);
    client
        .batch_execute(&format!(
            "ALTER USER MAPPING FOR postgres SERVER peer OPTIONS (DROP access_token, ADD access_token_file '{}')",
            file.0.display()
        ))
        .unwrap();
    for content in [
        "ToKen-1",
        "ToKen-1\n",
        "ToKen-1\r\n",
        "ToKen-1\n\n",
        " ToKen-1 \t\n",
        "\u{feff}ToKen-1\r\n",
        "\nToKen-1",
    ] {
        std::fs::write(&file.0, content).unwrap();
        assert_eq!(one::<i64>(&mut client, COUNT), 1, "{content:?}");
    }
    let large = "ToKen-1".repeat(20_000);
    let cases: [(&str, &dyn Fn(), &str); 10] = [
        ("no file", &|| (), "No such file"),
        ("an empty file", &|| std::fs::write(&file.0, "").unwrap(), "is empty"),
        ("blanks", &|| std::fs::write(&file.0, " \r\n\t\u{feff}").unwrap(), "is empty"),
        ("two lines", &|| std::fs::write(&file.0, "ToKen-1\nToKen-2").unwrap(), "holds more than one line"),
        ("a NUL", &|| std::fs::write(&file.0, "ToKen\0-1").unwrap(), "character"),
        ("no UTF-8", &|| std::fs::write(&file.0, b"ToKen\xff\xfe").unwrap(), "UTF-8"),
        ("too large", &|| std::fs::write(&file.0, &large).unwrap(), "is not a small regular file"),
        ("a folder", &|| std::fs::create_dir(&file.0).unwrap(), "is not a small regular file"),
        ("a link to nowhere", &|| symlink("/nonexistent/x", &file.0).unwrap(), "No such file"),
        (
            "a file of others",
            &|| {
                std::fs::write(&file.0, "ToKen-1").unwrap();
                std::fs::set_permissions(&file.0, PermissionsExt::from_mode(0o000)).unwrap();
            },
            "Permission denied",
        ),
    ];
    for (what, make, says) in cases {
        file.clear();
        make();
        let refusal = refused(&mut client, COUNT);
        assert!(refusal.code == "HV00D" || refusal.code == "28000", "{what}: {refusal:?}");
        assert!(refusal.text().contains(says), "{what}: {refusal:?}");
        assert!(!refusal.text().contains("ToKen"), "{what}: {refusal:?}");
        assert!(refusal.hint.contains("file") || what == "a NUL", "{what}: {refusal:?}");
    }
    file.clear();
    std::fs::write(&file.0, "ToKen-1").unwrap();
    assert_eq!(one::<i64>(&mut client, COUNT), 1);
}

#[test]
fn a_secret_that_is_rotated_under_a_request_is_tried_again_with_the_new_one() {
    let database = Server::shared().create_empty_database();
    let file = Secret::new(&database);
    let path = file.0.clone();
    std::fs::write(&path, "old").unwrap();
    let peer = Peer::start(move |request, connection| {
        if request.is("totalcount") && request.authorization == "Bearer old" {
            // The service has made the old one useless, and whoever rotates writes the new one.
            std::fs::write(&path, "new\n").unwrap();
            return reply(connection, 401, "", b"");
        }
        good(request, connection);
    });
    let credential = format!("access_token_file '{}'", file.0.display());
    let (_database, mut client) = connect(Server::shared(), peer.url(), &credential);
    assert_eq!(one::<i64>(&mut client, COUNT), 1);
    let sent: Vec<String> =
        peer.requests().into_iter().filter(|r| r.is("totalcount")).map(|r| r.authorization).collect();
    assert_eq!(sent, ["Bearer old", "Bearer new"]);
    // It disappears: what the session knew of it is not used on.
    file.clear();
    let before = peer.requests().len();
    assert_eq!(refused(&mut client, COUNT).code, "HV00D");
    assert_eq!(peer.requests().len(), before);
}

#[test]
fn a_refresh_goes_on_when_its_token_ends() {
    let sim = Sim::start(Options { objects: 3000, page_cap: 25, ..Options::default() }).unwrap();
    let identity = &sim.identities()[4];
    let credential = format!("client_id '{}', client_secret '{}'", identity.name, identity.secret);
    let (_database, mut client) = connect(Server::shared(), &sim.url(), &credential);
    client
        .batch_execute(
            "CREATE SCHEMA itsm; IMPORT FOREIGN SCHEMA \"ITSM\" LIMIT TO (server) FROM SERVER peer INTO itsm;
             SELECT assets_fdw.materialize('itsm.server', 'public.copy', every => '1 year')",
        )
        .unwrap();
    let servers = sim.count(sim.type_id("Server").unwrap()) as i64;
    for mode in ["full", "auto", "full"] {
        sim.clear_log();
        sim.fault(
            Fault::new(FaultKind::ExpireTokens)
                .on(Endpoint::ObjectAql)
                .after(if mode == "auto" { 0 } else { 3 })
                .times(1),
        );
        client.batch_execute(&format!("SELECT assets_fdw.refresh('public.copy', '{mode}')")).unwrap();
        sim.clear_faults();
        assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM public.copy"), servers, "{mode}");
        let log = sim.log();
        assert!(log.iter().any(|entry| entry.status == 401), "{mode}: it ended while it was used");
        assert_eq!(log.iter().filter(|entry| entry.endpoint == Endpoint::Token).count(), 2, "{mode}");
    }
    // A secret that is not good any more is an error of the run, with what to do, and takes no row along.
    client
        .batch_execute("ALTER USER MAPPING FOR postgres SERVER peer OPTIONS (SET client_secret 'wrong')")
        .unwrap();
    let error = client.batch_execute("SELECT assets_fdw.refresh('public.copy')").unwrap_err();
    let refusal = Refusal::of(&error);
    assert_eq!(refusal.code, "28000", "{refusal:?}");
    assert!(refusal.hint.contains("client_secret"), "{refusal:?}");
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM public.copy"), servers);
}
