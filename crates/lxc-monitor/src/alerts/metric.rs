//! What a rule can look at.

use std::fmt;

use lxc_autoscale_core::snapshot::{ContainerRecord, NodeRecord, Pressure, PressureSet};
use serde::{Deserialize, Deserializer, de};

/// A number of a snapshot that a rule compares with its levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// CPU use, in percent of what the container may use.
    Cpu,
    /// CPU use, in cores.
    CpuCores,
    /// Enforcement periods in which the CPU limit was hit, in percent of all.
    Throttled,
    /// Working set, in percent of the memory limit.
    Memory,
    /// Swap in use, in percent of what the container may use.
    Swap,
    /// Root filesystem in use, in percent of what ordinary processes can have of it.
    Rootfs,
    /// Inodes of the root filesystem in use, in percent.
    RootfsInodes,
    /// Processes and threads, in percent of their limit.
    Processes,
    /// Processes the OOM killer killed since the previous cycle.
    OomKills,
    /// 1 while a container that starts with the node (`onboot`) and was seen running does not run, else 0.
    Stopped,
    /// Pressure of a container, in percent of the time.
    Pressure(PressureMetric),
    /// CPU use of the node, in percent of its CPUs.
    NodeCpu,
    /// Load average of 5 minutes, per CPU.
    NodeLoad,
    /// Memory of the node that can be had without swapping, in percent.
    NodeMemoryAvailable,
    /// Swap of the node in use, in percent.
    NodeSwap,
    /// Pressure of the node, in percent of the time.
    NodePressure(PressureMetric),
}

/// One number of the pressure files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PressureMetric {
    resource: Resource,
    extent: Extent,
    window: Window,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resource {
    Cpu,
    Memory,
    Io,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Some,
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Window {
    Avg10,
    Avg60,
}

/// Whose number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Each container has its own.
    Container,
    /// There is one.
    Node,
}

/// Which way is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// An alert fires at the trigger level or above.
    High,
    /// An alert fires at the trigger level or below.
    Low,
}

/// In what it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// 0 to 100.
    Percent,
    /// CPU cores.
    Cores,
    /// Tasks per CPU.
    PerCpu,
    /// Whole things.
    Count,
}

const fn pressure(resource: Resource, extent: Extent, window: Window) -> PressureMetric {
    PressureMetric { resource, extent, window }
}

/// All pressure metrics of one resource, under the names given.
macro_rules! pressures {
    ($variant:ident, $resource:ident, $names:expr) => {
        [
            ($names[0], Metric::$variant(pressure(Resource::$resource, Extent::Some, Window::Avg10))),
            ($names[1], Metric::$variant(pressure(Resource::$resource, Extent::Some, Window::Avg60))),
            ($names[2], Metric::$variant(pressure(Resource::$resource, Extent::Full, Window::Avg10))),
            ($names[3], Metric::$variant(pressure(Resource::$resource, Extent::Full, Window::Avg60))),
        ]
    };
}

/// The metrics that are not pressure, by their names in the configuration.
const PLAIN: [(&str, Metric); 14] = [
    ("cpu", Metric::Cpu),
    ("cpu_cores", Metric::CpuCores),
    ("throttled", Metric::Throttled),
    ("memory", Metric::Memory),
    ("swap", Metric::Swap),
    ("rootfs", Metric::Rootfs),
    ("rootfs_inodes", Metric::RootfsInodes),
    ("processes", Metric::Processes),
    ("oom_kills", Metric::OomKills),
    ("stopped", Metric::Stopped),
    ("node_cpu", Metric::NodeCpu),
    ("node_load", Metric::NodeLoad),
    ("node_memory_available", Metric::NodeMemoryAvailable),
    ("node_swap", Metric::NodeSwap),
];

/// The pressure metrics, by their names in the configuration.
const PRESSURES: [[(&str, Metric); 4]; 6] = [
    pressures!(
        Pressure,
        Cpu,
        [
            "cpu_pressure_some_avg10",
            "cpu_pressure_some_avg60",
            "cpu_pressure_full_avg10",
            "cpu_pressure_full_avg60"
        ]
    ),
    pressures!(
        Pressure,
        Memory,
        [
            "memory_pressure_some_avg10",
            "memory_pressure_some_avg60",
            "memory_pressure_full_avg10",
            "memory_pressure_full_avg60"
        ]
    ),
    pressures!(
        Pressure,
        Io,
        [
            "io_pressure_some_avg10",
            "io_pressure_some_avg60",
            "io_pressure_full_avg10",
            "io_pressure_full_avg60"
        ]
    ),
    pressures!(
        NodePressure,
        Cpu,
        [
            "node_cpu_pressure_some_avg10",
            "node_cpu_pressure_some_avg60",
            "node_cpu_pressure_full_avg10",
            "node_cpu_pressure_full_avg60"
        ]
    ),
    pressures!(
        NodePressure,
        Memory,
        [
            "node_memory_pressure_some_avg10",
            "node_memory_pressure_some_avg60",
            "node_memory_pressure_full_avg10",
            "node_memory_pressure_full_avg60"
        ]
    ),
    pressures!(
        NodePressure,
        Io,
        [
            "node_io_pressure_some_avg10",
            "node_io_pressure_some_avg60",
            "node_io_pressure_full_avg10",
            "node_io_pressure_full_avg60"
        ]
    ),
];

/// The part of the node's memory below which ZFS does not shrink its cache, where it does not say
/// (the default of `zfs_arc_min`).
const ARC_FLOOR: f64 = 1.0 / 32.0;

impl Metric {
    /// Every metric with its name in the configuration.
    pub fn all() -> impl Iterator<Item = (&'static str, Self)> {
        PLAIN.into_iter().chain(PRESSURES.into_iter().flatten())
    }

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        // Every metric is in the table; a test holds it to that.
        Self::all().find(|(_, metric)| *metric == self).map_or("", |(name, _)| name)
    }

    /// Whose it is.
    pub fn scope(self) -> Scope {
        match self {
            Self::NodeCpu
            | Self::NodeLoad
            | Self::NodeMemoryAvailable
            | Self::NodeSwap
            | Self::NodePressure(_) => Scope::Node,
            _ => Scope::Container,
        }
    }

    /// Which way is worse.
    pub fn direction(self) -> Direction {
        if self == Self::NodeMemoryAvailable { Direction::Low } else { Direction::High }
    }

    /// In what it is counted.
    pub fn unit(self) -> Unit {
        match self {
            Self::CpuCores => Unit::Cores,
            Self::NodeLoad => Unit::PerCpu,
            Self::OomKills | Self::Stopped => Unit::Count,
            _ => Unit::Percent,
        }
    }

    /// What it is, for people.
    pub fn description(self) -> &'static str {
        let resource = |whose: [&'static str; 3], pressure: PressureMetric| match pressure.resource {
            Resource::Cpu => whose[0],
            Resource::Memory => whose[1],
            Resource::Io => whose[2],
        };
        match self {
            Self::Cpu => "CPU use",
            Self::CpuCores => "CPU cores used",
            Self::Throttled => "CPU throttling",
            Self::Memory => "memory use",
            Self::Swap => "swap use",
            Self::Rootfs => "root filesystem use",
            Self::RootfsInodes => "inode use of the root filesystem",
            Self::Processes => "processes",
            Self::OomKills => "processes killed for lack of memory",
            Self::Stopped => "stopped although it starts with the node",
            Self::Pressure(kind) => resource(["CPU pressure", "memory pressure", "I/O pressure"], kind),
            Self::NodeCpu => "CPU use of the node",
            Self::NodeLoad => "load of the node per CPU",
            Self::NodeMemoryAvailable => "available memory of the node",
            Self::NodeSwap => "swap use of the node",
            Self::NodePressure(kind) => resource(
                ["CPU pressure of the node", "memory pressure of the node", "I/O pressure of the node"],
                kind,
            ),
        }
    }

    /// Reads it from a container's record; `None` when it is unknown, has no limit to be a share of, or is told by
    /// more than one record ([`Metric::OomKills`], [`Metric::Stopped`]).
    pub fn of_container(self, record: &ContainerRecord) -> Option<f64> {
        let limits = record.limits.unwrap_or_default();
        let value = match self {
            Self::Cpu => record.cpu_usage_percent,
            Self::CpuCores => record.cpu_cores_used,
            Self::Throttled => record.cpu_throttled_share.map(|share| share * 100.0),
            Self::Memory => percent(record.memory_usage_mb, limits.memory_mb),
            Self::Swap => percent(record.swap_usage_mb, record.swap_total_mb),
            Self::Rootfs => {
                // As df counts: what is reserved for root is neither used nor to be had.
                let used = record.filesystem_usage_gb;
                percent(used, used.zip(record.filesystem_free_gb).map(|(used, free)| used + free))
            }
            Self::RootfsInodes => percent(
                record.filesystem_inodes_used.map(|used| used as f64),
                record.filesystem_inodes_total.map(|total| total as f64),
            ),
            Self::Processes => {
                percent(record.process_count.map(|count| count as f64), limits.pids.map(|limit| limit as f64))
            }
            Self::Pressure(kind) => kind.read(&record.pressure),
            _ => None,
        };
        value.filter(|value| value.is_finite())
    }

    /// Reads it from the node's record; `None` when it is unknown.
    pub fn of_node(self, node: &NodeRecord) -> Option<f64> {
        let cpus = node.cpus.filter(|cpus| *cpus != 0).map(f64::from);
        let value = match self {
            Self::NodeCpu => percent(node.cpu_cores_used, cpus),
            Self::NodeLoad => node.load.zip(cpus).map(|([_, five_minutes, _], cpus)| five_minutes / cpus),
            Self::NodeMemoryAvailable => {
                // MemAvailable leaves out ZFS's cache, which shrinks when memory is wanted.
                let arc = node.zfs_arc_mb.zip(node.memory_total_mb).map_or(0.0, |(arc, total)| {
                    (arc - node.zfs_arc_min_mb.unwrap_or(total * ARC_FLOOR)).max(0.0)
                });
                percent(node.memory_available_mb.map(|available| available + arc), node.memory_total_mb)
            }
            Self::NodeSwap => percent(node.swap_used_mb, node.swap_total_mb),
            Self::NodePressure(kind) => kind.read(&node.pressure),
            _ => None,
        };
        value.filter(|value| value.is_finite())
    }
}

impl PressureMetric {
    fn read(self, set: &PressureSet) -> Option<f64> {
        let file: Pressure = match self.resource {
            Resource::Cpu => set.cpu?,
            Resource::Memory => set.memory?,
            Resource::Io => set.io?,
        };
        let line = match self.extent {
            Extent::Some => file.some,
            Extent::Full => file.full?,
        };
        Some(match self.window {
            Window::Avg10 => line.avg10,
            Window::Avg60 => line.avg60,
        })
    }
}

impl Unit {
    /// A value with its unit.
    pub fn show(self, value: f64) -> impl fmt::Display {
        match self {
            Self::Percent => format!("{} %", short(value)),
            Self::Cores => format!("{value:.2} cores"),
            Self::PerCpu => format!("{value:.2}"),
            Self::Count => format!("{value:.0}"),
        }
    }
}

/// One digit after the point, where it says something.
fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

fn percent(part: Option<f64>, whole: Option<f64>) -> Option<f64> {
    let (part, whole) = part.zip(whole)?;
    (0.0 < whole).then(|| part / whole * 100.0)
}

impl<'de> Deserialize<'de> for Metric {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::all().find(|(name, _)| *name == text).map(|(_, metric)| metric).ok_or_else(|| {
            let names: Vec<_> = Self::all().map(|(name, _)| name).collect();
            de::Error::custom(format!("there is no metric `{text}`; there are {}", names.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use lxc_autoscale_core::snapshot::Limits;

    use super::*;
    use crate::clock;

    fn record() -> ContainerRecord {
        ContainerRecord::empty(clock::record_time(clock::now().wall))
    }

    #[test]
    fn every_name_stands_for_one_metric_and_back() {
        let names: BTreeSet<_> = Metric::all().map(|(name, _)| name).collect();
        assert_eq!(names.len(), Metric::all().count());
        for (name, metric) in Metric::all() {
            assert_eq!(metric.name(), name);
            assert_eq!(name.starts_with("node_"), metric.scope() == Scope::Node, "{name}");
        }
    }

    #[test]
    fn nothing_is_known_of_an_empty_record() {
        for (name, metric) in Metric::all() {
            assert_eq!(metric.of_container(&record()), None, "{name}");
            assert_eq!(metric.of_node(&NodeRecord::default()), None, "{name}");
        }
    }

    #[test]
    fn shares_are_of_what_the_container_may_use() {
        let mut record = record();
        record.memory_usage_mb = Some(256.0);
        assert_eq!(Metric::Memory.of_container(&record), None, "no limit, no share");
        record.limits = Some(Limits { memory_mb: Some(512.0), pids: Some(200), ..Limits::default() });
        record.process_count = Some(50);
        record.cpu_throttled_share = Some(0.25);
        record.filesystem_total_gb = Some(10.0);
        record.filesystem_usage_gb = Some(7.2);
        record.filesystem_free_gb = Some(1.8);
        record.swap_usage_mb = Some(0.0);
        record.swap_total_mb = Some(0.0);
        let value = |metric: Metric| metric.of_container(&record).map(|value| value.round());
        assert_eq!(value(Metric::Memory), Some(50.0));
        assert_eq!(value(Metric::Processes), Some(25.0));
        assert_eq!(value(Metric::Throttled), Some(25.0));
        assert_eq!(value(Metric::Rootfs), Some(80.0));
        assert_eq!(value(Metric::Swap), None, "there is no swap to be full");
    }

    #[test]
    fn the_cache_of_zfs_is_available_down_to_its_floor() {
        let value = |zfs_arc_mb, zfs_arc_min_mb| {
            Metric::NodeMemoryAvailable.of_node(&NodeRecord {
                memory_total_mb: Some(3200.0),
                memory_available_mb: Some(320.0),
                zfs_arc_mb,
                zfs_arc_min_mb,
                ..NodeRecord::default()
            })
        };
        assert_eq!(value(None, None), Some(10.0));
        assert_eq!(value(Some(50.0), None), Some(10.0));
        assert_eq!(value(Some(1700.0), None), Some(60.0));
        assert_eq!(value(Some(1700.0), Some(1380.0)), Some(20.0));
    }
}
