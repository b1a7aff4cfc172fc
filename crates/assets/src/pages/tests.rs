//! The walk against a service in memory that misbehaves in every way that assets-api.md leaves
//! open, while objects come and go.

mod large;
mod uncounted;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::facts::Verdict;
use super::*;
use crate::value::Row;

/// Numbers from a seed (splitmix64), so that a failure can be replayed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    Honoured,
    Textual,
    Ignored,
    /// Ascending for the first 60 objects, then any.
    Deceptive,
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Ranges {
    Honoured,
    Refused,
    Ignored,
    Empty,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Total {
    Exact,
    Capped,
    Absent,
    Lying,
}

#[derive(Debug, Clone, Copy)]
struct Manners {
    cap: usize,
    by_id: Order,
    by_key: Order,
    ranges: Ranges,
    total: Total,
    /// `isLast` right, absent, always false, true on full pages, always true.
    is_last: u8,
    underfilled: bool,
    counts: bool,
}

impl Manners {
    const GOOD: Manners = Manners {
        cap: 100,
        by_id: Order::Honoured,
        by_key: Order::Honoured,
        ranges: Ranges::Honoured,
        total: Total::Capped,
        is_last: 0,
        underfilled: false,
        counts: true,
    };
}

struct Service {
    manners: Manners,
    objects: BTreeMap<i64, ()>,
    dice: Dice,
    pages: usize,
    counted: usize,
}

/// Two schemas; the keys of the one that sorts first have the larger ids.
fn key(id: i64) -> Box<str> {
    let prefix = if id % 5000 > 900 { "HR" } else { "IT" };
    format!("{prefix}-{id}").into_boxed_str()
}

impl Service {
    fn new(manners: Manners, ids: impl Iterator<Item = i64>, seed: u64) -> Self {
        let objects = ids.map(|id| (id, ())).collect();
        Self { manners, objects, dice: Dice(seed), pages: 0, counted: 0 }
    }

    /// The ids that a query finds, in its order; none: 400.
    fn find(&self, aql: &str) -> Option<Vec<i64>> {
        let (condition, order) = match aql.split_once(" ORDER BY ") {
            Some((condition, order)) => (condition, Some(order)),
            None => (aql, None),
        };
        let bound = |op: &str| {
            condition.split_once(op).map(|(_, rest)| {
                rest.split(' ').find(|word| !word.is_empty()).unwrap_or("").parse::<i64>().expect("a number")
            })
        };
        let (low, high) = (bound("objectId >="), bound("objectId <="));
        let ranged = low.is_some() || high.is_some();
        let mut ids: Vec<i64> = match self.manners.ranges {
            Ranges::Refused if ranged => return None,
            Ranges::Empty if ranged => Vec::new(),
            Ranges::Ignored => self.objects.keys().copied().collect(),
            _ => self
                .objects
                .keys()
                .copied()
                .filter(|id| low.is_none_or(|low| *id >= low) && high.is_none_or(|high| *id <= high))
                .collect(),
        };
        let manner = match order {
            None => Order::Ignored,
            Some("objectId ASC") => self.manners.by_id,
            Some("Key ASC") => self.manners.by_key,
            Some(other) => panic!("an order that is not to be asked for: {other}"),
        };
        match manner {
            Order::Honoured => {}
            Order::Textual => ids.sort_by_key(|id| key(*id)),
            Order::Ignored => ids.sort_by_key(|id| mix(*id as u64)),
            Order::Deceptive => {
                let split = ids.len().min(60);
                ids[split..].sort_by_key(|id| mix(*id as u64));
            }
            Order::Refused => return None,
        }
        Some(ids)
    }

    fn answer(&mut self, ask: &Ask) -> Reply {
        let refusal = || Reply::Refused(Error::new(Kind::AqlRejected, "no"));
        let Some(found) = self.find(&ask.aql) else { return refusal() };
        let What::Page { start, size } = ask.what else {
            self.counted += 1;
            return Reply::Count(self.manners.counts.then_some(found.len() as u64));
        };
        self.pages += 1;
        let start = start as usize;
        let mut take = (size as usize).min(self.manners.cap);
        let left = found.len().saturating_sub(start);
        if self.manners.underfilled && left > take && take > 1 && self.dice.one_in(3) {
            take = 1 + self.dice.below(take as u64 - 1) as usize;
        }
        let rows: Vec<Row> = found
            .iter()
            .skip(start)
            .take(take)
            .map(|&id| Row { id, key: key(id), values: Vec::new() })
            .collect();
        let end = start + rows.len() >= found.len();
        let is_last = match self.manners.is_last {
            0 => Some(end),
            1 => None,
            2 => Some(false),
            3 => Some(end || rows.len() >= self.manners.cap.min(size as usize)),
            _ => Some(true),
        };
        let total = match self.manners.total {
            Total::Exact => Some(found.len() as u64),
            Total::Capped => Some((found.len() as u64).min(1000)),
            Total::Absent => None,
            Total::Lying => Some((start + rows.len()) as u64),
        };
        Reply::Page(Answer { rows, is_last, total, ..Answer::default() }, 1000)
    }
}

struct Outcome {
    result: Result<Vec<i64>, Error>,
    facts: Facts,
}

/// Runs a scan; replies come in any order, `meanwhile` runs between two of them.
fn run(service: &mut Service, start: Start, meanwhile: impl FnMut(&mut Service)) -> Outcome {
    run_with(service, start, meanwhile, |_, reply| reply)
}

/// The same; `twist` may change what comes.
fn run_with(
    service: &mut Service,
    start: Start,
    mut meanwhile: impl FnMut(&mut Service),
    mut twist: impl FnMut(&Ask, Reply) -> Reply,
) -> Outcome {
    let in_flight = start.max_in_flight as usize;
    let mut walk = Walk::new(start);
    let mut got = Vec::new();
    let mut asks: Vec<Ask> = Vec::new();
    let mut replies: Vec<(u64, Reply)> = Vec::new();
    for turn in 0.. {
        assert!(turn < 200_000, "the scan does not end");
        while let Some(page) = walk.rows() {
            got.extend(page.rows.iter().map(|row| row.id));
        }
        while let Some(ask) = walk.next() {
            asks.push(ask);
        }
        asks.retain(|ask| walk.is_live(ask.ticket));
        replies.retain(|(ticket, _)| walk.is_live(*ticket));
        // One page above the bound for the count that runs beside them.
        assert!(asks.len() + replies.len() <= in_flight + 1, "{} under way", asks.len() + replies.len());
        if walk.is_done() {
            return Outcome { result: Ok(got), facts: walk.facts() };
        }
        assert!(!asks.is_empty() || !replies.is_empty(), "the scan came to rest");
        // The service answers one request at some moment; the answer arrives at another.
        if !asks.is_empty() && (replies.is_empty() || service.dice.one_in(2)) {
            let i = service.dice.below(asks.len() as u64) as usize;
            let ask = asks.swap_remove(i);
            let reply = service.answer(&ask);
            replies.push((ask.ticket, twist(&ask, reply)));
        } else {
            let i = service.dice.below(replies.len() as u64) as usize;
            let (ticket, reply) = replies.swap_remove(i);
            if let Err(error) = walk.reply(ticket, reply) {
                return Outcome { result: Err(error), facts: walk.facts() };
            }
        }
        meanwhile(service);
    }
    unreachable!()
}

fn start() -> Start {
    Start {
        most: None,
        filter: "objectTypeId = 7".to_owned(),
        page_size: 500,
        limit: None,
        max_in_flight: 8,
        facts: Facts::default(),
        count: None,
        object: 0,
        given: Given::default(),
    }
}

fn all_manners() -> Vec<Manners> {
    let mut all = Vec::new();
    let orders = [
        (Order::Honoured, Order::Honoured),
        (Order::Refused, Order::Honoured),
        (Order::Ignored, Order::Textual),
        (Order::Deceptive, Order::Honoured),
        (Order::Ignored, Order::Ignored),
        (Order::Refused, Order::Refused),
        (Order::Ignored, Order::Deceptive),
    ];
    for (by_id, by_key) in orders {
        for ranges in [Ranges::Honoured, Ranges::Refused, Ranges::Ignored, Ranges::Empty] {
            for total in [Total::Exact, Total::Capped, Total::Absent, Total::Lying] {
                for is_last in 0..5 {
                    for underfilled in [false, true] {
                        if matches!(total, Total::Lying) && is_last == 4 && underfilled {
                            // A first page that says in every way that it is all, by its `total` too.
                            continue;
                        }
                        all.push(Manners {
                            cap: 20,
                            by_id,
                            by_key,
                            ranges,
                            total,
                            is_last,
                            underfilled,
                            counts: true,
                        });
                    }
                }
            }
        }
    }
    all
}

fn is_exact(got: &[i64], expected: &BTreeSet<i64>) -> bool {
    got.len() == expected.len() && got.iter().all(|id| expected.contains(id)) && {
        let distinct: HashSet<_> = got.iter().collect();
        distinct.len() == got.len()
    }
}

#[test]
fn a_scan_of_a_service_at_rest_returns_everything_once_whatever_its_manners() {
    for (i, manners) in all_manners().into_iter().enumerate() {
        for count in [0, 1, 2, 20, 21, 133, 503] {
            // The long ones are for a part of the manners, to keep the test short.
            if count == 503 && i % 13 != 0 {
                continue;
            }
            let mut service = Service::new(manners, (1..=count).map(|i| i * 3), count as u64);
            let expected: BTreeSet<i64> = service.objects.keys().copied().collect();
            match run(&mut service, start(), |_| {}).result {
                Ok(got) => assert!(
                    is_exact(&got, &expected),
                    "{manners:?} {count}: {} objects, {} distinct",
                    got.len(),
                    got.iter().collect::<HashSet<_>>().len()
                ),
                Err(error) => panic!("{manners:?} {count}: {error}"),
            }
        }
    }
}

#[test]
fn objects_that_stay_are_returned_once_while_others_come_and_go() {
    let (mut complete, mut errors) = (0_u32, 0_u32);
    for (i, manners) in all_manners().into_iter().enumerate() {
        for seed in 0..2 {
            let seed = seed * 1000 + i as u64;
            let mut service = Service::new(manners, (1..=150).map(|i| i * 10), seed);
            let mut stayed: BTreeSet<i64> = service.objects.keys().copied().collect();
            let mut ever = stayed.clone();
            let mut changes = Dice(seed ^ 0xabcd);
            let mut budget = 12;
            let outcome = run(&mut service, start(), |service| {
                if budget > 0 && changes.one_in(4) {
                    budget -= 1;
                    if changes.one_in(2) {
                        let id = changes.below(1600) as i64 + 1;
                        service.objects.insert(id, ());
                        ever.insert(id);
                    } else if let Some(&id) =
                        service.objects.keys().nth(changes.below(service.objects.len() as u64) as usize)
                    {
                        service.objects.remove(&id);
                        stayed.remove(&id);
                    }
                }
            });
            match outcome.result {
                Ok(got) => {
                    complete += 1;
                    let set: HashSet<i64> = got.iter().copied().collect();
                    assert_eq!(set.len(), got.len(), "twice: {manners:?} seed {seed}");
                    if manners.by_id == Order::Honoured && manners.ranges == Ranges::Honoured {
                        let lost: Vec<_> = stayed.iter().filter(|id| !set.contains(id)).collect();
                        assert!(lost.is_empty(), "lost {lost:?}: {manners:?} seed {seed}");
                    }
                    let lost = stayed.iter().filter(|id| !set.contains(id)).count();
                    assert_eq!(lost, 0, "lost: {manners:?} seed {seed}");
                    assert!(got.iter().all(|id| ever.contains(id)));
                }
                Err(error) => {
                    errors += 1;
                    assert_eq!(error.kind(), Kind::Protocol, "{error}");
                }
            }
        }
    }
    assert!(complete > errors * 4, "{complete} complete, {errors} errors");
}

#[test]
fn short_pages_over_several_schemas_and_replies_in_any_order_lose_nothing() {
    for seed in 0..20 {
        let manners = Manners {
            cap: 50,
            by_id: Order::Ignored,
            by_key: Order::Textual,
            total: Total::Absent,
            underfilled: true,
            ..Manners::GOOD
        };
        let mut service = Service::new(manners, (1..=1500).filter(|id| id % 3 != seed % 2), seed as u64);
        let expected: BTreeSet<i64> = service.objects.keys().copied().collect();
        match run(&mut service, start(), |_| {}).result {
            Ok(got) => assert!(is_exact(&got, &expected), "seed {seed}"),
            Err(error) => panic!("seed {seed}: {error}"),
        }
        let ideal = expected.len().div_ceil(50);
        assert!(service.pages < 5 * ideal, "seed {seed}: {} pages, ideal {ideal}", service.pages);
    }
}

#[test]
fn a_page_of_no_object_is_not_believed_where_no_total_is_told() {
    for counts in [true, false] {
        let mut service = Service::new(Manners { total: Total::Absent, counts, ..Manners::GOOD }, 5..6, 1);
        let mut walk = Walk::new(start());
        let lost = walk.next().expect("a first page");
        walk.reply(lost.ticket, empty_page_that_is_the_last()).expect("goes on");
        let mut got = 0;
        while !walk.is_done() {
            let ask = walk.next().expect("goes on");
            let reply = service.answer(&ask);
            walk.reply(ask.ticket, reply).expect("complete in the end");
            got += walk.rows().map_or(0, |page| page.rows.len());
        }
        // A service that counts nothing either leaves no witness.
        assert_eq!(got, usize::from(counts));
    }
}

fn empty_page_that_is_the_last() -> Reply {
    Reply::Page(Answer { is_last: Some(true), ..Answer::default() }, 100)
}

#[test]
fn a_key_lookup_is_one_request_where_the_total_is_told() {
    for total in [Total::Exact, Total::Capped, Total::Absent] {
        for count in [0, 1] {
            let mut service = Service::new(Manners { total, ..Manners::GOOD }, 5..5 + count, 1);
            let outcome = run(&mut service, start(), |_| {});
            assert_eq!(outcome.result.map(|got| got.len()), Ok(count as usize));
            // Where `total` is not told, nothing else shows that the page is not short.
            let counted = usize::from(total == Total::Absent);
            assert_eq!((service.pages, service.counted), (1, counted), "{total:?} {count}");
        }
    }
}

#[test]
fn a_scan_takes_hardly_more_requests_than_pages() {
    for total in [Total::Exact, Total::Capped, Total::Absent] {
        for count in [30, 99, 100, 101, 250, 999, 1000, 1001, 1500, 10_000, 40_000] {
            let mut service = Service::new(Manners { total, ..Manners::GOOD }, 1..=count, 1);
            let outcome = run(&mut service, start(), |_| {});
            assert_eq!(outcome.result.map(|got| got.len()), Ok(count as usize));
            let requests = service.pages + service.counted;
            let ideal = (count as usize).div_ceil(100);
            assert!(requests <= ideal + ideal / 20 + 2, "{total:?} {count}: {requests} for {ideal}");
        }
    }
}

#[test]
fn a_look_up_of_n_keys_ends_with_the_nth_object_and_never_before() {
    for manners in all_manners() {
        let mut service = Service::new(manners, 1..=80, 1);
        let outcome = run(&mut service, Start { most: Some(80), ..start() }, |_| {});
        assert_eq!(outcome.result.map(|got| got.len()), Ok(80), "{manners:?}");
    }
    let mut service = Service::new(Manners::GOOD, 1..=100, 1);
    let outcome = run(&mut service, Start { most: Some(100), ..start() }, |_| {});
    assert_eq!(outcome.result.map(|got| got.len()), Ok(100));
    assert_eq!((service.pages, service.counted), (1, 0), "a full page, and nothing more to find");
}

#[test]
fn a_limit_makes_the_first_page_small_and_nothing_else_is_asked_before_it_is_reached() {
    let mut service = Service::new(Manners::GOOD, 1..=1000, 1);
    let mut walk = Walk::new(Start { limit: Some(10), ..start() });
    let ask = walk.next().expect("a first page");
    assert_eq!(ask.what, What::Page { start: 0, size: 10 });
    assert_eq!(walk.next(), None);
    let reply = service.answer(&ask);
    walk.reply(ask.ticket, reply).expect("a good page");
    assert_eq!(walk.rows().map(|page| page.rows.len()), Some(10));
}

#[test]
fn a_limit_beyond_the_last_object_asks_for_no_page_beyond_the_next() {
    for total in [Total::Exact, Total::Capped, Total::Absent] {
        for seed in 1..20 {
            let mut service = Service::new(Manners { total, ..Manners::GOOD }, 1..=993, seed);
            let outcome = run(&mut service, Start { limit: Some(5000), ..start() }, |_| {});
            assert_eq!(outcome.result.map(|got| got.len()), Ok(993));
            // One object of each page is the one before it: eleven pages.
            assert!(service.pages <= 12, "{total:?}: {} pages, {} counts", service.pages, service.counted);
        }
    }
}

#[test]
fn pages_ahead_grow_slowly_and_stay_within_the_bound() {
    let mut service = Service::new(Manners { total: Total::Exact, ..Manners::GOOD }, 1..=50_000, 1);
    let mut walk = Walk::new(Start { max_in_flight: 5, ..start() });
    let mut most = Vec::new();
    for _ in 0..8 {
        let mut asks = Vec::new();
        while let Some(ask) = walk.next() {
            asks.push(ask);
        }
        most.push(asks.len());
        for ask in asks {
            let reply = service.answer(&ask);
            walk.reply(ask.ticket, reply).expect("a good page");
        }
        while walk.rows().is_some() {}
    }
    assert_eq!(most, [1, 2, 4, 5, 5, 5, 5, 5]);
}

#[test]
fn what_a_scan_learnt_saves_requests_in_the_next() {
    let manners = Manners { by_id: Order::Refused, total: Total::Exact, ..Manners::GOOD };
    let mut service = Service::new(manners, 1..=300, 1);
    let first = run(&mut service, start(), |_| {});
    assert!(first.result.is_ok());
    assert_eq!((first.facts.by_id, first.facts.by_key), (Verdict::Fails, Verdict::Works));
    service.pages = 0;
    let second = run(&mut service, Start { facts: first.facts, ..start() }, |_| {});
    assert_eq!(second.result.map(|got| got.len()), Ok(300));
    assert!(service.pages <= 4, "{}", service.pages);
}

#[test]
fn a_filter_that_is_refused_is_an_error_and_one_that_is_not_is_not_blamed() {
    let mut walk = Walk::new(start());
    let ask = walk.next().expect("a first page");
    walk.reply(ask.ticket, Reply::Refused(Error::new(Kind::AqlRejected, "ours"))).expect("goes on");
    let bare = walk.next().expect("the filter alone");
    assert_eq!(bare.aql, "objectTypeId = 7");
    let refused = walk.reply(bare.ticket, Reply::Refused(Error::new(Kind::AqlRejected, "theirs")));
    assert_eq!(refused.map_err(|e| e.message().to_owned()), Err("theirs".to_owned()));
}

#[test]
fn a_service_that_repeats_its_first_page_for_ever_is_an_error() {
    let mut service = Service::new(Manners::GOOD, 1..=1000, 1);
    let mut walk = Walk::new(start());
    for _ in 0..10_000 {
        while walk.rows().is_some() {}
        let Some(mut ask) = walk.next() else { break };
        if let What::Page { start, .. } = &mut ask.what {
            *start = 0;
        }
        if let Some((filter, _)) = ask.aql.split_once(" AND objectId") {
            ask.aql = format!("{filter} ORDER BY objectId ASC");
        }
        let reply = service.answer(&ask);
        if let Err(error) = walk.reply(ask.ticket, reply) {
            assert_eq!(error.kind(), Kind::Protocol);
            return;
        }
        assert!(!walk.is_done(), "took a repeated page for everything");
    }
    panic!("no error");
}

#[test]
fn a_page_that_loses_an_object_once_does_not_make_a_short_result() {
    for total in [Total::Exact, Total::Capped, Total::Absent] {
        for lost_first in [false, true] {
            for which in 0..16 {
                let mut service = Service::new(Manners { total, ..Manners::GOOD }, 1..=1250, 1);
                let mut walk = Walk::new(start());
                let (mut got, mut page) = (Vec::new(), 0);
                while !walk.is_done() {
                    let ask = walk.next().expect("goes on");
                    let mut reply = service.answer(&ask);
                    if let Reply::Page(answer, _) = &mut reply {
                        if page == which && !answer.rows.is_empty() {
                            let last = answer.rows.len() - 1;
                            answer.rows.remove(if lost_first { 0 } else { last });
                            answer.is_last = Some(true);
                        }
                        page += 1;
                    }
                    walk.reply(ask.ticket, reply).expect("complete in the end");
                    while let Some(page) = walk.rows() {
                        got.extend(page.rows.iter().map(|row| row.id));
                    }
                }
                got.sort_unstable();
                assert_eq!(got, (1..=1250).collect::<Vec<_>>(), "{total:?} {lost_first} page {which}");
            }
        }
    }
}

#[test]
fn a_count_from_before_the_scan_proves_nothing() {
    // As many were counted as the pages have, less the object that they lose.
    for (objects, which) in [(51, 0), (150, 1), (1250, 12)] {
        for total in [Total::Capped, Total::Absent] {
            let mut service = Service::new(Manners { total, ..Manners::GOOD }, 1..=objects, 1);
            let mut page = 0;
            let start = Start { count: Some(objects as u64 - 1), ..start() };
            let outcome = run_with(
                &mut service,
                start,
                |_| {},
                |_, mut reply| {
                    if let Reply::Page(answer, _) = &mut reply
                        && !answer.rows.is_empty()
                    {
                        if page == which {
                            answer.rows.pop();
                            answer.is_last = Some(true);
                            answer.total = answer.total.map(|total| total.min(answer.rows.len() as u64));
                        }
                        page += 1;
                    }
                    reply
                },
            );
            assert_eq!(outcome.result.map(|got| got.len()), Ok(objects as usize), "{total:?}");
        }
    }
}

#[test]
fn a_first_page_that_is_short_together_with_its_total_is_doubted_where_more_were_counted_before() {
    let mut service = Service::new(Manners { total: Total::Exact, ..Manners::GOOD }, 1..=57, 1);
    let mut walk = Walk::new(Start { count: Some(57), ..start() });
    let (mut got, mut first) = (0, true);
    while !walk.is_done() {
        let ask = walk.next().expect("goes on");
        let mut reply = service.answer(&ask);
        if let Reply::Page(answer, _) = &mut reply
            && std::mem::take(&mut first)
        {
            answer.rows.truncate(33);
            (answer.is_last, answer.total) = (Some(true), Some(33));
        }
        walk.reply(ask.ticket, reply).expect("complete in the end");
        while let Some(page) = walk.rows() {
            got += page.rows.len();
        }
    }
    assert_eq!(got, 57);
}

#[test]
fn pages_that_are_spoilt_for_good_are_an_error_and_not_a_short_result() {
    type Spoil = fn(&mut Answer);
    let spoils: [Spoil; 4] = [
        |answer| {
            answer.rows.pop();
            answer.is_last = Some(true);
        },
        |answer| {
            answer.rows.pop();
        },
        |answer| {
            answer.rows.clear();
            answer.is_last = Some(false);
        },
        |answer| {
            answer.rows.clear();
            answer.is_last = Some(true);
        },
    ];
    // An odd step meets every value of every manner.
    for manners in all_manners().into_iter().step_by(7) {
        for (i, spoil) in spoils.iter().enumerate() {
            for after in [1, 3] {
                let mut service = Service::new(manners, 1..=130, 1);
                let mut walk = Walk::new(start());
                let (mut got, mut turns) = (0, 0);
                let result = loop {
                    while let Some(page) = walk.rows() {
                        got += page.rows.len();
                    }
                    if walk.is_done() {
                        break Ok(());
                    }
                    turns += 1;
                    assert!(turns < 5000, "no end: {manners:?} {i} {after}");
                    let ask = walk.next().expect("goes on");
                    let mut reply = service.answer(&ask);
                    if let Reply::Page(answer, _) = &mut reply
                        && service.pages > after
                    {
                        spoil(answer);
                    }
                    if let Err(error) = walk.reply(ask.ticket, reply) {
                        break Err(error);
                    }
                };
                assert!(result.is_err() || got == 130, "{got} of 130: {manners:?} {i} {after}");
            }
        }
    }
}

#[test]
fn an_object_twice_on_a_page_is_an_error() {
    let mut service = Service::new(Manners::GOOD, 1..=10, 1);
    let mut walk = Walk::new(start());
    let ask = walk.next().expect("a first page");
    let mut reply = service.answer(&ask);
    if let Reply::Page(answer, _) = &mut reply {
        let row = answer.rows[9].clone();
        answer.rows.push(row);
    }
    let result = walk.reply(ask.ticket, reply);
    assert_eq!(result.map_err(|e| e.kind()), Err(Kind::Protocol));
}
