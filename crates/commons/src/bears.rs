//! What a service bears, learnt from its refusals: how many requests under way, and how many in a time.
//!
//! A service that says 429 without saying for how long has a limit that nobody tells: of requests at
//! once, or of a rate, or no limit at all but a bad day. While others than the refused request are
//! under way, fewer of them may be from then on, by a quarter; a request that was refused alone shows a
//! rate, and those that follow are spaced. Each answer takes some of that back: one more at once after
//! a round of answers, a little less space after each. So what is refused now and then settles where
//! refusals cost little, and a limit is kept to but for a trial now and then, rarer each time that it
//! fails at the same number.
//!
//! Answers to requests that were sent before the last refusal say nothing that it did not say.

use crate::flight::PLACES;
use crate::{Moment, SECOND};

/// Rounds of answers until a number that was refused is tried again; twice as many each time that it is
/// refused again, this often.
const TRIAL: u32 = 4;
const DOUBLED: u32 = 4;
/// The space after the first refusal of a request that was under way alone; it doubles.
const FIRST_SPACE: Moment = SECOND / 40;
/// Slower than this is for pauses.
const MOST_SPACE: Moment = SECOND;
/// A space as small as this is none.
const NO_SPACE: Moment = SECOND / 500;

#[derive(Clone, Copy)]
pub(crate) struct Bears {
    /// So many under way at once; 0: as many as one likes.
    most: u32,
    /// With so many it refused; 0: not known.
    refused_at: u32,
    /// How often in a row at that number.
    repeats: u32,
    /// Answers since `most` last changed.
    answers: u32,
    space: Moment,
    granted: Moment,
    /// The last refusal.
    cut: Moment,
}

impl Bears {
    pub(crate) const EMPTY: Bears =
        Bears { most: 0, refused_at: 0, repeats: 0, answers: 0, space: 0, granted: 0, cut: 0 };

    /// So many may be under way at once; none: as many as one likes.
    pub(crate) fn most(&self) -> Option<u32> {
        (self.most != 0).then_some(self.most)
    }

    /// How long until the next one may be sent.
    pub(crate) fn wait(&self, now: Moment) -> Moment {
        // A last one of the future is of a clock that was another.
        if self.granted > now { 0 } else { (self.granted + self.space.min(MOST_SPACE)).saturating_sub(now) }
    }

    /// Nothing was learnt, or nothing is left of it.
    pub(crate) fn is_idle(&self) -> bool {
        self.most == 0 && self.space == 0
    }

    pub(crate) fn grant(&mut self, now: Moment) {
        self.granted = now;
    }

    /// Whether a refusal of a request that was granted then says anything new.
    pub(crate) fn is_news(&self, granted: Moment) -> bool {
        granted >= self.cut || self.cut > granted + 3600 * SECOND
    }

    /// A request was answered, of so many that were under way when it was granted.
    pub(crate) fn answered(&mut self, beside: u32) {
        // Faster than refusals of one in ten double it, or these alone would space everything.
        self.space -= self.space / 8;
        if self.space <= NO_SPACE {
            self.space = 0;
        }
        // Only who uses up what is borne shows that it is borne.
        if self.most == 0 || beside < self.most {
            return;
        }
        self.answers = self.answers.saturating_add(1);
        let at_refusal = self.refused_at != 0 && self.most + 1 >= self.refused_at;
        let rounds = if at_refusal { TRIAL << self.repeats.min(DOUBLED) } else { 1 };
        if self.answers >= (self.most + 1) * rounds {
            self.answers = 0;
            self.most += 1;
            if self.most > self.refused_at {
                self.refused_at = 0;
            }
            if self.most >= PLACES as u32 {
                self.most = 0;
            }
        }
    }

    /// A request was refused, of so many that were under way when it was granted.
    pub(crate) fn refuse(&mut self, beside: u32, now: Moment) {
        self.cut = now;
        if beside <= 1 {
            self.space = (self.space.min(MOST_SPACE) * 2).clamp(FIRST_SPACE, MOST_SPACE);
            return;
        }
        // Refused with fewer than were borne before: a bad day rather than a limit. It takes several such.
        let at = if self.most == 0 { beside } else { self.most };
        self.repeats = if self.refused_at == at { self.repeats.saturating_add(1) } else { 0 };
        self.refused_at = at;
        self.most = (at * 3 / 4).max(1);
        self.answers = 0;
    }

    /// A refusal that is answered with a pause.
    pub(crate) fn note(&mut self, now: Moment) {
        self.cut = now;
    }
}
