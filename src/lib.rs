//! assets_fdw
use pgrx::prelude::*;
pgrx::pg_module_magic!();
#[pg_extern(sql = false)]
fn hello() -> i32 {
    1
}
