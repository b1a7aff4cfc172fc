//! A table that somebody made beforehand, or altered: what it holds is what the foreign table shows, or the refresh says
//! of which object it cannot.

use assets_fdw_tests::Server;

use super::*;

/// Which type a column of the replica has, a value for it in Assets, and what it then holds; none: it cannot.
type Case<'a> = (&'a str, &'a str, &'a str, &'a str, Option<&'a str>);

/// `(attribute, type in the foreign table, value, type in the replica, what it holds)`
const CASES: &[Case<'_>] = &[
    ("Operating System", "text", "Finance", "varchar(5)", None),
    ("Operating System", "text", "Sales", "varchar(5)", Some("Sales")),
    ("Operating System", "text", "Sales  ", "varchar(5)", None),
    ("Operating System", "text", "ab", "char(5)", Some("ab   ")),
    ("Operating System", "text", "abcdef", "char(5)", None),
    ("Operating System", "text", "1011", "bit(4)", Some("1011")),
    ("Operating System", "text", "10111", "bit(4)", None),
    ("Operating System", "text", "Finance", "short", None),
    ("Operating System", "text", "Sales", "short", Some("Sales")),
    ("Operating System", "text", "green", "colour", Some("green")),
    ("Operating System", "text", "Green", "colour", None),
    ("Operating System", "text", "3965", "int", Some("3965")),
    ("Operating System", "text", "3965.15", "int", None),
    ("Operating System", "text", "0042", "int", None),
    ("Operating System", "text", "10.0.0.1", "inet", Some("10.0.0.1")),
    ("Operating System", "text", "{\"a\": [1, 2]}", "json", Some("{\"a\": [1, 2]}")),
    ("Operating System", "text", "{\"a\":   [1, 2]}", "jsonb", Some("{\"a\": [1, 2]}")),
    ("Operating System", "text", "2024-01-31", "date", Some("2024-01-31")),
    ("Operating System", "text", "1 day 02:03:04.5", "interval(0)", None),
    ("Operating System", "text", "x", "name", Some("x")),
    ("Price", "double precision", "3965.15", "int", None),
    ("Price", "double precision", "3965", "int", Some("3965")),
    ("Price", "double precision", "3965.15", "numeric(8,1)", None),
    ("Price", "double precision", "3965.15", "numeric(8,3)", Some("3965.150")),
    ("Price", "double precision", "3965.15", "numeric(5,2)", None),
    ("Price", "double precision", "3965.15", "numeric", Some("3965.15")),
    ("Price", "double precision", "3965.15", "real", None),
    ("Price", "double precision", "0.5", "real", Some("0.5")),
    ("Price", "double precision", "3965.15", "text", Some("3965.15")),
    ("Memory GB", "bigint", "3000000000", "int", None),
    ("Memory GB", "bigint", "9007199254740993", "double precision", None),
    ("Memory GB", "bigint", "9007199254740992", "double precision", Some("9.007199254740992e+15")),
    ("Memory GB", "numeric", "12345", "numeric(6,1)", Some("12345.0")),
    ("Memory GB", "numeric", "123456", "numeric(6,1)", None),
    ("Last Backup", "timestamptz", "2024-01-31T10:11:12.345Z", "timestamptz(0)", None),
    (
        "Last Backup",
        "timestamptz",
        "2024-01-31T10:11:12.345Z",
        "timestamptz(3)",
        Some("2024-01-31 10:11:12.345+00"),
    ),
    ("Last Backup", "timestamptz", "2024-01-31T10:11:12.345Z", "date", None),
    ("Last Backup", "timestamptz", "2024-01-31T00:00:00.000Z", "date", Some("2024-01-31")),
    ("Last Backup", "timestamptz", "2024-01-31T10:11:12.345Z", "timestamp(0)", None),
    ("Tags", "text[]", "Finance", "varchar(5)[]", None),
    ("Tags", "text[]", "Sales", "varchar(5)[]", Some("{Sales}")),
    ("Tags", "text[]", "12", "int[]", Some("{12}")),
    ("Tags", "text[]", "1.5", "int[]", None),
];

#[test]
fn a_table_made_beforehand_holds_what_the_foreign_table_shows_or_the_refresh_names_object_column_and_value() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = import(&database, &sim);
    let (server, laptop) = (sim.type_id("Server").unwrap(), sim.type_id("Laptop").unwrap());
    client
        .batch_execute(&format!(
            "CREATE DOMAIN short AS varchar(5); CREATE TYPE colour AS ENUM ('red', 'green');
             ALTER DATABASE {} SET timezone = 'UTC'; SET timezone = 'UTC'",
            database.name()
        ))
        .unwrap();
    for (n, (attribute, source_type, value, target_type, holds)) in CASES.iter().enumerate() {
        let object_type = if *attribute == "Price" { ("laptop", laptop) } else { ("server", server) };
        let key = text(&mut client, &format!("SELECT key FROM itsm.{} ORDER BY id LIMIT 1", object_type.0));
        sim.update(&key, attribute, &[value]).unwrap();
        let sql = format!(
            "CREATE FOREIGN TABLE f{n} (id bigint NOT NULL, key text, c {source_type} OPTIONS (attribute '{attribute}'))
                 SERVER assets OPTIONS (object_type_id '{}', aql 'Key = {key}');
             CREATE TABLE t{n} (id bigint PRIMARY KEY, key text, c {target_type});
             SELECT assets_fdw.materialize('f{n}', 't{n}')",
            object_type.1
        );
        client.batch_execute(&sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let case = format!("{attribute} {value:?} as {target_type}");
        let refresh = format!("SELECT assets_fdw.refresh('t{n}')");
        let held = format!("SELECT c::text FROM t{n}");
        match holds {
            Some(wanted) => {
                client.batch_execute(&refresh).unwrap_or_else(|error| panic!("{case}: {error:?}"));
                let held: String = client
                    .query_one(&format!("SELECT c FROM (SELECT format('%s', c) AS c FROM t{n}) AS t"), &[])
                    .unwrap()
                    .get(0);
                assert_eq!(held, *wanted, "{case}");
            }
            None => {
                let (state, message) = error_of(&mut client, &refresh);
                assert_eq!(state, "HV024", "{case}: {message}");
                for word in [key.as_str(), *attribute, "column \"c\"", "on_invalid"] {
                    assert!(message.contains(word), "{case}: {word} in {message}");
                }
                assert_eq!(client.query(&held, &[]).unwrap().len(), 0, "{case}");
                // As in a foreign table: NULL where that was asked for.
                let null = "OPTIONS (ADD on_invalid 'null')";
                steps(&mut client, &format!("ALTER FOREIGN TABLE f{n} ALTER COLUMN c {null}; {refresh}"));
                let row = client.query_one(&held, &[]).unwrap();
                assert_eq!(row.get::<_, Option<String>>(0), None, "{case}");
            }
        }
        client.batch_execute(&format!("SELECT assets_fdw.dematerialize('t{n}')")).unwrap();
    }
}

#[test]
fn a_replica_that_gets_a_narrower_type_later_says_so_and_one_that_fits_goes_on() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = import(&database, &sim);
    steps(
        &mut client,
        "SELECT assets_fdw.materialize('itsm.server'); SELECT assets_fdw.refresh('itsm_replica.server');
         ALTER TABLE itsm_replica.server ALTER COLUMN operating_system TYPE varchar(30),
             ALTER COLUMN owner TYPE varchar(60)",
    );
    let (key, owner) = (
        text(
            &mut client,
            "SELECT key FROM itsm_replica.server WHERE owner_key IS NOT NULL ORDER BY id LIMIT 1",
        ),
        text(
            &mut client,
            "SELECT owner_key FROM itsm_replica.server WHERE owner_key IS NOT NULL ORDER BY id LIMIT 1",
        ),
    );
    sim.update(&key, "Operating System", &["Plan 9"]).unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    assert_eq!(differences(&mut client), 0);
    let system = "an operating system with a name of many letters";
    sim.update(&key, "Operating System", &[system]).unwrap();
    let (state, message) = error_of(&mut client, "SELECT assets_fdw.refresh('itsm_replica.server')");
    assert!(state == "HV024" && message.contains(system) && message.contains(&key), "{state} {message}");
    sim.update(&key, "Operating System", &["Plan 9"]).unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    // Labels of references are followed where they are read by nobody, and fit or do not likewise.
    steps(
        &mut client,
        "SELECT assets_fdw.materialize('itsm.employee'); SELECT assets_fdw.refresh('itsm_replica.employee')",
    );
    let name = "Somebody whose name is longer than sixty letters, which is what the column takes";
    sim.update(&owner, "Name", &[name]).unwrap();
    let (state, message) = error_of(&mut client, "SELECT assets_fdw.refresh('itsm_replica.server')");
    assert!(state == "HV024" && message.contains(name), "{state} {message}");
    sim.update(&owner, "Name", &["Somebody"]).unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server', 'full')").unwrap();
    assert_eq!(differences(&mut client), 0);
}

#[test]
fn a_table_that_could_never_be_a_replica_is_refused_when_the_job_is_made() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = import(&database, &sim);
    for (n, (columns, state, word)) in [
        ("tags int", "42846", "\"tags\" of the replica is integer"),
        ("memory_gb inet", "42846", "\"memory_gb\" of the replica is inet"),
        ("notes text NOT NULL DEFAULT ''", "42P16", "DROP NOT NULL"),
        ("noted text NOT NULL", "42P16", "SET DEFAULT"),
        ("memory_gb bigint GENERATED ALWAYS AS IDENTITY", "42P16", "DROP IDENTITY"),
        ("label text GENERATED ALWAYS AS ('x') STORED", "42P16", "RENAME COLUMN"),
    ]
    .into_iter()
    .enumerate()
    {
        client.batch_execute(&format!("CREATE TABLE r{n} (id bigint PRIMARY KEY, {columns})")).unwrap();
        let (got, message) =
            error_of(&mut client, &format!("SELECT assets_fdw.materialize('itsm.server', 'r{n}')"));
        assert!(got == state && message.contains(word), "{columns}: {got} {message}");
    }
}

/// A run has no schema but the system's in its search path, as logical replication has none.
#[test]
fn a_trigger_or_check_that_names_things_without_their_schema_fails_with_a_hint_that_says_so() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = import(&database, &sim);
    client
        .batch_execute(
            "CREATE TABLE public.heard (op text);
             CREATE FUNCTION public.fine(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
             CREATE FUNCTION public.checked(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN fine($1); END';
             CREATE FUNCTION public.hear() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN INSERT INTO heard VALUES (tg_op); RETURN NULL; END $$;
             SELECT assets_fdw.materialize('itsm.server')",
        )
        .unwrap();
    for (make, drop) in [
        (
            "CREATE TRIGGER hear AFTER INSERT ON itsm_replica.server FOR EACH STATEMENT EXECUTE FUNCTION public.hear()",
            "ALTER FUNCTION public.hear() SET search_path = public",
        ),
        (
            "ALTER TABLE itsm_replica.server ADD CONSTRAINT c CHECK (public.checked(key))",
            "ALTER FUNCTION public.checked(text) SET search_path = public",
        ),
    ] {
        client.batch_execute(make).unwrap();
        sim.create("Server", "srv-new", &[]).unwrap();
        let (state, message) = error_of(&mut client, "SELECT assets_fdw.refresh('itsm_replica.server')");
        assert!(state.starts_with("42") && message.contains("search_path"), "{make}: {state} {message}");
        let hint =
            "SELECT hint LIKE '%search_path%' FROM assets_fdw.refresh_history ORDER BY id DESC LIMIT 1";
        assert!(client.query_one(hint, &[]).unwrap().get::<_, bool>(0));
        client.batch_execute(drop).unwrap();
        client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    }
    assert!(number(&mut client, "SELECT count(*) FROM public.heard") > 0);
}

/// Whatever the session's snapshot shows: what is there would be taken for rows that Assets has no more.
#[test]
fn a_table_that_somebody_filled_a_moment_ago_is_not_taken_over_in_a_transaction_that_does_not_see_it() {
    let (sim, database) = (small(), Server::shared().create_database());
    let (mut client, mut other) = (import(&database, &sim), database.connect());
    let times = "valid_from timestamptz NOT NULL, valid_to timestamptz";
    client
        .batch_execute(&format!(
            "CREATE SCHEMA own; CREATE TABLE own.laptop (id bigint PRIMARY KEY, key text);
             CREATE TABLE own.server_history (id bigint, key text, {times})"
        ))
        .unwrap();
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; TABLE own.laptop").unwrap();
    other
        .batch_execute(
            "INSERT INTO own.laptop VALUES (-1, 'mine'); INSERT INTO own.server_history VALUES (-1, 'mine', now())",
        )
        .unwrap();
    for (sql, why) in [
        ("SELECT assets_fdw.materialize('itsm.laptop', 'own.laptop')", "holds rows"),
        ("SELECT assets_fdw.materialize('itsm.server', 'own.server', history => true)", "holds rows"),
    ] {
        client.batch_execute("SAVEPOINT s").unwrap();
        let (state, message) = error_of(&mut client, sql);
        assert!(state == "42P07" && message.contains(why), "{sql}: {state} {message}");
        client.batch_execute("ROLLBACK TO s").unwrap();
    }
    // What it makes itself it sees.
    client
        .batch_execute(
            "SELECT assets_fdw.materialize('itsm.employee', 'own.employee', history => true); COMMIT",
        )
        .unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('own.employee')").unwrap();
}
