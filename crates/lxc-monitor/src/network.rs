//! The traffic of one container.
//!
//! Proxmox names the node's end of each of a container's network devices `veth<id>i<n>`; what the node sends there the
//! container receives. If no device has such a name (plain LXC chooses random ones), the container's own table is read
//! through its first process.

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::snapshot::{InterfaceTraffic, NetworkUsage};
use lxc_autoscale_core::table::Table;

use crate::procfs::Procfs;
use crate::procfs::parse::NetworkDevices;
use crate::sample::{InitProcess, Reading, Traffic};

/// Devices inside a container over which traffic passes a second time.
const INNER_DEVICES: [&str; 6] = ["veth", "docker", "br-", "virbr", "lxcbr", "lxdbr"];

/// Reads the traffic of a container in its own directions. If it is as it was `before`, that table is returned.
///
/// # Errors
/// Why it is unknown.
pub fn read(
    procfs: &Procfs,
    node_devices: &Reading<NetworkDevices>,
    vmid: Vmid,
    init: &Reading<InitProcess>,
    before: Option<&Table<InterfaceTraffic>>,
) -> Reading<Traffic> {
    if let Ok(devices) = node_devices {
        let ends = node_ends(devices, vmid, before);
        if !ends.is_empty() {
            return Ok(traffic(ends));
        }
    }
    let init = init.as_ref().map_err(Clone::clone)?;
    Ok(traffic(own_ends(&procfs.network_devices_of(init.pid)?)))
}

/// The node's ends of the container's devices, with the directions swapped.
fn node_ends(
    devices: &NetworkDevices,
    vmid: Vmid,
    before: Option<&Table<InterfaceTraffic>>,
) -> Table<InterfaceTraffic> {
    let prefix = format!("veth{vmid}i");
    let is_own = |name: &str| {
        name.strip_prefix(&prefix)
            .is_some_and(|index| !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit()))
    };
    // The table may have thousands of names; those of one container are adjacent.
    let own = || {
        let own = devices.beginning_with(&prefix).filter(|(name, _)| is_own(name));
        own.map(|(name, end)| (name, turned_round(end)))
    };
    // Most containers send and receive nothing in most seconds.
    let is_same = |before: &&Table<InterfaceTraffic>| {
        let mut last = before.entries();
        own().all(|now| last.next().is_some_and(|(name, traffic)| now == (name, *traffic)))
            && last.next().is_none()
    };
    before.filter(is_same).cloned().unwrap_or_else(|| own().collect())
}

fn turned_round(end: InterfaceTraffic) -> InterfaceTraffic {
    InterfaceTraffic {
        rx_bytes: end.tx_bytes,
        rx_packets: end.tx_packets,
        rx_errors: end.tx_errors,
        rx_dropped: end.tx_dropped,
        tx_bytes: end.rx_bytes,
        tx_packets: end.rx_packets,
        tx_errors: end.rx_errors,
        tx_dropped: end.rx_dropped,
    }
}

/// The devices inside the container that lead out of it; without any there is no traffic.
fn own_ends(devices: &NetworkDevices) -> Table<InterfaceTraffic> {
    let is_outer = |name: &str| name != "lo" && !INNER_DEVICES.iter().any(|inner| name.starts_with(inner));
    devices.iter().filter(|(name, _)| is_outer(name)).collect()
}

fn traffic(interfaces: Table<InterfaceTraffic>) -> Traffic {
    let mut total = NetworkUsage { rx_bytes: 0, tx_bytes: 0 };
    for (_, interface) in interfaces.entries() {
        total.rx_bytes = total.rx_bytes.saturating_add(interface.rx_bytes);
        total.tx_bytes = total.tx_bytes.saturating_add(interface.tx_bytes);
    }
    Traffic { total, interfaces }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(table: &[(&str, u64, u64)]) -> NetworkDevices {
        let traffic =
            |rx_bytes, tx_bytes| InterfaceTraffic { rx_bytes, tx_bytes, ..InterfaceTraffic::default() };
        table.iter().map(|(name, received, sent)| (*name, traffic(*received, *sent))).collect()
    }

    /// Names of the devices that count, and their sum.
    #[track_caller]
    fn check(ends: Table<InterfaceTraffic>, want: &[&str], rx_bytes: u64, tx_bytes: u64) {
        let found = traffic(ends);
        assert_eq!(found.interfaces.keys().collect::<Vec<_>>(), want);
        assert_eq!(found.total, NetworkUsage { rx_bytes, tx_bytes });
    }

    #[test]
    fn what_the_node_sends_the_container_receives() {
        let table = devices(&[
            ("veth100i0", 602, 1152),
            ("veth100i1", 10, 20),
            ("veth1001i0", 7, 7),
            ("veth100i", 9, 9),
            ("veth100ix", 9, 9),
            ("fwpr100p0", 9, 9),
        ]);
        let vmid = |id: u32| Vmid::try_from(id).unwrap();
        let ends = node_ends(&table, vmid(100), None);
        for before in [None, Some(&ends), Some(&Table::default())] {
            check(node_ends(&table, vmid(100), before), &["veth100i0", "veth100i1"], 1172, 612);
            check(node_ends(&table, vmid(101), before), &[], 0, 0);
        }
        // Whatever has changed: a counter, or a device.
        let other = devices(&[("veth100i0", 602, 1153), ("veth100i1", 10, 20)]);
        check(node_ends(&other, vmid(100), Some(&ends)), &["veth100i0", "veth100i1"], 1173, 612);
        let fewer = devices(&[("veth100i0", 602, 1152)]);
        check(node_ends(&fewer, vmid(100), Some(&ends)), &["veth100i0"], 1152, 602);
    }

    #[test]
    fn every_counter_is_turned_round() {
        let end = InterfaceTraffic {
            rx_bytes: 1,
            rx_packets: 2,
            rx_errors: 3,
            rx_dropped: 4,
            tx_bytes: 5,
            tx_packets: 6,
            tx_errors: 7,
            tx_dropped: 8,
        };
        let own = turned_round(end);
        assert_eq!((own.rx_bytes, own.rx_packets, own.rx_errors, own.rx_dropped), (5, 6, 7, 8));
        assert_eq!(turned_round(own), end);
    }

    #[test]
    fn inside_a_container_only_its_outer_devices_count() {
        let table = devices(&[("lo", 9, 9), ("eth0", 5, 6), ("docker0", 5, 6), ("veth12ab", 5, 6)]);
        check(own_ends(&table), &["eth0"], 5, 6);
        check(own_ends(&devices(&[("lo", 9, 9)])), &[], 0, 0);
    }
}
