//! Which names and values can be sent without any chance of being read as something else.

/// Words that AQL gives a meaning of its own (assets-api.md 4.2): an attribute of such a name
/// could be taken for the keyword.
const KEYWORDS: [&str; 14] = [
    "objectschema",
    "objectschemaid",
    "objecttype",
    "objecttypeid",
    "object",
    "objectid",
    "key",
    "created",
    "updated",
    "label",
    "anyattribute",
    "empty",
    "order",
    "user",
];

/// Whether an attribute's name can be sent. Not: digits only (the query fails, assets-api.md 13),
/// a dot (walks a reference), quotes and backslashes (escapes inside names are unproven), control
/// characters, white space at the ends, a keyword.
pub fn is_safe(name: &str) -> bool {
    !name.is_empty()
        && name.trim() == name
        && !name.chars().all(|c| c.is_numeric())
        && !name.chars().any(|c| c.is_control() || matches!(c, '.' | '"' | '\'' | '\\'))
        && !KEYWORDS.contains(&folded(name).as_str())
}

/// A name such that two come out equal where some service, however it ignores case, takes one for the other: by full
/// case folding and without the dot that Turkish tells letters apart by.
pub fn folded(name: &str) -> String {
    let all = name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    let plain = all.filter(|c| *c != '\u{307}').map(|c| if c == 'ı' { 'i' } else { c });
    plain.collect::<String>().replace('ß', "ss")
}

/// Whether a text can be sent as a literal at all: control characters in literals are
/// unspecified (assets-api.md 4.4), and an empty literal may mean EMPTY.
pub fn is_sendable(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

/// Whether AQL could compute a value from the text instead of taking it as it is: a placeholder of the user
/// interface (`${…}`, assets-api.md 4.5), or a call, which the documentation writes in double quotes as well
/// (`"now(-2h 15m)"`, 4.4).
pub fn may_be_computed(text: &str) -> bool {
    text.contains("${") || is_call(text.trim())
}

/// `word(…)`. `Printer (old)`, with a blank, is none.
fn is_call(text: &str) -> bool {
    let word = text.strip_suffix(')').and_then(|call| call.split_once('(')).map_or("", |(word, _)| word);
    !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
