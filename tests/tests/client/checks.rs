//! `check()` reports what is wrong instead of raising it, with what to change and where.

use std::io::{Read, Write};
use std::net::TcpListener;

use assets_fdw_tests::assets_sim::{Endpoint, Fault, FaultKind, Options};
use postgres::Client;

use crate::hostile::good;
use crate::live::{Live, refused};
use crate::options::start;
use crate::peer::{Peer, reply};
use crate::tls::Front;

/// A step that `check()` reports.
#[derive(Debug)]
struct Step {
    step: String,
    status: String,
    detail: String,
    hint: Option<String>,
}

/// Runs `check()`, which must not raise.
#[track_caller]
fn check(client: &mut Client) -> Vec<Step> {
    let rows = client.query("SELECT step, status, detail, hint FROM assets_fdw.check('assets')", &[]);
    let rows = rows.unwrap_or_else(|error| panic!("check() raised: {error:?}"));
    let steps: Vec<Step> = rows
        .iter()
        .map(|row| Step { step: row.get(0), status: row.get(1), detail: row.get(2), hint: row.get(3) })
        .collect();
    for step in &steps {
        assert!(["ok", "warn", "fail", "skip"].contains(&step.status.as_str()), "{step:?}");
        let hinted = step.hint.as_ref().is_some_and(|hint| !hint.is_empty());
        assert!(step.status != "fail" || hinted, "no hint: {step:?}");
        for secret in ["classic-token", "scoped-token", "service-token", "sim-secret"] {
            assert!(!format!("{step:?}").contains(secret), "{step:?}");
        }
    }
    steps
}

#[test]
fn check_finds_nothing_wrong_with_a_healthy_server() {
    let live = Live::start(Options { objects: 300, ..Options::default() });
    for (identity, credential) in [
        (0, "email '{}', api_token '{}'"),
        (2, "email '{}', api_token '{}'"),
        (4, "client_id '{}', client_secret '{}'"),
    ] {
        let identity = &live.sim.identities()[identity];
        let credential = credential.replacen("{}", identity.name, 1).replacen("{}", identity.secret, 1);
        let mut client = live.connect();
        client
            .batch_execute(&format!(
                "DROP USER MAPPING FOR postgres SERVER assets;
                 CREATE USER MAPPING FOR postgres SERVER assets OPTIONS ({credential})"
            ))
            .unwrap();
        let steps = check(&mut client);
        let wrong: Vec<&Step> = steps
            .iter()
            .filter(|s| ["fail", "warn"].contains(&s.status.as_str()) && s.step != "preload")
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        let found = |name: &str| {
            steps.iter().find(|s| s.step.contains(name)).unwrap_or_else(|| panic!("{name}: {steps:?}"))
        };
        assert!(found("workspace").detail.contains(live.sim.workspace_id()));
        assert!(found("visible schemas").detail.contains("ITSM"));
        assert!(found("visible objects").detail.contains("300"));
        assert_eq!(found("preload").status, "warn");
    }
}

/// A listener that answers everything with the same bytes.
fn answering(bytes: &'static [u8]) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { return };
            let _ = connection.read(&mut [0; 4096]);
            let _ = connection.write_all(bytes);
        }
    });
    address
}

#[test]
fn check_reports_the_step_that_fails_with_a_hint_and_never_raises() {
    let live = Live::start(Options { objects: 300, ..Options::default() });
    live.connect()
        .batch_execute("ALTER SERVER assets OPTIONS (ADD retry_timeout '100ms', ADD request_timeout '1s')")
        .unwrap();
    let free_port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let site = |url: &str| format!("ALTER SERVER assets OPTIONS (SET site '{url}')");
    let token = "ALTER USER MAPPING FOR postgres SERVER assets OPTIONS (SET api_token 'wrong')".to_owned();
    let become_scoped = "DROP USER MAPPING FOR postgres SERVER assets;
         CREATE USER MAPPING FOR postgres SERVER assets OPTIONS (email 'scoped@example.com', api_token 'scoped-token')"
        .to_owned();
    let file = "DROP USER MAPPING FOR postgres SERVER assets;
         CREATE USER MAPPING FOR postgres SERVER assets OPTIONS (email 'a', api_token_file '/nonexistent/token')"
        .to_owned();
    let scopes = |missing: &'static str| {
        move |live: &Live| {
            live.sim.switches(|s| {
                let all = assets_fdw_tests::assets_sim::SCOPES.iter();
                s.scopes = Some(all.filter(|scope| **scope != missing).map(|s| (*s).to_owned()).collect());
            });
        }
    };
    let fault = |kind: FaultKind, on: Option<Endpoint>| {
        move |live: &Live| {
            let fault = Fault::new(kind.clone());
            live.sim.fault(match on {
                Some(endpoint) => fault.on(endpoint),
                None => fault,
            });
        }
    };
    type Break<'a> = Box<dyn Fn(&Live) + 'a>;
    let nothing: fn(&Live) = |_| {};
    let not_http = answering(b"SSH-2.0-OpenSSH_9.2\r\n");
    let html =
        answering(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\r\n<html>no</html>");
    // What is broken, by SQL and in the service; the steps of which one fails.
    let cases: Vec<(&str, String, Break<'_>, &[&str])> = vec![
        (
            "no user mapping",
            "DROP USER MAPPING FOR postgres SERVER assets".into(),
            Box::new(nothing),
            &["user mapping"],
        ),
        ("a wrong token", token, Box::new(nothing), &["workspace", "credential"]),
        (
            "nobody listens",
            site(&format!("http://127.0.0.1:{free_port}")),
            Box::new(nothing),
            &["connection"],
        ),
        ("not http", site(&format!("http://{not_http}")), Box::new(nothing), &["connection"]),
        (
            "some other web site",
            site(&format!("http://{html}")),
            Box::new(nothing),
            &["cloud id", "workspace", "connection"],
        ),
        (
            "tls expected",
            site(&live.sim.url().replace("http:", "https:")),
            Box::new(nothing),
            &["tls", "connection"],
        ),
        (
            "an unknown host",
            site("https://nobody.invalid"),
            Box::new(nothing),
            &["name lookup", "connection"],
        ),
        (
            "no Assets",
            String::new(),
            Box::new(|l: &Live| l.sim.switches(|s| s.no_assets = true)),
            &["workspace"],
        ),
        (
            "a scope for attributes is missing",
            become_scoped.clone(),
            Box::new(scopes("read:cmdb-attribute:jira")),
            &["scope read:cmdb-attribute:jira"],
        ),
        (
            "a scope for objects is missing",
            become_scoped.clone(),
            Box::new(scopes("read:cmdb-object:jira")),
            &["scope read:cmdb-object:jira", "route"],
        ),
        (
            "a scope for schemas is missing",
            become_scoped,
            Box::new(scopes("read:cmdb-schema:jira")),
            &["scope read:cmdb-schema:jira"],
        ),
        ("a missing token file", file, Box::new(nothing), &["credential", "options"]),
        (
            "a missing ca file",
            "ALTER SERVER assets OPTIONS (ADD ca_file '/nonexistent/ca.pem')".into(),
            Box::new(nothing),
            &["options"],
        ),
        (
            "a wrong workspace",
            "ALTER SERVER assets OPTIONS (ADD workspace_id '00000000-0000-0000-0000-000000000000')".into(),
            Box::new(nothing),
            &["route", "scope read:cmdb-schema:jira"],
        ),
        (
            "trouble of the service's",
            String::new(),
            Box::new(fault(FaultKind::Status { status: 503 }, None)),
            &["connection", "cloud id", "workspace"],
        ),
        (
            "a silent service",
            String::new(),
            Box::new(fault(FaultKind::StallBefore { ms: 60_000 }, None)),
            &["connection"],
        ),
        (
            "garbage",
            String::new(),
            Box::new(fault(FaultKind::InvalidJson, Some(Endpoint::SchemaList))),
            &["scope read:cmdb-schema:jira"],
        ),
        (
            "a redirect",
            String::new(),
            Box::new(fault(FaultKind::Redirect { location: "https://evil.example".into() }, None)),
            &["connection"],
        ),
    ];
    let mut wrong = String::new();
    for (what, sql, breaks, expected) in &cases {
        let mut client = live.connect();
        // The transaction takes the change of the options back.
        client.batch_execute(&format!("BEGIN; {sql}")).unwrap();
        breaks(&live);
        let steps = check(&mut client);
        let failed: Vec<&Step> = steps.iter().filter(|s| s.status == "fail").collect();
        if !failed.iter().any(|s| expected.contains(&s.step.as_str())) {
            wrong += &format!("{what}: expected one of {expected:?} to fail: {steps:#?}\n");
        }
        live.sim.clear_faults();
        live.sim.switches(|s| {
            s.no_assets = false;
            s.scopes = None;
        });
        client.batch_execute("ROLLBACK").unwrap();
        drop(client);
    }
    assert!(wrong.is_empty(), "{wrong}");
    let mut client = live.connect();
    assert!(check(&mut client).iter().all(|s| s.status != "fail"));
}

#[test]
fn check_raises_only_over_a_server_that_is_not_there_or_not_ours() {
    let (_database, mut client) = start();
    assert_eq!(refused(&mut client, "SELECT * FROM assets_fdw.check('nowhere')").code, "42704");
    client
        .batch_execute("CREATE FOREIGN DATA WRAPPER other; CREATE SERVER theirs FOREIGN DATA WRAPPER other")
        .unwrap();
    for sql in [
        "SELECT * FROM assets_fdw.check('theirs')",
        "SELECT * FROM assets_fdw.aql('theirs', '')",
        "SELECT assets_fdw.count('theirs', '')",
    ] {
        assert_eq!(refused(&mut client, sql).code, "42809", "{sql}");
    }
}

#[test]
fn every_step_that_fails_says_what_to_change_and_where() {
    let live = Live::start(Options { objects: 300, ..Options::default() });
    let role = format!("{}_owner", live.database.name());
    live.connect()
        .batch_execute(&format!(
            "ALTER SERVER assets OPTIONS (ADD retry_timeout '100ms', ADD request_timeout '2s');
             CREATE ROLE {role}; GRANT USAGE ON FOREIGN DATA WRAPPER assets_fdw TO {role}"
        ))
        .unwrap();
    let token = |index: usize| {
        let identity = &live.sim.identities()[index];
        let credential = match index {
            3 => format!("access_token '{}'", identity.secret),
            4 => format!("client_id '{}', client_secret '{}'", identity.name, identity.secret),
            _ => format!("email '{}', api_token '{}'", identity.name, identity.secret),
        };
        format!(
            "DROP USER MAPPING FOR postgres SERVER assets; CREATE USER MAPPING FOR postgres SERVER assets OPTIONS ({credential})"
        )
    };
    // The server leads somewhere else, and the mapping's secret was set for it.
    let lead =
        |url: &str, more: &str| format!("ALTER SERVER assets OPTIONS (SET site '{url}'{more}); {}", token(0));
    let free_port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let other_name = Front::start(&live.sim, "other.example", &["http/1.1"], "2");
    let expired = Front::start(&live.sim, "localhost", &["http/1.1"], "-1");
    let unknown = Front::start(&live.sim, "localhost", &["h2"], "2");
    let tls = |front: &Front, ca: bool| {
        let url = format!("https://localhost:{}", front.port);
        let ca = if ca { front.ca() } else { String::new() };
        lead(&url, &format!(", ADD api_url '{url}'{}", ca.replace("ca_file", "ADD ca_file")))
    };
    let late = Peer::start(|request, connection| match request.is("tenant_info") {
        true => reply(connection, 200, "Date: Mon, 01 Jan 2024 00:00:00 GMT\r\n", b"{\"cloudId\":\"c1\"}"),
        false => good(request, connection),
    });
    let double = Peer::start(|request, connection| match request.is("servicedeskapi") {
        true => reply(connection, 200, "", br#"{"values":[{"workspaceId":"w2"},{"workspaceId":"w1"}]}"#),
        false => good(request, connection),
    });
    let elsewhere = Peer::start(|_, connection| {
        reply(
            connection,
            404,
            "Content-Type: text/html\r\n",
            b"<html><title>Your site is not here</title></html>",
        )
    });
    type Break<'a> = Box<dyn Fn() + 'a>;
    let nothing = || -> Break<'_> { Box::new(|| ()) };
    let sim = &live.sim;
    let fault = |status: u16, on: Endpoint| -> Break<'_> {
        Box::new(move || sim.fault(Fault::new(FaultKind::Status { status }).on(on)))
    };
    let denied = |endpoint: Endpoint| -> Break<'_> {
        let body = r#"{"errorMessages":["Authenticated user is missing permission to access this resource"],"errors":{}}"#;
        let what = FaultKind::Answer { status: 403, body: body.to_owned() };
        Box::new(move || sim.fault(Fault::new(what.clone()).on(endpoint)))
    };
    let without = |scope: &'static str| -> Break<'_> {
        Box::new(move || {
            let all = assets_fdw_tests::assets_sim::SCOPES.iter();
            let left = all.filter(|s| **s != scope).map(|s| (*s).to_owned()).collect();
            sim.switches(|switches| switches.scopes = Some(left));
        })
    };
    // What is wrong, how it is made so, the step that tells of it and how, and words of its detail and of its hint.
    type Case<'a> = (&'a str, String, Break<'a>, &'a str, &'a str, &'a [&'a str]);
    let cases: Vec<Case<'_>> = vec![
        ("no mapping", "DROP USER MAPPING FOR postgres SERVER assets".into(), nothing(), "user mapping", "fail",
         &["CREATE USER MAPPING FOR \"postgres\" SERVER \"assets\""]),
        ("an unknown host", lead("https://nobody.invalid", ""), nothing(), "name lookup", "fail", &["nobody.invalid", "site"]),
        ("nobody listens", lead(&format!("http://127.0.0.1:{free_port}"), ""), nothing(), "connection", "fail",
         &["127.0.0.1", "reach the host"]),
        ("a certificate for another name", tls(&other_name, true), nothing(), "tls", "fail", &["other.example", "site"]),
        ("an expired certificate", tls(&expired, true), nothing(), "tls", "fail", &["Expired", "renew"]),
        ("an authority that nobody knows", tls(&unknown, false), nothing(), "tls", "fail", &["ca_file"]),
        ("a wrong token", "ALTER USER MAPPING FOR postgres SERVER assets OPTIONS (SET api_token 'wrong')".into(), nothing(),
         "workspace", "fail", &["reader@example.com", "id.atlassian.com"]),
        ("a wrong bearer", "DROP USER MAPPING FOR postgres SERVER assets;
          CREATE USER MAPPING FOR postgres SERVER assets OPTIONS (access_token 'wrong')".into(), nothing(),
         "workspace", "fail", &["access token", "Service accounts"]),
        ("wrong client credentials", "DROP USER MAPPING FOR postgres SERVER assets;
          CREATE USER MAPPING FOR postgres SERVER assets OPTIONS (client_id 'sim-client', client_secret 'wrong')".into(), nothing(),
         "credential", "fail", &["sim-client", "client_secret", "Service accounts"]),
        ("no right to the workspace", String::new(), denied(Endpoint::Workspace), "workspace", "fail",
         &["Jira Service Management"]),
        ("no right to object schemas", String::new(), denied(Endpoint::SchemaList), "scope read:cmdb-schema:jira", "fail",
         &["Object schema users"]),
        ("a page of a firewall", String::new(), fault(403, Endpoint::SchemaList), "scope read:cmdb-schema:jira", "fail",
         &["403 Forbidden", "a firewall"]),
        ("no scope for discovery", token(2), without("read:servicedesk-request"), "workspace", "fail",
         &["read:servicedesk-request", "ALTER USER MAPPING"]),
        ("no scope for objects", token(4), without("read:cmdb-object:jira"), "scope read:cmdb-object:jira", "fail",
         &["read:cmdb-object:jira", "ALTER USER MAPPING"]),
        ("no scope for types", token(3), without("read:cmdb-type:jira"), "scope read:cmdb-type:jira", "fail",
         &["read:cmdb-type:jira", "ALTER USER MAPPING"]),
        ("a wrong cloud id", format!("{}; ALTER SERVER assets OPTIONS (ADD cloud_id '00000000-0000-0000-0000-000000000000')", token(4)),
         nothing(), "workspace", "fail", &["cloud_id"]),
        ("no Assets", String::new(), Box::new(|| live.sim.switches(|s| s.no_assets = true)), "workspace", "fail",
         &["Premium or Enterprise"]),
        ("another web site", lead(elsewhere.url(), ""), nothing(), "workspace", "fail", &["Your site is not here", "site"]),
        ("a wrong workspace", "ALTER SERVER assets OPTIONS (ADD workspace_id '00000000-0000-0000-0000-000000000000')".into(),
         nothing(), "scope read:cmdb-schema:jira", "fail", &["workspace_id"]),
        ("two workspaces", lead(double.url(), ""), nothing(), "workspace", "fail", &["w1, w2", "workspace_id"]),
        ("another clock", lead(late.url(), ""), nothing(), "clock", "warn", &["NTP"]),
        ("a spent limit", String::new(), Box::new(|| {
            live.sim.fault(Fault::new(FaultKind::TooMany { retry_after: Some("3600".into()) }).on(Endpoint::TotalCount));
        }), "rate limit", "warn", &["requests_per_minute"]),
        ("not preloaded", String::new(), nothing(), "preload", "warn", &["shared_preload_libraries"]),
        ("a secret file that is not there", "DROP USER MAPPING FOR postgres SERVER assets;
          CREATE USER MAPPING FOR postgres SERVER assets OPTIONS (access_token_file '/nonexistent/token')".into(), nothing(),
         "credential", "fail", &["/nonexistent/token", "operating system user"]),
        ("an authority file that is not there", "ALTER SERVER assets OPTIONS (ADD ca_file '/nonexistent/ca.pem')".into(), nothing(),
         "options", "fail", &["/nonexistent/ca.pem", "ca_file", "operating system user"]),
        ("a host that is not allowed", lead("https://elsewhere.example", ""), nothing(), "connection", "fail",
         &["elsewhere.example", "assets_fdw.allowed_hosts", "ALTER SYSTEM"]),
        ("this machine, of somebody else's server", format!("ALTER SERVER assets OWNER TO {role}"), nothing(), "connection", "fail",
         &["127.0.0.1", "superuser"]),
        ("a secret for elsewhere", format!("ALTER SERVER assets OPTIONS (SET site '{}')", late.url()), nothing(), "credential", "fail",
         &["ALTER USER MAPPING", "assets_fdw.trust_server('assets')"]),
    ];
    let mut wrong = String::new();
    for (what, sql, breaks, step, status, words) in &cases {
        let mut client = live.connect();
        // The transaction takes the changes back.
        client
            .batch_execute(&format!(
                "SET assets_fdw.allowed_hosts = '*.atlassian.com, nobody.invalid'; BEGIN; {sql}"
            ))
            .unwrap();
        breaks();
        let steps = check(&mut client);
        let found = steps.iter().find(|s| s.step == *step && s.status == *status);
        let text = found.map(|s| format!("{} HINT {}", s.detail, s.hint.as_deref().unwrap_or("none")));
        if !text.as_ref().is_some_and(|text| words.iter().all(|word| text.contains(word))) {
            let told: Vec<&Step> = steps.iter().filter(|s| s.status == "fail" || s.step == *step).collect();
            wrong += &format!("{what}: {step} should {status} and say {words:?}: {told:#?}\n");
        }
        live.sim.clear_faults();
        live.sim.switches(|switches| (switches.no_assets, switches.scopes) = (false, None));
    }
    assert!(wrong.is_empty(), "{wrong}");
}
