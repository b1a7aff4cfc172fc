//! The fuzzers' entries, driven by seeded bytes: good input, spoiled in many small ways. `CASES=` runs more.

use hostile::ENTRIES;

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Pieces that mean something to one reader or another.
const PIECES: &[&[u8]] = &[
    b"null",
    b"true",
    b"[",
    b"]",
    b"{",
    b"}",
    b"\"",
    b"\\",
    b",",
    b":",
    b"\\u0000",
    b"\\ud800",
    b"\0",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"-",
    b"1e999",
    b"9223372036854775808",
    b"18446744073709551616",
    b"\"id\":",
    b"\"values\":",
    b"\"attributes\":",
    b"294277-01-01T00:00:00Z",
    b"-4714-11-23",
    b"24:00:00.0000005",
    b"https://",
    b"[::1]",
    b"@",
    b"%2f",
    b"\xe2\x80\xae",
    b" ORDER BY ",
    b"()",
];

fn good() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets-sim/fixtures");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("the fixtures").flatten().map(|e| e.path()).collect();
    files.sort();
    let mut good: Vec<Vec<u8>> =
        files.into_iter().map(|file| std::fs::read(file).expect("a fixture")).collect();
    for text in [
        "2021-02-16T20:04:41.527+0300",
        "https://acme.atlassian.net:443/",
        "http://[::1]:8080",
        "64MB",
        "-12.5e-3",
        "\"City\".Key in (\"a\\\"b\", 1, 2.5) AND NOT (Key is EMPTY)",
    ] {
        good.push(text.as_bytes().to_vec());
    }
    good
}

fn spoil(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() + 1);
        let end = (at + rng.below(16)).min(bytes.len());
        match rng.below(6) {
            0 if at < bytes.len() => bytes[at] = rng.next() as u8,
            1 => drop(bytes.drain(at..end)),
            2 => drop(bytes.splice(at..at, PIECES[rng.below(PIECES.len())].iter().copied())),
            3 => drop(bytes.splice(at..end, PIECES[rng.below(PIECES.len())].iter().copied())),
            4 => {
                let copied = bytes[at..end].to_vec();
                let to = rng.below(bytes.len() + 1);
                drop(bytes.splice(to..to, copied));
            }
            _ => bytes.truncate(end.max(1)),
        }
    }
}

#[test]
fn no_entry_panics_over_spoiled_input() {
    let good = good();
    let cases = std::env::var("CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(4000);
    for (name, entry) in ENTRIES {
        let mut rng = Rng(20_260_101);
        for case in 0..cases {
            let mut bytes = match rng.below(3) {
                // Nothing but noise.
                0 => (0..rng.below(200)).map(|_| rng.next() as u8).collect(),
                _ => good[rng.below(good.len())].clone(),
            };
            if name == "metadata" {
                bytes.insert(0, rng.next() as u8);
            }
            spoil(&mut bytes, &mut rng);
            let outcome = std::panic::catch_unwind(|| entry(&bytes));
            assert!(outcome.is_ok(), "{name}, case {case}: {:?}", String::from_utf8_lossy(&bytes));
        }
    }
}
