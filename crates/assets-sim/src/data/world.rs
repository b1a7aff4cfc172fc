//! All data of a running simulator: generated objects under a layer of changes, twice.
//!
//! The `live` layer is what reads by id see; the `index` layer is what AQL sees, which may lag behind.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::catalog::Catalog;
use super::company;
use super::generator::Generator;
use super::model::Object;
use super::view::{References, View, Visibility};
use crate::clock;

/// Changed and created objects, and deleted ones as `None`.
#[derive(Debug, Default)]
pub struct Layer {
    pub(crate) changed: HashMap<u64, Option<Arc<Object>>>,
    pub(crate) extra: HashMap<u32, BTreeSet<u64>>,
    pub(crate) covered: HashMap<u32, u64>,
    /// Grows with every change.
    pub version: u64,
}

impl Layer {
    fn set(&mut self, id: u64, object: Option<Arc<Object>>, generated_as: Option<u32>) {
        self.version += 1;
        let type_id = object.as_ref().map(|o| o.type_id);
        match self.changed.insert(id, object) {
            Some(Some(old)) => {
                self.extra.entry(old.type_id).or_default().remove(&id);
            }
            Some(None) => {}
            None => {
                if let Some(t) = generated_as {
                    *self.covered.entry(t).or_default() += 1;
                }
            }
        }
        if let Some(t) = type_id {
            self.extra.entry(t).or_default().insert(id);
        }
    }
}

/// An entry of an object's history.
#[derive(Clone, Debug)]
pub struct History {
    /// Its id.
    pub id: u64,
    /// Epoch ms.
    pub created: i64,
    /// Index into the catalog's users.
    pub actor: usize,
    /// The changed attribute's name; `None` is the creation.
    pub attribute: Option<String>,
    /// The value before, as shown.
    pub old: String,
    /// The value after, as shown.
    pub new: String,
}

/// How late AQL sees a write.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lag {
    /// Not before so much time has passed.
    pub time: Duration,
    /// Not before so many searches have been answered.
    pub searches: u32,
}

#[derive(Debug)]
struct Pending {
    due: Instant,
    searches: u32,
    id: u64,
    object: Option<Arc<Object>>,
}

/// The data of a simulator.
#[derive(Debug)]
pub struct World {
    /// Where unchanged objects come from.
    pub generator: Generator,
    /// Schemas, types, attributes, people.
    pub catalog: Catalog,
    /// Grows when the catalog changes.
    pub catalog_version: u64,
    pub(crate) live: Layer,
    pub(crate) index: Layer,
    pending: VecDeque<Pending>,
    pub(crate) history: HashMap<u64, Vec<History>>,
    next_id: u64,
    last_write: i64,
    /// How far the service's clock is ahead, and to what its stamps are cut down, in ms.
    clock: (i64, i64),
}

impl World {
    /// The company with `objects` generated objects.
    pub fn new(seed: u64, objects: u64) -> World {
        let generator = Generator::new(seed, objects, &company::WEIGHTS);
        World {
            next_id: generator.next_id(),
            generator,
            catalog: company::catalog(),
            catalog_version: 0,
            live: Layer::default(),
            index: Layer::default(),
            pending: VecDeque::new(),
            history: HashMap::new(),
            last_write: 0,
            clock: (0, 1),
        }
    }

    /// What reads by id see.
    pub fn live<'a>(&'a self, who: &'a Visibility) -> View<'a> {
        View {
            catalog: &self.catalog,
            generator: &self.generator,
            layer: &self.live,
            who,
            references: References::default(),
        }
    }

    /// What AQL sees.
    pub fn indexed<'a>(&'a self, who: &'a Visibility) -> View<'a> {
        View {
            catalog: &self.catalog,
            generator: &self.generator,
            layer: &self.index,
            who,
            references: References::default(),
        }
    }

    /// An id for a new object.
    pub(crate) fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Sets the clock: how far it is ahead of this machine's, and to what its stamps are cut down, in ms.
    pub(crate) fn set_clock(&mut self, ahead: i64, step: i64) {
        if self.clock != (ahead, step.max(1)) {
            self.clock = (ahead, step.max(1));
            // A clock that is set back stamps earlier than it did.
            self.last_write = 0;
        }
    }

    /// The time of a write: now, but, before it is cut down, later than every write before.
    pub(crate) fn write_time(&mut self) -> i64 {
        let (ahead, step) = self.clock;
        self.last_write = (clock::now_ms() + ahead).max(self.last_write + 1);
        self.last_write.div_euclid(step) * step
    }

    /// Stores an object (`None`: deletes it), for AQL only after the lag.
    pub(crate) fn put(&mut self, id: u64, object: Option<Arc<Object>>, lag: Lag) {
        let generated_as = self.generator.index(id).map(|i| self.generator.place(i).0);
        self.live.set(id, object.clone(), generated_as);
        if lag == Lag::default() && self.pending.is_empty() {
            self.index.set(id, object, generated_as);
        } else {
            let due = Instant::now() + lag.time;
            self.pending.push_back(Pending { due, searches: lag.searches, id, object });
        }
    }

    /// True if AQL has not seen every write yet.
    pub fn lagging(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Lets the index take in what is due; called before every search.
    pub(crate) fn catch_up(&mut self) {
        while let Some(first) = self.pending.front() {
            if first.searches > 0 || first.due > Instant::now() {
                break;
            }
            let Some(Pending { id, object, .. }) = self.pending.pop_front() else { break };
            let generated_as = self.generator.index(id).map(|i| self.generator.place(i).0);
            self.index.set(id, object, generated_as);
        }
        for waiting in &mut self.pending {
            waiting.searches = waiting.searches.saturating_sub(1);
        }
    }

    /// Says that types or attributes changed.
    pub(crate) fn catalog_changed(&mut self) {
        self.catalog_version += 1;
        self.live.version += 1;
        self.index.version += 1;
    }
}
