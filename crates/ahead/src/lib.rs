//! What the inner scan of a join knows of keys: those that wait to be asked for, those that are asked for at once, and
//! what came, within a budget.
//!
//! ```text
//! read ahead → offer → pending → batch → under way → arrived → find          (until it is evicted, or cleared)
//!                         ↑                  │
//!                         └── too_much ──────┘
//! ```
//!
//! A key is whatever tells two look-ups apart; a batch's contents are the caller's. No dependencies, no I/O.
#![forbid(unsafe_code)]

mod whole;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;

pub use whole::Whole;

/// What bounds the batches of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Keys of the first batch. As many as `most`, where all of them will be needed.
    pub first: usize,
    /// Keys of a batch at most.
    pub most: usize,
    /// Bytes of what came that are kept.
    pub budget: usize,
}

/// For EXPLAIN.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Batches that came.
    pub batches: u64,
    /// Keys in them.
    pub asked: u64,
    /// Look-ups of what a look-up had found before.
    pub repeated: u64,
    /// Batches that were given up.
    pub given_up: u64,
    /// Keys that were asked for outside of batches.
    pub alone: u64,
}

/// What one inner scan knows of keys.
#[derive(Debug)]
pub struct Ahead<K, B> {
    limits: Limits,
    /// Keys of a batch at most, after what did not fit.
    most: usize,
    /// Batches of so many keys that fitted easily, one after another.
    easy: u32,
    pending: VecDeque<K>,
    /// Keys that are pending or under way.
    waiting: HashSet<K>,
    known: HashMap<K, Known>,
    /// The oldest first.
    kept: VecDeque<Kept<K, B>>,
    /// The number of the oldest.
    oldest: u64,
    /// The bytes of all.
    held: usize,
    /// Keys that were asked for, and those of them that were needed, since the scan last stopped early.
    asked: usize,
    needed: usize,
    counts: Counts,
}

/// A key whose rows came.
#[derive(Debug)]
struct Known {
    /// The number of its batch.
    batch: u64,
    /// Whether it was looked up.
    used: bool,
}

#[derive(Debug)]
struct Kept<K, B> {
    keys: Vec<K>,
    contents: B,
    bytes: usize,
}

impl<K: Hash + Eq + Clone, B> Ahead<K, B> {
    /// Nothing is known yet.
    pub fn new(limits: Limits) -> Self {
        let most = limits.most.max(1);
        Self {
            limits: Limits { first: limits.first.clamp(1, most), most, budget: limits.budget },
            most,
            easy: 0,
            pending: VecDeque::new(),
            waiting: HashSet::new(),
            known: HashMap::new(),
            kept: VecDeque::new(),
            oldest: 0,
            held: 0,
            asked: 0,
            needed: 0,
            counts: Counts::default(),
        }
    }

    /// How many more keys to read ahead, the one that is needed next among them: with them, the next batch is as large
    /// as it may be.
    pub fn wanted(&self) -> usize {
        self.size().saturating_sub(self.pending.len())
    }

    /// Keys of the next batch: as many as leave what was asked for at twice what was needed.
    fn size(&self) -> usize {
        let may = self.limits.first.saturating_add(self.needed.saturating_mul(2));
        may.saturating_sub(self.asked).clamp(1, self.most)
    }

    /// A key that was read ahead.
    pub fn offer(&mut self, key: K) {
        if self.pending.len() < self.limits.most
            && !self.known.contains_key(&key)
            && self.waiting.insert(key.clone())
        {
            self.pending.push_back(key);
        }
    }

    /// What holds the rows of a key, where they are kept.
    pub fn find(&mut self, key: &K) -> Option<&B> {
        let known = self.known.get_mut(key)?;
        if known.used {
            self.counts.repeated += 1;
        } else {
            known.used = true;
            self.needed += 1;
        }
        let at = usize::try_from(known.batch.checked_sub(self.oldest)?).ok()?;
        self.kept.get(at).map(|kept| &kept.contents)
    }

    /// The keys to ask for together, where nothing is known of `key`, which comes first. They are under way until they
    /// [arrived](Self::arrived), or were [too much](Self::too_much).
    pub fn batch(&mut self, key: &K) -> Vec<K> {
        let size = self.size();
        if !self.waiting.insert(key.clone()) {
            self.pending.retain(|pending| pending != key);
        }
        let others = self.pending.len().min(size - 1);
        let keys: Vec<K> = std::iter::once(key.clone()).chain(self.pending.drain(..others)).collect();
        self.asked += keys.len();
        keys
    }

    /// What came of a batch. Whether it is kept: not where it is larger than the budget.
    #[must_use]
    pub fn arrived(&mut self, keys: Vec<K>, contents: B, bytes: usize) -> bool {
        self.counts.batches += 1;
        self.counts.asked += keys.len() as u64;
        keys.iter().for_each(|key| {
            self.waiting.remove(key);
        });
        if bytes > self.limits.budget {
            return false;
        }
        while self.held > self.limits.budget - bytes {
            self.evict();
        }
        self.grow(keys.len(), bytes);
        let batch = self.oldest + self.kept.len() as u64;
        for key in &keys {
            self.known.insert(key.clone(), Known { batch, used: false });
        }
        self.held += bytes;
        self.kept.push_back(Kept { keys, contents, bytes });
        true
    }

    fn evict(&mut self) {
        let Some(kept) = self.kept.pop_front() else { return };
        for key in kept.keys {
            // Its rows may have come again since.
            if let Entry::Occupied(known) = self.known.entry(key)
                && known.get().batch == self.oldest
            {
                known.remove();
            }
        }
        self.oldest += 1;
        self.held -= kept.bytes;
    }

    /// One large key does not make all others be asked for one by one: batches become larger again where those of the
    /// present size take but little. Two of them have to, so that what is given up stays in proportion.
    fn grow(&mut self, keys: usize, bytes: usize) {
        if keys < self.most || bytes > self.limits.budget / 4 {
            return;
        }
        self.easy += 1;
        if self.easy == 2 {
            self.easy = 0;
            self.most = self.most.saturating_mul(2).min(self.limits.most);
        }
    }

    /// A batch did not fit. Its keys but the first are pending again, and batches are at most half as large. False where
    /// it held but one key, which has to be asked for [alone](Self::alone).
    #[must_use]
    pub fn too_much(&mut self, mut keys: Vec<K>) -> bool {
        self.counts.given_up += 1;
        self.asked = self.asked.saturating_sub(keys.len());
        self.easy = 0;
        self.most = self.most.min(keys.len() / 2).max(1);
        let others = keys.split_off(keys.len().min(1));
        if let Some(first) = keys.first() {
            self.waiting.remove(first);
        }
        let smaller = !others.is_empty();
        // In their order, before those that were read ahead of later rows.
        others.into_iter().rev().for_each(|key| self.pending.push_front(key));
        smaller
    }

    /// Some keys of a batch cannot be asked for with the others: they are pending again.
    pub fn put_back(&mut self, keys: Vec<K>) {
        self.asked = self.asked.saturating_sub(keys.len());
        keys.into_iter().rev().for_each(|key| self.pending.push_front(key));
    }

    /// A batch of one key is no batch: it is asked for outside of them. Nothing of it is kept.
    pub fn alone(&mut self, key: &K) {
        self.waiting.remove(key);
        self.needed += 1;
        self.counts.alone += 1;
    }

    /// Something was asked for that is no key.
    pub fn without_key(&mut self) {
        self.counts.alone += 1;
    }

    /// The join did not want the rest: what is read ahead begins small again.
    pub fn stopped_early(&mut self) {
        (self.asked, self.needed) = (0, 0);
    }

    /// The outer side begins anew: what was read ahead of it may never be needed. What came is kept.
    pub fn drop_pending(&mut self) {
        self.pending.drain(..).for_each(|key| {
            self.waiting.remove(&key);
        });
    }

    /// Something changed that all keys rest on: nothing is known, and nothing under way will arrive.
    pub fn clear(&mut self) {
        self.pending.clear();
        self.waiting.clear();
        self.known.clear();
        self.oldest += self.kept.len() as u64;
        self.kept.clear();
        self.held = 0;
    }

    /// The bytes of what is kept.
    pub fn held(&self) -> usize {
        self.held
    }

    /// For EXPLAIN.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

#[cfg(test)]
mod tests;
