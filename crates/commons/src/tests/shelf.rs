//! What is on a shelf is what was put there last, whole, or it is not there.

use super::*;
use crate::shelf::{Index, Shelf};

/// A string that shows which one it is, of some length.
fn text(number: u64, length: usize) -> Vec<u8> {
    let mut dice = Dice(number);
    (0..length).map(|_| dice.next() as u8).collect()
}

#[test]
fn a_string_is_given_as_it_was_put_there_last_or_not_at_all() {
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let size = [64, 1000, 4096, 65_536][dice.below(4) as usize];
        let (mut index, mut ring) = (Box::new(Index::EMPTY), vec![0xAA; size]);
        let mut shelf = Shelf::new(&mut index, &mut ring);
        let mut model: BTreeMap<u64, (Vec<u8>, Moment)> = BTreeMap::new();
        let keys = [3, 40, 20_000][dice.below(3) as usize];
        let (mut found, mut kept) = (0_u32, 0_u64);
        for step in 0..4000_u64 {
            let number = dice.below(keys);
            match dice.below(10) {
                0 => {
                    shelf.remove(key(number));
                    model.remove(&number);
                }
                1..=4 => {
                    let value = text(step, dice.below(size as u64 / 6) as usize);
                    let since = SECOND + step - dice.below(3).min(step);
                    shelf.put(key(number), &value, since);
                    kept += value.len() as u64;
                    let is_newer = shelf.get(key(number)).is_none_or(|(_, known)| known <= since);
                    if value.len() > size / 8 {
                        // What there was is outdated; a newer one stays.
                        if is_newer {
                            assert_eq!(shelf.get(key(number)), None, "seed {seed}, step {step}");
                            model.remove(&number);
                        }
                    } else if model.get(&number).is_none_or(|(_, known)| *known <= since)
                        || shelf.get(key(number)) == Some((&value[..], since))
                    {
                        assert_eq!(
                            shelf.get(key(number)),
                            Some((&value[..], since)),
                            "seed {seed}, step {step}"
                        );
                        model.insert(number, (value, since));
                    }
                }
                _ => {
                    if let Some((value, since)) = shelf.get(key(number)) {
                        let expected = model.get(&number).map(|(value, since)| (&value[..], *since));
                        assert_eq!(Some((value, since)), expected, "seed {seed}, step {step}");
                        found += 1;
                    }
                }
            }
        }
        assert!(found > 0 || kept > 20 * size as u64, "seed {seed}: nothing was ever found");
    }
}

#[test]
fn what_was_put_there_last_is_kept_and_what_was_first_goes_first() {
    let (mut index, mut ring) = (Box::new(Index::EMPTY), vec![0; 10_000]);
    let mut shelf = Shelf::new(&mut index, &mut ring);
    for number in 1..=100 {
        shelf.put(key(number), &text(number, 1000), SECOND);
    }
    let there: Vec<u64> = (1..=100).filter(|number| shelf.get(key(*number)).is_some()).collect();
    assert_eq!(there, (91..=100).collect::<Vec<_>>());
    shelf.clear();
    assert!((1..=100).all(|number| shelf.get(key(number)).is_none()));
}

#[test]
fn an_older_string_never_takes_the_place_of_a_newer_one() {
    let (mut index, mut ring) = (Box::new(Index::EMPTY), vec![0; 10_000]);
    let mut shelf = Shelf::new(&mut index, &mut ring);
    shelf.put(key(1), b"new", 2 * SECOND);
    shelf.put(key(1), b"old", SECOND);
    assert_eq!(shelf.get(key(1)), Some((&b"new"[..], 2 * SECOND)));
}

/// A process may die anywhere in the middle of its work: whatever numbers it leaves, nobody reads beyond the ring.
#[test]
fn numbers_that_make_no_sense_are_not_believed() {
    for seed in 0..128 {
        let mut dice = Dice(seed);
        let mut index = Box::new(Index::EMPTY);
        index.scribble(|| dice.next() >> (dice.below(8) * dice.below(9)));
        let mut ring = vec![0; 1000];
        let mut shelf = Shelf::new(&mut index, &mut ring);
        for number in 0..2000 {
            let _ = shelf.get(key(number));
            shelf.put(key(number), &text(number, 90), SECOND);
        }
    }
}
