//! What a machine does for `pct`: starting, stopping and limiting containers.
//!
//! [`Engine`] is the interface. [`SimulatedEngine`] acts on the cgroup files of the tree, which the simulated kernel
//! reads and advances; [`LxcEngine`] acts on real containers and on this machine's own cgroups. Both keep Proxmox's
//! layout: limits on `lxc/<id>`, processes in `lxc/<id>/ns`.

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

/// The limits in a container's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct GuestLimits {
    /// Memory.
    pub memory: Mebibytes,
    /// Swap in addition to memory.
    pub swap: Mebibytes,
    /// CPU quota in cores.
    pub cpulimit: Option<f64>,
    /// CPU weight.
    pub cpuunits: Option<u32>,
    /// Size of the cpuset; `None` for all CPUs.
    pub cores: Option<u32>,
    /// CPUs that it is pinned to by a raw `lxc.cgroup2.cpuset.cpus` line.
    pub pinned_cpuset: Option<String>,
}

/// A container, as far as the machine needs to know it.
#[derive(Clone, Debug, PartialEq)]
pub struct Guest {
    /// Its id.
    pub id: Vmid,
    /// Its host name.
    pub hostname: String,
    /// What it may use.
    pub limits: GuestLimits,
    /// The directory of its root file system.
    pub rootfs: PathBuf,
}

/// What a machine does for `pct`.
///
/// Limits can be changed on running containers only; on others the call fails as it does for a missing cgroup file.
pub trait Engine {
    /// The cgroup version that limits them.
    fn cgroup_version(&self) -> CgroupVersion;

    /// The running containers.
    ///
    /// # Errors
    /// [`EngineError`] if the table of sockets cannot be read.
    fn running(&self) -> Result<RunningTable, EngineError>;

    /// Fills a new, empty root file system.
    ///
    /// # Errors
    /// [`EngineError`] if it cannot be filled.
    fn create(&self, guest: &Guest) -> Result<(), EngineError>;

    /// Takes over the root file system of another container, after it was copied.
    ///
    /// # Errors
    /// [`EngineError`] if the machine's own files of the container cannot be written.
    fn adopt(&self, source: Vmid, guest: &Guest) -> Result<(), EngineError>;

    /// Starts a container with its limits.
    ///
    /// # Errors
    /// [`EngineError`] if it does not start.
    fn start(&self, guest: &Guest) -> Result<(), EngineError>;

    /// Stops a container at once. A container that is not running is left alone.
    ///
    /// # Errors
    /// [`EngineError`] if it continues to run.
    fn kill(&self, id: Vmid) -> Result<(), EngineError>;

    /// Asks a container's init to stop and waits.
    ///
    /// # Errors
    /// [`EngineError`] if it did not stop in time.
    fn shutdown(&self, id: Vmid, timeout: Duration) -> Result<(), EngineError>;

    /// Removes a container that is not running; its volumes are not the engine's concern.
    ///
    /// # Errors
    /// [`EngineError`] if something of it remains.
    fn destroy(&self, id: Vmid) -> Result<(), EngineError>;

    /// Sets the CPU quota in cores; `None` removes it.
    ///
    /// # Errors
    /// [`EngineError::Refused`] if the kernel refuses the value.
    fn set_cpu_limit(&self, id: Vmid, cores: Option<f64>) -> Result<(), EngineError>;

    /// Sets the CPU weight; `None` restores the default.
    ///
    /// # Errors
    /// [`EngineError`] if the weight is out of range or the kernel refuses it.
    fn set_cpu_units(&self, id: Vmid, units: Option<u32>) -> Result<(), EngineError>;

    /// Sets memory, swap, or both in one step; `None` leaves a value as it is.
    ///
    /// # Errors
    /// [`EngineError::Refused`] if the kernel refuses the values.
    fn set_memory(
        &self,
        id: Vmid,
        memory: Option<Mebibytes>,
        swap: Option<Mebibytes>,
    ) -> Result<(), EngineError>;

    /// The CPUs that containers may be spread over.
    ///
    /// # Errors
    /// [`EngineError`] if they cannot be read.
    fn cpus(&self) -> Result<CpuSet, EngineError>;

    /// The CPUs that a running container may use.
    ///
    /// # Errors
    /// [`EngineError`] if they cannot be read.
    fn cpuset(&self, id: Vmid) -> Result<CpuSet, EngineError>;

    /// Gives a running container these CPUs.
    ///
    /// # Errors
    /// [`EngineError::Refused`] if the kernel refuses them.
    fn set_cpuset(&self, id: Vmid, cpus: &CpuSet) -> Result<(), EngineError>;

    /// The resource usage of a running container.
    ///
    /// # Errors
    /// [`EngineError`] if its files cannot be read.
    fn usage(&self, id: Vmid) -> Result<Usage, EngineError>;

    /// Runs a command in a running container, with this process's standard streams; returns its exit status.
    ///
    /// # Errors
    /// [`EngineError`] if nothing can be run there.
    fn exec(&self, id: Vmid, command: &[String], keep_environment: bool) -> Result<u8, EngineError>;
}

/// Opens the engine named in the node's settings.
///
/// # Errors
/// [`EngineError`] if this machine does not support it.
pub fn open(layout: &NodeLayout, settings: &NodeSettings) -> Result<Box<dyn Engine>, EngineError> {
    Ok(match settings.engine {
        EngineKind::Simulated => Box::new(SimulatedEngine::new(layout, settings)),
        EngineKind::Lxc => Box::new(LxcEngine::new(layout)?),
    })
}
