//! The loop that drives the kernel: it reads what `pct` wrote, advances the machine, and writes the result.
//!
//! Every tick reads the running containers from `/proc/net/unix` and their limits from the files that `pct` writes.
//! The loop itself writes no limits, except for the part of pvestatd on a real node: about every ten seconds, the
//! configured `cores` become cpusets. If the OOM killer kills an init, the container is stopped through the engine,
//! as its monitor process would do.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use lxc_autoscale_core::Vmid;

use super::files::{proc, v1, v2};
use super::limit_files::{LimitError, read_limits};
use super::limits::Limits;
use super::machine::Machine;
use super::memory::Killed;
use super::node::Capacity;
use super::tree::TreeWriter;
use crate::engine::EngineError;
use crate::node::{CgroupVersion, NodeError, NodeLayout, NodeSettings};
use crate::pve;
use crate::pve::error::PctError;
use crate::workload::{Plan, PlanError};

/// How often the machine is advanced and its files are written.
///
/// A reader may come just before a tick or just after it, so a rate over two seconds is accurate to a twentieth.
pub const TICK: Duration = Duration::from_millis(100);
/// The cycle of pvestatd on a real node.
pub const REBALANCE: Duration = Duration::from_secs(10);
/// If a tick comes later than this because this machine was busy, the delay is not made up for at once, which would
/// look like more CPU than there is, but …
const LONGEST_TICK_SECONDS: f64 = 0.2;
/// … by running faster than the clock by this share until it is made up for.
const CATCH_UP: f64 = 0.03;

/// Why the kernel had to stop.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The tree cannot be read or written.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The engine failed.
    #[error("the simulated kernel cannot act on a container")]
    Engine(#[from] EngineError),
    /// The node cannot be opened, or its containers cannot be listed.
    #[error("the simulated kernel cannot look at the node")]
    Guests(#[from] PctError),
    /// The workload plan is invalid.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A running container's limits cannot be read.
    #[error("the limits of container {id} are not known")]
    Limits {
        /// The container.
        id: Vmid,
        /// Why not.
        source: LimitError,
    },
    /// Its thread panicked, which is a defect in this program.
    #[error("the simulated kernel's thread crashed")]
    Crashed,
}

/// The kernel of one node.
#[derive(Debug)]
pub struct Clockwork {
    layout: NodeLayout,
    version: CgroupVersion,
    guests: pve::Machine,
    machine: Machine,
    tree: TreeWriter,
    plan: Plan,
    plan_changed: Option<SystemTime>,
    /// The containers that were running in the last tick, with their init and limits.
    known: BTreeMap<Vmid, Known>,
    boot_time_seconds: u64,
    rebalance_every: Duration,
    since_rebalance: f64,
}

#[derive(Debug)]
struct Known {
    /// Host pid of init; a different one means that the container was restarted.
    init: Option<u32>,
    limits: Limits,
}

/// How far to advance after this many seconds; the rest is added to `owed`.
fn step(elapsed: f64, owed: &mut f64) -> f64 {
    let now = elapsed.min(LONGEST_TICK_SECONDS);
    let made_up = owed.min(now * CATCH_UP);
    *owed += elapsed - now - made_up;
    now + made_up
}

/// The capacity of a node with these settings.
pub fn capacity(settings: &NodeSettings) -> Capacity {
    let bytes = |mebibytes: lxc_autoscale_core::Mebibytes| mebibytes.as_f64() * 1024.0 * 1024.0;
    Capacity {
        cpus: f64::from(settings.cpus),
        memory_bytes: bytes(settings.memory),
        swap_bytes: bytes(settings.swap),
    }
}

impl Clockwork {
    /// Takes over a node's tree, and writes the current state to it. `machine` is the state so far, and
    /// `boot_time_seconds` the time it began at.
    ///
    /// # Errors
    /// [`KernelError`] if the tree is not that of a simulated node, or cannot be written.
    pub fn new(
        layout: NodeLayout,
        machine: Machine,
        boot_time_seconds: u64,
        rebalance_every: Duration,
    ) -> Result<Self, KernelError> {
        let guests = pve::Machine::open(&layout)?;
        let tree = TreeWriter::new(layout.root().join("var/lib/sim/staging"))?;
        for directory in ["net", "pressure"].map(|name| layout.proc().join(name)) {
            fs::create_dir_all(&directory).map_err(NodeError::file("create", &directory))?;
        }
        let plan = Plan::load(&layout)?;
        let mut clockwork = Self {
            version: guests.settings.cgroup,
            guests,
            machine,
            tree,
            plan,
            plan_changed: None,
            known: BTreeMap::new(),
            boot_time_seconds,
            rebalance_every,
            // The first cycle is due at once.
            since_rebalance: f64::INFINITY,
            layout,
        };
        clockwork.reload_plan()?;
        let limits = clockwork.read_running()?;
        clockwork.show(&limits)?;
        Ok(clockwork)
    }

    /// Advances the node until `stop` is set.
    ///
    /// # Errors
    /// [`KernelError`] if the tree or the engine fails; then the files no longer change.
    pub fn run(&mut self, stop: &AtomicBool) -> Result<(), KernelError> {
        let mut last = Instant::now();
        let mut owed = 0.0;
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(TICK.saturating_sub(last.elapsed()));
            let now = Instant::now();
            let seconds = step(now.duration_since(last).as_secs_f64(), &mut owed);
            last = now;
            self.tick(seconds)?;
        }
        Ok(())
    }

    /// One tick.
    ///
    /// # Errors
    /// [`KernelError`] if the tree or the engine fails.
    pub fn tick(&mut self, seconds: f64) -> Result<(), KernelError> {
        self.reload_plan()?;
        self.since_rebalance += seconds;
        if self.rebalance_every.as_secs_f64() <= self.since_rebalance {
            self.guests.rebalance()?;
            self.since_rebalance = 0.0;
        }
        let limits = self.read_running()?;
        let killed = self.machine.tick(&self.plan, &limits, seconds);
        self.show(&limits)?;
        for (id, killed) in killed {
            if killed == Killed::Init {
                self.guests.engine.kill(id)?;
                self.forget(id);
            }
        }
        Ok(())
    }

    /// The state of the node.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Reads a plan that was written since the last tick.
    fn reload_plan(&mut self) -> Result<(), KernelError> {
        let changed = fs::metadata(Plan::path(&self.layout)).and_then(|metadata| metadata.modified()).ok();
        if changed != self.plan_changed {
            self.plan = Plan::load(&self.layout)?;
            self.plan_changed = changed;
        }
        Ok(())
    }

    /// The running containers and their limits; notices containers that were stopped or restarted.
    fn read_running(&mut self) -> Result<BTreeMap<Vmid, Limits>, KernelError> {
        let running = self.guests.engine.running()?;
        let gone: Vec<Vmid> = self.known.keys().copied().filter(|id| !running.contains(*id)).collect();
        for id in gone {
            self.forget(id);
        }
        let mut limits = BTreeMap::new();
        for &id in running.ids() {
            let init = self.init_pid(id);
            if self.known.get(&id).is_some_and(|known| known.init != init) {
                self.forget(id);
            }
            let read = match read_limits(&self.layout, self.version, id) {
                Ok(read) => read,
                // It is stopping at this moment.
                Err(error) if error.is_missing() => continue,
                Err(source) => match self.known.get(&id) {
                    // A kernel would have refused such a value and kept the old one.
                    Some(known) => known.limits,
                    None => return Err(KernelError::Limits { id, source }),
                },
            };
            self.known.insert(id, Known { init, limits: read });
            limits.insert(id, read);
        }
        Ok(limits)
    }

    fn forget(&mut self, id: Vmid) {
        self.machine.restart(id);
        self.known.remove(&id);
        for directory in self.cgroups(id) {
            self.tree.forget(&directory);
        }
        if self.version == CgroupVersion::V1 {
            // The pressure files of v1 belong to this kernel only, so it does not matter if some of them remain.
            let _ = fs::remove_dir_all(self.unified(id));
        }
    }

    /// Writes the files that have changed.
    fn show(&mut self, limits: &BTreeMap<Vmid, Limits>) -> Result<(), KernelError> {
        let proc = self.layout.proc();
        for (name, text) in proc::node_files(&self.machine.node, self.boot_time_seconds) {
            self.tree.put(proc.join(name), text)?;
        }
        for (id, container) in &self.machine.node.containers {
            match self.version {
                CgroupVersion::V2 => {
                    let cgroup = self.layout.container_cgroup(self.version, "", *id);
                    for (name, text) in v2::container_files(container) {
                        self.tree.put(cgroup.join(name), text)?;
                    }
                }
                CgroupVersion::V1 => {
                    let unified = self.unified(*id);
                    fs::create_dir_all(&unified).map_err(NodeError::file("create", &unified))?;
                    let limits = limits.get(id).copied().unwrap_or_default();
                    for (controller, (name, text)) in v1::container_files(container, &limits) {
                        let cgroup = self.layout.container_cgroup(self.version, controller, *id);
                        self.tree.put(cgroup.join(name), text)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn init_pid(&self, id: Vmid) -> Option<u32> {
        let cgroup = self.cgroups(id).into_iter().next()?;
        let text = fs::read_to_string(cgroup.join("ns/cgroup.procs")).ok()?;
        text.lines().next()?.trim().parse().ok()
    }

    fn cgroups(&self, id: Vmid) -> Vec<PathBuf> {
        let group = |controller| self.layout.container_cgroup(self.version, controller, id);
        match self.version {
            CgroupVersion::V2 => vec![group("")],
            CgroupVersion::V1 => {
                NodeLayout::V1_CONTROLLERS.into_iter().chain(["unified"]).map(group).collect()
            }
        }
    }

    fn unified(&self, id: Vmid) -> PathBuf {
        self.layout.container_cgroup(CgroupVersion::V1, "unified", id)
    }
}

#[cfg(test)]
#[path = "clockwork_tests.rs"]
mod tests;
