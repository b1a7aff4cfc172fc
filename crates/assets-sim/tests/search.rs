//! Searches over HTTP against the ground truth of the dump.

mod support;

use std::collections::BTreeSet;

use assets_sim::{DumpObject, DumpValue, KeyOrder, OrderBy, Precision, Profile, Quantifier, Sim, Unknown};
use serde_json::json;
use support::{Client, ids, start};

fn of_type(sim: &Sim, name: &str) -> Vec<DumpObject> {
    sim.dump(sim.type_id(name).unwrap())
}

fn texts<'a>(object: &'a DumpObject, attribute: &str) -> Vec<&'a str> {
    let text = |v: &'a DumpValue| match v {
        DumpValue::Text { value } => Some(value.as_str()),
        DumpValue::Object { label, .. } => Some(label.as_str()),
        DumpValue::Status { name, .. } => Some(name.as_str()),
        _ => None,
    };
    object.values(attribute).iter().filter_map(text).collect()
}

fn integer(object: &DumpObject, attribute: &str) -> Option<i64> {
    object
        .values(attribute)
        .iter()
        .find_map(|v| if let DumpValue::Integer { value } = v { Some(*value) } else { None })
}

fn matching(all: &[DumpObject], keep: impl Fn(&DumpObject) -> bool) -> BTreeSet<u64> {
    all.iter().filter(|o| keep(o)).map(|o| o.id).collect()
}

/// The ids that a filter on a type finds; sure that there are none twice, and that the count agrees.
fn found(client: &Client, object_type: &str, filter: &str) -> BTreeSet<u64> {
    let query = format!("objectType = \"{object_type}\" and ({filter})");
    let all = client.ids(&query);
    let set: BTreeSet<u64> = all.iter().copied().collect();
    assert_eq!(all.len(), set.len(), "{query}");
    assert_eq!(client.count(&query), set.len() as u64, "{query}");
    set
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[test]
fn paging_through_every_type_gives_the_dump_in_every_profile() {
    for profile in [Profile::Documented, Profile::Lenient, Profile::Hostile] {
        let sim = start(1500, profile);
        let client = Client::new(&sim);
        for object_type in sim.types() {
            let expected: Vec<u64> = sim.dump(object_type.id).iter().map(|o| o.id).collect();
            let mut all = client.ids(&format!("objectTypeId = {}", object_type.id));
            all.sort_unstable();
            assert_eq!(all, expected, "{profile:?} {}", object_type.name);
            let low = expected.first().copied().unwrap_or(1000) + 100;
            let window = format!(
                "objectTypeId = {} and objectId >= {low} and objectId <= {}",
                object_type.id,
                low + 700
            );
            let mut inside = client.ids(&window);
            inside.sort_unstable();
            let expected: Vec<u64> =
                expected.into_iter().filter(|id| (low..=low + 700).contains(id)).collect();
            assert_eq!(inside, expected, "{profile:?} {window}");
        }
    }
}

#[test]
fn every_text_in_the_data_is_found_by_its_quoted_form() {
    let sim = start(3000, Profile::Documented);
    let client = Client::new(&sim);
    let all = of_type(&sim, "Specimen");
    let values: BTreeSet<&str> =
        all.iter().flat_map(|o| texts(o, "One Text")).filter(|t| !t.is_empty()).collect();
    assert!(values.len() > 20, "{values:?}");
    for value in values {
        let has =
            |test: &dyn Fn(&str) -> bool| matching(&all, |o| texts(o, "One Text").into_iter().any(test));
        let lower = value.to_lowercase();
        let q = quoted(value);
        assert_eq!(
            found(&client, "Specimen", &format!("\"One Text\" = {q}")),
            has(&|t| t.to_lowercase() == lower)
        );
        assert_eq!(found(&client, "Specimen", &format!("\"One Text\" == {q}")), has(&|t| t == value));
        assert_eq!(
            found(&client, "Specimen", &format!("\"One Text\" like {q}")),
            has(&|t| t.to_lowercase().contains(&lower))
        );
        assert_eq!(
            found(&client, "Specimen", &format!("\"One Text\" startswith {q}")),
            has(&|t| t.to_lowercase().starts_with(&lower))
        );
        assert_eq!(
            found(&client, "Specimen", &format!("\"One Text\" endswith {q}")),
            has(&|t| t.to_lowercase().ends_with(&lower))
        );
        assert_eq!(
            found(&client, "Specimen", &format!("\"One Text\" in ({q})")),
            has(&|t| t.to_lowercase() == lower)
        );
    }
}

#[test]
fn numbers_dates_references_people_and_statuses_compare_as_documented() {
    let sim = start(3000, Profile::Documented);
    let client = Client::new(&sim);
    let servers = of_type(&sim, "Server");
    let server = |filter: &str| found(&client, "Server", filter);
    assert_eq!(
        server("\"Memory GB\" >= 64 and \"Memory GB\" < 128"),
        matching(&servers, |o| integer(o, "Memory GB").is_some_and(|n| (64..128).contains(&n)))
    );
    assert_eq!(server("\"Memory GB\" is EMPTY"), matching(&servers, |o| integer(o, "Memory GB").is_none()));
    let day = 16_801; // 2016-01-01
    let purchased = |o: &DumpObject| {
        o.values("Purchased").iter().any(|v| matches!(v, DumpValue::Date { value } if *value >= day))
    };
    assert_eq!(server("Purchased >= 2016-01-01"), matching(&servers, purchased));
    let backup = servers.iter().find_map(|o| match o.values("Last Backup") {
        [DumpValue::DateTime { value }] => Some((o.id, *value)),
        _ => None,
    });
    let (id, ms) = backup.unwrap();
    let seconds = ms.div_euclid(1000);
    let literal = |ms: i64| {
        // What the API itself shows is what a client would send.
        let object = client.get(&format!("/object/{id}")).json();
        let shown = object["attributes"].as_array().unwrap().iter().find_map(|a| {
            let value = a["objectAttributeValues"][0]["value"].as_str()?;
            (a["objectTypeAttribute"]["name"] == "Last Backup").then(|| value.to_owned())
        });
        assert_eq!(ms / 1000, seconds);
        shown.unwrap()
    };
    let shown = literal(ms);
    assert!(server(&format!("\"Last Backup\" = \"{shown}\"")).contains(&id));
    assert!(server(&format!("\"Last Backup\" > \"{shown}\"")).is_disjoint(&BTreeSet::from([id])));
    sim.switches(|s| s.precision = Precision::Days);
    assert!(server(&format!("\"Last Backup\" >= \"{}T23:59\"", &shown[..10])).contains(&id));
    sim.switches(|s| s.precision = Precision::Milliseconds);

    let owner = servers.iter().find_map(|o| o.values("Owner").first().cloned()).unwrap();
    let DumpValue::Object { key, label, .. } = owner else { panic!() };
    let owned_by_label =
        matching(&servers, |o| texts(o, "Owner").iter().any(|l| l.to_lowercase() == label.to_lowercase()));
    let has_key = |o: &DumpObject| {
        o.values("Owner").iter().any(|v| matches!(v, DumpValue::Object { key: k, .. } if *k == key))
    };
    assert_eq!(server(&format!("Owner = {}", quoted(&label))), owned_by_label);
    assert_eq!(server(&format!("Owner = {key}")), matching(&servers, has_key));
    assert_eq!(server(&format!("Owner.Key = {key}")), matching(&servers, has_key));
    assert_eq!(server(&format!("Owner.Name = {}", quoted(&label))), owned_by_label);
    let pointing = format!("object having outboundReferences(Key = {key})");
    assert!(matching(&servers, has_key).is_subset(&server(&pointing)));
    let pointed: BTreeSet<u64> = client
        .ids(&format!("object having inboundReferences(objectType = Server and Owner = {key})"))
        .into_iter()
        .collect();
    assert!(pointed.contains(&key.rsplit_once('-').unwrap().1.parse().unwrap()));

    assert_eq!(server("Status = running"), matching(&servers, |o| texts(o, "Status") == ["Running"]));
    assert!(server("Status like Running").is_empty() && server("Status startswith Run").is_empty());
    let account = servers.iter().find_map(|o| match o.values("Assignee") {
        [DumpValue::User { account_id, display_name, .. }] => {
            Some((account_id.clone(), display_name.clone()))
        }
        _ => None,
    });
    let (account, name) = account.unwrap();
    let assigned = |o: &DumpObject| {
        o.values("Assignee")
            .iter()
            .any(|v| matches!(v, DumpValue::User { account_id, .. } if *account_id == account))
    };
    assert_eq!(server(&format!("Assignee = {account}")), matching(&servers, assigned));
    assert!(server(&format!("Assignee = {}", quoted(&name))).is_superset(&matching(&servers, assigned)));
    assert!(server(&format!("Assignee having user({account})")).is_superset(&matching(&servers, assigned)));
    assert!(!server("Assignee = currentUser()").is_empty());
    assert!(!server("Assignee in group(\"jira-users\")").is_empty());
    assert_eq!(server("Virtual = TRUE and Virtual = false"), BTreeSet::new());
}

#[test]
fn types_schemas_and_children_are_told_apart() {
    let sim = start(2000, Profile::Documented);
    let client = Client::new(&sim);
    let count = |query: &str| client.count(query) as usize;
    let sum = |names: &[u32]| names.iter().map(|t| sim.dump(*t).len()).sum::<usize>();
    assert_eq!(count("objectType = Hardware"), 0, "abstract, and `=` leaves children out");
    assert_eq!(count("objectType in objectTypeAndChildren(Hardware)"), sum(&[11, 12, 13, 14, 15]));
    assert_eq!(count("objectType in objectTypeAndChildren(14)"), sum(&[14, 15]));
    assert_eq!(count("objectType = room"), sum(&[25, 43]), "a name used twice");
    assert_eq!(count("objectType = Room and objectSchema = Facilities"), sum(&[43]));
    assert_eq!(count("objectTypeId in (25, 43)"), sum(&[25, 43]));
    assert_eq!(count("objectSchemaId = \"2\""), sum(&[40, 41, 42, 43]));
    assert_eq!(count(""), 2000);
    assert_eq!(count("Key is not EMPTY"), 2000);
    let offices: Vec<String> = sim.dump(42).iter().take(3).map(|o| o.key.clone()).collect();
    assert_eq!(count(&format!("Key in ({})", offices.join(","))), offices.len());
    assert_eq!(count(&format!("objectId not in ({})", &offices[0][4..])), 1999);
}

#[test]
fn what_the_service_refuses_is_a_400_with_the_reason() {
    let sim = start(200, Profile::Documented);
    let client = Client::new(&sim);
    assert_eq!(client.refused("Foo = x"), "No matching attribute for AQL clause (\"Foo\" = x)");
    for query in [
        "Key like ITSM",
        "Key startswith ITSM",
        "\"2024\" = 1",
        "2024 = 1",
        "objectType = Nonsense",
        "Name = \"unclosed",
        "Name = \"bad \\escape\"",
        "not (Name = x)",
        "Name = x order",
        "Name = x; drop",
        "objectId = abc",
        "object having connectedTickets()",
        "Owner.Nonsense = 1",
    ] {
        assert!(!client.refused(query).is_empty(), "{query}");
    }
    sim.switches(|s| {
        s.unknown_type = Unknown::Nothing;
        s.not_before_group = true;
        s.double_equal = false;
        s.in_list_limit = Some(2);
        s.query_byte_limit = Some(60);
        s.strict_object_id = false;
        s.order_by_key = OrderBy::Rejected;
        s.control_characters = false;
    });
    assert_eq!(client.count("objectType = Nonsense"), 0);
    assert_eq!(client.count("not (objectType = Server)") + client.count("objectType = Server"), 200);
    for query in [
        "Name == x",
        "objectId in (1,2,3)",
        "objectId < 5",
        "Name = x order by Key",
        "Name = \"line\nbreak\"",
        &format!("Name = {}", "x".repeat(60)),
    ] {
        assert!(!client.refused(query).is_empty(), "{query}");
    }
    let validated = |query: &str| client.post("/aql/validate", &json!({ "qlQuery": query })).json();
    assert_eq!(validated("Name = x")["isValid"], true);
    assert_eq!(validated("Foo = x")["isValid"], false);
    let gone = client.get("/aql/objects?qlQuery=Name%20=%20x");
    assert_eq!(gone.status, 410);
}

#[test]
fn negations_follow_their_switches() {
    let sim = start(2000, Profile::Documented);
    let client = Client::new(&sim);
    let servers = of_type(&sim, "Server");
    let tags = |o: &DumpObject| texts(o, "Tags").iter().map(|t| t.to_lowercase()).collect::<Vec<_>>();
    let cases: [(Quantifier, bool); 4] = [
        (Quantifier::All, false),
        (Quantifier::All, true),
        (Quantifier::Any, false),
        (Quantifier::Any, true),
    ];
    for (quantifier, empty) in cases {
        sim.switches(|s| {
            s.negation = quantifier;
            (s.not_equal_finds_empty, s.not_in_finds_empty, s.not_like_finds_empty) = (empty, empty, empty);
        });
        let expected = |matches: &dyn Fn(&String) -> bool| {
            matching(&servers, |o| match (tags(o).is_empty(), quantifier) {
                (true, _) => empty,
                (false, Quantifier::Any) => tags(o).iter().any(|t| !matches(t)),
                (false, Quantifier::All) => tags(o).iter().all(|t| !matches(t)),
            })
        };
        assert_eq!(found(&client, "Server", "Tags != prod"), expected(&|t| t == "prod"));
        assert_eq!(
            found(&client, "Server", "Tags not in (prod, dev)"),
            expected(&|t| t == "prod" || t == "dev")
        );
        assert_eq!(found(&client, "Server", "Tags not like \"%\""), expected(&|t| t.contains('%')));
    }
}

#[test]
fn order_is_by_label_unless_asked_otherwise_and_what_is_missing_comes_first() {
    let sim = start(2000, Profile::Documented);
    let client = Client::new(&sim);
    let mut servers = of_type(&sim, "Server");
    let order = |by: &str| client.ids(&format!("objectType = Server {by}"));
    servers.sort_by_key(|o| (o.label.to_lowercase(), o.id));
    let expected: Vec<u64> = servers.iter().map(|o| o.id).collect();
    assert_eq!(order(""), expected);
    servers.sort_by_key(|o| (integer(o, "Memory GB"), o.id));
    let expected: Vec<u64> = servers.iter().map(|o| o.id).collect();
    assert_eq!(order("order by \"Memory GB\""), expected);
    assert_eq!(integer(&servers[0], "Memory GB"), None);
    servers.sort_by_key(|o| o.id);
    let ascending: Vec<u64> = servers.iter().map(|o| o.id).collect();
    assert_eq!(order("order by Key"), ascending);
    assert_eq!(order("order by objectId desc"), ascending.iter().rev().copied().collect::<Vec<_>>());
    sim.switches(|s| s.key_order = KeyOrder::Textual);
    servers.sort_by_key(|o| o.key.clone());
    let textual: Vec<u64> = servers.iter().map(|o| o.id).collect();
    assert_eq!(order("order by Key"), textual);
    sim.switches(|s| s.order_by_object_id = OrderBy::Ignored);
    let ignored = order("order by objectId");
    assert_ne!(ignored, ascending);
    assert_eq!(order("order by objectId"), ignored, "arbitrary but stable");
    sim.switches(|s| s.order_by_object_id = OrderBy::Unstable);
    assert_ne!(
        client.page("objectType = Server order by objectId", 0, 100),
        client.page("objectType = Server order by objectId", 0, 100)
    );
}

#[test]
fn envelopes_say_what_their_switches_make_them_say() {
    let sim = start(12_000, Profile::Documented);
    let client = Client::new(&sim);
    let page = client.aql("objectType = Server", 1200, 500).json();
    assert_eq!((page["maxResults"].as_u64(), ids(&page).len()), (Some(100), 100), "clamped");
    assert_eq!(page["total"], 1000, "total stops at 1000 while paging goes on");
    assert_eq!((&page["isLast"], &page["hasMoreResults"]), (&json!(false), &json!(true)));
    let in_body = json!({ "qlQuery": "objectType = Server", "startAt": 50, "maxResults": 3 });
    let page = client.post("/object/aql", &in_body).json();
    assert_eq!((page["startAt"].as_u64(), ids(&page).len()), (Some(0), 25), "paging in the body is ignored");
    sim.switches(|s| s.is_last_lies_from = Some(1000));
    assert_eq!(client.aql("objectType = Server", 0, 1000).json()["isLast"], true);
    assert_eq!(client.aql("objectType = Server", 0, 999).json()["isLast"], false);
    sim.switches(|s| (s.is_last_lies_from, s.is_last_lies_on_full_pages) = (None, true));
    assert_eq!(client.aql("objectType = Server", 0, 10).json()["isLast"], true);
    sim.switches(|s| s.page_cap = 0);
    assert_eq!(ids(&client.aql("objectType = Server", 0, 700).json()).len(), 700);
    let past = client.aql("objectType = Server", 1_000_000, 25).json();
    assert_eq!((ids(&past).len(), &past["isLast"]), (0, &json!(true)));
    assert_eq!(client.aql("", 0, 0).status, 400);
}

#[test]
fn gzip_comes_only_when_switched_on_and_asked_for() {
    let sim = start(300, Profile::Documented);
    let client = Client::new(&sim);
    assert!(client.aql("", 0, 5).header("content-encoding").is_none());
    let plain = client.aql("", 0, 5).body;
    sim.switches(|s| s.gzip = true);
    let before = sim.log().last().unwrap().bytes;
    assert_eq!(client.aql("", 0, 5).body, plain, "the client unpacks it");
    assert!(sim.log().last().unwrap().bytes < before / 2);
}

#[test]
fn the_log_tells_what_was_asked_and_how_much_at_once() {
    let sim = start(300, Profile::Documented);
    let client = Client::new(&sim);
    sim.switches(|s| s.latency_ms = 100);
    std::thread::scope(|scope| {
        for i in 0..4 {
            let client = client.clone();
            scope.spawn(move || client.aql("objectType = Server", i, 7));
        }
    });
    assert_eq!(sim.max_in_flight(), 4);
    let log = sim.log();
    assert_eq!(log.len(), 4);
    for entry in &log {
        assert_eq!(entry.aql.as_deref(), Some("objectType = Server"));
        assert_eq!((entry.max_results, entry.status), (Some(7), 200));
        assert_eq!(entry.identity.as_deref(), Some("reader@example.com"));
    }
    sim.clear_log();
    assert!(sim.log().is_empty());
}

#[test]
fn a_budget_a_minute_is_enforced_and_comes_back() {
    let sim = start(100, Profile::Documented);
    let client = Client::new(&sim);
    sim.switches(|s| (s.aql_per_window, s.rate_window_ms, s.rate_headers) = (3, 700, true));
    let statuses: Vec<u16> = (0..5).map(|_| client.aql("", 0, 1).status).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    let refused = client.aql("", 0, 1);
    assert_eq!(
        (refused.header("retry-after"), refused.header("x-ratelimit-remaining")),
        (Some("1"), Some("0"))
    );
    assert_eq!(client.get("/usage").status, 200, "other endpoints have their own budget");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while client.aql("", 0, 1).status == 429 {
        assert!(std::time::Instant::now() < deadline);
    }
}

#[test]
fn a_page_carries_every_value_of_the_dump_in_every_profile() {
    for profile in [Profile::Documented, Profile::Lenient, Profile::Hostile] {
        let sim = start(1500, profile);
        let client = Client::new(&sim);
        for name in ["Specimen", "Server", "Employee"] {
            let dump = of_type(&sim, name);
            let mut seen = 0;
            while seen < dump.len() {
                let page = client.aql(&format!("objectType = {name}"), seen, 40).json();
                let objects = page["values"].as_array().unwrap();
                assert!(!objects.is_empty());
                for object in objects {
                    seen += 1;
                    let truth = dump.iter().find(|o| o.id == support::number(&object["id"])).unwrap();
                    assert_eq!(
                        (&object["label"], &object["objectKey"]),
                        (&json!(truth.label), &json!(truth.key))
                    );
                    let listed = object["attributes"].as_array().unwrap();
                    for attribute in &truth.attributes {
                        let id = u64::from(attribute.attribute_id);
                        let found =
                            listed.iter().find(|a| support::number(&a["objectTypeAttributeId"]) == id);
                        let values =
                            found.map_or(&[][..], |a| a["objectAttributeValues"].as_array().unwrap());
                        assert_eq!(
                            values.len(),
                            attribute.values.len(),
                            "{} of {}",
                            attribute.name,
                            truth.key
                        );
                        for (shown, value) in values.iter().zip(&attribute.values) {
                            match value {
                                DumpValue::Text { value } => assert_eq!(shown["value"], json!(value)),
                                DumpValue::Integer { value } => {
                                    let text = shown["value"].as_str().map(str::to_owned);
                                    assert_eq!(
                                        text.unwrap_or_else(|| shown["value"].to_string()),
                                        value.to_string()
                                    );
                                }
                                DumpValue::Double { value } => match shown["value"].as_str() {
                                    Some(text) => assert_eq!(text.parse(), Ok(*value)),
                                    None => {
                                        // serde_json's own reading of a number may be off by the last bit.
                                        let read = shown["value"].as_f64().unwrap();
                                        assert!(
                                            (read - value).abs() <= value.abs() * f64::EPSILON,
                                            "{read} {value}"
                                        );
                                    }
                                },
                                DumpValue::Object { key, .. } => {
                                    assert_eq!(shown["referencedObject"]["objectKey"], json!(key))
                                }
                                DumpValue::User { account_id, .. } => {
                                    assert_eq!(shown["user"]["key"], json!(account_id))
                                }
                                DumpValue::Group { name } => assert_eq!(shown["group"]["name"], json!(name)),
                                DumpValue::Status { name, .. } => {
                                    assert_eq!(shown["status"]["name"], json!(name))
                                }
                                _ => assert!(!shown["value"].is_null()),
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn booleans_in_parameters_are_understood_in_any_case() {
    let sim = start(300, Profile::Documented);
    let client = Client::new(&sim);
    let body = json!({ "qlQuery": "objectType = Server" });
    for (text, expected) in
        [("true", true), ("True", true), ("TRUE", true), ("false", false), ("False", false)]
    {
        let path = format!("/object/aql?startAt=0&maxResults=5&includeAttributes={text}");
        let page = client.post(&path, &body).json();
        assert_eq!(page["values"][0]["attributes"].is_array(), expected, "{text}");
        assert_eq!(sim.log().last().unwrap().include_attributes, Some(expected), "{text}");
        let counted =
            client.get(&format!("/objectschema/1/objecttypes/flat?includeObjectCounts={text}")).json();
        let counted = counted.as_array().unwrap().iter().any(|t| t["objectCount"].as_u64().unwrap() > 0);
        assert_eq!(counted, expected, "{text}");
    }
}

#[test]
fn what_is_stored_and_not_shown_is_found_all_the_same() {
    let sim = start(900, Profile::Documented);
    let client = Client::new(&sim);
    let page = |filter: &str| String::from_utf8(client.aql(filter, 0, 100).body).unwrap();
    let with = "objectType = Server and Status is not empty and Assignee is not empty";
    assert!(page(with).contains("\"status\":{") && page(with).contains("\"key\":\"5b10"));
    let found = client.count(with);
    sim.switches(|s| {
        s.statuses_left_out = true;
        s.accounts_left_out = true;
    });
    assert!(!page(with).contains("\"status\":{") && !page(with).contains("5b10"));
    assert_eq!(client.count(with), found);
    sim.create("Employee", "Rich", &[("Bio", "<p class=\"x\">Oslo</p>")]).unwrap();
    let marked = "objectType = Employee and Name = Rich and Bio like \"<p class\"";
    let plain = "objectType = Employee and Name = Rich and Bio = Oslo";
    assert_eq!((client.count(marked), client.count(plain)), (1, 0));
    sim.switches(|s| s.rich_text_without_markup = true);
    assert_eq!((client.count(marked), client.count(plain)), (0, 1));
}
