//! `LIMIT TO (…)` and `EXCEPT (…)` of IMPORT FOREIGN SCHEMA: which object types a list of names means.
//!
//! A name is that of the table that IMPORT makes, or that of the object type in Assets. PostgreSQL cuts
//! names to 63 bytes before anybody sees them.

use std::collections::HashSet;

use assets::model::ObjectType;

use crate::naming;

/// What a list means.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// The object types, by id.
    pub types: HashSet<i64>,
    /// Names that fit nothing, in their order.
    pub unfit: Vec<String>,
}

/// Finds the types that are meant. `tables` are the names of their tables, by type id. The name of a table
/// comes first, then that of a type, then that of a type whatever the case of its letters. All types of a
/// name are meant: names need not be unique.
pub fn find<'a>(
    names: impl IntoIterator<Item = &'a str>,
    types: &[ObjectType],
    tables: &[(i64, String)],
) -> Listed {
    let mut listed = Listed::default();
    for name in names {
        let of_tables = || tables.iter().filter(|(_, table)| table == name).map(|(id, _)| *id).collect();
        let of_types = |same: &dyn Fn(&str) -> bool| {
            types.iter().filter(|t| same(&naming::fit(&t.name, ""))).map(|t| t.id).collect()
        };
        let folded = name.to_lowercase();
        let ways: [&dyn Fn() -> Vec<i64>; 3] =
            [&of_tables, &|| of_types(&|of| of == name), &|| of_types(&|of| of.to_lowercase() == folded)];
        match ways.iter().map(|way| way()).find(|found| !found.is_empty()) {
            Some(found) => listed.types.extend(found),
            None => listed.unfit.push(name.to_owned()),
        }
    }
    listed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout;

    fn types(names: &[&str]) -> Vec<ObjectType> {
        let object_type = |(n, name): (usize, &&str)| ObjectType {
            id: n as i64 + 1,
            name: (*name).to_owned(),
            description: String::new(),
            schema_id: 1,
            parent_id: None,
            is_abstract: false,
            position: 0,
            object_count: None,
        };
        names.iter().enumerate().map(object_type).collect()
    }

    fn found(names: &[&str], of: &[&str]) -> (Vec<i64>, Vec<String>) {
        let types = types(of);
        let Listed { types, unfit } = find(names.iter().copied(), &types, &layout::table_names(&types));
        let mut types: Vec<i64> = types.into_iter().collect();
        types.sort_unstable();
        (types, unfit)
    }

    #[test]
    fn a_name_is_that_of_the_table_or_that_of_the_type_in_any_case() {
        let of = ["Server", "Virtual Machine", "Überwachung"];
        for name in ["virtual_machine", "Virtual Machine", "virtual machine", "VIRTUAL MACHINE"] {
            assert_eq!(found(&[name], &of), (vec![2], vec![]), "{name}");
        }
        assert_eq!(found(&["ÜBERWACHUNG", "überwachung", "server"], &of), (vec![1, 3], vec![]));
        assert_eq!(found(&["machine", "Server", "x"], &of), (vec![1], vec!["machine".into(), "x".into()]));
    }

    #[test]
    fn a_table_comes_before_a_type_of_that_name_and_namesakes_are_all_meant() {
        // The second is the table laptop_2.
        assert_eq!(found(&["laptop"], &["Laptop", "laptop"]), (vec![1], vec![]));
        assert_eq!(found(&["LAPTOP"], &["Laptop", "laptop"]), (vec![1, 2], vec![]));
        assert_eq!(found(&["Rack"], &["Rack", "Rack"]), (vec![1, 2], vec![]));
    }

    #[test]
    fn a_long_name_is_found_as_postgresql_cuts_it() {
        let long = "ä".repeat(40);
        assert_eq!(found(&[&"ä".repeat(31)], &[&long]), (vec![1], vec![]));
    }
}
