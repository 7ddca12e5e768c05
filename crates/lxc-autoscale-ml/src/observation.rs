//! The facts of one step of one container.
//!
//! The daemon computes them from the monitor's records, `recommend --stdio` from its input lines; from here on both are
//! treated alike. **`None` is unknown, never zero.**

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What was observed of one container between the previous observation and `at`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// End of the step.
    pub at: Timestamp,
    /// Mean CPU usage over the step, in cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_cores_used: Option<f64>,
    /// Share of the demanded CPU work, or of the enforcement periods, that was not served (0–1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_throttled_share: Option<f64>,
    /// Cores available to the container during the step (quota, cpuset and node combined).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores_limit: Option<f64>,
    /// Working set: memory that cannot be reclaimed without harm, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_used_mib: Option<f64>,
    /// Memory limit in force during the step, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit_mib: Option<f64>,
    /// Whether demand exceeded the memory limit during the step: an OOM kill, or failed reclaim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom: Option<bool>,
    /// Share of the time in which some task waited for memory (PSI `some`), in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_pressure_percent: Option<f64>,
    /// Memory read back from swap per second of the step, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_in_mib_per_second: Option<f64>,
    /// Memory that had been evicted or swapped out and was read again (refaults), per second of the step, in MiB; major
    /// faults if the kernel does not count refaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_read_back_mib_per_second: Option<f64>,
    /// Share of the time in which some task waited for a CPU (PSI `some`), in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_pressure_percent: Option<f64>,
}

impl Observation {
    /// An observation of which only the time is known.
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
