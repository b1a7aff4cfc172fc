//! The ids handed on so far, small: kept so that a mode that has to be given up in the middle can
//! be followed by another one without returning an object twice.

/// Differences of ids, each in as few bytes as it takes: 1 or 2 for an object of an ordered scan.
#[derive(Default)]
pub struct IdLog {
    bytes: Vec<u8>,
    last: i64,
}

impl IdLog {
    /// Adds one.
    pub fn push(&mut self, id: i64) {
        let step = id.wrapping_sub(self.last);
        self.last = id;
        // Zigzag, then seven bits a byte.
        let mut rest = ((step << 1) ^ (step >> 63)) as u64;
        while rest >= 0x80 {
            self.bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.bytes.push(rest as u8);
    }

    /// All of them, in the order in which they came.
    pub fn ids(&self) -> impl Iterator<Item = i64> + '_ {
        let mut bytes = self.bytes.iter();
        let mut last = 0_i64;
        std::iter::from_fn(move || {
            let (mut rest, mut shift) = (0_u64, 0);
            loop {
                let byte = *bytes.next()?;
                rest |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let step = (rest >> 1) as i64 ^ -((rest & 1) as i64);
            last = last.wrapping_add(step);
            Some(last)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::IdLog;

    #[test]
    fn ids_come_back_as_they_went_in() {
        let ids = [1, 2, 3, 200, 199, 5_000_000_000, i64::MAX, 1, 1 << 40];
        let mut log = IdLog::default();
        ids.iter().for_each(|&id| log.push(id));
        assert_eq!(log.ids().collect::<Vec<_>>(), ids);
    }
}
