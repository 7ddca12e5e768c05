//! The present build of the monitor, another one and the floor, in turns: on a machine that is not quiet, what is measured
//! one after the other cannot be compared.

use std::path::Path;
use std::time::Duration;

use super::contestants::{floor, monitor, ours};
use super::files::{Files, Reading};
use super::measure::Used;
use super::stage::{Looks, Stage};
use super::{MonitorBenchError, OPTIONAL_FEATURES};
use crate::say;

/// Containers with which the files are found, at most: strace makes everything slow.
const TRACED: usize = 10;

/// Measures all three so often, with each number of containers, and says what each took in each turn, then the least and
/// the middle of them.
pub(super) fn compare(
    stage: &mut Stage,
    other: &Path,
    sizes: &[usize],
    time: Duration,
    turns: u32,
) -> Result<(), MonitorBenchError> {
    let without = OPTIONAL_FEATURES.map(str::to_owned);
    let mut files: Option<Files> = None;
    for containers in sizes.iter().copied() {
        let files = match &mut files {
            Some(files) => files,
            none => {
                stage.grow_to(containers.min(TRACED))?;
                none.insert(Files::trace(stage)?)
            }
        };
        stage.grow_to(containers)?;
        say(&format!("{containers} containers, CPU per container-sample:"));
        let mut all = [("this build", Vec::new()), ("the other one", Vec::new()), ("the floor", Vec::new())];
        for _ in 0..turns {
            for (place, (name, costs)) in all.iter_mut().enumerate() {
                let (used, cycles) = match place {
                    0 => ours(stage, &monitor(), &without, Looks::AsShipped, time)?,
                    1 => ours(stage, other, &without, Looks::AsShipped, time)?,
                    _ => floor(stage, files, Reading::AsOften, "pread", time)?,
                };
                let cost = Cost::of(used, containers as u64 * cycles.max(1));
                say(&format!("  {name}: {cost}"));
                costs.push(cost);
            }
        }
        for (name, mut costs) in all {
            costs.sort_by(|one, other| one.all.total_cmp(&other.all));
            if let (Some(least), Some(middle)) = (costs.first(), costs.get(costs.len() / 2)) {
                say(&format!("  {name}: least {least}; in the middle {middle}"));
            }
        }
    }
    Ok(())
}

/// What one turn took.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// CPU time for one look at one container, in microseconds.
    all: f64,
    /// The part of it spent in the kernel.
    in_kernel: f64,
    /// Resident memory at the end, in MiB.
    resident_mib: f64,
}

impl Cost {
    fn of(used: Used, samples: u64) -> Self {
        let each = |time: Duration| 1e6 * time.as_secs_f64() / samples as f64;
        Self { all: each(used.cpu), in_kernel: each(used.system), resident_mib: used.resident_mib }
    }
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { all, in_kernel, resident_mib } = self;
        write!(f, "{all:.1} µs ({in_kernel:.1} in the kernel), {resident_mib:.1} MiB")
    }
}
