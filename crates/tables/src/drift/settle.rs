//! What is known after a sync.

use std::collections::HashSet;

use super::{Action, Change, Kind};
use crate::known::Known;

/// What is known of a table's type from now on. `changes` are those of this table and its replicas;
/// one with `blocked` was not done, and is found again. `exist` are the attributes that exist.
pub fn settle(before: &Known, now: Known, changes: &[Change], exist: &HashSet<i64>) -> Known {
    let mut after = now;
    let held = |id: i64, kinds: &[Kind]| {
        changes
            .iter()
            .any(|c| c.foreign && c.blocked.is_some() && c.attribute == Some(id) && kinds.contains(&c.kind))
    };
    if changes.iter().any(|c| c.kind == Kind::ChangedType && c.foreign && c.blocked.is_some()) {
        after.include = before.include;
    }
    let pending: Vec<i64> = after
        .attributes
        .keys()
        .copied()
        .filter(|id| held(*id, &[Kind::NewAttribute, Kind::ChangedAttribute, Kind::RemovedAttribute]))
        .collect();
    for id in pending {
        match before.attributes.get(&id) {
            Some(old) => after.attributes.insert(id, old.clone()),
            None => after.attributes.remove(&id),
        };
    }
    for (id, old) in &before.attributes {
        let left: Vec<String> = changes
            .iter()
            .filter(|c| !c.foreign && !c.others && c.blocked.is_some() && c.attribute == Some(*id))
            .filter_map(|c| match &c.action {
                Action::DropColumn { name } => Some(name.clone()),
                _ => None,
            })
            .collect();
        if let Some(now) = after.attributes.get_mut(id) {
            now.left = left;
            continue;
        }
        // Hidden by now, or not wholly gone from here: still known.
        if exist.contains(id) || !left.is_empty() || held(*id, &[Kind::RemovedAttribute]) {
            let mut old = old.clone();
            old.left = left;
            after.attributes.insert(*id, old);
        }
    }
    after
}
