//! The same time on earlier days, by the clock on the wall.

use jiff::Timestamp;
use jiff::tz::TimeZone;

const DAY_SECONDS: i64 = 86_400;
/// No moment lies further from the epoch than this: two million years.
const LAST_SECOND: i64 = 1 << 46;

/// The moment that had the same local time so many days before; moments are in seconds since the Unix epoch.
///
/// What people and timers do follows the local time, so the day on which the clocks change is an hour longer or shorter.
pub(super) fn days_before(at_seconds: i64, days: i64, zone: &TimeZone) -> i64 {
    let offset = |seconds: i64| {
        let at = Timestamp::from_second(seconds.clamp(-LAST_SECOND, LAST_SECOND));
        at.map_or(0, |at| i64::from(zone.to_offset(at).seconds()))
    };
    let then = at_seconds.saturating_sub(days * DAY_SECONDS);
    then + offset(at_seconds) - offset(then)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(local: &str) -> i64 {
        let local: jiff::civil::DateTime = local.parse().unwrap();
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        zone.to_ambiguous_timestamp(local).compatible().unwrap().as_second()
    }

    #[test]
    fn nine_in_the_morning_is_nine_in_the_morning_whatever_the_clocks_did_since() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        for (now, days, then, hours) in [
            ("2026-10-24T09:00:00", 1, "2026-10-23T09:00:00", 24),
            ("2026-10-25T09:00:00", 1, "2026-10-24T09:00:00", 25),
            ("2026-10-26T09:00:00", 1, "2026-10-25T09:00:00", 24),
            ("2026-10-26T09:00:00", 3, "2026-10-23T09:00:00", 73),
            ("2026-03-29T09:00:00", 1, "2026-03-28T09:00:00", 23),
            ("2026-03-30T09:00:00", 7, "2026-03-23T09:00:00", 167),
        ] {
            let found = days_before(seconds(now), days, &zone);
            assert_eq!((found, seconds(now) - found), (seconds(then), hours * 3600), "{now} {days}");
            assert_eq!(days_before(seconds(now), days, &TimeZone::UTC), seconds(now) - days * DAY_SECONDS);
        }
    }
}
