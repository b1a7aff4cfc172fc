//! What users are promised, tried on a real server through a real client.

#![forbid(unsafe_code)]

mod bounds;
mod canary;
mod cancel;
mod checks;
mod differential;
mod faults;
mod golden;
mod harness;
mod hints;
mod hostile;
mod identities;
mod imports;
mod install;
mod joins;
mod known;
mod live;
mod minors;
mod moods;
mod names;
mod operands;
mod options;
mod options_hostile;
mod origins;
mod outdated;
mod pages;
mod peer;
mod privileges;
mod replica;
mod requests;
mod scans;
mod scorecard;
mod shared;
mod shown;
mod statistics;
mod stuck;
mod tables;
mod tls;
mod tokens;
mod traps;
mod types;
mod updated;
mod upper;
mod values;
mod verify;
