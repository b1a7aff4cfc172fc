//! Text into tokens.

use super::Invalid;

#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    Word(String),
    Quoted(String),
    Open,
    Close,
    Comma,
    /// `=`, `==`, `!=`, `<`, `>`, `<=`, `>=`.
    Operator(&'static str),
}

/// A token and where it stands, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    pub token: Token,
    pub start: usize,
    pub end: usize,
}

/// Cuts a query into tokens. Inside double quotes `\"` and `\\` are the only escapes (assets-api.md section 4.4).
pub fn tokens(query: &str) -> Result<Vec<Placed>, Invalid> {
    let mut found = Vec::new();
    let mut rest = query.char_indices().peekable();
    while let Some((start, c)) = rest.next() {
        let token = match c {
            c if c.is_whitespace() => continue,
            '(' => Token::Open,
            ')' => Token::Close,
            ',' => Token::Comma,
            '"' => quoted(&mut rest, start)?,
            '=' | '!' | '<' | '>' => {
                let two = rest.next_if(|(_, n)| *n == '=').is_some();
                Token::Operator(match (c, two) {
                    ('=', false) => "=",
                    ('=', true) => "==",
                    ('!', true) => "!=",
                    ('<', false) => "<",
                    ('<', true) => "<=",
                    ('>', false) => ">",
                    ('>', true) => ">=",
                    _ => {
                        return Err(Invalid::new(format!(
                            "Unexpected '!' at position {start} of the AQL query"
                        )));
                    }
                })
            }
            c => {
                let mut word = String::from(c);
                while let Some((_, c)) =
                    rest.next_if(|(_, c)| !c.is_whitespace() && !"(),\"=!<>".contains(*c))
                {
                    word.push(c);
                }
                Token::Word(word)
            }
        };
        let end = rest.peek().map_or(query.len(), |(at, _)| *at);
        found.push(Placed { token, start, end });
    }
    Ok(found)
}

fn quoted(rest: &mut std::iter::Peekable<std::str::CharIndices<'_>>, start: usize) -> Result<Token, Invalid> {
    let mut text = String::new();
    while let Some((at, c)) = rest.next() {
        match c {
            '"' => return Ok(Token::Quoted(text)),
            '\\' => match rest.next() {
                Some((_, c @ ('"' | '\\'))) => text.push(c),
                _ => return Err(Invalid::new(format!("Unknown escape at position {at} of the AQL query"))),
            },
            c => text.push(c),
        }
    }
    Err(Invalid::new(format!("The quote at position {start} of the AQL query is never closed")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(query: &str) -> Vec<Token> {
        tokens(query).unwrap().into_iter().map(|p| p.token).collect()
    }

    #[test]
    fn quotes_hold_anything_but_unescaped_quotes_and_backslashes() {
        assert_eq!(kinds(r#""15\" Screen""#), [Token::Quoted("15\" Screen".into())]);
        assert_eq!(kinds(r#""back\\slash""#), [Token::Quoted("back\\slash".into())]);
        assert!(tokens(r#""back\slash""#).is_err());
        assert!(tokens(r#"Name = "open"#).is_err());
        assert!(tokens(r#"Name = "open\""#).is_err());
    }

    #[test]
    fn words_end_where_a_symbol_begins() {
        let word = |s: &str| Token::Word(s.into());
        let expected =
            [word("Memory"), Token::Operator(">="), word("10.5"), Token::Close, Token::Comma, word("-2h")];
        assert_eq!(kinds("Memory>=10.5),-2h"), expected);
        assert_eq!(
            kinds("a==b!=c"),
            [word("a"), Token::Operator("=="), word("b"), Token::Operator("!="), word("c")]
        );
        assert!(tokens("a ! b").is_err());
    }
}
