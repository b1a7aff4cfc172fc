//! The request budget: at most so many requests in any 60 seconds for each endpoint
//! (assets-api.md 5), and the penalty after a 429.
//!
//! The decision is pure and never blocks; the client sleeps asynchronously and asks again, so
//! that an implementation may live in shared memory.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// What a request counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `POST object/aql`: `requests_per_minute`.
    ObjectAql,
    /// `POST object/aql/totalcount`: half of it, at most 500.
    TotalCount,
    /// Everything else: not counted, but a penalty holds it back too.
    Other,
}

impl Endpoint {
    /// All of them, in the order of [`Endpoint::index`].
    pub const ALL: [Endpoint; 3] = [Endpoint::ObjectAql, Endpoint::TotalCount, Endpoint::Other];

    /// A small number for tables by endpoint.
    pub fn index(self) -> usize {
        match self {
            Endpoint::ObjectAql => 0,
            Endpoint::TotalCount => 1,
            Endpoint::Other => 2,
        }
    }

    /// How many requests in any 60 seconds, given `requests_per_minute` (0: no limit of ours).
    pub fn allowance(self, requests_per_minute: u32) -> Option<u32> {
        match (self, requests_per_minute) {
            (_, 0) | (Endpoint::Other, _) => None,
            (Endpoint::ObjectAql, n) => Some(n),
            (Endpoint::TotalCount, n) => Some((n / 2).clamp(1, 500)),
        }
    }
}

/// The answer to one request for leave to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// Send now; it has been counted.
    Granted,
    /// Not now; ask again after so long. Nothing was counted.
    WaitFor(Duration),
}

/// Who grants requests. Shared by everything that uses the same origin, workspace and credential.
pub trait Budget: Send + Sync {
    /// Asks for leave to send one request. Never blocks.
    fn acquire(&self, endpoint: Endpoint) -> Leave;

    /// The service said 429: nobody sends to `endpoint` for `pause`.
    fn penalize(&self, endpoint: Endpoint, pause: Duration);
}

/// The window in which requests are counted. One second more than the service's minute, because
/// requests are counted here when they leave and there when they arrive.
pub const WINDOW: Duration = Duration::from_secs(61);

/// A sliding log in this process, on tokio's clock.
pub struct SlidingWindow {
    lanes: [Mutex<Lane>; 3],
}

struct Lane {
    allowance: Option<u32>,
    sent: VecDeque<Instant>,
    closed_until: Option<Instant>,
}

impl SlidingWindow {
    /// A budget of `requests_per_minute` (0: only penalties hold requests back).
    pub fn new(requests_per_minute: u32) -> Self {
        Self {
            lanes: Endpoint::ALL.map(|endpoint| {
                Mutex::new(Lane {
                    allowance: endpoint.allowance(requests_per_minute),
                    sent: VecDeque::new(),
                    closed_until: None,
                })
            }),
        }
    }

    fn lane(&self, endpoint: Endpoint) -> std::sync::MutexGuard<'_, Lane> {
        // A panic while the lock is held cannot leave a lane half changed.
        self.lanes[endpoint.index()].lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Budget for SlidingWindow {
    fn acquire(&self, endpoint: Endpoint) -> Leave {
        let now = Instant::now();
        let mut lane = self.lane(endpoint);
        if let Some(until) = lane.closed_until {
            if until > now {
                return Leave::WaitFor(until - now);
            }
            lane.closed_until = None;
        }
        let Some(allowance) = lane.allowance else { return Leave::Granted };
        while lane.sent.front().is_some_and(|&sent| sent + WINDOW <= now) {
            lane.sent.pop_front();
        }
        match lane.sent.front() {
            Some(&oldest) if lane.sent.len() >= allowance as usize => Leave::WaitFor(oldest + WINDOW - now),
            _ => {
                lane.sent.push_back(now);
                Leave::Granted
            }
        }
    }

    fn penalize(&self, endpoint: Endpoint, pause: Duration) {
        let until = Instant::now() + pause;
        let mut lane = self.lane(endpoint);
        lane.closed_until = Some(lane.closed_until.map_or(until, |known| known.max(until)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends as fast as it is let, for so long; the moments of sending.
    async fn greedy(budget: &SlidingWindow, endpoint: Endpoint, time: Duration) -> Vec<Instant> {
        let end = Instant::now() + time;
        let mut sent = Vec::new();
        while Instant::now() < end {
            match budget.acquire(endpoint) {
                Leave::Granted => sent.push(Instant::now()),
                Leave::WaitFor(wait) => {
                    assert!(wait > Duration::ZERO);
                    tokio::time::sleep(wait).await;
                }
            }
        }
        sent
    }

    #[tokio::test(start_paused = true)]
    async fn never_more_than_allowed_in_any_minute() {
        for (endpoint, limit, allowed) in [
            (Endpoint::ObjectAql, 1000, 1000),
            (Endpoint::TotalCount, 1000, 500),
            (Endpoint::TotalCount, 100, 50),
        ] {
            let budget = SlidingWindow::new(limit);
            let sent = greedy(&budget, endpoint, Duration::from_secs(300)).await;
            for (i, &first) in sent.iter().enumerate() {
                let inside = sent[i..].iter().take_while(|&&at| at < first + Duration::from_secs(60)).count();
                assert!(inside <= allowed, "{inside} in a minute");
            }
            assert!(sent.len() >= 4 * allowed, "{} sent: the budget is not used", sent.len());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_and_other_endpoints_are_not_held_back() {
        let free = SlidingWindow::new(0);
        let bound = SlidingWindow::new(1);
        for _ in 0..5000 {
            assert_eq!(free.acquire(Endpoint::ObjectAql), Leave::Granted);
            assert_eq!(bound.acquire(Endpoint::Other), Leave::Granted);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_penalty_holds_back_its_endpoint_and_no_other() {
        let budget = SlidingWindow::new(0);
        budget.penalize(Endpoint::ObjectAql, Duration::from_secs(5));
        budget.penalize(Endpoint::ObjectAql, Duration::from_secs(2));
        assert_eq!(budget.acquire(Endpoint::ObjectAql), Leave::WaitFor(Duration::from_secs(5)));
        assert_eq!(budget.acquire(Endpoint::TotalCount), Leave::Granted);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(budget.acquire(Endpoint::ObjectAql), Leave::Granted);
    }
}
