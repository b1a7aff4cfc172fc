//! Waiting for something to become true.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Asks `condition` again and again, first every millisecond and then less often, until it is true.
///
/// Panics with `what` when it is still false after `timeout`.
#[track_caller]
pub fn wait_until(what: &str, timeout: Duration, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    let mut pause = Duration::from_millis(1);
    while !condition() {
        assert!(started.elapsed() < timeout, "still waiting after {timeout:?}: {what}");
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(25));
    }
}
