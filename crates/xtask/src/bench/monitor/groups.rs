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

/// The groups of the contestant; one in version 2.
#[derive(Clone, Debug)]
pub(super) struct Contestants {
    /// Counts its CPU time.
    pub(super) cpu: PathBuf,
    /// Counts its memory.
    memory: PathBuf,
    is_v2: bool,
}

impl Contestants {
    /// Where a process writes its number to be in them.
    pub(super) fn doors(&self) -> [PathBuf; 2] {
        [&self.cpu, &self.memory].map(|group| group.join("cgroup.procs"))
    }

    /// Memory charged to it less the page cache, in bytes: its own and what the kernel keeps for it, open files among that.
    /// `None` where it is not counted.
    pub(super) fn charged_bytes(&self) -> Option<u64> {
        let (all, cache) =
            if self.is_v2 { ("memory.current", "file ") } else { ("memory.usage_in_bytes", "total_cache ") };
        let text = |name| std::fs::read_to_string(self.memory.join(name)).ok();
        let all: u64 = text(all)?.trim().parse().ok()?;
        let cache: u64 =
            text("memory.stat")?.lines().find_map(|line| line.strip_prefix(cache)?.trim().parse().ok())?;
        Some(all.saturating_sub(cache))
    }

    /// Removes what counts memory, so that the next contestant begins at nothing.
    pub(super) fn forget_memory(&self) {
        // Of version 2 it is the one group, which holds nothing when nobody is in it.
        let _ = std::fs::remove_dir(&self.memory);
    }
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

    /// Makes the groups in which the contestant runs, which may have so many bytes of memory.
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

    /// Removes every group the benchmark may have made, also those of a run that was killed.
    ///
    /// A group that still has processes is refused by the kernel, which is what we want.
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
