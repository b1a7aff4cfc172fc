//! TLS as a company would have it: an authority of its own in `ca_file`, HTTP/2 where the other side offers it, and no
//! word to a peer whose certificate is for somebody else. Bodies that are packed, and those that are too large.

use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::{fs, thread};

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::{Options, Sim};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use postgres::Client;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::live::{Live, one, refused};
use crate::peer::{Peer, reply};

/// Stands before a simulator and speaks TLS.
pub(crate) struct Front {
    pub(crate) port: u16,
    /// A file with the authority's certificate, readable for the server.
    ca_file: String,
    /// The version of each request that arrived.
    versions: Arc<Mutex<Vec<Version>>>,
}

impl Front {
    /// Its certificate is for `name`, good for so many days, signed by an authority of its own.
    pub(crate) fn start(sim: &Sim, name: &str, protocols: &[&str], days: &str) -> Front {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = Server::shared().socket_folder().join(format!("tls-{number}"));
        fs::create_dir_all(&folder).expect("a folder");
        openssl(
            &folder,
            &["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
            "ca",
            "/CN=tests",
        );
        openssl(
            &folder,
            &["req", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
            "own",
            "/CN=own",
        );
        fs::write(folder.join("names"), format!("subjectAltName=DNS:{name}\n")).expect("a file");
        let signed = Command::new("openssl")
            .args(["x509", "-req", "-in", "own.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"])
            .args(["-days", days, "-extfile", "names", "-out", "signed.pem"])
            .current_dir(&folder)
            .output()
            .expect("openssl can be run");
        assert!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));

        let chain = vec![CertificateDer::from_pem_file(folder.join("signed.pem")).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_file(folder.join("own.key")).expect("a key");
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a key that fits");
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();

        let versions = Arc::new(Mutex::new(Vec::new()));
        let (heard, target) = (versions.clone(), sim.url().trim_start_matches("http://").to_owned());
        let (tell, told) = std::sync::mpsc::channel();
        // Lives as long as the test process.
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                tell.send(listener.local_addr().expect("an address").port()).expect("the test waits");
                serve(listener, TlsAcceptor::from(Arc::new(config)), heard, target.into()).await;
            });
        });
        let ca_file = folder.join("ca.pem").display().to_string();
        Front { port: told.recv().expect("a port"), ca_file, versions }
    }

    /// A foreign server `assets` that leads here, and a session that has imported from it, or the ERROR.
    fn server(&self, live: &Live, options: &str) -> Client {
        let mut client = live.connect();
        let identity = &live.sim.identities()[0];
        client
            .batch_execute(&format!(
                "DROP SERVER IF EXISTS tls CASCADE;
                 CREATE SERVER tls FOREIGN DATA WRAPPER assets_fdw
                     OPTIONS (site 'https://localhost:{port}', api_url 'https://localhost:{port}', requests_per_minute '0',
                              retry_timeout '100ms'{options});
                 CREATE USER MAPPING FOR CURRENT_USER SERVER tls OPTIONS (email '{}', api_token '{}')",
                identity.name,
                identity.secret,
                port = self.port,
            ))
            .expect("the foreign server can be made");
        client
    }

    pub(crate) fn ca(&self) -> String {
        format!(", ca_file '{}'", self.ca_file)
    }
}

fn openssl(folder: &std::path::Path, request: &[&str], name: &str, subject: &str) {
    let made = Command::new("openssl")
        .args(request)
        .args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem"), "-subj", subject])
        .current_dir(folder)
        .output()
        .expect("openssl can be run");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, heard: Arc<Mutex<Vec<Version>>>, target: Arc<str>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, heard, target) = (tls.clone(), heard.clone(), target.clone());
        tokio::spawn(async move {
            // A client that trusts us not is none of ours.
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = service_fn(move |request: Request<Incoming>| {
                heard.lock().expect("the list").push(request.version());
                forward(request, target.clone())
            });
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn forward(
    request: Request<Incoming>,
    target: Arc<str>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let stream = TcpStream::connect(&*target).await.expect("the simulator listens");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    head.uri = path.parse().expect("a path");
    head.version = Version::HTTP_11;
    head.headers.insert("host", target.parse().expect("a host"));
    let body = Full::new(body.collect().await?.to_bytes());
    let (mut head, body) = sender.send_request(Request::from_parts(head, body)).await?.into_parts();
    head.version = Version::HTTP_11;
    head.headers.remove("connection");
    Ok(Response::from_parts(head, Full::new(body.collect().await?.to_bytes())))
}

fn live() -> Live {
    Live::start(Options { objects: 3000, ..Options::default() })
}

const COUNT: &str = "SELECT count(*) FROM assets_fdw.aql('tls', 'objectType = Server')";

#[test]
fn a_peer_of_the_companys_own_authority_is_read_over_the_best_protocol_it_offers() {
    let live = live();
    let servers = live.sim.count(live.sim.type_id("Server").unwrap()) as i64;
    for (protocols, version) in
        [(&["h2", "http/1.1"][..], Version::HTTP_2), (&["http/1.1"], Version::HTTP_11)]
    {
        let front = Front::start(&live.sim, "localhost", protocols, "2");
        let mut client = front.server(&live, &front.ca());
        for packed in [false, true] {
            live.sim.switches(|s| s.gzip = packed);
            assert_eq!(one::<i64>(&mut client, COUNT), servers, "{version:?} gzip {packed}");
        }
        let versions = front.versions.lock().unwrap();
        assert!(versions.len() > 12, "{} requests", versions.len());
        assert!(versions.iter().all(|v| *v == version), "{versions:?}");
    }
}

#[test]
fn a_peer_with_a_certificate_for_another_name_or_of_another_authority_hears_nothing() {
    let live = live();
    let elsewhere = Front::start(&live.sim, "elsewhere.example", &["h2"], "2");
    let unknown = Front::start(&live.sim, "localhost", &["h2", "http/1.1", "x"], "2");
    for (front, options) in
        [(&elsewhere, elsewhere.ca()), (&unknown, String::new()), (&unknown, elsewhere.ca())]
    {
        let mut client = front.server(&live, &options);
        let refusal = refused(&mut client, COUNT);
        assert_eq!(refusal.code, "HV00N", "{refusal:?}");
        assert!(refusal.text().contains("certificate"), "{refusal:?}");
        assert!(front.versions.lock().unwrap().is_empty(), "a request was sent");
    }
}

/// The peak of a backend's memory, in kB.
fn peak(client: &mut Client) -> u64 {
    let pid: i32 = one(client, "SELECT pg_backend_pid()");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the backend's status");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a line of memory");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("kilobytes")
}

#[test]
fn a_body_over_the_limit_is_an_error_before_it_takes_memory() {
    // A gigabyte of blanks in a megabyte.
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let blanks = vec![b' '; 1 << 20];
    for _ in 0..1024 {
        packer.write_all(&blanks).unwrap();
    }
    let bomb = packer.finish().unwrap();
    let workspace = br#"{"values":[{"workspaceId":"w-1"}]}"#;
    for how in ["bomb", "told", "chunked"] {
        let bomb = bomb.clone();
        let peer = Peer::start(move |request, connection| {
            if request.is("/rest/servicedeskapi/") {
                return reply(connection, 200, "", workspace);
            }
            match how {
                "bomb" => reply(connection, 200, "Content-Encoding: gzip\r\n", &bomb),
                "told" => {
                    let _ = write!(
                        connection,
                        "HTTP/1.1 200 OK\r\nContent-Length: 40000000000\r\n\r\n{{\"values\":["
                    );
                    let _ = connection.flush();
                    // The client has to hang up by what it was told.
                    let _ = std::io::Read::read(connection, &mut [0]);
                }
                _ => {
                    let _ = write!(connection, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                    let chunk =
                        [format!("{:x}\r\n", blanks_of().len()).as_bytes(), &blanks_of(), b"\r\n"].concat();
                    // Until the client hangs up.
                    while connection.write_all(&chunk).is_ok() {}
                }
            }
        });
        let live = Live::start(Options { objects: 10, ..Options::default() });
        let mut client = live.connect();
        client
            .batch_execute(&format!(
                "CREATE SERVER large FOREIGN DATA WRAPPER assets_fdw
                     OPTIONS (site '{url}', api_url '{url}', max_response_bytes '4MB', retry_timeout '100ms');
                 CREATE USER MAPPING FOR CURRENT_USER SERVER large OPTIONS (email 'a@example.com', api_token 'a-token-of-some-length');
                 SELECT assets_fdw.count('assets', '')",
                url = peer.url()
            ))
            .unwrap();
        let before = peak(&mut client);
        let refusal = refused(&mut client, "SELECT count(*) FROM assets_fdw.aql('large', '')");
        let grown = peak(&mut client) - before;
        println!("{how}: {grown} kB");
        assert_eq!(refusal.code, "HV000", "{how}: {refusal:?}");
        assert!(refusal.text().contains("max_response_bytes"), "{how}: {refusal:?}");
        assert!(grown < 24 << 10, "{how}: {grown} kB");
        if how == "told" {
            assert!(grown < 3 << 10, "{how}: {grown} kB");
        }
    }
}

fn blanks_of() -> Vec<u8> {
    vec![b' '; 1 << 16]
}
