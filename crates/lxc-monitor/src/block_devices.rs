//! Counts each byte of block I/O once.
//!
//! The kernel counts a byte at every block device it passes: at the LVM volume, at the thin pool below it, and
//! at the disk. Summing all lines of `io.stat` would count it three times; leaving out `dm-*` by name would
//! count nothing where the disk's own line is missing. A device that stands on others says so in sysfs
//! (`/sys/dev/block/MAJ:MIN/slaves/`), so exactly the devices at the bottom are counted.
//!
//! A loop device stands on a *file* and has no such entry. Kernels since 5.14 charge what it does to the
//! container at the disk as well, older ones do not, so the larger of the two sums is what the container did.

use std::collections::BTreeMap;
use std::path::Path;

use lxc_autoscale_core::snapshot::IoStats;

use crate::cgroup::{DeviceIo, IoByDevice};
use crate::kernel_file::read_text;

/// The unit of `/proc/diskstats` and of the original, in bytes.
const SECTOR_BYTES: u64 = 512;

/// How one device is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// At the bottom: counted.
    Bottom,
    /// Over a file.
    Loop,
    /// Over other block devices, which are counted in its place.
    Layer,
    /// Left out by configuration.
    Excluded,
}

/// The block devices of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockDevices {
    roles: BTreeMap<(u32, u32), Role>,
}

impl BlockDevices {
    /// Looks at all devices listed in `/proc/diskstats`; `excluded` are names, a trailing `*` stands for any rest.
    ///
    /// A device that cannot be looked up is counted, since leaving out real I/O is the worse mistake.
    pub fn read(proc: &Path, sys: &Path, excluded: &[String]) -> Self {
        let text = read_text(&proc.join("diskstats")).unwrap_or_default();
        let role = |(number, name): ((u32, u32), &str)| {
            let (major, minor) = number;
            let slaves = sys.join(format!("dev/block/{major}:{minor}/slaves"));
            let has_slaves = std::fs::read_dir(slaves).is_ok_and(|mut entries| entries.next().is_some());
            let role = match () {
                () if excluded.iter().any(|pattern| matches_name(pattern, name)) => Role::Excluded,
                () if has_slaves => Role::Layer,
                () if name.starts_with("loop") => Role::Loop,
                () => Role::Bottom,
            };
            (number, role)
        };
        Self { roles: text.lines().filter_map(diskstats_line).map(role).collect() }
    }

    /// Sums what each device says, each byte once.
    pub fn count_once(&self, by_device: &IoByDevice) -> IoStats {
        let sum = |wanted: Role| {
            let mut sum = DeviceIo::default();
            for (number, io) in by_device {
                if *self.roles.get(number).unwrap_or(&Role::Bottom) == wanted {
                    sum.read_bytes = sum.read_bytes.saturating_add(io.read_bytes);
                    sum.write_bytes = sum.write_bytes.saturating_add(io.write_bytes);
                    sum.read_ops = sum.read_ops.saturating_add(io.read_ops);
                    sum.write_ops = sum.write_ops.saturating_add(io.write_ops);
                }
            }
            sum
        };
        let (disks, loops) = (sum(Role::Bottom), sum(Role::Loop));
        IoStats {
            reads: disks.read_bytes.max(loops.read_bytes) / SECTOR_BYTES,
            writes: disks.write_bytes.max(loops.write_bytes) / SECTOR_BYTES,
            read_ops: Some(disks.read_ops.max(loops.read_ops)),
            write_ops: Some(disks.write_ops.max(loops.write_ops)),
        }
    }
}

/// Bytes as the I/O counters of a record, where the number of operations is not known.
pub fn io_from_bytes(read_bytes: u64, write_bytes: u64) -> IoStats {
    IoStats {
        reads: read_bytes / SECTOR_BYTES,
        writes: write_bytes / SECTOR_BYTES,
        read_ops: None,
        write_ops: None,
    }
}

/// `MAJ MIN NAME …`
fn diskstats_line(line: &str) -> Option<((u32, u32), &str)> {
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

    #[track_caller]
    fn check(devices: &BlockDevices, lines: &[((u32, u32), u64)], want_sectors: u64) {
        let io = |bytes| DeviceIo { read_bytes: bytes, write_bytes: 2 * bytes, read_ops: 1, write_ops: 1 };
        let by_device = lines.iter().map(|(number, bytes)| (*number, io(*bytes))).collect();
        let stats = devices.count_once(&by_device);
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
}
