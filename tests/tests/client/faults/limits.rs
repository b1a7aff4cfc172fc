//! The service's limit, and our own.

use std::time::{Duration, Instant};

use assets_fdw_tests::assets_sim::Options;

use crate::live::{Live, PROFILES, one, refused};

#[test]
fn the_services_limit_slows_a_scan_down_and_does_not_break_it() {
    for profile in PROFILES {
        let live = Live::imported(profile, 3000);
        let servers = live.sim.count(live.sim.type_id("Server").unwrap()) as i64;
        let mut client = live.connect();
        one::<i64>(&mut client, "SELECT count(*) FROM itsm.server");
        live.sim.switches(|s| {
            s.aql_per_window = 3;
            s.rate_window_ms = 2000;
        });
        assert_eq!(one::<i64>(&mut client, "SELECT count(name) FROM itsm.server"), servers, "{profile:?}");
        // A service that tells how many are left is not asked for more than that.
        let tells = live.sim.current_switches().rate_headers;
        let refused = live.sim.log().iter().any(|entry| entry.status == 429);
        assert!(refused || tells, "{profile:?}: never limited");
    }
}

#[test]
fn our_own_limit_is_kept() {
    let live = Live::start(Options { objects: 3000, ..Options::default() });
    live.import();
    let mut client = live.connect();
    client
        .batch_execute("ALTER SERVER assets OPTIONS (SET requests_per_minute '4', ADD retry_timeout '1s')")
        .unwrap();
    live.sim.clear_log();
    let started = Instant::now();
    let refusal = refused(&mut client, "SELECT name FROM itsm.server");
    assert_eq!(refusal.code, "53400", "{refusal:?}");
    assert!(!refusal.hint.is_empty(), "{refusal:?}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let searches = live.searches().len();
    assert!((3..=4).contains(&searches), "{searches}");
}
