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
    client.batch_execute("CREATE SCHEMA other; CREATE TABLE other.server_history (id bigint)").unwrap();
    let (state, message) = error_of(
        &mut client,
        "SELECT assets_fdw.materialize('itsm.server', 'other.server', history => true)",
    );
    assert!(state == "42P07" && message.contains("is no history"), "{state} {message}");
}
