//! Nobody is starved, whatever storms there are.

use super::*;

/// Numbers from a seed (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.unsigned_abs()) as i64
    }
}

/// A replica, and how its runs go.
#[derive(Clone, Copy)]
struct Actor {
    facts: Facts,
    takes: Micros,
    full_takes: Micros,
    full_every: Micros,
    full_at: Micros,
    /// Asked for all the time.
    stormed: bool,
    fails: bool,
    /// When it was last refreshed, as of that run's begin.
    served: Micros,
    tried: Micros,
}

struct World {
    actors: Vec<Actor>,
    workers: usize,
    runs: Vec<(Start, Micros, Micros)>,
    turns: Turns,
}

impl World {
    fn step(&mut self, now: Micros) {
        for (start, began, ended) in self.runs.extract_if(.., |run| run.2 <= now).collect::<Vec<_>>() {
            let Some(leader) = self.actors.iter().find(|a| a.facts.id == start.id).copied() else { continue };
            if leader.fails {
                let Some(actor) = self.actors.iter_mut().find(|a| a.facts.id == start.id) else { continue };
                failed(&mut actor.facts, ended, false, start.reason);
                continue;
            }
            for actor in self.actors.iter_mut() {
                let along = leader.facts.party().is_some() && actor.facts.party() == leader.facts.party();
                if actor.facts.id == start.id || along {
                    succeeded(&mut actor.facts, began, ended);
                    // What is read last of a comparison is what changed up to its end.
                    actor.served = began;
                    if start.full && actor.facts.id == start.id {
                        actor.full_at = began;
                    }
                }
            }
        }
        for actor in &mut self.actors {
            actor.facts.full = actor.facts.group.is_none() || now - actor.full_at >= actor.full_every;
            if actor.stormed {
                actor.facts.requested.get_or_insert(now);
            }
        }
        let facts: Vec<Facts> = self.actors.iter().map(|a| a.facts).collect();
        let busy: Vec<Busy> =
            self.runs.iter().map(|(s, ..)| Busy { id: s.id, full: s.full, over: false }).collect();
        let (actors, runs) = (&mut self.actors, &mut self.runs);
        choose(&facts, &busy, self.workers, now, &mut self.turns, |start| {
            let Some(leader) = actors.iter().find(|a| a.facts.id == start.id).copied() else {
                return Begun::Taken;
            };
            for actor in actors.iter_mut() {
                let along = leader.facts.party().is_some() && actor.facts.party() == leader.facts.party();
                if actor.facts.id == start.id || along {
                    actor.facts.requested = None;
                    actor.tried = now;
                }
            }
            runs.push((start, now, now + if start.full { leader.full_takes } else { leader.takes }));
            Begun::Yes
        });
        assert!(self.runs.len() <= self.workers);
    }
}

fn actor(id: u32, every: Micros, takes: Micros) -> Actor {
    let facts = Facts { every, base: Some(0), ..replica(id) };
    Actor {
        facts,
        takes,
        full_takes: takes,
        full_every: 10_000 * MINUTE,
        full_at: 0,
        stormed: false,
        fails: false,
        served: 0,
        tried: 0,
    }
}

/// Schedules that can be kept with a third of the workers' time; storms of everything else beside them.
fn world(dice: &mut Dice) -> World {
    let workers = 1 + dice.roll(3) as usize;
    let mut actors = Vec::new();
    let groups = 2 + dice.roll(6);
    for group in 0..groups {
        let every = MINUTE * (1 + dice.roll(10));
        let takes = (every * workers as i64 / groups / 3).clamp(SECOND, 2 * MINUTE);
        let stormed = dice.roll(3) == 0;
        for n in 0..1 + dice.roll(3) {
            let mut one = actor((group * 10 + n) as u32, every * (1 + dice.roll(2)), takes);
            one.facts.group = Some(Group { owner: 10, schema: group });
            one.facts.server = 1 + (group % 2) as u32;
            (one.full_takes, one.full_every) = (takes * (1 + dice.roll(3)), every * (20 + dice.roll(20)));
            one.stormed = stormed;
            actors.push(one);
        }
    }
    for n in 0..dice.roll(30) {
        let mut one = actor(1000 + n as u32, MINUTE * (1 + dice.roll(10)), SECOND * (1 + dice.roll(180)));
        (one.fails, one.stormed) = (true, dice.roll(2) == 0);
        failed(&mut one.facts, 0, false, Reason::Schedule);
        actors.push(one);
    }
    World { actors, workers, runs: Vec::new(), turns: Turns::default() }
}

#[test]
fn nobody_starves_beyond_three_times_its_every_and_a_runs_length_whatever_storms_there_are() {
    for seed in 1..16 {
        let mut dice = Dice(seed * 7919);
        let mut world = world(&mut dice);
        let longest = world.actors.iter().map(|a| a.takes.max(a.full_takes)).max().unwrap_or(0);
        // Those that fail, and those that are loaded, may be more than there is time for.
        let mut loading = 0;
        let failing: Micros = world.actors.iter().filter(|a| a.fails).map(|a| a.takes).sum();
        for now in (0..180 * MINUTE).step_by(SECOND as usize) {
            if now == 60 * MINUTE && dice.roll(2) == 0 {
                // Many new ones at once.
                for n in 0..20 {
                    let mut new = actor(2000 + n, 120 * MINUTE, SECOND * (1 + dice.roll(120)));
                    (new.facts.base, new.facts.made, new.served) = (None, now, now);
                    // Their own server has nobody to be kept free for.
                    new.facts.server = 3;
                    loading += new.takes;
                    world.actors.push(new);
                }
            }
            world.step(now);
            for actor in world.actors.iter().filter(|a| !a.fails && a.facts.id < 2000) {
                let age = now - actor.served;
                let most = 3 * actor.facts.every + longest + actor.takes + SECOND;
                assert!(
                    age <= most,
                    "seed {seed}: {} is {age} old, every {}",
                    actor.facts.id,
                    actor.facts.every
                );
            }
            for actor in world.actors.iter().filter(|a| a.fails) {
                let waited = now - actor.tried;
                assert!(
                    waited <= 3 * LONGEST_PAUSE + 4 * (failing + loading) + longest,
                    "seed {seed}: {}: {waited}",
                    actor.facts.id
                );
            }
        }
        let late = world.actors.iter().filter(|a| a.facts.group.is_some());
        for actor in late {
            assert!(
                180 * MINUTE - actor.full_at < 3 * actor.full_every,
                "seed {seed}: full of {}",
                actor.facts.id
            );
        }
    }
}

#[test]
fn a_storm_of_requests_for_one_that_fails_is_two_runs_a_pause() {
    for stormed in [false, true] {
        let mut one = actor(1, SECOND, SECOND);
        (one.fails, one.stormed) = (true, stormed);
        let mut world = World { actors: vec![one], workers: 2, runs: Vec::new(), turns: Turns::default() };
        let mut runs = 0;
        for now in (0..120 * MINUTE).step_by(SECOND as usize) {
            let before = world.actors[0].facts.failures;
            world.step(now);
            runs += world.actors[0].facts.failures - before;
        }
        // 5, 10, 20 … seconds, then every quarter of an hour or less; a request brings one more in each.
        assert!((14..=30).contains(&runs), "{runs}");
    }
}

#[test]
fn a_request_waits_for_one_run_where_the_schedules_cannot_be_kept() {
    let mut actors: Vec<Actor> = (1..=4).map(|id| actor(id, SECOND, 20 * SECOND)).collect();
    let mut patient = actor(9, 24 * 60 * MINUTE, SECOND);
    patient.facts.group = Some(Group { owner: 1, schema: 1 });
    actors.iter_mut().for_each(|a| a.facts.group = Some(Group { owner: 2, schema: i64::from(a.facts.id) }));
    actors.push(patient);
    let mut world = World { actors, workers: 1, runs: Vec::new(), turns: Turns::default() };
    for now in (0..30 * MINUTE).step_by(SECOND as usize) {
        if now % (5 * MINUTE) == 0 {
            world.actors[4].facts.requested = Some(now);
        }
        world.step(now);
        let waits = world.actors[4].facts.requested.map_or(0, |asked| now - asked);
        assert!(waits <= 45 * SECOND, "{waits}");
    }
}

#[test]
fn one_worker_is_kept_free_of_full_comparisons_and_a_group_gets_its_changes_meanwhile() {
    let group = |id: u32, schema| {
        let group = Some(Group { owner: 10, schema });
        Facts { group, base: Some(0), full: true, ..replica(id) }
    };
    let all = [group(1, 1), group(2, 2), group(3, 3)];
    let mut turns = Turns::default();
    let mut starts = Vec::new();
    let mut look = |busy: &[Busy], now| {
        starts.clear();
        choose(&all, busy, 2, now, &mut turns, |start| {
            starts.push((start.id, start.full));
            Begun::Yes
        });
        starts.clone()
    };
    let full = |id| Busy { id, full: true, over: false };
    assert_eq!(look(&[], 5 * MINUTE), [(1, true), (2, false)]);
    assert_eq!(look(&[full(1)], 5 * MINUTE), [(2, false)]);
    // When there is room again, it is not their schedule that they wait for.
    let later =
        [Facts { base: Some(5 * MINUTE), full: false, ..all[0] }, Facts { base: Some(5 * MINUTE), ..all[1] }];
    let mut starts = Vec::new();
    choose(&later, &[], 2, 6 * MINUTE, &mut turns, |start| {
        starts.push((start.id, start.full));
        Begun::Yes
    });
    assert_eq!(starts, [(2, true)]);
}

#[test]
fn while_one_is_compared_its_group_goes_on_without_another_comparison() {
    let group = |id, full| Facts { group: GROUP, base: Some(0), full, ..replica(id) };
    let all = [group(1, true), group(2, true), group(3, false)];
    let mut starts = Vec::new();
    choose(&all, &[Busy { id: 1, full: true, over: false }], 4, 6 * MINUTE, &mut Turns::default(), |start| {
        starts.push((start.id, start.full));
        Begun::Yes
    });
    assert_eq!(starts, [(2, false)]);
    // Somebody else compares the one whose turn it would be.
    let mut tried = Vec::new();
    choose(&[all[1], all[2]], &[], 4, 6 * MINUTE, &mut Turns::default(), |start| {
        tried.push((start.id, start.full));
        if start.id == 2 { Begun::Taken } else { Begun::Yes }
    });
    assert_eq!(tried, [(2, true), (2, false), (3, false)]);
    let mut starts = 0;
    choose(&all, &[Busy { id: 2, full: false, over: false }], 4, 6 * MINUTE, &mut Turns::default(), |_| {
        starts += 1;
        Begun::Yes
    });
    assert_eq!(starts, 0);
}

/// Their comparisons wait for one that is under way; their schedule, which they share, goes on.
#[test]
fn a_group_of_which_many_are_to_be_compared_is_refreshed_no_more_often_than_its_schedule_has_it() {
    let mut actors: Vec<Actor> = (1..=20).map(|id| actor(id, 5 * MINUTE, 10 * SECOND)).collect();
    for one in &mut actors {
        (one.facts.group, one.full_takes, one.full_every) = (GROUP, 40 * MINUTE, 10 * 60 * MINUTE);
        one.full_at = -one.full_every;
    }
    let mut world = World { actors, workers: 3, runs: Vec::new(), turns: Turns::default() };
    let (mut light, mut full) = (0, 0);
    for now in (0..20 * 60 * MINUTE).step_by(SECOND as usize) {
        let before = world.runs.clone();
        world.step(now);
        let new = world.runs.iter().filter(|run| !before.contains(run));
        new.for_each(|run| if run.0.full { full += 1 } else { light += 1 });
        // One after the other, without a pause.
        assert!(now < 6 * MINUTE || full >= 20 || world.runs.iter().any(|run| run.0.full), "{now}");
    }
    assert!(full >= 20, "{full}");
    assert!((200..=245).contains(&light), "{light} runs in 240 times its every");
}

#[test]
fn a_run_whose_process_outlives_it_takes_up_a_worker_and_nothing_else() {
    let all: Vec<Facts> = (1..=2).map(|id| Facts { group: GROUP, base: Some(0), ..replica(id) }).collect();
    let started = |over: bool, workers: usize| {
        let mut starts = Vec::new();
        let busy = [Busy { id: 1, full: false, over }];
        choose(&all, &busy, workers, 6 * MINUTE, &mut Turns::default(), |start| {
            starts.push(start.id);
            Begun::Yes
        });
        starts
    };
    assert_eq!((started(false, 2), started(true, 2), started(true, 1)), (vec![], vec![1], vec![]));
}

#[test]
fn what_cannot_be_started_takes_no_turn_and_no_place() {
    let all: Vec<Facts> = (1..=3).map(|id| Facts { base: Some(0), ..replica(id) }).collect();
    let mut tried = Vec::new();
    choose(&all, &[], 1, 6 * MINUTE, &mut Turns::default(), |start| {
        tried.push(start.id);
        if start.id < 3 { Begun::Taken } else { Begun::Yes }
    });
    assert_eq!(tried, [1, 2, 3]);
    let mut tried = 0;
    choose(&all, &[], 3, 6 * MINUTE, &mut Turns::default(), |_| {
        tried += 1;
        Begun::NoWorker
    });
    assert_eq!(tried, 1);
}

#[test]
fn a_neighbours_success_is_no_recovery_unless_it_had_failed_over_the_service_itself() {
    // One object schema answers with errors; the replicas of another one succeed all the time.
    let mut replicas: Vec<Facts> = (1..=4).map(replica).collect();
    for facts in &mut replicas {
        (facts.every, facts.schema) = (SECOND, Some(i64::from(facts.id > 2)));
    }
    let runs = simulate(&mut replicas, 4, 10 * MINUTE, |id, _| (SECOND, id > 2));
    let failed = runs.iter().filter(|run| run.0 <= 2).count();
    assert!(failed <= 2 * 12, "{failed} runs");
    assert!(runs.iter().all(|run| run.2 != Reason::Recovery));
    // Within one: one type alone is in trouble, and another comes and goes.
    let mut replicas: Vec<Facts> = (1..=3).map(replica).collect();
    for facts in &mut replicas {
        (facts.every, facts.schema) = (SECOND, Some(1));
    }
    let runs = simulate(&mut replicas, 4, 10 * MINUTE, |id, at| (SECOND, id != 1 && at / SECOND % 7 != 0));
    let failed = runs.iter().filter(|run| run.0 == 1).count();
    assert!(failed <= 2 * 12, "{failed} runs");
}
