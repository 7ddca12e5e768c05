//! The monitor itself, and the list of containers.

use lxc_autoscale_core::exposition::Subject;

use super::Source::{Monitor, Snapshot};
use super::{Family, counter, gauge, info};

pub(super) const FAMILIES: &[Family] = &[
    info(
        "lxc_monitor_build",
        "The version of the monitor.",
        Monitor(|_, to| to.whole_labelled(&[("version", env!("CARGO_PKG_VERSION"))], Some(1))),
    ),
    gauge(
        "lxc_monitor_interval_seconds",
        "Time from the start of one cycle to the start of the next, as configured.",
        Monitor(|m, to| to.real(Some(m.interval.as_secs_f64()))),
    ),
    counter(
        "lxc_monitor_cycles",
        "Cycles since the monitor started.",
        Monitor(|m, to| to.whole(Some(m.cycles))),
    ),
    gauge(
        "lxc_monitor_last_cycle_timestamp_seconds",
        "When the newest cycle ended; when this is long ago, all that was measured is left out.",
        Monitor(|m, to| to.real(m.newest.map(|cycle| cycle.ended.as_microsecond() as f64 / 1e6))),
    ),
    gauge(
        "lxc_monitor_cycle_duration_seconds",
        "How long the newest cycle took.",
        Monitor(|m, to| to.real(m.newest.map(|cycle| cycle.duration_seconds))),
    ),
    counter(
        "lxc_monitor_write_failures",
        "Snapshots that could not be written to the metrics file since the monitor started.",
        Monitor(|m, to| to.whole(Some(m.write_failures))),
    ),
    gauge(
        "lxc_monitor_log_file_writable",
        "Whether the log file can be written (1) or not (0); absent where none is configured.",
        Monitor(|m, to| {
            if let Some(is_writable) = m.log_is_writable {
                to.yes(is_writable);
            }
        }),
    ),
    counter(
        "process_cpu_seconds",
        "CPU time the monitor has used.",
        Monitor(|m, to| to.real(Some(m.cpu_time.as_secs_f64()))),
    ),
    gauge(
        "process_resident_memory_bytes",
        "Resident memory of the monitor at the end of the newest cycle.",
        Monitor(|m, to| to.mib(m.newest.and_then(|cycle| cycle.memory_mib))),
    ),
    gauge(
        "process_start_time_seconds",
        "When the monitor started.",
        Monitor(|m, to| to.real(Some(m.started.as_microsecond() as f64 / 1e6))),
    ),
];

pub(super) const OF_SNAPSHOT: &[Family] = &[
    gauge(
        "lxc_monitor_containers",
        "Containers on the node: measured in the newest cycle, and stopped; absent where that is not known.",
        Snapshot(|snapshot, to| {
            // Where they could not be looked at or listed, their number is unknown.
            let is_missing =
                |field| snapshot.summary.node.as_ref().is_some_and(|node| node.missing.contains(field));
            let is_blind = is_missing("containers");
            let measured = (!is_blind).then_some(snapshot.summary.total_containers);
            to.whole_labelled(&[("state", "measured")], measured);
            let stopped = snapshot.summary.stopped_containers.len() as u64;
            let are_listed = !is_blind && !is_missing("stopped_containers");
            to.whole_labelled(&[("state", "stopped")], are_listed.then_some(stopped));
        }),
    ),
    gauge(
        "lxc_monitor_active_alerts",
        "Alerts that are firing, of the containers and of the node.",
        Snapshot(|snapshot, to| {
            let of_containers: usize = snapshot.containers.values().map(|record| record.alerts.len()).sum();
            let of_node = snapshot.summary.node.as_ref().map_or(0, |node| node.alerts.len());
            to.whole(Some((of_containers + of_node) as u64));
        }),
    ),
    gauge(
        "lxc_container_up",
        "Whether a container runs (1) or is stopped (0); absent where that is not known.",
        Snapshot(|snapshot, to| {
            for vmid in snapshot.containers.keys() {
                to.about(Subject::Container(*vmid)).yes(true);
            }
            for vmid in &snapshot.summary.stopped_containers {
                to.about(Subject::Container(*vmid)).yes(false);
            }
        }),
    ),
];
