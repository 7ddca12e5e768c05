//! The resource usage of a container, by the formulas of Proxmox's `vmstatus`.

use std::path::Path;

use lxc_autoscale_core::Vmid;

use super::EngineError;
use crate::node::{CgroupVersion, read_text};

/// The usage of a running container, in bytes unless stated otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Memory in use without page cache (and so without tmpfs, which the kernel counts as page cache).
    pub memory: u64,
    /// Swap.
    pub swap: u64,
    /// Read from disk since the container started.
    pub disk_read: u64,
    /// Written to disk since the container started.
    pub disk_written: u64,
    /// Received since the container started.
    pub network_in: u64,
    /// Sent since the container started.
    pub network_out: u64,
    /// Host pid of its init.
    pub pid: Option<u32>,
    /// Seconds since its init started.
    pub uptime_seconds: u64,
}

/// The location of a container's counters.
pub(super) struct Sources<'a> {
    /// Cgroup mount point.
    pub(super) cgroup: &'a Path,
    /// The cgroup version.
    pub(super) version: CgroupVersion,
    /// `/proc`.
    pub(super) proc: &'a Path,
}

impl Sources<'_> {
    /// Reads the counters of a running container.
    pub(super) fn read(&self, id: Vmid, pid: Option<u32>) -> Result<Usage, EngineError> {
        let (network_in, network_out) = self.network(id)?;
        let mut usage = Usage { network_in, network_out, pid, ..Usage::default() };
        if let Some(pid) = pid {
            usage.uptime_seconds = self.uptime(pid)?;
        }
        match self.version {
            CgroupVersion::V2 => {
                let group = self.cgroup.join(format!("lxc/{id}"));
                let file_cache = keyed(&group.join("memory.stat"), "file")?;
                usage.memory = number(&group.join("memory.current"))?.saturating_sub(file_cache);
                usage.swap = number(&group.join("memory.swap.current"))?;
                let io = read_text(&group.join("io.stat"))?;
                usage.disk_read = sum_of_fields(&io, "rbytes=");
                usage.disk_written = sum_of_fields(&io, "wbytes=");
            }
            CgroupVersion::V1 => {
                let memory = self.cgroup.join(format!("memory/lxc/{id}"));
                let used = number(&memory.join("memory.usage_in_bytes"))?;
                usage.memory = used.saturating_sub(keyed(&memory.join("memory.stat"), "total_cache")?);
                // A kernel without swap accounting has no such file, and then counts no swap as used.
                let with_swap = memory.join("memory.memsw.usage_in_bytes");
                usage.swap = if with_swap.exists() { number(&with_swap)?.saturating_sub(used) } else { 0 };
                let blkio =
                    self.cgroup.join(format!("blkio/lxc/{id}/blkio.throttle.io_service_bytes_recursive"));
                if blkio.exists() {
                    let io = read_text(&blkio)?;
                    usage.disk_read = sum_of_lines(&io, "Read");
                    usage.disk_written = sum_of_lines(&io, "Write");
                }
            }
        }
        Ok(usage)
    }

    /// The traffic of its network devices: what the host's end has sent, the container has received.
    fn network(&self, id: Vmid) -> Result<(u64, u64), EngineError> {
        let path = self.proc.join("net/dev");
        if !path.exists() {
            return Ok((0, 0));
        }
        let prefix = format!("veth{id}i");
        let mut total = (0, 0);
        for line in read_text(&path)?.lines() {
            let Some((device, counters)) = line.split_once(':') else { continue };
            let is_own = device.trim().strip_prefix(&prefix).is_some_and(|n| n.parse::<u32>().is_ok());
            if !is_own {
                continue;
            }
            let counters: Vec<u64> =
                counters.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect();
            total.0 += counters.get(8).copied().unwrap_or(0);
            total.1 += counters.first().copied().unwrap_or(0);
        }
        Ok(total)
    }

    fn uptime(&self, pid: u32) -> Result<u64, EngineError> {
        let uptime_path = self.proc.join("uptime");
        let stat_path = self.proc.join(format!("{pid}/stat"));
        let (uptime, stat) = (read_text(&uptime_path)?, read_text(&stat_path)?);
        let now: f64 = uptime
            .split_ascii_whitespace()
            .next()
            .and_then(|seconds| seconds.parse().ok())
            .ok_or(EngineError::Unreadable { path: uptime_path, text: uptime })?;
        // The name in brackets may contain anything; the start time is the twentieth field after it.
        let started: Option<f64> = stat
            .rsplit_once(')')
            .and_then(|(_, fields)| fields.split_ascii_whitespace().nth(19))
            .and_then(|ticks| ticks.parse().ok());
        let started = started.ok_or(EngineError::Unreadable { path: stat_path, text: stat })?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "seconds since boot, made positive"
        )]
        Ok((now - started / 100.0).max(0.0) as u64)
    }
}

/// Reads a file that holds one number.
pub(super) fn number(path: &Path) -> Result<u64, EngineError> {
    let text = read_text(path)?;
    text.trim().parse().map_err(|_| EngineError::Unreadable { path: path.to_owned(), text })
}

/// Reads the number behind a key of a file of `key number` lines.
pub(super) fn keyed(path: &Path, key: &str) -> Result<u64, EngineError> {
    let text = read_text(path)?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok());
    value.ok_or_else(|| EngineError::Unreadable { path: path.to_owned(), text: format!("no `{key}`") })
}

fn sum_of_fields(text: &str, prefix: &str) -> u64 {
    text.split_ascii_whitespace().filter_map(|field| field.strip_prefix(prefix)?.parse::<u64>().ok()).sum()
}

fn sum_of_lines(text: &str, operation: &str) -> u64 {
    text.lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            (fields.get(1) == Some(&operation)).then(|| fields.get(2)?.parse::<u64>().ok()).flatten()
        })
        .sum()
}
