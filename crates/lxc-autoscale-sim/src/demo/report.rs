//! The report of an unattended demo.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use lxc_autoscale_core::Vmid;
use serde::Serialize;

use super::decisions::Known;
use super::watch::{Allocation, Watch};
use crate::node::NodeError;

/// The content of `--report`; its format is an interface, see `docs/demo.md`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Processes killed by the OOM killer in all containers.
    pub oom_kills: u64,
    /// Changes that gave a container more cores or more memory.
    pub resizes_up: u64,
    /// Changes that gave it less.
    pub resizes_down: u64,
    /// Whether all three daemons were healthy, in the sense of [`crate::demo`].
    pub daemons_healthy: bool,
    /// The containers, lowest id first.
    pub containers: Vec<ContainerReport>,
}

/// One container.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ContainerReport {
    /// Its id.
    pub id: Vmid,
    /// Its size at the beginning.
    pub first: Size,
    /// Its size at the end.
    pub last: Size,
    /// Share of the time in which its work was delayed by a lack of CPU; `null` if that was never read.
    pub throttled_share: Option<f64>,
    /// Processes killed by the OOM killer.
    pub oom_kills: u64,
    /// Number of decisions to change its size.
    pub decisions: u64,
}

/// A size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Size {
    /// Cores.
    pub cores: f64,
    /// Memory, in MiB.
    pub memory_mib: u64,
}

impl From<Allocation> for Size {
    fn from(allocation: Allocation) -> Self {
        Self { cores: allocation.cores, memory_mib: allocation.memory_mib }
    }
}

impl Report {
    /// The report of a demo that ran for `seconds`.
    pub fn new(
        watch: &Watch,
        decisions: &BTreeMap<Vmid, Known>,
        daemons_healthy: bool,
        seconds: f64,
    ) -> Self {
        let container = |(id, watched): (&Vmid, &super::watch::Watched)| ContainerReport {
            id: *id,
            first: watched.first.into(),
            last: watched.last.into(),
            throttled_share: watched.throttled_share(seconds),
            oom_kills: watched.moved.oom_kills,
            decisions: decisions.get(id).map_or(0, |known| known.changes),
        };
        Self {
            oom_kills: watch.oom_kills(),
            resizes_up: watch.resizes_up,
            resizes_down: watch.resizes_down,
            daemons_healthy,
            containers: watch.containers.iter().map(container).collect(),
        }
    }

    /// Checks that a report can be written to this path, without leaving a trace.
    ///
    /// # Errors
    /// [`NodeError::File`] if it cannot.
    pub fn prepare(path: &Path) -> Result<(), NodeError> {
        let tried = match fs::File::create_new(path) {
            Ok(_) => fs::remove_file(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                fs::File::options().append(true).open(path).map(drop)
            }
            Err(error) => Err(error),
        };
        tried.map_err(NodeError::file("write the report", path))
    }

    /// Writes the report as JSON.
    ///
    /// # Errors
    /// [`NodeError::File`] if the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), NodeError> {
        let json = serde_json::to_string_pretty(self).map_err(std::io::Error::from);
        json.and_then(|text| fs::write(path, text + "\n")).map_err(NodeError::file("write the report", path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::watch::Counters;

    #[test]
    fn the_report_has_exactly_the_documented_fields() {
        let mut watch = Watch::default();
        let id = Vmid::try_from(104).unwrap();
        let counters = |oom_kills| Some(Counters { oom_kills, ..Counters::default() });
        watch.look(id, Allocation { cores: 1.0, memory_mib: 768 }, counters(0));
        watch.look(id, Allocation { cores: 3.0, memory_mib: 512 }, counters(1));
        let mut decisions: BTreeMap<Vmid, Known> = BTreeMap::new();
        decisions.entry(id).or_default().changes = 2;
        let report = Report::new(&watch, &decisions, true, 10.0);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.json");
        Report::prepare(&path).unwrap();
        assert!(!path.exists(), "nothing is written before there is something to say");
        report.write(&path).unwrap();
        let written = fs::read(&path).unwrap();
        Report::prepare(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), written);
        assert!(Report::prepare(&directory.path().join("none/r.json")).is_err());
        let json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "oom_kills": 1, "resizes_up": 1, "resizes_down": 1, "daemons_healthy": true,
                "containers": [{
                    "id": 104, "first": {"cores": 1.0, "memory_mib": 768}, "last": {"cores": 3.0, "memory_mib": 512},
                    "throttled_share": 0.0, "oom_kills": 1, "decisions": 2
                }]
            })
        );
    }
}
