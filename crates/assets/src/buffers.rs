//! The memory that bodies are read into, used again from page to page while a scan runs: otherwise
//! each page of some megabytes is taken from the system and given back, or, worse, is kept by the
//! allocator in pieces that fit no other page. And how much of it bodies hold at this moment, so that
//! what comes larger than it was expected to be can be given up before it is in memory.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Smaller ones are not worth keeping.
const SMALL: usize = 64 << 10;
/// Larger ones would be kept for pages that are as large only by exception.
const LARGE: usize = 8 << 20;
/// How much is kept at most.
const KEPT: usize = 8 << 20;
/// What the bodies of one scan may hold together, where they can be asked for in smaller parts. As much as
/// its pages are meant to hold (`pages::pace`), so that it matters only where they are larger than foreseen.
const TOGETHER: usize = 18 << 20;
/// A body as small as this is not given up for the sake of others.
const SHARE: usize = 1 << 20;
/// Sizes are rounded up to this, so that one page's buffer fits the next page too.
const STEP: usize = 512 << 10;

/// Buffers that wait to be used again, as long as somebody holds a [`Lease`].
#[derive(Clone, Default)]
pub(crate) struct Buffers(Arc<Mutex<Kept>>);

/// The bytes that the bodies of one scan hold.
#[derive(Default)]
pub(crate) struct Room(AtomicUsize);

impl Room {
    /// Whether there is none for a body to become `length` bytes long, beside what others than its own
    /// `have` bytes hold.
    pub(crate) fn is_full_for(&self, have: usize, length: usize) -> bool {
        let others = self.0.load(Ordering::Relaxed).saturating_sub(have);
        length > SHARE && others.saturating_add(length) > TOGETHER
    }
}

#[derive(Default)]
struct Kept {
    leases: usize,
    free: Vec<Vec<u8>>,
}

/// While one is held, buffers are kept.
pub(crate) struct Lease(Buffers);

/// A body.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    home: Buffers,
    room: Option<Arc<Room>>,
}

impl Buffers {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps buffers until the lease is dropped.
    pub(crate) fn lease(&self) -> Lease {
        self.lock().leases += 1;
        Lease(self.clone())
    }

    /// An empty buffer with room for `expected` bytes, if so many can be expected at all: the
    /// number is the peer's. What it will hold counts in `room`.
    pub(crate) fn take(&self, expected: usize, room: Option<&Arc<Room>>) -> Buffer {
        let mut expected = expected.min(LARGE);
        let mut found = None;
        if expected >= SMALL {
            expected = expected.next_multiple_of(STEP);
            let mut kept = self.lock();
            // The smallest that is large enough. One that is too small makes way for a larger one.
            let size = |i: &usize| kept.free[*i].capacity();
            let fits = (0..kept.free.len()).filter(|i| size(i) >= expected).min_by_key(size);
            let chosen = fits.or_else(|| (0..kept.free.len()).min_by_key(size));
            found = chosen.map(|i| kept.free.swap_remove(i)).filter(|bytes| bytes.capacity() >= expected);
        }
        let bytes = found.unwrap_or_else(|| Vec::with_capacity(expected));
        Buffer { bytes, home: self.clone(), room: room.cloned() }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut kept = self.0.lock();
        kept.leases -= 1;
        if kept.leases == 0 {
            kept.free = Vec::new();
        }
    }
}

/// What some put before a text to say that it is UTF-8; JSON has no place for it, and its readers may pass
/// over it (RFC 8259, 8.1).
const MARK: &[u8] = b"\xef\xbb\xbf";

impl Buffer {
    /// Drops a byte-order mark from the beginning.
    pub(crate) fn drop_mark(&mut self) {
        if self.bytes.starts_with(MARK) {
            self.bytes.drain(..MARK.len());
        }
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if let Some(room) = &self.room {
            room.0.fetch_add(bytes.len(), Ordering::Relaxed);
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// So that who has read a secret from it can overwrite it.
impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        if let Some(room) = &self.room {
            room.0.fetch_sub(bytes.len(), Ordering::Relaxed);
        }
        if !(SMALL..=LARGE).contains(&bytes.capacity()) {
            return;
        }
        let mut kept = self.home.lock();
        let held: usize = kept.free.iter().map(Vec::capacity).sum();
        if kept.leases > 0 && held + bytes.capacity() <= KEPT {
            bytes.clear();
            kept.free.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(buffers: &Buffers) -> Vec<usize> {
        buffers.lock().free.iter().map(Vec::capacity).collect()
    }

    #[test]
    fn a_buffer_is_used_again_while_a_scan_runs_and_never_with_what_was_in_it() {
        let buffers = Buffers::default();
        let lease = buffers.lease();
        let mut first = buffers.take(1 << 20, None);
        first.extend(b"secret");
        drop(first);
        assert_eq!(free(&buffers), [1 << 20]);
        let again = buffers.take(900 << 10, None);
        assert!(again.is_empty() && free(&buffers).is_empty());
        drop(again);
        drop(lease);
        assert_eq!(free(&buffers), [0_usize; 0]);
        drop(buffers.take(1 << 20, None));
        assert_eq!(free(&buffers), [0_usize; 0], "kept although nobody reads");
    }

    #[test]
    fn bodies_together_are_bounded_and_small_ones_pass() {
        let (buffers, room) = (Buffers::default(), Arc::new(Room::default()));
        let mut first = buffers.take(0, Some(&room));
        assert!(!room.is_full_for(0, TOGETHER) && room.is_full_for(0, TOGETHER + 1));
        first.extend(&vec![0; 12 << 20]);
        assert!(!room.is_full_for(12 << 20, 18 << 20), "what it holds itself counts once");
        assert!(room.is_full_for(0, 7 << 20) && !room.is_full_for(0, 6 << 20));
        first.extend(&vec![0; 12 << 20]);
        assert!(!room.is_full_for(0, SHARE));
        buffers.take(0, None).extend(&vec![0; 12 << 20]);
        drop(first);
        assert!(!room.is_full_for(0, TOGETHER), "another scan's bodies are in another room");
    }

    #[test]
    fn what_is_kept_is_bounded_and_so_is_what_a_peer_can_make_us_reserve() {
        let buffers = Buffers::default();
        let _lease = buffers.lease();
        let many: Vec<Buffer> = (0..9).map(|_| buffers.take(3 << 20, None)).collect();
        drop(many);
        assert_eq!(free(&buffers).len(), 2);
        assert!(buffers.take(usize::MAX, None).bytes.capacity() <= LARGE);
        drop(buffers.take(100, None));
        assert!(free(&buffers).iter().all(|capacity| *capacity >= SMALL));
    }
}
