//! Whether and when a failed read is sent again: a pure decision (assets-api.md 5, "Client
//! policy").

use std::time::Duration;

/// How a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The service answered with this status.
    Status(u16),
    /// No connection came about.
    Connect,
    /// The connection broke, or the body did.
    Broken,
    /// No answer within `request_timeout`.
    Timeout,
    /// The body was whole and not JSON.
    Unreadable,
}

/// Everything the decision rests on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Situation {
    pub(crate) trouble: Trouble,
    /// How often the request has failed, this time included.
    pub(crate) failures: u32,
    /// Since the request was first wanted.
    pub(crate) elapsed: Duration,
    /// `retry_timeout`.
    pub(crate) limit: Duration,
    /// What the service asked for: `Retry-After`, else `X-RateLimit-Reset`.
    pub(crate) asked: Option<Duration>,
    /// 0 to 1.
    pub(crate) jitter: f64,
}

const LONGEST: Duration = Duration::from_secs(60);

/// How long to wait before the next try; none: give up.
pub(crate) fn decide(situation: &Situation) -> Option<Duration> {
    let Situation { trouble, failures, elapsed, limit, asked, jitter } = *situation;
    let (first, tries) = match trouble {
        // How everybody waits is the limit's to decide (`commons::limits`); one request that is refused again
        // and again, while others are answered, waits by itself too.
        Trouble::Status(429 | 503) if asked.is_none() && failures <= 1 => (Duration::ZERO, u32::MAX),
        Trouble::Status(429 | 503) => (Duration::from_millis(125), u32::MAX),
        Trouble::Status(502 | 504) => (Duration::from_secs(1), u32::MAX),
        Trouble::Status(500) => (Duration::from_secs(1), 3),
        Trouble::Status(_) => return None,
        // Refused connections and failed name lookups seldom heal within minutes, and somebody
        // may be waiting for a typo's error.
        Trouble::Connect => (Duration::from_millis(250), 5),
        Trouble::Broken => (Duration::from_millis(250), 8),
        Trouble::Timeout => (Duration::from_secs(1), 3),
        Trouble::Unreadable => (Duration::from_millis(250), 4),
    };
    if failures >= tries {
        return None;
    }
    let doubled = first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    let backoff = doubled.min(LONGEST).mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
    let wait = match asked {
        // All that wait for the same moment do not come back in the same instant.
        Some(asked) => asked.max(Duration::from_millis(100)) + Duration::from_millis((jitter * 500.0) as u64),
        None => backoff,
    };
    // Others may have to pause for a second, which is waited for elsewhere.
    let needs = match trouble {
        Trouble::Status(429 | 503) => wait.max(Duration::from_secs(1)),
        _ => wait,
    };
    (elapsed.saturating_add(needs) <= limit).then_some(wait)
}

/// A page of fewer objects, instead of the same page again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Smaller {
    /// So many times fewer.
    pub(crate) by: u32,
    /// The service says that it was too much, or took too long; else it is a guess.
    pub(crate) sure: bool,
    /// To wait before.
    pub(crate) wait: Duration,
}

/// A 504 that took this long is about the query; one that comes at once may be anything.
const LONG: Duration = Duration::from_secs(5);

/// Whether a page that failed is to be asked for with fewer objects. What took long leaves time for a few
/// more attempts only, so these go further down; and one more than that is made.
pub(crate) fn smaller(situation: &Situation, took: Duration) -> Option<Smaller> {
    let Situation { trouble, failures, elapsed, limit, .. } = *situation;
    let by_time = match took {
        _ if took * 4 >= limit => 8,
        _ if took * 8 >= limit => 4,
        _ => 2,
    };
    let (after, by, sure) = match trouble {
        Trouble::Status(413) => (1, 2, true),
        Trouble::Timeout => (1, by_time, true),
        Trouble::Status(504) => (if took >= LONG { 1 } else { 2 }, by_time, true),
        // Likelier an outage, until smaller ones go through.
        Trouble::Status(502 | 503) => (3, 4, false),
        Trouble::Status(500) | Trouble::Broken | Trouble::Unreadable => (3, 8, false),
        Trouble::Status(_) | Trouble::Connect => return None,
    };
    if failures < after || elapsed > limit.saturating_add(took) {
        return None;
    }
    let wait = match trouble {
        Trouble::Status(413) => Duration::ZERO,
        Trouble::Status(502 | 503) => decide(situation)?,
        _ => Duration::from_millis(250),
    };
    Some(Smaller { by, sure, wait })
}

impl Trouble {
    /// Whether it may be the query's fault: nobody says that it is not.
    pub(crate) fn may_be_the_query(self) -> bool {
        match self {
            // The credential, the address, or how often it is asked.
            Trouble::Status(400 | 401 | 404 | 407 | 408 | 429) | Trouble::Connect => false,
            Trouble::Status(status) => status >= 400,
            Trouble::Broken | Trouble::Timeout | Trouble::Unreadable => true,
        }
    }
}

/// A number from 0 to 1 that differs from call to call and process to process.
pub(crate) fn jitter() -> f64 {
    use std::hash::{BuildHasher, Hasher};
    let bits = std::hash::RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn case(trouble: Trouble, failures: u32, elapsed: u64, asked: Option<u64>) -> Option<u128> {
        let situation = Situation {
            trouble,
            failures,
            elapsed: ms(elapsed),
            limit: ms(120_000),
            asked: asked.map(ms),
            jitter: 1.0,
        };
        decide(&situation).map(|wait| wait.as_millis())
    }

    #[test]
    fn the_decision_table() {
        use Trouble::*;
        let table = [
            (Status(429), 1, 0, None, Some(0)),
            (Status(429), 2, 0, None, Some(250)),
            (Status(429), 4, 0, None, Some(1000)),
            (Status(503), 3, 0, None, Some(500)),
            (Status(429), 30, 0, None, Some(60_000)),
            (Status(429), 2, 100_000, Some(5000), Some(5500)),
            (Status(429), 2, 100_000, Some(30_000), None),
            (Status(503), 1, 0, Some(0), Some(600)),
            (Status(503), 4, 119_500, None, None),
            (Status(502), 2, 0, None, Some(2000)),
            (Status(504), 1, 0, None, Some(1000)),
            (Status(500), 1, 0, None, Some(1000)),
            (Status(500), 2, 0, None, Some(2000)),
            (Status(500), 3, 0, None, None),
            (Status(400), 1, 0, None, None),
            (Status(401), 1, 0, None, None),
            (Status(404), 1, 0, Some(1), None),
            (Connect, 1, 0, None, Some(250)),
            (Connect, 4, 0, None, Some(2000)),
            (Connect, 5, 0, None, None),
            (Broken, 1, 0, None, Some(250)),
            (Broken, 8, 0, None, None),
            (Timeout, 2, 0, None, Some(2000)),
            (Timeout, 3, 0, None, None),
            (Unreadable, 3, 0, None, Some(1000)),
            (Unreadable, 4, 0, None, None),
        ];
        for (trouble, failures, elapsed, asked, wait) in table {
            assert_eq!(
                case(trouble, failures, elapsed, asked),
                wait,
                "{trouble:?} {failures} {elapsed} {asked:?}"
            );
        }
    }

    #[test]
    fn no_wait_outlasts_the_limit() {
        for failures in 1..80 {
            for elapsed in [0, 1_000, 60_000, 119_999, 120_000, 500_000] {
                if let Some(wait) = case(Trouble::Status(429), failures, elapsed, None) {
                    assert!(u128::from(elapsed) + wait <= 120_000);
                }
            }
        }
    }

    #[test]
    fn a_page_becomes_smaller_where_its_size_may_be_to_blame_and_before_time_is_up() {
        use Trouble::*;
        let table = [
            (Status(413), 1, 0, 100, Some((2, true))),
            (Timeout, 1, 60_000, 60_000, Some((8, true))),
            (Timeout, 3, 180_000, 60_000, Some((8, true))),
            (Timeout, 4, 181_000, 60_000, None),
            (Timeout, 1, 2_000, 2_000, Some((2, true))),
            (Status(504), 1, 100, 100, None),
            (Status(504), 2, 1_200, 100, Some((2, true))),
            (Status(504), 1, 20_000, 20_000, Some((4, true))),
            (Status(503), 2, 1_000, 100, None),
            (Status(503), 3, 3_000, 100, Some((4, false))),
            (Status(503), 9, 119_900, 100, None),
            (Status(500), 3, 3_000, 100, Some((8, false))),
            (Broken, 3, 1_000, 100, Some((8, false))),
            (Status(429), 9, 1_000, 100, None),
            (Status(403), 9, 1_000, 100, None),
            (Connect, 4, 1_000, 100, None),
        ];
        for (trouble, failures, elapsed, took, wanted) in table {
            let situation = Situation {
                trouble,
                failures,
                elapsed: ms(elapsed),
                limit: ms(120_000),
                asked: None,
                jitter: 1.0,
            };
            let found = smaller(&situation, ms(took)).map(|smaller| (smaller.by, smaller.sure));
            assert_eq!(found, wanted, "{trouble:?} {failures} {elapsed} {took}");
        }
    }

    #[test]
    fn jitter_is_a_share() {
        let samples: Vec<f64> = (0..100).map(|_| jitter()).collect();
        assert!(samples.iter().all(|j| (0.0..1.0).contains(j)));
        assert!(samples.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
