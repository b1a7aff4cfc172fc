//! What sessions have asked for, for others to take over: byte strings, kept by keys of who asked for what.
//!
//! The strings stand one behind the other in a ring, so that what was put there first goes first; what is known of
//! a service is asked for anew after ten minutes anyway. Neither lists nor free space have to be kept, and a place
//! that has been written over is told by its number alone.

use crate::{Key, Moment};

/// A good size for the ring, in bytes: some ten thousand attributes' definitions take four million.
pub const RING: usize = 16 << 20;
/// Strings longer than this share of the ring are not kept.
const LARGEST: usize = 8;
const SETS: usize = 1024;
const WAYS: usize = 8;

#[derive(Clone, Copy)]
struct Entry {
    key: Key,
    since: Moment,
    /// Where it begins, counted over all rounds of the ring.
    at: u64,
    length: u64,
}

impl Entry {
    const EMPTY: Entry = Entry { key: Key::NONE, since: 0, at: 0, length: 0 };
}

/// Where the strings are. All zeroes are an empty one.
#[derive(Clone)]
pub struct Index {
    sets: [[Entry; WAYS]; SETS],
    /// Where the next one begins, counted over all rounds of the ring.
    end: u64,
}

impl Index {
    /// Of an empty shelf.
    pub const EMPTY: Index = Index { sets: [[Entry::EMPTY; WAYS]; SETS], end: 0 };

    /// Any numbers at all, for tests.
    #[cfg(test)]
    pub(crate) fn scribble(&mut self, mut number: impl FnMut() -> u64) {
        self.end = number();
        for entry in self.sets.as_flattened_mut() {
            (entry.since, entry.at, entry.length) = (number(), number(), number());
            entry.key.0[..8].copy_from_slice(&number().to_le_bytes());
        }
    }
}

/// A shelf: an index and a ring, which belong together.
pub struct Shelf<'a> {
    index: &'a mut Index,
    ring: &'a mut [u8],
}

impl<'a> Shelf<'a> {
    /// The shelf in this memory.
    pub fn new(index: &'a mut Index, ring: &'a mut [u8]) -> Self {
        Self { index, ring }
    }

    /// Takes everything away: whoever was at it last has not come to an end.
    pub fn clear(&mut self) {
        self.index.sets.as_flattened_mut().fill(Entry::EMPTY);
        self.index.end = 0;
    }

    /// Keeps a string that was true at `since`, unless there is a newer one; what is too long is not kept.
    pub fn put(&mut self, key: Key, value: &[u8], since: Moment) {
        let (size, length) = (self.ring.len() as u64, value.len() as u64);
        if size == 0 || key == Key::NONE || self.get(key).is_some_and(|(_, known)| known > since) {
            return;
        }
        if length > size / LARGEST as u64 {
            return self.remove(key);
        }
        // No service fills so many rounds.
        if self.index.end > u64::MAX / 2 {
            self.clear();
        }
        let left = size - self.index.end % size;
        // It stands in one piece.
        let at = if length > left { self.index.end + left } else { self.index.end };
        let end = at + length;
        let set = &mut self.index.sets[set_of(key)];
        let same = set.iter().position(|entry| entry.key == key);
        let free = || set.iter().position(|entry| !is_whole(entry, end, size));
        let oldest = || (0..WAYS).min_by_key(|way| set[*way].at).unwrap_or(0);
        let way = same.or_else(free).unwrap_or_else(oldest);
        let place = usize::try_from(at % size).unwrap_or(0);
        let Some(room) = self.ring.get_mut(place..).and_then(|rest| rest.get_mut(..value.len())) else {
            return;
        };
        // First: whatever this is written over is gone from here on.
        self.index.end = end;
        room.copy_from_slice(value);
        set[way] = Entry { key, since, at, length };
    }

    /// A string, and when it was true.
    pub fn get(&self, key: Key) -> Option<(&[u8], Moment)> {
        let size = self.ring.len() as u64;
        let entry = self.index.sets[set_of(key)].iter().find(|entry| entry.key == key)?;
        if key == Key::NONE || !is_whole(entry, self.index.end, size) {
            return None;
        }
        let (place, length) = (usize::try_from(entry.at % size).ok()?, usize::try_from(entry.length).ok()?);
        Some((self.ring.get(place..)?.get(..length)?, entry.since))
    }

    /// Takes a string away.
    pub fn remove(&mut self, key: Key) {
        let set = &mut self.index.sets[set_of(key)];
        set.iter_mut().filter(|entry| entry.key == key).for_each(|entry| *entry = Entry::EMPTY);
    }
}

fn set_of(key: Key) -> usize {
    usize::from(u16::from_le_bytes([key.0[0], key.0[1]])) % SETS
}

/// Whether nothing has been written over it.
fn is_whole(entry: &Entry, end: u64, size: u64) -> bool {
    let is_known = entry.key != Key::NONE && entry.at.checked_add(entry.length).is_some_and(|to| to <= end);
    is_known && end - entry.at <= size
}
