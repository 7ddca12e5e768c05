//! One record of the metrics file: the measurements of every running container and of the node in one cycle.
//!
//! The fields that the Python original wrote keep their names, places and units; if the original got a meaning wrong,
//! the field has the value that its name promises. All other fields are additions. **A field that could not be read
//! is absent**, never zero, and [`ContainerRecord::missing`] says why. Counters are the kernel's own, cumulative
//! ones; to get a rate, take the difference of two records and treat a decrease as a restart.

mod node;
mod readings;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::node::{CpuTopology, NodeRecord};
pub use self::readings::{
    DeviceIo, InterfaceTraffic, IoStats, Limits, MemoryBreakdown, MemoryEvents, MemorySwapEvents,
    NetworkUsage, Paging, PidsEvents, Pressure, PressureLine, PressureSet, Throttling,
};
use crate::container_config::ContainerConfig;
use crate::missing::MissingFields;
use crate::notification::Severity;
pub use crate::records::ContainerRecords;
use crate::table::Table;
use crate::{RecordTime, Vmid};

/// The version of the fields below, in [`Summary::schema_version`]; files of the original have none.
pub const SCHEMA_VERSION: u32 = 1;

/// Key of the only member of a snapshot that is not a container.
const SUMMARY_KEY: &str = "summary";

/// One collection cycle: `{"<vmid>": {…}, …, "summary": {…}}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The measurements of each running container.
    pub containers: ContainerRecords,
    /// The cycle itself and the node.
    pub summary: Summary,
}

/// The measurements of one container in one cycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ContainerRecord {
    /// When this container was sampled.
    pub timestamp: RecordTime,

    // --- fields of the original, required by its reader ---
    /// CPU use since the previous sample, in percent of what the container may use (0–100).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_usage_percent: Option<f64>,
    /// Working set in MiB: memory in use minus the page cache that can be dropped; shared memory and tmpfs count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_usage_mb: Option<f64>,
    /// Swap in use, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_usage_mb: Option<f64>,
    /// Swap the container may use, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_total_mb: Option<f64>,
    /// Processes (cgroup `pids.current`, which counts threads as the kernel does).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_count: Option<u64>,
    /// Block I/O since the container started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_stats: Option<IoStats>,
    /// Network traffic since the container started, as the container sees the directions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_usage: Option<NetworkUsage>,
    /// Root filesystem in use, in GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem_usage_gb: Option<f64>,
    /// Size of the root filesystem, in GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem_total_gb: Option<f64>,
    /// Space that an ordinary process may still use on the root filesystem, in GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem_free_gb: Option<f64>,

    // --- added by us ---
    /// `running`; containers in other states are counted in the summary and have no record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ContainerState>,
    /// Seconds since the container's init started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_seconds: Option<f64>,
    /// CPU use since the previous sample, in cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_cores_used: Option<f64>,
    /// Share of the enforcement periods since the previous sample in which the CPU limit was hit, 0–1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_throttled_share: Option<f64>,
    /// Cumulative CPU time, in microseconds (`cpu.stat: usage_usec`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_usage_usec: Option<u64>,
    /// Cumulative throttling counters of the CPU limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttling: Option<Throttling>,
    /// The limits that the kernel enforces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// The parts of the working set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryBreakdown>,
    /// Cumulative memory events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_events: Option<MemoryEvents>,
    /// Cumulative swap events; absent on cgroup v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_swap_events: Option<MemorySwapEvents>,
    /// Cumulative events of the process limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids_events: Option<PidsEvents>,
    /// Block I/O by device name, with all layers of the same storage; devices without I/O and excluded ones are left
    /// out. [`Self::io_stats`] counts each byte once.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub io_devices: Table<DeviceIo>,
    /// Network traffic by device name, which is that of the node's end (`veth<id>i<n>`) if there is one.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub network_interfaces: Table<InterfaceTraffic>,
    /// Inodes in use on the root filesystem; absent if the filesystem has no fixed number of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem_inodes_used: Option<u64>,
    /// Inodes that the root filesystem can hold; absent if it has no fixed number of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem_inodes_total: Option<u64>,
    /// Cumulative paging counters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paging: Option<Paging>,
    /// Pressure stall information.
    #[serde(default, skip_serializing_if = "PressureSet::is_empty")]
    pub pressure: PressureSet,
    /// Proxmox's current configuration (the allocation, tags, locks …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<Arc<ContainerConfig>>,
    /// The Proxmox pool that it is in; empty if it is in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Alerts that are firing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<ActiveAlert>,
    /// Values that are unusual for this container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub anomalies: Vec<Anomaly>,
    /// Why each absent field is absent, by field name.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub missing: MissingFields,
}

impl ContainerRecord {
    /// A record with nothing but its time.
    pub fn empty(timestamp: RecordTime) -> Self {
        Self {
            timestamp,
            cpu_usage_percent: None,
            memory_usage_mb: None,
            swap_usage_mb: None,
            swap_total_mb: None,
            process_count: None,
            io_stats: None,
            network_usage: None,
            filesystem_usage_gb: None,
            filesystem_total_gb: None,
            filesystem_free_gb: None,
            state: None,
            uptime_seconds: None,
            cpu_cores_used: None,
            cpu_throttled_share: None,
            cpu_usage_usec: None,
            throttling: None,
            limits: None,
            memory: None,
            memory_events: None,
            memory_swap_events: None,
            pids_events: None,
            io_devices: Table::default(),
            network_interfaces: Table::default(),
            filesystem_inodes_used: None,
            filesystem_inodes_total: None,
            paging: None,
            pressure: PressureSet::default(),
            configuration: None,
            pool: None,
            alerts: Vec::new(),
            anomalies: Vec::new(),
            missing: MissingFields::default(),
        }
    }
}

/// A value that is unusual for its container and time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Anomaly {
    /// The metric; `docs/metrics-file.md` lists them with their units.
    pub metric: String,
    /// The measured value.
    pub observed: f64,
    /// The lowest value that would have been usual.
    pub expected_low: f64,
    /// The highest value that would have been usual.
    pub expected_high: f64,
    /// Distance from the expected value, in robust standard deviations of this series.
    pub score: f64,
    /// The same information in words.
    pub reason: String,
}

/// The state of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// Its init is running.
    Running,
    /// It is not running.
    Stopped,
}

/// An alert that is firing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ActiveAlert {
    /// Name of the rule.
    pub rule: String,
    /// How urgent it is.
    pub severity: Severity,
    /// Name of the metric that the rule looks at.
    pub metric: String,
    /// The value now, in the metric's unit; absent while it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The level at which the rule fires.
    pub level: f64,
    /// Since when the value has been a reason to fire.
    pub since: RecordTime,
    /// The value has been unknown for so long that the alert describes the past, not the present.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_data: bool,
    /// The container, for alerts listed with the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Vmid>,
}

/// The cycle itself, and the node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Summary {
    /// When the cycle began; names the snapshot.
    pub collection_start_time: RecordTime,
    /// When the cycle ended.
    pub collection_end_time: RecordTime,
    /// Containers measured in this cycle.
    pub total_containers: u64,
    /// How long the cycle took, in seconds.
    pub total_duration_seconds: f64,
    /// CPU use of the monitor itself since its previous cycle, in percent of one core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor_cpu_percent: Option<f64>,
    /// Resident memory of the monitor itself, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor_memory_usage_mb: Option<f64>,
    /// Version of these fields; absent in files of the original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<u32>,
    /// Containers that exist on the node but are not running.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stopped_containers: Vec<Vmid>,
    /// The node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeRecord>,
}

impl Serialize for Snapshot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.containers.len() + 1))?;
        for (vmid, record) in &self.containers {
            map.serialize_entry(vmid, record)?;
        }
        map.serialize_entry(SUMMARY_KEY, &self.summary)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Snapshot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SnapshotVisitor)
    }
}

impl FromStr for Snapshot {
    type Err = serde_json::Error;

    /// Parses it from JSON. This is the only place for which the parser is compiled, because it takes a hundred
    /// kilobytes in each program.
    fn from_str(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }
}

struct SnapshotVisitor;

impl<'de> Visitor<'de> for SnapshotVisitor {
    type Value = Snapshot;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of container records and a `summary`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Snapshot, A::Error> {
        let mut containers = Vec::new();
        let mut summary = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == SUMMARY_KEY {
                summary = Some(map.next_value()?);
            } else {
                let vmid: Vmid = key.parse().map_err(de::Error::custom)?;
                containers.push((vmid, map.next_value()?));
            }
        }
        let summary = summary.ok_or_else(|| de::Error::missing_field(SUMMARY_KEY))?;
        Ok(Snapshot { containers: containers.into(), summary })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record exactly as the Python original wrote it. Container 104 was read, 105 was not.
    const ORIGINAL: &str = include_str!("../tests/fixtures/record_of_the_original.json");

    #[test]
    fn a_record_of_the_original_is_read() {
        let snapshot: Snapshot = serde_json::from_str(ORIGINAL).unwrap();
        let record = &snapshot.containers[&Vmid::try_from(104).unwrap()];
        assert_eq!(record.cpu_usage_percent, Some(37.5));
        assert_eq!(record.io_stats.unwrap().reads, 81920);
        assert_eq!(record.memory, None);
        assert_eq!(snapshot.summary.schema_version, None);
    }

    #[test]
    fn what_is_written_is_read_back_equal() {
        let snapshot: Snapshot = serde_json::from_str(ORIGINAL).unwrap();
        let text = serde_json::to_string(&snapshot).unwrap();
        assert_eq!(serde_json::from_str::<Snapshot>(&text).unwrap(), snapshot);
        assert!(!text.contains("null"), "an absent field is left out, not null: {text}");
    }

    #[test]
    fn a_key_that_is_no_container_is_refused() {
        let error = serde_json::from_str::<Snapshot>(r#"{"web": {}}"#).unwrap_err();
        assert!(error.to_string().contains("`web` is not a container id"), "{error}");
    }

    #[test]
    fn a_snapshot_without_summary_is_refused() {
        let error = serde_json::from_str::<Snapshot>("{}").unwrap_err();
        assert!(error.to_string().contains("summary"), "{error}");
    }
}
