//! The client against the simulator: every profile, every credential, every fault.

#[path = "simulator/known.rs"]
mod known;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use assets::check::Status;
use assets::client::Client;
use assets::config::{Config, Credential, Deployment, Secret, SecretSource};
use assets::error::{Error, Kind};
use assets::scan::{Closed, PageSink, scan};
use assets::shared::Private;
use assets::stats::ScanStats;
use assets::together::Together;
use assets::value::{ColumnSpec, Decode, Field, Page, Part, Row, ScanSpec, Source, Value};
use assets_sim::{DumpValue, Endpoint, Fault, FaultKind, Options, Profile, Sim};

const PROFILES: [Profile; 3] = [Profile::Documented, Profile::Lenient, Profile::Hostile];

fn config(sim: &Sim) -> Config {
    Config {
        site: Some(sim.url()),
        workspace_id: None,
        cloud_id: None,
        api_url: sim.url(),
        auth_url: sim.url(),
        ca_pem: None,
        deployment: Deployment::Cloud,
        page_size: 500,
        max_in_flight: 8,
        requests_per_minute: 0,
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(10),
        retry_timeout: Duration::from_secs(30),
        max_response_bytes: 64 << 20,
    }
}

fn secret(text: &str) -> SecretSource {
    SecretSource::Inline(Secret::new(text.to_owned()))
}

fn classic() -> Credential {
    Credential::Basic { email: "reader@example.com".to_owned(), token: secret("classic-token") }
}

fn client_with(config: Config, credential: Credential) -> Arc<Client> {
    let shared = Arc::new(Private::new().expect("random numbers"));
    Arc::new(Client::new(config, credential, shared).expect("a client"))
}

fn client(sim: &Sim) -> Arc<Client> {
    client_with(config(sim), classic())
}

fn sim(profile: Profile, objects: u64) -> Sim {
    sim_with(Options { objects, profile, ..Options::default() })
}

/// The simulator makes a runtime of its own, which cannot be done on a thread of this one.
fn sim_with(options: Options) -> Sim {
    let starting = std::thread::spawn(move || Sim::start(options).expect("a simulator"));
    starting.join().expect("a simulator")
}

struct Collect<'a>(&'a mut Vec<Row>);

impl PageSink for Collect<'_> {
    async fn send(&mut self, page: Page) -> Result<(), Closed> {
        self.0.extend(page.rows);
        Ok(())
    }
}

fn together(client: &Client) -> Arc<Together> {
    Arc::new(Together::new(client.config().max_in_flight))
}

const ID: ColumnSpec = ColumnSpec { source: Source::Field(Field::Id), decode: Decode::Int, array: false };

async fn rows(client: &Arc<Client>, filter: &str, columns: &[ColumnSpec]) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    let spec = ScanSpec {
        filter: filter.to_owned(),
        columns: columns.into(),
        limit: None,
        most: None,
        expected: None,
    };
    scan(client.clone(), spec, Arc::default(), together(client), Collect(&mut rows)).await?;
    Ok(rows)
}

fn ids(rows: &[Row]) -> BTreeSet<i64> {
    let ids: BTreeSet<i64> = rows.iter().map(|row| row.id).collect();
    assert_eq!(ids.len(), rows.len(), "an object was returned twice");
    ids
}

fn expected(sim: &Sim, object_type: u32) -> BTreeSet<i64> {
    sim.dump(object_type).iter().map(|object| object.id as i64).collect()
}

fn type_id(sim: &Sim, name: &str) -> u32 {
    sim.type_id(name).expect("a type")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_aql_does_not_know_for_a_type_is_found_out_and_no_other() {
    let knows = |name: &str| format!("(\"{name}\" is EMPTY OR \"{name}\" is not EMPTY)");
    for profile in PROFILES {
        let sim = sim(profile, 600);
        let client = client(&sim);
        let service = format!("objectTypeId = {}", type_id(&sim, "Service"));
        let names = ["Name", "Tier", "a_Name", "Nobody has this"].map(knows);
        // The hostile service calls its services' attributes differently.
        let wanted = if profile == Profile::Hostile { vec![0, 1, 3] } else { vec![2, 3] };
        assert_eq!(client.unmet(&service, &names).await.expect("an answer"), wanted, "{profile:?}");
        let nothing = format!("{service} AND Key = \"SVC-0\"");
        assert_eq!(client.unmet(&nothing, &names).await.expect("an answer"), [0; 0], "{profile:?}");
        sim.clear_log();
        let server = format!("objectTypeId = {}", type_id(&sim, "Server"));
        let names = ["Name", "Memory GB", "Tags", "Owner"].map(knows);
        assert_eq!(client.unmet(&server, &names).await.expect("an answer"), [0; 0], "{profile:?}");
        assert_eq!(client.unmet(&server, &names).await.expect("an answer"), [0; 0], "{profile:?}");
        assert_eq!(sim.log().len(), 1, "{profile:?}: one request, once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_object_is_returned_once_in_every_profile() {
    for profile in PROFILES {
        let sim = sim(profile, 6000);
        let client = client(&sim);
        for name in ["Server", "Employee", "Office"] {
            let id = type_id(&sim, name);
            let rows = rows(&client, &format!("objectTypeId = {id}"), &[ID]).await.expect("complete");
            assert_eq!(ids(&rows), expected(&sim, id), "{profile:?} {name}");
        }
        let all = rows_of_everything(&client).await;
        let counted = client.total_count("").await.expect("a count");
        assert_eq!(all as u64, counted, "{profile:?}");
    }
}

async fn rows_of_everything(client: &Arc<Client>) -> usize {
    ids(&rows(client, "", &[ID]).await.expect("complete")).len()
}

/// What a column over an attribute should hold.
fn wanted(kind: assets::model::Kind) -> Decode {
    use assets::model::Kind;
    match kind {
        Kind::Integer => Decode::Int,
        Kind::Double => Decode::Double,
        Kind::Boolean => Decode::Bool,
        Kind::Date => Decode::Date,
        Kind::Time => Decode::Time,
        Kind::DateTime => Decode::Timestamp,
        _ => Decode::Text,
    }
}

fn value_of(value: &DumpValue) -> Value {
    match value {
        DumpValue::Text { value } if value.is_empty() => Value::Null,
        DumpValue::Text { value } => Value::Text(value.as_str().into()),
        DumpValue::Integer { value } => Value::Int(*value),
        DumpValue::Double { value } => Value::Double(*value),
        DumpValue::Boolean { value } => Value::Bool(*value),
        DumpValue::Date { value } => Value::Date(*value as i32),
        DumpValue::Time { value } => Value::Time(i64::from(*value) * 1_000_000),
        DumpValue::DateTime { value } => Value::Timestamp(*value * 1000),
        DumpValue::Object { label, .. } if label.is_empty() => Value::Null,
        DumpValue::Object { label, .. } => Value::Text(label.as_str().into()),
        DumpValue::User { display_name, .. } => Value::Text(display_name.as_str().into()),
        DumpValue::Group { name } | DumpValue::Status { name, .. } => Value::Text(name.as_str().into()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_are_those_of_the_service_in_every_profile() {
    for profile in PROFILES {
        let sim = sim(profile, 2500);
        let client = client(&sim);
        for schema in client.schemas().await.expect("schemas").iter() {
            for object_type in client.types(schema.id).await.expect("types").iter() {
                let attributes = client.attributes(object_type.id).await.expect("attributes");
                let mut columns = vec![ID];
                for attribute in attributes.iter().filter(|a| !a.system) {
                    columns.push(ColumnSpec {
                        source: Source::Attribute {
                            id: attribute.id,
                            part: Part::Value,
                            kind: attribute.kind,
                        },
                        decode: wanted(attribute.kind),
                        array: attribute.multi,
                    });
                }
                let rows = rows(&client, &format!("objectTypeId = {}", object_type.id), &columns)
                    .await
                    .expect("complete");
                let dump: BTreeMap<i64, _> =
                    sim.dump(object_type.id as u32).into_iter().map(|o| (o.id as i64, o)).collect();
                assert_eq!(rows.len(), dump.len());
                for row in &rows {
                    let object = &dump[&row.id];
                    for (value, attribute) in
                        row.values[1..].iter().zip(attributes.iter().filter(|a| !a.system))
                    {
                        let held = object
                            .attributes
                            .iter()
                            .find(|a| i64::from(a.attribute_id) == attribute.id)
                            .map_or(&[][..], |a| &a.values[..]);
                        let list: Vec<Value> =
                            held.iter().map(value_of).filter(|v| *v != Value::Null).collect();
                        let expected = match (attribute.multi, list.is_empty()) {
                            (_, true) => Value::Null,
                            (true, false) => Value::Array(list),
                            (false, false) => list[0].clone(),
                        };
                        assert_eq!(
                            *value, expected,
                            "{profile:?} {} {} {}",
                            object_type.name, row.key, attribute.name
                        );
                    }
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_of_an_object_is_one_json_object_without_secrets() {
    for profile in PROFILES {
        let sim = sim(profile, 1000);
        let client = client(&sim);
        let column =
            ColumnSpec { source: Source::Field(Field::Attributes), decode: Decode::Json, array: false };
        let id = type_id(&sim, "Server");
        let rows = rows(&client, &format!("objectTypeId = {id}"), &[column]).await.expect("complete");
        assert!(!rows.is_empty());
        for row in rows {
            let Value::Json(json) = &row.values[0] else { panic!("{:?}", row.values) };
            let json: serde_json::Value = serde_json::from_str(json).expect("JSON");
            assert_eq!(json["Key"], serde_json::json!(&*row.key), "{profile:?}");
            let text = json.to_string();
            for word in ["mediaJwtToken", "avatarUrl", "url16", "mediaClientConfig"] {
                assert!(!text.contains(word), "{word} in {text}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_credential_finds_its_way() {
    let credentials: [fn() -> Credential; 5] = [
        classic,
        || Credential::Basic { email: "scoped@example.com".to_owned(), token: secret("scoped-token") },
        || Credential::Basic {
            email: "robot@serviceaccount.example.com".to_owned(),
            token: secret("service-token"),
        },
        || Credential::Bearer(secret("service-token")),
        || Credential::ClientCredentials { id: "sim-client".to_owned(), secret: secret("sim-secret") },
    ];
    for profile in PROFILES {
        let sim = sim(profile, 300);
        for credential in credentials {
            let client = client_with(config(&sim), credential());
            let shown = format!("{:?}", credential());
            assert!(
                client.total_count("").await.unwrap_or_else(|e| panic!("{profile:?} {shown}: {e:?}")) > 0
            );
            let before = client.stats().requests.load(Ordering::Relaxed);
            client.total_count("").await.expect("again");
            assert_eq!(client.stats().requests.load(Ordering::Relaxed), before + 1, "the way is remembered");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_token_is_named_without_being_shown() {
    let sim = sim(Profile::Documented, 300);
    let wrong = [
        Credential::Basic { email: "reader@example.com".to_owned(), token: secret("canary-secret") },
        Credential::Bearer(secret("canary-secret")),
        Credential::ClientCredentials { id: "sim-client".to_owned(), secret: secret("canary-secret") },
    ];
    for credential in wrong {
        let client = client_with(config(&sim), credential);
        let error = client.total_count("").await.expect_err("refused");
        assert_eq!(error.kind(), Kind::Unauthorized, "{error:?}");
        assert!(error.hint().is_some());
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        let steps = client.check().await;
        assert!(steps.iter().any(|step| step.status == Status::Fail && step.hint.is_some()), "{steps:#?}");
        assert!(!format!("{steps:?}").contains("canary"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_scope_is_named() {
    let sim = sim(Profile::Documented, 300);
    sim.switches(|s| {
        s.scopes = Some(vec!["read:cmdb-object:jira".into(), "read:servicedesk-request".into()]);
    });
    let credential =
        Credential::Basic { email: "scoped@example.com".to_owned(), token: secret("scoped-token") };
    let client = client_with(config(&sim), credential);
    let error = client.schemas().await.expect_err("no scope for schemas");
    assert_eq!(error.kind(), Kind::Unauthorized);
    assert!(error.hint().is_some_and(|hint| hint.contains("read:cmdb-schema:jira")), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_without_assets_says_what_it_needs() {
    let sim = sim(Profile::Documented, 10);
    sim.switches(|s| s.no_assets = true);
    let error = client(&sim).total_count("").await.expect_err("no workspace");
    assert_eq!(error.kind(), Kind::NoWorkspace);
    assert!(error.hint().is_some_and(|hint| hint.contains("Premium")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_expires_in_the_middle_of_a_scan_is_renewed_once() {
    let sim = sim(Profile::Documented, 6000);
    let credential =
        Credential::ClientCredentials { id: "sim-client".to_owned(), secret: secret("sim-secret") };
    let client = client_with(config(&sim), credential);
    let all = rows_of_everything(&client).await;
    sim.clear_log();
    sim.fault(Fault::new(FaultKind::ExpireTokens).on(Endpoint::ObjectAql).after(10).times(1));
    assert_eq!(rows_of_everything(&client).await, all);
    let renewals = sim.log().iter().filter(|entry| entry.endpoint == Endpoint::Token).count();
    assert_eq!(renewals, 1, "one renewal, whatever is under way");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_a_documented_service_gives_a_complete_result_or_an_error() {
    every_fault(Profile::Documented).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_a_lenient_service_gives_a_complete_result_or_an_error() {
    every_fault(Profile::Lenient).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_a_hostile_service_gives_a_complete_result_or_an_error() {
    every_fault(Profile::Hostile).await;
}

async fn every_fault(profile: Profile) {
    let faults = [
        FaultKind::Status { status: 500 },
        FaultKind::Status { status: 502 },
        FaultKind::Status { status: 503 },
        FaultKind::Status { status: 504 },
        FaultKind::Status { status: 418 },
        FaultKind::TooMany { retry_after: None },
        FaultKind::TooMany { retry_after: Some("1".into()) },
        FaultKind::Unauthorized,
        FaultKind::Redirect { location: "https://elsewhere.example/".into() },
        FaultKind::ResetBefore,
        FaultKind::ResetAfterHeaders,
        FaultKind::ResetInBody,
        FaultKind::ShortBody,
        FaultKind::StallBefore { ms: 1000 },
        FaultKind::StallInBody { ms: 1000 },
        FaultKind::Drip { bytes: 20_000, ms: 5 },
        FaultKind::TruncatedJson,
        FaultKind::InvalidJson,
        FaultKind::EmptyBody,
        FaultKind::Oversized { bytes: 9 << 20 },
        FaultKind::DeepJson { depth: 100_000 },
        FaultKind::WrongTypes,
        FaultKind::InvalidUtf8,
        FaultKind::DuplicateKeys,
        FaultKind::EndlessPage,
        FaultKind::DuplicatedObject,
        FaultKind::ShiftedPage,
        FaultKind::EmptyPage,
        FaultKind::LostTail,
    ];
    let label = ColumnSpec { source: Source::Field(Field::Label), decode: Decode::Text, array: false };
    {
        let sim = sim(profile, 2500);
        let id = type_id(&sim, "Server");
        let expected = expected(&sim, id);
        for fault in &faults {
            for (skip, times) in [(0, Some(1)), (2, Some(1)), (0, None), (3, None)] {
                let config = Config {
                    request_timeout: Duration::from_millis(500),
                    retry_timeout: Duration::from_millis(1500),
                    max_response_bytes: 8 << 20,
                    ..config(&sim)
                };
                let client = client_with(config, classic());
                sim.clear_faults();
                client.total_count("").await.expect("a way");
                let mut set = Fault::new(fault.clone()).on(Endpoint::ObjectAql).after(skip);
                set.times = times;
                sim.fault(set);
                let what = format!("{profile:?} {fault:?} after {skip} times {times:?}");
                match rows(&client, &format!("objectTypeId = {id}"), &[ID, label]).await {
                    Ok(rows) => assert_eq!(ids(&rows), expected, "{what}"),
                    Err(error) => assert!(!error.message().is_empty(), "{what}"),
                }
                sim.clear_faults();
                let rows = rows(&client, &format!("objectTypeId = {id}"), &[ID]).await;
                assert_eq!(ids(&rows.unwrap_or_else(|e| panic!("{what}: {e:?}"))), expected, "after {what}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passing_faults_are_survived() {
    let sim = sim(Profile::Documented, 3000);
    let id = type_id(&sim, "Server");
    let expected = expected(&sim, id);
    for fault in [
        FaultKind::Status { status: 503 },
        FaultKind::TooMany { retry_after: Some("0".into()) },
        FaultKind::ResetBefore,
        FaultKind::ResetInBody,
        FaultKind::ShortBody,
        FaultKind::TruncatedJson,
    ] {
        let client = client(&sim);
        sim.clear_faults();
        sim.fault(Fault::new(fault.clone()).on(Endpoint::ObjectAql).after(1).times(1));
        let rows = rows(&client, &format!("objectTypeId = {id}"), &[ID]).await;
        assert_eq!(ids(&rows.unwrap_or_else(|e| panic!("{fault:?}: {e:?}"))), expected, "{fault:?}");
        assert_eq!(client.stats().retries.load(Ordering::Relaxed), 1, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_check_is_all_ok_where_all_is_well_and_tells_where_not() {
    for profile in PROFILES {
        let sim = sim(profile, 300);
        let steps = client(&sim).check().await;
        for step in &steps {
            // The simulator speaks no TLS and need not tell the time.
            let fine = step.status == Status::Ok
                || (step.status == Status::Skip && ["tls", "clock"].contains(&&*step.step));
            assert!(fine, "{profile:?} {step:?}");
        }
        assert!(steps.len() >= 15, "{steps:#?}");
    }
    let gone = {
        let sim = sim(Profile::Documented, 10);
        config(&sim)
    };
    let steps = client_with(gone, classic()).check().await;
    assert!(steps.iter().any(|s| s.step == "connection" && s.status == Status::Fail), "{steps:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_requests_are_under_way_than_allowed_and_a_reader_that_leaves_stops_them() {
    let sim = sim_with(Options { objects: 20_000, latency: Duration::from_millis(5), ..Options::default() });
    let client = client_with(Config { max_in_flight: 4, ..config(&sim) }, classic());
    client.total_count("").await.expect("a way");
    sim.clear_log();
    rows_of_everything(&client).await;
    assert_eq!(sim.max_in_flight(), 4, "the count is one of them");

    struct Leave(u32);
    impl PageSink for Leave {
        async fn send(&mut self, _: Page) -> Result<(), Closed> {
            self.0 += 1;
            if self.0 > 3 { Err(Closed) } else { Ok(()) }
        }
    }
    sim.clear_log();
    let spec = ScanSpec {
        filter: String::new(),
        columns: [ID].as_slice().into(),
        limit: None,
        most: None,
        expected: None,
    };
    let stats = Arc::new(ScanStats::default());
    assert_eq!(scan(client.clone(), spec, stats.clone(), together(&client), Leave(0)).await, Ok(()));
    assert!(stats.requests.load(Ordering::Relaxed) <= 12, "{stats:?}");
}

/// `maxResults` of each search.
fn asked(sim: &Sim) -> Vec<u64> {
    let log = sim.log();
    log.iter()
        .filter(|entry| entry.endpoint == Endpoint::ObjectAql)
        .filter_map(|entry| entry.max_results)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_page_of_large_objects_is_given_up_before_it_is_read_and_the_next_scans_fits() {
    let options = Options { objects: 4000, object_bytes: Some(100_000), page_cap: 0, ..Options::default() };
    let sim = sim_with(options);
    let laptop = type_id(&sim, "Laptop");
    let (filter, expected) = (format!("objectTypeId = {laptop}"), expected(&sim, laptop));
    assert!(expected.len() > 500, "{}", expected.len());
    let name = sim.attributes(laptop).iter().find(|a| a.name == "Name").expect("a name").id;
    let source =
        Source::Attribute { id: i64::from(name), part: Part::Value, kind: assets::model::Kind::Text };
    let columns = [ID, ColumnSpec { source, decode: Decode::Text, array: false }];
    let client = client(&sim);
    client.total_count("").await.expect("a way");
    sim.clear_log();
    assert_eq!(ids(&rows(&client, &filter, &columns).await.expect("rows")), expected);
    let first = asked(&sim);
    assert_eq!(first[0], 500, "{first:?}");
    assert!(first[1..].iter().all(|size| (50..=70).contains(size)), "{first:?}");
    // 50 MB were announced and not read.
    let read = client.stats().bytes.load(Ordering::Relaxed);
    assert!(read < expected.len() as u64 * 110_000, "{read} bytes for {} objects", expected.len());
    sim.clear_log();
    assert_eq!(ids(&rows(&client, &filter, &columns).await.expect("rows")), expected);
    let second = asked(&sim);
    assert!(second.iter().all(|size| (50..=70).contains(size)), "{second:?}");
    assert_eq!(second.len(), first.len() - 1);
    // What is small is not asked for in parts for that.
    sim.clear_log();
    assert_eq!(ids(&rows(&client, &filter, &[ID]).await.expect("rows")), expected);
    assert_eq!(asked(&sim)[0], 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_become_too_long_in_the_middle_of_a_scan_are_asked_for_again_in_parts() {
    let sim = sim(Profile::Documented, 6000);
    let id = type_id(&sim, "Server");
    let (filter, expected) = (format!("objectTypeId = {id}"), expected(&sim, id));
    let pages = expected.len().div_ceil(99);
    // Long for any number of objects: only a page of two is read to its end.
    sim.fault(Fault::new(FaultKind::Oversized { bytes: 20 << 20 }).on(Endpoint::ObjectAql).after(4).times(3));
    let client = client(&sim);
    client.total_count("").await.expect("a way");
    sim.clear_log();
    assert_eq!(ids(&rows(&client, &filter, &[ID]).await.expect("rows")), expected);
    let asked = asked(&sim);
    assert!(asked.iter().any(|size| *size <= 250), "{asked:?}");
    assert!(asked.len() <= pages + 16, "{pages} pages: {asked:?}");
    assert!(client.stats().bytes.load(Ordering::Relaxed) < 20 << 20, "one of them was read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_beyond_max_response_bytes_is_asked_for_in_parts_and_one_object_beyond_it_is_an_error() {
    let options = Options { objects: 1000, object_bytes: Some(30_000), page_cap: 0, ..Options::default() };
    let sim = sim_with(options);
    let laptop = type_id(&sim, "Laptop");
    let filter = format!("objectTypeId = {laptop}");
    let all = [ColumnSpec { source: Source::Field(Field::Attributes), decode: Decode::Json, array: false }];
    let client_of = |most| client_with(Config { max_response_bytes: most, ..config(&sim) }, classic());
    let found = rows(&client_of(1 << 20), &filter, &all).await.expect("rows");
    assert_eq!(ids(&found), expected(&sim, laptop));
    let error = rows(&client_of(20 << 10), &filter, &all).await.expect_err("too large");
    assert_eq!(error.kind(), Kind::TooLarge, "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_endpoint_is_waited_for_as_long_as_it_asks_and_never_beyond_retry_timeout() {
    let sim = sim(Profile::Documented, 300);
    let client = || {
        let credential =
            Credential::ClientCredentials { id: "sim-client".to_owned(), secret: secret("sim-secret") };
        let config = Config { retry_timeout: Duration::from_secs(5), ..config(&sim) };
        client_with(config, credential)
    };
    let tokens = || {
        let log = sim.log();
        let asked = log.iter().filter(|entry| entry.endpoint == Endpoint::Token);
        asked.map(|entry| entry.started).collect::<Vec<_>>()
    };
    let fault = |retry_after: &str| {
        let what = FaultKind::TooMany { retry_after: Some(retry_after.to_owned()) };
        Fault::new(what).on(Endpoint::Token)
    };
    sim.fault(fault("1").times(1));
    client().total_count("").await.expect("a count");
    let asked = tokens();
    assert!(asked[1].duration_since(asked[0]) >= Duration::from_secs(1), "{asked:?}");
    sim.clear_log();
    sim.fault(fault("30"));
    let begun = std::time::Instant::now();
    let error = client().total_count("").await.expect_err("no token");
    assert_eq!(error.kind(), Kind::RateLimited, "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(tokens().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_is_counted_whatever_it_is_for() {
    for profile in PROFILES {
        let sim = sim(profile, 300);
        let credential =
            Credential::ClientCredentials { id: "sim-client".to_owned(), secret: secret("sim-secret") };
        let client = client_with(config(&sim), credential);
        client.total_count("").await.expect("a count");
        let log = sim.log();
        assert!(log.iter().any(|entry| entry.endpoint == Endpoint::Token), "{log:?}");
        let stats = client.stats();
        assert_eq!(stats.requests.load(Ordering::Relaxed), log.len() as u64, "{profile:?}");
        // The second form of a token request is another request, not the same one again.
        assert_eq!(stats.retries.load(Ordering::Relaxed), 0, "{profile:?}");
        let bytes: u64 = log.iter().map(|entry| entry.bytes).sum();
        // The hostile service compresses; bytes are counted as they are read.
        assert!(stats.bytes.load(Ordering::Relaxed) >= bytes, "{profile:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_that_the_service_refuses_is_an_error_that_says_why() {
    for profile in PROFILES {
        let sim = sim(profile, 300);
        let error = rows(&client(&sim), "\"No such attribute\" = 1", &[ID]).await.expect_err("refused");
        assert_eq!(error.kind(), Kind::AqlRejected, "{error:?}");
        assert!(error.message().contains("No such attribute"), "{error:?}");
    }
}
