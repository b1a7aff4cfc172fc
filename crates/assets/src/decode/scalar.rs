//! A JSON scalar as the service may send it where a value stands: string, number, boolean or
//! null (assets-api.md 13, "Values"), and its conversion to what a column wants.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::temporal;
use crate::value::{Decode, Invalid, Value};

/// A scalar, borrowed from the answer where it has no escapes.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Scalar<'a> {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(Cow<'a, str>),
    /// A number that 18 digits do not hold, as it was written.
    Number(&'a str),
    /// An object or a list where a scalar belongs, as it was written.
    Shape(&'a str),
    /// What could be read of something that cannot be taken for a value, and why it cannot.
    Bad(Box<(String, &'static str)>),
    /// Something that is there but is not told, and why that is known.
    Untold(&'static str),
}

impl<'a> Scalar<'a> {
    /// No value: null, absent, or an empty string.
    pub(crate) fn is_none(&self) -> bool {
        match self {
            Scalar::Null => true,
            Scalar::Text(text) => text.is_empty(),
            _ => false,
        }
    }

    /// Itself, unless there is nothing in it.
    pub(crate) fn some(&self) -> Option<&Self> {
        (!self.is_none()).then_some(self)
    }

    pub(crate) fn text(&self) -> Cow<'_, str> {
        match self {
            Scalar::Null => Cow::Borrowed(""),
            Scalar::Bool(true) => Cow::Borrowed("true"),
            Scalar::Bool(false) => Cow::Borrowed("false"),
            Scalar::Int(number) => Cow::Owned(number.to_string()),
            Scalar::Uint(number) => Cow::Owned(number.to_string()),
            Scalar::Float(number) => Cow::Owned(number.to_string()),
            Scalar::Text(text) => Cow::Borrowed(text),
            Scalar::Number(number) => Cow::Borrowed(number),
            Scalar::Shape(raw) => match shape(raw) {
                Ok(json) => Cow::Owned(json),
                Err(_) => Cow::Borrowed("…"),
            },
            Scalar::Bad(bad) => Cow::Borrowed(&bad.0),
            Scalar::Untold(_) => Cow::Borrowed(""),
        }
    }

    /// For messages: what it is, in quotes, cut short.
    pub(crate) fn brief(&self) -> String {
        if let Scalar::Untold(what) = self {
            return (*what).to_owned();
        }
        let text = self.text();
        let cut = if text.chars().nth(40).is_some() { "…" } else { "" };
        format!("{:?}{cut}", text.chars().take(40).collect::<String>())
    }

    /// An id: a whole number above zero, as number or text.
    pub(crate) fn id(&self) -> Option<i64> {
        let id = match self {
            Scalar::Int(number) => *number,
            Scalar::Text(text) if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok()?,
            _ => return None,
        };
        (id > 0).then_some(id)
    }

    /// A boolean, as such or as text.
    pub(crate) fn bool(&self) -> Option<bool> {
        match self {
            Scalar::Bool(value) => Some(*value),
            Scalar::Text(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Scalar::Text(text) if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }

    pub(crate) fn int(&self) -> Option<i64> {
        match self {
            Scalar::Int(number) => Some(*number),
            // Beyond 2^53 a double no longer says which whole number was meant.
            Scalar::Float(number) if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 => {
                Some(*number as i64)
            }
            Scalar::Text(text) => exact_int(text),
            Scalar::Number(number) => exact_int(number),
            _ => None,
        }
    }

    pub(crate) fn double(&self) -> Option<f64> {
        let number = match self {
            Scalar::Int(number) => *number as f64,
            Scalar::Uint(number) => *number as f64,
            Scalar::Float(number) => *number,
            // Rust also reads "inf" and "nan"; those have no digit.
            Scalar::Text(text) if text.bytes().any(|b| b.is_ascii_digit()) => text.trim().parse().ok()?,
            Scalar::Number(number) => number.parse().ok()?,
            _ => return None,
        };
        number.is_finite().then_some(number)
    }

    /// The value a column gets. Nothing is [`Value::Null`].
    pub(crate) fn decode(&self, decode: Decode) -> Value {
        if self.is_none() {
            return Value::Null;
        }
        match self {
            Scalar::Bad(bad) => return invalid(&bad.0, bad.1),
            Scalar::Untold(why) => return invalid("", why),
            Scalar::Shape(raw) => return shape_value(raw, decode),
            _ => {}
        }
        let (value, why) = match decode {
            Decode::Text => (text_value(&self.text()), HAS_NUL),
            Decode::Json => {
                let mut json = String::new();
                (self.write_json(&mut json).then(|| Value::Json(json.into_boxed_str())), HAS_NUL)
            }
            Decode::Int => (self.int().map(Value::Int), NO_INT),
            Decode::Double => (self.double().map(Value::Double), NO_DOUBLE),
            Decode::Bool => (self.bool().map(Value::Bool), NO_BOOL),
            Decode::Date => (self.date().map(Value::Date), NO_DATE),
            Decode::Time => (self.as_text().and_then(temporal::time).map(Value::Time), NO_TIME),
            Decode::Timestamp => (self.instant(), NO_INSTANT),
        };
        value.unwrap_or_else(|| invalid(&self.text(), why))
    }

    fn as_text(&self) -> Option<&str> {
        match self {
            Scalar::Text(text) => Some(text.trim()),
            _ => None,
        }
    }

    /// A day, also as the milliseconds at which it begins.
    fn date(&self) -> Option<i32> {
        match self.as_text().and_then(temporal::date) {
            None => temporal::day_of(self.millis()?),
            day => day,
        }
    }

    /// An instant. The last thirty years of those that PostgreSQL holds are too far from 1970 for a
    /// [`Value::Timestamp`]: they are the text that its type reads.
    fn instant(&self) -> Option<Value> {
        let instant = match self.as_text().and_then(temporal::instant) {
            None => i128::from(self.millis()?) * 1000,
            Some(instant) => instant,
        };
        match i64::try_from(instant) {
            Ok(micros) => Some(Value::Timestamp(micros)),
            Err(_) => temporal::text(instant).map(|text| Value::Text(text.into())),
        }
    }

    /// Milliseconds since 1970, as a number or as its digits (assets-api.md 14, `created`). Fewer than nine
    /// digits in a text are more likely a year, or a day without its dashes.
    pub(crate) fn millis(&self) -> Option<i64> {
        match self {
            Scalar::Text(text) => {
                let text = text.trim();
                let digits = text.strip_prefix('-').unwrap_or(text);
                let millis = digits.len() >= 9 && digits.bytes().all(|b| b.is_ascii_digit());
                millis.then(|| text.parse().ok()).flatten()
            }
            number => number.int(),
        }
    }

    /// What `created` and `updated` say, however it is written, in the form in which it usually comes.
    pub(crate) fn stamp(self) -> Self {
        match self.millis().and_then(|millis| temporal::text(i128::from(millis) * 1000)) {
            Some(text) => Scalar::Text(Cow::Owned(text)),
            None => self,
        }
    }

    /// Writes it as JSON; false when PostgreSQL could not hold it.
    pub(crate) fn write_json(&self, out: &mut String) -> bool {
        match self {
            Scalar::Text(text) => write_json_text(text, out),
            Scalar::Null => {
                out.push_str("null");
                true
            }
            Scalar::Float(number) => {
                push_json_double(*number, out);
                true
            }
            Scalar::Bad(_) | Scalar::Untold(_) => false,
            Scalar::Shape(raw) => match shape(raw) {
                Ok(json) => {
                    out.push_str(&json);
                    true
                }
                Err(_) => false,
            },
            _ => {
                out.push_str(&self.text());
                true
            }
        }
    }

    /// Writes it as JSON that PostgreSQL holds, whatever it is: beside other values, none may be in their way.
    pub(crate) fn write_json_anyhow(&self, out: &mut String) {
        match self {
            // Beyond what a numeric holds, as likely as not.
            Scalar::Number(number) if self.double().is_none() => write_json_text_anyhow(number, out),
            Scalar::Untold(_) => out.push_str("null"),
            _ => {
                let begin = out.len();
                if !self.write_json(out) {
                    out.truncate(begin);
                    write_json_text_anyhow(&self.text(), out);
                }
            }
        }
    }
}

const NO_INT: &str = "is not a whole number of 64 bits";
const NO_DOUBLE: &str = "is not a finite number";
const NO_BOOL: &str = "is not true or false";
const NO_DATE: &str = "is not a date";
const NO_TIME: &str = "is not a time of day";
const NO_INSTANT: &str = "is not an instant with a time zone";
const UNREADABLE: &str = "is an object or a list that cannot be read: nested too deeply, or no JSON";

/// What is in an object or a list that nobody may see: it opens the pictures of the service.
const SECRET: [&str; 4] = ["avatar", "icon", "mediaClientConfig", "mediaJwtToken"];

fn shape_value(raw: &str, decode: Decode) -> Value {
    let why = match decode {
        Decode::Text | Decode::Json => match shape(raw) {
            Ok(json) if decode == Decode::Json => return Value::Json(json.into_boxed_str()),
            Ok(json) => return Value::Text(json.into_boxed_str()),
            Err(why) => return invalid("…", why),
        },
        Decode::Int => NO_INT,
        Decode::Double => NO_DOUBLE,
        Decode::Bool => NO_BOOL,
        Decode::Date => NO_DATE,
        Decode::Time => NO_TIME,
        Decode::Timestamp => NO_INSTANT,
    };
    invalid(&Scalar::Shape(raw).text(), why)
}

/// An object or a list as JSON that PostgreSQL holds, as it was written unless there is something to leave
/// out of it.
fn shape(raw: &str) -> Result<String, &'static str> {
    let mut json: serde_json::Value = serde_json::from_str(raw).map_err(|_| UNREADABLE)?;
    if has_nul(&json) {
        return Err(HAS_NUL);
    }
    Ok(if without_secrets(&mut json) { json.to_string() } else { raw.to_owned() })
}

fn has_nul(json: &serde_json::Value) -> bool {
    match json {
        serde_json::Value::String(text) => text.contains('\0'),
        serde_json::Value::Array(list) => list.iter().any(has_nul),
        serde_json::Value::Object(map) => {
            map.iter().any(|(name, value)| name.contains('\0') || has_nul(value))
        }
        _ => false,
    }
}

/// Whether something was left out.
fn without_secrets(json: &mut serde_json::Value) -> bool {
    match json {
        serde_json::Value::Array(list) => {
            list.iter_mut().fold(false, |left, one| without_secrets(one) | left)
        }
        serde_json::Value::Object(map) => {
            let count = map.len();
            map.retain(|name, _| !SECRET.contains(&name.as_str()));
            let left = map.len() < count;
            map.values_mut().fold(left, |left, one| without_secrets(one) | left)
        }
        _ => false,
    }
}

pub(crate) const HAS_NUL: &str = "holds a NUL character";

/// Text that PostgreSQL can hold.
pub(crate) fn text_value(text: &str) -> Option<Value> {
    (!text.as_bytes().contains(&0)).then(|| Value::Text(text.into()))
}

/// Writes a JSON string; false when it holds a NUL, which `jsonb` cannot.
pub(crate) fn write_json_text(text: &str, out: &mut String) -> bool {
    if text.as_bytes().contains(&0) {
        return false;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 => {
                use std::fmt::Write;
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    true
}

/// Writes a JSON string, with U+FFFD for every NUL.
pub(crate) fn write_json_text_anyhow(text: &str, out: &mut String) {
    if !write_json_text(text, out) {
        write_json_text(&text.replace('\0', "\u{fffd}"), out);
    }
}

/// A finite double as a JSON number.
pub(crate) fn push_json_double(number: f64, out: &mut String) {
    out.push_str(&number.to_string());
}

/// The value that says what did not fit, with at most 200 characters of it.
pub(crate) fn invalid(text: &str, why: &str) -> Value {
    let text = text.chars().take(200).map(|c| if c == '\0' { '\u{fffd}' } else { c }).collect();
    Value::Invalid(Box::new(Invalid { text, why: why.to_owned() }))
}

/// A whole number written in decimal, also as `42.0` or `4.2E1`; `None` when it is not whole or
/// does not fit.
fn exact_int(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (sign, unsigned) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let only_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !only_digits(whole) || !only_digits(fraction) || exponent.abs() > 40 {
        return None;
    }
    let mut digits = format!("{whole}{fraction}");
    let point = whole.len() as i32 + exponent;
    if point < 0 {
        return digits.bytes().all(|b| b == b'0').then_some(0);
    }
    let point = point as usize;
    if digits.len() < point {
        digits.extend(std::iter::repeat_n('0', point - digits.len()));
    }
    let (kept, cut) = digits.split_at(point);
    if cut.bytes().any(|b| b != b'0') {
        return None;
    }
    format!("{sign}0{kept}").parse().ok()
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;
        impl<'de> Visitor<'de> for ScalarVisitor {
            type Value = Scalar<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a number, a boolean or null")
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
                Ok(Scalar::Bool(value))
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
                Ok(Scalar::Int(value))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
                Ok(i64::try_from(value).map_or(Scalar::Uint(value), Scalar::Int))
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
                Ok(Scalar::Float(value))
            }
            fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Borrowed(value)))
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Owned(value.to_owned())))
            }
            /// Something else: whoever needs it says what is wrong, the others go without.
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar::Untold("an object"))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar::Untold("a list"))
            }
            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Scalar::Null)
            }
        }
        deserializer.deserialize_any(ScalarVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Scalar<'_> {
        Scalar::Text(Cow::Borrowed(text))
    }

    fn is_invalid(value: &Value) -> bool {
        matches!(value, Value::Invalid(_))
    }

    #[test]
    fn whole_numbers_are_exact_or_invalid() {
        let table = [
            (text("42"), Some(42)),
            (text("-42"), Some(-42)),
            (text("+42"), Some(42)),
            (text("42.0"), Some(42)),
            (text("42.5"), None),
            (text("4.2E1"), Some(42)),
            (text("4.25E1"), None),
            (text("1.0E7"), Some(10_000_000)),
            (text("0.0E-3"), Some(0)),
            (text("9223372036854775807"), Some(i64::MAX)),
            (text("9223372036854775808"), None),
            (text("-9223372036854775808"), Some(i64::MIN)),
            (text("-9223372036854775808.0"), Some(i64::MIN)),
            (text("1e400"), None),
            (text("4 2"), None),
            (text("four"), None),
            (text("."), None),
            (Scalar::Int(7), Some(7)),
            (Scalar::Float(7.0), Some(7)),
            (Scalar::Float(7.5), None),
            (Scalar::Float(1e19), None),
            (Scalar::Uint(u64::MAX), None),
            (Scalar::Bool(true), None),
        ];
        for (scalar, number) in table {
            let value = scalar.decode(Decode::Int);
            match number {
                Some(number) => assert_eq!(value, Value::Int(number), "{scalar:?}"),
                None => assert!(is_invalid(&value), "{scalar:?} gave {value:?}"),
            }
        }
    }

    #[test]
    fn doubles_are_finite_or_invalid() {
        assert_eq!(text("3.25").decode(Decode::Double), Value::Double(3.25));
        assert_eq!(text("1e3").decode(Decode::Double), Value::Double(1000.0));
        assert_eq!(Scalar::Int(2).decode(Decode::Double), Value::Double(2.0));
        for bad in ["NaN", "inf", "Infinity", "1e999", "3,14", "12 kg"] {
            assert!(is_invalid(&text(bad).decode(Decode::Double)), "{bad}");
        }
    }

    #[test]
    fn nothing_is_null_in_every_form() {
        for decode in [
            Decode::Text,
            Decode::Int,
            Decode::Double,
            Decode::Bool,
            Decode::Date,
            Decode::Time,
            Decode::Timestamp,
            Decode::Json,
        ] {
            assert_eq!(text("").decode(decode), Value::Null);
            assert_eq!(Scalar::Null.decode(decode), Value::Null);
        }
    }

    #[test]
    fn text_with_a_nul_is_invalid_not_cut() {
        for decode in [Decode::Text, Decode::Json] {
            let Value::Invalid(invalid) = text("a\0b").decode(decode) else { panic!("accepted a NUL") };
            assert_eq!(invalid.why, HAS_NUL);
            assert!(!invalid.text.contains('\0'));
        }
    }

    #[test]
    fn json_text_is_what_serde_reads_back() {
        let nasty = "quote \" back \\ line\n tab\t bell\u{7} ünïcode \u{1F600} \u{2028}";
        let mut json = String::new();
        assert!(write_json_text(nasty, &mut json));
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), nasty);
    }
}
