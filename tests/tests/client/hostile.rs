//! Answers that no service gives: each is an ERROR that names what was wrong, in time, and the session goes on.

use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use assets_fdw_tests::Server;
use postgres::Client;

use crate::live::{Refusal, one};
use crate::peer::{Peer, Request, reply};

/// What a well-behaved peer answers: one object schema, one type, one object.
pub(crate) fn good(request: &Request, connection: &mut TcpStream) {
    let body = if request.is("tenant_info") {
        r#"{"cloudId":"c1"}"#
    } else if request.is("servicedeskapi") {
        r#"{"values":[{"workspaceId":"w1"}]}"#
    } else if request.is("oauth/token") {
        r#"{"access_token":"issued","expires_in":3600}"#
    } else if request.is("objectschema/list") {
        r#"{"values":[{"id":"1","name":"Things","objectSchemaKey":"TH","objectCount":1}],"isLast":true,"total":1}"#
    } else if request.is("objecttypes/flat") {
        r#"[{"id":"1","name":"Thing","objectSchemaId":"1","objectCount":1}]"#
    } else if request.is("/attributes") {
        r#"[{"id":"7","name":"Number","type":0,"defaultType":{"id":1,"name":"Integer"},"maximumCardinality":1},
            {"id":"8","name":"When","type":0,"defaultType":{"id":6,"name":"DateTime"},"maximumCardinality":1}]"#
    } else if request.is("totalcount") {
        r#"{"totalCount":1}"#
    } else if request.is("object/aql") {
        &page("", "")
    } else {
        r#"{"id":"1","name":"Thing","objectSchemaId":"1"}"#
    };
    reply(connection, 200, "", body.as_bytes());
}

/// A page of one object with other or further members: `values` of the object, `outside` of the page.
fn page(inside: &str, outside: &str) -> String {
    let inside = if inside.is_empty() {
        r#""id":"5","objectKey":"TH-5","label":"five","created":"2024-01-01T00:00:00Z","attributes":[]"#
    } else {
        inside
    };
    let outside = if outside.is_empty() { r#""isLast":true,"total":1"# } else { outside };
    format!("{{\"values\":[{{{inside}}}],{outside}}}")
}

fn object(attributes: &str) -> String {
    page(
        &format!(
            r#""id":"5","objectKey":"TH-5","label":"five","created":"2024-01-01T00:00:00Z","attributes":[{attributes}]"#
        ),
        "",
    )
}

fn value(attribute: u32, json: &str) -> String {
    object(&format!(
        r#"{{"objectTypeAttributeId":"{attribute}","objectAttributeValues":[{{"value":{json}}}]}}"#
    ))
}

/// A gzip file of `megabytes` of blanks: one block of stored bytes would not be a bomb, so one byte is copied on and on.
fn gzip_bomb(megabytes: usize) -> Vec<u8> {
    // Deflate with the fixed code: a literal blank, then matches of 258 bytes at distance 1.
    let (mut out, mut bits, mut count) = (vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], 0u32, 0u32);
    let mut push = |value: u32, length: u32| {
        bits |= value << count;
        count += length;
        while count >= 8 {
            out.push(bits as u8);
            bits >>= 8;
            count -= 8;
        }
    };
    push(0b011, 3); // the last block, fixed code
    push(u32::from(reversed(0x30 + 0x20)), 8); // a blank
    for _ in 0..megabytes * (1 << 20) / 258 {
        push(u32::from(reversed(0xC0 + 5)), 8); // length 258, code 285
        push(0, 5); // distance 1
    }
    push(0, 7 + 7); // the end, and the last byte filled up
    out
}

fn reversed(byte: u8) -> u8 {
    byte.reverse_bits()
}

type Answer = Arc<dyn Fn(&Request, &mut TcpStream) + Send + Sync>;

fn body(text: impl Into<Vec<u8>>) -> Answer {
    let text = text.into();
    Arc::new(move |_, connection| reply(connection, 200, "", &text))
}

fn raw(text: impl Into<Vec<u8>>) -> Answer {
    let text = text.into();
    Arc::new(move |_, connection| {
        let _ = connection.write_all(&text);
    })
}

fn on_and_on(head: &'static str, piece: Vec<u8>, pause: Duration) -> Answer {
    Arc::new(move |_, connection| {
        let _ = connection.write_all(head.as_bytes());
        // Until the other side has enough.
        while connection.write_all(&piece).is_ok() {
            std::thread::sleep(pause);
        }
    })
}

/// What is broken: its name, the request that is answered so, the answer, the statement, the SQLSTATEs that it may have, and
/// a word that says what was wrong.
struct Case(&'static str, &'static str, Answer, &'static str, &'static [&'static str], &'static str);

const SCAN: &str = "SELECT * FROM things";
const COUNT: &str = "SELECT assets_fdw.count('peer', '')";
const IMPORT: &str = "BEGIN; CREATE SCHEMA again; IMPORT FOREIGN SCHEMA \"TH\" FROM SERVER peer INTO again";
const ANSWER: &[&str] = &["HV000"];
const VALUE: &[&str] = &["HV024"];
const NETWORK: &[&str] = &["HV00N", "HV000"];

fn pages() -> Vec<Case> {
    let at = "object/aql?";
    let case = |name, answer: String, code, word| Case(name, at, body(answer), SCAN, code, word);
    let deep = "[".repeat(1_000_000);
    let mut invalid = object("").into_bytes();
    let five = invalid.windows(4).position(|four| four == b"five").expect("the label");
    invalid[five..five + 4].copy_from_slice(b"\xff\xfe\xed\xa0");
    let never_last = r#""isLast":false,"hasMoreResults":true,"total":1000000"#;
    vec![
        case(
            "an id that is no number",
            page(r#""id":"five","objectKey":"TH-5","attributes":[]"#, ""),
            ANSWER,
            "id",
        ),
        case("an id below zero", page(r#""id":-5,"objectKey":"TH-5","attributes":[]"#, ""), ANSWER, "id"),
        case(
            "an id beyond its type",
            page(r#""id":"9223372036854775808","objectKey":"TH-5","attributes":[]"#, ""),
            ANSWER,
            "id",
        ),
        case("an id of 1e400", page(r#""id":1e400,"objectKey":"TH-5","attributes":[]"#, ""), ANSWER, "1e400"),
        case("no id", page(r#""objectKey":"TH-5","attributes":[]"#, ""), ANSWER, "id"),
        case(
            "a key that is a list",
            page(r#""id":"5","objectKey":["TH-5"],"attributes":[]"#, ""),
            ANSWER,
            "objectKey",
        ),
        case(
            "a key with a NUL",
            page(r#""id":"5","objectKey":"TH\u0000","attributes":[]"#, ""),
            ANSWER,
            "objectKey",
        ),
        case(
            "an id twice",
            page(r#""id":"5","id":"6","objectKey":"TH-5","attributes":[]"#, ""),
            ANSWER,
            "twice",
        ),
        case("values twice", format!("{{\"values\":[],{}", &page("", "")[1..]), ANSWER, "twice"),
        case("values that are an object", r#"{"values":{"0":{}},"isLast":true}"#.into(), ANSWER, "values"),
        case("no values", r#"{"isLast":true,"total":0}"#.into(), ANSWER, "values"),
        case("null", "null".into(), ANSWER, "null"),
        case("two answers", format!("{0}{0}", page("", "")), ANSWER, "trailing"),
        case(
            "attributes that are a text",
            page(r#""id":"5","objectKey":"TH-5","attributes":"none""#, ""),
            ANSWER,
            "attributes",
        ),
        case("no attributes", page(r#""id":"5","objectKey":"TH-5""#, ""), ANSWER, "attributes"),
        case("nested deeply", format!("{{\"values\":{deep}"), ANSWER, "values"),
        case("nested deeply where nobody looks", format!("{{\"unknown\":{deep}"), ANSWER, "EOF"),
        case("a last page that is not", page("", r#""isLast":"perhaps""#), ANSWER, "isLast"),
        case("the same page for ever", page("", never_last), ANSWER, ""),
        Case("bytes that are no UTF-8", at, body(invalid), SCAN, ANSWER, "label"),
        case("a number beyond its type", value(7, "9223372036854775808"), VALUE, "9223372036854775808"),
        case("a number that is a text", value(7, "\"many\""), VALUE, "many"),
        case("a number that is an object", value(7, "{\"a\":1}"), VALUE, "TH-5"),
        case("a number that is half", value(7, "0.5"), VALUE, "0.5"),
        case("a date out of range", value(8, "\"999999-12-31T00:00:00Z\""), VALUE, "999999"),
        case("a day that is not", value(8, "\"2023-02-29T00:00:00Z\""), VALUE, "2023-02-29"),
        case("a moment without a zone", value(8, "\"2023-02-28T00:00:00\""), VALUE, "zone"),
    ]
}

fn others() -> Vec<Case> {
    let list = |name, text: &str, word| Case(name, "objectschema/list", body(text), IMPORT, ANSWER, word);
    vec![
        list("a schema without an id", r#"{"values":[{"name":"x"}],"isLast":true}"#, "id"),
        list("a schema's id that is a word", r#"{"values":[{"id":"x"}],"isLast":true}"#, "values[0].id"),
        list("schemas that are a text", r#"{"values":"all"}"#, "values"),
        list(
            "schemas without an end",
            r#"{"values":[{"id":"9","name":"x"}],"isLast":false}"#,
            "does not end",
        ),
        Case(
            "types that are a text",
            "objecttypes/flat",
            body(r#"{"entries":7}"#),
            IMPORT,
            ANSWER,
            "entries",
        ),
        Case(
            "a type's id",
            "objecttypes/flat",
            body(r#"[{"id":true,"objectSchemaId":"1"}]"#),
            IMPORT,
            ANSWER,
            "[0].id",
        ),
        Case(
            "an attribute's id",
            "/attributes",
            body(r#"[{"id":{"a":1},"name":"n","type":0}]"#),
            IMPORT,
            ANSWER,
            "[0].id",
        ),
        Case(
            "a count that is a word",
            "totalcount",
            body(r#"{"totalCount":"many"}"#),
            COUNT,
            ANSWER,
            "totalCount",
        ),
        Case("a count below zero", "totalcount", body(r#"{"totalCount":-1}"#), COUNT, ANSWER, "totalCount"),
        Case("a count of 1e30", "totalcount", body(r#"{"totalCount":1e30}"#), COUNT, ANSWER, "totalCount"),
        Case(
            "a workspace that leads elsewhere",
            "servicedeskapi",
            body(r#"{"values":[{"workspaceId":"../../../evil"}]}"#),
            COUNT,
            ANSWER,
            "workspace id",
        ),
        Case(
            "a workspace that is a number",
            "servicedeskapi",
            body(r#"{"values":[{"workspaceId":7}]}"#),
            COUNT,
            ANSWER,
            "workspaceId",
        ),
    ]
}

fn wires() -> Vec<Case> {
    let at = "totalcount";
    let case = |name, answer, word| Case(name, at, answer, COUNT, NETWORK, word);
    let redirect: Answer = Arc::new(|_, connection| reply(connection, 302, "Location: /again\r\n", b""));
    let gzip: Answer = Arc::new(|_, connection| {
        reply(connection, 200, "Content-Encoding: gzip\r\n", &gzip_bomb(256));
    });
    let no_gzip: Answer = Arc::new(|_, connection| {
        reply(connection, 200, "Content-Encoding: gzip\r\n", b"{\"totalCount\":1}");
    });
    let chunked = "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n";
    let blanks = [b"10000\r\n".to_vec(), vec![b' '; 65536], b"\r\n".to_vec()].concat();
    let slow = Duration::from_millis(50);
    let now = Duration::ZERO;
    vec![
        case("redirects without an end", redirect.clone(), "redirect"),
        Case("redirects of a GET without an end", "objectschema/list", redirect, IMPORT, NETWORK, "again"),
        case("a bomb of gzip", gzip, "larger than"),
        case("gzip that is none", no_gzip, ""),
        case("a body without an end", on_and_on(chunked, blanks, now), "larger than"),
        case("a body by the byte", on_and_on(chunked, b"1\r\n \r\n".to_vec(), slow), "request_timeout"),
        case(
            "headers by the byte",
            on_and_on("HTTP/1.1 200 X\r\nX: ", b"x".to_vec(), slow),
            "request_timeout",
        ),
        case("a header without an end", on_and_on("HTTP/1.1 200 X\r\nX: ", vec![b'x'; 65536], now), ""),
        case(
            "headers without an end",
            on_and_on("HTTP/1.1 200 X\r\n", b"X-Header: x\r\n".repeat(999), now),
            "",
        ),
        case(
            "100 Continue without an end",
            on_and_on("", b"HTTP/1.1 100 Continue\r\n\r\n".repeat(99), now),
            "",
        ),
        case("a length that is none", raw("HTTP/1.1 200 X\r\nContent-Length: -5\r\n\r\n{}"), ""),
        case(
            "a length beyond its type",
            raw("HTTP/1.1 200 X\r\nContent-Length: 99999999999999999999\r\n\r\n{}"),
            "",
        ),
        case(
            "a length of a world",
            raw("HTTP/1.1 200 X\r\nContent-Length: 9000000000000000000\r\n\r\n{}"),
            "",
        ),
        case("two lengths", raw("HTTP/1.1 200 X\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} "), ""),
        case("a chunk that is none", raw(format!("{chunked}zz\r\n{{}}\r\n0\r\n\r\n")), ""),
        case("a status that is none", raw("HTTP/1.1 9999 X\r\n\r\n"), ""),
        case("noise", raw((0..=255).cycle().take(5000).collect::<Vec<u8>>()), ""),
        case("nothing", raw(""), ""),
    ]
}

fn tokens() -> Vec<Case> {
    let case =
        |name, text: &str| Case(name, "oauth/token", body(text), COUNT, &["HV000", "HV00D", "28000"], "");
    vec![
        case("a token with a line break", r#"{"access_token":"a\r\nX-Evil: 1"}"#),
        case("no token", r#"{"expires_in":3600}"#),
        case("a token that is a list", r#"{"access_token":["a"]}"#),
        case("no JSON", "access_token=a"),
        Case(
            "a token by the byte",
            "oauth/token",
            on_and_on(
                "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"1\r\n \r\n".to_vec(),
                Duration::from_millis(50),
            ),
            COUNT,
            NETWORK,
            "request_timeout",
        ),
        Case(
            "redirects",
            "oauth/token",
            Arc::new(|_, connection| reply(connection, 307, "Location: http://127.0.0.1:1/\r\n", b"")),
            COUNT,
            NETWORK,
            "redirect",
        ),
    ]
}

fn run(cases: Vec<Case>, credential: &str) {
    let server = Server::shared();
    let database = server.create_database();
    let current: Arc<Mutex<Option<(&str, Answer)>>> = Arc::default();
    let now = current.clone();
    let peer = Peer::start(move |request, connection| {
        let spoiled = now.lock().expect("the case").clone();
        match spoiled {
            Some((part, answer)) if request.is(part) => answer(request, connection),
            _ => good(request, connection),
        }
    });
    let mut client = database.connect();
    client
        .batch_execute(&format!(
            "CREATE SERVER peer FOREIGN DATA WRAPPER assets_fdw OPTIONS (site '{}', retry_timeout '100ms',
                 request_timeout '1500ms', max_response_bytes '4MB', requests_per_minute '0');
             CREATE USER MAPPING FOR postgres SERVER peer OPTIONS ({credential});
             CREATE FOREIGN TABLE things (
                 id bigint OPTIONS (field 'id'), key text OPTIONS (field 'key'), label text OPTIONS (field 'label'),
                 created timestamptz OPTIONS (field 'created'), number bigint OPTIONS (attribute_id '7'),
                 \"when\" timestamptz OPTIONS (attribute_id '8'))
                 SERVER peer OPTIONS (object_type_id '1', object_schema_id '1')",
            peer.url()
        ))
        .unwrap();
    drop(client);
    let mut wrong = String::new();
    for Case(name, part, answer, sql, codes, word) in cases {
        // What an earlier case had the client find out must not spare it this one.
        let mut client = database.connect();
        client.batch_execute("SET statement_timeout = '60s'").unwrap();
        *current.lock().unwrap() = Some((part, answer));
        let started = Instant::now();
        let outcome = client.batch_execute(sql);
        let took = started.elapsed();
        match outcome {
            Ok(()) => wrong += &format!("{name}: no ERROR\n"),
            Err(error) => {
                let refusal = Refusal::of(&error);
                let named = refusal.text().contains(word);
                if !codes.contains(&refusal.code.as_str()) || !named || refusal.text().len() > 4000 {
                    wrong += &format!("{name}: {refusal:?}\n");
                }
            }
        }
        if took > Duration::from_secs(30) {
            wrong += &format!("{name}: took {took:?}\n");
        }
        // The session goes on.
        *current.lock().unwrap() = None;
        client.batch_execute("ROLLBACK").unwrap();
        wrong += &still_well(&mut client, name);
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!(server.crashes(), Vec::<String>::new());
}

fn still_well(client: &mut Client, name: &str) -> String {
    match client.query_one("SELECT count(*) FROM things", &[]) {
        Ok(row) if row.get::<_, i64>(0) == 1 => {}
        other => return format!("after {name}: {other:?}\n"),
    }
    match one::<i64>(client, COUNT) {
        1 => String::new(),
        other => format!("after {name}: {other}\n"),
    }
}

const BASIC: &str = "email 'e@x.example', api_token 'secret'";

#[test]
fn pages_that_are_none() {
    run(pages(), BASIC);
}

#[test]
fn metadata_that_is_none() {
    run(others(), BASIC);
}

#[test]
fn answers_that_are_no_http_or_do_not_end() {
    run(wires(), BASIC);
}

#[test]
fn token_answers_that_hold_no_token() {
    run(tokens(), "client_id 'id', client_secret 'secret'");
}
