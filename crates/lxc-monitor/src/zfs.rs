//! Reads and writes of containers on ZFS.
//!
//! ZFS does its I/O in its own threads, so it is charged to no control group: a container on a dataset shows no block
//! I/O at all. Instead, since 0.8, ZFS counts the requests of programs for each dataset
//! (`/proc/spl/kstat/zfs/<pool>/objset-0x…`): bytes and calls of reads and writes, including those served from its
//! cache. Proxmox names the datasets of a container `subvol-<id>-disk-<n>`, by which they are found.
//!
//! The name is in the file, so each file is opened once to find its owner, and from then on only by full looks at that
//! container.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::snapshot::{DeviceIo, IoStats};
use lxc_autoscale_core::table::Table;

use crate::cgroup::group_names;
use crate::kernel_file::read_parsed;
use crate::procfs::parse;
use crate::sample::{BlockIo, Missing, Reading};

/// The unit of `io_stats`, in bytes.
const SECTOR_BYTES: u64 = 512;

/// How long the owner of a file is cached; a dataset may be renamed.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// The files of the datasets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Datasets {
    /// Each file with its container; most belong to none, or to a virtual machine.
    owners: BTreeMap<PathBuf, Option<Vmid>>,
    /// The files of containers.
    files: BTreeMap<Vmid, Vec<PathBuf>>,
    /// When all of them were last opened, in time since boot.
    looked_up: Duration,
}

impl Datasets {
    /// Lists the datasets of all pools, and opens the files that were not `known`; all of them once a minute. Without
    /// ZFS there are none. `now` is the time since boot.
    ///
    /// A dataset that disappears meanwhile, or a file that cannot be parsed, is left out: the container's I/O is then
    /// as unknown as it would be without this.
    pub fn refreshed(known: &Self, proc: &Path, now: Duration) -> Self {
        let is_recent = now.saturating_sub(known.looked_up) < LOOK_AGAIN;
        let mut datasets =
            Self { looked_up: if is_recent { known.looked_up } else { now }, ..Self::default() };
        let pools = proc.join("spl/kstat/zfs");
        for pool in group_names(&pools) {
            let Ok(entries) = std::fs::read_dir(pools.join(pool)) else { continue };
            let is_dataset = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b"objset-");
            for entry in entries.flatten().filter(|entry| is_dataset(&entry.file_name())) {
                let path = entry.path();
                let vmid = match known.owners.get(&path).filter(|_| is_recent) {
                    Some(vmid) => *vmid,
                    None => match read_parsed(&path, parse::dataset) {
                        Ok((name, _)) => owner(&name),
                        Err(_) => continue,
                    },
                };
                if let Some(vmid) = vmid {
                    datasets.files.entry(vmid).or_default().push(path.clone());
                }
                datasets.owners.insert(path, vmid);
            }
        }
        datasets
    }

    /// Bytes read from and written to each dataset of a container so far; reads its files.
    fn of(&self, vmid: Vmid) -> BTreeMap<String, DeviceIo> {
        let files = self.files.get(&vmid).map(Vec::as_slice).unwrap_or_default();
        let read = files.iter().filter_map(|path| read_parsed(path, parse::dataset).ok());
        read.filter(|(name, _)| owner(name) == Some(vmid)).collect()
    }

    /// Adds a container's I/O on ZFS to that of its control group. If the group has no value at all, `fallback` is
    /// used, which is right only without ZFS: processes count their I/O on ZFS, too.
    ///
    /// # Errors
    /// Why nothing is known.
    pub fn add_to(
        &self,
        io: Reading<BlockIo>,
        vmid: Vmid,
        fallback: impl FnOnce(Missing) -> Reading<BlockIo>,
    ) -> Reading<BlockIo> {
        let own = self.of(vmid);
        if own.is_empty() {
            return io.or_else(fallback);
        }
        let mut io = io.unwrap_or_else(|_| nothing());
        for device in own.values() {
            io.total.reads = io.total.reads.saturating_add(device.rbytes / SECTOR_BYTES);
            io.total.writes = io.total.writes.saturating_add(device.wbytes / SECTOR_BYTES);
            io.total.read_ops = io.total.read_ops.map(|ops| ops.saturating_add(device.rios));
            io.total.write_ops = io.total.write_ops.map(|ops| ops.saturating_add(device.wios));
        }
        io.devices = io.devices.with(own);
        Ok(io)
    }
}

/// The result for a group without any I/O.
fn nothing() -> BlockIo {
    let total = IoStats { reads: 0, writes: 0, read_ops: Some(0), write_ops: Some(0) };
    BlockIo { total, devices: Table::default() }
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
    use lxc_autoscale_core::snapshot::IoStats;

    use super::*;

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
        let group = BlockIo {
            total: IoStats { reads: 1, writes: 2, read_ops: Some(3), write_ops: Some(4) },
            devices: Table::default(),
        };
        let (_proc, datasets) = datasets();
        let io = datasets.add_to(Ok(group.clone()), vmid(104), Err).unwrap();
        let want = IoStats { reads: 1 + 4, writes: 2 + 24, read_ops: Some(3 + 4), write_ops: Some(4 + 6) };
        assert_eq!(io.total, want);
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
        assert_eq!((io.total.reads, io.total.writes), (4, 24));
        assert_eq!(datasets.add_to(uncounted(), vmid(105), of_processes), Ok(nothing()));
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
            datasets.add_to(Ok(nothing()), vmid(id), Err).map(|io| io.total.writes).unwrap()
        };
        assert_eq!(sectors(&known, 104), 24);
        write(proc.path(), "rpool/objset-0x8a", "rpool/data/subvol-104-disk-0", 8192);
        assert_eq!(sectors(&known, 104), 32);
        // Known files are not opened, and a new dataset is found at once.
        std::fs::write(proc.path().join("spl/kstat/zfs/rpool/objset-0x8b"), "nonsense\n").unwrap();
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
