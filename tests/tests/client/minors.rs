//! The library is built with the headers of one minor and has to run on every one of its major: what it takes from the
//! server must be there in the oldest that can be had. (`tools/fetch-server` says which that is.)

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use assets_fdw_tests::assets_sim::{Options, Sim};
use assets_fdw_tests::{Server, library, oldest};

fn output(program: &str, arguments: &[&str], file: &Path) -> String {
    let output = Command::new(program).args(arguments).arg(file).output();
    let output = output.unwrap_or_else(|e| panic!("{program} (binutils) cannot be run: {e}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("names in ASCII")
}

/// Symbols that a program exports.
fn exported(program: &Path) -> BTreeSet<String> {
    let listed = output("nm", &["-D", "--defined-only"], program);
    let names = listed.lines().filter_map(|line| line.split_whitespace().last());
    names.map(|name| name.split('@').next().unwrap_or(name).to_owned()).collect()
}

/// Symbols that the library cannot be loaded without and that no library of the system gives: those have versions.
fn wanted(library: &Path) -> BTreeSet<String> {
    let listed = output("nm", &["-D", "--undefined-only"], library);
    let wanted = listed.lines().filter_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["U", name] if !name.contains('@') => Some(name.to_owned()),
        _ => None,
    });
    wanted.collect()
}

#[test]
fn the_oldest_minor_exports_every_symbol_that_the_library_takes_from_the_server() {
    let (wanted, exported) = (wanted(&library()), exported(&oldest().join("bin/postgres")));
    assert!(wanted.contains("palloc") || wanted.contains("errstart"), "no symbols read: {wanted:?}");
    let missing: Vec<_> = wanted.difference(&exported).collect();
    assert!(missing.is_empty(), "{} lacks {missing:?}", oldest().display());
}

/// Debian 11's successor, Ubuntu 22.04 and Enterprise Linux 9 have at least 2.34.
#[test]
fn the_library_needs_no_glibc_newer_than_2_34() {
    let listed = output("readelf", &["--version-info", "--wide"], &library());
    let versions: BTreeSet<(u32, u32)> = listed
        .split("GLIBC_")
        .skip(1)
        .filter_map(|rest| {
            let number = rest.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
            let (major, minor) = number.split_once('.')?;
            Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
        })
        .collect();
    let newest = versions.last().expect("it needs some");
    assert!(*newest <= (2, 34), "{versions:?}");
}

/// Preloaded, so that everything that runs in the postmaster, in hooks and in workers is there too.
#[test]
fn a_server_of_the_oldest_minor_preloads_the_library_and_answers() {
    let server = Server::start_oldest(&[("shared_preload_libraries", "assets_fdw")]);
    let database = server.create_database();
    let sim = Sim::start(Options { objects: 100, ..Options::default() }).unwrap();
    database.create_assets_server(&sim);
    let mut client = database.connect();
    client
        .batch_execute("CREATE SCHEMA itsm; IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER assets INTO itsm")
        .unwrap();
    let count: i64 =
        client.query_one("SELECT count(*) FROM itsm.server WHERE name IS NOT NULL", &[]).unwrap().get(0);
    assert!(count > 0);
    // Through the hook, as roles that may, that may not, and that own.
    let name = database.name();
    for statement in [
        format!("CREATE ROLE {name}_may LOGIN CREATEDB"),
        format!("CREATE ROLE {name}_not LOGIN"),
        format!("CREATE DATABASE {name}_template IS_TEMPLATE true"),
    ] {
        client.batch_execute(&statement).unwrap();
    }
    let make = |role: &str| {
        let sql = format!("CREATE DATABASE {name}_{role} TEMPLATE {name}_template");
        server.connect("postgres", &format!("{name}_{role}")).batch_execute(&sql)
    };
    make("may").unwrap();
    let refused = make("not").unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "42501", "{refused:?}");
    assert_eq!(server.crashes(), Vec::<String>::new());
}
