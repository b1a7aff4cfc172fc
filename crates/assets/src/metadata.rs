//! What the client remembers of schemas, types, attributes and counts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::decode::{Definition, Definitions};
use crate::model::{Attribute, ObjectSchema, ObjectType};

/// Metadata older than this is asked for again.
const FRESH: Duration = Duration::from_secs(600);
/// So many counts are kept.
const COUNTS: usize = 1000;

#[derive(Default)]
pub(crate) struct Metadata(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    schemas: Option<Kept<Arc<[ObjectSchema]>>>,
    types: HashMap<i64, Kept<Arc<[ObjectType]>>>,
    single_types: HashMap<i64, Kept<ObjectType>>,
    attributes: HashMap<i64, Kept<Arc<[Attribute]>>>,
    counts: HashMap<String, Kept<u64>>,
    uncounted: Option<Kept<()>>,
    /// The service has counted for us.
    has_counted: bool,
    tree: Option<Kept<bool>>,
    definitions: Arc<Definitions>,
}

struct Kept<T> {
    since: Instant,
    value: T,
}

impl<T: Clone> Kept<T> {
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

    pub(crate) fn take_over(&self, kernel: Kernel) {
        if let Some(schemas) = kernel.schemas {
            self.keep_schemas(schemas.into());
        }
        for (id, types) in kernel.types {
            self.keep_types(id, types.into());
        }
        for object_type in kernel.single_types {
            self.keep_object_type(object_type.id, object_type);
        }
        for (id, attributes) in kernel.attributes {
            self.keep_attributes(id, attributes.into());
        }
        if let Some(works) = kernel.tree {
            self.keep_tree(works);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn forget(&self) {
        let mut inner = self.lock();
        // Of how the service answers, not of what it holds.
        let tree = inner.tree.take();
        let has_counted = inner.has_counted;
        *inner = Inner { tree, has_counted, ..Inner::default() };
    }

    pub(crate) fn forget_types(&self, schema: i64) {
        self.lock().types.remove(&schema);
    }

    pub(crate) fn forget_attributes(&self, types: &[i64]) {
        self.lock().attributes.retain(|id, _| !types.contains(id));
    }

    /// Whether the service takes in the types below one when it is asked to, where that is known.
    pub(crate) fn tree(&self) -> Option<bool> {
        self.lock().tree.as_ref()?.fresh()
    }

    /// What worked may do so no more.
    pub(crate) fn doubt_tree(&self) {
        let mut inner = self.lock();
        inner.tree = inner.tree.take().filter(|kept| !kept.value);
    }

    pub(crate) fn keep_tree(&self, works: bool) {
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
        self.lock().schemas.as_ref()?.fresh()
    }

    pub(crate) fn schemas_since(&self) -> Option<(Arc<[ObjectSchema]>, Instant)> {
        self.lock().schemas.as_ref()?.fresh_since()
    }

    pub(crate) fn forget_schemas(&self) {
        self.lock().schemas = None;
    }

    pub(crate) fn keep_schemas(&self, schemas: Arc<[ObjectSchema]>) {
        self.lock().schemas = Some(Kept::new(schemas));
    }

    pub(crate) fn types(&self, schema: i64) -> Option<Arc<[ObjectType]>> {
        self.lock().types.get(&schema)?.fresh()
    }

    pub(crate) fn types_since(&self, schema: i64) -> Option<(Arc<[ObjectType]>, Instant)> {
        self.lock().types.get(&schema)?.fresh_since()
    }

    pub(crate) fn keep_types(&self, schema: i64, types: Arc<[ObjectType]>) {
        self.lock().types.insert(schema, Kept::new(types));
    }

    pub(crate) fn object_type(&self, id: i64) -> Option<ObjectType> {
        self.lock().single_types.get(&id)?.fresh()
    }

    pub(crate) fn keep_object_type(&self, id: i64, object_type: ObjectType) {
        self.lock().single_types.insert(id, Kept::new(object_type));
    }

    pub(crate) fn attributes(&self, object_type: i64) -> Option<Arc<[Attribute]>> {
        self.lock().attributes.get(&object_type)?.fresh()
    }

    pub(crate) fn keep_attributes(&self, object_type: i64, attributes: Arc<[Attribute]>) {
        let mut inner = self.lock();
        let definitions = Arc::make_mut(&mut inner.definitions);
        for attribute in attributes.iter() {
            let definition = Definition {
                name: attribute.name.as_str().into(),
                kind: attribute.kind,
                multi: attribute.multi,
            };
            definitions.insert(attribute.id, definition);
        }
        inner.attributes.insert(object_type, Kept::new(attributes));
    }

    /// Definitions of every attribute met, for pages that do not bring their own.
    pub(crate) fn definitions(&self) -> Arc<Definitions> {
        self.lock().definitions.clone()
    }

    pub(crate) fn count(&self, aql: &str) -> Option<u64> {
        self.lock().counts.get(aql)?.fresh()
    }

    /// Whether the service would not count for us.
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
        self.lock().counts.remove(aql);
    }

    pub(crate) fn keep_count(&self, aql: &str, count: u64) {
        let mut inner = self.lock();
        if inner.counts.len() >= COUNTS {
            inner.counts.retain(|_, kept| kept.fresh().is_some());
            if inner.counts.len() >= COUNTS {
                inner.counts.clear();
            }
        }
        inner.counts.insert(aql.to_owned(), Kept::new(count));
    }
}
