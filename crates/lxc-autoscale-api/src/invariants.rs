//! What no change of a size may violate, whoever asks for it, including our own ml daemon. Pure.
//!
//! These are the bounds of sizes, the size of a step, how often a container is changed, the node's memory, and the
//! containers that must not be changed at all. [`crate::memory_guard`] decides whether less memory would hurt. Locked
//! containers and templates are refused where the configuration is read ([`crate::actions`]).

use lxc_autoscale_core::Vmid;

use crate::config::{LimitsConfig, MAX_CORES};
use crate::hundredths::hundredths;

/// One core, in hundredths.
const ONE_CORE: u64 = 100;
/// How errors name a CPU limit.
pub const CPULIMIT: &str = "`cpulimit` (in cores, 0 for none)";

/// The kind of size to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Number of cores.
    Cores,
    /// Limit of CPU time, in hundredths of a core; 0 for none.
    Cpulimit,
    /// Memory, in MiB.
    Memory,
}

/// A change of a size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The kind of size.
    pub what: What,
    /// The current value; `None` if the configuration has none.
    pub from: Option<u64>,
    /// The new value.
    pub to: u64,
}

/// The memory of the node that the container is on.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeMemory {
    /// In MiB.
    Known {
        /// The memory that can be given out without swapping.
        available_mib: f64,
        /// The total memory.
        total_mib: f64,
    },
    /// The container is on another node, whose memory this server cannot read.
    Elsewhere,
    /// It cannot be read.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// The state that a step is checked against.
#[derive(Clone, Debug, PartialEq)]
pub struct Circumstances {
    /// Whether the container is running; a stopped one takes no memory.
    pub is_running: bool,
    /// How many changes of its sizes there were within the last hour, counted up to the limit.
    pub changes_last_hour: u32,
    /// The node's memory.
    pub node: NodeMemory,
}

/// The invariant that a change would violate.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refused {
    /// A number is out of bounds.
    #[error("{what} must be from {least} to {most} (see `[limits]` in the configuration)")]
    OutOfBounds {
        /// The name of the number.
        what: &'static str,
        /// The smallest allowed value.
        least: f64,
        /// The largest allowed value.
        most: f64,
    },
    /// The step is too large.
    #[error(
        "from {from} to {to} is more than {factor} times at once (`limits.max_step_factor`); go in smaller steps"
    )]
    StepTooLarge {
        /// The current value, in cores or MiB.
        from: f64,
        /// The requested value.
        to: f64,
        /// The largest allowed factor.
        factor: f64,
    },
    /// The container was changed too often.
    #[error(
        "the sizes of this container were changed {changes} times or more within the last hour \
         (`limits.max_changes_per_hour`); two programs may be working against each other"
    )]
    TooOften {
        /// How often.
        changes: u32,
    },
    /// The node has too little memory.
    #[error(
        "the node has {available_mib:.0} MiB of memory available, and {reserve_mib:.0} MiB must be kept back \
         (`limits.node_memory_reserve_percent`); {more} MiB more are too much"
    )]
    NodeShort {
        /// The available memory.
        available_mib: f64,
        /// The reserve.
        reserve_mib: f64,
        /// What was asked for beyond what the container has.
        more: u64,
    },
    /// The node's memory is not known.
    #[error("the node's available memory is not known ({reason}), so no container gets more of it")]
    NodeUnknown {
        /// Why.
        reason: String,
    },
    /// The container must not be changed.
    #[error("container {vmid} must not be changed by anyone (`limits.protected_containers`)")]
    Protected {
        /// The container.
        vmid: Vmid,
    },
}

impl Refused {
    /// The error for a number that is out of bounds.
    pub fn out_of_bounds(what: &'static str, least: f64, most: f64) -> Self {
        Self::OutOfBounds { what, least, most }
    }

    /// The stable error code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::OutOfBounds { .. } => "out_of_bounds",
            Self::StepTooLarge { .. } => "step_too_large",
            Self::TooOften { .. } => "changed_too_often",
            Self::NodeShort { .. } => "node_memory_short",
            Self::NodeUnknown { .. } => "node_memory_unknown",
            Self::Protected { .. } => "protected_container",
        }
    }
}

/// Checks that a number is within bounds.
///
/// # Errors
/// [`Refused::OutOfBounds`].
pub fn within(what: &'static str, value: u64, least: u64, most: u64) -> Result<(), Refused> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Refused::out_of_bounds(what, least as f64, most as f64))
}

/// Checks that none of the containers is protected.
///
/// # Errors
/// [`Refused::Protected`].
pub fn unprotected(protected: &[Vmid], vmids: &[Vmid]) -> Result<(), Refused> {
    match vmids.iter().find(|vmid| protected.contains(vmid)) {
        Some(vmid) => Err(Refused::Protected { vmid: *vmid }),
        None => Ok(()),
    }
}

/// Checks that a size is within the bounds; needs nothing but the configuration of this server.
///
/// # Errors
/// [`Refused::OutOfBounds`].
pub fn bounds(limits: &LimitsConfig, what: What, to: u64) -> Result<(), Refused> {
    match what {
        What::Cores => within("`cores`", to, limits.min_cores.into(), limits.max_cores.into()),
        // Having no limit is bounded elsewhere, by what the container could use then.
        What::Cpulimit if to == 0 => Ok(()),
        What::Cpulimit => {
            let most = u64::from(limits.max_cores) * ONE_CORE;
            let is_within = (hundredths(limits.min_cpulimit)..=most).contains(&to);
            let refused = Refused::out_of_bounds(CPULIMIT, limits.min_cpulimit, limits.max_cores.into());
            if is_within { Ok(()) } else { Err(refused) }
        }
        What::Memory => within("`memory` (in MiB)", to, limits.min_memory_mib, limits.max_memory_mib),
    }
}

/// Checks that a container left without a number of cores, or without a CPU limit, could use no more than the bounds
/// allow. What it could use is its limit, otherwise its cores, otherwise all cores of its node, which may be unknown.
///
/// # Errors
/// [`Refused::OutOfBounds`].
pub fn most_cores(
    limits: &LimitsConfig,
    cores: Option<u32>,
    cpulimit: Option<f64>,
    node_cpus: Option<u32>,
) -> Result<(), Refused> {
    // No node has as many cores as Proxmox can count.
    let is_unbounded = limits.max_cores == MAX_CORES;
    let is_limited = cpulimit.is_some_and(|limit| limit <= f64::from(limits.max_cores));
    let has_few = cores.or(node_cpus).is_some_and(|cores| cores <= limits.max_cores);
    if is_unbounded || is_limited || has_few {
        return Ok(());
    }
    let what = "the number of cores that the container could use then";
    Err(Refused::out_of_bounds(what, limits.min_cores.into(), limits.max_cores.into()))
}

/// Checks that a container whose sizes changed this often within the last hour may be changed once more.
///
/// # Errors
/// [`Refused::TooOften`].
pub fn rate(limits: &LimitsConfig, changes: u32) -> Result<(), Refused> {
    let allowed = limits.max_changes_per_hour;
    if 0 < allowed && allowed <= changes { Err(Refused::TooOften { changes }) } else { Ok(()) }
}

/// Checks that a step keeps all invariants.
///
/// # Errors
/// [`Refused`] with the first invariant that it violates.
pub fn check(limits: &LimitsConfig, step: Step, circumstances: &Circumstances) -> Result<(), Refused> {
    bounds(limits, step.what, step.to)?;
    rate(limits, circumstances.changes_last_hour)?;
    // Without a limit before, or without one afterwards, there is no step to measure.
    let Some(from) = step.from.filter(|_| 0 < step.to) else { return Ok(()) };
    // Below one core a factor says little: from 0.05 to 1 is not a leap.
    let least = if step.what == What::Cpulimit { ONE_CORE } else { 0 };
    let (less, more) = (from.min(step.to).max(least) as f64, from.max(step.to).max(least) as f64);
    if less * limits.max_step_factor < more {
        let unit = if step.what == What::Cpulimit { ONE_CORE as f64 } else { 1.0 };
        let (from, to) = (from as f64 / unit, step.to as f64 / unit);
        return Err(Refused::StepTooLarge { from, to, factor: limits.max_step_factor });
    }
    if step.what == What::Memory && from < step.to && circumstances.is_running {
        return node_has(limits, &circumstances.node, step.to - from);
    }
    Ok(())
}

/// Checks that the node has this much more memory. The limits of all containers may add up to more than it has, but
/// what is given now must be available now, with the reserve on top.
fn node_has(limits: &LimitsConfig, node: &NodeMemory, more: u64) -> Result<(), Refused> {
    match node {
        NodeMemory::Elsewhere => Ok(()),
        NodeMemory::Unknown { reason } => Err(Refused::NodeUnknown { reason: reason.clone() }),
        NodeMemory::Known { available_mib, total_mib } => {
            let reserve_mib = total_mib * limits.node_memory_reserve_percent / 100.0;
            if more as f64 <= available_mib - reserve_mib {
                return Ok(());
            }
            Err(Refused::NodeShort { available_mib: *available_mib, reserve_mib, more })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn calm() -> Circumstances {
        let node = NodeMemory::Known { available_mib: 4096.0, total_mib: 16_384.0 };
        Circumstances { is_running: true, changes_last_hour: 0, node }
    }

    fn memory(from: u64, to: u64) -> Step {
        Step { what: What::Memory, from: Some(from), to }
    }

    #[track_caller]
    fn check_code(limits: &LimitsConfig, step: Step, circumstances: &Circumstances, want: &str) {
        let code = check(limits, step, circumstances).map_or_else(|refused| refused.code(), |()| "");
        assert_eq!(code, want, "{step:?} {circumstances:?}");
    }

    #[test]
    fn each_invariant_has_its_code() {
        let limits = LimitsConfig { node_memory_reserve_percent: 5.0, ..LimitsConfig::default() };
        check_code(&limits, memory(1024, 2048), &calm(), "");
        check_code(&limits, memory(1024, 8), &calm(), "out_of_bounds");
        check_code(&limits, memory(64, 1025), &calm(), "step_too_large");
        check_code(&limits, memory(1025, 64), &calm(), "step_too_large");
        // 5 % of 16 GiB are kept back.
        check_code(&limits, memory(1024, 1024 + 3276), &calm(), "");
        check_code(&limits, memory(1024, 1024 + 3277), &calm(), "node_memory_short");
        check_code(&limits, memory(1024, 8192), &Circumstances { is_running: false, ..calm() }, "");
        check_code(&limits, memory(1024, 8192), &Circumstances { node: NodeMemory::Elsewhere, ..calm() }, "");
        let unknown = NodeMemory::Unknown { reason: "no file".to_owned() };
        let blind = Circumstances { node: unknown, ..calm() };
        check_code(&limits, memory(1024, 1025), &blind, "node_memory_unknown");
        check_code(&limits, memory(1024, 1023), &blind, "");
        let often = Circumstances { changes_last_hour: limits.max_changes_per_hour, ..calm() };
        check_code(&limits, memory(1024, 1025), &often, "changed_too_often");
        let cpulimit = |from, to| Step { what: What::Cpulimit, from: Some(from), to };
        check_code(&limits, cpulimit(400, 4), &calm(), "out_of_bounds");
        check_code(&limits, cpulimit(400, 5), &calm(), "");
        check_code(&limits, cpulimit(400, 0), &calm(), "");
        check_code(&limits, cpulimit(1601, 100), &calm(), "step_too_large");
        let no_bound = LimitsConfig { max_changes_per_hour: 0, ..limits };
        check_code(&no_bound, memory(1024, 1025), &often, "");
    }

    proptest! {
        /// Whatever is requested in whatever order, what was granted never violates an invariant.
        #[test]
        fn no_sequence_of_requests_breaks_an_invariant(
            requests in prop::collection::vec((0u64..20_000, any::<bool>(), 0u64..900), 1..80),
            reserve in 0.0f64..50.0, factor in 1.0f64..20.0, per_hour in 1u32..10, available in 0.0f64..20_000.0,
        ) {
            let limits = LimitsConfig {
                min_cores: 1, max_cores: 64, min_memory_mib: 64, max_memory_mib: 16_000,
                node_memory_reserve_percent: reserve, max_step_factor: factor, max_changes_per_hour: per_hour,
                ..LimitsConfig::default()
            };
            let total = 32_768.0;
            let (mut cores, mut memory, mut available) = (2u64, 2048u64, available);
            let (mut now, mut granted_at) = (0u64, Vec::<u64>::new());
            for (to, is_memory, pause) in requests {
                now += pause;
                let what = if is_memory { What::Memory } else { What::Cores };
                let from = if is_memory { memory } else { cores };
                let recent = granted_at.iter().filter(|at| now < **at + 3600).count();
                let circumstances = Circumstances {
                    is_running: true,
                    changes_last_hour: u32::try_from(recent).unwrap(),
                    node: NodeMemory::Known { available_mib: available, total_mib: total },
                };
                if check(&limits, Step { what, from: Some(from), to }, &circumstances).is_err() || from == to {
                    continue;
                }
                granted_at.push(now);
                let before = available;
                if is_memory {
                    available += memory as f64 - to as f64;
                    memory = to;
                } else {
                    cores = to;
                }
                prop_assert!((1..=64).contains(&cores) && (64..=16_000).contains(&memory));
                let (less, more) = (from.min(to) as f64, from.max(to) as f64);
                prop_assert!(more <= less * factor);
                prop_assert!(recent < per_hour as usize);
                prop_assert!(before <= available || total * reserve / 100.0 <= available);
            }
        }
    }
}
