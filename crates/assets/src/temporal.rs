//! Dates, times and instants from the service's text, and HTTP dates. Proleptic Gregorian, as
//! PostgreSQL counts.
//!
//! Forms seen or documented (assets-api.md 3.1, 3.4, 13): `2021-02-16`, `2021-02-16T20:04:41.527Z`,
//! `…+0300`, `…+03:00`, microseconds, `HH:mm[:ss[.fff]]`. Years as ISO 8601 counts them: 0000 is 1 BC; more than
//! four digits with a sign or without one. Whatever PostgreSQL's types hold is read.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: i64 = 86_400_000_000;
/// 4714-11-24 BC, the first day that PostgreSQL holds.
const FIRST_DAY: i64 = -2_440_588;
/// 5874897-12-31, the last.
const LAST_DAY: i64 = 2_145_042_905;
/// 294277-01-01, with which PostgreSQL's instants end.
const END: i128 = 106_762_940 * DAY as i128;

/// Days since 1970-01-01 of a date, or of the date part of an instant as written.
pub(crate) fn date(text: &str) -> Option<i32> {
    let mut rest = text.as_bytes();
    let days = take_date(&mut rest)?;
    if !rest.is_empty() {
        take_separator(&mut rest)?;
        take_time(&mut rest)?;
        if !rest.is_empty() {
            take_offset(&mut rest)?;
        }
    }
    if !rest.is_empty() {
        return None;
    }
    i32::try_from(days).ok()
}

/// Microseconds since midnight of a time of day, up to 24:00.
pub(crate) fn time(text: &str) -> Option<i64> {
    let mut rest = text.as_bytes();
    let micros = take_time(&mut rest)?;
    rest.is_empty().then_some(micros)
}

/// Microseconds since 1970-01-01T00:00:00Z of an instant. Without a zone it is not one.
pub(crate) fn instant(text: &str) -> Option<i128> {
    let mut rest = text.as_bytes();
    let days = take_date(&mut rest)?;
    take_separator(&mut rest)?;
    let micros = take_time(&mut rest)?;
    let offset = take_offset(&mut rest)?;
    if !rest.is_empty() {
        return None;
    }
    held(i128::from(days) * i128::from(DAY) + i128::from(micros - offset))
}

/// Microseconds that PostgreSQL holds as an instant.
fn held(micros: i128) -> Option<i128> {
    (i128::from(FIRST_DAY * DAY)..END).contains(&micros).then_some(micros)
}

/// An instant as the service writes it, and as PostgreSQL reads it; none where PostgreSQL does not hold it.
pub(crate) fn text(micros: i128) -> Option<String> {
    let micros = held(micros)?;
    let (days, of_day) = (micros.div_euclid(DAY.into()) as i64, micros.rem_euclid(DAY.into()) as i64);
    let (year, month, day) = civil_from_days(days);
    let (seconds, fraction) = (of_day / 1_000_000, of_day % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction =
        if fraction % 1000 == 0 { format!("{:03}", fraction / 1000) } else { format!("{fraction:06}") };
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction}Z{era}"))
}

/// The day that begins with an instant, in milliseconds since 1970.
pub(crate) fn day_of(millis: i64) -> Option<i32> {
    let days = (millis % (DAY / 1000) == 0).then_some(millis / (DAY / 1000))?;
    if (FIRST_DAY..=LAST_DAY).contains(&days) { i32::try_from(days).ok() } else { None }
}

/// A date or an instant in the words of PostgreSQL's input functions, where its own are other ones: a year
/// with a sign, of more than four digits, or before the year 1.
pub(crate) fn for_input(text: &str) -> Option<String> {
    let trimmed = text.trim();
    let (year, rest) = trimmed.split_at(trimmed.get(1..)?.find('-')? + 1);
    let digits = year.trim_start_matches(['-', '+']);
    if digits.len() < 4 || digits.len() + 1 < year.len() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: i64 = year.strip_prefix('+').unwrap_or(year).parse().ok()?;
    match number {
        1.. if year.len() == 4 => None,
        1.. => Some(format!("{number:04}{rest}")),
        _ => Some(format!("{:04}{rest} BC", 1 - number)),
    }
}

/// An HTTP date in the form servers must send (RFC 9110 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) fn http_date(text: &str) -> Option<SystemTime> {
    let (_, rest) = text.split_once(", ")?;
    let mut words = rest.split(' ');
    let (day, month, year, clock, zone) =
        (words.next()?, words.next()?, words.next()?, words.next()?, words.next()?);
    if zone != "GMT" || words.next().is_some() || year.len() != 4 {
        return None;
    }
    let names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = names.iter().position(|name| *name == month)? + 1;
    let at = instant(&format!("{year}-{month:02}-{day}T{clock}Z"))?;
    system_time(i64::try_from(at).ok()?)
}

/// An instant as a system time, where it is not before 1970.
pub(crate) fn system_time(micros: i64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_micros(u64::try_from(micros).ok()?))
}

fn take_date(rest: &mut &[u8]) -> Option<i64> {
    let sign = match rest.first()? {
        b'-' => -1,
        _ => 1,
    };
    let signed = matches!(rest.first()?, b'-' | b'+');
    if signed {
        *rest = &rest[1..];
    }
    let (year, digits) = take_number(rest, 4, 7)?;
    debug_assert!(digits >= 4);
    take_byte(rest, b'-')?;
    let (month, _) = take_number(rest, 2, 2)?;
    take_byte(rest, b'-')?;
    let (day, _) = take_number(rest, 2, 2)?;
    let year = sign * year;
    if !(1..=12).contains(&month) || day < 1 || day > month_length(year, month) {
        return None;
    }
    let days = days_from_civil(year, month, day);
    (FIRST_DAY..=LAST_DAY).contains(&days).then_some(days)
}

fn take_separator(rest: &mut &[u8]) -> Option<()> {
    take_byte(rest, b'T').or_else(|| take_byte(rest, b' '))
}

fn take_time(rest: &mut &[u8]) -> Option<i64> {
    let (hour, _) = take_number(rest, 2, 2)?;
    take_byte(rest, b':')?;
    let (minute, _) = take_number(rest, 2, 2)?;
    let (mut second, mut micros) = (0, 0);
    if take_byte(rest, b':').is_some() {
        second = take_number(rest, 2, 2)?.0;
        if take_byte(rest, b'.').is_some() {
            let (number, digits) = take_number(rest, 1, 9)?;
            let nanos = number * 10_i64.pow(9 - digits);
            micros = (nanos + 500) / 1000;
        }
    }
    // A leap second is the next minute's first, as it is to PostgreSQL.
    if hour > 24 || minute > 59 || second > 60 || (second == 60 && micros > 0) {
        return None;
    }
    let at = ((hour * 60 + minute) * 60 + second) * 1_000_000 + micros;
    (at <= DAY).then_some(at)
}

/// `Z`, `+03`, `+0300`, `+03:00`, in microseconds east of Greenwich.
fn take_offset(rest: &mut &[u8]) -> Option<i64> {
    if take_byte(rest, b'Z').is_some() {
        return Some(0);
    }
    let sign = if take_byte(rest, b'+').is_some() {
        1
    } else {
        take_byte(rest, b'-')?;
        -1
    };
    let (hours, _) = take_number(rest, 2, 2)?;
    let mut minutes = 0;
    if !rest.is_empty() {
        let _ = take_byte(rest, b':');
        minutes = take_number(rest, 2, 2)?.0;
    }
    if hours > 15 || minutes > 59 {
        return None;
    }
    Some(sign * (hours * 60 + minutes) * 60_000_000)
}

fn take_byte(rest: &mut &[u8], byte: u8) -> Option<()> {
    if rest.first() == Some(&byte) {
        *rest = &rest[1..];
        return Some(());
    }
    None
}

fn take_number(rest: &mut &[u8], least: usize, most: usize) -> Option<(i64, u32)> {
    let digits = rest.iter().take(most).take_while(|b| b.is_ascii_digit()).count();
    if digits < least {
        return None;
    }
    let number = rest[..digits].iter().fold(0, |number, b| number * 10 + i64::from(b - b'0'));
    *rest = &rest[digits..];
    Some((number, digits as u32))
}

fn month_length(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01. After Howard Hinnant, "chrono-compatible low-level date algorithms".
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The other way, after the same.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_count_days_as_postgresql_does() {
        let table = [
            ("1970-01-01", Some(0)),
            ("2021-02-16", Some(18_674)),
            ("2000-02-29", Some(11_016)),
            ("1900-02-29", None),
            ("2021-02-30", None),
            ("2021-13-01", None),
            ("2021-2-1", None),
            ("16/Feb/21", None),
            ("0001-01-01", Some(-719_162)),
            ("-4713-11-24", Some(-2_440_588)),
            ("-4713-11-23", None),
            ("+999999-12-31", Some(364_522_971)),
            ("10000-01-01", Some(2_932_897)),
            ("+10000-01-01", Some(2_932_897)),
            ("+10000-01-01T00:00:00Z", Some(2_932_897)),
            ("5874897-12-31", Some(2_145_042_905)),
            ("5874898-01-01", None),
            ("0000-12-31", Some(-719_163)),
            ("-0001-12-31", Some(-719_529)),
            ("2021-02-16T23:59:59.999Z", Some(18_674)),
            ("2021-02-16T23:59:59-1100", Some(18_674)),
            ("2021-02-16Tlate", None),
            ("2021-02-16 ", None),
            ("", None),
        ];
        for (text, days) in table {
            assert_eq!(date(text), days, "{text}");
        }
    }

    #[test]
    fn instants_need_a_zone_and_honour_it() {
        let base = 1_613_505_881_527_000;
        let table = [
            ("2021-02-16T20:04:41.527Z", Some(base)),
            ("2021-02-16 20:04:41.527Z", Some(base)),
            ("2021-02-16T23:04:41.527+0300", Some(base)),
            ("2021-02-16T23:04:41.527+03:00", Some(base)),
            ("2021-02-16T23:04:41.527+03", Some(base)),
            ("2021-02-16T14:34:41.527-05:30", Some(base)),
            ("2021-02-16T20:04:41.527001Z", Some(base + 1)),
            ("2021-02-16T20:04Z", Some(base - 41_527_000)),
            ("2021-02-16T20:04:41.527", None),
            ("2021-02-16", None),
            ("2021-02-16T25:00:00Z", None),
            ("2021-02-16T20:04:61Z", None),
            ("+300000-01-01T00:00:00Z", None),
            ("12025-02-16T20:04:41.527Z", Some(base + 315_695_750_400_000_000)),
            ("+12025-02-16T20:04:41.527Z", Some(base + 315_695_750_400_000_000)),
            ("294276-12-31T23:59:59.999999Z", Some(END - 1)),
            ("294277-01-01T00:00:00Z", None),
            ("294277-01-01T00:30:00+01:00", Some(END - 1_800_000_000)),
            ("-4713-11-24T00:00:00Z", Some(i128::from(FIRST_DAY * DAY))),
            ("-4713-11-23T23:59:59Z", None),
            ("2021-02-16T20:03:60Z", Some(base - 41_527_000)),
            ("2021-02-16T20:03:60.5Z", None),
            ("2021-02-16T20:04:41.527Zulu", None),
        ];
        for (text, micros) in table {
            assert_eq!(instant(text), micros, "{text}");
        }
    }

    #[test]
    fn an_instant_as_text_is_read_back_as_it_was() {
        let first = i128::from(FIRST_DAY * DAY);
        let year = 31_556_952_000_000;
        let all = (0..).map(|n| first + n * 97 * year + n).take_while(|micros| *micros < END);
        for micros in all.chain([first, 0, -1, 1, END - 1]) {
            let text = text(micros).expect("PostgreSQL holds it");
            if let Some(after_christ) = text.strip_suffix(" BC") {
                let year: i64 =
                    after_christ[..after_christ.find('-').expect("a year")].parse().expect("digits");
                let iso = format!("-{:04}{}", year - 1, &after_christ[4..]);
                assert_eq!(instant(&iso), Some(micros), "{text}");
            } else {
                assert_eq!(instant(&text), Some(micros), "{text}");
            }
        }
        assert_eq!(text(1_613_505_881_527_000).as_deref(), Some("2021-02-16T20:04:41.527Z"));
        assert_eq!((text(END), text(first - 1)), (None, None));
    }

    #[test]
    fn years_are_put_in_the_words_of_postgresql() {
        for (text, words) in [
            ("2021-02-16", None),
            ("+12025-02-16", Some("12025-02-16")),
            ("12025-02-16T20:04Z", Some("12025-02-16T20:04Z")),
            ("+2021-02-16", Some("2021-02-16")),
            ("0000-02-16T20:04Z", Some("0001-02-16T20:04Z BC")),
            ("-0043-03-15", Some("0044-03-15 BC")),
            ("--2021-02-16", None),
            ("16-02-2021", None),
            ("16/Feb/21", None),
            ("é-é", None),
            ("-", None),
            ("", None),
        ] {
            assert_eq!(for_input(text).as_deref(), words, "{text}");
        }
    }

    #[test]
    fn milliseconds_are_a_day_where_one_begins() {
        assert_eq!(day_of(1_613_433_600_000), Some(18_674));
        assert_eq!(day_of(1_613_433_600_001), None);
        assert_eq!(day_of(i64::MAX / 86_400_000 * 86_400_000), None);
    }

    #[test]
    fn times_of_day_run_to_midnight() {
        let table = [
            ("00:00", Some(0)),
            ("23:59:59.999", Some(86_399_999_000)),
            ("24:00", Some(86_400_000_000)),
            ("24:00:01", None),
            ("12:60", None),
            ("7:30", None),
            ("07:30 AM", None),
        ];
        for (text, micros) in table {
            assert_eq!(time(text), micros, "{text}");
        }
    }

    #[test]
    fn http_dates_are_read_in_their_one_valid_form() {
        let at = UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(at));
        assert_eq!(http_date("Sunday, 06-Nov-94 08:49:37 GMT"), None);
        assert_eq!(http_date("soon"), None);
    }
}
