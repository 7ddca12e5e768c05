//! `lxc-monitor check`: what can be read on this node, what cannot, why, and how to fix it.

mod places;
mod privileges;
mod probes;
mod table;

use std::time::Duration;

use lxc_autoscale_core::snapshot::{ContainerRecord, Snapshot};
use lxc_autoscale_core::{ErrorChain, Vmid};
use serde::Serialize;

pub use table::table;

use crate::cgroup::Hierarchy;
use crate::collector::Collector;
use crate::config::MonitorConfig;
use crate::discovery::Inventory;
use crate::isolation::{Isolation, Threads};
use crate::kernel_gaps::{self, CgroupVersion, KernelGap};

/// Time between the two measurements of each container.
const BETWEEN_SAMPLES: Duration = Duration::from_millis(300);

/// The result of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It can be read.
    Ok,
    /// Something that is not essential is absent.
    Note,
    /// Without it nothing useful can be measured.
    Bad,
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// Its name.
    pub name: &'static str,
    /// The result.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// How to fix it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// A running container and its measurements.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MeasuredContainer {
    /// Its id.
    pub id: Vmid,
    /// Its record, with the reasons for absent values in `missing`.
    pub record: ContainerRecord,
}

/// Something the kernel does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lack {
    /// The gap and its reason.
    #[serde(flatten)]
    pub gap: KernelGap,
    /// The affected containers; empty if it concerns the node.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<Vmid>,
}

/// The result of all checks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The node's name, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The probes.
    pub probes: Vec<Probe>,
    /// Release of its kernel, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// What this kernel does not count, and for whom.
    pub lacks: Vec<Lack>,
    /// The running containers.
    pub containers: Vec<MeasuredContainer>,
    /// Containers that are not running.
    pub stopped: Vec<Vmid>,
}

impl Probe {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, state: State::Ok, detail: detail.into(), fix: None }
    }

    fn note(name: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, state: State::Note, detail: detail.into(), fix: Some(fix.into()) }
    }

    fn bad(name: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, state: State::Bad, detail: detail.into(), fix: Some(fix.into()) }
    }
}

impl Report {
    /// Whether everything essential can be read.
    pub fn is_healthy(&self) -> bool {
        self.probes.iter().all(|probe| probe.state != State::Bad)
    }
}

/// Runs all checks.
pub async fn run(config: &MonitorConfig) -> Report {
    let isolation = Isolation::new(&Threads::new(0), 1, 1);
    let pve = config.paths.pve.clone();
    let inventory = isolation.run((), config.collection.read_timeout(), move || Inventory::read(&pve));
    let inventory = match inventory {
        Ok(Ok(inventory)) => Ok(inventory),
        Ok(Err(error)) => Err(ErrorChain(&error).to_string()),
        Err(no_answer) => Err(format!("`{}` gives {no_answer}", config.paths.pve.display())),
    };

    let mut collector = Collector::new(&config.clone().with_full_looks());
    collector.cycle();
    tokio::time::sleep(BETWEEN_SAMPLES).await;
    let snapshot = collector.cycle();

    let probes = probes::all(config, &inventory, &snapshot);
    let version = Hierarchy::detect(&config.paths.cgroup).map(|hierarchy| hierarchy.cgroup_version());
    let lacks = version.map(|version| lacks(version, &snapshot)).unwrap_or_default();
    let (node, kernel) = snapshot.summary.node.map(|node| (node.name, node.kernel)).unwrap_or_default();
    let node = Some(node).filter(|name| !name.is_empty());
    let containers =
        snapshot.containers.into_iter().map(|(id, record)| MeasuredContainer { id, record }).collect();
    Report { node, probes, kernel, lacks, containers, stopped: snapshot.summary.stopped_containers }
}

/// The kernel's gaps, each once.
fn lacks(version: CgroupVersion, snapshot: &Snapshot) -> Vec<Lack> {
    let of_node = snapshot.summary.node.as_ref().map(kernel_gaps::of_node).unwrap_or_default();
    let mut lacks: Vec<Lack> = of_node.into_iter().map(|gap| Lack { gap, containers: Vec::new() }).collect();
    for (vmid, record) in &snapshot.containers {
        for gap in kernel_gaps::of_container(version, record) {
            match lacks.iter_mut().find(|lack| lack.gap == gap) {
                Some(lack) => lack.containers.push(*vmid),
                None => lacks.push(Lack { gap, containers: vec![*vmid] }),
            }
        }
    }
    lacks
}

/// The report as JSON.
pub fn json(report: &Report) -> String {
    let mut value = serde_json::json!(report);
    value["healthy"] = report.is_healthy().into();
    format!("{value:#}\n")
}
