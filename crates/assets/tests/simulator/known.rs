//! What one client has found out, others of its identity need not ask for.

use super::*;

/// Clients that share what they know, as sessions of a server do.
struct Sharers(Arc<Private>);

impl Sharers {
    fn new() -> Self {
        Self(Arc::new(Private::with_shelf().expect("random numbers")))
    }

    fn client(&self, config: Config, credential: Credential) -> Arc<Client> {
        Arc::new(Client::new(config, credential, self.0.clone()).expect("a client"))
    }
}

fn scoped() -> Credential {
    Credential::Basic { email: "scoped@example.com".to_owned(), token: secret("scoped-token") }
}

async fn ask_for_everything(client: &Arc<Client>, object_type: i64) -> u64 {
    let schemas = client.schemas().await.expect("schemas");
    for schema in schemas.iter() {
        client.types(schema.id).await.expect("types");
    }
    client.object_type(object_type).await.expect("the type");
    let attributes = client.attributes(object_type).await.expect("attributes");
    assert!(attributes.len() > 3);
    let count = format!("objectTypeId = {object_type}");
    match client.cached_count(&count) {
        Some(count) => count,
        None => client.total_count(&count).await.expect("a count"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_client_has_asked_for_no_other_of_its_identity_asks_for_again() {
    for (profile, credential) in [
        (Profile::Documented, classic as fn() -> Credential),
        (Profile::Lenient, classic),
        (Profile::Documented, scoped),
    ] {
        let sim = sim(profile, 600);
        let server = i64::from(type_id(&sim, "Server"));
        let sharers = Sharers::new();
        let first = ask_for_everything(&sharers.client(config(&sim), credential()), server).await;
        sim.clear_log();
        let second = sharers.client(config(&sim), credential());
        assert_eq!(ask_for_everything(&second, server).await, first);
        assert_eq!(sim.log().len(), 0, "{profile:?}");
        let rows = rows(&second, &format!("objectTypeId = {server} AND Key = \"SRV-1\""), &[ID]).await;
        rows.expect("an answer");
        assert_eq!(sim.log().len(), 1, "{profile:?}: nothing but the page");

        // Another secret, and other options, are somebody else's.
        let other =
            Credential::Basic { email: "other@example.com".to_owned(), token: secret("classic-token") };
        assert_eq!(sharers.client(config(&sim), other).cached_types(1), None);
        let elsewhere = Config { cloud_id: Some("another".to_owned()), ..config(&sim) };
        assert_eq!(sharers.client(elsewhere, credential()).cached_attributes(server), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_for_anew_is_not_taken_from_others_and_is_theirs_then() {
    let sim = sim(Profile::Documented, 600);
    let server = i64::from(type_id(&sim, "Server"));
    let sharers = Sharers::new();
    let first = sharers.client(config(&sim), classic());
    ask_for_everything(&first, server).await;
    let schema = first.object_type(server).await.expect("the type").schema_id;
    let moment = tokio::time::Instant::now();
    for everything in [false, true] {
        let second = sharers.client(config(&sim), classic());
        sim.clear_log();
        match everything {
            true => second.forget_metadata(),
            false => drop(second.types_anew(schema).await.expect("types")),
        }
        drop(second.types(schema).await.expect("types"));
        assert_eq!(sim.log().len(), 1);
    }
    let third = sharers.client(config(&sim), classic());
    sim.clear_log();
    drop(third.types_as_of(schema, moment).await.expect("types"));
    assert_eq!(sim.log().len(), 0, "it was asked for since");
    let since = third.known_since(Some(schema), &[]).expect("it is known");
    assert!(since >= moment && since <= tokio::time::Instant::now());
    drop(third.types_as_of(schema, tokio::time::Instant::now()).await.expect("types"));
    assert_eq!(sim.log().len(), 1, "it was not asked for since");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_that_leads_nowhere_any_more_is_found_anew_by_the_same_request() {
    let sim = sim(Profile::Documented, 600);
    let sharers = Sharers::new();
    let first = sharers.client(config(&sim), classic());
    let before = first.schemas().await.expect("schemas");
    sim.switches(|switches| switches.restored = true);
    let second = sharers.client(config(&sim), classic());
    second.forget_metadata();
    assert_eq!(second.schemas().await.expect("the new workspace"), before);
    let third = sharers.client(config(&sim), classic());
    third.forget_metadata();
    sim.clear_log();
    third.schemas().await.expect("schemas");
    assert_eq!(sim.log().len(), 1, "the new way is everybody's");
    // Where something is really not there, the way is looked for once.
    let fourth = sharers.client(config(&sim), classic());
    let mut asked = Vec::new();
    for _ in 0..2 {
        sim.clear_log();
        let error = fourth.object_type(999_999).await.expect_err("no such type");
        assert_eq!(error.kind(), Kind::NotFound);
        asked.push(sim.log().len());
    }
    assert!(asked[0] <= 4 && asked[1] == 1, "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_for_before_is_no_newer_for_arriving_later() {
    let sim = sim_with(Options { objects: 600, latency: Duration::from_millis(400), ..Options::default() });
    let server = i64::from(type_id(&sim, "Server"));
    let sharers = Sharers::new();
    let first = sharers.client(config(&sim), classic());
    let schema = first.object_type(server).await.expect("the type").schema_id;
    let asking = tokio::spawn({
        let first = first.clone();
        async move { first.types(schema).await.map(drop) }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let moment = tokio::time::Instant::now();
    asking.await.expect("a task").expect("types");
    for client in [first, sharers.client(config(&sim), classic())] {
        let since = client.known_since(Some(schema), &[]);
        assert!(since.is_none_or(|since| since < moment));
        sim.clear_log();
        client.types_as_of(schema, moment).await.expect("types");
        let anew = client.known_since(Some(schema), &[]).expect("it is known");
        assert!(anew >= moment);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_remembers_of_its_way_holds_whatever_others_have_found_out() {
    let sim = sim(Profile::Documented, 600);
    let sharers = Sharers::new();
    let first = sharers.client(config(&sim), classic());
    first.schemas().await.expect("schemas");
    let memory = first.memory();
    sim.switches(|switches| switches.restored = true);
    // Nobody has found the new workspace yet; then somebody has.
    for found in [false, true] {
        if found {
            let other = sharers.client(config(&sim), classic());
            other.forget_metadata();
            other.schemas().await.expect("the new workspace");
        }
        let bound = sharers.client(config(&sim), classic());
        assert!(bound.remember(&memory));
        bound.forget_metadata();
        assert_eq!(bound.schemas().await.expect_err("it is gone").kind(), Kind::NotFound, "{found}");
        // Nor are others led there.
        let other = sharers.client(config(&sim), classic());
        other.forget_metadata();
        other.schemas().await.expect("the new workspace");
    }
}
