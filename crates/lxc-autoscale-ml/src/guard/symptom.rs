//! Signs that a container lacks a resource, and whether they are worse than before. Pure.
//!
//! After a shrink it does not matter whether a container waits, but whether it waits **more than before**: one that
//! always swaps is no worse off for a shrink that does not change that. So each sign is compared with its worst value
//! before the change, and must rise by more than the policy allows. A sign that was unknown before is compared with
//! zero: doubt counts in the container's favour.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::config::GuardPolicy;
use crate::decide::Resource;
use crate::observation::Observation;

/// Usage above this part of the CPU limit makes the limit the likely cause of waiting.
const NEAR_CPU_LIMIT: f64 = 0.8;
/// Usage above this part of the CPU limit is at the limit.
const AT_CPU_LIMIT: f64 = 0.97;

/// The signs of one step; `None` is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Symptoms {
    /// Whether it ran out of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ran_out: Option<bool>,
    /// Share of the time in which some task waited for memory, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_pressure_percent: Option<f64>,
    /// Memory that was evicted and read again, in MiB/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_back_mib_per_second: Option<f64>,
    /// Share of the enforcement periods that were throttled, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_percent: Option<f64>,
    /// Share of the time in which some task waited for a CPU, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_pressure_percent: Option<f64>,
    /// CPU usage as a part of the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_limit_used: Option<f64>,
}

/// What got worse after a shrink.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "sign", rename_all = "snake_case")]
pub enum Symptom {
    /// It ran out of memory.
    OutOfMemory,
    /// Tasks wait for memory, in percent of the time.
    MemoryPressure {
        /// Now.
        percent: f64,
        /// The worst value before.
        before: f64,
    },
    /// Memory is read back, in MiB/s.
    ReadBack {
        /// Now.
        mib_per_second: f64,
        /// The worst value before.
        before: f64,
    },
    /// The CPU is throttled, in percent of the periods.
    Throttled {
        /// Now.
        percent: f64,
        /// The worst value before.
        before: f64,
    },
    /// Tasks wait for a CPU, in percent of the time.
    CpuPressure {
        /// Now.
        percent: f64,
        /// The worst value before.
        before: f64,
    },
    /// All of the CPU is used, and no sign tells whether more is wanted.
    AtCpuLimit,
}

impl Symptoms {
    /// The signs of a step.
    pub fn of(seen: &Observation) -> Self {
        let limit = seen.cores_limit.filter(|limit| 0.0 < *limit);
        Self {
            ran_out: seen.oom,
            memory_pressure_percent: seen.memory_pressure_percent,
            read_back_mib_per_second: seen.memory_read_back_mib_per_second.or(seen.swap_in_mib_per_second),
            throttled_percent: seen.cpu_throttled_share.map(|share| 100.0 * share),
            cpu_pressure_percent: seen.cpu_pressure_percent,
            cpu_limit_used: seen.cpu_cores_used.zip(limit).map(|(used, limit)| used / limit),
        }
    }

    /// The worse of both, sign by sign.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        let most = |one: Option<f64>, other: Option<f64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.max(other)),
            (one, other) => one.or(other),
        };
        Self {
            ran_out: self.ran_out.max(other.ran_out),
            memory_pressure_percent: most(self.memory_pressure_percent, other.memory_pressure_percent),
            read_back_mib_per_second: most(self.read_back_mib_per_second, other.read_back_mib_per_second),
            throttled_percent: most(self.throttled_percent, other.throttled_percent),
            cpu_pressure_percent: most(self.cpu_pressure_percent, other.cpu_pressure_percent),
            cpu_limit_used: most(self.cpu_limit_used, other.cpu_limit_used),
        }
    }

    /// Whether they say anything about `resource`.
    pub fn speak_of(&self, resource: Resource) -> bool {
        match resource {
            Resource::Cpu => {
                self.throttled_percent.is_some()
                    || self.cpu_pressure_percent.is_some()
                    || self.cpu_limit_used.is_some()
            }
            Resource::Memory => self.ran_out.is_some() || self.memory_pressure_percent.is_some(),
        }
    }

    /// The gravest sign that is worse than `before` by more than the policy allows.
    pub fn worse_than(&self, before: &Self, resource: Resource, policy: &GuardPolicy) -> Option<Symptom> {
        match resource {
            Resource::Cpu => self.worse_cpu(before, policy),
            Resource::Memory => self.worse_memory(before, policy),
        }
    }

    fn worse_memory(&self, before: &Self, policy: &GuardPolicy) -> Option<Symptom> {
        if self.ran_out == Some(true) {
            return Some(Symptom::OutOfMemory);
        }
        let pressure = rise(
            self.memory_pressure_percent,
            before.memory_pressure_percent,
            policy.max_pressure_rise_percent,
        );
        let read_back = || {
            rise(
                self.read_back_mib_per_second,
                before.read_back_mib_per_second,
                policy.max_read_back_rise_mib_per_second,
            )
        };
        match pressure {
            Some((percent, before)) => Some(Symptom::MemoryPressure { percent, before }),
            None => read_back().map(|(mib_per_second, before)| Symptom::ReadBack { mib_per_second, before }),
        }
    }

    fn worse_cpu(&self, before: &Self, policy: &GuardPolicy) -> Option<Symptom> {
        let throttled =
            rise(self.throttled_percent, before.throttled_percent, policy.max_throttled_rise_percent);
        if let Some((percent, before)) = throttled {
            return Some(Symptom::Throttled { percent, before });
        }
        let used = self.cpu_limit_used?;
        // Tasks that wait far below the container's own limit wait for the node.
        let pressure = rise(
            self.cpu_pressure_percent,
            before.cpu_pressure_percent,
            policy.max_cpu_pressure_rise_percent,
        );
        match pressure {
            Some((percent, before)) if NEAR_CPU_LIMIT <= used => {
                Some(Symptom::CpuPressure { percent, before })
            }
            _ => {
                let was_free = before.cpu_limit_used.is_none_or(|before| before < AT_CPU_LIMIT);
                let blind = self.cpu_pressure_percent.is_none();
                (blind && was_free && AT_CPU_LIMIT <= used).then_some(Symptom::AtCpuLimit)
            }
        }
    }
}

/// A value and the one before it, if it rose by more than `most`.
fn rise(now: Option<f64>, before: Option<f64>, most: f64) -> Option<(f64, f64)> {
    let (now, before) = (now?, before.unwrap_or(0.0));
    (before + most < now).then_some((now, before))
}

impl fmt::Display for Symptom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory => f.write_str("it ran out of memory"),
            Self::MemoryPressure { percent, before } => {
                write!(f, "its tasks waited for memory {percent:.1} % of the time instead of {before:.1} %")
            }
            Self::ReadBack { mib_per_second, before } => {
                write!(f, "it read {mib_per_second:.1} MiB/s back into memory instead of {before:.1}")
            }
            Self::Throttled { percent, before } => {
                write!(f, "its CPU was held back in {percent:.0} % of the periods instead of {before:.0} %")
            }
            Self::CpuPressure { percent, before } => {
                write!(f, "its tasks waited for a CPU {percent:.0} % of the time instead of {before:.0} %")
            }
            Self::AtCpuLimit => f.write_str("it used all of its CPU"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calm() -> Symptoms {
        Symptoms {
            ran_out: Some(false),
            memory_pressure_percent: Some(0.5),
            read_back_mib_per_second: Some(0.2),
            throttled_percent: Some(5.0),
            cpu_pressure_percent: Some(10.0),
            cpu_limit_used: Some(0.5),
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Symptoms), resource: Resource, want: Option<&str>) {
        let mut now = calm();
        change(&mut now);
        let worse = now.worse_than(&calm(), resource, &GuardPolicy::default());
        assert_eq!(worse.map(|worse| worse.to_string()).as_deref(), want);
    }

    #[test]
    fn only_a_rise_beyond_the_threshold_is_worse() {
        let (cpu, memory) = (Resource::Cpu, Resource::Memory);
        check(|_| {}, memory, None);
        check(|_| {}, cpu, None);
        check(|now| now.ran_out = Some(true), memory, Some("it ran out of memory"));
        check(|now| now.memory_pressure_percent = Some(2.4), memory, None);
        check(
            |now| now.memory_pressure_percent = Some(3.0),
            memory,
            Some("its tasks waited for memory 3.0 % of the time instead of 0.5 %"),
        );
        check(
            |now| now.read_back_mib_per_second = Some(4.0),
            memory,
            Some("it read 4.0 MiB/s back into memory instead of 0.2"),
        );
        check(|now| now.throttled_percent = Some(14.0), cpu, None);
        check(
            |now| now.throttled_percent = Some(16.0),
            cpu,
            Some("its CPU was held back in 16 % of the periods instead of 5 %"),
        );
        // Far below the limit, waiting for a CPU is caused by the node, near it by the limit.
        check(|now| now.cpu_pressure_percent = Some(60.0), cpu, None);
        check(
            |now| (now.cpu_pressure_percent, now.cpu_limit_used) = (Some(60.0), Some(0.9)),
            cpu,
            Some("its tasks waited for a CPU 60 % of the time instead of 10 %"),
        );
        // Without any sign of waiting, usage at the limit is one.
        check(|now| now.cpu_limit_used = Some(1.0), cpu, None);
        check(
            |now| (now.cpu_pressure_percent, now.cpu_limit_used) = (None, Some(1.0)),
            cpu,
            Some("it used all of its CPU"),
        );
    }

    #[test]
    fn what_is_unknown_is_no_symptom_and_no_calm_either() {
        let unknown = Symptoms::default();
        for resource in [Resource::Cpu, Resource::Memory] {
            assert!(!unknown.speak_of(resource));
            assert_eq!(unknown.worse_than(&calm(), resource, &GuardPolicy::default()), None);
        }
        // A sign that was unknown before the shrink counts against it.
        let mut now = calm();
        now.memory_pressure_percent = Some(3.0);
        assert!(now.worse_than(&unknown, Resource::Memory, &GuardPolicy::default()).is_some());
        assert_eq!(unknown.worst(calm()), calm());
    }
}
