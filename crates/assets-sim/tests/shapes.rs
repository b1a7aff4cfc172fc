//! Every response has the shape of its fixture: keys and JSON types, any one variant where there are several.

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use assets_sim::{Profile, Sim};
use serde_json::{Value, json};
use support::{Client, start};

/// What JSON may look like in one place.
#[derive(Clone, Debug, Default)]
struct Shape {
    scalars: Vec<&'static str>,
    items: Option<Box<Shape>>,
    fields: Option<BTreeMap<String, (Shape, bool)>>,
}

/// Keys that may be there although a fixture has none, with the section of assets-api.md that knows them.
const OPTIONAL: [(&str, &str); 13] = [
    ("mediaClientConfig", "object"),  // 3.1, 13
    ("hasMoreResults", "bool"),       // 2.1
    ("last", "bool"),                 // 2.1
    ("parentObjectTypeId", "number"), // 3.2
    ("typeValueMulti", "array"),      // 3.3
    ("additionalValue", "string"),    // 3.3
    ("description", "string"),        // 3.3, 2.6
    ("objectSchemaId", "string"),     // 2.6, 3.4
    ("user", "object"),               // 3.4
    ("group", "object"),              // 3.4
    ("status", "object"),             // 3.4
    ("referencedObject", "object"),   // 3.4
    ("value", "string"),              // 3.4
];

fn kind(json: &Value) -> &'static str {
    match json {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

impl Shape {
    fn of(json: &Value) -> Shape {
        match json {
            Value::Array(items) => {
                let merged = items.iter().map(Shape::of).reduce(Shape::merge);
                Shape { items: Some(Box::new(merged.unwrap_or_default())), ..Shape::default() }
            }
            Value::Object(fields) => {
                let fields = fields.iter().map(|(k, v)| (k.clone(), (Shape::of(v), true))).collect();
                Shape { fields: Some(fields), ..Shape::default() }
            }
            scalar => Shape { scalars: vec![kind(scalar)], ..Shape::default() },
        }
    }

    /// Either of two: what only one has is optional.
    fn merge(mut self, other: Shape) -> Shape {
        self.scalars.extend(other.scalars);
        self.items = match (self.items, other.items) {
            (Some(a), Some(b)) => Some(Box::new(a.merge(*b))),
            (a, b) => a.or(b),
        };
        self.fields = match (self.fields, other.fields) {
            (Some(mut a), Some(b)) => {
                for (key, (_, needed)) in &mut a {
                    *needed &= b.contains_key(key);
                }
                for (key, (shape, needed)) in b {
                    let merged = match a.remove(&key) {
                        Some((mine, also)) => (mine.merge(shape), also && needed),
                        None => (shape, false),
                    };
                    a.insert(key, merged);
                }
                Some(a)
            }
            (a, b) => a.or(b),
        };
        self
    }

    fn check(&self, json: &Value, path: &str, wrong: &mut Vec<String>) {
        match (json, &self.items, &self.fields) {
            (Value::Array(found), Some(shape), _) => {
                let empty = shape.scalars.is_empty() && shape.items.is_none() && shape.fields.is_none();
                for (i, item) in found.iter().enumerate().filter(|_| !empty) {
                    shape.check(item, &format!("{path}[{i}]"), wrong);
                }
            }
            (Value::Object(found), _, Some(fields)) => {
                for (key, (_, needed)) in fields {
                    let optional = OPTIONAL.iter().any(|(k, _)| k == key);
                    if *needed && !optional && !found.contains_key(key) {
                        wrong.push(format!("{path}.{key} is missing"));
                    }
                }
                for (key, value) in found {
                    match fields.get(key) {
                        // A fixture that happens to hold null says nothing of the type.
                        Some((shape, _))
                            if shape.scalars == ["null"]
                                && OPTIONAL.contains(&(key.as_str(), kind(value))) => {}
                        Some((shape, _)) => shape.check(value, &format!("{path}.{key}"), wrong),
                        None if OPTIONAL.contains(&(key.as_str(), kind(value))) => {}
                        None => wrong.push(format!("{path}.{key} is new")),
                    }
                }
            }
            (scalar, ..) if self.scalars.contains(&kind(scalar)) => {}
            (other, ..) => wrong.push(format!("{path} is {}", kind(other))),
        }
    }
}

fn fixture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn same_shape(answer: &Value, variants: &[&str]) {
    let mut complaints = Vec::new();
    for name in variants {
        let mut wrong = Vec::new();
        Shape::of(&fixture(name)).check(answer, name, &mut wrong);
        if wrong.is_empty() {
            return;
        }
        wrong.truncate(8);
        complaints.push(wrong.join("\n"));
    }
    panic!("no variant fits:\n{}\n{:.2000}", complaints.join("\n-\n"), answer.to_string());
}

/// The Specimen with the most values.
fn specimen(sim: &Sim) -> u64 {
    let all = sim.dump(sim.type_id("Specimen").unwrap());
    all.iter().max_by_key(|o| o.attributes.iter().filter(|a| !a.values.is_empty()).count()).unwrap().id
}

#[test]
fn every_read_has_the_shape_of_its_fixture() {
    let sim = start(2000, Profile::Documented);
    let client = Client::new(&sim);
    let get = |path: &str| {
        let answer = client.get(path);
        assert_eq!(answer.status, 200, "{path}");
        answer.json()
    };
    let id = specimen(&sim);
    let office = sim.dump(sim.type_id("Office").unwrap())[0].id;
    sim.update(&id.to_string(), "Notes", &["changed"]).unwrap();
    for (path, variants) in [
        (format!("/object/{id}"), "object_get.response.200.json"),
        (format!("/object/{id}/attributes"), "object_attributes.response.200.json"),
        (format!("/object/{id}/history"), "object_history.response.200.json"),
        (format!("/object/{office}/referenceinfo"), "object_referenceinfo.response.200.json"),
        ("/objectschema/list?includeCounts=true".into(), "objectschema_list.response.200.json"),
        ("/objectschema/1".into(), "objectschema_get.response.200.json"),
        ("/objectschema/1/objecttypes/flat".into(), "objectschema_objecttypes_flat.response.200.json"),
        ("/objectschema/1/objecttypes".into(), "objectschema_objecttypes_flat.response.200.json"),
        ("/objectschema/1/attributes?extended=true".into(), "objectschema_attributes.response.200.json"),
        ("/objecttype/11".into(), "objecttype_get.response.200.json"),
        ("/objecttype/11/attributes".into(), "objecttype_attributes.response.200.json"),
        ("/config/statustype".into(), "config_statustype.response.200.json"),
        ("/config/statustype/58".into(), "config_statustype_58.response.200.json"),
        ("/config/referencetype?includeAll=true".into(), "config_referencetype.response.200.json"),
        ("/icon/11".into(), "icon_get.response.200.json"),
        ("/usage".into(), "usage.response.200.json"),
    ] {
        let answer = get(&path);
        assert!(!answer.as_array().is_some_and(Vec::is_empty), "{path} is empty");
        same_shape(&answer, &[variants]);
    }
    let with_tickets = (1000..2000).find(|id| {
        let answer = client.get(&format!("/objectconnectedtickets/{id}/tickets"));
        answer.status == 200 && !answer.json()["tickets"].as_array().unwrap().is_empty()
    });
    let path = format!("/objectconnectedtickets/{}/tickets", with_tickets.unwrap());
    same_shape(&get(&path), &["objectconnectedtickets.response.200.json"]);
}

#[test]
fn searches_have_the_shape_of_their_fixtures_in_every_profile_but_for_what_its_switches_change() {
    const PAGES: [&str; 4] = [
        "object_aql.response.200.json",
        "object_aql.response.200.bool-variant.json",
        "object_aql.response.200.empty.json",
        "object_aql.response.200.includeAttributes-false.json",
    ];
    let sim = start(2000, Profile::Documented);
    let client = Client::new(&sim);
    for query in ["objectType = Specimen", "objectType = Server", "objectType = Employee", ""] {
        same_shape(&client.aql(query, 0, 50).json(), &PAGES[1..2]);
    }
    let bare =
        client.post("/object/aql?includeAttributes=false", &json!({ "qlQuery": "objectType = Server" }));
    same_shape(&bare.json(), &PAGES[3..]);
    same_shape(&client.aql("Name = \"nobody has this name\"", 0, 25).json(), &PAGES[2..3]);
    sim.switches(|s| {
        s.is_last = assets_sim::Flag::String;
        s.last = assets_sim::Flag::Absent;
        s.has_more_results = assets_sim::Flag::Absent;
    });
    same_shape(&client.aql("objectType = Server", 0, 50).json(), &PAGES[..1]);
    let count = client.post("/object/aql/totalcount", &json!({ "qlQuery": "" }));
    same_shape(&count.json(), &["object_aql_totalcount.response.200.json"]);
}

#[test]
fn values_of_every_kind_have_the_inferred_shape() {
    let sim = start(3000, Profile::Documented);
    let client = Client::new(&sim);
    let inferred = fixture("INFERRED_attribute_values_by_type.json");
    let mut seen = BTreeMap::new();
    for start in [0, 50] {
        let page = client.aql("objectType = Specimen", start, 50).json();
        let definitions = page["objectTypeAttributes"].as_array().unwrap();
        for attribute in
            page["values"].as_array().unwrap().iter().flat_map(|o| o["attributes"].as_array().unwrap())
        {
            let id = &attribute["objectTypeAttributeId"];
            let definition =
                definitions.iter().find(|d| d["id"] == *id).expect("a definition for every attribute");
            let code = definition["type"].as_u64().unwrap();
            let key = match definition["defaultType"]["id"].as_u64() {
                Some(default) => format!("{code}/{default} "),
                None => format!("{code} "),
            };
            let Some((name, sample)) =
                inferred.as_object().unwrap().iter().find(|(k, _)| k.starts_with(&key))
            else {
                assert!(key == "8 " || key == "0/5 ", "no fixture for {key}");
                continue;
            };
            for value in attribute["objectAttributeValues"].as_array().unwrap() {
                let mut wrong = Vec::new();
                let mut shape = Shape::of(&sample[0]);
                if let Some(fields) = &mut shape.fields
                    && fields.contains_key("referencedObject")
                {
                    // The sample names three keys of the object only; the whole is checked with the page.
                    for key in ["id", "label", "objectKey"] {
                        assert!(value["referencedObject"][key].is_string());
                    }
                    let whole = Shape::of(&value["referencedObject"]);
                    fields.insert("referencedObject".into(), (whole, true));
                }
                shape.check(value, name, &mut wrong);
                assert!(wrong.is_empty(), "{wrong:?} in {value}");
                *seen.entry(name.clone()).or_insert(0) += 1;
            }
        }
    }
    assert_eq!(seen.len(), inferred.as_object().unwrap().len() - 1, "every kind but the unset one: {seen:?}");
}

#[test]
fn writes_discovery_and_errors_have_the_shape_of_their_fixtures() {
    let sim = start(300, Profile::Documented);
    let client = Client::new(&sim);
    let department = sim.type_id("Department").unwrap();
    let attributes = sim.attributes(department);
    let id = |name: &str| attributes.iter().find(|a| a.name == name).unwrap().id.to_string();
    let body = |values: Value| json!({ "objectTypeId": department.to_string(), "attributes": values });
    let value = |name: &str, v: &str| json!({ "objectTypeAttributeId": id(name), "objectAttributeValues": [{ "value": v }] });
    let created = client.post("/object/create", &body(json!([value("Name", "NY-1")])));
    assert_eq!(created.status, 201);
    same_shape(&created.json(), &["object_create.response.201.json"]);
    let refused =
        client.post("/object/create", &body(json!([value("Name", "NY-2"), value("Groups", "nobody")])));
    assert_eq!(refused.status, 400);
    let text = refused.json().to_string();
    assert!(
        text.contains(&format!("rlabs-insight-attribute-{}", id("Groups")))
            && text.contains("Invalid Group(s)")
    );

    let site = Client { base: sim.url(), ..client.clone() };
    let workspace = || site.get("/rest/servicedeskapi/assets/workspace").json();
    same_shape(&workspace(), &["servicedeskapi_assets_workspace.response.200.json"]);
    assert_eq!(workspace()["values"][0]["workspaceId"], sim.workspace_id());
    sim.switches(|s| s.no_assets = true);
    same_shape(&workspace(), &["servicedeskapi_assets_workspace.response.200.no-assets.json"]);
    assert_eq!(workspace()["values"], json!([]));
    let tenant = Client::with(sim.url(), None).get("/_edge/tenant_info");
    same_shape(&tenant.json(), &["edge_tenant_info.response.200.json"]);
    let missing = client.get("/object/999999999");
    assert_eq!(missing.status, 404);
    same_shape(&missing.json(), &["error_404_dc_style.json"]);
    let grant = json!({
        "grant_type": "client_credentials", "client_id": "sim-client", "client_secret": "sim-secret"
    });
    same_shape(&site.post("/oauth/token", &grant).json(), &["oauth_token.response.200.json"]);
}
