//! Conditions on letters that a service and PostgreSQL may take for the same in different ways: nobody documents how AQL
//! folds letters beyond ASCII.

use super::super::Field;
use super::author::Author;
use crate::live::literal;

/// Texts that are alike to some.
pub const TEXTS: &[&str] = &[
    "ΑΣ",
    "ας",
    "ΑΣΑ",
    "ασα",
    "Οδυσσεύς",
    "ΟΔΥΣΣΕΥΣ 2",
    "İstanbul",
    "istanbul",
    "ISTANBUL",
    "ıstanbul",
    "Istanbul Büro",
    "ISTANBUL BÜRO",
    "büro",
    "BÜRO",
    "Büro 2",
    "straße",
    "STRASSE",
    "STRAẞE",
    "\u{c5}ngstr\u{f6}m",
    "\u{212b}ngstr\u{f6}m",
    "A\u{30a}ngstro\u{308}m",
    "\u{e5}ngstr\u{f6}m",
    "\u{fb01}n",
    "FIN",
    "fin",
    "Kelvin",
    "\u{212a}elvin",
    "kelvin",
    "\u{17f}top",
    "STOP",
    "stop",
    "e\u{301}cole",
    "école",
    "ÉCOLE",
    "🚀 Σ",
    "🚀 ς",
    "µ-lab",
    "μ-lab",
    "Μ-LAB",
    "ǅ",
    "ǆ",
    "Ǆ",
    "ŉ",
    "ΐ",
    "\u{390}",
    "ᾳ",
    "ΑΙ",
];

/// What a letter may be written as instead.
const SPELLINGS: &[(&str, &str)] = &[
    ("ς", "σ"),
    ("σ", "ς"),
    ("Σ", "ς"),
    ("σ", "Σ"),
    ("i", "İ"),
    ("i", "ı"),
    ("I", "ı"),
    ("I", "İ"),
    ("İ", "i"),
    ("ı", "i"),
    ("ß", "ss"),
    ("ß", "ẞ"),
    ("ss", "ß"),
    ("SS", "ß"),
    ("\u{c5}", "\u{212b}"),
    ("\u{c5}", "A\u{30a}"),
    ("\u{212b}", "\u{e5}"),
    ("\u{e5}", "\u{212b}"),
    ("\u{fb01}", "fi"),
    ("fi", "\u{fb01}"),
    ("k", "\u{212a}"),
    ("K", "\u{212a}"),
    ("\u{212a}", "k"),
    ("s", "\u{17f}"),
    ("\u{17f}", "S"),
    ("é", "e\u{301}"),
    ("e\u{301}", "É"),
    ("ü", "Ü"),
    ("Ü", "ü"),
    ("ö", "Ö"),
    ("µ", "μ"),
    ("ǆ", "Ǆ"),
];

impl Author<'_> {
    /// The text with a letter in another spelling.
    fn respelled(&mut self, value: &str) -> String {
        let fitting: Vec<&(&str, &str)> = SPELLINGS.iter().filter(|(from, _)| value.contains(from)).collect();
        if fitting.is_empty() {
            return if self.dice().chance(50) { value.to_uppercase() } else { value.to_lowercase() };
        }
        let (from, to) = fitting[self.dice().below(fitting.len())];
        if self.dice().chance(50) { value.replacen(from, to, 1) } else { value.replace(from, to) }
    }

    /// A text of the column, one with letters beyond ASCII if there is one.
    fn lettered(&mut self, field: &Field) -> String {
        let odd: Vec<&String> = field.values.iter().filter(|v| !v.is_ascii()).collect();
        if odd.is_empty() || self.dice().chance(10) {
            return TEXTS[self.dice().below(TEXTS.len())].to_owned();
        }
        odd[self.dice().below(odd.len())].clone()
    }

    /// A condition about letters on a column of texts.
    pub(super) fn letters(&mut self, field: &Field, column: &str) -> String {
        let value = self.lettered(field);
        let other = self.respelled(&value);
        let (value, other) = if self.dice().chance(30) { (other, value) } else { (value, other) };
        if field.array {
            return match self.dice().below(3) {
                0 => format!("{} = ANY ({column})", self.given(&value)),
                1 => format!("{column} && ARRAY[{}, {}]", self.given(&value), self.given(&other)),
                _ => format!("{column} @> ARRAY[{}]", self.given(&other)),
            };
        }
        let chars: Vec<char> = value.chars().collect();
        // Mostly right after a letter that folds in another way at the end of a text, or that is not ASCII.
        let last = chars.iter().rposition(|c| "σςΣ".contains(*c)).filter(|_| self.maker.dice.chance(50));
        let last =
            last.or_else(|| chars.iter().position(|c| !c.is_ascii()).filter(|_| self.maker.dice.chance(50)));
        let cut = 1 + last.unwrap_or_else(|| self.maker.dice.below(chars.len()));
        let start: String = chars.iter().take(cut).collect();
        let beginning: String = other.chars().take(cut).collect();
        let end: String = chars.iter().skip(chars.len().saturating_sub(cut)).collect();
        let plain = |text: &str| !text.contains(['%', '_', '\\']);
        let fits = plain(&value) && plain(&other);
        let not = if self.dice().chance(20) { "NOT " } else { "" };
        match self.dice().below(13) {
            12 if fits => format!("{column} LIKE {}", self.given(&format!("{start}%"))),
            0 => format!("{column} = {}", self.given(&value)),
            1 => format!("{column} {not}IN ({}, {})", self.given(&value), self.given(&other)),
            2 => {
                let list = format!("ARRAY[{}, {}]::text[]", literal(&value), literal(&other));
                format!("{column} = ANY ({})", self.given_as(&list, "text[]"))
            }
            3 if fits => format!("{column} {not}LIKE {}", self.given(&format!("{start}%"))),
            4 if fits => format!("{column} {not}ILIKE {}", self.given(&other)),
            5 if fits => format!("{column} ILIKE {}", self.given(&format!("{beginning}%"))),
            6 if fits => format!("{column} LIKE {}", self.given(&format!("%{end}"))),
            7 if fits => format!("{column} ILIKE {}", self.given(&format!("%{end}%"))),
            8 => format!("starts_with({column}, {})", self.given(&start)),
            9 => format!("lower({column}) = lower({})", self.given(&other)),
            10 => format!(
                "lower({column}) IN ({}, {})",
                literal(&value.to_lowercase()),
                literal(&other.to_lowercase())
            ),
            _ => format!("{column} {} {}", if not.is_empty() { "=" } else { "<>" }, self.given(&other)),
        }
    }
}
