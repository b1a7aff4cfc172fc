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
//!
//! Likewise a page that the service does not give, in time or at all ([`Given`]): how many objects it
//! gives is kept for the scan and for later ones, and grows again slowly.

/// What the pages of a scan may hold: those under way, those that wait for one before them, and the
/// one that is being decoded or read.
const TOGETHER: usize = 18 << 20;
/// How long pages are to be at most: so that two of them are under way.
const LONG_PAGE: usize = TOGETHER / 3;
/// Pages overlap by one object, so a shorter one would bring nothing new.
pub(crate) const SMALLEST_PAGE: u32 = 2;
/// Pages of fewer objects, unless they are long, hold too much besides objects to tell their size.
const TELLING: usize = 16;

/// Pages that came as long as asked before the next may be longer again.
const GROWS_AFTER: u32 = 8;
/// Pages before a length that the service did not give is tried again.
const TRIED_AFTER: u32 = 100;

/// How many objects the service gives on a page, as far as it has failed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Given {
    /// So many are asked for.
    most: u32,
    /// So many it did not give.
    failed: u32,
    /// Pages that came since `most` last changed.
    pages: u32,
}

impl Default for Given {
    /// As many as one likes.
    fn default() -> Self {
        Self { most: u32::MAX, failed: u32::MAX, pages: 0 }
    }
}

impl Given {
    /// A page of `size` objects was not given: so many times fewer are asked for. Where that is a `guess`,
    /// the length is to blame only when it fails again.
    fn fail(&mut self, size: u32, by: u32, guess: bool) {
        if !guess || self.most != u32::MAX {
            self.failed = self.failed.min(size.max(SMALLEST_PAGE + 1));
        }
        self.most = self.most.min(size / by.max(2)).max(SMALLEST_PAGE);
        self.pages = 0;
    }

    /// A page came.
    fn learn(&mut self, rows: usize, page_size: u32) {
        if self.most == u32::MAX || rows < self.most as usize / 2 {
            return;
        }
        self.pages += 1;
        if self.pages >= TRIED_AFTER {
            self.failed = u32::MAX;
        }
        if self.pages < GROWS_AFTER {
            return;
        }
        let between = self.most + (self.failed - self.most) / 2;
        let next = self.most.saturating_mul(2).min(between);
        // Not so close that it would fail again soon.
        if u64::from(next) * 4 > u64::from(self.failed) * 3 {
            return;
        }
        (self.most, self.pages) = (next, 0);
        if self.most >= page_size {
            *self = Self::default();
        }
    }
}

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
    /// How many objects the service gives.
    given: Given,
}

impl Pace {
    /// `object` is how large an object was in an earlier scan, 0 if that is not known, and `given` how many
    /// there were on a page.
    pub(crate) fn new(page_size: u32, object: usize, given: Given) -> Self {
        let most = page_size.max(SMALLEST_PAGE);
        Self { most, object, guessed: true, telling: false, doubt: 0, given }
    }

    /// Takes in how large a page was: its text, or what was decoded of it, whichever is more.
    pub(crate) fn learn(&mut self, rows: usize, bytes: usize) {
        if rows == 0 {
            return;
        }
        self.given.learn(rows, self.most);
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

    /// A page of `size` objects was not given: `by` times fewer are asked for.
    pub(crate) fn fail(&mut self, size: u32, by: u32, guess: bool) {
        self.given.fail(size, by, guess);
    }

    /// How many objects the service gives.
    pub(crate) fn given(&self) -> Given {
        self.given
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
        u32::try_from(room).unwrap_or(u32::MAX).clamp(SMALLEST_PAGE, self.most.min(self.given.most))
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
        let mut pace = Pace::new(500, 0, Given::default());
        pace.learn(500, 500 * 5_000);
        assert_eq!(pace.size(), 500);
        assert_eq!(pace.room(500), 6);
        assert_eq!(pace.room(100), 36);
    }

    #[test]
    fn large_objects_make_fewer_and_then_shorter_pages() {
        for object in [10_000, 13_000, 100_000, 1 << 20, 3 << 20, 60 << 20] {
            let mut pace = Pace::new(500, 0, Given::default());
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
        let mut pace = Pace::new(500, 0, Given::default());
        pace.learn(10, 10 << 20);
        assert_eq!(pace.size(), 6);
        for _ in 0..60 {
            pace.learn(6, 6 * 3_000);
        }
        assert_eq!(pace.size(), 500);
    }

    #[test]
    fn what_an_earlier_scan_knew_fits_the_first_page_and_no_longer_than_that() {
        let mut pace = Pace::new(500, 100_000, Given::default());
        assert_eq!(pace.size(), 62);
        pace.learn(62, 62 * 1_000);
        assert_eq!(pace.size(), 500);
        assert_eq!(pace.object(), Some(1_000));
    }

    #[test]
    fn a_page_of_a_few_small_objects_tells_nothing() {
        let mut pace = Pace::new(500, 0, Given::default());
        pace.learn(1, 20_000);
        assert_eq!(pace.object(), None);
        pace.learn(2, 4 << 20);
        assert_eq!(pace.object(), Some(2 << 20));
    }

    #[test]
    fn a_page_without_room_becomes_half_as_long_each_time_at_least() {
        let mut pace = Pace::new(500, 0, Given::default());
        let mut sizes = vec![pace.size()];
        for _ in 0..9 {
            let size = pace.size();
            pace.cut(size, 2 << 20);
            assert!(pace.size() <= size / 2 || pace.size() == SMALLEST_PAGE);
            sizes.push(pace.size());
        }
        assert_eq!(sizes.last(), Some(&SMALLEST_PAGE), "{sizes:?}");
        pace = Pace::new(500, 0, Given::default());
        pace.cut(500, 50_000_000);
        assert_eq!(pace.size(), 62, "as many as fit, where the length is told");
    }

    #[test]
    fn after_a_page_without_room_pages_are_soon_as_long_as_before() {
        let mut pace = Pace::new(500, 0, Given::default());
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

    #[test]
    fn a_page_that_is_not_given_becomes_shorter_and_soon_longer_again_but_not_as_long() {
        let mut pace = Pace::new(500, 0, Given::default());
        for expected in [250, 125, 62, 31, 15, 7, 3, 2, 2] {
            pace.fail(pace.size(), 2, false);
            assert_eq!(pace.size(), expected);
        }
        let mut pace = Pace::new(500, 0, Given::default());
        pace.fail(500, 8, false);
        let mut sizes = vec![pace.size()];
        for _ in 0..60 {
            pace.learn(pace.size() as usize, 1_000);
            sizes.push(pace.size());
        }
        sizes.dedup();
        assert_eq!(sizes, [62, 124, 248, 374]);
        // Half of what failed goes, and no longer is tried for long.
        pace.fail(374, 2, false);
        let mut tried = 0;
        while pace.size() < 374 {
            pace.learn(pace.size() as usize, 1_000);
            tried += 1;
        }
        assert!(tried > 100, "{tried}");
    }

    #[test]
    fn what_is_only_a_guess_is_tried_again_sooner() {
        let mut pace = Pace::new(500, 0, Given::default());
        pace.fail(500, 8, true);
        assert_eq!(pace.size(), 62);
        let pages = |pace: &mut Pace| {
            (0..200)
                .take_while(|_| {
                    pace.learn(pace.size() as usize, 1_000);
                    pace.size() < 500
                })
                .count()
        };
        assert!(pages(&mut pace) < 40);
        assert_eq!(pace.given(), Given::default(), "nothing is left of it");
        pace.fail(500, 8, true);
        pace.fail(62, 8, true);
        assert_eq!(pace.size(), 7);
        assert!(pages(&mut pace) > 100, "it failed again");
    }

    #[test]
    fn short_pages_do_not_show_that_longer_ones_are_given() {
        let mut pace = Pace::new(500, 0, Given::default());
        pace.fail(500, 2, false);
        for _ in 0..1000 {
            pace.learn(20, 1_000);
        }
        assert_eq!(pace.size(), 250);
    }
}
