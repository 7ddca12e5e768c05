//! The cgroup files of containers: the same writes as Proxmox makes, in the same order, for both cgroup versions.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use lxc_autoscale_core::{Mebibytes, Vmid};

use super::initial::UNLIMITED_V1;
use super::kernel_rules;
use super::memory_limits::memory_high_bytes;
use super::usage::number;
use super::{CpuSet, EngineError};
use crate::node::{CgroupVersion, read_text, write_atomically};

/// Length of a bandwidth period, in microseconds.
const PERIOD_USEC: u32 = 100_000;
/// The highest weight of cgroup v2; Proxmox clips higher ones.
const MAX_WEIGHT: u32 = 10_000;

/// What answers a write to a cgroup file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    /// The kernel of this machine.
    Real,
    /// [`kernel_rules`].
    Simulated,
}

/// A cgroup file system with containers in Proxmox's layout.
#[derive(Clone, Debug)]
pub struct CgroupFiles {
    mount: PathBuf,
    version: CgroupVersion,
    kernel: Kernel,
}

impl CgroupFiles {
    pub(super) fn new(mount: PathBuf, version: CgroupVersion, kernel: Kernel) -> Self {
        Self { mount, version, kernel }
    }

    /// Where it is mounted.
    pub fn mount(&self) -> &Path {
        &self.mount
    }

    /// Its cgroup version.
    pub fn version(&self) -> CgroupVersion {
        self.version
    }

    /// The container's own group, which has the limits; `controller` matters only for v1.
    pub fn group(&self, controller: &str, id: Vmid) -> PathBuf {
        match self.version {
            CgroupVersion::V1 => self.mount.join(controller).join(format!("lxc/{id}")),
            CgroupVersion::V2 => self.mount.join(format!("lxc/{id}")),
        }
    }

    /// Sets the quota in cores; `None` removes it.
    pub(super) fn set_cpu_limit(&self, id: Vmid, cores: Option<f64>) -> Result<(), EngineError> {
        // Truncated, not rounded, as in Proxmox's `int(100000 * $value)`.
        let quota = cores.map(|cores| (f64::from(PERIOD_USEC) * cores).trunc());
        let group = self.group("cpu", id);
        match (self.version, quota) {
            (CgroupVersion::V2, None) => self.write(&group.join("cpu.max"), "max"),
            (CgroupVersion::V2, Some(quota)) => {
                self.write(&group.join("cpu.max"), &format!("{quota} {PERIOD_USEC}"))
            }
            (CgroupVersion::V1, quota) => {
                self.write(&group.join("cpu.cfs_period_us"), &PERIOD_USEC.to_string())?;
                let quota = quota.map_or("-1".to_owned(), |quota| quota.to_string());
                self.write(&group.join("cpu.cfs_quota_us"), &quota)
            }
        }
    }

    /// Sets the weight; `None` restores the default.
    pub(super) fn set_cpu_units(&self, id: Vmid, units: Option<u32>) -> Result<(), EngineError> {
        let group = self.group("cpu", id);
        match self.version {
            CgroupVersion::V2 => {
                let weight = units.unwrap_or(100);
                if !(1..=MAX_WEIGHT).contains(&weight) {
                    return Err(EngineError::CpuWeight);
                }
                self.write(&group.join("cpu.weight"), &weight.to_string())
            }
            CgroupVersion::V1 => self.write(&group.join("cpu.shares"), &units.unwrap_or(1024).to_string()),
        }
    }

    /// Sets memory, swap, or both.
    pub(super) fn set_memory(
        &self,
        id: Vmid,
        memory: Option<Mebibytes>,
        swap: Option<Mebibytes>,
    ) -> Result<(), EngineError> {
        let bytes = |amount: Mebibytes| amount.get().saturating_mul(Mebibytes::BYTES);
        let group = self.group("memory", id);
        if self.version == CgroupVersion::V1 {
            return self.set_memory_v1(&group, memory.map(bytes), swap.map(bytes));
        }
        if let Some(swap) = swap {
            self.write(&group.join("memory.swap.max"), &bytes(swap).to_string())?;
        }
        if let Some(memory) = memory {
            self.write(&group.join("memory.high"), &memory_high_bytes(memory).to_string())?;
            self.write(&group.join("memory.max"), &bytes(memory).to_string())?;
        }
        Ok(())
    }

    /// v1 limits memory, and the sum of memory and swap; the former must never exceed the latter, not even in
    /// between.
    fn set_memory_v1(&self, group: &Path, memory: Option<u64>, swap: Option<u64>) -> Result<(), EngineError> {
        let memory_file = group.join("memory.limit_in_bytes");
        let sum_file = group.join("memory.memsw.limit_in_bytes");
        let old_memory = number(&memory_file)?;
        if !sum_file.exists() {
            // A kernel booted without swap accounting has only one limit.
            return memory.map_or(Ok(()), |memory| self.write(&memory_file, &memory.to_string()));
        }
        let old_sum = number(&sum_file)?;
        let old_swap = old_sum.saturating_sub(old_memory);
        let memory = memory.unwrap_or(old_memory);
        let sum = memory.saturating_add(swap.unwrap_or(old_swap)).min(UNLIMITED_V1);
        let mut writes = [(&memory_file, memory), (&sum_file, sum)];
        if old_sum < sum {
            writes.reverse();
        }
        writes.iter().try_for_each(|(file, value)| self.write(file, &value.to_string()))
    }

    /// The CPUs a container may use.
    pub(super) fn cpuset(&self, id: Vmid) -> Result<CpuSet, EngineError> {
        let group = self.group("cpuset", id);
        let file = match self.version {
            CgroupVersion::V1 => group.join("cpuset.cpus"),
            CgroupVersion::V2 => group.join("cpuset.cpus.effective"),
        };
        read_cpuset(&file)
    }

    /// Gives a container these CPUs; first, all CPUs go to the outer group, so that the inner one can take any of
    /// them.
    pub(super) fn set_cpuset(&self, id: Vmid, cpus: &CpuSet, all: &CpuSet) -> Result<(), EngineError> {
        let group = self.group("cpuset", id);
        let (outer, inner) = (group.join("cpuset.cpus"), group.join("ns/cpuset.cpus"));
        self.write(&outer, &all.to_string())?;
        self.write(&inner, &cpus.to_string())?;
        self.write(&outer, &cpus.to_string())?;
        if self.kernel == Kernel::Simulated {
            let effective = match self.version {
                CgroupVersion::V1 => "cpuset.effective_cpus",
                CgroupVersion::V2 => "cpuset.cpus.effective",
            };
            for group in [group.clone(), group.join("ns")] {
                write_atomically(&group.join(effective), &format!("{cpus}\n"))?;
            }
        }
        Ok(())
    }

    /// Writes one value, and reports a refusal as Proxmox does, with the path of a real node.
    fn write(&self, path: &Path, value: &str) -> Result<(), EngineError> {
        let written = match self.kernel {
            Kernel::Real => {
                File::options().write(true).open(path).and_then(|mut file| file.write_all(value.as_bytes()))
            }
            Kernel::Simulated => write_simulated(path, value),
        };
        written.map_err(|error| EngineError::refused(&self.shown(path), &error))
    }

    fn shown(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(&self.mount) {
            Ok(relative) => Path::new("/sys/fs/cgroup").join(relative),
            Err(_) => path.to_owned(),
        }
    }
}

pub(super) fn read_cpuset(path: &Path) -> Result<CpuSet, EngineError> {
    let text = read_text(path)?;
    text.parse().map_err(|source| EngineError::CpuSet { path: path.to_owned(), source })
}

fn write_simulated(path: &Path, value: &str) -> io::Result<()> {
    if !path.try_exists()? {
        return Err(io::Error::from_raw_os_error(rustix::io::Errno::NOENT.raw_os_error()));
    }
    let stored = kernel_rules::accept(path, value)
        .map_err(|errno| io::Error::from_raw_os_error(errno.raw_os_error()))?;
    write_atomically(path, &format!("{stored}\n")).map_err(io::Error::other)
}
