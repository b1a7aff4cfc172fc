//! One run: what is asked of the service, what follows from it, and how it is written down.
//!
//! | file | subject |
//! |---|---|
//! | refresh | a run's process from its begin to its end |
//! | full | everything of one replica |
//! | incremental, incremental/ | what changed, for a whole group |
//! | member | one replica of the group, and what the run does to it |
//! | outcome | how a run ends for a replica, as it is noted |
//! | source | what a foreign table means: columns, types, conditions |
//! | references | references to objects that are gone or have another name |
//! | proof | how the service can be asked for changes |

pub mod full;
pub mod incremental;
pub mod member;
pub mod outcome;
pub mod proof;
pub mod references;
pub mod refresh;
pub mod source;
