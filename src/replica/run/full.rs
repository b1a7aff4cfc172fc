//! A full comparison: every object of one source, page by page, and then the difference.

use crate::replica::kept::jobs;
use crate::sql::clock;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use assets::client::Client;
use assets::stats::ScanStats;
use assets::value::{ScanSpec, Value};
use delta::search::{Ask, Purpose, Search};
use delta::share::Share;
use delta::since::{Moment, Witness};

use super::incremental::{self, Party};
use super::member::{Member, Whole};
use super::proof;
use super::refresh;
use super::source::{self, Bound, Definition};
use crate::replica::kept::history::{self, Figures, Run};
use crate::replica::kept::jobs::Job;
use crate::replica::kept::load::{self, Load};
use crate::replica::kept::origin;
use crate::replica::kept::standing::{self, Ground};
use crate::replica::table::staging::Staging;
use crate::runtime::PageStream;
use crate::session::Connection;
use crate::sql::failure;
use crate::sql::failure::Failure;
use crate::sql::spi::{as_extension, lock_timeout, query_one};
use crate::sql::txn::transaction;
use crate::{error, runtime};

/// About so many ids are on a page, at least.
pub const PAGE: u64 = 100;
/// How often a run notes where it is, at most.
pub const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Compares everything. Raises whatever goes wrong while it is read; what becomes of it then is noted.
pub fn run(party: &Party<'_>, figures: &mut Figures) {
    let began = Instant::now();
    let (job, run) = (party.job, party.run);
    let (definition, fingerprint, standing) = transaction(|| {
        if party.scheduled {
            lock_timeout(incremental::PATIENCE);
        }
        let definition = source::define(job);
        let fingerprint = standing::definition(job.source, job.target, &definition.connection);
        (definition, fingerprint, standing::read(job.target))
    });
    let Some(standing) = standing else { return };
    let connection = definition.connection.clone();
    // What is known of the service's types may be what is wrong with it.
    connection.client.forget_metadata();
    connection.client.forget_whereabouts();
    connection.client.doubt_types_below();
    let mut load = None;
    // Somebody said that all of it may go.
    let on_purpose = !party.scheduled && Share::of(party.share).is_all();
    let result = failure::catch(|| {
        let origin = origin::find(job, &standing, &connection, on_purpose);
        let first = failure::catch(|| fetch(job, run, definition, &fingerprint, &mut load, figures));
        let resumed = load.as_ref().is_some_and(|load| load.resumed);
        let read = match first {
            Ok(fetched) => Some((ground(&connection, &fetched.bound, &fetched.staging), fetched)),
            Err(failure) if resumed && failure.is_refused_aql() => None,
            Err(failure) => failure.raise(None),
        };
        // Where the service takes no ranges of ids, the rest cannot be asked for, and where it cannot say what
        // changed since the first pages were brought, they are of no use: all is read anew.
        let usable = read.filter(|(manner, _)| !resumed || manner.is_ok());
        let (manner, fetched) = usable.unwrap_or_else(|| {
            transaction(|| load::close(job.target));
            *figures = Figures::default();
            let definition = transaction(|| source::define(job));
            let fetched = fetch(job, run, definition, &fingerprint, &mut load, figures);
            (ground(&connection, &fetched.bound, &fetched.staging), fetched)
        });
        let began = load.as_ref().map_or_else(clock::now, |load| load.since.here);
        (Ground { schema: fetched.bound.schema_id, manner, origin, began }, fetched)
    });
    figures.fetch_seconds = began.elapsed().as_secs_f64();
    figures.requests = requests(&connection);
    let (ground, fetched) = result.unwrap_or_else(|failure| {
        broken_off(job, load.as_mut(), &failure);
        failure.raise(None)
    });
    let Some(load) = load else { return };
    let whole = Whole {
        ids: fetched.ids,
        load,
        ground,
        fingerprint,
        // Before others of the group bring along what they know.
        memory: connection.client.memory(),
        again: false,
        first: standing.since.is_none(),
        resumed: fetched.resumed,
        answers: fetched.answers,
    };
    let another_account = !on_purpose && origin::is_another_account(&standing, &whole.ground.origin);
    let mut member = Member::new(job.clone(), Some(run.clone()), party.share, standing, fetched.bound);
    member.take_whole(fetched.staging, whole);
    member.figures = *figures;
    member.another_account = another_account;
    incremental::finish(party, member, connection, began);
}

/// What was brought is kept where the run was stopped from outside or the service failed. Where the
/// objects themselves were the reason, they have to be read anew.
pub fn broken_off(job: &Job, load: Option<&mut Load>, failure: &Failure) {
    let kept = failure::catch(|| {
        transaction(|| match load {
            Some(load) if failure.is_interruption() || failure.is_of_service() => load.flush(),
            _ => load::close(job.target),
        });
    });
    if let Err(failure) = kept {
        failure.log(&format!("what was brought for {} could not be kept", job.name));
    }
}

/// Requests that the process has sent, retries included.
pub fn requests(connection: &Connection) -> i64 {
    i64::try_from(connection.client.stats().requests.load(Ordering::Relaxed)).unwrap_or(i64::MAX)
}

/// How changes can be asked for from now on.
fn ground(connection: &Connection, bound: &Bound, staging: &Staging) -> Result<delta::since::Manner, String> {
    let (client, schema) = (connection.client.clone(), bound.schema_id);
    let Some(witness) = staging.witness().or_else(|| any_witness(&client, schema)) else {
        return Err("no object is known by which it could be found out how to ask for changes".to_owned());
    };
    let stamps = transaction(|| connection.facts().has(aql::facts::STAMP));
    error::or_raise(runtime::wait(proof::manner(client, schema, witness, stamps, clock::now())))
}

/// Some object of the schema: a source without objects is asked for changes like any other.
fn any_witness(client: &Arc<Client>, schema: i64) -> Option<Witness> {
    let spec = ScanSpec {
        filter: format!("objectSchemaId = {schema}"),
        columns: Arc::from([refresh::UPDATED]),
        limit: Some(1),
        most: None,
        expected: None,
    };
    let mut pages = PageStream::start(client.clone(), spec, Arc::new(ScanStats::default()));
    let page = error::or_raise(pages.next())?;
    page.rows.iter().find_map(|row| match row.values.first() {
        Some(Value::Timestamp(updated)) => Some(Witness { id: row.id, updated: *updated }),
        _ => None,
    })
}

/// Everything the service returned.
struct Fetched {
    staging: Staging,
    bound: Bound,
    /// The objects that there are.
    ids: HashSet<i64>,
    /// Some of it was brought by a run before this one.
    resumed: bool,
    /// How many pages this run has read.
    answers: usize,
}

/// A full comparison under way.
struct Fetch<'a> {
    job: &'a Job,
    run: &'a Run,
    client: Arc<Client>,
    bound: Bound,
    staging: Staging,
    total: Option<i64>,
    noted: Instant,
    answers: usize,
}

/// Brings every object into a staging table; none is missing, or an ERROR is raised. What was brought is
/// kept in `load`, for another run if this one does not come to its end.
fn fetch(
    job: &Job,
    run: &Run,
    definition: Definition,
    fingerprint: &str,
    keep: &mut Option<Load>,
    figures: &mut Figures,
) -> Fetched {
    let client = definition.connection.client.clone();
    let mut bound = definition.bind(job);
    let now = Moment { here: clock::now(), there: client.service_time() };
    // An estimate for the progress view; the first load has nothing to go by and asks once.
    let known = transaction(|| {
        as_extension(|| {
            let sql = "SELECT rows FROM assets_fdw.replica_state WHERE target = $1";
            query_one(sql, &[job.target.into()], |row| row.get::<i64>(1)).flatten()
        })
    });
    let load = keep.insert(transaction(|| Load::open(job.target, fingerprint, now)));
    let resumed = load.resumed;
    let count = if known.is_none() || resumed { count(&client, &bound.filter) } else { None };
    let total = count.and_then(|count| i64::try_from(count).ok()).or(known);
    let outputs = std::mem::take(&mut bound.outputs);
    let staging = transaction(|| {
        history::progress(job.target, run, "fetching", 0, total);
        Staging::create(&bound.columns, outputs)
    });
    let mut fetch = Fetch { job, run, client, bound, staging, total, noted: Instant::now(), answers: 0 };
    let ids = match count.filter(|_| resumed) {
        Some(count) => fetch.rest(load, count, figures),
        None => {
            let filter = fetch.bound.filter.clone();
            fetch.read(load, filter, &HashSet::new(), figures)
        }
    };
    figures.seen = ids.len() as i64;
    Fetched { staging: fetch.staging, bound: fetch.bound, ids, resumed, answers: fetch.answers }
}

fn count(client: &Arc<Client>, filter: &str) -> Option<u64> {
    let (client, filter) = (client.clone(), filter.to_owned());
    runtime::wait(async move { client.total_count(&filter).await }).ok()
}

impl Fetch<'_> {
    /// Reads all that matches; what is in `known` is there already. Gives every id that matched.
    fn read(
        &mut self,
        load: &mut Load,
        filter: String,
        known: &HashSet<i64>,
        figures: &mut Figures,
    ) -> HashSet<i64> {
        let mut columns = self.bound.specs.clone();
        columns.push(refresh::UPDATED);
        let spec = ScanSpec { filter, columns: columns.into(), limit: None, most: None, expected: None };
        let mut pages = PageStream::start(self.client.clone(), spec, Arc::new(ScanStats::default()));
        let mut ids = HashSet::new();
        while let Some(page) = error::or_raise(pages.next()) {
            self.answers += 1;
            ids.extend(page.rows.iter().map(|row| row.id));
            let mut rows = page.rows;
            rows.retain(|row| !known.contains(&row.id));
            transaction(|| {
                self.staging.add(&rows);
                load.add(&rows);
                figures.seen += rows.len() as i64;
                if self.noted.elapsed() >= PROGRESS_EVERY {
                    self.noted = Instant::now();
                    // Also stops a run whose job, or whose extension, is gone.
                    jobs::still_there(self.job);
                    history::progress(self.job.target, self.run, "fetching", figures.seen, self.total);
                }
            });
        }
        ids
    }

    /// Takes over what a run before this one has brought, and brings the rest of the `count` objects that
    /// there are. Gives the ids of all.
    fn rest(&mut self, load: &mut Load, count: u64, figures: &mut Figures) -> HashSet<i64> {
        let mut held = HashSet::new();
        for n in 0..load.pages() {
            transaction(|| {
                let mut rows = load.page(n).unwrap_or_default();
                rows.retain(|row| held.insert(row.id));
                self.staging.add(&rows);
                figures.seen += rows.len() as i64;
            });
        }
        transaction(|| history::resumed(self.job.target, self.run, figures.seen));
        let mut search = Search::new(Purpose::Rest, held.iter().copied(), count, PAGE);
        let filter = format!("({})", self.bound.filter);
        while let Some(ask) = search.ask() {
            match ask {
                Ask::Count(range) => {
                    let (client, filter) = (self.client.clone(), format!("{filter}{}", range.and()));
                    let counted = runtime::wait(async move { client.total_count(&filter).await });
                    search.counted(error::or_raise(counted));
                }
                Ask::List(range) => {
                    let ids = self.read(load, format!("{filter}{}", range.and()), &held, figures);
                    search.listed(&ids);
                    held.extend(ids);
                }
            }
        }
        self.staging.hide(search.gone());
        for id in search.gone() {
            held.remove(id);
        }
        held
    }
}
