//! Times as people write them.

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};

/// Why a text is not a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a time; write an age (90m, 24h, 7d, 4w) or a time (2026-11-20, 2026-11-20T08:00)")]
pub struct InvalidMoment {
    text: String,
}

/// A time ago, a day, or a time (without an offset in `zone`), in milliseconds since the epoch.
pub(super) fn moment(text: &str, now: Timestamp, zone: &TimeZone) -> Result<i64, InvalidMoment> {
    let invalid = || InvalidMoment { text: text.chars().take(60).collect() };
    if text == "now" {
        return Ok(now.as_millisecond());
    }
    if let Some(ago_ms) = ago_ms(text) {
        return Ok(now.as_millisecond().saturating_sub(ago_ms));
    }
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant.as_millisecond());
    }
    let civil: civil::DateTime = text.parse().map_err(|_| invalid())?;
    let instant = zone.to_ambiguous_timestamp(civil).compatible().map_err(|_| invalid())?;
    Ok(instant.as_millisecond())
}

fn ago_ms(text: &str) -> Option<i64> {
    let unit = text.chars().next_back()?;
    let seconds: i64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return None,
    };
    let number: u32 = text[..text.len() - 1].parse().ok()?;
    i64::from(number).checked_mul(seconds * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Option<&str>) {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let want = want.map(|want| want.parse::<Timestamp>().unwrap().as_millisecond());
        assert_eq!(moment(text, now, &zone).ok(), want, "{text}");
    }

    #[test]
    fn moments_are_read_as_people_write_them() {
        check("7d", Some("2026-11-16T12:00:00Z"));
        check("90m", Some("2026-11-23T10:30:00Z"));
        check("now", Some("2026-11-23T12:00:00Z"));
        check("2026-11-20", Some("2026-11-19T23:00:00Z"));
        check("2026-11-20T08:00", Some("2026-11-20T07:00:00Z"));
        check("2026-11-20T08:00:00Z", Some("2026-11-20T08:00:00Z"));
        for bad in ["", "d", "-1d", "7 d", "yesterday", "1y", "99999999999w"] {
            check(bad, None);
        }
    }
}
