//! Recordings from the monitor's metrics file.

use std::collections::BTreeMap;
use std::path::Path;

use lxc_autoscale_core::metrics_file::MetricsReader;
use lxc_autoscale_core::metrics_file::trust::Believed;
use lxc_autoscale_core::progress::Bar;
use lxc_autoscale_core::snapshot::{ContainerRecord, Snapshot};

use super::error::BacktestError;
use super::recording::{Recording, Sample};
use crate::decide::{NodeSituation, Obstacles};
use crate::guard::disturbance::{self, Disturbance};
use crate::history::{identity, step};
use crate::observation::Observation;
use crate::policy::{Identity, Pool};
use crate::replay::{CpuClass, Size};

/// The recordings from a metrics file.
#[derive(Clone, Debug)]
pub struct FromMetrics {
    /// The recordings, by id.
    pub recordings: Vec<Recording>,
    /// Records that could not be read.
    pub unreadable: usize,
    /// Containers left out because their size is unknown.
    pub unsized_ids: Vec<u64>,
}

/// The replay rules of a container's policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayRules {
    /// How CPU is allocated to it.
    pub cpu_class: CpuClass,
    /// How long its start counts as a disturbance, in seconds.
    pub boot_seconds: u64,
}

/// One container's recording so far.
#[derive(Default)]
struct Growing {
    last: Option<ContainerRecord>,
    disturbance: Option<Disturbance>,
    identity: Option<Identity>,
    rules: Option<ReplayRules>,
    provisioned: Option<Size>,
    obstacles: Obstacles,
    samples: Vec<Sample>,
}

/// Reads the recordings of the file; a container's first size counts as provisioned. `rules_of` returns the replay
/// rules of a container's policy.
///
/// # Errors
/// [`BacktestError::Metrics`] when the file cannot be read, [`BacktestError::NothingRecorded`] when no container in it
/// can be replayed.
pub fn read(
    path: &Path,
    believed: Believed,
    rules_of: impl Fn(&Identity) -> ReplayRules,
) -> Result<FromMetrics, BacktestError> {
    let mut containers: BTreeMap<u64, Growing> = BTreeMap::new();
    let mut node = NodeSituation::default();
    let mut unreadable = 0;
    let bar = Bar::of_bytes(format!("reading {}", path.display()));
    MetricsReader::new(path).believing(believed).each_new_watched(&bar, |record| match record {
        Ok(snapshot) => {
            node = node_of(&snapshot).unwrap_or(node);
            for (vmid, record) in snapshot.containers {
                let growing = containers.entry(vmid.get().into()).or_default();
                let identity = identity(vmid, &record, growing.identity.as_ref());
                growing.take(record, identity, &rules_of, node.cpus);
            }
        }
        Err(_) => unreadable += 1,
    })?;
    let mut unsized_ids = Vec::new();
    let mut recordings = Vec::new();
    for (id, container) in containers {
        match container.provisioned {
            Some(provisioned) => recordings.push(Recording {
                id,
                name: container.identity.as_ref().and_then(|identity| identity.name.clone()),
                pool: container.identity.map_or(Pool::Unknown, |identity| identity.pool),
                provisioned,
                cpu_class: container.rules.map(|rules| rules.cpu_class),
                obstacles: container.obstacles,
                node,
                samples: container.samples,
            }),
            None => unsized_ids.push(id),
        }
    }
    if recordings.is_empty() {
        return Err(BacktestError::NothingRecorded { path: path.to_owned() });
    }
    Ok(FromMetrics { recordings, unreadable, unsized_ids })
}

/// The node as it bounds one container: usage by others is not replayed.
fn node_of(snapshot: &Snapshot) -> Option<NodeSituation> {
    let node = snapshot.summary.node.as_ref()?;
    Some(NodeSituation {
        cpus: node.cpus,
        memory_total_mib: node.memory_total_mb,
        memory_available_mib: node.memory_total_mb,
    })
}

impl Growing {
    fn take(
        &mut self,
        record: ContainerRecord,
        identity: Identity,
        rules_of: &impl Fn(&Identity) -> ReplayRules,
        node_cpus: Option<u32>,
    ) {
        let newer =
            self.last.as_ref().is_none_or(|last| last.timestamp.instant() < record.timestamp.instant());
        // The clock was set back: these records cannot be ordered with the others.
        if !newer {
            return;
        }
        let seen = step(self.last.as_ref(), &record).observation;
        let rules = *self.rules.get_or_insert_with(|| rules_of(&identity));
        self.provisioned = self.provisioned.or_else(|| size_of(&record, rules.cpu_class, node_cpus));
        self.identity = Some(identity);
        if let Some(config) = record.configuration.as_deref() {
            // A lock is temporary; the rest is how the container is configured.
            self.obstacles = Obstacles { lock: None, ..Obstacles::from(config) };
        }
        let boot_seconds = self.rules.map_or(0, |rules| rules.boot_seconds);
        let before = self.last.as_ref().map(|last| (last, self.disturbance.as_ref()));
        self.disturbance = disturbance::between(before, &record, boot_seconds);
        self.samples.push(Sample { is_disturbed: self.disturbance.is_some(), ..sample_of(&seen) });
        self.last = Some(record);
    }
}

/// The demand in a record, as far as it is known. If the container ran out of memory, it is more than its limit.
pub fn sample_of(seen: &Observation) -> Sample {
    let ran_out = seen.oom == Some(true);
    let beyond = seen.memory_limit_mib.filter(|_| ran_out).map(|limit| limit + 1.0);
    let memory_mib = match (seen.memory_used_mib, beyond) {
        (Some(used), Some(beyond)) => Some(used.max(beyond)),
        (used, beyond) => used.or(beyond),
    };
    // The same second twice would be a step of zero length; the monitor measures at most every two seconds.
    Sample { at: seen.at.as_second(), cpu_cores: seen.cpu_cores_used, memory_mib, is_disturbed: false }
}

fn size_of(record: &ContainerRecord, class: CpuClass, node_cpus: Option<u32>) -> Option<Size> {
    let config = record.configuration.as_deref();
    let limits = record.limits.as_ref();
    let cores = config.and_then(|config| config.cores).map(f64::from);
    let configured = match class {
        CpuClass::Integer => cores,
        CpuClass::Fractional => config.and_then(|config| config.cpulimit).or(cores),
    };
    // Without either setting in its configuration, it can use all of the node.
    let unlimited = config.and(node_cpus).map(f64::from);
    let cores = configured.or(unlimited).or(limits.and_then(|limits| limits.cores))?;
    let memory_mib =
        config.map(|config| config.memory_mb.as_f64()).or(limits.and_then(|limits| limits.memory_mb))?;
    (0.0 < cores && 0.0 < memory_mib).then_some(Size { cores, memory_mib })
}

#[cfg(test)]
mod tests {
    use super::*;

    use jiff::Timestamp;

    #[test]
    fn where_memory_ran_out_more_was_wanted_than_there_was() {
        let seen = |used, oom| Observation {
            memory_used_mib: used,
            memory_limit_mib: Some(512.0),
            oom,
            ..Observation::unknown(Timestamp::UNIX_EPOCH)
        };
        for (used, oom, want) in [
            (Some(500.0), Some(false), Some(500.0)),
            (Some(500.0), Some(true), Some(513.0)),
            (Some(600.0), Some(true), Some(600.0)),
            (None, Some(true), Some(513.0)),
            (None, None, None),
        ] {
            assert_eq!(sample_of(&seen(used, oom)).memory_mib, want);
        }
    }
}
