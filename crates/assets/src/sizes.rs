//! How large objects are and how many of them the service gives on a page, from scan to scan: so that the
//! first page of a scan is not asked for in a length that would hold too much, or that does not come.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::client::Client;
use crate::pages::Given;
use crate::value::ColumnSpec;

/// Sets of columns that are kept; a session that asks for more begins anew.
const KEPT: usize = 500;
/// What the service did not give may have been for a bad day: so long it counts.
const BELIEVED: Duration = Duration::from_secs(600);

/// What is known of objects by the columns that are read of them: attributes are those of one object type, or
/// of types that inherit them, and whether any is wanted decides what the service sends.
#[derive(Default)]
pub(crate) struct Sizes(Mutex<HashMap<Arc<[ColumnSpec]>, Size>>);

#[derive(Default, Clone, Copy)]
struct Size {
    /// Bytes of an object, or 0.
    object: usize,
    given: Given,
    /// When `given` was last taken in.
    since: Option<Instant>,
}

impl Sizes {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<[ColumnSpec]>, Size>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, columns: &Arc<[ColumnSpec]>) -> Size {
        self.lock().get(columns).copied().unwrap_or_default()
    }
}

impl Client {
    /// How large an object was when these columns were last read, or 0.
    pub(crate) fn object_size(&self, columns: &Arc<[ColumnSpec]>) -> usize {
        self.sizes.of(columns).object
    }

    /// How many bytes a page of at most so many objects is expected to hold, or 0 where that is not known.
    pub fn page_bytes(&self, columns: &Arc<[ColumnSpec]>, objects: u64) -> usize {
        let objects = objects.min(self.objects_a_request() as u64);
        self.object_size(columns).saturating_mul(usize::try_from(objects).unwrap_or(usize::MAX))
    }

    /// How many objects the service gave on a page then.
    pub(crate) fn given(&self, columns: &Arc<[ColumnSpec]>) -> Given {
        let size = self.sizes.of(columns);
        let is_young = size.since.is_some_and(|since| since.elapsed() < BELIEVED);
        if is_young { size.given } else { Given::default() }
    }

    /// Keeps what a scan has found out.
    pub(crate) fn keep_object_size(&self, columns: &Arc<[ColumnSpec]>, object: Option<usize>, given: Given) {
        let mut sizes = self.sizes.lock();
        let known = sizes.get(columns).copied().unwrap_or_default();
        let since = if given == known.given { known.since } else { Some(Instant::now()) };
        let size = Size { object: object.unwrap_or(known.object), given, since };
        if let Some(known) = sizes.get_mut(columns) {
            *known = size;
            return;
        }
        if object.is_none() && given == Given::default() {
            return;
        }
        if sizes.len() >= KEPT {
            sizes.clear();
        }
        sizes.insert(columns.clone(), size);
    }
}
