//! A service in a bad mood, on virtual time: it refuses at random, bears so many at once, so many in a time.

use super::*;

/// How the service is, whoever asks.
#[derive(Clone, Default)]
struct Mood {
    latency: Moment,
    /// So many of a thousand requests are refused.
    refuses: u64,
    /// So many at once, if not 0.
    bears: usize,
    /// So many in any such time.
    window: Option<(usize, Moment)>,
    /// What a refusal asks for.
    asks: Option<Moment>,
    /// Nothing is answered before.
    down_until: Moment,
}

/// A session with so many requests to send, and so many under way at most.
#[derive(Clone)]
struct Reader {
    begins: Moment,
    wants: u32,
    in_flight: usize,
    dies_at: Option<Moment>,
    /// Requests to send again: since when they are wanted, how often they failed, not before.
    again: Vec<(Moment, u32, Moment)>,
    under_way: usize,
    asking: bool,
    asks: u64,
    done_at: Option<Moment>,
    given_up: u32,
}

fn reader(wants: u32) -> Reader {
    Reader {
        begins: SECOND,
        wants,
        in_flight: 8,
        dies_at: None,
        again: Vec::new(),
        under_way: 0,
        asking: false,
        asks: 0,
        done_at: None,
        given_up: 0,
    }
}

#[derive(Debug, Default)]
struct Report {
    answered: u32,
    refused: u32,
    /// The sum over time of how many the service has under way.
    busy: u64,
    took: Moment,
}

impl Report {
    /// How many it had under way on average.
    fn at_once(&self) -> f64 {
        self.busy as f64 / self.took.max(1) as f64
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    /// The last of this number counts.
    Ask(u64),
    Arrives {
        granted: Moment,
        wanted: Moment,
        failures: u32,
    },
    Answered {
        granted: Moment,
        wanted: Moment,
        failures: u32,
        refused: bool,
    },
}

fn read(limits: &mut Limits, mood: &Mood, readers: &mut [Reader], seed: u64, end: Moment) -> Report {
    let mut dice = Dice(seed);
    let mut events = BinaryHeap::new();
    let mut report = Report::default();
    let (mut at_service, mut arrived, mut last) = (0_usize, Vec::<Moment>::new(), 0);
    for (n, reader) in readers.iter_mut().enumerate() {
        reader.asking = true;
        events.push(Reverse((reader.begins, dice.next(), n, Happens::Ask(0))));
    }
    let first = readers.iter().map(|reader| reader.begins).min().unwrap_or(0);
    while let Some(Reverse((now, _, n, event))) = events.pop() {
        if now > end || readers.iter().all(|r| r.done_at.is_some() || r.dies_at.is_some_and(|at| at < now)) {
            break;
        }
        report.busy += at_service as u64 * (now - last.max(first).min(now));
        last = now;
        let session = n as u32 + 1;
        let dies: Vec<Option<Moment>> = readers.iter().map(|reader| reader.dies_at).collect();
        let alive = |session: u32| dies[session as usize - 1].is_none_or(|at| at > now);
        let answered = matches!(event, Happens::Answered { .. });
        let reader = &mut readers[n];
        match event {
            Happens::Arrives { granted, wanted, failures } => {
                arrived.retain(|at| mood.window.is_some_and(|(_, length)| now - *at < length));
                let refused = mood.bears != 0 && at_service >= mood.bears
                    || dice.below(1000) < mood.refuses
                    || mood.window.is_some_and(|(most, _)| arrived.len() >= most)
                    || now < mood.down_until;
                let takes = if refused {
                    MS
                } else {
                    at_service += 1;
                    arrived.push(now);
                    mood.latency * 3 / 4 + dice.below(mood.latency / 2)
                };
                let answer = Happens::Answered { granted, wanted, failures, refused };
                events.push(Reverse((now + takes, dice.next(), n, answer)));
                continue;
            }
            Happens::Answered { granted, wanted, failures, refused } => {
                at_service -= usize::from(!refused);
                report.refused += u32::from(refused);
                report.answered += u32::from(!refused);
                if !alive(session) {
                    continue;
                }
                let outcome = if refused { Outcome::Refused(mood.asks) } else { Outcome::Answered };
                limits.settle(key(1), session, now - granted, outcome, now);
                reader.under_way -= 1;
                if refused {
                    // As the client does (`assets::retry`).
                    let wait =
                        if failures == 0 { 0 } else { ((125 * MS) << failures.min(9)).min(MINUTE) * 3 / 4 };
                    match now + wait - wanted > 120 * SECOND {
                        true => reader.given_up += 1,
                        false => reader.again.push((wanted, failures + 1, now + wait)),
                    }
                }
            }
            Happens::Ask(number) if !alive(session) || number != reader.asks => continue,
            Happens::Ask(_) => {
                reader.asking = false;
                let due = reader.again.iter().position(|(_, _, at)| *at <= now);
                if due.is_some() || (reader.wants > 0 && reader.under_way < reader.in_flight) {
                    match limits.acquire(key(1), Asker { session, takes: MINUTE, alive: &alive }, None, now) {
                        Leave::Granted => {
                            let (wanted, failures) = match due {
                                Some(at) => {
                                    let (wanted, failures, _) = reader.again.remove(at);
                                    (wanted, failures)
                                }
                                None => {
                                    reader.wants -= 1;
                                    (now, 0)
                                }
                            };
                            reader.under_way += 1;
                            let arrives = Happens::Arrives { granted: now, wanted, failures };
                            events.push(Reverse((now + MS, dice.next(), n, arrives)));
                        }
                        Leave::WaitFor(wait) | Leave::Busy(wait) => {
                            assert!(wait > 0);
                            reader.asking = true;
                            reader.asks += 1;
                            let ask = Happens::Ask(reader.asks);
                            events.push(Reverse((now + wait.min(ASK_AGAIN), dice.next(), n, ask)));
                        }
                    }
                }
            }
        }
        let reader = &mut readers[n];
        if reader.wants == 0 && reader.again.is_empty() && reader.under_way == 0 && reader.done_at.is_none() {
            reader.done_at = Some(now);
            report.took = now - first;
        }
        // One of ours that was answered makes us ask at once.
        let due = reader.again.iter().map(|(_, _, at)| (*at).max(now)).min();
        let more = (reader.wants > 0 && reader.under_way < reader.in_flight).then_some(now);
        if let Some(at) = due.into_iter().chain(more).min()
            && (!reader.asking || answered && at == now)
        {
            reader.asks += 1;
            reader.asking = true;
            events.push(Reverse((at, dice.next(), n, Happens::Ask(reader.asks))));
        }
    }
    report
}

/// 127 pages, as one scan reads them.
fn scan(mood: &Mood, seed: u64) -> (Report, Reader) {
    let mut readers = [reader(127)];
    let report = read(&mut limits(), mood, &mut readers, seed, 4000 * SECOND);
    let [reader] = readers;
    (report, reader)
}

const QUICK: Moment = 50 * MS;

#[test]
fn refusals_at_random_cost_less_than_ten_times_the_undisturbed_time() {
    for latency in [10 * MS, QUICK, 400 * MS] {
        let calm = scan(&Mood { latency, ..Mood::default() }, 1).0.took;
        for (refuses, times) in [(20, 6), (50, 10), (100, 25)] {
            let (mut total, mut most) = (0, 0);
            for seed in 0..15 {
                let (report, reader) = scan(&Mood { latency, refuses, ..Mood::default() }, seed);
                assert!(reader.done_at.is_some() && reader.given_up == 0, "{refuses} {seed}: {report:?}");
                total += report.took;
                most = most.max(report.took);
            }
            let mean = total / 15;
            // Where an answer takes next to nothing, a second is many times that.
            let calm = calm.max(SECOND);
            std::println!(
                "{latency} {refuses}: {} ms, at most {} ms, calm {} ms",
                mean / MS,
                most / MS,
                calm / MS
            );
            assert!(mean <= times * calm, "{latency} {refuses}: {mean} instead of {calm}");
            assert!(refuses > 50 || most <= 10 * calm, "{latency} {refuses}: {most} instead of {calm}");
        }
    }
}

#[test]
fn even_every_fourth_request_refused_is_read_to_the_end() {
    for seed in 0..10 {
        let (report, reader) = scan(&Mood { latency: QUICK, refuses: 250, ..Mood::default() }, seed);
        assert!(reader.done_at.is_some() && reader.given_up == 0, "{seed}: {report:?} {}", reader.given_up);
    }
}

#[test]
fn a_service_that_bears_so_many_at_once_is_read_with_about_as_many() {
    for latency in [QUICK, 300 * MS, 5 * SECOND] {
        for bears in [1, 2, 4, 6] {
            for sessions in [1, 3] {
                let mood = Mood { latency, bears, ..Mood::default() };
                let mut readers = vec![reader(600 / sessions); sessions as usize];
                let report = read(&mut limits(), &mood, &mut readers, bears as u64, 100_000 * SECOND);
                assert!(
                    readers.iter().all(|r| r.done_at.is_some() && r.given_up == 0),
                    "{mood:?} {report:?}",
                    mood = (latency, bears, sessions)
                );
                std::println!(
                    "{latency} {bears} × {sessions}: {:.2} at once, {} refused, {} s",
                    report.at_once(),
                    report.refused,
                    report.took / SECOND
                );
                let most = bears as f64;
                assert!(report.at_once() >= most * 0.6, "{latency} {bears} {sessions}: {}", report.at_once());
                assert!(
                    report.refused <= 600 / 8,
                    "{latency} {bears} {sessions}: {} refused",
                    report.refused
                );
            }
        }
    }
}

#[test]
fn readers_of_a_service_that_bears_few_have_about_the_same_of_it() {
    for bears in [1, 2, 4] {
        let mood = Mood { latency: QUICK, bears, ..Mood::default() };
        let mut readers = vec![reader(300); 4];
        readers.iter_mut().enumerate().for_each(|(n, reader)| reader.begins += n as Moment * 15 * MS);
        read(&mut limits(), &mood, &mut readers, 3, 10_000 * SECOND);
        let took: Vec<Moment> = readers.iter().map(|r| r.done_at.expect("done") - r.begins).collect();
        let (fastest, slowest) = (took.iter().min().unwrap(), took.iter().max().unwrap());
        assert!(*slowest <= 2 * *fastest, "{bears}: {took:?}");
    }
}

#[test]
fn places_of_a_reader_that_died_are_given_to_others_at_once() {
    let mood = Mood { latency: QUICK, bears: 2, ..Mood::default() };
    let mut readers = vec![reader(400), Reader { dies_at: Some(5 * SECOND), ..reader(u32::MAX) }];
    read(&mut limits(), &mood, &mut readers, 3, 10_000 * SECOND);
    let took = readers[0].done_at.expect("done") - readers[0].begins;
    // 400 at 2 at once.
    assert!(took < 25 * SECOND, "{took}");
}

#[test]
fn a_window_that_nobody_tells_of_is_waited_out() {
    for asks in [None, Some(0)] {
        let mood = Mood { latency: QUICK, window: Some((60, MINUTE)), asks, ..Mood::default() };
        for seed in 0..5 {
            let (report, reader) = scan(&mood, seed);
            assert!(reader.done_at.is_some() && reader.given_up == 0, "{seed}: {report:?}");
            assert!(report.took < 240 * SECOND, "{seed}: {report:?}");
            assert!(report.refused < 60, "{seed}: {report:?}");
        }
    }
}

#[test]
fn a_rate_that_nobody_tells_of_is_kept_to() {
    // Ten in a second, two in a second, one in three.
    for (most, length) in [(10, SECOND), (2, SECOND), (1, 3 * SECOND)] {
        let mood = Mood { latency: QUICK, window: Some((most, length)), ..Mood::default() };
        let ideal = 127 * length / most as Moment;
        for seed in 0..5 {
            let (report, reader) = scan(&mood, seed);
            std::println!("{most} in {length}: {report:?}, ideal {}", ideal / SECOND);
            assert!(reader.done_at.is_some() && reader.given_up == 0, "{most} {seed}: {report:?}");
            assert!(report.took < 5 * ideal, "{most} in {length}: {report:?}, ideal {ideal}");
        }
    }
}

#[test]
fn an_outage_is_asked_about_rarely_and_survived() {
    let mood = Mood { latency: QUICK, down_until: 61 * SECOND, ..Mood::default() };
    let (report, reader) = scan(&mood, 1);
    assert!(reader.done_at.is_some() && reader.given_up == 0, "{report:?}");
    assert!(report.refused < 40, "{report:?}");
    assert!(report.took < 130 * SECOND, "{report:?}");
}

#[test]
fn a_pause_that_is_asked_for_is_kept_to_the_second() {
    let mut limits = limits();
    let mut now = SECOND;
    for _ in 0..3 {
        assert_eq!(limits.acquire(key(1), asker(1), None, now), Leave::Granted);
        limits.settle(key(1), 1, 0, Outcome::Refused(Some(7 * SECOND)), now);
        assert_eq!(limits.acquire(key(1), asker(2), None, now), Leave::WaitFor(7 * SECOND));
        now += 7 * SECOND;
    }
}

#[test]
fn what_was_learnt_is_forgotten_where_all_goes_well() {
    let mut limits = limits();
    let mut readers = vec![reader(200)];
    let mood = Mood { latency: QUICK, bears: 2, ..Mood::default() };
    read(&mut limits, &mood, &mut readers, 3, 1000 * SECOND);
    let begins = 2000 * SECOND;
    let mut readers = vec![Reader { begins, ..reader(3000) }];
    let report =
        read(&mut limits, &Mood { latency: QUICK, ..Mood::default() }, &mut readers, 3, 9000 * SECOND);
    assert!(report.at_once() > 7.0, "{report:?}");
    assert_eq!(report.refused, 0);
}
