//! Columns compared with values of other types: what clients send as naive timestamps, decimals, single floats.

use assets_fdw_tests::assets_sim::Profile;
use postgres::Client;

use crate::live::{Live, explain, one, unpushed};

/// Ids, as one text, of what a condition selects.
fn found(client: &mut Client, table: &str, condition: &str) -> String {
    one(
        client,
        &format!("SELECT coalesce(string_agg(id::text, ',' ORDER BY id), '') FROM {table} WHERE {condition}"),
    )
}

/// Conditions over `itsm.server` and how they narrow what is read.
const PUSHED: &[(&str, &str)] = &[
    ("created >= timestamp '2024-06-01 10:00'", "Created >= "),
    ("timestamp '2024-06-01 10:00' > created", "Created <= "),
    ("updated BETWEEN timestamp '2024-01-01' AND timestamp '2025-01-01'", "Updated >= "),
    ("last_backup < localtimestamp", "\"Last Backup\" < $1"),
    (
        "created = ANY (ARRAY(SELECT w.created::timestamp FROM itsm.server w WHERE w.id < 1100))",
        "Created in ($1)",
    ),
    ("created > (SELECT date '2024-06-01')", "Created > $1"),
    ("purchased >= current_date - interval '3 years'", "\"Purchased\" >= $1"),
    ("purchased < now() - interval '1 year'", "\"Purchased\" < $1"),
    ("purchased >= timestamp '2023-05-05 12:00'", "\"Purchased\" >= "),
    ("purchased > timestamptz '2023-05-05 23:30-05'", "\"Purchased\" >= "),
    ("purchased IN (timestamp '2023-05-05', '2023-05-06 10:00')", "\"Purchased\" >= "),
    ("NOT purchased < timestamp '2023-05-05 00:00:00.000001'", "\"Purchased\" >= "),
    ("id = 1296::numeric", "objectId = 1296"),
    ("id <= 1296.5", "objectId <= 1296"),
    ("id IN (1296.0, 1297.5, 1298)", "objectId in (1296, 1298)"),
    ("memory_gb > 64.0", "\"Memory GB\" > 64"),
    ("64.5 >= memory_gb", "\"Memory GB\" <= 64"),
    ("memory_gb = 64::double precision", "\"Memory GB\" = 64"),
    ("memory_gb <> 64.5", "\"Memory GB\" is not EMPTY"),
    ("memory_gb NOT IN (64.0, 1.5)", "\"Memory GB\" not in (64)"),
    ("NOT (memory_gb NOT IN (64.0, 1.5))", "\"Memory GB\" = 64"),
    ("memory_gb IS NOT DISTINCT FROM 64.0", "\"Memory GB\" = 64"),
    ("memory_gb < real '64.5'", "\"Memory GB\" <= 64"),
    ("price > real '1000.5'", "\"Price\" >= "),
    ("price = ANY ('{249.5, 500}'::real[])", "\"Price\" >= "),
];

/// Conditions that AQL has no safe words for.
const KEPT: &[&str] = &[
    "memory_gb > 'NaN'::numeric",
    "memory_gb < 1e30",
    "memory_gb < 'Infinity'::double precision",
    "memory_gb < 9007199254740993::double precision",
    "created > timestamp 'infinity'",
    "created > timestamp '-infinity'",
    "purchased < timestamptz 'infinity'",
    "memory_gb::real > 64",
    "price::numeric > 64.5",
    "memory_gb::numeric(4, 0) = 64",
    "created::timestamp > timestamp '2024-01-01'",
    "created::date > date '2024-01-01'",
];

#[test]
fn values_of_other_types_narrow_what_is_read_and_no_row_is_lost_in_any_zone() {
    let live = Live::imported(Profile::Documented, 300);
    let mut client = live.connect();
    let table = "itsm.server";
    let sql = |condition: &str| format!("SELECT id FROM {table} WHERE {condition}");
    for (condition, aql) in PUSHED {
        let plan = explain(&mut client, &sql(condition));
        assert!(plan.contains(aql), "{condition}: {plan}");
    }
    for condition in KEPT {
        let plan = explain(&mut client, &format!("{} AND memory_gb > 5", sql(condition)));
        assert!(plan.contains("\"Memory GB\" > 5") && !plan.contains(" AND Created"), "{condition}: {plan}");
        assert_eq!(plan.matches("\"Memory GB\" ").count(), 1, "{condition}: {plan}");
    }
    // Zones whose midnight or whose whole day is missing now and then; and one that nobody lives in.
    for zone in ["UTC", "America/Sao_Paulo", "Pacific/Apia", "<X>+100"] {
        client.batch_execute(&format!("SET timezone = '{zone}'")).unwrap();
        let numbers = |condition: &&&str| {
            zone == "UTC" || !condition.contains("memory_gb") && !condition.contains("price")
        };
        for condition in PUSHED.iter().map(|(condition, _)| condition).chain(KEPT).filter(numbers) {
            let plain = unpushed(&mut client, |client| found(client, table, condition));
            assert_eq!(found(&mut client, table, condition), plain, "{zone}: {condition}");
        }
    }
    // A cursor whose zone changes: rows are checked in the new one.
    client
        .batch_execute(
            "SET timezone = 'Pacific/Kiritimati'; CREATE TEMP TABLE copy AS SELECT * FROM itsm.server",
        )
        .unwrap();
    let mut read = |from: &str| {
        client
            .batch_execute(&format!(
                "SET timezone = 'Pacific/Kiritimati'; BEGIN;
                 DECLARE c CURSOR FOR SELECT id FROM {from} WHERE created > timestamp '2024-06-01' ORDER BY id;
                 SET LOCAL timezone = 'Pacific/Pago_Pago'"
            ))
            .unwrap();
        let rows = client.query("FETCH ALL FROM c", &[]).unwrap();
        client.batch_execute("COMMIT").unwrap();
        rows.iter().map(|row| row.get::<_, i64>(0)).collect::<Vec<_>>()
    };
    assert_eq!(read(table), read("copy"));
}

#[test]
fn parameters_of_other_types_go_out_in_custom_and_in_generic_plans() {
    let live = Live::imported(Profile::Documented, 300);
    let mut client = live.connect();
    let forms = [
        ("timestamp", "created >= $1", "2024-06-01 10:00", "Created >= "),
        ("timestamp", "purchased >= $1", "2023-05-05 10:00", "\"Purchased\" >= "),
        ("timestamptz", "purchased >= $1", "2023-05-05 10:00+02", "\"Purchased\" >= "),
        ("date", "created < $1", "2024-06-01", "Created <= "),
        ("numeric", "id = $1", "1296.0", "objectId = 1296"),
        ("numeric", "id = $1", "1296.5", ""),
        ("numeric", "memory_gb > $1", "64.5", "\"Memory GB\" > 64"),
        ("double precision", "memory_gb > $1", "64.5", "\"Memory GB\" > 64"),
        ("smallint", "memory_gb > $1", "64", "\"Memory GB\" > 64"),
        ("real", "price > $1", "1000.5", "\"Price\" >= "),
        ("numeric[]", "memory_gb = ANY ($1)", "{64.0,1.5,NULL}", "\"Memory GB\" = 64"),
        ("timestamp[]", "purchased = ANY ($1)", "{2023-05-05 10:00,2023-05-06}", "\"Purchased\" >= "),
    ];
    for (n, (sql_type, condition, value, aql)) in forms.iter().enumerate() {
        let query = format!(
            "SELECT coalesce(string_agg(id::text, ',' ORDER BY id), '') FROM itsm.server WHERE {condition}"
        );
        client.batch_execute(&format!("PREPARE q{n}({sql_type}) AS {query}")).unwrap();
        let execute = format!("EXECUTE q{n}('{value}')");
        let plain: String = unpushed(&mut client, |client| {
            one(client, &query.replace("$1", &format!("'{value}'::{sql_type}")))
        });
        for mode in ["force_custom_plan", "force_generic_plan"] {
            client.batch_execute(&format!("SET plan_cache_mode = {mode}")).unwrap();
            live.clear_log();
            assert_eq!(one::<String>(&mut client, &execute), plain, "{mode}: {condition}");
            let asked: Vec<String> =
                live.searches().iter().map(|entry| format!("{entry:?}").replace("\\\"", "\"")).collect();
            match aql.is_empty() {
                true => assert!(asked.is_empty(), "{mode}: {condition}: {asked:#?}"),
                false => assert!(
                    asked.iter().all(|asked| asked.replace('\\', "").contains(aql)),
                    "{mode}: {condition}: {asked:#?}"
                ),
            }
        }
    }
}
