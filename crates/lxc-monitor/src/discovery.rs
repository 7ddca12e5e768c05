//! Which containers exist, and which of them are running, without starting a process.
//!
//! On a Proxmox node the containers are the files `<id>.conf` in `/etc/pve/lxc`. A container is running when its
//! command socket is listed in `/proc/net/unix`, which is Proxmox's own test, and its control group has processes: a
//! group alone may be left over from a container that was stopped, and a socket alone belongs to one that is starting
//! or stopping.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::container_config::{ContainerConfig, UnreadableLine};
use rustix::fs::{AtFlags, RawDir, statat};

use crate::cgroup::ContainerGroups;
use crate::clock;
use crate::kernel_file::{ReadError, read_text};
use crate::sample::{Missing, Moment, Reading};

/// A file is read again after this long even if it looks unchanged,
const READ_AGAIN: Duration = Duration::from_mins(1);
/// plus up to so many seconds, so that not all of them are read in one cycle.
const SPREAD_SECONDS: u32 = 30;
/// Proxmox's cluster file system has times in whole seconds, so a file changed this recently may change again without
/// looking different.
const SETTLED_SECONDS: i64 = 2;

/// The directory is listed in chunks of this size.
const LISTING_BYTES: usize = 8 << 10;

/// The name of a configuration file: that of the largest id fills it, with the zero at its end.
type Name = [u8; 16];

/// The content of `/etc/pve/lxc`.
#[derive(Clone, Debug, PartialEq)]
pub enum Inventory {
    /// There is no `/etc/pve`: a node without Proxmox.
    NotProxmox,
    /// It could not be read yet. Containers are found by their control groups, and configurations are missing.
    Unknown(Missing),
    /// The containers of this node, by id: a list, because it is built anew in each cycle while the last one still
    /// exists.
    Proxmox(Box<[(Vmid, StoredContainer)]>),
}

/// The configuration of one container.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredContainer {
    /// Its content, or why it cannot be read.
    pub configuration: Reading<Arc<ContainerConfig>>,
    /// Lines that cannot be parsed.
    pub unreadable: Vec<UnreadableLine>,
    /// The state of its file when it was read; `None` if it must be read again in any case.
    as_of: Option<AsOf>,
}

impl StoredContainer {
    fn read(path: &Path) -> Result<Self, ReadError> {
        let (configuration, unreadable) = ContainerConfig::parse(&read_text(path)?);
        Ok(Self { configuration: Ok(Arc::new(configuration)), unreadable, as_of: None })
    }

    /// The lines that cannot be parsed, as one text.
    pub fn trouble(&self) -> Option<String> {
        let lines: Vec<_> = self.unreadable.iter().map(ToString::to_string).collect();
        (!lines.is_empty()).then(|| lines.join("; "))
    }
}

/// When a file was read, and what shows whether it has changed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct AsOf {
    since_boot: Duration,
    stamp: Stamp,
}

/// The metadata of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(directory: &File, name: &CStr) -> Option<Self> {
        let stat = statat(directory, name, AtFlags::empty()).ok()?;
        #[allow(clippy::useless_conversion, reason = "they are narrower on other machines")]
        Some(Self {
            inode: stat.st_ino.into(),
            bytes: stat.st_size.into(),
            modified: (stat.st_mtime.into(), i64::try_from(stat.st_mtime_nsec).ok()?),
            changed: (stat.st_ctime.into(), i64::try_from(stat.st_ctime_nsec).ok()?),
        })
    }

    /// Whether a change from now on would show.
    fn is_settled(self, now: Moment) -> bool {
        self.modified.0.max(self.changed.0).saturating_add(SETTLED_SECONDS) <= now.wall.as_second()
    }
}

/// The configuration files in a directory, by id: in their order the kernel finds most of them faster than in that of the directory,
/// because what it keeps of them lies side by side if they were made one after the other.
fn files_in(directory: &File) -> io::Result<Vec<(Vmid, Name)>> {
    let mut files = Vec::new();
    let mut buffer = Vec::with_capacity(LISTING_BYTES);
    // Without copying each name.
    let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        let Some(vmid) = name.to_str().ok().and_then(Vmid::from_config_file_name) else { continue };
        let mut own = Name::default();
        let bytes = name.to_bytes_with_nul();
        let Some(place) = own.get_mut(..bytes.len()) else { continue };
        place.copy_from_slice(bytes);
        files.push((vmid, own));
    }
    files.sort_unstable();
    files.dedup();
    Ok(files)
}

impl AsOf {
    /// Whether the file still looks the same and was read recently enough.
    fn holds(self, vmid: Vmid, stamp: Stamp, now: Moment) -> bool {
        let spread = Duration::from_secs((vmid.get() % SPREAD_SECONDS).into());
        self.stamp == stamp && now.since_boot.saturating_sub(self.since_boot) < READ_AGAIN + spread
    }
}

/// Whether a container is running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// It is, in these groups.
    Running(ContainerGroups),
    /// It is not.
    Stopped,
    /// The signs contradict each other; it counts neither as running nor as stopped.
    Unclear(&'static str),
}

impl Inventory {
    /// Reads the configuration of every container.
    ///
    /// # Errors
    /// Like [`Self::refreshed`].
    pub fn read(pve: &Path) -> Result<Self, ReadError> {
        Self::NotProxmox.refreshed(pve, clock::now())
    }

    /// Reads the configurations that may have changed since these were read.
    ///
    /// # Errors
    /// When the directory cannot be listed; also when it is missing below `/etc/pve`, which is an empty directory while
    /// Proxmox's cluster file system is not mounted.
    pub fn refreshed(&self, pve: &Path, now: Moment) -> Result<Self, ReadError> {
        Ok(self.changed(pve, now)?.unwrap_or_else(|| self.clone()))
    }

    /// The same; `None` where nothing has changed, as in most cycles, which then need no second list.
    ///
    /// # Errors
    /// Like [`Self::refreshed`].
    pub fn changed(&self, pve: &Path, now: Moment) -> Result<Option<Self>, ReadError> {
        let directory = pve.join("lxc");
        let failed = |source| ReadError::Io { path: directory.clone(), source };
        let handle = match File::open(&directory) {
            Ok(handle) => handle,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return if pve.is_dir() {
                    Err(ReadError::Gone { path: directory })
                } else {
                    Ok(Some(Self::NotProxmox))
                };
            }
            Err(source) => return Err(failed(source)),
        };
        let known = self.list();
        let mut holds = vec![false; known.len()];
        let (mut others, mut next) = (Vec::new(), 0);
        for (vmid, name) in files_in(&handle).map_err(failed)? {
            let name = CStr::from_bytes_until_nul(&name).unwrap_or_default();
            // Before it is read: a change in between shows the next time.
            let stamp = Stamp::of(&handle, name);
            if let Some((place, stored)) = self.stored(vmid, next) {
                next = place + 1;
                let holds_still = |(as_of, stamp): (AsOf, Stamp)| as_of.holds(vmid, stamp, now);
                if stored.as_of.zip(stamp).is_some_and(holds_still) {
                    holds[place] = true;
                    continue;
                }
            }
            let name = OsStr::from_bytes(name.to_bytes());
            match StoredContainer::read(&directory.join(name)) {
                Ok(stored) => {
                    let stamp = stamp.filter(|stamp| stamp.is_settled(now));
                    let as_of = stamp.map(|stamp| AsOf { since_boot: now.since_boot, stamp });
                    others.push((vmid, StoredContainer { as_of, ..stored }));
                }
                // Destroyed or migrated away since the directory was listed.
                Err(error) if error.is_gone() => {}
                Err(error) => {
                    let configuration = Err(Missing::from(error));
                    let stored = StoredContainer { configuration, unreadable: Vec::new(), as_of: None };
                    others.push((vmid, stored));
                }
            }
        }
        if matches!(self, Self::Proxmox(_)) && others.is_empty() && holds.iter().all(|holds| *holds) {
            return Ok(None);
        }
        let still = known.iter().zip(holds).filter(|(_, holds)| *holds).map(|(known, _)| known.clone());
        let mut containers: Vec<_> = still.chain(others).collect();
        containers.sort_unstable_by_key(|(vmid, _)| *vmid);
        Ok(Some(Self::Proxmox(containers.into())))
    }

    fn list(&self) -> &[(Vmid, StoredContainer)] {
        match self {
            Self::NotProxmox | Self::Unknown(_) => &[],
            Self::Proxmox(containers) => containers,
        }
    }

    /// What is stored of a container, looked for at a place first; and its place.
    fn stored(&self, vmid: Vmid, first: usize) -> Option<(usize, &StoredContainer)> {
        let list = self.list();
        let place = match list.get(first) {
            Some((there, _)) if *there == vmid => first,
            _ => list.binary_search_by_key(&vmid, |(vmid, _)| *vmid).ok()?,
        };
        list.get(place).map(|(_, stored)| (place, stored))
    }

    /// Ids of the containers, as far as known without the control groups.
    pub fn ids(&self) -> impl Iterator<Item = Vmid> + '_ {
        self.list().iter().map(|(vmid, _)| *vmid)
    }

    /// The configuration of one container; `None` inside on a node without Proxmox.
    ///
    /// # Errors
    /// Why it is unknown.
    pub fn configuration(&self, vmid: Vmid) -> Reading<Option<Arc<ContainerConfig>>> {
        self.configuration_at(vmid, &mut 0)
    }

    /// The same for one container after the other, in their order: `next` is where the next one is looked for first.
    ///
    /// # Errors
    /// Why it is unknown.
    pub fn configuration_at(&self, vmid: Vmid, next: &mut usize) -> Reading<Option<Arc<ContainerConfig>>> {
        match self {
            Self::NotProxmox => Ok(None),
            Self::Unknown(missing) => Err(missing.clone()),
            Self::Proxmox(_) => match self.stored(vmid, *next) {
                Some((place, stored)) => {
                    *next = place + 1;
                    stored.configuration.clone().map(Some)
                }
                None => Err(Missing::because(format!("there is no configuration file `{vmid}.conf`"))),
            },
        }
    }
}

/// The existing containers, each with whether its command socket is open.
///
/// `in_groups` are the containers with a control group, `sockets` those whose command socket is open, or `None` if the
/// table cannot be read. Without Proxmox, or while it does not respond, the containers are those with a control group or
/// a socket.
pub fn containers(
    inventory: &Inventory,
    in_groups: BTreeSet<Vmid>,
    sockets: Option<&BTreeSet<Vmid>>,
) -> BTreeMap<Vmid, Option<bool>> {
    let mut ids: BTreeSet<Vmid> = inventory.ids().collect();
    if !matches!(inventory, Inventory::Proxmox(_)) {
        ids.extend(in_groups);
        ids.extend(sockets.into_iter().flatten());
    }
    ids.into_iter().map(|vmid| (vmid, sockets.map(|sockets| sockets.contains(&vmid)))).collect()
}

/// Decides whether a container is running.
///
/// `socket` is whether its command socket is open; if that is unknown, its control groups alone decide.
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
    use crate::cgroup::Hierarchy;

    #[test]
    fn liveness_needs_both_signs() {
        let directory = tempfile::tempdir().unwrap();
        let hierarchy = Arc::new(Hierarchy::V2 { root: directory.path().to_owned() });
        let group = |id: u32, procs: Option<&str>| {
            let path = directory.path().join(format!("lxc/{id}"));
            std::fs::create_dir_all(&path).unwrap();
            if let Some(procs) = procs {
                std::fs::write(path.join("cgroup.procs"), procs).unwrap();
            }
            hierarchy.container(id.try_into().unwrap())
        };
        let (busy, empty, blind) = (group(101, Some("71\n")), group(102, Some("")), group(103, None));
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
            inventory
                .configuration(vmid(105))
                .unwrap_err()
                .as_str()
                .contains("105.conf` is not a regular file")
        );
        let Inventory::Proxmox(containers) = inventory else { panic!("it is a Proxmox node") };
        assert_eq!(containers[0].1.unreadable[0].line, 3);
    }

    /// A directory with the configuration of container 104, last changed `age` before `now`.
    fn proxmox(memory: u32, age: Duration, now: Moment) -> tempfile::TempDir {
        let pve = tempfile::tempdir().unwrap();
        std::fs::create_dir(pve.path().join("lxc")).unwrap();
        configure(pve.path(), memory, age, now);
        pve
    }

    fn configure(pve: &Path, memory: u32, age: Duration, now: Moment) {
        let path = pve.join("lxc/104.conf");
        std::fs::write(&path, format!("memory: {memory}\n")).unwrap();
        let wall = Duration::try_from(now.wall.as_duration()).unwrap();
        let modified = std::time::SystemTime::UNIX_EPOCH + wall - age;
        File::options().append(true).open(path).unwrap().set_modified(modified).unwrap();
    }

    fn memory(inventory: &Inventory) -> u64 {
        inventory.configuration(104.try_into().unwrap()).unwrap().unwrap().memory_mb.get()
    }

    /// Now, or so much later: the time of a file's last status change cannot be set.
    fn later(seconds: u64) -> Moment {
        let now = clock::now();
        let time = Duration::from_secs(seconds);
        Moment { wall: now.wall + time, since_boot: now.since_boot + time }
    }

    #[test]
    fn a_configuration_that_looks_the_same_is_not_read_again_for_a_while() {
        let now = later(10);
        let pve = proxmox(512, Duration::from_secs(20), now);
        let first = Inventory::NotProxmox.refreshed(pve.path(), now).unwrap();
        let again = first.refreshed(pve.path(), later(11)).unwrap();
        let shared =
            |inventory: &Inventory| inventory.configuration(104.try_into().unwrap()).unwrap().unwrap();
        assert!(Arc::ptr_eq(&shared(&first), &shared(&again)));
        let much_later = again.refreshed(pve.path(), later(10 + 90)).unwrap();
        assert!(!Arc::ptr_eq(&shared(&first), &shared(&much_later)));
        assert_eq!(first, Inventory::NotProxmox.refreshed(pve.path(), now).unwrap());
    }

    #[test]
    fn a_change_is_seen_by_its_time_its_size_or_another_file_in_its_place() {
        let now = later(10);
        let pve = proxmox(512, Duration::from_secs(20), now);
        let mut inventory = Inventory::NotProxmox.refreshed(pve.path(), now).unwrap();
        configure(pve.path(), 600, Duration::from_secs(15), now);
        inventory = inventory.refreshed(pve.path(), later(11)).unwrap();
        assert_eq!(memory(&inventory), 600);
        configure(pve.path(), 1024, Duration::from_secs(15), now);
        inventory = inventory.refreshed(pve.path(), later(12)).unwrap();
        assert_eq!(memory(&inventory), 1024);
        let other = proxmox(2048, Duration::from_secs(15), now);
        std::fs::rename(other.path().join("lxc/104.conf"), pve.path().join("lxc/104.conf")).unwrap();
        inventory = inventory.refreshed(pve.path(), later(13)).unwrap();
        assert_eq!(memory(&inventory), 2048);
        std::fs::remove_file(pve.path().join("lxc/104.conf")).unwrap();
        inventory = inventory.refreshed(pve.path(), later(14)).unwrap();
        assert_eq!(inventory, Inventory::Proxmox(Box::default()));
    }

    #[test]
    fn a_file_that_was_changed_just_now_is_read_again() {
        let now = later(0);
        let pve = proxmox(512, Duration::ZERO, now);
        let inventory = Inventory::NotProxmox.refreshed(pve.path(), now).unwrap();
        let Inventory::Proxmox(containers) = &inventory else { panic!("it is a Proxmox node") };
        assert!(containers.iter().all(|(_, stored)| stored.as_of.is_none()), "{inventory:?}");
    }
}
