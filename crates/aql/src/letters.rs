//! Which parts of a text compare alike however a service folds letters.
//!
//! AQL ignores case, and how it does so beyond ASCII is documented nowhere (assets-api.md 14): by full case
//! folding (`ß` is `ss`), letter by letter, in ASCII only, as in Turkish (`I` is `ı`), by lower case as Unicode
//! has it, where a `Σ` at the end of a word becomes another letter than one inside. Nor need it be PostgreSQL's
//! way, whose `lower()` depends on the collation: it makes `i` of `İ` in some and two letters in others, and `k`
//! of the Kelvin sign.
//!
//! Texts that are the same are the same in every folding. A part of a text is a part of the folded text where no
//! letter of it is folded by what stands beside it. Where SQL ignores case, only letters are sent whose
//! spellings every folding puts together.

/// How SQL compares letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// To the letter.
    Kept,
    /// In lower case.
    Ignored,
}

/// Whether a letter can be sent as a part of a text.
fn is_certain(c: char, case: Case) -> bool {
    match case {
        // At the end of a word its lower case is another one, and where a word ends is not known of a part.
        Case::Kept => c != 'Σ',
        // `İ` and the Kelvin sign have them as their lower case; in Turkish `I` has not.
        Case::Ignored if c.is_ascii() => !matches!(c, 'i' | 'I' | 'k' | 'K'),
        Case::Ignored => c.is_alphanumeric() && has_no_case(c),
    }
}

fn has_no_case(c: char) -> bool {
    !c.is_lowercase() && !c.is_uppercase() && c.to_lowercase().eq([c]) && c.to_uppercase().eq([c])
}

/// Whether it may change the letter before it: an accent that stands by itself.
fn may_combine(c: char) -> bool {
    !c.is_ascii() && !c.is_alphanumeric()
}

/// A run without what the text around it may change: `next` follows it, or, if nothing does, anything may.
fn closed(run: &str, next: Option<char>, case: Case) -> &str {
    let mut run = run.trim_start_matches(may_combine);
    if next.is_some_and(may_combine) {
        let mut chars = run.chars();
        if chars.next_back().is_some_and(char::is_alphabetic) {
            run = chars.as_str();
        }
    }
    // In Turkish an `I` is folded by the dot that may follow it.
    if case == Case::Kept { run.trim_end_matches('I') } else { run }
}

/// The longest part that begins, folded, whatever begins with the text; it may be empty.
pub fn start(text: &str, case: Case) -> &str {
    let end = text.find(|c| !is_certain(c, case)).unwrap_or(text.len());
    let run = closed(&text[..end], text[end..].chars().next(), case);
    // What is cut off at the beginning leaves no beginning.
    if text.starts_with(run) { run } else { "" }
}

/// The longest part that ends, folded, whatever ends with the text; it may be empty.
pub fn end(text: &str, case: Case) -> &str {
    let uncertain = text.char_indices().rev().find(|(_, c)| !is_certain(*c, case));
    let begin = uncertain.map_or(0, |(at, c)| at + c.len_utf8());
    text[begin..].trim_start_matches(may_combine)
}

/// The parts that are, folded, inside whatever has the text inside.
pub fn runs(text: &str, case: Case) -> impl Iterator<Item = &str> {
    text.split(move |c| !is_certain(c, case)).map(move |run| {
        // A part of the text: its address says where.
        let behind = run.as_ptr() as usize - text.as_ptr() as usize + run.len();
        closed(run, text[behind..].chars().next(), case)
    })
}

/// Whether all spellings of a text are found by one, ignoring case.
pub fn is_wholly_certain(text: &str, case: Case) -> bool {
    text.chars().all(|c| is_certain(c, case))
}

/// Whether rich text whose markup is left out still reads like this, and none that has markup does: letters and
/// digits, single signs between them. `h1. ` and its like are markup of a wiki.
pub fn is_plain(text: &str) -> bool {
    let letters: Vec<char> = text.chars().collect();
    !letters.is_empty()
        && letters.iter().enumerate().all(|(n, c)| {
            let inside = n > 0 && n + 1 < letters.len();
            let between = || letters[n - 1].is_alphanumeric() && letters[n + 1].is_alphanumeric();
            c.is_alphanumeric() || (" .,:/_@'-".contains(*c) && inside && between())
        })
}

/// The part of the beginning of rich text that begins it without its markup too; it may be empty.
pub fn plain_start(text: &str) -> &str {
    let end = text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| {
        let part = &text[..*end];
        is_plain(part) || is_plain(&format!("{part}x"))
    });
    let run = end.last().map_or("", |end| &text[..end]);
    let run = run.trim_end_matches(|c: char| !c.is_alphanumeric());
    // It may be the beginning of a wiki's `h1.` or `bq.`.
    let lower = run.to_ascii_lowercase();
    let is_mark = ["h1.", "h2.", "h3.", "h4.", "h5.", "h6.", "bq."].iter().any(|m| m.starts_with(&lower));
    if is_mark { "" } else { run }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The foldings that a service may have.
    fn foldings() -> Vec<fn(&str) -> String> {
        let full = |s: &str| s.replace(['ẞ', 'ß'], "ss").to_lowercase().replace('ς', "σ");
        let letter_by_letter = |s: &str| s.chars().map(|c| c.to_lowercase().next().unwrap_or(c)).collect();
        let ascii = |s: &str| s.to_ascii_lowercase();
        let turkish = |s: &str| s.replace("I\u{307}", "i").replace('I', "ı").replace('İ', "i").to_lowercase();
        vec![str::to_lowercase, full, letter_by_letter, ascii, turkish, str::to_uppercase]
    }

    /// What PostgreSQL's lower() may be.
    fn lowers() -> Vec<fn(&str) -> String> {
        let glibc = |s: &str| {
            s.chars().map(|c| if c == 'İ' { 'i' } else { c.to_lowercase().next().unwrap_or(c) }).collect()
        };
        vec![str::to_lowercase, glibc, |s| s.to_ascii_lowercase()]
    }

    const TEXTS: &[&str] = &[
        "ΛΟΓΟΣ",
        "ΑΣΦ",
        "ΑΣ.Φ",
        "Istanbul",
        "İstanbul",
        "ISTANBUL",
        "I\u{307}stanbul",
        "istanbul",
        "ıstanbul",
        "Büro",
        "BÜRO",
        "büro",
        "Straße",
        "STRASSE",
        "STRAẞE",
        "\u{212a}elvin",
        "Kelvin",
        "kelvin",
        "名前",
        "Å1",
        "\u{212b}1",
        "A\u{30a}1",
        "web-01",
        "WEB-01",
        "ﬁn",
        "Éa",
        "E\u{301}a",
    ];

    #[test]
    fn what_is_sent_of_a_text_is_found_in_every_text_that_has_it_in_every_folding() {
        for text in TEXTS {
            let cuts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            for fold in foldings() {
                for cut in &cuts {
                    let (head, tail) = text.split_at(*cut);
                    assert!(fold(text).starts_with(&fold(start(head, Case::Kept))), "{head} of {text}");
                    assert!(fold(text).ends_with(&fold(end(tail, Case::Kept))), "{tail} of {text}");
                    for run in runs(head, Case::Kept).chain(runs(tail, Case::Kept)) {
                        assert!(fold(text).contains(&fold(run)), "{run} of {text}");
                    }
                }
            }
        }
    }

    #[test]
    fn where_case_is_ignored_every_spelling_that_postgresql_takes_is_found_in_every_folding() {
        for lower in lowers() {
            for (a, b) in TEXTS.iter().flat_map(|a| TEXTS.iter().map(move |b| (*a, *b))) {
                if lower(a) != lower(b) {
                    continue;
                }
                for fold in foldings() {
                    assert!(fold(a).starts_with(&fold(start(b, Case::Ignored))), "{a} {b}");
                    assert!(fold(a).ends_with(&fold(end(b, Case::Ignored))), "{a} {b}");
                    assert!(runs(b, Case::Ignored).all(|run| fold(a).contains(&fold(run))), "{a} {b}");
                    assert!(!is_wholly_certain(b, Case::Ignored) || fold(a) == fold(b), "{a} {b}");
                }
            }
        }
    }

    #[test]
    fn plain_letters_are_sent_whole() {
        assert_eq!(start("srv-0", Case::Kept), "srv-0");
        assert_eq!(start("SRV-0", Case::Ignored), "SRV-0");
        assert_eq!(start("名", Case::Ignored), "名");
        assert_eq!(start("büro", Case::Ignored), "b");
        assert_eq!(start("cafe\u{301}", Case::Ignored), "caf", "the accent belongs to the letter before it");
        assert_eq!(runs("primary", Case::Ignored).collect::<Vec<_>>(), ["pr", "mary"]);
        assert_eq!(end("srv-primary", Case::Ignored), "mary");
        assert_eq!(start("ΑΣ", Case::Kept), "Α");
    }

    #[test]
    fn rich_text_is_plain_where_nothing_can_be_markup() {
        for plain in ["Oslo", "web-01", "a b, c".replace(", ", ",").as_str(), "10.0.0.1", "名前"] {
            assert!(is_plain(plain), "{plain}");
        }
        for marked in ["<b>x</b>", "a  b", "h1. Title", "*x*", "a &amp; b", "- item", "x.", ""] {
            assert!(!is_plain(marked), "{marked}");
        }
        assert_eq!(plain_start("Oslo <b>"), "Oslo");
        assert_eq!(plain_start("see web-01, then"), "see web-01");
        assert_eq!((plain_start("h1"), plain_start("B"), plain_start("<p>")), ("", "", ""));
    }
}
