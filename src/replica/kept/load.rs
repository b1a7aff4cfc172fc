//! A full comparison that can be broken off: what has been brought is kept, page by page, until it is
//! written down, and a run that finds the pages of one before it brings only what is missing.
//!
//! The pages are in a table of the extension's, not of the owner's: a table of the owner's own would
//! be in the way of DROP ROLE and REASSIGN OWNED, show up in dumps, and need a right to create it.
//! They are of use only for the same definition of the replica, for a day, and until the replica is
//! refreshed in another way: it holds later states of objects then, which they must not undo.

use std::time::{Duration, Instant};

use assets::value::Row;
use delta::since::Moment;
use pgrx::pg_sys;

use crate::sql::spi::{as_extension, execute, query, query_one};

/// Rows are committed after so much time, or so many of them; a short comparison leaves nothing.
const EVERY: Duration = Duration::from_secs(1);
const ROWS: usize = 1000;
/// So often a comparison is taken up again without having come any further.
const PATIENCE: i32 = 3;

/// A full comparison under way.
pub struct Load {
    target: pg_sys::Oid,
    definition: String,
    /// Since when changes are to be asked for after it: when the first of its runs began.
    pub since: Moment,
    kept: bool,
    /// Pages of a run before this one were taken up.
    pub resumed: bool,
    pages: i32,
    pending: Vec<Row>,
    flushed: Instant,
}

impl Load {
    /// Takes up one that was broken off, or begins; inside a transaction.
    pub fn open(target: pg_sys::Oid, definition: &str, now: Moment) -> Self {
        let sql = "
            UPDATE assets_fdw.replica_load SET resumed = resumed + 1
            WHERE target = $1 AND definition = $2 AND resumed < $3 AND begun > clock_timestamp() - interval '1 day'
              AND NOT EXISTS (SELECT FROM assets_fdw.replica_state AS s
                              WHERE s.target = replica_load.target AND s.last_success > begun)
            RETURNING (extract(epoch FROM since_here) * 1000000)::bigint,
                      (extract(epoch FROM since_there) * 1000000)::bigint";
        let args = [target.into(), definition.into(), PATIENCE.into()];
        let found =
            as_extension(|| query_one(sql, &args, |row| Moment { here: row.must(1), there: row.get(2) }));
        let mut load = Self {
            target,
            definition: definition.to_owned(),
            since: found.unwrap_or(now),
            kept: found.is_some(),
            resumed: false,
            pages: 0,
            pending: Vec::new(),
            flushed: Instant::now(),
        };
        if load.kept {
            let sql = "SELECT coalesce(max(n) + 1, 0) FROM assets_fdw.replica_page WHERE target = $1";
            load.pages = as_extension(|| query_one(sql, &[target.into()], |row| row.must(1))).unwrap_or(0);
            load.resumed = load.pages > 0;
        } else {
            close(target);
        }
        load
    }

    /// How many pages were kept.
    pub fn pages(&self) -> i32 {
        self.pages
    }

    /// The rows of one of them; inside a transaction. None where they cannot be read.
    pub fn page(&self, n: i32) -> Option<Vec<Row>> {
        let sql = "SELECT page FROM assets_fdw.replica_page WHERE target = $1 AND n = $2";
        let args = [self.target.into(), n.into()];
        let page = as_extension(|| query_one(sql, &args, |row| row.must::<Vec<u8>>(1)))?;
        serde_json::from_slice(&page).ok()
    }

    /// Takes rows in; inside a transaction.
    pub fn add(&mut self, rows: &[Row]) {
        self.pending.extend_from_slice(rows);
        if self.pending.len() >= ROWS || self.flushed.elapsed() >= EVERY {
            self.flush();
        }
    }

    /// Writes what was taken in; inside a transaction.
    pub fn flush(&mut self) {
        self.flushed = Instant::now();
        if self.pending.is_empty() {
            return;
        }
        let Ok(page) = serde_json::to_vec(&self.pending) else { return };
        as_extension(|| {
            let sql = "
                INSERT INTO assets_fdw.replica_load (target, definition, since_here, since_there)
                VALUES ($1, $2, 'epoch'::timestamptz + $3 * interval '1 microsecond',
                        'epoch'::timestamptz + $4 * interval '1 microsecond')
                ON CONFLICT (target) DO UPDATE SET resumed = 0 WHERE replica_load.resumed > 0";
            let args = [
                self.target.into(),
                self.definition.as_str().into(),
                self.since.here.into(),
                self.since.there.into(),
            ];
            execute(sql, &args);
            let sql = "INSERT INTO assets_fdw.replica_page (target, n, page) VALUES ($1, $2, $3)";
            execute(sql, &[self.target.into(), self.pages.into(), page.into()]);
        });
        self.pending.clear();
        self.pages += 1;
        self.kept = true;
    }
}

/// Throws away what was kept; inside a transaction.
pub fn close(target: pg_sys::Oid) {
    let sql = "DELETE FROM assets_fdw.replica_load WHERE target = $1 RETURNING 1";
    as_extension(|| query(sql, &[target.into()], |_| ()));
}
