//! Joins by the thousand, by seed.

use std::collections::{HashMap, HashSet};

use super::*;

/// xorshift64*: the same numbers on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
}

fn seeds(n: u64) -> impl Iterator<Item = Dice> {
    (1..=n).map(|seed| Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed)))
}

/// An outer side's keys, what each one's rows take, and a join over them.
struct Join {
    keys: Vec<usize>,
    bytes: HashMap<usize, usize>,
    limits: Limits,
    ahead: Ahead<usize, HashSet<usize>>,
    /// Rows read ahead.
    read: usize,
    /// Keys asked for in batches that arrived, and in those that were given up.
    arrived: usize,
    given_up: usize,
}

impl Join {
    fn new(keys: Vec<usize>, bytes: HashMap<usize, usize>, limits: Limits) -> Self {
        Self { keys, bytes, limits, ahead: Ahead::new(limits), read: 0, arrived: 0, given_up: 0 }
    }

    fn random(dice: &mut Dice) -> Self {
        let distinct = 1 + dice.below(300);
        let keys = (0..1 + dice.below(600)).map(|_| dice.below(distinct)).collect();
        let (large, small) = (1 + dice.below(400), 1 + dice.below(10));
        let rarely = 1 + dice.below(50);
        let mut takes = || {
            let up_to = if dice.below(rarely) == 0 { large } else { small };
            dice.below(up_to)
        };
        let bytes = (0..distinct).map(|key| (key, takes())).collect();
        let most = 1 + dice.below(100);
        let limits = Limits { first: 1 + dice.below(most), most, budget: 1 + dice.below(600) };
        Self::new(keys, bytes, limits)
    }

    /// Row `n` of the outer side, with those after it that are read ahead.
    fn row(&mut self, n: usize) {
        self.read = self.read.max(n);
        while self.read < self.keys.len() && (self.read == n || self.ahead.wanted() > 0) {
            self.ahead.offer(self.keys[self.read]);
            self.read += 1;
        }
        let key = self.keys[n];
        if let Some(found) = self.ahead.find(&key) {
            assert!(found.contains(&key));
            return;
        }
        for _ in 0..64 {
            let batch = self.ahead.batch(&key);
            assert_eq!(batch[0], key);
            assert!(batch.len() <= self.limits.most);
            let contents: HashSet<usize> = batch.iter().copied().collect();
            assert_eq!(contents.len(), batch.len(), "a key is in it twice");
            for other in &batch {
                assert!(self.ahead.find(other).is_none(), "{other} was asked for although its rows are kept");
            }
            let bytes: usize = batch.iter().map(|key| self.bytes[key]).sum();
            let keys = batch.len();
            if bytes > self.limits.budget {
                self.given_up += keys;
                if self.ahead.too_much(batch) {
                    continue;
                }
                self.ahead.alone(&key);
                return;
            }
            self.arrived += keys;
            assert!(self.ahead.arrived(batch, contents, bytes));
            assert!(self.ahead.held() <= self.limits.budget);
            assert!(self.ahead.find(&key).is_some());
            return;
        }
        panic!("giving up does not end");
    }

    fn run(&mut self) {
        (0..self.keys.len()).for_each(|n| self.row(n));
    }
}

#[test]
fn no_key_is_asked_twice_while_its_rows_are_kept_and_no_more_than_the_budget_is_kept() {
    for mut dice in seeds(80) {
        let mut join = Join::random(&mut dice);
        for n in 0..join.keys.len() {
            join.row(n);
            match dice.below(100) {
                0 => join.ahead.clear(),
                1 => join.ahead.stopped_early(),
                2 => {
                    join.ahead.drop_pending();
                    join.read = n + 1;
                }
                3 => {
                    let (key, bytes) = (1_000 + n, dice.below(2 * join.limits.budget));
                    let kept = join.ahead.arrived(vec![key], HashSet::new(), bytes);
                    assert_eq!(kept, bytes <= join.limits.budget, "whatever arrives");
                }
                _ => {}
            }
            assert!(join.ahead.held() <= join.limits.budget);
            assert_eq!(join.ahead.held(), join.ahead.kept.iter().map(|kept| kept.bytes).sum::<usize>());
            let kept: HashSet<&usize> = join.ahead.kept.iter().flat_map(|kept| &kept.keys).collect();
            assert!(join.ahead.known.keys().all(|key| kept.contains(key)));
            assert!(join.ahead.pending.len() < 2 * join.limits.most);
        }
    }
}

#[test]
fn giving_up_ends_and_costs_in_proportion() {
    for mut dice in seeds(80) {
        let mut join = Join::random(&mut dice);
        join.run();
        let (arrived, most) = (join.arrived + join.ahead.counts().alone as usize, join.limits.most);
        assert!(join.given_up <= 2 * (arrived + most), "{} {arrived} {most}", join.given_up);
    }
    // Where all keys take alike, once.
    let bytes = (0..5_000).map(|key| (key, 10)).collect();
    let limits = Limits { first: 100, most: 100, budget: 300 };
    let mut join = Join::new((0..5_000).collect(), bytes, limits);
    join.run();
    assert!(join.given_up <= 2 * 100);
    assert_eq!(join.ahead.counts().batches as usize, 5_000_usize.div_ceil(25));
}

#[test]
fn one_large_key_among_small_ones_does_not_make_all_be_asked_one_by_one() {
    let bytes = (0..10_000).map(|key| (key, if key == 5_000 { 1_000 } else { 1 })).collect();
    let limits = Limits { first: 100, most: 100, budget: 900 };
    let mut join = Join::new((0..10_000).collect(), bytes, limits);
    join.run();
    let counts = join.ahead.counts();
    assert_eq!(counts.alone, 1);
    assert!(counts.batches < 130, "{counts:?}");
}

#[test]
fn growth_asks_for_no_more_than_twice_the_keys_that_were_needed() {
    for mut dice in seeds(80) {
        let mut join = Join::random(&mut dice);
        join.limits = Limits { budget: usize::MAX, ..join.limits };
        join.ahead = Ahead::new(join.limits);
        let mut needed = HashSet::new();
        for n in 0..join.keys.len() {
            // Some rows of the outer side are never looked up.
            if dice.below(3) == 0 {
                continue;
            }
            join.row(n);
            needed.insert(join.keys[n]);
            assert!(
                join.arrived <= join.limits.first + 2 * (needed.len() - 1),
                "{} {}",
                join.arrived,
                needed.len()
            );
        }
    }
}

#[test]
fn ten_thousand_keys_are_a_hundred_full_batches_and_a_small_beginning_doubles() {
    let bytes: HashMap<usize, usize> = (0..10_000).map(|key| (key, 1)).collect();
    let limits = Limits { first: 100, most: 100, budget: 1 << 20 };
    let mut join = Join::new((0..10_000).collect(), bytes.clone(), limits);
    join.run();
    let wanted = Counts { batches: 100, asked: 10_000, repeated: 0, given_up: 0, alone: 0 };
    assert_eq!(join.ahead.counts(), wanted);
    let mut join = Join::new((0..10_000).collect(), bytes, Limits { first: 1, ..limits });
    for (rows, batches, asked) in [(1, 1, 1), (3, 2, 3), (7, 3, 7), (10, 4, 15), (63, 6, 63), (64, 7, 127)] {
        (0..rows).for_each(|n| join.row(n));
        let counts = join.ahead.counts();
        assert_eq!((counts.batches, counts.asked), (batches, asked), "{rows} rows");
    }
    join.ahead.stopped_early();
    let before = join.ahead.counts().asked;
    // What was read ahead is still there: no more than one is asked for.
    join.row(9_000);
    assert_eq!(join.ahead.counts().asked, before + 1);
}

#[test]
fn a_run_of_equal_keys_is_one_key_and_nothing_but_what_is_new_is_pending() {
    let limits = Limits { first: 2, most: 100, budget: 1 << 20 };
    let mut join = Join::new(vec![7; 50], [(7, 1)].into(), limits);
    join.run();
    let counts = join.ahead.counts();
    assert_eq!((counts.batches, counts.asked, counts.repeated), (1, 1, 49));
    join.ahead.offer(7);
    assert_eq!(join.ahead.pending.len(), 0);
    (0..1_000).for_each(|key| join.ahead.offer(1_000 + key));
    assert_eq!(join.ahead.pending.len(), 100);
    join.ahead.drop_pending();
    join.ahead.offer(1_000);
    assert_eq!(join.ahead.pending.len(), 1, "what was dropped may be offered again");
}

#[test]
fn a_key_under_way_is_not_asked_for_again() {
    let mut ahead: Ahead<usize, ()> = Ahead::new(Limits { first: 3, most: 3, budget: 10 });
    (1..=3).for_each(|key| ahead.offer(key));
    assert_eq!(ahead.batch(&1), [1, 2, 3]);
    (2..=4).for_each(|key| ahead.offer(key));
    assert_eq!(ahead.pending, [4]);
    assert!(ahead.arrived(vec![1, 2, 3], (), 6) && ahead.find(&3).is_some());
    assert_eq!(ahead.batch(&5), [5, 4]);
    assert!(ahead.arrived(vec![5, 4], (), 6));
    assert!(ahead.find(&3).is_none() && ahead.find(&4).is_some(), "the oldest makes way");
    ahead.offer(3);
    assert_eq!(ahead.batch(&3), [3]);
}

#[test]
fn a_table_is_read_whole_after_more_lookups_than_it_has_pages_where_it_fits() {
    let mut whole = Whole::default();
    for _ in 0..10 {
        assert!(!whole.is_due(10, 5, 5));
        whole.took(1);
    }
    assert!(!whole.is_due(10, 5, 5));
    whole.took(1);
    assert!(whole.is_due(10, 5, 5) && !whole.is_due(10, 6, 5) && !whole.is_due(11, 5, 5));
    whole.began();
    assert!(!whole.is_due(10, 5, 5), "once");
    (0..11).for_each(|_| whole.took(1));
    assert!(whole.is_due(10, 5, 5));
    whole.did_not_fit();
    assert!(!whole.is_due(10, 5, 5), "never again");
}
