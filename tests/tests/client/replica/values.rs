//! Replicas hold what the foreign table shows, whatever form the service gives its values.

use assets_fdw_tests::Server;
use assets_fdw_tests::assets_sim::{Stamps, SubObjects};

use super::incremental::{group, incremental, same};
use super::*;

/// The old reading of `updated` stopped every refresh here, and its statuses were numbers.
#[test]
fn a_replica_follows_a_service_that_writes_stamps_as_numbers_and_leaves_details_out() {
    for (stamps, sub_objects) in [(Stamps::Millis, SubObjects::Absent), (Stamps::MillisText, SubObjects::Ids)]
    {
        let sim = small();
        sim.switches(|s| (s.stamps, s.sub_objects) = (stamps, sub_objects));
        let database = Server::shared().create_database();
        let mut client = group(&database, &sim, &["server"]);
        same(&mut client, "server");
        let key = text(&mut client, "SELECT key FROM itsm.server ORDER BY id LIMIT 1");
        assert_eq!(incremental(&mut client, "itsm_replica.server"), (0, 0, 0, 0));
        sim.update(&key, "Operating System", &["Plan 9"]).unwrap();
        sim.create("Server", "srv-new", &[]).unwrap();
        let (_, inserted, updated, deleted) = incremental(&mut client, "itsm_replica.server");
        assert_eq!((inserted, deleted), (1, 0), "{updated} {}", history(&mut client));
        same(&mut client, "server");
        let status = "SELECT count(*) FROM itsm_replica.server WHERE status ~ '^[0-9]+$'";
        assert_eq!(number(&mut client, status), 0);
    }
}

#[test]
fn a_replica_has_domains_generated_columns_and_lists_with_gaps_as_its_source() {
    let sim = small();
    sim.switches(|s| {
        s.value_shapes.insert("Tags".into(), r#"[{"value": "a"}, {"value": {"odd": 1}}]"#.into());
        s.value_shapes.insert("Depends On".into(), r#"[{"referencedType": true}, {"referencedType": true, "displayValue": "x", "searchValue": "ITSM-1"}]"#.into());
        s.value_shapes.insert("Notes".into(), r#"[{"value": "12025-01-31"}]"#.into());
    });
    let database = Server::shared().create_database();
    let mut client = import(&database, &sim);
    let id = sim.type_id("Server").unwrap();
    client
        .batch_execute(&format!(
            "CREATE DOMAIN tags AS text[] CHECK (array_length(VALUE, 1) < 9);
             CREATE DOMAIN one AS text[] CHECK (array_length(VALUE, 1) < 2);
             CREATE FOREIGN TABLE itsm.own (id bigint NOT NULL, key text NOT NULL, tags tags,
                 none one OPTIONS (attribute 'Tags', on_invalid 'null'),
                 depends_on text[], depends_on_key text[] OPTIONS (attribute 'Depends On', part 'key'), notes date,
                 memory_gb bigint, twice bigint GENERATED ALWAYS AS (memory_gb * 2) STORED)
             SERVER assets OPTIONS (object_type_id '{id}');
             SELECT assets_fdw.materialize('itsm.own', into_table => 'itsm_replica.own')"
        ))
        .unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.own')").unwrap();
    same(&mut client, "own");
    let shown = text(
        &mut client,
        "SELECT DISTINCT concat_ws(' ', tags, none IS NULL, depends_on, depends_on_key, notes) FROM itsm_replica.own",
    );
    assert_eq!(shown, r#"{a,"{\"odd\": 1}"} t {NULL,x} {NULL,ITSM-1} 12025-01-31"#);
    assert!(number(&mut client, "SELECT count(*) FROM itsm_replica.own WHERE twice = 2 * memory_gb") > 0);
    let key = text(&mut client, "SELECT key FROM itsm.own ORDER BY id LIMIT 1");
    sim.update(&key, "Memory GB", &["7"]).unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.own')").unwrap();
    same(&mut client, "own");
    assert_eq!(number(&mut client, &format!("SELECT twice FROM itsm_replica.own WHERE key = '{key}'")), 14);
}

/// NOT NULL of an attribute's column is what its owner says of it, and no page makes sure of that.
#[test]
fn a_replica_takes_over_not_null_of_what_every_object_has_and_its_history_computes_the_same() {
    let sim = small();
    let database = Server::shared().create_database();
    let mut client = import(&database, &sim);
    let id = sim.type_id("Server").unwrap();
    client
        .batch_execute(&format!(
            "CREATE FOREIGN TABLE itsm.loose (id bigint, key text, label text, serial_number text NOT NULL,
                 tags text[] NOT NULL, lab text GENERATED ALWAYS AS (label || '!') STORED NOT NULL)
             SERVER assets OPTIONS (object_type_id '{id}');
             CREATE FOREIGN TABLE itsm.odd (id bigint, key text GENERATED ALWAYS AS (upper(tag)) STORED,
                 tag text OPTIONS (attribute 'Serial Number'))
             SERVER assets OPTIONS (object_type_id '{id}');
             SELECT assets_fdw.materialize('itsm.loose', into_table => 'itsm_replica.loose', history => true);
             SELECT assets_fdw.materialize('itsm.odd', into_table => 'itsm_replica.odd')"
        ))
        .unwrap();
    for table in ["loose", "odd"] {
        client.batch_execute(&format!("SELECT assets_fdw.refresh('itsm_replica.{table}')")).unwrap();
        same(&mut client, table);
    }
    assert!(
        number(
            &mut client,
            "SELECT count(*) FROM itsm_replica.loose WHERE serial_number IS NULL OR tags IS NULL"
        ) > 0
    );
    let differ =
        "SELECT count(*) FROM itsm_replica.loose AS r FULL JOIN itsm_replica.loose_history AS h USING (id)
                  WHERE h.lab IS DISTINCT FROM r.lab OR r.lab IS NULL";
    assert_eq!(number(&mut client, differ), 0);
}
