//! All exported metrics: name, meaning, and source in a snapshot.
//!
//! The tables define the exposition: families are written in their order, and tests compare them with the fields of the
//! snapshot and with the table of metrics in the documentation. The number of series is bounded by the node
//! (containers, their block devices and network interfaces) and by the configured alert rules; all other labels only
//! take the kernel's words in the tables.

mod configured;
mod container;
mod cycle;
mod devices;
mod node;

use std::time::Duration;

use jiff::Timestamp;
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::exposition::{Description, Samples};
use lxc_autoscale_core::notification::Severity;
use lxc_autoscale_core::snapshot::{
    ActiveAlert, ContainerRecord, NodeRecord, Pressure, PressureLine, PressureSet, Snapshot,
};

/// Tables in the order in which they are written.
const TABLES: [&[Family]; 6] = [
    cycle::FAMILIES,
    cycle::OF_SNAPSHOT,
    configured::FAMILIES,
    container::FAMILIES,
    devices::FAMILIES,
    node::FAMILIES,
];

/// A metric and its source.
#[derive(Debug)]
pub struct Family {
    /// Its name and meaning.
    pub description: Description,
    /// The source of its samples.
    pub source: Source,
}

/// The source of the samples of a family.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// One container.
    Container(fn(&ContainerRecord, &mut Samples<'_>)),
    /// How one container is configured, as far as that was ever known, with the name of its node.
    Identity(fn(Option<&ContainerConfig>, &str, &mut Samples<'_>)),
    /// The node.
    Node(fn(&NodeRecord, &mut Samples<'_>)),
    /// The snapshot as a whole.
    Snapshot(fn(&Snapshot, &mut Samples<'_>)),
    /// The monitor itself; exported however old the newest snapshot is.
    Monitor(fn(&MonitorState, &mut Samples<'_>)),
}

/// The state of the monitor itself.
#[derive(Clone, Debug)]
pub struct MonitorState {
    /// When it started.
    pub started: Timestamp,
    /// CPU time used.
    pub cpu_time: Duration,
    /// Time between cycles.
    pub interval: Duration,
    /// Cycles since it started.
    pub cycles: u64,
    /// Snapshots that could not be written to the metrics file since it started.
    pub write_failures: u64,
    /// Whether the log file can be written; absent if none is configured.
    pub log_is_writable: Option<bool>,
    /// The newest cycle; absent before the first.
    pub newest: Option<NewestCycle>,
}

/// The data of a cycle that does not become stale.
#[derive(Clone, Copy, Debug)]
pub struct NewestCycle {
    /// When it ended.
    pub ended: Timestamp,
    /// How long it took, in seconds.
    pub duration_seconds: f64,
    /// Resident memory of the monitor at its end, in MiB.
    pub memory_mib: Option<f64>,
}

/// All families, in the order in which they are written.
pub fn all() -> impl Iterator<Item = &'static Family> {
    TABLES.into_iter().flatten()
}

/// The family at an index in that order.
pub fn at(index: usize) -> Option<&'static Family> {
    all().nth(index)
}

const fn counter(name: &'static str, help: &'static str, source: Source) -> Family {
    Family { description: Description::counter(name, help), source }
}

const fn gauge(name: &'static str, help: &'static str, source: Source) -> Family {
    Family { description: Description::gauge(name, help), source }
}

const fn info(name: &'static str, help: &'static str, source: Source) -> Family {
    Family { description: Description::info(name, help), source }
}

/// A stall time for each resource, from the lines that `line` selects in the pressure files.
fn stalls(pressure: &PressureSet, samples: &mut Samples<'_>, line: fn(&Pressure) -> Option<PressureLine>) {
    for (resource, file) in [("cpu", pressure.cpu), ("memory", pressure.memory), ("io", pressure.io)] {
        let seconds = file.as_ref().and_then(line).map(|line| line.total_usec as f64 / 1e6);
        samples.labelled(&[("resource", resource)], seconds);
    }
}

/// The firing rule and its severity.
fn alert_labels(alert: &ActiveAlert) -> [(&str, &str); 2] {
    let severity = match alert.severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    };
    [("rule", &alert.rule), ("severity", severity)]
}

#[expect(clippy::unnecessary_wraps, reason = "the other line of the file may be absent")]
fn some(pressure: &Pressure) -> Option<PressureLine> {
    Some(pressure.some)
}

fn full(pressure: &Pressure) -> Option<PressureLine> {
    pressure.full
}
