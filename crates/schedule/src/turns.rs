//! Whose turn it is, where more is ready than there are workers.
//!
//! Lateness is the measure: how long a replica has been due, in units of its own `every` (of its pause, where it
//! fails). In this order:
//!
//! | `Tier` | who |
//! |---|---|
//! | `Late` | in good health, due by the schedule, and late by half its `every` or more; the latest first |
//! | `Waiting` | fails, or was never loaded, and is late by half its own measure |
//! | `Asked` | `request_refresh()`; who has waited longest first |
//! | `Due` | everybody else that is due; the latest first |
//! | `Kept` | was refused a full comparison before, since another one was under way or begun, and is not due otherwise |
//!
//! So a request is served at once as long as nobody is late, and however many there are, they hold up a schedule by
//! no more than itself: nobody waits longer than three times its `every` and a run's length, if the schedules
//! themselves can be kept. Where they cannot, and somebody is late by twice its `every`, every other turn is for the
//! rest, so that a request or a retry is not put off for ever.
//!
//! Full comparisons are long. One worker is kept free of them, as long as somebody can be refreshed without one; a
//! group whose turn it is gets its changes meanwhile, and its comparison next, before any that is due after it. Where
//! several of a group are to be compared, that goes on one after the other, and the group is not refreshed more often
//! than its schedule has it while they wait. While one of a group is compared, the others are refreshed without it, if it takes long: whoever starts them says when
//! ([`Begun::Taken`] until then).

use super::{Facts, Group, Micros, Reason, SHORTEST_EVERY, due, full_pause};

/// Who is late by this share of its own measure goes before what was asked for.
const LATE: f64 = 0.5;
/// Who is late by so much shows that the schedules cannot be kept.
const LOST: f64 = 2.0;

/// A run under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy {
    /// The replica that it is for.
    pub id: u32,
    /// It compares everything.
    pub full: bool,
    /// What it was for is done; only its process is still there, and takes up a worker.
    pub over: bool,
}

/// A run that is to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// The replica that it is for.
    pub id: u32,
    /// Why it begins.
    pub reason: Reason,
    /// It compares everything. If not, it asks for changes, even if everything is to be compared some time.
    pub full: bool,
}

/// What became of a run that was to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// It begins.
    Yes,
    /// Somebody else is at the replica or its group.
    Taken,
    /// There is no process for it.
    NoWorker,
}

/// What is kept from one choice to the next.
#[derive(Debug, Default)]
pub struct Turns {
    /// The last turn was for somebody late.
    late: bool,
    /// Who was refused a full comparison when it was due.
    refused: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    Late,
    Waiting,
    Asked,
    Due,
    Kept,
}

#[derive(Debug, Clone, Copy)]
struct Candidate<'a> {
    facts: &'a Facts,
    reason: Reason,
    tier: Tier,
    lateness: f64,
    at: Micros,
}

impl<'a> Candidate<'a> {
    fn new(facts: &'a Facts, recovered: Option<Micros>, turns: &Turns, now: Micros) -> Option<Self> {
        // However long a request waits, the schedule behind it counts as well.
        let asked = facts.requested.map(|_| due(facts, recovered, now));
        let plain = due(&Facts { requested: None, ..*facts }, recovered, now);
        let late = |(at, reason): (Micros, Reason)| {
            let fails = facts.failures > 0;
            let every = facts.every.max(SHORTEST_EVERY);
            let pace = if fails { every.max(full_pause(every, facts.failures)) } else { every };
            let lateness = now.saturating_sub(at) as f64 / pace as f64;
            let tier = match reason {
                Reason::Request => Tier::Asked,
                _ if lateness < LATE => Tier::Due,
                Reason::Schedule | Reason::Retry if !fails => Tier::Late,
                _ => Tier::Waiting,
            };
            Self { facts, reason, tier, lateness, at }
        };
        let ready = [Some(plain), asked].into_iter().flatten().filter(|(at, _)| *at <= now).map(late);
        let best = ready.min_by_key(|candidate| candidate.tier);
        let kept = || Self { tier: Tier::Kept, ..late((now, Reason::Schedule)) };
        let refused =
            facts.full && facts.group.is_some() && facts.failures == 0 && turns.refused.contains(&facts.id);
        best.or_else(|| refused.then(kept))
    }

    fn order(&self, other: &Self) -> std::cmp::Ordering {
        let within = match self.tier {
            Tier::Asked | Tier::Kept => self.at.cmp(&other.at),
            _ => other.lateness.total_cmp(&self.lateness),
        };
        self.tier.cmp(&other.tier).then(within).then(self.facts.id.cmp(&other.facts.id))
    }
}

/// Those that one run refreshes.
struct Party<'a> {
    /// The one whose turn it is.
    first: Candidate<'a>,
    /// The others that are due, in their order.
    rest: Vec<Candidate<'a>>,
    /// The one that is to be compared in full.
    full: Option<&'a Facts>,
}

/// Starts what is to be started now, in order, when `busy` are under way and at most `max_workers` may be.
pub fn choose(
    replicas: &[Facts],
    busy: &[Busy],
    max_workers: usize,
    now: Micros,
    turns: &mut Turns,
    mut start: impl FnMut(Start) -> Begun,
) {
    turns.refused.retain(|id| replicas.iter().any(|r| r.id == *id && r.full));
    let going: Vec<&Busy> = busy.iter().filter(|run| !run.over).collect();
    let is_busy = |id: u32| going.iter().any(|run| run.id == id);
    let parties_of = |full: bool| -> Vec<(u32, Group)> {
        let runs = going.iter().filter(|run| run.full == full);
        runs.filter_map(|run| replicas.iter().find(|r| r.id == run.id)?.party()).collect()
    };
    let (under_way, compared) = (parties_of(false), parties_of(true));
    let mut ready: Vec<Candidate> = replicas
        .iter()
        .filter(|r| !is_busy(r.id) && !r.party().is_some_and(|party| under_way.contains(&party)))
        .filter_map(|r| Candidate::new(r, r.service_failed.and_then(|_| recovered(replicas, r)), turns, now))
        .collect();
    ready.sort_by(Candidate::order);
    // One of a group stands for all: one that is to be compared in full, if there is any, since that is done of the
    // one alone that stands for them; of those, one that was refused it.
    let mut parties: Vec<Party> = Vec::new();
    for candidate in ready {
        let party = candidate.facts.party();
        // One comparison in a group at a time; the others go on meanwhile.
        let may = !party.is_some_and(|party| compared.contains(&party));
        let full = candidate.facts.full.then_some(candidate.facts).filter(|_| may);
        match parties.iter_mut().find(|p| party.is_some() && p.first.facts.party() == party) {
            Some(known) => {
                let refused = full.filter(|full| turns.refused.contains(&full.id));
                known.full = known.full.filter(|_| refused.is_none()).or(full);
                known.rest.push(candidate);
            }
            None => parties.push(Party { first: candidate, rest: Vec::new(), full }),
        }
    }
    let mut free = max_workers.saturating_sub(busy.len());
    let mut fulls =
        most_fulls(replicas, max_workers).saturating_sub(going.iter().filter(|run| run.full).count());
    while free > 0 && !parties.is_empty() {
        let (first, first_full) = (&parties[0].first, parties[0].full);
        let lost = first.tier == Tier::Late && first.lateness >= LOST && turns.late;
        let rest = lost.then(|| parties.iter().position(|p| p.first.tier != Tier::Late)).flatten();
        // Who was refused a comparison is next when there is room for one again.
        let room = fulls > 0 && (first.tier != Tier::Late || first_full.is_some());
        let is_next = |id: &u32| parties.iter().position(|p| p.full.is_some_and(|full| full.id == *id));
        let refused = room.then(|| turns.refused.iter().find_map(is_next)).flatten();
        let party = parties.remove(refused.or(rest).unwrap_or(0));
        let full = party.full.filter(|_| fulls > 0);
        // Whoever is to be compared as well comes along with the others now, and its schedule goes on with theirs.
        for one in std::iter::once(&party.first).chain(&party.rest).map(|c| c.facts) {
            let granted = full.is_some_and(|full| full.id == one.id);
            if one.full && one.group.is_some() && !granted && !turns.refused.contains(&one.id) {
                turns.refused.push(one.id);
            }
        }
        // Without a comparison: whoever can be refreshed in another way, and is due. Somebody else may be at one of them,
        // for long.
        let light = |c: &&Candidate| c.tier != Tier::Kept && (c.facts.group.is_some() || !c.facts.full);
        let full = full.map(|facts| Start { id: facts.id, reason: party.first.reason, full: true });
        let changes = std::iter::once(&party.first).chain(&party.rest).filter(light);
        let changes = changes.map(|c| Start { id: c.facts.id, reason: c.reason, full: false });
        for one in full.into_iter().chain(changes) {
            match start(one) {
                Begun::Yes => {
                    free -= 1;
                    fulls -= usize::from(one.full);
                    turns.late = party.first.tier == Tier::Late;
                    turns.refused.retain(|id| !one.full || *id != one.id);
                    break;
                }
                Begun::Taken => {}
                Begun::NoWorker => return,
            }
        }
    }
}

/// How many full comparisons may be under way. None has to make room for a group that waits for first loads itself.
fn most_fulls(replicas: &[Facts], max_workers: usize) -> usize {
    let loads = |r: &Facts| r.base.is_none() && r.failures == 0;
    let loading = |r: &Facts| replicas.iter().any(|o| o.server == r.server && loads(o));
    match replicas.iter().any(|r| r.group.is_some() && r.base.is_some() && !loading(r)) {
        true => max_workers.saturating_sub(1).max(1),
        false => max_workers,
    }
}

/// When the service recovered as far as a replica is concerned: another one of its server and object schema, as far
/// as these are known, succeeded that had failed over it.
pub(super) fn recovered(replicas: &[Facts], of: &Facts) -> Option<Micros> {
    let alike = |r: &&Facts| {
        r.server == of.server && (r.schema.is_none() || of.schema.is_none() || r.schema == of.schema)
    };
    replicas.iter().filter(alike).filter_map(|r| r.recovered).max()
}
