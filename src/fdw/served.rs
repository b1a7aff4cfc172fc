//! A scan that is repeated with other parameters: rows of the key of the moment, from what came for many together, or
//! asked for alone.
#![allow(unsafe_code)] // the executor's slots

use pgrx::pg_sys;

use crate::fdw::keyed::{Candidates, Keyed};
use crate::fdw::scan::Scan;

/// The state of such a scan.
pub struct Served {
    /// Asks for one key, as a scan without others would.
    pub scan: Scan,
    /// Asks for many.
    pub keyed: Keyed,
    /// The key of the moment has not been looked up.
    is_new: bool,
    now: Option<Candidates>,
}

impl Served {
    /// Both ask for the same.
    pub fn new(scan: Scan, keyed: Keyed) -> Self {
        Self { scan, keyed, is_new: true, now: None }
    }

    /// Fills the empty slot with the next row; leaves it empty after the last.
    ///
    /// # Safety
    /// `node` is the executor's, the one that both were made for, and `slot` its scan slot.
    pub unsafe fn fill(&mut self, node: *mut pg_sys::ForeignScanState, slot: *mut pg_sys::TupleTableSlot) {
        // SAFETY: the caller's promise.
        unsafe {
            if std::mem::take(&mut self.is_new) {
                self.now = self.keyed.look(node);
            }
            match &mut self.now {
                None => self.scan.fill(node, slot),
                Some(candidates) => {
                    if let Some(row) = candidates.next() {
                        row.fill(slot);
                    }
                }
            }
        }
    }

    /// Back to the first row, with the parameters' values of then.
    pub fn again(&mut self) {
        self.scan.again();
        self.is_new = true;
        self.now = None;
    }

    /// The end of the query.
    pub fn end(&mut self) {
        self.scan.end();
        self.keyed.end();
    }
}
