//! A service of a few fields and a group of replicas, refreshed by the decisions of this crate while
//! objects are created, changed, moved and deleted at random.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::search::{Ask, Purpose, Range, Search};
use crate::sift::{Fate, Pending, Takes, Unit, parts, units};
use crate::since::{Manner, Micros, Moment, OVERLAP, Since};

const MINUTE: Micros = 60_000_000;

/// splitmix64
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Object {
    object_type: i64,
    updated: Micros,
    /// What the rows show, and what filtered replicas decide by: even ones pass.
    value: u64,
}

#[derive(Default)]
struct Service {
    objects: BTreeMap<i64, Object>,
    now: Micros,
    requests: u64,
}

impl Service {
    fn matches(&self, unit: &Unit, filtered: bool, range: Range) -> HashSet<i64> {
        let inside =
            |id: i64| range.low.is_none_or(|low| id >= low) && range.high.is_none_or(|high| id <= high);
        let all = self.objects.iter().filter(|(id, o)| inside(**id) && unit.types.contains(&o.object_type));
        all.filter(|(_, o)| !filtered || o.value % 2 == 0).map(|(id, _)| *id).collect()
    }
}

struct Replica {
    takes: Takes,
    rows: BTreeMap<i64, Object>,
}

struct Group {
    replicas: Vec<Replica>,
    last: Moment,
}

impl Group {
    /// What `src/replica/run` does, against the model.
    fn refresh(&mut self, service: &mut Service, clock: Micros) {
        let now = Moment { here: clock, there: None };
        let mut since = Since::after(Manner::Relative, self.last, now).expect("the clock goes on");
        if let Some(more) = since.too_late(self.last, Some(service.now)) {
            since = more;
        }
        let Since::Ago(minutes) = since else { panic!("asked for what is relative") };
        service.requests += 1;
        let changed: Vec<(i64, Object)> = service
            .objects
            .iter()
            .filter(|(_, o)| o.updated >= service.now - minutes * MINUTE)
            .map(|(id, o)| (*id, *o))
            .collect();
        let mut pending: Vec<Pending> = Vec::new();
        for replica in &self.replicas {
            let mut mine = Pending::default();
            for (id, object) in &changed {
                match replica.takes.fate(object.object_type) {
                    Fate::Row => mine.brought.insert(*id),
                    Fate::Ask if object.value % 2 == 0 => mine.brought.insert(*id),
                    Fate::Ask | Fate::Away => mine.out.insert(*id),
                };
            }
            pending.push(mine);
        }
        let takes: Vec<Takes> = self.replicas.iter().map(|r| r.takes.clone()).collect();
        let rows: Vec<u64> = self
            .replicas
            .iter()
            .zip(&pending)
            .map(|(replica, pending)| {
                let held: HashSet<i64> = replica.rows.keys().copied().collect();
                pending.rows_after(held.len() as u64, &held)
            })
            .collect();
        for unit in units(&takes, &rows) {
            if self.compare(service, &unit, &unit.members, &mut pending)
                && let Some((one, other)) = parts(&unit, &takes, service.requests)
                && !self.compare(service, &one, &unit.members, &mut pending)
            {
                self.compare(service, &other, &unit.members, &mut pending);
            }
        }
        for (replica, pending) in self.replicas.iter_mut().zip(pending) {
            replica.rows.retain(|id, _| !pending.out.contains(id));
            for id in pending.brought.difference(&pending.out) {
                replica.rows.insert(*id, service.objects[id]);
            }
        }
        self.last = Moment { here: clock, there: Some(service.now) };
    }

    /// Finds what is gone from a unit, and what is new to it, also for others: whether there was nothing.
    fn compare(
        &self,
        service: &mut Service,
        unit: &Unit,
        members: &[usize],
        pending: &mut [Pending],
    ) -> bool {
        let filtered = self.replicas[unit.members[0]].takes.filtered;
        service.requests += 1;
        let everything = Range { low: None, high: None };
        let count = service.matches(unit, filtered, everything).len() as u64;
        if count == unit.rows {
            return true;
        }
        let held: BTreeSet<i64> = unit
            .members
            .iter()
            .flat_map(|m| pending[*m].ids_after(self.replicas[*m].rows.keys().copied()))
            .collect();
        let mut search = Search::new(Purpose::Differences, held, count, 10);
        while let Some(ask) = search.ask() {
            service.requests += 1;
            match ask {
                Ask::Count(range) => search.counted(service.matches(unit, filtered, range).len() as u64),
                Ask::List(range) => search.listed(&service.matches(unit, filtered, range)),
            }
        }
        for m in &unit.members {
            pending[*m].out.extend(search.gone());
        }
        for m in members {
            let types = &self.replicas[*m].takes.types;
            let mine = |id: &&i64| types.contains(&service.objects[id].object_type);
            pending[*m].brought.extend(search.new_ids().iter().filter(mine));
        }
        false
    }

    fn check(&self, service: &Service, what: &str) {
        for replica in &self.replicas {
            let wanted: BTreeMap<i64, Object> = service
                .objects
                .iter()
                .filter(|(_, o)| replica.takes.types.contains(&o.object_type))
                .filter(|(_, o)| !replica.takes.filtered || o.value % 2 == 0)
                .map(|(id, o)| (*id, *o))
                .collect();
            assert_eq!(replica.rows, wanted, "{what}");
        }
    }
}

fn company(objects: i64) -> (Service, Group) {
    let mut service = Service { now: 100 * OVERLAP, ..Service::default() };
    for id in 1..=objects {
        service.objects.insert(id * 3, Object { object_type: id % 5, updated: 0, value: 0 });
    }
    let replica = |types: &[i64], filtered| {
        let rows = service.objects.iter().filter(|(_, o)| types.contains(&o.object_type));
        Replica {
            takes: Takes { types: types.to_vec(), filtered },
            rows: rows.map(|(id, o)| (*id, *o)).collect(),
        }
    };
    let replicas = vec![
        replica(&[1], false),
        replica(&[2, 3], false),
        replica(&[3], false),
        replica(&[1, 4], true),
        // What only this one takes in has no objects; then one that has some, and one that cuts across.
        replica(&[7, 1, 3], false),
        replica(&[1, 3, 4], false),
        replica(&[0, 2], false),
    ];
    let last = Moment { here: 0, there: Some(service.now) };
    (service, Group { replicas, last })
}

#[test]
fn after_any_changes_every_replica_of_the_group_is_what_the_service_has() {
    for seed in 0..60 {
        let (mut service, mut group) = company(400);
        let mut dice = Dice(seed);
        let (mut clock, mut next_id) = (0, 10_000);
        for round in 0..25 {
            for _ in 0..dice.roll(30) {
                let n = dice.roll(service.objects.len() as u64) as usize;
                let id = service.objects.keys().nth(n).copied().unwrap_or(3);
                service.now += dice.roll(MINUTE as u64) as Micros;
                let (object_type, value, updated) = (dice.roll(5) as i64, dice.roll(4), service.now);
                match dice.roll(5) {
                    0 => {
                        next_id += 1;
                        service.objects.insert(next_id, Object { object_type, updated, value });
                    }
                    1 => drop(service.objects.remove(&id)),
                    2 => {
                        // A create and a delete that cancel each other in every count.
                        let twin = Object { updated, ..service.objects[&id] };
                        service.objects.remove(&id);
                        next_id += 1;
                        service.objects.insert(next_id, twin);
                    }
                    3 => {
                        service.objects.get_mut(&id).unwrap().object_type = object_type;
                        service.objects.get_mut(&id).unwrap().updated = updated;
                    }
                    _ => {
                        service.objects.get_mut(&id).unwrap().value = value;
                        service.objects.get_mut(&id).unwrap().updated = updated;
                    }
                }
            }
            // Our clock wanders about beside the service's.
            clock += dice.roll(20 * MINUTE as u64) as Micros;
            service.now += dice.roll(10 * MINUTE as u64) as Micros;
            group.refresh(&mut service, clock);
            group.check(&service, &format!("seed {seed}, round {round}"));
        }
    }
}

#[test]
fn objects_that_move_without_a_word_are_found_before_long_where_the_sum_agrees() {
    let mut longest = 0;
    for seed in 0..20 {
        let (mut service, mut group) = company(400);
        // Every type has its replica, and one takes all of them in.
        group.replicas = [vec![0], vec![1], vec![2], vec![3], vec![4], vec![0, 1, 2, 3, 4]]
            .into_iter()
            .map(|types| Replica {
                rows: service
                    .objects
                    .iter()
                    .filter(|(_, o)| types.contains(&o.object_type))
                    .map(|(id, o)| (*id, *o))
                    .collect(),
                takes: Takes { types, filtered: false },
            })
            .collect();
        let mut dice = Dice(seed);
        service.requests = seed * 1000;
        let mut clock = 0;
        for _ in 0..=dice.roll(3) {
            let id = 3 * (1 + dice.roll(400) as i64);
            let object = service.objects.get_mut(&id).expect("there are 400");
            // No counts tell of two that have swapped their types.
            object.object_type = (object.object_type + 1) % 5;
        }
        let wrong = |group: &Group, service: &Service| {
            group.replicas.iter().any(|replica| {
                replica.rows.iter().any(|(id, row)| service.objects[id].object_type != row.object_type)
            })
        };
        let mut runs = 0;
        while wrong(&group, &service) && runs < 40 {
            clock += MINUTE;
            service.now += MINUTE;
            group.refresh(&mut service, clock);
            runs += 1;
        }
        group.check(&service, &format!("seed {seed} after {runs} runs"));
        longest = longest.max(runs);
    }
    assert!(longest <= 20, "{longest} runs");
}

#[test]
fn one_that_is_gone_among_a_hundred_thousand_is_found_in_a_dozen_requests() {
    for gone in [0, 1, 49_999, 99_999] {
        let held: Vec<i64> = (0..100_000).map(|n| n * 7).collect();
        let there: HashSet<i64> = held.iter().copied().filter(|id| *id != gone * 7).collect();
        let mut search = Search::new(Purpose::Differences, held, there.len() as u64, 100);
        let asks = drive(&mut search, &there);
        assert_eq!(search.gone(), [gone * 7]);
        assert!(asks <= 14, "{asks} requests");
    }
}

#[test]
fn where_much_is_gone_the_search_costs_no_more_than_a_list_of_everything() {
    let held: Vec<i64> = (0..20_000).collect();
    let there: HashSet<i64> = held.iter().copied().filter(|id| id % 3 != 0).collect();
    let mut search = Search::new(Purpose::Differences, held.iter().copied(), there.len() as u64, 100);
    let asks = drive(&mut search, &there);
    assert_eq!(search.gone().len(), 20_000 - there.len());
    assert_eq!(asks, 1, "one list of everything");
    let mut search = Search::new(Purpose::Differences, held, 0, 100);
    assert_eq!(drive(&mut search, &HashSet::new()), 1);
    assert_eq!(search.gone().len(), 20_000, "a service that shows nothing is asked for a list of it");
}

#[test]
fn a_load_that_was_broken_off_goes_on_where_it_was() {
    // In ascending order, and in the order of keys as text: 10, 100, 1000, 1001, …, 11, 110, …
    for textual in [false, true] {
        let all: Vec<i64> = (1..=30_000).collect();
        let mut order = all.clone();
        if textual {
            order.sort_by_key(ToString::to_string);
        }
        for done in [0, 1, 12_345, 29_900, 30_000] {
            let held: HashSet<i64> = order[..done].iter().copied().collect();
            let there: HashSet<i64> = all.iter().copied().collect();
            let mut search = Search::new(Purpose::Rest, held.iter().copied(), 30_000, 100);
            let (mut counts, mut listed) = (0, 0);
            while let Some(ask) = search.ask() {
                match ask {
                    Ask::Count(range) => {
                        counts += 1;
                        search.counted(within(&there, range).len() as u64);
                    }
                    Ask::List(range) => {
                        let ids = within(&there, range);
                        listed += ids.len();
                        search.listed(&ids);
                    }
                }
            }
            let missing: HashSet<i64> = there.difference(&held).copied().collect();
            assert_eq!(search.new_ids().iter().copied().collect::<HashSet<_>>(), missing);
            assert!(search.gone().is_empty());
            let again = listed - missing.len();
            assert!(counts <= 80 && again <= 2_000, "{done}, {textual}: {counts} counts, {again} read again");
        }
    }
}

fn within(there: &HashSet<i64>, range: Range) -> HashSet<i64> {
    let inside = |id: i64| range.low.is_none_or(|low| id >= low) && range.high.is_none_or(|high| id <= high);
    there.iter().copied().filter(|id| inside(*id)).collect()
}

fn drive(search: &mut Search, there: &HashSet<i64>) -> usize {
    let mut asks = 0;
    while let Some(ask) = search.ask() {
        asks += 1;
        match ask {
            Ask::Count(range) => search.counted(within(there, range).len() as u64),
            Ask::List(range) => search.listed(&within(there, range)),
        }
    }
    asks
}
