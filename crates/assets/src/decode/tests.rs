//! Pages as the fixtures have them, and as they should not be.

use serde_json::json;

use super::*;
use crate::value::Value;

const TEXT: ColumnSpec = column(Source::Attribute { id: 7, part: Part::Value }, Decode::Text);

const fn column(source: Source, decode: Decode) -> ColumnSpec {
    ColumnSpec { source, decode, array: false }
}

const fn attribute(part: Part, decode: Decode) -> ColumnSpec {
    column(Source::Attribute { id: 7, part }, decode)
}

const fn listed(decode: Decode) -> ColumnSpec {
    ColumnSpec { array: true, ..attribute(Part::Value, decode) }
}

fn read(json: &str, columns: &[ColumnSpec]) -> Result<Answer, Unreadable> {
    let layout = Layout::new(columns.into(), Some("https://acme.example"));
    page(json.as_bytes(), &layout, &Definitions::new())
}

/// A page of one object with one attribute that has these values.
fn with_values(values: serde_json::Value) -> String {
    json!({
        "values": [{
            "id": "88", "objectKey": "ITSM-88", "label": "SYD-1",
            "attributes": [{"id": "1", "objectTypeAttributeId": "7", "objectAttributeValues": values}],
        }],
        "isLast": true,
    })
    .to_string()
}

fn value(values: serde_json::Value, column: ColumnSpec) -> Value {
    let answer = read(&with_values(values), &[column]).expect("a good page");
    answer.rows[0].values[0].clone()
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn why(value: &Value) -> &str {
    match value {
        Value::Invalid(invalid) => &invalid.why,
        other => panic!("{other:?} is valid"),
    }
}

const REFERENCE: &str = r#"{"referencedObject": {"id": "87", "label": "Sydney", "objectKey": "ITSM-87",
    "avatar": {"mediaClientConfig": {"mediaJwtToken": "canary"}}},
    "displayValue": "Sydney", "searchValue": "ITSM-87", "referencedType": true}"#;

fn parse(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn fixed_fields_come_from_the_object() {
    let columns = [
        column(Source::Field(Field::Id), Decode::Int),
        column(Source::Field(Field::Key), Decode::Text),
        column(Source::Field(Field::Label), Decode::Text),
        column(Source::Field(Field::ObjectType), Decode::Text),
        column(Source::Field(Field::Created), Decode::Timestamp),
        column(Source::Field(Field::Updated), Decode::Timestamp),
        column(Source::Field(Field::Url), Decode::Text),
    ];
    for id in [json!("88"), json!(88)] {
        let page = json!({"values": [{
            "id": id, "objectKey": "ITSM-88", "label": "SYD-1",
            "objectType": {"id": "23", "name": "Office", "icon": {"name": "no"}},
            "created": "2021-02-16T20:04:41.527Z", "updated": "2021-02-16T23:04:41.527+0300",
        }]});
        let answer = read(&page.to_string(), &columns).expect("a good page");
        assert_eq!(
            answer.rows[0].values,
            [
                Value::Int(88),
                text("ITSM-88"),
                text("SYD-1"),
                text("Office"),
                Value::Timestamp(1_613_505_881_527_000),
                Value::Timestamp(1_613_505_881_527_000),
                text("https://acme.example/jira/servicedesk/assets/object/88"),
            ]
        );
    }
}

#[test]
fn the_envelope_is_read_in_every_form_it_comes_in() {
    let table = [
        (r#""isLast": true"#, (Some(true), None, None, None)),
        (r#""isLast": "false""#, (Some(false), None, None, None)),
        (r#""last": "true", "hasMoreResults": false"#, (None, Some(true), Some(false), None)),
        (r#""total": 5, "isLast": null"#, (None, None, None, Some(5))),
        (r#""total": "5", "unknown": {"deep": [1, 2]}"#, (None, None, None, Some(5))),
    ];
    for (members, expected) in table {
        for page in [format!("{{{members}, \"values\": []}}"), format!("{{\"values\": [], {members}}}")] {
            let answer = read(&page, &[]).expect(members);
            assert_eq!((answer.is_last, answer.last, answer.has_more, answer.total), expected, "{page}");
        }
    }
}

#[test]
fn no_value_is_null_however_it_is_written() {
    for values in [json!([]), json!(null), json!([{"value": ""}]), json!([{"value": null}]), json!([{}])] {
        assert_eq!(value(values.clone(), TEXT), Value::Null, "{values}");
        assert_eq!(value(values.clone(), listed(Decode::Text)), Value::Null, "{values}");
        assert_eq!(value(values.clone(), attribute(Part::Value, Decode::Int)), Value::Null, "{values}");
        assert_eq!(value(values.clone(), attribute(Part::Value, Decode::Json)), Value::Null, "{values}");
    }
    let absent = json!({"values": [{"id": "1", "objectKey": "A-1", "attributes": []}]}).to_string();
    assert_eq!(read(&absent, &[TEXT]).expect("a page").rows[0].values, [Value::Null]);
}

#[test]
fn values_are_read_in_the_order_of_trust_and_numbers_never_from_what_is_shown() {
    let int = attribute(Part::Value, Decode::Int);
    assert_eq!(value(json!([{"value": "42", "displayValue": "42 kg"}]), int), Value::Int(42));
    assert_eq!(value(json!([{"value": 42}]), int), Value::Int(42));
    assert_eq!(value(json!([{"searchValue": "42", "displayValue": "x"}]), int), Value::Int(42));
    assert!(why(&value(json!([{"displayValue": "42"}]), int)).contains("display value"));
    assert_eq!(value(json!([{"displayValue": "shown"}]), TEXT), text("shown"));
    assert_eq!(value(json!([{"value": "v", "searchValue": "s", "displayValue": "d"}]), TEXT), text("v"));
    let boolean = attribute(Part::Value, Decode::Bool);
    assert_eq!(value(json!([{"value": "true"}]), boolean), Value::Bool(true));
    assert_eq!(value(json!([{"value": false}]), boolean), Value::Bool(false));
    assert_eq!(value(json!([{"value": true}]), TEXT), text("true"));
    assert_eq!(value(json!([{"value": 1.5}]), TEXT), text("1.5"));
}

#[test]
fn parts_of_references_users_groups_and_statuses() {
    let user = json!([{"displayValue": "John Smith", "searchValue": "6g2c", "user": {
        "displayName": "John Smith", "key": "6g2c", "emailAddress": "john@example.com", "avatarUrl": "canary"}}]);
    let status = json!([{"displayValue": "Active", "searchValue": "2", "status": {"id": "2", "name": "Active", "category": 1}}]);
    let group = json!([{"displayValue": "g", "group": {"name": "jira-users"}}]);
    let reference = json!([parse(REFERENCE)]);
    let bare = json!([{"displayValue": "Sydney", "searchValue": "ITSM-87", "referencedType": true}]);
    let table = [
        (&reference, Part::Value, text("Sydney")),
        (&reference, Part::Label, text("Sydney")),
        (&reference, Part::Key, text("ITSM-87")),
        (&reference, Part::Id, text("87")),
        (&bare, Part::Value, text("Sydney")),
        (&bare, Part::Key, text("ITSM-87")),
        (&bare, Part::Id, Value::Null),
        (&user, Part::Value, text("John Smith")),
        (&user, Part::AccountId, text("6g2c")),
        (&user, Part::Email, text("john@example.com")),
        (&status, Part::Value, text("Active")),
        (&status, Part::Id, text("2")),
        (&status, Part::Category, text("1")),
        (&group, Part::Value, text("jira-users")),
        (&group, Part::Name, text("jira-users")),
    ];
    for (values, part, expected) in table {
        assert_eq!(value(values.clone(), attribute(part, Decode::Text)), expected, "{part:?} {values}");
    }
    assert_eq!(value(reference.clone(), attribute(Part::Id, Decode::Int)), Value::Int(87));
    assert_eq!(value(status.clone(), attribute(Part::Category, Decode::Int)), Value::Int(1));
    let table = [
        (&reference, r#"{"id":87,"key":"ITSM-87","label":"Sydney"}"#),
        (&user, r#"{"account_id":"6g2c","name":"John Smith","email":"john@example.com"}"#),
        (&status, r#"{"id":2,"name":"Active","category":1}"#),
        (&group, r#"{"name":"jira-users"}"#),
    ];
    for (values, expected) in table {
        assert_eq!(value(values.clone(), attribute(Part::Value, Decode::Json)), Value::Json(expected.into()));
    }
}

#[test]
fn lists_keep_their_order_and_drop_what_is_empty() {
    let values = json!([{"value": "b"}, {"value": ""}, {"value": "a"}]);
    assert_eq!(value(values, listed(Decode::Text)), Value::Array(vec![text("b"), text("a")]));
    let mixed = value(json!([{"value": "1"}, {"value": "x"}]), listed(Decode::Int));
    assert_eq!(why(&mixed), "is not a whole number of 64 bits");
    let several = value(json!([{"value": "a"}, {"value": "b"}]), TEXT);
    assert!(why(&several).contains("several values"));
    let json = value(json!([{"value": "a"}, {"value": 2}]), attribute(Part::Value, Decode::Json));
    assert_eq!(json, Value::Json(r#"["a",2]"#.into()));
}

#[test]
fn all_attributes_are_keyed_by_name_and_typed_by_kind() {
    let page = json!({
        "values": [{"id": "1", "objectKey": "A-1", "attributes": [
            {"objectTypeAttributeId": "7", "objectAttributeValues": [{"value": "42"}]},
            {"objectTypeAttributeId": "8", "objectAttributeValues": [{"value": "x"}]},
            {"objectTypeAttributeId": "9", "objectAttributeValues": [{"value": "y"}]},
            {"objectTypeAttributeId": "10", "objectAttributeValues": []},
            {"objectTypeAttributeId": "11", "objectAttributeValues": [parse(REFERENCE)]},
        ]}],
        "objectTypeAttributes": [
            {"id": "7", "name": "Cores", "type": 0, "defaultType": {"id": 1, "name": "Integer"}},
            {"id": "8", "name": "Tags", "defaultType": {"id": 0, "name": "Text"}, "maximumCardinality": -1},
            {"id": "11", "name": "Office", "type": 1},
        ],
    });
    let column = column(Source::Field(Field::Attributes), Decode::Json);
    let answer = read(&page.to_string(), &[column]).expect("a page");
    let Value::Json(json) = &answer.rows[0].values[0] else { panic!("{answer:?}") };
    let expected = json!({"Cores": 42, "Tags": ["x"], "9": "y",
        "Office": {"id": 87, "key": "ITSM-87", "label": "Sydney"}});
    assert_eq!(parse(json), expected);
    assert!(!json.contains("canary"));
}

#[test]
fn the_id_of_an_attribute_may_stand_behind_its_values_or_inside_its_definition() {
    for attribute in [
        r#"{"objectAttributeValues": [{"value": "v"}], "objectTypeAttributeId": "7"}"#,
        r#"{"objectAttributeValues": [{"value": "v"}], "objectTypeAttribute": {"id": 7, "name": "N"}}"#,
        r#"{"objectTypeAttributeId": 7, "objectAttributeValues": [{"value": "v"}]}"#,
    ] {
        let page = format!(r#"{{"values": [{{"id": 1, "objectKey": "A-1", "attributes": [{attribute}]}}]}}"#);
        assert_eq!(read(&page, &[TEXT]).expect("a page").rows[0].values, [text("v")], "{attribute}");
    }
}

#[test]
fn wrong_shapes_are_errors_that_name_the_place() {
    let object = |members: &str| format!(r#"{{"values": [{{{members}}}]}}"#);
    let entry =
        |members: &str| object(&format!(r#""id": "1", "objectKey": "A-1", "attributes": [{members}]"#));
    let values = |values: &str| {
        entry(&format!(r#"{{"objectTypeAttributeId": "7", "objectAttributeValues": {values}}}"#))
    };
    let table = [
        ("[]".to_owned(), "expected an object"),
        ("{}".to_owned(), "missing field `values`"),
        (r#"{"values": {}}"#.to_owned(), "values: invalid type: map"),
        (r#"{"values": null}"#.to_owned(), "values: invalid type: null"),
        (r#"{"values": [], "values": []}"#.to_owned(), "values: stands there twice"),
        (r#"{"values": [7]}"#.to_owned(), "values[0]: invalid type"),
        (r#"{"values": [], "isLast": "perhaps"}"#.to_owned(), "isLast: neither true nor false"),
        (r#"{"values": [], "isLast": true, "isLast": false}"#.to_owned(), "isLast: stands there twice"),
        (r#"{"values": [], "isLast": {}}"#.to_owned(), "isLast: invalid type: map"),
        (object(r#""id": true, "objectKey": "A-1""#), "values[0].id: not an object id"),
        (object(r#""id": "12a", "objectKey": "A-1""#), "values[0].id: not an object id"),
        (object(r#""id": "-1", "objectKey": "A-1""#), "values[0].id: not an object id"),
        (object(r#""id": "99999999999999999999", "objectKey": "A-1""#), "values[0].id: not an object id"),
        (object(r#""id": "1", "id": "2", "objectKey": "A-1""#), "values[0].id: stands there twice"),
        (object(r#""objectKey": "A-1""#), "missing field `id`"),
        (object(r#""id": "1""#), "values[0].objectKey: missing"),
        (object(r#""id": "1", "objectKey": 7"#), "values[0].objectKey: missing, or not text"),
        (object(r#""id": "1", "objectKey": "A\u0000""#), "values[0].objectKey: holds a control character"),
        (object(r#""id": "1", "objectKey": "A-1""#), "values[0].attributes: missing"),
        (
            object(r#""id": "1", "objectKey": "A-1", "attributes": {}"#),
            "values[0].attributes: invalid type: map",
        ),
        (entry("[]"), "invalid type: sequence"),
        (entry("{}"), "attributes[].objectTypeAttributeId: missing"),
        (entry(r#"{"objectTypeAttributeId": "x"}"#), "not an attribute id"),
        (
            entry(r#"{"objectTypeAttributeId": "7"}, {"objectTypeAttributeId": "7"}"#),
            "attributes[]: attribute 7 stands there twice",
        ),
        (values("{}"), "objectAttributeValues: invalid type: map"),
        (values("[[]]"), "objectAttributeValues: invalid type: sequence"),
        (values(r#"[{"value": {}}]"#), "objectAttributeValues: invalid type: map"),
        (values(r#"[{"value": "a", "value": "b"}]"#), "duplicate field `value`"),
        (values(r#"[{"user": []}]"#), "objectAttributeValues: invalid type: sequence"),
        (values(r#"[{"referencedObject": "ITSM-1"}]"#), "objectAttributeValues: invalid type: string"),
    ];
    for (page, expected) in table {
        let unreadable = read(&page, &[TEXT]).expect_err(&page);
        assert!(!unreadable.broken, "{page}: {unreadable:?}");
        assert!(unreadable.what.contains(expected), "{page}: {} (not: {expected})", unreadable.what);
    }
}

#[test]
fn broken_json_is_told_from_wrong_json() {
    for page in ["", "{", r#"{"values": ["#, "<!DOCTYPE html>", r#"{"values": [,]}"#, r#"{"values": []} x"#] {
        assert!(read(page, &[TEXT]).expect_err(page).broken, "{page}");
    }
}

#[test]
fn invalid_utf8_and_lone_surrogates_are_errors() {
    let layout = Layout::new([TEXT].as_slice().into(), None);
    let mut bytes = with_values(json!([{"value": "abc"}])).into_bytes();
    let at = bytes.windows(3).position(|w| w == b"abc").expect("there");
    bytes[at] = 0xff;
    assert!(page(&bytes, &layout, &Definitions::new()).is_err());
    let page = with_values(json!([{"value": "abc"}])).replace("abc", r"\ud800");
    assert!(read(&page, &[TEXT]).is_err());
}

#[test]
fn deep_nesting_neither_overflows_the_stack_nor_is_taken_for_a_value() {
    let deep = "[".repeat(200_000) + &"]".repeat(200_000);
    for place in [
        format!(r#"{{"values": {deep}}}"#),
        with_values(json!([{"value": "DEEP"}])).replace("\"DEEP\"", &deep),
    ] {
        assert!(read(&place, &[TEXT]).is_err());
    }
    // Where nobody looks it is skipped.
    let skipped = format!(r#"{{"unknown": {deep}, "values": []}}"#);
    assert_eq!(read(&skipped, &[TEXT]).map(|a| a.rows.len()), Ok(0));
}

#[test]
fn nul_is_invalid_in_text_and_in_json() {
    let page = json!([{"value": "a\u{0}b"}]);
    for column in [TEXT, attribute(Part::Value, Decode::Json), listed(Decode::Text)] {
        assert_eq!(why(&value(page.clone(), column)), scalar::HAS_NUL);
    }
}
