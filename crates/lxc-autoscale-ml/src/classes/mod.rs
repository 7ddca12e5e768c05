//! What kind of container it is: idle, steady, bursty, periodic or growing.
//!
//! Recorded machines were clustered by k-means on a few traits of their last days ([`traits`]), and each cluster was
//! named by its centre ([`Class::of_traits`]). A container belongs to the cluster with the nearest centre. `cargo xtask
//! bench classes` learns the clusters, and measures how well they classify containers of known kinds.

mod model;
pub mod traits;

pub use model::{ClassModel, Group, Scaling};

use std::fmt;

use lxc_autoscale_core::api::KindOfLoad;
use serde::{Deserialize, Serialize};

use self::traits::Traits;

/// A kind of workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Nearly no CPU usage.
    Idle,
    /// Nearly constant.
    Steady,
    /// Low usage with occasional bursts.
    Bursty,
    /// A daily pattern.
    Periodic,
    /// Growing.
    Growing,
}

/// Growth: a line through the hourly means that rises by half over the observed time.
const GROWING: f64 = 0.4;
/// From this explained share of the variance on, forecasts use the time of day, too.
const PERIODIC: f64 = crate::forecast::outlook::LEAST_STRENGTH;
/// At most a twentieth of a core for 19 hours of 20.
const IDLE_CORES: f64 = 0.05;
/// A peak of three times the median.
const BURSTY: f64 = 1.1;

impl Class {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Idle, Self::Steady, Self::Bursty, Self::Periodic, Self::Growing];

    /// What the name says, for people: it completes the sentence "The container …".
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Idle => "hardly uses any CPU",
            Self::Steady => "uses about the same all the time",
            Self::Bursty => "uses much more now and then than usually",
            Self::Periodic => "uses more at the same time of each day",
            Self::Growing => "uses more and more",
        }
    }

    /// Name and meaning, for programs that show them.
    pub fn kind_of_load(self) -> KindOfLoad {
        KindOfLoad { name: self.to_string(), meaning: self.meaning().to_owned() }
    }

    /// The name for these traits: the first of growing, periodic, idle and bursty that applies, otherwise steady.
    pub fn of_traits(traits: &Traits) -> Self {
        match traits {
            _ if GROWING <= traits.growth => Self::Growing,
            _ if PERIODIC <= traits.day => Self::Periodic,
            _ if traits.level <= traits::level(IDLE_CORES) => Self::Idle,
            _ if BURSTY <= traits.cpu_unrest.max(traits.memory_unrest) => Self::Bursty,
            _ => Self::Steady,
        }
    }

    /// Its class by the shipped clusters; `None` while less than [`traits::LEAST_STEPS`] of either resource is known.
    ///
    /// The past in steps of five minutes, newest last, NaN is unknown; cores and MiB.
    pub fn of(cpu: &[f32], memory: &[f32]) -> Option<Self> {
        ClassModel::shipped()?.class(&Traits::of(cpu, memory)?)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Steady => "steady",
            Self::Bursty => "bursty",
            Self::Periodic => "periodic",
            Self::Growing => "growing",
        })
    }
}
