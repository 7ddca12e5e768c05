//! The names of the metrics in the configuration.

use super::{Extent, Metric, PressureMetric, Resource, Window};

const fn pressure(resource: Resource, extent: Extent, window: Window) -> PressureMetric {
    PressureMetric { resource, extent, window }
}

/// All pressure metrics of one resource, under the given names.
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

/// The metrics other than pressure, by their names in the configuration. A share of a limit says so in its name,
/// because the history uses the shorter names for cores, MiB and numbers.
pub(super) const PLAIN: [(&str, Metric); 14] = [
    ("cpu_percent", Metric::Cpu),
    ("cpu_cores", Metric::CpuCores),
    ("throttled", Metric::Throttled),
    ("memory_percent", Metric::Memory),
    ("swap_percent", Metric::Swap),
    ("rootfs_percent", Metric::Rootfs),
    ("rootfs_inodes_percent", Metric::RootfsInodes),
    ("processes_percent", Metric::Processes),
    ("oom_kills", Metric::OomKills),
    ("stopped", Metric::Stopped),
    ("node_cpu_percent", Metric::NodeCpu),
    ("node_load", Metric::NodeLoad),
    ("node_memory_available_percent", Metric::NodeMemoryAvailable),
    ("node_swap_percent", Metric::NodeSwap),
];

/// Former names, which configurations and state files may contain.
pub(super) const FORMER: [(&str, Metric); 9] = [
    ("cpu", Metric::Cpu),
    ("memory", Metric::Memory),
    ("swap", Metric::Swap),
    ("rootfs", Metric::Rootfs),
    ("rootfs_inodes", Metric::RootfsInodes),
    ("processes", Metric::Processes),
    ("node_cpu", Metric::NodeCpu),
    ("node_memory_available", Metric::NodeMemoryAvailable),
    ("node_swap", Metric::NodeSwap),
];

/// The pressure metrics, by their names in the configuration.
pub(super) const PRESSURES: [[(&str, Metric); 4]; 6] = [
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
