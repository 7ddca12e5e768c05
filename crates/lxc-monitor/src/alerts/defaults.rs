//! The default rules.
//!
//! Each should be right on a real node and quiet on a healthy one; the reasons are beside the rules in
//! `config/lxc_monitor.toml`, which a test compares with this table.

use std::collections::BTreeMap;

use lxc_autoscale_core::notification::Severity::{self, Critical, Info, Warning};

use super::metric::Metric;
use super::rule::Rule;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// Name, metric, trigger and clear level, seconds to fire and to clear, severity, whether it is enabled.
type Row = (&'static str, &'static str, [f64; 2], [u64; 2], Severity, bool);

const ROWS: [Row; 18] = [
    ("cpu", "cpu_percent", [98.0, 85.0], [HOUR, 5 * MINUTE], Info, true),
    ("throttled", "throttled", [50.0, 20.0], [15 * MINUTE, 5 * MINUTE], Warning, true),
    ("memory", "memory_percent", [95.0, 90.0], [5 * MINUTE, 5 * MINUTE], Warning, true),
    ("memory-pressure", "memory_pressure_full_avg60", [10.0, 2.0], [5 * MINUTE, 5 * MINUTE], Warning, true),
    ("oom-kill", "oom_kills", [1.0, 0.0], [0, HOUR], Critical, true),
    ("swap", "swap_percent", [95.0, 80.0], [30 * MINUTE, 5 * MINUTE], Info, false),
    ("rootfs", "rootfs_percent", [90.0, 87.0], [5 * MINUTE, 5 * MINUTE], Warning, true),
    ("rootfs-full", "rootfs_percent", [97.0, 95.0], [MINUTE, 5 * MINUTE], Critical, true),
    ("rootfs-inodes", "rootfs_inodes_percent", [90.0, 87.0], [5 * MINUTE, 5 * MINUTE], Warning, true),
    ("processes", "processes_percent", [85.0, 75.0], [5 * MINUTE, 5 * MINUTE], Warning, true),
    ("io-pressure", "io_pressure_full_avg60", [80.0, 50.0], [HOUR, 10 * MINUTE], Warning, true),
    ("stopped", "stopped", [1.0, 0.0], [10 * MINUTE, 0], Warning, false),
    ("node-memory", "node_memory_available_percent", [5.0, 10.0], [5 * MINUTE, 5 * MINUTE], Critical, true),
    ("node-swap", "node_swap_percent", [90.0, 75.0], [30 * MINUTE, 10 * MINUTE], Info, false),
    ("node-load", "node_load", [4.0, 3.0], [15 * MINUTE, 10 * MINUTE], Warning, true),
    (
        "node-cpu-pressure",
        "node_cpu_pressure_some_avg60",
        [60.0, 40.0],
        [30 * MINUTE, 10 * MINUTE],
        Warning,
        true,
    ),
    (
        "node-memory-pressure",
        "node_memory_pressure_full_avg60",
        [5.0, 1.0],
        [5 * MINUTE, 5 * MINUTE],
        Critical,
        true,
    ),
    ("node-io-pressure", "node_io_pressure_full_avg60", [80.0, 50.0], [HOUR, 10 * MINUTE], Warning, true),
];

/// The rules by name.
pub fn rules() -> BTreeMap<String, Rule> {
    ROWS.iter()
        .filter_map(
            |(name, metric, [trigger, clear], [for_seconds, clear_for_seconds], severity, enabled)| {
                // A test ensures that all names exist.
                let metric = Metric::named(metric)?;
                let rule = Rule {
                    metric,
                    trigger: *trigger,
                    clear: *clear,
                    for_seconds: *for_seconds,
                    clear_for_seconds: *clear_for_seconds,
                    severity: *severity,
                    enabled: *enabled,
                };
                Some(((*name).to_owned(), rule))
            },
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use lxc_autoscale_core::config::Validate;

    use super::*;
    use crate::alerts::AlertsConfig;

    #[test]
    fn the_table_is_complete_and_valid() {
        assert_eq!(rules().len(), ROWS.len());
        assert_eq!(AlertsConfig::default().validate(), Ok(()));
    }
}
