//! Columns of every type that people declare: domains, generated columns, system columns, and types whose input
//! functions refuse a value.

use std::sync::{Arc, Mutex};

use super::*;
use crate::live::{one, refused};

const TYPES: &str = "
    CREATE DOMAIN words AS text[] CHECK (array_length(VALUE, 1) < 99);
    CREATE DOMAIN word AS text CHECK (VALUE <> 'never');
    CREATE DOMAIN whole AS bigint;
    CREATE DOMAIN again AS whole CHECK (VALUE <> 123454321);
    CREATE DOMAIN document AS jsonb;
    CREATE TYPE colour AS ENUM ('red', 'green');
    CREATE TYPE pair AS (a int, b int);
    CREATE DOMAIN paired AS pair CHECK ((VALUE).a > 0);
    CREATE TABLE known (name text);
    CREATE FUNCTION is_known(text) RETURNS boolean LANGUAGE plpgsql AS
        $$ BEGIN PERFORM count(*) FROM known, pg_class; RETURN EXISTS (SELECT FROM known WHERE name = $1) OR 1 / (SELECT count(*) FROM known WHERE name = $1) > 0; END $$;
    CREATE DOMAIN checked AS text CHECK (is_known(VALUE));";

#[test]
fn domains_of_every_kind_can_be_read() {
    let (live, mut client) = started();
    client.batch_execute(TYPES).unwrap();
    own(
        &mut client,
        &live.sim,
        "Specimen",
        "a words OPTIONS (attribute 'Many Text'), b word[] OPTIONS (attribute 'Many Text'),
         c again OPTIONS (attribute 'One Integer'), d again[] OPTIONS (attribute 'Many Integer'),
         e document OPTIONS (attribute 'One Text'),
         plain text[] OPTIONS (attribute 'Many Text'), n bigint OPTIONS (attribute 'One Integer'),
         ns bigint[] OPTIONS (attribute 'Many Integer'), j jsonb OPTIONS (attribute 'One Text')",
    );
    let sql = "SELECT count(*) FROM own WHERE (a::text, b::text, c::bigint, d::text, e::jsonb)
                      IS DISTINCT FROM (plain::text, plain::text, n, ns::text, j)";
    assert_eq!(one::<i64>(&mut client, sql), 0);
    assert!(one::<i64>(&mut client, "SELECT count(a) FROM own") > 0);
    // A constraint is checked, and names the object.
    client.batch_execute("CREATE DOMAIN hardly AS text[] CHECK (array_length(VALUE, 1) > 99)").unwrap();
    own(&mut client, &live.sim, "Specimen", "a hardly OPTIONS (attribute 'Many Text')");
    let refusal = refused(&mut client, "SELECT a FROM own");
    assert_eq!(refusal.code, "HV024");
    assert!(refusal.message.contains("Many Text") && refusal.message.contains("hardly_check"), "{refusal:?}");
}

#[test]
fn generated_columns_are_computed_when_a_row_is_read() {
    let (live, mut client) = started();
    own(
        &mut client,
        &live.sim,
        "Server",
        "memory_gb bigint, double_gb bigint GENERATED ALWAYS AS (memory_gb * 2) STORED, label text,
         shout text GENERATED ALWAYS AS (upper(label) || id::text) STORED,
         broken int GENERATED ALWAYS AS (1 / (id - id)::int) STORED",
    );
    let sql = "SELECT count(*) FROM own WHERE double_gb IS DISTINCT FROM memory_gb * 2 OR shout <> upper(label) || id";
    assert_eq!(one::<i64>(&mut client, sql), 0);
    assert!(one::<i64>(&mut client, "SELECT count(double_gb) FROM own") > 0);
    assert!(one::<i64>(&mut client, "SELECT count(*) FROM own WHERE shout LIKE upper(label) || '%'") > 0);
    // One that nobody asks for is not computed; one that is asked for computes what it is made of.
    assert!(refused(&mut client, "SELECT broken FROM own").code == "22012");
    client.batch_execute("ALTER FOREIGN TABLE own DROP COLUMN broken").unwrap();
    let rows = texts(&mut client, "SELECT own::text FROM own ORDER BY shout LIMIT 3");
    assert_eq!(rows.len(), 3);
    client.batch_execute("SELECT * FROM own; ANALYZE own").unwrap();
    let joined = "SELECT count(*) FROM own AS a JOIN own AS b USING (shout)";
    let all: i64 = one(&mut client, "SELECT count(*) FROM own");
    assert_eq!(one::<i64>(&mut client, joined), all);
}

/// The old slot raised "cannot retrieve a system column in this context".
#[test]
fn system_columns_are_what_other_wrappers_give() {
    let (live, mut client) = started();
    own(&mut client, &live.sim, "Server", "label text");
    let sql = "SELECT DISTINCT concat_ws(' ', xmin, xmax, cmin, cmax, ctid, tableoid::regclass) FROM own";
    assert_eq!(texts(&mut client, sql), [Some("0 0 0 0 (4294967295,0) own".to_owned())]);
    let all: i64 = one(&mut client, "SELECT count(*) FROM own");
    for condition in
        ["xmin = 0", "tableoid = 'own'::regclass", "ctid = '(4294967295,0)'", "xmin::text = '0' AND id > 0"]
    {
        assert_eq!(
            one::<i64>(&mut client, &format!("SELECT count(*) FROM own WHERE {condition}")),
            all,
            "{condition}"
        );
    }
    let first = texts(&mut client, "SELECT key FROM own ORDER BY id DESC LIMIT 2");
    assert_eq!(
        texts(&mut client, "SELECT key FROM own WHERE cmax::text = '0' ORDER BY id DESC LIMIT 2"),
        first
    );
    let sql = "SELECT count(*) FROM own AS a, LATERAL (SELECT b.xmin FROM own AS b WHERE b.id = a.id OFFSET 0) AS c";
    assert_eq!(one::<i64>(&mut client, sql), all);
}

/// A session that collects what the server says.
fn listening(live: &Live) -> (Client, Arc<Mutex<Vec<String>>>) {
    live.connect_listening()
}

#[test]
fn what_any_type_refuses_reads_as_null_where_that_was_chosen() {
    let (live, mut client) = started();
    client.batch_execute(TYPES).unwrap();
    live.sim.switches(|s| {
        s.value_shapes.insert("One Text".into(), r#"[{"value": "'un(fit"}]"#.into());
        s.value_shapes.insert("Many Text".into(), r#"[{"value": "'un(fit"}, {"value": "red"}]"#.into());
    });
    let all: i64 = {
        own(&mut client, &live.sim, "Specimen", "label text");
        one(&mut client, "SELECT count(*) FROM own")
    };
    let mut types = vec![
        "tsvector",
        "tsquery",
        "int4range",
        "int4multirange",
        "colour",
        "pair",
        "paired",
        "checked",
        "numeric",
        "uuid",
        "inet",
        "point",
        "money",
        "interval",
        "bit(3)",
        "varchar(2)",
        "char(2)",
        "date",
        "timestamp",
        "oid",
        "name[]",
        "xml",
        "word[]",
        "colour[]",
        "int4range[]",
    ];
    types.retain(|t| !["name[]", "word[]", "xml"].contains(t));
    for extension in ["ltree", "hstore", "cube"] {
        if client.batch_execute(&format!("CREATE EXTENSION {extension}")).is_ok() {
            types.push(extension);
        } else {
            eprintln!("NOT TRIED: {extension} is not installed");
        }
    }
    for type_name in types {
        let attribute = if type_name.ends_with("[]") { "Many Text" } else { "One Text" };
        own(&mut client, &live.sim, "Specimen", &format!("v {type_name} OPTIONS (attribute '{attribute}')"));
        let refusal = refused(&mut client, "SELECT v FROM own");
        assert_eq!(refusal.code, "HV024", "{type_name}: {refusal:?}");
        assert!(
            refusal.message.contains(attribute) && refusal.message.contains("ITSM-"),
            "{type_name}: {refusal:?}"
        );
        client.batch_execute("ALTER FOREIGN TABLE own ALTER v OPTIONS (ADD on_invalid 'null')").unwrap();
        let (mut ear, heard) = listening(&live);
        let sql = "SELECT count(*) FROM own WHERE v IS NULL";
        assert_eq!(one::<i64>(&mut ear, sql), all, "{type_name}");
        let heard = heard.lock().unwrap().join("\n");
        assert!(heard.contains(&format!("{all} values")) && !heard.contains("leak"), "{type_name}: {heard}");
    }
    assert_eq!(live.database.server().crashes(), Vec::<String>::new());
}

/// The check ran SQL whose ERROR was swallowed without a subtransaction: its pins, snapshots and SPI frames stayed.
#[test]
fn a_domain_whose_check_runs_sql_leaves_nothing_behind() {
    let (live, mut setup) = started();
    setup.batch_execute(TYPES).unwrap();
    own(
        &mut setup,
        &live.sim,
        "Specimen",
        "v checked OPTIONS (attribute 'One Text', on_invalid 'null'), t text OPTIONS (attribute 'One Text')",
    );
    setup
        .batch_execute(
            "INSERT INTO known SELECT t FROM own WHERE t IS NOT NULL ORDER BY id LIMIT 3;
             CREATE FUNCTION round() RETURNS text LANGUAGE plpgsql AS $$
             DECLARE r record; good int := 0; bad int := 0;
             BEGIN
                 FOR r IN SELECT v, t FROM own LOOP
                     PERFORM count(*) FROM known;
                     IF r.v IS NOT NULL THEN good := good + 1; ELSIF r.t IS NOT NULL THEN bad := bad + 1; END IF;
                 END LOOP;
                 RETURN concat_ws(' ', good > 0, bad > 0);
             END $$",
        )
        .unwrap();
    let (mut client, heard) = listening(&live);
    for _ in 0..3 {
        assert_eq!(texts(&mut client, "SELECT round()"), [Some("t t".to_owned())]);
    }
    client
        .batch_execute(
            "BEGIN; DECLARE c CURSOR FOR SELECT v FROM own; FETCH 2 FROM c; SAVEPOINT s; FETCH ALL FROM c;
             ROLLBACK TO s; SELECT count(v) FROM own; COMMIT;
             CREATE TABLE kept AS SELECT * FROM own; DROP TABLE kept",
        )
        .unwrap();
    // A plan that runs in parallel elsewhere must not be in the way, nor the other way round.
    client
        .batch_execute(
            "CREATE TABLE many AS SELECT n FROM generate_series(1, 20000) AS n; ANALYZE many;
             SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
             SET max_parallel_workers_per_gather = 2",
        )
        .unwrap();
    let _ = client.batch_execute("SELECT (SELECT count(*) FROM many), count(t) FROM own");
    let heard = heard.lock().unwrap().join("\n");
    assert!(!heard.contains("leak") && !heard.contains("snapshot") && !heard.contains("SPI"), "{heard}");
    assert_eq!(live.database.server().crashes(), Vec::<String>::new());
}

/// What is not about the value is never taken for a NULL.
#[test]
fn a_cancelled_check_is_no_null() {
    let (live, mut client) = started();
    client
        .batch_execute(
            "CREATE FUNCTION sleeps(text) RETURNS boolean LANGUAGE plpgsql AS
                 $$ BEGIN PERFORM pg_sleep(600); RETURN true; END $$;
             CREATE FUNCTION denied(text) RETURNS boolean LANGUAGE plpgsql AS
                 $$ BEGIN RAISE insufficient_privilege; END $$;
             CREATE DOMAIN slow AS text CHECK (sleeps(VALUE));
             CREATE DOMAIN closed AS text CHECK (denied(VALUE))",
        )
        .unwrap();
    own(&mut client, &live.sim, "Server", "v slow OPTIONS (field 'label', on_invalid 'null')");
    client.batch_execute("SET statement_timeout = '500ms'").unwrap();
    assert_eq!(refused(&mut client, "SELECT v FROM own").code, "57014");
    own(&mut client, &live.sim, "Server", "v closed OPTIONS (field 'label', on_invalid 'null')");
    client.batch_execute("SET statement_timeout = 0").unwrap();
    assert_eq!(refused(&mut client, "SELECT v FROM own").code, "42501");
}
