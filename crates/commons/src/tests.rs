//! Promises of the budget, on virtual time.

mod moods;
mod shelf;

extern crate std;

use std::boxed::Box;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::vec;
use std::vec::Vec;

use crate::limits::{ASK_AGAIN, Asker, LANES, Leave, Limits, Outcome};
use crate::tokens::{Claim, TOKEN_BYTES, TOKENS, Tokens};
use crate::{Key, Moment, SECOND, counters};

const MS: Moment = SECOND / 1000;
const MINUTE: Moment = 60 * SECOND;

/// Numbers that look random, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

fn key(number: u64) -> Key {
    let mut bytes = [1; 16];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Key(bytes)
}

/// A session that lives on.
fn asker(session: u32) -> Asker<'static> {
    Asker { session, takes: MINUTE, alive: &|_| true }
}

fn refused(limits: &mut Limits, asked: Option<Moment>, now: Moment) {
    limits.settle(key(1), 1, 0, Outcome::Refused(asked), now);
}

fn limits() -> Box<Limits> {
    Box::new(Limits::EMPTY)
}

/// One session as the client is: it asks again when told to, with so many requests under way at most.
#[derive(Clone)]
struct Session {
    key: Key,
    allowed: Option<u32>,
    in_flight: u32,
    /// Requests to send; then it is done.
    wants: u32,
    begins: Moment,
    /// Time to the service and back, and how much more it may be.
    latency: (Moment, Moment),
    /// Now and then it takes so long instead, or for ever.
    dies_at: Option<Moment>,
    under_way: u32,
    asking: bool,
    done_at: Option<Moment>,
}

impl Session {
    fn new(key: Key, allowed: u32, wants: u32) -> Session {
        Session {
            key,
            allowed: Some(allowed),
            in_flight: 8,
            wants,
            begins: SECOND,
            latency: (40 * MS, 20 * MS),
            dies_at: None,
            under_way: 0,
            asking: false,
            done_at: None,
        }
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ask,
    Arrives,
    Answered { granted: Moment },
}

/// Runs sessions to their end; when which key's requests arrived at the service.
fn run(
    limits: &mut Limits,
    sessions: &mut [Session],
    seed: u64,
    end: Moment,
) -> BTreeMap<[u8; 16], Vec<Moment>> {
    let mut dice = Dice(seed);
    let mut events = BinaryHeap::new();
    let mut arrived: BTreeMap<[u8; 16], Vec<Moment>> = BTreeMap::new();
    for (n, session) in sessions.iter_mut().enumerate() {
        session.asking = true;
        events.push(Reverse((session.begins, dice.next(), n, Event::Ask)));
    }
    while let Some(Reverse((now, _, n, event))) = events.pop() {
        if now > end {
            break;
        }
        let number = n as u32 + 1;
        let session = &mut sessions[n];
        let dead = session.dies_at.is_some_and(|at| at <= now);
        match event {
            Event::Arrives => arrived.entry(session.key.0).or_default().push(now),
            Event::Answered { granted } if !dead => {
                limits.settle(session.key, number, now - granted, Outcome::Answered, now);
                session.under_way -= 1;
                if session.wants == 0 && session.under_way == 0 {
                    session.done_at = Some(now);
                }
                if session.wants > 0 && !session.asking {
                    session.asking = true;
                    events.push(Reverse((now, dice.next(), n, Event::Ask)));
                }
            }
            Event::Ask if !dead => match limits.acquire(session.key, asker(number), session.allowed, now) {
                Leave::Granted => {
                    session.wants -= 1;
                    session.under_way += 1;
                    let there = session.latency.0 / 2 + dice.below(session.latency.1 + 1);
                    let answered = now + there + session.latency.0 / 2;
                    // What a dead process has not sent yet is never sent.
                    if session.dies_at.is_none_or(|at| now + there < at) {
                        events.push(Reverse((now + there, dice.next(), n, Event::Arrives)));
                    }
                    events.push(Reverse((answered, dice.next(), n, Event::Answered { granted: now })));
                    session.asking = session.wants > 0 && session.under_way < session.in_flight;
                    if session.asking {
                        events.push(Reverse((now, dice.next(), n, Event::Ask)));
                    }
                }
                Leave::WaitFor(wait) | Leave::Busy(wait) => {
                    assert!(wait > 0);
                    events.push(Reverse((now + wait.min(ASK_AGAIN), dice.next(), n, Event::Ask)));
                }
            },
            _ => {}
        }
    }
    arrived
}

fn assert_never_more(arrived: &[Moment], allowed: usize, what: &str) {
    let mut arrived = arrived.to_vec();
    arrived.sort_unstable();
    for pair in arrived.windows(allowed + 1) {
        assert!(
            pair[allowed] - pair[0] >= MINUTE,
            "{what}: {} in {} µs",
            allowed + 1,
            pair[allowed] - pair[0]
        );
    }
}

#[test]
fn never_more_than_allowed_arrive_in_any_minute_whatever_sessions_and_network_do() {
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let mut limits = limits();
        let keys = 1 + dice.below(3);
        let allowed: Vec<u32> = (0..keys).map(|_| 1 + dice.below(120) as u32).collect();
        let mut sessions: Vec<Session> = (0..2 + dice.below(12))
            .map(|_| {
                let k = dice.below(keys);
                let slow = [0, 300 * MS, 3 * SECOND, 40 * SECOND][dice.below(4) as usize];
                Session {
                    in_flight: 1 + dice.below(16) as u32,
                    begins: SECOND + dice.below(100) * SECOND,
                    latency: (10 * MS + dice.below(200 * MS), slow),
                    dies_at: (dice.below(4) == 0).then(|| dice.below(300) * SECOND),
                    ..Session::new(key(k), allowed[k as usize], dice.below(400) as u32 + 1)
                }
            })
            .collect();
        let arrived = run(&mut limits, &mut sessions, seed, 1200 * SECOND);
        for (k, &allowed) in allowed.iter().enumerate() {
            let arrived = arrived.get(&key(k as u64).0).map_or(&[][..], |a| a);
            assert_never_more(arrived, allowed as usize, &std::format!("seed {seed}"));
        }
    }
}

#[test]
fn the_budget_is_used_up() {
    for (allowed, sessions) in [(1, 1), (60, 1), (60, 5), (600, 8), (1000, 3)] {
        let mut limits = limits();
        let mut sessions = vec![Session::new(key(1), allowed, u32::MAX); sessions];
        let arrived = run(&mut limits, &mut sessions, 3, 305 * SECOND).remove(&key(1).0).unwrap_or_default();
        // Five windows of 61 seconds begin in that time.
        assert!(arrived.len() * 100 >= allowed as usize * 5 * 97, "{} of {allowed} a minute", arrived.len());
        assert_never_more(&arrived, allowed as usize, "greedy");
    }
}

#[test]
fn more_keys_than_lanes_are_held_to_their_limits_too() {
    let mut limits = limits();
    let mut sessions: Vec<Session> = (0..2 * LANES as u64)
        .map(|n| Session { begins: SECOND + n * 900 * MS, ..Session::new(key(n), 3, 9) })
        .collect();
    let arrived = run(&mut limits, &mut sessions, 5, 10_000 * SECOND);
    assert!(sessions.iter().all(|session| session.done_at.is_some()), "nobody starves");
    for arrived in arrived.values() {
        assert_never_more(arrived, 3, "many keys");
    }
}

#[test]
fn eight_equal_sessions_end_at_about_the_same_time() {
    for (seed, wants) in [75, 76, 80, 100, 150, 200, 333].into_iter().enumerate() {
        let mut limits = limits();
        let mut sessions: Vec<Session> = (0..8)
            .map(|n| Session { begins: SECOND + n * 15 * MS, ..Session::new(key(1), 600, wants) })
            .collect();
        let arrived = run(&mut limits, &mut sessions, seed as u64, 3600 * SECOND);
        assert_never_more(&arrived[&key(1).0], 600, "eight");
        let took: Vec<Moment> = sessions.iter().map(|s| s.done_at.expect("done") - s.begins).collect();
        let (fastest, slowest) = (took.iter().min().unwrap(), took.iter().max().unwrap());
        assert!(*slowest <= 2 * *fastest, "{wants} each: {took:?}");
    }
}

#[test]
fn a_session_that_comes_late_gets_what_is_left_before_those_that_had_their_share() {
    let mut limits = limits();
    let greedy = Session::new(key(1), 600, u32::MAX);
    // At 100 requests a second the first would have had everything after six seconds.
    let first = Session { in_flight: 1, latency: (10 * MS, 0), ..greedy.clone() };
    let late = Session { begins: 4 * SECOND, ..first.clone() };
    let mut sessions = [first, late];
    run(&mut limits, &mut sessions, 1, 8 * SECOND);
    let had: Vec<u32> = sessions.iter().map(|s| u32::MAX - s.wants).collect();
    assert!(had[1] >= 250 && had[0] <= 350, "{had:?}");
}

#[test]
fn who_wants_little_holds_back_nobody() {
    let mut limits = limits();
    let mut now = SECOND;
    let (mut quick, mut slow) = (0, 0);
    // One asks once a second, the other as often as it can, for ten minutes.
    while now < 600 * SECOND {
        if limits.acquire(key(1), asker(1), Some(600), now) == Leave::Granted {
            slow += 1;
        }
        for _ in 0..20 {
            now += 50 * MS;
            while limits.acquire(key(1), asker(2), Some(600), now) == Leave::Granted {
                quick += 1;
            }
        }
    }
    assert!(slow >= 540, "{slow} of 599: it gets what it wants");
    assert!(quick + slow >= 5500, "{quick} and {slow}: the rest is not left lying");
}

#[test]
fn who_died_while_waiting_is_not_waited_for() {
    let mut limits = limits();
    let mut now = SECOND;
    assert_eq!(limits.acquire(key(1), asker(1), Some(100), now), Leave::Granted);
    let take_all = |limits: &mut Limits, now| {
        (0..200).filter(|_| limits.acquire(key(1), asker(2), Some(100), now) == Leave::Granted).count()
    };
    assert_eq!(take_all(&mut limits, now), 50, "the other half is the first one's");
    now += 4 * SECOND;
    assert_eq!(take_all(&mut limits, now), 49, "it has not asked again");
    now += 62 * SECOND;
    assert_eq!(take_all(&mut limits, now), 100, "nothing is lost for good");
}

#[test]
fn a_pause_that_the_service_asks_for_holds_for_everybody_of_the_key_and_nobody_else() {
    let mut limits = limits();
    let now = 100 * SECOND;
    refused(&mut limits, Some(5 * SECOND), now);
    refused(&mut limits, Some(2 * SECOND), now);
    limits.pause(key(1), SECOND / 5, now);
    for session in 1..5 {
        assert_eq!(limits.acquire(key(1), asker(session), None, now), Leave::WaitFor(5 * SECOND));
        assert_eq!(limits.acquire(key(2), asker(session), None, now), Leave::Granted);
    }
    let after = now + 5 * SECOND;
    let sent = |limits: &mut Limits, at| {
        (0..2000).filter(|n| limits.acquire(key(1), asker(n % 5), None, at) == Leave::Granted).count()
    };
    assert_eq!(sent(&mut limits, after), 1, "they come back slowly");
    assert!(sent(&mut limits, after + SECOND) <= 16);
    assert_eq!(sent(&mut limits, after + 3 * SECOND), 2000);
}

#[test]
fn pauses_without_a_length_double_once_each_and_begin_anew_after_a_quiet_minute() {
    let mut limits = limits();
    let mut now = 1000 * SECOND;
    let mut pauses = Vec::new();
    for _ in 0..9 {
        // Sixteen requests under way are all refused.
        for late in 0..16 {
            refused(&mut limits, [None, Some(0)][late as usize % 2], now + late * MS);
        }
        match limits.acquire(key(1), asker(1), None, now) {
            Leave::WaitFor(wait) => pauses.push(wait / SECOND),
            _ => pauses.push(0),
        }
        now += pauses.last().unwrap() * SECOND + 10 * MS;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    now += 62 * SECOND;
    refused(&mut limits, None, now);
    assert_eq!(limits.acquire(key(1), asker(1), None, now), Leave::WaitFor(SECOND));
}

#[test]
fn nonsense_heals() {
    // A length that nobody can wait for, and a clock that went back by years.
    let mut limits = limits();
    refused(&mut limits, Some(Moment::MAX), 500 * SECOND);
    let Leave::WaitFor(wait) = limits.acquire(key(1), asker(1), Some(5), 500 * SECOND) else {
        panic!("granted")
    };
    assert!(wait <= 24 * 3600 * SECOND);
    let mut limits = self::limits();
    for n in 0..5 {
        limits.acquire(key(2), asker(1), Some(5), (1 << 50) + n);
    }
    assert!(matches!(limits.acquire(key(2), asker(1), Some(5), SECOND), Leave::Granted | Leave::WaitFor(_)));
    assert_eq!(limits.acquire(key(2), asker(1), Some(5), 200 * SECOND), Leave::Granted);
}

#[test]
fn one_gets_a_token_and_the_others_have_it() {
    let mut tokens = Box::new(Tokens::EMPTY);
    let alive = |_| true;
    let now = 10 * SECOND;
    let Claim::Lease { lease, note: 0 } = tokens.claim(key(1), 0, (1, 30 * SECOND), alive, now) else {
        panic!("no lease")
    };
    assert_eq!(tokens.claim(key(1), 0, (2, 30 * SECOND), alive, now), Claim::Wait);
    assert!(matches!(tokens.claim(key(2), 0, (2, 30 * SECOND), alive, now), Claim::Lease { .. }));
    let first = tokens.keep(key(1), lease, b"secret", (50 * SECOND, MINUTE), 2, now).expect("kept");
    assert_eq!(
        tokens.claim(key(1), 0, (2, SECOND), alive, now),
        Claim::Token { text: b"secret", generation: first, closed: false }
    );

    // Near its end one renews it; for the others it is still good until it ends.
    let near = now + 55 * SECOND;
    let Claim::Lease { lease, note: 2 } = tokens.claim(key(1), 0, (3, 30 * SECOND), alive, near) else {
        panic!("no lease")
    };
    assert!(matches!(
        tokens.claim(key(1), 0, (2, SECOND), alive, near),
        Claim::Token { text: b"secret", .. }
    ));
    assert_eq!(tokens.claim(key(1), 0, (2, SECOND), alive, now + MINUTE), Claim::Wait);
    let second = tokens.keep(key(1), lease, b"other", (50 * SECOND, MINUTE), 0, near).expect("kept");
    assert!(matches!(tokens.claim(key(1), 0, (2, SECOND), alive, near), Claim::Token { text: b"other", .. }));

    // A refusal of the old one says nothing about the new one.
    assert!(tokens.refused(key(1), first, 0, true, near));
    assert!(matches!(
        tokens.claim(key(1), first, (2, SECOND), alive, near),
        Claim::Token { text: b"other", .. }
    ));
    let _ = second;
}

#[test]
fn a_refused_token_stays_for_the_others_while_one_gets_another() {
    let mut tokens = Box::new(Tokens::EMPTY);
    let (alive, now) = (|_| true, 10 * SECOND);
    let lease =
        |tokens: &mut Tokens, spurned: u64| match tokens.claim(key(1), spurned, (1, 30 * SECOND), alive, now)
        {
            Claim::Lease { lease, .. } => lease,
            other => panic!("no lease: {other:?}"),
        };
    let keep = |tokens: &mut Tokens, lease: u64, text: &[u8]| {
        tokens.keep(key(1), lease, text, (50 * MINUTE, 60 * MINUTE), 0, now).expect("kept")
    };
    let given = lease(&mut tokens, 0);
    let first = keep(&mut tokens, given, b"first");
    assert!(tokens.refused(key(1), first, 3, false, now));
    let given = lease(&mut tokens, first);
    // Whoever was refused too waits for the new one; nobody else does.
    assert_eq!(tokens.claim(key(1), first, (2, SECOND), alive, now), Claim::Wait);
    assert!(matches!(tokens.claim(key(1), 0, (3, SECOND), alive, now), Claim::Token { text: b"first", .. }));
    let second = keep(&mut tokens, given, b"second");
    for spurned in [0, first] {
        let claim = tokens.claim(key(1), spurned, (2, SECOND), alive, now);
        assert!(matches!(claim, Claim::Token { generation, .. } if generation == second), "{claim:?}");
    }
    // An attempt that fails takes nothing away.
    assert!(tokens.refused(key(1), second, 4, false, now));
    let given = lease(&mut tokens, second);
    tokens.release(key(1), given);
    assert!(matches!(tokens.claim(key(1), 0, (3, SECOND), alive, now), Claim::Token { text: b"second", .. }));
}

#[test]
fn a_door_that_refuses_new_tokens_too_costs_one_in_five_minutes() {
    let mut tokens = Box::new(Tokens::EMPTY);
    let (alive, now) = (|_| true, 10 * SECOND);
    let Claim::Lease { lease, .. } = tokens.claim(key(1), 0, (1, 30 * SECOND), alive, now) else {
        panic!("no lease")
    };
    let first = tokens.keep(key(1), lease, b"t", (50 * MINUTE, 60 * MINUTE), 0, now).expect("kept");
    assert!(tokens.refused(key(1), first, 2, false, now), "it may have been taken back");
    tokens.refused_again(key(1), 2, now);
    assert!(!tokens.refused(key(1), first, 2, false, now + 299 * SECOND));
    assert!(tokens.refused(key(1), first, 1, false, now), "another door says nothing of this one");
    assert!(tokens.refused(key(1), first, 2, false, now + 300 * SECOND));
    // Where somebody is let in, a later refusal is news.
    tokens.taken(key(1), 2);
    assert!(tokens.refused(key(1), first, 2, false, now + SECOND));
    // A token that is told to lack a scope is not replaced by one that would lack it as well.
    assert!(!tokens.refused(key(1), first, 5, true, now + 299 * SECOND));
    assert!(tokens.refused(key(1), first, 5, true, now + 300 * SECOND));
    // Nothing is known of doors and keys beyond these.
    tokens.refused_again(key(1), crate::tokens::DOORS, now);
    tokens.refused_again(key(9), 2, now);
    assert!(tokens.refused(key(9), 1, 2, false, now));
}

#[test]
fn a_lease_ends_with_its_holder_with_its_time_and_when_given_up() {
    let mut tokens = Box::new(Tokens::EMPTY);
    let now = SECOND;
    let lease = |tokens: &mut Tokens, process, alive: bool, now| match tokens.claim(
        key(1),
        0,
        (process, 10 * SECOND),
        |_| alive,
        now,
    ) {
        Claim::Lease { lease, .. } => Some(lease),
        _ => None,
    };
    let first = lease(&mut tokens, 1, true, now).expect("a lease");
    assert!(tokens.extend(key(1), first, 10 * SECOND, now + 9 * SECOND));
    assert_eq!(lease(&mut tokens, 2, true, now + 15 * SECOND), None);
    let second = lease(&mut tokens, 2, true, now + 20 * SECOND).expect("its time is over");
    assert!(!tokens.extend(key(1), first, 10 * SECOND, now + 20 * SECOND));
    assert_eq!(tokens.keep(key(1), first, b"late", (1, 2), 0, now + 20 * SECOND), None);
    tokens.release(key(1), first);
    assert_eq!(lease(&mut tokens, 3, true, now + 21 * SECOND), None, "only the holder gives up");
    assert!(lease(&mut tokens, 3, false, now + 21 * SECOND).is_some(), "its holder is dead");
    tokens.release(key(1), second);
    assert_eq!(lease(&mut tokens, 4, true, now + 21 * SECOND), None);
}

#[test]
fn long_tokens_are_not_kept_and_many_make_room_for_the_newest() {
    let mut tokens = Box::new(Tokens::EMPTY);
    let mut keep = |n: u64, length: usize| {
        let now = SECOND * (n + 1);
        let Claim::Lease { lease, .. } = tokens.claim(key(n), 0, (1, SECOND), |_| true, now) else {
            panic!("no lease")
        };
        tokens.keep(key(n), lease, &vec![b'x'; length], (3600 * SECOND, 3600 * SECOND), 0, now).is_some()
    };
    assert!(!keep(0, TOKEN_BYTES + 1));
    for n in 1..=TOKENS as u64 + 5 {
        assert!(keep(n, TOKEN_BYTES));
    }
    let mut known = |n| matches!(tokens.claim(key(n), 0, (1, SECOND), |_| true, MINUTE), Claim::Token { .. });
    assert!(known(TOKENS as u64 + 5) && known(6) && !known(5));
}

#[test]
fn every_server_is_counted_by_itself_and_the_idlest_makes_room() {
    use counters::{Counter, Counters, SERVERS};
    let counters = Box::new(Counters::empty());
    assert!(!counters.add(7, Counter::Bytes, 100, 1));
    counters.begin(7, 1);
    counters.begin(8, 2);
    assert!(counters.add(7, Counter::Bytes, 100, 3));
    assert!(counters.add(8, Counter::Requests, 1, 4));
    counters.begin(7, 5);
    assert_eq!(counters.read(7), Some(([0, 0, 100, 0, 0, 0], 1)));
    counters.reset(|id| id == 7, 5);
    assert_eq!(counters.read(7), Some(([0; 6], 5)));
    assert_eq!(counters.read(8), Some(([1, 0, 0, 0, 0, 0], 2)));
    for id in 0..SERVERS as u64 - 1 {
        counters.begin(100 + id, 10);
    }
    assert_eq!(counters.read(7), None);
    assert!(counters.read(8).is_some() && !counters.add(7, Counter::Bytes, 1, 11));
}
