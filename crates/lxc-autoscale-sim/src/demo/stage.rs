//! The node of a demo.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::snapshot::Snapshot;

use super::configs::NodeRoots;
use super::paths::DemoPaths;
use super::real::RealStage;
use super::watch::CounterFiles;
use crate::boot::{BootError, RunningKernel, boot, make};
use crate::fleet;
use crate::kernel::clockwork::{self, KernelError};
use crate::node::NodeError;
use crate::past::{Filesystem, Past, PastError, repeat, write_file};
use crate::workload::PlanError;

/// Length of the recorded past.
pub const PAST: SignedDuration = SignedDuration::from_hours(72);
/// How many times the present of real containers is measured before it is repeated …
const PRESENT_SAMPLES: u32 = 5;
/// … and how long each measurement lasts.
const PRESENT_INTERVAL: Duration = Duration::from_millis(1500);
/// A demo is short, so cpusets follow `cores` sooner than after the ten seconds of a real node.
pub const REBALANCE: Duration = Duration::from_secs(4);

/// Why there is no node.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// It could not be booted.
    #[error("the node cannot be booted")]
    Boot(#[from] BootError),
    /// Its tree cannot be written.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The workload plan cannot be written.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The past cannot be written.
    #[error(transparent)]
    Past(#[from] PastError),
    /// The simulated kernel failed.
    #[error("the simulated kernel failed")]
    Kernel(#[from] KernelError),
    /// The monitor did not measure the containers.
    #[error("`{}` did not measure the containers", monitor.display())]
    Measure {
        /// The program.
        monitor: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// More containers were asked for than the simulated node has.
    #[error("the simulated node has {has} containers; --ct {asked} asks for more")]
    TooMany {
        /// The number asked for.
        asked: u32,
        /// The number available.
        has: usize,
    },
    /// This machine or user lacks something that real containers need.
    #[error("real containers need {0}")]
    Requirement(&'static str),
}

/// A running node.
#[derive(Debug)]
pub struct Stage {
    /// Its paths, for the daemons.
    pub roots: NodeRoots,
    /// The paths of its counters.
    pub counters: CounterFiles,
    /// Its number of CPUs.
    pub cpus: u32,
    /// The part that keeps it running.
    motor: Motor,
}

#[derive(Debug)]
enum Motor {
    Simulated(RunningKernel),
    Real(RealStage),
}

impl Stage {
    /// A simulated node with a recorded past, with all of its containers or the first `n_containers`.
    ///
    /// # Errors
    /// [`StageError`] if a part of it cannot be created.
    pub fn simulated(
        paths: &DemoPaths,
        n_containers: Option<u32>,
        seed: u64,
        times_faster: f64,
    ) -> Result<Self, StageError> {
        let layout = paths.node();
        let mut members = fleet::members();
        if let Some(asked) = n_containers {
            let has = members.len();
            let n = usize::try_from(asked).ok().filter(|n| *n <= has);
            members.truncate(n.ok_or(StageError::TooMany { asked, has })?);
        }
        let settings = fleet::node_settings();
        make(&layout, &settings, &members, &paths.bin())?;
        let plan = fleet::plan(&members, seed, times_faster);
        plan.save(&layout)?;
        boot(&layout, true)?;
        let now = Timestamp::now();
        let past = Past {
            capacity: clockwork::capacity(&settings),
            node_name: &settings.name,
            members: &members,
            plan: &plan,
            filesystem: Filesystem::of(paths.root())?,
            end: now,
            duration: PAST,
        };
        let machine = past.write(&paths.metrics())?;
        let boot_time = u64::try_from(now.as_second() - PAST.as_secs()).unwrap_or(0);
        let kernel = RunningKernel::start(layout.clone(), machine, boot_time, REBALANCE)?;
        Ok(Self {
            roots: NodeRoots {
                cgroup: layout.cgroup(),
                proc: layout.proc(),
                sys: layout.root().join("sys"),
                pve: layout.etc_pve(),
                lxc: PathBuf::from("/var/lib/lxc"),
            },
            counters: CounterFiles { cgroup: layout.cgroup(), version: settings.cgroup },
            cpus: settings.cpus,
            motor: Motor::Simulated(kernel),
        })
    }

    /// Real containers on this machine's own kernel. They have no recorded past yet.
    ///
    /// # Errors
    /// [`StageError`] if this machine cannot run them; then everything is removed again.
    pub fn real(paths: &DemoPaths, n_containers: u32) -> Result<Self, StageError> {
        let layout = paths.node();
        let stage = RealStage::start(paths, n_containers)?;
        Ok(Self {
            roots: NodeRoots {
                cgroup: "/sys/fs/cgroup".into(),
                proc: "/proc".into(),
                sys: "/sys".into(),
                pve: layout.etc_pve(),
                lxc: layout.containers(),
            },
            counters: CounterFiles { cgroup: "/sys/fs/cgroup".into(), version: stage.cgroup_version() },
            cpus: stage.cpus(),
            motor: Motor::Real(stage),
        })
    }

    /// Gives real containers a past: their present, measured by the monitor itself and repeated.
    ///
    /// # Errors
    /// [`StageError`] if the monitor does not measure, or the file cannot be written.
    pub fn repeat_present(&self, paths: &DemoPaths, monitor: &Path, config: &Path) -> Result<(), StageError> {
        if matches!(self.motor, Motor::Simulated(_)) {
            return Ok(());
        }
        let measured =
            (0..PRESENT_SAMPLES).map(|_| measure(monitor, config)).collect::<Result<Vec<_>, _>>()?;
        Ok(write_file(&paths.metrics(), |each| repeat(&measured, Timestamp::now(), PAST, each))?)
    }

    /// Whether the part that keeps it running has ended by itself.
    pub fn has_ended(&self) -> bool {
        match &self.motor {
            Motor::Simulated(kernel) => kernel.has_ended(),
            Motor::Real(stage) => stage.has_ended(),
        }
    }

    /// Takes it down.
    ///
    /// # Errors
    /// [`StageError`] if it had failed before, or a part of it remains.
    pub fn take_down(self) -> Result<(), StageError> {
        match self.motor {
            Motor::Simulated(kernel) => Ok(kernel.stop()?),
            Motor::Real(stage) => stage.take_down(),
        }
    }
}

/// One snapshot, as printed by `lxc-monitor once`.
fn measure(monitor: &Path, config: &Path) -> Result<Snapshot, StageError> {
    let failed = |source| StageError::Measure { monitor: monitor.to_owned(), source };
    let interval = PRESENT_INTERVAL.as_millis().to_string();
    let done = Command::new(monitor)
        .args(["once", "--interval-ms", &interval, "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(failed)?;
    serde_json::from_slice(&done.stdout).map_err(|error| failed(error.into()))
}
