//! A service whose pages are not what they say: every object once all the same, and changes between two pages lose none.

use assets_fdw_tests::assets_sim::{Change, Echo, Flag, Options, OrderBy, Switches, Total};

use crate::live::{Live, compare_table, one};

type Manner = (&'static str, fn(&mut Switches));

const MANNERS: [Manner; 14] = [
    ("pages are cut at 7", |s| s.page_cap = 7),
    ("pages are not cut", |s| s.page_cap = 0),
    ("some pages are not full", |s| s.underfilled_pages = true),
    ("isLast is true on full pages", |s| s.is_last_lies_on_full_pages = true),
    ("isLast is always true", |s| s.is_last_lies_from = Some(1)),
    ("isLast is a string", |s| s.is_last = Flag::String),
    ("only hasMoreResults is told", |s| (s.is_last, s.last) = (Flag::Absent, Flag::Absent)),
    ("no sign of the end is told", |s| {
        (s.is_last, s.last, s.has_more_results) = (Flag::Absent, Flag::Absent, Flag::Absent);
    }),
    ("total is exact", |s| s.total = Total::Exact),
    ("total ends at the page", |s| s.total = Total::Lying),
    ("total is not told", |s| s.total = Total::Absent),
    ("maxResults repeats what was asked", |s| s.echo = Echo::Request),
    ("no order is kept", |s| {
        (s.order_by_object_id, s.order_by_key) = (OrderBy::Ignored, OrderBy::Unstable);
    }),
    ("neither orders nor ranges are taken", |s| {
        (s.order_by_object_id, s.order_by_key) = (OrderBy::Rejected, OrderBy::Rejected);
        s.object_id_ranges = false;
    }),
];

#[test]
fn whatever_a_page_says_of_itself_every_object_is_returned_once() {
    let live = Live::start(Options { objects: 1500, ..Options::default() });
    live.import();
    let as_documented = live.sim.current_switches();
    let key: String = one(&mut live.connect(), "SELECT max(key) FROM itsm.server");
    for (what, change) in MANNERS {
        live.sim.switches(|s| {
            *s = as_documented.clone();
            change(s);
        });
        // A session that has learnt nothing yet, and then one that has.
        let mut client = live.connect();
        for again in [false, true] {
            println!("{what}, again: {again}");
            compare_table(&live, &mut client, "itsm.server");
            compare_table(&live, &mut client, "itsm.department");
            let found: i64 =
                one(&mut client, &format!("SELECT count(name) FROM itsm.server WHERE key = '{key}'"));
            assert_eq!(found, 1, "{what}");
        }
    }
}

#[test]
fn changes_between_two_pages_hide_no_object_that_stays_whatever_the_pages_say() {
    let live = Live::start(Options { objects: 1500, ..Options::default() });
    live.import();
    let as_documented = live.sim.current_switches();
    for (round, (what, change)) in MANNERS.into_iter().enumerate() {
        live.sim.switches(|s| {
            *s = as_documented.clone();
            change(s);
        });
        let before = live.sim.dump(live.sim.type_id("Server").unwrap());
        for after in 1..4 {
            let key = before[round * 5 + after as usize].key.clone();
            live.sim.between_pages(after, Change::Delete { key });
            let name = format!("new {round} {after}");
            live.sim
                .between_pages(after, Change::Create { object_type: "Server".into(), name, values: vec![] });
        }
        let rows = live.connect().query("SELECT key FROM itsm.server", &[]);
        // Where nothing can be relied on, objects that come and go may be more than a scan can make sure of.
        let Ok(rows) = rows else {
            assert!(what.starts_with("neither"), "{what}: {rows:?}");
            continue;
        };
        let mut found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        found.sort();
        assert!(found.windows(2).all(|pair| pair[0] != pair[1]), "{what}: an object twice");
        for server in before.iter().filter(|server| live.sim.object(&server.key).is_some()) {
            assert!(found.binary_search(&server.key).is_ok(), "{what}: {} is missing", server.key);
        }
    }
}
