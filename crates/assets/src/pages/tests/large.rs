//! How much is asked for at once: objects that are large, or suddenly become so, and readers that stop.

use std::time::Duration;

use super::*;
use crate::retry::Smaller;

/// A page of objects of so many bytes, or, where it would be longer than `room`, that there is none for it.
fn sized(ask: &Ask, reply: Reply, object: usize, room: usize) -> Reply {
    match (reply, ask.what) {
        (Reply::Page(answer, _), What::Page { size, .. }) => {
            let bytes = answer.rows.len() * object;
            if bytes > room && size > SMALLEST_PAGE {
                Reply::TooLong(bytes)
            } else {
                Reply::Page(answer, bytes)
            }
        }
        (reply, _) => reply,
    }
}

#[test]
fn large_pages_make_the_next_ones_shorter_and_fewer_at_once() {
    const OBJECT: usize = 40 << 10;
    for by_id in [Order::Honoured, Order::Ignored] {
        let manners = Manners { by_id, by_key: by_id, total: Total::Exact, cap: usize::MAX, ..Manners::GOOD };
        let mut service = Service::new(manners, 1..=3000, 1);
        let mut walk = Walk::new(start());
        let (mut most, mut got) = (0, 0);
        while !walk.is_done() {
            let mut asks = Vec::new();
            while let Some(ask) = walk.next() {
                asks.push(ask);
            }
            let asked = |ask: &Ask| match ask.what {
                What::Page { size, .. } => size as usize * OBJECT,
                What::Count => 0,
            };
            if service.pages > 0 {
                most = most.max(asks.iter().map(asked).sum());
            }
            for ask in asks {
                let reply = match service.answer(&ask) {
                    Reply::Page(answer, _) => {
                        let bytes = answer.rows.len() * OBJECT;
                        Reply::Page(answer, bytes)
                    }
                    reply => reply,
                };
                walk.reply(ask.ticket, reply).expect("a good page");
            }
            while let Some(page) = walk.rows() {
                got += page.rows.len();
            }
        }
        assert_eq!(got, 3000, "{by_id:?}");
        assert!((6 << 20..=12 << 20).contains(&most), "{by_id:?}: {most} bytes under way");
    }
}

#[test]
fn a_page_without_room_is_asked_for_again_with_fewer_objects_and_nothing_is_lost() {
    const ROOM: usize = 8 << 20;
    for manners in all_manners().into_iter().step_by(5) {
        let manners = Manners { cap: 120, ..manners };
        for growth in [1, 300, 700] {
            let mut service = Service::new(manners, 1..=900, 1);
            let expected: BTreeSet<i64> = service.objects.keys().copied().collect();
            let mut came = 0;
            let outcome = run_with(
                &mut service,
                start(),
                |_| {},
                |ask, reply| {
                    // From some moment on, objects are a hundred times as large.
                    let reply = sized(ask, reply, if came < growth { 2_000 } else { 200_000 }, ROOM);
                    if let Reply::Page(answer, _) = &reply {
                        came += answer.rows.len();
                    }
                    reply
                },
            );
            let got = outcome.result.unwrap_or_else(|e| panic!("{manners:?} {growth}: {e}"));
            assert!(is_exact(&got, &expected), "{manners:?} {growth}: {} objects", got.len());
        }
    }
}

#[test]
fn objects_that_become_large_in_the_middle_of_a_scan_cost_few_requests() {
    let mut service = Service::new(Manners { cap: 500, ..Manners::GOOD }, 1..=4000, 1);
    let mut came = 0;
    let outcome = run_with(
        &mut service,
        start(),
        |_| {},
        |ask, reply| {
            let reply = sized(ask, reply, if came < 2000 { 1_000 } else { 100_000 }, 8 << 20);
            if let Reply::Page(answer, _) = &reply {
                came += answer.rows.len();
            }
            reply
        },
    );
    assert_eq!(outcome.result.map(|got| got.len()), Ok(4000));
    // Half of them in pages of 500, half in pages of about 60; 8 pages were under way at the turn.
    let ideal = 4 + 2000 / 60;
    assert!(service.pages <= ideal + ideal / 5 + 8, "{} pages, ideal {ideal}", service.pages);
}

#[test]
fn what_an_earlier_scan_found_makes_the_first_page_fit() {
    let mut walk = Walk::new(Start { object: 100_000, ..start() });
    let first = walk.next().expect("a first page");
    assert!(matches!(first.what, What::Page { start: 0, size: 50..=70 }), "{first:?}");
    let mut service = Service::new(Manners { cap: 500, ..Manners::GOOD }, 1..=4000, 1);
    // They have become small: every page but the first is a whole one.
    let outcome = run_with(
        &mut service,
        Start { object: 100_000, ..start() },
        |_| {},
        |ask, reply| sized(ask, reply, 1_000, 8 << 20),
    );
    assert_eq!(outcome.result.map(|got| got.len()), Ok(4000));
    assert!(service.pages <= 1 + 4000_usize.div_ceil(499) + 1, "{} pages", service.pages);
}

#[test]
fn a_short_page_that_was_asked_for_does_not_make_the_next_scans_more_expensive() {
    for objects in [51, 4000] {
        let manners = Manners { cap: 500, total: Total::Exact, ..Manners::GOOD };
        let mut service = Service::new(manners, 1..=objects, 1);
        let mut walk = Walk::new(Start { limit: Some(10), ..start() });
        let ask = walk.next().expect("a first page");
        let reply = service.answer(&ask);
        walk.reply(ask.ticket, reply).expect("a good page");
        let facts = walk.facts();
        service.pages = 0;
        let outcome = run(&mut service, Start { facts, ..start() }, |_| {});
        assert_eq!(outcome.result.map(|got| got.len()), Ok(objects as usize));
        let requests = service.pages + service.counted;
        let ideal = (objects as usize).div_ceil(499);
        assert!(requests <= ideal, "{objects}: {requests} requests");
    }
}

#[test]
fn a_reader_that_goes_on_beyond_its_limit_is_not_sent_pages_that_overlap() {
    let manners = Manners { total: Total::Exact, ..Manners::GOOD };
    let mut service = Service::new(manners, 1..=3000, 1);
    let outcome = run(&mut service, Start { limit: Some(10), ..start() }, |_| {});
    assert_eq!(outcome.result.map(|got| got.len()), Ok(3000));
    let ideal = 3000_usize.div_ceil(99) + 1;
    assert!(service.pages <= ideal + 1, "{} pages, ideal {ideal}", service.pages);
}

#[test]
fn a_reader_that_stops_taking_pages_is_read_ahead_of_by_no_more_than_the_slow_start_allows() {
    for by_id in [Order::Honoured, Order::Ignored] {
        for taken in [0, 1, 3, 6] {
            let manners = Manners { by_id, by_key: by_id, total: Total::Exact, ..Manners::GOOD };
            let mut service = Service::new(manners, 1..=50_000, 1);
            let mut walk = Walk::new(start());
            let mut got = 0;
            loop {
                if got < taken {
                    got += usize::from(walk.rows().is_some());
                }
                let Some(ask) = walk.next() else { break };
                let reply = service.answer(&ask);
                walk.reply(ask.ticket, reply).expect("a good page");
            }
            let ready = std::iter::from_fn(|| walk.rows()).count();
            assert!(got == taken && ready <= 8, "{by_id:?} {taken}: {ready} pages ready");
            // Where no order holds, ranges that have to be cut come between.
            if by_id == Order::Honoured {
                assert!(ready <= taken + 1, "{taken}: {ready} pages ready");
                assert!(service.pages <= 2 * taken + 1, "{} pages for {taken}", service.pages);
            }
        }
    }
}

#[test]
fn a_page_that_the_service_does_not_give_is_asked_for_with_fewer_objects_and_nothing_is_lost() {
    let fewer = |by, sure| Reply::TooMuch(Smaller { by, sure, wait: Duration::ZERO }, None);
    for (i, manners) in all_manners().into_iter().enumerate().step_by(5) {
        let manners = Manners { cap: 120, ..manners };
        for (gives, from) in [(7, 0), (60, 0), (30, 300)] {
            let mut service = Service::new(manners, 1..=900, 1);
            let expected: BTreeSet<i64> = service.objects.keys().copied().collect();
            let mut came = 0;
            let outcome = run_with(
                &mut service,
                start(),
                |_| {},
                |ask, reply| match (reply, ask.what) {
                    // From some moment on.
                    (Reply::Page(answer, _), What::Page { size, .. })
                        if came >= from && answer.rows.len() > gives && size > SMALLEST_PAGE =>
                    {
                        fewer([2, 4, 8][i % 3], i % 2 == 0)
                    }
                    (Reply::Page(answer, bytes), _) => {
                        came += answer.rows.len();
                        Reply::Page(answer, bytes)
                    }
                    (reply, _) => reply,
                },
            );
            // Short pages that all claim to be the last take more audits than there are.
            let lies = manners.is_last == 4 && manners.underfilled;
            let got = match outcome.result {
                Err(error) if lies && error.kind() == Kind::Protocol => continue,
                result => result.unwrap_or_else(|e| panic!("{manners:?} {gives}: {e}")),
            };
            assert!(is_exact(&got, &expected), "{manners:?} {gives}: {} objects", got.len());
        }
    }
}

#[test]
fn a_length_that_is_given_is_kept_for_the_next_scan() {
    let mut given = Given::default();
    let mut failed = Vec::new();
    for scan in 0..3 {
        let mut service = Service::new(Manners { cap: 500, ..Manners::GOOD }, 1..=2000, 1);
        let (mut walk, mut failures) = (Walk::new(Start { given, ..start() }), 0);
        while !walk.is_done() {
            let Some(ask) = walk.next() else { panic!("the scan came to rest") };
            let reply = match (service.answer(&ask), ask.what) {
                (_, What::Page { size, .. }) if size > 100 => {
                    failures += 1;
                    Reply::TooMuch(Smaller { by: 2, sure: true, wait: Duration::ZERO }, None)
                }
                (reply, _) => reply,
            };
            walk.reply(ask.ticket, reply).expect("a good page");
            while walk.rows().is_some() {}
        }
        given = walk.given();
        failed.push((scan, failures));
    }
    assert_eq!(failed, [(0, 3), (1, 0), (2, 0)], "500, 250, 125 and never again");
}
