//! How long 127 pages take of a service that answers 429 now and then, without saying for how long, and of one that bears
//! four requests at once: 50 ms a response, eight in flight. `make bench` runs it optimised.

#![forbid(unsafe_code)]

use std::env;
use std::sync::Arc;
use std::time::{Duration, Instant};

use assets::client::Client;
use assets::config::{Config, Credential, Deployment, Secret, SecretSource};
use assets::scan::{Closed, PageSink, scan};
use assets::shared::Private;
use assets::stats::ScanStats;
use assets::together::Together;
use assets::value::{ColumnSpec, Decode, Field, Page, ScanSpec, Source};
use assets_sim::{Endpoint, Fault, FaultKind, Options, Sim};

const NAME: &str = "moods";

struct Count(usize);

impl PageSink for &mut Count {
    async fn send(&mut self, page: Page) -> Result<(), Closed> {
        self.0 += page.rows.len();
        Ok(())
    }
}

fn client(sim: &Sim) -> Arc<Client> {
    let config = Config {
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
        request_timeout: Duration::from_secs(60),
        retry_timeout: Duration::from_secs(120),
        max_response_bytes: 64 << 20,
    };
    let token = SecretSource::Inline(Secret::new("classic-token".to_owned()));
    let credential = Credential::Basic { email: "reader@example.com".to_owned(), token };
    let shared = Arc::new(Private::new().expect("random numbers"));
    Arc::new(Client::new(config, credential, shared).expect("a client"))
}

fn main() {
    let wanted = env::args().skip(1).find(|argument| !argument.starts_with("--"));
    if wanted.is_some_and(|wanted| !NAME.contains(&wanted)) {
        return;
    }
    let options =
        Options { objects: 70_300, page_cap: 100, latency: Duration::from_millis(50), ..Options::default() };
    let sim = Sim::start(options).expect("a simulator");
    let network = tokio::runtime::Runtime::new().expect("a runtime");
    let filter = format!("objectTypeId = {}", sim.type_id("Server").expect("servers"));
    let id = ColumnSpec { source: Source::Field(Field::Id), decode: Decode::Int, array: false };
    for (what, share, bears) in
        [("calm", 0.0, 0), ("2 %", 0.02, 0), ("5 %", 0.05, 0), ("10 %", 0.1, 0), ("4 at once", 0.0, 4)]
    {
        sim.clear_faults();
        sim.switches(|switches| switches.bears_in_flight = bears);
        if share > 0.0 {
            let fault = Fault::new(FaultKind::TooMany { retry_after: None });
            sim.fault(fault.on(Endpoint::ObjectAql).sometimes(share, 7));
        }
        let client = client(&sim);
        network.block_on(client.total_count(&filter)).expect("a count");
        sim.clear_log();
        let spec = ScanSpec {
            filter: filter.clone(),
            columns: Arc::from([id]),
            limit: None,
            most: None,
            expected: None,
        };
        let (mut count, begun) = (Count(0), Instant::now());
        let read = network.block_on(scan(
            client,
            spec,
            Arc::new(ScanStats::default()),
            Arc::new(Together::new(8)),
            &mut count,
        ));
        let took = begun.elapsed();
        let log = sim.log();
        let refused = log.iter().filter(|entry| entry.status == 429).count();
        let read = read.map_or_else(|error| error.to_string(), |_| format!("{} objects", count.0));
        println!("{NAME}, {what}: {took:.2?}, {} requests, {refused} refused, {read}", log.len());
    }
}
