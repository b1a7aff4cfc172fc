//! Databases and clients that do not speak UTF-8.

use assets_fdw_tests::Server;

use super::*;
use crate::live::{one, refused};

/// Makes a database of an encoding, and gives a session.
fn database_in(encoding: &str) -> Client {
    let server = Server::shared();
    let name = format!("in_{}", encoding.to_lowercase());
    server
        .connect("postgres", "postgres")
        .batch_execute(&format!(
            "CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        ))
        .unwrap_or_else(|error| panic!("{encoding}: {error:?}"));
    server.connect(&name, "postgres")
}

#[test]
fn outside_utf8_the_extension_is_refused_and_says_what_to_do() {
    for encoding in ["LATIN1", "SQL_ASCII", "EUC_JP", "WIN1252"] {
        let mut client = database_in(encoding);
        let refusal = refused(&mut client, "CREATE EXTENSION assets_fdw");
        assert_eq!(refusal.code, "0A000", "{refusal:?}");
        assert!(
            refusal.message.contains(encoding) && refusal.hint.contains("ENCODING 'UTF8'"),
            "{refusal:?}"
        );
        assert!(!one::<bool>(
            &mut client,
            "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'assets_fdw')"
        ));
    }
}

/// Version 0.1.0 let itself be made there. Its library read options past their end.
#[test]
fn a_database_of_0_1_0_outside_utf8_reads_nothing_and_lets_go() {
    // The present library lets none be made; and a server takes another name for what is in the database.
    let mut client = database_in("UTF8");
    client
        .batch_execute(
            "SET check_function_bodies = off; CREATE EXTENSION assets_fdw VERSION '0.1.0';
             CREATE SERVER s FOREIGN DATA WRAPPER assets_fdw OPTIONS (site 'https://acme.atlassian.net');
             CREATE FOREIGN TABLE things (id bigint) SERVER s OPTIONS (object_type_id '1');
             UPDATE pg_database SET encoding = pg_char_to_encoding('LATIN2') WHERE datname = current_database()",
        )
        .unwrap();
    let mut client = Server::shared().connect("in_utf8", "postgres");
    let update = refused(&mut client, "ALTER EXTENSION assets_fdw UPDATE");
    assert_eq!(update.code, "0A000", "{update:?}");
    for sql in [
        "CREATE SERVER t FOREIGN DATA WRAPPER assets_fdw OPTIONS (site 'https://acme.atlassian.net')",
        "ALTER SERVER s OPTIONS (ADD page_size 'many')",
        "SELECT * FROM things",
        "EXPLAIN SELECT * FROM things",
        "IMPORT FOREIGN SCHEMA x FROM SERVER s INTO public",
        "SELECT assets_fdw.count('s', 'Name = x')",
        "SELECT * FROM assets_fdw.check('s')",
    ] {
        let refusal = refused(&mut client, sql);
        assert_eq!(refusal.code, "0A000", "{sql}: {refusal:?}");
        assert!(refusal.message.contains("LATIN2"), "{refusal:?}");
    }
    client.batch_execute("DROP EXTENSION assets_fdw CASCADE").unwrap();
    assert_eq!(Server::shared().crashes(), Vec::<String>::new());
}

#[test]
fn clients_of_any_encoding_work() {
    let (_live, mut client) = imported();
    let wanted: String = one(
        &mut client,
        "SELECT string_agg(encode(convert_to(name, 'UTF8'), 'hex'), ' ' ORDER BY id) FROM itsm.employee",
    );
    let text: String =
        one(&mut client, "SELECT name FROM itsm.employee WHERE name ~ '[éöüñåø]' ORDER BY id LIMIT 1");
    let hex: String = one(&mut client, &format!("SELECT encode(convert_to('{text}', 'LATIN1'), 'hex')"));
    for encoding in ["LATIN1", "WIN1252", "UTF8"] {
        client.batch_execute(&format!("SET client_encoding = '{encoding}'")).unwrap();
        let found: String = one(
            &mut client,
            "SELECT string_agg(encode(convert_to(name, 'UTF8'), 'hex'), ' ' ORDER BY id) FROM itsm.employee",
        );
        assert_eq!(found, wanted, "{encoding}");
        let sql = format!(
            "SELECT count(*) FROM itsm.employee WHERE name = convert_from(decode('{hex}', 'hex'), 'LATIN1')"
        );
        assert!(one::<i64>(&mut client, &sql) > 0, "{encoding}");
    }
}
