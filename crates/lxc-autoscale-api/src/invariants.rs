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
    /// Limit of CPU time, in hundredths of a core.
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
    /// The new value; `None` if it is to have none.
    pub to: Option<u64>,
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
        "`{what}` from {from} to {to} is more than {factor} times at once (`limits.max_step_factor`); go in smaller \
         steps"
    )]
    StepTooLarge {
        /// The name of the size.
        what: &'static str,
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
        "the node has {available_mib:.0} MiB of memory available, {promised_mib:.0} MiB of it were promised to running \
         containers within the last ten minutes, and {reserve_mib:.0} MiB must be kept back \
         (`limits.node_memory_reserve_percent`); {more} MiB more are too much"
    )]
    NodeShort {
        /// The available memory.
        available_mib: f64,
        /// What other changes were granted of it.
        promised_mib: f64,
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

/// Checks that a change which takes these steps at once keeps the invariants of sizes; `changes` is how often sizes of
/// the container were changed within the last hour. That a size is taken away ([`most_cores`]) and the node's memory
/// ([`budget`]) are checked apart.
///
/// # Errors
/// [`Refused`] with the first invariant that it violates.
pub fn check(limits: &LimitsConfig, steps: &[Step], changes: u32) -> Result<(), Refused> {
    for step in steps {
        step.to.map_or(Ok(()), |to| bounds(limits, step.what, to))?;
    }
    rate(limits, changes)?;
    steps.iter().try_for_each(|step| small_enough(limits, *step))
}

fn small_enough(limits: &LimitsConfig, step: Step) -> Result<(), Refused> {
    // Without a value before, or without one afterwards, there is no step to measure.
    let (Some(from), Some(to)) = (step.from, step.to) else { return Ok(()) };
    // Below one core a factor says little: from 0.05 to 1 is not a leap.
    let least = if step.what == What::Cpulimit { ONE_CORE } else { 0 };
    let (less, more) = (from.min(to).max(least) as f64, from.max(to).max(least) as f64);
    if more <= less * limits.max_step_factor {
        return Ok(());
    }
    let (what, unit) = match step.what {
        What::Cores => ("cores", 1.0),
        What::Cpulimit => ("cpulimit", ONE_CORE as f64),
        What::Memory => ("memory", 1.0),
    };
    let (from, to) = (from as f64 / unit, to as f64 / unit);
    Err(Refused::StepTooLarge { what, from, to, factor: limits.max_step_factor })
}

/// Checks that a running container can be given this much more of its node's memory, of which `promised_mib` were
/// promised before. The limits of all containers may add up to more than the node has, but what is given now must be
/// available now, with the reserve on top.
///
/// # Errors
/// [`Refused::NodeShort`] and [`Refused::NodeUnknown`].
pub fn budget(limits: &LimitsConfig, node: &NodeMemory, promised_mib: f64, more: u64) -> Result<(), Refused> {
    match node {
        NodeMemory::Elsewhere => Ok(()),
        NodeMemory::Unknown { reason } => Err(Refused::NodeUnknown { reason: reason.clone() }),
        &NodeMemory::Known { available_mib, total_mib } => {
            let reserve_mib = total_mib * limits.node_memory_reserve_percent / 100.0;
            if more as f64 <= available_mib - promised_mib - reserve_mib {
                return Ok(());
            }
            Err(Refused::NodeShort { available_mib, promised_mib, reserve_mib, more })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CALM: NodeMemory = NodeMemory::Known { available_mib: 4096.0, total_mib: 16_384.0 };

    fn step(what: What, from: u64, to: u64) -> Step {
        Step { what, from: Some(from), to: Some(to) }
    }

    fn memory(from: u64, to: u64) -> Step {
        step(What::Memory, from, to)
    }

    fn code(result: Result<(), Refused>) -> &'static str {
        result.map_or_else(|refused| refused.code(), |()| "")
    }

    #[test]
    fn each_invariant_has_its_code() {
        let limits = LimitsConfig { node_memory_reserve_percent: 5.0, ..LimitsConfig::default() };
        let check_code = |limits: &LimitsConfig, steps: &[Step], changes: u32, want: &str| {
            assert_eq!(code(check(limits, steps, changes)), want, "{steps:?} {changes}");
        };
        check_code(&limits, &[memory(1024, 2048)], 0, "");
        check_code(&limits, &[memory(1024, 8)], 0, "out_of_bounds");
        check_code(&limits, &[memory(64, 1025)], 0, "step_too_large");
        check_code(&limits, &[memory(1025, 64)], 0, "step_too_large");
        let often = limits.max_changes_per_hour;
        check_code(&limits, &[memory(1024, 1025)], often, "changed_too_often");
        check_code(&limits, &[], often, "changed_too_often");
        let cpulimit = |from, to| step(What::Cpulimit, from, to);
        check_code(&limits, &[cpulimit(400, 4)], 0, "out_of_bounds");
        check_code(&limits, &[cpulimit(400, 5)], 0, "");
        check_code(&limits, &[Step { to: None, ..cpulimit(1600, 0) }], 0, "");
        check_code(&limits, &[Step { from: None, ..cpulimit(0, 1600) }], 0, "");
        check_code(&limits, &[cpulimit(1601, 100)], 0, "step_too_large");
        // Several at once are held to all of it, each.
        check_code(&limits, &[memory(1024, 2048), step(What::Cores, 2, 33)], 0, "step_too_large");
        check_code(&limits, &[step(What::Cores, 2, 33), memory(1024, 8)], 0, "out_of_bounds");
        let no_bound = LimitsConfig { max_changes_per_hour: 0, ..limits };
        check_code(&no_bound, &[memory(1024, 1025)], often, "");
    }

    #[test]
    fn memory_is_given_once() {
        // 5 % of 16 GiB are kept back.
        let limits = LimitsConfig { node_memory_reserve_percent: 5.0, ..LimitsConfig::default() };
        for (promised, more, want) in [
            (0.0, 3276, ""),
            (0.0, 3277, "node_memory_short"),
            (1000.0, 2276, ""),
            (1000.0, 2277, "node_memory_short"),
            (9000.0, 1, "node_memory_short"),
        ] {
            assert_eq!(code(budget(&limits, &CALM, promised, more)), want, "{promised} {more}");
        }
        assert_eq!(code(budget(&limits, &NodeMemory::Elsewhere, 0.0, 8192)), "");
        let unknown = NodeMemory::Unknown { reason: "no file".to_owned() };
        assert_eq!(code(budget(&limits, &unknown, 0.0, 1)), "node_memory_unknown");
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
                let node = NodeMemory::Known { available_mib: available, total_mib: total };
                let granted = check(&limits, &[step(what, from, to)], u32::try_from(recent).unwrap());
                let granted = granted.and_then(|()| match to.checked_sub(from).filter(|_| is_memory) {
                    Some(more) => budget(&limits, &node, 0.0, more),
                    None => Ok(()),
                });
                if granted.is_err() || from == to {
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
