//! Which changes to ask for.
//!
//! `Updated` is compared with a bound that lies [`OVERLAP`] before the last success, to make up for
//! the service's clock, the precision of its comparisons and the lag of its index. Precision does no
//! harm beyond that: both sides of `>=` cut alike select more, never less. The bound is relative
//! (`now(-15m)`, documented, assets-api.md 4.4) where the service was seen to understand that: it
//! then depends on no zone and on neither clock's offset, only on how much time has passed, and that
//! is told by the service's own clock (the `Date` of its answers) where it shows it.

use std::fmt;

/// Microseconds since 1970, or a span of them.
pub type Micros = i64;

const MINUTE: Micros = 60_000_000;
const DAY: Micros = 24 * 60 * MINUTE;
/// How far each window reaches back before the last success.
pub const OVERLAP: Micros = 5 * MINUTE;
/// How far a second look reaches back behind the first.
pub const AGAIN: Micros = MINUTE;
/// A request may have been under way so long when its answer was dated.
const UNDER_WAY: Micros = MINUTE;

/// An object to ask with.
#[derive(Debug, Clone, Copy)]
pub struct Witness {
    /// Its id.
    pub id: i64,
    /// When it was last changed.
    pub updated: Micros,
}

/// How the service is asked for what changed since a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// `Updated >= "now(-1h 5m)"`
    Relative,
    /// `Updated >= "2026-01-31T10:00:00.000Z"`: literals are proven to compare to the millisecond.
    Literal,
    /// The same, earlier by more than any zone and any rounding.
    Wide,
}

impl Manner {
    /// All of them, the most precise that needs no proof from elsewhere first.
    pub const ALL: [Manner; 3] = [Manner::Relative, Manner::Literal, Manner::Wide];

    /// As it is kept between runs.
    pub fn name(self) -> &'static str {
        match self {
            Manner::Relative => "relative",
            Manner::Literal => "literal",
            Manner::Wide => "wide",
        }
    }

    /// What [`Manner::name`] wrote.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|manner| manner.name() == name)
    }
}

/// A moment on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// On this machine's.
    pub here: Micros,
    /// On the service's, where it said so.
    pub there: Option<Micros>,
}

/// A bound on `Updated`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// So many minutes ago, by the service's clock at the time it looks.
    Ago(i64),
    /// A moment, on the service's clock.
    At(Micros),
}

impl Since {
    /// Where to begin after a success whose changes were asked for at `last`. None where that cannot be
    /// told: this machine's clock was set back, and the service shows none.
    pub fn after(manner: Manner, last: Moment, now: Moment) -> Option<Since> {
        match manner {
            Manner::Relative => {
                let passed = match (last.there, now.there) {
                    (Some(last), Some(now)) => now - last,
                    _ => now.here - last.here,
                };
                if passed < -OVERLAP {
                    return None;
                }
                Some(Since::Ago(minutes(passed.max(0) + OVERLAP)))
            }
            Manner::Literal => {
                let there = last.there?;
                Some(Since::At(there - OVERLAP - UNDER_WAY))
            }
            Manner::Wide => {
                let there = last.there.unwrap_or(last.here);
                Some(Since::At(there - OVERLAP - aql::date::WIDEN_INSTANT_US))
            }
        }
    }

    /// What changed while the service was asked: since an answer that came a moment ago. Without the overlap,
    /// which is for what lies further back; two minutes for the rounding. None where bounds are too rough for
    /// that.
    pub fn again(manner: Manner, answered: Moment, now: Moment) -> Option<Since> {
        let passed = match (answered.there, now.there) {
            (Some(last), Some(now)) => now - last,
            _ => now.here - answered.here,
        };
        match manner {
            Manner::Relative if passed < -OVERLAP => None,
            Manner::Relative => Some(Since::Ago(minutes(passed.max(0) + AGAIN))),
            Manner::Literal => Some(Since::At(answered.there? - AGAIN)),
            Manner::Wide => None,
        }
    }

    /// The same bound, where the service is asked so much later: one that says how long ago reaches back as far, and
    /// further by the rounding.
    pub fn later(self, passed: Micros) -> Since {
        match self {
            Since::Ago(ago) => Since::Ago(ago + minutes(passed.max(0))),
            at @ Since::At(_) => at,
        }
    }

    /// The bound that would have been needed, now that the answer's date is known; none where this one
    /// reaches back far enough.
    pub fn too_late(self, last: Moment, there: Option<Micros>) -> Option<Since> {
        let (Since::Ago(asked), Some(then), Some(now)) = (self, last.there, there) else { return None };
        let needed = minutes((now - then).max(0) + OVERLAP);
        // The minute that was rounded up is room for the answer's own time under way.
        (needed > asked + 1).then_some(Since::Ago(needed))
    }
}

/// Rounded up, and one more for the time until the service looks.
fn minutes(span: Micros) -> i64 {
    span.div_euclid(MINUTE) + i64::from(span.rem_euclid(MINUTE) > 0) + 1
}

impl fmt::Display for Since {
    /// The AQL condition.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Since::Ago(minutes) => {
                let (days, hours, rest) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
                let parts: Vec<String> = [(days, 'd'), (hours, 'h'), (rest, 'm')]
                    .into_iter()
                    .filter(|(n, _)| *n > 0)
                    .map(|(n, unit)| format!("{n}{unit}"))
                    .collect();
                write!(f, "Updated >= \"now(-{})\"", parts.join(" "))
            }
            Since::At(moment) => {
                let text = aql::date::instant_text(*moment).unwrap_or_else(|| "0001-01-01".to_owned());
                write!(f, "Updated >= \"{text}\"")
            }
        }
    }
}

/// Two bounds that show whether a manner of asking works: the object last changed at `updated` must be
/// found by the first, and must not be found by the second. The second is none where the object is too
/// young to tell.
pub fn proof(manner: Manner, updated: Micros, now: Micros) -> (Since, Option<Since>) {
    let age = (now - updated).max(0);
    match manner {
        Manner::Relative => {
            let outside = age - 2 * DAY;
            (
                Since::Ago(minutes(age + 10 * MINUTE)),
                (outside > 10 * MINUTE).then(|| Since::Ago(minutes(outside))),
            )
        }
        Manner::Literal => {
            (Since::At(updated - MINUTE), (age > 10 * MINUTE).then_some(Since::At(updated + 5 * MINUTE)))
        }
        Manner::Wide => {
            let wide = aql::date::WIDEN_INSTANT_US;
            (Since::At(updated - wide), (age > 3 * wide).then_some(Since::At(updated + wide + DAY)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = 1_800_000_000_000_000;

    fn at(here: Micros, there: Option<Micros>) -> Moment {
        Moment { here, there }
    }

    #[test]
    fn a_window_covers_the_time_since_the_last_success_and_the_overlap_by_the_services_clock() {
        let hour = 60 * MINUTE;
        let since = |last, now| Since::after(Manner::Relative, last, now);
        assert_eq!(since(at(0, None), at(hour, None)), Some(Since::Ago(66)));
        // Our clock jumped; the service's did not.
        assert_eq!(since(at(NOW, Some(0)), at(0, Some(hour))), Some(Since::Ago(66)));
        // It was set back, and nobody else tells the time.
        assert_eq!(since(at(NOW, Some(0)), at(NOW - hour, None)), None);
        assert_eq!(since(at(NOW, None), at(NOW - MINUTE, None)), Some(Since::Ago(6)));
    }

    #[test]
    fn a_second_look_covers_the_time_since_the_first_and_little_more() {
        let first = at(NOW, Some(NOW));
        let again = |manner, passed| Since::again(manner, first, at(NOW + passed, Some(NOW + passed)));
        assert_eq!(again(Manner::Relative, 0), Some(Since::Ago(2)));
        assert_eq!(again(Manner::Relative, 61_000_000), Some(Since::Ago(4)));
        assert_eq!(again(Manner::Literal, MINUTE), Some(Since::At(NOW - AGAIN)));
        assert_eq!(again(Manner::Wide, 0), None);
        assert_eq!(Since::again(Manner::Literal, at(NOW, None), at(NOW, None)), None);
        assert_eq!(Since::again(Manner::Relative, at(NOW, None), at(NOW - DAY, None)), None);
    }

    #[test]
    fn a_bound_that_is_asked_for_later_reaches_back_as_far_as_before() {
        assert_eq!(Since::Ago(7).later(0), Since::Ago(8));
        assert_eq!(Since::Ago(7).later(1), Since::Ago(9));
        assert_eq!(Since::Ago(7).later(61_000_000), Since::Ago(10));
        // This machine's clock was set back meanwhile.
        assert_eq!(Since::Ago(7).later(-MINUTE), Since::Ago(8));
        assert_eq!(Since::At(NOW).later(MINUTE), Since::At(NOW));
    }

    #[test]
    fn an_answer_that_is_dated_later_than_was_thought_asks_for_a_larger_window() {
        let last = at(0, Some(0));
        let asked = Since::after(Manner::Relative, last, at(MINUTE, None)).unwrap();
        assert_eq!(asked, Since::Ago(7));
        assert_eq!(asked.too_late(last, Some(MINUTE + 59_000_000)), None);
        assert_eq!(asked.too_late(last, Some(60 * MINUTE)), Some(Since::Ago(66)));
        assert_eq!(asked.too_late(last, None), None);
    }

    #[test]
    fn conditions_are_written_in_the_documented_form() {
        assert_eq!(Since::Ago(7).to_string(), "Updated >= \"now(-7m)\"");
        assert_eq!(Since::Ago(135).to_string(), "Updated >= \"now(-2h 15m)\"");
        assert_eq!(Since::Ago(1440 * 3 + 61).to_string(), "Updated >= \"now(-3d 1h 1m)\"");
        assert_eq!(Since::At(0).to_string(), "Updated >= \"1970-01-01T00:00:00.000Z\"");
    }

    #[test]
    fn literals_reach_back_further_where_their_zone_is_not_known() {
        let last = at(NOW + DAY, Some(NOW));
        let bound = |manner| Since::after(manner, last, at(NOW, None));
        assert_eq!(bound(Manner::Literal), Some(Since::At(NOW - 6 * MINUTE)));
        assert_eq!(bound(Manner::Wide), Some(Since::At(NOW - 2 * DAY - 5 * MINUTE)));
        assert_eq!(Since::after(Manner::Literal, at(NOW, None), at(NOW, None)), None);
    }

    #[test]
    fn a_proof_finds_the_object_and_then_does_not() {
        for manner in Manner::ALL {
            let updated = NOW - 30 * DAY;
            let (inside, outside) = proof(manner, updated, NOW);
            let bound = |since| match since {
                Since::Ago(minutes) => NOW - minutes * MINUTE,
                Since::At(at) => at,
            };
            assert!(bound(inside) < updated && bound(outside.unwrap()) > updated, "{manner:?}");
            assert_eq!(proof(manner, NOW, NOW).1, None);
            assert_eq!(Manner::from_name(manner.name()), Some(manner));
        }
    }
}
