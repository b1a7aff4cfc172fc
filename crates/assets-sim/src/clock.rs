//! Civil dates and instants: what the generator makes, the renderer prints and AQL compares.
//!
//! A day is counted from 1970-01-01, an instant is milliseconds since then, both proleptic Gregorian and UTC.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds in a day.
pub const DAY_MS: i64 = 86_400_000;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The day number of a civil date (Howard Hinnant's algorithm).
pub fn days(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y - era * 400;
    let doy = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

/// Year, month and day of a day number.
pub fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z - era * 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

/// `YYYY-MM-DD`.
pub fn iso_day(day: i64) -> String {
    let (y, m, d) = civil(day);
    format!("{y:04}-{m:02}-{d:02}")
}

/// `YYYY-MM-DDTHH:MM:SS.mmmZ`.
pub fn iso_instant(ms: i64) -> String {
    let (day, rest) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
    let (h, m, s, milli) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60, rest % 1000);
    format!("{}T{h:02}:{m:02}:{s:02}.{milli:03}Z", iso_day(day))
}

/// The same in a zone of so many minutes east of UTC: `2021-02-16T22:04:41.527+0200`.
pub fn iso_instant_in(ms: i64, zone_minutes: i32) -> String {
    if zone_minutes == 0 {
        return iso_instant(ms);
    }
    let local = iso_instant(ms + i64::from(zone_minutes) * 60_000);
    let (sign, size) = (if zone_minutes < 0 { '-' } else { '+' }, zone_minutes.abs());
    format!("{}{sign}{:02}{:02}", local.trim_end_matches('Z'), size / 60, size % 60)
}

/// A date as Assets shows it to people: `16/Feb/21`.
pub fn display_day(day: i64) -> String {
    let (y, m, d) = civil(day);
    format!("{d:02}/{}/{:02}", MONTHS[(m - 1) as usize], y.rem_euclid(100))
}

/// An instant as Assets shows it to people: `16/Feb/21 8:04 PM`.
pub fn display_instant(ms: i64) -> String {
    let minutes = ms.rem_euclid(DAY_MS) / 60_000;
    let (hour, minute) = (minutes / 60, minutes % 60);
    let twelve = if hour % 12 == 0 { 12 } else { hour % 12 };
    let half = if hour < 12 { "AM" } else { "PM" };
    format!("{} {twelve}:{minute:02} {half}", display_day(ms.div_euclid(DAY_MS)))
}

/// An instant as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn http_date(ms: i64) -> String {
    let (day, rest) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS) / 1000);
    // 1970-01-01 was a Thursday.
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][day.rem_euclid(7) as usize];
    let (y, m, d) = civil(day);
    let (h, min, s) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{weekday}, {d:02} {} {y:04} {h:02}:{min:02}:{s:02} GMT", MONTHS[(m - 1) as usize])
}

/// Now, in milliseconds since the epoch.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// Reads `YYYY-MM-DD`; `None` if it is not a real date.
pub fn parse_day(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let (y, m, d) = (digits(&text[..4])?, digits(text.get(5..7)?)?, digits(text.get(8..10)?)?);
    let day = days(y, m, d);
    (civil(day) == (y, m, d)).then_some(day)
}

/// Reads `HH:MM[:SS]` as seconds since midnight.
pub fn parse_time(text: &str) -> Option<u32> {
    let mut parts = text.split(':');
    let (h, m) = (digits(parts.next()?)?, digits(parts.next()?)?);
    let s = parts.next().map_or(Some(0), digits)?;
    (parts.next().is_none() && h < 24 && m < 60 && s < 60).then(|| (h * 3600 + m * 60 + s) as u32)
}

/// Reads a date or an ISO date-time with an optional offset.
///
/// A text without an offset is read in a zone of `zone_minutes` east of UTC; with `honour_offset` false, an
/// offset in the text is skipped and the zone is used all the same (assets-api.md section 10.6).
pub fn parse_instant(text: &str, zone_minutes: i32, honour_offset: bool) -> Option<i64> {
    let zone = i64::from(zone_minutes) * 60_000;
    let day = parse_day(text.get(..10)?)?;
    let rest = &text[10..];
    if rest.is_empty() {
        return Some(day * DAY_MS - zone);
    }
    let rest = rest.strip_prefix(['T', ' '])?;
    let cut = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
    let (clock, offset) = rest.split_at(cut);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let seconds = i64::from(parse_time(clock)?);
    let milli = match fraction {
        "" => 0,
        f => {
            digits(f)?;
            digits(&format!("{f:0<3}")[..3])?
        }
    };
    let shift = match offset {
        "" => zone,
        _ if !honour_offset => zone,
        "Z" => 0,
        o => {
            let sign = if o.starts_with('-') { -1 } else { 1 };
            let body = o[1..].replace(':', "");
            (body.len() == 4).then_some(())?;
            sign * (digits(body.get(..2)?)? * 60 + digits(body.get(2..)?)?) * 60_000
        }
    };
    Some(day * DAY_MS + seconds * 1000 + milli - shift)
}

fn digits(text: &str) -> Option<i64> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_ten_thousand_years_survives_a_round_trip() {
        for day in (days(1, 1, 1)..days(9999, 12, 31)).step_by(97) {
            let (y, m, d) = civil(day);
            assert_eq!(days(y, m, d), day);
            assert_eq!(parse_day(&iso_day(day)), Some(day));
        }
    }

    #[test]
    fn an_offset_is_honoured_or_skipped_as_told() {
        let utc = parse_instant("2021-02-16T20:04:41.527Z", 60, true).unwrap();
        assert_eq!(iso_instant(utc), "2021-02-16T20:04:41.527Z");
        assert_eq!(parse_instant("2021-02-16T20:04:41.527Z", 60, false), Some(utc - 3_600_000));
        assert_eq!(parse_instant("2021-02-16T22:04:41.527+0200", 0, true), Some(utc));
        assert_eq!(parse_instant("2021-02-16T20:04:41.527123Z", 0, true), Some(utc));
        assert_eq!(iso_instant_in(utc, -150), "2021-02-16T17:34:41.527-0230");
        assert_eq!(parse_instant(&iso_instant_in(utc, 600), 0, true), Some(utc));
        assert_eq!(parse_instant("2021-02-30", 0, true), None);
        assert_eq!(parse_instant("2021-02-16 25:00", 0, true), None);
    }

    #[test]
    fn people_see_the_documented_form() {
        let ms = parse_instant("2021-02-16T20:04:41.527Z", 0, true).unwrap();
        assert_eq!(display_instant(ms), "16/Feb/21 8:04 PM");
    }
}
