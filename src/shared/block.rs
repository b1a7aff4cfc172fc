//! Budgets, tokens and counters in the memory that sessions share. Where a process ended in the middle of its work, the
//! state is at worst a little off (`commons`).
#![allow(unsafe_code)] // memory that processes share

use std::cell::UnsafeCell;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use assets::shared::fresh_secret;
use commons::counters::Counters;
use commons::{Moment, SECOND, State};
use once_cell::sync::OnceCell;
use pgrx::pg_sys;

use super::memory::{self, Mutex};
use super::shelf;
use crate::error;

/// The shared memory.
#[repr(C)]
pub struct Block {
    mutex: Mutex,
    secret: [u8; 32],
    /// What is counted of each server, without the lock.
    pub counters: Counters,
    state: UnsafeCell<State>,
}

// SAFETY: `state` is reached only through `enter`, one at a time; the mutex is made for several
// threads and processes; the counters are atomics; the secret does not change.
unsafe impl Sync for Block {}

static BLOCK: OnceCell<&'static Block> = OnceCell::new();
static EVERYBODYS: AtomicBool = AtomicBool::new(false);

/// Makes the memory that all sessions share; only while the library is being preloaded.
pub fn init() {
    // SAFETY: set by the server while it reads shared_preload_libraries, in the postmaster.
    if unsafe { pg_sys::process_shared_preload_libraries_in_progress } {
        block();
        shelf::init();
        EVERYBODYS.store(true, Ordering::Relaxed);
    }
}

/// Whether all sessions of the server share the memory; otherwise it is this backend's own.
pub fn is_everybodys() -> bool {
    EVERYBODYS.load(Ordering::Relaxed)
}

/// The memory; made on first use where the library is not preloaded.
pub fn block() -> &'static Block {
    BLOCK.get_or_try_init(map).unwrap_or_else(|e| {
        error::raise(
            pgrx::PgSqlErrorCode::ERRCODE_SYSTEM_ERROR,
            format!("could not make the memory for request limits and tokens: {e}"),
        )
    })
}

fn map() -> io::Result<&'static Block> {
    let secret = fresh_secret().map_err(|_| io::Error::other("no random numbers"))?;
    let block = memory::map::<Block>()?;
    // SAFETY: zeroed memory of our own, whose every part is valid when it is all zeroes: plain numbers, atomics, and a
    // mutex that is made before it is used.
    unsafe {
        (*block).secret = secret;
        Mutex::make(&raw mut (*block).mutex)?;
        Ok(&*block)
    }
}

impl Block {
    /// Calls `work` with the state and the time, one caller at a time. On any thread; `work` neither
    /// waits nor calls PostgreSQL.
    pub fn enter<T>(&self, work: impl FnOnce(&mut State, Moment) -> T) -> T {
        let _locked = self.mutex.lock();
        // SAFETY: whoever holds the mutex is the only one here.
        work(unsafe { &mut *self.state.get() }, now())
    }

    /// What keys are made with.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

/// The clock that all processes of the machine share; never 0.
pub fn now() -> Moment {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills the timespec; this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    SECOND + time.tv_sec as Moment * SECOND + time.tv_nsec as Moment / 1000
}
