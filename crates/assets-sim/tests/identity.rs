//! Who may use which route, with which scopes, for how long, and what each sees.

mod support;

use assets_sim::{Profile, SCOPES, Sim};
use serde_json::json;
use support::{Client, basic, start};

fn bases(sim: &Sim) -> [String; 4] {
    let gateway = sim.gateway();
    [
        gateway.clone(),
        sim.cloud_gateway(),
        gateway.replace("/jsm/assets", "/gateway/api/jsm/assets"),
        gateway.replace("/jsm/assets", "/jsm/insight"),
    ]
}

fn token(sim: &Sim) -> String {
    let body = json!({ "grant_type": "client_credentials", "client_id": "sim-client", "client_secret": "sim-secret" });
    let answer = Client::with(sim.url(), None).post("/oauth/token", &body);
    assert_eq!(answer.status, 200);
    format!("Bearer {}", answer.json()["access_token"].as_str().unwrap())
}

#[test]
fn a_classic_token_may_use_every_route_and_a_scoped_one_only_the_cloud_route() {
    let sim = start(100, Profile::Documented);
    let classic = [basic("reader@example.com", "classic-token")];
    let scoped = [
        basic("scoped@example.com", "scoped-token"),
        basic("robot@serviceaccount.example.com", "service-token"),
        Some("Bearer service-token".to_owned()),
        Some(token(&sim)),
    ];
    let wrong = [
        None,
        basic("reader@example.com", "wrong"),
        basic("sim-client", "sim-secret"),
        Some("Bearer classic-token".to_owned()),
        Some("Bearer scoped-token".to_owned()),
        Some("Bearer ".to_owned()),
    ];
    for (number, base) in bases(&sim).into_iter().enumerate() {
        let status = |a: &Option<String>| Client::with(base.clone(), a.clone()).get("/usage").status;
        assert!(classic.iter().all(|a| status(a) == 200), "{base}");
        assert!(scoped.iter().all(|a| (status(a) == 200) == (number == 1)), "{base}");
        for authorization in &wrong {
            let answer = Client::with(base.clone(), authorization.clone()).get("/usage");
            assert_eq!(answer.status, 401, "{base} {authorization:?}");
            assert_eq!(answer.json(), json!({ "code": 401, "message": "Unauthorized" }));
        }
    }
    let discovery = "/rest/servicedeskapi/assets/workspace";
    let cloud = format!("{}/ex/jira/{}", sim.url(), sim.cloud_id());
    assert_eq!(Client::with(sim.url(), classic[0].clone()).get(discovery).status, 200);
    for authorization in &scoped {
        assert_eq!(Client::with(sim.url(), authorization.clone()).get(discovery).status, 401);
        assert_eq!(Client::with(cloud.clone(), authorization.clone()).get(discovery).status, 200);
    }
}

#[test]
fn a_missing_scope_is_a_401_that_says_so() {
    let sim = start(100, Profile::Documented);
    let client = Client::with(sim.cloud_gateway(), basic("scoped@example.com", "scoped-token"));
    let without = |scope: &str| SCOPES.iter().filter(|s| **s != scope).map(|s| (*s).to_owned()).collect();
    let read = || client.aql("", 0, 1);
    sim.switches(|s| s.scopes = Some(without("read:cmdb-object:jira")));
    assert_eq!(read().json(), json!({ "code": 401, "message": "Unauthorized; scope does not match" }));
    assert_eq!(client.get("/objectschema/list").status, 200);
    sim.switches(|s| s.scopes = Some(without("read:cmdb-attribute:jira")));
    assert_eq!(read().status, 401, "attributes need their own scope");
    let bare = client.post("/object/aql?includeAttributes=false", &json!({ "qlQuery": "" }));
    assert_eq!(bare.status, 200);
    sim.switches(|s| s.scopes = Some(without("read:cmdb-schema:jira")));
    assert_eq!((read().status, client.get("/objectschema/list").status), (200, 401));
    assert_eq!(Client::new(&sim).get("/objectschema/list").status, 200, "a classic token has no scopes");
}

#[test]
fn an_access_token_expires_and_a_new_one_works() {
    let sim = start(100, Profile::Documented);
    sim.switches(|s| s.token_lifetime_ms = 0);
    let expired = Client::with(sim.cloud_gateway(), Some(token(&sim)));
    assert_eq!(expired.get("/usage").status, 401);
    sim.switches(|s| s.token_lifetime_ms = 3_600_000);
    let client = Client::with(sim.cloud_gateway(), Some(token(&sim)));
    assert_eq!(client.get("/usage").status, 200);
    sim.expire_tokens();
    assert_eq!(client.get("/usage").status, 401);
    assert_eq!(Client::with(sim.cloud_gateway(), Some(token(&sim))).get("/usage").status, 200);
}

#[test]
fn the_token_endpoint_takes_the_forms_that_its_switches_allow() {
    let sim = start(10, Profile::Documented);
    let form = "application/x-www-form-urlencoded";
    let site = Client::with(sim.url(), None);
    let with_basic = Client::with(sim.url(), basic("sim-client", "sim-secret"));
    let in_body = "grant_type=client_credentials&client_id=sim-client&client_secret=sim-secret";
    let json = json!({ "grant_type": "client_credentials", "client_id": "sim-client", "client_secret": "sim-secret",
        "audience": "api.atlassian.com" });
    let forms = || {
        [
            with_basic.send("POST", "/oauth/token", form, "grant_type=client_credentials").unwrap().status,
            site.send("POST", "/oauth/token", form, in_body).unwrap().status,
            site.post("/oauth/token", &json).status,
        ]
    };
    assert_eq!(forms(), [200, 200, 200]);
    sim.switches(|s| (s.token_form_basic, s.token_form_body) = (false, false));
    assert_eq!(forms(), [401, 401, 200]);
    sim.switches(|s| (s.token_form_basic, s.token_json) = (true, false));
    assert_eq!(forms(), [200, 401, 401]);
    let wrong = in_body.replace("sim-secret", "guess");
    let refused = site.send("POST", "/oauth/token", form, &wrong).unwrap();
    assert_eq!((refused.status, refused.json()["error"].as_str()), (401, Some("access_denied")));
}

#[test]
fn a_limited_identity_sees_one_schema_and_not_every_object_in_it() {
    let sim = start(2000, Profile::Documented);
    let all = Client::new(&sim);
    let limited = Client::with(sim.gateway(), basic("limited@example.com", "limited-token"));
    let schemas = limited.get("/objectschema/list").json();
    assert_eq!(schemas["values"].as_array().unwrap().len(), 1);
    let server = sim.type_id("Server").unwrap();
    let expected: Vec<u64> = sim.dump_for("limited@example.com", server).iter().map(|o| o.id).collect();
    assert_eq!(limited.ids("objectType = Server order by objectId"), expected);
    assert!(expected.len() < all.ids("objectType = Server").len());
    assert_eq!(limited.count("objectType = Server"), expected.len() as u64);
    assert!(limited.refused("objectType = Office").contains("Office"));
    let hidden = sim.dump(server).into_iter().find(|o| !expected.contains(&o.id)).unwrap();
    assert_eq!(limited.get(&format!("/object/{}", hidden.id)).status, 404);
    assert_eq!(all.get(&format!("/object/{}", hidden.id)).status, 200);
    let text = String::from_utf8(limited.aql("objectType = Server", 0, 100).body).unwrap();
    assert!(!text.contains("\"objectKey\":\"FAC-"), "references to what it cannot read are not shown");
}

#[test]
fn what_an_identity_may_not_read_is_shown_as_told_and_asked_about_as_told() {
    let sim = start(2000, Profile::Documented);
    let partial = Client::with(sim.gateway(), basic("partial@example.com", "partial-token"));
    let types = partial.get("/objectschema/1/objecttypes/flat").json();
    let names: Vec<&str> = types.as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"Server") && !names.contains(&"Employee"));
    // One that refers to an office, which this identity may not read.
    let all = sim.dump(sim.type_id("Server").unwrap());
    let place = |o: &assets_sim::DumpObject| match o.values("Location") {
        [assets_sim::DumpValue::Object { key, label, .. }] => Some((key.clone(), label.clone())),
        _ => None,
    };
    let (server, (key, label)) =
        all.iter().filter(|o| o.id % 11 != 5).find_map(|o| Some((o, place(o)?))).unwrap();
    let found = |filter: &str| {
        partial.count(&format!("objectType = Server and objectId = {} and {filter}", server.id)) == 1
    };
    let by_path = format!("Location.Key = \"{key}\"");
    let by_value = format!("Location = \"{key}\"");
    let text = || String::from_utf8(partial.aql(&format!("objectId = {}", server.id), 0, 1).body).unwrap();
    assert!(found("Location is empty") && !text().contains(&key));
    sim.switches(|s| s.unreadable_type = assets_sim::Unreadable::Bare);
    assert!(found("Location is not empty") && !text().contains(&key) && !text().contains(&label));
    sim.switches(|s| s.unreadable_type = assets_sim::Unreadable::Shown);
    assert!(found("Location is not empty") && text().contains(&key) && text().contains(&label));
    assert!(!found(&by_path) && !found(&by_value) && found("Location.Key is empty"));
    sim.switches(|s| s.unreadable_path = true);
    assert!(found(&by_path) && !found(&by_value) && found("Location.Key is not empty"));
    sim.switches(|s| s.unreadable_value = true);
    assert!(found(&by_value) && found(&format!("Location = \"{label}\"")));
    // What is gone leaves a reference behind, or does not.
    let everyone = Client::new(&sim);
    sim.delete(&key).unwrap();
    let empty = format!("objectId = {} and Location is empty", server.id);
    assert_eq!(everyone.count(&empty), 1);
    sim.switches(|s| s.dangling = assets_sim::Unreadable::Bare);
    assert_eq!(everyone.count(&empty), 0);
}
