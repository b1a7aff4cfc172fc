//! The groups of a column with the number of rows in each, as one `totalcount` request a group.
//!
//! Only where they add up to all objects (`aql::groups`). Otherwise, and where the service refuses something of it or
//! does not count for us, the rows are read and grouped here.
#![allow(unsafe_code)] // the executor's nodes and slots

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aql::Literal;
use aql::groups::{Counted, Groups as Known};
use assets::client::Client;
use assets::error::{Error, Kind};
use assets::stats::ScanStats;
use assets::together::Requests;
use pgrx::{PgMemoryContexts, pg_sys};
use tokio::task::JoinSet;

use crate::fdw::local::Local;
use crate::fdw::question::{MAX_QUERY_BYTES, with_base};
use crate::fdw::scan::Scan;
use crate::fdw::{datum, grouped, pg};
use crate::{error, gucs, runtime};

/// The state of such a node.
pub struct Groups {
    /// For reading the rows where the service cannot be asked; it holds the question.
    pub scan: Scan,
    local: Local,
    relation: pg_sys::Oid,
    /// The column, and its type.
    attnum: i16,
    column_type: pg_sys::Oid,
    /// The groups, once they are counted: their values as datums that live as long as the query.
    found: Option<Vec<(Option<pg_sys::Datum>, i64)>>,
    given: usize,
    /// Why the rows were read.
    pub read: Option<String>,
}

/// A value of the column, as PostgreSQL's own equality tells values apart: that of booleans, and of text under a
/// deterministic collation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Value {
    None,
    Bool(bool),
    Text(String),
}

impl Value {
    fn new(literal: &Literal) -> Self {
        match literal {
            Literal::Bool(value) => Value::Bool(*value),
            Literal::Text(text) => Value::Text(text.clone()),
            _ => Value::None,
        }
    }
}

/// What came of counting.
enum Answer {
    Counted(Counted),
    /// There are so few objects that reading them takes fewer requests.
    Few,
    /// What the conditions rest on has changed.
    Outdated,
    /// The conditions of the query itself are refused.
    Refused,
}

impl Groups {
    /// The groups by a column over `scan`, whose rows are checked with `local` where they have to be read.
    pub fn new(mut scan: Scan, local: Local, relation: pg_sys::Oid, attnum: i16) -> Self {
        // The conditions name the column's attribute.
        scan.sort_by(attnum);
        // SAFETY: a catalogue look-up inside a transaction.
        let column_type = unsafe { pg_sys::get_atttype(relation, attnum) };
        Self { scan, local, relation, attnum, column_type, found: None, given: 0, read: None }
    }

    /// The groups that would be asked for, or why none are.
    pub fn known(&self) -> Result<Known, String> {
        let connection = &self.scan.question.connection;
        if !gucs::ENABLE_GROUP_COUNTS.get() {
            return Err("assets_fdw.enable_group_counts is off".to_owned());
        }
        if connection.refused.borrow().contains(&grouped::mark(self.relation, self.attnum)) {
            return Err("they were found not to be all, or are refused".to_owned());
        }
        if connection.client.counts_refused() {
            return Err("the service does not count for this credential".to_owned());
        }
        grouped::known(&self.scan.resolved, self.attnum, &connection.client)
    }

    /// Fills the empty slot with the next group: its value, then its count in every further column. Leaves it empty
    /// after the last.
    ///
    /// # Safety
    /// `node` is the executor's, the one that this was made for, and `slot` its scan slot.
    pub unsafe fn fill(&mut self, node: *mut pg_sys::ForeignScanState, slot: *mut pg_sys::TupleTableSlot) {
        if self.found.is_none() {
            // SAFETY: the caller's promise.
            self.found = Some(unsafe { self.count(node) });
        }
        let Some((value, count)) = self.found.as_ref().and_then(|found| found.get(self.given)) else {
            return;
        };
        self.given += 1;
        // SAFETY: the caller's promise: a virtual slot of the column and of `bigint`s, of which there may be none.
        unsafe {
            pg::store_in_all(slot, *count);
            *(*slot).tts_values = value.unwrap_or(pg_sys::Datum::null());
            *(*slot).tts_isnull = value.is_none();
        }
    }

    unsafe fn count(&mut self, node: *mut pg_sys::ForeignScanState) -> Vec<(Option<pg_sys::Datum>, i64)> {
        // SAFETY: the caller's promise.
        let groups = match unsafe { self.ask(node) } {
            Ok(groups) => groups,
            Err(why) => {
                self.read = Some(why);
                // SAFETY: the caller's promise.
                unsafe { self.group(node) }
            }
        };
        // SAFETY: the query's own memory.
        let mut lasting = unsafe { PgMemoryContexts::For((*(*node).ss.ps.state).es_query_cxt) };
        let datum = |value: Value| match value {
            Value::None => None,
            Value::Bool(value) => Some(value.into()),
            Value::Text(text) => Some(pg::text_datum(&text)),
        };
        // SAFETY: allocates only.
        unsafe {
            lasting.switch_to(|_| groups.into_iter().map(|(value, count)| (datum(value), count)).collect())
        }
    }

    /// Asks for the groups' numbers; why not, where they have to be found here.
    unsafe fn ask(&mut self, node: *mut pg_sys::ForeignScanState) -> Result<Vec<(Value, i64)>, String> {
        // SAFETY: the caller's promise; nothing has been given.
        let asked = unsafe {
            self.learn(node);
            self.scan.exact(node)
        };
        let base = match asked {
            Some(None) => return Ok(Vec::new()),
            Some(Some(base)) => base,
            None => return Err("a condition is not exact with these values".to_owned()),
        };
        let known = self.known()?;
        let client = self.scan.question.connection.client.clone();
        let shared = known.shared.clone().map(|shared| with_base(&base, vec![shared]));
        if shared.as_ref().is_some_and(|text| text.len() > MAX_QUERY_BYTES + base.len()) {
            return Err("they are too many".to_owned());
        }
        let (unsure, stats) = (self.scan.unsure(), self.scan.stats.clone());
        let asking = Asking {
            client: client.clone(),
            conditions: known
                .each
                .iter()
                .map(|(_, condition)| condition)
                .chain(&known.none)
                .map(|condition| with_base(&base, vec![condition.clone()]))
                .collect(),
            shared,
            base,
            requests: Requests::new(client.config().max_in_flight),
            stats,
        };
        let answer: Result<Answer, Error> = runtime::wait(async move {
            let answer = asking.ask().await?;
            // No page proves a count: what the conditions rest on is made sure of.
            match unsure {
                Some(expected) if !client.still(&expected).await? => Ok(Answer::Outdated),
                _ => Ok(answer),
            }
        });
        let counted = match answer {
            Ok(Answer::Counted(counted)) => counted,
            Ok(Answer::Few) => return Err("that takes fewer requests".to_owned()),
            Ok(Answer::Outdated) => {
                // SAFETY: the caller's promise; nothing has been given.
                unsafe { self.scan.renew(node, false) };
                return Err("its attribute has changed".to_owned());
            }
            // Whether it is the condition that is refused, and which, is found by reading.
            Ok(Answer::Refused) => return Err("the service refused to count by the condition".to_owned()),
            Err(e) if e.kind() == Kind::AqlRejected => {
                self.note();
                return Err("the service refuses to select a group".to_owned());
            }
            Err(e) if e.kind().refuses_counts() || e.kind() == Kind::Protocol || e.is_doubtful() => {
                return Err(format!("the service would not count: {e}"));
            }
            Err(e) => error::service(&e),
        };
        self.scan.sure();
        if !counted.is_whole() {
            if counted.is_unrest() {
                return Err("objects came or went while they were counted".to_owned());
            }
            self.note();
            return Err("an object is in none of the known groups, or in two".to_owned());
        }
        let values = known.each.iter().map(|(value, _)| Value::new(value)).chain([Value::None]);
        let mut groups: Vec<(Value, i64)> = Vec::new();
        for (value, count) in values.zip(counted.groups).filter(|(_, count)| *count > 0) {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            // Several types may have one name.
            match groups.iter_mut().find(|(known, _)| *known == value) {
                Some((_, sum)) => *sum = sum.saturating_add(count),
                None => groups.push((value, count)),
            }
        }
        Ok(groups)
    }

    /// Has what the groups are called known as of this statement, where no count would show that it has changed.
    unsafe fn learn(&mut self, node: *mut pg_sys::ForeignScanState) {
        let column = self.scan.resolved.columns.get(&self.attnum);
        let subject = column.and_then(|column| column.subject.as_ref());
        if let Some(aql::Column::ObjectType { are_all: false, .. }) = subject.map(|subject| &subject.column) {
            // SAFETY: the caller's promise; nothing has been given.
            unsafe { self.scan.renew(node, true) };
        }
        let (client, resolved) = (self.scan.question.connection.client.clone(), self.scan.resolved.clone());
        let attnum = self.attnum;
        // What is not told is found to be unknown.
        let _ = runtime::wait(async move { grouped::learn(&client, &resolved, attnum).await });
    }

    /// These groups are not asked for again in this session.
    fn note(&self) {
        let connection = &self.scan.question.connection;
        connection.refused.borrow_mut().insert(grouped::mark(self.relation, self.attnum));
    }

    /// Reads the rows and groups those that satisfy every clause.
    unsafe fn group(&mut self, node: *mut pg_sys::ForeignScanState) -> Vec<(Value, i64)> {
        let mut groups: HashMap<Value, i64> = HashMap::new();
        let (n, column_type) = (self.attnum as usize - 1, self.column_type);
        let mut take = |_: &_, slot: *mut pg_sys::TupleTableSlot| {
            // SAFETY: the slot holds a row of the table, all of its columns.
            let value = unsafe {
                (!*(*slot).tts_isnull.add(n)).then(|| datum::literal(*(*slot).tts_values.add(n), column_type))
            };
            let value = value.flatten().map_or(Value::None, |literal| Value::new(&literal));
            *groups.entry(value).or_default() += 1;
        };
        // SAFETY: the caller's node.
        while unsafe { self.local.next(&mut self.scan, node, &mut take) }.is_some() {}
        groups.into_iter().collect()
    }

    /// To be given again. `same` says that every parameter has the value that it had.
    pub fn again(&mut self, same: bool) {
        self.given = 0;
        if !same {
            self.scan.restart();
            self.found = None;
        }
    }
}

/// What is asked for on the network's thread.
struct Asking {
    client: Arc<Client>,
    base: String,
    /// One a group.
    conditions: Vec<String>,
    /// The objects in two groups.
    shared: Option<String>,
    /// How many may be under way at once.
    requests: Requests,
    stats: Arc<ScanStats>,
}

impl Asking {
    async fn ask(self) -> Result<Answer, Error> {
        let before = match self.count(&self.base).await {
            Ok(count) => count,
            Err(e) if e.kind() == Kind::AqlRejected => return Ok(Answer::Refused),
            Err(e) => return Err(e),
        };
        let left = self.conditions.len() as u64 + u64::from(self.shared.is_some()) + 1;
        if before.div_ceil(self.client.objects_a_request().max(1) as u64) <= left {
            return Ok(Answer::Few);
        }
        let groups = self.each().await?;
        let shared = async {
            match &self.shared {
                Some(shared) => self.count(shared).await,
                None => Ok(0),
            }
        };
        let (shared, after) = tokio::join!(shared, self.count(&self.base));
        Ok(Answer::Counted(Counted { before, groups, shared: shared?, after: after? }))
    }

    async fn count(&self, text: &str) -> Result<u64, Error> {
        let _one = self.requests.one().await;
        self.stats.requests.fetch_add(1, Ordering::Relaxed);
        self.client.total_count(text).await
    }

    /// The number of each group.
    async fn each(&self) -> Result<Vec<u64>, Error> {
        let mut counts = vec![0; self.conditions.len()];
        let mut under_way = JoinSet::new();
        for (n, text) in self.conditions.iter().cloned().enumerate() {
            let (client, requests, stats) = (self.client.clone(), self.requests.clone(), self.stats.clone());
            under_way.spawn(async move {
                let _one = requests.one().await;
                stats.requests.fetch_add(1, Ordering::Relaxed);
                (n, client.total_count(&text).await)
            });
        }
        while let Some(joined) = under_way.join_next().await {
            let gone = |_| Error::new(Kind::Protocol, "a group could not be counted");
            let (n, count) = joined.map_err(gone)?;
            counts[n] = count?;
        }
        Ok(counts)
    }
}
