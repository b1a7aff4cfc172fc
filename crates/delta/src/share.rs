//! How many of its rows a refresh may take from a replica. Objects that the service no longer shows may be
//! gone, or be hidden from a credential that sees less than it did: the service does not say which.

/// So many rows always may go: a fifth of a type of four objects would be none.
const FEW: u64 = 5;

/// What of a replica may be deleted by one refresh.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    share: f64,
    few: u64,
}

impl Share {
    /// A share of the rows, from 0 to 1, and a few in any case; 0 means none.
    pub fn of(share: f64) -> Self {
        Self { share, few: if share > 0.0 { FEW } else { 0 } }
    }

    /// Nothing at all.
    pub fn none() -> Self {
        Self::of(0.0)
    }

    /// The share itself.
    pub fn share(self) -> f64 {
        self.share
    }

    /// Whether everything may go, which somebody has to say on purpose.
    pub fn is_all(self) -> bool {
        self.share >= 1.0
    }

    /// Whether `gone` of `rows` may go.
    pub fn allows(self, gone: u64, rows: u64) -> bool {
        gone <= self.few || gone as f64 <= self.share * rows as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_may_go_of_any_number_and_none_where_none_may() {
        let usual = Share::of(0.2);
        assert!(usual.allows(1, 4) && usual.allows(5, 5) && usual.allows(0, 0) && !usual.allows(6, 20));
        assert!(usual.allows(20, 100) && !usual.allows(21, 100));
        assert!(
            Share::none().allows(0, 100) && !Share::none().allows(1, 100) && !Share::of(0.0).allows(1, 4)
        );
        assert!(Share::of(1.0).allows(100, 100) && Share::of(1.0).is_all() && !usual.is_all());
    }
}
