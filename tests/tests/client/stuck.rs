//! States on the way to the service that a simulator cannot make: a name that is looked up for ever, a connection that
//! is not taken, a handshake that is not answered, a page that takes long to decode. Interrupts act in each of them,
//! and the session goes on.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use assets_fdw_tests::assets_sim::{Endpoint, Options, Sim};
use assets_fdw_tests::{Database, Server, Stop, wait_until};
use postgres::Client;

use crate::cancel::{AT_ONCE, PATIENCE, open_files, pid, threads, wait_for_waiting};
use crate::live::{Refusal, one};
use crate::peer::{Peer, reply};

/// A resolver that never answers for one name.
const SLOW_LOOKUP: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = dlsym(RTLD_NEXT, "getaddrinfo");
    while (node && strcmp(node, "slow.example") == 0) sleep(600);
    return real(node, service, hints, found);
}
"#;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stuck {
    Lookup,
    Connect,
    Handshake,
    Decode,
}

const STATES: [Stuck; 4] = [Stuck::Lookup, Stuck::Connect, Stuck::Handshake, Stuck::Decode];

/// How a query ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Cancel,
    Timeout,
    Terminate,
}

/// A server whose processes cannot look one name up, with a foreign server for each state.
struct Place {
    server: Server,
    sim: Sim,
    proxy: Peer,
    _taken: Vec<TcpStream>,
    _listeners: Vec<TcpListener>,
}

impl Place {
    fn start() -> Place {
        let proxy = Peer::start(|_, connection| reply(connection, 502, "", b"a proxy"));
        let library = slow_lookup();
        let environment = [
            ("LD_PRELOAD", library.as_str()),
            ("HTTP_PROXY", proxy.url()),
            ("http_proxy", proxy.url()),
            ("HTTPS_PROXY", proxy.url()),
            ("ALL_PROXY", proxy.url()),
        ];
        let server = Server::start_in(&environment, &[]);
        // Pages of tens of megabytes.
        let options =
            Options { objects: 3000, object_bytes: Some(100_000), page_cap: 500, ..Options::default() };
        let sim = Sim::start(options).expect("a simulator");
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (full, taken) = full_listener();
        let place = Place { server, sim, proxy, _taken: taken, _listeners: vec![silent, full] };
        place
            .server
            .connect("postgres", "postgres")
            .batch_execute("CREATE DATABASE other")
            .expect("a database");
        place
    }

    fn database(&self) -> Database<'_> {
        let database = self.server.create_database();
        database.create_assets_server(&self.sim);
        let name = database.name();
        database
            .connect()
            .batch_execute(&format!("ALTER DATABASE {name} SET assets_fdw.allowed_hosts = '*'"))
            .expect("a setting");
        let mut client = database.connect();
        let sites = [
            "https://slow.example".to_owned(),
            format!("https://{}", self._listeners[1].local_addr().expect("an address")),
            format!("https://{}", self._listeners[0].local_addr().expect("an address")),
            self.sim.url(),
        ];
        let identity = &self.sim.identities()[0];
        for (state, site) in STATES.iter().zip(sites) {
            client
                .batch_execute(&format!(
                    "CREATE SERVER {state:?} FOREIGN DATA WRAPPER assets_fdw
                         OPTIONS (site '{site}', api_url '{site}', requests_per_minute '0', connect_timeout '60s');
                     CREATE USER MAPPING FOR CURRENT_USER SERVER {state:?} OPTIONS (email '{}', api_token '{}')",
                    identity.name, identity.secret
                ))
                .expect("a foreign server can be made");
        }
        database
    }

    /// Waits until the backend is in the state.
    fn wait_for(&self, state: Stuck, watch: &mut Client, pid: i32) {
        if state == Stuck::Decode {
            wait_until("the page has been sent", PATIENCE, || {
                let log = self.sim.log();
                log.iter().any(|entry| entry.endpoint == Endpoint::ObjectAql && entry.finished.is_some())
            });
        }
        wait_for_waiting(watch, pid);
    }
}

/// Compiles the resolver; the folder is one that the servers' user can read.
fn slow_lookup() -> String {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (source, library) = (folder.join("slow_lookup.c"), folder.join("slow_lookup.so"));
    fs::write(&source, SLOW_LOOKUP).expect("a file");
    let made =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl").status();
    assert!(made.expect("cc can be run").success(), "the resolver cannot be compiled");
    library.display().to_string()
}

/// A listener that takes no more connections.
fn full_listener() -> (TcpListener, Vec<TcpStream>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let listener = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        socket.listen(1).expect("a listener").into_std().expect("a listener")
    });
    let address = listener.local_addr().expect("an address");
    let mut taken = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        taken.push(stream);
        assert!(taken.len() < 100, "a listener that takes everything");
    }
    (listener, taken)
}

/// As often as no machine does it before the timeout.
fn ask(state: Stuck) -> String {
    format!(
        "SELECT count(attributes::text) FROM generate_series(1, 50) g, LATERAL assets_fdw.aql('{}', left('', g))",
        format!("{state:?}").to_lowercase()
    )
}

const COUNT: &str = "SELECT assets_fdw.count('assets', '')";

#[test]
fn interrupts_act_at_once_on_the_way_to_the_service_too() {
    let place = Place::start();
    let database = place.database();
    let mut watch = database.connect();
    let objects: i64 = one(&mut watch, COUNT);
    for state in STATES {
        for end in [End::Cancel, End::Timeout, End::Terminate] {
            let mut client = database.connect();
            // A session in use, whose network thread is there.
            assert_eq!(one::<i64>(&mut client, COUNT), objects);
            let pid = pid(&mut client);
            if let End::Timeout = end {
                client.batch_execute("SET statement_timeout = '700ms'").unwrap();
            }
            place.sim.clear_log();
            let asking = thread::spawn(move || {
                let begun = Instant::now();
                let error = client.batch_execute(&ask(state)).unwrap_err();
                (client, error, begun, Instant::now())
            });
            let sent = match end {
                End::Timeout => None,
                End::Cancel | End::Terminate => {
                    place.wait_for(state, &mut watch, pid);
                    let function =
                        if let End::Cancel = end { "pg_cancel_backend" } else { "pg_terminate_backend" };
                    let sent = Instant::now();
                    watch.execute(&format!("SELECT {function}($1)"), &[&pid]).unwrap();
                    Some(sent)
                }
            };
            let (mut client, error, begun, ended) = asking.join().unwrap();
            let late = ended.saturating_duration_since(sent.unwrap_or(begun + Duration::from_millis(700)));
            println!("{end:?} while stuck in {state:?}: {late:?}");
            assert!(late < AT_ONCE, "{end:?} {state:?}: {late:?}");
            if let End::Terminate = end {
                wait_until("the backend is gone", AT_ONCE, || !fs::exists(format!("/proc/{pid}")).unwrap());
            } else {
                assert_eq!(Refusal::of(&error).code, "57014", "{end:?} {state:?}");
                client.batch_execute("RESET statement_timeout").unwrap();
                let begun = Instant::now();
                assert_eq!(one::<i64>(&mut client, COUNT), objects, "{end:?} {state:?}");
                assert!(begun.elapsed() < AT_ONCE, "the next query waited: {:?}", begun.elapsed());
            }
        }
    }
    assert_eq!(place.proxy.requests().len(), 0, "a proxy was taken from the environment");
    assert_eq!(place.server.crashes(), Vec::<String>::new());
}

#[test]
fn sessions_that_hang_hold_up_neither_each_other_nor_a_dropped_database_nor_a_shutdown() {
    let place = Place::start();
    let database = place.database();
    let mut watch = database.connect();
    // Cancelled look-ups cannot be stopped, and do not collect.
    let mut client = database.connect();
    let first = pid(&mut client);
    one::<i64>(&mut client, COUNT);
    let before = (open_files(first), threads(first));
    client.batch_execute("SET statement_timeout = '60ms'").unwrap();
    for _ in 0..30 {
        let refusal = Refusal::of(&client.batch_execute(&ask(Stuck::Lookup)).unwrap_err());
        assert_eq!(refusal.code, "57014", "{refusal:?}");
    }
    client.batch_execute("RESET statement_timeout").unwrap();
    one::<i64>(&mut client, COUNT);
    let after = (open_files(first), threads(first));
    println!("descriptors and threads: {before:?}, after 30 look-ups {after:?}");
    assert!(after.0 <= before.0 + 2 && after.1 <= before.1 + 8, "{before:?} {after:?}");

    let mut asking = Vec::new();
    for state in STATES {
        let mut client = database.connect();
        let pid = pid(&mut client);
        asking.push((pid, thread::spawn(move || client.batch_execute(&ask(state)).is_err())));
        place.wait_for(state, &mut watch, pid);
    }
    let begun = Instant::now();
    watch.batch_execute("DROP DATABASE other").unwrap();
    println!("DROP DATABASE elsewhere: {:?}", begun.elapsed());
    assert!(begun.elapsed() < AT_ONCE + Duration::from_secs(3), "{:?}", begun.elapsed());
    drop((watch, client));
    let begun = Instant::now();
    assert!(place.server.stop(Stop::Fast).success());
    println!("shutdown: {:?}", begun.elapsed());
    assert!(begun.elapsed() < AT_ONCE + Duration::from_secs(8), "{:?}", begun.elapsed());
    for (pid, asking) in asking {
        assert!(asking.join().unwrap(), "a query that was shut down has given a result");
        assert!(!fs::exists(format!("/proc/{pid}")).unwrap(), "a process is left");
    }
    place.server.start_again();
}
