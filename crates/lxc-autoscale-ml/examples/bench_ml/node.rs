//! A node as the monitor records it: two hundred containers, with every field of a real one.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::snapshot::{ContainerRecord, NodeRecord, Snapshot, Summary};
use lxc_autoscale_core::{RecordTime, Vmid};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

/// Containers of the node.
pub(crate) const CONTAINERS: u32 = 200;
/// Time between two snapshots: the monitor's default.
pub(crate) const STEP: Duration = Duration::from_mins(1);

/// The node, at the time of its newest snapshot.
pub(crate) struct Node {
    now: Timestamp,
    minute: u64,
    rng: ChaCha8Rng,
}

impl Node {
    /// A node whose first snapshot is taken after `begin`.
    pub(crate) fn new(begin: Timestamp) -> Self {
        Self { now: begin, minute: 0, rng: ChaCha8Rng::seed_from_u64(7) }
    }

    /// The snapshot of the next minute.
    pub(crate) fn next(&mut self) -> Result<Snapshot, Box<dyn std::error::Error>> {
        self.now = self.now.checked_add(SignedDuration::try_from(STEP)?)?;
        self.minute += 1;
        let time = RecordTime::utc(self.now);
        let containers =
            (0..CONTAINERS).map(|index| Ok((Vmid::try_from(100 + index)?, self.container(index, time)?)));
        let containers = containers.collect::<Result<_, Box<dyn std::error::Error>>>()?;
        Ok(Snapshot {
            containers,
            summary: Summary {
                collection_start_time: time,
                collection_end_time: time,
                total_containers: u64::from(CONTAINERS),
                total_duration_seconds: 0.08,
                monitor_cpu_percent: Some(0.1),
                monitor_memory_usage_mb: Some(14.0),
                schema_version: Some(1),
                stopped_containers: Vec::new(),
                node: Some(NodeRecord {
                    name: "pve".to_owned(),
                    cpus: Some(64),
                    memory_total_mb: Some(524_288.0),
                    memory_available_mb: Some(262_144.0),
                    ..NodeRecord::default()
                }),
            },
        })
    }

    /// A container with a daily pattern; one in five is idle.
    fn container(
        &mut self,
        index: u32,
        time: RecordTime,
    ) -> Result<ContainerRecord, Box<dyn std::error::Error>> {
        let day = (self.minute % 1440) as f64 / 1440.0;
        let wave = 0.6 + 0.4 * (std::f64::consts::TAU * (day - 0.3)).sin();
        let busy = if index.is_multiple_of(5) { 0.01 } else { wave * (0.2 + f64::from(index % 7) * 0.3) };
        let noise = self.rng.gen_range(0.8..1.2);
        let (cores, limit) = (4.0, 512.0 * f64::from(1 + index % 8));
        let used = busy * noise;
        let memory = limit * (0.5 + 0.1 * wave) * (1.0 + 0.01 * noise);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a counter, not negative"
        )]
        let so_far = |rate: f64| (rate * 60.0 * self.minute as f64) as u64 + u64::from(index);
        let (uptime, device) = (3e6 + 60.0 * self.minute as f64, format!("veth{}i0", 100 + index));
        let io =
            json!({"rbytes": so_far(2e4), "wbytes": so_far(5e4), "rios": so_far(2.0), "wios": so_far(6.0)});
        let traffic = json!({"rx_bytes": so_far(3e4), "rx_packets": so_far(40.0), "rx_errors": 0, "rx_dropped": 0,
            "tx_bytes": so_far(9e4), "tx_packets": so_far(70.0), "tx_errors": 0, "tx_dropped": 0});
        let line = json!({"avg10": 0.12, "avg60": 0.1, "avg300": 0.08, "total_usec": so_far(900.0)});
        let pressure = json!({"some": line, "full": line});
        let configuration = format!(
            "arch: amd64\ncores: 4\nfeatures: nesting=1\nhostname: app{index}\nmemory: {limit}\nonboot: 1\n\
             rootfs: local-lvm:vm-{index}-disk-0,size=8G\nswap: 512\ntags: web;production\n"
        );
        Ok(serde_json::from_value(json!({
            "timestamp": time,
            "cpu_usage_percent": 100.0 * used / cores,
            "memory_usage_mb": memory,
            "swap_usage_mb": 0.0,
            "swap_total_mb": 512.0,
            "process_count": 20 + index % 13,
            "io_stats": {"reads": so_far(40.0), "writes": so_far(100.0), "read_ops": so_far(2.0), "write_ops": so_far(6.0)},
            "network_usage": {"rx_bytes": so_far(3e4), "tx_bytes": so_far(9e4)},
            "filesystem_usage_gb": 2.0 + self.minute as f64 / 5e5,
            "filesystem_total_gb": 8.0,
            "filesystem_free_gb": 6.0 - self.minute as f64 / 5e5,
            "state": "running",
            "uptime_seconds": uptime,
            "cpu_cores_used": used,
            "cpu_throttled_share": 0.0,
            "cpu_usage_usec": so_far(1e6 * busy),
            "throttling": {"nr_periods": so_far(10.0), "nr_throttled": 0, "throttled_usec": 0},
            "limits": {"cores": cores, "cpuset_cores": 4, "memory_mb": limit, "swap_mb": 512.0, "pids": 100_000},
            "memory": {"current_mb": 1.2 * memory, "anon_mb": 0.7 * memory, "file_mb": 0.4 * memory, "shmem_mb": 1.5,
                "inactive_file_mb": 0.2 * memory, "active_file_mb": 0.2 * memory, "dirty_mb": 0.3},
            "memory_events": {"low": 0, "high": 0, "max": 0, "oom": 0, "oom_kill": 0, "oom_group_kill": 0},
            "memory_swap_events": {"high": 0, "max": 0, "fail": 0},
            "pids_events": {"max": 0},
            "io_devices": {"dm-7": io, "nvme0n1": io},
            "network_interfaces": {device: traffic},
            "filesystem_inodes_used": 61_000,
            "filesystem_inodes_total": 524_288,
            "paging": {"refault_file": so_far(1.0), "refault_anon": 0, "swap_in": 0, "swap_out": 0, "major_faults": so_far(0.1)},
            "pressure": {"cpu": pressure, "memory": pressure, "io": pressure},
            "configuration": ContainerConfig::parse(&configuration).0,
            "pool": "apps",
        }))?)
    }
}
