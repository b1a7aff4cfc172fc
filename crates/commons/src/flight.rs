//! Which requests of one budget are under way, over all sessions.
//!
//! A request has its place until it is answered or given up. One whose session has died is found out
//! when its place is wanted, and none is kept for longer than its request can take: so no place is
//! lost for good.

use crate::Moment;

/// How many are told apart; more are granted uncounted, since no smaller number is in force then.
pub(crate) const PLACES: usize = 64;

#[derive(Clone, Copy)]
struct Place {
    /// 0: a free place.
    session: u32,
    /// How many were under way when it was granted, itself included.
    beside: u32,
    granted: Moment,
    until: Moment,
}

#[derive(Clone, Copy)]
pub(crate) struct Flight([Place; PLACES]);

impl Flight {
    pub(crate) const EMPTY: Flight = Flight([Place { session: 0, beside: 0, granted: 0, until: 0 }; PLACES]);

    /// How many are under way.
    pub(crate) fn count(&self, now: Moment) -> u32 {
        self.0.iter().filter(|place| is_taken(place, now)).count() as u32
    }

    /// Gives up the places of sessions that are dead.
    pub(crate) fn bury(&mut self, alive: &dyn Fn(u32) -> bool, now: Moment) {
        let mut known = (0, true);
        for place in self.0.iter_mut().filter(|place| is_taken(place, now)) {
            if known.0 != place.session {
                known = (place.session, alive(place.session));
            }
            if !known.1 {
                place.session = 0;
            }
        }
    }

    /// A session sends one that takes until `until` at most.
    pub(crate) fn begin(&mut self, session: u32, until: Moment, now: Moment) {
        let beside = self.count(now) + 1;
        if let Some(free) = self.0.iter_mut().find(|place| !is_taken(place, now)) {
            *free = Place { session, beside, granted: now, until };
        }
    }

    /// One that a session was granted at about `granted` has ended. How many were under way then; none
    /// where it was not counted.
    pub(crate) fn end(&mut self, session: u32, granted: Moment) -> Option<u32> {
        let own = self.0.iter_mut().filter(|place| place.session == session && session != 0);
        let place = own.min_by_key(|place| place.granted.abs_diff(granted))?;
        place.session = 0;
        Some(place.beside)
    }
}

fn is_taken(place: &Place, now: Moment) -> bool {
    // A grant of the future is of a clock that was another.
    place.session != 0 && now < place.until && place.granted <= now
}
