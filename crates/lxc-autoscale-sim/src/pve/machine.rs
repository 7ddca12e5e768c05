//! Everything that a call works with.

use std::cell::Cell;
use std::io::Write;
use std::time::Duration;

use lxc_autoscale_core::Vmid;

use super::config::{GuestConfig, Section, VolumeId, parse_property_string, parse_size_bytes};
use super::error::PctError;
use super::lock::ConfigLock;
use super::storage::VolumeStore;
use super::store::{ConfigStore, Loaded};
use super::terminal::Terminal;
use crate::engine::{self, Engine, Guest, GuestLimits, Placement, plan_cpusets};
use crate::node::{NodeLayout, NodeSettings};

/// A node for `pct`: its tree, its engine, its configurations, its volumes.
pub struct Machine {
    /// The tree.
    pub layout: NodeLayout,
    /// Its settings.
    pub settings: NodeSettings,
    /// What runs its containers.
    pub engine: Box<dyn Engine>,
    /// Their configurations.
    pub store: ConfigStore,
    /// Their volumes.
    pub volumes: VolumeStore,
    /// The caller, as named in tasks.
    pub user: String,
    /// Called with the name of each task when it begins.
    pub on_task: Option<TaskListener>,
    /// How many warnings its tasks have ended with.
    pub warnings: Cell<u32>,
}

/// Receives the name of a task when it begins.
pub type TaskListener = Box<dyn Fn(&str) + Send>;

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine")
            .field("layout", &self.layout)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Machine {
    /// Opens the node of a tree.
    ///
    /// # Errors
    /// [`PctError`] if the tree does not contain a node, or this machine cannot run it.
    pub fn open(layout: &NodeLayout) -> Result<Self, PctError> {
        let settings = NodeSettings::load(layout)?;
        Ok(Self {
            engine: engine::open(layout, &settings)?,
            store: ConfigStore::new(layout, &settings.name),
            volumes: VolumeStore::new(layout, &settings),
            layout: layout.clone(),
            settings,
            user: "root@pam".to_owned(),
            on_task: None,
            warnings: Cell::new(0),
        })
    }

    /// Reads a container's configuration; warnings go to standard error.
    ///
    /// # Errors
    /// Proxmox's text if there is none.
    pub fn load(&self, id: Vmid, terminal: &mut Terminal<'_>) -> Result<Loaded, PctError> {
        self.store.load(id, terminal.err)
    }

    /// Takes the lock of a container's configuration.
    ///
    /// # Errors
    /// Proxmox's text if another call holds it for too long.
    pub fn lock(&self, id: Vmid, terminal: &mut Terminal<'_>) -> Result<ConfigLock, PctError> {
        let timeout = Duration::from_secs(self.settings.lock_timeout_seconds);
        ConfigLock::acquire(&self.layout, id, timeout, terminal)
    }

    /// Whether the container is running.
    ///
    /// # Errors
    /// [`PctError::Engine`] if that cannot be determined.
    pub fn is_running(&self, id: Vmid) -> Result<bool, PctError> {
        Ok(self.engine.running()?.contains(id))
    }

    /// The container in the form that the engine needs; its root volume is created if it was never used.
    ///
    /// # Errors
    /// [`PctError`] if the configuration has no root volume.
    pub fn guest(&self, id: Vmid, section: &Section) -> Result<Guest, PctError> {
        let value = section.get("rootfs").unwrap_or_default();
        let volume = VolumeId::of_property(value)
            .ok_or_else(|| PctError::died(format!("unable to find root volume of CT {id}")))?;
        self.volumes.open(&volume, configured_bytes(value))?;
        let summary = section.summary();
        Ok(Guest {
            id,
            hostname: summary.name.clone().unwrap_or_else(|| format!("CT{id}")),
            limits: GuestLimits {
                memory: summary.memory_mb,
                swap: summary.swap_mb,
                cpulimit: summary.cpulimit,
                cpuunits: summary.cpuunits,
                cores: summary.cores,
                pinned_cpuset: summary.pinned_cpuset,
            },
            rootfs: self.volumes.rootfs(&volume),
        })
    }

    /// Runs one cycle of pvestatd's rebalancing, which turns `cores` into cpusets and spreads them. Returns the
    /// changes as Proxmox logs them.
    ///
    /// # Errors
    /// [`PctError`] if the running containers cannot be listed. A container that stops meanwhile is skipped.
    pub fn rebalance(&self) -> Result<Vec<String>, PctError> {
        let cpus = self.engine.cpus()?;
        let mut placements = Vec::new();
        for &id in self.engine.running()?.ids() {
            let (Ok(loaded), Ok(now)) = (self.store.load(id, &mut std::io::sink()), self.engine.cpuset(id))
            else {
                continue;
            };
            let summary = loaded.config.current.summary();
            let pinned = summary.pinned_cpuset.is_some();
            placements.push(Placement { id, cores: summary.cores, pinned, cpus: now });
        }
        let mut log = Vec::new();
        for change in plan_cpusets(&placements, &cpus) {
            if self.engine.set_cpuset(change.id, &change.cpus).is_ok() {
                log.push(format!("modified cpu set for lxc/{}: {}", change.id, change.cpus));
            }
        }
        Ok(log)
    }
}

/// The `size=` of a `rootfs` or `mpN` value, in bytes.
pub fn configured_bytes(value: &str) -> Option<u64> {
    parse_property_string(value, "volume")
        .iter()
        .find(|(key, _)| key == "size")
        .and_then(|(_, size)| parse_size_bytes(size))
}

/// Refuses the call if the container is locked.
///
/// # Errors
/// Proxmox's text.
pub fn check_lock(config: &GuestConfig) -> Result<(), PctError> {
    match config.current.get("lock") {
        Some(lock) => Err(PctError::died(format!("CT is locked ({lock})"))),
        None => Ok(()),
    }
}

/// Prints one line.
pub(super) fn say(out: &mut dyn Write, line: &str) -> Result<(), PctError> {
    Ok(writeln!(out, "{line}")?)
}
