//! The metrics that are stored of a container and of the node.

use super::Series;

/// How the values of a metric arise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A level at the time of the sample.
    Level,
    /// A mean over the time since the previous sample.
    Rate,
    /// The number of events since the previous sample.
    Events,
}

macro_rules! metrics {
    ($($variant:ident = $id:literal, $name:literal, $unit:literal, $resolution:literal, $kind:ident, $about:literal;)*) => {
        /// A metric; the number is the stored one and never changes its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Metric { $(#[doc = $about] $variant = $id,)* }

        impl Metric {
            /// All metrics, by number.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name that users see.
            pub const fn name(self) -> &'static str { match self { $(Self::$variant => $name,)* } }

            /// The unit of its values.
            pub const fn unit(self) -> &'static str { match self { $(Self::$variant => $unit,)* } }

            /// The step in which its values are stored, in its unit; see [`code`](super::code).
            pub const fn resolution(self) -> f64 { match self { $(Self::$variant => $resolution,)* } }

            /// How its values arise.
            pub const fn kind(self) -> Kind { match self { $(Self::$variant => Kind::$kind,)* } }

            /// One line about it.
            pub const fn about(self) -> &'static str { match self { $(Self::$variant => $about,)* } }
        }
    };
}

metrics! {
    Cpu = 0, "cpu", "cores", 0.001, Rate, "CPU in use";
    CpuShare = 1, "cpu_share", "%", 0.05, Rate, "CPU in use, of what the container may use";
    Throttled = 2, "throttled", "%", 0.05, Rate, "enforcement periods in which the CPU limit was hit";
    Memory = 3, "memory", "MiB", 0.0625, Level, "working set: charged memory less the page cache that can be dropped";
    MemoryWithoutCache = 4, "memory_without_cache", "MiB", 0.0625, Level, "charged memory less all page cache, tmpfs and shared memory included";
    CoresLimit = 5, "cores_limit", "cores", 0.01, Level, "cores the container may use";
    MemoryLimit = 6, "memory_limit", "MiB", 0.0625, Level, "memory limit in force";
    Swap = 7, "swap", "MiB", 0.0625, Level, "swap in use";
    SwapLimit = 8, "swap_limit", "MiB", 0.0625, Level, "swap limit in force";
    PressureCpuSome = 9, "pressure_cpu_some", "%", 0.01, Rate, "time in which at least one task waited for a CPU";
    PressureCpuFull = 10, "pressure_cpu_full", "%", 0.01, Rate, "time in which all tasks waited for a CPU";
    PressureMemorySome = 11, "pressure_memory_some", "%", 0.01, Rate, "time in which at least one task waited for memory";
    PressureMemoryFull = 12, "pressure_memory_full", "%", 0.01, Rate, "time in which all tasks waited for memory";
    PressureIoSome = 13, "pressure_io_some", "%", 0.01, Rate, "time in which at least one task waited for I/O";
    PressureIoFull = 14, "pressure_io_full", "%", 0.01, Rate, "time in which all tasks waited for I/O";
    IoRead = 15, "io_read", "B/s", 16.0, Rate, "read from block devices";
    IoWrite = 16, "io_write", "B/s", 16.0, Rate, "written to block devices";
    IoReadOps = 17, "io_read_ops", "1/s", 0.01, Rate, "read operations";
    IoWriteOps = 18, "io_write_ops", "1/s", 0.01, Rate, "write operations";
    NetRx = 19, "net_rx", "B/s", 16.0, Rate, "received by the container";
    NetTx = 20, "net_tx", "B/s", 16.0, Rate, "sent by the container";
    Processes = 21, "processes", "tasks", 1.0, Level, "tasks, threads counted as the kernel does";
    RootfsUsed = 22, "rootfs_used", "MiB", 0.0625, Level, "root filesystem in use";
    RootfsTotal = 23, "rootfs_total", "MiB", 1.0, Level, "size of the root filesystem";
    OomKills = 24, "oom_kills", "events", 1.0, Events, "processes killed by the OOM killer";
    Ooms = 25, "ooms", "events", 1.0, Events, "times reclaim at the memory limit failed";
    MemoryMaxEvents = 26, "memory_max_events", "events", 1.0, Events, "times the memory limit was hit";
    MemoryHighEvents = 27, "memory_high_events", "events", 1.0, Events, "times memory.high throttled and reclaimed";
    RefaultFile = 28, "refault_file", "pages/s", 0.01, Rate, "page cache read again after it was dropped";
    RefaultAnon = 29, "refault_anon", "pages/s", 0.01, Rate, "anonymous memory read back from swap";
    SwapIn = 30, "swap_in", "pages/s", 0.01, Rate, "swapped in";
    SwapOut = 31, "swap_out", "pages/s", 0.01, Rate, "swapped out";
    MajorFaults = 32, "major_faults", "1/s", 0.01, Rate, "page faults that needed I/O";
    Cpus = 33, "cpus", "cores", 1.0, Level, "the node's CPUs online";
    Load1 = 34, "load1", "tasks", 0.01, Level, "the node's load average of one minute";
    MemoryTotal = 35, "memory_total", "MiB", 1.0, Level, "memory of the node";
    MemoryAvailable = 36, "memory_available", "MiB", 0.0625, Level, "memory the node can give out without swapping";
    SwapTotal = 37, "swap_total", "MiB", 1.0, Level, "swap of the node";
    ZfsArc = 38, "zfs_arc", "MiB", 0.0625, Level, "the node's ZFS cache";
    ContainersMemory = 39, "containers_memory", "MiB", 0.0625, Level, "working sets of the running containers, added up";
    ContainersMemoryLimit = 40, "containers_memory_limit", "MiB", 0.0625, Level, "memory limits of the running containers, added up";
    ContainersCoresLimit = 41, "containers_cores_limit", "cores", 0.01, Level, "CPU limits of the running containers, added up";
    Containers = 42, "containers", "containers", 1.0, Level, "containers that were measured";
}

/// The number of metrics.
pub const COUNT: usize = Metric::ALL.len();

// The known metrics of a sample are a mask of 64 bits.
const _: () = assert!(COUNT <= 64);

impl Metric {
    /// The metric with this stored number.
    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.get(usize::from(id)).copied()
    }

    /// Its stored number.
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// Whether it is measured for this series, which is the node or a container.
    pub fn is_of(self, series: Series) -> bool {
        let is_only_of_node = matches!(
            self,
            Self::Cpus
                | Self::Load1
                | Self::MemoryTotal
                | Self::MemoryAvailable
                | Self::SwapTotal
                | Self::ZfsArc
                | Self::ContainersMemory
                | Self::ContainersMemoryLimit
                | Self::ContainersCoresLimit
                | Self::Containers
        );
        let is_of_both = matches!(
            self,
            Self::Cpu
                | Self::Swap
                | Self::PressureCpuSome
                | Self::PressureCpuFull
                | Self::PressureMemorySome
                | Self::PressureMemoryFull
                | Self::PressureIoSome
                | Self::PressureIoFull
        );
        if series == Series::NODE { is_only_of_node || is_of_both } else { !is_only_of_node }
    }

    /// The metric with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|metric| metric.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_lead_to_the_metric() {
        for (index, metric) in Metric::ALL.iter().enumerate() {
            assert_eq!(usize::from(metric.id()), index);
            assert_eq!(Metric::from_id(metric.id()), Some(*metric));
            assert_eq!(Metric::from_name(metric.name()), Some(*metric));
        }
    }
}
