//! How large objects are, from scan to scan: so that the first page of a scan is not asked for in a
//! length that would hold too much.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::client::Client;
use crate::value::ColumnSpec;

/// Sets of columns that are kept; a session that asks for more begins anew.
const KEPT: usize = 500;

/// Bytes of an object by the columns that are read of it: attributes are those of one object type, or of
/// types that inherit them, and whether any is wanted decides what the service sends.
#[derive(Default)]
pub(crate) struct Sizes(Mutex<HashMap<Arc<[ColumnSpec]>, usize>>);

impl Sizes {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<[ColumnSpec]>, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// How large an object was when these columns were last read, or 0.
    pub(crate) fn object_size(&self, columns: &Arc<[ColumnSpec]>) -> usize {
        self.sizes.lock().get(columns).copied().unwrap_or(0)
    }

    /// Keeps what a scan has found out.
    pub(crate) fn keep_object_size(&self, columns: &Arc<[ColumnSpec]>, bytes: Option<usize>) {
        let Some(bytes) = bytes else { return };
        let mut sizes = self.sizes.lock();
        if let Some(known) = sizes.get_mut(columns) {
            *known = bytes;
            return;
        }
        if sizes.len() >= KEPT {
            sizes.clear();
        }
        sizes.insert(columns.clone(), bytes);
    }
}
