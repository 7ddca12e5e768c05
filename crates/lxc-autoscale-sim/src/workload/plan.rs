//! Which container does what: a file in the node's tree.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lxc_autoscale_core::Vmid;
use serde::{Deserialize, Serialize};

use super::{Scenario, trace};
use crate::kernel::demand::Demand;
use crate::node::NodeLayout;

/// The largest factor between the clock of the workloads and the node's.
pub const FASTEST: f64 = 10_000.0;

/// Whether workloads can run at so many times the speed of the clock.
pub fn is_speed(factor: f64) -> bool {
    0.0 < factor && factor <= FASTEST
}

/// What one container does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Workload {
    /// A named scenario.
    Scenario {
        /// Its name.
        scenario: Scenario,
        /// Busiest CPU use, in cores.
        cores: f64,
        /// Largest memory, in MiB.
        memory_mib: f64,
    },
    /// The replay of a real machine.
    Trace {
        /// Its name.
        trace: String,
        /// Where in the trace the Unix epoch falls, in hours; moves the whole replay.
        #[serde(default)]
        offset_hours: f64,
        /// Factor on its memory.
        #[serde(default = "one")]
        memory_factor: f64,
    },
}

fn one() -> f64 {
    1.0
}

impl Workload {
    /// What is wanted at a moment, in seconds since the Unix epoch, by a service that came up `age` seconds ago.
    pub fn demand(&self, seed: u64, seconds: f64, age: f64) -> Demand {
        match self {
            Self::Scenario { scenario, cores, memory_mib } => {
                scenario.demand(*cores, *memory_mib, seed, seconds, age)
            }
            Self::Trace { trace, offset_hours, memory_factor } => {
                // A plan with a name that is no trace is refused when it is read.
                let demand = trace::by_name(trace).map(|trace| trace.demand(seconds + offset_hours * 3600.0));
                let demand = demand.unwrap_or_default();
                Demand {
                    anon_bytes: demand.anon_bytes * memory_factor,
                    hot_file_bytes: demand.hot_file_bytes * memory_factor,
                    ..demand
                }
            }
        }
    }
}

/// The workloads of a node, as `etc/sim/workloads.json` holds them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// Decides all that is left to chance.
    pub seed: u64,
    /// How much faster than the clock the workloads run; counters and time stamps stay on the clock.
    pub speed: f64,
    /// What each container does; one that is not named runs nothing but its init.
    pub containers: BTreeMap<Vmid, Workload>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { seed: 1, speed: 1.0, containers: BTreeMap::new() }
    }
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file cannot be read or written.
    #[error("cannot {action} the workload plan `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is not the JSON it should be.
    #[error("`{}` is no workload plan", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// It asks for something that does not exist.
    #[error("`{}`: {rule}", path.display())]
    Rule {
        /// The file.
        path: PathBuf,
        /// What must hold.
        rule: String,
    },
}

impl Plan {
    /// Where a node keeps its plan.
    pub fn path(layout: &NodeLayout) -> PathBuf {
        layout.root().join("etc/sim/workloads.json")
    }

    /// Reads the plan of a node; a node without one is idle.
    ///
    /// # Errors
    /// [`PlanError`] when the file is there and holds no plan.
    pub fn load(layout: &NodeLayout) -> Result<Self, PlanError> {
        let path = Self::path(layout);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(PlanError::Io { action: "read", path, source }),
        };
        let plan: Self =
            serde_json::from_str(&text).map_err(|source| PlanError::Json { path: path.clone(), source })?;
        plan.check(&path)?;
        Ok(plan)
    }

    /// Writes the plan of a node; a kernel that runs there takes it over at its next tick.
    ///
    /// # Errors
    /// [`PlanError`] when it is no valid plan or cannot be written.
    pub fn save(&self, layout: &NodeLayout) -> Result<(), PlanError> {
        let path = Self::path(layout);
        self.check(&path)?;
        let text = serde_json::to_string_pretty(self)
            .map_err(|source| PlanError::Json { path: path.clone(), source })?;
        let temporary = path.with_extension("json.new");
        fs::write(&temporary, text + "\n")
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(|source| PlanError::Io { action: "write", path, source })
    }

    fn check(&self, path: &Path) -> Result<(), PlanError> {
        let broken = |rule: String| Err(PlanError::Rule { path: path.to_owned(), rule });
        if !is_speed(self.speed) {
            return broken(format!("`speed` must be above 0 and at most {FASTEST}"));
        }
        let in_range = |value: f64| (0.0..=1e6).contains(&value);
        for (id, workload) in &self.containers {
            match workload {
                Workload::Scenario { cores, memory_mib, .. } => {
                    if !(in_range(*cores) && in_range(*memory_mib)) {
                        return broken(format!(
                            "container {id}: `cores` and `memory_mib` must be from 0 to 1000000"
                        ));
                    }
                }
                Workload::Trace { trace: name, offset_hours, memory_factor } => {
                    if trace::by_name(name).is_none() {
                        let known: Vec<_> = trace::names().collect();
                        return broken(format!(
                            "container {id}: no trace `{name}`; there are {}",
                            known.join(", ")
                        ));
                    }
                    if !(offset_hours.is_finite() && in_range(*memory_factor)) {
                        return broken(format!(
                            "container {id}: `offset_hours` and `memory_factor` must be numbers"
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Plan, PlanError> {
        let directory = tempfile::tempdir().unwrap();
        let layout = NodeLayout::new(directory.path());
        fs::create_dir_all(directory.path().join("etc/sim")).unwrap();
        fs::write(Plan::path(&layout), text).unwrap();
        Plan::load(&layout)
    }

    #[test]
    fn a_plan_names_scenarios_and_traces() {
        let plan = load(
            r#"{"seed": 7, "speed": 10, "containers": {
                "100": {"scenario": "daily_peak", "cores": 2, "memory_mib": 600},
                "110": {"trace": "511"}}}"#,
        )
        .unwrap();
        let id = |number: u32| Vmid::try_from(number).unwrap();
        assert_eq!(
            plan.containers[&id(110)],
            Workload::Trace { trace: "511".to_owned(), offset_hours: 0.0, memory_factor: 1.0 }
        );
        let at_four = plan.containers[&id(100)].demand(plan.seed, 16.0 * 3600.0, 0.0);
        assert!((1.7..2.1).contains(&at_four.cores), "{}", at_four.cores);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let layout = NodeLayout::new(directory.path());
        assert_eq!(Plan::load(&layout).unwrap(), Plan::default());
        fs::create_dir_all(directory.path().join("etc/sim")).unwrap();
        let workload = Workload::Scenario { scenario: Scenario::Leak, cores: 0.5, memory_mib: 800.0 };
        let plan = Plan {
            containers: BTreeMap::from([(Vmid::try_from(103).unwrap(), workload)]),
            ..Plan::default()
        };
        plan.save(&layout).unwrap();
        assert_eq!(Plan::load(&layout).unwrap(), plan);
    }

    #[test]
    fn a_plan_that_asks_for_the_impossible_is_refused() {
        for (bad, why) in [
            (r#"{"speed": 0}"#, "speed"),
            (r#"{"containers": {"100": {"trace": "1"}}}"#, "no trace `1`; there are 337"),
            (
                r#"{"containers": {"100": {"scenario": "steady", "cores": -1, "memory_mib": 1}}}"#,
                "container 100",
            ),
            (
                r#"{"containers": {"100": {"scenario": "party", "cores": 1, "memory_mib": 1}}}"#,
                "no workload plan",
            ),
            (r#"{"containers": {"99": {"trace": "337"}}}"#, "no workload plan"),
            (r#"{"sped": 1}"#, "no workload plan"),
        ] {
            let error = load(bad).unwrap_err();
            assert!(error.to_string().contains(why), "{bad}: {error}");
        }
    }
}
