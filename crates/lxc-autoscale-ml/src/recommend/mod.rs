//! What a container should have, learnt from what it did. Pure: no clock, no I/O; time comes from the
//! observations.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::observation::Observation;

/// Constants of the recommendation, each with its reason.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecommendConfig {
    /// Price of one core kept for one hour; the unit of all other prices.
    pub price_core_hour: f64,
    /// Price of one GiB kept for one hour.
    pub price_gib_hour: f64,
}

impl Default for RecommendConfig {
    fn default() -> Self {
        Self { price_core_hour: 1.0, price_gib_hour: 0.11 }
    }
}

/// What has been learnt about one container.
#[derive(Clone, Debug)]
pub struct ContainerModel {
    last: Option<Observation>,
}

impl ContainerModel {
    /// A container nothing is known about.
    pub fn new(_config: &RecommendConfig) -> Self {
        Self { last: None }
    }

    /// Takes in the next observation; one that is not newer than the last is ignored.
    pub fn observe(&mut self, observation: &Observation) {
        self.last = Some(observation.clone());
    }

    /// What the container should have from `now` on.
    pub fn recommend(&self, _now: Timestamp) -> Recommendation {
        Recommendation { cpu: None, memory: None, history_seconds: 0 }
    }
}

/// What a container should have. `None` is a resource that was never measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// CPU, in cores.
    pub cpu: Option<Estimate>,
    /// Memory, in MiB.
    pub memory: Option<Estimate>,
    /// Seconds from the first to the last observation.
    pub history_seconds: u64,
}

/// How much of one resource a container should have, in cores or MiB.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// What it should have, head-room included.
    pub target: f64,
    /// A shrink may not go below this: the most it used lately, with margin.
    pub floor: f64,
    /// How often a target held so far, discounted for short history (0–100).
    pub confidence_percent: f64,
    /// The evidence that decided.
    pub basis: Fact,
    /// All evidence, in the resource's unit and without head-room.
    pub evidence: Vec<Evidence>,
}

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
    /// A high quantile of the decayed history.
    DecayedQuantile,
    /// The most at this time of day on the last days.
    SeasonPeak,
    /// What it would have used without its CPU limit.
    ThrottledDemand,
    /// What it needs after running out of memory.
    OutOfMemory,
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LastUse => "last use",
            Self::RecentPeak => "recent peak",
            Self::DecayedQuantile => "high quantile of its history",
            Self::SeasonPeak => "peak at this time on the last days",
            Self::ThrottledDemand => "demand cut off by the CPU limit",
            Self::OutOfMemory => "out of memory",
        })
    }
}
