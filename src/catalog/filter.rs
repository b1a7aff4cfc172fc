//! The AQL that selects a table's objects: its object types, and its own filter.
#![deny(unsafe_code)]

use assets::model::{ObjectType, descendants};

/// A type with those below it. Whether what is documented as "children" is all that is below is not said,
/// so that each type with children is named. Which types these are may have changed; the type itself
/// has not, and what is below it now is for the service to say.
pub(super) fn below_filter(types: &[ObjectType], root: i64) -> String {
    let has_children = |id: &i64| *id == root || types.iter().any(|t| t.parent_id == Some(*id));
    let parents = descendants(types, root).into_iter().filter(has_children);
    let clauses: Vec<String> =
        parents.map(|id| format!("objectType in objectTypeAndChildren({id})")).collect();
    any_of(&clauses)
}

/// Conditions of which one is to hold, ready to be ANDed with others.
pub fn any_of(clauses: &[String]) -> String {
    match clauses {
        [one] => one.clone(),
        many => format!("({})", many.join(" OR ")),
    }
}

/// A table's object types, and its own filter.
pub(super) fn with_own(kinds: String, own: Option<&str>) -> String {
    match own {
        Some(own) => format!("{kinds} AND ({own})"),
        None => kinds,
    }
}

/// Object types by id, never by name: names change and are not unique.
pub fn type_filter(types: &[i64]) -> String {
    let clause = |ids: &[i64]| match ids {
        [one] => format!("objectTypeId = {one}"),
        many => {
            let list: Vec<String> = many.iter().map(i64::to_string).collect();
            format!("objectTypeId in ({})", list.join(", "))
        }
    };
    let clauses: Vec<String> = types.chunks(50).map(clause).collect();
    any_of(&clauses)
}
