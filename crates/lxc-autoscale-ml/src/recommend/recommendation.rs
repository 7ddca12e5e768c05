//! What is recommended, and from which evidence.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::restlessness::Restlessness;
use crate::classes::Class;
use crate::confidence::Chances;

/// What a container should have. `None` is a resource that was never measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// CPU, in cores.
    pub cpu: Option<Estimate>,
    /// Memory, in MiB.
    pub memory: Option<Estimate>,
    /// How long it has been observed, gaps not counted, in seconds.
    pub history_seconds: u64,
    /// What kind of container it is; `None` while too little is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
}

/// How much of one resource a container should have, in cores or MiB.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// What it should have, head-room included.
    pub target: f64,
    /// A shrink may not go below this: the most it used just now (memory: in a quarter of an hour).
    pub floor: f64,
    /// How likely the target, once it is there, serves the coming hour (0–100); 0 where that is not known.
    pub confidence_percent: f64,
    /// How long this resource has been measured, gaps not counted, in seconds.
    pub known_seconds: u64,
    /// The evidence that decided.
    pub basis: Fact,
    /// All evidence, in the resource's unit and without head-room.
    pub evidence: Vec<Evidence>,
    /// What comes at this time of the week, where something does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weekly: Option<WeeklyPeak>,
    /// How restless its last day was; known of CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restlessness: Option<Restlessness>,
    /// What the confidence in any size follows from; not part of what is stored.
    #[serde(skip)]
    pub chances: Chances,
}

impl Estimate {
    /// How likely it stays right over the next hour that a container gets `to` instead of `from` (0–100).
    pub fn confidence_at(&self, from: f64, to: f64) -> f64 {
        self.chances.percent(from, to).unwrap_or(self.confidence_percent)
    }

    /// The most that is expected to be used: the largest piece of evidence, in cores or MiB. On the first day what was seen
    /// counts alone.
    pub fn expected(&self) -> f64 {
        self.largest(|fact| self.is_known_a_day() || fact != Fact::Forecast)
    }

    /// The most that was seen to be used, or to be lacked, in cores or MiB.
    pub fn seen(&self) -> f64 {
        self.largest(|fact| fact != Fact::Forecast)
    }

    /// The value of a piece of evidence, without head-room; `None` where there is no such evidence.
    pub fn value_of(&self, fact: Fact) -> Option<f64> {
        self.evidence.iter().find(|evidence| evidence.fact == fact).map(|evidence| evidence.value)
    }

    /// Whether it was measured long enough for a forecast to be more than what others of its kind came to.
    pub fn is_known_a_day(&self) -> bool {
        FIRST_DAY_SECONDS <= self.known_seconds
    }

    fn largest(&self, counts: impl Fn(Fact) -> bool) -> f64 {
        let counted = self.evidence.iter().filter(|evidence| counts(evidence.fact));
        counted.map(|evidence| evidence.value).fold(self.floor, f64::max)
    }
}

/// A peak that is foreseen because earlier weeks had it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeeklyPeak {
    /// When the hour begins for which it is foreseen.
    pub at: Timestamp,
    /// How much was used, in cores or MiB.
    pub value: f64,
    /// In how many weeks that was so,
    pub weeks: u32,
    /// of so many that are known, four at most.
    pub of: u32,
}

/// What comes daily has not shown before a day was measured: until then experts are not told apart by what they cost
/// (choosing from the start on costs a young container 1.4 % more, `cargo xtask bench ablation`), and a forecast alone is no
/// reason to get more memory.
pub const FIRST_DAY_SECONDS: u64 = 86_400;

/// One number that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// What it is.
    pub fact: Fact,
    /// Cores or MiB.
    pub value: f64,
}

/// What a piece of evidence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// Use in the last observation.
    LastUse,
    /// The most of the recent window.
    RecentPeak,
    /// The most of a day or more, up to eight days.
    LastDaysPeak,
    /// A high quantile of its fading history.
    DecayedQuantile,
    /// The most at this time of day on the last days.
    SeasonPeak,
    /// The most at this time of the week in the last weeks.
    WeeklyPeak,
    /// What the demand model expects.
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
