//! What the node is: the facts a `pct` process needs to know about the tree it was pointed at.

use lxc_autoscale_core::Mebibytes;
use serde::{Deserialize, Serialize};

use super::files::{read_text, write_atomically};
use super::{CgroupVersion, NodeError, NodeLayout};

/// What does the work of starting containers and limiting them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineKind {
    /// Files of the tree, which a simulated kernel advances.
    Simulated,
    /// Real containers through Debian's `lxc` tools, limited by this machine's own cgroups.
    Lxc,
}

/// What a storage can do and what its tools print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StorageKind {
    /// LVM-thin: snapshots, volumes in whole extents of 4 MiB.
    LvmThin,
    /// A directory with raw images: no snapshots.
    Dir,
    /// A directory with one directory per volume: snapshots are copies, sizes are noted and not enforced. Real
    /// containers are on such a storage.
    Tree,
}

/// A storage that volumes are on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// Its id, the part of a volume's name before the colon.
    pub id: String,
    /// What it is.
    pub kind: StorageKind,
    /// Its size; a thin pool may be promised away beyond it.
    pub size: Mebibytes,
}

/// What becomes of the answers of the REST API to calls that change something. What was asked for is done all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answers {
    /// They arrive.
    #[default]
    Whole,
    /// Proxmox's proxy waits no longer for the daemon behind it: status 596.
    GivenUp,
    /// The connection breaks.
    Lost,
}

/// What the node is.
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
    /// Generation of its cgroup file system. Real containers use what this machine mounts.
    pub cgroup: CgroupVersion,
    /// What runs its containers.
    pub engine: EngineKind,
    /// Where its volumes are.
    pub storages: Vec<Storage>,
    /// The release it says it is.
    pub pve_version: String,
    /// How long `pct` waits for a container's lock; ten seconds on a real node.
    pub lock_timeout_seconds: u64,
    /// How long it takes to copy a volume, or to take a snapshot of one, beside the work itself; on a real node the
    /// first takes minutes.
    pub volume_work_milliseconds: u64,
    /// What becomes of answers to changes.
    pub answers_to_changes: Answers,
    /// Whether a file system grows with its volume; where it does not, Proxmox warns of it.
    pub filesystems_grow: bool,
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
        }
    }
}

impl NodeSettings {
    /// The first number of the release it says it is; 0 where that is no number.
    pub fn major_version(&self) -> u32 {
        self.pve_version.split('.').next().and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    /// The settings of a node with real containers.
    pub fn for_lxc() -> Self {
        let local =
            Storage { id: "local".to_owned(), kind: StorageKind::Tree, size: Mebibytes::new(100 * 1024) };
        Self { engine: EngineKind::Lxc, storages: vec![local], ..Self::default() }
    }

    /// Reads what [`NodeSettings::save`] wrote.
    ///
    /// # Errors
    /// [`NodeError`] when the directory holds no node.
    pub fn load(layout: &NodeLayout) -> Result<Self, NodeError> {
        let path = layout.settings_file();
        let text = read_text(&path)?;
        serde_json::from_str(&text).map_err(|source| NodeError::Settings { path, source })
    }

    /// Writes the settings where a `pct` process looks for them.
    ///
    /// # Errors
    /// [`NodeError`] when the file cannot be written.
    pub fn save(&self, layout: &NodeLayout) -> Result<(), NodeError> {
        let path = layout.settings_file();
        let text = serde_json::to_string_pretty(self)
            .map_err(|source| NodeError::Settings { path: path.clone(), source })?;
        write_atomically(&path, &(text + "\n"))
    }

    /// The storage of that id.
    pub fn storage(&self, id: &str) -> Option<&Storage> {
        self.storages.iter().find(|storage| storage.id == id)
    }

    /// Checks what the types cannot say.
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
        // 107 bytes fit into the name of an abstract socket beside its leading NUL.
        let longest_socket = layout.containers().join("999999999/command");
        if self.engine == EngineKind::Lxc && 107 < longest_socket.as_os_str().len() {
            return Err(NodeError::PathTooLong { path: layout.root().to_owned() });
        }
        Ok(())
    }
}
