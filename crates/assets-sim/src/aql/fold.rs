//! Which letters are the same: the service folds case, and nobody says how beyond ASCII (assets-api.md section 14).

use crate::switches::Fold;

/// A text so that two are the same to the service if they come out equal.
pub fn fold(text: &str, how: Fold) -> String {
    match how {
        Fold::Ascii => text.to_ascii_lowercase(),
        _ if text.is_ascii() && how != Fold::Turkish => text.to_ascii_lowercase(),
        Fold::Lower => text.to_lowercase(),
        Fold::Full => text.chars().flat_map(full).collect(),
        Fold::Simple => text.chars().map(simple).collect(),
        Fold::Turkish => {
            let dotted = text.replace("I\u{307}", "i").replace('İ', "i").replace('I', "ı");
            dotted.to_lowercase()
        }
    }
}

/// Upper and then lower case: what Unicode folds together, but for the dotless i, which it keeps apart.
fn full(c: char) -> Vec<char> {
    match c {
        'ı' => vec![c],
        'ẞ' => vec!['s', 's'],
        _ => c.to_uppercase().flat_map(char::to_lowercase).collect(),
    }
}

/// One letter for one, as comparisons of Java do.
fn simple(c: char) -> char {
    let one = |c: char, mut to: Box<dyn Iterator<Item = char>>| match (to.next(), to.next()) {
        (Some(only), None) => only,
        _ => c,
    };
    match c {
        'İ' | 'ı' => 'i',
        _ => {
            let upper = one(c, Box::new(c.to_uppercase()));
            one(upper, Box::new(upper.to_lowercase()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_of_folding_takes_other_letters_for_the_same() {
        let pairs =
            [("straße", "STRASSE"), ("ας", "ΑΣ"), ("ΑΣΑ", "ασα"), ("istanbul", "İstanbul"), ("ISIK", "ısık")];
        let same = |how| pairs.map(|(a, b)| fold(a, how) == fold(b, how));
        assert_eq!(same(Fold::Lower), [false, true, true, false, false]);
        assert_eq!(same(Fold::Full), [true, true, true, false, false]);
        assert_eq!(same(Fold::Simple), [false, true, true, true, true]);
        assert_eq!(same(Fold::Ascii), [false, false, false, false, false]);
        assert_eq!(same(Fold::Turkish), [false, true, true, true, true]);
        // The beginning of a word in lower case is not the beginning of the word in lower case.
        assert!(!fold("ΑΣΑ", Fold::Lower).starts_with(&fold("ΑΣ", Fold::Lower)));
        assert!(fold("ΑΣΑ", Fold::Full).starts_with(&fold("ΑΣ", Fold::Full)));
        assert_eq!(fold("\u{fb01}n", Fold::Full), "fin");
        assert_eq!(fold("\u{212b}", Fold::Simple), "å");
        assert_eq!(fold("\u{212a}elvin", Fold::Ascii), "\u{212a}elvin");
    }
}
