//! Who gets how much of a budget that is not enough for all: max-min fairness over the window.
//!
//! What is left of the budget, and what those who are asking have had of it, is divided among them.
//! Whoever wants less than an equal part gets what it wants, and the others share what that leaves.
//! A session's wish is known by what it had lately: one that was turned away, or has only just
//! begun, wants all that it can get.

use crate::{Moment, SECOND, WINDOW};

/// A session that has not asked for so long is not there: it has ended, or died, or does something
/// else. So whoever waits asks again more often than that.
pub(crate) const ABSENT: Moment = 3 * SECOND;

/// A session that waits for others' requests to be answered asks again at once, or has gone.
const GONE: Moment = SECOND / 2;

/// How many sessions are told apart, over all budgets.
pub const SHARES: usize = 256;

const CELLS: usize = 16;
const CELL: Moment = WINDOW / (CELLS as Moment - 1) + 1;

/// What a session had of one budget, in cells of about four seconds. A cell is forgotten a window
/// after its first request, so up to a cell early: a share is not a promise to the service.
#[derive(Clone, Copy)]
pub(crate) struct Share {
    /// The budget's number, from 1; 0: nobody.
    pub(crate) lane: u32,
    pub(crate) session: u32,
    /// When it began to ask.
    since: Moment,
    pub(crate) asked: Moment,
    turned_away: Moment,
    /// Since when it waits for others' requests to be answered; 0: it does not.
    waits: Moment,
    begun: [Moment; CELLS],
    had: [u32; CELLS],
}

impl Share {
    pub(crate) const NOBODY: Share = Share {
        lane: 0,
        session: 0,
        since: 0,
        asked: 0,
        turned_away: 0,
        waits: 0,
        begun: [0; CELLS],
        had: [0; CELLS],
    };

    pub(crate) fn is_present(&self, now: Moment) -> bool {
        self.lane != 0 && self.asked <= now && now - self.asked <= ABSENT
    }

    fn used(&self, now: Moment) -> u32 {
        let counts = |begun: Moment| begun <= now && now - begun < WINDOW;
        let cells = self.begun.iter().zip(&self.had).filter(|(begun, _)| counts(**begun));
        cells.fold(0, |sum, (_, had)| sum.saturating_add(*had))
    }

    fn wish(&self, now: Moment) -> u32 {
        let age = now.saturating_sub(self.since);
        let lately_away = self.turned_away != 0 && now.saturating_sub(self.turned_away) <= ABSENT;
        if lately_away || age < ABSENT {
            return u32::MAX;
        }
        let wish = u64::from(self.used(now)) * WINDOW / age.min(WINDOW) + 1;
        u32::try_from(wish).unwrap_or(u32::MAX)
    }

    fn count(&mut self, now: Moment) {
        let cell = (now / CELL) as usize % CELLS;
        if self.begun[cell] / CELL != now / CELL || self.had[cell] == 0 {
            (self.begun[cell], self.had[cell]) = (now, 0);
        }
        self.had[cell] = self.had[cell].saturating_add(1);
    }
}

/// The shares of every budget.
#[derive(Clone)]
pub(crate) struct Shares([Share; SHARES]);

impl Shares {
    pub(crate) const EMPTY: Shares = Shares([Share::NOBODY; SHARES]);

    /// A session asks: its place, made where there is none. The place that is taken then is a free
    /// one, or that of whoever has not asked for longest.
    pub(crate) fn asks(&mut self, lane: u32, session: u32, now: Moment) -> usize {
        let known = self.0.iter().position(|share| share.lane == lane && share.session == session);
        let at = known.unwrap_or_else(|| {
            let key = |share: &Share| if share.lane == 0 { 0 } else { share.asked.max(1) };
            let oldest = self.0.iter().enumerate().min_by_key(|(_, share)| key(share));
            let at = oldest.map_or(0, |(at, _)| at);
            self.0[at] = Share { lane, session, ..Share::NOBODY };
            at
        });
        let share = &mut self.0[at];
        if !share.is_present(now) || share.since > now || share.since == 0 {
            share.since = now;
        }
        share.asked = now;
        at
    }

    /// Whether the session at `at` may have one more, of `allowed` in the window and `total` used.
    pub(crate) fn may(&self, at: usize, allowed: u32, total: u32, now: Moment) -> bool {
        let asker = &self.0[at];
        let present = || self.0.iter().filter(|share| share.lane == asker.lane && share.is_present(now));
        let had = present().fold(0_u32, |sum, share| sum.saturating_add(share.used(now)));
        let room = allowed.saturating_sub(total.saturating_sub(had));
        let count = present().count() as u32;
        // Rounded down, or the first to come would have one more than the others.
        let each = |room: u32, count: u32| (room / count.max(1)).max(1);
        let mut part = each(room, count);
        // Each round takes those out who want less; the part only grows, and soon not any more.
        for _ in 0..16 {
            let others = present().filter(|share| share.session != asker.session);
            let modest = others.map(|share| share.wish(now)).filter(|wish| *wish < part);
            let (modest_count, modest_sum) =
                modest.fold((0, 0_u32), |(n, sum), wish| (n + 1, sum.saturating_add(wish)));
            let next = each(room.saturating_sub(modest_sum), count.saturating_sub(modest_count));
            if next <= part {
                break;
            }
            part = next;
        }
        asker.used(now) < part
    }

    pub(crate) fn count(&mut self, at: usize, now: Moment) {
        self.0[at].turned_away = 0;
        self.0[at].waits = 0;
        self.0[at].count(now);
    }

    pub(crate) fn turn_away(&mut self, at: usize, now: Moment) {
        self.0[at].turned_away = now;
    }

    /// The session at `at` waits for others' requests to be answered.
    pub(crate) fn waits(&mut self, at: usize, now: Moment) {
        let share = &mut self.0[at];
        if share.waits == 0 || share.waits > now {
            share.waits = now;
        }
    }

    /// How many other sessions have waited so for longer, and still do.
    pub(crate) fn ahead(&self, at: usize, now: Moment) -> u32 {
        let asker = &self.0[at];
        let since = if asker.waits == 0 { now } else { asker.waits };
        let waits = |share: &&Share| {
            share.lane == asker.lane
                && share.session != asker.session
                && share.waits != 0
                && share.waits < since
                && share.asked <= now
                && now - share.asked <= GONE
        };
        self.0.iter().filter(waits).count() as u32
    }

    /// A budget's number is given to another.
    pub(crate) fn forget(&mut self, lane: u32) {
        self.0.iter_mut().filter(|share| share.lane == lane).for_each(|share| *share = Share::NOBODY);
    }
}
