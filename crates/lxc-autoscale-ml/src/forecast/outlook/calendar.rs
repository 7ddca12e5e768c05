//! Which steps lie at the same local time.
//!
//! People and timers follow local time, so daily habits are looked up by it: after a change of the clocks the same
//! habit is an hour earlier or later in UTC. The hour skipped in spring has no value that day, and the one repeated in
//! autumn has two.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::recommend::series::{DAY_STEPS, STEP_SECONDS};

const SECONDS_PER_DAY: i64 = 86_400;
/// The UTC offset is constant within this time; zones change at full or half hours of UTC.
const SAME_OFFSET_SECONDS: i64 = 900;
/// 1970-01-01 was a Thursday; days of the week are counted from Monday.
const WEEKDAY_OF_DAY_0: i64 = 3;

/// A step in local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Local days since 1970-01-01.
    pub day: i64,
    /// Step of the local day, 0 to 287.
    pub slot: usize,
}

impl Place {
    /// Day of the week, Monday being 0.
    pub fn weekday(self) -> i64 {
        (self.day + WEEKDAY_OF_DAY_0).rem_euclid(7)
    }

    /// Saturday or Sunday.
    pub fn is_weekend(self) -> bool {
        5 <= self.weekday()
    }
}

/// The local places of `count` steps beginning with `first`, each by the beginning of the step.
pub fn places(first: i64, count: usize, zone: &TimeZone) -> Vec<Place> {
    let mut offset: Option<(i64, i64)> = None;
    let place = |step: i64| {
        let at = step.saturating_mul(STEP_SECONDS);
        let quarter = at.div_euclid(SAME_OFFSET_SECONDS);
        let seconds = match offset {
            Some((known, seconds)) if known == quarter => seconds,
            _ => Timestamp::from_second(at).map_or(0, |at| i64::from(zone.to_offset(at).seconds())),
        };
        offset = Some((quarter, seconds));
        let local = at.saturating_add(seconds);
        let slot = local.rem_euclid(SECONDS_PER_DAY) / STEP_SECONDS;
        Place { day: local.div_euclid(SECONDS_PER_DAY), slot: usize::try_from(slot).unwrap_or_default() }
    };
    (first..).take(count).map(place).collect()
}

/// Slots per day.
pub const SLOTS: usize = 288;
const _: () = assert!(DAY_STEPS == 288, "a slot is a step of the series");

#[cfg(test)]
mod tests {
    use super::*;

    fn rome() -> TimeZone {
        // A rule instead of a name, so that the test needs no zone database.
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    /// The local time, as hours and minutes, of a step at a UTC time.
    #[track_caller]
    fn check(utc: &str, want_day_ends: &str, want: (usize, usize)) {
        let at: Timestamp = utc.parse().unwrap();
        let place = places(at.as_second() / STEP_SECONDS, 1, &rome())[0];
        assert_eq!((place.slot / 12, place.slot % 12 * 5), want, "{utc}");
        let day: jiff::civil::Date = want_day_ends.parse().unwrap();
        assert_eq!(place.weekday(), i64::from(day.weekday().to_monday_zero_offset()), "{utc}");
    }

    #[test]
    fn the_clock_on_the_wall_counts_over_both_changes() {
        // 2026: forward on 29 March at 01:00 UTC, back on 25 October at 01:00 UTC.
        check("2026-03-29T00:55:00Z", "2026-03-29", (1, 55));
        check("2026-03-29T01:00:00Z", "2026-03-29", (3, 0));
        check("2026-10-25T00:55:00Z", "2026-10-25", (2, 55));
        check("2026-10-25T01:00:00Z", "2026-10-25", (2, 0));
        check("2026-10-25T23:00:00Z", "2026-10-26", (0, 0));
    }

    #[test]
    fn steps_in_a_row_are_places_in_a_row() {
        let at: Timestamp = "2026-03-28T23:00:00Z".parse().unwrap();
        let day = places(at.as_second() / STEP_SECONDS, 300, &rome());
        // The short day has 276 steps: two to three o'clock is missing.
        assert_eq!((day[0].slot, day[23].slot, day[24].slot), (0, 23, 36));
        assert_eq!((day[275].slot, day[276].slot, day[276].day), (287, 0, day[0].day + 1));
        let utc = places(0, 600, &TimeZone::UTC);
        assert!(utc.iter().enumerate().all(|(step, place)| place.slot == step % SLOTS));
        assert_eq!((utc[0].weekday(), utc[0].is_weekend(), utc[599].is_weekend()), (3, false, true));
    }
}
