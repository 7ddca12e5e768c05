//! Where things lie in the tree.

use std::path::{Path, PathBuf};

use lxc_autoscale_core::Vmid;
use serde::{Deserialize, Serialize};

/// The generation of the cgroup file system a node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CgroupVersion {
    /// One hierarchy per controller: `sys/fs/cgroup/<controller>/lxc/<id>`.
    #[serde(rename = "v1")]
    V1,
    /// One hierarchy: `sys/fs/cgroup/lxc/<id>`.
    #[serde(rename = "v2")]
    V2,
}

/// The paths of a node below its root directory.
///
/// They are a real node's paths, so that a daemon is pointed at the tree by its root paths alone. What no real
/// node has lies under `etc/sim` and `var/lib/sim`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLayout {
    root: PathBuf,
}

impl NodeLayout {
    /// The controllers a simulated v1 node mounts, each under its own name.
    pub const V1_CONTROLLERS: [&'static str; 6] = ["blkio", "cpu", "cpuacct", "cpuset", "memory", "pids"];

    /// The layout below `root`; nothing is created.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory that stands for `/`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What the node is: name, CPUs, memory, engine (see `NodeSettings`).
    pub fn settings_file(&self) -> PathBuf {
        self.root.join("etc/sim/node.json")
    }

    /// The lock that keeps every change of the running set apart (start, stop, kill).
    pub fn node_lock(&self) -> PathBuf {
        self.root.join("run/lock/sim-node.lock")
    }

    /// `/etc/pve`.
    pub fn etc_pve(&self) -> PathBuf {
        self.root.join("etc/pve")
    }

    /// `/etc/pve/.members`, the nodes of the cluster.
    pub fn members(&self) -> PathBuf {
        self.etc_pve().join(".members")
    }

    /// `/etc/pve/nodes/<node>`, which `/etc/pve/local` and `/etc/pve/lxc` lead to.
    pub fn etc_pve_node(&self, node: &str) -> PathBuf {
        self.etc_pve().join("nodes").join(node)
    }

    /// `/etc/pve/lxc`, the configurations of this node's containers.
    pub fn configs(&self) -> PathBuf {
        self.etc_pve().join("lxc")
    }

    /// `/etc/pve/lxc/<id>.conf`.
    pub fn config(&self, id: Vmid) -> PathBuf {
        self.configs().join(format!("{id}.conf"))
    }

    /// `/run/lock/lxc/pve-config-<id>.lock`, which Proxmox holds while it changes a configuration.
    pub fn config_lock(&self, id: Vmid) -> PathBuf {
        self.root.join(format!("run/lock/lxc/pve-config-{id}.lock"))
    }

    /// `/sys/fs/cgroup`.
    pub fn cgroup(&self) -> PathBuf {
        self.root.join("sys/fs/cgroup")
    }

    /// The container's own cgroup, which carries its limits; its processes are in `ns` below it.
    ///
    /// `controller` matters to v1 only.
    pub fn container_cgroup(&self, version: CgroupVersion, controller: &str, id: Vmid) -> PathBuf {
        let hierarchy = match version {
            CgroupVersion::V1 => self.cgroup().join(controller),
            CgroupVersion::V2 => self.cgroup(),
        };
        hierarchy.join("lxc").join(id.to_string())
    }

    /// `/proc`.
    pub fn proc(&self) -> PathBuf {
        self.root.join("proc")
    }

    /// `/proc/net/unix`: a container runs exactly as long as its command socket is listed here.
    pub fn net_unix(&self) -> PathBuf {
        self.proc().join("net/unix")
    }

    /// The name of a container's command socket in [`NodeLayout::net_unix`], the same as on a real node.
    pub fn command_socket(id: Vmid) -> String {
        format!("@/var/lib/lxc/{id}/command")
    }

    /// `/var/lib/lxc`.
    pub fn containers(&self) -> PathBuf {
        self.root.join("var/lib/lxc")
    }

    /// `/var/lib/lxc/<id>`.
    pub fn container(&self, id: Vmid) -> PathBuf {
        self.containers().join(id.to_string())
    }

    /// What a volume of a storage holds; a directory per volume.
    pub fn volume(&self, storage: &str, volume: &str) -> PathBuf {
        self.root.join("var/lib/sim/volumes").join(storage).join(volume)
    }

    /// `/var/log/pve/tasks`, one log per worker.
    pub fn tasks(&self) -> PathBuf {
        self.root.join("var/log/pve/tasks")
    }
}
