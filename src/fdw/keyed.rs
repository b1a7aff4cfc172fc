//! Look-ups by key, many together: what a scan knows of the keys that it was and will be asked for.
//!
//! A *batch* is this key and those that were read ahead, asked for together by [`aql::batch`]; its rows are kept by the
//! value of the column that the key is compared with. They are candidates: PostgreSQL's own clauses decide,
//! with the parameters of the one outer row. Whatever is odd about a key is asked for alone, as ever.
//!
//! Where no outer row can be read ahead (a sub-select's), a scan that has asked more often than its table has pages reads
//! once what its other clauses select, and answers from there.
#![allow(unsafe_code)] // the executor's nodes and slots

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use ::ahead::{Ahead, Counts, Limits, Whole};
use aql::Literal;
use aql::batch::{self, Canon};
use pgrx::{PgMemoryContexts, pg_sys};

use crate::fdw::ahead::node as read_ahead;
use crate::fdw::private::Lookups;
use crate::fdw::question::{Question, Together};
use crate::fdw::scan::Scan;
use crate::fdw::stored::Stored;
use crate::fdw::{compared, datum, pg};
use crate::gucs;

/// What a row is taken for before any has come, in bytes.
pub const ROW_BYTES: f64 = 500.0;
/// So many keys are asked for in one request, of a column whose values several objects may share; what does not fit
/// one query is cut.
const SHARED_KEYS: usize = 300;

/// A key: what all operands are, those that change from one outer row to the next, in canonical form.
#[derive(Clone)]
struct Key {
    canon: Vec<Canon>,
    values: Rc<[Literal]>,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.canon == other.canon
    }
}

impl Eq for Key {}

impl std::hash::Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.canon.hash(state);
    }
}

impl Key {
    /// What it takes, about: it is in a map, in a batch, and in canonical form.
    fn bytes(&self) -> usize {
        let text = |value: &Literal| if let Literal::Text(text) = value { text.len() } else { 0 };
        200 + self.values.iter().map(|value| 64 + 2 * text(value)).sum::<usize>()
    }
}

/// Rows that came together.
pub struct Batch {
    rows: Vec<Stored>,
    by: HashMap<Canon, Vec<u32>>,
}

/// The rows that may belong to one key.
pub struct Candidates {
    batch: Rc<Batch>,
    of: Of,
    next: usize,
}

/// Which rows of a batch.
enum Of {
    /// None.
    Nothing,
    /// All.
    Everything,
    /// Those with this value.
    Value(Canon),
}

impl Candidates {
    /// The next one.
    pub fn next(&mut self) -> Option<&Stored> {
        let place = match &self.of {
            Of::Nothing => return None,
            Of::Everything => self.next,
            Of::Value(canon) => *self.batch.by.get(canon)?.get(self.next)? as usize,
        };
        self.next += 1;
        self.batch.rows.get(place)
    }
}

/// The look-ups of one plan node.
pub struct Keyed {
    /// Asks for many keys.
    scan: Scan,
    slot: *mut pg_sys::TupleTableSlot,
    /// Which operands change from one look-up to the next.
    varying: Rc<[bool]>,
    /// The equality among them by which rows are told apart; none: everything is read once, or nothing is kept.
    key: Option<batch::Key>,
    attnum: i16,
    /// That column's name and type.
    column: String,
    type_oid: pg_sys::Oid,
    /// Whether outer rows are read ahead for it.
    is_fed: bool,
    most: usize,
    ahead: Ahead<Key, Rc<Batch>>,
    /// The other operands' values, on which everything that is kept rests.
    fixed: Vec<Literal>,
    whole: Option<Rc<Batch>>,
    nothing: Rc<Batch>,
    /// Objects that the other clauses select, where that is known.
    rows: Option<f64>,
    rule: Whole,
    /// Requests that the rule knows of.
    told: u64,
}

impl Keyed {
    /// Memory for rows that are kept or wait, in bytes.
    pub fn budget() -> usize {
        // SAFETY: settings of PostgreSQL's.
        unsafe { pg_sys::get_hash_memory_limit() }
    }

    /// The part of it that is for rows that came.
    pub fn kept() -> usize {
        Self::budget() / 4 * 3
    }

    /// The look-ups of `node`, whose clauses `question` has; none where nothing that goes out changes from one execution
    /// to the next. `scan` asks for the same.
    ///
    /// # Safety
    /// `node` is the executor's, while it begins; `relation` the scanned table.
    pub unsafe fn new(
        node: *mut pg_sys::ForeignScanState,
        relation: pg_sys::Oid,
        question: &Question,
        lookups: &Lookups,
        scan: impl FnOnce() -> Scan,
    ) -> Option<Self> {
        let size = gucs::JOIN_BATCH_SIZE.get();
        if !gucs::ENABLE_BATCHED_JOINS.get() || size == 1 {
            return None;
        }
        // SAFETY: the caller's promise; the slot lives as long as the query.
        unsafe {
            let mut feeding = read_ahead::feeding(node);
            let varying = question.varying(feeding.as_deref().map(|ahead| ahead.numbers()).as_deref());
            if !varying.contains(&true) {
                return None;
            }
            let key = question.key(&varying);
            let attnum = key.as_ref().map_or(0, |key| question.attnum(key.operand));
            let is_fed = feeding.is_some()
                && question.can_be_early(&varying)
                && key.as_ref().is_some_and(|key| question.can_list(key));
            if let (true, Some(ahead)) = (is_fed, &mut feeding) {
                ahead.feeds(node);
            }
            let client = &question.connection.client;
            let in_flight = client.config().max_in_flight.max(1) as usize;
            let budget = Self::kept();
            let a_request = match usize::try_from(size) {
                Ok(size) if size > 0 => size,
                _ if key.as_ref().is_some_and(|key| key.unique) => client.objects_a_request(),
                _ => SHARED_KEYS,
            };
            let fit = (budget as f64 / 2.0 / (lookups.rows.max(1.0) * ROW_BYTES)) as usize;
            let most = (a_request * in_flight).min(fit.max(1));
            let private = (*(*node).ss.ps.plan.cast::<pg_sys::ForeignScan>()).fdw_private;
            let stop = crate::fdw::ahead::numbers_in(private).get(1).copied();
            let first =
                stop.or(lookups.paced.then_some(1)).map_or(most, |rows| rows.min(a_request).min(most));
            let scan = scan();
            let slot = PgMemoryContexts::For((*(*node).ss.ps.state).es_query_cxt).switch_to(|_| {
                let relation = pgrx::PgRelation::open(relation);
                let shape = pg_sys::CreateTupleDescCopy((*relation.as_ptr()).rd_att);
                pg_sys::MakeSingleTupleTableSlot(shape, &raw const pg_sys::TTSOpsVirtual)
            });
            let (column, type_oid) = match attnum {
                0 => (String::new(), pg_sys::InvalidOid),
                _ => (
                    pg::text(pg_sys::get_attname(relation, attnum, false)),
                    pg_sys::get_atttype(relation, attnum),
                ),
            };
            Some(Self {
                scan,
                slot,
                varying: varying.into(),
                key,
                attnum,
                column,
                type_oid,
                is_fed,
                most,
                ahead: Ahead::new(Limits { first, most, budget }),
                fixed: Vec::new(),
                whole: None,
                nothing: Rc::new(Batch { rows: Vec::new(), by: HashMap::new() }),
                rows: lookups.whole,
                rule: Whole::default(),
                told: 0,
            })
        }
    }

    /// How many new keys can be asked for together.
    pub fn wanted(&self) -> usize {
        self.ahead.wanted()
    }

    /// Whether so many are known.
    pub fn has_enough(&self) -> bool {
        self.whole.is_some() || self.ahead.wanted() == 0
    }

    /// A row has been read ahead: its key is one of those that will be asked for.
    ///
    /// # Safety
    /// `node` is the one that this was made for, with that row's parameters set.
    pub unsafe fn offer(&mut self, node: *mut pg_sys::ForeignScanState) {
        // SAFETY: the caller's promise.
        let values = unsafe { self.scan.question.evaluate(node) };
        if let Some(key) = values.and_then(|values| self.known(&values)) {
            self.ahead.offer(key);
        }
    }

    /// The outer side begins again: its rows are not what was read ahead.
    pub fn outer_begins_again(&mut self) {
        self.ahead.drop_pending();
    }

    /// The key of these values. None where one of them has no canonical form. Forgets everything where the others are not
    /// what they were.
    fn known(&mut self, values: &[Literal]) -> Option<Key> {
        let fixed = values.iter().zip(self.varying.iter()).filter(|(_, varies)| !**varies);
        // NaN is what it was.
        let same = |(value, _): (&Literal, _), kept: &Literal| {
            value == kept
                || matches!((value, kept), (Literal::Double(a), Literal::Double(b)) if a.is_nan() && b.is_nan())
        };
        let unchanged = fixed.clone().count() == self.fixed.len()
            && fixed.clone().zip(&self.fixed).all(|(value, kept)| same(value, kept));
        if !unchanged {
            self.fixed = fixed.map(|(value, _)| value.clone()).collect();
            self.ahead.clear();
            self.whole = None;
            self.rule.began();
        }
        let changing = values.iter().enumerate().filter(|(n, _)| self.varying[*n]);
        let canon = changing.map(|(n, value)| batch::canonical(self.scan.question.class(n), value));
        let canon = canon.collect::<Option<Vec<_>>>()?;
        self.key.as_ref()?;
        Some(Key { canon, values: values.into() })
    }

    /// Looks the key of the moment up. None: it is to be asked for alone.
    ///
    /// # Safety
    /// `node` is the one that this was made for, in the memory of its row.
    pub unsafe fn look(&mut self, node: *mut pg_sys::ForeignScanState) -> Option<Candidates> {
        // SAFETY: the caller's promise.
        unsafe {
            if !gucs::ENABLE_PUSHDOWN.get() {
                return None;
            }
            let values = self.scan.question.evaluate(node)?;
            // NULL equals nothing.
            let operand = self.key.as_ref().map(|key| key.operand);
            if operand.is_some_and(|operand| values.get(operand) == Some(&Literal::Null)) {
                return Some(Candidates { batch: self.nothing.clone(), of: Of::Nothing, next: 0 });
            }
            let key = self.known(&values);
            if let Some(whole) = &self.whole {
                return Some(self.candidates(whole.clone(), key.as_ref()));
            }
            if let Some(key) = &key
                && let Some(batch) = self.ahead.find(key).cloned()
            {
                return Some(self.candidates(batch, Some(key)));
            }
            let asks = match &self.key {
                Some(key) => self.scan.question.asks_by(key, &self.varying, &values),
                None => true,
            };
            if self.reads_whole(asks) {
                self.rule.began();
                match self.gather(node, None) {
                    Some((batch, _)) => {
                        self.whole = Some(batch.clone());
                        return Some(self.candidates(batch, key.as_ref()));
                    }
                    None => self.rule.did_not_fit(),
                }
            }
            let (Some(key), Some(by)) = (key, self.key.clone()) else {
                self.ahead.without_key();
                return None;
            };
            loop {
                let mut keys = self.ahead.batch(&key);
                let each = loop {
                    let each: Vec<Vec<Literal>> = keys.iter().map(|key| key.values.to_vec()).collect();
                    if keys.len() < 2 || self.scan.question.lists(&by, &self.varying, &each) {
                        break each;
                    }
                    // One odd value among them makes a range of the list, or nothing that can be said.
                    self.ahead.put_back(keys.split_off(keys.len() / 2));
                };
                if keys.len() < 2 {
                    self.ahead.alone(&key);
                    return None;
                }
                match self.gather(node, Some(each)) {
                    Some((batch, bytes)) => {
                        // Keys that find nothing are remembered as well.
                        let bytes = bytes + keys.iter().map(Key::bytes).sum::<usize>();
                        let _ = self.ahead.arrived(keys, batch.clone(), bytes);
                        return Some(self.candidates(batch, Some(&key)));
                    }
                    None => {
                        let _ = self.ahead.too_much(keys);
                    }
                }
            }
        }
    }

    /// Whether it has asked so often that reading everything once costs no more. Where no condition on the key goes
    /// out, each look-up reads everything.
    fn reads_whole(&mut self, asks: bool) -> bool {
        let asked = self.scan.stats.requests.load(Ordering::Relaxed);
        self.rule.took(asked - std::mem::replace(&mut self.told, asked));
        let Some(rows) = self.rows else { return false };
        let pages = (rows / self.scan.question.connection.client.objects_a_request() as f64).ceil() as u64;
        let pages = if asks { pages } else { 0 };
        self.rule.is_due(pages, (rows * ROW_BYTES) as u64, Self::kept() as u64)
    }

    /// The rows that may belong to a key; any may, where it has no canonical form.
    fn candidates(&self, batch: Rc<Batch>, key: Option<&Key>) -> Candidates {
        let operand = self.key.as_ref().map_or(0, |key| key.operand);
        let place = self.varying.iter().take(operand).filter(|varies| **varies).count();
        let canon = key.and_then(|key| key.canon.get(place));
        Candidates { batch, of: canon.map_or(Of::Everything, |canon| Of::Value(canon.clone())), next: 0 }
    }

    /// Asks for many keys, or for what the other clauses select. None where that is more than may be kept, or where a row
    /// among them cannot be read: nobody may want it, and whoever does is told when it asks.
    unsafe fn gather(
        &mut self,
        node: *mut pg_sys::ForeignScanState,
        each: Option<Vec<Vec<Literal>>>,
    ) -> Option<(Rc<Batch>, usize)> {
        let room = Self::kept();
        self.scan.question.together = Some(Together { varying: self.varying.clone(), each });
        self.scan.restart();
        self.scan.wants_all();
        let (mut batch, mut bytes) = (Batch { rows: Vec::new(), by: HashMap::new() }, 0);
        // SAFETY: the caller's node and its own expression context; the slot is of the table's columns.
        unsafe {
            let memory = (*(*node).ss.ps.ps_ExprContext).ecxt_per_tuple_memory;
            while let Some(row) = self.scan.next(node) {
                pg_sys::MemoryContextReset(memory);
                let fits = PgMemoryContexts::For(memory).switch_to(|_| {
                    pg::clear_slot(self.slot);
                    if !self.scan.store_if_it_fits(&row, self.slot) {
                        return false;
                    }
                    let stored = Stored::of(self.slot);
                    bytes += stored.bytes() + 24;
                    let place = batch.rows.len() as u32;
                    for canon in self.values() {
                        let places = batch.by.entry(canon).or_default();
                        if places.last() != Some(&place) {
                            places.push(place);
                            bytes += 32;
                        }
                    }
                    batch.rows.push(stored);
                    true
                });
                if !fits || bytes > room {
                    self.scan.restart();
                    return None;
                }
            }
            pg::clear_slot(self.slot);
        }
        Some((Rc::new(batch), bytes))
    }

    /// What the row in the slot has where keys are compared, in canonical form.
    unsafe fn values(&self) -> Vec<Canon> {
        // SAFETY: the slot holds a row of the table.
        unsafe {
            let Some(key) = &self.key else { return Vec::new() };
            let n = self.attnum as usize - 1;
            if *(*self.slot).tts_isnull.add(n) {
                return Vec::new();
            }
            let value = *(*self.slot).tts_values.add(n);
            let type_oid = self.type_oid;
            let class = key.class;
            let canonical = |value, of| batch::canonical(class, &compared::literal(class, value, of)?);
            match datum::items(value, type_oid).filter(|_| key.multi) {
                Some((element, items)) => {
                    items.into_iter().flatten().filter_map(|item| canonical(item, element)).collect()
                }
                None => canonical(value, type_oid).into_iter().collect(),
            }
        }
    }

    /// What EXPLAIN tells: batches, keys in them, keys found again, and batches given up.
    pub fn counts(&self) -> Counts {
        self.ahead.counts()
    }

    /// The column that keys are compared with.
    pub fn column(&self) -> String {
        self.column.clone()
    }

    /// Keys that are asked for together at most.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Whether everything was read once.
    pub fn was_read_whole(&self) -> bool {
        self.whole.is_some()
    }

    /// Whether rows are read ahead for it.
    pub fn is_fed(&self) -> bool {
        self.is_fed
    }

    /// The end of the query.
    pub fn end(&mut self) {
        self.scan.end();
    }
}
