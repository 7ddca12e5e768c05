//! Reads and writes of containers on ZFS.
//!
//! ZFS does its I/O in its own threads, so it is charged to no control group: a container on a dataset shows no block
//! I/O at all. Instead, since 0.8, ZFS counts the requests of programs for each dataset
//! (`/proc/spl/kstat/zfs/<pool>/objset-0x…`): bytes and calls of reads and writes, including those served from its
//! cache. Proxmox names the datasets of a container `subvol-<id>-disk-<n>`, by which they are found.
//!
//! These counters are those of the dataset, not of the container: they go on from one container to the next, and hold what
//! was done before a volume was attached. So only their increase counts (see [`crate::usage`]).
//!
//! The name is in the file, so each file is opened once to find its owner, and from then on only by full looks at that
//! container.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::table::Table;

use crate::cgroup::group_names;
use crate::kernel_file::read_parsed;
use crate::procfs::parse;
use crate::sample::{BlockIo, CountedAs, IoCounts, IoPart, IoPlace, Missing, Reading};

/// How long the owner of a file is cached; a dataset may be renamed.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// The files of the datasets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Datasets {
    /// Each file with its container; most belong to none, or to a virtual machine.
    owners: BTreeMap<Arc<Path>, Option<Vmid>>,
    /// The files of containers.
    files: BTreeMap<Vmid, Vec<Arc<Path>>>,
    /// When all of them were last opened, in time since boot.
    looked_up: Duration,
}

impl Datasets {
    /// Lists the datasets of all pools, and opens the files that were not `known`; all of them once a minute. Without
    /// ZFS there are none. `now` is the time since boot.
    ///
    /// A dataset that is gone is left out. What cannot be listed or read now is whose it was, so that the container's I/O
    /// becomes unknown and not less.
    pub fn refreshed(known: &Self, proc: &Path, now: Duration) -> Self {
        let is_recent = now.saturating_sub(known.looked_up) < LOOK_AGAIN;
        let mut datasets =
            Self { looked_up: if is_recent { known.looked_up } else { now }, ..Self::default() };
        let pools = proc.join("spl/kstat/zfs");
        let names = group_names(&pools);
        if names.is_empty()
            && !known.owners.is_empty()
            && std::fs::read_dir(&pools).is_err_and(|error| error.kind() != std::io::ErrorKind::NotFound)
        {
            return known.clone();
        }
        for pool in names {
            let directory = pools.join(pool);
            let entries = match std::fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(_) => {
                    let below = known.owners.iter().filter(|(path, _)| path.parent() == Some(&directory));
                    below.for_each(|(path, vmid)| datasets.add(Arc::clone(path), *vmid));
                    continue;
                }
            };
            let is_dataset = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b"objset-");
            for entry in entries.flatten().filter(|entry| is_dataset(&entry.file_name())) {
                let path = entry.path();
                let before = known.owners.get_key_value(path.as_path());
                let vmid = match before.filter(|_| is_recent) {
                    Some((_, vmid)) => *vmid,
                    None => match (read_parsed(&path, parse::dataset), before) {
                        (Ok((name, _)), _) => owner(&name),
                        (Err(error), Some((_, vmid))) if !error.is_gone() => *vmid,
                        (Err(_), _) => continue,
                    },
                };
                datasets.add(before.map_or_else(|| path.into(), |(path, _)| Arc::clone(path)), vmid);
            }
        }
        datasets
    }

    fn add(&mut self, path: Arc<Path>, vmid: Option<Vmid>) {
        if let Some(vmid) = vmid {
            self.files.entry(vmid).or_default().push(Arc::clone(&path));
        }
        self.owners.insert(path, vmid);
    }

    /// The name of each dataset of a container, and its I/O so far; reads the files.
    fn of(&self, vmid: Vmid) -> Reading<Vec<(String, IoPart)>> {
        let mut own = Vec::new();
        for path in self.files.get(&vmid).map(Vec::as_slice).unwrap_or_default() {
            match read_parsed(path, parse::dataset) {
                Ok((name, io)) if owner(&name) == Some(vmid) => {
                    let place = IoPlace::Dataset(Arc::clone(path));
                    own.push((name, IoPart { place, counted: CountedAs::Dataset, io }));
                }
                // Renamed: it is another container's now.
                Ok(_) => {}
                Err(error) if error.is_gone() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(own)
    }

    /// Adds a container's I/O on ZFS to that of its control group. If the group has no value at all, `fallback` is
    /// used, which is right only without ZFS: processes count their I/O on ZFS, too.
    ///
    /// # Errors
    /// Why nothing is known, or not all.
    pub fn add_to(
        &self,
        io: Reading<BlockIo>,
        vmid: Vmid,
        fallback: impl FnOnce(Missing) -> Reading<BlockIo>,
    ) -> Reading<BlockIo> {
        let own = self.of(vmid)?;
        if own.is_empty() {
            return io.or_else(fallback);
        }
        let (of_group, devices) = match io {
            Ok(BlockIo { counts: IoCounts::Parts(parts), devices }) => (Some(parts), devices),
            Ok(BlockIo { counts: IoCounts::Processes(_), .. }) | Err(_) => (None, Table::default()),
        };
        let of_group = of_group.as_deref().unwrap_or_default();
        let parts = of_group.iter().chain(own.iter().map(|(_, part)| part)).cloned().collect();
        let devices = devices.with(own.into_iter().map(|(name, part)| (name, part.io)));
        Ok(BlockIo { counts: IoCounts::Parts(parts), devices })
    }
}

/// The container that owns a dataset, by the name that Proxmox gave it.
fn owner(dataset: &str) -> Option<Vmid> {
    let (_, volume) = dataset.rsplit_once('/')?;
    let (vmid, number) = volume.strip_prefix("subvol-")?.split_once("-disk-")?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| vmid.parse().ok())?
}

#[cfg(test)]
mod tests {
    use lxc_autoscale_core::snapshot::DeviceIo;

    use super::*;

    /// What a group without any I/O has.
    fn nothing() -> BlockIo {
        BlockIo { counts: IoCounts::Parts([].into()), devices: Table::default() }
    }

    /// What the datasets count, by the names of their files, and that the rest is what the group had.
    #[track_caller]
    fn on_zfs(io: &BlockIo, group: &BlockIo) -> Vec<(String, DeviceIo)> {
        let (IoCounts::Parts(parts), IoCounts::Parts(of_group)) = (&io.counts, &group.counts) else {
            panic!("{io:?}")
        };
        assert_eq!(&parts[..of_group.len()], &**of_group);
        let named = |part: &IoPart| {
            let IoPlace::Dataset(path) = &part.place else { panic!("{part:?}") };
            assert_eq!(part.counted, CountedAs::Dataset);
            (path.file_name().unwrap().to_str().unwrap().to_owned(), part.io)
        };
        parts[of_group.len()..].iter().map(named).collect()
    }

    fn vmid(id: u32) -> Vmid {
        Vmid::try_from(id).unwrap()
    }

    fn write(proc: &Path, path: &str, name: &str, nwritten: u64) {
        let path = proc.join("spl/kstat/zfs").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = format!(
            "28 1 0x01 7 2160 5523398096 127953381091805\nname type data\ndataset_name 7 {name}\n\
             writes 4 3\nnwritten 4 {nwritten}\nreads 4 2\nnread 4 1024\nnunlinks 4 0\nnunlinked 4 0\n"
        );
        std::fs::write(path, text).unwrap();
    }

    fn first(proc: &Path) -> Datasets {
        Datasets::refreshed(&Datasets::default(), proc, Duration::from_secs(100))
    }

    /// Two pools with the datasets of container 104, one of container 1041, and one of no container.
    fn datasets() -> (tempfile::TempDir, Datasets) {
        let proc = tempfile::tempdir().unwrap();
        let write = |path: &str, name: &str, nwritten: u64| write(proc.path(), path, name, nwritten);
        write("rpool/objset-0x36", "rpool/ROOT/pve-1", 1 << 30);
        write("rpool/objset-0x8a", "rpool/data/subvol-104-disk-0", 4096);
        write("rpool/objset-0x8b", "rpool/data/subvol-1041-disk-0", 512);
        write("rpool/objset-0x8c", "rpool/data/vm-104-disk-0", 512);
        write("rpool/state", "rpool/data/subvol-104-disk-9", 512);
        write("tank/objset-0x11", "tank/subvol-104-disk-1", 8192);
        std::fs::write(proc.path().join("spl/kstat/zfs/tank/objset-0x12"), "nonsense\n").unwrap();
        let datasets = first(proc.path());
        (proc, datasets)
    }

    #[test]
    fn a_container_has_the_io_of_its_datasets_beside_that_of_its_group() {
        let disk = DeviceIo { rbytes: 512, wbytes: 1024, rios: 3, wios: 4 };
        let part = IoPart { place: IoPlace::Device((8, 0)), counted: CountedAs::Disk, io: disk };
        let group = BlockIo { counts: IoCounts::Parts([part].into()), devices: Table::default() };
        let (_proc, datasets) = datasets();
        let io = datasets.add_to(Ok(group.clone()), vmid(104), Err).unwrap();
        let written = |wbytes| DeviceIo { rbytes: 1024, wbytes, rios: 2, wios: 3 };
        let want = [("objset-0x8a", 4096), ("objset-0x11", 8192)];
        let want = want.map(|(file, wbytes)| (file.to_owned(), written(wbytes)));
        assert_eq!(on_zfs(&io, &group), want);
        assert_eq!(
            io.devices.keys().collect::<Vec<_>>(),
            ["rpool/data/subvol-104-disk-0", "tank/subvol-104-disk-1"]
        );
        assert_eq!(datasets.add_to(Ok(group.clone()), vmid(105), Err), Ok(group), "not on ZFS");
    }

    #[test]
    fn where_the_group_counts_nothing_zfs_comes_before_the_processes() {
        let uncounted = || Err(Missing::because("the kernel counts no block I/O"));
        let of_processes = |_| Ok(nothing());
        let (_proc, datasets) = datasets();
        let io = datasets.add_to(uncounted(), vmid(104), |_| panic!("processes count it twice")).unwrap();
        assert_eq!(on_zfs(&io, &nothing()).len(), 2);
        assert_eq!(datasets.add_to(uncounted(), vmid(105), of_processes), Ok(nothing()));
    }

    #[test]
    fn while_a_dataset_cannot_be_read_nothing_is_known() {
        let (proc, known) = datasets();
        let later = |seconds| Datasets::refreshed(&known, proc.path(), Duration::from_secs(seconds));
        let place = proc.path().join("spl/kstat/zfs/tank/objset-0x11");
        std::fs::write(&place, "nonsense\n").unwrap();
        // Also when the owners are looked up again.
        for datasets in [later(101), later(200)] {
            let missing = datasets.add_to(Ok(nothing()), vmid(104), Err).unwrap_err();
            assert!(missing.as_str().contains("objset-0x11`: expected "), "{missing}");
        }
        std::fs::remove_file(place).unwrap();
        let io = later(101).add_to(Ok(nothing()), vmid(104), Err).unwrap();
        assert_eq!(on_zfs(&io, &nothing()).len(), 1, "it is gone, and the other one goes on");
    }

    #[test]
    fn without_zfs_there_are_no_datasets() {
        let proc = tempfile::tempdir().unwrap();
        let none = Datasets { looked_up: Duration::from_secs(100), ..Datasets::default() };
        assert_eq!(first(proc.path()), none);
    }

    #[test]
    fn a_file_is_opened_once_to_learn_whose_it_is_and_read_at_each_look_at_its_container() {
        let (proc, known) = datasets();
        let sectors = |datasets: &Datasets, id| {
            let io = datasets.add_to(Ok(nothing()), vmid(id), Err).unwrap();
            on_zfs(&io, &nothing()).iter().map(|(_, io)| io.wbytes / 512).sum::<u64>()
        };
        assert_eq!(sectors(&known, 104), 24);
        write(proc.path(), "rpool/objset-0x8a", "rpool/data/subvol-104-disk-0", 8192);
        assert_eq!(sectors(&known, 104), 32);
        // Known files are not opened, and a new dataset is found at once.
        write(proc.path(), "rpool/objset-0x8b", "rpool/data/vm-1041-disk-0", 512);
        write(proc.path(), "rpool/objset-0x90", "rpool/data/subvol-105-disk-0", 512);
        let later = |seconds| Datasets::refreshed(&known, proc.path(), Duration::from_secs(seconds));
        assert!(later(159).files.contains_key(&vmid(1041)) && !later(160).files.contains_key(&vmid(1041)));
        assert_eq!(sectors(&later(101), 105), 1);
        // A renamed dataset is no longer counted for its former owner, and is found within a minute.
        write(proc.path(), "tank/objset-0x11", "tank/subvol-106-disk-0", 8192);
        assert_eq!((sectors(&later(159), 104), sectors(&later(159), 106)), (16, 0));
        assert_eq!(sectors(&later(160), 106), 16);
        std::fs::remove_file(proc.path().join("spl/kstat/zfs/tank/objset-0x11")).unwrap();
        assert!(!later(160).files.contains_key(&vmid(106)));
    }

    #[test]
    fn only_the_names_of_proxmox_belong_to_a_container() {
        assert_eq!(owner("rpool/data/subvol-104-disk-0"), Some(vmid(104)));
        for other in
            ["subvol-104-disk-0", "p/subvol-104-disk-", "p/subvol-104-disk-x", "p/subvol-4-disk-0", "p/x"]
        {
            assert_eq!(owner(other), None, "{other}");
        }
    }
}
