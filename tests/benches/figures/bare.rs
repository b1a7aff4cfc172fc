//! A client that only downloads: the same requests again, so many at once, over kept connections, nothing read but
//! lengths. What a scan could not be faster than.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use assets_fdw_tests::assets_sim::{LogEntry, Sim};

/// Requests as they go over the wire.
pub struct Requests {
    host: String,
    texts: Vec<String>,
}

impl Requests {
    /// The searches of a log.
    pub fn of(sim: &Sim, log: &[LogEntry]) -> Requests {
        let host = sim.url().trim_start_matches("http://").to_owned();
        let identity = &sim.identities()[0];
        let credential = base64(format!("{}:{}", identity.name, identity.secret).as_bytes());
        let texts = log.iter().map(|entry| {
            let aql = entry.aql.as_deref().unwrap_or_default().replace('\\', "\\\\").replace('"', "\\\"");
            let body = format!("{{\"qlQuery\":\"{aql}\"}}");
            format!(
                "POST {}?startAt={}&maxResults={}&includeAttributes={} HTTP/1.1\r\nHost: {host}\r\n\
                 Authorization: Basic {credential}\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                entry.path,
                entry.start_at.unwrap_or(0),
                entry.max_results.unwrap_or(25),
                entry.include_attributes.unwrap_or(true),
                body.len()
            )
        });
        Requests { texts: texts.collect(), host }
    }

    /// Sends all of them, `at_once` under way, and gives the bytes that came.
    pub fn download(&self, at_once: usize) -> usize {
        let (next, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(|| {
                    let mut stream = BufReader::with_capacity(
                        1 << 18,
                        TcpStream::connect(&self.host).expect("the simulator listens"),
                    );
                    stream.get_ref().set_nodelay(true).expect("a socket");
                    while let Some(text) = self.texts.get(next.fetch_add(1, Ordering::Relaxed)) {
                        stream.get_mut().write_all(text.as_bytes()).expect("a request can be sent");
                        bytes.fetch_add(skip_answer(&mut stream), Ordering::Relaxed);
                    }
                });
            }
        });
        bytes.into_inner()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.texts.len()
    }
}

fn skip_answer(stream: &mut BufReader<TcpStream>) -> usize {
    let (mut length, mut line, mut first) = (0, String::new(), true);
    loop {
        line.clear();
        stream.read_line(&mut line).expect("an answer");
        if first {
            assert!(line.contains(" 200 "), "{line}");
            first = false;
        }
        if line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().expect("a length");
        }
    }
    std::io::copy(&mut stream.take(length), &mut std::io::sink()).expect("a body") as usize
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let three = [chunk[0], *chunk.get(1).unwrap_or(&0), *chunk.get(2).unwrap_or(&0)];
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for i in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= chunk.len() { letter as char } else { '=' });
        }
    }
    text
}
