//! Reads the clocks.

use std::time::Duration;

use jiff::Timestamp;
use lxc_autoscale_core::{RecordTime, local_zone};
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::sample::Moment;

/// The present time, on the wall clock and since boot.
pub fn now() -> Moment {
    Moment { wall: Timestamp::now(), since_boot: duration(clock_gettime(ClockId::Boottime)) }
}

/// A time as in the metrics file: local time with its offset, to the microsecond.
///
/// The reader of the Python original refuses more than six digits.
pub fn record_time(instant: Timestamp) -> RecordTime {
    let whole = Timestamp::from_microsecond(instant.as_microsecond()).unwrap_or(instant);
    RecordTime::new(whole, &local_zone())
}

fn duration(time: Timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_time_has_an_offset_and_six_digits_at_most() {
        let instant: Timestamp = "2026-11-23T17:20:00.123456789Z".parse().unwrap();
        let text = record_time(instant).to_string();
        let (_, fraction) = text.split_once('.').unwrap();
        assert_eq!(fraction.bytes().take_while(u8::is_ascii_digit).count(), 6, "{text}");
        assert_eq!(text.parse::<RecordTime>().unwrap().instant().as_microsecond(), instant.as_microsecond());
    }

    #[test]
    fn time_since_boot_does_not_go_back() {
        assert!(now().since_boot <= now().since_boot);
    }
}
