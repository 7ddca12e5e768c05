//! The workload plan: a file in the node's tree.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lxc_autoscale_core::Vmid;
use serde::{Deserialize, Serialize};

use super::{Scenario, trace};
use crate::kernel::demand::Demand;
use crate::node::NodeLayout;

/// The largest speed-up of the workloads' clock relative to the node's.
pub const FASTEST: f64 = 10_000.0;

/// Whether workloads can run at this speed-up.
pub fn is_speed(factor: f64) -> bool {
    0.0 < factor && factor <= FASTEST
}

/// The workload of a container.
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
        /// The position in the trace of the Unix epoch, in hours; shifts the whole replay.
        #[serde(default)]
        offset_hours: f64,
        /// Factor for its memory.
        #[serde(default = "one")]
        memory_factor: f64,
    },
}

fn one() -> f64 {
    1.0
}

impl Workload {
    /// The demand at a time, in seconds since the Unix epoch, of a service that started `age` seconds ago.
    pub fn demand(&self, seed: u64, seconds: f64, age: f64) -> Demand {
        match self {
            Self::Scenario { scenario, cores, memory_mib } => {
                scenario.demand(*cores, *memory_mib, seed, seconds, age)
            }
            Self::Trace { trace, offset_hours, memory_factor } => {
                // A plan with an unknown trace is refused when it is read.
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

/// The workloads of a node, as stored in `etc/sim/workloads.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// Seed of everything random.
    pub seed: u64,
    /// How much faster than the clock the workloads run; counters and time stamps follow the clock.
    pub speed: f64,
    /// The workload of each container; containers that are not listed run only their init.
    pub containers: BTreeMap<Vmid, Workload>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { seed: 1, speed: 1.0, containers: BTreeMap::new() }
    }
}

/// Why the plan cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file cannot be read or written.
    #[error("cannot {action} the workload plan `{}`", path.display())]
    Io {
        /// The action that failed.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is not valid JSON for a plan.
    #[error("`{}` is not a workload plan", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// It refers to something that does not exist.
    #[error("`{}`: {rule}", path.display())]
    Rule {
        /// The file.
        path: PathBuf,
        /// The rule that is broken.
        rule: String,
    },
}

impl Plan {
    /// The path of a node's plan.
    pub fn path(layout: &NodeLayout) -> PathBuf {
        layout.root().join("etc/sim/workloads.json")
    }

    /// Reads the plan of a node; without a plan, the node is idle.
    ///
    /// # Errors
    /// [`PlanError`] if the file exists but is not a valid plan.
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

    /// Writes the plan of a node; a running kernel applies it at its next tick.
    ///
    /// # Errors
    /// [`PlanError`] if the plan is invalid or cannot be written.
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
                "not a workload plan",
            ),
            (r#"{"containers": {"99": {"trace": "337"}}}"#, "not a workload plan"),
            (r#"{"sped": 1}"#, "not a workload plan"),
        ] {
            let error = load(bad).unwrap_err();
            assert!(error.to_string().contains(why), "{bad}: {error}");
        }
    }
}
