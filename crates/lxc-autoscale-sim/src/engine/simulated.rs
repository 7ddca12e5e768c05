//! Containers that consist of files: the effect on the tree of starting, stopping and limiting one.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use lxc_autoscale_core::{Mebibytes, Vmid};

use super::cgroup::{CgroupFiles, Kernel};
use super::initial::initial_files;
use super::usage::Sources;
use super::{CpuSet, Engine, EngineError, Guest, Placement, Usage, plan_cpusets};
use crate::node::running::{add_running, remove_running};
use crate::node::{
    CgroupVersion, NodeError, NodeLayout, NodeLock, NodeSettings, RunningTable, read_text, remove_tree,
    running, write_atomically,
};

/// Acts on the tree's files, which a simulated kernel reads and advances.
#[derive(Clone, Debug)]
pub struct SimulatedEngine {
    layout: NodeLayout,
    cgroup: CgroupFiles,
    cpus: CpuSet,
}

impl SimulatedEngine {
    /// The engine of a node made by [`create_node`](crate::node::create_node).
    pub fn new(layout: &NodeLayout, settings: &NodeSettings) -> Self {
        Self {
            layout: layout.clone(),
            cgroup: CgroupFiles::new(layout.cgroup(), settings.cgroup, Kernel::Simulated),
            cpus: CpuSet::first(settings.cpus),
        }
    }

    /// The CPUs for a starting container: those with the fewest containers.
    fn first_cpuset(&self, guest: &Guest) -> Result<CpuSet, EngineError> {
        if let Some(pinned) = &guest.limits.pinned_cpuset {
            let path = self.layout.config(guest.id);
            let pinned: CpuSet = pinned.parse().map_err(|source| EngineError::CpuSet { path, source })?;
            return Ok(pinned.iter().filter(|&cpu| self.cpus.contains(cpu)).collect());
        }
        let mut placements = Vec::new();
        for &id in self.running()?.ids() {
            placements.push(Placement { id, cores: None, pinned: true, cpus: self.cpuset(id)? });
        }
        placements.push(Placement {
            id: guest.id,
            cores: guest.limits.cores,
            pinned: false,
            cpus: CpuSet::default(),
        });
        let last = plan_cpusets(&placements, &self.cpus).pop();
        Ok(last.map_or_else(|| self.cpus.clone(), |change| change.cpus))
    }

    /// Creates the cgroups of a starting container.
    fn create_cgroups(&self, guest: &Guest, pid: u32) -> Result<(), EngineError> {
        let cpus = self.first_cpuset(guest)?;
        for file in initial_files(self.cgroup.version(), &guest.limits, &cpus, &self.cpus) {
            let outer = self.cgroup.group(file.controller, guest.id);
            create_file(&outer.join(file.name), &file.outer)?;
            create_file(&outer.join("ns").join(file.name), &file.inner)?;
        }
        for outer in self.groups(guest.id) {
            create_file(&outer.join("cgroup.procs"), "")?;
            create_file(&outer.join("ns/cgroup.procs"), &format!("{pid}\n"))?;
            create_file(&monitor_group(&outer)?.join("cgroup.procs"), &format!("{}\n", pid - 1))?;
        }
        Ok(())
    }

    /// The container's group in each hierarchy.
    fn groups(&self, id: Vmid) -> Vec<std::path::PathBuf> {
        match self.cgroup.version() {
            CgroupVersion::V2 => vec![self.cgroup.group("", id)],
            CgroupVersion::V1 => NodeLayout::V1_CONTROLLERS
                .iter()
                .map(|controller| self.cgroup.group(controller, id))
                .collect(),
        }
    }

    /// Creates the files of the container's init in `/proc`.
    fn create_process(&self, guest: &Guest, pid: u32) -> Result<(), EngineError> {
        let directory = self.layout.proc().join(pid.to_string());
        let uptime = read_text(&self.layout.proc().join("uptime"))?;
        let seconds: f64 =
            uptime.split_ascii_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
        let ticks = (seconds * 100.0).trunc();
        let parent = pid - 1;
        create_file(
            &directory.join("stat"),
            &format!(
                "{pid} (init) S {parent} {pid} {pid} 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 {ticks} 0 0\n"
            ),
        )?;
        create_file(
            &directory.join("status"),
            &format!("Name:\tinit\nState:\tS (sleeping)\nPid:\t{pid}\nPPid:\t{parent}\nNSpid:\t{pid}\t1\n"),
        )?;
        create_file(&directory.join("cgroup"), &format!("0::/lxc/{}/ns\n", guest.id))?;
        let root = directory.join("root");
        match symlink(&guest.rootfs, &root) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(NodeError::file("link", &root)(error))?
            }
            _ => Ok(()),
        }
    }

    /// A process id that no container has had before; init's parent has the one below it.
    fn next_pid(&self) -> Result<u32, EngineError> {
        let path = self.layout.root().join("var/lib/sim/last-pid");
        let last = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().unwrap_or(1000),
            Err(_) => 1000,
        };
        let pid = last + 2;
        write_atomically(&path, &format!("{pid}\n"))?;
        Ok(pid)
    }

    fn init_pid(&self, id: Vmid) -> Result<Option<u32>, EngineError> {
        let group = self.groups(id).remove(0);
        Ok(read_text(&group.join("ns/cgroup.procs"))?.lines().find_map(|line| line.trim().parse().ok()))
    }

    /// Removes everything of a running container from the tree; the caller holds the node's lock.
    fn remove(&self, lock: &NodeLock, id: Vmid) -> Result<(), EngineError> {
        remove_running(lock, &self.layout, id)?;
        let pid = self.init_pid(id).ok().flatten();
        for group in self.groups(id) {
            remove_tree(&monitor_group(&group)?)?;
            remove_tree(&group)?;
        }
        if let Some(pid) = pid {
            remove_tree(&self.layout.proc().join(pid.to_string()))?;
        }
        Ok(())
    }
}

/// `lxc.monitor/<id>` beside `lxc/<id>`.
fn monitor_group(group: &Path) -> Result<std::path::PathBuf, EngineError> {
    let unreadable =
        || EngineError::Unreadable { path: group.to_owned(), text: "no `lxc/<id>` group".to_owned() };
    let id = group.file_name().ok_or_else(unreadable)?;
    let hierarchy = group.parent().and_then(Path::parent).ok_or_else(unreadable)?;
    Ok(hierarchy.join("lxc.monitor").join(id))
}

fn create_file(path: &Path, content: &str) -> Result<(), NodeError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(NodeError::file("create", parent))?;
    }
    fs::write(path, content).map_err(NodeError::file("write", path))
}

impl Engine for SimulatedEngine {
    fn cgroup_version(&self) -> CgroupVersion {
        self.cgroup.version()
    }

    fn running(&self) -> Result<RunningTable, EngineError> {
        Ok(running(&self.layout)?)
    }

    fn create(&self, guest: &Guest) -> Result<(), EngineError> {
        let path = self.layout.container(guest.id);
        Ok(fs::create_dir_all(&path).map_err(NodeError::file("create", &path))?)
    }

    fn adopt(&self, _source: Vmid, guest: &Guest) -> Result<(), EngineError> {
        self.create(guest)
    }

    fn start(&self, guest: &Guest) -> Result<(), EngineError> {
        let lock = NodeLock::acquire(&self.layout)?;
        // Directories of an earlier run may have been left behind.
        self.remove(&lock, guest.id)?;
        self.create(guest)?;
        let pid = self.next_pid()?;
        self.create_cgroups(guest, pid)?;
        self.create_process(guest, pid)?;
        // Last, because from here on every reader believes that it is running.
        Ok(add_running(&lock, &self.layout, guest.id)?)
    }

    fn kill(&self, id: Vmid) -> Result<(), EngineError> {
        let lock = NodeLock::acquire(&self.layout)?;
        self.remove(&lock, id)
    }

    fn shutdown(&self, id: Vmid, _timeout: Duration) -> Result<(), EngineError> {
        self.kill(id)
    }

    fn destroy(&self, id: Vmid) -> Result<(), EngineError> {
        Ok(remove_tree(&self.layout.container(id))?)
    }

    fn set_cpu_limit(&self, id: Vmid, cores: Option<f64>) -> Result<(), EngineError> {
        self.cgroup.set_cpu_limit(id, cores)
    }

    fn set_cpu_units(&self, id: Vmid, units: Option<u32>) -> Result<(), EngineError> {
        self.cgroup.set_cpu_units(id, units)
    }

    fn set_memory(
        &self,
        id: Vmid,
        memory: Option<Mebibytes>,
        swap: Option<Mebibytes>,
    ) -> Result<(), EngineError> {
        self.cgroup.set_memory(id, memory, swap)
    }

    fn cpus(&self) -> Result<CpuSet, EngineError> {
        Ok(self.cpus.clone())
    }

    fn cpuset(&self, id: Vmid) -> Result<CpuSet, EngineError> {
        self.cgroup.cpuset(id)
    }

    fn set_cpuset(&self, id: Vmid, cpus: &CpuSet) -> Result<(), EngineError> {
        self.cgroup.set_cpuset(id, cpus, &self.cpus)
    }

    fn usage(&self, id: Vmid) -> Result<Usage, EngineError> {
        let sources = Sources {
            cgroup: self.cgroup.mount(),
            version: self.cgroup.version(),
            proc: &self.layout.proc(),
        };
        sources.read(id, self.init_pid(id)?)
    }

    fn exec(&self, id: Vmid, _command: &[String], _keep_environment: bool) -> Result<u8, EngineError> {
        Err(EngineError::NothingRuns(id))
    }
}
