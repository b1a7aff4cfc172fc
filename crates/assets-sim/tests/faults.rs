//! Each fault as a client meets it.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use assets_sim::{Endpoint, Fault, FaultKind, Profile, Sim};
use serde_json::Value;
use support::{Client, basic, ids, start};

/// The raw answer to a search, up to the end or the error of the connection.
fn raw(sim: &Sim) -> (Vec<u8>, std::io::Result<usize>) {
    let mut stream = TcpStream::connect(sim.url().strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let path = sim.gateway()[sim.url().len()..].to_owned();
    let body = r#"{"qlQuery":"objectType = Server"}"#;
    let authorization = basic("reader@example.com", "classic-token").unwrap();
    write!(
        stream,
        "POST {path}/object/aql?maxResults=10 HTTP/1.1\r\nHost: sim\r\nConnection: close\r\nAuthorization: \
         {authorization}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes);
    (bytes, end)
}

fn parts(bytes: &[u8]) -> (String, &[u8], usize) {
    let cut = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(bytes[..cut].to_vec()).unwrap();
    let length = head.lines().find_map(|l| l.strip_prefix("Content-Length: ")).unwrap().parse().unwrap();
    (head, &bytes[cut + 4..], length)
}

fn once(sim: &Sim, what: FaultKind) {
    sim.clear_faults();
    sim.fault(Fault::new(what).on(Endpoint::ObjectAql).times(1));
}

#[test]
fn connections_break_where_they_are_told_to() {
    let sim = start(500, Profile::Documented);
    once(&sim, FaultKind::ResetBefore);
    let (bytes, end) = raw(&sim);
    assert!(bytes.is_empty() && end.is_err(), "{end:?}");
    once(&sim, FaultKind::ResetAfterHeaders);
    let (bytes, end) = raw(&sim);
    assert!(parts(&bytes).1.is_empty() && end.is_err());
    once(&sim, FaultKind::ResetInBody);
    let (bytes, end) = raw(&sim);
    let (_, body, length) = parts(&bytes);
    assert!(!body.is_empty() && body.len() < length && end.is_err());
    once(&sim, FaultKind::ShortBody);
    let (bytes, end) = raw(&sim);
    let (_, body, length) = parts(&bytes);
    assert!(!body.is_empty() && body.len() < length && end.is_ok());
    let (bytes, _) = raw(&sim);
    let (head, body, length) = parts(&bytes);
    assert!(head.starts_with("HTTP/1.1 200") && body.len() == length, "the next request is answered");
}

#[test]
fn bodies_are_spoiled_as_told() {
    let sim = start(500, Profile::Documented);
    let client = Client::new(&sim);
    let spoiled = |what: FaultKind| {
        once(&sim, what);
        client.aql("objectType = Server", 0, 10)
    };
    let parses = |body: &[u8]| serde_json::from_slice::<Value>(body).is_ok();
    for what in
        [FaultKind::TruncatedJson, FaultKind::InvalidJson, FaultKind::EmptyBody, FaultKind::InvalidUtf8]
    {
        let answer = spoiled(what.clone());
        assert!(answer.status == 200 && !parses(&answer.body), "{what:?}");
    }
    let big = spoiled(FaultKind::Oversized { bytes: 3_000_000 });
    assert!(big.body.len() == 3_000_000 && parses(&big.body));
    assert!(spoiled(FaultKind::DeepJson { depth: 5000 }).body.len() > 10_000);
    assert!(spoiled(FaultKind::WrongTypes).json()["values"].is_object());
    let nul = spoiled(FaultKind::NulBytes).json();
    assert!(nul["values"][0]["label"].as_str().unwrap().contains('\0'));
    let twice = String::from_utf8(spoiled(FaultKind::DuplicateKeys).body).unwrap();
    assert_eq!(twice.matches("\"isLast\":").count(), 2);
    let status = |what: FaultKind| {
        let answer = spoiled(what);
        (answer.status, answer.header("retry-after").map(str::to_owned), answer.body.len())
    };
    let html = status(FaultKind::Status { status: 503 });
    assert!(html.0 == 503 && html.2 > 0);
    assert_eq!(status(FaultKind::TooMany { retry_after: Some("3".into()) }).1.as_deref(), Some("3"));
    assert_eq!(status(FaultKind::TooMany { retry_after: None }).1, None);
    assert_eq!(status(FaultKind::Unauthorized), (401, None, 0));
    let redirect = spoiled(FaultKind::Redirect { location: "http://127.0.0.2:1/elsewhere".into() });
    assert_eq!((redirect.status, redirect.header("location")), (302, Some("http://127.0.0.2:1/elsewhere")));
}

#[test]
fn pages_lie_as_told() {
    let sim = start(2000, Profile::Documented);
    let client = Client::new(&sim);
    let query = "objectType = Server order by objectId";
    let all = client.ids(query);
    let page = |what: FaultKind, start: usize| {
        once(&sim, what);
        let page = client.aql(query, start, 10).json();
        (ids(&page), page["isLast"].as_bool().unwrap())
    };
    assert_eq!(page(FaultKind::EndlessPage, 300), (all[..10].to_vec(), false));
    let (twice, _) = page(FaultKind::DuplicatedObject, 0);
    assert_eq!((twice.len(), twice[9]), (11, twice[10]));
    assert_eq!(page(FaultKind::ShiftedPage, 20).0, all[21..31]);
    assert_eq!(page(FaultKind::EmptyPage, 20), (vec![], false));
    assert_eq!(page(FaultKind::LostTail, 20), (all[20..29].to_vec(), true));
}

#[test]
fn stalls_and_drips_take_their_time_and_end_when_the_client_leaves() {
    let sim = start(300, Profile::Documented);
    for what in [FaultKind::StallBefore { ms: 300 }, FaultKind::StallInBody { ms: 300 }] {
        once(&sim, what);
        let began = Instant::now();
        let (bytes, end) = raw(&sim);
        let (_, body, length) = parts(&bytes);
        assert!(end.is_ok() && body.len() == length && began.elapsed().as_millis() >= 300);
    }
    once(&sim, FaultKind::Drip { bytes: 20_000, ms: 30 });
    let (bytes, _) = raw(&sim);
    let (_, body, length) = parts(&bytes);
    assert_eq!(body.len(), length);
    once(&sim, FaultKind::StallBefore { ms: 600_000 });
    let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_millis(200))).build();
    let hasty = Client { agent: config.into(), ..Client::new(&sim) };
    let left = hasty.send("POST", "/object/aql", "application/json", r#"{"qlQuery":""}"#);
    assert!(left.is_err());
    let deadline = Instant::now() + Duration::from_secs(10);
    while sim.log().last().unwrap().finished.is_none() {
        assert!(Instant::now() < deadline, "the request is under way for ever");
    }
}
