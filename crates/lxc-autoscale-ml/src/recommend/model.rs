//! What has been learnt about one container.

use std::sync::Arc;

use jiff::Timestamp;

use super::config::RecommendConfig;
use super::demand::{CpuRecovery, Demand, memory_demand};
use super::histogram::DecayingHistogram;
use super::recommendation::{Estimate, Evidence, Fact, Recommendation};
use super::series::{DAY_STEPS, STEP_SECONDS, Series, Within, step_of};
use super::track_record::TrackRecord;
use crate::observation::Observation;

/// An observation speaks for at most this long before it: longer is a gap, and what happened there is
/// unknown.
const LONGEST_STEP_SECONDS: f64 = 1800.0;
/// How long the very first observation speaks for, since nobody knows when its step began.
const FIRST_STEP_SECONDS: f64 = 60.0;
/// Memory: the season is looked up for the coming hour, half an hour less punctual on both sides.
const SEASON_AHEAD_STEPS: i64 = 12;
const SEASON_SLACK_STEPS: i64 = 6;
/// The floor of a shrink looks at the last quarter of an hour: what it is doing now.
const FLOOR_STEPS: i64 = 3;
/// CPU below a hundredth of a core is told apart no further.
const CPU_FIRST_BUCKET: f64 = 0.01;

/// What has been learnt about one container; of bounded size (about 20 kB).
#[derive(Clone, Debug)]
pub struct ContainerModel {
    config: Arc<RecommendConfig>,
    last: Option<Timestamp>,
    observed_seconds: f64,
    cpu: Learnt,
    cpu_recovery: CpuRecovery,
    cpu_history: DecayingHistogram,
    memory: Learnt,
}

/// What has been learnt about one resource.
#[derive(Clone, Debug)]
struct Learnt {
    series: Series,
    last: Option<Demand>,
    record: TrackRecord,
    /// The target given after the last observation.
    standing: Option<f64>,
}

impl Learnt {
    fn new(within: Within) -> Self {
        Self { series: Series::new(within), last: None, record: TrackRecord::default(), standing: None }
    }

    fn observe(&mut self, at_seconds: i64, seconds: f64, demand: Demand) {
        if let Some(target) = self.standing {
            self.record.note(seconds, demand.value <= target);
        }
        self.series.push(at_seconds, seconds, demand.value);
        self.last = Some(demand);
    }
}

impl ContainerModel {
    /// A container nothing is known about.
    pub fn new(config: &RecommendConfig) -> Self {
        Self::sharing(Arc::new(config.clone()))
    }

    /// As [`ContainerModel::new`], for many containers under the same constants.
    pub fn sharing(config: Arc<RecommendConfig>) -> Self {
        let cpu_history = DecayingHistogram::new(CPU_FIRST_BUCKET, config.cpu_half_life_hours * 3600.0);
        Self {
            config,
            last: None,
            observed_seconds: 0.0,
            cpu: Learnt::new(Within::BusiestMinute),
            cpu_recovery: CpuRecovery::default(),
            cpu_history,
            memory: Learnt::new(Within::Largest),
        }
    }

    /// When the container was last observed.
    pub fn last_observed(&self) -> Option<Timestamp> {
        self.last
    }

    /// Takes in the next observation; one that is not newer than the last is ignored.
    pub fn observe(&mut self, observation: &Observation) {
        let at = observation.at;
        let seconds = match self.last {
            Some(last) if at <= last => return,
            Some(last) => at.duration_since(last).as_secs_f64(),
            None => FIRST_STEP_SECONDS,
        };
        self.last = Some(at);
        let seconds = if LONGEST_STEP_SECONDS < seconds { FIRST_STEP_SECONDS } else { seconds };
        self.observed_seconds += seconds;
        let at_seconds = at.as_second();
        if let Some(demand) = self.cpu_recovery.demand(observation) {
            self.cpu.observe(at_seconds, seconds, demand);
            self.cpu_history.add(at_seconds as f64, seconds, demand.value);
        }
        if let Some(demand) = memory_demand(&self.config, observation) {
            self.memory.observe(at_seconds, seconds, demand);
        }
        self.cpu.standing = self.cpu_estimate(at).map(|estimate| estimate.target);
        self.memory.standing = self.memory_estimate(at).map(|estimate| estimate.target);
    }

    /// What the container should have from `now` on.
    pub fn recommend(&self, now: Timestamp) -> Recommendation {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a sum of positive seconds"
        )]
        let history_seconds = self.observed_seconds as u64;
        Recommendation { cpu: self.cpu_estimate(now), memory: self.memory_estimate(now), history_seconds }
    }

    fn cpu_estimate(&self, now: Timestamp) -> Option<Estimate> {
        let config = &self.config;
        let last = self.cpu.last?;
        let step = step_of(now.as_second());
        let series = &self.cpu.series;
        let mut evidence = Collected::default();
        evidence.note(last.fact, Some(last.value));
        evidence.note(Fact::RecentPeak, series.recent_peak(step, steps(config.cpu_window_minutes)));
        let quantile = self.cpu_history.quantile(config.cpu_quantile());
        let (demand, basis) = evidence.largest()?;
        evidence.note(Fact::DecayedQuantile, quantile);
        let headroom = 1.0 + config.cpu_headroom_percent / 100.0;
        let floor = series.recent_peak(step, FLOOR_STEPS).unwrap_or(demand);
        Some(Estimate {
            target: demand * headroom,
            floor,
            confidence_percent: self.cpu.record.confidence_percent(self.observed_seconds),
            basis,
            evidence: evidence.all,
        })
    }

    fn memory_estimate(&self, now: Timestamp) -> Option<Estimate> {
        let config = &self.config;
        let last = self.memory.last?;
        let step = step_of(now.as_second());
        let series = &self.memory.series;
        let mut evidence = Collected::default();
        evidence.note(last.fact, Some(last.value));
        evidence.note(Fact::RecentPeak, series.recent_peak(step, steps(config.memory_window_minutes)));
        let season = (1..=i64::from(config.memory_season_days))
            .filter_map(|days| series.season_peak(step, days, SEASON_AHEAD_STEPS, SEASON_SLACK_STEPS));
        evidence.note(Fact::SeasonPeak, season.reduce(f64::max));
        let (demand, basis) = evidence.largest()?;
        let floor = series.recent_peak(step, FLOOR_STEPS).unwrap_or(demand);
        Some(Estimate {
            target: demand * (1.0 + config.memory_headroom_percent / 100.0),
            floor,
            confidence_percent: self.memory.record.confidence_percent(self.observed_seconds),
            basis,
            evidence: evidence.all,
        })
    }
}

/// Evidence in the order it was looked at.
#[derive(Default)]
struct Collected {
    all: Vec<Evidence>,
}

impl Collected {
    fn note(&mut self, fact: Fact, value: Option<f64>) {
        self.all.extend(value.map(|value| Evidence { fact, value }));
    }

    fn largest(&self) -> Option<(f64, Fact)> {
        self.all
            .iter()
            .max_by(|a, b| a.value.total_cmp(&b.value))
            .map(|evidence| (evidence.value, evidence.fact))
    }
}

fn steps(minutes: u32) -> i64 {
    (i64::from(minutes) * 60 + STEP_SECONDS - 1).div_euclid(STEP_SECONDS).min(7 * DAY_STEPS)
}
