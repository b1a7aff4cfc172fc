//! `now()`, `startOfDay()` and their kin (assets-api.md section 4.5).

use crate::clock::{self, DAY_MS};

/// What a date function stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Epoch ms.
    pub instant: i64,
    /// The same on the clock of the functions' zone, for attributes that hold dates without a zone.
    pub local: i64,
}

/// Evaluates a date function by its lower-case name; `None`: there is no such function or the offset is unreadable.
pub fn function(name: &str, offset: Option<&str>, now: i64, zone_minutes: i32) -> Option<Moment> {
    let zone = i64::from(zone_minutes) * 60_000;
    let shift = offset.map_or(Some(0), parse_offset)?;
    if name == "now" {
        return Some(Moment { instant: now + shift, local: now + shift + zone });
    }
    let (end, unit) = match name.strip_prefix("startof") {
        Some(unit) => (false, unit),
        None => (true, name.strip_prefix("endof")?),
    };
    let today = (now + zone).div_euclid(DAY_MS);
    let (year, month, _) = clock::civil(today);
    let (start, next) = match unit {
        "day" => (today, today + 1),
        // 1970-01-01 was a Thursday; weeks begin on Monday.
        "week" => {
            let monday = today - (today + 3).rem_euclid(7);
            (monday, monday + 7)
        }
        "month" => {
            let (y, m) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            (clock::days(year, month, 1), clock::days(y, m, 1))
        }
        "year" => (clock::days(year, 1, 1), clock::days(year + 1, 1, 1)),
        _ => return None,
    };
    let local = if end { next * DAY_MS - 1 } else { start * DAY_MS } + shift;
    Some(Moment { instant: local - zone, local })
}

/// A function call inside a quoted literal, as the documentation's example has it: `"now(-2h 15m)"`.
pub fn quoted_function(text: &str, now: i64, zone_minutes: i32) -> Option<Moment> {
    let (name, rest) = text.trim().split_once('(')?;
    let offset = rest.strip_suffix(')')?.trim();
    let offset = if offset.is_empty() { None } else { Some(offset) };
    function(&name.to_ascii_lowercase(), offset, now, zone_minutes)
}

/// `-2h 15m`: the sign holds until another one; units are m, h, d and w.
fn parse_offset(text: &str) -> Option<i64> {
    let mut total = 0;
    let mut sign = 1;
    let mut number: Option<i64> = None;
    for c in text.chars() {
        match c {
            '-' | '+' if number.is_none() => sign = if c == '-' { -1 } else { 1 },
            c if c.is_ascii_digit() => {
                let digit = i64::from(c as u8 - b'0');
                number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(digit)?);
            }
            ' ' if number.is_none() => {}
            unit => {
                let ms = match unit {
                    'm' => 60_000,
                    'h' => 3_600_000,
                    'd' => DAY_MS,
                    'w' => 7 * DAY_MS,
                    _ => return None,
                };
                // 600,000 of any unit reach beyond the year 9999; the sum stays far from the limits of an i64.
                let amount = number.take().filter(|n| *n < 600_000)?;
                total += sign * amount * ms;
            }
        }
    }
    if number.is_some() { None } else { Some(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_add_up_and_nonsense_is_refused() {
        assert_eq!(parse_offset("-2h 15m"), Some(-(135 * 60_000)));
        assert_eq!(parse_offset("1w"), Some(7 * DAY_MS));
        for bad in ["2", "h", "2x", "-2h 15"] {
            assert_eq!(parse_offset(bad), None, "{bad}");
        }
    }

    #[test]
    fn days_begin_in_the_functions_zone() {
        let now = clock::parse_instant("2026-01-31T22:30:00Z", 0, true).unwrap();
        let start = |zone| clock::iso_instant(function("startofday", None, now, zone).unwrap().instant);
        assert_eq!(start(0), "2026-01-31T00:00:00.000Z");
        assert_eq!(start(120), "2026-01-31T22:00:00.000Z");
        let end = function("endofmonth", Some("-90d"), now, 0).unwrap().instant;
        assert_eq!(clock::iso_instant(end), "2025-11-02T23:59:59.999Z");
        assert_eq!(function("startofweek", None, now, 0).unwrap().instant % DAY_MS, 0);
        assert!(function("startofcentury", None, now, 0).is_none());
        assert_eq!(quoted_function("now(-15m)", now, 0).unwrap().instant, now - 900_000);
    }
}
