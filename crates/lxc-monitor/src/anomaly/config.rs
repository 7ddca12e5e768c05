//! The settings `[anomaly]`.

use std::path::PathBuf;

use lxc_autoscale_core::config::BrokenRule;
use serde::Deserialize;

use super::container::Settings;

/// The settings of anomaly flags.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnomalyConfig {
    /// Whether series are watched; if not, nothing is learnt either.
    pub enabled: bool,
    /// Share of values of a series that may be flagged over time, 0–1; more finds smaller shifts.
    pub false_alarm_share: f64,
    /// How long a series is watched before anything is flagged, in hours.
    pub min_history_hours: f64,
    /// More frequent measurements are averaged to steps of this length, in seconds.
    pub step_seconds: f64,
    /// The file of the learnt state; written every five minutes and at the end.
    pub state_file: PathBuf,
}

impl AnomalyConfig {
    /// The settings of the detectors.
    pub fn settings(&self) -> Settings {
        Settings {
            false_alarm_share: self.false_alarm_share,
            least_history_seconds: self.min_history_hours * 3600.0,
            step_seconds: self.step_seconds,
        }
    }

    /// Checks the values.
    ///
    /// # Errors
    /// [`BrokenRule`] names the key.
    pub fn validate(&self) -> Result<(), BrokenRule> {
        let share_holds = (0.0001..=0.2).contains(&self.false_alarm_share);
        BrokenRule::unless(share_holds, "anomaly.false_alarm_share", "must be from 0.0001 to 0.2")?;
        let history_holds = (0.0..=720.0).contains(&self.min_history_hours);
        BrokenRule::unless(history_holds, "anomaly.min_history_hours", "must be from 0 to 720")?;
        let step_holds = (0.1..=3600.0).contains(&self.step_seconds);
        BrokenRule::unless(step_holds, "anomaly.step_seconds", "must be from 0.1 to 3600")?;
        let path_holds = self.state_file.is_absolute();
        BrokenRule::unless(path_holds, "anomaly.state_file", "must be an absolute path")
    }
}

impl Default for AnomalyConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            false_alarm_share: 0.01,
            min_history_hours: 24.0,
            step_seconds: 60.0,
            state_file: "/var/lib/lxc_autoscale_ml/monitor/anomaly.state".into(),
        }
    }
}
