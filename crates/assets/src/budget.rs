//! The request budget: at most so many requests in any 60 seconds for each identity and endpoint
//! (assets-api.md 5), and the pause after a 429, for everybody who shares the state.
//!
//! The decision is `commons`' and never blocks. Whoever has to wait sleeps here, outside of any lock
//! that others want: one request of a client and endpoint asks, and those behind it wait their turn,
//! so that requests leave in the order in which they were wanted.

use std::sync::Arc;
use std::time::Duration;

use commons::Key;
use commons::limits::{ASK_AGAIN, Leave};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::shared::{Shared, enter, micros};

/// What a request counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `POST object/aql`: `requests_per_minute`.
    ObjectAql,
    /// `POST object/aql/totalcount`: half of it, at most 500.
    TotalCount,
    /// Everything else: not limited, but a pause holds it back too.
    Other,
}

impl Endpoint {
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

/// The budgets of one client.
pub(crate) struct Budget {
    shared: Arc<dyn Shared>,
    requests_per_minute: u32,
    turns: [Mutex<()>; 3],
}

/// The limit holds a request back for longer than it may wait.
pub(crate) struct TooLong;

impl Budget {
    pub(crate) fn new(shared: Arc<dyn Shared>, requests_per_minute: u32) -> Self {
        Self { shared, requests_per_minute, turns: Default::default() }
    }

    /// Waits until a request may be sent; `waited` is told how long the limit held back whoever is
    /// first, so that the times of requests that wait behind each other add up to the time that passed.
    pub(crate) async fn leave(
        &self,
        who: Key,
        endpoint: Endpoint,
        until: Instant,
        waited: impl Fn(Duration),
    ) -> Result<Sent<'_>, TooLong> {
        let _turn = self.turns[endpoint.index()].lock().await;
        let mut held = None;
        loop {
            match self.acquire(who, endpoint) {
                Leave::Granted => {
                    return Ok(Sent { budget: self, key: lane(who, endpoint), granted: Instant::now() });
                }
                Leave::WaitFor(wait) => {
                    if Instant::now() + Duration::from_micros(wait) > until {
                        return Err(TooLong);
                    }
                    held.get_or_insert_with(|| Held::new(&*self.shared, &waited));
                    // A tick of tokio's clock at least, which has milliseconds.
                    let wait = wait.clamp(1000, ASK_AGAIN);
                    tokio::time::sleep(Duration::from_micros(wait)).await;
                }
            }
        }
    }

    /// One question, without waiting. What is granted has been counted.
    pub(crate) fn acquire(&self, who: Key, endpoint: Endpoint) -> Leave {
        let key = lane(who, endpoint);
        let allowed = endpoint.allowance(self.requests_per_minute);
        let process = self.shared.process();
        enter(&*self.shared, |state, now| state.limits.acquire(key, process, allowed, now))
    }

    /// The service says, without a 429 yet, that there is nothing left for so long.
    pub(crate) fn pause(&self, who: Key, endpoint: Endpoint, length: Duration) {
        let (key, length) = (lane(who, endpoint), micros(length));
        enter(&*self.shared, |state, now| state.limits.pause(key, length, now));
    }

    /// The service said 429, and perhaps for how long.
    pub(crate) fn penalize(&self, who: Key, endpoint: Endpoint, asked: Option<Duration>) {
        let asked = asked.map(micros);
        enter(&*self.shared, |state, now| state.limits.penalize(lane(who, endpoint), asked, now));
    }
}

/// Budgets of different endpoints are kept apart.
fn lane(who: Key, endpoint: Endpoint) -> Key {
    who.part(endpoint.index() as u8 + 1)
}

/// A request that was granted, until it is answered or nobody waits for it any more.
pub(crate) struct Sent<'a> {
    budget: &'a Budget,
    key: Key,
    granted: Instant,
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        let ago = micros(self.granted.elapsed());
        enter(&*self.budget.shared, |state, now| state.limits.settle(self.key, ago, now));
    }
}

/// While a request is held back; also where its task is aborted.
struct Held<'a, W: Fn(Duration)> {
    shared: &'a dyn Shared,
    waited: &'a W,
    since: Instant,
}

impl<'a, W: Fn(Duration)> Held<'a, W> {
    fn new(shared: &'a dyn Shared, waited: &'a W) -> Self {
        shared.held_back(true);
        Self { shared, waited, since: Instant::now() }
    }
}

impl<W: Fn(Duration)> Drop for Held<'_, W> {
    fn drop(&mut self) {
        (self.waited)(self.since.elapsed());
        self.shared.held_back(false);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::shared::Private;

    fn budget(requests_per_minute: u32) -> Budget {
        Budget::new(Arc::new(Private::new().expect("random numbers")), requests_per_minute)
    }

    const WHO: Key = Key([7; 16]);

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(100_000)
    }

    #[tokio::test(start_paused = true)]
    async fn never_more_than_allowed_in_any_minute() {
        for (endpoint, limit, allowed) in [
            (Endpoint::ObjectAql, 1000, 1000),
            (Endpoint::TotalCount, 1000, 500),
            (Endpoint::TotalCount, 5000, 500),
            (Endpoint::TotalCount, 100, 50),
        ] {
            let budget = budget(limit);
            let end = Instant::now() + Duration::from_secs(300);
            let mut sent = Vec::new();
            while let Ok(leave) = budget.leave(WHO, endpoint, end, |_| ()).await {
                sent.push(Instant::now());
                drop(leave);
            }
            for (i, &first) in sent.iter().enumerate() {
                let inside = sent[i..].iter().take_while(|&&at| at < first + Duration::from_secs(60)).count();
                assert!(inside <= allowed, "{inside} in a minute");
            }
            assert!(sent.len() >= 4 * allowed, "{} sent: the budget is not used", sent.len());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_and_other_endpoints_are_not_held_back() {
        let (free, bound) = (budget(0), budget(1));
        for _ in 0..5000 {
            assert_eq!(free.acquire(WHO, Endpoint::ObjectAql), Leave::Granted);
            assert_eq!(bound.acquire(WHO, Endpoint::Other), Leave::Granted);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_back_its_endpoint_and_identity_and_no_other() {
        let budget = budget(0);
        budget.penalize(WHO, Endpoint::ObjectAql, Some(Duration::from_secs(5)));
        assert_eq!(budget.acquire(WHO, Endpoint::ObjectAql), Leave::WaitFor(5_000_000));
        assert_eq!(budget.acquire(WHO, Endpoint::TotalCount), Leave::Granted);
        assert_eq!(budget.acquire(Key([8; 16]), Endpoint::ObjectAql), Leave::Granted);
        assert!(budget.leave(WHO, Endpoint::ObjectAql, Instant::now(), |_| ()).await.is_err());
        let begun = Instant::now();
        assert!(budget.leave(WHO, Endpoint::ObjectAql, far(), |_| ()).await.is_ok());
        assert!((5000..5100).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_behind_each_other_wait_no_longer_than_the_time_that_passes() {
        let (budget, begun, waited) = (budget(4), Instant::now(), AtomicU64::new(0));
        let count = |time: Duration| {
            waited.fetch_add(micros(time), Ordering::Relaxed);
        };
        let one = || async {
            budget.leave(WHO, Endpoint::ObjectAql, far(), count).await.ok();
            begun.elapsed().as_secs()
        };
        let ended = tokio::join!(one(), one(), one(), one(), one(), one());
        assert_eq!((ended.0, ended.1, ended.2, ended.3), (0, 0, 0, 0), "in the order in which they came");
        assert_eq!((ended.4, ended.5), (61, 61));
        let waited = Duration::from_micros(waited.load(Ordering::Relaxed));
        assert!(waited <= begun.elapsed() && waited > Duration::from_secs(60), "{waited:?}");
    }
}
