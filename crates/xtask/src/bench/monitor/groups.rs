//! Real control groups in Proxmox's layout, in every hierarchy of the machine.

use std::path::{Path, PathBuf};

use super::MonitorBenchError;

/// Where control groups are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// Container ids from here on are the benchmark's; no node uses ids like these.
const FIRST_ID: u32 = 900_100;
/// The names of network devices have no room for ids of more containers.
pub(super) const MAX_CONTAINERS: usize = 9_000;
/// The group of the contestant in the version 2 hierarchy.
const CONTESTANT: &str = "lxc-bench-contestant";

/// The id of a container of the benchmark.
pub(super) fn id_of(index: usize) -> u32 {
    FIRST_ID + u32::try_from(index).unwrap_or(u32::MAX - FIRST_ID)
}

/// The groups of the contestant; a single one in version 2.
#[derive(Clone, Debug)]
pub(super) struct Contestants {
    /// Counts its CPU time.
    pub(super) cpu: PathBuf,
    /// Counts its memory.
    memory: PathBuf,
    is_v2: bool,
}

impl Contestants {
    /// The files to which a process writes its pid to join them.
    pub(super) fn doors(&self) -> [PathBuf; 2] {
        [&self.cpu, &self.memory].map(|group| group.join("cgroup.procs"))
    }

    /// Memory charged to it minus page cache, in bytes: its own, and what the kernel holds for it, such as open
    /// files. `None` if it is not counted.
    pub(super) fn charged_bytes(&self) -> Option<u64> {
        let (all, cache) =
            if self.is_v2 { ("memory.current", "file ") } else { ("memory.usage_in_bytes", "total_cache ") };
        let text = |name| std::fs::read_to_string(self.memory.join(name)).ok();
        let all: u64 = text(all)?.trim().parse().ok()?;
        let cache: u64 =
            text("memory.stat")?.lines().find_map(|line| line.strip_prefix(cache)?.trim().parse().ok())?;
        Some(all.saturating_sub(cache))
    }

    /// Removes the group that counts memory, so that the next contestant starts at zero.
    pub(super) fn forget_memory(&self) {
        // In version 2 that is the only group, which has no charges once it is empty.
        let _ = std::fs::remove_dir(&self.memory);
    }
}

/// The trees in which each container gets its group.
#[derive(Clone, Debug)]
pub(super) struct Hierarchies {
    trees: Vec<PathBuf>,
    /// The version 2 tree, alone or next to version 1.
    unified: PathBuf,
}

impl Hierarchies {
    /// Finds the mounted hierarchies.
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

    /// Whether there is a single tree for everything.
    pub(super) fn is_v2(&self) -> bool {
        self.trees.len() == 1
    }

    /// The version in words.
    pub(super) fn describe(&self) -> String {
        match self.trees.as_slice() {
            [_] => "cgroup version 2".to_owned(),
            trees => format!("cgroup version 1 in {} trees, a version 2 tree among them", trees.len()),
        }
    }

    /// Creates the groups of one container, and puts `pid` into the inner ones.
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
                // Version 1 gives a new cpuset nothing, and accepts no process into such a group.
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

    /// Creates the groups of the contestant, with a memory limit if one is given.
    pub(super) fn add_contestant(&self, memory_max: Option<u64>) -> Result<Contestants, MonitorBenchError> {
        let all = Contestants {
            cpu: self.unified.join(CONTESTANT),
            memory: self.memory_tree().join(CONTESTANT),
            is_v2: self.is_v2(),
        };
        for group in [&all.cpu, &all.memory] {
            if !group.is_dir() {
                std::fs::create_dir(group).map_err(MonitorBenchError::io("make", group))?;
            }
        }
        if let Some(bytes) = memory_max {
            let path = all.memory.join(if all.is_v2 { "memory.max" } else { "memory.limit_in_bytes" });
            std::fs::write(&path, bytes.to_string()).map_err(MonitorBenchError::io("write", path))?;
        }
        Ok(all)
    }

    /// The tree that counts memory.
    fn memory_tree(&self) -> PathBuf {
        if self.is_v2() { self.unified.clone() } else { Path::new(ROOT).join("memory") }
    }

    /// Removes every group that the benchmark may have created, including those of a run that was killed.
    ///
    /// The kernel refuses to remove a group that still has processes, which is intended.
    pub(super) fn remove_all(&self) -> usize {
        let own = [self.unified.join(CONTESTANT), self.memory_tree().join(CONTESTANT)];
        let mut left = own.iter().filter(|group| !is_removed(group)).count();
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

/// Version 2 gives a group only the controllers that its parent delegates.
fn delegate(group: &Path) -> Result<(), MonitorBenchError> {
    let path = group.join("cgroup.subtree_control");
    let controllers = group.join("cgroup.controllers");
    let offered =
        std::fs::read_to_string(&controllers).map_err(MonitorBenchError::io("read", controllers))?;
    for controller in offered.split_ascii_whitespace() {
        // A controller that cannot be delegated is not measured.
        let _ = std::fs::write(&path, format!("+{controller}"));
    }
    Ok(())
}

/// Copies a setting from the parent, if the group has none yet.
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
