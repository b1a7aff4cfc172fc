//! Settings.

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

/// `assets_fdw.enable_pushdown`
pub static ENABLE_PUSHDOWN: GucSetting<bool> = GucSetting::<bool>::new(true);

/// Defines the settings; called once, from `_PG_init`.
pub fn define() {
    GucRegistry::define_bool_guc(
        c"assets_fdw.enable_pushdown",
        c"Sends WHERE clauses to Assets as AQL.",
        c"Off, only the object type and the table's own aql option are sent, for comparing results.",
        &ENABLE_PUSHDOWN,
        GucContext::Userset,
        GucFlags::EXPLAIN,
    );
}
