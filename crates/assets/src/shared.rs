//! What clients share with the clients of other sessions: request budgets, OAuth tokens, counters.
//! The arithmetic is `commons`'; who owns the memory implements [`Shared`].

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use commons::counters::Counter;
use commons::shelf::{Index, RING, Shelf};
use commons::{Key, Moment, SECOND, State};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::Instant;

/// Memory that clients share, and who its user is.
pub trait Shared: Send + Sync {
    /// Calls `work` with the state, one caller at a time, and the time. Takes microseconds: `work`
    /// waits for nothing.
    fn enter(&self, work: &mut dyn FnMut(&mut State, Moment));

    /// What keys of identities are made with: secret, and the same for everybody who shares the state.
    fn secret(&self) -> &[u8; 32];

    /// The process, which is what budgets are fair between.
    fn process(&self) -> u32;

    /// Whether a process that shares the state still runs.
    fn is_alive(&self, process: u32) -> bool;

    /// Calls `work` with what sessions have found out, one caller at a time, and the time, as [`Shared::enter`]
    /// does; not at all where there is nobody to share it with.
    fn shelf(&self, _work: &mut dyn FnMut(&mut Shelf<'_>, Moment)) {}

    /// Counts for the server that the client belongs to.
    fn count(&self, _counter: Counter, _count: u64) {}

    /// A request begins or ends to be held back by the limit.
    fn held_back(&self, _begins: bool) {}
}

/// Calls [`Shared::enter`] for a value.
pub(crate) fn enter<T>(shared: &dyn Shared, mut work: impl FnMut(&mut State, Moment) -> T) -> T {
    let mut result = None;
    shared.enter(&mut |state, now| result = Some(work(state, now)));
    match result {
        Some(value) => value,
        None => unreachable!("enter() calls what it is given"),
    }
}

/// A length of time in the state's unit.
pub(crate) fn micros(time: Duration) -> Moment {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Makes keys of texts that must not be kept.
pub(crate) struct Hasher(hmac::Context);

impl Hasher {
    /// `what` keeps keys for different things apart.
    pub(crate) fn new(shared: &dyn Shared, what: &str) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, shared.secret());
        let mut hasher = Self(hmac::Context::with_key(&key));
        hasher.add(what);
        hasher
    }

    /// Adds one text; `a`, `bc` is another key than `ab`, `c`.
    pub(crate) fn add(&mut self, text: &str) {
        self.0.update(&(text.len() as u64).to_le_bytes());
        self.0.update(text.as_bytes());
    }

    pub(crate) fn key(self) -> Key {
        let tag = self.0.sign();
        let mut key = Key::default();
        key.0.copy_from_slice(&tag.as_ref()[..16]);
        key
    }
}

/// Fresh random bytes for [`Shared::secret`].
///
/// # Errors
/// The system gives none.
pub fn fresh_secret() -> Result<[u8; 32], ring::error::Unspecified> {
    let mut secret = [0; 32];
    SystemRandom::new().fill(&mut secret)?;
    Ok(secret)
}

/// A state of this process alone, on tokio's clock, for programs without shared memory.
pub struct Private {
    state: Mutex<Box<State>>,
    shelf: Option<Mutex<(Box<Index>, Vec<u8>)>>,
    secret: [u8; 32],
    begun: Instant,
}

impl Private {
    /// An empty state.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new() -> Result<Self, ring::error::Unspecified> {
        let state = Mutex::new(Box::new(State::EMPTY));
        Ok(Self { state, shelf: None, secret: fresh_secret()?, begun: Instant::now() })
    }

    /// The same, with what its clients have found out.
    ///
    /// # Errors
    /// As [`Private::new`].
    pub fn with_shelf() -> Result<Self, ring::error::Unspecified> {
        let shelf = (Box::new(Index::EMPTY), vec![0; RING]);
        Ok(Self { shelf: Some(Mutex::new(shelf)), ..Self::new()? })
    }

    /// Not 0, which is "never".
    fn now(&self) -> Moment {
        SECOND + micros(self.begun.elapsed())
    }
}

impl Shared for Private {
    fn enter(&self, work: &mut dyn FnMut(&mut State, Moment)) {
        // A panic in there leaves nothing that the next one could not go on with.
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner), self.now());
    }

    fn shelf(&self, work: &mut dyn FnMut(&mut Shelf<'_>, Moment)) {
        let Some(shelf) = &self.shelf else { return };
        let (index, ring) = &mut *shelf.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut Shelf::new(index, ring), self.now());
    }

    fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    fn process(&self) -> u32 {
        std::process::id()
    }

    fn is_alive(&self, _process: u32) -> bool {
        true
    }
}
