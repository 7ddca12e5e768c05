//! Real containers, through Debian's `lxc` tools and this machine's own cgroups.
//!
//! No Proxmox is needed: these are busybox containers, created below the node's `var/lib/lxc`, with Proxmox's cgroup
//! layout. They are limited by whatever this machine mounts at `/sys/fs/cgroup`.

mod config;
mod tool;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lxc_autoscale_core::{Mebibytes, Vmid};

use super::cgroup::{CgroupFiles, Kernel, read_cpuset};
use super::usage::Sources;
use super::{CpuSet, Engine, EngineError, Guest, Usage};
use crate::node::{
    CgroupVersion, NodeError, NodeLayout, RunningTable, read_text, remove_tree, write_atomically,
};

use config::{LimitNames, container_config};
use tool::{Tool, capture};

/// Acts on real containers.
#[derive(Clone, Debug)]
pub struct LxcEngine {
    containers: PathBuf,
    cgroup: CgroupFiles,
    proc: PathBuf,
}

impl LxcEngine {
    /// The engine for the containers below the node's `var/lib/lxc`.
    ///
    /// # Errors
    /// [`EngineError`] if this machine's cgroups cannot be read.
    pub fn new(layout: &NodeLayout) -> Result<Self, EngineError> {
        let mount = PathBuf::from("/sys/fs/cgroup");
        let version = match mount.join("cgroup.controllers").try_exists() {
            Ok(true) => CgroupVersion::V2,
            Ok(false) => CgroupVersion::V1,
            Err(error) => return Err(NodeError::file("read", &mount)(error).into()),
        };
        let containers = layout.containers();
        Ok(Self {
            containers: std::path::absolute(&containers).map_err(NodeError::file("resolve", &containers))?,
            cgroup: CgroupFiles::new(mount, version, Kernel::Real),
            proc: PathBuf::from("/proc"),
        })
    }

    fn config_file(&self, id: Vmid) -> PathBuf {
        self.containers.join(id.to_string()).join("config")
    }

    /// A call of an `lxc` tool for one container.
    fn tool(&self, program: &'static str, id: Vmid) -> Tool {
        Tool::new(program).arg("-n").arg(id.to_string()).arg("-P").arg(&self.containers)
    }

    /// Writes the configuration that the container is started with.
    fn write_config(&self, guest: &Guest, template: &str) -> Result<(), EngineError> {
        let names = LimitNames {
            version: self.cgroup.version(),
            // A kernel booted without swap accounting has no such file, and would refuse to start the container.
            has_swap_limit: self.cgroup.mount().join("memory/memory.memsw.limit_in_bytes").exists(),
        };
        let text = container_config(template, guest, names, &self.cpus()?);
        Ok(write_atomically(&self.config_file(guest.id), &text)?)
    }

    fn is_running(&self, id: Vmid) -> Result<bool, EngineError> {
        Ok(self.running()?.contains(id))
    }

    /// The host pid of the container's init.
    fn init_pid(&self, id: Vmid) -> Result<Option<u32>, EngineError> {
        let processes = read_text(&self.cgroup.group("memory", id).join("ns/cgroup.procs"))?;
        let pids = processes.lines().filter_map(|line| line.trim().parse::<u32>().ok());
        // A process that ends while the list is read was not init.
        Ok(pids.into_iter().find(|pid| {
            read_text(&self.proc.join(format!("{pid}/status"))).is_ok_and(|status| is_init(&status))
        }))
    }
}

/// Whether `/proc/<pid>/status` is that of a container's init, which is process 1 in a PID namespace one level down.
fn is_init(status: &str) -> bool {
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.is_some_and(|numbers| {
        let numbers: Vec<&str> = numbers.split_ascii_whitespace().collect();
        numbers.len() == 2 && numbers.last() == Some(&"1")
    })
}

impl Engine for LxcEngine {
    fn cgroup_version(&self) -> CgroupVersion {
        self.cgroup.version()
    }

    fn running(&self) -> Result<RunningTable, EngineError> {
        Ok(RunningTable::parse(&read_text(&self.proc.join("net/unix"))?, &self.containers))
    }

    fn create(&self, guest: &Guest) -> Result<(), EngineError> {
        let tool = self.tool("lxc-create", guest.id).args(["-t", "busybox", "-B", "dir", "--dir"]);
        capture(&tool.arg(&guest.rootfs))?;
        let template = read_text(&self.config_file(guest.id))?;
        self.write_config(guest, &template)
    }

    fn adopt(&self, source: Vmid, guest: &Guest) -> Result<(), EngineError> {
        let template = read_text(&self.config_file(source))?;
        let directory = self.containers.join(guest.id.to_string());
        fs::create_dir_all(&directory).map_err(NodeError::file("create", &directory))?;
        self.write_config(guest, &template)
    }

    fn start(&self, guest: &Guest) -> Result<(), EngineError> {
        let failed = |source| EngineError::Startup { id: guest.id, source: Some(Box::new(source)) };
        let template = read_text(&self.config_file(guest.id))?;
        self.write_config(guest, &template).map_err(failed)?;
        let log = self.containers.join(format!("{}/start.log", guest.id));
        // The log of an earlier start would be taken for the log of this one.
        let _ = fs::remove_file(&log);
        let started = tool::run_daemon(&self.tool("lxc-start", guest.id).arg("-o").arg(&log), &log);
        started.map_err(failed)?;
        if self.is_running(guest.id)? {
            Ok(())
        } else {
            Err(EngineError::Startup { id: guest.id, source: None })
        }
    }

    fn kill(&self, id: Vmid) -> Result<(), EngineError> {
        if !self.is_running(id)? {
            return Ok(());
        }
        let stopped = capture(&self.tool("lxc-stop", id).arg("-k"));
        // The container may have ended by itself in between, which the tool reports as a failure.
        if self.is_running(id)? { stopped.and(Err(EngineError::StillRunning)) } else { Ok(()) }
    }

    fn shutdown(&self, id: Vmid, timeout: Duration) -> Result<(), EngineError> {
        let seconds = timeout.as_secs().to_string();
        let stopped = capture(&self.tool("lxc-stop", id).args(["--nokill", "--timeout", &seconds]));
        if self.is_running(id)? { stopped.and(Err(EngineError::StillRunning)) } else { Ok(()) }
    }

    fn destroy(&self, id: Vmid) -> Result<(), EngineError> {
        Ok(remove_tree(&self.containers.join(id.to_string()))?)
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
        let root: &Path = self.cgroup.mount();
        let candidates = match self.cgroup.version() {
            CgroupVersion::V1 => ["cpuset/lxc/cpuset.cpus", "cpuset/cpuset.cpus"],
            CgroupVersion::V2 => ["lxc/cpuset.cpus.effective", "cpuset.cpus.effective"],
        };
        // The first file exists only once a container has run since boot, and may be empty.
        match read_cpuset(&root.join(candidates[0])) {
            Ok(cpus) if !cpus.is_empty() => Ok(cpus),
            _ => read_cpuset(&root.join(candidates[1])),
        }
    }

    fn cpuset(&self, id: Vmid) -> Result<CpuSet, EngineError> {
        self.cgroup.cpuset(id)
    }

    fn set_cpuset(&self, id: Vmid, cpus: &CpuSet) -> Result<(), EngineError> {
        self.cgroup.set_cpuset(id, cpus, &self.cpus()?)
    }

    fn usage(&self, id: Vmid) -> Result<Usage, EngineError> {
        let sources =
            Sources { cgroup: self.cgroup.mount(), version: self.cgroup.version(), proc: &self.proc };
        sources.read(id, self.init_pid(id)?)
    }

    fn exec(&self, id: Vmid, command: &[String], keep_environment: bool) -> Result<u8, EngineError> {
        let environment = if keep_environment { "--keep-env" } else { "--clear-env" };
        self.tool("lxc-attach", id).arg(environment).arg("--").args(command).pass_through()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_is_number_one_one_level_down() {
        assert!(is_init("Name:\tinit\nNSpid:\t4242\t1\n"));
        assert!(!is_init("Name:\tsh\nNSpid:\t4243\t7\n"));
        assert!(!is_init("Name:\tsystemd\nNSpid:\t1\n"));
        assert!(!is_init("Name:\tnested\nNSpid:\t4244\t20\t1\n"));
        assert!(!is_init("Name:\told kernel\n"));
    }
}
