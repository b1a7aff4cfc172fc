//! What a changed object means to each replica of a group, and how many there must be afterwards.

use std::collections::HashSet;

/// What a replica takes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Takes {
    /// Object types, by id.
    pub types: Vec<i64>,
    /// Whether a condition of its own (the table's `aql`) decides as well.
    pub filtered: bool,
}

/// What becomes of a changed object in one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It belongs there as it is now.
    Row,
    /// Its type belongs there; the replica's own condition decides.
    Ask,
    /// It is of another type: if the replica holds it, it was moved away.
    Away,
}

impl Takes {
    /// What becomes of a changed object of a type.
    pub fn fate(&self, object_type: i64) -> Fate {
        match (self.types.contains(&object_type), self.filtered) {
            (false, _) => Fate::Away,
            (true, false) => Fate::Row,
            (true, true) => Fate::Ask,
        }
    }
}

/// Replicas whose objects are counted by one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Their places in the group.
    pub members: Vec<usize>,
    /// The types they take in, each by one of them only.
    pub types: Vec<i64>,
}

/// Which replicas can be counted together: those without a condition of their own and with no type in
/// common. The others are counted by themselves.
pub fn units(group: &[Takes]) -> Vec<Unit> {
    let mut shared = Unit { members: Vec::new(), types: Vec::new() };
    let mut units = Vec::new();
    for (n, takes) in group.iter().enumerate() {
        if takes.filtered || takes.types.iter().any(|t| shared.types.contains(t)) {
            units.push(Unit { members: vec![n], types: takes.types.clone() });
        } else {
            shared.members.push(n);
            shared.types.extend(&takes.types);
        }
    }
    if !shared.members.is_empty() {
        units.insert(0, shared);
    }
    units
}

/// What a run will do to one replica.
#[derive(Debug, Clone, Default)]
pub struct Pending {
    /// Objects whose rows were brought.
    pub brought: HashSet<i64>,
    /// Objects that must not be in the replica: moved away, outside its condition, or gone.
    pub out: HashSet<i64>,
}

impl Pending {
    /// How many rows there will be: `rows` are held, and `held` tells which of the objects in `brought`
    /// and `out` are among them.
    pub fn rows_after(&self, rows: u64, held: &HashSet<i64>) -> u64 {
        let leaving = self.out.iter().filter(|id| held.contains(id)).count() as u64;
        let coming = self.brought.iter().filter(|id| !held.contains(id) && !self.out.contains(id)).count();
        (rows + coming as u64).saturating_sub(leaving)
    }

    /// The same as ids.
    pub fn ids_after(&self, held: impl IntoIterator<Item = i64>) -> HashSet<i64> {
        held.into_iter().chain(self.brought.iter().copied()).filter(|id| !self.out.contains(id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(types: &[i64], filtered: bool) -> Takes {
        Takes { types: types.to_vec(), filtered }
    }

    #[test]
    fn replicas_that_share_no_type_are_counted_together_and_others_by_themselves() {
        let group = [takes(&[1, 2], false), takes(&[3], true), takes(&[2], false), takes(&[4], false)];
        let found = units(&group);
        assert_eq!(found[0], Unit { members: vec![0, 3], types: vec![1, 2, 4] });
        assert_eq!(found[1..].iter().map(|u| u.members.clone()).collect::<Vec<_>>(), [[1], [2]]);
        assert_eq!(units(&[]), []);
    }

    #[test]
    fn rows_after_counts_what_ids_after_lists() {
        let held: HashSet<i64> = (1..=10).collect();
        let pending = Pending { brought: [3, 11, 12].into(), out: [4, 12, 40].into() };
        let after = pending.ids_after(held.iter().copied());
        assert_eq!(pending.rows_after(10, &held), after.len() as u64);
        assert!(after.contains(&11) && !after.contains(&12) && !after.contains(&4));
    }
}
