//! Reading JSON as far as a page needs it: whoever reads says what it expects next and takes or
//! passes over it. No tree is built and nothing is allocated, but for strings with escapes.
//!
//! Grammar: RFC 8259. Strings with escapes are left to `serde_json`. What is JSON and yet nothing that PostgreSQL
//! has (half a surrogate pair, a member twice) is no reason to refuse a page: see [`Scalar::Bad`].

use std::borrow::Cow;

use super::Unreadable;
use super::scalar::Scalar;
use super::skip::{self, Endless};

/// What was read, or what was wrong (boxed: it is rare, and results are many).
pub(super) type Read<T> = Result<T, Box<Unreadable>>;

/// The value that is there, but is not what belongs there.
pub(super) fn wrong(what: impl Into<String>) -> Box<Unreadable> {
    Box::new(Unreadable { broken: false, what: what.into() })
}

/// No JSON, or cut off.
fn broken(what: impl Into<String>) -> Box<Unreadable> {
    Box::new(Unreadable { broken: true, what: what.into() })
}

/// What stands where an object with scalar members is expected.
#[derive(Debug, PartialEq)]
pub(super) enum Members<'de, const N: usize> {
    /// `null`.
    Null,
    /// The members asked for; absent ones are null.
    Read([Scalar<'de>; N]),
    /// Something else.
    Other(Scalar<'de>),
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
            (raw, false) => Cow::Owned(escaped(raw)?.text().into_owned().into_bytes()),
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

    /// Whatever is next, where a scalar belongs: an object or a list is kept as it was written.
    #[inline]
    pub(super) fn any(&mut self) -> Read<Scalar<'de>> {
        if !matches!(self.peek()?, b'{' | b'[') {
            return self.scalar();
        }
        let raw = str::from_utf8(self.raw()?).map_err(|_| broken("it is not UTF-8"))?;
        Ok(Scalar::Shape(raw))
    }

    /// Whether an object is next.
    pub(super) fn is_object(&mut self) -> Read<bool> {
        Ok(self.peek()? == b'{')
    }

    /// Whether a list is next.
    pub(super) fn is_list(&mut self) -> Read<bool> {
        Ok(self.peek()? == b'[')
    }

    /// A string, a number, a boolean or null, and nothing else.
    #[inline]
    pub(super) fn scalar(&mut self) -> Read<Scalar<'de>> {
        match self.peek()? {
            b'"' => {
                self.at += 1;
                Ok(Scalar::Text(match self.quoted()? {
                    (raw, true) => Cow::Borrowed(str::from_utf8(raw).map_err(|_| broken("it is not UTF-8"))?),
                    (raw, false) => return escaped(raw),
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
        if !is_number(token) {
            return Err(broken("no JSON: invalid number"));
        }
        str::from_utf8(token).map(Scalar::Number).map_err(|_| broken("it is not UTF-8"))
    }

    /// Those members of an object that have these names.
    pub(super) fn fields<const N: usize>(&mut self, names: [&str; N]) -> Read<Members<'de, N>> {
        if self.null()? {
            return Ok(Members::Null);
        }
        if !self.is_object()? {
            return self.any().map(Members::Other);
        }
        self.object("an object")?;
        let mut found = [const { None }; N];
        while let Some(name) = self.member()? {
            match names.iter().position(|known| known.as_bytes() == &*name) {
                Some(which) => told(&mut found[which], self.any()?),
                None => self.skip()?,
            }
        }
        Ok(Members::Read(found.map(Option::unwrap_or_default)))
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

/// Takes what a member says. One that is there twice and says two things says neither.
pub(super) fn told<'de>(slot: &mut Option<Scalar<'de>>, says: Scalar<'de>) {
    *slot = match slot.take() {
        Some(before) if before != says => Some(Scalar::Bad(Box::new((says.text().into_owned(), TWICE)))),
        _ => Some(says),
    };
}

const TWICE: &str = "is one of two that stand there under one name";

/// Whether a token is a number of JSON.
fn is_number(token: &[u8]) -> bool {
    fn digits(rest: &mut &[u8]) -> usize {
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        *rest = &rest[count..];
        count
    }
    let mut rest = token.strip_prefix(b"-").unwrap_or(token);
    let zero = rest.first() == Some(&b'0');
    let whole = digits(&mut rest);
    if whole == 0 || (zero && whole > 1) {
        return false;
    }
    if let Some(fraction) = rest.strip_prefix(b".") {
        rest = fraction;
        if digits(&mut rest) == 0 {
            return false;
        }
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        rest = exponent.strip_prefix(b"-").or_else(|| exponent.strip_prefix(b"+")).unwrap_or(exponent);
        if digits(&mut rest) == 0 {
            return false;
        }
    }
    rest.is_empty()
}

/// What a string with escapes says, or with what belongs in none.
fn escaped<'de>(raw: &[u8]) -> Read<Scalar<'de>> {
    match serde_json::from_slice::<String>(&[b"\"", raw, b"\""].concat()) {
        Ok(text) => Ok(Scalar::Text(Cow::Owned(text))),
        Err(error) => match torn(raw) {
            Some(text) => Ok(Scalar::Bad(Box::new((text, TORN)))),
            None => {
                let said = error.to_string();
                // The place that it names is one in the token.
                let said = said.split_once(" at line ").map_or(&*said, |(said, _)| said);
                Err(broken(said.to_owned()))
            }
        },
    }
}

const TORN: &str = "holds half of a surrogate pair, which is no character";

/// The text of a string in which a `\u` stands for half a character, with U+FFFD in its place; none where
/// something else is wrong with it.
fn torn(raw: &[u8]) -> Option<String> {
    let mut rest = str::from_utf8(raw).ok()?;
    let mut text = String::with_capacity(rest.len());
    while let Some((plain, behind)) = rest.split_once('\\') {
        text.push_str(plain);
        let mut letters = behind.chars();
        let letter = letters.next()?;
        rest = letters.as_str();
        text.push(match letter {
            '"' | '\\' | '/' => letter,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let unit = code_unit(&mut rest)?;
                let low = rest.strip_prefix("\\u").map(|mut low| (code_unit(&mut low), low));
                match low {
                    Some((Some(low @ 0xDC00..=0xDFFF), behind)) if (0xD800..0xDC00).contains(&unit) => {
                        rest = behind;
                        char::from_u32(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))?
                    }
                    _ => char::from_u32(unit).unwrap_or('\u{fffd}'),
                }
            }
            _ => return None,
        });
    }
    text.push_str(rest);
    (!raw.iter().any(|byte| *byte < 0x20)).then_some(text)
}

/// The four hexadecimal digits of a `\u`.
fn code_unit(rest: &mut &str) -> Option<u32> {
    let digits = rest.get(..4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    *rest = &rest[4..];
    u32::from_str_radix(digits, 16).ok()
}
