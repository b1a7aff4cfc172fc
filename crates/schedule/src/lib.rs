//! When a replica is refreshed. Pure: facts and the time in, decisions out, so that the tests run on
//! virtual time.
//!
//! ```text
//!             due                    committed "running"
//!  waiting ─────────▶ chosen ──────────────────────────────▶ running
//!     ▲      (at most max_workers)                             │
//!     │  success: base moves along the schedule's grid         │
//!     ├────────────────────────────────────────────────────────┤
//!     │  failure, or death (running, but nobody holds the      │
//!     │  replica's lock): retry_at after a pause that doubles  │
//!     └────────────────────────────────────────────────────────┘
//! ```
//!
//! - The schedule is a grid: `base`, `base + every`, `base + 2 every`, … A run that was missed, be it
//!   that the server was down or that a run took longer than `every`, is made up for once.
//! - After a failure the pause doubles from [`FIRST_PAUSE`] to [`LONGEST_PAUSE`], spread by a quarter,
//!   so that many replicas do not come back in step. It never exceeds the schedule's own pace by more
//!   than that ceiling.
//! - As soon as another replica of the same server and object schema succeeds that had failed over the
//!   service itself, those that failed over the service are due at once: it has recovered. Another's
//!   success alone says nothing of the kind: it may never have been in trouble.
//! - A request, and a recovery, bring one that fails forward, but once: what fails then as well waits its
//!   pause out.
//! - Replicas of one server, object schema and owner are a group: as soon as one is due, all are refreshed
//!   by one run, so that they always show the same moment ([`joins`]). One that fails twice over something
//!   of its own runs alone until it succeeds.
//! - A comparison of everything is due after `full_every`, up to a fifth of it earlier, so that replicas
//!   made together do not compare everything together ([`full_due`]). It is the group's run too: one that
//!   is to be compared stands for its group, and the group is refreshed with its end.
//! - Who comes first is weighed by lateness ([`turns`]), so that nobody is starved by storms of requests,
//!   by those that fail or hang, or by full comparisons.
#![forbid(unsafe_code)]

pub mod turns;

pub use turns::{Begun, Busy, Start, Turns, choose};

/// Microseconds since some fixed point, or a span of them.
pub type Micros = i64;

const SECOND: Micros = 1_000_000;
/// Whether a replica is refreshed along with another one of its group, due or not: `every` is how old it
/// may get, and a join needs both from the same moment.
pub fn joins(facts: &Facts) -> bool {
    facts.party().is_some()
}

/// Whether a replica is not kept apart from its group, if it has one. What fails over the service fails with its group,
/// and a first failure may be anything, a worker that was killed for one; what fails again by itself is kept apart.
pub fn is_healthy(facts: &Facts) -> bool {
    facts.failures <= 1 || facts.service_failed.is_some()
}

/// Whether everything is to be compared again. `seed` tells replicas apart.
pub fn full_due(full_at: Option<Micros>, full_every: Micros, seed: u64, now: Micros) -> bool {
    let Some(full_at) = full_at else { return true };
    let wait = full_every - full_every / 5 * i64::from(spread(seed)) / 1000;
    // A clock that was set back says nothing of when that was.
    now < full_at || now - full_at >= wait
}

/// The pause after the first failure.
pub const FIRST_PAUSE: Micros = 5 * SECOND;
/// The longest pause after a failure.
pub const LONGEST_PAUSE: Micros = 15 * 60 * SECOND;
/// The shortest `every`.
pub const SHORTEST_EVERY: Micros = SECOND;

/// What is known of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Its number (the table's OID).
    pub id: u32,
    /// The foreign server it is fed from.
    pub server: u32,
    /// How often it is refreshed.
    pub every: Micros,
    /// The point of the grid that the last success stood for; none before the first.
    pub base: Option<Micros>,
    /// When to try again after a failure.
    pub retry_at: Option<Micros>,
    /// Failures since the last success.
    pub failures: u32,
    /// When it was made.
    pub made: Micros,
    /// When it last failed, where that was over the service and not over the replica itself.
    pub service_failed: Option<Micros>,
    /// When it last succeeded after a failure over the service: what shows that this has recovered.
    pub recovered: Option<Micros>,
    /// Its last run was brought forward, and failed all the same: until `retry_at` no other is.
    pub patient: bool,
    /// Since when someone asks for a refresh.
    pub requested: Option<Micros>,
    /// The object schema, where it is known.
    pub schema: Option<i64>,
    /// With which others it can be refreshed; none where changes cannot be asked for, or were not yet.
    pub group: Option<Group>,
    /// Its next run compares everything.
    pub full: bool,
}

/// What replicas of one server have in common that are refreshed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// The role whose rights and credential they use.
    pub owner: u32,
    /// The object schema.
    pub schema: i64,
}

impl Facts {
    /// The group that it is refreshed with now.
    fn party(&self) -> Option<(u32, Group)> {
        self.group.filter(|_| is_healthy(self)).map(|group| (self.server, group))
    }
}

/// Why a run begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// There was no success yet.
    FirstLoad,
    /// The schedule.
    Schedule,
    /// `request_refresh()`.
    Request,
    /// A pause after a failure is over.
    Retry,
    /// The service answers others again.
    Recovery,
}

impl Reason {
    /// As the history shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::FirstLoad => "first load",
            Reason::Schedule => "schedule",
            Reason::Request => "request",
            Reason::Retry => "retry",
            Reason::Recovery => "recovery",
        }
    }
}

/// Whether a run with this reason (as the history shows it) was brought forward before a pause was over: what
/// fails all the same is patient from then on.
pub fn brought_forward(reason: &str) -> bool {
    [Reason::Request, Reason::Recovery].iter().any(|r| r.as_str() == reason)
}

/// When a replica is due next, and why. `recovered` is when the service last recovered for its like.
///
/// What was noted by a clock that has been set back since lies further ahead than any schedule or pause
/// reaches, and is due at once.
pub fn due(facts: &Facts, recovered: Option<Micros>, now: Micros) -> (Micros, Reason) {
    let within = |at: Micros, reach: Micros| if at.saturating_sub(now) > reach { now } else { at };
    let asked = facts.requested.map(|asked| (within(asked, 0), Reason::Request));
    if let Some(retry_at) = facts.retry_at {
        let retry = (within(retry_at, LONGEST_PAUSE), Reason::Retry);
        if facts.patient {
            return retry;
        }
        let recovered = recovered.zip(facts.service_failed).filter(|(ok, failed)| ok > failed);
        let recovered = recovered.map(|(ok, _)| (ok, Reason::Recovery));
        return asked.into_iter().chain(recovered).fold(retry, |a, b| if b.0 < a.0 { b } else { a });
    }
    let every = facts.every.max(SHORTEST_EVERY);
    let scheduled = match facts.base {
        None => (within(facts.made, 0), Reason::FirstLoad),
        // A run that was asked for ahead of its time leaves the grid, so up to twice that.
        Some(base) => (within(base.saturating_add(every), every.saturating_mul(2)), Reason::Schedule),
    };
    // What is due anyway needs no request; one that was made is served along.
    asked.filter(|(at, _)| *at < scheduled.0).unwrap_or(scheduled)
}

/// The point of the grid that a run which began at `began` stands for: the last one not after it. A
/// first run, and a run ahead of its time (asked for), keep or begin the grid.
pub fn next_base(base: Option<Micros>, every: Micros, began: Micros) -> Micros {
    let every = every.max(SHORTEST_EVERY);
    match base {
        Some(base) if began >= base => base + (began - base) / every * every,
        Some(base) if base - began < every => base,
        // The clock was set back, or there was no run yet.
        _ => began,
    }
}

/// The pause after the `failures`-th failure in a row (from 1). `seed` spreads the pauses: 75 to 100
/// per cent of the full one.
pub fn pause(every: Micros, failures: u32, seed: u64) -> Micros {
    let full = full_pause(every, failures);
    full - full / 4 * i64::from(spread(seed.wrapping_add(u64::from(failures)))) / 1000
}

fn full_pause(every: Micros, failures: u32) -> Micros {
    let doubled = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(20));
    // A fast schedule does not wait longer for its first retry than it would have waited anyway.
    let first = if failures <= 1 { doubled.min(every.max(SHORTEST_EVERY)) } else { doubled };
    first.min(LONGEST_PAUSE)
}

/// The pause before a replica is tried again that another session had locked, `before` times in a row already. A lock on
/// its table is seen before it is tried; one on a row of it is not.
pub fn lock_pause(before: u32) -> Micros {
    (SECOND << before.min(6)) - SECOND
}

/// 0 to 999, evenly, from a seed (splitmix64's mixing).
fn spread(seed: u64) -> u16 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) % 1000) as u16
}

/// When the first of some replicas is due; none where there is none. Until then there is nothing to look at.
pub fn next_due(replicas: &[Facts], now: Micros) -> Option<Micros> {
    let recovered = |r: &Facts| r.service_failed.and_then(|_| turns::recovered(replicas, r));
    replicas.iter().map(|r| due(r, recovered(r), now).0).min()
}

#[cfg(test)]
mod tests;
