//! Finds the control groups of containers and reads them, in either version and either layout.
//!
//! | | limits and usage | processes |
//! | --- | --- | --- |
//! | Proxmox, version 2 | `lxc/<id>` | `lxc/<id>/ns/…` |
//! | plain LXC, version 2 | `lxc.payload.<id>` | `lxc.payload.<id>/…` |
//! | version 1 | the same names below `<controller>/` | the same |
//!
//! Limits stand on the outer group, whose counters include everything below it; the container itself can
//! write limits only inside `ns`.

pub mod parse;
mod pids;
mod tree;
mod v1;
mod v2;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lxc_autoscale_core::Vmid;

pub use parse::{DeviceIo, IoByDevice, pressure};
pub use tree::{find_process, group_names, is_populated};
pub(crate) use v2::from_text;

use crate::block_devices::BlockDevices;
use crate::kept_files::KeptFiles;
use crate::kernel_file::ReadError;
use crate::kernel_gaps::CgroupVersion;
use crate::sample::{CgroupSample, Moment, PressureReadings};

/// Mounts of the hierarchy under the configured root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hierarchy {
    /// One tree for all controllers.
    V2 {
        /// Its root.
        root: PathBuf,
    },
    /// A tree per controller (`cpu`, or `cpu,cpuacct` where two share one), and in hybrid setups a version 2
    /// tree beside them, which has the pressure files.
    V1 {
        /// Root of each controller's tree.
        controllers: BTreeMap<String, PathBuf>,
        /// Root of the version 2 tree beside them.
        unified: Option<PathBuf>,
    },
}

/// Why no hierarchy was found.
#[derive(Debug, thiserror::Error)]
#[error("no control groups at `{}`: neither `cgroup.controllers` (version 2) nor a `memory` or `cpuacct` folder (version 1) is there", root.display())]
pub struct NoHierarchy {
    root: PathBuf,
}

/// The groups of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerGroups {
    /// The one group of version 2.
    V2(PathBuf),
    /// A group per controller of version 1.
    V1 {
        /// By controller.
        controllers: BTreeMap<String, PathBuf>,
        /// In the version 2 tree beside them.
        unified: Option<PathBuf>,
    },
}

impl Hierarchy {
    /// Looks which version is mounted at `root`.
    ///
    /// # Errors
    /// [`NoHierarchy`] when neither is.
    pub fn detect(root: &Path) -> Result<Self, NoHierarchy> {
        if root.join("cgroup.controllers").is_file() {
            return Ok(Self::V2 { root: root.to_owned() });
        }
        let mut controllers = BTreeMap::new();
        for name in group_names(root) {
            let path = root.join(&name);
            for controller in name.split(',') {
                controllers.insert(controller.to_owned(), path.clone());
            }
        }
        let unified = controllers.remove("unified");
        if controllers.contains_key("memory") || controllers.contains_key("cpuacct") {
            Ok(Self::V1 { controllers, unified })
        } else {
            Err(NoHierarchy { root: root.to_owned() })
        }
    }

    /// The version the containers are in.
    pub fn cgroup_version(&self) -> CgroupVersion {
        match self {
            Self::V2 { .. } => CgroupVersion::V2,
            Self::V1 { .. } => CgroupVersion::V1,
        }
    }

    /// The version as a person says it.
    pub fn version(&self) -> &'static str {
        match self {
            Self::V2 { .. } => "version 2",
            Self::V1 { unified: None, .. } => "version 1",
            Self::V1 { unified: Some(_), .. } => "version 1, with a version 2 tree for the pressure",
        }
    }

    /// The groups of a container; `None` when it has none.
    pub fn container(&self, vmid: Vmid) -> Option<ContainerGroups> {
        let below =
            |root: &Path| layouts(vmid).into_iter().map(|name| root.join(name)).find(|dir| dir.is_dir());
        match self {
            Self::V2 { root } => below(root).map(ContainerGroups::V2),
            Self::V1 { controllers, unified } => {
                let found = |(name, root): (&String, &PathBuf)| Some((name.clone(), below(root)?));
                let controllers: BTreeMap<_, _> = controllers.iter().filter_map(found).collect();
                let unified = unified.as_deref().and_then(below);
                (!controllers.is_empty()).then_some(ContainerGroups::V1 { controllers, unified })
            }
        }
    }

    /// Names of all groups that belong to containers, ids or not (plain LXC allows any name).
    pub fn container_names(&self) -> Vec<String> {
        let Some(root) = self.process_root() else { return Vec::new() };
        let mut names = group_names(&root.join("lxc"));
        let plain = group_names(root);
        names.extend(plain.iter().filter_map(|name| name.strip_prefix("lxc.payload.")).map(str::to_owned));
        names.sort();
        names.dedup();
        names
    }

    /// The tree in which processes are looked for.
    fn process_root(&self) -> Option<&Path> {
        match self {
            Self::V2 { root } => Some(root),
            Self::V1 { controllers, .. } => process_controller(controllers),
        }
    }
}

/// Where a container's group stands below the root of a tree: Proxmox's name, then plain LXC's.
fn layouts(vmid: Vmid) -> [String; 2] {
    [format!("lxc/{vmid}"), format!("lxc.payload.{vmid}")]
}

/// Every tree of version 1 knows the processes; the first of these that exists is asked.
fn process_controller(controllers: &BTreeMap<String, PathBuf>) -> Option<&Path> {
    ["memory", "cpuacct", "cpu", "pids", "freezer", "systemd"]
        .iter()
        .find_map(|name| controllers.get(*name))
        .map(PathBuf::as_path)
}

impl ContainerGroups {
    /// The group in which, and below which, the container's processes are.
    pub fn process_group(&self) -> Option<&Path> {
        match self {
            Self::V2(group) => Some(group),
            Self::V1 { controllers, .. } => process_controller(controllers),
        }
    }

    /// Whether the container has processes; `None` where that cannot be read.
    pub fn is_populated(&self) -> Option<bool> {
        is_populated(&KeptFiles::for_one_look(), self.process_group()?)
    }

    /// Whether the groups are still there.
    pub fn exist(&self) -> bool {
        self.process_group().is_some_and(Path::is_dir)
    }

    /// Reads everything; each value is there or says why not. Where the container has not run since `last`, most of it is
    /// taken from there (see [`crate::full_look`]).
    pub fn read(
        &self,
        files: &KeptFiles,
        devices: &BlockDevices,
        last: Option<&CgroupSample>,
        clock: impl Fn() -> Moment,
    ) -> (CgroupSample, Depth) {
        match self {
            Self::V2(group) => v2::read(files, group, devices, last, clock),
            Self::V1 { controllers, unified } => {
                v1::read(files, controllers, unified.as_deref(), devices, last, clock)
            }
        }
    }
}

/// How much of a container's control groups was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Everything.
    Full,
    /// What shows that the container has not run, and its pressure; the rest is from the last full look.
    Quiet,
}

/// The pressure files of a group: CPU, memory, I/O.
pub const GROUP_PRESSURE: [&str; 3] = ["cpu.pressure", "memory.pressure", "io.pressure"];
/// Those of the node.
pub const NODE_PRESSURE: [&str; 3] = ["cpu", "memory", "io"];

/// Reads the three pressure files of a group, or those of the node.
pub fn read_pressure(files: &KeptFiles, directory: &Path, names: [&'static str; 3]) -> PressureReadings {
    let [cpu, memory, io] = names.map(|name| match files.parsed_at_each_look(directory, name, pressure) {
        // The kernel was built or booted without.
        Err(ReadError::Gone { .. } | ReadError::Unsupported { .. }) => Ok(None),
        other => other.map(Some).map_err(Into::into),
    });
    PressureReadings { cpu, memory, io }
}
