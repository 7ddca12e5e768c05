//! The facts of one step of one container.
//!
//! The daemon makes them from the monitor's records, `recommend --stdio` from the lines it is given; from
//! here on both go the same way. **`None` is unknown, never zero.**

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What was seen of one container between the previous observation and `at`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// End of the step the numbers below are about.
    pub at: Timestamp,
    /// Mean CPU use over the step, in cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_cores_used: Option<f64>,
    /// Share of the wanted CPU work, or of the enforcement periods, that was not served (0–1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_throttled_share: Option<f64>,
    /// Cores the container could use during the step (quota, cpuset and node taken together).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores_limit: Option<f64>,
    /// Working set: memory that cannot be taken away without hurting, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_used_mib: Option<f64>,
    /// Memory limit in force during the step, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit_mib: Option<f64>,
    /// Whether demand exceeded the memory limit during the step: an OOM kill, or reclaim that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom: Option<bool>,
    /// Share of the time in which some task waited for memory (PSI `some`), in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_pressure_percent: Option<f64>,
    /// Memory read back from swap per second of the step, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_in_mib_per_second: Option<f64>,
    /// Memory that had been dropped or swapped out and was read again (refaults), per second of the step, in
    /// MiB; major faults where the kernel does not count refaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_read_back_mib_per_second: Option<f64>,
    /// Share of the time in which some task waited for a CPU (PSI `some`), in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_pressure_percent: Option<f64>,
}

impl Observation {
    /// An observation that says nothing but when it was made.
    pub fn unknown(at: Timestamp) -> Self {
        Self {
            at,
            cpu_cores_used: None,
            cpu_throttled_share: None,
            cores_limit: None,
            memory_used_mib: None,
            memory_limit_mib: None,
            oom: None,
            memory_pressure_percent: None,
            swap_in_mib_per_second: None,
            memory_read_back_mib_per_second: None,
            cpu_pressure_percent: None,
        }
    }
}
