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
        && !KEYWORDS.contains(&name.to_lowercase().as_str())
}

/// Whether a text can be sent as a literal at all: control characters in literals are
/// unspecified (assets-api.md 4.4), and an empty literal may mean EMPTY.
pub fn is_sendable(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

/// Whether a placeholder of the user interface could be read into the text (`${…}`, 4.5).
pub fn has_placeholder(text: &str) -> bool {
    text.contains("${")
}
