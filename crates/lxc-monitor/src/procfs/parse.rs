//! The formats of the `/proc` files that only we read (proc(5)); those about the node are in core.

#![expect(clippy::missing_errors_doc, reason = "every parser fails with what it expected and what it found")]

use std::ops::Range;

use lxc_autoscale_core::BootId;
pub use lxc_autoscale_core::procfs::{command_sockets, cpu_time, load_averages, meminfo, uptime_seconds};
use lxc_autoscale_core::snapshot::{DeviceIo, InterfaceTraffic, Paging};

use crate::kernel_file::Unexpected;
use crate::sample::{ArcUse, NodePaging};

/// `/proc/net/dev`: received and sent traffic of each device.
pub fn network_devices(text: &str) -> Result<NetworkDevices, Unexpected> {
    let device = |line| {
        let unexpected = || Unexpected::new("`device: received … sent …`", line);
        let (name, counters): (&str, &str) = str::rsplit_once(line, ':').ok_or_else(unexpected)?;
        let mut words = counters.split_ascii_whitespace();
        let mut skip_and_take =
            |skipped| words.nth(skipped).and_then(|word| word.parse().ok()).ok_or_else(unexpected);
        // bytes packets errs drop fifo frame compressed multicast, then bytes packets errs drop …
        let traffic = InterfaceTraffic {
            rx_bytes: skip_and_take(0)?,
            rx_packets: skip_and_take(0)?,
            rx_errors: skip_and_take(0)?,
            rx_dropped: skip_and_take(0)?,
            tx_bytes: skip_and_take(4)?,
            tx_packets: skip_and_take(0)?,
            tx_errors: skip_and_take(0)?,
            tx_dropped: skip_and_take(0)?,
        };
        Ok((name.trim(), traffic))
    };
    // Two lines of headings.
    text.lines().skip(2).map(device).collect()
}

/// Network devices with their traffic, by name, with all names in one text: a node has at least one per container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkDevices {
    names: String,
    /// The position of each name.
    devices: Vec<(Range<usize>, InterfaceTraffic)>,
}

impl NetworkDevices {
    /// Each device.
    pub fn iter(&self) -> impl Iterator<Item = (&str, InterfaceTraffic)> {
        self.after(0)
    }

    /// The devices whose names begin with `prefix`.
    pub fn beginning_with(&self, prefix: &str) -> impl Iterator<Item = (&str, InterfaceTraffic)> {
        let first = self.devices.partition_point(|(name, _)| self.name(name) < prefix);
        self.after(first).take_while(move |(name, _)| name.starts_with(prefix))
    }

    fn after(&self, first: usize) -> impl Iterator<Item = (&str, InterfaceTraffic)> {
        self.devices.iter().skip(first).map(|(name, traffic)| (self.name(name), *traffic))
    }

    fn name(&self, place: &Range<usize>) -> &str {
        self.names.get(place.clone()).unwrap_or_default()
    }
}

impl<'a> FromIterator<(&'a str, InterfaceTraffic)> for NetworkDevices {
    fn from_iter<I: IntoIterator<Item = (&'a str, InterfaceTraffic)>>(all: I) -> Self {
        let (mut names, mut devices) = (String::new(), Vec::new());
        for (name, traffic) in all {
            let begin = names.len();
            names.push_str(name);
            devices.push((begin..names.len(), traffic));
        }
        let name = |place: &Range<usize>| names.get(place.clone()).unwrap_or_default();
        // Names are unique; if one were not, the last would count.
        devices.reverse();
        devices.sort_by(|(one, _), (other, _)| name(one).cmp(name(other)));
        devices.dedup_by(|(one, _), (other, _)| name(one) == name(other));
        Self { names, devices }
    }
}

/// `/proc/sys/kernel/random/boot_id`.
pub fn boot_id(text: &str) -> Result<BootId, Unexpected> {
    text.parse().map_err(|_| Unexpected::new("the id of a boot", text))
}

/// `/proc/<pid>/stat`: clock ticks from boot to the start of the process (field 22).
pub fn start_ticks(text: &str) -> Result<u64, Unexpected> {
    // The second field is the command in parentheses, which may contain blanks and parentheses itself.
    let after_command = text.rsplit_once(") ").map(|(_, rest)| rest);
    after_command
        .and_then(|rest| rest.split_ascii_whitespace().nth(19)?.parse().ok())
        .ok_or_else(|| Unexpected::new("a process status line with its start time", text))
}

/// `/proc/<pid>/status`: whether the process is the first one of a container that the node itself runs.
///
/// `NSpid` lists its id in each PID namespace from the reader's inward. A container's init has exactly two, the second
/// being 1; that of a container inside the container has three.
pub fn is_container_init(text: &str) -> bool {
    let ids = text.lines().find_map(|line| line.strip_prefix("NSpid:"));
    ids.is_some_and(|ids| matches!(ids.split_ascii_whitespace().collect::<Vec<_>>().as_slice(), [_, "1"]))
}

/// `/proc/<pid>/io`: bytes that a process, and the children it has waited for, read from and wrote to disks.
pub fn process_io(text: &str) -> Result<(u64, u64), Unexpected> {
    let value = |key: &str| {
        let number = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        number
            .and_then(|word| word.trim().parse().ok())
            .ok_or_else(|| Unexpected::new("`read_bytes` and `write_bytes` lines", text))
    };
    Ok((value("read_bytes")?, value("write_bytes")?))
}

/// `/proc/spl/kstat/zfs/arcstats`: ZFS's cache.
pub fn arc(text: &str) -> Result<ArcUse, Unexpected> {
    let value = |wanted: &str| {
        let bytes = text.lines().find_map(|line| {
            let mut words = line.split_ascii_whitespace();
            (words.next()? == wanted).then(|| words.nth(1)?.parse().ok())?
        });
        bytes.ok_or_else(|| Unexpected::new("`size`, `c_min` and `c_max` lines", text))
    };
    Ok(ArcUse { size: value("size")?, min: value("c_min")?, max: value("c_max")? })
}

/// `/proc/spl/kstat/zfs/<pool>/objset-0x…`: name of a dataset, and programs' reads and writes of it.
pub fn dataset(text: &str) -> Result<(String, DeviceIo), Unexpected> {
    let unexpected =
        || Unexpected::new("`dataset_name`, `nread`, `nwritten`, `reads` and `writes` lines", text);
    let value = |wanted: &str| {
        text.lines().find_map(|line| {
            let (key, rest) = line.split_once(' ')?;
            // Key, type, value; a name may contain blanks.
            let (_, value) = rest.trim_start().split_once(' ')?;
            (key == wanted).then(|| value.trim())
        })
    };
    let count = |wanted: &str| value(wanted).and_then(|count| count.parse().ok()).ok_or_else(unexpected);
    let io = DeviceIo {
        rbytes: count("nread")?,
        wbytes: count("nwritten")?,
        rios: count("reads")?,
        wios: count("writes")?,
    };
    Ok((value("dataset_name").ok_or_else(unexpected)?.to_owned(), io))
}

/// `/proc/loadavg`: processes and threads, the number behind the slash.
pub fn threads(text: &str) -> Result<u64, Unexpected> {
    let counts = text.split_ascii_whitespace().nth(3).and_then(|word| word.split_once('/'));
    counts
        .and_then(|(_, all)| all.parse().ok())
        .ok_or_else(|| Unexpected::new("`running/all` in the fourth place", text))
}

/// `/proc/vmstat`: paging of the whole node. Counters that the kernel does not have are absent.
pub fn vmstat(text: &str) -> Result<NodePaging, Unexpected> {
    let value = |wanted: &str| {
        text.lines().find_map(|line| line.strip_prefix(wanted)?.strip_prefix(' ')?.trim().parse().ok())
    };
    let paging = Paging {
        // Before Linux 5.9 there was one counter, of file pages only.
        refault_file: value("workingset_refault_file").or_else(|| value("workingset_refault")),
        refault_anon: value("workingset_refault_anon"),
        swap_in: value("pswpin"),
        swap_out: value("pswpout"),
        major_faults: value("pgmajfault"),
    };
    if paging.major_faults.is_none() {
        return Err(Unexpected::new("a `pgmajfault` line among others", text));
    }
    Ok(NodePaging { paging, oom_kill: value("oom_kill") })
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
