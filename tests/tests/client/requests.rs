//! How many requests everyday queries need: of `object/aql` and `totalcount`, with metadata and
//! counts cached.

use assets_fdw_tests::assets_sim::Profile;

use crate::live::{Live, one, unpushed};

#[test]
fn everyday_queries_over_100_000_objects_need_few_requests() {
    let live = Live::imported(Profile::Documented, 100_000);
    let mut client = live.connect();
    client
        .batch_execute(
            "CREATE TABLE wanted AS SELECT key, row_number() OVER () AS n FROM itsm.server LIMIT 300;
             CREATE TABLE few AS SELECT key FROM wanted WHERE n % 15 = 0;
             ANALYZE wanted; ANALYZE few;
             SELECT count(name) FROM itsm.server WHERE key = 'ITSM-1'",
        )
        .unwrap();
    let (key, id): (String, i64) = {
        let row = client.query_one("SELECT key, id FROM itsm.server LIMIT 1", &[]).unwrap();
        (row.get(0), row.get(1))
    };
    let list: String = one(&mut client, "SELECT string_agg(quote_literal(key), ', ') FROM wanted");
    for (most, sql) in [
        (1, "SELECT count(*) FROM itsm.server".to_owned()),
        (1, format!("SELECT * FROM itsm.server WHERE key = '{key}'")),
        (1, format!("SELECT * FROM itsm.server WHERE id = {id}")),
        (1, "SELECT * FROM itsm.server LIMIT 10".to_owned()),
        (1, "SELECT * FROM itsm.server ORDER BY updated DESC LIMIT 10".to_owned()),
        (1, "SELECT EXISTS (SELECT FROM itsm.server)".to_owned()),
        (1, "SELECT WHERE EXISTS (SELECT FROM itsm.server WHERE memory_gb >= 64)".to_owned()),
        (3, format!("SELECT * FROM itsm.server WHERE key IN ({list})")),
        (20, "SELECT * FROM few JOIN itsm.server USING (key)".to_owned()),
        (1, "SELECT * FROM itsm.server WHERE key = ANY (ARRAY(SELECT key FROM few))".to_owned()),
    ] {
        let asked = live.requests(&mut client, &sql);
        let log: Vec<_> = live.sim.log().into_iter().map(|e| (e.aql, e.start_at, e.max_results)).collect();
        assert!(asked <= most, "{asked} requests, not {most}: {sql:.200}\n{log:.300?}");
    }
}

#[test]
fn a_cursor_that_stops_within_the_first_page_has_asked_for_no_other() {
    let live = Live::imported(Profile::Documented, 3000);
    let mut client = live.connect();
    client.batch_execute("SELECT count(name) FROM itsm.server").unwrap();
    let rest: i64 = one(&mut client, "SELECT count(*) - 30 FROM itsm.server");
    for fetch in ["FETCH 1", "FETCH 20"] {
        // Three counts one after the other: time enough for whatever else the cursor would ask for.
        let sql = format!(
            "BEGIN; DECLARE c CURSOR FOR SELECT key FROM itsm.server; {fetch} FROM c;
             SELECT assets_fdw.count('assets', 'objectType = Room') FROM generate_series(1, 3); COMMIT"
        );
        assert_eq!(live.requests(&mut client, &sql), 1 + 3, "{fetch}");
    }
    // One that goes on gets the rest.
    client.batch_execute("BEGIN; DECLARE c CURSOR FOR SELECT key FROM itsm.server").unwrap();
    assert_eq!(client.query("FETCH 30 FROM c", &[]).unwrap().len(), 30);
    assert_eq!(client.query("FETCH ALL FROM c", &[]).unwrap().len() as i64, rest);
}

#[test]
fn a_rescan_that_changes_nothing_asks_nothing() {
    let live = Live::imported(Profile::Documented, 3000);
    let mut client = live.connect();
    client
        .batch_execute(
            "CREATE TABLE rooms AS SELECT n FROM generate_series(1, 6) n; ANALYZE rooms;
             SET enable_material = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
             SET enable_memoize = off; SET work_mem = '64kB';
             SELECT count(name) FROM itsm.room",
        )
        .unwrap();
    let objects: i64 = one(&mut client, "SELECT count(*) FROM itsm.server");
    let pages = (objects as usize).div_ceil(100) + 3;
    for (most, sql, rows) in [
        // Every row, six times; beyond work_mem too.
        (pages, "SELECT r.n, s.* FROM rooms r LEFT JOIN itsm.server s ON s.memory_gb + r.n > 0", None),
        (1, "SELECT r.n, (SELECT count(*) FROM itsm.server) FROM rooms r WHERE r.n > 0", Some(6)),
        (
            1,
            "SELECT r.n, x.key FROM rooms r LEFT JOIN (
                 SELECT key, id FROM itsm.server ORDER BY updated DESC LIMIT 5) x ON x.id + r.n > 0",
            Some(30),
        ),
        // Last, since a page that nobody waits for may still be under way when the next query begins.
        // What stops early goes on from there. A parameter of the join changes what is checked here, not
        // what is asked, which is seen the second time.
        (
            2 * (256_usize.div_ceil(99) + 4),
            "SELECT r.n, x.key FROM rooms r, LATERAL (
                 SELECT key FROM itsm.server WHERE memory_gb + r.n > 0 OFFSET r.n LIMIT 250) x",
            Some(6 * 250),
        ),
    ] {
        let asked = live.requests(&mut client, sql);
        assert!(asked <= most, "{asked} requests, not {most}: {sql}");
        let found = client.query(sql, &[]).unwrap().len();
        client.batch_execute("SET enable_material = on; SET enable_hashjoin = on").unwrap();
        let expected = unpushed(&mut client, |client| client.query(sql, &[]).unwrap().len());
        assert_eq!(found, expected, "{sql}");
        client.batch_execute("SET enable_material = off; SET enable_hashjoin = off").unwrap();
        assert_eq!(rows.unwrap_or(found), found, "{sql}");
    }
}
