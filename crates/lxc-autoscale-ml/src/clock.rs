//! Detects remembered times in the future: the clock was set back since. Pure.
//!
//! A time in the future would block, hold or count for more than it should until the clock has caught up, which may
//! take years. So it counts as of the moment when that is noticed.

use jiff::{SignedDuration, Timestamp};

/// A smaller difference does not mean that the clock was set back.
const SLACK: SignedDuration = SignedDuration::from_mins(1);

/// How far `at` is ahead of `now` if the clock was set back; `None` otherwise.
pub fn ahead(at: Timestamp, now: Timestamp) -> Option<SignedDuration> {
    Some(at.duration_since(now)).filter(|ahead| SLACK < *ahead)
}

/// Sets `at` to `now` if the clock was set back; returns whether it was.
pub fn set_back(at: &mut Timestamp, now: Timestamp) -> bool {
    let is_ahead = ahead(*at, now).is_some();
    if is_ahead {
        *at = now;
    }
    is_ahead
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_ahead_of_a_clock_that_was_set_back_is_moved() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        for (seconds, want) in [(-86_400, -86_400), (0, 0), (60, 60), (61, 0), (86_400, 0)] {
            let mut at = now + SignedDuration::from_secs(seconds);
            assert_eq!(set_back(&mut at, now), want != seconds, "{seconds}");
            assert_eq!(at, now + SignedDuration::from_secs(want), "{seconds}");
        }
        assert_eq!(ahead(Timestamp::MAX, Timestamp::MIN).map(|ahead| ahead.is_positive()), Some(true));
    }
}
