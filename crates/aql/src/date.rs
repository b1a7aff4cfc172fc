//! Dates as AQL literals. Their zone and precision are undocumented (assets-api.md 10.6), so a
//! bound is moved outwards by more than any zone and any rounding before it is written.

/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;

/// How far a bound on an instant is moved: a zone is at most 14 hours off, and rounding to a day one
/// more.
pub const WIDEN_INSTANT_US: i64 = 2 * DAY_US;

/// How far a bound is moved besides that the session's zone has a say in: from one zone to another within a
/// cursor, and a midnight that the zone skips, with the day of it where it crosses the date line.
pub const WIDEN_ZONE_DAYS: i32 = 2;
/// The same in microseconds.
pub const WIDEN_ZONE_US: i64 = WIDEN_ZONE_DAYS as i64 * DAY_US;

/// How far a bound on a calendar day is moved: a stored midnight read in another zone.
pub const WIDEN_DAYS: i32 = 1;

/// Year, month, day of a day counted from 1970-01-01 (proleptic Gregorian).
pub fn civil(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month as u32, day as u32)
}

/// `YYYY-MM-DD`; none outside the years 1 to 9999.
pub fn day_text(days: i64) -> Option<String> {
    let (year, month, day) = civil(days);
    (1..=9999).contains(&year).then(|| format!("{year:04}-{month:02}-{day:02}"))
}

/// `YYYY-MM-DDTHH:MM:SS.mmmZ`, the form that live connectors send (assets-api.md 13); none
/// outside the years 1 to 9999. Milliseconds are cut, which the widening covers.
pub fn instant_text(us: i64) -> Option<String> {
    let day = day_text(us.div_euclid(DAY_US))?;
    let ms = us.rem_euclid(DAY_US) / 1000;
    let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    Some(format!("{day}T{h:02}:{m:02}:{s:02}.{:03}Z", ms % 1000))
}

/// The day that an instant is on.
pub fn day_of(us: i64) -> i64 {
    us.div_euclid(DAY_US)
}

/// The first instant of a day, in UTC.
pub fn day_start(days: i32) -> i64 {
    i64::from(days) * DAY_US
}

/// How far the zone of [`in_another_zone`] is east of UTC, in hours: so far that skipping it moves any
/// instant to another half of the day.
const ELSEWHERE_HOURS: i64 = 13;

/// What [`instant_text`] wrote, as the same instant with another offset; none for any other text.
pub fn in_another_zone(text: &str) -> Option<String> {
    let (day, time) = text.strip_suffix('Z')?.split_once('T')?;
    let number = |s: &str| s.parse::<i64>().ok();
    let mut date = day.split('-');
    let (year, month, of_month) = (number(date.next()?)?, number(date.next()?)?, number(date.next()?)?);
    let (hour, rest) = time.split_once(':')?;
    let hours = number(hour)? + ELSEWHERE_HOURS;
    let days = days_of(year, month, of_month) + hours.div_euclid(24);
    Some(format!("{}T{:02}:{rest}+{ELSEWHERE_HOURS:02}:00", day_text(days)?, hours.rem_euclid(24)))
}

/// Days since 1970-01-01 of a calendar day.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_zone_names_the_same_instant() {
        let moved = |text: &str| in_another_zone(text).unwrap();
        assert_eq!(moved("2024-02-28T12:30:00.123Z"), "2024-02-29T01:30:00.123+13:00");
        assert_eq!(moved("2023-12-31T23:00:00.000Z"), "2024-01-01T12:00:00.000+13:00");
        assert_eq!(in_another_zone("2024-02-28"), None);
        for day in [-719_162, -1, 0, 59, 60, 19_782, 2_932_896] {
            let (y, m, d) = civil(day);
            assert_eq!(days_of(y, i64::from(m), i64::from(d)), day);
        }
    }
}
