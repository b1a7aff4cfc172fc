//! How many objects a page is asked for and how many pages may be under way, so that what they hold
//! stays within a number of bytes however large the objects are.
//!
//! Requests are scarcer than time: where objects are large, fewer pages are under way at once
//! before pages get shorter. A scan then takes objects × bytes of an object ÷ [`LONG_PAGE`]
//! requests instead of objects ÷ `page_size`.

/// What the pages of a scan may hold: those under way, those that wait for one before them, and the
/// one that is being decoded or read.
const TOGETHER: usize = 18 << 20;
/// How long pages are to be at most: so that two of them are under way.
const LONG_PAGE: usize = TOGETHER / 3;

#[derive(Debug)]
pub(super) struct Pace {
    /// `maxResults` where objects are small.
    most: u32,
    /// How large objects are, from the pages so far; more from large ones than from small ones.
    object: usize,
}

impl Pace {
    pub(super) fn new(page_size: u32) -> Self {
        Self { most: page_size.max(2), object: 0 }
    }

    /// Takes in how large a page was: its text, or what was decoded of it, whichever is more.
    pub(super) fn learn(&mut self, rows: usize, bytes: usize) {
        if rows > 0 {
            self.object = bytes.div_ceil(rows).max(self.object - self.object / 8);
        }
    }

    /// `maxResults` of the next request.
    pub(super) fn size(&self) -> u32 {
        let room = LONG_PAGE / self.object.max(1);
        u32::try_from(room).unwrap_or(u32::MAX).clamp(2, self.most)
    }

    /// How many pages of so many objects may be under way or waiting.
    pub(super) fn room(&self, rows: usize) -> usize {
        (TOGETHER / (self.object * rows).max(1)).saturating_sub(1).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_objects_are_asked_for_as_told() {
        let mut pace = Pace::new(500);
        pace.learn(500, 500 * 5_000);
        assert_eq!(pace.size(), 500);
        assert_eq!(pace.room(500), 6);
        assert_eq!(pace.room(100), 36);
    }

    #[test]
    fn large_objects_make_fewer_and_then_shorter_pages() {
        for object in [10_000, 13_000, 100_000, 1 << 20, 3 << 20, 60 << 20] {
            let mut pace = Pace::new(500);
            pace.learn(500, 500 * object);
            let (size, room) = (pace.size() as usize, pace.room(pace.size() as usize));
            assert!((2..=500).contains(&size) && room >= 1);
            assert!(room == 1 || (room + 1) * size * object <= TOGETHER, "{object}: {size} × {room}");
            assert!(size == 2 || size * object <= LONG_PAGE, "{object}: {size}");
            assert!(object > 1 << 20 || room >= 2, "{object}: {room}");
        }
    }

    #[test]
    fn a_few_large_objects_do_not_make_the_rest_of_a_scan_slow() {
        let mut pace = Pace::new(500);
        pace.learn(10, 10 << 20);
        assert_eq!(pace.size(), 6);
        for _ in 0..60 {
            pace.learn(6, 6 * 3_000);
        }
        assert_eq!(pace.size(), 500);
    }
}
