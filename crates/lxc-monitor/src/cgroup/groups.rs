//! The groups of one container.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lxc_autoscale_core::Vmid;

use super::{GroupLook, Hierarchy, is_populated, v1, v2};
use crate::block_devices::BlockDevices;
use crate::kept_files::{KeptFiles, Place};
use crate::kernel_gaps::CgroupVersion;
use crate::sample::{CgroupSample, Moment};

/// The groups of one container, one in each tree of the hierarchy that has any. They have the same name in every tree,
/// so that a thousand containers need not store ten thousand paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerGroups {
    hierarchy: Arc<Hierarchy>,
    vmid: Vmid,
    /// A bit for each tree, by number, with a group of Proxmox's name, and of plain LXC's.
    trees: [u32; 2],
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    root: &'a Path,
    tree: u8,
    vmid: Vmid,
    layout: usize,
}

/// What precedes the id in the names of a container's possible groups below the root of a tree: Proxmox's, then plain LXC's.
const LAYOUTS: [&str; 2] = ["lxc/", "lxc.payload."];

/// The possible group of a container below the root of a tree.
fn path_of(root: &Path, layout: &str, vmid: Vmid) -> PathBuf {
    root.join(format!("{layout}{vmid}"))
}

impl Group<'_> {
    /// Its path.
    pub fn path(&self) -> PathBuf {
        LAYOUTS.get(self.layout).map_or_else(PathBuf::new, |layout| path_of(self.root, layout, self.vmid))
    }
}

impl Place for Group<'_> {
    fn directory(&self) -> Cow<'_, Path> {
        self.path().into()
    }

    fn tree(&self) -> Option<u8> {
        Some(self.tree)
    }
}

impl ContainerGroups {
    /// Finds the trees with a group of the container; `None` if there is none.
    pub(super) fn find(hierarchy: &Arc<Hierarchy>, vmid: Vmid) -> Option<Self> {
        let mut trees = [0_u32; 2];
        for (tree, root) in hierarchy.roots() {
            if let Some(layout) = LAYOUTS.iter().position(|layout| path_of(root, layout, vmid).is_dir()) {
                trees[layout] |= bit(tree);
            }
        }
        let groups = Self { hierarchy: Arc::clone(hierarchy), vmid, trees };
        // The tree of version 2 beside version 1 is not enough: it limits and counts nothing.
        let has_controller = (hierarchy.roots())
            .any(|(tree, _)| Some(tree) != hierarchy.unified_tree() && groups.in_tree(tree).is_some());
        has_controller.then_some(groups)
    }

    /// The version of the groups.
    pub fn version(&self) -> CgroupVersion {
        self.hierarchy.cgroup_version()
    }

    /// The group of a controller of version 1.
    pub(super) fn of_controller(&self, controller: &str) -> Option<Group<'_>> {
        self.in_tree(self.hierarchy.tree_of(controller)?)
    }

    /// The group in the tree of version 2 beside version 1.
    pub(super) fn unified(&self) -> Option<Group<'_>> {
        self.in_tree(self.hierarchy.unified_tree()?)
    }

    /// The group that contains all of the container's processes, directly or in groups below it.
    pub fn process_group(&self) -> Option<Group<'_>> {
        self.in_tree(self.hierarchy.process_trees().find(|tree| self.in_tree(*tree).is_some())?)
    }

    fn in_tree(&self, tree: u8) -> Option<Group<'_>> {
        let layout = self.trees.iter().position(|trees| trees & bit(tree) != 0)?;
        let root = self.hierarchy.root(tree)?;
        Some(Group { root, tree, vmid: self.vmid, layout })
    }

    /// Whether the container has processes; `None` if that cannot be read.
    pub fn is_populated(&self) -> Option<bool> {
        is_populated(&KeptFiles::for_one_look(), &self.process_group()?.path())
    }

    /// Whether the groups still exist.
    pub fn exist(&self) -> bool {
        self.process_group().is_some_and(|group| group.path().is_dir())
    }

    /// Reads everything; each value is present or says why not. If the container has not run since `last`, most of it
    /// is copied from there (see [`crate::full_look`]).
    pub fn read(
        &self,
        files: &KeptFiles,
        devices: &BlockDevices,
        last: Option<&CgroupSample>,
        clock: impl Fn() -> Moment,
    ) -> Option<GroupLook> {
        match self.version() {
            CgroupVersion::V2 => Some(v2::read(files, self.process_group()?, devices, last, clock)),
            CgroupVersion::V1 => Some(v1::read(files, self, devices, last, clock)),
        }
    }
}

/// The bit of a tree; trees beyond the number of bits have none.
fn bit(tree: u8) -> u32 {
    1_u32.checked_shl(tree.into()).unwrap_or(0)
}
