//! What the table in the crate's description promises, and random courses.

use std::collections::HashMap;

use super::*;

fn group(n: usize, by_hand: bool, whole: bool) -> Course {
    let mut course = Course::new("r0", true, by_hand, whole);
    for n in 1..n {
        course.join(&format!("r{n}"), true);
    }
    course
}

fn one(member: usize, becomes: Becomes, in_full: bool) -> Vec<Verdict> {
    vec![Verdict { member, becomes, in_full }]
}

const OWN: Becomes = Becomes::Failed(Blame::Own);

#[test]
fn what_is_ones_own_is_nobody_elses() {
    let mut course = group(3, false, false);
    assert_eq!(course.befell(1, Befell::Own, "a trigger said no"), one(1, OWN, false));
    // Nobody fails twice in one run.
    assert_eq!(course.befell(1, Befell::Own, "again"), []);
    assert_eq!(course.befell(0, Befell::Own, "a value"), one(0, OWN, false));
    assert!(course.is_due(2) && !course.is_due(0));
    assert_eq!(course.end(Ending::Written), one(2, Becomes::Refreshed, false));
    assert_eq!(
        course.without().as_deref(),
        Some("r1 (it failed: a trigger said no), r0 (it failed: a value)")
    );
    assert_eq!(course.untold(), [0, 1]);
}

#[test]
fn a_locked_replica_is_put_off_until_it_is_free_and_one_that_is_waited_for_waits_alone() {
    let mut course = group(3, false, false);
    assert_eq!(course.befell(0, Befell::Locked, "locked"), one(0, Becomes::PutOff(Due::WhenFree), false));
    assert!(course.is_due(1) && course.is_due(2));

    let mut course = group(3, true, false);
    assert_eq!(course.befell(2, Befell::Locked, "locked"), one(2, Becomes::PutOff(Due::WhenFree), false));
    assert_eq!(course.befell(0, Befell::Locked, "locked"), one(1, Becomes::PutOff(Due::AtOnce), false));
    assert_eq!(course.writing(), Some(Writing { one_by_one: false, patient: true }));
    assert_eq!(course.without().as_deref(), Some("r2 (locked), r1 (r0 is waited for: locked)"));
}

#[test]
fn what_is_outdated_is_compared_in_full_and_the_runs_own_at_once() {
    let mut course = group(3, false, false);
    assert_eq!(course.befell(1, Befell::Outdated, "a new type"), one(1, Becomes::PutOff(Due::AtOnce), true));
    let verdicts = course.befell(0, Befell::Outdated, "a new type");
    assert_eq!(
        verdicts,
        [
            Verdict { member: 2, becomes: Becomes::PutOff(Due::AsScheduled), in_full: false },
            Verdict { member: 0, becomes: Becomes::Turned, in_full: false },
        ]
    );
    assert_eq!(course.writing(), None);
    // At the end of a full comparison what was read is written all the same.
    let mut course = group(2, false, true);
    assert_eq!(course.befell(0, Befell::Outdated, "a new type"), []);
    assert!(course.is_due(0) && course.is_due(1));
}

#[test]
fn where_changes_cannot_be_asked_for_a_comparison_is_written_and_the_others_wait_for_their_turn() {
    let mut course = group(2, false, true);
    assert_eq!(course.unaskable("refused"), one(1, Becomes::PutOff(Due::AsScheduled), false));
    assert_eq!(course.end(Ending::Written), one(0, Becomes::Refreshed, false));
    assert_eq!(course.without().as_deref(), Some("r1 (refused)"));
}

#[test]
fn a_removed_replica_is_nobodys_fault() {
    let mut course = group(3, false, false);
    assert_eq!(course.befell(2, Befell::Gone, "removed"), one(2, Becomes::Released, false));
    let verdicts = course.befell(0, Befell::Gone, "removed");
    assert_eq!(
        verdicts,
        [
            Verdict { member: 0, becomes: Becomes::Released, in_full: false },
            Verdict { member: 1, becomes: Becomes::PutOff(Due::AtOnce), in_full: false },
        ]
    );
    assert_eq!(course.writing(), None);
}

#[test]
fn a_commit_that_fails_is_tried_once_more_and_then_nobody_is_to_blame() {
    let mut course = group(2, false, false);
    assert_eq!(course.unwritable(), []);
    assert_eq!(course.writing(), Some(Writing { one_by_one: true, patient: false }));
    let all = course.unwritable();
    assert!(all.len() == 2 && all.iter().all(|v| v.becomes == Becomes::Failed(Blame::Nobody)));
    assert_eq!(course.writing(), None);
}

#[test]
fn one_that_only_refers_costs_a_full_comparison_at_most() {
    let mut course = group(1, false, false);
    let n = course.accompany("failing", "it fails by itself");
    course.outsider(7, "busy", "another refresh of it is under way");
    assert!(course.goes(n) && !course.is_due(n));
    assert_eq!(course.befell(n, Befell::Own, "a trigger"), one(n, Becomes::Released, true));
    course.end(Ending::Written);
    assert_eq!(
        course.without().as_deref(),
        Some("failing (it fails by itself), busy (another refresh of it is under way)")
    );
    assert_eq!((course.untold(), course.untold_outside()), (vec![], &[7][..]));
}

#[test]
fn many_are_counted_and_five_are_named() {
    let mut course = group(9, false, false);
    (1..9).for_each(|n| drop(course.befell(n, Befell::Locked, "locked")));
    let said = course.without().unwrap_or_default();
    assert!(said.ends_with("r5 (locked) and 3 more"), "{said}");
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % sides
    }
}

/// Drives a course as `src/replica/run` does, with whatever may happen at each point.
fn random(seed: u64) {
    let mut dice = Dice(seed);
    let members = 1 + dice.roll(6);
    let (by_hand, whole) = (dice.roll(2) == 0, dice.roll(2) == 0);
    let mut course = group(members, by_hand, whole);
    let all = members + dice.roll(3);
    for n in members..all {
        course.accompany(&format!("r{n}"), "it fails by itself");
    }
    let mut befallen: HashMap<usize, Vec<Befell>> = HashMap::new();
    let mut found: HashMap<usize, Verdict> = HashMap::new();
    let mut take = |verdicts: Vec<Verdict>| {
        for verdict in verdicts {
            assert!(found.insert(verdict.member, verdict).is_none(), "seed {seed}: two verdicts of one");
        }
    };
    let what = [Befell::Own, Befell::Locked, Befell::Outdated, Befell::Gone];
    let mut trouble = dice.roll(6);
    // Asking.
    while trouble > 0 && dice.roll(3) > 0 {
        trouble -= 1;
        let (n, what) = (dice.roll(all), what[dice.roll(4)]);
        take(match dice.roll(8) {
            0 => course.unaskable("refused"),
            _ => {
                befallen.entry(n).or_default().push(what);
                course.befell(n, what, "why")
            }
        });
    }
    let early = [None, Some(Ending::Service), Some(Ending::Stopped)][dice.roll(8).min(2)]
        .filter(|_| trouble % 2 == 1);
    let mut attempts = 0;
    if let Some(early) = early {
        take(course.end(early));
    }
    while course.writing().is_some() {
        attempts += 1;
        assert!(attempts <= all + 3, "seed {seed}: it does not end");
        if trouble == 0 {
            take(course.end(Ending::Written));
            break;
        }
        trouble -= 1;
        take(match dice.roll(5) {
            0 => course.unwritable(),
            1 if dice.roll(3) == 0 => course.end(Ending::Stopped),
            _ => {
                let going: Vec<usize> = (0..all).filter(|n| course.goes(*n)).collect();
                let (n, what) = (
                    going[dice.roll(going.len())],
                    [Befell::Own, Befell::Locked, Befell::Gone][dice.roll(3)],
                );
                befallen.entry(n).or_default().push(what);
                course.befell(n, what, "why")
            }
        });
    }
    take(course.end(Ending::Stopped));
    for n in 0..all {
        let verdict = found[&n];
        let had = |what| befallen.get(&n).is_some_and(|list| list.contains(&what));
        match verdict.becomes {
            // Failures are its own, the service's, or nobody's.
            Becomes::Failed(Blame::Own) => assert!(had(Befell::Own) && n < members, "seed {seed}: {n}"),
            Becomes::PutOff(Due::WhenFree) => assert!(had(Befell::Locked), "seed {seed}: {n}"),
            Becomes::Turned => assert!(n == 0 && !whole, "seed {seed}"),
            Becomes::Refreshed => assert!(!had(Befell::Own) || n >= members, "seed {seed}: {n}"),
            _ => {}
        }
        assert!(n < members || verdict.becomes == Becomes::Released, "seed {seed}: {n}");
        assert_eq!(course.became(n), Some(verdict.becomes));
        assert!(!course.goes(n));
    }
    // Whoever is missing where others were written is named or counted, but for what was removed.
    let written = found.values().any(|v| v.becomes == Becomes::Refreshed);
    let missing =
        (0..members).filter(|n| !matches!(found[n].becomes, Becomes::Refreshed | Becomes::Released)).count();
    let named = course.without().map_or(0, |said| match said.rsplit_once(" and ") {
        Some((_, more)) => 5 + more.trim_end_matches(" more").parse::<usize>().unwrap_or(0),
        None => said.matches(" (").count(),
    });
    assert!(!written || named == missing + (all - members), "seed {seed}: {named} for {missing}");
    assert!(!written || course.untold().len() >= missing, "seed {seed}");
}

#[test]
fn whatever_happens_everybody_has_one_verdict_and_the_run_ends() {
    (0..50_000).for_each(random);
}
