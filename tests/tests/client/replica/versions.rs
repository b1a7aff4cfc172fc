//! `materialize(…, history => true)`: every version of every row.

use assets_fdw_tests::Server;

use super::*;

#[test]
fn every_change_and_delete_leaves_a_version_with_the_time_it_was_valid() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = import(&database, &sim);
    client
        .batch_execute(
            "SELECT assets_fdw.materialize('itsm.server', history => true);
             SELECT assets_fdw.materialize('itsm.employee')",
        )
        .unwrap();
    let refresh = |client: &mut Client, mode: &str| {
        let sql = format!("SELECT assets_fdw.refresh('itsm_replica.server', '{mode}')");
        client.batch_execute(&sql).unwrap_or_else(|error| panic!("{error:?}"));
        client.query_one("SELECT clock_timestamp()::text", &[]).unwrap().get::<_, String>(0)
    };
    let loaded = refresh(&mut client, "auto");
    let before =
        text(&mut client, "SELECT md5(string_agg(s::text, '|' ORDER BY id)) FROM itsm_replica.server AS s");
    let keys: Vec<String> = client
        .query("SELECT key FROM itsm_replica.server WHERE owner_key IS NOT NULL ORDER BY id LIMIT 3", &[])
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    let owner =
        text(&mut client, &format!("SELECT owner_key FROM itsm_replica.server WHERE key = '{}'", keys[2]));
    sim.update(&keys[0], "Operating System", &["Plan 9"]).unwrap();
    sim.delete(&keys[1]).unwrap();
    sim.update(&owner, "Name", &["A New Name"]).unwrap();
    let changed = refresh(&mut client, "incremental");
    sim.update(&keys[0], "Operating System", &["Inferno"]).unwrap();
    refresh(&mut client, "full");
    refresh(&mut client, "full");

    let versions = format!(
        "SELECT string_agg(coalesce(operating_system, '-') || ' ' || (valid_to IS NULL), ', ' ORDER BY valid_from)
         FROM itsm_replica.server_history WHERE key = '{}'",
        keys[0]
    );
    let versions = text(&mut client, &versions);
    assert!(
        versions.ends_with("Plan 9 false, Inferno true") && versions.matches(',').count() == 2,
        "{versions}"
    );
    let gone = format!(
        "SELECT count(*) FROM itsm_replica.server_history WHERE key = '{}' AND valid_to IS NOT NULL",
        keys[1]
    );
    assert_eq!(number(&mut client, &gone), 1);
    let relabelled = format!(
        "SELECT string_agg((owner = 'A New Name')::text, ', ' ORDER BY valid_from) FROM itsm_replica.server_history WHERE key = '{}'",
        keys[2]
    );
    assert_eq!(text(&mut client, &relabelled), "false, true");
    // The state at any moment can be had again, and the one without an end is the replica.
    let columns = "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
                   WHERE attrelid = 'itsm_replica.server'::regclass AND attnum > 0";
    let columns = text(&mut client, columns);
    let at = |moment: &str| {
        format!(
            "SELECT md5(string_agg(s::text, '|' ORDER BY id)) FROM (SELECT {columns} FROM itsm_replica.server_history
             WHERE valid_from <= '{moment}' AND (valid_to > '{moment}' OR valid_to IS NULL)) AS s"
        )
    };
    assert_eq!(text(&mut client, &at(&loaded)), before);
    assert_ne!(text(&mut client, &at(&changed)), before);
    let now =
        text(&mut client, "SELECT md5(string_agg(s::text, '|' ORDER BY id)) FROM itsm_replica.server AS s");
    assert_eq!(text(&mut client, &at("infinity")), now);
    let overlaps =
        "SELECT count(*) FROM itsm_replica.server_history AS a JOIN itsm_replica.server_history AS b
                    ON a.id = b.id AND a.ctid <> b.ctid AND a.valid_from <= b.valid_from
                       AND coalesce(a.valid_to, 'infinity') > b.valid_from";
    assert_eq!(number(&mut client, overlaps), 0);
}

#[test]
fn the_history_outlives_its_replica_and_goes_on_with_the_next() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = import(&database, &sim);
    for _ in 0..2 {
        client.batch_execute("SELECT assets_fdw.materialize('itsm.server', history => true)").unwrap();
        client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
        client.batch_execute("SELECT assets_fdw.dematerialize('itsm_replica.server')").unwrap();
    }
    let rows = number(&mut client, "SELECT count(*) FROM itsm.server");
    assert_eq!(
        number(&mut client, "SELECT count(*) FROM itsm_replica.server_history WHERE valid_to IS NULL"),
        rows
    );
    assert_eq!(number(&mut client, "SELECT count(*) FROM itsm_replica.server_history"), rows);
}

/// A version that one replica closes must be one of its own.
#[test]
fn a_history_belongs_to_one_replica_and_a_table_of_its_name_that_is_another_ones_is_an_error() {
    let (sim, server) = (small(), Server::shared());
    let database = server.create_database();
    let mut client = import(&database, &sim);
    let refused = |client: &mut Client, into: &str, why: &str| {
        let sql = format!("SELECT assets_fdw.materialize('itsm.server', '{into}', history => true)");
        let (state, message) = error_of(client, &sql);
        assert!(state == "42P07" && message.contains(why), "{into}: {state} {message}");
    };
    let made = |client: &mut Client, source: &str, into: &str| {
        let sql = format!(
            "SELECT assets_fdw.materialize('itsm.{source}', '{into}', history => true);
             SELECT assets_fdw.refresh('{into}')"
        );
        steps(client, &sql);
    };
    // Names whose first 55 bytes are the same.
    let long = |end: &str| format!("h.{}{end}", "x".repeat(55));
    client.batch_execute("CREATE SCHEMA h").unwrap();
    made(&mut client, "server", &long("one"));
    refused(&mut client, &long("two"), "is the history of h.");
    refused(&mut client, &long("12345678"), "is the history of h.");
    // The one that is there under another name now.
    made(&mut client, "server", "h.server");
    client.batch_execute("ALTER TABLE h.server RENAME TO machines").unwrap();
    refused(&mut client, "h.server", "is the history of h.machines");
    // What is left of one goes on with a replica of its own name only, whatever it was called when it began.
    client.batch_execute("SELECT assets_fdw.dematerialize('h.machines')").unwrap();
    refused(&mut client, "h.server", "replica \"machines\" has left");
    client.batch_execute("ALTER TABLE h.server_history RENAME TO machines_history").unwrap();
    made(&mut client, "server", "h.machines");
    let rows = number(&mut client, "SELECT count(*) FROM itsm.server");
    for of in [
        "SELECT count(*) FROM h.machines_history",
        "SELECT count(*) FROM h.machines_history WHERE valid_to IS NULL",
    ] {
        assert_eq!(number(&mut client, of), rows);
    }
    // A replica is no history, nor is a history a replica, also before the first rows.
    client
        .batch_execute("SELECT assets_fdw.materialize('itsm.vendor', 'h.vendor', history => true)")
        .unwrap();
    refused(&mut client, "h.vendor_history", "is the history of replica h.vendor");
    client
        .batch_execute(
            "CREATE FOREIGN TABLE itsm.odd (id bigint, valid_from text OPTIONS (attribute 'Notes'), valid_to text OPTIONS (attribute 'Notes'))
                 SERVER assets OPTIONS (object_schema 'ITSM', object_type 'Server');
             SELECT assets_fdw.materialize('itsm.odd', 'h.laptop_history')",
        )
        .unwrap();
    refused(&mut client, "h.laptop", "is a replica");
    // Nor is anything that somebody has made for another purpose, or that is not a table of its own.
    let times = "valid_from timestamptz NOT NULL, valid_to timestamptz";
    client
        .batch_execute(&format!(
            "CREATE TABLE h.a_history (id bigint);
             CREATE TABLE h.b_history (id bigint, {times}); INSERT INTO h.b_history VALUES (1, now());
             CREATE VIEW h.c_history AS SELECT * FROM h.b_history;
             CREATE TABLE h.parted (id bigint, {times}) PARTITION BY RANGE (id);
             CREATE TABLE h.d_history PARTITION OF h.parted DEFAULT;
             CREATE TABLE h.e_history (LIKE h.b_history) INHERITS (h.b_history);
             CREATE FOREIGN TABLE h.f_history (id bigint, {times}) SERVER assets OPTIONS (object_type 'Server');
             CREATE TABLE h.g_history (id bigint, {times}) PARTITION BY RANGE (valid_from);
             CREATE TABLE h.g_all PARTITION OF h.g_history DEFAULT"
        ))
        .unwrap();
    refused(&mut client, "h.a", "lacks the id, valid_from or valid_to");
    refused(&mut client, "h.b", "holds rows that are no versions");
    for into in ["h.c", "h.d", "h.e", "h.f"] {
        refused(&mut client, into, "no table of its own");
    }
    // An empty one made for it is taken, with whatever columns it lacks.
    made(&mut client, "server", "h.g");
    assert_eq!(
        number(&mut client, "SELECT count(memory_gb) FROM h.g_history"),
        number(&mut client, "SELECT count(memory_gb) FROM h.g")
    );
    assert_eq!(number(&mut client, "SELECT count(*) FROM h.g_all"), rows);
    // A history that is dropped is kept no more; the number that it had means nothing.
    client.batch_execute("DROP TABLE h.g_history").unwrap();
    let kept = "SELECT count(*) FROM assets_fdw.materializations WHERE target = 'h.g'::regclass AND (history OR history_table IS NOT NULL)";
    assert_eq!(number(&mut client, kept), 0);
    client.batch_execute("SELECT assets_fdw.refresh('h.g', 'full')").unwrap();
    // Two that share one since version 0.1.0: the older one keeps it, the other says so and writes nothing.
    made(&mut client, "server", "h.old");
    made(&mut client, "employee", "h.young");
    client
        .batch_execute(
            "UPDATE assets_fdw.replica_job SET history_table = 'h.old_history' WHERE target = 'h.young'::regclass",
        )
        .unwrap();
    let key = text(&mut client, "SELECT key FROM h.young ORDER BY id LIMIT 1");
    sim.update(&key, "Email", &["new@example.com"]).unwrap();
    let (state, message) = error_of(&mut client, "SELECT assets_fdw.refresh('h.young', 'full')");
    assert!(state == "55000" && message.contains("belongs to another replica"), "{state} {message}");
    assert_eq!(number(&mut client, "SELECT count(*) FROM h.old_history WHERE valid_to IS NOT NULL"), 0);
}

#[test]
fn columns_of_the_users_own_are_no_hindrance_to_a_history() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = import(&database, &sim);
    steps(
        &mut client,
        "CREATE SCHEMA own;
         CREATE TABLE own.server (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text, memory_gb bigint,
             noted text NOT NULL DEFAULT 'mine', n int GENERATED ALWAYS AS IDENTITY,
             said text NOT NULL GENERATED ALWAYS AS (noted || '!') STORED,
             twice bigint GENERATED ALWAYS AS (memory_gb * 2) STORED);
         SELECT assets_fdw.materialize('itsm.server', 'own.server', history => true);
         SELECT assets_fdw.refresh('own.server')",
    );
    let key = text(&mut client, "SELECT key FROM own.server ORDER BY id LIMIT 1");
    client.batch_execute("UPDATE own.server SET noted = 'still mine'").unwrap();
    sim.update(&key, "Memory GB", &["7"]).unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('own.server')").unwrap();
    let row =
        format!("SELECT concat_ws(' ', memory_gb, noted, said, twice) FROM own.server WHERE key = '{key}'");
    assert_eq!(text(&mut client, &row), "7 still mine still mine! 14");
    let version = format!("SELECT twice FROM own.server_history WHERE key = '{key}' AND valid_to IS NULL");
    assert_eq!(number(&mut client, &version), 14);
    assert_eq!(number(&mut client, "SELECT count(DISTINCT n) - count(*) FROM own.server"), 0);
    // The column of a replica that somebody gives another type: what the history holds stays.
    let held = "SELECT count(memory_gb_bigint) FROM own.server_history";
    let before = number(&mut client, "SELECT count(memory_gb) FROM own.server_history");
    let computed = "SELECT sum(twice)::bigint FROM own.server_history";
    let (twice, mine) = (number(&mut client, computed), "SELECT sum(half)::bigint FROM own.server_history");
    steps(
        &mut client,
        "ALTER TABLE own.server DROP COLUMN twice; ALTER TABLE own.server ALTER COLUMN memory_gb TYPE text;
         ALTER TABLE own.server ADD COLUMN twice text GENERATED ALWAYS AS (memory_gb || memory_gb) STORED;
         ALTER TABLE own.server_history ADD COLUMN half bigint GENERATED ALWAYS AS (memory_gb / 2) STORED",
    );
    let halves = number(&mut client, mine);
    client.batch_execute("SELECT assets_fdw.refresh('own.server', 'full')").unwrap();
    assert_eq!(number(&mut client, held), before);
    // So does what it computed of it, and what is computed now is of the column that is shown now.
    assert_eq!(number(&mut client, "SELECT sum(twice_bigint)::bigint FROM own.server_history"), twice);
    assert_eq!(number(&mut client, mine), halves);
    let agree = "SELECT count(*) FROM own.server AS s JOIN own.server_history AS h USING (id)
                 WHERE h.valid_to IS NULL AND s.twice IS DISTINCT FROM h.twice";
    assert_eq!(number(&mut client, agree), 0);
    assert!(number(&mut client, "SELECT count(twice) FROM own.server_history WHERE valid_to IS NULL") > 0);
    let open = "SELECT count(*) FROM own.server AS s JOIN own.server_history AS h USING (id, memory_gb) WHERE h.valid_to IS NULL";
    assert_eq!(number(&mut client, open), number(&mut client, "SELECT count(memory_gb) FROM own.server"));
    // The id, without which nothing is a version: the column itself gets the type.
    let versions = "SELECT count(*) FROM own.server_history WHERE id IS NOT NULL";
    let before = number(&mut client, versions);
    client.batch_execute("ALTER TABLE own.server ALTER COLUMN id TYPE integer").unwrap();
    sim.update(&key, "Memory GB", &["8"]).unwrap();
    // Who reads the history is waited for, but not for long: whoever comes to read it meanwhile waits as well. What is
    // made of the column says what to do.
    let mut reader = database.connect();
    reader.batch_execute("BEGIN; SELECT FROM own.server_history LIMIT 1").unwrap();
    let (state, message) = error_of(&mut client, "SELECT assets_fdw.refresh('own.server')");
    assert!(message.contains("another session has locked it"), "{state} {message}");
    reader.batch_execute("COMMIT; CREATE VIEW own.versions AS SELECT id FROM own.server_history").unwrap();
    let (state, message) = error_of(&mut client, "SELECT assets_fdw.refresh('own.server')");
    assert!(
        state == "0A000" && message.contains("cannot get integer, its replica's type"),
        "{state} {message}"
    );
    assert!(message.contains("own.versions") || message.contains("view"), "{message}");
    client.batch_execute("DROP VIEW own.versions").unwrap();
    client
        .batch_execute("SELECT assets_fdw.refresh('own.server')")
        .unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(number(&mut client, versions), before + 1);
    assert_eq!(number(&mut client, open), number(&mut client, "SELECT count(memory_gb) FROM own.server"));
    // One made beforehand, with other types and what it demands of them.
    steps(
        &mut client,
        "CREATE TABLE own.laptop_history (id integer NOT NULL, key varchar(20) NOT NULL, label text,
             valid_from timestamptz NOT NULL, valid_to timestamptz, PRIMARY KEY (id, valid_from));
         SELECT assets_fdw.materialize('itsm.laptop', 'own.laptop', history => true);
         SELECT assets_fdw.refresh('own.laptop')",
    );
    let open = "SELECT count(*) FROM own.laptop AS s JOIN own.laptop_history AS h USING (id, key) WHERE h.valid_to IS NULL";
    assert_eq!(number(&mut client, open), number(&mut client, "SELECT count(*) FROM own.laptop"));
}

#[test]
fn a_column_that_comes_later_is_in_a_history_from_then_on_and_one_that_was_taken_out_stays_out() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = import(&database, &sim);
    let refresh = "SELECT assets_fdw.refresh('itsm_replica.server')";
    steps(
        &mut client,
        &format!(
            "ALTER FOREIGN TABLE itsm.server DROP COLUMN memory_gb;
             SELECT assets_fdw.materialize('itsm.server', history => true); {refresh};
             ALTER TABLE itsm_replica.server_history DROP COLUMN notes;
             ALTER FOREIGN TABLE itsm.server ADD COLUMN memory_gb bigint OPTIONS (attribute 'Memory GB');
             ALTER TABLE itsm_replica.server ADD COLUMN memory_gb bigint; {refresh}"
        ),
    );
    let agree = "SELECT count(*) FROM itsm_replica.server AS s LEFT JOIN itsm_replica.server_history AS h
                 ON h.id = s.id AND h.valid_to IS NULL WHERE h.memory_gb IS DISTINCT FROM s.memory_gb OR h.id IS NULL";
    let columns = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'itsm_replica.server_history'::regclass
                   AND attname = 'notes'";
    assert!(number(&mut client, "SELECT count(memory_gb) FROM itsm_replica.server") > 0);
    assert_eq!((number(&mut client, agree), number(&mut client, columns)), (0, 0));
    // Taken out afterwards, it does not come back either.
    client.batch_execute("ALTER TABLE itsm_replica.server_history DROP COLUMN memory_gb").unwrap();
    let key = text(&mut client, "SELECT min(key) FROM itsm_replica.server");
    sim.update(&key, "Memory GB", &["77"]).unwrap();
    steps(&mut client, &format!("{refresh}; SELECT assets_fdw.refresh('itsm_replica.server', 'full')"));
    let both = columns.replace("= 'notes'", "IN ('notes', 'memory_gb')");
    assert_eq!(number(&mut client, &both), 0);
}

#[test]
fn a_publication_for_all_tables_stops_no_refresh_and_no_version_from_being_closed() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = import(&database, &sim);
    client
        .batch_execute(
            "SELECT assets_fdw.materialize('itsm.server', history => true);
             CREATE PUBLICATION everything FOR ALL TABLES",
        )
        .unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.server')").unwrap();
    let key = text(&mut client, "SELECT key FROM itsm_replica.server ORDER BY id LIMIT 1");
    let versions = format!(
        "SELECT string_agg(coalesce(operating_system, '-') || ' ' || (valid_to IS NULL), ', ' ORDER BY valid_from)
         FROM itsm_replica.server_history WHERE key = '{key}'"
    );
    // A history of 0.1.0 has no key.
    let undo = "ALTER TABLE itsm_replica.server_history DROP CONSTRAINT server_history_pkey";
    for (os, before) in [("Plan 9", "SELECT 1"), ("Inferno", undo)] {
        client.batch_execute(before).unwrap();
        sim.update(&key, "Operating System", &[os]).unwrap();
        client
            .batch_execute(
                "SELECT assets_fdw.request_refresh('itsm_replica.server');
                 SELECT assets_fdw.refresh('itsm_replica.server')",
            )
            .unwrap();
        assert!(text(&mut client, &versions).ends_with(&format!("false, {os} true")), "{os}");
    }
    let key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint
               WHERE conrelid = 'itsm_replica.server_history'::regclass AND contype = 'p'";
    assert_eq!(text(&mut client, key), "PRIMARY KEY (id, valid_from)");
    // Nothing else of the extension's is without an identity either.
    let without = "SELECT count(*) FROM pg_class AS c
        WHERE relnamespace = 'assets_fdw'::regnamespace AND relkind = 'r' AND relpersistence = 'p' AND relreplident = 'd'
          AND NOT EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary)";
    assert_eq!(number(&mut client, without), 0);
}

#[test]
fn a_history_follows_names_that_columns_took_from_each_other_and_keeps_its_own() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = import(&database, &sim);
    let refresh = "SELECT assets_fdw.refresh('itsm_replica.server')";
    client.batch_execute("SELECT assets_fdw.materialize('itsm.server', history => true)").unwrap();
    client.batch_execute(refresh).unwrap();
    // Each row's open version is the row, and so are versions that were closed, under the names of now.
    let agree = "SELECT count(*) FROM itsm_replica.server AS s LEFT JOIN itsm_replica.server_history AS h
                 ON h.id = s.id AND h.valid_to IS NULL
                 WHERE (h.name, h.notes, h.os, h.support_group) IS DISTINCT FROM (s.name, s.notes, s.os, s.support_group)";
    // A chain, a swap, and a circle of three.
    for (n, names) in [
        "operating_system os; serial_number operating_system",
        "name t; notes name; t notes",
        "name t; notes name; support_group notes; t support_group",
    ]
    .into_iter()
    .enumerate()
    {
        let renames = names.split("; ").map(|pair| {
            let (from, to) = pair.split_once(' ').unwrap();
            format!("ALTER TABLE itsm_replica.server RENAME COLUMN {from} TO {to};")
        });
        client.batch_execute(&renames.collect::<String>()).unwrap();
        client.batch_execute(refresh).unwrap();
        assert_eq!(number(&mut client, agree), 0, "{names}");
        let versions = "SELECT count(*) FROM itsm_replica.server_history";
        let before = number(&mut client, versions);
        let key = text(&mut client, "SELECT min(key) FROM itsm_replica.server");
        sim.update(&key, "Support Group", &[["Storage", "Network", "Storage"][n]]).unwrap();
        client.batch_execute(refresh).unwrap();
        assert_eq!((number(&mut client, agree), number(&mut client, versions)), (0, before + 1), "{names}");
    }
    // The history's own names are nobody else's.
    for name in ["valid_to", "valid_from"] {
        let rename =
            |from: &str, to: &str| format!("ALTER TABLE itsm_replica.server RENAME COLUMN {from} TO {to}");
        client.batch_execute(&rename("last_backup", name)).unwrap();
        let open = "SELECT count(*) FROM itsm_replica.server_history WHERE valid_to IS NULL";
        let before = number(&mut client, open);
        let key = text(&mut client, "SELECT max(key) FROM itsm_replica.server");
        sim.update(&key, "Operating System", &[name]).unwrap();
        let (state, message) = error_of(&mut client, refresh);
        assert!(state == "42701" && message.contains(name), "{state} {message}");
        client.batch_execute(&rename(name, "last_backup")).unwrap();
        client.batch_execute(refresh).unwrap();
        assert_eq!(number(&mut client, open), before);
    }
}
