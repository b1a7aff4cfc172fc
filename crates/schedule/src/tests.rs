//! Whole days of refreshes on virtual time.

use super::*;

mod fair;

const MINUTE: Micros = 60 * SECOND;

fn replica(id: u32) -> Facts {
    Facts {
        id,
        server: 1,
        every: 5 * MINUTE,
        base: None,
        retry_at: None,
        failures: 0,
        made: 0,
        service_failed: None,
        recovered: None,
        patient: false,
        requested: None,
        schema: None,
        group: None,
        full: false,
    }
}

fn succeeded(facts: &mut Facts, began: Micros, ended: Micros) {
    facts.base = Some(next_base(facts.base, facts.every, began));
    facts.retry_at = None;
    facts.failures = 0;
    if facts.service_failed.take().is_some() {
        facts.recovered = Some(ended);
    }
    facts.patient = false;
}

fn failed(facts: &mut Facts, ended: Micros, service: bool, reason: Reason) {
    facts.failures += 1;
    facts.retry_at = Some(ended + pause(facts.every, facts.failures, u64::from(facts.id)));
    facts.service_failed = service.then_some(ended);
    facts.patient = brought_forward(reason.as_str());
}

/// What [`choose`] would start, if all of it can be.
fn chosen(replicas: &[Facts], busy: &[u32], workers: usize, now: Micros) -> Vec<(u32, Reason)> {
    chosen_in(replicas, busy, workers, now, &mut Turns::default())
}

fn chosen_in(
    replicas: &[Facts],
    busy: &[u32],
    workers: usize,
    now: Micros,
    turns: &mut Turns,
) -> Vec<(u32, Reason)> {
    let busy: Vec<Busy> = busy.iter().map(|id| Busy { id: *id, full: false, over: false }).collect();
    let mut starts = Vec::new();
    choose(replicas, &busy, workers, now, turns, |start| {
        starts.push((start.id, start.reason));
        Begun::Yes
    });
    starts
}

/// Runs replicas for a span. `outcome` tells how long a run takes and whether it succeeds.
/// Returns every run: replica, begin, reason.
fn simulate(
    replicas: &mut [Facts],
    workers: usize,
    span: Micros,
    mut outcome: impl FnMut(u32, Micros) -> (Micros, bool),
) -> Vec<(u32, Micros, Reason)> {
    let mut runs = Vec::new();
    let mut under_way: Vec<(u32, Micros, Micros, bool, Reason)> = Vec::new();
    let mut turns = Turns::default();
    let mut now = 0;
    while now < span {
        for (id, began, ended, ok, reason) in under_way.extract_if(.., |run| run.2 <= now) {
            let Some(facts) = replicas.iter_mut().find(|r| r.id == id) else { continue };
            if ok { succeeded(facts, began, ended) } else { failed(facts, ended, true, reason) }
        }
        let busy: Vec<Busy> =
            under_way.iter().map(|run| Busy { id: run.0, full: false, over: false }).collect();
        choose(replicas, &busy, workers, now, &mut turns, |Start { id, reason, .. }| {
            let (takes, ok) = outcome(id, now);
            runs.push((id, now, reason));
            under_way.push((id, now, now + takes, ok, reason));
            Begun::Yes
        });
        assert!(under_way.len() <= workers);
        now += SECOND;
    }
    runs
}

#[test]
fn a_replica_is_loaded_at_once_and_then_keeps_to_its_schedule() {
    let runs = simulate(&mut [replica(1)], 2, 21 * MINUTE, |_, _| (20 * SECOND, true));
    let expected: Vec<_> = (0..5)
        .map(|n| (1, n * 5 * MINUTE, if n == 0 { Reason::FirstLoad } else { Reason::Schedule }))
        .collect();
    assert_eq!(runs, expected);
}

#[test]
fn runs_that_were_missed_are_made_up_for_once_and_the_grid_stays() {
    // The third run takes 16 minutes: three points of the grid pass by.
    let runs = simulate(&mut [replica(1)], 2, 40 * MINUTE, |_, now| {
        (if now == 10 * MINUTE { 16 * MINUTE } else { SECOND }, true)
    });
    let begins: Vec<Micros> = runs.iter().map(|(_, at, _)| *at / MINUTE).collect();
    assert_eq!(begins, [0, 5, 10, 26, 30, 35]);
}

#[test]
fn a_clock_that_is_set_back_does_not_stop_the_schedule() {
    let base = Some(1_000 * MINUTE);
    assert_eq!(next_base(base, 5 * MINUTE, 10 * MINUTE), 10 * MINUTE);
    for late in [
        Facts { base, ..replica(1) },
        Facts { retry_at: base, failures: 3, service_failed: base, ..replica(1) },
        Facts { base, requested: base, ..replica(1) },
        Facts { made: 1_000 * MINUTE, ..replica(1) },
    ] {
        assert_eq!(chosen(&[late], &[], 1, 10 * MINUTE).len(), 1, "{late:?}");
    }
    let runs = simulate(&mut [Facts { base, ..replica(1) }], 1, 11 * MINUTE, |_, _| (SECOND, true));
    assert_eq!(runs.iter().map(|run| run.1).collect::<Vec<_>>(), [0, 5 * MINUTE, 10 * MINUTE]);
    // A run that was asked for a moment early leaves the grid alone.
    let early = Facts { base: Some(20 * MINUTE), ..replica(1) };
    assert_eq!(chosen(&[early], &[], 1, 16 * MINUTE), []);
    assert_eq!(next_base(base, 5 * MINUTE, 999 * MINUTE), 1_000 * MINUTE);
}

#[test]
fn pauses_after_failures_double_up_to_the_ceiling_and_are_spread() {
    for seed in 0..200 {
        let mut before = 0;
        for failures in 1..40 {
            let pause = pause(5 * MINUTE, failures, seed);
            assert!((1..=LONGEST_PAUSE).contains(&pause));
            assert!(failures > 8 || pause > before, "failure {failures}: {before} then {pause}");
            before = pause;
        }
        assert!(before >= LONGEST_PAUSE / 4 * 3);
    }
    let spread: std::collections::HashSet<_> = (0..200).map(|seed| pause(5 * MINUTE, 5, seed)).collect();
    assert!(spread.len() > 100);
}

#[test]
fn a_fast_schedule_does_not_pause_longer_than_itself_after_one_failure() {
    assert!(pause(SECOND, 1, 7) <= SECOND);
}

#[test]
fn one_success_brings_back_every_replica_of_the_server_that_failed_over_the_service() {
    let mut replicas: Vec<Facts> = (1..=10).map(replica).collect();
    replicas.push(Facts { server: 2, ..replica(99) });
    let down = 5 * MINUTE..65 * MINUTE;
    let runs = simulate(&mut replicas, 4, 90 * MINUTE, |id, now| (SECOND, id != 99 && !down.contains(&now)));
    let first_success = runs.iter().find(|(id, at, _)| *id != 99 && *at >= down.end).map(|(_, at, _)| *at);
    let back = first_success.unwrap_or_default();
    assert!(back - down.end <= LONGEST_PAUSE);
    for id in 1..=10 {
        let again = runs.iter().find(|(run, at, _)| *run == id && *at >= down.end).map(|(_, at, _)| *at);
        assert!(
            again.is_some_and(|at| at <= back + 10 * SECOND),
            "replica {id} came back at {again:?}, not {back}"
        );
    }
    // The other server's failure is none of theirs.
    assert!(runs.iter().all(|(id, _, reason)| *id != 99 || *reason != Reason::Recovery));
}

#[test]
fn replicas_that_fail_or_hang_do_not_hold_up_the_others() {
    let mut replicas: Vec<Facts> = (1..=20).map(replica).collect();
    let runs = simulate(&mut replicas, 2, 120 * MINUTE, |id, _| match id {
        1..=9 => (20 * SECOND, false),
        10 => (30 * MINUTE, false),
        _ => (2 * SECOND, true),
    });
    for id in 11..=20 {
        let begins: Vec<Micros> = runs.iter().filter(|r| r.0 == id).map(|r| r.1).collect();
        assert!(begins.len() >= 20, "replica {id} ran {} times", begins.len());
        let late = begins.windows(2).map(|w| w[1] - w[0]).max();
        assert!(late.is_some_and(|gap| gap <= 10 * MINUTE), "replica {id} waited {late:?}");
    }
    // And those that fail are still tried.
    assert!((1..=10).all(|id| runs.iter().filter(|r| r.0 == id).count() >= 3));
}

#[test]
fn a_request_is_served_before_its_time_and_before_scheduled_runs_that_are_not_late() {
    let base = Some(0);
    let asked = Facts { base, requested: Some(9 * SECOND), ..replica(7) };
    let other = Facts { base, ..replica(3) };
    assert_eq!(chosen(&[other, asked], &[], 1, 10 * SECOND), [(7, Reason::Request)]);
    assert_eq!(chosen(&[other, asked], &[], 1, 7 * MINUTE), [(7, Reason::Request)]);
    let other = Facts { every: MINUTE, ..other };
    assert_eq!(chosen(&[other, asked], &[], 1, 4 * MINUTE), [(3, Reason::Schedule)]);
}

#[test]
fn no_more_run_than_may_and_none_twice() {
    let replicas: Vec<Facts> = (1..=5).map(replica).collect();
    assert_eq!(chosen(&replicas, &[1], 2, 0), [(2, Reason::FirstLoad)]);
    assert_eq!(chosen(&replicas, &[1, 2], 2, 0), []);
    // max_workers was lowered while three run.
    assert_eq!(chosen(&replicas, &[1, 2, 3], 2, 0), []);
}

const GROUP: Option<Group> = Some(Group { owner: 10, schema: 3 });

/// Runs a group's replicas as the worker does: the one that is chosen takes along those that join.
fn simulate_group(replicas: &mut [Facts], span: Micros) -> Vec<(Micros, Vec<u32>)> {
    let (mut runs, mut turns) = (Vec::new(), Turns::default());
    for now in (0..span).step_by(SECOND as usize) {
        for (leader, _) in chosen_in(replicas, &[], 4, now, &mut turns) {
            let party: Vec<u32> =
                replicas.iter().filter(|r| r.id == leader || joins(r)).map(|r| r.id).collect();
            let base = replicas.iter().find(|r| r.id == leader).map(|r| next_base(r.base, r.every, now));
            for facts in replicas.iter_mut().filter(|r| party.contains(&r.id)) {
                succeeded(facts, now, now);
                facts.base = base;
                facts.full &= facts.id != leader;
            }
            runs.push((now, party));
        }
    }
    runs
}

#[test]
fn a_group_that_was_made_at_different_times_keeps_step_after_one_round() {
    let mut replicas: Vec<Facts> = (1..=6).map(|id| Facts { group: GROUP, ..replica(id) }).collect();
    for (n, facts) in replicas.iter_mut().enumerate() {
        facts.base = Some(n as i64 * 47 * SECOND);
    }
    replicas[5].every = 10 * MINUTE;
    let runs = simulate_group(&mut replicas, 60 * MINUTE);
    assert!(runs.iter().all(|(_, party)| *party == [1, 2, 3, 4, 5, 6]), "{runs:?}");
    // As often as the one that asks for it most often.
    assert!((11..=13).contains(&runs.len()), "{} runs", runs.len());
}

#[test]
fn those_that_are_to_be_compared_in_full_stand_for_their_group_one_after_the_other() {
    let mut replicas: Vec<Facts> =
        (1..=6).map(|id| Facts { group: GROUP, base: Some(0), full: id > 3, ..replica(id) }).collect();
    let now = 5 * MINUTE;
    assert_eq!(chosen(&replicas, &[], 4, now), [(4, Reason::Schedule)]);
    // While it is under way, its group waits for its end.
    assert_eq!(chosen(&replicas, &[4], 4, now), []);
    let runs = simulate_group(&mut replicas, 9 * MINUTE);
    assert!(runs.iter().all(|(_, party)| party.len() == 6));
    let begins: Vec<Micros> = runs.iter().map(|(at, _)| *at / SECOND).collect();
    assert_eq!(begins, [300, 301, 302], "three comparisons, and no run without one");
    assert!(replicas.iter().all(|r| !r.full));
}

#[test]
fn a_group_is_refreshed_by_one_run_and_one_that_fails_by_itself_runs_alone() {
    let grouped = |id| Facts { group: GROUP, base: Some(0), ..replica(id) };
    let poisoned = Facts { failures: 2, retry_at: Some(MINUTE), ..grouped(3) };
    let cut_off = Facts { failures: 1, retry_at: Some(MINUTE), service_failed: Some(0), ..grouped(4) };
    let other = Facts { group: Some(Group { owner: 11, schema: 3 }), ..grouped(5) };
    let all = [grouped(1), grouped(2), poisoned, cut_off, other];
    let now = 6 * MINUTE;
    let ids = |busy| chosen(&all, busy, 9, now).into_iter().map(|(id, _)| id).collect::<Vec<u32>>();
    // The latest first, by its own measure.
    assert_eq!(ids(&[]), [3, 4, 5]);
    let party: Vec<u32> = all.iter().filter(|r| joins(r)).map(|r| r.id).collect();
    assert_eq!(party, [1, 2, 4, 5]);
    // One that waits for its first load has no group yet, and nothing keeps it apart from one.
    let first = replica(6);
    assert!(!joins(&first) && is_healthy(&first) && !is_healthy(&poisoned));
    // While its group is under way, a replica waits.
    assert_eq!(ids(&[2]), [3, 5]);
}

#[test]
fn full_comparisons_of_replicas_made_together_are_spread() {
    let day = 24 * 60 * MINUTE;
    let due = |at: Micros| (0..100).filter(|seed| full_due(Some(0), day, *seed, at)).count();
    assert_eq!(due(day * 4 / 5 - MINUTE), 0);
    assert!((30..70).contains(&due(day * 9 / 10)));
    assert_eq!(due(day), 100);
    assert!(full_due(None, day, 1, 0) && full_due(Some(MINUTE), day, 1, 0));
}

#[test]
fn nothing_is_due_before_the_next_due_and_something_is_then() {
    let mut replicas: Vec<Facts> =
        (1..=9).map(|id| Facts { every: i64::from(id) * MINUTE, ..replica(id) }).collect();
    assert_eq!(next_due(&[], 0), None);
    assert_eq!(next_due(&replicas, 0), Some(0), "a first load is due at once");
    for (n, facts) in replicas.iter_mut().enumerate() {
        let at = n as i64 * SECOND;
        if n % 4 == 3 { failed(facts, at, true, Reason::Schedule) } else { succeeded(facts, at, at + SECOND) }
    }
    let mut now = 20 * SECOND;
    for _ in 0..200 {
        let next = next_due(&replicas, now).expect("there are some");
        assert_eq!(chosen(&replicas, &[], 9, next.max(now) - 1).is_empty(), next > now);
        now = next.max(now);
        let starts = chosen(&replicas, &[], 9, now);
        assert!(!starts.is_empty(), "something is due at {now}");
        for (id, _) in starts {
            let facts = replicas.iter_mut().find(|r| r.id == id).expect("one of them");
            succeeded(facts, now, now + SECOND);
        }
    }
}
