//! Reading JSON as far as a page needs it: whoever reads says what it expects next and takes or
//! passes over it. No tree is built and nothing is allocated, but for strings with escapes.
//!
//! Grammar: RFC 8259. Strings with escapes and numbers beyond 18 digits are left to `serde_json`.

use std::borrow::Cow;

use serde::Deserialize;

use super::Unreadable;
use super::scalar::Scalar;
use super::skip::{self, Endless};

/// What was read, or what was wrong (boxed: it is rare, and results are many).
pub(super) type Read<T> = Result<T, Box<Unreadable>>;

/// The value that is there, but is not what belongs there.
pub(super) fn wrong(what: impl Into<String>) -> Box<Unreadable> {
    Box::new(Unreadable { broken: false, what: what.into() })
}

/// A member whose name has been there before.
pub(super) fn twice(name: &str) -> Box<Unreadable> {
    wrong(format!("duplicate field `{name}`"))
}

/// No JSON, or cut off.
fn broken(what: impl Into<String>) -> Box<Unreadable> {
    Box::new(Unreadable { broken: true, what: what.into() })
}

/// A position in a text of JSON.
#[derive(Clone)]
pub(super) struct Reader<'de> {
    bytes: &'de [u8],
    at: usize,
    /// Whether the object or list just begun has had nothing yet, so that no comma is due.
    fresh: bool,
}

impl<'de> Reader<'de> {
    pub(super) fn new(bytes: &'de [u8]) -> Self {
        Self { bytes, at: 0, fresh: false }
    }

    /// The next byte that is no blank. The service writes none.
    #[inline]
    fn peek(&mut self) -> Read<u8> {
        match self.bytes.get(self.at) {
            Some(byte @ b'!'..) => Ok(*byte),
            _ => self.peek_far(),
        }
    }

    #[cold]
    fn peek_far(&mut self) -> Read<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(byte) => return Ok(*byte),
                None => return Err(broken("EOF: it is cut off, or empty")),
            }
        }
    }

    fn no_json(&self, expected: &str) -> Box<Unreadable> {
        broken(format!("no JSON: expected {expected} at byte {}", self.at))
    }

    /// Something else stands where `expected` should.
    fn other(&mut self, expected: &str) -> Box<Unreadable> {
        let found = match self.peek() {
            Ok(b'{') => "map".to_owned(),
            Ok(b'[') => "sequence".to_owned(),
            _ => match self.scalar() {
                Ok(Scalar::Null) => "null".to_owned(),
                Ok(Scalar::Text(text)) => format!("string {}", Scalar::Text(text).brief()),
                Ok(scalar) => scalar.text().into_owned(),
                Err(error) => return error,
            },
        };
        wrong(format!("invalid type: {found}, expected {expected}"))
    }

    fn open(&mut self, bracket: u8, expected: &str) -> Read<()> {
        if self.peek()? != bracket {
            return Err(self.other(expected));
        }
        self.at += 1;
        self.fresh = true;
        Ok(())
    }

    /// Goes into an object.
    pub(super) fn object(&mut self, expected: &str) -> Read<()> {
        self.open(b'{', expected)
    }

    /// Goes into a list.
    pub(super) fn list(&mut self, expected: &str) -> Read<()> {
        self.open(b'[', expected)
    }

    /// Takes a `null`, if one is there.
    #[inline]
    pub(super) fn null(&mut self) -> Read<bool> {
        let null = self.peek()? == b'n';
        if null {
            self.literal("null")?;
        }
        Ok(null)
    }

    /// Goes on to the next member or element; false: the object or list has ended, and is left.
    #[inline]
    fn step(&mut self, close: u8) -> Read<bool> {
        let fresh = std::mem::replace(&mut self.fresh, false);
        match self.peek()? {
            byte if byte == close => {
                self.at += 1;
                Ok(false)
            }
            _ if fresh => Ok(true),
            b',' => {
                self.at += 1;
                Ok(true)
            }
            _ => Err(self.no_json(if close == b'}' { "`,` or `}`" } else { "`,` or `]`" })),
        }
    }

    /// The name of the object's next member, whose value is next; `None` behind the last one.
    #[inline]
    pub(super) fn member(&mut self) -> Read<Option<Cow<'de, [u8]>>> {
        if !self.step(b'}')? {
            return Ok(None);
        }
        if self.peek()? != b'"' {
            return Err(self.no_json("a member's name"));
        }
        self.at += 1;
        let name = match self.quoted()? {
            (raw, true) => Cow::Borrowed(raw),
            (raw, false) => Cow::Owned(escaped(raw)?.into_bytes()),
        };
        if self.peek()? != b':' {
            return Err(self.no_json("`:`"));
        }
        self.at += 1;
        Ok(Some(name))
    }

    /// Whether the list has another element, which is next.
    pub(super) fn element(&mut self) -> Read<bool> {
        self.step(b']')
    }

    /// The bytes of a string behind its first quote, and whether they are what they say.
    #[inline]
    fn quoted(&mut self) -> Read<(&'de [u8], bool)> {
        let (end, plain) =
            skip::string(self.bytes, self.at).ok_or_else(|| broken("EOF: it is cut off in a string"))?;
        let raw = &self.bytes[self.at..end];
        self.at = end + 1;
        Ok((raw, plain))
    }

    /// A string, a number, a boolean or null.
    #[inline]
    pub(super) fn scalar(&mut self) -> Read<Scalar<'de>> {
        match self.peek()? {
            b'"' => {
                self.at += 1;
                Ok(Scalar::Text(match self.quoted()? {
                    (raw, true) => Cow::Borrowed(str::from_utf8(raw).map_err(|_| broken("it is not UTF-8"))?),
                    (raw, false) => Cow::Owned(escaped(raw)?),
                }))
            }
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.literal("true").map(|()| Scalar::Bool(true)),
            b'f' => self.literal("false").map(|()| Scalar::Bool(false)),
            b'n' => self.literal("null").map(|()| Scalar::Null),
            b'{' | b'[' => Err(self.other("a string, a number, a boolean or null")),
            _ => Err(self.no_json("a value")),
        }
    }

    fn literal(&mut self, literal: &str) -> Read<()> {
        if !self.bytes[self.at..].starts_with(literal.as_bytes()) {
            return Err(self.no_json(literal));
        }
        self.at += literal.len();
        Ok(())
    }

    /// The bytes of the number that is next, if it is one.
    fn token(&mut self) -> &'de [u8] {
        let rest = &self.bytes[self.at..];
        let part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = rest.iter().position(|byte| !part(byte)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn number(&mut self) -> Read<Scalar<'de>> {
        let token = self.token();
        let digits = token.strip_prefix(b"-").unwrap_or(token);
        // So many digits fit 64 bits. Whatever needs a second look gets it elsewhere.
        if (1..=18).contains(&digits.len()) && digits[0] != b'0' && digits.iter().all(u8::is_ascii_digit) {
            let number = digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
            return Ok(Scalar::Int(if digits.len() < token.len() { -number } else { number }));
        }
        parse(token)
    }

    /// Those members of an object that have these names and are scalars; absent ones are null. `None`:
    /// there is no object, but `null`.
    pub(super) fn fields<const N: usize>(&mut self, names: [&str; N]) -> Read<Option<[Scalar<'de>; N]>> {
        if self.null()? {
            return Ok(None);
        }
        self.object("an object or null")?;
        let mut found = [const { None }; N];
        while let Some(name) = self.member()? {
            let Some(which) = names.iter().position(|known| known.as_bytes() == &*name) else {
                self.skip()?;
                continue;
            };
            if found[which].replace(self.scalar()?).is_some() {
                return Err(twice(names[which]));
            }
        }
        Ok(Some(found.map(Option::unwrap_or_default)))
    }

    /// Passes over whatever is next.
    #[inline]
    pub(super) fn skip(&mut self) -> Read<()> {
        match self.peek()? {
            b'"' => {
                self.at += 1;
                self.quoted()?;
            }
            b'{' | b'[' => {
                self.at += 1;
                self.leave()?;
            }
            // One beyond its range is nobody's business here.
            b'-' | b'0'..=b'9' => {
                self.token();
            }
            _ => {
                self.scalar()?;
            }
        }
        Ok(())
    }

    /// Passes over the rest of the object or list that the position is in.
    pub(super) fn leave(&mut self) -> Read<()> {
        self.fresh = false;
        self.at = skip::leave(self.bytes, self.at).map_err(|endless| match endless {
            Endless::CutOff => broken("EOF: it is cut off"),
            Endless::Quote(at) => {
                broken(format!("no JSON: a quote out of place in the 64 bytes from byte {at}"))
            }
        })?;
        Ok(())
    }

    /// Passes over whatever is next, and gives its text.
    pub(super) fn raw(&mut self) -> Read<&'de [u8]> {
        self.peek()?;
        let begin = self.at;
        self.skip()?;
        Ok(&self.bytes[begin..self.at])
    }

    /// Makes sure that nothing follows.
    pub(super) fn end(mut self) -> Read<()> {
        match self.peek() {
            Err(_) => Ok(()),
            Ok(_) => Err(broken(format!("trailing characters at byte {}", self.at))),
        }
    }
}

/// What a string with escapes says, or with what belongs in none.
fn escaped(raw: &[u8]) -> Read<String> {
    parse(&[b"\"", raw, b"\""].concat())
}

fn parse<'t, T: Deserialize<'t>>(token: &'t [u8]) -> Read<T> {
    serde_json::from_slice(token).map_err(|error| {
        let said = error.to_string();
        // The place that it names is one in the token.
        let said = said.split_once(" at line ").map_or(&*said, |(said, _)| said);
        broken(said.to_owned())
    })
}
