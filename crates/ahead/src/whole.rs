//! Tables that are better read whole.

/// Whether a table that is looked up again and again is read once instead, and answers from there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Whole {
    lookups: u64,
    did_not_fit: bool,
}

impl Whole {
    /// A look-up asked the service.
    pub fn looked_up(&mut self) {
        self.lookups += 1;
    }

    /// Whether the next look-up should read the whole: by now it would have cost no more, and it is believed to fit.
    pub fn is_due(&self, pages: u64, bytes: u64, budget: u64) -> bool {
        !self.did_not_fit && bytes <= budget && self.lookups > pages.max(1)
    }

    /// The whole is being read. Where it is lost again, so many look-ups have to come first again.
    pub fn began(&mut self) {
        self.lookups = 0;
    }

    /// It did not fit, and is never tried again.
    pub fn did_not_fit(&mut self) {
        self.did_not_fit = true;
    }
}
