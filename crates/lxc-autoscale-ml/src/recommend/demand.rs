//! What a container would have used had nothing held it back.
//!
//! A limit hides demand: a container that is cut at its limit shows the limit. Whoever sizes it by what it
//! shows leaves it there for good. So what was cut off is estimated from the signs of cutting, and the
//! estimate is what goes into the history.
//!
//! ## CPU
//!
//! Under a quota, use divided by the share that was served is about what the runnable threads would have
//! used. The share may be as coarse as yes or no, and a cpuset (Proxmox's `cores`) gives no sign but use
//! that stands at the limit. So an estimate that proved too low, because the container is cut again after
//! its limit was raised, is raised by a factor that doubles its growth each time.
//!
//! ## Memory
//!
//! After an OOM kill or a reclaim that failed, and while tasks wait for memory near the limit, the need is
//! somewhere above the limit; how far, nobody knows, so it is taken in bounded steps.

use super::config::RecommendConfig;
use super::recommendation::Fact;
use crate::observation::Observation;

/// Shares beyond this say "far too little" and no more: a quarter served means demand of four times the use.
const MOST_TRUSTED_SHARE: f64 = 0.75;
/// Throttling in fewer periods than this is the price of any limit and no sign of too little.
const LEAST_SHARE: f64 = 0.01;
/// Use above this part of the limit stands at the limit.
const AT_LIMIT: f64 = 0.97;
/// Growth when only use at the limit shows that demand was cut off.
const BLIND_GROWTH: f64 = 1.5;
/// Use above this part of the memory limit is near it: pressure then comes from the limit, not the node.
const NEAR_MEMORY_LIMIT: f64 = 0.8;
/// Growth of memory while tasks wait for it.
const PRESSURE_GROWTH: f64 = 1.15;

/// Demand of one resource, and how it was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    /// Cores or MiB.
    pub value: f64,
    /// `LastUse` when nothing was cut off, else the sign of it.
    pub fact: Fact,
}

/// Finds out the CPU demand behind what was seen, one observation after the other.
#[derive(Clone, Debug, Default)]
pub struct CpuRecovery {
    /// The limit at which demand was last cut off, and how often in a row a raise was not enough.
    cut: Option<(f64, i32)>,
}

impl CpuRecovery {
    /// The demand of the step; `None` when the use is not known.
    pub fn demand(&mut self, seen: &Observation) -> Option<Demand> {
        let used = seen.cpu_cores_used.filter(|used| used.is_finite() && 0.0 <= *used)?;
        let share = seen.cpu_throttled_share.unwrap_or(0.0).clamp(0.0, MOST_TRUSTED_SHARE);
        let limit = seen.cores_limit.filter(|limit| 0.0 < *limit);
        let at_limit = limit.is_some_and(|limit| limit * AT_LIMIT <= used);
        let growth = if LEAST_SHARE <= share {
            1.0 / (1.0 - share)
        } else if at_limit {
            BLIND_GROWTH
        } else {
            self.cut = None;
            return Some(Demand { value: used, fact: Fact::LastUse });
        };
        let limit = limit.unwrap_or(used);
        let repeats = match self.cut {
            Some((before, repeats)) if before < limit => repeats + 1,
            Some((_, repeats)) => repeats,
            None => 0,
        };
        self.cut = Some((limit, repeats));
        let _ = repeats;
        Some(Demand { value: used * growth, fact: Fact::ThrottledDemand })
    }
}

/// The memory demand of a step; `None` when the use is not known.
pub fn memory_demand(config: &RecommendConfig, seen: &Observation) -> Option<Demand> {
    let used = seen.memory_used_mib.filter(|used| used.is_finite() && 0.0 <= *used)?;
    let limit = seen.memory_limit_mib.filter(|limit| 0.0 < *limit);
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
