//! The recommended size and its evidence.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::restlessness::Restlessness;
use crate::classes::Class;
use crate::confidence::Chances;

/// The recommended size of a container. `None` is a resource that was never measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// CPU, in cores.
    pub cpu: Option<Estimate>,
    /// Memory, in MiB.
    pub memory: Option<Estimate>,
    /// How long it has been observed, without gaps, in seconds.
    pub history_seconds: u64,
    /// The kind of container; `None` while too little is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
}

/// The recommended size of one resource, in cores or MiB.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The recommended size, headroom included.
    pub target: f64,
    /// A shrink may not go below this: the present peak usage (memory: of a quarter of an hour).
    pub floor: f64,
    /// The probability that the target, once it is set, serves the coming hour (0–100); 0 when unknown.
    pub confidence_percent: f64,
    /// How long this resource has been measured, without gaps, in seconds.
    pub known_seconds: u64,
    /// The evidence that was decisive.
    pub basis: Fact,
    /// All evidence, in the resource's unit and without headroom.
    pub evidence: Vec<Evidence>,
    /// The weekly peak at this time, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weekly: Option<WeeklyPeak>,
    /// How restless its last day was; known for CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restlessness: Option<Restlessness>,
    /// The size that was enough for the last day but for levels that lasted, headroom included, where its use came at
    /// random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random_day: Option<f64>,
    /// The basis of the confidence in any size; not stored.
    #[serde(skip)]
    pub chances: Chances,
}

impl Estimate {
    /// The probability that a change from `from` to `to` stays right over the next hour (0–100).
    pub fn confidence_at(&self, from: f64, to: f64) -> f64 {
        self.chances.percent(from, to).unwrap_or(self.confidence_percent)
    }

    /// The most it is expected to use: the largest evidence, in cores or MiB. On the first day forecasts do not count.
    pub fn expected(&self) -> f64 {
        self.largest(|fact| self.is_known_a_day() || fact != Fact::Forecast)
    }

    /// The most that was used or lacking so far, in cores or MiB.
    pub fn seen(&self) -> f64 {
        self.largest(|fact| fact != Fact::Forecast)
    }

    /// The value of a piece of evidence, without headroom; `None` where there is no such evidence.
    pub fn value_of(&self, fact: Fact) -> Option<f64> {
        self.evidence.iter().find(|evidence| evidence.fact == fact).map(|evidence| evidence.value)
    }

    /// Whether it was measured long enough for a forecast to be based on more than other containers of its kind.
    pub fn is_known_a_day(&self) -> bool {
        FIRST_DAY_SECONDS <= self.known_seconds
    }

    fn largest(&self, counts: impl Fn(Fact) -> bool) -> f64 {
        let counted = self.evidence.iter().filter(|evidence| counts(evidence.fact));
        counted.map(|evidence| evidence.value).fold(self.floor, f64::max)
    }
}

/// A peak that is expected because it occurred in earlier weeks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeeklyPeak {
    /// The beginning of the hour for which it is expected.
    pub at: Timestamp,
    /// The usage, in cores or MiB.
    pub value: f64,
    /// The number of weeks in which it occurred,
    pub weeks: u32,
    /// of those that are known, four at most.
    pub of: u32,
}

/// A daily pattern does not show before a day was measured: until then experts are not chosen by cost (choosing from
/// the start costs a young container 0.9 % more, `cargo xtask bench ablation`), and a forecast alone is no reason for
/// more memory.
pub const FIRST_DAY_SECONDS: u64 = 86_400;

/// One number that was considered.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Its kind.
    pub fact: Fact,
    /// Cores or MiB.
    pub value: f64,
}

/// The kind of a piece of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// Usage in the last observation.
    LastUse,
    /// The peak of the recent window.
    RecentPeak,
    /// The peak of a day or more, up to eight days.
    LastDaysPeak,
    /// A high quantile of its decaying history.
    DecayedQuantile,
    /// The peak at this time of day on the last days.
    SeasonPeak,
    /// The peak at this time of the week in the last weeks.
    WeeklyPeak,
    /// The forecast of the demand model.
    Forecast,
    /// What it would have used without its CPU limit.
    ThrottledDemand,
    /// What it needs to stop waiting for memory.
    MemoryPressure,
    /// What it needs after running out of memory.
    OutOfMemory,
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LastUse => "last use",
            Self::RecentPeak => "recent peak",
            Self::LastDaysPeak => "peak of the last days",
            Self::DecayedQuantile => "high quantile of its history",
            Self::SeasonPeak => "peak at this time on the last days",
            Self::WeeklyPeak => "peak at this time of the week",
            Self::Forecast => "forecast from its past",
            Self::ThrottledDemand => "demand cut off by the CPU limit",
            Self::MemoryPressure => "tasks waiting for memory",
            Self::OutOfMemory => "out of memory",
        })
    }
}
