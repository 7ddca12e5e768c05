//! How often the recommendations for a container held: the honest part of a confidence.

use serde::{Deserialize, Serialize};

/// Half-life of the record: three days, so that a week's habits show and last month's do not.
const HALF_LIFE_SECONDS: f64 = 3.0 * 86_400.0;
/// History after which half of the doubt of ignorance is gone, in seconds. Two hours: the confidence passes
/// 75 % at six hours, the least a shrink waits for, and 92 % after a day.
const HALF_DOUBT_SECONDS: f64 = 2.0 * 3600.0;

/// How much of the time the recommendation in force covered the demand.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct TrackRecord {
    held_seconds: f64,
    judged_seconds: f64,
}

impl TrackRecord {
    /// Notes that for `seconds` the demand was, or was not, within the recommendation.
    pub(super) fn note(&mut self, seconds: f64, held: bool) {
        let fade = (-seconds / HALF_LIFE_SECONDS).exp2();
        self.held_seconds *= fade;
        self.judged_seconds *= fade;
        self.judged_seconds += seconds;
        if held {
            self.held_seconds += seconds;
        }
    }

    /// Share of the time it held, discounted while the history is short; 0–100.
    pub(super) fn confidence_percent(&self, history_seconds: f64) -> f64 {
        if self.judged_seconds <= 0.0 {
            return 0.0;
        }
        let known = history_seconds / (history_seconds + HALF_DOUBT_SECONDS);
        100.0 * known * self.held_seconds / self.judged_seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(held_hours: u32, missed_hours: u32, want: std::ops::Range<f64>) {
        let mut record = TrackRecord::default();
        (0..held_hours).for_each(|_| record.note(3600.0, true));
        (0..missed_hours).for_each(|_| record.note(3600.0, false));
        let got = record.confidence_percent(f64::from(held_hours + missed_hours) * 3600.0);
        assert!(want.contains(&got), "{got}");
    }

    #[test]
    fn confidence_grows_with_history_and_falls_with_misses() {
        check(0, 0, 0.0..0.1);
        check(1, 0, 30.0..40.0);
        check(6, 0, 74.0..76.0);
        check(72, 0, 97.0..98.0);
        check(0, 24, 0.0..0.1);
        check(48, 24, 50.0..66.0);
    }
}
