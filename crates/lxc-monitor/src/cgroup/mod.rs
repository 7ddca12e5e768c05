//! Finds the control groups of containers and reads them, in either version and either layout.
//!
//! | | limits and usage | processes |
//! | --- | --- | --- |
//! | Proxmox, version 2 | `lxc/<id>` | `lxc/<id>/ns/…` |
//! | plain LXC, version 2 | `lxc.payload.<id>` | `lxc.payload.<id>/…` |
//! | version 1 | the same names below `<controller>/` | the same |
//!
//! Limits are set on the outer group, whose counters include everything below it; the container itself can write limits
//! only inside `ns`.

mod groups;
pub mod parse;
mod pids;
mod tree;
mod v1;
mod v2;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lxc_autoscale_core::Vmid;

pub use groups::{ContainerGroups, Group};
pub use parse::{DeviceIo, IoByDevice, pressure};
pub use tree::{find_process, group_names, is_populated};
pub(crate) use v2::from_text;

use crate::kept_files::{KeptFiles, Place};
use crate::kernel_file::ReadError;
use crate::kernel_gaps::CgroupVersion;
use crate::sample::{CgroupSample, PressureReadings};

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
        /// Root of each controller's tree, by the name of the controller in ascending order.
        controllers: Vec<(String, PathBuf)>,
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

impl Hierarchy {
    /// Detects which version is mounted at `root`.
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
            Ok(Self::V1 { controllers: controllers.into_iter().collect(), unified })
        } else {
            Err(NoHierarchy { root: root.to_owned() })
        }
    }

    /// The version that the containers use.
    pub fn cgroup_version(&self) -> CgroupVersion {
        match self {
            Self::V2 { .. } => CgroupVersion::V2,
            Self::V1 { .. } => CgroupVersion::V1,
        }
    }

    /// The version in words.
    pub fn version(&self) -> &'static str {
        match self {
            Self::V2 { .. } => "version 2",
            Self::V1 { unified: None, .. } => "version 1",
            Self::V1 { unified: Some(_), .. } => "version 1, with a version 2 tree for the pressure",
        }
    }

    /// The groups of a container; `None` when it has none.
    pub fn container(self: &Arc<Self>, vmid: Vmid) -> Option<ContainerGroups> {
        ContainerGroups::find(self, vmid)
    }

    /// The root of each tree, with the tree's number: counted from 0, with version 2 beside version 1 last.
    fn roots(&self) -> impl Iterator<Item = (u8, &Path)> {
        let (one, controllers, unified) = match self {
            Self::V2 { root } => (Some(root), [].as_slice(), None),
            Self::V1 { controllers, unified } => (None, controllers.as_slice(), unified.as_ref()),
        };
        let roots = one.into_iter().chain(controllers.iter().map(|(_, root)| root)).chain(unified);
        (0..).zip(roots.map(PathBuf::as_path))
    }

    /// The root of one tree, by its number.
    fn root(&self, tree: u8) -> Option<&Path> {
        let tree = usize::from(tree);
        let root = match self {
            Self::V2 { root } => (tree == 0).then_some(root),
            Self::V1 { controllers, unified } => match controllers.get(tree) {
                Some((_, root)) => Some(root),
                None => unified.as_ref().filter(|_| tree == controllers.len()),
            },
        };
        root.map(PathBuf::as_path)
    }

    /// The number of a controller's tree; of version 1 only.
    fn tree_of(&self, controller: &str) -> Option<u8> {
        let Self::V1 { controllers, .. } = self else { return None };
        u8::try_from(controllers.binary_search_by(|(name, _)| name.as_str().cmp(controller)).ok()?).ok()
    }

    /// The number of the tree of version 2 beside version 1.
    fn unified_tree(&self) -> Option<u8> {
        match self {
            Self::V1 { controllers, unified: Some(_) } => u8::try_from(controllers.len()).ok(),
            Self::V1 { unified: None, .. } | Self::V2 { .. } => None,
        }
    }

    /// The numbers of the trees that list processes, in the order in which to ask them.
    fn process_trees(&self) -> impl Iterator<Item = u8> {
        let one = matches!(self, Self::V2 { .. }).then_some(0);
        one.into_iter().chain(PROCESS_CONTROLLERS.iter().filter_map(|controller| self.tree_of(controller)))
    }

    /// Names of all groups that belong to containers, whether ids or not (plain LXC allows any name).
    pub fn container_names(&self) -> Vec<String> {
        let Some(root) = self.process_root() else { return Vec::new() };
        let mut names = group_names(&root.join("lxc"));
        let plain = group_names(root);
        names.extend(plain.iter().filter_map(|name| name.strip_prefix("lxc.payload.")).map(str::to_owned));
        names.sort();
        names.dedup();
        names
    }

    /// The containers that have groups.
    pub fn containers(&self) -> BTreeSet<Vmid> {
        self.container_names().iter().filter_map(|name| name.parse().ok()).collect()
    }

    /// The tree in which processes are searched for.
    fn process_root(&self) -> Option<&Path> {
        let tree = self.process_trees().next()?;
        self.root(tree)
    }
}

/// Every tree of version 1 lists the processes; the first of these that exists is used.
const PROCESS_CONTROLLERS: [&str; 6] = ["memory", "cpuacct", "cpu", "pids", "freezer", "systemd"];

/// How much of a container's control groups was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Everything.
    Full,
    /// Only what shows that the container has not run, and its pressure; the rest is from the last full look.
    Quiet,
}

/// The result of reading a container's control groups.
#[derive(Debug)]
pub struct GroupLook {
    /// Their values.
    pub sample: CgroupSample,
    /// Their pressure, which is always read.
    pub pressure: PressureReadings,
    /// How much of the former was read.
    pub depth: Depth,
}

/// The pressure files of a group: CPU, memory, I/O.
pub const GROUP_PRESSURE: [&str; 3] = ["cpu.pressure", "memory.pressure", "io.pressure"];
/// Those of the node.
pub const NODE_PRESSURE: [&str; 3] = ["cpu", "memory", "io"];

/// Reads the three pressure files of a group, or those of the node.
pub fn read_pressure(
    files: &KeptFiles,
    place: &(impl Place + ?Sized),
    names: [&'static str; 3],
) -> PressureReadings {
    let [cpu, memory, io] = names.map(|name| match files.parsed_at_each_look(place, name, pressure) {
        // The kernel was built or booted without it.
        Err(ReadError::Gone { .. } | ReadError::Unsupported { .. }) => Ok(None),
        other => other.map(Some).map_err(Into::into),
    });
    PressureReadings { cpu, memory, io }
}
