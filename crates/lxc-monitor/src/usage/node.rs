//! The record of the node.

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::snapshot::{ContainerRecord, NodeRecord};
use lxc_autoscale_core::units::bytes_to_mib;

use super::container::pressure;
use super::gaps::Gaps;
use super::increase;
use crate::sample::{Missing, NodeCpuTime, NodeSample, Reading};

/// The running containers whose sums are in the node's record.
#[derive(Debug)]
pub struct RunningTotals<'a> {
    /// The measured ones.
    pub measured: Vec<(Vmid, &'a ContainerRecord)>,
    /// Those that are or may be running and could not be measured; with any of them, no sum is known.
    pub unmeasured: Vec<Vmid>,
}

/// Computes the record of the node from its previous sample, this one, and the containers' records.
pub fn node_record(
    previous: Option<&NodeSample>,
    now: &NodeSample,
    running: &RunningTotals<'_>,
) -> NodeRecord {
    let mut gaps = Gaps::default();
    let memory = gaps.take(
        &["memory_total_mb", "memory_available_mb", "swap_total_mb", "swap_used_mb"],
        now.memory.clone(),
    );
    let cores = |ticks: fn(NodeCpuTime) -> u64| cores_between(previous, now, ticks);
    let used = cores(|cpu| cpu.busy_ticks);
    let iowait = cores(|cpu| cpu.iowait_ticks);
    let steal = cores(|cpu| cpu.steal_ticks);
    let topology = gaps.take(&["topology"], now.topology.clone()).flatten();
    let arc = gaps.take(&["zfs_arc_mb", "zfs_arc_min_mb", "zfs_arc_max_mb"], now.zfs_arc.clone()).flatten();
    let paging = gaps.take(&["paging", "oom_kill"], now.paging.clone());
    let memory_limit = running.sum("memory limit", |record| record.limits?.memory_mb);
    let working_set = running.sum("known working set", |record| record.memory_usage_mb);
    let cores_limit = running.sum("known CPU limit", |record| record.limits?.cores);
    NodeRecord {
        name: gaps.take(&["name"], now.name.clone()).unwrap_or_default(),
        cpus: gaps.take(&["cpus"], now.cpu.clone()).map(|cpu| cpu.cpus),
        cpu_cores_used: gaps.take(&["cpu_cores_used"], used),
        cpu_iowait_cores: gaps.take(&["cpu_iowait_cores"], iowait),
        cpu_steal_cores: gaps.take(&["cpu_steal_cores"], steal),
        topology: topology.as_deref().cloned(),
        kernel: gaps.take(&["kernel"], now.kernel.clone()),
        uptime_seconds: gaps.take(&["uptime_seconds"], now.uptime_seconds.clone()),
        boot_id: gaps.take(&["boot_id"], now.boot_id.clone()),
        threads: gaps.take(&["threads"], now.threads.clone()),
        paging: paging.map(|node| node.paging),
        oom_kill: paging.and_then(|node| node.oom_kill),
        load: gaps.take(&["load"], now.load.clone()),
        memory_total_mb: memory.map(|memory| bytes_to_mib(memory.total)),
        memory_available_mb: memory.map(|memory| bytes_to_mib(memory.available)),
        swap_total_mb: memory.map(|memory| bytes_to_mib(memory.swap_total)),
        swap_used_mb: memory.map(|memory| bytes_to_mib(memory.swap_used)),
        zfs_arc_mb: arc.map(|arc| bytes_to_mib(arc.size)),
        zfs_arc_min_mb: arc.map(|arc| bytes_to_mib(arc.min)),
        zfs_arc_max_mb: arc.map(|arc| bytes_to_mib(arc.max)),
        pressure: pressure(&mut gaps, &now.pressure),
        containers_memory_limit_mb: gaps.take(&["containers_memory_limit_mb"], memory_limit),
        containers_working_set_mb: gaps.take(&["containers_working_set_mb"], working_set),
        containers_cores_limit: gaps.take(&["containers_cores_limit"], cores_limit),
        alerts: Vec::new(),
        missing: gaps.into_fields(),
    }
}

/// The mean number of cores on which the counted time was spent between two samples.
///
/// The kernel's own ticks are the time base, so neither a clock that was set nor a delayed read matters.
fn cores_between(
    previous: Option<&NodeSample>,
    now: &NodeSample,
    ticks: fn(NodeCpuTime) -> u64,
) -> Reading<f64> {
    let previous = previous.ok_or_else(|| Missing::because("this is the first sample"))?;
    let (before, after): (NodeCpuTime, NodeCpuTime) = (previous.cpu.clone()?, now.cpu.clone()?);
    let counted = increase(ticks(before), ticks(after))?;
    let total = increase(before.total_ticks, after.total_ticks)?;
    if total == 0 {
        return Err(Missing::because("the samples are too close to each other"));
    }
    if before.cpus != after.cpus {
        return Err(Missing::because("CPUs went on or off line between the samples"));
    }
    Ok(f64::from(after.cpus) * (counted as f64 / total as f64).min(1.0))
}

impl RunningTotals<'_> {
    /// Sums up a value over all running containers, or names one without it.
    fn sum(&self, what: &str, value: impl Fn(&ContainerRecord) -> Option<f64>) -> Reading<f64> {
        if let Some(vmid) = self.unmeasured.first() {
            return Err(Missing::because(format!("container {vmid} could not be measured")));
        }
        self.measured.iter().try_fold(0.0, |sum, (vmid, record)| match value(record) {
            Some(value) => Ok(sum + value),
            None => Err(Missing::because(format!("container {vmid} has no {what}"))),
        })
    }
}
