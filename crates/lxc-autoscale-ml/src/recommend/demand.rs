//! What a container would have used without its limits.
//!
//! A limit hides demand: a throttled container uses exactly its limit. Sizing it by its usage would leave it there for
//! good. So the part that was cut off is estimated from the signs of throttling, and the estimate goes into the
//! history.
//!
//! ## CPU
//!
//! Under a quota, usage divided by the share that was served is about what the runnable threads would have used. Some
//! kernels report the share only as yes or no, which shows in its being always the same, and a cpuset (Proxmox's
//! `cores`) gives no sign except usage at the limit. Then it is unknown how much was cut off, and demand is found by
//! doubling. An estimate that proved too low, because the container is throttled again after its limit was raised, is
//! raised further.
//!
//! ## Memory
//!
//! After an OOM kill or a failed reclaim, and while tasks wait for memory near the limit, the need is above the limit
//! by an unknown amount, so it is approached in bounded steps.

use serde::{Deserialize, Serialize};

use super::config::RecommendConfig;
use super::recommendation::Fact;
use crate::observation::Observation;

/// A larger share means "far too little" and no more: a quarter served means demand of four times the usage.
const MOST_TRUSTED_SHARE: f64 = 0.75;
/// Throttling in fewer periods than this is normal with any limit and no sign of a shortage.
pub const CUT_OFF_SHARE: f64 = 0.01;
/// Usage above this part of the limit is at the limit.
const AT_LIMIT: f64 = 0.97;
/// Growth when it is unknown how much was cut off: doubling finds any demand in few steps.
const BLIND_GROWTH: f64 = 2.0;
/// Additional growth for each raise that proved too low, and how many of them count.
const REPEATED_GROWTH: f64 = 1.3;
const MOST_REPEATS: i32 = 4;
/// A measured share is never equal so many times in a row; one that is says only yes or no.
const COARSE_AFTER: u32 = 3;
/// Usage above this part of the memory limit is near it: pressure then comes from the limit, not the node.
const NEAR_MEMORY_LIMIT: f64 = 0.8;
/// Growth of memory while tasks wait for it.
const PRESSURE_GROWTH: f64 = 1.15;

/// More cores or MiB than this cannot be a measurement: sums and products must stay finite.
const MOST: f64 = 1e12;

/// Demand of one resource, and how it was found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Demand {
    /// Cores or MiB.
    pub value: f64,
    /// `LastUse` when nothing was cut off, otherwise the sign of it.
    pub fact: Fact,
}

/// CPU demand, and how much of it is certain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CpuDemand {
    /// The estimate.
    pub demand: Demand,
    /// The part that was used or measured as lacking, in cores: without the growth for an unknown amount.
    pub sure: f64,
}

/// Estimates the CPU demand from observations, one after the other.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CpuRecovery {
    /// The limit at which usage was last cut off, and how many raises in a row were not enough.
    cut: Option<(f64, i32)>,
    /// The share of the last throttled step, and for how many throttled steps in a row it was equal.
    share: Option<(f64, u32)>,
}

impl CpuRecovery {
    /// The demand of the step; `None` when the usage is unknown.
    pub fn demand(&mut self, seen: &Observation) -> Option<CpuDemand> {
        let used = seen.cpu_cores_used.filter(|used| (0.0..=MOST).contains(used))?;
        let share = seen.cpu_throttled_share.filter(|share| CUT_OFF_SHARE <= *share);
        let limit = seen.cores_limit.filter(|limit| 0.0 < *limit);
        let at_limit = limit.is_some_and(|limit| limit * AT_LIMIT <= used);
        let (growth, sure) = match share {
            Some(share) if self.is_measured(share) => {
                let growth = 1.0 / (1.0 - share.min(MOST_TRUSTED_SHARE));
                (growth, used * growth)
            }
            Some(_) => (BLIND_GROWTH, used),
            None if at_limit => (BLIND_GROWTH, used),
            None => {
                self.cut = None;
                return Some(CpuDemand { demand: Demand { value: used, fact: Fact::LastUse }, sure: used });
            }
        };
        let limit = limit.unwrap_or(used);
        let repeats = match self.cut {
            Some((before, repeats)) if before < limit => (repeats + 1).min(MOST_REPEATS),
            Some((_, repeats)) => repeats,
            None => 0,
        };
        self.cut = Some((limit, repeats));
        let growth = growth * REPEATED_GROWTH.powi(repeats);
        Some(CpuDemand { demand: Demand { value: used * growth, fact: Fact::ThrottledDemand }, sure })
    }

    /// Whether the share is a measurement rather than a yes or no.
    fn is_measured(&mut self, share: f64) -> bool {
        let times = match self.share {
            Some((before, times)) if (before - share).abs() < f64::EPSILON => times.saturating_add(1),
            _ => 1,
        };
        self.share = Some((share, times));
        // A share at its upper bound (everything throttled) repeats for another reason.
        times < COARSE_AFTER || MOST_TRUSTED_SHARE <= share
    }
}

/// The memory demand of a step; `None` when the usage is unknown.
pub fn memory_demand(config: &RecommendConfig, seen: &Observation) -> Option<Demand> {
    let used = seen.memory_used_mib.filter(|used| (0.0..=MOST).contains(used))?;
    let limit = seen.memory_limit_mib.filter(|limit| 0.0 < *limit && *limit <= MOST);
    let held = limit.map_or(used, |limit| limit.max(used));
    if seen.oom == Some(true) {
        let grown = held * (1.0 + config.oom_growth_percent / 100.0);
        return Some(Demand { value: grown.max(held + config.oom_growth_mib), fact: Fact::OutOfMemory });
    }
    let waits = seen.memory_pressure_percent.is_some_and(|percent| config.memory_pressure_percent <= percent);
    let near_limit = limit.is_some_and(|limit| limit * NEAR_MEMORY_LIMIT <= used);
    if waits && near_limit {
        return Some(Demand { value: held * PRESSURE_GROWTH, fact: Fact::MemoryPressure });
    }
    Some(Demand { value: used, fact: Fact::LastUse })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn seen(used: f64, share: Option<f64>, limit: f64) -> Observation {
        Observation {
            cpu_cores_used: Some(used),
            cpu_throttled_share: share,
            cores_limit: Some(limit),
            ..Observation::unknown(Timestamp::UNIX_EPOCH)
        }
    }

    /// The demands estimated for a sequence of (usage, throttled share, limit).
    #[track_caller]
    fn check(steps: &[(f64, Option<f64>, f64)], want: &[f64]) {
        let mut recovery = CpuRecovery::default();
        let got = steps
            .iter()
            .map(|(used, share, limit)| recovery.demand(&seen(*used, *share, *limit)).unwrap().demand.value);
        for (got, want) in got.zip(want) {
            assert!((got - want).abs() < 1e-9, "{steps:?}: {got} instead of {want}");
        }
    }

    #[test]
    fn what_is_not_cut_off_is_what_was_used() {
        check(&[(0.5, Some(0.0), 1.0), (0.5, None, 1.0), (0.5, Some(0.005), 1.0)], &[0.5, 0.5, 0.5]);
    }

    #[test]
    fn a_measured_share_tells_how_much_was_cut_off() {
        check(&[(1.0, Some(0.5), 1.0)], &[2.0]);
        check(&[(1.0, Some(1.0), 1.0)], &[4.0]);
    }

    #[test]
    fn use_at_the_limit_without_a_share_doubles() {
        check(&[(1.0, None, 1.0), (2.0, Some(0.0), 2.0)], &[2.0, 4.0 * 1.3]);
    }

    #[test]
    fn a_share_that_is_always_the_same_only_says_yes() {
        let yes = (1.0, Some(0.33), 1.0);
        check(&[yes, yes, yes], &[1.0 / 0.67, 1.0 / 0.67, 2.0]);
    }

    #[test]
    fn an_estimate_that_proved_too_low_is_raised_further() {
        check(&[(1.0, Some(0.2), 1.0), (1.4, Some(0.3), 1.4)], &[1.25, 2.0 * 1.3]);
        // A quiet step ends the series.
        check(&[(1.0, Some(0.2), 1.0), (0.1, None, 1.4), (1.4, Some(0.3), 1.4)], &[1.25, 0.1, 2.0]);
    }

    #[test]
    fn unknown_use_is_no_demand() {
        let mut unknown = seen(0.0, Some(0.5), 1.0);
        unknown.cpu_cores_used = None;
        assert_eq!(CpuRecovery::default().demand(&unknown), None);
        unknown.cpu_cores_used = Some(f64::NAN);
        assert_eq!(CpuRecovery::default().demand(&unknown), None);
    }

    #[track_caller]
    fn check_memory(used: f64, limit: f64, oom: bool, pressure: f64, want: f64, fact: Fact) {
        let seen = Observation {
            memory_used_mib: Some(used),
            memory_limit_mib: Some(limit),
            oom: Some(oom),
            memory_pressure_percent: Some(pressure),
            ..Observation::unknown(Timestamp::UNIX_EPOCH)
        };
        let got = memory_demand(&RecommendConfig::default(), &seen).unwrap();
        assert!((got.value - want).abs() < 1e-6 && got.fact == fact, "{got:?}");
    }

    #[test]
    fn memory_that_ran_out_was_needed() {
        check_memory(100.0, 512.0, false, 0.0, 100.0, Fact::LastUse);
        check_memory(500.0, 512.0, true, 0.0, 665.6, Fact::OutOfMemory);
        check_memory(120.0, 128.0, true, 0.0, 228.0, Fact::OutOfMemory);
        check_memory(500.0, 512.0, false, 20.0, 588.8, Fact::MemoryPressure);
        // Pressure far below the limit comes from the node.
        check_memory(100.0, 512.0, false, 20.0, 100.0, Fact::LastUse);
    }
}
