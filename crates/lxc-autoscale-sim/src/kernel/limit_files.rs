//! Reads the limits of a container from the files that `pct` writes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use lxc_autoscale_core::Vmid;

use super::limits::Limits;
use crate::engine::CpuSet;
use crate::node::{CgroupVersion, NodeLayout};

/// The `cpu.shares` of v1 per unit of `cpu.weight` of v2.
const V1_SHARES_PER_WEIGHT: f64 = 10.24;
/// From here on, a v1 memory limit means "none"; the kernel uses its largest count of pages.
const V1_UNLIMITED_BYTES: f64 = 9.0e18;

/// Why a container's limits cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// A file cannot be read; the container may have just stopped.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not contain a limit.
    #[error("`{}` holds no limit: `{text}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The content of the file.
        text: String,
    },
}

impl LimitError {
    /// Whether the file does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// The value of a limit file.
enum Limit<T> {
    Of(T),
    None,
}

impl<T> Limit<T> {
    fn value(self) -> Option<T> {
        match self {
            Self::Of(value) => Some(value),
            Self::None => None,
        }
    }
}

/// Reads the limits in force for a container. A limit without a file is no limit, as on a kernel without that
/// controller; a container without a cgroup is an error.
///
/// # Errors
/// [`LimitError`] if the cgroup is gone, or a file does not contain a limit.
pub fn read_limits(layout: &NodeLayout, version: CgroupVersion, id: Vmid) -> Result<Limits, LimitError> {
    match version {
        CgroupVersion::V1 => read_v1(|controller| layout.container_cgroup(version, controller, id)),
        CgroupVersion::V2 => read_v2(&layout.container_cgroup(version, "", id)),
    }
}

fn read_v2(cgroup: &Path) -> Result<Limits, LimitError> {
    let bytes = |name: &str| Ok(read(&cgroup.join(name), parse_max)?.and_then(Limit::value));
    require(cgroup)?;
    Ok(Limits {
        quota_cores: read(&cgroup.join("cpu.max"), parse_cpu_max)?.and_then(Limit::value),
        cpuset_cpus: read_cpuset(&cgroup.join("cpuset.cpus"))?,
        cpu_weight: read(&cgroup.join("cpu.weight"), |text| text.parse().ok())?.unwrap_or(100.0),
        memory_high_bytes: bytes("memory.high")?,
        memory_max_bytes: bytes("memory.max")?,
        swap_max_bytes: bytes("memory.swap.max")?,
        pids_max: read(&cgroup.join("pids.max"), parse_max)?.and_then(Limit::value),
    })
}

fn read_v1(cgroup: impl Fn(&str) -> PathBuf) -> Result<Limits, LimitError> {
    let limit = |text: &str| {
        let bytes: f64 = text.parse().ok()?;
        Some(if bytes < V1_UNLIMITED_BYTES { Limit::Of(bytes) } else { Limit::None })
    };
    let number = |text: &str| text.parse::<f64>().ok();
    require(&cgroup("memory"))?;
    let memory_max_bytes =
        read(&cgroup("memory").join("memory.limit_in_bytes"), limit)?.and_then(Limit::value);
    let memsw = read(&cgroup("memory").join("memory.memsw.limit_in_bytes"), limit)?.and_then(Limit::value);
    let quota = read(&cgroup("cpu").join("cpu.cfs_quota_us"), number)?;
    let period = read(&cgroup("cpu").join("cpu.cfs_period_us"), number)?.unwrap_or(100_000.0);
    let shares = read(&cgroup("cpu").join("cpu.shares"), number)?;
    Ok(Limits {
        quota_cores: quota.filter(|&quota| 0.0 < quota && 0.0 < period).map(|quota| quota / period),
        cpuset_cpus: read_cpuset(&cgroup("cpuset").join("cpuset.cpus"))?,
        cpu_weight: shares.map_or(100.0, |shares| shares / V1_SHARES_PER_WEIGHT),
        memory_high_bytes: None,
        memory_max_bytes,
        swap_max_bytes: memsw.map(|memsw| (memsw - memory_max_bytes.unwrap_or(memsw)).max(0.0)),
        pids_max: read(&cgroup("pids").join("pids.max"), parse_max)?.and_then(Limit::value),
    })
}

/// An empty cpuset inherits its parent's, which is the whole node.
fn read_cpuset(path: &Path) -> Result<Option<u32>, LimitError> {
    let count = |text: &str| u32::try_from(text.parse::<CpuSet>().ok()?.len()).ok();
    Ok(read(path, count)?.filter(|&cpus| 0 < cpus))
}

fn parse_cpu_max(text: &str) -> Option<Limit<f64>> {
    let mut words = text.split_ascii_whitespace();
    let quota = words.next()?;
    let period: f64 = words.next().map_or(Ok(100_000.0), str::parse).ok()?;
    if quota == "max" {
        return Some(Limit::None);
    }
    let quota: f64 = quota.parse().ok()?;
    (0.0 < period && 0.0 <= quota).then_some(Limit::Of(quota / period))
}

/// `max`, or a number.
fn parse_max<T: FromStr>(text: &str) -> Option<Limit<T>> {
    if text == "max" { Some(Limit::None) } else { text.parse().ok().map(Limit::Of) }
}

fn require(cgroup: &Path) -> Result<(), LimitError> {
    let found = fs::metadata(cgroup);
    found.map(drop).map_err(|source| LimitError::Read { path: cgroup.to_owned(), source })
}

/// Reads and parses one file; `None` if it does not exist.
fn read<T>(path: &Path, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, LimitError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(LimitError::Read { path: path.to_owned(), source }),
    };
    let text = text.trim();
    match parse(text) {
        Some(value) => Ok(Some(value)),
        None => Err(LimitError::Unreadable { path: path.to_owned(), text: text.chars().take(60).collect() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = 1024.0 * 1024.0;

    fn id() -> Vmid {
        Vmid::try_from(100).unwrap()
    }

    fn write(layout: &NodeLayout, version: CgroupVersion, files: &[(&str, &str, &str)]) {
        for (controller, name, text) in files {
            let cgroup = layout.container_cgroup(version, controller, id());
            fs::create_dir_all(&cgroup).unwrap();
            fs::write(cgroup.join(name), format!("{text}\n")).unwrap();
        }
    }

    fn want(memory_high_bytes: Option<f64>) -> Limits {
        Limits {
            quota_cores: Some(1.5),
            cpuset_cpus: Some(2),
            cpu_weight: 200.0,
            memory_high_bytes,
            memory_max_bytes: Some(512.0 * MIB),
            swap_max_bytes: Some(256.0 * MIB),
            pids_max: None,
        }
    }

    #[test]
    fn v2_limits_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let layout = NodeLayout::new(directory.path());
        write(
            &layout,
            CgroupVersion::V2,
            &[
                ("", "cpu.max", "150000 100000"),
                ("", "cpuset.cpus", "1-2"),
                ("", "cpu.weight", "200"),
                ("", "memory.high", "532676608"),
                ("", "memory.max", "536870912"),
                ("", "memory.swap.max", "268435456"),
                ("", "pids.max", "max"),
            ],
        );
        let limits = read_limits(&layout, CgroupVersion::V2, id()).unwrap();
        assert_eq!(limits, want(Some(532_676_608.0)));
    }

    #[test]
    fn v1_limits_are_read_and_swap_is_what_memsw_leaves() {
        let directory = tempfile::tempdir().unwrap();
        let layout = NodeLayout::new(directory.path());
        write(
            &layout,
            CgroupVersion::V1,
            &[
                ("cpu", "cpu.cfs_quota_us", "150000"),
                ("cpu", "cpu.cfs_period_us", "100000"),
                ("cpu", "cpu.shares", "2048"),
                ("cpuset", "cpuset.cpus", "0,3"),
                ("memory", "memory.limit_in_bytes", "536870912"),
                ("memory", "memory.memsw.limit_in_bytes", "805306368"),
                ("pids", "pids.max", "max"),
            ],
        );
        assert_eq!(read_limits(&layout, CgroupVersion::V1, id()).unwrap(), want(None));
        write(
            &layout,
            CgroupVersion::V1,
            &[
                ("cpu", "cpu.cfs_quota_us", "-1"),
                ("memory", "memory.limit_in_bytes", "9223372036854771712"),
                ("memory", "memory.memsw.limit_in_bytes", "9223372036854771712"),
            ],
        );
        let open = read_limits(&layout, CgroupVersion::V1, id()).unwrap();
        assert_eq!((open.quota_cores, open.memory_max_bytes, open.swap_max_bytes), (None, None, None));
    }

    #[test]
    fn no_limit_and_no_container_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let layout = NodeLayout::new(directory.path());
        assert!(read_limits(&layout, CgroupVersion::V2, id()).unwrap_err().is_missing());
        write(&layout, CgroupVersion::V2, &[("", "cpu.max", "max 100000"), ("", "memory.max", "max")]);
        assert_eq!(read_limits(&layout, CgroupVersion::V2, id()).unwrap(), Limits::default());
    }

    #[test]
    fn a_file_that_holds_no_limit_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let layout = NodeLayout::new(directory.path());
        write(&layout, CgroupVersion::V2, &[("", "memory.max", "plenty")]);
        let error = read_limits(&layout, CgroupVersion::V2, id()).unwrap_err();
        assert!(error.to_string().ends_with("memory.max` holds no limit: `plenty`"), "{error}");
    }
}
