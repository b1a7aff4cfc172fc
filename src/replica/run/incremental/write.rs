//! Everything that a run found, in one transaction for the whole group.
//!
//! A member that cannot be written is left out, and the rest is tried again: each attempt but the first takes one
//! out, or finds out over whom the one before it failed.

use std::cell::Cell;
use std::time::{Duration, Instant};

use course::{Befell, Ending, Writing};
use pgrx::PgSqlErrorCode;
use pgrx::pg_sys;

use super::super::outcome::{self, Cause};
use super::super::references::Referenced;
use super::super::refresh;
use super::Group;
use super::fates::PATIENCE;
use crate::error;
use crate::replica::kept::{history, load, many, standing};
use crate::replica::table::rights;
use crate::sql::clock;
use crate::sql::failure::{self, Failure};
use crate::sql::spi::{execute, lock_timeout, query};
use crate::sql::txn::transaction;

/// Where an attempt to write is.
#[derive(Default)]
struct At {
    member: Cell<Option<usize>>,
    gone: Cell<bool>,
}

impl Group {
    /// Writes everything, and notes what becomes of each.
    pub(super) fn write(&mut self, referenced: &[Referenced]) {
        if self.progress("applying").is_err() {
            return;
        }
        self.owe_absent();
        while let Some(writing) = self.course.writing() {
            self.by_itself();
            let at = At::default();
            let written = failure::catch(|| transaction(|| self.write_all(referenced, writing, &at)));
            match written {
                Ok(()) => {
                    // Noted with the rows.
                    self.course.end(Ending::Written);
                    return self.owe();
                }
                Err(failure) => self.broke(&at, failure),
            }
        }
        self.owe();
    }

    /// An attempt failed, and wrote nothing.
    fn broke(&mut self, at: &At, failure: Failure) {
        let befell = match (Cause::of(&failure), at.member.get()) {
            (Cause::Stopped, _) => failure.raise(None),
            (_, None) => {
                let verdicts = self.course.unwritable();
                if !verdicts.is_empty() {
                    failure.log(&format!("the refresh of {} could not be committed", self.leader().job.name));
                }
                return self.give(verdicts, &failure);
            }
            (_, Some(n)) if at.gone.get() => (n, Befell::Gone, outcome::removed()),
            (Cause::Locked, Some(n)) => (n, Befell::Locked, outcome::locked()),
            // Nothing is asked of the service here: whatever it looks like, it is a trigger's, or a constraint's.
            (_, Some(n)) => (n, Befell::Own, failure),
        };
        self.befell(befell.0, befell.1, &befell.2);
    }

    fn write_all(&mut self, referenced: &[Referenced], writing: Writing, at: &At) {
        let applying = Instant::now();
        // The run's own first: what is waited for longest is waited for with nothing held.
        let going: Vec<usize> = (0..self.members.len()).filter(|n| self.course.goes(*n)).collect();
        let mut written = Vec::new();
        for n in going {
            at.member.set(Some(n));
            let member = &mut self.members[n];
            if member.run.is_none() && (referenced.is_empty() || member.bound.references.is_empty()) {
                continue;
            }
            let left = Duration::from_millis(PATIENCE.unsigned_abs()).saturating_sub(applying.elapsed());
            lock_timeout(if writing.patient { 0 } else { (left.as_millis() as i64).max(10) });
            let Some(job) = rights::hold(&member.job) else {
                at.gone.set(true);
                error::raise(PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT, "the replica was removed meanwhile")
            };
            member.job = job;
            member.apply(referenced);
            written.push(n);
            if writing.one_by_one {
                execute("SET CONSTRAINTS ALL IMMEDIATE", &[]);
            }
        }
        // What PostgreSQL would check at the commit, where nobody could be told to be the reason.
        let targets: Vec<pg_sys::Oid> = written.iter().map(|n| self.members[*n].job.target).collect();
        let constraints = deferred(&targets);
        for (n, target) in written.into_iter().zip(targets) {
            at.member.set(Some(n));
            let names = constraints.iter().filter(|(of, _)| *of == target).map(|(_, name)| name.as_str());
            let names: Vec<&str> = names.collect();
            if !names.is_empty() {
                execute(&format!("SET CONSTRAINTS {} IMMEDIATE", names.join(", ")), &[]);
            }
        }
        at.member.set(None);
        execute("SET CONSTRAINTS ALL IMMEDIATE", &[]);
        self.conclude(applying, writing.one_by_one, at);
    }

    /// Notes that everybody who is left succeeded, of most at once: whose fault it is where that fails, an attempt
    /// `one_by_one` finds out.
    fn conclude(&mut self, applying: Instant, one_by_one: bool, at: &At) {
        self.say_without();
        let due = self.due();
        let base = match due.iter().find_map(|n| self.members[*n].run.as_ref().map(|run| (*n, run))) {
            Some((n, run)) => history::next_base(&self.members[n].job, run),
            None => clock::now(),
        };
        let mut succeeded = Vec::new();
        for n in due {
            at.member.set(Some(n));
            let member = &mut self.members[n];
            let Some(run) = &member.run else { continue };
            member.warn();
            member.figures.apply_seconds = applying.elapsed().as_secs_f64();
            refresh::notify(run, &member.figures);
            // One that is to be compared in full is as due for that as before; the scheduler knows it of its own runs.
            let as_due = n > 0 && self.by_hand && member.wants_full();
            let base = if as_due { history::base(&member.job) } else { None }.unwrap_or(base);
            if member.kept.is_none() && member.whole.is_none() && !one_by_one {
                succeeded.push((member.job.target, run.id, base, member.figures));
                continue;
            }
            match &member.kept {
                None => history::succeeded(&member.job, run, base, &member.figures),
                Some(failure) => history::held_back(&member.job, run, base, &member.figures, failure),
            }
            let Some(whole) = &member.whole else {
                if member.kept.is_some() {
                    // Pages of a comparison that was broken off know nothing of what was written now.
                    load::close(member.job.target);
                }
                standing::keep(member.job.target, self.since, None);
                continue;
            };
            standing::keep(member.job.target, self.since, Some(&whole.ground));
            let all_taken = member.kept.is_none();
            standing::memorize(member.job.target, &whole.fingerprint, &whole.memory, all_taken);
            load::close(member.job.target);
            if whole.again {
                standing::want_full(member.job.target);
            }
        }
        at.member.set(None);
        if !succeeded.is_empty() {
            many::succeeded(&succeeded, self.since);
        }
    }
}

/// The constraints that may wait for the commit, of these tables and of those that refer to them, by table.
fn deferred(targets: &[pg_sys::Oid]) -> Vec<(pg_sys::Oid, String)> {
    let sql = "
        SELECT DISTINCT c.of, pg_catalog.format('%I.%I', n.nspname, c.conname)
        FROM (SELECT k.conrelid AS of, k.conname, k.connamespace FROM pg_catalog.pg_constraint AS k
              WHERE k.condeferrable AND k.conrelid OPERATOR(pg_catalog.=) ANY ($1)
              UNION ALL
              SELECT k.confrelid, k.conname, k.connamespace FROM pg_catalog.pg_constraint AS k
              WHERE k.condeferrable AND k.confrelid OPERATOR(pg_catalog.=) ANY ($1)) AS c
        JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.connamespace";
    query(sql, &[targets.to_vec().into()], |row| (row.must(1), row.must(2)))
}
