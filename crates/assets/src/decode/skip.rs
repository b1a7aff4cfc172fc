//! Passing over what no column shows, without reading it as JSON: only strings and brackets are
//! looked at, 64 bytes at a time. Nine tenths of an answer are of this kind (avatars, icons, links,
//! the types of referenced objects), so this is what a page without latency costs.
//!
//! What is passed over is validated only so far that nothing else can be passed over with it: a
//! quote begins or ends a string only where one may, so that text which looks like brackets is
//! never taken for them, nor the other way round. A literal that is none goes unnoticed where nobody
//! looks.

use wide::u8x16;

/// Bytes looked at together.
const BLOCK: usize = 64;
/// Bytes looked at together where the end of a string is sought: most are shorter.
const LANE: usize = 16;

/// Why an object or a list has no end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Endless {
    /// The text ends before.
    CutOff,
    /// A quote stands where none may, in the 64 bytes from this position on.
    Quote(usize),
}

/// Where what stands around `from` ends: the position behind the bracket that closes the object or
/// list of which `from` is inside, outside of any string.
pub(super) fn leave(bytes: &[u8], from: usize) -> Result<usize, Endless> {
    let (mut depth, mut at, mut strings) = (1, from, Strings::new());
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let mut last = [b' '; BLOCK];
        let block = match rest.first_chunk() {
            Some(block) => block,
            None if rest.is_empty() => return Err(Endless::CutOff),
            None => {
                last[..rest.len()].copy_from_slice(rest);
                &last
            }
        };
        let signs = Signs::of(block);
        let outside = strings.outside(&signs).ok_or(Endless::Quote(at))?;
        let (opens, closes) = (signs.opens & outside, signs.closes & outside);
        if closes.count_ones() as usize >= depth
            && let Some(end) = surfaces(depth, opens, closes)
        {
            return Ok(at + end + 1);
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

/// Where in a block stands what matters, a bit a byte.
struct Signs {
    quotes: u64,
    backslashes: u64,
    opens: u64,
    closes: u64,
    /// Commas, colons and blanks.
    apart: u64,
}

impl Signs {
    #[inline]
    fn of(block: &[u8; BLOCK]) -> Self {
        let mut signs = Self { quotes: 0, backslashes: 0, opens: 0, closes: 0, apart: 0 };
        let (lanes, _) = block.as_chunks::<LANE>();
        for lane in lanes.iter().rev() {
            let lane = u8x16::new(*lane);
            let is = |sign| lane.simd_eq(u8x16::splat(sign));
            // `[` and `{` differ in one bit alone, and so do `]` and `}`.
            let folded = lane | u8x16::splat(0x20);
            let blank = lane.min(u8x16::splat(b' ')).simd_eq(lane);
            let put = |marks: &mut u64, found: u8x16| {
                *marks = *marks << LANE | u64::from(found.to_bitmask() as u16);
            };
            put(&mut signs.quotes, is(b'"'));
            put(&mut signs.backslashes, is(b'\\'));
            put(&mut signs.opens, folded.simd_eq(u8x16::splat(b'{')));
            put(&mut signs.closes, folded.simd_eq(u8x16::splat(b'}')));
            put(&mut signs.apart, is(b',') | is(b':') | blank);
        }
        signs
    }
}

/// What a block leaves to the next.
struct Strings {
    /// All bits set where a string goes on, else none.
    open: u64,
    /// 1 where the first byte of the next block is escaped.
    escaped: u64,
    /// 1 where a string may begin with the first byte of the next block.
    may_begin: u64,
    /// 1 where a string has ended with the last byte of the block.
    ended: u64,
}

impl Strings {
    /// Outside of a string, where one may begin.
    fn new() -> Self {
        Self { open: 0, escaped: 0, may_begin: 1, ended: 0 }
    }

    /// The bits of what does not stand in strings, without the quote that begins each and with the one that
    /// ends it. `None`: a string begins behind something that is no comma, colon, blank or opening
    /// bracket, or ends before something that is no comma, colon, blank or closing bracket.
    fn outside(&mut self, signs: &Signs) -> Option<u64> {
        let quotes = signs.quotes & !self.escapes(signs.backslashes);
        // Bit n becomes the parity of the quotes up to n.
        let mut inside = quotes;
        for by in [1, 2, 4, 8, 16, 32] {
            inside ^= inside << by;
        }
        inside ^= self.open;
        let (begin, end) = (quotes & inside, quotes & !inside);
        let before = signs.apart | signs.opens;
        let behind = signs.apart | signs.closes;
        let out_of_place = begin & !(before << 1 | self.may_begin) | (end << 1 | self.ended) & !behind;
        self.open = if inside >> 63 == 1 { u64::MAX } else { 0 };
        self.may_begin = before >> 63;
        self.ended = end >> 63;
        (out_of_place == 0).then_some(!inside)
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
#[inline]
pub(super) fn string(bytes: &[u8], from: usize) -> Option<(usize, bool)> {
    // Most end within a lane and are plain.
    match special(bytes, from)? {
        (end, b'"') => Some((end, true)),
        (found, _) => escaped_string(bytes, found).map(|end| (end, false)),
    }
}

/// The end of a string that has something special at `at`.
#[cold]
fn escaped_string(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        // Whatever follows a backslash belongs to it, also a quote.
        let skipped = if bytes[at] == b'\\' { 2 } else { 1 };
        match special(bytes, at + skipped)? {
            (end, b'"') => return Some(end),
            (found, _) => at = found,
        }
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
    fn slowly(bytes: &[u8]) -> Result<usize, Endless> {
        let (mut depth, mut string, mut escaped, mut ended, mut before) = (1, false, false, false, b' ');
        for (at, byte) in bytes.iter().enumerate() {
            let plain = !std::mem::take(&mut escaped);
            let apart = |byte| matches!(byte, b',' | b':' | 0..=b' ');
            if std::mem::take(&mut ended) && !apart(*byte) && !matches!(byte, b']' | b'}') {
                return Err(Endless::Quote(at));
            }
            match byte {
                b'\\' => escaped = plain,
                b'"' if plain => {
                    if !string && !apart(before) && !matches!(before, b'[' | b'{') {
                        return Err(Endless::Quote(at));
                    }
                    string = !string;
                    ended = !string;
                }
                b'[' | b'{' if !string => depth += 1,
                b']' | b'}' if !string => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Ok(at + 1);
            }
            before = *byte;
        }
        Err(Endless::CutOff)
    }

    /// A small generator, so that each failure can be repeated.
    fn next(state: &mut u64) -> usize {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as usize
    }

    #[test]
    fn an_end_is_found_where_a_reader_of_single_bytes_finds_it() {
        // What is made of these is mostly in order, so that ends come late.
        let parts =
            ["\"a\",", "{", "}", "[", "]", "\"\\\\\":", "\"\\\"\",", "\"]}\"", " ", ",", "1", "\"", "\\"];
        let (mut ends, mut quotes) = (0, 0);
        for seed in 0..40_000 {
            let mut state = seed;
            let few = 1 + next(&mut state) % parts.len();
            let length = next(&mut state) % 100;
            let mut text: String = (0..length).map(|_| parts[next(&mut state) % few]).collect();
            text.push_str(if seed % 2 == 0 { "\"\" ]}]}]}]}]}]}]}]}" } else { "" });
            let (fast, slow) = (leave(text.as_bytes(), 0), slowly(text.as_bytes()));
            match (&fast, slow) {
                // One in the block of the end is seen too, though behind it.
                (Err(Endless::Quote(from)), Ok(end)) => assert!(*from < end, "seed {seed}: {text}"),
                (Err(Endless::Quote(from)), Err(Endless::Quote(at))) => {
                    assert!((*from..*from + BLOCK).contains(&at), "seed {seed}: {text}");
                    quotes += 1;
                }
                (fast, slow) => assert_eq!(fast, &slow, "seed {seed}: {text}"),
            }
            ends += usize::from(fast.is_ok());
        }
        assert!(ends > 3_000 && quotes > 3_000, "{ends} ends, {quotes} quotes out of place");
    }

    #[test]
    fn a_quote_too_many_never_makes_another_object_part_of_this_one() {
        // Two of them, so that the brackets between them would look like text.
        for name in [r#"a"b"#, r#"a",b"#, r#"a":b"#, r#"a"}b"#, r#"a" b"#, r#"a""#] {
            let avatar = format!(r#"{{"name":"{name}","url":"x"}}"#);
            let text =
                format!(r#"{avatar},"attributes":[1]}},{{"id":"2","avatar":{avatar},"attributes":[2]}}]"#);
            let end = leave(text.as_bytes(), 1);
            assert!(end.is_err() || end == Ok(r#"{"name":"a"}"#.len()), "{name}: {end:?} in {text}");
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
