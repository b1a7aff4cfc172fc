//! Pages as the fixtures have them, and as they should not be.

use serde_json::json;

use super::*;
use crate::value::{Invalid, Value};

const TEXT: ColumnSpec = attribute(Part::Value, Decode::Text);

const fn column(source: Source, decode: Decode) -> ColumnSpec {
    ColumnSpec { source, decode, array: false }
}

const fn attribute(part: Part, decode: Decode) -> ColumnSpec {
    of(Kind::Text, part, decode)
}

const fn of(kind: Kind, part: Part, decode: Decode) -> ColumnSpec {
    column(Source::Attribute { id: 7, part, kind }, decode)
}

/// A list of a part of things of a kind.
fn list_of(kind: Kind, part: Part) -> ColumnSpec {
    ColumnSpec { array: true, ..of(kind, part, Decode::Text) }
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
            "values[0].attributes: invalid type: map, expected a list of attributes (object A-1)",
        ),
        (
            object(r#""id": "1", "objectKey": "A-1", "attributes": null"#),
            "values[0].attributes: invalid type: null, expected a list of attributes (object A-1)",
        ),
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
fn invalid_utf8_is_an_error() {
    let layout = Layout::new([TEXT].as_slice().into(), None);
    let mut bytes = with_values(json!([{"value": "abc"}])).into_bytes();
    let at = bytes.windows(3).position(|w| w == b"abc").expect("there");
    bytes[at] = 0xff;
    assert!(page(&bytes, &layout, &Definitions::new()).is_err());
}

#[test]
fn deep_nesting_neither_overflows_the_stack_nor_is_taken_for_a_value() {
    let deep = "[".repeat(200_000) + &"]".repeat(200_000);
    assert!(read(&format!(r#"{{"values": {deep}}}"#), &[TEXT]).is_err());
    let place = with_values(json!([{"value": "DEEP"}])).replace("\"DEEP\"", &deep);
    for column in [TEXT, listed(Decode::Int), attribute(Part::Value, Decode::Json)] {
        why(&read(&place, &[column]).expect("a page").rows[0].values[0]);
    }
    let whole = column(Source::Field(Field::Attributes), Decode::Json);
    assert_eq!(read(&place, &[whole]).expect("a page").rows[0].values, [Value::Json(r#"{"7":"…"}"#.into())]);
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

/// A page of one object whose attributes are these.
fn with_attributes(attributes: &str) -> String {
    format!(r#"{{"values": [{{"id": "88", "objectKey": "ITSM-88", "attributes": {attributes}}}]}}"#)
}

fn cells(page: &str, columns: &[ColumnSpec]) -> Vec<Value> {
    read(page, columns).unwrap_or_else(|e| panic!("{page}: {}", e.what)).rows[0].values.clone()
}

fn list(items: &[Option<&str>]) -> Value {
    Value::Array(items.iter().map(|item| item.map_or(Value::Null, text)).collect())
}

#[test]
fn things_without_their_sub_object_show_the_name_and_not_the_id() {
    let status =
        json!([{"displayValue": "Active", "searchValue": "2", "value": "2", "referencedType": false}]);
    let user = json!([{"displayValue": "John Smith", "searchValue": "6g2c", "value": "6g2c"}]);
    let named = json!([{"displayValue": "John Smith", "searchValue": "6g2c", "value": "John Smith"}]);
    let group = json!([{"displayValue": "jira-users", "value": "f3a1-uuid", "searchValue": "f3a1-uuid"}]);
    let object = json!([{"displayValue": "Sydney", "value": "87", "searchValue": "ITSM-87"}]);
    let swapped = json!([{"displayValue": "Sydney", "value": "ITSM-87", "searchValue": "87"}]);
    let empty = json!([{"displayValue": "Sydney", "searchValue": "ITSM-87", "referencedObject": {}}]);
    let table = [
        (&status, Kind::Status, Part::Value, text("Active")),
        (&status, Kind::Status, Part::Name, text("Active")),
        (&status, Kind::Status, Part::Id, text("2")),
        (&status, Kind::Status, Part::Category, Value::Null),
        (&user, Kind::User, Part::Value, text("John Smith")),
        (&user, Kind::User, Part::AccountId, text("6g2c")),
        (&named, Kind::User, Part::AccountId, text("6g2c")),
        (&user, Kind::User, Part::Email, Value::Null),
        (&group, Kind::Group, Part::Value, text("jira-users")),
        (&object, Kind::Object, Part::Value, text("Sydney")),
        (&object, Kind::Object, Part::Label, text("Sydney")),
        (&object, Kind::Object, Part::Key, text("ITSM-87")),
        (&object, Kind::Object, Part::Id, text("87")),
        (&swapped, Kind::Object, Part::Key, text("ITSM-87")),
        (&swapped, Kind::Object, Part::Id, text("87")),
        (&empty, Kind::Object, Part::Value, text("Sydney")),
        (&empty, Kind::Object, Part::Key, text("ITSM-87")),
    ];
    for (values, kind, part, expected) in table {
        assert_eq!(value(values.clone(), of(kind, part, Decode::Text)), expected, "{part:?} {values}");
    }
    let table = [
        (&status, Kind::Status, r#"{"id":2,"name":"Active","category":null}"#),
        (&user, Kind::User, r#"{"account_id":"6g2c","name":"John Smith","email":null}"#),
        (&group, Kind::Group, r#"{"name":"jira-users"}"#),
        (&object, Kind::Object, r#"{"id":87,"key":"ITSM-87","label":"Sydney"}"#),
    ];
    for (values, kind, expected) in table {
        let json = value(values.clone(), of(kind, Part::Value, Decode::Json));
        assert_eq!(json, Value::Json(expected.into()));
    }
    // A plain value is what is stored; what is displayed is formatted.
    assert_eq!(value(json!([{"value": "v", "displayValue": "d"}]), TEXT), text("v"));
}

#[test]
fn the_id_of_a_status_is_never_taken_for_its_name() {
    for values in [json!([{"searchValue": "2"}]), json!([{"value": 2}]), json!([{"status": {"id": "2"}}])] {
        assert!(
            why(&value(values.clone(), of(Kind::Status, Part::Value, Decode::Text))).contains("id alone")
        );
        assert_eq!(value(values.clone(), of(Kind::Status, Part::Id, Decode::Int)), Value::Int(2), "{values}");
        let json = value(values, of(Kind::Status, Part::Value, Decode::Json));
        assert_eq!(json, Value::Json(r#"{"id":2,"name":null,"category":null}"#.into()));
    }
    let named = json!([{"value": "Running"}]);
    assert_eq!(value(named, of(Kind::Status, Part::Value, Decode::Text)), text("Running"));
}

#[test]
fn lists_of_the_parts_of_one_attribute_go_together() {
    let users = json!([
        {"displayValue": "Ann", "searchValue": "a1", "user": {"displayName": "Ann", "key": "a1", "emailAddress": "ann@x"}},
        {"searchValue": "b2", "user": {"key": "b2", "isDeleted": true}},
        {"displayValue": "Cem", "user": {"displayName": "Cem"}},
    ]);
    let of_users = |part| value(users.clone(), list_of(Kind::User, part));
    assert_eq!(of_users(Part::AccountId), list(&[Some("a1"), Some("b2"), None]));
    assert_eq!(of_users(Part::Email), list(&[Some("ann@x"), None, None]));
    assert_eq!(of_users(Part::Value), list(&[Some("Ann"), Some("b2"), Some("Cem")]));
    let hidden = json!([{"user": {"key": "a1"}}, {"user": {"key": "b2"}}]);
    assert_eq!(value(hidden, list_of(Kind::User, Part::Email)), list(&[None, None]));

    let references =
        json!([parse(REFERENCE), {"referencedType": true}, {"displayValue": "Oslo", "referencedType": true}]);
    let of_references = |part| value(references.clone(), list_of(Kind::Object, part));
    assert_eq!(of_references(Part::Value), list(&[Some("Sydney"), None, Some("Oslo")]));
    assert_eq!(of_references(Part::Key), list(&[Some("ITSM-87"), None, None]));
    assert_eq!(of_references(Part::Id), list(&[Some("87"), None, None]));

    // What is no value at all is none in any of them.
    for nothing in [json!([]), json!([null]), json!([{}]), json!([{"value": "", "displayValue": ""}])] {
        for part in [Part::Value, Part::AccountId, Part::Email] {
            assert_eq!(value(nothing.clone(), list_of(Kind::User, part)), Value::Null, "{nothing}");
        }
    }
    // And a column of one value does not take the part that happens to be there for the only one.
    let one = value(users.clone(), of(Kind::User, Part::Email, Decode::Text));
    assert_eq!(why(&one), Invalid::SEVERAL);
}

#[test]
fn values_of_a_shape_that_nobody_expected_are_read_as_far_as_they_go() {
    let json_column = attribute(Part::Value, Decode::Json);
    for (written, shown, json) in [
        (r#"[{"value": {"a": [1, "x"]}}]"#, r#"{"a": [1, "x"]}"#, r#"{"a": [1, "x"]}"#),
        (r#"[{"value": []}]"#, "[]", "[]"),
        (r#"["bare"]"#, "bare", r#""bare""#),
        (r#"[7]"#, "7", "7"),
        (r#"{"value": "no list"}"#, "no list", r#""no list""#),
        (r#""no list""#, "no list", r#""no list""#),
        (r#"[{"user": "Ann"}]"#, "Ann", r#""Ann""#),
        (r#"[{"user": [], "displayValue": "Ann"}]"#, "Ann", r#""Ann""#),
        (r#"[{"value": "a", "value": "a"}]"#, "a", r#""a""#),
        (r#"[{"value": 1.50}]"#, "1.50", "1.50"),
        (r#"[{"value": 123456789012345678901234}]"#, "123456789012345678901234", "123456789012345678901234"),
        (r#"[{"value": 1e400}]"#, "1e400", "1e400"),
        (r#"[{"value": "\ufeffmarked"}]"#, "\u{feff}marked", "\"\u{feff}marked\""),
    ] {
        let page = with_attributes(&format!(
            r#"[{{"objectTypeAttributeId": "7", "objectAttributeValues": {written}}}]"#
        ));
        assert_eq!(cells(&page, &[TEXT, json_column]), [text(shown), Value::Json(json.into())], "{written}");
        let several = cells(&page, &[listed(Decode::Text)]);
        assert_eq!(several, [Value::Array(vec![text(shown)])], "{written}");
    }
    let token = json!([{"value": {"avatar": {"mediaJwtToken": "canary"}, "name": "kept"}}]);
    assert_eq!(value(token.clone(), TEXT), text(r#"{"name":"kept"}"#));
    assert_eq!(value(token, json_column), Value::Json(r#"{"name":"kept"}"#.into()));
}

#[test]
fn what_cannot_be_told_is_invalid_for_its_columns_and_in_nobody_s_way() {
    let whole = column(Source::Field(Field::Attributes), Decode::Json);
    for (written, expected, shown) in [
        (r#"[{"value": "a", "value": "b"}]"#, "two that stand there", r#""b""#),
        (r#"[{"value": "x\ud800y"}]"#, "surrogate", "\"x\u{fffd}y\""),
        (r#"[{"value": "x\u0000y"}]"#, "NUL", "\"x\u{fffd}y\""),
        (r#"[{"value": {"a": "\u0000"}}]"#, "NUL", r#""…""#),
        (r#"[{"value": {"a": "\ud800"}}]"#, "cannot be read", r#""…""#),
        (r#"[{"user": {"displayName": "a"}, "user": {"displayName": "b"}}]"#, "twice", ""),
        (r#"[{"user": {"displayName": "a", "displayName": "b"}}]"#, "two that stand there", ""),
    ] {
        let page = with_attributes(&format!(
            r#"[{{"objectTypeAttributeId": "7", "objectAttributeValues": {written}}},
                {{"objectTypeAttributeId": "8", "objectAttributeValues": [{{"value": "8"}}]}}]"#
        ));
        let other = column(Source::Attribute { id: 8, part: Part::Value, kind: Kind::Text }, Decode::Text);
        for column in [TEXT, attribute(Part::Value, Decode::Json), listed(Decode::Text)] {
            let cells = cells(&page, &[column, other, whole]);
            assert!(why(&cells[0]).contains(expected), "{written}: {:?}", cells[0]);
            assert_eq!(cells[1], text("8"));
            let Value::Json(json) = &cells[2] else { panic!("{cells:?}") };
            assert!(
                json.starts_with(&format!(r#"{{"7":{shown}"#)) && json.ends_with(r#""8":"8"}"#),
                "{json}"
            );
        }
    }
}

#[test]
fn an_attribute_that_is_listed_twice_keeps_all_its_values() {
    let entry =
        |values: &str| format!(r#"{{"objectTypeAttributeId": 7, "objectAttributeValues": {values}}}"#);
    let (a, b) = (entry(r#"[{"value": "a"}]"#), entry(r#"[{"value": "b"}]"#));
    let behind = r#"{"objectAttributeValues": [{"value": "b"}], "objectTypeAttributeId": "7"}"#;
    let whole = column(Source::Field(Field::Attributes), Decode::Json);
    let columns = [TEXT, listed(Decode::Text), whole];
    let once = cells(&with_attributes(&format!("[{a}, {a}, {}]", entry("[]"))), &columns);
    assert_eq!(once, [text("a"), list(&[Some("a")]), Value::Json(r#"{"7":"a"}"#.into())]);
    for second in [&*b, behind] {
        let both = cells(&with_attributes(&format!("[{a}, {second}, {a}]")), &columns);
        assert_eq!(why(&both[0]), Invalid::SEVERAL);
        assert_eq!(both[1], list(&[Some("a"), Some("b")]));
        assert_eq!(both[2], Value::Json(r#"{"7":["a","b"]}"#.into()));
    }
    let twice = r#"[{"objectTypeAttributeId": 7, "objectAttributeValues": [{"value": "a"}], "objectAttributeValues": [{"value": "b"}]}]"#;
    assert_eq!(cells(&with_attributes(twice), &columns)[1], list(&[Some("a"), Some("b")]));
}

#[test]
fn an_attribute_without_a_readable_id_may_be_any_that_is_missing() {
    let known = r#"{"objectTypeAttributeId": "7", "objectAttributeValues": [{"value": "a"}]}"#;
    let other = column(Source::Attribute { id: 8, part: Part::Value, kind: Kind::Text }, Decode::Text);
    let key = column(Source::Field(Field::Key), Decode::Text);
    let whole = column(Source::Field(Field::Attributes), Decode::Json);
    for unknown in [
        "[]",
        "7",
        "{}",
        r#"{"objectTypeAttributeId": "x", "objectAttributeValues": [{"value": "b"}]}"#,
        r#"{"objectTypeAttributeId": 8, "objectTypeAttributeId": 9, "objectAttributeValues": [{"value": "b"}]}"#,
        r#"{"objectAttributeValues": [{"value": "b"}]}"#,
    ] {
        let cells = cells(&with_attributes(&format!("[{unknown}, {known}, null]")), &[key, TEXT, other]);
        assert_eq!(cells[..2], [text("ITSM-88"), text("a")], "{unknown}");
        assert!(why(&cells[2]).contains("may be this one"), "{unknown}");
    }
    let page = with_attributes(&format!(r#"[{known}, {{"objectAttributeValues": [{{"value": "b"}}]}}]"#));
    assert_eq!(cells(&page, &[whole]), [Value::Json(r#"{"7":"a","(unknown)":"b"}"#.into())]);
}

#[test]
fn fixed_fields_of_another_shape_are_in_nobody_s_way() {
    let columns = [
        column(Source::Field(Field::Key), Decode::Text),
        column(Source::Field(Field::Label), Decode::Text),
        column(Source::Field(Field::ObjectType), Decode::Text),
    ];
    for (members, label, object_type) in [
        (r#""label": 5, "objectType": "Office""#, text("5"), text("Office")),
        (r#""label": {"a": 1}, "objectType": null"#, text(r#"{"a": 1}"#), Value::Null),
        (r#""label": "a", "label": "a", "objectType": {"id": "1", "name": 7}"#, text("a"), text("7")),
    ] {
        let page = format!(r#"{{"values": [{{"id": "88", "objectKey": "ITSM-88", {members}}}]}}"#);
        assert_eq!(cells(&page, &columns), [text("ITSM-88"), label, object_type], "{members}");
    }
    let page = r#"{"values": [{"id": "88", "objectKey": "ITSM-88", "label": "a", "label": "b"}]}"#;
    assert!(why(&cells(page, &columns)[1]).contains("two that stand there"));
}

#[test]
fn created_and_updated_are_read_as_milliseconds_too() {
    let columns = [
        column(Source::Field(Field::Created), Decode::Timestamp),
        column(Source::Field(Field::Created), Decode::Text),
        column(Source::Field(Field::Updated), Decode::Timestamp),
    ];
    for stamp in [
        json!(1_613_505_881_527_i64),
        json!("1613505881527"),
        json!(1_613_505_881_527.0),
        json!("2021-02-16T20:04:41.527Z"),
    ] {
        let page = json!({"values": [{"id": "1", "objectKey": "A-1", "created": stamp, "updated": stamp}]});
        assert_eq!(
            cells(&page.to_string(), &columns),
            [
                Value::Timestamp(1_613_505_881_527_000),
                text("2021-02-16T20:04:41.527Z"),
                Value::Timestamp(1_613_505_881_527_000)
            ]
        );
    }
    let moment = of(Kind::DateTime, Part::Value, Decode::Timestamp);
    assert_eq!(
        value(json!([{"value": 1_613_505_881_527_i64}]), moment),
        Value::Timestamp(1_613_505_881_527_000)
    );
    let day = of(Kind::Date, Part::Value, Decode::Date);
    assert_eq!(value(json!([{"value": 1_613_433_600_000_i64}]), day), Value::Date(18_674));
    assert_eq!(why(&value(json!([{"value": 1_613_433_600_001_i64}]), day)), "is not a date");
    assert_eq!(why(&value(json!([{"value": "20210216"}]), day)), "is not a date");
}

#[test]
fn moments_of_every_year_that_postgresql_holds_are_read() {
    let moment = of(Kind::DateTime, Part::Value, Decode::Timestamp);
    let last = value(json!([{"value": "294276-12-31T23:59:59.999999Z"}]), moment);
    assert_eq!(last, text("294276-12-31T23:59:59.999999Z"));
    assert!(matches!(value(json!([{"value": "12025-01-01T00:00:00Z"}]), moment), Value::Timestamp(_)));
    assert!(matches!(value(json!([{"value": "0000-01-01T00:00:00Z"}]), moment), Value::Timestamp(_)));
    assert_eq!(
        why(&value(json!([{"value": "294277-01-01T00:00:00Z"}]), moment)),
        "is not an instant with a time zone"
    );
}

#[test]
fn a_list_of_objects_that_is_null_is_empty_only_where_the_page_is_the_last() {
    for page in [
        r#"{"values": null, "isLast": true}"#,
        r#"{"last": "true", "values": null}"#,
        r#"{"values": null, "total": 0}"#,
    ] {
        assert_eq!(read(page, &[]).map(|answer| answer.rows.len()), Ok(0), "{page}");
    }
    for page in [
        r#"{"values": null}"#,
        r#"{"values": null, "isLast": false}"#,
        r#"{"values": null, "isLast": true, "hasMoreResults": true}"#,
        r#"{"values": null, "total": 7}"#,
    ] {
        assert!(read(page, &[]).expect_err(page).what.contains("null"), "{page}");
    }
}

#[test]
fn definitions_that_cannot_be_read_name_nothing_and_stop_nothing() {
    let whole = column(Source::Field(Field::Attributes), Decode::Json);
    for definitions in [
        r#"[7, {"id": "x"}, {"id": 7, "name": "Seven", "type": {"a": 1}, "defaultType": [], "options": {}}]"#,
        r#"[null, {"id": 7, "name": "Seven"}]"#,
    ] {
        let page =
            with_attributes(r#"[{"objectTypeAttributeId": "7", "objectAttributeValues": [{"value": "a"}]}]"#);
        let page = page.replacen('{', &format!(r#"{{"objectTypeAttributes": {definitions}, "#), 1);
        assert_eq!(cells(&page, &[whole]), [Value::Json(r#"{"Seven":"a"}"#.into())]);
    }
    for none in ["null", "{}", "\"x\""] {
        let page = format!(r#"{{"objectTypeAttributes": {none}, "values": []}}"#);
        assert_eq!(read(&page, &[whole]).map(|answer| answer.rows.len()), Ok(0));
    }
}
