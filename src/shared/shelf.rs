//! What sessions have found out of their services, in the memory that they share. Only where the library is preloaded:
//! for one session alone it would be written for nobody. Where a process ended in the middle of its work, all of it is
//! taken away: it can be asked for again.
#![allow(unsafe_code)] // memory that processes share

use std::cell::UnsafeCell;
use std::io;

use commons::Moment;
use commons::shelf::{Index, RING, Shelf};
use once_cell::sync::OnceCell;

use super::block::now;
use super::memory::{self, Mutex};

/// The shared memory; pages of the ring that were never written take none.
#[repr(C)]
struct Lore {
    mutex: Mutex,
    index: UnsafeCell<Index>,
    ring: UnsafeCell<[u8; RING]>,
}

// SAFETY: index and ring are reached only through `enter`, one at a time; the mutex is made for several threads and
// processes.
unsafe impl Sync for Lore {}

static LORE: OnceCell<&'static Lore> = OnceCell::new();

/// Makes it, while the library is being preloaded. Without it sessions ask for themselves.
pub fn init() {
    if let Err(error) = LORE.get_or_try_init(map) {
        pgrx::warning!("assets_fdw: sessions share nothing of what they know: {error}");
    }
}

fn map() -> io::Result<&'static Lore> {
    let lore = memory::map::<Lore>()?;
    // SAFETY: zeroed memory of our own, of plain numbers, and a mutex that is made before it is used.
    unsafe {
        Mutex::make(&raw mut (*lore).mutex)?;
        Ok(&*lore)
    }
}

/// Calls `work` with the shelf and the time, one caller at a time, if there is one. On any thread; `work` neither
/// waits nor calls PostgreSQL.
pub fn enter(work: &mut dyn FnMut(&mut Shelf<'_>, Moment)) {
    let Some(lore) = LORE.get() else { return };
    let locked = lore.mutex.lock();
    // SAFETY: whoever holds the mutex is the only one here.
    let (index, ring) = unsafe { (&mut *lore.index.get(), &mut *lore.ring.get()) };
    let mut shelf = Shelf::new(index, ring);
    if locked.orphaned {
        shelf.clear();
    }
    work(&mut shelf, now());
}
