//! How often the recommended sizes of a container were enough for an hour.
//!
//! Every hour the size recommended at that moment goes on trial, whether it was applied or not: it fails if it would
//! have been too small within the hour. [`crate::confidence`] defines that.

use serde::{Deserialize, Serialize};

use crate::confidence::ServedShare;

/// Half-life of the record: three days, so that this week's habits count and last month's do not.
const HALF_LIFE_SECONDS: f64 = 3.0 * 86_400.0;
/// Length of a trial.
const TRIAL_SECONDS: f64 = 3600.0;
/// The prior is worth two trials, one of which failed.
const PRIOR: (f64, f64) = (1.0, 2.0);

/// Trials of one resource of one container, and their results.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct TrackRecord {
    trial: Option<Trial>,
    /// Successful trials and all trials; both decay.
    right: f64,
    judged: f64,
}

/// A size on trial.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Trial {
    size: f64,
    seconds: f64,
    wanted: f64,
    missed: f64,
}

impl TrackRecord {
    /// Notes the demand of `seconds`; when a trial is over, `size` is the next on trial. An hour fails if less than
    /// `least_served` of it is served.
    pub(super) fn note(&mut self, seconds: f64, demand: f64, size: f64, least_served: ServedShare) {
        let fade = (-seconds / HALF_LIFE_SECONDS).exp2();
        self.right *= fade;
        self.judged *= fade;
        let fresh = Trial { size, seconds: 0.0, wanted: 0.0, missed: 0.0 };
        let trial = self.trial.get_or_insert(fresh);
        trial.seconds += seconds;
        trial.wanted += demand * seconds;
        trial.missed += (demand - trial.size).max(0.0) * seconds;
        if TRIAL_SECONDS <= trial.seconds {
            self.judged += 1.0;
            self.right += if least_served.is_kept(trial.wanted, trial.missed) { 1.0 } else { 0.0 };
            self.trial = None;
        }
    }

    /// Share of successful trials (0–1); one half without data.
    pub(super) fn share(&self) -> f64 {
        (self.right + PRIOR.0) / (self.judged + PRIOR.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share after hours that were served and hours of which a tenth was not.
    #[track_caller]
    fn check(served_hours: u32, missed_hours: u32, want: std::ops::Range<f64>) {
        let mut record = TrackRecord::default();
        for hour in 0..served_hours + missed_hours {
            let demand = if hour < served_hours { 1.0 } else { 1.0 / 0.9 };
            (0..12).for_each(|_| record.note(300.0, demand, 1.0, ServedShare::CPU));
        }
        assert!(want.contains(&record.share()), "{}", record.share());
    }

    #[test]
    fn the_share_grows_with_good_hours_and_falls_with_bad_ones() {
        check(0, 0, 0.5..0.51);
        check(1, 0, 0.66..0.67);
        check(24, 0, 0.95..0.97);
        check(0, 24, 0.03..0.05);
        check(48, 24, 0.5..0.66);
    }
}
