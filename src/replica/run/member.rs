//! A replica that takes part in a group's incremental refresh: what is brought for it, and how that is
//! written.

use std::cell::Cell;
use std::collections::HashSet;
use std::time::{Duration, Instant};

use assets::value::Row;
use delta::share::Share;
use delta::sift::{Pending, Takes};
use pgrx::PgSqlErrorCode;
use tables::ddl::ident;

use super::references::{self, Held, Referenced, Referring};
use super::source::Bound;
use crate::replica::kept::history::{Figures, Run};
use crate::replica::kept::jobs::Job;
use crate::replica::kept::load;
use crate::replica::kept::load::Load;
use crate::replica::kept::origin;
use crate::replica::kept::standing;
use crate::replica::kept::standing::{Ground, Standing};
use crate::replica::table::apply::{Diff, Kept};
use crate::replica::table::rights;
use crate::replica::table::staging::Staging;
use crate::replica::table::versions;
use crate::sql::clock;
use crate::sql::failure::Failure;
use crate::sql::spi::{each_row, query};

/// One replica of the group.
pub struct Member {
    /// Its job.
    pub job: Job,
    /// Its run; none for one that is not due: then only its references to objects that are gone are put
    /// right, which nothing will tell it of later.
    pub run: Option<Run>,
    /// The share of its rows that may be deleted.
    share: Share,
    /// It is read by another account than before.
    pub another_account: bool,
    /// Rows were kept that would have been too many to go: what is said of it.
    pub kept: Option<Failure>,
    /// What the run does to it.
    pub figures: Figures,
    /// What is kept of it.
    pub standing: Standing,
    /// Its source.
    pub bound: Bound,
    /// What it takes in.
    pub takes: Takes,
    /// Where its values are in the rows that are read for all.
    pub places: Vec<usize>,
    /// Objects that were brought or have to leave.
    pub pending: Pending,
    /// Objects that were brought, where a condition of its own has not been asked about them yet.
    pub undecided: HashSet<i64>,
    staging: Option<Staging>,
    /// Its rows, where they had to be counted.
    counted: Cell<Option<i64>>,
    /// Everything of it was read; none: what is not staged is as it is held.
    pub whole: Option<Whole>,
}

fn count(table: &str) -> i64 {
    let sql = format!("SELECT pg_catalog.count(*) FROM {table}");
    query(&sql, &[], |row| row.must::<i64>(1)).first().copied().unwrap_or(0)
}

/// What a full comparison has read, and what is known from it.
pub struct Whole {
    /// The objects that were read and are not gone or superseded since.
    pub ids: HashSet<i64>,
    /// Its pages, kept until it is written down.
    pub load: Load,
    /// How changes can be asked for from now on.
    pub ground: Ground,
    /// What the replica was defined like.
    pub fingerprint: String,
    /// What the service said of its types.
    pub memory: String,
    /// Everything has to be read once more, since it was not all when this began.
    pub again: bool,
    /// It is the first load.
    pub first: bool,
    /// Some of it was brought by a run before this one.
    pub resumed: bool,
    /// How many pages were read.
    pub answers: usize,
}

impl Whole {
    /// Whether what was read first may be older than what was read last, so that it ends with a look at what
    /// changed meanwhile. One answer shows one moment. `spare`: the group is brought to one moment soon, and
    /// only what is much older than that has to be looked at now.
    pub fn is_torn(&self, began: Instant, spare: bool) -> bool {
        if spare { self.resumed || began.elapsed() > LONG } else { self.resumed || self.answers > 1 }
    }
}

/// A load that takes longer is not written as it was when it began.
const LONG: Duration = Duration::from_secs(60);

impl Member {
    /// A member before anything was asked.
    pub fn new(job: Job, run: Option<Run>, share: f64, standing: Standing, bound: Bound) -> Self {
        let takes = Takes { types: bound.types.clone(), filtered: bound.own.is_some() };
        Self {
            job,
            run,
            share: Share::of(share),
            another_account: false,
            kept: None,
            figures: Figures::default(),
            standing,
            bound,
            takes,
            places: Vec::new(),
            pending: Pending::default(),
            undecided: HashSet::new(),
            staging: None,
            counted: Cell::new(None),
            whole: None,
        }
    }

    /// Everything of it was read, and changes are asked for since that began.
    pub fn take_whole(&mut self, staging: Staging, whole: Whole) {
        self.standing.since = Some(whole.load.since);
        (self.staging, self.whole) = (Some(staging), Some(whole));
        self.look_again();
    }

    /// The service is asked once more: what it says from here on is newer.
    pub fn look_again(&mut self) {
        if let Some(staging) = &mut self.staging {
            staging.next_layer();
        }
    }

    /// Something newer is known of these objects: what was found out about them before holds no more.
    pub fn supersede(&mut self, ids: &[i64]) {
        let Pending { brought, out } = &mut self.pending;
        let mut known = Vec::new();
        for id in ids {
            out.remove(id);
            let whole = self.whole.as_mut().is_some_and(|whole| whole.ids.remove(id));
            if brought.remove(id) || whole {
                known.push(*id);
            }
        }
        if let Some(staging) = &mut self.staging {
            staging.supersede(&known);
        }
    }

    /// These objects do not pass its condition. What was brought of them counts no more, and what is brought from here on
    /// does.
    pub fn refuse(&mut self, ids: &[i64]) {
        for id in ids {
            self.pending.brought.remove(id);
            self.pending.out.insert(*id);
        }
        if let Some(staging) = &mut self.staging {
            staging.hide(ids);
            staging.next_layer();
        }
    }

    /// What of it may be deleted.
    pub fn may_lose(&self) -> Share {
        if self.another_account { Share::none() } else { self.share }
    }

    /// Objects that have to leave, where they are more than may go; inside a transaction.
    pub fn too_many(&self) -> HashSet<i64> {
        let out: Vec<i64> = self.pending.out.iter().copied().collect();
        let leaving = if out.is_empty() { HashSet::new() } else { self.held(&out) };
        if leaving.is_empty() || self.may_lose().allows(leaving.len() as u64, self.rows_held().unsigned_abs())
        {
            return HashSet::new();
        }
        leaving
    }

    /// Whether everything of it is to be compared again.
    pub fn wants_full(&self) -> bool {
        let standing = &self.standing;
        let seed = u64::from(self.job.target.to_u32());
        schedule::full_due(standing.full_at, standing.full_every, seed, clock::now())
    }

    /// Takes in rows that were read for the whole group; inside a transaction.
    pub fn stage(&mut self, rows: &[&Row]) {
        let mine: Vec<Row> = rows
            .iter()
            .map(|row| Row {
                id: row.id,
                key: row.key.clone(),
                values: self.places.iter().map(|n| row.values[*n].clone()).collect(),
            })
            .collect();
        for row in &mine {
            // It may have been refused before.
            self.pending.out.remove(&row.id);
            self.pending.brought.insert(row.id);
        }
        let staging = match &mut self.staging {
            Some(staging) => staging,
            None => {
                let outputs = std::mem::take(&mut self.bound.outputs);
                self.staging.insert(Staging::create(&self.bound.columns, outputs))
            }
        };
        staging.add(&mine);
        self.figures.seen += mine.len() as i64;
    }

    /// Which of some objects it holds; inside a transaction.
    pub fn held(&self, ids: &[i64]) -> HashSet<i64> {
        if ids.is_empty() || self.is_empty() {
            return HashSet::new();
        }
        let id = &self.bound.id;
        let sql = format!(
            "SELECT t.{0}::pg_catalog.int8 FROM {1} AS t WHERE t.{0} = ANY ($1::pg_catalog.int8[]::{2}[])",
            ident(&id.name),
            rights::readable(&self.job),
            id.target_type
        );
        query(&sql, &[ids.to_vec().into()], |row| row.must::<i64>(1)).into_iter().collect()
    }

    /// How many rows it will hold; inside a transaction.
    pub fn rows_after(&self) -> u64 {
        if self.whole.is_some() {
            return self.ids_after().len() as u64;
        }
        let rows = self.rows_held();
        let ids: Vec<i64> = self.pending.brought.union(&self.pending.out).copied().collect();
        let held = if ids.is_empty() { HashSet::new() } else { self.held(&ids) };
        self.pending.rows_after(rows.unsigned_abs(), &held)
    }

    /// How many rows it holds; inside a transaction. They are counted only where somebody else may have written to
    /// it.
    fn rows_held(&self) -> i64 {
        if let Some(rows) = self.standing.rows.or(self.counted.get()) {
            return rows;
        }
        let rows = count(&rights::readable(&self.job));
        self.counted.set(Some(rows));
        rows
    }

    /// Which objects it will hold, each once; inside a transaction.
    pub fn ids_after(&self) -> Vec<i64> {
        if let Some(whole) = &self.whole {
            return self.pending.ids_after(whole.ids.iter().copied());
        }
        self.pending.ids_after(self.held_ids())
    }

    /// Which objects it holds; inside a transaction.
    pub fn held_ids(&self) -> Vec<i64> {
        let sql = format!(
            "SELECT t.{}::pg_catalog.int8 FROM {} AS t",
            ident(&self.bound.id.name),
            rights::readable(&self.job)
        );
        let mut ids = Vec::new();
        each_row(&sql, |row| ids.push(row.must::<i64>(1)));
        ids
    }

    /// Keys and labels that it holds for some objects; inside a transaction.
    pub fn held_names(&self, ids: &[i64]) -> Vec<Held> {
        let Bound { id, key, label, .. } = &self.bound;
        match key {
            Some(key) if !self.is_empty() => {
                references::held(&rights::readable(&self.job), id, key, label.as_ref(), ids)
            }
            _ => Vec::new(),
        }
    }

    /// Whether it holds no row; inside a transaction.
    fn is_empty(&self) -> bool {
        let sql = format!("SELECT 1 FROM {} LIMIT 1", rights::readable(&self.job));
        query(&sql, &[], |_| ()).is_empty()
    }

    /// Writes what was brought, then what follows for its references; in the transaction that makes it
    /// visible for the whole group.
    pub fn apply(&mut self, referenced: &[Referenced]) {
        let bound = &self.bound;
        let diff = Diff { target: &self.job.name, columns: &bound.columns, id: &bound.id };
        let mut figures = Figures { inserted: 0, updated: 0, deleted: 0, unchanged: 0, ..self.figures };
        let mut touched: Vec<i64> = Vec::new();
        let (may, mut kept) = (self.may_lose(), None);
        let out: Vec<i64> = self.pending.out.iter().copied().collect();
        if let Some(staging) = &mut self.staging {
            staging.hide(&out);
        }
        match (&self.whole, &self.staging) {
            (Some(whole), Some(staging)) => {
                let there = self.pending.ids_after(whole.ids.iter().copied()).len();
                let there = i64::try_from(there).unwrap_or(i64::MAX);
                kept = diff.everything(staging, there, may, &mut figures);
            }
            _ if self.run.is_some() && !(self.pending.brought.is_empty() && out.is_empty()) => {
                kept = diff.changes(self.staging.as_ref(), &out, may, &mut figures);
                touched.extend(self.pending.brought.union(&self.pending.out));
            }
            // Columns are written to by name.
            _ if !referenced.is_empty() && !bound.references.is_empty() => diff.require_shape(),
            _ => {}
        }
        if let Some(kept) = kept.filter(|_| self.another_account) {
            origin::sees_less(&self.job.name, kept.gone, kept.rows);
        }
        self.kept = kept.map(|kept| too_many(&self.job, kept, self.share));
        let referring = Referring {
            target: &self.job.name,
            id: &bound.id,
            references: &bound.references,
            since: self.standing.since.filter(|_| self.whole.is_none()),
            brought: &self.pending.brought,
        };
        let followed = referring.follow(referenced);
        if self.whole.is_none() {
            let others = followed.iter().filter(|id| !self.pending.brought.contains(id));
            figures.updated += others.collect::<HashSet<_>>().len() as i64;
        }
        if self.run.is_none() && !followed.is_empty() {
            // Pages of a comparison that was broken off hold what its references were before.
            load::close(self.job.target);
        }
        touched.extend(followed);
        if let Some(history) = self.standing.history {
            let touched = self.whole.is_none().then_some(touched.as_slice());
            versions::note(history, &self.job.name, &bound.columns, &bound.id, touched);
        }
        if self.run.is_some() {
            let more = figures.inserted - figures.deleted;
            let known = self.standing.rows.or(self.counted.get()).filter(|_| self.whole.is_none());
            figures.rows = known.map_or_else(|| count(&self.job.name), |rows| rows + more);
            standing::count(self.job.target, self.standing.written, more);
        }
        self.figures = figures;
    }

    /// Says how many values did not fit.
    pub fn warn(&self) {
        if let Some(staging) = &self.staging {
            staging.warn();
        }
    }

    /// Leaves the references of this replica to a comparison of everything.
    pub fn want_full(&self) {
        standing::want_full(self.job.target);
    }
}

/// What is said of rows that were kept, since they would have been too many to go.
fn too_many(job: &Job, kept: Kept, share: Share) -> Failure {
    let Kept { gone, rows } = kept;
    let (name, share) = (&job.name, share.share());
    let mut failure = Failure::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!(
            "the refresh of {name} would delete {gone} of {rows} rows, more than assets_fdw.max_delete_share ({share}) \
             allows"
        ),
    )
    .with_hint(too_many_hint(&standing::changed_options(job.target)));
    failure.detail = Some("These rows are kept; what else changed was written.".to_owned());
    failure
}

fn too_many_hint(changed: &[String]) -> String {
    let on_purpose = "SET assets_fdw.max_delete_share = 1, then call assets_fdw.refresh().";
    match changed {
        [] => format!(
            "The credential may see less than it did: compare with Assets. If the objects are gone indeed: {on_purpose}"
        ),
        [one] => format!(
            "The foreign table's option {one} has changed since the replica held what it chooses. If these rows are to \
             go over that: {on_purpose} If not, correct it (ALTER FOREIGN TABLE … OPTIONS)."
        ),
        several => format!(
            "The foreign table's options {} have changed since the replica held what they choose. If these rows are to \
             go over that: {on_purpose} If not, correct them (ALTER FOREIGN TABLE … OPTIONS).",
            several.join(", ")
        ),
    }
}
