//! Conditions that users write themselves: the option `aql` of a table, the argument of `aql()`. They are put into
//! parentheses beside conditions of our own, so that they must not leave them.
//!
//! AQL's own lexer is not published. What is read here is what is documented (double quotes, `\\` and `\"` inside them:
//! assets-api.md 4.4); a text that another lexer could read in another way, where it matters, is refused.

use std::fmt;

/// Why a text cannot stand in parentheses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfit {
    /// Nothing in it.
    Blank,
    /// A closing parenthesis without an opening one: what follows it would be beside our parentheses.
    Closes,
    /// An opening parenthesis, or a double quote, without its end.
    Open(char),
    /// A backslash where none has a documented meaning.
    Backslash,
    /// A single quote outside double quotes: it may or may not be a quote.
    SingleQuote,
    /// An ORDER BY, which ends a query.
    OrderBy,
    /// A character that no text holds.
    Control,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misfit::Blank => f.write_str("it is blank"),
            Misfit::Closes => f.write_str("a closing parenthesis has no opening one"),
            Misfit::Open(sign) => write!(f, "a {sign} has no end"),
            Misfit::Backslash => f.write_str("a backslash stands outside double quotes"),
            Misfit::SingleQuote => f.write_str("a single quote stands outside double quotes"),
            Misfit::OrderBy => f.write_str("it has an ORDER BY"),
            Misfit::Control => f.write_str("it holds a control character"),
        }
    }
}

/// Whether a text is a condition by itself, as far as parentheses and quotes tell: one that can stand in parentheses
/// beside others.
///
/// # Errors
/// Why not.
pub fn condition(text: &str) -> Result<(), Misfit> {
    let words = read(text)?;
    if text.trim().is_empty() {
        return Err(Misfit::Blank);
    }
    if words.iter().zip(words.iter().skip(1)).any(|(a, b)| a.is("order") && b.is("by")) {
        return Err(Misfit::OrderBy);
    }
    Ok(())
}

/// The same of a whole query: it may be blank (everything) and have an order.
///
/// # Errors
/// Why not.
pub fn query(text: &str) -> Result<(), Misfit> {
    read(text).map(|_| ())
}

/// A bare word outside every parenthesis, or whatever stands between two.
struct Word<'a>(Option<&'a str>);

impl Word<'_> {
    fn is(&self, word: &str) -> bool {
        self.0.is_some_and(|own| own.eq_ignore_ascii_case(word))
    }
}

fn read(text: &str) -> Result<Vec<Word<'_>>, Misfit> {
    let (mut depth, mut words) = (0_usize, Vec::new());
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                loop {
                    match chars.next() {
                        Some((_, '\\')) => drop(chars.next()),
                        Some((_, '"')) => break,
                        Some(_) => {}
                        None => return Err(Misfit::Open('"')),
                    }
                }
                words.push(Word(None));
            }
            '\'' => return Err(Misfit::SingleQuote),
            '\\' => return Err(Misfit::Backslash),
            '(' => depth += 1,
            ')' => {
                depth = depth.checked_sub(1).ok_or(Misfit::Closes)?;
                words.push(Word(None));
            }
            c if c.is_whitespace() => {}
            c if c.is_control() => return Err(Misfit::Control),
            c if is_of_a_word(c) => {
                let mut end = at + c.len_utf8();
                while let Some((next, c)) = chars.next_if(|(_, c)| is_of_a_word(*c)) {
                    end = next + c.len_utf8();
                }
                if depth == 0 {
                    words.push(Word(text.get(at..end)));
                }
            }
            _ => words.push(Word(None)),
        }
    }
    if depth > 0 { Err(Misfit::Open('(')) } else { Ok(words) }
}

fn is_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_that_can_stand_in_parentheses() {
        for good in [
            "a = 1",
            "(a = 1) OR (b = 2)",
            "a = 1 OR b = 2",
            r#"Name = "x) OR (y""#,
            r#"Screen = "15\" wide" AND b = "\\""#,
            r#"Name = "O'Brien""#,
            "object having inboundReferences(objectType = \"X\" AND (a = 1))",
            "object having connectedTickets(project = X order by created)",
            "Order = 1 AND By = 2",
            r#""order" by = 1"#,
            "order.by = 2",
            "Name like ß\n  AND\tb in (1, 2)",
        ] {
            assert_eq!(condition(good), Ok(()), "{good}");
            assert_eq!(query(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn texts_that_leave_their_parentheses_or_have_none_to_stand_in() {
        for (bad, why) in [
            ("a = 1) OR (b = 2", Misfit::Closes),
            (")", Misfit::Closes),
            ("(a = 1", Misfit::Open('(')),
            (r#"a = "x"#, Misfit::Open('"')),
            (r#"a = "x\""#, Misfit::Open('"')),
            (r#"a = "x") OR ("y" = 1"#, Misfit::Closes),
            ("a = 1\\", Misfit::Backslash),
            (r#"a = \"x) OR (b = 1\""#, Misfit::Backslash),
            ("a = 'x) OR (b = 1'", Misfit::SingleQuote),
            ("a = O'Brien", Misfit::SingleQuote),
            ("a = 1\0", Misfit::Control),
        ] {
            assert_eq!(condition(bad), Err(why), "{bad}");
            assert_eq!(query(bad), Err(why), "{bad}");
        }
        for (bad, why) in [
            ("", Misfit::Blank),
            (" \t\u{a0}\n", Misfit::Blank),
            ("a = 1 ORDER BY Name", Misfit::OrderBy),
            ("a = 1 order\n by Name desc", Misfit::OrderBy),
            ("(a = 1)ORDER BY Name", Misfit::OrderBy),
            (r#"a = "x"ORDER BY Name"#, Misfit::OrderBy),
            ("order by Name", Misfit::OrderBy),
        ] {
            assert_eq!(condition(bad), Err(why), "{bad}");
            assert_eq!(query(bad), Ok(()), "{bad}");
        }
    }
}
