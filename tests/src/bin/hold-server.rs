//! Starts a server as the tests do, says where it is, and holds it until its standard input ends.
//!
//! For trying things by hand (`make test` once, then `cargo run -p assets-fdw-tests --bin hold-server`), and for the
//! test that nothing stays behind when a test process is killed. Arguments are settings: `name=value`.

#![forbid(unsafe_code)]

use std::io::{Read, stdin};
use std::process::ExitCode;

use assets_fdw_tests::Server;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut settings = Vec::new();
    for argument in &arguments {
        match argument.split_once('=') {
            Some(setting) => settings.push(setting),
            None => {
                eprintln!("usage: hold-server [SETTING=VALUE]…");
                return ExitCode::from(2);
            }
        }
    }
    let server = Server::start(&settings);
    println!("{}", server.postmaster_pid());
    println!("psql -h {} -U postgres postgres", server.socket_folder().display());
    let _ = stdin().read_to_end(&mut Vec::new());
    ExitCode::SUCCESS
}
