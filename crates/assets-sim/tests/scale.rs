//! A million objects start at once, page deep, and do not fill the memory.

mod support;

use std::time::{Duration, Instant};

use assets_sim::Profile;
use support::{Client, start};

fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / 1024
}

#[test]
fn a_million_objects_cost_no_memory_and_windows_of_them_no_search() {
    let began = Instant::now();
    let sim = start(1_000_000, Profile::Documented);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let client = Client::new(&sim);
    assert_eq!(client.count("objectTypeId = 11"), 180_000);
    let began = Instant::now();
    let mut seen = 0;
    for low in (500_000..520_000).step_by(500) {
        seen += client
            .page(&format!("objectTypeId = 11 and objectId >= {low} and objectId <= {}", low + 499), 0, 100)
            .len();
    }
    assert!(seen > 3000 && began.elapsed() < Duration::from_secs(10), "{seen} in {:?}", began.elapsed());
    let query = "objectTypeId = 11 order by objectId";
    assert_eq!(client.page(query, 179_990, 100).len(), 10);
    let began = Instant::now();
    for start in (100_000..102_000).step_by(100) {
        assert_eq!(client.page(query, start, 100).len(), 100);
    }
    assert!(began.elapsed() < Duration::from_secs(10), "deep pages search again: {:?}", began.elapsed());
    assert!(resident_mb() < 300, "{} MB", resident_mb());
}
