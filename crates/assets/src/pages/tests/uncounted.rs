//! Pages of a service that does not count for the credential: nothing but their own signs shows the end.

use super::*;

fn uncounted() -> impl Iterator<Item = Manners> {
    // Where a page says in every way that it is the last, and is not, there is no witness.
    all_manners().into_iter().filter(|m| m.is_last < 3).map(|m| Manners { counts: false, ..m })
}

fn emptied(reply: Reply) -> Reply {
    match reply {
        Reply::Page(mut answer, bytes) => {
            answer.rows.clear();
            answer.is_last = Some(false);
            Reply::Page(answer, bytes)
        }
        other => other,
    }
}

#[test]
fn a_scan_that_cannot_be_counted_is_complete_or_an_error() {
    let mut complete = 0;
    for manners in uncounted() {
        for count in [0, 1, 20, 21, 133] {
            let mut service = Service::new(manners, (1..=count).map(|i| i * 3), count as u64);
            match run(&mut service, start(), |_| {}).result {
                Ok(got) => {
                    assert_eq!(got.len(), count as usize, "{manners:?}");
                    complete += 1;
                }
                Err(error) => assert_eq!(error.kind(), Kind::Protocol, "{manners:?} {count}: {error}"),
            }
        }
    }
    assert!(complete > 500, "{complete}");
}

#[test]
fn a_good_service_that_does_not_count_is_read_in_as_many_requests_as_pages() {
    for total in [Total::Exact, Total::Capped, Total::Absent] {
        for count in [0, 1, 99, 250, 1000, 1500] {
            let manners = Manners { total, counts: false, ..Manners::GOOD };
            let mut service = Service::new(manners, 1..=count, 1);
            let outcome = run(&mut service, start(), |_| {});
            assert_eq!(outcome.result.map(|got| got.len()), Ok(count as usize), "{total:?} {count}");
            let ideal = (count as usize).div_ceil(100).max(1);
            assert!(service.pages <= ideal + ideal / 20 + 2, "{total:?} {count}: {} pages", service.pages);
        }
    }
}

#[test]
fn an_empty_page_that_says_more_follows_is_not_the_end_where_nothing_is_counted() {
    for manners in uncounted() {
        for which in [1, 2, 3, 5, 8] {
            for for_good in [false, true] {
                let mut service = Service::new(manners, 1..=133, 1);
                let mut page = 0;
                let result = run_with(
                    &mut service,
                    start(),
                    |_| {},
                    |ask, reply| {
                        page += usize::from(matches!(ask.what, What::Page { .. }));
                        let strikes = if for_good { page >= which } else { page == which };
                        if strikes { emptied(reply) } else { reply }
                    },
                )
                .result;
                match result {
                    Ok(got) => assert_eq!(got.len(), 133, "{manners:?} page {which} {for_good}"),
                    Err(error) => assert_eq!(error.kind(), Kind::Protocol, "{error}"),
                }
            }
        }
    }
    for total in [Total::Exact, Total::Capped, Total::Absent] {
        for which in 1..=4 {
            let manners = Manners { total, counts: false, ..Manners::GOOD };
            let mut service = Service::new(manners, 1..=243, 1);
            let mut page = 0;
            let result = run_with(
                &mut service,
                start(),
                |_| {},
                |_, reply| {
                    page += 1;
                    if page == which { emptied(reply) } else { reply }
                },
            )
            .result;
            assert_eq!(result.map(|got| got.len()), Ok(243), "{total:?}: one such page is read again");
        }
    }
}

#[test]
fn what_was_told_before_is_not_forgotten_where_nothing_is_counted() {
    // The last page loses its objects, and all signs but the total of the first one.
    for known in [None, Some(243)] {
        for (total, for_good) in [(Total::Exact, false), (Total::Exact, true), (Total::Absent, true)] {
            if known.is_none() && total == Total::Absent {
                continue;
            }
            let manners = Manners { total, counts: false, ..Manners::GOOD };
            let mut service = Service::new(manners, 1..=243, 1);
            let mut struck = false;
            let start = Start { count: known, ..start() };
            let result = run_with(
                &mut service,
                start,
                |_| {},
                |_, mut reply| {
                    if let Reply::Page(answer, _) = &mut reply
                        && answer.is_last == Some(true)
                        && (for_good || !std::mem::replace(&mut struck, true))
                    {
                        answer.rows.truncate(1);
                        answer.total = None;
                    }
                    reply
                },
            )
            .result;
            match result {
                Ok(got) => assert!(!for_good && got.len() == 243, "{total:?} {known:?}: {}", got.len()),
                Err(error) => assert!(for_good && error.kind() == Kind::Protocol, "{error}"),
            }
        }
    }
}

#[test]
fn an_empty_first_page_is_not_believed_where_objects_were_counted_before() {
    for counts in [false, true] {
        let manners = Manners { total: Total::Exact, counts, ..Manners::GOOD };
        let run_from = |count: i64, known| {
            let mut service = Service::new(manners, 1..=count, 1);
            let outcome = run_with(
                &mut service,
                Start { count: Some(known), ..start() },
                |_| {},
                |_, mut reply| {
                    if let Reply::Page(answer, _) = &mut reply {
                        answer.rows.clear();
                        (answer.total, answer.is_last) = (Some(0), Some(true));
                    }
                    reply
                },
            );
            (outcome.result.map(|got| got.len()), service.pages)
        };
        assert!(run_from(50, 50).0.is_err());
        // They may be gone: a count tells.
        assert_eq!(run_from(0, 50).0.is_ok(), counts);
        assert_eq!(run_from(0, 0), (Ok(0), 1));
    }
}
