//! How many objects a page is asked for and how many pages may be under way, so that what they hold
//! stays within a number of bytes however large the objects are.
//!
//! Requests are scarcer than time: where objects are large, fewer pages are under way at once
//! before pages get shorter. A scan then takes objects × bytes of an object ÷ [`LONG_PAGE`]
//! requests instead of objects ÷ `page_size`.
//!
//! How large objects are is known from pages before, at first from those of an earlier scan of the same
//! columns. Where it is not known, or objects are suddenly larger, a page for which there is no room
//! is given up while it comes (`crate::buffers`) and asked for again with fewer objects.

/// What the pages of a scan may hold: those under way, those that wait for one before them, and the
/// one that is being decoded or read.
const TOGETHER: usize = 18 << 20;
/// How long pages are to be at most: so that two of them are under way.
const LONG_PAGE: usize = TOGETHER / 3;
/// Pages overlap by one object, so a shorter one would bring nothing new.
pub(crate) const SMALLEST_PAGE: u32 = 2;
/// Pages of fewer objects, unless they are long, hold too much besides objects to tell their size.
const TELLING: usize = 16;

/// The pace of one scan.
#[derive(Debug)]
pub(crate) struct Pace {
    /// `maxResults` where objects are small.
    most: u32,
    /// How large objects are, from the pages so far; more from large ones than from small ones.
    object: usize,
    /// That number is from an earlier scan: the first page replaces it.
    guessed: bool,
    /// It is worth keeping for the next scan.
    telling: bool,
    /// How large objects would be if those of a page without room were all there was. Each page that comes
    /// halves it: it is a guess, and being wrong again costs one request.
    doubt: usize,
}

impl Pace {
    /// `object` is how large an object was in an earlier scan, 0 if that is not known.
    pub(crate) fn new(page_size: u32, object: usize) -> Self {
        Self { most: page_size.max(SMALLEST_PAGE), object, guessed: true, telling: false, doubt: 0 }
    }

    /// Takes in how large a page was: its text, or what was decoded of it, whichever is more.
    pub(crate) fn learn(&mut self, rows: usize, bytes: usize) {
        if rows == 0 {
            return;
        }
        let telling = rows >= TELLING || bytes >= LONG_PAGE / 4;
        let before = if self.guessed && telling { 0 } else { self.object };
        self.guessed &= !telling;
        self.telling |= telling;
        self.object = bytes.div_ceil(rows).max(before - before / 8);
        self.doubt /= 2;
    }

    /// A page that was asked for with `size` objects has so many bytes or more, and there was no room for it:
    /// the next one is asked for with half as many at most.
    pub(crate) fn cut(&mut self, size: u32, bytes: usize) {
        self.guessed = false;
        let size = size.max(1) as usize;
        self.doubt = self.doubt.max(bytes.div_ceil(size)).max((2 * LONG_PAGE).div_ceil(size));
    }

    /// How large objects are taken to be.
    fn reckoned(&self) -> usize {
        self.object.max(self.doubt)
    }

    /// How large objects are, as far as pages have told.
    pub(crate) fn object(&self) -> Option<usize> {
        self.telling.then_some(self.object)
    }

    /// `maxResults` of the next request.
    pub(crate) fn size(&self) -> u32 {
        let room = LONG_PAGE / self.reckoned().max(1);
        u32::try_from(room).unwrap_or(u32::MAX).clamp(SMALLEST_PAGE, self.most)
    }

    /// How many pages of so many objects may be under way or waiting.
    pub(super) fn room(&self, rows: usize) -> usize {
        (TOGETHER / (self.reckoned() * rows).max(1)).saturating_sub(1).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_objects_are_asked_for_as_told() {
        let mut pace = Pace::new(500, 0);
        pace.learn(500, 500 * 5_000);
        assert_eq!(pace.size(), 500);
        assert_eq!(pace.room(500), 6);
        assert_eq!(pace.room(100), 36);
    }

    #[test]
    fn large_objects_make_fewer_and_then_shorter_pages() {
        for object in [10_000, 13_000, 100_000, 1 << 20, 3 << 20, 60 << 20] {
            let mut pace = Pace::new(500, 0);
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
        let mut pace = Pace::new(500, 0);
        pace.learn(10, 10 << 20);
        assert_eq!(pace.size(), 6);
        for _ in 0..60 {
            pace.learn(6, 6 * 3_000);
        }
        assert_eq!(pace.size(), 500);
    }

    #[test]
    fn what_an_earlier_scan_knew_fits_the_first_page_and_no_longer_than_that() {
        let mut pace = Pace::new(500, 100_000);
        assert_eq!(pace.size(), 62);
        pace.learn(62, 62 * 1_000);
        assert_eq!(pace.size(), 500);
        assert_eq!(pace.object(), Some(1_000));
    }

    #[test]
    fn a_page_of_a_few_small_objects_tells_nothing() {
        let mut pace = Pace::new(500, 0);
        pace.learn(1, 20_000);
        assert_eq!(pace.object(), None);
        pace.learn(2, 4 << 20);
        assert_eq!(pace.object(), Some(2 << 20));
    }

    #[test]
    fn a_page_without_room_becomes_half_as_long_each_time_at_least() {
        let mut pace = Pace::new(500, 0);
        let mut sizes = vec![pace.size()];
        for _ in 0..9 {
            let size = pace.size();
            pace.cut(size, 2 << 20);
            assert!(pace.size() <= size / 2 || pace.size() == SMALLEST_PAGE);
            sizes.push(pace.size());
        }
        assert_eq!(sizes.last(), Some(&SMALLEST_PAGE), "{sizes:?}");
        pace = Pace::new(500, 0);
        pace.cut(500, 50_000_000);
        assert_eq!(pace.size(), 62, "as many as fit, where the length is told");
    }

    #[test]
    fn after_a_page_without_room_pages_are_soon_as_long_as_before() {
        let mut pace = Pace::new(500, 0);
        pace.learn(500, 500 * 1_000);
        while pace.size() > SMALLEST_PAGE {
            pace.cut(pace.size(), 20 << 20);
        }
        let mut pages = 0;
        while pace.size() < 500 {
            let rows = pace.size() as usize;
            pace.learn(rows, rows * 1_000);
            pages += 1;
        }
        assert!(pages <= 11, "{pages}");
    }
}
