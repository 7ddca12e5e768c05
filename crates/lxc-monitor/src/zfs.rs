//! What containers on ZFS read and wrote.
//!
//! ZFS does its I/O in threads of its own, so no control group is charged for it: a container on a dataset shows
//! no block I/O at all. What ZFS counts instead, since 0.8, is what programs asked of each dataset
//! (`/proc/spl/kstat/zfs/<pool>/objset-0x…`): the bytes and calls of reading and writing, those answered from its
//! cache included. Proxmox names the datasets of a container `subvol-<id>-disk-<n>`, which is how they are found.

use std::collections::BTreeMap;
use std::path::Path;

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::snapshot::{DeviceIo, IoStats};

use crate::cgroup::group_names;
use crate::kernel_file::read_parsed;
use crate::procfs::parse;
use crate::sample::{BlockIo, Missing, Reading};

/// The unit of `io_stats`, in bytes.
const SECTOR_BYTES: u64 = 512;

/// The datasets of containers, with what was read from and written to each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Datasets(BTreeMap<Vmid, BTreeMap<String, DeviceIo>>);

impl Datasets {
    /// Reads the counters of all pools; without ZFS there are none.
    ///
    /// A dataset that goes away meanwhile, or a file that is not understood, is left out: the container's I/O is
    /// then as unknown as it would be without this.
    pub fn read(proc: &Path) -> Self {
        let pools = proc.join("spl/kstat/zfs");
        let mut datasets = Self::default();
        for pool in group_names(&pools) {
            let Ok(entries) = std::fs::read_dir(pools.join(pool)) else { continue };
            let is_dataset = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b"objset-");
            for entry in entries.flatten().filter(|entry| is_dataset(&entry.file_name())) {
                let Ok((name, io)) = read_parsed(&entry.path(), parse::dataset) else { continue };
                if let Some(vmid) = owner(&name) {
                    datasets.0.entry(vmid).or_default().insert(name, io);
                }
            }
        }
        datasets
    }

    /// Adds what a container did on ZFS to what its control group says. Where that says nothing at all, `fallback`
    /// is asked, which is right only without ZFS: processes count what they do on ZFS, too.
    ///
    /// # Errors
    /// Why nothing is known.
    pub fn add_to(
        &self,
        io: Reading<BlockIo>,
        vmid: Vmid,
        fallback: impl FnOnce(Missing) -> Reading<BlockIo>,
    ) -> Reading<BlockIo> {
        let Some(own) = self.0.get(&vmid) else { return io.or_else(fallback) };
        let mut io = io.unwrap_or_else(|_| nothing());
        for device in own.values() {
            io.total.reads = io.total.reads.saturating_add(device.rbytes / SECTOR_BYTES);
            io.total.writes = io.total.writes.saturating_add(device.wbytes / SECTOR_BYTES);
            io.total.read_ops = io.total.read_ops.map(|ops| ops.saturating_add(device.rios));
            io.total.write_ops = io.total.write_ops.map(|ops| ops.saturating_add(device.wios));
        }
        io.devices.extend(own.clone());
        Ok(io)
    }
}

/// What a group says that counts no I/O.
fn nothing() -> BlockIo {
    let total = IoStats { reads: 0, writes: 0, read_ops: Some(0), write_ops: Some(0) };
    BlockIo { total, devices: BTreeMap::new() }
}

/// The container whose volume a dataset is, by the name that Proxmox gave it.
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

    /// Two pools with the datasets of container 104, one of container 1041, and what is none of a container.
    fn datasets() -> Datasets {
        let proc = tempfile::tempdir().unwrap();
        let write = |path: &str, name: &str, nwritten: u64| {
            let path = proc.path().join("spl/kstat/zfs").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text = format!(
                "28 1 0x01 7 2160 5523398096 127953381091805\nname type data\ndataset_name 7 {name}\n\
                 writes 4 3\nnwritten 4 {nwritten}\nreads 4 2\nnread 4 1024\nnunlinks 4 0\nnunlinked 4 0\n"
            );
            std::fs::write(path, text).unwrap();
        };
        write("rpool/objset-0x36", "rpool/ROOT/pve-1", 1 << 30);
        write("rpool/objset-0x8a", "rpool/data/subvol-104-disk-0", 4096);
        write("rpool/objset-0x8b", "rpool/data/subvol-1041-disk-0", 512);
        write("rpool/objset-0x8c", "rpool/data/vm-104-disk-0", 512);
        write("rpool/state", "rpool/data/subvol-104-disk-9", 512);
        write("tank/objset-0x11", "tank/subvol-104-disk-1", 8192);
        std::fs::write(proc.path().join("spl/kstat/zfs/tank/objset-0x12"), "nonsense\n").unwrap();
        Datasets::read(proc.path())
    }

    #[test]
    fn a_container_has_the_io_of_its_datasets_beside_that_of_its_group() {
        let group = BlockIo {
            total: IoStats { reads: 1, writes: 2, read_ops: Some(3), write_ops: Some(4) },
            devices: BTreeMap::new(),
        };
        let io = datasets().add_to(Ok(group.clone()), vmid(104), Err).unwrap();
        let want = IoStats { reads: 1 + 4, writes: 2 + 24, read_ops: Some(3 + 4), write_ops: Some(4 + 6) };
        assert_eq!(io.total, want);
        assert_eq!(
            io.devices.keys().collect::<Vec<_>>(),
            ["rpool/data/subvol-104-disk-0", "tank/subvol-104-disk-1"]
        );
        assert_eq!(datasets().add_to(Ok(group.clone()), vmid(105), Err), Ok(group), "not on ZFS");
    }

    #[test]
    fn where_the_group_counts_nothing_zfs_comes_before_the_processes() {
        let uncounted = || Err(Missing::because("the kernel counts no block I/O"));
        let of_processes = |_| Ok(nothing());
        let io = datasets().add_to(uncounted(), vmid(104), |_| panic!("processes count it twice")).unwrap();
        assert_eq!((io.total.reads, io.total.writes), (4, 24));
        assert_eq!(datasets().add_to(uncounted(), vmid(105), of_processes), Ok(nothing()));
    }

    #[test]
    fn without_zfs_there_are_no_datasets() {
        let proc = tempfile::tempdir().unwrap();
        assert_eq!(Datasets::read(proc.path()), Datasets::default());
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
