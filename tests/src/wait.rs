//! Waiting for something to become true.

use std::fs;
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

/// Whether a process exists and is not just waiting to be reaped, for which not every container has somebody.
pub fn is_running(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z')))
}
