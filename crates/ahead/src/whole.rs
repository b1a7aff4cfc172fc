//! Tables that are better read whole.

/// Whether a table that is looked up again and again is read once instead, and answers from there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Whole {
    requests: u64,
    did_not_fit: bool,
}

impl Whole {
    /// Look-ups took so many requests.
    pub fn took(&mut self, requests: u64) {
        self.requests += requests;
    }

    /// Whether the next look-up should read the whole: by now it would have cost no more, and it is believed to fit.
    pub fn is_due(&self, pages: u64, bytes: u64, budget: u64) -> bool {
        !self.did_not_fit && bytes <= budget && self.requests > pages.max(1)
    }

    /// The whole is being read, or something changed that look-ups rest on: so many have to come first again.
    pub fn began(&mut self) {
        self.requests = 0;
    }

    /// It did not fit, and is never tried again.
    pub fn did_not_fit(&mut self) {
        self.did_not_fit = true;
    }
}
