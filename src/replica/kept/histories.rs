//! Whose each history table is. It belongs to one replica: two that wrote to one table would each close the versions
//! of the other. Names do not tell (they are cut, and replicas are renamed), so it is kept in
//! `assets_fdw.replica_history`, also after the replica is gone: one of the same name goes on with it.

use pgrx::pg_sys;

use crate::sql::spi::{as_extension, execute, query_one};

/// What a table that might become a history is already.
pub enum Use {
    /// Nothing that is known of.
    Free,
    /// The history of a replica of this name that is gone.
    Left(String),
    /// The history of this replica.
    Kept(String),
    /// A replica.
    Replica,
}

/// What is known of a table.
pub fn use_of(table: pg_sys::Oid) -> Use {
    let sql = "
        SELECT h.replica::text, j.target::text,
               EXISTS (SELECT FROM assets_fdw.replica_job AS r WHERE r.target::oid = $1),
               (SELECT r.target::text FROM assets_fdw.replica_job AS r
                WHERE r.history AND r.history_table::oid = $1 ORDER BY r.created LIMIT 1)
        FROM (SELECT) AS one
        LEFT JOIN assets_fdw.replica_history AS h ON h.history::oid = $1
        LEFT JOIN assets_fdw.replica_job AS j ON j.target = h.target AND j.history_table::oid = $1";
    as_extension(|| {
        query_one(sql, &[table.into()], |row| match (row.get(1), row.get(2).or(row.get(4)), row.must(3)) {
            (_, _, true) => Use::Replica,
            (_, Some(target), _) => Use::Kept(target),
            (Some(replica), None, _) => Use::Left(replica),
            (None, None, _) => Use::Free,
        })
        .unwrap_or(Use::Free)
    })
}

/// Makes a table the history of a replica; false where another one has it. Of two that want it at once, one waits for
/// the other.
pub fn claim(history: pg_sys::Oid, target: pg_sys::Oid) -> bool {
    let sql = "
        INSERT INTO assets_fdw.replica_history AS h (history, target, replica)
        SELECT $1, c.oid, c.relname FROM pg_class AS c WHERE c.oid = $2
        ON CONFLICT (history) DO UPDATE SET target = excluded.target, replica = excluded.replica
        WHERE h.target IS NULL OR h.target = excluded.target
           OR NOT EXISTS (SELECT FROM assets_fdw.replica_job AS j
                          WHERE j.target = h.target AND j.history_table::oid = $1)";
    as_extension(|| execute(sql, &[history.into(), target.into()])) > 0
}

/// The replica that a history belongs to, as its OID; none where nobody has claimed it.
pub fn owner_of(history: pg_sys::Oid) -> Option<pg_sys::Oid> {
    let sql = "SELECT target::oid FROM assets_fdw.replica_history WHERE history::oid = $1";
    as_extension(|| query_one(sql, &[history.into()], |row| row.get(1))).flatten()
}

/// A replica ends and its table stays: what it leaves is kept under the name that it has now.
pub fn leave(target: pg_sys::Oid) {
    let sql = "UPDATE assets_fdw.replica_history AS h SET target = NULL, replica = c.relname
               FROM pg_class AS c WHERE c.oid = $1 AND h.target::oid = c.oid";
    as_extension(|| execute(sql, &[target.into()]));
}
