//! The simulator as a process, and a few commands that talk to a running one.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

use assets_sim::{Options, Sim};
use serde_json::{Value, json};

const USAGE: &str = "\
assets-sim [serve] [--listen ADDRESS:PORT] [--objects N] [--latency 40ms] [--page-cap N]
                   [--profile documented|lenient|hostile] [--seed N] [--requests-per-minute N]
                   [--object-bytes N] [--port-file PATH]
assets-sim set URL KEY ATTRIBUTE VALUE...     replaces the values of an attribute (none clears it)
assets-sim create URL TYPE NAME               creates an object and prints its key
assets-sim delete URL KEY
assets-sim change URL JSON                    any change, as POST /_sim/change takes it
assets-sim log URL                            one line a request
assets-sim switch URL NAME JSON               changes a switch
assets-sim fault URL JSON                     sets a fault; without JSON takes all away
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("assets-sim: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", options @ ..] => serve(options),
        ["help" | "-h" | "--help"] => {
            print!("{USAGE}");
            Ok(())
        }
        ["set", url, key, attribute, values @ ..] => {
            change(url, &json!({ "change": "update", "key": key, "attribute": attribute, "values": values }))
        }
        ["create", url, object_type, name] => {
            change(url, &json!({ "change": "create", "object_type": object_type, "name": name }))
        }
        ["delete", url, key] => change(url, &json!({ "change": "delete", "key": key })),
        ["change", url, json] => {
            change(url, &serde_json::from_str(json).map_err(|e| format!("the change is no JSON: {e}"))?)
        }
        ["log", url] => {
            for entry in call(url, "GET", "/_sim/log", None)?.as_array().into_iter().flatten() {
                let start = entry["start_at"].as_u64().map_or_else(String::new, |n| format!(" startAt={n}"));
                let aql = entry["aql"].as_str().map_or_else(String::new, |a| format!("  {a}"));
                println!(
                    "{} {} {}{start}{aql}",
                    entry["status"],
                    entry["method"].as_str().unwrap_or(""),
                    entry["path"]
                );
            }
            Ok(())
        }
        ["switch", url, name, value] => {
            let value: Value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
            call(url, "POST", "/_sim/switches", Some(&json!({ *name: value }))).map(|_| ())
        }
        ["fault", url] => call(url, "DELETE", "/_sim/fault", None).map(|_| ()),
        ["fault", url, fault] => {
            let fault = serde_json::from_str(fault).map_err(|e| format!("the fault is no JSON: {e}"))?;
            call(url, "POST", "/_sim/fault", Some(&fault)).map(|_| ())
        }
        [] => serve(&[]),
        [first, ..] if first.starts_with("--") => serve(&words),
        _ => Err(format!("what is that?\n{USAGE}")),
    }
}

fn serve(arguments: &[&str]) -> Result<(), String> {
    let mut options = Options::default();
    let mut port_file = None;
    let mut left = arguments.iter();
    while let Some(name) = left.next() {
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, value),
            None => (*name, *left.next().ok_or_else(|| format!("{name} needs a value\n{USAGE}"))?),
        };
        let bad = |e: &dyn std::fmt::Display| format!("{name} {value:?}: {e}");
        match name {
            "--listen" => options.listen = value.parse().map_err(|e: std::net::AddrParseError| bad(&e))?,
            "--objects" => options.objects = value.parse().map_err(|e: std::num::ParseIntError| bad(&e))?,
            "--latency" => options.latency = duration(value).ok_or_else(|| bad(&"write it as 40ms or 2s"))?,
            "--page-cap" => options.page_cap = value.parse().map_err(|e: std::num::ParseIntError| bad(&e))?,
            "--profile" => options.profile = value.parse().map_err(|e: String| bad(&e))?,
            "--seed" => options.seed = value.parse().map_err(|e: std::num::ParseIntError| bad(&e))?,
            "--requests-per-minute" => {
                options.requests_per_minute = value.parse().map_err(|e: std::num::ParseIntError| bad(&e))?;
            }
            "--object-bytes" => {
                options.object_bytes = Some(value.parse().map_err(|e: std::num::ParseIntError| bad(&e))?);
            }
            "--port-file" => port_file = Some(value.to_owned()),
            _ => return Err(format!("unknown option {name}\n{USAGE}")),
        }
    }
    let sim = Sim::start(options).map_err(|e| format!("cannot start: {e}"))?;
    // Whoever started it may have closed the pipe; it serves all the same.
    let mut text = format!("assets-sim listening on {}\n", sim.url());
    for identity in sim.identities() {
        text.push_str(&format!("  {:?} {} {}\n", identity.credential, identity.name, identity.secret));
    }
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if let Some(path) = port_file {
        // Renamed into place, so that a reader never sees half of it.
        let draft = format!("{path}.{}", std::process::id());
        std::fs::write(&draft, format!("{}\n", sim.url()))
            .map_err(|e| format!("cannot write {draft}: {e}"))?;
        std::fs::rename(&draft, &path).map_err(|e| format!("cannot write {path}: {e}"))?;
    }
    loop {
        std::thread::park();
    }
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let n: u64 = digits.parse().ok()?;
    match &text[digits.len()..] {
        "ms" | "" => Some(Duration::from_millis(n)),
        "s" => Some(Duration::from_secs(n)),
        _ => None,
    }
}

fn change(url: &str, change: &Value) -> Result<(), String> {
    let answer = call(url, "POST", "/_sim/change", Some(change))?;
    println!("{}", answer["changed"].as_str().unwrap_or("changed"));
    Ok(())
}

/// One request to the control API of a running simulator.
fn call(url: &str, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
    let address = url.trim_end_matches('/').strip_prefix("http://").ok_or("the URL begins with http://")?;
    let mut stream = TcpStream::connect(address).map_err(|e| format!("cannot reach {url}: {e}"))?;
    let body = body.map_or_else(String::new, Value::to_string);
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).map_err(|e| e.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|e| e.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP answer")?;
    let value: Value = serde_json::from_str(body).map_err(|e| format!("no JSON answer: {e}"))?;
    if head.split(' ').nth(1) == Some("200") {
        Ok(value)
    } else {
        Err(value["error"].as_str().unwrap_or("the control request failed").to_owned())
    }
}
