//! What the client remembers of schemas, types, attributes and counts; what it does not, another session of its
//! identity may ([`crate::lore`]).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::decode::{Definition, Definitions};
use crate::lore::{Lore, Subject};
use crate::model::{Attribute, ObjectSchema, ObjectType, Status};

/// Metadata older than this is asked for again.
const FRESH: Duration = Duration::from_secs(600);
/// So many counts are kept.
const COUNTS: usize = 1000;

pub(crate) struct Metadata {
    inner: Mutex<Inner>,
    lore: Arc<Lore>,
}

#[derive(Default)]
struct Inner {
    schemas: Option<Kept<Arc<[ObjectSchema]>>>,
    types: HashMap<i64, Kept<Arc<[ObjectType]>>>,
    single_types: HashMap<i64, Kept<ObjectType>>,
    attributes: HashMap<i64, Kept<Arc<[Attribute]>>>,
    statuses: HashMap<i64, Kept<Arc<[Status]>>>,
    counts: HashMap<String, Kept<u64>>,
    uncounted: Option<Kept<()>>,
    /// The service has counted for us.
    has_counted: bool,
    tree: Option<Kept<bool>>,
    definitions: Arc<Definitions>,
}

struct Kept<T> {
    /// When it was asked for, not when the answer came: it may have changed meanwhile.
    since: Instant,
    value: T,
}

impl<T: Clone> Kept<T> {
    /// Of this moment.
    fn new(value: T) -> Self {
        Self { since: Instant::now(), value }
    }

    fn fresh(&self) -> Option<T> {
        (self.since.elapsed() < FRESH).then(|| self.value.clone())
    }

    /// The value, and when it was asked for.
    fn fresh_since(&self) -> Option<(T, Instant)> {
        Some((self.fresh()?, self.since))
    }
}

/// What is worth keeping beyond the process (see [`crate::memory`]).
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Kernel {
    schemas: Option<Vec<ObjectSchema>>,
    types: Vec<(i64, Vec<ObjectType>)>,
    single_types: Vec<ObjectType>,
    attributes: Vec<(i64, Vec<Attribute>)>,
    /// Whether the service takes in the types below one when it is asked to, where that is known.
    #[serde(default)]
    tree: Option<bool>,
}

impl Metadata {
    pub(crate) fn new(lore: Arc<Lore>) -> Self {
        Self { inner: Mutex::default(), lore }
    }

    pub(crate) fn kernel(&self) -> Kernel {
        let inner = self.lock();
        Kernel {
            schemas: inner.schemas.as_ref().map(|kept| kept.value.to_vec()),
            types: inner.types.iter().map(|(id, kept)| (*id, kept.value.to_vec())).collect(),
            single_types: inner.single_types.values().map(|kept| kept.value.clone()).collect(),
            attributes: inner.attributes.iter().map(|(id, kept)| (*id, kept.value.to_vec())).collect(),
            tree: inner.tree.as_ref().map(|kept| kept.value),
        }
    }

    /// Nobody is told of it: it is older than it says.
    pub(crate) fn take_over(&self, kernel: Kernel) {
        let mut inner = self.lock();
        if let Some(schemas) = kernel.schemas {
            inner.schemas = Some(Kept::new(schemas.into()));
        }
        let types = kernel.types.into_iter().map(|(id, types)| (id, Kept::new(types.into())));
        inner.types.extend(types);
        let single = kernel.single_types.into_iter().map(|found| (found.id, Kept::new(found)));
        inner.single_types.extend(single);
        for (id, attributes) in kernel.attributes {
            inner.keep_attributes(id, Kept::new(attributes.into()));
        }
        if let Some(works) = kernel.tree {
            inner.tree = Some(Kept::new(works));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing that is known now is believed any more, whoever has told it.
    pub(crate) fn forget(&self) {
        self.lore.begin_anew();
        let mut inner = self.lock();
        // Of how the service answers, not of what it holds.
        let tree = inner.tree.take();
        let has_counted = inner.has_counted;
        *inner = Inner { tree, has_counted, ..Inner::default() };
    }

    pub(crate) fn forget_types(&self, schema: i64) {
        self.lore.begin_anew();
        self.lock().types.remove(&schema);
    }

    pub(crate) fn forget_attributes(&self, types: &[i64]) {
        self.lore.begin_anew();
        self.lock().attributes.retain(|id, _| !types.contains(id));
    }

    /// Whether the service takes in the types below one when it is asked to, where that is known.
    pub(crate) fn tree(&self) -> Option<bool> {
        let keep = |inner: &mut Inner, kept| inner.tree = Some(kept);
        let known = self.known((Subject::Tree, 0), |inner| inner.tree.as_ref(), |works: bool| works, keep);
        known.map(|(works, _)| works)
    }

    /// What worked may do so no more.
    pub(crate) fn doubt_tree(&self) {
        if self.tree() == Some(true) {
            self.lore.forget(Subject::Tree, 0);
            self.lock().tree = None;
        }
    }

    pub(crate) fn keep_tree(&self, works: bool) {
        self.lore.tell(Subject::Tree, 0, &works, Instant::now());
        self.lock().tree = Some(Kept::new(works));
    }

    /// When the oldest of these was asked for; none where one is not known any more.
    pub(crate) fn oldest(&self, schema: Option<i64>, types: &[i64]) -> Option<Instant> {
        let inner = self.lock();
        let mut since = Vec::new();
        if let Some(schema) = schema {
            since.push(inner.types.get(&schema)?.since);
        }
        for id in types {
            since.push(inner.attributes.get(id)?.since);
        }
        since.into_iter().min().or_else(|| Some(Instant::now()))
    }

    pub(crate) fn schemas(&self) -> Option<Arc<[ObjectSchema]>> {
        self.schemas_since().map(|(schemas, _)| schemas)
    }

    pub(crate) fn schemas_since(&self) -> Option<(Arc<[ObjectSchema]>, Instant)> {
        let read = |schemas: Vec<ObjectSchema>| schemas.into();
        let keep = |inner: &mut Inner, kept| inner.schemas = Some(kept);
        self.known((Subject::Schemas, 0), |inner| inner.schemas.as_ref(), read, keep)
    }

    pub(crate) fn forget_schemas(&self) {
        self.lore.begin_anew();
        self.lock().schemas = None;
    }

    /// `since`: when they were asked for; so below.
    pub(crate) fn keep_schemas(&self, schemas: Arc<[ObjectSchema]>, since: Instant) {
        self.lore.tell(Subject::Schemas, 0, &*schemas, since);
        self.lock().schemas = Some(Kept { since, value: schemas });
    }

    pub(crate) fn types(&self, schema: i64) -> Option<Arc<[ObjectType]>> {
        self.types_since(schema).map(|(types, _)| types)
    }

    pub(crate) fn types_since(&self, schema: i64) -> Option<(Arc<[ObjectType]>, Instant)> {
        let read = |types: Vec<ObjectType>| types.into();
        let keep = |inner: &mut Inner, kept| drop(inner.types.insert(schema, kept));
        self.known((Subject::Types, schema), |inner| inner.types.get(&schema), read, keep)
    }

    pub(crate) fn keep_types(&self, schema: i64, types: Arc<[ObjectType]>, since: Instant) {
        self.lore.tell(Subject::Types, schema, &*types, since);
        self.lock().types.insert(schema, Kept { since, value: types });
    }

    pub(crate) fn object_type(&self, id: i64) -> Option<ObjectType> {
        let read = |found: ObjectType| found;
        let keep = |inner: &mut Inner, kept| drop(inner.single_types.insert(id, kept));
        let known = self.known((Subject::Type, id), |inner| inner.single_types.get(&id), read, keep);
        known.map(|(found, _)| found)
    }

    pub(crate) fn keep_object_type(&self, id: i64, object_type: ObjectType, since: Instant) {
        self.lore.tell(Subject::Type, id, &object_type, since);
        self.lock().single_types.insert(id, Kept { since, value: object_type });
    }

    pub(crate) fn attributes(&self, object_type: i64) -> Option<Arc<[Attribute]>> {
        let which = (Subject::Attributes, object_type);
        let read = |found: Vec<Attribute>| found.into();
        let keep = |inner: &mut Inner, kept| inner.keep_attributes(object_type, kept);
        let known = self.known(which, |inner| inner.attributes.get(&object_type), read, keep);
        known.map(|(attributes, _)| attributes)
    }

    pub(crate) fn keep_attributes(&self, object_type: i64, attributes: Arc<[Attribute]>, since: Instant) {
        self.lore.tell(Subject::Attributes, object_type, &*attributes, since);
        self.lock().keep_attributes(object_type, Kept { since, value: attributes });
    }

    pub(crate) fn statuses(&self, schema: i64) -> Option<Arc<[Status]>> {
        self.lock().statuses.get(&schema).and_then(Kept::fresh)
    }

    pub(crate) fn keep_statuses(&self, schema: i64, statuses: Arc<[Status]>) {
        self.lock().statuses.insert(schema, Kept::new(statuses));
    }

    /// Definitions of every attribute met, for pages that do not bring their own.
    pub(crate) fn definitions(&self) -> Arc<Definitions> {
        self.lock().definitions.clone()
    }

    pub(crate) fn count(&self, aql: &str) -> Option<u64> {
        if let Some(count) = self.lock().counts.get(aql).and_then(Kept::fresh) {
            return Some(count);
        }
        let (count, since) = self.lore.recall_count(aql, FRESH)?;
        self.lock().keep_count(aql, Kept { since, value: count });
        Some(count)
    }

    /// Whether the service would not count for us. Nobody else is told: a single 403 of something in between would have
    /// all of them read whole tables.
    pub(crate) fn counts_refused(&self) -> bool {
        self.lock().uncounted.as_ref().and_then(Kept::fresh).is_some()
    }

    /// Whether it ever has.
    pub(crate) fn has_counted(&self) -> bool {
        self.lock().has_counted
    }

    pub(crate) fn keep_counts_refused(&self, refused: bool) {
        let mut inner = self.lock();
        inner.uncounted = refused.then(|| Kept::new(()));
        inner.has_counted |= !refused;
    }

    /// A count that pages contradict.
    pub(crate) fn forget_count(&self, aql: &str) {
        self.lore.forget_count(aql);
        self.lock().counts.remove(aql);
    }

    pub(crate) fn keep_count(&self, aql: &str, count: u64) {
        self.lore.tell_count(aql, count, Instant::now());
        self.lock().keep_count(aql, Kept::new(count));
    }

    /// What is known here or, else, what others have told: that is kept here then.
    fn known<T: DeserializeOwned, V: Clone>(
        &self,
        (subject, which): (Subject, i64),
        here: impl FnOnce(&Inner) -> Option<&Kept<V>>,
        read: impl FnOnce(T) -> V,
        keep: impl FnOnce(&mut Inner, Kept<V>),
    ) -> Option<(V, Instant)> {
        if let Some(known) = here(&self.lock()).and_then(Kept::fresh_since) {
            return Some(known);
        }
        let (told, since) = self.lore.recall::<T>(subject, which, FRESH)?;
        let value = read(told);
        keep(&mut self.lock(), Kept { since, value: value.clone() });
        Some((value, since))
    }
}

impl Inner {
    fn keep_attributes(&mut self, object_type: i64, attributes: Kept<Arc<[Attribute]>>) {
        let definitions = Arc::make_mut(&mut self.definitions);
        for attribute in attributes.value.iter() {
            let definition = Definition {
                name: attribute.name.as_str().into(),
                kind: attribute.kind,
                multi: attribute.multi,
            };
            definitions.insert(attribute.id, definition);
        }
        self.attributes.insert(object_type, attributes);
    }

    fn keep_count(&mut self, aql: &str, count: Kept<u64>) {
        if self.counts.len() >= COUNTS {
            self.counts.retain(|_, kept| kept.fresh().is_some());
            if self.counts.len() >= COUNTS {
                self.counts.clear();
            }
        }
        self.counts.insert(aql.to_owned(), count);
    }
}
