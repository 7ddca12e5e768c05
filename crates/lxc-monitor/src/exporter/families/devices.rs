//! Measurements of a container: block I/O, network, root filesystem.

use lxc_autoscale_core::exposition::Samples;
use lxc_autoscale_core::snapshot::{ContainerRecord, DeviceIo, InterfaceTraffic};

use super::Source::Container;
use super::{Family, counter, gauge};

/// Bytes in a sector, the unit of `io_stats` (Documentation/admin-guide/iostats.rst).
const SECTOR_BYTES: u64 = 512;
/// MiB in a GiB, the unit of the filesystem's sizes.
const MIB_IN_GIB: f64 = 1024.0;

pub(super) const FAMILIES: &[Family] = &[
    counter(
        "lxc_container_io_read_bytes",
        "Bytes read from block devices, each counted once.",
        Container(|c, to| to.whole(c.io_stats.map(|io| io.reads.saturating_mul(SECTOR_BYTES)))),
    ),
    counter(
        "lxc_container_io_written_bytes",
        "Bytes written to block devices, each counted once.",
        Container(|c, to| to.whole(c.io_stats.map(|io| io.writes.saturating_mul(SECTOR_BYTES)))),
    ),
    counter(
        "lxc_container_io_reads",
        "Read operations on block devices.",
        Container(|c, to| to.whole(c.io_stats.and_then(|io| io.read_ops))),
    ),
    counter(
        "lxc_container_io_writes",
        "Write operations on block devices.",
        Container(|c, to| to.whole(c.io_stats.and_then(|io| io.write_ops))),
    ),
    counter(
        "lxc_container_device_read_bytes",
        "Bytes read from a block device; layers of the same storage each count them.",
        Container(|c, to| by_device(c, to, |io| io.rbytes)),
    ),
    counter(
        "lxc_container_device_written_bytes",
        "Bytes written to a block device; layers of the same storage each count them.",
        Container(|c, to| by_device(c, to, |io| io.wbytes)),
    ),
    counter(
        "lxc_container_device_reads",
        "Read operations on a block device.",
        Container(|c, to| by_device(c, to, |io| io.rios)),
    ),
    counter(
        "lxc_container_device_writes",
        "Write operations on a block device.",
        Container(|c, to| by_device(c, to, |io| io.wios)),
    ),
    counter(
        "lxc_container_network_receive_bytes",
        "Bytes the container received on all its interfaces.",
        Container(|c, to| to.whole(c.network_usage.map(|network| network.rx_bytes))),
    ),
    counter(
        "lxc_container_network_transmit_bytes",
        "Bytes the container sent on all its interfaces.",
        Container(|c, to| to.whole(c.network_usage.map(|network| network.tx_bytes))),
    ),
    counter(
        "lxc_container_interface_receive_bytes",
        "Bytes the container received on an interface.",
        Container(|c, to| by_interface(c, to, |traffic| traffic.rx_bytes)),
    ),
    counter(
        "lxc_container_interface_receive_packets",
        "Packets the container received on an interface.",
        Container(|c, to| by_interface(c, to, |traffic| traffic.rx_packets)),
    ),
    counter(
        "lxc_container_interface_receive_errors",
        "Packets to the container that were broken.",
        Container(|c, to| by_interface(c, to, |traffic| traffic.rx_errors)),
    ),
    counter(
        "lxc_container_interface_receive_dropped",
        "Packets to the container that were dropped.",
        Container(|c, to| by_interface(c, to, |traffic| traffic.rx_dropped)),
    ),
    counter(
        "lxc_container_interface_transmit_bytes",
        "Bytes the container sent on an interface.",
        Container(|c, to| by_interface(c, to, |traffic| traffic.tx_bytes)),
    ),
    counter(
        "lxc_container_interface_transmit_packets",
        "Packets the container sent on an interface.",
        Container(|c, to| by_interface(c, to, |traffic| traffic.tx_packets)),
    ),
    counter(
        "lxc_container_interface_transmit_errors",
        "Packets from the container that were broken.",
        Container(|c, to| by_interface(c, to, |traffic| traffic.tx_errors)),
    ),
    counter(
        "lxc_container_interface_transmit_dropped",
        "Packets from the container that were dropped.",
        Container(|c, to| by_interface(c, to, |traffic| traffic.tx_dropped)),
    ),
    gauge(
        "lxc_container_rootfs_size_bytes",
        "Size of the root filesystem.",
        Container(|c, to| to.mib(c.filesystem_total_gb.map(|gib| gib * MIB_IN_GIB))),
    ),
    gauge(
        "lxc_container_rootfs_used_bytes",
        "What is in use of the root filesystem.",
        Container(|c, to| to.mib(c.filesystem_usage_gb.map(|gib| gib * MIB_IN_GIB))),
    ),
    gauge(
        "lxc_container_rootfs_available_bytes",
        "What an ordinary process may still write to the root filesystem.",
        Container(|c, to| to.mib(c.filesystem_free_gb.map(|gib| gib * MIB_IN_GIB))),
    ),
    gauge(
        "lxc_container_rootfs_inodes",
        "Inodes the root filesystem can hold.",
        Container(|c, to| to.whole(c.filesystem_inodes_total)),
    ),
    gauge(
        "lxc_container_rootfs_used_inodes",
        "Inodes of the root filesystem in use.",
        Container(|c, to| to.whole(c.filesystem_inodes_used)),
    ),
];

fn by_device(record: &ContainerRecord, to: &mut Samples<'_>, count: fn(&DeviceIo) -> u64) {
    for (device, io) in record.io_devices.entries() {
        to.whole_labelled(&[("device", device)], Some(count(io)));
    }
}

fn by_interface(record: &ContainerRecord, to: &mut Samples<'_>, count: fn(&InterfaceTraffic) -> u64) {
    for (interface, traffic) in record.network_interfaces.entries() {
        to.whole_labelled(&[("interface", interface)], Some(count(traffic)));
    }
}
