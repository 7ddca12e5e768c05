//! The metrics of rules.

mod names;
mod unlimited;

use std::fmt;

use lxc_autoscale_core::snapshot::{ContainerRecord, NodeRecord, Pressure, PressureSet};
use serde::{Deserialize, Deserializer, de};

/// A number of a snapshot that a rule compares with its levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// CPU usage, in percent of what the container may use.
    Cpu,
    /// CPU usage, in cores.
    CpuCores,
    /// Throttled enforcement periods, in percent of all.
    Throttled,
    /// Working set, in percent of the memory limit.
    Memory,
    /// Swap in use, in percent of what the container may use.
    Swap,
    /// Root filesystem in use, in percent of the space available to ordinary processes.
    Rootfs,
    /// Inodes of the root filesystem in use, in percent.
    RootfsInodes,
    /// Processes and threads, in percent of their limit.
    Processes,
    /// Processes the OOM killer killed since the previous cycle.
    OomKills,
    /// 1 while a container that starts with the node (`onboot`) and was seen running is not running, otherwise 0.
    Stopped,
    /// Pressure of a container, in percent of the time.
    Pressure(PressureMetric),
    /// CPU usage of the node, in percent of its CPUs.
    NodeCpu,
    /// Load average of 5 minutes, per CPU.
    NodeLoad,
    /// Memory of the node that is available without swapping, in percent.
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
    /// One per container.
    Container,
    /// One for the node.
    Node,
}

/// Which direction is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// An alert fires at the trigger level or above.
    High,
    /// An alert fires at the trigger level or below.
    Low,
}

/// The unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// 0 to 100.
    Percent,
    /// CPU cores.
    Cores,
    /// Tasks per CPU.
    PerCpu,
    /// A count.
    Count,
}

/// The part of the node's memory below which ZFS does not shrink its cache, if it does not say (the default of
/// `zfs_arc_min`).
const ARC_FLOOR: f64 = 1.0 / 32.0;

impl Metric {
    /// Every metric with its name in the configuration.
    pub fn all() -> impl Iterator<Item = (&'static str, Self)> {
        names::PLAIN.into_iter().chain(names::PRESSURES.into_iter().flatten())
    }

    /// The metric with that name, or former name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().chain(names::FORMER).find(|(known, _)| *known == name).map(|(_, metric)| metric)
    }

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        // Every metric is in the table, which a test ensures.
        Self::all().find(|(_, metric)| *metric == self).map_or("", |(name, _)| name)
    }

    /// Whether it belongs to containers or the node.
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

    /// Which direction is worse.
    pub fn direction(self) -> Direction {
        if self == Self::NodeMemoryAvailable { Direction::Low } else { Direction::High }
    }

    /// Its unit.
    pub fn unit(self) -> Unit {
        match self {
            Self::CpuCores => Unit::Cores,
            Self::NodeLoad => Unit::PerCpu,
            Self::OomKills | Self::Stopped => Unit::Count,
            _ => Unit::Percent,
        }
    }

    /// Whether it counts what happened since the previous cycle: the next one begins at zero again, so it holds no level.
    pub fn is_of_events(self) -> bool {
        self == Self::OomKills
    }

    /// The largest value that makes sense as a level.
    pub fn most(self) -> f64 {
        match self {
            Self::Stopped => 1.0,
            _ if self.unit() == Unit::Percent => 100.0,
            _ => 1e9,
        }
    }

    /// A description for people.
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

    /// Reads it from a container's record; `None` when it is unknown, has no limit to be a share of, or takes more than
    /// one record ([`Metric::OomKills`], [`Metric::Stopped`]).
    pub fn of_container(self, record: &ContainerRecord) -> Option<f64> {
        let limits = record.limits.unwrap_or_default();
        let value = match self {
            Self::Cpu => record.cpu_usage_percent,
            Self::CpuCores => record.cpu_cores_used,
            Self::Throttled => record.cpu_throttled_share.map(|share| share * 100.0),
            Self::Memory => percent(record.memory_usage_mb, limits.memory_mb),
            Self::Swap => percent(record.swap_usage_mb, record.swap_total_mb),
            Self::Rootfs => {
                // As in df: blocks reserved for root are neither used nor available.
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
                // MemAvailable excludes ZFS's cache, which shrinks on demand.
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

/// With one decimal, if it is relevant.
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
        Self::named(&text).ok_or_else(|| {
            let names: Vec<_> = Self::all().map(|(name, _)| name).collect();
            de::Error::custom(format!("there is no metric `{text}`; there are {}", names.join(", ")))
        })
    }
}

#[cfg(test)]
#[path = "metric_tests.rs"]
mod tests;
