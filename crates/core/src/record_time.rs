//! The time of a record in the metrics file.

use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::fmt::temporal::Pieces;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant with the UTC offset it is shown in: `2026-11-23T17:20:00.123456+01:00`.
///
/// Records of the Python original have local time without an offset (`datetime.now().isoformat()`); they are read in
/// the time zone of this machine, on which they were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordTime {
    instant: Timestamp,
    offset: Offset,
}

/// Why a text is not a record time.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not an ISO 8601 time such as 2026-11-23T17:20:00.123456+01:00")]
pub struct InvalidRecordTime {
    text: String,
    source: jiff::Error,
}

impl RecordTime {
    /// An instant, shown in the offset that `zone` has at that instant.
    pub fn new(instant: Timestamp, zone: &TimeZone) -> Self {
        Self { instant, offset: in_minutes(zone.to_offset(instant)) }
    }

    /// An instant, shown in UTC.
    pub fn utc(instant: Timestamp) -> Self {
        Self { instant, offset: Offset::UTC }
    }

    /// Returns the instant.
    pub fn instant(self) -> Timestamp {
        self.instant
    }

    /// Returns the seconds since the Unix epoch, including the fraction.
    pub fn as_seconds(self) -> f64 {
        self.instant.as_microsecond() as f64 / 1e6
    }

    /// Returns the time that is later by this much, shown in the same offset; the first or last possible one beyond those.
    #[must_use]
    pub fn later_by(self, duration: SignedDuration) -> Self {
        let farthest = if duration.is_negative() { Timestamp::MIN } else { Timestamp::MAX };
        Self { instant: self.instant.checked_add(duration).unwrap_or(farthest), offset: self.offset }
    }

    /// Returns the seconds since midnight in the offset it is shown in.
    pub fn second_of_day(self) -> f64 {
        (self.as_seconds() + f64::from(self.offset.seconds())).rem_euclid(86_400.0)
    }
}

/// The offset in whole minutes, because only those can be written: an offset with seconds would be rounded when
/// shown, and the text would name another instant.
fn in_minutes(offset: Offset) -> Offset {
    Offset::from_seconds(offset.seconds() / 60 * 60).unwrap_or(Offset::UTC)
}

impl fmt::Display for RecordTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.instant.display_with_offset(self.offset).fmt(f)
    }
}

impl FromStr for RecordTime {
    type Err = InvalidRecordTime;

    fn from_str(text: &str) -> Result<Self, InvalidRecordTime> {
        let invalid = |source| InvalidRecordTime { text: text.chars().take(60).collect(), source };
        if let Ok(instant) = text.parse::<Timestamp>() {
            let offset = Pieces::parse(text).ok().and_then(|pieces| pieces.to_numeric_offset());
            return Ok(Self { instant, offset: in_minutes(offset.unwrap_or(Offset::UTC)) });
        }
        let civil: DateTime = text.parse().map_err(invalid)?;
        let zone = crate::local_zone();
        let instant = zone.to_ambiguous_timestamp(civil).compatible().map_err(invalid)?;
        Ok(Self::new(instant, &zone))
    }
}

impl Serialize for RecordTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RecordTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_is_kept() {
        for text in
            ["2026-11-23T17:20:00.123456+01:00", "2026-11-23T17:20:00+00:00", "2026-07-01T00:00:00-03:30"]
        {
            assert_eq!(text.parse::<RecordTime>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_offset_with_seconds_shows_the_same_instant() {
        for text in
            ["2026-11-23T17:20:26-10:40:56", "2026-11-23T17:20:26+00:00:30", "1880-01-01T00:00:00+00:49:56"]
        {
            let time: RecordTime = text.parse().unwrap();
            let shown: RecordTime = time.to_string().parse().unwrap();
            assert_eq!(shown.instant(), time.instant(), "{text} became {time}");
        }
    }

    #[test]
    fn a_later_time_keeps_the_offset() {
        let time: RecordTime = "2026-11-23T17:20:00+01:00".parse().unwrap();
        assert_eq!(time.later_by(SignedDuration::from_secs(90)).to_string(), "2026-11-23T17:21:30+01:00");
        assert_eq!(time.later_by(SignedDuration::from_secs(-90)).to_string(), "2026-11-23T17:18:30+01:00");
        assert_eq!(time.later_by(SignedDuration::MAX).instant(), Timestamp::MAX);
        assert_eq!(time.later_by(SignedDuration::MIN).instant(), Timestamp::MIN);
    }

    #[test]
    fn both_spellings_of_the_same_instant_are_equal_instants() {
        let with_offset: RecordTime = "2026-11-23T17:20:00+01:00".parse().unwrap();
        let in_utc: RecordTime = "2026-11-23T16:20:00Z".parse().unwrap();
        assert_eq!(with_offset.instant(), in_utc.instant());
    }

    #[test]
    fn naive_local_time_of_the_original_is_read() {
        let naive: RecordTime = "2026-11-23T17:20:00.123456".parse().unwrap();
        let civil: DateTime = "2026-11-23T17:20:00.123456".parse().unwrap();
        let want = TimeZone::system().to_ambiguous_timestamp(civil).compatible().unwrap();
        assert_eq!(naive.instant(), want);
    }

    #[test]
    fn nonsense_is_refused_with_an_example() {
        let error = "yesterday".parse::<RecordTime>().unwrap_err();
        assert!(error.to_string().contains("such as 2026-11-23"), "{error}");
    }
}
