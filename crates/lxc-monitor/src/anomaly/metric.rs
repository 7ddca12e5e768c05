//! The watched metrics, and their scale.
//!
//! Usage changes by factors, not by sums: 50 MiB more matter at 60 MiB and not at 6 GiB. So the detector uses
//! `ln(1 + x / small)`, where `small` is the size below which a difference means nothing for that metric, and a
//! doubling is the same step everywhere.

use std::fmt::Write;

/// A watched metric; the order is that of the state on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// CPU usage, in cores.
    CpuCores,
    /// Working set, in MiB.
    MemoryMib,
    /// Block I/O, read and written, in bytes per second.
    IoBytes,
    /// Network traffic, both directions, in bytes per second.
    NetworkBytes,
    /// Processes.
    Processes,
    /// Share of the time in which a task waited for a CPU, in percent.
    CpuPressure,
    /// The same for memory.
    MemoryPressure,
    /// The same for I/O.
    IoPressure,
}

/// Number of metrics.
pub const METRICS: usize = 8;

/// The largest transformed value; keeps the inverse finite.
const MAX_SCALED: f64 = 32.0;

impl Metric {
    /// Every metric, in the order of the state.
    pub const ALL: [Self; METRICS] = [
        Self::CpuCores,
        Self::MemoryMib,
        Self::IoBytes,
        Self::NetworkBytes,
        Self::Processes,
        Self::CpuPressure,
        Self::MemoryPressure,
        Self::IoPressure,
    ];

    /// The name in the metrics file and in the log: the record's field if there is one.
    pub fn name(self) -> &'static str {
        match self {
            Self::CpuCores => "cpu_cores_used",
            Self::MemoryMib => "memory_usage_mb",
            Self::IoBytes => "io_bytes_per_second",
            Self::NetworkBytes => "network_bytes_per_second",
            Self::Processes => "process_count",
            Self::CpuPressure => "pressure_cpu_percent",
            Self::MemoryPressure => "pressure_memory_percent",
            Self::IoPressure => "pressure_io_percent",
        }
    }

    /// Its name in a sentence.
    pub(super) fn subject(self) -> &'static str {
        match self {
            Self::CpuCores => "CPU use",
            Self::MemoryMib => "the working set",
            Self::IoBytes => "block I/O",
            Self::NetworkBytes => "network traffic",
            Self::Processes => "the number of processes",
            Self::CpuPressure => "waiting for a CPU",
            Self::MemoryPressure => "waiting for memory",
            Self::IoPressure => "waiting for I/O",
        }
    }

    /// Differences well below this mean nothing, in the metric's unit.
    fn small(self) -> f64 {
        match self {
            Self::CpuCores => 0.05,
            Self::MemoryMib => 16.0,
            Self::IoBytes => 65_536.0,
            Self::NetworkBytes => 16_384.0,
            Self::Processes => 8.0,
            Self::CpuPressure | Self::MemoryPressure | Self::IoPressure => 2.0,
        }
    }

    /// The least spread, on the transformed scale (0.03 is 3 % of a value that is not small); otherwise any small
    /// change of a constant series would be flagged.
    pub(super) fn least_spread(self) -> f32 {
        match self {
            Self::MemoryMib => 0.03,
            Self::Processes => 0.05,
            Self::CpuCores => 0.1,
            Self::IoBytes
            | Self::NetworkBytes
            | Self::CpuPressure
            | Self::MemoryPressure
            | Self::IoPressure => 0.2,
        }
    }

    /// Whether only high values are flagged: nobody needs to know that nothing waits.
    pub(super) fn only_high(self) -> bool {
        matches!(self, Self::CpuPressure | Self::MemoryPressure | Self::IoPressure)
    }

    /// Transforms a measured value; `None` for an impossible one (negative, infinite, not a number).
    pub(super) fn scaled(self, value: f64) -> Option<f32> {
        if !value.is_finite() || value < 0.0 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "0 to 32, and seven digits are enough")]
        Some((value / self.small()).ln_1p().min(MAX_SCALED) as f32)
    }

    /// The inverse.
    pub(super) fn value(self, scaled: f32) -> f64 {
        f64::from(scaled).clamp(0.0, MAX_SCALED).exp_m1() * self.small()
    }

    /// A value with its unit, for a sentence.
    pub(super) fn spoken(self, value: f64) -> String {
        let mut text = String::new();
        let result = match self {
            Self::CpuCores => write!(text, "{value:.2} cores"),
            Self::MemoryMib => write!(text, "{value:.0} MiB"),
            Self::IoBytes | Self::NetworkBytes if value < 1e6 => write!(text, "{:.0} kB/s", value / 1e3),
            Self::IoBytes | Self::NetworkBytes => write!(text, "{:.1} MB/s", value / 1e6),
            Self::Processes => write!(text, "{value:.0}"),
            Self::CpuPressure | Self::MemoryPressure | Self::IoPressure => {
                write!(text, "{value:.1} % of the time")
            }
        };
        // Writing into a string cannot fail.
        result.map_or_else(|_| String::new(), |()| text)
    }
}
