//! sync_schema() and IMPORT where names are hostile, tables too wide, and roles not the owner's.

use assets_fdw_tests::assets_sim::Kind;

use super::sync::{shape, sync};
use super::*;

const SQL: &str = "x\"; DROP SCHEMA itsm CASCADE; --'\\";

#[test]
fn names_that_are_sql_too_long_or_taken_come_through_as_names() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut client = import(&database, &sim);
    client.batch_execute("SELECT assets_fdw.materialize_schema('itsm')").unwrap();
    let long = "Ü".repeat(70);
    for name in [SQL, &long, "vendor", "Vendor", "ctid"] {
        sim.add_type("ITSM", name, None).unwrap();
        sim.add_attribute("Vendor", name, Kind::Object, true).unwrap();
        sim.add_attribute("Vendor", name, Kind::Text, false).unwrap();
        sim.describe("Vendor", Some(name), SQL).unwrap();
    }
    sim.rename_attribute("Server", "Virtual", SQL).unwrap();
    sim.rename_type("Server", SQL).unwrap();
    assert!(sync(&mut client, "itsm", false).len() > 30);
    assert_eq!(sync(&mut client, "itsm", true), Vec::<String>::new());
    // Statements are the same whatever the session's setting of strings.
    client.batch_execute("SET standard_conforming_strings = off").unwrap();
    assert_eq!(sync(&mut client, "itsm", true), Vec::<String>::new());
    sim.rename_type("Contract", SQL).unwrap();
    sync(&mut client, "itsm", false);
    client.batch_execute("RESET standard_conforming_strings").unwrap();
    assert_eq!(sync(&mut client, "itsm", true), Vec::<String>::new());
    let tables = "SELECT count(*) FROM pg_class WHERE relkind = 'f' AND relnamespace = 'itsm'::regnamespace";
    let replicas =
        "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'itsm_replica'::regnamespace";
    assert_eq!(number(&mut client, tables), number(&mut client, replicas));
    let seen = "SELECT count(*) FROM assets_fdw.refresh_schema('itsm_replica')";
    assert_eq!(number(&mut client, seen), number(&mut client, tables));
    let columns = shape(&mut client, "itsm.vendor").join(" ");
    assert!(columns.contains("ctid_") && columns.contains("vendor_key"), "{columns}");
}

#[test]
fn a_type_with_a_system_columns_name_for_an_attribute_can_be_imported() {
    let (sim, database) = (small(), Server::shared().create_database());
    for name in ["xmin", "CTID", "TableOID"] {
        sim.add_attribute("Vendor", name, Kind::Text, false).unwrap();
    }
    let mut client = import(&database, &sim);
    let columns = shape(&mut client, "itsm.vendor").join(" ");
    assert!(["xmin_", "ctid_", "tableoid_"].iter().all(|name| columns.contains(name)), "{columns}");
    client.batch_execute("SELECT * FROM itsm.vendor").unwrap();
}

#[test]
fn a_type_with_too_many_attributes_is_named_and_the_most_that_postgres_has_work() {
    let (sim, database) = (small(), Server::shared().create_database());
    // id, key, label, six attributes' columns, created, updated, url.
    let own = 4;
    for n in 0..1600 - 6 - own {
        sim.add_attribute("Vendor", &format!("A {n}"), Kind::Text, false).unwrap();
    }
    let mut client = import(&database, &sim);
    assert_eq!(shape(&mut client, "itsm.vendor").len(), 1600);
    client.batch_execute("SELECT assets_fdw.materialize('itsm.vendor')").unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.vendor')").unwrap();
    client.batch_execute("SELECT assets_fdw.refresh('itsm_replica.vendor')").unwrap();
    assert!(number(&mut client, "SELECT count(*) FROM itsm_replica.vendor") > 0);

    sim.add_attribute("Vendor", "One too many", Kind::Text, false).unwrap();
    let told = sync(&mut client, "itsm", false);
    assert!(told.len() == 1 && told[0].contains("1600 columns"), "{told:#?}");
    client.batch_execute("CREATE SCHEMA again").unwrap();
    let import = "IMPORT FOREIGN SCHEMA \"ITSM\" FROM SERVER assets INTO again";
    let (state, message) = error_of(&mut client, import);
    assert!(
        state == "0A000" && message.contains("1601 columns") && message.contains("EXCEPT (\"vendor\")"),
        "{message}"
    );
    client
        .batch_execute("IMPORT FOREIGN SCHEMA \"ITSM\" EXCEPT (vendor) FROM SERVER assets INTO again")
        .unwrap();
}

#[test]
fn only_owners_sync_and_each_only_what_is_its_own() {
    let (sim, database) = (small(), Server::shared().create_database());
    let mut admin = import(&database, &sim);
    let (alice, bob) = (format!("{}_alice", database.name()), format!("{}_bob", database.name()));
    let identity = &sim.identities()[0];
    admin
        .batch_execute(&format!(
            "CREATE ROLE {alice} LOGIN; CREATE ROLE {bob} LOGIN;
             GRANT CREATE ON DATABASE {0} TO {alice}, {bob};
             GRANT USAGE ON FOREIGN SERVER assets TO {alice};
             GRANT USAGE ON SCHEMA itsm TO {alice}, {bob};
             CREATE USER MAPPING FOR {alice} SERVER assets OPTIONS (email '{1}', api_token '{2}');
             CREATE USER MAPPING FOR {bob} SERVER assets OPTIONS (email '{1}', api_token '{2}')",
            database.name(),
            identity.name,
            identity.secret
        ))
        .unwrap();
    let mut a = database.connect_as(&alice);
    let mut b = database.connect_as(&bob);
    a.batch_execute(
        "CREATE SCHEMA mine; IMPORT FOREIGN SCHEMA \"ITSM\" LIMIT TO (server, vendor) FROM SERVER assets INTO mine",
    )
    .unwrap();
    a.batch_execute(&format!(
        "GRANT USAGE ON SCHEMA mine TO {bob}; GRANT SELECT ON mine.server TO {bob};
         SELECT assets_fdw.materialize('mine.server')"
    ))
    .unwrap();
    b.batch_execute("SELECT assets_fdw.materialize('mine.server', into_table => 'bobs.server')").unwrap();
    sim.add_attribute("Server", "Cost Centre", Kind::Integer, false).unwrap();
    sim.remove_attribute("Server", "Virtual").unwrap();
    for schema in ["itsm", "mine"] {
        for dry_run in ["true", "false"] {
            let sql = format!("SELECT assets_fdw.sync_schema('{schema}', {dry_run})");
            let (state, message) = error_of(&mut b, &sql);
            assert!(state == "42501" && message.contains("must be owner"), "{state} {message}");
        }
    }
    for table in ["imported_table", "imported_schema", "replica_schema", "replica_drift"] {
        for sql in ["SELECT * FROM", "DELETE FROM"] {
            assert_eq!(error_of(&mut a, &format!("{sql} assets_fdw.{table}")).0, "42501", "{table}");
        }
    }
    // Called by hand, it remembers nothing of tables that the session has not imported.
    b.batch_execute("SELECT assets_fdw.remember_import(ARRAY(SELECT oid FROM pg_class))").unwrap();

    // A superuser neither: what alice put on her tables would run with all rights.
    for sql in ["SELECT assets_fdw.sync_schema('mine')", "SELECT assets_fdw.sync_schema('mine', false)"] {
        let (state, message) = error_of(&mut admin, sql);
        assert!(state == "42501" && message.contains("SET ROLE"), "{state} {message}");
    }
    admin.batch_execute(&format!("SET ROLE {alice}")).unwrap();
    assert!(!sync(&mut admin, "mine", true).is_empty());
    admin.batch_execute("RESET ROLE").unwrap();
    let told = sync(&mut a, "mine", false);
    let theirs: Vec<&String> = told.iter().filter(|line| line.contains("belongs to role")).collect();
    assert!(theirs.len() >= 2 && theirs.iter().all(|line| line.contains("\"bobs\".\"server\"")), "{told:#?}");
    assert!(shape(&mut a, "mine_replica.server").contains(&"cost_centre bigint".to_owned()));
    assert!(shape(&mut admin, "bobs.server").contains(&"virtual boolean".to_owned()), "bob's is left alone");
    for (client, target) in [(&mut a, "mine_replica.server"), (&mut b, "bobs.server")] {
        client.batch_execute(&format!("SELECT assets_fdw.refresh('{target}')")).unwrap();
    }
    // Without USAGE on the server, not even a look.
    admin.batch_execute(&format!("REVOKE USAGE ON FOREIGN SERVER assets FROM {alice}")).unwrap();
    assert_eq!(error_of(&mut a, "SELECT assets_fdw.sync_schema('mine')").0, "42501");
    drop((a, b));
    admin.batch_execute(&format!("DROP OWNED BY {alice}, {bob} CASCADE; DROP ROLE {alice}, {bob}")).unwrap();
    assert_eq!(number(&mut admin, "SELECT count(*) FROM assets_fdw.imported_schema"), 1);
}
