//! Real control groups in Proxmox's layout, in every hierarchy the machine has.

use std::path::{Path, PathBuf};

use super::MonitorBenchError;

/// Where control groups are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// Container ids from here on are the benchmark's; no node numbers its containers like this.
const FIRST_ID: u32 = 900_100;
/// No more containers than ids that the names of network devices have room for.
pub(super) const MAX_CONTAINERS: usize = 9_000;
/// The group of the contestant, in the version 2 hierarchy.
const CONTESTANT: &str = "lxc-bench-contestant";

/// The id of a container of the benchmark.
pub(super) fn id_of(index: usize) -> u32 {
    FIRST_ID + u32::try_from(index).unwrap_or(u32::MAX - FIRST_ID)
}

/// The trees in which each container gets its group.
#[derive(Clone, Debug)]
pub(super) struct Hierarchies {
    trees: Vec<PathBuf>,
    /// The version 2 tree, alone or beside version 1.
    unified: PathBuf,
}

impl Hierarchies {
    /// Looks what is mounted.
    pub(super) fn find() -> Result<Self, MonitorBenchError> {
        let root = Path::new(ROOT);
        if root.join("cgroup.controllers").is_file() {
            return Ok(Self { trees: vec![root.to_owned()], unified: root.to_owned() });
        }
        let entries = std::fs::read_dir(root).map_err(MonitorBenchError::io("list", root))?;
        let is_tree = |path: &PathBuf| path.is_dir() && !path.is_symlink();
        let mut trees: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(is_tree).collect();
        trees.sort();
        let unified = root.join("unified");
        if unified.join("cgroup.procs").is_file() {
            Ok(Self { trees, unified })
        } else {
            let why = "the CPU time of the contestants is read from a cgroup version 2 tree, at \
                       /sys/fs/cgroup/unified where version 1 is in use; mount one there";
            Err(MonitorBenchError::Contestant(why.to_owned()))
        }
    }

    /// Whether there is one tree for everything.
    pub(super) fn is_v2(&self) -> bool {
        self.trees.len() == 1
    }

    /// The version, as a person says it.
    pub(super) fn describe(&self) -> String {
        match self.trees.as_slice() {
            [_] => "cgroup version 2".to_owned(),
            trees => format!("cgroup version 1 in {} trees, a version 2 tree among them", trees.len()),
        }
    }

    /// Makes the groups of one container and puts `pid` into the inner ones.
    pub(super) fn add(&self, id: u32, pid: u32) -> Result<(), MonitorBenchError> {
        for tree in &self.trees {
            let parent = tree.join("lxc");
            let outer = parent.join(id.to_string());
            let inner = outer.join("ns");
            if tree.ends_with("cgroup") {
                delegate(tree)?;
            }
            for group in [&parent, &outer, &inner] {
                if !group.is_dir() {
                    std::fs::create_dir(group).map_err(MonitorBenchError::io("make", group))?;
                }
                // Version 1 gives a new cpuset nothing, and takes no process into such a group.
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    inherit(group, file)?;
                }
                if tree.ends_with("cgroup") && group != &inner {
                    delegate(group)?;
                }
            }
            let procs = inner.join("cgroup.procs");
            std::fs::write(&procs, pid.to_string()).map_err(MonitorBenchError::io("write", procs))?;
        }
        Ok(())
    }

    /// Makes the group in which the contestant runs.
    pub(super) fn add_contestant(&self) -> Result<PathBuf, MonitorBenchError> {
        let group = self.unified.join(CONTESTANT);
        if !group.is_dir() {
            std::fs::create_dir(&group).map_err(MonitorBenchError::io("make", &group))?;
        }
        Ok(group)
    }

    /// Removes every group the benchmark may have made, also those of a run that was killed.
    ///
    /// A group that still has processes is refused by the kernel, which is what we want.
    pub(super) fn remove_all(&self) -> usize {
        let mut left = usize::from(!is_removed(&self.unified.join(CONTESTANT)));
        for tree in &self.trees {
            for index in 0..MAX_CONTAINERS {
                let outer = tree.join("lxc").join(id_of(index).to_string());
                if outer.is_dir() {
                    left += usize::from(!(is_removed(&outer.join("ns")) && is_removed(&outer)));
                }
            }
        }
        left
    }
}

fn is_removed(group: &Path) -> bool {
    !group.is_dir() || std::fs::remove_dir(group).is_ok()
}

/// Version 2 gives a group only the controllers that its parent passes on.
fn delegate(group: &Path) -> Result<(), MonitorBenchError> {
    let path = group.join("cgroup.subtree_control");
    let controllers = group.join("cgroup.controllers");
    let offered =
        std::fs::read_to_string(&controllers).map_err(MonitorBenchError::io("read", controllers))?;
    for controller in offered.split_ascii_whitespace() {
        // One that cannot be passed on is one that nobody measures.
        let _ = std::fs::write(&path, format!("+{controller}"));
    }
    Ok(())
}

/// Copies a setting of the parent where the group has none yet.
fn inherit(group: &Path, file: &str) -> Result<(), MonitorBenchError> {
    let path = group.join(file);
    let is_unset = std::fs::read_to_string(&path).is_ok_and(|text| text.trim().is_empty());
    if let (true, Some(parent)) = (is_unset && !group.join("cgroup.controllers").exists(), group.parent()) {
        let above = std::fs::read_to_string(parent.join(file))
            .map_err(MonitorBenchError::io("read", parent.join(file)))?;
        std::fs::write(&path, above.trim()).map_err(MonitorBenchError::io("write", path))?;
    }
    Ok(())
}
