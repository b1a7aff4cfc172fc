//! Missing sub-objects, lists that belong together, moments as numbers, and shapes that nobody expected.

use assets_fdw_tests::assets_sim::{Stamps, SubObjects};

use super::*;
use crate::live::{one, refused, tables};

/// Every row of every imported table, as text.
fn everything(client: &mut Client) -> Vec<(String, Vec<Option<String>>)> {
    let names: Vec<String> = ["itsm", "fac", "svc"]
        .iter()
        .flat_map(|schema| {
            tables(client, schema).into_iter().map(move |table| format!("{schema}.\"{table}\""))
        })
        .collect();
    names
        .into_iter()
        .map(|table| {
            let rows = texts(client, &format!("SELECT t::text FROM {table} AS t ORDER BY id"));
            (table, rows)
        })
        .collect()
}

const FORMS: [SubObjects; 3] = [SubObjects::Absent, SubObjects::Ids, SubObjects::Null];

/// The old reading gave ids for the names of statuses, users and groups, and lost their rows in the recheck.
#[test]
fn things_without_their_sub_object_read_as_with_it() {
    let (live, mut client) = imported();
    let wanted = everything(&mut client);
    for form in FORMS {
        live.sim.switches(|s| s.sub_objects = form);
        assert_eq!(everything(&mut client), wanted, "{form:?}");
    }
}

#[test]
fn what_is_asked_for_by_a_name_is_found_without_the_sub_object() {
    let (live, mut client) = imported();
    let conditions = [
        ("itsm.specimen", "one_status", "="),
        ("itsm.specimen", "one_status", "IN"),
        ("itsm.specimen", "one_user_account_id", "="),
        ("itsm.specimen", "one_object", "="),
        ("itsm.specimen", "one_object_key", "="),
        ("itsm.specimen", "many_object_key", "ANY"),
        ("itsm.specimen", "many_user_account_id", "ANY"),
        ("itsm.specimen", "many_group", "ANY"),
        ("fac.office", "state", "="),
    ];
    for (table, column, operator) in conditions {
        live.sim.switches(|s| s.sub_objects = SubObjects::Given);
        let value = match operator {
            "ANY" => format!("(SELECT {column}[1] FROM {table} WHERE {column} IS NOT NULL LIMIT 1)"),
            _ => format!("(SELECT {column} FROM {table} WHERE {column} IS NOT NULL LIMIT 1)"),
        };
        let value: String = one(&mut client, &format!("SELECT quote_literal({value})"));
        let condition = match operator {
            "ANY" => format!("{value} = ANY ({column})"),
            "IN" => format!("{column} IN ({value}, 'no such')"),
            _ => format!("{column} {operator} {value}"),
        };
        let sql = format!("SELECT key FROM {table} WHERE {condition} ORDER BY id");
        let wanted = texts(&mut client, &sql);
        assert!(!wanted.is_empty(), "{sql}");
        for form in FORMS {
            live.sim.switches(|s| s.sub_objects = form);
            assert_eq!(texts(&mut client, &sql), wanted, "{form:?}: {sql}");
        }
    }
}

#[test]
fn lists_of_the_parts_of_one_attribute_go_together() {
    let (live, mut client) = started();
    let value = r#"[
        {"displayValue": "Ann", "searchValue": "a1", "user": {"displayName": "Ann", "key": "a1", "emailAddress": "ann@x"}},
        {"displayValue": "", "searchValue": "b2", "user": {"key": "b2", "displayName": null, "isDeleted": true}},
        {"displayValue": "Cem", "searchValue": "c3", "user": {"displayName": "Cem", "key": "c3"}}]"#;
    let references = r#"[{"referencedType": true}, {"referencedType": true, "displayValue": "Ann", "searchValue": "ITSM-1"}]"#;
    live.sim.switches(|s| {
        s.value_shapes.insert("Many User".into(), value.into());
        s.value_shapes.insert("Many Object".into(), references.into());
    });
    own(
        &mut client,
        &live.sim,
        "Specimen",
        "member text[] OPTIONS (attribute 'Many User'),
         account text[] OPTIONS (attribute 'Many User', part 'account_id'),
         email text[] OPTIONS (attribute 'Many User', part 'email'),
         ref text[] OPTIONS (attribute 'Many Object'),
         ref_key text[] OPTIONS (attribute 'Many Object', part 'key')",
    );
    let sql = "SELECT DISTINCT format('%s %s %s %s %s', member, account, email, ref, ref_key) FROM own";
    let wanted = "{Ann,b2,Cem} {a1,b2,c3} {ann@x,NULL,NULL} {NULL,Ann} {NULL,ITSM-1}";
    assert_eq!(texts(&mut client, sql), [Some(wanted.to_owned())]);
    // They can be taken apart together; and comparisons with a list that holds a NULL are what SQL makes of them.
    let sql = "SELECT string_agg(concat_ws('=', a, e), ' ' ORDER BY a) FROM (SELECT * FROM own LIMIT 1) AS o,
                      unnest(o.account, o.email) AS u (a, e)";
    assert_eq!(texts(&mut client, sql), [Some("a1=ann@x b2 c3".to_owned())]);
    let all: i64 = one(&mut client, "SELECT count(*) FROM own");
    assert!(all > 0);
    for (condition, some) in [
        ("email IS NULL", false),
        ("email IS NOT NULL", true),
        ("ref IS NULL", false),
        ("'ann@x' = ANY (email)", true),
        ("email && ARRAY['ann@x', 'z']", true),
        ("email @> ARRAY['ann@x']", true),
        ("'nobody' <> ALL (email)", false),
        ("NOT 'ann@x' = ANY (email)", false),
        ("array_length(email, 1) = array_length(member, 1)", true),
    ] {
        client.batch_execute("SET assets_fdw.enable_pushdown = off").unwrap();
        let found: i64 = one(&mut client, &format!("SELECT count(*) FROM own WHERE {condition}"));
        assert_eq!(found, if some { all } else { 0 }, "{condition}");
    }
}

/// The old reading refused every row: "is not an instant with a time zone".
#[test]
fn created_and_updated_as_milliseconds_are_the_same_moments() {
    let (live, mut client) = imported();
    let wanted = everything(&mut client);
    own(
        &mut client,
        &live.sim,
        "Specimen",
        "t text OPTIONS (field 'created'), l timestamp OPTIONS (field 'updated'), d date OPTIONS (field 'created')",
    );
    let own_rows = texts(&mut client, "SELECT own::text FROM own ORDER BY id");
    let middle: String =
        one(&mut client, "SELECT quote_literal(created::text) FROM itsm.server ORDER BY id OFFSET 5 LIMIT 1");
    let sql = format!("SELECT key FROM itsm.server WHERE created <= {middle} ORDER BY created, id");
    let sorted = texts(&mut client, &sql);
    let aql = "SELECT a.created::text || a.updated FROM assets_fdw.aql('assets', 'objectType = Server') AS a ORDER BY a.id";
    let streamed = texts(&mut client, aql);
    for form in [Stamps::Millis, Stamps::MillisText] {
        live.sim.switches(|s| s.stamps = form);
        assert_eq!(everything(&mut client), wanted, "{form:?}");
        assert_eq!(texts(&mut client, "SELECT own::text FROM own ORDER BY id"), own_rows, "{form:?}");
        assert_eq!(texts(&mut client, &sql), sorted, "{form:?}");
        assert_eq!(texts(&mut client, aql), streamed, "{form:?}");
    }
}

#[test]
fn dates_and_instants_beyond_the_year_9999_and_before_the_year_1_are_read() {
    let (live, mut client) = started();
    own(
        &mut client,
        &live.sim,
        "Specimen",
        "d date OPTIONS (attribute 'One Date'), i timestamptz OPTIONS (attribute 'One DateTime'),
         dt text OPTIONS (attribute 'One Date'), l timestamp OPTIONS (attribute 'One DateTime'),
         dd date OPTIONS (attribute 'One DateTime')",
    );
    client.batch_execute("SET timezone = 'UTC'").unwrap();
    for (day, moment, shown) in [
        (
            "12025-01-31",
            "+12025-01-31T12:00:00Z",
            "12025-01-31|12025-01-31 12:00:00+00|12025-01-31|12025-01-31 12:00:00|12025-01-31",
        ),
        (
            "+5874897-12-31",
            "294276-12-31T23:59:59.999Z",
            "5874897-12-31|294276-12-31 23:59:59.999+00|+5874897-12-31|294276-12-31 23:59:59.999|294276-12-31",
        ),
        (
            "0000-03-15",
            "-0043-03-15T12:00:00Z",
            "0001-03-15 BC|0044-03-15 12:00:00+00 BC|0000-03-15|0044-03-15 12:00:00 BC|0044-03-15 BC",
        ),
        (
            "-4713-11-24",
            "-4713-11-24T00:00:00Z",
            "4714-11-24 BC|4714-11-24 00:00:00+00 BC|-4713-11-24|4714-11-24 00:00:00 BC|4714-11-24 BC",
        ),
    ] {
        live.sim.switches(|s| {
            s.value_shapes.insert("One Date".into(), format!(r#"[{{"value": "{day}"}}]"#));
            s.value_shapes.insert("One DateTime".into(), format!(r#"[{{"value": "{moment}"}}]"#));
        });
        let sql = "SELECT DISTINCT concat_ws('|', d, i, dt, l, dd) FROM own";
        assert_eq!(texts(&mut client, sql), [Some(shown.to_owned())], "{day} {moment}");
    }
    for (attribute, value) in [
        ("One Date", "5874898-01-01"),
        ("One Date", "-4713-11-23"),
        ("One DateTime", "294277-01-01T00:00:00Z"),
    ] {
        live.sim.switches(|s| {
            s.value_shapes.clear();
            s.value_shapes.insert(attribute.into(), format!(r#"[{{"value": "{value}"}}]"#));
        });
        let refusal = refused(&mut client, "SELECT d, i FROM own");
        assert_eq!(refusal.code, "HV024");
        assert!(refusal.message.contains(attribute) && refusal.message.contains("ITSM-"), "{refusal:?}");
    }
}

/// Each of these made the whole type unreadable, without a name.
#[test]
fn a_value_of_another_shape_is_read_or_refused_by_name_and_stops_nothing_else() {
    let (live, mut client) = started();
    own(
        &mut client,
        &live.sim,
        "Specimen",
        "t text OPTIONS (attribute 'One Text'), n bigint OPTIONS (attribute 'One Text', on_invalid 'null'),
         j jsonb OPTIONS (attribute 'One Text'), other text OPTIONS (attribute 'One Email'), attributes jsonb",
    );
    let key: String = one(&mut client, "SELECT key FROM own ORDER BY id LIMIT 1");
    let all: i64 = one(&mut client, "SELECT count(*) FROM own");
    let others: i64 = one(&mut client, "SELECT count(other) FROM own");
    let deep = format!(r#"[{{"value": {}{}}}]"#, "[".repeat(5000), "]".repeat(5000));
    let read = [
        (r#"[{"value": {"a": [1]}}]"#, r#"{"a": [1]}"#),
        (r#"[{"value": [1, 2]}]"#, "[1, 2]"),
        (r#"{"value": "bare"}"#, "bare"),
        (r#""bare""#, "bare"),
        (r#"["bare"]"#, "bare"),
        (r#"[{"value": 1e400}]"#, "1e400"),
        (r#"[{"value": true}]"#, "true"),
        (r#"[{"user": "bare"}]"#, "bare"),
    ];
    let told = [
        r#"[{"value": "a\ud800"}]"#,
        r#"[{"value": "a\u0000b"}]"#,
        r#"[{"value": "a", "value": "b"}]"#,
        r#"[{"value": "a"}, {"value": "b"}]"#,
        &deep,
    ];
    for (shape, shown) in
        read.map(|(shape, shown)| (shape, Some(shown))).into_iter().chain(told.map(|shape| (shape, None)))
    {
        live.sim.switches(|s| {
            s.value_shapes.clear();
            s.value_shapes.insert(format!("{key}/One Text"), shape.to_owned());
        });
        let brief = &shape[..shape.len().min(80)];
        let sql = format!("SELECT t FROM own WHERE key = '{key}'");
        match shown {
            Some(shown) => {
                assert_eq!(texts(&mut client, &sql), [Some(shown.to_owned())], "{brief}");
                let json: bool =
                    one(&mut client, &format!("SELECT j IS NOT NULL FROM own WHERE key = '{key}'"));
                assert!(json, "{brief}");
            }
            None => {
                let refusal = refused(&mut client, &sql);
                assert_eq!(refusal.code, "HV024", "{brief}: {refusal:?}");
                assert!(
                    refusal.message.contains(&key) && refusal.message.contains("One Text"),
                    "{brief}: {refusal:?}"
                );
            }
        }
        let none: bool = one(&mut client, &format!("SELECT n IS NULL FROM own WHERE key = '{key}'"));
        assert!(none, "{brief}");
        // Nothing of it is in the way of what else is asked for.
        let sql = "SELECT concat_ws(' ', count(*), count(other), count(attributes)) FROM own";
        assert_eq!(texts(&mut client, sql), [Some(format!("{all} {others} {all}"))], "{brief}");
        let streamed: i64 = one(
            &mut client,
            "SELECT count(attributes) FROM assets_fdw.aql('assets', 'objectType = Specimen')",
        );
        assert_eq!(streamed, all, "{brief}");
    }
}

#[test]
fn a_byte_order_mark_before_an_answer_is_passed_over() {
    let (live, mut client) = imported();
    let wanted = texts(&mut client, "SELECT s::text FROM itsm.server AS s ORDER BY id");
    live.sim.switches(|s| s.byte_order_mark = true);
    assert_eq!(texts(&mut client, "SELECT s::text FROM itsm.server AS s ORDER BY id"), wanted);
    // Metadata, counts and refusals too.
    let mut other = live.connect();
    assert_eq!(texts(&mut other, "SELECT s::text FROM itsm.server AS s ORDER BY id"), wanted);
    let count: i64 = one(&mut other, "SELECT assets_fdw.count('assets', 'objectType = Server')");
    assert_eq!(count as usize, wanted.len());
    let refusal = refused(&mut other, "SELECT assets_fdw.count('assets', 'no such thing')");
    assert!(!refusal.text().contains('\u{feff}'), "{refusal:?}");
}
