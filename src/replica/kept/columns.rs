//! Which column of a replica shows which one of its foreign table. They find each other by name; from then on they are
//! known by number, so that a renamed one goes on.

use pgrx::pg_sys;

use super::jobs;
use crate::sql::spi::{as_extension, execute, query};

/// A column of a replica, and the one of its foreign table that it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The replica's.
    pub attnum: i16,
    /// Its name when it was last written to.
    pub name: String,
    /// The foreign table's.
    pub source_attnum: i16,
    /// Its name then.
    pub source_name: String,
}

/// The pairs of a replica, and whether their numbers are this database's.
pub fn read(target: pg_sys::Oid) -> (Vec<Pair>, bool) {
    let home = jobs::home();
    let sql = "SELECT attnum, name::text, source_attnum, source_name::text, home = $2
               FROM assets_fdw.replica_column WHERE target = $1 ORDER BY source_attnum";
    let found = as_extension(|| {
        query(sql, &[target.into(), home.into()], |row| {
            let pair = Pair {
                attnum: row.must(1),
                name: row.must(2),
                source_attnum: row.must(3),
                source_name: row.must(4),
            };
            (pair, row.must::<bool>(5))
        })
    });
    let here = found.iter().all(|(_, here)| *here);
    (found.into_iter().map(|(pair, _)| pair).collect(), here)
}

/// Keeps them, where they are others than those that are kept.
pub fn keep(target: pg_sys::Oid, pairs: &[Pair]) {
    if read(target) == (pairs.to_vec(), true) {
        return;
    }
    let home = jobs::home();
    as_extension(|| {
        execute("DELETE FROM assets_fdw.replica_column WHERE target = $1", &[target.into()]);
        let sql =
            "INSERT INTO assets_fdw.replica_column (target, attnum, name, source_attnum, source_name, home)
                   SELECT j.target, $2, $3::text::name, $4, $5::text::name, $6
                   FROM assets_fdw.replica_job AS j WHERE j.target = $1";
        for pair in pairs {
            let args = [
                target.into(),
                pair.attnum.into(),
                pair.name.as_str().into(),
                pair.source_attnum.into(),
                pair.source_name.as_str().into(),
                home.as_str().into(),
            ];
            execute(sql, &args);
        }
    });
}
