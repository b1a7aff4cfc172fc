//! Passing over what no column shows, without reading it as JSON: only strings and brackets are
//! looked at, 64 bytes at a time. Nine tenths of an answer are of this kind (avatars, icons, links,
//! the types of referenced objects), so this is what a page without latency costs.
//!
//! What is passed over is not validated: a literal that is none, or `[` closed by `}`, goes
//! unnoticed where nobody looks. What is cut off does not, since its brackets stay open.

use wide::u8x16;

/// Bytes looked at together.
const BLOCK: usize = 64;
/// Bytes looked at together where the end of a string is sought: most are shorter.
const LANE: usize = 16;

/// Where what stands around `from` ends: the position behind the bracket that closes the object or
/// list of which `from` is inside, outside of any string. `None`: it does not end.
pub(super) fn leave(bytes: &[u8], from: usize) -> Option<usize> {
    let (mut depth, mut at, mut strings) = (1, from, Strings::default());
    loop {
        let rest = bytes.get(at..)?;
        let mut last = [b' '; BLOCK];
        let block = match rest.first_chunk() {
            Some(block) => block,
            None if rest.is_empty() => return None,
            None => {
                last[..rest.len()].copy_from_slice(rest);
                &last
            }
        };
        let outside = !strings.inside(mark(block, b'"', 0), mark(block, b'\\', 0));
        // `[` and `{` differ in one bit alone, and so do `]` and `}`.
        let opens = mark(block, b'{', 0x20) & outside;
        let closes = mark(block, b'}', 0x20) & outside;
        if closes.count_ones() as usize >= depth
            && let Some(end) = surfaces(depth, opens, closes)
        {
            return Some(at + end + 1);
        }
        depth = depth + opens.count_ones() as usize - closes.count_ones() as usize;
        at += BLOCK;
    }
}

/// The bit of the bracket with which `depth` comes to nothing.
fn surfaces(depth: usize, opens: u64, closes: u64) -> Option<usize> {
    let mut left = closes;
    while left != 0 {
        let bit = left.trailing_zeros();
        let up_to = u64::MAX >> (63 - bit);
        if depth + (opens & up_to).count_ones() as usize == (closes & up_to).count_ones() as usize {
            return Some(bit as usize);
        }
        left &= left - 1;
    }
    None
}

/// A bit for each byte that is `sign` when the bits of `fold` are set in it.
#[inline]
fn mark(block: &[u8; BLOCK], sign: u8, fold: u8) -> u64 {
    let (lanes, _) = block.as_chunks::<LANE>();
    lanes.iter().rev().fold(0, |marks, lane| {
        let found = (u8x16::new(*lane) | u8x16::splat(fold)).simd_eq(u8x16::splat(sign));
        marks << LANE | u64::from(found.to_bitmask() as u16)
    })
}

/// What a block leaves to the next.
#[derive(Default)]
struct Strings {
    /// All bits set where a string goes on, else none.
    open: u64,
    /// 1 where the first byte of the next block is escaped.
    escaped: u64,
}

impl Strings {
    /// The bits of what stands in strings, with the quote that begins each and without the one that ends it.
    fn inside(&mut self, quotes: u64, backslashes: u64) -> u64 {
        let mut inside = quotes & !self.escapes(backslashes);
        // Bit n becomes the parity of the quotes up to n.
        for by in [1, 2, 4, 8, 16, 32] {
            inside ^= inside << by;
        }
        inside ^= self.open;
        self.open = if inside >> 63 == 1 { u64::MAX } else { 0 };
        inside
    }

    /// The bits of what a backslash stands before that is not escaped itself. Adding to the first
    /// backslash of each run of them carries past its end, where the parity of its length shows.
    fn escapes(&mut self, backslashes: u64) -> u64 {
        if backslashes == 0 {
            return std::mem::take(&mut self.escaped);
        }
        const EVEN: u64 = 0x5555_5555_5555_5555;
        let backslashes = backslashes & !self.escaped;
        let behind = backslashes << 1 | self.escaped;
        let odd_starts = backslashes & !EVEN & !behind;
        let (carried, over) = odd_starts.overflowing_add(backslashes);
        self.escaped = u64::from(over);
        (EVEN ^ carried << 1) & behind
    }
}

/// How far a string goes of which `from` is the first byte: the position of the quote that ends it,
/// and whether its bytes are what they say (no escapes, no control characters). `None`: it does not
/// end.
pub(super) fn string(bytes: &[u8], from: usize) -> Option<(usize, bool)> {
    let (mut at, mut plain) = (from, true);
    loop {
        let (found, byte) = special(bytes, at)?;
        match byte {
            b'"' => return Some((found, plain)),
            // Whatever follows belongs to it, also a quote.
            b'\\' => at = found + 2,
            _ => at = found + 1,
        }
        plain = false;
    }
}

/// The next quote, backslash or control character.
#[inline]
fn special(bytes: &[u8], mut at: usize) -> Option<(usize, u8)> {
    while let Some(lane) = bytes.get(at..)?.first_chunk::<LANE>() {
        let lane = u8x16::new(*lane);
        let control = lane.min(u8x16::splat(0x1f)).simd_eq(lane);
        let found = lane.simd_eq(u8x16::splat(b'"')) | lane.simd_eq(u8x16::splat(b'\\')) | control;
        let marks = found.to_bitmask();
        if marks != 0 {
            at += marks.trailing_zeros() as usize;
            return Some((at, bytes[at]));
        }
        at += LANE;
    }
    let found = bytes[at..].iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
    Some((at + found, bytes[at + found]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Byte by byte, as one would write it without thinking of time.
    fn slowly(bytes: &[u8]) -> Option<usize> {
        let (mut depth, mut string, mut escaped) = (1, false, false);
        for (at, byte) in bytes.iter().enumerate() {
            let plain = !std::mem::take(&mut escaped);
            match byte {
                b'\\' => escaped = plain,
                b'"' if plain => string = !string,
                b'[' | b'{' if !string => depth += 1,
                b']' | b'}' if !string => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some(at + 1);
            }
        }
        None
    }

    /// A small generator, so that each failure can be repeated.
    fn next(state: &mut u64) -> usize {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as usize
    }

    #[test]
    fn an_end_is_found_where_a_reader_of_single_bytes_finds_it() {
        let signs = br#"""\\\[]{}ab ,:\"#;
        for seed in 0..20_000 {
            let mut state = seed;
            let few = 1 + next(&mut state) % signs.len();
            let length = next(&mut state) % 300;
            let mut bytes: Vec<u8> = (0..length).map(|_| signs[next(&mut state) % few]).collect();
            if seed % 2 == 0 {
                bytes.extend(b"\"]}]}]}");
            }
            assert_eq!(leave(&bytes, 0), slowly(&bytes), "seed {seed}: {}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_string_ends_at_its_quote_wherever_blocks_end() {
        for length in 0..80 {
            let body = "a".repeat(length);
            let table = [
                ("", true),
                ("\\\"", false),
                ("\\\\", false),
                ("\\\\\\\"", false),
                ("\n", false),
                ("\u{1f}", false),
                ("é\u{7f}", true),
            ];
            for (inner, plain) in table {
                let text = format!("{body}{inner}{body}\" tail \"");
                let end = 2 * length + inner.len();
                assert_eq!(string(text.as_bytes(), 0), Some((end, plain)), "{text}");
                assert_eq!(string(&text.as_bytes()[..end], 0), None, "{text}");
            }
        }
    }
}
