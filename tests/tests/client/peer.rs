//! An HTTP server that a test writes by hand, for answers that no service would give.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET /path?query`
    pub line: String,
    /// The value of `Authorization`.
    pub authorization: String,
    pub body: String,
}

impl Request {
    /// Whether the path contains a text.
    pub fn is(&self, part: &str) -> bool {
        self.line.contains(part)
    }
}

/// A server that lives as long as the test process.
pub struct Peer {
    url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Peer {
    /// Starts one; `answer` writes whatever it wants to the connection, which is closed afterwards.
    pub fn start(answer: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (requests.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (log, answer) = (log.clone(), answer.clone());
                std::thread::spawn(move || {
                    let mut connection = connection;
                    if let Some(request) = read(&mut connection) {
                        log.lock().expect("the log").push(request.clone());
                        answer(&request, &mut connection);
                    }
                });
            }
        });
        Peer { url, requests }
    }

    /// Its origin.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("the log").clone()
    }
}

fn read(connection: &mut TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(connection.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut request =
        Request { line: line.trim().to_owned(), authorization: String::new(), body: String::new() };
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "authorization" => request.authorization = value.trim().to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    request.body = String::from_utf8_lossy(&body).into_owned();
    Some(request)
}

/// A whole answer: status, further header lines, body.
pub fn reply(connection: &mut TcpStream, status: u16, headers: &str, body: &[u8]) {
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
        body.len()
    );
    // In one piece; the other side may have gone.
    let _ = connection.write_all(&[head.as_bytes(), body].concat());
}
