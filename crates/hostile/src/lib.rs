//! Entries for fuzzers: each takes any bytes, and panics where a promise about them does not hold.
//!
//! The targets in `fuzz/` call them under cargo-fuzz; the tests of this crate call the same with
//! seeded bytes, so that they run wherever the tests do.
#![forbid(unsafe_code)]

mod printed;

pub use printed::printed_aql_is_read_as_it_was_meant;

/// The attributes of the page in the simulator's fixtures.
pub const ATTRIBUTES: [i64; 6] = [134, 135, 136, 137, 144, 265];

/// An entry and its name.
pub type Entry = (&'static str, fn(&[u8]));

/// Every entry.
pub const ENTRIES: [Entry; 6] = [
    ("page", page),
    ("metadata", metadata),
    ("value", assets::fuzzing::value),
    ("option", assets::fuzzing::option),
    ("mask", assets::fuzzing::masked),
    ("aql", printed_aql_is_read_as_it_was_meant),
];

/// The entry of a name; panics where there is none.
pub fn entry(name: &str) -> fn(&[u8]) {
    ENTRIES.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no entry {name}")).1
}

/// A page of objects.
pub fn page(bytes: &[u8]) {
    let _ = assets::fuzzing::page(bytes, &ATTRIBUTES[..2]);
}

/// Metadata; the first byte says of which kind.
pub fn metadata(bytes: &[u8]) {
    if let Some((kind, rest)) = bytes.split_first() {
        let _ = assets::fuzzing::metadata(*kind, rest);
    }
}
