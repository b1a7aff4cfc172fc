//! Every member of the service's answers, with a value of every type that it should not have, missing, and twice.

use hostile::ATTRIBUTES;
use serde_json::{Value, json};

fn fixture(name: &str) -> Value {
    let path = format!("{}/../assets-sim/fixtures/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).expect("a fixture")).expect("JSON")
}

/// What may stand where something else should.
fn wrong_values() -> Vec<String> {
    let mut values: Vec<String> = [
        "null",
        "true",
        "0",
        "-1",
        "1.5",
        "1e300",
        "9223372036854775808",
        "18446744073709551616",
        "\"\"",
        "\"x\"",
        "\"nul \\u0000 inside\"",
        "\"\\u202e\\ud83d\\ude00\"",
        "\"2024-02-30T25:61:61Z\"",
        "\"999999-12-31T23:59:59Z\"",
        "\"-999999-01-01\"",
        "[]",
        "[1,\"2\",null]",
        "{}",
        "{\"id\":{\"id\":[]}}",
    ]
    .map(str::to_owned)
    .to_vec();
    values.push("[".repeat(100) + &"]".repeat(100));
    values.push(format!("\"{}\"", "long ".repeat(2000)));
    values
}

/// The pointers of every member and element, but for elements that are like their neighbours.
fn pointers(json: &Value, at: &str, found: &mut Vec<String>) {
    match json {
        Value::Object(map) => {
            for (name, value) in map {
                let at = format!("{at}/{name}");
                pointers(value, &at, found);
                found.push(at);
            }
        }
        Value::Array(list) => {
            for (n, value) in list.iter().enumerate().take(2) {
                let at = format!("{at}/{n}");
                pointers(value, &at, found);
                found.push(at);
            }
        }
        _ => {}
    }
}

/// The answer with `text`, JSON or not, at a place; with `None`, without what stands there; and a mark stands for it,
/// because `text` may be what no `Value` holds.
fn replaced(json: &Value, pointer: &str, text: Option<&str>) -> String {
    const MARK: &str = "@@mark@@";
    let mut json = json.clone();
    if let Some(text) = text {
        *json.pointer_mut(pointer).expect("it is there") = json!(MARK);
        return json.to_string().replace(&format!("\"{MARK}\""), text);
    }
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    match json.pointer_mut(parent).expect("it is there") {
        Value::Object(map) => drop(map.remove(name)),
        Value::Array(list) => drop(list.remove(name.parse().expect("an index"))),
        _ => unreachable!("it has members"),
    }
    json.to_string()
}

/// The answer with a member standing there a second time, with another value; none for elements of lists.
fn doubled(json: &Value, pointer: &str) -> Option<String> {
    let (parent, name) = pointer.rsplit_once('/')?;
    json.pointer(parent)?.as_object()?;
    let own = json.pointer(pointer)?;
    let twice = format!("{own}, \"{name}\": {own}");
    Some(replaced(json, pointer, Some(&twice)))
}

type Read = fn(&[u8]) -> Result<usize, String>;

fn every_member_spoiled(name: &str, read: Read) -> usize {
    let json = fixture(name);
    let objects = read(json.to_string().as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut places = Vec::new();
    pointers(&json, "", &mut places);
    let wrong = wrong_values();
    let mut refusals = 0;
    for pointer in &places {
        let spoiled = wrong.iter().map(|text| replaced(&json, pointer, Some(text)));
        let spoiled = spoiled.chain([replaced(&json, pointer, None)]).chain(doubled(&json, pointer));
        for text in spoiled {
            match read(text.as_bytes()) {
                // Nothing of it was needed; whatever values came of it have kept their promises.
                Ok(found) => assert!(found <= objects, "{name}{pointer}: {found} objects"),
                Err(what) => {
                    refusals += 1;
                    // Some member on the way there is named.
                    let mut names =
                        pointer.split('/').filter(|part| !part.is_empty() && part.parse::<u32>().is_err());
                    let named = names.any(|part| what.contains(part));
                    let bare = pointer.split('/').all(|part| part.is_empty() || part.parse::<u32>().is_ok());
                    assert!(named || bare, "{name}{pointer}: {what}");
                    assert!(what.len() < 1000, "{name}{pointer}: an endless complaint: {what}");
                }
            }
        }
    }
    refusals
}

#[test]
fn every_member_of_a_page() {
    let read: Read = |bytes| assets::fuzzing::page(bytes, &ATTRIBUTES[..2]);
    for (name, least) in [("object_aql.response.200", 60), ("object_aql.response.200.empty", 10)] {
        let refusals = every_member_spoiled(name, read);
        assert!(refusals >= least, "{name}: {refusals}");
    }
}

#[test]
fn every_member_of_metadata() {
    for (name, read) in [
        ("objectschema_list.response.200", (|b| assets::fuzzing::metadata(0, b).map(|()| 0)) as Read),
        ("objectschema_objecttypes_flat.response.200", |b| assets::fuzzing::metadata(1, b).map(|()| 0)),
        ("objecttype_attributes.response.200", |b| assets::fuzzing::metadata(2, b).map(|()| 0)),
        ("objecttype_get.response.200", |b| assets::fuzzing::metadata(3, b).map(|()| 0)),
    ] {
        let refusals = every_member_spoiled(name, read);
        assert!(refusals >= 20, "{name}: {refusals}");
    }
}

/// What a row cannot do without is an error, whatever stands there instead.
#[test]
fn what_is_needed_is_never_made_up() {
    let json = fixture("object_aql.response.200");
    for (pointer, named) in [
        ("/values", "values"),
        ("/values/0", "values"),
        ("/values/0/id", "id"),
        ("/values/0/objectKey", "objectKey"),
    ] {
        for text in wrong_values() {
            // An object is one, an id may be any text of digits or number, a key any text, a list may be empty.
            let fits = match named {
                "objectKey" => text.len() > 2 && text.starts_with('"') && !text.contains("\\u0000"),
                "values" if pointer == "/values" => text == "[]",
                _ => false,
            };
            let read = assets::fuzzing::page(replaced(&json, pointer, Some(&text)).as_bytes(), &ATTRIBUTES);
            match read {
                Ok(_) => assert!(fits, "{pointer}: {text:.60} was taken"),
                Err(what) => {
                    assert!(!fits, "{pointer}: {text:.60}: {what}");
                    assert!(what.contains(named), "{pointer}: {text:.60}: {what}");
                }
            }
        }
    }
}
