//! The memory that sessions share, and the lock on it.
//!
//! It is mapped by the postmaster before it has children, who inherit it, and is not PostgreSQL's own
//! shared memory: that one is made anew after a backend has crashed, and the service would not have
//! forgotten the requests of before. It is left out of core dumps, as there are tokens in it.
//!
//! The lock is taken by the networks' threads, which must not call PostgreSQL, so it is a robust mutex
//! of the system's: where a process ends while it holds it, in whatever way, the next one to want it
//! gets it and is told. The state then is at worst a little off (`commons`).
#![allow(unsafe_code)] // memory and a mutex that processes share

use std::cell::UnsafeCell;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use assets::shared::fresh_secret;
use commons::counters::Counters;
use commons::{Moment, SECOND, State};
use once_cell::sync::OnceCell;
use pgrx::pg_sys;

use crate::error;

/// The shared memory.
#[repr(C)]
pub struct Block {
    mutex: UnsafeCell<libc::pthread_mutex_t>,
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
    // SAFETY: fresh zeroed memory, large enough and aligned (to a page) for a block, whose every part
    // is valid when it is all zeroes: plain numbers, atomics, and a mutex that is made before it is used.
    // It is never unmapped, and nobody else knows of it before this returns.
    unsafe {
        let size = size_of::<Block>();
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        let address = libc::mmap(std::ptr::null_mut(), size, protection, flags, -1, 0);
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // A kernel that cannot do it dumps it.
        libc::madvise(address, size, libc::MADV_DONTDUMP);
        let block = address.cast::<Block>();
        (*block).secret = secret;
        let mut attributes = std::mem::MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        let attributes = attributes.as_mut_ptr();
        let steps = [
            libc::pthread_mutexattr_init(attributes),
            libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED),
            libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST),
            libc::pthread_mutex_init((*block).mutex.get(), attributes),
            libc::pthread_mutexattr_destroy(attributes),
        ];
        match steps.into_iter().find(|code| *code != 0) {
            Some(code) => Err(io::Error::from_raw_os_error(code)),
            None => Ok(&*block),
        }
    }
}

impl Block {
    /// Calls `work` with the state and the time, one caller at a time. On any thread; `work` neither
    /// waits nor calls PostgreSQL.
    pub fn enter<T>(&self, work: impl FnOnce(&mut State, Moment) -> T) -> T {
        let _locked = Locked::new(&self.mutex);
        // SAFETY: whoever holds the mutex is the only one here.
        work(unsafe { &mut *self.state.get() }, now())
    }

    /// What keys are made with.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

struct Locked<'a>(&'a UnsafeCell<libc::pthread_mutex_t>);

impl<'a> Locked<'a> {
    fn new(mutex: &'a UnsafeCell<libc::pthread_mutex_t>) -> Self {
        // SAFETY: the mutex was made with the block, and this thread does not hold it.
        let code = unsafe { libc::pthread_mutex_lock(mutex.get()) };
        match code {
            0 => {}
            // SAFETY: this thread holds it now; its last holder is gone.
            libc::EOWNERDEAD => unsafe {
                libc::pthread_mutex_consistent(mutex.get());
            },
            code => panic!("the shared memory cannot be locked: {}", io::Error::from_raw_os_error(code)),
        }
        Self(mutex)
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // SAFETY: held by this thread since `new`.
        unsafe { libc::pthread_mutex_unlock(self.0.get()) };
    }
}

/// The clock that all processes of the machine share; never 0.
fn now() -> Moment {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills the timespec; this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    SECOND + time.tv_sec as Moment * SECOND + time.tv_nsec as Moment / 1000
}
