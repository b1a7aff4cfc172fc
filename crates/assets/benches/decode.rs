//! What decoding costs on one core: pages of the simulator, read into three and into ten columns. `make bench` runs it
//! optimised. Each figure is the median of several rounds, taken in turns so that a disturbance meets all of them.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use assets::value::{ColumnSpec, Decode, Field, Page, Part, Source};
use assets_sim::{Kind, Options, Sim};

/// Objects on a page, as `page_size` has it.
const PAGE: u32 = 500;
const ROUNDS: usize = 9;
/// How long one case is decoded in a round.
const SLICE: Duration = Duration::from_millis(150);

struct Case {
    name: String,
    goal: Option<u32>,
    page: Vec<u8>,
    columns: Arc<[ColumnSpec]>,
}

fn main() {
    let mut cases = Vec::new();
    let sim =
        Sim::start(Options { page_cap: 0, objects: 20_000, ..Options::default() }).expect("a simulator");
    // Laptops have ten attributes besides key, created and updated; servers have twenty-one.
    for (name, goals) in [("Laptop", [Some(150_000), Some(50_000)]), ("Server", [None, None])] {
        let type_id = sim.type_id(name).expect("a type");
        let columns = columns(&sim, type_id);
        let (bare, full) = (fetch(&sim, type_id, false), fetch(&sim, type_id, true));
        let mut case = |what: &str, goal, page: &Vec<u8>, columns: &[ColumnSpec]| {
            cases.push(Case {
                name: format!("{name}: {what}"),
                goal,
                page: page.clone(),
                columns: columns.into(),
            });
        };
        case("3 columns", goals[0], &full, &columns[..3]);
        case("10 columns", goals[1], &full, &columns[..10]);
        case("id, key, label (no attributes asked for)", None, &bare, &fixed());
    }
    let mut rates: Vec<Vec<f64>> = cases.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for (case, rates) in cases.iter().zip(&mut rates) {
            rates.push(round(case));
        }
    }
    println!("decoding, one core, pages of {PAGE} objects, median of {ROUNDS} rounds");
    println!("{:<50} {:>9} {:>10} {:>9} {:>9}", "case", "bytes", "objects/s", "MB/s", "goal");
    for (case, rates) in cases.iter().zip(&mut rates) {
        rates.sort_by(f64::total_cmp);
        let rate = rates[ROUNDS / 2];
        let bytes = case.page.len() / PAGE as usize;
        let goal = case.goal.map_or(String::new(), |goal| goal.to_string());
        println!("{:<50} {bytes:>9} {rate:>10.0} {:>9.0} {goal:>9}", case.name, rate * bytes as f64 / 1e6);
    }
}

/// Objects a second.
fn round(case: &Case) -> f64 {
    let begun = Instant::now();
    let mut objects = 0;
    while begun.elapsed() < SLICE {
        let page = Page::read(&case.page, &case.columns).expect("a good page");
        objects += std::hint::black_box(page).rows.len();
    }
    objects as f64 / begun.elapsed().as_secs_f64()
}

fn fixed() -> Vec<ColumnSpec> {
    [(Field::Id, Decode::Int), (Field::Key, Decode::Text), (Field::Label, Decode::Text)]
        .map(|(field, decode)| ColumnSpec { source: Source::Field(field), decode, array: false })
        .into()
}

/// Columns over a type's attributes, as an imported table has them.
fn columns(sim: &Sim, type_id: u32) -> Vec<ColumnSpec> {
    let attributes = sim.attributes(type_id);
    let columns = attributes.iter().filter(|a| !a.system).map(|attribute| ColumnSpec {
        source: Source::Attribute {
            id: i64::from(attribute.id),
            part: Part::Value,
            kind: assets::model::Kind::Text,
        },
        decode: match attribute.kind {
            Kind::Integer => Decode::Int,
            Kind::Double => Decode::Double,
            Kind::Boolean => Decode::Bool,
            Kind::Date => Decode::Date,
            Kind::DateTime => Decode::Timestamp,
            _ => Decode::Text,
        },
        array: attribute.maximum != 1,
    });
    columns.collect()
}

fn fetch(sim: &Sim, type_id: u32, with_attributes: bool) -> Vec<u8> {
    let identity = &sim.identities()[0];
    let url = format!(
        "{}/object/aql?startAt=0&maxResults={PAGE}&includeAttributes={with_attributes}",
        sim.gateway()
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let answer = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client")
            .post(url)
            .basic_auth(identity.name, Some(identity.secret))
            .header("Content-Type", "application/json")
            .body(serde_json::json!({ "qlQuery": format!("objectTypeId = {type_id}") }).to_string())
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 200);
        answer.bytes().await.expect("a body").to_vec()
    })
}
