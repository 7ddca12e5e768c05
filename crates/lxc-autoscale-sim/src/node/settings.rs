//! The settings of the node, which a `pct` process reads from the tree.

use lxc_autoscale_core::Mebibytes;
use serde::{Deserialize, Serialize};

use super::files::{read_text, write_atomically};
use super::{CgroupVersion, NodeError, NodeLayout};

/// What starts and limits the containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineKind {
    /// Files of the tree, which a simulated kernel advances.
    Simulated,
    /// Real containers through Debian's `lxc` tools, limited by this machine's own cgroups.
    Lxc,
}

/// The capabilities of a storage, and the output of its tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StorageKind {
    /// LVM-thin: snapshots, volumes in whole extents of 4 MiB.
    LvmThin,
    /// A directory with raw images: no snapshots.
    Dir,
    /// A ZFS pool: snapshots, of which only the newest can be rolled back to.
    ZfsPool,
    /// A directory with one directory per volume: snapshots are copies, and sizes are recorded but not enforced. Real
    /// containers are on such a storage.
    Tree,
}

/// A storage for volumes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// Its id, which is the part of a volume's name before the colon.
    pub id: String,
    /// Its kind.
    pub kind: StorageKind,
    /// Its size; a thin pool may be overcommitted.
    pub size: Mebibytes,
}

/// What happens to the REST API's answers to calls that change something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answers {
    /// They are delivered.
    #[default]
    Whole,
    /// Proxmox's proxy stops waiting for the daemon behind it: status 596.
    GivenUp,
    /// The connection breaks.
    Lost,
    /// As `Lost`, but only for the start of a container, and only once its task has ended.
    StartLost,
    /// Proxmox's proxy cannot reach the daemon behind it: status 595. Only then is the change not made.
    Unreached,
}

/// The settings of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeSettings {
    /// Its name, as in `/etc/pve/nodes/<name>`.
    pub name: String,
    /// CPUs of the machine.
    pub cpus: u32,
    /// Memory of the machine.
    pub memory: Mebibytes,
    /// Swap of the machine.
    pub swap: Mebibytes,
    /// Its cgroup version. Real containers use whatever this machine mounts.
    pub cgroup: CgroupVersion,
    /// The engine of its containers.
    pub engine: EngineKind,
    /// The storages of its volumes.
    pub storages: Vec<Storage>,
    /// The version of Proxmox that it claims to be.
    pub pve_version: String,
    /// How long `pct` waits for a container's lock, in seconds; ten on a real node.
    pub lock_timeout_seconds: u64,
    /// The additional time that copying a volume, or taking a snapshot of one, takes, in milliseconds; on a real
    /// node, copying takes minutes.
    pub volume_work_milliseconds: u64,
    /// What happens to answers to changes.
    pub answers_to_changes: Answers,
    /// Whether a file system grows with its volume; if not, Proxmox prints a warning.
    pub filesystems_grow: bool,
    /// Whether each task ends with a warning, which is a success.
    pub tasks_warn: bool,
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self {
            name: "proxmox".to_owned(),
            cpus: 8,
            memory: Mebibytes::new(16 * 1024),
            swap: Mebibytes::new(4 * 1024),
            cgroup: CgroupVersion::V2,
            engine: EngineKind::Simulated,
            storages: vec![
                Storage { id: "local".to_owned(), kind: StorageKind::Dir, size: Mebibytes::new(100 * 1024) },
                Storage {
                    id: "local-lvm".to_owned(),
                    kind: StorageKind::LvmThin,
                    size: Mebibytes::new(200 * 1024),
                },
            ],
            pve_version: "8.4.21".to_owned(),
            lock_timeout_seconds: 10,
            volume_work_milliseconds: 0,
            answers_to_changes: Answers::Whole,
            filesystems_grow: true,
            tasks_warn: false,
        }
    }
}

impl NodeSettings {
    /// Whether it claims to be older than this release.
    pub fn is_before(&self, release: (u32, u32)) -> bool {
        let number = |part: &str| part.split('-').next().and_then(|number| number.parse().ok()).unwrap_or(0);
        let mut parts = self.pve_version.split('.').map(number);
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < release
    }

    /// The settings of a node with real containers.
    pub fn for_lxc() -> Self {
        let local =
            Storage { id: "local".to_owned(), kind: StorageKind::Tree, size: Mebibytes::new(100 * 1024) };
        Self { engine: EngineKind::Lxc, storages: vec![local], ..Self::default() }
    }

    /// Reads the settings that [`NodeSettings::save`] wrote.
    ///
    /// # Errors
    /// [`NodeError`] if the directory does not contain a node.
    pub fn load(layout: &NodeLayout) -> Result<Self, NodeError> {
        let path = layout.settings_file();
        let text = read_text(&path)?;
        serde_json::from_str(&text).map_err(|source| NodeError::Settings { path, source })
    }

    /// Writes the settings to where `pct` processes read them.
    ///
    /// # Errors
    /// [`NodeError`] if the file cannot be written.
    pub fn save(&self, layout: &NodeLayout) -> Result<(), NodeError> {
        let path = layout.settings_file();
        let text = serde_json::to_string_pretty(self)
            .map_err(|source| NodeError::Settings { path: path.clone(), source })?;
        write_atomically(&path, &(text + "\n"))
    }

    /// The storage with this id.
    pub fn storage(&self, id: &str) -> Option<&Storage> {
        self.storages.iter().find(|storage| storage.id == id)
    }

    /// Checks what types cannot express.
    pub(super) fn check(&self, layout: &NodeLayout) -> Result<(), NodeError> {
        let is_end = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let name = self.name.as_bytes();
        let is_name = is_end(name.first().copied())
            && is_end(name.last().copied())
            && name.iter().all(|&c| c.is_ascii_alphanumeric() || c == b'-');
        if !is_name {
            return Err(NodeError::NodeName(self.name.clone()));
        }
        if self.cpus == 0 || self.memory < Mebibytes::new(64) {
            return Err(NodeError::TooSmall);
        }
        // The name of an abstract socket has room for 107 bytes after its leading NUL.
        let longest_socket = layout.containers().join("999999999/command");
        if self.engine == EngineKind::Lxc && 107 < longest_socket.as_os_str().len() {
            return Err(NodeError::PathTooLong { path: layout.root().to_owned() });
        }
        Ok(())
    }
}
