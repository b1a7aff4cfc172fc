//! The request budget: at most so many requests in any 60 seconds for each identity and endpoint
//! (assets-api.md 5), the pause after a 429, and what the service has shown to bear, for everybody who
//! shares the state.
//!
//! The decision is `commons`' and never blocks. Whoever has to wait sleeps here, outside of any lock
//! that others want: one request of a client and endpoint asks, and those behind it wait their turn,
//! so that requests leave in the order in which they were wanted.

use std::sync::Arc;
use std::time::Duration;

use commons::Key;
use commons::limits::{ASK_AGAIN, Asker, Leave, Outcome};
use tokio::sync::{Mutex, Notify};
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
    /// A request waits no longer than this for others to be answered, from when it is its turn.
    patience: Duration,
    /// So long a request takes at most.
    takes: Duration,
    turns: [Turn; 3],
}

/// Where the requests of one endpoint wait for their turn.
#[derive(Default)]
struct Turn {
    waiting: Mutex<()>,
    /// Rung when one of ours was answered.
    answered: Notify,
}

/// The limit holds a request back for longer than it may wait.
pub(crate) struct TooLong;

impl Budget {
    pub(crate) fn new(
        shared: Arc<dyn Shared>,
        requests_per_minute: u32,
        patience: Duration,
        takes: Duration,
    ) -> Self {
        Self { shared, requests_per_minute, patience, takes, turns: Default::default() }
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
        let turn = &self.turns[endpoint.index()];
        let _first = turn.waiting.lock().await;
        let others_until = until.max(Instant::now() + self.patience);
        let (mut held, mut behind) = (None, Duration::ZERO);
        loop {
            let asked = Instant::now();
            let (wait, until, is_busy) = match self.acquire(who, endpoint) {
                Leave::Granted => {
                    return Ok(Sent {
                        budget: self,
                        who,
                        endpoint,
                        granted: Instant::now(),
                        behind,
                        outcome: Outcome::Lost,
                    });
                }
                Leave::WaitFor(wait) => (wait, until, false),
                Leave::Busy(wait) => (wait, others_until, true),
            };
            if Instant::now() + Duration::from_micros(wait) > until {
                return Err(TooLong);
            }
            held.get_or_insert_with(|| Held::new(&*self.shared, &waited));
            // A tick of tokio's clock at least, which has milliseconds.
            let wait = Duration::from_micros(wait.clamp(1000, ASK_AGAIN));
            // An answer to one of ours may make room; but for that no pause gets shorter.
            let answered = tokio::time::timeout(wait, turn.answered.notified());
            let _ = answered.await;
            if is_busy {
                behind += asked.elapsed();
            }
        }
    }

    /// One question, without waiting. What is granted has been counted, and is to be settled.
    fn acquire(&self, who: Key, endpoint: Endpoint) -> Leave {
        let key = lane(who, endpoint);
        let allowed = endpoint.allowance(self.requests_per_minute);
        let alive = |process| self.shared.is_alive(process);
        let asker = Asker { session: self.shared.process(), takes: micros(self.takes), alive: &alive };
        enter(&*self.shared, |state, now| state.limits.acquire(key, asker, allowed, now))
    }

    /// Whether a request would be held back at this moment, and for how long.
    pub(crate) fn ask(&self, who: Key, endpoint: Endpoint) -> Leave {
        let leave = self.acquire(who, endpoint);
        if leave == Leave::Granted {
            self.settle(who, endpoint, Duration::ZERO, Outcome::Lost);
        }
        leave
    }

    fn settle(&self, who: Key, endpoint: Endpoint, ago: Duration, outcome: Outcome) {
        let (process, ago) = (self.shared.process(), micros(ago));
        enter(&*self.shared, |state, now| {
            state.limits.settle(lane(who, endpoint), process, ago, outcome, now);
        });
        self.turns[endpoint.index()].answered.notify_one();
    }

    /// The service says, without a 429 yet, that there is nothing left for so long.
    pub(crate) fn pause(&self, who: Key, endpoint: Endpoint, length: Duration) {
        let (key, length) = (lane(who, endpoint), micros(length));
        enter(&*self.shared, |state, now| state.limits.pause(key, length, now));
    }
}

/// Budgets of different endpoints are kept apart.
fn lane(who: Key, endpoint: Endpoint) -> Key {
    who.part(endpoint.index() as u8 + 1)
}

/// A request that was granted, until it is answered or nobody waits for it any more.
pub(crate) struct Sent<'a> {
    budget: &'a Budget,
    who: Key,
    endpoint: Endpoint,
    granted: Instant,
    behind: Duration,
    outcome: Outcome,
}

impl Sent<'_> {
    /// So long it waited for others to be answered, which is no sign that the service answers nothing.
    pub(crate) fn behind(&self) -> Duration {
        self.behind
    }

    /// It was answered.
    pub(crate) fn answered(mut self) {
        self.outcome = Outcome::Answered;
    }

    /// The service said that it takes too many requests, and perhaps for how long to wait.
    pub(crate) fn refused(mut self, asked: Option<Duration>) {
        self.outcome = Outcome::Refused(asked.map(micros));
    }

    /// The service said that it is overloaded, or out of order.
    pub(crate) fn strained(mut self) {
        self.outcome = Outcome::Strained;
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        self.budget.settle(self.who, self.endpoint, self.granted.elapsed(), self.outcome);
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
        let shared = Arc::new(Private::new().expect("random numbers"));
        Budget::new(shared, requests_per_minute, Duration::from_secs(120), Duration::from_secs(60))
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
        let sent = budget.leave(WHO, Endpoint::ObjectAql, far(), |_| ()).await.ok().expect("granted");
        sent.refused(Some(Duration::from_secs(5)));
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
