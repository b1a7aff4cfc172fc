//! Memory that the server's processes share, and a lock in it.
//!
//! It is mapped by the postmaster before it has children, who inherit it, and is not PostgreSQL's own
//! shared memory: that one is made anew after a backend has crashed, and the service would not have
//! forgotten the requests of before. It is left out of core dumps, as there are tokens in it.
//!
//! The lock is taken by the networks' threads, which must not call PostgreSQL, so it is a robust mutex
//! of the system's: where a process ends while it holds it, in whatever way, the next one to want it
//! gets it and is told.
#![allow(unsafe_code)] // memory and a mutex that processes share

use std::cell::UnsafeCell;
use std::io;

/// Fresh zeroed memory for a `T`, which children inherit. It is never unmapped.
pub fn map<T>() -> io::Result<*mut T> {
    // SAFETY: asks for new memory, at any address; it is aligned to a page.
    unsafe {
        let size = size_of::<T>();
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        let address = libc::mmap(std::ptr::null_mut(), size, protection, flags, -1, 0);
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // A kernel that cannot do it dumps it.
        libc::madvise(address, size, libc::MADV_DONTDUMP);
        Ok(address.cast::<T>())
    }
}

/// A lock that processes share.
#[repr(transparent)]
pub struct Mutex(UnsafeCell<libc::pthread_mutex_t>);

impl Mutex {
    /// Makes the one at this place, which nobody uses yet.
    ///
    /// # Safety
    /// The place is valid, in shared memory, and nobody else's.
    pub unsafe fn make(place: *mut Mutex) -> io::Result<()> {
        let mut attributes = std::mem::MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        let attributes = attributes.as_mut_ptr();
        // SAFETY: the caller's promise; the attributes are made before they are used.
        let steps = unsafe {
            [
                libc::pthread_mutexattr_init(attributes),
                libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED),
                libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST),
                libc::pthread_mutex_init((*place).0.get(), attributes),
                libc::pthread_mutexattr_destroy(attributes),
            ]
        };
        match steps.into_iter().find(|code| *code != 0) {
            Some(code) => Err(io::Error::from_raw_os_error(code)),
            None => Ok(()),
        }
    }

    /// Waits for it; held until what this gives is dropped.
    pub fn lock(&self) -> Locked<'_> {
        // SAFETY: the mutex was made with its memory, and this thread does not hold it.
        let code = unsafe { libc::pthread_mutex_lock(self.0.get()) };
        let orphaned = code == libc::EOWNERDEAD;
        match code {
            0 => {}
            // SAFETY: this thread holds it now; its last holder is gone.
            _ if orphaned => unsafe {
                libc::pthread_mutex_consistent(self.0.get());
            },
            code => panic!("the shared memory cannot be locked: {}", io::Error::from_raw_os_error(code)),
        }
        Locked { mutex: self, orphaned }
    }
}

/// The lock is held.
pub struct Locked<'a> {
    mutex: &'a Mutex,
    /// Its last holder ended while it held it.
    pub orphaned: bool,
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // SAFETY: held by this thread since `lock`.
        unsafe { libc::pthread_mutex_unlock(self.mutex.0.get()) };
    }
}
