//! Counts each byte of block I/O once.
//!
//! The kernel counts a byte at every block device it passes: at the LVM volume, at the thin pool below it, and at the
//! disk. Summing all lines of `io.stat` would count it three times; excluding `dm-*` by name would count nothing if the
//! disk's own line is missing. A device that is based on others says so in sysfs (`/sys/dev/block/MAJ:MIN/slaves/`), so
//! exactly the devices at the bottom are counted.
//!
//! A loop device is based on a *file* and has no such entry. Kernels since 5.14 charge its I/O to the container at the
//! disk as well, older ones do not, so the larger of the two sums is the container's I/O.
//!
//! On a node with LVM each container has a device of its own, so that looking up each in every cycle would cost as much
//! as a quiet look at its container. The result is reused while the devices are the same, for at most a minute.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lxc_autoscale_core::snapshot::IoStats;

use crate::cgroup::{DeviceIo, IoByDevice};
use crate::kept_files::KeptFiles;
use crate::kernel_file::read_text;
use crate::sample::{BlockIo, CountedAs, IoCounts, IoPart, IoPlace};
use crate::usage::SECTOR_BYTES;

/// How one device is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// At the bottom: counted.
    Bottom,
    /// Based on a file.
    Loop,
    /// Based on other block devices, which are counted instead.
    Layer,
    /// Excluded by configuration.
    Excluded,
}

/// One device.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Device {
    name: String,
    role: Role,
}

/// Longest time for which a lookup is reused.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// The block devices of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockDevices {
    devices: BTreeMap<(u32, u32), Device>,
    excluded: Vec<String>,
    /// When they were looked up, in time since boot.
    looked_up: Duration,
}

impl BlockDevices {
    /// The devices of the last lookup, if they are the same and it is less than a minute old; otherwise looks them up
    /// again. `now` is the time since boot.
    pub fn refreshed(
        files: &KeptFiles,
        known: &Arc<Self>,
        proc: &Path,
        sys: &Path,
        excluded: &[String],
        now: Duration,
    ) -> Arc<Self> {
        let text = files.parsed_list(proc, "diskstats", |text| Ok(text.to_owned())).unwrap_or_default();
        let is_recent = now.saturating_sub(known.looked_up) < LOOK_AGAIN && known.excluded == excluded;
        if is_recent && known.are_listed_in(&text) {
            return Arc::clone(known);
        }
        Arc::new(Self { looked_up: now, ..Self::look_up(&text, sys, excluded) })
    }

    fn are_listed_in(&self, text: &str) -> bool {
        let mut listed = text.lines().filter_map(diskstats_line);
        let is_known = |(number, name)| self.devices.get(&number).is_some_and(|device| device.name == name);
        listed.clone().count() == self.devices.len() && listed.all(is_known)
    }

    /// Looks up all devices listed in `/proc/diskstats`; `excluded` are names, a trailing `*` stands for any rest.
    ///
    /// A device that cannot be looked up is counted, because missing real I/O is the worse mistake.
    pub fn read(proc: &Path, sys: &Path, excluded: &[String]) -> Self {
        Self::look_up(&read_text(&proc.join("diskstats")).unwrap_or_default(), sys, excluded)
    }

    fn look_up(text: &str, sys: &Path, excluded: &[String]) -> Self {
        let device = |(number, name): ((u32, u32), &str)| {
            let (major, minor) = number;
            let slaves = sys.join(format!("dev/block/{major}:{minor}/slaves"));
            let has_slaves = std::fs::read_dir(slaves).is_ok_and(|mut entries| entries.next().is_some());
            let role = match () {
                () if excluded.iter().any(|pattern| matches_name(pattern, name)) => Role::Excluded,
                () if has_slaves => Role::Layer,
                () if name.starts_with("loop") => Role::Loop,
                () => Role::Bottom,
            };
            (number, Device { name: name.to_owned(), role })
        };
        let devices = text.lines().filter_map(diskstats_line).map(device).collect();
        Self { devices, excluded: excluded.to_vec(), looked_up: Duration::ZERO }
    }

    /// Says what the devices' I/O adds to, so that each byte counts once, and names the devices with any.
    pub fn describe(&self, by_device: &IoByDevice) -> BlockIo {
        let named = by_device
            .iter()
            .filter(|(number, io)| **io != DeviceIo::default() && self.role(**number) != Role::Excluded);
        BlockIo {
            counts: IoCounts::Parts(by_device.iter().map(|(number, io)| self.part(*number, *io)).collect()),
            devices: named.map(|(number, io)| (self.name(*number), *io)).collect(),
        }
    }

    /// What a device is called in a record.
    pub(crate) fn name(&self, (major, minor): (u32, u32)) -> String {
        match self.devices.get(&(major, minor)) {
            Some(device) => device.name.clone(),
            // Removed since: its numbers are the name the kernel uses here.
            None => format!("{major}:{minor}"),
        }
    }

    fn part(&self, number: (u32, u32), io: DeviceIo) -> IoPart {
        let counted = match self.role(number) {
            Role::Bottom => CountedAs::Disk,
            Role::Loop => CountedAs::Loop,
            Role::Layer | Role::Excluded => CountedAs::Nothing,
        };
        IoPart { place: IoPlace::Device(number), counted, io }
    }

    fn role(&self, number: (u32, u32)) -> Role {
        self.devices.get(&number).map_or(Role::Bottom, |device| device.role)
    }
}

/// Bytes as the I/O counters of a record, if the number of operations is unknown.
pub fn io_from_bytes(read_bytes: u64, write_bytes: u64) -> IoStats {
    IoStats {
        reads: read_bytes / SECTOR_BYTES,
        writes: write_bytes / SECTOR_BYTES,
        read_ops: None,
        write_ops: None,
    }
}

/// A line of `/proc/diskstats`: `MAJ MIN NAME …`.
pub fn diskstats_line(line: &str) -> Option<((u32, u32), &str)> {
    let mut words = line.split_ascii_whitespace();
    Some(((words.next()?.parse().ok()?, words.next()?.parse().ok()?), words.next()?))
}

fn matches_name(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::IoCounter;

    /// A node with a disk, two LVM volumes on it, a loop device and compressed swap in memory.
    fn devices(excluded: &[&str]) -> BlockDevices {
        let directory = tempfile::tempdir().unwrap();
        let (proc, sys) = (directory.path().join("proc"), directory.path().join("sys"));
        std::fs::create_dir_all(&proc).unwrap();
        let disks = "   8       0 sda 9 9\n   7       0 loop0 0\n 253       1 dm-1 0\n 253       2 dm-2 0\n 252       0 zram0 0\n";
        std::fs::write(proc.join("diskstats"), disks).unwrap();
        for below in ["8:0/slaves", "253:1/slaves/sda", "253:2/slaves/dm-1"] {
            std::fs::create_dir_all(sys.join("dev/block").join(below)).unwrap();
        }
        let excluded: Vec<_> = excluded.iter().map(|&pattern| pattern.to_owned()).collect();
        BlockDevices::read(&proc, &sys, &excluded)
    }

    #[test]
    fn they_are_looked_up_again_when_there_are_others_and_after_a_minute() {
        let directory = tempfile::tempdir().unwrap();
        let (proc, sys) = (directory.path().join("proc"), directory.path().join("sys"));
        std::fs::create_dir_all(&proc).unwrap();
        let list = |text: &str| std::fs::write(proc.join("diskstats"), text).unwrap();
        let at = |known: &Arc<BlockDevices>, second: u64| {
            BlockDevices::refreshed(
                &KeptFiles::for_one_look(),
                known,
                &proc,
                &sys,
                &[],
                Duration::from_secs(second),
            )
        };
        let role = |devices: &Arc<BlockDevices>| devices.role((253, 1));
        list(" 8 0 sda 9\n 253 1 dm-1 0\n");
        let first = at(&Arc::default(), 100);
        assert_eq!(role(&first), Role::Bottom);
        std::fs::create_dir_all(sys.join("dev/block/253:1/slaves/sda")).unwrap();
        list(" 8 0 sda 10\n 253 1 dm-1 5\n");
        assert!(Arc::ptr_eq(&at(&first, 159), &first), "the same devices");
        assert_eq!(role(&at(&first, 160)), Role::Layer, "a minute later");
        list(" 8 0 sda 10\n 253 1 dm-1 5\n 253 2 dm-2 0\n");
        assert_eq!(role(&at(&first, 101)), Role::Layer, "one came");
        list(" 8 0 sda 10\n 253 1 dm-7 5\n");
        assert_eq!(role(&at(&first, 101)), Role::Layer, "another one has its number");
    }

    #[track_caller]
    fn check(devices: &BlockDevices, lines: &[((u32, u32), u64)], want_sectors: u64) {
        let io = |bytes| DeviceIo { rbytes: bytes, wbytes: 2 * bytes, rios: 1, wios: 1 };
        let by_device = lines.iter().map(|(number, bytes)| (*number, io(*bytes))).collect();
        let stats = IoCounter::begin(&devices.describe(&by_device).counts).total();
        assert_eq!((stats.reads, stats.writes), (want_sectors, 2 * want_sectors), "{lines:?}");
    }

    #[test]
    fn a_byte_that_passes_three_layers_is_counted_once() {
        check(&devices(&[]), &[((8, 0), 5120), ((253, 1), 5120), ((253, 2), 5120)], 10);
    }

    #[test]
    fn a_loop_device_is_counted_where_the_disk_was_not_charged() {
        check(&devices(&[]), &[((7, 0), 5120)], 10);
        check(&devices(&[]), &[((7, 0), 5120), ((8, 0), 6144)], 12);
    }

    #[test]
    fn excluded_devices_are_left_out_and_unknown_ones_are_not() {
        let lines = [((252, 0), 5120), ((259, 0), 512)];
        check(&devices(&["zram*"]), &lines, 1);
        check(&devices(&["zram0"]), &lines, 1);
        check(&devices(&["zram"]), &lines, 11);
    }

    #[test]
    fn devices_that_did_something_are_named_layer_by_layer() {
        let io = |rbytes| DeviceIo { rbytes, ..DeviceIo::default() };
        let lines =
            [((8, 0), io(1)), ((253, 2), io(2)), ((253, 1), io(0)), ((252, 0), io(3)), ((259, 7), io(4))];
        let found = devices(&["zram*"]).describe(&lines.into_iter().collect()).devices;
        let want = [("259:7", io(4)), ("dm-2", io(2)), ("sda", io(1))];
        assert_eq!(found, want.map(|(name, io)| (name.to_owned(), io)).into_iter().collect());
    }
}
