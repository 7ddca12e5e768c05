//! The node a demo plays on.

use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::configs::NodeRoots;
use super::paths::DemoPaths;
use super::real::RealStage;
use super::watch::CounterFiles;
use crate::boot::{BootError, RunningKernel, boot, make};
use crate::fleet::{self, Member};
use crate::kernel::clockwork::{self, KernelError};
use crate::node::{NodeError, NodeSettings};
use crate::past::{Filesystem, Past, PastError};
use crate::workload::{Plan, PlanError};

/// How long the recorded past is.
pub const PAST: SignedDuration = SignedDuration::from_hours(72);
/// A demo is short, so cpusets follow `cores` sooner than the ten seconds of a real node.
pub const REBALANCE: Duration = Duration::from_secs(4);

/// Why there is no node to play on.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// It did not come up.
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
    /// Real containers need what this machine or user does not have.
    #[error("real containers need {0}")]
    Requirement(&'static str),
}

/// The node, up and running.
#[derive(Debug)]
pub struct Stage {
    /// Where the daemons find it.
    pub roots: NodeRoots,
    /// Where its counters are.
    pub counters: CounterFiles,
    /// CPUs it has.
    pub cpus: u32,
    /// What keeps it going.
    motor: Motor,
}

#[derive(Debug)]
enum Motor {
    Simulated(RunningKernel),
    Real(RealStage),
}

impl Stage {
    /// A simulated node with days behind it.
    ///
    /// # Errors
    /// [`StageError`] when a part of it cannot be made.
    pub fn simulated(paths: &DemoPaths, seed: u64, times_faster: f64) -> Result<Self, StageError> {
        let layout = paths.node();
        let members = fleet::members();
        let settings = fleet::node_settings();
        make(&layout, &settings, &members, &paths.bin())?;
        let plan = fleet::plan(&members, seed, times_faster);
        plan.save(&layout)?;
        boot(&layout, true)?;
        let now = Timestamp::now();
        let machine = record_past(paths, &settings, &members, &plan, now)?;
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

    /// Real containers on this machine's own kernel.
    ///
    /// # Errors
    /// [`StageError`] when this machine cannot run them; what was begun is taken down again.
    pub fn real(paths: &DemoPaths, seed: u64, n_containers: u32) -> Result<Self, StageError> {
        let layout = paths.node();
        let stage = RealStage::start(paths, seed, n_containers)?;
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

    /// Whether what keeps it going has ended by itself.
    pub fn has_ended(&self) -> bool {
        match &self.motor {
            Motor::Simulated(kernel) => kernel.has_ended(),
            Motor::Real(stage) => stage.has_ended(),
        }
    }

    /// Takes it down.
    ///
    /// # Errors
    /// [`StageError`] when it failed before, or something of it remains.
    pub fn take_down(self) -> Result<(), StageError> {
        match self.motor {
            Motor::Simulated(kernel) => Ok(kernel.stop()?),
            Motor::Real(stage) => stage.take_down(),
        }
    }
}

/// Writes the past of a node into the metrics file; returns the machine as it is afterwards.
pub(super) fn record_past(
    paths: &DemoPaths,
    settings: &NodeSettings,
    members: &[Member],
    plan: &Plan,
    end: Timestamp,
) -> Result<crate::kernel::machine::Machine, StageError> {
    let past = Past {
        capacity: clockwork::capacity(settings),
        node_name: &settings.name,
        members,
        plan,
        filesystem: Filesystem::of(paths.root())?,
        end,
        duration: PAST,
    };
    Ok(past.write(&paths.metrics())?)
}
