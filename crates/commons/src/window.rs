//! How many requests there were in the last minute, in ticks of a quarter of a second.
//!
//! A tick is forgotten as a whole, and only when all of it is longer ago than [`WINDOW`]: too late by
//! a tick at most, never too early. So any limit takes the same room, however large.

use crate::{Moment, SECOND};

/// How long a request counts. A second more than the service's minute: requests are counted here
/// when they leave and there when they arrive, up to that second later.
pub const WINDOW: Moment = 61 * SECOND;
/// A request of which is known that it arrived within this long is counted well.
pub(crate) const SLACK: Moment = SECOND;
pub(crate) const TICK: Moment = SECOND / 4;
const TICKS: usize = (WINDOW / TICK) as usize + 1;

#[derive(Clone, Copy)]
pub(crate) struct Window {
    counts: [u32; TICKS],
    /// The newest tick that `counts` is about, in ticks since the clock began.
    newest: u64,
}

impl Window {
    pub(crate) const EMPTY: Window = Window { counts: [0; TICKS], newest: 0 };

    /// Forgets what is too long ago. A clock that seems to go back (a broken state) forgets nothing
    /// for a window's length, and then everything.
    fn advance(&mut self, now: Moment) {
        let tick = now / TICK;
        if self.newest > tick + TICKS as u64 {
            *self = Window { newest: tick, ..Window::EMPTY };
        }
        let passed = tick.saturating_sub(self.newest).min(TICKS as u64);
        for n in 1..=passed {
            self.counts[slot(tick - passed + n)] = 0;
        }
        self.newest = self.newest.max(tick);
    }

    /// How many there were in the window that ends now.
    pub(crate) fn total(&mut self, now: Moment) -> u32 {
        self.advance(now);
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// How many there were in the present tick.
    pub(crate) fn this_tick(&mut self, now: Moment) -> u32 {
        self.advance(now);
        self.counts[slot(now / TICK)]
    }

    pub(crate) fn add(&mut self, now: Moment) {
        self.advance(now);
        let count = &mut self.counts[slot(now / TICK)];
        *count = count.saturating_add(1);
    }

    /// One that was counted at `then` is counted now instead.
    pub(crate) fn delay(&mut self, then: Moment, now: Moment) {
        self.advance(now);
        let tick = then / TICK;
        if tick <= self.newest && self.newest - tick < TICKS as u64 {
            let count = &mut self.counts[slot(tick)];
            *count = count.saturating_sub(1);
        }
        self.add(now);
    }

    /// When the oldest one is forgotten; none where there is none.
    pub(crate) fn next_room(&mut self, now: Moment) -> Option<Moment> {
        self.advance(now);
        let oldest = self.newest.saturating_sub(TICKS as u64 - 1);
        let found = (oldest..=self.newest).find(|tick| self.counts[slot(*tick)] > 0)?;
        Some((found + TICKS as u64) * TICK)
    }
}

fn slot(tick: u64) -> usize {
    (tick % TICKS as u64) as usize
}
