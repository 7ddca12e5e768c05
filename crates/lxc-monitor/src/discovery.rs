//! Which containers there are, and which of them run, found without starting a process.
//!
//! On a Proxmox node the containers are the files `<id>.conf` in `/etc/pve/lxc`. A container runs when its
//! command socket is listed in `/proc/net/unix`, which is Proxmox's own test, and its control group has
//! processes: a group alone may be left over from a container that was stopped, and a socket alone belongs to one
//! that is starting or stopping.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::container_config::{ContainerConfig, UnreadableLine};

use crate::cgroup::{ContainerGroups, Hierarchy};
use crate::kernel_file::{ReadError, read_text};
use crate::sample::{Missing, Reading};

/// What `/etc/pve/lxc` says.
#[derive(Clone, Debug, PartialEq)]
pub enum Inventory {
    /// There is no `/etc/pve`: a node without Proxmox.
    NotProxmox,
    /// It could not be read yet. Containers are found by their control groups, and what is configured is missing.
    Unknown(Missing),
    /// The containers of this node.
    Proxmox(BTreeMap<Vmid, StoredContainer>),
}

/// The configuration of one container.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredContainer {
    /// What it says, or why it cannot be read.
    pub configuration: Reading<ContainerConfig>,
    /// Lines that say nothing we can read.
    pub unreadable: Vec<UnreadableLine>,
}

/// Whether a container runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// It does, in these groups.
    Running(ContainerGroups),
    /// It does not.
    Stopped,
    /// The signs contradict each other; it is neither measured nor called stopped.
    Unclear(&'static str),
}

impl Inventory {
    /// Reads the configuration of every container.
    ///
    /// # Errors
    /// When the directory cannot be listed; also when it is missing below `/etc/pve`, which stays behind empty
    /// where Proxmox's cluster file system is not mounted.
    pub fn read(pve: &Path) -> Result<Self, ReadError> {
        let directory = pve.join("lxc");
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return if pve.is_dir() {
                    Err(ReadError::Gone { path: directory })
                } else {
                    Ok(Self::NotProxmox)
                };
            }
            Err(source) => return Err(ReadError::Io { path: directory, source }),
        };
        let mut containers = BTreeMap::new();
        for entry in entries {
            let entry = entry.map_err(|source| ReadError::Io { path: directory.clone(), source })?;
            let Some(vmid) = entry.file_name().to_str().and_then(Vmid::from_config_file_name) else {
                continue;
            };
            match read_text(&entry.path()) {
                Ok(text) => {
                    let (configuration, unreadable) = ContainerConfig::parse(&text);
                    containers.insert(vmid, StoredContainer { configuration: Ok(configuration), unreadable });
                }
                // Destroyed or migrated away since the directory was listed.
                Err(error) if error.is_gone() => {}
                Err(error) => {
                    let configuration = Err(Missing::from(error));
                    containers.insert(vmid, StoredContainer { configuration, unreadable: Vec::new() });
                }
            }
        }
        Ok(Self::Proxmox(containers))
    }

    /// Ids of the containers, as far as they are known without looking at the control groups.
    pub fn ids(&self) -> impl Iterator<Item = Vmid> + '_ {
        let stored = match self {
            Self::NotProxmox | Self::Unknown(_) => None,
            Self::Proxmox(containers) => Some(containers.keys().copied()),
        };
        stored.into_iter().flatten()
    }

    /// The configuration of one container; `None` inside on a node without Proxmox.
    ///
    /// # Errors
    /// Why it is not known.
    pub fn configuration(&self, vmid: Vmid) -> Reading<Option<ContainerConfig>> {
        match self {
            Self::NotProxmox => Ok(None),
            Self::Unknown(missing) => Err(missing.clone()),
            Self::Proxmox(containers) => match containers.get(&vmid) {
                Some(stored) => stored.configuration.clone().map(Some),
                None => Err(Missing(format!("there is no configuration file `{vmid}.conf`"))),
            },
        }
    }
}

/// The containers there are, each with whether its command socket is open.
///
/// `sockets` are the containers whose command socket is open, or `None` where the table cannot be read. Without
/// Proxmox, or while it does not answer, the containers are those that have a control group or a socket.
pub fn containers(
    inventory: &Inventory,
    hierarchy: &Hierarchy,
    sockets: Option<&BTreeSet<Vmid>>,
) -> BTreeMap<Vmid, Option<bool>> {
    let mut ids: BTreeSet<Vmid> = inventory.ids().collect();
    if !matches!(inventory, Inventory::Proxmox(_)) {
        ids.extend(hierarchy.container_names().iter().filter_map(|name| name.parse::<Vmid>().ok()));
        ids.extend(sockets.into_iter().flatten());
    }
    ids.into_iter().map(|vmid| (vmid, sockets.map(|sockets| sockets.contains(&vmid)))).collect()
}

/// Decides whether a container runs.
///
/// `socket` is whether its command socket is open; where that is not known, its control groups alone decide.
pub fn liveness(socket: Option<bool>, groups: Option<ContainerGroups>) -> Liveness {
    const EMPTY: Liveness =
        Liveness::Unclear("its command socket is open, and its control group has no processes");
    let Some(groups) = groups else {
        return if socket == Some(true) { EMPTY } else { Liveness::Stopped };
    };
    match (socket, groups.is_populated()) {
        (Some(true), Some(true) | None) | (None, Some(true)) => Liveness::Running(groups),
        (Some(true), Some(false)) => EMPTY,
        (Some(false), Some(true)) => Liveness::Unclear(
            "its control group has processes, and its command socket is not in /proc/net/unix",
        ),
        (Some(false), Some(false) | None) | (None, Some(false)) => Liveness::Stopped,
        (None, None) => Liveness::Unclear("neither its command socket nor its processes can be looked up"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn liveness_needs_both_signs() {
        let directory = tempfile::tempdir().unwrap();
        let group = |name: &str, procs: Option<&str>| {
            let path = directory.path().join(name);
            std::fs::create_dir_all(&path).unwrap();
            if let Some(procs) = procs {
                std::fs::write(path.join("cgroup.procs"), procs).unwrap();
            }
            Some(ContainerGroups::V2(path))
        };
        let (busy, empty, blind) = (group("1", Some("71\n")), group("2", Some("")), group("3", None));
        let running = |groups: &Option<ContainerGroups>| Liveness::Running(groups.clone().unwrap());

        assert_eq!(liveness(Some(true), busy.clone()), running(&busy));
        assert_eq!(liveness(Some(true), blind.clone()), running(&blind));
        assert_eq!(liveness(None, busy.clone()), running(&busy));
        assert_eq!(liveness(Some(false), empty.clone()), Liveness::Stopped, "a group may be left over");
        assert_eq!(liveness(Some(false), None), Liveness::Stopped);
        assert_eq!(liveness(None, None), Liveness::Stopped);
        for (socket, groups) in
            [(Some(true), empty), (Some(true), None), (Some(false), busy), (None, blind.clone())]
        {
            let found = liveness(socket, groups);
            assert!(matches!(found, Liveness::Unclear(_)), "{found:?}");
        }
    }

    #[test]
    fn the_inventory_takes_exact_names_and_survives_unreadable_files() {
        let pve = tempfile::tempdir().unwrap();
        assert_eq!(Inventory::read(&pve.path().join("none")).unwrap(), Inventory::NotProxmox);
        assert!(Inventory::read(pve.path()).unwrap_err().is_gone(), "the cluster file system is not mounted");
        let lxc = pve.path().join("lxc");
        std::fs::create_dir(&lxc).unwrap();
        std::fs::write(lxc.join("104.conf"), "hostname: web\nmemory: 1024\nnonsense\n").unwrap();
        std::fs::write(lxc.join("104.conf.tmp.77"), "memory: 1\n").unwrap();
        std::fs::create_dir(lxc.join("105.conf")).unwrap();
        let inventory = Inventory::read(pve.path()).unwrap();
        assert_eq!(inventory.ids().map(Vmid::get).collect::<Vec<_>>(), [104, 105]);

        let vmid = |id: u32| Vmid::try_from(id).unwrap();
        let configuration = inventory.configuration(vmid(104)).unwrap().unwrap();
        assert_eq!((configuration.name.as_deref(), configuration.memory_mb.get()), (Some("web"), 1024));
        assert!(
            inventory.configuration(vmid(105)).unwrap_err().0.contains("105.conf` is not a regular file")
        );
        let Inventory::Proxmox(containers) = inventory else { panic!("it is a Proxmox node") };
        assert_eq!(containers[&vmid(104)].unreadable[0].line, 3);
    }
}
