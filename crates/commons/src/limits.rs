//! The request budgets: at most so many requests in any 60 seconds for each key, fairly divided
//! among the sessions that ask, and held back for all of them when the service says 429
//! (assets-api.md 5).
//!
//! Why never more than N arrive at the service in 60 seconds: a request counts from when it is
//! granted, for 61 seconds. What took longer than a second from then to its answer is counted again
//! from its answer on ([`Limits::settle`]), since it may have arrived as late as that. So when a request
//! is granted, every earlier one that may arrive within 60 seconds of it is being counted; all that
//! escapes is one that is under way for longer than 61 seconds.

use crate::share::Shares;
use crate::window::{SLACK, TICK, WINDOW, Window};
use crate::{Key, Moment, SECOND};

/// How many budgets are kept apart at once.
pub const LANES: usize = 128;
/// What has no room shares one budget: too strict rather than too loose.
const OVERFLOW: usize = LANES;

/// Whoever waits asks again after so long at most, or loses its place.
pub const ASK_AGAIN: Moment = 2 * SECOND;
/// Whoever has had its share looks again after so long whether others still want theirs.
const LOOK: Moment = SECOND / 4;
/// After a pause requests come back slowly, doubling with each tick, for so long.
const RAMP: Moment = 10 * TICK;
/// The first pause after a 429 that does not say how long; it doubles.
const FIRST_PAUSE: Moment = SECOND;
const LONGEST_PAUSE: Moment = 60 * SECOND;
/// No longer pause is believed.
const MOST_ASKED: Moment = 24 * 3600 * SECOND;

/// The answer to one wish to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// Send now; it has been counted.
    Granted,
    /// Not now, and likely not before so many microseconds. Nothing was counted. Ask again after
    /// that, or after [`ASK_AGAIN`] if that is sooner.
    WaitFor(Moment),
}

#[derive(Clone, Copy)]
struct Lane {
    key: Key,
    asked: Moment,
    window: Window,
    /// Nobody sends before this.
    closed_until: Moment,
    /// Pauses in a row that the service gave no length for.
    strikes: u32,
}

impl Lane {
    const EMPTY: Lane = Lane { key: Key::NONE, asked: 0, window: Window::EMPTY, closed_until: 0, strikes: 0 };

    /// Nothing would be lost if it were forgotten.
    fn is_idle(&mut self, now: Moment) -> bool {
        let is_open = self.closed_until == 0 || self.closed_until.saturating_add(RAMP) <= now;
        is_open && self.window.total(now) == 0
    }
}

/// Every budget.
#[derive(Clone)]
pub struct Limits {
    lanes: [Lane; LANES + 1],
    shares: Shares,
}

impl Limits {
    /// No requests so far.
    pub const EMPTY: Limits = Limits { lanes: [Lane::EMPTY; LANES + 1], shares: Shares::EMPTY };

    /// The lane of a key. A new key gets a lane of its own where one is free or idle, but not while
    /// the overflow holds requests, which may be its own.
    fn lane(&mut self, key: Key, now: Moment) -> usize {
        let own = &mut self.lanes[..OVERFLOW];
        if let Some(at) = own.iter().position(|lane| lane.key == key) {
            return at;
        }
        if !self.lanes[OVERFLOW].is_idle(now) {
            return OVERFLOW;
        }
        let own = &mut self.lanes[..OVERFLOW];
        let mut idle = own.iter_mut().enumerate().filter_map(|(at, lane)| {
            let free = lane.key == Key::NONE;
            (free || lane.is_idle(now)).then_some((at, if free { 0 } else { lane.asked.max(1) }))
        });
        let first = idle.next();
        let Some((at, _)) = idle.chain(first).min_by_key(|(_, asked)| *asked) else { return OVERFLOW };
        self.lanes[at] = Lane { key, ..Lane::EMPTY };
        self.shares.forget(at as u32 + 1);
        at
    }

    /// A session wants to send one request of those that count under `key`, of which `allowed` may be
    /// sent in any minute (none: as many as one likes).
    pub fn acquire(&mut self, key: Key, session: u32, allowed: Option<u32>, now: Moment) -> Leave {
        let at = self.lane(key, now);
        let place = self.shares.asks(at as u32 + 1, session, now);
        let lane = &mut self.lanes[at];
        lane.asked = now;
        let leave = may_send(lane, &self.shares, place, allowed, now);
        match leave {
            Leave::Granted => {
                lane.window.add(now);
                self.shares.count(place, now);
            }
            Leave::WaitFor(_) => self.shares.turn_away(place, now),
        }
        leave
    }

    /// A request that was granted `ago` has been answered, or will not be any more.
    pub fn settle(&mut self, key: Key, ago: Moment, now: Moment) {
        if ago > SLACK {
            let at = self.lane(key, now);
            self.lanes[at].window.delay(now.saturating_sub(ago), now);
        }
    }

    /// The service said 429: nobody sends for as long as it `asked`, or else, and where that is next to
    /// nothing, for a pause that doubles each time. Late answers to requests that were sent before the
    /// pause do not make it longer.
    pub fn penalize(&mut self, key: Key, asked: Option<Moment>, now: Moment) {
        if let Some(asked) = asked.filter(|asked| *asked >= FIRST_PAUSE) {
            return self.pause(key, asked, now);
        }
        let at = self.lane(key, now);
        let lane = &mut self.lanes[at];
        if now < lane.closed_until {
            return;
        }
        if now - lane.closed_until > WINDOW {
            lane.strikes = 0;
        }
        let pause = FIRST_PAUSE << lane.strikes.min(16);
        lane.strikes = lane.strikes.saturating_add(1);
        self.pause(key, pause.min(LONGEST_PAUSE), now);
    }

    /// Nobody sends for so long.
    pub fn pause(&mut self, key: Key, length: Moment, now: Moment) {
        let at = self.lane(key, now);
        let lane = &mut self.lanes[at];
        let until = now + length.min(MOST_ASKED);
        lane.closed_until = lane.closed_until.min(now + MOST_ASKED).max(until);
    }
}

fn may_send(lane: &mut Lane, shares: &Shares, place: usize, allowed: Option<u32>, now: Moment) -> Leave {
    lane.closed_until = lane.closed_until.min(now + MOST_ASKED);
    if now < lane.closed_until {
        return Leave::WaitFor(lane.closed_until - now);
    }
    let open_for = now - lane.closed_until;
    if lane.closed_until != 0 && open_for < RAMP && lane.window.this_tick(now) >= 1 << (open_for / TICK) {
        return Leave::WaitFor(TICK - now % TICK);
    }
    let Some(allowed) = allowed else { return Leave::Granted };
    let total = lane.window.total(now);
    if total >= allowed {
        let room_at = lane.window.next_room(now).unwrap_or(now + WINDOW);
        return Leave::WaitFor(room_at.saturating_sub(now).max(1));
    }
    match shares.may(place, allowed, total, now) {
        true => Leave::Granted,
        false => Leave::WaitFor(LOOK),
    }
}
