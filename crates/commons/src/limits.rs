//! The request budgets: at most so many requests in any 60 seconds for each key, fairly divided
//! among the sessions that ask, and held back for all of them when the service says 429
//! (assets-api.md 5). Where it does not say for how long, what it bears is learnt (`bears`): how many
//! requests under way at once, over all sessions, and how closely after each other. A pause that grows is
//! for a service that answers nothing else any more.
//!
//! Why never more than N arrive at the service in 60 seconds: a request counts from when it is
//! granted, for 61 seconds. What took longer than a second from then to its answer is counted again
//! from its answer on ([`Limits::settle`]), since it may have arrived as late as that. So when a request
//! is granted, every earlier one that may arrive within 60 seconds of it is being counted; all that
//! escapes is one that is under way for longer than 61 seconds.

use crate::bears::Bears;
use crate::flight::{Flight, PLACES};
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
/// Whoever waits for others' requests to be answered asks again after so long.
const ASK_SOON: Moment = SECOND / 50;
/// Everybody waits so long after a 429 among answers, and after another one, which often is quicker to come
/// than an answer is. What follows them without one is a strike.
const BREATHS: [Moment; 2] = [SECOND / 4, SECOND / 10];
/// A pause that the service asks for and that is no longer than this may be about requests at once; a longer
/// one is about a window of time.
const SHORT_PAUSE: Moment = 5 * SECOND;
/// The first pause after a 429 that does not say how long, where nothing was answered since the last one; it
/// doubles.
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
    /// As many are under way as the service bears: ask again after so many microseconds. It ends with the
    /// answer to one of those, however long that takes.
    Busy(Moment),
}

/// Who wants to send a request.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    /// The session; not 0.
    pub session: u32,
    /// So long its request takes at most.
    pub takes: Moment,
    /// Whether a session is still there.
    pub alive: &'a dyn Fn(u32) -> bool,
}

/// What came of a request that was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An answer, whatever it says, that is no refusal for the sake of load.
    Answered,
    /// 429: too many requests. With how long the service asks to wait.
    Refused(Option<Moment>),
    /// 503: too many, or an outage, which takes no pause of everybody's.
    Strained,
    /// None, or none that tells.
    Lost,
}

#[derive(Clone, Copy)]
struct Lane {
    key: Key,
    asked: Moment,
    window: Window,
    /// Nobody sends before this.
    closed_until: Moment,
    /// Where that is the end of a pause after which requests come back slowly.
    ramp_from: Moment,
    /// Pauses in a row that the service gave no length for; answers take them back.
    strikes: u32,
    /// How many of [`BREATHS`] are left until something is answered again; the last goes first.
    breaths: u8,
    bears: Bears,
    flight: Flight,
}

impl Lane {
    const EMPTY: Lane = Lane {
        key: Key::NONE,
        asked: 0,
        window: Window::EMPTY,
        closed_until: 0,
        ramp_from: 0,
        strikes: 0,
        breaths: 0,
        bears: Bears::EMPTY,
        flight: Flight::EMPTY,
    };

    /// Nothing would be lost if it were forgotten.
    fn is_idle(&mut self, now: Moment) -> bool {
        let is_open = self.closed_until == 0 || self.closed_until.saturating_add(RAMP) <= now;
        is_open && self.window.total(now) == 0 && self.flight.count(now) == 0
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

    /// Somebody wants to send one request of those that count under `key`, of which `allowed` may be
    /// sent in any minute (none: as many as one likes). What is granted is to be settled.
    pub fn acquire(&mut self, key: Key, asker: Asker<'_>, allowed: Option<u32>, now: Moment) -> Leave {
        let at = self.lane(key, now);
        let place = self.shares.asks(at as u32 + 1, asker.session, now);
        let lane = &mut self.lanes[at];
        lane.asked = now;
        let leave = match may_send(lane, &self.shares, place, allowed, now) {
            Leave::Granted => may_join(lane, &self.shares, place, asker.alive, now),
            wait => wait,
        };
        match leave {
            Leave::Granted => {
                lane.window.add(now);
                lane.bears.grant(now);
                lane.flight.begin(asker.session, now.saturating_add(asker.takes), now);
                self.shares.count(place, now);
            }
            Leave::WaitFor(_) => self.shares.turn_away(place, now),
            Leave::Busy(_) => {
                self.shares.turn_away(place, now);
                self.shares.waits(place, now);
            }
        }
        leave
    }

    /// A session's request that was granted `ago` has been answered, or will not be any more.
    ///
    /// After a 429 nobody sends for as long as the service asked. Where it did not, or asked for next to
    /// nothing, it is taken to bear less than it was given, as long as it answers others; where nothing is
    /// answered between two, there is a pause that doubles each time.
    pub fn settle(&mut self, key: Key, session: u32, ago: Moment, outcome: Outcome, now: Moment) {
        let at = self.lane(key, now);
        let lane = &mut self.lanes[at];
        let granted = now.saturating_sub(ago);
        if ago > SLACK {
            lane.window.delay(granted, now);
        }
        let beside = lane.flight.end(session, granted);
        match outcome {
            Outcome::Lost => {}
            Outcome::Answered => {
                lane.breaths = BREATHS.len() as u8;
                if lane.bears.is_news(granted) {
                    lane.strikes /= 2;
                }
                if let Some(beside) = beside {
                    lane.bears.answered(beside);
                }
            }
            Outcome::Strained => lane.strained(beside.unwrap_or(u32::MAX), granted, now),
            Outcome::Refused(asked) => lane.refused(beside.unwrap_or(u32::MAX), granted, asked, now),
        }
    }

    /// Nobody sends for so long: the service says beforehand, or otherwise than by a 429, that it takes none.
    pub fn pause(&mut self, key: Key, length: Moment, now: Moment) {
        let at = self.lane(key, now);
        self.lanes[at].pause(length, true, now);
    }
}

impl Lane {
    fn strained(&mut self, beside: u32, granted: Moment, now: Moment) {
        if self.bears.is_news(granted) && self.breaths > 0 {
            self.breaths -= 1;
            self.bears.refuse(beside.min(PLACES as u32), now);
            self.pause(BREATHS[BREATHS.len() - 1], false, now);
        }
    }

    fn refused(&mut self, beside: u32, granted: Moment, asked: Option<Moment>, now: Moment) {
        let beside = beside.min(PLACES as u32);
        let is_news = self.bears.is_news(granted);
        let left = usize::from(self.breaths);
        let breath = left.checked_sub(1).and_then(|at| BREATHS.get(at).copied());
        if is_news {
            self.breaths = self.breaths.saturating_sub(1);
        }
        if let Some(asked) = asked.filter(|asked| *asked >= FIRST_PAUSE) {
            if is_news && breath.is_some() && beside > 1 && asked <= SHORT_PAUSE {
                self.bears.refuse(beside, now);
            }
            self.bears.note(now);
            return self.pause(asked, true, now);
        }
        // It was sent before the last one: it says nothing new.
        if !is_news || now < self.closed_until {
            return;
        }
        if now - self.closed_until > WINDOW {
            self.strikes = 0;
        }
        if let Some(breath) = breath.filter(|_| self.strikes == 0) {
            self.bears.refuse(beside, now);
            return self.pause(breath, false, now);
        }
        if beside > 1 {
            self.bears.refuse(beside, now);
        }
        self.bears.note(now);
        let pause = FIRST_PAUSE << self.strikes.min(16);
        self.strikes = self.strikes.saturating_add(1);
        self.pause(pause.min(LONGEST_PAUSE), true, now);
    }

    fn pause(&mut self, length: Moment, ramp: bool, now: Moment) {
        let until = now + length.min(MOST_ASKED);
        self.closed_until = self.closed_until.min(now + MOST_ASKED).max(until);
        if ramp {
            self.ramp_from = self.closed_until;
        }
    }
}

/// Whether what the service bears, by what was learnt, leaves room for one more.
fn may_join(
    lane: &mut Lane,
    shares: &Shares,
    place: usize,
    alive: &dyn Fn(u32) -> bool,
    now: Moment,
) -> Leave {
    if lane.bears.is_idle() {
        return Leave::Granted;
    }
    let wait = lane.bears.wait(now);
    if wait > 0 {
        return Leave::Busy(wait.max(1));
    }
    // Those who have waited for longer come first.
    let ahead = shares.ahead(place, now);
    if let Some(most) = lane.bears.most() {
        if lane.flight.count(now) + ahead >= most {
            lane.flight.bury(alive, now);
        }
        if lane.flight.count(now) + ahead >= most {
            return Leave::Busy(ASK_SOON);
        }
    } else if ahead > 0 {
        return Leave::Busy(ASK_SOON);
    }
    Leave::Granted
}

fn may_send(lane: &mut Lane, shares: &Shares, place: usize, allowed: Option<u32>, now: Moment) -> Leave {
    lane.closed_until = lane.closed_until.min(now + MOST_ASKED);
    if now < lane.closed_until {
        return Leave::WaitFor(lane.closed_until - now);
    }
    lane.ramp_from = lane.ramp_from.min(now);
    let open_for = now - lane.ramp_from;
    if lane.ramp_from != 0 && open_for < RAMP && lane.window.this_tick(now) >= 1 << (open_for / TICK) {
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
