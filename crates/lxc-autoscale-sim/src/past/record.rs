//! What a monitor would have measured between two states of the node.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::snapshot::{
    ContainerRecord, ContainerRecords, ContainerState, IoStats, Limits as RecordedLimits, MemoryBreakdown,
    MemoryEvents, NetworkUsage, NodeRecord, Paging, Pressure, PressureLine, PressureSet, SCHEMA_VERSION,
    Snapshot, Summary, Throttling,
};
use lxc_autoscale_core::{RecordTime, Vmid};

use crate::fleet;
use crate::kernel::container::Container;
use crate::kernel::files::whole;
use crate::kernel::limits::Limits;
use crate::kernel::node::{HOST_MEMORY_BYTES, Node};
use crate::kernel::psi;
use crate::node::NodeError;

const MIB: f64 = 1024.0 * 1024.0;
const GIB: f64 = 1024.0 * MIB;
const SECTOR_BYTES: f64 = 512.0;

/// The file system the containers are on, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filesystem {
    /// Size.
    pub total_bytes: u64,
    /// In use.
    pub used_bytes: u64,
    /// Space that an ordinary process may still use.
    pub free_bytes: u64,
}

impl Filesystem {
    /// The file system of a path.
    ///
    /// # Errors
    /// [`NodeError::File`] if the system does not tell.
    pub fn of(path: &Path) -> Result<Self, NodeError> {
        let stat =
            rustix::fs::statvfs(path).map_err(|error| NodeError::file("look at", path)(error.into()))?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Self {
            total_bytes: bytes(stat.f_blocks),
            used_bytes: bytes(stat.f_blocks.saturating_sub(stat.f_bfree)),
            free_bytes: bytes(stat.f_bavail),
        })
    }
}

/// Two states of the node, with what is known about it.
pub(super) struct Seen<'a> {
    pub(super) at: Timestamp,
    pub(super) node_name: &'a str,
    pub(super) before: &'a Node,
    pub(super) after: &'a Node,
    pub(super) limits: &'a BTreeMap<Vmid, Limits>,
    pub(super) configs: &'a BTreeMap<Vmid, ContainerConfig>,
    pub(super) filesystem: Filesystem,
}

impl Seen<'_> {
    /// The snapshot that was taken at the later of the two states.
    pub(super) fn snapshot(&self) -> Snapshot {
        let time = RecordTime::new(self.at, &TimeZone::system());
        let containers: ContainerRecords = self
            .after
            .containers
            .iter()
            .map(|(id, container)| (*id, self.container(*id, container, time)))
            .collect();
        let summary = Summary {
            collection_start_time: time,
            collection_end_time: time,
            total_containers: containers.len() as u64,
            total_duration_seconds: 0.0,
            monitor_cpu_percent: None,
            monitor_memory_usage_mb: None,
            schema_version: Some(SCHEMA_VERSION),
            stopped_containers: Vec::new(),
            node: Some(self.node(&containers)),
        };
        Snapshot { containers, summary }
    }

    fn seconds(&self) -> f64 {
        self.after.uptime_seconds - self.before.uptime_seconds
    }

    fn container(&self, id: Vmid, now: &Container, time: RecordTime) -> ContainerRecord {
        let node_cpus = self.after.capacity.cpus;
        let limits = self.limits.get(&id).copied().unwrap_or_default();
        let mut record =
            ContainerRecord { state: Some(ContainerState::Running), ..ContainerRecord::empty(time) };
        // A rate needs an earlier sample of the same container.
        if let Some(before) = self.before.containers.get(&id) {
            let cores = (now.cpu.usage_usec - before.cpu.usage_usec) / 1e6 / self.seconds();
            record.cpu_cores_used = Some(cores);
            record.cpu_usage_percent = Some((cores / limits.cores(node_cpus) * 100.0).min(100.0));
            let periods = now.cpu.nr_periods - before.cpu.nr_periods;
            let throttled = now.cpu.nr_throttled - before.cpu.nr_throttled;
            record.cpu_throttled_share = Some(if 0.0 < periods { throttled / periods } else { 0.0 });
        } else {
            let cores = now.cpu.usage_usec / 1e6 / now.age_seconds;
            record.cpu_cores_used = Some(cores);
            record.cpu_usage_percent = Some((cores / limits.cores(node_cpus) * 100.0).min(100.0));
            record.cpu_throttled_share = Some(0.0);
        }
        record.cpu_usage_usec = Some(whole(now.cpu.usage_usec));
        record.throttling = Some(Throttling {
            nr_periods: whole(now.cpu.nr_periods),
            nr_throttled: whole(now.cpu.nr_throttled),
            throttled_usec: whole(now.cpu.throttled_usec),
        });
        record.uptime_seconds = Some(now.age_seconds);
        record.process_count = Some(u64::from(now.processes));
        record.limits = Some(recorded_limits(&limits, node_cpus));
        record.configuration = self.configs.get(&id).cloned().map(Into::into);
        record.pool = Some(fleet::pool(id).to_owned());
        Self::add_memory(&mut record, now, &limits);
        self.add_traffic(&mut record, now);
        record.pressure = PressureSet {
            cpu: Some(pressure(&now.cpu.pressure)),
            memory: Some(pressure(&now.memory.pressure)),
            io: Some(pressure(&now.io.pressure)),
        };
        record
    }

    fn add_memory(record: &mut ContainerRecord, now: &Container, limits: &Limits) {
        let memory = &now.memory;
        record.memory_usage_mb = Some(memory.working_set() / MIB);
        record.swap_usage_mb = Some(memory.swapped() / MIB);
        record.swap_total_mb = limits.swap_max_bytes.map(|bytes| bytes / MIB);
        record.memory = Some(MemoryBreakdown {
            current_mb: memory.current() / MIB,
            anon_mb: memory.anon / MIB,
            file_mb: (memory.active_file + memory.inactive_file + memory.shmem) / MIB,
            shmem_mb: memory.shmem / MIB,
            inactive_file_mb: memory.inactive_file / MIB,
            active_file_mb: memory.active_file / MIB,
            dirty_mb: memory.dirty / MIB,
        });
        let events = &memory.events;
        record.memory_events = Some(MemoryEvents {
            high: Some(whole(events.high)),
            max: whole(events.max),
            oom: Some(whole(events.oom)),
            oom_kill: Some(whole(events.oom_kill)),
            ..MemoryEvents::default()
        });
        record.paging = Some(Paging {
            refault_file: Some(whole(events.refault_file)),
            refault_anon: Some(whole(events.swap_in)),
            swap_in: Some(whole(events.swap_in)),
            swap_out: Some(whole(events.swap_out)),
            major_faults: Some(whole(events.major_faults)),
        });
    }

    fn add_traffic(&self, record: &mut ContainerRecord, now: &Container) {
        record.io_stats = Some(IoStats {
            reads: whole(now.io.read_bytes / SECTOR_BYTES),
            writes: whole(now.io.written_bytes / SECTOR_BYTES),
            read_ops: Some(whole(now.io.read_ops.ceil())),
            write_ops: Some(whole(now.io.write_ops.ceil())),
        });
        record.network_usage = Some(NetworkUsage {
            rx_bytes: whole(now.network.rx_bytes),
            tx_bytes: whole(now.network.tx_bytes),
        });
        let gib = |bytes: u64| bytes as f64 / GIB;
        record.filesystem_total_gb = Some(gib(self.filesystem.total_bytes));
        record.filesystem_usage_gb = Some(gib(self.filesystem.used_bytes));
        record.filesystem_free_gb = Some(gib(self.filesystem.free_bytes));
    }

    fn node(&self, containers: &ContainerRecords) -> NodeRecord {
        let node = self.after;
        let capacity = node.capacity;
        let cache: f64 =
            node.containers.values().map(|ct| ct.memory.current() - ct.memory.working_set()).sum();
        let available = capacity.memory_bytes - HOST_MEMORY_BYTES - node.containers_memory() + cache;
        let total =
            |of: fn(&ContainerRecord) -> Option<f64>| containers.values().map(of).sum::<Option<f64>>();
        NodeRecord {
            name: self.node_name.to_owned(),
            uptime_seconds: Some(node.uptime_seconds),
            cpus: u32::try_from(whole(capacity.cpus)).ok(),
            cpu_cores_used: Some((node.busy_seconds - self.before.busy_seconds) / self.seconds()),
            load: Some(node.load_centi().map(|load| load as f64 / 100.0)),
            memory_total_mb: Some(capacity.memory_bytes / MIB),
            memory_available_mb: Some(available / MIB),
            swap_total_mb: Some(capacity.swap_bytes / MIB),
            swap_used_mb: Some((capacity.swap_bytes - node.swap_free()) / MIB),
            pressure: PressureSet {
                cpu: Some(pressure(&node.cpu_pressure)),
                memory: Some(pressure(&node.memory_pressure)),
                io: Some(pressure(&node.io_pressure)),
            },
            containers_memory_limit_mb: total(|record| record.limits?.memory_mb),
            containers_working_set_mb: total(|record| record.memory_usage_mb),
            containers_cores_limit: total(|record| record.limits?.cores),
            ..NodeRecord::default()
        }
    }
}

fn recorded_limits(limits: &Limits, node_cpus: f64) -> RecordedLimits {
    RecordedLimits {
        cores: Some(limits.cores(node_cpus)),
        quota_cores: limits.quota_cores,
        cpuset_cores: limits.cpuset_cpus,
        memory_mb: limits.memory_max_bytes.map(|bytes| bytes / MIB),
        swap_mb: limits.swap_max_bytes.map(|bytes| bytes / MIB),
        pids: limits.pids_max.map(u64::from),
    }
}

fn pressure(pressure: &psi::Pressure) -> Pressure {
    Pressure { some: pressure_line(&pressure.some), full: Some(pressure_line(&pressure.full)) }
}

fn pressure_line(line: &psi::PressureLine) -> PressureLine {
    let [avg10, avg60, avg300] = line.averages_centipercent().map(|average| average as f64 / 100.0);
    PressureLine { avg10, avg60, avg300, total_usec: whole(line.total_usec()) }
}
