//! The paths in the tree.

use std::path::{Path, PathBuf};

use lxc_autoscale_core::Vmid;
use serde::{Deserialize, Serialize};

/// The cgroup version of a node.
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
/// They are the paths of a real node, so that daemons need only different root paths. Files that no real node has are
/// below `etc/sim` and `var/lib/sim`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLayout {
    root: PathBuf,
}

impl NodeLayout {
    /// The controllers that a simulated v1 node mounts, each under its own name.
    pub const V1_CONTROLLERS: [&'static str; 6] = ["blkio", "cpu", "cpuacct", "cpuset", "memory", "pids"];

    /// The layout below `root`; nothing is created.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory that represents `/`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The settings of the node: name, CPUs, memory, engine (see `NodeSettings`).
    pub fn settings_file(&self) -> PathBuf {
        self.root.join("etc/sim/node.json")
    }

    /// The lock for changes of the set of running containers (start, stop, kill).
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

    /// `/etc/pve/nodes/<node>`, which `/etc/pve/local` and `/etc/pve/lxc` point to.
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

    /// The container's own cgroup, which has its limits; its processes are in `ns` below it.
    ///
    /// `controller` matters only for v1.
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

    /// `/proc/net/unix`: a container is running for exactly as long as its command socket is listed here.
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

    /// The directory of a volume of a storage.
    pub fn volume(&self, storage: &str, volume: &str) -> PathBuf {
        self.root.join("var/lib/sim/volumes").join(storage).join(volume)
    }

    /// `/var/log/pve/tasks`, with one log per worker.
    pub fn tasks(&self) -> PathBuf {
        self.root.join("var/log/pve/tasks")
    }
}
