//! HTTP/1.1 over TCP: a small server of our own, because faults below the level of HTTP have to be made on purpose.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::control;
use crate::http::{self, Read, Reply, Request, Wire};
use crate::log::Place;
use crate::service::Service;

/// Accepts connections until told to stop.
pub(crate) async fn run(listener: TcpListener, service: Arc<Service>, mut stop: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        // A connection that fails to be accepted (no descriptors left) is the client's to retry.
        let Ok((stream, _)) = accepted else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        // Headers and body go out in one piece; Nagle's algorithm would only delay small answers.
        let _ = stream.set_nodelay(true);
        let service = service.clone();
        let mut stop = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = connection(stream, service) => {}
                _ = stop.changed() => {}
            }
        });
    }
}

/// Closes a log entry even when the connection is dropped in the middle of an answer.
struct Open<'a> {
    service: &'a Service,
    place: Place,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if let Ok(mut log) = self.service.log.lock() {
            log.end(self.place);
        }
    }
}

async fn connection(mut stream: TcpStream, service: Arc<Service>) {
    let mut buffer = Vec::new();
    loop {
        let request = match http::read(&buffer) {
            Read::Done(request, used) => {
                buffer.drain(..used);
                request
            }
            Read::Bad => {
                let _ = send(&mut stream, &Reply::html(400)).await;
                return;
            }
            Read::More => match stream.read_buf(&mut buffer).await {
                Ok(n) if n > 0 => continue,
                _ => return,
            },
        };
        let keep_open = !request.header("connection").is_some_and(|c| c.eq_ignore_ascii_case("close"));
        if !handle(&mut stream, &service, &request).await || !keep_open {
            return;
        }
    }
}

/// Answers one request; false if the connection is over.
async fn handle(stream: &mut TcpStream, service: &Service, request: &Request) -> bool {
    if request.path.starts_with("/_sim") {
        return send(stream, &control::answer(service, request)).await;
    }
    let (routed, place) = service.begin(request);
    let open = Open { service, place };
    let _searching = match service.search(&routed, open.place) {
        Ok(searching) => searching,
        Err(reply) => return send(stream, &reply).await,
    };
    let takes = service.takes(request, &routed);
    if !takes.is_zero() {
        sleep(takes).await;
    }
    let reply = service.answer(request, &routed, open.place);
    send(stream, &reply).await
}

/// Writes an answer in its way; false if the connection is over.
async fn send(stream: &mut TcpStream, reply: &Reply) -> bool {
    let mut bytes = reply.head().into_bytes();
    let head = bytes.len();
    bytes.extend_from_slice(&reply.body);
    let half = head + reply.body.len() / 2;
    match reply.wire {
        Wire::Whole => stream.write_all(&bytes).await.is_ok(),
        Wire::ResetBefore => reset(stream),
        Wire::ResetAfterHeaders => {
            push(stream, &bytes[..head]).await;
            reset(stream)
        }
        Wire::ResetInBody => {
            push(stream, &bytes[..half]).await;
            reset(stream)
        }
        Wire::Short => {
            push(stream, &bytes[..half]).await;
            let _ = stream.shutdown().await;
            false
        }
        Wire::StallBefore(ms) => wait(stream, ms).await && stream.write_all(&bytes).await.is_ok(),
        Wire::StallInBody(ms) => {
            push(stream, &bytes[..half]).await;
            wait(stream, ms).await && stream.write_all(&bytes[half..]).await.is_ok()
        }
        Wire::Drip(size, ms) => {
            push(stream, &bytes[..head]).await;
            for piece in bytes[head..].chunks(size) {
                if stream.write_all(piece).await.is_err() || !wait(stream, ms).await {
                    return false;
                }
            }
            true
        }
    }
}

/// Writes a part of an answer and lets it reach the client before anything else happens to the connection.
async fn push(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes).await;
    let _ = stream.flush().await;
    sleep(Duration::from_millis(20)).await;
}

/// Waits, but not longer than the client is there; false if it left.
async fn wait(stream: &TcpStream, ms: u64) -> bool {
    let gone = async {
        let mut byte = [0];
        // What a client sends before its answer is complete stays in the socket: nothing is lost by peeking.
        matches!(stream.peek(&mut byte).await, Ok(0) | Err(_))
    };
    tokio::select! {
        () = sleep(Duration::from_millis(ms)) => true,
        true = gone => false,
        else => true,
    }
}

/// Makes the kernel send a reset when the connection is dropped.
fn reset(stream: &TcpStream) -> bool {
    let _ = stream.set_zero_linger();
    false
}
