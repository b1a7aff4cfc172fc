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
    /// The types they take in.
    pub types: Vec<i64>,
    /// How many objects of these types there are if every replica is right.
    pub rows: u64,
    /// Those of its members that have no type in common, and how many rows each will hold.
    pub apart: Vec<(usize, u64)>,
}

/// A unit in two parts, to be counted by themselves: an object that was moved from one of its types to another
/// without a word leaves the sum as it is, but not the parts. Which member is in which part is another matter
/// for another `seed`: of any two, every second seed tells them apart. Members whose types are others' taken
/// together are in neither. None where there is nothing to tell apart.
pub fn parts(unit: &Unit, group: &[Takes], seed: u64) -> Option<(Unit, Unit)> {
    if unit.apart.len() < 2 {
        return None;
    }
    // The first is always in the one part, and somebody in the other.
    let sure = 1 + mix(seed) as usize % (unit.apart.len() - 1);
    let (mut parts, none) = ([Vec::new(), Vec::new()], Vec::new());
    for (n, member) in unit.apart.iter().enumerate() {
        let types = group.get(member.0).map_or(&none, |takes| &takes.types);
        let name = types.iter().min().copied().unwrap_or_default().unsigned_abs();
        let other = n > 0 && (n == sure || mix(seed ^ mix(name)) % 2 == 1);
        parts[usize::from(other)].push(*member);
    }
    let [one, other] = parts.map(|apart| {
        let members: Vec<usize> = apart.iter().map(|(n, _)| *n).collect();
        let mut types: Vec<i64> =
            members.iter().flat_map(|n| group.get(*n).map_or(&none, |takes| &takes.types)).copied().collect();
        types.sort_unstable();
        Unit { members, types, rows: apart.iter().map(|(_, rows)| rows).sum(), apart }
    });
    // The shorter text is asked for.
    Some(if one.types.len() <= other.types.len() { (one, other) } else { (other, one) })
}

/// splitmix64's mixing.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Which replicas can be counted together: those without a condition of their own and with no type in
/// common, small ones first; and those whose types are others' taken together, such as a type with its
/// descendants, where they hold as many rows as the others do. What is left is counted by itself.
///
/// `rows` is how many rows each will hold.
pub fn units(group: &[Takes], rows: &[u64]) -> Vec<Unit> {
    let rows_of = |n: usize| rows.get(n).copied().unwrap_or(0);
    let alone = |n: usize| Unit {
        members: vec![n],
        types: group[n].types.clone(),
        rows: rows_of(n),
        apart: Vec::new(),
    };
    let mut order: Vec<usize> = (0..group.len()).collect();
    order.sort_by_key(|n| group[*n].types.len());
    let mut shared = Unit { members: Vec::new(), types: Vec::new(), rows: 0, apart: Vec::new() };
    let (mut apart, mut covering) = (Vec::new(), Vec::new());
    for n in order {
        let takes = &group[n];
        if takes.filtered {
            apart.push(n);
        } else if takes.types.iter().any(|t| shared.types.contains(t)) {
            covering.push(n);
        } else {
            shared.members.push(n);
            shared.types.extend(&takes.types);
            shared.rows += rows_of(n);
            shared.apart.push((n, rows_of(n)));
        }
    }
    let disjoint = shared.members.clone();
    for n in covering {
        let types: HashSet<i64> = group[n].types.iter().copied().collect();
        let inside: Vec<usize> =
            disjoint.iter().copied().filter(|m| group[*m].types.iter().any(|t| types.contains(t))).collect();
        let whole = inside.iter().all(|m| group[*m].types.iter().all(|t| types.contains(t)));
        // As many rows as the others hold: then there is none of the types that only this one takes in,
        // which the count of all proves.
        if whole && inside.iter().map(|m| rows_of(*m)).sum::<u64>() == rows_of(n) {
            shared.members.push(n);
            let more: Vec<i64> = types.into_iter().filter(|t| !shared.types.contains(t)).collect();
            shared.types.extend(more);
        } else {
            apart.push(n);
        }
    }
    shared.types.sort_unstable();
    let apart = apart.into_iter().map(alone);
    let shared = (!shared.members.is_empty()).then_some(shared);
    shared.into_iter().chain(apart).collect()
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

    /// The same as ids, each once. Of a large replica they are many: a set would take several times the memory.
    pub fn ids_after(&self, held: impl IntoIterator<Item = i64>) -> Vec<i64> {
        let stays = |id: &i64| !self.out.contains(id);
        let held = held.into_iter().filter(|id| !self.brought.contains(id));
        held.chain(self.brought.iter().copied()).filter(stays).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(types: &[i64], filtered: bool) -> Takes {
        Takes { types: types.to_vec(), filtered }
    }

    fn unit(members: &[usize], types: &[i64], rows: u64) -> (Vec<usize>, Vec<i64>, u64) {
        (members.to_vec(), types.to_vec(), rows)
    }

    fn units(group: &[Takes], rows: &[u64]) -> Vec<(Vec<usize>, Vec<i64>, u64)> {
        super::units(group, rows).into_iter().map(|unit| (unit.members, unit.types, unit.rows)).collect()
    }

    #[test]
    fn the_parts_of_a_unit_are_all_of_it_and_tell_any_two_replicas_apart_before_long() {
        let mut group: Vec<Takes> = (1..=20).map(|n| takes(&[n, n + 100], false)).collect();
        group.push(takes(&(1..=20).flat_map(|n| [n, n + 100]).collect::<Vec<_>>(), false));
        let rows: Vec<u64> = (1..=20).chain([210]).collect();
        let unit = super::units(&group, &rows).remove(0);
        assert_eq!((unit.members.len(), unit.apart.len(), unit.rows), (21, 20, 210));
        let mut together: HashSet<(usize, usize)> =
            (0..20).flat_map(|a| (a + 1..20).map(move |b| (a, b))).collect();
        for seed in 0..40 {
            let (one, other) = parts(&unit, &group, seed).expect("there are several");
            assert!(!one.members.is_empty() && !other.members.is_empty());
            assert_eq!((one.rows + other.rows, one.members.len() + other.members.len()), (210, 20));
            assert_eq!(one.rows, one.members.iter().map(|n| rows[*n]).sum::<u64>());
            assert_eq!(one.types.len(), one.members.len() * 2);
            together.retain(|(a, b)| one.members.contains(a) == one.members.contains(b));
        }
        assert!(together.is_empty(), "{together:?}");
        // Of two, each time; of one, never.
        let two = super::units(&group[..2], &rows[..2]).remove(0);
        assert!((0..10).all(|seed| parts(&two, &group, seed).is_some_and(|(one, _)| one.members.len() == 1)));
        assert_eq!(parts(&super::units(&group[..1], &rows[..1])[0], &group, 0), None);
    }

    #[test]
    fn replicas_that_share_no_type_are_counted_together_and_others_by_themselves() {
        let group = [takes(&[1, 2], false), takes(&[3], true), takes(&[2, 5], false), takes(&[4], false)];
        let found = units(&group, &[10, 20, 30, 40]);
        assert_eq!(found, [unit(&[3, 0], &[1, 2, 4], 50), unit(&[1], &[3], 20), unit(&[2], &[2, 5], 30)]);
        assert_eq!(units(&[], &[]), []);
    }

    #[test]
    fn a_type_with_its_descendants_is_counted_with_them_unless_it_has_objects_of_its_own() {
        // 1 is above 2, which is above 3 and 4; whoever is the first.
        let group = [
            takes(&[1, 2, 3, 4], false),
            takes(&[2, 3, 4], false),
            takes(&[3], false),
            takes(&[4], false),
            takes(&[9], false),
        ];
        assert_eq!(units(&group, &[7, 7, 3, 4, 5]), [unit(&[2, 3, 4, 1, 0], &[1, 2, 3, 4, 9], 12)]);
        let found = units(&group, &[8, 8, 3, 4, 5]);
        assert_eq!(
            found,
            [unit(&[2, 3, 4], &[3, 4, 9], 12), unit(&[1], &[2, 3, 4], 8), unit(&[0], &[1, 2, 3, 4], 8)]
        );
        // Two of one source.
        assert_eq!(units(&[takes(&[1], false), takes(&[1], false)], &[5, 5]), [unit(&[0, 1], &[1], 5)]);
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
