//! Requests and replies as data, and what of HTTP/1.1 is needed to read the ones and write the others.

use std::fmt::Write;

use flate2::{Compression, write::GzEncoder};

use crate::clock;

/// A request that arrived whole.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path without the query, as sent.
    pub path: String,
    /// Query parameters, decoded, in order.
    pub query: Vec<(String, String)>,
    /// Headers with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// A header by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The first query parameter of a name.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A query parameter that is a boolean in any case: a published Python client sends `True` and `False`
    /// (assets-api.md section 14).
    pub fn boolean(&self, name: &str) -> Option<bool> {
        let text = self.parameter(name)?;
        [true, false].into_iter().find(|b| text.eq_ignore_ascii_case(&b.to_string()))
    }

    /// A query parameter that is true; absent is false.
    pub fn flag(&self, name: &str) -> bool {
        self.boolean(name) == Some(true)
    }

    /// The body as JSON.
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// How a reply goes over the wire: whole, or broken in one of the ways of [`crate::faults`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Wire {
    /// Headers and body in one piece.
    #[default]
    Whole,
    /// The connection is reset instead of an answer.
    ResetBefore,
    /// The connection is reset once the headers are out.
    ResetAfterHeaders,
    /// The connection is reset in the middle of the body.
    ResetInBody,
    /// The connection is closed in the middle of the body.
    Short,
    /// Nothing comes for so many ms.
    StallBefore(u64),
    /// Half of the body comes, then nothing for so many ms.
    StallInBody(u64),
    /// The body comes in pieces of so many bytes with so many ms between them.
    Drip(usize, u64),
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Headers besides Content-Length.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How it goes out.
    pub wire: Wire,
}

impl Reply {
    /// A JSON answer.
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        let headers = vec![("Content-Type".into(), "application/json;charset=UTF-8".into())];
        Reply { status, headers, body: body.into(), wire: Wire::Whole }
    }

    /// An HTML page, as gateways send.
    pub fn html(status: u16) -> Reply {
        let reason = reason(status);
        let body = format!(
            "<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n<center><h1>{status} {reason}\
             </h1></center>\r\n<hr><center>cloudfront</center>\r\n</body>\r\n</html>\r\n"
        );
        let headers = vec![("Content-Type".into(), "text/html".into())];
        Reply { status, headers, body: body.into(), wire: Wire::Whole }
    }

    /// No body.
    pub fn empty(status: u16) -> Reply {
        Reply { status, ..Reply::default() }
    }

    /// The service's error form (assets-api.md section 1.5).
    pub fn errors(status: u16, messages: &[&str], errors: &[(String, String)]) -> Reply {
        let mut map = serde_json::Map::new();
        for (name, text) in errors {
            map.insert(name.clone(), text.as_str().into());
        }
        Reply::json(status, serde_json::json!({ "errorMessages": messages, "errors": map }).to_string())
    }

    /// The gateway's error form.
    pub fn gateway(status: u16, message: &str) -> Reply {
        Reply::json(status, serde_json::json!({ "code": status, "message": message }).to_string())
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Reply {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Compresses the body.
    #[must_use]
    pub fn gzip(mut self) -> Reply {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        if std::io::Write::write_all(&mut encoder, &self.body).is_ok()
            && let Ok(packed) = encoder.finish()
        {
            self.body = packed;
            self.headers.push(("Content-Encoding".into(), "gzip".into()));
        }
        self
    }

    /// The head of the answer.
    pub(crate) fn head(&self) -> String {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if !self.headers.iter().any(|(name, _)| name == "Date") {
            let _ = write!(head, "Date: {}\r\n", clock::http_date(clock::now_ms()));
        }
        let _ = write!(head, "Content-Length: {}\r\n\r\n", self.body.len());
        head
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        302 => "Found",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        410 => "Gone",
        413 => "Payload Too Large",
        414 => "URI Too Long",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Unknown",
    }
}

/// What came of reading a request from the bytes received so far.
pub(crate) enum Read {
    /// More bytes are needed.
    More,
    /// A request, and how many bytes it took.
    Done(Box<Request>, usize),
    /// Not HTTP/1.1 as it is understood here.
    Bad,
}

/// Reads one request from the start of a buffer.
pub(crate) fn read(bytes: &[u8]) -> Read {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut headers);
    let head = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(n)) => n,
        Ok(httparse::Status::Partial) => return if bytes.len() > 65_536 { Read::Bad } else { Read::More },
        Err(_) => return Read::Bad,
    };
    let mut request = Request::default();
    for header in parsed.headers.iter() {
        let value = String::from_utf8_lossy(header.value).trim().to_owned();
        request.headers.push((header.name.to_ascii_lowercase(), value));
    }
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else { return Read::Bad };
    request.method = method.to_owned();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    request.path = decode(path, false);
    request.query = form(query);
    if request.header("transfer-encoding").is_some_and(|t| t.eq_ignore_ascii_case("chunked")) {
        return match chunked(&bytes[head..]) {
            Some(Ok((body, used))) => {
                request.body = body;
                Read::Done(Box::new(request), head + used)
            }
            Some(Err(())) => Read::Bad,
            None => Read::More,
        };
    }
    let Ok(length) = request.header("content-length").unwrap_or("0").parse::<usize>() else {
        return Read::Bad;
    };
    if length > 16 << 20 {
        return Read::Bad;
    }
    match bytes.get(head..head + length) {
        None => Read::More,
        Some(body) => {
            request.body = body.to_vec();
            Read::Done(Box::new(request), head + length)
        }
    }
}

/// A chunked body and the bytes it took; `None` if it is not there yet.
fn chunked(bytes: &[u8]) -> Option<Result<(Vec<u8>, usize), ()>> {
    let (mut at, mut body) = (0, Vec::new());
    loop {
        let line = bytes[at..].windows(2).position(|w| w == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[at..at + line]).ok();
        let size = size.and_then(|s| usize::from_str_radix(s.split(';').next()?.trim(), 16).ok());
        let Some(size) = size.filter(|s| *s <= 16 << 20) else { return Some(Err(())) };
        at += line + 2;
        body.extend_from_slice(bytes.get(at..at + size)?);
        at += size;
        bytes.get(at..at + 2)?;
        at += 2;
        if size == 0 {
            return Some(Ok((body, at)));
        }
    }
}

/// Decodes `a=b&c=d`.
pub(crate) fn form(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|p| !p.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name, true), decode(value, true))
        })
        .collect()
}

fn decode(text: &str, plus: bool) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let hex = |i: usize| bytes.get(i).and_then(|b| (*b as char).to_digit(16));
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (b'+', _, _) if plus => {
                out.push(b' ');
                at += 1;
            }
            (other, _, _) => {
                out.push(other);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_whole_or_waited_for() {
        let bytes = b"POST /a%20b?x=1+2&y=%C3%A9 HTTP/1.1\r\nContent-Length: 4\r\nHost: h\r\n\r\nbodyGET";
        for cut in 0..bytes.len() - 3 {
            assert!(matches!(read(&bytes[..cut]), Read::More), "{cut}");
        }
        let Read::Done(request, used) = read(bytes) else { panic!() };
        assert_eq!((request.path.as_str(), used), ("/a b", bytes.len() - 3));
        assert_eq!(request.query, [("x".into(), "1 2".into()), ("y".into(), "é".into())]);
        assert_eq!(request.body, b"body");
        assert!(matches!(read(b"\x16\x03\x01\x02"), Read::Bad));
    }

    #[test]
    fn chunked_bodies_are_joined() {
        let bytes =
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n";
        let Read::Done(request, used) = read(bytes) else { panic!() };
        assert_eq!((request.body.as_slice(), used), (&b"abcde"[..], bytes.len()));
    }
}
