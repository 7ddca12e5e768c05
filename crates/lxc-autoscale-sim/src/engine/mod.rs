//! What a machine does for `pct`: start and end containers, and limit them.
//!
//! [`Engine`] is the boundary. [`SimulatedEngine`] acts on the tree's cgroup files, which the simulated kernel
//! reads and advances; [`LxcEngine`] acts on real containers and on this machine's own cgroups. Both keep
//! Proxmox's layout: limits on `lxc/<id>`, processes in `lxc/<id>/ns`.

mod cgroup;
mod cpuset;
mod error;
mod initial;
mod kernel_rules;
mod lxc;
mod memory_limits;
mod rebalance;
mod simulated;
mod usage;

use std::path::PathBuf;
use std::time::Duration;

use lxc_autoscale_core::{Mebibytes, Vmid};

use crate::node::{CgroupVersion, EngineKind, NodeLayout, NodeSettings, RunningTable};

pub use cgroup::CgroupFiles;
pub use cpuset::{CpuSet, InvalidCpuSet};
pub use error::EngineError;
pub use initial::{InitialFile, initial_files};
pub use lxc::LxcEngine;
pub use memory_limits::memory_high_bytes;
pub use rebalance::{CpusetChange, Placement, plan_cpusets};
pub use simulated::SimulatedEngine;
pub use usage::Usage;

/// What the configuration allows a container.
#[derive(Clone, Debug, PartialEq)]
pub struct GuestLimits {
    /// Memory.
    pub memory: Mebibytes,
    /// Swap beside it.
    pub swap: Mebibytes,
    /// CPU quota in cores.
    pub cpulimit: Option<f64>,
    /// CPU weight.
    pub cpuunits: Option<u32>,
    /// Size of the cpuset; `None` for all CPUs.
    pub cores: Option<u32>,
    /// CPUs it is pinned to by a raw `lxc.cgroup2.cpuset.cpus` line.
    pub pinned_cpuset: Option<String>,
}

/// A container as the machine needs to know it.
#[derive(Clone, Debug, PartialEq)]
pub struct Guest {
    /// Its id.
    pub id: Vmid,
    /// Its host name.
    pub hostname: String,
    /// What it may use.
    pub limits: GuestLimits,
    /// The directory that is its root file system.
    pub rootfs: PathBuf,
}

/// What a machine does for `pct`.
///
/// Limits are changed on containers that run; on others the call fails as the missing cgroup file would.
pub trait Engine {
    /// The generation of the cgroup file system that limits them.
    fn cgroup_version(&self) -> CgroupVersion;

    /// The containers that run.
    ///
    /// # Errors
    /// [`EngineError`] when the table of sockets cannot be read.
    fn running(&self) -> Result<RunningTable, EngineError>;

    /// Fills a new, empty root file system.
    ///
    /// # Errors
    /// [`EngineError`] when it cannot be filled.
    fn create(&self, guest: &Guest) -> Result<(), EngineError>;

    /// Takes over the root file system of another container, which has been copied already.
    ///
    /// # Errors
    /// [`EngineError`] when the machine's own notes about the container cannot be written.
    fn adopt(&self, source: Vmid, guest: &Guest) -> Result<(), EngineError>;

    /// Starts a container with its limits.
    ///
    /// # Errors
    /// [`EngineError`] when it does not come up.
    fn start(&self, guest: &Guest) -> Result<(), EngineError>;

    /// Ends a container at once. One that does not run is left alone.
    ///
    /// # Errors
    /// [`EngineError`] when it goes on running.
    fn kill(&self, id: Vmid) -> Result<(), EngineError>;

    /// Asks a container's init to stop and waits.
    ///
    /// # Errors
    /// [`EngineError`] when it did not stop in time.
    fn shutdown(&self, id: Vmid, timeout: Duration) -> Result<(), EngineError>;

    /// Forgets a container that does not run; its volumes are not the engine's business.
    ///
    /// # Errors
    /// [`EngineError`] when something of it remains.
    fn destroy(&self, id: Vmid) -> Result<(), EngineError>;

    /// Sets the CPU quota in cores; `None` lifts it.
    ///
    /// # Errors
    /// [`EngineError::Refused`] when the kernel does not take the value.
    fn set_cpu_limit(&self, id: Vmid, cores: Option<f64>) -> Result<(), EngineError>;

    /// Sets the CPU weight; `None` restores the default.
    ///
    /// # Errors
    /// [`EngineError`] when the weight is out of range or the kernel refuses.
    fn set_cpu_units(&self, id: Vmid, units: Option<u32>) -> Result<(), EngineError>;

    /// Sets memory, swap, or both in one step; what is `None` stays.
    ///
    /// # Errors
    /// [`EngineError::Refused`] when the kernel does not take the values.
    fn set_memory(
        &self,
        id: Vmid,
        memory: Option<Mebibytes>,
        swap: Option<Mebibytes>,
    ) -> Result<(), EngineError>;

    /// The CPUs containers may be spread over.
    ///
    /// # Errors
    /// [`EngineError`] when they cannot be read.
    fn cpus(&self) -> Result<CpuSet, EngineError>;

    /// The CPUs a running container may use.
    ///
    /// # Errors
    /// [`EngineError`] when they cannot be read.
    fn cpuset(&self, id: Vmid) -> Result<CpuSet, EngineError>;

    /// Gives a running container these CPUs.
    ///
    /// # Errors
    /// [`EngineError::Refused`] when the kernel does not take them.
    fn set_cpuset(&self, id: Vmid, cpus: &CpuSet) -> Result<(), EngineError>;

    /// What a running container uses.
    ///
    /// # Errors
    /// [`EngineError`] when its files cannot be read.
    fn usage(&self, id: Vmid) -> Result<Usage, EngineError>;

    /// Runs a command in a running container, with this process's standard streams; returns its exit status.
    ///
    /// # Errors
    /// [`EngineError`] when nothing can be run there.
    fn exec(&self, id: Vmid, command: &[String], keep_environment: bool) -> Result<u8, EngineError>;
}

/// Opens the engine the node's settings name.
///
/// # Errors
/// [`EngineError`] when this machine cannot be what the settings ask for.
pub fn open(layout: &NodeLayout, settings: &NodeSettings) -> Result<Box<dyn Engine>, EngineError> {
    Ok(match settings.engine {
        EngineKind::Simulated => Box::new(SimulatedEngine::new(layout, settings)),
        EngineKind::Lxc => Box::new(LxcEngine::new(layout)?),
    })
}
